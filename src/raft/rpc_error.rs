//! What openraft is told when there is no answer.

use openraft::errors::{NetworkError, RPCError, Timeout, Unreachable};
use openraft::network::RPCTypes;

use super::network::{CallError, Connection};
use super::type_config::TypeConfig;
use super::wire::response::Refusal;

/// Whether openraft tries again at once or waits: `Network` is tried again at once, `Unreachable`
/// after a while.
pub(super) fn rpc_error(
    connection: &Connection,
    action: RPCTypes,
    error: &CallError,
) -> RPCError<TypeConfig> {
    match error {
        CallError::Timeout(timeout) => RPCError::Timeout(Timeout {
            action,
            id: connection.own_node().0,
            target: connection.target().0,
            timeout: *timeout,
        }),
        CallError::Refused(Refusal::OutOfTurn) | CallError::Garbled(_) => {
            RPCError::Network(NetworkError::new(error))
        }
        CallError::NotSent(_)
        | CallError::Refused(_)
        | CallError::Stranger { .. }
        | CallError::WrongKind
        | CallError::Unsendable(_) => RPCError::Unreachable(Unreachable::new(error)),
    }
}
