//! A View: the tree as one reader holds it. An index from path to record and the links between children.

use ahash::RandomState;
use triomphe::Arc;

use super::acls::AclList;
use super::change::Step;
use super::index::{Filling, Index};
use super::owners::Owners;
use super::record::{Record, Stored};
use crate::ground::ids::SessionId;
use crate::proto::acl::{Acl, READ};
use crate::proto::path::ROOT;

/// Where a znode lives in every View of one Tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotId(pub(super) u32);

impl SlotId {
    /// The root's.
    pub const ROOT: Self = Self(0);
}

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Slots of one chunk: the slab grows by chunks, so that growing copies nothing.
const CHUNK: usize = 4096;

/// A znode's place among its relatives, each a slot or [`NONE`].
#[derive(Clone, Copy)]
struct Links {
    first_child: u32,
    prev: u32,
    next: u32,
}

const UNLINKED: Links = Links { first_child: NONE, prev: NONE, next: NONE };

/// Records and links lie apart: lookups and set-data touch records only, eight to a cache line.
#[derive(Clone)]
struct Chunk {
    records: Box<[Option<Record>; CHUNK]>,
    links: Box<[Links; CHUNK]>,
}

impl Chunk {
    fn new() -> Self {
        let (Ok(records), Ok(links)) = (vec![None; CHUNK].try_into(), vec![UNLINKED; CHUNK].try_into()) else {
            unreachable!("both have a chunk's length");
        };
        Self { records, links }
    }
}

/// What every new ensemble begins with, in the order of the slots: path, parent.
const FRESH: [(&str, u32); 4] = [(ROOT, NONE), ("/zookeeper", 0), ("/zookeeper/quota", 1), ("/zookeeper/config", 1)];

/// Slots in use by the fresh tree.
pub(super) const FRESH_SLOTS: u32 = FRESH.len() as u32;

/// The tree as one reader holds it. Cloning shares the records.
#[derive(Clone)]
pub struct View {
    index: Index,
    chunks: Vec<Chunk>,
    digest: u64,
    len: usize,
    owners: Owners,
}

impl View {
    /// The fresh tree, as ZooKeeper makes it: `/`, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`. The seeds
    /// keep clients from choosing paths that collide; nothing a View says depends on them.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        let chunks = vec![Chunk::new()];
        let mut view = Self { index: Index::new(hasher), chunks, digest: 0, len: 0, owners: Owners::default() };
        for (slot, (path, parent)) in (0..).zip(FRESH) {
            let num_children = FRESH.iter().filter(|(_, of)| *of == slot).count() as i32;
            let mut stored = Stored { num_children, ..Stored::default() };
            let mut acl = None;
            if path == "/zookeeper/config" {
                acl = Some(Arc::new(AclList([Acl::new(READ, "world", "anyone")].into())));
                stored.aversion = -1;
            }
            let record = Record::new(path, Some(b""), acl, &stored);
            view.enter(slot, record);
            if parent != NONE {
                view.join(slot, parent, NONE);
            }
        }
        view
    }

    /// A View without a single znode, which [`super::loader`] fills.
    pub(super) fn empty(hasher: RandomState) -> Self {
        Self { index: Index::new(hasher), chunks: Vec::new(), digest: 0, len: 0, owners: Owners::default() }
    }

    /// Enters a znode into the next slot, behind the sibling `prev`, or as the first child where that is [`NONE`]. Until
    /// [`View::set_index`] its path leads nowhere.
    #[inline]
    pub(super) fn load(&mut self, record: Record, parent: u32, prev: u32) {
        let slot = u32::try_from(self.len).ok().filter(|&slot| slot != NONE).expect("memory ends before the slots do");
        if self.chunks.len() * CHUNK <= self.len {
            self.chunks.push(Chunk::new());
        }
        self.digest = self.digest.wrapping_add(u64::from(record.digest()));
        self.owners.came(SlotId(slot), &record);
        *self.at_mut(slot) = Some(record);
        self.len += 1;
        if parent != NONE {
            self.join(slot, parent, prev);
        }
    }

    /// The index of what was loaded. A slot whose path another has too is handed back.
    pub(super) fn set_index(&mut self, filling: Filling) -> Result<(), SlotId> {
        let Self { index, chunks, .. } = self;
        let path = |slot: u32| {
            let record = chunks[slot as usize / CHUNK].records[slot as usize % CHUNK].as_ref();
            record.expect("what is entered is there").path_bytes()
        };
        filling.fill(index, |a, b| path(a) == path(b)).map_err(SlotId)
    }

    /// First child and next sibling of a slot, each a slot or [`NONE`].
    pub(super) fn onward(&self, slot: u32) -> (u32, u32) {
        let links = self.links(slot);
        (links.first_child, links.next)
    }

    /// The record of a path.
    #[inline]
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Record> {
        self.find(path).map(|slot| self.record(slot))
    }

    /// The slot of a path.
    #[inline]
    #[must_use]
    pub fn find(&self, path: &str) -> Option<SlotId> {
        let path = path.as_bytes();
        let is_it = |slot| self.at(slot).as_ref().is_some_and(|record| record.path_bytes() == path);
        self.index.find(self.index.hash(path), is_it).map(SlotId)
    }

    /// The record in a slot.
    ///
    /// # Panics
    /// Where the slot is not in use: slots come from this View, or from the Tree whose steps it adopts.
    #[inline]
    #[must_use]
    pub fn record(&self, slot: SlotId) -> &Record {
        self.at(slot.0).as_ref().expect("a slot handed out is in use")
    }

    /// The names of a znode's children, the newest first.
    #[must_use]
    pub fn children(&self, slot: SlotId) -> Children<'_> {
        let path = self.record(slot).path_bytes();
        let name_at = if path == ROOT.as_bytes() { 1 } else { path.len() + 1 };
        Children { view: self, next: self.links(slot.0).first_child, name_at }
    }

    /// The slots of a znode's children, in the order of [`Self::children`].
    pub fn child_slots(&self, slot: SlotId) -> impl Iterator<Item = SlotId> {
        let slot_or_none = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(slot_or_none(self.links(slot.0).first_child), move |&slot| slot_or_none(self.links(slot).next))
            .map(SlotId)
    }

    /// Znodes below a znode.
    #[must_use]
    pub fn descendants(&self, slot: SlotId) -> usize {
        if slot == SlotId::ROOT {
            return self.len - 1;
        }
        let (mut count, mut ahead) = (0, vec![self.links(slot.0).first_child]);
        while let Some(next) = ahead.pop() {
            if next != NONE {
                let links = self.links(next);
                count += 1;
                ahead.extend([links.next, links.first_child]);
            }
        }
        count
    }

    /// Paths of a session's ephemerals, in the order of their slots.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.owners.of(session).map(|slot| self.record(slot).path())
    }

    /// Bytes that the paths of a session's ephemerals take in a list, their lengths included.
    #[must_use]
    pub fn ephemeral_bytes(&self, session: SessionId) -> usize {
        self.owners.bytes(session)
    }

    /// Who owns which ephemerals.
    pub(super) const fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Every record, parents before their children.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records { view: self, ahead: vec![SlotId::ROOT] }
    }

    /// The sum of the digests of all znodes, modulo 2^64 (ZooKeeper's digest version 2).
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Znodes, the root among them.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: the root is always there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Does what a step says. Steps are adopted in the Tree's order, each once, rolled back ones never.
    ///
    /// # Panics
    /// Where the step is not the next of this View's Tree.
    #[inline]
    pub fn adopt(&mut self, step: &Step) {
        match step {
            Step::Put { slot, record, .. } => drop(self.put(*slot, record.clone())),
            Step::Link { slot, record, parent, parent_record } => {
                self.link(*slot, record.clone(), *parent, parent_record.clone(), NONE);
            }
            Step::Unlink { slot, parent, parent_record, .. } => {
                self.unlink(*slot, *parent, parent_record.clone());
            }
        }
    }

    /// Replaces a record and yields the one before.
    #[inline]
    pub(super) fn put(&mut self, slot: SlotId, record: Record) -> Record {
        self.digest = self.digest.wrapping_add(u64::from(record.digest()));
        let before = self.at_mut(slot.0).replace(record).expect("a slot handed out is in use");
        self.digest = self.digest.wrapping_sub(u64::from(before.digest()));
        before
    }

    /// Enters a znode among its siblings after `prev`, first where that is [`NONE`]. Yields the parent's record before.
    pub(super) fn link(&mut self, slot: SlotId, record: Record, parent: SlotId, parent_record: Record, prev: u32) -> Record {
        while self.chunks.len() * CHUNK <= slot.0 as usize {
            self.chunks.push(Chunk::new());
        }
        self.enter(slot.0, record);
        self.join(slot.0, parent.0, prev);
        self.put(parent, parent_record)
    }

    /// Removes a znode that has no children. Yields its record, the parent's record before, and the sibling before it.
    pub(super) fn unlink(&mut self, slot: SlotId, parent: SlotId, parent_record: Record) -> (Record, Record, u32) {
        let Links { first_child, prev, next } = std::mem::replace(self.links_mut(slot.0), UNLINKED);
        assert_eq!(first_child, NONE, "a znode with children stays");
        match prev {
            NONE => self.links_mut(parent.0).first_child = next,
            prev => self.links_mut(prev).next = next,
        }
        if next != NONE {
            self.links_mut(next).prev = prev;
        }
        let removed = self.at_mut(slot.0).take().expect("a slot handed out is in use");
        self.owners.went(slot, &removed);
        self.index.remove(self.index.hash(removed.path_bytes()), slot.0);
        self.digest = self.digest.wrapping_sub(u64::from(removed.digest()));
        self.len -= 1;
        (removed, self.put(parent, parent_record), prev)
    }

    fn enter(&mut self, slot: u32, record: Record) {
        self.digest = self.digest.wrapping_add(u64::from(record.digest()));
        self.index.insert(self.index.hash(record.path_bytes()), slot);
        self.owners.came(SlotId(slot), &record);
        assert!(self.at_mut(slot).replace(record).is_none(), "a new znode's slot was unused");
        self.len += 1;
    }

    fn join(&mut self, slot: u32, parent: u32, prev: u32) {
        let next = match prev {
            NONE => std::mem::replace(&mut self.links_mut(parent).first_child, slot),
            prev => std::mem::replace(&mut self.links_mut(prev).next, slot),
        };
        if next != NONE {
            self.links_mut(next).prev = slot;
        }
        let links = self.links_mut(slot);
        (links.prev, links.next) = (prev, next);
    }

    #[inline]
    fn at(&self, slot: u32) -> &Option<Record> {
        &self.chunks[slot as usize / CHUNK].records[slot as usize % CHUNK]
    }

    #[inline]
    fn at_mut(&mut self, slot: u32) -> &mut Option<Record> {
        &mut self.chunks[slot as usize / CHUNK].records[slot as usize % CHUNK]
    }

    #[inline]
    fn links(&self, slot: u32) -> &Links {
        &self.chunks[slot as usize / CHUNK].links[slot as usize % CHUNK]
    }

    #[inline]
    fn links_mut(&mut self, slot: u32) -> &mut Links {
        &mut self.chunks[slot as usize / CHUNK].links[slot as usize % CHUNK]
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("len", &self.len).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Every record of a View, parents before their children.
#[derive(Clone)]
pub struct Records<'a> {
    view: &'a View,
    ahead: Vec<SlotId>,
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a Record;

    fn next(&mut self) -> Option<&'a Record> {
        let slot = self.ahead.pop()?;
        self.ahead.extend(self.view.child_slots(slot));
        Some(self.view.record(slot))
    }
}

/// The names of a znode's children.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    view: &'a View,
    next: u32,
    name_at: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.next == NONE {
            return None;
        }
        let record = self.view.record(SlotId(self.next));
        self.next = self.view.links(self.next).next;
        Some(record.path_from(self.name_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fresh_tree_is_zookeepers() {
        let view = View::new([1, 2, 3, 4]);
        assert_eq!((view.len(), view.is_empty(), view.digest()), (4, false, 1_371_985_504));
        assert_eq!(view.children(SlotId::ROOT).collect::<Vec<_>>(), ["zookeeper"]);
        let zookeeper = view.find("/zookeeper").unwrap();
        assert_eq!(view.children(zookeeper).collect::<Vec<_>>(), ["config", "quota"]);
        assert_eq!(view.record(zookeeper).num_children(), 2);
        let config = view.get("/zookeeper/config").unwrap();
        assert_eq!((config.acl(), config.aversion()), (&[Acl::new(READ, "world", "anyone")][..], -1));
        assert!(view.get("/").unwrap().is_open() && view.get("/").unwrap().data() == Some(b""));
        assert!(view.get("").is_none() && view.get("/zookeeper/").is_none());
    }

    #[test]
    fn siblings_go_back_where_they_were() {
        let mut view = View::new([1, 2, 3, 4]);
        let root = view.record(SlotId::ROOT).clone();
        for (slot, path) in [(4, "/a"), (5, "/b"), (6, "/c")] {
            view.link(SlotId(slot), Record::new(path, None, None, &Stored::default()), SlotId::ROOT, root.clone(), NONE);
        }
        let names = |view: &View| view.children(SlotId::ROOT).map(str::to_owned).collect::<Vec<_>>();
        let before = names(&view);
        assert_eq!(before, ["c", "b", "a", "zookeeper"]);
        for slot in [4, 5, 6] {
            let (removed, _, prev) = view.unlink(SlotId(slot), SlotId::ROOT, root.clone());
            assert!(!names(&view).contains(&removed.path()[1..].to_owned()) && view.get(removed.path()).is_none());
            view.link(SlotId(slot), removed, SlotId::ROOT, root.clone(), prev);
            assert_eq!(names(&view), before);
        }
    }
}
