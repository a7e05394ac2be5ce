//! Timers: the store's timer rows that this router holds, and what each one means.
//!
//! A key says what a row is for: `seq * 4 + purpose` (0 a timer, 1 schedule-to-start, 2
//! schedule-to-close), 0 a delayed start, below 0 a timeout of the run itself.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::wheel::Wheel;
use crate::{Event, RunId, kinds};

/// The key of a timer (purpose 0) or an activity's deadline (1, 2).
pub fn timer_key(seq: i64, purpose: i64) -> i64 {
    seq * 4 + purpose
}

/// The job that a fired timer stands for.
pub fn event_of(key: i64) -> Event<'static> {
    match (key.div_euclid(4), key.rem_euclid(4)) {
        _ if key < 0 => Event::bare(kinds::RUN_TIMED_OUT, 0, key),
        (0, 0) => Event::bare(kinds::START, 0, 0),
        (seq, 0) => Event::bare(kinds::TIMER_FIRED, seq, 0),
        (seq, purpose) => Event::bare(kinds::ACTIVITY_TIMED_OUT, seq, purpose),
    }
}

/// A timer row that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Fired {
    pub run_id: RunId,
    pub lane: i64,
    pub due_ms: i64,
    pub key: i64,
}

#[derive(Debug)]
struct Held {
    key: i64,
    lane: i64,
    /// On the wheel with this token; `None` once it fired or is about to be deleted.
    token: Option<u64>,
}

/// Timer rows by (run, key), on one wheel.
#[derive(Debug, Default)]
pub struct Timers {
    wheel: Wheel,
    runs: FxHashMap<RunId, Vec<Held>>,
    tokens: FxHashMap<u64, Fired>,
    next_token: u64,
}

impl Timers {
    /// How many timers wait.
    pub fn len(&self) -> usize {
        self.wheel.len()
    }

    /// Whether no timer waits.
    pub fn is_empty(&self) -> bool {
        self.wheel.is_empty()
    }

    /// When the next timer fires.
    pub fn next_due(&self) -> Option<i64> {
        self.wheel.next_due()
    }

    /// Take a row in; one that is held already (in whatever state) stays as it is.
    pub fn add(&mut self, run_id: RunId, lane: i64, due_ms: i64, key: i64) {
        let held = self.runs.entry(run_id).or_default();
        if held.iter().any(|each| each.key == key) {
            return;
        }
        self.next_token += 1;
        let token = self.next_token;
        held.push(Held {
            key,
            lane,
            token: Some(token),
        });
        self.tokens.insert(
            token,
            Fired {
                run_id,
                lane,
                due_ms,
                key,
            },
        );
        self.wheel.add(due_ms, token);
    }

    /// The rows whose time has come, ordered by due time; each is handed out once.
    pub fn fire(&mut self, now_ms: i64) -> Vec<Fired> {
        let mut fired = Vec::new();
        for token in self.wheel.advance(now_ms) {
            let row = self
                .tokens
                .remove(&token)
                .expect("every token on the wheel has its row");
            let held = self
                .runs
                .get_mut(&row.run_id)
                .expect("a waiting row is held");
            if let Some(each) = held.iter_mut().find(|each| each.key == row.key) {
                each.token = None;
            }
            fired.push(row);
        }
        fired
    }

    /// The row is about to be deleted; false if it fired, for then whoever handles it does.
    ///
    /// It stays known until `settle`, so that a stale reading does not bring it back.
    pub fn drop(&mut self, run_id: RunId, lane: i64, key: i64) -> bool {
        let held = self.runs.entry(run_id).or_default();
        let Some(found) = held.iter_mut().find(|each| each.key == key) else {
            held.push(Held {
                key,
                lane,
                token: None,
            });
            return true;
        };
        let Some(token) = found.token.take() else {
            return false;
        };
        self.tokens.remove(&token);
        self.wheel.cancel(token);
        true
    }

    /// The row's deletion is committed.
    pub fn settle(&mut self, run_id: RunId, key: i64) {
        if let Some(held) = self.runs.get_mut(&run_id) {
            held.retain(|each| each.key != key);
            if held.is_empty() {
                self.runs.remove(&run_id);
            }
        }
    }

    /// Let go of every row of these runs.
    pub fn forget(&mut self, run_ids: &FxHashSet<RunId>) {
        for run_id in run_ids {
            for held in self.runs.remove(run_id).unwrap_or_default() {
                if let Some(token) = held.token {
                    self.tokens.remove(&token);
                    self.wheel.cancel(token);
                }
            }
        }
    }

    /// The runs that have rows in these lanes.
    pub fn in_lanes<'a>(&'a self, lanes: &'a FxHashSet<i64>) -> impl Iterator<Item = RunId> + 'a {
        let within = |held: &[Held]| held.iter().any(|each| lanes.contains(&each.lane));
        self.runs
            .iter()
            .filter(move |(_, held)| within(held))
            .map(|(&run_id, _)| run_id)
    }
}
