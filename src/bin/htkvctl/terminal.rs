//! Asking a person for a secret: what is typed is not shown.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// What a key does to what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    Done,
    Cancelled,
}

/// What was typed so far. Room for all of it is there from the start, so that growing leaves no
/// copy of a part of it.
#[derive(Debug)]
struct Typed {
    bytes: Zeroizing<Vec<u8>>,
    bytes_max: usize,
}

impl Typed {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(bytes_max + 1)), bytes_max }
    }

    /// Takes one byte from a terminal whose keys mean nothing by themselves.
    fn take(&mut self, byte: u8) -> Step {
        match byte {
            b'\r' | b'\n' => return Step::Done,
            // Ctrl-C.
            0x03 => return Step::Cancelled,
            // Ctrl-D.
            0x04 if self.bytes.is_empty() => return Step::Done,
            // Backspace: a character is as many bytes as UTF-8 has for it.
            0x08 | 0x7f => while self.bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // Ctrl-U.
            0x15 => self.bytes.clear(),
            byte if byte.is_ascii_control() => {}
            // One more than allowed is kept: whoever checks the length sees that it is too long.
            byte if self.bytes.len() <= self.bytes_max => self.bytes.push(byte),
            _ => {}
        }
        Step::More
    }
}

/// The modes of a terminal, which it gets back when this is dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    /// Shows nothing of what is typed, and hands every byte over as it comes. Ctrl-C is one of
    /// them, so that it cannot end the process with the terminal still quiet.
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question is not an answer to it.
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let restored = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
        debug_assert!(restored.is_ok(), "the terminal took these modes before");
        drop(writeln!(io::stderr().lock()));
    }
}

/// Whether there is somebody to ask.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a secret on the terminal that is standard input. At most one byte more than
/// `bytes_max` is given. `None` when Ctrl-C was typed.
///
/// # Errors
/// When the terminal cannot be told to show nothing, or cannot be read.
pub(crate) fn ask(question: &str, bytes_max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut typed = Typed::new(bytes_max);
    let quiet = Quiet::new()?;
    drop(write!(io::stderr().lock(), "{question}: "));
    let mut keys = io::stdin().lock();
    let mut byte = [0];
    let answered = loop {
        if keys.read(&mut byte)? == 0 {
            break true;
        }
        match typed.take(byte[0]) {
            Step::More => {}
            Step::Done => break true,
            Step::Cancelled => break false,
        }
    };
    drop(quiet);
    Ok(answered.then_some(typed.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (Vec<u8>, Step) {
        let mut typed = Typed::new(8);
        let mut step = Step::More;
        for &key in keys {
            step = typed.take(key);
            if step != Step::More {
                break;
            }
        }
        (typed.bytes.to_vec(), step)
    }

    #[test]
    fn a_line_is_edited_and_ends() {
        assert_eq!(typed(b"abc\n"), (b"abc".to_vec(), Step::Done));
        assert_eq!(typed(b"abx\x7fc\r"), (b"abc".to_vec(), Step::Done));
        assert_eq!(typed("a\u{e9}\u{7f}b\n".as_bytes()), (b"ab".to_vec(), Step::Done));
        assert_eq!(typed(b"wrong\x15right\n"), (b"right".to_vec(), Step::Done));
        assert_eq!(typed(b"\x7f\x1b\n"), (b"".to_vec(), Step::Done));
    }

    #[test]
    fn it_is_cancelled_and_never_grows_beyond_one_byte_too_many() {
        assert_eq!(typed(b"abc\x03").1, Step::Cancelled);
        assert_eq!(typed(b"\x04").1, Step::Done);
        assert_eq!(typed(b"ab\x04c\n"), (b"abc".to_vec(), Step::Done));
        assert_eq!(typed(b"123456789012\n").0.len(), 9);
    }
}
