//! The open commands of one run, by sequence number.

use crate::kinds;

/// Removed commands that are put up with, beyond as many as are there, before they are swept out.
const GONE_MIN: usize = 16;

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
            kind => self.starting || kinds::is_always_local(kind),
        }
    }

    /// Whether the work is an activity task in the store.
    pub fn is_task(&self) -> bool {
        self.kind == kinds::ACTIVITY && self.number > 0
    }
}

/// A sorted list: few commands are open at a time, and each is opened with a higher number than
/// the ones before. Removed ones leave a gap, so that thousands can be removed in any order.
#[derive(Debug, Default)]
pub struct OpenCommands {
    slots: Vec<(i64, Option<OpenCommand>)>,
    gone: usize,
}

impl OpenCommands {
    /// The place of the command with this sequence number.
    #[inline]
    pub fn find(&self, seq: i64) -> Option<usize> {
        // Numbers mostly follow each other without a gap, which tells the place.
        let guess = usize::try_from(seq.wrapping_sub(self.slots.first()?.0)).ok()?;
        let place = match self.slots.get(guess) {
            Some(slot) if slot.0 == seq => guess,
            _ => self.slots.binary_search_by_key(&seq, |slot| slot.0).ok()?,
        };
        self.slots[place].1.as_ref().map(|_| place)
    }

    /// The command with this sequence number.
    #[inline]
    pub fn get(&self, seq: i64) -> Option<&OpenCommand> {
        self.slots[self.find(seq)?].1.as_ref()
    }

    /// The command with this sequence number, to be changed.
    pub fn get_mut(&mut self, seq: i64) -> Option<&mut OpenCommand> {
        let place = self.find(seq)?;
        self.slots[place].1.as_mut()
    }

    /// Add a command with a number that was never there.
    #[inline]
    pub fn add(&mut self, command: OpenCommand) {
        let seq = command.seq;
        let slot = (seq, Some(command));
        if self.slots.last().is_none_or(|last| last.0 < seq) {
            self.slots.push(slot);
        } else {
            let place = self.slots.partition_point(|each| each.0 < seq);
            self.slots.insert(place, slot);
        }
    }

    /// Take out the command at a place that was found just now, if it is one that `fits`.
    #[inline]
    pub fn take_if(
        &mut self,
        place: usize,
        fits: impl Fn(&OpenCommand) -> bool,
    ) -> Option<OpenCommand> {
        let taken = self.slots[place].1.take_if(|found| fits(found))?;
        self.gone += 1;
        if self.gone == self.slots.len() {
            self.slots.clear();
            self.gone = 0;
        } else if self.gone * 2 > self.slots.len() + GONE_MIN {
            self.slots.retain(|slot| slot.1.is_some());
            self.gone = 0;
        }
        Some(taken)
    }

    /// All of them, by sequence number.
    pub fn iter(&self) -> impl Iterator<Item = &OpenCommand> {
        self.slots.iter().filter_map(|slot| slot.1.as_ref())
    }
}
