//! Requests: borrowed decoding of what clients send.

use std::borrow::Cow;

use super::acl::{self, AclRefs};
use super::jute::{Malformed, Reader};
use super::opcode;
use crate::ground::ids::Zxid;

/// RequestHeader, the 8 bytes before every body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Chosen by the client and echoed.
    pub xid: i32,
    /// Operation code.
    pub op: i32,
}

impl RequestHeader {
    /// Reads the 8 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: r.int()?, op: r.int()? })
    }
}

/// A path and whether a watch is wanted: exists, getData, getChildren, getChildren2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathWatch<'a> {
    /// The znode.
    pub path: Cow<'a, str>,
    /// Leave a one-shot watch.
    pub watch: bool,
}

impl<'a> PathWatch<'a> {
    /// Reads the record.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: r.string()?, watch: r.bool()? })
    }
}

/// CreateRequest and CreateTTLRequest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// Operation code, which decides the transaction type.
    pub op: i32,
    /// Path, or its prefix for a sequential znode.
    pub path: Cow<'a, str>,
    /// Data; null is not empty.
    pub data: Option<&'a [u8]>,
    /// Wanted ACL.
    pub acl: AclRefs<'a>,
    /// CreateMode, 0 to 6.
    pub flags: i32,
    /// Time to live, ms; -1 where the opcode has none.
    pub ttl_ms: i64,
}

impl<'a> Create<'a> {
    fn decode(op: i32, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let path = r.string()?;
        let data = r.buffer()?;
        let acl = acl::decode(r)?;
        let flags = r.int()?;
        let ttl_ms = if op == opcode::CREATE_TTL { r.long()? } else { -1 };
        Ok(Self { op, path, data, acl, flags, ttl_ms })
    }
}

/// A write, as the sequencer's ledger reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write<'a> {
    /// create, create2, createContainer, createTTL.
    Create(Create<'a>),
    /// delete.
    Delete {
        /// The znode.
        path: Cow<'a, str>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// setData.
    SetData {
        /// The znode.
        path: Cow<'a, str>,
        /// New data; null is not empty.
        data: Option<&'a [u8]>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// setACL.
    SetAcl {
        /// The znode.
        path: Cow<'a, str>,
        /// New list.
        acl: AclRefs<'a>,
        /// Expected aversion, -1 for any.
        version: i32,
    },
    /// check, inside a multi only.
    Check {
        /// The znode.
        path: Cow<'a, str>,
        /// Expected version, -1 for any.
        version: i32,
    },
}

impl<'a> Write<'a> {
    /// Reads the record of a single write, or of a member of a multi, by its operation code.
    pub fn decode(op: i32, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match op {
            opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
                Self::Create(Create::decode(op, r)?)
            }
            opcode::DELETE => Self::Delete { path: r.string()?, version: r.int()? },
            opcode::SET_DATA => Self::SetData { path: r.string()?, data: r.buffer()?, version: r.int()? },
            opcode::SET_ACL => Self::SetAcl { path: r.string()?, acl: acl::decode(r)?, version: r.int()? },
            opcode::CHECK => Self::Check { path: r.string()?, version: r.int()? },
            _ => return Err(Malformed::Value),
        })
    }
}

/// SetWatches: the watches a client had before it reconnected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetWatches<'a> {
    /// What the client has seen; changes after it are told at once.
    pub relative_zxid: Zxid,
    /// Data watches left by getData.
    pub data: Vec<Cow<'a, str>>,
    /// Data watches left by exists on a missing znode.
    pub exist: Vec<Cow<'a, str>>,
    /// Child watches.
    pub child: Vec<Cow<'a, str>>,
}

impl<'a> SetWatches<'a> {
    /// Reads the record.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let relative_zxid = Zxid::from_wire(r.long()?);
        // The Java server trips over a list that is null.
        let mut list = || r.strings_or_null()?.ok_or(Malformed::Null);
        Ok(Self { relative_zxid, data: list()?, exist: list()?, child: list()? })
    }
}

/// AuthPacket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Scheme whose provider is asked. Null reads as empty: neither has a provider.
    pub scheme: Cow<'a, str>,
    /// Credentials; null is not empty.
    pub auth: Option<&'a [u8]>,
}

impl<'a> Auth<'a> {
    /// Reads the record.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let _kind = r.int()?;
        Ok(Self { scheme: r.string_or_null()?.unwrap_or_default(), auth: r.buffer()? })
    }
}
