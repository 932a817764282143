//! Writes: what the ledger decides, seen from outside. Results, order of checks, Stats, sequence names, multis, ACLs.

use super::ask::{self, Entry, OPEN, Result1};
use super::{C, Rig, on_both};
use crate::ground::ids::Zxid;
use crate::proto::acl::Acl;
use crate::proto::opcode::{
    AUTH, CHECK, CREATE, CREATE_CONTAINER, CREATE_TTL, CREATE2, DELETE, DELETE_CONTAINER, EXISTS, GET_ACL, GET_CHILDREN,
    GET_DATA, MULTI, MULTI_READ, RECONFIG, SET_ACL, SET_DATA,
};
use crate::proto::stat::Stat;

const READ_ONLY: &[Entry<'static>] = &[(1, "world", "anyone")];

/// `/full` with a child, `/shut` and `/shut/x` that only ADMIN may change, `/eph` ephemeral, `/shut-eph` both.
fn furnish(rig: &mut Rig) -> C {
    let c = rig.connect(1);
    for (path, flags) in
        [("/full", 0), ("/full/x", 0), ("/shut", 0), ("/shut/x", 0), ("/shut/x/y", 0), ("/eph", 1), ("/shut-eph", 1)]
    {
        assert_eq!(rig.create(c, path, flags).err, 0, "{path}");
    }
    for path in ["/shut/x", "/shut", "/shut-eph"] {
        assert_eq!(rig.set_acl(c, path, READ_ONLY, -1).err, 0);
    }
    c
}

#[test]
fn create_checks_in_order() {
    on_both(|rig| {
        let c = furnish(rig);
        let cases: &[(&str, &[Entry<'_>], i32, i32)] = &[
            ("nope", &[], 9, -8),
            ("/none/x", &[], 7, -8),
            ("/none/x", &[], -1, -8),
            ("/none/x", &[], 5, -6),
            ("/none/x", &[], 6, -6),
            ("nope", &[], 0, -8),
            ("", &[], 0, -8),
            ("/none/\0", &[], 0, -8),
            ("/none/x", &[], 0, -114),
            ("/none/x", &[(31, "nope", "x")], 0, -114),
            ("/none/x", &[(31, "auth", "")], 0, -114),
            ("/none/x", OPEN, 0, -101),
            ("/none/.", OPEN, 0, -101),
            ("/full/../b", OPEN, 0, -101),
            ("/full//", OPEN, 2, -101),
            ("/shut/x", OPEN, 0, -102),
            ("/shut/.", OPEN, 0, -102),
            ("/shut-eph/x", OPEN, 0, -102),
            ("/shut/x", &[], 0, -114),
            ("/full/.", OPEN, 0, -8),
            ("/full/", OPEN, 0, -8),
            ("/eph/.", OPEN, 0, -8),
            ("/full/x", OPEN, 0, -110),
            ("/full/x", OPEN, 1, -110),
            ("/", OPEN, 0, -110),
            ("/eph/x", OPEN, 0, -108),
            ("/eph/x", OPEN, 1, -108),
            ("/eph/", OPEN, 3, -108),
        ];
        for &(path, acl, flags, err) in cases {
            for op in [CREATE, CREATE2] {
                let before = rig.get(c, "/", false).zxid;
                let reply = rig.call(c, op, &ask::create_with(path, Some(b"d"), acl, flags));
                assert_eq!((reply.err, reply.zxid), (err, before + 1), "{op} {path:?} {acl:?} {flags}: a refusal takes a zxid");
            }
        }
        for (flags, ttl, err) in [(0, 5, -8), (3, -1, -8), (5, 0, -6), (9, 1, -8)] {
            assert_eq!(rig.call(c, CREATE_TTL, &ask::create_ttl("/t", flags, ttl)).err, err);
        }
        assert_eq!(rig.call(c, CREATE_CONTAINER, &ask::create("/t", "", 9)).err, -8);
        assert_eq!(rig.create(c, "/plain", 4).err, 0, "a container flag on a plain create makes a persistent znode");
    });
}

#[test]
fn delete_checks_in_order() {
    on_both(|rig| {
        let c = furnish(rig);
        for (path, version, err) in [
            ("/", 7, -8),
            ("/zookeeper", 7, -8),
            ("/zookeeper/quota", 7, -8),
            ("/zookeeper/config", 7, -8),
            ("nope", -1, -8),
            ("", -1, -8),
            ("/full/\0", -1, -8),
            ("/none/x", -1, -101),
            ("/a//b", -1, -101),
            ("/shut/none", -1, -102),
            ("/shut/x", 9, -102),
            ("/full/none", 9, -101),
            ("/full/", 0, -101),
            ("/full", 9, -103),
            ("/full", 0, -111),
            ("/full", -1, -111),
        ] {
            let before = rig.get(c, "/", false).zxid;
            let reply = rig.delete(c, path, version);
            assert_eq!((reply.err, reply.zxid), (err, before + 1), "{path:?} {version}");
        }
        assert_eq!(rig.delete(c, "/full/x", 0).err, 0);
        assert_eq!(rig.delete(c, "/full", -1).err, 0);
    });
}

#[test]
fn set_and_check_in_order() {
    on_both(|rig| {
        let c = furnish(rig);
        for (path, version, err) in [
            ("/none/", 7, -8),
            ("", -1, -8),
            ("//", -1, -8),
            ("/none", 7, -101),
            ("/shut", 7, -102),
            ("/full", 7, -103),
            ("/full", -2, -103),
        ] {
            assert_eq!(rig.set(c, path, "x", version).err, err, "setData {path:?} {version}");
            let results = rig.multi(c, &[(CREATE, ask::create("/m", "", 0)), (SET_DATA, ask::set_data(path, "x", version))]);
            assert_eq!(results, [Result1::Error(0), Result1::Error(err)]);
            if err != -102 {
                let results = rig.multi(c, &[(CHECK, ask::path_version(path, version)), (CREATE, ask::create("/m", "", 0))]);
                assert_eq!(results, [Result1::Error(err), Result1::Error(-2)], "check {path:?} {version}");
            }
        }
        for (path, acl, version, err) in [
            ("/none/", &[][..], 7, -8),
            ("/none", &[(31, "nope", "x")][..], 7, -114),
            ("/none", OPEN, 7, -101),
            ("/shut", OPEN, 7, -102),
            ("/full", OPEN, 7, -103),
        ] {
            assert_eq!(rig.set_acl(c, path, acl, version).err, err, "setACL {path:?} {version}");
        }
        assert_eq!(rig.set_acl(c, "/full", OPEN, 0).stat().aversion, 1);
        assert_eq!(rig.set_acl(c, "/full", OPEN, 0).err, -103, "the version of an ACL is its own");
        // READ is what check asks for.
        assert_eq!(rig.set_acl(c, "/full/x", &[(2, "world", "anyone")], -1).err, 0);
        assert_eq!(rig.multi(c, &[(CHECK, ask::path_version("/full/x", 0))]), [Result1::Error(-102)]);
        let refused = rig.call(c, RECONFIG, &[0xff; 20]);
        assert_eq!(refused.err, -123);
        let unreadable = rig.call(c, RECONFIG, &[0xff; 19]);
        assert_eq!((unreadable.err, unreadable.zxid), (-5, refused.zxid), "what cannot be read is not numbered");
    });
}

#[test]
fn every_field_of_stat() {
    on_both(|rig| {
        let c = rig.connect(0);
        let t = |rig: &Rig| rig.now.wall.0;
        let t1 = t(rig);
        let (path, stat) = rig.call(c, CREATE2, &ask::create("/p", "abc", 0)).path_stat();
        let z1 = stat.czxid;
        let fresh = Stat { czxid: z1, mzxid: z1, pzxid: z1, ctime: t1, mtime: t1, data_length: 3, ..Stat::default() };
        assert_eq!((path.as_str(), stat), ("/p", fresh));

        rig.advance(500);
        let reply = rig.create(c, "/p/a", 1);
        let z2 = Zxid::from_wire(reply.zxid);
        assert_eq!(reply.path_stat().1.ephemeral_owner, rig.session(c).0);
        let with_child = Stat { cversion: 1, num_children: 1, pzxid: z2, ..fresh };
        assert_eq!(rig.exists(c, "/p", false).stat(), with_child);

        let t3 = t(rig);
        let stat = rig.set(c, "/p", "", 0).stat();
        let z3 = stat.mzxid;
        assert!(z3 > z2 && t3 > t1);
        let set = Stat { mzxid: z3, mtime: t3, version: 1, data_length: 0, ..with_child };
        assert_eq!(stat, set);

        rig.advance(500);
        let stat = rig.set_acl(c, "/p", &[(31, "world", "anyone"), (1, "ip", "10.0.0.1")], 0).stat();
        assert_eq!(stat, Stat { aversion: 1, ..set }, "setACL moves neither mzxid nor mtime");

        let z5 = Zxid::from_wire(rig.delete(c, "/p/a", 0).zxid);
        let gone = Stat { aversion: 1, cversion: 2, num_children: 0, pzxid: z5, ..set };
        for other in 0..4 {
            let d = rig.connect(other);
            assert_eq!(rig.exists(d, "/p", false).stat(), gone);
            assert_eq!(rig.get(d, "/p", false).data(), (Some(vec![]), gone));
            assert_eq!(rig.children(d, "/p", false).children_stat(), (vec![], gone));
            assert_eq!(rig.call(d, GET_ACL, &ask::path("/p")).acl().1, gone);
        }
        // Null data is not empty data, though both have no length.
        rig.call(c, CREATE, &ask::create_with("/null", None, OPEN, 0)).path();
        let (data, stat) = rig.get(c, "/null", false).data();
        assert_eq!((data, stat.data_length), (None, 0));
        let config = rig.exists(c, "/zookeeper/config", false).stat();
        assert_eq!((config.aversion, config.version, config.czxid), (-1, 0, Zxid::ZERO));
        assert_eq!(rig.exists(c, "", false).stat(), rig.exists(c, "/", false).stat(), "a read of the empty path reads the root");
    });
}

#[test]
fn sequence_numbers_count_creations() {
    on_both(|rig| {
        let c = rig.connect(2);
        rig.create(c, "/w", 0).path_stat();
        assert_eq!(rig.create(c, "/w/", 2).path_stat().0, "/w/0000000000");
        assert_eq!(rig.create(c, "/w/plain", 0).err, 0);
        assert_eq!(rig.create(c, "/w/s-", 3).path_stat().0, "/w/s-0000000002");
        // What fails uses no number, whatever the reason.
        assert_eq!(rig.create(c, "/w/plain", 0).err, -110);
        assert_eq!(rig.create(c, "/w/\u{1}", 2).err, -8);
        let aborted = [(CREATE, ask::create("/w/s-", "", 2)), (CHECK, ask::path_version("/none", 0))];
        assert_eq!(rig.multi(c, &aborted), [Result1::Error(0), Result1::Error(-101)]);
        assert_eq!(rig.create(c, "/w/s-", 2).path_stat().0, "/w/s-0000000003");
        let both = [(CREATE, ask::create("/w/m-", "", 2)), (CREATE, ask::create("/w/m-", "", 2))];
        assert_eq!(rig.multi(c, &both), [Result1::Path("/w/m-0000000004".into()), Result1::Path("/w/m-0000000005".into())]);
        // Deletions do not count.
        rig.create(c, "/d", 0).path_stat();
        for _ in 0..3 {
            rig.create(c, "/d/x", 0).path_stat();
            assert_eq!(rig.delete(c, "/d/x", -1).err, 0);
        }
        assert_eq!(rig.exists(c, "/d", false).stat().cversion, 6);
        assert_eq!(rig.create(c, "/d/s", 2).path_stat().0, "/d/s0000000003");
    });
}

#[test]
fn a_multi_is_one_or_nothing() {
    on_both(|rig| {
        let c = rig.connect(0);
        rig.create(c, "/old", 0).path_stat();
        let zxid = rig.get(c, "/", false).zxid;
        let members = [
            (CREATE2, ask::create("/m", "1", 0)),
            (CREATE, ask::create("/m/c", "", 1)),
            (SET_DATA, ask::set_data("/m", "22", 0)),
            (CHECK, ask::path_version("/m", 1)),
            (DELETE, ask::path_version("/old", 0)),
        ];
        let reply = rig.call(c, MULTI, &ask::multi(&members));
        assert_eq!(reply.zxid, zxid + 1);
        let z = Zxid::from_wire(reply.zxid);
        let now = rig.now.wall.0;
        let fresh = Stat { czxid: z, mzxid: z, pzxid: z, ctime: now, mtime: now, data_length: 1, ..Stat::default() };
        let expected = [
            Result1::PathStat("/m".into(), fresh),
            Result1::Path("/m/c".into()),
            Result1::Stat(Stat { version: 1, data_length: 2, cversion: 1, num_children: 1, ..fresh }),
            Result1::Done(CHECK),
            Result1::Done(DELETE),
        ];
        assert_eq!(reply.results(), expected);
        assert_eq!(rig.exists(c, "/old", false).err, -101);

        let before = rig.sequencer.digest().1;
        let failing = [
            (CREATE2, ask::create("/n", "", 0)),
            (CREATE2, ask::create("/n/c", "", 1)),
            (DELETE, ask::path_version("/m/c", -1)),
            (SET_DATA, ask::set_data("/m", "333", 1)),
            (CREATE, ask::create("/m/c/x", "", 0)),
            (DELETE, ask::path_version("/m", 1)),
        ];
        let results = rig.multi(c, &failing);
        assert_eq!(results, [0, 0, 0, 0, -101, -2].map(Result1::Error));
        assert_eq!(rig.sequencer.digest().1, before, "a multi that fails changes nothing");
        assert_eq!(rig.get(c, "/m", false).data().0, Some(b"22".to_vec()));
        assert_eq!(rig.exists(c, "/n", false).err, -101);
        let under_ephemeral = [(CREATE, ask::create("/e", "", 1)), (CREATE, ask::create("/e/x", "", 0))];
        assert_eq!(rig.multi(c, &under_ephemeral), [0, -108].map(Result1::Error));
    });
}

#[test]
fn multis_to_the_byte() {
    on_both(|rig| {
        let c = rig.connect(0);
        let zxid = rig.get(c, "/", false).zxid;
        let empty = rig.call(c, MULTI, &ask::multi(&[]));
        assert_eq!((empty.err, empty.zxid), (0, zxid + 1), "the empty multi takes a zxid");
        assert_eq!(empty.body, [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff]);

        let aborted =
            [(CREATE, ask::create("/x", "", 0)), (CHECK, ask::path_version("/none", 0)), (DELETE, ask::path_version("/x", -1))];
        let reply = rig.call(c, MULTI, &ask::multi(&aborted));
        let error = |code: i32| [&[0xff, 0xff, 0xff, 0xff, 0][..], &code.to_be_bytes(), &code.to_be_bytes()].concat();
        let end = [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff].to_vec();
        assert_eq!((reply.err, reply.body), (0, [error(0), error(-101), error(-2), end].concat()));

        for (members, err) in [
            (vec![(99, ask::path("/x"))], -5),
            (vec![(SET_ACL, ask::set_acl("/", OPEN, -1))], -5),
            (vec![(CREATE, ask::create("/x", "", 9))], -5),
            (vec![(CREATE, ask::create("/x", "", 0)), (GET_DATA, ask::path_watch("/", false))], -5),
            (vec![(MULTI, ask::multi(&[]))], -5),
        ] {
            let zxid = rig.get(c, "/", false).zxid;
            let reply = rig.call(c, MULTI, &ask::multi(&members));
            assert_eq!((reply.err, reply.zxid), (err, zxid + 1));
        }
        // Modes that are not enabled are refused as members, not as a whole.
        let ttl = [(CREATE_TTL, ask::create_ttl("/t", 5, 1000)), (CREATE_CONTAINER, ask::create("/t", "", 4))];
        assert_eq!(rig.multi(c, &ttl), [-6, -2].map(Result1::Error));
        // Ones that are, and a delete that is the server's own, which no client may put into a multi.
        let both = [(CREATE_CONTAINER, ask::create("/t", "", 4)), (CREATE, ask::create("/t/x", "", 0))];
        let [Result1::PathStat(path, stat), Result1::Path(child)] = &rig.multi(c, &both)[..] else { panic!("both are done") };
        assert_eq!((path.as_str(), stat.ephemeral_owner, child.as_str()), ("/t", 0, "/t/x"));
        assert_eq!(rig.call(c, MULTI, &ask::multi(&[(DELETE_CONTAINER, ask::path("/t"))])).err, -5);
        assert_eq!(rig.get(c, "/", false).err, 0, "the connection is usable");
    });
}

#[test]
fn a_multi_read_answers_each_for_itself() {
    on_both(|rig| {
        let c = furnish(rig);
        rig.set(c, "/full", "data", -1).stat();
        assert_eq!(rig.set_acl(c, "/shut/x", &[(16, "world", "anyone")], -1).err, -102, "READ alone does not give ADMIN");
        let members = [
            (GET_DATA, ask::path_watch("/full", true)),
            (GET_CHILDREN, ask::path_watch("/none", true)),
            (GET_CHILDREN, ask::path_watch("/full", true)),
            (GET_DATA, ask::path_watch("bad", false)),
            (GET_DATA, ask::path_watch("", false)),
        ];
        let zxid = rig.get(c, "/", false).zxid;
        let reply = rig.call(c, MULTI_READ, &ask::multi(&members));
        assert_eq!(reply.zxid, zxid, "a read takes no zxid");
        let stat = rig.exists(c, "/full", false).stat();
        let root = rig.exists(c, "/", false).stat();
        let expected = [
            Result1::Data(Some(b"data".to_vec()), stat),
            Result1::Error(-101),
            Result1::Children(vec!["x".into()]),
            Result1::Error(-101),
            Result1::Data(Some(vec![]), root),
        ];
        assert_eq!(reply.results(), expected);
        assert_eq!(rig.call(c, MULTI_READ, &ask::multi(&[])).results(), []);
        let mixed = [(GET_DATA, ask::path_watch("/full", false)), (CHECK, ask::path_version("/full", 0))];
        assert_eq!(rig.call(c, MULTI_READ, &ask::multi(&mixed)).err, -5);
        rig.set(c, "/full", "again", -1).stat();
        assert_eq!(rig.events(c), [""; 0], "members of a multiRead leave no watch");
    });
}

const USER: &str = "user:smGaoVKd/cQkjm7b88GyorAUz20=";

#[test]
fn acls_are_enforced() {
    on_both(|rig| {
        let (owner, other, root) = (rig.connect(0), rig.connect(1), rig.connect(2));
        rig.log_in(owner, "user:pass");
        rig.log_in(root, "super:test");
        let make = |acl: &[Entry<'_>], path: &str| ask::create_with(path, Some(b"s"), acl, 0);
        rig.call(owner, CREATE, &make(&[(31, "auth", "")], "/mine")).path();
        rig.call(owner, CREATE, &ask::create_with("/mine/x", None, OPEN, 0)).path();
        rig.call(other, CREATE, &make(&[(31, "ip", "10.1.2.0/24")], "/near")).path();
        rig.call(other, CREATE, &make(&[(31, "ip", "10.9.9.9")], "/far")).path();
        rig.call(other, CREATE, &make(&[(2, "world", "anyone")], "/blind")).path();

        for (c, can) in [(owner, true), (root, true), (other, false)] {
            let err = if can { 0 } else { -102 };
            assert_eq!(rig.get(c, "/mine", false).err, err);
            assert_eq!(rig.exists(c, "/mine", false).err, err);
            assert_eq!(rig.children(c, "/mine", false).err, err);
            assert_eq!(rig.call(c, GET_ACL, &ask::path("/mine")).err, err);
            assert_eq!(rig.set(c, "/mine", "t", -1).err, err);
            assert_eq!(rig.create(c, "/mine/y", 0).err, err);
            assert_eq!(rig.delete(c, "/mine/y", -1).err, err);
            assert_eq!(rig.set_acl(c, "/mine", &[(31, "digest", USER)], -1).err, err);
            assert_eq!(rig.get(c, "/mine/x", false).err, 0, "ACLs of ancestors are not asked");
        }
        assert_eq!(rig.get(owner, "/near", false).err, 0);
        assert_eq!((rig.get(owner, "/far", false).err, rig.get(root, "/far", false).err), (-102, 0));
        assert_eq!((rig.get(owner, "/blind", false).err, rig.set(owner, "/blind", "x", -1).err), (-102, 0));
        assert_eq!(rig.call(other, GET_ACL, &ask::path("/blind")).err, -102, "getACL wants READ or ADMIN");

        // Without ADMIN the hashes of digests are hidden.
        rig.set_acl(owner, "/mine", &[(31, "digest", USER), (1, "world", "anyone")], -1).stat();
        let shown = |rig: &mut Rig, c: C| rig.call(c, GET_ACL, &ask::path("/mine")).acl().0;
        let world = Acl::new(1, "world", "anyone");
        assert_eq!(shown(rig, owner), [Acl::new(31, "digest", USER), world.clone()]);
        assert_eq!(shown(rig, root), [Acl::new(31, "digest", USER), world.clone()]);
        assert_eq!(shown(rig, other), [Acl::new(31, "digest", "user:x"), world]);
        // Identities add up, and count for what comes after them.
        rig.log_in(other, "user:pass");
        assert_eq!(rig.set(other, "/mine", "u", -1).err, 0);
        // Refused credentials end the connection.
        let bad = rig.connect(3);
        rig.send(bad, EXISTS, &ask::path_watch("/", false));
        let xid = rig.send(bad, AUTH, &ask::auth("nope", "x"));
        rig.send(bad, EXISTS, &ask::path_watch("/", false));
        rig.run();
        let reply = rig.take_reply(bad, xid);
        assert_eq!((reply.err, reply.zxid, rig.is_open(bad)), (-115, 0, false));
        assert_eq!(rig.frames(bad).len(), 1, "what came before the refusal is answered, what came after it is not looked at");
    });
}
