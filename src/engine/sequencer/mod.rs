//! Sequencer: the engine that orders writes. Ledger, group commit, sessions and the chores of the server's own.
//!
//! The driver's duty, in this order each turn: hand in what came (`handle`, `flushed`, `tick`), then while [`Sequencer::due`]
//! names a length, frame a batch and start its write, then take [`Sequencer::outward`] and push it to the shards. Nothing
//! that it returns may be shown before the driver has it: a batch appears in `outward` only when it is durable.

mod adapt;
mod allowance;
mod batch;
mod corridor;
mod door;
mod gather;
mod learners;
mod ledger;
mod local;
mod member;
mod multi;
mod queue;
mod reaper;
mod replica;
mod restore;
mod room;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

pub use batch::FlushKnobs;
pub use ledger::Ledger;
pub use local::LocalKnobs;
pub use member::Done;
pub use reaper::Lifetimes;
pub use restore::{Restore, RestoreError, Restored};
pub use room::Room;

use self::batch::Builder;
use self::corridor::Asked;
use self::gather::Gathers;
use self::ledger::Asker;
use self::member::Member;
use self::reaper::Reaper;
use super::census::{ArchiveCensus, Word};
use super::message::{Ask, Batch, Inward, Item, Outcome, Outward, Train};
use super::stages::{Stage, Stages};
use crate::ground::ids::{SessionId, ShardId, Ticket, Zxid};
use crate::ground::limits::{BATCH_BYTES_MAX, SEGMENT_MIN};
use crate::ground::time::{Millis, Now};
use crate::proto::code::Code;
use crate::proto::opcode;
use crate::proto::txn::TxnHeader;
use crate::session::throttle::Throttle;
use crate::session::{self, Ids, State};
use crate::storage::appender::{Appender, Contents, Placement, Position};
use crate::storage::batch::framed_len;
use crate::storage::segment::SegmentStart;
use crate::zab::Link;

/// Bytes at the end of a last segment that only sessions may write to, where no segment can be made to follow it: writes are refused.
/// More than what is already gathered can take.
const LOG_RESERVE: u64 = 8 << 20;

/// Bytes at its very end that only closing sessions may write to: no session is opened.
const LOG_RESERVE_CLOSING: u64 = LOG_RESERVE / 4;

const _: () = assert!(LOG_RESERVE as usize > 2 * BATCH_BYTES_MAX + LOG_RESERVE_CLOSING as usize / 2);
const _: () = assert!(SEGMENT_MIN as u64 >= 2 * LOG_RESERVE);

/// Whether a segment can follow the one in use, as far as is known now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ahead {
    /// One is ready.
    Ready,
    /// One is being made, and may come to nothing.
    InTheMaking,
    /// None can be made.
    Nothing,
}

/// Who gets a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// One shard.
    Shard(ShardId),
    /// Every shard.
    All,
}

/// Whose a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Home {
    /// Nobody has spoken for it.
    #[default]
    Nowhere,
    /// A connection of this server.
    Here(Ticket),
    /// The learner at this link.
    Learner(Link),
}

/// A batch on its way to the disk.
struct Flight {
    /// `None` for a mark, and in an ensemble, where being durable is not enough.
    batch: Option<Batch>,
    last: Zxid,
}

/// The engine.
pub struct Sequencer {
    ledger: Ledger,
    sessions: session::Table<Home>,
    ids: Ids,
    appender: Appender,
    knobs: FlushKnobs,
    adapt: adapt::Adapt,
    builder: Builder,
    flights: VecDeque<Flight>,
    gathers: Gathers,
    outward: Vec<(To, Outward)>,
    shards: u16,
    /// In an ensemble.
    member: Option<Box<Member>>,
    /// Answers that belong to no transaction, each behind the transaction that must be delivered first.
    answers: VecDeque<(Zxid, ShardId, Outward)>,
    proposed: Zxid,
    delivered: Zxid,
    /// Set while stopping: no request is admitted any more.
    closing: bool,
    /// What follows the segment in use.
    ahead: Ahead,
    flushes: u64,
    transactions: u64,
    log_bytes: u64,
    stages: Stages,
    /// What the archivist told last.
    archive: ArchiveCensus,
    /// Somebody has asked for an image.
    wants_image: bool,
    reaper: Reaper,
    /// How many sessions may begin in a time, if that is limited.
    throttle: Option<Throttle>,
    throttle_seeds: [u64; 4],
}

impl Sequencer {
    /// An engine over what recovery restored.
    #[must_use]
    pub fn new(restored: Restored, ids: Ids, appender: Appender, knobs: FlushKnobs, shards: u16, now: Now) -> Self {
        let (Restored { ledger, sessions, last }, adapt) = (restored, adapt::Adapt::new(knobs));
        Self {
            ledger,
            sessions,
            ids,
            appender,
            knobs: adapt.knobs(),
            adapt,
            builder: Builder::default(),
            flights: VecDeque::new(),
            gathers: Gathers::new(shards, now.mono()),
            outward: Vec::new(),
            shards,
            member: None,
            answers: VecDeque::new(),
            proposed: last,
            delivered: last,
            closing: false,
            ahead: Ahead::Ready,
            flushes: 0,
            transactions: 0,
            log_bytes: 0,
            stages: Stages::default(),
            archive: ArchiveCensus::default(),
            wants_image: false,
            reaper: Reaper::new(Lifetimes::default(), now),
            throttle: None,
            throttle_seeds: [0; 4],
        }
    }

    /// The same engine, which refuses what quotas do not allow, or does not.
    #[must_use]
    pub const fn enforcing_quotas(mut self, enforces: bool) -> Self {
        self.ledger.enforce_quotas(enforces);
        self
    }

    /// Newest transaction that shards may show.
    #[must_use]
    pub const fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// Everything in the log up to this transaction survives.
    #[must_use]
    pub fn logged(&self) -> Zxid {
        self.appender.durable()
    }

    /// Whether the batch being filled has room for another transaction of any size. While it is not known whether the log can go
    /// on after a segment that is nearly full, it has none.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.builder.has_room(&self.knobs)
            && self.member.as_ref().is_none_or(|member| member.has_room())
            && !(self.ahead == Ahead::InTheMaking && self.is_nearly_full())
    }

    /// Takes one message from a shard. Of a train, items from `*at` on are taken while the batch has room; returns whether the
    /// message is used up, else `*at` tells where to go on.
    pub fn handle(&mut self, from: ShardId, message: &mut Inward, at: &mut usize, now: Now) -> bool {
        match message {
            Inward::Train(train) => {
                let begun = *at;
                while let Some(item) = train.items.get(*at).filter(|_| self.has_room()) {
                    self.item(from, train, item, now);
                    *at += 1;
                }
                self.stages.record(Stage::Queue, train.since_us, now.micros, (*at - begun) as u64);
                return *at == train.items.len();
            }
            Inward::Touched(sessions) => {
                for &session in sessions.iter() {
                    if self.touch_local(session, now) {
                        continue;
                    }
                    self.sessions.touch(session, now.mono());
                    if self.member.as_ref().is_some_and(|member| !member.leads()) {
                        self.touched_here(session);
                    }
                }
            }
            Inward::Ask(conn, word) => {
                let (number, word) = self.gathers.begin(Ticket { shard: from, conn: *conn }, *word);
                self.outward.push((To::All, Outward::Count(number, word)));
            }
            Inward::Part(number, part) => {
                if let Some((ticket, word, mut census)) = self.gathers.part(*number, *mem::take(part)) {
                    census.ledger = self.census(word);
                    census.mono = now.mono();
                    census.wall = now.wall.0;
                    self.wants_image |= word == Word::Csnp;
                    if word == Word::Srst {
                        self.stages.reset();
                    }
                    self.outward.push((To::Shard(ticket.shard), Outward::Counted(ticket.conn, word, Arc::new(census))));
                }
            }
        }
        true
    }

    fn item(&mut self, from: ShardId, train: &Train, item: &Item, now: Now) {
        if !self.may_begin(item, now) {
            // No answer says so: the client tries another server, or again.
            self.turn_away(Asked::opening(Ticket { shard: from, conn: item.conn }));
            return;
        }
        if self.takes_locally(from, item, now) {
            return;
        }
        if self.member.as_ref().is_some_and(|member| !member.leads()) {
            self.send_on(from, train, item, now);
            return;
        }
        let ticket = Ticket { shard: from, conn: item.conn };
        match &item.ask {
            Ask::Open { timeout_ms } => self.open(ticket, *timeout_ms, now),
            Ask::Attach { session, password_ok, timeout_ms } => self.attach(ticket, *session, *password_ok, *timeout_ms, now),
            Ask::Write { session, xid, op, body, who } => {
                let body = &train.arena[body.clone()];
                let cost = u32::try_from(body.len()).expect("a frame is bounded");
                let standing = self.standing_of(*session, Home::Here(ticket));
                if *op == opcode::SYNC {
                    let mark = self.confirm(now);
                    let body = body.into();
                    self.answers.push_back((mark, from, Outward::Synced { conn: item.conn, xid: *xid, cost, body }));
                    return;
                }
                if standing.is_ok() {
                    self.sessions.touch(*session, now.mono());
                }
                let wish = if self.declines() && *op != opcode::CLOSE_SESSION {
                    Err(standing.err().unwrap_or(Code::SystemError))
                } else {
                    Ledger::read(*op, body)
                };
                let wish = match wish {
                    Ok(wish) => wish,
                    Err(code) => {
                        let answer = Outward::Declined { conn: item.conn, xid: *xid, op: *op, cost, code };
                        self.answers.push_back((self.proposed, from, answer));
                        return self.answer_late();
                    }
                };
                let owns = standing.and_then(|()| self.upgrade(*session, *op, body, Home::Here(ticket), now));
                let header = self.header(*session, *xid, now);
                if standing.is_ok() && *op == opcode::CLOSE_SESSION {
                    self.close(header, Some(ticket), cost, now);
                    return;
                }
                let ledger = &mut self.ledger;
                self.builder.add(header, *op, Some(ticket), cost, now.micros, |mut header, blob, steps| match standing {
                    Ok(()) => ledger.write(&mut header, *op, &wish, Asker { who, owns }, blob, steps),
                    Err(code) => {
                        Ledger::refusal(&mut header, code, blob);
                        Outcome::Refused(code)
                    }
                });
            }
        }
    }

    /// Whether this server orders writes: it is alone, or leads.
    fn leads(&self) -> bool {
        self.member.as_ref().is_none_or(|member| member.leads())
    }

    /// Whether the session may write from there.
    fn standing_of(&self, session: SessionId, from: Home) -> Result<(), Code> {
        if let Some(standing) = self.locals().and_then(|locals| locals.standing_of(session, from)) {
            return standing;
        }
        match self.sessions.state(session) {
            State::Unknown if self.member.is_none() => Err(Code::UnknownSession),
            // Local to the learner that speaks for it, perhaps.
            State::Unknown
                if matches!(from, Home::Learner(_)) && self.locals().is_some_and(|locals| locals.may_be_elsewhere(session)) =>
            {
                Ok(())
            }
            State::Unknown => Err(Code::SessionExpired),
            State::Closing => Err(Code::SessionExpired),
            State::Open if self.sessions.home(session) != Some(&from) => Err(Code::SessionMoved),
            State::Open => Ok(()),
        }
    }

    /// The header of the next transaction. In a standalone server the counter's end runs into the next epoch, as in ZooKeeper.
    fn header(&mut self, session: SessionId, cxid: i32, now: Now) -> TxnHeader {
        let zxid = self.next_zxid();
        self.proposed = zxid;
        self.transactions += 1;
        TxnHeader { session, cxid, zxid, time: now.wall.0, kind: opcode::ERROR }
    }

    fn answer_late(&mut self) {
        while self.answers.front().is_some_and(|(after, ..)| *after <= self.delivered) {
            let Some((_, shard, answer)) = self.answers.pop_front() else { return };
            self.outward.push((To::Shard(shard), answer));
        }
    }

    fn close(&mut self, header: TxnHeader, ticket: Option<Ticket>, cost: u32, now: Now) {
        self.sessions.begin_closing(header.session);
        let ledger = &mut self.ledger;
        self.builder.add(header, opcode::CLOSE_SESSION, ticket, cost, now.micros, |mut header, blob, steps| {
            let txn = ledger.closing(header.session);
            ledger.session(&mut header, opcode::CLOSE_SESSION, &txn, blob, steps);
            Outcome::Closed
        });
    }

    /// What time brings: sessions that had not been heard of in time at the moment up to which all clients have been heard
    /// are closed. While this process is kept from its processors, or has more to do than it can, that moment stands still:
    /// the silence of a session may then be ours. Znodes that go by themselves go, when they are due.
    pub fn tick(&mut self, now: Now, heard_up_to: Millis) {
        self.open_for_reading(now);
        let is_leaders = self.leads();
        self.reap(is_leaders && !self.closing, now);
        if self.closing {
            return;
        }
        self.expire_locals(heard_up_to.min(now.mono()));
        if !is_leaders {
            return;
        }
        for session in self.sessions.expired(heard_up_to.min(now.mono())) {
            if !self.has_room() {
                // The rest is found again at the next tick.
                break;
            }
            tracing::debug!("session {session} expired");
            let header = self.header(session, 0, now);
            self.close(header, None, 0, now);
        }
    }

    /// Bytes that the next log write needs, when one is due. The driver then makes sure that it [`Sequencer::fits`], and frames it.
    #[must_use]
    pub fn due(&mut self, now: Now) -> Option<usize> {
        if self.member.is_some() {
            return self.member_due(now);
        }
        if self.builder.is_due(&self.knobs, self.flights.len(), now.micros) {
            return Some(framed_len(self.builder.payload.len()));
        }
        // While the server runs, a watermark outside the log vouches for its end.
        (self.closing && self.builder.is_empty() && self.flights.is_empty() && self.appender.wants_mark()).then(|| framed_len(0))
    }

    /// Microseconds until [`Sequencer::due`] may change by time alone.
    #[must_use]
    pub fn due_in(&self, now: Now) -> Option<u64> {
        self.builder.linger_left(&self.knobs, self.flights.len(), now.micros)
    }

    /// Whether so many framed bytes fit into the segment.
    #[must_use]
    pub fn fits(&self, framed: usize) -> bool {
        self.appender.fits(framed)
    }

    /// Where the log stands: what is framed next comes after it.
    #[must_use]
    pub const fn log_position(&self) -> &Position {
        self.appender.position()
    }

    /// What follows the segment in use. Where nothing can, its end is kept for sessions, and writes are declined: they are answered
    /// with a system error, in their turn, and are not logged. Where that is not known yet, they wait at its end.
    pub const fn set_ahead(&mut self, ahead: Ahead) {
        self.ahead = ahead;
    }

    /// Whether writes are declined for want of room in the log.
    #[must_use]
    pub fn declines(&self) -> bool {
        self.ahead == Ahead::Nothing && self.is_nearly_full()
    }

    /// Whether what is left of the segment in use is the reserve.
    #[must_use]
    pub const fn is_nearly_full(&self) -> bool {
        self.segment_left() < LOG_RESERVE
    }

    /// Bytes that can still be logged in the segment in use.
    const fn segment_left(&self) -> u64 {
        let at = self.appender.position();
        at.segment.size - at.offset
    }

    /// Goes on in the next segment, which is prepared and durable.
    pub fn roll(&mut self, next: SegmentStart) {
        self.appender.roll(next);
    }

    /// Closes the batch, or makes a mark where none is open, and frames it into `out`, whose length [`Sequencer::due`] named.
    pub fn frame(&mut self, out: &mut [u8], now: Now) -> Placement {
        self.flushes += 1;
        self.flush_starts(now);
        self.log_bytes += out.len() as u64;
        if self.member.is_some() {
            return self.member_frame(out);
        }
        if self.builder.is_empty() {
            let last = self.appender.last();
            self.flights.push_back(Flight { batch: None, last });
            return self.appender.mark_into(self.delivered, out);
        }
        let batch = self.builder.close(&mut self.stages, now.micros);
        let contents = Contents { first: batch.first, last: batch.last, count: batch.records() };
        let placement = self.appender.frame_into(contents, &[&self.builder.payload], self.delivered, out);
        self.builder.payload.clear();
        self.flights.push_back(Flight { last: batch.last, batch: Some(batch) });
        placement
    }

    /// A log write is durable; writes may finish in any order. What this delivers goes outward.
    pub fn flushed(&mut self, sequence: u64, now: Now) {
        self.appender.flushed(sequence);
        self.flush_ends(now);
        let logged = self.appender.durable();
        let done = self.flights.len() - self.appender.in_flight();
        if self.member.is_some() {
            self.flights.drain(..done);
            self.answer_writes(now);
            return;
        }
        // Alone, a server commits what it has logged; delivered is the lesser of both, always.
        for flight in self.flights.drain(..done).collect::<Vec<_>>() {
            assert!(flight.last <= logged, "a batch is delivered only when it is durable");
            if let Some(mut batch) = flight.batch {
                self.stages.flushed(&mut batch, now.micros);
                self.show(batch, now);
            }
        }
        assert!(logged >= self.delivered, "delivered never falls");
        self.delivered = logged;
        self.ledger.forget(logged);
        self.answer_late();
    }

    /// A batch goes to the shards. Answers that belong to no transaction go in between, where their turn comes.
    fn show(&mut self, mut batch: Batch, now: Now) {
        batch.times.shown = now.micros;
        let mut rest = Some(batch);
        while let Some(mut batch) = rest {
            let mark = self.answers.front().map(|(mark, ..)| *mark).filter(|mark| *mark < batch.last);
            rest = mark.and_then(|mark| batch.split_after(mark));
            for entry in &batch.entries {
                if entry.outcome == Outcome::Closed {
                    self.sessions.remove(entry.session);
                }
            }
            self.delivered = self.delivered.max(batch.last);
            self.outward.push((To::All, Outward::Batch(Arc::new(batch))));
            self.answer_late();
        }
    }

    /// The archivist has told this.
    pub const fn archived(&mut self, census: ArchiveCensus) {
        self.archive = census;
    }

    /// Whether an image is wanted of everything delivered so far, by `csnp`. Asked after [`Sequencer::outward`] was handed out.
    pub const fn take_image_order(&mut self) -> bool {
        mem::replace(&mut self.wants_image, false)
    }

    /// Messages for the shards, in the order they must get them.
    pub fn outward(&mut self) -> std::vec::Drain<'_, (To, Outward)> {
        self.outward.drain(..)
    }

    /// From now on only what is proposed already is finished.
    pub const fn begin_stop(&mut self) {
        self.closing = true;
    }

    /// Whether nothing is left to write.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let is_member_at_rest = self.member.as_ref().is_none_or(|member| member.is_at_rest());
        self.builder.is_empty() && self.flights.is_empty() && is_member_at_rest && !(self.closing && self.appender.wants_mark())
    }

    /// Digest of the ledger's tree and the zxid it stands at.
    #[must_use]
    pub fn digest(&self) -> (Zxid, u64) {
        (self.proposed, self.ledger.tree().digest())
    }

    /// Undoes what is not delivered, for good, and yields the digest then.
    #[cfg(test)]
    pub(in crate::engine) fn undone_digest(&mut self) -> u64 {
        let delivered = self.delivered;
        self.ledger.tree_mut().rollback_above(delivered);
        self.ledger.tree().digest()
    }

    /// The ledger's tree.
    #[cfg(test)]
    pub const fn tree(&self) -> &crate::tree::tree::Tree {
        self.ledger.tree()
    }
}
