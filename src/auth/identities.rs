//! Identities: who a connection is, in the order in which it proved it.

use core::net::{IpAddr, Ipv4Addr};

use smallvec::{SmallVec, smallvec};

use super::{ip, scheme};

/// Identities one connection may have. ZooKeeper has no bound; each costs every check of an ACL.
pub const IDENTITIES_MAX: usize = 128;

/// Bytes of ids one connection may have, for the same reason.
pub const IDENTITY_BYTES_MAX: usize = 64 << 10;

/// One identity. The scheme is a provider's name, not a client's choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// `ip`, `digest`, `sasl` or `super`.
    pub scheme: &'static str,
    /// Identity within the scheme.
    pub id: Box<str>,
}

impl Identity {
    /// The part that may be shown to others (whoAmI): of a digest the user, else the id.
    #[must_use]
    pub fn user_name(&self) -> &str {
        match self.scheme {
            scheme::DIGEST => self.id.split(':').next().unwrap_or_default(),
            _ => &self.id,
        }
    }
}

/// The identities of one connection. It starts as its address, and is never without it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identities {
    address: IpAddr,
    is_super: bool,
    list: SmallVec<[Identity; 1]>,
}

impl Identities {
    /// Those of a connection that has proved nothing. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn of(client: IpAddr) -> Self {
        let address = client.to_canonical();
        let ip = Identity { scheme: scheme::IP, id: ip::text(address).into() };
        Self { address, is_super: false, list: smallvec![ip] }
    }

    /// Those that another server vouches for, as it sent them. Schemes that are not known here permit nothing.
    #[must_use]
    pub fn told<'a>(by: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut this = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), is_super: false, list: SmallVec::new() };
        for (scheme, id) in by {
            let known = [scheme::IP, scheme::DIGEST, scheme::SASL, scheme::SUPER].into_iter().find(|known| *known == scheme);
            if let Some(scheme) = known {
                if let (scheme::IP, Ok(address)) = (scheme, id.parse::<IpAddr>()) {
                    this.address = address.to_canonical();
                }
                this.add(scheme, id);
            }
        }
        this
    }

    /// The client's address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether every ACL permits it everything.
    #[must_use]
    pub const fn is_super(&self) -> bool {
        self.is_super
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.list.iter()
    }

    /// Those that an `auth` entry of an ACL stands for: proved by a secret, so not the address. Nor `super`, which is no
    /// scheme of ACLs.
    pub fn authenticated(&self) -> impl Iterator<Item = &Identity> {
        self.list.iter().filter(|identity| matches!(identity.scheme, scheme::DIGEST | scheme::SASL))
    }

    /// Whether the identity is among them.
    #[must_use]
    pub fn has(&self, scheme: &str, id: &str) -> bool {
        self.list.iter().any(|identity| identity.scheme == scheme && &*identity.id == id)
    }

    /// Adds one that is not there yet. `false` where there is no room.
    pub(super) fn add(&mut self, scheme: &'static str, id: &str) -> bool {
        if self.has(scheme, id) {
            return true;
        }
        let bytes: usize = self.list.iter().map(|identity| identity.id.len()).sum();
        if self.list.len() >= IDENTITIES_MAX || bytes + id.len() > IDENTITY_BYTES_MAX {
            return false;
        }
        self.is_super |= scheme == scheme::SUPER;
        self.list.push(Identity { scheme, id: id.into() });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_starts_as_its_address() {
        let ids = Identities::of("::ffff:10.0.0.7".parse().unwrap());
        assert_eq!(ids.iter().collect::<Vec<_>>(), [&Identity { scheme: "ip", id: "10.0.0.7".into() }]);
        assert!(ids.has("ip", "10.0.0.7") && !ids.is_super() && ids.authenticated().next().is_none());
        assert!(Identities::of("::1".parse().unwrap()).has("ip", "0:0:0:0:0:0:0:1"));
    }

    #[test]
    fn another_server_vouches_for_a_client() {
        let mut ids = Identities::of("10.0.0.7".parse().unwrap());
        assert!(ids.add("digest", "u:h") && ids.add("super", "") && ids.add("sasl", "u"));
        let pairs: Vec<_> = ids.iter().map(|identity| (identity.scheme.to_owned(), identity.id.clone())).collect();
        assert_eq!(Identities::told(pairs.iter().map(|(scheme, id)| (scheme.as_str(), &**id))), ids);
        let foreign = Identities::told([("kerberos", "x"), ("ip", "not an address")].into_iter());
        assert!(!foreign.is_super() && foreign.authenticated().next().is_none() && foreign.address().is_unspecified());
    }

    #[test]
    fn identities_are_a_set_in_order() {
        let mut ids = Identities::of("10.0.0.7".parse().unwrap());
        assert!(ids.add("digest", "u:h") && ids.add("super", "") && ids.add("digest", "u:h") && ids.add("digest", "a:h"));
        let shown: Vec<_> = ids.iter().map(|i| (i.scheme, i.user_name())).collect();
        assert_eq!(shown, [("ip", "10.0.0.7"), ("digest", "u"), ("super", ""), ("digest", "a")]);
        assert_eq!(ids.authenticated().map(|i| &*i.id).collect::<Vec<_>>(), ["u:h", "a:h"]);
        assert!(ids.is_super());
    }

    #[test]
    fn there_is_room_for_so_many_only() {
        let mut ids = Identities::of("10.0.0.7".parse().unwrap());
        assert!(!ids.add("digest", &"x".repeat(IDENTITY_BYTES_MAX)));
        for i in 1..IDENTITIES_MAX {
            assert!(ids.add("digest", &format!("{i}:h")));
        }
        assert!(!ids.add("digest", "one:more") && ids.add("digest", "1:h"));
    }
}
