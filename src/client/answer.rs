//! Answer: what a client is told, replies and events, decoded into values it owns.

use std::fmt;

use crate::ground::ids::Zxid;
use crate::proto::acl::{self, Acl};
use crate::proto::jute::{Malformed, Reader};
use crate::proto::multi::MultiHeader;
use crate::proto::opcode;
use crate::proto::stat::Stat;

pub use crate::proto::code::Code;

/// The error code of a reply: a request refused. Any code, also one this crate has no name for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub struct Refusal(pub i32);

impl Refusal {
    /// Whether the refusal is this one.
    #[must_use]
    pub const fn is(self, code: Code) -> bool {
        self.0 == code as i32
    }

    /// ZooKeeper's name of the code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            -1 => "SYSTEMERROR",
            -2 => "RUNTIMEINCONSISTENCY",
            -5 => "MARSHALLINGERROR",
            -6 => "UNIMPLEMENTED",
            -8 => "BADARGUMENTS",
            -12 => "UNKNOWNSESSION",
            -13 => "NEWCONFIGNOQUORUM",
            -14 => "RECONFIGINPROGRESS",
            -101 => "NONODE",
            -102 => "NOAUTH",
            -103 => "BADVERSION",
            -108 => "NOCHILDRENFOREPHEMERALS",
            -110 => "NODEEXISTS",
            -111 => "NOTEMPTY",
            -112 => "SESSIONEXPIRED",
            -114 => "INVALIDACL",
            -115 => "AUTHFAILED",
            -118 => "SESSIONMOVED",
            -119 => "NOTREADONLY",
            -120 => "EPHEMERALONLOCALSESSION",
            -121 => "NOWATCHER",
            -123 => "RECONFIGDISABLED",
            -124 => "SESSIONCLOSEDREQUIRESASLAUTH",
            -125 => "QUOTAEXCEEDED",
            -127 => "THROTTLEDOP",
            _ => "unnamed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// The body of a reply without error. Which one an operation gets is in the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// The header was all.
    Nothing,
    /// create, sync: a path.
    Path(String),
    /// create2, createContainer, createTTL: the path and the Stat.
    Created(String, Stat),
    /// exists, setData, setACL.
    Stat(Stat),
    /// getData, reconfig. Null data is not empty data.
    Data(Option<Vec<u8>>, Stat),
    /// getChildren, getEphemerals: names or paths, in no order.
    Names(Vec<String>),
    /// getChildren2.
    Children(Vec<String>, Stat),
    /// getACL.
    Acl(Vec<Acl>, Stat),
    /// multi, multiRead: one result for each member.
    Multi(Vec<Result<Self, Refusal>>),
    /// sasl.
    Token(Option<Vec<u8>>),
    /// getAllChildrenNumber.
    Number(i32),
    /// whoAmI: scheme and user of each identity.
    Identities(Vec<(String, String)>),
}

impl Body {
    /// Reads the body that answers operation `op`.
    pub fn decode(op: i32, r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match op {
            opcode::CREATE | opcode::SYNC => Self::Path(r.string()?.into_owned()),
            opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
                Self::Created(r.string()?.into_owned(), Stat::decode(r)?)
            }
            opcode::EXISTS | opcode::SET_DATA | opcode::SET_ACL => Self::Stat(Stat::decode(r)?),
            opcode::GET_DATA | opcode::RECONFIG => Self::Data(r.buffer()?.map(<[u8]>::to_vec), Stat::decode(r)?),
            opcode::GET_CHILDREN | opcode::GET_EPHEMERALS => Self::Names(names(r)?),
            opcode::GET_CHILDREN2 => Self::Children(names(r)?, Stat::decode(r)?),
            opcode::GET_ACL => Self::Acl(acl::decode_stored(r)?, Stat::decode(r)?),
            opcode::MULTI | opcode::MULTI_READ => Self::Multi(members(r)?),
            opcode::SASL => Self::Token(r.buffer()?.map(<[u8]>::to_vec)),
            opcode::GET_ALL_CHILDREN_NUMBER => Self::Number(r.int()?),
            opcode::ADD_WATCH => match r.int()? {
                0 => Self::Nothing,
                _ => return Err(Malformed::Value),
            },
            opcode::WHO_AM_I => {
                let count = r.count()?.unwrap_or(0);
                let mut identities = Vec::new();
                for _ in 0..count {
                    identities.push((r.string()?.into_owned(), r.string()?.into_owned()));
                }
                Self::Identities(identities)
            }
            _ => Self::Nothing,
        })
    }
}

fn names(r: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    Ok(r.strings()?.into_iter().map(std::borrow::Cow::into_owned).collect())
}

fn members(r: &mut Reader<'_>) -> Result<Vec<Result<Body, Refusal>>, Malformed> {
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return Ok(results);
        }
        results.push(match header.op {
            opcode::ERROR => Err(Refusal(r.int()?)),
            opcode::MULTI | opcode::MULTI_READ => return Err(Malformed::Value),
            op => Ok(Body::decode(op, r)?),
        });
    }
}

/// A reply, matched to its request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// xid of the request.
    pub xid: i32,
    /// Operation code of the request.
    pub op: i32,
    /// The newest transaction the server had delivered; 0 and -1 where the protocol says nothing of it.
    pub zxid: i64,
    /// The body, or why there is none.
    pub result: Result<Body, Refusal>,
}

/// A watch event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// zxid of the transaction that fired it, -1 where it was made by setWatches.
    pub zxid: i64,
    /// 1 created, 2 deleted, 3 data changed, 4 children changed ([`crate::proto::event::EventType`]).
    pub kind: i32,
    /// State; a server sends 3.
    pub state: i32,
    /// The znode.
    pub path: String,
}

impl Event {
    /// Reads the body of a notification.
    pub fn decode(zxid: i64, r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { zxid, kind: r.int()?, state: r.int()?, path: r.string()?.into_owned() })
    }

    /// The zxid of the transaction, where it is told.
    #[must_use]
    pub fn transaction(&self) -> Option<Zxid> {
        (self.zxid > 0).then_some(Zxid::from_wire(self.zxid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::jute::Writer;
    use crate::proto::multi::encode_error;

    #[test]
    fn an_aborted_multi_names_the_member_that_failed() {
        let mut out = Vec::new();
        for err in [0, -101, -2] {
            encode_error(&mut out, err);
        }
        MultiHeader::END.encode(&mut out);
        let body = Body::decode(opcode::MULTI, &mut Reader::new(&out)).unwrap();
        assert_eq!(body, Body::Multi(vec![Err(Refusal(0)), Err(Refusal(-101)), Err(Refusal(-2))]));
        assert!(Refusal(-101).is(Code::NoNode));
        assert_eq!(Refusal(-101).to_string(), "NONODE (-101)");
    }

    #[test]
    fn a_multi_within_a_multi_is_refused_before_it_can_nest() {
        let mut out = Vec::new();
        for _ in 0..100_000 {
            MultiHeader { op: opcode::MULTI, done: false, err: 0 }.encode(&mut out);
        }
        assert_eq!(Body::decode(opcode::MULTI, &mut Reader::new(&out)), Err(Malformed::Value));
    }

    #[test]
    fn short_bodies_are_malformed() {
        let mut out = Vec::new();
        out.string("/a");
        assert_eq!(Body::decode(opcode::CREATE2, &mut Reader::new(&out)), Err(Malformed::Short));
        assert_eq!(Body::decode(opcode::EXISTS, &mut Reader::new(&[0; 67])), Err(Malformed::Short));
    }
}
