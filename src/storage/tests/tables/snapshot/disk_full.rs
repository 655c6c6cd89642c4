//! A disk without room for the whole of a snapshot: the state is the old one until there is.

use super::*;

fn filled() -> (SimFs, Modelled) {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    let row = |n: u64| (format!("k{n:03}").into_bytes(), put(1, &"x".repeat(40)));
    store.add(&(0..60).map(row).collect());
    (fs, store)
}

fn at_every_budget(links: bool) {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    for step in 0.. {
        let (fs, to) = filled();
        if !links {
            fs.forbid_hard_links();
        }
        let what = format!("budget {step}");
        fs.set_space(Some(fs.used_bytes() + step * 512));
        let (mut incoming, needs) = match begin(&to.tables, &held) {
            Ok(begun) => begun,
            Err(error) => {
                assert!(error.is_disk_full(), "{what}: {error}");
                continue;
            }
        };
        let mut full = 0;
        for (part, info) in held.parts().iter().enumerate() {
            assert_eq!(needs[part], Need::From(0));
            let mut at = 0;
            while at < info.bytes {
                let piece = held.read(part, at, PIECE).unwrap();
                match incoming.write(part, at, &piece, crc(&piece)) {
                    Ok(()) => at += piece.len() as u64,
                    Err(error) => {
                        assert!(error.is_disk_full(), "{what}: {error}");
                        full += 1;
                        // The same piece once more, when there is room for just this one.
                        fs.set_space(Some(fs.used_bytes() + 4 * 512));
                    }
                }
            }
        }
        let snapshot = incoming.finish().unwrap().into();
        let budget = if full > 0 { step % 40 } else { step };
        fs.set_space(Some(fs.used_bytes() + budget * 512));
        if let Err(error) = to.tables.install(&snapshot) {
            assert!(error.is_disk_full(), "{what}: {error}");
            full += 1;
            to.check(&what);
            check_no_leftovers(&fs, &to.tables, &what);
            check_set(&tables(&fs).set(), &to.state, &what);
            fs.set_space(None);
            // What was received is still there.
            to.tables.install(&snapshot).unwrap();
        }
        check_installed(&fs, &to.tables, &from, &what);
        if full == 0 {
            assert!(step > 8, "only {step} were refused");
            return;
        }
    }
}

#[test]
fn a_snapshot_that_does_not_fit_changes_nothing_at_any_budget() {
    at_every_budget(true);
}

#[test]
fn nor_does_it_where_tables_must_be_copied() {
    at_every_budget(false);
}
