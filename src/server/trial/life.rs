//! Life: a server from its start to its end, on a real directory, with the engines driven by hand: recovery, sequencer, archivist,
//! papers and pool are the real ones, the clock and the order in which writes end are the test's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dice::Dice;
use super::world::{Ghost, State, print, request};
use crate::auth::{AuthConfig, Identities};
use crate::engine::archivist::{Archivist, Wrote};
use crate::engine::message::{Ask, Batch, Inward, Item, Outward, Train};
use crate::engine::sequencer::{FlushKnobs, Sequencer};
use crate::ground::ids::{ConnId, ServerId, SessionId, ShardId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::{Now, WallMillis};
use crate::proto::opcode;
use crate::proto::txn::{self, Txn};
use crate::runtime::clock::Clock;
use crate::runtime::disk::{LogDir, make_segment};
use crate::runtime::drive;
use crate::runtime::holdings::Holdings;
use crate::runtime::images::ImageDir;
use crate::runtime::journal::{Op, note};
use crate::server::archive;
use crate::server::config::settings::ServerConfig;
use crate::server::recover::{LOG, Recovered, recover};
use crate::session::Ids;
use crate::storage::appender::{Appender, Placement};
use crate::storage::batch::{BATCH_HEADER, BatchHeader, Records};
use crate::storage::manifest::Manifest;
use crate::storage::retention::{Policy, judge};
use crate::storage::segment::{SegmentStart, file_name};
use crate::storage::selection::{Begin, Extent};

/// Seeds of every hash table.
pub(super) const SEEDS: [u64; 4] = [11, 22, 33, 44];

/// Payload at which a batch is full. With the largest request after it, it still goes into the smallest segment.
const BATCH_BYTES: usize = 8 << 10;

const SECTOR: usize = 512;

const SHARD: ShardId = ShardId(0);

/// A running server.
pub(super) struct Life {
    sequencer: Sequencer,
    archivist: Archivist,
    images: ImageDir,
    holdings: Holdings,
    spares: VecDeque<SegmentStart>,
    dir: LogDir,
    size: u64,
    /// Writes that have not ended, with what was there before.
    flights: Vec<(Placement, Vec<u8>, Vec<u8>)>,
    /// Batches that the archivist has not heard of.
    delivered: Vec<Arc<Batch>>,
    /// Digest and print of what is proposed and not yet framed.
    proposed: BTreeMap<Zxid, (u64, u64)>,
    sessions: BTreeMap<SessionId, i32>,
    who: Arc<Identities>,
    now: Now,
    xid: i32,
}

/// What a start with the log in `root` comes to, with the directory locked for as long as the first part lives.
pub(super) fn start(root: &Path, config: &ServerConfig) -> Result<(LogDir, Recovered), String> {
    let dir = LogDir::open(&root.join(LOG)).map_err(|error| error.to_string())?;
    let recovered = recover(&dir, config, AuthConfig::default(), SEEDS, Clock::default())?;
    Ok((dir, recovered))
}

impl Life {
    /// Goes on with what was recovered.
    pub(super) fn begin(dir: LogDir, recovered: Recovered, config: &ServerConfig, number: u64, dice: &mut Dice) -> Self {
        let Recovered { restored, position, spares, segments, cabinet, pool, mut since } = recovered;
        let wall = WallMillis(1_700_000_000_000 + i64::try_from(number).unwrap() * 100_000);
        let now = Now { micros: 5_000_000, wall };
        let last = restored.last;
        let sessions = restored.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
        let view = restored.ledger.tree().view().clone();
        let archivist = archive::archivist(config, &mut since, view, last, 7);
        let ids = Ids::starting(wall.0.unsigned_abs(), ServerId(1));
        let knobs = FlushKnobs { flights: 1 + dice.below(4), linger_us: 0, batch_bytes: BATCH_BYTES, adapts: number % 2 == 1 };
        let sequencer = Sequencer::new(restored, ids, Appender::new(position, since.image), knobs, 1, now);
        let holdings = Holdings {
            dir: dir.path().to_owned(),
            images: since.dir.path().to_owned(),
            policy: config.retain,
            pool,
            cabinet,
            segments,
            verified: BTreeSet::from([since.image]),
            damaged: since.damaged,
            going: Vec::new(),
        };
        let mut life = Self {
            sequencer,
            archivist,
            images: since.dir,
            holdings,
            spares: spares.into(),
            dir,
            size: config.segment_bytes,
            flights: Vec::new(),
            delivered: Vec::new(),
            proposed: BTreeMap::new(),
            sessions,
            who: Arc::new(Identities::of("10.1.2.3".parse().unwrap())),
            now,
            xid: 0,
        };
        for session in life.sessions.keys().copied().collect::<Vec<_>>() {
            life.ask(Ask::Attach { session, password_ok: true, timeout_ms: 10_000 }, Vec::new());
        }
        life
    }

    /// Up to which clients have their answers.
    pub(super) const fn acknowledged(&self) -> Zxid {
        self.sequencer.delivered()
    }

    fn conn(session: SessionId) -> ConnId {
        ConnId { slot: (session.0 & 0xffff) as u32, generation: 1 }
    }

    fn ask(&mut self, ask: Ask, arena: Vec<u8>) {
        let conn = match &ask {
            Ask::Write { session, .. } | Ask::Attach { session, .. } => Self::conn(*session),
            // Ids are counted: the next session's.
            Ask::Open { .. } => ConnId { slot: u32::MAX, generation: self.xid.unsigned_abs() },
        };
        let mut message = Inward::Train(Box::new(Train { arena, since_us: 0, items: vec![Item { conn, ask }] }));
        if !self.sequencer.handle(SHARD, &mut message, &mut 0, self.now) {
            return;
        }
        let (zxid, digest) = self.sequencer.digest();
        self.proposed.entry(zxid).or_insert_with(|| (digest, print(self.sequencer.tree())));
    }

    /// One request of any kind.
    pub(super) fn request(&mut self, dice: &mut Dice) {
        self.xid += 1;
        self.now.micros += 1000;
        self.now.wall.0 += 1;
        let open: Vec<_> = self.sessions.keys().copied().collect();
        if open.is_empty() || open.len() < 5 && dice.one_in(12) {
            return self.ask(Ask::Open { timeout_ms: 4000 + 1000 * dice.below(20) as i32 }, Vec::new());
        }
        let session = dice.pick(&open);
        let (op, body) = if dice.one_in(40) { (opcode::CLOSE_SESSION, Vec::new()) } else { request(dice) };
        let ask = Ask::Write { session, xid: self.xid, op, body: 0..body.len(), who: Arc::clone(&self.who) };
        self.ask(ask, body);
    }

    /// Frames what is due and starts its writes.
    pub(super) fn frame(&mut self, ghost: &mut Ghost, dice: &mut Dice) {
        while let Some(len) = self.sequencer.due(self.now) {
            if !self.sequencer.fits(len) {
                self.roll(dice);
            }
            let mut bytes = vec![0; len];
            let placement = self.sequencer.frame(&mut bytes, self.now);
            self.framed(&bytes, ghost);
            let mut before = vec![0; len];
            let file = self.file(&placement);
            file.read_exact_at(&mut before, placement.offset).unwrap();
            drive::write_at(&file, &self.path(&placement), &bytes, placement.offset).unwrap();
            self.flights.push((placement, bytes, before));
        }
    }

    /// What is in the log from now on is what the ghost knows of it.
    fn framed(&mut self, bytes: &[u8], ghost: &mut Ghost) {
        let (header, _) = BatchHeader::decode(bytes).unwrap();
        let payload = &bytes[BATCH_HEADER..BATCH_HEADER + header.payload_len as usize];
        for blob in Records::new(payload) {
            let (header, txn, _) = txn::decode_blob(blob.unwrap()).unwrap();
            match txn {
                Txn::CreateSession { timeout_ms } => {
                    self.sessions.insert(header.session, timeout_ms);
                    // The session moves to the connection that its requests come from.
                    let back = Ask::Attach { session: header.session, password_ok: true, timeout_ms };
                    self.ask(back, Vec::new());
                }
                Txn::CloseSession { .. } => {
                    self.sessions.remove(&header.session);
                }
                _ => {}
            }
            let (digest, print) = self.proposed.remove(&header.zxid).expect("each transaction was noted");
            ghost.states.insert(header.zxid, State { digest, print, sessions: self.sessions.clone() });
        }
    }

    fn path(&self, placement: &Placement) -> PathBuf {
        self.dir.path().join(file_name(placement.segment))
    }

    fn file(&self, placement: &Placement) -> File {
        File::options().read(true).write(true).open(self.path(placement)).unwrap()
    }

    /// A write ends well.
    pub(super) fn flush(&mut self, dice: &mut Dice) {
        if self.flights.is_empty() {
            return;
        }
        let (placement, ..) = self.flights.remove(dice.below(self.flights.len()));
        note(|| Op::SyncRange(self.path(&placement), placement.offset, placement.len));
        self.sequencer.flushed(placement.sequence, self.now);
        for (_, message) in self.sequencer.outward() {
            if let Outward::Batch(batch) = message {
                self.delivered.push(batch);
            }
        }
        self.adopt();
    }

    /// The archivist hears of what was delivered, unless it writes an image.
    fn adopt(&mut self) {
        if self.archivist.census().under_way.is_none() {
            self.delivered.drain(..).for_each(|batch| self.archivist.adopt(&batch));
        }
    }

    /// Makes a segment ahead of its use.
    pub(super) fn prepare(&mut self, dice: &mut Dice) {
        let number = self.sequencer.log_position().segment.number + 1 + self.spares.len() as u64;
        let start = SegmentStart { number, salt: dice.next(), size: self.size };
        if !self.holdings.pool.make(start, ServerId(1), self.now.wall).unwrap() {
            make_segment(self.dir.path(), start, ServerId(1), self.now.wall, |_| {}).unwrap();
        }
        self.spares.push_back(start);
    }

    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    fn roll(&mut self, dice: &mut Dice) {
        if self.spares.is_empty() {
            self.prepare(dice);
        }
        let next = self.spares.pop_front().unwrap();
        let at = self.sequencer.log_position();
        let begin = Some(Begin { after: at.last, sequence: at.sequence });
        self.holdings.segments.push(Extent { number: next.number, begin, bytes: next.size });
        self.sequencer.roll(next);
    }

    /// The watermark follows what is durable.
    pub(super) fn mark(&mut self) {
        self.holdings.mark(self.sequencer.delivered()).unwrap();
    }

    /// An image of what was delivered, if there is none of it, block by block; `meanwhile` comes between the blocks.
    pub(super) fn write_image(&mut self, mut meanwhile: impl FnMut(&mut Self)) -> Option<Zxid> {
        self.archivist.order();
        if !self.archivist.is_due(self.now.mono()) {
            return None;
        }
        let mut out = Vec::new();
        let zxid = self.archivist.begin(self.now, &mut out);
        while self.archivist.write(&mut out) == Wrote::More {}
        let mut file = self.images.create(BLOCK).unwrap();
        file.write(&out, &mut |_| meanwhile(self)).unwrap();
        file.finish(zxid, &mut |_| ()).unwrap();
        self.archivist.finished(self.now);
        self.adopt();
        Some(zxid)
    }

    /// An image of what was delivered; then what it makes superfluous goes, or is left behind by a crash in between.
    pub(super) fn image(&mut self, retains: bool, policy: Policy) {
        if let Some(zxid) = self.write_image(|_| ()) {
            self.holdings.finished(vec![zxid]);
            self.holdings.policy = Some(policy);
            if retains { self.holdings.retain(None).unwrap() } else { self.promise(policy) }
        }
    }

    /// An image that came to nothing, and was left there.
    pub(super) fn give_up_image(&self) {
        self.images.create(BLOCK).unwrap().write(&[7; 5000], &mut |_| ()).unwrap();
    }

    /// What retention frees goes.
    pub(super) fn retain(&mut self, image: Zxid) {
        self.holdings.finished(vec![image]);
        self.holdings.retain(None).unwrap();
    }

    /// The first step of retention alone.
    fn promise(&mut self, policy: Policy) {
        let verdict = judge(&self.holdings.images().unwrap(), &self.holdings.segments, policy, None);
        let said = self.holdings.cabinet.said();
        let manifest = Manifest { oldest: verdict.oldest.max(said.oldest), image: verdict.newest.max(said.image), ..said };
        self.holdings.cabinet.manifest(manifest).unwrap();
        self.holdings.segments.retain(|segment| segment.number >= manifest.oldest);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The segment in use.
    pub(super) const fn segment(&self) -> u64 {
        self.sequencer.log_position().segment.number
    }

    /// Some more transactions, durable; and what is true then.
    pub(super) fn go_on(&mut self, dice: &mut Dice) -> (Zxid, State) {
        let mut ghost = Ghost::default();
        for _ in 0..3 {
            self.request(dice);
            self.frame(&mut ghost, dice);
            self.flush(dice);
        }
        ghost.states.pop_last().expect("something was written")
    }

    /// A clean stop.
    pub(super) fn stop(mut self, ghost: &mut Ghost, dice: &mut Dice) -> Zxid {
        self.sequencer.begin_stop();
        while !self.sequencer.is_at_rest() {
            self.frame(ghost, dice);
            self.flush(dice);
        }
        self.mark();
        self.acknowledged()
    }

    /// The power goes: each write under way has reached the disk, or a part of its sectors, or nothing of it.
    pub(super) fn crash(self, dice: &mut Dice) -> Zxid {
        for (placement, bytes, before) in &self.flights {
            let fate = dice.below(3);
            let mut there = bytes.clone();
            for at in (0..bytes.len()).step_by(SECTOR) {
                if fate == 0 || fate == 1 && dice.one_in(2) {
                    there[at..at + SECTOR].copy_from_slice(&before[at..at + SECTOR]);
                }
            }
            self.file(placement).write_all_at(&there, placement.offset).unwrap();
        }
        self.acknowledged()
    }
}

const _: () = assert!(BATCH_BYTES + 12 * 1024 + BATCH_HEADER < 7 * BLOCK);
