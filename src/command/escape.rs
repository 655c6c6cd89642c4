//! Bytes as a person can read them in a log line.

use std::fmt;

/// Longest run of bytes that is shown before the rest is only counted.
const SHOWN_BYTES_MAX: usize = 48;

/// Shows bytes as an escaped ASCII literal, shortened: a value of megabytes must not fill a log.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(SHOWN_BYTES_MAX));
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if !rest.is_empty() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bytes_are_shown_whole_and_escaped() {
        assert_eq!(format!("{:?}", Escaped(b"a\"\xff\n")), r#""a\"\xff\n""#);
        assert_eq!(format!("{:?}", Escaped(&[b'x'; 48])).len(), 50);
    }

    #[test]
    fn long_bytes_are_cut_and_counted() {
        let text = format!("{:?}", Escaped(&vec![b'x'; 1 << 20]));
        assert!(text.ends_with("x\"... (1048576 bytes)"), "{text}");
        assert!(text.len() < 100);
    }
}
