//! Numbers as JSON writes them, compared exactly: no digit is lost to binary floating point.
//!
//! Nothing is calculated here. What always holds: equal numbers are equal values, however they are written.

use std::cmp::Ordering;

/// Exponents beyond this, of either sign, count as this.
const EXPONENT_MAX: i64 = 1_000_000_000_000;

/// A number: `0.DIGITS` times ten to the `exponent`. Zero has no digits; all others begin and end with one that is not 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Decimal {
    negative: bool,
    exponent: i64,
    digits: Box<str>,
}

impl Decimal {
    /// Reads a number that is one by JSON's grammar.
    pub(crate) fn of(number: &str) -> Self {
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        let leading = digits.len() - significant.len();
        let significant = significant.trim_end_matches('0');
        if significant.is_empty() {
            return Self { negative: false, exponent: 0, digits: Box::default() };
        }
        let beyond = if exponent.starts_with('-') { -EXPONENT_MAX } else { EXPONENT_MAX };
        // It has digits only, so that all that can be wrong with it is that it is too large.
        let exponent = exponent.parse::<i64>().unwrap_or(beyond).clamp(-EXPONENT_MAX, EXPONENT_MAX);
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX / 2) - i64::try_from(leading).unwrap_or(0);
        Self { negative, exponent: exponent + point, digits: significant.into() }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        self.sign()
            .cmp(&other.sign())
            .then_with(|| if self.negative { magnitude().reverse() } else { magnitude() })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_number_is_one_value_however_it_is_written() {
        let same: [&[&str]; 5] = [
            &["300", "3e2", "300.0", "3.0E+2", "30000e-2", "0.3e3"],
            &["0", "-0", "0.0", "0e99", "0.000e-99999999999999999999"],
            &["-0.015", "-15e-3", "-1.50e-2"],
            &["12345678901234567890.1", "123456789012345678901e-1"],
            &["1e99999999999999999999", "1e88888888888888888888"],
        ];
        for group in same {
            for number in group {
                assert_eq!(Decimal::of(group[0]), Decimal::of(number), "{number}");
            }
        }
    }

    #[test]
    fn numbers_have_their_order_to_the_last_digit() {
        let rising = [
            "-1e400",
            "-12",
            "-3.5",
            "-3.49999999999999999999",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "0.3",
            "1",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1e400",
        ];
        for pair in rising.windows(2) {
            assert!(Decimal::of(pair[0]) < Decimal::of(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_compare_as_they_do_elsewhere(left in -5_000_i64..5_000, right in -5_000_i64..5_000, zeros in 0_usize..4) {
            let shifted = format!("{left}{}e-{zeros}", "0".repeat(zeros));
            prop_assert_eq!(Decimal::of(&shifted).cmp(&Decimal::of(&right.to_string())), left.cmp(&right));
        }

        #[test]
        fn floats_compare_as_they_do_elsewhere(left in proptest::num::f64::NORMAL, right in proptest::num::f64::NORMAL) {
            let (left_text, right_text) = (format!("{left:e}"), format!("{right:e}"));
            prop_assert_eq!(Some(Decimal::of(&left_text).cmp(&Decimal::of(&right_text))), left.partial_cmp(&right));
        }
    }
}
