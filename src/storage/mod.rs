//! Bytes, files and indexes: the log, its segments, recovery, snapshots.
//!
//! Nothing here knows what a payload means, nor that Raft exists (rule R2). The way of bytes: `log`
//! takes entries and waits for syncs, `log_writer` puts them into the active `log_segment`,
//! `frame_buffer` encodes a write. Back: `log_scan` finds out what is there, going through segments
//! with `segment_reader`; `log_tail` keeps apart what of the last one is known to be synced;
//! `recovery` decides what it means, `log_open` acts on it, `log_read` reads entries.
//!
//! # What is absent
//!
//! No thread is started here, and nothing is read from a clock but how long things take.

pub mod record;
pub mod index;
pub mod prefix_index;
pub mod stretch;
pub mod cuts;
pub mod format;
pub mod error;
pub(crate) mod sync_gate;
pub(crate) mod atomic_file;
pub mod identity;
pub(crate) mod context;
pub mod frame;
pub(crate) mod frame_buffer;
pub(crate) mod window;
pub(crate) mod frame_reader;
pub(crate) mod prologue;
pub(crate) mod watermark;
pub mod hard_state;
pub(crate) mod entry_map;
pub(crate) mod log_contents;
pub(crate) mod segment_scan;
pub(crate) mod segment_reader;
pub(crate) mod segment_walk;
pub(crate) mod recovery;
pub mod log_segment;
pub(crate) mod log_tail;
pub mod log_scan;
pub(crate) mod log_open;
pub(crate) mod reserve;
pub mod compaction_plan;
pub mod merge_choice;
pub mod log_writer;
pub mod log_entry;
pub(crate) mod log_waiting;
pub(crate) mod log_read;
pub mod log;
pub(crate) mod log_room;
pub(crate) mod bell;
pub(crate) mod key_head;
pub mod table;
pub mod hot_map;
pub(crate) mod key_filter;
pub mod manifest;
pub(crate) mod manifest_frames;
pub(crate) mod manifest_file;
pub mod run;
pub mod merge_cursor;
pub mod table_set;
pub(crate) mod merge;
pub(crate) mod table_dir;
pub(crate) mod incoming_dir;
pub mod table_store;
pub mod snapshot_held;
pub(crate) mod incoming_part;
pub mod snapshot_incoming;
pub(crate) mod snapshot_install;
pub mod history;
pub mod store_lock;
pub mod store;
pub mod inspect;
pub(crate) mod copy_target;
pub mod backup;
pub(crate) mod state_copy;

#[cfg(test)]
mod tests;
