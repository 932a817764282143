//! Sessions: opened, found again, moved, expired, closed.

use super::ask::{self, Frame};
use super::{C, Rig, on_both};
use crate::ground::ids::SessionId;
use crate::proto::connect::ConnectResponse;
use crate::proto::opcode::{CLOSE_SESSION, CREATE, EXISTS, GET_DATA, PING, SET_DATA};
use crate::session::secret;

fn response(rig: &mut Rig, c: C) -> Option<ConnectResponse> {
    rig.run();
    rig.frames(c).into_iter().find_map(|frame| if let Frame::Connected(response) = frame { Some(response) } else { None })
}

#[test]
fn sessions_open_with_what_was_negotiated() {
    on_both(|rig| {
        for (wanted, granted) in [(10_000, 10_000), (1, 4000), (-7, 4000), (i32::MAX, 40_000)] {
            let c = rig.begin(0, SessionId::NONE, &[0; 16], 0, wanted);
            let got = response(rig, c).unwrap();
            assert_eq!((got.timeout_ms, got.read_only), (granted, Some(false)));
            assert_eq!(got.password, secret::password(got.session));
            assert_eq!(got.session.0 >> 56, 1, "the server's id is the high byte");
        }
        // A client older than the read-only flag, and one without a password.
        let old = rig.open(1);
        rig.raw(old, &ask::connect(SessionId::NONE, &[], 0, 5000, None));
        assert_eq!(response(rig, old).unwrap().read_only, None);
    });
}

#[test]
fn passwords_decide_and_even_a_wrong_one_ends_the_old_connection() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.create(c, "/e", 1).path_stat();
        let session = rig.session(c);
        let wrong = rig.begin(1, session, &[7; 16], 0, 10_000);
        let refused = ConnectResponse { timeout_ms: 0, session: SessionId::NONE, password: [0; 16], read_only: Some(false) };
        assert_eq!(response(rig, wrong), Some(refused));
        assert!(!rig.is_open(wrong) && !rig.is_open(c));
        let again = rig.attach(2, c).expect("the session itself is untouched");
        assert_eq!(rig.exists(again, "/e", false).stat().ephemeral_owner, session.0);
        // Unknown sessions, with the password anybody can compute.
        let nobody = SessionId(0x0100_0000_0000_0777);
        let unknown = rig.begin(3, nobody, &secret::password(nobody), 0, 10_000);
        assert_eq!(response(rig, unknown), Some(refused));
        assert!(!rig.is_open(unknown));
    });
}

#[test]
fn a_session_that_moves_leaves_its_old_connection_without_an_answer() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.hold = true;
        rig.send(c, CREATE, &ask::create("/in-flight", "", 0));
        rig.run();
        let (session, password) = (rig.session(c), rig.pipes[c].password);
        let moved = rig.begin(1, session, &password, 0, 10_000);
        let xid = rig.send(moved, EXISTS, &ask::path_watch("/in-flight", false));
        rig.run();
        assert!(!rig.is_open(c));
        assert_eq!(rig.frames(moved), [], "what is under way comes first");
        rig.hold = false;
        rig.run();
        assert_eq!(rig.frames(c), [], "no answer on the old connection");
        assert_eq!(rig.session(moved), session);
        assert_eq!(rig.take_reply(moved, xid).err, 0, "but what was under way is done, and the new connection sees it");
        let back = rig.attach(0, moved).expect("moved back");
        assert!(!rig.is_open(moved));
        assert_eq!(rig.create(back, "/e", 1).path_stat().1.ephemeral_owner, rig.session(c).0);
    });
}

#[test]
fn a_write_of_a_connection_that_lost_its_session_is_refused_and_unanswered() {
    let mut rig = Rig::new(4);
    let c = rig.connect(0);
    let zxid = rig.get(c, "/", false).zxid;
    // Both are on their way inward, and the sequencer takes the move first.
    rig.turn_from = 0;
    rig.send(c, CREATE, &ask::create("/late", "", 0));
    let (session, password) = (rig.session(c), rig.pipes[c].password);
    let moved = rig.begin(1, session, &password, 0, 10_000);
    rig.run();
    assert_eq!(rig.session(moved), session);
    assert_eq!(rig.get(moved, "/", false).zxid, zxid + 1, "the refusal took a zxid");
    assert!(!rig.is_open(c));
    assert_eq!(rig.frames(c), []);
    assert_eq!(rig.exists(moved, "/late", false).err, -101);
}

#[test]
fn writes_and_reads_in_a_row_from_a_connection_that_lost_its_session() {
    let mut rig = Rig::new(4);
    let c = rig.connect(0);
    for i in 0..3 {
        rig.send(c, CREATE, &ask::create(&format!("/late{i}"), "", 0));
        rig.send(c, EXISTS, &ask::path_watch("/", true));
    }
    let (session, password) = (rig.session(c), rig.pipes[c].password);
    let moved = rig.begin(1, session, &password, 0, 10_000);
    // Both shards have asked, the move is decided first, and shard 0 hears of it together with the refusals.
    rig.shard_turn(0);
    rig.shard_turn(1);
    rig.turn_from = 1;
    rig.ends[0].paused = true;
    rig.run();
    rig.ends[0].paused = false;
    rig.run();
    assert!(!rig.is_open(c));
    assert_eq!(rig.frames(c), []);
    assert_eq!(rig.children(moved, "/", false).children_stat().0, ["zookeeper"]);
}

#[test]
fn closing_answers_what_is_in_flight_first() {
    on_both(|rig| {
        let (c, other) = (rig.connect(0), rig.connect(1));
        for path in ["/e1", "/e2", "/e3"] {
            rig.create(c, path, 1).path_stat();
        }
        rig.children(other, "/", true).children_stat();
        rig.get(other, "/e2", true).data();
        rig.hold = true;
        let xids = [
            rig.send(c, SET_DATA, &ask::set_data("/e1", "x", -1)),
            rig.send(c, GET_DATA, &ask::path_watch("/e1", true)),
            rig.send(c, CLOSE_SESSION, &[]),
        ];
        let after = rig.send(c, EXISTS, &ask::path_watch("/", false));
        rig.run();
        rig.hold = false;
        rig.run();
        assert_eq!(xids.map(|xid| rig.take_reply(c, xid).err), [0, 0, 0]);
        let rest = rig.frames(c);
        assert!(rest.iter().all(|f| !matches!(f, Frame::Reply(r) if r.xid == after)), "nothing after the farewell is answered");
        assert!(!rig.is_open(c));
        let zxids: Vec<_> = rig.frames(other).into_iter().map(|f| if let Frame::Event(e) = f { e.zxid } else { 0 }).collect();
        assert_eq!(zxids.len(), 2);
        assert!(zxids.iter().all(|z| *z == zxids[0] && *z > 0), "ephemerals go under one zxid: {zxids:?}");
        assert_eq!(rig.children(other, "/", false).children_stat().0, ["zookeeper"]);
        assert_eq!(rig.attach(2, c), None, "the session is over");
    });
}

#[test]
fn sessions_expire_in_buckets_and_take_their_ephemerals_along() {
    on_both(|rig| {
        let watcher = rig.connect(1);
        let c = rig.begin(0, SessionId::NONE, &[0; 16], 0, 4000);
        rig.run();
        rig.pipes[c].frames.clear();
        rig.create(c, "/e", 1).path_stat();
        rig.create(c, "/f", 1).path_stat();
        rig.exists(watcher, "/e", true).stat();
        rig.exists(watcher, "/f", true).stat();
        let mut lived = 0;
        while rig.is_open(c) {
            rig.advance(100);
            lived += 100;
            if lived % 1000 == 0 {
                rig.call(watcher, PING, &[]);
            }
            assert!(lived <= 6100, "a session is over a tick after its timeout");
        }
        assert!(lived >= 4000, "it lived {lived} ms");
        assert_eq!(rig.frames(c), [], "no word to the client");
        let mut events = rig.events(watcher);
        events.sort();
        assert_eq!(events, ["deleted /e", "deleted /f"]);
        assert_eq!(rig.attach(0, c), None);
        assert!(rig.is_open(watcher));
    });
}

#[test]
fn a_client_ahead_of_the_server_gets_no_byte() {
    on_both(|rig| {
        let c = rig.connect(0);
        let zxid = rig.create(c, "/p", 0).zxid;
        let (session, password) = (rig.session(c), rig.pipes[c].password);
        let ahead = rig.begin(1, session, &password, zxid + 1, 10_000);
        rig.run();
        assert!(!rig.is_open(ahead) && rig.frames(ahead).is_empty());
        assert!(rig.is_open(c), "it was turned away before its session was looked at");
        let level = rig.begin(1, session, &password, zxid, 10_000);
        assert_eq!(response(rig, level).unwrap().session, session);
        // Signed, as in ZooKeeper.
        let negative = rig.begin(2, SessionId::NONE, &[], -1, 10_000);
        assert!(response(rig, negative).is_some());
    });
}

#[test]
fn a_client_that_saw_more_than_its_new_shard_waits_for_it() {
    let mut rig = Rig::new(4);
    let c = rig.connect(0);
    rig.ends[3].paused = true;
    let zxid = rig.create(c, "/p", 0).zxid;
    let (session, password) = (rig.session(c), rig.pipes[c].password);
    let moved = rig.begin(3, session, &password, zxid, 10_000);
    rig.run();
    assert_eq!(rig.frames(moved), []);
    rig.ends[3].paused = false;
    rig.run();
    assert_eq!(rig.session(moved), session);
    assert_eq!(rig.exists(moved, "/p", false).err, 0);
}

#[test]
fn connections_without_a_session_are_closed_in_time() {
    on_both(|rig| {
        let (silent, half) = (rig.open(0), rig.open(1));
        rig.raw(half, &[0, 0, 0, 45, 0, 0]);
        rig.advance(9000);
        assert!(rig.is_open(silent) && rig.is_open(half));
        rig.advance(2500);
        assert!(!rig.is_open(silent) && !rig.is_open(half));
    });
}

#[test]
fn pings_and_reads_keep_a_session_alive_and_a_lost_connection_does_not_lose_the_last_of_them() {
    on_both(|rig| {
        let c = rig.begin(0, SessionId::NONE, &[0; 16], 0, 6000);
        rig.run();
        for i in 0..10 {
            rig.advance(3900);
            if i % 2 == 0 {
                rig.call(c, PING, &[]);
            } else {
                rig.exists(c, "/", false).stat();
            }
        }
        rig.advance(3900);
        // Heard of now; the connection breaks before the shard has told the sequencer.
        rig.exists(c, "/", false).stat();
        rig.hang_up(c);
        rig.run();
        rig.advance(5900);
        assert!(rig.attach(1, c).is_some(), "its time counts from the last that was heard of it");
    });
}
