//! Churn: creates an ephemeral sequential znode and deletes it, as clients do that come and go in a group.
//!
//! All are children of one parent, so it is the parent's counter and its list of children that are contended for.

use super::cycle::Cycle;
use super::lines::Lines;
use super::tally::Tally;
use super::{Ended, Heard};
use crate::client::answer::Body;
use crate::client::ask::{Ask, CreateMode};
use crate::proto::acl::Acl;
use crate::proto::opcode;

const CREATE: usize = 0;
const DELETE: usize = 1;

#[derive(Debug)]
pub(super) struct Churn {
    prefix: String,
    data: Vec<u8>,
    acl: [Acl; 1],
    /// Start of the operation under way, of each client.
    starts: Vec<u64>,
}

impl Churn {
    pub(super) fn new(root: &str, value_size: usize) -> Self {
        Self { prefix: format!("{root}/member-"), data: vec![b'v'; value_size], acl: [Acl::open()], starts: Vec::new() }
    }
}

impl Cycle for Churn {
    const NAMES: &'static [&'static str] = &["create", "delete"];
    const HAS_SESSION: bool = true;

    fn begin(&mut self, at: usize, start: u64, lines: &mut Lines) {
        if self.starts.is_empty() {
            self.starts.resize(lines.len(), 0);
        }
        self.starts[at] = start;
        let mode = CreateMode::EphemeralSequential;
        lines.ask(at, &Ask::Create { path: &self.prefix, data: Some(&self.data), acl: &self.acl, mode });
    }

    fn hear(&mut self, at: usize, now: u64, heard: Heard, lines: &mut Lines, tally: &mut Tally) -> Result<bool, Ended> {
        match heard {
            Heard::Reply(reply) => {
                let operation = if reply.op == opcode::CREATE { CREATE } else { DELETE };
                let err = reply.result.as_ref().map_or_else(|refusal| refusal.0, |_| 0);
                tally.answered(now, operation, self.starts[at], err);
                if let (CREATE, Ok(Body::Path(path))) = (operation, reply.result) {
                    self.starts[at] = now;
                    tally.offered(now);
                    lines.ask(at, &Ask::Delete { path: &path, version: -1 });
                    return Ok(false);
                }
                Ok(true)
            }
            other => Err(lines.lost(at, now, other)),
        }
    }
}
