//! Who a directory is: cluster, node, incarnation.

use std::path::Path;

use super::error::StorageError;
use super::format::{
    FORMAT_VERSION, Fields, IDENTITY_BYTES, IDENTITY_MAGIC, take, take_u32, take_u64,
};
use crate::env::rng::Rng;
use crate::types::{NodeId, RandomId};

/// Who a directory is. Written once, when the directory is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that the directory belongs to.
    pub cluster: RandomId,
    /// The voter or learner in it.
    pub node: NodeId,
    /// This directory and no other: a wiped or copied one can be told from it.
    pub incarnation: RandomId,
}

impl Identity {
    /// A new identity for the first node of a new cluster.
    ///
    /// # Errors
    /// `Io` when the operating system gives no random bytes.
    pub(crate) fn random(rng: &dyn Rng, node: NodeId, path: &Path) -> Result<Self, StorageError> {
        let mut cluster = [0; 16];
        let mut incarnation = [0; 16];
        rng.fill(&mut cluster)
            .and_then(|()| rng.fill(&mut incarnation))
            .map_err(StorageError::wrap("draw random bytes for", path))?;
        Ok(Self { cluster: RandomId(cluster), node, incarnation: RandomId(incarnation) })
    }

    /// The part of the incarnation that every segment carries.
    pub(crate) fn tag(&self) -> u64 {
        take_u64(&self.incarnation.0, 0).unwrap_or_default()
    }

    pub(crate) fn encode(&self) -> [u8; IDENTITY_BYTES] {
        Fields::new()
            .raw(&IDENTITY_MAGIC)
            .u32(FORMAT_VERSION)
            .u32(0)
            .raw(&self.cluster.0)
            .u64(self.node.0)
            .raw(&self.incarnation.0)
            .u32(0)
            .crc(0)
            .finish()
    }

    /// Reads what [`Self::encode`] wrote, of this or a later version.
    ///
    /// # Errors
    /// `Corrupt` when it does not check; `UnsupportedFormat` when it does and is newer.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, StorageError> {
        let corrupt = |offset, found: &str| Err(StorageError::corrupt(path, offset, found));
        let Some(head) = take::<IDENTITY_BYTES>(bytes, 0) else {
            return corrupt(
                bytes.len() as u64,
                &format!("expected {IDENTITY_BYTES} bytes, found {}", bytes.len()),
            );
        };
        let covered = head.get(..IDENTITY_BYTES - 4).unwrap_or_default();
        if take_u32(&head, IDENTITY_BYTES - 4) != Some(crc32c::crc32c(covered)) {
            return corrupt(0, "the checksum differs from the content");
        }
        if take(&head, 0) != Some(IDENTITY_MAGIC) {
            return corrupt(0, "this is not the identity of a store");
        }
        let version = take_u32(&head, 8).unwrap_or_default();
        if version != FORMAT_VERSION {
            return Err(StorageError::UnsupportedFormat {
                file: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        if bytes.len() != IDENTITY_BYTES {
            return corrupt(IDENTITY_BYTES as u64, "bytes follow where the file should end");
        }
        let identity = Self {
            cluster: RandomId(take(&head, 16).unwrap_or_default()),
            node: NodeId(take_u64(&head, 32).unwrap_or_default()),
            incarnation: RandomId(take(&head, 40).unwrap_or_default()),
        };
        if identity.encode() != head {
            return corrupt(0, "bytes that must be zero are not");
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            cluster: RandomId([7; 16]),
            node: NodeId(1),
            incarnation: RandomId(*b"0123456789abcdef"),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Identity, StorageError> {
        Identity::decode(bytes, Path::new("IDENTITY"))
    }

    #[test]
    fn reads_back_and_every_flipped_bit_is_seen() {
        let good = identity().encode();
        assert_eq!(decode(&good).unwrap(), identity());
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&bytes).unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { .. }), "bit {bit}: {error}");
        }
        for len in 0..good.len() {
            assert!(matches!(decode(&good[..len]), Err(StorageError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = identity().encode();
        bytes[8] = 3;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        let longer = [&bytes[..], b"more"].concat();
        for bytes in [&bytes[..], &longer] {
            let error = decode(bytes).unwrap_err();
            assert!(matches!(error, StorageError::UnsupportedFormat { found: 3, .. }), "{error}");
        }
    }
}
