//! Digest: user and password become an id (`DigestAuthenticationProvider`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// The id of a credential `user:password`: the user, and the hash of the whole. A credential without ':' is a user whose
/// name is hashed. This is what goes into ACLs and into `superDigest`.
#[must_use]
pub fn id(credential: &str) -> String {
    let user = credential.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(Sha1::digest(credential.as_bytes())))
}

/// Whether an ACL may hold the id: exactly two parts between ':', where empty parts at the end do not count
/// (`String.split`), so `a:b::` is valid and `a:` is not.
pub(super) fn is_valid(id: &str) -> bool {
    // The last part is not empty now, so there are two parts exactly where there is one ':'.
    id.trim_end_matches(':').matches(':').count() == 1
}

/// The id as those may see it who may not change the ACL: hash hidden. The Java server's pattern stops at a line's end and
/// shows what follows; we do not.
pub(super) fn masked(id: &str) -> String {
    match id.split_once(':') {
        Some((user, _)) => format!("{user}:x"),
        None => id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_java_server() {
        assert_eq!(id("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(id("user:pass"), "user:smGaoVKd/cQkjm7b88GyorAUz20=");
        assert_eq!(id("foo"), "foo:C+7Hteo/D9vJXQ3UfzxbwnXaijM=");
        assert_eq!(id(""), ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        assert_eq!(id(":"), ":BaefBs8/Z/cm2uaNGKIpD2yaUMk=");
        assert_eq!(id("a:b:c"), "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0=");
    }

    #[test]
    fn two_parts_are_valid_as_the_java_server_counts_parts() {
        for valid in ["a:b", ":b", "a:b:", "a:b::"] {
            assert!(is_valid(valid), "{valid:?}");
        }
        for invalid in ["", "a", "a:", ":", "::", "a:b:c", "a::b"] {
            assert!(!is_valid(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn a_mask_hides_the_hash() {
        assert_eq!(masked("u:hash"), "u:x");
        assert_eq!(masked("u:ha\nsh:"), "u:x");
        assert_eq!(masked("u"), "u");
    }
}
