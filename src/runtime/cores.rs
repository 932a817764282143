//! Cores: executors, where they run, their tick and their heartbeat, and whether this kernel can run them at all.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::Waker;
use std::time::Duration;

use glommio::io::PollableFd;
use glommio::timer::Timer;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::event::{EventfdFlags, eventfd};

/// Why no executor can run.
#[derive(Debug, thiserror::Error)]
pub enum CoresError {
    /// The kernel refuses io_uring.
    #[error("io_uring is not to be had ({0}): {1}")]
    NoRing(std::io::Error, &'static str),
    /// Less memory may be locked than any executor needs.
    #[error(
        "locked memory is limited to {0} KiB, and an executor needs {min} KiB: raise the limit (ulimit -l, LimitMEMLOCK=)",
        min = MEMLOCK_MIN >> 10
    )]
    LittleMemory(u64),
    /// An executor did not start.
    #[error("cannot start executor {0}: {1}")]
    Start(String, String),
}

/// How often each executor's tick fires: the remedy for an executor that sleeps on a runnable task, and its heartbeat.
const TICK: Duration = Duration::from_millis(5);

/// The same while nothing happens.
const IDLE_TICK: Duration = Duration::from_millis(50);

/// An executor is busy that has a turn to make in so many milliseconds, or more often.
const STIR_MS: u128 = 1;

/// Quick ticks after the last busy one.
const QUICK_TICKS: u32 = 200;

/// Ticks between two wakes of busy loops by time alone; idle ones are woken at each.
const TICKS_A_WAKE: u64 = 4;

/// Least locked memory that an executor's rings and buffers need, bytes.
const IO_MEMORY_MIN: usize = 64 << 10;

/// Limit of locked memory below which glommio starts no executor, bytes.
const MEMLOCK_MIN: u64 = 512 << 10;

/// Asks the kernel for a ring, so that a server that cannot have one says so before anything starts. Takes all the locked
/// memory that the system allows.
pub fn check_ring() -> Result<(), CoresError> {
    if let Ok((soft, hard)) = rlimit::Resource::MEMLOCK.get() {
        if soft < hard {
            // Where this fails the lower limit counts.
            let _ = rlimit::Resource::MEMLOCK.set(hard, hard);
        }
        if hard < MEMLOCK_MIN {
            return Err(CoresError::LittleMemory(hard >> 10));
        }
    }
    io_uring::IoUring::new(8).map(drop).map_err(|error| {
        let advice = match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NOSYS.raw_os_error() => {
                "the kernel is older than 5.8 or built without it; run on a newer kernel"
            }
            Some(code) if code == rustix::io::Errno::PERM.raw_os_error() || code == rustix::io::Errno::ACCESS.raw_os_error() => {
                "allow it in the container's seccomp profile, and set the sysctl kernel.io_uring_disabled to 0"
            }
            Some(code) if code == rustix::io::Errno::NOMEM.raw_os_error() => {
                "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)"
            }
            _ => "see dmesg, and the limits of locked memory and open files",
        };
        CoresError::NoRing(error, advice)
    })
}

/// Registered I/O memory for each of `executors` executors, bytes: what was asked for, or less where the limit of locked memory
/// does not allow it (each registers its share three times).
#[must_use]
pub fn io_memory(wanted: usize, executors: usize, is_root: bool) -> usize {
    let Ok((soft, _)) = rlimit::Resource::MEMLOCK.get() else { return IO_MEMORY_MIN };
    let needed = 3 * wanted as u64 * executors as u64;
    if is_root || soft >= needed {
        return wanted;
    }
    let each = usize::try_from(soft / (3 * executors as u64).max(1)).unwrap_or(IO_MEMORY_MIN);
    (each / 2).clamp(IO_MEMORY_MIN, wanted).next_power_of_two().min(wanted).max(IO_MEMORY_MIN)
}

/// The line to say when `executors` executors run and have registered less than `wanted` bytes each. The kernel is asked:
/// all processes of a user share one limit, so it may be used up where it looks wide enough.
#[must_use]
pub fn short_of_memory(wanted: usize, executors: usize) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let pinned: u64 = status.lines().find_map(|line| line.strip_prefix("VmPin:"))?.split_whitespace().next()?.parse().ok()?;
    let needed = 3 * wanted as u64 * executors as u64;
    let (soft, _) = rlimit::Resource::MEMLOCK.get().ok()?;
    (pinned << 10 < needed).then(|| {
        format!(
            "locked memory is limited to {} KiB for all processes of this user: {pinned} of {} KiB of I/O buffers are registered, \
             which makes log writes slower; raise the limit to {} KiB or more (ulimit -l, LimitMEMLOCK=)",
            soft >> 10,
            needed >> 10,
            needed >> 10
        )
    })
}

/// Lets go of huge pages until it is dropped: the kernel counts a registered buffer by the pages it lies on, and one in a huge
/// page counts, against the limit of locked memory, as all of it.
pub struct SmallPages(bool);

impl SmallPages {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        let were = rustix::thread::transparent_huge_pages_are_disabled().unwrap_or(true);
        Self(!were && rustix::thread::disable_transparent_huge_pages(true).is_ok())
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        if self.0 {
            // What could be switched off can be switched on.
            let _ = rustix::thread::disable_transparent_huge_pages(false);
        }
    }
}

/// Beats of one executor: a counter that stands still when the executor does.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Beats so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The tick of one executor, which also wakes its loops from time to time.
#[derive(Clone, Default)]
pub struct Tick {
    wakers: Rc<RefCell<Vec<Waker>>>,
    /// Turns since the last tick in which something happened.
    stirs: Rc<Cell<u32>>,
}

impl Tick {
    /// Leaves word to be woken at the next tick that wakes loops.
    pub fn listen(&self, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Something happens; where much does, the tick is quick.
    pub fn stir(&self) {
        self.stirs.set(self.stirs.get().saturating_add(1));
    }

    /// Ticks for as long as the executor runs.
    pub async fn run(self, heartbeat: Heartbeat) {
        let mut ticks = 0u64;
        let mut quick_left = 0;
        loop {
            let period = if quick_left > 0 { TICK } else { IDLE_TICK };
            Timer::new(period).await;
            heartbeat.0.fetch_add(1, Ordering::Relaxed);
            ticks += 1;
            // An executor that slept on its work looks idle: the quick tick outlasts the last busy one by far.
            let is_busy = u128::from(self.stirs.take()) * STIR_MS >= period.as_millis();
            quick_left = if is_busy { QUICK_TICKS } else { quick_left.saturating_sub(1) };
            if quick_left == 0 || ticks.is_multiple_of(TICKS_A_WAKE) {
                for waker in self.wakers.borrow_mut().drain(..) {
                    waker.wake();
                }
            }
        }
    }
}

/// What the loops of one executor tell each other.
#[derive(Debug, Default)]
pub struct Mates {
    /// A write was queued: the ring wants to be looked at before anything else is done.
    pub ring_wanted: Cell<bool>,
    /// Whether the sequencer's loop lives here.
    pub has_sequencer: bool,
    /// Whether that loop awaits messages only, so that the executor may nap.
    pub sequencer_rests: Cell<bool>,
    /// Whether a shard's loop lives here.
    pub has_shard: bool,
    /// The descriptor of the other servers' sockets. The shard's loop has it in its own set, and rings the sequencer's bell for it.
    pub peers: Cell<Option<RawFd>>,
}

impl Mates {
    /// Whether nothing is awaited through the ring but the tick.
    #[must_use]
    pub const fn may_nap(&self) -> bool {
        !self.has_sequencer || self.sequencer_rests.get()
    }
}

/// A wait that goes through the ring and is over at once: a busy loop breathes through it, so that completions and timers are
/// seen and queued writes leave.
pub struct Breath {
    always: PollableFd<std::os::fd::OwnedFd>,
}

impl Breath {
    /// A breath of the executor this runs on.
    pub fn new() -> std::io::Result<Self> {
        let fd = eventfd(1, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let always = PollableFd::new(fd).map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(Self { always })
    }

    /// Breathes.
    pub async fn take(&self) {
        // An error here means that the ring is gone, which the next real operation reports.
        let _ = self.always.readable().await;
    }
}

/// Starts an executor on a thread of its own, and returns when it runs. `pin` names its core.
pub fn start<F, G>(
    name: &str,
    pin: Option<usize>,
    io_memory: usize,
    spin: Duration,
    main: G,
) -> Result<ExecutorJoinHandle<()>, CoresError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let placement = pin.map_or(Placement::Unbound, Placement::Fixed);
    let (runs, running) = mpsc::channel();
    let failed = |error: String| CoresError::Start(name.to_owned(), error);
    let executor = LocalExecutorBuilder::new(placement)
        .name(name)
        .io_memory(io_memory)
        .spin_before_park(spin)
        .spawn(move || {
            // Whoever starts an executor waits for this.
            let _ = runs.send(());
            main()
        })
        .map_err(|error| failed(error.to_string()))?;
    // An executor makes its rings on its own thread. Where it cannot, this closure is dropped without having run.
    if running.recv().is_err() {
        return Err(failed(executor.join().map_or_else(|error| error.to_string(), |()| "it ended at once".to_owned())));
    }
    Ok(executor)
}

/// Runs a future beside the one that asks, until its executor ends. It is first polled at once, inside this call.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> impl Future<Output = Option<T>> {
    glommio::spawn_local(future).detach()
}

/// An executor that was started.
pub type Executor = ExecutorJoinHandle<()>;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicBool;
    use std::task::Poll;
    use std::thread;
    use std::time::Instant;

    use atomic_waker::AtomicWaker;

    use super::*;

    /// What two executors throw to each other.
    #[derive(Default)]
    struct Ball {
        at: AtomicU64,
        bells: [AtomicWaker; 2],
    }

    async fn play(ball: Arc<Ball>, side: usize, trips: u64, longest: Arc<AtomicU64>) {
        for trip in 0..trips {
            let mine = 2 * trip + side as u64;
            let since = Instant::now();
            poll_fn(|cx| {
                ball.bells[side].register(cx.waker());
                if ball.at.load(Ordering::Acquire) == mine { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            longest.fetch_max(u64::try_from(since.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
            ball.at.store(mine + 1, Ordering::Release);
            ball.bells[1 - side].wake();
        }
    }

    /// The fork's executor can park with a task runnable. The tick must end that within a few milliseconds; without it the
    /// two would sleep for ever. The bound leaves room for a scheduler that gives the busy loops their slices.
    #[test]
    fn two_executors_beside_busy_loops_never_sleep_on_a_runnable_task() {
        let is_over = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let busy: Vec<_> = (0..cores)
            .map(|_| {
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
            })
            .collect();
        let ball = Arc::new(Ball::default());
        let longest = Arc::new(AtomicU64::new(0));
        let players: Vec<_> = (0..2)
            .map(|side| {
                let (ball, longest) = (Arc::clone(&ball), Arc::clone(&longest));
                let main = move || async move {
                    let tick = Tick::default();
                    drop(spawn(tick.clone().run(Heartbeat::default())));
                    play(ball, side, 500, longest).await;
                };
                start("rk-test", None, IO_MEMORY_MIN, Duration::ZERO, main).unwrap()
            })
            .collect();
        for player in players {
            player.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        for thread in busy {
            thread.join().unwrap();
        }
        let longest = longest.load(Ordering::Relaxed);
        assert!(longest < 1000, "a trip took {longest} ms: the tick does not wake a sleeping executor");
    }

    #[test]
    fn little_locked_memory_means_small_buffers() {
        assert_eq!(io_memory(1 << 20, 2, true), 1 << 20);
        let granted = io_memory(1 << 30, 4, false);
        assert!((IO_MEMORY_MIN..=1 << 30).contains(&granted) && granted.is_power_of_two());
    }

    #[test]
    fn an_executor_that_cannot_run_is_told_at_its_start() {
        let error = start("rk-test", Some(usize::MAX), IO_MEMORY_MIN, Duration::ZERO, || async {}).unwrap_err();
        assert!(error.to_string().starts_with("cannot start executor rk-test: "), "{error}");
    }
}
