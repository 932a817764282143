//! Asks: the bytes clients send and how they read those that come back.

use super::{C, Rig};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::{self, Acl};
use crate::proto::connect::{ConnectRequest, ConnectResponse};
use crate::proto::event::NOTIFICATION_XID;
use crate::proto::frame;
use crate::proto::jute::{Reader, Writer};
use crate::proto::multi::MultiHeader;
use crate::proto::opcode;
use crate::proto::reply::ReplyHeader;
use crate::proto::stat::Stat;

/// What a frame from the server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    Connected(ConnectResponse),
    Reply(Reply),
    Event(Event),
}

impl Frame {
    pub(super) fn decode(body: &[u8]) -> Self {
        let mut r = Reader::new(body);
        let ReplyHeader { xid, zxid, err } = ReplyHeader::decode(&mut r).expect("a frame begins with a header");
        if xid == NOTIFICATION_XID {
            let (kind, state) = (r.int().unwrap(), r.int().unwrap());
            assert_eq!((state, err), (3, 0));
            return Self::Event(Event { zxid, kind, path: r.string().unwrap().into_owned() });
        }
        assert!(err == 0 || r.rest().is_empty(), "an error has no body");
        Self::Reply(Reply { xid, zxid, err, body: r.rest().to_vec() })
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Event {
    pub(super) zxid: i64,
    pub(super) kind: i32,
    pub(super) path: String,
}

impl Event {
    pub(super) fn name(&self) -> &'static str {
        ["created", "deleted", "changed", "children"][usize::try_from(self.kind - 1).unwrap()]
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    pub(super) xid: i32,
    pub(super) zxid: i64,
    pub(super) err: i32,
    pub(super) body: Vec<u8>,
}

/// One result of a multi or multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Result1 {
    Error(i32),
    Path(String),
    PathStat(String, Stat),
    Stat(Stat),
    Done(i32),
    Data(Option<Vec<u8>>, Stat),
    Children(Vec<String>),
}

impl Reply {
    fn read<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        assert_eq!(self.err, 0, "{self:?}");
        let mut r = Reader::new(&self.body);
        let value = read(&mut r);
        assert!(r.rest().is_empty(), "nothing follows the record");
        value
    }

    pub(super) fn path(&self) -> String {
        self.read(|r| r.string().unwrap().into_owned())
    }

    pub(super) fn stat(&self) -> Stat {
        self.read(|r| Stat::decode(r).unwrap())
    }

    pub(super) fn path_stat(&self) -> (String, Stat) {
        self.read(|r| (r.string().unwrap().into_owned(), Stat::decode(r).unwrap()))
    }

    pub(super) fn data(&self) -> (Option<Vec<u8>>, Stat) {
        self.read(|r| (r.buffer().unwrap().map(<[u8]>::to_vec), Stat::decode(r).unwrap()))
    }

    /// Names, sorted.
    pub(super) fn children(&self) -> Vec<String> {
        self.read(names)
    }

    pub(super) fn children_stat(&self) -> (Vec<String>, Stat) {
        self.read(|r| (names(r), Stat::decode(r).unwrap()))
    }

    pub(super) fn acl(&self) -> (Vec<Acl>, Stat) {
        self.read(|r| (acl::decode_stored(r).unwrap(), Stat::decode(r).unwrap()))
    }

    pub(super) fn results(&self) -> Vec<Result1> {
        self.read(|r| {
            let mut results = Vec::new();
            loop {
                let header = MultiHeader::decode(r).unwrap();
                if header.done {
                    assert_eq!(header, MultiHeader::END);
                    return results;
                }
                assert!(header.err == 0 || header.op == opcode::ERROR);
                results.push(match header.op {
                    opcode::ERROR => {
                        assert_eq!(r.int(), Ok(header.err));
                        Result1::Error(header.err)
                    }
                    opcode::CREATE => Result1::Path(r.string().unwrap().into_owned()),
                    opcode::CREATE2 => Result1::PathStat(r.string().unwrap().into_owned(), Stat::decode(r).unwrap()),
                    opcode::SET_DATA => Result1::Stat(Stat::decode(r).unwrap()),
                    opcode::DELETE | opcode::CHECK => Result1::Done(header.op),
                    opcode::GET_DATA => Result1::Data(r.buffer().unwrap().map(<[u8]>::to_vec), Stat::decode(r).unwrap()),
                    opcode::GET_CHILDREN => Result1::Children(names(r)),
                    other => panic!("result of type {other}"),
                });
            }
        })
    }
}

fn names(r: &mut Reader<'_>) -> Vec<String> {
    let mut names: Vec<_> = r.strings().unwrap().into_iter().map(std::borrow::Cow::into_owned).collect();
    names.sort_unstable();
    names
}

/// Permissions, scheme and id.
pub(super) type Entry<'a> = (i32, &'a str, &'a str);

pub(super) const OPEN: &[Entry<'static>] = &[(31, "world", "anyone")];

pub(super) fn connect(session: SessionId, password: &[u8], seen: i64, timeout_ms: i32, read_only: Option<bool>) -> Vec<u8> {
    let mut out = Vec::new();
    ConnectRequest { last_zxid_seen: Zxid::from_wire(seen), timeout_ms, session, password, read_only }.encode(&mut out);
    out
}

/// A whole frame.
pub(super) fn request(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::open(&mut out);
    out.int(xid);
    out.int(op);
    out.extend_from_slice(body);
    frame::close(&mut out, start);
    out
}

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn acls(out: &mut Vec<u8>, acl: &[Entry<'_>]) {
    out.count(acl.len());
    for (perms, scheme, id) in acl {
        out.int(*perms);
        out.string(scheme);
        out.string(id);
    }
}

pub(super) fn create_with(path: &str, data: Option<&[u8]>, acl: &[Entry<'_>], flags: i32) -> Vec<u8> {
    bytes(|out| {
        out.string(path);
        out.buffer(data);
        acls(out, acl);
        out.int(flags);
    })
}

/// Open to all.
pub(super) fn create(path: &str, data: &str, flags: i32) -> Vec<u8> {
    create_with(path, Some(data.as_bytes()), OPEN, flags)
}

pub(super) fn create_ttl(path: &str, flags: i32, ttl_ms: i64) -> Vec<u8> {
    let mut out = create(path, "", flags);
    out.long(ttl_ms);
    out
}

/// delete and check.
pub(super) fn path_version(path: &str, version: i32) -> Vec<u8> {
    bytes(|out| {
        out.string(path);
        out.int(version);
    })
}

/// addWatch with its mode, checkWatches and removeWatches with their type.
pub(super) fn path_number(path: &str, number: i32) -> Vec<u8> {
    path_version(path, number)
}

/// exists, getData, getChildren, getChildren2.
pub(super) fn path_watch(path: &str, watch: bool) -> Vec<u8> {
    bytes(|out| {
        out.string(path);
        out.bool(watch);
    })
}

/// getACL, sync.
pub(super) fn path(path: &str) -> Vec<u8> {
    bytes(|out| out.string(path))
}

pub(super) fn set_data(path: &str, data: &str, version: i32) -> Vec<u8> {
    bytes(|out| {
        out.string(path);
        out.buffer(Some(data.as_bytes()));
        out.int(version);
    })
}

pub(super) fn set_acl(path: &str, acl: &[Entry<'_>], version: i32) -> Vec<u8> {
    bytes(|out| {
        out.string(path);
        acls(out, acl);
        out.int(version);
    })
}

/// multi and multiRead.
pub(super) fn multi(members: &[(i32, Vec<u8>)]) -> Vec<u8> {
    bytes(|out| {
        for (op, body) in members {
            MultiHeader { op: *op, done: false, err: -1 }.encode(out);
            out.extend_from_slice(body);
        }
        MultiHeader::END.encode(out);
    })
}

pub(super) fn auth(scheme: &str, credentials: &str) -> Vec<u8> {
    bytes(|out| {
        out.int(0);
        out.string(scheme);
        out.buffer(Some(credentials.as_bytes()));
    })
}

/// setWatches with three lists, setWatches2 with five.
pub(super) fn set_watches<const LISTS: usize>(relative: i64, lists: [&[&str]; LISTS]) -> Vec<u8> {
    bytes(|out| {
        out.long(relative);
        for list in lists {
            out.count(list.len());
            list.iter().for_each(|path| out.string(path));
        }
    })
}

/// Asks in short.
impl Rig {
    /// create2 of an open znode without data.
    pub(super) fn create(&mut self, c: C, path: &str, flags: i32) -> Reply {
        self.call(c, opcode::CREATE2, &create(path, "", flags))
    }

    pub(super) fn get(&mut self, c: C, path: &str, watch: bool) -> Reply {
        self.call(c, opcode::GET_DATA, &path_watch(path, watch))
    }

    pub(super) fn exists(&mut self, c: C, path: &str, watch: bool) -> Reply {
        self.call(c, opcode::EXISTS, &path_watch(path, watch))
    }

    pub(super) fn children(&mut self, c: C, path: &str, watch: bool) -> Reply {
        self.call(c, opcode::GET_CHILDREN2, &path_watch(path, watch))
    }

    pub(super) fn set(&mut self, c: C, path: &str, data: &str, version: i32) -> Reply {
        self.call(c, opcode::SET_DATA, &set_data(path, data, version))
    }

    pub(super) fn delete(&mut self, c: C, path: &str, version: i32) -> Reply {
        self.call(c, opcode::DELETE, &path_version(path, version))
    }

    pub(super) fn set_acl(&mut self, c: C, path: &str, acl: &[Entry<'_>], version: i32) -> Reply {
        self.call(c, opcode::SET_ACL, &set_acl(path, acl, version))
    }

    pub(super) fn multi(&mut self, c: C, members: &[(i32, Vec<u8>)]) -> Vec<Result1> {
        self.call(c, opcode::MULTI, &multi(members)).results()
    }

    pub(super) fn log_in(&mut self, c: C, credentials: &str) {
        assert_eq!(self.call(c, opcode::AUTH, &auth("digest", credentials)).err, 0);
    }
}
