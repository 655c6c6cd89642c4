//! Three voters in one process, each syncing to a real device before it acknowledges: writes, reads
//! and failover.
//!
//! `cargo bench --bench cluster`; `DIR=` chooses the device. Prints a table; 2 minutes.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::indexing_slicing, reason = "the list has a row for each kill")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::raft::{ClusterConfig, ClusterEngine};
use hightower_kv::{Command, KvEngine, ReadContext};
use parking_lot::Mutex;

/// How long a row is measured.
const ROW: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_millis(500);
const KILLS: usize = 20;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let base = std::env::var_os("DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp")),
        PathBuf::from,
    );
    std::fs::create_dir_all(&base).unwrap();
    let directory = tempfile::tempdir_in(&base).unwrap();
    let syncs = bare_syncs(directory.path());
    println!(
        "three voters in one process, {} cores, every voter syncs before it acknowledges, keys of \
         16 B, values of 100 B; a bare append of 180 B with fdatasync: {syncs:.0}/s\n",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!("| row | a second | p50, us | p99, us |");
    println!("|---|--:|--:|--:|");
    let disk = Disk::Real(directory.path().join("load"));
    let mut cluster = TestCluster::start_with(3, disk, 1, config()).unwrap();
    let leader = cluster.node(cluster.leader().unwrap());
    let follower = cluster.ids().into_iter().find(|&id| id != leader.id()).unwrap();
    let follower = cluster.node(follower);
    for clients in [1, 64, 1024] {
        row(&format!("writes, {clients} in flight"), &write(&leader, clients));
    }
    row("writes through a follower, 64 in flight", &write(&follower, 64));
    for readers in [1, 64] {
        let reads = read(&leader, readers, ReadContext::Linearizable);
        row(&format!("linearizable reads on the leader, {readers} readers"), &reads);
    }
    let reads = read(&follower, 64, ReadContext::Linearizable);
    row("linearizable reads on a follower, 64 readers", &reads);
    row("lease reads on the leader, 64 readers", &read(&leader, 64, ReadContext::Lease));
    row("local reads, 64 readers", &read(&leader, 64, ReadContext::Local));
    drop((leader, follower));
    let mut gaps: Vec<Duration> = (0..KILLS).map(|_| failover(&mut cluster)).collect();
    gaps.sort_unstable();
    let millis = |at: usize| gaps[at].as_secs_f64() * 1000.0;
    println!(
        "\nFailover: from the death of the leader to the first write acknowledged by another one, \
         election timeout 150 to 300 ms, {KILLS} kills: median {:.0} ms, p99 {:.0} ms",
        millis(KILLS / 2),
        millis(KILLS - 1)
    );
}

fn config() -> ClusterConfig {
    let mut config = ClusterConfig::default();
    config.store.queue_commands_max = 1 << 16;
    config
}

/// The device by itself.
fn bare_syncs(directory: &std::path::Path) -> f64 {
    use std::io::Write;
    let path = directory.join("bare");
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&vec![0; 4 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(directory.join("bare")).unwrap();
    let count = 2000;
    let started = Instant::now();
    for _ in 0..count {
        file.write_all(&[7; 180]).unwrap();
        file.sync_data().unwrap();
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// What a row measured.
struct Measured {
    per_second: f64,
    latencies: Vec<u32>,
}

fn row(name: &str, measured: &Measured) {
    let mut sorted = measured.latencies.clone();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0);
    println!("| {name} | {:.0} | {} | {} |", measured.per_second, at(50), at(99));
}

/// Longer than any answer may take still fits.
fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// One client: as soon as a write is answered it sends the next.
struct Client {
    engine: Arc<ClusterEngine>,
    next: AtomicU64,
    stop: AtomicBool,
    counts: AtomicBool,
    latencies: Mutex<Vec<u32>>,
    done: Mutex<Option<Sender<()>>>,
}

fn send(client: Arc<Client>) {
    let number = client.next.fetch_add(1, Ordering::Relaxed);
    let key = format!("{:016}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 10_000);
    let value = vec![number.to_le_bytes()[0]; 100];
    let engine = Arc::clone(&client.engine);
    let started = Instant::now();
    engine.submit_with(
        Command::set(key.into_bytes(), value),
        Box::new(move |answer| {
            answer.unwrap();
            if client.counts.load(Ordering::Relaxed) {
                let micros = micros(started);
                client.latencies.lock().push(micros);
            }
            if client.stop.load(Ordering::Relaxed) {
                let done = client.done.lock().take();
                done.map(|done| done.send(()));
            } else {
                send(client);
            }
        }),
    );
}

fn write(engine: &Arc<ClusterEngine>, clients: u64) -> Measured {
    let (done, ended) = channel();
    let clients: Vec<Arc<Client>> = (0..clients)
        .map(|number| {
            Arc::new(Client {
                engine: Arc::clone(engine),
                next: AtomicU64::new(number << 32),
                stop: AtomicBool::new(false),
                counts: AtomicBool::new(false),
                latencies: Mutex::default(),
                done: Mutex::new(Some(done.clone())),
            })
        })
        .collect();
    clients.iter().cloned().for_each(send);
    let each = |set: fn(&Client) -> &AtomicBool, to: bool| {
        for client in &clients {
            set(client).store(to, Ordering::Relaxed);
        }
    };
    std::thread::sleep(WARM_UP);
    each(|client| &client.counts, true);
    let started = Instant::now();
    std::thread::sleep(ROW);
    each(|client| &client.counts, false);
    let elapsed = started.elapsed();
    each(|client| &client.stop, true);
    for _ in &clients {
        ended.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    let latencies: Vec<u32> =
        clients.iter().flat_map(|client| client.latencies.lock().clone()).collect();
    Measured { per_second: latencies.len() as f64 / elapsed.as_secs_f64(), latencies }
}

/// Readers are tasks of a runtime with one thread, as they would be in a server.
fn read(engine: &Arc<ClusterEngine>, readers: usize, context: ReadContext) -> Measured {
    engine.put(b"key".to_vec(), vec![7; 100]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let tasks: Vec<_> = (0..readers)
        .map(|_| {
            let (engine, stop) = (Arc::clone(engine), Arc::clone(&stop));
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let view = engine.view_at(context).await.unwrap();
                    assert!(view.get(b"key").unwrap().is_some());
                    latencies.push(micros(asked));
                    if context == ReadContext::Local {
                        tokio::task::yield_now().await;
                    }
                }
                latencies
            })
        })
        .collect();
    std::thread::sleep(ROW);
    stop.store(true, Ordering::Relaxed);
    let elapsed = started.elapsed();
    let latencies: Vec<u32> = runtime.block_on(async {
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    Measured { per_second: latencies.len() as f64 / elapsed.as_secs_f64(), latencies }
}

/// Kills the leader; how long until a write is acknowledged by another node.
fn failover(cluster: &mut TestCluster) -> Duration {
    let leader = cluster.leader().unwrap();
    cluster.settle().unwrap();
    let other = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    let started = Instant::now();
    cluster.kill(leader);
    let engine = cluster.node(other);
    while engine.put(b"failover".to_vec(), b"x".to_vec()).is_err() {}
    let gap = started.elapsed();
    cluster.restart(leader).unwrap();
    cluster.leader().unwrap();
    gap
}
