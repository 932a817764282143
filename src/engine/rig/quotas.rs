//! Quotas: what is used is told with every change, and hard limits are kept where they are enforced.

use super::ask::{self, OPEN, Result1};
use super::{C, Rig, Setup, on_both};
use crate::proto::opcode::{CREATE, CREATE_CONTAINER, CREATE2, DELETE, MULTI, SET_DATA};
use crate::tree::quota::{limits_path, stats_path};

/// A quota as zkCli sets it.
fn limit(rig: &mut Rig, c: C, of: &str, limits: &str) {
    let ends = of.match_indices('/').map(|(at, _)| at).skip(1).chain([of.len()]);
    for end in ends {
        rig.create(c, &format!("/zookeeper/quota{}", &of[..end]), 0);
    }
    rig.call(c, CREATE, &ask::create(&limits_path(of), limits, 0)).path();
    let (_, stat) = rig.call(c, CREATE2, &ask::create(&stats_path(of), "count=0,bytes=0", 0)).path_stat();
    assert_eq!(stat.data_length, 15, "the answer is what was asked for");
}

fn used(rig: &mut Rig, c: C, of: &str) -> String {
    String::from_utf8(rig.get(c, &stats_path(of), false).data().0.unwrap()).unwrap()
}

#[test]
fn hard_limits_refuse_and_soft_ones_do_not() {
    on_both(|rig| {
        let c = rig.connect(1);
        rig.create(c, "/a", 0);
        rig.call(c, CREATE, &ask::create("/a/old", "12345", 0)).path();
        limit(rig, c, "/a", "count=2,bytes=-1=;byteHardLimit=8;countHardLimit=4");
        assert_eq!(used(rig, c, "/a"), "count=2,bytes=5");
        let before = rig.get(c, "/", false).zxid;
        let refused = rig.call(c, CREATE2, &ask::create("/a/big", "1234", 0));
        assert_eq!((refused.err, refused.zxid), (-125, before + 1), "a refusal takes a zxid");
        assert_eq!(rig.exists(c, "/a/big", false).err, -101);
        rig.call(c, CREATE2, &ask::create("/a/fits", "123", 0)).path_stat();
        assert_eq!(rig.set(c, "/a/fits", "1234", 0).err, -125);
        assert_eq!(rig.set(c, "/a/fits", "1234", 7).err, -125, "before the version is looked at");
        assert_eq!(rig.set(c, "/a/none", "1234", 7).err, -101);
        assert_eq!(rig.call(c, CREATE, &ask::create("/a/fits", "1234", 0)).err, -110);
        rig.call(c, CREATE_CONTAINER, &ask::create("/a/c", "", 4)).path_stat();
        assert_eq!(used(rig, c, "/a"), "count=4,bytes=8");
        for flags in 0..4 {
            assert_eq!(rig.create(c, "/a/c/s-", flags).err, -125, "{flags}");
        }
        assert_eq!(rig.create(c, "/ab", 0).err, 0);
        // Where nothing is added nothing is looked at; where it gets less and is too much still, it is refused nevertheless.
        rig.set(c, &limits_path("/a"), "byteHardLimit=2", -1).stat();
        assert_eq!((rig.set(c, "/a/old", "54321", -1).err, rig.set(c, "/a/old", "1", -1).err), (0, -125));
        rig.create(c, "/a/empty", 0).path_stat();
        rig.delete(c, "/a/old", -1);
        assert_eq!((used(rig, c, "/a").as_str(), rig.set(c, "/a/fits", "2", -1).err), ("count=4,bytes=3", 0));
        rig.delete(c, &limits_path("/a"), -1);
        assert_eq!(rig.set(c, "/a/fits", "12345678", -1).err, 0);
        assert_eq!(used(rig, c, "/a"), "count=4,bytes=1", "nobody counts any more");
    });
}

#[test]
fn nothing_is_refused_where_quotas_are_not_enforced() {
    let mut rig = Rig::with(Setup { enforces_quotas: false, ..Setup::of(2) });
    let c = rig.connect(0);
    rig.create(c, "/a", 0);
    limit(&mut rig, c, "/a", "countHardLimit=1,byteHardLimit=0");
    rig.call(c, CREATE, &ask::create("/a/b", "123", 0)).path();
    rig.set(c, &limits_path("/a"), "?", -1).stat();
    rig.create(c, "/a/c", 0).path_stat();
    assert_eq!(used(&mut rig, c, "/a"), "count=3,bytes=3");
}

#[test]
fn members_of_a_multi_are_measured_by_what_was_there_before_it() {
    on_both(|rig| {
        let c = rig.connect(0);
        for path in ["/a", "/b"] {
            rig.create(c, path, 0);
        }
        limit(rig, c, "/a", "countHardLimit=3");
        // Each adds one to the one that was there, so all pass.
        let four: Vec<_> = (0..4).map(|i| (CREATE2, ask::create(&format!("/a/n{i}"), "", 0))).collect();
        let done = rig.multi(c, &four);
        assert!(done.iter().all(|done| matches!(done, Result1::PathStat(..))), "{done:?}");
        assert_eq!(used(rig, c, "/a"), "count=5,bytes=0");
        // Deleting in the same multi makes no room, nor does a limit that is raised in it or a number written over.
        let more = (CREATE, ask::create("/a/more", "", 0));
        for first in [
            (DELETE, ask::path_version("/a/n0", -1)),
            (SET_DATA, ask::set_data(&limits_path("/a"), "countHardLimit=9", -1)),
            (SET_DATA, ask::set_data(&stats_path("/a"), "count=0,bytes=0", -1)),
            (DELETE, ask::path_version(&limits_path("/a"), -1)),
        ] {
            assert_eq!(rig.multi(c, &[first, more.clone()]), [Result1::Error(0), Result1::Error(-125)]);
        }
        assert_eq!(used(rig, c, "/a"), "count=5,bytes=0");
        // A quota that comes in a multi is none to its members.
        rig.create(c, "/zookeeper/quota/b", 0);
        let quota = [
            (CREATE, ask::create(&limits_path("/b"), "countHardLimit=1", 0)),
            (CREATE, ask::create(&stats_path("/b"), "", 0)),
            (CREATE, ask::create("/b/x", "", 0)),
        ];
        assert_eq!(rig.multi(c, &quota).len(), 3);
        assert_eq!((used(rig, c, "/b").as_str(), rig.create(c, "/b/y", 0).err), ("count=2,bytes=0", -125));
        // What other requests have asked for is counted, though it is not answered.
        rig.set(c, &limits_path("/b"), "countHardLimit=4", -1).stat();
        let xids: Vec<_> = (0..4).map(|i| rig.send(c, CREATE, &ask::create(&format!("/b/p{i}"), "", 0))).collect();
        rig.run();
        let errors: Vec<_> = xids.into_iter().map(|xid| rig.take_reply(c, xid).err).collect();
        assert_eq!(errors, [0, 0, -125, -125]);
    });
}

#[test]
fn figures_that_cannot_be_read_refuse_the_request() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.create(c, "/a", 0);
        limit(rig, c, "/a", "countHardLimit=many");
        assert_eq!(rig.create(c, "/a/b", 0).err, -5);
        let both = [(CREATE, ask::create("/c", "", 0)), (CREATE, ask::create("/a/b", "", 0))];
        let refused = rig.call(c, MULTI, &ask::multi(&both));
        assert_eq!((refused.err, rig.exists(c, "/c", false).err), (-5, -101));
        rig.call(c, SET_DATA, &ask::set_data(&limits_path("/a"), "", -1)).stat();
        rig.create(c, "/a/b", 0).path_stat();
        assert_eq!(rig.call(c, CREATE2, &ask::create_with("/a/c", None, OPEN, 0)).err, 0);
        assert_eq!(used(rig, c, "/a"), "count=3,bytes=0");
    });
}

#[test]
fn nobody_hears_of_what_is_used_and_a_restart_keeps_it() {
    for shards in [1, 4] {
        let mut rig = Rig::new(shards);
        let c = rig.connect(0);
        rig.create(c, "/a", 0);
        limit(&mut rig, c, "/a", "count=1,bytes=-1=;countHardLimit=5");
        let stat = rig.get(c, &stats_path("/a"), true).data().1;
        let e = rig.connect(1);
        rig.create(e, "/a/e", 1).path_stat();
        rig.call(c, CREATE, &ask::create("/a/b", "xy", 0)).path();
        assert_eq!(rig.events(c), <[&str; 0]>::default());
        assert_eq!(used(&mut rig, c, "/a"), "count=3,bytes=2");
        let mut after = rig.get(c, &stats_path("/a"), false).data().1;
        after.data_length = stat.data_length;
        assert_eq!(after, stat, "no transaction, so no zxid, time or version");
        let mut rig = rig.crash(|_| 0);
        let c = rig.attach(0, c).unwrap();
        assert_eq!(used(&mut rig, c, "/a"), "count=3,bytes=2");
        for _ in 0..20 {
            rig.advance(1000);
            rig.exists(c, "/", false);
        }
        assert_eq!(used(&mut rig, c, "/a"), "count=2,bytes=2", "the ephemeral went with its session");
        for err in [0, 0, 0, -125] {
            let path = format!("/a/n{}", rig.exists(c, "/a", false).stat().num_children);
            assert_eq!(rig.create(c, &path, 0).err, err);
        }
    }
}
