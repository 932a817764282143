//! Form: how paths, data and ACLs are shown in lines.

use std::borrow::Cow;
use std::fmt::Write;

use crate::proto::acl::Acl;

/// How the data of znodes is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum DataForm {
    /// As hexadecimal digits.
    Hex,
    /// As text; what is not UTF-8 as U+FFFD.
    Utf8,
}

/// A path as it is, or in quotes where it holds what would break the line or its columns.
#[must_use]
pub fn shown_path(path: &str) -> Cow<'_, str> {
    let plain = !path.is_empty() && !path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
    if plain { Cow::Borrowed(path) } else { Cow::Owned(format!("{path:?}")) }
}

/// An entry of an ACL as ZooKeeper's command line takes it: `world:anyone:cdrwa`.
#[must_use]
pub fn shown_acl(acl: &Acl) -> String {
    let letters = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
    let perms: String = letters.iter().filter(|(bit, _)| acl.perms & bit != 0).map(|(_, letter)| letter).collect();
    format!("{}:{}:{perms}", acl.scheme, acl.id)
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a string takes all");
    }
    out
}

/// Data in the form asked for.
#[must_use]
pub fn shown_data(data: &[u8], form: DataForm) -> String {
    match form {
        DataForm::Hex => hex(data),
        DataForm::Utf8 => String::from_utf8_lossy(data).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_columns() {
        assert_eq!(shown_path("/a/é"), "/a/é");
        for (path, shown) in [("/a b", "\"/a b\""), ("", "\"\""), ("/\n\"", "\"/\\n\\\"\"")] {
            assert_eq!(shown_path(path), shown);
        }
        assert_eq!(shown_acl(&Acl::new(9, "digest", "u:h")), "digest:u:h:dr");
        assert_eq!(
            (shown_data(b"\x00z", DataForm::Hex), shown_data(b"\xff", DataForm::Utf8)),
            ("007a".into(), "\u{fffd}".into())
        );
    }
}
