//! The tree of modules of one crate, in the order of their `mod` lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::SourceFile;
use crate::tree::Violation;

/// A module's path from the crate root; empty for the root.
pub(crate) type ModulePath = Vec<String>;

/// The library or one binary.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    /// The children that each module lists, first to last, tests left out.
    pub(crate) children: BTreeMap<ModulePath, Vec<String>>,
    /// The files that make up the crate outside its tests, each with its module.
    pub(crate) files: BTreeMap<String, ModulePath>,
    /// The files that only its tests use.
    test_files: BTreeSet<String>,
    faults: Vec<Violation>,
}

impl Modules {
    /// Follows the `mod` lines from `root`.
    pub(crate) fn of(root: &str, sources: &[SourceFile]) -> Self {
        let mut modules = Self::default();
        modules.add(root, &[], false, sources);
        modules
    }

    fn add(&mut self, path: &str, module: &[String], test: bool, sources: &[SourceFile]) {
        let Some(file) = sources.iter().find(|file| file.path == path) else {
            return;
        };
        if test {
            self.test_files.insert(path.to_owned());
        } else {
            self.files.insert(path.to_owned(), module.to_vec());
        }
        let (folder, children_folder) = folders_of(path);
        for line in &file.modules {
            let test = test || line.test;
            let mut child = module.to_vec();
            child.extend(line.scope.iter().cloned());
            if !test {
                self.children.entry(child.clone()).or_default().push(line.name.clone());
            }
            child.push(line.name.clone());
            if line.has_body {
                continue;
            }
            if let Some(named) = &line.path {
                if !test {
                    self.faults.push(Violation::new(path, 1, "`#[path]` is for test files only"));
                }
                self.add(&format!("{folder}{named}"), &child, test, sources);
                continue;
            }
            let mut inside = line.scope.clone();
            inside.push(line.name.clone());
            let stem = format!("{children_folder}{}", inside.join("/"));
            self.add(&format!("{stem}.rs"), &child, test, sources);
            self.add(&format!("{stem}/mod.rs"), &child, test, sources);
        }
    }

    pub(crate) fn is_module(&self, path: &[String]) -> bool {
        let Some((name, parent)) = path.split_last() else {
            return true;
        };
        self.position(parent, name).is_some()
    }

    /// Where `name` stands in the list of `parent`.
    pub(crate) fn position(&self, parent: &[String], name: &str) -> Option<usize> {
        self.children.get(parent)?.iter().position(|child| child == name)
    }

    /// Splits a path from the crate root into the module it reaches and the rest.
    pub(crate) fn resolve(&self, path: &[String]) -> (ModulePath, Vec<String>) {
        let mut module = Vec::new();
        let mut rest = path.iter();
        for segment in rest.by_ref() {
            module.push(segment.clone());
            if !self.is_module(&module) {
                let mut item: Vec<String> = module.pop().into_iter().collect();
                item.extend(rest.cloned());
                return (module, item);
            }
        }
        (module, Vec::new())
    }
}

/// The folder of a file, and the folder of its child modules; both end in `/`.
fn folders_of(path: &str) -> (String, String) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = format!("{folder}/");
    let stem = name.trim_end_matches(".rs");
    let own = matches!(stem, "mod" | "lib" | "main");
    let children = if own { folder.clone() } else { format!("{folder}{stem}/") };
    (folder, children)
}

/// The library and each binary.
pub(crate) fn crates(sources: &[SourceFile]) -> Vec<Modules> {
    let is_root = |path: &str| {
        let bin = path.strip_prefix("src/bin/").unwrap_or("");
        let in_folder = bin.split_once('/').is_some_and(|(_, rest)| rest == "main.rs");
        path == "src/lib.rs" || in_folder || (!bin.is_empty() && !bin.contains('/'))
    };
    let roots = sources.iter().filter(|file| is_root(&file.path));
    roots.map(|file| Modules::of(&file.path, sources)).collect()
}

/// Marks as tests the whole of each file that only a `mod` line under `#[cfg(test)]` leads to.
pub(crate) fn mark_test_files(sources: &mut [SourceFile]) {
    for modules in crates(sources) {
        for file in sources.iter_mut().filter(|file| modules.test_files.contains(&file.path)) {
            file.mark_as_test();
        }
    }
}

/// Every file below `src` belongs to a crate and says first what it is.
pub(crate) fn check_files(sources: &[SourceFile]) -> Vec<Violation> {
    let crates = crates(sources);
    let mut found = Vec::new();
    for file in sources {
        let path = file.path.as_str();
        let is_test = crates.iter().any(|modules| modules.test_files.contains(path));
        if !is_test && !crates.iter().any(|modules| modules.files.contains_key(path)) {
            let what = "no `mod` line leads here: declare the module or delete the file";
            found.push(Violation::new(path, 1, what));
        }
        if !is_test && !file.text.starts_with("//!") {
            let what = "begin with `//!` and one sentence that says what the file is";
            found.push(Violation::new(path, 1, what));
        }
    }
    found.extend(crates.into_iter().flat_map(|modules| modules.faults));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn check(files: &[(&str, &str)]) -> usize {
        check_files(&Tree::of(files).rust_files(&["src/"])).len()
    }

    #[test]
    fn a_file_that_no_mod_line_names_is_found() {
        let lib = ("src/lib.rs", "//! L.\nmod a;\n#[cfg(test)]\nmod b;\n");
        let (a, b) = (("src/a/mod.rs", "//! A.\n"), ("src/b.rs", "//! B.\n"));
        assert_eq!(check(&[lib, a, b]), 0);
        assert_eq!(check(&[lib, a, b, ("src/a/c.rs", "//! C.\n")]), 1);
    }

    #[test]
    fn a_file_of_tests_is_marked_as_such() {
        let lib = ("src/lib.rs", "//! L.\nmod a;\n");
        let a = ("src/a/mod.rs", "//! A.\n#[cfg(test)]\nmod tests;\n");
        let mut sources =
            Tree::of(&[lib, a, ("src/a/tests.rs", "fn f() {}\n")]).rust_files(&["src/"]);
        assert_eq!(check_files(&sources).len(), 0);
        mark_test_files(&mut sources);
        let lines: Vec<_> = sources.iter().map(SourceFile::code_lines).collect();
        assert_eq!(lines, [1, 0, 0]);
    }

    #[test]
    fn a_binary_is_a_crate_of_its_own() {
        let main = ("src/bin/tool/main.rs", "//! Tool.\nmod args;\n");
        assert_eq!(check(&[main, ("src/bin/tool/args.rs", "//! A.\n")]), 0);
        assert_eq!(check(&[main, ("src/bin/tool/other.rs", "//! O.\n")]), 1);
    }

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        assert_eq!(check(&[("src/lib.rs", "// L.\n")]), 1);
    }

    #[test]
    fn a_test_may_stand_in_a_file_beside_it_and_nothing_else_may() {
        let test = ("src/a_test.rs", "//! T.\n");
        let live = ("src/lib.rs", "//! L.\n#[path = \"a_test.rs\"]\nmod a;\n");
        assert_eq!(check(&[live, test]), 1);
        let under_test = "//! L.\n#[cfg(test)]\n#[path = \"a_test.rs\"]\nmod a;\n";
        assert_eq!(check(&[("src/lib.rs", under_test), test]), 0);
    }
}
