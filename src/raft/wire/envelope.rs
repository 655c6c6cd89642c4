//! Who sends a message to whom, and the checksum around it.

use bytes::Bytes;

use super::MESSAGE_FORMAT;
use super::error::WireError;
use super::fields::{Counter, Reader, Sink, Wire};
use crate::storage::identity::Identity;
use crate::types::{NodeId, RandomId};

/// Length of the checksum that ends a message.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// The directory that a request is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The node.
    pub node: NodeId,
    /// Its directory; `None` where the sender does not know it.
    pub incarnation: Option<RandomId>,
}

/// Who sends a request to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's directory, and the cluster that both are part of.
    pub from: Identity,
    /// Who it is meant for.
    pub to: Addressee,
}

/// The incarnation that says that none is known. No directory draws it: it would take 128 random
/// bits that are all zero.
const UNKNOWN: RandomId = RandomId([0; 16]);

impl Wire for Addressee {
    const BYTES_MIN: usize = 24;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.node.put(to);
        self.incarnation.unwrap_or(UNKNOWN).put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        let node = Wire::take(from)?;
        let incarnation = Some(RandomId::take(from)?).filter(|known| *known != UNKNOWN);
        Ok(Self { node, incarnation })
    }
}

impl Wire for Envelope {
    const BYTES_MIN: usize = Identity::BYTES_MIN + Addressee::BYTES_MIN;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.from.put(to);
        self.to.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { from: Wire::take(from)?, to: Wire::take(from)? })
    }
}

/// Something that can be written to any sink.
pub(super) trait Message {
    fn write<S: Sink>(&self, to: &mut S);
}

/// A message in one buffer of exactly its length: format, content, checksum.
pub(super) fn seal(message: &impl Message) -> Bytes {
    let mut counter = Counter::default();
    message.write(&mut counter);
    let bytes = 1 + counter.0 + CHECKSUM_BYTES;
    let mut sealed = Vec::with_capacity(bytes);
    sealed.push(MESSAGE_FORMAT);
    message.write(&mut sealed);
    crc32c::crc32c(&sealed).put(&mut sealed);
    debug_assert_eq!(sealed.len(), bytes, "both passes write the same");
    Bytes::from(sealed)
}

/// The checksum that a message carries, and which names it in the answer to it. Zero for bytes too
/// short to be one.
pub(super) fn checksum_of(sealed: &Bytes) -> u32 {
    sealed.last_chunk::<CHECKSUM_BYTES>().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The content of a message, once its checksum and then its format are what they should be.
pub(super) fn open(sealed: &Bytes) -> Result<Reader, WireError> {
    let bytes = sealed.len();
    let end = bytes.checked_sub(CHECKSUM_BYTES).ok_or(WireError::Checksum { bytes })?;
    let covered = sealed.slice(..end);
    if crc32c::crc32c(&covered) != checksum_of(sealed) {
        return Err(WireError::Checksum { bytes });
    }
    let mut content = Reader::new(covered);
    match u8::take(&mut content)? {
        MESSAGE_FORMAT => Ok(content),
        found => Err(WireError::UnknownFormat { found }),
    }
}
