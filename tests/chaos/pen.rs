//! Pen: a writer on a thread of its own, with its session, its pipeline, and its way back after a connection that broke.

use std::collections::VecDeque;
use std::time::Duration;

use ringkeeper::client::answer::{Code, Reply};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::Credentials;
use ringkeeper::proto::opcode;

use super::checker::{Fate, Writer, explain};
use super::chooser::Chooser;
use super::history::{Event, History};
use super::model::{Observed, Op, State, Wire};
use super::reading::{Reading, Unread};
use super::shared::Shared;
use super::trail::Trail;

/// Session timeout of writers that come back, ms: 20 ticks.
pub const LASTING: i32 = 6000;
/// Of writers that do not, ms.
pub const FLEETING: i32 = 2000;
/// How long a connection may stay silent before another server is tried.
const SILENCE: Duration = Duration::from_secs(3);
/// How long a server may take to take somebody in.
pub const WELCOME: Duration = Duration::from_secs(1);
const DEPTH: usize = 8;

/// An operation on its way: when it was invoked, and what was acknowledged to anybody by then.
struct Invoked {
    at: u64,
    after: u64,
}

pub struct Pen {
    pub writer: Writer,
    pub trail: Trail,
    pub history: History,
    pub client: Option<Client>,
    chooser: Chooser,
    invoked: VecDeque<Invoked>,
    credentials: Option<Credentials>,
    lasting: bool,
    /// The session has ended by itself, and nobody has looked yet what that left.
    ended: bool,
    server: usize,
    /// Newest zxid that the session has been shown.
    shown: i64,
    /// Operations of which no answer came.
    pub unknown: u64,
    /// Sessions that went on at another connection.
    pub moved: u64,
}

impl Pen {
    pub fn new(state: State, zxid: u64, seed: u64, server: usize, history: History) -> Self {
        Self {
            trail: Trail::new(zxid, state.clone()),
            writer: Writer::new(state),
            history,
            client: None,
            chooser: Chooser::new(seed),
            invoked: VecDeque::new(),
            credentials: None,
            lasting: true,
            ended: false,
            server,
            shown: 0,
            unknown: 0,
            moved: 0,
        }
    }

    fn who(&self, error: &str) -> String {
        format!("writer {} at server {}: {error}", self.writer.state.writer, self.server + 1)
    }

    /// Writes until everybody stops, then waits for what is not answered yet.
    pub fn run(&mut self, shared: &Shared) {
        while !shared.stopped() {
            let done = if self.client.is_some() { self.write(shared) } else { self.come(shared) };
            match done {
                Ok(true) => shared.rest(),
                Ok(false) => return,
                Err(error) => return shared.accuse(self.who(&error)),
            }
        }
        while self.client.is_some() && !self.writer.unanswered().is_empty() {
            if let Err(error) = self.hear(shared) {
                return shared.accuse(self.who(&error));
            }
        }
    }

    fn write(&mut self, shared: &Shared) -> Result<bool, String> {
        let Some(client) = &mut self.client else { return Ok(true) };
        let mut broken = None;
        while self.writer.hoped.session.is_some() && self.writer.unanswered().len() < DEPTH {
            let op = self.chooser.choose(&self.writer);
            let wire = Wire::new(self.writer.state.writer, &op);
            self.invoked.push_back(Invoked { at: shared.now(), after: shared.acked() });
            self.history.push(Event::Asked(op.clone()));
            let submitted = wire.ask(&op, |ask| client.submit(ask));
            self.writer.submit(op);
            if let Err(error) = submitted {
                broken = Some(error);
                break;
            }
        }
        match broken.map_or_else(|| client.flush(), Err) {
            Ok(()) => self.hear(shared)?,
            Err(error) => self.lose(&error),
        }
        Ok(true)
    }

    fn hear(&mut self, shared: &Shared) -> Result<(), String> {
        let Some(client) = &mut self.client else { return Ok(()) };
        match client.next_reply() {
            Ok(reply) if reply.op == opcode::PING => Ok(()),
            Ok(reply) => self.take(shared, &reply),
            Err(ClientError::Protocol(error)) => Err(error.to_string()),
            Err(error) => {
                self.lose(&error);
                Ok(())
            }
        }
    }

    fn take(&mut self, shared: &Shared, reply: &Reply) -> Result<(), String> {
        self.history.push(Event::Told { zxid: reply.zxid, result: reply.result.clone() });
        if let Err(refusal) = &reply.result
            && [Code::SessionExpired, Code::SessionMoved].iter().any(|code| refusal.is(*code))
        {
            // It says what became of the session; of the operation it says that the answer never comes.
            self.lose(&ClientError::Refused(*refusal));
            return Ok(());
        }
        let invoked = self.invoked.pop_front().ok_or("a reply to nothing")?;
        let op = self.writer.unanswered().front().cloned().ok_or("a reply to nothing")?;
        if reply.zxid < self.shown {
            return Err(format!("{op:?} was answered at zxid {:#x}, after {:#x} had been shown", reply.zxid, self.shown));
        }
        self.shown = reply.zxid;
        let zxid = reply.zxid.cast_unsigned();
        let is_write = !matches!(op, Op::Read { .. });
        if is_write && (zxid < invoked.after || zxid == invoked.after && reply.result.is_ok()) {
            return Err(format!("{op:?} has zxid {zxid:#x}, but {:#x} was acknowledged before it was asked", invoked.after));
        }
        let closed = self.writer.answer(&mut shared.registry.lock().unwrap(), reply)?;
        if is_write && reply.result.is_ok() {
            shared.acknowledge(zxid, invoked.at);
            self.trail.step(zxid, self.writer.state.clone());
        }
        if closed {
            self.client = None;
            self.credentials = None;
        }
        Ok(())
    }

    /// The connection is of no use any more.
    fn lose(&mut self, error: &ClientError) {
        self.history.note(format!("loses server {}: {error}; {} unanswered", self.server + 1, self.writer.unanswered().len()));
        if let Some(client) = self.client.take() {
            self.credentials = Some(client.abandon());
        }
        self.unknown += self.invoked.len() as u64;
        self.invoked.clear();
        self.server += 1;
    }

    /// One attempt to come back, or to begin. `false` says that this writer is out until all is whole.
    fn come(&mut self, shared: &Shared) -> Result<bool, String> {
        let (open, credentials) = (self.writer.state.session.is_some(), self.credentials);
        let wanted = match credentials {
            Some(credentials) if open && !self.ended && self.lasting => credentials,
            _ if open && !self.ended => return Ok(false),
            _ => {
                self.lasting = self.chooser.random.below(4) > 0;
                self.shown = 0;
                Credentials::new(if self.lasting { LASTING } else { FLEETING })
            }
        };
        self.server %= shared.servers.len();
        let mut client = match Client::attach(shared.servers[self.server], wanted, WELCOME) {
            Ok(client) => client,
            Err(ClientError::Expired) => {
                self.history.note(format!("is told by server {} that its session has expired", self.server + 1));
                self.ended = true;
                return Ok(true);
            }
            Err(ClientError::Protocol(error)) => return Err(error.to_string()),
            Err(_) => {
                self.server += 1;
                std::thread::sleep(Duration::from_millis(20));
                return Ok(true);
            }
        };
        client.set_timeout(SILENCE);
        let same = open && !self.ended;
        if same && Some(client.session_id().0) != self.writer.state.session {
            return Err(format!("asked for session {:x?}, given {:x?}", self.writer.state.session, client.session_id()));
        }
        if open {
            let writer = self.writer.state.writer;
            let read = client.sync("/").map_err(Unread::from).and_then(|()| Reading::take(&mut client, writer..writer + 1));
            let seen = match read {
                Ok(mut reading) => reading.writers.remove(0),
                Err(Unread::Client(error)) => {
                    self.history.note(format!("loses server {} while it looks around: {error}", self.server + 1));
                    self.server += 1;
                    return Ok(true);
                }
                Err(Unread::Wrong(error)) => return Err(error),
            };
            let fate = if same { Fate::Reattached } else { Fate::Abandoned };
            self.judge(shared, fate, &seen, &seen, client.last_zxid().0)?;
            self.shown = client.last_zxid().0.cast_signed();
        }
        self.moved += u64::from(same);
        if !same {
            self.writer.open(client.session_id().0);
        }
        self.history.note(format!("is at server {}, session {}", self.server + 1, client.session_id()));
        self.ended = false;
        self.client = Some(client);
        Ok(true)
    }

    /// Finds out what of the unanswered has happened by this zxid.
    pub fn judge(&mut self, shared: &Shared, fate: Fate, early: &Observed, late: &Observed, zxid: u64) -> Result<usize, String> {
        let (mut state, pending) = (self.writer.state.clone(), self.writer.unanswered().clone());
        let happened = self.writer.judge(&mut shared.registry.lock().unwrap(), fate, early, late)?;
        // Of what was done to ephemeral znodes that are gone nothing is left to tell: more may have happened than had to.
        let (mut states, mut possible) = (Vec::new(), happened);
        for (at, op) in pending.iter().enumerate() {
            state.imagine(op);
            states.push(state.clone());
            if at >= happened && explain(&state, fate, early, late).is_ok() {
                possible = at + 1;
            }
        }
        states.truncate(possible);
        states.push(self.writer.state.clone());
        self.history.note(format!("{fate:?}: {happened} of {} unanswered had happened by {zxid:#x}", pending.len()));
        self.trail.unsure(zxid, states);
        Ok(happened)
    }

    /// All is whole again: what became of the session. A writer whose session lasts is connected after this.
    pub fn settle(&mut self, shared: &Shared) -> Result<Fate, String> {
        if self.writer.state.session.is_none() {
            return Ok(Fate::Abandoned);
        }
        if !self.ping() {
            self.lose(&ClientError::Closed);
        }
        if self.client.is_some() {
            return Ok(Fate::Reattached);
        }
        let (Some(credentials), true, false) = (self.credentials, self.lasting, self.ended) else { return Ok(Fate::Abandoned) };
        for _ in 0..100 {
            self.server %= shared.servers.len();
            match Client::attach(shared.servers[self.server], credentials, WELCOME) {
                Ok(mut client) => {
                    client.set_timeout(SILENCE);
                    self.history.note(format!("is at server {}, all being whole", self.server + 1));
                    self.client = Some(client);
                    return Ok(Fate::Reattached);
                }
                Err(ClientError::Expired) => return Ok(Fate::Abandoned),
                Err(_) => self.server += 1,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(self.who("no server takes its session back, nor says that it has expired, though all is whole"))
    }

    /// The round is judged, nothing is unanswered.
    pub fn renew(&mut self, zxid: u64) {
        self.trail.settle(zxid);
        self.history.clear();
        self.ended = false;
        if self.writer.state.session.is_none() {
            (self.client, self.credentials) = (None, None);
        }
    }

    /// Keeps the session. `false`: the connection is gone.
    pub fn ping(&mut self) -> bool {
        self.client.as_mut().is_none_or(|client| client.ping().is_ok())
    }
}
