//! Adapt: keeps the knobs of group commit where the drive and the load want them (`docs/group-commit.md`).

use std::collections::VecDeque;

use super::Sequencer;
use super::batch::FlushKnobs;
use crate::engine::census::FlushCensus;
use crate::ground::ids::Zxid;
use crate::ground::limits::FLIGHTS_MAX;
use crate::ground::time::Now;

/// Flushes in flight that are tried.
const RUNGS: [usize; 5] = [1, 2, 4, 8, FLIGHTS_MAX];

/// Settings that are tried, the most different first: where a drive does many flushes at a time, many small batches at even distances have the
/// shortest tail; where it does one, one at a time has.
const CANDIDATES: [Setting; 13] = [
    Setting { rung: 4, part: 16 },
    Setting { rung: 0, part: 0 },
    Setting { rung: 4, part: 4 },
    Setting { rung: 1, part: 2 },
    Setting { rung: 2, part: 4 },
    Setting { rung: 3, part: 8 },
    Setting { rung: 4, part: 2 },
    Setting { rung: 1, part: 0 },
    Setting { rung: 2, part: 0 },
    Setting { rung: 4, part: 0 },
    Setting { rung: 3, part: 0 },
    Setting { rung: 2, part: 2 },
    Setting { rung: 3, part: 2 },
];

/// The longest linger that is ever chosen, us.
const LINGER_MAX_US: u64 = 10_000;

/// Flushes, and microseconds, of an epoch: what is measured of a setting in one go. It ends when it has both, or when it has lasted
/// long and has a quarter of the flushes.
const EPOCH_FLUSHES: u64 = 64;
const EPOCH_US: u64 = 10_000;
const EPOCH_LONG_US: u64 = 100_000;

/// Flushes after which a trial that is plainly worse ends.
const TASTE_FLUSHES: u64 = 8;

/// An epoch lasts so many times the longest wait in it, and a taste so many times the longest in the epoch before: a drive may have a rhythm of its
/// own, as one has whose operations a second are limited, and a part of it tells nothing of the whole.
const EPOCH_WAITS: u64 = 4;
const TASTE_WAITS: u64 = 2;

/// Where waits are as long as that, epochs last no longer, us.
const EPOCH_MAX_US: u64 = 1_000_000;

/// A setting is better where it costs less than so many hundredths of the one in use, before the trial and after it.
const BETTER: u64 = 95;
/// It is so plainly better that it is not tried a second time.
const PLAINLY_BETTER: u64 = 80;
/// It is so plainly worse that its trial ends at once.
const PLAINLY_WORSE: u64 = 130;

/// Epochs between two trials once every setting was tried: at first, and when nothing was found for long.
const REST: u64 = 16;
const REST_MAX: u64 = 512;

/// Rounds in which a plainly worse setting is not tried.
const SHUNNED: u8 = 7;

/// How long each epoch must differ from what was settled on before everything is tried anew, us: a drive's hiccup is no other drive.
const STRANGE_US: u64 = 500_000;

/// No time on the way counts for more, us.
const TIME_MAX_US: u64 = 1 << 40;

/// Averages move by an eighth of the difference.
const EIGHTH: u64 = 8;

/// Estimates of the drive and the load. Time is told, us; a clock that goes back counts as one that stands.
#[derive(Debug, Default)]
pub struct Pace {
    flush_us: u64,
    /// Arrivals a second.
    rate: u64,
    window: (u64, u64),
}

impl Pace {
    /// A flush has taken so long, us.
    fn flush(&mut self, took: u64) {
        // In 64ths of a microsecond below, so that short flushes do not get stuck on a whole one.
        let took = took.min(1 << 40) << 6;
        self.flush_us = match self.flush_us {
            0 => took,
            old => old - old / EIGHTH + took / EIGHTH,
        };
    }

    /// So many transactions came up to now.
    fn arrived(&mut self, count: u64, now_us: u64) {
        let (since, so_far) = self.window;
        let all = so_far.saturating_add(count);
        let us = now_us.saturating_sub(since);
        self.window = if us < 100_000 {
            (since.min(now_us), all)
        } else {
            let rate = u64::try_from(u128::from(all) * 1_000_000 / u128::from(us)).unwrap_or(u64::MAX);
            // After a pause the past says nothing.
            self.rate = if self.rate == 0 || us > 1_000_000 { rate } else { self.rate / 2 + rate / 2 };
            (now_us, 0)
        };
    }

    /// Time from handing a batch to the drive until it and all before it are durable, us.
    #[must_use]
    pub const fn flush_us(&self) -> u64 {
        self.flush_us >> 6
    }
}

/// What is tried: flushes in flight, and into how many parts the time of a flush is cut for the linger; 0 is without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Setting {
    rung: usize,
    part: u64,
}

/// A batch that was handed to the drive.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// When its oldest transaction came.
    opened_us: u64,
    started_us: u64,
    /// Its transactions.
    count: u64,
}

/// What an epoch has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    since: u64,
    flushes: u64,
    /// Transactions made durable.
    done: u64,
    /// Microseconds that they were on their way, and their squares.
    sum: u128,
    squares: u128,
    /// The longest.
    longest: u64,
}

impl Epoch {
    /// A batch is durable. Its transactions came evenly between the oldest and the start, for want of better knowledge.
    fn durable(&mut self, batch: Batch, now_us: u64) {
        let since = |then: u64| u128::from(now_us.saturating_sub(then).min(TIME_MAX_US));
        let (most, least, count) = (since(batch.opened_us), since(batch.started_us), u128::from(batch.count));
        self.longest = self.longest.max(u64::try_from(most).unwrap_or(u64::MAX));
        self.flushes += 1;
        self.done = self.done.saturating_add(batch.count);
        self.sum = self.sum.saturating_add(count * (most + least) / 2);
        self.squares = self.squares.saturating_add(count * (most * most + most * least + least * least) / 3);
    }

    /// What nearly all transactions are on their way at most, 64ths of a microsecond: the mean and two standard deviations.
    fn cost(&self) -> u64 {
        let done = u128::from(self.done.max(1));
        let mean = self.sum.saturating_mul(64) / done;
        let variance = (self.squares.saturating_mul(4096) / done).saturating_sub(mean.saturating_mul(mean));
        u64::try_from(mean.saturating_add(2 * variance.isqrt())).unwrap_or(u64::MAX)
    }

    fn us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.since)
    }

    fn is_over(&self, now_us: u64) -> bool {
        let us = self.us(now_us);
        self.done > 0
            && us >= self.longest.saturating_mul(EPOCH_WAITS).min(EPOCH_MAX_US)
            && (self.flushes >= EPOCH_FLUSHES && us >= EPOCH_US || self.flushes >= EPOCH_FLUSHES / 2 && us >= EPOCH_LONG_US)
    }

    /// Transactions made durable, a second.
    fn rate(&self, now_us: u64) -> u64 {
        u64::try_from(u128::from(self.done) * 1_000_000 / u128::from(self.us(now_us).max(1))).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The setting in use is measured.
    Base,
    /// Another one is; that in use cost so much before, and its longest wait was this, us.
    Trial { before: u64, longest: u64 },
    /// The one in use is measured after the trial of another.
    Again { other: Setting, before: u64, cost: u64 },
}

/// The controller. It sees what is on its way, in which time, and says how group commit behaves.
#[derive(Debug)]
pub struct Adapt {
    given: FlushKnobs,
    pace: Pace,
    setting: Setting,
    other: Setting,
    step: Step,
    epoch: Epoch,
    /// Flushes handed to the drive and not ended, when each was.
    started: VecDeque<Batch>,
    /// Of those, how many must end before an epoch begins: they belong to another setting.
    foreign: usize,
    /// The newest transaction that was handed to the drive.
    seen: Zxid,
    /// Number of the next candidate.
    next: usize,
    shunned: [u8; CANDIDATES.len()],
    /// Has won once, and must again.
    confirms: bool,
    /// Candidates in a row that were not better.
    refused: usize,
    rest: u64,
    rested: u64,
    /// Flush time and rate when this was settled.
    settled: Option<(u64, u64)>,
    /// Since when epochs differ from that.
    strange: Option<u64>,
    decisions: u64,
}

/// Whether one is more than twice the other.
const fn differ(a: u64, b: u64) -> bool {
    a / 2 > b || b / 2 > a
}

impl Adapt {
    /// A controller that begins at these knobs.
    #[must_use]
    pub fn new(given: FlushKnobs) -> Self {
        let rung = RUNGS.iter().rposition(|flights| *flights <= given.flights).unwrap_or(0);
        let setting = Setting { rung, part: 0 };
        Self {
            given,
            pace: Pace::default(),
            setting,
            other: setting,
            step: Step::Base,
            epoch: Epoch::default(),
            started: VecDeque::new(),
            foreign: 0,
            seen: Zxid::ZERO,
            next: 0,
            shunned: [0; CANDIDATES.len()],
            confirms: false,
            refused: 0,
            rest: REST,
            rested: 0,
            settled: None,
            strange: None,
            decisions: 0,
        }
    }

    /// Other knobs: where they differ it begins anew from them. What is known of the drive stays.
    pub fn set(&mut self, given: FlushKnobs) {
        if given == self.given {
            return;
        }
        let old = std::mem::replace(self, Self::new(given));
        (self.pace, self.seen, self.decisions) = (old.pace, old.seen, old.decisions);
        (self.foreign, self.started) = (old.started.len(), old.started);
    }

    /// The knobs now.
    #[must_use]
    pub fn knobs(&self) -> FlushKnobs {
        if !self.given.adapts {
            return self.given;
        }
        let at = if matches!(self.step, Step::Trial { .. }) { self.other } else { self.setting };
        let linger_us = self.pace.flush_us().checked_div(at.part).unwrap_or(0).min(LINGER_MAX_US);
        FlushKnobs { flights: RUNGS[at.rung], linger_us, ..self.given }
    }

    /// A batch goes to the drive; the newest transaction is `proposed`, and the oldest of the batch came at `opened_us`.
    pub fn started(&mut self, proposed: Zxid, opened_us: u64, now_us: u64) {
        let count = between(std::mem::replace(&mut self.seen, proposed), proposed);
        if count.is_none() {
            self.go_on(now_us);
        }
        let count = count.unwrap_or(0);
        self.pace.arrived(count, now_us);
        self.started.push_back(Batch { opened_us, started_us: now_us, count });
    }

    /// A flush has ended, and so many are in flight still, those among them that wait for one before them.
    pub fn ended(&mut self, in_flight: usize, now_us: u64) {
        while self.started.len() > in_flight {
            let Some(batch) = self.started.pop_front() else { break };
            self.pace.flush(now_us.saturating_sub(batch.started_us));
            if self.foreign > 0 {
                self.foreign -= 1;
                self.epoch.since = now_us;
            } else if batch.opened_us >= self.epoch.since {
                // What came before has waited for what another setting had left.
                self.epoch.durable(batch, now_us);
            }
        }
        if self.given.adapts && self.foreign == 0 {
            self.judge(now_us);
        }
    }

    /// Measures anew, and another setting: what is under way belongs to the one before.
    fn begin(&mut self, now_us: u64) {
        self.go_on(now_us);
        self.foreign = self.started.len();
    }

    /// Measures anew what was measured before.
    fn go_on(&mut self, now_us: u64) {
        self.epoch = Epoch { since: now_us, ..Epoch::default() };
    }

    fn judge(&mut self, now_us: u64) {
        let cost = self.epoch.cost();
        match self.step {
            Step::Trial { before, longest }
                if self.epoch.flushes >= TASTE_FLUSHES
                    && self.epoch.us(now_us) >= longest.saturating_mul(TASTE_WAITS).min(EPOCH_MAX_US)
                    && worse(cost, before) =>
            {
                // Nobody is made to wait for the certainty that it is worse.
                let at = self.next;
                self.shunned[at] = SHUNNED;
                self.refuse(now_us);
            }
            _ if !self.epoch.is_over(now_us) => {}
            Step::Base => self.base(cost, now_us),
            Step::Trial { before, .. } => {
                self.step = Step::Again { other: self.other, before, cost };
                self.begin(now_us);
            }
            Step::Again { other, before, cost: tried } => {
                let base = before / 2 + cost / 2;
                if below(tried, base, PLAINLY_BETTER) || below(tried, base, BETTER) && self.confirms {
                    self.adopt(other, now_us);
                } else if below(tried, base, BETTER) {
                    self.confirms = true;
                    self.step = Step::Trial { before: cost, longest: self.epoch.longest };
                    self.begin(now_us);
                } else {
                    self.refuse(now_us);
                }
            }
        }
    }

    /// The setting in use was measured: another is tried, or it rests.
    fn base(&mut self, cost: u64, now_us: u64) {
        let is = (self.pace.flush_us(), self.epoch.rate(now_us));
        self.rested += 1;
        if let Some(settled) = self.settled {
            let is_strange = differ(is.0, settled.0) || differ(is.1, settled.1);
            self.strange = is_strange.then(|| self.strange.unwrap_or(now_us));
            if self.strange.is_some_and(|since| now_us.saturating_sub(since) >= STRANGE_US) {
                self.anew();
            } else if self.rested < self.rest {
                return self.go_on(now_us);
            } else {
                self.rest = (self.rest * 2).min(REST_MAX);
            }
        } else if self.refused >= CANDIDATES.len() {
            self.settled = Some(is);
            self.rested = 0;
            return self.go_on(now_us);
        }
        for _ in 0..CANDIDATES.len() {
            if let Some(other) = self.candidate() {
                self.other = other;
                self.confirms = false;
                self.step = Step::Trial { before: cost, longest: self.epoch.longest };
                return self.begin(now_us);
            }
            self.refuse(now_us);
        }
        self.go_on(now_us);
    }

    /// The next, if it is not the one in use and not shunned.
    fn candidate(&mut self) -> Option<Setting> {
        let shunned = &mut self.shunned[self.next];
        if *shunned > 0 {
            *shunned -= 1;
            return None;
        }
        Some(CANDIDATES[self.next]).filter(|candidate| *candidate != self.setting)
    }

    fn refuse(&mut self, now_us: u64) {
        let was_trial = matches!(self.step, Step::Trial { .. });
        self.step = Step::Base;
        self.next = (self.next + 1) % CANDIDATES.len();
        self.refused = (self.refused + 1).min(CANDIDATES.len());
        self.rested = 0;
        if was_trial {
            self.begin(now_us);
        } else {
            self.go_on(now_us);
        }
    }

    fn adopt(&mut self, other: Setting, now_us: u64) {
        self.decisions += 1;
        self.setting = other;
        self.anew();
        self.next = (self.next + 1) % CANDIDATES.len();
        self.step = Step::Base;
        self.begin(now_us);
    }

    /// Everything is tried again, one after the other.
    fn anew(&mut self) {
        (self.refused, self.rest, self.rested, self.strange) = (0, REST, 0, None);
        self.shunned = [0; CANDIDATES.len()];
        self.settled = None;
    }

    /// What is told of it.
    #[must_use]
    pub fn census(&self) -> FlushCensus {
        let FlushKnobs { flights, linger_us, adapts, .. } = self.knobs();
        let (flush_us, arrivals) = (self.pace.flush_us(), self.pace.rate);
        FlushCensus { adapts, flights: flights as u64, linger_us, flush_us, arrivals, decisions: self.decisions }
    }
}

/// Transactions after one up to another; `None` where an epoch begins between them, where they go back, and at the very beginning.
fn between(from: Zxid, to: Zxid) -> Option<u64> {
    if from == Zxid::ZERO || from.epoch() != to.epoch() {
        return None;
    }
    u64::from(to.counter()).checked_sub(from.counter().into())
}

fn below(cost: u64, base: u64, hundredths: u64) -> bool {
    u128::from(cost) * 100 < u128::from(base) * u128::from(hundredths)
}

fn worse(cost: u64, base: u64) -> bool {
    u128::from(cost) * 100 > u128::from(base) * u128::from(PLAINLY_WORSE)
}

impl Sequencer {
    /// Group commit behaves so from now on.
    pub fn set_knobs(&mut self, knobs: FlushKnobs) {
        self.adapt.set(knobs);
        self.knobs = self.adapt.knobs();
    }

    /// A batch is about to be handed to the drive.
    pub(super) fn flush_starts(&mut self, now: Now) {
        let opened_us = self.builder.opened_us(now.micros);
        self.adapt.started(self.proposed, opened_us, now.micros);
    }

    /// A flush is durable: the knobs may have become others.
    pub(super) fn flush_ends(&mut self, now: Now) {
        self.adapt.ended(self.appender.in_flight(), now.micros);
        self.knobs = self.adapt.knobs();
    }
}

#[cfg(test)]
mod tests;
