//! The model: a tree that takes transactions again, as ZooKeeper does when it replays its log over a fuzzy snapshot.
//!
//! A snapshot is written while transactions go on, so it may hold the effects of transactions that its log will bring again.
//! The rules are those of ZooKeeper's DataTree (see [`Model::apply`]); the server's own Tree is strict and stays so. One rule
//! differs: DataTree raises a parent's counters for the create of a znode that exists where the type is create, we do so for
//! every type. The live tree had done so, and the digests in the log say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::Change;
use super::znode::{Znode, digest_of};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::{Acl, READ};
use crate::proto::path::{self, ROOT};
use crate::tree::quota::{self, Figures};
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
    #[error("the znode {path:?} has the access control list number {id}, which neither the snapshot nor the log tells")]
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
        recount(&mut znodes);
        Ok((znodes, digest, left_out.len()))
    }
}

/// Writes the use of quotas anew, as ZooKeeper does when it starts: it keeps the figures without transactions. They are below
/// `/zookeeper/`, where no digest sees them.
fn recount(znodes: &mut [Znode]) {
    let find = |znodes: &[Znode], path: &str| znodes.binary_search_by(|znode| (*znode.path).cmp(path)).ok();
    for at in 0..znodes.len() {
        let Some(of) = quota::limited(&znodes[at].path) else { continue };
        let Some(stats) = find(znodes, &quota::stats_path(of)) else { continue };
        // '0' follows '/': what lies between the two is below the path.
        let [from, to] = ["/", "0"].map(|end| znodes.partition_point(|znode| *znode.path < *format!("{of}{end}")));
        let itself = find(znodes, of);
        let all =
            znodes[from..to].iter().chain(itself.filter(|itself| !(from..to).contains(itself)).map(|itself| &znodes[itself]));
        let (count, bytes) = all
            .fold((0, 0), |(count, bytes), znode| (count + 1, bytes + znode.data.as_ref().map_or(0, |data| data.len() as i64)));
        znodes[stats].data = Some(Figures::of_use(count, bytes).to_string().into_bytes().into());
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
#[must_use]
pub fn is_extended(stored: &Stored) -> bool {
    stored.ephemeral_owner != 0 && owner_of(stored).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader};
    use crate::tree::tree::Tree;

    fn at(zxid: u64, session: i64) -> At {
        At { session: SessionId(session), zxid: Zxid(zxid), time: 1000 + zxid as i64 }
    }

    fn open() -> Vec<Acl> {
        vec![Acl::open()]
    }

    fn create(path: &str, owner: i64) -> Change<'_> {
        Change::Create { path: path.into(), data: Some(b"x"), acl: open(), owner, parent_cversion: -1 }
    }

    /// The fresh tree.
    fn fresh() -> Model {
        let mut model = Model::new();
        for path in ["/", "/zookeeper"] {
            let list = model.list(open());
            model.place(path, Some([].into()), Ok(list), Stored::default()).unwrap();
        }
        model
    }

    fn paths(model: Model) -> Vec<String> {
        model.finish().unwrap().0.iter().map(|znode| znode.path.to_string()).collect()
    }

    #[test]
    fn the_fresh_digest() {
        assert_eq!(fresh().digest(), 1_371_985_504);
        assert_eq!(paths(fresh()), ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]);
        assert_eq!(Model::new().finish().unwrap_err(), Unfinished::Missing("/"));
    }

    #[test]
    fn znodes_of_a_snapshot_have_their_place() {
        let mut model = fresh();
        let list = model.list(open());
        let mut place = |path| model.place(path, None, Ok(list.clone()), Stored::default());
        for (path, want) in [
            ("/a", Ok(())),
            ("/a/b", Ok(())),
            ("/a", Err(Misplaced::Twice)),
            ("/", Err(Misplaced::Twice)),
            ("/b/c", Err(Misplaced::Orphan)),
            ("/a/", Err(Misplaced::Path)),
            ("//", Err(Misplaced::Path)),
            ("//a", Err(Misplaced::Path)),
            ("a", Err(Misplaced::Path)),
        ] {
            assert_eq!(place(path), want, "{path}");
        }
        model.place("/a/c", None, Err(7), Stored::default()).unwrap();
        model.apply(at(9, 1), Change::SetAcl { path: "/a/c".into(), acl: vec![], version: 1 });
        model.place("/a/d", None, Err(8), Stored::default()).unwrap();
        assert_eq!(model.finish().unwrap_err(), Unfinished::Acl { path: "/a/d".into(), id: 8 });
    }

    #[test]
    fn what_does_not_fit_is_passed_over_by_zookeepers_rules() {
        let mut model = fresh();
        model.apply(at(1, 7), create("/a", 0));
        model.apply(at(2, 7), create("/a/e", 7));
        let before = model.digest();
        for change in [create("/none/b", 0), Change::Delete("/none/b".into()), create("/", 0), Change::Delete("/".into())] {
            model.apply(at(3, 7), change);
            assert_eq!(model.digest(), before);
        }
        // A create that comes again: the list is its own, the parent's counters rise.
        let again = Change::Create { path: "/a/e".into(), data: None, acl: vec![], owner: 0, parent_cversion: 4 };
        model.apply(at(5, 7), again);
        // A delete of what is not there raises pzxid.
        model.apply(at(6, 7), Change::Delete("/a/none".into()));
        model.apply(at(4, 7), Change::Delete("/a/none".into()));
        let node = |model: &Model, path: &str| model.nodes[path].stored;
        assert_eq!((node(&model, "/a").cversion, node(&model, "/a").pzxid), (4, Zxid(6)));
        assert_eq!((node(&model, "/a/e").ephemeral_owner, node(&model, "/a/e").czxid), (7, Zxid(2)));
        assert!(matches!(&model.nodes["/a/e"].access, Access::Known(list) if list.is_empty()));
        model.apply(at(7, 7), Change::CloseSession(None));
        assert_eq!((node(&model, "/a").num_children, node(&model, "/a").pzxid), (0, Zxid(7)));
        assert!(model.owned.is_empty());
    }

    #[test]
    fn children_outlive_their_parent_until_they_come_again() {
        let mut model = fresh();
        for (zxid, path) in [(1, "/a"), (2, "/a/b"), (3, "/a/b/c"), (4, "/a/d"), (5, "/a-x")] {
            model.apply(at(zxid, 1), create(path, 0));
        }
        model.apply(at(6, 1), Change::Delete("/a".into()));
        model.apply(at(7, 1), create("/a", 0));
        model.apply(at(8, 1), create("/a/d", 0));
        assert_eq!(model.nodes["/a"].stored.num_children, 1);
        let (znodes, digest, left_out) = model.finish().unwrap();
        let reached: Vec<_> = znodes.iter().map(|znode| &*znode.path).collect();
        assert_eq!(reached, ["/", "/a", "/a-x", "/a/d", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]);
        let sum = znodes.iter().map(|znode| u64::from(digest_of(&znode.path, znode.data.as_deref(), &znode.stored)));
        assert_eq!((digest, left_out), (sum.sum(), 2));
        assert_eq!(znodes[3].stored.czxid, Zxid(8));
    }

    #[test]
    fn the_dead_are_buried() {
        let mut model = fresh();
        for (session, path) in [(1, "/a"), (2, "/b"), (-3, "/c"), (i64::MIN, "/container"), ((0xff_i64 << 56) | 5, "/ttl")] {
            model.apply(at(3, session), create(path, session));
        }
        assert_eq!(model.bury(Zxid(9), |session| session == SessionId(2)), [SessionId(-3), SessionId(1)]);
        assert_eq!(model.nodes["/"].stored.pzxid, Zxid(9));
        assert_eq!(paths(model)[1..4], ["/b", "/container", "/ttl"]);
    }

    /// One request of a small world.
    #[derive(Clone, Debug)]
    enum Ask {
        Create(String, u8),
        Delete(String),
        Set(String),
        Acl(String),
        Close,
        Pair(Box<Self>, Box<Self>),
    }

    fn any_path() -> impl Strategy<Value = String> {
        prop::collection::vec(0..3usize, 1..4).prop_map(|names| names.iter().map(|&n| ["/a", "/b", "/a-"][n]).collect())
    }

    fn any_ask() -> impl Strategy<Value = Ask> {
        let single = prop_oneof![
            6 => (any_path(), any::<u8>()).prop_map(|(path, kind)| Ask::Create(path, kind)),
            4 => any_path().prop_map(Ask::Delete),
            2 => any_path().prop_map(Ask::Set),
            1 => any_path().prop_map(Ask::Acl),
        ]
        .boxed();
        prop_oneof![
            8 => single.clone(),
            1 => Just(Ask::Close),
            1 => (single.clone(), single).prop_map(|(a, b)| Ask::Pair(a.into(), b.into())),
        ]
    }

    /// What a server makes of a request on this tree: resolved, or nothing where it refuses. `multi` members are written as if
    /// the ones before them had been applied.
    fn resolve(model: &Model, session: i64, ask: &Ask, zxid: u64) -> Option<Txn<'static>> {
        let acl = || vec![Acl::new(i32::from(zxid as u8 % 4), "world", "anyone")].into();
        let existing = |path: &str| model.nodes.get(path).map(|node| node.stored);
        Some(match ask {
            Ask::Create(path, kind) => {
                let parent = existing(parent_of(path)?)?;
                if existing(path).is_some() || parent.ephemeral_owner != 0 {
                    return None;
                }
                let data = (kind % 3 > 0).then_some(&b"data"[..usize::from(kind % 5).min(4)]);
                let (ephemeral, parent_cversion) = (kind % 2 == 0 && session != 0, parent.cversion + 1);
                Txn::Create { path: path.clone().into(), data, acl: acl(), ephemeral, parent_cversion }
            }
            Ask::Delete(path) => {
                existing(path).filter(|stored| stored.num_children == 0)?;
                Txn::Delete { path: path.clone().into() }
            }
            Ask::Set(path) => {
                Txn::SetData { path: path.clone().into(), data: Some(b"set"), version: existing(path)?.version + 1 }
            }
            Ask::Acl(path) => Txn::SetAcl { path: path.clone().into(), acl: acl(), version: existing(path)?.aversion + 1 },
            Ask::Close => {
                let owned = model.owned.get(&SessionId(session)).into_iter().flatten();
                Txn::CloseSession { paths: owned.map(|path| path.to_string().into()).collect() }
            }
            Ask::Pair(..) => return None,
        })
    }

    fn kind_of(txn: &Txn<'_>) -> i32 {
        match txn {
            Txn::Create { .. } => opcode::CREATE,
            Txn::Delete { .. } => opcode::DELETE,
            Txn::SetData { .. } => opcode::SET_DATA,
            Txn::SetAcl { .. } => opcode::SET_ACL,
            Txn::CloseSession { .. } => opcode::CLOSE_SESSION,
            _ => opcode::MULTI,
        }
    }

    /// A correct log: blobs of transactions that a strict tree takes, with its digests.
    fn written(asks: &[(i64, Ask)]) -> (Vec<Vec<u8>>, Tree) {
        let (mut tree, mut model, mut log) = (Tree::new([1, 2, 3, 4]), fresh(), Vec::new());
        for (zxid, (session, ask)) in (1..).zip(asks) {
            let members = match ask {
                Ask::Pair(a, b) => vec![&**a, &**b],
                ask => vec![ask],
            };
            let mut txns = Vec::new();
            for ask in members {
                if let Some(txn) = resolve(&model, *session, ask, zxid) {
                    let mut blob = Vec::new();
                    let header = TxnHeader {
                        session: SessionId(*session),
                        cxid: 0,
                        zxid: Zxid(zxid),
                        time: 1000 + zxid as i64,
                        kind: kind_of(&txn),
                    };
                    header.encode(&mut blob);
                    txn.encode(&mut blob);
                    model.apply(at(zxid, *session), super::super::change::decode_blob(&blob).unwrap().1);
                    txns.push(txn);
                }
            }
            let txn = match txns.len() {
                0 => Txn::Error { err: -101 },
                1 => txns.remove(0),
                _ => Txn::Multi(txns.into_iter().map(|txn| (kind_of(&txn), txn)).collect()),
            };
            let kind = if matches!(txn, Txn::Error { .. }) { opcode::ERROR } else { kind_of(&txn) };
            let header = TxnHeader { session: SessionId(*session), cxid: 0, zxid: Zxid(zxid), time: 1000 + zxid as i64, kind };
            tree.apply(&header, &txn, &mut Vec::new()).unwrap();
            assert_eq!(tree.digest(), model.digest());
            let mut blob = Vec::new();
            header.encode(&mut blob);
            txn.encode(&mut blob);
            log.push(blob);
        }
        (log, tree)
    }

    fn replay(model: &mut Model, blob: &[u8]) {
        let (header, change, _) = super::super::change::decode_blob(blob).unwrap();
        model.apply(At { session: header.session, zxid: header.zxid, time: header.time }, change);
    }

    /// Copies `live` as a server writes a snapshot: a znode and the names of its children in one moment, then each child, while
    /// transactions of `log` go on between any two znodes.
    fn fuzzy(
        live: &mut Model,
        log: &mut std::slice::Iter<'_, Vec<u8>>,
        pace: &mut impl Iterator<Item = usize>,
        path: &str,
        into: &mut Model,
    ) {
        for _ in 0..pace.next().unwrap_or(0) {
            if let Some(blob) = log.next() {
                replay(live, blob);
            }
        }
        let Some(node) = live.nodes.get(path) else { return };
        let Access::Known(list) = node.access.clone() else { panic!("all lists are known") };
        into.place(path, node.data.clone(), Ok(list), node.stored).unwrap();
        let below = if path == ROOT { ROOT.to_owned() } else { format!("{path}/") };
        let is_child =
            |other: &str| other.len() > below.len() && other.starts_with(&below) && !other[below.len()..].contains('/');
        let children: Vec<_> = live.nodes.keys().filter(|other| is_child(other)).cloned().collect();
        for child in children {
            fuzzy(live, log, pace, &child, into);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_fuzzy_copy_and_the_log_end_in_the_strict_tree(
            asks in prop::collection::vec((0..3i64, any_ask()), 1..90),
            begin in 0..60usize,
            pace in prop::collection::vec(prop_oneof![3 => Just(0usize), 2 => 1..4usize], 0..60),
        ) {
            let (log, tree) = written(&asks);
            let begin = begin.min(log.len());
            let mut live = fresh();
            log[..begin].iter().for_each(|blob| replay(&mut live, blob));
            let mut copy = Model::new();
            fuzzy(&mut live, &mut log[begin..].iter(), &mut pace.into_iter(), ROOT, &mut copy);
            log[begin..].iter().for_each(|blob| replay(&mut copy, blob));
            prop_assert_eq!(copy.digest(), tree.digest());
            let (znodes, digest, left_out) = copy.finish().unwrap();
            prop_assert_eq!((digest, left_out, znodes.len()), (tree.digest(), 0, tree.node_count()));
            for znode in znodes {
                let record = tree.get(&znode.path).unwrap();
                prop_assert_eq!((znode.data.as_deref(), &*znode.acl, znode.stored), (record.data(), record.acl(), record.stored()));
            }
        }
    }
}
