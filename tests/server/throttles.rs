//! Throttles: an operator's limits on what clients may ask, and a request that is longer than may be.

use std::time::Duration;

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::proto::code::Code;

use super::harness::{Setup, both, directory};

both!(
    a_write_that_is_too_long_leaves_its_session_alive,
    limits_on_what_is_under_way_keep_nobody_from_an_answer,
    sessions_beyond_the_tokens_are_hung_up_on,
);

fn a_write_that_is_too_long_leaves_its_session_alive(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&["-Djute.maxbuffer=20000000"]).start();
    let mut client = server.client();
    client.create("/p", b"", CreateMode::Ephemeral).unwrap();
    for size in [20_000_001, 30_000_000, 39_000_000] {
        let long = vec![b'x'; size];
        for result in [client.create("/q", &long, CreateMode::Persistent).map(|_| ()), client.set("/p", &long, -1).map(|_| ())] {
            let refusal = result.unwrap_err().refusal();
            assert!(refusal.is_some_and(|refusal| refusal.is(Code::MarshallingError)), "{size} bytes: {refusal:?}");
        }
        assert!(client.exists("/p", false).unwrap().is_some(), "the session and what it owns are there");
    }
    let long = vec![b'x'; 40_000_001];
    let gone = client.set("/p", &long, -1);
    assert!(matches!(gone, Err(ClientError::Closed | ClientError::Io(_))), "{gone:?}");
    server.stop();
}

fn limits_on_what_is_under_way_keep_nobody_from_an_answer(shards: &[&str]) {
    let directory = directory();
    let limits = [
        "-Dzookeeper.globalOutstandingLimit=2",
        "-Dzookeeper.request_throttle_max_requests=8",
        "-Dzookeeper.largeRequestThreshold=1000",
        "-Dzookeeper.largeRequestMaxBytes=100000000",
    ];
    let server = Setup::new(directory.path(), shards).args(&limits).start();
    let mut clients: Vec<_> = (0..12).map(|_| server.client()).collect();
    clients[0].create("/p", b"", CreateMode::Persistent).unwrap();
    let data = vec![b'x'; 2000];
    for client in &mut clients {
        for _ in 0..100 {
            client.submit(&Ask::SetData { path: "/p", data: Some(&data), version: -1 }).unwrap();
            client.submit(&Ask::GetData { path: "/p", watch: false }).unwrap();
        }
        client.flush().unwrap();
    }
    for client in &mut clients {
        for _ in 0..200 {
            client.next_reply().unwrap().result.unwrap();
        }
    }
    let (_, stat) = clients[0].get("/p", false).unwrap();
    assert_eq!(stat.version, 1200, "each was done once");
    server.stop();
}

fn sessions_beyond_the_tokens_are_hung_up_on(shards: &[&str]) {
    let directory = directory();
    let limits = ["-Dzookeeper.connection_throttle_tokens=3", "-Dzookeeper.connection_throttle_fill_time=100000000"];
    let server = Setup::new(directory.path(), shards).args(&limits).start();
    let first = server.client();
    let _second = server.client();
    // One that comes back needs a token as well.
    let credentials = first.abandon();
    let mut back = server.attach(credentials);
    back.create("/p", b"", CreateMode::Ephemeral).unwrap();
    let refused = Client::connect(server.address, 10_000, Duration::from_secs(30)).map(|_| ());
    assert!(matches!(refused, Err(ClientError::Closed | ClientError::Io(_))), "{refused:?}");
    assert!(back.exists("/p", false).unwrap().is_some());
    server.stop();
}
