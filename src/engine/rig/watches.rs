//! Watches: what fires, when, how often, and in which place of a connection's stream.

use super::ask::{self, Frame};
use super::{C, Rig, on_both};
use crate::proto::opcode::{
    CHECK, CREATE, DELETE, EXISTS, GET_CHILDREN, GET_DATA, MULTI, PING, SET_ACL, SET_DATA, SET_WATCHES, SYNC,
};

const NONE: [&str; 0] = [];

fn quiet(rig: &mut Rig, c: C) {
    rig.frames(c);
}

#[test]
fn each_kind_fires_once() {
    on_both(|rig| {
        let (w, c) = (rig.connect(0), rig.connect(1));
        quiet(rig, w);
        assert_eq!(rig.exists(w, "/p", true).err, -101, "a watch is left on what is missing");
        assert_eq!(rig.get(w, "/p", true).err, -101);
        rig.create(c, "/p", 0).path_stat();
        assert_eq!(rig.events(w), ["created /p"]);
        rig.set(c, "/p", "1", -1).stat();
        assert_eq!(rig.events(w), NONE, "once");

        rig.get(w, "/p", true).data();
        rig.exists(w, "/p", true).stat();
        rig.children(w, "/p", true).children_stat();
        rig.set_acl(c, "/p", ask::OPEN, -1).stat();
        assert_eq!(rig.events(w), NONE, "setACL fires nothing");
        rig.set(c, "/p", "2", -1).stat();
        assert_eq!(rig.events(w), ["changed /p"], "exists and getData share one watch");
        rig.create(c, "/p/a", 0).path_stat();
        assert_eq!(rig.events(w), ["children /p"]);
        rig.create(c, "/p/b", 0).path_stat();
        assert_eq!(rig.events(w), NONE);

        // A deletion tells once and takes both; the parent's children changed as well.
        rig.get(w, "/p/a", true).data();
        rig.children(w, "/p/a", true).children_stat();
        rig.children(w, "/p", true).children_stat();
        assert_eq!(rig.delete(c, "/p/a", -1).err, 0);
        assert_eq!(rig.events(w), ["deleted /p/a", "children /p"]);
        rig.create(c, "/p/a", 0).path_stat();
        assert_eq!(rig.events(w), NONE);

        // A child watch alone hears of the deletion of its znode.
        rig.call(w, GET_CHILDREN, &ask::path_watch("/p/a", true)).children();
        assert_eq!(rig.delete(c, "/p/a", -1).err, 0);
        assert_eq!(rig.events(w), ["deleted /p/a"]);
        // Failed reads leave no watch, failed writes fire none.
        assert_eq!(rig.children(w, "/none", true).err, -101);
        rig.get(w, "/p", true).data();
        assert_eq!(rig.set(c, "/p", "x", 77).err, -103);
        let aborted = [(SET_DATA, ask::set_data("/p", "x", -1)), (CHECK, ask::path_version("/none", 0))];
        rig.multi(c, &aborted);
        rig.create(c, "/none", 0).path_stat();
        assert_eq!(rig.events(w), NONE);
        rig.set(w, "/p", "own", -1).stat();
        assert_eq!(rig.events(w), ["changed /p"], "one's own change is told too");
    });
}

#[test]
fn a_multi_fires_member_by_member_under_one_zxid() {
    on_both(|rig| {
        let (w, c) = (rig.connect(0), rig.connect(3));
        rig.create(c, "/p", 0).path_stat();
        quiet(rig, w);
        rig.children(w, "/", true).children_stat();
        rig.get(w, "/p", true).data();
        rig.exists(w, "/q", true);
        let members =
            [(CREATE, ask::create("/q", "", 0)), (SET_DATA, ask::set_data("/p", "x", -1)), (DELETE, ask::path_version("/q", -1))];
        let zxid = rig.call(c, MULTI, &ask::multi(&members)).zxid;
        let frames = rig.frames(w);
        let zxids: Vec<_> = frames.iter().map(|f| if let Frame::Event(e) = f { e.zxid } else { 0 }).collect();
        assert_eq!(zxids, [zxid; 3]);
        let text: Vec<_> = frames.iter().map(|f| if let Frame::Event(e) = f { (e.name(), &*e.path) } else { ("", "") }).collect();
        assert_eq!(text, [("created", "/q"), ("children", "/"), ("changed", "/p")]);
    });
}

#[test]
fn an_event_comes_before_what_reveals_it() {
    on_both(|rig| {
        let (w, c) = (rig.connect(1), rig.connect(2));
        rig.create(c, "/p", 0).path_stat();
        quiet(rig, w);
        rig.get(w, "/p", true).data();
        // The watcher's own write stands before its read in the lane; the other's change is delivered in between.
        rig.hold = true;
        rig.send(c, SET_DATA, &ask::set_data("/p", "new", -1));
        rig.run();
        rig.send(w, CREATE, &ask::create("/own", "", 0));
        rig.send(w, GET_DATA, &ask::path_watch("/p", true));
        rig.send(w, PING, &[]);
        rig.run();
        assert_eq!(rig.frames(w), []);
        rig.hold = false;
        rig.run();
        let frames = rig.frames(w);
        assert!(matches!(&frames[0], Frame::Event(e) if e.name() == "changed"), "{frames:?}");
        assert!(matches!(&frames[1], Frame::Reply(r) if r.path() == "/own"));
        assert!(matches!(&frames[2], Frame::Reply(r) if r.data().0.as_deref() == Some(b"new")));
        assert!(matches!(&frames[3], Frame::Reply(r) if r.xid == -2));
        assert_eq!(frames.len(), 4);
        rig.set(c, "/p", "newer", -1).stat();
        assert_eq!(rig.events(w), ["changed /p"]);
    });
}

#[test]
fn who_may_not_read_is_not_told() {
    on_both(|rig| {
        let (w, reader, c) = (rig.connect(0), rig.connect(1), rig.connect(2));
        rig.log_in(c, "user:pass");
        rig.log_in(reader, "user:pass");
        rig.create(c, "/p", 0).path_stat();
        rig.create(c, "/p/x", 0).path_stat();
        for watcher in [w, reader] {
            quiet(rig, watcher);
            rig.get(watcher, "/p", true).data();
            rig.children(watcher, "/p", true).children_stat();
            rig.get(watcher, "/p/x", true).data();
            rig.exists(watcher, "/p/y", true);
        }
        rig.set_acl(c, "/p", &[(31, "auth", "")], -1).stat();
        rig.set_acl(c, "/p/x", &[(31, "auth", "")], -1).stat();
        rig.set(c, "/p", "1", -1).stat();
        assert_eq!(rig.delete(c, "/p/x", -1).err, 0);
        rig.call(c, CREATE, &ask::create_with("/p/y", None, &[(31, "auth", "")], 0)).path();
        assert_eq!(rig.events(reader), ["changed /p", "deleted /p/x", "children /p", "created /p/y"]);
        assert_eq!(rig.events(w), NONE);
        // The watches were used up all the same.
        rig.set_acl(c, "/p", ask::OPEN, -1).stat();
        rig.set(c, "/p", "2", -1).stat();
        rig.create(c, "/p/z", 0).path_stat();
        assert_eq!(rig.events(w), NONE);
    });
}

#[test]
fn set_watches_tells_what_was_missed() {
    on_both(|rig| {
        let c = rig.connect(0);
        for path in ["/p", "/p/x", "/q", "/late"] {
            rig.create(c, path, 0).path_stat();
        }
        let seen = rig.set(c, "/q", "1", -1).zxid;
        rig.set(c, "/p", "2", -1).stat();
        rig.create(c, "/q/x", 0).path_stat();
        let w = rig.connect(1);
        quiet(rig, w);
        let data: &[&str] = &["/p", "/q", "/gone", "/p", "not/a/path"];
        let lists: [&[&str]; 3] = [data, &["/late", "/none"], &["/p", "/q", "/gone2"]];
        let xid = rig.send(w, SET_WATCHES, &ask::set_watches(seen, lists));
        rig.run();
        let frames = rig.frames(w);
        assert!(matches!(frames.last(), Some(Frame::Reply(r)) if r.xid == xid && r.err == 0 && r.body.is_empty()));
        let told: Vec<_> = frames[..frames.len() - 1]
            .iter()
            .map(|f| if let Frame::Event(e) = f { format!("{} {} {}", e.zxid, e.name(), e.path) } else { String::new() })
            .collect();
        let expected = [
            "-1 changed /p",
            "-1 deleted /gone",
            "-1 changed /p",
            "-1 deleted not/a/path",
            "-1 created /late",
            "-1 children /q",
            "-1 deleted /gone2",
        ];
        assert_eq!(told, expected);
        // The rest is armed: data of /q, existence of /none, children of /p.
        rig.set(c, "/p", "3", -1).stat();
        rig.create(c, "/q/y", 0).path_stat();
        rig.set(c, "/late", "x", -1).stat();
        assert_eq!(rig.events(w), NONE);
        rig.set(c, "/q", "4", -1).stat();
        rig.create(c, "/none", 0).path_stat();
        rig.create(c, "/p/y", 0).path_stat();
        assert_eq!(rig.events(w), ["changed /q", "created /none", "children /p"]);
        // A negative zxid is before everything.
        rig.send(w, SET_WATCHES, &ask::set_watches(-1, [&["/zookeeper"], &[], &[]]));
        rig.run();
        assert!(matches!(&rig.frames(w)[0], Frame::Event(e) if e.name() == "changed"));
    });
}

#[test]
fn watchers_on_every_shard_hear_everything_once() {
    let mut rig = Rig::new(4);
    let c = rig.connect(0);
    rig.create(c, "/p", 0).path_stat();
    let watchers: Vec<_> = (0..8).map(|i| rig.connect(i)).collect();
    for &w in &watchers {
        quiet(&mut rig, w);
    }
    for round in 0..20 {
        for &w in &watchers {
            rig.send(w, GET_DATA, &ask::path_watch("/p", true));
            rig.send(w, GET_CHILDREN, &ask::path_watch("/p", true));
            rig.send(w, EXISTS, &ask::path_watch("/p/x", true));
        }
        rig.run();
        for &w in &watchers {
            quiet(&mut rig, w);
        }
        // One shard is late; it must lose nothing.
        rig.ends[round % 4].paused = true;
        rig.send(c, SET_DATA, &ask::set_data("/p", "x", -1));
        rig.run();
        rig.send(c, CREATE, &ask::create("/p/x", "", 0));
        rig.send(c, SYNC, &ask::path("/p"));
        rig.run();
        rig.send(c, DELETE, &ask::path_version("/p/x", -1));
        rig.send(c, SET_ACL, &ask::set_acl("/p", ask::OPEN, -1));
        rig.run();
        rig.ends[round % 4].paused = false;
        rig.run();
        for &w in &watchers {
            assert_eq!(rig.events(w), ["changed /p", "created /p/x", "children /p"], "round {round}, watcher {w}");
        }
        quiet(&mut rig, c);
    }
}

#[test]
fn watches_die_with_their_connection() {
    on_both(|rig| {
        let (w, c) = (rig.connect(1), rig.connect(0));
        rig.create(c, "/p", 0).path_stat();
        rig.get(w, "/p", true).data();
        rig.hang_up(w);
        rig.run();
        // The next connection takes the slot, and none of the watches.
        let next = rig.connect(1);
        quiet(rig, next);
        rig.set(c, "/p", "x", -1).stat();
        assert_eq!(rig.events(next), NONE);
    });
}
