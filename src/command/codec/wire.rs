//! The shapes that are written, with borrowed bytes: the derived encodings of these types are the
//! layout that the parent module documents.
//!
//! They are apart from [`Command`] so that decoding borrows instead of copying, and so that nothing
//! recurses: a batch holds [`SingleWire`], which is not a batch.

use std::collections::{BTreeMap, BTreeSet};

use bincode::de::read::Reader;
use bincode::de::{BorrowDecoder, Decode};
use bincode::error::DecodeError as BincodeError;
use bincode::{BorrowDecode, Encode};
use bytes::Bytes;

use super::error::DecodeError;
use crate::command::definition::{Command, Condition, Guard, ReservedBatch};
use crate::command::lease::{LeaseId, Until};
use crate::command::membership::{Membership, Peer};
use crate::types::{NodeId, RandomId, Version};

/// A change of the state, alone or in a session; the order of the variants is their tags.
#[derive(Encode, BorrowDecode)]
pub(super) enum CommandWire<'a> {
    Set { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
    DeletePrefix { prefix: &'a [u8] },
    Batch { guards: Many<GuardWire<'a>>, commands: Many<SingleWire<'a>> },
}

/// A command within a batch, with the tags of [`CommandWire`].
#[derive(Encode, BorrowDecode)]
pub(super) enum SingleWire<'a> {
    Set {
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        key: &'a [u8],
    },
    DeletePrefix {
        prefix: &'a [u8],
    },
    /// The tag of a batch, known here only to be refused by name; its fields are not looked at.
    Batch,
}

/// A condition on a key.
#[derive(Encode, BorrowDecode)]
pub(super) struct GuardWire<'a> {
    key: &'a [u8],
    condition: ConditionWire<'a>,
}

/// A condition; the order of the variants is their tags.
#[derive(Encode, BorrowDecode)]
pub(super) enum ConditionWire<'a> {
    Absent,
    Present,
    VersionEquals(u64),
    ValueEquals(&'a [u8]),
}

/// How long a key is to be there; the order of the variants is their tags.
#[derive(Encode, BorrowDecode)]
pub(super) enum UntilWire {
    After(u64),
    Lease([u8; 16]),
}

/// A set with a time, behind its tag.
#[derive(Encode, BorrowDecode)]
pub(super) struct SetExpiringWire<'a> {
    until: UntilWire,
    key: &'a [u8],
    value: &'a [u8],
}

/// A time for a key, behind its tag.
#[derive(Encode, BorrowDecode)]
pub(super) struct AttachWire<'a> {
    pub(super) until: UntilWire,
    pub(super) key: &'a [u8],
}

/// A membership of which no directory is known.
#[derive(Encode, BorrowDecode)]
pub(super) struct MembershipWire<'a> {
    configs: Many<Many<u64>>,
    nodes: Many<(u64, &'a str)>,
}

/// A membership with the incarnation of each node, zero where it is not known.
#[derive(Encode, BorrowDecode)]
pub(super) struct BoundMembershipWire<'a> {
    configs: Many<Many<u64>>,
    nodes: Many<(u64, &'a str, [u8; 16])>,
}

/// A list. The standard `Vec` would reserve room for as many items as the count says before it has
/// seen one, up to the limit of the whole decode; this one believes the count only as far as the
/// bytes that are left.
#[derive(Encode)]
pub(super) struct Many<T>(Vec<T>);

/// Least bytes that an item of any list takes: a number, or a tag.
const ITEM_BYTES_MIN: usize = 4;

impl<'de, Context, T: BorrowDecode<'de, Context>> BorrowDecode<'de, Context> for Many<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        let count = u64::decode(decoder)?;
        let count = usize::try_from(count).map_err(|_| BincodeError::OutsideUsizeRange(count))?;
        let bytes_min = count.saturating_mul(ITEM_BYTES_MIN);
        if decoder.reader().peek_read(bytes_min).is_none() {
            return Err(BincodeError::UnexpectedEnd { additional: bytes_min });
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(T::borrow_decode(decoder)?);
        }
        Ok(Self(items))
    }
}

impl<T> FromIterator<T> for Many<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

/// What a person calls the type that has an unknown tag.
pub(super) fn name_of(wire_type: &str) -> &'static str {
    match wire_type {
        "CommandWire" => "command",
        "SingleWire" => "command in a batch",
        "ConditionWire" => "condition",
        "UntilWire" => "time",
        _ => "value",
    }
}

impl<'a> From<&'a Command> for CommandWire<'a> {
    /// # Panics
    /// On a command that is not a change itself, and may not stand where a change is written.
    fn from(command: &'a Command) -> Self {
        match command {
            Command::Set { key, value } => Self::Set { key, value },
            Command::Delete { key } => Self::Delete { key },
            Command::DeletePrefix { prefix } => Self::DeletePrefix { prefix },
            Command::Batch { guards, commands } => Self::Batch {
                guards: guards.iter().map(GuardWire::from).collect(),
                commands: commands.iter().map(SingleWire::from).collect(),
            },
            other => unreachable!("not a change, and not validated: {other:?}"),
        }
    }
}

impl<'a> From<&'a ReservedBatch> for CommandWire<'a> {
    fn from(batch: &'a ReservedBatch) -> Self {
        Self::Batch {
            guards: batch.guards.iter().map(GuardWire::from).collect(),
            commands: batch.commands.iter().map(SingleWire::from).collect(),
        }
    }
}

impl<'a> From<&'a Command> for SingleWire<'a> {
    fn from(command: &'a Command) -> Self {
        match command {
            Command::Set { key, value } => Self::Set { key, value },
            Command::Delete { key } => Self::Delete { key },
            Command::DeletePrefix { prefix } => Self::DeletePrefix { prefix },
            Command::Batch { .. } => unreachable!("a batch within a batch was not validated"),
            other => unreachable!("not a change, and not validated: {other:?}"),
        }
    }
}

impl<'a> From<&'a Guard> for GuardWire<'a> {
    fn from(guard: &'a Guard) -> Self {
        Self {
            key: &guard.key,
            condition: match &guard.condition {
                Condition::Absent => ConditionWire::Absent,
                Condition::Present => ConditionWire::Present,
                Condition::VersionEquals(version) => ConditionWire::VersionEquals(version.0),
                Condition::ValueEquals(value) => ConditionWire::ValueEquals(value),
            },
        }
    }
}

impl CommandWire<'_> {
    /// The command, its bytes shared with `payload`, from which this was decoded.
    pub(super) fn into_command(self, payload: &Bytes) -> Result<Command, DecodeError> {
        let share = |part: &[u8]| payload.slice_ref(part);
        Ok(match self {
            Self::Set { key, value } => Command::Set { key: share(key), value: share(value) },
            Self::Delete { key } => Command::Delete { key: share(key) },
            Self::DeletePrefix { prefix } => Command::DeletePrefix { prefix: share(prefix) },
            Self::Batch { guards, commands } => Command::Batch {
                guards: guards.0.into_iter().map(|guard| guard.into_guard(payload)).collect(),
                commands: commands
                    .0
                    .into_iter()
                    .map(|single| single.into_command(payload))
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

impl CommandWire<'_> {
    /// As [`Self::into_command`], of what stands behind the tag of a reserved batch.
    pub(super) fn into_reserved(self, payload: &Bytes) -> Result<Command, DecodeError> {
        match self.into_command(payload)? {
            Command::Batch { guards, commands } => {
                Ok(Command::Reserved(Box::new(ReservedBatch { guards, commands })))
            }
            _ => Err(DecodeError::NotABatch),
        }
    }
}

impl From<Until> for UntilWire {
    fn from(until: Until) -> Self {
        match until {
            Until::After(micros) => Self::After(micros),
            Until::Lease(lease) => Self::Lease(lease.0),
        }
    }
}

impl From<UntilWire> for Until {
    fn from(until: UntilWire) -> Self {
        match until {
            UntilWire::After(micros) => Self::After(micros),
            UntilWire::Lease(lease) => Self::Lease(LeaseId(lease)),
        }
    }
}

impl SetExpiringWire<'_> {
    /// The command, its bytes shared with `payload`, from which this was decoded.
    pub(super) fn into_command(self, payload: &Bytes) -> Command {
        let (key, value) = (payload.slice_ref(self.key), payload.slice_ref(self.value));
        Command::SetExpiring { key, value, until: self.until.into() }
    }
}

impl AttachWire<'_> {
    /// As [`SetExpiringWire::into_command`].
    pub(super) fn into_command(self, payload: &Bytes) -> Command {
        Command::Attach { key: payload.slice_ref(self.key), until: self.until.into() }
    }
}

impl SingleWire<'_> {
    fn into_command(self, payload: &Bytes) -> Result<Command, DecodeError> {
        let share = |part: &[u8]| payload.slice_ref(part);
        match self {
            Self::Set { key, value } => Ok(Command::Set { key: share(key), value: share(value) }),
            Self::Delete { key } => Ok(Command::Delete { key: share(key) }),
            Self::DeletePrefix { prefix } => Ok(Command::DeletePrefix { prefix: share(prefix) }),
            Self::Batch => Err(DecodeError::NestedBatch),
        }
    }
}

impl GuardWire<'_> {
    fn into_guard(self, payload: &Bytes) -> Guard {
        Guard {
            key: payload.slice_ref(self.key),
            condition: match self.condition {
                ConditionWire::Absent => Condition::Absent,
                ConditionWire::Present => Condition::Present,
                ConditionWire::VersionEquals(version) => Condition::VersionEquals(Version(version)),
                ConditionWire::ValueEquals(value) => {
                    Condition::ValueEquals(payload.slice_ref(value))
                }
            },
        }
    }
}

fn configs_of(membership: &Membership) -> Many<Many<u64>> {
    let ids = |config: &BTreeSet<NodeId>| config.iter().map(|id| id.0).collect();
    membership.configs().iter().map(ids).collect()
}

impl<'a> From<&'a Membership> for MembershipWire<'a> {
    fn from(membership: &'a Membership) -> Self {
        let nodes = membership.nodes().iter();
        Self {
            configs: configs_of(membership),
            nodes: nodes.map(|(id, peer)| (id.0, peer.address.as_str())).collect(),
        }
    }
}

impl<'a> From<&'a Membership> for BoundMembershipWire<'a> {
    fn from(membership: &'a Membership) -> Self {
        let incarnation = |peer: &Peer| peer.incarnation.map_or([0; 16], |id| id.0);
        let nodes = membership.nodes().iter();
        Self {
            configs: configs_of(membership),
            nodes: nodes
                .map(|(id, peer)| (id.0, peer.address.as_str(), incarnation(peer)))
                .collect(),
        }
    }
}

impl MembershipWire<'_> {
    pub(super) fn into_membership(self) -> Result<Membership, DecodeError> {
        let nodes = self.nodes.0.into_iter().map(|(id, address)| (id, Peer::at(address)));
        membership_of(self.configs, nodes.collect())
    }
}

impl BoundMembershipWire<'_> {
    pub(super) fn into_membership(self) -> Result<Membership, DecodeError> {
        let known = |bytes: [u8; 16]| (bytes != [0; 16]).then_some(RandomId(bytes));
        let peer = |address: &str, incarnation| Peer {
            address: address.to_owned(),
            incarnation: known(incarnation),
        };
        let nodes = self.nodes.0.into_iter().map(|(id, at, inc)| (id, peer(at, inc)));
        let membership = membership_of(self.configs, nodes.collect())?;
        // One of which no directory is known is written in the other format.
        if membership.is_bound() { Ok(membership) } else { Err(DecodeError::NotCanonical) }
    }
}

fn membership_of(
    configs: Many<Many<u64>>,
    nodes: Vec<(u64, Peer)>,
) -> Result<Membership, DecodeError> {
    let mut sets = Vec::with_capacity(configs.0.len());
    for Many(config) in configs.0 {
        ascending(config.iter())?;
        sets.push(config.into_iter().map(NodeId).collect());
    }
    ascending(nodes.iter().map(|(id, _)| id))?;
    let nodes: BTreeMap<NodeId, Peer> =
        nodes.into_iter().map(|(id, peer)| (NodeId(id), peer)).collect();
    Ok(Membership::new(sets, nodes)?)
}

/// A set in another order, or with an id twice, is not what was written.
fn ascending<'a>(ids: impl Iterator<Item = &'a u64>) -> Result<(), DecodeError> {
    if ids.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(DecodeError::NotAscending) }
}
