//! Random work on the past against everything that was ever appended.

use super::*;

fn run(seed: u64) {
    let fs = SimFs::new(seed);
    let rng = SeededRng::new(seed);
    let mut past = Past::new(&fs);
    past.begin_era();
    let mut oldest = 0;
    for step in 0..80 {
        let what = format!("seed {seed} step {step}");
        let before = past.archive.last();
        match rng.up_to(11) {
            0..=5 => {
                let count = 1 + rng.up_to(12);
                past.append(&rng, count, [20, 60, 3000][usize::try_from(rng.up_to(2)).unwrap()]);
                assert_eq!(past.archive.last(), Some(LogIndex(past.next - 1)), "{what}");
            }
            6 if past.next > 0 => past.next_era(),
            7 if past.next > 0 => past.publish(),
            8 => drop(compress(&past.archive).unwrap()),
            9 => {
                let keep = rng.up_to(3);
                let count = past.archive.eras().len() as u64;
                let gone = Cell::new(0);
                let keeps = |_: &EraInfo, _: &EraInfo| {
                    gone.set(gone.get() + 1);
                    count - gone.get() < keep + 1
                };
                let summary = past.archive.clean(keeps).unwrap();
                assert!(past.archive.eras().len() as u64 >= count.min(1), "{what}");
                oldest = summary.oldest.map_or(oldest, |oldest| oldest.0);
            }
            10 => past.reopen(),
            _ => {}
        }
        assert!(past.archive.last() >= before, "{what}");
        assert_eq!(past.archive.eras().first().map(|era| era.first.0), Some(oldest), "{what}");
        check_no_leftovers(&fs, &past.archive, &what);
        if step % 4 == 0 {
            past.check_all(&rng, &what);
        }
    }
    past.reopen();
    past.check_all(&rng, "at the end");
}

#[test]
fn random_work_leaves_what_was_appended() {
    for seed in 0..40 {
        run(seed);
    }
}
