//! Limits: what a client may make the server hold, and what becomes of one that does not read.

use super::ask::{self, Frame};
use super::{C, Rig, Setup, on_both};
use crate::ground::limits::{LANE_MAX, OUTPUT_MAX, OUTPUT_PAUSE, OUTPUT_STUCK_MS, SHARD_CREDIT_BYTES};
use crate::proto::opcode::{
    CLOSE_SESSION, CREATE, EXISTS, GET_CHILDREN, GET_DATA, MULTI, MULTI_READ, PING, SET_DATA, SET_WATCHES,
};

const MB: usize = 1 << 20;

/// Output that the shard holds for a client.
fn held(rig: &mut Rig, c: C) -> usize {
    let (shard, id) = (rig.pipes[c].shard, rig.pipes[c].id);
    rig.ends[shard].shard.output(id).len()
}

/// A znode with `n` bytes of data.
fn big(rig: &mut Rig, c: C, path: &str, n: usize) {
    assert_eq!(rig.call(c, CREATE, &ask::create(path, &"d".repeat(n), 0)).err, 0);
}

#[test]
fn a_client_that_does_not_read_is_paused_and_then_closed() {
    on_both(|rig| {
        let (c, other) = (rig.connect(0), rig.connect(0));
        big(rig, c, "/big", 500_000);
        rig.pipes[c].window = Some(1000);
        for _ in 0..50 {
            rig.send(c, GET_DATA, &ask::path_watch("/big", false));
        }
        rig.run();
        assert!(held(rig, c) < OUTPUT_PAUSE + 600_000, "held {}", held(rig, c));
        assert!(!rig.pipes[c].to_server.is_empty() || !rig.pipes[c].input.is_empty(), "the rest is left unread");
        assert_eq!(rig.exists(other, "/big", false).err, 0, "others are served");
        // When it reads again, everything comes.
        rig.pipes[c].window = None;
        rig.run();
        assert_eq!(rig.frames(c).len(), 50);
        // When it never does, it goes.
        rig.pipes[c].window = Some(0);
        for _ in 0..5 {
            rig.send(c, GET_DATA, &ask::path_watch("/big", false));
        }
        for _ in 0..OUTPUT_STUCK_MS / 3000 {
            rig.advance(3000);
            assert!(rig.is_open(c), "a session whose socket is left unread by us does not expire");
            assert_eq!(rig.call(other, PING, &[]).err, 0);
        }
        rig.advance(2000);
        assert!(!rig.is_open(c));
    });
}

#[test]
fn a_watcher_that_does_not_read_its_events_is_closed() {
    let mut rig = Rig::new(1);
    let (c, w) = (rig.connect(0), rig.connect(0));
    // Long paths make large events.
    let paths: Vec<_> = (0..200).map(|i| format!("/{i:03}{}", "p".repeat(100_000))).collect();
    for path in &paths {
        assert_eq!(rig.call(w, EXISTS, &ask::path_watch(path, true)).err, -101);
    }
    rig.pipes[w].window = Some(0);
    for path in &paths {
        assert_eq!(rig.call(c, CREATE, &ask::create(path, "", 0)).err, 0);
        assert!(held(&mut rig, w) <= OUTPUT_MAX + 200_000);
    }
    assert!(!rig.is_open(w), "20 MB of events were too many");
}

#[test]
fn a_lane_takes_so_many_requests_and_then_the_socket_waits() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.create(c, "/p", 0).path_stat();
        rig.hold = true;
        let n = LANE_MAX + 500;
        for i in 0..n {
            if i % 10 == 0 {
                rig.send(c, SET_DATA, &ask::set_data("/p", "x", -1));
            } else {
                rig.send(c, EXISTS, &ask::path_watch("/p", false));
            }
        }
        rig.run();
        assert!(!rig.pipes[c].input.is_empty(), "the last ones wait outside");
        rig.hold = false;
        rig.run();
        assert_eq!(rig.frames(c).len(), n);
        // By bytes: setWatches of half a megabyte each.
        let long = "w".repeat(500_000);
        rig.hold = true;
        rig.send(c, SET_DATA, &ask::set_data("/p", "x", -1));
        for _ in 0..40 {
            rig.send(c, SET_WATCHES, &ask::set_watches(0, [&[], &[&long], &[]]));
        }
        rig.run();
        assert!(rig.pipes[c].to_server.len() > 10 * MB);
        rig.hold = false;
        rig.run();
        assert_eq!(rig.frames(c).len(), 41);
    });
}

#[test]
fn a_shard_without_credit_stops_reading_and_gets_all_of_it_back() {
    on_both(|rig| {
        let clients: Vec<_> = (0..5).map(|_| rig.connect(0)).collect();
        rig.create(clients[0], "/p", 0).path_stat();
        rig.hold = true;
        let data = "x".repeat(900_000);
        let each = SHARD_CREDIT_BYTES / 900_000 / 4;
        for &c in &clients {
            for _ in 0..each {
                rig.send(c, SET_DATA, &ask::set_data("/p", &data, -1));
            }
        }
        rig.run();
        let outside: usize = clients.iter().map(|&c| rig.pipes[c].to_server.len() + rig.pipes[c].input.len()).sum();
        assert!(outside > 3 * MB, "{outside} bytes wait outside");
        rig.hold = false;
        rig.run();
        for &c in &clients {
            assert_eq!(rig.frames(c).len(), each);
        }
    });
}

#[test]
fn children_by_the_thousand_are_listed() {
    on_both(|rig| {
        let c = rig.connect(0);
        for batch in 0..20 {
            let members: Vec<_> =
                (0..1000).map(|i| (CREATE, ask::create(&format!("/n{batch:02}-{i:03}-{}", "x".repeat(80)), "", 0))).collect();
            assert_eq!(rig.multi(c, &members).len(), 1000);
        }
        assert_eq!(rig.call(c, GET_CHILDREN, &ask::path_watch("/", false)).children().len(), 20_001);
        let frames = rig.frames(c);
        assert!(frames.iter().all(|f| !matches!(f, Frame::Event(_))));
    });
}

#[test]
fn a_farewell_with_a_body_gives_its_credit_back() {
    let mut rig = Rig::with(Setup::of(1));
    let long = vec![7; 1_000_000];
    for _ in 0..=SHARD_CREDIT_BYTES / long.len() + 1 {
        let c = rig.connect(0);
        assert_eq!(rig.call(c, CLOSE_SESSION, &long).err, 0);
    }
    let c = rig.connect(0);
    assert_eq!(rig.exists(c, "/", false).err, 0, "the shard still reads its sockets");
}

#[test]
fn a_small_multi_cannot_make_a_large_transaction() {
    on_both(|rig| {
        let c = rig.connect(0);
        for i in 0..100 {
            rig.log_in(c, &format!("{}{i}:x", "u".repeat(400)));
        }
        let member = |i: usize| (CREATE, ask::create_with(&format!("/{i}"), None, &[(31, "auth", "")], 0));
        let members: Vec<_> = (0..10_000).map(member).collect();
        let digest = rig.sequencer.digest().1;
        let zxid = rig.get(c, "/", false).zxid;
        let reply = rig.call(c, MULTI, &ask::multi(&members));
        assert_eq!((reply.err, reply.zxid), (-5, zxid + 1));
        assert_eq!(rig.sequencer.digest().1, digest);
        assert_eq!(rig.multi(c, &members[..20]).len(), 20);
    });
}

#[test]
fn a_small_multi_read_cannot_ask_for_gigabytes() {
    on_both(|rig| {
        let c = rig.connect(0);
        big(rig, c, "/b", 1_000_000);
        let members: Vec<_> = (0..40).map(|_| (GET_DATA, ask::path_watch("/b", false))).collect();
        assert_eq!(rig.call(c, MULTI_READ, &ask::multi(&members[..8])).results().len(), 8);
        let reply = rig.call(c, MULTI_READ, &ask::multi(&members));
        assert_eq!(reply.err, -5, "40 MB are refused");
        // Behind a write as well.
        rig.hold = true;
        rig.send(c, SET_DATA, &ask::set_data("/none", "", -1));
        let xid = rig.send(c, MULTI_READ, &ask::multi(&members));
        rig.run();
        rig.hold = false;
        rig.run();
        assert_eq!(rig.take_reply(c, xid).err, -5);
    });
}

#[test]
fn reads_parked_behind_a_write_cannot_make_more_output_than_may_be_held() {
    on_both(|rig| {
        let (c, other) = (rig.connect(0), rig.connect(0));
        big(rig, c, "/big", 900_000);
        rig.hold = true;
        rig.send(c, SET_DATA, &ask::set_data("/none", "", -1));
        for _ in 0..200 {
            rig.send(c, GET_DATA, &ask::path_watch("/big", false));
        }
        rig.pipes[c].window = Some(0);
        rig.run();
        rig.hold = false;
        rig.run();
        assert!(held(rig, c) <= OUTPUT_MAX, "held {}", held(rig, c));
        assert_eq!(rig.exists(other, "/big", false).err, 0);
        // One that reads gets it all, in order.
        rig.pipes[c].window = None;
        rig.run();
        assert!(rig.is_open(c));
        assert_eq!(rig.frames(c).len(), 201);
    });
}

#[test]
fn answers_that_grew_while_they_waited_end_their_connection_at_the_limit() {
    on_both(|rig| {
        let (c, other) = (rig.connect(0), rig.connect(0));
        rig.create(c, "/p", 0).path_stat();
        rig.hold = true;
        rig.send(c, SET_DATA, &ask::set_data("/p", &"x".repeat(900_000), -1));
        for _ in 0..100 {
            rig.send(c, GET_DATA, &ask::path_watch("/p", false));
        }
        rig.run();
        rig.hold = false;
        rig.run();
        assert!(!rig.is_open(c));
        assert_eq!(rig.get(other, "/p", false).err, 0);
        assert_eq!(rig.create(other, "/q", 0).err, 0);
    });
}
