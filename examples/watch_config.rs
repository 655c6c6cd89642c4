//! A node agent that follows its configuration: it begins with the state, applies changes as they
//! come, notes how far it has come, is stopped, and goes on from there.
//!
//! `cargo run --release --example watch_config`. Works in a temporary directory, which is removed
//! at the end. Here the store is the agent's own, with an operator on another thread; on a cluster
//! the same agent runs on every node, against its own `ClusterEngine`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the agent keeps a file of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hightower_kv::{
    Change, Command, Error, KvEngine, Retention, SingleNodeEngine, StoreConfig, Version,
    WatchEngine, WatchEvent, WatchOptions, Watcher,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Where this node's configuration is.
const PREFIX: &str = "config/node-1/";
/// What tells the agent to end.
const STOP: &str = "config/node-1/stop";
/// For how long an agent may be away.
const A_DAY: Duration = Duration::from_hours(24);

/// What runs on the node.
struct Agent {
    /// What is configured now.
    settings: BTreeMap<String, String>,
    /// The agent's memory across restarts: a position, and the settings that it belongs to.
    file: PathBuf,
}

impl Agent {
    /// Goes on where the last run has ended; begins with the state on the first one.
    fn new(file: PathBuf) -> Outcome<(Self, WatchOptions)> {
        let options = WatchOptions::new(PREFIX);
        let mut agent = Self { settings: BTreeMap::new(), file };
        let Ok(text) = fs::read_to_string(&agent.file) else {
            println!("agent: nothing is known, it begins with the state");
            return Ok((agent, options.with_state()));
        };
        let mut lines = text.lines();
        let position = Version(lines.next().ok_or("an empty file")?.parse()?);
        let rows = lines.filter_map(|line| line.split_once('='));
        agent.settings = rows.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        println!("agent: {} settings are known, it goes on", agent.settings.len());
        Ok((agent, options.from_version(position)))
    }

    /// Follows the configuration until it is told to stop.
    fn run(&mut self, engine: &impl WatchEngine, options: WatchOptions) -> Outcome<()> {
        let mut watcher = engine.watch_with(options)?;
        loop {
            match watcher.next() {
                Ok(WatchEvent::Row { key, value, .. }) => self.set(&key, Some(&value)),
                Ok(WatchEvent::Current { version }) => {
                    println!("agent: has the configuration of version {version}");
                    self.save(&watcher)?;
                }
                // One event holds all that one entry has changed: a batch is applied whole.
                Ok(WatchEvent::Changed(entry)) => {
                    for change in &entry.changes {
                        self.set(&change.key, change.value.as_deref());
                    }
                    self.save(&watcher)?;
                    let stops = |change: &Change| change.key == STOP && change.value.is_some();
                    if entry.changes.iter().any(stops) {
                        return Ok(());
                    }
                }
                // It was away for too long: what it has missed is gone, but the state is there.
                Err(Error::Compacted { .. }) => {
                    println!("agent: it has missed too much, it begins with the state");
                    self.settings.clear();
                    watcher = engine.watch_with(WatchOptions::new(PREFIX).with_state())?;
                }
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = text(key.strip_prefix(PREFIX.as_bytes()).unwrap_or(key));
        if let Some(value) = value {
            println!("agent: {name} is {}", text(value));
            self.settings.insert(name, text(value));
        } else {
            println!("agent: {name} is gone");
            self.settings.remove(&name);
        }
    }

    /// Position and settings go together into one file that is replaced as a whole, so that after a
    /// crash they still belong together; what was applied and not noted is told again.
    fn save(&self, watcher: &Watcher) -> Outcome<()> {
        let Some(position) = watcher.position() else { return Ok(()) };
        let rows = self.settings.iter().map(|(key, value)| format!("{key}={value}\n"));
        let text = [format!("{position}\n")].into_iter().chain(rows).collect::<String>();
        let beside = self.file.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        // Before it takes the place of the old one, or a power cut may leave it empty.
        file.sync_all()?;
        Ok(fs::rename(beside, &self.file)?)
    }
}

fn set(key: &str, value: &str) -> Command {
    Command::set(format!("{PREFIX}{key}"), value.to_owned())
}

/// The agent runs while somebody changes the configuration.
fn run_while(
    engine: &SingleNodeEngine,
    file: &Path,
    operator: impl FnOnce(&SingleNodeEngine) -> hightower_kv::Result<()> + Send,
) -> Outcome<Agent> {
    let (mut agent, options) = Agent::new(file.to_owned())?;
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            operator(engine)?;
            engine.submit(set("stop", "now"))?;
            engine.submit(Command::delete(STOP))
        });
        agent.run(engine, options)?;
        changes.join().map_err(|_| "the operator panicked")??;
        Ok(agent)
    })
}

fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let [data, file] = ["data", "agent"].map(|name| scratch.path().join(name));
    let mut config = StoreConfig::default();
    config.data_dir = data;
    // Without it, what the agent misses while the store is closed is gone, and it begins anew.
    config.retention = Some(Retention { age_max: Some(A_DAY), ..Retention::default() });
    let engine = SingleNodeEngine::with_config(config.clone())?;
    engine.submit_batch(vec![set("log", "info"), set("threads", "4")])?;

    println!("1. The first run: the state, and then what changes.");
    run_while(&engine, &file, |engine| {
        engine.submit(set("log", "debug"))?;
        // Both or none, and the agent sees both at once.
        engine.submit_batch(vec![set("threads", "8"), set("queue", "1024")])?;
        // Of another node: it does not concern this one.
        engine.put(b"config/node-2/log".to_vec(), b"trace".to_vec())?;
        Ok(())
    })?;

    println!("2. It is away while something changes and the store is opened anew.");
    engine.submit(set("log", "warn"))?;
    engine.submit(Command::delete(format!("{PREFIX}queue")))?;
    engine.close()?;
    let engine = SingleNodeEngine::with_config(config)?;

    println!("3. The second run goes on with what it has missed.");
    let agent = run_while(&engine, &file, |engine| {
        engine.submit(set("threads", "16"))?;
        Ok(())
    })?;

    // What the agent has is what the store has, but for the order to stop, which is gone by now.
    let mut rows = BTreeMap::new();
    for (key, value) in engine.get_prefix(PREFIX.as_bytes())? {
        let name = String::from_utf8_lossy(&key).replace(PREFIX, "");
        rows.insert(name, String::from_utf8_lossy(&value).into_owned());
    }
    let mut settings = agent.settings;
    settings.remove("stop");
    assert_eq!(settings, rows);
    println!("the agent has what the store has: {settings:?}");
    engine.close()?;
    Ok(())
}
