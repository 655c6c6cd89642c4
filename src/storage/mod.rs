//! Bytes, files and indexes. What a payload means, and that Raft exists, is not known here.

pub mod index;
pub mod prefix_index;
