//! Made-up bytes: refused, or read as something, without a panic or much memory.

use proptest::prelude::*;

use super::*;
use crate::storage::format::{CHANGES_FOOTER_BYTES, CHANGES_PLACE_BYTES, PROLOGUE_BYTES};
use crate::storage::frame::Salt;
use crate::storage::table::part_crc;

/// An archive with one change file, and where that is.
fn one_file() -> (SimFs, PathBuf, Vec<u8>) {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(5);
    let mut past = Past::new(&fs);
    past.begin_era();
    past.append(&rng, 9, 60);
    let file = change_files(&fs)[0].clone();
    let bytes = fs.read_file(&file).unwrap();
    (fs, file, bytes)
}

/// Puts bytes in the place of the file, with a name that has their length, and looks at all of it.
fn look_at(fs: &SimFs, file: &Path, bytes: &[u8]) {
    let fs = fs.kill();
    fs.remove_file(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let (stem, _) = name.rsplit_once('-').unwrap();
    let file = file.with_file_name(format!("{stem}-{}.chg", bytes.len()));
    fs.write_file(&file, bytes).unwrap();
    let archive = archive(&fs);
    let _ = read_all(&archive, 0..=8);
    let _ = archive.changes_of(b"key-01", LogIndex(0)..=LogIndex(8));
    for time in [0, 5, 10, 25, 100] {
        let _ = archive.index_at(Timestamp(time));
    }
    let _ = archive.base_for(LogIndex(5));
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Makes the checksums right again: of a block, of the places, of the footer.
fn seal(bytes: &mut [u8]) {
    let salt = Salt::new(u64::from_le_bytes(bytes[16..24].try_into().unwrap()), 0);
    let footer = bytes.len() - CHANGES_FOOTER_BYTES;
    let field = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap_or(0)
    };
    let (places, blocks) = (field(bytes, footer), field(bytes, footer + 8));
    let end = places.saturating_add(blocks.saturating_mul(CHANGES_PLACE_BYTES));
    if let Some(block) = bytes.get(PROLOGUE_BYTES + 4..places) {
        let crc = part_crc(salt, PROLOGUE_BYTES as u64, block);
        put(bytes, PROLOGUE_BYTES, &crc.to_le_bytes());
    }
    if let Some(part) = bytes.get(places..end) {
        let crc = part_crc(salt, places as u64, part);
        put(bytes, footer + 80, &crc.to_le_bytes());
    }
    let crc = part_crc(salt, footer as u64, &bytes[footer..footer + CHANGES_FOOTER_BYTES - 4]);
    put(bytes, footer + CHANGES_FOOTER_BYTES - 4, &crc.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_in_place_of_a_change_file_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (fs, file, _) = one_file();
        look_at(&fs, &file, &bytes);
    }

    #[test]
    fn numbers_that_lie_under_right_checksums_are_refused_or_read(
        from_end in any::<bool>(),
        at in 0..400_usize,
        value in prop_oneof![
            proptest::collection::vec(any::<u8>(), 1..9),
            Just(vec![0xff; 8]),
            Just(vec![0; 8]),
            any::<u8>().prop_map(|small| vec![small, 0, 0, 0, 0, 0, 0, 0]),
        ],
    ) {
        let (fs, file, mut bytes) = one_file();
        let at = if from_end { bytes.len().saturating_sub(at) } else { PROLOGUE_BYTES + at };
        put(&mut bytes, at, &value);
        seal(&mut bytes);
        look_at(&fs, &file, &bytes);
    }
}

#[test]
fn names_that_lie_bar_nobody_from_the_rest() {
    let (fs, file, _) = one_file();
    let era = file.parent().unwrap();
    let number = |n: u64| format!("{n:020}");
    let (greatest, inside) = (number(u64::MAX), number(5));
    for name in [
        format!("{greatest}-{greatest}-{greatest}-{greatest}-{}-{}.chz", u64::MAX, u64::MAX),
        format!("{inside}-{greatest}-{inside}-{greatest}-1-1.chg"),
    ] {
        fs.write_file(&era.join(name), b"x").unwrap();
    }
    let archive = archive(&fs);
    assert!(!read_all(&archive, 0..=8).unwrap().is_empty());
    assert!(read_all(&archive, 0..=9).is_err());
    assert!(read_all(&archive, 0..=u64::MAX).is_err());
    assert!(append(&archive, 9..=9, &[]).is_err());
}
