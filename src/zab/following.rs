//! Following: a learner's side, from finding the leader to serving under it.
//!
//! One pending queue holds what is proposed and not committed, before the new leader is acknowledged, between that and the word that
//! this server is up to date, and after. Commits that come before that word are a leader's intention, not yet a fact: nothing is
//! delivered until it has come.

use std::collections::VecDeque;

use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::ground::time::Millis;
use crate::proto::packet::{Blob, LearnerInfo, Packet};

use super::books::Books;
use super::history::History;
use super::{Link, Out, Record, Token};

/// Why a leader is left, for the operator.
pub type Why = &'static str;

/// How often a leader that cannot be reached is tried.
const TRIES: u32 = 5;
/// Between two tries, ms.
const RETRY_MS: u64 = 100;

/// Where a learner stands with its leader.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// A link is to be made; at this time it is tried again, if a time is named.
    Connecting { retry_at: Option<Millis> },
    /// It has introduced itself.
    Introduced,
    /// Its promise is being made durable.
    Promising { epoch: u32 },
    /// It has accepted the epoch; the leader says how it is synchronised.
    Accepted,
    /// The whole state is coming.
    Copying { at: Zxid },
    /// The whole state has come, and waits for transactions without which it would lack what this server had.
    Copied { at: Zxid, tail: Vec<Record> },
    /// Transactions are coming.
    Syncing,
    /// The leader has sent all; history is to be durable up to this write, then the epoch.
    Settling { history: Token },
    /// History is durable, the epoch is on its way.
    Joining,
    /// The new leader is acknowledged.
    Acknowledged,
    /// It serves.
    Serving,
}

/// A learner.
#[derive(Debug)]
pub struct Following {
    leader: ServerId,
    link: Option<Link>,
    stage: Stage,
    tries: u32,
    heard: Millis,
    /// It introduced itself as an observer: it acknowledges no transactions.
    is_observer: bool,
    /// It must be given the state whole, for its log could not be cut.
    wants_state: bool,
    epoch: u32,
    /// What the leader says is committed.
    mark: Zxid,
    /// What is proposed beyond that.
    pending: VecDeque<Zxid>,
    /// What is to be acknowledged when it is durable.
    owed: VecDeque<Zxid>,
    touched: Vec<(SessionId, i32)>,
}

impl Following {
    /// Goes to a leader.
    pub fn new(now: Millis, leader: ServerId, books: &Books, wants_state: bool, out: &mut Vec<Out>) -> Self {
        assert!(books.is_idle(), "a leader is sought with a settled log");
        out.push(Out::Connect { leader });
        Self {
            leader,
            link: None,
            stage: Stage::Connecting { retry_at: None },
            tries: 1,
            heard: now,
            is_observer: !books.has_vote(),
            wants_state,
            epoch: 0,
            mark: books.history.last(),
            pending: VecDeque::new(),
            owed: VecDeque::new(),
            touched: Vec::new(),
        }
    }

    /// The leader.
    #[must_use]
    pub const fn leader(&self) -> ServerId {
        self.leader
    }

    /// The link to it.
    #[must_use]
    pub const fn link(&self) -> Option<Link> {
        self.link
    }

    /// Its epoch, once it is known.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// It observes.
    #[must_use]
    pub const fn is_observer(&self) -> bool {
        self.is_observer
    }

    /// Whether it serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.stage == Stage::Serving
    }

    /// Whether the next leader is to be asked for the state whole.
    #[must_use]
    pub const fn wants_state(&self) -> bool {
        self.wants_state
    }

    /// When [`Self::time`] is due, besides half ticks.
    #[must_use]
    pub const fn deadline(&self) -> Option<Millis> {
        if let Stage::Connecting { retry_at } = self.stage { retry_at } else { None }
    }

    /// The link has broken: it is not to be given up any more.
    pub const fn link_broke(&mut self) {
        self.link = None;
    }

    /// The leader could not be reached.
    pub fn unreachable(&mut self, now: Millis) -> Result<(), Why> {
        match self.stage {
            Stage::Connecting { retry_at: None } if self.tries < TRIES => {
                self.stage = Stage::Connecting { retry_at: Some(now.plus(RETRY_MS)) };
                Ok(())
            }
            Stage::Connecting { retry_at: None } => Err("the leader cannot be reached"),
            _ => Ok(()),
        }
    }

    /// The link stands. Says whether it is wanted.
    pub fn connected(&mut self, now: Millis, link: Link, books: &Books, out: &mut Vec<Out>) -> bool {
        if !matches!(self.stage, Stage::Connecting { retry_at: None }) {
            return false;
        }
        self.link = Some(link);
        self.heard = now;
        self.stage = Stage::Introduced;
        let config_version = books.members.version;
        let accepted = books.accepted();
        let info = LearnerInfo { server: Some(books.me), accepted, config_version, is_observer: self.is_observer };
        out.push(Out::Send { link, packet: Packet::Info(info) });
        true
    }

    /// Time has passed.
    pub fn time(&mut self, now: Millis, books: &Books, out: &mut Vec<Out>) -> Result<(), Why> {
        if let Stage::Connecting { retry_at: Some(at) } = self.stage
            && now >= at
        {
            self.tries += 1;
            self.stage = Stage::Connecting { retry_at: None };
            out.push(Out::Connect { leader: self.leader });
        }
        let limit = if self.serves() { books.times.sync_limit } else { books.times.init_limit };
        if now.since(self.heard) > limit * books.times.tick { Err("the leader is silent") } else { Ok(()) }
    }

    /// Sessions were heard of.
    pub fn touched(&mut self, sessions: Vec<(SessionId, i32)>) {
        if self.serves() {
            self.touched.extend(sessions);
        }
    }

    fn send(&self, packet: Packet, out: &mut Vec<Out>) {
        out.push(Out::Send { link: self.link.expect("a link to the leader stands"), packet });
    }

    /// A packet came from the leader.
    pub fn packet(&mut self, now: Millis, packet: Packet, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        self.heard = now;
        match (packet, &self.stage) {
            (Packet::LeaderInfo { epoch }, Stage::Introduced) => self.leader_info(epoch, books, out),
            (Packet::Diff { .. }, Stage::Accepted) if !self.wants_state => {
                self.stage = Stage::Syncing;
                Ok(())
            }
            (Packet::Trunc { to }, Stage::Accepted) if !self.wants_state => self.trunc(to, books, out),
            (Packet::Snap { at }, Stage::Accepted) => {
                self.stage = Stage::Copying { at };
                self.mark = at;
                Ok(())
            }
            (Packet::Diff { .. } | Packet::Trunc { .. }, Stage::Accepted) => {
                Err("the leader does not send the state that is needed")
            }
            (Packet::Proposal { zxid, blob }, _) if self.takes_history() => self.proposal(zxid, blob, books, out),
            (Packet::Commit { zxid }, _) if self.takes_history() => self.commit(zxid, books),
            (Packet::Inform { zxid, blob }, _) if self.takes_history() && self.is_observer => {
                let had = self.mark;
                self.proposal(zxid, blob, books, out)?;
                if zxid > had { self.commit(zxid, books) } else { Ok(()) }
            }
            (Packet::NewLeader { epoch, .. }, Stage::Copied { .. } | Stage::Syncing) => {
                if epoch != self.epoch {
                    return Err("the leader's epoch has changed");
                }
                self.new_leader(books, out)
            }
            (Packet::UpToDate, Stage::Acknowledged) => {
                self.up_to_date(books, out);
                Ok(())
            }
            (Packet::Ping { zxid, .. }, Stage::Acknowledged | Stage::Serving) => {
                let touched = std::mem::take(&mut self.touched);
                self.send(Packet::Ping { zxid, touched }, out);
                Ok(())
            }
            // A leader may ping before it has heard that it is acknowledged; an answer in place of that acknowledgement would be an error.
            (Packet::Ping { .. }, _) if self.takes_history() => Ok(()),
            (packet @ (Packet::Revalidated { .. } | Packet::Sync), Stage::Serving) => {
                out.push(Out::Upward { link: self.link.expect("a packet came from a link"), packet });
                Ok(())
            }
            _ => Err("the leader sent what does not belong here"),
        }
    }

    /// Whether transactions may come.
    const fn takes_history(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Connecting { .. } | Stage::Introduced | Stage::Promising { .. } | Stage::Accepted | Stage::Copying { .. }
        )
    }

    fn leader_info(&mut self, epoch: u32, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        self.epoch = epoch;
        match epoch.cmp(&books.accepted()) {
            std::cmp::Ordering::Less => Err("the leader's epoch is older than one accepted here"),
            std::cmp::Ordering::Equal => {
                // Accepted before, perhaps for another leader of this epoch: not to be counted twice.
                let current = cfg!(mutant = "m16").then_some(books.current());
                self.ack_epoch(current, books, out);
                Ok(())
            }
            std::cmp::Ordering::Greater => {
                books.promise(epoch, books.current(), out);
                self.stage = Stage::Promising { epoch };
                if cfg!(mutant = "m17") {
                    self.ack_epoch(Some(books.current()), books, out);
                }
                Ok(())
            }
        }
    }

    /// Accepts the epoch. A server that asks for the state, or that may have forgotten something, does not count towards it.
    fn ack_epoch(&mut self, current: Option<u32>, books: &Books, out: &mut Vec<Out>) {
        assert!(books.is_idle() || cfg!(mutant = "m17"), "what is told of the log is durable");
        let last = if self.wants_state { Zxid::ZERO } else { books.history.last() };
        let current = current.filter(|_| !self.wants_state && !self.is_observer);
        self.stage = Stage::Accepted;
        self.send(Packet::AckEpoch { last, current }, out);
    }

    fn trunc(&mut self, to: Zxid, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        let history = &books.history;
        let place = if history.has(to) && (to.counter() > 0 || to == history.base()) {
            Some(to)
        } else if to.counter() == 0 {
            // The mark of an epoch: all of that epoch is to go.
            history.floor(to)
        } else if cfg!(mutant = "m21") {
            history.floor(to).map(|floor| floor.next().filter(|next| history.has(*next)).unwrap_or(floor))
        } else {
            None
        };
        let Some(place) = place else {
            self.wants_state = true;
            return Err("the log cannot be cut where the leader says: the state is asked for whole");
        };
        if place < books.delivered() {
            return Err("the leader would have cut what was delivered");
        }
        if place < history.last() {
            books.cut(place, out);
        }
        self.mark = place;
        self.stage = Stage::Syncing;
        Ok(())
    }

    /// The state has come whole.
    pub fn state_received(&mut self, now: Millis, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        self.heard = now;
        let Stage::Copying { at } = self.stage else { return Err("a state came that was not announced") };
        // Until what comes after the state reaches as far as this server's log did, putting it in force could lose, in a crash, what was
        // acknowledged here.
        let reaches = at >= books.history.last();
        self.stage = Stage::Copied { at, tail: Vec::new() };
        if reaches { self.install(books, out) } else { Ok(()) }
    }

    fn install(&mut self, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        let Stage::Copied { at, tail } = std::mem::replace(&mut self.stage, Stage::Syncing) else {
            unreachable!("a state has come")
        };
        let delivered = books.delivered();
        if delivered > at && !tail.iter().any(|record| record.zxid == delivered) {
            return Err("the leader's state lacks what was delivered here");
        }
        books.install(self.link.expect("the state came from a link"), at, tail, out);
        self.wants_state = false;
        Ok(())
    }

    fn proposal(&mut self, zxid: Zxid, blob: Blob, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        let record = Record { zxid, blob };
        let last = match &self.stage {
            Stage::Copied { at, tail } => tail.last().map_or(*at, |record| record.zxid),
            _ => books.history.last(),
        };
        if zxid <= last {
            return self.repeated(&record, books);
        }
        if !History::follows(last, zxid) {
            return Err("a transaction came that does not follow the one before");
        }
        self.pending.push_back(zxid);
        if let Stage::Copied { tail, .. } = &mut self.stage {
            tail.push(record);
            return if zxid >= books.history.last() { self.install(books, out) } else { Ok(()) };
        }
        books.append(record);
        if !self.is_observer && !matches!(self.stage, Stage::Syncing) {
            self.owed.push_back(zxid);
        }
        Ok(())
    }

    /// Around the sync point a leader may repeat what this server has: the same is dropped, another is not taken.
    fn repeated(&self, record: &Record, books: &Books) -> Result<(), Why> {
        let is_same = match &self.stage {
            Stage::Copied { at, tail } => record.zxid <= *at || tail.contains(record),
            _ => {
                let history = &books.history;
                let below = record.zxid <= history.base() || record.zxid <= history.recent_base() && history.has(record.zxid);
                below || history.get(record.zxid) == Some(record)
            }
        };
        if is_same && !self.serves() { Ok(()) } else { Err("a transaction came a second time") }
    }

    fn commit(&mut self, zxid: Zxid, books: &mut Books) -> Result<(), Why> {
        if cfg!(mutant = "m04") && matches!(self.stage, Stage::Settling { .. } | Stage::Joining | Stage::Acknowledged) {
            return Ok(());
        }
        if zxid <= self.mark && !self.serves() {
            // The commit of a transaction that was dropped as repeated.
            return Ok(());
        }
        if self.pending.front() != Some(&zxid) {
            return Err("a commit came that is not of the oldest proposal");
        }
        self.pending.pop_front();
        self.mark = zxid;
        if self.serves() {
            books.committed = zxid;
        }
        Ok(())
    }

    /// All has been sent: the history goes to the disk, then the epoch, then the acknowledgement leaves.
    fn new_leader(&mut self, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        if matches!(self.stage, Stage::Copied { .. }) {
            self.install(books, out)?;
        }
        if !self.is_observer {
            self.owed.clone_from(&self.pending);
        }
        if cfg!(mutant = "m02") {
            books.promise(books.accepted(), self.epoch, out);
        }
        books.flush(out);
        self.stage = Stage::Settling { history: books.issued() };
        Ok(())
    }

    fn up_to_date(&mut self, books: &mut Books, out: &mut Vec<Out>) {
        self.stage = Stage::Serving;
        books.committed = if cfg!(mutant = "m06") { books.committed } else { self.mark };
        // The leader expects it, and takes no notice.
        self.send(Packet::Ack { zxid: Zxid::new(self.epoch, 0) }, out);
    }

    /// Goes on where a write has ended, and acknowledges and delivers what can be.
    pub fn settle(&mut self, books: &mut Books, out: &mut Vec<Out>) {
        books.flush(out);
        books.history.trim(books.logged());
        if let Stage::Promising { epoch } = self.stage
            && books.accepted() >= epoch
        {
            self.ack_epoch(Some(books.current()), books, out);
        }
        if let Stage::Settling { history } = self.stage
            && (books.is_done(history) || cfg!(mutant = "m01"))
        {
            if books.current() < self.epoch {
                books.promise(books.accepted(), self.epoch, out);
            }
            self.stage = Stage::Joining;
        }
        if self.stage == Stage::Joining && (books.current() == self.epoch || cfg!(mutant = "m01")) {
            self.stage = Stage::Acknowledged;
            self.send(Packet::Ack { zxid: Zxid::new(self.epoch, 0) }, out);
        }
        if matches!(self.stage, Stage::Acknowledged | Stage::Serving) || cfg!(mutant = "m03") {
            while let Some(zxid) = self.owed.pop_front_if(|zxid| *zxid <= books.logged()) {
                self.send(Packet::Ack { zxid }, out);
            }
        }
        if self.serves() {
            books.deliver(out);
        }
    }
}
