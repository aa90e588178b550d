//! RFC 3339 timestamps: which of two Services is older, and when a change began.

/// Seconds since 1970, or `None` for anything that is no timestamp.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks
        .iter()
        .any(|&(at, mark)| text.as_bytes().get(at) != Some(&mark))
    {
        return None;
    }
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let zone = text
        .get(19..)?
        .trim_start_matches(|byte: char| byte == '.' || byte.is_ascii_digit());
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), ..] if zone.len() == 6 => {
            let at = text.len().saturating_sub(5);
            let minutes = number(at, at.saturating_add(2))? * 60
                + number(at.saturating_add(3), at.saturating_add(5))?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(((days * 24 + number(11, 13)?) * 60 + number(14, 16)? - offset) * 60 + number(17, 19)?)
}

/// Nanoseconds since 1970, or `None` for anything that is no timestamp, or lies outside the years 1678 to 2261.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let digits = text.get(19..)?.strip_prefix('.').unwrap_or_default();
    let fraction = digits
        .bytes()
        .take_while(u8::is_ascii_digit)
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    seconds(text)?
        .checked_mul(1_000_000_000)?
        .checked_add(fraction)
}

/// Days since 1970-01-01 of the Gregorian calendar, counting years from March so that the leap day comes last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_seconds() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-11-21T02:21:10Z", Some(1_795_227_670)),
            ("2026-11-21T02:21:10.123456Z", Some(1_795_227_670)),
            ("2026-11-21T04:21:10+02:00", Some(1_795_227_670)),
            ("2026-11-20T20:51:10-05:30", Some(1_795_227_670)),
            ("2026-11-21", None),
            ("2026-11-21T02:21:10", None),
            ("2026/11/21T02:21:10Z", None),
            ("2026-11-2éT02:21:10Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn timestamps_have_nanoseconds() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("1970-01-01T00:00:01.5Z", Some(1_500_000_000)),
            ("1970-01-01T01:00:01.123456789+01:00", Some(1_123_456_789)),
            ("1970-01-01T00:00:01.1234567899Z", Some(1_123_456_789)),
            ("9999-01-01T00:00:00Z", None),
            ("1970-01-01", None),
            ("soon", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text:?}");
        }
    }
}
