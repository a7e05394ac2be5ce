//! The states of a run in a router's memory, and the arrows between them.
//!
//! The table is in Python, `python/hotmesh/core/run_states.py`.

macro_rules! states {
    ($($(#[$doc:meta])+ $name:ident = $number:literal,)+) => {
        /// Where a run is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum State {
            $($(#[$doc])+ $name = $number,)+
        }
    };
}

macro_rules! arrows {
    ($($(#[$doc:meta])+ $name:ident: $($from:ident => $to:ident),+;)+) => {
        $(
            $(#[$doc])+
            #[inline]
            pub fn $name(from: State) -> Option<State> {
                match from {
                    $(State::$from => Some(State::$to),)+
                    _ => None,
                }
            }
        )+
    };
}

// Below: written by `make tables` from `python/hotmesh/core/run_states.py`.

states! {
    /// Its journal is not loaded: whatever arrives waits.
    Cold = 0,
    /// Its ledger decides what becomes a job; there is none.
    Idle = 1,
    /// Jobs are in its code's hands; whatever arrives waits.
    Busy = 2,
    /// It has ended; nothing but queries becomes a job.
    Closed = 3,
    /// It has ended, and queries are in its code's hands.
    Answering = 4,
    /// It is not in memory.
    Gone = 5,
}

arrows! {
    /// Something came for a run that is not in memory, or is left of one that was forgotten.
    find:
        Gone => Cold;

    /// Its first message came, so that its journal is known to be empty.
    begin:
        Gone => Idle;

    /// Its journal was read.
    load:
        Cold => Idle;

    /// Its journal was read, and it has ended.
    load_closed:
        Cold => Closed;

    /// The ledger has accepted a job.
    give:
        Idle => Busy, Busy => Busy;

    /// A query has come.
    ask:
        Idle => Busy, Busy => Busy, Closed => Answering, Answering => Answering;

    /// All its jobs were queries, and go back to what waits.
    defer:
        Busy => Idle, Answering => Closed;

    /// A closing command was recorded.
    close:
        Idle => Closed, Busy => Closed;

    /// An activation has ended, or commands of the router were recorded without one.
    complete:
        Idle => Idle, Busy => Idle, Closed => Closed, Answering => Closed;

    /// An activation has failed, or what is known of the run is not to be trusted.
    fail:
        Cold => Cold, Idle => Cold, Busy => Cold, Closed => Cold, Answering => Cold;

    /// Room is needed, and nothing of it is going on.
    evict:
        Idle => Gone, Closed => Gone;

    /// Its end is stored, and nothing is owed to it.
    finish:
        Closed => Gone;

    /// It is another router's, or nobody's.
    leave:
        Cold => Gone;

    /// A step was not applied, its lane is given back, or the store is not what it was.
    forget:
        Cold => Gone, Idle => Gone, Busy => Gone, Closed => Gone, Answering => Gone;
}
