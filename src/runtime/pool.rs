//! Pool: segment files that retention has freed, kept to be used again, since they need not be filled with zeros.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::disk::DiskError;
use super::drive::{self, sync_dir};
use crate::ground::ids::ServerId;
use crate::ground::time::WallMillis;
use crate::storage::segment::{SegmentHeader, SegmentStart, file_name, number_of};

/// Files kept whatever is needed: those that are made ahead.
const KEPT_MIN: usize = 2;

/// Files kept at most.
const KEPT_MAX: usize = 16;

/// What a name begins with; the rest is the name that the file had as a segment.
const PREFIX: &str = "used-";

/// The files, and how many are needed between two images.
#[derive(Debug)]
pub struct Pool {
    dir: PathBuf,
    /// Bytes of a segment; files of another size are of no use.
    size: u64,
    free: Mutex<VecDeque<u64>>,
    /// Segments made since files were last freed: as many will be needed until the next time.
    taken: AtomicUsize,
}

impl Pool {
    /// The pool of the log in `dir`, with the files that an earlier run left there.
    pub fn open(dir: PathBuf, size: u64) -> Result<Self, DiskError> {
        let mut free = VecDeque::new();
        for entry in fs::read_dir(&dir).map_err(DiskError::new("list", &dir))? {
            let entry = entry.map_err(DiskError::new("list", &dir))?;
            let Some(number) = entry.file_name().to_str().and_then(|name| number_of(name.strip_prefix(PREFIX)?)) else {
                continue;
            };
            let path = entry.path();
            if entry.metadata().map_err(DiskError::new("look at", &path))?.len() == size && free.len() < KEPT_MAX {
                free.push_back(number);
            } else {
                drive::remove(&path).map_err(DiskError::new("remove", &path))?;
            }
        }
        Ok(Self { dir, size, free: Mutex::new(free), taken: AtomicUsize::new(0) })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{}", file_name(number)))
    }

    /// Takes segments that are not part of the log any more: as many as will be needed are kept, the others are removed, and handed back
    /// open, for whoever gives back slowly what they hold ([`drive::shrink`]). The manifest no longer asks for them, durably.
    pub fn free(&self, numbers: &[u64]) -> Result<Vec<File>, DiskError> {
        let mut going = Vec::new();
        if numbers.is_empty() {
            return Ok(going);
        }
        let keep = self.taken.swap(0, Ordering::Relaxed).clamp(KEPT_MIN, KEPT_MAX);
        let mut kept = Vec::new();
        for &number in numbers {
            let path = self.dir.join(file_name(number));
            let size = match fs::metadata(&path) {
                Ok(data) => data.len(),
                // Gone already: somebody was here before us.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DiskError::new("look at", &path)(error)),
            };
            if self.len() + kept.len() < keep && size == self.size {
                drive::rename(&path, &self.path(number)).map_err(DiskError::new("set aside", &path))?;
                kept.push(number);
            } else {
                going.push(drive::detach(&path).map_err(DiskError::new("remove", &path))?);
            }
        }
        sync_dir(&self.dir)?;
        // Not before: were the new header durable and the new name not, a start would find it under the old one.
        self.free.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
        Ok(going)
    }

    /// Makes a segment of a file of the pool, durable under its name when this returns. `false` if there is none to be had.
    pub fn make(&self, start: SegmentStart, server: ServerId, created: WallMillis) -> Result<bool, DiskError> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let next = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(number) = next.filter(|_| start.size == self.size) else { return Ok(false) };
        let path = self.path(number);
        // The header comes before the name: under the name of a segment there is never an older header.
        let header = SegmentHeader { start, server, created, recycled: true }.encode();
        let written = drive::open(&path).and_then(|file| {
            drive::write_at(&file, &path, &header[..], 0)?;
            drive::sync(&file, &path)
        });
        written.map_err(DiskError::new("use again", &path))?;
        let name = self.dir.join(file_name(start.number));
        drive::rename(&path, &name).map_err(DiskError::new("name", &name))?;
        sync_dir(&self.dir)?;
        Ok(true)
    }

    /// Files that wait to be used again.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::limits::BLOCK;

    const SIZE: u64 = 4 * BLOCK as u64;

    fn start(number: u64) -> SegmentStart {
        SegmentStart { number, salt: 1000 + number, size: SIZE }
    }

    #[test]
    fn freed_files_are_used_again_and_no_more_than_needed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for number in 1..=6 {
            fs::write(at(&file_name(number)), vec![number as u8; SIZE as usize]).unwrap();
        }
        fs::write(at(&file_name(5)), b"of another size").unwrap();
        let pool = Pool::open(dir.path().to_owned(), SIZE).unwrap();
        assert!(!pool.make(start(9), ServerId(1), WallMillis(0)).unwrap(), "there is none yet");
        let going = pool.free(&[1, 2, 3, 5, 77]).unwrap();
        assert_eq!(going.len(), 2);
        assert!(!drive::shrink(&going[0], SIZE).unwrap() && drive::shrink(&going[1], 1).unwrap());
        assert_eq!(pool.len(), KEPT_MIN);
        assert!(!at(&file_name(1)).exists() && !at(&file_name(3)).exists() && !at(&file_name(5)).exists());
        // A later run finds them.
        drop(pool);
        fs::write(at("used-log.0000000000000008"), b"short").unwrap();
        let pool = Pool::open(dir.path().to_owned(), SIZE).unwrap();
        assert_eq!(pool.len(), 2);
        for number in [9, 10] {
            assert!(pool.make(start(number), ServerId(1), WallMillis(0)).unwrap());
            let bytes = fs::read(at(&file_name(number))).unwrap();
            let header = SegmentHeader::decode(number, &bytes).unwrap();
            assert!(header.recycled && header.start == start(number));
            assert!(bytes[BLOCK..].iter().all(|byte| *byte == bytes[BLOCK] && *byte > 0), "the old bytes are there");
        }
        assert!(pool.is_empty() && !pool.make(start(11), ServerId(1), WallMillis(0)).unwrap());
        // Three were asked for: so many are worth keeping.
        fs::write(at(&file_name(1)), vec![1; SIZE as usize]).unwrap();
        pool.free(&[1, 4, 6, 9]).unwrap();
        assert_eq!(pool.len(), 3);
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 3 + 1, "the pool and segment 10");
    }
}
