//! Just enough of Rust's grammar to tell code from comments and literals, and what stands under
//! `#[cfg(test)]` from what does not.

/// What a byte of a source file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// An identifier or number, `::`, or one other character of code.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Stands under `#[cfg(test)]`.
    pub(crate) test: bool,
    pub(crate) at: usize,
}

/// A string literal without its quotes, escapes as written.
#[derive(Clone, Debug)]
pub(crate) struct Literal {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) test: bool,
    pub(crate) at: usize,
}

/// A text taken apart.
#[derive(Debug)]
pub(crate) struct Lexed {
    pub(crate) tokens: Vec<Token>,
    pub(crate) literals: Vec<Literal>,
    /// The comments alone, in their lines; everything else is blank.
    pub(crate) comments: String,
}

pub(crate) fn lex(text: &str) -> Lexed {
    let (parts, mut literals) = split(text);
    let mut tokens = tokenize(&keep(text, &parts, Part::Code));
    mark_tests(&mut tokens, &mut literals);
    let comments = keep(text, &parts, Part::Comment);
    Lexed { tokens, literals, comments }
}

fn keep(text: &str, parts: &[Part], wanted: Part) -> String {
    let bytes = text.bytes().zip(parts);
    let kept = bytes.map(|(byte, part)| if byte == b'\n' || *part == wanted { byte } else { b' ' });
    String::from_utf8_lossy(&kept.collect::<Vec<u8>>()).into_owned()
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Says for each byte whether it is code, comment or literal, and lists the string literals.
fn split(text: &str) -> (Vec<Part>, Vec<Literal>) {
    let bytes = text.as_bytes();
    let mut parts = Vec::with_capacity(bytes.len());
    let mut literals = Vec::new();
    let mut line = 1;
    while let Some(rest) = bytes.get(parts.len()..).filter(|rest| !rest.is_empty()) {
        let at = parts.len();
        let after_word = at.checked_sub(1).and_then(|i| bytes.get(i)).is_some_and(|b| is_word(*b));
        let (len, part) = if rest.starts_with(b"//") {
            (rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()), Part::Comment)
        } else if rest.starts_with(b"/*") {
            (block_comment_len(rest), Part::Comment)
        } else if let Some((open, close, escapes)) = string_quotes(rest, after_word) {
            let len = string_len(rest, open, &close, escapes);
            let inner = rest.get(open..len.saturating_sub(close.len()).max(open)).unwrap_or(&[]);
            let text = String::from_utf8_lossy(inner).into_owned();
            literals.push(Literal { text, line, test: false, at });
            (len, Part::Literal)
        } else if rest.first() == Some(&b'\'') {
            char_len(rest).map_or((1, Part::Code), |len| (len, Part::Literal))
        } else {
            (1, Part::Code)
        };
        line += rest.iter().take(len).filter(|b| **b == b'\n').count();
        parts.resize(at + len, part);
    }
    (parts, literals)
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut len) = (0_usize, 0);
    while let Some(here) = rest.get(len..).filter(|here| !here.is_empty()) {
        if here.starts_with(b"/*") {
            (depth, len) = (depth + 1, len + 2);
        } else if here.starts_with(b"*/") {
            (depth, len) = (depth - 1, len + 2);
        } else {
            len += 1;
        }
        if depth == 0 {
            break;
        }
    }
    len
}

/// Length of the opening quote, the closing quote, and whether a backslash escapes.
fn string_quotes(rest: &[u8], after_word: bool) -> Option<(usize, Vec<u8>, bool)> {
    if rest.first() == Some(&b'"') {
        return Some((1, b"\"".to_vec(), true));
    }
    if after_word {
        return None;
    }
    let prefix = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count().min(3);
    let raw = match rest.get(..prefix)? {
        b"b" | b"c" => false,
        b"r" | b"br" | b"cr" => true,
        _ => return None,
    };
    let hashes = if raw { rest.iter().skip(prefix).take_while(|b| **b == b'#').count() } else { 0 };
    let open = prefix + hashes + 1;
    if rest.get(open - 1) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    Some((open, close, !raw))
}

fn string_len(rest: &[u8], open: usize, close: &[u8], escapes: bool) -> usize {
    let mut len = open;
    while let Some(here) = rest.get(len..).filter(|here| !here.is_empty()) {
        if escapes && here.first() == Some(&b'\\') {
            len += 2;
        } else if here.starts_with(close) {
            return len + close.len();
        } else {
            len += 1;
        }
    }
    rest.len()
}

/// The length of a character literal; `None` for a lifetime.
fn char_len(rest: &[u8]) -> Option<usize> {
    let second = *rest.get(1)?;
    if second == b'\\' {
        let end = rest.iter().skip(3).position(|b| *b == b'\'')?;
        return Some(end + 4);
    }
    let end = rest.iter().skip(2).take(4).position(|b| *b == b'\'')?;
    (end == 0 || !second.is_ascii()).then_some(end + 3)
}

fn tokenize(code: &str) -> Vec<Token> {
    let bytes = code.as_bytes();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let words = rest.iter().take_while(|b| is_word(**b)).count();
        let len = if rest.starts_with(b"::") { 2 } else { words.max(1) };
        let text = String::from_utf8_lossy(rest.get(..len).unwrap_or(rest)).into_owned();
        line += usize::from(text == "\n");
        if !text.trim().is_empty() {
            tokens.push(Token { text, line, test: false, at });
        }
        at += len;
    }
    tokens
}

/// The index behind the bracket that closes the one at `open`.
fn behind_bracket(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_i32;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

pub(crate) fn text_at(tokens: &[Token], i: usize) -> &str {
    tokens.get(i).map_or("", |token| token.text.as_str())
}

/// The index behind the item that starts at `start`, attributes included.
fn behind_item(tokens: &[Token], start: usize) -> usize {
    let mut i = start;
    while i < tokens.len() {
        match text_at(tokens, i) {
            "{" => return behind_bracket(tokens, i),
            ";" | "," | "}" => return i + 1,
            "(" | "[" => i = behind_bracket(tokens, i),
            _ => i += 1,
        }
    }
    i
}

/// Marks what `#[cfg(test)]` or `#[cfg(all(test, ..))]` leaves out of the library.
fn mark_tests(tokens: &mut [Token], literals: &mut [Literal]) {
    let mut i = 0;
    while i < tokens.len() {
        let inner = usize::from(text_at(tokens, i + 1) == "!");
        let begin = (text_at(tokens, i + 1 + inner), text_at(tokens, i + 2 + inner));
        if text_at(tokens, i) != "#" || begin != ("[", "cfg") {
            i += 1;
            continue;
        }
        let end = behind_bracket(tokens, i + 1 + inner);
        let first = text_at(tokens, i + 4 + inner);
        let all = first == "all" && text_at(tokens, i + 6 + inner) == "test";
        if first != "test" && !all {
            i = end;
            continue;
        }
        let (start, end) =
            if inner == 1 { (0, tokens.len()) } else { (i, behind_item(tokens, end)) };
        let from = tokens.get(start).map_or(0, |token| token.at);
        let to = tokens.get(end).map_or(usize::MAX, |token| token.at);
        tokens.iter_mut().skip(start).take(end - start).for_each(|token| token.test = true);
        for literal in literals.iter_mut().filter(|l| (from..to).contains(&l.at)) {
            literal.test = true;
        }
        i = end;
    }
}
