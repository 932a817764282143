//! Lock: the lock recipe of ZooKeeper's documentation, as Curator and kazoo follow it.
//!
//! A client that wants a lock creates an ephemeral sequential znode under it and lists the siblings. If none is before its own
//! it holds the lock. Else it sets a watch on the one just before by exists, waits for that one's end, and lists again. It
//! holds the lock for no time and releases it by deleting its znode.
//!
//! Client number c wants lock number c modulo the number of locks, which is a quarter of the connections, so that four
//! compete for each, but not more than the znodes of the spec: with one znode everybody wants the same lock.

use super::cycle::{self, Cycle};
use super::lines::Lines;
use super::place::Place;
use super::tally::Tally;
use super::{Ended, Heard, Outcome};
use crate::bench::control::{Control, RunError};
use crate::bench::spec::Spec;
use crate::client::answer::{Body, Code, Refusal};
use crate::client::ask::{Ask, CreateMode};
use crate::proto::acl::Acl;
use crate::proto::event::EventType;
use crate::proto::opcode;

const ACQUIRE: usize = 0;
const RELEASE: usize = 1;

/// Clients that compete for one lock, unless the spec bounds the locks further.
const COMPETITORS: usize = 4;

pub(super) fn run(spec: &Spec, place: &Place, control: &Control) -> Result<Outcome, RunError> {
    let locks: Vec<String> = (0..locks(spec)).map(|lock| format!("{}/lock-{lock:06}", place.root)).collect();
    place.create(locks.iter().cloned(), b"")?;
    let threads = spec.threads.min(spec.connections);
    cycle::run(spec, place, control, |thread| Lock {
        locks: locks.clone(),
        first: thread,
        step: threads,
        acl: [Acl::open()],
        data: vec![b'v'; spec.value_size],
        wishes: Vec::new(),
    })
}

fn locks(spec: &Spec) -> usize {
    spec.connections.div_ceil(COMPETITORS).min(spec.nodes)
}

/// What a client is about.
#[derive(Clone, Debug, Default)]
struct Wish {
    /// When the operation under way was to start.
    start: u64,
    /// Its znode under the lock.
    own: String,
    /// The one just before, if it waits for that.
    before: String,
    is_before_gone: bool,
    is_watching: bool,
}

#[derive(Debug)]
struct Lock {
    locks: Vec<String>,
    /// Client `at` of this thread is number `first + at * step` of all.
    first: usize,
    step: usize,
    acl: [Acl; 1],
    data: Vec<u8>,
    wishes: Vec<Wish>,
}

impl Lock {
    fn lock(&self, at: usize) -> &str {
        &self.locks[(self.first + at * self.step) % self.locks.len()]
    }

    /// The siblings are known: the lock is held, or somebody is before.
    fn look(&mut self, at: usize, now: u64, names: &[String], lines: &mut Lines, tally: &mut Tally) {
        let lock = self.locks[(self.first + at * self.step) % self.locks.len()].as_str();
        let wish = &mut self.wishes[at];
        let own = wish.own.rsplit('/').next().unwrap_or_default();
        if let Some(before) = names.iter().filter(|name| name.as_str() < own).max() {
            wish.before = format!("{lock}/{before}");
            (wish.is_before_gone, wish.is_watching) = (false, false);
            lines.ask(at, &Ask::Exists { path: &wish.before, watch: true });
        } else {
            tally.answered(now, ACQUIRE, wish.start, 0);
            self.release(at, now, lines, tally);
        }
    }

    fn release(&mut self, at: usize, now: u64, lines: &mut Lines, tally: &mut Tally) {
        let wish = &mut self.wishes[at];
        wish.start = now;
        wish.before.clear();
        tally.offered(now);
        lines.ask(at, &Ask::Delete { path: &wish.own, version: -1 });
    }

    fn list(&self, at: usize, lines: &mut Lines) {
        lines.ask(at, &Ask::GetChildren { path: self.lock(at), watch: false });
    }

    fn reply(
        &mut self,
        at: usize,
        now: u64,
        (op, result): (i32, Result<Body, Refusal>),
        lines: &mut Lines,
        tally: &mut Tally,
    ) -> bool {
        let wish = &mut self.wishes[at];
        match (op, result) {
            (opcode::CREATE, Ok(Body::Path(path))) => {
                wish.own = path;
                self.list(at, lines);
            }
            (opcode::GET_CHILDREN, Ok(Body::Names(names))) => self.look(at, now, &names, lines, tally),
            (opcode::EXISTS, Ok(_)) if !wish.is_before_gone => wish.is_watching = true,
            (opcode::EXISTS, Ok(_)) => self.list(at, lines),
            (opcode::EXISTS, Err(refusal)) if refusal.is(Code::NoNode) => self.list(at, lines),
            (opcode::DELETE, result) => {
                tally.answered(now, RELEASE, wish.start, result.map_or_else(|refusal| refusal.0, |_| 0));
                return true;
            }
            (op, result) => {
                tally.answered(now, ACQUIRE, wish.start, result.map_or_else(|refusal| refusal.0, |_| 0));
                if op == opcode::CREATE {
                    return true;
                }
                // Whoever gives up must not stay in the way of those behind.
                self.release(at, now, lines, tally);
            }
        }
        false
    }
}

impl Cycle for Lock {
    const NAMES: &'static [&'static str] = &["acquire", "release"];
    const HAS_SESSION: bool = true;

    fn begin(&mut self, at: usize, start: u64, lines: &mut Lines) {
        if self.wishes.is_empty() {
            self.wishes.resize(lines.len(), Wish::default());
        }
        self.wishes[at].start = start;
        let path = format!("{}/wish-", self.lock(at));
        let mode = CreateMode::EphemeralSequential;
        lines.ask(at, &Ask::Create { path: &path, data: Some(&self.data), acl: &self.acl, mode });
    }

    fn hear(&mut self, at: usize, now: u64, heard: Heard, lines: &mut Lines, tally: &mut Tally) -> Result<bool, Ended> {
        match heard {
            Heard::Reply(reply) => Ok(self.reply(at, now, (reply.op, reply.result), lines, tally)),
            Heard::Event(event) => {
                let wish = &mut self.wishes[at];
                if event.path == wish.before && event.kind == EventType::NodeDeleted as i32 {
                    // It may come before the reply that says that it was watched for.
                    wish.is_before_gone = true;
                    if std::mem::take(&mut wish.is_watching) {
                        self.list(at, lines);
                    }
                }
                Ok(false)
            }
            other => Err(lines.lost(at, now, other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_compete_for_a_lock_unless_there_are_fewer_znodes() {
        for (connections, nodes, want) in [(64, 1000, 16), (64, 1, 1), (64, 5, 5), (3, 1000, 1), (5, 1000, 2)] {
            assert_eq!(locks(&Spec { connections, nodes, ..Spec::default() }), want);
        }
    }
}
