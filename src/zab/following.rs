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
    /// The whole state has come. It is made to stand at `at`: what is known to be committed is taken into it, the rest is in `tail`. Once the
    /// leader has sent all, it is being finished, and what still comes waits in `tail` too.
    Copied { at: Zxid, tail: Vec<Record>, is_all: bool },
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

    /// It has not reached the leader.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting { .. })
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
                if cfg!(mutant = "m02") {
                    books.promise(books.accepted(), self.epoch, out);
                }
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
            (Packet::Proposal { zxid, blob }, _) if self.takes_history() => self.proposal(zxid, blob, books),
            (Packet::Commit { zxid }, _) if self.takes_history() => self.commit(zxid, books, out),
            (Packet::Inform { zxid, blob }, _) if self.takes_history() && self.is_observer => {
                let had = self.mark;
                self.proposal(zxid, blob, books)?;
                if zxid > had { self.commit(zxid, books, out) } else { Ok(()) }
            }
            (Packet::NewLeader { epoch, .. }, Stage::Copied { is_all: false, .. } | Stage::Syncing) => {
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

    /// The state has come whole, as far as one packet of the leader's can hold it.
    ///
    /// A Java leader goes on while it writes its state, so that what came may hold effects of transactions that it commits meanwhile. The
    /// commits of all of these come before [`Packet::NewLeader`]: so they are taken into the state, by the rules of a replay, and it is
    /// exact where they end. Only a commit of the leader's own epoch is a fact before the word that this server is up to date, and only
    /// in that epoch does a leader go on; what is of older epochs stays in the log until one such commit has come.
    pub fn state_received(&mut self, now: Millis) -> Result<(), Why> {
        self.heard = now;
        let Stage::Copying { at } = self.stage else { return Err("a state came that was not announced") };
        self.stage = Stage::Copied { at, tail: Vec::new(), is_all: false };
        Ok(())
    }

    /// The state stands where it is to stand, and can be put in force: with as much of what follows it as this server's own log had, for
    /// without that a crash could lose what was acknowledged here. The rest is appended.
    pub fn state_finished(&mut self, now: Millis, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        self.heard = now;
        let Stage::Copied { at, tail, is_all: true } = &mut self.stage else {
            return Err("a state was finished that was not asked for");
        };
        let (at, mut tail) = (*at, std::mem::take(tail));
        let last = books.history.last();
        let needed = if at >= last { 0 } else { tail.partition_point(|record| record.zxid < last) + 1 };
        let rest = tail.split_off(needed.min(tail.len()));
        books.install(self.link.expect("the state came from a link"), at, tail, out);
        self.wants_state = false;
        rest.into_iter().for_each(|record| books.append(record));
        books.flush(out);
        self.stage = Stage::Settling { history: books.issued() };
        Ok(())
    }

    fn proposal(&mut self, zxid: Zxid, blob: Blob, books: &mut Books) -> Result<(), Why> {
        let last = match &self.stage {
            Stage::Copied { at, tail, .. } => tail.last().map_or(*at, |record| record.zxid),
            _ => books.history.last(),
        };
        if zxid <= last {
            return self.repeated(zxid, books);
        }
        if !History::follows(last, zxid) {
            return Err("a transaction came that does not follow the one before");
        }
        self.pending.push_back(zxid);
        if !self.is_observer && !matches!(self.stage, Stage::Syncing | Stage::Copied { is_all: false, .. }) {
            self.owed.push_back(zxid);
        }
        let record = Record { zxid, blob };
        match &mut self.stage {
            Stage::Copied { tail, .. } => tail.push(record),
            Stage::Acknowledged if cfg!(mutant = "m06") => books.history.push(record),
            _ => books.append(record),
        }
        Ok(())
    }

    /// Around the sync point a leader may repeat what this server has: that is dropped, anything else is not taken. A zxid says which
    /// transaction it is: the bytes of a refused multi's undone members differ from one Java server to another.
    fn repeated(&self, zxid: Zxid, books: &Books) -> Result<(), Why> {
        let is_known = match &self.stage {
            Stage::Copied { at, tail, .. } => zxid <= *at || tail.iter().any(|record| record.zxid == zxid),
            _ => zxid <= books.history.base() || books.history.has(zxid),
        };
        if is_known && !self.serves() { Ok(()) } else { Err("a transaction came a second time") }
    }

    fn commit(&mut self, zxid: Zxid, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
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
        if let Stage::Copied { at, tail, is_all: false } = &mut self.stage
            && zxid.epoch() == self.epoch
            && !cfg!(mutant = "m38")
        {
            let link = self.link.expect("the state came from a link");
            let count = tail.partition_point(|record| record.zxid <= zxid);
            out.extend(tail.drain(..count).map(|record| Out::Fold { link, record }));
            *at = zxid;
        }
        Ok(())
    }

    /// All has been sent: the history goes to the disk, then the epoch, then the acknowledgement leaves.
    fn new_leader(&mut self, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        if !self.is_observer {
            self.owed.clone_from(&self.pending);
        }
        if let Stage::Copied { at, tail, is_all } = &mut self.stage {
            let delivered = books.delivered();
            if delivered > *at && !tail.iter().any(|record| record.zxid == delivered) {
                return Err("the leader's state lacks what was delivered here");
            }
            *is_all = true;
            out.push(Out::Finish { link: self.link.expect("the state came from a link"), at: *at });
            return Ok(());
        }
        books.flush(out);
        self.stage = Stage::Settling { history: books.issued() };
        Ok(())
    }

    fn up_to_date(&mut self, books: &mut Books, out: &mut Vec<Out>) {
        self.stage = Stage::Serving;
        books.committed = self.mark;
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

#[cfg(test)]
mod tests {
    use super::super::{Found, In, Members, Peer, Role, Times, Write};
    use super::*;
    use crate::proto::vote::{Notification, Standing, Vote};

    const LINK: Link = Link(7);

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    fn proposal(epoch: u32, counter: u32) -> Packet {
        Packet::Proposal { zxid: z(epoch, counter), blob: vec![counter as u8; 3].into() }
    }

    fn commit(epoch: u32, counter: u32) -> Packet {
        Packet::Commit { zxid: z(epoch, counter) }
    }

    /// A server that finds 2 leading; writes end when it is said.
    struct Learner {
        peer: Peer,
        out: Vec<Out>,
        writes: Vec<(Token, Write)>,
        now: u64,
    }

    impl Learner {
        fn new(me: u8, found: Found) -> Self {
            let ids = |list: &[u8]| list.iter().map(|id| ServerId(*id)).collect();
            let members =
                Members { voters: ids(&[1, 2, 3]), observers: ids(&[4]), text: b"version=0".as_slice().into(), version: 0 };
            let times = Times {
                tick: 1000,
                init_limit: 10,
                sync_limit: 5,
                notification_min: 200,
                notification_max: 1000,
                finalize_wait: 200,
            };
            let (peer, out) = Peer::new(ServerId(me), members, times, found, Millis(0));
            Self { peer, out, writes: Vec::new(), now: 0 }
        }

        /// With transactions 1.1 to 1.5, of which two are delivered.
        fn with_log(me: u8) -> Self {
            Self::new(
                me,
                Found {
                    accepted: 1,
                    current: 1,
                    base: Zxid::ZERO,
                    ends: vec![z(1, 5)],
                    delivered: z(1, 2),
                    is_impaired: false,
                    is_new: None,
                },
            )
        }

        fn step(&mut self, input: In) {
            self.peer.step(Millis(self.now), input, &mut self.out);
        }

        fn finds_its_leader(&mut self) {
            let vote = Some(Vote { epoch: 1, zxid: z(1, 5), leader: ServerId(2) });
            for (from, standing) in [(2, Standing::Leading), (3, Standing::Following)] {
                let notification = Notification { standing, vote, round: 9, config: None };
                self.step(In::Notification { from: ServerId(from), notification });
            }
            assert!(self.out.contains(&Out::Connect { leader: ServerId(2) }));
            self.step(In::Connected { leader: ServerId(2), link: LINK });
            self.out.clear();
        }

        /// Up to where the leader says how it is synchronised.
        fn joins(&mut self, epoch: u32) {
            self.finds_its_leader();
            self.gets(Packet::LeaderInfo { epoch });
            self.stores();
            self.out.clear();
        }

        fn gets(&mut self, packet: Packet) {
            self.step(In::Packet { link: LINK, packet });
        }

        fn get_all(&mut self, packets: Vec<Packet>) {
            self.step(In::Train { link: LINK, packets });
        }

        fn collect(&mut self) {
            for effect in &self.out {
                if let Out::Store { token, write } = effect
                    && !self.writes.iter().any(|(other, _)| other == token)
                {
                    self.writes.push((*token, write.clone()));
                }
            }
        }

        /// All writes end, with those that they lead to. Says what they were.
        fn stores(&mut self) -> Vec<Write> {
            let mut ended = Vec::new();
            loop {
                self.collect();
                self.out.retain(|effect| !matches!(effect, Out::Store { .. }));
                if self.writes.is_empty() {
                    return ended;
                }
                let (token, write) = self.writes.remove(0);
                self.step(In::Stored(token));
                ended.push(write);
            }
        }

        /// What it said since the last time, without writes.
        fn said(&mut self) -> Vec<Out> {
            self.collect();
            let said = std::mem::take(&mut self.out);
            said.into_iter().filter(|effect| !matches!(effect, Out::Store { .. } | Out::Notify { .. })).collect()
        }

        fn left(&mut self) -> Option<Why> {
            self.said().into_iter().find_map(|effect| if let Out::HangUp { why, .. } = effect { Some(why) } else { None })
        }
    }

    fn ack(epoch: u32, counter: u32) -> Out {
        Out::Send { link: LINK, packet: Packet::Ack { zxid: z(epoch, counter) } }
    }

    #[test]
    fn history_then_epoch_then_acknowledgements_in_order() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        let stream = vec![Packet::Diff { to: z(1, 6) }, proposal(1, 6), commit(1, 6), proposal(2, 1), proposal(2, 2)];
        l.get_all(stream);
        l.get_all(vec![Packet::NewLeader { epoch: 2, config: None }, proposal(2, 3), commit(2, 1)]);
        assert_eq!(l.said(), [], "nothing is acknowledged, nothing delivered");
        let writes = l.stores();
        assert!(matches!(&writes[0], Write::Append(records) if records.len() == 3), "a train is one write: {writes:?}");
        assert!(matches!(&writes[1], Write::Append(records) if records.len() == 1));
        assert_eq!(writes[2..], [Write::Promise { accepted: 2, current: 2 }]);
        assert_eq!(l.said(), [ack(2, 0), ack(2, 1), ack(2, 2), ack(2, 3)], "commits before the word are not facts yet");
        l.gets(Packet::UpToDate);
        let serves = Role::Following { leader: ServerId(2), epoch: 2 };
        assert_eq!(l.said(), [ack(2, 0), Out::Deliver { up_to: z(2, 1) }, Out::Became(serves)]);
        l.get_all(vec![commit(2, 2), commit(2, 3), proposal(2, 4), commit(2, 4)]);
        assert_eq!(l.said(), [Out::Deliver { up_to: z(2, 3) }], "what is committed waits for the disk");
        l.stores();
        assert_eq!(l.said(), [ack(2, 4), Out::Deliver { up_to: z(2, 4) }]);
    }

    #[test]
    fn an_epoch_accepted_before_is_not_counted_again_and_an_older_one_is_left() {
        let mut l = Learner::with_log(1);
        l.finds_its_leader();
        l.gets(Packet::LeaderInfo { epoch: 1 });
        let answer = Packet::AckEpoch { last: z(1, 5), current: None };
        assert_eq!(l.said(), [Out::Send { link: LINK, packet: answer }]);
        let mut l = Learner::with_log(1);
        l.finds_its_leader();
        l.gets(Packet::LeaderInfo { epoch: 0 });
        assert_eq!(l.left(), Some("the leader's epoch is older than one accepted here"));
    }

    #[test]
    fn the_promise_is_durable_before_it_is_spoken() {
        let mut l = Learner::with_log(1);
        l.finds_its_leader();
        l.gets(Packet::LeaderInfo { epoch: 5 });
        assert_eq!(l.said(), []);
        assert_eq!(l.stores(), [Write::Promise { accepted: 5, current: 1 }]);
        let answer = Packet::AckEpoch { last: z(1, 5), current: Some(1) };
        assert_eq!(l.said(), [Out::Send { link: LINK, packet: answer }]);
    }

    #[test]
    fn a_leader_that_is_heard_and_cannot_be_reached_is_not_elected_at_once_again() {
        let mut l = Learner::with_log(1);
        let looks = |l: &mut Learner, from: u8, leader: u8, round: u64| {
            let vote = Some(Vote { epoch: 1, zxid: z(1, 5), leader: ServerId(leader) });
            let notification = Notification { standing: Standing::Looking, vote, round, config: None };
            l.step(In::Notification { from: ServerId(from), notification });
        };
        let passes = |l: &mut Learner, ms: u64| {
            for _ in 0..ms / 50 {
                l.now += 50;
                l.step(In::Time);
            }
        };
        let called = |l: &mut Learner| {
            let said = l.said();
            said.iter().rev().find_map(|effect| if let Out::Connect { leader } = effect { Some(leader.0) } else { None })
        };
        looks(&mut l, 3, 3, 1);
        looks(&mut l, 2, 3, 1);
        passes(&mut l, 300);
        for _ in 0..TRIES {
            assert_eq!(called(&mut l), Some(3));
            l.step(In::Unreachable { leader: ServerId(3) });
            passes(&mut l, 200);
        }
        assert_eq!(l.peer.role(), Role::Looking);
        let lost_at = l.now;
        passes(&mut l, 1000);
        looks(&mut l, 3, 3, 2);
        looks(&mut l, 2, 2, 2);
        passes(&mut l, 300);
        assert_eq!(called(&mut l), Some(2), "the one that can be reached is as good");
        for _ in 0..TRIES {
            l.step(In::Unreachable { leader: ServerId(2) });
            passes(&mut l, 200);
        }
        let rest = 6000 - (l.now - lost_at);
        passes(&mut l, rest);
        looks(&mut l, 3, 3, 3);
        looks(&mut l, 2, 3, 3);
        passes(&mut l, 300);
        assert_eq!(called(&mut l), Some(3), "in time it is heard again");
    }

    #[test]
    fn a_cut_is_made_where_the_log_has_it_and_at_the_mark_of_an_epoch() {
        for (to, place) in [(z(1, 3), z(1, 3)), (z(1, 2), z(1, 2))] {
            let mut l = Learner::with_log(1);
            l.joins(2);
            l.get_all(vec![Packet::Trunc { to }, proposal(2, 1), commit(2, 1), Packet::NewLeader { epoch: 2, config: None }]);
            let writes = l.stores();
            assert_eq!(writes[0], Write::Cut { to: place });
            assert!(matches!(&writes[1], Write::Append(records) if records[0].zxid == z(2, 1)));
            assert_eq!(l.said(), [ack(2, 0)]);
        }
        let found = Found {
            accepted: 4,
            current: 4,
            base: z(1, 1),
            ends: vec![z(1, 5), z(4, 2)],
            delivered: z(1, 5),
            is_impaired: false,
            is_new: None,
        };
        let mut l = Learner::new(1, found);
        l.joins(5);
        l.gets(Packet::Trunc { to: z(4, 0) });
        assert_eq!(l.stores(), [Write::Cut { to: z(1, 5) }]);
        assert_eq!(l.said(), []);
    }

    #[test]
    fn nothing_delivered_is_cut_and_an_unknown_place_asks_for_the_state() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.gets(Packet::Trunc { to: z(1, 1) });
        assert_eq!(l.left(), Some("the leader would have cut what was delivered"));
        assert_eq!(l.peer.role(), Role::Looking);

        let mut l = Learner::with_log(1);
        l.joins(2);
        l.gets(Packet::Trunc { to: z(1, 9) });
        assert_eq!(l.left(), Some("the log cannot be cut where the leader says: the state is asked for whole"));
        l.now = 100;
        l.step(In::Time);
        l.finds_its_leader();
        l.gets(Packet::LeaderInfo { epoch: 3 });
        l.stores();
        let answer = Packet::AckEpoch { last: Zxid::ZERO, current: None };
        assert_eq!(l.said(), [Out::Send { link: LINK, packet: answer }], "nothing is claimed, and nothing counts");
        l.gets(Packet::Diff { to: z(1, 9) });
        assert_eq!(l.left(), Some("the leader does not send the state that is needed"));
    }

    #[test]
    fn a_state_is_put_in_force_with_what_it_must_not_lack() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.gets(Packet::Snap { at: z(1, 1) });
        l.step(In::StateReceived { link: LINK });
        l.get_all(vec![proposal(1, 2), commit(1, 2), proposal(1, 3)]);
        assert_eq!(l.stores(), [], "a crash now must not lose what was there");
        l.get_all(vec![proposal(1, 4), proposal(1, 5), proposal(1, 6), Packet::NewLeader { epoch: 2, config: None }]);
        assert_eq!(l.stores(), []);
        assert_eq!(l.said(), [Out::Finish { link: LINK, at: z(1, 1) }], "commits of an older epoch are no facts yet");
        l.step(In::StateFinished { link: LINK });
        let writes = l.stores();
        let Write::Install { link: LINK, at, tail } = &writes[0] else { panic!("{writes:?}") };
        assert!(*at == z(1, 1) && tail.iter().map(|record| record.zxid).eq((2..=5).map(|counter| z(1, counter))));
        assert_eq!(writes[2], Write::Promise { accepted: 2, current: 2 });
        let told = [Out::Deliver { up_to: z(1, 2) }, ack(2, 0), ack(1, 3), ack(1, 4), ack(1, 5), ack(1, 6)];
        assert_eq!(l.said(), told, "what was shown is shown again");
        l.gets(Packet::UpToDate);
        assert_eq!(l.peer.delivered(), z(1, 2));
    }

    #[test]
    fn what_is_committed_while_a_state_comes_is_taken_into_it() {
        for me in [1, 4] {
            let is_observer = me == 4;
            let mut l = Learner::with_log(me);
            l.joins(2);
            l.gets(Packet::Snap { at: z(1, 4) });
            l.step(In::StateReceived { link: LINK });
            let record = |epoch, counter| {
                let Packet::Proposal { zxid, blob } = proposal(epoch, counter) else { unreachable!() };
                Record { zxid, blob }
            };
            let agreed = |epoch, counter| {
                let Record { zxid, blob } = record(epoch, counter);
                if is_observer {
                    vec![Packet::Inform { zxid, blob }]
                } else {
                    vec![Packet::Proposal { zxid, blob }, Packet::Commit { zxid }]
                }
            };
            l.get_all([agreed(1, 4), agreed(1, 5), agreed(1, 6)].concat());
            assert_eq!(l.said(), [], "of an older epoch, perhaps nobody's");
            l.get_all([vec![proposal(2, 1), proposal(2, 2), commit(2, 1)], agreed(2, 1)].concat());
            let fold = |epoch, counter| Out::Fold { link: LINK, record: record(epoch, counter) };
            assert_eq!(l.said(), [fold(1, 5), fold(1, 6), fold(2, 1)], "once each");
            l.gets(Packet::NewLeader { epoch: 2, config: None });
            assert_eq!(l.said(), [Out::Finish { link: LINK, at: z(2, 1) }]);
            l.get_all(vec![proposal(2, 3), commit(2, 2)]);
            assert_eq!((l.said(), l.stores()), (vec![], vec![]), "what is being finished stays as it is");
            l.step(In::StateFinished { link: LINK });
            let writes = l.stores();
            assert_eq!(writes[0], Write::Install { link: LINK, at: z(2, 1), tail: vec![] });
            assert_eq!(writes[1], Write::Append(vec![record(2, 2), record(2, 3)]));
            assert_eq!(writes[2], Write::Promise { accepted: 2, current: 2 });
            let acks = if is_observer { vec![ack(2, 0)] } else { vec![ack(2, 0), ack(2, 2), ack(2, 3)] };
            assert_eq!(l.said(), acks);
            l.gets(Packet::UpToDate);
            assert_eq!((l.peer.delivered(), l.peer.logged()), (z(2, 2), z(2, 3)));
        }
    }

    #[test]
    fn a_state_that_cannot_be_finished_is_given_up_with_its_link_and_nothing_is_lost() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.gets(Packet::Snap { at: z(1, 1) });
        l.step(In::StateReceived { link: LINK });
        l.get_all(vec![proposal(1, 2), Packet::NewLeader { epoch: 2, config: None }]);
        l.step(In::LinkDown { link: LINK });
        assert_eq!((l.peer.role(), l.peer.logged(), l.stores()), (Role::Looking, z(1, 5), vec![]));
        l.step(In::StateFinished { link: LINK });
        assert_eq!(l.stores(), [], "too late");
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.gets(Packet::Snap { at: z(1, 1) });
        l.step(In::StateReceived { link: LINK });
        l.step(In::StateFinished { link: LINK });
        assert_eq!(l.left(), Some("a state was finished that was not asked for"));
    }

    #[test]
    fn a_state_that_lacks_what_was_delivered_is_refused() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.gets(Packet::Snap { at: z(1, 1) });
        l.step(In::StateReceived { link: LINK });
        l.gets(Packet::NewLeader { epoch: 2, config: None });
        assert_eq!(l.left(), Some("the leader's state lacks what was delivered here"));
        assert_eq!(l.stores(), []);
    }

    #[test]
    fn a_foreign_state_may_stand_at_a_mark_and_be_repeated_in_part() {
        let mut l = Learner::with_log(1);
        l.joins(6);
        l.gets(Packet::Snap { at: z(5, 0) });
        l.step(In::StateReceived { link: LINK });
        l.get_all(vec![proposal(4, 9), commit(4, 9), proposal(5, 1), commit(5, 1), Packet::NewLeader { epoch: 6, config: None }]);
        l.step(In::StateFinished { link: LINK });
        l.stores();
        l.gets(Packet::UpToDate);
        assert_eq!((l.peer.delivered(), l.peer.logged()), (z(5, 1), z(5, 1)));
    }

    #[test]
    fn repeats_are_dropped_while_synchronising_and_nothing_else_is_let_pass() {
        let stream = |packets: Vec<Packet>| {
            let mut l = Learner::with_log(1);
            l.joins(2);
            l.get_all(std::iter::once(Packet::Diff { to: z(1, 6) }).chain(packets).collect());
            l.left()
        };
        assert_eq!(stream(vec![proposal(1, 5), commit(1, 5), proposal(1, 6), proposal(1, 6), commit(1, 6)]), None);
        let undone_otherwise = Packet::Proposal { zxid: z(1, 6), blob: vec![99].into() };
        assert_eq!(stream(vec![proposal(1, 6), undone_otherwise, commit(1, 6)]), None);
        let repeated = Some("a transaction came a second time");
        assert_eq!(stream(vec![proposal(0, 7)]), repeated);
        let gap = Some("a transaction came that does not follow the one before");
        assert_eq!(stream(vec![proposal(1, 7)]), gap);
        assert_eq!(stream(vec![proposal(2, 0)]), gap);
        assert_eq!(stream(vec![proposal(3, 2)]), gap);
        let head = Some("a commit came that is not of the oldest proposal");
        assert_eq!(stream(vec![proposal(1, 6), proposal(1, 7), commit(1, 7)]), head);
        assert_eq!(stream(vec![commit(1, 6)]), head);
        let stray = Some("the leader sent what does not belong here");
        for packet in [Packet::UpToDate, Packet::Sync, Packet::LeaderInfo { epoch: 2 }, Packet::Snap { at: z(1, 1) }] {
            assert_eq!(stream(vec![packet]), stray);
        }
        assert_eq!(stream(vec![Packet::Inform { zxid: z(1, 6), blob: vec![].into() }]), stray);
        assert_eq!(stream(vec![Packet::NewLeader { epoch: 3, config: None }]), Some("the leader's epoch has changed"));
    }

    #[test]
    fn what_a_java_leader_sends_between_the_words_is_taken() {
        let mut l = Learner::with_log(1);
        l.joins(3);
        // What was live when the learner was added to those that get it comes before NEWLEADER, with commits of its own; the configuration
        // has a version of its own in every epoch, also where none can be changed.
        let config = Some(b"server.1=a:1:2:participant\nversion=300000000".as_slice().into());
        l.get_all(vec![Packet::Diff { to: z(1, 5) }, proposal(3, 1), proposal(3, 2), commit(3, 1)]);
        l.get_all(vec![Packet::NewLeader { epoch: 3, config }, commit(3, 2), proposal(3, 3), commit(3, 3)]);
        l.stores();
        assert_eq!(l.said(), [ack(3, 0), ack(3, 2), ack(3, 3)]);
        l.get_all(vec![proposal(3, 4), commit(3, 4), Packet::Ping { zxid: z(3, 4), touched: vec![] }, Packet::UpToDate]);
        l.stores();
        assert_eq!((l.peer.delivered(), l.left()), (z(3, 4), None));

        // An observer is informed of what is live, also before the word that it is up to date.
        let mut l = Learner::with_log(4);
        l.joins(3);
        let inform = |counter: u32| Packet::Inform { zxid: z(3, counter), blob: vec![1].into() };
        l.get_all(vec![Packet::Diff { to: z(1, 5) }, proposal(3, 1), commit(3, 1), inform(2)]);
        l.get_all(vec![Packet::NewLeader { epoch: 3, config: None }, inform(3)]);
        l.stores();
        assert_eq!(l.said(), [ack(3, 0)]);
        l.get_all(vec![inform(4), Packet::UpToDate, inform(5)]);
        l.stores();
        assert_eq!((l.peer.delivered(), l.left()), (z(3, 5), None));
    }

    #[test]
    fn an_observer_is_informed_and_acknowledges_only_the_leader() {
        let mut l = Learner::with_log(4);
        l.joins(2);
        l.get_all(vec![Packet::Diff { to: z(1, 6) }, proposal(1, 6), commit(1, 6), Packet::NewLeader { epoch: 2, config: None }]);
        l.stores();
        l.gets(Packet::UpToDate);
        assert_eq!(l.peer.role(), Role::Observing { leader: ServerId(2), epoch: 2 });
        l.out.clear();
        l.gets(Packet::Inform { zxid: z(2, 1), blob: vec![1].into() });
        l.stores();
        assert_eq!(l.said(), [Out::Deliver { up_to: z(2, 1) }]);
    }

    #[test]
    fn pings_are_answered_with_the_sessions_heard_of_once_the_leader_is_acknowledged() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        let ping = || Packet::Ping { zxid: z(1, 5), touched: vec![] };
        l.get_all(vec![Packet::Diff { to: z(1, 5) }, ping(), Packet::NewLeader { epoch: 2, config: None }, ping()]);
        assert_eq!(l.said(), []);
        l.stores();
        l.gets(Packet::UpToDate);
        l.out.clear();
        l.step(In::Touched(vec![(SessionId(5), 4000)]));
        l.get_all(vec![ping(), ping()]);
        let answer = |touched| Out::Send { link: LINK, packet: Packet::Ping { zxid: z(1, 5), touched } };
        assert_eq!(l.said(), [answer(vec![(SessionId(5), 4000)]), answer(vec![])]);
    }

    #[test]
    fn what_comes_from_a_link_given_up_is_nothing() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.step(In::LinkDown { link: LINK });
        assert_eq!(l.said(), [Out::Became(Role::Looking)], "a broken link is not given up");
        l.get_all(vec![Packet::Diff { to: z(1, 6) }, proposal(1, 6)]);
        assert_eq!((l.said(), l.peer.proposed()), (vec![], z(1, 5)));
        l.step(In::Connected { leader: ServerId(2), link: Link(8) });
        assert_eq!(l.left(), Some("it is not wanted any more"));
    }

    #[test]
    fn a_silent_leader_is_left_and_the_log_comes_to_rest_before_a_vote() {
        let mut l = Learner::with_log(1);
        l.joins(2);
        l.get_all(vec![Packet::Diff { to: z(1, 5) }, Packet::NewLeader { epoch: 2, config: None }]);
        l.stores();
        l.gets(Packet::UpToDate);
        l.gets(proposal(2, 1));
        l.collect();
        l.out.clear();
        l.now = 5000;
        l.step(In::Time);
        assert_eq!(l.left(), None);
        l.now = 5001;
        l.step(In::Time);
        let votes = |out: &[Out]| out.iter().filter(|effect| matches!(effect, Out::Notify { .. })).count();
        assert_eq!(votes(&l.out), 0);
        assert_eq!(l.left(), Some("the leader is silent"));
        l.stores();
        let own = Some(Vote { epoch: 2, zxid: z(2, 1), leader: ServerId(1) });
        assert!(l.out.iter().any(|effect| matches!(effect, Out::Notify { notification, .. } if notification.vote == own)));
    }

    #[test]
    fn one_that_may_have_forgotten_keeps_away_learns_and_then_counts() {
        let found = Found {
            accepted: 0,
            current: 0,
            base: Zxid::ZERO,
            ends: vec![],
            delivered: Zxid::ZERO,
            is_impaired: true,
            is_new: None,
        };
        let mut l = Learner::new(1, found);
        l.now = 34_999;
        l.step(In::Time);
        assert!(!l.out.iter().any(|effect| matches!(effect, Out::Notify { .. })));
        l.now = 35_000;
        l.step(In::Time);
        let asks = |effect: &Out| matches!(effect, Out::Notify { notification, .. } if notification.vote.is_none());
        assert_eq!(l.out.iter().filter(|effect| asks(effect)).count(), 2);
        l.finds_its_leader();
        l.gets(Packet::LeaderInfo { epoch: 3 });
        l.stores();
        assert_eq!(l.said(), [Out::Send { link: LINK, packet: Packet::AckEpoch { last: Zxid::ZERO, current: None } }]);
        l.gets(Packet::Snap { at: z(2, 9) });
        l.step(In::StateReceived { link: LINK });
        l.gets(Packet::NewLeader { epoch: 3, config: None });
        l.step(In::StateFinished { link: LINK });
        l.stores();
        l.gets(Packet::UpToDate);
        assert_eq!(l.peer.role(), Role::Observing { leader: ServerId(2), epoch: 3 });
        assert_eq!(l.stores(), [Write::Restored]);
        assert!(!l.peer.is_impaired() && l.peer.role() == Role::Looking);
        l.step(In::Time);
        let own = Some(Vote { epoch: 3, zxid: z(2, 9), leader: ServerId(1) });
        assert!(l.out.iter().any(|effect| matches!(effect, Out::Notify { notification, .. } if notification.vote == own)));
    }
}
