//! Stop: SIGTERM and SIGINT end the server in time, and nothing that was acknowledged is lost by it.

use std::collections::BTreeSet;
use std::time::Duration;

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::proto::acl::Acl;
use rustix::process::Signal;

use super::harness::{Setup, both, directory};

both!(writes_in_flight_are_answered, clients_that_do_not_read_do_not_hold_it_up, an_idle_server_ends_at_once);

/// Far more than are answered before the signal comes, far less than a socket holds.
const WRITES: usize = 2000;

fn pipeline(client: &mut Client, name: &str, count: usize, data: &[u8]) {
    let acl = [Acl::open()];
    for i in 0..count {
        let path = format!("/{name}{i:05}");
        client.submit(&Ask::Create { path: &path, data: Some(data), acl: &acl, mode: CreateMode::Persistent }).unwrap();
    }
    client.flush().unwrap();
}

/// What is acknowledged until the server hangs up.
fn acknowledged(client: &mut Client) -> usize {
    let mut count = 0;
    loop {
        match client.next_reply() {
            Ok(reply) => {
                reply.result.unwrap();
                count += 1;
            }
            Err(ClientError::Closed) => return count,
            Err(error) => panic!("after {count} answers: {error}"),
        }
    }
}

fn writes_in_flight_are_answered(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    for signal in [Signal::TERM, Signal::INT] {
        let name = format!("s{}-", signal.as_raw());
        let mut server = setup.start();
        let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            pipeline(client, &format!("{name}{i}-"), WRITES, b"x");
        }
        // The first is answered, so that the server has the others in hand.
        clients[0].next_reply().unwrap().result.unwrap();
        server.signal(signal);
        server.ends_well_within(Duration::from_secs(2));
        let mut counts: Vec<_> = clients.iter_mut().map(acknowledged).collect();
        counts[0] += 1;

        let server = setup.start();
        let there: BTreeSet<_> = server.client().children("/", false).unwrap().0.into_iter().collect();
        for (i, count) in counts.into_iter().enumerate() {
            for j in 0..count {
                assert!(there.contains(&format!("{name}{i}-{j:05}")), "{signal:?}: {j} of client {i} was acknowledged");
            }
            let written = there.iter().filter(|path| path.starts_with(&format!("{name}{i}-"))).count();
            assert_eq!(written, count, "{signal:?}: a clean stop answers all that it writes");
        }
        server.stop();
    }
}

fn clients_that_do_not_read_do_not_hold_it_up(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let server = setup.start();
    let mut writer = server.client();
    writer.create("/big", &[b'x'; 500_000], CreateMode::Persistent).unwrap();
    let mut mute: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut mute {
        for _ in 0..100 {
            client.submit(&Ask::GetData { path: "/big", watch: false }).unwrap();
        }
        client.flush().unwrap();
    }
    pipeline(&mut writer, "w", 100, b"");
    for _ in 0..100 {
        writer.next_reply().unwrap().result.unwrap();
    }
    server.stop();
    let server = setup.start();
    assert_eq!(server.client().children("/", false).unwrap().0.len(), 100 + 2, "with /big and /zookeeper");
}

fn an_idle_server_ends_at_once(shards: &[&str]) {
    let directory = directory();
    let mut server = Setup::new(directory.path(), shards).start();
    let clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    server.signal(Signal::TERM);
    server.ends_well_within(Duration::from_secs(1));
    assert!(server.said().len() == 1, "{:?}", server.lines());
    drop(clients);
}
