//! What is in a directory, sorted out by name.

use std::path::Path;

use super::report::VerifyReport;
use crate::env::Env;
use crate::env::fs::{DirEntry, FileKind};
use crate::storage::error::StorageError;
use crate::storage::format::{
    ARCHIVE_NAME, IDENTITY_NAME, INCOMING_NAME, LOCK_NAME, LOG_NAME, RESERVE_NAME, TABLES_NAME,
    TEMPORARY_SUFFIX, TORN_SUFFIX, WATERMARK_NAME, is_incoming_name, is_our_name,
    parse_manifest_name, parse_segment_name, parse_table_name,
};
use crate::types::{SegmentId, TableId};

/// The folders of a store that are looked into here.
const FOLDERS: [&str; 3] = [LOG_NAME, TABLES_NAME, INCOMING_NAME];

/// The files of a store, by kind, each ascending.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) has_identity: bool,
    pub(super) has_watermark: bool,
    pub(super) segments: Vec<SegmentId>,
    pub(super) manifests: Vec<u64>,
    pub(super) tables: Vec<TableId>,
}

impl Names {
    /// Lists the directory and its folders; what is none of the store's is told as a left-over.
    pub(super) fn of(
        env: &Env,
        root: &Path,
        report: &mut VerifyReport,
    ) -> Result<Self, StorageError> {
        let mut names = Self::default();
        let list = |path: &Path| env.fs.list(path).map_err(StorageError::wrap("list", path));
        for entry in list(root)? {
            names.take_in_root(root, &entry, report);
        }
        for folder in FOLDERS {
            let path = root.join(folder);
            let kind = env.fs.kind(&path).map_err(StorageError::wrap("look at", &path))?;
            if kind == Some(FileKind::Directory) {
                for entry in list(&path)? {
                    names.take_in(folder, &path, &entry, report);
                }
            }
        }
        names.segments.sort_unstable();
        names.manifests.sort_unstable();
        names.tables.sort_unstable();
        Ok(names)
    }

    fn take_in_root(&mut self, root: &Path, entry: &DirEntry, report: &mut VerifyReport) {
        let path = root.join(&entry.name);
        let manifest = parse_manifest_name(&entry.name);
        let is_ours = |name: &str| name == ARCHIVE_NAME || FOLDERS.contains(&name);
        let is_folder = is_ours(&entry.name);
        let is_file = [IDENTITY_NAME, LOCK_NAME, RESERVE_NAME].contains(&entry.name.as_str());
        let expected = if is_folder { FileKind::Directory } else { FileKind::File };
        if manifest.is_none() && !is_folder && !is_file {
            let is_begun = entry.kind == FileKind::Directory
                && entry.name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(is_ours);
            let what = if is_begun {
                "a folder that was being made; finished or removed when it is needed"
            } else {
                what_is(&entry.name)
            };
            report.leftover(path, what);
        } else if entry.kind != expected {
            report.damage(&path, 0, format!("expected a {expected:?}, found {:?}", entry.kind));
        } else if let Some(number) = manifest {
            self.manifests.push(number);
        } else if entry.name == IDENTITY_NAME {
            self.has_identity = true;
        }
    }

    fn take_in(&mut self, folder: &str, path: &Path, entry: &DirEntry, report: &mut VerifyReport) {
        let path = path.join(&entry.name);
        if folder == INCOMING_NAME {
            return report.leftover(path, what_is_incoming(&entry.name));
        }
        let in_log = folder == LOG_NAME;
        let segment = parse_segment_name(&entry.name).filter(|_| in_log);
        let table = parse_table_name(&entry.name).filter(|_| !in_log);
        let is_watermark = in_log && entry.name == WATERMARK_NAME;
        if segment.is_none() && table.is_none() && !is_watermark {
            report.leftover(path, what_is(&entry.name));
        } else if entry.kind != FileKind::File {
            report.damage(&path, 0, format!("expected a File, found {:?}", entry.kind));
        } else {
            self.segments.extend(segment);
            self.tables.extend(table);
            self.has_watermark |= is_watermark;
        }
    }
}

fn what_is_incoming(name: &str) -> &'static str {
    if is_incoming_name(name) {
        "received of a snapshot that is not installed; the next transfer goes on with it"
    } else {
        "not a file of the store; left alone"
    }
}

fn what_is(name: &str) -> &'static str {
    if name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(is_our_name) {
        "a file that was being written; removed when the store is opened"
    } else if name.ends_with(TORN_SUFFIX) {
        "bytes that were cut off the log, kept as evidence"
    } else {
        "not a file of the store; left alone"
    }
}
