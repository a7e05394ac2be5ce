//! Events, run ids and rows between Python and Rust.

use hotmesh_core::codec::Transition;
use hotmesh_core::columns::TimerRow;
use hotmesh_core::router::Message;
use hotmesh_core::{Event, RunId};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::errors::range_error;

/// An event tuple, taken apart; it keeps its strings alive while the core looks at them.
pub(crate) struct EventParts<'py> {
    kind: u8,
    seq: i64,
    number: i64,
    name: Bound<'py, PyString>,
    meta: Bound<'py, PyBytes>,
    body: Bound<'py, PyBytes>,
}

impl<'py> EventParts<'py> {
    pub(crate) fn extract(event: &Bound<'py, PyAny>) -> PyResult<Self> {
        let event = event.cast::<PyTuple>()?;
        if event.len() != 6 {
            let message = format!("an event has 6 items, this tuple has {}", event.len());
            return Err(PyValueError::new_err(message));
        }
        let kind = integer(&event.get_item(0)?, "event", 0)?;
        let kind = u8::try_from(kind).map_err(|_| range_error("event", 0))?;
        Ok(Self {
            kind,
            seq: integer(&event.get_item(1)?, "event", 1)?,
            number: integer(&event.get_item(2)?, "event", 1)?,
            name: event.get_item(3)?.cast_into()?,
            meta: event.get_item(4)?.cast_into()?,
            body: event.get_item(5)?.cast_into()?,
        })
    }

    pub(crate) fn extract_all(events: &Bound<'py, PyAny>) -> PyResult<Vec<Self>> {
        events
            .try_iter()?
            .map(|event| Self::extract(&event?))
            .collect()
    }

    pub(crate) fn event(&self) -> PyResult<Event<'_>> {
        Ok(Event {
            kind: self.kind,
            seq: self.seq,
            number: self.number,
            name: self.name.to_str()?,
            meta: self.meta.as_bytes(),
            body: self.body.as_bytes(),
        })
    }

    pub(crate) fn events(parts: &[Self]) -> PyResult<Vec<Event<'_>>> {
        parts.iter().map(Self::event).collect()
    }
}

/// An integer that must fit 64 bits; one that does not is out of the frame's range.
pub(crate) fn integer(
    value: &Bound<'_, PyAny>,
    frame: &'static str,
    offset: usize,
) -> PyResult<i64> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            range_error(frame, offset)
        } else {
            error
        }
    })
}

pub(crate) fn run_id_of(value: &Bound<'_, PyAny>) -> PyResult<RunId> {
    let bytes = value.cast::<PyBytes>()?.as_bytes();
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| {
        PyValueError::new_err(format!(
            "a run id has 16 bytes, this one has {}",
            bytes.len()
        ))
    })?;
    Ok(RunId::from_be_bytes(bytes))
}

pub(crate) fn run_id<'py>(py: Python<'py>, run_id: &RunId) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &run_id.to_be_bytes())
}

pub(crate) fn event_tuple<'py>(
    py: Python<'py>,
    event: &Event<'_>,
) -> PyResult<Bound<'py, PyTuple>> {
    let name = PyString::new(py, event.name);
    let meta = PyBytes::new(py, event.meta);
    let body = PyBytes::new(py, event.body);
    (event.kind, event.seq, event.number, name, meta, body).into_pyobject(py)
}

pub(crate) fn event_list<'a, 'py>(
    py: Python<'py>,
    events: impl IntoIterator<Item = Event<'a>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for event in events {
        list.append(event_tuple(py, &event)?)?;
    }
    Ok(list)
}

pub(crate) fn transition_tuple<'py>(
    py: Python<'py>,
    transition: &Transition<'_>,
) -> PyResult<Bound<'py, PyTuple>> {
    let jobs = event_list(py, transition.jobs.iter().copied())?;
    let commands = event_list(py, transition.commands.iter().copied())?;
    (transition.now_ms, jobs, commands).into_pyobject(py)
}

/// A message row: (id, lane, run id, frame, ..., journaled at index 8). Rows of drivers are no
/// tuples, but all of them can be indexed.
pub(crate) fn message(row: &Bound<'_, PyAny>) -> PyResult<Message<PyBackedBytes>> {
    let frame: Bound<'_, PyBytes> = row.get_item(3)?.cast_into()?;
    Ok(Message {
        id: row.get_item(0)?.extract()?,
        lane: row.get_item(1)?.extract()?,
        run_id: run_id_of(&row.get_item(2)?)?,
        frame: PyBackedBytes::from(frame),
        journaled: row.get_item(8)?.is_truthy()?,
    })
}

/// A timer row: (lane, `due_ms`, run id, key).
pub(crate) fn timer(row: &Bound<'_, PyAny>) -> PyResult<TimerRow> {
    Ok(TimerRow {
        lane: row.get_item(0)?.extract()?,
        due_ms: row.get_item(1)?.extract()?,
        run_id: run_id_of(&row.get_item(2)?)?,
        key: row.get_item(3)?.extract()?,
    })
}
