//! Random: clients that do anything, disks that end their writes in any order, crashes. All of it from one seed, and held
//! against the model.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ask::{Frame, Reply, Result1};
use super::model::{Acls, Answer, Asker, Happening, Model, Op};
use super::{C, Rig, Setup};
use crate::engine::sequencer::Lifetimes;
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::opcode;
use crate::proto::txn::TxnHeader;

/// Seeds that the gate runs.
const SEEDS: u64 = 600;

const USER: &str = "user:smGaoVKd/cQkjm7b88GyorAUz20=";

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next()).unwrap() % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn path(&mut self) -> String {
        const GOOD: &[&str] = &["/a", "/b", "/a/x", "/a/y", "/a/x/1", "/b/z", "/a", "/b", "/a/x"];
        const ODD: &[&str] = &[
            "/",
            "",
            "a",
            "/a/",
            "/a//x",
            "/a/.",
            "/none/x",
            "/a/\0",
            "/\u{e9}",
            "/\u{fffe}",
            "/zookeeper",
            "/zookeeper/config",
            "/a/x/1/2",
        ];
        if self.one_in(6) { self.pick(ODD).to_owned() } else { self.pick(GOOD).to_owned() }
    }

    fn acl(&mut self) -> Acls {
        let all: &[&[(i32, &str, &str)]] = &[
            &[(1, "world", "anyone")],
            &[(31, "auth", "")],
            &[(31, "digest", USER), (1, "world", "anyone")],
            &[(31, "ip", "10.1.2.3")],
            &[(31, "ip", "10.9.9.9"), (31, "ip", "10.9.9.9"), (16, "world", "anyone")],
            &[],
            &[(31, "nope", "x")],
            &[(31, "world", "anyone"), (31, "digest", "bad")],
        ];
        let open: &[(i32, &str, &str)] = &[(31, "world", "anyone")];
        let chosen = if self.one_in(5) { self.pick(all) } else { open };
        chosen.iter().map(|(perms, scheme, id)| (*perms, (*scheme).to_owned(), (*id).to_owned())).collect()
    }

    fn version(&mut self) -> i32 {
        self.pick(&[-1, -1, -1, 0, 1, 2])
    }

    fn data(&mut self) -> String {
        let n = self.below(5) * self.below(60);
        "d".repeat(n)
    }

    fn create(&mut self) -> Op {
        let op = self.pick(&[opcode::CREATE, opcode::CREATE2, opcode::CREATE, opcode::CREATE2, opcode::CREATE_CONTAINER]);
        let op = if self.one_in(30) { opcode::CREATE_TTL } else { op };
        let flags = self.pick(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, -1]);
        let mut path = self.path();
        if matches!(flags, 2 | 3) && self.one_in(2) {
            path.push_str("/s-");
        }
        let data = if self.one_in(8) { None } else { Some(self.data()) };
        let flags = if self.one_in(2) { 0 } else { flags };
        Op::Create { op, path, data, acl: self.acl(), flags }
    }

    fn member(&mut self) -> Op {
        match self.below(10) {
            0..4 => self.create(),
            4 | 5 => Op::Delete { path: self.path(), version: self.version() },
            6 | 7 => Op::SetData { path: self.path(), data: self.data(), version: self.version() },
            8 => Op::Check { path: self.path(), version: self.version() },
            _ if self.one_in(10) => Op::SetAcl { path: self.path(), acl: self.acl(), version: -1 },
            _ => Op::Check { path: self.path(), version: -1 },
        }
    }

    fn op(&mut self) -> Op {
        let watch = self.one_in(2);
        match self.below(106) {
            0..22 => self.create(),
            22..32 => Op::Delete { path: self.path(), version: self.version() },
            32..44 => Op::SetData { path: self.path(), data: self.data(), version: self.version() },
            44..48 => Op::SetAcl { path: self.path(), acl: self.acl(), version: self.version() },
            48..58 => Op::Multi((0..self.below(5)).map(|_| self.member()).collect()),
            58..66 => Op::Exists { path: self.path(), watch },
            66..76 => Op::GetData { path: self.path(), watch },
            76..86 => Op::Children { op: self.pick(&[opcode::GET_CHILDREN, opcode::GET_CHILDREN2]), path: self.path(), watch },
            86..89 => Op::GetAcl { path: self.path() },
            89..91 => Op::Sync { path: self.path() },
            91..95 => {
                let mut read = |_| match self.below(8) {
                    0..4 => Op::GetData { path: self.path(), watch },
                    4..7 => Op::Children { op: opcode::GET_CHILDREN, path: self.path(), watch },
                    _ => Op::Check { path: self.path(), version: 0 },
                };
                Op::MultiRead((0..3).map(&mut read).collect())
            }
            100..103 => Op::AddWatch { path: self.path(), mode: self.pick(&[0, 1]) },
            103..106 => {
                let op = self.pick(&[opcode::CHECK_WATCHES, opcode::REMOVE_WATCHES]);
                Op::Watches { op, path: self.path(), kind: self.pick(&[1, 2, 3, 4, 5]) }
            }
            95..98 => Op::Bad { op: self.pick(&[opcode::CREATE, opcode::SET_DATA, opcode::MULTI, opcode::DELETE]) },
            _ => Op::Close,
        }
    }
}

/// The watches of one connection, by what leaves them.
#[derive(Default)]
struct Watches {
    data: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

impl Watches {
    /// Those that a type of checkWatches names.
    fn of(&mut self, kind: i32) -> Vec<&mut BTreeSet<String>> {
        let Self { data, child, persistent, recursive } = self;
        match kind {
            1 => vec![child],
            2 => vec![data],
            3 => vec![data, child, persistent, recursive],
            4 => vec![persistent],
            _ => vec![recursive],
        }
    }

    /// Whether what happened is told; one-shot watches are used up.
    fn fire(&mut self, kind: &str, path: &str) -> bool {
        let stays = self.persistent.contains(path);
        if kind == "children" {
            return self.child.remove(path) || stays;
        }
        let data = self.data.remove(path);
        let child = kind == "deleted" && self.child.remove(path);
        let is_above = |root: &String| root == "/" || !root.is_empty() && path.starts_with(&format!("{root}/"));
        data || child || stays || self.recursive.iter().any(|root| root == path || is_above(root))
    }
}

/// One connection, as the checker knows it.
struct Seen {
    who: Option<&'static str>,
    /// Requests by xid, and their answers where they came.
    asked: BTreeMap<i32, (Op, Option<Reply>)>,
    watches: Watches,
    /// Events by the model, and events that came: zxid, kind, path.
    expected: Vec<(i64, &'static str, String)>,
    came: Vec<(i64, &'static str, String)>,
    /// Reads answered and not yet checked, in order.
    reads: VecDeque<i32>,
}

struct World {
    rig: Rig,
    random: Random,
    model: Model,
    seen: BTreeMap<C, Seen>,
    next_xid: i32,
    checked_writes: usize,
    checked_reads: usize,
    checked_events: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // What goes by itself has tests of its own.
        let lifetimes = Lifetimes { check_ms: u64::MAX, ..Lifetimes::default() };
        let mut setup = Setup { lifetimes, segment: 128 << 10, ..Setup::of(if seed.is_multiple_of(8) { 1 } else { 4 }) };
        setup.flush.flights = 1 + random.below(4);
        setup.ring = 1 + random.below(6);
        let rig = Rig::with(setup);
        Self {
            rig,
            random,
            model: Model::new(),
            seen: BTreeMap::new(),
            next_xid: 1,
            checked_writes: 0,
            checked_reads: 0,
            checked_events: 0,
        }
    }

    /// A connection, of a session that there is or of a new one.
    fn connect(&mut self) {
        let shard = self.random.below(4);
        let known: Vec<_> = self.seen.keys().copied().filter(|&c| self.rig.session(c) != SessionId::NONE).collect();
        let (session, password) = if known.is_empty() || self.random.one_in(2) {
            (SessionId::NONE, [0; 16])
        } else {
            let of = self.random.pick(&known);
            let password = if self.random.one_in(6) { [9; 16] } else { self.rig.pipes[of].password };
            (self.rig.session(of), password)
        };
        let c = self.rig.begin(shard, session, &password, 0, 10_000);
        let who = if self.random.one_in(2) { Some(USER) } else { None };
        if who.is_some() {
            self.rig.send(c, opcode::AUTH, &super::ask::auth("digest", "user:pass"));
        }
        self.rig.pipes[c].chunk = self.random.pick(&[usize::MAX, usize::MAX, 100, 7]);
        let empty = Seen {
            who,
            asked: BTreeMap::new(),
            watches: Watches::default(),
            expected: Vec::new(),
            came: Vec::new(),
            reads: VecDeque::new(),
        };
        self.seen.insert(c, empty);
    }

    fn ask(&mut self) {
        let open: Vec<_> = self.seen.keys().copied().filter(|&c| self.rig.is_open(c)).collect();
        if open.is_empty() {
            return self.connect();
        }
        let c = self.random.pick(&open);
        for _ in 0..=self.random.below(5) {
            let op = self.random.op();
            self.next_xid += 1;
            let xid = self.next_xid;
            self.rig.pipes[c].send_as(xid, op.code(), &op.body());
            self.seen.get_mut(&c).unwrap().asked.insert(xid, (op, None));
        }
    }

    fn step(mut self) -> Self {
        match self.random.below(40) {
            0..22 => self.ask(),
            22..25 => self.connect(),
            25 => {
                let all: Vec<_> = self.seen.keys().copied().collect();
                if !all.is_empty() {
                    let c = self.random.pick(&all);
                    self.rig.hang_up(c);
                }
            }
            26..28 => self.rig.hold = self.random.one_in(2),
            28..31 if !self.rig.writes.is_empty() => {
                let nth = self.random.below(self.rig.writes.len());
                self.rig.end_write(nth);
            }
            31..33 => {
                let shard = self.random.below(self.rig.ends.len());
                self.rig.ends[shard].paused = self.random.one_in(2);
            }
            33 => self.rig.advance(100 * self.random.next() % 3000),
            34 if self.random.one_in(3) => self = self.crash(),
            35 | 36 => self.check(),
            _ => {}
        }
        if !self.random.one_in(4) {
            self.rig.run();
        }
        self
    }

    fn crash(mut self) -> Self {
        self.rig.run();
        if self.rig.ends.iter().all(|end| end.shard.applied() == self.rig.sequencer.delivered()) {
            let digest = self.rig.ends[0].shard.digest();
            assert_eq!(self.rig.sequencer.undone_digest(), digest, "undoing the ledger restores what was delivered");
        }
        let Self { rig, mut random, model, seen, next_xid, checked_writes, checked_reads, checked_events } = self;
        let whole = random.below(3);
        let rig = rig.crash(|placement| match whole {
            0 => 0,
            1 => random.below(placement.len + 1),
            _ if random.one_in(2) => placement.len,
            _ => 0,
        });
        let mut world = Self { rig, random, model, seen, next_xid, checked_writes, checked_reads, checked_events };
        world.catch_up();
        world
    }

    /// Comes to rest and compares.
    fn check(&mut self) {
        self.rig.hold = false;
        self.rig.ends.iter_mut().for_each(|end| end.paused = false);
        self.rig.run();
        self.catch_up();
    }

    /// Takes what came, then leads the model through the log, and compares answers and events on the way.
    fn catch_up(&mut self) {
        for (&c, seen) in &mut self.seen {
            for frame in self.rig.frames(c) {
                match frame {
                    Frame::Connected(_) => {}
                    Frame::Event(event) => seen.came.push((event.zxid, event.name(), event.path)),
                    Frame::Reply(reply) if reply.xid == -4 => assert_eq!(reply.err, 0),
                    Frame::Reply(reply) => {
                        let xid = reply.xid;
                        let (op, answer) = seen.asked.get_mut(&xid).expect("an answer to what was asked");
                        assert!(answer.is_none(), "answered once");
                        if !op.is_write() {
                            seen.reads.push_back(xid);
                        }
                        *answer = Some(reply);
                    }
                }
            }
        }
        self.reads();
        for header in self.rig.log.headers(self.model.last) {
            self.transaction(&header);
            self.reads();
        }
        for (&c, seen) in &mut self.seen {
            assert!(seen.reads.is_empty(), "no answer shows a zxid that the log does not have");
            let order = |events: &mut Vec<(i64, &'static str, String)>| events.sort();
            order(&mut seen.expected);
            order(&mut seen.came);
            if self.rig.is_open(c) {
                assert_eq!(seen.came, seen.expected, "events of connection {c}");
            } else {
                // What fired after the end was not told, but nothing else was.
                seen.expected.truncate(seen.came.len());
                let last = seen.came.last().map_or(0, |event| event.0);
                let up_to =
                    |events: &[(i64, &'static str, String)]| events.iter().filter(|e| e.0 < last).cloned().collect::<Vec<_>>();
                assert_eq!(up_to(&seen.came), up_to(&seen.expected), "events of connection {c}, which has ended");
                seen.watches = Watches::default();
            }
            self.checked_events += seen.came.len();
            seen.came.clear();
            seen.expected.clear();
        }
        let answered = |seen: &Seen| {
            seen.asked.values().filter_map(|(op, reply)| Some((op.is_write(), reply.as_ref()?.zxid))).collect::<Vec<_>>()
        };
        for seen in self.seen.values() {
            for (is_write, zxid) in answered(seen) {
                assert!(!is_write || zxid <= self.model.last.as_wire(), "an acknowledged write is in the log");
            }
        }
    }

    /// Reads answered at the zxid where the model stands.
    fn reads(&mut self) {
        let Self { model, seen, checked_reads, .. } = self;
        for (c, seen) in seen {
            while let Some(&xid) = seen.reads.front() {
                let (op, reply) = &seen.asked[&xid];
                let reply = reply.as_ref().unwrap();
                if reply.zxid != model.last.as_wire() {
                    assert!(reply.zxid > model.last.as_wire(), "connection {c} was shown the past");
                    break;
                }
                seen.reads.pop_front();
                let expected = match op {
                    Op::AddWatch { path, mode } => {
                        seen.watches.of(4 + mode)[0].insert(path.clone());
                        Answer::One(Result1::Done(opcode::ADD_WATCH))
                    }
                    Op::Watches { op, path, kind } => {
                        let mut asked = seen.watches.of(*kind);
                        let found = asked.iter().any(|watches| watches.contains(path));
                        if *op == opcode::REMOVE_WATCHES {
                            asked.iter_mut().for_each(|watches| watches.retain(|one| one != path));
                        }
                        Answer::One(if found { Result1::Done(*op) } else { Result1::Error(-121) })
                    }
                    _ => model.read(seen.who, op),
                };
                assert_eq!(answer(op, reply), expected, "{op:?} on connection {c} at {}", model.last);
                *checked_reads += 1;
                let found = expected != Answer::One(Result1::Error(-102));
                let rooted = |path: &String| if path.is_empty() { "/".to_owned() } else { path.clone() };
                match op {
                    Op::Exists { path, watch: true } if found && expected != Answer::One(Result1::Error(-8)) => {
                        seen.watches.data.insert(rooted(path));
                    }
                    Op::GetData { path, watch: true } if found && reply.err == 0 => {
                        seen.watches.data.insert(rooted(path));
                    }
                    Op::Children { path, watch: true, .. } if found && reply.err == 0 => {
                        seen.watches.child.insert(rooted(path));
                    }
                    _ => {}
                }
            }
        }
    }

    fn transaction(&mut self, header: &TxnHeader) {
        assert_eq!(header.zxid, Zxid(self.model.last.0 + 1), "no zxid is left out");
        self.model.last = header.zxid;
        let mut happened = Vec::new();
        let session = header.session.0;
        let is_closed = !self.model.sessions.contains(&session);
        if header.kind == opcode::CREATE_SESSION {
            assert!(self.model.sessions.insert(session));
        } else if header.cxid == 0 {
            assert_eq!((header.kind, is_closed), (opcode::CLOSE_SESSION, false), "nothing else is done unasked");
            self.model.close(session, header.zxid, &mut happened);
        } else {
            let (c, seen) = self.seen.iter().find(|(_, seen)| seen.asked.contains_key(&header.cxid)).expect("somebody asked");
            let (op, reply) = &seen.asked[&header.cxid];
            if is_closed {
                assert_eq!(header.kind, opcode::ERROR, "a session that is over changes nothing");
                assert!(reply.as_ref().is_none_or(|reply| reply.err == -112 || reply.err == -12));
            } else {
                let by = Asker { session, zxid: header.zxid, time: header.time, who: seen.who };
                let mut after = self.model.clone();
                let expected = after.write(by, op, &mut happened);
                let is_error = matches!(expected, Answer::One(Result1::Error(_)));
                if header.kind == opcode::ERROR && !is_error {
                    // The session had moved: no answer, and the connection is closed.
                    assert!(reply.is_none() && !self.rig.is_open(*c), "{op:?} on connection {c} is refused for no reason");
                    happened.clear();
                } else {
                    let kind = if is_error { opcode::ERROR } else { op.code() };
                    assert_eq!(header.kind, kind, "{op:?}: {expected:?}");
                    self.model = after;
                    if let Some(reply) = reply {
                        assert_eq!(reply.zxid, header.zxid.as_wire());
                        assert_eq!(answer(op, reply), expected, "{op:?} on connection {c} at {}", header.zxid);
                        self.checked_writes += 1;
                    }
                }
            }
        }
        for happening in &happened {
            self.tell(happening, header.zxid);
        }
    }

    fn tell(&mut self, happening: &Happening, zxid: Zxid) {
        let Happening { kind, path, .. } = happening;
        for seen in self.seen.values_mut() {
            if seen.watches.fire(kind, path) && happening.may_be_told_to(seen.who) {
                seen.expected.push((zxid.as_wire(), kind, path.clone()));
            }
        }
    }

    /// The whole tree, as every shard shows it, and as the log brings it back.
    fn finish(mut self) -> (usize, usize, usize) {
        self.check();
        let mut rig = self.rig;
        for round in 0..2 {
            for shard in 0..rig.ends.len() {
                let c = rig.connect(shard);
                rig.log_in(c, "super:test");
                for (path, node) in &self.model.nodes {
                    let (data, stat) = rig.get(c, path, false).data();
                    assert_eq!((data, stat), (node.data.clone().map(String::into_bytes), node.stat), "{path} in round {round}");
                    let mut children = self.model.children(path);
                    children.sort();
                    assert_eq!(rig.children(c, path, false).children_stat().0, children);
                }
                let count = rig.sequencer.tree().node_count();
                assert_eq!(count, self.model.nodes.len());
            }
            rig = rig.crash(|_| 0);
        }
        (self.checked_writes, self.checked_reads, self.checked_events)
    }
}

/// A reply as the model says it.
fn answer(op: &Op, reply: &Reply) -> Answer {
    if reply.err != 0 {
        return Answer::One(Result1::Error(reply.err));
    }
    match op {
        Op::Create { op: opcode::CREATE, .. } => Answer::One(Result1::Path(reply.path())),
        Op::Create { .. } => {
            let (path, stat) = reply.path_stat();
            Answer::One(Result1::PathStat(path, stat))
        }
        Op::SetData { .. } | Op::SetAcl { .. } | Op::Exists { .. } => Answer::One(Result1::Stat(reply.stat())),
        Op::AddWatch { .. } => {
            assert_eq!(reply.body, [0; 4]);
            Answer::One(Result1::Done(op.code()))
        }
        Op::Delete { .. } | Op::Watches { .. } | Op::Close => {
            assert!(reply.body.is_empty());
            Answer::One(Result1::Done(op.code()))
        }
        Op::GetData { .. } => {
            let (data, stat) = reply.data();
            Answer::One(Result1::Data(data, stat))
        }
        Op::Children { op: opcode::GET_CHILDREN, .. } => Answer::One(Result1::Children(reply.children())),
        Op::Children { .. } => {
            let (names, stat) = reply.children_stat();
            Answer::ChildrenStat(names, stat)
        }
        Op::GetAcl { .. } => {
            let (acl, stat) = reply.acl();
            Answer::Acl(acl, stat)
        }
        Op::Sync { .. } => Answer::Echo(String::from_utf8(reply.body[4..].to_vec()).unwrap()),
        Op::Multi(_) | Op::MultiRead(_) => Answer::Many(reply.results()),
        Op::Check { .. } | Op::Bad { .. } => panic!("{op:?} succeeded"),
    }
}

fn play(seed: u64) -> (usize, usize, usize) {
    let mut world = World::new(seed);
    for _ in 0..3 {
        world.connect();
    }
    for _ in 0..70 {
        world = world.step();
    }
    world.finish()
}

#[test]
fn every_seed_agrees_with_the_model() {
    let (mut writes, mut reads, mut events) = (0, 0, 0);
    // For a longer search: RINGKEEPER_SEEDS=from-to.
    let range = std::env::var("RINGKEEPER_SEEDS").ok();
    let range = range.as_deref().and_then(|range| range.split_once('-')).map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
    let (from, to) = range.unwrap_or((1, SEEDS));
    for seed in from..=to {
        let result = std::panic::catch_unwind(|| play(seed));
        let (w, r, e) = result.unwrap_or_else(|_| panic!("seed {seed} fails"));
        (writes, reads, events) = (writes + w, reads + r, events + e);
    }
    // A driver that reaches nothing proves nothing.
    assert!(writes > 10_000 && reads > 5000 && events > 500, "{writes} writes, {reads} reads, {events} events");
}

#[test]
fn equal_seeds_play_equally() {
    assert_eq!(play(77), play(77));
}
