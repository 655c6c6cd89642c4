//! `backup` and `restore`.

use std::io::Write;
use std::path::Path;

use hightower_kv::engine::backup::{
    BackupOptions, BackupReport, Links, Progress, backup_closed, restore_with,
};
use hightower_kv::env::Env;
use hightower_kv::storage::format::UNFINISHED_NAME;
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::progress;
use crate::text::Size;

pub(crate) fn backup(args: &Args, directory: &Path, links: Links) -> Result<()> {
    let env = Env::system();
    let bar = progress::bytes("backing up", Some(0));
    let options = BackupOptions { links };
    let done =
        backup_closed(&env, &args.data_dir, directory, options, &mut |done| show(&bar, done));
    bar.finish_and_clear();
    match done {
        Ok(report) => tell(args, &report),
        Err(error) => Err(failed(&env, directory, error)),
    }
}

pub(crate) fn restore(args: &Args, backup: &Path) -> Result<()> {
    let env = Env::system();
    let bar = progress::bytes("restoring", Some(0));
    let done = restore_with(&env, backup, &args.data_dir, &mut |done| show(&bar, done));
    bar.finish_and_clear();
    match done {
        Ok(report) => tell(args, &report),
        Err(error) => Err(failed(&env, &args.data_dir, error)),
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total.max(progress.done));
    bar.set_position(progress.done);
}

/// The error, and what is left of the copy where not all of it could be removed.
fn failed(env: &Env, directory: &Path, error: hightower_kv::Error) -> Failure {
    let stays = env.fs.kind(&directory.join(UNFINISHED_NAME)).is_ok_and(|kind| kind.is_some());
    if stays {
        let left = format!(
            "htkvctl: {} holds a copy that was not finished and that nothing opens: remove it",
            directory.display()
        );
        drop(writeln!(std::io::stderr().lock(), "{left}"));
    }
    error.into()
}

fn tell(args: &Args, report: &BackupReport) -> Result<()> {
    let BackupReport { version, files, bytes, linked_files, linked_bytes, .. } = *report;
    let seconds = report.elapsed.as_secs_f64();
    let mut out = output();
    if args.json {
        let line = json!({
            "version": version.0,
            "files": files,
            "bytes": bytes,
            "linked_files": linked_files,
            "linked_bytes": linked_bytes,
            "seconds": seconds,
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    writeln!(out, "version  {version}")?;
    if linked_files == 0 {
        writeln!(out, "files    {files}")?;
        writeln!(out, "bytes    {}", Size(bytes))?;
    } else {
        writeln!(out, "files    {files}, {linked_files} of them shared with the store")?;
        writeln!(out, "bytes    {}, {} of them shared", Size(bytes), Size(linked_bytes))?;
    }
    writeln!(out, "took     {seconds:.3} s")?;
    Ok(out.flush()?)
}
