//! Books: what this server has. Its history and how far that is durable, committed and delivered; its promise; the writes under way.

use std::collections::VecDeque;

use crate::ground::ids::{ServerId, Zxid};

use super::history::History;
use super::quorum::Quorum;
use super::{Found, Link, Members, Out, Record, Times, Token, Write};

/// Bytes of committed transactions kept in memory unless it is said otherwise.
pub const HISTORY_BYTES: usize = 64 << 20;
/// The counter at which an epoch makes way for another unless it is said otherwise: a million zxids before the last.
pub const EPOCH_LENGTH: u32 = u32::MAX - (1 << 20);

/// A write under way, and what is so once it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnderWay {
    Append { last: Zxid },
    Promise { accepted: u32, current: u32 },
    Cut,
    Install { at: Zxid, last: Zxid },
    Restored,
}

/// What this server has, and who it is.
#[derive(Debug)]
pub struct Books {
    /// It.
    pub me: ServerId,
    /// The ensemble.
    pub members: Members,
    /// Its voters.
    pub quorum: Quorum,
    /// Limits of time.
    pub times: Times,
    /// Proposed, as far as it was received here; logged soon.
    pub history: History,
    /// The counter at which an epoch makes way for another.
    pub epoch_length: u32,
    /// Known to be committed, by what the present role knows.
    pub committed: Zxid,
    delivered: Zxid,
    logged: Zxid,
    accepted: u32,
    current: u32,
    is_impaired: bool,
    under_way: VecDeque<UnderWay>,
    /// Writes handed out so far; a write's token is its place among them.
    issued: u64,
    done: u64,
    /// Transactions in the history that are not yet handed out for the log.
    batch: Vec<Record>,
}

impl Books {
    /// As recovery found them.
    #[must_use]
    pub fn new(me: ServerId, members: Members, times: Times, found: &Found) -> Self {
        assert!(
            members.voters.contains(&me) != members.observers.contains(&me),
            "a member of the ensemble, with a vote or without"
        );
        assert!(found.current <= found.accepted, "no epoch is joined that was not accepted");
        assert!(found.delivered <= found.last(), "what was delivered is in the log");
        let quorum = Quorum::new(members.voters.clone());
        Self {
            me,
            members,
            quorum,
            times,
            history: History::new(found, HISTORY_BYTES),
            epoch_length: EPOCH_LENGTH,
            committed: found.delivered,
            delivered: found.delivered,
            logged: found.last(),
            accepted: found.accepted,
            current: found.current,
            is_impaired: found.is_impaired,
            under_way: VecDeque::new(),
            issued: 0,
            done: 0,
            batch: Vec::new(),
        }
    }

    /// Whether this server votes and counts: it has a vote, and has forgotten nothing.
    #[must_use]
    pub fn has_vote(&self) -> bool {
        self.quorum.has(self.me) && (!self.is_impaired || cfg!(mutant = "m32"))
    }

    /// It may have forgotten something that it acknowledged.
    #[must_use]
    pub const fn is_impaired(&self) -> bool {
        self.is_impaired
    }

    /// End of the durable log.
    #[must_use]
    pub const fn logged(&self) -> Zxid {
        self.logged
    }

    /// The delivered mark.
    #[must_use]
    pub const fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// The newest epoch accepted, durably.
    #[must_use]
    pub const fn accepted(&self) -> u32 {
        self.accepted
    }

    /// The newest epoch joined, durably.
    #[must_use]
    pub const fn current(&self) -> u32 {
        self.current
    }

    /// Whether nothing is under way to the disk.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.batch.is_empty()
    }

    /// Names all that was handed out for the disk so far.
    #[must_use]
    pub const fn issued(&self) -> Token {
        Token(self.issued)
    }

    /// Whether all of that is durable.
    #[must_use]
    pub const fn is_done(&self, token: Token) -> bool {
        self.done >= token.0
    }

    /// A transaction more, to be logged with its neighbours.
    pub fn append(&mut self, record: Record) {
        self.history.push(record.clone());
        self.batch.push(record);
    }

    /// Hands out what was appended.
    pub fn flush(&mut self, out: &mut Vec<Out>) {
        if !self.batch.is_empty() {
            let records = std::mem::take(&mut self.batch);
            self.store(UnderWay::Append { last: self.history.last() }, Write::Append(records), out);
        }
    }

    /// Cuts the log.
    pub fn cut(&mut self, to: Zxid, out: &mut Vec<Out>) {
        assert!(to >= self.delivered, "nothing delivered is ever cut");
        assert!(self.is_idle(), "one writer at a time");
        self.history.cut(to);
        // What stays is durable already; that the rest is gone is so only when the write is.
        self.logged = self.logged.min(to);
        self.store(UnderWay::Cut, Write::Cut { to }, out);
    }

    /// Puts a state that came, and what follows it, in the place of everything.
    pub fn install(&mut self, link: Link, at: Zxid, tail: Vec<Record>, out: &mut Vec<Out>) {
        assert!(self.is_idle(), "one writer at a time");
        self.history.restart(at);
        for record in &tail {
            self.history.push(record.clone());
        }
        assert!(self.delivered <= at || self.history.has(self.delivered), "nothing delivered is lost");
        self.store(UnderWay::Install { at, last: self.history.last() }, Write::Install { link, at, tail }, out);
    }

    /// Makes a promise.
    pub fn promise(&mut self, accepted: u32, current: u32, out: &mut Vec<Out>) {
        assert!(accepted >= self.accepted && current >= self.current && current <= accepted, "promises do not fall");
        self.store(UnderWay::Promise { accepted, current }, Write::Promise { accepted, current }, out);
    }

    /// Notes that nothing is forgotten any more.
    pub fn restore(&mut self, out: &mut Vec<Out>) {
        self.store(UnderWay::Restored, Write::Restored, out);
    }

    fn store(&mut self, under_way: UnderWay, write: Write, out: &mut Vec<Out>) {
        if !matches!(under_way, UnderWay::Append { .. }) {
            self.flush(out);
        }
        self.issued += 1;
        self.under_way.push_back(under_way);
        out.push(Out::Store { token: Token(self.issued), write });
    }

    /// A write is durable.
    pub fn stored(&mut self, token: Token, out: &mut Vec<Out>) {
        assert!(token.0 == self.done + 1, "writes end in the order in which they were handed out");
        self.done += 1;
        match self.under_way.pop_front().expect("a write that ends was under way") {
            UnderWay::Append { last } => self.logged = last,
            UnderWay::Promise { accepted, current } => (self.accepted, self.current) = (accepted, current),
            UnderWay::Cut => {}
            UnderWay::Install { at, last } => {
                self.logged = last;
                if self.delivered > at {
                    out.push(Out::Deliver { up_to: self.delivered });
                }
            }
            UnderWay::Restored => self.is_impaired = false,
        }
    }

    /// Delivers what is committed and durable.
    pub fn deliver(&mut self, out: &mut Vec<Out>) {
        let mark = self.committed.min(self.logged);
        if mark > self.delivered {
            self.delivered = mark;
            out.push(Out::Deliver { up_to: mark });
        }
    }

    /// The present role ends: what it knew of commits beyond what was delivered is of no use to the next.
    pub const fn step_back(&mut self) {
        self.committed = self.delivered;
    }
}
