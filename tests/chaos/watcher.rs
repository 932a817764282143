//! Watcher: a reader that moves from server to server and notes at which zxid it saw what.

use std::collections::VecDeque;
use std::time::Duration;

use ringkeeper::client::answer::{Body, Code, Reply};
use ringkeeper::client::ask::Ask;
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::Credentials;
use ringkeeper::proto::opcode;

use super::chooser::Random;
use super::history::{Event, History};
use super::model::{State, directory};
use super::pen::{LASTING, WELCOME};
use super::shared::Shared;

const DEPTH: usize = 6;

/// What was asked.
enum Look {
    Node { writer: usize, name: String },
    Directory { writer: usize },
    Sync { after: u64 },
}

/// What was seen at which zxid.
struct Sight {
    look: Look,
    zxid: u64,
    body: Option<Body>,
}

pub struct Watcher {
    pub history: History,
    random: Random,
    writers: usize,
    client: Option<Client>,
    credentials: Option<Credentials>,
    server: usize,
    looks: VecDeque<Look>,
    shown: i64,
    sights: Vec<Sight>,
    /// Readings so far.
    pub read: u64,
    pub synced: u64,
}

impl Watcher {
    pub const fn new(writers: usize, seed: u64, server: usize, history: History) -> Self {
        Self {
            history,
            random: Random(seed),
            writers,
            client: None,
            credentials: None,
            server,
            looks: VecDeque::new(),
            shown: 0,
            sights: Vec::new(),
            read: 0,
            synced: 0,
        }
    }

    pub fn run(&mut self, shared: &Shared) {
        while !shared.stopped() {
            if let Err(error) = if self.client.is_some() { self.look(shared) } else { self.come(shared) } {
                return shared.accuse(format!("a reader at server {}: {error}", self.server + 1));
            }
            shared.rest();
        }
    }

    fn come(&mut self, shared: &Shared) -> Result<(), String> {
        self.server %= shared.servers.len();
        let credentials = self.credentials.unwrap_or_else(|| Credentials::new(LASTING));
        match Client::attach(shared.servers[self.server], credentials, WELCOME) {
            Ok(mut client) => {
                client.set_timeout(Duration::from_secs(3));
                self.history.note(format!("is at server {}, session {}", self.server + 1, client.session_id()));
                if self.credentials.is_none() {
                    self.shown = 0;
                }
                self.credentials = Some(client.credentials());
                self.client = Some(client);
            }
            Err(ClientError::Protocol(error)) => return Err(error.to_string()),
            Err(ClientError::Expired) => self.credentials = None,
            Err(_) => {
                self.server += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// A few requests, and their answers.
    fn look(&mut self, shared: &Shared) -> Result<(), String> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let mut broken = None;
        for _ in 0..DEPTH {
            let writer = self.random.below(self.writers as u64) as usize;
            let (look, done) = match self.random.below(10) {
                0 => (Look::Sync { after: shared.acked() }, client.submit(&Ask::Sync { path: "/" })),
                1..3 => {
                    (Look::Directory { writer }, client.submit(&Ask::GetChildren2 { path: &directory(writer), watch: false }))
                }
                _ => {
                    let n = self.random.below(12);
                    let name = if n < 4 { format!("e{n}") } else { format!("p{}", n - 4) };
                    let path = format!("{}/{name}", directory(writer));
                    (Look::Node { writer, name }, client.submit(&Ask::GetData { path: &path, watch: false }))
                }
            };
            self.looks.push_back(look);
            broken = broken.or(done.err());
        }
        if let Some(error) = broken.or_else(|| client.flush().err()) {
            self.lose(&error);
            return Ok(());
        }
        while let (Some(client), false) = (&mut self.client, self.looks.is_empty()) {
            match client.next_reply() {
                Ok(reply) if reply.op == opcode::PING => {}
                Ok(reply) => self.take(reply)?,
                Err(ClientError::Protocol(error)) => return Err(error.to_string()),
                Err(error) => self.lose(&error),
            }
        }
        // Sight is not what the load is made of; and moving is part of it.
        std::thread::sleep(Duration::from_millis(10));
        if self.random.below(100) == 0 {
            self.lose(&ClientError::Closed);
        }
        Ok(())
    }

    fn take(&mut self, reply: Reply) -> Result<(), String> {
        let body = match reply.result {
            Ok(body) => Some(body),
            Err(refusal) if refusal.is(Code::NoNode) => None,
            Err(refusal) => {
                self.lose(&ClientError::Refused(refusal));
                return Ok(());
            }
        };
        let look = self.looks.pop_front().ok_or("a reply to nothing")?;
        if reply.zxid < self.shown {
            return Err(format!("a reply of zxid {:#x} after {:#x} had been shown to the session", reply.zxid, self.shown));
        }
        self.shown = reply.zxid;
        let zxid = reply.zxid.cast_unsigned();
        if let Look::Sync { after } = look {
            self.synced += 1;
            if zxid < after {
                return Err(format!("a sync ended at zxid {zxid:#x}, but {after:#x} was acknowledged before it began"));
            }
        } else {
            self.read += 1;
            self.sights.push(Sight { look, zxid, body });
        }
        Ok(())
    }

    fn lose(&mut self, error: &ClientError) {
        self.history.note(format!("loses server {}: {error}", self.server + 1));
        if let Some(client) = self.client.take() {
            self.credentials = Some(client.abandon());
        }
        self.looks.clear();
        self.server += 1;
    }

    /// What was seen must have been so at the zxid that was shown with it.
    pub fn check<'a>(&mut self, trail: impl Fn(usize) -> &'a super::trail::Trail) -> Result<(), String> {
        for sight in &self.sights {
            self.history.push(Event::Note(match &sight.look {
                Look::Node { writer, name } => format!("saw at {:#x} of {writer}/{name} {:?}", sight.zxid, sight.body),
                Look::Directory { writer } => format!("saw at {:#x} of {writer} {:?}", sight.zxid, sight.body),
                Look::Sync { .. } => continue,
            }));
        }
        for Sight { look, zxid, body } in self.sights.drain(..) {
            let (writer, what) = match &look {
                Look::Node { writer, name } => (*writer, name.as_str()),
                Look::Directory { writer } => (*writer, ""),
                Look::Sync { .. } => continue,
            };
            trail(writer).fits(zxid, |state| is_so(state, &look, body.as_ref())).map_err(|error| {
                format!("a reader saw something else of {}/{what} than what was there {error}", directory(writer))
            })?;
        }
        Ok(())
    }

    /// Nobody asks for anything any more. The session is closed.
    pub fn hang_up(&mut self) {
        self.looks.clear();
        self.credentials = None;
        if let Some(client) = self.client.take() {
            // A session whose close is not heard expires.
            let _ = client.close();
        }
    }

    /// The round is judged.
    pub fn renew(&mut self) {
        self.history.clear();
    }
}

fn is_so(state: &State, look: &Look, body: Option<&Body>) -> Result<(), String> {
    let no = |what: &str| Err(format!("{what}, but {body:?} was read"));
    match (look, body) {
        (Look::Node { name, .. }, Some(Body::Data(data, stat))) => match state.nodes.get(name) {
            Some(node) => node.compare(state.writer, stat, Some(data.as_deref().unwrap_or_default())),
            None => no("there was none"),
        },
        (Look::Node { name, .. }, None) if !state.nodes.contains_key(name) => Ok(()),
        (Look::Node { .. }, None) => no("it was there"),
        (Look::Directory { .. }, Some(Body::Children(names, stat))) => {
            let mut names = names.clone();
            names.sort_unstable();
            let is_so = state.nodes.keys().eq(&names)
                && stat.num_children as usize == names.len()
                && stat.cversion == state.cversion
                && state.pzxid.is_none_or(|zxid| zxid == stat.pzxid.0);
            let (cversion, pzxid) = (state.cversion, state.pzxid);
            if is_so { Ok(()) } else { no(&format!("cversion {cversion}, pzxid {pzxid:x?}, children {:?}", state.nodes.keys())) }
        }
        _ => no("the shape is another"),
    }
}
