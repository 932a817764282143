//! Preparer: a thread that makes log segments ahead of use, so that the commit path never waits for zeros.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::chance;
use super::clock::Clock;
use super::disk::{self, DiskError};
use super::mesh::Common;
use super::pool::Pool;
use crate::engine::sequencer::Ahead;
use crate::ground::ids::ServerId;
use crate::storage::segment::SegmentStart;

/// What the thread is told when it is made.
pub struct PreparerConfig {
    /// The log's directory.
    pub dir: PathBuf,
    /// Bytes of a segment.
    pub segment_size: u64,
    /// This server.
    pub server: ServerId,
    /// Segments that are used again come before new ones.
    pub pool: Arc<Pool>,
    /// Log size at which to say so, bytes; then at each doubling.
    pub warn_bytes: u64,
}

/// What the thread has made, and why it makes no more.
#[derive(Default)]
struct Made {
    segments: VecDeque<SegmentStart>,
    /// The last attempt's failure; the next success clears it.
    failure: Option<DiskError>,
}

/// What both ends know.
#[derive(Default)]
struct Shared {
    made: Mutex<Made>,
    /// Set while the log waits for a segment: then the thread does not pause.
    is_urgent: AtomicBool,
    /// Set while segments cannot be made.
    is_failing: AtomicBool,
    /// Segments in `made`.
    waiting: AtomicUsize,
}

/// The sequencer's end: asks for the next segment, and gets it when it is ready.
pub struct Preparer {
    orders: Sender<u64>,
    shared: Arc<Shared>,
    ready: VecDeque<SegmentStart>,
    next: u64,
    ordered: usize,
}

/// Pause after each piece of a segment, in times of what the piece took, while no one waits for it.
const PAUSES: u32 = 4;

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Segments kept ready beyond the one in use.
const AHEAD: usize = 2;

/// How long the thread waits before it tries again what has failed.
const TRY_AGAIN: Duration = Duration::from_millis(250);

impl Preparer {
    /// Starts the thread. `spares` are prepared already; `active` is the segment in use.
    pub fn start(
        config: PreparerConfig,
        active: u64,
        spares: Vec<SegmentStart>,
        clock: Clock,
        common: Arc<Common>,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("rk-preparer".to_owned()).spawn(move || work(&config, &inbox, clock, &theirs, &common))?;
        let next = spares.last().map_or(active, |spare| spare.number) + 1;
        let mut preparer = Self { orders, shared, ready: spares.into(), next, ordered: 0 };
        preparer.order();
        Ok(preparer)
    }

    fn order(&mut self) {
        while self.ready.len() + self.ordered < AHEAD {
            // The thread lives for as long as this end.
            let _ = self.orders.send(self.next);
            self.next += 1;
            self.ordered += 1;
        }
    }

    /// What follows the segment in use.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        if !self.ready.is_empty() || self.shared.waiting.load(Ordering::Acquire) > 0 {
            Ahead::Ready
        } else if self.shared.is_failing.load(Ordering::Acquire) {
            Ahead::Nothing
        } else {
            Ahead::InTheMaking
        }
    }

    /// The log waits for the next segment, or will do so soon: it is made without pauses.
    pub fn hurry(&self) {
        self.shared.is_urgent.store(true, Ordering::Release);
    }

    /// The next segment, if one is ready. An error says that there is none, and that making one has failed.
    pub fn take(&mut self) -> Result<Option<SegmentStart>, DiskError> {
        if self.ready.is_empty() {
            let mut made = self.shared.made.lock().unwrap_or_else(PoisonError::into_inner);
            self.ordered -= made.segments.len();
            self.shared.waiting.store(0, Ordering::Release);
            self.ready.append(&mut made.segments);
            if self.ready.is_empty()
                && let Some(failure) = made.failure.take()
            {
                return Err(failure);
            }
        }
        let next = self.ready.pop_front();
        // The last one in hand is gone, or there was none: no more pauses until there is.
        self.shared.is_urgent.store(self.ready.is_empty(), Ordering::Release);
        self.order();
        Ok(next)
    }

    /// Takes blank segments, ascending, which come before those that are ready: the log ends before them, or has not gone on into them.
    pub fn give_back(&mut self, blank: Vec<SegmentStart>) {
        for start in blank.into_iter().rev() {
            self.ready.push_front(start);
        }
    }
}

/// Makes what is ordered, until the sequencer is gone. What fails is tried again: there may be room before it is needed.
fn work(config: &PreparerConfig, inbox: &Receiver<u64>, clock: Clock, shared: &Shared, common: &Common) {
    let mut warn_at = config.warn_bytes;
    let mut is_told = false;
    let mut orders = VecDeque::new();
    loop {
        let order = if orders.is_empty() { inbox.recv().map_err(RecvTimeoutError::from) } else { inbox.recv_timeout(TRY_AGAIN) };
        match order {
            Ok(number) => orders.push_back(number),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(&number) = orders.front() {
            let result = prepare(config, number, clock, &shared.is_urgent);
            if !is_told {
                tell_of_size(config, &mut warn_at);
            }
            let mut made = shared.made.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(segment) => {
                    orders.pop_front();
                    made.segments.push_back(segment);
                    shared.waiting.store(made.segments.len(), Ordering::Release);
                    made.failure = None;
                    shared.is_failing.store(false, Ordering::Release);
                    is_told = false;
                    common.ring_sequencer();
                }
                Err(error) => {
                    if !is_told {
                        tracing::error!(
                            "{error}: writes are refused when the segments that are ready are full, unless this is mended"
                        );
                    }
                    is_told = true;
                    made.failure = Some(error);
                    shared.is_failing.store(true, Ordering::Release);
                    common.ring_sequencer();
                    break;
                }
            }
        }
    }
}

fn prepare(config: &PreparerConfig, number: u64, clock: Clock, urgent: &AtomicBool) -> Result<SegmentStart, DiskError> {
    let salt = chance::salt().map_err(|source| DiskError::random(&config.dir, source))?;
    let start = SegmentStart { number, salt, size: config.segment_size };
    if config.pool.make(start, config.server, clock.now().wall)? {
        return Ok(start);
    }
    // Zeros share the drive with the log's flushes, so the drive is left alone for most of the time.
    let pause = |took: Duration| {
        if !urgent.load(Ordering::Acquire) {
            thread::sleep((took * PAUSES).min(PAUSE_MAX));
        }
    };
    disk::make_segment(&config.dir, start, config.server, clock.now().wall, pause)?;
    Ok(start)
}

fn tell_of_size(config: &PreparerConfig, warn_at: &mut u64) {
    let size = disk::log_bytes(&config.dir).unwrap_or(0);
    if size >= *warn_at {
        tracing::warn!(
            "the log in {} has grown to {} MiB; what images make superfluous is removed, see autopurge.snapRetainCount and retain.bytes",
            config.dir.display(),
            size >> 20
        );
        *warn_at = size * 2;
    }
    if let Ok(free) = disk::free_bytes(&config.dir)
        && free < 8 * config.segment_size
    {
        tracing::warn!(
            "only {} MiB are free in {}: make room, or writes are refused when the log is full",
            free >> 20,
            config.dir.display()
        );
    }
}
