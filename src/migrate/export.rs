//! Export: a data directory that a ZooKeeper server starts from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::adler::Adler;
use super::compression::Compression;
use super::flaw::Flaw;
use super::import::VERSION_DIR;
use super::progress::Progress;
use super::snapshot::{self, FORMAT, MAGIC, SnapshotName};
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits::FRAME_MAX_DEFAULT;
use crate::proto::acl::Acl;
use crate::proto::jute::Writer;
use crate::proto::snapshot::{END, OPEN_LIST, put_end, put_list, put_session, put_znode};
use crate::proto::txn::DIGEST_VERSION;
use crate::tree::replay::model::{self, Unfinished};
use crate::tree::replay::znode::ZnodeRef;

/// Bytes gathered before they are added to the check value and written.
const CHUNK: usize = 64 << 10;

/// What to write, besides the znodes.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The last transaction.
    pub zxid: Zxid,
    /// Sessions with their timeouts in ms, in order.
    pub sessions: &'a [(SessionId, i32)],
    /// The tree's digest.
    pub digest: u64,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not a new or empty directory.
    #[error("{} is not empty; name a new or empty directory, so that nothing is written over", .0.display())]
    NotEmpty(PathBuf),
    /// Something cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Read back, it is not what was to be written.
    #[error("{0}; what was written is not what is there: check the drive and try again")]
    ReadBack(Flaw),
    /// Read back, it is no whole tree.
    #[error("the tree cannot be exported: {0}")]
    Unfinished(Unfinished),
    /// Read back, it is another tree.
    #[error("{}: the digest of what was written is {found:#x}, that of the data {wanted:#x}", path.display())]
    Digest {
        /// The snapshot.
        path: PathBuf,
        /// Of the file.
        found: u64,
        /// Of the data.
        wanted: u64,
    },
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The snapshot.
    pub snapshot: PathBuf,
    /// Znodes in it.
    pub znodes: usize,
    /// How the ZooKeeper server must be started for it to keep the data, a line each.
    pub warnings: Vec<String>,
}

/// Refuses a directory with anything in it. One that is not there is empty.
pub fn refuse_used(dir: &Path) -> Result<(), ExportError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ExportError::NotEmpty(dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ExportError::Io { path: dir.to_owned(), error }),
    }
}

/// Writes `znodes`, parents before children, to the new or empty directory `to`, reads them back and compares the digest. The
/// snapshot has its name only when it is on the disk, whole.
pub fn export<'a>(
    to: &Path,
    state: &State<'_>,
    znodes: impl Iterator<Item = ZnodeRef<'a>> + Clone,
    progress: &mut Progress<'_>,
) -> Result<Exported, ExportError> {
    refuse_used(to)?;
    let dir = to.join(VERSION_DIR);
    fs::create_dir_all(&dir).map_err(|error| ExportError::Io { path: dir.clone(), error })?;
    let epoch = state.zxid.epoch().to_string();
    for name in ["acceptedEpoch", "currentEpoch"] {
        let path = dir.join(name);
        durably(&path, |file| file.write_all(epoch.as_bytes())).map_err(|error| ExportError::Io { path, error })?;
    }
    let path = dir.join(format!("snapshot.{:x}", state.zxid.0));
    let unfinished = dir.join(format!("snapshot.{:x}.tmp", state.zxid.0));
    let io = |error| ExportError::Io { path: unfinished.clone(), error };
    let mut seen = Seen::default();
    durably(&unfinished, |file| {
        let mut out =
            Sealer { out: BufWriter::with_capacity(CHUNK, file), bytes: Vec::with_capacity(2 * CHUNK), sum: Adler::new() };
        write(&mut out, state, znodes, &mut seen, progress)?;
        out.out.flush()
    })
    .map_err(io)?;
    let name = SnapshotName { zxid: state.zxid, compression: Compression::Plain, path: unfinished.clone() };
    let back = snapshot::read(&name, progress).map_err(ExportError::ReadBack)?;
    if back.model.digest() != state.digest {
        return Err(ExportError::Digest { path: unfinished, found: back.model.digest(), wanted: state.digest });
    }
    back.model.finish().map_err(ExportError::Unfinished)?;
    fs::rename(&unfinished, &path).map_err(io)?;
    for dir in [Some(dir.as_path()), Some(to), to.parent()].into_iter().flatten() {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| ExportError::Io { path: dir.to_owned(), error })?;
    }
    Ok(Exported { snapshot: path, znodes: seen.znodes, warnings: seen.warnings() })
}

/// Makes a new file and hands it to `fill`; then it is flushed to the disk.
fn durably(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    fill(&mut file)?;
    file.sync_all()
}

/// What the data asks of the server that is to start from it.
#[derive(Default)]
struct Seen {
    znodes: usize,
    extended: usize,
    largest: usize,
}

impl Seen {
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.extended > 0 {
            warnings.push(format!(
                "{} container and TTL znodes: start ZooKeeper with -Dzookeeper.extendedTypesEnabled=true, or it deletes TTL \
                 znodes as ephemerals of dead sessions",
                self.extended
            ));
        }
        if self.largest > FRAME_MAX_DEFAULT {
            warnings.push(format!(
                "a znode has {} bytes: start ZooKeeper with -Djute.maxbuffer above that, or it cannot read the snapshot",
                self.largest
            ));
        }
        warnings
    }
}

/// Writes and keeps the check value of all that was written.
struct Sealer<W> {
    out: W,
    bytes: Vec<u8>,
    sum: Adler,
}

impl<W: Write> Sealer<W> {
    fn push(&mut self) -> io::Result<()> {
        self.sum.add(&self.bytes);
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    fn push_if_full(&mut self) -> io::Result<()> {
        if self.bytes.len() < CHUNK { Ok(()) } else { self.push() }
    }

    fn seal(&mut self) -> io::Result<()> {
        self.push()?;
        self.bytes.long(self.sum.value());
        self.bytes.string(END);
        self.push()
    }
}

fn write<'a, W: Write>(
    out: &mut Sealer<W>,
    state: &State<'_>,
    znodes: impl Iterator<Item = ZnodeRef<'a>> + Clone,
    seen: &mut Seen,
    progress: &mut Progress<'_>,
) -> io::Result<()> {
    out.bytes.int(MAGIC);
    out.bytes.int(FORMAT);
    // The database's id, as the Java server writes it.
    out.bytes.long(-1);
    out.bytes.count(state.sessions.len());
    for (session, timeout_ms) in state.sessions {
        put_session(&mut out.bytes, *session, *timeout_ms);
        out.push_if_full()?;
    }
    let lists = lists(znodes.clone());
    out.bytes.count(lists.len());
    for (list, id) in &lists {
        put_list(&mut out.bytes, *id, list);
        out.push_if_full()?;
    }
    for znode in znodes {
        let stored = znode.stored;
        let list = lists.get(znode.acl).copied().unwrap_or(OPEN_LIST);
        put_znode(&mut out.bytes, znode.path, znode.data, list, &stored.into());
        seen.znodes += 1;
        seen.extended += usize::from(model::is_extended(&stored));
        seen.largest = seen.largest.max(znode.data.map_or(0, <[u8]>::len));
        let znodes = seen.znodes;
        progress.tell(|| format!("writing the snapshot: {znodes} znodes"));
        out.push_if_full()?;
    }
    put_end(&mut out.bytes);
    out.seal()?;
    out.bytes.long(state.zxid.as_wire());
    out.bytes.int(DIGEST_VERSION);
    out.bytes.long(state.digest.cast_signed());
    out.seal()?;
    out.bytes.long(state.zxid.as_wire());
    out.seal()
}

/// The numbers of all lists but the open one, from 1 in the order of the lists.
fn lists<'a>(znodes: impl Iterator<Item = ZnodeRef<'a>>) -> BTreeMap<&'a [Acl], i64> {
    let mut lists: BTreeMap<&[Acl], i64> = BTreeMap::new();
    for znode in znodes.filter(|znode| !matches!(znode.acl, [only] if only.is_open())) {
        lists.entry(znode.acl).or_default();
    }
    for (id, number) in (1..).zip(lists.values_mut()) {
        *number = id;
    }
    lists
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::import::{From, import};
    use super::super::imported::Imported;
    use super::*;
    use crate::proto::path::ROOT;
    use crate::tree::record::Stored;
    use crate::tree::replay::znode::{Znode, digest_of};

    fn any_stored() -> impl Strategy<Value = Stored> {
        let long = prop_oneof![Just(0), any::<i64>()];
        let owner = prop_oneof![4 => Just(0), 2 => 1..4i64, 1 => Just(i64::MIN), 1 => Just((0xff_i64 << 56) | 60_000)];
        (prop::array::uniform5(long), prop::array::uniform3(any::<i32>()), owner).prop_map(|(l, n, ephemeral_owner)| Stored {
            czxid: Zxid::from_wire(l[0]),
            mzxid: Zxid::from_wire(l[1]),
            pzxid: Zxid::from_wire(l[2]),
            ctime: l[3],
            mtime: l[4],
            version: n[0],
            cversion: n[1],
            aversion: n[2],
            num_children: 0,
            ephemeral_owner,
        })
    }

    fn any_list() -> impl Strategy<Value = Arc<[Acl]>> {
        let entry = (any::<i32>(), "[a-z]{0,5}", ".{0,6}").prop_map(|(perms, scheme, id)| Acl::new(perms, &scheme, &id));
        prop_oneof![Just(vec![Acl::open()]), prop::collection::vec(entry, 0..3)].prop_map(Into::into)
    }

    fn any_state() -> impl Strategy<Value = Imported> {
        let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
        let node = ((0..6usize, "[a-z\u{e9}.-]{1,3}"), data, any_list(), any_stored());
        let sessions = prop::collection::btree_map(prop_oneof![1..4i64, any::<i64>()], 1000..60_000i32, 0..6);
        (prop::collection::vec(node, 0..40), sessions, 1..i64::MAX).prop_map(|(nodes, sessions, zxid)| {
            let mut tree: BTreeMap<String, Znode> = BTreeMap::new();
            let mut put = |path: String, data: Option<Vec<u8>>, acl: Arc<[Acl]>, stored: Stored| {
                if tree.contains_key(&path) {
                    return;
                }
                if let Some((parent, _)) = crate::proto::path::split(&path).filter(|_| path != ROOT) {
                    tree.get_mut(parent).unwrap().stored.num_children += 1;
                }
                tree.insert(path.clone(), Znode { path: path.into(), data: data.map(Into::into), acl, stored });
            };
            let mut made = vec![String::new()];
            let system =
                ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"].map(|path| (path, any_open(), Stored::default()));
            for (path, acl, stored) in system {
                put(path.into(), Some(vec![]), acl, stored);
            }
            for ((parent, name), data, acl, mut stored) in nodes {
                // An owner must have a session.
                if (1..4).contains(&stored.ephemeral_owner) && !sessions.contains_key(&stored.ephemeral_owner) {
                    stored.ephemeral_owner = 0;
                }
                let path = format!("{}/{name}", made[parent % made.len()]);
                put(path.clone(), data, acl, stored);
                made.push(path);
            }
            let znodes: Vec<_> = tree.into_values().collect();
            let digest = znodes.iter().map(|z| u64::from(digest_of(&z.path, z.data.as_deref(), &z.stored))).sum();
            let sessions = sessions.into_iter().map(|(id, timeout_ms)| (SessionId(id), timeout_ms)).collect();
            Imported { zxid: Zxid::from_wire(zxid), znodes, sessions, digest }
        })
    }

    fn any_open() -> Arc<[Acl]> {
        [Acl::open()].into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_state_comes_back(state in any_state()) {
            let top = tempfile::tempdir().unwrap();
            let mut silent = |_: &str| ();
            let mut progress = Progress::new(&mut silent);
            let written = State { zxid: state.zxid, sessions: &state.sessions, digest: state.digest };
            let exported = export(top.path(), &written, state.znode_refs(), &mut progress).unwrap();
            prop_assert_eq!(exported.znodes, state.znodes.len());
            let epoch = std::fs::read_to_string(top.path().join("version-2/currentEpoch")).unwrap();
            prop_assert_eq!(epoch, state.zxid.epoch().to_string());
            let from = From { data_dir: top.path().join("version-2"), log_dir: None, ignore_digest: false };
            let (back, report) = import(&from, &mut progress).unwrap();
            prop_assert_eq!(report.verified, Some(state.zxid));
            prop_assert_eq!(back, state);
        }
    }

    #[test]
    fn a_wrong_digest_and_a_used_directory_are_refused() {
        let top = tempfile::tempdir().unwrap();
        let mut silent = |_: &str| ();
        let mut progress = Progress::new(&mut silent);
        let acl = any_open();
        let znodes = ["/", "/zookeeper"].map(|path| ZnodeRef { path, data: None, acl: &acl, stored: Stored::default() });
        let state = State { zxid: Zxid(5), sessions: &[], digest: 7 };
        let error = export(&top.path().join("a"), &state, znodes.iter().copied(), &mut progress).unwrap_err();
        assert!(matches!(error, ExportError::Digest { wanted: 7, .. }), "{error}");
        // Nothing that a server would start from is left.
        assert!(!top.path().join("a/version-2/snapshot.5").exists());
        let error = export(&top.path().join("b"), &state, znodes[1..].iter().copied(), &mut progress).unwrap_err();
        assert!(matches!(error, ExportError::ReadBack(_)), "{error}");
        assert!(matches!(export(top.path(), &state, znodes.iter().copied(), &mut progress), Err(ExportError::NotEmpty(_))));
    }
}
