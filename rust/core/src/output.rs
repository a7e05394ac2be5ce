//! The output: what a router's runs leave to be written, and the timers that follow from it.
//!
//! Gives an event to a run or disposes of it, decides what may be acknowledged, and turns the
//! commands of an activation into rows.

use rustc_hash::FxHashSet;

use crate::codec::{encode_event, join_transition};
use crate::columns::{AckRow, CloseRow, Columns, DropTaskRow, JournalRow, TaskRow, TimerRow};
use crate::errors::{CodecError, CoreError};
use crate::ledger::{OpenCommand, SCHEDULE_TO_START};
use crate::run::{Arrival, Origin, Run};
use crate::timers::{Timers, timer_key};
use crate::{Event, RunId, kinds};

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

/// What is to be written, and the timers that follow from it.
#[derive(Debug, Default)]
pub struct Output {
    /// The rows.
    pub columns: Columns,
    /// The timers held here.
    pub timers: Timers,
    /// Runs with rows in the columns.
    pub dirty: FxHashSet<RunId>,
}

impl Output {
    /// Give an event to a run: it becomes a job, waits in the backlog, or is done with.
    pub fn offer<F: AsRef<[u8]>>(
        &mut self,
        run: &mut Run<F>,
        arrival: Arrival<F>,
        ingest: u64,
        batch: &mut Ingested<F>,
    ) {
        let is_active = !run.jobs.is_empty() && run.active_in == ingest;
        if !run.warm || (!run.jobs.is_empty() && !is_active) {
            run.backlog.push(arrival);
            return;
        }
        let Event {
            kind, seq, number, ..
        } = arrival.event();
        let origin = arrival.origin;
        let is_timer = matches!(origin, Origin::Timer { .. });
        if kind == kinds::QUERY {
            run.jobs.push(arrival);
        } else if run.closed {
            if matches!(origin, Origin::Message { .. }) {
                batch.late.push((run.run_id, arrival));
            }
            self.acknowledge(run, origin);
            return;
        } else if kind == kinds::ACTIVITY_TIMED_OUT && number == SCHEDULE_TO_START && is_timer {
            self.expire(run, seq, origin, batch);
            return;
        } else if let Err(origin) = run.accept(arrival) {
            self.refuse(run, origin);
            return;
        }
        if !is_active {
            run.active_in = ingest;
            batch.active.push((run.run_id, None));
        }
    }

    /// A task was not claimed in time, perhaps: only the store can tell.
    fn expire<F: AsRef<[u8]>>(
        &mut self,
        run: &mut Run<F>,
        seq: i64,
        origin: Origin,
        batch: &mut Ingested<F>,
    ) {
        if run.ledger.get(seq).is_some_and(OpenCommand::is_task) {
            run.ledger.forget_deadline(seq, SCHEDULE_TO_START);
            batch.expired.push((run.run_id, seq));
            self.acknowledge(run, origin);
        } else {
            self.refuse(run, origin);
        }
    }

    /// A duplicate: acknowledge it, unless it must hold the place of lost local work.
    fn refuse<F: AsRef<[u8]>>(&mut self, run: &mut Run<F>, origin: Origin) {
        if is_stored(origin) && run.anchor.is_none() && run.has_local_work() {
            run.anchor = Some(origin);
        } else {
            self.acknowledge(run, origin);
        }
    }

    /// The store need not hand this out again.
    pub fn acknowledge<F>(&mut self, run: &mut Run<F>, origin: Origin) {
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
                run.run_timers.remove(&key);
            }
            Origin::Local | Origin::Synthetic => return,
        }
        self.dirty.insert(run_id);
    }

    /// Acknowledge what the ended activation came from, but for one anchor if one is needed.
    /// Returns the jobs of that activation, which are the run's no more.
    pub fn settle_origins<F: AsRef<[u8]>>(&mut self, run: &mut Run<F>) -> Vec<Arrival<F>> {
        let jobs = std::mem::take(&mut run.jobs);
        if run.has_local_work() {
            if run.anchor.is_none() {
                run.anchor = choose_anchor(&jobs);
            }
        } else if let Some(origin) = run.anchor.take() {
            self.acknowledge(run, origin);
        }
        for job in &jobs {
            if Some(job.origin) != run.anchor {
                self.acknowledge(run, job.origin);
            }
        }
        jobs
    }

    /// Write the transition, unless there is nothing in it to record; the commands' frames, and
    /// whether it was written.
    pub fn record<F: AsRef<[u8]>>(
        &mut self,
        run: &mut Run<F>,
        now_ms: i64,
        commands: &[&Event<'_>],
    ) -> Result<(Vec<Vec<u8>>, bool), CoreError> {
        let frames = commands
            .iter()
            .map(|command| encode_event(command))
            .collect::<Result<Vec<_>, _>>()?;
        for command in commands {
            run.ledger.command(command)?;
        }
        let jobs: Vec<&Arrival<F>> = run
            .jobs
            .iter()
            .filter(|job| job.kind() != kinds::QUERY)
            .collect();
        if jobs.is_empty() && frames.is_empty() {
            return Ok((frames, false));
        }
        let frame = join_transition(now_ms, &jobs, &frames)?;
        let seq = i64::try_from(run.journal_seq).expect("a journal fits in memory");
        self.columns.journal.push(JournalRow {
            run_id: run.run_id,
            seq,
            frame,
        });
        self.dirty.insert(run.run_id);
        run.journal_seq += 1;
        Ok((frames, true))
    }

    /// Write the timers and tasks of a command that is still wanted after this activation.
    pub fn schedule<F: AsRef<[u8]>>(
        &mut self,
        run: &Run<F>,
        command: &Event<'_>,
        frame: Vec<u8>,
        held_until_ms: i64,
    ) {
        let Event {
            kind,
            seq,
            number,
            meta,
            body,
            ..
        } = *command;
        if run.ledger.closed() || run.ledger.get(seq).is_none() {
            return;
        }
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
            lane,
            seq,
            attempt,
            delay_ms: 0,
            frame,
            state,
        };
        match kind {
            kinds::TIMER => self.write_timer(timer(0), held_until_ms),
            kinds::DEADLINE => self.write_timer(timer(i64::from(meta[0])), held_until_ms),
            kinds::ACTIVITY if number > 0 => self.columns.tasks.push(task(0, frame, Vec::new())),
            kinds::REDISPATCH => self
                .columns
                .tasks
                .push(task(1, meta.to_vec(), body.to_vec())),
            _ => {}
        }
    }

    /// Write a timer; one due by `held_until_ms` is held here too, later ones are read.
    pub fn write_timer(&mut self, row: TimerRow, held_until_ms: i64) {
        if row.due_ms <= held_until_ms {
            self.timers.add(row.run_id, row.lane, row.due_ms, row.key);
        }
        self.dirty.insert(row.run_id);
        self.columns.timers.push(row);
    }

    fn drop_timer<F>(&mut self, run: &Run<F>, due_ms: i64, key: i64) {
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

    fn drop_timers_of<F>(&mut self, run: &Run<F>, command: &OpenCommand) {
        if command.kind == kinds::TIMER {
            self.drop_timer(run, command.number, timer_key(command.seq, 0));
        }
        for &(purpose, due_ms) in &command.deadlines {
            self.drop_timer(run, due_ms, timer_key(command.seq, purpose));
        }
    }

    /// Delete what commands left behind that were settled since the last activation. Nothing was
    /// written for `fresh` ones, which this very activation opened and settled.
    pub fn release<F: AsRef<[u8]>>(&mut self, run: &mut Run<F>, fresh: &FxHashSet<i64>) {
        let run_id = run.run_id;
        for (settled, kind) in run.ledger.take_released() {
            let seq = settled.seq;
            if !fresh.contains(&seq) {
                self.drop_timers_of(run, &settled);
                if kind == kinds::ACTIVITY_TIMED_OUT && settled.is_task() {
                    self.columns.drop_tasks.push(DropTaskRow { run_id, seq });
                }
            }
        }
    }

    /// Write the run's end, and delete all that waits for it.
    pub fn close<F: AsRef<[u8]>>(
        &mut self,
        run: &mut Run<F>,
        command: &Event<'_>,
        fresh: &FxHashSet<i64>,
    ) {
        run.closed = true;
        let (run_id, lane) = (run.run_id, run.lane);
        let mut waits = false;
        for found in run.ledger.open_commands() {
            waits |= found.kind == kinds::WAIT;
            if !fresh.contains(&found.seq) {
                self.drop_timers_of(run, found);
                if found.is_task() {
                    self.columns.drop_tasks.push(DropTaskRow {
                        run_id,
                        seq: found.seq,
                    });
                }
            }
        }
        for (&key, &due_ms) in &run.run_timers {
            self.drop_timer(run, due_ms, key);
        }
        let status = kinds::close_status(command.kind).expect("a closing command comes last");
        let result = command.body.to_vec();
        self.columns.closes.push(CloseRow {
            run_id,
            lane,
            status,
            result,
            waits,
        });
    }
}

/// Whether the store would hand the event out again.
fn is_stored(origin: Origin) -> bool {
    matches!(origin, Origin::Message { .. } | Origin::Timer { .. })
}

/// The origin that holds the place of local work: a message if there is one, else a timer.
fn choose_anchor<F: AsRef<[u8]>>(jobs: &[Arrival<F>]) -> Option<Origin> {
    let mut origins = jobs
        .iter()
        .filter(|job| job.kind() != kinds::QUERY && is_stored(job.origin))
        .map(|job| job.origin);
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
