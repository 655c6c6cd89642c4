//! Checks the past: of each era the base, and every byte of its change files.

use std::path::Path;

use super::report::VerifyReport;
use super::tables::{check_table, count_manifest};
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::history::{self, ChangeFile};
use crate::storage::manifest::Manifest;
use crate::storage::manifest_file;
use crate::types::LogIndex;

/// Checks everything in the folder of the past, file by file, of a store that ends with entry
/// `end`: what opening would set aside because it reaches further is not read.
pub(super) fn check_archive(
    context: &Context,
    end: Option<LogIndex>,
    report: &mut VerifyReport,
    on_read: &mut dyn FnMut(u64),
) {
    let mut found = match history::look(context) {
        Ok(found) => found,
        // What stands in the place of a folder or a file is named in the error.
        Err(error) => return report.refused(&context.archive, error),
    };
    found.part_ahead(context, end);
    for (folder, has_base, files) in found.eras(context) {
        if has_base {
            check_base(context, &folder, report, on_read);
        }
        for file in files {
            match check_changes(context, &file) {
                // Head, places and end, and of each block its own and its filter's.
                Ok(file) => report.read(file.bytes(), 3 + 2 * file.blocks() as u64),
                Err(error) => report.refused(&file, error),
            }
            on_read(report.bytes);
        }
    }
    for hole in found.holes(context) {
        report.refused(&context.archive, hole);
    }
    for file in &found.overlapping {
        report.damage(file, 0, "it covers entries that another file covers, and does not count");
    }
    let leftovers = [
        (found.unfinished_eras.clone(), "a part of the past that was being built or removed"),
        (found.unfinished_files.clone(), "changes that were being written; removed at opening"),
        (found.replaced(context), "changes that were compressed since; removed at opening"),
        (found.ahead(context), "a past that reaches further than the store; set aside at opening"),
        (found.set_aside.clone(), "a past that reached further than the store; left alone"),
        (found.foreign.clone(), "not a file of the store; left alone"),
    ];
    for (files, what) in leftovers {
        for file in files {
            report.leftover(file, what);
        }
    }
}

fn check_changes(context: &Context, path: &Path) -> Result<ChangeFile, StorageError> {
    let file = ChangeFile::open_named(context, path)?;
    file.verify()?;
    Ok(file)
}

fn check_base(
    context: &Context,
    folder: &Path,
    report: &mut VerifyReport,
    on_read: &mut dyn FnMut(u64),
) {
    let context = history::context_of(context, folder);
    let read = || -> Result<(Manifest, u64), StorageError> {
        let newest = manifest_file::list(&context)?.pop();
        let number = newest.ok_or_else(|| StorageError::MissingFile {
            file: manifest_file::path_of(&context, 1),
            reason: "the era begins with the state that it says".to_owned(),
        })?;
        manifest_file::read(&context, number)
    };
    let manifest = match read() {
        Ok((manifest, bytes)) => {
            count_manifest(&manifest, bytes, report);
            manifest
        }
        Err(error) => return report.refused(folder, error),
    };
    for entry in manifest.tables() {
        if let Err(error) = check_table(&context, entry, report) {
            report.refused(&context.table_path(entry.summary.id), error);
        }
        on_read(report.bytes);
    }
}
