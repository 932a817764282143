//! Settings: each way to flush and to place executors serves, and keeps what it acknowledged.

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::proto::acl::Acl;

use super::harness::{Server, Setup, both, directory};

both!(ways_to_flush, places_of_executors, without_flushes_a_clean_stop_keeps_everything);

const WRITES: usize = 400;

fn write(client: &mut Client, round: usize) {
    let acl = [Acl::open()];
    for i in 0..WRITES {
        let path = format!("/r{round}-{i}");
        client.submit(&Ask::Create { path: &path, data: Some(&[b'd'; 300]), acl: &acl, mode: CreateMode::Persistent }).unwrap();
    }
    for _ in 0..WRITES {
        client.next_reply().unwrap().result.unwrap();
    }
}

/// Three lives that end as `end` has it; each finds what the others were acknowledged.
fn lives(settings: &[&str], shards: &[&str], end: fn(Server)) -> Vec<String> {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards).args(settings);
    let mut said = Vec::new();
    for round in 0..3 {
        let server = setup.start();
        let mut client = server.client();
        let there = client.children("/", false).unwrap().0.len();
        assert_eq!(there, 1 + round * WRITES, "{settings:?}, life {round}");
        write(&mut client, round);
        said = server.lines();
        end(server);
    }
    said
}

fn ways_to_flush(shards: &[&str]) {
    for settings in [
        &["-Dringkeeper.flush.method=fdatasync"][..],
        &["-Dringkeeper.flush.flights=1"],
        &["-Dringkeeper.flush.flights=16"],
        &["-Dringkeeper.flush.method=fdatasync", "-Dringkeeper.flush.flights=16"],
        &["-Dringkeeper.flush.lingerMicros=2000"],
        &["-Dringkeeper.flush.batchBytes=4096"],
    ] {
        let said = lives(settings, shards, Server::kill);
        assert!(said.iter().all(|line| line.starts_with("ready: ")), "{settings:?}: {said:#?}");
    }
}

fn places_of_executors(shards: &[&str]) {
    for settings in [
        &["-Dringkeeper.sequencer.placement=own"][..],
        &["-Dringkeeper.sequencer.placement=shared"],
        &["-Dringkeeper.cores.pin=yes"],
        &["-Dringkeeper.cores.pin=yes", "-Dringkeeper.sequencer.placement=own"],
        &["-Dringkeeper.spin.micros=50"],
    ] {
        let said = lives(settings, shards, Server::kill);
        assert!(said.iter().all(|line| line.starts_with("ready: ")), "{settings:?}: {said:#?}");
    }
}

fn without_flushes_a_clean_stop_keeps_everything(shards: &[&str]) {
    let said = lives(&["-Dzookeeper.forceSync=no"], shards, |server| drop(server.stop()));
    let warnings: Vec<_> = said.iter().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("forceSync"), "it is said at every start: {said:#?}");
}

/// Profiles for operators are settings that there are.
#[test]
fn profiles_of_tuning_are_good() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/profiles")).unwrap();
    let mut seen = 0;
    for file in files {
        let path = file.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap();
        let directory = directory();
        let words = ["--check", "--strict"];
        let (code, said) = Setup::new(directory.path(), &[]).config(&lines).args(&words).run();
        assert_eq!(code, Some(0), "{}: {said:#?}", path.display());
        seen += 1;
    }
    assert!(seen >= 4);
}
