//! A source file as the checks see it: its `mod` lines, and its paths with `use` trees taken apart.

use crate::lexer::{Lexed, Literal, Token, is_word, lex, text_at};

/// `mod name;` or `mod name { .. }`.
#[derive(Clone, Debug)]
pub(crate) struct ModuleLine {
    pub(crate) name: String,
    pub(crate) test: bool,
    /// The modules with a body in this file that stand around it.
    pub(crate) scope: Vec<String>,
    /// What `#[path = ".."]` says.
    pub(crate) path: Option<String>,
    pub(crate) has_body: bool,
}

/// One path, or one leaf of a `use` with braces.
#[derive(Clone, Debug)]
pub(crate) struct PathUse {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) test: bool,
    pub(crate) scope: Vec<String>,
    /// The name that a `use` brings in; `None` for a path in other code.
    pub(crate) imported: Option<String>,
    /// It stands in a `pub use`.
    pub(crate) reexport: bool,
}

#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The comments alone, in their lines; everything else is blank.
    pub(crate) comments: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) literals: Vec<Literal>,
    pub(crate) modules: Vec<ModuleLine>,
    pub(crate) paths: Vec<PathUse>,
}

impl SourceFile {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let Lexed { tokens, literals, comments } = lex(text);
        let mut walk = Walk { tokens: &tokens, literals: &literals, ..Walk::default() };
        walk.run();
        let Walk { modules, paths, .. } = walk;
        let (path, text) = (path.to_owned(), text.to_owned());
        Self { path, text, comments, tokens, literals, modules, paths }
    }

    pub(crate) fn mark_as_test(&mut self) {
        self.tokens.iter_mut().for_each(|token| token.test = true);
        self.literals.iter_mut().for_each(|literal| literal.test = true);
        self.paths.iter_mut().for_each(|path| path.test = true);
    }

    /// Lines with code in them that do not stand under `#[cfg(test)]`.
    pub(crate) fn code_lines(&self) -> usize {
        let mut lines: Vec<usize> =
            self.tokens.iter().filter(|token| !token.test).map(|token| token.line).collect();
        lines.dedup();
        lines.len()
    }
}

/// One pass over the tokens that collects `mod` lines and paths.
#[derive(Default)]
struct Walk<'a> {
    tokens: &'a [Token],
    literals: &'a [Literal],
    modules: Vec<ModuleLine>,
    paths: Vec<PathUse>,
    /// Modules with a body around here, each with the brace depth outside it.
    scope: Vec<(String, usize)>,
    depth: usize,
    /// In a `use` statement: whether it is `pub`.
    in_use: Option<bool>,
    path_attribute: Option<String>,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut i = 0;
        while let Some(token) = self.tokens.get(i) {
            i = match token.text.as_str() {
                "#" => self.attribute(i),
                "mod" => self.module(i),
                "use" => {
                    let before = i.checked_sub(1).map_or("", |i| text_at(self.tokens, i));
                    self.in_use = Some(before == "pub" || before == ")");
                    i + 1
                }
                text if text.bytes().all(is_word) => self.path(i, &[]),
                text => {
                    self.punctuation(text);
                    i + 1
                }
            };
        }
    }

    fn punctuation(&mut self, text: &str) {
        match text {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.scope.retain(|(_, outside)| *outside < self.depth);
            }
            ";" => self.in_use = None,
            _ => return,
        }
        self.path_attribute = None;
    }

    /// Notes `#[path = ".."]`; other attributes are walked through as code.
    fn attribute(&mut self, i: usize) -> usize {
        if text_at(self.tokens, i + 2) == "path" && text_at(self.tokens, i + 1) == "[" {
            let at = self.tokens.get(i).map_or(0, |token| token.at);
            let literal = self.literals.iter().find(|literal| literal.at > at);
            self.path_attribute = literal.map(|literal| literal.text.clone());
        }
        i + 1
    }

    fn scope_names(&self) -> Vec<String> {
        self.scope.iter().map(|(name, _)| name.clone()).collect()
    }

    fn module(&mut self, i: usize) -> usize {
        let Some(name) = self.tokens.get(i + 1) else {
            return i + 1;
        };
        let has_body = match text_at(self.tokens, i + 2) {
            "{" => true,
            ";" => false,
            _ => return i + 1,
        };
        let (scope, path) = (self.scope_names(), self.path_attribute.take());
        let (test, name) = (name.test, name.text.clone());
        self.modules.push(ModuleLine { name: name.clone(), test, scope, path, has_body });
        if has_body {
            self.scope.push((name, self.depth));
        }
        i + 2
    }

    /// Collects the path at `i` with all leaves of its braces; returns the index behind it.
    fn path(&mut self, i: usize, prefix: &[String]) -> usize {
        let mut segments = prefix.to_vec();
        let mut next = i;
        loop {
            match text_at(self.tokens, next) {
                "{" => return self.group(next + 1, &segments),
                "" => break,
                text => segments.push(text.to_owned()),
            }
            next += 1;
            let follows = text_at(self.tokens, next + 1);
            let goes_on = follows == "{" && self.in_use.is_some()
                || follows == "*"
                || follows.bytes().all(is_word);
            if text_at(self.tokens, next) != "::" || !goes_on {
                break;
            }
            next += 1;
        }
        let mut imported = segments.last().cloned();
        if prefix.len() < segments.len() && segments.last().is_some_and(|last| last == "self") {
            if segments.len() > 1 {
                segments.pop();
            }
            imported = segments.last().cloned();
        }
        if self.in_use.is_some() && text_at(self.tokens, next) == "as" {
            imported = self.tokens.get(next + 1).map(|token| token.text.clone());
            next += 2;
        }
        self.push_path(i, segments, imported);
        next
    }

    fn group(&mut self, start: usize, prefix: &[String]) -> usize {
        let mut i = start;
        while i < self.tokens.len() {
            match text_at(self.tokens, i) {
                "}" => return i + 1,
                "," | "::" => i += 1,
                _ => i = self.path(i, prefix),
            }
        }
        i
    }

    fn push_path(&mut self, i: usize, segments: Vec<String>, imported: Option<String>) {
        let Some(token) = self.tokens.get(i) else {
            return;
        };
        // `pub(in crate::a)` and `pub(crate)` grant, they do not use.
        let before = |n: usize| i.checked_sub(n).map_or("", |i| text_at(self.tokens, i));
        if (before(1), before(2), before(3)) == ("in", "(", "pub")
            || (before(1), before(2)) == ("(", "pub")
        {
            return;
        }
        let imported = imported.filter(|_| self.in_use.is_some());
        let reexport = self.in_use == Some(true);
        let (line, test, scope) = (token.line, token.test, self.scope_names());
        self.paths.push(PathUse { segments, line, test, scope, imported, reexport });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SourceFile {
        SourceFile::parse("src/a.rs", text)
    }

    fn paths(text: &str) -> Vec<String> {
        let paths = parse(text).paths.into_iter().filter(|path| path.segments.len() > 1);
        paths.map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "// a::b\n/* c::d /* */ e::f */ let x = \"g::h\"; r#\"i::j\"\"#; '\"'; k::l";
        assert_eq!(paths(text), ["k::l"]);
        assert_eq!(parse(text).literals.len(), 2);
        assert!(parse(text).comments.contains("e::f"));
    }

    #[test]
    fn a_lifetime_is_not_a_literal() {
        assert_eq!(paths("fn f<'a>(x: &'a str) -> m::T<'a> { '\\'' ; n::o }"), ["m::T", "n::o"]);
    }

    #[test]
    fn leaves_of_braces_are_whole_paths() {
        let text = "use crate::{a::{self, B as C}, d::*};";
        assert_eq!(paths(text), ["crate::a", "crate::a::B", "crate::d::*"]);
        let imported: Vec<_> = parse(text).paths.into_iter().filter_map(|p| p.imported).collect();
        assert_eq!(imported, ["a", "C", "*"]);
    }

    #[test]
    fn granting_a_folder_is_not_using_it() {
        assert_eq!(paths("pub(in crate::a) fn f() {} pub(crate) struct S;"), [""; 0]);
    }

    #[test]
    fn what_stands_under_cfg_test_is_marked_and_nothing_else() {
        let text = "#[cfg(test)]\n#[path = \"a_test.rs\"]\nmod tests;\nfn f() {}\n\
                    #[cfg(all(test, unix))] mod more { fn g() { [0; 4]; } }\nfn h() {}\n\
                    #[cfg(any(test, feature = \"testing\"))] fn i() {}";
        let file = parse(text);
        let live: Vec<_> = file.tokens.iter().filter(|token| !token.test).collect();
        let names = ["f", "h", "i"];
        assert!(names.iter().all(|name| live.iter().any(|token| token.text == *name)));
        assert!(!live.iter().any(|token| token.text == "g"));
        assert_eq!(file.modules.len(), 2);
        assert_eq!(file.modules.first().unwrap().path.as_deref(), Some("a_test.rs"));
        assert_eq!(file.code_lines(), 3);
    }

    #[test]
    fn modules_with_a_body_are_a_scope() {
        let file = parse("mod a { mod b { use super::c; } } use super::d;");
        let scopes: Vec<_> = file.paths.iter().map(|path| path.scope.join("::")).collect();
        assert_eq!(scopes, ["a::b", ""]);
    }
}
