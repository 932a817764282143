//! Login: an auth packet adds to the identities of its connection, or is refused.

use super::{AuthConfig, Identities, SaslConfig, digest, scheme};

/// Why an auth packet was refused: the answer is AUTHFAILED and the connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthRefused {
    /// Nobody here knows the scheme, or it cannot be proved in an auth packet.
    #[error("no provider for the scheme")]
    NoProvider,
    /// The connection has as many identities as it may.
    #[error("too many identities on one connection")]
    TooMany,
}

/// Asks the provider of a scheme about credentials.
///
/// `digest` takes any bytes: they are read as text (what is not UTF-8 as U+FFFD), and a user nobody knows is merely one that
/// no ACL names. `ip` is accepted and adds nothing. All else is refused, `sasl` and `x509` included.
pub fn authenticate(who: &mut Identities, scheme: &str, credentials: &[u8], config: &AuthConfig) -> Result<(), AuthRefused> {
    match scheme {
        scheme::IP => Ok(()),
        scheme::DIGEST if config.digest_enabled => {
            let id = digest::id(&String::from_utf8_lossy(credentials));
            let added =
                (config.super_digest.as_deref() != Some(&id) || who.add(scheme::SUPER, "")) && who.add(scheme::DIGEST, &id);
            if added { Ok(()) } else { Err(AuthRefused::TooMany) }
        }
        _ => Err(AuthRefused::NoProvider),
    }
}

/// Adds the name that a SASL exchange has proved.
pub fn proved(who: &mut Identities, name: &str, config: &SaslConfig) -> Result<(), AuthRefused> {
    let added = who.add(scheme::SASL, name) && (!config.is_super(name) || who.add(scheme::SUPER, ""));
    if added { Ok(()) } else { Err(AuthRefused::TooMany) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Identities {
        Identities::of("127.0.0.1".parse().unwrap())
    }

    #[test]
    fn digest_adds_an_identity_once() {
        let (mut who, config) = (client(), AuthConfig::default());
        for credentials in [&b"user:pass"[..], b"user:pass", b"foo", b"u\xff\xc3(:p"] {
            assert_eq!(authenticate(&mut who, "digest", credentials, &config), Ok(()));
        }
        let ids: Vec<_> = who.authenticated().map(|i| &*i.id).collect();
        let odd = "u\u{fffd}\u{fffd}(:OL5kX4Uga1+H4Mlrt8vWRc1+9uc=";
        assert_eq!(ids, ["user:smGaoVKd/cQkjm7b88GyorAUz20=", "foo:C+7Hteo/D9vJXQ3UfzxbwnXaijM=", odd]);
        assert!(!who.is_super());
    }

    #[test]
    fn the_super_digest_makes_super_and_a_digest() {
        let config = AuthConfig { super_digest: Some(digest::id("super:test")), ..AuthConfig::default() };
        let mut who = client();
        assert_eq!(authenticate(&mut who, "digest", b"super:tests", &config), Ok(()));
        assert!(!who.is_super());
        assert_eq!(authenticate(&mut who, "digest", b"super:test", &config), Ok(()));
        assert!(who.is_super() && who.has("super", "") && who.has("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="));
    }

    #[test]
    fn ip_is_accepted_and_ignored_and_the_rest_refused() {
        let (mut who, config) = (client(), AuthConfig::default());
        assert_eq!(authenticate(&mut who, "ip", b"10.0.0.1", &config), Ok(()));
        for scheme in ["world", "auth", "super", "sasl", "x509", "ensemble", "nope", "", "Digest"] {
            assert_eq!(authenticate(&mut who, scheme, b"", &config), Err(AuthRefused::NoProvider), "{scheme}");
        }
        let off = AuthConfig { digest_enabled: false, ..config };
        assert_eq!(authenticate(&mut who, "digest", b"a:b", &off), Err(AuthRefused::NoProvider));
        assert_eq!(who, client());
    }

    #[test]
    fn a_proved_name_is_an_identity_and_may_be_super() {
        let config = SaslConfig { super_users: vec!["root".to_owned()], ..SaslConfig::default() };
        let mut who = client();
        assert_eq!(proved(&mut who, "bob", &config), Ok(()));
        assert!(who.has("sasl", "bob") && !who.is_super());
        assert_eq!(proved(&mut who, "root", &config), Ok(()));
        assert!(who.has("sasl", "root") && who.is_super());
        assert_eq!(proved(&mut who, &"x".repeat(1 << 20), &config), Err(AuthRefused::TooMany));
    }

    #[test]
    fn enforced_schemes_let_in_whoever_has_one() {
        let enforced = |schemes: &[&str]| AuthConfig {
            enforced: schemes.iter().map(|&scheme| scheme.to_owned()).collect(),
            ..AuthConfig::default()
        };
        let mut who = client();
        assert!(enforced(&[]).lets_in(&who) && enforced(&["ip"]).lets_in(&who) && !enforced(&["sasl", "digest"]).lets_in(&who));
        proved(&mut who, "bob", &SaslConfig::default()).unwrap();
        assert!(enforced(&["digest", "sasl"]).lets_in(&who) && !enforced(&["digest"]).lets_in(&who));
        assert!(enforced(&["digest", "sasl"]).is_sasl_enforced() && !enforced(&["digest"]).is_sasl_enforced());
    }

    #[test]
    fn a_connection_cannot_collect_identities_without_end() {
        let (mut who, config) = (client(), AuthConfig::default());
        let refused = (0..1000).find_map(|i| authenticate(&mut who, "digest", format!("{i}:x").as_bytes(), &config).err());
        assert_eq!(refused, Some(AuthRefused::TooMany));
        assert_eq!(authenticate(&mut who, "digest", &vec![b'u'; 1 << 20], &config), Err(AuthRefused::TooMany));
    }
}
