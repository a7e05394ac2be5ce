//! Arrays as Postgres sends and takes them in binary: a column of a batch in one call.

use pyo3::Borrowed;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyString, PyTuple};

use crate::convert;

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT4: u32 = 23;
const TEXT: u32 = 25;

/// Bytes before the first element: dimensions, whether there are nulls, element type, size, base.
const HEADER: usize = 20;

/// Bytes of an array without elements, which has neither size nor base.
const EMPTY: usize = 12;

#[pyfunction]
pub(crate) fn encode_array<'py>(
    element: u32,
    items: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let items = convert::items(items)?;
    let count = i32::try_from(items.len()).map_err(|_| too_large(element))?;
    let mut size = HEADER;
    for item in items.iter_borrowed() {
        size += 4 + if item.is_none() {
            0
        } else {
            item_size(element, item)?
        };
    }
    if count == 0 {
        size = EMPTY;
    }
    // Measured first: a large element is written once, where it is to stay.
    PyBytes::new_with(items.py(), size, |out| {
        let mut writer = Writer(out);
        writer.number(i32::from(count > 0));
        let nulls = items.iter_borrowed().any(|item| item.is_none());
        writer.number(i32::from(nulls));
        writer.bytes(&element.to_be_bytes());
        if count > 0 {
            writer.number(count);
            writer.number(1);
        }
        for item in items.iter_borrowed() {
            if item.is_none() {
                writer.number(-1);
            } else {
                write_item(&mut writer, element, item)?;
            }
        }
        Ok(())
    })
}

/// How many bytes an element has; the type of those of one size is checked when they are written.
fn item_size(element: u32, item: Borrowed<'_, '_, PyAny>) -> PyResult<usize> {
    match element {
        BYTEA => match item.cast::<PyBytes>() {
            Ok(bytes) => Ok(bytes.as_bytes().len()),
            Err(error) => Ok(pieces_of(item).ok_or(error)?.1),
        },
        TEXT => Ok(item.cast::<PyString>()?.to_str()?.len()),
        INT4 => Ok(4),
        INT8 => Ok(8),
        BOOL => Ok(1),
        _ => Err(PyTypeError::new_err(unknown(element))),
    }
}

fn write_item(
    writer: &mut Writer<'_>,
    element: u32,
    item: Borrowed<'_, '_, PyAny>,
) -> PyResult<()> {
    match element {
        BYTEA => match item.cast::<PyBytes>() {
            Ok(bytes) => writer.sized(element, bytes.as_bytes()),
            Err(error) => {
                let (pieces, size) = pieces_of(item).ok_or(error)?;
                writer.number(i32::try_from(size).map_err(|_| too_large(element))?);
                for piece in pieces.iter_borrowed() {
                    writer.bytes(piece.cast::<PyBytes>()?.as_bytes());
                }
                Ok(())
            }
        },
        TEXT => writer.sized(element, item.cast::<PyString>()?.to_str()?.as_bytes()),
        INT4 => writer.sized(element, &item.extract::<i32>()?.to_be_bytes()),
        INT8 => writer.sized(element, &item.extract::<i64>()?.to_be_bytes()),
        BOOL => writer.sized(element, &[u8::from(item.cast::<PyBool>()?.is_true())]),
        _ => Err(PyTypeError::new_err(unknown(element))),
    }
}

/// The pieces of a `Rope`, and how many bytes they have.
#[cold]
fn pieces_of<'py>(item: Borrowed<'_, 'py, PyAny>) -> Option<(Bound<'py, PyTuple>, usize)> {
    let pieces = item.getattr("pieces").ok()?.cast_into::<PyTuple>().ok()?;
    let sizes = pieces.iter_borrowed().map(|piece| piece.len().ok());
    let size = sizes.sum::<Option<usize>>()?;
    Some((pieces, size))
}

/// What is left to be written.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn bytes(&mut self, data: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(data.len());
        place.copy_from_slice(data);
        self.0 = rest;
    }

    fn number(&mut self, number: i32) {
        self.bytes(&number.to_be_bytes());
    }

    fn sized(&mut self, element: u32, data: &[u8]) -> PyResult<()> {
        let size = i32::try_from(data.len()).map_err(|_| too_large(element))?;
        self.number(size);
        self.bytes(data);
        Ok(())
    }
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
