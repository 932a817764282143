//! Line: one connection under load, with its session.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::random::Random;
use super::requests::{Maker, frame_of};
use super::setup::CONNECT_PATIENCE;
use crate::bench::control::RunError;
use crate::bench::recorder::{CONNECTION_LOSS, Recorder};
use crate::client::ask::Ask;
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits::FRAME_MAX_CEILING;
use crate::proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use crate::proto::event::NOTIFICATION_XID;
use crate::proto::jute::{Malformed, Reader};
use crate::proto::multi::MultiHeader;
use crate::proto::opcode;
use crate::proto::reply::PING_XID;

/// Bytes read at once.
const INPUT: usize = 128 << 10;

/// Longest connect response.
const GRANT_MAX: usize = 1024;

/// Bytes of a reply up to the end of its header, its length included.
const HEAD: usize = 20;

/// What a server does that has enough of us.
pub const HANGS_UP: &str = "it hangs up; servers let 60 connections of one address in unless their maxClientCnxns says otherwise";

/// A server: its name as it was given, and where that is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `host:port`.
    pub name: String,
    /// Its first address.
    pub address: SocketAddr,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Flying {
    start: u64,
    operation: u8,
    ticket: u32,
}

/// One connection under load.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    out: Vec<u8>,
    out_at: usize,
    input: Vec<u8>,
    filled: usize,
    flying: VecDeque<Flying>,
    next_xid: i32,
    due_xid: i32,
    timeout_ms: i32,
    /// When something was last sent, ns.
    spoke: u64,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The server closed it.
    #[error("the server hung up")]
    HungUp,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server said what it must not say.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

/// What one reading of a socket brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Requests answered.
    pub answered: usize,
    /// Whether the socket may hold more.
    pub more: bool,
    /// Whether it held nothing.
    pub empty: bool,
}

impl Line {
    /// Connects and asks for a session; [`Self::granted`] waits for it. Many can be on their way at once.
    pub fn connect(server: &Server, timeout_ms: i32) -> Result<Self, RunError> {
        let unreachable = |error| RunError::Unreachable(server.name.clone(), error);
        let mut stream = TcpStream::connect_timeout(&server.address, CONNECT_PATIENCE).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        stream.set_read_timeout(Some(CONNECT_PATIENCE)).map_err(unreachable)?;
        let mut out = Vec::with_capacity(4 << 10);
        let password = &[0; PASSWORD_LEN];
        ConnectRequest { last_zxid_seen: Zxid::ZERO, timeout_ms, session: SessionId::NONE, password, read_only: Some(false) }
            .encode(&mut out);
        stream.write_all(&out).map_err(unreachable)?;
        out.clear();
        Ok(Self {
            stream,
            out,
            out_at: 0,
            input: Vec::new(),
            filled: 0,
            flying: VecDeque::new(),
            next_xid: 1,
            due_xid: 1,
            timeout_ms,
            spoke: 0,
        })
    }

    /// Waits for the session.
    pub fn granted(&mut self, server: &Server) -> Result<(), RunError> {
        let no_session = |why: String| RunError::NoSession(server.name.clone(), why);
        let broken = |error: std::io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => no_session(format!("no answer in {} s", CONNECT_PATIENCE.as_secs())),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => no_session(HANGS_UP.into()),
            _ => no_session(error.to_string()),
        };
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).map_err(broken)?;
        let len = usize::try_from(i32::from_be_bytes(len)).ok().filter(|len| *len <= GRANT_MAX);
        let foreign = || no_session("its answer is not of the ZooKeeper client protocol".into());
        let mut body = vec![0; len.ok_or_else(foreign)?];
        self.stream.read_exact(&mut body).map_err(broken)?;
        let response = ConnectResponse::decode(&body).map_err(|_| foreign())?;
        if response.timeout_ms <= 0 {
            return Err(no_session("it refuses it".into()));
        }
        self.timeout_ms = response.timeout_ms;
        self.stream.set_nonblocking(true).map_err(broken)?;
        self.input = vec![0; INPUT];
        Ok(())
    }

    /// The socket.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests in flight.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Adds a request to what is to be sent; `false` when the maker has none left.
    #[inline]
    pub fn ask(&mut self, maker: &mut impl Maker, random: &mut Random, start: u64) -> bool {
        let Some(operation) = maker.push(random, self.next_xid, &mut self.out) else { return false };
        self.next_xid = if self.next_xid == i32::MAX { 1 } else { self.next_xid + 1 };
        self.flying.push_back(Flying { start, operation: operation as u8, ticket: maker.ticket() });
        true
    }

    /// The clock of the run begins now.
    pub const fn heard_at_start(&mut self) {
        self.spoke = 0;
    }

    /// Adds a ping where nothing was said for a third of the session's timeout.
    pub fn ping_if_quiet(&mut self, now: u64) -> bool {
        let is_quiet = now.saturating_sub(self.spoke) > self.timeout_ms.unsigned_abs() as u64 * 1_000_000 / 3;
        if is_quiet && self.out.is_empty() {
            frame_of(&mut self.out, PING_XID, &Ask::Ping);
            return true;
        }
        false
    }

    /// Sends what the socket takes.
    #[inline]
    pub fn flush(&mut self, now: u64) -> Result<(), LineError> {
        while self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(sent) => {
                    self.out_at += sent;
                    self.spoke = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    return Err(LineError::HungUp);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }

    /// Reads once and counts the replies that came, at the moment at which they were read.
    #[inline]
    pub fn receive(&mut self, clock: &Instant, maker: &mut impl Maker, recorder: &mut Recorder) -> Result<Received, LineError> {
        let got = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err(LineError::HungUp),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received { answered: 0, more: false, empty: true }),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                return Ok(Received { answered: 0, more: true, empty: false });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(LineError::HungUp),
            Err(error) => return Err(error.into()),
        };
        self.filled += got;
        let more = self.filled == self.input.len();
        let now = nanos(clock);
        let (mut at, mut answered) = (0, 0);
        while let Some(head) = self.input[at..self.filled].first_chunk::<HEAD>() {
            let word = |i: usize| i32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
            let (len, xid, mut err) = (word(0), word(4), word(16));
            let end = match usize::try_from(len) {
                Ok(len) if (HEAD - 4..=FRAME_MAX_CEILING).contains(&len) => at + 4 + len,
                _ => return Err(LineError::Protocol(format!("a reply of {len} bytes"))),
            };
            if end > self.filled {
                // Room for the whole of it.
                self.input.resize(self.input.len().max(end - at), 0);
                break;
            }
            if xid == self.due_xid {
                let Some(flying) = self.flying.pop_front() else {
                    return Err(LineError::Protocol(format!("a reply to xid {xid}, which was not asked")));
                };
                self.due_xid = if xid == i32::MAX { 1 } else { xid + 1 };
                let operation = usize::from(flying.operation);
                if err == 0 && maker.is_multi(operation) {
                    err = error_of_multi(&self.input[at + HEAD..end])
                        .map_err(|error| LineError::Protocol(format!("the reply to a multi: {error}")))?;
                }
                recorder.answered(now, operation, flying.start, err);
                maker.answered(operation, flying.ticket, err);
                answered += 1;
            } else if xid != PING_XID && xid != NOTIFICATION_XID {
                return Err(LineError::Protocol(format!("a reply to xid {xid} where {} was next", self.due_xid)));
            }
            at = end;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(Received { answered, more, empty: false })
    }

    /// The connection is lost: so is what was in flight. Returns how many requests that were.
    pub fn lose(&mut self, now: u64, maker: &mut impl Maker, recorder: &mut Recorder) -> usize {
        let lost = self.flying.len();
        for flying in self.flying.drain(..) {
            recorder.answered(now, usize::from(flying.operation), flying.start, CONNECTION_LOSS);
            maker.answered(usize::from(flying.operation), flying.ticket, CONNECTION_LOSS);
        }
        lost
    }

    /// Asks the server to close the session; [`Self::closed`] waits until it has.
    pub fn close(&mut self) {
        frame_of(&mut self.out, self.next_xid, &Ask::Close);
        // The run is over; a server that is not there any more to be told goodbye changes nothing in it.
        let _ = self.flush(0);
    }

    /// Waits until the server has hung up, or for `patience`.
    pub fn closed(mut self, patience: Duration) {
        // As above.
        if self.stream.set_nonblocking(false).is_ok() && self.stream.set_read_timeout(Some(patience)).is_ok() {
            let rest = self.out.split_off(self.out_at);
            if self.stream.write_all(&rest).is_ok() {
                while matches!(self.stream.read(&mut self.input), Ok(n) if n > 0) {}
            }
        }
    }
}

/// Nanoseconds since the run began.
#[inline]
#[must_use]
pub fn nanos(clock: &Instant) -> u64 {
    clock.elapsed().as_nanos() as u64
}

/// The first error among the results of a multi that is a member's own; 0 if there is none.
fn error_of_multi(body: &[u8]) -> Result<i32, Malformed> {
    const STAT: usize = 68;
    let mut r = Reader::new(body);
    loop {
        let header = MultiHeader::decode(&mut r)?;
        if header.done {
            return Ok(0);
        }
        let mut skip = 0;
        match header.op {
            opcode::ERROR => match r.int()? {
                // The members before and after the one that failed.
                0 | -2 => {}
                err => return Ok(err),
            },
            opcode::CREATE => drop(r.buffer()?),
            opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL | opcode::GET_DATA => {
                r.buffer()?;
                skip = STAT;
            }
            opcode::SET_DATA => skip = STAT,
            opcode::GET_CHILDREN => {
                for _ in 0..r.count()?.unwrap_or(0) {
                    r.buffer()?;
                }
            }
            opcode::DELETE | opcode::CHECK => {}
            _ => return Err(Malformed::Value),
        }
        let rest = r.rest();
        r = Reader::new(rest.get(skip..).ok_or(Malformed::Short)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::jute::Writer;
    use crate::proto::multi::encode_error;
    use crate::proto::stat::{Stat, encode_data};

    #[test]
    fn a_multi_tells_the_error_of_its_member() {
        let mut aborted = Vec::new();
        for err in [0, -101, -2] {
            encode_error(&mut aborted, err);
        }
        MultiHeader::END.encode(&mut aborted);
        assert_eq!(error_of_multi(&aborted), Ok(-101));

        let mut mixed = Vec::new();
        let head = |op| MultiHeader { op, done: false, err: 0 };
        head(opcode::GET_DATA).encode(&mut mixed);
        encode_data(&mut mixed, Some(b"value"), &Stat::default());
        head(opcode::SET_DATA).encode(&mut mixed);
        Stat::default().encode(&mut mixed);
        head(opcode::CREATE).encode(&mut mixed);
        mixed.string("/a");
        head(opcode::DELETE).encode(&mut mixed);
        head(opcode::GET_CHILDREN).encode(&mut mixed);
        mixed.count(1);
        mixed.string("b");
        let mut fine = mixed.clone();
        MultiHeader::END.encode(&mut fine);
        assert_eq!(error_of_multi(&fine), Ok(0));
        encode_error(&mut mixed, -102);
        MultiHeader::END.encode(&mut mixed);
        assert_eq!(error_of_multi(&mixed), Ok(-102));
        for short in 0..fine.len() {
            assert!(error_of_multi(&fine[..short]).is_err(), "{short} bytes");
        }
    }
}
