//! Deliver: what does a committed write cost every shard, and how much more the shard whose client asked or watches?
//!
//! `cargo bench --bench deliver`. An element is a setData; 64 of them make a batch, which `Shard::deliver` adopts. Setting 100 bytes on a
//! path of 32 bytes, in a tree of 100,000 znodes; [`SEED`] chooses the paths, all of a batch are different. The batches come from
//! a real sequencer, the requests from real frames; both, and the taking of the output, are outside of the timed part.

#[path = "common/input.rs"]
mod input;
#[path = "common/line.rs"]
mod line;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use input::{Random, path, sized};
use line::{Line, NOW, SEEDS, VALUE, conn, park};
use ringkeeper::auth::AuthConfig;
use ringkeeper::client::ask::Ask;
use ringkeeper::engine::census::{Census, Word};
use ringkeeper::engine::message::{Batch, Inward, Train};
use ringkeeper::engine::shard::{Flow, Shard, ShardConfig, Words};
use ringkeeper::ground::ids::{ConnId, SessionId, ShardId, Zxid};
use ringkeeper::ground::limits::FRAME_MAX_DEFAULT;
use ringkeeper::proto::connect::ConnectRequest;
use ringkeeper::proto::frame;
use ringkeeper::proto::jute::Writer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides the paths of each batch.
const SEED: u64 = 5;

/// Writes of a batch; connections of each shard.
const BATCH: usize = 64;

/// From one path of a batch to the next; coprime to the number of znodes.
const STRIDE: usize = 7_368_787;

/// The shard that delivers.
const HERE: ShardId = ShardId(0);

/// The other shard, of which only the requests are seen.
const THERE: ShardId = ShardId(1);

/// No admin word is spoken here.
struct Mute;

impl Words for Mute {
    fn allows(&self, _: Word) -> bool {
        false
    }

    fn refusal(&self, name: &str) -> String {
        name.to_owned()
    }

    fn trace_mask(&self, set: Option<i64>) -> i64 {
        set.unwrap_or_default()
    }

    fn answer(&self, word: Word, _: Option<&Census>) -> String {
        word.name().to_owned()
    }
}

/// Where the writes of a batch come from, and what else they meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// From clients of another shard; nobody here watches.
    Others,
    /// One from each client of this shard; each is answered.
    Own,
    /// From clients of another shard; each fires the watch of one client here.
    Watched,
}

/// A shard, the sequencer behind it, and the clients of both shards.
struct World {
    line: Line,
    shard: Shard,
    own: Vec<ConnId>,
    others: Vec<SessionId>,
    znodes: usize,
    random: Random,
    dirty: Vec<ConnId>,
}

impl World {
    fn new(znodes: usize) -> Self {
        let restored = line::restored(znodes);
        let config = ShardConfig {
            id: HERE,
            frame_max: FRAME_MAX_DEFAULT,
            flow: Flow::default(),
            min_timeout_ms: 4000,
            max_timeout_ms: 40_000,
            sessionless_ms: 10_000,
            tick_ms: 2000,
            auth: AuthConfig::default(),
            is_member: false,
            words: Arc::new(Mute),
            audit: None,
        };
        let mut shard = Shard::new(config, restored.ledger.tree().view().clone(), restored.last, SEEDS, NOW);
        let mut line = Line::new(restored);
        let opened = line.open(THERE, BATCH as u32);
        shard.deliver(&opened, NOW);
        let others = opened.entries.iter().map(|entry| entry.session).collect();
        let own = (0..BATCH).map(|n| shard.open(([127, 0, 0, 1], 1024 + n as u16).into(), NOW)).collect();
        let mut world = Self { line, shard, own, others, znodes, random: Random(SEED), dirty: Vec::new() };
        let mut hello = Vec::new();
        ConnectRequest {
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session: SessionId::NONE,
            password: &[],
            read_only: None,
        }
        .encode(&mut hello);
        for n in 0..BATCH {
            world.send(n, &hello);
        }
        let seated = world.order();
        world.shard.deliver(&seated, NOW);
        assert_eq!(world.drain(), BATCH, "each client is told its session");
        world
    }

    /// A client here sends a frame.
    fn send(&mut self, n: usize, frame: &[u8]) {
        assert_eq!(self.shard.receive(self.own[n], frame, NOW), frame.len());
    }

    fn ask(&mut self, n: usize, ask: &Ask<'_>) {
        let mut out = Vec::new();
        let body = frame::open(&mut out);
        out.int(1);
        out.int(ask.opcode());
        ask.encode(&mut out);
        frame::close(&mut out, body);
        self.send(n, &out);
    }

    /// The sequencer orders what the clients here asked for.
    fn order(&mut self) -> Arc<Batch> {
        for mut message in self.shard.inward(NOW) {
            self.line.take(HERE, &mut message);
        }
        self.line.flush()
    }

    /// Writes all output away and says how many connections had some.
    fn drain(&mut self) -> usize {
        self.dirty.clear();
        self.shard.take_dirty(&mut self.dirty);
        for &id in &self.dirty {
            let len = self.shard.output(id).len();
            self.shard.wrote(id, len, NOW);
        }
        self.dirty.len()
    }

    /// The next batch; whatever it meets here stands ready.
    fn batch(&mut self, case: Case) -> Arc<Batch> {
        let first = self.random.below(self.znodes);
        let paths: [String; BATCH] = std::array::from_fn(|n| path((first + n * STRIDE) % self.znodes));
        if case == Case::Watched {
            for (n, path) in paths.iter().enumerate() {
                self.ask(n, &Ask::GetData { path, watch: true });
            }
            self.drain();
        }
        let mut train = Train::default();
        for (n, path) in paths.iter().enumerate() {
            let set = Ask::SetData { path, data: Some(&VALUE), version: -1 };
            match case {
                Case::Own => self.ask(n, &set),
                Case::Others | Case::Watched => park(&mut train, conn(n as u32), self.others[n], &set),
            }
        }
        if case == Case::Own {
            return self.order();
        }
        self.line.take(THERE, &mut Inward::Train(Box::new(train)));
        self.line.flush()
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut world = World::new(sized(100_000, 1000));
    let mut group = criterion.benchmark_group("deliver");
    group.throughput(Throughput::Elements(BATCH as u64));
    let cases = [
        ("64 sets of others", Case::Others, 0),
        ("64 sets of its own clients, answered", Case::Own, BATCH),
        ("64 sets of others, each fires a watch", Case::Watched, BATCH),
    ];
    for (name, case, told) in cases {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let mut taken = Duration::ZERO;
                for _ in 0..iterations {
                    let batch = world.batch(case);
                    let start = Instant::now();
                    world.shard.deliver(black_box(&batch), NOW);
                    taken += start.elapsed();
                    assert_eq!(world.drain(), told, "{name}: connections with output");
                }
                taken
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
