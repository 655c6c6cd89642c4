//! Bytes, times and sizes as text.

use std::fmt;
use std::time::Duration;

use hightower_kv::{At, Timestamp, Version};

/// Bytes in a row: UTF-8 as it is, but control characters and backslashes as `\xNN`, and so every
/// byte that is not UTF-8. Nothing else yields the same text, so the bytes can be had back.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
        };
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(|c: char| c.is_control() || c == '\\') {
                let (plain, special) = rest.split_at(at);
                f.write_str(plain)?;
                let len = special.chars().next().map_or(0, char::len_utf8);
                let (special, behind) = special.split_at(len);
                escape(f, special.as_bytes())?;
                rest = behind;
            }
            f.write_str(rest)?;
            escape(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes that hexadecimal digits mean; `None` when the text is anything else.
pub(crate) fn parse_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// Text that a terminal shows as it is meant: UTF-8 without control characters, but for newlines
/// and tabs.
pub(crate) fn as_plain_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let is_plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().all(is_plain).then_some(text)
}

/// Bytes as their number, and from 1 KiB on also shortened.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut tenths = u128::from(self.0) * 10;
        let mut unit = None;
        for next in UNITS {
            if tenths < 10_240 {
                break;
            }
            tenths /= 1024;
            unit = Some(next);
        }
        match unit {
            None => write!(f, "{}", self.0),
            Some(unit) => write!(f, "{} ({}.{} {unit})", self.0, tenths / 10, tenths % 10),
        }
    }
}

/// The time that a number and a unit mean; `None` when the text is anything else.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A moment in UTC, as RFC 3339 has it, with microseconds.
pub(crate) struct Utc(pub(crate) Timestamp);

const DAY_SECONDS: u64 = 24 * 60 * 60;

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Timestamp(micros)) = *self;
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let (year, month, day) = date(seconds / DAY_SECONDS);
        let second = seconds % DAY_SECONDS;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of the day that is so many days behind 1970-01-01.
///
/// Counted in years that begin on 1 March, so that the leap day is the last of its year, and in
/// cycles of 400 years, which all have the same number of days.
const fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE_DAYS: u64 = 146_097;
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let day_of_cycle = days % CYCLE_DAYS;
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524
        - day_of_cycle / (CYCLE_DAYS - 1))
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // March is 0; the months from March on repeat 31 30 31 30 31.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = days / CYCLE_DAYS * 400 + year_of_cycle + (month <= 2) as u64;
    (year, month, day)
}

/// The moment that an argument names: digits are a version, digits behind an @ microseconds since
/// 1970, and the rest a time in UTC as RFC 3339 has it.
pub(crate) fn parse_at(text: &str) -> Result<At, String> {
    let digits = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    if let Some(version) = digits(text) {
        return Ok(At::Version(Version(version)));
    }
    let time = match text.strip_prefix('@') {
        Some(micros) => digits(micros).map(Timestamp),
        None => parse_utc(text),
    };
    time.map(At::Time).ok_or_else(|| {
        "expected a version (digits), a time like 2026-01-31T12:00:00Z, or microseconds since 1970 \
         behind an @"
            .to_owned()
    })
}

/// A moment in UTC, as [`Utc`] prints it; the fraction of a second may have any number of digits,
/// of which six count, or be left out.
fn parse_utc(text: &str) -> Option<Timestamp> {
    let (date_text, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let number = |text: &str, len: usize| -> Option<u64> {
        let is_number = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let mut parts = date_text.split('-');
    let (year, month) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?);
    let day = number(parts.next()?, 2)?;
    let mut times = time.split(':');
    let (hour, minute) = (number(times.next()?, 2)?, number(times.next()?, 2)?);
    let second = number(times.next()?, 2)?;
    if parts.next().is_some() || times.next().is_some() || year < 1970 {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 || fraction.is_empty() {
        return None;
    }
    let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros = number(&six, 6).filter(|_| fraction.bytes().all(|byte| byte.is_ascii_digit()))?;
    // The calendar is known in the other direction: a day that comes back is one. In the year 9999
    // sixty days too many were guessed, for centuries without a leap day, and months are not all of
    // 28 days.
    let guess = (year - 1970) * 365 + (year - 1969) / 4 + (month.max(1) - 1) * 28 + day;
    let days =
        (guess.saturating_sub(100)..guess + 100).find(|&it| date(it) == (year, month, day))?;
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_text_as_it_is_and_the_rest_escaped() {
        let show = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(show("a b\u{e9}".as_bytes()), "a b\u{e9}");
        assert_eq!(show(b"a\tb\nc\\d\0"), r"a\x09b\x0ac\x5cd\x00");
        assert_eq!(show(b"\xff\xfea\xc3"), r"\xff\xfea\xc3");
        assert_eq!(show(r"\x41".as_bytes()), r"\x5cx41", "it is not mistaken for an escape");
        assert_eq!(show("\u{85}".as_bytes()), r"\xc2\x85");
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, millis) in
            [("5ms", 5), ("90s", 90_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "90", "s", "-1s", "1.5s", "1 s", "1w", "18446744073709551615d"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_goes_both_ways_and_refuses_anything_else() {
        assert_eq!(Hex(&[0, 0xab, 0xff]).to_string(), "00abff");
        assert_eq!(parse_hex(b"00aBff"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(parse_hex(b""), Some(Vec::new()));
        for bad in ["0", "0g", "+1", "0x", " 00"] {
            assert_eq!(parse_hex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_exact_and_from_a_kibibyte_on_short_too() {
        let show = |bytes| Size(bytes).to_string();
        assert_eq!((show(0), show(1023)), ("0".to_owned(), "1023".to_owned()));
        assert_eq!(show(1024), "1024 (1.0 KiB)");
        assert_eq!(show(1_048_575), "1048575 (1023.9 KiB)");
        assert_eq!(show(5 << 20), "5242880 (5.0 MiB)");
        assert_eq!(show(u64::MAX), "18446744073709551615 (15.9 EiB)");
    }

    #[test]
    fn times_are_as_the_calendar_has_them() {
        let show = |seconds: u64| Utc(Timestamp(seconds * 1_000_000)).to_string();
        assert_eq!(show(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(show(951_782_399), "2000-02-28T23:59:59.000000Z");
        assert_eq!(show(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(show(951_868_800), "2000-03-01T00:00:00.000000Z");
        assert_eq!(show(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(
            Utc(Timestamp(1_700_000_000_123_456)).to_string(),
            "2023-11-14T22:13:20.123456Z"
        );
    }

    #[test]
    fn moments_are_versions_times_or_microseconds() {
        assert_eq!(parse_at("17"), Ok(At::Version(Version(17))));
        assert_eq!(parse_at("@1700000000123456"), Ok(At::Time(Timestamp(1_700_000_000_123_456))));
        let time = |micros| Ok(At::Time(Timestamp(micros)));
        assert_eq!(parse_at("1970-01-01T00:00:00Z"), time(0));
        assert_eq!(parse_at("2000-02-29T00:00:00Z"), time(951_782_400_000_000));
        assert_eq!(parse_at("2023-11-14T22:13:20.1Z"), time(1_700_000_000_100_000));
        assert_eq!(parse_at("2023-11-14T22:13:20.1234567Z"), time(1_700_000_000_123_456));
        for day in (0..400_000).step_by(97) {
            let micros = day * 86_400_000_000 + 123;
            assert_eq!(parse_at(&Utc(Timestamp(micros)).to_string()), time(micros));
        }
        for bad in [
            "",
            "@",
            "-1",
            "1.5",
            "yesterday",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01",
            "1969-12-31T23:59:59Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00.xZ",
            "2023-1-1T00:00:00Z",
        ] {
            assert!(parse_at(bad).unwrap_err().contains("expected a version"), "{bad}");
        }
    }
}
