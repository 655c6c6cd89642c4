//! The rules of the house, checked over the sources of this package (ARCHITECTURE.md says why
//! each).
//!
//! One test a rule; each lists every place that breaks it and what to do there. The checks know
//! just enough of Rust to tell code from comments, literals and tests; each is tried on small trees
//! of its own that break the rule.
#![expect(clippy::disallowed_methods, reason = "a test may use the real disk directly")]

mod lexer;
mod source;
mod tree;
mod modules;
mod layers;
mod words;
mod lines;
mod documents;
mod manifest;

use std::io;

use crate::source::SourceFile;
use crate::tree::{Tree, Violation};

const LIBRARY: &str = "hightower_kv";
const SRC: &[&str] = &["src/"];
/// The package. Words are checked here: what compares it with other stores may need `unsafe`, which
/// one of their interfaces is.
const PACKAGE: &[&str] = &["src/", "tests/", "examples/", "benches/"];
const COMPARISON: &str = "benches-compare/src/";
const EVERYWHERE: &[&str] = &["src/", "tests/", "examples/", "benches/", COMPARISON];
/// Where files may not be long.
const SHORT: &[&str] = &["src/", COMPARISON];

/// The Rust files below the given folders, with those that only tests use marked.
fn sources(folders: &[&str]) -> io::Result<Vec<SourceFile>> {
    let mut sources = Tree::read()?.rust_files(folders);
    modules::mark_test_files(&mut sources);
    Ok(sources)
}

fn assert_none(violations: &[Violation]) {
    let list: Vec<&str> = violations.iter().map(|violation| violation.0.as_str()).collect();
    assert!(list.is_empty(), "{} places to put right:\n{}\n", list.len(), list.join("\n"));
}

#[test]
fn modules_use_only_what_is_declared_above_them() -> io::Result<()> {
    assert_none(&layers::check_order(&sources(SRC)?));
    Ok(())
}

#[test]
fn nothing_is_imported_through_the_crate_root() -> io::Result<()> {
    assert_none(&layers::check_root(&sources(SRC)?, LIBRARY));
    Ok(())
}

#[test]
fn folders_use_only_what_the_table_allows() -> io::Result<()> {
    assert_none(&layers::check_folders(&sources(SRC)?));
    Ok(())
}

#[test]
fn words_stay_in_the_folders_that_own_them() -> io::Result<()> {
    assert_none(&words::check(&sources(PACKAGE)?));
    Ok(())
}

#[test]
fn lines_are_ascii_and_fit() -> io::Result<()> {
    assert_none(&lines::check_lines(&Tree::read()?));
    Ok(())
}

#[test]
fn nothing_is_left_unfinished() -> io::Result<()> {
    assert_none(&lines::check_finished(&sources(EVERYWHERE)?));
    Ok(())
}

#[test]
fn files_are_no_longer_than_allowed() -> io::Result<()> {
    assert_none(&lines::check_lengths(&sources(SHORT)?));
    Ok(())
}

#[test]
fn files_are_reachable_and_say_what_they_are() -> io::Result<()> {
    assert_none(&modules::check_files(&sources(SRC)?));
    Ok(())
}

#[test]
fn nothing_names_a_place_on_one_machine() -> io::Result<()> {
    assert_none(&lines::check_places(&Tree::read()?));
    Ok(())
}

#[test]
fn the_format_document_and_the_code_have_the_same_constants() -> io::Result<()> {
    assert_none(&documents::check_constants(&Tree::read()?));
    Ok(())
}

#[test]
fn metrics_are_the_same_in_the_code_and_in_their_document() -> io::Result<()> {
    let tree = Tree::read()?;
    assert_none(&documents::check_metrics(&tree, &sources(SRC)?));
    Ok(())
}

#[test]
fn recovery_cases_are_the_same_in_the_code_and_in_their_document() -> io::Result<()> {
    assert_none(&documents::check_recovery_cases(&Tree::read()?));
    Ok(())
}

#[test]
fn the_helper_of_the_readme_is_the_one_that_is_run() -> io::Result<()> {
    assert_none(&documents::check_helper(&Tree::read()?));
    Ok(())
}

#[test]
fn dependencies_name_their_version() -> io::Result<()> {
    assert_none(&manifest::check_versions(&Tree::read()?));
    Ok(())
}

#[test]
fn dependencies_are_accounted_for() -> io::Result<()> {
    assert_none(&manifest::check_account(&Tree::read()?));
    Ok(())
}
