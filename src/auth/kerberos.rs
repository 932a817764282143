//! Kerberos: names of the form `user[/host][@realm]`, as ACLs of the scheme `sasl` may hold them and as users are known by them.

/// What is left out of a proved name whose realm is empty. Names of another realm stay as they are: no rule maps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shortening {
    /// `zookeeper.kerberos.removeHostFromPrincipal`.
    pub host: bool,
    /// `zookeeper.kerberos.removeRealmFromPrincipal`.
    pub realm: bool,
}

/// User, host if there is one, and realm. `None` where the name is none of Kerberos.
fn parts(name: &str) -> Option<(&str, Option<&str>, &str)> {
    let (principal, realm) = name.split_once('@')?;
    let (user, host) = match principal.split_once('/') {
        Some((user, host)) => (user, Some(host)),
        None => (principal, None),
    };
    let is_plain = |part: &str| !part.contains(['/', '@']);
    (is_plain(realm) && host.is_none_or(is_plain)).then_some((user, host, realm))
}

/// Whether an ACL may hold the name: anything without '@' (`KerberosName`).
pub(super) fn is_valid(name: &str) -> bool {
    !name.contains('@') || parts(name).is_some()
}

/// The id that a user is known by. `None` where the name is malformed.
pub(super) fn shortened(name: &str, shortening: Shortening) -> Option<String> {
    if !name.contains('@') {
        return Some(name.to_owned());
    }
    let (user, host, realm) = parts(name)?;
    if !realm.is_empty() {
        return Some(name.to_owned());
    }
    let host = host.filter(|_| !shortening.host).map(|host| format!("/{host}")).unwrap_or_default();
    Some(format!("{user}{host}{}", if shortening.realm { "" } else { "@" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_an_acl_may_hold() {
        for valid in ["", "a", "a/b", "a/b/c", "@", "a@b", "a/b@c", "/@x"] {
            assert!(is_valid(valid), "{valid:?}");
        }
        for invalid in ["a@b@c", "a/b/c@d", "a@b/c", "@@"] {
            assert!(!is_valid(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn only_names_of_the_empty_realm_are_shortened() {
        let of = |name: &str, host, realm| shortened(name, Shortening { host, realm });
        for name in ["", "a", "a/b", "a@R", "a/b@R"] {
            assert_eq!(of(name, true, true).as_deref(), Some(name));
        }
        let all = [(false, false, "a/h@"), (true, false, "a@"), (false, true, "a/h"), (true, true, "a")];
        for (host, realm, id) in all {
            assert_eq!(of("a/h@", host, realm).as_deref(), Some(id));
        }
        assert_eq!((of("a@", false, false).as_deref(), of("a@b@c", true, true)), (Some("a@"), None));
    }
}
