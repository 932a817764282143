//! Door: sessions that begin, and that come back to another connection.

use super::corridor::Asked;
use super::{Ahead, Home, LOG_RESERVE_CLOSING, Sequencer, To};
use crate::engine::message::{Ask, Item, Outcome, Outward};
use crate::ground::ids::{SessionId, Ticket};
use crate::ground::time::Now;
use crate::proto::opcode;
use crate::proto::txn::Txn;
use crate::session::State;
use crate::session::throttle::{Beginning, Rules, Throttle};

impl Sequencer {
    /// The same engine, which lets so many sessions begin in a time. `seeds` decide who is refused by chance.
    #[must_use]
    pub fn throttling(mut self, rules: Option<Rules>, seeds: [u64; 4], now: Now) -> Self {
        self.throttle_seeds = seeds;
        self.set_throttle(rules, now);
        self
    }

    /// So many sessions may begin in a time from now on.
    pub fn set_throttle(&mut self, rules: Option<Rules>, now: Now) {
        self.throttle = rules.map(|rules| Throttle::new(rules, self.throttle_seeds, now.mono()));
    }

    /// Whether the throttle lets a session begin, where that is what is asked.
    pub(super) fn may_begin(&mut self, item: &Item, now: Now) -> bool {
        let is_local = self.throttle.is_some() && self.locals().is_some();
        let Some(throttle) = &mut self.throttle else { return true };
        let beginning = match &item.ask {
            Ask::Open { .. } if is_local => Beginning::Local,
            Ask::Open { .. } => Beginning::Global,
            Ask::Attach { .. } => Beginning::Renewed,
            Ask::Write { .. } => return true,
        };
        throttle.lets_in(beginning, now.mono())
    }

    /// A session id that nobody has.
    pub(super) fn unused_id(&mut self) -> SessionId {
        loop {
            let session = self.ids.next();
            let is_local = self.locals().is_some_and(|locals| locals.standing_of(session, Home::Nowhere).is_some());
            if self.sessions.state(session) == State::Unknown && !is_local {
                return session;
            }
        }
    }

    /// Ends the connection of this server that holds the session, if one does.
    pub(super) fn hang_up_on_holder(&mut self, session: SessionId) {
        if let Some(&Home::Here(holder)) = self.sessions.home(session) {
            self.outward.push((To::Shard(holder.shard), Outward::HangUp(holder.conn)));
        }
    }

    pub(super) fn open(&mut self, ticket: Ticket, timeout_ms: i32, now: Now) {
        if self.ahead == Ahead::Nothing && self.segment_left() < LOG_RESERVE_CLOSING {
            // No answer says "not now" to a client that connects; it tries another server, or again.
            self.turn_away(Asked::opening(ticket));
            return;
        }
        let session = self.unused_id();
        self.sessions.open(session, timeout_ms, now.mono(), Home::Here(ticket));
        self.propose_session(session, 0, timeout_ms, Some(ticket), now);
    }

    /// The transaction that tells everybody of a session.
    pub(super) fn propose_session(&mut self, session: SessionId, cxid: i32, timeout_ms: i32, ticket: Option<Ticket>, now: Now) {
        let header = self.header(session, cxid, now);
        let txn = Txn::CreateSession { timeout_ms };
        let ledger = &mut self.ledger;
        self.builder.add(header, opcode::CREATE_SESSION, ticket, 0, now.micros, |mut header, blob, steps| {
            ledger.session(&mut header, opcode::CREATE_SESSION, &txn, blob, steps);
            Outcome::Opened { timeout_ms }
        });
    }

    pub(super) fn attach(&mut self, ticket: Ticket, session: SessionId, password_ok: bool, timeout_ms: i32, now: Now) {
        let open = self.sessions.state(session) == State::Open;
        if open {
            // Whoever holds it is hung up on, before the password is even looked at.
            self.hang_up_on_holder(session);
            self.sessions.set_home(session, if password_ok { Home::Here(ticket) } else { Home::Nowhere });
        }
        let granted = open && password_ok && self.sessions.touch_with_timeout(session, timeout_ms, now.mono());
        // What the session asked for on its old connection and is under way comes first: a client that lost a connection looks
        // whether its write was done, and must not be shown the time before it.
        let answer = Outward::Attached(ticket.conn, session, granted.then_some(timeout_ms));
        self.answers.push_back((self.proposed, ticket.shard, answer));
        self.answer_late();
    }
}
