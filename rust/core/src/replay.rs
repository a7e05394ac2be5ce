//! Replay: compares what a workflow asks for with what its journal says it asked for.

use crate::{Event, kinds};

/// Index of the first difference between two lists of commands, `None` if there is none.
///
/// Kind, seq and name must be equal; arguments may differ. Commands that the router writes are
/// skipped in `recorded`, rejected updates (never journaled) in both; the index counts the rest.
pub fn match_commands(recorded: &[Event<'_>], issued: &[Event<'_>]) -> Option<usize> {
    let mut expected = recorded
        .iter()
        .filter(|each| !kinds::is_router_made(each.kind) && each.kind != kinds::UPDATE_REJECTED);
    let mut found = issued
        .iter()
        .filter(|each| each.kind != kinds::UPDATE_REJECTED);
    for index in 0.. {
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (Some(left), Some(right))
                if (left.kind, left.seq, left.name) == (right.kind, right.seq, right.name) => {}
            _ => return Some(index),
        }
    }
    None
}
