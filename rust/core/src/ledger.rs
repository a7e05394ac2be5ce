//! The ledger: what one run has asked for, and what has been settled. Makes delivery exactly once.
//!
//! A message is accepted once: a result whose command is settled, a fired timer that was canceled,
//! a signal id that was seen are refused. Two bit masks over sequence numbers, `opened` and
//! `settled`, only ever gain bits, so any order, duplication and split of the same messages ends
//! in one state.

mod open;

use rustc_hash::FxHashSet;

use crate::errors::{LedgerError, LedgerFault};
use crate::{Event, kinds};
pub use open::{OpenCommand, OpenCommands};

/// Highest sequence number of a command that opens work: bounds a run's masks at 2 MiB each.
pub const SEQ_MAX: i64 = (1 << 24) - 1;

/// Purpose of a deadline: the task must be claimed by then.
pub const SCHEDULE_TO_START: i64 = 1;
/// Purpose of a deadline: the activity must be over by then.
pub const SCHEDULE_TO_CLOSE: i64 = 2;

/// The state of one run, as far as delivery is concerned.
#[derive(Debug, Default)]
pub struct Ledger {
    started: bool,
    closed: bool,
    local: usize,
    /// Whether the run's code was stopped midway: that it goes on is local work too.
    paused: bool,
    open: OpenCommands,
    opened: Mask,
    settled: Mask,
    /// Kind and id of every message that names itself.
    seen: FxHashSet<Box<[u8]>>,
    /// Settled commands that left something in the store, each with the kind that settled it.
    released: Vec<(OpenCommand, u8)>,
}

impl Ledger {
    /// Record a command of the run.
    pub fn command(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        if self.closed {
            return Err(refusal(LedgerFault::AfterClose, event));
        }
        match event.kind {
            kind if kinds::opens(kind) => self.open(event)?,
            kinds::DEADLINE => self.deadline(event)?,
            kinds::CANCEL_TIMER => {
                let is_timer = |found: &OpenCommand| found.kind == kinds::TIMER;
                self.settle_if(event.seq, event.kind, is_timer);
            }
            kinds::REDISPATCH => self.redispatch(event)?,
            kinds::PAUSED => self.pause(event)?,
            kinds::RESUMED => self.resume(event)?,
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
            kind if kinds::is_event(kind) => {
                event.meta.is_empty() || self.first_sight(event.kind, event.meta)
            }
            kinds::CHILD_STARTED => self.child_started(event.seq),
            kinds::START => !std::mem::replace(&mut self.started, true),
            kinds::RUN_TIMED_OUT => self.first_sight(event.kind, b""),
            kind => self.settle_if(event.seq, kind, |found| settles(kind, found)),
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

    /// Whether the run's code was stopped midway.
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// The command with this sequence number, if it still waits for its outcome.
    pub fn get(&self, seq: i64) -> Option<&OpenCommand> {
        self.open.get(seq)
    }

    /// The open commands, by sequence number.
    pub fn open_commands(&self) -> impl Iterator<Item = &OpenCommand> {
        self.open.iter()
    }

    /// How many activity tasks, timers and waits for mail are open.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count =
            |wanted: fn(&OpenCommand) -> bool| self.open.iter().filter(|each| wanted(each)).count();
        (
            count(OpenCommand::is_task),
            count(|each| each.kind == kinds::TIMER),
            count(|each| each.kind == kinds::WAIT),
        )
    }

    /// The opened and the settled mask; bit n of word w is seq 64 w + n.
    pub fn words(&self) -> (Vec<u64>, Vec<u64>) {
        (self.opened.words(), self.settled.words())
    }

    /// Sequence numbers of the open local work, ascending.
    pub fn local_seqs(&self) -> impl Iterator<Item = i64> + '_ {
        self.open
            .iter()
            .filter(|each| each.is_local())
            .map(|each| each.seq)
    }

    /// Those commands settled since the last call that may have left timers or a task in the store,
    /// each with the kind that settled it.
    pub fn take_released(&mut self) -> Vec<(OpenCommand, u8)> {
        std::mem::take(&mut self.released)
    }

    /// An activity's deadline has passed; its timer is no longer there to be dropped.
    pub fn forget_deadline(&mut self, seq: i64, purpose: i64) {
        if let Some(command) = self.open.get_mut(seq) {
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
        if !self.opened.gain(seq) {
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
        self.open.add(command);
        Ok(())
    }

    /// Settle an open command if it is one that `fits`; whether it was.
    #[inline]
    fn settle_if(&mut self, seq: i64, kind: u8, fits: impl Fn(&OpenCommand) -> bool) -> bool {
        let Some(place) = self.open.find(seq) else {
            return false;
        };
        let Some(command) = self.open.take_if(place, fits) else {
            return false;
        };
        assert!(self.settled.gain(seq), "an open command was settled before");
        self.local -= usize::from(command.is_local());
        let task_is_over = kind == kinds::ACTIVITY_TIMED_OUT && command.is_task();
        if command.kind == kinds::TIMER || !command.deadlines.is_empty() || task_is_over {
            self.released.push((command, kind));
        }
        true
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
        match self.open.get_mut(event.seq) {
            Some(found) if found.kind == kinds::ACTIVITY => Ok(found),
            _ => Err(refusal(LedgerFault::NotOpen, event)),
        }
    }

    fn pause(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        if std::mem::replace(&mut self.paused, true) {
            return Err(refusal(LedgerFault::OpenedTwice, event));
        }
        self.local += 1;
        Ok(())
    }

    fn resume(&mut self, event: &Event<'_>) -> Result<(), LedgerError> {
        if !std::mem::replace(&mut self.paused, false) {
            return Err(refusal(LedgerFault::NotOpen, event));
        }
        self.local -= 1;
        Ok(())
    }

    fn child_started(&mut self, seq: i64) -> bool {
        let Some(found) = self.open.get_mut(seq).filter(|found| found.starting) else {
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
    kinds::settles(result, command.kind)
        && (result != kinds::CHILD_START_FAILED || command.starting)
}

/// A set of sequence numbers. Most runs have none above 63, which need no memory of their own.
#[derive(Debug, Default)]
struct Mask {
    first: u64,
    rest: Vec<u64>,
}

impl Mask {
    /// Set a bit; false if it is set already. The only way a mask ever changes.
    #[inline]
    fn gain(&mut self, seq: i64) -> bool {
        let seq = usize::try_from(seq).expect("checked when the command was opened");
        let (word, bit) = (seq / 64, 1 << (seq % 64));
        let place = if word == 0 {
            &mut self.first
        } else {
            if word > self.rest.len() {
                self.rest.resize(word, 0);
            }
            &mut self.rest[word - 1]
        };
        let gained = *place & bit == 0;
        *place |= bit;
        gained
    }

    /// All words up to the last that was ever changed.
    fn words(&self) -> Vec<u64> {
        if self.first == 0 && self.rest.is_empty() {
            return Vec::new();
        }
        std::iter::once(self.first)
            .chain(self.rest.iter().copied())
            .collect()
    }
}
