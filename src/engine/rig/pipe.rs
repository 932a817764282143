//! Pipe: one client's socket in the rig, and what the client makes of the bytes that come.

use std::collections::VecDeque;

use super::ask::{self, Event, Frame};
use crate::ground::ids::{ConnId, SessionId, Zxid};
use crate::proto::connect::ConnectResponse;
use crate::proto::frame::{self, Cut};
use crate::proto::opcode;
use crate::proto::reply::PING_XID;

pub(super) struct Pipe {
    pub(super) shard: usize,
    pub(super) id: ConnId,
    /// Sent and not yet read by the server.
    pub(super) to_server: VecDeque<u8>,
    /// Read by the driver and not yet used by the shard.
    pub(super) input: Vec<u8>,
    /// The client has closed its end.
    pub(super) is_half_closed: bool,
    /// The server found the socket full.
    pub(super) is_clogged: bool,
    /// Bytes that the server reads at a time, at most.
    pub(super) chunk: usize,
    /// Bytes that the socket takes while the client does not read; `None` while it reads.
    pub(super) window: Option<usize>,
    /// What was asked was no request the pipe knows of: order is not watched over.
    pub(super) is_wild: bool,
    /// What comes may be text, and is left as it is.
    pub(super) is_text: bool,
    /// Bytes that came and are no whole frame yet.
    pub(super) received: Vec<u8>,
    pub(super) frames: VecDeque<Frame>,
    pub(super) session: SessionId,
    pub(super) password: [u8; 16],
    /// Requests without an answer.
    asked: VecDeque<(i32, i32)>,
    next_xid: i32,
    is_connected: bool,
    is_open: bool,
    last_zxid: i64,
}

impl Pipe {
    pub(super) fn new(shard: usize, id: ConnId) -> Self {
        Self {
            shard,
            id,
            to_server: VecDeque::new(),
            input: Vec::new(),
            is_half_closed: false,
            is_clogged: false,
            chunk: usize::MAX,
            window: None,
            is_wild: false,
            is_text: false,
            received: Vec::new(),
            frames: VecDeque::new(),
            session: SessionId::NONE,
            password: [0; 16],
            asked: VecDeque::new(),
            next_xid: 1,
            is_connected: false,
            is_open: true,
            last_zxid: 0,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// The connection is no more.
    pub(super) fn break_off(&mut self) {
        self.is_open = false;
        self.to_server.clear();
        self.input.clear();
    }

    pub(super) fn send(&mut self, op: i32, body: &[u8]) -> i32 {
        let xid = match op {
            opcode::PING => PING_XID,
            opcode::AUTH => -4,
            opcode::SET_WATCHES => -8,
            _ => {
                self.next_xid += 1;
                self.next_xid - 1
            }
        };
        self.send_as(xid, op, body);
        xid
    }

    pub(super) fn send_as(&mut self, xid: i32, op: i32, body: &[u8]) {
        self.asked.push_back((xid, op));
        self.to_server.extend(ask::request(xid, op, body));
    }

    /// The socket takes of these bytes what it can.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let n = self.window.map_or(bytes.len(), |room| room.min(bytes.len()));
        if let Some(room) = &mut self.window {
            *room -= n;
        }
        self.received.extend_from_slice(&bytes[..n]);
        n
    }

    /// Cuts what came into frames, and holds them against the rules of order. Yields the newest zxid shown.
    pub(super) fn parse(&mut self) -> Zxid {
        let mut at = 0;
        while let Ok(Cut::Frame(body, len)) = frame::cut(&self.received[at..], 1 << 30) {
            at += len;
            if !self.is_connected {
                self.is_connected = true;
                let response = ConnectResponse::decode(body).expect("the first frame is a ConnectResponse");
                assert_eq!(body.len(), 36 + usize::from(response.read_only.is_some()));
                (self.session, self.password) = (response.session, response.password);
                self.frames.push_back(Frame::Connected(response));
                continue;
            }
            let frame = Frame::decode(body);
            match &frame {
                Frame::Event(event) => self.event_came(event),
                Frame::Reply(reply) => {
                    self.reply_came(reply.xid, reply.zxid);
                }
                Frame::Connected(_) => unreachable!("decode makes none"),
            }
            self.frames.push_back(frame);
        }
        self.received.drain(..at);
        Zxid::from_wire(self.last_zxid.max(0))
    }

    fn event_came(&self, event: &Event) {
        assert!(event.zxid == -1 || event.zxid > self.last_zxid, "an event precedes every reply that reveals it: {event:?}");
    }

    fn reply_came(&mut self, xid: i32, zxid: i64) {
        // The exceptions: authentication overtakes and shows no zxid, refusals of unknown operations show -1.
        if zxid > 0 {
            assert!(zxid >= self.last_zxid, "zxids of replies never fall: {zxid} after {}", self.last_zxid);
            self.last_zxid = zxid;
        }
        if self.is_wild {
            return;
        }
        let is_auth = |op: i32| matches!(op, opcode::AUTH | opcode::SASL);
        let at = self.asked.iter().position(|&(asked, op)| asked == xid && is_auth(op)).unwrap_or(0);
        let (asked, op) = self.asked.remove(at).expect("a reply answers a request");
        assert_eq!(asked, xid, "replies leave in the order of their requests (operation {op})");
    }
}
