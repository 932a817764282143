//! The Tree: the writer's own View, and what it takes to apply transactions to it and to take them back.

use ahash::RandomState;

use super::acls::Acls;
use super::change::{Put, Step};
use super::configuration;
use super::expiry::{Expiry, Leniency};
use super::index::Filling;
use super::journal::{Journal, Undo};
use super::quota::{self, Quotas};
use super::record::{Record, Stored};
use super::view::{FRESH_SLOTS, NONE, SlotId, View};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::proto::owner::Owner;
use crate::proto::path::{self, ROOT};
use crate::proto::txn::{Txn, TxnHeader};

pub use super::journal::Mark;

/// The transaction does not fit the tree: the log is damaged, or of another tree. Nothing of it was applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The znode, or the parent of the one to create, is not there.
    #[error("transaction {zxid} needs znode {path:?}, which does not exist")]
    NoNode {
        /// What is missing.
        path: Box<str>,
        /// The transaction.
        zxid: Zxid,
    },
    /// The znode to create is there.
    #[error("transaction {zxid} creates znode {path:?}, which exists")]
    NodeExists {
        /// What is there.
        path: Box<str>,
        /// The transaction.
        zxid: Zxid,
    },
    /// The znode to delete has children.
    #[error("transaction {zxid} deletes znode {path:?}, which has children")]
    NotEmpty {
        /// What has children.
        path: Box<str>,
        /// The transaction.
        zxid: Zxid,
    },
    /// The path cannot name a znode to create, or is the root to delete.
    #[error("transaction {zxid} names {path:?}, which cannot be created or deleted")]
    BadPath {
        /// The path.
        path: Box<str>,
        /// The transaction.
        zxid: Zxid,
    },
}

/// What is common to the parts of one transaction.
#[derive(Clone, Copy)]
struct At {
    session: SessionId,
    zxid: Zxid,
    time: i64,
}

/// The writer's tree.
#[derive(Debug)]
pub struct Tree {
    view: View,
    acls: Acls,
    journal: Journal,
    /// Slots once used, the latest freed on top.
    free: Vec<SlotId>,
    /// The first slot never used.
    unused: u32,
    expiry: Expiry,
    quotas: Quotas,
    ephemeral_count: usize,
    data_size: u64,
}

impl Tree {
    /// The fresh tree (see [`View::new`]).
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        let view = View::new(seeds);
        let mut data_size = 0;
        for slot in (0..FRESH_SLOTS).map(SlotId) {
            data_size += size(view.record(slot));
        }
        Self {
            view,
            acls: Acls::new(RandomState::with_seeds(seeds[3], seeds[2], seeds[1], seeds[0])),
            journal: Journal::default(),
            free: Vec::new(),
            unused: FRESH_SLOTS,
            expiry: Expiry::default(),
            quotas: Quotas::default(),
            ephemeral_count: 0,
            data_size,
        }
    }

    /// A tree without a single znode, which [`super::loader`] fills with [`Tree::load`].
    pub(super) fn empty(view: View, acls: Acls) -> Self {
        Self {
            view,
            acls,
            journal: Journal::default(),
            free: Vec::new(),
            unused: 0,
            expiry: Expiry::default(),
            quotas: Quotas::default(),
            ephemeral_count: 0,
            data_size: 0,
        }
    }

    /// Enters a znode as [`View::load`] does.
    #[inline]
    pub(super) fn load(&mut self, record: Record, parent: u32, prev: u32) {
        self.came(SlotId(self.unused), &record);
        self.view.load(record, parent, prev);
        self.unused += 1;
    }

    /// Ends the filling.
    pub(super) fn set_index(&mut self, filling: Filling) -> Result<(), SlotId> {
        self.view.set_index(filling)
    }

    /// Counts anew what is used of quotas, as ZooKeeper does when it has read a snapshot.
    pub(super) fn recount_quotas(&mut self) {
        for of in self.quotas.clone().paths() {
            if let Some((slot, record)) = quota::recounted(&self.view, of) {
                self.data_size += size(&record);
                self.data_size -= size(&self.view.put(slot, record));
            }
        }
    }

    /// Shows an ensemble's configuration as the data of `/zookeeper/config`, written at `time`, ms since 1970. That is no step, so it is
    /// done before Views are made.
    pub fn show_configuration(&mut self, text: &[u8], version: u64, time: i64) {
        if let Some((slot, record)) = configuration::shown(&self.view, text, version, time) {
            self.data_size += size(&record);
            self.data_size -= size(&self.view.put(slot, record));
        }
    }

    /// The lists that its records share.
    pub(super) fn set_acls(&mut self, acls: Acls) {
        self.acls = acls;
    }

    /// The tree as it stands. A clone of it is a View that adopts the steps that follow.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// The View alone.
    #[must_use]
    pub fn into_view(self) -> View {
        self.view
    }

    /// The record of a path.
    #[inline]
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Record> {
        self.view.get(path)
    }

    /// Paths of a session's ephemerals, in the order of their slots.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.view.ephemerals(session)
    }

    /// Bytes that the paths of a session's ephemerals take in the transaction that closes it, lengths included.
    #[must_use]
    pub fn ephemeral_bytes(&self, session: SessionId) -> usize {
        self.view.ephemeral_bytes(session)
    }

    /// Sessions that own ephemerals, in order.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> {
        self.view.owners().sessions()
    }

    /// A znode without children that goes by itself, and whose time had come before `time`, ms since 1970.
    #[must_use]
    pub fn expired(&self, time: i64, leniency: Leniency) -> Option<&str> {
        self.expiry.due(time, leniency).map(|slot| self.view.record(slot).path())
    }

    /// Which paths have quotas.
    #[inline]
    #[must_use]
    pub const fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Paths of all that may go by itself sooner or later.
    #[cfg(test)]
    pub(super) fn expiring(&self) -> std::collections::BTreeSet<&str> {
        self.expiry.paths(&self.view)
    }

    /// The tree's digest.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.view.digest()
    }

    /// Znodes, the root among them. ZooKeeper's own count is one higher: it has the root in its map twice.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.view.len()
    }

    /// Ephemeral znodes.
    #[must_use]
    pub const fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// Bytes of all paths (UTF-8) and all data: ZooKeeper's approximateDataSize, which counts UTF-16 units of paths.
    #[must_use]
    pub const fn data_size(&self) -> u64 {
        self.data_size
    }

    /// Steps that can still be undone.
    #[must_use]
    pub fn undoable(&self) -> usize {
        self.journal.len()
    }

    /// This moment, to roll back to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.journal.mark()
    }

    /// Undoes every step made after `mark`, the latest first. Records, the order of siblings, ephemerals, counters and
    /// the choice of the next slot are then what they were.
    ///
    /// # Panics
    /// Where steps before `mark` have been undone, or steps after it forgotten.
    pub fn rollback(&mut self, mark: Mark) {
        while let Some(undo) = self.journal.pop_after(mark) {
            self.undo(undo);
        }
        assert_eq!(self.mark(), mark, "a mark is used before what it marks is undone");
    }

    /// Undoes every transaction above `zxid` that has not been forgotten.
    pub fn rollback_above(&mut self, zxid: Zxid) {
        while let Some(undo) = self.journal.pop_above(zxid) {
            self.undo(undo);
        }
    }

    /// Forgets how to undo the transactions up to `up_to`: they are delivered.
    pub fn forget(&mut self, up_to: Zxid) {
        self.journal.forget(up_to);
    }

    /// Applies a transaction and appends its steps. Total and deterministic on what a correct log holds; transactions
    /// come in the order of their zxids, the members of a multi with the zxid they share.
    ///
    /// Fails where the transaction does not fit the tree; then the tree and `steps` are what they were.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, steps: &mut Vec<Step>) -> Result<(), ApplyError> {
        let (mark, before) = (self.mark(), steps.len());
        let at = At { session: header.session, zxid: header.zxid, time: header.time };
        let applied = self.apply_at(at, txn, steps);
        if applied.is_err() {
            self.rollback(mark);
            steps.truncate(before);
        }
        applied
    }

    fn apply_at(&mut self, at: At, txn: &Txn<'_>, steps: &mut Vec<Step>) -> Result<(), ApplyError> {
        match txn {
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                let owner = if *ephemeral { at.session.0 } else { 0 };
                self.create(at, path, *data, acl, owner, *parent_cversion, steps)
            }
            Txn::CreateLasting { path, data, acl, parent_cversion, ttl_ms } => {
                self.create(at, path, *data, acl, Owner::lasting(*ttl_ms).stored(), *parent_cversion, steps)
            }
            Txn::Delete { path } => match self.view.find(path) {
                Some(slot) => self.delete(at, slot, steps),
                None => Err(no_node(path, at)),
            },
            Txn::SetData { path, data, version } => {
                let slot = self.view.find(path).ok_or_else(|| no_node(path, at))?;
                let record = self.view.record(slot);
                let more = data.map_or(0, <[u8]>::len) as i64 - record.data_len() as i64;
                let stored = Stored { version: *version, mzxid: at.zxid, mtime: at.time, ..record.stored() };
                let record = record.with_data(*data, &stored);
                self.put(at, slot, record, Put::Data, steps);
                self.charge(at, path, 0, more, steps);
                Ok(())
            }
            Txn::SetAcl { path, acl, version } => {
                let slot = self.view.find(path).ok_or_else(|| no_node(path, at))?;
                let acl = self.acls.intern(acl);
                let record = self.view.record(slot);
                let record = record.with_acl(acl, &Stored { aversion: *version, ..record.stored() });
                self.put(at, slot, record, Put::Acl, steps);
                Ok(())
            }
            Txn::CloseSession { paths } => self.close_session(at, paths, steps),
            Txn::Multi(members) => {
                if members.iter().any(|(_, member)| matches!(member, Txn::Error { .. })) {
                    return Ok(());
                }
                members.iter().try_for_each(|(_, member)| self.apply_at(at, member, steps))
            }
            Txn::Check { .. } | Txn::CreateSession { .. } | Txn::Error { .. } => Ok(()),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    fn create(
        &mut self,
        at: At,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        owner: i64,
        parent_cversion: i32,
        steps: &mut Vec<Step>,
    ) -> Result<(), ApplyError> {
        if self.view.find(path).is_some() {
            return Err(ApplyError::NodeExists { path: path.into(), zxid: at.zxid });
        }
        // The parent exists, so its path is sound; with a name, and one '/' between the two, so is the child's.
        let (parent_path, name) = path::split(path)
            .filter(|(parent, name)| !name.is_empty() && (*parent != ROOT || path.len() == 1 + name.len()))
            .ok_or_else(|| ApplyError::BadPath { path: path.into(), zxid: at.zxid })?;
        debug_assert!(path.ends_with(name));
        let parent = self.view.find(parent_path).ok_or_else(|| no_node(parent_path, at))?;
        let acl = self.acls.intern(acl);
        let stored = Stored {
            czxid: at.zxid,
            mzxid: at.zxid,
            pzxid: at.zxid,
            ctime: at.time,
            mtime: at.time,
            ephemeral_owner: owner,
            ..Stored::default()
        };
        let record = Record::new(path, data, acl, &stored);
        let before = self.view.record(parent);
        let mut stored = before.stored();
        stored.num_children += 1;
        // Only upwards, pzxid with it: applying twice what a fuzzy snapshot already holds must not count twice.
        let cversion = if parent_cversion == -1 { stored.cversion.wrapping_add(1) } else { parent_cversion };
        if cversion > stored.cversion {
            (stored.cversion, stored.pzxid) = (cversion, at.zxid);
        }
        let parent_record = before.with_stored(&stored);
        let (slot, reused) = self.free.pop().map_or((SlotId(self.unused), false), |slot| (slot, true));
        if !reused {
            self.unused = self.unused.checked_add(1).filter(|&next| next != NONE).expect("memory ends before the slots do");
        }
        self.came(slot, &record);
        let parent_before = self.view.link(slot, record.clone(), parent, parent_record.clone(), NONE);
        self.changed(parent, &parent_before, &parent_record);
        self.journal.push(at.zxid, Undo::Link { slot, parent, parent_before, reused });
        steps.push(Step::Link { slot, record, parent, parent_record });
        if let Some(of) = quota::counted(path)
            && let Some((slot, record)) = quota::recounted(&self.view, of)
        {
            self.put(at, slot, record, Put::Quota, steps);
        }
        self.charge(at, path, 1, data.map_or(0, <[u8]>::len) as i64, steps);
        Ok(())
    }

    fn delete(&mut self, at: At, slot: SlotId, steps: &mut Vec<Step>) -> Result<(), ApplyError> {
        let record = self.view.record(slot);
        let path = record.path();
        if slot == SlotId::ROOT {
            return Err(ApplyError::BadPath { path: path.into(), zxid: at.zxid });
        }
        if record.num_children() > 0 {
            return Err(ApplyError::NotEmpty { path: path.into(), zxid: at.zxid });
        }
        let parent = path::split(path).and_then(|(parent, _)| self.view.find(parent)).expect("a znode has its parent");
        let before = self.view.record(parent);
        let mut stored = before.stored();
        stored.num_children -= 1;
        stored.pzxid = stored.pzxid.max(at.zxid);
        let parent_record = before.with_stored(&stored);
        let (removed, parent_before, prev) = self.view.unlink(slot, parent, parent_record.clone());
        self.went(slot, &removed);
        self.changed(parent, &parent_before, &parent_record);
        self.free.push(slot);
        self.journal.push(at.zxid, Undo::Unlink { slot, removed: removed.clone(), parent, parent_before, prev });
        steps.push(Step::Unlink { slot, removed: removed.clone(), parent, parent_record });
        self.charge(at, removed.path(), -1, -(removed.data_len() as i64), steps);
        Ok(())
    }

    /// So much more is there at a path: the quota that it counts against says so.
    #[inline]
    fn charge(&mut self, at: At, path: &str, count: i64, bytes: i64, steps: &mut Vec<Step>) {
        if let Some(of) = self.quotas.over(path)
            && let Some((slot, record)) = quota::charged(&self.view, of, count, bytes)
        {
            self.put(at, slot, record, Put::Quota, steps);
        }
    }

    fn put(&mut self, at: At, slot: SlotId, record: Record, what: Put, steps: &mut Vec<Step>) {
        let before = self.view.put(slot, record.clone());
        self.data_size = self.data_size - size(&before) + size(&record);
        self.changed(slot, &before, &record);
        self.journal.push(at.zxid, Undo::Put { slot, before });
        steps.push(Step::Put { slot, record, what });
    }

    /// Deletes the listed paths, then what the session still owns. A listed path that is not there is passed over, as
    /// ZooKeeper does; it raises the parent's pzxid there too, which the digest covers.
    fn close_session<P: AsRef<str>>(&mut self, at: At, paths: &[P], steps: &mut Vec<Step>) -> Result<(), ApplyError> {
        for path in paths {
            let path = path.as_ref();
            if let Some(slot) = self.view.find(path) {
                self.delete(at, slot, steps)?;
            } else if let Some(parent) = path::split(path).and_then(|(parent, _)| self.view.find(parent)) {
                let before = self.view.record(parent);
                let stored = Stored { pzxid: before.pzxid().max(at.zxid), ..before.stored() };
                let record = before.with_stored(&stored);
                self.put(at, parent, record, Put::Acl, steps);
            }
        }
        while let Some(slot) = { self.view.owners().of(at.session).next() } {
            self.delete(at, slot, steps)?;
        }
        Ok(())
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Put { slot, before } => {
                self.data_size += size(&before);
                let after = self.view.put(slot, before.clone());
                self.data_size -= size(&after);
                self.changed(slot, &after, &before);
            }
            Undo::Link { slot, parent, parent_before, reused } => {
                let (removed, parent_after, prev) = self.view.unlink(slot, parent, parent_before.clone());
                assert_eq!(prev, NONE, "a new znode is the first child until it is undone");
                self.went(slot, &removed);
                self.changed(parent, &parent_after, &parent_before);
                if reused {
                    self.free.push(slot);
                } else {
                    self.unused = slot.0;
                }
            }
            Undo::Unlink { slot, removed, parent, parent_before, prev } => {
                assert_eq!(self.free.pop(), Some(slot), "slots are taken back in reverse order");
                self.came(slot, &removed);
                let parent_after = self.view.link(slot, removed, parent, parent_before.clone(), prev);
                self.changed(parent, &parent_after, &parent_before);
            }
        }
    }

    /// Counts a znode that is about to be there.
    fn came(&mut self, slot: SlotId, record: &Record) {
        self.data_size += size(record);
        self.ephemeral_count += usize::from(record.is_ephemeral());
        self.quotas.came(record);
        self.expiry.came(slot, record);
    }

    /// Counts a znode that is there no more.
    fn went(&mut self, slot: SlotId, record: &Record) {
        self.data_size -= size(record);
        self.ephemeral_count -= usize::from(record.is_ephemeral());
        self.quotas.went(record);
        self.expiry.went(slot, record);
    }

    /// A znode has another record.
    fn changed(&mut self, slot: SlotId, before: &Record, after: &Record) {
        self.expiry.went(slot, before);
        self.expiry.came(slot, after);
    }
}

/// A record's part of [`Tree::data_size`].
fn size(record: &Record) -> u64 {
    (record.path_bytes().len() + record.data_len()) as u64
}

fn no_node(path: &str, at: At) -> ApplyError {
    ApplyError::NoNode { path: path.into(), zxid: at.zxid }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::owners::Owners;
    use super::*;
    use crate::proto::opcode;

    const SEEDS: [u64; 4] = [1, 2, 3, 4];

    fn header(zxid: u64, session: i64) -> TxnHeader {
        TxnHeader { session: SessionId(session), cxid: 0, zxid: Zxid(zxid), time: 1000 + zxid as i64, kind: 0 }
    }

    fn create<'a>(path: &'a str, data: Option<&'a [u8]>) -> Txn<'a> {
        Txn::Create { path: path.into(), data, acl: vec![Acl::open()].into(), ephemeral: false, parent_cversion: -1 }
    }

    fn ephemeral(path: &str) -> Txn<'_> {
        Txn::Create { path: path.into(), data: None, acl: vec![Acl::open()].into(), ephemeral: true, parent_cversion: -1 }
    }

    fn lasting(path: &str, ttl_ms: Option<i64>) -> Txn<'_> {
        Txn::CreateLasting { path: path.into(), data: None, acl: vec![Acl::open()].into(), parent_cversion: -1, ttl_ms }
    }

    fn delete(path: &str) -> Txn<'_> {
        Txn::Delete { path: path.into() }
    }

    fn member(txn: Txn<'_>) -> (i32, Txn<'_>) {
        (opcode::CHECK, txn)
    }

    /// Data, ACL and counters.
    type Znode = (Option<Vec<u8>>, Vec<Acl>, Stored);

    /// Everything there is to see of a tree, the order of siblings and the next slots included.
    #[derive(PartialEq, Debug)]
    struct Image {
        znodes: Vec<(SlotId, String, Znode, Vec<String>)>,
        digest: u64,
        len: usize,
    }

    fn image(view: &View) -> Image {
        let mut znodes = Vec::new();
        let mut todo = vec![SlotId::ROOT];
        while let Some(slot) = todo.pop() {
            let record = view.record(slot);
            assert_eq!(view.find(record.path()), Some(slot));
            let children: Vec<_> = view.children(slot).map(str::to_owned).collect();
            assert_eq!(children.len(), record.num_children() as usize);
            let znode = (record.data().map(<[u8]>::to_vec), record.acl().to_vec(), record.stored());
            znodes.push((slot, record.path().to_owned(), znode, children));
            todo.extend(view.child_slots(slot));
        }
        Image { znodes, digest: view.digest(), len: view.len() }
    }

    type Whole = (Image, Vec<SlotId>, u32, Owners, Expiry, usize, u64);

    fn whole(tree: &Tree) -> Whole {
        let (owners, expiry) = (tree.view.owners().clone(), tree.expiry.clone());
        (image(&tree.view), tree.free.clone(), tree.unused, owners, expiry, tree.ephemeral_count, tree.data_size)
    }

    fn applied(tree: &mut Tree, zxid: u64, txn: &Txn<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        tree.apply(&header(zxid, 7), txn, &mut steps).unwrap();
        steps
    }

    #[test]
    fn a_fresh_tree_counts_as_zookeeper_does() {
        let tree = Tree::new(SEEDS);
        assert_eq!((tree.digest(), tree.node_count(), tree.data_size()), (1_371_985_504, 4, 44));
        assert_eq!((tree.ephemeral_count(), tree.undoable()), (0, 0));
    }

    #[test]
    fn creating_and_deleting_three_times_reads_as_cversion_six() {
        let mut tree = Tree::new(SEEDS);
        applied(&mut tree, 1, &create("/a", None));
        for n in 0..3 {
            applied(&mut tree, 2 + 2 * n, &create("/a/b", None));
            assert_eq!(tree.get("/a").unwrap().stat().cversion as u64, 2 * n + 1);
            applied(&mut tree, 3 + 2 * n, &delete("/a/b"));
        }
        let record = tree.get("/a").unwrap();
        assert_eq!((record.stat().cversion, record.cversion(), record.num_children(), record.pzxid()), (6, 3, 0, Zxid(7)));
        assert_eq!((record.mzxid(), record.version()), (Zxid(1), 0));
    }

    #[test]
    fn a_parents_cversion_only_rises_and_its_pzxid_with_it() {
        let mut tree = Tree::new(SEEDS);
        let with = |path: &'static str, parent_cversion| Txn::Create {
            path: path.into(),
            data: None,
            acl: vec![].into(),
            ephemeral: false,
            parent_cversion,
        };
        applied(&mut tree, 1, &create("/a", None));
        let parent = |tree: &Tree| (tree.get("/a").unwrap().cversion(), tree.get("/a").unwrap().pzxid().0);
        for (zxid, txn, expected) in [
            (2, with("/a/1", 5), (5, 2)),
            (3, with("/a/2", 5), (5, 2)),
            (4, with("/a/3", -1), (6, 4)),
            (5, with("/a/4", i32::MAX), (i32::MAX, 5)),
            // One more than the largest wraps below it, so the counter sticks.
            (6, with("/a/5", -1), (i32::MAX, 5)),
            (7, with("/a/6", i32::MIN), (i32::MAX, 5)),
        ] {
            applied(&mut tree, zxid, &txn);
            assert_eq!(parent(&tree), expected);
        }
        assert_eq!(tree.get("/a").unwrap().num_children(), 6);
    }

    #[test]
    fn setting_data_and_acl() {
        let mut tree = Tree::new(SEEDS);
        applied(&mut tree, 1, &create("/a", Some(b"")));
        assert_eq!(tree.get("/a").unwrap().data(), Some(&b""[..]));
        applied(&mut tree, 2, &Txn::SetData { path: "/a".into(), data: None, version: 1 });
        let list = vec![Acl::new(1, "ip", "10.0.0.1")];
        let steps = applied(&mut tree, 3, &Txn::SetAcl { path: "/a".into(), acl: Cow::Borrowed(&list), version: 1 });
        assert!(matches!(steps[..], [Step::Put { what: Put::Acl, .. }]));
        let record = tree.get("/a").unwrap();
        assert_eq!((record.data(), record.acl(), record.is_open()), (None, &list[..], false));
        let stored = record.stored();
        assert_eq!((stored.version, stored.aversion, stored.mzxid, stored.mtime), (1, 1, Zxid(2), 1002));
        assert_eq!((stored.czxid, stored.ctime, stored.pzxid), (Zxid(1), 1001, Zxid(1)));
    }

    #[test]
    fn a_large_payload_is_shared_when_a_counter_changes() {
        let mut tree = Tree::new(SEEDS);
        let large = vec![1; 100_000];
        applied(&mut tree, 1, &create("/a", Some(&large)));
        let before = tree.get("/a").unwrap().clone();
        applied(&mut tree, 2, &create("/a/b", None));
        applied(&mut tree, 3, &Txn::SetAcl { path: "/a".into(), acl: vec![].into(), version: 1 });
        let after = tree.get("/a").unwrap();
        assert!(before.shares_payload(after) && after.data() == Some(&large));
        assert_eq!(after.digest(), Record::new("/a", Some(&large), None, &after.stored()).digest());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_nothing() {
        let mut tree = Tree::new(SEEDS);
        applied(&mut tree, 1, &create("/a", None));
        applied(&mut tree, 2, &create("/a/b", None));
        let before = whole(&tree);
        let (zxid, path) = (Zxid(3), |path: &str| Box::<str>::from(path));
        for (txn, error) in [
            (create("/a", None), ApplyError::NodeExists { path: path("/a"), zxid }),
            (create("/", None), ApplyError::NodeExists { path: path("/"), zxid }),
            (create("/x/y", None), ApplyError::NoNode { path: path("/x"), zxid }),
            (create("/a/", None), ApplyError::BadPath { path: path("/a/"), zxid }),
            (create("//c", None), ApplyError::BadPath { path: path("//c"), zxid }),
            (create("c", None), ApplyError::BadPath { path: path("c"), zxid }),
            (create("", None), ApplyError::BadPath { path: path(""), zxid }),
            (delete("/a"), ApplyError::NotEmpty { path: path("/a"), zxid }),
            (delete("/"), ApplyError::BadPath { path: path("/"), zxid }),
            (delete("/c"), ApplyError::NoNode { path: path("/c"), zxid }),
            (Txn::SetData { path: "/c".into(), data: None, version: 1 }, ApplyError::NoNode { path: path("/c"), zxid }),
            (Txn::SetAcl { path: "/c".into(), acl: vec![].into(), version: 1 }, ApplyError::NoNode { path: path("/c"), zxid }),
        ] {
            let multi = Txn::Multi(vec![member(create("/d", None)), member(delete("/a/b")), member(txn.clone())]);
            // Deleting /a/b first makes deleting /a possible.
            let multi = (!matches!(error, ApplyError::NotEmpty { .. })).then_some(multi);
            for txn in [Some(txn), multi].into_iter().flatten() {
                let mut steps = Vec::new();
                assert_eq!(tree.apply(&header(3, 7), &txn, &mut steps), Err(error.clone()));
                assert!(steps.is_empty());
                assert_eq!(whole(&tree), before);
            }
        }
    }

    #[test]
    fn a_multi_with_an_error_in_it_changes_nothing() {
        let mut tree = Tree::new(SEEDS);
        let multi = Txn::Multi(vec![member(create("/a", None)), member(Txn::Error { err: -101 })]);
        assert!(applied(&mut tree, 1, &multi).is_empty());
        assert_eq!(tree.digest(), Tree::new(SEEDS).digest());
    }

    #[test]
    fn a_multi_sees_its_own_steps_and_shares_one_zxid() {
        let mut tree = Tree::new(SEEDS);
        let set = Txn::SetData { path: "/a/b".into(), data: Some(b"x"), version: 1 };
        let multi = Txn::Multi(vec![member(create("/a", None)), member(create("/a/b", None)), member(set)]);
        assert_eq!(applied(&mut tree, 9, &multi).len(), 3);
        let stored = tree.get("/a/b").unwrap().stored();
        assert_eq!((stored.czxid, stored.mzxid, stored.version), (Zxid(9), Zxid(9), 1));
        assert_eq!(tree.get("/a").unwrap().pzxid(), Zxid(9));
    }

    #[test]
    fn a_closed_session_takes_its_ephemerals_along() {
        let mut tree = Tree::new(SEEDS);
        for (zxid, path) in [(1, "/a"), (2, "/b"), (3, "/c")] {
            applied(&mut tree, zxid, &ephemeral(path));
        }
        assert_eq!(tree.ephemerals(SessionId(7)).collect::<Vec<_>>(), ["/a", "/b", "/c"]);
        assert_eq!(tree.ephemeral_bytes(SessionId(7)), 3 * (4 + 2));
        assert_eq!((tree.ephemeral_count(), tree.sessions_with_ephemerals().collect::<Vec<_>>()), (3, vec![SessionId(7)]));
        assert_eq!(tree.get("/a").unwrap().stat().ephemeral_owner, 7);
        let steps = applied(&mut tree, 4, &Txn::CloseSession { paths: vec!["/b".into(), "/gone".into()] });
        assert_eq!(steps.iter().map(|step| step.record().path()).collect::<Vec<_>>(), ["/b", "/", "/a", "/c"]);
        assert_eq!((tree.ephemeral_count(), tree.node_count(), tree.sessions_with_ephemerals().count()), (0, 4, 0));
        assert_eq!(tree.ephemeral_bytes(SessionId(7)), 0);
    }

    #[test]
    fn a_container_goes_when_its_last_child_has_gone() {
        let mut tree = Tree::new(SEEDS);
        let never = Leniency::default();
        applied(&mut tree, 1, &lasting("/c", None));
        let record = tree.get("/c").unwrap();
        assert_eq!((record.ephemeral_owner(), record.stat().ephemeral_owner), (i64::MIN, 0));
        assert_eq!(tree.expired(i64::MAX, never), None, "it had no children yet");
        let hour = Leniency { unused_ms: Some(3_600_000), ..never };
        assert_eq!((tree.expired(3_601_001, hour), tree.expired(3_601_002, hour)), (None, Some("/c")));
        applied(&mut tree, 2, &create("/c/x", None));
        assert_eq!(tree.expired(i64::MAX, hour), None, "it has a child");
        applied(&mut tree, 3, &delete("/c/x"));
        assert_eq!(tree.expired(0, never), Some("/c"));
        applied(&mut tree, 4, &create("/c/y", None));
        assert_eq!(tree.expired(i64::MAX, hour), None);
        tree.rollback_above(Zxid(3));
        assert_eq!(tree.expired(0, never), Some("/c"));
        applied(&mut tree, 4, &delete("/c"));
        assert_eq!(tree.expired(i64::MAX, hour), None);
    }

    #[test]
    fn a_time_to_live_begins_with_the_last_set_data() {
        let mut tree = Tree::new(SEEDS);
        let ttls = Leniency { ttls: true, ..Leniency::default() };
        applied(&mut tree, 1, &lasting("/t", Some(500)));
        assert_eq!(tree.get("/t").unwrap().ephemeral_owner().cast_unsigned(), 0xff00_0000_0000_01f4);
        assert_eq!((tree.expired(1501, ttls), tree.expired(1502, ttls)), (None, Some("/t")));
        assert_eq!(tree.expired(i64::MAX, Leniency::default()), None, "where no time to live counts");
        applied(&mut tree, 9, &Txn::SetData { path: "/t".into(), data: None, version: 1 });
        assert_eq!((tree.expired(1509, ttls), tree.expired(1510, ttls)), (None, Some("/t")));
        applied(&mut tree, 10, &create("/t/x", None));
        assert_eq!(tree.expired(i64::MAX, ttls), None, "it has a child");
        tree.rollback_above(Zxid(8));
        assert_eq!((tree.expired(1501, ttls), tree.expired(1502, ttls)), (None, Some("/t")));
        // The one that ends first comes first.
        applied(&mut tree, 11, &lasting("/soon", Some(1)));
        assert_eq!(tree.expired(i64::MAX, ttls), Some("/soon"));
    }

    #[test]
    fn what_is_delivered_is_not_undone() {
        let mut tree = Tree::new(SEEDS);
        let mut images = Vec::new();
        for (zxid, path) in [(1, "/a"), (2, "/b"), (3, "/c"), (4, "/d")] {
            applied(&mut tree, zxid, &create(path, None));
            images.push(whole(&tree));
        }
        tree.forget(Zxid(2));
        assert_eq!(tree.undoable(), 2);
        tree.rollback_above(Zxid(3));
        assert_eq!(whole(&tree), images[2]);
        tree.rollback_above(Zxid::ZERO);
        assert_eq!(whole(&tree), images[1]);
    }

    /// The tree as the rules say it, with nothing clever about it.
    #[derive(Clone, PartialEq, Debug)]
    struct Model(BTreeMap<String, Znode>);

    impl Model {
        fn new() -> Self {
            let mut model = Self(BTreeMap::new());
            for path in ["/", "/zookeeper", "/zookeeper/quota"] {
                model.0.insert(path.to_owned(), (Some(vec![]), vec![Acl::open()], Stored::default()));
            }
            let read = vec![Acl::new(1, "world", "anyone")];
            let stored = Stored { aversion: -1, ..Stored::default() };
            model.0.insert("/zookeeper/config".to_owned(), (Some(vec![]), read, stored));
            model
        }

        fn children(&self, path: &str) -> BTreeSet<String> {
            let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
            let names = self.0.keys().filter_map(|key| key.strip_prefix(&prefix));
            names.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect()
        }

        fn ephemerals(&self, session: i64) -> BTreeSet<String> {
            let of = self.0.iter().filter(|(_, (_, _, stored))| session != 0 && stored.ephemeral_owner == session);
            of.map(|(path, _)| path.clone()).collect()
        }

        fn digest(&self) -> u64 {
            let mut sum = 0;
            for (path, (data, _, s)) in &self.0 {
                if path.starts_with("/zookeeper/") {
                    continue;
                }
                let mut bytes = if path == "/" { vec![] } else { path.clone().into_bytes() };
                bytes.extend(data.iter().flatten());
                for long in [s.czxid.as_wire(), s.mzxid.as_wire(), s.pzxid.as_wire(), s.ctime, s.mtime] {
                    bytes.extend(long.to_be_bytes());
                }
                for int in [s.version, s.cversion, s.aversion] {
                    bytes.extend(int.to_be_bytes());
                }
                bytes.extend(s.ephemeral_owner.to_be_bytes());
                sum += u64::from(crc32fast::hash(&bytes));
            }
            sum
        }

        fn delete(&mut self, zxid: Zxid, path: &str, may_be_missing: bool) -> Option<()> {
            let parent = path::split(path)?.0;
            if !self.children(path).is_empty() || (self.0.remove(path).is_none() && !may_be_missing) {
                return None;
            }
            if let Some((_, _, stored)) = self.0.get_mut(parent) {
                stored.pzxid = stored.pzxid.max(zxid);
            }
            Some(())
        }

        fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Option<()> {
            let (zxid, time) = (header.zxid, header.time);
            match txn {
                Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                    let (parent, _) = path::split(path)?;
                    let (_, _, above) = self.0.get_mut(parent)?;
                    let wanted = if *parent_cversion == -1 { above.cversion + 1 } else { *parent_cversion };
                    if wanted > above.cversion {
                        above.cversion = wanted;
                        above.pzxid = zxid;
                    }
                    let ephemeral_owner = if *ephemeral { header.session.0 } else { 0 };
                    let (czxid, mzxid, pzxid, ctime, mtime) = (zxid, zxid, zxid, time, time);
                    let stored = Stored { czxid, mzxid, pzxid, ctime, mtime, ephemeral_owner, ..Stored::default() };
                    let node = (data.map(<[u8]>::to_vec), acl.to_vec(), stored);
                    self.0.insert(path.to_string(), node).is_none().then_some(())
                }
                Txn::CreateLasting { path, data, acl, parent_cversion, ttl_ms } => {
                    let (path, acl, parent_cversion) = (path.clone(), acl.clone(), *parent_cversion);
                    self.apply(header, &Txn::Create { path: path.clone(), data: *data, acl, ephemeral: false, parent_cversion })?;
                    let mark = ttl_ms.map_or(i64::MIN, |ms| 0xff_i64 << 56 | ms);
                    self.0.get_mut(&*path)?.2.ephemeral_owner = mark;
                    Some(())
                }
                Txn::Delete { path } => self.delete(zxid, path, false),
                Txn::SetData { path, data, version } => {
                    let node = self.0.get_mut(&**path)?;
                    node.0 = data.map(<[u8]>::to_vec);
                    (node.2.version, node.2.mzxid, node.2.mtime) = (*version, zxid, time);
                    Some(())
                }
                Txn::SetAcl { path, acl, version } => {
                    let node = self.0.get_mut(&**path)?;
                    (node.1, node.2.aversion) = (acl.to_vec(), *version);
                    Some(())
                }
                Txn::CloseSession { paths } => {
                    paths.iter().try_for_each(|path| self.delete(zxid, path, true))?;
                    let rest = self.ephemerals(header.session.0);
                    rest.iter().try_for_each(|path| self.delete(zxid, path, false))
                }
                Txn::Multi(members) if members.iter().any(|(_, member)| matches!(member, Txn::Error { .. })) => Some(()),
                Txn::Multi(members) => members.iter().try_for_each(|(_, member)| self.apply(header, member)),
                Txn::Check { .. } | Txn::CreateSession { .. } | Txn::Error { .. } => Some(()),
            }
        }

        /// Everything that may ever go by itself.
        fn expiring(&self) -> BTreeSet<&str> {
            let goes = |(path, (_, _, stored)): &(&String, &Znode)| stored.ephemeral_owner < 0 && self.children(path).is_empty();
            self.0.iter().filter(goes).map(|(path, _)| path.as_str()).collect()
        }

        fn agrees_with(&self, view: &View) {
            assert_eq!((view.len(), view.digest()), (self.0.len(), self.digest()));
            for (path, (data, acl, stored)) in &self.0 {
                let slot = view.find(path).unwrap();
                let record = view.record(slot);
                let children = self.children(path);
                assert_eq!((record.data(), record.acl()), (data.as_deref(), &acl[..]));
                assert_eq!(record.stored(), Stored { num_children: children.len() as i32, ..*stored });
                assert_eq!(view.children(slot).map(str::to_owned).collect::<BTreeSet<_>>(), children);
                assert_eq!(view.children(slot).count(), children.len());
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Do {
        Apply(i64, Txn<'static>),
        /// Close a session, listing so many of its ephemerals, and perhaps something else.
        Close(i64, usize, Option<String>),
        /// Undo so many of the latest transactions.
        Undo(usize),
        /// Deliver so many of the earliest.
        Deliver(usize),
    }

    static BYTES: [u8; 1000] = [b'x'; 1000];

    fn any_path() -> impl Strategy<Value = String> {
        proptest::collection::vec(0..3usize, 1..4)
            .prop_map(|names| names.iter().map(|&name| ["/a", "/b", "/c"][name]).collect::<String>())
    }

    fn any_data() -> impl Strategy<Value = Option<&'static [u8]>> {
        prop_oneof![Just(None), (0..3usize, 0..200usize).prop_map(|(large, len)| Some(&BYTES[..len + 400 * (large / 2)]))]
    }

    fn any_acl() -> impl Strategy<Value = Cow<'static, [Acl]>> {
        (0..4usize).prop_map(|n| match n {
            0 => Cow::Owned(vec![]),
            1 => Cow::Owned(vec![Acl::new(1, "world", "anyone"), Acl::new(31, "digest", "u:p")]),
            _ => Cow::Owned(vec![Acl::open()]),
        })
    }

    fn any_single() -> impl Strategy<Value = Txn<'static>> {
        let version = prop_oneof![4 => Just(-1), 1 => 0..20];
        prop_oneof![
            8 => (any_path(), any_data(), any_acl(), any::<bool>(), version).prop_map(
                |(path, data, acl, ephemeral, parent_cversion)| {
                    Txn::Create { path: path.into(), data, acl, ephemeral, parent_cversion }
                }
            ),
            3 => (any_path(), any_acl(), proptest::option::of(1..9_000i64)).prop_map(|(path, acl, ttl_ms)| {
                Txn::CreateLasting { path: path.into(), data: None, acl, parent_cversion: -1, ttl_ms }
            }),
            4 => any_path().prop_map(|path| Txn::Delete { path: path.into() }),
            3 => (any_path(), any_data(), 0..9).prop_map(|(path, data, version)| {
                Txn::SetData { path: path.into(), data, version }
            }),
            1 => (any_path(), any_acl(), 0..9).prop_map(|(path, acl, version)| Txn::SetAcl { path: path.into(), acl, version }),
            1 => any_path().prop_map(|path| Txn::Check { path: path.into(), version: 0 }),
        ]
    }

    fn any_do() -> impl Strategy<Value = Do> {
        let members = proptest::collection::vec(any_single(), 0..6);
        let multi = (members, 0..8usize).prop_map(|(mut members, error)| {
            if error == 0 {
                members.push(Txn::Error { err: -101 });
            }
            Txn::Multi(members.into_iter().map(member).collect())
        });
        prop_oneof![
            10 => (1..4i64, any_single()).prop_map(|(session, txn)| Do::Apply(session, txn)),
            4 => (1..4i64, multi).prop_map(|(session, txn)| Do::Apply(session, txn)),
            2 => (1..4i64, 0..4usize, proptest::option::of(any_path())).prop_map(|(s, n, other)| Do::Close(s, n, other)),
            2 => (1..6usize).prop_map(Do::Undo),
            2 => (1..6usize).prop_map(Do::Deliver),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_tree_its_views_and_the_model_agree(plan in proptest::collection::vec(any_do(), 1..80)) {
            let (mut tree, mut model) = (Tree::new(SEEDS), Model::new());
            // A reader's View with other seeds: only the steps make them alike.
            let mut view = View::new([5, 6, 7, 8]);
            // Transactions applied and not delivered: what was before them, and their steps.
            let mut pending: std::collections::VecDeque<(Zxid, Mark, Whole, Model, Vec<Step>)> = Default::default();
            for (zxid, next) in (1..).zip(plan) {
                let (session, txn) = match next {
                    Do::Apply(session, txn) => (session, txn),
                    Do::Close(session, listed, other) => {
                        let owned = model.ephemerals(session).into_iter().take(listed);
                        (session, Txn::CloseSession { paths: owned.chain(other).map(Cow::Owned).collect() })
                    }
                    Do::Undo(count) => {
                        for n in 0..count.min(pending.len()) {
                            let (_, mark, before, model_before, _) = pending.pop_back().unwrap();
                            if n + 1 == count || pending.is_empty() {
                                tree.rollback(mark);
                                prop_assert_eq!(whole(&tree), before);
                            }
                            model = model_before;
                        }
                        if pending.is_empty() {
                            prop_assert_eq!(tree.undoable(), 0);
                        }
                        model.agrees_with(tree.view());
                        continue;
                    }
                    Do::Deliver(count) => {
                        for _ in 0..count.min(pending.len()) {
                            let (zxid, _, _, _, steps) = pending.pop_front().unwrap();
                            steps.iter().for_each(|step| view.adopt(step));
                            tree.forget(zxid);
                        }
                        pending.front().map_or(&model, |(_, _, _, before, _)| before).agrees_with(&view);
                        continue;
                    }
                };
                let (mark, before, model_before) = (tree.mark(), whole(&tree), model.clone());
                let header = header(zxid, session);
                let mut steps = Vec::new();
                let applied = tree.apply(&header, &txn, &mut steps);
                prop_assert_eq!(applied.is_ok(), model.apply(&header, &txn).is_some(), "{:?}", txn);
                if applied.is_err() {
                    model = model_before;
                    prop_assert_eq!(whole(&tree), before);
                    prop_assert!(steps.is_empty());
                } else {
                    pending.push_back((header.zxid, mark, before, model_before, steps));
                }
                model.agrees_with(tree.view());
                prop_assert_eq!(tree.expiring(), model.expiring());
                let size = model.0.iter().map(|(path, (data, _, _))| path.len() + data.as_ref().map_or(0, Vec::len));
                prop_assert_eq!(tree.data_size(), size.sum::<usize>() as u64);
                for session in 1..4 {
                    let owned: Vec<_> = tree.ephemerals(SessionId(session)).map(str::to_owned).collect();
                    prop_assert_eq!(owned.iter().cloned().collect::<BTreeSet<_>>(), model.ephemerals(session));
                }
            }
            for (_, _, _, _, steps) in &pending {
                steps.iter().for_each(|step| view.adopt(step));
            }
            prop_assert_eq!(image(&view), image(tree.view()));
        }
    }
}
