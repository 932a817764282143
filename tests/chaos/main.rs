//! Chaos: an ensemble of real processes under load, faults one after the other, and every promise checked after each round.
//!
//! Writers, each in a directory of its own, and readers, on all servers; killed, paused, cut off, wiped servers; then all is healed
//! and whole, and the round is judged: an acknowledged write is there and a write without an answer happened once or not at all (V2,
//! V6, V12), real time and the order of each session are kept (V1, V4), each reading is what stood at its zxid (V3), a sync sees
//! what was acknowledged before it (V5), ephemeral znodes go with their sessions (V8), sequential names are unique and in order
//! (V10), and all servers have the same (V11).
//!
//! `RINGKEEPER_CHAOS_ROUNDS` (2), `RINGKEEPER_CHAOS_MINUTES` (instead of rounds), `RINGKEEPER_CHAOS_SEED`,
//! `RINGKEEPER_CHAOS_SERVERS` (3), `RINGKEEPER_CHAOS_SHARDS` (4, of the test with many shards), `RINGKEEPER_CHAOS_SERVER` (another
//! binary), `RINGKEEPER_CHAOS_COUNTERS` (a file that all runs add to), `RINGKEEPER_CHAOS_FAULTS` (faults a round, at most: 2),
//! `RINGKEEPER_CHAOS_REST` (ms that each client rests after an answer: 0), `RINGKEEPER_CHAOS_NETS`: each server in a network of its own,
//! so that ways can be cut (as root; one test at a time).

#[path = "../crash/checker.rs"]
mod checker;
#[path = "../crash/chooser.rs"]
mod chooser;
mod counters;
mod history;
#[path = "../crash/model.rs"]
mod model;
mod nemesis;
mod pen;
#[path = "../crash/reading.rs"]
mod reading;
mod round;
mod shared;
mod trail;
mod watcher;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use counters::Counters;
use round::Game;

#[test]
fn plain() {
    chaos("default shards", None);
}

#[test]
fn sharded() {
    let shards = number("RINGKEEPER_CHAOS_SHARDS").unwrap_or(4);
    chaos(&format!("{shards} shards"), Some(shards as usize));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn chaos(name: &str, shards: Option<usize>) {
    let seed = number("RINGKEEPER_CHAOS_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000_007
    });
    let servers = number("RINGKEEPER_CHAOS_SERVERS").unwrap_or(3) as usize;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut counters = Counters::open(std::env::var_os("RINGKEEPER_CHAOS_COUNTERS").map(Into::into)).unwrap();
    println!("{name}: {servers} servers, seed {seed}");
    let played = play(name, directory.path(), servers, shards, seed, &mut counters);
    if let Err(error) = &played {
        counters.add("violations", 1);
        println!("{name}, seed {seed}: {error}");
    }
    counters.save().unwrap();
    println!("{}", counters.tell());
    if let Err(error) = played {
        panic!("{name}, seed {seed}: {error}\n(history, data and logs are kept in {})", directory.keep().display());
    }
}

fn play(
    name: &str,
    directory: &Path,
    servers: usize,
    shards: Option<usize>,
    seed: u64,
    counters: &mut Counters,
) -> Result<(), String> {
    let began = Instant::now();
    let rounds = number("RINGKEEPER_CHAOS_ROUNDS").unwrap_or(2);
    let minutes = number("RINGKEEPER_CHAOS_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let faults = number("RINGKEEPER_CHAOS_FAULTS").unwrap_or(2);
    let binary = std::env::var("RINGKEEPER_CHAOS_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ringkeeper").to_owned());
    let rest = Duration::from_millis(number("RINGKEEPER_CHAOS_REST").unwrap_or(0));
    let mut game = Game::begin(directory, &binary, servers, shards, seed, rest)?;
    let mut round = 0;
    while minutes.map_or(round < rounds, |minutes| began.elapsed() < minutes) {
        round += 1;
        let since = Instant::now();
        let told = game.round(counters, faults).map_err(|error| {
            game.keep(directory, &error);
            format!("round {round}: {error}")
        })?;
        counters.add("rounds", 1);
        counters.add("ms", since.elapsed().as_millis() as u64);
        counters.save()?;
        println!("{name}: round {round}: {told}: ok");
    }
    game.end()
}
