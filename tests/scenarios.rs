//! Scenarios: every scenario of the bench, tiny, against the real server: its counts are right, it sees no errors, and it
//! leaves nothing behind.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "server/harness.rs"]
mod harness;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Server, Setup, both, directory, eventually};
use ringkeeper::bench::control::{Control, RunError};
use ringkeeper::bench::record::{Record, Target};
use ringkeeper::bench::scenario;
use ringkeeper::bench::spec::{Arrivals, Pace, Spec, Workload};
use rustix::process::Signal;

both!(churn, lock, session_churn, connect_storm, fan_out, reconnect, open_loop, stop, death);

fn target(server: &Server) -> Target {
    Target { label: "here".to_owned(), servers: vec![server.address.to_string()], ..Target::default() }
}

fn tiny(workload: Workload) -> Spec {
    Spec { workload, connections: 8, nodes: 50, value_size: 10, seconds: 0.5, warmup: 0.1, ..Spec::default() }
}

fn quiet() -> Control {
    Control { is_quiet: true, command: "tests".to_owned(), ..Control::default() }
}

fn names_at_the_top(server: &Server) -> Vec<String> {
    server.client().children("/", false).unwrap().0
}

/// Runs it to its end; there must be no error, and nothing left.
fn run(shards: &[&str], spec: &Spec) -> Record {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).start();
    let record = scenario::run(spec, &target(&server), &quiet()).unwrap();
    assert_eq!(names_at_the_top(&server), ["zookeeper"]);
    assert_eq!((record.ended_early.as_deref(), record.errors()), (None, 0), "{:?}", errors(&record));
    assert_eq!((&record.spec, record.command.as_str()), (spec, "tests"));
    assert!(record.seconds > 0.0 && record.generator.processor_seconds > 0.0 && record.target.version.is_some());
    assert_eq!(record.slices.len(), record.seconds.ceil() as usize);
    let latencies: u64 = record.operations.values().map(|operation| operation.latency.count()).sum();
    assert_eq!(latencies, record.arrivals.answered);
    server.stop();
    record
}

fn errors(record: &Record) -> Vec<(&str, &str, u64)> {
    let all = record.operations.iter();
    all.flat_map(|(name, one)| one.errors.iter().map(move |(error, count)| (name.as_str(), error.as_str(), *count))).collect()
}

/// How often an operation was done.
fn count(record: &Record, operation: &str) -> u64 {
    record.operations.get(operation).map_or(0, |operation| operation.latency.count())
}

/// Operations that follow each other: no two of them are done differently often by more than there are clients.
fn are_cycles(record: &Record, first: &str, second: &str) {
    let (first, second) = (count(record, first), count(record, second));
    assert!(second > 0 && first.abs_diff(second) <= record.spec.connections as u64, "{first} and {second}");
    assert_eq!(record.operations.len(), 2, "{:?}", record.operations.keys());
}

fn churn(shards: &[&str]) {
    let record = run(shards, &Spec { threads: 2, ..tiny(Workload::Churn) });
    are_cycles(&record, "create", "delete");
}

fn lock(shards: &[&str]) {
    for nodes in [1, 50] {
        are_cycles(&run(shards, &Spec { nodes, threads: 2, ..tiny(Workload::Lock) }), "acquire", "release");
    }
}

fn session_churn(shards: &[&str]) {
    are_cycles(&run(shards, &tiny(Workload::SessionChurn)), "open", "close");
}

fn connect_storm(shards: &[&str]) {
    // Half of what a server takes from one address by default.
    let record = run(shards, &Spec { connections: 25, ..tiny(Workload::ConnectStorm) });
    let storms = count(&record, "whole-storm");
    assert!(storms > 0);
    assert_eq!(count(&record, "session"), 25 * storms);
    assert!(record.operations["whole-storm"].latency.max_us() >= record.operations["session"].latency.max_us());
}

fn fan_out(shards: &[&str]) {
    let record = run(shards, &tiny(Workload::FanOut { watchers: 40 }));
    let rounds = count(&record, "last-event");
    assert!(rounds > 0);
    assert_eq!((count(&record, "first-event"), count(&record, "event")), (rounds, 40 * rounds));
    assert_eq!(record.operations["last-event"].latency.max_us(), record.operations["event"].latency.max_us());
    assert_eq!((record.arrivals.offered, record.arrivals.answered), (42 * rounds, 42 * rounds));
}

fn reconnect(shards: &[&str]) {
    let record = run(shards, &tiny(Workload::Reconnect { watches: 20 }));
    let backs = count(&record, "reattach");
    assert!(backs > 0 && backs.is_multiple_of(8));
    assert_eq!(count(&record, "rewatch"), backs);
    // Paths of 6000 watches do not fit into one setWatches.
    let record = run(shards, &Spec { connections: 1, nodes: 6000, seconds: 0.01, ..tiny(Workload::Reconnect { watches: 6000 }) });
    assert!(count(&record, "rewatch") > 0);
}

fn open_loop(shards: &[&str]) {
    let pace = Pace::Open { rate: 100.0, arrivals: Arrivals::Constant };
    for (workload, second) in [(Workload::Churn, "delete"), (Workload::Lock, "release"), (Workload::SessionChurn, "close")] {
        let record = run(shards, &Spec { pace, seconds: 1.0, threads: 2, ..tiny(workload) });
        // Two operations to a cycle, but the second of one that was begun late may not be offered any more.
        assert!((185..=215).contains(&record.arrivals.offered), "{:?}", record.arrivals);
        assert!((80..=115).contains(&count(&record, second)), "{:?}", record.operations[second].latency.count());
    }
    let pace = Pace::Open { rate: 4.0, arrivals: Arrivals::Constant };
    for (workload, whole) in [
        (Workload::ConnectStorm, "whole-storm"),
        (Workload::FanOut { watchers: 4 }, "last-event"),
        (Workload::Reconnect { watches: 4 }, "rewatch"),
    ] {
        let rounds = count(&run(shards, &Spec { pace, seconds: 1.0, connections: 1, ..tiny(workload) }), whole);
        assert!((1..=4).contains(&rounds), "{rounds}");
    }
}

/// A stop by the user: what was measured until then is there, and the server is left as it was.
fn stop(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).start();
    for workload in [Workload::Lock, Workload::Reconnect { watches: 4 }] {
        let control = quiet();
        let flag = control.stop.clone();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(700));
            flag.store(true, Ordering::Relaxed);
        });
        let began = Instant::now();
        let record = scenario::run(&Spec { seconds: 600.0, ..tiny(workload) }, &target(&server), &control).unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(record.ended_early.as_deref(), Some("stopped by the user"));
        assert!(record.arrivals.answered > 0 && record.seconds < 30.0);
        stopper.join().unwrap();
    }
    assert_eq!(names_at_the_top(&server), ["zookeeper"]);
}

/// A server that dies in mid-run leaves a record of what was before; one that is not there gives none.
fn death(shards: &[&str]) {
    for workload in [
        Workload::Churn,
        Workload::Lock,
        Workload::SessionChurn,
        Workload::ConnectStorm,
        Workload::FanOut { watchers: 4 },
        Workload::Reconnect { watches: 4 },
    ] {
        let directory = directory();
        let mut server = Setup::new(directory.path(), shards).start();
        let target = target(&server);
        let spec = Spec { seconds: 600.0, warmup: 0.0, ..tiny(workload) };
        let running = {
            let (spec, target) = (spec.clone(), target.clone());
            thread::spawn(move || scenario::run(&spec, &target, &quiet()))
        };
        eventually("the beginning of the run", || names_at_the_top(&server).iter().any(|name| name != "zookeeper").then_some(()));
        thread::sleep(Duration::from_millis(700));
        server.signal(Signal::KILL);
        server.end();
        let record = running.join().unwrap().unwrap();
        let ended = record.ended_early.clone().unwrap_or_default();
        assert!(ended.contains(&target.servers[0]), "{ended}");
        assert!(record.arrivals.answered > 0 && record.seconds > 0.0 && record.seconds < 60.0, "{:?}", record.arrivals);
        assert!(matches!(scenario::run(&spec, &target, &quiet()), Err(RunError::Unreachable(..))));
    }
}
