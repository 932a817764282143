//! Floor 4: a pretend world from one seed. The same Zab core, log and recovery as in the server, under an event loop that owns the clock,
//! the net and the disks, breaks them by a plan, and checks after every event that no promise was broken. `docs/sim.md` has the list.

mod boot;
mod carry;
pub mod case;
mod chance;
mod client;
mod disk;
mod ending;
pub mod faults;
mod fuzz;
mod host;
mod job;
mod log;
mod model;
mod net;
mod node;
mod oracle;
mod papers;
mod process;
pub mod shrink;
mod snapshot;
pub mod stats;
mod strike;
mod trace;
mod world;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use case::Case;
use oracle::Violation;
use stats::Stats;
use world::World;

/// How a run has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The promise that was broken.
    pub invariant: &'static str,
    /// How.
    pub what: String,
    /// Number of the event at which it was noticed.
    pub event: u64,
    /// When, us of the simulated time.
    pub at: u64,
    /// What happened last, where the run was traced.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, what, event, at, .. } = self;
        write!(f, "{invariant} broken at event {event} ({:.6} s): {what}", *at as f64 / 1e6)
    }
}

/// How much a run tells of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// What happened last, if it fails.
    Last,
    /// Everything, on standard output.
    All,
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was counted.
    pub stats: Stats,
    /// A number made of all that happened: equal for equal cases.
    pub fingerprint: u64,
    /// How it failed, if it did.
    pub failure: Option<Failure>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Seed of the run that this thread plays.
    static PLAYING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A panic inside a run is the run's failure: it is kept, and not printed.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match PLAYING.get() {
            Some(_) if cfg!(panic = "unwind") => PANIC.set(Some(info.to_string().replace('\n', " "))),
            playing => {
                before(info);
                if let Some(seed) = playing {
                    eprintln!("seed {seed}: a build whose panics unwind tells more");
                }
            }
        }));
    });
}

/// Plays a case. Needs panics that unwind.
#[must_use]
pub fn play(case: &Case, tells: Tells) -> Outcome {
    listen();
    let mut world = World::new(case.clone(), tells != Tells::Nothing);
    if tells == Tells::All {
        world.trace.print();
    }
    PLAYING.set(Some(case.seed));
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.play()));
    PLAYING.set(None);
    let verdict = result.unwrap_or_else(|_| {
        let what = PANIC.take().unwrap_or_else(|| "a panic".to_owned());
        Err(Violation { invariant: "I24", what })
    });
    world.stats.runs = 1;
    world.stats.time = world.now;
    let failure = verdict.err().map(|Violation { invariant, what }| Failure {
        invariant,
        what,
        event: world.stats.events,
        at: world.now,
        last: world.trace.last(),
    });
    Outcome { fingerprint: world.fingerprint(), stats: world.stats, failure }
}
