//! Keys: what a key of the configuration is to this server, how it is looked up, and which one a misspelt name meant.

use super::table::TABLE;
use super::value::ValueType;

/// What this server makes of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It has its effect.
    Works,
    /// Nothing here corresponds to it, and nothing needs to; the text says why.
    NoEffect(&'static str),
    /// It belongs to this feature, which comes later.
    Later(&'static str),
    /// Without what it asks for something would stand unprotected, so only its default is accepted; the text says what is
    /// missing and what to do.
    Refused(&'static str),
}

/// Where a key may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// In a zoo.cfg, or as a system property after `zookeeper.` or `ringkeeper.`.
    Prefixed,
    /// Only as a system property under its own name.
    Bare,
    /// Both.
    Either,
}

/// One row of the table of keys. A name that ends in `.N` stands for every number, one that ends in `.*` for every ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// As in a zoo.cfg.
    pub name: &'static str,
    /// What this server makes of it.
    pub kind: Kind,
    /// What its value is made of.
    pub value: ValueType,
    /// The value in effect where none is given; empty where there is none.
    pub default: &'static str,
    /// Where it may stand.
    pub form: Form,
    /// True for keys that only this server knows.
    pub ours: bool,
}

impl Key {
    fn matches(&self, name: &str) -> bool {
        if let Some(prefix) = self.name.strip_suffix('N').filter(|p| p.ends_with('.')) {
            return name.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        }
        match self.name.strip_suffix('*') {
            Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
            None => name == self.name,
        }
    }

    /// Whether it may stand in a zoo.cfg.
    #[must_use]
    pub const fn in_file(&self) -> bool {
        matches!(self.form, Form::Prefixed | Form::Either)
    }

    /// Whether it is a system property under its own name.
    #[must_use]
    pub const fn bare(&self) -> bool {
        matches!(self.form, Form::Bare | Form::Either)
    }
}

/// The row for `name`; exact names come before families.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    TABLE.iter().find(|k| k.name == name).or_else(|| TABLE.iter().find(|k| k.matches(name)))
}

/// Longer names are no misspelling of anything, and comparing them costs the square of their length.
const NEAREST_MAX: usize = 80;

/// The known key that `name` was probably meant to be: few letters away, capitals not counted.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    if name.chars().count() > NEAREST_MAX {
        return None;
    }
    let allowed = (name.chars().count() / 3).max(1);
    TABLE
        .iter()
        .filter(|k| !k.name.ends_with(".N") && !k.name.ends_with(".*"))
        .map(|k| (distance(name, k.name), k.name))
        .filter(|&(d, _)| d <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// Edits (a letter put in, left out, changed, or two neighbours swapped) from one word to the other, capitals not counted.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// Beginnings of the properties that belong to the Java machine and its libraries.
const JAVA: &[&str] = &[
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "log4j",
    "logback.",
    "slf4j",
    "org.slf4j.",
    "file.",
    "user.",
    "os.",
    "line.",
    "path.",
    "io.netty.",
    "org.apache.",
    "org.eclipse.jetty.",
    "jetty.",
    "jna.",
    "visualvm.",
    "awt.",
    "networkaddress.",
];

/// Whether a system property is the Java machine's or a Java library's own business.
#[must_use]
pub fn is_java(property: &str) -> bool {
    JAVA.iter().any(|prefix| property.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        let mut seen = BTreeSet::new();
        for key in TABLE {
            assert!(seen.insert(key.name), "{} twice", key.name);
            assert_eq!(find(key.name).map(|k| k.name), Some(key.name));
            if !key.default.is_empty() {
                assert!(key.value.read(key.default).is_ok(), "default of {}", key.name);
            }
            if let Kind::Refused(reason) = key.kind {
                assert!(reason.len() > 20, "{} does not say why", key.name);
            }
        }
    }

    #[test]
    fn families() {
        let name = |n| find(n).map(|k| k.name);
        assert_eq!(name("server.1"), Some("server.N"));
        assert_eq!(name("server."), None);
        assert_eq!(name("server.x"), None);
        assert_eq!(name("authProvider.12"), Some("authProvider.N"));
        assert_eq!(name("metricsProvider.className"), Some("metricsProvider.className"));
        assert_eq!(name("metricsProvider.httpsPort"), Some("metricsProvider.*"));
        assert_eq!(name("quorum.auth.anything"), Some("quorum.auth.*"));
        assert_eq!(name("tickTime"), Some("tickTime"));
        assert_eq!(name("ticktime"), None);
    }

    #[test]
    fn nearest_key() {
        let cases = [
            ("ticktime", Some("tickTime")),
            ("tickTme", Some("tickTime")),
            ("clinetPort", Some("clientPort")),
            ("clientport", Some("clientPort")),
            ("datadir", Some("dataDir")),
            ("maxClientCnxn", Some("maxClientCnxns")),
            ("maxClientConnections", None),
            ("maxClientConns", Some("maxClientCnxns")),
            ("4lw.command.whitelist", Some("4lw.commands.whitelist")),
            ("flush.lingermicro", Some("flush.lingerMicros")),
            ("ssl.keystore.location", Some("ssl.keyStore.location")),
            ("shard", Some("shards")),
            ("", None),
            ("somethingElseAltogether", None),
        ];
        for (typed, want) in cases {
            assert_eq!(nearest(typed), want, "{typed}");
        }
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn java_properties() {
        for p in ["java.security.auth.login.config", "log4j2.configurationFile", "file.encoding", "com.sun.management.jmxremote"]
        {
            assert!(is_java(p), "{p}");
        }
        assert!(!is_java("zookeeper.tickTime"));
        assert!(!is_java("tickTime"));
    }

    proptest! {
        #[test]
        fn lookups_never_panic(name in "(?s).{0,100}") {
            let _ = find(&name);
            let _ = nearest(&name);
        }
    }
}
