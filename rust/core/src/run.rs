//! One run in the router's memory, and what has arrived for it.

use std::borrow::Cow;

use crate::codec::{Layout, Part, Writer, encode_event, encode_head, layout_of, layout_of_head};
use crate::errors::CodecError;
use crate::ledger::Ledger;
use crate::run_states::{self, State};
use crate::{Event, RunId, kinds};

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Origin {
    /// A stream message.
    Message { lane: i64, message_id: i64 },
    /// A timer row.
    Timer { lane: i64, due_ms: i64, key: i64 },
    /// This process; nobody can read it again.
    Local,
    /// A start made up because the run's first event is not one.
    Synthetic,
}

/// Bytes that are shared with the caller (a message as it came) or our own.
#[derive(Debug)]
enum Frame<F> {
    Shared(F),
    /// A large body is shared; the frame up to there is our own.
    Apart {
        head: Box<[u8]>,
        body: F,
    },
    Owned(Box<[u8]>),
}

/// An event on its way to a run, with the bytes that are journaled for it.
#[derive(Debug)]
pub struct Arrival<F> {
    frame: Frame<F>,
    layout: Layout,
    /// Where it came from.
    pub origin: Origin,
}

impl<F: AsRef<[u8]>> Arrival<F> {
    /// A frame as it came.
    pub fn decode(frame: F, origin: Origin) -> Result<Self, CodecError> {
        let layout = layout_of(frame.as_ref())?;
        Ok(Self {
            frame: Frame::Shared(frame),
            layout,
            origin,
        })
    }

    /// An event made here whose body is large and shared with the caller.
    pub fn apart(event: &Event<'_>, body: F, origin: Origin) -> Result<Self, CodecError> {
        let head = encode_head(event)?;
        let layout = layout_of_head(&head, event)?;
        Ok(Self {
            frame: Frame::Apart {
                head: head.into_boxed_slice(),
                body,
            },
            layout,
            origin,
        })
    }

    /// An event made here.
    pub fn make(event: &Event<'_>, origin: Origin) -> Result<Self, CodecError> {
        let frame = encode_event(event)?;
        let layout = layout_of(&frame).expect("what was just encoded can be decoded");
        Ok(Self {
            frame: Frame::Owned(frame.into_boxed_slice()),
            layout,
            origin,
        })
    }

    /// What it says.
    pub fn event(&self) -> Event<'_> {
        match &self.frame {
            Frame::Apart { head, body } => Event {
                body: body.as_ref(),
                ..self.layout.without_body(head)
            },
            _ => self.layout.event(self.head()),
        }
    }

    /// What it says, without name and body.
    #[inline]
    pub fn outline(&self) -> Event<'_> {
        self.layout.outline(self.head())
    }

    /// What it is.
    pub fn kind(&self) -> u8 {
        self.layout.kind
    }

    /// What is shared with the caller, unless it was made here: its end, and what comes before.
    pub fn shared(&self) -> Option<(&[u8], &F)> {
        match &self.frame {
            Frame::Shared(frame) => Some((&[], frame)),
            Frame::Apart { head, body } => Some((head, body)),
            Frame::Owned(_) => None,
        }
    }

    /// Its frame.
    pub fn frame(&self) -> Cow<'_, [u8]> {
        match &self.frame {
            Frame::Apart { head, body } => Cow::Owned([head, body.as_ref()].concat()),
            _ => Cow::Borrowed(self.head()),
        }
    }

    /// Its frame, or what comes before the body if that lies apart.
    #[inline]
    fn head(&self) -> &[u8] {
        match &self.frame {
            Frame::Shared(frame) => frame.as_ref(),
            Frame::Apart { head, .. } => head,
            Frame::Owned(frame) => frame,
        }
    }

    /// The body that lies apart.
    #[inline]
    fn rest(&self) -> &[u8] {
        match &self.frame {
            Frame::Apart { body, .. } => body.as_ref(),
            _ => &[],
        }
    }
}

impl<F: AsRef<[u8]>> Part for Arrival<F> {
    #[inline]
    fn frame_size(&self) -> usize {
        self.head().len() + self.rest().len()
    }

    #[inline]
    fn write(&self, out: &mut Writer<'_>) {
        out.bytes(self.head());
        out.bytes(self.rest());
    }
}

/// A run this router knows.
///
/// What waits, waits in `backlog`, as does what is too much for one activation. While a run is busy
/// or answering, and then only, it has `jobs`.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Run<F> {
    pub run_id: RunId,
    pub lane: i64,
    /// An arrow is the only way from one to another.
    pub state: State,
    pub ledger: Ledger,
    pub journal_seq: usize,
    pub jobs: Vec<Arrival<F>>,
    /// Frames of the jobs, together.
    pub job_bytes: usize,
    pub backlog: Vec<Arrival<F>>,
    /// Duplicates and the like that came beside the jobs, to be acknowledged with them.
    pub dismissed: Vec<Arrival<F>>,
    /// The message or timer kept unacknowledged while local work is open.
    pub anchor: Option<Origin>,
    /// The number of the ingest that last gave it jobs.
    pub active_in: u64,
    /// Whether it is in the list of runs whose backlog can be delivered.
    pub queued: bool,
    /// The number of the columns that last got a row of it.
    pub marked_in: u64,
}

impl<F: AsRef<[u8]>> Run<F> {
    /// A run that becomes known now, by an arrow from [`State::Gone`].
    pub fn new(run_id: RunId, lane: i64, arrow: impl Fn(State) -> Option<State>) -> Self {
        Self {
            run_id,
            lane,
            state: taken(&arrow, State::Gone),
            ledger: Ledger::default(),
            journal_seq: 0,
            jobs: Vec::new(),
            job_bytes: 0,
            backlog: Vec::new(),
            dismissed: Vec::new(),
            anchor: None,
            active_in: 0,
            queued: false,
            marked_in: 0,
        }
    }

    /// Take an arrow that there is from where the run is.
    #[inline]
    pub fn go(&mut self, arrow: impl Fn(State) -> Option<State>) {
        self.state = taken(&arrow, self.state);
    }

    /// Whether it has ended, as far as this is known: of a cold run it is not.
    #[inline]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed | State::Answering)
    }

    /// Whether a crash now would leave work that only a reader of the stream can find.
    pub fn has_local_work(&self) -> bool {
        self.ledger.local() > 0 && !self.is_closed()
    }

    /// Put an event among the jobs; gives it back if the ledger refuses it.
    ///
    /// An empty journal must begin with a start, whatever came first.
    pub fn accept(&mut self, arrival: Arrival<F>) -> Option<Arrival<F>> {
        let was_started = self.ledger.started();
        if !self.ledger.accept(&arrival.outline()) {
            return Some(arrival);
        }
        self.go(run_states::give);
        self.job_bytes += arrival.frame_size();
        if self.jobs.capacity() == 0 {
            self.jobs.reserve_exact(1); // most activations have one job, and jobs are large
        }
        if arrival.kind() == kinds::START {
            self.jobs.insert(0, arrival);
            return None;
        }
        if !was_started {
            let start = Event::bare(kinds::START, 0, 0);
            self.ledger.accept(&start);
            let start = Arrival::make(&start, Origin::Synthetic).expect("its numbers are zero");
            self.jobs.insert(0, start);
        }
        self.jobs.push(arrival);
        None
    }

    /// Put the last so many queries among the jobs before the backlog, in order.
    pub fn defer_queries(&mut self, count: usize) {
        let is_query = |job: &Arrival<F>| job.kind() == kinds::QUERY;
        let places = (0..self.jobs.len()).filter(|&at| is_query(&self.jobs[at]));
        let Some(from) = places.rev().take(count).last() else {
            return;
        };
        let rest = self.jobs.drain(from..).collect::<Vec<_>>();
        let (mut queries, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_query);
        self.jobs.extend(others);
        queries.append(&mut self.backlog);
        self.backlog = queries;
        if self.jobs.is_empty() {
            self.go(run_states::defer);
        }
    }

    /// Give the jobs back to the backlog, in order, and forget what was believed of them.
    pub fn fail(&mut self) {
        let mut waiting = std::mem::take(&mut self.jobs);
        waiting.retain(|job| job.origin != Origin::Synthetic);
        waiting.append(&mut self.dismissed);
        waiting.append(&mut self.backlog);
        self.backlog = waiting;
        self.job_bytes = 0;
        self.ledger = Ledger::default();
        self.go(run_states::fail);
        self.queued = false;
    }
}

/// Where an arrow leads from there.
#[inline]
fn taken(arrow: &impl Fn(State) -> Option<State>, from: State) -> State {
    arrow(from).expect("a run takes only arrows that there are")
}
