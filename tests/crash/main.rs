//! Crash: a server killed under load has forgotten nothing it acknowledged and invented nothing.
//!
//! 64 pipelined writers, one thread. At a random moment SIGKILL; the server starts again on the same data (and now and then
//! is killed once more while it starts); some sessions come back with their passwords, others expire; then everything is
//! read and compared with what was acknowledged. `RINGKEEPER_CRASH_ROUNDS` (3), `RINGKEEPER_CRASH_SHARDS` (4, of the test
//! with many shards), `RINGKEEPER_CRASH_SEED`, `RINGKEEPER_CRASH_COMMAND` (another server, as `server.rs` says).

mod checker;
mod chooser;
mod driver;
mod model;
mod reading;
mod server;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use checker::{Fate, Writer};
use chooser::Random;
use driver::{Driver, FLEETING, Pen};
use model::{SHARED, State};
use reading::Reading;
use ringkeeper::client::ask::CreateMode;
use ringkeeper::client::blocking::Client;
use server::{Server, TICK};

const WRITERS: usize = 64;
const DEPTH: usize = 16;

/// How much longer than its timeout and two ticks the end of a session may take on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

#[test]
fn default_shards() {
    crash("default shards", None);
}

#[test]
fn many_shards() {
    let shards = number("RINGKEEPER_CRASH_SHARDS").unwrap_or(4);
    crash(&format!("{shards} shards"), Some(shards as usize));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn crash(name: &str, shards: Option<usize>) {
    let seed = number("RINGKEEPER_CRASH_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000_007
    });
    let rounds = number("RINGKEEPER_CRASH_ROUNDS").unwrap_or(3);
    // Beside the build, and not where temporary files go: that may be memory, which direct I/O does not work on.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!("{name}: seed {seed}, {rounds} rounds");
    if let Err(error) = play(name, directory.path(), shards, seed, rounds) {
        panic!("{name}, seed {seed}: {error}\n(data and logs are kept in {})", directory.keep().display());
    }
}

fn play(name: &str, directory: &std::path::Path, shards: Option<usize>, seed: u64, rounds: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let mut server = Server::new(directory, shards);
    server.spawn();
    let mut observer = server.wait(0)?;
    let mut driver = Driver::new(furnish(&mut observer, &mut random)?);
    driver.registry.newest = observer.last_zxid().0;
    for round in 1..=rounds {
        let (answered, refused) = driver.totals();
        let length = Duration::from_millis(200 + random.below(900));
        let loaded = driver.load(server.address, DEPTH, length);
        server.check()?;
        loaded?;
        server.kill();
        driver.drain()?;

        server.spawn();
        let again = random.below(4) == 0;
        if again {
            std::thread::sleep(Duration::from_millis(random.below(400)));
            server.kill();
            server.spawn();
        }
        let started = Instant::now();
        observer = server.wait(driver.registry.newest)?;
        let recovery = started.elapsed();
        let fates = driver.reattach(server.address)?;

        let early = observe(&mut observer)?;
        let late = until_expired(&mut observer, &mut driver, &fates, &early)?;
        let mut happened = 0;
        let unanswered: usize = driver.pens.iter().map(|pen| pen.writer.unanswered().len()).sum();
        for (at, fate) in fates.iter().enumerate() {
            let writer = &mut driver.pens[at].writer;
            happened += writer.judge(&mut driver.registry, *fate, &early.writers[at], &late.writers[at])?;
        }
        for (parent, (stat, children)) in late.shared.iter().enumerate() {
            driver.registry.check_numbers(parent, stat, *children)?;
        }
        driver.registry.settle(observer.last_zxid().0);
        let count = |fate| fates.iter().filter(|f| **f == fate).count();
        let now = driver.totals();
        println!(
            "{name}: round {round}: {} answered ({} refused) in {} ms, {happened} of {unanswered} unanswered had happened, \
             ready after {} ms{}, sessions: {} back, {} closed, {} expired: ok",
            now.0 - answered,
            now.1 - refused,
            length.as_millis(),
            recovery.as_millis(),
            if again { " (killed again)" } else { "" },
            count(Fate::Reattached),
            count(Fate::Refused),
            count(Fate::Abandoned)
        );
        observer.close().map_err(|e| format!("closing the observer: {e}"))?;
    }
    Ok(())
}

/// The directories, and the writers that will use them.
fn furnish(observer: &mut Client, random: &mut Random) -> Result<Vec<Pen>, String> {
    let mut create = |path: &str, data: &[u8]| {
        observer.create(path, data, CreateMode::Persistent).map_err(|e| format!("creating {path}: {e}"))
    };
    create("/crash", b"")?;
    for parent in 0..SHARED {
        create(&model::shared(parent), b"")?;
    }
    let mut pens = Vec::new();
    for writer in 0..WRITERS {
        let (_, stat) = create(&model::directory(writer), b"")?;
        pens.push(Pen::new(Writer::new(State::new(writer, stat.czxid.0)), random.next()));
    }
    Ok(pens)
}

fn observe(observer: &mut Client) -> Result<Reading, String> {
    reading::check_root(observer, WRITERS).map_err(|e| e.to_string())?;
    Reading::take(observer, 0..WRITERS).map_err(|e| e.to_string())
}

/// Reads again once the sessions that nobody came back for have taken their ephemeral znodes with them.
fn until_expired(observer: &mut Client, driver: &mut Driver, fates: &[Fate], early: &Reading) -> Result<Reading, String> {
    let living: BTreeSet<i64> = (driver.pens.iter().zip(fates))
        .filter(|(_, fate)| **fate == Fate::Reattached)
        .filter_map(|(pen, _)| pen.writer.state.session)
        .collect();
    let deadline = Instant::now() + Duration::from_millis(FLEETING as u64 + 2 * TICK) + SLACK;
    let mut leaving = early.owners();
    leaving.retain(|owner| !living.contains(owner));
    while !leaving.is_empty() {
        if Instant::now() > deadline {
            return Err(format!("ephemeral znodes of expired or closed sessions are still there: {leaving:x?}"));
        }
        driver.idle(Duration::from_millis(300))?;
        leaving = observe(observer)?.owners();
        leaving.retain(|owner| !living.contains(owner));
    }
    // Two readings that agree in nothing but their place would not be told from one taken in the middle of an expiry.
    driver.idle(Duration::from_millis(100))?;
    observe(observer)
}
