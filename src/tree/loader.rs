//! Loader: the tree built from the chunks of an archive. Chunks are checked and made records of on any thread, then joined
//! in their order on one; no transaction is applied.

use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;
use rkyv::rancor::Failure;
use rkyv::util::AlignedVec;
use triomphe::Arc;

use super::acls::{AclList, Acls};
use super::archive::{ArchivedChunk, ArchivedZnode, LENT_MIN, OPEN};
use super::index::Filling;
use super::record::{Record, Stored};
use super::tree::Tree;
use super::view::{NONE, SlotId, View};
use crate::ground::ids::Zxid;
use crate::proto::acl::Acl;
use crate::proto::path::{self, ROOT};

/// Chunks are not those of a tree. Where their checksums were right, whoever wrote them was wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no archive of znodes, or not of as many as were announced.
    #[error("a chunk is not an archive of znodes")]
    Malformed,
    /// A znode comes where its parent is not the latest of its depth, or the root is not the first.
    #[error("znode {0:?} is not where its parent is")]
    Astray(Box<str>),
    /// A znode comes twice.
    #[error("znode {0:?} comes twice")]
    Twice(Box<str>),
    /// A znode has another number of children than it counts.
    #[error("znode {path:?} counts {counted} children and has {found}")]
    Children {
        /// The parent.
        path: Box<str>,
        /// What its record says.
        counted: i32,
        /// What came.
        found: u32,
    },
    /// There is not even a root.
    #[error("there is no root")]
    Empty,
    /// The records are not those that the digest was made of.
    #[error("the tree's digest is {found:#x} and not {stated:#x}")]
    Digest {
        /// What the records add up to.
        found: u64,
        /// What was written.
        stated: u64,
    },
}

/// Makes records of chunks; shared by the threads that do.
pub struct Loader {
    hasher: RandomState,
    acls: Mutex<Acls>,
}

/// The records of one chunk, in its order, each with the hash of its path.
pub struct Znodes(Vec<(u64, Record)>);

impl Znodes {
    /// The records.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().map(|(_, record)| record)
    }
}

impl Loader {
    /// For a tree with these seeds (see [`View::new`]).
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        let acls = Acls::new(RandomState::with_seeds(seeds[3], seeds[2], seeds[1], seeds[0]));
        Self { hasher: RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]), acls: Mutex::new(acls) }
    }

    /// Validates the first `len` bytes of `chunk`, which were announced to be so many znodes, and makes records of them. Data
    /// large enough to have a chunk of their own stay in it: then it is taken; else it may be used again.
    pub fn read(&self, chunk: &mut AlignedVec, len: usize, announced: u32) -> Result<Znodes, LoadError> {
        let bytes = chunk.get(..len).ok_or(LoadError::Malformed)?;
        let archived = rkyv::access::<ArchivedChunk<'_>, Failure>(bytes).map_err(|_| LoadError::Malformed)?;
        if archived.znodes.len() != announced as usize {
            return Err(LoadError::Malformed);
        }
        let lists = self.lists(archived);
        let acl_of = |znode: &ArchivedZnode<'_>| match znode.acl.to_native() {
            OPEN => Ok(None),
            number => lists.get(number as usize - 1).cloned().ok_or(LoadError::Malformed),
        };
        if let [alone] = &archived.znodes[..]
            && let Some(data) = alone.data.as_ref().filter(|data| data.len() >= LENT_MIN)
        {
            // Where the data lie, as an offset: the chunk moves into the record.
            let offset = data.as_ptr().addr() - bytes.as_ptr().addr();
            let (path, acl, stored) = (Box::<str>::from(&*alone.path), acl_of(alone)?, stored(alone));
            let at = offset..offset + data.len();
            let hash = self.hasher.hash_one(path.as_bytes());
            let record = Record::lent(&path, std::mem::take(chunk), at, acl, &stored);
            return Ok(Znodes(vec![(hash, record)]));
        }
        let mut znodes = Vec::with_capacity(archived.znodes.len());
        for znode in archived.znodes.iter() {
            let data = znode.data.as_ref().map(|data| &data[..]);
            let record = Record::new(&znode.path, data, acl_of(znode)?, &stored(znode));
            znodes.push((self.hasher.hash_one(znode.path.as_bytes()), record));
        }
        Ok(Znodes(znodes))
    }

    /// Makes records of znodes that come from elsewhere, in the order of an archive.
    pub fn plant<'a>(&self, znodes: impl Iterator<Item = (&'a str, Option<&'a [u8]>, &'a [Acl], Stored)>) -> Znodes {
        let mut acls = self.acls.lock().unwrap_or_else(PoisonError::into_inner);
        let record = |(path, data, acl, stored): (&'a str, _, &[Acl], Stored)| {
            (self.hasher.hash_one(path.as_bytes()), Record::new(path, data, acls.intern(acl), &stored))
        };
        Znodes(znodes.map(record).collect())
    }

    /// The lists of a chunk in their shared form; the open one may be among them.
    fn lists(&self, chunk: &ArchivedChunk<'_>) -> Vec<Option<Arc<AclList>>> {
        let mut lists = Vec::with_capacity(chunk.acls.len());
        if chunk.acls.is_empty() {
            return lists;
        }
        let mut acls = self.acls.lock().unwrap_or_else(PoisonError::into_inner);
        for list in chunk.acls.iter() {
            let list: Vec<Acl> = list.iter().map(|acl| Acl::new(acl.perms.to_native(), &acl.scheme, &acl.id)).collect();
            lists.push(acls.intern(&list));
        }
        lists
    }
}

fn stored(znode: &ArchivedZnode<'_>) -> Stored {
    Stored {
        czxid: Zxid(znode.czxid.to_native()),
        mzxid: Zxid(znode.mzxid.to_native()),
        pzxid: Zxid(znode.pzxid.to_native()),
        ctime: znode.ctime.to_native(),
        mtime: znode.mtime.to_native(),
        version: znode.version.to_native(),
        cversion: znode.cversion.to_native(),
        aversion: znode.aversion.to_native(),
        num_children: znode.num_children.to_native(),
        ephemeral_owner: znode.ephemeral_owner.to_native(),
    }
}

/// A znode whose children may still come.
struct Open {
    slot: u32,
    /// The latest of its children.
    last_child: u32,
    children: u32,
}

/// Joins the records of chunks, in their order.
pub struct Joiner {
    tree: Tree,
    index: Filling,
    /// The latest znode and its ancestors, the root first.
    open: Vec<Open>,
}

impl Joiner {
    /// Before the first chunk.
    #[must_use]
    pub fn new(loader: &Loader) -> Self {
        let no_acls = Acls::new(loader.hasher.clone());
        Self { tree: Tree::empty(View::empty(loader.hasher.clone()), no_acls), index: Filling::new(), open: Vec::new() }
    }

    /// Takes the next chunk.
    pub fn add(&mut self, znodes: Znodes) -> Result<(), LoadError> {
        znodes.0.into_iter().try_for_each(|(hash, record)| self.znode(hash, record))
    }

    fn znode(&mut self, hash: u64, record: Record) -> Result<(), LoadError> {
        let path = record.path();
        let slot = u32::try_from(self.tree.node_count()).unwrap_or(NONE);
        let (parent, prev) = if slot == SlotId::ROOT.0 {
            if path != ROOT {
                return Err(LoadError::Astray(path.into()));
            }
            (NONE, NONE)
        } else {
            let parent = parent_of(path).ok_or_else(|| LoadError::Astray(path.into()))?;
            while self
                .open
                .last()
                .is_some_and(|open| self.tree.view().record(SlotId(open.slot)).path_bytes() != parent.as_bytes())
            {
                self.close()?;
            }
            let open = self.open.last_mut().ok_or_else(|| LoadError::Astray(path.into()))?;
            open.children += 1;
            (open.slot, std::mem::replace(&mut open.last_child, slot))
        };
        self.tree.load(record, parent, prev);
        self.index.push(hash, slot);
        self.open.push(Open { slot, last_child: NONE, children: 0 });
        Ok(())
    }

    /// No more children come to the latest znode.
    fn close(&mut self) -> Result<(), LoadError> {
        let Some(Open { slot, children, .. }) = self.open.pop() else { return Ok(()) };
        let record = self.tree.view().record(SlotId(slot));
        if u32::try_from(record.num_children()) == Ok(children) {
            return Ok(());
        }
        Err(LoadError::Children { path: record.path().into(), counted: record.num_children(), found: children })
    }

    /// The tree, if it is whole and its digest is `stated`.
    pub fn finish(mut self, loader: Loader, stated: u64) -> Result<Tree, LoadError> {
        while !self.open.is_empty() {
            self.close()?;
        }
        if self.tree.node_count() == 0 {
            return Err(LoadError::Empty);
        }
        if let Err(twin) = self.tree.set_index(self.index) {
            return Err(LoadError::Twice(self.tree.view().record(twin).path().into()));
        }
        if self.tree.digest() != stated {
            return Err(LoadError::Digest { found: self.tree.digest(), stated });
        }
        self.tree.set_acls(loader.acls.into_inner().unwrap_or_else(PoisonError::into_inner));
        self.tree.recount_quotas();
        Ok(self.tree)
    }
}

/// A znode of a [`Survey`] whose children may still come.
struct Surveyed {
    path: Box<[u8]>,
    counted: i32,
    /// Hashes of the paths of the children so far.
    children: HashTable<u64>,
}

/// Checks the records of chunks, in their order, as [`Joiner`] does, and keeps none of them: what it remembers are the znodes on the way to the
/// latest one, and a hash for each of their children. That two paths have one hash and are taken for one is as likely as that
/// nobody will ever see it.
#[derive(Default)]
pub struct Survey {
    open: Vec<Surveyed>,
    znodes: u64,
    digest: u64,
}

impl Survey {
    /// Takes the next chunk.
    pub fn add(&mut self, znodes: &Znodes) -> Result<(), LoadError> {
        znodes.0.iter().try_for_each(|(hash, record)| self.znode(*hash, record))
    }

    fn znode(&mut self, hash: u64, record: &Record) -> Result<(), LoadError> {
        let path = record.path();
        let astray = || LoadError::Astray(path.into());
        if self.znodes == 0 {
            if path != ROOT {
                return Err(astray());
            }
        } else {
            let parent = parent_of(path).ok_or_else(astray)?;
            while self.open.last().is_some_and(|open| *open.path != *parent.as_bytes()) {
                self.close()?;
            }
            let open = self.open.last_mut().ok_or_else(astray)?;
            if open.children.find(hash, |other| *other == hash).is_some() {
                return Err(LoadError::Twice(path.into()));
            }
            open.children.insert_unique(hash, hash, |other| *other);
        }
        self.znodes += 1;
        self.digest = self.digest.wrapping_add(u64::from(record.digest()));
        self.open.push(Surveyed { path: record.path_bytes().into(), counted: record.num_children(), children: HashTable::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), LoadError> {
        let Some(Surveyed { path, counted, children }) = self.open.pop() else { return Ok(()) };
        if usize::try_from(counted) == Ok(children.len()) {
            return Ok(());
        }
        let (path, found) = (String::from_utf8_lossy(&path).into(), u32::try_from(children.len()).unwrap_or(u32::MAX));
        Err(LoadError::Children { path, counted, found })
    }

    /// How many znodes there were, if they are a whole tree whose digest is `stated`.
    pub fn finish(mut self, stated: u64) -> Result<u64, LoadError> {
        while !self.open.is_empty() {
            self.close()?;
        }
        if self.znodes == 0 {
            return Err(LoadError::Empty);
        }
        if self.digest != stated {
            return Err(LoadError::Digest { found: self.digest, stated });
        }
        Ok(self.znodes)
    }
}

/// The parent of a path that is not the root's.
fn parent_of(path: &str) -> Option<&str> {
    let (parent, name) = path::split(path)?;
    (!name.is_empty() && (parent != ROOT || path.len() == 1 + name.len())).then_some(parent)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::archive::Walk;
    use super::*;
    use crate::ground::ids::SessionId;
    use crate::ground::limits::INLINE_PAYLOAD_MAX;
    use crate::proto::txn::{Txn, TxnHeader};

    const SEEDS: [u64; 4] = [1, 2, 3, 4];

    type Payload = (AlignedVec, u32);

    fn written(view: &View) -> Vec<Payload> {
        let mut walk = Walk::new();
        let chunks: Vec<_> = std::iter::from_fn(|| walk.chunk(view)).collect();
        assert_eq!(walk.so_far(), (view.digest(), view.len() as u64));
        chunks
    }

    fn load(chunks: Vec<Payload>, digest: u64) -> Result<Tree, LoadError> {
        let surveyed = survey(chunks.clone(), digest);
        let loader = Loader::new([9, 8, 7, 6]);
        let mut joiner = Joiner::new(&loader);
        let join = || {
            for (mut chunk, count) in chunks {
                let len = chunk.len();
                joiner.add(loader.read(&mut chunk, len, count)?)?;
            }
            Ok(())
        };
        let loaded = join().and_then(|()| joiner.finish(loader, digest));
        assert_eq!(
            loaded.as_ref().map(|tree| tree.node_count() as u64).map_err(Clone::clone),
            surveyed,
            "who keeps nothing sees the same"
        );
        loaded
    }

    fn survey(chunks: Vec<Payload>, digest: u64) -> Result<u64, LoadError> {
        let (loader, mut survey) = (Loader::new([9, 8, 7, 6]), Survey::default());
        for (mut chunk, count) in chunks {
            let len = chunk.len();
            survey.add(&loader.read(&mut chunk, len, count)?)?;
        }
        survey.finish(digest)
    }

    fn again(tree: &Tree) -> Tree {
        load(written(tree.view()), tree.digest()).unwrap()
    }

    type Znode = (Option<Vec<u8>>, Vec<Acl>, Stored, u32, Vec<String>);
    type Seen = (Vec<(String, Znode)>, BTreeMap<SessionId, Vec<String>>, [u64; 4]);

    /// Everything there is to see, but for the slots, which are the tree's own business.
    fn seen(tree: &Tree) -> Seen {
        let view = tree.view();
        let mut znodes = Vec::new();
        let mut todo = vec![SlotId::ROOT];
        while let Some(slot) = todo.pop() {
            let record = view.record(slot);
            assert_eq!(view.find(record.path()), Some(slot));
            let children = view.children(slot).map(str::to_owned).collect();
            let data = record.data().map(<[u8]>::to_vec);
            znodes.push((record.path().to_owned(), (data, record.acl().to_vec(), record.stored(), record.digest(), children)));
            todo.extend(view.child_slots(slot));
        }
        let owned = |session| {
            let mut paths: Vec<_> = tree.ephemerals(session).map(str::to_owned).collect();
            paths.sort_unstable();
            assert_eq!(tree.ephemeral_bytes(session), paths.iter().map(|path| 4 + path.len()).sum::<usize>());
            paths
        };
        let ephemerals = tree.sessions_with_ephemerals().map(|session| (session, owned(session))).collect();
        let counts = [tree.digest(), tree.node_count() as u64, tree.ephemeral_count() as u64, tree.data_size()];
        (znodes, ephemerals, counts)
    }

    fn apply(tree: &mut Tree, zxid: u64, session: i64, txn: &Txn<'_>) -> bool {
        let header = TxnHeader { session: SessionId(session), cxid: 0, zxid: Zxid(zxid), time: 1000, kind: 0 };
        let applied = tree.apply(&header, txn, &mut Vec::new()).is_ok();
        tree.forget(Zxid(zxid));
        applied
    }

    fn create<'a>(path: &'a str, data: Option<&'a [u8]>, acl: Vec<Acl>, ephemeral: bool) -> Txn<'a> {
        Txn::Create { path: path.into(), data, acl: acl.into(), ephemeral, parent_cversion: -1 }
    }

    #[test]
    fn a_fresh_tree_comes_back() {
        let tree = Tree::new(SEEDS);
        assert_eq!(seen(&again(&tree)), seen(&tree));
    }

    #[test]
    fn many_chunks_large_data_and_deep_paths() {
        let mut tree = Tree::new(SEEDS);
        let mut zxid = 0;
        let mut add = |path: &str, data: Option<&[u8]>| {
            zxid += 1;
            assert!(apply(&mut tree, zxid, 0, &create(path, data, vec![Acl::open()], false)), "{path}");
        };
        add("/flat", None);
        for n in 0..6000 {
            add(&format!("/flat/{n}"), Some(&n.to_string().into_bytes()));
        }
        let mut deep = String::new();
        for _ in 0..300 {
            deep.push_str("/d");
            add(&deep, Some(b""));
        }
        for (name, len) in [("/in", INLINE_PAYLOAD_MAX), ("/out", INLINE_PAYLOAD_MAX + 1), ("/just", LENT_MIN - 1)] {
            add(name, Some(&vec![1; len]));
        }
        for n in 0..3 {
            add(&format!("/lent{n}"), Some(&vec![n; LENT_MIN + usize::from(n)]));
        }
        let chunks = written(tree.view());
        assert_eq!(
            chunks.iter().filter(|(chunk, count)| *count == 1 && chunk.len() > LENT_MIN).count(),
            4,
            "large data, and nearly large ones, have chunks of their own"
        );
        assert!(chunks.len() > 5 && chunks.iter().all(|(chunk, _)| chunk.len() < 2 * super::super::archive::CHUNK_TARGET));
        let mut back = again(&tree);
        assert_eq!(seen(&back), seen(&tree));
        // What is lent is shared by a record with other counters, and is written down again.
        let before = back.get("/lent1").unwrap().clone();
        for tree in [&mut tree, &mut back] {
            assert!(apply(tree, 90_000, 0, &create("/lent1/x", None, vec![], false)));
        }
        assert!(before.shares_payload(back.get("/lent1").unwrap()));
        assert_eq!(seen(&again(&back)), seen(&tree));
        assert!(apply(&mut back, 90_001, 0, &Txn::SetData { path: "/lent1".into(), data: None, version: 1 }));
        assert_eq!((back.get("/lent1").unwrap().data(), before.data().unwrap().len()), (None, LENT_MIN + 1));
    }

    #[test]
    fn chunks_of_no_tree_are_refused() {
        let mut tree = Tree::new(SEEDS);
        for (zxid, path) in [(1, "/a"), (2, "/a/b"), (3, "/c")] {
            assert!(apply(&mut tree, zxid, 0, &create(path, None, vec![], false)));
        }
        let digest = tree.digest();
        let whole = || written(tree.view());
        assert_eq!(load(whole(), digest + 1).unwrap_err(), LoadError::Digest { found: digest, stated: digest + 1 });
        assert_eq!(load(vec![], 0).unwrap_err(), LoadError::Empty);
        assert_eq!(load([whole(), whole()].concat(), digest).unwrap_err(), LoadError::Astray("/".into()));
        let miscounted = whole().into_iter().map(|(chunk, count)| (chunk, count + 1)).collect();
        assert_eq!(load(miscounted, digest).unwrap_err(), LoadError::Malformed);
        // A tree whose records lie about each other, made by hand.
        let one = |paths: &[(&str, i32)]| {
            let loader = Loader::new(SEEDS);
            let mut joiner = Joiner::new(&loader);
            let records = paths.iter().map(|(path, num_children)| {
                let stored = Stored { num_children: *num_children, ..Stored::default() };
                (loader.hasher.hash_one(path.as_bytes()), Record::new(path, None, None, &stored))
            });
            joiner.add(Znodes(records.collect())).and_then(|()| joiner.finish(loader, 0)).unwrap_err()
        };
        let astray = |path: &str| LoadError::Astray(path.into());
        assert_eq!(one(&[("/a", 0)]), astray("/a"));
        assert_eq!(one(&[("/", 1), ("/a/b", 0), ("/a", 1)]), LoadError::Children { path: "/".into(), counted: 1, found: 0 });
        assert_eq!(one(&[("/", 0), ("/a/b", 0)]), astray("/a/b"));
        assert_eq!(one(&[("/", 2), ("/a", 0), ("/a", 0)]), LoadError::Twice("/a".into()));
        assert_eq!(one(&[("/", 1), ("/a/", 0)]), astray("/a/"));
        assert_eq!(one(&[("/", 1), ("//a", 0)]), astray("//a"));
        assert_eq!(one(&[("/", 1), ("a", 0)]), astray("a"));
        assert_eq!(one(&[("/", 2), ("/a", 0)]), LoadError::Children { path: "/".into(), counted: 2, found: 1 });
        assert_eq!(one(&[("/", -1)]), LoadError::Children { path: "/".into(), counted: -1, found: 0 });
    }

    fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
        let len = prop_oneof![
            30 => 0..40usize,
            5 => INLINE_PAYLOAD_MAX - 1..INLINE_PAYLOAD_MAX + 3,
            5 => 1000..3000usize,
            1 => LENT_MIN - 1..LENT_MIN + 2,
        ];
        prop::option::weighted(0.8, (any::<u8>(), len).prop_map(|(byte, len)| vec![byte; len]))
    }

    fn acl() -> impl Strategy<Value = Vec<Acl>> {
        prop_oneof![
            Just(vec![Acl::open()]),
            Just(vec![]),
            (0..3i32).prop_map(|n| vec![Acl::new(n, "ip", "10.0.0.1"), Acl::new(31, "digest", "u:p")])
        ]
    }

    /// Transactions over few names, some of which do not fit.
    fn txn() -> impl Strategy<Value = (i64, Txn<'static>)> {
        let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "\u{e4}\u{4e2d}"]), 1..5)
            .prop_map(|names| format!("/{}", names.join("/")));
        let txn = (path, data(), acl(), any::<bool>(), 0..12u8).prop_map(|(path, data, acl, ephemeral, op)| match op {
            0..5 => {
                let data: Option<&'static [u8]> = data.map(|data| &*data.leak());
                // Ephemerals have no children: their sessions end in one transaction, in the order of slots.
                let path = if ephemeral { format!("{path}/e") } else { path };
                Txn::Create { path: path.into(), data, acl: acl.into(), ephemeral, parent_cversion: -1 }
            }
            5..7 => Txn::Delete { path: path.into() },
            7 => Txn::SetData { path: path.into(), data: data.map(|data| &*data.leak()), version: 5 },
            8 => Txn::SetAcl { path: path.into(), acl: acl.into(), version: 2 },
            9 | 10 => {
                let ttl_ms = (op == 10).then_some(5000);
                Txn::CreateLasting { path: path.into(), data: None, acl: acl.into(), parent_cversion: -1, ttl_ms }
            }
            _ => Txn::CloseSession { paths: vec![] },
        });
        (1..4i64, txn)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn any_tree_comes_back_and_goes_on_alike(
            before in prop::collection::vec(txn(), 0..80),
            after in prop::collection::vec(txn(), 0..40),
        ) {
            let mut tree = Tree::new(SEEDS);
            for (zxid, (session, txn)) in (1..).zip(&before) {
                apply(&mut tree, zxid, *session, txn);
            }
            let mut back = again(&tree);
            prop_assert_eq!(seen(&back), seen(&tree));
            prop_assert_eq!(back.expiring(), tree.expiring());
            for (zxid, (session, txn)) in (1000..).zip(&after) {
                prop_assert_eq!(apply(&mut tree, zxid, *session, txn), apply(&mut back, zxid, *session, txn));
                prop_assert_eq!(tree.digest(), back.digest());
            }
            prop_assert_eq!(seen(&back), seen(&tree));
            prop_assert_eq!(back.expiring(), tree.expiring());
            prop_assert_eq!(seen(&again(&back)), seen(&tree));
        }

        #[test]
        fn damaged_chunks_never_panic_and_never_pass_for_another_tree(
            txns in prop::collection::vec(txn(), 0..40),
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let mut tree = Tree::new(SEEDS);
            for (zxid, (session, txn)) in (1..).zip(&txns) {
                apply(&mut tree, zxid, *session, txn);
            }
            let mut chunks = written(tree.view());
            for (at, byte) in hits {
                let chunk = at.index(chunks.len());
                let at = at.index(chunks[chunk].0.len());
                chunks[chunk].0[at] ^= byte;
            }
            if let Some(at) = cut {
                let chunk = at.index(chunks.len());
                let len = at.index(chunks[chunk].0.len());
                chunks[chunk].0.resize(len, 0);
            }
            // The checksums, which are the image's business, are not even asked here. What the digest does not cover may differ:
            // ACLs, and what lies below /zookeeper.
            if let Ok(back) = load(chunks, tree.digest()) {
                prop_assert_eq!(back.digest(), tree.digest());
                let _ = seen(&back);
            }
        }
    }
}
