//! Knobs: what of group commit can be set, and the grid of all that is tried.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tune::disk::size;

/// One setting of group commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Knobs {
    /// `flush.method`: O_DSYNC if not `fdatasync`.
    pub fdatasync: bool,
    /// `flush.flights`.
    pub flights: usize,
    /// `flush.lingerMicros`.
    pub linger_us: u64,
    /// `flush.batchBytes`.
    pub batch_bytes: usize,
    /// `flush.mode=adaptive`: flights are where it begins, the linger is its own.
    pub adaptive: bool,
}

/// What a server does that is told nothing.
pub const DEFAULT: Knobs = Knobs { fdatasync: false, flights: 4, linger_us: 0, batch_bytes: 1 << 20, adaptive: true };

impl Knobs {
    /// Lines of a configuration.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("flush.method={}", self.method()),
            format!("flush.mode={}", if self.adaptive { "adaptive" } else { "fixed" }),
            format!("flush.flights={}", self.flights),
            format!("flush.lingerMicros={}", self.linger_us),
            format!("flush.batchBytes={}", self.batch_bytes),
        ]
    }

    /// The word for what makes a write durable.
    pub const fn method(&self) -> &'static str {
        if self.fdatasync { "fdatasync" } else { "dsync" }
    }

    /// In how many knobs it differs from the defaults.
    pub fn strangeness(&self) -> usize {
        let Self { fdatasync, flights, linger_us, batch_bytes, adaptive } = *self;
        let differs = [
            fdatasync != DEFAULT.fdatasync,
            flights != DEFAULT.flights,
            linger_us != DEFAULT.linger_us,
            batch_bytes != DEFAULT.batch_bytes,
            adaptive != DEFAULT.adaptive,
        ];
        differs.into_iter().filter(|differs| *differs).count()
    }
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flights, linger_us, batch_bytes, .. } = *self;
        if self.adaptive {
            return write!(f, "{} adaptive, {}", self.method(), size(batch_bytes));
        }
        write!(f, "{} {flights} in flight, linger {linger_us} us, {}", self.method(), size(batch_bytes))
    }
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Grid {
    /// `flush.method=fdatasync`, or not.
    pub fdatasync: Vec<bool>,
    /// `flush.batchBytes`.
    pub batch_bytes: Vec<usize>,
    /// `flush.flights`.
    pub flights: Vec<usize>,
    /// `flush.lingerMicros`.
    pub linger_us: Vec<u64>,
}

impl Grid {
    /// All of it, once each, and the defaults. With one flush in flight nothing lingers, so that is tried once.
    pub fn all(&self) -> Vec<Knobs> {
        let mut all = vec![DEFAULT];
        for &fdatasync in &self.fdatasync {
            for &batch_bytes in &self.batch_bytes {
                for &flights in &self.flights {
                    for &linger_us in &self.linger_us {
                        let linger_us = if flights == 1 { 0 } else { linger_us };
                        all.push(Knobs { fdatasync, flights, linger_us, batch_bytes, adaptive: false });
                    }
                }
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// An order in which neighbours of the grid are far apart in time, another one each round: so a slow minute of the machine does not pass for a
/// bad corner of the grid.
pub fn shuffled(count: usize, round: usize) -> Vec<usize> {
    let coprime = |step: &usize| gcd(*step, count) == 1;
    let step = (count * 5 / 8 + round..).find(coprime).unwrap_or(1);
    (0..count).map(|n| (n * step + round) % count).collect()
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_has_everything_once_and_the_defaults() {
        let grid = Grid {
            fdatasync: vec![false, true],
            batch_bytes: vec![65536, 1 << 20],
            flights: vec![1, 8],
            linger_us: vec![0, 100, 1000],
        };
        let all = grid.all();
        // Two methods, two sizes: one flight once, eight with three lingers. And the defaults.
        assert_eq!(all.len(), 2 * 2 * 4 + 1);
        assert!(all.contains(&DEFAULT));
        assert!(all.iter().all(|knobs| knobs.flights > 1 || knobs.linger_us == 0));
        assert_eq!(DEFAULT.strangeness(), 0);
        assert_eq!(Knobs { flights: 1, adaptive: false, ..DEFAULT }.strangeness(), 2);
    }

    #[test]
    fn every_order_has_everything_once() {
        for count in [1, 2, 7, 12, 100] {
            for round in 0..5 {
                let mut order = shuffled(count, round);
                order.sort_unstable();
                assert_eq!(order, (0..count).collect::<Vec<_>>(), "{count} {round}");
            }
        }
        assert_ne!(shuffled(100, 0), shuffled(100, 1));
    }

    #[test]
    fn lines_are_a_configuration() {
        let knobs = Knobs { fdatasync: true, flights: 2, linger_us: 50, batch_bytes: 65536, adaptive: false };
        let lines = knobs.lines().join("\n");
        assert_eq!(
            lines,
            "flush.method=fdatasync\nflush.mode=fixed\nflush.flights=2\nflush.lingerMicros=50\nflush.batchBytes=65536"
        );
        assert_eq!(knobs.to_string(), "fdatasync 2 in flight, linger 50 us, 64k");
        assert_eq!(DEFAULT.to_string(), "dsync adaptive, 1m");
    }
}
