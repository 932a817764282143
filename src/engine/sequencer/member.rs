//! Member: what an engine has besides in an ensemble: its part in the agreement, and what waits for that.

use std::collections::{BTreeSet, VecDeque};
use std::mem;

use super::corridor::{Asked, Corridor};
use super::local::Locals;
use super::queue::{Framed, Queue};
use super::{Flight, Home, Restored, Sequencer, To};
use crate::engine::census::{ProposalSizes, Standing};
use crate::engine::message::{Batch, Doors, Outcome, Outward};
use crate::engine::stages::Stage;
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::ground::limits::BATCH_BYTES_DEFAULT;
use crate::ground::time::{Millis, Now};
use crate::proto::packet::Packet;
use crate::storage::appender::{Appender, Contents, Placement};
use crate::storage::batch::{Records, framed_len};
use crate::tree::view::View;
use crate::zab::{Found, In, Link, Members, Out, Peer, Record, Role, Times, Token, Write};

/// Bytes of transactions that may wait to be agreed on: beyond that a leader takes no more.
const UNDELIVERED_MAX: usize = 64 << 20;

/// What a task came to.
pub enum Done {
    /// A promise, or the word that a server is whole again, is durable.
    Plain,
    /// The log was cut: where it goes on.
    Cut(Appender),
    /// A state has taken the place of everything.
    Installed {
        /// It, standing at its own zxid.
        restored: Box<Restored>,
        /// Where the log behind it goes on.
        appender: Appender,
    },
}

/// A part in an ensemble.
pub(super) struct Member {
    pub(super) peer: Peer,
    role: Role,
    /// It makes way, and takes nothing more.
    pub(super) is_leaving: bool,
    /// It does so because its log has no room, and comes back when there is some.
    pub(super) is_full: bool,
    pub(super) effects: Vec<Out>,
    queue: Queue,
    /// In the log or on their way there, and not delivered; a leader's ledger has them, another's does not.
    pub(super) pending: VecDeque<Record>,
    pending_bytes: usize,
    /// A leader's batches that are not delivered.
    proposed: VecDeque<Batch>,
    /// The batch that is being proposed.
    framed: Option<Framed>,
    pub(super) corridor: Corridor,
    /// What learners have asked of this leader, until there is room.
    pub(super) asked: VecDeque<(Link, Packet)>,
    /// Answers to learners, each behind the transaction that must be committed first.
    late: VecDeque<(Zxid, Link, Packet)>,
    /// Where the state stands that is being put in force.
    installing: Option<Zxid>,
    /// A state was put in force that stands here.
    floor: Zxid,
    /// How long after its doors were shut, ms, it serves reads to those who want no more.
    read_only_after: Option<u64>,
    shut_since: Millis,
    pub(super) is_read_only: bool,
    /// Sessions of clients that read only.
    pub(super) visitors: BTreeSet<SessionId>,
    /// Sessions that this server alone knows of, where it keeps such.
    pub(super) locals: Option<Locals>,
    /// What cannot be gone on from.
    fault: Option<String>,
    /// What it has proposed, for admin words.
    sizes: ProposalSizes,
}

impl Member {
    /// It serves clients.
    pub(super) const fn serves(&self) -> bool {
        self.role.serves() && !self.is_leaving
    }

    /// It leads, and takes requests.
    pub(super) const fn leads(&self) -> bool {
        matches!(self.role, Role::Leading { .. }) && !self.is_leaving
    }

    /// The epoch that it leads.
    const fn epoch(&self) -> Option<u32> {
        if let Role::Leading { epoch } = self.role { Some(epoch) } else { None }
    }

    fn pend(&mut self, record: Record) {
        self.pending_bytes += record.blob.len();
        self.pending.push_back(record);
    }

    /// What comes after a transaction is gone.
    fn cut(&mut self, to: Zxid) {
        while let Some(record) = self.pending.pop_back_if(|record| record.zxid > to) {
            self.pending_bytes -= record.blob.len();
        }
    }

    /// The oldest transaction that is not delivered, if it is not beyond a mark.
    pub(super) fn pop_pending(&mut self, up_to: Zxid) -> Option<Record> {
        let record = self.pending.pop_front_if(|record| record.zxid <= up_to)?;
        self.pending_bytes -= record.blob.len();
        Some(record)
    }

    /// An answer to a learner, when `mark` is committed. It leaves before any later commit does.
    pub(super) fn answer_learner(&mut self, mark: Zxid, link: Link, packet: Packet) {
        self.late.push_back((mark, link, packet));
    }

    /// Answers that must leave before the commit of `zxid`, or now that everything up to it is delivered.
    fn send_late(&mut self, to: Option<Link>, is_due: impl Fn(Zxid) -> bool) {
        if self.late.is_empty() {
            return;
        }
        let effects = &mut self.effects;
        self.late.retain(|(mark, link, packet)| {
            let stays = to.is_some_and(|to| to != *link) || !is_due(*mark);
            if !stays {
                effects.push(Out::Send { link: *link, packet: packet.clone() });
            }
            stays
        });
    }

    fn forget_learner(&mut self, link: Link) {
        self.late.retain(|(_, other, _)| *other != link);
        self.asked.retain(|(other, _)| *other != link);
    }

    pub(super) fn has_room(&self) -> bool {
        self.pending_bytes < UNDELIVERED_MAX
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Sequencer {
    /// What `zab::Peer::set_limits` says: smaller worlds than a server's meet the ends of memory and of an epoch, too.
    ///
    /// # Panics
    /// Where it is no member.
    pub fn set_limits(&mut self, history_bytes: usize, epoch_length: u32) {
        self.member.as_mut().expect("a member has limits").peer.set_limits(history_bytes, epoch_length);
    }

    /// Makes the engine a member of an ensemble, with its doors shut. It stands at what is known to be committed; `pending` is what the log
    /// holds beyond that, ascending. [`Sequencer::effects`] and [`Sequencer::task`] have what is to be done first.
    #[must_use]
    pub fn join(mut self, me: ServerId, members: Members, times: Times, found: Found, pending: Vec<Record>, now: Now) -> Self {
        assert!(self.proposed <= found.delivered, "the ledger holds only what is known to be committed");
        self.delivered = found.delivered;
        let (peer, outs) = Peer::new(me, members, times, found, now.mono());
        let mut member = Box::new(Member {
            peer,
            role: Role::Looking,
            is_leaving: false,
            is_full: false,
            effects: Vec::new(),
            queue: Queue::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            proposed: VecDeque::new(),
            framed: None,
            corridor: Corridor::default(),
            asked: VecDeque::new(),
            late: VecDeque::new(),
            installing: None,
            floor: Zxid::ZERO,
            read_only_after: None,
            shut_since: now.mono(),
            is_read_only: false,
            visitors: BTreeSet::new(),
            locals: None,
            fault: None,
            sizes: ProposalSizes::default(),
        });
        pending.into_iter().for_each(|record| member.pend(record));
        self.member = Some(member);
        self.perform(outs, now);
        self
    }

    /// Takes what comes from peers, and from those who read the log and carry states for them.
    pub fn step(&mut self, input: In, now: Now) {
        let is_answer = |packet: &Packet| matches!(packet, Packet::Sync | Packet::Revalidated { .. });
        match input {
            In::Train { link, packets } if packets.iter().any(is_answer) => {
                // What the leader says is done is what was committed before it said so, not what comes with it.
                let mut train = Vec::new();
                for packet in packets {
                    if is_answer(&packet) {
                        if !train.is_empty() {
                            self.advance(In::Train { link, packets: mem::take(&mut train) }, now);
                        }
                        self.advance(In::Packet { link, packet }, now);
                    } else {
                        train.push(packet);
                    }
                }
                if !train.is_empty() {
                    self.advance(In::Train { link, packets: train }, now);
                }
            }
            input => self.advance(input, now),
        }
        self.serve_learners(now);
    }

    pub(super) fn advance(&mut self, input: In, now: Now) {
        let Some(member) = &mut self.member else { return };
        let mut outs = Vec::new();
        let is_ping = |packet: &Packet| matches!(packet, Packet::Ping { .. });
        let asks = match &input {
            In::Packet { packet, .. } => is_ping(packet),
            In::Train { packets, .. } => packets.iter().any(is_ping),
            In::LinkDown { link } => {
                member.forget_learner(*link);
                false
            }
            _ => false,
        };
        if asks && !member.leads() {
            let touched = member.corridor.take_touched();
            if !touched.is_empty() {
                member.peer.step(now.mono(), In::Touched(touched), &mut outs);
            }
        }
        member.peer.step(now.mono(), input, &mut outs);
        self.perform(outs, now);
    }

    fn perform(&mut self, outs: Vec<Out>, now: Now) {
        for out in outs {
            let member = self.member.as_mut().expect("only a member has a peer");
            match out {
                Out::Store { token, write: Write::Append(records) } => match member.framed.take() {
                    Some(framed) => {
                        let (first, last) = (records.first(), records.last());
                        let ends = (first.map(|record| record.zxid), last.map(|record| record.zxid));
                        assert_eq!(
                            ends,
                            (Some(framed.contents.first), Some(framed.contents.last)),
                            "a leader logs what it proposed"
                        );
                        records.into_iter().for_each(|record| member.pend(record));
                        member.queue.append_framed(token, framed);
                    }
                    None => {
                        member.queue.append(token, &records, self.knobs.batch_bytes.min(BATCH_BYTES_DEFAULT));
                        records.into_iter().for_each(|record| member.pend(record));
                    }
                },
                Out::Store { token, write } => {
                    // What is appended after it is on its way already when it is done.
                    match &write {
                        Write::Cut { to } => member.cut(*to),
                        Write::Install { tail, .. } => {
                            member.cut(Zxid::ZERO);
                            tail.iter().for_each(|record| member.pend(record.clone()));
                        }
                        _ => {}
                    }
                    member.queue.alone(token, write);
                }
                Out::Deliver { up_to } => self.deliver(up_to, now),
                Out::Became(role) => self.became(role, now),
                Out::Upward { link, packet } if member.leads() => self.hear_learner(link, packet, now),
                Out::Upward { packet, .. } => self.heard_from_leader(packet, now),
                Out::Send { link, packet } => {
                    if let Packet::Commit { zxid } | Packet::Inform { zxid, .. } = &packet {
                        member.send_late(Some(link), |mark| mark < *zxid);
                    }
                    member.effects.push(Out::Send { link, packet });
                }
                Out::HangUp { link, why } => {
                    member.forget_learner(link);
                    member.effects.push(Out::HangUp { link, why });
                }
                out @ (Out::Notify { .. }
                | Out::Connect { .. }
                | Out::Read { .. }
                | Out::SendState { .. }
                | Out::Fold { .. }
                | Out::Finish { .. }) => member.effects.push(out),
            }
        }
    }

    fn deliver(&mut self, up_to: Zxid, now: Now) {
        let member = self.member.as_mut().expect("only a member is told what to deliver");
        if member.proposed.is_empty() {
            self.adopt(up_to, now);
        } else {
            while member.pop_pending(up_to).is_some() {}
            let mut due = Vec::new();
            while let Some(mut batch) = member.proposed.pop_front_if(|batch| batch.first <= up_to) {
                if let Some(rest) = batch.split_after(up_to) {
                    member.proposed.push_front(rest);
                }
                due.push(batch);
            }
            for batch in due {
                self.stages.record(Stage::Replicate, batch.times.durable, now.micros, batch.entries.len() as u64);
                self.show(batch, now);
            }
            self.ledger.forget(up_to);
        }
        self.delivered = self.delivered.max(up_to);
        self.answer_late();
        if let Some(member) = &mut self.member {
            member.send_late(None, |mark| mark <= up_to);
        }
    }

    fn became(&mut self, role: Role, now: Now) {
        let member = self.member.as_mut().expect("only a member has a role");
        if member.role.serves() {
            self.shut(now);
        } else if mem::take(&mut member.is_read_only) {
            self.outward.push((To::All, Outward::Doors(Doors::Shut)));
        }
        let member = self.member.as_mut().expect("it has one");
        member.role = role;
        member.shut_since = now.mono();
        member.visitors.clear();
        match role {
            Role::Leading { .. } => {
                assert!(
                    member.pending.is_empty() && member.proposed.is_empty(),
                    "a leader has delivered all that it begins with"
                );
                // Nobody else knows who was heard of: every session has its full time again.
                self.sessions.reset_all(now.mono());
                self.outward.push((To::All, Outward::Doors(Doors::Open)));
            }
            Role::Following { .. } | Role::Observing { .. } => self.outward.push((To::All, Outward::Doors(Doors::Open))),
            Role::Looking | Role::Joining { .. } => {}
        }
    }

    /// Nobody is served any more: what was asked and is not agreed on is nobody's, and the ledger goes back to what is.
    fn shut(&mut self, now: Now) {
        self.outward.push((To::All, Outward::Doors(Doors::Shut)));
        let answers = mem::take(&mut self.answers);
        self.outward.extend(answers.into_iter().map(|(_, shard, answer)| (To::Shard(shard), answer)));
        let member = self.member.as_mut().expect("only a member shuts its doors");
        let mut undone: Vec<Batch> = member.proposed.drain(..).collect();
        undone.push(self.builder.abandon());
        let (mut waiting, mut unknown) = member.corridor.clear();
        waiting.extend(member.locals.as_mut().map(Locals::clear).unwrap_or_default());
        for entry in undone.iter().flat_map(|batch| &batch.entries) {
            if let Some(ticket) = entry.ticket {
                waiting.push(Asked { ticket, xid: entry.xid, op: entry.op, cost: entry.cost, since_us: 0, instead: None });
            }
            if matches!(entry.outcome, Outcome::Opened { .. }) {
                unknown.insert(entry.session);
            }
        }
        member.asked.clear();
        member.late.clear();
        let stands = self.delivered.max(member.floor);
        for asked in waiting {
            self.turn_away(asked);
        }
        self.ledger.tree_mut().rollback_above(stands);
        self.proposed = self.proposed.min(stands);
        for session in unknown {
            self.sessions.remove(session);
        }
        let all: Vec<SessionId> = self.sessions.iter().map(|(session, _)| session).collect();
        for session in all {
            self.sessions.set_home(session, Home::Nowhere);
        }
        self.sessions.reset_all(now.mono());
    }

    /// Serves reads to those who want no more, once no leader has been known for so long, ms. At least a tick, or the servers of an ensemble
    /// that starts would begin with that.
    pub fn serve_read_only(&mut self, after: u64) {
        if let Some(member) = &mut self.member {
            member.read_only_after = Some(after);
        }
    }

    /// Opens the doors for those who only read, where it is time to.
    pub(super) fn open_for_reading(&mut self, now: Now) {
        let Some(member) = &mut self.member else { return };
        let is_due = member.read_only_after.is_some_and(|after| now.mono().since(member.shut_since) >= after);
        if is_due && member.role == Role::Looking && !member.is_leaving && !member.is_read_only {
            member.is_read_only = true;
            self.outward.push((To::All, Outward::Doors(Doors::ReadOnly)));
        }
    }

    /// The zxid after the last one.
    pub(super) fn next_zxid(&self) -> Zxid {
        match self.member.as_ref().and_then(|member| member.epoch()) {
            Some(epoch) if epoch > self.proposed.epoch() => Zxid::new(epoch, 1),
            Some(_) => self.proposed.next().expect("an epoch makes way for another long before its end"),
            None => self.proposed.next().unwrap_or_else(|| Zxid::new(self.proposed.epoch() + 1, 1)),
        }
    }

    /// As [`Sequencer::due`], for a member.
    pub(super) fn member_due(&mut self, now: Now) -> Option<usize> {
        let member = self.member.as_ref()?;
        if member.queue.is_empty_of_batches()
            && member.leads()
            && self.builder.is_due(&self.knobs, self.flights.len(), now.micros)
        {
            self.propose(now);
        }
        let member = self.member.as_ref()?;
        if self.flights.len() >= self.knobs.flights {
            return None;
        }
        if let Some(len) = member.queue.next_len() {
            return Some(framed_len(len));
        }
        let wants_mark = self.closing && member.queue.is_empty() && self.flights.is_empty() && self.appender.wants_mark();
        wants_mark.then(|| framed_len(0))
    }

    /// Proposes what has been gathered.
    fn propose(&mut self, now: Now) {
        let member = self.member.as_mut().expect("only a member proposes");
        let mut batch = self.builder.close(&mut self.stages, now.micros);
        let payload = mem::take(&mut self.builder.payload);
        let contents = Contents { first: batch.first, last: batch.last, count: batch.records() };
        let zxids = batch.entries.iter().map(|entry| entry.zxid);
        let records = Records::new(&payload).zip(zxids).map(|(blob, zxid)| {
            let blob = blob.expect("what was gathered reads back");
            Record { zxid, blob: blob.into() }
        });
        let records: Vec<Record> = records.collect();
        assert_eq!(records.len(), batch.entries.len(), "one blob a transaction");
        records.iter().for_each(|record| member.sizes.note(record.blob.len()));
        batch.bytes = payload.len();
        member.proposed.push_back(batch);
        member.framed = Some(Framed { payload, contents });
        self.advance(In::Propose(records), now);
        let is_logged = self.member.as_ref().is_some_and(|member| member.framed.is_none());
        assert!(is_logged, "a leader logs what it proposes");
    }

    /// As [`Sequencer::frame`], for a member.
    pub(super) fn member_frame(&mut self, out: &mut [u8]) -> Placement {
        let member = self.member.as_mut().expect("only a member is asked");
        if let Some(Framed { payload, contents }) = member.queue.take_batch() {
            self.flights.push_back(Flight { batch: None, last: contents.last });
            self.appender.frame_into(contents, &[&payload], self.delivered, out)
        } else {
            self.flights.push_back(Flight { batch: None, last: self.appender.last() });
            self.appender.mark_into(self.delivered, out)
        }
    }

    /// Answers the writes that are durable.
    pub(super) fn answer_writes(&mut self, now: Now) {
        let durable = self.appender.durable();
        if let Some(member) = &mut self.member {
            let from = member.proposed.partition_point(|batch| batch.times.durable > 0);
            let due = member.proposed.range_mut(from..).take_while(|batch| batch.last <= durable);
            due.for_each(|batch| self.stages.flushed(batch, now.micros));
        }
        while let Some(token) = self.member.as_mut().and_then(|member| member.queue.answer(self.appender.durable())) {
            self.advance(In::Stored(token), now);
        }
        self.serve_learners(now);
    }

    /// When [`In::Time`] is due; never for a server alone.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.member.as_ref().map(|member| member.peer.deadline())
    }

    /// What the driver has to do for the ensemble, in this order: notify, connect, hang up, send, read, send the state.
    pub fn effects(&mut self) -> Vec<Out> {
        self.member.as_mut().map(|member| mem::take(&mut member.effects)).unwrap_or_default()
    }

    /// A write that bears nothing beside it: a promise, a cut, a state to be put in force, the word that a server is whole again. While it is
    /// under way nothing else is written.
    pub fn task(&mut self) -> Option<(Token, Write)> {
        if !self.flights.is_empty() {
            return None;
        }
        let member = self.member.as_mut()?;
        let task = member.queue.take_alone()?;
        if let (_, Write::Install { at, .. }) = &task {
            member.installing = Some(*at);
        }
        Some(task)
    }

    /// That write is durable.
    pub fn task_done(&mut self, token: Token, done: Done, now: Now) {
        let member = self.member.as_mut().expect("only a member has tasks");
        member.queue.alone_is_done(token);
        match done {
            Done::Plain => {}
            Done::Cut(appender) => self.appender = appender,
            Done::Installed { restored, appender } => {
                let at = member.installing.take().expect("a state was to be put in force");
                let Restored { mut ledger, sessions, last } = *restored;
                assert!(last <= at, "the state stands where it was said to");
                member.floor = at;
                ledger.take_rules_of(&self.ledger);
                (self.ledger, self.sessions, self.appender) = (ledger, sessions, appender);
                self.proposed = at;
                for shard in 0..self.shards {
                    let view = Box::new(self.ledger.tree().view().clone());
                    self.outward.push((To::Shard(crate::ground::ids::ShardId(shard)), Outward::Reset(view, at)));
                }
            }
        }
        self.advance(In::Stored(token), now);
    }

    /// Makes way: a leader hands over, and whoever it is serves nobody once that is done.
    pub fn leave(&mut self, now: Now) {
        self.make_way(now);
        if let Some(member) = &mut self.member {
            member.is_full = false;
        }
    }

    pub(super) fn make_way(&mut self, now: Now) {
        if self.member.as_ref().is_some_and(|member| member.leads()) && !self.builder.is_empty() {
            self.propose(now);
        }
        let Some(member) = &mut self.member else { return };
        member.is_leaving = true;
        self.advance(In::Leave, now);
    }

    /// Whether it has left, and nobody waits for its vote any more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.peer.has_left())
    }

    /// What it is in its ensemble; none for a server alone.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.member.as_ref().map(|member| member.role)
    }

    /// Its part in the ensemble, for admin words.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let member = self.member.as_ref()?;
        Some(Standing {
            role: member.role,
            is_read_only: member.is_read_only,
            is_impaired: member.peer.is_impaired(),
            promise: member.peer.promise(),
            proposed: member.peer.proposed(),
            learners: member.peer.learners(),
            voters: member.peer.voters(),
            proposals: member.sizes,
        })
    }

    /// What cannot be gone on from: the process has to end with this line.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.member.as_ref()?.fault.as_deref()
    }

    pub(super) fn fail(&mut self, why: String) {
        if let Some(member) = &mut self.member {
            member.fault.get_or_insert(why);
        }
    }

    /// The ledger's View, after a state was put in force.
    #[must_use]
    pub const fn view(&self) -> &View {
        self.ledger.tree().view()
    }

    /// The sessions with the time-outs they were opened with, ms.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.sessions.iter().map(|(id, session)| (id, session.timeout_ms))
    }
}
