//! Sequencer loop: mailbox in, log writes out, batches to the shards.

use std::future::{Future, poll_fn};
use std::io::Write as _;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::io::{PollState, PollableFd};
use glommio::timer::Timer;

use super::clock::Clock;
use super::cores::{Breath, Mates, Tick};
use super::disk::{DiskError, SegmentFile};
use super::keeper::Keeper;
use super::member::{Member, MemberSetup};
use super::mesh::{FlushOrders, SequencerPort};
use super::preparer::Preparer;
use crate::engine::message::Inward;
use crate::engine::sequencer::{Ahead, Room, Sequencer};
use crate::ground::time::Now;
use crate::storage::selection::Begin;

/// Messages taken from one shard before the next is heard.
const MESSAGES_A_TURN: usize = 64;

/// Turns a busy loop makes before it breathes.
const TURNS_A_BREATH: u32 = 8;

/// What the loop is told when it is made.
pub struct SequencerSetup {
    /// The engine.
    pub engine: Sequencer,
    /// Its end of the mesh.
    pub port: SequencerPort,
    /// The log's directory.
    pub dir: PathBuf,
    /// Segment that is appended to.
    pub segment: u64,
    /// Makes the next ones.
    pub preparer: Preparer,
    /// Told of what is durable, and of each segment begun.
    pub keeper: Keeper,
    /// How batches are made durable.
    pub flush: FlushOrders,
    /// The clock.
    pub clock: Clock,
    /// What a member of an ensemble has beside; none for a server alone.
    pub member: Option<MemberSetup>,
}

type Write = Pin<Box<dyn Future<Output = Result<u64, DiskError>>>>;

struct Loop {
    engine: Sequencer,
    port: SequencerPort,
    preparer: Preparer,
    keeper: Keeper,
    clock: Clock,
    writes: Vec<(u64, Write)>,
    /// A message that was not used up, and how far it was: per shard.
    begun: Vec<Option<(Inward, usize)>>,
    turn_from: usize,
    /// Slower flushes than this are told, ms.
    warn_ms: u64,
    dir: PathBuf,
    /// Writes are refused, and it has been told.
    is_declining: bool,
    member: Option<Member>,
}

/// The descriptor of the other servers' sockets, borrowed from the set that owns it for as long as the loop runs.
struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Runs until the server stops and everything is durable. A failed write of the log ends the process.
pub async fn run(setup: SequencerSetup, tick: Tick, mates: Rc<Mates>) {
    let SequencerSetup { engine, mut port, dir, segment, preparer, keeper, mut flush, clock, member } = setup;
    let member = member.map(|setup| {
        Member::start(setup, &keeper, &port).unwrap_or_else(|error| fatal(&format!("cannot start a thread: {error}")))
    });
    let descriptor = member.as_ref().map(Member::descriptor);
    // Where a shard lives here too, the descriptor is in its epoll set, and it rings.
    mates.peers.set(descriptor.filter(|_| mates.has_shard));
    let news = descriptor.filter(|_| !mates.has_shard).map(|fd| {
        PollableFd::new(Descriptor(fd)).unwrap_or_else(|error| fatal(&format!("no descriptor for the sequencer: {error}")))
    });
    let mut armed = PollState::default();
    let breath = Breath::new().unwrap_or_else(|error| fatal(&format!("no descriptor for the sequencer: {error}")));
    let mut file = SegmentFile::open(&dir, segment, flush.method).await.unwrap_or_else(|error| fatal(&error.to_string()));
    let begun = port.inboxes().map(|_| None).collect();
    let mut this = Loop {
        engine,
        port,
        preparer,
        keeper,
        clock,
        writes: Vec::new(),
        begun,
        turn_from: 0,
        warn_ms: flush.warn_ms,
        dir: dir.clone(),
        is_declining: false,
        member,
    };
    let mut busy_turns = 0;
    loop {
        let mut progress = poll_fn(|cx| Poll::Ready(this.finish_writes(cx))).await;
        this.look_ahead();
        if let Some(orders) = this.port.common().take_flush() {
            this.engine.set_knobs(orders.knobs);
            this.warn_ms = orders.warn_ms;
            let before = std::mem::replace(&mut flush, orders);
            if orders.method != before.method {
                // Writes under way have the file as they began with it.
                let segment = this.engine.log_position().segment.number;
                file = SegmentFile::open(&dir, segment, flush.method).await.unwrap_or_else(|error| fatal(&error.to_string()));
            }
        }
        if let Some(rules) = this.port.common().take_sessions() {
            this.engine.set_throttle(rules, this.clock.now());
        }
        progress |= this.take_messages();
        let now = this.clock.now();
        this.let_expire(now);
        progress |= this.meet(now);
        progress |= this.hand_out();
        if this.finish_task(now) {
            let segment = this.engine.log_position().segment.number;
            file = SegmentFile::open(&dir, segment, flush.method).await.unwrap_or_else(|error| fatal(&error.to_string()));
            progress = true;
        }
        while let Some(len) = this.engine.due(this.clock.now()) {
            if !this.engine.fits(len) {
                match this.preparer.take() {
                    Ok(Some(next)) => {
                        file = SegmentFile::open(&dir, next.number, flush.method)
                            .await
                            .unwrap_or_else(|error| fatal(&error.to_string()));
                        let at = this.engine.log_position();
                        this.keeper.rolled(next.number, Begin { after: at.last, sequence: at.sequence }, next.size);
                        this.engine.roll(next);
                    }
                    Ok(None) => break,
                    // It was told when it failed. What is left waits until there is room; the others do without this server.
                    Err(error) if this.member.is_some() => {
                        tracing::debug!("{error}");
                        break;
                    }
                    Err(error) => fatal(&format!("the log cannot grow: {error}: stopping, acknowledged data is intact")),
                }
            }
            let mut buffer = file.buffer(len);
            let placement = this.engine.frame(buffer.as_bytes_mut(), this.clock.now());
            this.writes.push((this.clock.now().micros, Box::pin(file.write(buffer, placement, flush.delay))));
            // The first poll queues the write; the ring sends it off when the executor looks at it.
            poll_fn(|cx| Poll::Ready(this.finish_writes(cx))).await;
            mates.ring_wanted.set(true);
            progress = true;
        }
        this.make_way(now);
        progress |= this.perform();
        progress |= this.hand_out();
        this.tell_left(progress);
        if this.is_done() {
            break;
        }
        if progress || !this.writes.is_empty() {
            tick.stir();
        }
        if progress && busy_turns < TURNS_A_BREATH && !mates.ring_wanted.get() {
            busy_turns += 1;
            glommio::executor().yield_now().await;
        } else if progress {
            busy_turns = 0;
            mates.ring_wanted.set(false);
            breath.take().await;
        } else {
            busy_turns = 0;
            mates.ring_wanted.set(false);
            this.wait(&tick, &mates, news.as_ref(), &mut armed).await;
        }
    }
    drop(armed);
}

impl Loop {
    /// Polls the writes in flight; returns whether one has finished.
    fn finish_writes(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.writes.len();
        let Self { writes, engine, keeper, clock, warn_ms, .. } = self;
        writes.retain_mut(|(since, write)| match write.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(sequence)) => {
                let now = clock.now();
                let took_ms = (now.micros - *since) / 1000;
                if took_ms >= *warn_ms {
                    tracing::warn!("a flush of the log took {took_ms} ms: the drive, or what else uses it, is slow");
                }
                engine.flushed(sequence, now);
                keeper.durable(engine.logged());
                false
            }
            Poll::Ready(Err(error)) => fatal(&format!("{error}: stopping, acknowledged data is intact")),
        });
        self.writes.len() < before
    }

    /// Tells the engine whether the log can go on after the segment in use, and the operator where it refuses writes.
    fn look_ahead(&mut self) {
        let ahead = self.preparer.ahead();
        self.engine.set_ahead(ahead);
        if ahead != Ahead::Ready && self.engine.is_nearly_full() {
            self.preparer.hurry();
        }
        match self.engine.heed_room(self.clock.now()) {
            None => {}
            Some(Room::Gone) => tracing::error!(
                "the log cannot grow and is full but for what is under way: this server makes way for the others of its ensemble and serves \
                 nobody from zxid {} on; make room in {}, and it comes back without a restart",
                self.engine.log_position().last,
                self.dir.display()
            ),
            Some(Room::Back) => tracing::warn!("the log has room again: this server seeks a leader"),
        }
        let declines = self.engine.declines_alone();
        if declines != std::mem::replace(&mut self.is_declining, declines) {
            if !declines {
                tracing::warn!("the log has room again: writes are taken");
            } else {
                tracing::error!(
                    "the log cannot grow and is full but for what sessions need: writes are REFUSED (code -1) from zxid {} on, reads are \
                     served; make room in {}, and writes are taken again without a restart",
                    self.engine.log_position().last,
                    self.dir.display()
                );
            }
        }
    }

    /// Takes what the shards have sent, while the batch has room, one shard after the other in turns.
    fn take_messages(&mut self) -> bool {
        if self.port.is_choked() {
            return false;
        }
        let now = self.clock.now();
        let Self { engine, port, begun, turn_from, .. } = self;
        let shards = begun.len();
        let mut progress = false;
        for i in 0..shards {
            let shard = (*turn_from + i) % shards;
            let Some((id, inbox)) = port.inboxes().nth(shard) else { continue };
            for _ in 0..MESSAGES_A_TURN {
                let Some((mut message, mut at)) = begun[shard].take().or_else(|| inbox.pop().ok().map(|message| (message, 0)))
                else {
                    break;
                };
                progress = true;
                if !engine.handle(id, &mut message, &mut at, now) {
                    begun[shard] = Some((message, at));
                    break;
                }
            }
        }
        *turn_from = (*turn_from + 1) % shards;
        progress && self.engine.has_room()
    }

    /// Takes what shards have heard of sessions, and lets those expire that were not heard of.
    fn let_expire(&mut self, now: Now) {
        // Asked first: what was heard up to that moment is in the rings by then.
        let heard_up_to = self.port.heard_up_to();
        for (shard, touches) in self.port.touches() {
            while let Ok(sessions) = touches.pop() {
                self.engine.handle(shard, &mut Inward::Touched(sessions), &mut 0, now);
            }
        }
        self.engine.tick(now, heard_up_to);
    }

    /// Lets the engine hear what the other servers say, and what time it is.
    fn meet(&mut self, now: Now) -> bool {
        let Self { engine, member, .. } = self;
        member.as_mut().is_some_and(|member| member.turn(engine, now))
    }

    /// Carries out what the engine wants of the other servers, and of the log beside appends.
    fn perform(&mut self) -> bool {
        let Self { engine, member, preparer, keeper, .. } = self;
        let Some(member) = member else { return false };
        let mut any = member.perform(engine);
        any |= member.begin(engine, preparer, keeper);
        any |= member.flush();
        if let Some(fault) = engine.fault() {
            fatal(&format!("{fault}: stopping, acknowledged data is intact"));
        }
        any
    }

    /// What the log underwent beside appends is durable; whether it goes on elsewhere. Everything was handed out that came before.
    fn finish_task(&mut self, now: Now) -> bool {
        let Self { engine, member, preparer, port, .. } = self;
        let Some(member) = member else { return false };
        let Some(ended) = member.ended() else { return false };
        member.finish(ended, engine, preparer, port, now)
    }

    /// Moves what the engine has for the shards.
    fn hand_out(&mut self) -> bool {
        let mut any = false;
        for (to, message) in self.engine.outward() {
            self.port.send(to, message);
            any = true;
        }
        if let Some(archivist) = self.port.archivist() {
            if self.engine.take_image_order() {
                archivist.order();
            }
            if let Some(census) = archivist.news() {
                self.engine.archived(census);
            }
        }
        if any || !self.port.is_empty() {
            self.port.push();
        }
        any
    }

    /// A member that is to stop lets another lead, first of all.
    fn make_way(&mut self, now: Now) {
        if self.port.common().is_leaving()
            && let Some(member) = &mut self.member
        {
            member.leave(&mut self.engine, now);
        }
    }

    /// Tells that it has, once there is nothing left to be said to anybody.
    fn tell_left(&self, progress: bool) {
        let common = self.port.common();
        if common.is_leaving() && !progress && !common.has_left() && self.engine.has_left() {
            common.left();
        }
    }

    fn is_done(&mut self) -> bool {
        if self.port.common().is_stopping() && self.port.common().shards_are_done() {
            let now = self.clock.now();
            let has_left = self.member.as_mut().is_none_or(|member| member.leave(&mut self.engine, now));
            self.engine.begin_stop();
            return has_left && self.writes.is_empty() && self.engine.is_at_rest();
        }
        false
    }

    /// Waits for a message, a finished write, the end of a linger, or the tick.
    async fn wait(&mut self, tick: &Tick, mates: &Mates, news: Option<&PollableFd<Descriptor>>, armed: &mut PollState) {
        let now = self.clock.now();
        let mut is_woken = false;
        let due = self.engine.due_in(now);
        let mut linger = due.map(|us| Timer::new(Duration::from_micros(us.max(1))));
        // A nap is shorter than any time that servers agree on by far, so it need not be given up for it.
        let deadline = self.engine.deadline().map(|at| at.since(now.mono()).max(1)).filter(|_| due.is_none());
        let mut deadline = deadline.map(|ms| Timer::new(Duration::from_millis(ms)));
        let is_held_up = self.port.is_choked() || !self.engine.has_room() || self.port.common().is_stopping();
        mates.sequencer_rests.set(self.writes.is_empty() && linger.is_none() && !is_held_up);
        poll_fn(|cx| {
            tick.listen(cx.waker());
            if self.port.listen(cx.waker()) && !self.port.is_choked() && self.engine.has_room() {
                return Poll::Ready(());
            }
            if self.finish_writes(cx) {
                return Poll::Ready(());
            }
            if let Some(timer) = &mut linger
                && Pin::new(timer).poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            if let Some(timer) = &mut deadline
                && Pin::new(timer).poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            if let Some(news) = news
                && news.poll_readable(cx, armed).is_ready()
            {
                *armed = PollState::default();
                return Poll::Ready(());
            }
            if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        mates.sequencer_rests.set(false);
    }
}

/// Ends the process: the log cannot be trusted to take another byte.
pub fn fatal(line: &str) -> ! {
    // Whether or not anybody listens.
    let _ = writeln!(std::io::stderr().lock(), "ringkeeper: {line}");
    std::process::exit(1);
}
