//! Truth: measures servers whose latencies are known beforehand, and says whether the tool tells them.

use std::time::Duration;

use super::control::{Control, RunError};
use super::echo::{Echo, Manner, Standstill};
use super::record::{Record, Target};
use super::run::run;
use super::spec::{Arrivals, Pace, Spec};

/// What a quantile may be off by, us: the wake-ups of two threads, ...
const OFF_BY_US: f64 = 2000.0;

/// ... and this part of a stall's length, for a machine that has other things to do.
const OFF_BY_PART: f64 = 0.03;

/// Requests for which a second of the generator's processor time must suffice.
pub const PER_PROCESSOR_SECOND: f64 = 1_500_000.0;

/// Quantiles that are compared.
const COMPARED: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// What is examined.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exam {
    /// Arrivals a second of the open loop.
    pub rate: f64,
    /// Whole periods of the stall that are measured.
    pub periods: u32,
    /// The stalls of the server.
    pub stall: Standstill,
    /// Connections.
    pub connections: usize,
}

impl Default for Exam {
    fn default() -> Self {
        let stall = Standstill { length: Duration::from_millis(200), every: Duration::from_secs(5) };
        Self { rate: 10_000.0, periods: 3, stall, connections: 64 }
    }
}

/// A quantile as it must be, and as the two loops tell it, us.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quantile {
    /// Its name.
    pub name: &'static str,
    /// Computed from the schedule.
    pub expected: f64,
    /// What the open loop tells.
    pub open: u64,
    /// What the closed loop tells, at depth 1 on as many connections.
    pub closed: u64,
    /// What the open loop may be off by.
    pub off_by: f64,
}

impl Quantile {
    /// Whether the open loop tells what must be.
    #[must_use]
    pub fn is_true(&self) -> bool {
        (self.open as f64 - self.expected).abs() <= self.off_by
    }
}

/// What the stalling server's examination gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// The quantiles.
    pub quantiles: Vec<Quantile>,
    /// Stalls that there were in the measured time, and that the open loop found.
    pub stalls: (u32, usize),
    /// Record of the open loop.
    pub open: Record,
    /// Record of the closed loop.
    pub closed: Record,
}

impl Told {
    /// Whether the open loop tells the truth.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.quantiles.iter().all(Quantile::is_true) && self.stalls.0 as usize == self.stalls.1
    }
}

/// The latency, us, within which the part `q` of all arrivals is answered by a server that answers at once, but for stalls.
///
/// Arrivals are even in time. Of each period the part length/every meets a stall and waits for its end, between 0 and the whole
/// length, all equally often. So the part of arrivals that waits longer than L is (length - L)/every, and this is 1 - q for
/// L = length - (1 - q) every: below 0, where fewer than that meet a stall at all, the answer comes at once.
#[must_use]
pub fn expected_us(stall: Standstill, q: f64) -> f64 {
    let (length, every) = (stall.length.as_secs_f64(), stall.every.as_secs_f64());
    ((length - (1.0 - q) * every) * 1e6).max(0.0)
}

/// Examines the open loop, and beside it the closed one, on a server that stalls.
pub fn on_stalls(exam: &Exam, control: &Control) -> Result<Told, RunError> {
    let seconds = exam.stall.every.as_secs_f64() * f64::from(exam.periods);
    let open = Pace::Open { rate: exam.rate, arrivals: Arrivals::Constant };
    let spec = Spec { connections: exam.connections, seconds, warmup: 1.0, nodes: 100, threads: 1, ..Spec::default() };
    let manner = Manner { stall: Some(exam.stall), ..Manner::default() };
    let echo = start(manner.clone())?;
    let open = run(&Spec { pace: open, ..spec.clone() }, &target(&echo, "stalling echo, open loop"), control)?;
    // As the echo itself measured them: a busy machine may let it oversleep.
    let stalls = echo.stop().map_err(|error| RunError::Machine("the echo", error))?;
    let longest = stalls.iter().max().copied().unwrap_or(exam.stall.length);
    let echo = start(manner)?;
    let closed = run(&Spec { in_flight: 1, ..spec }, &target(&echo, "stalling echo, closed loop"), control)?;
    let off_by = OFF_BY_PART.mul_add(exam.stall.length.as_secs_f64() * 1e6, OFF_BY_US);
    let (told, short) = (open.all(), closed.all());
    let quantiles = COMPARED.map(|(name, q)| {
        let expected = if q < 1.0 { expected_us(exam.stall, q) } else { longest.as_secs_f64() * 1e6 };
        Quantile { name, expected, open: told.quantile_us(q), closed: short.quantile_us(q), off_by }
    });
    Ok(Told { quantiles: quantiles.to_vec(), stalls: (exam.periods, open.stalls.len()), open, closed })
}

/// What the tool itself adds: the open loop at this rate against a server that answers at once.
pub fn on_regular(rate: f64, seconds: f64, connections: usize, control: &Control) -> Result<Record, RunError> {
    let pace = Pace::Open { rate, arrivals: Arrivals::Constant };
    let echo = start(Manner::default())?;
    let spec = Spec { pace, connections, seconds, warmup: 0.5, nodes: 100, threads: 1, ..Spec::default() };
    run(&spec, &target(&echo, "regular echo, open loop"), control)
}

/// What the tool can drive: the closed loop, 32 deep, against a server that answers at once.
pub fn at_full_speed(seconds: f64, connections: usize, control: &Control) -> Result<Record, RunError> {
    let echo = start(Manner::default())?;
    let spec = Spec { connections, seconds, warmup: 0.5, threads: 1, ..Spec::default() };
    run(&spec, &target(&echo, "regular echo, closed loop"), control)
}

/// Answers for a second of the generator's processor time: on a machine that has other things to do, the wall clock would
/// measure those.
#[must_use]
pub fn per_processor_second(record: &Record) -> f64 {
    record.arrivals.answered as f64 / record.generator.processor_seconds.max(1e-9)
}

fn start(manner: Manner) -> Result<Echo, RunError> {
    Echo::start("127.0.0.1:0", manner).map_err(|error| RunError::Machine("the echo", error))
}

fn target(echo: &Echo, label: &str) -> Target {
    Target { label: label.into(), servers: vec![echo.address().to_string()], ..Target::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_what_counting_gives() {
        let stall = Exam::default().stall;
        // One period of 5 s at 10,000 a second, the stall at its end.
        let mut waits: Vec<f64> = (0..50_000).map(|n| f64::from(n) * 100.0).map(|at| (at - 4_800_000.0).max(0.0)).collect();
        waits.iter_mut().filter(|wait| **wait > 0.0).for_each(|wait| *wait = 200_000.0 - *wait);
        waits.sort_by(f64::total_cmp);
        for (name, q) in COMPARED {
            let counted = waits[((waits.len() as f64 * q) as usize).min(waits.len() - 1)];
            assert!((expected_us(stall, q) - counted).abs() <= 200.0, "{name}: {counted}");
        }
        assert_eq!([0.5, 0.99, 0.999].map(|q| expected_us(stall, q).round()), [0.0, 150_000.0, 195_000.0]);
    }

    #[test]
    fn the_open_loop_tells_a_stall_and_the_closed_one_hides_it() {
        let stall = Standstill { length: Duration::from_millis(200), every: Duration::from_secs(1) };
        let exam = Exam { rate: 2000.0, periods: 2, stall, connections: 16 };
        let control = Control { is_quiet: true, ..Control::default() };
        let told = on_stalls(&exam, &control).unwrap();
        let (p90, max) = (told.quantiles[1], told.quantiles[4]);
        // A tenth of all arrivals waits longer than 100 ms; machines that run tests are busy.
        let near = |quantile: Quantile| (quantile.open as f64 - quantile.expected).abs() < 50_000.0;
        assert!(near(p90) && near(max), "{:?}", told.quantiles);
        assert_eq!(p90.expected.round(), 100_000.0);
        assert!(p90.closed < 50_000 && max.closed > 100_000, "{:?}", told.quantiles);
        assert!(told.open.ended_early.is_none() && told.open.arrivals.offered == 4000, "{:?}", told.open.arrivals);
        assert!((1..=3).contains(&told.open.stalls.len()), "{:?}", told.open.stalls);
    }
}
