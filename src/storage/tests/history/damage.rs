//! Every bit of the past, flipped: a named error, or nothing that anybody could see.

use super::*;

/// Two eras, the first of them compressed.
fn kept() -> (SimFs, Past) {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(5);
    let mut past = Past::new(&fs);
    past.begin_era();
    past.append(&rng, 4, 30);
    past.append(&rng, 4, 30);
    past.next_era();
    past.append(&rng, 4, 30);
    assert!(compress(&past.archive).unwrap());
    (fs, past)
}

/// Looks at everything. Returns the errors.
fn errors(fs: &SimFs, past: &Past, what: &str) -> Vec<StorageError> {
    let mut errors = Vec::new();
    let archive = match try_archive(fs) {
        Ok(archive) => archive,
        Err(error) => return vec![error],
    };
    match read_all(&archive, 0..=11) {
        Ok(found) => assert_eq!(found, past.expected(0..=11), "{what}"),
        Err(error) => errors.push(error),
    }
    for n in 0..30 {
        let key = format!("key-{n:02}").into_bytes();
        match archive.changes_of(&key, LogIndex(0)..=LogIndex(11)) {
            Ok(found) => {
                let all = past.expected(0..=11);
                let has = |entry: &&EntryChanges| entry.changes.iter().any(|c| c.key == key);
                assert_eq!(found.len(), all.iter().filter(has).count(), "{what}");
            }
            Err(error) => errors.push(error),
        }
    }
    for index in [3, 9] {
        match archive.base_for(LogIndex(index)).and_then(|base| values_of(&base)) {
            Ok(values) if index == 3 => assert_eq!(values, Values::new(), "{what}"),
            Ok(values) => assert_eq!(values, past.values_at(7), "{what}"),
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Does something to a copy of each file.
fn each_file(damage: impl Fn(&SimFs, &Past, &Path)) {
    let (clean, past) = kept();
    assert!(errors(&clean.kill(), &past, "clean").is_empty());
    let files: Vec<PathBuf> = paths(&clean).iter().map(|name| path("archive").join(name)).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        damage(&clean, &past, file);
    }
}

/// As [`errors`], of times.
fn errors_of_times(fs: &SimFs, past: &Past, what: &str) -> Vec<StorageError> {
    let Ok(archive) = try_archive(fs) else { return Vec::new() };
    let mut errors = Vec::new();
    for time in 0..50 {
        match archive.index_at(Timestamp(time)) {
            Ok(found) => past.check_time(0, 11, Timestamp(time), found.map(|i| i.0), what),
            Err(error) => errors.push(error),
        }
    }
    errors
}

fn refuse(fs: &SimFs, past: &Past, file: &Path, what: &str) {
    let before = fs.files();
    let errors = errors(fs, past, what);
    assert!(!errors.is_empty(), "{what}: nobody was told");
    for error in errors.iter().chain(&errors_of_times(fs, past, what)) {
        assert_eq!(named(error), Some(file), "{what}: {error}");
    }
    assert_eq!(fs.files(), before, "{what}: nothing is changed");
}

#[test]
fn every_flipped_bit_is_told_with_its_file() {
    each_file(|clean, past, file| {
        for bit in 0..clean.read_file(file).unwrap().len() * 8 {
            let fs = clean.kill();
            fs.flip_bit(file, bit as u64).unwrap();
            refuse(&fs, past, file, &format!("{} bit {bit}", file.display()));
        }
    });
}

#[test]
fn a_file_of_another_length_is_told() {
    each_file(|clean, past, file| {
        let bytes = clean.read_file(file).unwrap();
        let shorter = (0..bytes.len()).step_by(7).map(|len| bytes[..len].to_vec());
        let longer = std::iter::once([&*bytes, &[0]].concat());
        for changed in shorter.chain(longer) {
            let fs = clean.kill();
            fs.write_file(file, &changed).unwrap();
            refuse(&fs, past, file, &format!("{} with {}", file.display(), changed.len()));
        }
    });
}

#[test]
fn a_file_that_is_missing_is_told_with_what_is_missing() {
    let (clean, past) = kept();
    for name in paths(&clean) {
        let file = path("archive").join(&name);
        let fs = clean.kill();
        fs.remove_file(&file).unwrap();
        let errors = errors(&fs, &past, &name);
        // Of the last file nobody knows that it was there.
        let is_last = name.starts_with("00000000000000000008") && name.contains(".ch");
        assert!(!errors.is_empty(), "{name}");
        for error in errors {
            let told = match &error {
                StorageError::MissingChanges { first, last, .. } => (first.0, last.0) == (0, 7),
                StorageError::BeyondEnd { .. } => is_last,
                StorageError::MissingFile { .. } => !name.contains(".ch"),
                _ => false,
            };
            assert!(told, "{name}: {error}");
        }
    }
}

#[test]
fn a_file_that_goes_while_the_archive_is_open_is_missing() {
    let (fs, past) = kept();
    let file = change_files(&fs)[0].clone();
    fs.remove_file(&file).unwrap();
    let error = read_all(&past.archive, 0..=11).unwrap_err();
    assert!(matches!(error, StorageError::MissingFile { .. }), "{error}");
    assert_eq!(named(&error), Some(&*file));
}

#[test]
fn a_file_under_the_name_of_another_is_told() {
    let (fs, past) = kept();
    let files = change_files(&fs);
    let bytes = fs.read_file(&files[1]).unwrap();
    fs.write_file(&files[0], &bytes).unwrap();
    refuse(&fs, &past, &files[0], "swapped");
    // Of the same length.
    let other = SimFs::new(1);
    let rng = SeededRng::new(6);
    let mut past = Past::new(&other);
    past.begin_era();
    past.append(&rng, 4, 30);
    let file = change_files(&other)[0].clone();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let renamed = name.replacen("00000000000000000003", "00000000000000000004", 1);
    other.rename_file(&file, &file.with_file_name(&renamed)).unwrap();
    let error = read_all(&archive(&other), 0..=4).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}

#[test]
fn a_damaged_file_that_was_compressed_is_not_removed_for_it() {
    let (clean, _) = kept();
    let fs = SimFs::new(1);
    let rng = SeededRng::new(5);
    let mut past = Past::new(&fs);
    past.begin_era();
    past.append(&rng, 4, 30);
    past.append(&rng, 4, 30);
    past.next_era();
    let raw = change_files(&fs);
    let packed = change_files(&clean)[0].clone();
    let bytes = clean.read_file(&packed).unwrap();
    // As after a crash before the raw ones were removed.
    fs.write_file(&packed, &bytes).unwrap();
    let damaged = fs.kill();
    damaged.flip_bit(&packed, 8 * 50).unwrap();
    archive(&damaged);
    assert!(raw.iter().all(|file| change_files(&damaged).contains(file)));
    archive(&fs);
    assert!(!raw.iter().any(|file| change_files(&fs).contains(file)));
    past.check(&archive(&fs), "compressed");
}
