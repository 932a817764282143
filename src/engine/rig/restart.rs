//! Restart: the log read back. Everything acknowledged is there, and so are the sessions.

use super::ask;
use super::{Rig, Setup};
use crate::proto::opcode::{CREATE, GET_ACL, SET_DATA};

#[test]
fn everything_acknowledged_is_there_again() {
    for shards in [1, 4] {
        let mut rig = Rig::with(Setup { segment: 64 << 10, ..Setup::of(shards) });
        let c = rig.connect(0);
        let gone = rig.connect(1);
        rig.log_in(c, "user:pass");
        for i in 0..60 {
            rig.call(c, CREATE, &ask::create(&format!("/n{i}"), &"x".repeat(i * 10), 0)).path();
        }
        rig.create(c, "/n0/s-", 3).path_stat();
        rig.create(gone, "/n0/g-", 3).path_stat();
        rig.call(c, CREATE, &ask::create_with("/null", None, &[(31, "auth", ""), (1, "world", "anyone")], 0)).path();
        rig.set(c, "/n1", "new", -1).stat();
        rig.delete(c, "/n2", -1);
        rig.multi(c, &[(CREATE, ask::create("/m", "", 0)), (SET_DATA, ask::set_data("/m", "1", 0))]);
        assert_eq!(rig.call(gone, crate::proto::opcode::CLOSE_SESSION, &[]).err, 0);
        let stat = |rig: &mut Rig, c, path: &str| rig.exists(c, path, false).stat();
        let before: Vec<_> = ["/", "/n0", "/n1", "/m", "/null"].map(|path| stat(&mut rig, c, path)).to_vec();
        let digest = rig.sequencer.digest();
        assert!(rig.log.headers(crate::ground::ids::Zxid::ZERO).len() > 60);

        let mut rig = rig.crash(|_| 0);
        assert_eq!(rig.sequencer.digest(), digest);
        let back = rig.attach(3, c).expect("sessions survive");
        assert_eq!(rig.attach(2, gone), None, "closed ones do not come back");
        let after: Vec<_> = ["/", "/n0", "/n1", "/m", "/null"].map(|path| stat(&mut rig, back, path)).to_vec();
        assert_eq!(after, before);
        assert_eq!(rig.get(back, "/null", false).data().0, None);
        assert_eq!(rig.get(back, "/n59", false).data().0.unwrap().len(), 590);
        assert_eq!(rig.exists(back, "/n2", false).err, -101);
        assert_eq!(rig.call(back, GET_ACL, &ask::path("/null")).acl().0.len(), 2);
        assert_eq!(rig.children(back, "/n0", false).children_stat().0, ["s-0000000000"]);
        assert_eq!(rig.create(back, "/n0/s-", 2).path_stat().0, "/n0/s-0000000002", "numbers go on");
        // And it goes on, over another restart.
        let mut rig = rig.crash(|_| 0);
        let back = rig.attach(0, back).expect("sessions survive twice");
        assert_eq!(rig.exists(back, "/n0/s-0000000002", false).err, 0);
    }
}

#[test]
fn what_was_not_durable_may_go_and_nothing_of_it_was_shown() {
    for shards in [1, 4] {
        for reached in [0, 1, 2] {
            let mut rig = Rig::new(shards);
            let c = rig.connect(0);
            rig.create(c, "/p", 0).path_stat();
            rig.hold = true;
            for i in 0..3 {
                rig.send(c, CREATE, &ask::create(&format!("/n{i}"), "", 0));
                rig.run();
            }
            let batches = rig.writes.len();
            assert_eq!(batches, 3);
            // The batches numbered below `reached` are whole, the next is torn, the one after it is whole again.
            let first = rig.writes[0].0.sequence;
            let mut rig = rig.crash(|placement| match placement.sequence - first {
                n if n < reached => placement.len,
                n if n == reached => 10,
                _ => placement.len,
            });
            let c = rig.attach(1, c).expect("the session is there");
            for i in 0..3 {
                let err = if i < reached { 0 } else { -101 };
                assert_eq!(rig.exists(c, &format!("/n{i}"), false).err, err, "{i} of {reached}");
            }
            assert_eq!(rig.create(c, "/n2", 0).err, 0);
        }
    }
}

#[test]
fn sessions_have_their_full_time_after_a_restart() {
    let mut rig = Rig::new(4);
    let c = rig.connect(0);
    rig.create(c, "/e", 1).path_stat();
    rig.advance(9000);
    let mut rig = rig.crash(|_| 0);
    rig.advance(9000);
    let c = rig.attach(1, c).expect("its time has begun anew");
    assert_eq!(rig.exists(c, "/e", false).err, 0);
    rig.hang_up(c);
    rig.advance(12_500);
    assert_eq!(rig.attach(1, c), None);
    let other = rig.connect(2);
    assert_eq!(rig.exists(other, "/e", false).err, -101);
}
