//! Transactions: the blob that goes to the log and to peers: header, record, digest. The same bytes as ZooKeeper's own.

use std::borrow::Cow;

use super::acl::{self, Acl};
use super::jute::{Malformed, Reader, Writer};
use super::opcode;
use super::owner;
use crate::ground::ids::{SessionId, Zxid};

/// Version of the digest rule in force (path, data and Stat).
pub const DIGEST_VERSION: i32 = 2;

/// TxnHeader, the 32 bytes before every record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// Session whose request this was.
    pub session: SessionId,
    /// xid of the request.
    pub cxid: i32,
    /// This transaction.
    pub zxid: Zxid,
    /// Leader's wall clock, ms since 1970.
    pub time: i64,
    /// Transaction type, an operation code.
    pub kind: i32,
}

impl TxnHeader {
    /// Appends the 32 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.long(self.session.0);
        out.int(self.cxid);
        out.long(self.zxid.as_wire());
        out.long(self.time);
        out.int(self.kind);
    }

    /// Reads the 32 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            session: SessionId(r.long()?),
            cxid: r.int()?,
            zxid: Zxid::from_wire(r.long()?),
            time: r.long()?,
            kind: r.int()?,
        })
    }
}

/// What a transaction does. Paths, versions and lists are resolved: applying it decides nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    /// create (1) and create2 (15).
    Create {
        /// Final path.
        path: Cow<'a, str>,
        /// Data.
        data: Option<&'a [u8]>,
        /// Expanded ACL.
        acl: Cow<'a, [Acl]>,
        /// Owned by the header's session.
        ephemeral: bool,
        /// The parent's stored cversion afterwards; -1 says one more than before.
        parent_cversion: i32,
    },
    /// createContainer (19) and createTTL (21): a znode that goes by itself.
    CreateLasting {
        /// Final path.
        path: Cow<'a, str>,
        /// Data.
        data: Option<&'a [u8]>,
        /// Expanded ACL.
        acl: Cow<'a, [Acl]>,
        /// The parent's stored cversion afterwards; -1 says one more than before.
        parent_cversion: i32,
        /// Time to live, ms, 1 to [`owner::TTL_MAX_MS`]; none is a container.
        ttl_ms: Option<i64>,
    },
    /// delete (2) and deleteContainer (20).
    Delete {
        /// The znode.
        path: Cow<'a, str>,
    },
    /// setData (5) and reconfig (16).
    SetData {
        /// The znode.
        path: Cow<'a, str>,
        /// New data.
        data: Option<&'a [u8]>,
        /// New version.
        version: i32,
    },
    /// setACL (7).
    SetAcl {
        /// The znode.
        path: Cow<'a, str>,
        /// New list, expanded.
        acl: Cow<'a, [Acl]>,
        /// New aversion.
        version: i32,
    },
    /// check (13), inside a multi only.
    Check {
        /// The znode.
        path: Cow<'a, str>,
        /// Version found.
        version: i32,
    },
    /// createSession (-10).
    CreateSession {
        /// Negotiated timeout, ms.
        timeout_ms: i32,
    },
    /// closeSession (-11).
    CloseSession {
        /// The session's ephemerals, all of them.
        paths: Vec<Cow<'a, str>>,
    },
    /// error (-1): a refusal, which changes nothing.
    Error {
        /// Its code.
        err: i32,
    },
    /// multi (14): members with their types, applied together or, when one is an error, not at all.
    Multi(Vec<(i32, Self)>),
}

impl<'a> Txn<'a> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create { path, data, acl, ephemeral, parent_cversion } => {
                out.string(path);
                out.buffer(*data);
                acl::encode(out, acl);
                out.bool(*ephemeral);
                out.int(*parent_cversion);
            }
            Self::CreateLasting { path, data, acl, parent_cversion, ttl_ms } => {
                out.string(path);
                out.buffer(*data);
                acl::encode(out, acl);
                out.int(*parent_cversion);
                if let Some(ttl_ms) = ttl_ms {
                    out.long(*ttl_ms);
                }
            }
            Self::Delete { path } => out.string(path),
            Self::SetData { path, data, version } => {
                out.string(path);
                out.buffer(*data);
                out.int(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.string(path);
                acl::encode(out, acl);
                out.int(*version);
            }
            Self::Check { path, version } => {
                out.string(path);
                out.int(*version);
            }
            Self::CreateSession { timeout_ms } => out.int(*timeout_ms),
            Self::CloseSession { paths } => {
                out.count(paths.len());
                for path in paths {
                    out.string(path);
                }
            }
            Self::Error { err } => out.int(*err),
            Self::Multi(members) => {
                out.count(members.len());
                for (kind, member) in members {
                    encode_member(out, *kind, member);
                }
            }
        }
    }

    /// Reads the record of a transaction of type `kind`.
    pub fn decode(kind: i32, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            opcode::CREATE | opcode::CREATE2 => {
                let path = r.string()?;
                let data = r.buffer()?;
                let acl = Cow::Owned(acl::decode_stored(r)?);
                let ephemeral = r.bool()?;
                // Records older than the field end here.
                let parent_cversion = if r.rest().is_empty() { -1 } else { r.int()? };
                Self::Create { path, data, acl, ephemeral, parent_cversion }
            }
            opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
                let (path, data, acl) = (r.string()?, r.buffer()?, Cow::Owned(acl::decode_stored(r)?));
                let parent_cversion = r.int()?;
                let ttl_ms = if kind == opcode::CREATE_TTL { Some(r.long()?) } else { None };
                if ttl_ms.is_some_and(|ms| !owner::is_ttl(ms)) {
                    return Err(Malformed::Value);
                }
                Self::CreateLasting { path, data, acl, parent_cversion, ttl_ms }
            }
            opcode::DELETE | opcode::DELETE_CONTAINER => Self::Delete { path: r.string()? },
            opcode::SET_DATA | opcode::RECONFIG => Self::SetData { path: r.string()?, data: r.buffer()?, version: r.int()? },
            opcode::SET_ACL => Self::SetAcl { path: r.string()?, acl: Cow::Owned(acl::decode_stored(r)?), version: r.int()? },
            opcode::CHECK => Self::Check { path: r.string()?, version: r.int()? },
            opcode::CREATE_SESSION => Self::CreateSession { timeout_ms: r.int()? },
            opcode::CLOSE_SESSION => Self::CloseSession { paths: r.strings()? },
            opcode::ERROR => Self::Error { err: r.int()? },
            opcode::MULTI => {
                let count = r.count()?.unwrap_or(0);
                let mut members = Vec::new();
                for _ in 0..count {
                    let kind = r.int()?;
                    if kind == opcode::MULTI {
                        return Err(Malformed::Value);
                    }
                    let mut record = Reader::new(r.buffer()?.unwrap_or_default());
                    members.push((kind, Self::decode(kind, &mut record)?));
                }
                Self::Multi(members)
            }
            _ => return Err(Malformed::Value),
        })
    }
}

/// Appends one member of a multi's record, which begins with their count.
pub fn encode_member(out: &mut Vec<u8>, kind: i32, member: &Txn<'_>) {
    out.int(kind);
    out.int(0);
    let start = out.len();
    member.encode(out);
    let len = super::jute::length(out.len() - start);
    out[start - 4..start].copy_from_slice(&len.to_be_bytes());
}

/// Appends TxnDigest: the digest of the whole tree after the transaction.
pub fn encode_digest(out: &mut Vec<u8>, digest: u64) {
    out.int(DIGEST_VERSION);
    out.long(digest.cast_signed());
}

/// A whole blob: header, record, and the tree's digest where the writer gave one of our version.
pub fn decode_blob(blob: &[u8]) -> Result<(TxnHeader, Txn<'_>, Option<u64>), Malformed> {
    let mut r = Reader::new(blob);
    let header = TxnHeader::decode(&mut r)?;
    let txn = Txn::decode(header.kind, &mut r)?;
    let digest = match (r.int(), r.long()) {
        (Ok(DIGEST_VERSION), Ok(digest)) => Some(digest.cast_unsigned()),
        _ => None,
    };
    Ok((header, txn, digest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(kind: i32, txn: &Txn<'_>) {
        let header = TxnHeader { session: SessionId(0x0100_0000_0000_0000), cxid: 5, zxid: Zxid::new(1, 2), time: 3, kind };
        let mut blob = Vec::new();
        header.encode(&mut blob);
        assert_eq!(blob.len(), 32);
        txn.encode(&mut blob);
        encode_digest(&mut blob, u64::MAX);
        assert_eq!(decode_blob(&blob), Ok((header, txn.clone(), Some(u64::MAX))));
        for len in 0..blob.len() - 12 {
            // No cut may panic; a cut close-session body or a create without its last field may still read.
            let _ = decode_blob(&blob[..len]);
        }
    }

    #[test]
    fn every_record_round_trips() {
        let acl = vec![Acl::open()];
        let create = Txn::Create { path: "/a".into(), data: None, acl: Cow::Borrowed(&acl), ephemeral: true, parent_cversion: 3 };
        round_trip(opcode::CREATE, &create);
        let lasting = |ttl_ms| Txn::CreateLasting {
            path: "/a".into(),
            data: Some(b"x"),
            acl: Cow::Borrowed(&acl),
            parent_cversion: 4,
            ttl_ms,
        };
        round_trip(opcode::CREATE_CONTAINER, &lasting(None));
        round_trip(opcode::CREATE_TTL, &lasting(Some(owner::TTL_MAX_MS)));
        round_trip(opcode::DELETE_CONTAINER, &Txn::Delete { path: "/a".into() });
        round_trip(opcode::DELETE, &Txn::Delete { path: "/a".into() });
        round_trip(opcode::SET_DATA, &Txn::SetData { path: "/a".into(), data: Some(b"x"), version: 1 });
        round_trip(opcode::SET_ACL, &Txn::SetAcl { path: "/a".into(), acl: Cow::Borrowed(&acl), version: 1 });
        round_trip(opcode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4000 });
        round_trip(opcode::CLOSE_SESSION, &Txn::CloseSession { paths: vec!["/a".into(), "/b".into()] });
        round_trip(opcode::ERROR, &Txn::Error { err: -101 });
        let check = Txn::Check { path: "/a".into(), version: 4 };
        round_trip(opcode::MULTI, &Txn::Multi(vec![(opcode::CREATE, create), (opcode::CHECK, check)]));
    }

    #[test]
    fn a_time_to_live_that_no_owner_can_hold_is_refused() {
        for ttl_ms in [0, -1, owner::TTL_MAX_MS + 1] {
            let mut record = Vec::new();
            let (path, acl) = ("/a".into(), Cow::Borrowed(&[][..]));
            Txn::CreateLasting { path, data: None, acl, parent_cversion: 1, ttl_ms: Some(ttl_ms) }.encode(&mut record);
            assert_eq!(Txn::decode(opcode::CREATE_TTL, &mut Reader::new(&record)), Err(Malformed::Value));
        }
    }

    #[test]
    fn a_multi_inside_a_multi_is_refused() {
        let mut record = Vec::new();
        Txn::Multi(vec![(opcode::MULTI, Txn::Multi(vec![]))]).encode(&mut record);
        assert_eq!(Txn::decode(opcode::MULTI, &mut Reader::new(&record)), Err(Malformed::Value));
    }

    fn acls() -> impl Strategy<Value = Vec<Acl>> {
        prop::collection::vec((any::<i32>(), "[a-z]{0,5}", ".{0,8}"), 0..3)
            .prop_map(|list| list.iter().map(|(perms, scheme, id)| Acl::new(*perms, scheme, id)).collect())
    }

    /// A record and the type it belongs to.
    fn single() -> impl Strategy<Value = (i32, Txn<'static>)> {
        let data = prop::option::of(prop::sample::select(vec![&b""[..], b"x", b"longer data"]));
        (0..9i32, "/.{0,9}", data, acls(), any::<i32>(), any::<bool>()).prop_map(|(kind, path, data, acl, number, ephemeral)| {
            let path = Cow::Owned(path);
            match kind {
                0 => {
                    let acl = Cow::Owned(acl);
                    (opcode::CREATE, Txn::Create { path, data, acl, ephemeral, parent_cversion: number })
                }
                1 => (opcode::DELETE, Txn::Delete { path }),
                2 => (opcode::SET_DATA, Txn::SetData { path, data, version: number }),
                3 => (opcode::SET_ACL, Txn::SetAcl { path, acl: Cow::Owned(acl), version: number }),
                4 => (opcode::CHECK, Txn::Check { path, version: number }),
                5 => (opcode::CREATE_SESSION, Txn::CreateSession { timeout_ms: number }),
                6 | 7 => {
                    let (acl, ttl_ms) = (Cow::Owned(acl), (kind == 7).then(|| i64::from(number.max(1))));
                    let op = if kind == 7 { opcode::CREATE_TTL } else { opcode::CREATE_CONTAINER };
                    (op, Txn::CreateLasting { path, data, acl, parent_cversion: number, ttl_ms })
                }
                _ => (opcode::ERROR, Txn::Error { err: number }),
            }
        })
    }

    proptest! {
        #[test]
        fn any_transaction_round_trips(
            (kind, txn) in prop_oneof![
                3 => single(),
                1 => prop::collection::vec(single(), 0..5).prop_map(|members| (opcode::MULTI, Txn::Multi(members))),
                1 => prop::collection::vec("/.{0,9}", 0..5)
                    .prop_map(|paths| (opcode::CLOSE_SESSION, Txn::CloseSession { paths: paths.into_iter().map(Cow::Owned).collect() })),
            ],
        ) {
            round_trip(kind, &txn);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(
            kind in prop_oneof![Just(opcode::MULTI), -12..25i32],
            bytes in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => 0..23u8, 1 => any::<u8>()], 0..300),
        ) {
            if let Ok(Txn::Multi(members)) = Txn::decode(kind, &mut Reader::new(&bytes)) {
                prop_assert!(members.len() * 8 + 4 <= bytes.len().max(4));
            }
            let _ = decode_blob(&bytes);
        }
    }
}
