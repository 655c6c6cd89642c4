//! Each rule of the simulated disk.

mod bytes;
mod names;
mod faults;
mod at_rest;
mod replay;

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::env::clock::{Clock, ManualClock};
use crate::env::fs::{Fs, FsFile, LockKind, OpenHow, read_exact_at, write_all_at};
use crate::types::Timestamp;

const SEEDS: u64 = 300;

fn at(name: &str) -> &Path {
    Path::new(name)
}

fn create(fs: &SimFs, path: &str) -> Arc<dyn FsFile> {
    fs.open(at(path), OpenHow::CreateNew).unwrap()
}

fn write(file: &Arc<dyn FsFile>, bytes: &[u8], offset: u64) {
    write_all_at(&**file, &mut [IoSlice::new(bytes)], offset).unwrap();
}

/// A disk with `/f` of these bytes, all of it durable.
fn with_file(bytes: &[u8]) -> (SimFs, Arc<dyn FsFile>) {
    let fs = SimFs::new(1);
    let file = create(&fs, "/f");
    write(&file, bytes, 0);
    file.sync().unwrap();
    fs.sync_dir(at("/")).unwrap();
    (fs, file)
}

fn bytes_of(fs: &SimFs) -> Vec<u8> {
    fs.read_file(at("/f")).unwrap()
}

fn names(fs: &SimFs) -> Vec<String> {
    let entries = fs.list(at("/")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

/// The sets of names that random cuts of `fs` leave.
fn names_after_cuts(fs: &SimFs, names_lost: NameLoss) -> BTreeSet<String> {
    let cut = |seed| PowerCut::Random { seed, names: names_lost, sectors: LostSector::AsBefore };
    (0..SEEDS).map(|seed| names(&fs.power_cut(cut(seed))).join(" ")).collect()
}

fn set(outcomes: &[&str]) -> BTreeSet<String> {
    outcomes.iter().map(|outcome| (*outcome).to_owned()).collect()
}
