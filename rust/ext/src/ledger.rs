//! The class `Ledger`.

use hotmesh_core::ledger;
use pyo3::prelude::*;

use crate::convert::outline;
use crate::errors::ledger_error;

#[pyclass(module = "hotmesh._core")]
#[derive(Default)]
pub(crate) struct Ledger {
    inner: ledger::Ledger,
}

#[pymethods]
impl Ledger {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn started(&self) -> bool {
        self.inner.started()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.inner.closed()
    }

    #[getter]
    fn local(&self) -> usize {
        self.inner.local()
    }

    fn command(&mut self, event: &Bound<'_, PyAny>) -> PyResult<()> {
        let event = outline(event.as_borrowed())?;
        self.inner.command(&event).map_err(ledger_error)
    }

    fn accept(&mut self, event: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.inner.accept(&outline(event.as_borrowed())?))
    }

    fn is_open(&self, seq: i64) -> bool {
        self.inner.get(seq).is_some()
    }

    fn counts(&self) -> (usize, usize, usize) {
        self.inner.counts()
    }

    fn words(&self) -> (Vec<u64>, Vec<u64>) {
        self.inner.words()
    }

    fn local_seqs(&self) -> Vec<i64> {
        self.inner.local_seqs().collect()
    }
}
