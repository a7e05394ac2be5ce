//! Arrays as Postgres sends and takes them in binary: a column of a batch in one call.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyString};

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT4: u32 = 23;
const TEXT: u32 = 25;

/// Bytes before the first element: dimensions, whether there are nulls, element type, size, base.
const HEADER: usize = 20;

#[pyfunction]
pub(crate) fn encode_array<'py>(
    element: u32,
    items: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let count = items.len()?;
    let size = i32::try_from(count).map_err(|_| too_large(element))?;
    let mut out = Vec::with_capacity(HEADER + 24 * count);
    put(&mut out, i32::from(count > 0));
    put(&mut out, 0);
    out.extend_from_slice(&element.to_be_bytes());
    if count > 0 {
        put(&mut out, size);
        put(&mut out, 1);
    }
    let mut nulls = false;
    for item in items.try_iter()? {
        let item = item?;
        if item.is_none() {
            nulls = true;
            put(&mut out, -1);
        } else {
            encode_item(&mut out, element, &item)?;
        }
    }
    out[7] = u8::from(nulls);
    Ok(PyBytes::new(items.py(), &out))
}

fn encode_item(out: &mut Vec<u8>, element: u32, item: &Bound<'_, PyAny>) -> PyResult<()> {
    match element {
        BYTEA => put_bytes(out, element, item.cast::<PyBytes>()?.as_bytes())?,
        TEXT => put_bytes(out, element, item.cast::<PyString>()?.to_str()?.as_bytes())?,
        INT4 => put_bytes(out, element, &item.extract::<i32>()?.to_be_bytes())?,
        INT8 => put_bytes(out, element, &item.extract::<i64>()?.to_be_bytes())?,
        BOOL => put_bytes(out, element, &[u8::from(item.cast::<PyBool>()?.is_true())])?,
        _ => return Err(PyTypeError::new_err(unknown(element))),
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, element: u32, data: &[u8]) -> PyResult<()> {
    put(
        out,
        i32::try_from(data.len()).map_err(|_| too_large(element))?,
    );
    out.extend_from_slice(data);
    Ok(())
}

#[pyfunction]
pub(crate) fn decode_array<'py>(data: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyList>> {
    let py = data.py();
    let mut rest = Reader(data.as_bytes());
    let (dimensions, _, element) = (rest.number()?, rest.number()?, rest.number()?);
    let list = PyList::empty(py);
    if dimensions == 0 {
        return Ok(list);
    }
    let (size, _) = (rest.number()?, rest.number()?);
    if dimensions != 1 {
        return Err(malformed());
    }
    let element = u32::from_be_bytes(element.to_be_bytes());
    for _ in 0..size {
        let length = rest.number()?;
        let Ok(length) = usize::try_from(length) else {
            list.append(py.None())?;
            continue;
        };
        let item = rest.take(length)?;
        match element {
            BYTEA => list.append(PyBytes::new(py, item))?,
            TEXT => list.append(std::str::from_utf8(item).map_err(|_| malformed())?)?,
            INT4 => list.append(i32::from_be_bytes(exactly(item)?))?,
            INT8 => list.append(i64::from_be_bytes(exactly(item)?))?,
            BOOL => list.append(PyBool::new(py, exactly::<1>(item)? != [0]))?,
            _ => return Err(PyTypeError::new_err(unknown(element))),
        }
    }
    if rest.0.is_empty() {
        Ok(list)
    } else {
        Err(malformed())
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> PyResult<i32> {
        Ok(i32::from_be_bytes(exactly(self.take(4)?)?))
    }
}

fn exactly<const N: usize>(item: &[u8]) -> PyResult<[u8; N]> {
    item.try_into().map_err(|_| malformed())
}

fn malformed() -> PyErr {
    PyValueError::new_err("an array is malformed, or has more than one dimension")
}

fn too_large(element: u32) -> PyErr {
    PyValueError::new_err(format!("an array of type {element} is too large"))
}

fn unknown(element: u32) -> String {
    format!("arrays of type {element} are not known here")
}
