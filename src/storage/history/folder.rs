//! The folder of the past on the disk: what is in it, and what of it is to go.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{Catalog, Era};
use super::file::ChangeFile;
use super::name::{
    ChangeName, EraName, ahead, is_ahead_era, is_unfinished_era, is_unfinished_file,
};
use crate::env::fs::{DirEntry, FileKind, Fs};
use crate::storage::atomic_file::{self, temporary_of};
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::{
    ARCHIVE_NAME, TABLES_NAME, TEMPORARY_SUFFIX, parse_manifest_name, parse_table_name,
};
use crate::types::LogIndex;

/// What is in the folder of the past, by names alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(super) catalog: Catalog,
    /// Eras that reach further than the store, oldest first, once [`Self::part_ahead`] was told
    /// where that ends. They do not count.
    pub(super) ahead: Vec<Arc<Era>>,
    /// The folders of those that an earlier opening has set aside.
    pub(crate) set_aside: Vec<PathBuf>,
    /// Eras that were being built or removed.
    pub(crate) unfinished_eras: Vec<PathBuf>,
    /// Change files that were being written.
    pub(crate) unfinished_files: Vec<PathBuf>,
    /// Change files that were compressed, with the era that holds what they became.
    pub(super) replaced: Vec<(EraName, ChangeName)>,
    /// Change files that overlap with others, which none of us writes. They do not count.
    pub(crate) overlapping: Vec<PathBuf>,
    /// What is none of the store's.
    pub(crate) foreign: Vec<PathBuf>,
}

impl Found {
    /// The folders of the eras, oldest first; whether each has a base; and its change files.
    pub(crate) fn eras(&self, context: &Context) -> Vec<(PathBuf, bool, Vec<PathBuf>)> {
        let era = |era: &Era| {
            let folder = era_path(context, &era.name);
            let files = era.files.iter().map(|file| folder.join(file.to_string())).collect();
            (folder, era.name.base_last().is_some(), files)
        };
        self.catalog.eras.iter().map(|found| era(found)).collect()
    }

    /// Parts the eras that reach further than a store that ends with `last` from those that count,
    /// with all that was found in them: nothing there is removed any more.
    pub(crate) fn part_ahead(&mut self, context: &Context, last: Option<LogIndex>) {
        let (catalog, ahead) = self.catalog.split_ahead(last);
        (self.catalog, self.ahead) = (catalog, ahead);
        let (folders, names) = (self.ahead(context), self.ahead.iter().map(|era| era.name));
        let names: Vec<EraName> = names.collect();
        self.replaced.retain(|(era, _)| !names.contains(era));
        for files in [&mut self.unfinished_files, &mut self.overlapping, &mut self.foreign] {
            files.retain(|file| !folders.iter().any(|folder| file.starts_with(folder)));
        }
    }

    /// The folders of the eras that reach further than the store.
    pub(crate) fn ahead(&self, context: &Context) -> Vec<PathBuf> {
        self.ahead.iter().map(|era| era_path(context, &era.name)).collect()
    }

    /// An error for each hole within an era.
    pub(crate) fn holes(&self, context: &Context) -> Vec<StorageError> {
        let hole = |(era, first, last): (&Era, LogIndex, LogIndex)| StorageError::MissingChanges {
            directory: era_path(context, &era.name),
            first,
            last,
        };
        self.catalog.holes().into_iter().map(hole).collect()
    }

    /// Change files that were compressed and are still there.
    pub(crate) fn replaced(&self, context: &Context) -> Vec<PathBuf> {
        self.replaced.iter().map(|(era, file)| file_path(context, era, file)).collect()
    }
}

pub(super) fn era_path(context: &Context, era: &EraName) -> PathBuf {
    context.archive.join(era.to_string())
}

pub(super) fn file_path(context: &Context, era: &EraName, file: &ChangeName) -> PathBuf {
    era_path(context, era).join(file.to_string())
}

/// Looks at the folder of the past; nothing is in one that is absent. Reads no file.
///
/// # Errors
/// `Io`; `Corrupt` when something else has one of our names: a symbolic link would be followed.
pub(crate) fn look(context: &Context) -> Result<Found, StorageError> {
    let (fs, folder) = (&*context.env.fs, &context.archive);
    let mut found = Found::default();
    match fs.kind(folder).map_err(StorageError::wrap("look at", folder))? {
        None => return Ok(found),
        Some(FileKind::Directory) => {}
        Some(_) => return Err(StorageError::corrupt(folder, 0, "this is not a directory")),
    }
    let mut eras = Vec::new();
    for entry in list(fs, folder)? {
        let path = folder.join(&entry.name);
        if let Some(name) = EraName::parse(&entry.name) {
            check_kind(&path, &entry, FileKind::Directory)?;
            eras.push(look_into(fs, &path, name, &mut found)?);
        } else if is_unfinished_era(&entry.name) && entry.kind == FileKind::Directory {
            found.unfinished_eras.push(path);
        } else if is_ahead_era(&entry.name) {
            found.set_aside.push(path);
        } else {
            found.foreign.push(path);
        }
    }
    found.catalog = Catalog::of(eras);
    Ok(found)
}

fn look_into(
    fs: &dyn Fs,
    folder: &Path,
    name: EraName,
    found: &mut Found,
) -> Result<Era, StorageError> {
    let mut files = Vec::new();
    for entry in list(fs, folder)? {
        let path = folder.join(&entry.name);
        if let Some(file) = ChangeName::parse(&entry.name) {
            check_kind(&path, &entry, FileKind::File)?;
            files.push(file);
        } else if is_unfinished_file(&entry.name) && entry.kind != FileKind::Directory {
            found.unfinished_files.push(path);
        } else if entry.name != TABLES_NAME && parse_manifest_name(&entry.name).is_none() {
            found.foreign.push(path);
        }
    }
    let (era, others) = Era::of(name, files);
    for file in others {
        if era.replaces(&file) {
            found.replaced.push((name, file));
        } else {
            found.overlapping.push(folder.join(file.to_string()));
        }
    }
    Ok(era)
}

fn check_kind(path: &Path, entry: &DirEntry, expected: FileKind) -> Result<(), StorageError> {
    if entry.kind == expected {
        return Ok(());
    }
    let found = format!("expected a {expected:?} of this name, found a {:?}", entry.kind);
    Err(StorageError::corrupt(path, 0, found))
}

fn list(fs: &dyn Fs, folder: &Path) -> Result<Vec<DirEntry>, StorageError> {
    fs.list(folder).map_err(StorageError::wrap("list", folder))
}

/// Takes their names from the eras that reach further than the store, which ends with `last`. To be
/// called before [`settle`], and before the log can grow: where it has reached as far as they do,
/// nobody can tell any more that they are of other entries.
///
/// What is on disk if we die here: any of them with its name and any without. Nothing was added to
/// the log, so the next opening tells the same ones and goes on.
///
/// # Errors
/// `ArchiveAhead` where one cannot be renamed, `DiskFull`: all are as before. `SyncFailed`.
pub(super) fn set_aside(
    context: &Context,
    found: &mut Found,
    last: Option<LogIndex>,
) -> Result<(), StorageError> {
    let (fs, archive) = (&*context.env.fs, &context.archive);
    found.part_ahead(context, last);
    // Newest first: after a cut the beginning of the row is there, and nothing behind a gap.
    let pair = |era: &Arc<Era>| Ok((era.name.to_string(), free_name(fs, archive, era, last)?));
    let names = found.ahead.iter().rev().map(pair).collect::<Result<Vec<_>, StorageError>>()?;
    if names.is_empty() {
        return Ok(());
    }
    atomic_file::set_aside(fs, &context.gate, archive, &names).map_err(|error| match error {
        StorageError::Io { path, source, .. } => {
            let archived = found.ahead.iter().filter_map(|era| era.last()).max();
            let archived = archived.unwrap_or_default();
            StorageError::ArchiveAhead { directory: path, archived, last, source }
        }
        other => other,
    })?;
    for (era, (_, name)) in found.ahead.iter().rev().zip(names) {
        let path = archive.join(name);
        let (folder, last) = (path.display(), last.map_or(0, |last| last.0));
        let reaches_to = era.last().map_or(0, |last| last.0);
        tracing::warn!(
            %folder,
            reaches_to,
            last,
            "a part of the past reaches further than the store, which was put back to an older \
             moment: it was set aside, and is not used any more"
        );
        found.set_aside.push(path);
    }
    found.set_aside.sort_unstable();
    Ok(())
}

/// What an era that is set aside is to be called: a name that nothing has.
fn free_name(
    fs: &dyn Fs,
    archive: &Path,
    era: &Era,
    last: Option<LogIndex>,
) -> Result<String, StorageError> {
    let mut again = 1;
    loop {
        let name = ahead(&era.name, last, again);
        let path = archive.join(&name);
        if fs.kind(&path).map_err(StorageError::wrap("look at", &path))?.is_none() {
            return Ok(name);
        }
        again += 1;
    }
}

/// Makes durable what was found, and removes what an interrupted change left. To be called before
/// anything is written, once everything in the data directory was judged.
///
/// # Errors
/// `SyncFailed`. A left-over that cannot be removed is no error: it is tried again at the next
/// opening.
pub(super) fn settle(context: &Context, found: &Found) -> Result<(), StorageError> {
    let (fs, gate) = (&*context.env.fs, &context.gate);
    let is_there = |path: &Path| {
        let kind = fs.kind(path).map_err(StorageError::wrap("look at", path))?;
        Ok(kind == Some(FileKind::Directory))
    };
    let unfinished = temporary_of(&context.root, ARCHIVE_NAME);
    if is_there(&unfinished)? {
        warn_stays(&unfinished, fs.remove_dir(&unfinished));
    }
    if !is_there(&context.archive)? {
        return Ok(());
    }
    // A process that was killed between a rename and the sync of its directory leaves a name that
    // everybody sees and a power cut still takes: the log must not be purged on its strength, nor
    // a file removed that another one replaced.
    gate.sync_dir(&context.root)?;
    gate.sync_dir(&context.archive)?;
    for era in &found.catalog.eras {
        let is_newest = found.catalog.newest().is_some_and(|newest| newest.name == era.name);
        if is_newest || found.replaced.iter().any(|(other, _)| *other == era.name) {
            gate.sync_dir(&era_path(context, &era.name))?;
        }
    }
    for folder in &found.unfinished_eras {
        warn_stays(folder, remove_folder(fs, folder));
    }
    for file in &found.unfinished_files {
        warn_stays(file, fs.remove(file));
    }
    for (era, file) in &found.replaced {
        remove_replaced(context, found, era, file);
    }
    Ok(())
}

/// Removes a file that was compressed, once the one that it became is seen to be whole.
fn remove_replaced(context: &Context, found: &Found, era: &EraName, file: &ChangeName) {
    let path = file_path(context, era, file);
    let era = found.catalog.eras.iter().find(|other| other.name == *era);
    let packed = era.and_then(|era| {
        let covers = |packed: &&ChangeName| packed.first <= file.first && file.last <= packed.last;
        Some((era, era.files.iter().find(covers)?))
    });
    let Some((era, packed)) = packed else { return };
    let packed_path = file_path(context, &era.name, packed);
    let checked = ChangeFile::open(context, &packed_path, packed)
        .and_then(|file| file.map_or(Ok(()), |file| file.verify()));
    match checked {
        Ok(()) => warn_stays(&path, context.env.fs.remove(&path)),
        Err(error) => {
            let file = path.display();
            tracing::warn!(%error, %file, "it stays: the file that replaces it is damaged");
        }
    }
}

/// Removes the folder of an era that has lost its name, or never got one, and what we put into it.
///
/// # Errors
/// Those of the platform; `DirectoryNotEmpty` where somebody else has put something there.
pub(super) fn remove_folder(fs: &dyn Fs, folder: &Path) -> std::io::Result<()> {
    let is_table = |name: &str| {
        parse_table_name(name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or(name)).is_some()
    };
    let is_file = |name: &str| {
        ChangeName::parse(name).is_some()
            || is_unfinished_file(name)
            || parse_manifest_name(name).is_some()
    };
    let remove_files = |folder: &Path, is_ours: &dyn Fn(&str) -> bool| {
        for entry in fs.list(folder)? {
            if entry.kind != FileKind::Directory && is_ours(&entry.name) {
                fs.remove(&folder.join(&entry.name))?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let tables = folder.join(TABLES_NAME);
    if fs.kind(&tables)? == Some(FileKind::Directory) {
        remove_files(&tables, &is_table)?;
        fs.remove_dir(&tables)?;
    }
    remove_files(folder, &is_file)?;
    fs.remove_dir(folder)
}

/// As [`remove_folder`], where there is such a folder.
///
/// # Errors
/// `Io`.
pub(super) fn clear(fs: &dyn Fs, folder: &Path) -> Result<(), StorageError> {
    match remove_folder(fs, folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StorageError::wrap("remove", folder)),
    }
}

/// Says that something could not be removed now.
pub(super) fn warn_stays(path: &Path, removed: std::io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a left-over of the past stays for now");
    }
}
