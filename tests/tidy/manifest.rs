//! What Cargo.toml may ask for, and that each dependency is accounted for.

use std::collections::BTreeMap;

use crate::tree::{Tree, Violation};

const MANIFEST: &str = "Cargo.toml";
const ACCOUNT: &str = "docs/dependencies.md";

/// Line and what is asked for of each direct dependency, the package itself apart.
fn dependencies(manifest: &str) -> BTreeMap<String, (usize, String)> {
    let mut found = BTreeMap::new();
    let (mut section, mut package) = ("", "");
    for (i, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            // `[dependencies.name]` is a table of its own.
            if let Some((_, name)) = section.rsplit_once("dependencies.") {
                found.insert(name.to_owned(), (i + 1, String::new()));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if section == "package" && key == "name" {
            package = value.trim_matches('"');
        }
        if section.ends_with("dependencies") {
            found.insert(key.to_owned(), (i + 1, value.to_owned()));
        } else if let (Some((_, name)), "version") = (section.rsplit_once("dependencies."), key) {
            found.insert(name.to_owned(), (i + 1, value.to_owned()));
        }
    }
    found.remove(package);
    found
}

/// Every dependency names the version it needs.
pub(crate) fn check_versions(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, (line, value)) in dependencies(tree.text(MANIFEST).unwrap_or("")) {
        let named = value.starts_with('"') || value.contains("version");
        if !named || value.contains('*') {
            let what = format!("`{name}`: name the version that is needed, without `*`");
            found.push(Violation::new(MANIFEST, line, &what));
        }
    }
    found
}

/// docs/dependencies.md has a row for every direct dependency, and for nothing else.
pub(crate) fn check_account(tree: &Tree) -> Vec<Violation> {
    let wanted = dependencies(tree.text(MANIFEST).unwrap_or(""));
    let mut rows = BTreeMap::new();
    for (i, line) in tree.text(ACCOUNT).unwrap_or("").lines().enumerate() {
        let name = line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
        rows.extend(name.map(|(name, _)| (name.to_owned(), i + 1)));
    }
    let mut found = Vec::new();
    for (name, (line, _)) in &wanted {
        if !rows.contains_key(name) {
            let what = format!("`{name}`: say in {ACCOUNT} what for and what was rejected");
            found.push(Violation::new(MANIFEST, *line, &what));
        }
    }
    for (name, line) in &rows {
        if !wanted.contains_key(name) {
            let what = format!("`{name}` is no direct dependency: strike the row");
            found.push(Violation::new(ACCOUNT, *line, &what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[package]\nname = \"kv\"\n[features]\na = [\"dep:x\"]\n";

    fn tree(dependencies: &str, account: &str) -> Tree {
        Tree::of(&[(MANIFEST, &format!("{HEAD}{dependencies}")), (ACCOUNT, account)])
    }

    #[test]
    fn a_version_that_is_not_named_is_found() {
        let count = |text: &str| check_versions(&tree(text, "")).len();
        assert_eq!(count("[dependencies]\nx = \"1.2\"\ny = { version = \"2\" }\n"), 0);
        assert_eq!(count("[dependencies]\nx = \"*\"\n"), 1);
        assert_eq!(count("[dev-dependencies]\ny = { version = \"1.*\" }\n"), 1);
        assert_eq!(count("[dependencies]\nx = { path = \"../x\" }\n"), 1);
        assert_eq!(count("[target.'cfg(unix)'.dependencies.x]\nversion = \"*\"\n"), 1);
        assert_eq!(count("[dev-dependencies]\nkv = { path = \".\" }\n"), 0);
    }

    #[test]
    fn a_dependency_without_a_row_and_a_row_without_a_dependency_are_found() {
        let count = |text: &str, account: &str| check_account(&tree(text, account)).len();
        let text = "[dependencies]\nx = \"1\"\n[dev-dependencies]\ny = \"1\"\n";
        assert_eq!(count(text, "| `x` | a |\n| `y` | b |\n"), 0);
        assert_eq!(count(text, "| `x` | a |\n"), 1);
        assert_eq!(count(text, "| `x` | a |\n| `y` | b |\n| `z` | c |\n"), 1);
    }
}
