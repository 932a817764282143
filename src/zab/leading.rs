//! Leading: from being elected to handing over. Epoch, learners' logs, then broadcast: proposals, a quorum's acknowledgements, commits.

use std::collections::{BTreeMap, VecDeque};

use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Millis;
use crate::proto::packet::{LearnerInfo, Packet};

use super::books::Books;
use super::discovery::{Discovery, EPOCH_MAX, is_newer};
use super::following::Why;
use super::history::History;
use super::progress::{Progress, Stage};
use super::sync::Streams;
use super::{Link, Out, Record};

/// Links of learners that are served at once, in whatever stage.
pub const LEARNERS_MAX: usize = 1024;

/// What a leader is at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    /// A quorum is to tell what epochs it has accepted.
    Gathering,
    /// The new epoch is being promised here.
    Promising,
    /// A quorum is to accept it.
    Agreeing,
    /// A quorum is to hold this server's history.
    Syncing,
    /// The epoch stands.
    Serving,
}

/// A leader.
#[derive(Debug)]
pub struct Leading {
    phase: Phase,
    since: Millis,
    discovery: Discovery,
    epoch: u32,
    /// The history that the epoch begins with: the epoch joined before, and the end of the log.
    initial: (u32, Zxid),
    learners: BTreeMap<Link, Progress>,
    /// Ends of what was proposed at once, and when; as far back as a learner owes an acknowledgement.
    proposed: VecDeque<(Zxid, Millis)>,
    /// Since when this server has wanted to make way.
    leaving: Option<Millis>,
    /// The newest epoch that a voter said it had accepted.
    heard_epoch: u32,
    half_ticks: u64,
}

impl Leading {
    /// Elected. `links` are learners that came before this server knew; `heard_epoch` was accepted by somebody and is not to be used.
    pub fn new(now: Millis, books: &mut Books, links: BTreeMap<Link, Progress>, heard_epoch: u32, out: &mut Vec<Out>) -> Self {
        assert!(books.has_vote() && books.is_idle(), "a leader has a vote, and a settled log");
        let mut leading = Self {
            phase: Phase::Gathering,
            since: now,
            discovery: Discovery::new(books.me, books.quorum.clone(), books.accepted().max(heard_epoch).min(EPOCH_MAX)),
            epoch: 0,
            initial: (books.current(), books.history.last()),
            learners: BTreeMap::new(),
            proposed: VecDeque::new(),
            leaving: None,
            heard_epoch,
            half_ticks: 0,
        };
        for (link, mut learner) in links {
            (learner.heard, learner.since) = (now, now);
            let info = learner.info.take();
            leading.learners.insert(link, learner);
            if let Some(info) = info {
                // Whoever was before its time may be wrong about it, which ends its link, not the leadership.
                if leading.register(now, link, info, books, out).is_err() {
                    leading.drop_learner(link, "its epoch is newer", out);
                }
            }
        }
        leading
    }

    /// Its epoch, once a quorum serves it.
    #[must_use]
    pub fn served_epoch(&self) -> Option<u32> {
        (self.phase == Phase::Serving).then_some(self.epoch)
    }

    /// The newest epoch that a voter said it had accepted: the next epoch is to be newer.
    #[must_use]
    pub const fn heard_epoch(&self) -> u32 {
        self.heard_epoch
    }

    /// The learners.
    pub fn learners(&self) -> impl Iterator<Item = (Link, &Progress)> {
        self.learners.iter().map(|(link, learner)| (*link, learner))
    }

    /// Gives up all links.
    pub fn close(self, why: Why, out: &mut Vec<Out>) {
        out.extend(self.learners.into_keys().map(|link| Out::HangUp { link, why }));
    }

    /// The end of what is committed, or will be when the epoch stands.
    fn agreed(&self, books: &Books) -> Zxid {
        if self.phase == Phase::Serving { books.committed } else { self.initial.1 }
    }

    fn drop_learner(&mut self, link: Link, why: Why, out: &mut Vec<Out>) {
        if self.learners.remove(&link).is_some() {
            out.push(Out::HangUp { link, why });
        }
    }

    /// A learner has connected.
    pub fn accepted(&mut self, now: Millis, link: Link, out: &mut Vec<Out>) {
        if self.learners.len() >= LEARNERS_MAX {
            out.push(Out::HangUp { link, why: "too many learners" });
            return;
        }
        self.learners.insert(link, Progress::new(now));
    }

    /// A learner's link has broken.
    pub fn link_down(&mut self, link: Link) {
        self.learners.remove(&link);
    }

    /// A learner introduces itself. An error ends this leadership.
    fn register(&mut self, now: Millis, link: Link, info: LearnerInfo, books: &Books, out: &mut Vec<Out>) -> Result<(), Why> {
        let is_voter = !info.is_observer && info.server.is_some_and(|server| books.quorum.has(server));
        if info.config_version > books.members.version {
            self.drop_learner(link, "it knows a newer configuration", out);
            return Ok(());
        }
        if info.accepted >= EPOCH_MAX || info.server == Some(books.me) {
            self.drop_learner(link, "it cannot be who it says", out);
            return Ok(());
        }
        if is_voter {
            self.heard_epoch = self.heard_epoch.max(info.accepted);
        }
        if self.discovery.is_fixed() && info.accepted > self.discovery.epoch() {
            if is_voter {
                // It has promised never to follow an epoch so old, and would be lost to the ensemble.
                return Err("a voter has accepted a newer epoch");
            }
            self.drop_learner(link, "its epoch is newer", out);
            return Ok(());
        }
        let older = self
            .learners
            .iter()
            .find(|(other, learner)| **other != link && info.server.is_some() && learner.server() == info.server);
        if let Some(older) = older.map(|(other, _)| *other) {
            self.drop_learner(older, "the same server has connected anew", out);
        }
        let learner = self.learners.get_mut(&link).expect("a learner that speaks is known");
        learner.info = Some(info);
        learner.is_voter = is_voter;
        learner.enter(Stage::Registered, now);
        self.discovery.connect(info.server.filter(|_| is_voter), info.accepted);
        if self.phase >= Phase::Agreeing {
            self.tell_epoch(now, link, out);
        }
        Ok(())
    }

    fn tell_epoch(&mut self, now: Millis, link: Link, out: &mut Vec<Out>) {
        if let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.stage == Stage::Registered) {
            learner.enter(Stage::Told, now);
            out.push(Out::Send { link, packet: Packet::LeaderInfo { epoch: self.epoch } });
        }
    }

    /// A packet came from a learner. An error ends this leadership.
    pub fn packet(&mut self, now: Millis, link: Link, packet: Packet, books: &Books, out: &mut Vec<Out>) -> Result<(), Why> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.heard = now;
        match (packet, learner.stage) {
            (Packet::Info(info), Stage::Fresh) => return self.register(now, link, info, books, out),
            (Packet::AckEpoch { last, current }, Stage::Told) => return self.ack_epoch(now, link, last, current, books, out),
            (Packet::Ack { zxid }, Stage::Attached) if zxid == Zxid::new(self.epoch, 0) => {
                learner.enter(Stage::Synced, now);
                self.welcome(now, link, out);
            }
            (Packet::Ack { zxid }, Stage::Attached | Stage::Synced | Stage::UpToDate) => self.ack(link, zxid, books, out),
            (Packet::Ping { touched, zxid }, Stage::Synced | Stage::UpToDate) => {
                if !touched.is_empty() && learner.stage == Stage::UpToDate {
                    out.push(Out::Upward { link, packet: Packet::Ping { zxid, touched } });
                }
            }
            (packet @ (Packet::Request(_) | Packet::Revalidate { .. }), Stage::UpToDate) => {
                out.push(Out::Upward { link, packet })
            }
            _ => self.drop_learner(link, "it sent what does not belong here", out),
        }
        Ok(())
    }

    fn ack_epoch(
        &mut self,
        now: Millis,
        link: Link,
        last: Zxid,
        current: Option<u32>,
        books: &Books,
        out: &mut Vec<Out>,
    ) -> Result<(), Why> {
        let learner = self.learners.get_mut(&link).expect("a learner that speaks is known");
        // Java's server says -1 where it cannot read its own log.
        let is_known = last.epoch() <= EPOCH_MAX;
        let (last, current) = if is_known { (last, current) } else { (Zxid::ZERO, None) };
        if self.phase < Phase::Syncing
            && let Some(current) = current
        {
            // Once a quorum has accepted the epoch, nothing that this server lacks can be committed any more; before, it can.
            if is_newer((current, last), self.initial) {
                if learner.is_voter {
                    return Err("a voter has a newer history");
                }
                self.drop_learner(link, "its history is newer", out);
                return Ok(());
            }
            if let Some(voter) = learner.server().filter(|_| learner.is_voter) {
                self.discovery.agree(voter);
            }
        }
        learner.enter(Stage::Agreed { last }, now);
        if self.phase >= Phase::Syncing {
            self.open(now, link, books, out);
        }
        Ok(())
    }

    /// Begins to synchronise a learner.
    fn open(&mut self, now: Millis, link: Link, books: &Books, out: &mut Vec<Out>) {
        let streams = Streams { books, epoch: self.epoch, agreed: self.agreed(books), now };
        if let Some(learner) = self.learners.get_mut(&link)
            && let Stage::Agreed { last } = learner.stage
        {
            streams.open(link, learner, last, out);
        }
    }

    /// A piece of the log has been read for a learner.
    pub fn read(&mut self, now: Millis, link: Link, piece: Option<Vec<Record>>, books: &Books, out: &mut Vec<Out>) {
        let streams = Streams { books, epoch: self.epoch, agreed: self.agreed(books), now };
        if let Some(learner) = self.learners.get_mut(&link)
            && let Err(why) = streams.read(link, learner, piece, out)
        {
            self.drop_learner(link, why, out);
        }
    }

    /// The state has been sent to a learner.
    pub fn copied(&mut self, now: Millis, link: Link, at: Zxid, books: &Books, out: &mut Vec<Out>) {
        let streams = Streams { books, epoch: self.epoch, agreed: self.agreed(books), now };
        if let Some(learner) = self.learners.get_mut(&link)
            && let Err(why) = streams.copied(link, learner, at, out)
        {
            self.drop_learner(link, why, out);
        }
    }

    /// Lets a learner serve that has acknowledged the new leader, if the epoch stands.
    fn welcome(&mut self, now: Millis, link: Link, out: &mut Vec<Out>) {
        if let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.stage == Stage::Synced)
            && self.phase == Phase::Serving
        {
            learner.enter(Stage::UpToDate, now);
            learner.heard = now;
            out.push(Out::Send { link, packet: Packet::UpToDate });
        }
    }

    /// A learner has logged a transaction. It acknowledges each, in their order.
    fn ack(&mut self, link: Link, zxid: Zxid, books: &Books, out: &mut Vec<Out>) {
        let learner = self.learners.get_mut(&link).expect("a learner that speaks is known");
        if zxid.counter() == 0 || zxid <= learner.acked || learner.is_observer() {
            return;
        }
        if History::follows(learner.acked, zxid) && books.history.has(zxid) {
            learner.acked = zxid;
        } else {
            self.drop_learner(link, "it acknowledged what it was not asked to", out);
        }
    }

    /// The ledger's transactions.
    pub fn propose(&mut self, now: Millis, records: Vec<Record>, books: &mut Books, out: &mut Vec<Out>) {
        assert!(self.phase == Phase::Serving, "only a leader proposes");
        for record in records {
            assert!(record.zxid.epoch() == self.epoch || cfg!(mutant = "m26"), "a leader proposes in its epoch");
            for (link, _) in self.learners.iter().filter(|(_, learner)| learner.is_attached() && !learner.is_observer()) {
                out.push(Out::Send { link: *link, packet: Packet::Proposal { zxid: record.zxid, blob: record.blob.clone() } });
            }
            books.append(record);
        }
        self.proposed.push_back((books.history.last(), now));
    }

    /// This server is to stop: it makes way once somebody is ready.
    pub fn leave(&mut self, now: Millis) {
        self.leaving.get_or_insert(now);
    }

    /// Servers, besides this one, that count: voters that have acknowledged the new leader.
    fn synced(&self) -> impl Iterator<Item = (ServerId, &Progress)> {
        let synced = self.learners.values().filter(|learner| learner.is_voter && learner.stage >= Stage::Synced);
        synced.map(|learner| (learner.server().expect("a voter has a number"), learner))
    }

    /// Goes on where a write has ended or a word was spoken. An error ends this leadership.
    pub fn settle(&mut self, now: Millis, books: &mut Books, out: &mut Vec<Out>) -> Result<(), Why> {
        books.flush(out);
        if self.phase == Phase::Gathering && self.discovery.is_fixed() {
            self.epoch = self.discovery.epoch();
            books.promise(self.epoch, books.current(), out);
            self.enter(Phase::Promising, now);
        }
        if self.phase == Phase::Promising && books.accepted() == self.epoch {
            self.enter(Phase::Agreeing, now);
            self.discovery.agree(books.me);
            for link in self.links() {
                self.tell_epoch(now, link, out);
            }
        }
        if self.phase == Phase::Agreeing && self.discovery.is_agreed() {
            books.promise(self.epoch, self.epoch, out);
            self.enter(Phase::Syncing, now);
            for link in self.links() {
                self.open(now, link, books, out);
            }
        }
        if self.phase == Phase::Syncing && books.current() == self.epoch {
            let me = std::iter::once(books.me);
            if books.quorum.is_met(self.synced().map(|(server, _)| server).chain(me)) {
                self.establish(now, books, out);
            }
        }
        if self.phase == Phase::Serving {
            self.commit(books, out);
            books.deliver(out);
            // What is forgotten here is read from the log, and must be there.
            books.history.trim(books.delivered());
            self.make_way(now, books)?;
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase, now: Millis) {
        (self.phase, self.since) = (phase, now);
    }

    fn links(&self) -> Vec<Link> {
        self.learners.keys().copied().collect()
    }

    /// A quorum holds the history of this epoch: all of it is committed.
    fn establish(&mut self, now: Millis, books: &mut Books, out: &mut Vec<Out>) {
        assert!(books.history.last() == self.initial.1, "nothing is proposed before the epoch stands");
        books.committed = self.initial.1;
        books.deliver(out);
        self.enter(Phase::Serving, now);
        for link in self.links() {
            self.welcome(now, link, out);
        }
    }

    /// Commits, in order, what a quorum has logged.
    fn commit(&mut self, books: &mut Books, out: &mut Vec<Out>) {
        let own = if cfg!(mutant = "m18") { books.history.last() } else { books.logged() };
        let marks = self.synced().map(|(server, learner)| (server, learner.acked));
        let Some(mark) = books.quorum.mark(marks.chain(std::iter::once((books.me, own)))) else { return };
        if mark <= books.committed {
            return;
        }
        let news = books.history.after(books.committed).expect("what is not committed is in memory");
        for Record { zxid, blob } in news.take_while(|record| record.zxid <= mark) {
            for (link, learner) in &self.learners {
                let packet = if !learner.is_attached() && !cfg!(mutant = "m36") {
                    continue;
                } else if learner.is_observer() {
                    Packet::Inform { zxid: *zxid, blob: blob.clone() }
                } else {
                    Packet::Commit { zxid: *zxid }
                };
                out.push(Out::Send { link: *link, packet });
            }
        }
        assert!(
            mark.epoch() == self.epoch || cfg!(mutant = "m26"),
            "older epochs are committed with the new leader, not by counting"
        );
        books.committed = mark;
    }

    /// Ends the leadership in good order, where it is to end.
    fn make_way(&self, now: Millis, books: &Books) -> Result<(), Why> {
        let last = books.history.last();
        let is_quiet = books.committed == last && books.delivered() == last;
        if !cfg!(mutant = "m26") && last.epoch() == self.epoch {
            let counter = last.counter();
            if counter >= books.epoch_length && is_quiet || counter >= u32::MAX - 1 {
                return Err("the epoch's zxids come to an end");
            }
        }
        let Some(since) = self.leaving else { return Ok(()) };
        let is_ready = |learner: &Progress| learner.stage == Stage::UpToDate && learner.acked >= last;
        let mut heirs = self.synced().filter(|(_, learner)| is_ready(learner));
        let is_over = now.since(since) > books.times.sync_limit * books.times.tick;
        let is_alone = books.quorum.is_met(std::iter::once(books.me));
        if is_over || is_quiet && (is_alone || heirs.next().is_some()) { Err("the leader hands over") } else { Ok(()) }
    }

    /// Half a tick has passed. An error ends this leadership.
    pub fn time(&mut self, now: Millis, books: &Books, out: &mut Vec<Out>) -> Result<(), Why> {
        self.half_ticks += 1;
        let tick = books.times.tick;
        let (init, sync) = (books.times.init_limit * tick, books.times.sync_limit * tick);
        if self.phase != Phase::Serving && now.since(self.since) > init {
            return Err("no quorum came in time");
        }
        self.forget_acknowledged(books.logged());
        if self.phase == Phase::Serving && self.owes(books.logged(), self.since, now) > sync {
            return Err("this server's own disk is too slow");
        }
        self.dismiss(now, init, sync, out);
        if self.phase == Phase::Serving && self.half_ticks.is_multiple_of(2) {
            let fresh = self.learners.values().filter(|learner| {
                let limit = if learner.stage == Stage::UpToDate { sync } else { init + sync };
                learner.is_voter && learner.stage >= Stage::Registered && now.since(learner.heard) <= limit
            });
            let fresh = fresh.filter_map(Progress::server).chain(std::iter::once(books.me));
            if !books.quorum.is_met(fresh) {
                return Err("no quorum is heard");
            }
        }
        let zxid = books.history.last().max(Zxid::new(self.epoch, 0));
        for (link, _) in self.learners.iter().filter(|(_, learner)| learner.is_attached()) {
            out.push(Out::Send { link: *link, packet: Packet::Ping { zxid, touched: Vec::new() } });
        }
        Ok(())
    }

    /// Forgets when it was proposed what everybody has logged.
    fn forget_acknowledged(&mut self, logged: Zxid) {
        let owing = self.learners.values().filter(|learner| learner.is_attached() && !learner.is_observer());
        let least = owing.map(|learner| learner.acked).fold(logged, Zxid::min);
        while self.proposed.pop_front_if(|(zxid, _)| *zxid <= least).is_some() {}
    }

    /// For how long, in ms, somebody who has logged up to `acked` has owed the next, if it was asked to since `since`.
    fn owes(&self, acked: Zxid, since: Millis, now: Millis) -> u64 {
        let oldest = self.proposed.get(self.proposed.partition_point(|(zxid, _)| *zxid <= acked));
        oldest.map_or(0, |(_, at)| now.since((*at).max(since)))
    }

    /// Gives up learners that have been silent, or owe something, for too long.
    fn dismiss(&mut self, now: Millis, init: u64, sync: u64, out: &mut Vec<Out>) {
        let overdue = |learner: &Progress| match learner.stage {
            Stage::Fresh | Stage::Told | Stage::Attached if now.since(learner.since) > init => {
                Some("it owes a word for too long")
            }
            Stage::UpToDate if now.since(learner.heard) > sync => Some("it is silent"),
            Stage::UpToDate if !learner.is_observer() && self.owes(learner.acked, learner.since, now) > sync => {
                Some("it owes an acknowledgement for too long")
            }
            _ => None,
        };
        let gone: Vec<(Link, Why)> =
            self.learners.iter().filter_map(|(link, learner)| Some((*link, overdue(learner)?))).collect();
        for (link, why) in gone {
            self.drop_learner(link, why, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Found, In, Members, Peer, Role, Times, Token, Write};
    use super::*;
    use crate::ground::ids::SessionId;
    use crate::proto::vote::{Notification, Standing, Vote};

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    fn records(epoch: u32, counters: std::ops::RangeInclusive<u32>) -> Vec<Record> {
        counters.map(|counter| Record { zxid: z(epoch, counter), blob: vec![1; 10].into() }).collect()
    }

    /// Server 3 of voters 1 to 3 and observer 4, with transactions 1.1 to 1.5.
    struct Leader {
        peer: Peer,
        out: Vec<Out>,
        now: u64,
        /// Writes that have not ended, unless they end at once.
        held: Option<Vec<Token>>,
    }

    impl Leader {
        fn new(voters: &[u8]) -> Self {
            let ids = |list: &[u8]| list.iter().map(|id| ServerId(*id)).collect();
            let members = Members { voters: ids(voters), observers: ids(&[4]), text: b"version=0".as_slice().into(), version: 0 };
            let times = Times {
                tick: 1000,
                init_limit: 10,
                sync_limit: 5,
                notification_min: 200,
                notification_max: 1000,
                finalize_wait: 200,
            };
            let found = Found {
                accepted: 1,
                current: 1,
                base: Zxid::ZERO,
                ends: vec![z(1, 5)],
                delivered: z(1, 2),
                is_impaired: false,
                is_new: None,
            };
            let (peer, out) = Peer::new(ServerId(3), members, times, found, Millis(0));
            Self { peer, out, now: 0, held: None }
        }

        fn step(&mut self, input: In) {
            let mut out = Vec::new();
            self.peer.step(Millis(self.now), input, &mut out);
            for effect in out {
                match (&effect, &mut self.held) {
                    (Out::Store { token, .. }, Some(held)) => held.push(*token),
                    (Out::Store { token, .. }, None) => {
                        let token = *token;
                        self.out.push(effect);
                        self.step(In::Stored(token));
                        continue;
                    }
                    _ => {}
                }
                self.out.push(effect);
            }
        }

        fn release(&mut self) {
            for token in self.held.take().expect("writes are held") {
                self.step(In::Stored(token));
            }
        }

        fn time(&mut self, to: u64) {
            while self.now < to {
                self.now = to.min(self.now + 500);
                self.step(In::Time);
            }
        }

        fn elected() -> Self {
            let mut l = Self::new(&[1, 2, 3]);
            let vote = Some(Vote { epoch: 1, zxid: z(1, 5), leader: ServerId(3) });
            l.step(In::Notification {
                from: ServerId(1),
                notification: Notification { standing: Standing::Looking, vote, round: 1, config: None },
            });
            l.time(200);
            l.out.clear();
            l
        }

        fn gets(&mut self, link: u64, packet: Packet) {
            self.step(In::Packet { link: Link(link), packet });
        }

        /// The learner on a link introduces itself; the link has its number.
        fn comes(&mut self, link: u64, accepted: u32) {
            self.step(In::Accepted { link: Link(link) });
            let server = Some(ServerId(u8::try_from(link % 10).expect("a digit")));
            self.gets(link, Packet::Info(LearnerInfo { server, accepted, config_version: 0, is_observer: link % 10 == 4 }));
        }

        fn agrees(&mut self, link: u64, last: Zxid, current: Option<u32>) {
            self.gets(link, Packet::AckEpoch { last, current });
        }

        /// Leads epoch 2 with server 1 on link 1.
        fn established() -> Self {
            let mut l = Self::elected();
            l.comes(1, 1);
            l.agrees(1, z(1, 5), Some(1));
            l.gets(1, Packet::Ack { zxid: z(2, 0) });
            assert_eq!(l.peer.role(), Role::Leading { epoch: 2 });
            l.out.clear();
            l
        }

        fn sent(&mut self, to: u64) -> Vec<Packet> {
            let (sent, rest) = std::mem::take(&mut self.out)
                .into_iter()
                .partition(|effect| matches!(effect, Out::Send { link, .. } if *link == Link(to)));
            self.out = rest;
            let sent: Vec<Out> = sent;
            sent.into_iter().map(|effect| if let Out::Send { packet, .. } = effect { packet } else { unreachable!() }).collect()
        }

        fn why(&self, of: u64) -> Option<Why> {
            self.out.iter().find_map(|effect| match effect {
                Out::HangUp { link, why } if *link == Link(of) => Some(*why),
                _ => None,
            })
        }
    }

    fn new_leader(epoch: u32) -> Packet {
        Packet::NewLeader { epoch, config: Some(b"version=0".as_slice().into()) }
    }

    #[test]
    fn nothing_is_said_of_an_epoch_before_it_is_promised() {
        let mut l = Leader::elected();
        l.held = Some(Vec::new());
        l.comes(1, 7);
        let promise = Write::Promise { accepted: 8, current: 1 };
        assert_eq!(l.out, [Out::Store { token: Token(1), write: promise }]);
        l.release();
        assert_eq!(l.sent(1), [Packet::LeaderInfo { epoch: 8 }]);
    }

    #[test]
    fn the_history_is_committed_by_acknowledging_the_leader() {
        let mut l = Leader::elected();
        l.comes(1, 1);
        l.agrees(1, z(1, 5), Some(1));
        assert_eq!(l.sent(1), [Packet::LeaderInfo { epoch: 2 }, Packet::Diff { to: z(1, 5) }, new_leader(2)]);
        assert_eq!(l.peer.delivered(), z(1, 2));
        l.gets(1, Packet::Ack { zxid: z(2, 0) });
        let rest = [
            Out::Deliver { up_to: z(1, 5) },
            Out::Send { link: Link(1), packet: Packet::UpToDate },
            Out::Became(Role::Leading { epoch: 2 }),
        ];
        l.out.retain(|effect| !matches!(effect, Out::Notify { .. } | Out::Store { .. }));
        assert_eq!(l.out, rest);
    }

    #[test]
    fn whoever_is_newer_ends_a_leadership_before_a_quorum_has_agreed_and_follows_after() {
        let mut l = Leader::elected();
        l.comes(1, 1);
        l.agrees(1, z(1, 6), Some(1));
        assert_eq!(l.why(1), Some("a voter has a newer history"));

        let mut l = Leader::elected();
        l.comes(1, 1);
        l.agrees(1, z(1, 6), None);
        assert!(l.why(1).is_none() && l.peer.role() == Role::Looking, "not counted, not held against it");
        l.comes(2, 1);
        l.agrees(2, z(1, 5), Some(1));
        assert_eq!(l.sent(1).last(), Some(&new_leader(2)));

        let mut l = Leader::established();
        l.comes(2, 1);
        l.agrees(2, z(1, 6), Some(1));
        assert_eq!(l.sent(2)[1], Packet::Trunc { to: z(1, 5) });
    }

    #[test]
    fn a_voter_bound_to_a_newer_epoch_ends_a_leadership_and_the_next_epoch_is_newer() {
        let mut l = Leader::established();
        l.comes(2, 9);
        assert_eq!(l.why(1), Some("a voter has accepted a newer epoch"));
        assert_eq!(l.peer.role(), Role::Looking);
        l.out.clear();
        let vote = Some(Vote { epoch: 2, zxid: z(1, 5), leader: ServerId(3) });
        let notification = Notification { standing: Standing::Looking, vote, round: 2, config: None };
        l.step(In::Notification { from: ServerId(1), notification });
        l.time(1000);
        l.comes(11, 2);
        assert_eq!(l.sent(11), [Packet::LeaderInfo { epoch: 10 }]);
    }

    #[test]
    fn a_quorum_commits_in_order_and_only_what_is_durable_here_is_delivered() {
        let mut l = Leader::established();
        l.held = Some(Vec::new());
        l.step(In::Propose(records(2, 1..=3)));
        assert_eq!(l.sent(1).len(), 3);
        l.gets(1, Packet::Ack { zxid: z(2, 1) });
        l.gets(1, Packet::Ack { zxid: z(2, 2) });
        assert_eq!(l.sent(1), [], "the leader's own acknowledgement is a write that has ended");
        l.release();
        assert_eq!(l.sent(1), [Packet::Commit { zxid: z(2, 1) }, Packet::Commit { zxid: z(2, 2) }]);
        assert_eq!((l.peer.committed(), l.peer.delivered()), (z(2, 2), z(2, 2)));

        // Two followers are a quorum without the leader's disk.
        l.comes(2, 1);
        l.agrees(2, z(1, 5), Some(1));
        let stream = l.sent(2);
        let blob = || vec![1; 10].into();
        let open = Packet::Proposal { zxid: z(2, 3), blob: blob() };
        assert_eq!(
            stream[stream.len() - 4..],
            [Packet::Proposal { zxid: z(2, 2), blob: blob() }, Packet::Commit { zxid: z(2, 2) }, open, new_leader(2)]
        );
        l.held = Some(Vec::new());
        l.step(In::Propose(records(2, 4..=4)));
        l.gets(1, Packet::Ack { zxid: z(2, 3) });
        l.gets(1, Packet::Ack { zxid: z(2, 4) });
        assert_eq!(l.sent(2).last(), Some(&Packet::Commit { zxid: z(2, 3) }));
        l.gets(2, Packet::Ack { zxid: z(2, 0) });
        l.gets(2, Packet::Ack { zxid: z(2, 3) });
        l.gets(2, Packet::Ack { zxid: z(2, 4) });
        assert_eq!((l.peer.committed(), l.peer.delivered()), (z(2, 4), z(2, 3)));
    }

    #[test]
    fn an_observer_gets_history_as_everybody_and_is_then_informed() {
        let mut l = Leader::established();
        l.step(In::Propose(records(2, 1..=1)));
        l.comes(4, 0);
        l.agrees(4, z(1, 5), None);
        assert_eq!(l.sent(4), [Packet::LeaderInfo { epoch: 2 }, Packet::Diff { to: z(1, 5) }, new_leader(2)]);
        l.gets(4, Packet::Ack { zxid: z(2, 0) });
        l.gets(4, Packet::Ack { zxid: z(2, 1) });
        assert_eq!(l.peer.committed(), z(1, 5), "it does not count");
        l.gets(1, Packet::Ack { zxid: z(2, 1) });
        assert_eq!(l.sent(4), [Packet::UpToDate, Packet::Inform { zxid: z(2, 1), blob: vec![1; 10].into() }]);
    }

    #[test]
    fn a_log_that_cannot_be_read_becomes_the_state_before_the_stream_has_begun_only() {
        let mut l = Leader::established();
        l.comes(2, 1);
        l.agrees(2, z(1, 3), Some(1));
        let read = Out::Read { link: Link(2), after: z(1, 3), to: z(1, 5) };
        assert!(l.out.contains(&read));
        l.step(In::History { link: Link(2), records: None });
        assert!(l.out.contains(&Out::SendState { link: Link(2) }));
        l.step(In::StateSent { link: Link(2), at: z(1, 4) });
        l.step(In::History { link: Link(2), records: Some(records(1, 5..=5)) });
        let blob = vec![1; 10].into();
        let told = [
            Packet::LeaderInfo { epoch: 2 },
            Packet::Proposal { zxid: z(1, 5), blob },
            Packet::Commit { zxid: z(1, 5) },
            new_leader(2),
        ];
        assert_eq!(l.sent(2), told);

        l.comes(12, 1);
        l.agrees(12, z(1, 3), None);
        l.step(In::History { link: Link(12), records: Some(records(1, 4..=4)) });
        l.step(In::History { link: Link(12), records: None });
        assert_eq!(l.why(12), Some("the log does not reach back far enough"));
        assert_eq!(l.why(2), Some("the same server has connected anew"));
        l.step(In::History { link: Link(12), records: None });
        l.step(In::StateSent { link: Link(12), at: z(1, 4) });
    }

    #[test]
    fn a_java_learner_that_cannot_read_its_log_is_not_counted_and_gets_the_state() {
        let mut l = Leader::elected();
        l.comes(1, 1);
        l.agrees(1, Zxid::from_wire(-1), Some(1));
        assert_eq!((l.why(1), l.peer.role()), (None, Role::Looking));
        assert_eq!(l.sent(1), [Packet::LeaderInfo { epoch: 2 }], "it is no part of the quorum");
        l.comes(2, 1);
        l.agrees(2, z(1, 5), Some(1));
        assert!(l.out.contains(&Out::SendState { link: Link(1) }));
    }

    #[test]
    fn what_java_learners_send_around_the_words_is_taken() {
        let mut l = Leader::established();
        l.step(In::Propose(records(2, 1..=2)));
        l.gets(1, Packet::Ack { zxid: z(2, 1) });
        l.comes(2, 1);
        l.agrees(2, z(1, 3), Some(1));
        l.step(In::History { link: Link(2), records: Some(records(1, 4..=5)) });
        assert!(matches!(l.sent(2).last(), Some(Packet::NewLeader { .. })));
        // Releases before 3.9.3 log what they were sent through the log's thread, which acknowledges each, before the leader if it is quick.
        for zxid in [z(1, 4), z(1, 5), z(2, 1), z(2, 2), z(2, 0)] {
            l.gets(2, Packet::Ack { zxid });
        }
        assert_eq!(l.sent(2), [Packet::UpToDate, Packet::Commit { zxid: z(2, 2) }]);
        // The leader is acknowledged once more, then clients come at once.
        let request = Packet::Request(crate::proto::packet::Forwarded {
            session: SessionId(4),
            cxid: 0,
            op: -10,
            body: [0, 0, 0x0f, 0xa0].into(),
            who: Vec::new(),
        });
        let revalidate = Packet::Revalidate { session: SessionId(4), timeout_ms: 4000 };
        let packets = vec![Packet::Ack { zxid: z(2, 0) }, request.clone(), revalidate.clone()];
        l.step(In::Train { link: Link(2), packets });
        let upward = |packet: Packet| Out::Upward { link: Link(2), packet };
        assert!(l.out.contains(&upward(request)) && l.out.contains(&upward(revalidate)) && l.why(2).is_none());
    }

    #[test]
    fn hostile_packets_end_a_link_and_nothing_else() {
        let stray = Some("it sent what does not belong here");
        let info = |server: u8, accepted, config_version| {
            Packet::Info(LearnerInfo { server: Some(ServerId(server)), accepted, config_version, is_observer: false })
        };
        for (packet, why) in [
            (Packet::UpToDate, stray),
            (Packet::Ack { zxid: z(2, 1) }, stray),
            (info(9, 0, 5), Some("it knows a newer configuration")),
            (info(3, 0, 0), Some("it cannot be who it says")),
            (info(2, u32::MAX, 0), Some("it cannot be who it says")),
            (info(9, 5, 0), Some("its epoch is newer")),
        ] {
            let mut l = Leader::established();
            l.step(In::Accepted { link: Link(50) });
            l.gets(50, packet);
            assert_eq!((l.why(50), l.peer.role()), (why, Role::Leading { epoch: 2 }));
            l.gets(50, Packet::UpToDate);
        }
        for (packet, why) in [
            (Packet::Ack { zxid: z(2, 2) }, Some("it acknowledged what it was not asked to")),
            (Packet::Ack { zxid: z(2, 3) }, Some("it acknowledged what it was not asked to")),
            (Packet::Ack { zxid: z(9, 1) }, Some("it acknowledged what it was not asked to")),
            (Packet::Ack { zxid: z(1, 4) }, None),
            (Packet::Ack { zxid: z(2, 0) }, None),
            (Packet::AckEpoch { last: z(1, 5), current: Some(1) }, stray),
            (Packet::Sync, stray),
        ] {
            let mut l = Leader::established();
            l.step(In::Propose(records(2, 1..=2)));
            l.gets(1, packet);
            assert_eq!((l.why(1), l.peer.committed()), (why, z(1, 5)));
        }
    }

    #[test]
    fn what_the_crafts_above_are_told() {
        let mut l = Leader::established();
        let touched = vec![(SessionId(9), 4000)];
        l.gets(1, Packet::Ping { zxid: z(1, 5), touched: vec![] });
        l.gets(1, Packet::Ping { zxid: z(1, 5), touched: touched.clone() });
        let packet = Packet::Ping { zxid: z(1, 5), touched };
        assert_eq!(l.out, [Out::Upward { link: Link(1), packet }]);
    }

    #[test]
    fn a_leader_that_hears_no_quorum_steps_down() {
        let mut l = Leader::established();
        l.time(3000);
        l.gets(1, Packet::Ping { zxid: z(1, 5), touched: vec![] });
        l.time(8000);
        assert_eq!(l.peer.role(), Role::Leading { epoch: 2 });
        assert!(l.sent(1).contains(&Packet::Ping { zxid: z(2, 0), touched: vec![] }));
        l.time(9500);
        assert_eq!(l.peer.role(), Role::Looking);
    }

    #[test]
    fn slow_disks_are_not_waited_for() {
        let mut l = Leader::established();
        l.held = Some(Vec::new());
        l.step(In::Propose(records(2, 1..=1)));
        for at in 1..=6 {
            l.time(at * 1000);
            l.gets(1, Packet::Ping { zxid: z(1, 5), touched: vec![] });
        }
        assert_eq!(l.why(1), Some("this server's own disk is too slow"));

        let mut l = Leader::established();
        l.step(In::Propose(records(2, 1..=1)));
        for at in 1..=6 {
            l.time(at * 1000);
            l.gets(1, Packet::Ping { zxid: z(1, 5), touched: vec![] });
        }
        assert_eq!(l.why(1), Some("it owes an acknowledgement for too long"));
    }

    #[test]
    fn it_makes_way_when_told_to_and_when_the_zxids_come_to_an_end() {
        let mut l = Leader::established();
        l.step(In::Propose(records(2, 1..=1)));
        l.step(In::Leave);
        assert_eq!(l.peer.role(), Role::Leading { epoch: 2 });
        l.gets(1, Packet::Ack { zxid: z(2, 1) });
        assert_eq!(l.why(1), Some("the leader hands over"));
        l.out.clear();
        l.time(20_000);
        assert!(l.out.is_empty(), "it votes no more: {:?}", l.out);
        assert!(l.peer.has_gone() && !l.peer.is_only_voter());
        l.step(In::Return);
        let candidate = |out: &Out| matches!(out, Out::Notify { notification, .. } if notification.standing == Standing::Looking);
        assert!(l.out.iter().any(candidate) && !l.peer.has_gone(), "it seeks a leader again: {:?}", l.out);

        let mut l = Leader::established();
        l.peer.set_limits(1000, 2);
        l.step(In::Propose(records(2, 1..=2)));
        l.gets(1, Packet::Ack { zxid: z(2, 1) });
        assert_eq!(l.why(1), None);
        l.gets(1, Packet::Ack { zxid: z(2, 2) });
        assert_eq!(l.why(1), Some("the epoch's zxids come to an end"));
        assert_eq!(l.sent(1).last(), Some(&Packet::Commit { zxid: z(2, 2) }));
    }

    #[test]
    fn nobody_comes_and_the_leadership_ends() {
        let mut l = Leader::elected();
        l.step(In::Accepted { link: Link(50) });
        l.time(10_000);
        assert_eq!(l.why(50), None);
        l.time(11_500);
        assert_eq!(l.why(50), Some("no quorum came in time"));
    }

    #[test]
    fn early_learners_wait_until_it_is_known_who_leads() {
        let mut l = Leader::new(&[1, 2, 3]);
        l.comes(1, 1);
        assert_eq!(l.why(1), None);
        l.step(In::Accepted { link: Link(50) });
        l.gets(50, Packet::UpToDate);
        assert_eq!(l.why(50), Some("it sent what does not belong here"));
        let vote = Some(Vote { epoch: 1, zxid: z(1, 5), leader: ServerId(3) });
        let notification = Notification { standing: Standing::Looking, vote, round: 1, config: None };
        l.step(In::Notification { from: ServerId(1), notification });
        l.time(200);
        assert_eq!(l.sent(1), [Packet::LeaderInfo { epoch: 2 }]);
    }

    #[test]
    fn alone_it_leads_by_itself() {
        let mut l = Leader::new(&[3]);
        l.time(1000);
        assert_eq!((l.peer.role(), l.peer.delivered()), (Role::Leading { epoch: 2 }, z(1, 5)));
        l.step(In::Propose(records(2, 1..=2)));
        assert_eq!(l.peer.delivered(), z(2, 2));
        l.step(In::Leave);
        assert_eq!(l.peer.role(), Role::Looking);
    }
}
