//! Writing frames: everything is measured first, so that it is written once, in its place.

use super::{CHECKSUM_BYTES, Event, HEAD_BYTES, MAGIC, VERSION, range_error};
use crate::errors::CodecError;

/// What can be put in a journal row: an event, or the frame of one.
pub trait Part {
    /// How many bytes its frame has.
    fn frame_size(&self) -> usize;
    /// Write its frame.
    fn write(&self, out: &mut Writer<'_>);
}

impl Part for Event<'_> {
    #[inline]
    fn frame_size(&self) -> usize {
        prefix_size(self) + sized(self.body.len())
    }

    #[inline]
    fn write(&self, out: &mut Writer<'_>) {
        write_prefix(self, out);
        out.sized(self.body);
    }
}

impl<P: Part> Part for &P {
    #[inline]
    fn frame_size(&self) -> usize {
        (**self).frame_size()
    }

    #[inline]
    fn write(&self, out: &mut Writer<'_>) {
        (**self).write(out);
    }
}

/// A journal row about to be written: measured first, so that it is written once, in its place.
#[derive(Debug)]
pub struct Draft<J, C> {
    now_ms: u64,
    jobs: J,
    commands: C,
    counts: [u64; 2],
    size: usize,
}

impl<J, C> Draft<J, C>
where
    J: Iterator<Item: Part> + Clone,
    C: Iterator<Item: Part> + Clone,
{
    /// The row of these events, whose numbers have been checked by [`super::check_event`].
    #[inline]
    pub fn new(now_ms: i64, jobs: J, commands: C) -> Result<Self, CodecError> {
        let now_ms = u64::try_from(now_ms).map_err(|_| range_error("transition", HEAD_BYTES))?;
        let (job_count, job_bytes) = measure(jobs.clone());
        let (command_count, command_bytes) = measure(commands.clone());
        let counts = [job_count, command_count];
        let numbers = uvarint_size(now_ms) + uvarint_size(job_count) + uvarint_size(command_count);
        let size = HEAD_BYTES + numbers + job_bytes + command_bytes + CHECKSUM_BYTES;
        Ok(Self {
            now_ms,
            jobs,
            commands,
            counts,
            size,
        })
    }

    /// How many bytes the row has.
    #[inline]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Write the row into that many bytes.
    #[inline]
    pub fn write(self, out: &mut [u8]) {
        let mut writer = Writer::new(out);
        writer.bytes(&[MAGIC, VERSION, 0]);
        writer.uvarint(self.now_ms);
        writer.uvarint(self.counts[0]);
        writer.uvarint(self.counts[1]);
        for job in self.jobs {
            writer.uvarint(job.frame_size() as u64);
            job.write(&mut writer);
        }
        for command in self.commands {
            writer.uvarint(command.frame_size() as u64);
            command.write(&mut writer);
        }
        let checksum = crc32fast::hash(&writer.out[..writer.at]);
        writer.bytes(&checksum.to_le_bytes());
    }

    /// The row in bytes of its own.
    #[inline]
    pub fn into_frame(self) -> Vec<u8> {
        let mut out = vec![0; self.size];
        self.write(&mut out);
        out
    }
}

/// How many parts there are, and their bytes with the lengths before them.
#[inline]
fn measure(parts: impl Iterator<Item: Part>) -> (u64, usize) {
    parts.fold((0, 0), |(count, bytes), part| {
        (count + 1, bytes + sized(part.frame_size()))
    })
}

/// Bytes being filled from the front.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.out[self.at] = byte;
        self.at += 1;
    }

    #[inline]
    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value > 0x7F {
            self.byte(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.byte(value.to_le_bytes()[0]);
    }

    /// Bytes as they are.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    /// Bytes with their length before them.
    #[inline]
    fn sized(&mut self, bytes: &[u8]) {
        self.uvarint(bytes.len() as u64);
        self.bytes(bytes);
    }
}

#[inline]
pub(super) fn prefix_size(event: &Event<'_>) -> usize {
    1 + uvarint_size(unsigned(event.seq))
        + uvarint_size(zigzag(event.number))
        + sized(event.name.len())
        + sized(event.meta.len())
}

#[inline]
pub(super) fn write_prefix(event: &Event<'_>, out: &mut Writer<'_>) {
    out.byte(event.kind);
    out.uvarint(unsigned(event.seq));
    out.uvarint(zigzag(event.number));
    out.sized(event.name.as_bytes());
    out.sized(event.meta);
}

/// The bytes of something with its length before it.
#[inline]
fn sized(bytes: usize) -> usize {
    uvarint_size(bytes as u64) + bytes
}

#[inline]
pub(super) fn uvarint_size(value: u64) -> usize {
    if value < 0x80 {
        return 1;
    }
    (value.ilog2() / 7 + 1) as usize
}

/// The bits of a number; one below 0 is refused before it is written.
fn unsigned(number: i64) -> u64 {
    u64::from_ne_bytes(number.to_ne_bytes())
}

/// Small magnitudes become small unsigned numbers: 0, -1, 1, -2 map to 0, 1, 2, 3.
fn zigzag(number: i64) -> u64 {
    unsigned((number << 1) ^ (number >> 63))
}
