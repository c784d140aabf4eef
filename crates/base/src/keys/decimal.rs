//! Decimal numbers of `INCRBYFLOAT`.
//!
//! Redis counts with `long double`, whose size depends on the machine. Nodes must agree, and what is meant are decimal
//! numbers: so these are counted exactly, with 17 decimals, as many as Redis shows, and 21 digits before the point.

use crate::answer::KeyError;
use std::fmt;

/// Decimals.
const DECIMALS: u32 = 17;
const ONE: i128 = 10i128.pow(DECIMALS);
/// Larger powers of ten cannot matter.
const EXPONENT_MAX: i64 = 400;

/// A number, times 10^17.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decimal(i128);

impl Decimal {
    /// Reads a number: digits with an optional sign, point and exponent.
    ///
    /// # Errors
    /// [`KeyError`] if it is none, or one that is too large.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_no_text| KeyError::NotAFloat)?;
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") {
            return Err(KeyError::NotFinite);
        }
        let (digits, exponent) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, read_exponent(exponent)?),
            None => (digits, 0),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = || whole.bytes().chain(part.bytes());
        if whole.len() + part.len() == 0 || !all().all(|digit| digit.is_ascii_digit()) {
            return Err(KeyError::NotAFloat);
        }
        // The power of ten of the first digit.
        let first = i64::try_from(whole.len()).unwrap_or(i64::MAX) - 1 + exponent;
        let mut sum = 0i128;
        let mut half = false;
        for (power, digit) in (0i64..).map(|k| first - k).zip(all()) {
            let digit = i128::from(digit - b'0');
            let place = power + i64::from(DECIMALS);
            match u32::try_from(place) {
                Ok(place) if digit > 0 => {
                    let value = 10i128.checked_pow(place).and_then(|p| p.checked_mul(digit));
                    let added = value.and_then(|value| sum.checked_add(value));
                    sum = added.ok_or(KeyError::NotFinite)?;
                }
                Ok(_) => {}
                Err(_) => {
                    half = place == -1 && digit >= 5;
                    break;
                }
            }
        }
        sum += i128::from(half);
        Ok(Self(if negative { -sum } else { sum }))
    }

    /// Adds.
    ///
    /// # Errors
    /// [`KeyError`] if the sum is too large.
    pub fn plus(self, other: Self) -> Result<Self, KeyError> {
        let sum = self.0.checked_add(other.0);
        sum.map(Self).ok_or(KeyError::NotFinite)
    }
}

fn read_exponent(text: &str) -> Result<i64, KeyError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(KeyError::NotAFloat);
    }
    let exponent = text.strip_prefix('+').unwrap_or(text).parse::<i64>();
    let limit = if text.starts_with('-') {
        -EXPONENT_MAX
    } else {
        EXPONENT_MAX
    };
    Ok(exponent.map_or(limit, |n| n.clamp(-EXPONENT_MAX, EXPONENT_MAX)))
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / ONE, (self.0 % ONE).unsigned_abs());
        if self.0 < 0 && whole == 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if part > 0 {
            let digits = format!("{part:017}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> Result<String, KeyError> {
        let one = Decimal::parse(one.as_bytes())?;
        let sum = one.plus(Decimal::parse(other.as_bytes())?)?;
        Ok(sum.to_string())
    }

    #[test]
    fn sums_are_exact_and_short() {
        for (one, other, wanted) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3.25", "-0.25"),
            ("0", "-0", "0"),
            ("-1", "-1.5", "-2.5"),
            (".5", "5.", "5.5"),
            ("1e-17", "0", "0.00000000000000001"),
            ("5e-18", "4e-18", "0.00000000000000001"),
            ("100000000000000000000", "1", "100000000000000000001"),
        ] {
            assert_eq!(sum(one, other), Ok(wanted.into()), "{one} + {other}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused() {
        for text in [
            "", "x", "1x", " 1", "1 ", "+", ".", "e5", "1e", "1e+", "nan", "--1", "1.2.3",
        ] {
            assert_eq!(sum(text, "1"), Err(KeyError::NotAFloat), "{text:?}");
        }
        for text in ["inf", "-Infinity", "1e30", "1e99999999999999999999"] {
            assert_eq!(sum(text, "1"), Err(KeyError::NotFinite), "{text:?}");
        }
        assert_eq!(sum("1e21", "1e21"), Err(KeyError::NotFinite));
    }
}
