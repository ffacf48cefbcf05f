//! Whether a number that stands in a text keeps its value where it is read as 64 bits, which is how serde has it.
//!
//! JSON that a document or a body holds as such ([`JsonText`](crate::JsonText)) is written out again from what was read. So that a
//! pattern is never about another number than its author wrote, one whose digits would be lost is refused where the text is read.

/// What is wrong with a number that [`is_exact`] is not.
pub const NOT_EXACT: &str = "has more digits than 64 bits keep, or is too great for them: write it with fewer, or, where it \
                             is part of JSON, give that JSON as a text";

/// Whether a decimal number is the same once it was read into 64 bits, as a whole number or in floating point, and written again.
/// What is no decimal number is not.
pub fn is_exact(number: &str) -> bool {
    number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() || is_exact_float(number)
}

/// The same in floating point alone.
pub fn is_exact_float(number: &str) -> bool {
    match number.parse::<f64>() {
        Ok(float) if float.is_finite() => {
            let written = decimal(number);
            written.is_some() && written == decimal(&format!("{float:e}"))
        }
        _ => false,
    }
}

/// The first number in a text of JSON that is not exact. In a text that is no JSON it may find anything, or nothing.
pub fn first_inexact(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_text(bytes, at),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| is_of_number(byte)).count();
                let number = &json[at..at + length];
                if !is_exact(number) {
                    return Some(number);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

/// What is behind a text that begins here with a quote.
fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A number's sign, its digits from the first to the last that is not zero, and the power of ten that they are multiplied by.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = digits.len() - significant.len();
    let exponent = exponent.checked_sub(fraction.len() as i64)?.checked_add(zeros as i64)?;
    Some((is_negative, significant.trim_start_matches('0').to_owned(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_exact_if_no_digit_of_it_is_lost() {
        for exact in [
            "0",
            "-0.0",
            "7",
            "-9223372036854775808",
            "18446744073709551615",
            "0.1",
            "1.50",
            "3.0e2",
            "1E+3",
            "+2.5",
            "2e19",
            "100000000000000000000",
            "0.30000000000000004",
            "5e-324",
        ] {
            assert!(is_exact(exact), "{exact}");
        }
        assert!(is_exact("18446744073709551615") && !is_exact_float("18446744073709551615"));
        for inexact in [
            "1e400",
            "-1e400",
            "1e-400",
            "12345678901234567890.123",
            "100000000000000000001",
            "18446744073709551617",
            "1.00000000000000000001",
            "0.1000000000000000055511151231257827",
            "0e99999999999999999999",
            "inf",
            "nan",
            "",
            "1.2.3",
        ] {
            assert!(!is_exact(inexact), "{inexact}");
        }
    }

    #[test]
    fn the_first_number_of_json_that_is_not_exact_is_found() {
        assert_eq!(
            first_inexact(r#"{"a": [1, -2.5, 1e3], "1e400": "12345678901234567890.123 \" 1e400"}"#),
            None
        );
        assert_eq!(
            first_inexact(r#"{"a\\": [{"numeric": [">", 1e400]}, 12345678901234567890.123]}"#),
            Some("1e400")
        );
        assert_eq!(first_inexact("[0.5,12345678901234567890.123]"), Some("12345678901234567890.123"));
        assert_eq!(first_inexact("-1.00000000000000000001"), Some("-1.00000000000000000001"));
        for no_json in ["\"", "\"\\", "-", "ü1e400"] {
            let _ = first_inexact(no_json);
        }
    }
}
