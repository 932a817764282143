//! Round: what all clients do together, again and again, and the thread that drives it.

use std::time::Instant;

use super::lines::Lines;
use super::place::Place;
use super::tally::Tally;
use super::{Ended, Heard, Outcome, pin, unix_ms_in};
use crate::bench::control::{Control, RunError};
use crate::bench::machine;
use crate::bench::spec::Spec;

/// How long a round may take, ns; what has not come by then never will.
pub(super) const PATIENCE_NS: u64 = 60_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// The rounds of a scenario.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    pub(super) lines: Lines,
    pub(super) tally: Tally,
    pub(super) spec: &'a Spec,
    control: &'a Control,
    names: &'static [&'static str],
    /// The measured time; 0 before the first round.
    from: u64,
    until: u64,
    began_unix_ms: u64,
    /// ns between the beginnings of two rounds at least.
    gap: u64,
    due: u64,
    begun: u64,
    measured: u64,
    shows: u64,
    processor_from: Option<f64>,
}

/// Runs a scenario of rounds on `connections` lines: `scenario` prepares, calls [`Rounds::start`], and then does a round for
/// every [`Rounds::next`].
pub(super) fn run(
    (spec, place, control): (&Spec, &Place, &Control),
    names: &'static [&'static str],
    connections: usize,
    scenario: impl FnOnce(&mut Rounds<'_>) -> Result<(), Ended> + Send,
) -> Result<Outcome, RunError> {
    let lines = Lines::new(Instant::now(), connections, &place.servers, 0)?;
    let mut rounds = Rounds {
        lines,
        tally: Tally::new(names, 0, 0),
        spec,
        control,
        names,
        from: 0,
        until: 0,
        began_unix_ms: unix_ms_in(0),
        gap: spec.rate().map_or(0, |rate| (1e9 / rate) as u64),
        due: 0,
        begun: 0,
        measured: 0,
        shows: 0,
        processor_from: None,
    };
    // A thread of its own, so that it can be pinned without the caller's being so.
    let (ended, end, processor_seconds) = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            pin(control, 0, 1);
            let ended = scenario(&mut rounds).err();
            let end = rounds.lines.now();
            let processor_seconds = rounds.processor_from.map_or(0.0, |from| machine::thread_seconds() - from);
            rounds.lines.close();
            (ended, end, processor_seconds)
        });
        running.join().expect("the thread of the load does not panic")
    });
    match ended {
        Some(Ended::Lost(server, why)) if rounds.from == 0 => Err(RunError::NoSession(server, why)),
        Some(Ended::Other(why)) if rounds.from == 0 => Err(RunError::Prepare(rounds.lines.server(0).name.clone(), why)),
        ended => {
            let Rounds { tally, from, began_unix_ms, .. } = rounds;
            Ok(Outcome { tally, from, end: if from == 0 { 0 } else { end.max(from) }, began_unix_ms, processor_seconds, ended })
        }
    }
}

impl Rounds<'_> {
    /// Opens a session on every line.
    pub(super) fn open_all(&mut self) -> Result<(), Ended> {
        self.control.progress(&format!("{}: opening {} sessions", self.spec.workload, self.lines.len()));
        self.lines.open_all(self.spec.session_timeout_ms, self.control)
    }

    /// All is prepared: the warm-up begins.
    pub(super) fn start(&mut self) {
        let now = self.lines.now();
        self.measure_from(now + (self.spec.warmup * 1e9) as u64, now);
    }

    fn measure_from(&mut self, from: u64, now: u64) {
        self.from = from;
        self.until = from + (self.spec.seconds * 1e9) as u64;
        self.began_unix_ms = unix_ms_in(from - now);
        // The last round may end after the time is over, and counts.
        self.tally = Tally::new(self.names, from, self.until + PATIENCE_NS);
    }

    /// Waits for the beginning of the next round; `None` where the time is over.
    pub(super) fn next(&mut self) -> Result<Option<u64>, Ended> {
        loop {
            let now = self.lines.now();
            if now >= self.until && self.measured > 0 {
                return Ok(None);
            }
            // Where rounds are so rare that none has begun in the measured time, one is due at its end.
            let due = self.due.min(self.until);
            if now >= due && (self.measured == 0 || now < self.until) {
                self.due = now + self.gap;
                self.begun += 1;
                self.tally.is_muted = now < self.from;
                if !self.tally.is_muted {
                    if self.measured == 0 {
                        // The last round of the warm-up may have taken longer than that.
                        self.measure_from(now, now);
                    }
                    self.measured += 1;
                    self.processor_from.get_or_insert_with(machine::thread_seconds);
                }
                return Ok(Some(now));
            }
            self.listen(due, |rounds, at, now, heard| Err(rounds.lines.lost(at, now, heard)))?;
        }
    }

    /// Hears what comes until `each` says that it was all, or until `deadline`: whether it was all.
    pub(super) fn listen(
        &mut self,
        deadline: u64,
        mut each: impl FnMut(&mut Self, usize, u64, Heard) -> Result<bool, Ended>,
    ) -> Result<bool, Ended> {
        let (mut heard, mut is_all) = (Vec::new(), false);
        loop {
            self.lines.turn(deadline, &mut heard)?;
            for (at, now, what) in heard.drain(..) {
                is_all |= each(self, at, now, what)?;
            }
            let now = self.lines.now();
            if is_all || now >= deadline {
                return Ok(is_all);
            }
            if self.control.is_stopped() {
                return Err(Ended::Stopped);
            }
            if now >= self.shows {
                self.shows = now + SECOND_NS;
                self.show(now);
            }
        }
    }

    fn show(&self, now: u64) {
        let to_go = self.until.saturating_sub(now) as f64 / 1e9;
        let phase = match now {
            _ if self.from == 0 => "preparing".to_owned(),
            now if now < self.from => format!("warm-up, {to_go:.0} s to go"),
            _ => format!("measured, {to_go:.0} s to go"),
        };
        self.control.progress(&format!("{}: {phase}, round {}", self.spec.workload, self.begun));
    }
}
