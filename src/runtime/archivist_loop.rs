//! Archivist loop: a thread of low priority that feeds the archivist and writes its images, piece by piece.
//!
//! The sequencer hands every batch over without waiting: a push to a queue without an end, and a wake-up where the thread
//! sleeps. What the queue pins is counted, and an image for which too much waits is given up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::images::{ImageDir, ImageFault, PIECE};
use super::keeper::Keeper;
use crate::engine::archivist::{Archivist, Wrote};
use crate::engine::census::ArchiveCensus;
use crate::engine::message::Batch;
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits::ARCHIVIST_BYTES_MAX;
use crate::tree::change::Step;
use crate::tree::view::View;

/// Between two looks at the queue while batches come: the sequencer need not wake the thread for each.
const LOOK: Duration = Duration::from_millis(50);

/// Pause after each piece, in times of what the piece took, while little waits for the image.
const PAUSES: u32 = 4;

/// Bytes a second that an image is written and read back with at most, while little waits for it: a drive that is asked for all it can
/// give lets the log wait for milliseconds.
const PACE: u64 = 64_000_000;

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How much nicer than others the thread is to them.
const NICE: i32 = 10;

/// What a step of a batch holds beside its bytes in the log: the step, a record, and the one it replaces.
const STEP_BYTES: usize = size_of::<Step>() + 512;

enum Fed {
    Batch(Arc<Batch>),
    Order,
    First,
    Anew,
    Reset(Box<Whole>),
}

/// A whole state that takes the place of another, and of which there is an image.
pub struct Whole {
    /// The tree.
    pub view: View,
    /// Sessions with the timeouts of their createSession transactions, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The last transaction in both.
    pub zxid: Zxid,
}

/// What both ends know.
#[derive(Default)]
struct Shared {
    /// Bytes that batches in the queue hold, about.
    pinned: AtomicUsize,
    /// The thread looks by itself: it need not be woken.
    is_up: AtomicBool,
    is_stopping: AtomicBool,
    has_news: AtomicBool,
    census: Mutex<ArchiveCensus>,
    thread: OnceLock<Thread>,
}

impl Shared {
    fn wake(&self) {
        if !self.is_up.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// The sequencer's end.
#[derive(Clone)]
pub struct ArchivistFeed {
    queue: Sender<Fed>,
    shared: Arc<Shared>,
}

impl ArchivistFeed {
    /// A delivered batch; all of them come, in order.
    pub fn batch(&self, batch: &Arc<Batch>) {
        self.shared.pinned.fetch_add(weight(batch), Ordering::Relaxed);
        self.send(Fed::Batch(Arc::clone(batch)));
    }

    /// An image is wanted of all that was fed so far.
    pub fn order(&self) {
        self.send(Fed::Order);
    }

    /// An image is wanted of all that was fed so far, if there is none at all.
    pub fn order_first(&self) {
        self.send(Fed::First);
    }

    /// An image is wanted in any case: one that was there is damaged.
    pub fn order_anew(&self) {
        self.send(Fed::Anew);
    }

    /// The whole state was replaced. Batches fed from now on follow this one.
    pub fn reset(&self, whole: Whole) {
        self.send(Fed::Reset(Box::new(whole)));
    }

    fn send(&self, fed: Fed) {
        // The thread listens for as long as it is not told to stop, and then nobody misses it.
        let _ = self.queue.send(fed);
        self.shared.wake();
    }

    /// What the archivist tells, if it is something new and can be had at once.
    #[must_use]
    pub fn news(&self) -> Option<ArchiveCensus> {
        if !self.shared.has_news.load(Ordering::Relaxed) {
            return None;
        }
        let census = self.shared.census.try_lock().ok()?;
        // Under the lock, so that what is told next is not taken for what is read here.
        self.shared.has_news.store(false, Ordering::Relaxed);
        Some(*census)
    }
}

fn weight(batch: &Batch) -> usize {
    batch.bytes + batch.steps.len() * STEP_BYTES
}

/// The thread.
pub struct ArchivistThread {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl ArchivistThread {
    /// Starts it.
    pub fn start(engine: Archivist, dir: ImageDir, keeper: Keeper, clock: Clock) -> std::io::Result<(ArchivistFeed, Self)> {
        let (queue, inbox) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        // It looks around before it sleeps for the first time.
        shared.is_up.store(true, Ordering::Relaxed);
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("rk-archivist".to_owned()).spawn(move || {
            // It is of no importance to anybody who waits. Where the system does not let it step back, it works all the same.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            Work { engine, dir, keeper, clock, inbox, shared: theirs, is_wrong: false }.run();
        })?;
        // Nobody wakes it before: it is up.
        let _ = shared.thread.set(thread.thread().clone());
        Ok((ArchivistFeed { queue, shared: Arc::clone(&shared) }, Self { shared, thread }))
    }

    /// An image that is not finished is given up: the log has all that would be in it. Nothing is begun any more.
    pub fn begin_stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    /// Ends it.
    pub fn stop(self) {
        self.begin_stop();
        // It ends without the process where it panics; a panic ends the process.
        let _ = self.thread.join();
    }
}

/// Why an image is not written to its end.
enum Stopped {
    Fault(ImageFault),
    TooMuchWaits,
    Stopping,
}

struct Work {
    engine: Archivist,
    dir: ImageDir,
    keeper: Keeper,
    clock: Clock,
    inbox: Receiver<Fed>,
    shared: Arc<Shared>,
    /// The last attempt failed.
    is_wrong: bool,
}

impl Work {
    fn run(mut self) {
        self.tell();
        let mut idle = false;
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            let any = self.adopt();
            if self.keeper.wants_image() {
                self.engine.order_anew();
            }
            if self.engine.is_due(self.clock.now().mono()) {
                self.image();
            } else if any || !idle {
                idle = !any;
                thread::sleep(LOOK);
            } else {
                self.sleep();
                idle = false;
            }
        }
        // Freeing a million records one by one only delays the end of the process.
        std::mem::forget(self.engine);
    }

    /// Takes what has come; returns whether anything had.
    fn adopt(&mut self) -> bool {
        let mut any = false;
        while let Ok(fed) = self.inbox.try_recv() {
            any = true;
            match fed {
                Fed::Batch(batch) => {
                    self.engine.adopt(&batch);
                    self.shared.pinned.fetch_sub(weight(&batch), Ordering::Relaxed);
                    // An image is of where it became due, not of what came while it was looked away.
                    if self.engine.is_due(self.clock.now().mono()) {
                        break;
                    }
                }
                Fed::Order => {
                    self.engine.order();
                    break;
                }
                Fed::First => {
                    if self.engine.census().archived == Zxid::ZERO {
                        self.engine.order();
                        break;
                    }
                }
                Fed::Anew => {
                    self.engine.order_anew();
                    break;
                }
                Fed::Reset(whole) => {
                    let Whole { view, sessions, zxid } = *whole;
                    self.engine.reset(view, sessions, zxid);
                    self.tell();
                }
            }
        }
        any
    }

    /// Until something comes, or a failed attempt may be repeated.
    fn sleep(&mut self) {
        // A swap, as the sequencer's is: whichever is first, either the sequencer sees that it has to wake us, or we see what it sent.
        self.shared.is_up.swap(false, Ordering::AcqRel);
        // What came before the flag fell, if anything did, ends the sleep at once.
        if self.adopt() || self.shared.is_stopping.load(Ordering::Acquire) {
            self.shared.is_up.store(true, Ordering::Release);
            return;
        }
        let wait = self.engine.due_in(self.clock.now().mono()).map(Duration::from_millis);
        thread::park_timeout(wait.unwrap_or(Duration::from_secs(60)).max(LOOK));
        self.shared.is_up.store(true, Ordering::Release);
    }

    fn image(&mut self) {
        let mut out = Vec::new();
        let began = Instant::now();
        let zxid = self.engine.begin(self.clock.now(), &mut out);
        let path = self.dir.path_of(zxid);
        self.tell();
        let stopped = match self.write(zxid, &mut out) {
            Ok(()) => {
                self.engine.finished(self.clock.now());
                let census = self.engine.census();
                let (items, bytes, ms) = (census.items, census.bytes, began.elapsed().as_millis());
                if std::mem::take(&mut self.is_wrong) {
                    tracing::warn!("{} is written, as it could not be before", path.display());
                }
                tracing::info!("{}: {items} items, {bytes} bytes, in {ms} ms", path.display());
                self.tell();
                self.keeper.image_finished(zxid);
                return;
            }
            Err(stopped) => stopped,
        };
        let left = self.dir.remove_unfinished();
        let wait = match &stopped {
            Stopped::Stopping => return,
            Stopped::Fault(_) => self.engine.failed(self.clock.now()),
            Stopped::TooMuchWaits => self.engine.abandoned(self.clock.now()),
        };
        let seconds = wait / 1000;
        match stopped {
            Stopped::Fault(fault) => {
                tracing::warn!("snapshot failed: {}, next try in {seconds} s", line(&fault, self.dir.path()))
            }
            _ => tracing::warn!(
                "snapshot {} given up: what is written meanwhile takes more memory than the {} MiB it may, next try in {seconds} s",
                path.display(),
                ARCHIVIST_BYTES_MAX >> 20
            ),
        }
        if let Err(error) = left {
            // The next attempt overwrites it, and the next start removes it, or says why not.
            tracing::debug!("{error}");
        }
        self.is_wrong = true;
        self.tell();
    }

    fn write(&mut self, zxid: Zxid, out: &mut Vec<u8>) -> Result<(), Stopped> {
        let mut file = self.dir.create(PIECE).map_err(|error| Stopped::Fault(error.into()))?;
        let shared = Arc::clone(&self.shared);
        let mut began = Instant::now();
        let mut rest = |bytes| {
            pause(&shared, began.elapsed(), bytes);
            began = Instant::now();
        };
        loop {
            let wrote = self.engine.write(out);
            rest(0);
            file.write(out, &mut rest).map_err(|error| Stopped::Fault(error.into()))?;
            out.clear();
            self.tell();
            if wrote == Wrote::All {
                break;
            }
            self.may_go_on()?;
        }
        file.finish(zxid, &mut rest).map_err(Stopped::Fault)
    }

    fn may_go_on(&self) -> Result<(), Stopped> {
        if self.shared.is_stopping.load(Ordering::Acquire) {
            return Err(Stopped::Stopping);
        }
        if self.shared.pinned.load(Ordering::Relaxed) > ARCHIVIST_BYTES_MAX { Err(Stopped::TooMuchWaits) } else { Ok(()) }
    }

    fn tell(&self) {
        let mut census = self.shared.census.lock().unwrap_or_else(PoisonError::into_inner);
        *census = self.engine.census();
        self.shared.has_news.store(true, Ordering::Relaxed);
    }
}

/// Leaves processor and drive to others after so many bytes, for some times as long as this took and as keeps the pace; less where much
/// waits, not at all where too much does.
fn pause(shared: &Shared, took: Duration, bytes: usize) {
    let waits = shared.pinned.load(Ordering::Relaxed);
    let pause = match ARCHIVIST_BYTES_MAX {
        most if waits < most / 4 => {
            let pace = Duration::from_micros(bytes as u64 * 1_000_000 / PACE);
            (took * PAUSES).max(pace.saturating_sub(took))
        }
        most if waits < most / 2 => took,
        _ => Duration::ZERO,
    };
    if !shared.is_stopping.load(Ordering::Acquire) {
        thread::sleep(pause.min(PAUSE_MAX));
    }
}

/// A fault with the directory, where it does not name a file by itself.
fn line(fault: &ImageFault, dir: &Path) -> String {
    match fault {
        ImageFault::Disk(error) => error.to_string(),
        ImageFault::Load(error) => format!("what was written to {} reads back {error}", dir.display()),
    }
}
