//! Sessions: opened, kept, moved and expired over real sockets and real time.

use std::thread;
use std::time::{Duration, Instant};

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::Credentials;
use ringkeeper::proto::event::EventType;
use rustix::process::Signal;

use super::harness::{PATIENCE, Server, Setup, both, directory};

both!(
    a_session_expires_on_time_and_others_are_told,
    a_session_moves_to_a_new_connection,
    a_session_survives_a_restart,
    pings_alone_keep_the_shortest_session,
    a_wrong_password_opens_nothing,
    a_pause_of_the_server_ends_nobody_who_kept_pinging,
);

/// What a machine with other things to do may add.
const SLACK: Duration = Duration::from_millis(1500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn server(directory: &std::path::Path, shards: &[&str], tick_ms: u64) -> Server {
    Setup::new(directory, shards).args(&[&format!("-Dzookeeper.tickTime={tick_ms}")]).start()
}

fn a_session_expires_on_time_and_others_are_told(shards: &[&str]) {
    let directory = directory();
    let server = server(directory.path(), shards, 500);
    // The least loaded shard takes each: with four, these two meet different ones.
    let mut watcher = server.client_of(10_000);
    let mut leaver = server.client_of(2_000);
    assert_eq!(leaver.credentials().timeout_ms, 2_000);
    leaver.create("/mine", b"", CreateMode::Ephemeral).unwrap();
    watcher.sync("/").unwrap();
    assert!(watcher.exists("/mine", true).unwrap().is_some());
    let last_said = Instant::now();
    leaver.ping().unwrap();
    let last_answered = Instant::now();
    let credentials = leaver.credentials();

    let event = watcher.next_event(PATIENCE).unwrap().expect("the watch fires");
    let (from, to) = (last_said.elapsed(), last_answered.elapsed());
    assert_eq!((event.path.as_str(), event.kind), ("/mine", EventType::NodeDeleted as i32));
    assert!(from >= ms(2000), "expired {from:?} after it was heard of");
    assert!(to <= ms(2500) + SLACK, "expired {to:?} after it was heard of");
    assert_eq!(watcher.exists("/mine", false).unwrap(), None);
    // The connection was closed with its session, and the session cannot be had again.
    assert!(matches!(leaver.sync("/"), Err(ClientError::Closed | ClientError::Refused(_))));
    assert!(matches!(Client::attach(server.address, credentials, PATIENCE), Err(ClientError::Expired)));
}

fn a_session_moves_to_a_new_connection(shards: &[&str]) {
    let directory = directory();
    let server = server(directory.path(), shards, 500);
    let mut old = server.client_of(5_000);
    old.create("/mine", b"", CreateMode::Ephemeral).unwrap();
    for _ in 0..5 {
        let mut new = server.attach(old.credentials());
        assert_eq!(new.session_id(), old.session_id());
        assert!(matches!(old.sync("/"), Err(ClientError::Closed)), "the old connection is closed");
        let stat = new.exists("/mine", false).unwrap().expect("the session lives, and so does what is its own");
        assert_eq!(stat.ephemeral_owner, new.session_id().0);
        new.set("/mine", b"again", -1).unwrap();
        old = new;
    }
    // Without a connection meanwhile.
    let credentials = old.abandon();
    thread::sleep(ms(300));
    let mut new = server.attach(credentials);
    assert!(new.exists("/mine", false).unwrap().is_some());
    new.close().unwrap();
    assert_eq!(server.client().exists("/mine", false).unwrap(), None);
}

fn a_session_survives_a_restart(shards: &[&str]) {
    let directory = directory();
    let before = server(directory.path(), shards, 500);
    let mut stayer = before.client_of(4_000);
    let mut leaver = before.client_of(2_000);
    stayer.create("/stays", b"", CreateMode::Ephemeral).unwrap();
    leaver.create("/leaves", b"", CreateMode::Ephemeral).unwrap();
    let (stayer, leaver) = (stayer.abandon(), leaver.abandon());
    before.kill();
    let after = server(directory.path(), shards, 500);
    let mut again = after.attach(stayer);
    assert_eq!((again.session_id(), again.credentials().timeout_ms), (stayer.session, 4_000));
    // Everybody gets a whole timeout from the restart.
    assert!(again.exists("/leaves", true).unwrap().is_some());
    let event = again.next_event(PATIENCE).unwrap().expect("it expires when nobody comes back for it");
    assert_eq!(event.path, "/leaves");
    assert!(matches!(Client::attach(after.address, leaver, PATIENCE), Err(ClientError::Expired)));
    assert!(again.exists("/stays", false).unwrap().is_some());
}

/// tickTime 100 makes 200 ms the shortest timeout. A client of that timeout pings three times in it; whoever was kept from it by
/// the machine for longer than half of it proves nothing, and tries again.
fn pings_alone_keep_the_shortest_session(shards: &[&str]) {
    let directory = directory();
    let server = server(directory.path(), shards, 100);
    let mut rounds = 0;
    let mut held = 0;
    while held < 3 {
        rounds += 1;
        assert!(rounds < 60, "the machine never let a client ping in time");
        let mut client = server.client_of(1);
        assert_eq!(client.credentials().timeout_ms, 200);
        // A client that was kept from its pings may leave its own behind for a moment.
        client.create(&format!("/mine-{rounds}"), b"", CreateMode::Ephemeral).unwrap();
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        let began = Instant::now();
        let mut failure = None;
        while began.elapsed() < ms(2000) && failure.is_none() {
            thread::sleep(ms(60));
            failure = client.ping().err();
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        if longest > ms(150) {
            continue;
        }
        assert!(failure.is_none(), "expired although it pinged every {longest:?} at least: {failure:?}");
        client.close().unwrap();
        held += 1;
    }
}

/// What came while the server stood still is read before anybody is held dead.
fn a_pause_of_the_server_ends_nobody_who_kept_pinging(shards: &[&str]) {
    let directory = directory();
    let server = server(directory.path(), shards, 100);
    let mut clients: Vec<_> = (0..8).map(|_| server.client_of(1)).collect();
    // Asked for and not awaited, since nobody answers in a pause.
    let ping = |clients: &mut [Client]| {
        for client in clients {
            client.submit(&Ask::Ping).unwrap();
            client.flush().unwrap();
        }
    };
    for _ in 0..5 {
        server.signal(Signal::STOP);
        for _ in 0..25 {
            ping(&mut clients);
            thread::sleep(ms(40));
        }
        server.signal(Signal::CONT);
        for _ in 0..10 {
            ping(&mut clients);
            thread::sleep(ms(40));
        }
    }
    for client in &mut clients {
        client.sync("/").expect("its session has not expired");
    }
}

fn a_wrong_password_opens_nothing(shards: &[&str]) {
    let directory = directory();
    let server = server(directory.path(), shards, 500);
    let mut client = server.client_of(5_000);
    client.create("/mine", b"", CreateMode::Ephemeral).unwrap();
    let wrong = Credentials { password: [7; 16], ..client.credentials() };
    assert!(matches!(Client::attach(server.address, wrong, PATIENCE), Err(ClientError::Expired)));
    // As in ZooKeeper the attempt has cost the owner the connection, but not the session.
    let mut again = server.attach(client.credentials());
    assert!(again.exists("/mine", false).unwrap().is_some());
}
