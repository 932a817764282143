//! Client: a blocking driver of a session over one TCP connection.
//!
//! It starts no thread. Whoever holds a client idle for longer than its session's timeout must ping, or wait in
//! [`Client::next_event`], which pings by itself.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answer::{Body, Event, Refusal, Reply};
use super::ask::{Ask, CreateMode};
use super::session::{Credentials, Incoming, ProtocolError, Session};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::proto::opcode;
use crate::proto::reply::PING_XID;
use crate::proto::stat::Stat;

/// Bytes of requests that may wait unsent before [`Client::submit`] pushes them out.
const OUTPUT_HIGH: usize = 256 << 10;

/// Why a call did not give what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The session is over.
    #[error("the session has expired")]
    Expired,
    /// The server broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The server refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server refused a multi: which member failed, counted from 0, and why.
    #[error("member {0} of the multi: {1}")]
    Multi(usize, Refusal),
    /// A reply has another shape than its operation's.
    #[error("the reply to operation {0} has the wrong shape")]
    Shape(i32),
}

impl ClientError {
    /// The error code, where the server refused a request.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) | Self::Multi(_, refusal) => Some(*refusal),
            _ => None,
        }
    }

    /// Whether the connection has failed, and the session may live on.
    #[must_use]
    pub const fn is_of_connection(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed | Self::TimedOut(_) | Self::Protocol(_))
    }
}

/// A connection with its session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    session: Session,
    timeout: Duration,
    replies: VecDeque<Reply>,
    events: VecDeque<Event>,
    chunk: Box<[u8]>,
    /// When pings without an answer were sent, by [`Client::next_event`].
    pings: VecDeque<Instant>,
    proved: Instant,
}

impl Client {
    /// Connects and opens a new session of `session_timeout_ms`. `timeout` bounds this and every later call.
    pub fn connect(server: impl ToSocketAddrs, session_timeout_ms: i32, timeout: Duration) -> Result<Self, ClientError> {
        Self::attach(server, Credentials::new(session_timeout_ms), timeout)
    }

    /// Connects and re-attaches to the session that the credentials name (or opens one, if they name none).
    /// [`ClientError::Expired`] says that the session is gone; [`ClientError::Closed`], among other things, that the
    /// server is behind the zxid in the credentials.
    pub fn attach(server: impl ToSocketAddrs, credentials: Credentials, timeout: Duration) -> Result<Self, ClientError> {
        let began = Instant::now();
        let deadline = began + timeout;
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        let mut stream = None;
        for address in server.to_socket_addrs()? {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, left) {
                Ok(open) => {
                    stream = Some(open);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some(stream) = stream else { return Err(last.into()) };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut client = Self {
            stream,
            session: Session::new(credentials),
            timeout,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            chunk: vec![0; 64 << 10].into_boxed_slice(),
            pings: VecDeque::new(),
            proved: began,
        };
        while !client.session.is_connected() {
            client.pump(deadline)?;
        }
        Ok(client)
    }

    /// What would re-attach to the session now.
    #[must_use]
    pub const fn credentials(&self) -> Credentials {
        self.session.credentials()
    }

    /// The session's id.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.credentials().session
    }

    /// The newest zxid that replies have shown.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.credentials().last_zxid_seen
    }

    /// When the newest request was sent that [`Self::call`] or [`Self::next_event`] has an answer to: the session lived then.
    #[must_use]
    pub const fn proved(&self) -> Instant {
        self.proved
    }

    /// Events that have come and were not taken.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> {
        self.events.drain(..)
    }

    /// Bounds every later call.
    pub const fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Adds a request to the pipeline and returns its xid. The reply comes out of [`Self::next_reply`].
    pub fn submit(&mut self, ask: &Ask<'_>) -> Result<i32, ClientError> {
        let xid = self.session.submit(ask);
        if self.session.output().len() > OUTPUT_HIGH {
            self.flush()?;
        }
        Ok(xid)
    }

    /// Sends what is submitted. Replies that arrive meanwhile are kept.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.timeout;
        while !self.session.output().is_empty() {
            self.pump(deadline)?;
        }
        Ok(())
    }

    /// Requests submitted whose replies have not been taken.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.session.pending() + self.replies.len()
    }

    /// The next reply, in the order of the requests (authentications and pings among them as they arrive).
    pub fn next_reply(&mut self) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(reply);
            }
            self.pump(deadline)?;
        }
    }

    /// The next watch event, waiting for it as long as `wait`. Pings meanwhile; replies are kept.
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Event>, ClientError> {
        let end = Instant::now() + wait;
        let third = Duration::from_millis(u64::from(self.credentials().timeout_ms.unsigned_abs()) / 3);
        loop {
            // By what was sent before, as who waits many times a short while must ping as well.
            let next_ping = self.pings.back().map_or(self.proved, |sent| self.proved.max(*sent)) + third;
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.pump(end.min(next_ping)) {
                Ok(()) => {}
                Err(ClientError::TimedOut(_)) if Instant::now() >= end => return Ok(None),
                Err(ClientError::TimedOut(_)) => {
                    self.session.submit(&Ask::Ping);
                    self.pings.push_back(Instant::now());
                }
                Err(error) => return Err(error),
            }
            while let Some(at) = self.replies.iter().position(|reply| reply.op == opcode::PING) {
                self.replies.remove(at);
                if let Some(sent) = self.pings.pop_front() {
                    self.proved = self.proved.max(sent);
                }
            }
        }
    }

    /// Sends one request and waits for its reply. Replies of requests submitted before stay in the pipeline's order.
    pub fn call(&mut self, ask: &Ask<'_>) -> Result<Body, ClientError> {
        let xid = self.session.submit(ask);
        let sent = Instant::now();
        let deadline = sent + self.timeout;
        loop {
            if let Some(at) = self.replies.iter().position(|reply| reply.xid == xid) {
                if xid != PING_XID {
                    self.proved = sent;
                }
                let reply = self.replies.remove(at).expect("the position was just found");
                return Ok(reply.result?);
            }
            self.pump(deadline)?;
        }
    }

    /// Creates a znode that is open to everybody; returns its path, which a sequential mode has completed, and its Stat.
    pub fn create(&mut self, path: &str, data: &[u8], mode: CreateMode) -> Result<(String, Stat), ClientError> {
        let acl = [Acl::open()];
        let ask = match mode {
            CreateMode::Container => Ask::CreateContainer { path, data: Some(data), acl: &acl },
            _ => Ask::Create2 { path, data: Some(data), acl: &acl, mode },
        };
        match self.call(&ask)? {
            Body::Created(path, stat) => Ok((path, stat)),
            _ => Err(ClientError::Shape(ask.opcode())),
        }
    }

    /// Deletes a znode.
    pub fn delete(&mut self, path: &str, version: i32) -> Result<(), ClientError> {
        self.call(&Ask::Delete { path, version }).map(drop)
    }

    /// Sets a znode's data.
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, ClientError> {
        match self.call(&Ask::SetData { path, data: Some(data), version })? {
            Body::Stat(stat) => Ok(stat),
            _ => Err(ClientError::Shape(opcode::SET_DATA)),
        }
    }

    /// Reads a znode's data; null reads as empty.
    pub fn get(&mut self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat), ClientError> {
        match self.call(&Ask::GetData { path, watch })? {
            Body::Data(data, stat) => Ok((data.unwrap_or_default(), stat)),
            _ => Err(ClientError::Shape(opcode::GET_DATA)),
        }
    }

    /// The Stat of a znode, if there is one. The watch is left either way.
    pub fn exists(&mut self, path: &str, watch: bool) -> Result<Option<Stat>, ClientError> {
        match self.call(&Ask::Exists { path, watch }) {
            Ok(Body::Stat(stat)) => Ok(Some(stat)),
            Ok(_) => Err(ClientError::Shape(opcode::EXISTS)),
            Err(ClientError::Refused(refusal)) if refusal.is(super::answer::Code::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of a znode's children, sorted, and its Stat.
    pub fn children(&mut self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), ClientError> {
        match self.call(&Ask::GetChildren2 { path, watch })? {
            Body::Children(mut names, stat) => {
                names.sort_unstable();
                Ok((names, stat))
            }
            _ => Err(ClientError::Shape(opcode::GET_CHILDREN2)),
        }
    }

    /// Runs a multi: the results of all members, or the member that failed.
    pub fn multi(&mut self, members: &[Ask<'_>]) -> Result<Vec<Body>, ClientError> {
        let Body::Multi(results) = self.call(&Ask::Multi(members))? else { return Err(ClientError::Shape(opcode::MULTI)) };
        let innocent = |code: i32| code == 0 || code == super::answer::Code::RuntimeInconsistency as i32;
        let failed = results.iter().enumerate().find_map(|(at, result)| match result {
            Err(refusal) if !innocent(refusal.0) => Some((at, *refusal)),
            _ => None,
        });
        match failed {
            Some((at, refusal)) => Err(ClientError::Multi(at, refusal)),
            None => Ok(results.into_iter().collect::<Result<_, _>>()?),
        }
    }

    /// Checks a znode's version, by a multi of this one check.
    pub fn check(&mut self, path: &str, version: i32) -> Result<(), ClientError> {
        self.multi(&[Ask::Check { path, version }]).map(drop)
    }

    /// Waits until this server has what the leader had committed.
    pub fn sync(&mut self, path: &str) -> Result<(), ClientError> {
        self.call(&Ask::Sync { path }).map(drop)
    }

    /// Keeps the session alive.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.call(&Ask::Ping).map(drop)
    }

    /// Adds an identity to the connection.
    pub fn auth(&mut self, scheme: &str, auth: &[u8]) -> Result<(), ClientError> {
        self.call(&Ask::Auth { scheme, auth }).map(drop)
    }

    /// Closes the session; its ephemeral znodes go with it.
    pub fn close(mut self) -> Result<(), ClientError> {
        self.call(&Ask::Close).map(drop)
    }

    /// Hangs up without closing the session.
    #[must_use]
    pub fn abandon(self) -> Credentials {
        self.credentials()
    }

    /// Sends and receives what the socket allows, once; waits for it until `deadline`.
    fn pump(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let mut wanted = PollFlags::IN;
        if !self.session.output().is_empty() {
            wanted |= PollFlags::OUT;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.stream, wanted)];
        let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut fds, Some(&wait)) {
            Ok(0) => return Err(ClientError::TimedOut(self.timeout)),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        if wanted.contains(PollFlags::OUT) {
            match self.stream.write(self.session.output()) {
                Ok(sent) => self.session.sent(sent),
                Err(error) if is_transient(&error) => {}
                // What the server said before it hung up may still be read.
                Err(error) if is_hang_up(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.read(&mut self.chunk) {
            Ok(0) => return Err(ClientError::Closed),
            Ok(got) => self.session.feed(&self.chunk[..got]),
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) if is_hang_up(&error) => return Err(ClientError::Closed),
            Err(error) => return Err(error.into()),
        }
        while let Some(incoming) = self.session.take()? {
            match incoming {
                Incoming::Connected(_) => {}
                Incoming::Expired => return Err(ClientError::Expired),
                Incoming::Reply(reply) => self.replies.push_back(reply),
                Incoming::Event(event) => self.events.push_back(event),
            }
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::connect::ConnectResponse;
    use crate::proto::event::{self, EventType};
    use crate::proto::reply;
    use std::net::TcpListener;

    /// A server that grants a session, then sends what `answer` writes for each request (xid and operation).
    fn serve(answer: impl Fn(i32, i32, &mut Vec<u8>) + Send + 'static) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut out = Vec::new();
            ConnectResponse { timeout_ms: 300, session: SessionId(5), password: [1; 16], read_only: Some(false) }
                .encode(&mut out);
            let mut granted = false;
            loop {
                let mut head = [0; 4];
                if stream.read_exact(&mut head).is_err() {
                    return;
                }
                let mut body = vec![0; u32::from_be_bytes(head) as usize];
                stream.read_exact(&mut body).unwrap();
                if granted {
                    let int = |at: usize| i32::from_be_bytes(body[at..at + 4].try_into().unwrap());
                    answer(int(0), int(4), &mut out);
                }
                granted = true;
                stream.write_all(&out).unwrap();
                out.clear();
            }
        });
        address
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_and_pipeline_share_the_connection() {
        let address = serve(|xid, op, out| match op {
            opcode::SYNC => reply::ok(out, xid, Zxid(3), |out| crate::proto::jute::Writer::string(out, "/s")),
            opcode::PING => reply::bare(out, -2, Zxid(3), crate::proto::code::Code::Ok),
            _ => reply::bare(out, xid, Zxid(2), crate::proto::code::Code::NoNode),
        });
        let mut client = Client::connect(address, 1000, SECOND).unwrap();
        assert_eq!(client.session_id(), SessionId(5));
        let first = client.submit(&Ask::Delete { path: "/a", version: -1 }).unwrap();
        assert_eq!(client.exists("/b", false).unwrap(), None);
        client.ping().unwrap();
        client.sync("/").unwrap();
        let reply = client.next_reply().unwrap();
        assert_eq!((reply.xid, reply.result), (first, Err(Refusal(-101))));
        assert_eq!((client.pending(), client.last_zxid()), (0, Zxid(3)));
    }

    #[test]
    fn silence_times_out_and_hanging_up_is_told() {
        let address = serve(|_, op, _| assert_ne!(op, opcode::CLOSE_SESSION, "hang up"));
        let mut client = Client::connect(address, 1000, Duration::from_millis(50)).unwrap();
        assert!(matches!(client.sync("/"), Err(ClientError::TimedOut(_))));
        client.set_timeout(SECOND);
        assert!(matches!(client.close(), Err(ClientError::Closed)));
    }

    #[test]
    fn waiting_for_an_event_pings() {
        let address = serve(|_, op, out| {
            assert_eq!(op, opcode::PING);
            event::encode(out, 9, EventType::NodeCreated, "/e");
        });
        let mut client = Client::connect(address, 1000, SECOND).unwrap();
        let event = client.next_event(5 * SECOND).unwrap().unwrap();
        assert_eq!((event.path.as_str(), event.kind), ("/e", EventType::NodeCreated as i32));
        assert_eq!(client.next_event(Duration::from_millis(1)).unwrap(), None);
    }
}
