//! Lasting watches: persistent and recursive ones, how they are asked for, removed and taken up again.

use super::ask::{self, Frame};
use super::{C, Rig, on_both};
use crate::engine::census::Word;
use crate::engine::message::{Inward, Outward};
use crate::proto::opcode::{ADD_WATCH, CHECK_WATCHES, CREATE, DELETE, PING, REMOVE_WATCHES, SET_DATA, SET_WATCHES2};

const NONE: [&str; 0] = [];

const PERSISTENT: i32 = 0;
const RECURSIVE: i32 = 1;

/// Types of checkWatches and removeWatches.
const TYPES: [(&str, i32); 5] = [("children", 1), ("data", 2), ("any", 3), ("persistent", 4), ("recursive", 5)];

/// A watch by addWatch, whose answer says twice that all is well.
fn add(rig: &mut Rig, c: C, path: &str, mode: i32) {
    let reply = rig.call(c, ADD_WATCH, &ask::path_number(path, mode));
    assert_eq!((reply.err, &*reply.body), (0, &[0; 4][..]), "{path}");
}

/// A watch of one of [`TYPES`].
fn leave(rig: &mut Rig, c: C, path: &str, kind: &str) {
    match kind {
        "children" => drop(rig.children(c, path, true).children_stat()),
        "data" => drop(rig.get(c, path, true).data()),
        "persistent" => add(rig, c, path, PERSISTENT),
        _ => add(rig, c, path, RECURSIVE),
    }
}

fn number(kind: &str) -> i32 {
    TYPES.iter().find(|(name, _)| *name == kind).unwrap().1
}

fn has(rig: &mut Rig, c: C, path: &str, kind: &str) -> bool {
    let reply = rig.call(c, CHECK_WATCHES, &ask::path_number(path, number(kind)));
    assert!(matches!(reply.err, 0 | -121), "{reply:?}");
    reply.err == 0
}

fn remove(rig: &mut Rig, c: C, path: &str, kind: &str) -> i32 {
    let reply = rig.call(c, REMOVE_WATCHES, &ask::path_number(path, number(kind)));
    assert!(reply.body.is_empty());
    reply.err
}

/// Two connections, the first of which has read what greeted it.
fn two(rig: &mut Rig) -> (C, C) {
    let (w, c) = (rig.connect(0), rig.connect(1));
    rig.frames(w);
    (w, c)
}

#[test]
fn a_persistent_watch_hears_of_its_znode_and_children_for_good() {
    on_both(|rig| {
        let (w, c) = two(rig);
        add(rig, w, "/p", PERSISTENT);
        for _ in 0..2 {
            rig.create(c, "/p", 0).path_stat();
            rig.set(c, "/p", "1", -1).stat();
            rig.create(c, "/p/a", 0).path_stat();
            rig.set(c, "/p/a", "1", -1).stat();
            rig.set_acl(c, "/p", ask::OPEN, -1).stat();
            rig.create(c, "/p/a/b", 0).path_stat();
            for path in ["/p/a/b", "/p/a", "/p"] {
                assert_eq!(rig.delete(c, path, -1).err, 0);
            }
            let told = ["created /p", "changed /p", "children /p", "children /p", "deleted /p"];
            assert_eq!(rig.events(w), told);
        }
        assert_eq!(rig.set(c, "/p", "1", -1).err, -101, "failed writes fire none");
        assert_eq!(rig.events(w), NONE);
    });
}

#[test]
fn a_recursive_watch_hears_of_everything_below_and_of_no_children() {
    on_both(|rig| {
        let (w, c) = two(rig);
        let root = rig.connect(2);
        rig.frames(root);
        add(rig, w, "/p", RECURSIVE);
        add(rig, root, "/", RECURSIVE);
        let steps = |rig: &mut Rig| {
            rig.create(c, "/p", 0).path_stat();
            rig.create(c, "/p/a", 0).path_stat();
            rig.create(c, "/pa", 0).path_stat();
            rig.set(c, "/p/a", "1", -1).stat();
            let members = [
                (CREATE, ask::create("/p/a/b", "", 0)),
                (SET_DATA, ask::set_data("/p", "x", -1)),
                (DELETE, ask::path_version("/p/a/b", -1)),
            ];
            rig.multi(c, &members);
            for path in ["/p/a", "/pa", "/p"] {
                assert_eq!(rig.delete(c, path, -1).err, 0);
            }
        };
        steps(rig);
        let below = [
            "created /p",
            "created /p/a",
            "changed /p/a",
            "created /p/a/b",
            "changed /p",
            "deleted /p/a/b",
            "deleted /p/a",
            "deleted /p",
        ];
        assert_eq!(rig.events(w), below);
        let mut all = below.to_vec();
        all.insert(2, "created /pa");
        all.insert(8, "deleted /pa");
        assert_eq!(rig.events(root), all);
        // What goes with a session is told as well.
        let brief = rig.connect(3);
        rig.create(brief, "/e", 1).path_stat();
        rig.call(brief, crate::proto::opcode::CLOSE_SESSION, &[]);
        assert_eq!(rig.events(root), ["created /e", "deleted /e"]);
        assert_eq!(rig.events(w), NONE);
    });
}

#[test]
fn one_change_is_told_once_however_many_watches_match() {
    on_both(|rig| {
        let (w, c) = two(rig);
        rig.create(c, "/p", 0).path_stat();
        rig.create(c, "/p/a", 0).path_stat();
        for (path, kind) in [("/", "recursive"), ("/p", "recursive"), ("/p", "persistent"), ("/p/a", "persistent")] {
            leave(rig, w, path, kind);
        }
        for kind in ["data", "children", "recursive"] {
            leave(rig, w, "/p/a", kind);
        }
        rig.set(c, "/p/a", "1", -1).stat();
        assert_eq!(rig.events(w), ["changed /p/a"]);
        assert!(!has(rig, w, "/p/a", "data") && has(rig, w, "/p/a", "children"));
        leave(rig, w, "/p/a", "data");
        assert_eq!(rig.delete(c, "/p/a", -1).err, 0);
        // Of the parent's children but one kind tells.
        assert_eq!(rig.events(w), ["deleted /p/a", "children /p"]);
        assert!(!has(rig, w, "/p/a", "data") && !has(rig, w, "/p/a", "children"), "both one-shot watches are used up");
        assert!(has(rig, w, "/p/a", "persistent") && has(rig, w, "/p/a", "recursive"));
        rig.create(c, "/p/a", 0).path_stat();
        assert_eq!(rig.events(w), ["created /p/a", "children /p"]);
        // A child watch is used up too where a recursive one above has told of the deletion.
        assert_eq!(remove(rig, w, "/p/a", "any"), 0);
        leave(rig, w, "/p/a", "children");
        assert_eq!(rig.delete(c, "/p/a", -1).err, 0);
        assert_eq!(rig.events(w), ["deleted /p/a", "children /p"]);
        assert!(!has(rig, w, "/p/a", "any"));
    });
}

#[test]
fn a_watch_is_checked_and_removed_by_its_type() {
    on_both(|rig| {
        let (w, c) = two(rig);
        rig.create(c, "/p", 0).path_stat();
        let kinds = ["children", "data", "persistent", "recursive"];
        for own in kinds {
            leave(rig, w, "/p", own);
            leave(rig, c, "/p", "data");
            for kind in kinds {
                assert_eq!(has(rig, w, "/p", kind), kind == own, "a {own} watch asked for as {kind}");
                assert_eq!(remove(rig, w, "/p", kind), if kind == own { 0 } else { -121 }, "a {own} watch as {kind}");
            }
            assert!(!has(rig, w, "/p", "any"));
            leave(rig, w, "/p", own);
            assert!(has(rig, w, "/p", "any") && !has(rig, w, "/", "any") && !has(rig, w, "/p/x", "any"));
            assert_eq!((remove(rig, w, "/p", "any"), remove(rig, w, "/p", "any")), (0, -121));
        }
        // One kind goes, the others stay; any takes them all; another's watches are nobody's business.
        for own in kinds {
            leave(rig, w, "/p", own);
        }
        assert_eq!(remove(rig, w, "/p", "persistent"), 0);
        assert!(["children", "data", "recursive"].into_iter().all(|kind| has(rig, w, "/p", kind)));
        assert_eq!(remove(rig, w, "/p", "any"), 0);
        assert!(kinds.into_iter().all(|kind| !has(rig, w, "/p", kind)) && has(rig, c, "/p", "data"));
        rig.set(c, "/p", "1", -1).stat();
        rig.create(c, "/p/x", 0).path_stat();
        assert_eq!(rig.events(w), NONE, "a removal is not told");
        // What they say is none of theirs.
        for (op, value) in [(ADD_WATCH, -1), (ADD_WATCH, 2), (CHECK_WATCHES, 0), (REMOVE_WATCHES, 6)] {
            assert_eq!(rig.call(w, op, &ask::path_number("/p", value)).err, -5);
        }
        // No path is wrong, but nothing happens there.
        for path in ["", "a", "/a/", "//", "/\0"] {
            add(rig, w, path, RECURSIVE);
            assert!(has(rig, w, path, "recursive"));
        }
        let null = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1];
        assert_eq!(rig.call(w, ADD_WATCH, &null).err, 0);
        rig.set(c, "/p", "2", -1).stat();
        assert_eq!(rig.events(w), NONE);
    });
}

#[test]
fn they_keep_their_place_in_the_lane() {
    on_both(|rig| {
        let (w, c) = two(rig);
        rig.hold = true;
        rig.send(w, CREATE, &ask::create("/p", "", 0));
        let add = rig.send(w, ADD_WATCH, &ask::path_number("/p", PERSISTENT));
        rig.send(w, SET_DATA, &ask::set_data("/p", "1", -1));
        let remove = rig.send(w, REMOVE_WATCHES, &ask::path_number("/p", number("persistent")));
        let check = rig.send(w, CHECK_WATCHES, &ask::path_number("/p", number("any")));
        rig.send(w, PING, &[]);
        rig.run();
        assert_eq!(rig.frames(w), []);
        rig.hold = false;
        rig.run();
        let frames = rig.frames(w);
        assert!(matches!(&frames[0], Frame::Reply(r) if r.path() == "/p"), "the creation comes before the watch: {frames:?}");
        assert!(matches!(&frames[1], Frame::Reply(r) if r.xid == add && r.err == 0));
        assert!(matches!(&frames[2], Frame::Event(e) if e.name() == "changed"));
        assert!(matches!(&frames[3], Frame::Reply(r) if r.stat().version == 1));
        assert!(matches!(&frames[4], Frame::Reply(r) if r.xid == remove && r.err == 0));
        assert!(matches!(&frames[5], Frame::Reply(r) if r.xid == check && r.err == -121));
        assert!(matches!(&frames[6], Frame::Reply(r) if r.xid == -2));
        assert_eq!(frames.len(), 7);
        rig.set(c, "/p", "2", -1).stat();
        assert_eq!(rig.events(w), NONE);
    });
}

#[test]
fn who_may_not_read_is_not_told_and_keeps_the_watch() {
    on_both(|rig| {
        let (w, c) = two(rig);
        rig.log_in(c, "user:pass");
        add(rig, w, "/", RECURSIVE);
        add(rig, w, "/p", PERSISTENT);
        rig.call(c, CREATE, &ask::create_with("/p", None, &[(31, "auth", "")], 0)).path();
        rig.create(c, "/p/open", 0).path_stat();
        rig.set(c, "/p", "1", -1).stat();
        // The event is judged by its own znode, not by where the watch is.
        assert_eq!(rig.events(w), ["created /p/open"]);
        rig.set_acl(c, "/p", ask::OPEN, -1).stat();
        rig.set(c, "/p", "2", -1).stat();
        rig.create(c, "/p/x", 0).path_stat();
        assert_eq!(rig.events(w), ["changed /p", "created /p/x", "children /p"]);
        rig.set_acl(c, "/p/x", &[(31, "auth", "")], -1).stat();
        assert_eq!(rig.delete(c, "/p/x", -1).err, 0);
        assert_eq!(rig.events(w), ["children /p"]);
    });
}

#[test]
fn set_watches_2_takes_lasting_watches_up_and_tells_nothing_for_them() {
    on_both(|rig| {
        let (w, c) = two(rig);
        let seen = rig.create(c, "/p", 0).zxid;
        rig.set(c, "/p", "1", -1).stat();
        rig.create(c, "/p/x", 0).path_stat();
        let lists: [&[&str]; 5] = [&["/p", "/gone"], &["/p"], &["/p"], &["/p", "/gone"], &["/p", "/late"]];
        let xid = rig.send(w, SET_WATCHES2, &ask::set_watches(seen, lists));
        rig.run();
        let frames = rig.frames(w);
        assert!(matches!(frames.last(), Some(Frame::Reply(r)) if r.xid == xid && r.err == 0 && r.body.is_empty()));
        let told = frames[..frames.len() - 1]
            .iter()
            .map(|f| if let Frame::Event(e) = f { (e.zxid, e.name(), &*e.path) } else { panic!() });
        let expected = [(-1, "changed", "/p"), (-1, "deleted", "/gone"), (-1, "created", "/p"), (-1, "children", "/p")];
        assert_eq!(told.collect::<Vec<_>>(), expected, "of one-shot watches only");
        for (path, kinds) in [("/p", &["persistent", "recursive"][..]), ("/gone", &["persistent"]), ("/late", &["recursive"])] {
            for (kind, _) in TYPES.into_iter().filter(|(kind, _)| *kind != "any") {
                assert_eq!(has(rig, w, path, kind), kinds.contains(&kind), "{path} {kind}");
            }
        }
        for _ in 0..2 {
            rig.create(c, "/late", 0).path_stat();
            rig.create(c, "/late/x", 0).path_stat();
            rig.create(c, "/gone", 0).path_stat();
            rig.set(c, "/p/x", "1", -1).stat();
            for path in ["/late/x", "/late", "/gone"] {
                assert_eq!(rig.delete(c, path, -1).err, 0);
            }
            let told = [
                "created /late",
                "created /late/x",
                "created /gone",
                "changed /p/x",
                "deleted /late/x",
                "deleted /late",
                "deleted /gone",
            ];
            assert_eq!(rig.events(w), told);
        }
        // A list that is missing, or null, is no list.
        let three = ask::set_watches(seen, [&["/p"], &[], &[]]);
        assert_eq!(rig.call(w, SET_WATCHES2, &three).err, -5);
        assert_eq!(rig.call(w, SET_WATCHES2, &[&three[..], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat()).err, -5);
        assert_eq!(rig.events(w), NONE);
    });
}

#[test]
fn lasting_watches_die_with_their_connection() {
    on_both(|rig| {
        let (w, c) = two(rig);
        add(rig, w, "/", RECURSIVE);
        add(rig, w, "/p", PERSISTENT);
        rig.hang_up(w);
        rig.run();
        let next = rig.connect(0);
        rig.frames(next);
        rig.create(c, "/p", 0).path_stat();
        rig.create(c, "/p/x", 0).path_stat();
        assert_eq!(rig.events(next), NONE);
        assert!(!has(rig, next, "/", "any") && !has(rig, next, "/p", "any"));
    });
}

#[test]
fn the_census_counts_as_zookeeper_does() {
    let mut rig = Rig::new(1);
    let (w, c) = two(&mut rig);
    rig.create(c, "/p", 0).path_stat();
    // Of one path the data table has one entry for data, persistent and recursive, the child table one for child and persistent.
    for kind in ["data", "children", "persistent", "recursive"] {
        leave(&mut rig, w, "/p", kind);
    }
    leave(&mut rig, w, "/r", "recursive");
    leave(&mut rig, w, "/q", "persistent");
    leave(&mut rig, c, "/p", "children");
    let now = rig.now;
    let shard = &mut rig.ends[0].shard;
    shard.hear(&Outward::Count(7, Word::Wchp), now);
    let part = shard.inward(now).find_map(|message| if let Inward::Part(7, part) = message { Some(part) } else { None }).unwrap();
    let session = rig.session(w);
    let listed: Vec<_> = part.data_watches.iter().map(|(path, who)| (&**path, &**who)).collect();
    assert_eq!(listed, [("/p", &[session][..]), ("/q", &[session]), ("/r", &[session])]);
    assert_eq!((part.watches_total, part.watchers), (6, 1));
}
