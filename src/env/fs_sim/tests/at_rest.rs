//! Damage and changes behind the back of the store.

use super::*;

#[test]
fn a_flipped_bit_is_flipped_on_medium_and_in_cache() {
    let (fs, _file) = with_file(&[0; 600]);
    fs.flip_bit(at("/f"), 599 * 8 + 7).unwrap();
    assert_eq!(bytes_of(&fs)[599], 0x80);
    assert_eq!(fs.power_cut(PowerCut::Nothing).files(), fs.files());
    assert!(fs.flip_bit(at("/f"), 600 * 8).is_err());
}

#[test]
fn a_zeroed_sector_reads_as_zero() {
    let (fs, _file) = with_file(&[1; 1100]);
    fs.zero_sector(at("/f"), 1).unwrap();
    let bytes = bytes_of(&fs);
    assert_eq!((bytes[511], bytes[512], bytes[1023], bytes[1024]), (1, 0, 0, 1));
    assert!(fs.zero_sector(at("/f"), 3).is_err());
}

#[test]
fn a_misdirected_sector_hits_another_and_leaves_its_own() {
    let (fs, file) = with_file(&[1; 1024]);
    write(&file, &[2; 512], 0);
    file.sync().unwrap();
    fs.misdirect_sector(at("/f"), 0, 1).unwrap();
    let mut expected = vec![1; 512];
    expected.extend([2; 512]);
    assert_eq!(bytes_of(&fs), expected);
}

#[test]
fn a_lost_synced_write_shows_what_was_before() {
    let (fs, file) = with_file(&[1; 512]);
    write(&file, &[2; 1000], 0);
    file.sync().unwrap();
    fs.lose_synced_write(at("/f"), 0).unwrap();
    let mut expected = vec![1; 512];
    expected.extend([2; 488]);
    assert_eq!(bytes_of(&fs), expected);
}

#[test]
fn changes_out_of_band_are_durable_at_once() {
    let fs = SimFs::new(0);
    fs.write_file(at("/a"), b"one").unwrap();
    fs.write_file(at("/a"), b"two").unwrap();
    fs.copy_file(at("/a"), at("/b")).unwrap();
    fs.rename_file(at("/a"), at("/c")).unwrap();
    fs.write_file(at("/d"), b"x").unwrap();
    fs.remove_file(at("/d")).unwrap();
    let expected = [("/b".into(), b"two".to_vec()), ("/c".into(), b"two".to_vec())];
    assert_eq!(fs.power_cut(PowerCut::Nothing).files(), expected);
    assert_eq!(fs.operations(), 0);
}
