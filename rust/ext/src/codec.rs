//! The functions of the codec and of replay.

use hotmesh_core::{codec, replay};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::{EventParts, event_tuple, integer, transition_tuple};
use crate::errors::codec_error;

#[pyfunction]
pub(crate) fn lane_of(queue_id: i64, workflow_id: &str) -> PyResult<i64> {
    codec::lane_of(queue_id, workflow_id)
        .ok_or_else(|| PyOverflowError::new_err(format!("queue id {queue_id} is too large")))
}

#[pyfunction]
pub(crate) fn encode_event<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let parts = EventParts::extract(event)?;
    let frame = codec::encode_event(&parts.event()?).map_err(codec_error)?;
    Ok(PyBytes::new(event.py(), &frame))
}

#[pyfunction]
pub(crate) fn encode_event_prefix<'py>(event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let parts = EventParts::extract(event)?;
    let frame = codec::encode_event_prefix(&parts.event()?).map_err(codec_error)?;
    Ok(PyBytes::new(event.py(), &frame))
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
    let jobs = encode_all(jobs)?;
    let commands = encode_all(commands)?;
    let now = integer(now_ms, "transition", 3)?;
    let frame = codec::join_transition(now, &jobs, &commands).map_err(codec_error)?;
    Ok(PyBytes::new(now_ms.py(), &frame))
}

#[pyfunction]
pub(crate) fn decode_transition<'py>(frame: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyTuple>> {
    let transition = codec::decode_transition(frame.as_bytes()).map_err(codec_error)?;
    transition_tuple(frame.py(), &transition)
}

#[pyfunction]
pub(crate) fn match_commands(
    recorded: &Bound<'_, PyAny>,
    issued: &Bound<'_, PyAny>,
) -> PyResult<i64> {
    let recorded = EventParts::extract_all(recorded)?;
    let issued = EventParts::extract_all(issued)?;
    let found = replay::match_commands(
        &EventParts::events(&recorded)?,
        &EventParts::events(&issued)?,
    );
    Ok(found.map_or(-1, |index| {
        i64::try_from(index).expect("a list fits in memory")
    }))
}

fn encode_all(events: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u8>>> {
    let encode = |event: PyResult<Bound<'_, PyAny>>| {
        let parts = EventParts::extract(&event?)?;
        codec::encode_event(&parts.event()?).map_err(codec_error)
    };
    events.try_iter()?.map(encode).collect()
}
