//! Auth: who a connection is, what an ACL lets it do, and which ACLs are fit to be stored.
//!
//! The providers are those of a ZooKeeper 3.9.4 without TLS and SASL: world, auth, digest, ip and super.

pub mod acls;
pub mod digest;
pub mod identities;
mod ip;
pub mod login;

pub use acls::{Fixed, InvalidAcl, fixup, masked, permits};
pub use identities::{Identities, Identity};
pub use login::{AuthRefused, authenticate};

/// The scheme names of providers.
mod scheme {
    pub(super) const WORLD: &str = "world";
    pub(super) const AUTH: &str = "auth";
    pub(super) const DIGEST: &str = "digest";
    pub(super) const IP: &str = "ip";
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
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { super_digest: None, digest_enabled: true, skip_acl: false }
    }
}
