//! A znode as it comes from a snapshot, whole, before it is one of a tree's records.

use std::sync::Arc;

use crate::proto::acl::Acl;
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

/// Brings znodes from the order of their paths' bytes, or any other, into an archive's: each parent followed by its children's subtrees.
pub fn into_walk(znodes: &mut [Znode]) {
    znodes.sort_unstable_by(|a, b| walk_key(&a.path).cmp(walk_key(&b.path)));
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
