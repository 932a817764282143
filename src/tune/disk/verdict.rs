//! Verdict: what the figures of a drive mean for a log.

use serde::Serialize;

use super::setting::{Method, Setting, State, size};
use crate::show::figure::short;

/// What a setting has shown, in figures. Times are us.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cell {
    /// How it wrote.
    #[serde(flatten)]
    pub setting: Setting,
    /// Writes measured.
    pub count: u64,
    /// Writes a second.
    pub rate: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1,000 took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// What a second of the steady load has shown. Times are us.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Second {
    /// Writes.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// A flush below this is answered from memory, us.
const MEMORY_US: f64 = 150.0;

/// A flush above this goes to flash or further each time, us.
const SLOW_US: f64 = 1000.0;

/// More writes under way must carry so much more than fewer to be worth it.
const WORTH: f64 = 1.25;

/// So much slower is a cliff.
const CLIFF: f64 = 2.0;

/// What to set, and all that is to be said.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Verdict {
    /// Sentences.
    pub lines: Vec<String>,
    /// Lines of a configuration to begin with; none where too little was measured.
    pub settings: Vec<String>,
}

/// Reads the figures. What was not measured is not spoken of.
pub fn verdict(cells: &[Cell], steady: &[Second]) -> Verdict {
    let mut verdict = Verdict::default();
    let least = cells.iter().map(|cell| cell.setting.bytes).min().unwrap_or(0);
    let find = |state, method, direct, in_flight| {
        let wanted = Setting { state, method, direct, bytes: least, in_flight };
        cells.iter().find(|cell| cell.setting == wanted && cell.count > 0)
    };
    // What the server's log does, where the path takes it.
    let direct = cells.iter().any(|cell| cell.setting.direct);
    if !direct && !cells.is_empty() {
        verdict.lines.push("O_DIRECT was not measured: the figures are those of writes through the page cache".to_owned());
    }
    let log = |method, in_flight| find(State::Zeroed, method, direct, in_flight);
    if let Some(one) = log(Method::Dsync, 1).or_else(|| log(Method::Fdatasync, 1)) {
        let kind = match one.p50 {
            us if us < MEMORY_US => "from memory that survives a power cut, or by a drive that only says so",
            us if us < SLOW_US => "by flash that is quick, or across a short network",
            _ => "by flash or platters each time: this drive has no protected cache",
        };
        let (p50, p99) = (short(one.p50), short(one.p99));
        verdict.lines.push(format!("a durable write of {} takes {p50} (p99 {p99}): answered {kind}", size(least)));
    }
    let method = better(log(Method::Dsync, 1), log(Method::Fdatasync, 1));
    if let (Some(dsync), Some(fdatasync)) = (log(Method::Dsync, 1), log(Method::Fdatasync, 1)) {
        let (a, b) = (short(dsync.p99), short(fdatasync.p99));
        let name = method.map_or("", Method::name);
        verdict.lines.push(format!("p99 of dsync {a}, of fdatasync {b}: {name} is what to begin with"));
    }
    if let Some(method) = method {
        let flights = overlap(&mut verdict.lines, cells, method, direct, least);
        verdict.settings.push(format!("flush.method={}", method.name()));
        verdict.settings.extend(flights.map(|flights| format!("flush.flights={flights}")));
        for (state, why) in [(State::Reserved, "reserved blocks"), (State::Growing, "a growing file")] {
            if let (Some(zeroed), Some(other)) = (log(method, 1), find(state, method, direct, 1)) {
                let times = other.p50 / zeroed.p50.max(0.001);
                verdict.lines.push(format!("into {why} a write takes {times:.2} times as long as into a file of zeros"));
            }
        }
    }
    verdict.lines.extend(cliff(steady));
    verdict
}

/// The one of the lesser tail; `O_DSYNC`, one call a write, where they are alike.
fn better(dsync: Option<&Cell>, fdatasync: Option<&Cell>) -> Option<Method> {
    match (dsync, fdatasync) {
        (None, None) => None,
        (Some(dsync), Some(fdatasync)) if fdatasync.p99 * 1.1 < dsync.p99 && fdatasync.p50 <= dsync.p50 => {
            Some(Method::Fdatasync)
        }
        (Some(_), _) => Some(Method::Dsync),
        (None, Some(_)) => Some(Method::Fdatasync),
    }
}

/// How many writes under way are worth it, and says why.
fn overlap(lines: &mut Vec<String>, cells: &[Cell], method: Method, direct: bool, bytes: usize) -> Option<usize> {
    let mut ladder: Vec<&Cell> = cells
        .iter()
        .filter(|cell| {
            let Setting { state, method: of, direct: is, bytes: len, .. } = cell.setting;
            (state, of, is, len) == (State::Zeroed, method, direct, bytes) && cell.count > 0
        })
        .collect();
    ladder.sort_by_key(|cell| cell.setting.in_flight);
    let (first, last) = (ladder.first()?, ladder.last()?);
    let mut best = *first;
    for cell in &ladder[1..] {
        if cell.rate >= best.rate * WORTH {
            best = cell;
        }
    }
    if last.setting.in_flight > first.setting.in_flight {
        let (n, times) = (last.setting.in_flight, last.rate / first.rate.max(0.001));
        let how = if best.setting.in_flight > 1 {
            "flushes overlap"
        } else {
            "flushes do not overlap: a second one waits in the drive"
        };
        lines.push(format!("{how}: {n} at a time carry {times:.2} times as much as one, p99 {}", short(last.p99)));
    }
    Some(best.setting.in_flight)
}

/// What became of the drive under steady load.
fn cliff(steady: &[Second]) -> Option<String> {
    let quarter = steady.len() / 4;
    if quarter == 0 {
        return None;
    }
    let middle = |seconds: &[Second], of: fn(&Second) -> f64| {
        let mut all: Vec<f64> = seconds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (early, late) = (&steady[..quarter], &steady[steady.len() - quarter..]);
    let rates = (middle(early, |s| s.count as f64), middle(late, |s| s.count as f64));
    let tails = (middle(early, |s| s.p99), middle(late, |s| s.p99));
    let n = steady.len();
    let told = format!("p99 {} at first, {} at the end", short(tails.0), short(tails.1));
    Some(if tails.1 > tails.0 * CLIFF || rates.1 * CLIFF < rates.0 {
        let slow = |s: &Second| s.p99 > tails.0 * CLIFF || (s.count as f64) * CLIFF < rates.0;
        // The first of the seconds that stayed slow: most of those after it are.
        let at = (0..n).find(|&i| slow(&steady[i]) && steady[i..].iter().filter(|s| slow(s)).count() * 2 > n - i).unwrap_or(n);
        format!("a cliff after {at} s of steady writing: {told}: plan for what comes after it, or buy protected cache")
    } else {
        format!("no cliff within {n} s of steady writing: {told}; a drive's cache may last longer, --steady 600 asks for that")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(state: State, method: Method, in_flight: usize, p50: f64, rate: f64) -> Cell {
        let setting = Setting { state, method, direct: true, bytes: 4096, in_flight };
        Cell { setting, count: 1000, rate, p50, p90: p50 * 1.5, p99: p50 * 2.0, p999: p50 * 4.0, max: p50 * 9.0 }
    }

    fn second(p99: f64, count: u64) -> Second {
        Second { count, p50: p99 / 2.0, p99, max: p99 * 3.0 }
    }

    #[test]
    fn a_drive_whose_flushes_overlap() {
        let zeroed = |n, p50, rate| cell(State::Zeroed, Method::Dsync, n, p50, rate);
        let cells = [
            zeroed(1, 50.0, 20_000.0),
            zeroed(2, 52.0, 38_000.0),
            zeroed(4, 60.0, 66_000.0),
            zeroed(8, 110.0, 70_000.0),
            cell(State::Zeroed, Method::Fdatasync, 1, 70.0, 14_000.0),
            cell(State::Growing, Method::Dsync, 1, 150.0, 6000.0),
        ];
        let found = verdict(&cells, &[]);
        assert_eq!(found.settings, ["flush.method=dsync", "flush.flights=4"]);
        let told = found.lines.join("\n");
        for part in [
            "a durable write of 4k takes 50 us (p99 100 us): answered from memory",
            "p99 of dsync 100 us, of fdatasync 140 us: dsync is what",
            "flushes overlap: 8 at a time carry 3.50 times as much as one, p99 220 us",
            "into a growing file a write takes 3.00 times as long",
        ] {
            assert!(told.contains(part), "{part:?} is missing in {told}");
        }
    }

    #[test]
    fn a_drive_that_does_one_at_a_time_and_flushes_better_by_fdatasync() {
        let cells = [
            cell(State::Zeroed, Method::Dsync, 1, 5000.0, 200.0),
            cell(State::Zeroed, Method::Fdatasync, 1, 4000.0, 250.0),
            cell(State::Zeroed, Method::Fdatasync, 2, 8000.0, 251.0),
        ];
        let found = verdict(&cells, &[]);
        assert_eq!(found.settings, ["flush.method=fdatasync", "flush.flights=1"]);
        let told = found.lines.join("\n");
        assert!(told.contains("no protected cache") && told.contains("do not overlap"), "{told}");
    }

    #[test]
    fn what_was_not_measured_is_not_spoken_of() {
        assert_eq!(verdict(&[], &[]), Verdict::default());
        let none = Cell { count: 0, ..cell(State::Zeroed, Method::Dsync, 1, 0.0, 0.0) };
        assert_eq!(verdict(&[none], &[second(1.0, 1); 3]), Verdict::default());
    }

    #[test]
    fn a_cliff_is_seen_where_it_begins() {
        let mut steady = vec![second(100.0, 10_000); 40];
        // A hiccup is no cliff.
        steady[7] = second(900.0, 3000);
        assert!(cliff(&steady).unwrap().starts_with("no cliff within 40 s"));
        steady[25..].fill(second(3000.0, 900));
        let told = cliff(&steady).unwrap();
        assert!(told.starts_with("a cliff after 25 s") && told.contains("p99 100 us at first, 3 ms at the end"), "{told}");
    }
}
