//! Snapshots: held by one store, received by another, installed there. What is shared stands here.

mod transfer;
mod install;
mod hostile;
mod resume;
mod crash;
mod disk_full;
mod whole_store;

use super::*;
use crate::storage::snapshot_held::HeldSnapshot;
use crate::storage::snapshot_incoming::{IncomingSnapshot, Need, ReceivedSnapshot};

/// Longer than what any test sends.
const BYTES_MAX: u64 = 1 << 30;
/// Several pieces a table.
const PIECE: usize = 300;

/// A store in a directory of its own, with so many runs.
fn sender_of(incarnation: u8, seed: u64, runs: u64) -> Modelled {
    let fs = SimFs::new(seed);
    let tables = tables_in(&context_of(&fs, incarnation), table_options()).unwrap();
    let mut store = Modelled { tables, state: State::new(), index: 100 };
    let rng = SeededRng::new(seed);
    for _ in 0..runs {
        let rows = random_rows(&rng, store.index + 1, 60, 60);
        store.add(&rows);
    }
    store
}

fn sender(seed: u64, runs: u64) -> Modelled {
    sender_of(7, seed, runs)
}

fn crc(piece: &[u8]) -> u32 {
    crc32c::crc32c(piece)
}

fn begin(
    to: &TableStore,
    from: &HeldSnapshot,
) -> Result<(IncomingSnapshot, Vec<Need>), StorageError> {
    IncomingSnapshot::begin(to, &from.manifest_bytes(), BYTES_MAX)
}

/// Sends what is needed, as many pieces as may be; returns how many bytes were sent.
fn send(
    incoming: &mut IncomingSnapshot,
    from: &HeldSnapshot,
    needs: &[Need],
    pieces_max: usize,
) -> Result<u64, StorageError> {
    let (mut sent, mut pieces) = (0, 0);
    for (part, need) in needs.iter().enumerate() {
        let Need::From(mut at) = *need else { continue };
        while at < from.parts()[part].bytes {
            if pieces == pieces_max {
                return Ok(sent);
            }
            let piece = from.read(part, at, PIECE)?;
            incoming.write(part, at, &piece, crc(&piece))?;
            at += piece.len() as u64;
            sent += piece.len() as u64;
            pieces += 1;
        }
    }
    Ok(sent)
}

/// A whole transfer; also how many bytes were sent.
fn receive(to: &TableStore, from: &HeldSnapshot) -> Result<(ReceivedSnapshot, u64), StorageError> {
    let (mut incoming, needs) = begin(to, from)?;
    let sent = send(&mut incoming, from, &needs, usize::MAX)?;
    Ok((incoming.finish()?, sent))
}

/// A whole transfer and its installation; how many bytes were sent.
fn transfer(to: &TableStore, from: &HeldSnapshot) -> Result<u64, StorageError> {
    let (received, sent) = receive(to, from)?;
    to.install(&received.into())?;
    Ok(sent)
}

fn bytes_of(from: &HeldSnapshot) -> u64 {
    from.parts().iter().map(|part| part.bytes).sum()
}

/// Names of what is being received.
fn incoming_names(fs: &SimFs) -> Vec<String> {
    let listed = fs.list(&path("incoming")).unwrap_or_default();
    listed.into_iter().map(|entry| entry.name).collect()
}

/// The store has this state and nothing else, in tables of which every byte checks.
fn check_installed(fs: &SimFs, tables: &TableStore, from: &Modelled, what: &str) {
    check_set(&tables.set(), &from.state, what);
    assert_eq!(tables.manifest_head(), from.tables.manifest_head(), "{what}");
    check_no_leftovers(fs, tables, what);
    for table in tables.set().runs().iter().flat_map(|run| run.tables()) {
        table.table.verify().unwrap();
    }
}
