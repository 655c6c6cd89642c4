//! What no store of this release sends: refused before anything is written.

use super::*;
use crate::storage::format::PROLOGUE_BYTES;
use crate::storage::manifest::Manifest;
use crate::storage::manifest::tests as samples;
use crate::storage::manifest_frames;

fn is_bad<T>(result: &Result<T, StorageError>) -> bool {
    matches!(result, Err(StorageError::BadSnapshot { .. }))
}

fn encoded(manifest: &Manifest) -> Bytes {
    manifest_frames::encode(manifest, 5, 6).into()
}

#[test]
fn a_manifest_of_which_any_bit_was_flipped_or_any_byte_is_missing_is_refused() {
    let from = sender(1, 2);
    let bytes = from.tables.hold().unwrap().manifest_bytes();
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let files = fs.files();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = IncomingSnapshot::begin(&to, &flipped.into(), BYTES_MAX).map(drop);
        assert!(is_bad(&refused), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(is_bad(&IncomingSnapshot::begin(&to, &bytes.slice(..len), BYTES_MAX)), "{len}");
    }
    let longer = [&*bytes, &[0; 8]].concat().into();
    assert!(is_bad(&IncomingSnapshot::begin(&to, &longer, BYTES_MAX)));
    assert_eq!(fs.files(), files);
}

#[test]
fn a_manifest_of_a_newer_release_is_told_as_such() {
    let from = sender(1, 1);
    let mut bytes = from.tables.hold().unwrap().manifest_bytes().to_vec();
    bytes[8] += 1;
    let crc = crc32c::crc32c(&bytes[..36]).to_le_bytes();
    bytes[36..40].copy_from_slice(&crc);
    let to = tables(&SimFs::new(2));
    let refused = IncomingSnapshot::begin(&to, &bytes.into(), BYTES_MAX);
    assert!(matches!(refused, Err(StorageError::UnsupportedFormat { .. })));
}

#[test]
fn tables_that_cannot_be_and_counts_that_they_cannot_have_are_refused_before_anything_is_written() {
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let files = fs.files();
    let tables = |one: u64, other: u64| {
        let mut run = vec![samples::entry(1, "a", "b", None), samples::entry(2, "c", "d", None)];
        (run[0].summary.bytes, run[1].summary.bytes) = (one, other);
        samples::manifest(9, vec![run])
    };
    for (one, other) in [(u64::MAX, u64::MAX), (BYTES_MAX, 1000), (5000, BYTES_MAX), (120, 5000)] {
        let bytes = encoded(&tables(one, other));
        assert!(is_bad(&IncomingSnapshot::begin(&to, &bytes, BYTES_MAX)), "{one} {other}");
    }
    let mut twice = tables(5000, 5000);
    twice.runs[0][1].summary.hash = twice.runs[0][0].summary.hash;
    assert!(is_bad(&IncomingSnapshot::begin(&to, &encoded(&twice), BYTES_MAX)));
    for (keys, live_bytes) in [(1_000_000, 0), (0, 1 << 40)] {
        let mut lies = tables(5000, 5000);
        (lies.head.keys, lies.head.live_bytes) = (keys, live_bytes);
        assert!(is_bad(&IncomingSnapshot::begin(&to, &encoded(&lies), BYTES_MAX)));
    }
    assert_eq!(fs.files(), files);
    // Not a byte is reserved on the word of a manifest.
    let used = fs.used_bytes();
    IncomingSnapshot::begin(&to, &encoded(&tables(5000, BYTES_MAX - 5000)), BYTES_MAX).unwrap();
    assert_eq!(fs.used_bytes(), used);
}

#[test]
fn a_piece_that_is_not_the_next_one_is_refused_and_the_next_one_is_taken_all_the_same() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let (mut incoming, needs) = begin(&to, &held).unwrap();
    let bytes = held.parts()[0].bytes;
    let piece = |at, len| held.read(0, at, len).unwrap();
    let first = piece(0, PIECE);
    incoming.write(0, 0, &first, crc(&first)).unwrap();
    let files = fs.files();
    let at = first.len() as u64;
    let next = piece(at, PIECE);
    for wrong in [0, at - 1, at + 1, bytes, u64::MAX] {
        assert!(is_bad(&incoming.write(0, wrong, &next, crc(&next))), "{wrong}");
    }
    assert!(is_bad(&incoming.write(0, at, &next, crc(&next) ^ 1)));
    assert!(is_bad(&incoming.write(0, at, &[], 0)));
    let beyond = vec![7; usize::try_from(bytes - at).unwrap() + 1];
    assert!(is_bad(&incoming.write(0, at, &beyond, crc(&beyond))));
    let huge = vec![7; crate::storage::format::PIECE_BYTES_MAX + 1];
    assert!(is_bad(&incoming.write(0, at, &huge, crc(&huge))));
    assert!(is_bad(&incoming.write(needs.len(), 0, &next, crc(&next))));
    assert!(is_bad(&incoming.write(usize::MAX, 0, &next, crc(&next))));
    assert_eq!(fs.files(), files);
    let needs: Vec<Need> =
        std::iter::once(Need::From(at)).chain(needs.into_iter().skip(1)).collect();
    send(&mut incoming, &held, &needs, usize::MAX).unwrap();
    assert!(is_bad(&incoming.write(0, bytes, &next, crc(&next))), "it is whole");
    to.install(&incoming.finish().unwrap().into()).unwrap();
    check_installed(&fs, &to, &from, "installed");
}

#[test]
fn a_snapshot_that_is_not_whole_is_none() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    let to = tables(&SimFs::new(2));
    for pieces in [0, 1, 4] {
        let (mut incoming, needs) = begin(&to, &held).unwrap();
        send(&mut incoming, &held, &needs, pieces).unwrap();
        assert!(is_bad(&incoming.finish()), "{pieces}");
    }
}

/// Its hash is right and its manifest is not: nothing is installed, and the next one can be.
#[test]
fn a_table_that_is_another_than_the_manifest_says_is_refused() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    to.add(&rows([("a", put(1, "1"))]));
    let mut manifest = held.manifest().clone();
    manifest.runs[0][0].summary.key_bytes += 1;
    let (mut incoming, needs) =
        IncomingSnapshot::begin(&to.tables, &encoded(&manifest), BYTES_MAX).unwrap();
    send(&mut incoming, &held, &needs, usize::MAX).unwrap();
    let error = to.tables.install(&incoming.finish().unwrap().into()).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    to.check("as before");
    check_no_leftovers(&fs, &to.tables, "as before");
    assert_eq!(transfer(&to.tables, &held).unwrap(), 0, "what was received is still there");
    check_installed(&fs, &to.tables, &from, "installed");
}

/// All of it checks but its number, with which a manifest says that a table was written here: what
/// was published of it could not be opened again.
#[test]
fn a_table_with_a_number_that_none_ever_gets_is_refused() {
    let from = sender(1, 1);
    let held = from.tables.hold().unwrap();
    let mut manifest = held.manifest().clone();
    let len = held.parts()[0].bytes;
    let mut bytes = held.read(0, 0, usize::try_from(len).unwrap()).unwrap().to_vec();
    bytes[12..16].fill(0);
    let crc_at = PROLOGUE_BYTES - 4;
    let crc_of_prologue = crc(&bytes[..crc_at]).to_le_bytes();
    bytes[crc_at..PROLOGUE_BYTES].copy_from_slice(&crc_of_prologue);
    manifest.runs[0][0].summary.hash = *blake3::hash(&bytes).as_bytes();
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    to.add(&rows([("a", put(1, "1"))]));
    let (mut incoming, mut needs) =
        IncomingSnapshot::begin(&to.tables, &encoded(&manifest), BYTES_MAX).unwrap();
    incoming.write(0, 0, &bytes, crc(&bytes)).unwrap();
    needs[0] = Need::Have;
    send(&mut incoming, &held, &needs, usize::MAX).unwrap();
    assert!(is_bad(&to.tables.install(&incoming.finish().unwrap().into())));
    to.check("as before");
    drop(to);
    tables(&fs);
}

/// Tables that are here already are not read again, so what is said of them is held against what
/// is known of them.
#[test]
fn what_is_said_of_a_table_that_is_here_must_be_true() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let to = tables(&fs);
    transfer(&to, &held).unwrap();
    let mut manifest = held.manifest().clone();
    manifest.runs[0][0].summary.first_key = Bytes::from_static(b"a");
    let (incoming, _) = IncomingSnapshot::begin(&to, &encoded(&manifest), BYTES_MAX).unwrap();
    assert!(is_bad(&to.install(&incoming.finish().unwrap().into())));
    check_installed(&fs, &to, &from, "as before");
}

/// Somebody told that the table is longer, and sent more than there is of it.
#[test]
fn what_stands_behind_the_end_of_a_table_is_cut() {
    let from = sender(1, 1);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let bytes = held.parts()[0].bytes;
    let mut manifest = held.manifest().clone();
    manifest.runs[0][0].summary.bytes += 1000;
    let (mut incoming, _) = IncomingSnapshot::begin(&to, &encoded(&manifest), BYTES_MAX).unwrap();
    let true_piece = held.read(0, 0, usize::try_from(bytes - 10).unwrap()).unwrap();
    incoming.write(0, 0, &true_piece, crc(&true_piece)).unwrap();
    incoming.write(0, bytes - 10, &[7; 500], crc(&[7; 500])).unwrap();
    assert_eq!(begin(&to, &held).unwrap().1[0], Need::From(bytes - 10));
    transfer(&to, &held).unwrap();
    check_installed(&fs, &to, &from, "installed");
}

#[test]
fn a_received_table_of_another_length_is_received_anew() {
    let from = sender(1, 1);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let to = tables(&fs);
    drop(receive(&to, &held).unwrap());
    let name = crate::storage::format::incoming_name(&held.parts()[0].hash, ".tbl");
    let file = path(&format!("incoming/{name}"));
    let bytes = fs.read_file(&file).unwrap();
    for other in [&bytes[..bytes.len() - 1], &[&*bytes, &[0]].concat()] {
        fs.write_file(&file, other).unwrap();
        assert_eq!(begin(&to, &held).unwrap().1[0], Need::From(0));
    }
    transfer(&to, &held).unwrap();
    check_installed(&fs, &to, &from, "installed");
}

#[test]
fn a_folder_that_is_none_is_refused_and_what_stands_for_a_file_is_replaced() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let to = tables(&fs);
    fs.make_symlink(&path("incoming")).unwrap();
    assert!(matches!(begin(&to, &held), Err(StorageError::Corrupt { .. })));
    fs.remove(&path("incoming")).unwrap();
    let (mut incoming, needs) = begin(&to, &held).unwrap();
    send(&mut incoming, &held, &needs, 2).unwrap();
    for name in incoming_names(&fs) {
        fs.remove_file(&path(&format!("incoming/{name}"))).unwrap();
        fs.make_symlink(&path(&format!("incoming/{name}"))).unwrap();
    }
    transfer(&to, &held).unwrap();
    check_installed(&fs, &to, &from, "installed");
}
