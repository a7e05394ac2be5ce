//! Reading frames: nothing is believed before it is checked.

use std::ops::Range;

use super::{Event, Layout};
use crate::errors::{CodecError, CodecFault};

/// Of a frame in a journal row, with its length: a damaged count can't ask for much memory.
const EVENT_BYTES_MIN: usize = 7;

/// A frame being read, or a part of one.
pub(super) struct Reader<'a> {
    frame: &'a [u8],
    pub(super) at: usize,
    end: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of a part of a frame.
    #[inline]
    pub(super) fn within(frame: &'a [u8], part: Range<usize>, what: &'static str) -> Self {
        Self {
            frame,
            at: part.start,
            end: part.end,
            what,
        }
    }

    #[cold]
    pub(super) fn error(&self, fault: CodecFault, offset: usize) -> CodecError {
        CodecError {
            fault,
            frame: self.what,
            offset,
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, CodecError> {
        if self.at >= self.end {
            return Err(self.error(CodecFault::Truncated, self.at));
        }
        self.at += 1;
        Ok(self.frame[self.at - 1])
    }

    #[inline]
    fn uvarint(&mut self) -> Result<u64, CodecError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.long_uvarint(first)
    }

    fn long_uvarint(&mut self, first: u8) -> Result<u64, CodecError> {
        let start = self.at - 1;
        let mut value = u64::from(first & 0x7F);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift >= 64 || (bits << shift) >> shift != bits {
                return Err(self.error(CodecFault::Varint, start));
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 {
                    return Err(self.error(CodecFault::Varint, start));
                }
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A uvarint that must fit a signed 64-bit integer.
    #[inline]
    pub(super) fn number(&mut self) -> Result<i64, CodecError> {
        let start = self.at;
        let value = self.uvarint()?;
        i64::try_from(value).map_err(|_| self.error(CodecFault::Range, start))
    }

    /// The place of bytes that are preceded by their length.
    #[inline]
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

    /// An event that fills the rest, and where its parts lie.
    #[inline]
    pub(super) fn event(&mut self) -> Result<(Event<'a>, Layout), CodecError> {
        let kind = self.byte()?;
        let seq = self.number()?;
        let number = unzigzag(self.uvarint()?);
        let name = self.bytes()?;
        let Some(text) = text(&self.frame[name.clone()]) else {
            return Err(self.error(CodecFault::Utf8, name.start));
        };
        let meta = self.bytes()?;
        let body = self.bytes()?;
        if self.at != self.end {
            return Err(self.error(CodecFault::Trailing, self.at));
        }
        let event = Event {
            kind,
            seq,
            number,
            name: text,
            meta: &self.frame[meta.clone()],
            body: &self.frame[body.clone()],
        };
        let layout = Layout {
            kind,
            seq,
            number,
            name,
            meta,
            body,
        };
        Ok((event, layout))
    }

    pub(super) fn events(&mut self, count: i64) -> Result<Vec<Event<'a>>, CodecError> {
        let most = (self.end - self.at) / EVENT_BYTES_MIN;
        let mut events = Vec::with_capacity(usize::try_from(count).unwrap_or(most).min(most));
        for _ in 0..count {
            let size = self.number()?;
            let start = self.at;
            let place = usize::try_from(size).unwrap_or(usize::MAX);
            if place > self.end - start {
                return Err(self.error(CodecFault::Truncated, start));
            }
            self.at = start + place;
            let mut inner = Reader::within(self.frame, start..self.at, self.what);
            events.push(inner.event()?.0);
        }
        Ok(events)
    }
}

/// The text of bytes; nothing is by far the most frequent one.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_empty() {
        return Some("");
    }
    std::str::from_utf8(bytes).ok()
}

fn unzigzag(value: u64) -> i64 {
    i64::from_ne_bytes(((value >> 1) ^ (value & 1).wrapping_neg()).to_ne_bytes())
}
