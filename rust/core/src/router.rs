//! The router core: messages in, activations out; commands in, columns out.
//!
//! The order of a batch: `ingest`, then `complete` or `fail` for each activation, `drain`, the
//! store applies, `commit` or `rollback`. What a step has read comes with its commit, so that no
//! run moves on without it. Every rule is explained in the reference twin,
//! `python/hotmesh/core/_python/router.py`.

mod forwarding;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::claims::Claims;
use crate::codec::{Share, Transition, decode_transition};
use crate::columns::{AckRow, Columns, TimerRow};
use crate::errors::{CoreError, LedgerError, LedgerFault, RouterError, RouterFault};
use crate::ledger::{Ledger, OpenCommand};
use crate::output::{Ingested, Output};
use crate::run::{Arrival, Origin, Run};
use crate::run_states::{self, State};
use crate::timers::event_of;
use crate::{Event, RunId, kinds};

/// Lane of a run that a local event named before anything was read of it; `load` tells it.
const LANE_UNKNOWN: i64 = -1;

/// A message as read from the stream.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Message<F> {
    pub id: i64,
    pub lane: i64,
    pub run_id: RunId,
    pub frame: F,
    /// Whether the run has a journal already.
    pub journaled: bool,
}

/// What `load` found in a journal.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// Each journal row.
    pub transitions: Vec<Transition<'a>>,
    /// The commands of open local work that nobody is doing any more.
    pub lost: Vec<Event<'a>>,
}

/// How much of everything is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stats {
    pub runs: usize,
    pub cold: usize,
    pub busy: usize,
    pub anchored: usize,
    pub backlog: usize,
    pub claims: usize,
    pub timers: usize,
}

/// The state machine of one pipe. `F` is what a message's frame arrives in.
#[derive(Debug)]
pub struct Router<F> {
    horizon_ms: i64,
    now_ms: i64,
    /// Counts the calls of `ingest`, to tell the jobs it adds from those in hand already.
    ingests: u64,
    runs: FxHashMap<RunId, Run<F>>,
    /// Idle warm runs that have a backlog, in order.
    ready: Vec<RunId>,
    /// Messages read with the last commits; `None`: forgotten.
    read: Vec<Option<Message<F>>>,
    claims: Claims,
    output: Output<F>,
    /// Runs with rows drained but not committed.
    touched: Vec<RunId>,
    /// Runs not in memory that have rows all the same (of an undecodable message, or forwarded), and
    /// the columns that hold them.
    strays: FxHashMap<RunId, u64>,
    drained_acks: Vec<i64>,
    drained_drops: Vec<(RunId, i64)>,
    /// Local events in rows not drained.
    local: Vec<(RunId, Arrival<F>)>,
    drained_local: Vec<(RunId, Arrival<F>)>,
    /// Runs to be reported as loads.
    recovered: Vec<RunId>,
}

impl<F: Share> Router<F> {
    /// A router that holds the timers due within `horizon_ms`; later ones are read again.
    pub fn new(horizon_ms: i64) -> Self {
        Self {
            horizon_ms,
            now_ms: 0,
            ingests: 0,
            runs: FxHashMap::default(),
            ready: Vec::new(),
            read: Vec::new(),
            claims: Claims::default(),
            output: Output::default(),
            touched: Vec::new(),
            strays: FxHashMap::default(),
            drained_acks: Vec::new(),
            drained_drops: Vec::new(),
            local: Vec::new(),
            drained_local: Vec::new(),
            recovered: Vec::new(),
        }
    }

    /// Give a run no more jobs in one activation once it has so many bytes of them.
    pub fn limit_jobs(&mut self, job_bytes_max: usize) {
        self.output.job_bytes_max = job_bytes_max;
    }

    /// Give these runs, and no others, all that waits for them in one activation: one whose end is
    /// refused must see in that very activation what it can't end without.
    pub fn give_whole(&mut self, run_ids: FxHashSet<RunId>) {
        self.output.whole = run_ids;
    }

    /// Deliver all that has come: what was read before, what was made here, what is due.
    pub fn ingest(&mut self, local: Vec<(RunId, Arrival<F>)>, now_ms: i64) -> Ingested<F> {
        self.now_ms = now_ms; // it may go back: what is due follows it
        self.ingests += 1;
        let mut batch = Ingested {
            active: Vec::new(),
            loads: std::mem::take(&mut self.recovered),
            late: Vec::new(),
            errors: Vec::new(),
            expired: Vec::new(),
        };
        self.flush(&mut batch);
        for (index, message) in std::mem::take(&mut self.read).into_iter().enumerate() {
            if let Some(message) = message {
                self.take_message(index, message, &mut batch);
            }
        }
        for (run_id, arrival) in local {
            self.deliver(run_id, LANE_UNKNOWN, arrival, &mut batch);
        }
        for fired in self.output.timers.fire(self.now_ms) {
            let origin = Origin::Timer {
                lane: fired.lane,
                due_ms: fired.due_ms,
                key: fired.key,
            };
            let arrival = Arrival::make(&event_of(fired.key), origin)
                .expect("the numbers of a timer's event come from its key");
            self.deliver(fired.run_id, fired.lane, arrival, &mut batch);
        }
        batch
    }

    /// The jobs in a run's hands.
    pub fn jobs(&self, run_id: RunId) -> &[Arrival<F>] {
        self.runs.get(&run_id).map_or(&[], |run| &run.jobs)
    }

    /// Make a cold run warm from its journal; the next `ingest` delivers what waits for it.
    pub fn load<'a, B: AsRef<[u8]>>(
        &mut self,
        run_id: RunId,
        lane: i64,
        frames: &'a [B],
        closed: bool,
        inflight: &FxHashSet<i64>,
    ) -> Result<Loaded<'a>, CoreError> {
        if let Some(run) = self.runs.get(&run_id) {
            if run_states::load(run.state).is_none() {
                return Err(RouterError {
                    fault: RouterFault::Warm,
                    run_id,
                }
                .into());
            }
            if frames.len() < run.journal_seq {
                return Err(RouterError {
                    fault: RouterFault::Stale,
                    run_id,
                }
                .into());
            }
        }
        let transitions = frames
            .iter()
            .map(|frame| decode_transition(frame.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let ledger = rebuild(&transitions)?;
        let run = self
            .runs
            .entry(run_id)
            .or_insert_with(|| discovered(&self.strays, run_id, lane, run_states::find));
        let is_closed = closed || ledger.closed();
        run.go(if is_closed {
            run_states::load_closed
        } else {
            run_states::load
        });
        run.lane = lane;
        run.ledger = ledger;
        run.journal_seq = frames.len();
        enqueue(&mut self.ready, run);
        let mut lost = Vec::new();
        if !is_closed {
            lost = lost_work(run, &transitions, inflight);
            if run.ledger.paused() {
                lost.push(Event::bare(kinds::PAUSED, 0, 0));
            }
        }
        Ok(Loaded { transitions, lost })
    }

    /// End a run's activation: journal its jobs and commands and all that follows from them.
    /// The journal row's bytes; 0 if there was nothing to journal.
    ///
    /// `body_of` has the body of each command, to be kept where it is large. If a command is refused,
    /// nothing is recorded and the run has failed.
    pub fn complete(
        &mut self,
        run_id: RunId,
        now_ms: i64,
        commands: &[Event<'_>],
        body_of: impl Fn(usize) -> F,
    ) -> Result<usize, CoreError> {
        let run = warm(&mut self.runs, run_id)?;
        let size = match self.output.record(run, now_ms, commands, &body_of) {
            Ok(size) => size,
            Err(error) => {
                self.fail(run_id)?;
                return Err(error);
            }
        };
        let held_until_ms = self.now_ms.saturating_add(self.horizon_ms);
        self.output.schedule(run, commands, held_until_ms);
        self.output.release(run, commands, &body_of);
        let made_here = (size > 0).then_some(&mut self.local);
        self.output.settle_origins(run, made_here);
        enqueue(&mut self.ready, run);
        Ok(size)
    }

    /// Take the last so many queries of a run's activation back before it is completed: they were
    /// not answered, and come again with the first `ingest` after `complete`.
    pub fn defer_queries(&mut self, run_id: RunId, count: usize) -> Result<(), RouterError> {
        warm(&mut self.runs, run_id)?.defer_queries(count);
        Ok(())
    }

    /// A run's activation failed: nothing is recorded or acknowledged, the run becomes cold.
    /// Failing a cold run changes nothing.
    pub fn fail(&mut self, run_id: RunId) -> Result<(), RouterError> {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return Err(RouterError {
                fault: RouterFault::Unknown,
                run_id,
            });
        };
        run.fail();
        self.ready.retain(|&each| each != run_id);
        Ok(())
    }

    /// Take the columns gathered since the last call.
    pub fn drain(&mut self) -> Columns<F> {
        let mut columns = std::mem::take(&mut self.output.columns);
        self.output.number += 1;
        self.touched.append(&mut self.output.dirty);
        self.drained_acks
            .extend(columns.acks.iter().map(|row| row.message_id));
        self.drained_drops
            .extend(columns.drop_timers.iter().map(|row| (row.run_id, row.key)));
        self.drained_local.append(&mut self.local);
        columns.sort();
        columns
    }

    /// What was drained is applied, and this is what the same step has read: the next `ingest`
    /// delivers it before anything else. Closed runs with nothing left to do are forgotten.
    pub fn commit(
        &mut self,
        messages: impl IntoIterator<Item = Message<F>>,
        timers: impl IntoIterator<Item = TimerRow>,
    ) {
        for message_id in self.drained_acks.drain(..) {
            self.claims.settle(message_id);
        }
        for (run_id, key) in self.drained_drops.drain(..) {
            self.output.timers.settle(run_id, key);
        }
        self.drained_local.clear();
        self.settle();
        for run_id in std::mem::take(&mut self.touched) {
            self.drop_if_done(run_id);
        }
        self.read.extend(messages.into_iter().map(Some));
        for row in timers {
            self.output
                .timers
                .add(row.run_id, row.lane, row.due_ms, row.key);
        }
    }

    /// What was drained was not applied: forget the runs it touched, and all they had.
    ///
    /// Only what this process made itself, and nobody could read again, is kept: such a run is
    /// known, cold, and among the next `loads`. Returns the runs that were touched, ordered.
    pub fn rollback(&mut self) -> Vec<RunId> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        self.settle();
        let made_here = self.take_local(&touched.iter().copied().collect());
        self.drained_acks.clear();
        self.drained_drops.clear();
        self.take_back(made_here);
        touched
    }

    /// The store may not be what it was: forget all that was read from it or drained. What this
    /// process made itself is kept as in `rollback`.
    pub fn start_over(&mut self) {
        let made_here = self.take_local(&self.runs.keys().copied().collect());
        let now_ms = self.now_ms;
        let job_bytes_max = self.output.job_bytes_max;
        let whole = std::mem::take(&mut self.output.whole);
        *self = Self::new(self.horizon_ms);
        self.now_ms = now_ms;
        self.output.job_bytes_max = job_bytes_max;
        self.output.whole = whole;
        self.take_back(made_here);
    }

    fn take_back(&mut self, made_here: FxHashMap<RunId, (i64, Vec<Arrival<F>>)>) {
        let first = self.recovered.len();
        for (run_id, (lane, arrivals)) in made_here {
            let mut run = Run::new(run_id, lane, run_states::find);
            run.backlog = arrivals;
            self.runs.insert(run_id, run);
            self.recovered.push(run_id);
        }
        self.recovered[first..].sort_unstable();
    }

    /// Forget a warm run that has nothing going on; false if it must be kept.
    pub fn evict(&mut self, run_id: RunId) -> bool {
        let Some(run) = self.runs.get(&run_id) else {
            return false;
        };
        let is_idle = run_states::evict(run.state).is_some() && run.backlog.is_empty();
        if !is_idle || run.anchor.is_some() || self.output.is_pending(run) {
            return false;
        }
        self.runs.remove(&run_id);
        true
    }

    /// Forget everything of these lanes (`None`: of all), rows not drained included.
    pub fn forget(&mut self, lanes: Option<&FxHashSet<i64>>) {
        let Some(lanes) = lanes else {
            *self = Self::new(self.horizon_ms);
            return;
        };
        for read in &mut self.read {
            if read.as_ref().is_some_and(|row| lanes.contains(&row.lane)) {
                *read = None;
            }
        }
        let mut gone: FxHashSet<RunId> = self.output.timers.in_lanes(lanes).collect();
        gone.extend(
            self.runs
                .values()
                .filter(|run| lanes.contains(&run.lane))
                .map(|run| run.run_id),
        );
        self.forget_runs(&gone);
    }

    /// When the next timer held here fires.
    pub fn next_due(&self) -> Option<i64> {
        self.output.timers.next_due()
    }

    /// Whether an `ingest` would deliver something that waits already.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.read.is_empty()
    }

    /// Whether the run is in memory, warm or cold.
    pub fn known(&self, run_id: RunId) -> bool {
        self.runs.contains_key(&run_id)
    }

    /// (next journal seq, open local work, state) of a run.
    pub fn run_state(&self, run_id: RunId) -> Result<(usize, usize, State), RouterError> {
        match self.runs.get(&run_id) {
            Some(run) => Ok((run.journal_seq, run.ledger.local(), run.state)),
            None => Err(RouterError {
                fault: RouterFault::Unknown,
                run_id,
            }),
        }
    }

    /// How much of everything is in memory.
    pub fn stats(&self) -> Stats {
        let count =
            |wanted: fn(&Run<F>) -> bool| self.runs.values().filter(|run| wanted(run)).count();
        Stats {
            runs: self.runs.len(),
            cold: count(|run| run.state == State::Cold),
            busy: count(|run| !run.jobs.is_empty()),
            anchored: count(|run| run.anchor.is_some()),
            backlog: self.runs.values().map(|run| run.backlog.len()).sum(),
            claims: self.claims.len(),
            timers: self.output.timers.len(),
        }
    }

    fn flush(&mut self, batch: &mut Ingested<F>) {
        for run_id in std::mem::take(&mut self.ready) {
            let run = self.runs.get_mut(&run_id).expect("a ready run is known");
            run.queued = false;
            for arrival in std::mem::take(&mut run.backlog) {
                self.output.offer(run, arrival, self.ingests, batch);
            }
            self.drop_if_done(run_id);
        }
    }

    fn take_message(&mut self, index: usize, message: Message<F>, batch: &mut Ingested<F>) {
        let Message {
            id: message_id,
            lane,
            run_id,
            frame,
            journaled,
        } = message;
        if !self.claims.take(message_id, run_id) {
            return;
        }
        let arrival = match Arrival::decode(frame, Origin::Message { lane, message_id }) {
            Ok(arrival) => arrival,
            Err(error) => {
                batch.errors.push((message_id, lane, run_id, error));
                self.output.columns.acks.push(AckRow {
                    run_id,
                    lane,
                    message_id,
                });
                if let Some(run) = self.runs.get_mut(&run_id) {
                    self.output.mark(run);
                } else {
                    self.output.dirty.push(run_id);
                    self.strays.insert(run_id, self.output.number);
                }
                return;
            }
        };
        if arrival.kind() == kinds::START && !journaled && !self.known(run_id) {
            let run = self
                .runs
                .entry(run_id)
                .or_insert_with(|| discovered(&self.strays, run_id, lane, run_states::begin));
            self.output.offer(run, arrival, self.ingests, batch);
            if let Some(active) = batch.active.last_mut() {
                active.1 = Some(index);
            }
        } else {
            self.deliver(run_id, lane, arrival, batch);
        }
    }

    fn deliver(&mut self, run_id: RunId, lane: i64, arrival: Arrival<F>, batch: &mut Ingested<F>) {
        let run = self.runs.entry(run_id).or_insert_with(|| {
            batch.loads.push(run_id);
            discovered(&self.strays, run_id, lane, run_states::find)
        });
        self.output.offer(run, arrival, self.ingests, batch);
    }

    /// Nothing that was drained is waited for any more.
    fn settle(&mut self) {
        let settled = self.output.number - 1;
        self.output.settled = settled;
        self.strays.retain(|_, number| *number > settled);
    }

    /// Forget a closed run to which nothing is owed; one with a backlog is delivered it.
    fn drop_if_done(&mut self, run_id: RunId) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if run_states::finish(run.state).is_none() {
            return;
        }
        if !run.backlog.is_empty() {
            enqueue(&mut self.ready, run);
        } else if !self.output.is_pending(run) {
            self.runs.remove(&run_id);
        }
    }

    /// Forget these runs; lane and local events, committed ones apart, of those that have any.
    fn take_local(
        &mut self,
        run_ids: &FxHashSet<RunId>,
    ) -> FxHashMap<RunId, (i64, Vec<Arrival<F>>)> {
        let mut found: FxHashMap<RunId, (i64, Vec<Arrival<F>>)> = FxHashMap::default();
        let mut keep = |run_id: RunId, lane: i64, arrival: Arrival<F>| {
            found
                .entry(run_id)
                .or_insert_with(|| (lane, Vec::new()))
                .1
                .push(arrival);
        };
        for events in [&mut self.drained_local, &mut self.local] {
            for (run_id, arrival) in std::mem::take(events) {
                match self.runs.get(&run_id) {
                    Some(run) if run_ids.contains(&run_id) => keep(run_id, run.lane, arrival),
                    _ => events.push((run_id, arrival)),
                }
            }
        }
        for run_id in run_ids {
            if let Some(run) = self.runs.get_mut(run_id) {
                let backlog = std::mem::take(&mut run.backlog);
                for arrival in std::mem::take(&mut run.jobs).into_iter().chain(backlog) {
                    if arrival.origin == Origin::Local {
                        keep(*run_id, run.lane, arrival);
                    }
                }
            }
        }
        self.forget_runs(run_ids);
        found
    }

    fn forget_runs(&mut self, gone: &FxHashSet<RunId>) {
        let kept = |run_id: &RunId| !gone.contains(run_id);
        self.runs.retain(|run_id, _| kept(run_id));
        self.ready.retain(kept);
        self.recovered.retain(kept);
        self.touched.retain(kept);
        self.strays.retain(|run_id, _| kept(run_id));
        self.local.retain(|(run_id, _)| kept(run_id));
        self.drained_local.retain(|(run_id, _)| kept(run_id));
        self.output.dirty.retain(kept);
        self.output.columns.discard(gone);
        self.output.timers.forget(gone);
        self.claims.forget(gone);
    }
}

/// A run that becomes known now.
fn discovered<F: AsRef<[u8]>>(
    strays: &FxHashMap<RunId, u64>,
    run_id: RunId,
    lane: i64,
    arrow: impl Fn(State) -> Option<State>,
) -> Run<F> {
    let mut run = Run::new(run_id, lane, arrow);
    if let Some(&number) = strays.get(&run_id) {
        run.marked_in = number;
    }
    run
}

fn warm<F>(runs: &mut FxHashMap<RunId, Run<F>>, run_id: RunId) -> Result<&mut Run<F>, RouterError> {
    match runs.get_mut(&run_id) {
        None => Err(RouterError {
            fault: RouterFault::Unknown,
            run_id,
        }),
        Some(run) if run.state == State::Cold => Err(RouterError {
            fault: RouterFault::Cold,
            run_id,
        }),
        Some(run) => Ok(run),
    }
}

/// Add a run that has a backlog to the ready ones; it keeps its place if it is there already.
fn enqueue<F>(ready: &mut Vec<RunId>, run: &mut Run<F>) {
    if !run.backlog.is_empty() && !std::mem::replace(&mut run.queued, true) {
        ready.push(run.run_id);
    }
}

fn rebuild(transitions: &[Transition<'_>]) -> Result<Ledger, LedgerError> {
    let mut ledger = Ledger::default();
    for transition in transitions {
        for job in &transition.jobs {
            if !ledger.accept(job) {
                let fault = LedgerFault::NotAccepted;
                return Err(LedgerError {
                    fault,
                    kind: job.kind,
                    seq: job.seq,
                });
            }
        }
        for command in &transition.commands {
            ledger.command(command)?;
        }
    }
    ledger.take_released();
    Ok(ledger)
}

/// The commands that opened local work which nobody here is doing or has done, in journal order.
fn lost_work<'a, F: AsRef<[u8]>>(
    run: &Run<F>,
    transitions: &[Transition<'a>],
    inflight: &FxHashSet<i64>,
) -> Vec<Event<'a>> {
    let made_here = |seq: i64| {
        let mut local = run
            .backlog
            .iter()
            .filter(|each| each.origin == Origin::Local);
        local.any(|each| each.event().seq == seq)
    };
    let is_lost = |seq: i64| {
        run.ledger.get(seq).is_some_and(OpenCommand::is_local)
            && !inflight.contains(&seq)
            && !made_here(seq)
    };
    transitions
        .iter()
        .flat_map(|transition| &transition.commands)
        .filter(|command| kinds::may_be_local(command.kind) && is_lost(command.seq))
        .copied()
        .collect()
}
