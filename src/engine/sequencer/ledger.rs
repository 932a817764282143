//! Ledger: from a request to a transaction. It decides once: sequence names, versions, parent counters, ephemeral lists.
//!
//! It runs ahead of what is durable, on a tree of its own that can undo; checks and their order are those of ZooKeeper's
//! `PrepRequestProcessor`, and every write it refuses still takes a zxid, so that answers keep their order.

use std::borrow::Cow;

use crate::auth::{self, AuthConfig, Fixed, Identities};
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits;
use crate::ground::time::WallMillis;
use crate::proto::acl::{self, Acl, AclRef};
use crate::proto::code::Code;
use crate::proto::jute::{Malformed, Reader};
use crate::proto::multi::{self, Unreadable};
use crate::proto::opcode;
use crate::proto::owner;
use crate::proto::path;
use crate::proto::request::{Create, Write};
use crate::proto::txn::{self, Txn, TxnHeader};
use crate::tree::acls::open;
use crate::tree::change::Step;
use crate::tree::record::Record;
use crate::tree::tree::Tree;

use super::allowance::Allowance;
use crate::engine::message::Outcome;

/// Paths that cannot be deleted.
const SPECIAL: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// Who asks for a write.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// As whom.
    pub(super) who: &'a Identities,
    /// Whether the session may own znodes: where not everybody knows it, the creation of an ephemeral is refused so.
    pub(super) owns: Result<(), Code>,
}

/// A write as it was read.
pub(super) enum Wish<'a> {
    /// One.
    One(Write<'a>),
    /// A multi, with the operation of each member.
    Many(Vec<(i32, Write<'a>)>),
    /// One that is refused whatever the tree holds.
    Refused(Code),
}

/// The writer's tree and the rules of writing to it.
pub struct Ledger {
    tree: Tree,
    auth: AuthConfig,
    /// Whether znodes with a time to live can be made.
    extended_types: bool,
    allowance: Allowance,
    /// When the write was asked that is being decided, ms since 1970.
    time: i64,
}

impl Ledger {
    /// A ledger over a tree, fresh or restored. No znode with a time to live can be made, and no quota is enforced.
    #[must_use]
    pub fn new(tree: Tree, auth: AuthConfig) -> Self {
        Self { tree, auth, extended_types: false, allowance: Allowance::default(), time: 0 }
    }

    /// Goes on by the rules of another, in whose place it comes.
    pub(super) const fn take_rules_of(&mut self, other: &Self) {
        self.extended_types = other.extended_types;
        self.allowance.enforce(other.allowance.is_enforced());
    }

    /// Whether writes beyond a quota are refused.
    pub(super) const fn enforce_quotas(&mut self, is_enforced: bool) {
        self.allowance.enforce(is_enforced);
    }

    /// Whether znodes with a time to live can be made.
    pub(super) const fn set_extended_types(&mut self, extended_types: bool) {
        self.extended_types = extended_types;
    }

    /// Its tree, which stands at the last proposal.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Shows an ensemble's configuration (see [`Tree::show_configuration`]).
    pub(super) fn show_configuration(&mut self, text: &[u8], version: u64, now: WallMillis) {
        self.tree.show_configuration(text, version, now.0);
    }

    /// Lets go of what undoing transactions up to `zxid` would need: they are delivered.
    pub fn forget(&mut self, zxid: Zxid) {
        self.tree.forget(zxid);
    }

    /// Reads a write. An error says that it is refused without a transaction: a ZooKeeper finds out before it has numbered it.
    pub(super) fn read(op: i32, body: &[u8]) -> Result<Wish<'_>, Code> {
        let mut r = Reader::new(body);
        match op {
            opcode::MULTI => match multi::decode_writes(&mut r) {
                Ok(writes) => Ok(Wish::Many(writes)),
                Err(Unreadable::NullAcl) => Err(Code::MarshallingError),
                Err(Unreadable::Record(_)) => Ok(Wish::Refused(Code::MarshallingError)),
            },
            opcode::RECONFIG => {
                let is_whole = (0..3).all(|_| r.string_or_null().is_ok()) && r.long().is_ok();
                if is_whole { Ok(Wish::Refused(Code::ReconfigDisabled)) } else { Err(Code::MarshallingError) }
            }
            // A farewell has no record; and the server's own way to delete looks at no ACL: a ZooKeeper passes it on from its clients.
            opcode::CLOSE_SESSION | opcode::DELETE_CONTAINER => Ok(Wish::Refused(Code::Unimplemented)),
            _ => match Write::decode(op, &mut r) {
                Ok(write) => Ok(Wish::One(write)),
                // These look at the path before anything else; the others trip over it.
                Err(Malformed::Null) if matches!(op, opcode::SET_DATA | opcode::SET_ACL | opcode::CHECK) => {
                    Ok(Wish::Refused(Code::BadArguments))
                }
                Err(Malformed::Null) => Ok(Wish::Refused(Code::MarshallingError)),
                Err(_) => Err(Code::MarshallingError),
            },
        }
    }

    /// Takes one write: decides, applies to its tree, and appends the transaction's blob to `blob` and the changes to `steps`.
    ///
    /// `header.kind` is set here. A refusal becomes an error transaction.
    pub(super) fn write(
        &mut self,
        header: &mut TxnHeader,
        op: i32,
        wish: &Wish<'_>,
        by: Asker<'_>,
        blob: &mut Vec<u8>,
        steps: &mut Vec<Step>,
    ) -> Outcome {
        let start = blob.len();
        self.time = header.time;
        let result = match wish {
            Wish::One(write) => self.single(header, op, write, by, blob, steps),
            Wish::Many(writes) => {
                self.allowance.begin_multi(&self.tree);
                let result = super::multi::write(self, header, writes, by, blob, steps);
                self.allowance.end_multi();
                result
            }
            Wish::Refused(code) => Err(*code),
        };
        match result {
            Ok(outcome) => outcome,
            Err(code) => {
                blob.truncate(start);
                Self::refusal(header, code, blob);
                Outcome::Refused(code)
            }
        }
    }

    fn single(
        &mut self,
        header: &mut TxnHeader,
        op: i32,
        write: &Write<'_>,
        by: Asker<'_>,
        blob: &mut Vec<u8>,
        steps: &mut Vec<Step>,
    ) -> Result<Outcome, Code> {
        let txn = self.decide(write, header.session, by)?;
        header.kind = op;
        let start = blob.len();
        header.encode(blob);
        txn.encode(blob);
        if blob.len() - start + 12 > limits::TXN_BYTES_MAX {
            return Err(Code::MarshallingError);
        }
        self.apply(header, &txn, steps);
        txn::encode_digest(blob, self.tree.digest());
        Ok(Outcome::Done)
    }

    /// Appends an error transaction.
    pub(super) fn refusal(header: &mut TxnHeader, code: Code, blob: &mut Vec<u8>) {
        header.kind = opcode::ERROR;
        header.encode(blob);
        Txn::Error { err: code.as_wire() }.encode(blob);
    }

    /// Appends a transaction that the server itself makes, as the opening or closing of a session.
    pub(super) fn session(
        &mut self,
        header: &mut TxnHeader,
        kind: i32,
        txn: &Txn<'_>,
        blob: &mut Vec<u8>,
        steps: &mut Vec<Step>,
    ) {
        header.kind = kind;
        header.encode(blob);
        txn.encode(blob);
        self.apply(header, txn, steps);
        txn::encode_digest(blob, self.tree.digest());
    }

    /// Appends the transaction that takes away a znode whose time has come.
    pub(super) fn reap(&mut self, mut header: TxnHeader, path: String, blob: &mut Vec<u8>, steps: &mut Vec<Step>) {
        self.session(&mut header, opcode::DELETE_CONTAINER, &Txn::Delete { path: path.into() }, blob, steps);
    }

    /// The closing of a session, with all its ephemerals.
    pub(super) fn closing(&self, session: SessionId) -> Txn<'static> {
        Txn::CloseSession { paths: self.tree.ephemerals(session).map(|path| Cow::Owned(path.to_owned())).collect() }
    }

    pub(super) fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, steps: &mut Vec<Step>) {
        self.tree.apply(header, txn, steps).expect("the ledger proposes only what its tree can take");
    }

    pub(super) const fn tree_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }

    /// Checks one write against the tree as it stands, and resolves it.
    pub(super) fn decide<'a>(&self, write: &Write<'a>, session: SessionId, by: Asker<'_>) -> Result<Txn<'a>, Code> {
        let who = by.who;
        match write {
            Write::Create(create) => self.create(create, session, by),
            Write::Delete { path, version } => {
                if !path.contains('/') || path.contains('\0') || SPECIAL.contains(&&**path) {
                    return Err(Code::BadArguments);
                }
                let (parent, _) = path::split(path).ok_or(Code::BadArguments)?;
                self.permit(self.node(parent)?, acl::DELETE, who)?;
                let node = self.node(path)?;
                next_version(node.version(), *version)?;
                if node.num_children() > 0 {
                    return Err(Code::NotEmpty);
                }
                self.allowance.note(&self.tree, path);
                Ok(Txn::Delete { path: path.clone() })
            }
            Write::SetData { path, data, version } => {
                valid(path)?;
                let node = self.node(path)?;
                self.permit(node, acl::WRITE, who)?;
                self.allow(path, 0, data.map_or(0, <[u8]>::len) as i64 - node.data_len() as i64)?;
                let version = next_version(node.version(), *version)?;
                Ok(Txn::SetData { path: path.clone(), data: *data, version })
            }
            Write::SetAcl { path, acl, version } => {
                valid(path)?;
                let acl = self.fix(acl, who)?;
                let node = self.node(path)?;
                self.permit(node, acl::ADMIN, who)?;
                let version = next_version(node.aversion(), *version)?;
                Ok(Txn::SetAcl { path: path.clone(), acl, version })
            }
            Write::Check { path, version } => {
                valid(path)?;
                let node = self.node(path)?;
                self.permit(node, acl::READ, who)?;
                let version = next_version(node.version(), *version)?;
                Ok(Txn::Check { path: path.clone(), version })
            }
        }
    }

    fn create<'a>(&self, create: &Create<'a>, session: SessionId, by: Asker<'_>) -> Result<Txn<'a>, Code> {
        let who = by.who;
        let (ephemeral, sequential) = match create.flags {
            // A container flag on a plain create makes an ordinary persistent znode, as in ZooKeeper.
            0 | 4 => (false, false),
            1 => (true, false),
            2 => (false, true),
            3 => (true, true),
            // Znodes with a time to live come with the extended types.
            5 | 6 if !self.extended_types => return Err(Code::Unimplemented),
            5 => (false, false),
            6 => (false, true),
            _ => return Err(Code::BadArguments),
        };
        let has_ttl = matches!(create.flags, 5 | 6);
        // A mode with a time to live needs one that can be stored, and one without must not carry one. With a negative one in a createTTL a real
        // ZooKeeper stops for good.
        if has_ttl != (create.op == opcode::CREATE_TTL) || has_ttl && !owner::is_ttl(create.ttl_ms) {
            return Err(Code::BadArguments);
        }
        if ephemeral {
            by.owns?;
        }
        // Flags are looked at before ZooKeeper trips over a null path.
        let wanted = create.path.as_ref().ok_or(Code::MarshallingError)?;
        if wanted.contains('\0') {
            return Err(Code::BadArguments);
        }
        let (parent_path, _) = path::split(wanted).ok_or(Code::BadArguments)?;
        let acl = self.fix(create.acl.as_deref().unwrap_or(&[]), who)?;
        let parent = self.node(parent_path)?;
        self.permit(parent, acl::CREATE, who)?;
        let path: Cow<'a, str> =
            if sequential { Cow::Owned(format!("{wanted}{:010}", parent.cversion())) } else { wanted.clone() };
        valid(&path)?;
        if self.tree.get(&path).is_some() {
            return Err(Code::NodeExists);
        }
        if parent.is_ephemeral() {
            return Err(Code::NoChildrenForEphemerals);
        }
        self.allow(&path, 1, create.data.map_or(0, <[u8]>::len) as i64)?;
        let parent_cversion = parent.cversion().wrapping_add(1);
        // The operation decides and not the flags, as in ZooKeeper: a container of any other mode is one nevertheless.
        if has_ttl || create.op == opcode::CREATE_CONTAINER {
            let ttl_ms = has_ttl.then_some(create.ttl_ms);
            return Ok(Txn::CreateLasting { path, data: create.data, acl, parent_cversion, ttl_ms });
        }
        if ephemeral && !self.close_stays_small(session, &path) {
            return Err(Code::SystemError);
        }
        Ok(Txn::Create { path, data: create.data, acl, ephemeral, parent_cversion })
    }

    /// Whether the quota over a path, if there is one and it is enforced, allows so much more.
    #[inline]
    fn allow(&self, path: &str, count: i64, bytes: i64) -> Result<(), Code> {
        self.allowance.check(&self.tree, path, count, bytes, self.time)
    }

    /// Whether the transaction that will close the session stays below the limit with one more ephemeral of this path.
    fn close_stays_small(&self, session: SessionId, path: &str) -> bool {
        const FIXED: usize = 32 + 4 + 12;
        FIXED + self.tree.ephemeral_bytes(session) + path.len() + 4 <= limits::TXN_BYTES_MAX
    }

    /// The list as it will be stored, or the refusal.
    fn fix(&self, list: &[AclRef<'_>], who: &Identities) -> Result<Cow<'static, [Acl]>, Code> {
        match auth::fixup(list, who, &self.auth) {
            Ok(Fixed::Open) => Ok(Cow::Borrowed(open())),
            Ok(Fixed::List(list)) => Ok(Cow::Owned(list)),
            Err(invalid) => Err(invalid.code()),
        }
    }

    fn node(&self, path: &str) -> Result<&Record, Code> {
        self.tree.get(path).ok_or(Code::NoNode)
    }

    fn permit(&self, node: &Record, wanted: i32, who: &Identities) -> Result<(), Code> {
        if node.is_open() || auth::permits(node.acl(), wanted, who, &self.auth) { Ok(()) } else { Err(Code::NoAuth) }
    }
}

fn valid(path: &str) -> Result<(), Code> {
    if path::is_valid(path) { Ok(()) } else { Err(Code::BadArguments) }
}

/// The version after `current`, where `expected` is it or -1.
const fn next_version(current: i32, expected: i32) -> Result<i32, Code> {
    if expected == -1 || expected == current { Ok(current.wrapping_add(1)) } else { Err(Code::BadVersion) }
}
