//! Bytes as letters and digits, of fixed length.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends `bytes`, a number with its greatest byte first, as `digits` digits. Time does not depend
/// on the bytes but for the look-up of digits.
pub(super) fn encode(bytes: &[u8], digits: usize, to: &mut String) {
    let mut number = bytes.to_vec();
    let mut found = vec![b'0'; digits];
    for digit in found.iter_mut().rev() {
        let mut rest: u16 = 0;
        for byte in &mut number {
            let part = (rest << 8) | u16::from(*byte);
            *byte = u8::try_from(part / 62).unwrap_or(u8::MAX);
            rest = part % 62;
        }
        *digit = DIGITS.get(usize::from(rest)).copied().unwrap_or(b'0');
    }
    debug_assert!(number.iter().all(|&byte| byte == 0), "too few digits");
    to.extend(found.iter().map(|&digit| char::from(digit)));
    zeroize::Zeroize::zeroize(&mut number);
    zeroize::Zeroize::zeroize(&mut found);
}

/// The number that digits stand for; `None` for other characters and for one that is too large.
pub(super) fn decode<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut number = [0_u8; N];
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return None,
        };
        let mut carry = u16::from(value);
        for byte in number.iter_mut().rev() {
            let part = u16::from(*byte) * 62 + carry;
            let [low, high] = part.to_le_bytes();
            *byte = low;
            carry = u16::from(high);
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bytes in [[0; 16], [255; 16], *b"0123456789abcdef"] {
            let mut text = String::new();
            encode(&bytes, 22, &mut text);
            assert_eq!(text.len(), 22);
            assert_eq!(decode(text.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn other_characters_and_too_large_numbers_are_refused() {
        assert_eq!(decode::<4>(b"00-1"), None);
        assert_eq!(decode::<4>(b"zzzzzzz"), None);
        assert_eq!(decode::<4>(b"4gfFC3"), Some([255; 4]));
        assert_eq!(decode::<4>(b"4gfFC4"), None);
    }
}
