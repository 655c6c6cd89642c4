//! The files of the package, and what a check says about a place in them.

use std::fs;
use std::io;
use std::path::Path;

use crate::source::SourceFile;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

impl Violation {
    pub(crate) fn new(file: &str, line: usize, what: &str) -> Self {
        Self(format!("{file}:{line}: {what}"))
    }
}

/// All files of the package: path relative to its root with `/` between the parts, and the text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<(String, String)>,
}

impl Tree {
    /// Reads the package in the current directory, where cargo starts tests.
    pub(crate) fn read() -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add_folder(Path::new("."), "")?;
        tree.files.sort();
        Ok(tree)
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if name != "target" && name != ".git" {
                    self.add_folder(&entry.path(), &format!("{path}/"))?;
                }
            } else if kind.is_file() && name != ".git" {
                let bytes = fs::read(entry.path())?;
                self.files.push((path, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { files: files.collect() }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }

    /// The Rust files below the given folders of this package, parsed.
    pub(crate) fn rust_files(&self, folders: &[&str]) -> Vec<SourceFile> {
        let inside = |path: &str| folders.iter().any(|folder| path.starts_with(folder));
        let files = self.files.iter().filter(|(path, _)| has_ending(path, "rs") && inside(path));
        files.map(|(path, text)| SourceFile::parse(path, text)).collect()
    }
}

pub(crate) fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == ending)
}
