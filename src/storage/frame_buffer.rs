//! Encodes frames that follow each other into one write.

use std::io::{self, IoSlice};

use super::frame::{Chain, FrameHeader, Salt, encode_header, frame_len, padding};
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

    pub(crate) fn frame_len(&self) -> usize {
        frame_len(self.payload[0].len() + self.payload[1].len())
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
    pub(crate) fn push(&mut self, draft: &Draft<'a>) -> (u64, Chain) {
        let placed = self.push_head(draft);
        let [head, body] = draft.payload;
        if body.len() < SPLICE_BYTES_MIN {
            self.copied.extend_from_slice(body);
        } else {
            self.spliced.push((self.copied.len(), body));
        }
        self.copied.extend_from_slice(padding(head.len() + body.len()));
        placed
    }

    /// Adds a frame whose payload does not live as long as the buffer.
    pub(crate) fn push_copied(&mut self, draft: &Draft<'_>) {
        self.push_head(draft);
        let [head, body] = draft.payload;
        self.copied.extend_from_slice(body);
        self.copied.extend_from_slice(padding(head.len() + body.len()));
    }

    /// Adds a frame's header and the first part of its payload.
    fn push_head(&mut self, draft: &Draft<'_>) -> (u64, Chain) {
        let placed = (self.offset, self.chain);
        let encoded =
            encode_header(&draft.header, draft.payload, self.salt, self.offset, self.chain);
        self.copied.extend_from_slice(&encoded.bytes);
        self.copied.extend_from_slice(draft.payload[0]);
        self.offset += draft.frame_len() as u64;
        self.chain = encoded.chain;
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
    pub(crate) fn write(&self, file: &dyn FsFile, offset: u64) -> io::Result<()> {
        if self.spliced.is_empty() {
            return write_all_at(file, &mut [IoSlice::new(&self.copied)], offset);
        }
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
