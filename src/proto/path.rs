//! Paths of znodes: which are legal, and where a path splits into parent and name.

/// The root's path, as clients write it.
pub const ROOT: &str = "/";

/// Whether the path may name a znode (ZooKeeper's `PathUtils.validatePath`).
///
/// Refused: empty, no leading '/', a '/' at the end, an empty component, `.` or `..`, control characters (U+0000-U+001F,
/// U+007F-U+009F), surrogates and private use (U+D800-U+F8FF), U+FFF0-U+FFFF, and whatever lies beyond the basic plane
/// (its UTF-16 form is made of surrogates).
#[must_use]
pub fn is_valid(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return false;
    }
    if bytes.len() == 1 {
        return true;
    }
    let mut start = 1;
    let mut plain = true;
    for (i, &b) in bytes.iter().enumerate().skip(1) {
        if b == b'/' {
            if !component_is_valid(&bytes[start..i]) {
                return false;
            }
            start = i + 1;
        } else if b < 0x20 || b == 0x7f {
            return false;
        } else if b >= 0x80 {
            plain = false;
        }
    }
    component_is_valid(&bytes[start..]) && (plain || path.chars().all(char_is_legal))
}

fn component_is_valid(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
}

const fn char_is_legal(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..)
}

/// The path up to its last '/', and the name after it. The parent of `/x` is the root, `/`. `None` where there is no '/'.
#[must_use]
pub fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    Some((if slash == 0 { ROOT } else { &path[..slash] }, &path[slash + 1..]))
}

/// The last component of a path.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rfind('/').map_or(path, |slash| &path[slash + 1..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn legal_paths() {
        for path in
            ["/", "/a", "/a/b", "/...", "/a b", "/zookeeper", "/\u{e9}", "/\u{d7ff}", "/\u{f900}", "/\u{ffef}", "/.a", "/a."]
        {
            assert!(is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn illegal_paths_of_every_kind() {
        for path in [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/\0",
            "/a\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{80}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{1f600}",
            "/\u{fffd}",
        ] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/"), Some(("/", "")));
        assert_eq!(split("a"), None);
        assert_eq!(name("/a/b"), "b");
    }

    proptest! {
        /// Against the rules said plainly, over UTF-16 units as Java has them.
        #[test]
        fn agrees_with_the_rules(path in prop_oneof![
            "(/[a.\u{0}\u{7f}\u{80}\u{e9}\u{fff0}\u{1f600}]{0,3}){0,4}/?",
            ".{0,8}",
        ]) {
            let legal = |u: u16| !matches!(u, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff);
            let expected = path == "/"
                || path.starts_with('/')
                    && path[1..].split('/').all(|name| !["", ".", ".."].contains(&name))
                    && path.encode_utf16().all(legal);
            prop_assert_eq!(is_valid(&path), expected);
            if let Some((parent, name)) = split(&path) {
                prop_assert!(path.ends_with(name) && path.starts_with(parent));
            }
        }
    }
}
