//! Driver: all writers on one thread, each with its connection, its pipeline and its random choices.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringkeeper::client::ask::Ask;
use ringkeeper::client::session::{Credentials, Incoming, Session};
use ringkeeper::proto::opcode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::checker::{Fate, Registry, Writer};
use super::chooser::Chooser;
use super::model::Wire;

/// Session timeout of writers that come back after the crash, ms.
const LASTING: i32 = 10_000;
/// Session timeout of writers that do not, ms: long enough for a busy machine, short enough to wait for.
pub const FLEETING: i32 = 5_000;
/// How long a server may leave a connecting client waiting.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers without which a round proves nothing.
const ENOUGH: u64 = 1000;

/// A connection.
struct Line {
    stream: TcpStream,
    session: Session,
}

impl Line {
    fn open(server: SocketAddr, credentials: Credentials) -> Result<Self, String> {
        let stream = TcpStream::connect(server).map_err(|e| format!("connecting: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, session: Session::new(credentials) })
    }

    fn push(&mut self) -> Result<(), String> {
        while !self.session.output().is_empty() {
            match self.stream.write(self.session.output()) {
                Ok(sent) => self.session.sent(sent),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(format!("writing: {e}")),
            }
        }
        Ok(())
    }

    /// Reads once. `Ok(None)` says that the server has hung up.
    fn pull(&mut self, chunk: &mut [u8]) -> Result<Option<Vec<Incoming>>, String> {
        match self.stream.read(chunk) {
            Ok(0) => return Ok(None),
            Ok(got) => self.session.feed(&chunk[..got]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(format!("reading: {e}")),
        }
        let mut all = Vec::new();
        while let Some(incoming) = self.session.take().map_err(|e| e.to_string())? {
            all.push(incoming);
        }
        Ok(Some(all))
    }

    fn wait(&self, flags: PollFlags, limit: Duration) -> Result<bool, String> {
        let mut fds = [PollFd::new(&self.stream, flags)];
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
        poll(&mut fds, Some(&limit)).map(|n| n > 0).map_err(|e| e.to_string())
    }
}

/// One writer with its connection.
pub struct Pen {
    pub writer: Writer,
    chooser: Chooser,
    line: Option<Line>,
    credentials: Option<Credentials>,
    lasting: bool,
    closing: bool,
    heard: Instant,
}

impl Pen {
    pub fn new(writer: Writer, seed: u64) -> Self {
        let chooser = Chooser::new(seed);
        Self { writer, chooser, line: None, credentials: None, lasting: true, closing: false, heard: Instant::now() }
    }

    fn who(&self, error: &str) -> String {
        format!("writer {}: {error}", self.writer.state.writer)
    }

    /// Asks for a new session.
    fn open(&mut self, server: SocketAddr) -> Result<(), String> {
        self.lasting = self.chooser.random.below(4) > 0;
        self.closing = false;
        self.credentials = None;
        let line = Line::open(server, Credentials::new(if self.lasting { LASTING } else { FLEETING }))?;
        self.line = Some(line);
        self.heard = Instant::now();
        Ok(())
    }

    /// Takes what has come in. Returns whether the server has hung up.
    fn receive(&mut self, registry: &mut Registry, chunk: &mut [u8]) -> Result<bool, String> {
        let Some(line) = &mut self.line else { return Ok(false) };
        let Some(all) = line.pull(chunk).map_err(|e| format!("writer {}: {e}", self.writer.state.writer))? else {
            return Ok(true);
        };
        let credentials = line.session.credentials();
        for incoming in all {
            match incoming {
                Incoming::Connected(response) => self.writer.open(response.session.0),
                Incoming::Reply(reply) if reply.op == opcode::PING => {}
                Incoming::Reply(reply) => {
                    self.closing |= self.writer.answer(registry, &reply).map_err(|e| self.who(&e))?;
                }
                other => return Err(self.who(&format!("unexpected {other:?}"))),
            }
        }
        self.credentials = Some(credentials);
        self.heard = Instant::now();
        Ok(false)
    }

    /// Fills the pipeline and sends.
    fn write(&mut self, depth: usize) -> Result<(), String> {
        while self.writer.state.session.is_some() && self.writer.hoped.session.is_some() && self.writer.unanswered().len() < depth
        {
            let op = self.chooser.choose(&self.writer);
            let wire = Wire::new(self.writer.state.writer, &op);
            let line = self.line.as_mut().expect("a writer with a session has a connection");
            wire.ask(&op, |ask| line.session.submit(ask));
            self.writer.submit(op);
        }
        match &mut self.line {
            Some(line) => line.push().map_err(|e| format!("writer {}: {e}", self.writer.state.writer)),
            None => Ok(()),
        }
    }
}

/// All writers.
pub struct Driver {
    pub pens: Vec<Pen>,
    pub registry: Registry,
    chunk: Vec<u8>,
}

impl Driver {
    pub fn new(pens: Vec<Pen>) -> Self {
        Self { pens, registry: Registry::default(), chunk: vec![0; 256 << 10] }
    }

    /// Operations answered so far, and how many of them were refused.
    pub fn totals(&self) -> (u64, u64) {
        self.pens.iter().fold((0, 0), |(a, r), pen| (a + pen.writer.answered, r + pen.writer.refused))
    }

    /// Writes for so long, and longer where a slow server has not answered enough by then; `depth` operations in flight on
    /// each connection.
    pub fn load(&mut self, server: SocketAddr, depth: usize, length: Duration) -> Result<(), String> {
        let (started, before) = (Instant::now(), self.totals().0);
        while started.elapsed() < length || self.totals().0 < before + ENOUGH {
            if started.elapsed() > PATIENCE {
                return Err(format!("only {} operations were answered within {PATIENCE:?}", self.totals().0 - before));
            }
            for pen in &mut self.pens {
                if pen.line.is_none() {
                    pen.open(server)?;
                }
                pen.write(depth)?;
            }
            for at in self.ready(Duration::from_millis(5))? {
                let pen = &mut self.pens[at];
                if pen.receive(&mut self.registry, &mut self.chunk)? {
                    if !pen.closing {
                        let state = &pen.writer.state;
                        return Err(pen.who(&format!(
                            "the server hung up, {:?} after it was last heard, session {:x?}, {} unanswered",
                            pen.heard.elapsed(),
                            state.session,
                            pen.writer.unanswered().len()
                        )));
                    }
                    pen.line = None;
                }
            }
        }
        Ok(())
    }

    /// The writers whose connections have something to say.
    fn ready(&self, limit: Duration) -> Result<Vec<usize>, String> {
        let lines: Vec<(usize, &Line)> =
            self.pens.iter().enumerate().filter_map(|(at, pen)| Some((at, pen.line.as_ref()?))).collect();
        let flags = |line: &Line| if line.session.output().is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds: Vec<PollFd<'_>> = lines.iter().map(|(_, line)| PollFd::new(&line.stream, flags(line))).collect();
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        poll(&mut fds, Some(&limit)).map_err(|e| e.to_string())?;
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(lines.iter().zip(&fds).filter(|(_, fd)| fd.revents().intersects(readable)).map(|((at, _), _)| *at).collect())
    }

    /// The server is dead: takes what it had said before, to the last byte. Acknowledgements are among it.
    pub fn drain(&mut self) -> Result<(), String> {
        for pen in &mut self.pens {
            while let Some(line) = &pen.line {
                if !line.wait(PollFlags::IN, PATIENCE)? {
                    return Err(pen.who("the dead server's connection does not end"));
                }
                if pen.receive(&mut self.registry, &mut self.chunk)? {
                    pen.line = None;
                }
            }
        }
        Ok(())
    }

    /// Writers with lasting sessions come back for them. Returns what became of every writer's session.
    pub fn reattach(&mut self, server: SocketAddr) -> Result<Vec<Fate>, String> {
        let mut fates = Vec::new();
        for pen in &mut self.pens {
            let (Some(credentials), Some(session), true) = (pen.credentials, pen.writer.state.session, pen.lasting) else {
                fates.push(Fate::Abandoned);
                continue;
            };
            let mut line = Line::open(server, credentials)?;
            line.push()?;
            let started = Instant::now();
            let fate = loop {
                if started.elapsed() > PATIENCE {
                    return Err(pen.who("no answer to the wish to re-attach"));
                }
                line.wait(PollFlags::IN, PATIENCE)?;
                match line.pull(&mut self.chunk)?.as_deref() {
                    None => return Err(pen.who(&format!("re-attaching at zxid {}: hung up on", credentials.last_zxid_seen))),
                    Some([]) => {}
                    Some([Incoming::Connected(response)]) if response.session.0 == session => break Fate::Reattached,
                    Some([Incoming::Expired]) => break Fate::Refused,
                    Some(other) => return Err(pen.who(&format!("re-attaching: {other:?}"))),
                }
            };
            if fate == Fate::Reattached {
                pen.closing = false;
                pen.line = Some(line);
            }
            fates.push(fate);
        }
        Ok(fates)
    }

    /// Keeps the sessions alive for so long.
    pub fn idle(&mut self, length: Duration) -> Result<(), String> {
        let end = Instant::now() + length;
        for line in self.pens.iter_mut().filter_map(|pen| pen.line.as_mut()) {
            line.session.submit(&Ask::Ping);
            line.push()?;
        }
        while Instant::now() < end {
            for at in self.ready(Duration::from_millis(20))? {
                if self.pens[at].receive(&mut self.registry, &mut self.chunk)? {
                    return Err(self.pens[at].who("the server hung up while nothing was asked"));
                }
            }
        }
        Ok(())
    }
}
