//! Replica: committed transactions taken into a ledger that did not make them.

use super::{Home, Sequencer};
use crate::engine::message::{Batch, Entry, Member as Part, Outcome};
use crate::engine::stages::Stage;
use crate::ground::ids::Zxid;
use crate::ground::limits::BATCH_BYTES_DEFAULT;
use crate::ground::time::Now;
use crate::proto::code::Code;
use crate::proto::opcode;
use crate::proto::txn::{self, Txn};
use crate::zab::Record;

impl Sequencer {
    /// Takes in what is logged and committed, and shows it.
    pub(super) fn adopt(&mut self, up_to: Zxid, now: Now) {
        let mut batch = Batch::default();
        while let Some(record) = self.member.as_mut().and_then(|member| member.pop_pending(up_to)) {
            if let Err(why) = self.take_in(&record, &mut batch, now) {
                self.fail(format!("transaction {} cannot be taken in: {why}", record.zxid));
                return;
            }
            if batch.bytes >= BATCH_BYTES_DEFAULT {
                self.show(std::mem::take(&mut batch), now);
            }
        }
        if !batch.entries.is_empty() {
            self.show(batch, now);
        }
    }

    fn take_in(&mut self, record: &Record, batch: &mut Batch, now: Now) -> Result<(), String> {
        let (header, txn, digest) = txn::decode_blob(&record.blob).map_err(|error| error.to_string())?;
        let txn = match txn {
            Txn::Multi(mut members) if cfg!(mutant = "m24") => {
                members.pop();
                Txn::Multi(members)
            }
            txn => txn,
        };
        self.ledger.tree_mut().apply(&header, &txn, &mut batch.steps).map_err(|error| error.to_string())?;
        self.ledger.forget(record.zxid);
        self.proposed = record.zxid;
        self.transactions += 1;
        let member = self.member.as_mut().expect("only a member takes in what others made");
        let asked = member.corridor.claim(&header);
        if let Some(since) = asked.map(|asked| asked.since_us).filter(|since| *since > 0) {
            self.stages.record(Stage::Replicate, since, now.micros, 1);
        }
        let outcome = match &txn {
            Txn::CreateSession { timeout_ms } => {
                member.corridor.opened(header.session);
                let home = asked.map_or(Home::Nowhere, |asked| Home::Here(asked.ticket));
                self.sessions.open(header.session, *timeout_ms, now.mono(), home);
                Outcome::Opened { timeout_ms: *timeout_ms }
            }
            Txn::CloseSession { .. } => Outcome::Closed,
            Txn::Error { err } => {
                Outcome::Refused(asked.and_then(|asked| asked.instead).unwrap_or_else(|| Code::from_wire(*err)))
            }
            Txn::Multi(members) => Outcome::Multi(parts(members)),
            _ => Outcome::Done,
        };
        if let Some(told) = digest.filter(|digest| *digest != self.ledger.tree().digest()) {
            let found = self.ledger.tree().digest();
            return Err(format!("the tree's digest is {found:#x} then, its leader says {told:#x}"));
        }
        if batch.entries.is_empty() {
            batch.first = record.zxid;
        }
        batch.last = record.zxid;
        batch.bytes += record.blob.len();
        batch.entries.push(Entry {
            zxid: record.zxid,
            session: header.session,
            xid: header.cxid,
            op: asked.map_or(header.kind, |asked| asked.op),
            ticket: asked.map(|asked| asked.ticket),
            cost: asked.map_or(0, |asked| asked.cost),
            steps_end: u32::try_from(batch.steps.len()).expect("changes of a batch are bounded by its bytes"),
            outcome,
        });
        self.say_farewells(record.zxid);
        Ok(())
    }
}

/// What became of the members of a multi. Where one was refused none was done; leaders differ in what they write for those before it.
fn parts(members: &[(i32, Txn<'_>)]) -> Box<[Part]> {
    let failed = members.iter().any(|(kind, _)| *kind == opcode::ERROR);
    let part = |(kind, txn): &(i32, Txn<'_>)| match (kind, txn) {
        (_, Txn::Error { err }) => Part::Error(*err),
        _ if failed => Part::Error(0),
        (&opcode::CREATE, _) => Part::Created,
        (_, Txn::Create { .. } | Txn::CreateLasting { .. }) => Part::Created2,
        (_, Txn::Delete { .. }) => Part::Deleted,
        (_, Txn::SetData { .. }) => Part::Set,
        _ => Part::Checked,
    };
    members.iter().map(part).collect()
}
