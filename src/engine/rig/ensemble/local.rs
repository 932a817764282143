//! Local sessions in an ensemble: what they may do without a transaction, and how they become everybody's.

use super::*;
use crate::engine::rig::ask::Result1;
use crate::engine::sequencer::LocalKnobs;
use crate::proto::opcode::PING;

const EXPIRED: i32 = -112;
const EPHEMERAL_ON_LOCAL: i32 = -120;

impl Ensemble {
    /// As [`Ensemble::new`]; those that are named keep local sessions.
    fn with_locals(count: u8, observers: u8, shards: usize, upgrades: bool, named: &[usize]) -> Self {
        let mut all = Self::new(count, observers, shards);
        for &i in named {
            let server = ServerId(u8::try_from(i + 1).unwrap());
            let knobs = LocalKnobs { server, upgrades, tick_ms: crate::engine::rig::TICK_MS, seeds: [1, 2, 3, 4] };
            all.rigs[i].sequencer.keep_local_sessions(knobs);
        }
        all
    }

    /// What the leader has delivered.
    fn zxid(&self) -> Zxid {
        self.rigs[self.leader()].sequencer.delivered()
    }

    /// How many transactions something takes, with one leader all the while.
    fn cost_of<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> (u32, T) {
        let before = self.zxid();
        let result = what(self);
        (self.zxid().counter() - before.counter(), result)
    }

    fn is_there(&mut self, at: usize, c: C, path: &str) -> bool {
        self.call(at, c, SYNC, &ask::path("/")).path();
        self.call(at, c, EXISTS, &ask::path_watch(path, false)).err == 0
    }
}

/// With each kind of server that clients meet: three that vote and one that observes, all with local sessions.
fn at_each(upgrades: bool, test: impl Fn(&mut Ensemble, usize)) {
    for shards in [1, 3] {
        for nth in 0..4 {
            let mut all = Ensemble::with_locals(4, 1, shards, upgrades, &[0, 1, 2, 3]);
            test(&mut all, nth);
            all.run();
            all.agree();
        }
    }
}

#[test]
fn a_local_session_opens_reads_writes_and_closes_and_only_the_write_is_a_transaction() {
    at_each(true, |all, at| {
        let (cost, c) = all.cost_of(|all| all.connect(at));
        assert_eq!(cost, 0, "nobody else is told of the session");
        assert_eq!(all.rigs[at].session(c).0 >> 56, at as i64 + 1);
        let (cost, made) = all.cost_of(|all| all.call(at, c, CREATE, &ask::create("/p", "", 0)));
        assert_eq!((cost, made.path().as_str()), (1, "/p"));
        let (cost, ()) = all.cost_of(|all| {
            let multi = [(CREATE, ask::create("/q", "", 2)), (SET_DATA, ask::set_data("/p", "x", 0))];
            assert_eq!(all.call(at, c, MULTI, &ask::multi(&multi)).results().len(), 2);
            assert_eq!(all.call(at, c, EXISTS, &ask::path_watch("/p", false)).err, 0);
        });
        assert_eq!(cost, 1);
        let (cost, closed) = all.cost_of(|all| all.call(at, c, CLOSE_SESSION, &[]));
        assert_eq!((cost, closed.err), (0, 0));
        assert!(!all.rigs[at].is_open(c) && all.attach(at, (at, c)).is_none());
    });
}

#[test]
fn a_farewell_is_answered_behind_what_was_asked_before_it() {
    at_each(true, |all, at| {
        let c = all.connect(at);
        let asked = [
            all.rigs[at].send(c, CREATE, &ask::create("/a", "", 0)),
            all.rigs[at].send(c, SYNC, &ask::path("/")),
            all.rigs[at].send(c, DELETE, &ask::path_version("/none", -1)),
            all.rigs[at].send(c, SYNC, &ask::path("/")),
            all.rigs[at].send(c, CLOSE_SESSION, &[]),
        ];
        all.run();
        let replies = all.rigs[at].frames(c).into_iter().map(|frame| match frame {
            Frame::Reply(reply) => (reply.xid, reply.err),
            other => panic!("a reply is awaited, not {other:?}"),
        });
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies, asked.into_iter().zip([0, 0, -101, 0, 0]).collect::<Vec<_>>());
        assert!(!all.rigs[at].is_open(c));
    });
}

#[test]
fn the_first_ephemeral_makes_a_session_everybodys() {
    at_each(true, |all, at| {
        let c = all.connect(at);
        let session = all.rigs[at].session(c);
        let (cost, made) = all.cost_of(|all| all.call(at, c, CREATE2, &ask::create("/e", "", 1)));
        assert_eq!((cost, made.path_stat().1.ephemeral_owner), (2, session.0), "the session's transaction comes first");
        let (cost, _) = all.cost_of(|all| all.call(at, c, CREATE2, &ask::create("/f", "", 3)).path_stat());
        assert_eq!(cost, 1, "it is told once");
        for rig in &all.rigs {
            assert!(rig.sequencer.sessions().any(|known| known == (session, 10_000)));
        }
        let elsewhere = (at + 1) % 4;
        let moved = all.attach(elsewhere, (at, c)).expect("everybody knows it");
        assert_eq!(all.call(elsewhere, moved, CREATE, &ask::create("/g", "", 1)).path(), "/g");
        let (cost, _) = all.cost_of(|all| all.call(elsewhere, moved, CLOSE_SESSION, &[]));
        assert_eq!(cost, 1);
        let d = all.connect(at);
        assert!(!all.is_there(at, d, "/e") && !all.is_there(at, d, "/g"));
    });
}

#[test]
fn an_ephemeral_inside_a_multi_counts_and_what_is_pipelined_keeps_its_order() {
    at_each(true, |all, at| {
        let c = all.connect(at);
        let multi = [(CREATE, ask::create("/p", "", 0)), (CREATE2, ask::create("/p2", "", 1))];
        let before = all.zxid();
        let asked = [
            all.rigs[at].send(c, CREATE, &ask::create("/first", "", 0)),
            all.rigs[at].send(c, MULTI, &ask::multi(&multi)),
            all.rigs[at].send(c, CREATE, &ask::create("/third", "", 1)),
            all.rigs[at].send(c, CLOSE_SESSION, &[]),
        ];
        all.run();
        assert_eq!(all.zxid().counter() - before.counter(), 5);
        for xid in asked {
            assert_eq!(all.rigs[at].take_reply(c, xid).err, 0);
        }
        let d = all.connect(at);
        assert!(all.is_there(at, d, "/p") && !all.is_there(at, d, "/p2") && !all.is_there(at, d, "/third"));
    });
}

#[test]
fn an_upgraded_session_that_is_not_heard_of_expires_with_its_ephemerals() {
    at_each(true, |all, at| {
        let c = all.connect(at);
        all.call(at, c, CREATE, &ask::create("/e", "", 1)).path();
        for _ in 0..5 {
            all.advance(4000);
            all.call(at, c, EXISTS, &ask::path_watch("/", false));
        }
        let d = all.connect(at);
        assert!(all.is_there(at, d, "/e"), "its server tells the leader that it was heard of");
        all.rigs[at].hang_up(c);
        all.advance(14_000);
        let d = all.connect(at);
        assert!(!all.is_there(at, d, "/e"));
    });
}

#[test]
fn without_upgrading_ephemerals_are_refused_as_zookeeper_refuses_them() {
    at_each(false, |all, at| {
        let c = all.connect(at);
        let (cost, refused) = all.cost_of(|all| all.call(at, c, CREATE, &ask::create("/none/e", "", 1)));
        assert_eq!((cost, refused.err), (1, EPHEMERAL_ON_LOCAL), "before its path is looked at");
        let multi = [(CREATE, ask::create("/p", "", 0)), (CREATE, ask::create("/e", "", 1))];
        let results = all.call(at, c, MULTI, &ask::multi(&multi)).results();
        // A leader that does not know the session takes it for one that is over.
        let code = if at == all.leader() { EPHEMERAL_ON_LOCAL } else { EXPIRED };
        assert_eq!(results, [Result1::Error(0), Result1::Error(code)]);
        assert_eq!(all.call(at, c, CREATE, &ask::create("/p", "", 0)).path(), "/p", "the session goes on");
        assert_eq!(all.call(at, c, CREATE, &ask::create("/p", "", 0)).err, -110, "other refusals are the leader's own");
    });
}

#[test]
fn a_local_session_comes_back_to_its_server_and_to_no_other() {
    at_each(true, |all, at| {
        let c = all.connect(at);
        for other in (0..4).filter(|other| *other != at) {
            assert!(all.attach(other, (at, c)).is_none());
        }
        assert!(all.rigs[at].is_open(c), "nobody here was asked");
        let (cost, again) = all.cost_of(|all| all.attach(at, (at, c)).expect("it is known here"));
        assert_eq!(cost, 0);
        assert!(!all.rigs[at].is_open(c), "it has a new connection");
        assert_eq!(all.call(at, again, CREATE, &ask::create("/p", "", 0)).path(), "/p");
        let session = all.rigs[at].session(c);
        let wrong = all.rigs[at].begin(at, session, &[9; 16], 0, 10_000);
        all.run();
        assert!(!all.rigs[at].is_open(wrong) && !all.rigs[at].is_open(again));
        let third = all.attach(at, (at, c)).expect("the session itself is untouched");
        assert_eq!(all.call(at, third, CREATE, &ask::create("/e", "", 1)).path(), "/e");
    });
}

#[test]
fn a_local_session_expires_at_its_server_without_a_transaction() {
    at_each(true, |all, at| {
        let (c, silent) = (all.connect(at), all.connect(at));
        let (cost, ()) = all.cost_of(|all| {
            for _ in 0..5 {
                all.advance(4000);
                all.rigs[at].send(c, PING, &[]);
                all.run();
            }
        });
        assert_eq!(cost, 0);
        assert!(all.rigs[at].is_open(c) && !all.rigs[at].is_open(silent));
        assert!(all.attach(at, (at, silent)).is_none());
        all.rigs[at].frames(c);
        assert_eq!(all.call(at, c, EXISTS, &ask::path_watch("/", false)).err, 0);
    });
}

#[test]
fn local_sessions_end_with_the_leader_and_upgraded_ones_do_not() {
    for leads in [true, false] {
        let mut all = Ensemble::with_locals(3, 0, 2, true, &[0, 1, 2]);
        let old = all.leader();
        let at = if leads { old } else { (old + 1) % 3 };
        let (local, upgraded) = (all.connect(at), all.connect(at));
        all.call(at, upgraded, CREATE, &ask::create("/e", "", 1)).path();
        all.is_cut[old] = true;
        // Under way when the leader is lost: nobody is to know of it afterwards.
        all.rigs[at].send(local, CREATE, &ask::create("/lost", "", 1));
        all.run();
        all.advance(14_000);
        all.is_cut[old] = false;
        all.advance(20_000);
        assert!(!all.rigs[at].is_open(local) && !all.rigs[at].is_open(upgraded));
        let d = all.connect(at);
        assert!(!all.is_there(at, d, "/lost"));
        assert!(all.attach(at, (at, local)).is_none());
        all.agree();
        let fresh = all.connect(at);
        assert_eq!(all.call(at, fresh, CREATE, &ask::create("/new", "", 1)).path(), "/new");
    }
}

#[test]
fn a_leader_without_local_sessions_refuses_those_of_others() {
    let mut all = Ensemble::new(3, 0, 1);
    let at = (all.leader() + 1) % 3;
    let server = ServerId(u8::try_from(at + 1).unwrap());
    let knobs = LocalKnobs { server, upgrades: true, tick_ms: crate::engine::rig::TICK_MS, seeds: [1, 2, 3, 4] };
    all.rigs[at].sequencer.keep_local_sessions(knobs);
    let c = all.connect(at);
    assert_eq!(all.call(at, c, CREATE, &ask::create("/p", "", 0)).err, EXPIRED);
    assert_eq!(all.call(at, c, CREATE, &ask::create("/e", "", 1)).path(), "/e", "the leader is told of it first");
    assert_eq!(all.call(at, c, CREATE, &ask::create("/p", "", 0)).path(), "/p");
}
