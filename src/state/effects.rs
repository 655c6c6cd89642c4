//! What applying an entry changed, beyond what its command says.
//!
//! A command says what it asks for; its effects say which of that came to pass, and how long a
//! value was before. Both together are the *changes* of the entry, and no state is needed to tell
//! them.

use std::sync::Arc;

use bytes::Bytes;

use super::tail::Tail;
use super::view::StateView;
use crate::command::Command;
use crate::storage::stretch::Stretch;

/// What a change found where it was made. A value has less than 2^30 bytes, so its length fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// There was no change: a guard did not hold, a key had the value already, or was not there to
    /// be removed; a session did not take the request, or had taken it before.
    #[default]
    Nothing,
    /// There was no such key before.
    Created,
    /// The key had a value of so many bytes, which was replaced or removed.
    Had(u32),
}

impl Effect {
    const fn of(before: Option<u32>) -> Self {
        match before {
            None => Self::Created,
            Some(bytes) => Self::Had(bytes),
        }
    }
}

/// One change of several that an entry made, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What a command of the entry says of the key that it names: see [`named_row`].
    Own {
        /// Which command of the batch, counting from 0; 0 where the entry is no batch.
        at: u32,
        /// Bytes of the value before; `None`: there was none.
        before: Option<u32>,
    },
    /// A change of a key that no command names.
    Explicit {
        /// The key.
        key: Bytes,
        /// Its new value; `None`: it was removed.
        value: Option<Bytes>,
        /// Bytes of the value before; `None`: there was none.
        before: Option<u32>,
    },
    /// Very many rows were removed together.
    Many(Arc<Removal>),
}

/// All rows of a stretch that were removed together: so many that it is not said of each, but can
/// be found out as long as they are hidden and not gone.
#[derive(Clone, Debug)]
pub struct Removal {
    stretch: Stretch,
    rows: u64,
    /// The tail before.
    tail: Tail,
    /// How often it had been set aside by then.
    freezes: u64,
}

/// Two are equal that removed as many rows of the same stretch.
impl PartialEq for Removal {
    fn eq(&self, other: &Self) -> bool {
        (&self.stretch, self.rows) == (&other.stretch, other.rows)
    }
}

impl Eq for Removal {}

impl Removal {
    /// Of so many rows of a state, before they are removed.
    pub(super) fn new(stretch: Stretch, rows: u64, before: &StateView) -> Self {
        let (tail, freezes) = (before.tail.clone(), before.gaps.freezes());
        Self { stretch, rows, tail, freezes }
    }

    /// Which keys had rows that were removed: all of the stretch.
    #[must_use]
    pub const fn stretch(&self) -> &Stretch {
        &self.stretch
    }

    /// How many rows were removed.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// A state in which the rows are as they were before, given the newest one; nothing else of it
    /// need be so. `None` once tables have what removed them, which a manifest then says.
    ///
    /// What layers below the tail had then is in them still: what removed it is in memory only.
    #[must_use]
    pub fn before(&self, now: &StateView) -> Option<StateView> {
        if self.freezes < now.written {
            return None;
        }
        // Where the tail was set aside since, what removed them is in the frozen one.
        let is_in_tail = self.freezes == now.gaps.freezes();
        let frozen = if is_in_tail { now.frozen.clone() } else { Tail::default() };
        let (tail, base) = (self.tail.clone(), Arc::clone(&now.base));
        Some(StateView { tail, frozen, base, ..StateView::default() })
    }
}

/// What one entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Nothing, or the row that its only command names.
    One(Effect),
    /// Several rows, or such as no command names; at least one.
    Several(Arc<Vec<Detail>>),
}

impl Default for Effects {
    fn default() -> Self {
        Self::One(Effect::Nothing)
    }
}

/// The key that a command names, and the value that it gives it: `None` for a removal.
///
/// `at` counts the commands of a batch, in a session or not. `None` where there is no such command,
/// or it names no single key.
#[must_use]
pub fn named_row(command: &Command, at: u32) -> Option<(&Bytes, Option<&Bytes>)> {
    let nth = |commands: &'_ [Command]| usize::try_from(at).ok().filter(|&at| at < commands.len());
    match command {
        Command::InSession { command, .. } => named_row(command, at),
        Command::Batch { commands, .. } => single_row(commands.get(nth(commands)?)?),
        Command::Reserved(batch) => single_row(batch.commands.get(nth(&batch.commands)?)?),
        single if at == 0 => single_row(single),
        _ => None,
    }
}

fn single_row(command: &Command) -> Option<(&Bytes, Option<&Bytes>)> {
    match command {
        Command::Set { key, value } | Command::SetExpiring { key, value, .. } => {
            Some((key, Some(value)))
        }
        Command::Delete { key } => Some((key, None)),
        _ => None,
    }
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    /// The only command of the entry, which names the key.
    #[default]
    Alone,
    /// The command at this place of a batch, which names the key.
    At(u32),
    /// No command names the key.
    Unnamed,
}

/// Notes the effects of one entry while it is applied.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    source: Source,
    alone: Effect,
    details: Vec<Detail>,
}

impl Recorder {
    /// Says where the changes come from that are told next. Returns where the last ones came from.
    pub(super) const fn begin(&mut self, source: Source) -> Source {
        std::mem::replace(&mut self.source, source)
    }

    /// Whether the keys of changes have to be told.
    pub(super) fn wants_rows(&self) -> bool {
        self.source == Source::Unnamed
    }

    /// Notes a change. `row` is its key and its new value where they are wanted.
    #[inline]
    pub(super) fn changed(&mut self, before: Option<u32>, row: Option<(Bytes, Option<Bytes>)>) {
        let is_first = self.details.is_empty() && self.alone == Effect::Nothing;
        if is_first && self.source == Source::Alone {
            self.alone = Effect::of(before);
        } else {
            self.changed_more(before, row);
        }
    }

    fn changed_more(&mut self, before: Option<u32>, row: Option<(Bytes, Option<Bytes>)>) {
        match (self.source, row) {
            (Source::Alone, _) => self.push(Detail::Own { at: 0, before }),
            (Source::At(at), _) => self.push(Detail::Own { at, before }),
            (Source::Unnamed, Some((key, value))) => {
                self.push(Detail::Explicit { key, value, before });
            }
            (Source::Unnamed, None) => unreachable!("rows that no command names are told"),
        }
    }

    fn push(&mut self, detail: Detail) {
        self.count_alone();
        self.details.push(detail);
    }

    /// Notes changes that no command names; of many no copy is made.
    pub(super) fn changed_unnamed(&mut self, details: Vec<Detail>) {
        self.count_alone();
        if self.details.is_empty() {
            self.details = details;
        } else {
            self.details.extend(details);
        }
    }

    /// The change that was the only one is one of several now.
    fn count_alone(&mut self) {
        let before = match std::mem::take(&mut self.alone) {
            Effect::Nothing => return,
            Effect::Created => None,
            Effect::Had(bytes) => Some(bytes),
        };
        self.details.push(Detail::Own { at: 0, before });
    }

    /// What was noted.
    pub(super) fn finish(self) -> Effects {
        let Self { alone, mut details, source: _ } = self;
        if details.is_empty() {
            Effects::One(alone)
        } else {
            details.shrink_to_fit();
            Effects::Several(Arc::new(details))
        }
    }
}
