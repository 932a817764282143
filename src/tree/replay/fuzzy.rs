//! A fuzzy state: tree and sessions as a leader sends them, which may hold effects of transactions that come behind them. Taking these in
//! makes it exact.

use std::collections::BTreeMap;

use super::change::{self, Change};
use super::model::{At, Model, Unfinished};
use super::znode::{self, Znode};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::jute::Malformed;

/// A state on its way to being exact.
#[derive(Debug, Default)]
pub struct Fuzzy {
    /// Its znodes.
    pub model: Model,
    /// Its sessions with their time-outs, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The last transaction taken in; the digest that was told with it, if one was.
    last: Option<(Zxid, Option<u64>)>,
}

/// A state that is exact.
#[derive(Debug)]
pub struct Exact {
    /// All znodes, each parent followed by its children's subtrees.
    pub znodes: Vec<Znode>,
    /// Sessions with their time-outs, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The tree's digest.
    pub digest: u64,
}

/// Why a state does not become exact.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FoldError {
    /// A transaction cannot be understood.
    #[error("transaction {zxid} behind the state, of kind {kind}, cannot be understood: {why}")]
    Malformed {
        /// Which.
        zxid: Zxid,
        /// Its type, as its header has it; 0 where that cannot be read.
        kind: i32,
        /// Why not.
        why: Malformed,
    },
    /// After all of them it is still another one than the leader's.
    #[error("with all transactions up to {zxid} the state's digest is {found:#x}, the leader's is {told:#x}")]
    Digest {
        /// The last transaction.
        zxid: Zxid,
        /// Digest of what was made of the state.
        found: u64,
        /// Digest that the leader told with the transaction.
        told: u64,
    },
    /// It is no tree that can be served.
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
}

impl Fuzzy {
    /// With these sessions, and no znodes yet.
    #[must_use]
    pub fn new(sessions: BTreeMap<SessionId, i32>) -> Self {
        Self { sessions, ..Self::default() }
    }

    /// Takes in the next transaction.
    pub fn fold(&mut self, zxid: Zxid, blob: &[u8]) -> Result<(), FoldError> {
        let (header, change, digest) = change::decode_blob(blob).map_err(|(header, why)| FoldError::Malformed {
            zxid,
            kind: header.map_or(0, |header| header.kind),
            why,
        })?;
        match change {
            Change::OpenSession(timeout_ms) => {
                self.sessions.insert(header.session, timeout_ms);
            }
            Change::CloseSession(_) => {
                self.sessions.remove(&header.session);
            }
            _ => {}
        }
        self.model.apply(At { session: header.session, zxid, time: header.time }, change);
        self.last = Some((zxid, digest));
        Ok(())
    }

    /// All that the state may have held effects of was taken in. Where the last transaction tells the tree's digest, that has to fit.
    pub fn finish(self) -> Result<Exact, FoldError> {
        let found = self.model.digest();
        if let Some((zxid, Some(told))) = self.last
            && told != found
        {
            return Err(FoldError::Digest { zxid, found, told });
        }
        let (mut znodes, digest, _) = self.model.finish()?;
        znode::into_walk(&mut znodes);
        Ok(Exact { znodes, sessions: self.sessions, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::acl::Acl;
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader, encode_digest};
    use crate::tree::record::Stored;

    fn blob(zxid: u64, kind: i32, txn: &Txn<'_>) -> Vec<u8> {
        let mut blob = Vec::new();
        TxnHeader { session: SessionId(7), cxid: 1, zxid: Zxid(zxid), time: 1000, kind }.encode(&mut blob);
        txn.encode(&mut blob);
        blob
    }

    fn fresh() -> Fuzzy {
        let mut fuzzy = Fuzzy::default();
        for path in ["/", "/zookeeper"] {
            let list = fuzzy.model.list(vec![Acl::open()]);
            fuzzy.model.place(path, Some([].into()), Ok(list), Stored::default()).unwrap();
        }
        fuzzy
    }

    fn create(path: &str) -> Txn<'_> {
        Txn::Create { path: path.into(), data: None, acl: vec![Acl::open()].into(), ephemeral: true, parent_cversion: 1 }
    }

    #[test]
    fn sessions_come_and_go_with_what_they_own() {
        let mut fuzzy = fresh();
        fuzzy.sessions.insert(SessionId(9), 5000);
        fuzzy.fold(Zxid(1), &blob(1, opcode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4000 })).unwrap();
        fuzzy.fold(Zxid(2), &blob(2, opcode::CREATE, &create("/a"))).unwrap();
        assert_eq!(fuzzy.sessions, BTreeMap::from([(SessionId(7), 4000), (SessionId(9), 5000)]));
        fuzzy.fold(Zxid(3), &blob(3, opcode::CLOSE_SESSION, &Txn::CloseSession { paths: vec!["/a".into()] })).unwrap();
        let exact = fuzzy.finish().unwrap();
        assert_eq!(exact.sessions, BTreeMap::from([(SessionId(9), 5000)]));
        let paths: Vec<_> = exact.znodes.iter().map(|znode| &*znode.path).collect();
        assert_eq!(paths, ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]);
    }

    #[test]
    fn what_cannot_be_understood_is_told_and_a_digest_must_fit() {
        let line = |error: FoldError| error.to_string();
        let strange = blob(0x1_0000_0003, 99, &Txn::Error { err: -1 });
        let told = line(fresh().fold(Zxid(0x1_0000_0003), &strange).unwrap_err());
        assert!(told.starts_with("transaction 0x100000003 behind the state, of kind 99, cannot be understood"), "{told}");
        assert!(line(fresh().fold(Zxid(1), b"short").unwrap_err()).contains("of kind 0"));
        let mut fuzzy = fresh();
        fuzzy.fold(Zxid(2), &blob(2, opcode::CREATE, &create("/a"))).unwrap();
        let digest = fuzzy.model.digest();
        for (told, fits) in [(digest + 1, false), (digest, true)] {
            let mut fuzzy = fresh();
            let mut blob = blob(2, opcode::CREATE, &create("/a"));
            encode_digest(&mut blob, told);
            fuzzy.fold(Zxid(2), &blob).unwrap();
            let finished = fuzzy.finish();
            assert_eq!(finished.is_ok(), fits);
            assert!(fits || matches!(finished, Err(FoldError::Digest { zxid: Zxid(2), .. })));
        }
        assert_eq!(line(Fuzzy::default().finish().unwrap_err()), "the znode / is missing");
    }
}
