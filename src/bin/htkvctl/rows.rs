//! A row as a JSON line: what `export` writes and `import` reads.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::text::{Escaped, Hex, parse_hex};

/// A row. Of key and value each is there once: as text where it is UTF-8, otherwise in hexadecimal.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonRow<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key_hex: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value_hex: Option<Cow<'a, str>>,
}

/// Whether everything is written in hexadecimal, or only what is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HexFor {
    Binary,
    Everything,
}

impl From<bool> for HexFor {
    fn from(everything: bool) -> Self {
        if everything { Self::Everything } else { Self::Binary }
    }
}

impl<'a> JsonRow<'a> {
    pub(crate) fn new(key: &'a [u8], value: &'a [u8], hex: HexFor) -> Self {
        let (key, key_hex) = field(key, hex);
        let (value, value_hex) = field(value, hex);
        Self { key, key_hex, value, value_hex }
    }

    /// Key and value of a line.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(crate) fn parse(line: &'a [u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        const SHAPE: &str = r#"{"key": "..", "value": ".."}"#;
        let row: Self = serde_json::from_slice(line).map_err(|error| {
            let what = error.to_string();
            // The line is known better than the parser knows it.
            let what = what.replace(" at line 1 column ", " at column ");
            // It repeats what stands there, which may be anything.
            format!("expected {SHAPE}, found {}", Escaped(what.as_bytes()))
        })?;
        let key = bytes("key", row.key, row.key_hex)?;
        let value = bytes("value", row.value, row.value_hex)?;
        Ok((key, value))
    }
}

type Field<'a> = Option<Cow<'a, str>>;

fn field(bytes: &[u8], hex: HexFor) -> (Field<'_>, Field<'_>) {
    match str::from_utf8(bytes) {
        Ok(text) if hex == HexFor::Binary => (Some(text.into()), None),
        _ => (None, Some(Hex(bytes).to_string().into())),
    }
}

fn bytes(name: &str, text: Field<'_>, hex: Field<'_>) -> Result<Vec<u8>, String> {
    match (text, hex) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(hex)) => parse_hex(hex.as_bytes())
            .ok_or_else(|| format!("expected pairs of hexadecimal digits in \"{name}_hex\"")),
        (None, None) => Err(format!("expected \"{name}\" or \"{name}_hex\", found neither")),
        (Some(_), Some(_)) => Err(format!("expected \"{name}\" or \"{name}_hex\", found both")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(key: &[u8], value: &[u8], hex: HexFor) -> String {
        let line = serde_json::to_string(&JsonRow::new(key, value, hex)).unwrap();
        assert_eq!(JsonRow::parse(line.as_bytes()), Ok((key.to_vec(), value.to_vec())));
        line
    }

    #[test]
    fn any_bytes_come_back_as_they_were() {
        assert_eq!(round_trip(b"k", b"v\n\"", HexFor::Binary), r#"{"key":"k","value":"v\n\""}"#);
        assert_eq!(round_trip(b"\xff", b"", HexFor::Binary), r#"{"key_hex":"ff","value":""}"#);
        assert_eq!(
            round_trip(b"k", b"v", HexFor::Everything),
            r#"{"key_hex":"6b","value_hex":"76"}"#
        );
        round_trip(&(0..=255).collect::<Vec<u8>>(), &[0, 127, 128], HexFor::Binary);
    }

    #[test]
    fn a_line_that_is_no_row_is_told_what_is_wrong_with_it() {
        let refused = |line: &str| JsonRow::parse(line.as_bytes()).unwrap_err();
        assert!(refused("{\"key\":\"a\"}").contains("\"value\" or \"value_hex\", found neither"));
        assert!(refused(r#"{"key":"a","key_hex":"61","value":""}"#).contains("found both"));
        assert!(refused(r#"{"key_hex":"6","value":""}"#).contains("pairs of hexadecimal digits"));
        assert!(refused(r#"{"key":"a","value":"b","other":1}"#).contains("unknown field"));
        assert!(refused("nonsense").contains("at column"));
    }
}
