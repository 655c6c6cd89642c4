//! Names of users and roles: one spelling of each.

use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// Longest name in bytes, before and after normalisation.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// The name that `name` is known by: compatible composition (NFKC), case folded, trimmed.
///
/// # Errors
/// `TooLarge`; `Validation` for an empty name and for control, bidirectional and invisible
/// characters, with which two names look the same.
pub(super) fn normalise(name: &str) -> Result<String> {
    at_most(name)?;
    if name.chars().any(is_refused) {
        return Err(Error::Validation(
            "a name has a control, bidirectional or invisible character".to_owned(),
        ));
    }
    // Upper and then lower case folds letters of which one case has two forms; lower case before
    // that folds the one capital (sharp s) whose small letter has another capital. Folding may undo
    // composition, so that is done again.
    let lower = name.nfkc().flat_map(char::to_lowercase);
    let folded: String =
        lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
    let folded = folded.trim().to_owned();
    at_most(&folded)?;
    if folded.is_empty() {
        return Err(Error::Validation("a name is empty".to_owned()));
    }
    if folded.chars().any(is_refused) {
        return Err(Error::Validation("a name has a character that is refused".to_owned()));
    }
    Ok(folded)
}

fn at_most(name: &str) -> Result<()> {
    let (limit, got) = (NAME_BYTES_MAX as u64, name.len() as u64);
    if got > limit {
        return Err(Error::TooLarge { what: "bytes of a name".to_owned(), limit, got });
    }
    Ok(())
}

/// Whether a text may stand in a list that people read, as it is: nothing in it ends a line or
/// changes how the rest of it looks.
///
/// # Errors
/// `TooLarge`, `Validation`.
pub(super) fn check_shown(what: &str, text: &str) -> Result<()> {
    at_most(text)?;
    if text.is_empty() || text.chars().any(is_refused) {
        return Err(Error::Validation(format!(
            "{what} is empty, or has a control, bidirectional or invisible character"
        )));
    }
    Ok(())
}

/// Control characters, those that change the direction of text, and those that show nothing.
fn is_refused(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one() {
        for (name, expected) in [
            ("Captain", "captain"),
            ("  captain\u{a0}", "captain"),
            ("\u{ff23}\u{ff21}ptain", "captain"),
            ("Stra\u{df}e", "strasse"),
            ("STRA\u{1e9e}E", "strasse"),
            ("E\u{301}lan", "\u{e9}lan"),
            ("\u{3a3}\u{3af}\u{3c2}", "\u{3c3}\u{3af}\u{3c3}"),
            ("\u{fb01}n", "fin"),
        ] {
            let once = normalise(name).unwrap();
            assert_eq!(once, expected, "{name:?}");
            assert_eq!(normalise(&once).unwrap(), once, "{name:?} twice");
        }
    }

    #[test]
    fn what_would_forge_a_line_is_not_shown() {
        for text in ["", "a\nb", "a\u{2028}b", "a\u{202e}b", "a\tb", "a\u{1b}[2Kb"] {
            assert!(matches!(check_shown("it", text), Err(Error::Validation(_))), "{text:?}");
        }
        assert!(check_shown("it", "Ann O'Neill <ann@example.org>").is_ok());
        assert!(matches!(check_shown("it", &"a".repeat(257)), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in ["", "   ", "a\0b", "a\nb", "\u{202e}nimda", "ad\u{200b}min", "a\u{feff}"] {
            assert!(matches!(normalise(name), Err(Error::Validation(_))), "{name:?}");
        }
        assert!(normalise(&"a".repeat(256)).is_ok());
        assert!(matches!(normalise(&"a".repeat(257)), Err(Error::TooLarge { .. })));
        // Three bytes that become eighteen letters of two.
        assert!(matches!(normalise(&"\u{fdfa}".repeat(80)), Err(Error::TooLarge { .. })));
    }
}
