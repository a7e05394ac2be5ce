//! The class `Wheel`.

use hotmesh_core::wheel;
use pyo3::prelude::*;

#[pyclass(module = "hotmesh._core")]
#[derive(Default)]
pub(crate) struct Wheel {
    inner: wheel::Wheel,
}

#[pymethods]
impl Wheel {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn add(&mut self, due_ms: i64, token: u64) {
        self.inner.add(due_ms, token);
    }

    fn cancel(&mut self, token: u64) -> bool {
        self.inner.cancel(token)
    }

    fn advance(&mut self, now_ms: i64) -> Vec<u64> {
        self.inner.advance(now_ms)
    }

    fn next_due(&self) -> Option<i64> {
        self.inner.next_due()
    }
}
