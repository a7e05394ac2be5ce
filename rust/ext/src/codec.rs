//! The functions of the codec and of replay.

use hotmesh_core::codec::Draft;
use hotmesh_core::{codec, replay};
use pyo3::Borrowed;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::{self, event_tuple, integer, items, transition_tuple, with_events};
use crate::errors::codec_error;

#[pyfunction]
pub(crate) fn lane_of(queue_id: i64, workflow_id: &str) -> PyResult<i64> {
    codec::lane_of(queue_id, workflow_id)
        .ok_or_else(|| PyOverflowError::new_err(format!("queue id {queue_id} is too large")))
}

#[pyfunction]
pub(crate) fn encode_event<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let parts = convert::event(event.as_borrowed())?;
    let size = codec::event_size(&parts).map_err(codec_error)?;
    written(event.py(), size, |out| codec::write_event(&parts, out))
}

#[pyfunction]
pub(crate) fn encode_event_prefix<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let parts = convert::event(event.as_borrowed())?;
    let size = codec::event_prefix_size(&parts).map_err(codec_error)?;
    written(event.py(), size, |out| {
        codec::write_event_prefix(&parts, out);
    })
}

#[pyfunction]
pub(crate) fn decode_event<'py>(frame: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyTuple>> {
    let event = codec::decode_event(frame.as_bytes()).map_err(codec_error)?;
    event_tuple(frame.py(), &event)
}

#[pyfunction]
pub(crate) fn encode_transition<'py>(
    now_ms: &Bound<'py, PyAny>,
    jobs: &Bound<'py, PyAny>,
    commands: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    with_events(jobs, |jobs| {
        with_events(commands, |commands| {
            for event in jobs.iter().chain(commands) {
                codec::check_event(event).map_err(codec_error)?;
            }
            let now = integer(now_ms, "transition", 3)?;
            let draft = Draft::new(now, jobs.iter(), commands.iter()).map_err(codec_error)?;
            written(now_ms.py(), draft.size(), |out| draft.write(out))
        })
    })
}

#[pyfunction]
pub(crate) fn decode_transition<'py>(frame: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyTuple>> {
    let transition = codec::decode_transition(frame.as_bytes()).map_err(codec_error)?;
    transition_tuple(frame.py(), &transition, true)
}

#[pyfunction]
pub(crate) fn match_commands<'py>(
    recorded: &Bound<'py, PyAny>,
    issued: &Bound<'py, PyAny>,
) -> PyResult<i64> {
    let (recorded, issued) = (items(recorded)?, items(issued)?);
    // Kinds are small integers, which Python has one object of each: looked at when they change.
    let mut last: Option<(Bound<'py, PyAny>, u8)> = None;
    let kind_of = |command: &Borrowed<'_, 'py, PyTuple>| -> PyResult<u8> {
        let item = command.get_borrowed_item(0)?;
        if let Some((object, kind)) = &last {
            if item.is(object) {
                return Ok(*kind);
            }
        }
        let kind = convert::kind_of(integer(&item, "event", 0)?)?;
        last = Some((item.to_owned(), kind));
        Ok(kind)
    };
    let equal = |left: &Borrowed<'_, 'py, PyTuple>, right: &Borrowed<'_, 'py, PyTuple>| {
        let (seq, other) = (left.get_borrowed_item(1)?, right.get_borrowed_item(1)?);
        if !seq.is(other) && integer(&seq, "event", 1)? != integer(&other, "event", 1)? {
            return Ok(false);
        }
        let (name, other) = (left.get_borrowed_item(3)?, right.get_borrowed_item(3)?);
        Ok(name.is(other) || name.extract::<&str>()? == other.extract::<&str>()?)
    };
    let found = replay::match_by(
        recorded.iter_borrowed().map(convert::tuple),
        issued.iter_borrowed().map(convert::tuple),
        kind_of,
        equal,
    )?;
    Ok(found.map_or(-1, |index| {
        i64::try_from(index).expect("a list fits in memory")
    }))
}

/// Bytes of a known size, written where Python keeps them.
#[inline]
fn written(
    py: Python<'_>,
    size: usize,
    write: impl FnOnce(&mut [u8]),
) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, size, |out| {
        write(out);
        Ok(())
    })
}
