//! Events, run ids and rows between Python and Rust.

use std::convert::Infallible;

use hotmesh_core::codec::{self, LARGE_BYTES, Share, Transition};
use hotmesh_core::columns::TimerRow;
use hotmesh_core::router::Message;
use hotmesh_core::run::{Arrival, Origin};
use hotmesh_core::{Event, RunId};
use pyo3::Borrowed;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::errors::{codec_error, range_error};

/// The items of a list, a tuple or anything iterable. Items of a tuple can be borrowed: they need no
/// reference of their own, and nobody can take them away.
pub(crate) fn items<'py>(values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    if let Ok(list) = values.cast::<PyList>() {
        return Ok(list.to_tuple());
    }
    if let Ok(tuple) = values.cast_exact::<PyTuple>() {
        return Ok(tuple.clone());
    }
    // Not collected directly: an iterator's size is a costly question in the stable ABI.
    let mut found = Vec::new();
    for value in values.try_iter()? {
        found.push(value?);
    }
    PyTuple::new(values.py(), found)
}

/// A value that must be a tuple: plain ones are told without a call.
#[inline]
pub(crate) fn tuple<'a, 'py>(
    value: Borrowed<'a, 'py, PyAny>,
) -> PyResult<Borrowed<'a, 'py, PyTuple>> {
    match value.cast_exact::<PyTuple>() {
        Ok(tuple) => Ok(tuple),
        Err(_) => Ok(value.cast::<PyTuple>()?),
    }
}

/// The event of a tuple, borrowed from it.
#[inline]
pub(crate) fn event<'a>(value: Borrowed<'a, '_, PyAny>) -> PyResult<Event<'a>> {
    match value.extract::<Parts<'_>>() {
        Ok((kind, seq, number, name, meta, body)) => Ok(Event {
            kind: kind_of(kind)?,
            seq,
            number,
            name,
            meta,
            body,
        }),
        Err(error) => Err(event_error(value, error)),
    }
}

/// As `event`, but without name and body, which a ledger does not look at.
#[inline]
pub(crate) fn outline<'a>(value: Borrowed<'a, '_, PyAny>) -> PyResult<Event<'a>> {
    match value.extract::<Outline<'_>>() {
        Ok((kind, seq, number, _, meta, _)) => Ok(Event {
            meta,
            ..Event::bare(kind_of(kind)?, seq, number)
        }),
        Err(error) => Err(event_error(value, error)),
    }
}

/// Do something with the events of tuples. One in a list, as most activations have, is taken from
/// there: it needs neither a tuple of them nor memory on the heap.
#[inline]
pub(crate) fn with_events<T>(
    values: &Bound<'_, PyAny>,
    action: impl FnOnce(&[Event<'_>]) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(list) = values.cast::<PyList>() {
        if list.len() == 1 {
            let only = list.get_item(0)?;
            return action(&[event(only.as_borrowed())?]);
        }
    }
    let values = items(values)?;
    let mut found = Vec::with_capacity(values.len());
    for value in values.iter_borrowed() {
        found.push(event(value)?);
    }
    action(&found)
}

/// The items of an event's tuple.
type Parts<'a> = (i64, i64, i64, &'a str, &'a [u8], &'a [u8]);
/// Those of them that a ledger looks at.
type Outline<'a> = (i64, i64, i64, Unread, &'a [u8], Unread);

/// An item of a tuple that is of no interest, whatever it is.
struct Unread;

impl FromPyObject<'_, '_> for Unread {
    type Error = Infallible;

    #[inline]
    fn extract(_: Borrowed<'_, '_, PyAny>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

#[inline]
pub(crate) fn kind_of(kind: i64) -> PyResult<u8> {
    u8::try_from(kind).map_err(|_| range_error("event", 0))
}

/// What to say of a tuple that is no event.
#[cold]
fn event_error(value: Borrowed<'_, '_, PyAny>, error: PyErr) -> PyErr {
    let Ok(tuple) = value.cast::<PyTuple>() else {
        return error;
    };
    if tuple.len() != 6 {
        let message = format!("an event has 6 items, this tuple has {}", tuple.len());
        return PyValueError::new_err(message);
    }
    if error.is_instance_of::<PyOverflowError>(value.py()) {
        let kind = tuple.get_item(0).and_then(|kind| kind.extract::<i64>());
        return range_error(
            "event",
            usize::from(kind.is_ok_and(|kind| kind_of(kind).is_ok())),
        );
    }
    error
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

#[inline]
pub(crate) fn run_id_of(value: Borrowed<'_, '_, PyAny>) -> PyResult<RunId> {
    let bytes = value.extract::<&[u8]>()?;
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

pub(crate) fn event_list<'py>(
    py: Python<'py>,
    events: &[Event<'_>],
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for event in events {
        list.append(event_tuple(py, event)?)?;
    }
    Ok(list)
}

/// The event that arrived: one that was made here is the very tuple it was made of.
pub(crate) fn arrival_tuple<'py>(
    py: Python<'py>,
    arrival: &Arrival<Frame>,
) -> PyResult<Bound<'py, PyTuple>> {
    match arrival.shared() {
        Some((_, Frame::Made { event, .. })) => Ok(event.bind(py).clone()),
        _ => event_tuple(py, &arrival.event()),
    }
}

pub(crate) fn transition_tuple<'py>(
    py: Python<'py>,
    transition: &Transition<'_>,
    whole: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let list = |events: &[Event<'_>]| {
        if whole {
            return event_list(py, events);
        }
        let without_body = events.iter().map(|&event| Event { body: b"", ..event });
        event_list(py, &without_body.collect::<Vec<_>>())
    };
    let jobs = list(&transition.jobs)?;
    let commands = list(&transition.commands)?;
    (transition.now_ms, jobs, commands).into_pyobject(py)
}

/// What an event came in.
pub(crate) enum Frame {
    /// A message, as the driver read it.
    Read(PyBackedBytes),
    /// An event of this process: its frame, or its body if that is large, and the tuple to be
    /// handed on.
    Made { frame: Made, event: Py<PyTuple> },
}

/// The bytes of an event of this process.
pub(crate) enum Made {
    Small(Box<[u8]>),
    /// The body of one, to be shared with a journal row.
    Large(PyBackedBytes),
}

impl AsRef<[u8]> for Made {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Small(frame) => frame,
            Self::Large(frame) => frame,
        }
    }
}

impl AsRef<[u8]> for Frame {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Read(frame) => frame,
            Self::Made { frame, .. } => frame.as_ref(),
        }
    }
}

impl Share for Frame {
    fn share(&self) -> Self {
        Python::attach(|py| match self {
            Self::Read(frame)
            | Self::Made {
                frame: Made::Large(frame),
                ..
            } => Self::Read(frame.clone_ref(py)),
            Self::Made {
                frame: Made::Small(frame),
                ..
            } => Self::Read(PyBytes::new(py, frame).into()),
        })
    }
}

/// A (run id, event) pair of this process.
pub(crate) fn made_here(pair: Borrowed<'_, '_, PyAny>) -> PyResult<(RunId, Arrival<Frame>)> {
    let (run_id, tuple): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
    let event = event(tuple.as_borrowed())?;
    let size = codec::event_size(&event).map_err(codec_error)?;
    let whole = tuple.cast::<PyTuple>()?;
    let made = |frame| Frame::Made {
        frame,
        event: whole.clone().unbind(),
    };
    let arrival = if event.body.len() < LARGE_BYTES {
        let mut frame = vec![0; size];
        codec::write_event(&event, &mut frame);
        let frame = made(Made::Small(frame.into_boxed_slice()));
        Arrival::decode(frame, Origin::Local)
    } else {
        let body = whole.get_item(5)?.cast_into::<PyBytes>()?;
        Arrival::apart(&event, made(Made::Large(body.into())), Origin::Local)
    };
    let arrival = arrival.map_err(codec_error)?;
    Ok((run_id_of(run_id.as_borrowed())?, arrival))
}

/// A message row: (id, lane, run id, frame, ..., journaled at index 8). Rows of drivers need not be
/// tuples, but all of them can be indexed.
pub(crate) fn message(row: Borrowed<'_, '_, PyAny>) -> PyResult<Message<Frame>> {
    let Ok(tuple) = row.cast::<PyTuple>() else {
        let item = |index: usize| row.get_item(index);
        let (id, lane) = (item(0)?, item(1)?);
        let parts = [id, lane, item(2)?, item(3)?, item(8)?];
        return message_of(parts.each_ref().map(|part| part.as_borrowed()));
    };
    let item = |index: usize| tuple.get_borrowed_item(index);
    message_of([item(0)?, item(1)?, item(2)?, item(3)?, item(8)?])
}

#[inline]
fn message_of(parts: [Borrowed<'_, '_, PyAny>; 5]) -> PyResult<Message<Frame>> {
    let [id, lane, run_id, frame, journaled] = parts;
    let frame = frame.cast::<PyBytes>()?;
    Ok(Message {
        id: id.extract()?,
        lane: lane.extract()?,
        run_id: run_id_of(run_id)?,
        frame: Frame::Read(PyBackedBytes::from(frame.to_owned())),
        journaled: !journaled.is_none() && journaled.is_truthy()?,
    })
}

/// A timer row: (lane, `due_ms`, run id, key).
pub(crate) fn timer(row: Borrowed<'_, '_, PyAny>) -> PyResult<TimerRow> {
    Ok(TimerRow {
        lane: row.get_item(0)?.extract()?,
        due_ms: row.get_item(1)?.extract()?,
        run_id: run_id_of(row.get_item(2)?.as_borrowed())?,
        key: row.get_item(3)?.extract()?,
    })
}
