//! Parity: the same seeded scenario played at a ZooKeeper and at this server in lockstep, every answer compared.
//!
//! One request at a time over all sessions. After each that may be heard of elsewhere every session sends a sync, behind whose answer no
//! event of it can come. Replies are compared with their error, data and Stat, events with their place among the replies. zxids may differ
//! as long as they are in the same order; of times it is looked at which transactions they belong to.
//!
//! The tests here need no ZooKeeper: falsehoods are planted, and what a ZooKeeper 3.9.4 answered once (`tests/parity/golden`, recorded by
//! `scripts/capture.sh`) is compared with what this server answers. `scripts/parity.sh` plays against a running one, by the test
//! `against_another`: `RINGKEEPER_PARITY_LEFT` (`HOST:PORT` of the ZooKeeper), `RINGKEEPER_PARITY_RIGHT` (of ours, one is started where it
//! is not given), `RINGKEEPER_PARITY_ENSEMBLE` (both are followers), `RINGKEEPER_PARITY_SHARDS`, `RINGKEEPER_PARITY_SEEDS` (`A..B`), `RINGKEEPER_PARITY_STEPS`, `RINGKEEPER_PARITY_REPLAY` (a
//! file of steps instead of seeds), `RINGKEEPER_PARITY_CAPTURE` (a directory: what the left one answers to the seeds is kept there).

mod chance;
mod fault;
mod golden;
mod judge;
mod known;
mod scenario;
mod server;
mod shrink;
mod side;
mod step;
mod wording;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fault::Fault;
use golden::Golden;
use judge::{Divergence, compare};
use server::Server;
use side::Side;
use step::Step;

/// A name that no run has had.
fn root() -> String {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("/parity-{now:x}-{}", ROUND.fetch_add(1, Ordering::Relaxed))
}

fn play(left: SocketAddr, right: SocketAddr, steps: &[Step], fault: Option<Fault>) -> Option<Divergence> {
    let root = root();
    let (mut left, mut right) = (Side::new(left, &root, None).unwrap(), Side::new(right, &root, fault).unwrap());
    let found = compare(&mut left, &mut right, steps, setting("ENSEMBLE").is_some()).unwrap();
    left.end().unwrap();
    right.end().unwrap();
    found
}

/// Whether two are probably one: the same request, and the first words that differ are of the same kind.
fn alike(one: &Divergence, other: &Divergence) -> bool {
    let shape = |found: &Divergence| {
        let kinds = |lines: &[String]| -> Vec<_> {
            let kind =
                |line: &String| line.split(' ').filter(|word| !word.starts_with('@')).nth(3).unwrap_or_default().to_owned();
            lines.iter().map(kind).collect()
        };
        (found.step.op, kinds(&found.left), kinds(&found.right))
    };
    shape(one) == shape(other)
}

#[test]
fn against_itself_and_with_falsehoods() {
    let (one, other) = (Server::start(&[]), Server::start(&["--shards", "4"]));
    let (one, other) = (one.address, other.address);
    for seed in 0..6 {
        let steps = scenario::draw(seed, 300, false);
        if let Some(found) = play(one, other, &steps, None) {
            panic!("seed {seed}: {found}");
        }
    }
    // Each number of a Stat, by its last byte: from pzxid at the end to czxid at the start.
    let stats = [1, 9, 13, 21, 25, 29, 33, 37, 45, 53, 61].map(Fault::Stat);
    let others = [Fault::LostEvent(0), Fault::LostEvent(5), Fault::Error(-101, -110), Fault::Header, Fault::WrongEvent];
    for fault in stats.into_iter().chain(others) {
        let found = (0..6).any(|seed| play(one, other, &scenario::draw(seed, 300, false), Some(fault)).is_some());
        assert!(found, "not found: {fault:?}");
    }
    let steps = scenario::draw(1, 300, false);
    let found = play(one, other, &steps, Some(Fault::Error(-101, -110))).expect("a missing znode");
    let few = shrink::shrink(steps, 60, |steps| {
        play(one, other, steps, Some(Fault::Error(-101, -110))).is_some_and(|again| alike(&found, &again))
    });
    assert!(few.len() <= 2, "one that opens the session, perhaps, and one that shows it: {few:?}");
}

fn replay_all(args: &[&str]) {
    let server = Server::start(args);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/golden");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut golden = Golden::read(&file);
        let steps = golden.steps.clone();
        let mut side = Side::new(server.address, &root(), None).unwrap();
        if let Some(found) = compare(&mut golden, &mut side, &steps, false).unwrap() {
            panic!("{}: {found}", file.display());
        }
        side.end().unwrap();
    }
}

#[test]
fn what_a_zookeeper_answered_once() {
    replay_all(&[]);
}

#[test]
fn what_a_zookeeper_answered_once_with_four_shards() {
    replay_all(&["--shards", "4"]);
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("RINGKEEPER_PARITY_{name}")).ok()
}

/// The scenarios that were asked for.
fn asked() -> Vec<(String, Vec<Step>)> {
    if let Some(file) = setting("REPLAY") {
        return vec![(file.clone(), Golden::read(Path::new(&file)).steps)];
    }
    let seeds = setting("SEEDS").unwrap_or_else(|| "0..10".to_owned());
    let (from, to) = seeds.split_once("..").expect("seeds are A..B");
    let steps = setting("STEPS").map_or(300, |text| text.parse().expect("a number of steps"));
    let range = from.parse::<u64>().expect("a seed")..to.parse().expect("a seed");
    range.map(|seed| (seed.to_string(), scenario::draw(seed, steps, setting("ENSEMBLE").is_some()))).collect()
}

/// Without `RINGKEEPER_PARITY_LEFT` this plays our own server against itself.
#[test]
fn against_another() {
    let shards = setting("SHARDS");
    let args: Vec<_> = shards.iter().flat_map(|shards| ["--shards", shards.as_str()]).collect();
    let address = |text: String| text.parse().unwrap_or_else(|_| panic!("not an address: {text}"));
    let own = Server::start(&args);
    let left = setting("LEFT").map_or(own.address, address);
    if let Some(directory) = setting("CAPTURE") {
        for (seed, steps) in asked() {
            let mut side = Side::new(left, &root(), None).unwrap();
            let text = Golden::capture(&mut side, &steps, &format!("Seed {seed} at Apache ZooKeeper 3.9.4")).unwrap();
            side.end().unwrap();
            std::fs::write(PathBuf::from(&directory).join(format!("{seed}.txt")), text).unwrap();
        }
        return;
    }
    let other = setting("LEFT").is_none().then(|| Server::start(&["--shards", "2"]));
    let right = setting("RIGHT").map_or_else(|| other.as_ref().map_or(own.address, |other| other.address), address);
    let began = Instant::now();
    let (mut played, mut diverged) = (0, 0);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let most = setting("MOST").map_or(5, |text| text.parse().expect("a number"));
    for (seed, steps) in asked() {
        played += 1;
        let Some(found) = play(left, right, &steps, None) else { continue };
        diverged += 1;
        println!("seed {seed}: {found}");
        let count = kinds.entry(step::name(found.step.op)).or_default();
        *count += 1;
        if *count <= most {
            let until = steps[..=found.at].to_vec();
            let few =
                shrink::shrink(until, 150, |steps| play(left, right, steps, None).is_some_and(|again| alike(&found, &again)));
            println!("seed {seed}: replay of {} steps:", few.len());
            few.iter().for_each(|step| println!("> {}", step.text()));
            if let Some(found) = play(left, right, &few, None) {
                println!("seed {seed}: {found}");
            }
        }
    }
    println!("{played} scenarios in {:.1} s, {diverged} of them diverged: {kinds:?}", began.elapsed().as_secs_f64());
    assert_eq!(diverged, 0, "scenarios diverged");
}
