//! Tests of the sockets between servers, over the loopback.

mod states;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::mesh;
use super::peers::Peers;
use super::{PeerEvent, PeersConfig, StatePiece, StateSink, Taken};
use crate::ground::ids::{ServerId, Zxid};
use crate::proto::members::{HostPort, PeerAddress};
use crate::proto::packet::{LearnerInfo, Packet, Side};
use crate::proto::preamble::{Cut, Preamble};
use crate::proto::vote::{Notification, Standing, Vote};
use crate::zab::{In, Link, Out};

const PATIENCE: Duration = Duration::from_secs(20);

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A server's two ports.
struct Ports(TcpListener, TcpListener);

impl Ports {
    fn new() -> Self {
        Self(listener(), listener())
    }

    fn address(&self) -> PeerAddress {
        PeerAddress { host: "127.0.0.1".into(), quorum: port(&self.1), election: port(&self.0) }
    }
}

fn config(me: u8, servers: &[(u8, PeerAddress)]) -> PeersConfig {
    PeersConfig {
        me: ServerId(me),
        servers: servers.iter().map(|(id, address)| (ServerId(*id), address.clone())).collect(),
        listens_everywhere: false,
        tcp_keepalive: true,
        connect_timeout: Duration::from_secs(5),
        leader_timeout: Duration::from_secs(5),
        greeting_timeout: Duration::from_secs(10),
        silence: Duration::from_secs(5),
        link_silence: Duration::from_secs(10),
        packet_max: 1 << 20,
        output_max: 8 << 20,
    }
}

/// One server's sockets, and what they have brought.
struct Peering {
    peers: Peers,
    events: Vec<PeerEvent>,
}

impl Peering {
    fn new(ports: Ports, config: PeersConfig) -> Self {
        let common = Arc::clone(mesh::mesh(1, Zxid::ZERO).0.common());
        Self { peers: Peers::on(ports.0, ports.1, config, common).unwrap(), events: Vec::new() }
    }

    fn turn(&mut self) {
        self.peers.turn(&mut self.events);
        self.peers.flush();
    }

    fn send(&mut self, link: Link, packet: Packet) {
        self.peers.perform(Out::Send { link, packet });
    }

    fn notify(&mut self, to: u8, notification: &Notification) {
        self.peers.perform(Out::Notify { to: ServerId(to), notification: notification.clone() });
    }

    /// Takes the first event that is wanted out of those that came.
    fn take<T>(&mut self, want: impl Fn(&PeerEvent) -> Option<T>) -> Option<T> {
        let (at, found) = self.events.iter().enumerate().find_map(|(at, event)| Some((at, want(event)?)))?;
        self.events.remove(at);
        Some(found)
    }

    fn notification(&mut self) -> Option<(u8, Notification)> {
        self.take(|event| match event {
            PeerEvent::In(In::Notification { from, notification }) => Some((from.0, notification.clone())),
            _ => None,
        })
    }

    fn packets(&mut self) -> Vec<Packet> {
        let mut all = Vec::new();
        self.events.retain(|event| match event {
            PeerEvent::In(In::Packet { packet, .. }) => {
                all.push(packet.clone());
                false
            }
            PeerEvent::In(In::Train { packets, .. }) => {
                assert!(packets.len() > 1, "a train is more than one");
                all.extend(packets.iter().cloned());
                false
            }
            _ => true,
        });
        all
    }

    fn is_down(&mut self) -> Option<Link> {
        self.take(|event| if let PeerEvent::In(In::LinkDown { link }) = event { Some(*link) } else { None })
    }
}

/// Turns of all of them until the wanted thing is there.
fn until<T>(sides: &mut [&mut Peering], what: &str, mut want: impl FnMut(&mut [&mut Peering]) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        for side in sides.iter_mut() {
            side.turn();
        }
        if let Some(found) = want(sides) {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Turns of all of them for a while.
fn meanwhile(sides: &mut [&mut Peering], time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        sides.iter_mut().for_each(|side| side.turn());
        thread::sleep(Duration::from_micros(200));
    }
}

fn vote(round: u64) -> Notification {
    let vote = Some(Vote { epoch: 1, zxid: Zxid::new(1, 7), leader: ServerId(3) });
    Notification { standing: Standing::Looking, vote, round, config: Some(Arc::from(&b"version=0"[..])) }
}

fn frame(notification: &Notification) -> Vec<u8> {
    let mut out = Vec::new();
    notification.encode(&mut out);
    out
}

fn preamble(id: u8, at: &PeerAddress) -> Vec<u8> {
    let mut out = Vec::new();
    let address = HostPort { host: at.host.clone(), port: at.election };
    Preamble { server: Some(ServerId(id)), addresses: vec![address] }.encode(&mut out);
    out
}

/// Two servers that know each other.
fn two() -> (Peering, Peering) {
    let (a, b) = (Ports::new(), Ports::new());
    let servers = [(1, a.address()), (2, b.address())];
    (Peering::new(a, config(1, &servers)), Peering::new(b, config(2, &servers)))
}

/// A link between two servers, the first of which has called: its end, and the other's.
fn linked(learner: &mut Peering, leader: &mut Peering, leader_id: u8) -> (Link, Link) {
    learner.peers.perform(Out::Connect { leader: ServerId(leader_id) });
    let near = until(&mut [learner, leader], "the link", |sides| {
        sides[0].take(|event| match event {
            PeerEvent::In(In::Connected { leader, link }) => {
                assert_eq!(leader.0, leader_id);
                Some(*link)
            }
            _ => None,
        })
    });
    let far = until(&mut [learner, leader], "the learner", |sides| {
        sides[1].take(|event| if let PeerEvent::In(In::Accepted { link }) = event { Some(*link) } else { None })
    });
    (near, far)
}

fn info(id: u8) -> Packet {
    let server = Some(ServerId(id));
    Packet::Info(LearnerInfo { server, accepted: 1, config_version: 0, is_observer: false })
}

#[test]
fn notifications_go_both_ways_whoever_begins() {
    for begins in [1, 2] {
        let (mut one, mut two) = two();
        let other = 3 - begins;
        if begins == 1 {
            one.notify(2, &vote(1))
        } else {
            two.notify(1, &vote(1))
        }
        let heard = |at: usize| move |sides: &mut [&mut Peering]| sides[at].notification();
        let first = until(&mut [&mut one, &mut two], "the first notification", heard(usize::from(other) - 1));
        assert_eq!(first, (begins, vote(1)));
        if begins == 1 {
            two.notify(1, &vote(2))
        } else {
            one.notify(2, &vote(2))
        }
        let answer = until(&mut [&mut one, &mut two], "the answer", heard(usize::from(begins) - 1));
        assert_eq!(answer, (other, vote(2)));
        // The one that waits makes way for the newer one, and the last one comes.
        for round in 3..50 {
            one.notify(2, &vote(round));
        }
        until(&mut [&mut one, &mut two], "the last one", |sides| {
            sides[1].notification().filter(|(_, notification)| notification.round == 49)
        });
        let is_met = |event: &PeerEvent| matches!(event, PeerEvent::In(In::Met { from: ServerId(1) }));
        assert!(two.events.len() == 1 && is_met(&two.events[0]), "one connection, and nothing else: {:?}", two.events);
    }
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let (a, b) = (Ports::new(), Ports::new());
    let (b_again, servers) = (Ports(b.0.try_clone().unwrap(), b.1.try_clone().unwrap()), [(1, a.address()), (2, b.address())]);
    let (mut one, mut two) = (Peering::new(a, config(1, &servers)), Peering::new(b, config(2, &servers)));
    one.notify(2, &vote(1));
    until(&mut [&mut one, &mut two], "a notification", |sides| sides[1].notification());
    drop(two);
    meanwhile(&mut [&mut one], Duration::from_millis(50));
    let mut two = Peering::new(b_again, config(2, &servers));
    one.notify(2, &vote(2));
    let again = until(&mut [&mut one, &mut two], "a notification", |sides| sides[1].notification());
    assert_eq!(again, (1, vote(2)));
    two.notify(1, &vote(3));
    until(&mut [&mut one, &mut two], "an answer", |sides| sides[0].notification());
}

/// Reads one whole first message.
fn greeted(stream: &mut TcpStream) -> Preamble {
    let mut input = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        input.push(byte[0]);
        if let Cut::Whole(preamble, used) = Preamble::cut(&input).unwrap() {
            assert_eq!(used, input.len());
            return preamble;
        }
    }
}

fn reads(stream: &mut TcpStream, side: &mut Peering, want: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    let mut got = Vec::new();
    until(&mut [side], "what the other server is to read", |_| {
        let mut buffer = [0; 4096];
        if let Ok(n) = stream.read(&mut buffer) {
            assert!(n > 0, "the connection ended after {got:?}");
            got.extend_from_slice(&buffer[..n]);
        }
        (got.len() >= want.len()).then_some(())
    });
    assert_eq!(got, want);
}

fn ends(stream: &mut TcpStream, side: &mut Peering) {
    stream.set_nonblocking(true).unwrap();
    until(&mut [side], "the end", |_| {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => Some(()),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Some(()),
            _ => None,
        }
    });
}

#[test]
fn the_larger_number_calls_and_what_may_be_lost_is_said_again() {
    let (ports, other) = (Ports::new(), Ports::new());
    let servers = [(1, ports.address()), (3, other.address())];
    let (at, their) = (ports.address(), other.address());
    let mut one = Peering::new(ports, config(1, &servers));
    for round in 1..=3 {
        one.notify(3, &vote(round));
    }
    // It calls, says who it is and hangs up: the other's number is larger.
    other.0.set_nonblocking(true).unwrap();
    let mut call = until(&mut [&mut one], "the call", |_| other.0.accept().ok()).0;
    call.set_nonblocking(false).unwrap();
    one.turn();
    let said = until(&mut [&mut one], "the first message", |_| {
        let mut head = [0; 8];
        (call.peek(&mut head).ok()? == 8).then(|| greeted(&mut call))
    });
    assert_eq!(
        said,
        Preamble { server: Some(ServerId(1)), addresses: vec![HostPort { host: at.host.clone(), port: at.election }] }
    );
    ends(&mut call, &mut one);
    // Called back it says what is newest; and the same again on a new connection, with nothing newer to say.
    for _ in 0..2 {
        let mut back = TcpStream::connect(("127.0.0.1", at.election)).unwrap();
        back.write_all(&preamble(3, &their)).unwrap();
        reads(&mut back, &mut one, &frame(&vote(3)));
        back.set_nonblocking(false).unwrap();
        back.write_all(&frame(&vote(9))).unwrap();
        let heard = until(&mut [&mut one], "the other's word", |sides| sides[0].notification());
        assert_eq!(heard, (3, vote(9)));
    }
    // A newer connection takes the place of the older one.
    let mut older = TcpStream::connect(("127.0.0.1", at.election)).unwrap();
    older.write_all(&preamble(3, &their)).unwrap();
    reads(&mut older, &mut one, &frame(&vote(3)));
    let mut newer = TcpStream::connect(("127.0.0.1", at.election)).unwrap();
    // First words and a notification in one piece.
    newer.write_all(&[preamble(3, &their), frame(&vote(10))].concat()).unwrap();
    ends(&mut older, &mut one);
    assert_eq!(until(&mut [&mut one], "the other's word", |sides| sides[0].notification()), (3, vote(10)));
}

#[test]
fn the_smaller_number_is_called_back() {
    let (ports, other, stranger) = (Ports::new(), Ports::new(), Ports::new());
    let servers = [(4, ports.address()), (1, other.address())];
    let at = ports.address();
    let mut four = Peering::new(ports, config(4, &servers));
    // A server that is named is called where it is named; another one where it says.
    for (id, calls_from, met_at) in [(1, &stranger, &other), (2, &stranger, &stranger)] {
        let mut call = TcpStream::connect(("127.0.0.1", at.election)).unwrap();
        call.write_all(&preamble(id, &calls_from.address())).unwrap();
        ends(&mut call, &mut four);
        met_at.0.set_nonblocking(true).unwrap();
        let mut back = until(&mut [&mut four], "the call back", |_| met_at.0.accept().ok()).0;
        back.set_nonblocking(false).unwrap();
        four.notify(id, &vote(5));
        let mut want = preamble(4, &at);
        want.extend(frame(&vote(5)));
        reads(&mut back, &mut four, &want);
        back.set_nonblocking(false).unwrap();
        back.write_all(&frame(&vote(6))).unwrap();
        assert_eq!(until(&mut [&mut four], "its word", |sides| sides[0].notification()), (id, vote(6)));
    }
}

#[test]
fn hostile_first_messages_end_there() {
    let (ports, other) = (Ports::new(), Ports::new());
    let servers = [(1, ports.address()), (2, other.address())];
    let at = ports.address();
    let settings = PeersConfig { greeting_timeout: Duration::from_millis(300), ..config(1, &servers) };
    let mut one = Peering::new(ports, settings);
    let long = |parts: &[&[u8]]| parts.concat();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n and more of it".to_vec(),
        (-65_530i64).to_be_bytes().to_vec(),
        300i64.to_be_bytes().to_vec(),
        // Itself.
        preamble(1, &at),
        // A text that is too long.
        long(&[&(-65_536i64).to_be_bytes(), &2i64.to_be_bytes(), &3000i32.to_be_bytes(), &[b'x'; 40]]),
        // A frame that is too long, and an empty one.
        long(&[&preamble(2, &other.address()), &i32::MAX.to_be_bytes()]),
        long(&[&preamble(2, &other.address()), &[0; 4]]),
        // Silence, and half a message.
        Vec::new(),
        preamble(2, &other.address())[..15].to_vec(),
    ] {
        let mut call = TcpStream::connect(("127.0.0.1", at.election)).unwrap();
        call.write_all(&bytes).unwrap();
        ends(&mut call, &mut one);
    }
    // Many who say nothing do not keep out the one who speaks.
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", at.election)).unwrap()).collect();
    let mut call = TcpStream::connect(("127.0.0.1", at.election)).unwrap();
    call.write_all(&[preamble(2, &other.address()), vec![0, 0, 0, 3, 1, 2, 3], frame(&vote(1))].concat()).unwrap();
    let heard = until(&mut [&mut one], "the one who speaks", |sides| sides[0].notification());
    assert_eq!(heard, (2, vote(1)), "and what is no notification is passed over");
    assert_eq!(silent.len(), 100);
}

#[test]
fn a_link_carries_packets_both_ways_and_trains() {
    let (mut one, mut two) = two();
    let (near, far) = linked(&mut one, &mut two, 2);
    one.send(near, info(1));
    let first = until(&mut [&mut one, &mut two], "a packet", |sides| sides[1].packets().pop());
    assert_eq!(first, info(1));
    let many: Vec<_> = (1..=300).map(|n| Packet::Commit { zxid: Zxid::new(1, n) }).collect();
    many.iter().for_each(|packet| two.send(far, packet.clone()));
    assert!(two.peers.waiting(far) >= 300 * 20);
    let mut heard = Vec::new();
    until(&mut [&mut one, &mut two], "a train", |sides| {
        heard.extend(sides[0].packets());
        (heard.len() >= 300).then_some(())
    });
    assert_eq!(heard, many);
    assert_eq!(two.peers.waiting(far), 0);
    // One end gives it up, the other is told; what is sent there is no matter.
    two.peers.perform(Out::HangUp { link: far, why: "a test" });
    two.send(far, Packet::UpToDate);
    assert_eq!(until(&mut [&mut one, &mut two], "the end", |sides| sides[0].is_down()), near);
    one.send(near, Packet::Ack { zxid: Zxid(1) });
    assert!(two.is_down().is_none(), "whoever hangs up is not told");
    // Links have numbers of their own.
    let (again, _) = linked(&mut one, &mut two, 2);
    assert_ne!(again, near);
}

#[test]
fn a_server_that_could_not_be_reached_is_called_again() {
    let (ports, other) = (Ports::new(), Ports::new());
    let (address, servers) = (other.address(), [(2, ports.address()), (1, other.address())]);
    drop(other);
    let mut two = Peering::new(ports, config(2, &servers));
    two.notify(1, &vote(1));
    meanwhile(&mut [&mut two], Duration::from_millis(100));
    // It comes up, and hears what waits for it although nothing new is said.
    let late = TcpListener::bind(("127.0.0.1", address.election)).unwrap();
    late.set_nonblocking(true).unwrap();
    let mut call = until(&mut [&mut two], "the call", |_| late.accept().ok()).0;
    reads(&mut call, &mut two, &[preamble(2, &servers[0].1), frame(&vote(1))].concat());
}

#[test]
fn a_leader_that_is_not_there_is_told() {
    let (ports, other) = (Ports::new(), Ports::new());
    let servers = [(1, ports.address()), (2, other.address())];
    drop(other);
    let mut one = Peering::new(ports, config(1, &servers));
    for leader in [2, 9] {
        one.peers.perform(Out::Connect { leader: ServerId(leader) });
        let gone = until(&mut [&mut one], "the answer", |sides| {
            sides[0].take(|event| if let PeerEvent::In(In::Unreachable { leader }) = event { Some(leader.0) } else { None })
        });
        assert_eq!(gone, leader);
    }
}

#[test]
fn hostile_learners_are_left() {
    let ports = Ports::new();
    let at = ports.address();
    let mut one = Peering::new(ports, config(1, &[(1, at.clone())]));
    let mut too_long = 11i32.to_be_bytes().to_vec();
    too_long.extend([0; 8]);
    too_long.extend((2i32 << 20).to_be_bytes());
    let mut endless = 11i32.to_be_bytes().to_vec();
    endless.extend([0; 8]);
    endless.extend((1i32 << 19).to_be_bytes());
    endless.extend([0; 8000]);
    let mut other_kind = Vec::new();
    Packet::UpToDate.encode(Side::Leader, &mut other_kind);
    other_kind.extend_from_slice(&too_long);
    for bytes in [too_long, endless, other_kind] {
        let mut call = TcpStream::connect(("127.0.0.1", at.quorum)).unwrap();
        // It may be closed before all is written.
        let _ = call.write_all(&bytes);
        let link = until(&mut [&mut one], "the link", |sides| {
            sides[0].take(|event| if let PeerEvent::In(In::Accepted { link }) = event { Some(*link) } else { None })
        });
        assert_eq!(until(&mut [&mut one], "the end", |sides| sides[0].is_down()), link);
        assert!(one.events.is_empty());
        ends(&mut call, &mut one);
    }
    // One that leaves at once.
    let call = TcpStream::connect(("127.0.0.1", at.quorum)).unwrap();
    call.shutdown(Shutdown::Both).unwrap();
    until(&mut [&mut one], "the end", |sides| sides[0].is_down());
}

#[test]
fn a_learner_that_lags_is_dropped() {
    let (mut one, mut two) = two();
    let (near, far) = linked(&mut one, &mut two, 2);
    let config: Arc<[u8]> = vec![b'x'; 512 << 10].into();
    // The other end does not read.
    let mut sent = 0;
    let down = loop {
        two.send(far, Packet::NewLeader { epoch: 1, config: Some(Arc::clone(&config)) });
        two.turn();
        sent += 1;
        if let Some(link) = two.is_down() {
            break link;
        }
        assert!(sent < 100 && two.peers.waiting(far) <= 8 << 20, "what waits is bounded");
    };
    assert_eq!(down, far);
    until(&mut [&mut one], "the end", |sides| sides[0].is_down().filter(|link| *link == near));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (ports, other) = (Ports::new(), Ports::new());
    let address = PeerAddress { quorum: port(&other.1), ..ports.address() };
    let common = Arc::clone(mesh::mesh(1, Zxid::ZERO).0.common());
    let error = Peers::start(config(1, &[(1, address.clone())]), common).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot listen for other servers on 127.0.0.1:{}, the election port: ", address.election)),
        "{error}"
    );
}
