//! Who may use whom: the order of the `mod` lines, the crate root, and the table of folders.

use std::collections::BTreeMap;

use crate::modules::{ModulePath, Modules, crates};
use crate::source::{PathUse, SourceFile};
use crate::tree::Violation;

/// What a folder may use of this crate, by module path; its own modules always.
enum Uses {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// The table of ARCHITECTURE.md. What is not named here is bound by the order alone.
const FOLDERS: &[(&str, Uses)] = &[
    ("types", Uses::Only(&[])),
    ("env", Uses::Only(&["types"])),
    ("command", Uses::Only(&["types"])),
    ("storage", Uses::Only(&["types", "env", "metrics", "config"])),
    (
        "state",
        Uses::Only(&[
            "types",
            "command",
            "storage::error",
            "storage::index",
            "storage::merge_cursor",
            "storage::key_filter",
            "storage::prefix_index",
            "storage::stretch",
            "storage::cuts",
            "storage::record",
            "storage::run",
            "storage::table",
            "storage::table_set",
        ]),
    ),
    ("engine", Uses::AllBut(&["raft", "auth"])),
    ("replication", Uses::AllBut(&["raft", "auth"])),
    ("raft", Uses::AllBut(&["auth"])),
    ("auth", Uses::AllBut(&["storage", "state", "raft"])),
];

/// One use of one module by another.
struct Edge<'a> {
    file: &'a str,
    path: &'a PathUse,
    from: ModulePath,
    to: ModulePath,
    /// What follows the module in the path.
    item: Vec<String>,
}

/// The uses that a crate makes of its own modules, outside tests.
fn edges<'a>(modules: &Modules, sources: &'a [SourceFile]) -> Vec<Edge<'a>> {
    let mut edges = Vec::new();
    for file in sources {
        let Some(module) = modules.files.get(&file.path) else {
            continue;
        };
        for path in file.paths.iter().filter(|path| !path.test) {
            let mut from = module.clone();
            from.extend(path.scope.iter().cloned());
            let Some(absolute) = absolute(modules, &from, &path.segments) else {
                continue;
            };
            let (to, item) = modules.resolve(&absolute);
            edges.push(Edge { file: &file.path, path, from, to, item });
        }
    }
    edges
}

/// The path from the crate root; `None` when it does not lead to a module of ours.
fn absolute(modules: &Modules, from: &[String], segments: &[String]) -> Option<ModulePath> {
    let (first, rest) = segments.split_first()?;
    let mut base = from.to_vec();
    let mut rest = rest;
    match first.as_str() {
        "crate" => base.clear(),
        "self" if !rest.is_empty() => {}
        "super" => {
            base.pop();
            while let Some((_, tail)) = rest.split_first().filter(|(next, _)| *next == "super") {
                base.pop();
                rest = tail;
            }
        }
        _ => {
            base.push(first.clone());
            // A lone word is a name of something else far more often than of a child module.
            if !modules.is_module(&base) || rest.is_empty() {
                return None;
            }
        }
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn violation(edge: &Edge<'_>, what: &str) -> Violation {
    let path = edge.path.segments.join("::");
    Violation::new(edge.file, edge.path.line, &format!("`{path}`: {what}"))
}

/// A module uses its own children and what stands above it in the list that both are in.
pub(crate) fn check_order(sources: &[SourceFile]) -> Vec<Violation> {
    crates(sources).iter().flat_map(|modules| order_of(modules, sources)).collect()
}

fn order_of(modules: &Modules, sources: &[SourceFile]) -> Vec<Violation> {
    let edges = edges(modules, sources);
    let mut found = Vec::new();
    for edge in &edges {
        let common = edge.from.iter().zip(&edge.to).take_while(|(a, b)| a == b).count();
        let (Some(from), Some(to)) = (edge.from.get(common), edge.to.get(common)) else {
            continue;
        };
        let folder = edge.to.get(..common).unwrap_or(&[]);
        if modules.position(folder, to) >= modules.position(folder, from) {
            let what = format!(
                "`{from}` may use only what its list declares above it: move the line of `{to}` \
                 up, or what is shared down into a module that both may use",
            );
            found.push(violation(edge, &what));
        }
    }
    found.extend(items_of_folders(modules, sources, &edges));
    found
}

/// Items that a `mod.rs` defines itself have a place in its list too: behind every child that they
/// use and before every child that uses them.
fn items_of_folders(
    modules: &Modules,
    sources: &[SourceFile],
    edges: &[Edge<'_>],
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut last_used: BTreeMap<&[String], usize> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| !edge.path.reexport) {
        if let Some(child) = edge.to.strip_prefix(edge.from.as_slice()).and_then(<[_]>::first) {
            let at = modules.position(&edge.from, child).unwrap_or(0);
            let last = last_used.entry(&edge.from).or_default();
            *last = at.max(*last);
        }
    }
    for edge in edges.iter().filter(|edge| !edge.to.is_empty() && edge.from != edge.to) {
        let Some(child) = edge.from.strip_prefix(edge.to.as_slice()).and_then(<[_]>::first) else {
            continue;
        };
        let item = edge.item.first().map_or("*", String::as_str);
        if item == "*" {
            found.push(violation(edge, "name the items, not the folder that this stands in"));
        } else if imports(modules, sources, &edge.to, item) {
            found.push(violation(edge, "import it from the module that defines it"));
        } else if is_constant(item) {
            // It calls nothing, so what it measures may measure itself by it.
        } else if last_used.get(edge.to.as_slice()) >= modules.position(&edge.to, child).as_ref() {
            let what = "a cycle: the `mod.rs` that defines it uses this module or a later one; \
                        move the item into a module of its own";
            found.push(violation(edge, what));
        }
    }
    found
}

fn is_constant(item: &str) -> bool {
    item.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn imports(modules: &Modules, sources: &[SourceFile], module: &[String], item: &str) -> bool {
    let files = sources
        .iter()
        .filter(|file| modules.files.get(&file.path).is_some_and(|path| path.as_slice() == module));
    files.flat_map(|file| &file.paths).any(|path| path.imported.as_deref() == Some(item))
}

/// Nothing is imported through the crate root; the library does not name itself.
pub(crate) fn check_root(sources: &[SourceFile], library: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for modules in crates(sources) {
        for edge in edges(&modules, sources) {
            if edge.to.is_empty() && !edge.from.is_empty() {
                let what = "goes through the crate root and hides which module is used: name the \
                            module that defines it";
                found.push(violation(&edge, what));
            }
        }
    }
    for file in sources.iter().filter(|file| !file.path.starts_with("src/bin/")) {
        for token in file.tokens.iter().filter(|token| !token.test && token.text == library) {
            let what = format!("`{library}` inside the library: write `crate`");
            found.push(Violation::new(&file.path, token.line, &what));
        }
    }
    found
}

/// The table of folders.
pub(crate) fn check_folders(sources: &[SourceFile]) -> Vec<Violation> {
    let modules = Modules::of("src/lib.rs", sources);
    let mut found = Vec::new();
    for edge in edges(&modules, sources) {
        let (Some(from), Some(to)) = (edge.from.first(), edge.to.first()) else {
            continue;
        };
        let Some((_, uses)) = FOLDERS.iter().find(|(folder, _)| folder == from) else {
            continue;
        };
        if from == to {
            continue;
        }
        let path = edge.to.join("::");
        let names = |list: &[&str]| {
            list.iter().any(|name| path == *name || path.starts_with(&format!("{name}::")))
        };
        let what = match uses {
            Uses::Only(list) if !names(list) => format!("`{from}` may use only {list:?}"),
            Uses::AllBut(list) if names(list) => format!("`{from}` may use none of {list:?}"),
            _ => continue,
        };
        found.push(violation(&edge, &format!("{what} (ARCHITECTURE.md)")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn sources(files: &[(&str, &str)]) -> Vec<SourceFile> {
        Tree::of(files).rust_files(&["src/"])
    }

    fn order(files: &[(&str, &str)]) -> usize {
        check_order(&sources(files)).len()
    }

    const LIB: (&str, &str) = ("src/lib.rs", "mod types; mod env; mod storage; mod engine;");

    #[test]
    fn using_a_later_module_is_found() {
        assert_eq!(order(&[LIB, ("src/env.rs", "use crate::types::A;")]), 0);
        assert_eq!(order(&[LIB, ("src/env.rs", "use crate::{types::A, engine::B};")]), 1);
        assert_eq!(order(&[LIB, ("src/env.rs", "fn f() { super::storage::g() }")]), 1);
    }

    #[test]
    fn using_a_later_module_in_tests_is_free() {
        let text = "#[cfg(test)] mod tests { use crate::engine::B; }";
        assert_eq!(order(&[LIB, ("src/env.rs", text)]), 0);
        let files = [
            LIB,
            ("src/env/mod.rs", "#[cfg(test)] mod tests;"),
            ("src/env/tests.rs", "use crate::engine::B;"),
        ];
        assert_eq!(order(&files), 0);
    }

    #[test]
    fn the_list_of_a_folder_is_an_order_too() {
        let folder = ("src/storage/mod.rs", "mod frame; mod log;");
        assert_eq!(order(&[LIB, folder, ("src/storage/log.rs", "use super::frame::F;")]), 0);
        assert_eq!(order(&[LIB, folder, ("src/storage/frame.rs", "use super::log::L;")]), 1);
        let text = "use crate::storage::log::L;";
        assert_eq!(order(&[LIB, folder, ("src/storage/frame.rs", text)]), 1);
    }

    #[test]
    fn a_binary_has_an_order_of_its_own() {
        let main = ("src/bin/tool/main.rs", "mod args; mod run;");
        assert_eq!(order(&[main, ("src/bin/tool/run.rs", "use crate::args::A;")]), 0);
        assert_eq!(order(&[main, ("src/bin/tool/args.rs", "use crate::run::A;")]), 1);
    }

    #[test]
    fn an_item_of_the_folder_may_not_close_a_cycle() {
        let child = ("src/env/clock.rs", "use super::Env;");
        let free = ("src/env/mod.rs", "mod clock; pub use self::clock::Clock; struct Env;");
        assert_eq!(order(&[LIB, free, child]), 0);
        let cycle = ("src/env/mod.rs", "mod clock; use self::clock::Clock; struct Env(Clock);");
        assert_eq!(order(&[LIB, cycle, child]), 1);
        let text = "mod clock; use self::clock::Clock; const TICKS_MAX: u8 = 1;";
        let constant = ("src/env/clock.rs", "use super::TICKS_MAX;");
        assert_eq!(order(&[LIB, ("src/env/mod.rs", text), constant]), 0);
    }

    #[test]
    fn a_reexport_of_the_folder_is_not_used_inside_it() {
        let folder = ("src/env/mod.rs", "mod fs; mod clock; pub use self::fs::Fs;");
        assert_eq!(order(&[LIB, folder, ("src/env/clock.rs", "use super::Fs;")]), 1);
        assert_eq!(order(&[LIB, folder, ("src/env/clock.rs", "use super::*;")]), 1);
        assert_eq!(order(&[LIB, folder, ("src/env/clock.rs", "use crate::env;")]), 1);
    }

    #[test]
    fn an_import_through_the_crate_root_is_found() {
        let check = |text| check_root(&sources(&[LIB, ("src/env.rs", text)]), "kv").len();
        assert_eq!(check("use crate::types::A;"), 0);
        assert_eq!(check("use crate::A;"), 1);
        assert_eq!(check("use super::A;"), 1);
        assert_eq!(check("use crate::{index::A, types};"), 1);
        assert_eq!(check("fn f() { crate::helper() }"), 1);
        assert_eq!(check("use kv::types::A;"), 1);
    }

    #[test]
    fn the_table_of_folders_is_kept() {
        let lib = ("src/lib.rs", "mod types; mod env; mod command; mod storage; mod state;");
        let folder = ("src/storage/mod.rs", "mod index; mod log;");
        let check = |path, text| check_folders(&sources(&[lib, folder, (path, text)])).len();
        assert_eq!(check("src/command.rs", "use crate::types::A;"), 0);
        assert_eq!(check("src/command.rs", "use crate::env::A;"), 1);
        assert_eq!(check("src/storage/log.rs", "use crate::command::A;"), 1);
        assert_eq!(check("src/state.rs", "use crate::storage::index::A;"), 0);
        assert_eq!(check("src/state.rs", "use crate::storage::log::A;"), 1);
        assert_eq!(check("src/state.rs", "use crate::storage::A;"), 1);
    }
}
