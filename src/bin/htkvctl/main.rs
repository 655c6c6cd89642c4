//! `htkvctl`: looks at, changes, checks and repairs a store from the command line.
//!
//! Exit codes: 0; 1 a key that is not there, or an error; 2 a store or an audit trail that is
//! damaged; 64 a command line that cannot be understood. Answers go to standard output, everything
//! else to standard error.

#[cfg(feature = "auth")]
mod auth_args;
mod failure;
mod text;
mod args;
mod rows;
mod lines;
mod console;
mod progress;
#[cfg(feature = "auth")]
mod terminal;
#[cfg(feature = "auth")]
mod secrets;
#[cfg(feature = "auth")]
mod authority;
mod commands;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Args;
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    match commands::run(&args) {
        Ok(()) | Err(Failure::ReaderLeft) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed, the exit code still tells.
            drop(writeln!(std::io::stderr().lock(), "{failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version go to standard output; what cannot be understood is told with the help.
fn usage(error: &clap::Error) -> ExitCode {
    let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    drop(error.print());
    if is_asked_for {
        return ExitCode::SUCCESS;
    }
    if error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let help = <Args as clap::CommandFactory>::command().render_help();
        drop(write!(std::io::stderr().lock(), "\n{help}"));
    }
    ExitCode::from(failure::EXIT_USAGE)
}
