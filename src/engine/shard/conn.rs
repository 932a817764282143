//! Conn: one client connection as its shard knows it.

use core::net::SocketAddr;
use std::sync::Arc;

use super::lane::Lane;
use crate::auth::Identities;
use crate::auth::sasl::Exchange;
use crate::engine::census::{ConnCensus, Latency};
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits;
use crate::ground::time::{Millis, Now};
use crate::proto::connect::ConnectRequest;
use crate::proto::opcode;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing has come yet, or not a whole first frame.
    Fresh,
    /// It wants to re-attach, having seen a zxid this shard has yet to reach.
    Waiting(Wish),
    /// Its session is being opened or found; nothing more is read until then.
    Opening,
    /// Somebody collects metrics by HTTP, and has not asked yet.
    Collecting,
    /// An admin word, or whoever collects metrics, is being answered.
    Asking {
        /// By HTTP.
        is_http: bool,
    },
    /// It has a session.
    Live,
    /// It has said farewell or been refused for good; what it sends is not looked at, its last answers are yet to come.
    Leaving,
    /// It ends once its output is written; what it sends is not looked at.
    Ending,
}

/// What a ConnectRequest asked for, kept while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) last_zxid_seen: Zxid,
    pub(super) timeout_ms: i32,
    pub(super) session: SessionId,
    pub(super) password_ok: bool,
}

impl Wish {
    pub(super) fn new(request: &ConnectRequest<'_>, timeout_ms: i32, password_ok: bool) -> Self {
        Self { last_zxid_seen: request.last_zxid_seen, timeout_ms, session: request.session, password_ok }
    }

    /// Whether the client has seen more than there is here. Signed, as in ZooKeeper, which takes clients that send -1.
    pub(super) const fn is_ahead_of(&self, applied: Zxid) -> bool {
        self.last_zxid_seen.as_wire() > applied.as_wire()
    }
}

/// One connection.
pub(super) struct Conn {
    pub(super) peer: SocketAddr,
    pub(super) phase: Phase,
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    /// Whether the client knows the read-only flag, so that its response has it too.
    pub(super) knows_read_only: bool,
    pub(super) who: Arc<Identities>,
    pub(super) exchange: Exchange,
    pub(super) lane: Lane,
    /// Replies and events not yet written, from `written` on.
    pub(super) out: Vec<u8>,
    written: usize,
    /// Since when the socket has taken nothing of the output that waits.
    pub(super) stuck_since: Option<Millis>,
    /// In the shard's list of connections with output.
    pub(super) is_dirty: bool,
    /// In the shard's list of connections whose events wait for a later turn.
    pub(super) is_told: bool,
    /// Bytes still to come of a request that is too long and has been refused.
    pub(super) skip: usize,
    /// Since when requests that have come are held back by the operator's limits.
    pub(super) held_since: Option<Millis>,
    /// Since when its socket is left unread by them, although a request is there.
    pub(super) unread_since: Option<Millis>,
    /// In the shard's list of connections whose input waits.
    pub(super) is_stalled: bool,
    /// In the shard's list of sessions heard of.
    pub(super) is_touched: bool,
    /// When the sequencer was last told of its session.
    pub(super) reported: Millis,
    pub(super) stats: ConnStats,
}

/// What `cons` shows as last zxid before the first reply.
const NO_REPLY: Zxid = Zxid(u64::MAX);

/// What `cons` shows.
pub(super) struct ConnStats {
    pub(super) established: Now,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) last_op: i32,
    pub(super) last_xid: Option<i32>,
    pub(super) last_zxid: Zxid,
    pub(super) last_response: i64,
    pub(super) last_latency: u64,
    pub(super) latency: Latency,
}

impl ConnStats {
    pub(super) fn reset(&mut self) {
        self.received = 0;
        self.sent = 0;
        self.last_op = 0;
        self.last_xid = None;
        self.last_zxid = NO_REPLY;
        self.last_response = 0;
        self.last_latency = 0;
        self.latency = Latency::default();
    }
}

impl Conn {
    pub(super) fn new(peer: SocketAddr, now: Now) -> Self {
        Self {
            peer,
            phase: Phase::Fresh,
            session: SessionId::NONE,
            timeout_ms: 0,
            knows_read_only: false,
            who: Arc::new(Identities::of(peer.ip())),
            exchange: Exchange::Fresh,
            lane: Lane::default(),
            out: Vec::new(),
            written: 0,
            stuck_since: None,
            is_dirty: false,
            is_told: false,
            skip: 0,
            held_since: None,
            unread_since: None,
            is_stalled: false,
            is_touched: false,
            reported: now.mono(),
            stats: ConnStats {
                established: now,
                received: 0,
                sent: 0,
                last_op: 0,
                last_xid: None,
                last_zxid: NO_REPLY,
                last_response: 0,
                last_latency: 0,
                latency: Latency::default(),
            },
        }
    }

    /// Output that waits for the socket.
    pub(super) fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// `n` bytes of it were taken by the socket.
    pub(super) fn wrote(&mut self, n: usize, now: Millis) {
        self.written += n;
        if n > 0 {
            self.stuck_since = None;
        }
        if self.written == self.out.len() {
            self.stuck_since = None;
            self.written = 0;
            self.out.clear();
            // A burst's buffer is not kept for ever.
            if self.out.capacity() > limits::READ_CHUNK {
                self.out.shrink_to(limits::READ_CHUNK);
            }
        } else {
            self.stuck_since.get_or_insert(now);
            if self.written >= limits::OUTPUT_PAUSE {
                self.out.drain(..self.written);
                self.written = 0;
            }
        }
    }

    /// Whether a sign of life cannot wait for the next quarter of a tick: half of the timeout has gone since the last report.
    pub(super) const fn is_overdue(&self, now: Millis) -> bool {
        now.since(self.reported) * 2 > self.timeout_ms.unsigned_abs() as u64
    }

    /// Bytes of output held.
    pub(super) fn held(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether its next request must wait.
    pub(super) fn is_blocked(&self) -> bool {
        match self.phase {
            Phase::Fresh | Phase::Collecting => false,
            Phase::Live => self.lane.is_full() || self.held() >= limits::OUTPUT_PAUSE,
            Phase::Waiting(_) | Phase::Opening | Phase::Asking { .. } => true,
            Phase::Leaving | Phase::Ending => false,
        }
    }

    /// A reply of operation `op` has been appended.
    pub(super) fn count_reply(&mut self, op: i32, xid: i32, zxid: Zxid, arrived: Millis, now: Now) -> u64 {
        let latency = now.mono().since(arrived);
        let stats = &mut self.stats;
        stats.sent += 1;
        stats.last_op = op;
        stats.last_xid = Some(xid);
        stats.last_zxid = zxid;
        stats.last_response = now.mono().0.cast_signed();
        stats.last_latency = latency;
        stats.latency.record(latency);
        latency
    }

    pub(super) fn census(&self) -> ConnCensus {
        let stats = &self.stats;
        ConnCensus {
            peer: self.peer,
            session: (self.session != SessionId::NONE).then_some(self.session),
            queued: self.lane.len() as u64,
            received: stats.received,
            sent: stats.sent,
            last_op: opcode::short_name(stats.last_op),
            established: stats.established.wall.0,
            timeout_ms: self.timeout_ms.unsigned_abs(),
            last_xid: stats.last_xid,
            last_zxid: stats.last_zxid,
            last_response: stats.last_response,
            last_latency: stats.last_latency,
            latency: stats.latency,
            reading: !self.is_blocked(),
            writing: self.held() > 0,
        }
    }
}
