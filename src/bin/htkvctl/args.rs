//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use hightower_kv::At;

#[cfg(feature = "auth")]
use crate::auth_args::{
    Authority, KeyCommand, KeySource, MasterKeyCommand, RoleCommand, UserCommand,
};
use crate::text::parse_at;

/// Looks at, changes, checks and repairs a hightower-kv store.
#[derive(Debug, Parser)]
#[command(name = "htkvctl", version, arg_required_else_help = true)]
#[command(
    after_help = "Keys and values are taken as they are written. Rows are printed with bytes \
that are not UTF-8, control characters and backslashes escaped as \\xNN; --hex takes and prints \
all of them as hexadecimal digits. Reserved rows, which the library keeps for itself, are counted \
by `stats` and printed by none of the commands for keys and values.\n\n\
Exit codes: 0; 1 key not found, or an error; 2 the store or its audit trail is damaged; 64 usage."
)]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, global = true, value_name = "DIR", default_value = ".hightower")]
    pub(crate) data_dir: PathBuf,

    /// Print JSON instead of text, where a command prints anything but a new master key.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Take and print keys and values as hexadecimal digits; `log` prints text all the same.
    #[arg(long, global = true)]
    pub(crate) hex: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveCommand {
    /// List its pieces, oldest first: the state that each begins with, and the entries behind it.
    List,
    /// Give up the oldest pieces that are beyond a limit. The newest piece stays.
    Clean {
        /// Give up what is only needed for states that are older than so many seconds.
        #[arg(long, value_name = "SECONDS")]
        max_age: Option<u64>,
        /// Keep at most so many bytes of change files.
        #[arg(long, value_name = "N")]
        max_bytes: Option<u64>,
        /// Keep at most so many change files.
        #[arg(long, value_name = "N")]
        max_files: Option<usize>,
        /// Give up all of it, the newest piece included.
        #[arg(long, conflicts_with_all = ["max_age", "max_bytes", "max_files"])]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give a key a value; the directory is created where it is missing.
    Set {
        /// The key.
        key: OsString,
        /// The value; `-` reads it from standard input, all bytes of it as they are.
        #[arg(allow_hyphen_values = true)]
        value: OsString,
        /// Remove the key when so much time has passed: a number and `ms`, `s`, `m`, `h` or `d`.
        #[arg(long, value_name = "TIME")]
        ttl: Option<String>,
        /// The scope of the key; `ephemeral` is the one whose keys live until the store is opened
        /// to be written to again.
        #[arg(long, value_name = "NAME")]
        scope: Option<String>,
        /// The longest value, in bytes, as the application has it configured [default: 64 MiB].
        #[arg(long, value_name = "BYTES")]
        value_bytes_max: Option<usize>,
    },
    /// Print the value of a key.
    Get {
        /// The key.
        key: OsString,
        /// Print the bytes as they are, and no newline behind them.
        #[arg(long, conflicts_with_all = ["json", "hex"])]
        raw: bool,
        /// The scope of the key; `ephemeral` is the one whose keys live until the store is opened
        /// to be written to again.
        #[arg(long, value_name = "NAME")]
        scope: Option<String>,
        /// As it was at a version (digits), or at a time: 2026-01-31T12:00:00Z, or microseconds
        /// since 1970 behind an @.
        #[arg(long, value_name = "TIME-OR-VERSION", value_parser = parse_at)]
        at: Option<At>,
    },
    /// Remove a key.
    Rm {
        /// The key.
        key: OsString,
        /// The scope of the key; `ephemeral` is the one whose keys live until the store is opened
        /// to be written to again.
        #[arg(long, value_name = "NAME")]
        scope: Option<String>,
    },
    /// Print `key<TAB>value`, a row a line, in key order.
    Scan {
        /// What the keys begin with.
        prefix: Option<OsString>,
        /// Print at most so many rows.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Begin with the last key.
        #[arg(long)]
        reverse: bool,
        /// The scope to look at; `ephemeral` is the one whose keys live until the store is opened
        /// to be written to again.
        #[arg(long, value_name = "NAME")]
        scope: Option<String>,
        /// As they were at a version (digits), or at a time: 2026-01-31T12:00:00Z, or microseconds
        /// since 1970 behind an @.
        #[arg(long, value_name = "TIME-OR-VERSION", value_parser = parse_at)]
        at: Option<At>,
    },
    /// Print the versions of a key that there are, oldest first: version, time, `set` with the
    /// value or `removed`.
    History {
        /// The key.
        key: OsString,
    },
    /// Show and give up the past that the store keeps.
    Archive {
        #[command(subcommand)]
        command: ArchiveCommand,
    },
    /// Set the rows of a file of JSON lines: `{"key": "..", "value": ".."}`, or `key_hex` and
    /// `value_hex` for bytes that are not UTF-8. Rows that are there already are left as they are.
    Import {
        /// The file; `-` is standard input.
        file: PathBuf,
        /// The longest value, in bytes, as the application has it configured [default: 64 MiB].
        #[arg(long, value_name = "BYTES")]
        value_bytes_max: Option<usize>,
    },
    /// Print rows as the JSON lines that `import` takes, in key order.
    Export {
        /// What the keys begin with.
        prefix: Option<OsString>,
    },
    /// Write the state to tables, merge those into one sequence, and delete the log behind them.
    Compact,
    /// List the files of the log and the tables, and how much in them is live.
    Segments,
    /// Print counts, sizes and versions.
    Stats,
    /// Print the entries that the log holds, one a line.
    Log {
        /// Begin with the entry at this index.
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
    },
    /// Check every checksum of every file and name everything that is damaged.
    Verify,
    /// Copy the store into another directory as a store by itself, and check the copy.
    Backup {
        /// The directory: it must not exist yet or be empty, and the one above it must exist.
        directory: PathBuf,
        /// Copy all files. Otherwise those that never change are shared with the store where the
        /// file system can do that: then what damages such a file damages both.
        #[arg(long)]
        copy: bool,
    },
    /// Check a backup and copy it to --data-dir, which must not exist yet or be empty.
    Restore {
        /// The directory of the backup.
        backup: PathBuf,
    },
    /// Make a store usable again that cannot be opened.
    Repair {
        /// Cut the end of the log where it may be damage or a write that was never synced. The
        /// bytes are kept in a file beside it. Of a store by itself: a voter of several may have
        /// acknowledged what is cut, and is replaced, not repaired.
        #[arg(long, required = true)]
        truncate_tail: bool,
    },
    /// List the users, by name: id, name, state, roles, when created. Needs no master key.
    #[cfg(feature = "auth")]
    ListUsers,
    /// Create, change, show and remove users.
    #[cfg(feature = "auth")]
    User {
        #[command(flatten)]
        authority: Authority,
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Issue, revoke and list API keys.
    #[cfg(feature = "auth")]
    Key {
        #[command(flatten)]
        authority: Authority,
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Create, list and remove roles.
    #[cfg(feature = "auth")]
    Role {
        #[command(flatten)]
        authority: Authority,
        #[command(subcommand)]
        command: RoleCommand,
    },
    /// Verify the audit trail, all of it, and print its rows: number, time, version, actor, action,
    /// subject.
    #[cfg(feature = "auth")]
    Audit {
        #[command(flatten)]
        key: KeySource,
        /// Print from this row on.
        #[arg(long, value_name = "N", default_value_t = 1)]
        from: u64,
        /// Print up to this row.
        #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
        to: u64,
    },
    /// Make master keys.
    #[cfg(feature = "auth")]
    MasterKey {
        #[command(subcommand)]
        command: MasterKeyCommand,
    },
    /// Wrap everything by another master key, which gets the next id. After an interruption: the
    /// same again.
    #[cfg(feature = "auth")]
    RotateMasterKey {
        #[command(flatten)]
        authority: Authority,
        /// The file with the master key until now. `-` is a line of standard input, the first one.
        /// Without it: `HTKV_OLD_MASTER_KEY`, `HTKV_OLD_MASTER_KEY_FILE`.
        #[arg(long, value_name = "FILE")]
        old_key_file: Option<PathBuf>,
    },
}
