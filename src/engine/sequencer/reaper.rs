//! Reaper: takes away containers that are empty and znodes whose time to live is over, at the pace of ZooKeeper's `ContainerManager`.

use super::{Ledger, Sequencer};
use crate::engine::message::Outcome;
use crate::ground::ids::SessionId;
use crate::ground::time::{Millis, Now};
use crate::proto::opcode;
use crate::tree::expiry::Leniency;

/// Znodes taken away in one turn at most.
const REAPED_A_TURN: usize = 64;

/// Microseconds of its pace that a reaper makes up for, when it did not get its turns.
const CATCH_UP_US: u64 = 100_000;

/// How znodes that go by themselves are dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// `zookeeper.extendedTypesEnabled`: znodes with a time to live can be made, and go when it is over.
    pub extended_types: bool,
    /// `znode.container.checkIntervalMs`: how often is looked, ms, at least 1.
    pub check_ms: u64,
    /// `znode.container.maxPerMinute`: znodes taken away in a minute at most, at least 1.
    pub max_per_minute: u64,
    /// `znode.container.maxNeverUsedIntervalMs`: a container that never had children goes when it was not written to for so long, ms; 0
    /// lets it be.
    pub max_never_used_ms: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { extended_types: false, check_ms: 60_000, max_per_minute: 10_000, max_never_used_ms: 0 }
    }
}

impl Lifetimes {
    fn leniency(&self) -> Leniency {
        let never_used = i64::try_from(self.max_never_used_ms).unwrap_or(i64::MAX);
        Leniency { unused_ms: (never_used > 0).then_some(never_used), ttls: self.extended_types }
    }
}

/// When it looks next, and how far it is.
pub(super) struct Reaper {
    lifetimes: Lifetimes,
    next_check: Millis,
    /// What was due at this wall time, ms since 1970, is being taken away; the next of it no sooner than at these microseconds.
    round: Option<(i64, u64)>,
}

impl Reaper {
    pub(super) const fn new(lifetimes: Lifetimes, now: Now) -> Self {
        Self { lifetimes, next_check: now.mono().plus(lifetimes.check_ms), round: None }
    }

    /// Somebody else looks after it: a full interval begins when this server leads again.
    const fn rest(&mut self, now: Now) {
        self.next_check = now.mono().plus(self.lifetimes.check_ms);
        self.round = None;
    }

    /// The wall time at which what goes now was due, if it is time to take one away.
    fn turn(&mut self, now: Now) -> Option<i64> {
        if self.round.is_none() && now.mono() >= self.next_check {
            self.next_check = now.mono().plus(self.lifetimes.check_ms);
            self.round = Some((now.wall.0, now.micros));
        }
        self.round.filter(|(_, at)| *at <= now.micros).map(|(due, _)| due)
    }

    /// One has been taken away.
    fn took(&mut self, now: Now) {
        if let Some((_, at)) = &mut self.round {
            let pace = 60_000_000 / self.lifetimes.max_per_minute;
            *at = (*at).max(now.micros.saturating_sub(CATCH_UP_US)) + pace;
        }
    }
}

impl Sequencer {
    /// The same engine, which deals so with znodes that go by themselves.
    #[must_use]
    pub const fn with_lifetimes(mut self, lifetimes: Lifetimes, now: Now) -> Self {
        self.reaper = Reaper::new(lifetimes, now);
        self.ledger.set_extended_types(lifetimes.extended_types);
        self
    }

    /// Takes away what goes by itself and is due. Only whoever orders writes does so, by transactions as for any other write; what is due is
    /// found without looking at what is not.
    pub(super) fn reap(&mut self, is_ours: bool, now: Now) {
        if !is_ours {
            self.reaper.rest(now);
            return;
        }
        for _ in 0..REAPED_A_TURN {
            if !self.has_room() || self.declines() {
                return;
            }
            let Some(due) = self.reaper.turn(now) else { return };
            let leniency = self.reaper.lifetimes.leniency();
            let Some(path) = self.ledger.tree().expired(due, leniency).map(str::to_owned) else {
                self.reaper.round = None;
                return;
            };
            tracing::debug!("{path} is empty and goes by itself");
            let header = self.header(SessionId::NONE, 0, now);
            let ledger = &mut self.ledger;
            self.builder.add(header, opcode::DELETE_CONTAINER, None, 0, now.micros, |header, blob, steps| {
                Ledger::reap(ledger, header, path, blob, steps);
                Outcome::Done
            });
            self.reaper.took(now);
        }
    }
}
