//! Imported: a whole state of the service, at one zxid, on its way from one server's files to another's.

use std::sync::Arc;

use crate::engine::archivist::load::Loaded;
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::tree::loader::LoadError as TreeError;
use crate::tree::record::{Record, Stored};

/// One znode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Znode {
    /// Its path, `/` for the root.
    pub path: Box<str>,
    /// Its data; null and empty are two things.
    pub data: Option<Box<[u8]>>,
    /// Its list; equal lists are one allocation.
    pub acl: Arc<[Acl]>,
    /// Its counters, `num_children` among them.
    pub stored: Stored,
}

impl Znode {
    /// Borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ZnodeRef<'_> {
        ZnodeRef { path: &self.path, data: self.data.as_deref(), acl: &self.acl, stored: self.stored }
    }
}

/// One znode, borrowed from wherever it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZnodeRef<'a> {
    /// Its path, `/` for the root.
    pub path: &'a str,
    /// Its data.
    pub data: Option<&'a [u8]>,
    /// Its list.
    pub acl: &'a [Acl],
    /// Its counters.
    pub stored: Stored,
}

impl<'a> From<&'a Record> for ZnodeRef<'a> {
    fn from(record: &'a Record) -> Self {
        Self { path: record.path(), data: record.data(), acl: record.acl(), stored: record.stored() }
    }
}

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
        znodes.sort_unstable_by(|a, b| walk_key(&a.path).cmp(walk_key(&b.path)));
        let znodes = znodes.iter().map(|znode| (&*znode.path, znode.data.as_deref(), &*znode.acl, znode.stored));
        Loaded::planted(znodes, sessions.into_iter().collect(), zxid, digest, seeds)
    }

    /// The znodes, borrowed.
    pub fn znode_refs(&self) -> impl Iterator<Item = ZnodeRef<'_>> + Clone {
        self.znodes.iter().map(Znode::as_ref)
    }
}

/// Orders paths so that each parent is followed by its children's subtrees: as if a slash came before every other byte.
fn walk_key(path: &str) -> impl Iterator<Item = u8> {
    path.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
}

/// A znode's part of the tree's digest.
#[must_use]
pub fn digest_of(path: &str, data: Option<&[u8]>, stored: &Stored) -> u32 {
    Record::new(path, data, None, stored).digest()
}
