//! Mesh: rings between every shard and the sequencer, the bells, and the `released` mark.
//!
//! A shard adopts a batch only when `released` has reached it, and the sequencer raises that mark only when every shard's ring
//! holds the batch: so a read begun on any shard after a write was acknowledged on any other sees that write.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use super::archivist_loop::ArchivistFeed;
use super::bell::{Bell, Nap};
use super::disk::FlushMethod;
use crate::engine::message::{Inward, Outward};
use crate::engine::sequencer::{FlushKnobs, To};
use crate::engine::shard::Flow;
use crate::ground::ids::{SessionId, ShardId, Zxid};
use crate::ground::limits;
use crate::ground::time::Millis;
use crate::session::throttle::Rules;

/// Lists of sessions heard of that wait for the sequencer.
const TOUCH_RING: usize = 64;

/// Sessions heard of, beyond that ring, from which on repeats are removed.
const TOUCHED_MANY: usize = 4096;

/// What all executors share.
#[derive(Default)]
pub struct Common {
    /// Newest zxid that every shard may adopt.
    released: AtomicU64,
    /// The order to make way for another leader.
    leave: AtomicBool,
    /// It was carried out.
    has_left: AtomicBool,
    /// The order to stop.
    stop: AtomicBool,
    /// Shards whose clients have all been answered and let go.
    shards_done: AtomicUsize,
    sequencer_bell: Bell,
    shards: Vec<ShardCommon>,
    /// Another behaviour of group commit, not taken yet.
    flush: Mail<FlushOrders>,
    /// Another limit on sessions that begin, not taken yet.
    sessions: Mail<Option<Rules>>,
}

/// How the log is to be made durable from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushOrders {
    /// How batches are gathered.
    pub knobs: FlushKnobs,
    /// How they are made durable.
    pub method: FlushMethod,
    /// Each flush is made so much longer, for trials of slower drives.
    pub delay: Duration,
    /// Slower flushes than this are told, ms.
    pub warn_ms: u64,
}

/// One value for one reader, who looks for it in every turn. A later one replaces one that was not taken.
struct Mail<T> {
    value: Mutex<Option<T>>,
    has: AtomicBool,
}

impl<T> Default for Mail<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), has: AtomicBool::new(false) }
    }
}

impl<T> Mail<T> {
    fn put(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.has.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<T> {
        // A look, and a write only where there is something.
        if !self.has.load(Ordering::Acquire) || !self.has.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Default)]
struct ShardCommon {
    bell: Bell,
    applied: AtomicU64,
    /// Microseconds up to which the shard has read what its clients sent, and told of it.
    heard_up_to: AtomicU64,
    /// Other limits, not taken yet.
    flow: Mail<Flow>,
}

impl Common {
    /// Orders every loop to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring_all();
    }

    /// The log is to be made durable so.
    pub fn set_flush(&self, orders: FlushOrders) {
        self.flush.put(orders);
        self.sequencer_bell.ring();
    }

    /// How it is to be, where that was said since this was last asked.
    pub fn take_flush(&self) -> Option<FlushOrders> {
        self.flush.take()
    }

    /// So many sessions may begin in a time.
    pub fn set_sessions(&self, rules: Option<Rules>) {
        self.sessions.put(rules);
        self.sequencer_bell.ring();
    }

    /// How many, where that was said since this was last asked.
    pub fn take_sessions(&self) -> Option<Option<Rules>> {
        self.sessions.take()
    }

    /// Each shard is to let in so much at a time: its share.
    pub fn set_flow(&self, flow: Flow) {
        for shard in &self.shards {
            shard.flow.put(flow);
        }
        self.ring_all();
    }

    /// How much, where that was said since this shard last asked.
    pub fn take_flow(&self, shard: ShardId) -> Option<Flow> {
        self.shards[usize::from(shard.0)].flow.take()
    }

    /// Orders a member of an ensemble to make way.
    pub fn leave(&self) {
        self.leave.store(true, Ordering::Release);
        self.sequencer_bell.ring();
    }

    /// Whether that order was given.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leave.load(Ordering::Acquire)
    }

    /// The member has made way.
    pub fn left(&self) {
        self.has_left.store(true, Ordering::Release);
    }

    /// Whether it has.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    /// Whether the order to stop was given.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// A shard has let its clients go.
    pub fn shard_is_done(&self) {
        self.shards_done.fetch_add(1, Ordering::AcqRel);
        self.sequencer_bell.ring();
    }

    /// Whether all shards have.
    #[must_use]
    pub fn shards_are_done(&self) -> bool {
        self.shards_done.load(Ordering::Acquire) >= self.shards.len()
    }

    /// Wakes one shard's loop.
    pub fn ring(&self, shard: ShardId) {
        self.shards[usize::from(shard.0)].bell.ring();
    }

    /// Wakes the sequencer's loop.
    pub fn ring_sequencer(&self) {
        self.sequencer_bell.ring();
    }

    /// The executor of this shard naps there, and with it the sequencer's loop where it lives there.
    pub fn naps_at(&self, shard: ShardId, with_sequencer: bool, nap: &Arc<Nap>) {
        self.shards[usize::from(shard.0)].bell.naps_at(Arc::clone(nap));
        if with_sequencer {
            self.sequencer_bell.naps_at(Arc::clone(nap));
        }
    }

    /// Whether the sequencer's loop was called and has not come yet.
    #[must_use]
    pub fn sequencer_is_rung(&self) -> bool {
        self.sequencer_bell.is_rung()
    }

    fn ring_all(&self) {
        for shard in &self.shards {
            shard.bell.ring();
        }
        self.sequencer_bell.ring();
    }
}

/// A shard's end of the mesh.
pub struct ShardPort {
    id: ShardId,
    to: Producer<Inward>,
    from: Consumer<Outward>,
    /// What the ring had no room for; the shard's credit bounds it.
    waiting: VecDeque<Inward>,
    /// Sessions heard of go by a ring of their own, so that they never wait behind requests.
    touches: Producer<Vec<SessionId>>,
    /// Those for which that ring had no room.
    touched: Vec<SessionId>,
    common: Arc<Common>,
}

impl ShardPort {
    /// Which shard this is.
    #[must_use]
    pub const fn id(&self) -> ShardId {
        self.id
    }

    /// What all executors share.
    #[must_use]
    pub const fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Sends inward, and rings once; returns how many messages went.
    pub fn send(&mut self, messages: impl Iterator<Item = Inward>) -> usize {
        for message in messages {
            match message {
                Inward::Touched(mut sessions) => self.touched.append(&mut sessions),
                other => self.waiting.push_back(other),
            }
        }
        // Nobody waits for these, so no bell is rung: the sequencer looks before it lets a session expire.
        if !self.touched.is_empty()
            && let Err(rtrb::PushError::Full(sessions)) = self.touches.push(std::mem::take(&mut self.touched))
        {
            self.touched = sessions;
            if self.touched.len() >= TOUCHED_MANY {
                self.touched.sort_unstable();
                self.touched.dedup();
            }
        }
        let mut sent = 0;
        while let Some(message) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(message)) = self.to.push(message) {
                self.waiting.push_front(message);
                break;
            }
            sent += 1;
        }
        if sent > 0 {
            self.common.sequencer_bell.ring();
        }
        sent
    }

    /// Hands over what may be adopted by now, in order; returns how many messages that were.
    pub fn receive(&mut self, mut take: impl FnMut(Outward)) -> usize {
        let released = Zxid(self.common.released.load(Ordering::Acquire));
        let mut taken = 0;
        while let Ok(front) = self.from.peek() {
            if matches!(front, Outward::Batch(batch) if batch.last > released) {
                break;
            }
            let Ok(message) = self.from.pop() else { break };
            take(message);
            taken += 1;
        }
        taken
    }

    /// Tells that what clients sent up to this moment, in microseconds, has been read, and those sessions told of. While some
    /// could not be told of, the moment stands still.
    pub fn heard_up_to(&self, micros: u64) {
        if !self.touched.is_empty() {
            return;
        }
        self.common.shards[usize::from(self.id.0)].heard_up_to.store(micros, Ordering::Release);
    }

    /// Tells how far this shard has come.
    pub fn applied(&self, zxid: Zxid) {
        self.common.shards[usize::from(self.id.0)].applied.store(zxid.0, Ordering::Release);
    }

    /// Leaves word to be woken, and says whether there is something already.
    pub fn listen(&self, waker: &Waker) -> bool {
        self.common.shards[usize::from(self.id.0)].bell.listen(waker);
        let released = Zxid(self.common.released.load(Ordering::Acquire));
        self.from.peek().is_ok_and(|front| !matches!(front, Outward::Batch(batch) if batch.last > released))
            || self.common.is_stopping()
    }
}

/// The sequencer's end of the mesh.
pub struct SequencerPort {
    from: Vec<Consumer<Inward>>,
    touches: Vec<Consumer<Vec<SessionId>>>,
    to: Vec<Lane>,
    /// Batches that the slowest shard has not adopted, as (last zxid, bytes).
    held: VecDeque<(Zxid, usize)>,
    held_bytes: usize,
    /// The shard whose client is the disk.
    archivist: Option<ArchivistFeed>,
    common: Arc<Common>,
}

struct Lane {
    ring: Producer<Outward>,
    waiting: VecDeque<Outward>,
    pushed: Zxid,
    rung: bool,
}

impl SequencerPort {
    /// What all executors share.
    #[must_use]
    pub const fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// From now on every batch goes to the archivist too.
    pub fn feed(&mut self, archivist: ArchivistFeed) {
        self.archivist = Some(archivist);
    }

    /// The way to the archivist.
    #[must_use]
    pub const fn archivist(&self) -> Option<&ArchivistFeed> {
        self.archivist.as_ref()
    }

    /// Rings to read from, one a shard.
    pub fn inboxes(&mut self) -> impl Iterator<Item = (ShardId, &mut Consumer<Inward>)> {
        self.from.iter_mut().enumerate().map(|(i, ring)| (shard_id(i), ring))
    }

    /// Sessions that shards have heard of. A session may be held dead only after they were taken, and after all shards had read
    /// their sockets up to a moment ago, which [`SequencerPort::heard_up_to`] tells and which has to be asked first.
    pub fn touches(&mut self) -> impl Iterator<Item = (ShardId, &mut Consumer<Vec<SessionId>>)> {
        self.touches.iter_mut().enumerate().map(|(i, ring)| (shard_id(i), ring))
    }

    /// The moment up to which all shards have read what their clients had sent.
    #[must_use]
    pub fn heard_up_to(&self) -> Millis {
        let micros = self.common.shards.iter().map(|shard| shard.heard_up_to.load(Ordering::Acquire)).min();
        Millis(micros.unwrap_or(0) / 1000)
    }

    /// Queues a message for the shards; [`SequencerPort::push`] moves it.
    pub fn send(&mut self, to: To, message: Outward) {
        match to {
            To::Shard(shard) => self.to[usize::from(shard.0)].waiting.push_back(message),
            To::All => {
                if let Outward::Batch(batch) = &message {
                    self.held.push_back((batch.last, batch.bytes));
                    self.held_bytes += batch.bytes;
                    if let Some(archivist) = &self.archivist {
                        archivist.batch(batch);
                    }
                }
                for lane in &mut self.to {
                    lane.waiting.push_back(message.clone());
                }
            }
        }
    }

    /// Fills the rings, raises `released` to what all of them hold, and rings those with news.
    pub fn push(&mut self) {
        for lane in &mut self.to {
            while let Some(message) = lane.waiting.pop_front() {
                let last = if let Outward::Batch(batch) = &message { Some(batch.last) } else { None };
                if let Err(rtrb::PushError::Full(message)) = lane.ring.push(message) {
                    lane.waiting.push_front(message);
                    break;
                }
                lane.rung = true;
                if let Some(last) = last {
                    lane.pushed = last;
                }
            }
        }
        if let Some(released) = self.to.iter().map(|lane| lane.pushed).min() {
            self.common.released.fetch_max(released.0, Ordering::AcqRel);
        }
        for (lane, shard) in self.to.iter_mut().zip(&self.common.shards) {
            if std::mem::take(&mut lane.rung) {
                shard.bell.ring();
            }
        }
    }

    /// Whether the shards are so far behind that no request may be admitted.
    pub fn is_choked(&mut self) -> bool {
        if self.held_bytes < limits::OUTWARD_BYTES_MAX / 2 {
            return false;
        }
        let slowest = self.common.shards.iter().map(|shard| shard.applied.load(Ordering::Acquire)).min();
        while let Some(&(last, bytes)) = self.held.front() {
            if slowest.is_some_and(|applied| applied < last.0) {
                break;
            }
            self.held_bytes -= bytes;
            self.held.pop_front();
        }
        self.held_bytes >= limits::OUTWARD_BYTES_MAX
    }

    /// Whether everything was handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.iter().all(|lane| lane.waiting.is_empty())
    }

    /// Leaves word to be woken, and says whether there is something already.
    pub fn listen(&self, waker: &Waker) -> bool {
        self.common.sequencer_bell.listen(waker);
        self.from.iter().any(|ring| !ring.is_empty())
    }
}

fn shard_id(i: usize) -> ShardId {
    ShardId(u16::try_from(i).expect("shards are counted in u16"))
}

/// Makes the mesh of one sequencer and `shards` shards, all standing at `applied`.
#[must_use]
pub fn mesh(shards: usize, applied: Zxid) -> (SequencerPort, Vec<ShardPort>) {
    let common = Arc::new(Common {
        released: AtomicU64::new(applied.0),
        shards: (0..shards).map(|_| ShardCommon { applied: AtomicU64::new(applied.0), ..ShardCommon::default() }).collect(),
        ..Common::default()
    });
    let mut sequencer = SequencerPort {
        from: Vec::new(),
        touches: Vec::new(),
        to: Vec::new(),
        held: VecDeque::new(),
        held_bytes: 0,
        archivist: None,
        common: Arc::clone(&common),
    };
    let mut ports = Vec::new();
    for i in 0..shards {
        let (inward_in, inward_out) = RingBuffer::new(limits::MESH_RING);
        let (outward_in, outward_out) = RingBuffer::new(limits::MESH_RING);
        let (touches_in, touches_out) = RingBuffer::new(TOUCH_RING);
        sequencer.from.push(inward_out);
        sequencer.touches.push(touches_out);
        sequencer.to.push(Lane { ring: outward_in, waiting: VecDeque::new(), pushed: applied, rung: false });
        ports.push(ShardPort {
            id: shard_id(i),
            to: inward_in,
            from: outward_out,
            waiting: VecDeque::new(),
            touches: touches_in,
            touched: Vec::new(),
            common: Arc::clone(&common),
        });
    }
    (sequencer, ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::Batch;

    fn batch(last: u64) -> Outward {
        Outward::Batch(Arc::new(Batch { first: Zxid(last), last: Zxid(last), bytes: 1, ..Batch::default() }))
    }

    #[test]
    fn no_shard_adopts_before_every_ring_holds_the_batch() {
        let (mut sequencer, mut shards) = mesh(2, Zxid(0));
        // Fill the second shard's ring, so that the next batch does not fit there.
        for z in 1..=limits::MESH_RING as u64 {
            sequencer.send(To::All, batch(z));
        }
        sequencer.push();
        assert_eq!(shards[0].receive(|_| {}), limits::MESH_RING);
        let next = limits::MESH_RING as u64 + 1;
        sequencer.send(To::All, batch(next));
        sequencer.push();
        assert_eq!(shards[0].receive(|_| {}), 0, "the other ring is full: nothing is released");
        assert!(!sequencer.is_empty());
        assert_eq!(shards[1].receive(|_| {}), limits::MESH_RING);
        sequencer.push();
        assert_eq!(shards[0].receive(|_| {}), 1);
        assert_eq!(shards[1].receive(|_| {}), 1);
    }

    #[test]
    fn sessions_heard_of_pass_requests_that_wait_and_are_never_lost() {
        let (mut sequencer, mut shards) = mesh(2, Zxid(0));
        let trains = (0..2 * limits::MESH_RING).map(|_| Inward::Train(Box::default()));
        shards[1].send(trains);
        for id in 0..2 * TOUCHED_MANY as i64 {
            shards[1].send(std::iter::once(Inward::Touched(vec![SessionId(id % 5000)])));
        }
        shards[0].heard_up_to(9000);
        assert_eq!(sequencer.heard_up_to(), Millis(0), "the other shard has read nothing");
        let mut got = std::collections::BTreeSet::new();
        for heard in [Millis(0), Millis(7)] {
            shards[1].heard_up_to(7000);
            assert_eq!(sequencer.heard_up_to(), heard, "the moment stands still while sessions wait to be told of");
            for (shard, ring) in sequencer.touches() {
                while let Ok(sessions) = ring.pop() {
                    assert!(shard == ShardId(1) && sessions.len() <= 5000 + TOUCHED_MANY);
                    got.extend(sessions);
                }
            }
            // The rest leaves with the shard's next turn.
            shards[1].send(std::iter::empty());
        }
        for (_, ring) in sequencer.touches() {
            while let Ok(sessions) = ring.pop() {
                got.extend(sessions);
            }
        }
        assert_eq!(got.len(), 5000);
    }

    #[test]
    fn slow_shards_choke_admission_by_bytes_until_they_adopt() {
        let (mut sequencer, mut shards) = mesh(1, Zxid(0));
        for z in 1..=3 {
            let bytes = limits::OUTWARD_BYTES_MAX / 2;
            sequencer.send(To::All, Outward::Batch(Arc::new(Batch { first: Zxid(z), last: Zxid(z), bytes, ..Batch::default() })));
        }
        sequencer.push();
        assert!(sequencer.is_choked());
        shards[0].receive(|_| {});
        shards[0].applied(Zxid(3));
        assert!(!sequencer.is_choked());
    }
}
