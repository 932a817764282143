//! The audit log: a file of events, written by a thread of its own so that no shard waits for it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::admin::java;
use super::config::settings::AuditConfig;
use crate::engine::audit::{Audit, Event, Verdict};
use crate::runtime::drive;

/// Bytes of events that may wait for the file; what comes beyond them is lost.
const WAITING_MAX: usize = 16 << 20;

/// Bytes written by one call at most, but for a single line that is longer.
const CHUNK: usize = 256 << 10;

/// How often it is looked whether somebody has moved the file away, and how often trouble with it is told.
const LOOK_EACH: Duration = Duration::from_secs(1);

enum Order {
    Write(Event),
    Stop,
}

/// What the shards and the writer share.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// The log as the shards see it.
pub(super) struct AuditLog {
    orders: Sender<Order>,
    waiting: Arc<Waiting>,
    user: String,
}

impl AuditLog {
    /// Opens the file, which must be possible, and starts its writer. `user` is who runs the server.
    pub(super) fn start(config: &AuditConfig, user: String) -> Result<(Arc<Self>, AuditThread), String> {
        let wrong = |error: io::Error| format!("the audit log {} cannot be written: {error}", config.file.display());
        let roll = Roll::open(config).map_err(wrong)?;
        let (orders, receiver) = mpsc::channel();
        let waiting = Arc::new(Waiting::default());
        let writer = Writer { roll, waiting: Arc::clone(&waiting), looked: Instant::now(), is_told: false };
        let thread = std::thread::Builder::new()
            .name("rk-audit".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let handle = AuditThread { orders: orders.clone(), thread };
        Ok((Arc::new(Self { orders, waiting, user }), handle))
    }

    /// An event of the server itself.
    pub(super) fn of_server(&self, operation: &str, verdict: Verdict) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        self.note(Event::new(wall_ms, &[("user", Some(&self.user)), ("operation", Some(operation))], verdict));
    }
}

impl Audit for AuditLog {
    fn note(&self, event: Event) {
        let bytes = weight(&event);
        if self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_MAX {
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.waiting.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The writer is gone only when the process is about to be.
        let _ = self.orders.send(Order::Write(event));
    }

    fn server_user(&self) -> &str {
        &self.user
    }
}

/// The writer, to be stopped.
pub(super) struct AuditThread {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl AuditThread {
    /// Writes what waits, and ends.
    pub(super) fn stop(self) {
        // A writer that has ended by itself was told of.
        let _ = self.orders.send(Order::Stop);
        let _ = self.thread.join();
    }
}

struct Writer {
    roll: Roll,
    waiting: Arc<Waiting>,
    looked: Instant,
    /// Trouble was told since the file was last looked at.
    is_told: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut text = String::new();
        while let Ok(first) = orders.recv() {
            let mut order = Some(first);
            let (mut lines, mut bytes, mut is_last) = (0, 0, false);
            while let Some(next) = order {
                match next {
                    Order::Write(event) => {
                        lines += 1;
                        bytes += weight(&event);
                        line(&mut text, &event);
                    }
                    Order::Stop => is_last = true,
                }
                order = if is_last || text.len() >= CHUNK { None } else { orders.try_recv().ok() };
            }
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.write(&mut text, lines);
            if is_last {
                return;
            }
        }
    }

    /// Writes some lines, and before them how many were lost.
    fn write(&mut self, text: &mut String, lines: u64) {
        let now = Instant::now();
        let looks = now.duration_since(self.looked) >= LOOK_EACH;
        if looks {
            (self.looked, self.is_told) = (now, false);
        }
        let lost = self.waiting.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            text.insert_str(0, &format!("{lost} events lost\n"));
        }
        let written = if looks { self.roll.follow() } else { Ok(()) }.and_then(|()| self.roll.append(text.as_bytes()));
        if let Err(error) = written {
            self.waiting.lost.fetch_add(lost + lines, Ordering::Relaxed);
            if !self.is_told {
                self.is_told = true;
                tracing::error!("the audit log {} cannot be written, its lines are lost: {error}", self.roll.path.display());
            }
        } else if lost > 0 {
            tracing::error!("the audit log could not keep up: {lost} events are lost");
        }
        text.clear();
    }
}

/// What an event counts while it waits.
const fn weight(event: &Event) -> usize {
    event.text.len() + size_of::<Event>()
}

/// One event as ZooKeeper's example of a configuration prints it.
fn line(text: &mut String, event: &Event) {
    let level = if event.is_failure { "ERROR" } else { "INFO" };
    text.push_str(&format!("{} {level} audit.Slf4jAuditLogger: {}\n", java::log_date(event.wall_ms), event.text));
}

/// A file that is put aside when it is long enough.
struct Roll {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
    keep: u32,
}

impl Roll {
    fn open(config: &AuditConfig) -> io::Result<Self> {
        let file = drive::open_to_append(&config.file)?;
        let length = file.metadata()?.len();
        Ok(Self { path: config.file.clone(), file, length, limit: config.file_bytes, keep: config.files })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.limit > 0 && self.length > 0 && self.length + bytes.len() as u64 > self.limit {
            self.turn()?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts the file aside and begins another.
    fn turn(&mut self) -> io::Result<()> {
        let older = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        if self.keep == 0 {
            drive::remove(&self.path)?;
        }
        for number in (1..=self.keep).rev() {
            let from = if number == 1 { self.path.clone() } else { older(number - 1) };
            match drive::rename(&from, &older(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = drive::open_to_append(&self.path)?;
        self.length = self.file.metadata()?.len();
        Ok(())
    }

    /// Opens the file anew where it was moved or removed.
    fn follow(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_there = fs::metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        if !is_there {
            self.file = drive::open_to_append(&self.path)?;
        }
        self.length = self.file.metadata()?.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn log(config: &AuditConfig) -> (Arc<AuditLog>, AuditThread) {
        AuditLog::start(config, "keeper".to_owned()).unwrap()
    }

    fn config(directory: &Path, file_bytes: u64, files: u32) -> AuditConfig {
        AuditConfig { file: directory.join("audit.log"), file_bytes, files }
    }

    fn event(text: &str) -> Event {
        Event::new(1_795_315_350_812, &[("operation", Some(text))], Verdict::Failure)
    }

    #[test]
    fn lines_as_zookeeper_prints_them() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), 0, 0);
        let (audit, thread) = log(&config);
        audit.note(event("a"));
        audit.of_server("serverStop", Verdict::Invoked);
        thread.stop();
        let text = fs::read_to_string(&config.file).unwrap();
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(first, "2026-11-22 02:42:30,812 ERROR audit.Slf4jAuditLogger: operation=a\tresult=failure");
        assert!(
            second.ends_with(" INFO audit.Slf4jAuditLogger: user=keeper\toperation=serverStop\tresult=invoked\n"),
            "{second}"
        );
    }

    #[test]
    fn a_file_that_is_long_enough_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), 100, 2);
        for i in 0..5 {
            let (audit, thread) = log(&config);
            audit.note(event(&i.to_string()));
            thread.stop();
        }
        let of = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(of("audit.log").contains("operation=4") && of("audit.log.1").contains("operation=3"));
        assert!(of("audit.log.2").contains("operation=2") && fs::read_dir(directory.path()).unwrap().count() == 3);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), 0, 0);
        let mut roll = Roll::open(&config).unwrap();
        roll.append(b"one\n").unwrap();
        fs::rename(&config.file, directory.path().join("away")).unwrap();
        roll.follow().unwrap();
        roll.append(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&config.file).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(directory.path().join("away")).unwrap(), "one\n");
    }

    #[test]
    fn what_is_too_much_is_lost_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), 0, 0);
        let (audit, thread) = log(&config);
        audit.note(event(&"x".repeat(WAITING_MAX)));
        audit.note(event("later"));
        thread.stop();
        let text = fs::read_to_string(&config.file).unwrap();
        assert!(text.starts_with("1 events lost\n") && text.lines().count() == 2 && text.contains("operation=later"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let config = AuditConfig { file: directory.path().join("none/audit.log"), file_bytes: 0, files: 0 };
        assert!(AuditLog::start(&config, String::new()).is_err_and(|error| error.contains("none/audit.log cannot be written")));
    }
}
