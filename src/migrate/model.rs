//! The model: a tree that takes transactions again, as ZooKeeper does when it replays its log over a fuzzy snapshot.
//!
//! A snapshot is written while transactions go on, so it may hold the effects of transactions that its log will bring again.
//! The rules are those of ZooKeeper's DataTree (see [`Model::apply`]); the server's own Tree is strict and stays so. One rule
//! differs: DataTree raises a parent's counters for the create of a znode that exists where the type is create, we do so for
//! every type. The live tree had done so, and the digests in the log say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::Change;
use super::imported::{Znode, digest_of};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::{Acl, READ};
use crate::proto::path::{self, ROOT};
use crate::tree::record::{Record, Stored};

/// The znode below which nothing counts towards the digest.
const SYSTEM: &str = "/zookeeper";

/// A znode's list.
#[derive(Clone, Debug)]
enum Access {
    Known(Arc<[Acl]>),
    /// A number that the snapshot's cache does not have. A transaction of the log may still tell the list.
    Unknown(i64),
}

#[derive(Debug)]
struct Node {
    data: Option<Box<[u8]>>,
    access: Access,
    stored: Stored,
    digest: u32,
    /// Whether the parent counts it among its children. Not so once the parent was deleted before it.
    linked: bool,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Its session.
    pub session: SessionId,
    /// Its zxid.
    pub zxid: Zxid,
    /// Its time, ms since 1970.
    pub time: i64,
}

/// Why a znode of a snapshot cannot be put where it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misplaced {
    /// The path is none.
    Path,
    /// It is there already.
    Twice,
    /// Its parent is not there.
    Orphan,
}

/// Why a model is no tree that a server could serve.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfinished {
    /// A list nobody told.
    #[error("the znode {path} has the access control list number {id}, which neither the snapshot nor the log tells")]
    Acl {
        /// The znode.
        path: Box<str>,
        /// The list's number.
        id: i64,
    },
    /// `/` or `/zookeeper` is missing.
    #[error("the znode {0} is missing")]
    Missing(&'static str),
}

/// The tree and who owns what in it.
#[derive(Debug, Default)]
pub struct Model {
    nodes: BTreeMap<Box<str>, Node>,
    owned: BTreeMap<SessionId, BTreeSet<Box<str>>>,
    lists: BTreeSet<Arc<[Acl]>>,
    digest: u64,
}

impl Model {
    /// With nothing in it, not even a root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The digest of all znodes.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Znodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The shared form of a list.
    pub fn list(&mut self, acl: Vec<Acl>) -> Arc<[Acl]> {
        if let Some(known) = self.lists.get(&acl[..]) {
            return known.clone();
        }
        let new: Arc<[Acl]> = acl.into();
        self.lists.insert(new.clone());
        new
    }

    /// Puts a znode of a snapshot in its place. `acl` is a list, or the number of one that is not known.
    pub fn place(
        &mut self,
        path: &str,
        data: Option<Box<[u8]>>,
        acl: Result<Arc<[Acl]>, i64>,
        stored: Stored,
    ) -> Result<(), Misplaced> {
        if self.nodes.contains_key(path) {
            return Err(Misplaced::Twice);
        }
        if path != ROOT {
            let parent = parent_of(path).ok_or(Misplaced::Path)?;
            self.nodes.get_mut(parent).ok_or(Misplaced::Orphan)?.stored.num_children += 1;
        }
        let access = acl.map_or_else(Access::Unknown, Access::Known);
        self.put(path, data, access, Stored { num_children: 0, ..stored });
        Ok(())
    }

    fn put(&mut self, path: &str, data: Option<Box<[u8]>>, access: Access, stored: Stored) {
        let digest = digest_of(path, data.as_deref(), &stored);
        if let Some(session) = owner_of(&stored) {
            self.owned.entry(session).or_default().insert(path.into());
        }
        let before = self.nodes.insert(path.into(), Node { data, access, stored, digest, linked: true });
        self.digest = self.digest.wrapping_add(u64::from(digest));
        self.digest = self.digest.wrapping_sub(before.map_or(0, |node| u64::from(node.digest)));
    }

    /// Changes a znode, if it is there, and keeps the digest. Says whether it was there.
    fn revise(&mut self, path: &str, how: impl FnOnce(&mut Node)) -> bool {
        let Some(node) = self.nodes.get_mut(path) else { return false };
        how(node);
        let digest = digest_of(path, node.data.as_deref(), &node.stored);
        self.digest = self.digest.wrapping_sub(u64::from(node.digest)).wrapping_add(u64::from(digest));
        node.digest = digest;
        true
    }

    /// Applies a change, for the first time or again:
    ///
    /// - a create below a missing parent is passed over; one of a znode that is there gives it its list and raises the
    ///   parent's counters, upwards only;
    /// - a delete raises the parent's pzxid whether or not the znode is there;
    /// - setData and setACL of a missing znode are passed over;
    /// - closeSession deletes what it lists and what the session owns;
    /// - the members of a multi stand each for itself.
    pub fn apply(&mut self, at: At, change: Change<'_>) {
        match change {
            Change::Create { path, data, acl, owner, parent_cversion } => {
                self.create(at, &path, data, acl, owner, parent_cversion);
            }
            Change::Delete(path) => self.delete(at.zxid, &path),
            Change::SetData { path, data, version } => {
                self.revise(&path, |node| {
                    node.data = data.map(Into::into);
                    (node.stored.version, node.stored.mzxid, node.stored.mtime) = (version, at.zxid, at.time);
                });
            }
            Change::SetAcl { path, acl, version } => {
                let list = self.list(acl);
                self.revise(&path, |node| {
                    node.access = Access::Known(list);
                    node.stored.aversion = version;
                });
            }
            Change::CloseSession(listed) => {
                let owned = self.owned.remove(&at.session).unwrap_or_default();
                let listed = listed.unwrap_or_default();
                // What is both listed and owned is deleted twice: the second time changes nothing.
                listed.iter().for_each(|path| self.delete(at.zxid, path));
                owned.iter().for_each(|path| self.delete(at.zxid, path));
            }
            Change::Multi(members) => members.into_iter().for_each(|member| self.apply(at, member)),
            Change::OpenSession(_) | Change::Nothing => {}
        }
    }

    fn create(&mut self, at: At, path: &str, data: Option<&[u8]>, acl: Vec<Acl>, owner: i64, parent_cversion: i32) {
        let Some(parent) = parent_of(path).filter(|parent| self.nodes.contains_key(*parent)) else { return };
        let list = Access::Known(self.list(acl));
        let exists = self.nodes.get(path).is_some_and(|node| node.linked);
        self.revise(parent, |node| {
            let stored = &mut node.stored;
            stored.num_children += i32::from(!exists);
            let wanted = if parent_cversion == -1 { stored.cversion.wrapping_add(1) } else { parent_cversion };
            if wanted > stored.cversion {
                (stored.cversion, stored.pzxid) = (wanted, at.zxid);
            }
        });
        if exists {
            self.revise(path, |node| node.access = list);
            return;
        }
        let stored = Stored {
            czxid: at.zxid,
            mzxid: at.zxid,
            pzxid: at.zxid,
            ctime: at.time,
            mtime: at.time,
            ephemeral_owner: owner,
            ..Stored::default()
        };
        self.put(path, data.map(Into::into), list, stored);
    }

    fn delete(&mut self, zxid: Zxid, path: &str) {
        let Some(parent) = parent_of(path).filter(|parent| self.nodes.contains_key(*parent)) else { return };
        let linked = self.nodes.get(path).is_some_and(|node| node.linked);
        self.revise(parent, |node| {
            node.stored.num_children -= i32::from(linked);
            node.stored.pzxid = node.stored.pzxid.max(zxid);
        });
        let Some(node) = self.nodes.remove(path) else { return };
        self.digest = self.digest.wrapping_sub(u64::from(node.digest));
        if let Some(session) = owner_of(&node.stored)
            && let Some(owned) = self.owned.get_mut(&session)
        {
            owned.remove(path);
            if owned.is_empty() {
                self.owned.remove(&session);
            }
        }
        if node.stored.num_children > 0 {
            self.unlink_children(path);
        }
    }

    /// The children of a znode that is gone belong to nobody, until they are created again.
    fn unlink_children(&mut self, path: &str) {
        let below = format!("{path}/");
        let after = (std::ops::Bound::Excluded(below.as_str()), std::ops::Bound::Unbounded);
        for (path, node) in self.nodes.range_mut::<str, _>(after) {
            match path.strip_prefix(&below) {
                Some(name) if !name.contains('/') => node.linked = false,
                Some(_) => {}
                None => break,
            }
        }
    }

    /// Deletes the ephemerals of sessions that `alive` does not know, as ZooKeeper does when it starts. Says whose they were.
    pub fn bury(&mut self, zxid: Zxid, alive: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        let dead: Vec<SessionId> = self.owned.keys().copied().filter(|&session| !alive(session)).collect();
        for &session in &dead {
            for path in self.owned.remove(&session).unwrap_or_default() {
                self.delete(zxid, &path);
            }
        }
        dead
    }

    /// Ends in the znodes, in the order of their paths' bytes, and in how many of those that were left no parent holds: they
    /// cannot be reached and are left out. `/zookeeper/quota` and `/zookeeper/config` are added where an old release had none.
    pub fn finish(mut self) -> Result<(Vec<Znode>, u64, usize), Unfinished> {
        for must in [ROOT, SYSTEM] {
            if !self.nodes.contains_key(must) {
                return Err(Unfinished::Missing(must));
            }
        }
        for (path, acl, aversion) in
            [("/zookeeper/quota", Acl::open(), 0), ("/zookeeper/config", Acl::new(READ, "world", "anyone"), -1)]
        {
            let list = self.list(vec![acl]);
            // Not there, or there already: either is fine.
            let _ = self.place(path, Some([].into()), Ok(list), Stored { aversion, ..Stored::default() });
        }
        let mut left_out: BTreeSet<Box<str>> = BTreeSet::new();
        let mut znodes = Vec::with_capacity(self.nodes.len());
        let mut digest = self.digest;
        for (path, node) in self.nodes {
            let parent_left_out = parent_of(&path).is_some_and(|parent| left_out.contains(parent));
            if !node.linked || parent_left_out {
                digest = digest.wrapping_sub(u64::from(node.digest));
                left_out.insert(path);
                continue;
            }
            let acl = match node.access {
                Access::Known(list) => list,
                Access::Unknown(id) => return Err(Unfinished::Acl { path, id }),
            };
            znodes.push(Znode { path, data: node.data, acl, stored: node.stored });
        }
        Ok((znodes, digest, left_out.len()))
    }
}

/// The path of a znode's parent, where both are well formed but for the characters in them.
fn parent_of(path: &str) -> Option<&str> {
    let (parent, name) = path::split(path)?;
    // With a name behind every '/', the parent's path was one that is there.
    let sound = !name.is_empty() && (parent != ROOT || path.len() == 1 + name.len());
    sound.then_some(parent)
}

/// The session whose end deletes a znode with these counters.
fn owner_of(stored: &Stored) -> Option<SessionId> {
    if stored.ephemeral_owner == 0 {
        return None;
    }
    Some(Record::new(ROOT, None, None, stored).owner()).filter(|&session| session != SessionId::NONE)
}

/// Whether these are a container's or a TTL znode's counters.
pub(super) fn is_extended(stored: &Stored) -> bool {
    stored.ephemeral_owner != 0 && owner_of(stored).is_none()
}
