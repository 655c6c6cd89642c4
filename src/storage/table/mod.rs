//! A table: rows in key order in one file that never changes.
//!
//! `writer` makes the file, `reader` answers for one key and `cursor` reads rows in order. Below
//! them: a `block` is what is read, checked and cached as a whole; `sparse_index` says in which
//! block a key would stand, `bloom` that it stands in none; both are in memory while a table is
//! open, blocks only as far as the `block_cache` has room. An `image` is a whole table in memory,
//! where gets find rows soonest. `docs/format.md` has the layout.

mod key_hash;
mod row;
mod summary;
mod compression;
mod column;
mod row_map;
mod block;
mod block_builder;
mod block_file;
mod bloom;
mod sparse_index;
mod memory;
mod image;
mod block_cache;
mod footer;
mod writer;
mod reader;
mod cursor;
mod verify;
#[cfg(any(test, feature = "testing"))]
pub mod scratch;
#[cfg(test)]
mod tests;

pub use self::block_cache::BlockCache;
pub(in crate::storage) use self::block_file::{BlockFile, block_header, part_crc};
pub(in crate::storage) use self::bloom::Filter;
pub(in crate::storage) use self::compression::{Compressor, Effort, FEATURE};
pub use self::cursor::{Fill, TableCursor};
pub(in crate::storage) use self::footer::{code, from_code};
pub use self::key_hash::KeyHash;
pub use self::reader::Table;
pub use self::row::{Cached, RowRef};
pub use self::summary::{TableOptions, TableOrigin, TableSummary};
pub(crate) use self::writer::TableWriter;
