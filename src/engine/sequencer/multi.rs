//! Multi: several writes under one zxid, together or not at all.

use crate::engine::message::{Member, Outcome};
use crate::ground::limits;
use crate::proto::code::Code;
use crate::proto::jute::Writer;
use crate::proto::opcode;
use crate::proto::request::Write;
use crate::proto::txn::{self, Txn, TxnHeader};
use crate::tree::change::Step;

use super::ledger::{Asker, Ledger};

/// Decides the members one after the other, each against what those before it left, and undoes them all when one fails.
///
/// A failed multi is still a transaction of its kind: members before the failure keep their records, the failing one has its
/// code, those after it RUNTIMEINCONSISTENCY; whoever applies it sees the error and changes nothing.
pub(super) fn write(
    ledger: &mut Ledger,
    header: &mut TxnHeader,
    writes: &[(i32, Write<'_>)],
    by: Asker<'_>,
    blob: &mut Vec<u8>,
    steps: &mut Vec<Step>,
) -> Result<Outcome, Code> {
    header.kind = opcode::MULTI;
    let (start, steps_before, mark) = (blob.len(), steps.len(), ledger.tree().mark());
    let mut members = Vec::with_capacity(writes.len());
    let mut failed = false;
    header.encode(blob);
    blob.count(writes.len());
    for (op, write) in writes {
        let decided = if failed { Err(Code::RuntimeInconsistency) } else { ledger.decide(write, header.session, by) };
        match decided {
            Ok(txn) => {
                ledger.apply(header, &txn, steps);
                members.push(member(*op));
                txn::encode_member(blob, *op, &txn);
            }
            // A null id, or figures of a quota that are none: a ZooKeeper trips over it, and refuses the whole.
            Err(Code::MarshallingError) => {
                ledger.tree_mut().rollback(mark);
                steps.truncate(steps_before);
                return Err(Code::MarshallingError);
            }
            Err(code) => {
                if !failed {
                    failed = true;
                    ledger.tree_mut().rollback(mark);
                    steps.truncate(steps_before);
                    members.fill(Member::Error(0));
                }
                members.push(Member::Error(code.as_wire()));
                txn::encode_member(blob, opcode::ERROR, &Txn::Error { err: code.as_wire() });
            }
        }
        // Looked at with every member: a short one may stand for a long list of identities.
        if blob.len() - start + 12 > limits::TXN_BYTES_MAX {
            if !failed {
                ledger.tree_mut().rollback(mark);
                steps.truncate(steps_before);
            }
            return Err(Code::MarshallingError);
        }
    }
    txn::encode_digest(blob, ledger.tree().digest());
    Ok(Outcome::Multi(members.into()))
}

fn member(op: i32) -> Member {
    match op {
        opcode::CREATE => Member::Created,
        opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => Member::Created2,
        opcode::DELETE => Member::Deleted,
        opcode::SET_DATA => Member::Set,
        opcode::CHECK => Member::Checked,
        _ => unreachable!("decode_writes lets no other kind pass, and the ledger refuses what it cannot make"),
    }
}
