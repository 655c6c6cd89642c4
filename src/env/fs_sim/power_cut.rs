//! What a power cut leaves of a disk: a pure function of the disk and the cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Content, SECTOR_BYTES, Sector};
use super::directory::{Names, NodeId, SimDir};
use super::disk::{Disk, Node, ROOT, clean_dir, clean_file};
use super::file::SimFile;
use crate::env::rng::SeededRng;

/// Which unsynced changes a power cut keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// None.
    Nothing,
    /// All. What a failed sync dropped is gone all the same.
    Everything,
    /// Those that the seed picks, for each name and each sector anew.
    Random {
        /// Decides everything; the same seed cuts the same disk in the same way.
        seed: u64,
        /// How names are lost.
        names: NameLoss,
        /// What a lost sector reads as.
        sectors: LostSector,
    },
}

impl PowerCut {
    /// The adversary: any subset of the names, lost sectors read as before.
    #[must_use]
    pub const fn random(seed: u64) -> Self {
        Self::Random { seed, names: NameLoss::Subset, sectors: LostSector::AsBefore }
    }
}

/// Which unsynced changes of names survive a random cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameLoss {
    /// The oldest ones, over all directories, as a journal would keep them.
    Prefix,
    /// Any.
    Subset,
}

/// What is read from a sector of which a random cut lost all unsynced writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostSector {
    /// What it held at the last sync; zero where it held nothing.
    AsBefore,
    /// What it held at the last sync; random bytes where it held nothing.
    Garbage,
}

/// What is left of `disk`.
pub(super) fn cut(disk: &Disk, cut: PowerCut) -> Disk {
    let (seed, name_loss, lost_sector) = match cut {
        PowerCut::Nothing => return rebuild(disk, |dir| Arc::clone(&dir.durable), durable_of),
        PowerCut::Everything => return rebuild(disk, |dir| dir.surviving(|_| true), written_of),
        PowerCut::Random { seed, names, sectors } => (seed, names, sectors),
    };
    let rng = SeededRng::new(seed);
    let chance = Chance::draw(&rng);
    let first_lost = first_lost_sequence(disk, name_loss, &rng);
    rebuild(
        disk,
        |dir| {
            dir.surviving(|pending| match name_loss {
                NameLoss::Prefix => pending.sequence < first_lost,
                NameLoss::Subset => chance.hits(&rng),
            })
        },
        |file| random_content(file, lost_sector, &rng),
    )
}

fn durable_of(file: &SimFile) -> Arc<Content> {
    Arc::clone(&file.durable)
}

fn written_of(file: &SimFile) -> Arc<Content> {
    if file.is_clean() { durable_of(file) } else { Arc::new(file.all_written()) }
}

/// Where the journal ends that [`NameLoss::Prefix`] leaves.
fn first_lost_sequence(disk: &Disk, loss: NameLoss, rng: &SeededRng) -> u64 {
    if loss == NameLoss::Subset {
        return 0;
    }
    let mut sequences = Vec::new();
    for node in disk.nodes.values() {
        if let Node::Dir(dir) = node {
            sequences.extend(dir.pending.iter().map(|pending| pending.sequence));
        }
    }
    sequences.sort_unstable();
    sequences.dedup();
    let kept = rng.up_to(sequences.len() as u64);
    let first_lost = usize::try_from(kept).ok().and_then(|kept| sequences.get(kept));
    first_lost.copied().unwrap_or(u64::MAX)
}

/// A disk of what is reached from `/` by the surviving names; the rest is gone.
fn rebuild(
    disk: &Disk,
    names_of: impl Fn(&SimDir) -> Arc<Names>,
    content_of: impl Fn(&SimFile) -> Arc<Content>,
) -> Disk {
    let mut nodes: BTreeMap<NodeId, Node> = BTreeMap::new();
    let mut todo = vec![ROOT];
    while let Some(id) = todo.pop() {
        let survivor = match disk.nodes.get(&id) {
            Some(Node::Dir(dir)) => {
                let names = names_of(dir);
                todo.extend(names.values());
                clean_dir(names)
            }
            Some(Node::File(file)) => clean_file(content_of(file), Arc::clone(&file.previous)),
            Some(Node::Symlink) => Node::Symlink,
            None => continue,
        };
        nodes.insert(id, survivor);
    }
    Disk::from_nodes(nodes)
}

/// How likely one change survives. Drawn anew for each file: were it always one half, then "all but
/// one sector" would hardly ever be tried.
#[derive(Clone, Copy)]
struct Chance {
    of_16: u64,
}

impl Chance {
    fn draw(rng: &SeededRng) -> Self {
        let of_16 = match rng.up_to(4) {
            0 => 0,
            1 => 1,
            2 => 8,
            3 => 15,
            _ => 16,
        };
        Self { of_16 }
    }

    fn hits(self, rng: &SeededRng) -> bool {
        rng.up_to(15) < self.of_16
    }
}

fn random_content(file: &SimFile, lost: LostSector, rng: &SeededRng) -> Arc<Content> {
    if file.is_clean() {
        return durable_of(file);
    }
    let chance = Chance::draw(rng);
    let mut content = (*file.durable).clone();
    for (index, versions) in &file.pending {
        // The page cache writes whole sectors, in order: what survives is a prefix of the writes.
        let kept = if chance.hits(rng) {
            versions.len()
        } else {
            usize::try_from(rng.up_to(versions.len() as u64 - 1)).unwrap_or(0)
        };
        match kept.checked_sub(1).and_then(|last| versions.get(last)) {
            Some(version) => content.put(*index, version.clone()),
            None => lose_sector(&mut content, *index, lost, rng),
        }
    }
    content.set_len(random_length(file, rng));
    Arc::new(content)
}

fn lose_sector(content: &mut Content, index: usize, lost: LostSector, rng: &SeededRng) {
    let held_nothing = !matches!(content.sector(index), Sector::Data(_));
    if lost == LostSector::Garbage && held_nothing {
        let mut bytes = [0; SECTOR_BYTES];
        rng.fill_bytes(&mut bytes);
        content.put(index, Sector::Data(Arc::new(bytes)));
    }
}

/// One of the lengths that the file has had since the last sync, or any between them.
fn random_length(file: &SimFile, rng: &SeededRng) -> u64 {
    let durable = file.durable.len();
    let pick = rng.up_to(2 * file.lengths.len() as u64 + 1);
    if let Some(length) = usize::try_from(pick).ok().and_then(|pick| file.lengths.get(pick)) {
        return *length;
    }
    if pick == file.lengths.len() as u64 {
        return durable;
    }
    let shortest = file.lengths.iter().fold(durable, |shortest, length| shortest.min(*length));
    let longest = file.lengths.iter().fold(durable, |longest, length| longest.max(*length));
    shortest + rng.up_to(longest - shortest)
}
