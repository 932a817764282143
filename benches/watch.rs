//! Watch table: what does a watch cost when it is left, when it fires, when ten thousand hear of one change, and when its owner goes?
//!
//! What does a change cost that nobody watches, and what if somebody watches all of another path?
//!
//! `cargo bench --bench watch`. An element is a watch, and where nobody watches a change. Paths of 32 bytes in an order chosen by
//! [`SEED`], hashed with [`SEEDS`]. Tables are made outside of the timed part, and dropped there.

#[path = "common/input.rs"]
mod input;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use input::{Random, path, sized};
use ringkeeper::watch::{Fired, Kind, Table, WatcherId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides the order of the paths.
const SEED: u64 = 2;

/// Seeds of the tables' hashes.
const SEEDS: [u64; 4] = [0x1234, 0x5678, 0x9abc, 0xdef0];

/// Connections among which watches on many paths are dealt out.
const CONNECTIONS: usize = 100;

/// `count` paths, each once, in the order of the seed.
fn paths(count: usize) -> Vec<String> {
    let mut random = Random(SEED);
    let mut paths: Vec<String> = (0..count).map(path).collect();
    for n in (1..count).rev() {
        paths.swap(n, random.below(n + 1));
    }
    paths
}

/// Each path is watched by one of the connections.
fn watch_each(table: &mut Table, paths: &[String]) {
    for (n, path) in paths.iter().enumerate() {
        table.add(WatcherId((n % CONNECTIONS) as u32), black_box(path), Kind::Data);
    }
}

fn filled(paths: &[String]) -> Table {
    let mut table = Table::new(SEEDS);
    watch_each(&mut table, paths);
    table
}

fn registering(c: &mut Criterion, paths: &[String]) {
    let mut group = c.benchmark_group("watch register");
    group.throughput(Throughput::Elements(paths.len() as u64));
    group.bench_function("new, in a table that grows", |b| {
        let routine = |mut table: Table| {
            watch_each(&mut table, paths);
            table
        };
        b.iter_batched(|| Table::new(SEEDS), routine, BatchSize::PerIteration);
    });
    let mut table = filled(paths);
    group.bench_function("there already", |b| b.iter(|| watch_each(&mut table, paths)));
    assert_eq!(table.total(), paths.len());
}

fn firing(c: &mut Criterion, paths: &[String]) {
    let mut group = c.benchmark_group("watch fire");
    group.throughput(Throughput::Elements(paths.len() as u64));
    let mut told = Vec::with_capacity(paths.len());
    group.bench_function("one watcher a path, one-shot", |b| {
        let routine = |mut table: Table| {
            for path in paths {
                told.clear();
                table.fire(black_box(path), Fired::DataChanged, &mut told);
                black_box(&told);
            }
            assert!(table.is_empty(), "what fired is gone");
            table
        };
        b.iter_batched(|| filled(paths), routine, BatchSize::PerIteration);
    });
    let (mut table, mut told) = (filled(paths), Vec::new());
    group.bench_function("nobody watches the path", |b| {
        b.iter(|| {
            for path in paths {
                table.fire(black_box(&path[1..]), Fired::DataChanged, &mut told);
            }
            black_box(&told);
        });
    });
    // One recursive watch anywhere makes every change ask for the paths above its own.
    table.add(WatcherId(0), "/elsewhere", Kind::Recursive);
    group.bench_function("nobody watches the path, somebody all of another", |b| {
        b.iter(|| {
            for path in paths {
                table.fire(black_box(&path[1..]), Fired::DataChanged, &mut told);
            }
            black_box(&told);
        });
    });
    assert_eq!((table.total(), told.len()), (paths.len() + 1, 0));
}

fn fanning_out(c: &mut Criterion, watchers: usize) {
    let mut group = c.benchmark_group("watch fan-out");
    group.throughput(Throughput::Elements(watchers as u64));
    let mut told = Vec::with_capacity(watchers);
    group.bench_function("one path to 10,000 watchers", |b| {
        let setup = || {
            let mut table = Table::new(SEEDS);
            (0..watchers).for_each(|n| table.add(WatcherId(n as u32), "/bench", Kind::Data));
            table
        };
        let routine = |mut table: Table| {
            told.clear();
            table.fire(black_box("/bench"), Fired::DataChanged, &mut told);
            assert_eq!(black_box(&told).len(), watchers);
            table
        };
        b.iter_batched(setup, routine, BatchSize::PerIteration);
    });
}

fn closing(c: &mut Criterion, paths: &[String]) {
    const LEAVING: WatcherId = WatcherId(CONNECTIONS as u32);
    let mut group = c.benchmark_group("watch close");
    group.throughput(Throughput::Elements(paths.len() as u64));
    group.bench_function("a connection of 1,000 watches on paths that others watch too", |b| {
        let setup = || {
            let mut table = filled(paths);
            paths.iter().for_each(|path| table.add(LEAVING, path, Kind::Data));
            table
        };
        let routine = |mut table: Table| {
            table.remove_watcher(black_box(LEAVING));
            assert_eq!(table.total(), paths.len(), "the others' watches stay");
            table
        };
        b.iter_batched(setup, routine, BatchSize::PerIteration);
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let paths = paths(sized(10_000, 100));
    registering(&mut criterion, &paths);
    firing(&mut criterion, &paths);
    fanning_out(&mut criterion, sized(10_000, 100));
    closing(&mut criterion, &paths[..paths.len() / 10]);
    criterion.final_summary();
}
