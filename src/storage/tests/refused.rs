//! Files that are missing, doubled, swapped, newer or not files: refused by name, nothing written.

use super::*;
use crate::storage::store::ReadOnlyStore;

/// A cleanly closed store: entries 0 to 39 over several segments, a snapshot, the first purged.
fn closed() -> SimFs {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..40, 300);
    publish_snapshot(&store, 12).unwrap();
    store.log().purge(id(12)).unwrap();
    store.close().unwrap();
    fs.kill()
}

fn segments(fs: &SimFs) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension() == Some("seg".as_ref())).collect()
}

/// Opening fails with what `expected` takes, for writing and for reading, and writes nothing.
fn refused(fs: &SimFs, expected: impl Fn(&StorageError) -> bool) {
    let before = fs.files();
    let error = try_open(fs).unwrap_err();
    assert!(expected(&error), "{error}");
    assert_eq!(fs.files(), before, "{error}");
    let error = ReadOnlyStore::open(env(fs), Path::new(ROOT), table_options()).unwrap_err();
    assert!(expected(&error), "{error}");
    assert_eq!(fs.files(), before, "{error}");
}

fn names(error: &StorageError, wanted: &Path) -> bool {
    match error {
        StorageError::Corrupt { file, .. }
        | StorageError::MissingFile { file, .. }
        | StorageError::UnsupportedFormat { file, .. } => file == wanted,
        _ => false,
    }
}

#[test]
fn a_missing_segment_is_named() {
    let fs = closed();
    let segments = segments(&fs);
    assert!(segments.len() >= 3, "{segments:?}");
    for (n, missing) in segments.iter().enumerate() {
        let fs = fs.kill();
        fs.remove_file(missing).unwrap();
        refused(&fs, |error| match error {
            StorageError::MissingSegment { first_index, .. } => {
                n == 0 && *first_index == LogIndex(13)
            }
            other => n > 0 && names(other, missing),
        });
    }
}

#[test]
fn doubled_and_swapped_segments_are_corrupt() {
    let fs = closed();
    let segments = segments(&fs);
    for from in &segments {
        for to in segments.iter().filter(|to| *to != from) {
            let fs = fs.kill();
            fs.copy_file(from, to).unwrap();
            refused(&fs, |error| names(error, to));
        }
        let next = segment(u32::try_from(segments.len()).unwrap() + 90);
        let fs = fs.kill();
        fs.copy_file(from, &next).unwrap();
        refused(&fs, |error| names(error, &next));
    }
    let (one, other) = (&segments[0], &segments[1]);
    let bytes = fs.read_file(one).unwrap();
    fs.copy_file(other, one).unwrap();
    fs.write_file(other, &bytes).unwrap();
    refused(&fs, |error| names(error, one));
}

#[test]
fn a_segment_of_another_directory_is_corrupt() {
    let (fs, other) = (closed(), closed());
    let last = segments(&fs).pop().unwrap();
    fs.write_file(&last, &other.read_file(&last).unwrap()).unwrap();
    refused(&fs, |error| names(error, &last));
}

#[test]
fn a_missing_manifest_is_named_once_the_log_is_purged_and_ignored_before() {
    let fs = closed();
    fs.remove_file(&manifest(&fs)).unwrap();
    refused(&fs, |error| error.to_string().contains("MANIFEST-"));
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..40, 300);
    publish_snapshot(&store, 12).unwrap();
    drop(store);
    fs.remove_file(&manifest(&fs)).unwrap();
    assert_eq!(indexes(open(&fs).log()).len(), 40);
    assert!(tables(&fs).is_empty(), "nothing names them any more");
}

#[test]
fn a_missing_identity_is_refused_beside_entries_and_a_missing_log_beside_an_identity() {
    let fs = closed();
    let identity = fs.read_file(&path("IDENTITY")).unwrap();
    fs.remove_file(&path("IDENTITY")).unwrap();
    refused(&fs, |error| names(error, &path("IDENTITY")));
    fs.write_file(&path("IDENTITY"), &identity).unwrap();
    for segment in segments(&fs) {
        fs.remove_file(&segment).unwrap();
    }
    refused(&fs, |error| matches!(error, StorageError::MissingFile { .. }));
    fs.rename_file(&path("log"), &path("elsewhere")).unwrap();
    refused(&fs, |error| names(error, &path("log")));
}

#[test]
fn watermark_lock_and_reserve_are_not_needed() {
    for name in ["log/WATERMARK", "LOCK", "RESERVE"] {
        let fs = SimFs::new(1);
        let options = StoreOptions { reserve_bytes: 4096, ..options() };
        let store = open_with(&fs, &options).unwrap();
        append(store.log(), 0..20, 300);
        store.close().unwrap();
        drop(store);
        fs.remove_file(&path(name)).unwrap();
        let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
        assert_eq!(reader.hard_state().last, Some(id(19)));
        drop(reader);
        assert!(fs.read_file(&path(name)).is_err());
        let store = open_with(&fs, &options).unwrap();
        assert_eq!(indexes(store.log()).len(), 20);
        assert!(fs.read_file(&path(name)).is_ok());
    }
}

#[test]
fn a_newer_format_is_refused_in_every_file() {
    // The checksum of a prologue ends it, that of the identity, too.
    let newest = manifest(&closed());
    let table = tables(&closed()).pop().unwrap();
    let last = segments(&closed()).pop().unwrap();
    for (file, len) in [(path("IDENTITY"), 64), (last, 40), (newest, 40), (table, 40)] {
        let fs = closed();
        let mut bytes = fs.read_file(&file).unwrap();
        bytes[8] = 3;
        let crc = crc32c::crc32c(&bytes[..len - 4]);
        bytes[len - 4..len].copy_from_slice(&crc.to_le_bytes());
        fs.write_file(&file, &bytes).unwrap();
        refused(&fs, |error| {
            matches!(error, StorageError::UnsupportedFormat { found: 3, .. }) && names(error, &file)
        });
    }
}

#[test]
fn a_newer_format_is_refused_before_a_lock_is_made() {
    let fs = closed();
    let mut bytes = fs.read_file(&path("IDENTITY")).unwrap();
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    fs.write_file(&path("IDENTITY"), &bytes).unwrap();
    fs.remove_file(&path("LOCK")).unwrap();
    refused(&fs, |error| matches!(error, StorageError::UnsupportedFormat { .. }));
}

#[test]
fn symbolic_links_are_not_followed() {
    let (newest, table) = (manifest(&closed()), tables(&closed()).pop().unwrap());
    let last = segments(&closed()).pop().unwrap();
    for file in [path("LOCK"), path("IDENTITY"), newest.clone(), table, last] {
        let fs = closed();
        fs.remove_file(&file).unwrap();
        fs.make_symlink(&file).unwrap();
        refused(&fs, |_| true);
    }
    let fs = closed();
    fs.rename_file(&path("log"), &path("elsewhere")).unwrap();
    fs.make_symlink(&path("log")).unwrap();
    refused(&fs, |error| names(error, &path("log")));
    fs.remove_file(&path("IDENTITY")).unwrap();
    fs.remove_file(&newest).unwrap();
    refused(&fs, |error| names(error, &path("log")));
    // What is made anew all the time replaces a link in its place.
    for name in ["log/WATERMARK", "RESERVE", "IDENTITY.tmp", "log/0000000009.seg.tmp"] {
        let fs = closed();
        fs.remove_file(&path(name)).ok();
        fs.make_symlink(&path(name)).unwrap();
        let options = StoreOptions { reserve_bytes: 4096, ..options() };
        assert_eq!(indexes(open_with(&fs, &options).unwrap().log()).len(), 27);
    }
}
