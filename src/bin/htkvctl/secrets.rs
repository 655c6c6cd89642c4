//! Where secrets come from: standard input, a file, or the environment. Never the command line,
//! which every user of the machine can read.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::terminal;

/// Text that is wiped from memory when it is dropped, and that nothing prints.
pub(crate) type Secret = Zeroizing<String>;

/// What is asked for, and where it may be.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What it is called in questions and errors.
    pub(crate) what: &'static str,
    /// The option that names a file.
    pub(crate) option: &'static str,
    /// The variable that holds it.
    pub(crate) variable: &'static str,
    /// The variable that names a file.
    pub(crate) variable_file: &'static str,
    /// How long it may be.
    pub(crate) bytes_max: usize,
}

/// What is done where no place was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// Standard input is read; a person is asked, twice.
    AskTwice,
    /// It is an error that names the places.
    Refuse,
}

impl Wanted {
    /// The secret: of the file of the option, otherwise of the environment, otherwise as `unnamed`
    /// says.
    ///
    /// # Errors
    /// What was expected, where, and what was found.
    pub(crate) fn get(&self, file: Option<&Path>, unnamed: Unnamed) -> Result<Secret> {
        match self.named(file)? {
            Some(secret) => Ok(secret),
            None if unnamed == Unnamed::Refuse => Err(Failure::Usage(format!(
                "{}: expected {} FILE, {} or {}, found none of them",
                self.what, self.option, self.variable, self.variable_file
            ))),
            None if terminal::is_there() => self.ask_twice(),
            None => self.of_standard_input(),
        }
    }

    /// The secret: of the file of the option, otherwise of the environment; `None` where neither
    /// names a place.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub(crate) fn named(&self, file: Option<&Path>) -> Result<Option<Secret>> {
        if let Some(file) = file {
            return self.of_file(file, self.option).map(Some);
        }
        match (variable(self.variable), variable(self.variable_file)) {
            (Some(_), Some(_)) => Err(Failure::Usage(format!(
                "{}: expected {} or {}, found both",
                self.what, self.variable, self.variable_file
            ))),
            (Some(value), None) => {
                // Whoever fills variables from files often leaves the end of the line.
                let bytes = Zeroizing::new(value.into_encoded_bytes());
                let mut rest = bytes.as_slice();
                let line = line_of(&mut rest, self.bytes_max);
                let line =
                    if rest.is_empty() { line } else { line.and(Err("more than one line".into())) };
                self.check(line, self.variable).map(Some)
            }
            (None, Some(path)) => self.of_file(&PathBuf::from(path), self.variable_file).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn of_file(&self, path: &Path, named_by: &str) -> Result<Secret> {
        if path == "-" {
            return if terminal::is_there() {
                self.ask(self.what)
            } else {
                self.of_standard_input()
            };
        }
        let place = format!("{} ({named_by})", path.display());
        let failed = |error| Failure::Other(format!("{}: cannot read {place}: {error}", self.what));
        let file = open(path).map_err(failed)?;
        warn_if_others_read(&file, path);
        let mut reader = BufReader::with_capacity(self.bytes_max + 2, file);
        let line = line_of(&mut reader, self.bytes_max);
        let is_last = line.is_err() || reader.fill_buf().map_err(failed)?.is_empty();
        let line = if is_last { line } else { Err("more than one line".to_owned()) };
        self.check(line, &place)
    }

    fn of_standard_input(&self) -> Result<Secret> {
        self.check(line_of(&mut io::stdin().lock(), self.bytes_max), "standard input")
    }

    fn ask(&self, question: &str) -> Result<Secret> {
        let failed = |error| Failure::Other(format!("{}: cannot ask for it: {error}", self.what));
        match terminal::ask(question, self.bytes_max).map_err(failed)? {
            Some(bytes) if bytes.len() > self.bytes_max => self.check(too_long(), "the terminal"),
            Some(bytes) => self.check(Ok(Some(bytes)), "the terminal"),
            None => Err(Failure::Other("cancelled, nothing was changed".to_owned())),
        }
    }

    fn ask_twice(&self) -> Result<Secret> {
        let first = self.ask(self.what)?;
        let again = self.ask(&format!("{} again", self.what))?;
        if *first == *again {
            return Ok(first);
        }
        Err(Failure::Other(format!("{}: expected the same twice, found two", self.what)))
    }

    /// The line as text.
    fn check(&self, line: Line, place: &str) -> Result<Secret> {
        let Self { what, bytes_max, .. } = self;
        let refused = |found: &str| {
            Failure::Other(format!(
                "{what}: expected one line of at most {bytes_max} bytes in {place}, found {found}"
            ))
        };
        let bytes = line.map_err(|found| refused(&found))?.ok_or_else(|| refused("nothing"))?;
        if bytes.is_empty() {
            return Err(refused("an empty line"));
        }
        if bytes.len() > *bytes_max {
            return Err(refused("a longer one"));
        }
        let text = str::from_utf8(&bytes).map_err(|_| refused("bytes that are not UTF-8"))?;
        // The text is copied into room of its length: nothing is left behind by growing.
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// A line without its end, `None` where there is none, or what was found instead.
type Line = std::result::Result<Option<Zeroizing<Vec<u8>>>, String>;

fn too_long() -> Line {
    Err("a longer one".to_owned())
}

/// Reads one line of at most so many bytes. `\n` and `\r\n` end it, and are not part of it.
fn line_of(reader: &mut impl BufRead, bytes_max: usize) -> Line {
    let limit = bytes_max + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    let mut part = Read::take(reader, limit as u64);
    let read = part.read_until(b'\n', &mut bytes).map_err(|error| error.to_string())?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.len() > bytes_max { too_long() } else { Ok(Some(bytes)) }
}

/// A variable that is set, to anything but nothing.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// All bytes of a file, which may be standard input: for what is no secret of a line.
///
/// # Errors
/// When it cannot be read, or is longer.
pub(crate) fn bytes_of(path: &Path, what: &str, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>> {
    let place = if path == "-" { "standard input".into() } else { path.display().to_string() };
    let failed = |error| Failure::Other(format!("{what}: cannot read {place}: {error}"));
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = bytes_max as u64 + 1;
    if path == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() > bytes_max {
        let found = format!("{what}: expected at most {bytes_max} bytes in {place}, found more");
        return Err(Failure::Other(found));
    }
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the operator's file, no part of any store")]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Says on standard error that others can read a file of secrets. Pipes have modes that mean
/// nothing.
#[cfg(unix)]
fn warn_if_others_read(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = file.metadata() else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o044 != 0 {
        let path = path.display();
        let line = format!(
            "htkvctl: warning: {path} can be read by others (mode {mode:04o}): chmod 600 {path}"
        );
        drop(writeln!(io::stderr().lock(), "{line}"));
    }
}

#[cfg(not(unix))]
fn warn_if_others_read(_: &File, _: &Path) {}

/// A master key.
pub(crate) struct MasterKey(Zeroizing<[u8; MasterKey::BYTES]>);

impl MasterKey {
    pub(crate) const BYTES: usize = 32;

    /// From its hexadecimal digits. Warns of one that protects nothing.
    ///
    /// # Errors
    /// `Other` for anything else than 64 of them.
    pub(crate) fn parse(text: &Secret, what: &str) -> Result<Self> {
        let mut key = Zeroizing::new([0; Self::BYTES]);
        let mut digits = text.bytes().map(|byte| char::from(byte).to_digit(16));
        for byte in key.iter_mut() {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(not_a_key(what, text.len()));
            };
            *byte = u8::try_from(high << 4 | low).unwrap_or_default();
        }
        if digits.next().is_some() {
            return Err(not_a_key(what, text.len()));
        }
        if *key == [0; Self::BYTES] {
            let line = format!("htkvctl: warning: {what} is all zeros: nothing is protected by it");
            drop(writeln!(io::stderr().lock(), "{line}"));
        }
        Ok(Self(key))
    }

    /// The key, for whoever encrypts with it.
    pub(crate) fn expose(&self) -> [u8; Self::BYTES] {
        *self.0
    }

    /// Whether two are the same. They are the operator's own, on their own machine: no time of
    /// this tells anybody anything.
    pub(crate) fn is(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

/// Without what was found: it may be the key with a typing error.
fn not_a_key(what: &str, len: usize) -> Failure {
    Failure::Other(format!(
        "{what}: expected {} hexadecimal digits, found {len} characters that are not that",
        2 * MasterKey::BYTES
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> std::result::Result<Option<Vec<u8>>, String> {
        line_of(&mut &*text, 4).map(|line| line.map(|bytes| bytes.to_vec()))
    }

    #[test]
    fn a_line_is_one_whatever_ends_it() {
        for text in [&b"abc"[..], b"abc\n", b"abc\r\n", b"abc\nmore"] {
            assert_eq!(line(text), Ok(Some(b"abc".to_vec())), "{text:?}");
        }
        assert_eq!(line(b" a \n"), Ok(Some(b" a ".to_vec())), "blanks may be part of a password");
        assert_eq!(line(b"a\r"), Ok(Some(b"a\r".to_vec())), "this ends no line");
        assert_eq!((line(b""), line(b"\n")), (Ok(None), Ok(Some(Vec::new()))));
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_past_it_refused() {
        assert_eq!(line(b"abcd\r\n"), Ok(Some(b"abcd".to_vec())));
        assert!(line(b"abcde\n").is_err() && line(b"abcde").is_err());
        assert!(line(b"abcdefghijkl\n").is_err());
    }

    #[test]
    fn a_key_is_64_digits_and_nothing_else() {
        let parse = |text: &str| MasterKey::parse(&Zeroizing::new(text.to_owned()), "the key");
        let key = parse(&"aB".repeat(32)).ok().unwrap();
        assert_eq!(key.expose(), [0xab; 32]);
        for bad in ["ab".repeat(31), "ab".repeat(33), "ag".repeat(32), "ab".repeat(31) + "a"] {
            let error = parse(&bad).err().unwrap().to_string();
            assert!(error.contains("64 hexadecimal digits") && !error.contains(&bad), "{error}");
        }
    }
}
