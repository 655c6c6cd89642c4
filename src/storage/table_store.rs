//! STUB
#![allow(missing_docs, missing_debug_implementations, clippy::all, clippy::pedantic, unused)]
use super::error::StorageError;
use super::manifest::ManifestHead;
use super::record::Record;
use super::table_set::TableSet;
use bytes::Bytes;
use std::sync::Arc;
#[derive(Debug, Default)]
pub struct TableStore {}
#[derive(Clone, Copy, Debug)]
pub struct Merge;
#[derive(Debug)]
pub struct MergeStep {
    pub set: Arc<TableSet>,
    pub done: bool,
}
impl TableStore {
    pub fn resident_bytes(&self) -> u64 {
        0
    }
    pub fn set(&self) -> Arc<TableSet> {
        Arc::default()
    }
    pub fn head(&self) -> Option<ManifestHead> {
        None
    }
    pub fn add_run(
        &self,
        head: &ManifestHead,
        rows: &mut dyn Iterator<Item = (Bytes, Record)>,
    ) -> Result<Arc<TableSet>, StorageError> {
        Ok(Arc::default())
    }
    pub fn plan(&self, threshold: u64) -> Option<Merge> {
        None
    }
    pub fn plan_all(&self) -> Option<Merge> {
        None
    }
    pub fn merge_step(&self, merge: &Merge) -> Result<MergeStep, StorageError> {
        unimplemented!()
    }
}
