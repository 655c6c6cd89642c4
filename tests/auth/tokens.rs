//! Tokens as their description says, to forge some and to look for them.

const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn encode(bytes: &[u8], digits: usize) -> String {
    let (mut number, mut text) = (bytes.to_vec(), Vec::new());
    for _ in 0..digits {
        let mut rest = 0;
        for byte in &mut number {
            let part = rest * 256 + usize::from(*byte);
            *byte = u8::try_from(part / 62).unwrap();
            rest = part % 62;
        }
        text.push(DIGITS[rest]);
    }
    text.reverse();
    String::from_utf8(text).unwrap()
}

pub(crate) fn make(id: &str, secret: [u8; 32]) -> String {
    let text = format!("htk_{id}_{}", encode(&secret, 43));
    let mut sum = crc32c::crc32c(text.as_bytes()).to_le_bytes();
    sum.reverse();
    format!("{text}{}", encode(&sum, 6))
}

/// The 256 bits of a token.
pub(crate) fn secret_of(token: &str) -> [u8; 32] {
    let mut number = [0_u8; 32];
    for digit in token[27..70].bytes() {
        let mut carry = DIGITS.iter().position(|it| *it == digit).unwrap();
        for byte in number.iter_mut().rev() {
            let part = usize::from(*byte) * 62 + carry;
            *byte = u8::try_from(part % 256).unwrap();
            carry = part / 256;
        }
    }
    number
}
