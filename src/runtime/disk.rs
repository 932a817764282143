//! Disk: the log's directory and files. Reading at boot, carrying out the recovery plan, making segments, and batch writes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::io::{DmaBuffer, DmaFile, OpenOptions as DmaOptions};
use glommio::timer::Timer;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::drive::{self, sync_dir};
use crate::ground::ids::ServerId;
use crate::ground::limits::BLOCK;
use crate::ground::time::WallMillis;
use crate::storage::appender::Placement;
use crate::storage::recovery::Plan;
use crate::storage::segment::{SegmentHeader, SegmentStart, file_name, number_of};
use crate::storage::selection::{Extent, HEAD};

/// Name of a segment that is being made.
const UNFINISHED: &str = "segment.tmp";

/// Name of the file whose lock says that a server works here.
pub const LOCK: &str = "lock";

/// Bytes of zeros written at a time when a segment is made.
const ZEROS: usize = 1 << 20;

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub struct DiskError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DiskError {
    pub(super) fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { what, path, source }
    }

    pub(super) fn random(path: &Path, source: io::Error) -> Self {
        Self::new("get random bytes for", path)(source)
    }

    /// Whether the volume is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.source.kind() == io::ErrorKind::StorageFull
    }
}

/// How a batch is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushMethod {
    /// The file is opened with O_DSYNC: one operation a batch.
    Dsync,
    /// A write, then fdatasync.
    Fdatasync,
    /// Not at all (`forceSync=no`): a crash of the machine loses acknowledged writes.
    None,
}

/// A directory that this process alone works in.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    /// Held for as long as the server runs.
    _lock: File,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server works there.
    #[error("another server works on {}; stop it or choose another data directory", .0.display())]
    Taken(PathBuf),
    /// Something else.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Takes the lock of a directory: held for as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = path.join(LOCK);
    let lock = drive::open_or_create(&lock_path).map_err(DiskError::new("open", &lock_path))?;
    match flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Taken(path.to_owned())),
        Err(error) => Err(DiskError::new("lock", &lock_path)(error.into()).into()),
    }
}

impl LogDir {
    /// Opens the directory, making it where it is missing, and takes its lock.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        drive::create_dir_all(path)?;
        let lock = lock(path)?;
        sync_dir(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of the segments there are, ascending.
    pub fn segments(&self) -> Result<Vec<u64>, DiskError> {
        let entries = fs::read_dir(&self.path).map_err(DiskError::new("list", &self.path))?;
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(DiskError::new("list", &self.path))?;
            numbers.extend(entry.file_name().to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes what a crash left of a segment that was being made; yields its bytes if there was one.
    pub fn clear_unfinished(&self) -> Result<Option<u64>, DiskError> {
        remove_if_there(&self.path.join(UNFINISHED))
    }

    /// The beginnings of these segments.
    pub fn extents(&self, numbers: &[u64]) -> Result<Vec<Extent>, DiskError> {
        let mut head = Vec::with_capacity(HEAD);
        let mut extents = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let path = self.path.join(file_name(number));
            let file = File::open(&path).map_err(DiskError::new("open", &path))?;
            let bytes = file.metadata().map_err(DiskError::new("look at", &path))?.len();
            head.clear();
            file.take(HEAD as u64).read_to_end(&mut head).map_err(DiskError::new("read", &path))?;
            extents.push(Extent::of(number, &head, bytes));
        }
        Ok(extents)
    }

    /// Reads one segment into `into`.
    pub fn read(&self, number: u64, into: &mut Vec<u8>) -> Result<(), DiskError> {
        let path = self.path.join(file_name(number));
        into.clear();
        let mut file = File::open(&path).map_err(DiskError::new("open", &path))?;
        file.read_to_end(into).map_err(DiskError::new("read", &path))?;
        Ok(())
    }

    /// Carries out what recovery planned: erasures, syncs and removals, durable when this returns. Segments to be made anew are
    /// removed here and made by whoever needs them next.
    pub fn carry_out(&self, plan: &Plan) -> Result<(), DiskError> {
        for range in &plan.erase {
            let path = self.path.join(file_name(range.segment));
            let file = drive::open(&path).map_err(DiskError::new("open", &path))?;
            let zeros = vec![0; ZEROS];
            let mut at = range.offset;
            let end = range.offset + range.len;
            while at < end {
                let len = usize::try_from(end - at).map_or(ZEROS, |left| left.min(ZEROS));
                drive::write_at(&file, &path, &zeros[..len], at).map_err(DiskError::new("erase the torn tail of", &path))?;
                at += len as u64;
            }
            drive::sync(&file, &path).map_err(DiskError::new("sync", &path))?;
        }
        for &number in &plan.sync {
            let path = self.path.join(file_name(number));
            let file = File::open(&path).map_err(DiskError::new("open", &path))?;
            drive::sync(&file, &path).map_err(DiskError::new("sync", &path))?;
        }
        // The last first, each durably: a crash in between leaves no gap in the numbers, which would speak of a loss.
        let mut going: Vec<_> = plan.recreate.iter().chain(&plan.remove).collect();
        going.sort_unstable();
        for number in going.into_iter().rev() {
            let path = self.path.join(file_name(*number));
            drive::remove(&path).map_err(DiskError::new("remove", &path))?;
            sync_dir(&self.path)?;
        }
        sync_dir(&self.path)
    }

    /// Makes a segment: zeros for its whole size and a header, durable under its name when this returns.
    pub fn make(&self, start: SegmentStart, server: ServerId, created: WallMillis) -> Result<(), DiskError> {
        make_segment(&self.path, start, server, created, |_| {})
    }
}

/// As [`LogDir::make`], for the thread that works ahead. `pause` is called after each piece with the time that it took.
pub fn make_segment(
    dir: &Path,
    start: SegmentStart,
    server: ServerId,
    created: WallMillis,
    pause: impl Fn(Duration),
) -> Result<(), DiskError> {
    let unfinished = dir.join(UNFINISHED);
    // Not tried where it cannot succeed: the last bytes of a volume are of use to others.
    if free_bytes(dir)? < start.size {
        return Err(DiskError::new("create", &unfinished)(rustix::io::Errno::NOSPC.into()));
    }
    let result = write_segment(&unfinished, start, server, created, pause);
    if let Err(error) = result {
        // What is left of it is of no use; a failure to remove it is repeated at the next start, where it is told.
        let _ = drive::remove(&unfinished);
        return Err(error);
    }
    let path = dir.join(file_name(start.number));
    drive::rename(&unfinished, &path).map_err(DiskError::new("name", &path))?;
    sync_dir(dir)
}

fn write_segment(
    path: &Path,
    start: SegmentStart,
    server: ServerId,
    created: WallMillis,
    pause: impl Fn(Duration),
) -> Result<(), DiskError> {
    // Through the page cache and with the cache written back in pieces: the zeros must be on the disk, not merely allocated,
    // or every later write of the log pays for the allocation.
    let file = drive::create(path).map_err(DiskError::new("create", path))?;
    let header = SegmentHeader { start, server, created, recycled: false }.encode();
    drive::write_at(&file, path, &header[..], 0).map_err(DiskError::new("write", path))?;
    let zeros = vec![0; ZEROS];
    let mut at = BLOCK as u64;
    while at < start.size {
        let began = Instant::now();
        let len = usize::try_from(start.size - at).map_or(ZEROS, |left| left.min(ZEROS));
        drive::write_at(&file, path, &zeros[..len], at).map_err(DiskError::new("write", path))?;
        at += len as u64;
        drive::sync_data(&file, path).map_err(DiskError::new("sync", path))?;
        pause(began.elapsed());
    }
    // What was written is not read again: it need not stay in the page cache.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    drive::sync(&file, path).map_err(DiskError::new("sync", path))
}

/// Removes a file, durably, and yields its bytes if there was one.
pub fn remove_if_there(path: &Path) -> Result<Option<u64>, DiskError> {
    let bytes = match fs::metadata(path) {
        Ok(data) => data.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::new("look at", path)(error)),
    };
    drive::remove(path).map_err(DiskError::new("remove", path))?;
    sync_dir(path.parent().unwrap_or(path))?;
    Ok(Some(bytes))
}

/// Bytes of all segments in a directory, those not yet in use among them.
pub fn log_bytes(dir: &Path) -> Result<u64, DiskError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(DiskError::new("list", dir))? {
        let entry = entry.map_err(DiskError::new("list", dir))?;
        if entry.file_name().to_str().and_then(number_of).is_some() {
            // One that goes just now counts for nothing.
            bytes += entry.metadata().map_or(0, |data| data.len());
        }
    }
    Ok(bytes)
}

/// Bytes free for us on the volume of `path`.
pub fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    let stat = rustix::fs::statvfs(path).map_err(|error| DiskError::new("ask about", path)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A segment open for batches.
pub struct SegmentFile {
    file: Rc<DmaFile>,
    number: u64,
    method: FlushMethod,
    path: PathBuf,
}

impl SegmentFile {
    /// Opens segment `number` for O_DIRECT writes.
    pub async fn open(dir: &Path, number: u64, method: FlushMethod) -> Result<Self, DiskError> {
        let path = dir.join(file_name(number));
        let flags = if method == FlushMethod::Dsync { OFlags::DSYNC } else { OFlags::empty() };
        let file = DmaOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .dma_open(&path)
            .await
            .map_err(|error| DiskError::new("open for direct writes", &path)(error.into()))?;
        Ok(Self { file: Rc::new(file), number, method, path })
    }

    /// A buffer of `len` bytes that the device can read.
    #[must_use]
    pub fn buffer(&self, len: usize) -> DmaBuffer {
        self.file.alloc_dma_buffer(len)
    }

    /// Writes a framed batch and makes it durable, and ends `delay` later. The future owns all it needs; it must be polled to its end.
    pub fn write(
        &self,
        buffer: DmaBuffer,
        at: Placement,
        delay: Duration,
    ) -> impl Future<Output = Result<u64, DiskError>> + 'static {
        assert_eq!(at.segment, self.number, "a batch goes where it was framed for");
        let file = Rc::clone(&self.file);
        let (method, path) = (self.method, self.path.clone());
        async move {
            let written = file.write_at(buffer, at.offset).await.map_err(|e| DiskError::new("write the log", &path)(e.into()))?;
            if written != at.len {
                let error = io::Error::other(format!("{written} of {} bytes at offset {}", at.len, at.offset));
                return Err(DiskError::new("write the log", &path)(error));
            }
            if method == FlushMethod::Fdatasync {
                file.fdatasync().await.map_err(|e| DiskError::new("sync the log", &path)(e.into()))?;
            }
            if !delay.is_zero() {
                Timer::new(delay).await;
            }
            Ok(at.sequence)
        }
    }
}
