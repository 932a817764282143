//! Oracle: knows the whole history and says when a server breaks a promise. The numbers are those of the list in `docs/sim.md`.
//!
//! Every property is checked for all transactions and all servers, at the moment at which it could break.

use std::collections::{BTreeMap, BTreeSet};

use super::boot::Boot;
use super::log::{Mark, State, hash};
use super::model::Model;
use super::node::Node;
use super::process::{Process, Remains};
use super::snapshot::SEEDS;
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::packet::{Blob, Packet};
use crate::proto::txn::{self, Txn};
use crate::tree::tree::Tree;
use crate::zab::{Record, Role};

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

/// What is wrong, if something is.
pub type Verdict = Result<(), Violation>;

fn wrong<T>(invariant: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { invariant, what })
}

/// What was sent on a connection by its leader.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    /// The last transaction of the history, before the packet that ends it.
    history: Zxid,
    is_complete: bool,
    /// Place after the last commit.
    commits: Option<u64>,
    /// The learner has acknowledged the new leader.
    is_acknowledged: bool,
}

/// The history, as nobody in the world knows it.
pub struct Oracle {
    voters: usize,
    /// Who has proposed what.
    proposed: BTreeMap<Zxid, (usize, u64, Blob)>,
    /// Who leads an epoch.
    leaders: BTreeMap<u32, usize>,
    /// All that was ever committed, in order.
    committed: Vec<Mark>,
    /// Number of the state behind each.
    digests: Vec<u64>,
    told: BTreeMap<u64, Told>,
    /// The newest epoch whose leader has delivered its history.
    established: u32,
    /// The newest transaction that a client was told of as its own.
    pub acked: Zxid,
    /// What became of every znode.
    pub model: Model,
    /// The tree that all of it leads to, made by nobody in the world, and its digest behind each transaction.
    tree: Tree,
    trees: Vec<u64>,
    /// Of each transaction: the session, its number there, how it was refused.
    headers: Vec<(SessionId, i32, i32)>,
    /// Sessions that are open.
    sessions: BTreeSet<SessionId>,
}

impl Oracle {
    /// Before anything has happened.
    #[must_use]
    pub fn new(voters: usize) -> Self {
        Self {
            voters,
            proposed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            digests: Vec::new(),
            told: BTreeMap::new(),
            established: 0,
            acked: Zxid::ZERO,
            model: Model::default(),
            tree: Tree::new(SEEDS),
            trees: Vec::new(),
            headers: Vec::new(),
            sessions: BTreeSet::new(),
        }
    }

    /// How many transactions were ever committed.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.committed.len() as u64
    }

    const fn majority(&self) -> usize {
        self.voters / 2 + 1
    }

    fn place(&self, zxid: Zxid) -> Option<usize> {
        self.committed.binary_search_by_key(&zxid, |mark| mark.zxid).ok()
    }

    /// Whether enough servers with a vote, besides one perhaps, hold a transaction durably at this place: a quorum; or, while one may have
    /// forgotten it, so many that no quorum can be had without one of them.
    fn is_held(&self, nodes: &[Node], place: u64, mark: Mark, besides: Option<usize>) -> bool {
        let voters = nodes[..self.voters].iter().enumerate();
        let (impaired, whole): (Vec<_>, Vec<_>) = voters.partition(|(_, node)| node.is_impaired);
        let holders =
            whole.iter().filter(|(node, _)| Some(*node) != besides).filter(|(_, node)| holds(node, place, mark)).count();
        holders >= self.majority() || !impaired.is_empty() && whole.len() - holders < self.majority()
    }

    /// Something is committed, at this place.
    fn commit(&mut self, nodes: &[Node], place: u64, mark: Mark, blob: &[u8], who: usize) -> Verdict {
        let at = usize::try_from(place).expect("a few transactions");
        if let Some(known) = self.committed.get(at) {
            if *known != mark {
                return wrong("I2", format!("server {} has {mark:?} as transaction {place}, others have {known:?}", who + 1));
            }
            return Ok(());
        }
        if at > self.committed.len() {
            return wrong("I2", format!("server {} is at transaction {place}, {} are known", who + 1, self.committed.len()));
        }
        match self.proposed.get(&mark.zxid) {
            Some((_, hash, _)) if *hash == mark.hash => {}
            other => {
                let other = other.map(|(who, hash, _)| (who + 1, hash));
                return wrong("I1", format!("{mark:?} was committed, and proposed was {other:?}"));
            }
        }
        let before = self.committed.last().map_or(Zxid::ZERO, |mark| mark.zxid);
        let follows = before.next() == Some(mark.zxid) || mark.zxid.epoch() > before.epoch() && mark.zxid.counter() == 1;
        if !follows {
            return wrong("I16", format!("{} was committed behind {before}", mark.zxid));
        }
        if mark.zxid.epoch() < self.established {
            return wrong("I6", format!("{} was committed after epoch {} was led", mark.zxid, self.established));
        }
        if !self.is_held(nodes, place, mark, None) {
            return wrong("I10", format!("{} was committed, and no quorum of {} holds it durably", mark.zxid, self.voters));
        }
        let mut state = State { at: before, count: place, digest: self.digests.last().copied().unwrap_or_default() };
        state.apply(mark);
        self.committed.push(mark);
        self.digests.push(state.digest);
        self.take_in(mark.zxid, blob)
    }

    /// What is committed changes the one tree that nobody has, and the sessions.
    fn take_in(&mut self, zxid: Zxid, blob: &[u8]) -> Verdict {
        let (header, txn, _) = match txn::decode_blob(blob) {
            Ok(decoded) => decoded,
            Err(error) => return wrong("I17", format!("{zxid} cannot be read: {error}")),
        };
        let (session, mut refused) = (header.session, 0);
        match &txn {
            Txn::CreateSession { .. } => {
                self.sessions.insert(session);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(&session);
            }
            Txn::Error { err } => refused = *err,
            _ if !self.sessions.contains(&session) => {
                return wrong("I18", format!("{zxid} is of session {session}, which is not open"));
            }
            _ => {}
        }
        let mut steps = Vec::new();
        if let Err(error) = self.tree.apply(&header, &txn, &mut steps) {
            return wrong("I17", format!("{zxid} cannot be taken in: {error}"));
        }
        self.tree.forget(zxid);
        self.model.adopt(zxid, &steps);
        self.trees.push(self.tree.digest());
        self.headers.push((session, header.cxid, refused));
        if matches!(txn, Txn::CloseSession { .. })
            && let Some(path) = self.tree.ephemerals(session).next()
        {
            return wrong("I18", format!("session {session} ends with {zxid}, and {path} is still there"));
        }
        Ok(())
    }

    /// Whether a transaction is committed.
    #[must_use]
    pub fn is_committed(&self, zxid: Zxid) -> bool {
        self.place(zxid).is_some()
    }

    /// A client is told what became of its request.
    pub fn answered(&mut self, session: SessionId, cxid: i32, zxid: Zxid, err: i32) -> Verdict {
        let header = self.place(zxid).map(|place| self.headers[place]);
        let is_its = header.is_some_and(|(of, number, _)| (of, number) == (session, cxid));
        let is_so = header.is_some_and(|(.., refused)| err != 0 || refused == 0);
        if !is_its || !is_so {
            return wrong("I13", format!("session {session} is told {err} of its request {cxid} at {zxid}, which is {header:?}"));
        }
        self.acked = self.acked.max(zxid);
        Ok(())
    }

    /// The views of a server stand where they stand with the tree that they should have.
    pub fn shows(&self, who: usize, process: &Process) -> Verdict {
        let (sequencer, digest) = process.engine.digest();
        let views = [
            (process.shard.applied(), process.shard.digest(), "shard"),
            (process.archivist.applied(), process.archivist.digest(), "archivist"),
            (sequencer, digest, "ledger"),
        ];
        for (at, digest, which) in views {
            let Some(place) = self.place(at) else { continue };
            if self.trees[place] != digest {
                return wrong("I17", format!("the {which} of server {} at {at} has another tree", who + 1));
            }
        }
        let (shown, mark) = (process.shard.applied(), process.delivered.max(process.state.at));
        if shown > mark {
            return wrong("I14", format!("server {} shows {shown}, delivered is {mark}", who + 1));
        }
        Ok(())
    }

    fn knows(&self, state: &State) -> bool {
        match usize::try_from(state.count).expect("a few transactions").checked_sub(1) {
            None => *state == State::default(),
            Some(at) => {
                self.digests.get(at) == Some(&state.digest) && self.committed.get(at).map(|mark| mark.zxid) == Some(state.at)
            }
        }
    }

    /// A leader proposes; or what was proposed before is sent again, or logged. Says whether it is new.
    pub fn proposed(&mut self, who: usize, zxid: Zxid, blob: &Blob) -> Result<bool, Violation> {
        let hash = hash(blob);
        if let Some((other, known, _)) = self.proposed.get(&zxid) {
            if *known != hash {
                return wrong("I4", format!("{zxid} was proposed twice, by server {} and by {}", other + 1, who + 1));
            }
            return Ok(false);
        }
        if self.leaders.get(&zxid.epoch()) != Some(&who) {
            let leader = self.leaders.get(&zxid.epoch()).map(|leader| leader + 1);
            return wrong("I7", format!("server {} proposes {zxid}, and the epoch is of {leader:?}", who + 1));
        }
        self.proposed.insert(zxid, (who, hash, Blob::clone(blob)));
        Ok(true)
    }

    /// A server says that it has delivered these, with the state behind each.
    pub fn delivered(
        &mut self,
        nodes: &[Node],
        who: usize,
        process: &Process,
        up_to: Zxid,
        shown: &[(Mark, State, Blob)],
    ) -> Verdict {
        if up_to > process.log.durable() {
            let durable = process.log.durable();
            return wrong("I14", format!("server {} delivers up to {up_to} and has {durable} durably", who + 1));
        }
        if up_to != process.state.at {
            let at = process.state.at;
            return wrong("I14", format!("server {} delivers up to {up_to}, and its log leads to {at}", who + 1));
        }
        for (mark, state, blob) in shown {
            self.commit(nodes, state.count - 1, *mark, blob, who)?;
            if !self.knows(state) {
                return wrong("I17", format!("server {} comes to another state at {}", who + 1, mark.zxid));
            }
        }
        Ok(())
    }

    fn leads(&mut self, who: usize, epoch: u32) -> Verdict {
        match *self.leaders.entry(epoch).or_insert(who) {
            other if other == who => Ok(()),
            other => wrong("I7", format!("servers {} and {} both lead epoch {epoch}", other + 1, who + 1)),
        }
    }

    /// A server's role changes.
    pub fn became(&mut self, who: usize, process: &Process, role: Role) -> Verdict {
        let Role::Leading { epoch } = role else { return Ok(()) };
        self.leads(who, epoch)?;
        // One that was paused as a quorum acknowledged it may wake when later epochs have long gone on: what they did is not due.
        let due = self.committed.partition_point(|mark| mark.zxid.epoch() < epoch) as u64;
        if process.state.count < due {
            let (has, of) = (process.state.count, due);
            return wrong("I6", format!("server {} leads epoch {epoch} and has delivered {has} of {of} transactions", who + 1));
        }
        self.established = self.established.max(epoch);
        if process.promised.current != epoch {
            let current = process.promised.current;
            return wrong("I8", format!("server {} leads epoch {epoch}, and its durable epoch is {current}", who + 1));
        }
        Ok(())
    }

    /// A packet leaves a server.
    pub fn sent(&mut self, nodes: &[Node], who: usize, process: &Process, link: u64, packet: &Packet) -> Verdict {
        match packet {
            Packet::Diff { to } | Packet::Trunc { to } | Packet::Snap { at: to } => {
                let told = self.told.entry(link).or_default();
                if !told.is_complete && to.counter() > 0 {
                    told.history = *to;
                }
                // A diff says where it will lead, a cut where it begins.
                if matches!(packet, Packet::Diff { .. }) {
                    told.history = Zxid::ZERO;
                }
            }
            Packet::Proposal { zxid, blob } => {
                self.proposed(who, *zxid, blob)?;
                let told = self.told.entry(link).or_default();
                if !told.is_complete {
                    told.history = *zxid;
                }
            }
            Packet::NewLeader { epoch, .. } => {
                self.told.entry(link).or_default().is_complete = true;
                self.leads(who, *epoch)?;
            }
            Packet::AckEpoch { current, .. } => {
                if let Some(current) = current
                    && *current > process.promised.current
                {
                    return wrong("I11", format!("server {} says that its epoch is {current}, which is not durable", who + 1));
                }
            }
            Packet::Ack { zxid } if zxid.counter() == 0 => {
                self.acks_leader(who, process, link, zxid.epoch())?;
                self.told.entry(link).or_default().is_acknowledged = true;
            }
            Packet::Ack { zxid } => {
                if !self.told.get(&link).is_some_and(|told| told.is_acknowledged) {
                    return wrong("I11", format!("server {} acknowledges {zxid} before its leader", who + 1));
                }
                self.acks(who, process, *zxid)?;
            }
            Packet::Commit { zxid } | Packet::Inform { zxid, .. } => self.commits(nodes, who, process, link, *zxid)?,
            _ => {}
        }
        Ok(())
    }

    fn acks(&self, who: usize, process: &Process, zxid: Zxid) -> Verdict {
        let found = process.log.find(zxid).map(|entry| entry.mark);
        let known = self.proposed.get(&zxid).map(|(_, hash, _)| Mark { zxid, hash: *hash });
        // What an image holds is not in the log any more.
        let is_there = found.is_some() && found == known || found.is_none() && zxid <= process.log.base().1;
        if zxid > process.log.durable() || !is_there {
            let durable = process.log.durable();
            return wrong("I11", format!("server {} acknowledges {zxid}, durable is {durable}, there is {found:?}", who + 1));
        }
        Ok(())
    }

    fn acks_leader(&self, who: usize, process: &Process, link: u64, epoch: u32) -> Verdict {
        let history = self.told.get(&link).map_or(Zxid::ZERO, |told| told.history);
        let (durable, current) = (process.log.durable(), process.promised.current);
        if current != epoch {
            return wrong("I11", format!("server {} acknowledges epoch {epoch}, durable is {current}", who + 1));
        }
        let is_there = process.log.find(history).is_some() || history <= process.log.base().1;
        if durable < history || !is_there {
            return wrong(
                "I11",
                format!("server {} acknowledges epoch {epoch} with {durable}, its leader's history ends at {history}", who + 1),
            );
        }
        Ok(())
    }

    fn commits(&mut self, nodes: &[Node], who: usize, process: &Process, link: u64, zxid: Zxid) -> Verdict {
        let told = self.told.get(&link).copied().unwrap_or_default();
        let place = match self.place(zxid) {
            Some(place) => place as u64,
            // In the history that a leader begins with, a commit only says that it belongs to it; what commits it is its end.
            None if !told.is_complete => {
                if process.log.find(zxid).is_none() {
                    return wrong("I12", format!("server {} commits {zxid}, which it does not have", who + 1));
                }
                process.log.base().0 + process.log.after(zxid) as u64 - 1
            }
            None => {
                if process.role != (Role::Leading { epoch: zxid.epoch() }) {
                    return wrong("I12", format!("server {} commits {zxid} and is {:?}", who + 1, process.role));
                }
                let Some((_, hash, blob)) = self.proposed.get(&zxid) else {
                    return wrong("I12", format!("server {} commits {zxid}, which nobody proposed", who + 1));
                };
                let (place, mark, blob) = (self.count(), Mark { zxid, hash: *hash }, Blob::clone(blob));
                self.commit(nodes, place, mark, &blob, who)?;
                place
            }
        };
        if told.commits.is_some_and(|expected| expected != place) {
            return wrong("I12", format!("server {} commits {zxid} out of order", who + 1));
        }
        self.told.entry(link).or_default().commits = Some(place + 1);
        Ok(())
    }

    /// A server is about to cut its log.
    pub fn cuts(&self, nodes: &[Node], who: usize, process: &Process, to: Zxid) -> Verdict {
        if to < process.state.at.max(process.delivered) {
            let at = process.state.at;
            return wrong("I15", format!("server {} is to cut to {to} below its delivered {at}", who + 1));
        }
        let first = process.log.base().0 + process.log.after(to) as u64;
        self.keeps(nodes, who, process, first)
    }

    /// Of what a server gives up from a place on, nothing is committed, or a quorum of the others has it. (A leader that takes a follower of
    /// its own epoch back cuts what it has not committed yet, and sends it again.)
    fn keeps(&self, nodes: &[Node], who: usize, process: &Process, first: u64) -> Verdict {
        for place in first..self.count() {
            let Some(entry) = process.log.get(place) else { break };
            let mark = entry.mark;
            if self.committed[usize::try_from(place).expect("a few")] != mark {
                continue;
            }
            if !self.is_held(nodes, place, mark, Some(who)) {
                let zxid = mark.zxid;
                return wrong(
                    "I15",
                    format!("server {} is to give up {zxid}, which is committed, and no quorum has it", who + 1),
                );
            }
        }
        Ok(())
    }

    /// A server is about to put a state in the place of everything.
    pub fn installs(&self, nodes: &[Node], who: usize, process: &Process, state: &State, tail: &[Record]) -> Verdict {
        if !self.knows(state) {
            return wrong("I2", format!("server {} is to take over a state at {} that nobody ever had", who + 1, state.at));
        }
        let end = state.count + tail.len() as u64;
        if end < process.state.count {
            let at = process.state.at;
            return wrong("I15", format!("server {} is to take over {} below its delivered {at}", who + 1, state.at));
        }
        self.keeps(nodes, who, process, end)
    }

    /// What a start has found, against what had to be there.
    pub fn recovered(&self, who: usize, boot: &Boot, remains: Option<&Remains>) -> Verdict {
        let promise = boot.cabinet.promised();
        let marks: Vec<Mark> = boot.log.entries().map(|entry| entry.mark).collect();
        let mut before = boot.log.base().1;
        for mark in &marks {
            let follows = before.next() == Some(mark.zxid) || mark.zxid.epoch() > before.epoch() && mark.zxid.counter() == 1;
            if !follows {
                return wrong("I16", format!("server {} starts with {} behind {before}", who + 1, mark.zxid));
            }
            before = mark.zxid;
        }
        let image = &boot.image.state;
        if !self.knows(image) {
            return wrong("I14", format!("server {} starts with an image at {} that nobody ever had", who + 1, image.at));
        }
        let delivered = boot.log.base().0 + boot.log.after(boot.committed) as u64;
        let shown = boot.log.base().0..delivered;
        for (place, mark) in shown.clone().zip(&marks) {
            if self.committed.get(usize::try_from(place).expect("a few")) != Some(mark) {
                return wrong("I14", format!("server {} starts with {} as committed, which it is not", who + 1, mark.zxid));
            }
        }
        if promise.current > promise.accepted || before.epoch() > promise.accepted {
            return wrong("I8", format!("server {} starts with {promise:?} and a log up to {before}", who + 1));
        }
        let Some(remains) = remains else { return Ok(()) };
        let (low, high) = (remains.promised, remains.promising);
        if promise.accepted < low.accepted || promise.current < low.current || promise.accepted > high.accepted {
            return wrong("I8", format!("server {} starts with {promise:?}, it had promised {low:?}", who + 1));
        }
        let is_old = agrees(image, &marks, remains.base, &remains.marks, remains.durable);
        let is_new = remains.install.as_ref().is_some_and(|(state, tail)| {
            let end = state.count + tail.len() as u64;
            agrees(image, &marks, state.count, tail, end)
                // The state has its name, and the log before it is still there.
                || image == state && agrees(image, &marks, remains.base, &remains.marks, 0)
        });
        if !is_old && !is_new {
            let (count, end) = (image.count, image.count + marks.len() as u64);
            return wrong(
                "I14",
                format!(
                    "server {} starts with transactions {count} to {end} ({before}), durable were {} of {} to {}",
                    who + 1,
                    remains.durable,
                    remains.base,
                    remains.base + remains.marks.len() as u64
                ),
            );
        }
        Ok(())
    }

    /// The state that all have who have everything.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            at: self.committed.last().map_or(Zxid::ZERO, |mark| mark.zxid),
            count: self.count(),
            digest: self.digests.last().copied().unwrap_or_default(),
        }
    }
}

/// Whether what was found is a beginning of a log of so many transactions before `marks`, and no shorter than `durable`. What the image
/// holds was checked with the image.
fn agrees(image: &State, found: &[Mark], base: u64, marks: &[Mark], durable: u64) -> bool {
    let end = image.count + found.len() as u64;
    let most = base + marks.len() as u64;
    let same = found.iter().zip(image.count..).all(|(mark, place)| {
        place < base || marks.get(usize::try_from(place - base).expect("a few")).is_some_and(|known| known == mark)
    });
    same && end >= durable && end <= most.max(image.count)
}

fn holds(node: &Node, place: u64, mark: Mark) -> bool {
    if let Some(process) = &node.process {
        return process.log.durable_count() > place
            && process.log.get(place).map_or(place < process.log.base().0, |entry| entry.mark == mark);
    }
    node.remains.as_ref().is_some_and(|remains| {
        remains.durable > place
            && place
                .checked_sub(remains.base)
                .and_then(|at| remains.marks.get(usize::try_from(at).expect("a few")))
                .map_or(place < remains.base, |known| *known == mark)
    })
}
