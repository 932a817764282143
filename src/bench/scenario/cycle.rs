//! Cycle: what each client does again and again, for itself, and the threads that drive it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::lines::Lines;
use super::place::Place;
use super::tally::Tally;
use super::{Ended, Heard, Outcome, pin, unix_ms_in};
use crate::bench::control::{Control, RunError};
use crate::bench::machine;
use crate::bench::spec::{Arrivals, Pace, Spec};

/// Cycles of the open loop that wait for a client at most, on one thread; those beyond are dropped.
const WAITING_MAX: usize = 1 << 20;

/// Longest sleep, ns: progress and a stop by the user are seen to within it.
const SLEEP_NS: u64 = 100_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What the clients of one thread do. Clients are numbers of lines.
pub(super) trait Cycle: Send {
    /// Names of the operations.
    const NAMES: &'static [&'static str];

    /// Whether a client has its session from the beginning.
    const HAS_SESSION: bool;

    /// Begins a cycle, which was to start at `start`; its first operation is counted as offered already.
    fn begin(&mut self, at: usize, start: u64, lines: &mut Lines);

    /// Whether a client that is in a cycle waits for an answer.
    fn is_asking(&self, _at: usize) -> bool {
        true
    }

    /// Something came for a client. `true` if its cycle is over.
    fn hear(&mut self, at: usize, now: u64, heard: Heard, lines: &mut Lines, tally: &mut Tally) -> Result<bool, Ended>;
}

/// When cycles are to start.
#[derive(Debug)]
struct Schedule {
    random: u64,
    gap: f64,
    arrivals: Arrivals,
    next: f64,
}

impl Schedule {
    /// `rate` a second from the moment `from` on, ns.
    fn new(rate: f64, arrivals: Arrivals, seed: u64, from: u64) -> Self {
        let mut schedule = Self { random: seed, gap: 1e9 / rate, arrivals, next: from as f64 };
        schedule.advance();
        schedule
    }

    fn next(&self) -> u64 {
        self.next as u64
    }

    fn advance(&mut self) {
        self.next += match self.arrivals {
            Arrivals::Constant => self.gap,
            Arrivals::Poisson => -self.unit().ln() * self.gap,
        };
    }

    /// Above 0, at most 1; splitmix64.
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// What all threads of a run share.
struct Plan<'a> {
    spec: &'a Spec,
    control: &'a Control,
    /// When cycles begin, when they are measured and until when, ns.
    begin: u64,
    from: u64,
    until: u64,
    threads: usize,
    /// Cycles done, by all threads.
    done: AtomicU64,
}

/// What one thread brings home.
struct Seen {
    tally: Tally,
    end: u64,
    processor_seconds: f64,
    ended: Option<Ended>,
}

/// Runs cycles that `make` makes for each thread.
pub(super) fn run<C: Cycle>(
    spec: &Spec,
    place: &Place,
    control: &Control,
    make: impl Fn(usize) -> C,
) -> Result<Outcome, RunError> {
    let threads = spec.threads.min(spec.connections);
    let clock = Instant::now();
    let mut crews = Vec::new();
    let mut stopped = None;
    for thread in 0..threads {
        let clients = (spec.connections - thread).div_ceil(threads);
        let mut lines = Lines::new(clock, clients, &place.servers, thread)?;
        if C::HAS_SESSION {
            match lines.open_all(spec.session_timeout_ms, control) {
                Ok(()) => {}
                Err(Ended::Lost(server, why)) => return Err(RunError::NoSession(server, why)),
                Err(ended) => stopped = Some(ended),
            }
        }
        crews.push((make(thread), lines));
    }
    let begin = u64::try_from(clock.elapsed().as_nanos()).expect("584 years");
    let from = begin + (spec.warmup * 1e9) as u64;
    let until = from + (spec.seconds * 1e9) as u64;
    let began_unix_ms = unix_ms_in(from - begin);
    let plan = Plan { spec, control, begin, from, until, threads, done: AtomicU64::new(0) };
    let mut outcome = Outcome {
        tally: Tally::new(C::NAMES, from, until),
        from,
        end: from,
        began_unix_ms,
        processor_seconds: 0.0,
        ended: stopped,
    };
    if outcome.ended.is_some() {
        return Ok(outcome);
    }
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let plan = &plan;
        let crews = crews.into_iter().enumerate();
        let running: Vec<_> =
            crews.map(|(thread, (cycle, lines))| scope.spawn(move || drive(cycle, lines, plan, thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread of the load does not panic")).collect()
    });
    for one in seen {
        outcome.tally.add(&one.tally);
        outcome.processor_seconds += one.processor_seconds;
        outcome.end = outcome.end.max(one.end);
        outcome.ended = outcome.ended.or(one.ended);
    }
    Ok(outcome)
}

/// The clients of one thread, as the pace has them begin.
struct Crew<'a, C> {
    cycle: C,
    lines: Lines,
    tally: Tally,
    plan: &'a Plan<'a>,
    schedule: Option<Schedule>,
    idle: Vec<usize>,
    /// Starts of cycles that found no client free.
    waiting: VecDeque<u64>,
    /// ns at which this thread shows progress next; never but for the first one.
    shows: u64,
    shown: u64,
}

fn drive<C: Cycle>(cycle: C, lines: Lines, plan: &Plan<'_>, thread: usize) -> Seen {
    pin(plan.control, thread, plan.threads);
    let schedule = match plan.spec.pace {
        Pace::Open { rate, arrivals } => {
            let rate = rate * lines.len() as f64 / plan.spec.connections as f64;
            Some(Schedule::new(rate, arrivals, plan.spec.seed.wrapping_add(thread as u64 * 0x5851_f42d_4c95_7f2d), plan.begin))
        }
        Pace::Closed => None,
    };
    let idle = (0..lines.len()).rev().collect();
    let tally = Tally::new(C::NAMES, plan.from, plan.until);
    let shows = if thread == 0 { plan.begin } else { u64::MAX };
    let mut crew = Crew { cycle, lines, tally, plan, schedule, idle, waiting: VecDeque::new(), shows, shown: 0 };
    let mut processor_from = None;
    let ended = crew.drive(&mut processor_from).err();
    let end = crew.lines.now().min(plan.until);
    let processor_seconds = processor_from.map_or(0.0, |from| machine::thread_seconds() - from);
    let asking = (0..crew.lines.len()).filter(|at| crew.cycle.is_asking(*at)).count() - crew.idle.len();
    crew.tally.recorder.unanswered((asking + crew.waiting.len()) as u64);
    crew.lines.close();
    Seen { tally: crew.tally, end, processor_seconds, ended }
}

impl<C: Cycle> Crew<'_, C> {
    fn drive(&mut self, processor_from: &mut Option<f64>) -> Result<(), Ended> {
        let mut heard = Vec::new();
        loop {
            let now = self.lines.now();
            if now >= self.plan.until {
                return Ok(());
            }
            if self.plan.control.is_stopped() {
                return Err(Ended::Stopped);
            }
            if now >= self.plan.from && processor_from.is_none() {
                *processor_from = Some(machine::thread_seconds());
            }
            self.start(now);
            self.show(now);
            let next = self.schedule.as_ref().map_or(u64::MAX, Schedule::next);
            self.lines.turn(next.min(self.plan.until).min(now + SLEEP_NS), &mut heard)?;
            for (at, now, what) in heard.drain(..) {
                if self.cycle.hear(at, now, what, &mut self.lines, &mut self.tally)? {
                    self.plan.done.fetch_add(1, Ordering::Relaxed);
                    self.again(at);
                }
            }
        }
    }

    /// Starts what is due.
    fn start(&mut self, now: u64) {
        let Some(schedule) = &mut self.schedule else {
            while let Some(at) = self.idle.pop() {
                self.tally.offered(now);
                self.cycle.begin(at, now, &mut self.lines);
            }
            return;
        };
        while schedule.next() <= now {
            let start = schedule.next();
            schedule.advance();
            self.tally.offered(start);
            if let Some(at) = self.idle.pop() {
                let late = self.lines.now().saturating_sub(start);
                if self.tally.recorder.covers(start) {
                    self.tally.late.record_ns(late);
                }
                self.cycle.begin(at, start, &mut self.lines);
            } else {
                let is_dropped = self.waiting.len() == WAITING_MAX;
                self.tally.recorder.held_up(start, is_dropped);
                if !is_dropped {
                    self.waiting.push_back(start);
                }
            }
        }
    }

    /// A client is free.
    fn again(&mut self, at: usize) {
        if self.schedule.is_none() {
            let start = self.lines.now();
            self.tally.offered(start);
            self.cycle.begin(at, start, &mut self.lines);
        } else if let Some(start) = self.waiting.pop_front() {
            self.cycle.begin(at, start, &mut self.lines);
        } else {
            self.idle.push(at);
        }
    }

    fn show(&mut self, now: u64) {
        if now < self.shows {
            return;
        }
        self.shows = now + SECOND_NS;
        let done = self.plan.done.load(Ordering::Relaxed);
        let Plan { spec, from, until, .. } = *self.plan;
        let phase = if now < from { "warm-up" } else { "measured" };
        self.plan.control.progress(&format!(
            "{}: {phase}, {:.0} s to go, {} cycles in the last second, {} wait for a client",
            spec.workload,
            until.saturating_sub(now) as f64 / 1e9,
            done - self.shown,
            self.waiting.len()
        ));
        self.shown = done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_their_rate_and_repeat_with_the_seed() {
        let starts = |arrivals, seed| {
            let mut schedule = Schedule::new(1000.0, arrivals, seed, 5000);
            let all: Vec<u64> = (0..100_000).map(|_| (schedule.next(), schedule.advance()).0).collect();
            all
        };
        let constant = starts(Arrivals::Constant, 1);
        assert_eq!((constant[0], constant[99_999]), (1_005_000, 100_000_005_000));
        let poisson = starts(Arrivals::Poisson, 1);
        assert!(poisson.is_sorted());
        assert!((99e9..101e9).contains(&(poisson[99_999] as f64)), "{}", poisson[99_999]);
        assert_eq!(poisson, starts(Arrivals::Poisson, 1));
        assert_ne!(poisson, starts(Arrivals::Poisson, 2));
    }
}
