//! Numbers for people: three digits that matter, and thousands apart.

/// `value` with three significant digits, never fewer than all digits before the point.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let digits = if size >= 100.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    grouped(&format!("{value:.digits$}"))
}

/// With commas between thousands.
pub(super) fn grouped(number: &str) -> String {
    let (whole, rest) = match number.split_once('.') {
        Some((whole, rest)) => (whole, format!(".{rest}")),
        None => (number, String::new()),
    };
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_matter() {
        let cases = [
            (0.0, "0"),
            (0.123_4, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-4_321.0, "-4,321"),
        ];
        for (value, wanted) in cases {
            assert_eq!(short(value), wanted);
        }
    }
}
