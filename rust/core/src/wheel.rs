//! A hierarchical timer wheel: 11 levels of 64 slots reach over every 64-bit time.
//!
//! A timer lies on the level of the highest 6-bit digit in which its due time differs from the
//! current time, in the slot of that digit. So the first slot of the lowest occupied level holds
//! the earliest timers, and a jump of years visits occupied slots only.

use rustc_hash::FxHashMap;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 64;
const LEVELS: usize = 11;
/// The "level" of timers that were due when they were added.
const OVERDUE: usize = LEVELS;
const SIGN: u64 = 1 << 63;

#[derive(Debug, Clone, Copy)]
struct Timer {
    due: u64,
    order: u64,
    token: u64,
    /// Which of the slots it lies in, and where there.
    list: usize,
    place: usize,
}

/// Timers by token. Nothing comes out early; equal due times come out in insertion order.
#[derive(Debug)]
pub struct Wheel {
    /// Every due time up to here has been handed out, or lies in the overdue slot.
    now: u64,
    inserted: u64,
    timers: Vec<Timer>,
    free: Vec<usize>,
    tokens: FxHashMap<u64, usize>,
    /// `LEVELS` times `SLOTS`, then the overdue slot; each a list of indexes into `timers`.
    slots: Vec<Vec<usize>>,
    /// A bit for each slot that is not empty.
    occupied: [u64; LEVELS],
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            now: 0,
            inserted: 0,
            timers: Vec::new(),
            free: Vec::new(),
            tokens: FxHashMap::default(),
            slots: vec![Vec::new(); LEVELS * SLOTS + 1],
            occupied: [0; LEVELS],
        }
    }
}

impl Wheel {
    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Set a timer. A token that is set already is moved.
    pub fn add(&mut self, due_ms: i64, token: u64) {
        self.inserted += 1;
        let timer = Timer {
            due: to_wheel(due_ms),
            order: self.inserted,
            token,
            list: 0,
            place: 0,
        };
        let index = if let Some(index) = self.free.pop() {
            self.timers[index] = timer;
            index
        } else {
            self.timers.push(timer);
            self.timers.len() - 1
        };
        if let Some(before) = self.tokens.insert(token, index) {
            self.unlink(before);
        }
        self.put(index);
    }

    /// Remove a timer; false if there is none with this token.
    pub fn cancel(&mut self, token: u64) -> bool {
        let Some(index) = self.tokens.remove(&token) else {
            return false;
        };
        self.unlink(index);
        true
    }

    /// Take out the tokens that are due at `now_ms`, ordered by (due, insertion).
    pub fn advance(&mut self, now_ms: i64) -> Vec<u64> {
        let target = to_wheel(now_ms);
        let mut due = Vec::new();
        self.take(OVERDUE, 0, target, &mut due);
        while let Some((level, slot)) = self.first_slot() {
            let start = self.start_of(level, slot);
            if start > target {
                break;
            }
            self.now = start;
            self.take(level, slot, target, &mut due);
        }
        self.now = self.now.max(target);
        // Timers of one duration lie in order already, which this sort makes use of.
        due.sort_by_key(|&(due, order, _)| (due, order));
        due.into_iter().map(|(_, _, token)| token).collect()
    }

    /// The earliest due time, if there is a timer.
    pub fn next_due(&self) -> Option<i64> {
        let list = if self.slots[OVERDUE * SLOTS].is_empty() {
            let (level, slot) = self.first_slot()?;
            &self.slots[level * SLOTS + slot]
        } else {
            &self.slots[OVERDUE * SLOTS]
        };
        list.iter()
            .map(|&index| self.timers[index].due)
            .min()
            .map(from_wheel)
    }

    /// The slot with the earliest timers, overdue ones apart.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first moment of a slot that lies ahead.
    fn start_of(&self, level: usize, slot: usize) -> u64 {
        let shift = shift_of(level);
        let above = self.now.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        let prefix = above.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        prefix | (slot as u64) << shift
    }

    fn put(&mut self, index: usize) {
        let due = self.timers[index].due;
        let list = if due <= self.now {
            OVERDUE * SLOTS
        } else {
            let highest = (due ^ self.now).ilog2();
            let level = (highest / DIGIT_BITS) as usize;
            let digit = (due >> shift_of(level)) & (SLOTS as u64 - 1);
            self.occupied[level] |= 1 << digit;
            level * SLOTS + usize::try_from(digit).expect("a digit is below 64")
        };
        let slot = &mut self.slots[list];
        let timer = &mut self.timers[index];
        (timer.list, timer.place) = (list, slot.len());
        slot.push(index);
    }

    /// Take a timer, whose token is gone, out of its slot.
    fn unlink(&mut self, index: usize) {
        let Timer { list, place, .. } = self.timers[index];
        let slot = &mut self.slots[list];
        slot.swap_remove(place);
        if let Some(&moved) = slot.get(place) {
            self.timers[moved].place = place;
        } else if slot.is_empty() && list < OVERDUE * SLOTS {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
        self.free.push(index);
    }

    /// Empty a slot: what is due by `target` is handed out as (due, order, token), the rest is put
    /// where it belongs now.
    fn take(&mut self, level: usize, slot: usize, target: u64, due: &mut Vec<(u64, u64, u64)>) {
        let list = std::mem::take(&mut self.slots[level * SLOTS + slot]);
        if level < LEVELS {
            self.occupied[level] &= !(1 << slot);
        }
        for index in list {
            let timer = self.timers[index];
            if timer.due <= target {
                self.tokens.remove(&timer.token);
                self.free.push(index);
                due.push((timer.due, timer.order, timer.token));
            } else {
                self.put(index);
            }
        }
    }
}

fn shift_of(level: usize) -> u32 {
    u32::try_from(level).expect("there are 11 levels") * DIGIT_BITS
}

/// Flipping the sign bit maps the order of `i64` to that of `u64`.
fn to_wheel(time_ms: i64) -> u64 {
    u64::from_ne_bytes(time_ms.to_ne_bytes()) ^ SIGN
}

fn from_wheel(time: u64) -> i64 {
    i64::from_ne_bytes((time ^ SIGN).to_ne_bytes())
}
