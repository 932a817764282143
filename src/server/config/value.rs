//! Values: what the text of a key may be, and how it is read.

/// What a key's value is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// A whole number in this range; decimal, or hexadecimal after `0x`, as Java's `Integer.getInteger` reads it.
    Int(i64, i64),
    /// Bytes in this range; a suffix `k`, `m` or `g` multiplies by 1024, 1024^2, 1024^3.
    Bytes(i64, i64),
    /// `true` or `false` in any case.
    Bool,
    /// One of these words, as written.
    Word(&'static [&'static str]),
    /// Anything.
    Text,
    /// A file or directory: not empty, no NUL.
    Path,
}

/// A value that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of `Int` and `Bytes`.
    Int(i64),
    /// Of `Bool`.
    Bool(bool),
    /// Of the others.
    Text(String),
}

/// The text is not such a value; the message says what would be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {0}")]
pub struct Expected(pub String);

impl ValueType {
    /// Reads `text`, which is trimmed.
    pub fn read(&self, text: &str) -> Result<Value, Expected> {
        match *self {
            Self::Int(min, max) => {
                in_range(integer(text), min, max).ok_or_else(|| Expected(format!("a whole number from {min} to {max}")))
            }
            Self::Bytes(min, max) => in_range(bytes(text), min, max)
                .ok_or_else(|| Expected(format!("a number of bytes from {min} to {max} (k, m and g are understood)"))),
            Self::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Self::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Self::Bool => Err(Expected("true or false".to_owned())),
            Self::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Word(words) => Err(Expected(words.join(" or "))),
            Self::Path if text.is_empty() || text.contains('\0') => Err(Expected("a path".to_owned())),
            Self::Path | Self::Text => Ok(Value::Text(text.to_owned())),
        }
    }
}

/// A text as an error quotes it: on one line, and not too much of it.
#[must_use]
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut out: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        out.push_str("...");
    }
    out
}

fn in_range(value: Option<i64>, min: i64, max: i64) -> Option<Value> {
    value.filter(|v| (min..=max).contains(v)).map(Value::Int)
}

fn integer(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with(['+', '-']) => i64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

fn bytes(text: &str) -> Option<i64> {
    let (digits, shift) = match text.chars().last()?.to_ascii_lowercase() {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    integer(digits)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_type_reads_its_own() {
        let int = ValueType::Int(-1, 100_000_000);
        assert_eq!(int.read("42"), Ok(Value::Int(42)));
        assert_eq!(int.read("-1"), Ok(Value::Int(-1)));
        assert_eq!(int.read("0xfffff"), Ok(Value::Int(0xfffff)));
        for bad in ["", "-2", "100000001", "1.5", "4 2", "0x", "0x-1", "99999999999999999999"] {
            assert!(int.read(bad).is_err(), "{bad:?}");
        }
        let bytes = ValueType::Bytes(0, i64::MAX);
        assert_eq!(bytes.read("8g"), Ok(Value::Int(8 << 30)));
        assert_eq!(bytes.read("16K"), Ok(Value::Int(16 << 10)));
        assert_eq!(bytes.read("7"), Ok(Value::Int(7)));
        for bad in ["", "g", "9223372036854775807g", "1t", "é"] {
            assert!(bytes.read(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ValueType::Bool.read("TRUE"), Ok(Value::Bool(true)));
        assert_eq!(ValueType::Bool.read("no").unwrap_err().to_string(), "expected true or false");
        assert_eq!(ValueType::Word(&["a", "b"]).read("c").unwrap_err().to_string(), "expected a or b");
        assert!(ValueType::Path.read("").is_err());
        assert_eq!(ValueType::Text.read(""), Ok(Value::Text(String::new())));
    }

    #[test]
    fn quotes_stay_on_one_line() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a\nb"), "a\u{fffd}b");
        assert_eq!(quoted(&"x".repeat(81)), format!("{}...", "x".repeat(80)));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,30}") {
            for t in [ValueType::Int(i64::MIN, i64::MAX), ValueType::Bytes(i64::MIN, i64::MAX), ValueType::Bool, ValueType::Path] {
                let _ = t.read(&text);
            }
        }
    }
}
