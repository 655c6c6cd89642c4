//! STUB
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use crate::types::{LogId, Timestamp};
use bytes::Bytes;
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ManifestHead {
    pub last: LogId,
    pub timestamp: Timestamp,
    pub membership: Bytes,
    pub sessions: Bytes,
    pub keys: u64,
    pub live_bytes: u64,
}
