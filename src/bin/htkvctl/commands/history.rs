//! `history`, `archive`: the past of a key, and of the store.

use std::ffi::OsStr;
use std::io::Write;
use std::time::Duration;

use hightower_kv::storage::history::{CleanSummary, EraInfo};
use hightower_kv::{KeyVersion, Retention, Version};
use serde_json::json;

use crate::args::{ArchiveCommand, Args};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::rows::JsonRow;
use crate::text::{Size, Utc};

pub(crate) fn history(args: &Args, key: &OsStr) -> Result<()> {
    let key = args.plain_key(key)?;
    let found = args.look()?.history(&key)?;
    if found.versions.is_empty() {
        return Err(Failure::NotFound);
    }
    let mut out = output();
    if args.json {
        let versions: Vec<serde_json::Value> = found
            .versions
            .iter()
            .map(|version| as_json(args, &key, version))
            .collect::<Result<_>>()?;
        let complete_from = found.complete_from.0;
        writeln!(out, "{}", json!({"complete_from": complete_from, "versions": versions}))?;
        return Ok(out.flush()?);
    }
    for KeyVersion { version, timestamp, value } in &found.versions {
        let time = Utc(*timestamp);
        match value {
            Some(value) => writeln!(out, "{version}\t{time}\tset\t{}", args.show(value))?,
            None => writeln!(out, "{version}\t{time}\tremoved")?,
        }
    }
    out.flush()?;
    if found.complete_from > Version(0) {
        let from = found.complete_from;
        let line = format!("what it was before version {from} may be missing");
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }
    Ok(())
}

fn as_json(args: &Args, key: &[u8], version: &KeyVersion) -> Result<serde_json::Value> {
    let value = version.value.as_deref();
    let mut row = serde_json::to_value(JsonRow::new(key, value.unwrap_or(&[]), args.hex.into()))?;
    if let Some(fields) = row.as_object_mut() {
        fields.insert("version".to_owned(), version.version.0.into());
        fields.insert("timestamp_micros".to_owned(), version.timestamp.0.into());
        if value.is_none() {
            fields.retain(|name, _| !name.starts_with("value"));
            fields.insert("removed".to_owned(), true.into());
        }
    }
    Ok(row)
}

pub(crate) fn archive(args: &Args, command: &ArchiveCommand) -> Result<()> {
    match command {
        ArchiveCommand::List => list(args),
        ArchiveCommand::Clean { all: true, .. } => clean(args, None),
        ArchiveCommand::Clean { max_age, max_bytes, max_files, .. } => {
            let limits = Retention {
                age_max: max_age.map(Duration::from_secs),
                bytes_max: *max_bytes,
                files_max: *max_files,
            };
            if limits == Retention::default() {
                let what = "archive clean: expected --max-age, --max-bytes, --max-files or --all";
                return Err(Failure::Usage(what.to_owned()));
            }
            clean(args, Some(limits))
        }
    }
}

fn list(args: &Args) -> Result<()> {
    let engine = args.look()?;
    let eras = engine.eras();
    let mut out = output();
    for era in &eras {
        let begins = era.base_last().map(Version::from);
        let packed = era.files.iter().filter(|file| file.compressed).count();
        if args.json {
            let line = json!({
                "first": era.first.0,
                "last": era.last.map(|last| last.0),
                "base_version": begins.map(|version| version.0),
                "base_timestamp_micros": era.base_stamp.0,
                "last_timestamp_micros": era.last_stamp.0,
                "files": era.files.len(),
                "compressed_files": packed,
                "file_bytes": era.file_bytes(),
                "content_bytes": era.content_bytes,
                "base_bytes": era.base_bytes,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{}\t{}\tto {}\t{}\t{} files, {} compressed\t{} bytes of {}",
                begins.map_or_else(|| "empty".to_owned(), |version| version.to_string()),
                Utc(era.base_stamp),
                era.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string()),
                Utc(era.last_stamp),
                era.files.len(),
                packed,
                era.file_bytes(),
                era.content_bytes
            )?;
        }
    }
    if !args.json {
        let bytes = eras.iter().map(EraInfo::file_bytes).sum();
        writeln!(out, "pieces:{} bytes:{}", eras.len(), Size(bytes))?;
    }
    out.flush()?;
    let ahead = engine.eras_ahead();
    if let Some(last) = ahead.iter().filter_map(|era| era.last).max() {
        let version = engine.view().version().map(|version| version.to_string());
        let (pieces, end) = (ahead.len(), version.unwrap_or_else(|| "nothing".to_owned()));
        let line = format!(
            "{pieces} more reach to entry {last}, and the store ends with {end}: it was put back \
             to an older moment; they are set aside when it is opened for writing"
        );
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }
    Ok(())
}

fn clean(args: &Args, limits: Option<Retention>) -> Result<()> {
    let mut config = args.config();
    if limits.is_none() {
        // What is given up is not begun anew by this very opening.
        config.retention = None;
    }
    let engine = args.open_with(config)?;
    let done = match limits {
        Some(limits) => engine.clean_past(limits)?,
        None => engine.remove_past()?,
    };
    let set_aside = engine.eras_set_aside().to_vec();
    engine.close()?;
    let CleanSummary { eras, file_bytes, oldest } = done;
    let oldest = oldest.map(|first| first.previous().unwrap_or_default().0);
    let mut out = output();
    if args.json {
        let line = json!({"pieces": eras, "file_bytes": file_bytes, "oldest_version": oldest});
        writeln!(out, "{line}")?;
    } else {
        let oldest = oldest.map_or_else(|| "none".to_owned(), |oldest| oldest.to_string());
        writeln!(out, "given up  {eras} pieces, {} bytes", Size(file_bytes))?;
        writeln!(out, "oldest    {oldest}")?;
    }
    out.flush()?;
    if limits.is_none() && !set_aside.is_empty() {
        let mut err = std::io::stderr().lock();
        drop(writeln!(err, "set aside, and left alone; remove what you do not want:"));
        for folder in set_aside {
            drop(writeln!(err, "{}", folder.display()));
        }
    }
    Ok(())
}
