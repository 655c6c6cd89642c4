//! Repetitions, in which all stores take turns, and their medians.

use std::collections::HashMap;

use crate::failure::{Result, While};
use crate::line::{Line, Measured, median};
use crate::rows::{Group, Values};
use crate::settings::Settings;
use crate::stores::Contender;

/// Who takes a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Turn {
    Bare,
    Store(Contender),
}

/// Measures a group: in each repetition the bare loop and every store once, beginning with another
/// one each time, so that whatever else the machine does befalls all of them.
pub(crate) fn measure(group: &mut dyn Group, settings: &Settings) -> Result<Vec<Measured>> {
    let mut turns = vec![Turn::Bare];
    turns.extend(settings.stores.iter().copied().map(Turn::Store));
    let mut values: HashMap<Turn, Vec<Values>> = HashMap::new();
    for _ in 0..settings.repetitions {
        for &turn in &turns {
            let measured = match turn {
                Turn::Bare => group.measure_bare().during("the bare loop")?,
                Turn::Store(store) => group.measure(store).during(store.name())?,
            };
            values.entry(turn).or_default().push(measured);
        }
        turns.rotate_left(1);
    }
    let lines = group.lines().into_iter().enumerate();
    let wanted = lines.filter(|(_, line)| settings.selects(&line.name));
    Ok(wanted.map(|(at, line)| medians(line, at, &values)).collect())
}

fn medians(line: Line, at: usize, values: &HashMap<Turn, Vec<Values>>) -> Measured {
    let of = |turn: &Turn| {
        let repetitions = values.get(turn)?.iter();
        median(repetitions.filter_map(|values| values.get(at).copied().flatten()).collect())
    };
    let stores = Contender::ALL.into_iter();
    let stores = stores.filter_map(|store| Some((store, of(&Turn::Store(store))?))).collect();
    Measured { line, bare: of(&Turn::Bare), stores }
}
