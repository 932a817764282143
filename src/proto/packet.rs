//! Packet: what a leader and its learners tell each other on the quorum port.

use std::sync::Arc;

use super::jute::{Malformed, Reader, Writer};
use super::txn::TxnHeader;
use crate::ground::ids::{ServerId, SessionId, Zxid};

/// A transaction as the log has it: header, record and digest.
pub type Blob = Arc<[u8]>;

/// How a learner introduces itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// It; `None` for one that has no number (an anonymous observer).
    pub server: Option<ServerId>,
    /// The newest epoch it has accepted.
    pub accepted: u32,
    /// Version of the configuration it knows.
    pub config_version: u64,
    /// It observes, and has no vote.
    pub is_observer: bool,
}

/// A request that a learner sends on to its leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// Session it came in, or which it opens.
    pub session: SessionId,
    /// The client's number of it.
    pub cxid: i32,
    /// Its opcode.
    pub op: i32,
    /// The request's record as the client sent it.
    pub body: Arc<[u8]>,
    /// Who the client is: schemes and ids.
    pub who: Vec<(Box<str>, Box<str>)>,
}

/// One packet; what of a `QuorumPacket` is not told here has one value only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// A learner's first word.
    Info(LearnerInfo),
    /// The leader's epoch.
    LeaderInfo {
        /// It.
        epoch: u32,
    },
    /// The learner has accepted the epoch.
    AckEpoch {
        /// End of its durable log.
        last: Zxid,
        /// Its current epoch; `None` where it had accepted this epoch before, and must not be counted again.
        current: Option<u32>,
    },
    /// The transactions that lead to `to` follow.
    Diff {
        /// Where they lead.
        to: Zxid,
    },
    /// The learner is to cut its log.
    Trunc {
        /// The last transaction that stays.
        to: Zxid,
    },
    /// The whole state follows, in a stream that is no packet.
    Snap {
        /// Where the leader stood at least when the stream began.
        at: Zxid,
    },
    /// All that the learner needs for this epoch has been sent.
    NewLeader {
        /// The epoch.
        epoch: u32,
        /// The leader's configuration in text.
        config: Option<Arc<[u8]>>,
    },
    /// The learner may serve.
    UpToDate,
    /// A transaction to log.
    Proposal {
        /// Its zxid.
        zxid: Zxid,
        /// It.
        blob: Blob,
    },
    /// It is durable here. The epoch's first zxid acknowledges the new leader.
    Ack {
        /// Its zxid.
        zxid: Zxid,
    },
    /// It is committed.
    Commit {
        /// Its zxid.
        zxid: Zxid,
    },
    /// A committed transaction, for an observer.
    Inform {
        /// Its zxid.
        zxid: Zxid,
        /// It.
        blob: Blob,
    },
    /// A sign of life.
    Ping {
        /// What the leader has proposed; the learner repeats it.
        zxid: Zxid,
        /// From a learner: sessions heard of since the last one, and their time-outs in ms.
        touched: Vec<(SessionId, i32)>,
    },
    /// A session comes to this learner: is it alive?
    Revalidate {
        /// It.
        session: SessionId,
        /// Its time-out, ms.
        timeout_ms: i32,
    },
    /// The leader's answer to that.
    Revalidated {
        /// The session.
        session: SessionId,
        /// It is alive.
        is_valid: bool,
    },
    /// A request sent on.
    Request(Forwarded),
    /// The oldest `sync` of this learner that is unanswered is done.
    Sync,
}

/// The protocol that ZooKeeper has spoken since 3.4: the least whose handshake is told here.
const PROTOCOL: i32 = 0x0001_0000;

/// Bytes of a packet with neither data nor ids.
const BARE: usize = 20;

/// Bytes of a session in the table of those heard of.
const TOUCH: usize = 12;

/// The numbers of the types (`org.apache.zookeeper.server.quorum.Leader`).
pub(super) mod kind {
    pub const REQUEST: i32 = 1;
    pub const PROPOSAL: i32 = 2;
    pub const ACK: i32 = 3;
    pub const COMMIT: i32 = 4;
    pub const PING: i32 = 5;
    pub const REVALIDATE: i32 = 6;
    pub const SYNC: i32 = 7;
    pub const INFORM: i32 = 8;
    pub const COMMIT_AND_ACTIVATE: i32 = 9;
    pub const NEW_LEADER: i32 = 10;
    pub const FOLLOWER_INFO: i32 = 11;
    pub const UP_TO_DATE: i32 = 12;
    pub const DIFF: i32 = 13;
    pub const TRUNC: i32 = 14;
    pub const SNAP: i32 = 15;
    pub const OBSERVER_INFO: i32 = 16;
    pub const LEADER_INFO: i32 = 17;
    pub const ACK_EPOCH: i32 = 18;
    pub const INFORM_AND_ACTIVATE: i32 = 19;
}

/// An end of a link of the quorum port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one that was called.
    Leader,
    /// The one that called: a follower or an observer.
    Learner,
}

/// Why the bytes of a link are no packet that this end may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// A part of it claims a length below -1, or more than is allowed. Where it ends cannot be known: the link is of no more use.
    #[error("part of a packet claims {0} bytes, {1} are allowed")]
    Length(i64, usize),
    /// There is no such type, or it is never sent in this direction. A Java server leaves such packets aside once it serves.
    #[error("a packet of type {0} is not known in this direction")]
    Kind(i32),
    /// It puts a new configuration in force, which this server cannot follow.
    #[error("a packet of type {0} puts another configuration in force: set reconfigEnabled=false on every server")]
    Reconfiguration(i32),
    /// Its data are not what its type needs.
    #[error("the data of a packet of type {0}: {1}")]
    Data(i32, Malformed),
    /// The sender's number is none that a server can have here.
    #[error("server number {0} is not from 1 to 255")]
    Server(i64),
    /// The other end speaks an older protocol.
    #[error("the other server speaks version {0:#x} of the protocol, this one 0x10000")]
    Protocol(i32),
    /// The transaction is not the one that the packet names.
    #[error("a packet names transaction {0} and carries another")]
    Transaction(Zxid),
}

impl Wrong {
    /// Whether what follows the packet can still be read.
    #[must_use]
    pub const fn is_passable(&self) -> bool {
        !matches!(self, Self::Length(..))
    }
}

impl Packet {
    /// Appends the packet as `writer` sends it. Nothing is allocated but what `out` needs to grow.
    pub fn encode(&self, writer: Side, out: &mut Vec<u8>) {
        let first = |epoch| Zxid::new(epoch, 0);
        match self {
            Self::Info(info) => {
                let kind = if info.is_observer { kind::OBSERVER_INFO } else { kind::FOLLOWER_INFO };
                let mut data = [0; 20];
                let sid = info.server.map_or(-1, |server| i64::from(server.0));
                data[..8].copy_from_slice(&sid.to_be_bytes());
                data[8..12].copy_from_slice(&PROTOCOL.to_be_bytes());
                data[12..].copy_from_slice(&info.config_version.to_be_bytes());
                put(out, kind, first(info.accepted), Some(&data));
            }
            Self::LeaderInfo { epoch } => put(out, kind::LEADER_INFO, first(*epoch), Some(&PROTOCOL.to_be_bytes())),
            Self::AckEpoch { last, current } => {
                let current = current.map_or(-1, u32::cast_signed);
                put(out, kind::ACK_EPOCH, *last, Some(&current.to_be_bytes()));
            }
            Self::Diff { to } => put(out, kind::DIFF, *to, None),
            Self::Trunc { to } => put(out, kind::TRUNC, *to, None),
            Self::Snap { at } => put(out, kind::SNAP, *at, None),
            Self::NewLeader { epoch, config } => put(out, kind::NEW_LEADER, first(*epoch), config.as_deref()),
            Self::UpToDate => put(out, kind::UP_TO_DATE, NO_ZXID, None),
            Self::Proposal { zxid, blob } => put_proposal(out, *zxid, blob),
            Self::Ack { zxid } => put(out, kind::ACK, *zxid, None),
            Self::Commit { zxid } => put_commit(out, *zxid),
            Self::Inform { zxid, blob } => put_inform(out, *zxid, blob),
            Self::Ping { zxid, touched } => match writer {
                Side::Leader => put(out, kind::PING, *zxid, None),
                // A Java leader takes null data here for a broken link.
                Side::Learner => {
                    head(out, kind::PING, *zxid, touched.len() * TOUCH);
                    for (session, timeout_ms) in touched {
                        out.long(session.0);
                        out.int(*timeout_ms);
                    }
                    out.int(-1);
                }
            },
            Self::Revalidate { session, timeout_ms } => {
                head(out, kind::REVALIDATE, NO_ZXID, 12);
                out.long(session.0);
                out.int(*timeout_ms);
                out.int(-1);
            }
            Self::Revalidated { session, is_valid } => {
                head(out, kind::REVALIDATE, NO_ZXID, 9);
                out.long(session.0);
                out.bool(*is_valid);
                out.int(-1);
            }
            Self::Request(request) => {
                head(out, kind::REQUEST, NO_ZXID, 16 + request.body.len());
                out.long(request.session.0);
                out.int(request.cxid);
                out.int(request.op);
                out.extend_from_slice(&request.body);
                // A request of the server's own, about a session, has a null vector there.
                if request.who.is_empty() {
                    out.int(-1);
                } else {
                    out.count(request.who.len());
                    for (scheme, id) in &request.who {
                        out.string(scheme);
                        out.string(id);
                    }
                }
            }
            Self::Sync => put(out, kind::SYNC, Zxid::ZERO, None),
        }
    }

    /// Reads one packet, all of `bytes`, as `reader` understands it.
    pub fn decode(bytes: &[u8], reader: Side) -> Result<Self, Wrong> {
        let mut r = Reader::new(bytes);
        let mut kind = 0;
        let mut raw = || {
            kind = r.int()?;
            let zxid = Zxid::from_wire(r.long()?);
            let data = r.buffer()?;
            let who = ids(&mut r)?;
            if r.rest().is_empty() { Ok((zxid, data, who)) } else { Err(Malformed::Value) }
        };
        let (zxid, data, who) = raw().map_err(|malformed| Wrong::Data(kind, malformed))?;
        let wrong = |malformed| Wrong::Data(kind, malformed);
        Ok(match (kind, reader) {
            (kind::FOLLOWER_INFO | kind::OBSERVER_INFO, Side::Leader) => {
                Self::Info(info(kind == kind::OBSERVER_INFO, zxid, data)?)
            }
            (kind::ACK_EPOCH, Side::Leader) => {
                let current = Reader::new(data.unwrap_or_default()).int().map_err(wrong)?;
                Self::AckEpoch { last: zxid, current: (current != -1).then_some(current.cast_unsigned()) }
            }
            (kind::ACK, Side::Leader) => Self::Ack { zxid },
            (kind::PING, Side::Leader) => Self::Ping { zxid, touched: touched(data.unwrap_or_default()).map_err(wrong)? },
            (kind::REVALIDATE, Side::Leader) => {
                let mut r = Reader::new(data.unwrap_or_default());
                let session = SessionId(r.long().map_err(wrong)?);
                Self::Revalidate { session, timeout_ms: r.int().map_err(wrong)? }
            }
            (kind::REQUEST, Side::Leader) => {
                let mut r = Reader::new(data.unwrap_or_default());
                let session = SessionId(r.long().map_err(wrong)?);
                let (cxid, op) = (r.int().map_err(wrong)?, r.int().map_err(wrong)?);
                Self::Request(Forwarded { session, cxid, op, body: r.rest().into(), who })
            }
            (kind::LEADER_INFO, Side::Learner) => match Reader::new(data.unwrap_or_default()).int().map_err(wrong)? {
                PROTOCOL.. => Self::LeaderInfo { epoch: zxid.epoch() },
                older => return Err(Wrong::Protocol(older)),
            },
            (kind::DIFF, Side::Learner) => Self::Diff { to: zxid },
            (kind::TRUNC, Side::Learner) => Self::Trunc { to: zxid },
            (kind::SNAP, Side::Learner) => Self::Snap { at: zxid },
            (kind::NEW_LEADER, Side::Learner) => Self::NewLeader { epoch: zxid.epoch(), config: data.map(Into::into) },
            (kind::UP_TO_DATE, Side::Learner) => Self::UpToDate,
            (kind::PROPOSAL, Side::Learner) => Self::Proposal { zxid, blob: blob(kind, zxid, data)? },
            (kind::INFORM, Side::Learner) => Self::Inform { zxid, blob: blob(kind, zxid, data)? },
            (kind::COMMIT, Side::Learner) => Self::Commit { zxid },
            (kind::PING, Side::Learner) => Self::Ping { zxid, touched: Vec::new() },
            (kind::REVALIDATE, Side::Learner) => {
                let mut r = Reader::new(data.unwrap_or_default());
                let session = SessionId(r.long().map_err(wrong)?);
                Self::Revalidated { session, is_valid: r.bool().map_err(wrong)? }
            }
            (kind::SYNC, Side::Learner) => Self::Sync,
            (kind::COMMIT_AND_ACTIVATE | kind::INFORM_AND_ACTIVATE, Side::Learner) => return Err(Wrong::Reconfiguration(kind)),
            _ => return Err(Wrong::Kind(kind)),
        })
    }
}

/// What a packet carries as zxid where it means none.
const NO_ZXID: Zxid = Zxid::from_wire(-1);

/// Appends a [`Packet::Proposal`] whose transaction is borrowed.
pub fn put_proposal(out: &mut Vec<u8>, zxid: Zxid, blob: &[u8]) {
    put(out, kind::PROPOSAL, zxid, Some(blob));
}

/// Appends a [`Packet::Inform`] whose transaction is borrowed.
pub fn put_inform(out: &mut Vec<u8>, zxid: Zxid, blob: &[u8]) {
    put(out, kind::INFORM, zxid, Some(blob));
}

/// Appends a [`Packet::Commit`].
pub fn put_commit(out: &mut Vec<u8>, zxid: Zxid) {
    put(out, kind::COMMIT, zxid, None);
}

/// Appends a packet without ids.
pub(super) fn put(out: &mut Vec<u8>, kind: i32, zxid: Zxid, data: Option<&[u8]>) {
    out.reserve(BARE + data.map_or(0, <[u8]>::len));
    out.int(kind);
    out.long(zxid.as_wire());
    out.buffer(data);
    out.int(-1);
}

/// Begins a packet up to its data, which have `len` bytes.
fn head(out: &mut Vec<u8>, kind: i32, zxid: Zxid, len: usize) {
    out.reserve(BARE + len);
    out.int(kind);
    out.long(zxid.as_wire());
    out.count(len);
}

/// Schemes and ids.
type Ids = Vec<(Box<str>, Box<str>)>;

/// `authinfo`. Memory stays within what the bytes can hold.
fn ids(r: &mut Reader<'_>) -> Result<Ids, Malformed> {
    let count = r.count()?.unwrap_or(0);
    let mut ids = Vec::with_capacity(count.min(r.rest().len() / 8));
    for _ in 0..count {
        ids.push((r.string()?.into(), r.string()?.into()));
    }
    Ok(ids)
}

/// LearnerInfo: 20 bytes, less from old releases. What a Java leader does without, so does this one.
fn info(is_observer: bool, zxid: Zxid, data: Option<&[u8]>) -> Result<LearnerInfo, Wrong> {
    let mut info = LearnerInfo { server: None, accepted: zxid.epoch(), config_version: 0, is_observer };
    let mut r = Reader::new(data.unwrap_or_default());
    let Ok(sid) = r.long() else { return Ok(info) };
    info.server = match u8::try_from(sid) {
        Ok(id) if id > 0 => Some(ServerId(id)),
        // Those that Java gives numbers below zero, having none of their own.
        _ if sid < 0 => None,
        _ => return Err(Wrong::Server(sid)),
    };
    match r.int() {
        Ok(version) if version < PROTOCOL => return Err(Wrong::Protocol(version)),
        _ => info.config_version = r.long().map_or(0, i64::cast_unsigned),
    }
    Ok(info)
}

/// The sessions a learner has heard of, with their time-outs.
fn touched(data: &[u8]) -> Result<Vec<(SessionId, i32)>, Malformed> {
    let (entries, rest) = data.as_chunks::<TOUCH>();
    if !rest.is_empty() {
        return Err(Malformed::Short);
    }
    entries
        .iter()
        .map(|entry| {
            let mut r = Reader::new(entry);
            Ok((SessionId(r.long()?), r.int()?))
        })
        .collect()
}

/// A transaction, whose own header must name the zxid that the packet does: logs and marks go by the one, trees by the other.
fn blob(kind: i32, zxid: Zxid, data: Option<&[u8]>) -> Result<Blob, Wrong> {
    let data = data.ok_or(Wrong::Data(kind, Malformed::Null))?;
    let header = TxnHeader::decode(&mut Reader::new(data)).map_err(|malformed| Wrong::Data(kind, malformed))?;
    if header.zxid == zxid { Ok(data.into()) } else { Err(Wrong::Transaction(zxid)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(zxid: Zxid, body: &[u8]) -> Blob {
        let mut blob = Vec::new();
        TxnHeader { session: SessionId(1), cxid: 2, zxid, time: 3, kind: 5 }.encode(&mut blob);
        blob.extend_from_slice(body);
        blob.into()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    /// Both ways, and no cut of it is a packet.
    fn exactly(packet: &Packet, writer: Side, reader: Side, text: &str) {
        let bytes = hex(text);
        let mut out = Vec::new();
        packet.encode(writer, &mut out);
        assert_eq!(out, bytes, "{packet:?}");
        assert_eq!(Packet::decode(&bytes, reader).as_ref(), Ok(packet));
        for len in 0..bytes.len() {
            assert!(Packet::decode(&bytes[..len], reader).is_err(), "{packet:?} cut at {len}");
        }
    }

    #[test]
    fn what_real_servers_say() {
        let to_leader = |packet, text: &str| exactly(&packet, Side::Learner, Side::Leader, text);
        let to_learner = |packet, text: &str| exactly(&packet, Side::Leader, Side::Learner, text);
        let info = LearnerInfo { server: Some(ServerId(3)), accepted: 0, config_version: 0, is_observer: false };
        let data = "0000000000000003 00010000 0000000000000000";
        to_leader(Packet::Info(info), &format!("0000000b 0000000000000000 00000014 {data} ffffffff"));
        let observer = LearnerInfo { accepted: 1, is_observer: true, ..info };
        to_leader(Packet::Info(observer), &format!("00000010 0000000100000000 00000014 {data} ffffffff"));
        to_learner(Packet::LeaderInfo { epoch: 1 }, "00000011 0000000100000000 00000004 00010000 ffffffff");
        let last = Zxid::new(1, 1);
        to_leader(Packet::AckEpoch { last, current: Some(0) }, "00000012 0000000100000001 00000004 00000000 ffffffff");
        to_leader(Packet::AckEpoch { last, current: None }, "00000012 0000000100000001 00000004 ffffffff ffffffff");
        to_learner(Packet::Snap { at: Zxid::new(1, 2) }, "0000000f 0000000100000002 ffffffff ffffffff");
        to_learner(Packet::Diff { to: Zxid::new(1, 3) }, "0000000d 0000000100000003 ffffffff ffffffff");
        to_learner(Packet::Trunc { to: Zxid::new(1, 3) }, "0000000e 0000000100000003 ffffffff ffffffff");
        let config = Some(Arc::from(&b"version=0"[..]));
        let text = "0000000a 0000000100000000 00000009 76657273696f6e3d30 ffffffff";
        to_learner(Packet::NewLeader { epoch: 1, config }, text);
        to_leader(Packet::Ack { zxid: Zxid::new(1, 0) }, "00000003 0000000100000000 ffffffff ffffffff");
        to_learner(Packet::UpToDate, "0000000c ffffffffffffffff ffffffff ffffffff");
        let commit = Packet::Commit { zxid: Zxid::new(1, 3) };
        to_learner(commit, "00000004 0000000100000003 ffffffff ffffffff");
        let ping = Packet::Ping { zxid: Zxid::new(1, 3), touched: Vec::new() };
        to_learner(ping.clone(), "00000005 0000000100000003 ffffffff ffffffff");
        to_leader(ping, "00000005 0000000100000003 00000000 ffffffff");
        let session = SessionId(0x0200_0020_bc29_0000);
        let touched = Packet::Ping { zxid: Zxid::new(1, 3), touched: vec![(session, 4000)] };
        to_leader(touched, "00000005 0000000100000003 0000000c 02000020bc290000 00000fa0 ffffffff");
        let ask = Packet::Revalidate { session, timeout_ms: 10_000 };
        to_leader(ask, "00000006 ffffffffffffffff 0000000c 02000020bc290000 00002710 ffffffff");
        let answer = Packet::Revalidated { session, is_valid: true };
        to_learner(answer, "00000006 ffffffffffffffff 00000009 02000020bc290000 01 ffffffff");
        let who = vec![("ip".into(), "127.0.0.1".into())];
        let request = Forwarded { session, cxid: 7, op: 9, body: b"\0\0\0\x01/"[..].into(), who };
        let data = "02000020bc290000 00000007 00000009 000000012f";
        let ids = "00000001 00000002 6970 00000009 3132372e302e302e31";
        to_leader(Packet::Request(request.clone()), &format!("00000001 ffffffffffffffff 00000015 {data} {ids}"));
        let own = Forwarded { op: -10, body: b"\0\0\x0f\xa0"[..].into(), cxid: 0, who: Vec::new(), ..request };
        let data = "02000020bc290000 00000000 fffffff6 00000fa0";
        to_leader(Packet::Request(own), &format!("00000001 ffffffffffffffff 00000014 {data} ffffffff"));
        to_learner(Packet::Sync, "00000007 0000000000000000 ffffffff ffffffff");
    }

    #[test]
    fn shorter_introductions_of_older_learners() {
        let read = |data: Option<&str>| {
            let mut out = Vec::new();
            put(&mut out, kind::FOLLOWER_INFO, Zxid::new(4, 0), data.map(hex).as_deref());
            Packet::decode(&out, Side::Leader)
        };
        let info = |server: Option<u8>, config_version| {
            let server = server.map(ServerId);
            Ok(Packet::Info(LearnerInfo { server, accepted: 4, config_version, is_observer: false }))
        };
        assert_eq!(read(None), info(None, 0));
        assert_eq!(read(Some("0000000000000003")), info(Some(3), 0));
        assert_eq!(read(Some("0000000000000003 00010000")), info(Some(3), 0));
        assert_eq!(read(Some("ffffffffffffffff 00010000 0000000000000005")), info(None, 5));
        // Whatever a later release adds.
        assert_eq!(read(Some("0000000000000003 00010001 0000000000000005 00")), info(Some(3), 5));
        assert_eq!(read(Some("0000000000000003 00000001")), Err(Wrong::Protocol(1)));
        assert_eq!(read(Some("0000000000000000")), Err(Wrong::Server(0)));
        assert_eq!(read(Some("0000000000000100")), Err(Wrong::Server(256)));
    }

    #[test]
    fn a_train_is_encoded_into_the_room_there_is() {
        let mut out = Vec::with_capacity(1 << 16);
        let (room, blob) = (out.capacity(), txn(Zxid(7), &[1; 100]));
        for _ in 0..300 {
            put_proposal(&mut out, Zxid(7), &blob);
            put_commit(&mut out, Zxid(7));
        }
        assert_eq!((out.len(), out.capacity()), (300 * (20 + 132 + 20), room));
    }
}
