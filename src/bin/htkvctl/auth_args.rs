//! The command line of users, API keys and roles.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where the master key is.
#[derive(Debug, Args)]
pub(crate) struct KeySource {
    /// The file with the master key: 64 hexadecimal digits. `-` is a line of standard input, the
    /// first one. Without it: `HTKV_MASTER_KEY` has the digits, or `HTKV_MASTER_KEY_FILE` names
    /// the file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

/// What a change takes: the master key, and somebody who makes it.
#[derive(Debug, Args)]
pub(crate) struct Authority {
    #[command(flatten)]
    pub(crate) key: KeySource,

    /// Who makes the change, in the audit trail [default: `htkvctl:` and the user of the machine].
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) actor: Option<String>,
}

/// Where a new password is, and what is hashed with it.
#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// The file with the password, on one line. `-` is standard input. Without it:
    /// `HTKV_PASSWORD` has it, or `HTKV_PASSWORD_FILE` names the file, or it is a line of standard
    /// input; on a terminal it is asked for, twice, and not shown.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The file with the pepper of the application, on one line: it accepts no password that was
    /// hashed without the pepper that it has. `-` is a line of standard input, before that of the
    /// password. Without it: `HTKV_PEPPER` has it, or `HTKV_PEPPER_FILE` names the file, or there
    /// is none.
    #[arg(long, value_name = "FILE")]
    pub(crate) pepper_file: Option<PathBuf>,
}

/// What is permitted for which keys.
#[derive(Debug, Args)]
pub(crate) struct Prefixes {
    /// Keys with this prefix may be read; once for each prefix. Empty: every key.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) read: Vec<OsString>,
    /// Keys with this prefix may be written and removed; once for each prefix.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) write: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user and print its id. The directory is created where it is missing. The password
    /// is hashed by Argon2id: an application with another hasher does not accept it.
    Add {
        /// The name, at most 256 bytes. Spellings that look the same are one name.
        name: String,
        #[command(flatten)]
        password: PasswordSource,
        /// A file whose bytes are stored with the user, encrypted. `-` is the rest of standard
        /// input.
        #[arg(long, value_name = "FILE")]
        metadata_file: Option<PathBuf>,
    },
    /// Give a user another password, without the old one, and end a lock. Only where the one until
    /// now is hashed by Argon2id, as the new one will be.
    Passwd {
        /// The name.
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Refuse a user's logins and API keys.
    Disable {
        /// The name.
        name: String,
    },
    /// Accept a disabled user's logins and API keys again.
    Enable {
        /// The name.
        name: String,
    },
    /// End a lock after too many wrong passwords, and forget those.
    Unlock {
        /// The name.
        name: String,
    },
    /// Store other bytes with a user, encrypted, or none.
    Metadata {
        /// The name.
        name: String,
        /// A file with the bytes. `-` is the rest of standard input.
        #[arg(long, value_name = "FILE", required_unless_present = "none")]
        metadata_file: Option<PathBuf>,
        /// No metadata.
        #[arg(long, conflicts_with = "metadata_file")]
        none: bool,
    },
    /// Remove a user and its API keys.
    Delete {
        /// The name.
        name: String,
    },
    /// Print what is stored of a user, without its hash. Needs no master key but for --metadata.
    Show {
        /// The name.
        name: String,
        /// Print what was stored encrypted, too.
        #[arg(long)]
        metadata: bool,
    },
    /// Give a user these roles and no others.
    Roles {
        /// The name.
        name: String,
        /// The roles.
        #[arg(required_unless_present = "none", value_name = "ROLE")]
        roles: Vec<String>,
        /// No roles.
        #[arg(long, conflicts_with = "roles")]
        none: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Issue an API key to a user. Its token is printed on standard output, once: it is stored
    /// nowhere. The key may do what its owner's roles permit; with --read or --write, of that only
    /// what these permit as well.
    Issue {
        /// The name of the user.
        name: String,
        /// What the key is called, for people; at most 256 bytes. Not encrypted.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        label: String,
        #[command(flatten)]
        prefixes: Prefixes,
        /// When the key ends: a number and s, m, h or d, such as 90d. Without it: never.
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        expires_in: Option<Micros>,
        /// A file whose bytes are stored with the key, encrypted. `-` is the rest of standard
        /// input.
        #[arg(long, value_name = "FILE")]
        metadata_file: Option<PathBuf>,
    },
    /// End an API key: no node accepts it any more.
    Revoke {
        /// The id of the key: what stands between `htk_` and the next `_` of its token.
        key_id: String,
    },
    /// List the API keys of a user, expired ones included. Needs no master key.
    List {
        /// The name of the user.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Create a role, or give it other grants. What no role of a user permits is refused.
    Put {
        /// The name of the role.
        role: String,
        #[command(flatten)]
        prefixes: Prefixes,
    },
    /// List the roles and what they permit. Needs no master key.
    List,
    /// Remove a role: what it permitted is refused. Its users keep the name: a role that is put
    /// under it later is theirs, too.
    Delete {
        /// The name of the role.
        role: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MasterKeyCommand {
    /// Write 32 random bytes, as 64 hexadecimal digits, into a file that must not exist yet and
    /// that nobody else can read. Touches no store.
    New {
        /// The file; `-` prints the digits on standard output instead.
        file: PathBuf,
    },
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Micros(pub(crate) u64);

/// A length of time as it is written: a number and its unit.
fn parse_duration(text: &str) -> Result<Micros, String> {
    const EXPECTED: &str = "expected a number and s, m, h or d, such as 90d";
    let unit = text.chars().next_back().ok_or(EXPECTED)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    let micros = number.checked_mul(seconds).and_then(|seconds| seconds.checked_mul(1_000_000));
    match micros {
        Some(0) => Err("expected more than nothing".to_owned()),
        Some(micros) if micros <= CENTURY_MICROS => Ok(Micros(micros)),
        _ => Err("expected at most 36525d; leave it out for a key without an end".to_owned()),
    }
}

/// More is meant as never.
const CENTURY_MICROS: u64 = 36_525 * 24 * 60 * 60 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(parse_duration("90d"), Ok(Micros(90 * 86_400 * 1_000_000)));
        assert_eq!(parse_duration("1s"), Ok(Micros(1_000_000)));
        assert_eq!(parse_duration("36525d"), Ok(Micros(CENTURY_MICROS)));
        for bad in ["", "d", "90", "-1d", "1w", "0h", "36526d", "99999999999999999999s", "1 d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
