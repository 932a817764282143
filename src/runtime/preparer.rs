//! Preparer: a thread that makes log segments ahead of use, so that the commit path never waits for zeros.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::disk::{self, DiskError};
use super::mesh::Common;
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
    /// Log size at which to say so, bytes; then at each doubling.
    pub warn_bytes: u64,
}

type Made = Result<SegmentStart, DiskError>;

/// The sequencer's end: asks for the next segment, and gets it when it is ready.
pub struct Preparer {
    orders: Sender<u64>,
    /// Set while the log waits for a segment: then the thread does not pause.
    is_urgent: Arc<AtomicBool>,
    made: Arc<Mutex<VecDeque<Made>>>,
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
        let made = Arc::new(Mutex::new(VecDeque::new()));
        let results = Arc::clone(&made);
        let is_urgent = Arc::new(AtomicBool::new(false));
        let urgent = Arc::clone(&is_urgent);
        thread::Builder::new().name("rk-preparer".to_owned()).spawn(move || {
            let mut warn_at = config.warn_bytes;
            // Ends when the sequencer is gone.
            while let Ok(number) = inbox.recv() {
                let result = prepare(&config, number, clock, &urgent);
                tell_of_size(&config, number, &mut warn_at);
                let failed = result.is_err();
                results.lock().unwrap_or_else(PoisonError::into_inner).push_back(result);
                common.ring_sequencer();
                if failed {
                    return;
                }
            }
        })?;
        let next = spares.last().map_or(active, |spare| spare.number) + 1;
        let mut preparer = Self { orders, is_urgent, made, ready: spares.into(), next, ordered: 0 };
        preparer.order();
        Ok(preparer)
    }

    fn order(&mut self) {
        while self.ready.len() + self.ordered < AHEAD {
            // A thread that is gone has left its error where `take` finds it.
            let _ = self.orders.send(self.next);
            self.next += 1;
            self.ordered += 1;
        }
    }

    /// The next segment, if one is ready.
    pub fn take(&mut self) -> Result<Option<SegmentStart>, DiskError> {
        if self.ready.is_empty() {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(result) = made.pop_front() {
                self.ready.push_back(result?);
                self.ordered -= 1;
            }
        }
        let next = self.ready.pop_front();
        // The last one in hand is gone, or there was none: no more pauses until there is.
        self.is_urgent.store(self.ready.is_empty(), Ordering::Release);
        self.order();
        Ok(next)
    }
}

/// A random salt, new for every use of a segment.
pub fn salt() -> std::io::Result<u64> {
    getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))
}

fn prepare(config: &PreparerConfig, number: u64, clock: Clock, urgent: &AtomicBool) -> Made {
    let salt = salt().map_err(|source| DiskError::random(&config.dir, source))?;
    let start = SegmentStart { number, salt, size: config.segment_size };
    // Zeros share the drive with the log's flushes, so the drive is left alone for most of the time.
    let pause = |took: Duration| {
        if !urgent.load(Ordering::Acquire) {
            thread::sleep((took * PAUSES).min(PAUSE_MAX));
        }
    };
    disk::make_segment(&config.dir, start, config.server, clock.now().wall, pause)?;
    Ok(start)
}

fn tell_of_size(config: &PreparerConfig, number: u64, warn_at: &mut u64) {
    let size = number * config.segment_size;
    if size >= *warn_at {
        tracing::warn!(
            "the log in {} has grown to {} MiB; it is kept whole until this release's successor makes images of it",
            config.dir.display(),
            size >> 20
        );
        *warn_at = size * 2;
    }
    if let Ok(free) = disk::free_bytes(&config.dir)
        && free < 8 * config.segment_size
    {
        tracing::warn!(
            "only {} MiB are free in {}: make room, or the server stops when the log is full",
            free >> 20,
            config.dir.display()
        );
    }
}
