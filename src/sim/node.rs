//! Node: one simulated server: its machine with clock and disk, and the process on it while there is one.

use std::collections::BTreeMap;

use super::case::Settings;
use super::chance::Chance;
use super::disk::{Disk, Left, Op};
use super::job::{Job, Then};
use super::process::{Process, Remains};
use super::world::Event;
use crate::ground::ids::ServerId;
use crate::ground::time::{Millis, Now, WallMillis};

/// When worlds begin, ms since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Longest time that a sync takes, us.
const LATENCY_MAX: u64 = 10_000_000;

/// What a job comes to when it goes on.
pub enum Step {
    /// The device has to answer.
    Waits,
    /// It is done.
    Done(Then),
}

/// A disaster that waits for a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trap {
    /// Syncs until then.
    pub syncs: u64,
    /// The sync fails; else the power goes.
    pub is_error: bool,
    /// How long the server stays away, us.
    pub back: u64,
    /// Where chance comes from.
    pub nonce: u64,
}

/// A server.
pub struct Node {
    /// Its number.
    pub id: ServerId,
    /// Its disk.
    pub disk: Disk,
    /// Its process; none while it is down or starts.
    pub process: Option<Process>,
    /// The machine has power.
    pub is_powered: bool,
    /// Counts its processes, so that what was meant for an earlier one is known.
    pub life: u64,
    /// What was on its disk when it last ended, until it has started again.
    pub remains: Option<Remains>,
    /// It may have forgotten something.
    pub is_impaired: bool,
    /// Elections that it has begun.
    pub elections: u64,
    /// It does nothing until then, us.
    pub paused_until: u64,
    /// What has come meanwhile.
    pub inbox: Vec<Event>,
    /// Its syncs take so many times longer, until then.
    pub slow: (u64, u64),
    /// A disaster that waits for it.
    pub trap: Option<Trap>,
    /// When its timer is set, by its own clock; none while it is not.
    pub timer: Option<Millis>,
    /// A batch waits for company, and its time was set.
    pub lingers: bool,
    /// Its clock runs at so many millionths of true time, from so many ms.
    clock: (u64, u64),
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    chance: Chance,
    /// Where salts of segments come from.
    pub salts: Chance,
    /// What its disk has done, in words, where somebody asks for it.
    pub told: Option<Vec<String>>,
    /// When a start was asked for that has not come to its end.
    starting: Option<u64>,
}

impl Node {
    /// A machine.
    #[must_use]
    pub fn new(seed: u64, index: usize, settings: &Settings) -> Self {
        let mut chance = Chance::new(seed, "node", index as u64);
        let rate = 1_000_000 - settings.drift + chance.below(2 * settings.drift + 1);
        let offset = chance.below(10_000_000);
        Self {
            id: ServerId(u8::try_from(index + 1).expect("a few servers")),
            disk: Disk::new(usize::try_from(settings.sector).expect("a sector")),
            process: None,
            is_powered: false,
            life: 0,
            remains: None,
            is_impaired: false,
            elections: 0,
            paused_until: 0,
            inbox: Vec::new(),
            slow: (1, 0),
            trap: None,
            timer: None,
            lingers: false,
            clock: (rate, offset),
            jobs: BTreeMap::new(),
            next_job: 0,
            chance,
            salts: Chance::new(seed, "salts", index as u64),
            told: None,
            starting: None,
        }
    }

    /// Whether a start may begin: none is under way.
    pub fn begins(&mut self) -> bool {
        self.starting.replace(self.life) != Some(self.life)
    }

    /// What its clocks say at a true time in us. The one on the wall is right.
    #[must_use]
    pub const fn now(&self, now: u64) -> Now {
        let micros = self.clock.1 * 1000 + (now as u128 * self.clock.0 as u128 / 1_000_000) as u64;
        Now { micros, wall: WallMillis(EPOCH_MS + (now / 1000).cast_signed()) }
    }

    /// The true time in us at which its clock says this, or a little later.
    #[must_use]
    pub const fn true_time(&self, at: Millis) -> u64 {
        (at.0.saturating_sub(self.clock.1) as u128 * 1_000_000_000 / self.clock.0 as u128) as u64 + 2
    }

    /// Chance of its own.
    pub const fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// How long a sync takes now, us.
    pub fn latency(&mut self, now: u64, settings: &Settings) -> u64 {
        let spike = if self.chance.happens(settings.spikes) { self.chance.below(settings.spike + 1) } else { 0 };
        let factor = if now < self.slow.1 { self.slow.0 } else { 1 };
        ((5 + self.chance.around(settings.latency)) * factor + spike).min(LATENCY_MAX)
    }

    /// Begins a job.
    pub fn start(&mut self, job: Job) -> (u64, Step) {
        self.next_job += 1;
        self.jobs.insert(self.next_job, job);
        (self.next_job, self.advance(self.next_job))
    }

    /// Carries a job on until the device has to answer.
    fn advance(&mut self, number: u64) -> Step {
        let job = self.jobs.get_mut(&number).expect("a job that is under way");
        while let Some(op) = job.ops.front() {
            if op.waits() {
                return Step::Waits;
            }
            if let Some(told) = &mut self.told {
                told.push(op.name());
            }
            self.disk.apply(op);
            job.ops.pop_front();
        }
        Step::Done(self.jobs.remove(&number).expect("it was just there").then)
    }

    /// The sync that a job waits for.
    #[must_use]
    pub fn waiting(&self, number: u64) -> Option<&Op> {
        self.jobs.get(&number)?.ops.front()
    }

    /// The device has answered.
    pub fn synced(&mut self, number: u64) -> Step {
        let job = self.jobs.get_mut(&number).expect("a job that waits");
        let op = job.ops.pop_front().expect("it waits for a sync");
        if let Some(told) = &mut self.told {
            told.push(op.name());
        }
        self.disk.apply(&op);
        self.advance(number)
    }

    /// The device says that a job's sync has failed. What it was to make durable is there or not; nobody knows.
    pub fn failed(&mut self, number: u64, chance: &mut Chance) {
        if let Some(op) = self.jobs.get(&number).and_then(|job| job.ops.front()).cloned() {
            self.disk.fail(&op, chance);
        }
    }

    /// The process ends. With `left`, so does the power.
    pub fn end(&mut self, left: Option<(Left, &mut Chance)>) {
        if let Some(process) = self.process.take() {
            self.remains = Some(process.remains());
        }
        self.life += 1;
        self.jobs.clear();
        self.inbox.clear();
        self.paused_until = 0;
        (self.timer, self.lingers) = (None, false);
        self.trap = None;
        if let Some((left, chance)) = left {
            self.is_powered = false;
            self.disk.lose(left, chance);
        }
    }
}
