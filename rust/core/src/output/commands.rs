//! The commands of one activation.

use crate::{Event, kinds};

/// The numbers of the activities and timers that one activation asked for. Nothing was written for
/// those of them that the same activation settled.
pub(super) struct Fresh(Vec<i64>);

impl Fresh {
    /// Those among the commands of an activation.
    pub(super) fn of(commands: &[Event<'_>]) -> Self {
        let opening = commands.iter().filter(|each| kinds::is_stored(each.kind));
        let mut seqs: Vec<i64> = opening.map(|each| each.seq).collect();
        seqs.sort_unstable(); // they are in order but for misuse
        Self(seqs)
    }

    pub(super) fn contains(&self, seq: i64) -> bool {
        self.0.binary_search(&seq).is_ok()
    }
}
