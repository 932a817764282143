//! Login: a connection proves who it is, by auth packets and by a SASL exchange. Both overtake what waits in its lane.

use std::sync::Arc;

use super::Shard;
use super::conn::Phase;
use crate::auth::sasl::Step;
use crate::auth::{self, login};
use crate::ground::ids::{ConnId, Zxid};
use crate::ground::time::Now;
use crate::proto::code::Code;
use crate::proto::frame;
use crate::proto::jute::{Reader, Writer};
use crate::proto::opcode;
use crate::proto::reply;
use crate::proto::request::Auth;

/// How long whoever has failed to prove a password waits to be told, ms: a guess costs time. It also lets clients that open their session
/// and prove their name in two steps (kazoo) take note of the one before the other ends it.
pub(super) const GUESS_MS: u64 = 100;

impl Shard {
    pub(super) fn authenticate(&mut self, id: ConnId, xid: i32, body: &[u8], now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        let Ok(packet) = Auth::decode(&mut Reader::new(body)) else {
            self.drop_conn(id, "its auth packet cannot be read");
            return;
        };
        let identities = Arc::make_mut(&mut conn.who);
        let verdict = match packet.auth {
            Some(credentials) => auth::authenticate(identities, &packet.scheme, credentials, &self.desk.auth),
            // The Java server trips over null in every provider that looks at credentials; `ip` does not.
            None if packet.scheme == "ip" => Ok(()),
            None => Err(auth::AuthRefused::NoProvider),
        };
        match verdict {
            Ok(()) => {
                reply::bare(&mut conn.out, xid, Zxid::ZERO, Code::Ok);
                self.replied(id, opcode::AUTH, xid, now.mono(), now);
            }
            Err(refused) => {
                tracing::debug!("authentication of {} refused: {refused}", conn.peer);
                reply::bare(&mut conn.out, xid, Zxid::ZERO, Code::AuthFailed);
                self.counters.auth_failed += 1;
                self.replied(id, opcode::AUTH, xid, now.mono(), now);
                self.end(id);
            }
        }
    }

    /// A token of a SASL exchange. Without SASL here there is no error, and no token.
    pub(super) fn prove(&mut self, id: ConnId, xid: i32, body: &[u8], now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        let Ok(Some(token)) = Reader::new(body).buffer() else {
            self.drop_conn(id, "its SASL token cannot be read");
            return;
        };
        let answer = match &self.desk.auth.sasl {
            None => None,
            Some(config) => match conn.exchange.step(token, &mut self.nonces, config, now.mono()) {
                Ok(Step::Challenge(token)) => Some(token),
                Ok(Step::Proved { token, name }) => match login::proved(Arc::make_mut(&mut conn.who), &name, config) {
                    Ok(()) => Some(token),
                    Err(refused) => {
                        tracing::debug!("SASL authentication of {} refused: {refused}", conn.peer);
                        self.sasl_failed(id, xid, now);
                        return;
                    }
                },
                Err(failed) => {
                    tracing::debug!("SASL authentication of {} failed: {failed}", conn.peer);
                    if !self.desk.auth.keeps_sasl_failed || self.desk.auth.is_sasl_enforced() {
                        self.sasl_failed(id, xid, now);
                        return;
                    }
                    None
                }
            },
        };
        reply::ok(&mut conn.out, xid, Zxid::ZERO, |out| out.buffer(answer.as_deref()));
        self.replied(id, opcode::SASL, xid, now.mono(), now);
    }

    /// A proof has failed. Nothing more is taken from the connection, which is told so in a moment.
    fn sasl_failed(&mut self, id: ConnId, xid: i32, now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.phase = Phase::Leaving;
        self.counters.auth_failed += 1;
        self.failed.push_back((now.mono().plus(GUESS_MS), id, xid));
    }

    /// Tells those who have waited long enough that their proof has failed.
    pub(super) fn tell_failed(&mut self, now: Now) {
        while let Some((_, id, xid)) = self.failed.pop_front_if(|(due, ..)| *due <= now.mono()) {
            self.tell_sasl_failed(id, xid, now);
        }
    }

    /// The one error that has a body: no token. Then the connection ends.
    fn tell_sasl_failed(&mut self, id: ConnId, xid: i32, now: Now) {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.phase == Phase::Leaving) else { return };
        let code = if self.desk.auth.is_sasl_enforced() { Code::SessionClosedRequireSaslAuth } else { Code::AuthFailed };
        let start = frame::open(&mut conn.out);
        reply::header(&mut conn.out, xid, Zxid::ZERO, code.as_wire());
        conn.out.buffer(None);
        frame::close(&mut conn.out, start);
        self.replied(id, opcode::SASL, xid, now.mono(), now);
        self.end(id);
    }

    /// A request of a connection that has not proved what is asked of everybody: told so, and ended.
    pub(super) fn turn_away(&mut self, id: ConnId, xid: i32, op: i32, now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        tracing::debug!("{} asks without having authenticated by any of {:?}", conn.peer, self.desk.auth.enforced);
        reply::bare(&mut conn.out, xid, Zxid::ZERO, Code::SessionClosedRequireSaslAuth);
        self.replied(id, op, xid, now.mono(), now);
        self.end(id);
    }
}
