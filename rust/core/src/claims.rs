//! Claims: the ids of the messages in this router's hands, from reading to committed ack.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::RunId;

/// Message id → run. A message read a second time while in hand is recognised here.
#[derive(Debug, Default)]
pub struct Claims {
    runs: FxHashMap<i64, RunId>,
}

impl Claims {
    /// Claim a message; false if it is in hand already.
    pub fn take(&mut self, message_id: i64, run_id: RunId) -> bool {
        match self.runs.entry(message_id) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(run_id);
                true
            }
        }
    }

    /// The message's acknowledgement is committed.
    pub fn settle(&mut self, message_id: i64) {
        self.runs.remove(&message_id);
    }

    /// Let go of every message of these runs.
    pub fn forget(&mut self, run_ids: &FxHashSet<RunId>) {
        self.runs.retain(|_, run_id| !run_ids.contains(run_id));
    }

    /// How many messages are in hand.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether no message is in hand.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}
