//! Lines: the connections of a scenario, each with its session, which one thread drives through one epoll set.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::place::Server;
use super::{Ended, Heard};
use crate::bench::control::{Control, RunError};
use crate::bench::load::patience;
use crate::client::ask::Ask;
use crate::client::session::{Credentials, Incoming, Session};
use crate::proto::opcode;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Longest wait: a run that is to stop does so within it, ns.
const WAIT_NS: u64 = 100_000_000;

/// Sessions that are being opened at once where it is not the opening that is measured: well below every backlog.
const OPENING: usize = 64;

/// How long all sessions of a scenario may take to open, for each thousand of them.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// How long closing may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// What came in: of which line, when, and what.
pub(super) type Arrival = (usize, u64, Heard);

/// A connection.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    session: Session,
    /// When a request last left, ns.
    sent_at: u64,
    /// The kernel is asked to tell when more can be sent.
    is_full: bool,
}

impl Line {
    /// Sends what the socket takes; `true` if that is all there was.
    fn flush(&mut self) -> bool {
        while !self.session.output().is_empty() {
            match self.stream.write(self.session.output()) {
                Ok(sent) => self.session.sent(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // That it failed, and why, is told by the next read, after all that came before.
                Err(_) => return true,
            }
        }
        true
    }
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Lines {
    clock: Instant,
    set: OwnedFd,
    servers: Arc<[Server]>,
    /// Which server the first line goes to; those after it go round.
    first: usize,
    lines: Vec<Option<Line>>,
    /// Those that could not even begin to connect.
    stillborn: Vec<(usize, String)>,
    chunk: Box<[u8]>,
    next_care: u64,
    /// Longest silence of a line before it pings, ns.
    silence: u64,
}

impl Lines {
    /// None is open yet. Times are ns of `clock`.
    pub(super) fn new(clock: Instant, count: usize, servers: &Arc<[Server]>, first: usize) -> Result<Self, RunError> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| RunError::Machine("epoll", errno.into()))?;
        Ok(Self {
            clock,
            set,
            servers: Arc::clone(servers),
            first,
            lines: (0..count).map(|_| None).collect(),
            stillborn: Vec::new(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
            next_care: 0,
            silence: u64::MAX,
        })
    }

    pub(super) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// ns since the clock was started.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).expect("584 years")
    }

    /// Name of the server of a line.
    pub(super) fn server(&self, at: usize) -> &Server {
        &self.servers[(self.first + at) % self.servers.len()]
    }

    /// What would re-attach to the session of a line, if it is open.
    pub(super) fn credentials(&self, at: usize) -> Option<Credentials> {
        self.lines[at].as_ref().map(|line| line.session.credentials())
    }

    /// Begins to connect. What comes of it is heard.
    pub(super) fn open(&mut self, at: usize, credentials: Credentials) {
        let (mut line, data) = match connect(self.server(at)) {
            Ok(stream) => {
                let session = Session::new(credentials);
                (Line { stream, session, sent_at: self.now(), is_full: false }, epoll::EventData::new_u64(at as u64))
            }
            Err(error) => return self.stillborn.push((at, error.to_string())),
        };
        line.is_full = !line.flush();
        match epoll::add(&self.set, &line.stream, data, interest(line.is_full)) {
            Ok(()) => self.lines[at] = Some(line),
            Err(errno) => self.stillborn.push((at, io::Error::from(errno).to_string())),
        }
    }

    /// Sends a request. On a line that is lost it is nobody's: that it is lost is heard, or was.
    pub(super) fn ask(&mut self, at: usize, ask: &Ask<'_>) {
        let now = self.now();
        let Some(line) = &mut self.lines[at] else { return };
        line.session.submit(ask);
        line.sent_at = now;
        push(&self.set, at, line);
    }

    /// Hangs up without a word, as one does who has lost the network.
    pub(super) fn drop(&mut self, at: usize) {
        self.lines[at] = None;
    }

    /// Hangs up where nothing is to come any more. The connection is reset, so that its port is free at once: thousands of them
    /// a second would use up all ports of this machine while they linger.
    pub(super) fn shut(&mut self, at: usize) {
        if let Some(line) = self.lines[at].take() {
            // Where it fails the port lingers, that is all.
            let _ = sockopt::set_socket_linger(&line.stream, Some(Duration::ZERO));
        }
    }

    /// Takes what has come, waiting for it until `until` (ns of the clock), but never long.
    pub(super) fn turn(&mut self, until: u64, heard: &mut Vec<Arrival>) -> Result<(), Ended> {
        let now = self.now();
        self.care(now);
        let stillborn = std::mem::take(&mut self.stillborn);
        heard.extend(stillborn.into_iter().map(|(at, why)| (at, now, Heard::Lost(why))));
        let wait = if heard.is_empty() { until.saturating_sub(now).min(WAIT_NS) } else { 0 };
        let mut events = Vec::with_capacity(EVENTS);
        patience::wait(&self.set, &mut events, Duration::from_nanos(wait))
            .map_err(|errno| Ended::Other(format!("epoll: {}", io::Error::from(errno))))?;
        for event in &events {
            let at = usize::try_from(event.data.u64()).expect("we made it of one");
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT)
                && let Some(line) = &mut self.lines[at]
            {
                push(&self.set, at, line);
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                self.read(at, heard);
            }
        }
        Ok(())
    }

    /// Reads once; the kernel tells again where there is more.
    fn read(&mut self, at: usize, heard: &mut Vec<Arrival>) {
        let Some(line) = &mut self.lines[at] else { return };
        let lost = match line.stream.read(&mut self.chunk) {
            Ok(0) => Some("the server hung up".to_owned()),
            Ok(got) => {
                line.session.feed(&self.chunk[..got]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(error) => Some(error.to_string()),
        };
        let now = u64::try_from(self.clock.elapsed().as_nanos()).expect("584 years");
        let lost = lost.or_else(|| {
            loop {
                let what = match line.session.take() {
                    Ok(None) => return None,
                    Ok(Some(Incoming::Reply(reply))) if reply.op == opcode::PING => continue,
                    Ok(Some(Incoming::Reply(reply))) => Heard::Reply(reply),
                    Ok(Some(Incoming::Event(event))) => Heard::Event(event),
                    Ok(Some(Incoming::Expired)) => Heard::Expired,
                    Ok(Some(Incoming::Connected(granted))) => {
                        self.silence = self.silence.min(u64::from(granted.timeout_ms.unsigned_abs()) * 1_000_000 / 3);
                        Heard::Connected(granted.session)
                    }
                    Err(error) => return Some(error.to_string()),
                };
                heard.push((at, now, what));
            }
        });
        if let Some(why) = lost {
            self.lines[at] = None;
            heard.push((at, now, Heard::Lost(why)));
        }
    }

    /// Pings where nothing was sent for a third of the timeout.
    fn care(&mut self, now: u64) {
        if now < self.next_care || self.silence == u64::MAX {
            return;
        }
        self.next_care = now + self.silence / 8;
        for (at, line) in self.lines.iter_mut().enumerate() {
            if let Some(line) = line
                && line.session.is_connected()
                && now.saturating_sub(line.sent_at) > self.silence
            {
                line.session.submit(&Ask::Ping);
                line.sent_at = now;
                push(&self.set, at, line);
            }
        }
    }

    /// Opens a session on every line, a few at once.
    pub(super) fn open_all(&mut self, timeout_ms: i32, control: &Control) -> Result<(), Ended> {
        let patience = OPEN_PATIENCE * u32::try_from(self.len() / 1000 + 1).expect("fewer than there are descriptors");
        let deadline = self.now() + patience.as_nanos() as u64;
        let (mut begun, mut open, mut heard) = (0, 0, Vec::new());
        while open < self.len() {
            while begun < self.len() && begun - open < OPENING {
                self.open(begun, Credentials::new(timeout_ms));
                begun += 1;
            }
            self.turn(deadline, &mut heard)?;
            for (at, now, what) in heard.drain(..) {
                match what {
                    Heard::Connected(_) => open += 1,
                    Heard::Lost(why) if open > 0 => {
                        let why = format!(
                            "{why}, with {open} sessions open; does it limit the connections of one address (maxClientCnxns)?"
                        );
                        return Err(self.lost(at, now, Heard::Lost(why)));
                    }
                    what => return Err(self.lost(at, now, what)),
                }
            }
            if control.is_stopped() {
                return Err(Ended::Stopped);
            }
            if self.now() > deadline {
                return Err(Ended::Lost(
                    self.server(0).name.clone(),
                    format!("opened {open} of {} sessions in time", self.len()),
                ));
            }
        }
        Ok(())
    }

    /// What ends the run where something came that nobody waits for.
    pub(super) fn lost(&self, at: usize, now: u64, what: Heard) -> Ended {
        let server = self.server(at).name.clone();
        match what {
            Heard::Lost(why) => Ended::Lost(server, why),
            Heard::Expired => Ended::Lost(server, "the session has expired".to_owned()),
            Heard::Reply(reply) => {
                Ended::Lost(server, format!("an unexpected reply to operation {}: {:?}", reply.op, reply.result))
            }
            Heard::Event(event) => Ended::Lost(server, format!("an unexpected event of {} at {now} ns", event.path)),
            Heard::Connected(session) => Ended::Lost(server, format!("session {session:?} granted twice")),
        }
    }

    /// Closes all sessions, as far as they are open and the servers answer, and waits until the servers have hung up: as long
    /// as they have not, they may count the connections against their limits.
    pub(super) fn close(&mut self) {
        let deadline = self.now() + CLOSE_PATIENCE.as_nanos() as u64;
        for at in 0..self.len() {
            if self.lines[at].as_ref().is_some_and(|line| line.session.is_connected()) {
                self.ask(at, &Ask::Close);
            } else {
                self.shut(at);
            }
        }
        let mut heard = Vec::new();
        while self.lines.iter().any(Option::is_some) && self.now() < deadline && self.turn(deadline, &mut heard).is_ok() {
            heard.clear();
        }
        for at in 0..self.len() {
            self.shut(at);
        }
    }
}

/// Sends what there is, and has the kernel tell when more can be sent.
fn push(set: &OwnedFd, at: usize, line: &mut Line) {
    let is_full = !line.flush();
    if is_full != line.is_full {
        line.is_full = is_full;
        let data = epoll::EventData::new_u64(at as u64);
        epoll::modify(set, &line.stream, data, interest(is_full)).expect("it is in the set");
    }
}

fn interest(is_full: bool) -> epoll::EventFlags {
    if is_full { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN }
}

/// A connection that may still be under way.
fn connect(server: &Server) -> io::Result<TcpStream> {
    let family = if server.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    match rustix::net::connect(&stream, &server.address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(stream),
        Err(errno) => Err(errno.into()),
    }
}
