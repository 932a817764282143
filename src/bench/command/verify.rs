//! Verify: `ringkeeper bench verify`, which measures what is known and says whether it comes out.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{failed, print, stoppable};
use crate::bench::control::{Control, RunError};
use crate::bench::echo::Standstill;
use crate::bench::truth::{Exam, PER_PROCESSOR_SECOND, Told, at_full_speed, on_regular, on_stalls, per_processor_second};

const LONG: &str = "\
Measures servers whose latencies are known beforehand, inside this process, and says whether the
tool tells them on this machine:

  - a server that stands still for --stall-ms every --stall-every-ms: the open loop must show the
    quantiles that follow from the schedule; what a closed loop shows stands beside;
  - a server that answers at once: what the tool adds to a latency;
  - the same as fast as it goes: requests for a second of the generator's processor time, which must
    be 1.5 million at least (in a release build).

It takes about a minute. Exit codes: 0 all is as it must be, 1 something is not, 2 wrong usage.";

/// Rates at which the tool's own part is told.
const RATES: [f64; 3] = [1000.0, 10_000.0, 50_000.0];

/// Check that the tool tells the truth here.
#[derive(Args, Debug)]
#[command(long_about = LONG)]
pub struct Verify {
    /// Arrivals a second at the server that stalls.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    rate: u32,

    /// Length of its stalls.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    stall_ms: u32,

    /// From the begin of one to that of the next.
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    stall_every_ms: u32,

    /// Stalls that are measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    stalls: u32,

    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,

    /// Seconds of each of the other measurements.
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = super::load::seconds)]
    seconds: f64,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

impl Verify {
    /// Verifies.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if self.stall_ms >= self.stall_every_ms {
            return failed("stalls of --stall-ms must be shorter than the time from one to the next, --stall-every-ms");
        }
        let done = stoppable(self.quiet, true).and_then(|control| {
            let (text, is_true) = self.examine(&control).map_err(|error| failed(&error.to_string()))?;
            print(&text)?;
            Ok(is_true)
        });
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(code) => code,
        }
    }

    fn examine(&self, control: &Control) -> Result<(String, bool), RunError> {
        let milliseconds = |ms: u32| Duration::from_millis(ms.into());
        let stall = Standstill { length: milliseconds(self.stall_ms), every: milliseconds(self.stall_every_ms) };
        let connections = usize::from(self.connections);
        let exam = Exam { rate: self.rate.into(), periods: self.stalls, stall, connections };
        let told = on_stalls(&exam, control)?;
        let mut text = String::new();
        let mut is_true = stalls(&mut text, &exam, &told);
        add(&mut text, "\nWhat the tool itself adds, against an echo that answers at once, us:\n");
        add(&mut text, &format!("{:>12}{:>10}{:>10}{:>10}{:>12}\n", "rate", "p50", "p99", "max", "late p99"));
        for rate in RATES {
            let record = on_regular(rate, self.seconds, connections, control)?;
            let all = record.all();
            let (p50, p99, max) = (all.quantile_us(0.5), all.quantile_us(0.99), all.max_us());
            add(&mut text, &format!("{rate:>12.0}{p50:>10}{p99:>10}{max:>10}{:>12}\n", record.generator.late_p99_us));
        }
        let record = at_full_speed(self.seconds, connections, control)?;
        let speed = per_processor_second(&record);
        let judged = if cfg!(debug_assertions) {
            "not judged, this is a debug build".to_owned()
        } else {
            let is_fast = speed >= PER_PROCESSOR_SECOND && record.errors() == 0;
            is_true &= is_fast;
            format!("{PER_PROCESSOR_SECOND:.0} are needed: {}", if is_fast { "yes" } else { "NO" })
        };
        add(
            &mut text,
            &format!(
                "\nAs fast as it goes, {connections} connections 32 deep: {:.0} requests/s, {speed:.0} for a second of the \
                 generator's processor time ({judged})\n",
                record.achieved()
            ),
        );
        if control.is_stopped() {
            return Err(RunError::Spec("stopped before all was measured".into()));
        }
        add(&mut text, if is_true { "\nAll is as it must be.\n" } else { "\nSomething is not as it must be.\n" });
        Ok((text, is_true))
    }
}

/// Tells the examination on stalls; returns whether the tool told the truth.
fn stalls(text: &mut String, exam: &Exam, told: &Told) -> bool {
    let (length, every) = (exam.stall.length.as_millis(), exam.stall.every.as_millis());
    add(
        text,
        &format!(
            "An echo that stands still for {length} ms every {every} ms, {} times; open loop at {:.0}/s against closed loop of depth \
             1, {} connections each, us:\n",
            exam.periods, exam.rate, exam.connections
        ),
    );
    add(text, &format!("{:>12}{:>12}{:>12}{:>10}  {:<8}{:>12}\n", "", "must be", "open loop", "+-", "", "closed loop"));
    for quantile in &told.quantiles {
        let verdict = if quantile.is_true() { "true" } else { "WRONG" };
        let (expected, off_by) = (quantile.expected, quantile.off_by);
        let (name, open, closed) = (quantile.name, quantile.open, quantile.closed);
        add(text, &format!("{name:>12}{expected:>12.0}{open:>12}{off_by:>10.0}  {verdict:<8}{closed:>12}\n"));
    }
    let (there, found) = told.stalls;
    let verdict = if there as usize == found { "true" } else { "WRONG" };
    add(text, &format!("{:>12}{there:>12}{found:>12}{:>10}  {verdict:<8}{:>12}\n", "stalls", 0, told.closed.stalls.len()));
    for (name, record) in [("open", &told.open), ("closed", &told.closed)] {
        let arrived = record.arrivals;
        add(
            text,
            &format!(
                "{name:>12}: {:.0}/s offered, {:.0}/s answered, {} delayed, {} dropped, {} unanswered at the end\n",
                record.offered(),
                record.achieved(),
                arrived.delayed,
                arrived.dropped,
                arrived.unanswered
            ),
        );
    }
    told.is_true()
}

fn add(text: &mut String, more: &str) {
    text.write_str(more).expect("a string takes what it is given");
}
