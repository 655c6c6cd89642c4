//! Random work for a store, decided by a seed: what to do next, given what the store should hold.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use hightower_kv::command::SessionId;
use hightower_kv::config::Compression;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{Command, Guard, Version};

use crate::model::Model;

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit(Command),
    /// Let time pass, back or forward; an interval only goes forward.
    Advance(Duration),
    ClockBack(Duration),
    Sync,
    Compact,
    /// Close, and open with tables that are compressed in this way from now on.
    Reopen(Compression),
}

/// Keys are few, so that most are overwritten and removed again and again.
const KEYS: u64 = 24;
/// And some are many, so that tables have rows that stay.
const COLD_KEYS: u64 = 60;

/// Keys of two groups, and one that is long.
fn hot_key(n: u64) -> Bytes {
    match n {
        0 => vec![b'z'; 700].into(),
        _ if n.is_multiple_of(3) => format!("group/{n}").into(),
        _ => format!("k{n}").into(),
    }
}

fn cold_key(n: u64) -> Bytes {
    format!("m{n:02}").into()
}

/// All keys that a workload writes.
pub(crate) fn every_key() -> &'static [Bytes] {
    static KEYS_OF_ALL: LazyLock<Vec<Bytes>> =
        LazyLock::new(|| (0..=KEYS).map(hot_key).chain((0..=COLD_KEYS).map(cold_key)).collect());
    &KEYS_OF_ALL
}

/// Any of the ways to compress.
pub(crate) fn any_compression(rng: &SeededRng) -> Compression {
    match rng.up_to(2) {
        0 => Compression::Off,
        1 => Compression::Lz4,
        _ => Compression::Zstd,
    }
}

/// A source of steps.
#[derive(Debug)]
pub(crate) struct Workload {
    rng: SeededRng,
    written: u64,
    clients: [Client; 3],
}

/// Who has a session.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    /// Which of its sessions.
    session: u8,
    /// Its last request.
    request: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: SeededRng::new(seed), written: 0, clients: Default::default() }
    }

    /// The next step for a store that holds `model`.
    pub(crate) fn next_step(&mut self, model: &Model) -> Step {
        match self.rng.up_to(99) {
            0..=43 => Step::Submit(self.set()),
            44..=51 => Step::Submit(self.of_session(model)),
            52..=61 => Step::Submit(Command::delete(self.key())),
            62..=64 => Step::Submit(self.delete_prefix()),
            65..=78 => Step::Submit(self.batch(model)),
            79..=82 => Step::Submit(self.set_again(model)),
            83 if self.rng.up_to(3) == 0 => Step::Advance(Duration::from_mins(25)),
            83..=88 => Step::Advance(Duration::from_millis(self.rng.up_to(1500))),
            89..=90 => Step::ClockBack(Duration::from_millis(self.rng.up_to(5000))),
            91..=93 => Step::Sync,
            94..=96 => Step::Compact,
            _ => Step::Reopen(any_compression(&self.rng)),
        }
    }

    fn key(&self) -> Bytes {
        match self.rng.up_to(5) {
            0 => cold_key(self.rng.up_to(COLD_KEYS)),
            _ => hot_key(self.rng.up_to(KEYS)),
        }
    }

    /// A value that nobody wrote before, of a length around the borders that matter: sectors of
    /// 512 bytes, payloads that are not copied from 2,048 on, segments of 4,096.
    fn value(&mut self) -> Bytes {
        let len = match self.rng.up_to(39) {
            0..=19 => self.rng.up_to(80),
            20..=29 => self.rng.up_to(600),
            30..=35 => 400 + self.rng.up_to(300),
            36..=37 => 1_900 + self.rng.up_to(300),
            38 => 3_700 + self.rng.up_to(500),
            _ => 4_500 + self.rng.up_to(2_000),
        };
        self.written += 1;
        let mut value = format!("{:06};", self.written).into_bytes();
        let start = value.len();
        value.resize(start + usize::try_from(len).unwrap_or(0), 0);
        // Some values are mostly zero, as an unwritten sector is; those can be compressed, too.
        if self.rng.up_to(5) > 0 {
            self.rng.fill_bytes(value.get_mut(start..).unwrap_or_default());
        }
        value.into()
    }

    fn set(&mut self) -> Command {
        Command::set(self.key(), self.value())
    }

    fn set_again(&mut self, model: &Model) -> Command {
        match model.rows.iter().next() {
            Some((key, row)) => Command::set(key.clone(), row.value.clone()),
            None => self.set(),
        }
    }

    /// Something that a client with a session does. Now and then it repeats a request, opens what
    /// is open, or goes on with a session that it has closed.
    fn of_session(&mut self, model: &Model) -> Command {
        let at = self.rng.up_to(2);
        let number = u8::try_from(at).unwrap_or(0);
        let Some(&client) = usize::try_from(at).ok().and_then(|at| self.clients.get(at)) else {
            return self.set();
        };
        let mut next = client;
        let id = |client: Client| SessionId([number * 64 + client.session; 16]);
        let command = match self.rng.up_to(15) {
            0 | 1 => Command::open_session(id(client)),
            2 => {
                next = Client { session: (client.session + 1) % 64, request: 0 };
                Command::close_session(id(client))
            }
            3 => Command::in_session(id(client), 1, self.set()),
            4..=6 => {
                let back = self.rng.up_to(17).min(client.request);
                let request = (client.request - back).max(1);
                Command::in_session(id(client), request, self.set())
            }
            kind => {
                next.request += 1 + self.rng.up_to(1);
                let change = match kind {
                    7 => self.batch(model),
                    8 => Command::delete(self.key()),
                    9 => self.set_again(model),
                    _ => self.set(),
                };
                Command::in_session(id(client), next.request, change)
            }
        };
        if let Some(client) = usize::try_from(at).ok().and_then(|at| self.clients.get_mut(at)) {
            *client = next;
        }
        // Nothing else can be done without a session.
        let is_open = model.sessions.contains_key(&id(client));
        if is_open { command } else { Command::open_session(id(client)) }
    }

    fn delete_prefix(&self) -> Command {
        match self.rng.up_to(9) {
            0 => Command::delete_prefix(""),
            1..=4 => Command::delete_prefix("group/"),
            5 => Command::delete_prefix("m1"),
            _ => Command::delete_prefix("k1"),
        }
    }

    fn batch(&mut self, model: &Model) -> Command {
        let key = self.key();
        let guard = match (self.rng.up_to(4), model.rows.get(&key)) {
            (0, _) => Guard::absent(key.clone()),
            (1, _) => Guard::present(key.clone()),
            (2, Some(row)) => Guard::version_equals(key.clone(), Version(row.version)),
            (3, Some(row)) => Guard::value_equals(key.clone(), row.value.clone()),
            _ => Guard::version_equals(key.clone(), Version(1)),
        };
        let guards = if self.rng.up_to(2) == 0 { vec![] } else { vec![guard] };
        let mut commands = vec![Command::set(key, self.value())];
        for _ in 0..self.rng.up_to(3) {
            commands.push(match self.rng.up_to(4) {
                0 => Command::delete(self.key()),
                1 => self.delete_prefix(),
                _ => self.set(),
            });
        }
        Command::guarded(guards, commands)
    }
}
