//! Peers: all sockets to other servers, in one epoll set.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::super::mesh::Common;
use super::acceptor::{self, Acceptor};
use super::dial::{Dial, Purpose};
use super::election::{BEYOND, Election};
use super::link::{LinkIo, Over};
use super::socket::{Manner, Socket};
use super::{PeerEvent, PeersConfig, StatePiece, StateSink};
use crate::ground::ids::ServerId;
use crate::proto::packet::Side;
use crate::zab::{In, Link, Out};

/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

/// Bytes read from one socket at a time.
const CHUNK: usize = 256 << 10;

/// Links at most; learners beyond are turned away.
const LINKS_MAX: usize = 1100;

const ELECTION_PORT: Token = Token(0);
const QUORUM_PORT: Token = Token(1);

/// All sockets to other servers.
pub struct Peers {
    config: PeersConfig,
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    election_port: Acceptor,
    quorum_port: Acceptor,
    election: Election,
    links: BTreeMap<Link, LinkIo>,
    next_link: u64,
    /// The call of a leader that is waited for; the answers to earlier ones are not wanted any more.
    leader_call: u64,
    dial: Dial,
    /// What is to be told at the next turn.
    news: Vec<PeerEvent>,
}

impl Peers {
    /// Begins to listen on the election port and the quorum port. `common` is what wakes the sequencer's loop. A port that is taken, and
    /// a name that is not known yet, are tried again for two seconds. An error names the address.
    pub fn start(config: PeersConfig, common: Arc<Common>) -> io::Result<Self> {
        let own = config.servers[&config.me].clone();
        let bind = |port, what| {
            acceptor::bind(&own.host, port, config.listens_everywhere).map_err(|error| {
                let text = format!("cannot listen for other servers on {}:{port}, the {what} port: {error}", own.host);
                io::Error::new(error.kind(), text)
            })
        };
        let (election, quorum) = (bind(own.election, "election")?, bind(own.quorum, "quorum")?);
        Self::on(election, quorum, config, common)
    }

    /// The same on listeners that are there already.
    pub(super) fn on(election: TcpListener, quorum: TcpListener, config: PeersConfig, common: Arc<Common>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let election_port = Acceptor::new(election, poll.registry(), ELECTION_PORT)?;
        let quorum_port = Acceptor::new(quorum, poll.registry(), QUORUM_PORT)?;
        Ok(Self {
            election: Election::new(&config),
            config,
            poll,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; CHUNK].into(),
            election_port,
            quorum_port,
            links: BTreeMap::new(),
            next_link: 0,
            leader_call: 0,
            dial: Dial::new(common),
            news: Vec::new(),
        })
    }

    /// The descriptor that has news when a turn has something to do.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Takes what has come, never blocks. Whether there was anything, or more is there already: then the next turn must not wait.
    pub fn turn(&mut self, events: &mut Vec<PeerEvent>) -> bool {
        let had = events.len();
        events.append(&mut self.news);
        let mut any = self.collect();
        while let Some((purpose, answer)) = self.dial.done() {
            any = true;
            match purpose {
                Purpose::Election(to) => self.election.called(to, answer, self.poll.registry()),
                Purpose::Leader(leader, call) if call == self.leader_call => self.leader_called(leader, answer, events),
                Purpose::Leader(..) => {}
            }
        }
        any |= self.accept(events);
        any |= self.election.turn(&mut self.scratch, &self.dial, self.poll.registry(), events);
        let mut over = Vec::new();
        for (link, io) in &mut self.links {
            match io.turn(&mut self.scratch, events) {
                Ok(moved) => any |= moved,
                Err(why) => over.push((*link, why)),
            }
        }
        self.break_off(over);
        events.append(&mut self.news);
        any || events.len() > had
    }

    /// Asks the kernel which sockets have news.
    fn collect(&mut self) -> bool {
        if let Err(error) = self.poll.poll(&mut self.events, Some(Duration::ZERO))
            && error.kind() != io::ErrorKind::Interrupted
        {
            panic!("epoll failed: {error}");
        }
        for event in &self.events {
            match event.token() {
                ELECTION_PORT => self.election_port.note(),
                QUORUM_PORT => self.quorum_port.note(),
                Token(token) if token < BEYOND => self.election.note(token, event),
                Token(token) => {
                    if let Some(io) = self.links.get_mut(&Link((token - BEYOND) as u64)) {
                        io.note(event);
                    }
                }
            }
        }
        // A full list may have left some untold.
        self.events.iter().count() >= EVENTS
    }

    fn accept(&mut self, events: &mut Vec<PeerEvent>) -> bool {
        let registry = self.poll.registry();
        let election = &mut self.election;
        let mut any = self.election_port.accept(|stream| election.accepted(stream, registry));
        let mut come = Vec::new();
        any |= self.quorum_port.accept(|stream| come.push(stream));
        for stream in come {
            any = true;
            if self.links.len() >= LINKS_MAX {
                tracing::warn!("a learner is turned away: there are {LINKS_MAX} links");
            } else if let Some(link) = self.add(stream, Side::Leader) {
                events.push(PeerEvent::In(In::Accepted { link }));
            }
        }
        any
    }

    fn leader_called(&mut self, leader: ServerId, answer: io::Result<TcpStream>, events: &mut Vec<PeerEvent>) {
        let link = match answer {
            Ok(stream) => self.add(stream, Side::Learner),
            Err(error) => {
                tracing::info!("the leader, server {}, cannot be reached: {error}", leader.0);
                None
            }
        };
        events.push(PeerEvent::In(match link {
            Some(link) => In::Connected { leader, link },
            None => In::Unreachable { leader },
        }));
    }

    /// A new link, on which this server is `side`; none where the connection is gone already.
    fn add(&mut self, stream: TcpStream, side: Side) -> Option<Link> {
        self.next_link += 1;
        let link = Link(self.next_link);
        let token = usize::try_from(self.next_link).ok().and_then(|number| number.checked_add(BEYOND))?;
        let manner = Manner { silence: self.config.link_silence, keepalive: false };
        let socket = Socket::new(stream, manner, self.poll.registry(), Token(token)).ok()?;
        let io = LinkIo::new(link, socket, side, self.config.packet_max, self.config.output_max);
        self.links.insert(link, io);
        Some(link)
    }

    /// Links that have broken are told of.
    fn break_off(&mut self, over: Vec<(Link, Over)>) {
        for (link, why) in over {
            let Some(io) = self.links.remove(&link) else { continue };
            match why {
                Over::Closed => tracing::info!("the link with {} ends: {why}", io.peer()),
                _ => tracing::warn!("the link with {} ends: {why}", io.peer()),
            }
            io.close(self.poll.registry());
            self.news.push(PeerEvent::In(In::LinkDown { link }));
        }
    }

    /// Performs [`Out::Notify`], [`Out::Connect`], [`Out::HangUp`] and [`Out::Send`]; the others are not of sockets and are passed over.
    pub fn perform(&mut self, out: Out) {
        match out {
            Out::Notify { to, notification } => self.election.notify(to, &notification, &self.dial),
            Out::Connect { leader } => {
                self.leader_call += 1;
                let Some(address) = self.config.servers.get(&leader) else {
                    tracing::warn!("server {} leads, and the configuration does not name it", leader.0);
                    return self.news.push(PeerEvent::In(In::Unreachable { leader }));
                };
                let purpose = Purpose::Leader(leader, self.leader_call);
                self.dial.call(purpose, &address.host, address.quorum, self.config.leader_timeout);
            }
            Out::HangUp { link, why } => {
                if let Some(io) = self.links.remove(&link) {
                    tracing::info!("the link with {} is given up: {why}", io.peer());
                    io.close(self.poll.registry());
                }
                // What has broken meanwhile is not told any more, and what came is not handed in.
                self.news.retain(|event| !event.is_of(link));
            }
            Out::Send { link, packet } => self.of_link(link, |io| io.send(&packet)),
            Out::Store { .. }
            | Out::Read { .. }
            | Out::SendState { .. }
            | Out::Fold { .. }
            | Out::Finish { .. }
            | Out::Deliver { .. }
            | Out::Became(_)
            | Out::Upward { .. } => {}
        }
    }

    /// Writes what waits, never blocks. Whether anything was written, or there is something to be told.
    pub fn flush(&mut self) -> bool {
        let mut any = self.election.flush(self.poll.registry());
        let mut over = Vec::new();
        for (link, io) in &mut self.links {
            match io.flush(&mut self.news) {
                Ok(moved) => any |= moved,
                Err(why) => over.push((*link, why)),
            }
        }
        self.break_off(over);
        any || !self.news.is_empty()
    }

    /// Bytes that wait for a link. What is read from the log for a learner may wait until it has room.
    #[must_use]
    pub fn waiting(&self, link: Link) -> usize {
        self.links.get(&link).map_or(0, LinkIo::waiting)
    }

    /// The other end of a link, for the operator.
    #[must_use]
    pub fn other_end(&self, link: Link) -> Option<core::net::SocketAddr> {
        self.links.get(&link).map(LinkIo::peer)
    }

    /// The state goes out in the stream of the link; packets sent after this wait behind it. Its end is told by [`In::StateSent`], its
    /// failure by [`In::LinkDown`]. Whoever puts a piece in rings the sequencer's bell.
    pub fn begin_state(&mut self, link: Link, pieces: Receiver<StatePiece>) {
        self.of_link(link, |io| {
            io.begin_state(pieces);
            Ok(())
        });
    }

    /// Says where the state goes that [`PeerEvent::StateBegins`] told of. Its end is told by [`In::StateReceived`], its failure by
    /// [`In::LinkDown`].
    pub fn take_state(&mut self, link: Link, sink: StateSink) {
        self.of_link(link, |io| {
            io.take_state(sink);
            Ok(())
        });
    }

    /// Does something with a link that is still there.
    fn of_link(&mut self, link: Link, act: impl FnOnce(&mut LinkIo) -> Result<(), Over>) {
        if let Some(io) = self.links.get_mut(&link)
            && let Err(why) = act(io)
        {
            self.break_off(vec![(link, why)]);
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for (_, io) in std::mem::take(&mut self.links) {
            io.close(self.poll.registry());
        }
        self.election.close(self.poll.registry());
    }
}
