//! Ledger: how many writes a second can the one core that orders them decide?
//!
//! `cargo bench --bench ledger`. An element is a request. From a shard's train to checked, applied and encoded transactions in the open
//! batch: `Sequencer::handle` alone is timed, and in the last case framing and delivery too. 256 trains go round, each of 64 requests
//! of one session, on a tree of 100,000 znodes; paths of 32 bytes chosen by [`SEED`], 100 bytes of data.

#[path = "common/input.rs"]
mod input;
#[path = "common/line.rs"]
mod line;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use input::{Random, path, sized};
use line::{Line, VALUE, conn, park};
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::engine::message::{Inward, Outcome, Train};
use ringkeeper::ground::ids::{SessionId, ShardId};
use ringkeeper::proto::acl::Acl;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides which znodes are written.
const SEED: u64 = 3;

/// Requests of a train.
const TRAIN: usize = 64;

/// The shard that the requests come from.
const SHARD: ShardId = ShardId(0);

/// A train of 64 requests; `fill` adds the `n`th.
fn train(mut fill: impl FnMut(usize, &mut Train)) -> Inward {
    let mut train = Train::default();
    (0..TRAIN).for_each(|n| fill(n, &mut train));
    Inward::Train(Box::new(train))
}

/// A ledger, and the session that writes to it.
struct Desk {
    line: Line,
    session: SessionId,
    znodes: usize,
    random: Random,
    trains: usize,
}

impl Desk {
    /// Trains of setData with this expected version.
    fn sets(&mut self, version: i32) -> Vec<Inward> {
        let Self { session, znodes, ref mut random, trains, .. } = *self;
        let mut set = |_, train: &mut Train| {
            let path = path(random.below(znodes));
            park(train, conn(0), session, &Ask::SetData { path: &path, data: Some(&VALUE), version });
        };
        (0..trains).map(|_| train(&mut set)).collect()
    }

    /// Trains of multis of ten setData each.
    fn multis(&mut self) -> Vec<Inward> {
        let Self { session, znodes, ref mut random, trains, .. } = *self;
        let mut multi = |_, train: &mut Train| {
            let paths: [String; 10] = std::array::from_fn(|_| path(random.below(znodes)));
            let members = paths.each_ref().map(|path| Ask::SetData { path, data: Some(&VALUE), version: -1 });
            park(train, conn(0), session, &Ask::Multi(&members));
        };
        (0..trains).map(|_| train(&mut multi)).collect()
    }

    /// Trains of creates, and the deletes that take each of them back.
    fn creates(&mut self) -> (Vec<Inward>, Vec<Inward>) {
        let (session, acl) = (self.session, [Acl::open()]);
        let fresh: Vec<Vec<String>> = (0..self.trains)
            .map(|_| (0..TRAIN).map(|n| format!("{}-{n:02}", path(self.random.below(self.znodes)))).collect())
            .collect();
        let create = |path| Ask::Create { path, data: Some(&VALUE), acl: &acl, mode: CreateMode::Persistent };
        let delete = |path| Ask::Delete { path, version: -1 };
        let creates = fresh.iter().map(|paths| train(|n, train| park(train, conn(0), session, &create(&paths[n])))).collect();
        let deletes = fresh.iter().map(|paths| train(|n, train| park(train, conn(0), session, &delete(&paths[n])))).collect();
        (creates, deletes)
    }
}

/// How much of a write is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timed {
    /// The decision, down to the transaction in the open batch.
    Decision,
    /// The whole turn: decided, framed, durable and on its way to the shards.
    Turn,
}

/// Measures trains; `undo`, untimed, takes back what the one of the same number did, so that the tree keeps its size.
fn measure(c: &mut Criterion, name: &str, desk: &mut Desk, timed: Timed, trains: &mut [Inward], undo: &mut [Inward]) {
    let line = &mut desk.line;
    let refused = name.contains("refused");
    let mut at = 0;
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Elements(TRAIN as u64));
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                line.take(SHARD, black_box(&mut trains[at]));
                let decided = start.elapsed();
                let batch = black_box(line.flush());
                taken += if timed == Timed::Turn { start.elapsed() } else { decided };
                assert!(batch.entries.iter().all(|entry| matches!(entry.outcome, Outcome::Refused(_)) == refused));
                if let Some(undo) = undo.get_mut(at) {
                    line.take(SHARD, undo);
                    line.flush();
                }
                at = (at + 1) % trains.len();
            }
            taken
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let znodes = sized(100_000, 1000);
    let mut line = Line::new(line::restored(znodes));
    let session = line.open(SHARD, 1).entries[0].session;
    let mut desk = Desk { line, session, znodes, random: Random(SEED), trains: sized(256, 2) };
    let c = &mut criterion;
    let (mut creates, mut deletes) = desk.creates();
    measure(c, "create", &mut desk, Timed::Decision, &mut creates, &mut deletes);
    let mut sets = desk.sets(-1);
    measure(c, "setData", &mut desk, Timed::Decision, &mut sets, &mut []);
    let mut multis = desk.multis();
    measure(c, "multi of 10 setData", &mut desk, Timed::Decision, &mut multis, &mut []);
    let mut refusals = desk.sets(-7);
    measure(c, "setData refused for its version", &mut desk, Timed::Decision, &mut refusals, &mut []);
    measure(c, "setData, framed and delivered", &mut desk, Timed::Turn, &mut sets, &mut []);
    criterion.final_summary();
}
