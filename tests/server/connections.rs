//! Connections: many, greedy, silent and mute ones. Descriptors and memory come back, and others are served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::{Credentials, Session};
use ringkeeper::proto::acl::Acl;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use super::harness::{PATIENCE, Server, Setup, both, directory, eventually};

both!(
    ten_thousand_connections_leave_nothing_behind,
    running_out_of_descriptors_spares_those_inside,
    connections_of_one_address_are_limited,
    silence_behind_a_length_is_cut_off,
    a_client_that_never_reads_is_bounded_and_closed,
);

const NO_LIMIT: &str = "-Dzookeeper.maxClientCnxns=0";

/// What the server sends until it hangs up, which it must do; `None` if it did not within `wait`.
fn until_closed(stream: &mut TcpStream, wait: Duration) -> Option<Vec<u8>> {
    let end = Instant::now() + wait;
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) => return Some(got),
            Ok(n) => got.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Some(got),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if Instant::now() >= end {
                    return None;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Opens some and drops them: silent, with a part of a frame, with nonsense, with a session, and some with a reset.
fn wave(address: SocketAddr, count: usize) {
    let streams: Vec<_> = (0..count)
        .map(|i| {
            let mut stream = TcpStream::connect(address).unwrap();
            let session = Session::new(Credentials::new(4000));
            let bytes: &[u8] = match i % 5 {
                0 => b"",
                1 => &session.output()[..20],
                2 => b"GET / HTTP/1.1\r\n\r\n",
                3 => session.output(),
                _ => b"\0\0\0",
            };
            stream.write_all(bytes).unwrap();
            stream
        })
        .collect();
    for (i, stream) in streams.into_iter().enumerate() {
        if i % 2 == 0 {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

fn ten_thousand_connections_leave_nothing_behind(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&[NO_LIMIT, "-Dzookeeper.tickTime=500"]).start();
    let mut inside = server.client();
    inside.sync("/").unwrap();
    // The segments that are made ahead are files that are open for a while.
    let third = directory.path().join("data/log/log.0000000000000003");
    eventually("the third segment", || third.exists().then_some(()));
    let descriptors = server.descriptors();
    let back = |when: &str| {
        eventually(when, || (server.descriptors() <= descriptors).then_some(()));
    };
    // What a first thousand leaves in the allocator is not counted.
    for _ in 0..5 {
        wave(server.address, 200);
    }
    back("the descriptors of the first thousand");
    // And the sessions they opened: 4 s, and a tick.
    thread::sleep(Duration::from_secs(5));
    inside.sync("/").unwrap();
    let resident = server.resident();
    for _ in 0..50 {
        wave(server.address, 200);
        inside.ping().unwrap();
    }
    back("the descriptors of ten thousand");
    thread::sleep(Duration::from_secs(5));
    inside.sync("/").unwrap();
    let grown = server.resident().saturating_sub(resident);
    assert!(grown < 16 << 10, "{grown} KiB are left of ten thousand connections");
    server.stop();
}

fn running_out_of_descriptors_spares_those_inside(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&[NO_LIMIT]).limited("ulimit -n 200").start();
    let mut inside = server.client();
    let free = 200 - server.descriptors();
    let mut others: Vec<_> = (0..free + 50).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    // Those for whom there is no descriptor are let go, not left waiting.
    let gone = |stream: &TcpStream| {
        let mut fds = [PollFd::new(stream, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    };
    eventually("the end of those who found no room", || {
        (others.iter().filter(|stream| gone(stream)).count() >= 50).then_some(())
    });
    assert!(server.lines().iter().any(|line| line.contains("file descriptors have run out")), "{:#?}", server.lines());
    let before = server.processor_time();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        inside
            .set("/zookeeper", b"", -1)
            .map(drop)
            .or_else(|error| if error.refusal().is_some() { Ok(()) } else { Err(error) })
            .unwrap();
        inside.sync("/").unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    let used = server.processor_time() - before;
    assert!(used < Duration::from_millis(600), "{used:?} of processor time in 2 s: it is in a loop");
    others.clear();
    let mut again = eventually("room for another", || Client::connect(server.address, 30_000, Duration::from_secs(1)).ok());
    again.create("/a", b"", CreateMode::Persistent).unwrap();
    inside.sync("/").unwrap();
    server.stop();
}

fn connections_of_one_address_are_limited(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&["-Dzookeeper.maxClientCnxns=5"]).start();
    let mut clients: Vec<_> = (0..5).map(|_| server.client()).collect();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        assert_eq!(until_closed(&mut stream, PATIENCE), Some(Vec::new()));
    }
    eventually("the line about it", || server.lines().iter().any(|line| line.contains("maxClientCnxns")).then_some(()));
    for client in &mut clients {
        client.sync("/").unwrap();
    }
    clients.pop().unwrap().close().unwrap();
    let mut sixth = eventually("the place that was left", || Client::connect(server.address, 30_000, PATIENCE).ok());
    sixth.sync("/").unwrap();
    server.stop();
}

fn silence_behind_a_length_is_cut_off(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&["-Dzookeeper.nio.sessionlessCnxnTimeout=1000"]).start();
    let mut inside = server.client();
    let openings: [&[u8]; 4] = [b"", &[0, 0], &[0, 0, 0, 45], &[0, 0, 0, 45, 0, 0]];
    let began = Instant::now();
    let mut streams: Vec<_> = openings
        .iter()
        .map(|bytes| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        })
        .collect();
    for stream in &mut streams {
        assert_eq!(until_closed(stream, PATIENCE), Some(Vec::new()));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(4500), "{took:?}");
    inside.sync("/").unwrap();
    // A length no frame may have is not waited for.
    for length in [-1i32, 0x10_0000, i32::MIN] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(until_closed(&mut stream, PATIENCE), Some(Vec::new()));
        assert!(began.elapsed() < Duration::from_millis(900), "{length}");
    }
    server.stop();
}

/// A client that asks for far more than it takes: connected, then a gigabyte of replies asked for.
fn mute(server: &Server, ask: &Ask<'_>, count: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let mut session = Session::new(Credentials::new(40_000));
    stream.write_all(session.output()).unwrap();
    let sent = session.output().len();
    session.sent(sent);
    let mut response = [0; 41];
    stream.read_exact(&mut response).unwrap();
    session.feed(&response);
    session.take().unwrap().expect("a session");
    for _ in 0..count {
        session.submit(ask);
    }
    // The server stops reading when it holds enough output: not all of it need go out.
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = stream.write_all(session.output());
    stream
}

fn a_client_that_never_reads_is_bounded_and_closed(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).start();
    let mut inside = server.client();
    inside.create("/big", &[b'b'; 500_000], CreateMode::Persistent).unwrap();
    inside.create("/wide", b"", CreateMode::Persistent).unwrap();
    let acl = [Acl::open()];
    for i in 0..10_000 {
        let path = format!("/wide/a-child-with-a-name-of-some-length-{i:06}");
        inside.submit(&Ask::Create { path: &path, data: None, acl: &acl, mode: CreateMode::Persistent }).unwrap();
    }
    for _ in 0..10_000 {
        inside.next_reply().unwrap().result.unwrap();
    }
    let before = server.resident();
    let began = Instant::now();
    let mut streams = vec![
        mute(&server, &Ask::GetData { path: "/big", watch: false }, 2000),
        mute(&server, &Ask::GetChildren2 { path: "/wide", watch: false }, 2000),
    ];
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    // They are closed 30 s after they took their last byte; the loop looks at that now and then.
    loop {
        let asked = Instant::now();
        inside.set("/wide", b"x", -1).unwrap();
        assert_eq!(inside.get("/big", false).unwrap().0.len(), 500_000);
        slowest = slowest.max(asked.elapsed());
        most = most.max(server.resident().saturating_sub(before));
        let open = server.client_count();
        if open == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(50), "{open} connections are still open");
        thread::sleep(Duration::from_millis(50));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(30), "closed after {took:?}, while it might have read");
    assert!(slowest < Duration::from_secs(1), "another client waited {slowest:?}");
    assert!(most < 40 << 10, "{most} KiB for two clients that do not read");
    for stream in &mut streams {
        let got = until_closed(stream, PATIENCE).expect("the connection is closed");
        assert!(got.len() < 64 << 20, "{}", got.len());
    }
    assert!(!matches!(inside.sync("/"), Err(ClientError::Closed)));
    server.stop();
}

impl Server {
    /// Connections that are established to its port, its own side of them.
    fn client_count(&self) -> usize {
        let wanted = format!("0100007F:{:04X}", self.address.port());
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.id())).unwrap();
        table
            .lines()
            .filter(|line| {
                let mut fields = line.split_whitespace();
                fields.nth(1) == Some(&wanted) && fields.nth(1) == Some("01")
            })
            .count()
    }
}
