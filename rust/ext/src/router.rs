//! The class `Router`. One call takes or gives a whole batch.

use hotmesh_core::codec::Piece;
use hotmesh_core::columns::{Bytes, Columns};
use hotmesh_core::output::Ingested;
use hotmesh_core::{Router as CoreRouter, RunId};
use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};
use rustc_hash::FxHashSet;

use crate::convert::{
    Frame, arrival_tuple, event_list, integer, items, made_here, message, run_id, run_id_of, timer,
    transition_tuple, with_events,
};
use crate::errors::{core_error, router_error};

#[pyclass(module = "hotmesh._core")]
pub(crate) struct Router {
    inner: CoreRouter<Frame>,
}

#[pymethods]
impl Router {
    #[new]
    #[pyo3(signature = (horizon_ms, job_bytes_max = 4_194_304))]
    fn new(horizon_ms: i64, job_bytes_max: usize) -> Self {
        let mut inner = CoreRouter::new(horizon_ms);
        inner.limit_jobs(job_bytes_max);
        Self { inner }
    }

    fn ingest<'py>(
        &mut self,
        py: Python<'py>,
        local: &Bound<'py, PyAny>,
        now_ms: i64,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let local = taken(local, made_here)?;
        let batch = self.inner.ingest(local, now_ms);
        self.ingested(py, batch)
    }

    #[pyo3(signature = (run_id, lane, frames, closed, inflight, whole = true))]
    #[allow(clippy::too_many_arguments)]
    fn load<'py>(
        &mut self,
        py: Python<'py>,
        run_id: &Bound<'py, PyAny>,
        lane: i64,
        frames: &Bound<'py, PyAny>,
        closed: bool,
        inflight: &Bound<'py, PyAny>,
        whole: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let frames = items(frames)?;
        let frames = frames
            .iter_borrowed()
            .map(|frame| Ok(frame.extract::<&[u8]>()?))
            .collect::<PyResult<Vec<_>>>()?;
        let inflight = integers(inflight)?;
        let loaded = self
            .inner
            .load(
                run_id_of(run_id.as_borrowed())?,
                lane,
                &frames,
                closed,
                &inflight,
            )
            .map_err(core_error)?;
        let transitions = PyList::empty(py);
        for transition in &loaded.transitions {
            transitions.append(transition_tuple(py, transition, whole)?)?;
        }
        (transitions, event_list(py, &loaded.lost)?).into_pyobject(py)
    }

    fn complete(
        &mut self,
        run_id: &Bound<'_, PyAny>,
        now_ms: &Bound<'_, PyAny>,
        commands: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        with_events(commands, |events| {
            let now = integer(now_ms, "transition", 3)?;
            let body_of = |at| Frame::Read(body_of(commands, at));
            self.inner
                .complete(run_id_of(run_id.as_borrowed())?, now, events, body_of)
                .map_err(core_error)
        })
    }

    fn fail(&mut self, run_id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner
            .fail(run_id_of(run_id.as_borrowed())?)
            .map_err(router_error)
    }

    fn give_whole(&mut self, run_ids: &Bound<'_, PyAny>) -> PyResult<()> {
        let run_ids = run_ids.try_iter()?;
        let run_ids = run_ids.map(|each| run_id_of(each?.as_borrowed()));
        self.inner.give_whole(run_ids.collect::<PyResult<_>>()?);
        Ok(())
    }

    fn defer_queries(&mut self, run_id: &Bound<'_, PyAny>, count: usize) -> PyResult<()> {
        self.inner
            .defer_queries(run_id_of(run_id.as_borrowed())?, count)
            .map_err(router_error)
    }

    fn waiting_kinds(&self, run_id: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
        let kinds = self.inner.waiting_kinds(run_id_of(run_id.as_borrowed())?);
        Ok(kinds.into_iter().map(i64::from).collect())
    }

    fn forward<'py>(
        &mut self,
        py: Python<'py>,
        run_id: &Bound<'py, PyAny>,
        lane: i64,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let forwarded = self
            .inner
            .forward(run_id_of(run_id.as_borrowed())?, lane)
            .map_err(router_error)?;
        let messages = forwarded
            .messages
            .iter()
            .map(|each| (i64::from(each.kind()), PyBytes::new(py, &each.frame())));
        let messages = PyList::new(py, messages)?;
        (messages, PyList::new(py, forwarded.timers)?).into_pyobject(py)
    }

    fn leave(&mut self, run_id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner
            .leave(run_id_of(run_id.as_borrowed())?)
            .map_err(router_error)
    }

    fn drain<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        drained(py, &self.inner.drain())
    }

    fn commit(&mut self, messages: &Bound<'_, PyAny>, timers: &Bound<'_, PyAny>) -> PyResult<()> {
        let messages = taken(messages, message)?;
        let timers = taken(timers, timer)?;
        self.inner.commit(messages, timers);
        Ok(())
    }

    fn rollback<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        run_ids(py, self.inner.rollback().iter())
    }

    fn start_over(&mut self) {
        self.inner.start_over();
    }

    fn evict(&mut self, run_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.inner.evict(run_id_of(run_id.as_borrowed())?))
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
        Ok(self.inner.known(run_id_of(run_id.as_borrowed())?))
    }

    fn run_state(&self, run_id: &Bound<'_, PyAny>) -> PyResult<(usize, usize, u8)> {
        let found = self.inner.run_state(run_id_of(run_id.as_borrowed())?);
        let (next_seq, local, state) = found.map_err(router_error)?;
        Ok((next_seq, local, state as u8))
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
        batch: Ingested<Frame>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut activations = Vec::with_capacity(batch.active.len());
        for (run, start) in batch.active {
            let mut jobs = Vec::with_capacity(1);
            for job in self.inner.jobs(run) {
                jobs.push(arrival_tuple(py, job)?);
            }
            let fresh = start.map_or(Ok(-1), i64::try_from)?;
            let activation = (run_id(py, &run), PyList::new(py, jobs)?, fresh);
            activations.push(activation.into_pyobject(py)?);
        }
        let late = PyList::empty(py);
        for (run, arrival) in &batch.late {
            late.append((run_id(py, run), arrival_tuple(py, arrival)?))?;
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
        let activations = PyList::new(py, activations)?;
        (activations, loads, late, errors, expired).into_pyobject(py)
    }
}

/// A batch from Python, converted item by item.
fn taken<'py, T>(
    values: &Bound<'py, PyAny>,
    convert: impl Fn(Borrowed<'_, 'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let values = items(values)?;
    let mut found = Vec::with_capacity(values.len());
    for value in values.iter_borrowed() {
        found.push(convert(value)?);
    }
    Ok(found)
}

fn integers(values: &Bound<'_, PyAny>) -> PyResult<FxHashSet<i64>> {
    let values = items(values)?;
    values.iter_borrowed().map(Borrowed::extract).collect()
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

/// As `column`, where an item may fail.
fn items_of<'py, R>(
    py: Python<'py>,
    rows: &[R],
    item: impl Fn(&R) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push(item(row)?);
    }
    Ok(PyList::new(py, found)?.into_any())
}

/// The body of one of the commands that have been taken for events already.
fn body_of(commands: &Bound<'_, PyAny>, at: usize) -> PyBackedBytes {
    let body = commands
        .get_item(at)
        .and_then(|command| command.get_item(5))
        .and_then(|body| Ok(body.cast_into::<PyBytes>()?));
    PyBackedBytes::from(body.expect("it was read as an event"))
}

/// Bytes of a row; those in several pieces are a `Rope` of them.
fn bytes_of<'py>(
    py: Python<'py>,
    columns: &Columns<Frame>,
    bytes: &Bytes<Frame>,
) -> PyResult<Bound<'py, PyAny>> {
    static ROPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let pieces = match bytes {
        Bytes::Within(place) => return Ok(PyBytes::new(py, columns.bytes(place)).into_any()),
        Bytes::Apart(pieces) => pieces,
    };
    let pieces = pieces.iter().map(|piece| match piece {
        Piece::Own(bytes) => PyBytes::new(py, bytes),
        Piece::Shared(Frame::Read(bytes)) => bytes.into_pyobject(py).expect("it can't fail"),
        Piece::Shared(made) => PyBytes::new(py, made.as_ref()),
    });
    let pieces = PyTuple::new(py, pieces.collect::<Vec<_>>())?;
    if pieces.len() == 1 {
        return pieces.get_item(0);
    }
    ROPE.import(py, "hotmesh.core.rope", "Rope")?
        .call1((pieces,))
}

/// The columns in the order of the fields of `Step`.
fn drained<'py>(py: Python<'py>, columns: &Columns<Frame>) -> PyResult<Bound<'py, PyTuple>> {
    let bytes = |data: &[u8]| PyBytes::new(py, data);
    let rope = |bytes: &Bytes<Frame>| bytes_of(py, columns, bytes);
    let run = |id: &RunId| run_id(py, id);
    let Columns {
        journal,
        acks,
        timers,
        drop_timers,
        tasks,
        drop_tasks,
        closes,
        ..
    } = columns;
    let lists = [
        column(py, journal, |row| run(&row.run_id))?,
        column(py, journal, |row| row.seq)?,
        items_of(py, journal, |row| rope(&row.frame))?,
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
        column(py, tasks, |row| PyString::new(py, &row.activity_type))?,
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
        items_of(py, closes, |row| rope(&row.result))?,
        column(py, closes, |row| row.waits)?,
    ];
    PyTuple::new(py, lists)
}
