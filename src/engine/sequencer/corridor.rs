//! Corridor: what a learner's clients have asked of the leader, until the answer comes back with the committed transactions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Home, Sequencer};
use crate::engine::message::{Ask, Item, Outward, Train};
use crate::ground::ids::{SessionId, ShardId, Ticket};
use crate::ground::time::Now;
use crate::proto::code::Code;
use crate::proto::opcode;
use crate::proto::packet::{Forwarded, Packet};
use crate::proto::txn::TxnHeader;
use crate::session::State;
use crate::zab::Out;

/// A request whose answer is a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) xid: i32,
    pub(super) op: i32,
    pub(super) cost: u32,
    /// When it was sent on, monotonic us; 0 where that is of no interest.
    pub(super) since_us: u64,
    /// What a refusal of the leader's is answered with instead of what it says.
    pub(super) instead: Option<Code>,
}

impl Asked {
    /// A session is asked for.
    pub(super) const fn opening(ticket: Ticket) -> Self {
        Self { ticket, xid: 0, op: opcode::CREATE_SESSION, cost: 0, since_us: 0, instead: None }
    }
}

/// A `sync` under way to the leader.
#[derive(Debug)]
struct Syncing {
    ticket: Ticket,
    xid: i32,
    cost: u32,
    body: Box<[u8]>,
}

/// What is under way to the leader.
#[derive(Debug, Default)]
pub(super) struct Corridor {
    /// Of each session, in the order in which it was asked.
    waiting: BTreeMap<SessionId, VecDeque<Asked>>,
    /// Sessions that come back here, and their time-outs.
    returning: BTreeMap<SessionId, VecDeque<(Ticket, i32)>>,
    syncs: VecDeque<Syncing>,
    /// Sessions heard of since the leader last asked.
    touched: BTreeMap<SessionId, i32>,
    /// Sessions that the leader knows, and whose opening has not been delivered here yet.
    early: BTreeSet<SessionId>,
}

impl Corridor {
    /// Whose transaction this is, if it was asked for here.
    pub(super) fn claim(&mut self, header: &TxnHeader) -> Option<Asked> {
        let waiting = self.waiting.get_mut(&header.session)?;
        let is_opening = header.kind == opcode::CREATE_SESSION;
        let asked = waiting.pop_front_if(|asked| asked.xid == header.cxid && (asked.op == opcode::CREATE_SESSION) == is_opening);
        if waiting.is_empty() {
            self.waiting.remove(&header.session);
        }
        asked
    }

    /// A session's opening has been delivered.
    pub(super) fn opened(&mut self, session: SessionId) {
        self.early.remove(&session);
    }

    /// Whether something that the session has asked on this connection is under way.
    pub(super) fn is_awaited(&self, session: SessionId, ticket: Ticket) -> bool {
        self.waiting.contains_key(&session) || self.syncs.iter().any(|sync| sync.ticket == ticket)
    }

    /// Takes the sessions heard of.
    pub(super) fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    /// Ends: whoever waits, and sessions that were never opened here.
    pub(super) fn clear(&mut self) -> (Vec<Asked>, BTreeSet<SessionId>) {
        let mut all: Vec<Asked> = std::mem::take(&mut self.waiting).into_values().flatten().collect();
        let returning = std::mem::take(&mut self.returning).into_values().flatten();
        all.extend(returning.map(|(ticket, _)| Asked::opening(ticket)));
        let syncs = self.syncs.drain(..);
        all.extend(syncs.map(|sync| Asked {
            ticket: sync.ticket,
            xid: sync.xid,
            op: opcode::SYNC,
            cost: sync.cost,
            since_us: 0,
            instead: None,
        }));
        self.touched.clear();
        (all, std::mem::take(&mut self.early))
    }
}

impl Sequencer {
    /// A request of one of this learner's clients goes to the leader.
    pub(super) fn send_on(&mut self, from: ShardId, train: &Train, item: &Item, now: Now) {
        let ticket = Ticket { shard: from, conn: item.conn };
        let serves = self.member.as_ref().is_some_and(|member| member.serves());
        match &item.ask {
            Ask::Open { timeout_ms } if self.is_read_only() => self.visit(ticket, None, *timeout_ms),
            Ask::Attach { session, password_ok, timeout_ms } if self.is_read_only() => {
                self.visit(ticket, Some((*session, *password_ok)), *timeout_ms);
            }
            Ask::Open { timeout_ms } if serves => {
                let session = self.unused_id();
                let body = timeout_ms.to_be_bytes();
                self.ask_leader(Asked::opening(ticket), session, &body, Vec::new());
            }
            Ask::Attach { session, password_ok, timeout_ms } if serves => {
                self.come_back(ticket, *session, *password_ok, *timeout_ms);
            }
            Ask::Open { .. } | Ask::Attach { .. } => {
                self.turn_away(Asked::opening(ticket));
            }
            Ask::Write { session, xid, op, body, who } => {
                let body = &train.arena[body.clone()];
                let cost = u32::try_from(body.len()).expect("a frame is bounded");
                let mut asked = Asked { ticket, xid: *xid, op: *op, cost, since_us: now.micros, instead: None };
                if !serves || self.standing_of(*session, Home::Here(ticket)).is_err() {
                    // Whether the session is over or lives elsewhere: this connection is not its any more.
                    self.turn_away(asked);
                    return;
                }
                asked.instead = self.upgrade_at_learner(*session, *op, body, Home::Here(ticket), now);
                self.touched_here(*session);
                let who = who.iter().map(|identity| (identity.scheme.into(), identity.id.clone())).collect();
                let body = if *op == opcode::CLOSE_SESSION { &[] } else { body };
                self.ask_leader(asked, *session, body, who);
            }
        }
    }

    fn is_read_only(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.is_read_only)
    }

    /// A client comes to read. Its session is known here alone, or it is one that was open when the leader was lost.
    fn visit(&mut self, ticket: Ticket, known: Option<(SessionId, bool)>, timeout_ms: i32) {
        let opened = self.ids.next();
        let member = self.member.as_mut().expect("only a member may know of no leader");
        let granted = match known {
            None => member.visitors.insert(opened),
            Some((session, password_ok)) => {
                password_ok && (member.visitors.contains(&session) || self.sessions.state(session) == State::Open)
            }
        };
        let session = known.map_or(opened, |(session, _)| session);
        let answer = Outward::Attached(ticket.conn, session, granted.then_some(timeout_ms));
        self.outward.push((super::To::Shard(ticket.shard), answer));
    }

    /// A session of this learner was heard of.
    pub(super) fn touched_here(&mut self, session: SessionId) {
        let timeout = self.sessions.get(session).map(|known| known.live_timeout_ms);
        if let (Some(member), Some(timeout)) = (&mut self.member, timeout) {
            member.corridor.touched.insert(session, timeout);
        }
    }

    fn ask_leader(&mut self, asked: Asked, session: SessionId, body: &[u8], who: Vec<(Box<str>, Box<str>)>) {
        let member = self.member.as_mut().expect("only a member has a leader");
        let link = member.peer.leader_link().expect("a learner that serves has a link to its leader");
        let Asked { ticket, xid, op, cost, .. } = asked;
        if op == opcode::SYNC {
            member.corridor.syncs.push_back(Syncing { ticket, xid, cost, body: body.into() });
        } else {
            member.corridor.waiting.entry(session).or_default().push_back(asked);
        }
        let request = Forwarded { session, cxid: xid, op, body: body.into(), who };
        member.effects.push(Out::Send { link, packet: Packet::Request(request) });
    }

    /// A session that was local here is to be everybody's. Whatever it asks comes behind that.
    pub(super) fn forward_upgrade(&mut self, session: SessionId, timeout_ms: i32) {
        let member = self.member.as_mut().expect("only a member has local sessions");
        let link = member.peer.leader_link().expect("a learner that serves has a link to its leader");
        member.corridor.early.insert(session);
        let body = timeout_ms.to_be_bytes().as_slice().into();
        let request = Forwarded { session, cxid: 0, op: opcode::CREATE_SESSION, body, who: Vec::new() };
        member.effects.push(Out::Send { link, packet: Packet::Request(request) });
    }

    /// A session comes back: the leader knows whether it lives.
    fn come_back(&mut self, ticket: Ticket, session: SessionId, password_ok: bool, timeout_ms: i32) {
        self.hang_up_on_holder(session);
        self.sessions.set_home(session, Home::Nowhere);
        if !password_ok {
            self.outward.push((super::To::Shard(ticket.shard), Outward::Attached(ticket.conn, session, None)));
            return;
        }
        let member = self.member.as_mut().expect("only a member has a leader");
        let link = member.peer.leader_link().expect("a learner that serves has a link to its leader");
        member.corridor.returning.entry(session).or_default().push_back((ticket, timeout_ms));
        member.effects.push(Out::Send { link, packet: Packet::Revalidate { session, timeout_ms } });
    }

    /// The leader has answered.
    pub(super) fn heard_from_leader(&mut self, packet: Packet, now: Now) {
        let member = self.member.as_mut().expect("only a member has a leader");
        // What the leader had committed when it answered comes first.
        let mark = member.peer.committed();
        match packet {
            Packet::Sync => {
                let Some(Syncing { ticket, xid, cost, body }) = member.corridor.syncs.pop_front() else { return };
                self.answers.push_back((mark, ticket.shard, Outward::Synced { conn: ticket.conn, xid, cost, body }));
                self.say_farewells(mark);
            }
            Packet::Revalidated { session, is_valid } => {
                let Some(returning) = member.corridor.returning.get_mut(&session) else { return };
                let first = returning.pop_front();
                if returning.is_empty() {
                    member.corridor.returning.remove(&session);
                }
                let Some((ticket, timeout_ms)) = first else { return };
                if is_valid {
                    if self.sessions.open(session, timeout_ms, now.mono(), Home::Here(ticket)) {
                        member.corridor.early.insert(session);
                    }
                    self.sessions.set_home(session, Home::Here(ticket));
                    self.sessions.touch_with_timeout(session, timeout_ms, now.mono());
                }
                let answer = Outward::Attached(ticket.conn, session, is_valid.then_some(timeout_ms));
                self.answers.push_back((mark, ticket.shard, answer));
            }
            _ => {}
        }
        self.answer_late();
    }

    /// A request that cannot be answered: its connection ends, and its shard has its credit back.
    pub(super) fn turn_away(&mut self, asked: Asked) {
        let Asked { ticket, xid, op, cost, .. } = asked;
        let to = super::To::Shard(ticket.shard);
        self.outward.push((to, Outward::HangUp(ticket.conn)));
        let code = Code::SystemError;
        self.outward.push((to, Outward::Declined { conn: ticket.conn, xid, op, cost, code }));
    }
}
