//! Imported: a whole state of the service, at one zxid, on its way from one server's files to another's.

use crate::engine::archivist::load::Loaded;
use crate::ground::ids::{SessionId, Zxid};
use crate::tree::loader::LoadError as TreeError;
use crate::tree::replay::znode::{self, Znode, ZnodeRef};

/// A whole state: tree and sessions, exact at one zxid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The last transaction in it.
    pub zxid: Zxid,
    /// All znodes in the order of their paths' bytes: the root first, parents before children.
    pub znodes: Vec<Znode>,
    /// Sessions in order, with their timeouts in ms. Every owner of an ephemeral is among them.
    pub sessions: Vec<(SessionId, i32)>,
    /// The tree's digest (ZooKeeper's version 2), the sum over `znodes`.
    pub digest: u64,
}

impl Imported {
    /// As a server holds it. An error says where the znodes are no tree.
    pub fn into_loaded(self, seeds: [u64; 4]) -> Result<Loaded, TreeError> {
        let Self { zxid, mut znodes, sessions, digest } = self;
        znode::into_walk(&mut znodes);
        let znodes = znodes.iter().map(|znode| (&*znode.path, znode.data.as_deref(), &*znode.acl, znode.stored));
        Loaded::planted(znodes, sessions.into_iter().collect(), zxid, digest, seeds)
    }

    /// The znodes, borrowed.
    pub fn znode_refs(&self) -> impl Iterator<Item = ZnodeRef<'_>> + Clone {
        self.znodes.iter().map(Znode::as_ref)
    }
}
