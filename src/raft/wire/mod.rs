//! What nodes say to each other, and how it stands in bytes.
//!
//! # Layout
//!
//! All numbers are little-endian and of fixed width. `yes/no` is a byte 0 or 1; `maybe x` is a
//! yes/no followed, for yes, by an `x`; `list of x` is a count as `u32` followed by that many `x`;
//! `bytes` is a list of bytes, and `text` is bytes that are UTF-8. A tag is one byte.
//!
//! | value | fields, in order |
//! |---|---|
//! | id (cluster, incarnation, transfer) | 16 bytes |
//! | identity | cluster: id, node: `u64`, incarnation: id |
//! | log id | term: `u64`, leader: `u64`, index: `u64` |
//! | vote | term: `u64`, node: `u64`, committed: yes/no |
//! | entry | log id, clock: `u64`, kind (0 blank, 1 membership, 2 command), payload: bytes |
//!
//! A message is the format number `1` as one byte, a tag, what its kind says, and the CRC-32C of
//! all that as `u32`.
//!
//! A **request** has, behind its tag, the sender's identity, the receiver's node (`u64`) and the
//! receiver's incarnation (id; zero where the sender does not know it), then:
//!
//! | request | tag | fields, in order |
//! |---|---|---|
//! | `Hello` | 1 | |
//! | `AppendEntries` | 2 | stream: `u64`, number: `u64`, vote, previous, committed, list of entry |
//! | `Vote`, `PreVote` | 3, 4 | vote, last, leadership transfer: yes/no |
//! | `TransferLeader` | 5 | from: vote, to: `u64`, last |
//! | snapshot offer | 6 | vote, transfer: id, manifest: bytes |
//! | snapshot chunk | 7 | transfer: id, part: `u32`, offset: `u64`, bytes |
//! | snapshot finish | 8 | vote, transfer: id |
//! | `Write` | 9 | number: `u64`, deadline in microseconds: `u64`, list of command: bytes |
//! | `ReadIndex` | 10 | lease: yes/no |
//! | `Digest` | 11 | index: `u64` |
//!
//! `previous`, `committed` and `last` are each a maybe log id. A manifest is the bytes of a file of
//! `docs/format.md`, with the checksums that it has there; a part is a table, counted from 0 in the
//! order of the manifest. A command is as in the log, and there are at most 1,024 of them.
//!
//! A **response** has, behind its tag, the sender's identity and the checksum of the request that
//! it answers (`u32`), so that a transport that mixes up two answers is found out, then what
//! follows. Requests that say the same are the same bytes: of two `ReadIndex`, or two heartbeats of
//! a leader that has nothing new to say, the checksum does not tell whose answer it is. `Write` and
//! entries have numbers.
//!
//! | response | tag | fields, in order |
//! |---|---|---|
//! | `Refused` | 0 | 0..=11 in the order of [`Refusal`](response::Refusal), its fields |
//! | `Hello` | 1 | pristine: yes/no, last |
//! | `AppendEntries` | 2 | 0 success; 1 partial, maybe log id; 2 conflict; 3 higher vote, vote |
//! | `Vote`, `PreVote` | 3, 4 | vote, granted: yes/no, last |
//! | `TransferLeader` | 5 | 0 accepted; 1 vote changed, 2 votes; 2 log too short, 2 maybe log id |
//! | snapshot offer | 6 | 0 has, list of bytes of each part: `u64`; 1 higher vote, vote |
//! | snapshot chunk | 7 | 0 stored; 1 unknown transfer |
//! | snapshot finish | 8 | 0 done, vote; 1 unknown transfer; 2 damaged |
//! | `Write` | 9 | list of result, one for each command |
//! | `ReadIndex` | 10 | maybe log id |
//! | `Digest` | 11 | maybe 16 bytes |
//!
//! What a write consists of and came to:
//!
//! | value | fields, in order |
//! |---|---|
//! | result | yes, applied; or no, failure |
//! | applied | outcome, version: `u64`, timestamp: `u64`, stale bytes: `u64` |
//! | outcome | a tag, and behind 2: `u64`, 4: guard: `u64`, maybe version, 9: result of a check |
//! | result of a check | 0 equal, 1 unknown, 2 different |
//! | failure | 0..=6 in the order of [`WriteFailure`](written::WriteFailure), its fields |
//!
//! The tags of an outcome are 0 applied, 1 unchanged, 2 removed, 3 not found, 4 guard failed,
//! 5 session opened, 6 session closed, 7 session expired, 8 request too old, 9 checked,
//! 10 reserved key.
//!
//! Nothing follows the last field: a message with bytes left over is refused. Each message has one
//! encoding.
//!
//! # Hostile bytes
//!
//! No byte is interpreted before the checksum over all of them has been found right (rule R9). The
//! checksum is no defence against somebody who can compute it: decoding never panics whatever the
//! bytes, never recurses, and never allocates more than a small multiple of what it was given and
//! some tens of kilobytes: each length and count is compared with what is left before it is
//! believed, and commands and results, which may be of two to four bytes, are bounded by number. A
//! transport over a network that strangers can reach must itself know who it talks to.

pub mod error;
mod fields;
pub mod envelope;
pub mod request;
pub mod written;
pub mod response;

/// Format number that begins every message.
pub const MESSAGE_FORMAT: u8 = 1;

#[cfg(test)]
mod tests;
