//! Ensemble: several rigs whose sequencers agree over links in memory. Clients speak real bytes at each of them.

mod local;

use std::collections::{BTreeMap, VecDeque};

use super::ask::{self, Frame};
use super::{C, Rig, Setup};
use crate::engine::sequencer::{Ahead, Done, Room};
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::proto::opcode::{
    CHECK, CLOSE_SESSION, CREATE, CREATE_CONTAINER, CREATE2, DELETE, DELETE_CONTAINER, EXISTS, GET_DATA, MULTI, SET_DATA, SYNC,
};
use crate::proto::packet::Packet;
use crate::storage::appender::{Appender, Position};
use crate::tree::quota;
use crate::zab::{Found, In, Link, Members, Out, Role, Times, Write};

const TIMES: Times =
    Times { tick: 2000, init_limit: 10, sync_limit: 5, notification_min: 200, notification_max: 60_000, finalize_wait: 200 };

/// Where a link's packets wait, one way.
type Lane = VecDeque<In>;

/// The servers and what is under way between them.
struct Ensemble {
    rigs: Vec<Rig>,
    /// Learner's end, leader's end.
    links: BTreeMap<Link, (usize, usize)>,
    mail: BTreeMap<(usize, Link), Lane>,
    notes: VecDeque<(usize, In)>,
    next_link: u64,
    /// Cut off from all others.
    is_cut: Vec<bool>,
}

fn found() -> Found {
    Found { accepted: 0, current: 0, base: Zxid::ZERO, ends: Vec::new(), delivered: Zxid::ZERO, is_impaired: false, is_new: None }
}

impl Ensemble {
    /// So many servers with so many shards each; the last `observers` of them have no vote.
    fn new(count: u8, observers: u8, shards: usize) -> Self {
        Self::of(count, observers, Setup::of(shards))
    }

    fn of(count: u8, observers: u8, setup: Setup) -> Self {
        let id = |i: u8| ServerId(i + 1);
        let voters: Vec<_> = (0..count - observers).map(id).collect();
        let members = Members {
            voters,
            observers: (count - observers..count).map(id).collect(),
            text: b"version=0".as_slice().into(),
            version: 0,
        };
        let make = |i: u8| {
            let setup = Setup { is_member: true, server: i + 1, ..setup.clone() };
            let mut rig = Rig::with(setup.clone());
            let standalone = std::mem::replace(&mut rig.sequencer, Rig::with(setup).sequencer);
            rig.sequencer = standalone.join(id(i), members.clone(), TIMES, found(), Vec::new(), rig.now);
            rig
        };
        let mut this = Self {
            rigs: (0..count).map(make).collect(),
            links: BTreeMap::new(),
            mail: BTreeMap::new(),
            notes: VecDeque::new(),
            next_link: 1,
            is_cut: vec![false; usize::from(count)],
        };
        this.advance(2000);
        this
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        !self.is_cut[a] && !self.is_cut[b]
    }

    fn route(&mut self, from: usize, out: Out) {
        let index = |server: ServerId| usize::from(server.0) - 1;
        match out {
            Out::Notify { to, notification } => {
                let sender = ServerId(u8::try_from(from + 1).unwrap());
                self.notes.push_back((index(to), In::Notification { from: sender, notification }));
                if !self.reaches(from, index(to)) {
                    self.notes.pop_back();
                }
            }
            Out::Connect { leader } if self.reaches(from, index(leader)) => {
                let link = Link(self.next_link);
                self.next_link += 1;
                self.links.insert(link, (from, index(leader)));
                self.mail.entry((index(leader), link)).or_default().push_back(In::Accepted { link });
                self.mail.entry((from, link)).or_default().push_back(In::Connected { leader, link });
            }
            Out::Connect { leader } => self.notes.push_back((from, In::Unreachable { leader })),
            Out::HangUp { link, .. } => {
                if let Some((learner, leader)) = self.links.remove(&link) {
                    let other = if learner == from { leader } else { learner };
                    self.mail.remove(&(from, link));
                    self.mail.entry((other, link)).or_default().push_back(In::LinkDown { link });
                }
            }
            Out::Send { link, packet } => {
                if let Some(&(learner, leader)) = self.links.get(&link) {
                    let other = if learner == from { leader } else { learner };
                    self.mail.entry((other, link)).or_default().push_back(In::Packet { link, packet });
                }
            }
            Out::Read { .. } | Out::SendState { .. } | Out::Fold { .. } | Out::Finish { .. } => {
                panic!("all of the history is in memory")
            }
            _ => unreachable!("the engine does that itself"),
        }
    }

    /// Carries out what server `i` wants done.
    fn work(&mut self, i: usize) -> bool {
        let rig = &mut self.rigs[i];
        rig.run();
        let mut any = false;
        while let Some((token, write)) = rig.sequencer.task() {
            let done = match write {
                Write::Cut { to } => {
                    let at = *rig.sequencer.log_position();
                    Done::Cut(Appender::new(Position { last: to, marked: at.marked.min(to), ..at }, Zxid::ZERO))
                }
                _ => Done::Plain,
            };
            rig.sequencer.task_done(token, done, rig.now);
            rig.run();
            any = true;
        }
        assert_eq!(rig.sequencer.fault(), None);
        for out in rig.sequencer.effects() {
            any = true;
            self.route(i, out);
        }
        any
    }

    /// Turns until nothing moves. Packets that wait together come as trains.
    fn run(&mut self) {
        loop {
            let mut progress = false;
            for i in 0..self.rigs.len() {
                progress |= self.work(i);
            }
            while let Some((to, input)) = self.notes.pop_front() {
                progress = true;
                let rig = &mut self.rigs[to];
                rig.sequencer.step(input, rig.now);
            }
            for ((to, link), lane) in std::mem::take(&mut self.mail) {
                let cut = self.links.get(&link).is_some_and(|&(learner, leader)| !self.reaches(learner, leader));
                if cut {
                    continue;
                }
                progress = true;
                let rig = &mut self.rigs[to];
                let mut packets = Vec::new();
                for input in lane {
                    match input {
                        In::Packet { packet, .. } if !matches!(packet, Packet::Snap { .. }) => packets.push(packet),
                        other => {
                            if !packets.is_empty() {
                                let packets = std::mem::take(&mut packets);
                                rig.sequencer.step(In::Train { link, packets }, rig.now);
                            }
                            rig.sequencer.step(other, rig.now);
                        }
                    }
                }
                if !packets.is_empty() {
                    rig.sequencer.step(In::Train { link, packets }, rig.now);
                }
            }
            if !progress {
                break;
            }
        }
    }

    fn advance(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            for rig in &mut self.rigs {
                rig.now.micros += 50_000;
                rig.now.wall.0 += 50;
                if rig.sequencer.deadline().is_some_and(|at| at <= rig.now.mono()) {
                    rig.sequencer.step(In::Time, rig.now);
                }
            }
            self.run();
        }
    }

    fn leader(&self) -> usize {
        let leads = |rig: &Rig| matches!(rig.sequencer.role(), Some(Role::Leading { .. }));
        self.rigs.iter().position(leads).expect("somebody leads")
    }

    fn serving(&self) -> usize {
        self.rigs.iter().filter(|rig| rig.sequencer.role().is_some_and(Role::serves)).count()
    }

    /// A session opened at a server.
    fn connect(&mut self, at: usize) -> C {
        let c = self.rigs[at].begin(at, SessionId::NONE, &[0; 16], 0, 10_000);
        self.run();
        assert_ne!(self.rigs[at].session(c), SessionId::NONE, "a session was opened at {at}");
        self.rigs[at].frames(c);
        c
    }

    /// A session of another server's comes here.
    fn attach(&mut self, at: usize, from: (usize, C)) -> Option<C> {
        let (session, password) = (self.rigs[from.0].session(from.1), self.rigs[from.0].pipes[from.1].password);
        let c = self.rigs[at].begin(at, session, &password, 0, 10_000);
        self.run();
        (self.rigs[at].session(c) == session).then_some(c)
    }

    fn call(&mut self, at: usize, c: C, op: i32, body: &[u8]) -> ask::Reply {
        let xid = self.rigs[at].send(c, op, body);
        self.run();
        self.rigs[at].take_reply(c, xid)
    }

    /// Every server that serves has the same tree.
    fn agree(&self) {
        let digests: Vec<_> = self.rigs.iter().map(|rig| rig.sequencer.digest()).collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    }
}

fn on_each(test: impl Fn(&mut Ensemble)) {
    for shards in [1, 3] {
        let mut ensemble = Ensemble::new(3, 0, shards);
        test(&mut ensemble);
        ensemble.run();
    }
}

#[test]
fn what_is_written_at_one_server_is_read_and_watched_at_the_others() {
    on_each(|all| {
        assert_eq!(all.serving(), 3);
        let clients: Vec<C> = (0..3).map(|i| all.connect(i)).collect();
        for (i, &c) in clients.iter().enumerate() {
            let path = format!("/of{i}");
            let xid = all.rigs[(i + 1) % 3].send(clients[(i + 1) % 3], EXISTS, &ask::path_watch(&path, true));
            all.run();
            assert_eq!(all.rigs[(i + 1) % 3].take_reply(clients[(i + 1) % 3], xid).err, -101);
            assert_eq!(all.call(i, c, CREATE2, &ask::create(&path, "x", 0)).path_stat().0, path);
            let next = (i + 1) % 3;
            assert_eq!(all.rigs[next].events(clients[next]), [format!("created {path}")]);
            assert_eq!(all.call(next, clients[next], SYNC, &ask::path("/")).path(), "/");
            assert_eq!(all.call(next, clients[next], EXISTS, &ask::path_watch(&path, false)).err, 0);
            assert_eq!(all.call(next, clients[next], CREATE, &ask::create(&path, "x", 0)).err, -110, "refused by the leader");
        }
        all.agree();
    });
}

#[test]
fn only_the_leader_takes_away_what_goes_by_itself() {
    on_each(|all| {
        for at in 0..3 {
            let c = all.connect(at);
            let path = format!("/c{at}");
            assert_eq!(all.call(at, c, CREATE_CONTAINER, &ask::create(&path, "", 4)).path_stat().0, path);
            let child = format!("{path}/x");
            let both = [(CREATE, ask::create(&child, "", 0)), (DELETE, ask::path_version(&child, -1))];
            assert_eq!(all.call(at, c, MULTI, &ask::multi(&both)).results().len(), 2);
        }
        let before = all.rigs[all.leader()].log.headers(Zxid::ZERO).len();
        all.advance(61_000);
        all.agree();
        let headers = all.rigs[all.leader()].log.headers(Zxid::ZERO);
        assert_eq!(headers[before..].iter().filter(|header| header.kind == DELETE_CONTAINER).count(), 3);
        for at in 0..3 {
            let c = all.connect(at);
            assert_eq!(all.call(at, c, EXISTS, &ask::path_watch(&format!("/c{at}"), false)).err, -101);
        }
    });
}

#[test]
fn quotas_are_kept_by_everybody_and_enforced_by_the_leader() {
    on_each(|all| {
        let clients: Vec<C> = (0..3).map(|at| all.connect(at)).collect();
        let (limits, stats) = (quota::limits_path("/q"), quota::stats_path("/q"));
        for (path, data) in [("/q", ""), ("/zookeeper/quota/q", ""), (&limits, "countHardLimit=3"), (&stats, "")] {
            all.call(0, clients[0], CREATE, &ask::create(path, data, 0)).path();
        }
        for (at, path, err) in [(0, "/q/a", 0), (1, "/q/b", 0), (2, "/q/c", -125), (0, "/q/d", -125)] {
            assert_eq!(all.call(at, clients[at], CREATE, &ask::create(path, "x", 0)).err, err, "{path} at {at}");
        }
        for (at, &c) in clients.iter().enumerate() {
            all.call(at, c, SYNC, &ask::path("/")).path();
            let (data, stat) = all.call(at, c, GET_DATA, &ask::path_watch(&stats, false)).data();
            assert_eq!((data.as_deref(), stat.version), (Some(&b"count=3,bytes=2"[..]), 0), "at {at}");
        }
        all.agree();
    });
}

#[test]
fn requests_of_one_client_are_answered_in_their_order_at_a_learner() {
    on_each(|all| {
        let at = (all.leader() + 1) % 3;
        let c = all.connect(at);
        let mut xids = Vec::new();
        for i in 0..20 {
            xids.push(all.rigs[at].send(c, CREATE, &ask::create(&format!("/n{i}"), "", 0)));
            xids.push(all.rigs[at].send(c, SYNC, &ask::path("/")));
            xids.push(all.rigs[at].send(c, EXISTS, &ask::path_watch(&format!("/n{i}"), false)));
            xids.push(all.rigs[at].send(c, DELETE, &ask::path_version(&format!("/n{i}"), -1)));
        }
        all.run();
        let replies = all.rigs[at].frames(c).into_iter().map(|frame| match frame {
            Frame::Reply(reply) => (reply.xid, reply.err),
            other => panic!("a reply is awaited, not {other:?}"),
        });
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies, xids.into_iter().map(|xid| (xid, 0)).collect::<Vec<_>>());
        all.agree();
    });
}

#[test]
fn a_multi_is_answered_member_by_member_at_a_learner() {
    on_each(|all| {
        let at = (all.leader() + 1) % 3;
        let c = all.connect(at);
        let good =
            [(CREATE2, ask::create("/m", "1", 0)), (SET_DATA, ask::set_data("/m", "2", 0)), (CHECK, ask::path_version("/m", 1))];
        let bad = [
            (SET_DATA, ask::set_data("/m", "3", 1)),
            (DELETE, ask::path_version("/none", -1)),
            (DELETE, ask::path_version("/m", -1)),
        ];
        let leader = all.leader();
        let l = all.connect(leader);
        let done = all.call(at, c, MULTI, &ask::multi(&good)).results();
        assert!(matches!(done[..], [ask::Result1::PathStat(..), ask::Result1::Stat(_), ask::Result1::Done(CHECK)]));
        let refused = all.call(at, c, MULTI, &ask::multi(&bad)).results();
        assert_eq!(all.call(leader, l, MULTI, &ask::multi(&bad)).results(), refused, "as its leader's own clients are answered");
        all.agree();
    });
}

#[test]
fn a_session_moves_between_servers_and_its_ephemerals_with_it() {
    on_each(|all| {
        let c = all.connect(0);
        all.call(0, c, CREATE, &ask::create("/e", "", 1)).path();
        let second = all.attach(1, (0, c)).expect("it lives");
        assert_eq!(all.call(1, second, CREATE, &ask::create("/f", "", 1)).path(), "/f");
        let third = all.attach(2, (1, second)).expect("it lives");
        let owner = all.call(2, third, EXISTS, &ask::path_watch("/f", false)).stat().ephemeral_owner;
        assert_eq!(owner, all.rigs[0].session(c).0);
        let session = all.rigs[0].session(c);
        let wrong = all.rigs[0].begin(0, session, &[9; 16], 0, 10_000);
        all.run();
        assert!(!all.rigs[0].is_open(wrong));
        // Nobody speaks for it any more.
        all.rigs[2].hang_up(third);
        all.advance(20_000);
        let d = all.connect(1);
        assert_eq!(all.call(1, d, EXISTS, &ask::path_watch("/e", false)).err, -101, "the leader has let it expire");
        assert!(all.attach(0, (2, third)).is_none());
        all.agree();
    });
}

#[test]
fn sessions_of_learners_live_while_their_clients_speak() {
    on_each(|all| {
        let clients: Vec<C> = (0..3).map(|i| all.connect(i)).collect();
        for (i, &c) in clients.iter().enumerate() {
            all.call(i, c, CREATE, &ask::create(&format!("/e{i}"), "", 1)).path();
        }
        for _ in 0..10 {
            for (i, &c) in clients.iter().enumerate() {
                all.call(i, c, EXISTS, &ask::path_watch("/", false));
            }
            all.advance(3000);
        }
        for (i, &c) in clients.iter().enumerate() {
            assert_eq!(all.call(i, c, EXISTS, &ask::path_watch(&format!("/e{i}"), false)).err, 0);
        }
    });
}

#[test]
fn a_leader_that_is_cut_off_gives_up_and_comes_back() {
    on_each(|all| {
        let old = all.leader();
        let (c, next) = (all.connect(old), (old + 1) % 3);
        let d = all.connect(next);
        all.call(old, c, CREATE, &ask::create("/kept", "", 1)).path();
        all.is_cut[old] = true;
        // Logged here, agreed on by nobody, and in part still being gathered.
        for i in 0..5 {
            all.rigs[old].send(c, CREATE, &ask::create(&format!("/lost{i}"), "", 0));
            all.run();
        }
        let fresh = all.rigs[old].begin(old, SessionId::NONE, &[0; 16], 0, 10_000);
        all.advance(20_000);
        assert!(!all.rigs[old].is_open(c) && !all.rigs[old].is_open(fresh) && !all.rigs[next].is_open(d));
        assert_eq!(all.rigs[old].frames(c), []);
        assert_ne!(all.leader(), old);
        let back = all.attach(next, (next, d)).expect("it had its full time again");
        assert_eq!(all.call(next, back, CREATE, &ask::create("/new", "", 0)).path(), "/new");
        all.is_cut[old] = false;
        all.advance(20_000);
        assert_eq!(all.serving(), 3);
        all.agree();
        let again = all.connect(old);
        assert_eq!(all.call(old, again, EXISTS, &ask::path_watch("/lost0", false)).err, -101);
        assert_eq!(all.call(old, again, EXISTS, &ask::path_watch("/new", false)).err, 0);
        let moved = all.attach(old, (old, c));
        assert!(moved.is_some() || all.call(old, again, EXISTS, &ask::path_watch("/kept", false)).err == -101);
    });
}

#[test]
fn a_server_that_is_cut_off_serves_those_who_only_read() {
    let mut all = Ensemble::new(3, 0, 2);
    let alone = (all.leader() + 1) % 3;
    let c = all.connect(alone);
    all.call(alone, c, CREATE, &ask::create("/n", "x", 0)).path();
    for rig in &mut all.rigs {
        rig.sequencer.serve_read_only(2000);
    }
    all.is_cut[alone] = true;
    all.advance(20_000);
    assert!(!all.rigs[alone].is_open(c));
    let wants_all = all.rigs[alone].begin(0, SessionId::NONE, &[0; 16], 0, 10_000);
    all.run();
    assert!(!all.rigs[alone].is_open(wants_all), "it says that it wants to write");
    let (session, password) = (all.rigs[alone].session(c), all.rigs[alone].pipes[c].password);
    for (session, password) in [(SessionId::NONE, [0; 16]), (session, password)] {
        let reads = all.rigs[alone].open(1);
        let first = ask::connect(session, &password, 0, 10_000, Some(true));
        all.rigs[alone].pipes[reads].to_server.extend(first);
        all.run();
        let greeted = all.rigs[alone].frames(reads);
        assert!(matches!(&greeted[..], [Frame::Connected(response)] if response.read_only == Some(true)), "{greeted:?}");
        assert_eq!(all.call(alone, reads, EXISTS, &ask::path_watch("/n", false)).err, 0);
        assert_eq!(all.call(alone, reads, DELETE, &ask::path_version("/n", -1)).err, -119);
        assert_eq!(all.call(alone, reads, SYNC, &ask::path("/n")).err, -119);
        assert_eq!(all.call(alone, reads, CLOSE_SESSION, &[]).err, 0);
        assert!(!all.rigs[alone].is_open(reads));
    }
    let stays = all.rigs[alone].open(1);
    let first = ask::connect(SessionId::NONE, &[0; 16], 0, 10_000, Some(true));
    all.rigs[alone].pipes[stays].to_server.extend(first);
    all.is_cut[alone] = false;
    all.advance(20_000);
    assert!(!all.rigs[alone].is_open(stays), "it can have more elsewhere, and now here");
    assert_eq!(all.serving(), 3);
    let d = all.connect(alone);
    assert_eq!(all.call(alone, d, EXISTS, &ask::path_watch("/n", false)).err, 0);
}

#[test]
fn a_leader_that_leaves_hands_over() {
    on_each(|all| {
        let old = all.leader();
        let c = all.connect(old);
        all.rigs[old].send(c, CREATE, &ask::create("/last", "", 0));
        all.run();
        let now = all.rigs[old].now;
        all.rigs[old].sequencer.leave(now);
        all.advance(200);
        let new = all.leader();
        assert_ne!(new, old);
        assert!(!all.rigs[old].is_open(c));
        let d = all.connect(new);
        assert_eq!(all.call(new, d, EXISTS, &ask::path_watch("/last", false)).err, 0);
    });
}

/// What follows the segment in use at a server, and what that leads to.
fn room(all: &mut Ensemble, at: usize, ahead: Ahead) -> Option<Room> {
    let rig = &mut all.rigs[at];
    rig.sequencer.set_ahead(ahead);
    rig.sequencer.heed_room(rig.now)
}

#[test]
fn without_room_for_its_log_a_server_makes_way_until_there_is_some() {
    for shards in [1, 3] {
        for leads in [true, false] {
            let mut all = Ensemble::of(3, 0, Setup { segment: 16 << 20, ..Setup::of(shards) });
            let first = all.leader();
            let full = if leads { first } else { (first + 1) % 3 };
            let c = all.connect(full);
            assert_eq!(room(&mut all, full, Ahead::Nothing), None, "there is room left");
            let data = "d".repeat(900_000);
            for i in 0..10 {
                assert_eq!(all.call(full, c, CREATE, &ask::create(&format!("/n{i}"), &data, 0)).err, 0);
            }
            // Under way when it is known that there is no room: whether it is done or not, it is everywhere the same.
            all.rigs[full].send(c, CREATE, &ask::create("/under-way", "", 0));
            assert_eq!(room(&mut all, full, Ahead::InTheMaking), None);
            assert_eq!(room(&mut all, full, Ahead::Nothing), Some(Room::Gone));
            assert_eq!(room(&mut all, full, Ahead::Nothing), None, "it is told once");
            all.advance(1000);
            assert!(!all.rigs[full].is_open(c), "it serves nobody");
            assert_eq!((all.rigs[full].sequencer.role(), all.serving()), (Some(Role::Looking), 2));
            assert_eq!(all.leader() == first, !leads);
            let other = all.leader();
            let d = all.connect(other);
            assert_eq!(all.call(other, d, CREATE, &ask::create("/meanwhile", "", 0)).err, 0);
            all.advance(30_000);
            assert_eq!(all.serving(), 2, "it does not come back by itself");
            assert_eq!(room(&mut all, full, Ahead::Ready), Some(Room::Back));
            assert_eq!(room(&mut all, full, Ahead::Ready), None);
            all.advance(20_000);
            assert_eq!(all.serving(), 3);
            all.agree();
            let e = all.connect(full);
            for path in ["/n9", "/meanwhile"] {
                assert_eq!(all.call(full, e, EXISTS, &ask::path_watch(path, false)).err, 0);
            }
            assert_eq!(all.call(full, e, CREATE, &ask::create("/after", "", 0)).err, 0);
        }
    }
}

#[test]
fn whoever_stops_without_room_does_not_come_back() {
    let mut all = Ensemble::of(3, 0, Setup { segment: 16 << 20, ..Setup::of(1) });
    let full = (all.leader() + 1) % 3;
    let c = all.connect(full);
    let data = "d".repeat(900_000);
    for i in 0..10 {
        assert_eq!(all.call(full, c, CREATE, &ask::create(&format!("/n{i}"), &data, 0)).err, 0);
    }
    assert_eq!(room(&mut all, full, Ahead::Nothing), Some(Room::Gone));
    let now = all.rigs[full].now;
    all.rigs[full].sequencer.leave(now);
    assert_eq!(room(&mut all, full, Ahead::Ready), None);
    all.advance(20_000);
    assert!(all.rigs[full].sequencer.has_left() && all.serving() == 2);
}

#[test]
fn the_only_one_with_a_vote_declines_writes_and_stays() {
    let mut all = Ensemble::of(2, 1, Setup { segment: 16 << 20, ..Setup::of(1) });
    let c = all.connect(0);
    let data = "d".repeat(900_000);
    for i in 0..10 {
        assert_eq!(all.call(0, c, CREATE, &ask::create(&format!("/n{i}"), &data, 0)).err, 0);
    }
    assert_eq!(room(&mut all, 0, Ahead::Nothing), None);
    assert!(all.rigs[0].sequencer.declines_alone());
    assert_eq!(all.call(0, c, CREATE, &ask::create("/no", "", 0)).err, -1);
    assert_eq!(all.call(0, c, EXISTS, &ask::path_watch("/n0", false)).err, 0);
    assert_eq!(room(&mut all, 1, Ahead::Nothing), Some(Room::Gone), "an observer leaves");
    assert_eq!(room(&mut all, 0, Ahead::Ready), None);
    assert_eq!(all.call(0, c, CREATE, &ask::create("/yes", "", 0)).err, 0);
}

#[test]
fn an_observer_serves_and_is_not_asked() {
    let mut all = Ensemble::new(4, 1, 2);
    assert_eq!(all.serving(), 4);
    assert!(matches!(all.rigs[3].sequencer.role(), Some(Role::Observing { .. })));
    let c = all.connect(3);
    assert_eq!(all.call(3, c, CREATE, &ask::create("/o", "", 1)).path(), "/o");
    assert_eq!(all.call(3, c, SYNC, &ask::path("/")).path(), "/");
    all.is_cut[3] = true;
    let leader = all.leader();
    let d = all.connect(leader);
    assert_eq!(all.call(leader, d, CREATE, &ask::create("/p", "", 0)).path(), "/p");
    all.agree_but(3);
}

impl Ensemble {
    fn agree_but(&self, one: usize) {
        let digests: Vec<_> =
            self.rigs.iter().enumerate().filter(|(i, _)| *i != one).map(|(_, rig)| rig.sequencer.digest()).collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    }
}
