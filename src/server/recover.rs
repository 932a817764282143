//! Recover: the log read back at boot, its plan carried out, the server's state restored from it.

use std::fmt;
use std::path::Path;

use super::archive::{self, Newest, Since};
use super::config::settings::ServerConfig;
use crate::auth::AuthConfig;
use crate::engine::sequencer::{Restore, Restored};
use crate::ground::ids::Zxid;
use crate::runtime::clock::Clock;
use crate::runtime::disk::LogDir;
use crate::runtime::preparer;
use crate::storage::appender::Position;
use crate::storage::recovery::{Recovery, Start};
use crate::storage::segment::SegmentStart;

/// What boot goes on with.
pub struct Recovered {
    /// Tree and sessions.
    pub restored: Restored,
    /// Where the log is continued.
    pub position: Position,
    /// Segments made ahead by an earlier run.
    pub spares: Vec<SegmentStart>,
    /// Where the archivist begins.
    pub since: Since,
}

/// Refuses a directory in which a ZooKeeper server has left its data: serving an empty tree from there would look like its loss.
pub fn refuse_foreign(data_dir: &Path, log_dir: &Path) -> Result<(), String> {
    for dir in [data_dir, log_dir] {
        let theirs = dir.join("version-2");
        let Ok(entries) = std::fs::read_dir(&theirs) else { continue };
        let found = entries.flatten().map(|entry| entry.file_name()).find(|name| {
            let name = name.to_string_lossy();
            name.starts_with("log.") || name.starts_with("snapshot.")
        });
        if let Some(name) = found {
            return Err(format!(
                "{} holds data of a ZooKeeper server ({}), which this release cannot read; choose another data directory",
                theirs.display(),
                name.to_string_lossy()
            ));
        }
    }
    Ok(())
}

/// What a start begins with: the newest image that is good, or a fresh tree.
fn restore_from(newest: &mut Newest, config: &ServerConfig, seeds: [u64; 4]) -> (Restore, Zxid) {
    let (tick_ms, checks_digest) = (u64::from(config.tick_time_ms), config.tree_digest_enabled);
    match newest.loaded.take() {
        None => (Restore::new(seeds, tick_ms, checks_digest), Zxid::ZERO),
        Some(loaded) => {
            let image = loaded.zxid;
            (Restore::after(loaded, seeds, tick_ms, checks_digest), image)
        }
    }
}

/// Loads the newest image, reads the log after it and continues it. Errors are one line each: what, where, and what to do.
pub fn recover(
    dir: &LogDir,
    config: &ServerConfig,
    auth: AuthConfig,
    seeds: [u64; 4],
    clock: Clock,
) -> Result<Recovered, String> {
    let mut newest = archive::newest(config, seeds)?;
    let (mut restore, image) = restore_from(&mut newest, config, seeds);
    let mut recovery = Recovery::new();
    let mut bytes = Vec::new();
    let mut progress = Progress::new(clock);
    let segments = dir.segments().map_err(to_line)?;
    for (i, &number) in segments.iter().enumerate() {
        dir.read(number, &mut bytes).map_err(to_line)?;
        recovery
            .segment(number, &bytes, |record| restore.take(record.bytes))
            .map_err(|stop| format!("{stop} (in {}){}", dir.path().display(), newest.told()))?;
        progress.tell(i + 1, segments.len(), restore.transactions(), recovery.last());
    }
    drop(bytes);
    newest.judge(image, restore.last(), restore.transactions())?;
    let plan = recovery.finish().map_err(|refusal| format!("{refusal} (in {})", dir.path().display()))?;
    for line in &plan.warnings {
        tracing::warn!("{line} (in {})", dir.path().display());
    }
    dir.carry_out(&plan).map_err(to_line)?;
    let mut spares = plan.spares;
    let position = match plan.start {
        Start::Continue(position) => position,
        Start::New { number } => {
            // Nothing was ever written: spares of an unused log are made anew with it.
            spares.clear();
            let salt = preparer::salt().map_err(|error| format!("no random bytes to be had: {error}"))?;
            let start = SegmentStart { number, salt, size: config.segment_bytes };
            dir.make(start, config.my_id, clock.now().wall).map_err(to_line)?;
            Position::new_log(start)
        }
    };
    let expected = position.segment.number + 1..;
    let count = spares.iter().zip(expected).take_while(|(spare, number)| spare.number == *number).count();
    for stray in spares.drain(count..) {
        // Segments follow one another: one behind a gap is made again when its turn comes.
        dir.remove(stray.number).map_err(to_line)?;
    }
    let replayed = (restore.transactions(), restore.bytes());
    let (restored, orphans) = restore.finish(auth, clock.now().mono());
    for session in orphans {
        tracing::warn!("session {session} has ephemerals in the log but was closed there; they stay until they are deleted");
    }
    let since = archive::since(newest, image, replayed, &restored);
    Ok(Recovered { restored, position, spares, since })
}

fn to_line(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Says how far a long replay has come.
struct Progress {
    clock: Clock,
    told_at: u64,
}

impl Progress {
    fn new(clock: Clock) -> Self {
        Self { clock, told_at: clock.now().micros }
    }

    fn tell(&mut self, segment: usize, of: usize, transactions: u64, last: Zxid) {
        let now = self.clock.now().micros;
        if now - self.told_at >= 2_000_000 {
            self.told_at = now;
            tracing::warn!("reading the log: segment {segment} of {of}, {transactions} transactions, up to {last}");
        }
    }
}
