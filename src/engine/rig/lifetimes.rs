//! Lifetimes: containers, znodes with a time to live, and who takes them away; and the reads that count and list.

use super::ask::{self, OPEN};
use super::{C, Rig, Setup, on_both};
use crate::engine::sequencer::Lifetimes;
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::jute::Reader;
use crate::proto::opcode::{
    CREATE, CREATE_CONTAINER, CREATE_TTL, CREATE2, DELETE_CONTAINER, GET_ALL_CHILDREN_NUMBER, GET_EPHEMERALS, SET_ACL, WHO_AM_I,
};

/// Largest time to live, ms.
const TTL_MAX: i64 = (1 << 40) - 1;

fn extended(shards: usize, lifetimes: Lifetimes) -> Rig {
    Rig::with(Setup { lifetimes: Lifetimes { extended_types: true, ..lifetimes }, ..Setup::of(shards) })
}

fn container(rig: &mut Rig, c: C, path: &str) -> String {
    let (path, stat) = rig.call(c, CREATE_CONTAINER, &ask::create(path, "", 4)).path_stat();
    assert_eq!((stat.ephemeral_owner, stat.cversion), (0, 0));
    path
}

fn ttl(rig: &mut Rig, c: C, path: &str, flags: i32, ttl_ms: i64) -> String {
    rig.call(c, CREATE_TTL, &ask::create_ttl(path, flags, ttl_ms)).path_stat().0
}

fn is_there(rig: &mut Rig, c: C, path: &str) -> bool {
    rig.exists(c, path, false).err == 0
}

/// Lets time pass, the client speaking meanwhile.
fn pass(rig: &mut Rig, c: C, ms: u64) {
    for _ in 0..ms / 1000 {
        rig.advance(1000);
        rig.exists(c, "/", false);
    }
    rig.advance(ms % 1000);
}

/// Transactions by which znodes were taken away.
fn reaped(rig: &Rig) -> usize {
    let headers = rig.log.headers(Zxid::ZERO);
    let reaped = headers.iter().filter(|header| header.kind == DELETE_CONTAINER);
    reaped.inspect(|header| assert_eq!((header.session, header.cxid), (SessionId::NONE, 0))).count()
}

#[test]
fn times_to_live_and_modes_have_to_fit() {
    for shards in [1, 4] {
        let mut rig = extended(shards, Lifetimes::default());
        let c = rig.connect(0);
        for (flags, ttl_ms, err) in [
            (0, 5, -8),
            (0, -1, -8),
            (3, -1, -8),
            (4, -1, -8),
            (4, 5, -8),
            (7, 5, -8),
            (5, 0, -8),
            (5, -1, -8),
            (5, TTL_MAX + 1, -8),
            (6, i64::MIN, -8),
            (5, TTL_MAX, 0),
            (6, 1, 0),
        ] {
            assert_eq!(rig.call(c, CREATE_TTL, &ask::create_ttl("/t", flags, ttl_ms)).err, err, "{flags} {ttl_ms}");
        }
        for op in [CREATE, CREATE2, CREATE_CONTAINER] {
            for flags in [5, 6] {
                assert_eq!(rig.call(c, op, &ask::create("/x", "", flags)).err, -8, "{op} has no time to live");
            }
        }
        // The operation decides, and of the mode only whether there is a number.
        assert_eq!(container(&mut rig, c, "/c"), "/c");
        for (flags, path) in [(0, "/c0"), (1, "/c1"), (2, "/c20000000005"), (3, "/c30000000006")] {
            let body = ask::create(&path[..3], "", flags);
            assert_eq!(rig.call(c, CREATE_CONTAINER, &body).path_stat().0, path);
        }
        // All of them may have children, of every kind.
        for (path, flags) in [("/c/x", 0), ("/c1/x", 1), ("/t/x", 3)] {
            rig.create(c, path, flags).path_stat();
        }
        assert_eq!(ttl(&mut rig, c, "/c/t-", 6, 9), "/c/t-0000000001");
        let digest = rig.sequencer.digest();
        let mut rig = rig.crash(|_| 0);
        assert_eq!(rig.sequencer.digest(), digest);
        let c = rig.attach(1, c).unwrap();
        assert_eq!(rig.exists(c, "/c/t-0000000001", false).stat().ephemeral_owner, 0);
        assert_eq!(rig.call(c, CREATE_TTL, &ask::create_ttl("/again", 5, 1)).err, 0);
    }
}

#[test]
fn a_container_goes_once_its_last_child_has_gone() {
    on_both(|rig| {
        let c = rig.connect(0);
        for path in ["/c", "/never", "/held", "/outer", "/outer/inner"] {
            container(rig, c, path);
        }
        for path in ["/c/x", "/held/x", "/held/y", "/outer/inner/x", "/plain", "/plain/x"] {
            rig.create(c, path, 0).path_stat();
        }
        for path in ["/c/x", "/held/x", "/outer/inner/x", "/plain/x"] {
            assert_eq!(rig.delete(c, path, -1).err, 0);
        }
        rig.exists(c, "/c", true);
        pass(rig, c, 59_000);
        assert!(is_there(rig, c, "/c"), "it is looked at once a minute");
        let held = rig.sequencer.digest().0;
        rig.advance(1500);
        assert_eq!(rig.events(c), ["deleted /c"]);
        assert_eq!(reaped(rig), 3, "and what held nothing but what went goes in the same round");
        for (path, there) in [("/c", false), ("/outer", false), ("/never", true), ("/held", true), ("/plain", true)] {
            assert_eq!(is_there(rig, c, path), there, "{path}");
        }
        assert_eq!(rig.sequencer.digest().0.0, held.0 + 3, "a transaction each");
        // Without a new one nothing goes.
        pass(rig, c, 61_000);
        assert_eq!(reaped(rig), 3);
        assert_eq!(rig.delete(c, "/held/y", -1).err, 0);
        pass(rig, c, 61_000);
        assert!(!is_there(rig, c, "/held") && is_there(rig, c, "/never"));
    });
}

#[test]
fn a_container_that_was_never_used_goes_where_that_is_wanted() {
    let mut rig = extended(4, Lifetimes { max_never_used_ms: 90_000, ..Lifetimes::default() });
    let c = rig.connect(0);
    container(&mut rig, c, "/c");
    container(&mut rig, c, "/kept");
    pass(&mut rig, c, 80_000);
    rig.set(c, "/kept", "x", -1).stat();
    pass(&mut rig, c, 45_000);
    assert!(!is_there(&mut rig, c, "/c") && is_there(&mut rig, c, "/kept"), "a write begins it anew");
}

#[test]
fn a_znode_goes_when_its_time_is_over() {
    let mut rig = extended(4, Lifetimes { check_ms: 1000, ..Lifetimes::default() });
    let c = rig.connect(0);
    for (path, ms) in [("/short", 1500), ("/written", 1500), ("/parent", 1500), ("/long", 100_000)] {
        ttl(&mut rig, c, path, 5, ms);
    }
    rig.create(c, "/parent/x", 0).path_stat();
    rig.advance(1200);
    rig.set(c, "/written", "x", -1).stat();
    assert!(is_there(&mut rig, c, "/short"));
    rig.advance(1200);
    for (path, there) in [("/short", false), ("/written", true), ("/parent", true), ("/long", true)] {
        assert_eq!(is_there(&mut rig, c, path), there, "{path}");
    }
    rig.delete(c, "/parent/x", -1);
    let mut rig = rig.crash(|_| 0);
    let c = rig.attach(1, c).unwrap();
    rig.advance(2100);
    for (path, there) in [("/written", false), ("/parent", false), ("/long", true)] {
        assert_eq!(is_there(&mut rig, c, path), there, "{path} after a restart");
    }
    // Where the operator has taken extended types back, what there is stays.
    rig.setup.lifetimes.extended_types = false;
    let mut rig = rig.crash(|_| 0);
    let c = rig.attach(1, c).unwrap();
    assert_eq!(rig.call(c, CREATE_TTL, &ask::create_ttl("/t", 5, 1000)).err, -6);
    pass(&mut rig, c, 110_000);
    assert!(is_there(&mut rig, c, "/long"));
}

#[test]
fn so_many_a_minute_and_no_more() {
    let mut rig = extended(1, Lifetimes { check_ms: 1000, max_per_minute: 600, ..Lifetimes::default() });
    let c = rig.connect(0);
    for i in 0..40 {
        ttl(&mut rig, c, &format!("/t{i}"), 5, 1);
    }
    rig.advance(1000);
    let first = reaped(&rig);
    assert!((1..=2).contains(&first), "{first}");
    rig.advance(1000);
    let second = reaped(&rig) - first;
    assert!((9..=11).contains(&second), "one in 100 ms, and {second} in a second");
    rig.advance(5000);
    assert_eq!(reaped(&rig), 40);
}

#[test]
fn many_at_once_are_taken_in_turns() {
    let mut rig = extended(1, Lifetimes { check_ms: 1000, max_per_minute: i32::MAX as u64, ..Lifetimes::default() });
    let c = rig.connect(0);
    for i in 0..300 {
        ttl(&mut rig, c, &format!("/t{i}"), 5, 1);
    }
    rig.now.micros += 1_100_000;
    rig.now.wall.0 += 1100;
    let before = rig.sequencer.digest().0.0;
    rig.sequencer.tick(rig.now, rig.now.mono());
    assert_eq!(rig.sequencer.digest().0.0 - before, 64);
    rig.advance(1000);
    assert_eq!(reaped(&rig), 300);
}

#[test]
fn descendants_ephemerals_and_identities() {
    on_both(|rig| {
        let c = rig.connect(0);
        let other = rig.connect(1);
        let number = |rig: &mut Rig, c: C, path: &str| {
            let reply = rig.call(c, GET_ALL_CHILDREN_NUMBER, &ask::path(path));
            if reply.err == 0 { Reader::new(&reply.body).int().unwrap() } else { reply.err }
        };
        let listed = |rig: &mut Rig, c: C, prefix: &str| {
            let reply = rig.call(c, GET_EPHEMERALS, &ask::path(prefix));
            assert_eq!(reply.err, 0);
            let mut paths: Vec<_> = Reader::new(&reply.body).strings().unwrap().iter().map(ToString::to_string).collect();
            paths.sort();
            paths
        };
        assert_eq!((number(rig, c, "/"), number(rig, c, "")), (3, 4));
        assert_eq!(rig.call(c, GET_ALL_CHILDREN_NUMBER, &[0xff; 4]).err, -5);
        for (path, flags) in [("/a", 0), ("/a/b", 0), ("/a/b/c", 1), ("/a/b/d", 1), ("/a/e", 0), ("/ab", 1)] {
            rig.create(c, path, flags).path_stat();
        }
        rig.create(other, "/a/other", 1).path_stat();
        for (path, count) in [("/", 10), ("/a", 5), ("/a/b", 2), ("/a/e", 0), ("/zookeeper", 2), ("/none", -101)] {
            assert_eq!(number(rig, c, path), count, "{path}");
        }
        rig.call(c, SET_ACL, &ask::set_acl("/a", &[(30, "world", "anyone")], -1));
        assert_eq!((number(rig, c, "/a"), number(rig, c, "/a/b")), (-102, 2), "the znode itself must be readable");
        for all in ["/", "", "  ", " / "] {
            assert_eq!(listed(rig, c, all), ["/a/b/c", "/a/b/d", "/ab"], "{all:?}");
        }
        assert_eq!(rig.call(c, GET_EPHEMERALS, &[0xff; 4]).err, 0, "null is all as well");
        assert_eq!(listed(rig, c, "/a/b"), ["/a/b/c", "/a/b/d"]);
        assert_eq!(listed(rig, c, "/ab"), ["/ab"]);
        assert_eq!(listed(rig, other, "/"), ["/a/other"]);
        // Another shard tells the same of a session that has come to it.
        let c = rig.attach(3, c).unwrap();
        assert_eq!(listed(rig, c, "/a/b/d"), ["/a/b/d"]);
        rig.delete(c, "/ab", -1);
        assert_eq!(listed(rig, c, "/").len(), 2);

        rig.log_in(c, "user:secret");
        rig.log_in(c, "super:test");
        let reply = rig.call(c, WHO_AM_I, &[]);
        let mut r = Reader::new(&reply.body);
        let told: Vec<_> =
            (0..r.count().unwrap().unwrap()).map(|_| format!("{}:{}", r.string().unwrap(), r.string().unwrap())).collect();
        assert!(r.rest().is_empty());
        assert_eq!(told, ["ip:10.1.2.3", "digest:user", "super:", "digest:super"]);
        assert_eq!(rig.set_acl(c, "/a", OPEN, -1).err, 0);
    });
}
