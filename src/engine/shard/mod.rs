//! Shard: the engine that meets clients. Connections, watches and an own index of the tree; it answers every read from memory.
//!
//! The driver's duty each turn, in this order: [`Shard::deliver`] what is released, [`Shard::turn`], [`Shard::receive`] what
//! sockets brought, send [`Shard::inward`] to the sequencer, then write [`Shard::output`] of each connection in
//! [`Shard::take_dirty`] and close those that [`Shard::is_ending`] once it is written.

mod conn;
mod connect;
mod conns;
mod deliver;
mod flow;
mod lane;
mod login;
mod reads;
mod requests;

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

pub use self::flow::Flow;

use self::conn::{Conn, Phase};
use self::conns::Conns;
use self::flow::Credit;
use super::audit::{Audit, Auditor};
use super::census::{Census, Counters, ShardCensus, Word};
use super::message::{Doors, Farewell, Inward, Item, Outward, Train};
use super::stages::Stages;
use crate::auth::{AuthConfig, Nonces};
use crate::ground::ids::{ConnId, SessionId, ShardId, Zxid};
use crate::ground::limits;
use crate::ground::time::{Millis, Now};
use crate::proto::code::Code;
use crate::proto::http;
use crate::proto::opcode;
use crate::tree::view::View;
use crate::watch::{self, WatcherId};

/// Answers of the admin words. The words are spoken at this floor and worded at a higher one.
pub trait Words: Send + Sync {
    /// Whether the word may be answered.
    fn allows(&self, word: Word) -> bool;
    /// The answer to a word that is not answered.
    fn refusal(&self, name: &str) -> String;
    /// Sets the mask of what is traced, if one is given, and tells what it is. Nothing is traced by it.
    fn trace_mask(&self, set: Option<i64>) -> i64;
    /// The answer; without a census for words that [`Word::is_local`].
    fn answer(&self, word: Word, census: Option<&Census>) -> String;
    /// The page for whoever collects metrics, from the census of `mntr`; nothing where nobody can.
    fn metrics(&self, _census: &Census) -> String {
        String::new()
    }
}

/// No word is answered: for shards that nobody asks.
#[derive(Clone, Copy, Debug)]
pub struct Mute;

impl Words for Mute {
    fn allows(&self, _: Word) -> bool {
        false
    }

    fn refusal(&self, _: &str) -> String {
        String::new()
    }

    fn trace_mask(&self, set: Option<i64>) -> i64 {
        set.unwrap_or_default()
    }

    fn answer(&self, _: Word, _: Option<&Census>) -> String {
        String::new()
    }
}

/// What a shard is told when it is made.
#[derive(Clone)]
pub struct ShardConfig {
    /// Which one it is.
    pub id: ShardId,
    /// `jute.maxbuffer`, bytes.
    pub frame_max: usize,
    /// What is let in at a time.
    pub flow: Flow,
    /// Least session timeout granted, ms.
    pub min_timeout_ms: i32,
    /// Largest session timeout granted, ms.
    pub max_timeout_ms: i32,
    /// Milliseconds a connection may stay without a session.
    pub sessionless_ms: u64,
    /// ZooKeeper's tickTime, ms.
    pub tick_ms: u64,
    /// Rules of authentication.
    pub auth: AuthConfig,
    /// The server belongs to an ensemble: its doors are shut until it is told otherwise, and `sync` asks the leader.
    pub is_member: bool,
    /// Admin words.
    pub words: Arc<dyn Words>,
    /// Where clients' changes are told, if anywhere.
    pub audit: Option<Arc<dyn Audit>>,
}

/// What reads need besides their connection.
struct Desk {
    view: View,
    watches: watch::Table,
    applied: Zxid,
    auth: AuthConfig,
}

/// The engine.
pub struct Shard {
    config: ShardConfig,
    desk: Desk,
    conns: Conns,
    sessions: hashbrown::HashMap<SessionId, ConnId, ahash::RandomState>,
    credit: Credit,
    train: Train,
    messages: Vec<Inward>,
    /// Sessions heard of since they were last sent inward.
    touched: Vec<ConnId>,
    /// Sessions heard of as well, whose connections are gone.
    touched_last: Vec<SessionId>,
    touch_now: bool,
    touched_at: Millis,
    swept_at: Millis,
    /// Connections whose input waits for room.
    stalled: Vec<ConnId>,
    /// Connections that wait for this shard to reach a zxid.
    waiting: Vec<ConnId>,
    /// Those who have failed to prove who they are, with the request that has, and when they are told.
    failed: VecDeque<(Millis, ConnId, i32)>,
    doors: Doors,
    counters: Counters,
    fired: Vec<WatcherId>,
    event: Vec<u8>,
    nonces: Nonces,
    digests: VecDeque<(Zxid, u64)>,
    auditor: Option<Auditor>,
    stages: Stages,
    /// Writes answered whose answers were not written yet, and when.
    answered: u64,
    answered_us: u64,
}

impl Shard {
    /// A shard whose View stands at `applied`.
    #[must_use]
    pub fn new(config: ShardConfig, view: View, applied: Zxid, seeds: [u64; 4], now: Now) -> Self {
        let auth = config.auth.clone();
        let doors = if config.is_member { Doors::Shut } else { Doors::Open };
        let auditor = config.audit.clone().map(Auditor::new);
        let nonces = Nonces::new(seeds, config.id.0);
        let hasher = ahash::RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            credit: Credit::new(config.flow),
            config,
            desk: Desk { view, watches: watch::Table::new(seeds), applied, auth },
            conns: Conns::default(),
            sessions: hashbrown::HashMap::with_hasher(hasher),
            train: Train::default(),
            messages: Vec::new(),
            touched: Vec::new(),
            touched_last: Vec::new(),
            touch_now: false,
            touched_at: now.mono(),
            swept_at: now.mono(),
            stalled: Vec::new(),
            waiting: Vec::new(),
            failed: VecDeque::new(),
            doors,
            counters: Counters { response_last: -1, response_min: -1, response_max: -1, ..Counters::default() },
            fired: Vec::new(),
            event: Vec::new(),
            nonces,
            digests: VecDeque::new(),
            auditor,
            stages: Stages::default(),
            answered: 0,
            answered_us: 0,
        }
    }

    /// So much is let in at a time from now on.
    pub fn set_flow(&mut self, flow: Flow) {
        self.credit.set_flow(flow);
    }

    /// Last transaction its View holds.
    #[must_use]
    pub const fn applied(&self) -> Zxid {
        self.desk.applied
    }

    /// Digest of its View.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.desk.view.digest()
    }

    /// Connections there are.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.conns.len()
    }

    /// A client has connected.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> ConnId {
        self.conns.insert(Conn::new(peer, now))
    }

    /// Somebody has connected who collects metrics.
    pub fn open_for_metrics(&mut self, peer: SocketAddr, now: Now) -> ConnId {
        let mut conn = Conn::new(peer, now);
        conn.phase = Phase::Collecting;
        self.conns.insert(conn)
    }

    /// The socket is gone, or the driver has closed it.
    pub fn closed(&mut self, id: ConnId) {
        let Some(conn) = self.conns.remove(id) else { return };
        self.desk.watches.remove_watcher(WatcherId(id.slot));
        if conn.is_touched {
            self.touched_last.push(conn.session);
        }
        if self.sessions.get(&conn.session) == Some(&id) {
            self.sessions.remove(&conn.session);
        }
    }

    /// A message from the sequencer.
    pub fn hear(&mut self, message: &Outward, now: Now) {
        match message {
            Outward::Batch(batch) => self.deliver(batch, now),
            Outward::Attached(id, session, granted) => self.attached(*id, *session, *granted, now),
            Outward::Declined { conn, xid, op, cost, code } => {
                self.credit.give_back(*cost);
                self.returned(*conn, *xid, now);
                self.declined(*conn, *xid, *op, *code, now);
            }
            Outward::Synced { conn, xid, cost, body } => {
                self.credit.give_back(*cost);
                self.returned(*conn, *xid, now);
                self.synced(*conn, *xid, body, now);
            }
            Outward::Ended(session, asked) => {
                if let Some(Farewell { conn, xid, cost }) = *asked {
                    self.credit.give_back(cost);
                    self.returned(conn, xid, now);
                    self.declined(conn, xid, opcode::CLOSE_SESSION, Code::Ok, now);
                }
                self.session_closed(*session);
            }
            Outward::Doors(doors) => self.doors(*doors),
            Outward::Reset(view, zxid) => {
                self.desk.view = (**view).clone();
                self.desk.applied = *zxid;
                self.digests.clear();
            }
            Outward::HangUp(id) => self.drop_conn(*id, "its session has a new connection, or cannot be opened"),
            Outward::Count(number, word) => {
                let part = self.census(*word);
                self.messages.push(Inward::Part(*number, Box::new(part)));
            }
            Outward::Counted(id, word, census) => {
                let words = &self.config.words;
                let text = match self.conns.get(*id).map(|conn| conn.phase) {
                    Some(Phase::Asking { is_http: true }) => http::metrics(&words.metrics(census)),
                    _ => words.answer(*word, Some(census)),
                };
                self.speak(*id, &text);
            }
        }
    }

    /// A write came back without a transaction.
    fn returned(&mut self, id: ConnId, xid: i32, now: Now) {
        if let Some(auditor) = &mut self.auditor {
            auditor.returned(id, xid, now.wall.0);
        }
    }

    /// What a new turn brings: those who waited for a zxid go on, and time passes.
    pub fn turn(&mut self, now: Now) {
        for id in mem::take(&mut self.waiting) {
            self.wait_is_over(id, now);
        }
        self.tell_failed(now);
        if now.mono().since(self.swept_at) >= 1000 {
            self.swept_at = now.mono();
            self.sweep(now);
        }
    }

    /// Ends connections that stay without a session, and those that do not take their output.
    fn sweep(&mut self, now: Now) {
        let late: Vec<_> = self
            .conns
            .iter()
            .filter_map(|(id, conn)| {
                let sessionless = !matches!(conn.phase, Phase::Live | Phase::Leaving | Phase::Ending)
                    && now.mono().since(conn.stats.established.mono()) > self.config.sessionless_ms;
                let stuck = conn.stuck_since.is_some_and(|since| now.mono().since(since) > limits::OUTPUT_STUCK_MS);
                match (sessionless, stuck) {
                    (_, true) => Some((id, "it does not read its output")),
                    (true, _) => Some((id, "it has no session")),
                    _ => None,
                }
            })
            .collect();
        for (id, why) in late {
            self.drop_conn(id, why);
        }
    }

    /// Messages for the sequencer: the requests of this turn, and what else there is.
    pub fn inward(&mut self, now: Now) -> std::vec::Drain<'_, Inward> {
        let quarter_passed = now.mono().since(self.touched_at) >= self.config.tick_ms / 4;
        if quarter_passed {
            self.touched_at = now.mono();
            // A session whose socket we chose not to read counts as heard of.
            for i in 0..self.stalled.len() {
                self.touch(self.stalled[i]);
            }
        }
        let is_any_touched = !self.touched.is_empty() || !self.touched_last.is_empty();
        if is_any_touched && (self.touch_now || quarter_passed) {
            self.touch_now = false;
            let mut sessions = mem::take(&mut self.touched_last);
            sessions.reserve(self.touched.len());
            for id in self.touched.drain(..) {
                if let Some(conn) = self.conns.get(id) {
                    conn.is_touched = false;
                    conn.reported = now.mono();
                    sessions.push(conn.session);
                }
            }
            self.messages.push(Inward::Touched(sessions));
        }
        if !self.train.items.is_empty() {
            self.messages.push(Inward::Train(Box::new(mem::take(&mut self.train))));
        }
        self.messages.drain(..)
    }

    /// Connections that have output to write or that end. Of those that have only been told of a change at most about a thousand at a time:
    /// the others come in the next turns, which [`Shard::wants_turn`] asks for.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        self.conns.take_dirty(into);
    }

    /// Output that waits for the socket.
    pub fn output(&mut self, id: ConnId) -> &[u8] {
        self.conns.get(id).map_or(&[], |conn| conn.output())
    }

    /// The socket took `n` bytes of the output.
    pub fn wrote(&mut self, id: ConnId, n: usize, now: Now) {
        self.counters.bytes_sent += n as u64;
        if let Some(conn) = self.conns.get(id) {
            conn.wrote(n, now.mono());
        }
    }

    /// Whether the driver should close the socket once the output is written.
    pub fn is_ending(&mut self, id: ConnId) -> bool {
        self.conns.get(id).is_none_or(|conn| conn.phase == Phase::Ending)
    }

    /// Whether input of this connection, of which there is some, would be taken now. Where not, the driver leaves its socket unread; the
    /// connection is remembered, and comes out of [`Shard::take_resumed`].
    pub fn may_read(&mut self, id: ConnId, now: Now) -> bool {
        if self.takes_input(id) {
            return true;
        }
        if self.credit.is_throttled()
            && let Some(conn) = self.conns.get(id)
        {
            conn.unread_since.get_or_insert(now.mono());
        }
        false
    }

    /// The same of input that has been read.
    fn takes_input(&mut self, id: ConnId) -> bool {
        let (spent, short) = (self.credit.is_spent(), self.credit.is_short());
        let Some(conn) = self.conns.get(id) else { return false };
        if !spent && !conn.is_blocked() && (!short || conn.lane.is_clear()) {
            return true;
        }
        if !conn.is_stalled {
            conn.is_stalled = true;
            self.stalled.push(id);
        }
        false
    }

    /// Connections whose input was refused and would be taken now.
    pub fn take_resumed(&mut self, into: &mut Vec<ConnId>) {
        if self.stalled.is_empty() || self.credit.is_spent() {
            return;
        }
        let (conns, short) = (&mut self.conns, self.credit.is_short());
        self.stalled.retain(|&id| {
            let Some(conn) = conns.get(id) else { return false };
            if conn.is_blocked() || short && !conn.lane.is_clear() {
                return true;
            }
            conn.is_stalled = false;
            into.push(id);
            false
        });
    }

    /// A request goes inward with the others of this turn.
    fn entrain(&mut self, item: Item, now: Now) {
        if self.train.items.is_empty() {
            self.train.since_us = now.micros;
        }
        self.train.items.push(item);
    }

    /// Whether the next turn has something to do whatever comes: somebody waits for a zxid, or for its turn to be told of a change.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        !self.waiting.is_empty() || self.conns.has_told()
    }

    /// Requests that wait to go inward.
    #[must_use]
    pub const fn parked(&self) -> usize {
        self.train.items.len()
    }

    /// Whether every request has its answer: nothing is in flight for this shard's clients.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        self.credit.requests == 0 && self.train.items.is_empty()
    }

    /// Whether the ends of all requests have been told, where any are.
    #[cfg(test)]
    pub(super) fn has_told_all(&self) -> bool {
        self.auditor.as_ref().is_none_or(Auditor::is_idle)
    }

    /// Opens the doors, or shuts them. Whoever came in by other doors goes at once, as in ZooKeeper.
    fn doors(&mut self, doors: Doors) {
        self.doors = doors;
        let clients = self
            .conns
            .iter()
            .filter(|(_, conn)| !matches!(conn.phase, Phase::Fresh | Phase::Collecting | Phase::Asking { .. } | Phase::Ending));
        for id in clients.map(|(id, _)| id).collect::<Vec<_>>() {
            self.drop_conn(id, "this server has another leader, or none");
        }
    }

    /// Ends every connection once its output is written.
    pub fn end_all(&mut self) {
        let ids: Vec<_> = self.conns.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.end(id);
        }
    }

    /// The connection ends once its output is written.
    fn end(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            conn.phase = Phase::Ending;
            self.conns.mark_dirty(id.slot);
        }
    }

    /// The connection ends at once; its output is thrown away.
    fn drop_conn(&mut self, id: ConnId, why: &str) {
        let Some(conn) = self.conns.get(id) else { return };
        tracing::debug!("closing the connection of {} (session {}): {why}", conn.peer, conn.session);
        self.counters.dropped += 1;
        let unwritten = conn.held();
        conn.wrote(unwritten, Millis(0));
        self.desk.watches.remove_watcher(WatcherId(id.slot));
        self.end(id);
    }

    /// The session has been heard of.
    fn touch(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id)
            && !conn.is_touched
            && conn.session != SessionId::NONE
        {
            conn.is_touched = true;
            self.touched.push(id);
        }
    }

    /// Text instead of frames: the answer to an admin word, after which the connection ends.
    fn speak(&mut self, id: ConnId, text: &str) {
        if let Some(conn) = self.conns.get(id) {
            conn.out.extend_from_slice(text.as_bytes());
            conn.stats.sent += 1;
            self.counters.sent += 1;
            self.end(id);
        }
    }

    fn census(&mut self, word: Word) -> ShardCensus {
        let mut census = ShardCensus::default();
        match word {
            Word::Crst => self.conns.iter_mut().for_each(|conn| conn.stats.reset()),
            Word::Mntr => census.stages = Some(Box::new(self.stages.clone())),
            Word::Srst => {
                self.stages.reset();
                let (connections, outstanding) = (self.counters.connections, self.counters.outstanding);
                self.counters = Counters {
                    connections,
                    outstanding,
                    response_last: -1,
                    response_min: -1,
                    response_max: -1,
                    ..Counters::default()
                };
            }
            Word::Hash => census.digests = self.digests.iter().copied().collect(),
            Word::Cons | Word::Stat => census.connections = self.conns.iter().map(|(_, conn)| conn.census()).collect(),
            Word::Wchs | Word::Wchc | Word::Wchp => {
                let conns = &self.conns;
                let session_of = |WatcherId(slot): WatcherId| conns.session_at(slot);
                census.data_watches = self
                    .desk
                    .watches
                    .by_path()
                    .map(|(path, watchers)| (path.to_owned(), watchers.into_iter().filter_map(session_of).collect()))
                    .collect();
            }
            _ => {}
        }
        census.counters = Counters {
            connections: self.conns.len() as u64,
            outstanding: self.conns.iter().map(|(_, conn)| conn.lane.len() as u64).sum(),
            ..self.counters
        };
        let summary = self.desk.watches.summary();
        census.watchers = summary.watchers as u64;
        census.watches_total = self.desk.watches.total() as u64;
        census
    }
}
