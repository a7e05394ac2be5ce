//! Errors of the core, as small values. Their texts equal those of `hotmesh.core.errors`.

use std::fmt;

use crate::{RunId, kinds};

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CodecFault {
    Truncated,
    Trailing,
    Varint,
    Range,
    Utf8,
    Magic,
    Version,
    Flags,
    Checksum,
}

impl CodecFault {
    /// The stable word of the fault.
    pub fn code(self) -> &'static str {
        self.words().0
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Truncated => ("truncated", "ends too early"),
            Self::Trailing => ("trailing", "has bytes after its end"),
            Self::Varint => ("varint", "has a number that is overlong or beyond 64 bits"),
            Self::Range => ("range", "has a number outside its range"),
            Self::Utf8 => ("utf8", "has a name that is not UTF-8"),
            Self::Magic => ("magic", "does not begin with the magic byte"),
            Self::Version => (
                "version",
                "has a version this release does not know; upgrade hotmesh",
            ),
            Self::Flags => (
                "flags",
                "has flags this release does not know; upgrade hotmesh",
            ),
            Self::Checksum => ("checksum", "does not match its checksum"),
        }
    }
}

/// A frame is damaged or newer than this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecError {
    /// What is wrong.
    pub fault: CodecFault,
    /// What was being read or written: "event" or "transition".
    pub frame: &'static str,
    /// The byte at which it went wrong.
    pub offset: usize,
}

impl fmt::Display for CodecError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.fault.words().1;
        write!(out, "{} frame {text} (at byte {})", self.frame, self.offset)
    }
}

/// How a command or a recorded job contradicts the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LedgerFault {
    OpenedTwice,
    NotOpen,
    Range,
    Purpose,
    AfterClose,
    NotAccepted,
}

impl LedgerFault {
    /// The stable word of the fault.
    pub fn code(self) -> &'static str {
        self.words().0
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenedTwice => ("opened_twice", "opens a command that was opened before"),
            Self::NotOpen => ("not_open", "refers to a command that is not open"),
            Self::Range => (
                "range",
                "has a sequence number or queue outside the allowed range",
            ),
            Self::Purpose => ("purpose", "has a deadline purpose that is neither 1 nor 2"),
            Self::AfterClose => ("after_close", "comes after the command that closed the run"),
            Self::NotAccepted => (
                "not_accepted",
                "is recorded in the journal, but could not have been accepted there",
            ),
        }
    }
}

/// A command or a recorded job contradicts the run's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerError {
    /// What is wrong.
    pub fault: LedgerFault,
    /// The kind of the event that was refused.
    pub kind: u8,
    /// Its sequence number.
    pub seq: i64,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match kinds::name(self.kind) {
            Some(name) => write!(out, "{name}")?,
            None => write!(out, "kind {}", self.kind)?,
        }
        write!(out, " with seq {} {}", self.seq, self.fault.words().1)
    }
}

/// How a call does not fit the state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RouterFault {
    Unknown,
    Cold,
    Warm,
    Stale,
}

impl RouterFault {
    /// The stable word of the fault.
    pub fn code(self) -> &'static str {
        self.words().0
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Unknown => (
                "unknown",
                "is not known to this router; it was dropped or never read",
            ),
            Self::Cold => ("cold", "is not loaded; load its journal first"),
            Self::Warm => ("warm", "is loaded already"),
            Self::Stale => (
                "stale",
                "has committed transitions that the journal given to load() lacks; read it again",
            ),
        }
    }
}

/// A call does not fit the state of the run it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterError {
    /// What is wrong.
    pub fault: RouterFault,
    /// The run.
    pub run_id: RunId,
}

impl fmt::Display for RouterError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.run_id);
        let (time, rest) = digits.split_at(8);
        let (middle, node) = rest.split_at(12);
        write!(
            out,
            "run {time}-{}-{}-{}-{node} {}",
            &middle[..4],
            &middle[4..8],
            &middle[8..],
            self.fault.words().1
        )
    }
}

/// Any error of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreError {
    /// A damaged frame.
    Codec(CodecError),
    /// A contradiction.
    Ledger(LedgerError),
    /// A call at the wrong time.
    Router(RouterError),
}

impl fmt::Display for CoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => error.fmt(out),
            Self::Ledger(error) => error.fmt(out),
            Self::Router(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for CodecError {}
impl std::error::Error for LedgerError {}
impl std::error::Error for RouterError {}
impl std::error::Error for CoreError {}

impl From<CodecError> for CoreError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl From<LedgerError> for CoreError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<RouterError> for CoreError {
    fn from(error: RouterError) -> Self {
        Self::Router(error)
    }
}
