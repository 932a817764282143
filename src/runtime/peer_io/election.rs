//! Election: the connections of the election port, one for each pair of servers, as ZooKeeper's `QuorumCnxManager` keeps them.
//!
//! For each other server one notification waits at most: a newer one takes its place. A connection that has broken is made anew when
//! the next notification is to be sent; the last one that was sent goes out again where no newer one waits, for it may have been lost.
//! Beyond what ZooKeeper does, a server for which something waits is called again each second: those who repeat their votes come to do it
//! once a minute only, and a way that was cut should not be missed for so long after it has healed.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};

use super::dial::{Dial, Purpose};
use super::socket::{Brought, Manner, Socket};
use super::{PeerEvent, PeersConfig};
use crate::ground::ids::ServerId;
use crate::proto::frame::Cut;
use crate::proto::members::HostPort;
use crate::proto::preamble::{self, End, Fate, Preamble};
use crate::proto::vote::{self, Notification};
use crate::zab::In;

/// Callers that have not said who they are. Where more come the one that has waited longest goes.
const GREETINGS_MAX: usize = 64;

/// Bytes of the longest first message.
const PREAMBLE_MAX: usize = 2068;

/// Between two calls of a server for which something waits.
const CALL_AGAIN: Duration = Duration::from_secs(1);

/// Tokens of callers are this one and those after it.
const GREETINGS: usize = 1 << 32;

/// Tokens of other servers are this one and as many after it as there are numbers.
const OTHERS: usize = 2 << 32;

/// Tokens from here on are not of the election port.
pub(super) const BEYOND: usize = 3 << 32;

/// A caller that has not said who it is.
struct Greeting {
    socket: Socket,
    input: Vec<u8>,
    since: Instant,
}

/// Another server, as elections know it.
#[derive(Default)]
struct Other {
    socket: Option<Socket>,
    /// Nothing has come on it yet.
    is_new: bool,
    /// What has come and is no whole frame.
    input: Vec<u8>,
    /// The notification that waits, in its frame.
    waiting: Option<Vec<u8>>,
    /// The last one sent.
    last: Option<Vec<u8>>,
    is_called: bool,
    /// When it was last called.
    called_at: Option<Instant>,
    /// Where a server that the configuration does not name wants to be called.
    met_at: Option<HostPort>,
}

/// The connections of the election port.
pub(super) struct Election {
    me: ServerId,
    own: HostPort,
    servers: BTreeMap<ServerId, HostPort>,
    others: BTreeMap<ServerId, Other>,
    greetings: BTreeMap<usize, Greeting>,
    next_greeting: usize,
    manner: Manner,
    connect_timeout: Duration,
    greeting_timeout: Duration,
}

impl Election {
    /// No connections. Panics where the configuration does not name this server.
    pub fn new(config: &PeersConfig) -> Self {
        let at = |address: &crate::proto::members::PeerAddress| HostPort { host: address.host.clone(), port: address.election };
        Self {
            me: config.me,
            own: at(&config.servers[&config.me]),
            servers: config.servers.iter().map(|(id, address)| (*id, at(address))).collect(),
            others: BTreeMap::new(),
            greetings: BTreeMap::new(),
            next_greeting: 0,
            manner: Manner { silence: config.silence, keepalive: config.tcp_keepalive },
            connect_timeout: config.connect_timeout,
            greeting_timeout: config.greeting_timeout,
        }
    }

    /// Puts a notification in the place of any that waits for the same server, which is called if it has to be.
    pub fn notify(&mut self, to: ServerId, notification: &Notification, dial: &Dial) {
        if to == self.me {
            return;
        }
        let mut frame = Vec::new();
        notification.encode(&mut frame);
        let other = self.others.entry(to).or_default();
        other.waiting = Some(frame);
        if other.socket.is_none() {
            self.call(to, dial);
        }
    }

    fn call(&mut self, to: ServerId, dial: &Dial) {
        let other = self.others.entry(to).or_default();
        let Some(at) = self.servers.get(&to).or(other.met_at.as_ref()) else { return };
        if !std::mem::replace(&mut other.is_called, true) {
            other.called_at = Some(Instant::now());
            dial.call(Purpose::Election(to), &at.host, at.port, self.connect_timeout);
        }
    }

    /// A server has been called, and has answered or not.
    pub fn called(&mut self, to: ServerId, answer: std::io::Result<TcpStream>, registry: &Registry) {
        let Some(other) = self.others.get_mut(&to) else { return };
        other.is_called = false;
        let made = answer.and_then(|stream| Socket::new(stream, self.manner, registry, Token(OTHERS + usize::from(to.0))));
        let mut socket = match made {
            Ok(socket) => socket,
            Err(error) => return tracing::debug!("server {} cannot be called for an election: {error}", to.0),
        };
        Preamble { server: Some(self.me), addresses: vec![self.own.clone()] }.encode(socket.out());
        match preamble::fate(End::Caller, self.me, Some(to)) {
            Fate::Keep => {
                tracing::debug!("server {} was called for elections", to.0);
                other.open(socket, Vec::new(), registry);
            }
            // It knows now that it has to call.
            _ => {
                let _ = socket.write();
                socket.close(registry);
            }
        }
    }

    /// Somebody has called.
    pub fn accepted(&mut self, stream: TcpStream, registry: &Registry) {
        self.next_greeting = (self.next_greeting + 1) % GREETINGS;
        let number = self.next_greeting;
        // One that is gone already.
        let Ok(socket) = Socket::new(stream, self.manner, registry, Token(GREETINGS + number)) else { return };
        if self.greetings.len() >= GREETINGS_MAX
            && let Some(oldest) = self.greetings.iter().min_by_key(|(_, greeting)| greeting.since).map(|(number, _)| *number)
            && let Some(greeting) = self.greetings.remove(&oldest)
        {
            greeting.socket.close(registry);
        }
        self.greetings.insert(number, Greeting { socket, input: Vec::new(), since: Instant::now() });
    }

    /// The kernel has told of one of the connections.
    pub fn note(&mut self, token: usize, event: &Event) {
        let socket = if token >= OTHERS {
            let id = u8::try_from(token - OTHERS).ok();
            id.and_then(|id| self.others.get_mut(&ServerId(id))).and_then(|other| other.socket.as_mut())
        } else {
            self.greetings.get_mut(&(token - GREETINGS)).map(|greeting| &mut greeting.socket)
        };
        if let Some(socket) = socket {
            socket.note(event);
        }
    }

    /// Reads what has come. Whether anything has, so that there may be more.
    pub fn turn(&mut self, scratch: &mut [u8], dial: &Dial, registry: &Registry, events: &mut Vec<PeerEvent>) -> bool {
        self.call_again(dial);
        self.greet(scratch, dial, registry) | self.read(scratch, registry, events)
    }

    fn call_again(&mut self, dial: &Dial) {
        let waits = |other: &Other| other.waiting.is_some() && other.socket.is_none() && !other.is_called;
        if !self.others.values().any(waits) {
            return;
        }
        let is_due = |other: &Other| other.called_at.is_none_or(|when| when.elapsed() >= CALL_AGAIN);
        let due: Vec<_> = self.others.iter().filter(|(_, other)| waits(other) && is_due(other)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.call(id, dial));
    }

    fn greet(&mut self, scratch: &mut [u8], dial: &Dial, registry: &Registry) -> bool {
        if self.greetings.is_empty() {
            return false;
        }
        let now = Instant::now();
        let mut over = Vec::new();
        let mut any = false;
        for (number, greeting) in &mut self.greetings {
            let brought = if greeting.socket.is_readable() { greeting.socket.read(scratch) } else { Brought::Nothing };
            let verdict = match brought {
                Brought::Bytes(n) => {
                    greeting.input.extend_from_slice(&scratch[..n]);
                    any = true;
                    Preamble::cut(&greeting.input).map_err(|wrong| wrong.to_string())
                }
                Brought::Nothing if now.duration_since(greeting.since) < self.greeting_timeout => continue,
                Brought::Nothing => Err("it does not say who it is".to_owned()),
                Brought::End | Brought::Broken => Err("it left before it said who it is".to_owned()),
            };
            match verdict {
                Ok(preamble::Cut::More(_)) => {}
                Ok(preamble::Cut::Whole(preamble, used)) => over.push((*number, Ok((preamble, used)))),
                Err(why) => over.push((*number, Err(why))),
            }
        }
        for (number, verdict) in over {
            let Some(greeting) = self.greetings.remove(&number) else { continue };
            match verdict {
                Ok((preamble, used)) => self.greeted(greeting, preamble, used, dial, registry),
                Err(why) => {
                    tracing::debug!("a caller of the election port, {}: {why}", greeting.socket.peer());
                    greeting.socket.close(registry);
                }
            }
        }
        any
    }

    /// A caller has said who it is.
    fn greeted(&mut self, greeting: Greeting, preamble: Preamble, used: usize, dial: &Dial, registry: &Registry) {
        let Greeting { mut socket, mut input, .. } = greeting;
        let fate = preamble::fate(End::Called, self.me, preamble.server);
        let Some(id) = preamble.server else {
            tracing::warn!("an observer without a number, {}, is turned away: give it one", socket.peer());
            return socket.close(registry);
        };
        if fate == Fate::Drop {
            tracing::warn!("{} calls itself server {}, which this one is", socket.peer(), id.0);
            return socket.close(registry);
        }
        let other = self.others.entry(id).or_default();
        // A server that is named is called where the configuration says.
        other.met_at = preamble.addresses.into_iter().next();
        if fate == Fate::Keep {
            if socket.rename(registry, Token(OTHERS + usize::from(id.0))).is_err() {
                return socket.close(registry);
            }
            input.drain(..used);
            tracing::debug!("server {} has called for elections", id.0);
            other.open(socket, input, registry);
        } else {
            tracing::debug!("server {} has called for elections, and is called back", id.0);
            socket.close(registry);
            other.close(registry);
            self.call(id, dial);
        }
    }

    fn read(&mut self, scratch: &mut [u8], registry: &Registry, events: &mut Vec<PeerEvent>) -> bool {
        let mut any = false;
        for (id, other) in &mut self.others {
            if other.socket.is_none() {
                continue;
            }
            // What came behind the first message is there before anything is read.
            let mut is_over = !other.take_frames(*id, events);
            if !is_over && let Some(socket) = other.socket.as_mut().filter(|socket| socket.is_readable()) {
                match socket.read(scratch) {
                    Brought::Bytes(n) => {
                        any = true;
                        other.input.extend_from_slice(&scratch[..n]);
                        is_over = !other.take_frames(*id, events);
                    }
                    Brought::Nothing => {}
                    Brought::End => {
                        tracing::debug!("server {} has closed the connection for elections", id.0);
                        is_over = true;
                    }
                    Brought::Broken => {
                        tracing::debug!("the connection with server {} for elections has broken", id.0);
                        is_over = true;
                        other.repeat();
                    }
                }
            }
            if is_over {
                other.close(registry);
            }
        }
        any
    }

    /// Writes what waits. Whether anything was written.
    pub fn flush(&mut self, registry: &Registry) -> bool {
        let mut any = false;
        for other in self.others.values_mut() {
            any |= other.flush(registry);
        }
        any
    }

    /// Closes everything.
    pub fn close(&mut self, registry: &Registry) {
        for (_, greeting) in std::mem::take(&mut self.greetings) {
            greeting.socket.close(registry);
        }
        for other in self.others.values_mut() {
            other.close(registry);
        }
    }
}

impl Other {
    /// A connection stays, in place of any older one.
    fn open(&mut self, socket: Socket, input: Vec<u8>, registry: &Registry) {
        self.close(registry);
        self.socket = Some(socket);
        self.is_new = true;
        self.input = input;
        self.repeat();
    }

    /// What was said last may have been lost.
    fn repeat(&mut self) {
        if self.waiting.is_none() {
            self.waiting = self.last.take();
        }
    }

    fn close(&mut self, registry: &Registry) {
        self.input = Vec::new();
        if let Some(socket) = self.socket.take() {
            socket.close(registry);
        }
    }

    /// Hands over the whole frames that have come; false where what came is none.
    fn take_frames(&mut self, id: ServerId, events: &mut Vec<PeerEvent>) -> bool {
        let mut at = 0;
        loop {
            match vote::cut(&self.input[at..]) {
                Ok(Cut::Frame(body, used)) => {
                    at += used;
                    match Notification::decode(body) {
                        Ok(notification) => {
                            if std::mem::take(&mut self.is_new) {
                                events.push(PeerEvent::In(In::Met { from: id }));
                            }
                            events.push(PeerEvent::In(In::Notification { from: id, notification }));
                        }
                        Err(wrong) => tracing::debug!("server {}: {wrong}", id.0),
                    }
                }
                Ok(Cut::More(_)) => {
                    self.input.drain(..at);
                    return true;
                }
                Err(wrong) => {
                    tracing::warn!("the election port's connection with server {} ends: {wrong}", id.0);
                    return false;
                }
            }
        }
    }

    fn flush(&mut self, registry: &Registry) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        // What is being written cannot be replaced any more. A first message is no reason to wait.
        if socket.waiting() <= PREAMBLE_MAX
            && let Some(frame) = self.waiting.take()
        {
            socket.out().extend_from_slice(&frame);
            self.last = Some(frame);
        }
        let done = socket.write();
        done.unwrap_or_else(|_| {
            self.repeat();
            self.close(registry);
            true
        })
    }
}
