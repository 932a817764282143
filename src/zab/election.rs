//! Election: ZooKeeper's fast leader election, by which servers guess the same leader. Safety does not rest on it.
//!
//! Imitates `FastLeaderElection` of 3.9: votes ordered by epoch, zxid, server; rounds that overtake each other; notifications
//! repeated ever more seldom; an election that others have settled is joined once a quorum and the leader itself tell of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ground::ids::ServerId;
use crate::ground::time::Millis;
use crate::proto::vote::{Notification, Standing, Vote};

use super::quorum::Quorum;
use super::{Out, Times};

/// The last round taken from others: they are signed on the wire, and one more must always be possible.
const ROUND_MAX: u64 = u64::MAX >> 2;

/// What a voter was last heard to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Heard {
    vote: Vote,
    round: u64,
    standing: Standing,
}

impl Heard {
    /// Whether two say the same, for an election of one round. Where both are settled only the leader counts: epochs and zxids of
    /// settled votes are of different ages.
    fn agrees(&self, other: &Self) -> bool {
        if self.standing == Standing::Looking || other.standing == Standing::Looking {
            (self.vote, self.round) == (other.vote, other.round)
        } else {
            self.vote.leader == other.vote.leader
        }
    }
}

/// What an election is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It has not begun: this server is not ready to say how far its log reaches.
    Waiting,
    /// It goes on.
    Open,
    /// It has ended, this server stands as told.
    Settled(Standing),
}

/// An election, as one server sees it.
#[derive(Debug)]
pub struct Election {
    me: ServerId,
    quorum: Quorum,
    config: Arc<[u8]>,
    times: Times,
    state: State,
    /// The logical clock of elections.
    round: u64,
    /// This server's own vote for itself; `None` where it has none.
    own: Option<Vote>,
    /// The best vote seen; what a server without a vote keeps here is only for counting.
    proposal: Option<Vote>,
    /// Votes of this round.
    received: BTreeMap<ServerId, Heard>,
    /// Votes of those who have settled, of whatever round.
    outside: BTreeMap<ServerId, Heard>,
    /// What came before the election began, the newest from each.
    held: BTreeMap<ServerId, Notification>,
    /// How long to wait before notifications are repeated.
    wait: u64,
    repeat_at: Millis,
    /// A quorum agrees; it is final at this time unless something better comes.
    final_at: Option<Millis>,
}

impl Election {
    /// None has begun.
    #[must_use]
    pub const fn new(me: ServerId, quorum: Quorum, config: Arc<[u8]>, times: Times) -> Self {
        Self {
            me,
            quorum,
            config,
            times,
            state: State::Waiting,
            round: 0,
            own: None,
            proposal: None,
            received: BTreeMap::new(),
            outside: BTreeMap::new(),
            held: BTreeMap::new(),
            wait: times.notification_min,
            repeat_at: Millis(0),
            final_at: None,
        }
    }

    /// When [`Self::time`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let open = self.state == State::Open;
        open.then(|| self.final_at.map_or(self.repeat_at, |at| at.min(self.repeat_at)))
    }

    /// This server seeks a leader again, but is not ready to vote yet.
    pub fn reopen(&mut self) {
        self.state = State::Waiting;
        self.held.clear();
    }

    /// Begins a round. `own` is the vote for oneself, of one instant: durable epoch, end of the durable log.
    pub fn begin(&mut self, now: Millis, own: Option<Vote>, out: &mut Vec<Out>) -> Option<Vote> {
        assert!(self.state == State::Waiting, "an election begins once");
        assert!(own.is_none_or(|vote| vote.leader == self.me && self.quorum.has(self.me)), "one's own vote is for oneself");
        self.state = State::Open;
        self.round += 1;
        self.own = own;
        self.received.clear();
        self.outside.clear();
        self.wait = self.times.notification_min;
        self.repeat_at = now.plus(self.wait);
        self.propose(own, out);
        let mut elected = self.count(now);
        for (from, notification) in std::mem::take(&mut self.held) {
            elected = elected.or_else(|| self.hear(now, from, &notification, out));
        }
        elected
    }

    /// The leader is found and synchronised: later comers are to see the vote in the new epoch. Observers are told, who would otherwise
    /// have to ask, and may have become slow in that.
    pub fn settle(&mut self, epoch: u32, observers: &[ServerId], out: &mut Vec<Out>) {
        if let Some(vote) = &mut self.proposal {
            vote.epoch = epoch;
        }
        if self.own.is_some() {
            for to in observers {
                self.notify(*to, out);
            }
        }
    }

    /// Takes a proposal for one's own, and tells everybody.
    fn propose(&mut self, proposal: Option<Vote>, out: &mut Vec<Out>) {
        self.proposal = proposal;
        self.final_at = None;
        if let (Some(_), Some(vote)) = (self.own, proposal) {
            let heard = Heard { vote, round: self.round, standing: Standing::Looking };
            self.received.insert(self.me, heard);
        }
        // Whoever has no vote only asks, and need not ask again because others do better.
        if self.own.is_some() || proposal.is_none() {
            self.notify_all(out);
        }
    }

    fn notify_all(&self, out: &mut Vec<Out>) {
        for to in self.quorum.voters().filter(|to| *to != self.me) {
            self.notify(to, out);
        }
    }

    /// Tells one server how things stand here. A server without a vote names nobody while it looks.
    fn notify(&self, to: ServerId, out: &mut Vec<Out>) {
        let (standing, vote) = match self.state {
            State::Settled(standing) => (standing, self.proposal),
            State::Waiting | State::Open => (Standing::Looking, self.proposal.filter(|_| self.own.is_some())),
        };
        let notification = Notification { standing, vote, round: self.round, config: Some(Arc::clone(&self.config)) };
        out.push(Out::Notify { to, notification });
    }

    /// A notification came. Says whom it elects, if it does.
    pub fn hear(&mut self, now: Millis, from: ServerId, heard: &Notification, out: &mut Vec<Out>) -> Option<Vote> {
        if heard.round > ROUND_MAX || from == self.me {
            return None;
        }
        let is_looking = heard.standing == Standing::Looking;
        match self.state {
            State::Waiting => {
                if self.quorum.has(from) {
                    self.held.insert(from, heard.clone());
                }
                None
            }
            State::Settled(_) => {
                if is_looking {
                    self.notify(from, out);
                }
                None
            }
            State::Open if !self.quorum.has(from) => {
                // A foreign observer of a later round would answer what it takes for an old vote, and so on without end.
                if is_looking && heard.round <= self.round {
                    self.notify(from, out);
                }
                None
            }
            State::Open if is_looking => self.hear_looking(now, from, heard, out),
            State::Open => self.hear_settled(from, heard),
        }
    }

    fn hear_looking(&mut self, now: Millis, from: ServerId, heard: &Notification, out: &mut Vec<Out>) -> Option<Vote> {
        if heard.round < self.round {
            if self.own.is_some() {
                self.notify(from, out);
            }
            return None;
        }
        let vote = heard.vote.filter(|vote| self.quorum.has(vote.leader))?;
        if heard.round > self.round {
            self.round = heard.round;
            self.received.clear();
            self.propose(self.own.max(Some(vote)), out);
        } else if Some(vote) > self.proposal {
            self.propose(Some(vote), out);
        }
        self.received.insert(from, Heard { vote, round: self.round, standing: Standing::Looking });
        self.count(now)
    }

    /// Counts the votes for the proposal. Says whom they elect where nothing has to be waited for.
    fn count(&mut self, now: Millis) -> Option<Vote> {
        let vote = self.proposal?;
        let ours = Heard { vote, round: self.round, standing: Standing::Looking };
        let agreeing = self.received.iter().filter(|(_, heard)| heard.agrees(&ours)).map(|(server, _)| *server);
        if self.quorum.is_met(agreeing) {
            self.final_at.get_or_insert(now.plus(self.times.finalize_wait));
        } else {
            self.final_at = None;
        }
        self.conclude(now)
    }

    /// What a quorum agrees on becomes final when it has lasted.
    fn conclude(&mut self, now: Millis) -> Option<Vote> {
        let is_final = self.final_at.is_some_and(|at| now >= at);
        let vote = self.proposal.filter(|vote| is_final && self.may_follow(vote.leader))?;
        Some(self.finish(vote))
    }

    /// A server without a vote never leads, whatever the others believe.
    fn may_follow(&self, leader: ServerId) -> bool {
        leader != self.me || self.own.is_some()
    }

    fn hear_settled(&mut self, from: ServerId, heard: &Notification) -> Option<Vote> {
        if heard.standing == Standing::Observing {
            return None;
        }
        let vote = heard.vote.filter(|vote| self.quorum.has(vote.leader) && self.may_follow(vote.leader))?;
        let theirs = Heard { vote, round: heard.round, standing: heard.standing };
        if heard.round == self.round {
            self.received.insert(from, theirs);
            let agreeing = self.received.iter().filter(|(_, heard)| heard.agrees(&theirs)).map(|(server, _)| *server);
            if self.quorum.is_met(agreeing) && self.leads(&self.received, &theirs) {
                return Some(self.finish(vote));
            }
        }
        self.outside.insert(from, theirs);
        let same = |other: &Heard| (other.vote.leader, other.vote.epoch) == (vote.leader, vote.epoch);
        let agreeing = self.outside.iter().filter(|(_, heard)| same(heard)).map(|(server, _)| *server);
        if self.quorum.is_met(agreeing) && self.leads(&self.outside, &theirs) {
            self.round = heard.round;
            return Some(self.finish(vote));
        }
        None
    }

    /// Whether a leader that others follow leads indeed, so that nobody elects one that has crashed over and over.
    fn leads(&self, said: &BTreeMap<ServerId, Heard>, theirs: &Heard) -> bool {
        if theirs.vote.leader == self.me {
            theirs.round == self.round
        } else {
            said.get(&theirs.vote.leader).is_some_and(|heard| heard.standing == Standing::Leading)
        }
    }

    fn finish(&mut self, vote: Vote) -> Vote {
        let standing = match (vote.leader == self.me, self.own) {
            (true, _) => Standing::Leading,
            (false, Some(_)) => Standing::Following,
            (false, None) => Standing::Observing,
        };
        self.state = State::Settled(standing);
        self.proposal = Some(vote);
        self.final_at = None;
        vote
    }

    /// Time has passed. Says whom that elects, if it does.
    pub fn time(&mut self, now: Millis, out: &mut Vec<Out>) -> Option<Vote> {
        if self.state != State::Open {
            return None;
        }
        let elected = self.conclude(now);
        if elected.is_none() && now >= self.repeat_at {
            self.wait = (self.wait * 2).min(self.times.notification_max);
            self.repeat_at = now.plus(self.wait);
            self.notify_all(out);
        }
        elected
    }
}
