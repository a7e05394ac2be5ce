//! The class `Router`. One call takes or gives a whole batch.

use hotmesh_core::columns::Columns;
use hotmesh_core::output::Ingested;
use hotmesh_core::run::{Arrival, Origin};
use hotmesh_core::{Router as CoreRouter, RunId};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use rustc_hash::FxHashSet;

use crate::convert::{
    EventParts, event_list, event_tuple, integer, message, run_id, run_id_of, timer,
    transition_tuple,
};
use crate::errors::{codec_error, core_error, router_error};

#[pyclass(module = "hotmesh._core")]
pub(crate) struct Router {
    inner: CoreRouter<PyBackedBytes>,
}

#[pymethods]
impl Router {
    #[new]
    fn new(horizon_ms: i64) -> Self {
        Self {
            inner: CoreRouter::new(horizon_ms),
        }
    }

    fn ingest<'py>(
        &mut self,
        py: Python<'py>,
        messages: &Bound<'py, PyAny>,
        timers: &Bound<'py, PyAny>,
        local: &Bound<'py, PyAny>,
        now_ms: i64,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let local = local
            .try_iter()?
            .map(|each| made_here(&each?))
            .collect::<PyResult<_>>()?;
        let messages = messages
            .try_iter()?
            .map(|row| message(&row?))
            .collect::<PyResult<_>>()?;
        let timers = timers
            .try_iter()?
            .map(|row| timer(&row?))
            .collect::<PyResult<Vec<_>>>()?;
        let batch = self.inner.ingest(messages, &timers, local, now_ms);
        self.ingested(py, batch)
    }

    fn load<'py>(
        &mut self,
        py: Python<'py>,
        run_id: &Bound<'py, PyAny>,
        lane: i64,
        frames: &Bound<'py, PyAny>,
        closed: bool,
        inflight: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let frames = frames
            .try_iter()?
            .map(|frame| Ok(PyBackedBytes::from(frame?.cast_into::<PyBytes>()?)))
            .collect::<PyResult<Vec<_>>>()?;
        let inflight = integers(inflight)?;
        let loaded = self
            .inner
            .load(run_id_of(run_id)?, lane, &frames, closed, &inflight)
            .map_err(core_error)?;
        let transitions = PyList::empty(py);
        for transition in &loaded.transitions {
            transitions.append(transition_tuple(py, transition)?)?;
        }
        (transitions, event_list(py, loaded.lost)?).into_pyobject(py)
    }

    fn complete(
        &mut self,
        run_id: &Bound<'_, PyAny>,
        now_ms: &Bound<'_, PyAny>,
        commands: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let parts = EventParts::extract_all(commands)?;
        let commands = EventParts::events(&parts)?;
        let now = integer(now_ms, "transition", 3)?;
        self.inner
            .complete(run_id_of(run_id)?, now, &commands)
            .map_err(core_error)
    }

    fn fail(&mut self, run_id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner.fail(run_id_of(run_id)?).map_err(router_error)
    }

    fn timer(
        &mut self,
        run_id: &Bound<'_, PyAny>,
        lane: i64,
        due_ms: i64,
        key: i64,
    ) -> PyResult<()> {
        self.inner
            .timer(run_id_of(run_id)?, lane, due_ms, key)
            .map_err(router_error)
    }

    fn set_run_timers(
        &mut self,
        run_id: &Bound<'_, PyAny>,
        timers: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let timers = timers
            .try_iter()?
            .map(|each| each?.extract())
            .collect::<PyResult<Vec<_>>>()?;
        self.inner
            .set_run_timers(run_id_of(run_id)?, &timers)
            .map_err(router_error)
    }

    fn drain<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        drained(py, &self.inner.drain())
    }

    fn commit(&mut self) {
        self.inner.commit();
    }

    fn rollback<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        run_ids(py, self.inner.rollback().iter())
    }

    fn evict(&mut self, run_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.inner.evict(run_id_of(run_id)?))
    }

    #[pyo3(signature = (lanes))]
    fn forget(&mut self, lanes: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let lanes = lanes.map(integers).transpose()?;
        self.inner.forget(lanes.as_ref());
        Ok(())
    }

    fn next_due(&self) -> Option<i64> {
        self.inner.next_due()
    }

    fn has_ready(&self) -> bool {
        self.inner.has_ready()
    }

    fn known(&self, run_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.inner.known(run_id_of(run_id)?))
    }

    fn run_state(&self, run_id: &Bound<'_, PyAny>) -> PyResult<(usize, usize, bool)> {
        self.inner
            .run_state(run_id_of(run_id)?)
            .map_err(router_error)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inner.stats();
        let counts = PyDict::new(py);
        counts.set_item("runs", stats.runs)?;
        counts.set_item("cold", stats.cold)?;
        counts.set_item("busy", stats.busy)?;
        counts.set_item("anchored", stats.anchored)?;
        counts.set_item("backlog", stats.backlog)?;
        counts.set_item("claims", stats.claims)?;
        counts.set_item("timers", stats.timers)?;
        Ok(counts)
    }
}

impl Router {
    fn ingested<'py>(
        &self,
        py: Python<'py>,
        batch: Ingested<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let activations = PyList::empty(py);
        for (run, start) in batch.active {
            let jobs = event_list(py, self.inner.jobs(run).iter().map(Arrival::event))?;
            let fresh = start.map_or(Ok(-1), i64::try_from)?;
            activations.append((run_id(py, &run), jobs, fresh))?;
        }
        let late = PyList::empty(py);
        for (run, arrival) in &batch.late {
            late.append((run_id(py, run), event_tuple(py, &arrival.event())?))?;
        }
        let errors = PyList::empty(py);
        for (id, lane, run, error) in &batch.errors {
            errors.append((id, lane, run_id(py, run), error.to_string()))?;
        }
        let expired = PyList::empty(py);
        for (run, seq) in &batch.expired {
            expired.append((run_id(py, run), seq))?;
        }
        let loads = run_ids(py, batch.loads.iter())?;
        (activations, loads, late, errors, expired).into_pyobject(py)
    }
}

/// A (run id, event) pair of this process.
fn made_here(pair: &Bound<'_, PyAny>) -> PyResult<(RunId, Arrival<PyBackedBytes>)> {
    let parts = EventParts::extract(&pair.get_item(1)?)?;
    let arrival = Arrival::make(&parts.event()?, Origin::Local).map_err(codec_error)?;
    Ok((run_id_of(&pair.get_item(0)?)?, arrival))
}

fn integers(values: &Bound<'_, PyAny>) -> PyResult<FxHashSet<i64>> {
    values.try_iter()?.map(|value| value?.extract()).collect()
}

fn run_ids<'a, 'py>(
    py: Python<'py>,
    ids: impl ExactSizeIterator<Item = &'a RunId>,
) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, ids.map(|id| run_id(py, id)))
}

/// One list of a drained batch: an item of each row.
fn column<'py, R, T: IntoPyObject<'py>>(
    py: Python<'py>,
    rows: &[R],
    item: impl Fn(&R) -> T,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyList::new(py, rows.iter().map(item))?.into_any())
}

/// The columns in the order of the fields of `Step`.
fn drained<'py>(py: Python<'py>, columns: &Columns) -> PyResult<Bound<'py, PyTuple>> {
    let bytes = |data: &[u8]| PyBytes::new(py, data);
    let run = |id: &RunId| run_id(py, id);
    let Columns {
        journal,
        acks,
        timers,
        drop_timers,
        tasks,
        drop_tasks,
        closes,
    } = columns;
    let lists = [
        column(py, journal, |row| run(&row.run_id))?,
        column(py, journal, |row| row.seq)?,
        column(py, journal, |row| bytes(&row.frame))?,
        column(py, acks, |row| row.lane)?,
        column(py, acks, |row| row.message_id)?,
        column(py, timers, |row| row.lane)?,
        column(py, timers, |row| row.due_ms)?,
        column(py, timers, |row| run(&row.run_id))?,
        column(py, timers, |row| row.key)?,
        column(py, drop_timers, |row| row.lane)?,
        column(py, drop_timers, |row| row.due_ms)?,
        column(py, drop_timers, |row| run(&row.run_id))?,
        column(py, drop_timers, |row| row.key)?,
        column(py, tasks, |row| row.queue_id)?,
        column(py, tasks, |row| row.lane)?,
        column(py, tasks, |row| run(&row.run_id))?,
        column(py, tasks, |row| row.seq)?,
        column(py, tasks, |row| row.attempt)?,
        column(py, tasks, |row| row.delay_ms)?,
        column(py, tasks, |row| bytes(&row.frame))?,
        column(py, tasks, |row| bytes(&row.state))?,
        column(py, drop_tasks, |row| run(&row.run_id))?,
        column(py, drop_tasks, |row| row.seq)?,
        column(py, closes, |row| run(&row.run_id))?,
        column(py, closes, |row| row.lane)?,
        column(py, closes, |row| row.status)?,
        column(py, closes, |row| bytes(&row.result))?,
        column(py, closes, |row| row.waits)?,
    ];
    PyTuple::new(py, lists)
}
