//! What the documents and the code both say must be the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::SourceFile;
use crate::tree::{Tree, Violation};

const FORMAT: &str = "docs/format.md";
const METRICS: &str = "docs/metrics.md";
const DURABILITY: &str = "docs/durability.md";
const README: &str = "README.md";
const HELPER_HEADING: &str = "## Authentication helper";
const HELPER: &str = "examples/auth_flow/readme.rs";
const METRIC_PREFIX: &str = "hightower_kv_";

/// The value of a constant, as far as a format needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i128),
    Bytes(String),
    /// Something else, compared as it is written, blanks apart.
    Text(String),
}

/// Every `NAME = value` of docs/format.md is the constant of that name in src/storage/format.rs.
pub(crate) fn check_constants(tree: &Tree) -> Vec<Violation> {
    let is_format = |path: &str| path == "src/storage/format.rs" || in_format_folder(path);
    let sources: Vec<&str> =
        tree.files.iter().filter(|(path, _)| is_format(path)).map(|(_, t)| t.as_str()).collect();
    if sources.is_empty() {
        return Vec::new();
    }
    let constants: BTreeMap<&str, &str> = sources.iter().flat_map(|s| constants_in(s)).collect();
    let rows = tree.text(FORMAT).map(rows_in).unwrap_or_default();
    if rows.is_empty() {
        let what = "must have blocks marked ```constants with the constants of storage::format";
        return vec![Violation::new(FORMAT, 1, what)];
    }
    let mut found = Vec::new();
    for (line, name, said) in rows {
        let Some(written) = constants.get(name) else {
            let what = format!("no constant `{name}` in storage::format");
            found.push(Violation::new(FORMAT, line, &what));
            continue;
        };
        let (said_value, value) = (value_of(said, &constants), value_of(written, &constants));
        if said_value != value {
            let what = format!("{name} is `{said}` here and `{written}` in the code ({value:?})");
            found.push(Violation::new(FORMAT, line, &what));
        }
    }
    found
}

fn in_format_folder(path: &str) -> bool {
    path.starts_with("src/storage/format/")
}

/// Name and expression of each `const NAME: T = expression;`.
fn constants_in(source: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("const ") {
        let Some(rest) = source.get(at + "const ".len()..) else {
            continue;
        };
        let declared = rest.split_once(':').and_then(|(name, rest)| {
            // The type may hold a semicolon, `[u8; 4]`, so the `=` is looked for first.
            let (_, rest) = rest.split_once(" =")?;
            let (expression, _) = rest.split_once(';')?;
            Some((name.trim(), expression.trim()))
        });
        found.extend(declared.filter(|(name, _)| name.bytes().all(is_constant_byte)));
    }
    found
}

fn is_constant_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

/// Line, name and value of each row in the blocks marked `constants`.
fn rows_in(document: &str) -> Vec<(usize, &str, &str)> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (i, line) in document.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside && line.trim() == "```constants";
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            let value = value.split("//").next().unwrap_or("");
            rows.push((i + 1, name.trim(), value.trim()));
        }
    }
    rows
}

fn value_of(expression: &str, constants: &BTreeMap<&str, &str>) -> Value {
    let trimmed = expression.trim().trim_start_matches(['*', '&']);
    if let Some(inner) = trimmed.strip_prefix("b\"").and_then(|rest| rest.strip_suffix('"')) {
        return Value::Bytes(inner.to_owned());
    }
    let tokens = SourceFile::parse("", expression).tokens;
    let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    let mut reader = Reader { words: &words, constants, depth: 0 };
    match reader.expression(0) {
        Some(number) if reader.words.is_empty() => Value::Number(number),
        _ => Value::Text(expression.split_whitespace().collect()),
    }
}

/// Reads an expression of integers by precedence climbing.
struct Reader<'a> {
    words: &'a [&'a str],
    constants: &'a BTreeMap<&'a str, &'a str>,
    /// How many constants stand around this one: a cycle must not hang the check.
    depth: usize,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// The operator that follows, its strength, and how many words it has.
    fn operator(&self) -> Option<(&'static str, u8, usize)> {
        match self.words {
            ["|", ..] => Some(("|", 1, 1)),
            ["<", "<", ..] => Some(("<<", 2, 2)),
            ["+", ..] => Some(("+", 3, 1)),
            ["-", ..] => Some(("-", 3, 1)),
            ["*", ..] => Some(("*", 4, 1)),
            ["/", ..] => Some(("/", 4, 1)),
            _ => None,
        }
    }

    fn expression(&mut self, strength_min: u8) -> Option<i128> {
        let mut left = self.operand()?;
        while let Some((operator, strength, len)) = self.operator() {
            if strength < strength_min {
                break;
            }
            self.words = self.words.get(len..)?;
            let right = self.expression(strength + 1)?;
            left = match operator {
                "|" => left | right,
                "<<" => left.checked_shl(u32::try_from(right).ok()?)?,
                "+" => left.checked_add(right)?,
                "-" => left.checked_sub(right)?,
                "*" => left.checked_mul(right)?,
                _ => left.checked_div(right)?,
            };
        }
        Some(left)
    }

    fn operand(&mut self) -> Option<i128> {
        let constants = self.constants;
        let depth = self.depth + 1;
        let word = self.take()?.to_owned();
        let value = if word == "(" {
            let inner = self.expression(0)?;
            (self.take()? == ")").then_some(inner)
        } else if let Some(expression) = constants.get(word.as_str()).filter(|_| depth < 32) {
            let tokens = SourceFile::parse("", expression).tokens;
            let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
            let mut reader = Reader { words: &words, constants, depth };
            reader.expression(0).filter(|_| reader.words.is_empty())
        } else {
            integer(&word)
        };
        // A cast changes no value that fits, and one that does not fit does not compile.
        while self.words.first() == Some(&"as") {
            self.words = self.words.get(2..)?;
        }
        value
    }
}

fn integer(word: &str) -> Option<i128> {
    let digits = word.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        _ => (10, digits.as_str()),
    };
    let end = digits.find(['u', 'i']).unwrap_or(digits.len());
    i128::from_str_radix(digits.get(..end)?, radix).ok()
}

/// The names of metrics in the code and in docs/metrics.md are the same.
pub(crate) fn check_metrics(tree: &Tree, sources: &[SourceFile]) -> Vec<Violation> {
    let is_name = |text: &str| {
        text.len() > METRIC_PREFIX.len()
            && text.starts_with(METRIC_PREFIX)
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut used = BTreeMap::new();
    for file in sources {
        for literal in file.literals.iter().filter(|l| !l.test && is_name(&l.text)) {
            used.entry(literal.text.as_str()).or_insert((file.path.as_str(), literal.line));
        }
    }
    let mut described = BTreeMap::new();
    for (i, line) in tree.text(METRICS).unwrap_or("").lines().enumerate() {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| is_name(word)) {
            described.entry(word).or_insert(i + 1);
        }
    }
    let mut found = Vec::new();
    for (name, (path, line)) in &used {
        if !described.contains_key(name) {
            let what = format!("metric `{name}` is not described in {METRICS}: add a row");
            found.push(Violation::new(path, *line, &what));
        }
    }
    for (name, line) in &described {
        if !used.contains_key(name) {
            let what = format!("metric `{name}` does not exist in src/: strike the row");
            found.push(Violation::new(METRICS, *line, &what));
        }
    }
    found
}

/// The lettered cases of recovery are the same in the code and in docs/durability.md.
pub(crate) fn check_recovery_cases(tree: &Tree) -> Vec<Violation> {
    let is_recovery =
        |path: &str| path == "src/storage/recovery.rs" || path.starts_with("src/storage/recovery/");
    let mut coded = Vec::new();
    for (_, text) in tree.files.iter().filter(|(path, _)| is_recovery(path)) {
        let rows =
            text.split("case(").skip(1).filter_map(|row| row.trim_start().strip_prefix('\''));
        coded.extend(rows.filter_map(|rest| rest.split_once('\'')).map(|(letter, _)| letter));
    }
    let document = tree.text(DURABILITY).unwrap_or("");
    let mut described = Vec::new();
    for row in document.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cell = row.split('|').next().unwrap_or("").trim();
        let is_letter = cell.len() == 1 && cell.bytes().all(|b| b.is_ascii_alphabetic());
        described.extend(is_letter.then_some(cell));
    }
    let mut found = Vec::new();
    let unique = coded.iter().collect::<BTreeSet<_>>().len();
    if unique != coded.len() {
        found.push(Violation::new("src/storage/recovery", 1, "a letter stands for two cases"));
    }
    if coded != described {
        let what = format!("its table of cases is {described:?}, the one in the code {coded:?}");
        found.push(Violation::new(DURABILITY, 1, &what));
    }
    found
}

/// The helper of README.md stands word for word in an example, which is compiled and run, and needs
/// nothing but this library.
pub(crate) fn check_helper(tree: &Tree) -> Vec<Violation> {
    let readme = tree.text(README).unwrap_or_default();
    let shown = readme
        .split_once(HELPER_HEADING)
        .and_then(|(_, rest)| rest.split_once("```rust\n"))
        .and_then(|(_, rest)| rest.split_once("```\n"))
        .map(|(code, _)| code);
    let Some(shown) = shown else {
        let what = format!("must show a block of Rust under `{HELPER_HEADING}`");
        return vec![Violation::new(README, 1, &what)];
    };
    let mut found = Vec::new();
    if tree.text(HELPER) != Some(shown) {
        let what = format!("must be the block of Rust under `{HELPER_HEADING}` of {README}");
        found.push(Violation::new(HELPER, 1, &what));
    }
    for (line, text) in (1..).zip(shown.lines()) {
        if text.starts_with("use ") && !text.starts_with("use hightower_kv::") {
            let what = "the helper is to need nothing but this library";
            found.push(Violation::new(HELPER, line, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(readme: &str, example: &str) -> usize {
        check_helper(&Tree::of(&[(README, readme), (HELPER, example)])).len()
    }

    #[test]
    fn a_helper_that_is_not_that_of_the_readme_is_found() {
        let readme = |code: &str| {
            format!(
                "```rust\nother\n```\n\n{HELPER_HEADING}\n\nText.\n\n```rust\n{code}```\nmore\n"
            )
        };
        let code = "use hightower_kv::Error;\n\nfn helper() {}\n";
        assert_eq!(helper(&readme(code), code), 0);
        assert_eq!(helper(&readme(code), "fn helper() {}\n"), 1);
        assert_eq!(helper("nothing", code), 1);
        let needs = "use tempfile::TempDir;\n";
        assert_eq!(helper(&readme(needs), needs), 1);
    }

    fn constants(code: &str, document: &str) -> usize {
        let tree = Tree::of(&[("src/storage/format.rs", code), (FORMAT, document)]);
        check_constants(&tree).len()
    }

    const CODE: &str = "/// A.\npub const ALIGN: u64 = 8;\npub(crate) const MAGIC: [u8; 4] = \
                        *b\"HTKV\";\npub const HEAD: usize = 4 * ALIGN as usize + (1 << 4);\n";

    #[test]
    fn constants_that_agree_pass() {
        let document = "x\n```constants\nALIGN = 0x8 // bytes\nMAGIC = b\"HTKV\"\nHEAD = 48\n```\n";
        assert_eq!(constants(CODE, document), 0);
    }

    #[test]
    fn a_constant_that_differs_or_does_not_exist_is_found() {
        assert_eq!(constants(CODE, "```constants\nALIGN = 9\nHEAD = 32\n```"), 2);
        assert_eq!(constants(CODE, "```constants\nMAGIC = b\"HTKX\"\n```"), 1);
        assert_eq!(constants(CODE, "```constants\nNOBODY = 1\n```"), 1);
    }

    #[test]
    fn a_format_without_its_document_is_found() {
        let tree = Tree::of(&[("src/storage/format.rs", CODE)]);
        assert_eq!(check_constants(&tree).len(), 1);
        assert_eq!(constants(CODE, "```\nALIGN = 8\n```"), 1);
    }

    #[test]
    fn numbers_are_read_as_rust_reads_them() {
        let none = BTreeMap::new();
        let number = |text| value_of(text, &none);
        assert_eq!(number("64 * 1024 - 2 * 8"), Value::Number(65_520));
        assert_eq!(number("1 << 10 | 1"), Value::Number(1025));
        assert_eq!(number("1_000u64"), Value::Number(1000));
        assert_eq!(number("size_of::<u64>()"), Value::Text("size_of::<u64>()".to_owned()));
    }

    fn metrics(code: &str, document: &str) -> usize {
        let tree = Tree::of(&[(METRICS, document)]);
        check_metrics(&tree, &[SourceFile::parse("src/metrics.rs", code)]).len()
    }

    #[test]
    fn a_metric_on_one_side_only_is_found() {
        let code = "const A: &str = \"hightower_kv_syncs\"; // hightower_kv_more\n";
        assert_eq!(metrics(code, "| `hightower_kv_syncs` | counter |"), 0);
        assert_eq!(metrics(code, ""), 1);
        assert_eq!(metrics("", "| `hightower_kv_syncs` | counter |"), 1);
        assert_eq!(metrics("", "all begin with `hightower_kv_`"), 0);
    }

    #[test]
    fn recovery_cases_that_differ_are_found() {
        let code = "const CASES: [Case; 2] = [case('A', x), case(\n    'B', y)];";
        let count = |code, document| {
            check_recovery_cases(&Tree::of(&[
                ("src/storage/recovery/mod.rs", code),
                (DURABILITY, document),
            ]))
            .len()
        };
        assert_eq!(count(code, "| | case |\n|---|---|\n| A | x |\n| B | y |\n"), 0);
        assert_eq!(count(code, "| A | x |\n"), 1);
        assert_eq!(count(code, ""), 1);
        assert_eq!(count("case('A', x), case('A', y)", "| A | x |\n| A | y |\n"), 1);
        assert_eq!(count("", ""), 0);
    }
}
