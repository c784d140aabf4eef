//! Numbers with units, as people write them in redis.conf.

/// Reads a memory size: `1024`, `64kb`, `16mb`, `1gb`, and Redis' decimal `1k`, `1m`, `1g`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn memory(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("'{text}' is not a memory size such as 1024, 64kb, 16mb or 1gb (1k is 1000 bytes)")
    };
    let (digits, unit) = number_and_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1000 * 1000,
        "mb" => 1 << 20,
        "g" => 1000 * 1000 * 1000,
        "gb" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads a time in milliseconds: `600`, `600ms`, `3s`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a time such as 600 (milliseconds), 600ms or 3s");
    let (digits, unit) = number_and_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "ms" => 1,
        "s" => 1000,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads a plain decimal integer.
///
/// # Errors
/// What is wrong with it, in words.
pub fn integer(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_not_a_number| format!("'{text}' is not a whole number"))
}

/// Reads a plain decimal integer that may be negative.
///
/// # Errors
/// What is wrong with it, in words.
pub fn signed(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_not_a_number| format!("'{text}' is not a whole number"))
}

/// Reads file permissions in octal, as `chmod` takes them.
///
/// # Errors
/// What is wrong with it, in words.
pub fn octal(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 8)
        .map_err(|_not_a_number| format!("'{text}' is not a number in octal such as 700"))
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_have_the_units_of_redis() {
        let table = [
            ("0", 0),
            ("100b", 100),
            ("1k", 1000),
            ("1kb", 1024),
            ("2M", 2_000_000),
            ("16mb", 16 << 20),
            ("1g", 1_000_000_000),
            ("1GB", 1 << 30),
        ];
        for (text, bytes) in table {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "mb",
            "-1",
            "1.5gb",
            "1tb",
            "1 mb",
            "99999999999gb",
            "+1",
        ] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_milliseconds_unless_they_say_otherwise() {
        for (text, ms) in [("600", 600), ("250ms", 250), ("3s", 3000), ("0", 0)] {
            assert_eq!(millis(text), Ok(ms), "{text}");
        }
        for text in ["", "s", "1m", "-5", "1.5s"] {
            assert!(millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(octal("700"), Ok(0o700));
        assert!(octal("789").is_err());
    }
}
