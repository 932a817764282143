//! Hostile: bytes no honest client sends. The peer gets what ZooKeeper gives it, and nobody else notices.

use proptest::prelude::*;

use super::ask::{self, Frame, OPEN};
use super::{C, Rig, Setup, on_both};
use crate::ground::ids::SessionId;
use crate::ground::limits::FRAME_MAX_DEFAULT;
use crate::proto::jute::Writer;
use crate::proto::multi::MultiHeader;
use crate::proto::opcode::{
    AUTH, CHECK, CLOSE_SESSION, CREATE, CREATE_CONTAINER, CREATE_SESSION, CREATE_TTL, CREATE2, DELETE, DELETE_CONTAINER, ERROR,
    EXISTS, GET_ACL, GET_ALL_CHILDREN_NUMBER, GET_CHILDREN, GET_CHILDREN2, GET_DATA, GET_EPHEMERALS, MULTI, MULTI_READ, PING,
    RECONFIG, SASL, SET_ACL, SET_DATA, SET_WATCHES, SYNC, WHO_AM_I,
};

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// An answer with this code, and it goes on.
    Answer(i32),
    /// An answer with this code, and the end.
    Last(i32),
    /// The end.
    Closed,
}

/// Sends one request over a new connection and tells what came of it.
fn fate(rig: &mut Rig, op: i32, body: &[u8]) -> Fate {
    let c = rig.connect(0);
    fate_of(rig, c, &ask::request(5, op, body))
}

fn fate_of(rig: &mut Rig, c: C, bytes: &[u8]) -> Fate {
    rig.raw(c, bytes);
    rig.run();
    let code = rig.frames(c).into_iter().find_map(|f| if let Frame::Reply(r) = f { Some(r.err) } else { None });
    let fate = match (code, rig.is_open(c)) {
        (Some(code), true) => Fate::Answer(code),
        (Some(code), false) => Fate::Last(code),
        (None, false) => Fate::Closed,
        (None, true) => panic!("neither an answer nor an end"),
    };
    rig.hang_up(c);
    rig.run();
    fate
}

/// A valid body of every operation that has one, with its code in an empty tree.
fn valid() -> Vec<(i32, Vec<u8>, i32)> {
    let watched = |path| ask::path_watch(path, true);
    vec![
        (CREATE, ask::create("/v", "data", 0), 0),
        (CREATE2, ask::create("/w", "data", 3), 0),
        (DELETE, ask::path_version("/none", -1), -101),
        (EXISTS, watched("/none"), -101),
        (GET_DATA, watched("/"), 0),
        (SET_DATA, ask::set_data("/", "data", -1), 0),
        (GET_ACL, ask::path("/"), 0),
        (SET_ACL, ask::set_acl("/", OPEN, -1), 0),
        (GET_CHILDREN, watched("/"), 0),
        (GET_CHILDREN2, watched("/"), 0),
        (SYNC, ask::path("/"), 0),
        (MULTI, ask::multi(&[(CHECK, ask::path_version("/", -1)), (CREATE, ask::create("/m", "", 0))]), 0),
        (MULTI_READ, ask::multi(&[(GET_DATA, ask::path_watch("/", false))]), 0),
        (RECONFIG, vec![0xff; 20], -123),
        (CREATE_TTL, ask::create_ttl("/t", 5, 1000), -6),
        (CREATE_CONTAINER, ask::create("/c", "", 4), 0),
        (GET_EPHEMERALS, ask::path("/"), 0),
        (GET_ALL_CHILDREN_NUMBER, ask::path("/"), 0),
        (SET_WATCHES, ask::set_watches(0, [&["/"], &["/x"], &["/y", "/"]]), 0),
        (AUTH, ask::auth("digest", "user:pass"), 0),
        (SASL, vec![0, 0, 0, 1, 9], 0),
    ]
}

#[test]
fn every_truncation_of_every_record() {
    on_both(|rig| {
        for (op, body, code) in valid() {
            for len in 0..body.len() {
                let expected = if op == AUTH || op == SASL { Fate::Closed } else { Fate::Answer(-5) };
                assert_eq!(fate(rig, op, &body[..len]), expected, "operation {op} cut to {len} bytes");
            }
            assert_eq!(fate(rig, op, &body), Fate::Answer(code), "operation {op}");
            // What follows a record is not looked at.
            let longer = [&body[..], b"more"].concat();
            let again = if matches!(op, CREATE | CREATE_CONTAINER) { -110 } else { code };
            assert_eq!(fate(rig, op, &longer), Fate::Answer(again), "operation {op} with bytes behind it");
        }
    });
}

#[test]
fn operations_that_are_none_of_a_clients() {
    on_both(|rig| {
        let known = [
            CREATE,
            DELETE,
            EXISTS,
            GET_DATA,
            SET_DATA,
            GET_ACL,
            SET_ACL,
            GET_CHILDREN,
            SYNC,
            PING,
            GET_CHILDREN2,
            MULTI,
            CREATE2,
            RECONFIG,
            17,
            18,
            CREATE_CONTAINER,
            CREATE_TTL,
            MULTI_READ,
            AUTH,
            SET_WATCHES,
            SASL,
            103,
            104,
            105,
            106,
            107,
            CLOSE_SESSION,
        ];
        let extremes = [i32::MIN, i32::MAX, 999, 1000];
        for op in (-20..=120).chain(extremes).filter(|op| !known.contains(op)) {
            let c = rig.connect(0);
            let xid = rig.send(c, EXISTS, &ask::path_watch("/", false));
            rig.raw(c, &ask::request(9, op, &[0; 20]));
            rig.raw(c, &ask::request(10, EXISTS, &ask::path_watch("/", false)));
            rig.run();
            assert_eq!(rig.take_reply(c, xid).err, 0);
            let reply = rig.take_reply(c, 9);
            assert_eq!((reply.err, reply.zxid, rig.is_open(c)), (-6, -1, false), "operation {op}");
            assert_eq!(rig.frames(c), [], "nothing after it is answered");
        }
        for op in [DELETE_CONTAINER, CREATE_SESSION, ERROR, CHECK, 0] {
            assert!(!known.contains(&op));
        }
        // The refusal keeps its place behind a write.
        let c = rig.connect(0);
        rig.hold = true;
        let write = rig.send(c, CREATE, &ask::create("/p", "", 0));
        rig.raw(c, &ask::request(9, 999, &[]));
        rig.run();
        assert_eq!(rig.frames(c), []);
        rig.hold = false;
        rig.run();
        assert_eq!(rig.take_reply(c, write).err, 0);
        assert_eq!(rig.take_reply(c, 9).err, -6);
        assert!(!rig.is_open(c));
    });
}

#[test]
fn frames_that_are_none() {
    on_both(|rig| {
        for first in [i32::MIN, -1, -2, i32::try_from(FRAME_MAX_DEFAULT).unwrap() + 1, i32::MAX] {
            // As the first bytes of a connection, and later.
            let fresh = rig.open(0);
            rig.raw(fresh, &first.to_be_bytes());
            rig.run();
            assert!(!rig.is_open(fresh) && rig.frames(fresh).is_empty(), "{first}");
            let c = rig.connect(0);
            // Of one that is only somewhat too long, what it asks is looked at.
            let header = ask::request(1, EXISTS, &[]);
            let bytes = [&first.to_be_bytes()[..], &header[4..]].concat();
            assert_eq!(fate_of(rig, c, &bytes), Fate::Closed, "{first}");
        }
        // Too short for a header, or for a ConnectRequest.
        for len in 0..8 {
            let c = rig.connect(0);
            let mut frame = Vec::new();
            frame.buffer(Some(&vec![0; len]));
            assert_eq!(fate_of(rig, c, &frame), Fate::Closed);
        }
        let connect = ask::connect(SessionId::NONE, &[0; 16], 0, 5000, None);
        for len in 0..connect.len() - 4 {
            let fresh = rig.open(0);
            let mut frame = Vec::new();
            frame.buffer(Some(&connect[4..4 + len]));
            rig.raw(fresh, &frame);
            rig.run();
            assert!(!rig.is_open(fresh) && rig.frames(fresh).is_empty(), "cut to {len}");
        }
        // The largest frame is taken: a path of that length names nothing.
        let c = rig.connect(0);
        let path = "p".repeat(FRAME_MAX_DEFAULT - 8 - 4 - 1);
        assert_eq!(rig.exists(c, &path, false).err, -101);
        assert_eq!(fate(rig, EXISTS, &ask::path_watch(&format!("{path}p"), false)), Fate::Closed);
        // A length that nothing follows waits, and is let go with its session.
        let c = rig.connect(0);
        rig.raw(c, &[0, 0, 1, 0]);
        rig.advance(9000);
        assert!(rig.is_open(c));
        rig.advance(4000);
        assert!(!rig.is_open(c));
    });
}

#[test]
fn lengths_and_counts_that_lie() {
    on_both(|rig| {
        for n in [-2, i32::MIN, i32::MAX, 1 << 20] {
            let string = n.to_be_bytes();
            for op in [CREATE, CREATE2, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN, SYNC] {
                assert_eq!(fate(rig, op, &[&string[..], b"/a"].concat()), Fate::Answer(-5), "{op} with a length of {n}");
            }
            assert_eq!(fate(rig, AUTH, &[&[0; 4][..], &string].concat()), Fate::Closed);
            assert_eq!(fate(rig, SASL, &string), Fate::Closed);
        }
        for op in [CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN] {
            let answer = if matches!(op, SET_DATA | SET_ACL) { -8 } else { -5 };
            assert_eq!(
                fate(rig, op, &[[0xff; 4], [0; 4], [0; 4], [0; 4]].concat()),
                Fate::Answer(answer),
                "{op} with a null path"
            );
        }
        assert_eq!(fate(rig, SASL, &[0xff; 4]), Fate::Closed, "a null token");
        // An ACL and lists of watches of two billion entries.
        let mut acl = Vec::new();
        acl.string("/a");
        acl.buffer(None);
        acl.int(i32::MAX);
        assert_eq!(fate(rig, CREATE, &acl), Fate::Answer(-5));
        let mut watches = Vec::new();
        watches.long(0);
        watches.int(i32::MAX);
        assert_eq!(fate(rig, SET_WATCHES, &watches), Fate::Answer(-5));
        // Counts below -1 read as empty; a null list of watches does not.
        for (count, code) in [(-2, 0), (i32::MIN, 0), (-1, -5)] {
            let mut watches = Vec::new();
            watches.long(0);
            watches.int(count);
            watches.int(0);
            watches.int(0);
            assert_eq!(fate(rig, SET_WATCHES, &watches), Fate::Answer(code), "{count}");
            let mut create = Vec::new();
            create.string("/a");
            create.buffer(None);
            create.int(count);
            create.int(0);
            assert_eq!(fate(rig, CREATE, &create), Fate::Answer(-114), "an empty ACL");
        }
    });
}

#[test]
fn illegal_paths_of_every_kind() {
    on_both(|rig| {
        let paths = [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/\0",
            "/a\0/b",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{1f600}",
        ];
        let c = rig.connect(0);
        rig.create(c, "/a", 0).path_stat();
        for path in paths {
            let created = rig.create(c, path, 0).err;
            assert!(created == -8 || created == -101, "create {path:?}: {created}");
            assert_eq!(rig.set(c, path, "x", -1).err, -8, "setData {path:?}");
            assert_eq!(rig.set_acl(c, path, OPEN, -1).err, -8, "setACL {path:?}");
            let deleted = rig.delete(c, path, -1).err;
            assert!(deleted == -8 || deleted == -101, "delete {path:?}: {deleted}");
            let expected = if path.contains('\0') { -8 } else { -101 };
            if !path.is_empty() {
                assert_eq!(rig.exists(c, path, true).err, expected, "exists {path:?}");
                assert_eq!(rig.get(c, path, true).err, -101, "getData {path:?}");
                assert_eq!(rig.children(c, path, true).err, -101, "getChildren {path:?}");
                assert_eq!(rig.call(c, GET_ACL, &ask::path(path)).err, -101, "getACL {path:?}");
            }
        }
        assert_eq!(rig.children(c, "/", false).children_stat().0, ["a", "zookeeper"]);
        // Bytes that are not UTF-8 read as U+FFFD, which no path may have.
        let mut body = Vec::new();
        body.buffer(Some(b"/\xff\xfe"));
        body.extend_from_slice(&ask::create("", "", 0)[4..]);
        assert_eq!(rig.call(c, CREATE, &body).err, -8);
    });
}

#[test]
fn multis_in_multis_and_members_without_end() {
    on_both(|rig| {
        let mut nested = ask::multi(&[]);
        for _ in 0..2000 {
            nested = ask::multi(&[(MULTI, nested)]);
        }
        assert_eq!(fate(rig, MULTI, &nested), Fate::Answer(-5));
        assert_eq!(fate(rig, MULTI_READ, &nested), Fate::Answer(-5));
        let mut endless = Vec::new();
        while endless.len() < 900_000 {
            MultiHeader { op: CHECK, done: false, err: 0 }.encode(&mut endless);
            endless.extend_from_slice(&ask::path_version("", 0));
        }
        assert_eq!(fate(rig, MULTI, &endless), Fate::Answer(-5));
        // Ended, it is a multi of fifty thousand members, the first of which fails.
        MultiHeader::END.encode(&mut endless);
        assert_eq!(fate(rig, MULTI, &endless), Fate::Answer(0));
    });
}

#[test]
fn admin_words_end_their_connection() {
    on_both(|rig| {
        for (word, answer) in [
            ("ruok", "ruok"),
            ("srvr", "srvr 0x0"),
            ("wchs", "wchs is not executed because it is not in the whitelist.\n"),
            ("dirs", "dirs 0x0"),
            ("gtmk", "0"),
            ("stmk\0\0\0\0\0\0\0\x2a", "42"),
            // Not a word of 3.9.4, so a length, and too large for one.
            ("orst", ""),
        ] {
            let c = rig.open(1);
            rig.pipes[c].is_text = true;
            rig.raw(c, word.as_bytes());
            rig.raw(c, b"\nand more");
            rig.run();
            assert_eq!((rig.is_open(c), String::from_utf8_lossy(&rig.pipes[c].received).as_ref()), (false, answer));
        }
        // The mask may come in pieces; without it there is no answer.
        let c = rig.open(1);
        rig.pipes[c].is_text = true;
        for piece in [&b"stm"[..], b"k\xff\xff\xff\xff", b"\xff\xff\xff"] {
            rig.raw(c, piece);
            rig.run();
            assert!(rig.is_open(c) && rig.pipes[c].received.is_empty());
        }
        rig.raw(c, b"\xfe");
        rig.run();
        assert_eq!((rig.is_open(c), &rig.pipes[c].received[..]), (false, &b"-2"[..]));
        // In the middle of a session they are a frame too long.
        let c = rig.connect(0);
        assert_eq!(fate_of(rig, c, b"ruok"), Fate::Closed);
    });
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn garbage_records_of_every_operation() {
    for shards in [1, 4] {
        let mut rig = Rig::new(shards);
        let witness = rig.connect(0);
        rig.create(witness, "/p", 0).path_stat();
        let mut state = 0x1234_5678_9abc_def0;
        for op in -12..=108 {
            for _ in 0..12 {
                let len = xorshift(&mut state) % 60;
                // Small numbers are more often lengths that make sense.
                let body: Vec<u8> = (0..len)
                    .map(|_| {
                        if xorshift(&mut state).is_multiple_of(3) {
                            xorshift(&mut state) as u8
                        } else {
                            (xorshift(&mut state) % 3) as u8
                        }
                    })
                    .collect();
                let got = fate(&mut rig, op, &body);
                match op {
                    AUTH => assert!(matches!(got, Fate::Closed | Fate::Last(-115)), "{op} {body:?}: {got:?}"),
                    SASL => assert!(matches!(got, Fate::Closed | Fate::Answer(0)), "{op} {body:?}: {got:?}"),
                    CLOSE_SESSION => assert_eq!(got, Fate::Last(0)),
                    PING => assert_eq!(got, Fate::Answer(0)),
                    RECONFIG => assert!(matches!(got, Fate::Answer(-123 | -5)), "{body:?}: {got:?}"),
                    17 | 18 => assert!(matches!(got, Fate::Answer(-5 | -121)), "{op} {body:?}: {got:?}"),
                    105 | 106 => assert!(matches!(got, Fate::Answer(-5 | 0)), "{op} {body:?}: {got:?}"),
                    WHO_AM_I => assert_eq!(got, Fate::Answer(0)),
                    _ if valid().iter().any(|(known, ..)| *known == op) => {
                        assert!(matches!(got, Fate::Answer(-114 | -103 | -101 | -8 | -6 | -5 | 0)), "{op} {body:?}: {got:?}");
                    }
                    _ => assert_eq!(got, Fate::Last(-6)),
                }
            }
        }
        assert_eq!(rig.exists(witness, "/p", false).err, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes come, in whatever pieces: the shard goes on, and so do the others.
    #[test]
    fn arbitrary_bytes_in_arbitrary_pieces(
        inputs in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(prop_oneof![Just(0u8), 0..16u8, any::<u8>()], 0..400), 1..50usize),
            1..6,
        ),
        requests in prop::collection::vec((-2..110i32, prop::collection::vec(prop_oneof![Just(0u8), 0..4u8, any::<u8>()], 0..40)), 0..20),
    ) {
        let mut rig = Rig::with(Setup { segment: 256 << 10, ..Setup::of(2) });
        let witness = rig.connect(0);
        rig.create(witness, "/p", 0).path_stat();
        let mut framed = Vec::new();
        for (op, body) in &requests {
            framed.extend(ask::request(1, *op, body));
        }
        for (is_connected, bytes, chunk) in &inputs {
            let c = if *is_connected { rig.connect(0) } else { rig.open(1) };
            rig.pipes[c].chunk = *chunk;
            if *is_connected {
                rig.raw(c, &framed);
            }
            rig.raw(c, bytes);
            // What comes back to a socket that never connected need not be frames.
            rig.pipes[c].is_text = !is_connected;
            rig.run();
            prop_assert_eq!(rig.exists(witness, "/p", false).err, 0);
        }
    }
}

#[test]
fn credentials_that_are_null() {
    on_both(|rig| {
        let packet = |scheme: Option<&[u8]>, auth: Option<&[u8]>| {
            let mut out = Vec::new();
            out.int(0);
            out.buffer(scheme);
            out.buffer(auth);
            out
        };
        assert_eq!(fate(rig, AUTH, &packet(None, Some(b"u:p"))), Fate::Last(-115));
        assert_eq!(fate(rig, AUTH, &packet(Some(b"digest"), None)), Fate::Last(-115));
        assert_eq!(fate(rig, AUTH, &packet(Some(b"digest"), Some(b""))), Fate::Answer(0));
        assert_eq!(fate(rig, AUTH, &packet(Some(b"ip"), None)), Fate::Answer(0));
        assert_eq!(fate(rig, AUTH, &packet(Some(b"\xff"), Some(b"u:p"))), Fate::Last(-115));
    });
}
