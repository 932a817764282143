//! Reload: keys of the configuration that are taken up while the server serves, by an admin word.

use std::fs;

use ringkeeper::client::ask::CreateMode;
use ringkeeper::client::blocking::{Client, ClientError};

use super::harness::{PATIENCE, Setup, both, directory};
use super::words::ask;

both!(a_word_reads_limits_flush_and_level_again, what_a_word_cannot_take_up_is_told);

fn a_word_reads_limits_flush_and_level_again(shards: &[&str]) {
    let directory = directory();
    let text = |rest: &str| format!("4lw.commands.whitelist=rlod\n{rest}");
    let setup = Setup::new(directory.path(), shards).config(&text(""));
    let mut server = setup.start();
    let reload = |rest: &str| {
        fs::write(directory.path().join("zoo.cfg"), text(rest)).unwrap();
        let told = ask(server.address, "rlod");
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(reload(""), ["the configuration is as it was"]);
    let mut client = server.client();
    let long = vec![b'x'; 2000];
    client.create("/long", &long, CreateMode::Persistent).unwrap();

    let limits =
        "largeRequestThreshold=1000\nlargeRequestMaxBytes=1500\nlog.level=off\nflush.method=fdatasync\nflush.flights=2\n";
    let told = reload(limits);
    for line in [
        "flush.mode: adaptive -> fixed: in effect now",
        "flush.flights: 4 -> 2: in effect now",
        "flush.method: dsync -> fdatasync: in effect now",
        "largeRequestMaxBytes: nothing -> 1500: in effect now",
        "largeRequestThreshold: nothing -> 1000: in effect now",
        "log.level: nothing -> off: in effect now",
    ] {
        assert!(told.iter().any(|other| other == line), "{line} in {told:#?}");
    }
    assert_eq!(told.len(), 6, "{told:#?}");
    // The shard takes the limit up with its next turn, which the request itself brings about at the latest.
    let gone = client.set("/long", &long, -1);
    assert!(matches!(gone, Err(ClientError::Closed | ClientError::Io(_))), "{gone:?}");

    // No limit any more, and one session in a very long time.
    let before = server.lines().len();
    let told = reload("connection_throttle_tokens=1\nconnection_throttle_fill_time=100000000\nlog.level=off\n");
    assert!(told.iter().any(|line| line == "connection_throttle_tokens: nothing -> 1: in effect now"), "{told:#?}");
    assert_eq!(server.lines().len(), before, "nothing is told: the level is off");
    let mut client = server.client();
    assert!(Client::connect(server.address, 10_000, PATIENCE).is_err(), "there was one token");
    client.set("/long", &long, -1).unwrap();
    let told = reload("log.level=info\n");
    assert!(told.iter().any(|line| line == "connection_throttle_tokens: 1 -> nothing: in effect now"), "{told:#?}");
    server.wait_for_line("log.level: off -> info: in effect now");
    drop(server.client());
    server.stop();
    // Everything that was acknowledged under any of them is there.
    let server = setup.start();
    assert_eq!(server.client().get("/long", false).unwrap().0, long);
    server.stop();
}

fn what_a_word_cannot_take_up_is_told(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards).config("4lw.commands.whitelist=rlod\n");
    let server = setup.start();
    let reload = |rest: &str| {
        fs::write(directory.path().join("zoo.cfg"), format!("4lw.commands.whitelist=rlod\n{rest}")).unwrap();
        ask(server.address, "rlod")
    };
    let told = reload("flush.method=none\n");
    assert!(told.contains("flush.method: dsync -> none: takes a restart, and is not in effect\n"), "{told}");
    for (bad, part) in [("log.level=a=loud\n", "log.level: "), ("flush.flights=99\n", "flush.flights=99")] {
        let told = reload(bad);
        assert!(told.contains(part) && told.ends_with(": nothing is changed\n"), "{told}");
    }
    assert!(reload("").contains("as it was"));
    server.client().create("/a", b"", CreateMode::Persistent).unwrap();
    server.stop();
}
