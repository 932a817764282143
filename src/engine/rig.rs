//! Rig: shards, a sequencer and a log in memory, driven turn by turn as the runtime's loops drive them.
//!
//! There is no I/O and no clock but the one that tests move. Clients speak real bytes over pipes. Whatever a test does, the
//! rig watches over the invariants that can be seen from outside: 2, 4, 5, 6, 8 and 15 of the engine's list.

mod archive;
mod ask;
mod ensemble;
mod hostile;
mod lasting;
mod lifetimes;
mod limits;
mod log;
mod model;
mod order;
mod pipe;
mod quotas;
mod random;
mod restart;
mod room;
mod sessions;
mod throttles;
mod traces;
mod watches;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;

use self::ask::{Frame, Reply};
use self::log::Log;
use self::pipe::Pipe;
use super::audit::{Audit, Event};
use super::census::{Census, Word};
use super::message::{Batch, Inward, Outward};
use super::sequencer::{FlushKnobs, Lifetimes, Sequencer, To};
use super::shard::{Flow, Shard, ShardConfig, Words};
use crate::auth::AuthConfig;
use crate::ground::ids::{ConnId, ServerId, SessionId, ShardId, Zxid};
use crate::ground::limits::READ_CHUNK;
use crate::ground::time::{Now, WallMillis};
use crate::session::{Ids, throttle};
use crate::storage::appender::{Appender, Placement};

/// ZooKeeper's tickTime in the rig, ms.
const TICK_MS: u64 = 2000;

/// Seeds of every hash table.
const SEEDS: [u64; 4] = [11, 22, 33, 44];

/// Messages taken from one shard a turn.
const MESSAGES_A_TURN: usize = 64;

/// What a rig is made with.
#[derive(Clone)]
struct Setup {
    shards: usize,
    auth: AuthConfig,
    flush: FlushKnobs,
    lifetimes: Lifetimes,
    enforces_quotas: bool,
    /// Messages that a shard's queue takes.
    ring: usize,
    /// Size of a log segment, bytes.
    segment: u64,
    frame_max: usize,
    flow: Flow,
    throttle: Option<throttle::Rules>,
    is_member: bool,
    server: u8,
}

impl Setup {
    fn of(shards: usize) -> Self {
        // "super:test" is the super user.
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        Self {
            shards,
            auth: AuthConfig { super_digest, ..AuthConfig::default() },
            flush: FlushKnobs::default(),
            lifetimes: Lifetimes::default(),
            enforces_quotas: true,
            ring: 1024,
            segment: 8 << 20,
            frame_max: crate::ground::limits::FRAME_MAX_DEFAULT,
            flow: Flow::default(),
            throttle: None,
            is_member: false,
            server: 1,
        }
    }
}

/// A shard, and its end of the mesh.
struct End {
    shard: Shard,
    inward: VecDeque<Inward>,
    /// A message that the sequencer has not used up, and how far it was.
    begun: Option<(Inward, usize)>,
    ring: VecDeque<Outward>,
    waiting: VecDeque<Outward>,
    pushed: Zxid,
    /// Makes no turns.
    paused: bool,
}

/// A client, by its number.
type C = usize;

/// Words of the rig's admin.
struct Spoken;

impl Words for Spoken {
    fn allows(&self, word: Word) -> bool {
        word != Word::Wchs
    }

    fn refusal(&self, name: &str) -> String {
        format!("{name} is not executed because it is not in the whitelist.\n")
    }

    fn trace_mask(&self, set: Option<i64>) -> i64 {
        set.unwrap_or_default()
    }

    fn answer(&self, word: Word, census: Option<&Census>) -> String {
        census.map_or_else(|| word.name().to_owned(), |census| format!("{} {}", word.name(), census.ledger.zxid))
    }

    fn metrics(&self, census: &Census) -> String {
        format!("transactions {}\n", census.ledger.transactions)
    }
}

/// Hears of every change, so that every test of the rig is one of the auditor too.
struct Ears;

impl Audit for Ears {
    fn note(&self, event: Event) {
        assert!(!event.text.contains('\n') && event.is_failure == event.text.ends_with("\tresult=failure"), "{event:?}");
    }

    fn server_user(&self) -> &str {
        "keeper"
    }
}

/// The world.
struct Rig {
    setup: Setup,
    now: Now,
    sequencer: Sequencer,
    ends: Vec<End>,
    released: Zxid,
    log: Log,
    /// Log writes that have not ended.
    writes: Vec<(Placement, Vec<u8>)>,
    /// Whether log writes end by the test's order only.
    hold: bool,
    pipes: Vec<Pipe>,
    turn_from: usize,
    /// Where this life of the server began.
    born: Zxid,
    /// The newest zxid any client was answered with.
    shown: Zxid,
    /// Batches that were delivered in this life, for an archivist.
    fed: Vec<Arc<Batch>>,
}

impl Rig {
    fn new(shards: usize) -> Self {
        Self::with(Setup::of(shards))
    }

    fn with(setup: Setup) -> Self {
        let now = Now { micros: 5_000_000, wall: WallMillis(1_700_000_000_000) };
        Self::boot(setup, Log::default(), now, Vec::new())
    }

    /// Boots from what is durable, as the server does.
    fn boot(setup: Setup, mut log: Log, now: Now, pipes: Vec<Pipe>) -> Self {
        let (restored, position) = log.recover(&setup, now);
        let last = restored.last;
        let view = restored.ledger.tree().view().clone();
        let ids = Ids::starting(now.wall.0.unsigned_abs(), ServerId(setup.server));
        let shards = u16::try_from(setup.shards).unwrap();
        let base = log.image_zxid();
        let sequencer = Sequencer::new(restored, ids, Appender::new(position, base), setup.flush, shards, now);
        let sequencer = sequencer.with_lifetimes(setup.lifetimes, now).enforcing_quotas(setup.enforces_quotas);
        let sequencer = sequencer.throttling(setup.throttle, SEEDS, now);
        let ends = (0..shards)
            .map(|id| {
                let config = ShardConfig {
                    id: ShardId(id),
                    frame_max: setup.frame_max,
                    flow: setup.flow,
                    min_timeout_ms: 4000,
                    max_timeout_ms: 40_000,
                    sessionless_ms: 10_000,
                    tick_ms: TICK_MS,
                    auth: setup.auth.clone(),
                    is_member: setup.is_member,
                    words: Arc::new(Spoken),
                    audit: Some(Arc::new(Ears)),
                };
                End {
                    shard: Shard::new(config, view.clone(), last, SEEDS, now),
                    inward: VecDeque::new(),
                    begun: None,
                    ring: VecDeque::new(),
                    waiting: VecDeque::new(),
                    pushed: last,
                    paused: false,
                }
            })
            .collect();
        let writes = Vec::new();
        Self {
            setup,
            now,
            sequencer,
            ends,
            released: last,
            log,
            writes,
            hold: false,
            pipes,
            turn_from: 0,
            born: last,
            shown: last,
            fed: Vec::new(),
        }
    }

    /// The process dies: what is not durable is lost but for the writes that `reached` the disk, and it boots again.
    fn crash(self, mut reached: impl FnMut(&Placement) -> usize) -> Self {
        let Self { setup, mut now, mut log, writes, mut pipes, shown, .. } = self;
        for (placement, bytes) in &writes {
            let part = reached(placement).min(bytes.len());
            log.write(placement, &bytes[..part]);
        }
        for pipe in &mut pipes {
            pipe.break_off();
        }
        now.micros += 1_000_000;
        now.wall.0 += 1000;
        let mut rig = Self::boot(setup, log, now, pipes);
        assert!(rig.born >= shown, "what a client was shown ({shown}) survives; the log ends at {}", rig.born);
        rig.shown = shown;
        rig
    }

    /// Turns until nothing moves any more, then looks at the invariants.
    fn run(&mut self) {
        let mut turns = 0;
        loop {
            let mut progress = self.sequencer_turn();
            for i in 0..self.ends.len() {
                if !self.ends[i].paused {
                    progress |= self.shard_turn(i);
                }
            }
            if !progress {
                break;
            }
            turns += 1;
            assert!(turns < 100_000, "the rig does not come to rest");
        }
        self.look();
    }

    /// Lets time pass, in steps small enough for every duty that hangs on time.
    fn advance(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(100);
            left -= step;
            self.now.micros += step * 1000;
            self.now.wall.0 += i64::try_from(step).unwrap();
            self.run();
        }
    }

    fn sequencer_turn(&mut self) -> bool {
        let mut progress = false;
        if !self.hold {
            for (placement, bytes) in std::mem::take(&mut self.writes) {
                self.log.write(&placement, &bytes);
                self.sequencer.flushed(placement.sequence, self.now);
                progress = true;
            }
        }
        let shards = self.ends.len();
        for i in 0..shards {
            let i = (self.turn_from + i) % shards;
            let end = &mut self.ends[i];
            for _ in 0..MESSAGES_A_TURN {
                let next = end.begun.take().or_else(|| end.inward.pop_front().map(|message| (message, 0)));
                let Some((mut message, mut at)) = next else { break };
                let before = at;
                let shard = ShardId(u16::try_from(i).unwrap());
                if !self.sequencer.handle(shard, &mut message, &mut at, self.now) {
                    progress |= at > before;
                    end.begun = Some((message, at));
                    break;
                }
                progress = true;
            }
        }
        self.turn_from = (self.turn_from + 1) % shards;
        self.sequencer.tick(self.now, self.now.mono());
        progress |= self.hand_out();
        while let Some(len) = self.sequencer.due(self.now) {
            if !self.sequencer.fits(len) {
                self.sequencer.roll(self.log.next_segment(&self.setup));
            }
            let mut bytes = vec![0xee; len];
            let placement = self.sequencer.frame(&mut bytes, self.now);
            self.writes.push((placement, bytes));
            progress = true;
        }
        progress |= self.hand_out();
        progress
    }

    /// Ends the `nth` of the log writes that have not ended.
    fn end_write(&mut self, nth: usize) {
        let (placement, bytes) = self.writes.remove(nth);
        self.log.write(&placement, &bytes);
        self.sequencer.flushed(placement.sequence, self.now);
    }

    /// As the mesh does: fill the queues, then release what all of them hold.
    fn hand_out(&mut self) -> bool {
        let mut any = false;
        for (to, message) in self.sequencer.outward() {
            any = true;
            if let Outward::Batch(batch) = &message {
                self.fed.push(Arc::clone(batch));
            }
            match to {
                To::Shard(shard) => self.ends[usize::from(shard.0)].waiting.push_back(message),
                To::All => self.ends.iter_mut().for_each(|end| end.waiting.push_back(message.clone())),
            }
        }
        for end in &mut self.ends {
            while end.ring.len() < self.setup.ring {
                let Some(message) = end.waiting.pop_front() else { break };
                if let Outward::Batch(batch) = &message {
                    end.pushed = batch.last;
                }
                end.ring.push_back(message);
                any = true;
            }
        }
        let released = self.ends.iter().map(|end| end.pushed).min().unwrap();
        self.released = self.released.max(released);
        any
    }

    fn shard_turn(&mut self, i: usize) -> bool {
        let now = self.now;
        let released = self.released;
        let delivered = self.sequencer.delivered();
        let End { shard, inward, ring, .. } = &mut self.ends[i];
        let mut progress = false;
        while let Some(front) = ring.front() {
            if matches!(front, Outward::Batch(batch) if batch.last > released) {
                break;
            }
            let message = ring.pop_front().unwrap();
            shard.hear(&message, now);
            progress = true;
        }
        assert!(shard.applied() <= released && released <= delivered, "nothing is shown above the delivered mark");
        shard.turn(now);
        let mut resumed = Vec::new();
        shard.take_resumed(&mut resumed);
        let mut pipes: Vec<_> = self.pipes.iter_mut().filter(|pipe| pipe.shard == i && pipe.is_open()).collect();
        for pipe in &mut pipes {
            if resumed.contains(&pipe.id) && !pipe.input.is_empty() {
                let used = shard.receive(pipe.id, &pipe.input, now);
                pipe.input.drain(..used);
                progress |= used > 0;
            }
            progress |= read(pipe, shard, now);
        }
        for message in shard.inward(now) {
            inward.push_back(message);
            progress = true;
        }
        let mut dirty = Vec::new();
        shard.take_dirty(&mut dirty);
        for pipe in pipes.iter_mut().filter(|pipe| pipe.is_open()) {
            if dirty.contains(&pipe.id) || pipe.is_clogged {
                progress |= write(pipe, shard, now);
            }
        }
        progress
    }

    /// What must hold whenever nothing moves.
    fn look(&mut self) {
        let mut digests: Vec<_> = self.ends.iter().map(|end| (end.shard.applied(), end.shard.digest())).collect();
        for end in &self.ends {
            assert!(!end.shard.is_at_rest() || end.shard.has_told_all(), "what has ended is told");
        }
        if self.sequencer.is_at_rest() && self.sequencer.digest().0 == self.sequencer.delivered() {
            digests.push(self.sequencer.digest());
        }
        digests.sort_unstable();
        for pair in digests.windows(2) {
            assert!(pair[0].0 != pair[1].0 || pair[0].1 == pair[1].1, "views at one zxid agree: {digests:?}");
        }
        for pipe in self.pipes.iter_mut().filter(|pipe| !pipe.is_text) {
            self.shown = self.shown.max(pipe.parse());
        }
        assert!(self.shown <= self.log.durable_last(), "shown {} before it was durable", self.shown);
    }

    /// A socket that has said nothing yet.
    fn open(&mut self, shard: usize) -> C {
        let shard = shard % self.ends.len();
        let peer = "10.1.2.3:4567".parse().unwrap();
        let id = self.ends[shard].shard.open(peer, self.now);
        self.pipes.push(Pipe::new(shard, id));
        self.pipes.len() - 1
    }

    /// Bytes as they are; the order of answers is then not watched over.
    fn raw(&mut self, c: C, bytes: &[u8]) {
        self.pipes[c].is_wild = true;
        self.pipes[c].to_server.extend(bytes);
    }

    /// A new session with a timeout of ten seconds.
    fn connect(&mut self, shard: usize) -> C {
        let c = self.begin(shard, SessionId::NONE, &[0; 16], 0, 10_000);
        self.run();
        assert_ne!(self.pipes[c].session, SessionId::NONE, "a session was opened");
        self.pipes[c].frames.clear();
        c
    }

    /// Sends a ConnectRequest over a new socket.
    fn begin(&mut self, shard: usize, session: SessionId, password: &[u8], seen: i64, timeout_ms: i32) -> C {
        let c = self.open(shard);
        self.pipes[c].to_server.extend(ask::connect(session, password, seen, timeout_ms, Some(false)));
        c
    }

    /// Re-attaches the session of `of`, with its own password. `None` where it was refused or dropped.
    fn attach(&mut self, shard: usize, of: C) -> Option<C> {
        let (session, password) = (self.pipes[of].session, self.pipes[of].password);
        let c = self.begin(shard, session, &password, 0, 10_000);
        self.run();
        (self.pipes[c].session == session).then_some(c)
    }

    fn session(&self, c: C) -> SessionId {
        self.pipes[c].session
    }

    /// Queues a request and yields its xid.
    fn send(&mut self, c: C, op: i32, body: &[u8]) -> i32 {
        self.pipes[c].send(op, body)
    }

    /// A request and its answer. Events that come before it are kept for [`Rig::events`].
    fn call(&mut self, c: C, op: i32, body: &[u8]) -> Reply {
        let xid = self.send(c, op, body);
        self.run();
        self.take_reply(c, xid)
    }

    fn take_reply(&mut self, c: C, xid: i32) -> Reply {
        let is_open = self.pipes[c].is_open();
        let frames = &mut self.pipes[c].frames;
        let at = frames.iter().position(|frame| matches!(frame, Frame::Reply(reply) if reply.xid == xid));
        let Some(Frame::Reply(reply)) = at.and_then(|at| frames.remove(at)) else {
            panic!("no reply to xid {xid} among {frames:?}; open: {is_open}");
        };
        reply
    }

    /// Everything that came and was not taken yet.
    fn frames(&mut self, c: C) -> Vec<Frame> {
        self.pipes[c].frames.drain(..).collect()
    }

    /// Events that came and were not taken yet, as text.
    fn events(&mut self, c: C) -> Vec<String> {
        self.frames(c)
            .into_iter()
            .map(|frame| match frame {
                Frame::Event(event) => format!("{} {}", event.name(), event.path),
                other => panic!("an event is awaited, not {other:?}"),
            })
            .collect()
    }

    /// Whether the server has left the socket open.
    fn is_open(&self, c: C) -> bool {
        self.pipes[c].is_open()
    }

    /// The client closes its socket.
    fn hang_up(&mut self, c: C) {
        self.pipes[c].is_half_closed = true;
    }
}

/// Reads one socket as `conn_io` does; says whether anything came of it.
fn read(pipe: &mut Pipe, shard: &mut Shard, now: Now) -> bool {
    if pipe.to_server.is_empty() && !pipe.is_half_closed || !shard.may_read(pipe.id, now) && !shard.is_ending(pipe.id) {
        return false;
    }
    if pipe.to_server.is_empty() {
        close(pipe, shard);
        return true;
    }
    let n = pipe.to_server.len().min(READ_CHUNK).min(pipe.chunk);
    pipe.input.extend(pipe.to_server.drain(..n));
    let used = shard.receive(pipe.id, &pipe.input, now);
    pipe.input.drain(..used);
    true
}

/// Writes what a socket takes, and closes it where it ends.
fn write(pipe: &mut Pipe, shard: &mut Shard, now: Now) -> bool {
    let mut progress = false;
    loop {
        let output = shard.output(pipe.id);
        if output.is_empty() {
            break;
        }
        let n = pipe.take(output);
        shard.wrote(pipe.id, n, now);
        if n == 0 {
            pipe.is_clogged = true;
            return progress;
        }
        progress = true;
    }
    pipe.is_clogged = false;
    if shard.is_ending(pipe.id) {
        close(pipe, shard);
        progress = true;
    }
    progress
}

fn close(pipe: &mut Pipe, shard: &mut Shard) {
    let id: ConnId = pipe.id;
    pipe.break_off();
    shard.closed(id);
}

/// Runs a test with one shard and with four.
fn on_both(test: impl Fn(&mut Rig)) {
    for shards in [1, 4] {
        let mut rig = Rig::new(shards);
        test(&mut rig);
        rig.run();
    }
}
