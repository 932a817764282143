//! Seeds: a slice of the simulated worlds, and the cases that were found and made small once (`tests/seeds`), each of which a planted bug
//! or a mistake of old fails.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ringkeeper::sim::case::Case;
use ringkeeper::sim::faults::KINDS;
use ringkeeper::sim::stats::Stats;
use ringkeeper::sim::{Tells, play};

/// Seeds of the gate. `RINGKEEPER_SIM_SEEDS` asks for more.
const SEEDS: u64 = 200;

/// Seeds between two that are played twice.
const TWICE: u64 = 50;

#[test]
fn no_promise_is_broken_in_any_world() {
    let seeds = std::env::var("RINGKEEPER_SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number of seeds"));
    let next = AtomicU64::new(0);
    let sum = Mutex::new((Stats::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let case = Case::draw(seed);
                    let outcome = play(&case, Tells::Last);
                    let mut told = Vec::new();
                    if let Some(failure) = &outcome.failure {
                        let again = format!("again: ringkeeper sim --seed {seed} --trace; smaller: --shrink");
                        told.push(format!("{}\nseed {seed}: {failure}\n{again}", failure.last.join("\n")));
                    }
                    if seed.is_multiple_of(TWICE) && play(&case, Tells::Nothing).fingerprint != outcome.fingerprint {
                        told.push(format!("seed {seed}: two runs of it differ"));
                    }
                    let mut sum = sum.lock().unwrap();
                    sum.0.add(&outcome.stats);
                    sum.1.extend(told);
                }
            });
        }
    });
    let (stats, told) = sum.into_inner().unwrap();
    println!("{stats}");
    assert!(told.is_empty(), "{} of {seeds} worlds failed:\n{}", told.len(), told.join("\n\n"));
    let reached = |what: &str| assert!(stats.counts.contains_key(what), "no world has seen this: {what}");
    ["sync: DIFF", "sync: TRUNC", "sync: SNAP", "log cut", "state installed", "vote regained", "elections won", "history read"]
        .iter()
        .for_each(|what| reached(what));
    ["fuzzy state sent", "taken into a state that came", "batches that linger"].iter().for_each(|what| reached(what));
    for (kind, name) in KINDS {
        use ringkeeper::sim::faults::Kind;
        match kind {
            Kind::CrashAtSync => reached("fault: power lost at a sync"),
            Kind::SyncError => reached("fault: sync failed"),
            _ => reached(&format!("fault: {name}")),
        }
    }
}

#[test]
fn what_was_found_once_stays_mended() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let case = Case::parse(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let outcome = play(&case, Tells::Last);
        if let Some(failure) = outcome.failure {
            panic!("{}\n{}: {failure}", failure.last.join("\n"), path.display());
        }
    }
}
