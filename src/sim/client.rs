//! Client: one of those who ask. It speaks the real protocol over a connection without delay, and holds every answer against the history.

use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;
use super::log::hash;
use super::oracle::{Oracle, Verdict, Violation};
use super::stats::Stats;
use crate::ground::ids::{ConnId, SessionId, Zxid};
use crate::proto::connect::{ConnectRequest, ConnectResponse};
use crate::proto::event::NOTIFICATION_XID;
use crate::proto::frame::{self, Cut};
use crate::proto::jute::{Reader, Writer};
use crate::proto::multi::MultiHeader;
use crate::proto::opcode;
use crate::proto::reply::{PING_XID, ReplyHeader};
use crate::proto::stat::Stat;

/// xid of the request that asks for watches again.
const WATCHES_XID: i32 = -8;

/// Code of a znode that is not there.
const NO_NODE: i32 = -101;

/// Requests that may be under way.
const OUTSTANDING_MAX: usize = 40;

/// The znodes there are, besides the sequential ones below the last.
const PATHS: [&str; 7] = ["/a", "/b", "/c", "/d", "/e", "/f", "/s"];

/// A request without an answer.
#[derive(Debug)]
struct Asked {
    xid: i32,
    op: i32,
    path: String,
    /// What was acknowledged to anybody when it was asked.
    floor: Zxid,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Where it is connected: server, its life, the connection.
    pub at: Option<(usize, u64, ConnId)>,
    /// What the server has not taken yet.
    pub to_server: Vec<u8>,
    /// It does nothing until then, us.
    pub silent_until: u64,
    /// Its time-out, us.
    pub patience: u64,
    chance: Chance,
    received: Vec<u8>,
    is_connected: bool,
    session: SessionId,
    password: [u8; 16],
    timeout_ms: i32,
    last: Zxid,
    next_xid: i32,
    asked: VecDeque<Asked>,
    /// Watches on what was there, and when it was seen so.
    data_watches: BTreeMap<String, Zxid>,
    /// On what was not.
    exist_watches: BTreeMap<String, Zxid>,
    heard: u64,
    sent: u64,
}

fn wrong<T>(invariant: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { invariant, what })
}

fn string_and(path: &str, more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    out.string(path);
    more(&mut out);
    out
}

fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    string_and(path, |out| {
        out.buffer(Some(data));
        out.count(1);
        out.int(31);
        out.string("world");
        out.string("anyone");
        out.int(flags);
    })
}

fn set(path: &str, data: &[u8]) -> Vec<u8> {
    string_and(path, |out| {
        out.buffer(Some(data));
        out.int(-1);
    })
}

impl Client {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(seed: u64, number: usize, tick: u64) -> Self {
        let mut chance = Chance::new(seed, "client", number as u64);
        let timeout = tick * chance.within(4, 20);
        Self {
            at: None,
            to_server: Vec::new(),
            silent_until: 0,
            patience: timeout * 1000,
            chance,
            received: Vec::new(),
            is_connected: false,
            session: SessionId::NONE,
            password: [0; 16],
            timeout_ms: i32::try_from(timeout).expect("a few ticks"),
            last: Zxid::ZERO,
            next_xid: 1,
            asked: VecDeque::new(),
            data_watches: BTreeMap::new(),
            exist_watches: BTreeMap::new(),
            heard: 0,
            sent: 0,
        }
    }

    /// Its own chance.
    pub const fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Whether it has a session and is served.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.at.is_some() && self.is_connected
    }

    /// Whether it has waited for too long.
    #[must_use]
    pub const fn is_tired(&self, now: u64) -> bool {
        now - self.heard > self.patience * 2 / 3
    }

    /// A connection was made.
    pub fn connect(&mut self, now: u64, at: (usize, u64, ConnId)) {
        self.at = Some(at);
        self.heard = now;
        ConnectRequest {
            last_zxid_seen: self.last,
            timeout_ms: self.timeout_ms,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        }
        .encode(&mut self.to_server);
    }

    /// The connection is no more.
    pub fn disconnected(&mut self) {
        self.at = None;
        self.is_connected = false;
        self.asked.clear();
        self.to_server.clear();
        self.received.clear();
        // A server cannot tell what became of these meanwhile.
        self.exist_watches.clear();
    }

    fn send(&mut self, now: u64, xid: i32, op: i32, body: &[u8]) {
        self.sent = now;
        let start = frame::open(&mut self.to_server);
        self.to_server.int(xid);
        self.to_server.int(op);
        self.to_server.extend_from_slice(body);
        frame::close(&mut self.to_server, start);
    }

    /// Says that it lives, where it has said nothing for long.
    pub fn ping(&mut self, now: u64) {
        if now - self.sent > self.patience / 4 {
            self.send(now, PING_XID, opcode::PING, &[]);
        }
    }

    /// Asks for something.
    pub fn ask(&mut self, now: u64, bytes: u64, oracle: &Oracle) {
        if self.asked.len() >= OUTSTANDING_MAX {
            return;
        }
        let path = self.chance.pick(&PATHS);
        let mut data = vec![0; usize::try_from(8 + self.chance.below(bytes + 1)).expect("a small body")];
        data[..8].copy_from_slice(&self.chance.any().to_be_bytes());
        let other = self.chance.pick(&PATHS);
        let flag = i32::from(self.chance.coin());
        let (op, body) = match self.chance.below(100) {
            0..24 => (opcode::SET_DATA, set(path, &data)),
            24..38 => (opcode::CREATE, create(path, &data, if path == "/s" { 0 } else { flag })),
            38..48 => (opcode::CREATE, create("/s/x-", &data, 2 + flag)),
            48..56 => (opcode::DELETE, string_and(path, |out| out.int(-1))),
            56..70 => (opcode::GET_DATA, string_and(path, |out| out.bool(true))),
            70..80 => (opcode::EXISTS, string_and(path, |out| out.bool(true))),
            80..86 => (opcode::SYNC, string_and(path, |_| ())),
            86..97 => {
                let mut body = Vec::new();
                let member = |op, record: Vec<u8>, body: &mut Vec<u8>| {
                    MultiHeader { op, done: false, err: -1 }.encode(body);
                    body.extend(record);
                };
                member(opcode::SET_DATA, set(path, &data), &mut body);
                match flag {
                    0 => member(opcode::SET_DATA, set(other, &data[..8]), &mut body),
                    _ => member(opcode::CREATE, create(other, &data[..8], 0), &mut body),
                }
                MultiHeader::END.encode(&mut body);
                (opcode::MULTI, body)
            }
            97..99 => (opcode::GET_CHILDREN, string_and("/", |out| out.bool(false))),
            _ => (opcode::CLOSE_SESSION, Vec::new()),
        };
        let xid = self.next_xid;
        self.next_xid += 1;
        self.asked.push_back(Asked { xid, op, path: path.to_owned(), floor: oracle.acked });
        self.send(now, xid, op, &body);
    }

    /// Bytes came. What they say must be true.
    pub fn receive(&mut self, now: u64, bytes: &[u8], oracle: &mut Oracle, stats: &mut Stats) -> Verdict {
        self.heard = now;
        let mut all = std::mem::take(&mut self.received);
        all.extend_from_slice(bytes);
        let mut at = 0;
        while let Ok(Cut::Frame(body, len)) = frame::cut(&all[at..], 1 << 24) {
            at += len;
            if self.is_connected {
                self.frame(body, oracle, stats)?;
            } else {
                self.answered(now, body, stats);
            }
        }
        self.received = all.split_off(at);
        Ok(())
    }

    fn answered(&mut self, now: u64, body: &[u8], stats: &mut Stats) {
        let response = ConnectResponse::decode(body).expect("the first answer is a ConnectResponse");
        self.is_connected = response.timeout_ms > 0;
        if !self.is_connected || response.session != self.session {
            stats.count(if self.is_connected { "sessions opened" } else { "sessions lost" });
            self.data_watches.clear();
            self.exist_watches.clear();
        }
        self.session = response.session;
        self.password = response.password;
        if self.is_connected && !self.data_watches.is_empty() {
            stats.count("watches asked for again");
            let mut body = Vec::new();
            body.long(self.last.as_wire());
            body.count(self.data_watches.len());
            self.data_watches.keys().for_each(|path| body.string(path));
            body.count(0);
            body.count(0);
            self.send(now, WATCHES_XID, opcode::SET_WATCHES, &body);
        }
    }

    fn frame(&mut self, body: &[u8], oracle: &mut Oracle, stats: &mut Stats) -> Verdict {
        let mut r = Reader::new(body);
        let Ok(ReplyHeader { xid, zxid, err }) = ReplyHeader::decode(&mut r) else {
            return wrong("I13", "an answer has no header".to_owned());
        };
        if xid == NOTIFICATION_XID {
            let path = r.int().and_then(|_| r.int()).and_then(|_| r.string().map(std::borrow::Cow::into_owned));
            return self.event(&path.unwrap_or_default(), oracle, stats);
        }
        if zxid > 0 {
            let zxid = Zxid(zxid.cast_unsigned());
            self.shown(zxid, oracle)?;
        }
        if xid == PING_XID || xid == WATCHES_XID {
            return Ok(());
        }
        let Some(asked) = self.asked.pop_front().filter(|asked| asked.xid == xid) else {
            return wrong("I20", format!("session {}: an answer to {xid} comes out of its turn", self.session));
        };
        let zxid = Zxid(zxid.max(0).cast_unsigned());
        match asked.op {
            opcode::SYNC if err == 0 && zxid < asked.floor => {
                return wrong("I22", format!("a sync ends at {zxid}, {} was acknowledged before it was asked for", asked.floor));
            }
            opcode::GET_DATA | opcode::EXISTS => self.read(&asked, zxid, err, &mut r, oracle)?,
            opcode::SYNC | opcode::GET_CHILDREN => {}
            _ if zxid > Zxid::ZERO && err != -1 => {
                oracle.answered(self.session, xid, zxid, err)?;
                stats.acked += 1;
            }
            _ => {}
        }
        stats.count("answers");
        Ok(())
    }

    /// An answer shows the state at a zxid.
    fn shown(&mut self, zxid: Zxid, oracle: &Oracle) -> Verdict {
        if zxid < self.last {
            return wrong("I20", format!("session {}: shown {zxid} after {}", self.session, self.last));
        }
        if !oracle.is_committed(zxid) {
            return wrong("I13", format!("session {}: shown {zxid}, which is not committed", self.session));
        }
        self.last = zxid;
        for (path, since) in self.data_watches.iter().chain(&self.exist_watches) {
            if let Some(at) = oracle.model.next(path, *since).filter(|at| *at <= zxid) {
                let session = self.session;
                return wrong(
                    "I21",
                    format!("session {session}: shown {zxid}, and no event for {path}, watched since {since}, changed at {at}"),
                );
            }
        }
        Ok(())
    }

    fn read(&mut self, asked: &Asked, zxid: Zxid, err: i32, r: &mut Reader<'_>, oracle: &Oracle) -> Verdict {
        let path = asked.path.as_str();
        let known = oracle.model.at(path, zxid);
        let seen = match err {
            0 if asked.op == opcode::GET_DATA => {
                let data = r.buffer().ok().flatten().map(hash);
                Stat::decode(r).ok().and_then(|stat| Some((data?, stat.version)))
            }
            // Data are not shown.
            0 => Stat::decode(r).ok().map(|stat| (known.map_or(0, |known| known.0), stat.version)),
            NO_NODE => None,
            other => return wrong("I13", format!("reading {path} fails with {other}")),
        };
        if seen != known {
            return wrong("I13", format!("{path} is read as {seen:?} at {zxid}, and was {known:?}"));
        }
        if seen.is_some() {
            self.data_watches.entry(path.to_owned()).or_insert(zxid);
        } else if asked.op == opcode::EXISTS {
            self.exist_watches.entry(path.to_owned()).or_insert(zxid);
        }
        Ok(())
    }

    fn event(&mut self, path: &str, oracle: &Oracle, stats: &mut Stats) -> Verdict {
        stats.count("events");
        // Where both kinds of watch lie on a znode, each fires by itself; the older one is the one on what was not there.
        let since = self.exist_watches.remove(path).or_else(|| self.data_watches.remove(path));
        let Some(since) = since else {
            return wrong("I21", format!("session {}: an event for {path}, which is not watched", self.session));
        };
        if oracle.model.next(path, since).is_none() {
            return wrong("I21", format!("session {}: an event for {path}, which has not changed since {since}", self.session));
        }
        Ok(())
    }
}
