//! Case: what one run of the simulator begins with, drawn from a seed or read from a text: the settings and the plan of faults.

use std::fmt;
use std::fmt::Write as _;

use super::chance::Chance;
use super::faults::{self, Fault};
use super::net::Manner;
use crate::zab::Times;

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// The settings of a run. Times are us where no unit is named, probabilities in a million.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Settings {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Settings {
            fn named(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }

            /// Names and values.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

settings! {
    /// Servers with a vote.
    voters
    /// Servers without.
    observers
    /// `tickTime`, ms.
    tick
    /// `initLimit`, ticks.
    init_limit
    /// `syncLimit`, ticks.
    sync_limit
    /// Longest wait for notifications, ms.
    notification_max
    /// How long a winner waits for a better vote, ms.
    finalize_wait
    /// Mean delay of a message.
    delay
    /// A connection breaks at a message.
    breaks
    /// A notification is lost with its connection.
    mail_breaks
    /// A message is held up for long.
    clogs
    /// For how long at most.
    clog
    /// Packets that are under way together arrive together.
    trains
    /// Mean time that a sync takes.
    latency
    /// A sync takes long.
    spikes
    /// For how long at most.
    spike
    /// Sector of the disks, bytes.
    sector
    /// Flushes of the log in flight at most.
    flights
    /// Transactions in a batch at most.
    batch
    /// Blocks of a segment.
    segment
    /// Transactions between two images.
    image_every
    /// Time between two requests of all clients together.
    op_every
    /// Requests that come at once at most.
    burst
    /// Requests in all.
    ops
    /// Longest transaction, bytes.
    op_bytes
    /// Clocks run fast or slow by so much at most, in a million.
    drift
    /// The plan ends here.
    length
    /// How a voter that has nothing begins: 0 as one that is known to be new, 1 once a majority is empty too, 2 once all are.
    bootstrap
    /// Transactions after which an epoch makes way for the next; 0 for as many as in the server.
    epoch
    /// Bytes of committed transactions that a leader keeps in memory for learners; 0 for as many as in the server.
    memory
    /// A state is sent as a Java leader sends it, with effects of later transactions.
    fuzzy
    /// 1: `flush.mode=adaptive`, which begins at `flights`.
    adapts
}

impl Settings {
    /// Draws the settings of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "settings", 0);
        let c = &mut chance;
        let sometimes = |c: &mut Chance, value: u64| if c.coin() { value } else { 0 };
        let breaks = c.pick(&[200, 1000, 5000]);
        let clogs = c.pick(&[100, 1000, 5000]);
        let spikes = c.pick(&[300, 2000, 20_000]);
        let mail_breaks = c.pick(&[2000, 50_000, 200_000]);
        Self {
            voters: c.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5]),
            observers: c.pick(&[0, 0, 0, 1, 2]),
            tick: c.pick(&[50, 100, 200, 500]),
            init_limit: c.within(5, 10),
            sync_limit: c.within(3, 6),
            notification_max: c.pick(&[1000, 4000, 10_000]),
            finalize_wait: c.pick(&[20, 100, 200]),
            delay: c.pick(&[50, 500, 2000, 10_000, 50_000]),
            breaks: sometimes(c, breaks),
            mail_breaks: sometimes(c, mail_breaks),
            clogs: sometimes(c, clogs),
            clog: c.pick(&[100_000, 1_000_000, 5_000_000]),
            trains: c.pick(&[0, 100_000, 500_000, 1_000_000]),
            latency: c.pick(&[50, 200, 1000, 5000, 20_000]),
            spikes: sometimes(c, spikes),
            spike: c.pick(&[200_000, 2_000_000, 10_000_000]),
            sector: c.pick(&[512, 512, 4096]),
            flights: c.within(1, 6),
            batch: c.pick(&[1, 3, 10, 40]),
            segment: c.within(6, 24),
            image_every: c.pick(&[10, 30, 100, 1000]),
            op_every: c.pick(&[20_000, 100_000, 400_000]),
            burst: c.pick(&[1, 1, 3, 10]),
            ops: c.within(100, 600),
            op_bytes: c.pick(&[30, 100, 2000]),
            drift: c.pick(&[0, 1000, 100_000]),
            length: c.within(10, 60) * 1_000_000,
            bootstrap: c.pick(&[0, 1, 1, 2]),
            epoch: c.pick(&[0, 0, 0, 40, 150]),
            memory: c.pick(&[0, 1, 1000, 10_000]),
            fuzzy: c.pick(&[0, 500_000, 1_000_000]),
            adapts: c.pick(&[0, 1, 1]),
        }
    }

    /// How the net behaves.
    #[must_use]
    pub const fn manner(&self) -> Manner {
        Manner { delay: self.delay, breaks: self.breaks, mail_breaks: self.mail_breaks, clogs: self.clogs, clog: self.clog }
    }

    /// Times of the protocol.
    #[must_use]
    pub const fn times(&self) -> Times {
        Times {
            tick: self.tick,
            init_limit: self.init_limit,
            sync_limit: self.sync_limit,
            notification_min: if self.tick < 200 { self.tick } else { 200 },
            notification_max: self.notification_max,
            finalize_wait: self.finalize_wait,
        }
    }
}

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Where all chance comes from.
    pub seed: u64,
    /// The settings.
    pub settings: Settings,
    /// What goes wrong and when, ascending.
    pub plan: Vec<Fault>,
}

impl Case {
    /// The run of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let settings = Settings::draw(seed);
        Self { seed, settings, plan: faults::draw(seed, &settings) }
    }

    /// Reads what [`Display`](fmt::Display) has written. Lines that begin with `#` are remarks. An error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut case = Self { seed: 0, settings: Settings::default(), plan: Vec::new() };
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            let wrong = || format!("line {}: {line}", i + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, rest) = line.split_once(' ').ok_or_else(wrong)?;
            if name == "at" {
                case.plan.push(Fault::parse(rest).ok_or_else(wrong)?);
                continue;
            }
            let value = rest.trim().parse().map_err(|_| wrong())?;
            if name == "seed" {
                case.seed = value;
            } else {
                *case.settings.named(name).ok_or_else(wrong)? = value;
            }
        }
        let Settings { voters, observers, sector, segment, batch, flights, tick, .. } = case.settings;
        let is_possible = (1..=7).contains(&voters)
            && voters + observers <= 8
            && sector > 0
            && segment >= 4
            && batch > 0
            && (1..=16).contains(&flights)
            && tick > 0;
        if is_possible { Ok(case) } else { Err("the settings are not those of a run".to_owned()) }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("seed {}\n", self.seed);
        for (name, value) in self.settings.all() {
            writeln!(text, "{name} {value}")?;
        }
        for fault in &self.plan {
            writeln!(text, "at {fault}")?;
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        for seed in 0..200 {
            let case = Case::draw(seed);
            assert_eq!(Case::parse(&case.to_string()), Ok(case));
        }
        assert!(Case::parse("seed 1\nvoter 3").unwrap_err().starts_with("line 2"));
        assert!(Case::parse("seed 1").is_err());
    }
}
