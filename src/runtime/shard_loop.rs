//! Shard loop: batches in, sockets read, requests inward, output written. One loop a shard, no task a connection.

use std::future::poll_fn;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use glommio::io::{PollState, PollableFd};

use super::acceptor::{Doorway, Inbox};
use super::bell::Nap;
use super::clock::Clock;
use super::conn_io::ConnIo;
use super::cores::{Breath, Mates, Tick};
use super::mesh::ShardPort;
use super::sequencer_loop::fatal;
use crate::engine::shard::Shard;
use crate::ground::time::{Millis, Now};

/// Turns a busy loop makes before it breathes.
const TURNS_A_BREATH: u32 = 8;

/// After a turn with no more work than this the loop waits at once: what has come meanwhile wakes it through the ring, and the
/// turn that would find nothing is saved. A client that asks one thing at a time is met like this, and so are idle ones.
const LITTLE: usize = 4;

/// Microseconds for which a loop may nap, and do little, before its executor looks at its ring and its timers again.
const NAPS_MICROS: u64 = 50_000;

/// Milliseconds that clients get, when the server stops, to be answered and to take their answers.
const FAREWELL_MS: u64 = 1200;

/// What the loop is told when it is made.
pub struct ShardSetup {
    /// The engine.
    pub shard: Shard,
    /// Its end of the mesh.
    pub port: ShardPort,
    /// Where the acceptor leaves its sockets.
    pub inbox: Arc<Inbox>,
    /// Whom to tell of sockets that are gone.
    pub doorway: Arc<Doorway>,
    /// The clock.
    pub clock: Clock,
}

/// The epoll descriptor, borrowed from the set that owns it for as long as the loop runs.
struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

struct Loop {
    shard: Shard,
    port: ShardPort,
    inbox: Arc<Inbox>,
    doorway: Arc<Doorway>,
    clock: Clock,
    io: ConnIo,
    stopping_since: Option<Millis>,
}

/// Runs until the server stops and this shard's clients are let go.
pub async fn run(setup: ShardSetup, tick: Tick, mates: Rc<Mates>, naps: bool) {
    let ShardSetup { shard, port, inbox, doorway, clock } = setup;
    let no_descriptor = |error: &dyn std::fmt::Display| -> ! {
        fatal(&format!("no descriptor for a shard: {error}; raise the limit of open files (ulimit -n)"))
    };
    let io = ConnIo::new().unwrap_or_else(|error| no_descriptor(&error));
    if let Some(peers) = mates.peers.get() {
        io.watch(peers).unwrap_or_else(|error| no_descriptor(&error));
    }
    let breath = Breath::new().unwrap_or_else(|error| no_descriptor(&error));
    let readiness = PollableFd::new(Descriptor(io.descriptor())).unwrap_or_else(|error| no_descriptor(&error));
    let mut armed = PollState::default();
    let mut this = Loop { shard, port, inbox, doorway, clock, io, stopping_since: None };
    let nap = naps.then(|| Arc::new(Nap::new(this.io.waker().unwrap_or_else(|error| no_descriptor(&error)))));
    if let Some(nap) = &nap {
        this.port.common().naps_at(this.port.id(), mates.has_sequencer, nap);
    }
    let mut ring_seen = this.clock.now().micros;
    let mut busy_turns = 0;
    loop {
        let work = this.turn();
        let progress = work > 0;
        if progress {
            tick.stir();
        }
        if this.is_done() {
            break;
        }
        // Whether the executor has looked at its ring, and at its timers, since this turn.
        let is_wanted = mates.ring_wanted.take();
        let now = this.clock.now();
        let left = (ring_seen + NAPS_MICROS).saturating_sub(now.micros);
        let has_looked = if !is_wanted && work > LITTLE && busy_turns < TURNS_A_BREATH {
            busy_turns += 1;
            glommio::executor().yield_now().await;
            false
        } else if is_wanted || work > LITTLE || left == 0 {
            busy_turns = 0;
            breath.take().await;
            true
        } else if let Some(nap) = &nap
            && mates.may_nap()
            && !(mates.has_sequencer && this.port.common().sequencer_is_rung())
            && this.nap(nap, left, now)
        {
            false
        } else {
            busy_turns = 0;
            let mut is_woken = false;
            poll_fn(|cx| {
                tick.listen(cx.waker());
                if this.port.listen(cx.waker()) && this.stopping_since.is_none() {
                    return Poll::Ready(());
                }
                if readiness.poll_readable(cx, &mut armed).is_ready() {
                    armed = PollState::default();
                    return Poll::Ready(());
                }
                if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            // Where there was something at once it did not wait, and where that goes on and on it never would.
            is_woken
        };
        if has_looked {
            ring_seen = this.clock.now().micros;
        }
    }
    drop(armed);
    this.port.common().shard_is_done();
}

impl Loop {
    /// One turn; returns how much there was to do: messages, sockets, replies.
    fn turn(&mut self) -> usize {
        let now = self.clock.now();
        let Self { shard, port, io, .. } = self;
        if let Some(flow) = port.common().take_flow(port.id()) {
            shard.set_flow(flow);
        }
        let heard = port.receive(|message| shard.hear(&message, now));
        if heard > 0 {
            port.applied(shard.applied());
        }
        shard.turn(now);
        let mut work = heard;
        if self.stopping_since.is_none() {
            for (stream, peer, guest) in self.inbox.take() {
                if let Err(error) = io.add(stream, peer, guest, shard, now) {
                    tracing::warn!("cannot watch the socket of {peer}: {error}");
                    self.doorway.gone(port.id(), peer.ip());
                }
                work += 1;
            }
            work += io.read(shard, now);
        }
        if io.take_peer_news() {
            port.common().ring_sequencer();
        }
        // Requests go inward before replies go out: the longer walk starts first.
        work += port.send(shard.inward(now));
        port.heard_up_to(io.heard_up_to());
        work += io.write(shard, now);
        if shard.has_answered() {
            shard.responded(self.clock.now());
        }
        for peer in io.closed() {
            self.doorway.gone(port.id(), peer.ip());
        }
        // Sockets that wait to be read bring the loop back at once.
        if io.has_work() || shard.wants_turn() { work + LITTLE + 1 } else { work }
    }

    /// Sleeps in the epoll set, `left` us at most. Returns whether the loop may go on without a look at the ring.
    fn nap(&mut self, nap: &Nap, left: u64, now: Now) -> bool {
        if self.stopping_since.is_some() || !nap.begin() {
            return false;
        }
        self.io.nap(Duration::from_micros(left), now);
        !nap.end()
    }

    /// Whether the server stops and there is nobody left to answer, or no time.
    fn is_done(&mut self) -> bool {
        if !self.port.common().is_stopping() {
            return false;
        }
        let now = self.clock.now();
        let since = *self.stopping_since.get_or_insert(now.mono());
        let is_late = now.mono().since(since) > FAREWELL_MS;
        if self.shard.is_at_rest() || is_late {
            self.shard.end_all();
            self.io.write(&mut self.shard, now);
            return self.shard.connections() == 0 || is_late;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::super::cores::{self, Heartbeat};
    use super::super::mesh::mesh;
    use super::*;
    use crate::auth::AuthConfig;
    use crate::engine::message::Outward;
    use crate::engine::sequencer::To;
    use crate::engine::shard::{Flow, Mute, ShardConfig};
    use crate::ground::ids::{ConnId, ShardId, Zxid};
    use crate::tree::view::View;

    /// What comes while the shard naps is found at once, again and again; its executor must look at its timers all the same, or whoever
    /// watches over it takes it for dead.
    #[test]
    fn a_trickle_of_messages_does_not_keep_the_executor_from_its_timers() {
        let (mut sequencer, mut shards) = mesh(1, Zxid::ZERO);
        let common = Arc::clone(sequencer.common());
        let (clock, heartbeat) = (Clock::default(), Heartbeat::default());
        let port = shards.pop().unwrap();
        let beats = heartbeat.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let main = move || async move {
            let config = ShardConfig {
                id: ShardId(0),
                frame_max: 1 << 20,
                flow: Flow::default(),
                min_timeout_ms: 1000,
                max_timeout_ms: 1000,
                sessionless_ms: 1000,
                tick_ms: 1000,
                auth: AuthConfig::default(),
                is_member: false,
                words: Arc::new(Mute),
                audit: None,
            };
            let view = View::new([1; 4]);
            let shard = Shard::new(config, view, Zxid::ZERO, [1; 4], clock.now());
            let (inbox, doorway) = (Arc::new(Inbox::default()), Arc::new(Doorway::new(1, 0, 0)));
            let tick = Tick::default();
            let mates = Rc::new(Mates { has_shard: true, ..Mates::default() });
            drop(cores::spawn(tick.clone().run(heartbeat)));
            run(ShardSetup { shard, port, inbox, doorway, clock }, tick, mates, true).await;
            over.store(true, Ordering::Release);
        };
        let executor = cores::start("rk-test", None, 64 << 10, Duration::ZERO, main).unwrap();
        // The next message comes when the last was taken, so that it meets a shard that has gone to sleep, or is about to.
        let mut began = Instant::now();
        let mut last = beats.beats();
        let mut longest = Duration::ZERO;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(3) {
            sequencer.send(To::Shard(ShardId(0)), Outward::HangUp(ConnId { slot: 7, generation: 7 }));
            sequencer.push();
            std::thread::sleep(Duration::from_micros(200));
            if beats.beats() != last {
                (last, began) = (beats.beats(), Instant::now());
            }
            longest = longest.max(began.elapsed());
        }
        common.stop();
        while !is_over.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        executor.join().unwrap();
        assert!(longest < Duration::from_secs(1), "the executor did not look at its timers for {longest:?}");
    }
}
