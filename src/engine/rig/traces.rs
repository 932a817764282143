//! Traces: whole conversations, written out and compared with those kept beside this file.
//!
//! `RINGKEEPER_BLESS=1` writes them anew; what changed is then for a reader to judge.

use std::fmt::Write as _;

use super::ask::{self, Frame, Result1};
use super::{C, Rig};
use crate::ground::ids::SessionId;
use crate::proto::opcode::{
    self, CHECK, CLOSE_SESSION, CREATE, CREATE2, DELETE, EXISTS, GET_CHILDREN, GET_DATA, MULTI, SET_DATA,
};

/// A rig whose conversations are written down.
struct Script {
    rig: Rig,
    text: String,
    names: Vec<(C, &'static str)>,
}

impl Script {
    fn new(shards: usize) -> Self {
        Self { rig: Rig::new(shards), text: String::new(), names: Vec::new() }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.text, "# {line}").unwrap();
    }

    fn name(&self, c: C) -> &'static str {
        self.names.iter().rev().find(|(known, _)| *known == c).unwrap().1
    }

    fn connect(&mut self, name: &'static str, shard: usize) -> C {
        let c = self.rig.begin(shard, SessionId::NONE, &[0; 16], 0, 4000);
        self.met(name, c, &format!("{name} on shard {shard} -> connect"));
        c
    }

    fn attach(&mut self, name: &'static str, shard: usize, of: C) -> C {
        let (session, password) = (self.rig.session(of), self.rig.pipes[of].password);
        let c = self.rig.begin(shard, session, &password, 0, 4000);
        let line = format!("{name} on shard {shard} -> connect with the session of {}", self.name(of));
        self.met(name, c, &line);
        c
    }

    fn met(&mut self, name: &'static str, c: C, line: &str) {
        self.names.push((c, name));
        writeln!(self.text, "{line}").unwrap();
    }

    fn send(&mut self, c: C, op: i32, body: &[u8], what: &str) {
        let xid = self.rig.send(c, op, body);
        writeln!(self.text, "{} -> {xid} {} {what}", self.name(c), opcode::short_name(op)).unwrap();
    }

    /// Runs, and writes down what came to whom.
    fn run(&mut self) {
        self.rig.run();
        self.told();
    }

    fn told(&mut self) {
        for (c, name) in self.names.clone() {
            for frame in self.rig.frames(c) {
                let line = match frame {
                    Frame::Connected(r) => format!("session {} for {} ms", r.session, r.timeout_ms),
                    Frame::Event(e) => format!("event {} {} at {:#x}", e.name(), e.path, e.zxid),
                    Frame::Reply(r) if r.err != 0 => format!("{} error {} at {:#x}", r.xid, r.err, r.zxid),
                    Frame::Reply(r) => format!("{} ok at {:#x}{}", r.xid, r.zxid, body(&r.body)),
                };
                writeln!(self.text, "    {name} <- {line}").unwrap();
            }
            if !self.rig.is_open(c) {
                writeln!(self.text, "    {name} <- closed").unwrap();
                self.names.retain(|(known, _)| *known != c);
            }
        }
    }

    fn end(self, name: &str, kept: &str) {
        if std::env::var_os("RINGKEEPER_BLESS").is_some() {
            let path = format!("{}/src/engine/traces/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, &self.text).unwrap();
        } else {
            assert_eq!(self.text, kept, "the trace {name} has changed; RINGKEEPER_BLESS=1 writes it anew");
        }
    }
}

/// A body in hexadecimal, short ones whole.
fn body(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => String::new(),
        n if n <= 40 => bytes.iter().fold(", ".to_owned(), |mut text, b| {
            write!(text, "{b:02x}").unwrap();
            text
        }),
        n => format!(", {n} bytes"),
    }
}

#[test]
fn watch_order() {
    let mut s = Script::new(4);
    let (a, b, w) = (s.connect("a", 0), s.connect("b", 1), s.connect("w", 3));
    s.run();
    s.say("w watches on another shard than those who write");
    s.send(a, CREATE, &ask::create("/p", "", 0), "/p");
    s.run();
    s.send(w, GET_DATA, &ask::path_watch("/p", true), "/p and watch");
    s.send(w, GET_CHILDREN, &ask::path_watch("/p", true), "/p and watch");
    s.send(w, EXISTS, &ask::path_watch("/p/x", true), "/p/x and watch");
    s.run();
    s.say("two writes in two batches; w writes itself, and reads behind its write");
    s.send(a, SET_DATA, &ask::set_data("/p", "1", -1), "/p = 1");
    s.send(b, CREATE2, &ask::create("/p/x", "", 1), "/p/x ephemeral");
    s.send(w, SET_DATA, &ask::set_data("/p", "2", -1), "/p = 2");
    s.send(w, GET_DATA, &ask::path_watch("/p", true), "/p and watch");
    s.run();
    s.send(b, DELETE, &ask::path_version("/p/x", 0), "/p/x");
    s.send(a, DELETE, &ask::path_version("/p", 2), "/p version 2");
    s.run();
    s.end("watch-order", include_str!("../traces/watch-order.txt"));
}

#[test]
fn multi_that_fails() {
    let mut s = Script::new(4);
    let (a, w) = (s.connect("a", 0), s.connect("w", 2));
    s.run();
    s.send(w, GET_CHILDREN, &ask::path_watch("/", true), "/ and watch");
    s.send(w, EXISTS, &ask::path_watch("/m/s-0000000000", true), "/m/s-0000000000 and watch");
    s.run();
    s.say("the third member fails");
    let members = [
        (CREATE, ask::create("/m", "", 0)),
        (CREATE, ask::create("/m/s-", "", 3)),
        (CHECK, ask::path_version("/none", 0)),
        (DELETE, ask::path_version("/m", -1)),
    ];
    let xid = s.rig.send(a, MULTI, &ask::multi(&members));
    s.rig.run();
    let reply = s.rig.take_reply(a, xid);
    let codes: Vec<_> = reply.results().into_iter().map(|r| if let Result1::Error(code) = r { code } else { 1 }).collect();
    writeln!(s.text, "a -> {xid} MULT create /m, create /m/s- ephemeral sequential, check /none, delete /m").unwrap();
    writeln!(s.text, "    a <- {xid} ok at {:#x}, results {codes:?}", reply.zxid).unwrap();
    s.told();
    s.say("without it they go through, with the number that the first attempt had");
    s.send(a, MULTI, &ask::multi(&members[..2]), "create /m, create /m/s- ephemeral sequential");
    s.run();
    s.say("the empty one succeeds");
    s.send(a, MULTI, &ask::multi(&[]), "of nothing");
    s.run();
    s.end("multi-that-fails", include_str!("../traces/multi-that-fails.txt"));
}

#[test]
fn session_that_moves() {
    let mut s = Script::new(4);
    let a = s.connect("a", 0);
    s.run();
    s.say("the disk holds a write back while the session moves to shard 1");
    s.rig.hold = true;
    s.send(a, CREATE, &ask::create("/e", "", 1), "/e ephemeral");
    s.run();
    let b = s.attach("b", 1, a);
    s.run();
    s.send(b, EXISTS, &ask::path_watch("/e", true), "/e and watch");
    s.send(b, SET_DATA, &ask::set_data("/e", "mine", 0), "/e = mine");
    s.run();
    s.say("what is under way comes first; then the disk goes on");
    s.rig.hold = false;
    s.run();
    s.say("it closes, and cannot come back");
    s.send(b, CLOSE_SESSION, &[], "");
    s.run();
    s.names.push((b, "b"));
    s.attach("c", 2, b);
    s.run();
    s.end("session-that-moves", include_str!("../traces/session-that-moves.txt"));
}

#[test]
fn expiry_with_ephemerals() {
    let mut s = Script::new(4);
    let (a, w) = (s.connect("a", 0), s.connect("w", 1));
    s.run();
    for path in ["/e1", "/e2"] {
        s.send(a, CREATE, &ask::create(path, "", 1), &format!("{path} ephemeral"));
    }
    s.run();
    for path in ["/e1", "/e2"] {
        s.send(w, EXISTS, &ask::path_watch(path, true), &format!("{path} and watch"));
    }
    s.send(w, GET_CHILDREN, &ask::path_watch("/", true), "/ and watch");
    s.run();
    for passed in (500..=6500).step_by(500) {
        s.rig.advance(500);
        s.say(&format!("{passed} ms"));
        s.send(w, opcode::PING, &[], "");
        s.run();
    }
    s.end("expiry-with-ephemerals", include_str!("../traces/expiry-with-ephemerals.txt"));
}

#[test]
fn restart() {
    let mut s = Script::new(4);
    let a = s.connect("a", 0);
    s.run();
    s.send(a, CREATE, &ask::create("/p", "kept", 0), "/p");
    s.send(a, CREATE2, &ask::create("/p/s-", "", 3), "/p/s- ephemeral sequential");
    s.run();
    s.say("what is not durable when the power goes is gone, and nobody was told of it");
    s.rig.hold = true;
    s.send(a, SET_DATA, &ask::set_data("/p", "lost", 0), "/p = lost");
    s.run();
    let Script { rig, text, names } = s;
    let mut s = Script { rig: rig.crash(|_| 0), text, names };
    s.run();
    s.names.push((a, "a"));
    let b = s.attach("b", 3, a);
    s.run();
    s.send(b, GET_DATA, &ask::path_watch("/p", false), "/p");
    s.send(b, GET_CHILDREN, &ask::path_watch("/p", false), "/p");
    s.send(b, CREATE, &ask::create("/p/s-", "", 2), "/p/s- sequential");
    s.run();
    s.end("restart", include_str!("../traces/restart.txt"));
}
