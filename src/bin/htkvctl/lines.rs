//! Lines of a file, numbered and no longer than allowed.

use std::io::{self, BufRead, Read};

/// Reads lines into one buffer.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
    bytes: u64,
    bytes_max: usize,
}

/// Why there is no next line.
#[derive(Debug)]
pub(crate) enum LineError {
    /// The line is longer than allowed.
    TooLong {
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// The operating system said no.
    Io(io::Error),
}

impl<R: BufRead> Lines<R> {
    pub(crate) const fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader, buffer: Vec::new(), number: 0, bytes: 0, bytes_max }
    }

    /// The next line without its end, or `None` behind the last.
    ///
    /// # Errors
    /// `TooLong`, before more than the limit is held in memory; `Io`.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, LineError> {
        self.buffer.clear();
        self.number += 1;
        let limit = self.bytes_max as u64 + 2;
        let mut part = Read::take(&mut self.reader, limit);
        let read = part.read_until(b'\n', &mut self.buffer).map_err(LineError::Io)?;
        if read == 0 {
            return Ok(None);
        }
        self.bytes += read as u64;
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.bytes_max {
            return Err(LineError::TooLong { limit: self.bytes_max });
        }
        Ok(Some(line))
    }

    /// Number of the line that was read last, counting from 1.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], bytes_max: usize) -> (Vec<Vec<u8>>, Option<u64>) {
        let mut lines = Lines::new(text, bytes_max);
        let mut found = Vec::new();
        loop {
            match lines.next() {
                Ok(Some(line)) => found.push(line.to_vec()),
                Ok(None) => return (found, None),
                Err(_) => return (found, Some(lines.number())),
            }
        }
    }

    #[test]
    fn lines_come_without_their_ends_whatever_those_are() {
        let (lines, _) = read(b"a\nb\r\n\nc", 10);
        assert_eq!(lines, [b"a".as_slice(), b"b", b"", b"c"]);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_past_it_refused() {
        assert_eq!(read(b"aaaa\r\nbbbb\nc", 4).1, None);
        assert_eq!(read(b"aaaa\nbbbbb\nc", 4).1, Some(2));
        assert_eq!(read(b"aaaa\nbbbbbbbbbbbbbbbbbb", 4).1, Some(2));
    }
}
