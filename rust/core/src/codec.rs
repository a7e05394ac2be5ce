//! The codec: events and transitions to and from bytes. The format is described in the reference
//! twin, `python/hotmesh/core/_python/codec.py`.

use std::ops::Range;

use crate::errors::{CodecError, CodecFault};

/// Lanes that a task queue is divided into; part of the stored format.
pub const LANES_PER_QUEUE: i64 = 64;

const MAGIC: u8 = 0x48;
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
const VARINT_BYTES_MAX: usize = 10;

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
    pub fn event<'a>(&self, frame: &'a [u8]) -> Event<'a> {
        Event {
            kind: self.kind,
            seq: self.seq,
            number: self.number,
            name: std::str::from_utf8(&frame[self.name.clone()])
                .expect("checked when it was decoded"),
            meta: &frame[self.meta.clone()],
            body: &frame[self.body.clone()],
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
    let mut out = encode_event_prefix(event)?;
    write_bytes(&mut out, event.body);
    Ok(out)
}

/// The frame of an event without its body; append a uvarint length and a body to complete it.
pub fn encode_event_prefix(event: &Event<'_>) -> Result<Vec<u8>, CodecError> {
    let seq = u64::try_from(event.seq).map_err(|_| range_error("event", 1))?;
    let size = 32 + event.name.len() + event.meta.len() + event.body.len();
    let mut out = Vec::with_capacity(size);
    out.push(event.kind);
    write_uvarint(&mut out, seq);
    write_uvarint(&mut out, zigzag(event.number));
    write_bytes(&mut out, event.name.as_bytes());
    write_bytes(&mut out, event.meta);
    Ok(out)
}

/// The event of a frame. Unknown kinds are let through.
pub fn decode_event(frame: &[u8]) -> Result<Event<'_>, CodecError> {
    layout_of(frame).map(|layout| layout.event(frame))
}

/// The parts of a frame.
pub fn layout_of(frame: &[u8]) -> Result<Layout, CodecError> {
    Reader {
        frame,
        at: 0,
        end: frame.len(),
        what: "event",
    }
    .event()
}

/// The frame of one journal row, of events that are frames already.
pub fn join_transition<J: AsRef<[u8]>, C: AsRef<[u8]>>(
    now_ms: i64,
    jobs: &[J],
    commands: &[C],
) -> Result<Vec<u8>, CodecError> {
    let now = u64::try_from(now_ms).map_err(|_| range_error("transition", HEAD_BYTES))?;
    let content = jobs
        .iter()
        .map(|each| each.as_ref().len() + VARINT_BYTES_MAX)
        .sum::<usize>()
        + commands
            .iter()
            .map(|each| each.as_ref().len() + VARINT_BYTES_MAX)
            .sum::<usize>();
    let mut out = Vec::with_capacity(content + 48);
    out.extend_from_slice(&[MAGIC, VERSION, 0]);
    write_uvarint(&mut out, now);
    write_uvarint(&mut out, jobs.len() as u64);
    write_uvarint(&mut out, commands.len() as u64);
    for job in jobs {
        write_bytes(&mut out, job.as_ref());
    }
    for command in commands {
        write_bytes(&mut out, command.as_ref());
    }
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

/// The content of a journal row.
pub fn decode_transition(frame: &[u8]) -> Result<Transition<'_>, CodecError> {
    let end = check_transition(frame)?;
    let mut reader = Reader {
        frame,
        at: HEAD_BYTES,
        end,
        what: "transition",
    };
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

/// Small magnitudes become small unsigned numbers: 0, -1, 1, -2 map to 0, 1, 2, 3.
fn zigzag(number: i64) -> u64 {
    u64::from_ne_bytes(((number << 1) ^ (number >> 63)).to_ne_bytes())
}

fn unzigzag(value: u64) -> i64 {
    i64::from_ne_bytes(((value >> 1) ^ (value & 1).wrapping_neg()).to_ne_bytes())
}

fn write_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
    end: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn error(&self, fault: CodecFault, offset: usize) -> CodecError {
        CodecError {
            fault,
            frame: self.what,
            offset,
        }
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        if self.at >= self.end {
            return Err(self.error(CodecFault::Truncated, self.at));
        }
        self.at += 1;
        Ok(self.frame[self.at - 1])
    }

    fn uvarint(&mut self) -> Result<u64, CodecError> {
        let start = self.at;
        let mut value = 0_u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift >= 64 || (bits << shift) >> shift != bits {
                return Err(self.error(CodecFault::Varint, start));
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(self.error(CodecFault::Varint, start));
                }
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A uvarint that must fit a signed 64-bit integer.
    fn number(&mut self) -> Result<i64, CodecError> {
        let start = self.at;
        let value = self.uvarint()?;
        i64::try_from(value).map_err(|_| self.error(CodecFault::Range, start))
    }

    /// The place of bytes that are preceded by their length.
    fn bytes(&mut self) -> Result<Range<usize>, CodecError> {
        let size = self.uvarint()?;
        let start = self.at;
        let room = self.end - start;
        match usize::try_from(size) {
            Ok(size) if size <= room => {
                self.at += size;
                Ok(start..self.at)
            }
            _ => Err(self.error(CodecFault::Truncated, start)),
        }
    }

    fn event(&mut self) -> Result<Layout, CodecError> {
        let kind = self.byte()?;
        let seq = self.number()?;
        let number = unzigzag(self.uvarint()?);
        let name = self.bytes()?;
        if std::str::from_utf8(&self.frame[name.clone()]).is_err() {
            return Err(self.error(CodecFault::Utf8, name.start));
        }
        let meta = self.bytes()?;
        let body = self.bytes()?;
        if self.at != self.end {
            return Err(self.error(CodecFault::Trailing, self.at));
        }
        Ok(Layout {
            kind,
            seq,
            number,
            name,
            meta,
            body,
        })
    }

    fn events(&mut self, count: i64) -> Result<Vec<Event<'a>>, CodecError> {
        let mut events = Vec::new();
        for _ in 0..count {
            let size = self.number()?;
            let start = self.at;
            let place = usize::try_from(size).unwrap_or(usize::MAX);
            if place > self.end - start {
                return Err(self.error(CodecFault::Truncated, start));
            }
            self.at = start + place;
            let mut inner = Reader {
                frame: self.frame,
                at: start,
                end: self.at,
                what: self.what,
            };
            let layout = inner.event()?;
            events.push(layout.event(self.frame));
        }
        Ok(events)
    }
}
