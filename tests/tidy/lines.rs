//! What every line and every file must be, and what no file may say.

use crate::source::SourceFile;
use crate::tree::{Tree, Violation, has_ending};

const COLUMNS_MAX: usize = 100;
const CODE_LINES_MAX: usize = 500;

/// Files that are longer than [`CODE_LINES_MAX`], each with the length it may not pass and the
/// reason why splitting it would make it worse. The list only ever gets shorter: so does
/// [`LONG_FILES_MAX`].
const LONG_FILES: &[(&str, usize, &str)] = &[];
const LONG_FILES_MAX: usize = 0;

/// ASCII, 100 columns, no tab, no blank at the end, for everything that is written by hand as code.
pub(crate) fn check_lines(tree: &Tree) -> Vec<Violation> {
    let endings = ["rs", "toml", "yml", "sh"];
    let is_code = |path: &str| {
        path.ends_with("/run") || endings.iter().any(|ending| has_ending(path, ending))
    };
    let mut found = Vec::new();
    for (path, text) in tree.files.iter().filter(|(path, _)| is_code(path)) {
        for (i, line) in text.lines().enumerate() {
            let mut report = |what: &str| found.push(Violation::new(path, i + 1, what));
            if line.chars().any(|c| c != ' ' && !c.is_ascii_graphic()) {
                report("not plain ASCII: in a literal, escape it");
            }
            // A table of a manifest has one row a line, however long.
            if line.chars().count() > COLUMNS_MAX && !has_ending(path, "toml") {
                report("longer than 100 columns: break the line");
            }
            if line.ends_with(' ') {
                report("ends in blanks: remove them");
            }
        }
    }
    found
}

/// Nothing unfinished: neither the words in comments nor the macros in code.
pub(crate) fn check_finished(sources: &[SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in sources {
        for (i, line) in file.comments.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
            if words.any(|word| word == "TODO" || word == "FIXME" || word == "XXX") {
                let what = "finish it, or open an issue and leave no mark here";
                found.push(Violation::new(&file.path, i + 1, what));
            }
        }
        for pair in file.tokens.windows(2) {
            let [name, bang] = pair else { continue };
            if bang.text == "!" && ["dbg", "todo", "unimplemented"].contains(&name.text.as_str()) {
                let what = format!("`{}!` stays on the author's machine", name.text);
                found.push(Violation::new(&file.path, name.line, &what));
            }
        }
    }
    found
}

/// No file of the library is longer than its reader's patience.
pub(crate) fn check_lengths(sources: &[SourceFile]) -> Vec<Violation> {
    lengths(sources, LONG_FILES, LONG_FILES_MAX)
}

fn lengths(sources: &[SourceFile], long: &[(&str, usize, &str)], max: usize) -> Vec<Violation> {
    let mut found = Vec::new();
    if long.len() != max {
        let what = format!("{} files in LONG_FILES, {max} foreseen: it only shrinks", long.len());
        found.push(Violation::new("tests/tidy/lines.rs", 1, &what));
    }
    for file in sources {
        let count = file.code_lines();
        let allowed = long.iter().find(|(path, ..)| *path == file.path);
        let limit = allowed.map_or(CODE_LINES_MAX, |(_, limit, _)| *limit);
        if count > limit {
            let what = format!("{count} lines of code, {limit} allowed: split it by what changes");
            found.push(Violation::new(&file.path, 1, &what));
        }
        if allowed.is_some() && count <= CODE_LINES_MAX {
            found.push(Violation::new(&file.path, 1, "no longer long: strike it from LONG_FILES"));
        }
    }
    for (path, ..) in long {
        if !sources.iter().any(|file| file.path == *path) {
            found.push(Violation::new(path, 1, "does not exist: strike it from LONG_FILES"));
        }
    }
    found
}

/// Nothing that is true on one machine only: home folders, and where packages were fetched from.
pub(crate) fn check_places(tree: &Tree) -> Vec<Violation> {
    // In parts, so that this file does not find itself.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("index.cra", "tes.io"),
        concat!("static.cra", "tes.io"),
    ];
    let mut found = Vec::new();
    for (path, text) in &tree.files {
        for (i, line) in text.lines().enumerate() {
            for place in places.iter().filter(|place| line.contains(**place)) {
                let what = format!("`{place}` is a place on one machine: describe it instead");
                found.push(Violation::new(path, i + 1, &what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_too_long_or_not_ascii_are_found() {
        let count = |line: &str| check_lines(&Tree::of(&[("src/a.rs", line)])).len();
        assert_eq!(count(&"x".repeat(100)), 0);
        assert_eq!(count(&"x".repeat(101)), 1);
        assert_eq!(count("// \u{b5}s"), 1);
        assert_eq!(count("\tx"), 1);
        assert_eq!(count("x "), 1);
        assert_eq!(check_lines(&Tree::of(&[("docs/a.md", "\u{b5}")])).len(), 0);
    }

    #[test]
    fn unfinished_work_is_found_in_comments_and_in_code() {
        let count = |text: &str| check_finished(&[SourceFile::parse("src/a.rs", text)]).len();
        assert_eq!(count("// later: TODO\n"), 1);
        assert_eq!(count("/* FIXME */"), 1);
        assert_eq!(count("fn f() { dbg!(1); todo!() }"), 2);
        assert_eq!(count("fn f() { unimplemented!() }"), 1);
        assert_eq!(count("const WORD: &str = \"TODO\"; // TODOS\n"), 0);
    }

    #[test]
    fn only_code_outside_tests_counts_and_only_up_to_the_limit() {
        let file = |lines: usize| {
            let text = format!("{}{}", "// c\n\n".repeat(300), "fn f() {}\n".repeat(lines));
            [SourceFile::parse("src/a.rs", &format!("{text}#[cfg(test)]\nmod tests {{\n\n}}\n"))]
        };
        assert_eq!(lengths(&file(500), &[], 0).len(), 0);
        assert_eq!(lengths(&file(501), &[], 0).len(), 1);
    }

    #[test]
    fn the_list_of_long_files_only_shrinks() {
        let file = |lines: usize| [SourceFile::parse("src/a.rs", &"fn f() {}\n".repeat(lines))];
        let long = [("src/a.rs", 600, "reason")];
        assert_eq!(lengths(&file(600), &long, 1).len(), 0);
        assert_eq!(lengths(&file(601), &long, 1).len(), 1);
        assert_eq!(lengths(&file(500), &long, 1).len(), 1);
        assert_eq!(lengths(&file(600), &long, 0).len(), 1);
        assert_eq!(lengths(&[], &long, 1).len(), 1);
    }

    #[test]
    fn a_path_of_a_machine_is_found_in_any_file() {
        let text = concat!("see /ho", "me/somebody/notes");
        assert_eq!(check_places(&Tree::of(&[("docs/a.md", text)])).len(), 1);
        assert_eq!(check_places(&Tree::of(&[("docs/a.md", "see docs/format.md")])).len(), 0);
    }
}
