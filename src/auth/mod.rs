//! Auth: who a connection is, what an ACL lets it do, and which ACLs are fit to be stored.
//!
//! The providers are those of a ZooKeeper 3.9.4 without TLS and Kerberos: world, auth, digest, ip, sasl and super.

pub mod acls;
pub mod digest;
mod directives;
pub mod identities;
mod ip;
pub mod kerberos;
pub mod login;
pub mod sasl;

use std::sync::Arc;

pub use acls::{Fixed, InvalidAcl, fixup, masked, permits};
pub use identities::{Identities, Identity};
pub use login::{AuthRefused, authenticate};
pub use sasl::{Nonces, SaslConfig};

/// The scheme names of providers.
mod scheme {
    pub(super) const WORLD: &str = "world";
    pub(super) const AUTH: &str = "auth";
    pub(super) const DIGEST: &str = "digest";
    pub(super) const IP: &str = "ip";
    pub(super) const SASL: &str = "sasl";
    pub(super) const SUPER: &str = "super";
}

/// What the operator settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthConfig {
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: the digest id, as `user:hash`, that makes a connection super.
    pub super_digest: Option<String>,
    /// `zookeeper.DigestAuthenticationProvider.enabled`: without it there is no scheme `digest`, and stored ACLs of it match
    /// nobody.
    pub digest_enabled: bool,
    /// `zookeeper.skipACL`: every operation is permitted. ACLs in requests must be valid nevertheless.
    pub skip_acl: bool,
    /// Whom a SASL exchange lets in. Without it an exchange ends at once, with no token.
    pub sasl: Option<Arc<SaslConfig>>,
    /// `authProvider.N` names the provider of `sasl`: ACLs of the scheme may be stored, and match.
    pub sasl_acls: bool,
    /// `zookeeper.letAnySaslUserDoX`: the id of ACLs that match whoever has proved a name by SASL.
    pub any_sasl_user: Option<String>,
    /// `zookeeper.allowSaslFailedClients`: who fails to prove a name stays, without it, unless SASL is enforced.
    pub keeps_sasl_failed: bool,
    /// `sessionRequireClientSASLAuth` or `enforce.auth.schemes`: nothing is asked here but by an identity of one of these
    /// schemes. Empty asks for none.
    pub enforced: Vec<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            super_digest: None,
            digest_enabled: true,
            skip_acl: false,
            sasl: None,
            sasl_acls: false,
            any_sasl_user: None,
            keeps_sasl_failed: false,
            enforced: Vec::new(),
        }
    }
}

impl AuthConfig {
    /// Whether a connection may ask for anything.
    #[must_use]
    pub fn lets_in(&self, who: &Identities) -> bool {
        self.enforced.is_empty() || who.iter().any(|identity| self.enforced.iter().any(|scheme| scheme == identity.scheme))
    }

    /// Whether a client that fails to prove a name by SASL has failed altogether.
    #[must_use]
    pub fn is_sasl_enforced(&self) -> bool {
        self.enforced.iter().any(|scheme| scheme == scheme::SASL)
    }

    /// The name of an identity that may be shown to others (whoAmI). Only a provider knows one.
    #[must_use]
    pub fn user_name<'a>(&self, identity: &'a Identity) -> &'a str {
        if identity.scheme == scheme::SASL && !self.sasl_acls { "" } else { identity.user_name() }
    }

    /// Whether the scheme of an identity has a provider that vouches for it.
    fn vouches(&self, scheme: &str) -> bool {
        match scheme {
            scheme::DIGEST => self.digest_enabled,
            scheme::SASL => self.sasl_acls,
            _ => false,
        }
    }
}
