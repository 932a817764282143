//! Import: a ZooKeeper server's data directory, read as that server would when it starts. Nothing in it is written to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::flaw::{Flaw, What};
use super::imported::Imported;
use super::log::{LogFile, LogName, Next};
use super::progress::Progress;
use super::snapshot::{self, SnapshotName, Told};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::txn::DIGEST_VERSION;
use crate::tree::replay::change::{self, Change};
use crate::tree::replay::model::{At, Model, Unfinished};

/// Snapshots tried, the newest first, as ZooKeeper does.
const TRIED_MAX: usize = 100;

/// Where a server keeps its files below dataDir and dataLogDir.
pub const VERSION_DIR: &str = "version-2";

/// What to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct From {
    /// dataDir, or its `version-2` itself.
    pub data_dir: PathBuf,
    /// dataLogDir, or its `version-2`; the same as `data_dir` where there is none.
    pub log_dir: Option<PathBuf>,
    /// Take the data although its digest is not the one that ZooKeeper wrote.
    pub ignore_digest: bool,
}

/// Why there is nothing to import.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A directory cannot be listed.
    #[error("{}: {error}; --from names a ZooKeeper dataDir, --log-dir its dataLogDir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// No data of ZooKeeper's.
    #[error("{} has no ZooKeeper snapshot and no transaction log; --from names the dataDir of its zoo.cfg", .0.display())]
    NoData(PathBuf),
    /// Logs alone, which ZooKeeper refuses too.
    #[error("{} has transaction logs but no snapshot to begin with, and ZooKeeper would not start from it either; copy the snapshots along, or name their directory with --from", .0.display())]
    NoSnapshot(PathBuf),
    /// Every snapshot is damaged.
    #[error(
        "none of the {tried} newest snapshots can be used; the newest: {newest}; take the directory of another server of the ensemble, or a backup"
    )]
    NoValidSnapshot {
        /// How many.
        tried: usize,
        /// What is wrong with the newest.
        newest: Flaw,
    },
    /// An older snapshot is used and the log does not go back to it.
    #[error(
        "the newest snapshot cannot be used ({newest}), and for the one of {snapshot} the log is missing up to {first}; take the directory of another server of the ensemble, or a backup"
    )]
    MissingLog {
        /// What is wrong with the newest.
        newest: Flaw,
        /// The snapshot that can be used.
        snapshot: Zxid,
        /// The first transaction there is after it.
        first: Zxid,
    },
    /// A log is damaged.
    #[error("{0}; the log is damaged: take the directory of another server of the ensemble, or a backup")]
    Log(Flaw),
    /// The tree is another than ZooKeeper's was.
    #[error(
        "after transaction {zxid} the tree's digest is {found:#x}, ZooKeeper's was {told:#x}: files are damaged or missing; take the directory of another server of the ensemble, or import it as it is with --ignore-digest"
    )]
    Digest {
        /// The transaction.
        zxid: Zxid,
        /// Ours.
        found: u64,
        /// ZooKeeper's.
        told: u64,
    },
    /// The log ends before the snapshot does.
    #[error(
        "the snapshot holds effects of transactions up to {snapshot}, the log ends with {last}: logs are missing; name their directory with --log-dir, or import it as it is with --ignore-digest"
    )]
    ShortLog {
        /// Up to here.
        snapshot: Zxid,
        /// The last transaction there is.
        last: Zxid,
    },
    /// The tree is not whole.
    #[error("{0}; take the directory of another server of the ensemble, or a backup")]
    Unfinished(#[from] Unfinished),
}

/// What was read, and what there is to be said of it.
#[derive(Debug)]
pub struct Report {
    /// The snapshot.
    pub snapshot: PathBuf,
    /// Log files with transactions after it.
    pub logs: usize,
    /// Transactions after it.
    pub transactions: u64,
    /// The last transaction after which the tree's digest was the one that ZooKeeper had written. `None`: it wrote none.
    pub verified: Option<Zxid>,
    /// Whether the tree's digest is that one still. ZooKeeper writes none with errors, which change nothing.
    pub is_verified: bool,
    /// What is worth a warning, a line each.
    pub warnings: Vec<String>,
}

/// Reads a data directory.
pub fn import(from: &From, progress: &mut Progress<'_>) -> Result<(Imported, Report), ImportError> {
    let data_dir = version_dir(&from.data_dir);
    let log_dir = from.log_dir.as_deref().map_or_else(|| data_dir.clone(), version_dir);
    let mut snapshots: Vec<SnapshotName> = list(&data_dir)?.iter().filter_map(|path| SnapshotName::of(path)).collect();
    let mut logs: Vec<LogName> = list(&log_dir)?.iter().filter_map(|path| LogName::of(path)).collect();
    snapshots.sort_by(|a, b| b.cmp(a));
    logs.sort();
    if snapshots.is_empty() {
        return Err(if logs.is_empty() { ImportError::NoData(data_dir) } else { ImportError::NoSnapshot(log_dir) });
    }
    let mut replay = Replay::begin(&snapshots, from.ignore_digest, progress)?;
    if logs.is_empty() {
        replay.report.warnings.push(format!(
            "{} has no transaction log: if zoo.cfg has a dataLogDir, name it with --log-dir; if not, this is the snapshot alone",
            log_dir.display()
        ));
    }
    // The newest file that begins at or before the next transaction, and all after it.
    let next = replay.last.0.saturating_add(1);
    let first = logs.iter().rposition(|log| log.first.0 <= next).unwrap_or(0);
    for (i, log) in logs.iter().enumerate().skip(first) {
        replay.file(log, i + 1 == logs.len(), progress)?;
    }
    replay.finish()
}

/// `version-2` below a directory, or the directory itself where it is one.
fn version_dir(dir: &Path) -> PathBuf {
    let below = dir.join(VERSION_DIR);
    if !below.is_dir() && dir.file_name().is_some_and(|name| name == VERSION_DIR) { dir.to_owned() } else { below }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let entries = std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect());
    entries.map_err(|error| ImportError::Directory { path: dir.to_owned(), error })
}

/// What the tree's digest is compared with.
enum Compare {
    /// The snapshot is fuzzy up to this transaction: nothing can be said before it.
    At(Told),
    /// Nobody says how far the snapshot is fuzzy: from the first digest that fits, all must. So far, this one did not.
    Seeking(Option<(Zxid, u64, u64)>),
    /// Every digest must fit.
    Always,
}

/// The log, applied to a snapshot.
struct Replay {
    model: Model,
    sessions: BTreeMap<SessionId, i32>,
    compare: Compare,
    ignore_digest: bool,
    snapshot: Zxid,
    /// What is wrong with the newest snapshot, where an older one is used; until the log is seen to go back to it.
    newest: Option<Flaw>,
    last: Zxid,
    /// The digest that was compared last.
    told: u64,
    /// The last transaction that does not follow the one before it, within its epoch.
    gap: Option<Zxid>,
    backwards: u64,
    report: Report,
}

impl Replay {
    fn begin(snapshots: &[SnapshotName], ignore_digest: bool, progress: &mut Progress<'_>) -> Result<Self, ImportError> {
        let mut newest = None;
        let mut warnings = Vec::new();
        for name in snapshots.iter().take(TRIED_MAX) {
            let snapshot = match snapshot::read(name, progress) {
                Ok(snapshot) => snapshot,
                Err(flaw) => {
                    warnings.push(format!("{flaw}; an older snapshot is used, as ZooKeeper would"));
                    newest.get_or_insert(flaw);
                    continue;
                }
            };
            let told = snapshot.told.filter(|told| told.version == DIGEST_VERSION && told.zxid > Zxid::ZERO);
            let compare = told.filter(|told| told.zxid >= name.zxid).map_or(Compare::Seeking(None), Compare::At);
            let report =
                Report { snapshot: name.path.clone(), logs: 0, transactions: 0, verified: None, is_verified: false, warnings };
            let mut replay = Self {
                model: snapshot.model,
                sessions: snapshot.sessions,
                compare,
                ignore_digest,
                snapshot: name.zxid,
                newest,
                last: name.zxid,
                told: 0,
                gap: None,
                backwards: 0,
                report,
            };
            replay.compare(name.zxid, None)?;
            return Ok(replay);
        }
        let newest = newest.expect("there is a snapshot, and none was read");
        Err(ImportError::NoValidSnapshot { tried: snapshots.len().min(TRIED_MAX), newest })
    }

    /// Applies what a file has after the last transaction.
    fn file(&mut self, name: &LogName, is_last: bool, progress: &mut Progress<'_>) -> Result<(), ImportError> {
        let mut log = LogFile::open(&name.path).map_err(ImportError::Log)?;
        let before = self.report.transactions;
        let snapshot = self.snapshot;
        loop {
            let (at, len) = log.position();
            match log.next().map_err(ImportError::Log)? {
                Next::End => break,
                Next::Torn(flaw) if matches!(flaw.what, What::Ends) && flaw.offset == 0 && !is_last => {
                    return Err(ImportError::Log(flaw));
                }
                Next::Torn(flaw) => {
                    self.report.warnings.push(format!(
                        "{}: what is behind byte {} is no whole transaction and is left out, as ZooKeeper does: a crash left it",
                        flaw.path.display(),
                        flaw.offset
                    ));
                    break;
                }
                Next::Record(start, blob) => {
                    let (header, change, digest) = change::decode_blob(blob).map_err(|(header, why)| {
                        let (zxid, kind) = header.map_or((Zxid::ZERO, 0), |header| (header.zxid, header.kind));
                        ImportError::Log(Flaw::new(&name.path, start, What::Txn { zxid, kind, why }))
                    })?;
                    if header.zxid <= snapshot {
                        continue;
                    }
                    self.take(At { session: header.session, zxid: header.zxid, time: header.time }, change)?;
                    self.compare(header.zxid, digest)?;
                }
            }
            let transactions = self.report.transactions;
            progress.tell(|| {
                format!("reading {}: {} of {} MiB, {transactions} transactions", name.path.display(), at >> 20, len >> 20)
            });
        }
        self.report.logs += usize::from(self.report.transactions > before);
        Ok(())
    }

    fn take(&mut self, at: At, change: Change<'_>) -> Result<(), ImportError> {
        let follows = at.zxid.epoch() > self.last.epoch() || at.zxid.0 == self.last.0.wrapping_add(1);
        if at.zxid <= self.last {
            // ZooKeeper applies these too, with a line in its log.
            self.backwards += 1;
        } else if !follows {
            self.gap = Some(at.zxid);
        }
        if let Some(newest) = self.newest.take()
            && !follows
        {
            return Err(ImportError::MissingLog { newest, snapshot: self.snapshot, first: at.zxid });
        }
        match change {
            Change::OpenSession(timeout_ms) => {
                self.sessions.insert(at.session, timeout_ms);
            }
            Change::CloseSession(_) => {
                self.sessions.remove(&at.session);
            }
            _ => {}
        }
        self.model.apply(at, change);
        self.last = self.last.max(at.zxid);
        self.report.transactions += 1;
        Ok(())
    }

    /// Compares the tree after a transaction with what ZooKeeper told of it.
    fn compare(&mut self, zxid: Zxid, logged: Option<u64>) -> Result<(), ImportError> {
        let found = self.model.digest();
        let told = match &self.compare {
            Compare::At(told) if zxid < told.zxid => return Ok(()),
            Compare::At(told) if zxid == told.zxid => Some(told.digest),
            // The transaction is not in the log, the one after it is.
            Compare::At(told) => return self.refuse(ImportError::ShortLog { snapshot: told.zxid, last: zxid }),
            Compare::Seeking(_) | Compare::Always => logged,
        };
        let Some(told) = told else { return Ok(()) };
        if told == found {
            self.compare = Compare::Always;
            self.report.verified = Some(zxid);
            self.told = told;
            return Ok(());
        }
        if let Compare::Seeking(unfit) = &mut self.compare {
            *unfit = Some((zxid, found, told));
            return Ok(());
        }
        self.refuse(ImportError::Digest { zxid, found, told })
    }

    /// Refuses, or goes on with a warning.
    fn refuse(&mut self, error: ImportError) -> Result<(), ImportError> {
        if !self.ignore_digest {
            return Err(error);
        }
        // Once is enough: what follows cannot fit.
        self.report.warnings.push(format!("ignored: {error}"));
        self.compare = Compare::Seeking(None);
        self.report.verified = None;
        Ok(())
    }

    fn finish(mut self) -> Result<(Imported, Report), ImportError> {
        match &self.compare {
            Compare::At(told) => {
                let error = ImportError::ShortLog { snapshot: told.zxid, last: self.last };
                self.refuse(error)?;
            }
            &Compare::Seeking(Some((zxid, found, told))) => self.refuse(ImportError::Digest { zxid, found, told })?,
            Compare::Seeking(None) | Compare::Always => {}
        }
        let Self { mut model, sessions, last: zxid, told, mut report, gap, backwards, .. } = self;
        if let Some(gap) = gap.filter(|gap| report.verified < Some(*gap)) {
            report.warnings.push(format!("transactions before {gap} are missing, and no digest says that they changed nothing"));
        }
        if backwards > 0 {
            report
                .warnings
                .push(format!("{backwards} transactions come after later ones; they are applied again, as ZooKeeper does"));
        }
        for session in model.bury(zxid, |session| sessions.contains_key(&session)) {
            report
                .warnings
                .push(format!("session {session} is closed and owned ephemerals: they are deleted, as ZooKeeper does"));
        }
        let (znodes, digest, left_out) = model.finish()?;
        if left_out > 0 {
            report
                .warnings
                .push(format!("{left_out} znodes that no parent holds are left out, as ZooKeeper's next snapshot would"));
        }
        report.is_verified = report.verified.is_some() && told == digest;
        let sessions = sessions.into_iter().collect();
        Ok((Imported { zxid, znodes, sessions, digest }, report))
    }
}
