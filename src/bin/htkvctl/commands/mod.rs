//! The commands, each in a function of its own.

mod keys;
mod import;
mod export;
mod history;
mod sizes;
mod log;
mod check;
mod backup;
#[cfg(feature = "auth")]
mod users;
#[cfg(feature = "auth")]
mod grants;
#[cfg(feature = "auth")]
mod api_keys;
#[cfg(feature = "auth")]
mod roles;
#[cfg(feature = "auth")]
mod trail;
#[cfg(feature = "auth")]
mod master_key;

use hightower_kv::engine::backup::Links;

use crate::args::{Args, Command};
#[cfg(feature = "auth")]
use crate::auth_args::MasterKeyCommand;
use crate::failure::Result;

/// Does what the command line asks for.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Set { key, value, ttl, scope, value_bytes_max } => {
            let config = args.config_for_values(*value_bytes_max)?;
            keys::set(args, config, scope.as_deref(), key, value, ttl.as_deref())
        }
        Command::Get { key, raw, scope, at } => {
            keys::get(args, scope.as_deref(), key, (*raw).into(), *at)
        }
        Command::Rm { key, scope } => keys::rm(args, scope.as_deref(), key),
        Command::Scan { prefix, limit, reverse, scope, at } => {
            let order = if *reverse { keys::Order::Reverse } else { keys::Order::Forward };
            keys::scan(args, scope.as_deref(), prefix.as_deref(), *limit, order, *at)
        }
        Command::History { key } => history::history(args, key),
        Command::Archive { command } => history::archive(args, command),
        Command::Import { file, value_bytes_max } => {
            import::import(args, args.config_for_values(*value_bytes_max)?, file)
        }
        Command::Export { prefix } => export::export(args, prefix.as_deref()),
        Command::Compact => sizes::compact(args),
        Command::Segments => sizes::segments(args),
        Command::Stats => sizes::stats(args),
        Command::Log { from } => log::log(args, *from),
        Command::Verify => check::verify(args),
        Command::Backup { directory, copy } => {
            backup::backup(args, directory, if *copy { Links::Copy } else { Links::Allowed })
        }
        Command::Restore { backup } => backup::restore(args, backup),
        // The only repair there is; clap has seen to it that it was asked for by name.
        Command::Repair { .. } => check::truncate_tail(args),
        #[cfg(feature = "auth")]
        Command::ListUsers => users::list(args),
        #[cfg(feature = "auth")]
        Command::User { authority, command } => users::user(args, authority, command),
        #[cfg(feature = "auth")]
        Command::Key { authority, command } => api_keys::key(args, authority, command),
        #[cfg(feature = "auth")]
        Command::Role { authority, command } => roles::role(args, authority, command),
        #[cfg(feature = "auth")]
        Command::Audit { key, from, to } => trail::audit(args, key, *from, *to),
        #[cfg(feature = "auth")]
        Command::MasterKey { command: MasterKeyCommand::New { file } } => master_key::new(file),
        #[cfg(feature = "auth")]
        Command::RotateMasterKey { authority, old_key_file } => {
            master_key::rotate(args, authority, old_key_file.as_deref())
        }
    }
}
