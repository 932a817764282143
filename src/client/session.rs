//! Session: the client's side of one connection, without I/O. Bytes go in, replies and events come out in order.

use std::collections::VecDeque;

use super::answer::{Body, Event, Refusal, Reply};
use super::ask::Ask;
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits::FRAME_MAX_CEILING;
use crate::proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use crate::proto::event::NOTIFICATION_XID;
use crate::proto::frame::{self, BadLength, Cut};
use crate::proto::jute::{Malformed, Reader, Writer};
use crate::proto::opcode;
use crate::proto::reply::{PING_XID, ReplyHeader};

/// xid of auth packets; their replies may overtake others.
const AUTH_XID: i32 = -4;
/// xid of setWatches; its reply keeps its place in the order.
const SET_WATCHES_XID: i32 = -8;

/// What the server said that it must not say, or cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A frame of impossible length.
    #[error(transparent)]
    Frame(#[from] BadLength),
    /// A record that is not what it should be.
    #[error("in an answer to operation {op}: {error}")]
    Record {
        /// The operation, 0 for connect responses and events.
        op: i32,
        /// What is wrong.
        error: Malformed,
    },
    /// A reply to a request that is not the oldest unanswered one.
    #[error("reply to xid {got} where {want:?} was next")]
    OutOfOrder {
        /// xid of the reply.
        got: i32,
        /// xid of the oldest unanswered request.
        want: Option<i32>,
    },
    /// A reply's zxid is below an earlier one on this session.
    #[error("a reply shows zxid {got} after {seen}")]
    WentBack {
        /// zxid of the reply.
        got: Zxid,
        /// Newest zxid seen before it.
        seen: Zxid,
    },
}

/// What re-attaches to a session on a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The session.
    pub session: SessionId,
    /// Its password.
    pub password: [u8; PASSWORD_LEN],
    /// Wanted timeout, ms.
    pub timeout_ms: i32,
    /// Newest zxid seen; a server behind it must not take the client.
    pub last_zxid_seen: Zxid,
}

impl Credentials {
    /// For a new session.
    #[must_use]
    pub const fn new(timeout_ms: i32) -> Self {
        Self { session: SessionId::NONE, password: [0; PASSWORD_LEN], timeout_ms, last_zxid_seen: Zxid::ZERO }
    }
}

/// What came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// The connection has its session.
    Connected(ConnectResponse),
    /// The session is gone; the server hangs up.
    Expired,
    /// A reply to a request.
    Reply(Reply),
    /// A watch fired.
    Event(Event),
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct Session {
    credentials: Credentials,
    connected: bool,
    next_xid: i32,
    pending: VecDeque<(i32, i32)>,
    input: Vec<u8>,
    input_at: usize,
    output: Vec<u8>,
    output_at: usize,
}

impl Session {
    /// A connection that asks for a new session, or for the one that the credentials name.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        let mut output = Vec::new();
        ConnectRequest {
            last_zxid_seen: credentials.last_zxid_seen,
            timeout_ms: credentials.timeout_ms,
            session: credentials.session,
            password: &credentials.password,
            read_only: Some(false),
        }
        .encode(&mut output);
        Self {
            credentials,
            connected: false,
            next_xid: 1,
            pending: VecDeque::new(),
            input: Vec::new(),
            input_at: 0,
            output,
            output_at: 0,
        }
    }

    /// What would re-attach to this session now.
    #[must_use]
    pub const fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// Whether the server has granted the session.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Requests without a reply, pings and authentications left out.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Appends a request to the output and returns its xid.
    pub fn submit(&mut self, ask: &Ask<'_>) -> i32 {
        let xid = match ask {
            Ask::Ping => PING_XID,
            Ask::Auth { .. } => AUTH_XID,
            Ask::SetWatches { .. } | Ask::SetWatches2 { .. } => SET_WATCHES_XID,
            _ => {
                let xid = self.next_xid;
                self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
                xid
            }
        };
        let op = ask.opcode();
        let body = frame::open(&mut self.output);
        self.output.int(xid);
        self.output.int(op);
        ask.encode(&mut self.output);
        frame::close(&mut self.output, body);
        if !matches!(xid, PING_XID | AUTH_XID) {
            self.pending.push_back((xid, op));
        }
        xid
    }

    /// Bytes to send.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.output_at..]
    }

    /// Says that the first `n` bytes of [`Self::output`] are sent.
    pub fn sent(&mut self, n: usize) {
        self.output_at += n;
        if self.output_at == self.output.len() {
            self.output.clear();
            self.output_at = 0;
        }
    }

    /// Hands in bytes received.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.input_at > 0 {
            self.input.drain(..self.input_at);
            self.input_at = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// The next thing that the bytes received so far say, if they say one whole.
    pub fn take(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        let Cut::Frame(body, used) = frame::cut(&self.input[self.input_at..], FRAME_MAX_CEILING)? else { return Ok(None) };
        let mut r = Reader::new(body);
        let unreadable = |op| move |error| ProtocolError::Record { op, error };
        let incoming = if !self.connected {
            let response = ConnectResponse::decode(body).map_err(unreadable(0))?;
            if response.timeout_ms <= 0 {
                Incoming::Expired
            } else {
                self.connected = true;
                self.credentials.session = response.session;
                self.credentials.password = response.password;
                self.credentials.timeout_ms = response.timeout_ms;
                Incoming::Connected(response)
            }
        } else {
            let header = ReplyHeader::decode(&mut r).map_err(unreadable(0))?;
            if header.xid == NOTIFICATION_XID {
                Incoming::Event(Event::decode(header.zxid, &mut r).map_err(unreadable(0))?)
            } else {
                let op = match header.xid {
                    PING_XID => opcode::PING,
                    AUTH_XID => opcode::AUTH,
                    got => match self.pending.front() {
                        Some(&(want, op)) if want == got => {
                            self.pending.pop_front();
                            op
                        }
                        other => return Err(ProtocolError::OutOfOrder { got, want: other.map(|p| p.0) }),
                    },
                };
                // 0 and -1 stand where the protocol has no mark to show.
                if header.zxid > 0 {
                    let got = Zxid::from_wire(header.zxid);
                    if got < self.credentials.last_zxid_seen {
                        return Err(ProtocolError::WentBack { got, seen: self.credentials.last_zxid_seen });
                    }
                    self.credentials.last_zxid_seen = got;
                }
                let result = match header.err {
                    0 => Ok(Body::decode(op, &mut r).map_err(unreadable(op))?),
                    code => Err(Refusal(code)),
                };
                Incoming::Reply(Reply { xid: header.xid, op, zxid: header.zxid, result })
            }
        };
        self.input_at += used;
        Ok(Some(incoming))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::{self, EventType};
    use crate::proto::reply;

    fn connected() -> Session {
        let mut s = Session::new(Credentials::new(5000));
        let mut bytes = Vec::new();
        ConnectResponse { timeout_ms: 4000, session: SessionId(77), password: [9; 16], read_only: Some(false) }
            .encode(&mut bytes);
        s.feed(&bytes);
        assert!(matches!(s.take(), Ok(Some(Incoming::Connected(_)))));
        let sent = s.output().len();
        s.sent(sent);
        s
    }

    fn said(s: &mut Session, write: impl FnOnce(&mut Vec<u8>)) -> Result<Option<Incoming>, ProtocolError> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        s.feed(&bytes);
        s.take()
    }

    #[test]
    fn connecting_learns_the_credentials() {
        let s = connected();
        let want = Credentials { session: SessionId(77), password: [9; 16], timeout_ms: 4000, last_zxid_seen: Zxid::ZERO };
        assert_eq!(s.credentials(), want);
        let again = Session::new(want);
        let Ok(Cut::Frame(body, _)) = frame::cut(again.output(), 100) else { panic!("no frame") };
        assert_eq!(ConnectRequest::decode(body).unwrap().session, SessionId(77));
    }

    #[test]
    fn a_refused_session_is_expired() {
        let mut s = Session::new(Credentials::new(5000));
        let got = said(&mut s, |out| ConnectResponse::refused(Some(false)).encode(out));
        assert_eq!(got, Ok(Some(Incoming::Expired)));
        assert!(!s.is_connected());
    }

    #[test]
    fn replies_match_in_order_and_raise_the_zxid() {
        let mut s = connected();
        let a = s.submit(&Ask::Delete { path: "/a", version: -1 });
        let b = s.submit(&Ask::Sync { path: "/" });
        assert_eq!((a, b, s.pending()), (1, 2, 2));
        let got = said(&mut s, |out| reply::bare(out, a, Zxid(5), crate::proto::code::Code::NoNode)).unwrap();
        assert_eq!(got, Some(Incoming::Reply(Reply { xid: 1, op: opcode::DELETE, zxid: 5, result: Err(Refusal(-101)) })));
        let got = said(&mut s, |out| event::encode(out, 9, EventType::NodeDeleted, "/x")).unwrap();
        assert!(matches!(got, Some(Incoming::Event(e)) if e.path == "/x" && e.kind == 2 && e.zxid == 9));
        let got = said(&mut s, |out| reply::ok(out, b, Zxid(6), |out| out.string("/"))).unwrap();
        assert!(matches!(got, Some(Incoming::Reply(r)) if r.result == Ok(Body::Path("/".into()))));
        assert_eq!(s.credentials().last_zxid_seen, Zxid(6), "events do not count");
    }

    #[test]
    fn a_reply_out_of_order_and_a_zxid_gone_back_are_errors() {
        let mut s = connected();
        s.submit(&Ask::WhoAmI);
        s.submit(&Ask::WhoAmI);
        let got = said(&mut s, |out| reply::bare(out, 2, Zxid(5), crate::proto::code::Code::Ok));
        assert_eq!(got, Err(ProtocolError::OutOfOrder { got: 2, want: Some(1) }));

        let mut s = connected();
        s.submit(&Ask::Close);
        assert!(said(&mut s, |out| reply::bare(out, PING_XID, Zxid(5), crate::proto::code::Code::Ok)).is_ok());
        let got = said(&mut s, |out| reply::bare(out, 1, Zxid(4), crate::proto::code::Code::Ok));
        assert_eq!(got, Err(ProtocolError::WentBack { got: Zxid(4), seen: Zxid(5) }));
    }

    #[test]
    fn halves_of_a_frame_wait() {
        let mut s = connected();
        let xid = s.submit(&Ask::Exists { path: "/", watch: false });
        let mut bytes = Vec::new();
        reply::ok(&mut bytes, xid, Zxid(1), |out| crate::proto::stat::Stat::default().encode(out));
        let (head, tail) = bytes.split_at(30);
        s.feed(head);
        assert_eq!(s.take(), Ok(None));
        s.feed(tail);
        assert!(matches!(s.take(), Ok(Some(Incoming::Reply(_)))));
        assert_eq!(s.take(), Ok(None));
    }

    #[test]
    fn a_hostile_length_is_an_error() {
        let mut s = connected();
        s.feed(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(matches!(s.take(), Err(ProtocolError::Frame(_))));
    }
}
