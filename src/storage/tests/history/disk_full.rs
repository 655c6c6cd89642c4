//! A disk without room for the whole of a change: the change does not happen, and takes no room.

use super::*;

fn filled(fs: &SimFs) -> (Past, SeededRng) {
    let rng = SeededRng::new(3);
    let mut past = Past::new(fs);
    past.begin_era();
    past.append(&rng, 20, 300);
    past.append(&rng, 20, 300);
    past.next_era();
    past.append(&rng, 20, 300);
    past.publish();
    (past, rng)
}

/// Tries a change at every budget, until it succeeds. Returns how often it was refused.
fn at_every_budget(links: bool, change: impl Fn(&mut Past) -> Result<(), StorageError>) -> u64 {
    for step in 0.. {
        let fs = SimFs::new(1);
        let (mut past, rng) = filled(&fs);
        if !links {
            fs.forbid_hard_links();
        }
        let what = format!("budget {step}");
        let (used, files, eras) = (fs.used_bytes(), fs.files(), past.archive.eras());
        fs.set_space(Some(used + step * 512));
        let done = change(&mut past);
        fs.set_space(None);
        let Err(error) = done else {
            past.check_all(&rng, &what);
            return step;
        };
        assert!(error.is_disk_full(), "{what}: {error}");
        assert_eq!((fs.used_bytes(), fs.files()), (used, files), "{what}");
        assert_eq!(past.archive.eras(), eras, "{what}");
        past.check_all(&rng, &what);
        check_no_leftovers(&fs, &past.archive, &what);
        change(&mut past).unwrap();
        past.check_all(&rng, &what);
        past.reopen();
        past.check_all(&rng, &what);
    }
    0
}

#[test]
fn changes_that_do_not_fit_are_not_there_at_any_budget() {
    let refused = at_every_budget(true, |past| {
        let next = past.next;
        let entry = changed(next, vec![set("key-05", &"v".repeat(5000), None)]);
        append(&past.archive, next..=next, std::slice::from_ref(&entry))?;
        past.entries.insert(next, entry);
        past.next += 1;
        Ok(())
    });
    assert!(refused > 9, "{refused}");
}

#[test]
fn a_base_that_does_not_fit_is_not_there_at_any_budget() {
    let begin = |past: &mut Past| past.archive.begin_era(&past.tables);
    assert_eq!(at_every_budget(true, begin), 0, "links take no room");
    let refused = at_every_budget(false, begin);
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_compressed_file_that_does_not_fit_is_not_there_at_any_budget() {
    let refused = at_every_budget(true, |past| compress(&past.archive).map(drop));
    assert!(refused > 2, "{refused}");
}

#[test]
fn a_device_that_fails_once_anywhere_changes_nothing_or_is_passed() {
    use crate::env::fs_sim::SimError;
    for change in 0..4 {
        for operation in 1..200 {
            let fs = SimFs::new(1);
            let (past, rng) = filled(&fs);
            let first = fs.operations() + 1;
            fs.fail_operation(fs.operations() + operation, SimError::Io);
            let done = match change {
                0 => append(&past.archive, 60..=60, &[]),
                1 => past.archive.begin_era(&past.tables),
                2 => compress(&past.archive).map(drop),
                _ => past.archive.clean(|_, _| false).map(drop),
            };
            let was_hit = fs.operations() >= first + operation - 1;
            fs.clear_plan();
            let what = format!("change {change} operation {operation}");
            past.check_all(&rng, &what);
            let found = archive(&fs.kill());
            past.check(&found, &what);
            assert_eq!(found.last().is_some(), past.archive.last().is_some(), "{what}");
            if done.is_ok() {
                assert_eq!(found.eras(), past.archive.eras(), "{what}");
            }
            if !was_hit {
                break;
            }
            assert!(operation < 199, "{what}");
        }
    }
}
