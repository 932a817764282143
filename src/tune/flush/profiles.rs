//! Profiles: which of the settings that were measured is best for what, and why.

use serde::{Deserialize, Serialize};

use super::knobs::{DEFAULT, Knobs};
use crate::show::figure::{rate, short};

/// One setting and what it has shown; medians of the rounds. Times are us.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// The setting.
    pub knobs: Knobs,
    /// Under each offered load, ascending.
    pub loads: Vec<Under>,
    /// Writes a second where clients ask as fast as they are answered.
    pub most: f64,
}

/// What an offered load has shown.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Under {
    /// Writes offered a second.
    pub rate: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The least and the greatest p99 of a round.
    pub spread: (f64, f64),
    /// All were answered.
    pub carried: bool,
}

/// What somebody may want most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Aim {
    /// Short waits below the highest load that was offered.
    Latency,
    /// Short waits at every load, and room above.
    Balanced,
    /// As many writes as possible.
    Throughput,
}

/// A setting for an aim.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// The aim.
    pub aim: Aim,
    /// The setting.
    pub knobs: Knobs,
    /// Why.
    pub why: String,
}

/// Within so much of the best they are alike, and what is nearest to the defaults is chosen.
const ALIKE: f64 = 1.05;

impl Aim {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Balanced => "balanced",
            Self::Throughput => "throughput",
        }
    }
}

/// The geometric mean of the tails under some loads; beyond all bounds where one was not carried.
fn tails(loads: &[Under]) -> f64 {
    if loads.is_empty() || loads.iter().any(|load| !load.carried) {
        return f64::INFINITY;
    }
    (loads.iter().map(|load| load.p99.max(1.0).ln()).sum::<f64>() / loads.len() as f64).exp()
}

impl Point {
    /// What is to be little, for an aim.
    fn cost(&self, aim: Aim) -> f64 {
        let lower = &self.loads[..self.loads.len().saturating_sub(1).max(1).min(self.loads.len())];
        match aim {
            Aim::Latency => tails(lower),
            Aim::Balanced => tails(&self.loads) / self.most.max(1.0).sqrt(),
            Aim::Throughput if self.loads.iter().all(|load| load.carried) => 1.0 / self.most.max(1.0),
            Aim::Throughput => f64::INFINITY,
        }
    }
}

/// The best for each aim; none where nothing was carried.
pub fn profiles(points: &[Point]) -> Vec<Profile> {
    let of = |aim| {
        let least = points.iter().map(|point| point.cost(aim)).fold(f64::INFINITY, f64::min);
        let alike = points.iter().filter(|point| point.cost(aim).is_finite() && point.cost(aim) <= least * ALIKE);
        let best = alike.min_by(|a, b| {
            let (near, cost) = (a.knobs.strangeness().cmp(&b.knobs.strangeness()), a.cost(aim).total_cmp(&b.cost(aim)));
            near.then(cost)
        })?;
        Some(Profile { aim, knobs: best.knobs, why: why(best, points) })
    };
    [Aim::Latency, Aim::Balanced, Aim::Throughput].into_iter().filter_map(of).collect()
}

/// What a setting does, beside the defaults.
fn why(point: &Point, points: &[Point]) -> String {
    let default = points.iter().find(|point| point.knobs == DEFAULT).filter(|default| default.knobs != point.knobs);
    let times = |mine: f64, theirs: Option<f64>| {
        theirs.filter(|t| *t > 0.0).map_or(String::new(), |t| format!(" ({:.2} of the defaults')", mine / t))
    };
    let mut parts: Vec<String> = Vec::new();
    for (n, load) in point.loads.iter().enumerate() {
        let theirs = default.and_then(|default| default.loads.get(n)).map(|load| load.p99);
        parts.push(format!("p99 {}{} at {}/s", short(load.p99), times(load.p99, theirs), rate(load.rate)));
    }
    parts.push(format!("{}/s at most{}", rate(point.most), times(point.most, default.map(|default| default.most))));
    let text = parts.join(", ");
    if point.knobs == DEFAULT { format!("the defaults are as good as any: {text}") } else { text }
}

/// The settings that no other beats in both: the tail under the highest load, and the most that is carried. The shortest tail first.
pub fn front(points: &[Point]) -> Vec<&Point> {
    let tail = |point: &Point| point.loads.last().filter(|load| load.carried).map_or(f64::INFINITY, |load| load.p99);
    let mut sorted: Vec<&Point> = points.iter().filter(|point| tail(point).is_finite()).collect();
    sorted.sort_by(|a, b| tail(a).total_cmp(&tail(b)).then(b.most.total_cmp(&a.most)));
    let mut best = 0.0;
    sorted.retain(|point| {
        let is_better = point.most > best;
        best = f64::max(best, point.most);
        is_better
    });
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(flights: usize, tails: [f64; 3], most: f64) -> Point {
        let loads = tails.iter().enumerate().map(|(n, &p99)| Under {
            rate: 1000.0 * (n + 1) as f64,
            p50: p99 / 2.0,
            p99,
            spread: (p99, p99),
            carried: p99 < 1e6,
        });
        Point { knobs: Knobs { flights, ..DEFAULT }, loads: loads.collect(), most }
    }

    #[test]
    fn each_aim_has_its_best_and_the_defaults_win_a_draw() {
        let points = [
            point(4, [200.0, 400.0, 2000.0], 50_000.0),
            point(1, [300.0, 500.0, 900.0], 30_000.0),
            point(8, [195.0, 390.0, 3000.0], 60_000.0),
            point(16, [900.0, 900.0, 2e6], 61_000.0),
        ];
        let found = profiles(&points);
        let flights: Vec<usize> = found.iter().map(|profile| profile.knobs.flights).collect();
        assert_eq!(flights, [4, 4, 8], "{found:?}");
        assert!(found[0].why.starts_with("the defaults are as good as any: p99 200 us"), "{}", found[0].why);
        assert!(found[2].why.contains("60,000/s at most (1.20 of the defaults')"), "{}", found[2].why);
        assert!(profiles(&[]).is_empty());
        assert!(profiles(&[point(4, [2e6; 3], 9.0)]).is_empty(), "what is not carried is good for nothing");
    }

    #[test]
    fn the_front_is_what_nobody_beats_in_both() {
        let points = [
            point(1, [1.0, 1.0, 100.0], 10.0),
            point(2, [1.0, 1.0, 120.0], 9.0),
            point(3, [1.0, 1.0, 150.0], 20.0),
            point(5, [1.0, 1.0, 2e6], 99.0),
            point(6, [1.0, 1.0, 150.0], 19.0),
        ];
        let front: Vec<usize> = front(&points).iter().map(|point| point.knobs.flights).collect();
        assert_eq!(front, [1, 3]);
    }
}
