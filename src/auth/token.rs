//! The text of an API key: `htk_<id>_<secret><checksum>`.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

use super::base62;

const PREFIX: &str = "htk_";
/// Digits of 128, 256 and 32 bits.
pub(super) const ID_DIGITS: usize = 22;
const SECRET_DIGITS: usize = 43;
const SUM_DIGITS: usize = 6;

/// An API key as its holder has it: shown once, stored nowhere. Wiped from memory when dropped; its
/// `Debug` shows nothing.
#[derive(Clone)]
pub struct ApiToken(Zeroizing<String>);

impl ApiToken {
    pub(super) fn new(id: [u8; 16], secret: &[u8; 32]) -> Self {
        // Room for all of it, so that no part of it is left behind by growing.
        let mut text = String::with_capacity(96);
        text.push_str(PREFIX);
        base62::encode(&id, ID_DIGITS, &mut text);
        text.push('_');
        base62::encode(secret, SECRET_DIGITS, &mut text);
        let sum = sum_of(&text);
        base62::encode(&sum, SUM_DIGITS, &mut text);
        Self(Zeroizing::new(text))
    }

    /// The text, to be given to whoever will use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Deref for ApiToken {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

/// The checksum of a text, the greatest byte first.
fn sum_of(text: &str) -> [u8; 4] {
    let mut bytes = crc32c::crc32c(text.as_bytes()).to_le_bytes();
    bytes.reverse();
    bytes
}

/// The id, as text, and the secret of a token; `None` for whatever is not the text of one, checksum
/// included.
pub(super) fn parse(token: &str) -> Option<(&str, Zeroizing<[u8; 32]>)> {
    let rest = token.strip_prefix(PREFIX)?;
    if rest.len() != ID_DIGITS + 1 + SECRET_DIGITS + SUM_DIGITS {
        return None;
    }
    let (summed, sum) = token.split_at_checked(token.len() - SUM_DIGITS)?;
    if base62::decode::<4>(sum.as_bytes())? != sum_of(summed) {
        return None;
    }
    let (id, rest) = rest.split_at_checked(ID_DIGITS)?;
    base62::decode::<16>(id.as_bytes())?;
    let secret = rest.strip_prefix('_')?.get(..SECRET_DIGITS)?;
    Some((id, Zeroizing::new(base62::decode(secret.as_bytes())?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::rng::{Rng, SeededRng};

    #[test]
    fn a_token_is_read_as_it_was_made_and_not_shown() {
        let token = ApiToken::new([3; 16], &[9; 32]);
        let (id, secret) = parse(&token).unwrap();
        assert_eq!(*secret, [9; 32]);
        assert!(token.starts_with(&format!("htk_{id}_")));
        assert_eq!(format!("{token:?}"), "ApiToken(..)");
    }

    #[test]
    fn every_change_of_one_character_is_found() {
        let token = ApiToken::new([3; 16], &[9; 32]);
        for at in 0..token.len() {
            for digit in [b'0', b'z', b'_', b' '] {
                let mut bytes = token.as_bytes().to_vec();
                if bytes[at] != digit {
                    bytes[at] = digit;
                    assert!(parse(std::str::from_utf8(&bytes).unwrap()).is_none(), "{at}");
                }
            }
        }
    }

    #[test]
    fn none_of_a_million_random_strings_is_a_token() {
        let rng = SeededRng::new(1);
        for _ in 0..1_000_000 {
            let mut bytes = [0; 72];
            rng.fill(&mut bytes).unwrap();
            let digits: String = bytes
                .iter()
                .map(|b| char::from(b"0123456789abcdefghijABCDEFGHIJ_z"[usize::from(b % 32)]))
                .collect();
            let text = format!("htk_{}_{}", &digits[..22], &digits[22..71]);
            assert!(parse(&text).is_none(), "{text}");
        }
    }
}
