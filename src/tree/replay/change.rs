//! Changes: the transactions of ZooKeeper's log as they are taken back in, the kinds among them that our log does not have yet.

use std::borrow::Cow;

use crate::ground::ids::SessionId;
use crate::proto::acl::Acl;
use crate::proto::jute::{Malformed, Reader};
use crate::proto::opcode;
use crate::proto::owner::Owner;
use crate::proto::txn::{DIGEST_VERSION, Txn, TxnHeader};

/// What one transaction does to tree and sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// create, create2, createContainer, createTTL.
    Create {
        /// Final path.
        path: Cow<'a, str>,
        /// Data.
        data: Option<&'a [u8]>,
        /// Expanded ACL.
        acl: Vec<Acl>,
        /// Owner as stored: a session, 0, or a mark.
        owner: i64,
        /// The parent's stored cversion afterwards; -1 says one more than before.
        parent_cversion: i32,
    },
    /// delete, deleteContainer.
    Delete(Cow<'a, str>),
    /// setData, reconfig.
    SetData {
        /// The znode.
        path: Cow<'a, str>,
        /// New data.
        data: Option<&'a [u8]>,
        /// New version.
        version: i32,
    },
    /// setACL.
    SetAcl {
        /// The znode.
        path: Cow<'a, str>,
        /// New list.
        acl: Vec<Acl>,
        /// New aversion.
        version: i32,
    },
    /// createSession, with the timeout in ms.
    OpenSession(i32),
    /// closeSession, with the list of ephemerals that releases from 3.6 on write.
    CloseSession(Option<Vec<Cow<'a, str>>>),
    /// multi without an error among its members.
    Multi(Vec<Self>),
    /// error, check, and a multi that failed.
    Nothing,
}

/// A blob that cannot be understood: its header where that can be read, and why.
pub type Unreadable = (Option<TxnHeader>, Malformed);

/// Reads a whole blob: header, change, and the tree's digest where there is one of the version we know.
pub fn decode_blob(blob: &[u8]) -> Result<(TxnHeader, Change<'_>, Option<u64>), Unreadable> {
    let mut r = Reader::new(blob);
    let header = TxnHeader::decode(&mut r).map_err(|why| (None, why))?;
    let change = decode(&header, header.kind, &mut r).map_err(|why| (Some(header), why))?;
    let digest = match (r.int(), r.long()) {
        (Ok(DIGEST_VERSION), Ok(digest)) => Some(digest.cast_unsigned()),
        _ => None,
    };
    Ok((header, change, digest))
}

fn decode<'a>(header: &TxnHeader, kind: i32, r: &mut Reader<'a>) -> Result<Change<'a>, Malformed> {
    match kind {
        opcode::CLOSE_SESSION if lacks_list(r.rest()) => Ok(Change::CloseSession(None)),
        opcode::MULTI => {
            let count = r.count()?.unwrap_or(0);
            let mut members = Vec::new();
            let mut failed = false;
            for _ in 0..count {
                let kind = r.int()?;
                let mut record = Reader::new(r.buffer()?.unwrap_or_default());
                match kind {
                    opcode::ERROR => failed = true,
                    opcode::MULTI | opcode::CREATE_SESSION | opcode::CLOSE_SESSION => return Err(Malformed::Value),
                    kind => members.push(decode(header, kind, &mut record)?),
                }
            }
            Ok(if failed { Change::Nothing } else { Change::Multi(members) })
        }
        kind => Ok(match Txn::decode(kind, r)? {
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                let owner = if ephemeral { header.session.0 } else { SessionId::NONE.0 };
                Change::Create { path, data, acl: acl.into_owned(), owner, parent_cversion }
            }
            Txn::CreateLasting { path, data, acl, parent_cversion, ttl_ms } => {
                let owner = Owner::lasting(ttl_ms).stored();
                Change::Create { path, data, acl: acl.into_owned(), owner, parent_cversion }
            }
            Txn::Delete { path } => Change::Delete(path),
            Txn::SetData { path, data, version } => Change::SetData { path, data, version },
            Txn::SetAcl { path, acl, version } => Change::SetAcl { path, acl: acl.into_owned(), version },
            Txn::CreateSession { timeout_ms } => Change::OpenSession(timeout_ms),
            Txn::CloseSession { paths } => Change::CloseSession(Some(paths)),
            Txn::Check { .. } | Txn::Error { .. } | Txn::Multi(_) => Change::Nothing,
        }),
    }
}

/// Whether a closeSession's record is left out: old releases, and 3.6 on with `closeSessionTxn.enabled=false`. What is then
/// left is nothing or a digest, whose 12 bytes would make a list of two empty paths.
fn lacks_list(rest: &[u8]) -> bool {
    rest.is_empty() || rest.len() == 12 && rest.starts_with(&DIGEST_VERSION.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::Zxid;
    use crate::proto::acl;
    use crate::proto::jute::Writer;
    use crate::proto::txn::{encode_digest, encode_member};

    fn blob(kind: i32, record: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        TxnHeader { session: SessionId(7), cxid: 1, zxid: Zxid(9), time: 5, kind }.encode(&mut out);
        record(&mut out);
        out
    }

    fn change(blob: &[u8]) -> Result<Change<'_>, Malformed> {
        decode_blob(blob).map(|(_, change, _)| change).map_err(|(_, why)| why)
    }

    #[test]
    fn containers_and_ttls_have_marks_for_owners() {
        let record = |out: &mut Vec<u8>| {
            out.string("/a");
            out.buffer(Some(b"x"));
            acl::encode(out, &[Acl::open()]);
            out.int(4);
        };
        let container = blob(opcode::CREATE_CONTAINER, record);
        let Change::Create { owner, parent_cversion, .. } = change(&container).unwrap() else { panic!() };
        assert_eq!((owner, parent_cversion), (i64::MIN, 4));
        for (ttl, want) in [
            (1, Ok(0xff00_0000_0000_0001_u64)),
            ((1 << 40) - 1, Ok(0xff00_00ff_ffff_ffff)),
            (0, Err(Malformed::Value)),
            (1 << 40, Err(Malformed::Value)),
        ] {
            let bytes = blob(opcode::CREATE_TTL, |out| {
                record(out);
                out.long(ttl);
            });
            let owner = change(&bytes).map(|change| match change {
                Change::Create { owner, .. } => owner.cast_unsigned(),
                _ => 0,
            });
            assert_eq!(owner, want);
        }
        assert_eq!(change(&blob(opcode::CREATE_TTL, record)), Err(Malformed::Short));
    }

    #[test]
    fn a_session_is_closed_with_or_without_a_list() {
        let digest = |out: &mut Vec<u8>| encode_digest(out, 0x0000_0000_1234_5678);
        assert_eq!(decode_blob(&blob(opcode::CLOSE_SESSION, |_| ())).unwrap().1, Change::CloseSession(None));
        let (bare, listed) = (
            blob(opcode::CLOSE_SESSION, digest),
            blob(opcode::CLOSE_SESSION, |out| {
                Txn::CloseSession { paths: vec!["/a".into()] }.encode(out);
                digest(out);
            }),
        );
        let (_, change, sum) = decode_blob(&bare).unwrap();
        assert_eq!((change, sum), (Change::CloseSession(None), Some(0x1234_5678)));
        let (_, change, sum) = decode_blob(&listed).unwrap();
        assert_eq!((change, sum), (Change::CloseSession(Some(vec!["/a".into()])), Some(0x1234_5678)));
    }

    #[test]
    fn a_multi_that_failed_is_nothing_and_one_in_another_is_refused() {
        let multi = |kinds: &[i32]| {
            blob(opcode::MULTI, |out| {
                out.count(kinds.len());
                for &kind in kinds {
                    let member = if kind == opcode::ERROR { Txn::Error { err: -101 } } else { Txn::Delete { path: "/a".into() } };
                    encode_member(out, kind, &member);
                }
            })
        };
        let fine = multi(&[opcode::DELETE, opcode::DELETE_CONTAINER]);
        assert_eq!(change(&fine), Ok(Change::Multi(vec![Change::Delete("/a".into()), Change::Delete("/a".into())])));
        assert_eq!(change(&multi(&[opcode::DELETE, opcode::ERROR])), Ok(Change::Nothing));
        for kind in [opcode::MULTI, opcode::CREATE_SESSION, opcode::CLOSE_SESSION, 77] {
            assert_eq!(change(&multi(&[kind])), Err(Malformed::Value));
        }
    }
}
