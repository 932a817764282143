//! Disk: what of a journal of changes is durable, what is not yet, and the contents that a crash can leave.
//!
//! Nothing that was not synced is promised, and everything in it may come alone: each sector of a write, the length of a file,
//! each name made, moved or removed. A move is one: it is there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::runtime::journal::Op;

pub(super) const SECTOR: usize = 512;

type Id = usize;

/// A change that is not durable.
#[derive(Clone, Debug)]
enum Change {
    /// A sector, or less of it, from this byte on.
    Sector(usize, Rc<[u8]>),
    /// The length: cut, or grown with zeros.
    Len(usize, Grown),
    Set(String, Id),
    Unset(String),
    Move(String, String, Id),
}

/// What a length that is missing means for the sectors behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Grown {
    /// The file is cut to this length.
    Cut,
    /// The file reaches at least this length.
    AtLeast,
}

#[derive(Clone, Default, Debug)]
struct Node {
    is_dir: bool,
    bytes: Rc<Vec<u8>>,
    names: BTreeMap<String, Id>,
    /// With their numbers, in order.
    pending: Vec<(u64, Change)>,
    /// Names as the running system sees them.
    live: BTreeMap<String, Id>,
}

/// The disk under one directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    next: u64,
}

/// Files with their contents and directories without, by path below the root.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Image {
    pub(super) files: BTreeMap<String, Rc<Vec<u8>>>,
    pub(super) dirs: BTreeSet<String>,
}

impl Image {
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.dirs.hash(&mut hasher);
        for (name, bytes) in &self.files {
            (name, crc32fast::hash(bytes), bytes.len()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Makes the directory hold this and nothing else.
    pub(super) fn write(&self, root: &Path) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        self.dirs.iter().for_each(|dir| fs::create_dir(root.join(dir)).unwrap());
        self.files.iter().for_each(|(name, bytes)| fs::write(root.join(name), &bytes[..]).unwrap());
    }

    /// What is there, one a line, for whoever looks at a failure.
    pub(super) fn listing(&self) -> String {
        self.files.iter().map(|(name, bytes)| format!("  {name} {} crc {:08x}\n", bytes.len(), crc32fast::hash(bytes))).collect()
    }
}

impl Disk {
    /// One on which `image` is all there is, and durable.
    pub(super) fn holding(root: &Path, image: &Image) -> Self {
        let top = Node { is_dir: true, ..Node::default() };
        let mut disk = Self { root: root.to_owned(), nodes: vec![top], next: 0 };
        // Directories above those in them.
        for dir in &image.dirs {
            disk.apply(&Op::Mkdir(root.join(dir)));
        }
        for (name, bytes) in &image.files {
            disk.apply(&Op::Create(root.join(name)));
            let id = disk.find(&root.join(name)).expect("just made");
            disk.nodes[id].bytes = Rc::clone(bytes);
            disk.nodes[id].pending.clear();
        }
        for node in &mut disk.nodes {
            node.pending.clear();
            node.names = node.live.clone();
        }
        disk
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let below = path.strip_prefix(&self.root).expect("a path below the root");
        below.iter().try_fold(0, |id, name| self.nodes[id].live.get(name.to_str().unwrap()).copied())
    }

    fn place(&self, path: &Path) -> (Id, String) {
        let parent = self.find(path.parent().unwrap()).expect("the directory is there");
        (parent, path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn change(&mut self, id: Id, change: Change) {
        self.next += 1;
        self.nodes[id].pending.push((self.next, change));
    }

    fn make(&mut self, path: &Path, is_dir: bool) {
        let (parent, name) = self.place(path);
        self.nodes.push(Node { is_dir, ..Node::default() });
        let id = self.nodes.len() - 1;
        self.nodes[parent].live.insert(name.clone(), id);
        self.change(parent, Change::Set(name, id));
    }

    /// Does what the journal says.
    pub(super) fn apply(&mut self, op: &Op) {
        // Syncs above the root are of no interest.
        if matches!(op, Op::SyncDir(path) if !path.starts_with(&self.root)) {
            return;
        }
        match op {
            Op::Create(path) => match self.find(path) {
                Some(id) => self.change(id, Change::Len(0, Grown::Cut)),
                None => self.make(path, false),
            },
            Op::Mkdir(path) => self.make(path, true),
            Op::Write(path, at, bytes) => {
                let id = self.find(path).expect("a file is made before it is written");
                let start = usize::try_from(*at).unwrap();
                let mut from = start;
                while from < start + bytes.len() {
                    let to = ((from / SECTOR + 1) * SECTOR).min(start + bytes.len());
                    self.change(id, Change::Sector(from, bytes[from - start..to - start].into()));
                    from = to;
                }
                self.change(id, Change::Len(start + bytes.len(), Grown::AtLeast));
            }
            Op::SyncFile(path) => {
                let id = self.find(path).expect("a file is made before it is synced");
                self.settle(id, |_| true);
            }
            Op::SyncRange(path, at, len) => {
                let id = self.find(path).expect("a file is made before it is synced");
                let range = usize::try_from(*at).unwrap()..usize::try_from(*at).unwrap() + len;
                self.settle(id, |change| match change {
                    Change::Sector(from, _) => range.contains(from),
                    Change::Len(to, _) => *to <= range.end,
                    _ => false,
                });
            }
            Op::SyncDir(path) => {
                let id = self.find(path).expect("a directory is made before it is synced");
                self.settle(id, |_| true);
            }
            Op::Rename(from, to) => {
                let ((parent, old), (other, new)) = (self.place(from), self.place(to));
                assert_eq!(parent, other, "moves stay in their directory");
                let id = self.nodes[parent].live.remove(&old).expect("what is moved is there");
                self.nodes[parent].live.insert(new.clone(), id);
                self.change(parent, Change::Move(old, new, id));
            }
            Op::Remove(path) => {
                let (parent, name) = self.place(path);
                self.nodes[parent].live.remove(&name).expect("what is removed is there");
                self.change(parent, Change::Unset(name));
            }
            Op::Told(_) => {}
        }
    }

    /// These changes of a node are durable from now on.
    fn settle(&mut self, id: Id, which: impl Fn(&Change) -> bool) {
        let node = &mut self.nodes[id];
        let (done, left): (Vec<_>, Vec<_>) = std::mem::take(&mut node.pending).into_iter().partition(|(_, change)| which(change));
        node.pending = left;
        if node.is_dir {
            done.iter().for_each(|(_, change)| rename(&mut node.names, change));
        } else {
            let bytes = Rc::make_mut(&mut node.bytes);
            done.iter().for_each(|(_, change)| write(bytes, change));
        }
    }

    /// Whether a directory of names leads, or could lead, to each node.
    fn within_reach(&self) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut next = vec![0];
        while let Some(id) = next.pop() {
            if std::mem::replace(&mut reached[id], true) {
                continue;
            }
            let node = &self.nodes[id];
            next.extend(node.names.values());
            next.extend(node.pending.iter().filter_map(|(_, change)| match change {
                Change::Set(_, id) | Change::Move(_, _, id) => Some(*id),
                _ => None,
            }));
        }
        reached
    }

    /// Numbers of all changes that may be there or not, oldest first. Those without any effect are left out.
    pub(super) fn open(&self) -> Vec<u64> {
        let reached = self.within_reach();
        let mut open = Vec::new();
        for node in self.nodes.iter().zip(reached).filter_map(|(node, reached)| reached.then_some(node)) {
            // How often each sector is written, and whether lengths only grow.
            let mut times = BTreeMap::new();
            let mut is_cut = false;
            for (_, change) in &node.pending {
                match change {
                    Change::Sector(from, _) => *times.entry(from / SECTOR).or_insert(0) += 1,
                    Change::Len(_, Grown::Cut) => is_cut = true,
                    _ => {}
                }
            }
            open.extend(node.pending.iter().filter_map(|(number, change)| {
                let is_idle = match change {
                    Change::Sector(from, bytes) => {
                        times[&(from / SECTOR)] == 1 && !is_cut && {
                            // Zeros beyond the end are there as soon as the length is.
                            let there = node.bytes.get(*from..).unwrap_or_default();
                            let there = &there[..there.len().min(bytes.len())];
                            *there == bytes[..there.len()] && bytes[there.len()..].iter().all(|byte| *byte == 0)
                        }
                    }
                    Change::Len(to, Grown::AtLeast) => !is_cut && *to <= node.bytes.len(),
                    _ => false,
                };
                (!is_idle).then_some(*number)
            }));
        }
        open.sort_unstable();
        open
    }

    /// The disk with these changes, ascending, and all that is durable.
    pub(super) fn image(&self, present: &[u64]) -> Image {
        let mut image = Image::default();
        let is_present = |number: u64| present.binary_search(&number).is_ok();
        let mut next = vec![(0, String::new())];
        while let Some((id, path)) = next.pop() {
            let node = &self.nodes[id];
            if node.is_dir {
                let mut names = node.names.clone();
                node.pending.iter().filter(|(number, _)| is_present(*number)).for_each(|(_, change)| rename(&mut names, change));
                let slash = if path.is_empty() { "" } else { "/" };
                next.extend(names.into_iter().map(|(name, id)| (id, format!("{path}{slash}{name}"))));
                if !path.is_empty() {
                    image.dirs.insert(path);
                }
            } else {
                let mut bytes = Rc::clone(&node.bytes);
                for (_, change) in node.pending.iter().filter(|(number, _)| is_present(*number)) {
                    write(Rc::make_mut(&mut bytes), change);
                }
                image.files.insert(path, bytes);
            }
        }
        image
    }

    /// As whoever looks at it now sees it.
    pub(super) fn seen(&self) -> Image {
        let all: Vec<u64> = (0..=self.next).collect();
        self.image(&all)
    }
}

fn rename(names: &mut BTreeMap<String, Id>, change: &Change) {
    match change {
        Change::Set(name, id) => {
            names.insert(name.clone(), *id);
        }
        Change::Unset(name) => {
            names.remove(name);
        }
        Change::Move(from, to, id) => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
        Change::Sector(..) | Change::Len(..) => unreachable!("directories have no bytes"),
    }
}

fn write(into: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Sector(from, bytes) => {
            let end = from + bytes.len();
            if into.len() < end {
                into.resize(end, 0);
            }
            into[*from..end].copy_from_slice(bytes);
        }
        Change::Len(to, Grown::Cut) => into.truncate(*to),
        Change::Len(to, Grown::AtLeast) if into.len() < *to => into.resize(*to, 0),
        Change::Len(..) => {}
        _ => unreachable!("files have no names in them"),
    }
}
