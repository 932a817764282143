//! Deliver: adopt, fire watches, and if the request is ours, answer and release the lane. In this order, in one function.

use std::mem;

use super::conn::Phase;
use super::{Desk, Shard, reads};
use crate::auth;
use crate::engine::message::{Batch, Doors, Entry, Member, Outcome};
use crate::engine::stages::Stage;
use crate::ground::ids::{ConnId, SessionId, ShardId, Zxid};
use crate::ground::limits;
use crate::ground::time::{Millis, Now};
use crate::proto::acl;
use crate::proto::code::Code;
use crate::proto::connect::ConnectResponse;
use crate::proto::event::{self, EventType};
use crate::proto::multi::{self, MultiHeader};
use crate::proto::opcode;
use crate::proto::reply;
use crate::session::secret::password;
use crate::tree::change::{Put, Step};
use crate::tree::record::Record;
use crate::watch::{Fired, WatcherId};

use super::lane::Pending;

/// zxid of replies that belong to no transaction: unknown operations.
const NO_ZXID: Zxid = Zxid(u64::MAX);

/// `DataTree.DIGEST_LOG_INTERVAL`: the digest at every zxid that it divides is remembered, for `hash`.
const DIGEST_EACH: u64 = 128;

/// `DataTree.DIGEST_LOG_LIMIT`.
const DIGESTS_MAX: usize = 1024;

impl Shard {
    /// Adopts a batch, transaction by transaction.
    pub fn deliver(&mut self, batch: &Batch, now: Now) {
        let (mut steps_at, mut answered) = (0, 0);
        for entry in &batch.entries {
            let steps_end = entry.steps_end as usize;
            let steps = &batch.steps[steps_at..steps_end];
            steps_at = steps_end;
            assert!(entry.zxid > self.desk.applied, "a shard applies zxids in order: {} after {}", entry.zxid, self.desk.applied);
            for step in steps {
                self.desk.view.adopt(step);
                if !self.desk.watches.is_empty() {
                    self.fire(step, entry);
                }
            }
            self.desk.applied = entry.zxid;
            if entry.zxid.0 % DIGEST_EACH == 0 {
                if self.digests.len() == DIGESTS_MAX {
                    self.digests.pop_front();
                }
                self.digests.push_back((entry.zxid, self.desk.view.digest()));
            }
            if let Some(ticket) = entry.ticket
                && ticket.shard == self.config.id
            {
                self.credit.give_back(entry.cost);
                answered += 1;
                if let Some(auditor) = &mut self.auditor {
                    auditor.delivered(ticket.conn, entry, steps, now.wall.0);
                }
                self.answer(ticket.conn, entry, steps, now);
            }
            if entry.outcome == Outcome::Closed {
                if let Some(auditor) = self.auditor.as_ref().filter(|_| self.config.id == ShardId(0)) {
                    auditor.closed(entry.session, steps, now.wall.0);
                }
                self.session_closed(entry.session);
            }
        }
        self.stages.record(Stage::Deliver, batch.times.shown, now.micros, answered);
        self.answered += answered;
        self.answered_us = now.micros.max(batch.times.shown);
    }

    /// Answers given since this was last asked are in their sockets, or wait for room there; `now` is a moment after that. Asked only where
    /// there are [`Shard::has_answered`].
    pub fn responded(&mut self, now: Now) {
        self.stages.record(Stage::Respond, self.answered_us, now.micros, mem::take(&mut self.answered));
    }

    /// Whether a write was answered since [`Shard::responded`] was last told.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// Tells the watchers of one change. An event stands in a connection's output before any reply that reveals the change.
    fn fire(&mut self, step: &Step, entry: &Entry) {
        match step {
            Step::Put { record, what, .. } => {
                if *what == Put::Data {
                    self.tell(record.path(), Fired::DataChanged, EventType::NodeDataChanged, record, entry);
                }
            }
            Step::Link { record, parent_record, .. } => {
                self.tell(record.path(), Fired::Created, EventType::NodeCreated, record, entry);
                self.tell(parent_record.path(), Fired::ChildrenChanged, EventType::NodeChildrenChanged, parent_record, entry);
            }
            Step::Unlink { removed, parent_record, .. } => {
                self.tell(removed.path(), Fired::Deleted, EventType::NodeDeleted, removed, entry);
                self.tell(parent_record.path(), Fired::ChildrenChanged, EventType::NodeChildrenChanged, parent_record, entry);
            }
        }
    }

    /// One event: encoded once, copied to every watcher who may read the znode.
    fn tell(&mut self, path: &str, fired: Fired, kind: EventType, subject: &Record, entry: &Entry) {
        let Self { desk: Desk { watches, auth, .. }, conns, fired: watchers, event: bytes, counters, .. } = self;
        watchers.clear();
        watches.fire(path, fired, watchers);
        if watchers.is_empty() {
            return;
        }
        bytes.clear();
        event::encode(bytes, entry.zxid.as_wire(), kind, path);
        for &WatcherId(slot) in watchers.iter() {
            let Some(conn) = conns.at_slot(slot) else { continue };
            if !subject.is_open() && !auth::permits(subject.acl(), acl::READ, &conn.who, auth) {
                continue;
            }
            conn.out.extend_from_slice(bytes);
            conn.stats.sent += 1;
            counters.sent += 1;
            conns.mark_told(slot);
        }
        self.end_those_who_do_not_read();
    }

    /// Closes watchers whose output has passed the limit.
    fn end_those_who_do_not_read(&mut self) {
        for i in 0..self.fired.len() {
            let WatcherId(slot) = self.fired[i];
            if self.conns.at_slot(slot).is_some_and(|conn| conn.held() > limits::OUTPUT_MAX)
                && let Some(id) = self.conns.id_at(slot)
            {
                self.drop_conn(id, "it does not read its events");
            }
        }
    }

    fn answer(&mut self, id: ConnId, entry: &Entry, steps: &[Step], now: Now) {
        let zxid = self.desk.applied;
        let Some(conn) = self.conns.get(id) else { return };
        if let Outcome::Opened { timeout_ms } = entry.outcome {
            if conn.phase == Phase::Opening {
                self.seat(id, entry.session, timeout_ms, now);
            }
            return;
        }
        if conn.phase == Phase::Ending {
            // Nobody is answered there any more, and its lane no longer keeps step.
            return;
        }
        let arrived = conn.lane.delivered(entry.xid);
        match &entry.outcome {
            // The session lives elsewhere: no answer, as in ZooKeeper.
            Outcome::Refused(Code::SessionMoved) => {
                self.drop_conn(id, "its session moved");
                return;
            }
            Outcome::Refused(code) => reply::bare(&mut conn.out, entry.xid, zxid, *code),
            Outcome::Closed | Outcome::Opened { .. } => reply::bare(&mut conn.out, entry.xid, zxid, Code::Ok),
            Outcome::Done => reply::ok(&mut conn.out, entry.xid, zxid, |out| done(out, entry.op, asked(steps).next())),
            Outcome::Multi(members) => reply::ok(&mut conn.out, entry.xid, zxid, |out| members_done(out, members, steps)),
        }
        self.replied(id, entry.op, entry.xid, arrived, now);
        self.release(id, now);
    }

    /// Answers what has no transaction, a write that was not done or a farewell, when all that was asked before it has been answered.
    pub(super) fn declined(&mut self, id: ConnId, xid: i32, op: i32, code: Code, now: Now) {
        let zxid = self.desk.applied;
        let Some(conn) = self.conns.get(id).filter(|conn| conn.phase != Phase::Ending) else { return };
        let arrived = conn.lane.delivered(xid);
        if code == Code::SessionMoved {
            self.drop_conn(id, "its session moved");
            return;
        }
        reply::bare(&mut conn.out, xid, zxid, code);
        self.replied(id, op, xid, arrived, now);
        self.release(id, now);
    }

    /// Answers a `sync`, when all that was asked before it has been answered.
    pub(super) fn synced(&mut self, id: ConnId, xid: i32, body: &[u8], now: Now) {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.phase != Phase::Ending) else { return };
        let arrived = conn.lane.delivered(xid);
        reads::serve(&mut self.desk, conn, id, xid, opcode::SYNC, body);
        self.replied(id, opcode::SYNC, xid, arrived, now);
        self.release(id, now);
    }

    /// A reply has been appended to the connection's output.
    pub(super) fn replied(&mut self, id: ConnId, op: i32, xid: i32, arrived: Millis, now: Now) {
        let zxid = self.desk.applied;
        let Some(conn) = self.conns.get(id) else { return };
        let latency = conn.count_reply(op, xid, zxid, arrived, now);
        self.counters.latency.record(latency);
        self.counters.sent += 1;
        self.conns.mark_dirty(id.slot);
    }

    /// Serves the requests that waited behind the write just answered, up to the next write.
    pub(super) fn release(&mut self, id: ConnId, now: Now) {
        while let Some(conn) = self.conns.get(id) {
            let Some(pending) = conn.lane.released() else { return };
            match pending {
                Pending::Read { xid, op, body, arrived, .. } => {
                    if op == opcode::PING {
                        reply::bare(&mut conn.out, reply::PING_XID, self.desk.applied, Code::Ok);
                    } else {
                        reads::serve(&mut self.desk, conn, id, xid, op, &body);
                    }
                    self.replied(id, op, xid, arrived, now);
                    if self.conns.get(id).is_some_and(|conn| conn.held() > limits::OUTPUT_MAX) {
                        // The lane lets in what its answers weigh; they have grown since.
                        self.drop_conn(id, "its answers are more than may be held");
                        return;
                    }
                }
                Pending::Refusal { xid, code, is_last } => {
                    let zxid = match code {
                        Code::MarshallingError | Code::ThrottledOp => self.desk.applied,
                        _ => NO_ZXID,
                    };
                    reply::bare(&mut conn.out, xid, zxid, code);
                    self.replied(id, opcode::NOTIFICATION, xid, now.mono(), now);
                    if is_last {
                        self.end(id);
                        return;
                    }
                }
                Pending::Write { .. } => unreachable!("a write is released by its delivery"),
            }
        }
    }

    /// Gives a connection its session and tells it so.
    pub(super) fn seat(&mut self, id: ConnId, session: SessionId, timeout_ms: i32, now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.phase = Phase::Live;
        conn.session = session;
        conn.timeout_ms = timeout_ms;
        let response = ConnectResponse {
            timeout_ms,
            session,
            password: password(session),
            read_only: conn.knows_read_only.then_some(self.doors == Doors::ReadOnly),
        };
        response.encode(&mut conn.out);
        self.sessions.insert(session, id);
        self.replied(id, opcode::CREATE_SESSION, 0, now.mono(), now);
    }

    /// A session is over: its connection, if it is here, ends once its answers are written.
    pub(super) fn session_closed(&mut self, session: SessionId) {
        if let Some(id) = self.sessions.remove(&session) {
            self.end(id);
        }
    }
}

/// The changes that a transaction asked for, one a write. What the server draws from them is nothing to answer with.
fn asked(steps: &[Step]) -> impl Iterator<Item = &Step> {
    steps.iter().filter(|step| step.is_asked())
}

/// Body of the answer to a single write, from its change.
fn done(out: &mut Vec<u8>, op: i32, step: Option<&Step>) {
    match (op, step) {
        (opcode::CREATE, Some(Step::Link { record, .. })) => crate::proto::jute::Writer::string(out, record.path()),
        (opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL, Some(Step::Link { record, .. })) => {
            reply::path_and_stat(out, record.path(), &record.stat());
        }
        (opcode::SET_DATA | opcode::SET_ACL, Some(Step::Put { record, .. })) => record.stat().encode(out),
        (opcode::DELETE, Some(Step::Unlink { .. })) => {}
        (op, step) => panic!("operation {op} with the change {step:?}"),
    }
}

/// Body of the answer to a multi.
fn members_done(out: &mut Vec<u8>, members: &[Member], steps: &[Step]) {
    let mut steps = asked(steps);
    for member in members {
        let (op, step) = match member {
            Member::Error(code) => {
                multi::encode_error(out, *code);
                continue;
            }
            Member::Checked => (opcode::CHECK, None),
            Member::Created => (opcode::CREATE, steps.next()),
            Member::Created2 => (opcode::CREATE2, steps.next()),
            Member::Deleted => (opcode::DELETE, steps.next()),
            Member::Set => (opcode::SET_DATA, steps.next()),
        };
        MultiHeader { op, done: false, err: 0 }.encode(out);
        if step.is_some() {
            done(out, op, step);
        }
    }
    MultiHeader::END.encode(out);
    assert!(steps.next().is_none(), "every change belongs to a member");
}
