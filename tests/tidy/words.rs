//! Words that a folder must not contain: where a layer would otherwise be passed by.

use crate::lexer::Token;
use crate::source::SourceFile;
use crate::tree::Violation;

/// What is looked for, in code only: never in a comment, a literal or a test.
enum Word {
    /// These names beside each other in one path, however it is imported.
    Path(&'static [&'static str]),
    /// These tokens beside each other.
    Tokens(&'static [&'static str]),
}

struct Ban {
    word: Word,
    /// Where it is looked for: the beginning of the file's path.
    within: &'static str,
    /// Where it is allowed all the same.
    except: &'static [&'static str],
    instead: &'static str,
}

const fn ban(
    word: Word,
    within: &'static str,
    except: &'static [&'static str],
    instead: &'static str,
) -> Ban {
    Ban { word, within, except, instead }
}

const RAFT: &str = "only src/raft/ is async and names openraft (R3)";
const DOOR: &str = "only src/env/ touches disk, clock and randomness: take an `Env` (R4)";
const PURE: &str = "state is a function of (state, index, command) and iterates in order (R1)";
const PUBLISH: &str = "src/storage/atomic_file.rs gives a file its final name (R8)";
const SHARE: &str = "only copies, eras and received tables share files, once they are checked";
const CODEC: &str = "only src/command/codec names the encoding";

const BANS: &[Ban] = &[
    ban(Word::Path(&["openraft"]), "src/", &["src/raft/"], RAFT),
    ban(Word::Path(&["tokio"]), "src/", &["src/raft/"], RAFT),
    ban(Word::Path(&["std", "fs"]), "src/", &["src/env/", "src/bin/"], DOOR),
    ban(Word::Path(&["SystemTime", "now"]), "src/", &["src/env/"], DOOR),
    ban(Word::Path(&["Instant", "now"]), "src/", &["src/env/"], DOOR),
    ban(Word::Path(&["thread", "sleep"]), "src/", &["src/env/"], DOOR),
    ban(Word::Path(&["getrandom"]), "src/", &["src/env/"], DOOR),
    // The terminal is none of the store's business.
    ban(Word::Path(&["rustix"]), "src/", &["src/env/", "src/bin/htkvctl/terminal.rs"], DOOR),
    ban(Word::Path(&["HashMap"]), "src/state", &[], PURE),
    ban(Word::Path(&["HashSet"]), "src/state", &[], PURE),
    ban(Word::Path(&["std", "thread"]), "src/state", &[], PURE),
    ban(Word::Path(&["std", "time"]), "src/state", &[], PURE),
    ban(Word::Path(&["bincode"]), "src/", &["src/command/codec"], CODEC),
    ban(
        Word::Tokens(&[".", "rename", "("]),
        "src/",
        &["src/env/", "src/storage/atomic_file.rs"],
        PUBLISH,
    ),
    ban(
        Word::Path(&["Fs", "rename"]),
        "src/",
        &["src/env/", "src/storage/atomic_file.rs"],
        PUBLISH,
    ),
    ban(
        Word::Tokens(&[".", "hard_link", "("]),
        "src/",
        &[
            "src/env/",
            "src/storage/copy_target.rs",
            "src/storage/history/base.rs",
            "src/storage/snapshot_install.rs",
        ],
        SHARE,
    ),
    ban(Word::Path(&["Unimplemented"]), "src/", &[], "nothing here is: finish it or leave it out"),
    ban(Word::Tokens(&["unsafe"]), "", &[], "there is a safe way, or it is not done here (R15)"),
];

pub(crate) fn check(sources: &[SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in sources {
        let starts = |folder: &&str| file.path.starts_with(*folder);
        for ban in BANS.iter().filter(|ban| starts(&ban.within) && !ban.except.iter().any(starts)) {
            let (name, lines) = lines_with(file, &ban.word);
            for line in lines {
                let what = format!("`{name}`: {}", ban.instead);
                found.push(Violation::new(&file.path, line, &what));
            }
        }
    }
    found
}

fn lines_with(file: &SourceFile, word: &Word) -> (String, Vec<usize>) {
    match word {
        Word::Path(names) => {
            let paths = file.paths.iter().filter(|path| !path.test);
            let hits = paths.filter(|path| path.segments.windows(names.len()).any(|w| w == *names));
            let mut lines: Vec<usize> = hits.map(|path| path.line).collect();
            lines.dedup();
            (names.join("::"), lines)
        }
        Word::Tokens(texts) => {
            let is_hit = |window: &&[Token]| {
                window.iter().zip(*texts).all(|(token, text)| !token.test && token.text == *text)
            };
            let hits = file.tokens.windows(texts.len()).filter(is_hit);
            (texts.concat(), hits.filter_map(|w| w.first()).map(|token| token.line).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&[SourceFile::parse(path, text)]).len()
    }

    #[test]
    fn every_ban_finds_its_word_and_spares_its_exceptions() {
        for ban in BANS {
            let text = match ban.word {
                Word::Path(names) => format!("fn f() {{ {}; }}", names.join("::")),
                Word::Tokens(texts) => format!("fn f() {{ {}; }}", texts.concat()),
            };
            let path = format!("{}x.rs", if ban.within.is_empty() { "tests/" } else { ban.within });
            assert!(count(&path, &text) >= 1, "{text}");
            assert_eq!(count(&path, &format!("// {text}\n")), 0);
            assert_eq!(count(&path, &format!("#[cfg(test)] mod tests {{ {text} }}")), 0);
            for folder in ban.except {
                let inside = if folder.ends_with('/') { "x.rs" } else { "" };
                assert_eq!(count(&format!("{folder}{inside}"), &text), 0, "{text}");
            }
        }
    }

    #[test]
    fn braces_do_not_hide_a_word() {
        assert_eq!(count("src/engine/a.rs", "use std::{io, fs::{self, File}};"), 1);
        assert_eq!(count("src/state/a.rs", "use std::collections::{BTreeMap, HashMap};"), 1);
    }

    #[test]
    fn part_of_a_longer_word_is_not_the_word() {
        assert_eq!(count("src/a.rs", "#![forbid(unsafe_code)] fn tokio_like() { fs::read() }"), 0);
    }
}
