//! Runs that are in another lane: what came for them here is given back, to be sent after them.

use super::Router;
use crate::RunId;
use crate::codec::Share;
use crate::errors::{RouterError, RouterFault};
use crate::run::{Arrival, Origin, Run};
use crate::run_states;

/// What came for a run that is in another lane.
#[derive(Debug)]
pub struct Forwarded<F> {
    /// Messages, in order.
    pub messages: Vec<Arrival<F>>,
    /// (`due_ms`, key) of timers that fired.
    pub timers: Vec<(i64, i64)>,
}

impl<F: Share> Router<F> {
    /// The kinds of the events that wait for a cold run, in order; none of an unknown one.
    pub fn waiting_kinds(&self, run_id: RunId) -> Vec<u8> {
        self.runs.get(&run_id).map_or_else(Vec::new, |run| {
            run.backlog.iter().map(Arrival::kind).collect()
        })
    }

    /// Let go of a cold run that is in another lane now, where others see to it.
    ///
    /// What came for it elsewhere is acknowledged and given back, to be written into that lane.
    pub fn forward(&mut self, run_id: RunId, lane: i64) -> Result<Forwarded<F>, RouterError> {
        let mut run = self.take_cold(run_id)?;
        let mut forwarded = Forwarded {
            messages: Vec::new(),
            timers: Vec::new(),
        };
        for arrival in std::mem::take(&mut run.backlog) {
            let origin = arrival.origin;
            let is_elsewhere = |of: i64| of != lane;
            match origin {
                Origin::Message { lane: of, .. } if is_elsewhere(of) => {
                    self.output.acknowledge(&mut run, origin);
                    forwarded.messages.push(arrival);
                }
                Origin::Timer {
                    lane: of,
                    due_ms,
                    key,
                } if is_elsewhere(of) => {
                    self.output.acknowledge(&mut run, origin);
                    forwarded.timers.push((due_ms, key));
                }
                Origin::Message { message_id, .. } => self.claims.settle(message_id),
                Origin::Timer { key, .. } => self.output.timers.settle(run_id, key),
                Origin::Local | Origin::Synthetic => {}
            }
        }
        if let Some(origin) = run.anchor {
            let (Origin::Message { lane: of, .. } | Origin::Timer { lane: of, .. }) = origin else {
                unreachable!("an anchor is stored");
            };
            if of != lane {
                // Whoever loads the run finds lost work.
                self.output.acknowledge(&mut run, origin);
            }
        }
        if self.output.is_pending(&run) {
            self.strays.insert(run_id, run.marked_in);
        }
        Ok(forwarded)
    }

    /// Let go of a cold run, and leave what came for it in the store, not to be read again.
    pub fn leave(&mut self, run_id: RunId) -> Result<(), RouterError> {
        let run = self.take_cold(run_id)?;
        if self.output.is_pending(&run) {
            self.strays.insert(run_id, run.marked_in);
        }
        Ok(())
    }

    fn take_cold(&mut self, run_id: RunId) -> Result<Run<F>, RouterError> {
        let fault = match self.runs.get(&run_id) {
            None => RouterFault::Unknown,
            Some(run) if run_states::leave(run.state).is_none() => RouterFault::Warm,
            Some(_) => return Ok(self.runs.remove(&run_id).expect("found just now")),
        };
        Err(RouterError { fault, run_id })
    }
}
