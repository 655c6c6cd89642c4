//! The bare loop that the engine is measured against: encode a record, checksum it, one write call
//! into room that was reserved before. No queue, no state, no reader could use it.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use hightower_kv::env::fs::{Fs, FsFile, OpenHow, write_all_at};
use hightower_kv::env::fs_disk::DiskFs;

/// Bytes before the payload of a record, as in the log of the store.
const HEADER_BYTES: usize = 32;
/// Bytes of a payload besides key and value.
const PAYLOAD_OVERHEAD_BYTES: usize = 2;

/// A file with room, written record by record.
pub(crate) struct BareLog {
    pub(crate) file: Arc<dyn FsFile>,
    end: u64,
    index: u64,
    chain: u32,
    record: Vec<u8>,
}

impl BareLog {
    /// A new file with room for so many records.
    pub(crate) fn create(directory: &Path, records: usize, row_bytes: usize) -> Self {
        let record_bytes = (HEADER_BYTES + PAYLOAD_OVERHEAD_BYTES + row_bytes).next_multiple_of(8);
        let file = DiskFs::new().open(&directory.join("bare"), OpenHow::CreateNew);
        let file = file.expect("a file for the bare loop");
        file.allocate(0, (records * record_bytes) as u64).expect("room for the bare loop");
        Self { file, end: 0, index: 0, chain: 0, record: Vec::new() }
    }

    /// Appends one record; it is the operating system's when this returns.
    pub(crate) fn append(&mut self, key: &[u8], value: &[u8]) {
        let payload = PAYLOAD_OVERHEAD_BYTES + key.len() + value.len();
        let record = &mut self.record;
        record.clear();
        record.extend_from_slice(&(payload as u64).to_le_bytes());
        record.extend_from_slice(&self.index.to_le_bytes());
        record.extend_from_slice(&[0; HEADER_BYTES - 24]);
        let mut crc = crc32c::crc32c_append(self.chain, record);
        let checksums = record.len();
        record.extend_from_slice(&[0; 8]);
        let key_len = u8::try_from(key.len()).expect("a short key");
        record.extend_from_slice(&[2, key_len]);
        record.extend_from_slice(key);
        record.extend_from_slice(value);
        record.resize(record.len().next_multiple_of(8), 0);
        let (header, body) = record.split_at_mut(checksums + 8);
        crc = crc32c::crc32c_append(crc, body);
        let (covered, room) = header.split_at_mut(checksums);
        let own = crc32c::crc32c_append(crc, covered);
        room.copy_from_slice(&[crc.to_le_bytes(), own.to_le_bytes()].concat());
        write_all_at(&*self.file, &mut [IoSlice::new(record)], self.end).expect("a bare write");
        self.end += record.len() as u64;
        self.index += 1;
        self.chain = crc;
    }
}
