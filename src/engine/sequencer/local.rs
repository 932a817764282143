//! Local sessions: those that this server alone knows of, until one of them makes its first ephemeral znode.
//!
//! They are opened, touched, expired and closed without a transaction, and end when this server's part under its leader does
//! (`UpgradeableSessionTracker`, `LocalSessionTracker`). A server alone keeps none, as in ZooKeeper.

use std::collections::BTreeMap;

use super::corridor::Asked;
use super::{Home, Sequencer, To};
use crate::engine::message::{Ask, Farewell, Item, Outward};
use crate::ground::ids::{ServerId, SessionId, ShardId, Ticket, Zxid};
use crate::ground::time::{Millis, Now};
use crate::proto::code::Code;
use crate::proto::jute::Reader;
use crate::proto::multi;
use crate::proto::opcode;
use crate::proto::request::Write;
use crate::session::{State, Table};

/// How a member keeps local sessions.
#[derive(Clone, Copy, Debug)]
pub struct LocalKnobs {
    /// This server.
    pub server: ServerId,
    /// Whether a session becomes everybody's with its first ephemeral znode (`localSessionsUpgradingEnabled`).
    pub upgrades: bool,
    /// ZooKeeper's tickTime, ms.
    pub tick_ms: u64,
    /// Seeds of the table.
    pub seeds: [u64; 4],
}

/// The local sessions of a member.
#[derive(Debug)]
pub(super) struct Locals {
    knobs: LocalKnobs,
    sessions: Table<Home>,
    /// Farewells of a learner's clients, until what they have asked of the leader is answered.
    leaving: BTreeMap<SessionId, Asked>,
}

impl Locals {
    pub(super) fn new(knobs: LocalKnobs) -> Self {
        Self { knobs, sessions: Table::new(knobs.tick_ms, knobs.seeds), leaving: BTreeMap::new() }
    }

    /// Ends all of them, and yields whose farewells are not answered.
    pub(super) fn clear(&mut self) -> Vec<Asked> {
        let ended = std::mem::replace(self, Self::new(self.knobs));
        ended.leaving.into_values().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn buckets(&self) -> Vec<(Millis, Vec<SessionId>)> {
        self.sessions.buckets().into_iter().collect()
    }

    /// What a request of the session meets that comes from there; none where the session is not local.
    pub(super) fn standing_of(&self, session: SessionId, from: Home) -> Option<Result<(), Code>> {
        match self.sessions.state(session) {
            State::Unknown => None,
            State::Closing => Some(Err(Code::SessionExpired)),
            State::Open if self.sessions.home(session) != Some(&from) => Some(Err(Code::SessionMoved)),
            State::Open => Some(Ok(())),
        }
    }

    /// Whether the session may be local to another server: its id does not say that it would be known here. The high byte counts
    /// as a signed number, as in `LeaderSessionTracker.getServerIdFromSessionId`.
    pub(super) fn may_be_elsewhere(&self, session: SessionId) -> bool {
        session.0 >> 56 != i64::from(self.knobs.server.0)
    }
}

/// Whether the request makes a session own a znode (`QuorumZooKeeperServer.checkUpgradeSession`).
fn makes_ephemerals(op: i32, body: &[u8]) -> bool {
    let is_ephemeral = |op: i32, write: &Write<'_>| {
        matches!(op, opcode::CREATE | opcode::CREATE2)
            && matches!(write, Write::Create(create) if create.flags == 1 || create.flags == 3)
    };
    match op {
        opcode::CREATE | opcode::CREATE2 => Write::decode(op, &mut Reader::new(body)).is_ok_and(|write| is_ephemeral(op, &write)),
        opcode::MULTI => multi::decode_writes(&mut Reader::new(body))
            .is_ok_and(|writes| writes.iter().any(|(op, write)| is_ephemeral(*op, write))),
        _ => false,
    }
}

impl Sequencer {
    /// From now on every session that is opened here is local. For a member only.
    pub fn keep_local_sessions(&mut self, knobs: LocalKnobs) {
        if let Some(member) = &mut self.member {
            member.locals = Some(Locals::new(knobs));
        }
    }

    pub(super) fn locals(&self) -> Option<&Locals> {
        self.member.as_ref()?.locals.as_ref()
    }

    /// The local sessions, while this server serves.
    fn locals_in_use(&mut self) -> Option<&mut Locals> {
        let member = self.member.as_mut().filter(|member| member.serves())?;
        member.locals.as_mut()
    }

    /// Takes what needs no transaction because its session is local: its opening, its coming back, its farewell. False for all else.
    pub(super) fn takes_locally(&mut self, from: ShardId, item: &Item, now: Now) -> bool {
        let ticket = Ticket { shard: from, conn: item.conn };
        if self.locals_in_use().is_none() {
            return false;
        }
        match &item.ask {
            Ask::Open { timeout_ms } => {
                let session = self.unused_id();
                let locals = self.locals_in_use().expect("it has some");
                locals.sessions.open(session, *timeout_ms, now.mono(), Home::Here(ticket));
                self.outward.push((To::Shard(from), Outward::Attached(ticket.conn, session, Some(*timeout_ms))));
                true
            }
            Ask::Attach { session, password_ok, timeout_ms } => {
                self.attach_locally(ticket, *session, password_ok.then_some(*timeout_ms), now)
            }
            Ask::Write { session, xid, op, body, .. } => {
                let locals = self.locals_in_use().expect("it has some");
                if locals.standing_of(*session, Home::Here(ticket)) != Some(Ok(())) {
                    return false;
                }
                locals.sessions.touch(*session, now.mono());
                if *op != opcode::CLOSE_SESSION {
                    return false;
                }
                let cost = u32::try_from(body.len()).expect("a frame is bounded");
                locals.sessions.begin_closing(*session);
                locals.leaving.insert(*session, Asked { ticket, xid: *xid, op: *op, cost, since_us: 0, instead: None });
                let mark = if self.leads() { self.proposed } else { self.delivered };
                self.say_farewells(mark);
                self.answer_late();
                true
            }
        }
    }

    /// A session comes back; false where it is not local. As in ZooKeeper, a learner does not wait for what it has asked of the leader.
    fn attach_locally(&mut self, ticket: Ticket, session: SessionId, timeout_ms: Option<i32>, now: Now) -> bool {
        let Some(locals) = self.locals_in_use() else { return false };
        let state = locals.sessions.state(session);
        if state == State::Unknown {
            return false;
        }
        let mut granted = None;
        if state == State::Open {
            let home = timeout_ms.map_or(Home::Nowhere, |_| Home::Here(ticket));
            let before = locals.sessions.set_home(session, home);
            granted = timeout_ms.filter(|&timeout| locals.sessions.touch_with_timeout(session, timeout, now.mono()));
            if let Some(Home::Here(holder)) = before {
                self.outward.push((To::Shard(holder.shard), Outward::HangUp(holder.conn)));
            }
        }
        let mark = if self.leads() { self.proposed } else { self.delivered };
        self.answers.push_back((mark, ticket.shard, Outward::Attached(ticket.conn, session, granted)));
        self.answer_late();
        true
    }

    /// Ends the sessions whose clients have said farewell and wait for nothing any more, behind what is delivered at `mark`.
    pub(super) fn say_farewells(&mut self, mark: Zxid) {
        let Some(member) = self.member.as_mut() else { return };
        let Some(locals) = member.locals.as_mut().filter(|locals| !locals.leaving.is_empty()) else { return };
        let corridor = &member.corridor;
        let (answers, sessions) = (&mut self.answers, &mut locals.sessions);
        locals.leaving.retain(|&session, asked| {
            if corridor.is_awaited(session, asked.ticket) {
                return true;
            }
            sessions.remove(session);
            let farewell = Farewell { conn: asked.ticket.conn, xid: asked.xid, cost: asked.cost };
            answers.push_back((mark, asked.ticket.shard, Outward::Ended(session, Some(farewell))));
            false
        });
    }

    /// Ends the sessions that have not been heard of in time.
    pub(super) fn expire_locals(&mut self, heard_up_to: Millis) {
        let Some(locals) = self.locals_in_use() else { return };
        let mut ended = Vec::new();
        for session in locals.sessions.expired(heard_up_to) {
            tracing::debug!("local session {session} expired");
            ended.push((session, locals.sessions.home(session).copied()));
            locals.sessions.remove(session);
        }
        for (session, home) in ended {
            if let Some(Home::Here(holder)) = home {
                self.outward.push((To::Shard(holder.shard), Outward::Ended(session, None)));
            }
        }
    }

    /// A session was heard of; false where it is not local.
    pub(super) fn touch_local(&mut self, session: SessionId, now: Now) -> bool {
        self.locals_in_use().is_some_and(|locals| locals.sessions.touch(session, now.mono()))
    }

    /// Makes a local session everybody's before it owns its first znode, and yields whether it may own any. Asked of sessions that may write
    /// from there alone. The timeout of the transaction is the one that the session was opened with.
    pub(super) fn upgrade(&mut self, session: SessionId, op: i32, body: &[u8], home: Home, now: Now) -> Result<(), Code> {
        let Some(locals) = self.locals_in_use() else { return Ok(()) };
        let Some(local) = locals.sessions.get(session) else { return Ok(()) };
        if !makes_ephemerals(op, body) || !locals.knobs.upgrades {
            return Err(Code::EphemeralOnLocalSession);
        }
        let (timeout_ms, live_timeout_ms) = (local.timeout_ms, local.live_timeout_ms);
        tracing::debug!("local session {session} becomes global");
        locals.sessions.remove(session);
        self.sessions.open(session, timeout_ms, now.mono(), home);
        self.sessions.touch_with_timeout(session, live_timeout_ms, now.mono());
        if self.leads() {
            self.propose_session(session, 0, timeout_ms, None, now);
        } else {
            self.forward_upgrade(session, timeout_ms);
        }
        Ok(())
    }

    /// What a learner's client is answered with where its leader refuses this request: the leader cannot know that the session is
    /// local, and says that it is over. A multi is answered with what the leader says.
    pub(super) fn upgrade_at_learner(&mut self, session: SessionId, op: i32, body: &[u8], home: Home, now: Now) -> Option<Code> {
        let is_local = self.locals().is_some_and(|locals| locals.sessions.get(session).is_some());
        if !is_local || !makes_ephemerals(op, body) {
            return None;
        }
        self.upgrade(session, op, body, home, now).err().filter(|_| op != opcode::MULTI)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::jute::Writer as _;
    use crate::proto::multi::MultiHeader;

    fn create(flags: i32) -> Vec<u8> {
        let mut out = Vec::new();
        out.string("/a");
        out.buffer(None);
        out.count(0);
        out.int(flags);
        out
    }

    #[test]
    fn what_makes_a_session_own_a_znode() {
        for (flags, expected) in [(0, false), (1, true), (2, false), (3, true), (4, false), (9, false)] {
            for op in [opcode::CREATE, opcode::CREATE2] {
                assert_eq!(makes_ephemerals(op, &create(flags)), expected, "{op} {flags}");
            }
            assert!(!makes_ephemerals(opcode::CREATE_CONTAINER, &create(flags)));
            assert!(!makes_ephemerals(opcode::SET_DATA, &create(flags)));
        }
        assert!(!makes_ephemerals(opcode::CREATE, &create(1)[..9]), "what cannot be read makes nothing");
        let multi = |flags: &[i32]| {
            let mut out = Vec::new();
            for &flags in flags {
                MultiHeader { op: opcode::CREATE, done: false, err: -1 }.encode(&mut out);
                out.extend_from_slice(&create(flags));
            }
            MultiHeader::END.encode(&mut out);
            out
        };
        assert!(makes_ephemerals(opcode::MULTI, &multi(&[0, 2, 3])));
        assert!(!makes_ephemerals(opcode::MULTI, &multi(&[0, 2])));
        assert!(!makes_ephemerals(opcode::MULTI, &multi(&[9, 1])), "as a whole it cannot be read");
    }

    #[test]
    fn an_id_tells_whether_its_session_may_be_elsewhere() {
        let locals = |server| Locals::new(LocalKnobs { server: ServerId(server), upgrades: true, tick_ms: 10, seeds: [0; 4] });
        assert!(!locals(3).may_be_elsewhere(SessionId(0x0300_0000_0000_0001)));
        assert!(locals(3).may_be_elsewhere(SessionId(0x0400_0000_0000_0001)));
        // As in ZooKeeper, whose numbers are signed.
        assert!(locals(200).may_be_elsewhere(SessionId(0xc800_0000_0000_0001_u64.cast_signed())));
    }
}
