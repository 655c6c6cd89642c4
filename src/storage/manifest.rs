//! What a manifest says: which tables hold the state after which entry.
//!
//! It is the checkpoint that recovery begins with, and what permits the log to be purged.
//! `manifest_file` puts it on the disk. `docs/format.md` has the layout.

use bytes::Bytes;

use super::format::{HEADER_BYTES, take, take_u32, take_u64};
use super::table::{TableOrigin, TableSummary};
use crate::types::{LogId, TableId, Timestamp};

/// Which state the tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestHead {
    /// The last entry that the state contains.
    pub last: LogId,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
    /// The membership in force, opaque here.
    pub membership: Bytes,
    /// The sessions of clients, opaque here.
    pub sessions: Bytes,
    /// Keys in the state.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub live_bytes: u64,
}

impl ManifestHead {
    /// Whether these tables can hold what it counts. Another node may have sent it.
    pub(crate) fn fits<'a>(&self, tables: impl Iterator<Item = &'a TableSummary>) -> bool {
        let (keys, bytes) = tables.fold((0_u64, 0_u64), |(keys, bytes), table| {
            (keys.saturating_add(table.values()), bytes.saturating_add(table.data_bytes()))
        });
        self.keys <= keys && self.live_bytes <= bytes
    }

    /// Bytes that it takes in a manifest, roughly.
    pub(crate) fn listed_bytes(&self) -> u64 {
        (HEADER_BYTES + HEAD_BYTES + self.membership.len() + self.sessions.len()) as u64
    }
}

/// A table and how much of it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// The table.
    pub summary: TableSummary,
    /// Only rows with greater keys count: a merge under way has written the others to its output.
    /// `None`: all of them do.
    pub after: Option<Bytes>,
}

impl TableEntry {
    /// Bytes that it takes in a manifest, roughly.
    pub(crate) fn listed_bytes(&self) -> u64 {
        let TableSummary { first_key, last_key, .. } = &self.summary;
        let after = self.after.as_ref().map_or(0, Bytes::len);
        (HEADER_BYTES + ENTRY_BYTES + first_key.len() + last_key.len() + after) as u64
    }
}

/// A manifest.
///
/// Invariant: [`Self::flaw`] finds none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its number, one more than that of the manifest before it. The greatest counts.
    pub number: u64,
    /// Which state it is.
    pub head: ManifestHead,
    /// No table yet has this number or a greater one.
    pub next_table: TableId,
    /// Runs, newest first; the tables of each in ascending order of keys.
    pub runs: Vec<Vec<TableEntry>>,
}

impl Manifest {
    /// All tables, newest run first.
    pub fn tables(&self) -> impl Iterator<Item = &TableEntry> {
        self.runs.iter().flatten()
    }

    /// What is wrong with the order of keys and numbers, where something is.
    #[must_use]
    pub fn flaw(&self) -> Option<&'static str> {
        let mut ids: Vec<TableId> = self.tables().map(|entry| entry.summary.id).collect();
        ids.sort_unstable();
        if ids.iter().any(|&id| id == TableId(0) || id >= self.next_table) {
            return Some("a table has a number that was never given");
        }
        if ids.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
            return Some("a table is named twice");
        }
        self.runs.iter().find_map(|run| run_flaw(run)).or_else(|| self.merge_flaw())
    }

    /// What is wrong with the marks of a merge under way, where something is: its inputs are
    /// neighbours, and the run before them ends with the key behind which their rows count.
    fn merge_flaw(&self) -> Option<&'static str> {
        let is_marked = |run: &Vec<TableEntry>| run.first().is_some_and(|t| t.after.is_some());
        let first = self.runs.iter().position(is_marked)?;
        let (before, inputs) = self.runs.split_at(first);
        let count = inputs.iter().take_while(|run| is_marked(run)).count();
        let (inputs, older) = inputs.split_at(count);
        if older.iter().any(is_marked) {
            return Some("the runs of a merge are no neighbours");
        }
        let end = before.last().and_then(|output| output.last()).map(|t| &t.summary.last_key);
        let goes_on = |run: &Vec<TableEntry>| run.first().and_then(|t| t.after.as_ref()) == end;
        let is_joined = end.is_some() && inputs.iter().all(goes_on);
        (!is_joined).then_some("a merge does not go on where its output ends")
    }
}

fn run_flaw(run: &[TableEntry]) -> Option<&'static str> {
    if run.is_empty() {
        return Some("a run has no table");
    }
    let mut before: &[u8] = &[];
    for (at, TableEntry { summary, after }) in run.iter().enumerate() {
        if summary.rows == 0 || summary.tombstones > summary.rows {
            return Some("a table has impossible counts");
        }
        if summary.first_key.is_empty() || summary.first_key > summary.last_key {
            return Some("a table ends before it begins");
        }
        // Strictly: no key stands in two tables of one run.
        if *before >= *summary.first_key {
            return Some("the tables of a run are out of order");
        }
        if after.as_ref().is_some_and(|after| *after >= summary.last_key) {
            return Some("no row of a table counts");
        }
        if at > 0 && after.is_some() {
            return Some("a merge has passed over a table");
        }
        before = &summary.last_key;
    }
    None
}

/// Bytes of the fields of fixed length in the payload of a head.
const HEAD_BYTES: usize = 3 * 8 + 4 + 2 * 8;
/// Bytes of the fields of fixed length in the payload of a table.
const ENTRY_BYTES: usize = 4 * 4 + 5 * 8 + 32;

/// The payload of the frame that begins a manifest; entry and stamp stand in its header.
pub(crate) fn encode_head(manifest: &Manifest) -> Vec<u8> {
    let head = &manifest.head;
    let mut payload = Vec::with_capacity(HEAD_BYTES + head.membership.len() + head.sessions.len());
    for field in [manifest.number, head.keys, head.live_bytes] {
        payload.extend_from_slice(&field.to_le_bytes());
    }
    payload.extend_from_slice(&manifest.next_table.0.to_le_bytes());
    for part in [&head.membership, &head.sessions] {
        payload.extend_from_slice(&(part.len() as u64).to_le_bytes());
    }
    payload.extend_from_slice(&head.membership);
    payload.extend_from_slice(&head.sessions);
    payload
}

/// A manifest without runs, from the frame that begins it. `None` when it is none.
pub(crate) fn decode_head(last: LogId, timestamp: Timestamp, payload: &[u8]) -> Option<Manifest> {
    let mut rest = payload;
    let (number, keys, live_bytes) =
        (next_u64(&mut rest)?, next_u64(&mut rest)?, next_u64(&mut rest)?);
    let next_table = TableId(next_u32(&mut rest)?);
    let (membership, sessions) = (next_u64(&mut rest)?, next_u64(&mut rest)?);
    let membership = next_bytes(&mut rest, membership)?;
    let sessions = next_bytes(&mut rest, sessions)?;
    let head = ManifestHead { last, timestamp, membership, sessions, keys, live_bytes };
    rest.is_empty().then_some(Manifest { number, head, next_table, runs: Vec::new() })
}

/// The payload of the frame of one table.
pub(crate) fn encode_entry(entry: &TableEntry) -> Vec<u8> {
    let TableEntry { summary, after } = entry;
    let keys = [&*summary.first_key, &*summary.last_key, after.as_deref().unwrap_or_default()];
    let counts =
        [summary.bytes, summary.rows, summary.tombstones, summary.key_bytes, summary.value_bytes];
    let mut payload =
        Vec::with_capacity(ENTRY_BYTES + keys.iter().map(|key| key.len()).sum::<usize>());
    payload.extend_from_slice(&summary.id.0.to_le_bytes());
    for key in keys {
        payload.extend_from_slice(&key_len(key).to_le_bytes());
    }
    for count in counts {
        payload.extend_from_slice(&count.to_le_bytes());
    }
    payload.extend_from_slice(&summary.hash);
    for key in keys {
        payload.extend_from_slice(key);
    }
    payload
}

/// A table, from the payload of its frame and where it comes from, which stands in the frame's
/// header. `None` when it is none.
pub(crate) fn decode_entry(origin: Option<TableOrigin>, payload: &[u8]) -> Option<TableEntry> {
    let mut rest = payload;
    let id = TableId(next_u32(&mut rest)?);
    let lens = [next_u32(&mut rest)?, next_u32(&mut rest)?, next_u32(&mut rest)?];
    let bytes = next_u64(&mut rest)?;
    let (rows, tombstones) = (next_u64(&mut rest)?, next_u64(&mut rest)?);
    let (key_bytes, value_bytes) = (next_u64(&mut rest)?, next_u64(&mut rest)?);
    let hash: [u8; 32] = take(rest, 0)?;
    rest = rest.get(hash.len()..)?;
    let [first, last, after] = lens.map(u64::from);
    let first_key = next_bytes(&mut rest, first)?;
    let last_key = next_bytes(&mut rest, last)?;
    // Keys have at least one byte, so an empty one can stand for none.
    let after = Some(next_bytes(&mut rest, after)?).filter(|after| !after.is_empty());
    let summary = TableSummary {
        id,
        origin,
        bytes,
        rows,
        tombstones,
        key_bytes,
        value_bytes,
        hash,
        first_key,
        last_key,
    };
    rest.is_empty().then_some(TableEntry { summary, after })
}

/// Keys are bounded where they are written, so this saturation is never seen.
fn key_len(key: &[u8]) -> u32 {
    u32::try_from(key.len()).unwrap_or(u32::MAX)
}

fn next_u32(rest: &mut &[u8]) -> Option<u32> {
    let field = take_u32(rest, 0)?;
    *rest = rest.get(4..)?;
    Some(field)
}

fn next_u64(rest: &mut &[u8]) -> Option<u64> {
    let field = take_u64(rest, 0)?;
    *rest = rest.get(8..)?;
    Some(field)
}

fn next_bytes(rest: &mut &[u8], len: u64) -> Option<Bytes> {
    let (bytes, behind) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = behind;
    Some(Bytes::copy_from_slice(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::types::{LogIndex, NodeId, Term};

    pub(crate) fn entry(id: u32, first: &str, last: &str, after: Option<&str>) -> TableEntry {
        let own = |key: &str| Bytes::copy_from_slice(key.as_bytes());
        let summary = TableSummary {
            id: TableId(id),
            origin: None,
            bytes: 1000 + u64::from(id),
            rows: 10,
            tombstones: 1,
            key_bytes: 30,
            value_bytes: 300,
            hash: [u8::try_from(id).unwrap(); 32],
            first_key: own(first),
            last_key: own(last),
        };
        TableEntry { summary, after: after.map(own) }
    }

    pub(crate) fn manifest(number: u64, runs: Vec<Vec<TableEntry>>) -> Manifest {
        let head = ManifestHead {
            last: LogId { term: Term(2), leader: NodeId(3), index: LogIndex(77) },
            timestamp: Timestamp(99),
            membership: Bytes::from_static(b"members"),
            sessions: Bytes::from_static(b"ses"),
            keys: 12,
            live_bytes: 345,
        };
        Manifest { number, head, next_table: TableId(100), runs }
    }

    fn sample() -> Manifest {
        let new = vec![entry(9, "a", "c", None), entry(4, "d", "q", None)];
        manifest(3, vec![new, vec![entry(7, "b", "zz", Some("q"))]])
    }

    #[test]
    fn parts_read_back_and_no_shorter_part_does() {
        let manifest = sample();
        let head = encode_head(&manifest);
        let (last, timestamp) = (manifest.head.last, manifest.head.timestamp);
        let read = decode_head(last, timestamp, &head).unwrap();
        assert_eq!(read, Manifest { runs: Vec::new(), ..manifest.clone() });
        for len in 0..head.len() {
            assert_eq!(decode_head(last, timestamp, &head[..len]), None, "{len}");
        }
        assert_eq!(decode_head(last, timestamp, &[&*head, &[0]].concat()), None);
        for entry in manifest.tables() {
            let payload = encode_entry(entry);
            assert_eq!(decode_entry(None, &payload).as_ref(), Some(entry));
            for len in 0..payload.len() {
                assert_eq!(decode_entry(None, &payload[..len]), None, "{len}");
            }
            assert_eq!(decode_entry(None, &[&*payload, &[0]].concat()), None);
        }
    }

    #[test]
    fn lengths_beyond_the_payload_are_refused_before_anything_is_allocated() {
        let mut head = encode_head(&sample());
        head[28..36].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(decode_head(LogId::default(), Timestamp(0), &head), None);
        let mut entry = encode_entry(&sample().runs[0][0]);
        entry[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode_entry(None, &entry), None);
    }

    #[test]
    fn each_flaw_is_found() {
        assert_eq!(sample().flaw(), None);
        assert_eq!(manifest(1, Vec::new()).flaw(), None);
        let flawed = [
            (vec![], "no table"),
            (vec![entry(100, "a", "b", None)], "never given"),
            (vec![entry(0, "a", "b", None)], "never given"),
            (vec![entry(1, "a", "b", None), entry(1, "c", "d", None)], "twice"),
            (vec![entry(1, "b", "a", None)], "ends before"),
            (vec![entry(1, "", "a", None)], "ends before"),
            (vec![entry(1, "a", "c", None), entry(2, "c", "d", None)], "out of order"),
            (vec![entry(1, "a", "c", Some("c"))], "no row"),
        ];
        for (run, expected) in flawed {
            let flaw = manifest(1, vec![run.clone()]).flaw();
            assert!(flaw.is_some_and(|flaw| flaw.contains(expected)), "{run:?}: {flaw:?}");
        }
        let flawed = [
            (vec![vec![entry(1, "a", "c", Some("b"))]], "go on"),
            (vec![vec![entry(1, "a", "c", None)], vec![entry(2, "b", "e", Some("b"))]], "go on"),
            (vec![vec![entry(1, "a", "c", None), entry(2, "d", "f", Some("d"))]], "passed over"),
            (
                vec![
                    vec![entry(1, "a", "c", None)],
                    vec![entry(2, "a", "f", Some("c"))],
                    vec![entry(3, "a", "f", None)],
                    vec![entry(4, "a", "f", Some("c"))],
                ],
                "neighbours",
            ),
        ];
        for (runs, expected) in flawed {
            let flaw = manifest(1, runs.clone()).flaw();
            assert!(flaw.is_some_and(|flaw| flaw.contains(expected)), "{runs:?}: {flaw:?}");
        }
        for (rows, tombstones) in [(0, 0), (3, 4)] {
            let mut one = entry(1, "a", "b", None);
            (one.summary.rows, one.summary.tombstones) = (rows, tombstones);
            assert!(manifest(1, vec![vec![one]]).flaw().is_some_and(|f| f.contains("counts")));
        }
    }
}
