//! Archive: the image that a start begins with, and what the archivist goes on from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use super::config::settings::ServerConfig;
use super::recover::IMAGES;
use crate::engine::archivist::load::Loaded;
use crate::engine::archivist::policy::Policy;
use crate::engine::archivist::{Archivist, Start, Wrote};
use crate::engine::sequencer::Restored;
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::runtime::clock::Clock;
use crate::runtime::drive::{self, sync_dir};
use crate::runtime::images::{ImageDir, PIECE};
use crate::tree::view::View;

/// The newest image that is good, and those that are not.
pub struct Newest {
    /// Where images are.
    pub dir: ImageDir,
    /// None where there is no good one.
    pub loaded: Option<Loaded>,
    /// Newer ones that are damaged, the newest first, each with a line that says what is wrong.
    damaged: Vec<(Zxid, String)>,
}

/// Where the archivist begins.
pub struct Since {
    /// Where images are.
    pub dir: ImageDir,
    /// The image that the server was started from, or zero.
    pub image: Zxid,
    /// Transactions that were replayed after it, and their bytes.
    pub replayed: (u64, u64),
    /// Images newer than that which are damaged.
    pub damaged: BTreeSet<Zxid>,
    /// Sessions with the timeouts they were created with, ms.
    pub sessions: BTreeMap<SessionId, i32>,
}

/// Loads the newest image that is good. An image of a later release is refused with a line, and nothing is touched.
pub fn newest(config: &ServerConfig, seeds: [u64; 4]) -> Result<Newest, String> {
    if !config.data_dir_autocreate && !config.data_dir.is_dir() {
        return Err(format!("{} is not there, and datadir.autocreate=false", config.data_dir.display()));
    }
    let dir = ImageDir::open(&config.data_dir.join(IMAGES)).map_err(|error| error.to_string())?;
    let mut damaged = Vec::new();
    for zxid in dir.list().map_err(|error| error.to_string())? {
        let began = Instant::now();
        match dir.load(zxid, seeds) {
            Ok(loaded) => {
                let (znodes, ms) = (loaded.tree.node_count(), began.elapsed().as_millis());
                tracing::info!("{}: {znodes} znodes, loaded in {ms} ms", shown(&dir, zxid));
                return Ok(Newest { dir, loaded: Some(loaded), damaged });
            }
            Err(fault) if fault.is_newer() => return Err(format!("{} {fault}; nothing was changed", shown(&dir, zxid))),
            Err(fault) => damaged.push((zxid, fault.to_string())),
        }
    }
    Ok(Newest { dir, loaded: None, damaged })
}

fn shown(dir: &ImageDir, zxid: Zxid) -> String {
    dir.path_of(zxid).display().to_string()
}

impl Newest {
    /// The damaged images and what was made of it, for a line about them; empty where there are none.
    #[must_use]
    pub fn told(&self) -> String {
        self.damaged.iter().map(|(zxid, what)| format!(" (and snapshot {} is {what})", shown(&self.dir, *zxid))).collect()
    }

    /// The log has been replayed after `image` up to `last`. What a damaged image had held must be there again.
    pub fn judge(&self, image: Zxid, last: Zxid, transactions: u64) -> Result<(), String> {
        let Some((newest, what)) = self.damaged.first() else { return Ok(()) };
        let path = shown(&self.dir, *newest);
        if last < *newest {
            return Err(format!(
                "snapshot {path} {what}, and without it the data end at {last}: put the file, or the log up to {newest}, back in its \
                 place"
            ));
        }
        let instead = if image == Zxid::ZERO { "the log alone".to_owned() } else { shown(&self.dir, image) };
        tracing::warn!("snapshot {path} {what}: using {instead} and replaying {transactions} txns, up to {last}");
        Ok(())
    }
}

/// What the archivist needs of what was restored.
#[must_use]
pub fn since(newest: Newest, image: Zxid, replayed: (u64, u64), restored: &Restored) -> Since {
    let sessions = restored.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
    let damaged = newest.damaged.iter().map(|(zxid, _)| *zxid).collect();
    Since { dir: newest.dir, image, replayed, damaged, sessions }
}

/// The archivist of a server that starts at `zxid`, with a View of its own.
#[must_use]
pub fn archivist(config: &ServerConfig, since: &mut Since, view: View, zxid: Zxid, seed: u64) -> Archivist {
    let (transactions, bytes) = since.replayed;
    let sessions = std::mem::take(&mut since.sessions);
    let start = Start { view, sessions, zxid, archived: since.image, transactions, bytes };
    let policy = Policy { transactions: config.snap_count, bytes: config.snap_bytes };
    Archivist::new(start, policy, config.my_id, seed)
}

/// Writes a state as the only thing in a data directory, from which a server then starts. Durable when this returns.
pub fn plant(data_dir: &Path, state: Loaded, clock: Clock) -> Result<(), String> {
    drive::create_dir_all(data_dir).map_err(|error| error.to_string())?;
    // Whoever made it may have done so just now.
    let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    sync_dir(parent).map_err(|error| error.to_string())?;
    let dir = ImageDir::open(&data_dir.join(IMAGES)).map_err(|error| error.to_string())?;
    let Loaded { tree, sessions, zxid } = state;
    let start = Start { view: tree.into_view(), sessions, zxid, archived: Zxid::ZERO, transactions: 0, bytes: 0 };
    let mut archivist = Archivist::new(start, Policy::default(), ServerId(1), 0);
    let mut out = Vec::new();
    archivist.begin(clock.now(), &mut out);
    let mut file = dir.create(PIECE).map_err(|error| error.to_string())?;
    loop {
        let wrote = archivist.write(&mut out);
        file.write(&out, &mut |_| ()).map_err(|error| error.to_string())?;
        out.clear();
        if wrote == Wrote::All {
            break;
        }
    }
    file.finish(zxid, &mut |_| ()).map_err(|fault| format!("{} {fault}", shown(&dir, zxid)))
}

/// As many Views like this one, each made on a thread of its own.
#[must_use]
pub fn views(of: &View, count: usize) -> Vec<View> {
    std::thread::scope(|scope| {
        let made: Vec<_> = (0..count).map(|_| scope.spawn(|| of.clone())).collect();
        made.into_iter().map(|view| view.join().expect("a clone of a View does not panic")).collect()
    })
}
