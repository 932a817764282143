//! Ladder: what a sweep varies, rung by rung.

use std::str::FromStr;

use super::record::Record;
use super::spec::{Arrivals, Pace, Spec, Workload};

/// What one ladder varies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rail {
    /// Arrivals a second, in an open loop.
    Rate,
    /// Connections.
    Connections,
    /// Requests in flight on each connection, in a closed loop.
    Depth,
    /// Part of reads, of the mixed workload.
    ReadRatio,
    /// Bytes of data.
    ValueSize,
}

impl Rail {
    const NAMES: [(&'static str, Self); 5] = [
        ("rate", Self::Rate),
        ("connections", Self::Connections),
        ("depth", Self::Depth),
        ("read-ratio", Self::ReadRatio),
        ("value-size", Self::ValueSize),
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, rail)| *rail == self).expect("all have a name").0
    }
}

/// Values of one thing, the rest being as the spec says.
#[derive(Clone, PartialEq, Debug)]
pub struct Ladder {
    /// What is varied.
    pub rail: Rail,
    /// Its values, in the order in which they are run.
    pub rungs: Vec<f64>,
}

/// Rungs at most.
const RUNGS_MAX: usize = 100;

impl FromStr for Ladder {
    type Err = String;

    /// `rate=1000,2000,5000` or `rate=1000..64000*2` (from, to, factor) or `depth=1..33+8` (from, to, step).
    fn from_str(text: &str) -> Result<Self, String> {
        let names = Rail::NAMES.map(|(name, _)| name).join(", ");
        let (name, values) = text.split_once('=').ok_or(format!("a ladder is NAME=VALUES, NAME one of {names}"))?;
        let rail = Rail::NAMES.iter().find(|(known, _)| *known == name);
        let rail = rail.ok_or(format!("{name:?} cannot be varied; one of {names} can"))?.1;
        let rungs = match values.split_once("..") {
            Some((from, rest)) => stairs(from, rest)?,
            None => values.split(',').map(number).collect::<Result<_, _>>()?,
        };
        let is_whole = |rung: &f64| rung.fract() == 0.0 && *rung >= 1.0;
        let wrong = match rail {
            Rail::Rate => rungs.iter().find(|rung| **rung <= 0.0),
            Rail::ReadRatio => rungs.iter().find(|rung| !(0.0..=1.0).contains(*rung)),
            Rail::ValueSize => rungs.iter().find(|rung| rung.fract() != 0.0 || **rung < 0.0),
            Rail::Connections | Rail::Depth => rungs.iter().find(|rung| !is_whole(rung)),
        };
        match wrong {
            Some(rung) => Err(format!("{rung} is no {name}")),
            None => Ok(Self { rail, rungs }),
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite()).ok_or(format!("{text:?} is no number"))
}

fn stairs(from: &str, rest: &str) -> Result<Vec<f64>, String> {
    let (to, by, is_factor) = match (rest.split_once('*'), rest.split_once('+')) {
        (Some((to, by)), None) => (to, by, true),
        (None, Some((to, by))) => (to, by, false),
        _ => return Err("a range is FROM..TO*FACTOR or FROM..TO+STEP".to_owned()),
    };
    let (mut at, to, by) = (number(from)?, number(to)?, number(by)?);
    if by <= if is_factor { 1.0 } else { 0.0 } || at > to || is_factor && at <= 0.0 {
        return Err(format!("{from}..{rest} does not rise"));
    }
    let mut rungs = Vec::new();
    // A hair more than the end, for the rounding of many steps.
    while at <= to * (1.0 + 1e-9) {
        if rungs.len() == RUNGS_MAX {
            return Err(format!("{from}..{rest} has more than {RUNGS_MAX} rungs"));
        }
        rungs.push(at);
        at = if is_factor { at * by } else { at + by };
    }
    Ok(rungs)
}

impl Ladder {
    /// The specs of its rungs.
    #[must_use]
    pub fn specs(&self, base: &Spec) -> Vec<Spec> {
        let arrivals = match base.pace {
            Pace::Open { arrivals, .. } => arrivals,
            Pace::Closed => Arrivals::Poisson,
        };
        let on = |rung: &f64| {
            let mut spec = base.clone();
            match self.rail {
                Rail::Rate => spec.pace = Pace::Open { rate: *rung, arrivals },
                Rail::Connections => spec.connections = *rung as usize,
                Rail::Depth => (spec.pace, spec.in_flight) = (Pace::Closed, *rung as usize),
                Rail::ReadRatio => spec.workload = Workload::Mixed { read_ratio: *rung },
                Rail::ValueSize => spec.value_size = *rung as usize,
            }
            spec
        };
        self.rungs.iter().map(on).collect()
    }
}

/// Part of the offered rate that must be achieved for a rung to count as carried.
const CARRIED: f64 = 0.99;

/// The knee: the record of the highest rate that was carried with a 99th percentile within `p99_us`. Errors do not count as
/// carried. `None` where no rung qualifies.
#[must_use]
pub fn knee(records: &[Record], p99_us: u64) -> Option<&Record> {
    let is_carried = |record: &&Record| {
        let all = record.all();
        let good = all.count() as f64;
        record.ended_early.is_none()
            && all.count() > 0
            && all.quantile_us(0.99) <= p99_us
            && (record.spec.rate().is_none() || good >= record.arrivals.offered as f64 * CARRIED)
    };
    records.iter().filter(is_carried).max_by(|a, b| a.achieved().total_cmp(&b.achieved()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_are_lists_or_ranges() {
        let rungs = |text: &str| text.parse::<Ladder>().map(|ladder| ladder.rungs);
        assert_eq!(rungs("rate=100,500,250"), Ok(vec![100.0, 500.0, 250.0]));
        assert_eq!(rungs("rate=1000..8000*2"), Ok(vec![1000.0, 2000.0, 4000.0, 8000.0]));
        assert_eq!(rungs("depth=1..9+4"), Ok(vec![1.0, 5.0, 9.0]));
        assert_eq!(rungs("read-ratio=0..1+0.25").map(|rungs| rungs.len()), Ok(5));
        for wrong in [
            "rate",
            "speed=1",
            "rate=",
            "rate=a",
            "rate=0",
            "rate=-1",
            "rate=nan",
            "rate=1..2",
            "rate=1..2*1",
            "rate=5..2*2",
            "depth=1.5",
            "depth=0",
            "connections=0",
            "read-ratio=1.5",
            "value-size=-1",
            "rate=1..1000000+1",
            "rate=0..5*2",
        ] {
            assert!(rungs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rung_changes_one_thing() {
        let base = Spec::default();
        let ladder: Ladder = "rate=10,20".parse().unwrap();
        let specs = ladder.specs(&base);
        assert_eq!(specs[1].rate(), Some(20.0));
        assert_eq!(Spec { pace: base.pace, ..specs[1].clone() }, base);
        let ladder: Ladder = "value-size=0,4096".parse().unwrap();
        assert_eq!(ladder.specs(&base)[1], Spec { value_size: 4096, ..base.clone() });
        let ladder: Ladder = "read-ratio=0.5".parse().unwrap();
        assert_eq!(ladder.specs(&base)[0].workload, Workload::Mixed { read_ratio: 0.5 });
        assert_eq!((ladder.rail.name(), Rail::Depth.name()), ("read-ratio", "depth"));
    }
}
