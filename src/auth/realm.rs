//! The realm: what the secrets of one store are bound to, and the keys that are derived for it.

use zeroize::Zeroizing;

use super::envelope::{Envelope, derive};
use super::record_codec::{Reader, Writer};
use crate::error::Result;

const VERSION: u8 = 1;

/// What the secrets of a store are bound to. It is created with the first change, by one node, and
/// its root secret stands in the store wrapped by the master key.
#[derive(Clone)]
pub(super) struct Realm {
    pub(super) id: [u8; 16],
    pub(super) token_key: Zeroizing<[u8; 32]>,
    pub(super) audit_key: Zeroizing<[u8; 32]>,
}

/// Where a realm's root secret stands, for the authentication of its encryption.
pub(super) fn realm_place(id: &[u8; 16]) -> Vec<u8> {
    Writer::new(VERSION).bytes(id).bytes(b"realm").finish()
}

pub(super) fn read_realm(bytes: &[u8]) -> Result<([u8; 16], Envelope)> {
    let mut from = Reader::new(bytes, VERSION)?;
    let (id, envelope) = (from.array()?, Envelope::from_bytes(from.bytes()?)?);
    from.finish()?;
    Ok((id, envelope))
}

pub(super) fn write_realm(id: &[u8; 16], envelope: &Envelope) -> Vec<u8> {
    let start = id.iter().fold(Writer::new(VERSION), |to, byte| to.byte(*byte));
    start.bytes(&envelope.to_bytes()).finish()
}

impl Realm {
    /// From the root secret.
    pub(super) fn new(id: [u8; 16], root: &[u8]) -> Result<Self> {
        let token_key = derive(root, &[b"api key v1"])?;
        let audit_key = derive(root, &[b"audit v1"])?;
        Ok(Self { id, token_key, audit_key })
    }

    /// Where the metadata of a record stands that was written for the `version`th time, for the
    /// authentication of its encryption.
    pub(super) fn metadata_place(&self, kind: &str, id: &str, version: u64) -> Vec<u8> {
        let place = Writer::new(VERSION).bytes(&self.id).bytes(kind.as_bytes());
        place.bytes(id.as_bytes()).bytes(b"metadata").number(version).finish()
    }
}
