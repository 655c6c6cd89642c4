//! A network for a cluster, over plain TCP: what an application brings along, whole.
//!
//! `cargo run --release --example tcp_cluster`. Three nodes in this process talk over sockets of
//! the local machine; between machines it is the same code. `docs/replication.md` goes through it.
//! Nothing here keeps strangers out: between machines it belongs inside TLS with certificates of
//! both sides.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hightower_kv::raft::transport::BoxFuture;
use hightower_kv::raft::{ClusterConfig, ClusterEngine, RequestHandler, Transport, TransportError};
use hightower_kv::types::NodeId;
use hightower_kv::{Command, KvEngine, ReadContext, Version};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Most bytes of a frame that are believed. A request may hold one entry, so it is somewhat more
/// than `entry_bytes_max` of the configuration.
const FRAME_BYTES_MAX: u32 = 130 << 20;

/// Most connections to one address that are kept while nobody uses them.
const IDLE_MAX: usize = 16;

/// Reads one frame: four bytes of length, little-endian, and as many bytes. `None` when the other
/// side has closed the connection between two frames.
async fn read_frame(stream: &mut TcpStream) -> io::Result<Option<Bytes>> {
    let length = match stream.read_u32_le().await {
        Ok(length) if length <= FRAME_BYTES_MAX => length,
        Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    // Room is made for what comes, not for what is promised.
    let mut frame = Vec::new();
    let read = stream.take(u64::from(length)).read_to_end(&mut frame).await?;
    if read < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame.into()))
}

async fn write_frame(stream: &mut TcpStream, frame: &Bytes) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_u32_le(length).await?;
    stream.write_all(frame).await
}

/// The side that is asked: a task for each connection, one request after the other on each. When
/// it is aborted, its connections end with it.
async fn serve(listener: TcpListener, handler: Arc<dyn RequestHandler>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(answer(stream, Arc::clone(&handler)))),
            // Too many open files, perhaps: they become fewer.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Ends when the connection does. Who asked finds out by that, and asks again on another.
async fn answer(mut stream: TcpStream, handler: Arc<dyn RequestHandler>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = read_frame(&mut stream).await? {
        let response = handler.handle(request).await;
        write_frame(&mut stream, &response).await?;
    }
    Ok(())
}

/// The side that asks: connections by address, each used by one request at a time.
struct TcpTransport {
    idle: Arc<Idle>,
    /// Where sockets are driven: the engine's own runtime has no part for them.
    runtime: Handle,
}

/// Connections that nobody uses at the moment.
#[derive(Default)]
struct Idle(Mutex<HashMap<String, Vec<TcpStream>>>);

impl Idle {
    /// One that the other side has not closed meanwhile, as far as is known here.
    fn take(&self, address: &str) -> Option<TcpStream> {
        let mut idle = self.0.lock();
        let streams = idle.get_mut(address)?;
        loop {
            let stream = streams.pop()?;
            let read = stream.try_read(&mut [0]);
            if read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Some(stream);
            }
        }
    }

    fn put_back(&self, address: String, stream: TcpStream) {
        let mut idle = self.0.lock();
        let streams = idle.entry(address).or_default();
        if streams.len() < IDLE_MAX {
            streams.push(stream);
        }
    }
}

impl TcpTransport {
    fn new(runtime: Handle) -> Self {
        Self { idle: Arc::default(), runtime }
    }
}

impl Transport for TcpTransport {
    fn call(
        &self,
        _target: NodeId,
        address: &str,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let exchange = exchange(Arc::clone(&self.idle), address.to_owned(), request);
        let timed = async move { tokio::time::timeout(deadline, exchange).await };
        let task = self.runtime.spawn(timed);
        Box::pin(async move {
            match task.await {
                Ok(Ok(answer)) => answer,
                // Late, or the runtime is gone. It may have arrived.
                Ok(Err(_)) | Err(_) => Err(TransportError::Timeout),
            }
        })
    }
}

/// One request and its answer. Whatever happens in between, a connection goes back only when the
/// answer was read whole: it can never be the answer to another request.
async fn exchange(
    idle: Arc<Idle>,
    address: String,
    request: Bytes,
) -> Result<Bytes, TransportError> {
    let mut stream = match idle.take(&address) {
        Some(stream) => stream,
        None => connect(&address).await.map_err(|error| {
            // Certain: nothing was sent. A write that was passed on may be tried again.
            TransportError::Unreachable(format!("{address}: {error}"))
        })?,
    };
    let answer = async {
        write_frame(&mut stream, &request).await?;
        read_frame(&mut stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    let answer: io::Result<Bytes> = answer.await;
    // Not certain: the request may have arrived before the connection broke.
    let answer = answer.map_err(|_| TransportError::Timeout)?;
    idle.put_back(address, stream);
    Ok(answer)
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A heartbeat must not wait for more bytes to send with it.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn main() -> Outcome<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let scratch = tempfile::tempdir()?;
    let members = [1, 2, 3].map(NodeId);
    let (mut nodes, mut servers) = (Vec::new(), BTreeMap::new());
    let (mut cluster, mut addresses) = (None, BTreeMap::new());
    for id in members {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(local))?;
        let address = listener.local_addr()?.to_string();
        let mut config = ClusterConfig::default();
        config.store.data_dir = scratch.path().join(format!("node-{id}"));
        config.store.node_id = id;
        config.address.clone_from(&address);
        config.cluster = cluster;
        let transport = TcpTransport::new(runtime.handle().clone());
        let engine = ClusterEngine::open(config, Arc::new(transport))?;
        servers.insert(id, runtime.spawn(serve(listener, engine.handler())));
        cluster.get_or_insert(engine.cluster_id());
        println!("node {id} listens on {address}");
        addresses.insert(id, address);
        nodes.push(engine);
    }
    let [one, two, three] = nodes.as_slice() else { return Err("three nodes".into()) };
    runtime.block_on(one.initialize(addresses))?;
    println!("node {} leads", one.status().leader.ok_or("no leader")?);

    // Many at once, on every node: connections are pooled, requests run beside each other.
    let submitted: Vec<_> = (0..3000)
        .zip(nodes.iter().cycle())
        .map(|(n, node)| {
            let key = format!("order/{n:04}").into_bytes();
            node.submit_async(Command::set(key, b"paid".to_vec()))
        })
        .collect();
    let mut newest = Version::default();
    for submission in submitted {
        newest = newest.max(submission.wait()?.version);
    }
    for node in &nodes {
        assert_eq!(node.len()?, 3000, "a default read sees everything that was acknowledged");
        assert_eq!(node.view(ReadContext::AtLeast(newest))?.len(), 3000);
    }
    println!("3000 writes went through three nodes, and each of them shows all");

    // A machine that is gone: its sockets are closed, and nobody answers on its address.
    let gone = one.status().leader.ok_or("no leader")?;
    servers.remove(&gone).ok_or("no such server")?.abort();
    let node = nodes.iter().find(|node| node.id() == gone).ok_or("no such node")?;
    runtime.block_on(node.shutdown())?;
    let left = [one, two, three].into_iter().find(|node| node.id() != gone).ok_or("no node")?;
    left.put(b"order/last".to_vec(), b"paid".to_vec())?;
    assert_eq!(left.len()?, 3001);
    println!("node {gone} is gone, and the others go on");

    for node in &nodes {
        runtime.block_on(node.shutdown())?;
    }
    Ok(())
}
