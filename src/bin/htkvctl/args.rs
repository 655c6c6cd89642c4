//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Looks at, changes, checks and repairs a hightower-kv store.
#[derive(Debug, Parser)]
#[command(name = "htkvctl", version, arg_required_else_help = true)]
#[command(
    after_help = "Keys and values are taken as they are written. Rows are printed with bytes \
that are not UTF-8, control characters and backslashes escaped as \\xNN; --hex takes and prints \
all of them as hexadecimal digits.\n\n\
Exit codes: 0; 1 key not found, or an error; 2 the store is damaged; 64 usage."
)]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, global = true, value_name = "DIR", default_value = ".hightower")]
    pub(crate) data_dir: PathBuf,

    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Take and print keys and values as hexadecimal digits.
    #[arg(long, global = true)]
    pub(crate) hex: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
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
    },
    /// Print the value of a key.
    Get {
        /// The key.
        key: OsString,
        /// Print the bytes as they are, and no newline behind them.
        #[arg(long, conflicts_with_all = ["json", "hex"])]
        raw: bool,
    },
    /// Remove a key.
    Rm {
        /// The key.
        key: OsString,
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
    },
    /// Set the rows of a file of JSON lines: `{"key": "..", "value": ".."}`, or `key_hex` and
    /// `value_hex` for bytes that are not UTF-8. Rows that are there already are left as they are.
    Import {
        /// The file; `-` is standard input.
        file: PathBuf,
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
        /// bytes are kept in a file beside it.
        #[arg(long, required = true)]
        truncate_tail: bool,
    },
}
