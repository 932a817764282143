//! Room: what becomes of writes and sessions when the log has a last segment and it is nearly full.

use super::ask;
use super::{Rig, Setup};
use crate::engine::sequencer::Ahead;
use crate::ground::ids::SessionId;
use crate::proto::opcode::{CLOSE_SESSION, CREATE, EXISTS, GET_DATA, SET_DATA};

const SYSTEM_ERROR: i32 = -1;

/// A rig whose log has a segment of 16 MiB, a client, and so many znodes of 900 kB that writes are declined once no other follows.
fn nearly_full(shards: usize) -> (Rig, usize) {
    let mut rig = Rig::with(Setup { segment: 16 << 20, ..Setup::of(shards) });
    let c = rig.connect(0);
    let data = "d".repeat(900_000);
    for i in 0..10 {
        assert_eq!(rig.call(c, CREATE, &ask::create(&format!("/n{i}"), &data, 0)).err, 0);
    }
    assert!(!rig.sequencer.declines(), "segments follow");
    (rig, c)
}

#[test]
fn writes_are_declined_in_their_turn_and_not_logged() {
    for shards in [1, 4] {
        let (mut rig, c) = nearly_full(shards);
        let other = rig.connect(1);
        // A write under way, and one that comes when it is known that there is no room: answered in this order, with a read between.
        rig.hold = true;
        let first = rig.send(c, CREATE, &ask::create("/under-way", "", 0));
        rig.run();
        rig.sequencer.set_ahead(Ahead::Nothing);
        assert!(rig.sequencer.declines());
        let declined = rig.send(c, SET_DATA, &ask::set_data("/n0", "x", -1));
        let read = rig.send(c, EXISTS, &ask::path_watch("/under-way", false));
        let malformed = rig.send(c, SET_DATA, &[1]);
        rig.run();
        assert!(rig.frames(c).is_empty(), "nothing is answered before what came first");
        rig.hold = false;
        rig.run();
        let at = rig.sequencer.delivered();
        assert_eq!(rig.take_reply(c, first).err, 0);
        let reply = rig.take_reply(c, declined);
        assert_eq!((reply.err, reply.zxid, reply.body.len()), (SYSTEM_ERROR, at.as_wire(), 0));
        assert_eq!(rig.take_reply(c, read).err, 0);
        assert_eq!(rig.take_reply(c, malformed).err, SYSTEM_ERROR);
        // Reads are served, writes of others are declined, and no zxid is spent.
        assert_eq!(rig.call(other, GET_DATA, &ask::path_watch("/n0", false)).data().0.unwrap().len(), 900_000);
        for _ in 0..3 {
            assert_eq!(rig.call(other, CREATE, &ask::create("/no", "", 0)).err, SYSTEM_ERROR);
        }
        assert_eq!(rig.sequencer.delivered(), at);
        // When there is room, everything goes on.
        rig.sequencer.set_ahead(Ahead::Ready);
        assert_eq!(rig.set(c, "/n0", "x", -1).err, 0);
        assert_eq!(rig.call(other, CREATE, &ask::create("/yes", "", 0)).err, 0);
        let mut rig = rig.crash(|_| 0);
        let back = rig.attach(1, c).expect("the session is there");
        assert_eq!(rig.get(back, "/n0", false).data().0.unwrap(), b"x");
        assert_eq!(rig.exists(back, "/no", false).err, -101);
    }
}

#[test]
fn sessions_open_and_close_in_what_is_kept_for_them() {
    for shards in [1, 4] {
        let (mut rig, c) = nearly_full(shards);
        rig.create(c, "/mine", 1).path_stat();
        rig.sequencer.set_ahead(Ahead::Nothing);
        let mut opened = 0;
        loop {
            let one = rig.begin(opened, SessionId::NONE, &[0; 16], 0, 10_000);
            rig.run();
            if rig.session(one) == SessionId::NONE {
                assert!(!rig.is_open(one), "it is not kept waiting");
                break;
            }
            opened += 1;
            if opened % 2 == 0 {
                assert_eq!(rig.call(one, CLOSE_SESSION, &[]).err, 0);
            }
        }
        assert!(opened > 300, "{opened} sessions were opened");
        // Those that are open can still close, and expire, with their ephemerals.
        assert_eq!(rig.call(c, CLOSE_SESSION, &[]).err, 0);
        rig.advance(13_000);
        rig.sequencer.set_ahead(Ahead::Ready);
        let new = rig.connect(0);
        assert_eq!(rig.exists(new, "/mine", false).err, -101);
        assert_eq!(rig.create(new, "/again", 0).err, 0);
    }
}

#[test]
fn while_it_is_not_known_whether_the_log_can_go_on_writes_wait() {
    for ahead in [Ahead::Ready, Ahead::Nothing] {
        let (mut rig, c) = nearly_full(4);
        rig.sequencer.set_ahead(Ahead::InTheMaking);
        let write = rig.send(c, SET_DATA, &ask::set_data("/n0", "x", -1));
        rig.run();
        assert!(rig.frames(c).is_empty());
        rig.sequencer.set_ahead(ahead);
        rig.run();
        assert_eq!(rig.take_reply(c, write).err, if ahead == Ahead::Ready { 0 } else { SYSTEM_ERROR });
    }
}
