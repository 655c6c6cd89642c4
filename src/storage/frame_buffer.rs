//! Encodes frames that follow each other into one write.

use std::io::{self, IoSlice};

use super::frame::{Chain, FrameHeader, Salt, encode_header, frame_len_max, padding, push_frame};
use crate::env::fs::{FsFile, write_all_at};

/// Payload parts from this length on are handed to the kernel where they are; shorter ones are
/// copied behind their header, which costs less than one more part of the write.
const SPLICE_BYTES_MIN: usize = 2048;

/// A frame to be written; its payload is the two parts one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) payload: [&'a [u8]; 2],
}

impl<'a> Draft<'a> {
    /// A frame without payload.
    pub(crate) const fn mark(header: FrameHeader) -> Self {
        Self { header, payload: [&[], &[]] }
    }

    /// A frame with a payload in two parts, whose length the header is given here.
    pub(crate) fn new(mut header: FrameHeader, payload: [&'a [u8]; 2]) -> Self {
        let len = payload[0].len() + payload[1].len();
        // Longer ones are refused where limits are checked, so this saturation is never seen; if it
        // were, encoding would assert.
        header.payload_len = u32::try_from(len).unwrap_or(u32::MAX);
        Self { header, payload }
    }

    fn check_len(&self) {
        let payload_len = self.payload[0].len() + self.payload[1].len();
        let told = self.header.payload_len as usize;
        assert_eq!(payload_len, told, "the header must tell the payload's length");
    }

    /// Bytes that the frame takes at most.
    pub(crate) fn frame_len_max(&self) -> usize {
        frame_len_max(self.payload[0].len() + self.payload[1].len())
    }
}

/// Frames that will be written in one call, in order.
#[derive(Debug)]
pub(crate) struct FrameBuffer<'a> {
    salt: Salt,
    /// Where the next frame will stand in its file.
    offset: u64,
    chain: Chain,
    copied: Vec<u8>,
    /// Parts that are not copied: behind how many copied bytes, and what.
    spliced: Vec<(usize, &'a [u8])>,
}

impl<'a> FrameBuffer<'a> {
    /// Begins behind a frame that left `chain`, at `offset`. `scratch` lends its room.
    pub(crate) fn new(salt: Salt, offset: u64, chain: Chain, mut scratch: Vec<u8>) -> Self {
        scratch.clear();
        Self { salt, offset, chain, copied: scratch, spliced: Vec::new() }
    }

    /// Adds bytes that are not a frame: a prologue.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// Adds a frame; returns where it will stand and the checksum of the frame before it.
    ///
    /// # Panics
    /// When the header says another length than the payload has: the caller's fault.
    #[inline]
    pub(crate) fn push(&mut self, draft: &Draft<'a>) -> (u64, Chain) {
        let [_, body] = draft.payload;
        if body.len() < SPLICE_BYTES_MIN {
            self.push_copied(draft)
        } else {
            self.push_spliced(draft)
        }
    }

    fn push_spliced(&mut self, draft: &Draft<'a>) -> (u64, Chain) {
        draft.check_len();
        let [head, body] = draft.payload;
        let placed @ (offset, before) = (self.offset, self.chain);
        let padding = padding(head.len() + body.len());
        let padded = [head, body, padding];
        let header = encode_header(&draft.header, &padded, self.salt, offset, before);
        let begin = self.copied.len();
        self.copied.extend_from_slice(header.bytes());
        self.copied.extend_from_slice(head);
        self.spliced.push((self.copied.len(), body));
        self.copied.extend_from_slice(padding);
        self.offset += (self.copied.len() - begin + body.len()) as u64;
        self.chain = header.chain;
        placed
    }

    /// Adds a frame whose payload does not live as long as the buffer. As [`Self::push`].
    pub(crate) fn push_copied(&mut self, draft: &Draft<'_>) -> (u64, Chain) {
        draft.check_len();
        let placed @ (offset, before) = (self.offset, self.chain);
        let Draft { header, payload } = draft;
        let begin = self.copied.len();
        self.chain = push_frame(&mut self.copied, header, *payload, self.salt, offset, before);
        self.offset += (self.copied.len() - begin) as u64;
        placed
    }

    /// Where the frame after the last will stand.
    pub(crate) const fn end(&self) -> (u64, Chain) {
        (self.offset, self.chain)
    }

    /// Writes all of it at `offset`.
    ///
    /// # Errors
    /// Those of the file; then any part may have been written.
    #[expect(clippy::inline_always, reason = "returning from a write call is what it costs")]
    #[inline(always)]
    pub(crate) fn write(&self, file: &dyn FsFile, offset: u64) -> io::Result<()> {
        if self.spliced.is_empty() {
            return write_all_at(file, &mut [IoSlice::new(&self.copied)], offset);
        }
        self.write_spliced(file, offset)
    }

    /// As [`Self::write`], of several parts. By itself, or that would not be inline.
    #[inline(never)]
    fn write_spliced(&self, file: &dyn FsFile, offset: u64) -> io::Result<()> {
        let mut parts = Vec::with_capacity(2 * self.spliced.len() + 1);
        let mut done = 0;
        for &(at, part) in &self.spliced {
            parts.push(IoSlice::new(self.copied.get(done..at).unwrap_or_default()));
            parts.push(IoSlice::new(part));
            done = at;
        }
        parts.push(IoSlice::new(self.copied.get(done..).unwrap_or_default()));
        write_all_at(file, &mut parts, offset)
    }

    /// Gives the room back for the next buffer.
    pub(crate) fn into_scratch(self) -> Vec<u8> {
        self.copied
    }
}
