//! STUB
#![allow(missing_docs, missing_debug_implementations, clippy::all, clippy::pedantic, unused)]
use super::error::StorageError;
use super::merge_cursor::RowCursor;
use super::record::{Direction, Record, RowRef};
use bytes::Bytes;
use std::ops::Bound;
#[derive(Debug, Default)]
pub struct TableSet {}
#[derive(Debug)]
pub struct RunCursor {}
#[derive(Debug)]
pub enum Cached {
    Hit(Option<Record>),
    NeedsRead,
}
impl TableSet {
    pub fn bytes(&self) -> u64 {
        0
    }
    pub fn data_bytes(&self) -> u64 {
        0
    }
    pub fn tables(&self) -> impl Iterator<Item = ()> {
        std::iter::empty()
    }
    pub fn runs(&self) -> &[()] {
        &[]
    }
    pub fn is_empty(&self) -> bool {
        true
    }
    pub fn get(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        Ok(None)
    }
    pub fn get_cached(&self, key: &[u8]) -> Cached {
        Cached::Hit(None)
    }
    pub fn may_contain(&self, key: &[u8]) -> bool {
        false
    }
    pub fn cursors(
        &self,
        direction: Direction,
        from: Bound<&[u8]>,
    ) -> Result<Vec<RunCursor>, StorageError> {
        Ok(Vec::new())
    }
}
impl RowCursor for RunCursor {
    fn row(&self) -> Option<RowRef<'_>> {
        None
    }
    fn shared_row(&self) -> Option<(Bytes, Record)> {
        None
    }
    fn advance(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}
