//! Kinds of events: what a message, a job or a command is. Part of the stored format.
//!
//! The table is in Python, `python/hotmesh/core/kinds.py`; here is what this core needs of it.

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

macro_rules! statuses {
    ($($closing:ident = $status:literal,)+) => {
        /// The run status that a closing command leaves behind; `None` for any other kind.
        #[inline]
        pub fn close_status(kind: u8) -> Option<i64> {
            match kind {
                $($closing => Some($status),)+
                _ => None,
            }
        }
    };
}

macro_rules! sets {
    ($($(#[$doc:meta])+ $name:ident: $($kind:ident)|+;)+) => {
        $(
            $(#[$doc])+
            #[inline]
            pub fn $name(kind: u8) -> bool {
                matches!(kind, $($kind)|+)
            }
        )+
    };
}

macro_rules! outcomes {
    ($($($outcome:ident)|+ => $($command:ident)|+;)+) => {
        /// Whether this outcome may be that of such a command.
        #[inline]
        pub fn settles(outcome: u8, command: u8) -> bool {
            match outcome {
                $($($outcome)|+ => matches!(command, $($command)|+),)+
                _ => false,
            }
        }
    };
}

// Below: written by `make tables` from `python/hotmesh/core/kinds.py`.

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
    PAUSED = 53,
    RESUMED = 54,
    COMPLETE = 64,
    FAIL = 65,
    CANCELED = 66,
    CONTINUE = 67,
    TERMINATED = 68,
    TIMED_OUT = 69,
}

statuses! {
    COMPLETE = 2,
    FAIL = 3,
    CANCELED = 4,
    CONTINUE = 6,
    TERMINATED = 5,
    TIMED_OUT = 7,
}

sets! {
    /// Whether somebody was told that it is accepted: each is taken once, none is left unread.
    is_event:
        SIGNAL | UPDATE | CANCEL | TERMINATE;

    /// Whether the journal doesn't get it.
    is_not_journaled:
        QUERY;

    /// Whether this command awaits an outcome.
    opens:
        ACTIVITY | TIMER | CHILD | SIGNAL_EXTERNAL | CANCEL_EXTERNAL | WAIT;

    /// Whether what this command opens is local work until it is settled.
    is_always_local:
        SIGNAL_EXTERNAL | CANCEL_EXTERNAL;

    /// Whether this command may open local work.
    may_be_local:
        ACTIVITY | CHILD | SIGNAL_EXTERNAL | CANCEL_EXTERNAL;

    /// Whether this command opens a row of the store, to be deleted when it is settled.
    is_stored:
        ACTIVITY | TIMER;

    /// Whether the router writes this command; a replayed workflow never issues it.
    is_router_made:
        REDISPATCH | DIGESTS | TERMINATED | TIMED_OUT;
}

outcomes! {
    ACTIVITY_COMPLETED | ACTIVITY_FAILED | ACTIVITY_CANCELED | ACTIVITY_TIMED_OUT
        => ACTIVITY;
    TIMER_FIRED
        => TIMER;
    CHILD_START_FAILED | CHILD_COMPLETED | CHILD_FAILED
        => CHILD;
    EXTERNAL_DONE | EXTERNAL_FAILED
        => SIGNAL_EXTERNAL | CANCEL_EXTERNAL;
    MAIL
        => WAIT;
}
