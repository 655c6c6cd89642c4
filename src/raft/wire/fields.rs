//! Bounded reads, writes of a size that is known before, and the shape of every value that more
//! than one message has.

use bytes::Bytes;

use super::error::WireError;
use crate::storage::identity::Identity;
use crate::types::{LogId, LogIndex, NodeId, RandomId, Term, Timestamp, Version, Vote};

/// Where a message is written: a buffer, or a count of what a buffer would have to hold.
pub(super) trait Sink {
    /// Appends bytes as they are.
    fn raw(&mut self, bytes: &[u8]);

    /// Appends a length or a count.
    fn count(&mut self, count: usize) {
        let count = u32::try_from(count);
        // Nothing that is sent is longer than `PAYLOAD_BYTES_MAX`.
        debug_assert!(count.is_ok(), "a message holds less than 4 GiB");
        count.unwrap_or(u32::MAX).put(self);
    }
}

impl Sink for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Debug, Default)]
pub(super) struct Counter(pub(super) usize);

impl Sink for Counter {
    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Reads from the front of a message and never past its end.
#[derive(Debug)]
pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(super) const fn new(rest: Bytes) -> Self {
        Self { rest }
    }

    /// The next `count` bytes, shared with the message.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Bytes, WireError> {
        if count > self.rest.len() {
            return Err(WireError::UnexpectedEnd);
        }
        Ok(self.rest.split_to(count))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let array = self.rest.first_chunk().copied().ok_or(WireError::UnexpectedEnd)?;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(array)
    }

    /// A count of items, each of which takes at least `bytes_min`: believed only as far as the
    /// bytes that are left.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<usize, WireError> {
        let count = u32::take(self)? as usize;
        match count.checked_mul(bytes_min) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(WireError::UnexpectedEnd),
        }
    }

    /// A list of so many items at most.
    pub(super) fn list<T: Wire>(&mut self, most: usize) -> Result<Vec<T>, WireError> {
        let found = self.count(T::BYTES_MIN)?;
        if found > most {
            return Err(WireError::TooMany { found, most });
        }
        (0..found).map(|_| T::take(self)).collect()
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(WireError::TrailingBytes { extra }),
        }
    }
}

/// A value with one encoding.
pub(super) trait Wire: Sized {
    /// Fewest bytes that any value of this type takes.
    const BYTES_MIN: usize;

    fn put<S: Sink + ?Sized>(&self, to: &mut S);

    fn take(from: &mut Reader) -> Result<Self, WireError>;
}

impl Wire for u8 {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.raw(&[*self]);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        from.array::<1>().map(|[byte]| byte)
    }
}

impl Wire for u32 {
    const BYTES_MIN: usize = 4;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.raw(&self.to_le_bytes());
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        from.array().map(Self::from_le_bytes)
    }
}

impl Wire for u64 {
    const BYTES_MIN: usize = 8;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.raw(&self.to_le_bytes());
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        from.array().map(Self::from_le_bytes)
    }
}

impl Wire for bool {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        u8::from(*self).put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(WireError::UnknownTag { what: "yes or no", found }),
        }
    }
}

impl<const N: usize> Wire for [u8; N] {
    const BYTES_MIN: usize = N;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.raw(self);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        from.array()
    }
}

impl<T: Wire> Wire for Option<T> {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Wire> Wire for Vec<T> {
    const BYTES_MIN: usize = 4;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.count(self.len());
        for item in self {
            item.put(to);
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        let count = from.count(T::BYTES_MIN)?;
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(T::take(from)?);
        }
        Ok(items)
    }
}

impl Wire for Bytes {
    const BYTES_MIN: usize = 4;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.count(self.len());
        to.raw(self);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        let count = from.count(1)?;
        from.bytes(count)
    }
}

impl Wire for String {
    const BYTES_MIN: usize = 4;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        to.count(self.len());
        to.raw(self.as_bytes());
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        let text = Bytes::take(from)?;
        std::str::from_utf8(&text).map(str::to_owned).map_err(|_| WireError::NotUtf8)
    }
}

/// Numbers with a name stand as the number.
macro_rules! numbers {
    ($($name:ident),+) => {$(
        impl Wire for $name {
            const BYTES_MIN: usize = 8;

            fn put<S: Sink + ?Sized>(&self, to: &mut S) {
                self.0.put(to);
            }

            fn take(from: &mut Reader) -> Result<Self, WireError> {
                u64::take(from).map(Self)
            }
        }
    )+};
}

numbers!(LogIndex, NodeId, Term, Timestamp, Version);

impl Wire for RandomId {
    const BYTES_MIN: usize = 16;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.0.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        from.array().map(Self)
    }
}

impl Wire for Identity {
    const BYTES_MIN: usize = 40;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.cluster.put(to);
        self.node.put(to);
        self.incarnation.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            cluster: Wire::take(from)?,
            node: Wire::take(from)?,
            incarnation: Wire::take(from)?,
        })
    }
}

impl Wire for LogId {
    const BYTES_MIN: usize = 24;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.term.put(to);
        self.leader.put(to);
        self.index.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { term: Wire::take(from)?, leader: Wire::take(from)?, index: Wire::take(from)? })
    }
}

impl Wire for Vote {
    const BYTES_MIN: usize = 17;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.term.put(to);
        self.node.put(to);
        self.committed.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { term: Wire::take(from)?, node: Wire::take(from)?, committed: Wire::take(from)? })
    }
}
