//! Line: a sequencer whose log is a buffer in memory. Trains go in, delivered batches come out.

use std::sync::Arc;

use ringkeeper::auth::{AuthConfig, Identities};
use ringkeeper::client::ask::Ask as Request;
use ringkeeper::engine::message::{Ask, Batch, Inward, Item, Outward, Train};
use ringkeeper::engine::sequencer::{FlushKnobs, Restore, Restored, Sequencer};
use ringkeeper::ground::ids::{ConnId, ServerId, SessionId, ShardId, Zxid};
use ringkeeper::ground::time::{Now, WallMillis};
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::opcode;
use ringkeeper::proto::txn::{Txn, TxnHeader};
use ringkeeper::session::Ids;
use ringkeeper::storage::appender::{Appender, Position};
use ringkeeper::storage::segment::SegmentStart;

use crate::input::path;

/// Seeds of every hash table.
pub const SEEDS: [u64; 4] = [0x1234, 0x5678, 0x9abc, 0xdef0];

/// The moment at which everything happens.
pub const NOW: Now = Now { micros: 5_000_000, wall: WallMillis(1_700_000_000_000) };

/// Bytes of every znode's data.
pub const VALUE: [u8; 100] = [b'd'; 100];

/// What a server that holds `znodes` of [`path`] restores at boot.
pub fn restored(znodes: usize) -> Restored {
    let mut restore = Restore::new(SEEDS, 2000, false);
    let (mut zxid, mut blob) = (Zxid::new(1, 0), Vec::new());
    let mut create = |path: &str, data: &[u8]| {
        zxid = zxid.next().expect("an epoch has room");
        blob.clear();
        TxnHeader { session: SessionId(1), cxid: 0, zxid, time: NOW.wall.0, kind: opcode::CREATE }.encode(&mut blob);
        let acl = [Acl::open()];
        Txn::Create { path: path.into(), data: Some(data), acl: (&acl[..]).into(), ephemeral: false, parent_cversion: -1 }
            .encode(&mut blob);
        restore.take(&blob).expect("the parent is there");
    };
    create("/bench", b"");
    for n in 0..znodes {
        let path = path(n);
        if n % 1000 == 0 {
            create(&path[..path.rfind('/').expect("a slash")], b"");
        }
        create(&path, &VALUE);
    }
    restore.finish(AuthConfig::default(), NOW.mono()).0
}

/// Adds a write to a train.
pub fn park(train: &mut Train, conn: ConnId, session: SessionId, request: &Request<'_>) {
    let start = train.arena.len();
    request.encode(&mut train.arena);
    let who = Arc::new(Identities::of([127, 0, 0, 1].into()));
    let ask = Ask::Write { session, xid: 1, op: request.opcode(), body: start..train.arena.len(), who };
    train.items.push(Item { conn, ask });
}

/// The connection in slot `n` of a shard that is not there itself.
pub const fn conn(n: u32) -> ConnId {
    ConnId { slot: n, generation: 0 }
}

/// The sequencer and its log.
pub struct Line {
    sequencer: Sequencer,
    frame: Vec<u8>,
}

impl Line {
    /// A sequencer with a new log, in a segment that does not end.
    pub fn new(restored: Restored) -> Self {
        let segment = SegmentStart { number: 1, salt: SEEDS[0], size: 1 << 40 };
        let position = Position { last: restored.last, marked: restored.last, ..Position::new_log(segment) };
        let ids = Ids::starting(NOW.wall.0.unsigned_abs(), ServerId(1));
        let appender = Appender::new(position, Zxid::ZERO);
        let sequencer = Sequencer::new(restored, ids, appender, FlushKnobs::default(), 2, NOW);
        Self { sequencer, frame: Vec::new() }
    }

    /// Opens a session for each of the first `count` connections of a shard; it is named in the entry of the batch.
    pub fn open(&mut self, from: ShardId, count: u32) -> Arc<Batch> {
        let open = |n| Item { conn: conn(n), ask: Ask::Open { timeout_ms: 30_000 } };
        let train = Train { arena: Vec::new(), since_us: 0, items: (0..count).map(open).collect() };
        self.take(from, &mut Inward::Train(Box::new(train)));
        self.flush()
    }

    /// Orders what a message asks for, which a batch has room for. The message can be taken again.
    pub fn take(&mut self, from: ShardId, message: &mut Inward) {
        assert!(self.sequencer.handle(from, message, &mut 0, NOW), "the batch has room");
    }

    /// Frames what was ordered, takes it for durable and gives the batch that the shards get.
    pub fn flush(&mut self) -> Arc<Batch> {
        let len = self.sequencer.due(NOW).expect("transactions wait");
        if self.frame.len() < len {
            self.frame.resize(len, 0);
        }
        let placement = self.sequencer.frame(&mut self.frame[..len], NOW);
        self.sequencer.flushed(placement.sequence, NOW);
        let batch = self.sequencer.outward().find_map(|(_, message)| match message {
            Outward::Batch(batch) => Some(batch),
            _ => None,
        });
        batch.expect("what is durable is delivered")
    }
}
