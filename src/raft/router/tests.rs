use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const DEADLINE: Duration = Duration::from_secs(1);

/// Answers with what it was asked, and counts.
#[derive(Default)]
struct Echo {
    taken: Mutex<Vec<u8>>,
    work: Duration,
    finished: AtomicU64,
}

/// What the registered handler is: shared with the test.
struct Shared(Arc<Echo>);

impl RequestHandler for Shared {
    fn handle(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let echo = Arc::clone(&self.0);
        Box::pin(async move {
            echo.taken.lock().extend_from_slice(&request);
            tokio::time::sleep(echo.work).await;
            echo.finished.fetch_add(1, Ordering::Relaxed);
            request
        })
    }
}

struct Net {
    router: Router,
    /// What node B has taken.
    b: Arc<Echo>,
}

impl Net {
    fn new(seed: u64) -> Self {
        Self::working(seed, Duration::ZERO)
    }

    fn working(seed: u64, work: Duration) -> Self {
        let router = Router::new(seed);
        let b = Arc::new(Echo { work, ..Echo::default() });
        for node in [A, C] {
            router.register(node, Arc::new(Shared(Arc::default())));
        }
        router.register(B, Arc::new(Shared(Arc::clone(&b))));
        Self { router, b }
    }

    async fn ask(&self, from: NodeId, to: NodeId, byte: u8) -> Result<Bytes, TransportError> {
        self.router.transport(from).call(to, "", Bytes::from(vec![byte]), DEADLINE).await
    }

    /// Which of the pairs can talk.
    async fn talking(&self) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for (from, to) in [(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)] {
            if self.ask(from, to, 0).await.is_ok() {
                found.push((from.0, to.0));
            }
        }
        found
    }

    fn taken(&self) -> Vec<u8> {
        self.b.taken.lock().clone()
    }
}

/// Time moves when nothing else does.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    // Boxed: the compiler makes one copy of the runtime, not one for each test.
    let test: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(test);
    runtime.block_on(test)
}

#[test]
fn without_faults_requests_and_answers_arrive_at_once() {
    run(async {
        let net = Net::new(1);
        let started = tokio::time::Instant::now();
        assert_eq!(net.ask(A, B, 7).await, Ok(Bytes::from_static(&[7])));
        assert_eq!(started.elapsed(), Duration::ZERO);
        let counters = net.router.counters(A, B);
        assert_eq!((counters.sent, counters.arrived, counters.answered), (1, 1, 1));
        assert_eq!(net.router.counters(B, A), LinkCounters::default());
    });
}

#[test]
fn a_node_that_is_not_there_is_unreachable_at_once_and_its_answers_are_lost() {
    run(async {
        let net = Net::working(1, Duration::from_millis(10));
        let asked = async {
            let started = tokio::time::Instant::now();
            assert_eq!(net.ask(A, B, 1).await, Err(TransportError::Timeout), "it did arrive");
            assert_eq!(started.elapsed(), Duration::from_millis(10));
        };
        tokio::join!(asked, async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            net.router.unregister(B);
        });
        let started = tokio::time::Instant::now();
        assert!(matches!(net.ask(A, B, 1).await, Err(TransportError::Unreachable(_))));
        assert_eq!(started.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_cut_loses_requests_one_way_and_answers_the_other_way() {
    run(async {
        let net = Net::new(1);
        net.router.cut(A, B);
        assert_eq!(net.ask(A, B, 1).await, Err(TransportError::Timeout));
        assert_eq!(net.taken(), []);
        assert_eq!(net.ask(B, A, 1).await, Err(TransportError::Timeout));
        assert_eq!(net.router.counters(B, A).responses_lost, 1);
        net.router.heal(A, B);
        net.router.cut(B, A);
        assert_eq!(net.ask(A, B, 2).await, Err(TransportError::Timeout));
        assert_eq!(net.taken(), [2], "it arrived, the answer was lost");
        net.router.heal(B, A);
        assert_eq!(net.talking().await.len(), 6);
    });
}

#[test]
fn an_isolated_node_talks_to_nobody_until_it_rejoins() {
    run(async {
        let net = Net::new(1);
        net.router.isolate(B);
        assert_eq!(net.talking().await, [(1, 3), (3, 1)]);
        net.router.rejoin(B);
        assert_eq!(net.talking().await.len(), 6);
    });
}

#[test]
fn a_partition_separates_its_sides_and_who_is_on_none() {
    run(async {
        let net = Net::new(1);
        net.router.partition(&[&[A, B], &[C]]);
        assert_eq!(net.talking().await, [(1, 2), (2, 1)]);
        net.router.partition(&[&[A, C]]);
        assert_eq!(net.talking().await, [(1, 3), (3, 1)]);
        net.router.heal_all();
        assert_eq!(net.talking().await.len(), 6);
    });
}

#[test]
fn dropped_requests_do_not_arrive_and_dropped_answers_took_effect() {
    run(async {
        let net = Net::new(1);
        net.router.set_faults(A, B, LinkFaults { drop_request: 1.0, ..LinkFaults::default() });
        assert_eq!(net.ask(A, B, 1).await, Err(TransportError::Timeout));
        net.router.set_faults(A, B, LinkFaults { drop_response: 1.0, ..LinkFaults::default() });
        assert_eq!(net.ask(A, B, 2).await, Err(TransportError::Timeout));
        assert_eq!(net.taken(), [2]);
        assert!(net.ask(C, B, 3).await.is_ok(), "another link has no faults");
        let counters = net.router.counters(A, B);
        assert_eq!((counters.requests_lost, counters.responses_lost), (1, 1));
    });
}

#[test]
fn a_duplicate_takes_effect_twice_and_is_answered_once() {
    run(async {
        let net = Net::new(1);
        net.router.set_faults(A, B, LinkFaults { duplicate: 1.0, ..LinkFaults::default() });
        assert!(net.ask(A, B, 4).await.is_ok());
        tokio::time::sleep(DEADLINE).await;
        assert_eq!(net.taken(), [4, 4]);
        let counters = net.router.counters(A, B);
        assert_eq!((counters.sent, counters.arrived, counters.answered), (1, 2, 1));
    });
}

#[test]
fn delays_are_within_their_range_and_requests_overtake_each_other() {
    run(async {
        let net = Net::new(1);
        let delay = Duration::from_millis(10)..Duration::from_millis(100);
        net.router.set_faults(A, B, LinkFaults { delay, ..LinkFaults::default() });
        let started = tokio::time::Instant::now();
        let all = (0..20).map(|byte| net.ask(A, B, byte));
        let answers = futures_util::future::join_all(all).await;
        assert!(answers.iter().all(Result::is_ok));
        assert!(started.elapsed() >= Duration::from_millis(20));
        assert!(started.elapsed() <= Duration::from_millis(205));
        let mut taken = net.taken();
        assert!(!taken.is_sorted(), "{taken:?}");
        taken.sort_unstable();
        assert_eq!(taken, (0..20).collect::<Vec<u8>>());
    });
}

#[test]
fn a_request_takes_effect_although_its_sender_has_given_up() {
    run(async {
        let net = Net::working(1, DEADLINE * 3);
        assert_eq!(net.ask(A, B, 1).await, Err(TransportError::Timeout));
        assert_eq!(net.b.finished.load(Ordering::Relaxed), 0);
        tokio::time::sleep(DEADLINE * 3).await;
        assert_eq!(net.b.finished.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn the_seed_decides_each_link_whatever_happens_on_another() {
    let faults = LinkFaults { drop_request: 0.5, ..LinkFaults::default() };
    let lost = |seed: u64, noise: bool| {
        run(async {
            let net = Net::new(seed);
            net.router.set_faults(A, B, faults.clone());
            let mut lost = Vec::new();
            for byte in 0..40 {
                if noise {
                    net.ask(C, B, byte).await.unwrap();
                }
                lost.push(net.ask(A, B, byte).await.is_err());
            }
            lost
        })
    };
    assert_eq!(lost(5, false), lost(5, true));
    assert_ne!(lost(5, false), lost(6, false));
    let count = lost(5, false).iter().filter(|lost| **lost).count();
    assert!((10..30).contains(&count), "{count}");
}
