//! Order: lanes, replies in the order of requests, reads that see what was acknowledged, marks that never fall.

use super::ask::{self, Frame};
use super::{C, Rig, Setup, on_both};
use crate::proto::opcode::{AUTH, CREATE, EXISTS, GET_CHILDREN, GET_DATA, MULTI_READ, PING, SASL, SET_DATA, SYNC, WHO_AM_I};

fn replies(rig: &mut Rig, c: C) -> Vec<(i32, i32)> {
    let frames = rig.frames(c);
    frames.iter().map(|f| if let Frame::Reply(r) = f { (r.xid, r.err) } else { panic!("{f:?}") }).collect()
}

#[test]
fn pipelined_reads_stand_behind_writes_and_see_them() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.create(c, "/p", 0).path_stat();
        rig.hold = true;
        let first = rig.send(c, EXISTS, &ask::path_watch("/p", false));
        let sets: Vec<_> = (0..4)
            .map(|i| {
                rig.send(c, SET_DATA, &ask::set_data("/p", &i.to_string(), i));
                rig.send(c, GET_DATA, &ask::path_watch("/p", false))
            })
            .collect();
        rig.send(c, PING, &[]);
        rig.send(c, MULTI_READ, &ask::multi(&[(GET_DATA, ask::path_watch("/p", false))]));
        rig.run();
        assert_eq!(replies(rig, c), [(first, 0)], "what is asked before the write passes, the rest waits");
        rig.hold = false;
        rig.run();
        for (i, xid) in sets.into_iter().enumerate() {
            let (data, stat) = rig.take_reply(c, xid).data();
            assert_eq!(data.unwrap(), i.to_string().as_bytes(), "a read sees the write before it, and not the one behind");
            assert_eq!(stat.version, i32::try_from(i).unwrap() + 1);
        }
        let rest = replies(rig, c);
        assert_eq!(rest.len(), 6);
        assert_eq!(rest[4], (-2, 0), "a ping keeps its place");
    });
}

#[test]
fn nothing_is_answered_before_it_is_durable_and_flushes_end_in_any_order() {
    on_both(|rig| {
        let clients = [rig.connect(0), rig.connect(1), rig.connect(2)];
        rig.hold = true;
        let xids: Vec<_> = clients
            .iter()
            .map(|&c| {
                let xid = rig.send(c, CREATE, &ask::create(&format!("/n{c}"), "", 0));
                rig.run();
                xid
            })
            .collect();
        assert_eq!(rig.writes.len(), 3, "each in a batch of its own");
        rig.end_write(2);
        rig.run();
        rig.end_write(1);
        rig.run();
        for &c in &clients {
            assert_eq!(rig.frames(c), [], "the first batch is not durable");
        }
        rig.end_write(0);
        rig.run();
        for (&c, xid) in clients.iter().zip(xids) {
            assert_eq!(rig.take_reply(c, xid).err, 0);
            assert_eq!(rig.exists(c, "/n2", false).err, 0);
        }
    });
}

#[test]
fn a_read_after_an_acknowledged_write_sees_it_on_every_shard() {
    let mut rig = Rig::new(4);
    let clients: Vec<_> = (0..4).map(|i| rig.connect(i)).collect();
    rig.create(clients[0], "/p", 0).path_stat();
    for round in 0..40 {
        let (writer, late) = (round % 4, (round / 4 + 1 + round) % 4);
        rig.ends[late].paused = late != writer;
        rig.set(clients[writer], "/p", &round.to_string(), -1).stat();
        let asked: Vec<_> = clients.iter().map(|&c| (c, rig.send(c, GET_DATA, &ask::path_watch("/p", false)))).collect();
        rig.ends[late].paused = false;
        rig.run();
        for (c, xid) in asked {
            assert_eq!(rig.take_reply(c, xid).data().0.unwrap(), round.to_string().as_bytes());
        }
    }
}

#[test]
fn no_shard_shows_what_another_has_no_room_for() {
    let mut rig = Rig::with(Setup { ring: 2, ..Setup::of(4) });
    let (c, slow) = (rig.connect(0), rig.connect(3));
    rig.ends[3].paused = true;
    let mut answered = 0;
    for i in 0..5 {
        rig.send(c, CREATE, &ask::create(&format!("/n{i}"), "", 0));
        rig.run();
        answered += rig.frames(c).len();
    }
    assert_eq!(answered, 2, "what does not fit into the slow shard's queue is not released");
    let xid = rig.send(slow, EXISTS, &ask::path_watch("/n1", false));
    rig.ends[3].paused = false;
    rig.run();
    assert_eq!(rig.take_reply(slow, xid).err, 0);
    assert_eq!(rig.frames(c).len(), 3);
}

#[test]
fn authentication_overtakes_and_the_rest_keeps_its_place() {
    on_both(|rig| {
        let c = rig.connect(1);
        rig.hold = true;
        let write = rig.send(c, CREATE, &ask::create("/p", "", 0));
        let who = rig.send(c, WHO_AM_I, &[]);
        let auth = rig.send(c, AUTH, &ask::auth("digest", "user:pass"));
        let sasl = rig.send(c, SASL, &[0, 0, 0, 1, b't']);
        let sync = rig.send(c, SYNC, &ask::path("/not checked//"));
        rig.run();
        let frames = rig.frames(c);
        let Frame::Reply(first) = &frames[0] else { panic!() };
        assert_eq!((first.xid, first.zxid, first.err), (auth, 0, 0));
        let Frame::Reply(second) = &frames[1] else { panic!() };
        assert_eq!((second.xid, second.zxid, second.err, &*second.body), (sasl, 0, 0, &[0xff; 4][..]));
        assert_eq!(frames.len(), 2);
        rig.hold = false;
        rig.run();
        assert_eq!(rig.take_reply(c, write).err, 0);
        assert_eq!(rig.take_reply(c, who).err, 0);
        assert_eq!(rig.take_reply(c, sync).body, ask::path("/not checked//"));
        assert_eq!(rig.call(c, PING, &[]).xid, -2);
        assert_eq!(rig.call(c, GET_CHILDREN, &ask::path_watch("/", false)).children(), ["p", "zookeeper"]);
    });
}

#[test]
fn a_ping_is_answered_with_its_own_xid_whatever_it_asked() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.raw(c, &ask::request(77, PING, b"and more"));
        rig.run();
        assert_eq!(replies(rig, c), [(-2, 0)]);
    });
}

/// Invariant 11. The tree is undone for good, so this server ends with the check.
#[test]
fn the_ledger_undoes_what_was_not_delivered() {
    for shards in [1, 4] {
        let mut rig = Rig::new(shards);
        let c = rig.connect(0);
        rig.create(c, "/p", 0).path_stat();
        rig.create(c, "/p/x", 1).path_stat();
        rig.hold = true;
        rig.send(c, CREATE, &ask::create("/p/y", "", 3));
        rig.run();
        rig.send(c, SET_DATA, &ask::set_data("/p", "x", -1));
        rig.send(c, crate::proto::opcode::DELETE, &ask::path_version("/p/x", -1));
        rig.run();
        let failing = [(SET_DATA, ask::set_data("/p", "x", -1)), (SET_DATA, ask::set_data("/none", "x", -1))];
        rig.send(c, crate::proto::opcode::MULTI, &ask::multi(&failing));
        rig.send(c, crate::proto::opcode::SET_ACL, &ask::set_acl("/p", &[(1, "world", "anyone")], -1));
        rig.send(c, crate::proto::opcode::CLOSE_SESSION, &[]);
        rig.run();
        let shown = rig.ends[0].shard.digest();
        assert_ne!(rig.sequencer.digest().1, shown);
        assert_eq!(rig.sequencer.undone_digest(), shown);
    }
}
