//! World: a small data directory as a server leaves it after a few lives, kept in memory, and a ghost that knows what was true at every
//! zxid.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use tempfile::TempDir;

use super::dice::Dice;
use super::life::{Life, SEEDS, start};
use crate::client::ask::{Ask, CreateMode};
use crate::engine::archivist::load::Loaded;
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::WallMillis;
use crate::proto::acl::{self, Acl};
use crate::runtime::clock::Clock;
use crate::runtime::disk::LogDir;
use crate::server::archive;
use crate::server::config::resolve::Overrides;
use crate::server::config::settings::ServerConfig;
use crate::server::config::{Sources, load};
use crate::server::recover::{LOG, Recovered};
use crate::storage::retention::Policy;
use crate::storage::segment::SegmentStart;
use crate::tree::tree::Tree;

/// Files by their path below the data directory; locks are not among them.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What was true after a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// ZooKeeper's digest of the tree.
    pub(super) digest: u64,
    /// All of the tree, ACLs too.
    pub(super) print: u64,
    /// Sessions with the timeouts of their createSession transactions, ms.
    pub(super) sessions: BTreeMap<SessionId, i32>,
}

/// What was true, and what clients were told.
#[derive(Default)]
pub(super) struct Ghost {
    /// After each transaction of the one history; those that are in the log but were never durable are among the last.
    pub(super) states: BTreeMap<Zxid, State>,
    /// Everything up to here was acknowledged.
    pub(super) acknowledged: Zxid,
}

/// A directory and what is known of it.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) files: Files,
    /// Files as they were before, the oldest first.
    pub(super) older: BTreeMap<String, Vec<Vec<u8>>>,
    pub(super) ghost: Ghost,
    pub(super) segment_bytes: u64,
}

/// A directory for files whose syncs cost nothing, where the system has one.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()) } else { tempfile::tempdir() }.unwrap()
}

/// The default configuration on `root`, but for segments of so many bytes.
pub(super) fn config(root: &Path, segment_bytes: u64) -> ServerConfig {
    let overrides = Overrides { data_dir: Some(root.to_owned()), ..Overrides::default() };
    let sources = Sources {
        file: None,
        dynamic: None,
        properties: &[],
        jaas: None,
        overrides: &overrides,
        strict: true,
        resolver: &|_| Ok(Vec::new()),
        my_id: &|_| Ok(None),
    };
    let mut config = load(&sources).unwrap().config;
    config.segment_bytes = segment_bytes;
    config
}

/// The configuration of server 2 of three, with its data below `root`.
pub(in crate::server) fn second_of_three(root: &Path) -> ServerConfig {
    use crate::server::config::reader::{Request, read};
    std::fs::create_dir_all(root.join("data")).unwrap();
    std::fs::write(root.join("data/myid"), "2\n").unwrap();
    let mut text =
        format!("dataDir={}\nclientPort=2181\ninitLimit=10\nsyncLimit=5\npreAllocSize=16384\n", root.join("data").display());
    for k in 1..=3 {
        text.push_str(&format!("server.{k}=127.0.0.1:{}:{}\n", 20_000 + k, 30_000 + k));
    }
    std::fs::write(root.join("zoo.cfg"), text).unwrap();
    read(&Request { config: Some(root.join("zoo.cfg")), ..Request::default() }).unwrap().config
}

/// All of a tree in one number, in whatever order its znodes lie.
pub(super) fn print(tree: &Tree) -> u64 {
    let mut sum = 0u64;
    for record in tree.view().records() {
        let mut hasher = DefaultHasher::new();
        (record.path_bytes(), record.data()).hash(&mut hasher);
        for acl in record.acl() {
            (acl.perms, &acl.scheme, &acl.id).hash(&mut hasher);
        }
        let s = record.stored();
        (s.czxid.0, s.mzxid.0, s.pzxid.0, s.ctime, s.mtime).hash(&mut hasher);
        (s.version, s.cversion, s.aversion, s.num_children, s.ephemeral_owner).hash(&mut hasher);
        sum = sum.wrapping_add(hasher.finish());
    }
    sum
}

/// What was recovered, as the ghost keeps it.
pub(super) fn state_of(recovered: &Recovered) -> (Zxid, State) {
    let restored = &recovered.restored;
    let sessions = restored.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
    let tree = restored.ledger.tree();
    (restored.last, State { digest: tree.digest(), print: print(tree), sessions })
}

/// The files below `root`.
pub(super) fn read_files(root: &Path) -> Files {
    fn walk(root: &Path, dir: &Path, into: &mut Files) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, into);
            } else if path.file_name().unwrap() != "lock" {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                into.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    walk(root, root, &mut files);
    files
}

/// A write of any kind: its operation code and body.
pub(super) fn request(dice: &mut Dice) -> (i32, Vec<u8>) {
    const PATHS: [&str; 12] = ["/a", "/b", "/c", "/a/x", "/a/y", "/a/x/1", "/b/z", "/c/z", "/a", "/b", "/nowhere/x", "/b/z/2"];
    let path = dice.pick(&PATHS);
    let len = match dice.below(20) {
        0 => 4000 + dice.below(7000),
        1..=4 => dice.below(1500),
        _ => dice.below(60),
    };
    let data: Vec<u8> = (0..len).map(|_| dice.next() as u8).collect();
    let data = if dice.one_in(15) { None } else { Some(&data[..]) };
    let narrow = [Acl::new(acl::ALL, "ip", "10.1.2.3"), Acl::new(acl::READ, "world", "anyone")];
    let open = [Acl::open()];
    let acl: &[Acl] = if dice.one_in(4) { &narrow } else { &open };
    let short = data.map(|data| &data[..data.len().min(300)]);
    let mode = dice.pick(&[
        CreateMode::Persistent,
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential,
    ]);
    let members = [
        Ask::Create { path, data: short, acl, mode: CreateMode::Persistent },
        Ask::SetData { path, data: short, version: -1 },
        Ask::Check { path: "/a", version: dice.pick(&[-1, 0]) },
    ];
    let ask = match dice.below(20) {
        0..8 => Ask::Create2 { path, data, acl, mode },
        8..13 => Ask::SetData { path, data, version: dice.pick(&[-1, -1, -1, 0, 1]) },
        13..17 => Ask::Delete { path, version: -1 },
        17 => Ask::SetAcl { path, acl, version: -1 },
        18 => Ask::CreateContainer { path, data: short, acl },
        _ => Ask::Multi(&members),
    };
    let mut body = Vec::new();
    ask.encode(&mut body);
    (ask.opcode(), body)
}

impl World {
    /// The world of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let root = scratch();
        let segment_bytes = (8 + dice.below(9)) as u64 * BLOCK as u64;
        let config = config(root.path(), segment_bytes);
        let mut world = Self { seed, files: Files::new(), older: BTreeMap::new(), ghost: Ghost::default(), segment_bytes };
        if dice.one_in(6) {
            // Begun with an import, shortly before the end of an epoch.
            let zxid = Zxid::new(1, u32::MAX - 20 - dice.below(60) as u32);
            let state = Loaded { tree: Tree::new(SEEDS), sessions: BTreeMap::new(), zxid };
            archive::plant(root.path(), state, Clock::default()).unwrap();
        }
        // With a salt of the seed's.
        let first = SegmentStart { number: 1, salt: dice.next(), size: segment_bytes };
        let dir = LogDir::open(&root.path().join(LOG)).unwrap();
        dir.make(first, ServerId(1), WallMillis(0)).unwrap();
        drop(dir);
        let policy = Policy { images: 2 + dice.below(2), bytes: 0 };
        let lives = 1 + dice.below(3) as u64;
        for number in 0..lives {
            world.life(root.path(), &config, number, number + 1 == lives, policy, &mut dice);
        }
        world.remember(root.path());
        for (name, copies) in &mut world.older {
            copies.retain(|copy| Some(copy) != world.files.get(name));
        }
        world
    }

    fn life(&mut self, root: &Path, config: &ServerConfig, number: u64, is_last: bool, policy: Policy, dice: &mut Dice) {
        let (dir, recovered) = start(root, config).expect("a crash is no damage");
        let (zxid, state) = state_of(&recovered);
        assert!(zxid >= self.ghost.acknowledged, "world {}: what was acknowledged is there", self.seed);
        self.ghost.states.retain(|&known, _| known <= zxid);
        let known = self.ghost.states.entry(zxid).or_insert_with(|| state.clone());
        assert_eq!(*known, state, "world {}: life {number} begins with what was true at {zxid}", self.seed);
        self.ghost.acknowledged = zxid;
        let mut life = Life::begin(dir, recovered, config, number, dice);
        let steps = 40 + dice.below(120);
        for step in 0..steps {
            for _ in 0..=dice.below(4) {
                life.request(dice);
            }
            life.frame(&mut self.ghost, dice);
            match dice.below(16) {
                0..12 => (0..=dice.below(3)).for_each(|_| life.flush(dice)),
                12 if life.spares() < 2 => life.prepare(dice),
                13 | 14 => life.mark(),
                _ => {}
            }
            if dice.one_in(35) {
                let leaves_behind = is_last && step + 10 > steps && dice.one_in(3);
                life.image(!leaves_behind, policy);
            }
            if dice.one_in(25) {
                self.remember(root);
            }
        }
        if dice.one_in(2) && life.spares() == 0 {
            life.prepare(dice);
        }
        self.ghost.acknowledged = if dice.one_in(3) { life.stop(&mut self.ghost, dice) } else { life.crash(dice) };
    }

    /// Keeps the files as they are now, and those that were kept before as older ones.
    fn remember(&mut self, root: &Path) {
        let now = read_files(root);
        for (name, bytes) in std::mem::replace(&mut self.files, now) {
            let copies = self.older.entry(name).or_default();
            if copies.last() != Some(&bytes) {
                copies.push(bytes);
            }
        }
    }
}
