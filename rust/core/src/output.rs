//! The output: what a router's runs leave to be written, and the timers that follow from it.
//!
//! Gives an event to a run or disposes of it, decides what may be acknowledged, and turns the
//! commands of an activation into rows.

mod commands;

use crate::codec::{
    Draft, LARGE_BYTES, Piece, Share, Source, check_event, encode_event, write_rope,
};
use crate::columns::{
    AckRow, Bytes, CloseRow, Columns, DropTaskRow, JournalRow, TaskRow, TimerRow,
};
use crate::errors::{CodecError, CoreError};
use crate::ledger::{OpenCommand, SCHEDULE_TO_START};
use crate::run::{Arrival, Origin, Run};
use crate::run_states::{self, State};
use crate::timers::{Timers, timer_key};
use crate::{Event, RunId, kinds};
use rustc_hash::FxHashSet;

use commands::Fresh;

/// Room for that many jobs is kept by a run from one activation to the next.
const JOBS_KEPT: usize = 1;

/// What one `ingest` found out.
#[derive(Debug)]
pub struct Ingested<F> {
    /// Runs with new jobs (see [`Router::jobs`]), in order of the first one, each with the index
    /// of the start message that made it just now.
    pub active: Vec<(RunId, Option<usize>)>,
    /// Runs whose journal must be loaded.
    pub loads: Vec<RunId>,
    /// Messages to closed runs; acknowledged.
    pub late: Vec<(RunId, Arrival<F>)>,
    /// (id, lane, run, error) of undecodable messages; acknowledged.
    pub errors: Vec<(i64, i64, RunId, CodecError)>,
    /// (run, seq) of tasks to recall if nobody has claimed them.
    pub expired: Vec<(RunId, i64)>,
}

/// What one activation takes, unless said otherwise; `limits.py` explains it.
const JOB_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is to be written, and the timers that follow from it.
#[derive(Debug)]
pub struct Output<F> {
    /// The rows.
    pub columns: Columns<F>,
    /// The number of these columns, from 1: see [`Run::marked_in`].
    pub number: u64,
    /// The number of the last columns that are committed.
    pub settled: u64,
    /// The timers held here.
    pub timers: Timers,
    /// Runs with rows in the columns.
    pub dirty: Vec<RunId>,
    /// Bytes of jobs from which on a run gets no more of them in one activation.
    pub job_bytes_max: usize,
    /// Runs that are given all that waits for them at once.
    pub whole: FxHashSet<RunId>,
}

impl<F> Default for Output<F> {
    fn default() -> Self {
        Self {
            columns: Columns::default(),
            number: 1,
            settled: 0,
            timers: Timers::default(),
            dirty: Vec::new(),
            job_bytes_max: JOB_BYTES_MAX,
            whole: FxHashSet::default(),
        }
    }
}

impl<F: Share> Output<F> {
    /// Note that a run has rows in the columns.
    #[inline]
    pub fn mark(&mut self, run: &mut Run<F>) {
        if run.marked_in != self.number {
            run.marked_in = self.number;
            self.dirty.push(run.run_id);
        }
    }

    /// Whether the run has rows that are not committed.
    pub fn is_pending(&self, run: &Run<F>) -> bool {
        run.marked_in > self.settled
    }

    /// Give an event to a run: it becomes a job, waits in the backlog, or is done with.
    pub fn offer(
        &mut self,
        run: &mut Run<F>,
        arrival: Arrival<F>,
        ingest: u64,
        batch: &mut Ingested<F>,
    ) {
        let is_active = !run.jobs.is_empty() && run.active_in == ingest;
        let is_full = run.job_bytes >= self.job_bytes_max && !self.whole.contains(&run.run_id);
        if run.state == State::Cold || (!run.jobs.is_empty() && !is_active) || is_full {
            run.backlog.push(arrival);
            return;
        }
        let Event {
            kind, seq, number, ..
        } = arrival.outline();
        let is_timer = matches!(arrival.origin, Origin::Timer { .. });
        if kind == kinds::QUERY {
            run.go(run_states::ask);
            run.jobs.push(arrival);
        } else if run.is_closed() {
            self.close_out(run, arrival, batch);
            return;
        } else if kind == kinds::ACTIVITY_TIMED_OUT && number == SCHEDULE_TO_START && is_timer {
            expire(run, seq, batch);
            self.dismiss(run, arrival);
            return;
        } else if let Some(arrival) = run.accept(arrival) {
            self.dismiss(run, arrival);
            return;
        }
        if !is_active {
            run.active_in = ingest;
            batch.active.push((run.run_id, None));
        }
    }

    /// An event for a closed run is late, once it is certain that the run is closed.
    ///
    /// Until then an event that somebody was told is accepted stays in the stream: the store
    /// refuses to close a run that has one, and the run is brought up again and sees it.
    fn close_out(&mut self, run: &mut Run<F>, arrival: Arrival<F>, batch: &mut Ingested<F>) {
        if kinds::is_event(arrival.kind()) && self.is_pending(run) {
            run.backlog.push(arrival);
            return;
        }
        let origin = arrival.origin;
        if matches!(origin, Origin::Message { .. }) {
            batch.late.push((run.run_id, arrival));
        }
        self.acknowledge(run, origin);
    }

    /// No job, nothing to be done: but it may have to hold the place of local work.
    ///
    /// Of a run that is busy nobody knows yet: what it asks for may be local work.
    fn dismiss(&mut self, run: &mut Run<F>, arrival: Arrival<F>) {
        let origin = arrival.origin;
        if !run.jobs.is_empty() {
            run.dismissed.push(arrival);
        } else if is_stored(origin) && run.anchor.is_none() && run.has_local_work() {
            run.anchor = Some(origin);
        } else {
            self.acknowledge(run, origin);
        }
    }

    /// The store need not hand this out again.
    pub fn acknowledge(&mut self, run: &mut Run<F>, origin: Origin) {
        let run_id = run.run_id;
        match origin {
            Origin::Message { lane, message_id } => {
                self.columns.acks.push(AckRow {
                    run_id,
                    lane,
                    message_id,
                });
            }
            Origin::Timer { lane, due_ms, key } => {
                self.columns.drop_timers.push(TimerRow {
                    run_id,
                    lane,
                    due_ms,
                    key,
                });
            }
            Origin::Local | Origin::Synthetic => return,
        }
        self.mark(run);
    }

    /// Acknowledge what the ended activation came from, but for one anchor if one is needed.
    /// The jobs of that activation are the run's no more; those made here are put into `made_here`.
    pub fn settle_origins(
        &mut self,
        run: &mut Run<F>,
        made_here: Option<&mut Vec<(RunId, Arrival<F>)>>,
    ) {
        let mut jobs = std::mem::take(&mut run.jobs);
        let dismissed = std::mem::take(&mut run.dismissed);
        run.job_bytes = 0;
        run.go(run_states::complete);
        if run.has_local_work() {
            if run.anchor.is_none() {
                run.anchor = choose_anchor(jobs.iter().chain(&dismissed));
            }
        } else if let Some(origin) = run.anchor.take() {
            self.acknowledge(run, origin);
        }
        for arrival in jobs.iter().chain(&dismissed) {
            if Some(arrival.origin) != run.anchor {
                self.acknowledge(run, arrival.origin);
            }
        }
        let is_local = |job: &Arrival<F>| job.origin == Origin::Local;
        if let Some(made_here) = made_here.filter(|_| jobs.iter().any(is_local)) {
            let local = jobs.drain(..).filter(is_local);
            made_here.extend(local.map(|job| (run.run_id, job)));
        }
        if jobs.capacity() <= JOBS_KEPT {
            jobs.clear();
            run.jobs = jobs;
        }
    }

    /// Write the transition; its bytes, 0 if there is nothing in it to record. `body_of` has the body
    /// of each command, to be kept where it is large.
    pub fn record(
        &mut self,
        run: &mut Run<F>,
        now_ms: i64,
        commands: &[Event<'_>],
        body_of: &impl Fn(usize) -> F,
    ) -> Result<usize, CoreError> {
        for command in commands {
            check_event(command)?;
        }
        for command in commands {
            run.ledger.command(command)?;
        }
        let jobs = run
            .jobs
            .iter()
            .filter(|job| !kinds::is_not_journaled(job.kind()));
        if jobs.clone().next().is_none() && commands.is_empty() {
            return Ok(0);
        }
        let draft = Draft::new(now_ms, jobs, commands.iter())?;
        let size = draft.size();
        let frame = if size < LARGE_BYTES {
            self.columns.add_bytes(size, |out| draft.write(out))
        } else {
            rope(run, now_ms, commands, body_of)?
        };
        let seq = i64::try_from(run.journal_seq).expect("a journal fits in memory");
        self.columns.journal.push(JournalRow {
            run_id: run.run_id,
            seq,
            frame,
        });
        self.mark(run);
        run.journal_seq += 1;
        Ok(size)
    }

    /// Write the timers and tasks of the commands that are still wanted after this activation.
    pub fn schedule(&mut self, run: &mut Run<F>, commands: &[Event<'_>], held_until_ms: i64) {
        if run.ledger.closed() {
            return;
        }
        for command in commands {
            if run.ledger.get(command.seq).is_some() {
                self.schedule_one(run, command, held_until_ms);
            }
        }
    }

    fn schedule_one(&mut self, run: &mut Run<F>, command: &Event<'_>, held_until_ms: i64) {
        let Event {
            kind,
            seq,
            number,
            name,
            meta,
            body,
        } = *command;
        let (run_id, lane) = (run.run_id, run.lane);
        let timer = |purpose| TimerRow {
            run_id,
            lane,
            due_ms: number,
            key: timer_key(seq, purpose),
        };
        let task = |attempt, frame, state| TaskRow {
            run_id,
            queue_id: number,
            activity_type: name.to_owned(),
            lane,
            seq,
            attempt,
            delay_ms: 0,
            frame,
            state,
        };
        match kind {
            kinds::TIMER => self.write_timer(run, timer(0), held_until_ms),
            kinds::DEADLINE => self.write_timer(run, timer(i64::from(meta[0])), held_until_ms),
            kinds::ACTIVITY if number > 0 => {
                let frame = encode_event(command).expect("checked when it was recorded");
                self.columns.tasks.push(task(0, frame, Vec::new()));
            }
            kinds::REDISPATCH => self
                .columns
                .tasks
                .push(task(1, meta.to_vec(), body.to_vec())),
            _ => {}
        }
    }

    /// Write a timer; one due by `held_until_ms` is held here too, later ones are read.
    pub fn write_timer(&mut self, run: &mut Run<F>, row: TimerRow, held_until_ms: i64) {
        if row.due_ms <= held_until_ms {
            self.timers.add(row.run_id, row.lane, row.due_ms, row.key);
        }
        self.mark(run);
        self.columns.timers.push(row);
    }

    fn drop_timer(&mut self, run: &Run<F>, due_ms: i64, key: i64) {
        let (run_id, lane) = (run.run_id, run.lane);
        if self.timers.drop(run_id, lane, key) {
            self.columns.drop_timers.push(TimerRow {
                run_id,
                lane,
                due_ms,
                key,
            });
        }
    }

    fn drop_timers_of(&mut self, run: &Run<F>, command: &OpenCommand) {
        if command.kind == kinds::TIMER {
            self.drop_timer(run, command.number, timer_key(command.seq, 0));
        }
        for &(purpose, due_ms) in &command.deadlines {
            self.drop_timer(run, due_ms, timer_key(command.seq, purpose));
        }
    }

    /// Delete what commands left behind that were settled since the last activation, and, if this
    /// one closed the run, all that waits for it. Nothing was written for what this very activation
    /// opened and settled.
    pub fn release(
        &mut self,
        run: &mut Run<F>,
        commands: &[Event<'_>],
        body_of: &impl Fn(usize) -> F,
    ) {
        let released = run.ledger.take_released();
        let closes = run.ledger.closed() && !run.is_closed();
        if released.is_empty() && !closes {
            return;
        }
        let fresh = Fresh::of(commands);
        let run_id = run.run_id;
        for (settled, kind) in released {
            let seq = settled.seq;
            if !fresh.contains(seq) {
                self.drop_timers_of(run, &settled);
                if kind == kinds::ACTIVITY_TIMED_OUT && settled.is_task() {
                    self.columns.drop_tasks.push(DropTaskRow { run_id, seq });
                }
            }
        }
        if closes {
            let closing = commands.last().expect("a command closed the ledger");
            self.close(run, closing, &fresh, || body_of(commands.len() - 1));
        }
    }

    /// Write the run's end, and delete all that waits for it.
    fn close(
        &mut self,
        run: &mut Run<F>,
        command: &Event<'_>,
        fresh: &Fresh,
        body: impl FnOnce() -> F,
    ) {
        run.go(run_states::close);
        let (run_id, lane) = (run.run_id, run.lane);
        let mut waits = false;
        for found in run.ledger.open_commands() {
            waits |= found.kind == kinds::WAIT;
            if !fresh.contains(found.seq) {
                self.drop_timers_of(run, found);
                if found.is_task() {
                    self.columns.drop_tasks.push(DropTaskRow {
                        run_id,
                        seq: found.seq,
                    });
                }
            }
        }
        let status = kinds::close_status(command.kind).expect("a closing command comes last");
        let size = command.body.len();
        let result = if size < LARGE_BYTES {
            self.columns
                .add_bytes(size, |out| out.copy_from_slice(command.body))
        } else {
            Bytes::Apart(vec![Piece::Shared(body())])
        };
        self.columns.closes.push(CloseRow {
            run_id,
            lane,
            status,
            result,
            waits,
        });
    }
}

/// A large row: what is large in it is shared with whoever has it.
#[cold]
fn rope<F: Share>(
    run: &Run<F>,
    now_ms: i64,
    commands: &[Event<'_>],
    body_of: &impl Fn(usize) -> F,
) -> Result<Bytes<F>, CoreError> {
    let jobs = || {
        run.jobs
            .iter()
            .filter(|job| !kinds::is_not_journaled(job.kind()))
    };
    let sources = jobs().map(|job| match job.shared() {
        Some((head, shared)) if shared.as_ref().len() >= LARGE_BYTES => Source::Frame(head, shared),
        _ => Source::Job(job),
    });
    let counts = [jobs().count(), commands.len()];
    let sources = sources.chain(commands.iter().enumerate().map(|(at, command)| {
        let body = (command.body.len() >= LARGE_BYTES).then(|| body_of(at));
        Source::Command(command, body)
    }));
    Ok(Bytes::Apart(write_rope(now_ms, counts, sources)?))
}

/// A task was not claimed in time, perhaps: only the store can tell.
fn expire<F>(run: &mut Run<F>, seq: i64, batch: &mut Ingested<F>) {
    if run.ledger.get(seq).is_some_and(OpenCommand::is_task) {
        run.ledger.forget_deadline(seq, SCHEDULE_TO_START);
        batch.expired.push((run.run_id, seq));
    }
}

/// Whether the store would hand the event out again.
fn is_stored(origin: Origin) -> bool {
    matches!(origin, Origin::Message { .. } | Origin::Timer { .. })
}

/// The origin that holds the place of local work: a message if there is one, else a timer.
fn choose_anchor<'a, F: AsRef<[u8]> + 'a>(
    arrivals: impl Iterator<Item = &'a Arrival<F>>,
) -> Option<Origin> {
    let mut origins = arrivals
        .filter(|each| !kinds::is_not_journaled(each.kind()) && is_stored(each.origin))
        .map(|each| each.origin);
    let first = origins.next()?;
    if matches!(first, Origin::Message { .. }) {
        return Some(first);
    }
    Some(
        origins
            .find(|each| matches!(each, Origin::Message { .. }))
            .unwrap_or(first),
    )
}
