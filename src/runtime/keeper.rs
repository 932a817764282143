//! Keeper: a thread that keeps watermark, promise and manifest true, lets go what retention frees, and scrubs what is kept.
//!
//! Nothing waits for it but what the log of an ensemble's member undergoes beside being appended to ([`Task`]): the papers are here, and so
//! is who else changes files. It sleeps while there is nothing to do: a server at rest is not woken by it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::holdings::Holdings;
use super::member_log::{Ended, Task};
use super::papers::Cabinet;
use super::pool::Pool;
use super::scrubber::{Finding, Scrubber};
use super::sequencer_loop::fatal;
use crate::ground::ids::Zxid;
use crate::storage::image::{image_name, image_zxid};
use crate::storage::retention::{Pins, Policy};
use crate::storage::selection::{Begin, Extent};

/// Between two looks at the log while it is written to. The watermark follows the last flush within two of them.
const LOOK: Duration = Duration::from_millis(50);

/// How often the watermark is written while the log is never quiet; then its own headers vouch for all but its very end.
const UNDER_LOAD: Duration = Duration::from_secs(1);

/// What the thread is told when it is made.
pub struct KeeperConfig {
    /// The log's directory.
    pub dir: PathBuf,
    /// The images' directory; it need not be there.
    pub images: PathBuf,
    /// What is kept; none keeps all.
    pub policy: Option<Policy>,
    /// How often everything kept is read back; none is never.
    pub scrub: Option<Duration>,
    /// Whether what is flushed is durable (`forceSync=no` flushes nothing): only then is there a watermark.
    pub is_flushed: bool,
    /// Freed segments go here.
    pub pool: Arc<Pool>,
}

/// What both ends know.
#[derive(Default)]
struct Shared {
    durable: AtomicU64,
    /// The thread is up, or about to be: it need not be woken.
    is_up: AtomicBool,
    wants_image: AtomicBool,
    inbox: Mutex<Inbox>,
}

/// What is done with the end of a task.
type Told = Box<dyn FnOnce(Ended) + Send>;

#[derive(Default)]
struct Inbox {
    rolled: Vec<Extent>,
    /// The segments of the log as they are now, for whoever reads it.
    segments: Vec<Extent>,
    images: Vec<Zxid>,
    pins: Pins,
    task: Option<(Task, Told)>,
    is_stopping: bool,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the keeper; for the sequencer, the archivist, and whoever feeds learners.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Keeps an image and the log after it from going, until it is dropped.
pub struct Pin {
    keeper: Keeper,
    number: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.keeper.shared.inbox().pins.release(self.number);
    }
}

/// The thread; it ends when it is told to, with everything written.
pub struct KeeperThread {
    keeper: Keeper,
    thread: JoinHandle<()>,
}

impl KeeperThread {
    /// Starts the thread. `segments` are those there are, ascending, spares not among them; `verified` is the image that was loaded,
    /// zero for none, `damaged` are those that could not be.
    pub fn start(
        config: KeeperConfig,
        cabinet: Cabinet,
        segments: Vec<Extent>,
        verified: Zxid,
        damaged: BTreeSet<Zxid>,
    ) -> std::io::Result<(Keeper, Self)> {
        let shared = Arc::new(Shared::default());
        shared.durable.store(cabinet.marked().0, Ordering::Relaxed);
        // It looks around once before it sleeps.
        shared.is_up.store(true, Ordering::Relaxed);
        let theirs = Arc::clone(&shared);
        let KeeperConfig { dir, images, policy, scrub, is_flushed, pool } = config;
        shared.inbox().segments.clone_from(&segments);
        let verified = BTreeSet::from([verified]);
        let holdings = Holdings { dir, images, policy, pool, cabinet, segments, verified, damaged, going: Vec::new() };
        let work = Work { is_flushed, holdings, scrubber: Scrubber::new(scrub), shared: theirs };
        let thread = thread::Builder::new().name("rk-keeper".to_owned()).spawn(move || work.run())?;
        let keeper = Keeper { shared, thread: thread.thread().clone() };
        Ok((keeper.clone(), Self { keeper, thread }))
    }

    /// Writes the last watermark and ends.
    pub fn stop(self) {
        self.keeper.shared.inbox().is_stopping = true;
        self.keeper.wake();
        // It ends the process where it cannot write; a panic has done so too.
        let _ = self.thread.join();
    }
}

impl Keeper {
    /// Everything in the log up to `zxid` is durable. Costs an atomic store, and a wake-up where the thread sleeps.
    pub fn durable(&self, zxid: Zxid) {
        self.shared.durable.store(zxid.0, Ordering::SeqCst);
        self.wake();
    }

    /// The log goes on in segment `number` of `bytes` bytes, where it begins as said.
    pub fn rolled(&self, number: u64, begin: Begin, bytes: u64) {
        let extent = Extent { number, begin: Some(begin), bytes };
        let mut inbox = self.shared.inbox();
        inbox.rolled.push(extent);
        inbox.segments.push(extent);
        drop(inbox);
        self.wake();
    }

    /// The segments of the log, ascending; the last one is in use.
    #[must_use]
    pub fn segments(&self) -> Vec<Extent> {
        self.shared.inbox().segments.clone()
    }

    /// Does something with the log of a member while nothing of it is in flight. `answer` is called, on the thread, when it is durable; a
    /// failure ends the process.
    ///
    /// # Panics
    /// While another task is under way.
    pub fn perform(&self, task: Task, answer: impl FnOnce(Ended) + Send + 'static) {
        let before = self.shared.inbox().task.replace((task, Box::new(answer)));
        assert!(before.is_none(), "one task at a time");
        self.shared.is_up.store(true, Ordering::SeqCst);
        // Also where it only rests between two looks.
        self.thread.unpark();
    }

    /// An image at `zxid` is durable under its name and was found good: older ones, and the log before them, may go.
    pub fn image_finished(&self, zxid: Zxid) {
        self.shared.inbox().images.push(zxid);
        self.wake();
    }

    /// Whether a scrub has found damage since this was last asked: an image written now makes up for it.
    #[must_use]
    pub fn wants_image(&self) -> bool {
        self.shared.wants_image.load(Ordering::Relaxed) && self.shared.wants_image.swap(false, Ordering::AcqRel)
    }

    /// Keeps the newest image at or before `zxid`, and the log after it, for as long as the pin lives.
    #[must_use]
    pub fn pin(&self, zxid: Zxid) -> Pin {
        let number = self.shared.inbox().pins.pin(zxid);
        Pin { keeper: self.clone(), number }
    }

    fn wake(&self) {
        if !self.shared.is_up.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

struct Work {
    is_flushed: bool,
    holdings: Holdings,
    scrubber: Scrubber,
    shared: Arc<Shared>,
}

impl Work {
    fn run(mut self) {
        let mut seen = Zxid::ZERO;
        let mut written = Instant::now();
        let mut is_first = true;
        loop {
            let (images, task, is_stopping) = {
                let mut inbox = self.shared.inbox();
                self.holdings.segments.append(&mut inbox.rolled);
                (std::mem::take(&mut inbox.images), inbox.task.take(), inbox.is_stopping)
            };
            if let Some((task, answer)) = task {
                self.perform(task, answer);
            }
            let durable = Zxid(self.shared.durable.load(Ordering::Acquire));
            let is_quiet = durable == seen;
            seen = durable;
            if self.is_flushed
                && (is_quiet || is_stopping || written.elapsed() >= UNDER_LOAD)
                && durable > self.holdings.cabinet.marked()
            {
                self.holdings
                    .mark(durable)
                    .unwrap_or_else(|error| fatal(&format!("{error}: stopping, acknowledged data is intact")));
                written = Instant::now();
            }
            if is_stopping {
                return;
            }
            if is_first || !images.is_empty() {
                is_first = false;
                self.holdings.finished(images);
                let pinned = self.shared.inbox().pins.lowest();
                if let Err(error) = self.holdings.retain(pinned) {
                    // What is not removed now is removed the next time.
                    tracing::error!("{error}: old images and segments stay until the next image");
                }
                self.tell_segments();
            }
            let is_scrubbing = self.scrub();
            let is_shrinking = self.holdings.shrink();
            if is_scrubbing || is_shrinking || !is_quiet {
                // A task ends the rest early.
                thread::park_timeout(LOOK);
                continue;
            }
            // In one order with what others do: store news, then look at the flag. Either they see that it fell, or their news is seen here.
            self.shared.is_up.store(false, Ordering::SeqCst);
            if self.has_news(durable) {
                self.shared.is_up.store(true, Ordering::SeqCst);
                continue;
            }
            match self.scrubber.due_in() {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
            self.shared.is_up.store(true, Ordering::SeqCst);
        }
    }

    fn perform(&mut self, task: Task, answer: Box<dyn FnOnce(Ended) + Send>) {
        // Nobody writes to the log until this is answered, so nobody says that more is durable.
        if let Some(bound) = task.bound() {
            self.shared.durable.fetch_min(bound.0, Ordering::SeqCst);
        }
        let ended =
            self.holdings.perform(task).unwrap_or_else(|error| fatal(&format!("{error}: stopping, acknowledged data is intact")));
        if ended != Ended::Plain {
            self.scrubber.give_up();
        }
        self.tell_segments();
        answer(ended);
    }

    /// What is kept of the log is another part of it now.
    fn tell_segments(&self) {
        let mut inbox = self.shared.inbox();
        let segments = self.holdings.segments.iter().chain(&inbox.rolled).copied().collect();
        inbox.segments = segments;
    }

    fn has_news(&self, durable: Zxid) -> bool {
        let inbox = self.shared.inbox();
        let is_empty = inbox.rolled.is_empty() && inbox.images.is_empty() && inbox.task.is_none() && !inbox.is_stopping;
        !is_empty || Zxid(self.shared.durable.load(Ordering::SeqCst)) != durable
    }

    /// Goes on with a look at what is kept; returns whether there is more of it.
    fn scrub(&mut self) -> bool {
        if !self.scrubber.is_under_way() {
            if self.scrubber.due_in().is_none_or(|left| !left.is_zero()) {
                return false;
            }
            let images = self.holdings.images().unwrap_or_default();
            let files = images.iter().map(|image| self.holdings.images.join(image_name(image.zxid)));
            self.scrubber.begin(&self.holdings.dir, &self.holdings.segments, files.collect());
        }
        let shared = Arc::clone(&self.shared);
        let mut pause = move |_| {
            let inbox = shared.inbox();
            let is_wanted = inbox.is_stopping || inbox.task.is_some();
            drop(inbox);
            if !is_wanted {
                thread::park_timeout(LOOK);
            }
        };
        match self.scrubber.step(&mut pause) {
            Some(Finding { path, what }) => {
                // A file that retention has taken meanwhile is not damaged.
                if path.exists() {
                    let newest = self.holdings.cabinet.said().image;
                    tracing::error!(
                        "scrub: {} damaged {what}; a new image (newest so far {newest}) makes up for it and is asked for; look after the drive",
                        path.display()
                    );
                    if let Some(image) = path.file_name().and_then(|name| image_zxid(name.to_str()?)) {
                        self.holdings.verified.remove(&image);
                        self.holdings.damaged.insert(image);
                    }
                    self.shared.wants_image.store(true, Ordering::Release);
                }
                true
            }
            None => self.scrubber.is_under_way(),
        }
    }
}
