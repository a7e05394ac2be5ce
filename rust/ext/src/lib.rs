//! The extension module `hotmesh._core`: translation between Python objects and `hotmesh_core`.
//!
//! Everything exported is listed here, in `python/hotmesh/_core.pyi`, and in the reference twin.

mod arrays;
mod codec;
mod convert;
mod errors;
mod ledger;
mod router;
mod wheel;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::arrays::{decode_array, encode_array};
    #[pymodule_export]
    use crate::codec::{
        decode_event, decode_transition, encode_event, encode_event_prefix, encode_transition,
        lane_of, match_commands,
    };
    #[pymodule_export]
    use crate::ledger::Ledger;
    #[pymodule_export]
    use crate::router::Router;
    #[pymodule_export]
    use crate::wheel::Wheel;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
