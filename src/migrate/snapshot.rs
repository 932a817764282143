//! A snapshot: one of ZooKeeper's snapshot files, read into a model.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compression::Compression;
use super::flaw::{Flaw, What};
use super::progress::Progress;
use super::source::Source;
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::proto::path::ROOT;
use crate::proto::snapshot::{END, OPEN_LIST, Persisted};
use crate::tree::replay::model::{Misplaced, Model};

/// First int of the file.
pub(super) const MAGIC: i32 = i32::from_be_bytes(*b"ZKSN");

/// The only version of the format there is.
pub(super) const FORMAT: i32 = 2;

/// A snapshot file by its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SnapshotName {
    /// From the name: what the snapshot surely holds.
    pub zxid: Zxid,
    /// From the name.
    pub compression: Compression,
    /// Where it is.
    pub path: PathBuf,
}

impl SnapshotName {
    /// What the path says, if it is one of a snapshot.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("snapshot.")?;
        let (digits, compression) = [Compression::Gz, Compression::Snappy]
            .into_iter()
            .find_map(|compression| Some((name.strip_suffix(compression.suffix())?, compression)))
            .unwrap_or((name, Compression::Plain));
        Some(Self { zxid: hex(digits)?, compression, path: path.to_owned() })
    }
}

/// A zxid in a file's name.
pub(super) fn hex(digits: &str) -> Option<Zxid> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(digits, 16).ok().map(Zxid::from_wire)
}

/// The digest that a server wrote into its snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// The transaction after which the tree had it; the snapshot holds effects of transactions up to here.
    pub zxid: Zxid,
    /// Version of the rule.
    pub version: i32,
    /// The digest.
    pub digest: u64,
}

/// What a snapshot holds.
#[derive(Debug)]
pub struct Snapshot {
    /// The tree.
    pub model: Model,
    /// Sessions with their timeouts in ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The digest, from releases 3.6 on.
    pub told: Option<Told>,
}

/// Reads a file, to its end.
pub fn read(name: &SnapshotName, progress: &mut Progress<'_>) -> Result<Snapshot, Flaw> {
    let file = File::open(&name.path).map_err(|error| Flaw::new(&name.path, 0, error.into()))?;
    let mut source = Source::new(name.compression.reader(file));
    contents(&mut source, &mut |znodes, source| {
        let megabytes = source.offset() >> 20;
        progress.tell(|| format!("reading {}: {znodes} znodes, {megabytes} MiB", name.path.display()));
    })
    .map_err(|what| Flaw::new(&name.path, source.offset(), what))
}

fn contents<R: Read>(source: &mut Source<R>, tell: &mut dyn FnMut(usize, &Source<R>)) -> Result<Snapshot, What> {
    if source.int()? != MAGIC {
        return Err(What::Magic("ZKSN"));
    }
    match source.int()? {
        FORMAT => {}
        version => return Err(What::Version(version)),
    }
    // The database's id: no server reads it.
    source.long()?;
    let mut sessions = BTreeMap::new();
    for _ in 0..source.count("sessions")? {
        sessions.insert(SessionId(source.long()?), source.int()?);
    }
    let mut model = Model::new();
    let mut lists = BTreeMap::new();
    for _ in 0..source.count("lists")? {
        let id = source.long()?;
        let mut list = Vec::new();
        for _ in 0..source.count("access control list")? {
            let perms = source.int()?;
            let scheme = source.string("scheme")?;
            list.push(Acl::new(perms, &scheme, &source.string("id")?));
        }
        if lists.insert(id, model.list(list)).is_some() {
            return Err(What::SameAcl(id));
        }
    }
    lists.insert(OPEN_LIST, model.list(vec![Acl::open()]));
    loop {
        let path = source.string("path")?;
        if path == END {
            break;
        }
        node(source, &mut model, &lists, &path)?;
        tell(model.len(), source);
    }
    if model.is_empty() {
        return Err(What::NoRoot);
    }
    check(source)?;
    let mut told = None;
    if let Some(zxid) = source.long_or_end()? {
        let (zxid, version) = (Zxid::from_wire(zxid), source.int()?);
        // Version 1 of the rule wrote the digest in hexadecimal digits.
        let digest = if version < 2 {
            u64::from_str_radix(&source.string("digest")?, 16).unwrap_or(0)
        } else {
            source.long()?.cast_unsigned()
        };
        check(source)?;
        told = Some(Told { zxid, version, digest });
    }
    // The last transaction when it was written, from releases 3.9 on. The name says as much.
    if source.long_or_end()?.is_some() {
        check(source)?;
        source.end()?;
    }
    Ok(Snapshot { model, sessions, told })
}

/// One znode, its path read.
fn node<R: Read>(source: &mut Source<R>, model: &mut Model, lists: &BTreeMap<i64, Arc<[Acl]>>, path: &str) -> Result<(), What> {
    let path = if path.is_empty() { ROOT } else { path };
    let data = source.buffer()?;
    let id = source.long()?;
    let persisted = Persisted::decode(&source.array()?);
    let acl = lists.get(&id).cloned().ok_or(id);
    model.place(path, data.map(Into::into), acl, persisted.into()).map_err(|misplaced| match misplaced {
        Misplaced::Path => What::Path(path.into()),
        Misplaced::Twice => What::Twice(path.into()),
        Misplaced::Orphan => What::Orphan(path.into()),
    })
}

/// A check value, computed over all that is before it, and its end mark.
fn check<R: Read>(source: &mut Source<R>) -> Result<(), What> {
    let computed = source.sum();
    let stored = source.long()?;
    if stored != computed {
        return Err(What::Check { stored, computed });
    }
    if source.string("end mark")? == END { Ok(()) } else { Err(What::Unsealed) }
}
