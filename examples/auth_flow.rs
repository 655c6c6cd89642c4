//! Users, passwords and API keys beside a store.
//!
//! `cargo run --release --example auth_flow [DIRECTORY]`. Without a directory it works in a
//! temporary one, which is removed at the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;

use hightower_kv::{SingleNodeEngine, StoreConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let argument = std::env::args_os().nth(1).map(PathBuf::from);

    let mut config = StoreConfig::default();
    config.data_dir = argument.unwrap_or_else(|| scratch.path().join("auth-data"));

    // An application keeps 32 random bytes of its own; zeros protect nothing.
    let (engine, auth) =
        SingleNodeEngine::with_config(config)?.into_argon2_hasher_aes_gcm_auth_service([0u8; 32]);

    let user = auth.create_user_with_metadata(
        "captain",
        "it-doesnt-take-much",
        Some(b"{\"role\":\"ops\"}".as_slice()),
    )?;
    println!("created user {}", user.user_id);

    // Password verification and metadata decryption
    assert!(auth.verify_password("captain", "it-doesnt-take-much")?);
    let metadata = auth.decrypt_user_metadata(&user)?.unwrap_or_default();
    println!("user metadata => {}", String::from_utf8_lossy(&metadata));

    // API key issuance and validation
    let (record, token) = auth.create_api_key(&user.user_id, None)?;
    println!("issued key {}", record.key_id);
    let hydrated = auth.authenticate_api_key(&token)?.ok_or("token should resolve")?;
    println!("token resolves to user {}", hydrated.owner_id);

    auth.revoke_api_key(&record.key_id)?;
    assert!(auth.authenticate_api_key(&token)?.is_none());

    // The shared engine handle remains usable alongside the auth service.
    engine.flush()?;
    Ok(())
}
