//! Properties: the syntax of Java's `.properties` files, in which a `zoo.cfg` is written, with line numbers kept.

/// One key with its value, both trimmed, and the line on which it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Counted from 1.
    pub line: usize,
    /// Escapes resolved; may be empty, as in Java.
    pub key: String,
    /// Escapes resolved; empty where the line has only a key.
    pub value: String,
}

/// The text is not in properties syntax.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\\u must be followed by four hexadecimal digits; write \\\\ for a backslash")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
}

/// Every property of `text` in the order of the file, repeated keys included.
pub fn parse(text: &str) -> Result<Vec<Property>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = Vec::new();
    let mut lines = natural_lines(text).enumerate();
    while let Some((at, first)) = lines.next() {
        let line = at + 1;
        let first = first.trim_start_matches(is_blank);
        // A comment never continues, whatever its last character.
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, more)) = lines.next() else { break };
            logical.push_str(more.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        let key = unescape(key).ok_or(SyntaxError { line })?;
        let value = unescape(value).ok_or(SyntaxError { line })?;
        out.push(Property { line, key: key.trim().to_owned(), value: value.trim().to_owned() });
    }
    Ok(out)
}

/// What Java's reader takes for white space: not every Unicode blank.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Lines ended by LF, CR or CR LF.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// An odd number of backslashes at the end asks for the next line.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// Cuts a logical line where its key ends: at the first `=`, `:` or blank that no backslash protects.
fn split(line: &str) -> (&str, &str) {
    let mut protected = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !protected && (is_blank(c) || c == '=' || c == ':');
            protected = c == '\\' && !protected;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

/// Resolves backslashes; `None` where `\u` lacks its digits. Pairs of `\u` surrogates make one character, half a pair
/// becomes the replacement character: no path or number holds one.
fn unescape(raw: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut buffer = [0; 2];
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let mut unit = 0;
                    for _ in 0..4 {
                        unit = unit * 16 + chars.next()?.to_digit(16)?;
                    }
                    units.push(u16::try_from(unit).expect("four hexadecimal digits fit 16 bits"));
                    continue;
                }
                Some(other) => other,
            }
        } else {
            c
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A text, and what it should read as.
    type Case<'a> = (&'a str, &'a [(usize, &'a str, &'a str)]);

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    #[test]
    fn separators_comments_and_blanks() {
        let cases: &[Case<'_>] = &[
            ("a=1", &[(1, "a", "1")]),
            ("a:1", &[(1, "a", "1")]),
            ("a 1", &[(1, "a", "1")]),
            ("  a \t = \t 1  ", &[(1, "a", "1")]),
            ("a == 1", &[(1, "a", "= 1")]),
            ("a", &[(1, "a", "")]),
            ("=1", &[(1, "", "1")]),
            ("# a=1\n! b=2\n\n  # c=3\nd=4", &[(5, "d", "4")]),
            ("a=1 # not a comment", &[(1, "a", "1 # not a comment")]),
            ("# a comment does not continue \\\na=1", &[(2, "a", "1")]),
            ("a=1\r\nb=2\rc=3\n", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3")]),
            ("\u{feff}a=1", &[(1, "a", "1")]),
            ("a=1\na=2", &[(1, "a", "1"), (2, "a", "2")]),
            ("server.1=h:1:2;[::]:3", &[(1, "server.1", "h:1:2;[::]:3")]),
        ];
        for (text, want) in cases {
            let want: Vec<_> = want.iter().map(|&(l, k, v)| (l, k.to_owned(), v.to_owned())).collect();
            assert_eq!(pairs(text), want, "{text:?}");
        }
    }

    #[test]
    fn continuation_and_escapes() {
        let cases: &[Case<'_>] = &[
            ("a=1\\\n   2\nb=3", &[(1, "a", "12"), (3, "b", "3")]),
            ("a=1\\\\\nb=2", &[(1, "a", "1\\"), (2, "b", "2")]),
            ("a=1\\", &[(1, "a", "1")]),
            ("a=1\\\n# part of the value", &[(1, "a", "1# part of the value")]),
            ("a\\ b\\=c\\:d=1", &[(1, "a b=c:d", "1")]),
            ("a=x\\ty", &[(1, "a", "x\ty")]),
            ("a=C:\\\\data", &[(1, "a", "C:\\data")]),
            ("a=\\q", &[(1, "a", "q")]),
            ("a=\\u0041\\u00e9", &[(1, "a", "A\u{e9}")]),
            ("a=\\ud83d\\ude00", &[(1, "a", "\u{1f600}")]),
            ("a=\\ud83d", &[(1, "a", "\u{fffd}")]),
        ];
        for (text, want) in cases {
            let want: Vec<_> = want.iter().map(|&(l, k, v)| (l, k.to_owned(), v.to_owned())).collect();
            assert_eq!(pairs(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_broken_unicode_escape_names_its_line() {
        for text in ["a=1\nb=\\u12", "a=1\nb=\\u12zz", "a=1\n\\uzzzz=1"] {
            assert_eq!(parse(text), Err(SyntaxError { line: 2 }), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(?s).{0,300}") {
            let _ = parse(&text);
        }

        #[test]
        fn plain_pairs_survive(key in "[a-zA-Z0-9._-]{1,20}", value in "[a-zA-Z0-9/*,;-]{0,30}") {
            let got = parse(&format!("{key} = {value}\n")).unwrap();
            prop_assert_eq!(got, vec![Property { line: 1, key, value }]);
        }
    }
}
