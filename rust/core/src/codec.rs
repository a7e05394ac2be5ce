//! The codec: events and transitions to and from bytes. The format is described in the reference
//! twin, `python/hotmesh/core/_python/codec.py`.

mod reader;
mod rope;
mod writer;

use std::ops::Range;

use crate::errors::{CodecError, CodecFault};
use reader::{Reader, text};
pub use rope::{LARGE_BYTES, Piece, Share, Source, write_rope};
pub use writer::{Draft, Part, Writer};
use writer::{prefix_size, uvarint_size, write_prefix};

/// Lanes that a task queue is divided into; part of the stored format.
pub const LANES_PER_QUEUE: i64 = 64;

const MAGIC: u8 = 0x48;
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;

/// A message, a job or a command; borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it is: see [`crate::kinds`].
    pub kind: u8,
    /// The command it is or belongs to.
    pub seq: i64,
    /// A queue id, a due time, a purpose: by kind.
    pub number: i64,
    /// A type, a signal's name: by kind.
    pub name: &'a str,
    /// Opaque but for dedupe ids and deadline purposes.
    pub meta: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
}

impl Event<'_> {
    /// An event with nothing but numbers.
    pub fn bare(kind: u8, seq: i64, number: i64) -> Self {
        Self {
            kind,
            seq,
            number,
            name: "",
            meta: b"",
            body: b"",
        }
    }
}

/// Where the parts of an event lie in its frame, decoded once and kept beside the bytes.
#[derive(Debug, Clone)]
pub struct Layout {
    /// As in [`Event`].
    pub kind: u8,
    /// As in [`Event`].
    pub seq: i64,
    /// As in [`Event`].
    pub number: i64,
    name: Range<usize>,
    meta: Range<usize>,
    body: Range<usize>,
}

impl Layout {
    /// The event, given the bytes that this layout was read from.
    #[inline]
    pub fn event<'a>(&self, frame: &'a [u8]) -> Event<'a> {
        Event {
            kind: self.kind,
            seq: self.seq,
            number: self.number,
            name: text(&frame[self.name.clone()]).expect("checked when it was decoded"),
            meta: &frame[self.meta.clone()],
            body: &frame[self.body.clone()],
        }
    }

    /// The event without its body, given the bytes before that.
    #[inline]
    pub fn without_body<'a>(&self, head: &'a [u8]) -> Event<'a> {
        Event {
            name: text(&head[self.name.clone()]).expect("checked when it was decoded"),
            ..self.outline(head)
        }
    }

    /// The event without name and body, which no decision depends on.
    #[inline]
    pub fn outline<'a>(&self, frame: &'a [u8]) -> Event<'a> {
        Event {
            meta: &frame[self.meta.clone()],
            ..Event::bare(self.kind, self.seq, self.number)
        }
    }
}

/// One journal row: the workflow's time, what reached it, what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition<'a> {
    /// Milliseconds.
    pub now_ms: i64,
    /// In order.
    pub jobs: Vec<Event<'a>>,
    /// In order.
    pub commands: Vec<Event<'a>>,
}

/// The lane of a workflow id within a task queue, the same in every process and for ever.
/// `None` if the queue id is too large for a lane.
pub fn lane_of(queue_id: i64, workflow_id: &str) -> Option<i64> {
    let within = i64::from(crc32fast::hash(workflow_id.as_bytes())) % LANES_PER_QUEUE;
    queue_id.checked_mul(LANES_PER_QUEUE)?.checked_add(within)
}

/// The frame of an event.
pub fn encode_event(event: &Event<'_>) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![0; event_size(event)?];
    write_event(event, &mut out);
    Ok(out)
}

/// The frame of an event up to its body.
pub fn encode_head(event: &Event<'_>) -> Result<Vec<u8>, CodecError> {
    let size = event_size(event)? - event.body.len();
    let mut out = vec![0; size];
    let mut writer = Writer::new(&mut out);
    write_prefix(event, &mut writer);
    writer.uvarint(event.body.len() as u64);
    Ok(out)
}

/// The parts of a frame that are before its body.
pub fn layout_of_head(head: &[u8], event: &Event<'_>) -> Result<Layout, CodecError> {
    // The same head before no body: one byte says so.
    let mut bare = head[..event_prefix_size(event)?].to_vec();
    bare.push(0);
    layout_of(&bare)
}

/// How many bytes an event's frame has. Fails if the event can have none.
#[inline]
pub fn event_size(event: &Event<'_>) -> Result<usize, CodecError> {
    check_event(event)?;
    Ok(event.frame_size())
}

/// How many bytes an event's frame has without its body. Fails if the event can have none.
#[inline]
pub fn event_prefix_size(event: &Event<'_>) -> Result<usize, CodecError> {
    check_event(event)?;
    Ok(prefix_size(event))
}

/// Write the frame of an event into as many bytes as [`event_size`] says.
#[inline]
pub fn write_event(event: &Event<'_>, out: &mut [u8]) {
    event.write(&mut Writer::new(out));
}

/// Write the frame of an event without its body into as many bytes as [`event_prefix_size`] says;
/// append a uvarint length and a body to complete it.
#[inline]
pub fn write_event_prefix(event: &Event<'_>, out: &mut [u8]) {
    write_prefix(event, &mut Writer::new(out));
}

/// The event of a frame. Unknown kinds are let through.
#[inline]
pub fn decode_event(frame: &[u8]) -> Result<Event<'_>, CodecError> {
    Ok(Reader::within(frame, 0..frame.len(), "event").event()?.0)
}

/// The parts of a frame.
#[inline]
pub fn layout_of(frame: &[u8]) -> Result<Layout, CodecError> {
    Ok(Reader::within(frame, 0..frame.len(), "event").event()?.1)
}

/// The content of a journal row.
pub fn decode_transition(frame: &[u8]) -> Result<Transition<'_>, CodecError> {
    let end = check_transition(frame)?;
    let mut reader = Reader::within(frame, HEAD_BYTES..end, "transition");
    let now_ms = reader.number()?;
    let job_count = reader.number()?;
    let command_count = reader.number()?;
    let jobs = reader.events(job_count)?;
    let commands = reader.events(command_count)?;
    if reader.at != end {
        return Err(reader.error(CodecFault::Trailing, reader.at));
    }
    Ok(Transition {
        now_ms,
        jobs,
        commands,
    })
}

/// Check all that surrounds the content; the offset at which the content ends.
fn check_transition(frame: &[u8]) -> Result<usize, CodecError> {
    let fault = |fault, offset| {
        Err(CodecError {
            fault,
            frame: "transition",
            offset,
        })
    };
    let size = frame.len();
    if size > 0 && frame[0] != MAGIC {
        return fault(CodecFault::Magic, 0);
    }
    if size > 1 && frame[1] != VERSION {
        return fault(CodecFault::Version, 1);
    }
    if size < HEAD_BYTES + CHECKSUM_BYTES {
        return fault(CodecFault::Truncated, size);
    }
    let end = size - CHECKSUM_BYTES;
    if crc32fast::hash(&frame[..end]).to_le_bytes() != frame[end..] {
        return fault(CodecFault::Checksum, end);
    }
    if frame[2] != 0 {
        return fault(CodecFault::Flags, 2);
    }
    Ok(end)
}

fn range_error(frame: &'static str, offset: usize) -> CodecError {
    CodecError {
        fault: CodecFault::Range,
        frame,
        offset,
    }
}

/// Refuse an event that no frame can say.
#[inline]
pub fn check_event(event: &Event<'_>) -> Result<(), CodecError> {
    if event.seq < 0 {
        return Err(range_error("event", 1));
    }
    Ok(())
}
