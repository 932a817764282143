//! Recover: the log read back at boot, its plan carried out, the server's state restored from it.

pub mod loss;

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::archive::{self, Newest, Since};
use super::config::ensemble::Ensemble;
use super::config::settings::{FlushMethod, ServerConfig};
use crate::auth::AuthConfig;
use crate::engine::archivist::load::Loaded;
use crate::engine::sequencer::{Restore, RestoreError, Restored};
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::runtime::chance;
use crate::runtime::clock::Clock;
use crate::runtime::disk::{DiskError, LogDir, remove_if_there};
use crate::runtime::drive::sync_dir;
use crate::runtime::images::clear_received;
use crate::runtime::member_log::{IMPAIRED, mark_impaired, zxid_of};
use crate::runtime::papers::{self as cabinet, Cabinet, PaperBytes};
use crate::runtime::pool::Pool;
use crate::storage::appender::Position;
use crate::storage::image::UNFINISHED;
use crate::storage::manifest::Manifest;
use crate::storage::papers::{self, Papers};
use crate::storage::promise::Promise;
use crate::storage::recovery::{Known, Plan, Recovery, Start};
use crate::storage::segment::{SegmentStart, file_name};
use crate::storage::selection::{Begin, Extent, Selection, superseded};
use crate::zab;

/// Directory of the images, in the data directory.
pub const IMAGES: &str = "images";

/// Directory of the log, in the log's data directory.
pub const LOG: &str = "log";

/// What boot goes on with.
pub struct Recovered {
    /// Tree and sessions.
    pub restored: Restored,
    /// Where the log is continued.
    pub position: Position,
    /// Segments made ahead by an earlier run.
    pub spares: Vec<SegmentStart>,
    /// Segments of the log, the one that is continued last.
    pub segments: Vec<Extent>,
    /// Manifest, promise and watermark, which say what is true now.
    pub cabinet: Cabinet,
    /// Segment files to be used again.
    pub pool: Arc<Pool>,
    /// Where the archivist begins.
    pub since: Since,
}

/// What a member of an ensemble begins with, beside tree and sessions, which stand at what is known to be committed.
#[derive(Debug)]
pub struct Joining {
    /// What it knows of itself.
    pub found: zab::Found,
    /// What the log holds beyond that, ascending.
    pub pending: Vec<zab::Record>,
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
                "{} holds data of a ZooKeeper server ({}); take them in with: ringkeeper migrate import --from {} --data-dir NEW, and serve \
                 with dataDir=NEW; or choose another data directory to begin with nothing",
                theirs.display(),
                name.to_string_lossy(),
                data_dir.display()
            ));
        }
    }
    Ok(())
}

/// Refuses a directory with nothing but the beginning of an image: a server has a log before its first image, an import that did not come
/// to its end has none. An empty tree is not what it was to be.
fn refuse_half_planted(data_dir: &Path) -> Result<(), String> {
    let unfinished = data_dir.join(IMAGES).join(UNFINISHED);
    if !unfinished.exists() {
        return Ok(());
    }
    Err(format!(
        "{} is what an import left that did not come to its end, and there is nothing else; remove {} and import again",
        unfinished.display(),
        data_dir.display()
    ))
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

/// Transactions of a member's log that are not known to be committed, as far as it was read.
#[derive(Default)]
struct Tail {
    records: VecDeque<zab::Record>,
    /// For each epoch with transactions after the image, the last of them.
    ends: Vec<Zxid>,
    /// The last one seen.
    last: Zxid,
}

impl Tail {
    /// Takes the next transaction of the log.
    fn hold(&mut self, blob: &[u8], image: Zxid) -> Result<(), RestoreError> {
        let zxid = zxid_of(blob).ok_or(crate::proto::jute::Malformed::Short)?;
        if zxid <= image {
            return Ok(());
        }
        let before = self.last.max(image);
        let follows = before.next() == Some(zxid) || zxid.epoch() > before.epoch() && zxid.counter() == 1;
        if !follows {
            return Err(RestoreError::Order(zxid, before));
        }
        self.last = zxid;
        match self.ends.last_mut().filter(|end| end.epoch() == zxid.epoch()) {
            Some(end) => *end = zxid,
            None => self.ends.push(zxid),
        }
        self.records.push_back(zab::Record { zxid, blob: blob.into() });
        Ok(())
    }

    /// Everything up to `committed` may be applied.
    fn release(&mut self, committed: Zxid, restore: &mut Restore) -> Result<(), String> {
        while let Some(record) = self.records.pop_front_if(|record| record.zxid <= committed) {
            restore.take(&record.blob).map_err(|error| format!("at zxid {}: {error}", record.zxid))?;
        }
        Ok(())
    }
}

/// What a directory holds, read and judged. Nothing in it was changed so far.
pub struct Found {
    papers: Option<Papers>,
    newest: Newest,
    /// The image that was loaded; zero for none.
    image: Zxid,
    selection: Selection,
    plan: Plan,
    restore: Restore,
    /// In a member, what is not known to be committed.
    tail: Tail,
}

impl Found {
    /// What the log's manifest says, if there is one.
    fn manifest(&self) -> Option<Manifest> {
        self.papers.as_ref().map(|papers| papers.manifest.said)
    }

    /// The state alone, for whoever does not go on with the log.
    #[must_use]
    pub fn into_loaded(self) -> Loaded {
        self.restore.into_loaded()
    }
}

/// Loads the newest image and reads the log after it. Errors are one line each: what, where, and what to do.
pub fn read(dir: &LogDir, config: &ServerConfig, seeds: [u64; 4], clock: Clock) -> Result<Found, String> {
    read_as(dir, config, seeds, clock, false)
}

/// As [`read`]; of a member's log only what is known to be committed is applied.
fn read_as(dir: &LogDir, config: &ServerConfig, seeds: [u64; 4], clock: Clock, is_member: bool) -> Result<Found, String> {
    let located = |line: &dyn fmt::Display| format!("{line} (in {})", dir.path().display());
    let bytes = PaperBytes::read(dir.path()).map_err(to_line)?;
    let papers = papers::judge(bytes.files(), Some(config.my_id)).map_err(|refusal| located(&refusal))?;
    let extents = dir.extents(&dir.segments().map_err(to_line)?).map_err(to_line)?;
    let mut newest = archive::newest(config, seeds)?;
    if newest.loaded.is_none() && extents.is_empty() && papers.is_none() {
        refuse_half_planted(&config.data_dir)?;
    }
    let (mut restore, image) = restore_from(&mut newest, config, seeds);
    let manifest = papers.as_ref().map(|papers| papers.manifest.said);
    let selection =
        Selection::of(&extents, manifest.map_or(0, |said| said.oldest), image).map_err(|refusal| located(&refusal))?;
    let mut recovery = Recovery::knowing(Known {
        durable: papers.as_ref().map_or(Zxid::ZERO, Papers::durable),
        image,
        newest: manifest.map_or(Zxid::ZERO, |said| said.image),
    });
    let mut bytes = Vec::new();
    let doubtful = selection.kept.iter().filter(|extent| extent.begin.is_none()).map(|extent| extent.number);
    for number in selection.leftovers.iter().copied().chain(doubtful) {
        dir.read(number, &mut bytes).map_err(to_line)?;
        superseded(number, &bytes, image).map_err(|refusal| located(&refusal))?;
    }
    let mut progress = Progress::new(clock);
    let mut tail = Tail::default();
    for (i, &Extent { number, .. }) in selection.read.iter().enumerate() {
        dir.read(number, &mut bytes).map_err(to_line)?;
        recovery
            .segment(number, &bytes, |record| if is_member { tail.hold(record.bytes, image) } else { restore.take(record.bytes) })
            .map_err(|stop| format!("{}{}", located(&stop), newest.told()))?;
        tail.release(recovery.committed(), &mut restore).map_err(|line| located(&line))?;
        progress.tell(i + 1, selection.read.len(), restore.transactions(), recovery.last());
    }
    drop(bytes);
    let plan = recovery.finish().map_err(|refusal| format!("{}{}", located(&refusal), newest.told()))?;
    // What an image was made of was committed, also where that one cannot be used.
    tail.release(plan.committed.max(manifest.map_or(Zxid::ZERO, |said| said.image)), &mut restore)
        .map_err(|line| located(&line))?;
    newest.judge(image, restore.last().max(tail.last), restore.transactions() + tail.records.len() as u64)?;
    if let Some(papers) = &papers {
        let last = plan.last.max(image);
        let allowed = if is_member { papers.allow_member(last) } else { papers.allow(last) };
        allowed.map_err(|refusal| located(&refusal))?;
    }
    if papers.is_none() && extents.is_empty() && image > Zxid::ZERO {
        tracing::warn!(
            "{}",
            located(&format_args!(
                "no log beside {}, as after an import: it begins anew after zxid {image}; if there was one, put it back from a copy",
                newest.dir.path_of(image).display()
            ))
        );
    }
    if papers.is_none() && plan.batches > 0 {
        tracing::warn!(
            "{}",
            located(&format_args!(
                "the directory state is missing, as after an upgrade from release 0.1.0: made anew from offset 0 on; this once, damage at the \
                 very end of the log after zxid {} cannot be told from a torn tail, so compare with a copy if you keep one",
                plan.last
            ))
        );
    }
    for line in papers.iter().flat_map(|papers| &papers.warnings).chain(&plan.warnings) {
        tracing::warn!("{}", located(line));
    }
    Ok(Found { papers, newest, image, selection, plan, restore, tail })
}

/// Reads what the directory holds and makes it ready to go on with. Errors are one line each: what, where, and what to do; a start that is
/// refused by what was found leaves the directory as it was.
pub fn recover(
    dir: &LogDir,
    config: &ServerConfig,
    auth: AuthConfig,
    seeds: [u64; 4],
    clock: Clock,
) -> Result<Recovered, String> {
    recover_as(dir, config, auth, seeds, clock, false).map(|(recovered, _)| recovered)
}

/// As [`recover`], for a member of an ensemble: tree and sessions stand at what is known to be committed.
pub fn recover_member(
    dir: &LogDir,
    config: &ServerConfig,
    auth: AuthConfig,
    seeds: [u64; 4],
    clock: Clock,
) -> Result<(Recovered, Joining), String> {
    recover_as(dir, config, auth, seeds, clock, true)
}

fn recover_as(
    dir: &LogDir,
    config: &ServerConfig,
    auth: AuthConfig,
    seeds: [u64; 4],
    clock: Clock,
    is_member: bool,
) -> Result<(Recovered, Joining), String> {
    let found = read_as(dir, config, seeds, clock, is_member)?;
    let manifest = found.manifest();
    let Found { papers, newest, image, mut selection, mut plan, restore, tail } = found;
    let has_log = !selection.read.is_empty() || !selection.kept.is_empty();
    // After the end of a process alone, what was read may not be durable yet: it is before anything is built on it.
    cabinet::settle(dir.path()).map_err(to_line)?;
    sync_dir(newest.dir.path()).map_err(to_line)?;
    sync_dir(dir.path()).map_err(to_line)?;
    let last = plan.last.max(image);
    // Segments follow one another: one behind another that is made anew is made again when its turn comes.
    let count = match &plan.start {
        Start::Continue(position) => {
            let expected = position.segment.number + 1..;
            plan.spares.iter().zip(expected).take_while(|(spare, number)| spare.number == *number).count()
        }
        Start::New { .. } => 0,
    };
    plan.remove.extend(plan.spares.drain(count..).map(|spare| spare.number));
    dir.carry_out(&plan).map_err(to_line)?;
    let spares = plan.spares;
    let position = match plan.start {
        Start::Continue(position) => position,
        Start::New { number } => {
            let salt = chance::salt().map_err(|error| format!("no random bytes to be had: {error}"))?;
            let start = SegmentStart { number, salt, size: config.segment_bytes };
            dir.make(start, config.my_id, clock.now().wall).map_err(to_line)?;
            Position::new_log(start)
        }
    };
    let replayed = (restore.transactions(), restore.bytes());
    clear(dir, &config.data_dir.join(IMAGES), last)?;
    let pool = Pool::open(dir.path().to_owned(), config.segment_bytes).map_err(to_line)?;
    if position.sequence == 1 {
        // A log that begins here: nothing in it can be tied to the segments before it, and no later start must try.
        selection.leftovers.extend(selection.kept.drain(..).map(|extent| extent.number));
    }
    let segments = in_use(&selection, &position);
    let oldest = segments.first().map_or(position.segment.number, |first| first.number);
    let ensemble = u64::from(is_member);
    let is_new = is_new_member(dir.path(), config, papers.as_ref(), has_log, last).map_err(to_line)?;
    let cabinet = Cabinet::establish(
        dir.path(),
        papers.as_ref(),
        manifest.map_or(Manifest { server: config.my_id, ensemble, oldest, image }, |said| Manifest {
            oldest: if position.sequence == 1 { oldest } else { said.oldest },
            image: said.image.max(image),
            ensemble,
            ..said
        }),
        papers
            .as_ref()
            .map(|papers| papers.promise.said)
            .filter(|_| is_member)
            .unwrap_or_else(|| Promise::alone(papers.as_ref().map(|papers| papers.promise.said), last)),
        // What is not flushed is not vouched for.
        if config.flush.method == FlushMethod::None { Zxid::ZERO } else { plan.last },
    )
    .map_err(to_line)?;
    for &number in &selection.leftovers {
        tracing::warn!(
            "{}",
            format_args!(
                "removing leftover segment {}, from offset 0: an image holds what it held, up to zxid {} and beyond; nothing to be done (in {})",
                file_name(number),
                segments.first().and_then(|first| first.begin).map_or(image, |begin| begin.after),
                dir.path().display()
            )
        );
    }
    pool.free(&selection.leftovers).map_err(to_line)?;
    let (restored, orphans) = restore.finish(auth, clock.now().mono());
    for session in orphans {
        tracing::warn!("session {session} has ephemerals in the log but was closed there; they stay until they are deleted");
    }
    let promise = cabinet.promised();
    let found = zab::Found {
        accepted: promise.accepted,
        current: promise.current,
        base: image,
        ends: tail.ends,
        delivered: restored.last,
        is_impaired: is_new || dir.path().join(IMPAIRED).exists(),
        is_new: config.ensemble.as_ref().filter(|_| is_new).map(|ensemble| ensemble.bootstrap),
    };
    let since = archive::since(newest, image, replayed, &restored);
    let recovered = Recovered { restored, position, spares, segments, cabinet, pool: Arc::new(pool), since };
    Ok((recovered, Joining { found, pending: tail.records.into() }))
}

/// Whether this is a member with a vote that has nothing. Until it knows that its ensemble has nothing either it is impaired, and a mark says
/// so before anything else is here: it must not be forgotten over a restart. So is one that has a log and has lost what it has promised; what was
/// imported has no log, and has promised nothing.
fn is_new_member(
    dir: &Path,
    config: &ServerConfig,
    papers: Option<&Papers>,
    has_log: bool,
    last: Zxid,
) -> Result<bool, DiskError> {
    let has_promised = papers.is_some_and(|papers| papers.promise.said != Promise { accepted: 0, current: 0 });
    let is_voter = config.ensemble.as_ref().is_some_and(Ensemble::votes);
    if is_voter && papers.is_none() && last > Zxid::ZERO && has_log {
        tracing::warn!(
            "epoch record lost: {} has a log up to zxid {last} and not what this server has promised to the others: it learns without a vote, and \
             votes again when it has all",
            dir.display()
        );
        mark_impaired(dir)?;
    }
    if !is_voter || last > Zxid::ZERO || has_promised {
        return Ok(false);
    }
    let mark = dir.join(IMPAIRED);
    if papers.is_none() {
        mark_impaired(dir)?;
    }
    Ok(mark.exists())
}

/// Removes what a crash left half made.
fn clear(dir: &LogDir, images: &Path, last: Zxid) -> Result<(), String> {
    let received = clear_received(images).map_err(to_line)?;
    if received > 0 {
        tracing::info!(
            "removing what came of {received} states that a leader sent and that were not put in force; nothing to be done"
        );
    }
    let unfinished = images.join(UNFINISHED);
    let found = [
        ("segment", dir.path().join("segment.tmp"), dir.clear_unfinished().map_err(to_line)?),
        ("image", unfinished.clone(), remove_if_there(&unfinished).map_err(to_line)?),
    ];
    for (what, path, bytes) in found {
        if let Some(bytes) = bytes {
            let path = path.display();
            tracing::info!(
                "removing unfinished {what} ({path}), {bytes} bytes from offset 0, after zxid {last}; nothing to be done"
            );
        }
    }
    Ok(())
}

/// The segments that hold the log, as they are once the plan was carried out.
fn in_use(selection: &Selection, position: &Position) -> Vec<Extent> {
    let active = position.segment.number;
    let before = selection.kept.iter().chain(&selection.read).filter(|extent| extent.number < active).copied();
    let found = selection.read.iter().find(|extent| extent.number == active).and_then(|extent| extent.begin);
    // Where nothing is left of what its beginning held, it begins with what comes next.
    let begin = found.filter(|_| position.offset > BLOCK as u64);
    let begin = begin.unwrap_or(Begin { after: position.last, sequence: position.sequence });
    before.chain([Extent { number: active, begin: Some(begin), bytes: position.segment.size }]).collect()
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
