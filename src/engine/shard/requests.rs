//! Requests: from the bytes of a connection to reads served, writes sent inward, and refusals.

use std::sync::Arc;

use super::conn::Phase;
use super::flow::Held;
use super::lane::Pending;
use super::{Shard, reads};
use crate::engine::census::Word;
use crate::engine::message::{Ask, Doors, Inward, Item};
use crate::ground::ids::ConnId;
use crate::ground::limits;
use crate::ground::time::{Millis, Now};
use crate::proto::code::Code;
use crate::proto::frame::{self, BadLength, Cut};
use crate::proto::http;
use crate::proto::jute::Reader;
use crate::proto::opcode;
use crate::proto::reply;
use crate::proto::request::RequestHeader;

/// What a connection's first bytes are.
#[derive(PartialEq)]
enum First {
    /// An admin word, which is being answered.
    Word,
    /// An admin word that lacks what belongs to it.
    Part,
    /// A frame's length.
    Length,
}

/// What becomes of a frame that is too long.
enum Overlong {
    /// Its header has not come yet.
    More,
    /// Its request is refused; so many bytes of it are used, and the others are passed over as they come.
    Refused(usize),
    /// Its connection ends.
    Fatal,
}

/// How a request is handled.
enum Kind {
    Read,
    Write,
    Ping,
    Auth,
    Sasl,
    /// Refused, and the connection ends.
    Unknown,
}

const fn kind(op: i32) -> Kind {
    match op {
        opcode::EXISTS
        | opcode::GET_DATA
        | opcode::GET_CHILDREN
        | opcode::GET_CHILDREN2
        | opcode::GET_ACL
        | opcode::SYNC
        | opcode::MULTI_READ
        | opcode::GET_EPHEMERALS
        | opcode::GET_ALL_CHILDREN_NUMBER
        | opcode::WHO_AM_I
        | opcode::SET_WATCHES
        | opcode::SET_WATCHES2
        | opcode::ADD_WATCH
        | opcode::CHECK_WATCHES
        | opcode::REMOVE_WATCHES => Kind::Read,
        opcode::CREATE
        | opcode::CREATE2
        | opcode::CREATE_CONTAINER
        | opcode::CREATE_TTL
        | opcode::DELETE
        | opcode::SET_DATA
        | opcode::SET_ACL
        | opcode::MULTI
        | opcode::RECONFIG
        | opcode::CLOSE_SESSION => Kind::Write,
        opcode::PING => Kind::Ping,
        opcode::AUTH => Kind::Auth,
        opcode::SASL => Kind::Sasl,
        _ => Kind::Unknown,
    }
}

impl Shard {
    /// Takes what can be taken of a connection's input and says how many bytes that was. What is left is an unfinished frame,
    /// or waits because the connection may not go on ([`Shard::take_resumed`] tells when it may).
    pub fn receive(&mut self, id: ConnId, input: &[u8], now: Now) -> usize {
        let (held_since, mut unread_since) =
            self.conns.get(id).map_or((None, None), |conn| (conn.held_since.take(), conn.unread_since.take()));
        let mut used = 0;
        while used < input.len() {
            if !self.takes_input(id) {
                self.hold_back(id, held_since, now);
                break;
            }
            let Some(conn) = self.conns.get(id) else { return input.len() };
            if conn.skip > 0 {
                let skipped = conn.skip.min(input.len() - used);
                conn.skip -= skipped;
                used += skipped;
                continue;
            }
            match conn.phase {
                Phase::Leaving | Phase::Ending => return input.len(),
                Phase::Collecting => {
                    if self.collect(id, &input[used..]) {
                        return input.len();
                    }
                    break;
                }
                Phase::Fresh => match self.word(id, &input[used..]) {
                    First::Word => return input.len(),
                    First::Part => break,
                    First::Length => {}
                },
                _ => {}
            }
            let body = match frame::cut(&input[used..], self.config.frame_max) {
                Ok(Cut::Frame(body, len)) => {
                    used += len;
                    body
                }
                Ok(Cut::More(_)) => break,
                Err(bad) => match self.overlong(id, &input[used..], bad, now) {
                    Overlong::More => break,
                    Overlong::Refused(taken) => {
                        used += taken;
                        continue;
                    }
                    Overlong::Fatal => {
                        self.drop_conn(id, &bad.to_string());
                        return input.len();
                    }
                },
            };
            self.counters.received += 1;
            self.counters.bytes_received += body.len() as u64 + 4;
            if self.conns.get(id).is_some_and(|conn| conn.phase == Phase::Fresh) {
                self.connect(id, body, now);
            } else {
                // Of what was not read, only the first is known to have been there all the time.
                self.request(id, body, held_since.or(unread_since.take()), now);
            }
        }
        used
    }

    /// What has come of a connection waits, because the operator will not have more under way: from now on, or since it began to.
    fn hold_back(&mut self, id: ConnId, since: Option<Millis>, now: Now) {
        let since = since.or_else(|| self.credit.is_throttled().then(|| now.mono()));
        if let Some(conn) = self.conns.get(id) {
            conn.held_since = since;
        }
    }

    /// A frame that is longer than may be. A write that is not far beyond is refused and passed over, so that its session lives on: a client
    /// that asks the same again after each lost connection would never learn why. Everything else ends the connection, as all of it does in
    /// ZooKeeper; kazoo, for one, counts on that for a write of 2 MiB.
    fn overlong(&mut self, id: ConnId, input: &[u8], bad: BadLength, now: Now) -> Overlong {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.phase == Phase::Live) else { return Overlong::Fatal };
        let length = match usize::try_from(bad.0) {
            Ok(length) if length <= limits::OVERLONG_TIMES * self.config.frame_max && self.desk.auth.lets_in(&conn.who) => length,
            _ => return Overlong::Fatal,
        };
        let Some(header) = input.get(4..4 + RequestHeader::LEN) else { return Overlong::More };
        let Ok(RequestHeader { xid, op }) = RequestHeader::decode(&mut Reader::new(header)) else { return Overlong::Fatal };
        if !matches!(kind(op), Kind::Write) || op == opcode::CLOSE_SESSION {
            return Overlong::Fatal;
        }
        conn.stats.received += 1;
        conn.skip = length - RequestHeader::LEN;
        let code = if self.doors == Doors::ReadOnly { Code::NotReadOnly } else { Code::MarshallingError };
        conn.lane.park(Pending::Refusal { xid, code, is_last: false });
        self.counters.received += 1;
        self.counters.bytes_received += length as u64 + 4;
        self.touch(id);
        self.release(id, now);
        Overlong::Refused(4 + RequestHeader::LEN)
    }

    /// Takes the request of whoever collects metrics; returns whether it was whole.
    fn collect(&mut self, id: ConnId, input: &[u8]) -> bool {
        match http::asked(input) {
            http::Asked::More => return false,
            http::Asked::Metrics => {
                if let Some(conn) = self.conns.get(id) {
                    conn.phase = Phase::Asking { is_http: true };
                }
                self.messages.push(Inward::Ask(id, Word::Mntr));
            }
            other => {
                if let Some(text) = http::refusal(other) {
                    self.speak(id, &text);
                }
            }
        }
        true
    }

    /// Takes an admin word, if the input begins with one.
    fn word(&mut self, id: ConnId, input: &[u8]) -> First {
        let Some((first, rest)) = input.split_first_chunk::<4>() else { return First::Length };
        let Some(word) = Word::parse(*first) else { return First::Length };
        if !self.config.words.allows(word) {
            let text = self.config.words.refusal(word.name());
            self.speak(id, &text);
        } else if word == Word::Gtmk || word == Word::Stmk {
            let mask = match (word, rest.first_chunk()) {
                (Word::Stmk, None) => return First::Part,
                (Word::Stmk, Some(mask)) => Some(i64::from_be_bytes(*mask)),
                _ => None,
            };
            let mask = self.config.words.trace_mask(mask);
            self.speak(id, &mask.to_string());
        } else if word.is_local() {
            let text = self.config.words.answer(word, None);
            self.speak(id, &text);
        } else {
            self.counters.received += 1;
            if let Some(conn) = self.conns.get(id) {
                conn.phase = Phase::Asking { is_http: false };
                conn.stats.received += 1;
            }
            self.messages.push(Inward::Ask(id, word));
        }
        First::Word
    }

    fn request(&mut self, id: ConnId, body: &[u8], held_since: Option<Millis>, now: Now) {
        let mut r = Reader::new(body);
        let Ok(RequestHeader { xid, op }) = RequestHeader::decode(&mut r) else {
            self.drop_conn(id, "its request has no header");
            return;
        };
        self.touch(id);
        let Some(conn) = self.conns.get(id) else { return };
        conn.stats.received += 1;
        if !matches!(kind(op), Kind::Auth | Kind::Sasl) && !self.desk.auth.lets_in(&conn.who) {
            self.turn_away(id, xid, op, now);
            return;
        }
        let body = r.rest();
        if let Some(since) = held_since.filter(|_| !matches!(kind(op), Kind::Auth | Kind::Sasl)) {
            match self.credit.flow().after(now.mono().since(since), op, conn.timeout_ms) {
                Held::Done => {}
                Held::Refused => {
                    conn.lane.park(Pending::Refusal { xid, code: Code::ThrottledOp, is_last: false });
                    self.counters.throttled += 1;
                    self.release(id, now);
                    return;
                }
                Held::Stale => {
                    self.drop_conn(id, "its request was held back longer than its session's timeout");
                    return;
                }
            }
        }
        match kind(op) {
            Kind::Write if op == opcode::CLOSE_SESSION && self.doors == Doors::ReadOnly => {
                conn.lane.park(Pending::Refusal { xid, code: Code::Ok, is_last: true });
                conn.phase = Phase::Leaving;
                self.release(id, now);
            }
            Kind::Write | Kind::Read
                if self.doors == Doors::ReadOnly && (op == opcode::SYNC || matches!(kind(op), Kind::Write)) =>
            {
                conn.lane.park(Pending::Refusal { xid, code: Code::NotReadOnly, is_last: false });
                self.release(id, now);
            }
            Kind::Read if op == opcode::SYNC && self.config.is_member => self.park_write(id, xid, op, body, now),
            Kind::Read if conn.lane.is_clear() => {
                reads::serve(&mut self.desk, conn, id, xid, op, body);
                self.replied(id, op, xid, now.mono(), now);
            }
            Kind::Ping if conn.lane.is_clear() => {
                self.touch_now |= conn.is_overdue(now.mono());
                reply::bare(&mut conn.out, reply::PING_XID, self.desk.applied, Code::Ok);
                self.replied(id, op, reply::PING_XID, now.mono(), now);
            }
            Kind::Read => {
                let weight = reads::weight(&self.desk, conn, op, body);
                conn.lane.park(Pending::Read { xid, op, body: body.into(), weight, arrived: now.mono() });
            }
            Kind::Ping => {
                self.touch_now |= conn.is_overdue(now.mono());
                let body = Box::default();
                conn.lane.park(Pending::Read { xid: reply::PING_XID, op, body, weight: 0, arrived: now.mono() });
            }
            Kind::Write if self.credit.has_no_room_for(body.len()) => {
                self.counters.large_rejected += 1;
                self.drop_conn(id, "its request is one large request too many (largeRequestMaxBytes)");
            }
            Kind::Write => self.park_write(id, xid, op, body, now),
            Kind::Auth => self.authenticate(id, xid, body, now),
            Kind::Sasl => self.prove(id, xid, body, now),
            Kind::Unknown => {
                conn.lane.park(Pending::Refusal { xid, code: Code::Unimplemented, is_last: true });
                conn.phase = Phase::Leaving;
                self.release(id, now);
            }
        }
    }

    /// Sends a request inward, where its turn comes; what comes after it in this lane waits.
    fn park_write(&mut self, id: ConnId, xid: i32, op: i32, body: &[u8], now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.lane.park(Pending::Write { xid, arrived: now.mono() });
        let (session, who) = (conn.session, Arc::clone(&conn.who));
        if op == opcode::CLOSE_SESSION {
            // What a client sends after its farewell is not looked at.
            conn.phase = Phase::Leaving;
        }
        if let Some(auditor) = &mut self.auditor {
            auditor.asks(id, (session, xid, op), body, &who, &self.desk.auth);
        }
        self.credit.take(body.len());
        let start = self.train.arena.len();
        self.train.arena.extend_from_slice(body);
        let body = start..self.train.arena.len();
        self.entrain(Item { conn: id, ask: Ask::Write { session, xid, op, body, who } }, now);
    }
}
