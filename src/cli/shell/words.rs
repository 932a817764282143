//! Words: a line cut into words, as a shell does it: at blanks, but for those in quotes or behind a backslash.

/// A quote that is not closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a quote is not closed")]
pub struct Unclosed;

/// The words of a line.
pub fn words(line: &str) -> Result<Vec<String>, Unclosed> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(Unclosed) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_quotes_and_backslashes() {
        assert_eq!(words(r#" set /a  "x y" 'q"\n' b\ c "\"" "" "#).unwrap(), ["set", "/a", "x y", r#"q"\n"#, "b c", "\"", ""]);
        assert_eq!((words(""), words("a 'b")), (Ok(vec![]), Err(Unclosed)));
    }
}
