//! Process: what drives one simulated server's peer and keeps its log, as the runtime does in the real one. Decides nothing of Zab's.

use std::collections::{BTreeMap, VecDeque};

use super::boot::{Boot, IMAGE_UNFINISHED, IMPAIRED, RECEIVED, image_name};
use super::case::Settings;
use super::chance::Chance;
use super::disk::{Dir, Disk, Op};
use super::log::{Entry, Log, Mark, State};
use super::papers::Cabinet;
use crate::ground::ids::Zxid;
use crate::storage::cut::Cut;
use crate::storage::manifest::Manifest;
use crate::storage::promise::Promise;
use crate::storage::retention::{self, Kept, Policy};
use crate::storage::segment::SegmentStart;
use crate::zab::{Found, Link, Peer, Record, Role, Token, Write};

/// Work for the disk, and what follows when it is done.
#[derive(Debug)]
pub struct Job {
    /// What to do, in order.
    pub ops: VecDeque<Op>,
    /// What it was for.
    pub then: Then,
}

/// What a piece of work was for.
#[derive(Debug)]
pub enum Then {
    /// A batch of the log.
    Flight(u64),
    /// Epochs promised.
    Promise(Token, Promise),
    /// The log was cut.
    Cut(Token, Zxid, Box<Cut>),
    /// A state has taken the place of everything.
    Install(Token, State, Box<Log>),
    /// The server has all again.
    Restored(Token),
    /// A segment was made.
    Made(SegmentStart),
    /// An image was written.
    Image(State),
    /// The manifest asks for less.
    Released(Vec<Zxid>, Vec<u64>),
    /// Nothing follows.
    Chore,
    /// Recovery has ended.
    Boot(Box<Boot>),
}

impl Then {
    /// What it was for, in a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flight(_) => "batch durable",
            Self::Promise(..) => "promise durable",
            Self::Cut(..) => "log cut",
            Self::Install(..) => "state in force",
            Self::Restored(_) => "unimpaired",
            Self::Made(_) => "segment made",
            Self::Image(_) => "image written",
            Self::Released(..) => "manifest written",
            Self::Chore => "chore done",
            Self::Boot(_) => "ready to start",
        }
    }
}

/// A write that has to wait until nothing else is under way.
#[derive(Debug)]
enum Item {
    Entry(Entry),
    Alone(Token, Write),
}

/// What a write waits for before it is answered.
#[derive(Debug)]
enum Until {
    Logged(Zxid),
    Alone,
    Done,
}

/// What must be, or may be, on the disk of a server that ends.
#[derive(Clone, Debug)]
pub struct Remains {
    /// How many transactions come before `marks`.
    pub base: u64,
    /// The log with what was in flight.
    pub marks: Vec<Mark>,
    /// How many transactions, from the first one ever, were durable.
    pub durable: u64,
    /// A state that was being put in force, and the log behind it.
    pub install: Option<(State, Vec<Mark>)>,
    /// Epochs promised durably.
    pub promised: Promise,
    /// Epochs that were being promised.
    pub promising: Promise,
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    /// Its part in the ensemble.
    pub peer: Peer,
    /// What it was told to be.
    pub role: Role,
    /// Its log.
    pub log: Log,
    /// Its papers.
    pub cabinet: Cabinet,
    /// What its promise says durably.
    pub promised: Promise,
    /// What was delivered.
    pub state: State,
    /// The delivered mark, as the peer told it.
    pub delivered: Zxid,
    /// Finished images.
    pub images: BTreeMap<Zxid, State>,
    /// A state that has come, by its link.
    pub received: Option<(Link, State)>,
    /// Learners that are sent a state and what follows it.
    pub pins: BTreeMap<u64, Zxid>,
    /// The last transaction that was proposed here as the leader.
    pub proposed: Zxid,
    /// It was told to stop.
    pub is_leaving: bool,
    /// Work that is to be started.
    pub jobs: Vec<Job>,
    settings: Settings,
    queue: VecDeque<Item>,
    answers: VecDeque<(Token, Until)>,
    /// Something that bears nothing beside it is under way; for a cut, where it leads.
    alone: Option<Option<Zxid>>,
    installing: Option<(State, Vec<Mark>)>,
    is_archiving: bool,
    is_making: bool,
    /// Segments wanted beyond the usual.
    more: usize,
}

impl Process {
    /// What a peer is to know of what a start has found.
    #[must_use]
    pub fn known(boot: &Boot) -> Found {
        let promise = boot.cabinet.promised();
        let mut ends: Vec<Zxid> = Vec::new();
        for entry in boot.log.entries() {
            match ends.last_mut().filter(|end| end.epoch() == entry.mark.zxid.epoch()) {
                Some(end) => *end = entry.mark.zxid,
                None => ends.push(entry.mark.zxid),
            }
        }
        Found {
            accepted: promise.accepted,
            current: promise.current,
            base: boot.log.base().1,
            ends,
            delivered: boot.committed,
            is_impaired: boot.is_impaired,
            is_new: None,
        }
    }

    /// Goes on after a start.
    #[must_use]
    pub fn new(boot: Boot, peer: Peer, settings: Settings, images: BTreeMap<Zxid, State>) -> Self {
        let Boot { log, cabinet, image, committed, .. } = boot;
        let promised = cabinet.promised();
        Self {
            peer,
            role: Role::Looking,
            log,
            cabinet,
            promised,
            state: image,
            delivered: committed,
            images,
            received: None,
            pins: BTreeMap::new(),
            proposed: Zxid::ZERO,
            is_leaving: false,
            jobs: Vec::new(),
            settings,
            queue: VecDeque::new(),
            answers: VecDeque::new(),
            alone: None,
            installing: None,
            is_archiving: false,
            is_making: false,
            more: 0,
        }
    }

    /// What must be on its disk if it ends now.
    #[must_use]
    pub fn remains(&self) -> Remains {
        let mut durable = self.log.durable_count();
        if let Some(Some(to)) = self.alone {
            durable = durable.min(self.log.base().0 + self.log.after(to) as u64);
        }
        Remains {
            base: self.log.base().0,
            marks: self.log.entries().map(|entry| entry.mark).collect(),
            durable,
            install: self.installing.clone(),
            promised: self.promised,
            promising: self.cabinet.promised(),
        }
    }

    /// Transactions that wait to be written or are in flight.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.queue.len() + self.answers.len()
    }

    /// Takes a write.
    pub fn store(&mut self, token: Token, write: Write) {
        match write {
            Write::Append(records) => {
                let mut last = Zxid::ZERO;
                for record in records {
                    let entry = Entry::of(&record.blob).expect("bytes begin with a zxid");
                    assert_eq!(entry.mark.zxid, record.zxid, "a record is what it says");
                    last = record.zxid;
                    self.queue.push_back(Item::Entry(entry));
                }
                self.answers.push_back((token, Until::Logged(last)));
            }
            write => {
                self.queue.push_back(Item::Alone(token, write));
                self.answers.push_back((token, Until::Alone));
            }
        }
    }

    /// Starts what can be started. An error says what cannot be done.
    pub fn pump(&mut self, disk: &Disk, chance: &mut Chance) -> Result<(), String> {
        while self.alone.is_none() {
            match self.queue.front() {
                None => break,
                Some(Item::Entry(_)) => {
                    if !self.fly() {
                        break;
                    }
                }
                Some(Item::Alone(..)) => {
                    if self.log.in_flight() > 0 || !self.begin(disk)? {
                        break;
                    }
                }
            }
        }
        if !self.is_making
            && let Some((ops, start)) = self.log.make(chance.any(), self.more)
        {
            self.is_making = true;
            self.jobs.push(Job { ops, then: Then::Made(start) });
        }
        Ok(())
    }

    /// Sends a batch to the log.
    fn fly(&mut self) -> bool {
        if self.log.in_flight() >= usize::try_from(self.settings.flights).expect("a few") {
            return false;
        }
        let most = usize::try_from(self.settings.batch).expect("a few");
        let mut entries = Vec::new();
        let mut len = 0;
        for item in &self.queue {
            let Item::Entry(entry) = item else { break };
            len += 4 + entry.blob.len();
            if entries.len() == most || !entries.is_empty() && self.log.is_too_long(len) {
                break;
            }
            entries.push(entry.clone());
        }
        let count = entries.len();
        let Some((ops, sequence)) = self.log.append(entries, self.delivered) else { return false };
        self.queue.drain(..count);
        self.jobs.push(Job { ops, then: Then::Flight(sequence) });
        true
    }

    /// Begins a write that bears nothing beside it.
    fn begin(&mut self, disk: &Disk) -> Result<bool, String> {
        let Some(Item::Alone(token, write)) = self.queue.front() else { return Ok(false) };
        let token = *token;
        let mut ops = VecDeque::new();
        let then = match write {
            Write::Promise { accepted, current } => {
                let promise = Promise { accepted: *accepted, current: *current };
                self.cabinet.promise(promise, &mut ops);
                Then::Promise(token, promise)
            }
            Write::Restored => {
                if disk.read(Dir::Log, IMPAIRED).is_some() {
                    ops.push_back(Op::Remove(Dir::Log, IMPAIRED.into()));
                    ops.push_back(Op::SyncNames(Dir::Log));
                }
                Then::Restored(token)
            }
            Write::Cut { to } => {
                let to = *to;
                if cfg!(mutant = "m11") {
                    self.queue.pop_front();
                    self.jobs.push(Job { ops, then: Then::Restored(token) });
                    self.alone = Some(None);
                    return Ok(true);
                }
                if self.is_archiving || !self.log.has_spare() {
                    return Ok(false);
                }
                self.cabinet.lower(to, &mut ops);
                let (cut, more) = self.log.plan_cut(disk, to).map_err(|error| error.to_string())?;
                ops.extend(more);
                if let Some(oldest) = cut.oldest {
                    let said = self.cabinet.manifested();
                    self.cabinet.manifest(Manifest { oldest, ..said }, &mut ops);
                }
                self.alone = Some(Some(to));
                Then::Cut(token, to, Box::new(cut))
            }
            Write::Install { link, at, tail } => {
                if self.is_archiving {
                    return Ok(false);
                }
                let received = self.received.filter(|(from, _)| from == link).map(|(_, state)| state);
                let state = received.ok_or("the state to be installed has not come")?;
                if state.at != *at {
                    return Err(format!("the state that came stands at {}, not at {at}", state.at));
                }
                let tail: Vec<Entry> = tail.iter().filter_map(|record| Entry::of(&record.blob)).collect();
                let Some((new, writes)) = self.log.plan_restart(state, &tail) else {
                    self.more += 1;
                    return Ok(false);
                };
                self.more = 0;
                ops.push_back(Op::Sync(Dir::Images, RECEIVED.into()));
                ops.push_back(Op::Rename(Dir::Images, RECEIVED.into(), image_name(state.at)));
                ops.push_back(Op::SyncNames(Dir::Images));
                ops.extend(writes);
                self.cabinet.lower(new.last(), &mut ops);
                let said = self.cabinet.manifested();
                let oldest = if cfg!(mutant = "m13") { said.oldest } else { new.oldest() };
                let manifest = Manifest { oldest, image: said.image.max(state.at), ..said };
                self.cabinet.manifest(manifest, &mut ops);
                self.installing = Some((state, tail.iter().map(|entry| entry.mark).collect()));
                Then::Install(token, state, Box::new(new))
            }
            Write::Append(_) => unreachable!("transactions are queued one by one"),
        };
        self.queue.pop_front();
        self.alone.get_or_insert(None);
        self.jobs.push(Job { ops, then });
        Ok(true)
    }

    /// Takes the end of a piece of work. What it answers comes from [`answers`](Self::answers).
    pub fn done(&mut self, then: Then) {
        match then {
            Then::Flight(sequence) => self.log.flushed(sequence),
            Then::Promise(token, promise) => {
                self.promised = promise;
                self.free(token);
            }
            Then::Restored(token) => self.free(token),
            Then::Cut(token, to, cut) => {
                let gone = self.log.is_cut(&cut, to);
                if !gone.is_empty() {
                    let ops = self.log.retire(&gone, 2);
                    self.jobs.push(Job { ops, then: Then::Chore });
                    self.is_archiving = true;
                }
                self.free(token);
            }
            Then::Install(token, state, new) => {
                let gone = self.log.restarted(*new);
                let ops = self.log.retire(if cfg!(mutant = "m13") { &[] } else { &gone }, 2);
                self.jobs.push(Job { ops, then: Then::Chore });
                self.is_archiving = true;
                self.images.insert(state.at, state);
                self.state = state;
                self.received = None;
                self.installing = None;
                self.free(token);
            }
            Then::Made(start) => {
                self.is_making = false;
                self.log.made(start);
            }
            Then::Image(state) => {
                self.images.insert(state.at, state);
                self.release();
            }
            Then::Released(images, segments) => {
                let mut ops = self.log.retire(&segments, 2);
                for at in images {
                    self.images.remove(&at);
                    ops.push_back(Op::Remove(Dir::Images, image_name(at)));
                }
                ops.push_back(Op::SyncNames(Dir::Images));
                self.jobs.push(Job { ops, then: Then::Chore });
            }
            Then::Chore => self.is_archiving = false,
            Then::Boot(_) => unreachable!("a process runs after its start"),
        }
    }

    fn free(&mut self, token: Token) {
        self.alone = None;
        let answer = self.answers.iter_mut().find(|(other, _)| *other == token);
        answer.expect("a write is answered once").1 = Until::Done;
    }

    /// The next write that is done, in the order of the writes.
    pub fn answer(&mut self) -> Option<Token> {
        let durable = self.log.durable();
        let is_ready = match &self.answers.front()?.1 {
            // What a cut behind it has removed again was durable before.
            Until::Logged(zxid) => *zxid <= durable,
            Until::Alone => false,
            Until::Done => true,
        };
        is_ready.then(|| self.answers.pop_front().expect("it was just looked at").0)
    }

    /// Lets the log go that the newest images do not need.
    fn release(&mut self) {
        let kept = |at: &Zxid| Kept { zxid: *at, bytes: 1, is_verified: true };
        let images: Vec<Kept> = self.images.keys().map(kept).collect();
        let pinned = self.pins.values().min().copied();
        let verdict = retention::judge(&images, &self.log.extents(), Policy { images: 2, bytes: 0 }, pinned);
        let said = self.cabinet.manifested();
        let manifest = Manifest { oldest: verdict.oldest.max(said.oldest), image: verdict.newest.max(said.image), ..said };
        let mut ops = VecDeque::new();
        if manifest != said {
            self.cabinet.manifest(manifest, &mut ops);
        }
        self.jobs.push(Job { ops, then: Then::Released(verdict.images, verdict.segments) });
    }

    /// What is done now and then: the watermark, an image.
    pub fn chore(&mut self) {
        if self.is_archiving || matches!(self.queue.front(), Some(Item::Alone(..))) || self.alone.is_some() {
            return;
        }
        let newest = self.images.values().last().map_or(0, |image| image.count);
        let mut ops = VecDeque::new();
        if self.state.count >= newest + self.settings.image_every {
            let bytes = self.state.encode();
            ops.push_back(Op::Create(Dir::Images, IMAGE_UNFINISHED.into()));
            ops.push_back(Op::Write(Dir::Images, IMAGE_UNFINISHED.into(), 0, bytes.into()));
            ops.push_back(Op::Sync(Dir::Images, IMAGE_UNFINISHED.into()));
            ops.push_back(Op::Rename(Dir::Images, IMAGE_UNFINISHED.into(), image_name(self.state.at)));
            if !cfg!(mutant = "m29") {
                ops.push_back(Op::SyncNames(Dir::Images));
            }
            self.jobs.push(Job { ops, then: Then::Image(self.state) });
        } else if self.log.durable() > self.cabinet.marked() {
            self.cabinet.raise(self.log.durable(), &mut ops);
            self.jobs.push(Job { ops, then: Then::Chore });
        } else {
            return;
        }
        self.is_archiving = true;
    }

    /// A state came: it lies in a file of its own, not durable yet.
    pub fn receive(&mut self, link: Link, state: State, disk: &mut Disk) {
        disk.apply(&Op::Create(Dir::Images, RECEIVED.into()));
        disk.apply(&Op::Write(Dir::Images, RECEIVED.into(), 0, state.encode().into()));
        self.received = Some((link, state));
        if cfg!(mutant = "m08") {
            self.state = state;
        }
    }

    /// Everything up to a mark may be shown: the transactions that are new, with their places, and the state behind each.
    pub fn deliver(&mut self, up_to: Zxid) -> Vec<(Mark, State)> {
        self.delivered = up_to;
        let from = self.log.after(self.state.at);
        let to = self.log.after(up_to);
        let mut shown = Vec::with_capacity(to.saturating_sub(from));
        for entry in self.log.entries().take(to).skip(from) {
            self.state.apply(entry.mark);
            shown.push((entry.mark, self.state));
        }
        shown
    }

    /// The next transactions of this leader's epoch.
    pub fn propose(&mut self, epoch: u32, bodies: Vec<Vec<u8>>) -> Vec<Record> {
        let mut records = Vec::with_capacity(bodies.len());
        for body in bodies {
            let before = if self.proposed.epoch() == epoch { self.proposed } else { Zxid::new(epoch, 0) };
            let Some(zxid) = before.next() else { break };
            self.proposed = zxid;
            let mut bytes = zxid.0.to_be_bytes().to_vec();
            bytes.extend(body);
            records.push(Record { zxid, blob: bytes.into() });
        }
        records
    }

    /// A state to send to a learner, from which on the log has all.
    #[must_use]
    pub fn state_to_send(&self, chance: &mut Chance) -> State {
        let from = self.log.base().1;
        let images: Vec<State> = self.images.values().filter(|state| state.at >= from).copied().collect();
        if images.is_empty() || chance.coin() { self.state } else { images[images.len() - 1] }
    }
}
