//! What an application gives a cluster, and what a node offers to it: bytes there, bytes back.
//!
//! A cluster does not open sockets. Whatever connects an application's nodes already (HTTP, gRPC, a
//! message bus, a TCP connection of its own) brings requests to the other node and the answers
//! back, as bytes that mean nothing to it. They are checked at both ends: one that was changed,
//! delayed, repeated, lost, or brought to the wrong node does no harm but the time it takes.
//!
//! # Example
//!
//! Over any protocol that has requests and responses, the side that asks is one call:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use hightower_kv::raft::transport::{BoxFuture, RequestHandler, Transport, TransportError};
//! use hightower_kv::types::NodeId;
//!
//! /// What the application has already: a client of its protocol.
//! trait HttpClient: Send + Sync + 'static {
//!     fn post(&self, url: String, body: Bytes) -> BoxFuture<'static, std::io::Result<Bytes>>;
//! }
//!
//! struct OverHttp<C>(Arc<C>);
//!
//! impl<C: HttpClient> Transport for OverHttp<C> {
//!     fn call(
//!         &self,
//!         _target: NodeId,
//!         address: &str,
//!         request: Bytes,
//!         deadline: Duration,
//!     ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
//!         let answer = self.0.post(format!("http://{address}/raft"), request);
//!         Box::pin(async move {
//!             match tokio::time::timeout(deadline, answer).await {
//!                 Ok(Ok(body)) => Ok(body),
//!                 // Only what surely did not arrive: a write that did would be done twice.
//!                 Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
//!                     Err(TransportError::Unreachable(error.to_string()))
//!                 }
//!                 Ok(Err(_)) | Err(_) => Err(TransportError::Timeout),
//!             }
//!         })
//!     }
//! }
//!
//! // The side that is asked hands each body to its node and sends back what it gets. It needs no
//! // knowledge of the answer: every failure is an answer too.
//! async fn on_post(node: Arc<dyn RequestHandler>, body: Bytes) -> Bytes {
//!     node.handle(body).await
//! }
//! ```
//!
//! Two things make it fast. Several requests to one node are under way at once, so let the
//! protocol multiplex them on one connection; and keep connections open, since a heartbeat that has
//! to wait for a new one may come too late.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::types::NodeId;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Brings one request to another node and its answer back.
///
/// It must not answer a request with the answer to another. That is found out by a checksum of 32
/// bits, and taken for a failure, unless the two are the same bytes, as questions for reads and
/// heartbeats of a leader that has nothing new to say are: the answer to an earlier one would pass
/// for one to a later one, and a linearizable or lease read could be stale. It need not keep
/// requests in order, and may bring one twice.
pub trait Transport: Send + Sync + 'static {
    /// Brings `request` to `target`, which the membership says is at `address`, and its answer
    /// back.
    ///
    /// Nobody waits longer than `deadline`. When the future is dropped, the request may be
    /// abandoned at any point of its way.
    ///
    /// The future is polled on the node's own runtime: tokio's, with its timers and without its
    /// sockets, which belong on a runtime of the application. Nothing in it blocks the thread.
    ///
    /// # Errors
    /// `Unreachable` when the request surely did not arrive: then a write that was passed on is
    /// tried again. `Timeout` in any other case, also before the deadline: a connection that broke
    /// after the request was sent.
    fn call(
        &self,
        target: NodeId,
        address: &str,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request did not arrive: no connection, no such address.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer came, or none in time. Whether the request arrived is not known.
    #[error("no answer came in time")]
    Timeout,
}

/// What a node does with a request that another one sent.
pub trait RequestHandler: Send + Sync + 'static {
    /// Takes a request, whatever its bytes, and gives the answer to send back. It has no deadline
    /// of its own: the sender's holds. Dropping the future abandons the answer, and what was not
    /// begun; of a snapshot that has just arrived as a whole, its installation: it is sent again.
    ///
    /// Poll it on a runtime of tokio that has timers.
    fn handle(&self, request: Bytes) -> BoxFuture<'static, Bytes>;
}
