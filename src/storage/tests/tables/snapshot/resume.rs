//! Transfers that are broken off go on where they stopped.

use super::*;
use crate::env::fs_sim::PowerCut;

/// Pieces of a whole transfer.
fn pieces_of(from: &HeldSnapshot) -> usize {
    let pieces = |bytes: u64| usize::try_from(bytes).unwrap().div_ceil(PIECE);
    from.parts().iter().map(|part| pieces(part.bytes)).sum()
}

#[test]
fn no_byte_is_sent_twice_wherever_the_process_ended() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    let pieces = pieces_of(&held);
    assert!(pieces > 12, "{pieces}");
    for stop in 0..=pieces {
        let fs = SimFs::new(2);
        let (mut incoming, needs) = begin(&tables(&fs), &held).unwrap();
        let sent = send(&mut incoming, &held, &needs, stop).unwrap();
        drop(incoming);
        let fs = fs.kill();
        let to = tables(&fs);
        assert_eq!(transfer(&to, &held).unwrap(), bytes_of(&held) - sent, "after {stop} pieces");
        check_installed(&fs, &to, &from, "installed");
    }
}

#[test]
fn a_transfer_that_is_broken_off_after_each_piece_sends_each_byte_once() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    let mut fs = SimFs::new(2);
    let mut sent = 0;
    for _ in 0..pieces_of(&held) {
        let to = tables(&fs);
        let (mut incoming, needs) = begin(&to, &held).unwrap();
        sent += send(&mut incoming, &held, &needs, 1).unwrap();
        drop((incoming, to));
        fs = fs.kill();
    }
    assert_eq!(sent, bytes_of(&held));
    let to = tables(&fs);
    assert_eq!(transfer(&to, &held).unwrap(), 0);
    check_installed(&fs, &to, &from, "installed");
}

#[test]
fn after_a_power_cut_whole_tables_are_not_sent_again_and_of_others_what_is_there_counts() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    for stop in 0..=pieces_of(&held) {
        for seed in 0..6 {
            let fs = SimFs::new(2);
            let (mut incoming, needs) = begin(&tables(&fs), &held).unwrap();
            send(&mut incoming, &held, &needs, stop).unwrap();
            let whole: Vec<bool> = {
                let whole = incoming_names(&fs);
                let name = |hash| crate::storage::format::incoming_name(hash, ".tbl");
                held.parts().iter().map(|part| whole.contains(&name(&part.hash))).collect()
            };
            let fs = fs.power_cut(PowerCut::random(seed));
            let to = tables(&fs);
            let (mut incoming, needs) = begin(&to, &held).unwrap();
            for (whole, need) in whole.into_iter().zip(&needs) {
                assert!(!whole || *need == Need::Have, "a whole table was sent again");
            }
            send(&mut incoming, &held, &needs, usize::MAX).unwrap();
            to.install(&incoming.finish().unwrap().into()).unwrap();
            check_installed(&fs, &to, &from, "installed");
        }
    }
}

#[test]
fn a_flipped_bit_in_what_was_received_is_found_and_that_is_sent_again() {
    let from = sender(1, 1);
    let held = from.tables.hold().unwrap();
    let before = SimFs::new(2);
    let (mut incoming, needs) = begin(&tables(&before), &held).unwrap();
    let sent = send(&mut incoming, &held, &needs, 3).unwrap();
    drop(incoming);
    let names = incoming_names(&before);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let file = path(&format!("incoming/{name}"));
        let bytes = before.read_file(&file).unwrap();
        for bit in (0..bytes.len() * 8).step_by(5) {
            let fs = before.kill();
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs.write_file(&file, &flipped).unwrap();
            let to = tables(&fs);
            let again = transfer(&to, &held).unwrap();
            let what = format!("{name} bit {bit}");
            assert!(again > bytes_of(&held) - sent, "{what}: it was not found");
            check_set(&to.set(), &from.state, &what);
        }
    }
}

#[test]
fn a_flipped_bit_in_a_whole_table_is_found_before_it_is_installed() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    let before = SimFs::new(2);
    let (mut incoming, needs) = begin(&tables(&before), &held).unwrap();
    send(&mut incoming, &held, &needs, usize::MAX).unwrap();
    drop(incoming);
    let whole = incoming_names(&before);
    assert_eq!(whole.len(), held.parts().len());
    for name in whole {
        let file = path(&format!("incoming/{name}"));
        let bits = before.read_file(&file).unwrap().len() as u64 * 8;
        for bit in (0..bits).step_by(97) {
            let fs = before.kill();
            fs.flip_bit(&file, bit).unwrap();
            let to = tables(&fs);
            let (incoming, needs) = begin(&to, &held).unwrap();
            assert!(needs.iter().all(|need| *need == Need::Have));
            let error = incoming.finish().unwrap_err();
            assert!(matches!(error, StorageError::BadSnapshot { .. }), "{error}");
            // That table, and no other, is sent again.
            let (_, needs) = begin(&to, &held).unwrap();
            let missing = needs.iter().filter(|need| **need == Need::From(0)).count();
            assert_eq!(missing, 1, "bit {bit}");
        }
        let fs = before.kill();
        fs.flip_bit(&file, 999).unwrap();
        let to = tables(&fs);
        begin(&to, &held).unwrap().0.finish().unwrap_err();
        transfer(&to, &held).unwrap();
        check_installed(&fs, &to, &from, "sent again");
    }
}

#[test]
fn what_was_received_of_another_snapshot_goes_but_for_tables_that_both_have() {
    let mut from = sender(1, 2);
    let first = from.tables.hold().unwrap();
    from.add(&rows([("key-0001", put(200, "new"))]));
    let second = from.tables.hold().unwrap();
    let other = sender(9, 2);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    fs.create_dir(&path("incoming")).unwrap();
    fs.write_file(&path("incoming/notes.txt"), b"foreign").unwrap();
    let (mut incoming, needs) = begin(&to, &first).unwrap();
    let sent = send(&mut incoming, &first, &needs, pieces_of(&first) - 1).unwrap();
    let (mut incoming, needs) = begin(&to, &second).unwrap();
    let more = send(&mut incoming, &second, &needs, usize::MAX).unwrap();
    assert_eq!(sent + more, bytes_of(&second), "what both have goes on");
    begin(&to, &other.tables.hold().unwrap()).unwrap();
    assert_eq!(incoming_names(&fs), ["notes.txt"]);
    drop(tables(&fs));
    assert_eq!(incoming_names(&fs), ["notes.txt"]);
}

/// A sync of what was received fails and the process ends: what can be read need not be on the
/// device, and a later sync does not bring it there unless it is written again.
#[test]
fn what_an_earlier_life_could_not_sync_is_written_again() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    for failing in 1.. {
        let fs = SimFs::new(failing);
        let to = tables(&fs);
        fs.fail_sync(fs.syncs() + failing);
        let failed = transfer(&to, &held);
        fs.clear_plan();
        if failed.is_ok() {
            assert!(failing > 6, "{failing}");
            return;
        }
        drop(to);
        let fs = fs.kill();
        let to = tables(&fs);
        transfer(&to, &held).unwrap();
        check_installed(&fs, &to, &from, "installed");
        let cut = fs.power_cut(PowerCut::Nothing);
        check_installed(&cut, &tables(&cut), &from, &format!("sync {failing}, then a cut"));
    }
}
