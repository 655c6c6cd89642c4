//! What a power cut or a failed sync leaves of the bytes.

use super::*;

#[test]
fn synced_bytes_survive_every_cut() {
    let (fs, file) = with_file(&[7; 3000]);
    write(&file, &[8; 100], 3000);
    for seed in 0..SEEDS {
        let cut = PowerCut::Random { seed, names: NameLoss::Subset, sectors: LostSector::Garbage };
        assert_eq!(bytes_of(&fs.power_cut(cut))[..3000], [7; 3000]);
    }
}

#[test]
fn each_unsynced_sector_is_lost_or_kept_by_itself() {
    let (fs, file) = with_file(&[1; 1536]);
    write(&file, &[2; 1536], 0);
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let bytes = bytes_of(&fs.power_cut(PowerCut::random(seed)));
        let sectors: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(SECTOR_BYTES).all(|s| s.iter().all(|byte| *byte == s[0])));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_sector_holds_a_prefix_of_its_writes() {
    let (fs, file) = with_file(&[0; 512]);
    for byte in 1..=3u8 {
        write(&file, &[byte], u64::from(byte));
    }
    let cuts =
        (0..SEEDS).map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed)))[1..4].to_vec());
    let expected = [[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 2, 3]];
    assert_eq!(cuts.collect::<BTreeSet<_>>(), expected.map(Vec::from).into());
}

#[test]
fn the_length_is_anywhere_between() {
    let (fs, file) = with_file(&[1; 10]);
    write(&file, &[2; 10], 10);
    let cuts = (0..SEEDS).map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed))).len());
    assert_eq!(cuts.collect::<BTreeSet<_>>(), (10..=20).collect());
}

#[test]
fn gaps_are_zero_or_garbage() {
    let (fs, file) = with_file(b"");
    write(&file, &[5; 512], 512);
    let cut = |seed, sectors| {
        let names = NameLoss::Subset;
        let cut = PowerCut::Random { seed, names, sectors };
        bytes_of(&fs.power_cut(cut)).get(512..).unwrap_or_default().to_vec()
    };
    let odd = |bytes: Vec<u8>| bytes.iter().any(|byte| *byte != 0 && *byte != 5);
    assert!((0..SEEDS).all(|seed| !odd(cut(seed, LostSector::AsBefore))));
    assert!((0..SEEDS).any(|seed| odd(cut(seed, LostSector::Garbage))));
}

#[test]
fn nothing_and_everything_are_the_ends() {
    let (fs, file) = with_file(&[1; 600]);
    write(&file, &[2; 600], 300);
    create(&fs, "/g");
    assert_eq!(bytes_of(&fs.power_cut(PowerCut::Nothing)), [1; 600]);
    assert_eq!(names(&fs.power_cut(PowerCut::Nothing)), ["f"]);
    assert_eq!(fs.power_cut(PowerCut::Everything).files(), fs.files());
}

#[test]
fn an_unsynced_truncation_may_bring_the_old_bytes_back() {
    let (fs, file) = with_file(&[1; 1000]);
    file.set_len(100).unwrap();
    write(&file, &[2; 50], 100);
    let cuts: Vec<_> =
        (0..SEEDS).map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed)))).collect();
    assert!(cuts.iter().any(|bytes| bytes.len() == 1000 && bytes[999] == 1));
    assert!(cuts.iter().all(|bytes| bytes[..100] == [1; 100]));
    file.sync().unwrap();
    let mut expected = vec![1; 100];
    expected.extend([2; 50]);
    assert!((0..SEEDS).all(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed))) == expected));
}

#[test]
fn a_truncation_that_was_synced_after_growing_again_stays() {
    let (fs, file) = with_file(&[1; 2000]);
    file.set_len(100).unwrap();
    file.set_len(2000).unwrap();
    file.sync().unwrap();
    let after = bytes_of(&fs.power_cut(PowerCut::Nothing));
    assert_eq!(after.len(), 2000);
    assert!(after[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_reservation_is_pending_until_synced() {
    let (fs, file) = with_file(b"");
    file.allocate(0, 4096).unwrap();
    assert_eq!(bytes_of(&fs.power_cut(PowerCut::Nothing)), b"");
    assert_eq!(bytes_of(&fs.power_cut(PowerCut::Everything)), [0; 4096]);
    file.sync().unwrap();
    let after = fs.power_cut(PowerCut::Nothing);
    assert_eq!((bytes_of(&after).len(), after.used_bytes()), (4096, 4096));
}

#[test]
fn a_failed_sync_loses_the_bytes_and_the_next_one_says_ok() {
    let (fs, file) = with_file(&[1; 512]);
    write(&file, &[2; 1024], 0);
    fs.fail_sync(fs.syncs() + 1);
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
    file.sync().unwrap();
    assert_eq!(bytes_of(&fs), [2; 1024]);
    for cut in [PowerCut::Nothing, PowerCut::Everything, PowerCut::random(3)] {
        assert_eq!(bytes_of(&fs.power_cut(cut)), [1; 512]);
    }
    assert_eq!(bytes_of(&fs.kill()), [2; 1024]);
    // A page that is written again is written whole, the dropped bytes of it included.
    write(&file, &[3], 0);
    file.sync().unwrap();
    let after = bytes_of(&fs.power_cut(PowerCut::Nothing));
    assert_eq!((after.len(), after[..3].to_vec(), after[1000]), (1024, vec![3, 2, 2], 0));
}

#[test]
fn room_given_back_is_gone_although_the_file_grew_again() {
    let (fs, file) = with_file(b"");
    file.allocate(0, 4096).unwrap();
    file.sync().unwrap();
    file.set_len(0).unwrap();
    file.set_len(4096).unwrap();
    file.sync().unwrap();
    assert_eq!(fs.power_cut(PowerCut::Nothing).used_bytes(), 0);
}
