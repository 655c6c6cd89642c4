//! Numbers from the environment, and numbers that look random.

/// A number that the environment may set.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default().replace(['_', ','], "");
    if text.is_empty() { default } else { text.parse().expect("a number in the environment") }
}

/// One to one: other numbers give other numbers, which look random.
pub(crate) const fn mix(number: u64) -> u64 {
    let sum = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (sum ^ (sum >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
