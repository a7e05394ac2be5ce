//! Kinds of events: what a message, a job or a command is. Part of the stored format.

macro_rules! kinds {
    ($($name:ident = $number:literal,)+) => {
        $(#[allow(missing_docs)] pub const $name: u8 = $number;)+

        /// The name of a kind, for error messages.
        pub fn name(kind: u8) -> Option<&'static str> {
            match kind {
                $($name => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

kinds! {
    START = 1,
    ACTIVITY_COMPLETED = 2,
    ACTIVITY_FAILED = 3,
    ACTIVITY_CANCELED = 4,
    ACTIVITY_TIMED_OUT = 5,
    TIMER_FIRED = 6,
    SIGNAL = 7,
    UPDATE = 8,
    CANCEL = 9,
    TERMINATE = 10,
    QUERY = 11,
    CHILD_STARTED = 12,
    CHILD_START_FAILED = 13,
    CHILD_COMPLETED = 14,
    CHILD_FAILED = 15,
    EXTERNAL_DONE = 16,
    EXTERNAL_FAILED = 17,
    MAIL = 18,
    RUN_TIMED_OUT = 19,
    ACTIVITY = 32,
    CANCEL_ACTIVITY = 33,
    TIMER = 34,
    CANCEL_TIMER = 35,
    DEADLINE = 36,
    CHILD = 37,
    CANCEL_CHILD = 38,
    SIGNAL_EXTERNAL = 39,
    CANCEL_EXTERNAL = 40,
    PATCH = 41,
    UPSERT = 42,
    ENRICH = 43,
    EMIT = 44,
    TRACE = 45,
    WAIT = 46,
    SEND_MAIL = 47,
    UPDATE_ACCEPTED = 48,
    UPDATE_COMPLETED = 49,
    REDISPATCH = 51,
    DIGESTS = 52,
    COMPLETE = 64,
    FAIL = 65,
    CANCELED = 66,
    CONTINUE = 67,
    TERMINATED = 68,
    TIMED_OUT = 69,
}

/// The run status that a closing command leaves behind; `None` for any other kind.
pub fn close_status(kind: u8) -> Option<i64> {
    match kind {
        COMPLETE => Some(2),
        FAIL => Some(3),
        CANCELED => Some(4),
        TERMINATED => Some(5),
        CONTINUE => Some(6),
        TIMED_OUT => Some(7),
        _ => None,
    }
}

/// Whether the router writes this command; a replayed workflow never issues it.
pub fn is_router_made(kind: u8) -> bool {
    matches!(kind, REDISPATCH | DIGESTS | TERMINATED | TIMED_OUT)
}
