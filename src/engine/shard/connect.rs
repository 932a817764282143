//! Connect: a connection's first frame, and how it comes to its session.

use super::Shard;
use super::conn::{Phase, Wish};
use crate::engine::message::{Ask, Doors, Item};
use crate::ground::ids::{ConnId, SessionId};
use crate::ground::time::Now;
use crate::proto::connect::{ConnectRequest, ConnectResponse};
use crate::session;

impl Shard {
    /// Takes a ConnectRequest.
    pub(super) fn connect(&mut self, id: ConnId, body: &[u8], now: Now) {
        if self.doors == Doors::Shut {
            // No byte is sent: the client then tries another server.
            self.drop_conn(id, "this server knows of no leader");
            return;
        }
        let Ok(request) = ConnectRequest::decode(body) else {
            self.drop_conn(id, "its ConnectRequest cannot be read");
            return;
        };
        if self.doors == Doors::ReadOnly && request.read_only != Some(true) {
            self.drop_conn(id, "this server serves reads alone, and the client wants more");
            return;
        }
        let timeout_ms = session::negotiate(request.timeout_ms, self.config.min_timeout_ms, self.config.max_timeout_ms);
        let password_ok = session::secret::verify(request.session, request.password);
        let wish = Wish::new(&request, timeout_ms, password_ok);
        let Some(conn) = self.conns.get(id) else { return };
        conn.stats.received += 1;
        conn.knows_read_only = request.read_only.is_some();
        if wish.is_ahead_of(self.desk.applied) {
            // Delivered elsewhere in this server it may be already: the next turn knows.
            conn.phase = Phase::Waiting(wish);
            self.waiting.push(id);
            return;
        }
        self.ask_for_session(id, wish, now);
    }

    /// The shard stands at what the server had released after the connection began to wait.
    pub(super) fn wait_is_over(&mut self, id: ConnId, now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        let Phase::Waiting(wish) = conn.phase else { return };
        if wish.is_ahead_of(self.desk.applied) {
            // No byte is sent: the client then tries another server.
            self.drop_conn(id, "it has seen a zxid ahead of this server's");
            return;
        }
        self.ask_for_session(id, wish, now);
    }

    fn ask_for_session(&mut self, id: ConnId, wish: Wish, now: Now) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.phase = Phase::Opening;
        let Wish { timeout_ms, session, password_ok, .. } = wish;
        let ask =
            if session == SessionId::NONE { Ask::Open { timeout_ms } } else { Ask::Attach { session, password_ok, timeout_ms } };
        self.credit.take(0);
        self.entrain(Item { conn: id, ask }, now);
    }

    /// The sequencer's word on a re-attachment.
    pub(super) fn attached(&mut self, id: ConnId, session: SessionId, granted: Option<i32>, now: Now) {
        self.credit.give_back(0);
        let Some(conn) = self.conns.get(id).filter(|conn| conn.phase == Phase::Opening) else { return };
        match granted {
            Some(timeout_ms) => self.seat(id, session, timeout_ms, now),
            None => {
                ConnectResponse::refused(conn.knows_read_only.then_some(false)).encode(&mut conn.out);
                conn.stats.sent += 1;
                self.end(id);
            }
        }
    }
}
