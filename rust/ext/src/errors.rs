//! Errors of the core become the Python classes of `hotmesh.core.errors`.

use hotmesh_core::errors::{CodecError, CodecFault, CoreError, LedgerError, RouterError};
use pyo3::PyErr;

mod python {
    #![allow(missing_docs)] // they are documented where they are defined
    pyo3::import_exception!(hotmesh.core.errors, CodecError);
    pyo3::import_exception!(hotmesh.core.errors, LedgerError);
    pyo3::import_exception!(hotmesh.core.errors, RouterError);
}

pub(crate) fn codec_error(error: CodecError) -> PyErr {
    python::CodecError::new_err((error.fault.code(), error.frame, error.offset))
}

pub(crate) fn ledger_error(error: LedgerError) -> PyErr {
    python::LedgerError::new_err((error.fault.code(), error.kind, error.seq))
}

pub(crate) fn router_error(error: RouterError) -> PyErr {
    python::RouterError::new_err((error.fault.code(), error.run_id.to_be_bytes()))
}

pub(crate) fn core_error(error: CoreError) -> PyErr {
    match error {
        CoreError::Codec(error) => codec_error(error),
        CoreError::Ledger(error) => ledger_error(error),
        CoreError::Router(error) => router_error(error),
    }
}

pub(crate) fn range_error(frame: &'static str, offset: usize) -> PyErr {
    codec_error(CodecError {
        fault: CodecFault::Range,
        frame,
        offset,
    })
}
