//! Replay: compares what a workflow asks for with what its journal says it asked for.

use std::convert::Infallible;

use crate::{Event, kinds};

/// Index of the first difference between two lists of commands, `None` if there is none.
///
/// Kind, seq and name must be equal; arguments may differ. Commands that the router writes are
/// skipped in `recorded`; the index counts the rest.
pub fn match_commands(recorded: &[Event<'_>], issued: &[Event<'_>]) -> Option<usize> {
    let kind_of = |command: &&Event<'_>| Ok::<_, Infallible>(command.kind);
    let equal = |left: &&Event<'_>, right: &&Event<'_>| {
        Ok((left.seq, left.name) == (right.seq, right.name))
    };
    let (recorded, issued) = (recorded.iter().map(Ok), issued.iter().map(Ok));
    let Ok(found) = match_by(recorded, issued, kind_of, equal);
    found
}

/// As [`match_commands`], of commands in any shape: `kind_of` one, and whether two of the same kind
/// are `equal`. Looks at nothing but what it compares.
#[inline]
pub fn match_by<C, E>(
    mut recorded: impl Iterator<Item = Result<C, E>>,
    mut issued: impl Iterator<Item = Result<C, E>>,
    mut kind_of: impl FnMut(&C) -> Result<u8, E>,
    mut equal: impl FnMut(&C, &C) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    let is_matched = |kind| !kinds::is_router_made(kind);
    for index in 0.. {
        let expected = next(&mut recorded, &mut kind_of, is_matched)?;
        let found = next(&mut issued, &mut kind_of, |_| true)?;
        match (expected, found) {
            (None, None) => return Ok(None),
            (Some((kind, left)), Some((other, right))) if kind == other => {
                if !equal(&left, &right)? {
                    return Ok(Some(index));
                }
            }
            _ => return Ok(Some(index)),
        }
    }
    Ok(None)
}

/// The next command of a kind that counts.
#[inline]
fn next<C, E>(
    commands: &mut impl Iterator<Item = Result<C, E>>,
    kind_of: &mut impl FnMut(&C) -> Result<u8, E>,
    counts: impl Fn(u8) -> bool,
) -> Result<Option<(u8, C)>, E> {
    for command in commands {
        let command = command?;
        let kind = kind_of(&command)?;
        if counts(kind) {
            return Ok(Some((kind, command)));
        }
    }
    Ok(None)
}
