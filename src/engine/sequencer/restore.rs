//! Restore: the log's transactions applied again, before the doors open.

use std::collections::BTreeMap;

use super::{Home, Ledger};
use crate::auth::AuthConfig;
use crate::engine::archivist::load::Loaded;
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::time::{Millis, WallMillis};
use crate::proto::jute::{Malformed, Reader};
use crate::proto::txn::{self, Txn, TxnHeader};
use crate::session;
use crate::tree::change::Step;
use crate::tree::tree::{ApplyError, Tree};
use crate::zab::Members;

/// A transaction of the log cannot be taken back in.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The blob is not a transaction.
    #[error("a transaction cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// It does not fit the tree.
    #[error("{0}")]
    Apply(#[from] ApplyError),
    /// It does not follow the one before it.
    #[error("transaction {0} follows {1}")]
    Order(Zxid, Zxid),
    /// There is no image, and the log does not begin at its beginning.
    #[error("no usable snapshot and log starts at {0}: put the snapshots, or the log before it, back in their place")]
    NoBeginning(Zxid),
    /// The log does not reach back to the image.
    #[error("gap between snapshot {0} and log {1}: put a newer snapshot, or the log in between, back in its place")]
    Gap(Zxid, Zxid),
    /// The tree is not what it was when the transaction was written.
    #[error("after transaction {zxid} the tree's digest is {found:#x}, the log says {logged:#x}")]
    Digest {
        /// The transaction.
        zxid: Zxid,
        /// Digest of the restored tree.
        found: u64,
        /// Digest in the log.
        logged: u64,
    },
}

/// Takes transactions in zxid order and ends in a ledger.
pub struct Restore {
    tree: Tree,
    sessions: session::Table<Home>,
    last: Zxid,
    /// The image begun with, or zero.
    image: Zxid,
    steps: Vec<Step>,
    transactions: u64,
    bytes: u64,
    checks_digest: bool,
}

/// What the log held: tree, sessions and the last transaction.
pub struct Restored {
    /// The ledger, standing at `last`.
    pub ledger: Ledger,
    /// The sessions, each with a full timeout from now.
    pub sessions: session::Table<Home>,
    /// The last transaction.
    pub last: Zxid,
}

impl Restored {
    /// Shows the ensemble's configuration in `/zookeeper/config`, as of now. Views are made after that.
    pub fn show_configuration(&mut self, members: &Members, now: WallMillis) {
        self.ledger.show_configuration(&members.text, members.version, now);
    }
}

impl Restore {
    /// Begins with a fresh tree. With `checks_digest` it is compared with the one that each transaction carries.
    #[must_use]
    pub fn new(seeds: [u64; 4], tick_ms: u64, checks_digest: bool) -> Self {
        let image = Loaded { tree: Tree::new(seeds), sessions: BTreeMap::new(), zxid: Zxid::ZERO };
        Self::after(image, seeds, tick_ms, checks_digest)
    }

    /// Begins with what an image holds. Transactions that are in it already are passed over.
    #[must_use]
    pub fn after(image: Loaded, seeds: [u64; 4], tick_ms: u64, checks_digest: bool) -> Self {
        let mut sessions = session::Table::new(tick_ms, seeds);
        for (id, timeout_ms) in image.sessions {
            sessions.open(id, timeout_ms, Millis(0), Home::Nowhere);
        }
        Self {
            tree: image.tree,
            sessions,
            last: image.zxid,
            image: image.zxid,
            steps: Vec::new(),
            transactions: 0,
            bytes: 0,
            checks_digest,
        }
    }

    /// Takes the next transaction.
    pub fn take(&mut self, blob: &[u8]) -> Result<(), RestoreError> {
        let zxid = TxnHeader::decode(&mut Reader::new(blob))?.zxid;
        if self.image > Zxid::ZERO && zxid <= self.image && self.transactions == 0 {
            return Ok(());
        }
        self.follows(zxid)?;
        let (header, mut txn, digest) = txn::decode_blob(blob)?;
        if let Txn::Create { parent_cversion, .. } = &mut txn
            && cfg!(mutant = "m25")
        {
            *parent_cversion = 0;
        }
        self.tree.apply(&header, &txn, &mut self.steps)?;
        self.steps.clear();
        self.tree.forget(header.zxid);
        match txn {
            Txn::CreateSession { timeout_ms } => {
                self.sessions.open(header.session, timeout_ms, Millis(0), Home::Nowhere);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(header.session);
            }
            _ => {}
        }
        if let Some(logged) = digest.filter(|_| self.checks_digest)
            && logged != self.tree.digest()
        {
            return Err(RestoreError::Digest { zxid: header.zxid, found: self.tree.digest(), logged });
        }
        self.last = header.zxid;
        self.transactions += 1;
        self.bytes += blob.len() as u64;
        Ok(())
    }

    /// Every transaction takes the next zxid, refused ones too, and a new epoch begins with 1: so a gap is seen.
    const fn follows(&self, zxid: Zxid) -> Result<(), RestoreError> {
        let follows = if zxid.epoch() == self.last.epoch() {
            zxid.0 == self.last.0 + 1
        } else {
            zxid.0 > self.last.0 && zxid.counter() == 1
        };
        match (follows, self.transactions, self.image) {
            (true, ..) => Ok(()),
            (false, 0, Zxid::ZERO) => Err(RestoreError::NoBeginning(zxid)),
            (false, 0, image) => Err(RestoreError::Gap(image, zxid)),
            (false, ..) => Err(RestoreError::Order(zxid, self.last)),
        }
    }

    /// Bytes of the transactions taken so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last transaction taken, or the image's.
    #[must_use]
    pub const fn last(&self) -> Zxid {
        self.last
    }

    /// Transactions taken so far.
    #[must_use]
    pub const fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Ends with the state alone.
    #[must_use]
    pub fn into_loaded(self) -> Loaded {
        let sessions = self.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
        Loaded { tree: self.tree, sessions, zxid: self.last }
    }

    /// Ends. Every session starts with its full timeout from `now`; ephemerals without a session are an error of the log, and
    /// are told.
    #[must_use]
    pub fn finish(mut self, auth: AuthConfig, now: Millis) -> (Restored, Vec<SessionId>) {
        self.sessions.reset_all(now);
        let orphans = self
            .tree
            .sessions_with_ephemerals()
            .filter(|&session| self.sessions.state(session) == session::State::Unknown)
            .collect();
        (Restored { ledger: Ledger::new(self.tree, auth), sessions: self.sessions, last: self.last }, orphans)
    }
}
