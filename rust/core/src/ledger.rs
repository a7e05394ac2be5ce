//! The ledger: what one run has asked for, and what has been settled. Makes delivery exactly once.
//!
//! A message is accepted once: a result whose command is settled, a fired timer that was canceled,
//! a signal id that was seen are refused. Two bit masks over sequence numbers, `opened` and
//! `settled`, only ever gain bits, so any order, duplication and split of the same messages ends
//! in one state.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::errors::{LedgerError, LedgerFault};
use crate::{Event, kinds};

/// Highest sequence number of a command that opens work: bounds a run's masks at 2 MiB each.
pub const SEQ_MAX: i64 = (1 << 24) - 1;

/// Purpose of a deadline: the task must be claimed by then.
pub const SCHEDULE_TO_START: i64 = 1;
/// Purpose of a deadline: the activity must be over by then.
pub const SCHEDULE_TO_CLOSE: i64 = 2;

/// A command whose outcome is still to come.
#[derive(Debug, Clone)]
pub struct OpenCommand {
    /// Its kind.
    pub kind: u8,
    /// Its sequence number.
    pub seq: i64,
    /// Its number: an activity's queue (0: local), a timer's due time.
    pub number: i64,
    /// A child that the store has not confirmed yet.
    pub starting: bool,
    /// (purpose, `due_ms`) of an activity.
    pub deadlines: Vec<(i64, i64)>,
}

impl OpenCommand {
    /// Whether only this process is doing the work, so that after a crash somebody must do it
    /// again.
    pub fn is_local(&self) -> bool {
        match self.kind {
            kinds::ACTIVITY => self.number == 0,
            kinds::SIGNAL_EXTERNAL | kinds::CANCEL_EXTERNAL => true,
            _ => self.starting,
        }
    }

    /// Whether the work is an activity task in the store.
    pub fn is_task(&self) -> bool {
        self.kind == kinds::ACTIVITY && self.number > 0
    }
}

/// The state of one run, as far as delivery is concerned.
#[derive(Debug, Default)]
pub struct Ledger {
    started: bool,
    closed: bool,
    local: usize,
    open: BTreeMap<i64, OpenCommand>,
    opened: Vec<u64>,
    settled: Vec<u64>,
    /// Kind and id of every message that names itself.
    seen: FxHashSet<Box<[u8]>>,
    released: Vec<(OpenCommand, u8)>,
}

impl Ledger {
    /// Record a command of the run.
    pub fn command(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        if self.closed {
            return Err(refusal(LedgerFault::AfterClose, event));
        }
        match event.kind {
            kinds::ACTIVITY
            | kinds::TIMER
            | kinds::CHILD
            | kinds::SIGNAL_EXTERNAL
            | kinds::CANCEL_EXTERNAL
            | kinds::WAIT => self.open(event)?,
            kinds::DEADLINE => self.deadline(event)?,
            kinds::CANCEL_TIMER => {
                if self.is_open_as(event.seq, kinds::TIMER) {
                    self.settle(event.seq, event.kind);
                }
            }
            kinds::REDISPATCH => self.redispatch(event)?,
            kind => self.closed = kinds::close_status(kind).is_some(),
        }
        Ok(())
    }

    /// Take a job in; false if it is a duplicate or comes too late.
    pub fn accept(&mut self, event: &Event<'_>) -> bool {
        if self.closed {
            return false;
        }
        match event.kind {
            kinds::SIGNAL | kinds::UPDATE | kinds::CANCEL | kinds::TERMINATE => {
                event.meta.is_empty() || self.first_sight(event.kind, event.meta)
            }
            kinds::CHILD_STARTED => self.child_started(event.seq),
            kinds::START => !std::mem::replace(&mut self.started, true),
            kinds::RUN_TIMED_OUT => self.first_sight(event.kind, b""),
            kind => {
                let settles = self
                    .open
                    .get(&event.seq)
                    .is_some_and(|found| settles(kind, found));
                if settles {
                    self.settle(event.seq, kind);
                }
                settles
            }
        }
    }

    /// Whether a START was accepted.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether a closing command was recorded.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// How much local work is open.
    pub fn local(&self) -> usize {
        self.local
    }

    /// The command with this sequence number, if it still waits for its outcome.
    pub fn get(&self, seq: i64) -> Option<&OpenCommand> {
        self.open.get(&seq)
    }

    /// The open commands, by sequence number.
    pub fn open_commands(&self) -> impl Iterator<Item = &OpenCommand> {
        self.open.values()
    }

    /// How many activity tasks, timers and waits for mail are open.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&OpenCommand) -> bool| {
            self.open.values().filter(|each| wanted(each)).count()
        };
        (
            count(OpenCommand::is_task),
            count(|each| each.kind == kinds::TIMER),
            count(|each| each.kind == kinds::WAIT),
        )
    }

    /// The opened and the settled mask; bit n of word w is seq 64 w + n.
    pub fn words(&self) -> (&[u64], &[u64]) {
        (&self.opened, &self.settled)
    }

    /// Sequence numbers of the open local work, ascending.
    pub fn local_seqs(&self) -> impl Iterator<Item = i64> + '_ {
        self.open
            .values()
            .filter(|each| each.is_local())
            .map(|each| each.seq)
    }

    /// The commands settled since the last call, each with the kind that settled it.
    pub fn take_released(&mut self) -> Vec<(OpenCommand, u8)> {
        std::mem::take(&mut self.released)
    }

    /// An activity's deadline has passed; its timer is no longer there to be dropped.
    pub fn forget_deadline(&mut self, seq: i64, purpose: i64) {
        if let Some(command) = self.open.get_mut(&seq) {
            command.deadlines.retain(|&(each, _)| each != purpose);
        }
    }

    fn open(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        let Event {
            kind, seq, number, ..
        } = *event;
        if !(1..=SEQ_MAX).contains(&seq) || (kind == kinds::ACTIVITY && number < 0) {
            return Err(refusal(LedgerFault::Range, event));
        }
        if !gain(&mut self.opened, seq) {
            return Err(refusal(LedgerFault::OpenedTwice, event));
        }
        let starting = kind == kinds::CHILD;
        let command = OpenCommand {
            kind,
            seq,
            number,
            starting,
            deadlines: Vec::new(),
        };
        self.local += usize::from(command.is_local());
        self.open.insert(seq, command);
        Ok(())
    }

    fn settle(&mut self, seq: i64, kind: u8) {
        let command = self.open.remove(&seq).expect("the caller found it open");
        assert!(
            gain(&mut self.settled, seq),
            "an open command was settled before"
        );
        self.local -= usize::from(command.is_local());
        self.released.push((command, kind));
    }

    fn deadline(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        let purpose = match event.meta {
            [1] => SCHEDULE_TO_START,
            [2] => SCHEDULE_TO_CLOSE,
            _ => return Err(refusal(LedgerFault::Purpose, event)),
        };
        self.open_activity(event)?
            .deadlines
            .push((purpose, event.number));
        Ok(())
    }

    fn redispatch(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        let was_local = self.open_activity(event)?.is_local();
        if event.number <= 0 {
            return Err(refusal(LedgerFault::Range, event));
        }
        self.open_activity(event)?.number = event.number;
        self.local -= usize::from(was_local);
        Ok(())
    }

    fn open_activity(&mut self, event: &Event<'_>) -> Result<&mut OpenCommand, LedgerError> {
        match self.open.get_mut(&event.seq) {
            Some(found) if found.kind == kinds::ACTIVITY => Ok(found),
            _ => Err(refusal(LedgerFault::NotOpen, event)),
        }
    }

    fn child_started(&mut self, seq: i64) -> bool {
        let Some(found) = self.open.get_mut(&seq).filter(|found| found.starting) else {
            return false;
        };
        found.starting = false;
        self.local -= 1;
        true
    }

    fn first_sight(&mut self, kind: u8, identity: &[u8]) -> bool {
        let mut key = Vec::with_capacity(identity.len() + 1);
        key.push(kind);
        key.extend_from_slice(identity);
        self.seen.insert(key.into_boxed_slice())
    }

    fn is_open_as(&self, seq: i64, kind: u8) -> bool {
        self.open.get(&seq).is_some_and(|found| found.kind == kind)
    }
}

fn refusal(fault: LedgerFault, event: &Event<'_>) -> LedgerError {
    LedgerError {
        fault,
        kind: event.kind,
        seq: event.seq,
    }
}

/// Whether a result of this kind is the outcome of the command.
fn settles(result: u8, command: &OpenCommand) -> bool {
    match result {
        kinds::ACTIVITY_COMPLETED
        | kinds::ACTIVITY_FAILED
        | kinds::ACTIVITY_CANCELED
        | kinds::ACTIVITY_TIMED_OUT => command.kind == kinds::ACTIVITY,
        kinds::TIMER_FIRED => command.kind == kinds::TIMER,
        kinds::CHILD_START_FAILED => command.starting,
        kinds::CHILD_COMPLETED | kinds::CHILD_FAILED => command.kind == kinds::CHILD,
        kinds::EXTERNAL_DONE | kinds::EXTERNAL_FAILED => {
            matches!(
                command.kind,
                kinds::SIGNAL_EXTERNAL | kinds::CANCEL_EXTERNAL
            )
        }
        kinds::MAIL => command.kind == kinds::WAIT,
        _ => false,
    }
}

/// Set a bit of a mask; false if it is set already. The only way a mask ever changes.
fn gain(mask: &mut Vec<u64>, seq: i64) -> bool {
    let seq = usize::try_from(seq).expect("checked when the command was opened");
    let (word, bit) = (seq / 64, 1 << (seq % 64));
    if word >= mask.len() {
        mask.resize(word + 1, 0);
    }
    let gained = mask[word] & bit == 0;
    mask[word] |= bit;
    gained
}
