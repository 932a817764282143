//! Acls: what a stored list permits, what a list must be to be stored, and how it is shown.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{AuthConfig, Identities, digest, ip, kerberos, scheme};
use crate::ground::limits::FRAME_MAX_DEFAULT;
use crate::proto::acl::{ALL, Acl, AclRef};
use crate::proto::code::Code;

/// The only id of the scheme `world`.
const ANYONE: &str = "anyone";

/// Whether a list lets a connection do any of what `wanted` has bits for (`ZooKeeperServer.checkACL`). An empty list permits
/// everything.
#[must_use]
pub fn permits(acl: &[Acl], wanted: i32, who: &Identities, config: &AuthConfig) -> bool {
    // Nearly every list is one entry for the world; then nothing else needs to be looked at.
    let is_world = |entry: &Acl| &*entry.scheme == scheme::WORLD && &*entry.id == ANYONE;
    match acl {
        [] => true,
        [first, ..] if first.perms & wanted != 0 && is_world(first) => true,
        _ if config.skip_acl || who.is_super() => true,
        _ => acl.iter().any(|entry| entry.perms & wanted != 0 && (is_world(entry) || names(entry, who, config))),
    }
}

/// Whether an entry names the connection. Entries of unknown schemes, left by other servers, name nobody.
fn names(entry: &Acl, who: &Identities, config: &AuthConfig) -> bool {
    match &*entry.scheme {
        scheme::DIGEST => config.digest_enabled && who.has(scheme::DIGEST, &entry.id),
        scheme::IP => ip::matches(who.address(), &entry.id),
        scheme::SASL => config.sasl_acls && sasl_names(&entry.id, who, config),
        _ => false,
    }
}

/// Whether an id of the scheme `sasl` names the connection: the user `super` answers to every id.
fn sasl_names(id: &str, who: &Identities, config: &AuthConfig) -> bool {
    let is_any = config.any_sasl_user.as_deref() == Some(id);
    who.authenticated()
        .any(|identity| identity.scheme == scheme::SASL && (is_any || &*identity.id == id || &*identity.id == "super"))
}

/// A list that may be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fixed {
    /// Exactly [`Acl::open`], which nearly every create asks for.
    Open,
    /// Any other; never empty.
    List(Vec<Acl>),
}

impl Fixed {
    /// As a list.
    #[must_use]
    pub fn into_list(self) -> Vec<Acl> {
        match self {
            Self::Open => vec![Acl::open()],
            Self::List(list) => list,
        }
    }
}

/// Why a list cannot be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidAcl {
    /// The list is null or empty.
    #[error("empty list")]
    Empty,
    /// A scheme is null or has no provider.
    #[error("no provider for a scheme")]
    NoProvider,
    /// The provider of a scheme does not take its id.
    #[error("invalid id")]
    BadId,
    /// The id of a scheme that has a provider is null.
    #[error("null id")]
    NullId,
    /// `auth` on a connection that has proved nothing.
    #[error("auth without an authenticated identity")]
    NotAuthenticated,
    /// `auth` entries stand for more bytes than a frame may have.
    #[error("expanded list too large")]
    TooLarge,
}

impl InvalidAcl {
    /// The answer. ZooKeeper trips over a null id and says so with a code of its own.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::NullId => Code::MarshallingError,
            _ => Code::InvalidAcl,
        }
    }
}

/// What is stored for the list of a create or setACL (`PrepRequestProcessor.fixupACL`): repeated entries once, in the order
/// sent; each `auth` entry replaced by the connection's authenticated identities, which may repeat what is there already.
pub fn fixup(list: &[AclRef<'_>], who: &Identities, config: &AuthConfig) -> Result<Fixed, InvalidAcl> {
    if let [AclRef { perms: ALL, scheme: Some(scheme), id: Some(id) }] = list
        && scheme == scheme::WORLD
        && id == ANYONE
    {
        return Ok(Fixed::Open);
    }
    let mut seen = BTreeSet::new();
    let mut fixed = Vec::new();
    let mut expanded = 0;
    for AclRef { perms, scheme, id } in list {
        if list.len() > 1 && !seen.insert((*perms, scheme, id)) {
            continue;
        }
        let scheme = scheme.as_deref().ok_or(InvalidAcl::NoProvider)?;
        if scheme == scheme::AUTH {
            let before = fixed.len();
            for identity in who.authenticated().filter(|identity| config.vouches(identity.scheme)) {
                expanded += identity.scheme.len() + identity.id.len() + size_of::<Acl>();
                if expanded > FRAME_MAX_DEFAULT {
                    return Err(InvalidAcl::TooLarge);
                }
                fixed.push(Acl::new(*perms, identity.scheme, &identity.id));
            }
            if fixed.len() == before {
                return Err(InvalidAcl::NotAuthenticated);
            }
        } else {
            fixed.push(Acl::new(*perms, scheme, storable(scheme, id.as_ref(), config)?));
        }
    }
    match &fixed[..] {
        [] => Err(InvalidAcl::Empty),
        [only] if only.is_open() => Ok(Fixed::Open),
        _ => Ok(Fixed::List(fixed)),
    }
}

fn storable<'a>(scheme: &str, id: Option<&'a Cow<'_, str>>, config: &AuthConfig) -> Result<&'a str, InvalidAcl> {
    let is_valid: fn(&str) -> bool = match scheme {
        scheme::WORLD => |id| id == ANYONE,
        scheme::DIGEST if config.digest_enabled => digest::is_valid,
        scheme::IP => ip::is_valid,
        scheme::SASL if config.sasl_acls => kerberos::is_valid,
        _ => return Err(InvalidAcl::NoProvider),
    };
    let id = id.ok_or(InvalidAcl::NullId)?;
    if is_valid(id) { Ok(id) } else { Err(InvalidAcl::BadId) }
}

/// The list as getACL shows it to a connection without ADMIN: hashes of digest ids hidden.
#[must_use]
pub fn masked(acl: &[Acl]) -> Vec<Acl> {
    let mask = |entry: &Acl| match &*entry.scheme {
        scheme::DIGEST => Acl::new(entry.perms, scheme::DIGEST, &digest::masked(&entry.id)),
        _ => entry.clone(),
    };
    acl.iter().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::super::authenticate;
    use super::*;
    use crate::proto::acl::{ADMIN, READ, WRITE};

    const USER: &str = "user:smGaoVKd/cQkjm7b88GyorAUz20=";

    fn client(credentials: &[&str]) -> Identities {
        let mut who = Identities::of("10.0.0.7".parse().unwrap());
        let config = AuthConfig { super_digest: Some(digest::id("super:test")), ..AuthConfig::default() };
        for text in credentials {
            authenticate(&mut who, "digest", text.as_bytes(), &config).unwrap();
        }
        who
    }

    fn fix(list: &[(i32, &str, &str)], who: &Identities) -> Result<Vec<Acl>, InvalidAcl> {
        let refs: Vec<_> =
            list.iter().map(|&(perms, scheme, id)| AclRef { perms, scheme: Some(scheme.into()), id: Some(id.into()) }).collect();
        fixup(&refs, who, &AuthConfig::default()).map(Fixed::into_list)
    }

    fn acls(list: &[(i32, &str, &str)]) -> Vec<Acl> {
        list.iter().map(|&(perms, scheme, id)| Acl::new(perms, scheme, id)).collect()
    }

    #[test]
    fn permission_comes_from_any_entry_with_a_wanted_bit() {
        let config = AuthConfig::default();
        let (nobody, user) = (client(&[]), client(&["user:pass"]));
        let list = acls(&[(READ, "world", "anyone"), (WRITE, "digest", USER), (ADMIN, "ip", "10.0.0.0/24"), (ALL, "sasl", "x")]);
        assert!(permits(&list, READ, &nobody, &config));
        assert!(!permits(&list, WRITE, &nobody, &config));
        assert!(permits(&list, WRITE, &user, &config));
        assert!(permits(&list, ADMIN, &nobody, &config));
        assert!(!permits(&list, ADMIN, &Identities::of("10.0.1.7".parse().unwrap()), &config));
        assert!(permits(&list, READ | WRITE, &nobody, &config), "one of the wanted bits is enough");
        assert!(permits(&[], ALL, &nobody, &config));
        assert!(!permits(&acls(&[(0, "world", "anyone")]), ALL, &nobody, &config));
        assert!(!permits(&acls(&[(ALL, "world", "someone"), (ALL, "super", ""), (ALL, "auth", "")]), ALL, &user, &config));
    }

    #[test]
    fn super_and_skip_acl_pass_and_a_disabled_digest_does_not() {
        let config = AuthConfig::default();
        let list = acls(&[(ALL, "digest", USER)]);
        assert!(permits(&list, READ, &client(&["super:test"]), &config));
        assert!(permits(&list, READ, &client(&[]), &AuthConfig { skip_acl: true, ..config.clone() }));
        let off = AuthConfig { digest_enabled: false, ..config };
        assert!(!permits(&list, READ, &client(&["user:pass"]), &off));
        let refs = [AclRef { perms: ALL, scheme: Some("auth".into()), id: None }];
        assert_eq!(fixup(&refs, &client(&["user:pass"]), &off), Err(InvalidAcl::NotAuthenticated));
    }

    #[test]
    fn acls_of_sasl_need_their_provider() {
        let off = AuthConfig::default();
        let on = AuthConfig { sasl_acls: true, any_sasl_user: Some("anybody".to_owned()), ..AuthConfig::default() };
        let user = |name| {
            let mut who = client(&[]);
            super::super::login::proved(&mut who, name, &super::super::SaslConfig::default()).unwrap();
            who
        };
        let (bob, boss) = (user("bob"), user("super"));
        let list = |id| acls(&[(ALL, "sasl", id)]);
        assert!(permits(&list("bob"), READ, &bob, &on) && !permits(&list("eve"), READ, &bob, &on));
        assert!(permits(&list("anybody"), READ, &bob, &on) && !permits(&list("anybody"), READ, &client(&["bob:x"]), &on));
        assert!(permits(&list("bob"), READ, &boss, &on) && !boss.is_super());
        assert!(!permits(&list("bob"), READ, &bob, &off) && !permits(&list("bob"), READ, &client(&["bob:x"]), &on));
        let refs =
            |scheme: &'static str, id: &'static str| [AclRef { perms: ALL, scheme: Some(scheme.into()), id: Some(id.into()) }];
        assert_eq!(fixup(&refs("auth", ""), &bob, &on), Ok(Fixed::List(list("bob"))));
        assert_eq!(fixup(&refs("auth", ""), &bob, &off), Err(InvalidAcl::NotAuthenticated));
        assert_eq!(fixup(&refs("sasl", "eve/host@R"), &bob, &on), Ok(Fixed::List(list("eve/host@R"))));
        assert_eq!(fixup(&refs("sasl", "a@b@c"), &bob, &on), Err(InvalidAcl::BadId));
        assert_eq!(fixup(&refs("sasl", "eve"), &bob, &off), Err(InvalidAcl::NoProvider));
        let null = [AclRef { perms: ALL, scheme: Some("sasl".into()), id: None }];
        assert_eq!(fixup(&null, &bob, &on), Err(InvalidAcl::NullId));
    }

    #[test]
    fn the_open_list_needs_no_list() {
        let (who, config) = (client(&[]), AuthConfig::default());
        let open = AclRef { perms: ALL, scheme: Some("world".into()), id: Some("anyone".into()) };
        assert_eq!(fixup(std::slice::from_ref(&open), &who, &config), Ok(Fixed::Open));
        assert_eq!(fixup(&[open.clone(), open], &who, &config), Ok(Fixed::Open));
        assert_eq!(fix(&[(READ, "world", "anyone")], &who), Ok(acls(&[(READ, "world", "anyone")])));
        assert_eq!(fix(&[(-1, "world", "anyone")], &who), Ok(acls(&[(-1, "world", "anyone")])), "odd bits stay as sent");
    }

    #[test]
    fn repeated_entries_go_and_the_order_stays() {
        let list = [(1, "digest", "a:b"), (31, "world", "anyone"), (1, "digest", "a:b"), (2, "digest", "a:b")];
        let expected = acls(&[(1, "digest", "a:b"), (31, "world", "anyone"), (2, "digest", "a:b")]);
        assert_eq!(fix(&list, &client(&[])), Ok(expected));
    }

    #[test]
    fn auth_stands_for_every_digest_of_the_connection() {
        let who = client(&["u:p", "v:q", "u:p"]);
        let (u, v) = (digest::id("u:p"), digest::id("v:q"));
        let expected = acls(&[(31, "digest", &u), (31, "digest", &v), (1, "digest", "z:z")]);
        assert_eq!(fix(&[(31, "auth", ""), (1, "digest", "z:z")], &who), Ok(expected));
        let who = client(&["u:p"]);
        let twice = acls(&[(31, "digest", &u), (31, "digest", &u)]);
        assert_eq!(fix(&[(31, "auth", ""), (31, "auth", "x")], &who), Ok(twice.clone()), "as the Java server has it");
        assert_eq!(fix(&[(31, "auth", ""), (31, "digest", &u)], &who), Ok(twice));
        assert_eq!(fix(&[(31, "auth", "")], &client(&["super:test"])), Ok(acls(&[(31, "digest", &digest::id("super:test"))])));
        assert_eq!(fix(&[(31, "auth", "")], &client(&[])), Err(InvalidAcl::NotAuthenticated));
    }

    #[test]
    fn what_cannot_be_stored() {
        use InvalidAcl::{BadId, Empty, NoProvider, NullId};
        let who = client(&["super:test"]);
        assert_eq!(fix(&[], &who), Err(Empty));
        for (scheme, id, error) in [
            ("world", "x", BadId),
            ("world", "", BadId),
            ("digest", "a:b:c", BadId),
            ("ip", "127.0.0.1/33", BadId),
            ("super", "", NoProvider),
            ("sasl", "u", NoProvider),
            ("x509", "CN=a", NoProvider),
            ("", "x", NoProvider),
        ] {
            assert_eq!(fix(&[(31, scheme, id)], &who), Err(error), "{scheme}:{id}");
            assert_eq!(fix(&[(31, "world", "anyone"), (31, scheme, id)], &who), Err(error), "{scheme}:{id}");
        }
        for (scheme, error) in [(None, NoProvider), (Some("world"), NullId), (Some("digest"), NullId), (Some("ip"), NullId)] {
            let refs = [AclRef { perms: 31, scheme: scheme.map(Into::into), id: None }];
            assert_eq!(fixup(&refs, &who, &AuthConfig::default()), Err(error), "{scheme:?}");
        }
        assert_eq!((NullId.code(), BadId.code()), (Code::MarshallingError, Code::InvalidAcl));
    }

    #[test]
    fn a_small_request_cannot_ask_for_a_huge_list() {
        let credentials: Vec<_> = (0..100).map(|i| format!("{i}:x")).collect();
        let who = client(&credentials.iter().map(String::as_str).collect::<Vec<_>>());
        let ids: Vec<_> = (0..2000).map(|i| i.to_string()).collect();
        let list: Vec<_> = ids.iter().map(|id| (31, "auth", id.as_str())).collect();
        assert_eq!(fix(&list, &who), Err(InvalidAcl::TooLarge));
        assert_eq!(fix(&list[..50], &who).map(|acl| acl.len()), Ok(5000));
    }

    #[test]
    fn getacl_hides_hashes() {
        let list = acls(&[(1, "world", "anyone"), (31, "digest", "a:bcd"), (31, "ip", "1.2.3.4")]);
        assert_eq!(masked(&list), acls(&[(1, "world", "anyone"), (31, "digest", "a:x"), (31, "ip", "1.2.3.4")]));
    }
}
