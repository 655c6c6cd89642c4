//! Keys with a lifetime: of this process, of a use, of a time.
//!
//! `cargo run --release --example scopes`
#![expect(clippy::print_stdout, reason = "an example prints")]
#![expect(clippy::disallowed_methods, reason = "an example waits for real time")]

use std::error::Error;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use hightower_kv::{KvEngine, Scope, SingleNodeEngine};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("data");
    let engine = Arc::new(SingleNodeEngine::open(&path)?);

    println!("1. The same key in three scopes is three keys.");
    engine.put(b"worker".to_vec(), b"configured".to_vec())?;
    let run = engine.scope(Scope::Ephemeral);
    run.put(b"worker".to_vec(), b"busy".to_vec())?;
    let cache = engine.scope(Scope::named("cache")?);
    cache.put(b"worker".to_vec(), b"17 pages".to_vec())?;
    for scope in [Scope::Permanent, Scope::Ephemeral, Scope::named("cache")?] {
        let value = engine.scope(scope.clone()).get(b"worker")?.ok_or("it was put")?;
        println!("   {scope:9} {}", String::from_utf8_lossy(&value));
    }

    println!("2. A named scope is cleared in one entry.");
    println!("   {:?}", cache.clear()?.outcome);

    println!("3. A key with a time goes by itself, and a lease takes its keys with it.");
    engine.put_with_ttl(b"token".to_vec(), b"secret".to_vec(), Duration::from_millis(200))?;
    let lease = engine.lease(Duration::from_secs(3))?;
    lease.put(b"service/a".to_vec(), b"10.0.0.1".to_vec())?;
    lease.put(b"service/b".to_vec(), b"10.0.0.2".to_vec())?;
    for _ in 0..4 {
        sleep(Duration::from_millis(150));
        lease.keep_alive()?;
    }
    println!(
        "   kept alive: token {}, services {}",
        engine.contains(b"token")?,
        services(&engine)?
    );
    while services(&engine)? > 0 {
        sleep(Duration::from_millis(10));
    }
    println!("   not kept alive any more: services {}", services(&engine)?);

    println!("4. Opened again, the store has no ephemeral keys.");
    drop(lease);
    drop(engine);
    let engine = SingleNodeEngine::open(&path)?;
    println!("   ephemeral {}, permanent {}", engine.scope(Scope::Ephemeral).len()?, engine.len()?);
    engine.close()?;
    Ok(())
}

fn services(engine: &SingleNodeEngine) -> hightower_kv::Result<usize> {
    Ok(engine.get_prefix(b"service/")?.len())
}
