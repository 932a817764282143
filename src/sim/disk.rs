//! Disk: the files of one simulated server, what of them is durable, and what a loss of power leaves.
//!
//! Nothing that was not synced is promised, and everything in it may come alone: each sector of a write, the length of a file, each name
//! made, moved or removed. A process that ends without the machine loses nothing: what it wrote waits in the kernel.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::chance::Chance;

/// A directory, for its names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dir {
    /// Segments of the log and the papers.
    Log,
    /// Images of the state.
    Images,
}

/// What a program may do to files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// An empty file of this name.
    Create(Dir, String),
    /// Bytes from an offset on.
    Write(Dir, String, usize, Rc<[u8]>),
    /// Contents and length of a file become durable.
    Sync(Dir, String),
    /// What was written to these bytes of a file becomes durable.
    SyncRange(Dir, String, usize, usize),
    /// The names of a directory become durable.
    SyncNames(Dir),
    /// A file gets another name, over what had it.
    Rename(Dir, String, String),
    /// A name goes.
    Remove(Dir, String),
}

impl Op {
    /// What it is and to what, in a few words.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Create(_, name) => format!("create {name}"),
            Self::Write(_, name, at, bytes) => format!("write {name} at {at}, {} bytes", bytes.len()),
            Self::Sync(_, name) => format!("sync {name}"),
            Self::SyncRange(_, name, at, len) => format!("sync {name} at {at}, {len} bytes"),
            Self::SyncNames(dir) => format!("sync names of {dir:?}"),
            Self::Rename(_, from, to) => format!("rename {from} to {to}"),
            Self::Remove(_, name) => format!("remove {name}"),
        }
    }

    /// Whether the device has to answer before the program goes on.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Sync(..) | Self::SyncRange(..) | Self::SyncNames(..))
    }
}

type Name = (Dir, String);

#[derive(Clone, Default, Debug)]
struct File {
    /// What survives.
    durable: Vec<u8>,
    /// What is read.
    live: Vec<u8>,
    /// Writes that are not durable, in order.
    pending: Vec<(usize, Rc<[u8]>)>,
}

impl File {
    fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
        if into.len() < at + bytes.len() {
            into.resize(at + bytes.len(), 0);
        }
        into[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[derive(Clone, Debug)]
enum Naming {
    Set(Name, usize),
    Unset(Name),
    Move(Dir, Name, usize),
}

impl Naming {
    const fn dir(&self) -> Dir {
        match self {
            Self::Set((dir, _), _) | Self::Unset((dir, _)) | Self::Move(dir, ..) => *dir,
        }
    }

    fn apply(&self, names: &mut BTreeMap<Name, usize>) {
        match self {
            Self::Set(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Unset(name) => {
                names.remove(name);
            }
            // A file has one name, also where an earlier move of it was lost.
            Self::Move(_, to, file) => {
                names.retain(|_, other| other != file);
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// The disk.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    files: Vec<File>,
    /// As they are read.
    names: BTreeMap<Name, usize>,
    /// As they survive.
    durable: BTreeMap<Name, usize>,
    pending: Vec<Naming>,
    /// Unit in which a device writes all or nothing, bytes.
    sector: usize,
}

/// How much of what was not durable a loss of power leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Nothing of it.
    Nothing,
    /// Each write and each name, or not.
    Writes,
    /// Each sector and each name, or not.
    Sectors,
    /// All of it.
    All,
}

impl Disk {
    /// An empty one with sectors of so many bytes.
    #[must_use]
    pub fn new(sector: usize) -> Self {
        Self { sector, ..Self::default() }
    }

    fn id(&self, dir: Dir, name: &str) -> usize {
        self.find(dir, name).unwrap_or_else(|| panic!("the program names a file that is not there: {name}"))
    }

    fn find(&self, dir: Dir, name: &str) -> Option<usize> {
        self.names.get(&(dir, name.to_owned())).copied()
    }

    /// The bytes of a file.
    #[must_use]
    pub fn read(&self, dir: Dir, name: &str) -> Option<&[u8]> {
        self.find(dir, name).map(|id| &self.files[id].live[..])
    }

    /// The names in a directory, ascending.
    pub fn names(&self, dir: Dir) -> impl Iterator<Item = &str> {
        self.names.keys().filter(move |(in_dir, _)| *in_dir == dir).map(|(_, name)| name.as_str())
    }

    /// Carries an operation out; a sync has come to its end.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(dir, name) => {
                self.files.push(File::default());
                let id = self.files.len() - 1;
                self.name(Naming::Set((*dir, name.clone()), id));
            }
            Op::Write(dir, name, at, bytes) => {
                let id = self.id(*dir, name);
                let file = &mut self.files[id];
                File::put(&mut file.live, *at, bytes);
                file.pending.push((*at, Rc::clone(bytes)));
            }
            Op::Sync(dir, name) => {
                // The file may have lost its name meanwhile.
                if let Some(id) = self.find(*dir, name) {
                    self.settle(id, 0..usize::MAX);
                }
            }
            Op::SyncRange(dir, name, at, len) => {
                if let Some(id) = self.find(*dir, name) {
                    self.settle(id, *at..*at + *len);
                }
            }
            Op::SyncNames(dir) => {
                let (done, left) = std::mem::take(&mut self.pending).into_iter().partition(|naming| naming.dir() == *dir);
                self.pending = left;
                let done: Vec<Naming> = done;
                done.iter().for_each(|naming| naming.apply(&mut self.durable));
            }
            Op::Rename(dir, from, to) => {
                let id = self.id(*dir, from);
                self.name(Naming::Move(*dir, (*dir, to.clone()), id));
            }
            Op::Remove(dir, name) => {
                self.id(*dir, name);
                self.name(Naming::Unset((*dir, name.clone())));
            }
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending.push(naming);
    }

    fn settle(&mut self, id: usize, range: std::ops::Range<usize>) {
        let file = &mut self.files[id];
        let pending = std::mem::take(&mut file.pending);
        for (at, bytes) in pending {
            if range.contains(&at) {
                File::put(&mut file.durable, at, &bytes);
            } else {
                file.pending.push((at, bytes));
            }
        }
    }

    /// A sync of these bytes has failed: any sector of them is on the device or is lost, and nobody asks again.
    pub fn fail(&mut self, op: &Op, chance: &mut Chance) {
        let (dir, name, range) = match op {
            Op::Sync(dir, name) => (*dir, name, 0..usize::MAX),
            Op::SyncRange(dir, name, at, len) => (*dir, name, *at..*at + *len),
            // A name stays in doubt.
            _ => return,
        };
        let Some(id) = self.find(dir, name) else { return };
        let sector = self.sector;
        let file = &mut self.files[id];
        let pending = std::mem::take(&mut file.pending);
        for (at, bytes) in pending {
            if range.contains(&at) {
                sectors(sector, at, &bytes, |at, piece| {
                    if chance.coin() {
                        File::put(&mut file.durable, at, piece);
                    }
                });
            } else {
                file.pending.push((at, bytes));
            }
        }
        file.live.clone_from(&file.durable);
        for (at, bytes) in &file.pending {
            File::put(&mut file.live, *at, bytes);
        }
    }

    /// The power goes.
    pub fn lose(&mut self, left: Left, chance: &mut Chance) {
        for naming in std::mem::take(&mut self.pending) {
            let stays = match left {
                Left::Nothing => false,
                Left::All => true,
                Left::Writes | Left::Sectors => chance.coin(),
            };
            if stays {
                naming.apply(&mut self.durable);
            }
        }
        self.names = self.durable.clone();
        for file in &mut self.files {
            let length = file.durable.len();
            let grows = left == Left::All || left != Left::Nothing && chance.coin();
            for (at, bytes) in std::mem::take(&mut file.pending) {
                match left {
                    Left::Nothing => {}
                    Left::All => File::put(&mut file.durable, at, &bytes),
                    Left::Writes => {
                        if chance.coin() {
                            File::put(&mut file.durable, at, &bytes);
                        }
                    }
                    Left::Sectors => sectors(self.sector, at, &bytes, |at, piece| {
                        if chance.coin() {
                            File::put(&mut file.durable, at, piece);
                        }
                    }),
                }
            }
            if !grows {
                file.durable.truncate(length);
            }
            file.live.clone_from(&file.durable);
        }
        self.sweep();
    }

    /// Forgets files that no name leads to.
    fn sweep(&mut self) {
        let mut files = Vec::new();
        let mut moved = BTreeMap::new();
        for id in self.names.values_mut() {
            let new = *moved.entry(*id).or_insert_with(|| {
                files.push(std::mem::take(&mut self.files[*id]));
                files.len() - 1
            });
            *id = new;
        }
        self.files = files;
        self.durable = self.names.clone();
    }

    /// What would be left if the power went now and nothing were kept that was not durable.
    #[must_use]
    pub fn worst(&self) -> Self {
        let mut worst = self.clone();
        worst.lose(Left::Nothing, &mut Chance::new(0, "worst", 0));
        worst
    }

    /// A number that two disks of different contents do not share.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.names.iter().fold(0, |hash, ((dir, name), id)| {
            let crc = crc32fast::hash(name.as_bytes()) ^ crc32fast::hash(&self.files[*id].live);
            super::chance::mix(hash ^ u64::from(crc) ^ (*dir as u64) << 40)
        })
    }
}

fn sectors(sector: usize, at: usize, bytes: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let mut from = at;
    let end = at + bytes.len();
    while from < end {
        let to = ((from / sector + 1) * sector).min(end);
        each(from, &bytes[from - at..to - at]);
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Dir = Dir::Log;

    fn write(name: &str, at: usize, byte: u8, len: usize) -> Op {
        Op::Write(LOG, name.into(), at, vec![byte; len].into())
    }

    fn with(ops: &[Op]) -> Disk {
        let mut disk = Disk::new(512);
        ops.iter().for_each(|op| disk.apply(op));
        disk
    }

    fn durable() -> Disk {
        with(&[Op::Create(LOG, "a".into()), write("a", 0, 1, 1024), Op::Sync(LOG, "a".into()), Op::SyncNames(LOG)])
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let mut disk = durable();
        disk.apply(&write("a", 512, 2, 1024));
        assert_eq!(disk.read(LOG, "a").unwrap().len(), 1536);
        let mut chance = Chance::new(1, "test", 0);
        let mut seen = BTreeMap::new();
        for _ in 0..200 {
            let mut after = disk.clone();
            after.lose(Left::Sectors, &mut chance);
            let bytes = after.read(LOG, "a").unwrap();
            assert_eq!(bytes[..512], [1; 512]);
            *seen.entry((bytes[512], bytes.get(1024).copied())).or_insert(0) += 1;
        }
        let keys: Vec<_> = seen.into_keys().collect();
        assert_eq!(keys, [(1, None), (1, Some(2)), (2, None), (2, Some(2))]);
        assert_eq!(disk.worst().read(LOG, "a").unwrap(), [1; 1024]);
        disk.apply(&Op::SyncRange(LOG, "a".into(), 512, 1024));
        assert_eq!(disk.worst().read(LOG, "a").unwrap()[512..], [2; 1024]);
    }

    #[test]
    fn names_need_their_own_sync() {
        let mut disk = durable();
        disk.apply(&Op::Rename(LOG, "a".into(), "b".into()));
        assert!(disk.read(LOG, "a").is_none() && disk.read(LOG, "b").is_some());
        assert_eq!(disk.worst().names(LOG).collect::<Vec<_>>(), ["a"]);
        disk.apply(&Op::SyncNames(Dir::Images));
        assert_eq!(disk.worst().names(LOG).collect::<Vec<_>>(), ["a"]);
        disk.apply(&Op::SyncNames(LOG));
        assert_eq!(disk.worst().names(LOG).collect::<Vec<_>>(), ["b"]);
        disk.apply(&Op::Remove(LOG, "b".into()));
        assert_eq!(disk.worst().names(LOG).count(), 1);
    }

    #[test]
    fn a_failed_sync_is_not_mended_by_another() {
        let mut chance = Chance::new(3, "test", 0);
        let mut lost = 0;
        for _ in 0..100 {
            let mut disk = durable();
            disk.apply(&write("a", 0, 7, 512));
            let sync = Op::Sync(LOG, "a".into());
            disk.fail(&sync, &mut chance);
            disk.apply(&sync);
            assert_eq!(disk.read(LOG, "a"), disk.worst().read(LOG, "a"));
            lost += usize::from(disk.read(LOG, "a").unwrap()[0] == 1);
        }
        assert!((20..80).contains(&lost));
    }
}
