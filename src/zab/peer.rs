//! Peer: one server's part in the ensemble, put together from election, discovery, synchronisation and broadcast.

use std::collections::BTreeMap;

use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Millis;
use crate::proto::packet::Packet;
use crate::proto::vote::{Standing, Vote};

use super::books::Books;
use super::election::Election;
use super::following::{Following, Why};
use super::founding::{Founding, Verdict};
use super::leading::{LEARNERS_MAX, Leading};
use super::progress::{Progress, Stage};
use super::{Found, In, Link, Members, Out, Role, Times};

/// After a leader could not be joined, ms until another election: it may not have noticed yet that it is elected. Doubles, to a tick.
const PAUSE_MS: u64 = 100;

/// What a server is at.
#[derive(Debug)]
enum Stand {
    Looking,
    Following(Following),
    Leading(Leading),
}

/// A learner, as its leader tells the operator of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learner {
    /// Its link.
    pub link: Link,
    /// It; `None` if it has not said so, or has no number.
    pub server: Option<ServerId>,
    /// It observes.
    pub is_observer: bool,
    /// It may serve.
    pub is_up_to_date: bool,
    /// What it has acknowledged, once it gets what is live.
    pub acked: Option<Zxid>,
}

/// How long a voter that may have forgotten a promise keeps away, ms: until whoever asked for that promise leads or has given up, and whoever
/// led before has noticed.
const fn away(times: &Times) -> u64 {
    (3 * times.init_limit + times.sync_limit) * times.tick
}

/// One server's part in the ensemble.
#[derive(Debug)]
pub struct Peer {
    books: Books,
    election: Election,
    stand: Stand,
    role: Role,
    /// Whether an election has begun since this server last looked for a leader.
    has_begun: bool,
    /// Learners that connected before it was known who leads.
    parked: BTreeMap<Link, Progress>,
    /// No election before this time.
    ready_at: Millis,
    half_tick_at: Millis,
    is_leaving: bool,
    wants_state: bool,
    is_restoring: bool,
    heard_epoch: u32,
    /// Leaders that could not be joined, one after the other.
    failures: u32,
    /// A leader that was elected and could not be reached; until then its word is not heard where a leader is sought.
    unreached: Option<(ServerId, Millis)>,
    /// It led when it was told to leave, and has not heard since that another leads.
    wants_heir: bool,
    /// It has nothing, and asks whether that is as it should be.
    founding: Option<Founding>,
}

impl Peer {
    /// A server that starts, looking for a leader. What is to be done first is handed out with it.
    ///
    /// A voter that is impaired may have promised an epoch and forgotten it. It keeps away until whoever asked for that promise leads or has
    /// given up, and whoever led before has noticed.
    #[must_use]
    pub fn new(me: ServerId, members: Members, times: Times, found: Found, now: Millis) -> (Self, Vec<Out>) {
        let books = Books::new(me, members, times, &found);
        let election = Election::new(me, books.quorum.clone(), books.members.text.clone(), times);
        let is_voter = books.quorum.has(me);
        let rule = found.is_new.filter(|_| is_voter && found.is_impaired);
        let text = books.members.text.clone();
        let founding = rule.map(|rule| Founding::new(me, &books.members.voters, rule, text, times, now));
        let away = if is_voter && !books.has_vote() && founding.is_none() { away(&times) } else { 0 };
        let mut peer = Self {
            books,
            election,
            stand: Stand::Looking,
            role: Role::Looking,
            has_begun: false,
            parked: BTreeMap::new(),
            ready_at: now.plus(away),
            half_tick_at: now,
            is_leaving: false,
            wants_state: false,
            is_restoring: false,
            heard_epoch: 0,
            failures: 0,
            unreached: None,
            wants_heir: false,
            founding,
        };
        let mut out = vec![Out::Became(Role::Looking)];
        peer.settle(now, &mut out);
        (peer, out)
    }

    /// How many bytes of committed transactions are kept in memory for learners that lag, and the counter at which an epoch makes way for
    /// another.
    pub const fn set_limits(&mut self, history_bytes: usize, epoch_length: u32) {
        self.books.history.keep(history_bytes);
        self.books.epoch_length = epoch_length;
    }

    /// What it is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// End of the log as far as it is durable.
    #[must_use]
    pub const fn logged(&self) -> Zxid {
        self.books.logged()
    }

    /// End of the log, durable or on its way.
    #[must_use]
    pub fn proposed(&self) -> Zxid {
        self.books.history.last()
    }

    /// What is known here to be committed, by the present role.
    #[must_use]
    pub const fn committed(&self) -> Zxid {
        self.books.committed
    }

    /// The delivered mark.
    #[must_use]
    pub const fn delivered(&self) -> Zxid {
        self.books.delivered()
    }

    /// The newest epoch accepted and the newest joined, as far as they are durable.
    #[must_use]
    pub const fn promise(&self) -> (u32, u32) {
        (self.books.accepted(), self.books.current())
    }

    /// It may have forgotten something, and has no vote.
    #[must_use]
    pub const fn is_impaired(&self) -> bool {
        self.books.is_impaired()
    }

    /// It was told to leave, and leaves nobody behind who seeks a leader and could do with its vote.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.is_leaving && !self.wants_heir && self.role == Role::Looking
    }

    /// It was told to leave, and has.
    #[must_use]
    pub fn has_gone(&self) -> bool {
        self.is_leaving && matches!(self.stand, Stand::Looking)
    }

    /// Nobody else has a vote.
    #[must_use]
    pub fn is_only_voter(&self) -> bool {
        self.voters() == 1 && self.books.quorum.has(self.books.me)
    }

    /// How many servers have a vote.
    #[must_use]
    pub const fn voters(&self) -> usize {
        self.books.members.voters.len()
    }

    /// The link to the leader, for what the crafts above have to send there; while it follows or observes.
    #[must_use]
    pub fn leader_link(&self) -> Option<Link> {
        match &self.stand {
            Stand::Following(following) if following.serves() => following.link(),
            _ => None,
        }
    }

    /// The learners of a leader.
    #[must_use]
    pub fn learners(&self) -> Vec<Learner> {
        let Stand::Leading(leading) = &self.stand else { return Vec::new() };
        let tell = |(link, learner): (Link, &Progress)| Learner {
            link,
            server: learner.server(),
            is_observer: learner.is_observer(),
            is_up_to_date: learner.stage == Stage::UpToDate,
            acked: learner.is_attached().then_some(learner.acked),
        };
        leading.learners().map(tell).collect()
    }

    /// When [`In::Time`] is due.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        let other = match &self.stand {
            Stand::Looking if self.may_begin() => Some(self.ready_at),
            Stand::Looking => self.election.deadline(),
            Stand::Following(following) => following.deadline(),
            Stand::Leading(_) => None,
        };
        let other = self.founding.as_ref().map(Founding::deadline).or(other);
        other.map_or(self.half_tick_at, |at| at.min(self.half_tick_at))
    }

    /// Takes what comes, and says what is to be done, in this order.
    pub fn step(&mut self, now: Millis, input: In, out: &mut Vec<Out>) {
        if let Err(why) = self.take(now, input, out) {
            self.look(now, why, out);
        }
        self.settle(now, out);
        assert!(self.books.delivered() <= self.books.logged() || !self.books.is_idle(), "only what is durable is delivered");
    }

    /// An error ends the present role.
    fn take(&mut self, now: Millis, input: In, out: &mut Vec<Out>) -> Result<(), Why> {
        match (input, &mut self.stand) {
            (In::Time, _) => return self.time(now, out),
            (In::Met { from }, _) => {
                if let Some(founding) = &mut self.founding {
                    founding.meet(from);
                }
            }
            (In::Notification { from, notification }, _) if self.founding.is_some() => {
                let verdict = self.founding.as_mut().and_then(|founding| founding.hear(now, from, &notification));
                self.judge(now, verdict, out);
            }
            // It may be heard and not hear: it would be elected again and again, and reached by nobody.
            (In::Notification { from, notification }, Stand::Looking)
                if notification.standing == Standing::Looking
                    && self.unreached.is_some_and(|(server, until)| server == from && now < until) => {}
            (In::Notification { from, notification }, _) => {
                self.wants_heir &= notification.standing != Standing::Leading;
                if let Some(vote) = self.election.hear(now, from, &notification, out) {
                    self.elected(now, vote, out);
                }
            }
            (In::Connected { leader, link }, Stand::Following(following)) if following.leader() == leader => {
                if !following.connected(now, link, &self.books, out) {
                    out.push(Out::HangUp { link, why: "it is not wanted any more" });
                }
            }
            (In::Connected { link, .. }, _) => out.push(Out::HangUp { link, why: "it is not wanted any more" }),
            (In::Unreachable { leader }, Stand::Following(following)) if following.leader() == leader => {
                return following.unreachable(now);
            }
            (In::Accepted { link }, Stand::Leading(leading)) => leading.accepted(now, link, out),
            (In::Accepted { link }, Stand::Looking) if !self.is_leaving && self.parked.len() < LEARNERS_MAX => {
                self.parked.insert(link, Progress::new(now));
            }
            (In::Accepted { link }, _) => out.push(Out::HangUp { link, why: "this server does not lead" }),
            (In::Packet { link, packet }, _) => return self.packet(now, link, packet, out),
            (In::Train { link, packets }, _) => {
                for packet in packets {
                    self.packet(now, link, packet, out)?;
                }
            }
            (In::LinkDown { link }, Stand::Leading(leading)) => leading.link_down(link),
            (In::LinkDown { link }, Stand::Looking) => {
                self.parked.remove(&link);
            }
            (In::LinkDown { link }, Stand::Following(following)) if following.link() == Some(link) => {
                following.link_broke();
                return Err("the link to the leader broke");
            }
            (In::Stored(token), _) => self.books.stored(token, out),
            (In::Propose(records), Stand::Leading(leading)) => leading.propose(now, records, &mut self.books, out),
            (In::Propose(_), _) => panic!("only a leader proposes"),
            (In::History { link, records }, Stand::Leading(leading)) => leading.read(now, link, records, &self.books, out),
            (In::StateSent { link, at }, Stand::Leading(leading)) => leading.copied(now, link, at, &self.books, out),
            (In::StateReceived { link }, Stand::Following(following)) if following.link() == Some(link) => {
                return following.state_received(now);
            }
            (In::StateFinished { link }, Stand::Following(following)) if following.link() == Some(link) => {
                return following.state_finished(now, &mut self.books, out);
            }
            (In::Touched(sessions), Stand::Following(following)) => following.touched(sessions),
            (In::Leave, _) => return self.leave(now, out),
            (In::Return, _) => self.come_back(),
            // What was asked for by a role that has ended.
            (
                In::Unreachable { .. }
                | In::LinkDown { .. }
                | In::History { .. }
                | In::StateSent { .. }
                | In::StateReceived { .. }
                | In::StateFinished { .. }
                | In::Touched(_),
                _,
            ) => {}
        }
        Ok(())
    }

    fn packet(&mut self, now: Millis, link: Link, packet: Packet, out: &mut Vec<Out>) -> Result<(), Why> {
        match &mut self.stand {
            Stand::Following(following) => {
                if following.link() == Some(link) || cfg!(mutant = "m22") && following.link().is_some() {
                    return following.packet(now, packet, &mut self.books, out);
                }
            }
            Stand::Leading(leading) => return leading.packet(now, link, packet, &self.books, out),
            Stand::Looking => {
                let Some(learner) = self.parked.get_mut(&link) else { return Ok(()) };
                match packet {
                    Packet::Info(info) if learner.info.is_none() => learner.info = Some(info),
                    _ => {
                        self.parked.remove(&link);
                        out.push(Out::HangUp { link, why: "it sent what does not belong here" });
                    }
                }
            }
        }
        Ok(())
    }

    fn time(&mut self, now: Millis, out: &mut Vec<Out>) -> Result<(), Why> {
        let is_half_tick = now >= self.half_tick_at;
        if is_half_tick {
            self.half_tick_at = now.plus((self.books.times.tick / 2).max(1));
        }
        let verdict = self.founding.as_mut().and_then(|founding| founding.time(now, out));
        self.judge(now, verdict, out);
        match &mut self.stand {
            Stand::Looking => {
                let limit = self.books.times.init_limit * self.books.times.tick;
                self.parked.retain(|link, learner| {
                    let stays = now.since(learner.since) <= limit;
                    if !stays {
                        out.push(Out::HangUp { link: *link, why: "nobody leads" });
                    }
                    stays
                });
                if let Some(vote) = self.election.time(now, out) {
                    self.elected(now, vote, out);
                }
                Ok(())
            }
            Stand::Following(following) => following.time(now, &self.books, out),
            Stand::Leading(leading) if is_half_tick => leading.time(now, &self.books, out),
            Stand::Leading(_) => Ok(()),
        }
    }

    /// An empty voter has found out what its ensemble is.
    fn judge(&mut self, now: Millis, verdict: Option<Verdict>, out: &mut Vec<Out>) {
        match verdict {
            None => return,
            Some(Verdict::New) => {
                self.is_restoring = true;
                self.books.restore(out);
            }
            Some(Verdict::Old { by }) => {
                let away = away(&self.books.times);
                self.ready_at = now.plus(away);
                tracing::warn!(
                    "this server has nothing, and server {} tells of an ensemble that is not new: it learns without a vote, beginning in {} s, \
                     and votes again when it has all",
                    by.0,
                    away / 1000
                );
            }
        }
        self.founding = None;
    }

    fn leave(&mut self, now: Millis, out: &mut Vec<Out>) -> Result<(), Why> {
        self.is_leaving = true;
        match &mut self.stand {
            Stand::Leading(leading) if leading.served_epoch().is_some() => {
                self.wants_heir = true;
                leading.leave(now);
            }
            Stand::Leading(_) | Stand::Following(_) => return Err("this server makes way"),
            Stand::Looking => {
                self.election.leave();
                self.unpark("this server makes way", out);
            }
        }
        Ok(())
    }

    fn come_back(&mut self) {
        assert!(self.has_gone(), "only who has left comes back");
        (self.is_leaving, self.wants_heir, self.has_begun) = (false, false, false);
        self.election.come_back();
    }

    fn unpark(&mut self, why: Why, out: &mut Vec<Out>) {
        out.extend(std::mem::take(&mut self.parked).into_keys().map(|link| Out::HangUp { link, why }));
    }

    fn elected(&mut self, now: Millis, vote: Vote, out: &mut Vec<Out>) {
        if vote.leader == self.books.me {
            let parked = std::mem::take(&mut self.parked);
            self.stand = Stand::Leading(Leading::new(now, &mut self.books, parked, self.heard_epoch, out));
        } else {
            self.unpark("this server does not lead", out);
            self.stand = Stand::Following(Following::new(now, vote.leader, &self.books, self.wants_state, out));
        }
    }

    /// The present role ends: links are given up, and a leader is looked for once the log has come to rest.
    fn look(&mut self, now: Millis, why: Why, out: &mut Vec<Out>) {
        if cfg!(mutant = "m09") {
            self.books.committed = self.books.logged();
            self.books.deliver(out);
        }
        match std::mem::replace(&mut self.stand, Stand::Looking) {
            Stand::Looking => {}
            Stand::Following(following) => {
                out.extend(following.link().map(|link| Out::HangUp { link, why }));
                self.wants_state = following.wants_state();
                if following.serves() {
                    self.failures = 0;
                } else {
                    if following.is_connecting() {
                        self.unreached =
                            Some((following.leader(), now.plus(self.books.times.sync_limit * self.books.times.tick)));
                    }
                    self.ready_at = now.plus((PAUSE_MS << self.failures.min(10)).min(self.books.times.tick));
                    self.failures += 1;
                }
            }
            Stand::Leading(leading) => {
                self.heard_epoch = leading.heard_epoch();
                leading.close(why, out);
            }
        }
        self.books.flush(out);
        self.books.step_back();
        if self.is_leaving {
            self.election.leave();
        } else {
            self.election.reopen();
        }
        self.has_begun = false;
        self.tell_role(out);
    }

    /// Whether an election may begin: the vote tells of a log at rest.
    fn may_begin(&self) -> bool {
        let is_at_rest = self.books.is_idle() || cfg!(any(mutant = "m05", mutant = "m15"));
        matches!(self.stand, Stand::Looking) && !self.has_begun && !self.is_leaving && is_at_rest && self.founding.is_none()
    }

    /// Goes on wherever something has become possible.
    fn settle(&mut self, now: Millis, out: &mut Vec<Out>) {
        if now >= self.ready_at && self.may_begin() {
            self.has_begun = true;
            let zxid = if cfg!(mutant = "m15") { self.books.history.last() } else { self.books.logged() };
            let own = Vote { epoch: self.books.current(), zxid, leader: self.books.me };
            if let Some(vote) = self.election.begin(now, self.books.has_vote().then_some(own), out) {
                self.elected(now, vote, out);
            }
        }
        let verdict = match &mut self.stand {
            Stand::Looking => Ok(()),
            Stand::Following(following) => {
                following.settle(&mut self.books, out);
                Ok(())
            }
            Stand::Leading(leading) => leading.settle(now, &mut self.books, out),
        };
        self.tell_role(out);
        if let Err(why) = verdict.and_then(|()| self.restore(out)) {
            self.look(now, why, out);
        }
    }

    /// A server that may have forgotten something lacks nothing once it serves under a leader that a quorum has accepted.
    fn restore(&mut self, out: &mut Vec<Out>) -> Result<(), Why> {
        let Stand::Following(following) = &self.stand else { return Ok(()) };
        if following.serves() && self.books.is_impaired() && !self.is_restoring {
            self.is_restoring = true;
            self.books.restore(out);
        }
        let has_vote = self.books.has_vote();
        if following.is_observer() && has_vote { Err("restored: this server joins again, with its vote") } else { Ok(()) }
    }

    fn tell_role(&mut self, out: &mut Vec<Out>) {
        let role = match &self.stand {
            Stand::Looking => Role::Looking,
            Stand::Following(following) => {
                let (leader, epoch) = (following.leader(), following.epoch());
                match (following.serves(), following.is_observer()) {
                    (false, _) => Role::Joining { leader },
                    (true, true) => Role::Observing { leader, epoch },
                    (true, false) => Role::Following { leader, epoch },
                }
            }
            Stand::Leading(leading) => leading.served_epoch().map_or(Role::Looking, |epoch| Role::Leading { epoch }),
        };
        if role == self.role {
            return;
        }
        match role {
            Role::Following { epoch, .. } | Role::Observing { epoch, .. } | Role::Leading { epoch } => {
                self.election.settle(epoch, &self.books.members.observers, out);
            }
            Role::Looking | Role::Joining { .. } => {}
        }
        self.role = role;
        out.push(Out::Became(role));
    }
}
