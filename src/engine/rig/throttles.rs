//! Throttles: the operator's limits on requests and sessions, and requests that are too long.

use super::ask::{self, Frame};
use super::{C, Rig, Setup};
use crate::engine::shard::Flow;
use crate::ground::ids::SessionId;
use crate::ground::limits::OVERLONG_TIMES;
use crate::proto::opcode::{CLOSE_SESSION, CREATE, EXISTS, MULTI, PING, SET_DATA, SET_WATCHES};
use crate::session::throttle::{Rules, Weights};

const THROTTLED: i32 = -127;

/// Plays with one shard and with four; what a limit is shared by is the test's affair.
fn on_both(setup: impl Fn(Setup) -> Setup, test: impl Fn(&mut Rig)) {
    for shards in [1, 4] {
        let mut rig = Rig::with(setup(Setup::of(shards)));
        test(&mut rig);
        rig.run();
    }
}

/// xid and error of each reply that came.
fn answers(rig: &mut Rig, c: C) -> Vec<(i32, i32)> {
    let reply = |frame| match frame {
        Frame::Reply(reply) => (reply.xid, reply.err),
        other => panic!("a reply is awaited, not {other:?}"),
    };
    rig.frames(c).into_iter().map(reply).collect()
}

#[test]
fn a_write_that_is_too_long_is_refused_in_its_turn_and_its_session_lives_on() {
    let short = |setup| Setup { frame_max: 3000, ..setup };
    on_both(short, |rig| {
        let c = rig.connect(0);
        rig.create(c, "/p", 0).path_stat();
        let long = "x".repeat(5000);
        rig.hold = true;
        let mut due = Vec::new();
        for (op, body, err) in [
            (SET_DATA, ask::set_data("/p", "a", -1), 0),
            (SET_DATA, ask::set_data("/p", &long, -1), -5),
            (EXISTS, ask::path_watch("/p", false), 0),
            (CREATE, ask::create("/q", &long, 0), -5),
            (MULTI, ask::multi(&[(CREATE, ask::create("/q", &long, 0))]), -5),
            (SET_DATA, ask::set_data("/p", "b", 1), 0),
        ] {
            due.push((rig.send(c, op, &body), err));
        }
        rig.run();
        assert!(rig.frames(c).is_empty(), "a refusal waits for its turn");
        rig.hold = false;
        rig.run();
        assert_eq!(answers(rig, c), due);
        assert_eq!(rig.get(c, "/p", false).data().0.as_deref(), Some(&b"b"[..]));
        assert_eq!(rig.exists(c, "/q", false).err, -101);
    });
}

#[test]
fn a_write_that_is_too_long_may_come_in_pieces() {
    let mut rig = Rig::with(Setup { frame_max: 2000, ..Setup::of(1) });
    let c = rig.connect(0);
    let long = ask::request(1, CREATE, &ask::create("/q", &"x".repeat(3000), 0));
    let next = ask::request(2, EXISTS, &ask::path_watch("/q", false));
    for byte in long.iter().chain(&next) {
        rig.raw(c, &[*byte]);
        rig.run();
    }
    assert_eq!(answers(&mut rig, c), [(1, -5), (2, -101)]);
}

#[test]
fn what_else_is_too_long_ends_its_connection() {
    const FRAME_MAX: usize = 1600;
    let ends = |bytes: &[u8]| {
        let mut rig = Rig::with(Setup { frame_max: FRAME_MAX, ..Setup::of(1) });
        let c = rig.connect(0);
        rig.raw(c, bytes);
        rig.run();
        let is_open = rig.is_open(c);
        // Whoever has said nothing yet has no session that could live on.
        let stranger = rig.open(0);
        rig.raw(stranger, bytes);
        rig.run();
        assert!(!rig.is_open(stranger));
        !is_open
    };
    let long = "x".repeat(3000);
    assert!(ends(&ask::request(1, SET_WATCHES, &ask::set_watches(0, [&[], &[&long], &[]]))));
    assert!(ends(&ask::request(1, EXISTS, &ask::path_watch(&long, false))));
    assert!(ends(&ask::request(1, CLOSE_SESSION, &[0; 2000])));
    assert!(ends(&ask::request(1, 4711, &[0; 2000])));
    let claims = |length: usize| {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&ask::request(1, CREATE, &[])[4..]);
        bytes
    };
    let most = OVERLONG_TIMES * FRAME_MAX;
    assert!(!ends(&claims(FRAME_MAX + 1)) && !ends(&claims(most)));
    for length in [most + 1, i32::MAX as usize, 1 << 31, u32::MAX as usize] {
        assert!(ends(&claims(length)), "{length}");
    }
}

#[test]
fn who_waits_for_answers_is_not_read_while_there_are_too_many_and_all_are_answered() {
    let few = |setup| Setup { flow: Flow { outstanding: 3, ..Flow::default() }, ..setup };
    on_both(few, |rig| {
        let (a, b, idle) = (rig.connect(0), rig.connect(0), rig.connect(0));
        rig.create(a, "/p", 0).path_stat();
        rig.hold = true;
        for c in [a, b] {
            for _ in 0..50 {
                rig.send(c, SET_DATA, &ask::set_data("/p", "x", -1));
            }
        }
        rig.run();
        let left = |rig: &Rig, c: C| rig.pipes[c].to_server.len() + rig.pipes[c].input.len();
        assert!(left(rig, a) > 0 && left(rig, b) > 0, "the rest waits outside");
        assert_eq!(rig.exists(idle, "/p", false).err, 0, "who waits for nothing is served");
        rig.hold = false;
        rig.run();
        for c in [a, b] {
            assert_eq!(answers(rig, c).len(), 50);
        }
    });
}

#[test]
fn what_is_held_back_too_long_is_not_done_and_told_so_in_its_turn() {
    let one = Flow { requests: 1, wait_ms: Some(500), ..Flow::default() };
    on_both(
        |setup| Setup { flow: one, ..setup },
        |rig| {
            let (a, b) = (rig.connect(0), rig.connect(0));
            rig.create(a, "/p", 0).path_stat();
            rig.hold = true;
            let first = rig.send(a, SET_DATA, &ask::set_data("/p", "a", 0));
            rig.run();
            let unread = rig.send(b, SET_DATA, &ask::set_data("/p", "b", -1));
            rig.send(b, PING, &[]);
            let behind = rig.send(a, EXISTS, &ask::path_watch("/p", false));
            rig.run();
            assert!(rig.frames(a).is_empty() && rig.frames(b).is_empty());
            rig.advance(600);
            rig.hold = false;
            rig.run();
            assert_eq!(answers(rig, a), [(first, 0), (behind, THROTTLED)]);
            assert_eq!(answers(rig, b), [(unread, THROTTLED), (-2, 0)]);
            assert_eq!(rig.get(b, "/p", false).data().1.version, 1, "it was not done");
            assert_eq!(rig.set(b, "/p", "c", 1).err, 0, "the next ones are done");
        },
    );
}

#[test]
fn what_is_held_back_longer_than_its_session_lives_ends_its_connection() {
    let one = Flow { requests: 1, drops_stale: true, ..Flow::default() };
    let mut rig = Rig::with(Setup { flow: one, ..Setup::of(1) });
    let a = rig.connect(0);
    rig.create(a, "/p", 0).path_stat();
    let b = rig.connect(0);
    rig.hold = true;
    rig.send(a, SET_DATA, &ask::set_data("/p", "a", 0));
    rig.run();
    rig.send(b, EXISTS, &ask::path_watch("/p", false));
    rig.run();
    rig.advance(10_100);
    assert!(rig.is_open(b));
    rig.hold = false;
    rig.run();
    assert!(!rig.is_open(b) && rig.frames(b).is_empty());
    assert_eq!(answers(&mut rig, a).len(), 1);
}

#[test]
fn large_requests_are_under_way_up_to_a_sum() {
    let large = Flow { large_above: 1000, large_bytes: 10_000, ..Flow::default() };
    on_both(
        |setup| Setup { flow: large, ..setup },
        |rig| {
            let (a, b, c) = (rig.connect(0), rig.connect(0), rig.connect(0));
            rig.create(a, "/p", 0).path_stat();
            rig.hold = true;
            rig.send(a, SET_DATA, &ask::set_data("/p", &"x".repeat(6000), -1));
            rig.send(b, SET_DATA, &ask::set_data("/p", &"y".repeat(6000), -1));
            rig.send(c, SET_DATA, &ask::set_data("/p", &"z".repeat(900), -1));
            rig.run();
            assert!(!rig.is_open(b), "one too many");
            rig.hold = false;
            rig.run();
            assert_eq!((answers(rig, a).len(), answers(rig, c).len()), (1, 1));
            assert_eq!(rig.set(a, "/p", &"x".repeat(9000), -1).err, 0, "they are no longer under way");
        },
    );
}

#[test]
fn sessions_beyond_the_tokens_are_hung_up_on_and_time_brings_more() {
    let rules = Rules {
        tokens: 2,
        fill_ms: 100,
        fill_count: 1,
        freeze_ms: None,
        increase: 0,
        decrease: 0,
        few: 0,
        weights: Some(Weights { global: 2, local: 1, renewed: 1 }),
    };
    on_both(
        |setup| Setup { throttle: Some(rules), ..setup },
        |rig| {
            let (a, b) = (rig.connect(0), rig.connect(1));
            let refused = rig.begin(0, SessionId::NONE, &[0; 16], 0, 10_000);
            rig.run();
            assert!(!rig.is_open(refused) && rig.frames(refused).is_empty(), "not a byte is said");
            assert!(rig.attach(0, a).is_none() && rig.attach(1, b).is_none());
            rig.advance(200);
            // Two sessions' tokens came back, which are four of those that come back.
            assert!(rig.attach(0, a).is_some() && rig.attach(1, b).is_some() && rig.attach(1, a).is_some());
            rig.advance(200);
            rig.connect(0);
        },
    );
}
