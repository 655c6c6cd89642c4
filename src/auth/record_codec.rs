//! The bytes of auth's records: a version, then fields of fixed width and of counted bytes.

use crate::error::{Error, Result};
use crate::types::Timestamp;

/// Longest field, and most items of a list, that is believed.
const FIELD_MAX: usize = 1 << 20;

/// Writes one record.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// The byte 0, or the byte 1 and what `put` writes.
    pub(super) fn option<T>(self, value: Option<&T>, put: impl FnOnce(Self, &T) -> Self) -> Self {
        match value {
            None => self.byte(0),
            Some(value) => put(self.byte(1), value),
        }
    }

    pub(super) fn list<T>(self, items: &[T], put: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.number(items.len() as u64), put)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads one record. Nothing is believed of a length beyond the bytes that are there.
pub(super) struct Reader<'a>(&'a [u8]);

/// What is said of bytes that are no record of ours.
pub(super) fn malformed() -> Error {
    Error::Crypto("a record of auth cannot be understood: another release wrote it".to_owned())
}

impl<'a> Reader<'a> {
    /// # Errors
    /// `Crypto` for another version.
    pub(super) fn new(bytes: &'a [u8], version: u8) -> Result<Self> {
        match bytes.split_first() {
            Some((&found, rest)) if found == version => Ok(Self(rest)),
            _ => Err(malformed()),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed()),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp> {
        self.number().map(Timestamp)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.array().map(u32::from_le_bytes)? as usize;
        if length > FIELD_MAX {
            return Err(malformed());
        }
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| malformed())
    }

    pub(super) fn option<T>(
        &mut self,
        get: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.flag()? { get(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn list<T>(&mut self, get: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.number()?;
        // Every item has at least one byte.
        if count > self.0.len().min(FIELD_MAX) as u64 {
            return Err(malformed());
        }
        (0..count).map(|_| get(self)).collect()
    }

    /// # Errors
    /// `Crypto` when anything is left.
    pub(super) fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}
