//! The router core of `HotMesh`: messages in, activations out; commands in, columns out.
//!
//! Pure functions of their arguments: no I/O, no clock, no threads. Integers are `i64`, times are
//! integer milliseconds, and nothing depends on the order of a hash table. The pure-Python twin
//! (`python/hotmesh/core/_python`) is the reference: same file names, same bytes, same errors.

pub mod claims;
pub mod codec;
pub mod columns;
pub mod errors;
pub mod kinds;
pub mod ledger;
pub mod output;
pub mod replay;
pub mod router;
pub mod run;
pub mod run_states;
pub mod timers;
pub mod wheel;

pub use codec::Event;
pub use errors::{CodecError, CoreError, LedgerError, RouterError};
pub use router::Router;

/// A run's id: the 16 bytes of its UUID, big-endian, so that order is byte order.
pub type RunId = u128;
