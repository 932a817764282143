//! Election: ZooKeeper's fast leader election, by which servers guess the same leader. Safety does not rest on it.
//!
//! Imitates `FastLeaderElection` of 3.9: votes ordered by epoch, zxid, server; rounds that overtake each other; notifications
//! repeated ever more seldom; an election that others have settled is joined once a quorum and the leader itself tell of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ground::ids::{ServerId, Zxid};
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
    /// This server is to stop.
    is_leaving: bool,
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
            is_leaving: false,
        }
    }

    /// When [`Self::time`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let open = self.state == State::Open;
        open.then(|| self.final_at.map_or(self.repeat_at, |at| at.min(self.repeat_at)))
    }

    /// This server is to stop: it is no candidate any more, but agrees with whoever seeks a leader, so that they need not wait for it.
    pub fn leave(&mut self) {
        self.is_leaving = true;
        self.reopen();
    }

    /// It is a candidate again.
    pub fn come_back(&mut self) {
        self.is_leaving = false;
        self.reopen();
    }

    fn second(&self, from: ServerId, heard: &Notification, out: &mut Vec<Out>) {
        let is_fit = |vote: &Vote| vote.leader != self.me && self.quorum.has(vote.leader);
        // Round 0 is a question, whether this server has anything: said back, its words would be taken for the answer of one that has not.
        if heard.standing == Standing::Looking
            && heard.round > 0
            && self.quorum.has(from)
            && self.quorum.has(self.me)
            && heard.vote.as_ref().is_some_and(is_fit)
        {
            let config = Some(Arc::clone(&self.config));
            out.push(Out::Notify { to: from, notification: Notification { config, ..heard.clone() } });
        }
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

    /// The leader is found and synchronised: later comers are to see the vote in the new epoch. Everybody is told: observers, who would
    /// otherwise have to ask, and may have become slow in that; voters, because the last that was said is said again to whoever comes back,
    /// and must not be that there is nothing yet.
    pub fn settle(&mut self, epoch: u32, observers: &[ServerId], out: &mut Vec<Out>) {
        if let Some(vote) = &mut self.proposal {
            vote.epoch = epoch;
        }
        if self.own.is_some() {
            self.notify_all(out);
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
                if self.is_leaving {
                    self.second(from, heard, out);
                } else if self.quorum.has(from) {
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
        // Java's server votes with -1 while it cannot read its own log.
        let vote = heard.vote.filter(|vote| self.quorum.has(vote.leader) && vote.zxid != Zxid(u64::MAX))?;
        if heard.round > self.round {
            self.round = heard.round;
            self.received.clear();
            self.propose(self.own.max(Some(vote)), out);
        } else if Some(vote) > self.proposal {
            self.propose(Some(vote), out);
        } else if Some(vote) < self.proposal && self.own.is_some() {
            // Java's server leaves that to the next repetition. But whoever looked for a leader first has told of its vote before the others
            // listened, and by the time it repeats it they may have settled on a worse one, half of them.
            self.notify(from, out);
        }
        self.received.insert(from, Heard { vote, round: self.round, standing: Standing::Looking });
        self.count(now)
    }

    /// Counts the votes for the proposal. Says whom they elect where nothing has to be waited for.
    fn count(&mut self, now: Millis) -> Option<Vote> {
        let vote = self.proposal?;
        let ours = Heard { vote, round: self.round, standing: Standing::Looking };
        let agreeing = self.received.iter().filter(|(_, heard)| heard.agrees(&ours)).map(|(server, _)| *server);
        if self.quorum.is_met(agreeing.clone()) {
            // Where everybody agrees nothing better can come.
            let is_all = agreeing.clone().count() == self.quorum.voters().count() && self.received.len() > 1;
            let wait = if is_all { 0 } else { self.times.finalize_wait };
            let at = now.plus(wait);
            self.final_at = Some(self.final_at.map_or(at, |before| before.min(at)));
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const TIMES: Times =
        Times { tick: 1000, init_limit: 10, sync_limit: 5, notification_min: 200, notification_max: 1000, finalize_wait: 200 };

    fn election(me: u8, voters: u8) -> Election {
        Election::new(ServerId(me), Quorum::new((1..=voters).map(ServerId).collect()), b"version=0".as_slice().into(), TIMES)
    }

    fn vote(leader: u8, epoch: u32, counter: u32) -> Vote {
        Vote { epoch, zxid: Zxid::new(1, counter), leader: ServerId(leader) }
    }

    fn said(standing: Standing, vote: Option<Vote>, round: u64) -> Notification {
        Notification { standing, vote, round, config: None }
    }

    /// Whom it told what since the last time.
    fn told(out: &mut Vec<Out>) -> Vec<(u8, Standing, Option<Vote>, u64)> {
        let tell = |effect| match effect {
            Out::Notify { to, notification: n } => (to.0, n.standing, n.vote, n.round),
            other => panic!("an election only notifies: {other:?}"),
        };
        out.drain(..).map(tell).collect()
    }

    use Standing::{Following, Leading, Looking, Observing};

    #[test]
    fn the_better_vote_is_taken_up_and_final_after_a_while() {
        let (mut e, mut out) = (election(1, 3), Vec::new());
        assert_eq!(e.begin(Millis(0), Some(vote(1, 1, 5)), &mut out), None);
        assert_eq!(told(&mut out), [2, 3].map(|to| (to, Looking, Some(vote(1, 1, 5)), 1)));
        let worse = said(Looking, Some(vote(2, 1, 4)), 1);
        assert_eq!(e.hear(Millis(10), ServerId(2), &worse, &mut out), None);
        assert_eq!(told(&mut out), [(2, Looking, Some(vote(1, 1, 5)), 1)], "who votes for a worse one hears of the better one");
        // A longer log beats a larger number, a newer epoch a longer log.
        let better = said(Looking, Some(vote(2, 1, 6)), 1);
        assert_eq!(e.hear(Millis(20), ServerId(2), &better, &mut out), None);
        assert_eq!(told(&mut out), [2, 3].map(|to| (to, Looking, Some(vote(2, 1, 6)), 1)));
        let best = said(Looking, Some(vote(3, 2, 1)), 1);
        assert_eq!(e.hear(Millis(100), ServerId(3), &best, &mut out), None);
        assert_eq!(e.deadline(), Some(Millis(200)));
        assert_eq!(e.time(Millis(220), &mut out), None, "the quorum for 2 is of no account any more");
        assert_eq!(e.time(Millis(300), &mut out), Some(vote(3, 2, 1)));
        assert_eq!(e.deadline(), None);
    }

    /// Seen in five servers whose leader was cut off: the one with the longest log looked first, told the others while they still followed, and
    /// was silent when they voted. It repeated its vote as one of them had just become leader and followed that one, and the other two followed it:
    /// nobody had a quorum until `initLimit` was over.
    #[test]
    fn a_vote_that_came_too_early_is_not_lost() {
        let mut all: Vec<_> = (1..=4).map(|me| election(me, 5)).collect();
        let mut out = Vec::new();
        all[3].begin(Millis(0), Some(vote(4, 1, 9)), &mut out);
        out.clear(); // They are not looking.
        let mut under_way = VecDeque::new();
        for me in 1..=3 {
            all[me - 1].begin(Millis(20), Some(vote(me as u8, 1, 5)), &mut out);
            under_way.extend(out.drain(..).map(|effect| (me as u8, effect)));
        }
        while let Some((from, effect)) = under_way.pop_front() {
            let Out::Notify { to, notification } = effect else { panic!("{effect:?}") };
            if let Some(receiver) = all.get_mut(usize::from(to.0) - 1) {
                assert_eq!(receiver.hear(Millis(30), ServerId(from), &notification, &mut out), None);
                under_way.extend(out.drain(..).map(|effect| (to.0, effect)));
            }
        }
        for server in &mut all {
            assert_eq!(server.time(Millis(230), &mut out), Some(vote(4, 1, 9)));
        }
    }

    #[test]
    fn a_later_round_takes_over_and_an_earlier_one_is_answered() {
        let (mut e, mut out) = (election(2, 3), Vec::new());
        e.begin(Millis(0), Some(vote(2, 1, 5)), &mut out);
        out.clear();
        assert_eq!(e.hear(Millis(1), ServerId(1), &said(Looking, Some(vote(1, 1, 3)), 7), &mut out), None);
        assert_eq!(
            told(&mut out),
            [1, 3].map(|to| (to, Looking, Some(vote(2, 1, 5)), 7)),
            "one's own vote again, in their round"
        );
        assert_eq!(e.hear(Millis(1), ServerId(3), &said(Looking, Some(vote(3, 9, 9)), 6), &mut out), None);
        assert_eq!(told(&mut out), [(3, Looking, Some(vote(2, 1, 5)), 7)]);
        for hostile in [said(Looking, Some(vote(3, 9, 9)), u64::MAX), said(Looking, Some(vote(9, 9, 9)), 8)] {
            assert_eq!(e.hear(Millis(1), ServerId(3), &hostile, &mut out), None);
            assert!(out.is_empty());
        }
    }

    #[test]
    fn what_stands_is_joined_once_a_quorum_and_the_leader_tell_of_it() {
        let (mut e, mut out) = (election(1, 3), Vec::new());
        e.begin(Millis(0), Some(vote(1, 5, 99)), &mut out);
        assert_eq!(e.hear(Millis(1), ServerId(2), &said(Following, Some(vote(3, 4, 1)), 40), &mut out), None);
        assert_eq!(
            e.hear(Millis(1), ServerId(3), &said(Following, Some(vote(3, 4, 2)), 41), &mut out),
            None,
            "3 must say that it leads"
        );
        assert_eq!(e.hear(Millis(1), ServerId(3), &said(Leading, Some(vote(3, 4, 2)), 41), &mut out), Some(vote(3, 4, 2)));
        out.clear();
        e.settle(6, &[ServerId(7)], &mut out);
        let all = [2, 3, 7].map(|to| (to, Following, Some(vote(3, 6, 2)), 41));
        assert_eq!(told(&mut out), all);
        assert_eq!(e.hear(Millis(9), ServerId(2), &said(Looking, Some(vote(2, 1, 1)), 1), &mut out), None);
        assert_eq!(told(&mut out), [(2, Following, Some(vote(3, 6, 2)), 41)]);
        assert_eq!(e.hear(Millis(9), ServerId(2), &said(Leading, Some(vote(2, 9, 1)), 50), &mut out), None);
        assert!(out.is_empty());
    }

    #[test]
    fn without_a_vote_one_listens_and_never_leads() {
        let (mut e, mut out) = (election(1, 3), Vec::new());
        e.begin(Millis(0), None, &mut out);
        assert_eq!(told(&mut out), [2, 3].map(|to| (to, Looking, None, 1)));
        for (from, settled) in [(2, Following), (3, Following)] {
            assert_eq!(e.hear(Millis(1), ServerId(from), &said(settled, Some(vote(1, 1, 1)), 1), &mut out), None);
        }
        assert_eq!(e.hear(Millis(1), ServerId(2), &said(Looking, Some(vote(3, 1, 5)), 3), &mut out), None);
        assert_eq!(e.hear(Millis(1), ServerId(3), &said(Looking, Some(vote(3, 1, 5)), 3), &mut out), None);
        assert!(out.is_empty());
        assert_eq!(e.time(Millis(201), &mut out), Some(vote(3, 1, 5)));
        assert_eq!(e.hear(Millis(300), ServerId(2), &said(Looking, Some(vote(2, 1, 5)), 4), &mut out), None);
        assert_eq!(told(&mut out), [(2, Observing, Some(vote(3, 1, 5)), 3)]);
    }

    #[test]
    fn observers_are_answered_and_do_not_count() {
        let (mut e, mut out) = (election(1, 2), Vec::new());
        e.begin(Millis(0), Some(vote(1, 1, 1)), &mut out);
        out.clear();
        assert_eq!(e.hear(Millis(1), ServerId(9), &said(Looking, None, 1), &mut out), None);
        assert_eq!(told(&mut out), [(9, Looking, Some(vote(1, 1, 1)), 1)]);
        e.hear(Millis(1), ServerId(9), &said(Looking, Some(vote(1, 1, 1)), 1), &mut out);
        e.hear(Millis(1), ServerId(9), &said(Looking, None, 9), &mut out);
        assert_eq!(told(&mut out).len(), 1, "whoever would answer back is not answered");
        assert_eq!(e.time(Millis(500), &mut out), None);
    }

    #[test]
    fn notifications_are_repeated_ever_more_seldom() {
        let (mut e, mut out) = (election(1, 2), Vec::new());
        e.begin(Millis(0), Some(vote(1, 1, 1)), &mut out);
        let mut waits = Vec::new();
        let mut last = 0;
        for _ in 0..5 {
            let at = e.deadline().expect("it goes on");
            waits.push(at.0 - last);
            last = at.0;
            out.clear();
            assert_eq!(e.time(at, &mut out), None);
            assert_eq!(told(&mut out).len(), 1);
        }
        assert_eq!(waits, [200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn what_came_before_it_began_is_not_lost() {
        let (mut e, mut out) = (election(1, 2), Vec::new());
        assert_eq!(e.hear(Millis(0), ServerId(2), &said(Looking, Some(vote(2, 1, 1)), 1), &mut out), None);
        assert_eq!(e.begin(Millis(0), Some(vote(1, 1, 1)), &mut out), Some(vote(2, 1, 1)), "everybody agrees");
    }

    #[test]
    fn who_leaves_agrees_with_those_who_stay() {
        let (mut stays, mut leaves, mut out) = (election(1, 3), election(3, 3), Vec::new());
        leaves.leave();
        assert_eq!(stays.begin(Millis(0), Some(vote(1, 1, 1)), &mut out), None);
        assert_eq!(
            stays.hear(Millis(1), ServerId(2), &said(Looking, Some(vote(2, 1, 1)), 1), &mut out),
            None,
            "it waits for the third"
        );
        out.clear();
        assert_eq!(leaves.hear(Millis(1), ServerId(1), &said(Looking, Some(vote(2, 1, 1)), 1), &mut out), None);
        let [Out::Notify { to: ServerId(1), notification }] = &out[..] else { panic!("it agrees: {out:?}") };
        assert_eq!(stays.hear(Millis(2), ServerId(3), &notification.clone(), &mut Vec::new()), Some(vote(2, 1, 1)));
        out.clear();
        leaves.hear(Millis(3), ServerId(1), &said(Looking, Some(vote(3, 1, 1)), 1), &mut out);
        leaves.hear(Millis(3), ServerId(2), &said(Following, Some(vote(2, 1, 1)), 1), &mut out);
        assert_eq!(out, [], "it is no candidate, and has no part in what is settled");
        leaves.hear(Millis(4), ServerId(1), &said(Looking, Some(vote(1, 0, 0)), 0), &mut out);
        assert_eq!(out, [], "nor does it say that it is empty, who asks whether the ensemble is new");
    }
}
