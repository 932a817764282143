//! The tree at a million znodes: lookups, adopting, applying, memory, and the designs that lost.
//!
//! `cargo bench --bench tree` first prints a report of memory and of the worst single insert, then runs criterion.
//! `cargo bench --bench tree -- count lookup|probe|adopt|apply N` does one thing N times over a small tree, for
//! counting instructions: subtract two runs; `-- memory tree|records|cloned|adopted|owned N` measures one thing. Without `--bench` (as under `cargo test`) everything is small.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ahash::RandomState;
use criterion::Criterion;
use hashbrown::{HashMap, HashTable};
use ringkeeper::ground::ids::{SessionId, Zxid};
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::stat::Stat;
use ringkeeper::proto::txn::{Txn, TxnHeader};
use ringkeeper::tree::change::Step;
use ringkeeper::tree::record::Record;
use ringkeeper::tree::tree::Tree;
use ringkeeper::tree::view::{SlotId, View};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEDS: [u64; 4] = [0x1234, 0x5678, 0x9abc, 0xdef0];
const PATH: usize = 33;
const PAYLOAD: usize = 100;

/// Znodes below one parent.
const BROOD: usize = 1000;

fn header(zxid: u64) -> TxnHeader {
    TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(zxid), time: 1_700_000_000_000, kind: 0 }
}

fn path(n: usize) -> String {
    let path = format!("/bench/group-{:04}/znode-{:08}", n / BROOD, n);
    format!("{path:x<PATH$}")
}

/// A permutation step that is coprime to all the sizes used, so that one after another looks random.
const STRIDE: usize = 7_368_787;

/// Paths one behind the other in a random order: as in a network buffer, the path itself is not a cache miss.
struct Paths(String);

impl Paths {
    fn new(znodes: usize, suffix: &str) -> Self {
        let mut all = String::new();
        for n in 0..znodes {
            all.push_str(&path(n * STRIDE % znodes)[..PATH - suffix.len()]);
            all.push_str(suffix);
        }
        Self(all)
    }

    fn at(&self, n: usize) -> &str {
        &self.0[n * PATH..(n + 1) * PATH]
    }
}

struct Writer {
    tree: Tree,
    zxid: u64,
    acl: [Acl; 1],
    steps: Vec<Step>,
}

impl Writer {
    fn apply(&mut self, txn: &Txn<'_>) {
        self.zxid += 1;
        self.tree.apply(&header(self.zxid), txn, &mut self.steps).expect("the transaction fits");
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        let acl = self.acl.clone();
        let create =
            Txn::Create { path: path.into(), data: Some(data), acl: (&acl[..]).into(), ephemeral: false, parent_cversion: -1 };
        self.apply(&create);
    }

    fn set_data(&mut self, path: &str, data: &[u8], version: i32) {
        self.apply(&Txn::SetData { path: path.into(), data: Some(data), version });
    }

    fn deliver(&mut self, views: &mut [&mut View]) {
        for step in self.steps.drain(..) {
            for view in &mut *views {
                view.adopt(&step);
            }
        }
        self.tree.forget(Zxid(self.zxid));
    }
}

fn grow(znodes: usize, views: &mut [&mut View]) -> Writer {
    let mut writer = Writer { tree: Tree::new(SEEDS), zxid: 0, acl: [Acl::open()], steps: Vec::new() };
    writer.create("/bench", b"");
    for n in 0..znodes {
        if n % BROOD == 0 {
            let path = path(n);
            writer.create(&path[..path.rfind('/').expect("a slash")], b"");
        }
        writer.create(&path(n), &[b'd'; PAYLOAD]);
        if n % 64 == 0 {
            writer.deliver(views);
        }
    }
    writer.deliver(views);
    writer
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("statm") * 4096
}

/// Lost: a map from owned paths to znodes of its own, each with a set of its children's names; payloads shared.
struct OwnedZnode {
    stat: Stat,
    payload: triomphe::Arc<[u8]>,
    children: BTreeSet<Box<str>>,
}

type OwnedMap = HashMap<Box<str>, OwnedZnode, RandomState>;

fn owned_map(view: &View) -> OwnedMap {
    let mut map = OwnedMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
    let mut todo = vec![SlotId::ROOT];
    while let Some(slot) = todo.pop() {
        let record = view.record(slot);
        // Payloads are shared among readers in this design too: one reader's are counted with the first.
        let payload = record.data().unwrap_or_default().into();
        let mut children = BTreeSet::new();
        for child in view.child_slots(slot) {
            let path = view.record(child).path();
            children.insert(path[path.rfind('/').expect("a slash") + 1..].into());
            todo.push(child);
        }
        map.insert(record.path().into(), OwnedZnode { stat: record.stat(), payload, children });
    }
    map
}

/// Lost: one table instead of a thousand.
struct OneTable {
    hasher: RandomState,
    table: HashTable<(u32, SlotId)>,
}

impl OneTable {
    fn new(view: &View) -> Self {
        let mut one = Self { hasher: RandomState::with_seeds(1, 2, 3, 4), table: HashTable::new() };
        let mut todo = vec![SlotId::ROOT];
        while let Some(slot) = todo.pop() {
            todo.extend(view.child_slots(slot));
            let hash = one.hasher.hash_one(view.record(slot).path_bytes());
            one.table.insert_unique(hash, ((hash >> 32) as u32, slot), |(_, slot)| {
                one.hasher.hash_one(view.record(*slot).path_bytes())
            });
        }
        one
    }

    fn find(&self, view: &View, path: &str) -> Option<SlotId> {
        let hash = self.hasher.hash_one(path.as_bytes());
        let is_it =
            |(tag, slot): &(u32, SlotId)| *tag == (hash >> 32) as u32 && view.record(*slot).path_bytes() == path.as_bytes();
        self.table.find(hash, is_it).map(|(_, slot)| *slot)
    }
}

/// The slowest of `n` inserts. Each counts with the fastest of its runs: the machine's own pauses are not ours.
fn worst_insert<S>(n: usize, mut fresh: impl FnMut() -> S, mut insert: impl FnMut(&mut S, usize)) -> String {
    let mut taken = vec![Duration::MAX; n];
    for _ in 0..7 {
        let mut subject = fresh();
        for (i, taken) in taken.iter_mut().enumerate() {
            let start = Instant::now();
            insert(&mut subject, i);
            *taken = (*taken).min(start.elapsed());
        }
    }
    taken.sort_unstable();
    format!("{:.1?}, p99.99 {:.1?}", taken[n - 1], taken[n - n.div_ceil(10_000)])
}

/// Grows a tree and says what one more thing costs. A process measures one: what one frees, the next would reuse.
fn memory(what: &str, znodes: usize) {
    let start = resident();
    let mut view = View::new(SEEDS);
    let began = Instant::now();
    let writer = grow(znodes, &mut [&mut view]);
    let took = began.elapsed();
    let grown = resident();
    let held = match what {
        "tree" => grown - start,
        "cloned" => {
            let another = black_box(view.clone());
            let held = resident().saturating_sub(grown);
            drop(another);
            held
        }
        "adopted" => {
            let steps = relink(&view);
            let with_steps = resident();
            let mut another = View::new(SEEDS);
            steps.iter().for_each(|step| another.adopt(step));
            assert_eq!((another.len(), another.digest()), (writer.tree.node_count(), writer.tree.digest()));
            resident().saturating_sub(with_steps)
        }
        "records" => {
            let mut copies = vec![None; znodes];
            let empty = resident();
            for (n, copy) in copies.iter_mut().enumerate() {
                let record = view.get(&path(n)).expect("grown");
                *copy = Some(record.with_stored(&record.stored()));
            }
            let held = resident().saturating_sub(empty);
            drop(black_box(copies));
            held
        }
        "owned" => {
            let owned = black_box(owned_map(&view));
            let held = resident().saturating_sub(grown);
            drop(owned);
            held
        }
        _ => panic!("memory tree, records, cloned, adopted or owned"),
    };
    let (mb, each) = (held as f64 / 1e6, held as f64 / znodes as f64);
    println!(
        "memory {what:8} {mb:7.1} MB, {each:6.1} B a znode (process before: {:.1} MB; grown in {took:.1?})",
        start as f64 / 1e6
    );
}

/// The steps that lead from the fresh tree to `view`.
fn relink(view: &View) -> Vec<Step> {
    let mut steps = Vec::with_capacity(view.len());
    let bench = view.find("/bench").expect("grown");
    steps.push(Step::Link {
        slot: bench,
        record: view.record(bench).clone(),
        parent: SlotId::ROOT,
        parent_record: view.record(SlotId::ROOT).clone(),
    });
    let mut todo = vec![bench];
    while let Some(parent) = todo.pop() {
        for slot in view.child_slots(parent) {
            todo.push(slot);
            let (record, parent_record) = (view.record(slot).clone(), view.record(parent).clone());
            steps.push(Step::Link { slot, record, parent, parent_record });
        }
    }
    // The order they were created in: a View's slab grows as slots are first used. Sorted in place: memory is measured.
    steps.sort_unstable_by_key(|step| match step {
        Step::Put { slot, .. } | Step::Link { slot, .. } | Step::Unlink { slot, .. } => *slot,
    });
    steps
}

/// The slowest single insert while a million come: a reader waits as long as its slowest step.
fn worst_inserts(view: &View, znodes: usize) {
    let hashes: Vec<u64> = (0..znodes).map(|n| RandomState::with_seeds(1, 2, 3, 4).hash_one(n)).collect();
    let spread = |tag: u32| u64::from(tag) << 32 | u64::from(tag);
    let parts = worst_insert(
        znodes,
        || vec![HashTable::<(u32, u32)>::new(); 1024],
        |parts, n| {
            let (part, tag) = ((hashes[n] >> 32) as usize % 1024, hashes[n] as u32);
            parts[part].insert_unique(spread(tag), (tag, n as u32), |(tag, _)| spread(*tag));
        },
    );
    let one = worst_insert(znodes, HashTable::<(u32, u32)>::new, |table, n| {
        table.insert_unique(spread(hashes[n] as u32), (hashes[n] as u32, n as u32), |(tag, _)| spread(*tag));
    });
    let records: Vec<_> = (0..znodes).map(|n| view.get(&path(n)).expect("grown").clone()).collect();
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    let untagged = worst_insert(znodes, HashTable::<u32>::new, |table, n| {
        let hash = |n: &u32| hasher.hash_one(records[*n as usize].path_bytes());
        table.insert_unique(hash(&(n as u32)), n as u32, hash);
    });
    let steps = relink(view);
    let whole = worst_insert(znodes, || View::new(SEEDS), |view, n| view.adopt(&steps[n]));
    println!("worst single insert, 1024 even tables of tags:      {parts}");
    println!("worst single insert, one table of tags (lost):     {one}");
    println!("worst single insert, one table without (lost):     {untagged}");
    println!("worst adopting of a create, whole View (chosen):   {whole}");
}

fn report(znodes: usize) -> (Writer, View) {
    println!("{znodes} znodes, paths of {PATH} bytes, payloads of {PAYLOAD} bytes");
    let this = std::env::current_exe().expect("this bench");
    for what in ["tree", "records", "cloned", "adopted", "owned"] {
        let measured = std::process::Command::new(&this).args(["memory", what, &znodes.to_string()]).status();
        assert!(measured.expect("this bench runs").success());
    }
    let mut view = View::new(SEEDS);
    let writer = grow(znodes, &mut [&mut view]);
    worst_inserts(&view, znodes);
    (writer, view)
}

struct Probe {
    map: HashMap<u64, Box<[u64; 32]>, RandomState>,
    keys: Vec<u64>,
}

impl Probe {
    /// Keys are spread and boxes are as large as records are, so that a probe meets the same caches.
    fn new(znodes: usize) -> Self {
        let mut map = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        for n in 0..znodes as u64 {
            map.insert(n, Box::new([u64::from(b'd'); 32]));
        }
        Self { map, keys: (0..znodes).map(|n| (n * STRIDE % znodes) as u64).collect() }
    }
}

fn lookups(c: &mut Criterion, view: &View, probe: &Probe, znodes: usize) {
    let hits = Paths::new(znodes, "");
    let misses = Paths::new(znodes, "!");
    let owned = owned_map(view);
    let one = OneTable::new(view);
    // As a getData would, each reads a counter and the payload. The next waits for what this one read: latency.
    let mut group = c.benchmark_group("lookup");
    let mut run = |name: &str, find: &dyn Fn(usize) -> (i32, u8)| {
        let mut n = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                let (version, byte) = black_box(find(n));
                n += 1 + version as usize + usize::from(byte ^ b'd');
                if n >= znodes {
                    n = 0;
                }
            });
        });
    };
    let of_record = |record: &Record| (record.version(), record.data().expect("not null")[0]);
    run("bare probe u64 -> box", &|n| (0, probe.map[&probe.keys[n]][0] as u8));
    run("View hit", &|n| of_record(view.get(hits.at(n)).expect("grown")));
    run("View miss", &|n| (i32::from(view.get(misses.at(n)).is_some()), b'd'));
    run("lost: owned map hit", &|n| {
        let znode = &owned[hits.at(n)];
        (znode.stat.version, znode.payload[0])
    });
    run("lost: one table hit", &|n| of_record(view.record(one.find(view, hits.at(n)).expect("grown"))));
}

fn adopting(c: &mut Criterion, writer: &mut Writer, view: &mut View, znodes: usize) {
    let paths = Paths::new(znodes, "");
    for n in 0..znodes.min(200_000) {
        writer.set_data(paths.at(n), &[b'e'; PAYLOAD], 0);
    }
    let sets = std::mem::take(&mut writer.steps);
    writer.tree.forget(Zxid(writer.zxid));
    let mut owned = owned_map(view);
    let mut group = c.benchmark_group("adopt");
    let mut n = 0;
    group.bench_function("set-data", |b| {
        b.iter(|| {
            view.adopt(&sets[n]);
            n = if n + 1 == sets.len() { 0 } else { n + 1 };
        });
    });
    for step in &sets {
        view.adopt(step);
    }
    assert_eq!(view.digest(), writer.tree.digest());
    group.bench_function("lost: owned map, set-data", |b| {
        let payload: triomphe::Arc<[u8]> = [b'e'; PAYLOAD][..].into();
        b.iter(|| {
            let znode = owned.get_mut(paths.at(n)).expect("grown");
            znode.payload = payload.clone();
            znode.stat.mzxid = Zxid(n as u64);
            n = if n + 1 == sets.len() { 0 } else { n + 1 };
        });
    });
    drop(sets);

    let fresh: Vec<String> = (0..znodes.min(10_000)).map(|n| path(n * STRIDE % znodes)[..PATH - 1].to_owned() + "?").collect();
    fresh.iter().for_each(|path| writer.create(path, &[b'f'; PAYLOAD]));
    let links = std::mem::take(&mut writer.steps);
    fresh.iter().for_each(|path| writer.apply(&Txn::Delete { path: path.as_str().into() }));
    let unlinks = std::mem::take(&mut writer.steps);
    writer.tree.forget(Zxid(writer.zxid));
    for (name, creating) in [("create", true), ("delete", false)] {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let mut taken = Duration::ZERO;
                let mut left = iterations as usize;
                while left > 0 {
                    let count = left.min(links.len());
                    let start = Instant::now();
                    links[..count].iter().for_each(|step| view.adopt(step));
                    let between = Instant::now();
                    // Only what was linked is unlinked, whatever the parents' records say of it.
                    unlinks[..count].iter().for_each(|step| view.adopt(step));
                    taken += if creating { between - start } else { between.elapsed() };
                    left -= count;
                }
                taken
            });
        });
    }
    group.bench_function("lost: owned map, create", |b| {
        let payload: triomphe::Arc<[u8]> = [b'e'; PAYLOAD][..].into();
        b.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            let mut left = iterations as usize;
            while left > 0 {
                let count = left.min(fresh.len());
                let start = Instant::now();
                for path in &fresh[..count] {
                    let (parent, name) = path.rsplit_once('/').expect("a slash");
                    owned.get_mut(parent).expect("grown").children.insert(name.into());
                    let znode = OwnedZnode { stat: Stat::default(), payload: payload.clone(), children: BTreeSet::new() };
                    owned.insert(path.as_str().into(), znode);
                }
                taken += start.elapsed();
                for path in &fresh[..count] {
                    let (parent, name) = path.rsplit_once('/').expect("a slash");
                    owned.get_mut(parent).expect("grown").children.remove(name);
                    owned.remove(path.as_str());
                }
                left -= count;
            }
            taken
        });
    });
}

fn applying(c: &mut Criterion, writer: &mut Writer, znodes: usize) {
    let paths = Paths::new(znodes, "");
    let mut group = c.benchmark_group("apply");
    let mut n = 0;
    group.bench_function("set-data, steps dropped and forgotten", |b| {
        b.iter(|| {
            writer.set_data(paths.at(n), &[b'g'; PAYLOAD], 1);
            n = if n + 1 == znodes { 0 } else { n + 1 };
            if n % 64 == 0 {
                writer.deliver(&mut []);
            }
        });
    });
    writer.deliver(&mut []);
    let fresh: Vec<String> = (0..znodes.min(10_000)).map(|n| path(n * STRIDE % znodes)[..PATH - 1].to_owned() + "?").collect();
    for (name, creating) in [("create", true), ("undo of a create", false)] {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let mut taken = Duration::ZERO;
                let mut left = iterations as usize;
                while left > 0 {
                    let (count, mark) = (left.min(fresh.len()), writer.tree.mark());
                    let start = Instant::now();
                    fresh[..count].iter().for_each(|path| writer.create(path, &[b'f'; PAYLOAD]));
                    let between = Instant::now();
                    writer.tree.rollback(mark);
                    taken += if creating { between - start } else { between.elapsed() };
                    writer.steps.clear();
                    left -= count;
                }
                taken
            });
        });
    }
}

/// Does `what` `times` times over a small tree.
fn count(what: &str, times: usize) {
    const ZNODES: usize = 20_000;
    let mut view = View::new(SEEDS);
    let mut writer = grow(ZNODES, &mut [&mut view]);
    let paths = Paths::new(ZNODES, "");
    let probe = Probe::new(ZNODES);
    for n in 0..1000 {
        writer.set_data(paths.at(n), &[b'e'; PAYLOAD], 1);
    }
    for n in 0..times {
        match what {
            "lookup" => drop(black_box(view.get(paths.at(n % ZNODES)).map(|record| record.version()))),
            "probe" => drop(black_box(probe.map[&probe.keys[n % ZNODES]][0])),
            "adopt" => view.adopt(&writer.steps[n % 1000]),
            "apply" => writer.set_data(paths.at(n % ZNODES), &[b'g'; PAYLOAD], 2),
            _ => panic!("count lookup, probe, adopt or apply"),
        }
    }
    println!("{what} {times}: digest {:#x}", view.digest());
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "count") {
        count(&args[at + 1], args[at + 2].parse().expect("how often"));
        return;
    }
    if let Some(at) = args.iter().position(|arg| arg == "memory") {
        memory(&args[at + 1], args[at + 2].parse().expect("how many"));
        return;
    }
    let real = args.iter().any(|arg| arg == "--bench") && !args.iter().any(|arg| arg == "--test");
    let znodes = if real { 1_000_000 } else { 3_000 };
    let (mut writer, mut view) = report(znodes);
    let probe = Probe::new(znodes);
    let mut criterion = Criterion::default().configure_from_args();
    lookups(&mut criterion, &view, &probe, znodes);
    adopting(&mut criterion, &mut writer, &mut view, znodes);
    applying(&mut criterion, &mut writer, znodes);
    criterion.final_summary();
}
