//! Process: what drives one simulated server's engines and keeps its log, as the runtime does in the real one. Decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::boot::{Boot, IMAGE_UNFINISHED, IMPAIRED, RECEIVED, image_name};
use super::case::Settings;
use super::chance::Chance;
use super::disk::{Dir, Disk, Op};
use super::fuzz::{self, Copying};
use super::job::{Job, Then};
use super::log::{Entry, Log, Mark, State};
use super::papers::Cabinet;
use super::snapshot::{SEEDS, Snapshot};
use crate::auth::AuthConfig;
use crate::engine::archivist::load::Loaded;
use crate::engine::archivist::policy::Policy;
use crate::engine::archivist::{Archivist, Start};
use crate::engine::message::Inward;
use crate::engine::sequencer::{Done, FlushKnobs, Restore, Sequencer};
use crate::engine::shard::{Flow, Mute, Shard, ShardConfig};
use crate::ground::ids::{ConnId, ServerId, SessionId, ShardId, Zxid};
use crate::ground::limits::{BLOCK, FRAME_MAX_DEFAULT};
use crate::ground::time::Now;
use crate::proto::packet::Blob;
use crate::session::Ids;
use crate::storage::manifest::Manifest;
use crate::storage::promise::Promise;
use crate::storage::retention::{self, Kept, Policy as Keeping};
use crate::tree::view::View;
use crate::zab::{Bootstrap, EPOCH_LENGTH, Found, HISTORY_BYTES, Link, Members, Record, Role, Token, Write};

/// Bytes of a segment that the largest transactions take besides the batch they go into.
const LARGEST: u64 = 6000;

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
pub struct Process {
    /// What orders writes.
    pub engine: Sequencer,
    /// What meets clients.
    pub shard: Shard,
    /// What remembers.
    pub archivist: Archivist,
    /// What it is, as far as the world has seen.
    pub role: Role,
    /// Its log.
    pub log: Log,
    /// Its papers.
    pub cabinet: Cabinet,
    /// What its promise says durably.
    pub promised: Promise,
    /// What was delivered, as the ghost knows it.
    pub state: State,
    /// The delivered mark, as the world has seen it.
    pub delivered: Zxid,
    /// Finished images.
    pub images: BTreeMap<Zxid, Snapshot>,
    /// A state that has come and is not exact yet.
    copying: Option<Copying>,
    /// A state that is ready, by its link.
    pub received: Option<(Link, Snapshot)>,
    /// Learners that are sent a state and what follows it.
    pub pins: BTreeMap<u64, Zxid>,
    /// It was told to stop.
    pub is_leaving: bool,
    /// Work that is to be started.
    pub jobs: Vec<Job>,
    /// The newest transaction of this leader's that the oracle has heard of.
    pub noted: Zxid,
    /// Connections that their clients have given up.
    pub hung_up: Vec<ConnId>,
    /// What the shard has said and the engine has not taken.
    pub inward: VecDeque<Inward>,
    /// Of which it has taken so much.
    pub inward_begun: Option<(Inward, usize)>,
    /// Sessions of a state that has just been put in force.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Everything that clients have sent up to then has been heard.
    pub heard: Now,
    settings: Settings,
    me: ServerId,
    /// What the engine wants done alone, and is not begun.
    task: Option<(Token, Write)>,
    /// Something that bears nothing beside it is under way; for a cut, where it leads.
    alone: Option<Option<Zxid>>,
    installing: Option<(State, Vec<Mark>)>,
    is_archiving: bool,
    is_making: bool,
    /// Segments wanted beyond the usual.
    more: usize,
}

/// Whose process it is, and when.
#[derive(Debug)]
pub struct Whose {
    /// Its number.
    pub me: ServerId,
    /// The present.
    pub now: Now,
}

fn archivist(view: View, sessions: BTreeMap<SessionId, i32>, zxid: Zxid, me: ServerId) -> Archivist {
    let start = Start { view, sessions, zxid, archived: Zxid::ZERO, transactions: 0, bytes: 0 };
    Archivist::new(start, Policy { transactions: u64::MAX, bytes: 0 }, me, 1)
}

impl Process {
    /// What a peer is to know of what a start has found.
    #[must_use]
    pub fn known(boot: &Boot, settings: &Settings) -> Found {
        let promise = boot.cabinet.promised();
        let mut ends: Vec<Zxid> = Vec::new();
        for entry in boot.log.entries() {
            match ends.last_mut().filter(|end| end.epoch() == entry.mark.zxid.epoch()) {
                Some(end) => *end = entry.mark.zxid,
                None => ends.push(entry.mark.zxid),
            }
        }
        let has_nothing = promise.accepted == 0 && ends.is_empty() && boot.log.base().0 == 0;
        let rule = match settings.bootstrap {
            0 => None,
            1 => Some(Bootstrap::Majority),
            _ => Some(Bootstrap::All),
        };
        Found {
            accepted: promise.accepted,
            current: promise.current,
            base: boot.log.base().1,
            ends,
            delivered: boot.committed,
            is_impaired: boot.is_impaired,
            is_new: rule.filter(|_| boot.is_impaired && has_nothing),
        }
    }

    /// Goes on after a start. An error says what of it cannot be used.
    pub fn new(boot: Boot, found: Found, members: Members, settings: Settings, at: &Whose) -> Result<Self, String> {
        let Whose { me, now } = *at;
        let (mut restored, pending) = boot.restore(settings.tick, now)?;
        restored.show_configuration(&members, now.wall);
        let Boot { log, appender, cabinet, image, committed, .. } = boot;
        let promised = cabinet.promised();
        let view = restored.ledger.tree().view().clone();
        let sessions = restored.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
        let room = (settings.segment - 1) * BLOCK as u64;
        let knobs = FlushKnobs {
            flights: usize::try_from(settings.flights).expect("a few"),
            batch_bytes: usize::try_from((settings.batch * 200).min(room - LARGEST.min(room / 2))).expect("a small batch"),
            linger_us: 0,
            adapts: settings.adapts > 0,
        };
        let ids = Ids::starting(now.wall.0.unsigned_abs(), me);
        let last = restored.last;
        let engine = Sequencer::new(restored, ids, appender, knobs, 1, now);
        let mut engine = engine.join(me, members, settings.times(), found, pending, now);
        let limit = |limit: u64, of_a_server| if limit == 0 { of_a_server } else { limit };
        engine.set_limits(
            usize::try_from(limit(settings.memory, HISTORY_BYTES as u64)).expect("a few"),
            u32::try_from(limit(settings.epoch, EPOCH_LENGTH.into())).expect("a few"),
        );
        let config = ShardConfig {
            id: ShardId(0),
            frame_max: FRAME_MAX_DEFAULT,
            flow: Flow::default(),
            min_timeout_ms: i32::try_from(2 * settings.tick).expect("a tick"),
            max_timeout_ms: i32::try_from(20 * settings.tick).expect("a tick"),
            sessionless_ms: 10_000,
            tick_ms: settings.tick,
            auth: AuthConfig::default(),
            is_member: true,
            words: Arc::new(Mute),
            audit: None,
        };
        Ok(Self {
            engine,
            shard: Shard::new(config, view.clone(), last, SEEDS, now),
            archivist: archivist(view, sessions, last, me),
            role: Role::Looking,
            log,
            cabinet,
            promised,
            state: image.state,
            delivered: committed,
            images: BTreeMap::new(),
            copying: None,
            received: None,
            pins: BTreeMap::new(),
            is_leaving: false,
            jobs: Vec::new(),
            noted: Zxid::ZERO,
            hung_up: Vec::new(),
            inward: VecDeque::new(),
            inward_begun: None,
            sessions: BTreeMap::new(),
            heard: now,
            settings,
            me,
            task: None,
            alone: None,
            installing: None,
            is_archiving: false,
            is_making: false,
            more: 0,
        })
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

    /// Starts what can be started. An error says what cannot be done.
    pub fn pump(&mut self, disk: &Disk, chance: &mut Chance, now: Now) -> Result<(), String> {
        while self.alone.is_none()
            && self.task.is_none()
            && let Some(len) = self.engine.due(now)
        {
            if !self.engine.fits(len) {
                let Some(next) = self.log.roll() else { break };
                self.engine.roll(next);
            }
            let mut out = vec![0; len];
            let at = self.engine.frame(&mut out, now);
            let ops = self.log.framed(&at, out)?;
            self.jobs.push(Job { ops, then: Then::Flight(at.sequence) });
        }
        if !self.is_making
            && let Some((ops, start)) = self.log.make(chance.any(), self.more)
        {
            self.is_making = true;
            self.jobs.push(Job { ops, then: Then::Made(start) });
        }
        if self.alone.is_none()
            && self.log.in_flight() == 0
            && let Some((token, write)) = self.task.take()
            && !self.begin(token, &write, disk)?
        {
            self.task = Some((token, write));
        }
        Ok(())
    }

    /// What the engine wants done alone, when it says so for the first time.
    pub fn take_task(&mut self) -> Option<Write> {
        if self.task.is_some() || self.alone.is_some() {
            return None;
        }
        self.task = self.engine.task();
        self.task.as_ref().map(|(_, write)| write.clone())
    }

    /// Begins a write that bears nothing beside it.
    fn begin(&mut self, token: Token, write: &Write, disk: &Disk) -> Result<bool, String> {
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
                if self.is_archiving || !self.log.has_spare() {
                    return Ok(false);
                }
                self.cabinet.lower(to, &mut ops);
                let (cut, more) = self.log.plan_cut(disk, to).map_err(|error| error.to_string())?;
                if cfg!(mutant = "m11") {
                    ops.clear();
                } else {
                    ops.extend(more);
                    if let Some(oldest) = cut.oldest {
                        let said = self.cabinet.manifested();
                        self.cabinet.manifest(Manifest { oldest, ..said }, &mut ops);
                    }
                }
                self.alone = Some(Some(to));
                Then::Cut(token, to, Box::new(cut))
            }
            Write::Install { link, at, tail } => {
                if self.is_archiving {
                    return Ok(false);
                }
                let received = self.received.as_ref().filter(|(from, _)| from == link).map(|(_, snapshot)| snapshot);
                let snapshot = received.ok_or("the state to be installed has not come")?;
                let state = snapshot.state;
                if state.at != *at {
                    return Err(format!("the state that came stands at {}, not at {at}", state.at));
                }
                let tail: Vec<Entry> = tail.iter().filter_map(|record| Entry::of(&record.blob)).collect();
                let Some((new, appender, writes)) = self.log.plan_restart(state, &tail) else {
                    self.more += 1;
                    return Ok(false);
                };
                let loaded = snapshot.load().map_err(|error| format!("a state that came is {error}"))?;
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
                Then::Install(token, state, Box::new((new, appender, loaded)))
            }
            Write::Append(_) => unreachable!("transactions are framed"),
        };
        self.alone.get_or_insert(None);
        self.jobs.push(Job { ops, then });
        Ok(true)
    }

    /// Lets go of segments, and does some more.
    fn retire(&mut self, segments: &[u64], more: VecDeque<Op>) {
        let (mut ops, kept) = self.log.retire(segments, 2);
        ops.extend(more);
        self.jobs.push(Job { ops, then: Then::Retired(kept) });
    }

    /// Takes the end of a piece of work.
    pub fn done(&mut self, then: Then, now: Now) {
        match then {
            Then::Flight(sequence) => {
                self.log.flushed(sequence);
                self.engine.flushed(sequence, now);
            }
            Then::Promise(token, promise) => {
                self.promised = promise;
                self.free(token, Done::Plain, now);
            }
            Then::Restored(token) => self.free(token, Done::Plain, now),
            Then::Cut(token, to, cut) => {
                let (appender, gone) = self.log.is_cut(&cut, to);
                if !gone.is_empty() {
                    self.retire(&gone, VecDeque::new());
                    self.is_archiving = true;
                }
                self.free(token, Done::Cut(appender), now);
            }
            Then::Install(token, state, new) => {
                let (log, appender, loaded) = *new;
                let gone = self.log.restarted(log);
                self.retire(if cfg!(mutant = "m13") { &[] } else { &gone }, VecDeque::new());
                self.is_archiving = true;
                let (_, snapshot) = self.received.take().expect("what was installed had come");
                self.images.insert(state.at, snapshot);
                self.state = state;
                self.installing = None;
                self.sessions.clone_from(&loaded.sessions);
                let restore = Restore::after(loaded, SEEDS, self.settings.tick, true);
                let (restored, _) = restore.finish(AuthConfig::default(), now.mono());
                self.free(token, Done::Installed { restored: Box::new(restored), appender }, now);
            }
            Then::Made(start) => {
                self.is_making = false;
                self.log.made(start);
            }
            Then::Image(snapshot) => {
                self.images.insert(snapshot.state.at, *snapshot);
                self.release();
            }
            Then::Released(images, segments) => {
                let mut more = VecDeque::new();
                for at in images {
                    self.images.remove(&at);
                    more.push_back(Op::Remove(Dir::Images, image_name(at)));
                }
                more.push_back(Op::SyncNames(Dir::Images));
                self.retire(&segments, more);
            }
            Then::Retired(kept) => {
                self.log.set_aside(&kept);
                self.is_archiving = false;
            }
            Then::Chore => self.is_archiving = false,
            Then::Boot(_) => unreachable!("a process runs after its start"),
        }
    }

    fn free(&mut self, token: Token, done: Done, now: Now) {
        self.alone = None;
        self.engine.task_done(token, done, now);
    }

    /// The archivist goes on from a state that was put in force.
    pub fn reset(&mut self, view: &View, at: Zxid) {
        self.archivist = archivist(view.clone(), std::mem::take(&mut self.sessions), at, self.me);
    }

    /// Lets the log go that the newest images do not need.
    fn release(&mut self) {
        let kept = |at: &Zxid| Kept { zxid: *at, bytes: 1, is_verified: true };
        let images: Vec<Kept> = self.images.keys().map(kept).collect();
        let pinned = self.pins.values().min().copied();
        let verdict = retention::judge(&images, &self.log.extents(), Keeping { images: 2, bytes: 0 }, pinned);
        let said = self.cabinet.manifested();
        let manifest = Manifest { oldest: verdict.oldest.max(said.oldest), image: verdict.newest.max(said.image), ..said };
        let mut ops = VecDeque::new();
        if manifest != said {
            self.cabinet.manifest(manifest, &mut ops);
        }
        self.jobs.push(Job { ops, then: Then::Released(verdict.images, verdict.segments) });
    }

    /// What is done now and then: the watermark, an image.
    pub fn chore(&mut self, now: Now) {
        if self.is_archiving || self.task.is_some() || self.alone.is_some() {
            return;
        }
        let newest = self.images.values().last().map_or(0, |image| image.state.count);
        let mut ops = VecDeque::new();
        if self.state.count >= newest + self.settings.image_every && self.state.at == self.archivist.applied() {
            let snapshot = Snapshot::of(&mut self.archivist, self.state, now);
            let bytes = snapshot.encode();
            ops.push_back(Op::Create(Dir::Images, IMAGE_UNFINISHED.into()));
            ops.push_back(Op::Write(Dir::Images, IMAGE_UNFINISHED.into(), 0, bytes.into()));
            ops.push_back(Op::Sync(Dir::Images, IMAGE_UNFINISHED.into()));
            ops.push_back(Op::Rename(Dir::Images, IMAGE_UNFINISHED.into(), image_name(self.state.at)));
            if !cfg!(mutant = "m29") {
                ops.push_back(Op::SyncNames(Dir::Images));
            }
            self.jobs.push(Job { ops, then: Then::Image(Box::new(snapshot)) });
        } else if self.log.durable() > self.cabinet.marked() {
            self.cabinet.raise(self.log.durable(), &mut ops);
            self.jobs.push(Job { ops, then: Then::Chore });
        } else {
            return;
        }
        self.is_archiving = true;
    }

    /// A state came.
    pub fn receive(&mut self, link: Link, snapshot: &Snapshot) -> Result<(), String> {
        let load = || snapshot.load().map_err(|error| format!("a state that came is {error}"));
        if cfg!(mutant = "m08") {
            let Loaded { tree, sessions, zxid } = load()?;
            self.archivist = archivist(tree.into_view(), sessions, zxid, self.me);
        }
        self.copying = Some(Copying::new(link, load()?, snapshot.state));
        Ok(())
    }

    /// A transaction belongs into the state that came.
    pub fn fold(&mut self, link: Link, record: &Record) -> Result<(), String> {
        let copying = self.copying.as_mut().filter(|copying| copying.link == link);
        copying.ok_or("no state has come for a transaction")?.fold(record)
    }

    /// The state that came is exact: it lies in a file of its own, not durable yet.
    pub fn finish(&mut self, link: Link, at: Zxid, now: Now, disk: &mut Disk) -> Result<(), String> {
        let copying = self.copying.take().filter(|copying| copying.link == link).ok_or("no state has come")?;
        let me = self.me;
        let snapshot = copying.finish(|loaded| archivist(loaded.tree.into_view(), loaded.sessions, loaded.zxid, me), now)?;
        if snapshot.state.at != at {
            return Err(format!("the state that came stands at {}, not at {at}", snapshot.state.at));
        }
        disk.apply(&Op::Create(Dir::Images, RECEIVED.into()));
        disk.apply(&Op::Write(Dir::Images, RECEIVED.into(), 0, snapshot.encode().into()));
        self.received = Some((link, snapshot));
        Ok(())
    }

    /// Everything up to a mark may be shown: the transactions that are new, and the state behind each.
    pub fn deliver(&mut self, up_to: Zxid) -> Vec<(Mark, State, Blob)> {
        self.delivered = up_to;
        let from = self.log.after(self.state.at);
        let to = self.log.after(up_to);
        let mut shown = Vec::with_capacity(to.saturating_sub(from));
        for entry in self.log.entries().take(to).skip(from) {
            self.state.apply(entry.mark);
            shown.push((entry.mark, self.state, Blob::clone(&entry.blob)));
        }
        shown
    }

    /// A state to send to a learner, from which on the log has all, and whether it is fuzzy: only a leader whose epoch goes on writes such
    /// a one.
    pub fn state_to_send(&mut self, chance: &mut Chance, now: Now) -> (Snapshot, bool) {
        let from = self.log.base().1;
        let newest = self.images.values().rfind(|image| image.state.at >= from).cloned();
        let goes_on = matches!(self.role, Role::Leading { epoch } if epoch == self.state.at.epoch());
        if self.settings.fuzzy > 0
            && goes_on
            && chance.happens(self.settings.fuzzy)
            && let Some(before) = newest.as_ref().filter(|image| image.state.at < self.state.at)
        {
            let after = Snapshot::of(&mut self.archivist, self.state, now);
            let make = |start: Start| archivist(start.view, start.sessions, start.zxid, self.me);
            return (fuzz::mixed(before, &after, make, chance, now), true);
        }
        match newest {
            Some(newest) if !chance.coin() => (newest, false),
            _ => (Snapshot::of(&mut self.archivist, self.state, now), false),
        }
    }
}
