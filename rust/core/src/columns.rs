//! Columns: what the next step is to apply, gathered row by row and handed out in order.

use std::ops::Range;

use rustc_hash::FxHashSet;

use crate::RunId;
use crate::codec::Piece;

/// The bytes of a row.
#[derive(Debug)]
pub enum Bytes<F> {
    /// Where they lie: see [`Columns::bytes`].
    Within(Range<usize>),
    /// Large ones, in pieces.
    Apart(Vec<Piece<F>>),
}

/// A journal row.
#[derive(Debug)]
pub struct JournalRow<F> {
    /// The run.
    pub run_id: RunId,
    /// Its place in the run's journal.
    pub seq: i64,
    /// The transition's frame.
    pub frame: Bytes<F>,
}

/// A message to acknowledge.
#[derive(Debug)]
pub struct AckRow {
    /// The run.
    pub run_id: RunId,
    /// The message's lane.
    pub lane: i64,
    /// The message's id.
    pub message_id: i64,
}

/// A timer to write or to delete.
#[derive(Debug)]
pub struct TimerRow {
    /// The run.
    pub run_id: RunId,
    /// Its lane.
    pub lane: i64,
    /// When it is due.
    pub due_ms: i64,
    /// What it is for.
    pub key: i64,
}

/// An activity task to write.
#[derive(Debug)]
pub struct TaskRow {
    /// The run.
    pub run_id: RunId,
    /// The task queue.
    pub queue_id: i64,
    /// The activity's type: what a worker must host to claim it.
    pub activity_type: String,
    /// The run's lane.
    pub lane: i64,
    /// The activity.
    pub seq: i64,
    /// Attempts already used.
    pub attempt: i64,
    /// Milliseconds before it may be claimed.
    pub delay_ms: i64,
    /// The command's frame.
    pub frame: Vec<u8>,
    /// Opaque state of earlier attempts.
    pub state: Vec<u8>,
}

/// An activity task to delete.
#[derive(Debug)]
pub struct DropTaskRow {
    /// The run.
    pub run_id: RunId,
    /// The activity.
    pub seq: i64,
}

/// A run to close.
#[derive(Debug)]
pub struct CloseRow<F> {
    /// The run.
    pub run_id: RunId,
    /// Its lane.
    pub lane: i64,
    /// The status it leaves behind.
    pub status: i64,
    /// The payload of its closing command.
    pub result: Bytes<F>,
    /// Whether it waits for mail.
    pub waits: bool,
}

/// Rows to be written; each names its run, so that a run's rows can be taken back.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Columns<F> {
    pub journal: Vec<JournalRow<F>>,
    pub acks: Vec<AckRow>,
    pub timers: Vec<TimerRow>,
    pub drop_timers: Vec<TimerRow>,
    pub tasks: Vec<TaskRow>,
    pub drop_tasks: Vec<DropTaskRow>,
    pub closes: Vec<CloseRow<F>>,
    /// Small frames and results, one after the other: a batch of them costs one allocation.
    bytes: Vec<u8>,
}

impl<F> Default for Columns<F> {
    fn default() -> Self {
        Self {
            journal: Vec::new(),
            acks: Vec::new(),
            timers: Vec::new(),
            drop_timers: Vec::new(),
            tasks: Vec::new(),
            drop_tasks: Vec::new(),
            closes: Vec::new(),
            bytes: Vec::new(),
        }
    }
}

impl<F> Columns<F> {
    /// The bytes of a row that says where they lie.
    #[inline]
    pub fn bytes(&self, place: &Range<usize>) -> &[u8] {
        &self.bytes[place.clone()]
    }

    /// Add the bytes of a row, to be filled in by `write`; where they lie.
    #[inline]
    pub fn add_bytes(&mut self, size: usize, write: impl FnOnce(&mut [u8])) -> Bytes<F> {
        let start = self.bytes.len();
        self.bytes.resize(start + size, 0);
        write(&mut self.bytes[start..]);
        Bytes::Within(start..self.bytes.len())
    }

    /// Take back every row of these runs.
    pub fn discard(&mut self, run_ids: &FxHashSet<RunId>) {
        let kept = |run_id: &RunId| !run_ids.contains(run_id);
        self.journal.retain(|row| kept(&row.run_id));
        self.acks.retain(|row| kept(&row.run_id));
        self.timers.retain(|row| kept(&row.run_id));
        self.drop_timers.retain(|row| kept(&row.run_id));
        self.tasks.retain(|row| kept(&row.run_id));
        self.drop_tasks.retain(|row| kept(&row.run_id));
        self.closes.retain(|row| kept(&row.run_id));
    }

    /// Order journal and closes by run, so that row locks are taken in that order.
    pub fn sort(&mut self) {
        self.journal
            .sort_unstable_by_key(|row| (row.run_id, row.seq));
        self.closes.sort_unstable_by_key(|row| row.run_id);
    }
}
