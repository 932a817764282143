//! Directives: the comma list of `key=value` that DIGEST-MD5 speaks in (RFC 2831, 7.1), as leniently as Java reads it.

/// Keys that are kept; others are passed over, as often as they come.
const KNOWN: [&str; 11] =
    ["username", "realm", "nonce", "cnonce", "qop", "digest-uri", "response", "maxbuf", "charset", "cipher", "authzid"];

/// The list is malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormError {
    /// `=value`.
    #[error("a directive without a key")]
    NoKey,
    /// `key,` or `key key`.
    #[error("a key without '='")]
    NoEquals,
    /// `key=` at the end.
    #[error("a directive without a value")]
    NoValue,
    /// A quote that is not closed.
    #[error("an unmatched quote")]
    Unmatched,
    /// `"value"x`.
    #[error("no comma after a quoted value")]
    NoComma,
    /// A key that has a meaning is there twice.
    #[error("a directive that is repeated")]
    Repeated,
}

/// A list that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Directives {
    list: Vec<(&'static str, Vec<u8>)>,
}

impl Directives {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let mut this = Self::default();
        let mut rest = bytes;
        loop {
            // Empty elements are allowed.
            while let [first, tail @ ..] = rest
                && (*first == b',' || is_space(*first))
            {
                rest = tail;
            }
            let end = rest.iter().position(|&b| matches!(b, b',' | b'=') || is_space(b)).unwrap_or(rest.len());
            let (key, tail) = rest.split_at(end);
            rest = trimmed(tail);
            match rest {
                // A key alone at the end has no value.
                [] if tail.is_empty() => {
                    this.keep(key, Vec::new())?;
                    return Ok(this);
                }
                [b'=', ..] if key.is_empty() => return Err(FormError::NoKey),
                [b'=', value @ ..] => rest = trimmed(value),
                _ => return Err(FormError::NoEquals),
            }
            let value;
            (value, rest) = match rest {
                [] => return Err(FormError::NoValue),
                [b'"', quoted @ ..] => unquoted(quoted)?,
                _ => {
                    let end = rest.iter().position(|&b| b == b',' || is_space(b)).unwrap_or(rest.len());
                    (rest[..end].to_vec(), &rest[end..])
                }
            };
            this.keep(key, value)?;
        }
    }

    fn keep(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), FormError> {
        let Some(known) = KNOWN.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(key)) else { return Ok(()) };
        if self.get(known).is_some() {
            return Err(FormError::Repeated);
        }
        self.list.push((known, value));
        Ok(())
    }

    /// The value of a known key.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.list.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_slice())
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&b| !is_space(b)).unwrap_or(bytes.len());
    &bytes[start..]
}

/// What stands before the closing quote, and what comes after it.
fn unquoted(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), FormError> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match bytes[at..] {
            [b'"'] => return Ok((value, &[])),
            [b'"', next, ..] if next == b',' || is_space(next) => return Ok((value, &bytes[at + 1..])),
            [b'"', ..] => return Err(FormError::NoComma),
            [b'\\', byte, ..] => {
                value.push(byte);
                at += 2;
            }
            [] | [b'\\'] => return Err(FormError::Unmatched),
            [byte, ..] => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<(&'static str, String)>, FormError> {
        let parsed = Directives::parse(text.as_bytes())?;
        Ok(parsed.list.into_iter().map(|(key, value)| (key, String::from_utf8(value).unwrap())).collect())
    }

    #[test]
    fn keys_and_values() {
        let all = read("username=\"a\\\"b\\\\c, d\", NONCE = x , ,foo=bar,foo=bar,qop=auth").unwrap();
        let expected = [("username", "a\"b\\c, d"), ("nonce", "x"), ("qop", "auth")];
        assert_eq!(all, expected.map(|(key, value)| (key, value.to_owned())));
        for (text, read_as) in [("", ""), (" ,, ", ""), ("qop=", "!"), ("nonce=\"\"", ""), ("nonce=,", ""), ("nonce=a b", "a")] {
            let value =
                Directives::parse(text.as_bytes()).map(|d| String::from_utf8(d.get("nonce").unwrap_or(b"").into()).unwrap());
            assert_eq!(value.unwrap_or("!".to_owned()), read_as, "{text:?}");
        }
    }

    #[test]
    fn what_is_malformed() {
        use FormError::{NoComma, NoEquals, NoKey, NoValue, Repeated, Unmatched};
        for (text, error) in [
            ("=x", NoKey),
            ("abc,foo=x", NoEquals),
            ("abc def=x", NoEquals),
            ("abc ", NoEquals),
            ("foo=", NoValue),
            ("foo=  ", NoValue),
            ("foo=\"x", Unmatched),
            ("foo=\"x\\", Unmatched),
            ("foo=\"x\"y", NoComma),
            ("nonce=x,Nonce=x", Repeated),
            ("realm=\"a\",realm=\"b\"", Repeated),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[a\", =\\\\]{0,20}") {
            let _ = Directives::parse(&bytes);
            let _ = Directives::parse(text.as_bytes());
        }
    }
}
