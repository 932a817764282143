//! Trial: small data directories made by the real engines, and what a start makes of them when they were hurt. Test code only.
//!
//! The gate plays a slice. `RINGKEEPER_DAMAGE_CASES` asks for more (`scripts/damage.sh`), `RINGKEEPER_DAMAGE_CASE` for one, told in full.

mod crash;
mod damage;
mod dice;
mod disk;
mod injury;
mod life;
mod member;
mod relapse;
pub mod scripts;
pub(in crate::server) mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use damage::{Lines, OUTCOMES, Stage, Verdict};
use dice::Dice;
use world::World;

/// Cases of the gate.
const CASES: u64 = 1500;

/// Cases of one world.
const A_WORLD: u64 = 50;

/// Failures that are told.
const TOLD: u64 = 20;

/// Cases between two lines about how far a campaign has come.
const PROGRESS: u64 = 10_000;

/// Outcomes by what was hurt and how.
#[derive(Default)]
struct Tally {
    rows: BTreeMap<String, [u64; OUTCOMES.len()]>,
    failed: u64,
    done: u64,
}

impl Tally {
    fn take(&mut self, case: u64, verdict: &Verdict) {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS) {
            println!("{} played, {} failed", self.done, self.failed);
        }
        match &verdict.outcome {
            Ok(outcome) => {
                let mut rows = vec!["all cases".to_owned()];
                for wound in &verdict.wounds {
                    rows.push(format!("hurt: {:?}", wound.kind));
                    rows.push(format!("injury: {:?}", wound.injury));
                }
                rows.sort_unstable();
                rows.dedup();
                for row in rows {
                    self.rows.entry(row).or_default()[*outcome as usize] += 1;
                }
            }
            Err(what) => {
                self.failed += 1;
                if self.failed <= TOLD {
                    println!("FAILED {}", told(case, verdict, what));
                }
            }
        }
    }

    fn table(&self) -> String {
        let mut lines = format!("| | {} |\n|---|{}", OUTCOMES.join(" | "), "---:|".repeat(OUTCOMES.len()));
        for (row, counts) in &self.rows {
            let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
            lines += &format!("\n| {row} | {} |", counts.join(" | "));
        }
        lines
    }
}

fn told(case: u64, verdict: &Verdict, what: &dyn std::fmt::Display) -> String {
    let wounds: Vec<_> = verdict.wounds.iter().map(ToString::to_string).collect();
    format!(
        "RINGKEEPER_DAMAGE_CASE={case} (world {}): {what}\n  injuries: {}\n  it said: {:?}",
        case / A_WORLD,
        wounds.join("; "),
        verdict.said
    )
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Cases of a world; `only` one of them.
fn play(seed: u64, cases: std::ops::Range<u64>, mut done: impl FnMut(u64, &Verdict)) {
    let lines = Lines::default();
    let _guard = lines.listen();
    let world = World::new(seed);
    let dir = world::scratch();
    let stage = Stage::new(dir.path(), lines);
    for case in cases {
        done(case, &stage.play(&world, &mut Dice::new(case ^ 0xda3a_9e00_0000_0000)));
    }
}

#[test]
fn a_hurt_directory_starts_with_the_truth_or_is_refused() {
    if let Some(case) = asked("RINGKEEPER_DAMAGE_CASE") {
        play(case / A_WORLD, case..case + 1, |case, verdict| {
            println!("{}", told(case, verdict, &format!("{:?}", verdict.outcome)));
            assert!(verdict.outcome.is_ok());
        });
        return;
    }
    let cases = asked("RINGKEEPER_DAMAGE_CASES").unwrap_or(CASES);
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let from = seed * A_WORLD;
                    if from >= cases {
                        break;
                    }
                    play(seed, from..cases.min(from + A_WORLD), |case, verdict| tally.lock().unwrap().take(case, verdict));
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    println!("{}", tally.table());
    println!("cases: {}, failed: {}, seconds: {:.0}", tally.done, tally.failed, began.elapsed().as_secs_f64());
    assert_eq!(tally.failed, 0, "of {} cases; they are told above", tally.done);
    let outcomes = tally.rows["all cases"];
    assert!(outcomes[..4].iter().all(|count| *count > 0), "each outcome is met: {outcomes:?}");
}
