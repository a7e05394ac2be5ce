//! Writing journal rows that hold something large: in pieces, the large ones being those that
//! others have already, so that nothing large is copied.

use super::{CHECKSUM_BYTES, Event, MAGIC, Part, VERSION, Writer, range_error};
use super::{HEAD_BYTES, prefix_size, uvarint_size, write_prefix};
use crate::errors::CodecError;

/// Bytes from which on a row, or a part of one, is large; `limits.py` explains it.
pub const LARGE_BYTES: usize = 1024 * 1024;

/// Bytes that can be had once more without a copy of them.
pub trait Share: AsRef<[u8]> {
    /// The same bytes again.
    #[must_use]
    fn share(&self) -> Self;
}

impl Share for Vec<u8> {
    fn share(&self) -> Self {
        self.clone()
    }
}

/// A piece of a row.
#[derive(Debug)]
pub enum Piece<F> {
    /// Written for it.
    Own(Vec<u8>),
    /// What somebody has already.
    Shared(F),
}

/// What a row is made of.
pub enum Source<'a, F> {
    /// The frame of a job: what comes first, and what is shared.
    Frame(&'a [u8], &'a F),
    /// A job that nobody shares, or a small one.
    Job(&'a dyn Part),
    /// A command, and its body if it is large.
    Command(&'a Event<'a>, Option<F>),
}

/// The row of these events, whose numbers have been checked by [`super::check_event`].
pub fn write_rope<'a, F: Share + 'a>(
    now_ms: i64,
    counts: [usize; 2],
    events: impl Iterator<Item = Source<'a, F>>,
) -> Result<Vec<Piece<F>>, CodecError> {
    let now_ms = u64::try_from(now_ms).map_err(|_| range_error("transition", HEAD_BYTES))?;
    let mut rope = Rope::default();
    let counts = counts.map(|count| count as u64);
    let numbers: usize = counts.iter().copied().map(uvarint_size).sum();
    rope.write(HEAD_BYTES + uvarint_size(now_ms) + numbers, |out| {
        out.bytes(&[MAGIC, VERSION, 0]);
        out.uvarint(now_ms);
        out.uvarint(counts[0]);
        out.uvarint(counts[1]);
    });
    for event in events {
        match event {
            Source::Frame(head, shared) => {
                rope.number(head.len() + shared.as_ref().len());
                rope.write(head.len(), |out| out.bytes(head));
                rope.share(shared.share());
            }
            Source::Job(job) => {
                rope.number(job.frame_size());
                rope.write(job.frame_size(), |out| job.write(out));
            }
            Source::Command(command, None) => {
                rope.number(command.frame_size());
                rope.write(command.frame_size(), |out| command.write(out));
            }
            Source::Command(command, Some(body)) => {
                rope.number(command.frame_size());
                rope.write(prefix_size(command), |out| write_prefix(command, out));
                rope.number(command.body.len());
                rope.share(body);
            }
        }
    }
    Ok(rope.finish())
}

struct Rope<F> {
    pieces: Vec<Piece<F>>,
    own: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl<F> Default for Rope<F> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            own: Vec::new(),
            checksum: crc32fast::Hasher::new(),
        }
    }
}

impl<F: Share> Rope<F> {
    fn number(&mut self, value: usize) {
        let value = value as u64;
        self.write(uvarint_size(value), |out| out.uvarint(value));
    }

    fn write(&mut self, size: usize, write: impl FnOnce(&mut Writer<'_>)) {
        let start = self.own.len();
        self.own.resize(start + size, 0);
        write(&mut Writer::new(&mut self.own[start..]));
    }

    fn share(&mut self, piece: F) {
        self.keep_own();
        self.checksum.update(piece.as_ref());
        self.pieces.push(Piece::Shared(piece));
    }

    fn keep_own(&mut self) {
        let own = std::mem::take(&mut self.own);
        self.checksum.update(&own);
        self.pieces.push(Piece::Own(own));
    }

    fn finish(mut self) -> Vec<Piece<F>> {
        self.keep_own();
        let checksum = self.checksum.finalize().to_le_bytes();
        debug_assert_eq!(checksum.len(), CHECKSUM_BYTES);
        self.pieces.push(Piece::Own(checksum.to_vec()));
        self.pieces
    }
}
