//! Images on the disk: their directory, reading one on all cores, checking one, and writing one without the drive noticing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rkyv::util::AlignedVec;

use super::disk::{DiskError, OpenError, lock, remove_if_there};
use super::drive::{self, sync_dir};
use crate::engine::archivist::load::{Assembly, LoadError, Loaded, Loader, Part};
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::storage::image::{
    CHUNK_BYTES_MAX, FRAME, Frame, ImageError, KIND_END, Reader, Totals, UNFINISHED, image_name, image_zxid,
};

/// Threads that read an image at most: one joins what they make, and does not keep up with more.
const READERS_MAX: usize = 4;

/// Parts that are ready and wait to be joined.
const READY: usize = 8;

/// Bytes written or checked at a time: what the log waits for where it meets a piece on the way to or from the drive.
pub const PIECE: usize = 64 << 10;

const _: () = assert!(PIECE.is_multiple_of(BLOCK) && PIECE < CHUNK_BYTES_MAX);

/// What the name of a state's file begins with that came from a leader, until it is put in force.
const RECEIVED: &str = "received.";

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageFault {
    /// The drive does not give it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is damaged, or a later release wrote it.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl ImageFault {
    /// Whether a later release wrote it. Then nothing here may be written to.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        matches!(self, Self::Load(LoadError::Image(ImageError::Newer(_))))
    }
}

impl From<ImageError> for ImageFault {
    fn from(error: ImageError) -> Self {
        Self::Load(error.into())
    }
}

/// The directory that images are in.
#[derive(Clone, Debug)]
pub struct ImageDir {
    path: PathBuf,
    /// Held for as long as the server runs: a log directory of its own does not make a server the only one here.
    _lock: Arc<File>,
}

impl ImageDir {
    /// The directory there, which is made where it is missing. It is this process's alone from then on.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        drive::create_dir_all(path)?;
        // It may be there since a moment ago, made by a process that was killed before it could make that durable.
        sync_dir(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")))?;
        Ok(Self { path: path.to_owned(), _lock: Arc::new(lock(path)?) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the image at `zxid`.
    #[must_use]
    pub fn path_of(&self, zxid: Zxid) -> PathBuf {
        self.path.join(image_name(zxid))
    }

    /// The images there are, the newest first.
    pub fn list(&self) -> Result<Vec<Zxid>, DiskError> {
        let mut images = list(&self.path)?;
        images.reverse();
        Ok(images)
    }

    /// Loads the image at `zxid`, on all cores. Nothing of it is believed before it was checked, and nothing comes of it unless all
    /// of it is good.
    pub fn load(&self, zxid: Zxid, seeds: [u64; 4]) -> Result<Loaded, ImageFault> {
        let source = Source::open(&self.path_of(zxid), zxid)?;
        let loader = Loader::new(seeds);
        let readers = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
        let mut assembly = Assembly::new(&loader);
        let shared = Mutex::new(source);
        let is_given_up = AtomicBool::new(false);
        let joined: Result<(), ImageFault> = thread::scope(|scope| {
            let (parts, ready) = mpsc::sync_channel(READY);
            for _ in 0..readers {
                let parts = parts.clone();
                scope.spawn(|| read_parts(&shared, &loader, &is_given_up, parts));
            }
            drop(parts);
            let mut early = BTreeMap::new();
            let mut next = 0;
            let mut first = Ok(());
            // To the end in any case, or readers would wait for ever.
            for (number, part) in ready {
                early.insert(number, part);
                while let Some(part) = early.remove(&next).filter(|_| first.is_ok()) {
                    next += 1;
                    first = part.and_then(|part| Ok(assembly.add(part)?));
                    is_given_up.fetch_or(first.is_err(), Ordering::Relaxed);
                }
            }
            first
        });
        joined?;
        let totals = shared.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
        let loaded = assembly.finish(loader, zxid, &totals)?;
        Ok(loaded)
    }

    /// Reads the image at `zxid` from its beginning to its end, in memory of a chunk or two, and hands its parts to `take`, each checked by
    /// itself, until that wants no more. What the end says, unless it wanted no more.
    pub fn parts(
        &self,
        zxid: Zxid,
        loader: &Loader,
        take: &mut dyn FnMut(Part) -> Result<bool, ImageFault>,
    ) -> Result<Option<Totals>, ImageFault> {
        let mut source = Source::open(&self.path_of(zxid), zxid)?;
        let mut bytes = AlignedVec::new();
        while let Some(frame) = source.next(&mut bytes)? {
            if !take(loader.read(&frame, &mut bytes)?)? {
                return Ok(None);
            }
        }
        source.finish().map(Some)
    }

    /// Begins the file of an image, which is written in pieces of so many bytes, whole blocks. An unfinished one is overwritten.
    pub fn create(&self, piece: usize) -> Result<ImageFile, DiskError> {
        self.create_as(UNFINISHED, piece)
    }

    /// As [`create`](Self::create), for a state that comes by this number. It gets the name of an image when it is put in force.
    pub fn receive(&self, number: u64, piece: usize) -> Result<ImageFile, DiskError> {
        self.create_as(&format!("{RECEIVED}{number:016x}"), piece)
    }

    fn create_as(&self, name: &str, piece: usize) -> Result<ImageFile, DiskError> {
        assert!(piece > 0 && piece.is_multiple_of(BLOCK), "pieces are whole blocks");
        let path = self.path.join(name);
        let file = drive::create(&path).map_err(DiskError::new("create", &path))?;
        let direct = drive::open_direct(&path).map_err(DiskError::new("open", &path))?;
        Ok(ImageFile { dir: self.clone(), file, direct, path, size: piece, piece: AlignedVec::with_capacity(piece), len: 0 })
    }

    /// Removes what is left of an image that was not finished.
    pub fn remove_unfinished(&self) -> Result<(), DiskError> {
        remove_if_there(&self.path.join(UNFINISHED)).map(|_| ())
    }
}

/// The images in a directory, the oldest first.
pub fn list(dir: &Path) -> Result<Vec<Zxid>, DiskError> {
    let mut images = Vec::new();
    for entry in fs::read_dir(dir).map_err(DiskError::new("list", dir))? {
        let entry = entry.map_err(DiskError::new("list", dir))?;
        images.extend(entry.file_name().to_str().and_then(image_zxid));
    }
    images.sort_unstable();
    Ok(images)
}

/// Removes what states have left that came and were not put in force; yields how many files that were.
pub fn clear_received(dir: &Path) -> Result<usize, DiskError> {
    let mut removed = 0;
    if !dir.is_dir() {
        return Ok(removed);
    }
    for entry in fs::read_dir(dir).map_err(DiskError::new("list", dir))? {
        let entry = entry.map_err(DiskError::new("list", dir))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(RECEIVED)) {
            remove_if_there(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Checks every checksum of the image in a file, from the drive and not from memory, as far as the system lets us. `pause` is called
/// with the bytes of each piece.
pub fn check(path: &Path, zxid: Zxid, pause: &mut dyn FnMut(usize)) -> Result<Totals, ImageFault> {
    let mut source = Source::open(path, zxid)?;
    source.window = drive::read_direct(path).map_err(DiskError::new("open", path))?.map(|file| Window::new(file, source.len));
    let is_cached = source.window.is_none();
    if is_cached {
        drop_cached(&source.file, 0, 0);
    }
    let (mut since, mut bytes) = (0, AlignedVec::new());
    while let Some(frame) = source.next(&mut bytes)? {
        frame.is_intact(&bytes)?;
        since += bytes.len();
        if since >= PIECE {
            if is_cached {
                drop_cached(&source.file, 0, source.reader.offset());
            }
            pause(std::mem::take(&mut since));
        }
    }
    if is_cached {
        drop_cached(&source.file, 0, 0);
    }
    source.finish()
}

/// As [`check`], by the name of the file, for whoever looks after all files; an error names the place in it.
pub fn scrub(path: &Path, pause: &mut dyn FnMut(usize)) -> Result<(), String> {
    let zxid = path.file_name().and_then(|name| image_zxid(name.to_str()?)).ok_or("is not the name of an image")?;
    check(path, zxid, pause).map(|_| ()).map_err(|fault| fault.to_string())
}

/// Makes parts of what comes next, until the end, a fault, or somebody gives up.
fn read_parts(
    source: &Mutex<Source>,
    loader: &Loader,
    is_given_up: &AtomicBool,
    parts: SyncSender<(u64, Result<Part, ImageFault>)>,
) {
    let mut bytes = AlignedVec::new();
    loop {
        let mut locked = source.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: nobody reads on behind a fault, and tells of another one.
        if is_given_up.load(Ordering::Relaxed) {
            return;
        }
        let number = locked.next;
        let next = locked.next(&mut bytes);
        if next.is_err() {
            is_given_up.store(true, Ordering::Relaxed);
        }
        drop(locked);
        let part = match next {
            Ok(None) => return,
            Ok(Some(frame)) => loader.read(&frame, &mut bytes).map_err(ImageFault::from),
            Err(fault) => Err(fault),
        };
        is_given_up.fetch_or(part.is_err(), Ordering::Relaxed);
        // The joiner listens to the end.
        let _ = parts.send((number, part));
    }
}

/// An image's file, read chunk by chunk.
struct Source {
    file: File,
    path: PathBuf,
    len: u64,
    reader: Reader,
    /// Number of the next chunk.
    next: u64,
    is_at_end: bool,
    /// Where the file is read past the page cache, what was read.
    window: Option<Window>,
}

impl Source {
    fn open(path: &Path, zxid: Zxid) -> Result<Self, ImageFault> {
        let file = File::open(path).map_err(DiskError::new("open", path))?;
        let len = file.metadata().map_err(DiskError::new("look at", path))?.len();
        let mut block = [0; BLOCK];
        let header = read_up_to(&file, path, &mut block, 0)?;
        let reader = Reader::new(zxid, header)?;
        Ok(Self { file, path: path.to_owned(), len, reader, next: 0, is_at_end: false, window: None })
    }

    /// The next chunk, with what follows its frame in `payload`; nothing at the end, which is checked.
    fn next(&mut self, payload: &mut AlignedVec) -> Result<Option<Frame>, ImageFault> {
        if self.is_at_end {
            return Ok(None);
        }
        let mut bytes = [0; FRAME];
        let bytes = self.read_up_to(&mut bytes, self.reader.offset())?;
        let frame = self.reader.frame(bytes)?;
        // What the frame says of its length is what was written; still no room is made for more than the file has.
        let there = self.len.saturating_sub(frame.offset);
        if frame.padded() as u64 > there {
            return Err(ImageError::Cut(self.len).into());
        }
        // Room is used again, unless the one znode in it may stay there: then it is made to measure.
        if frame.items == 1 || payload.capacity() < frame.padded() {
            *payload = AlignedVec::with_capacity(frame.padded());
        }
        payload.resize(frame.padded(), 0);
        let got = self.read_up_to(payload, frame.offset)?.len();
        if frame.kind == KIND_END {
            self.reader.payload(&frame, &payload[..got])?;
            self.is_at_end = true;
            return Ok(None);
        }
        self.reader.skip(&frame);
        self.next += 1;
        payload.resize(got, 0);
        Ok(Some(frame))
    }

    fn read_up_to<'a>(&mut self, into: &'a mut [u8], at: u64) -> Result<&'a [u8], DiskError> {
        match &mut self.window {
            Some(window) => window.read_up_to(&self.path, into, at),
            None => read_up_to(&self.file, &self.path, into, at),
        }
    }

    fn finish(self) -> Result<Totals, ImageFault> {
        Ok(self.reader.finish(self.len)?)
    }
}

/// A file read past the page cache, from one end to the other: whole blocks at a time, of which the reader takes what it likes.
struct Window {
    file: File,
    /// Its bytes. There is no reading behind them: what is asked for there does not begin with a block.
    len: u64,
    /// The byte of the file at which `bytes` begin.
    at: u64,
    bytes: AlignedVec<BLOCK>,
}

impl Window {
    fn new(file: File, len: u64) -> Self {
        Self { file, len, at: 0, bytes: AlignedVec::with_capacity(PIECE) }
    }

    fn read_up_to<'a>(&mut self, path: &Path, into: &'a mut [u8], at: u64) -> Result<&'a [u8], DiskError> {
        let mut got = 0;
        while got < into.len() {
            let at = at + got as u64;
            let end = self.at + self.bytes.len() as u64;
            if !(self.at..end).contains(&at) {
                self.at = at - at % BLOCK as u64;
                self.bytes.resize(PIECE, 0);
                let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
                let there = read_piece(&self.file, path, &mut self.bytes, self.at, left)?;
                self.bytes.resize(there, 0);
            }
            let Some(here) = self.bytes.get((at - self.at) as usize..).filter(|here| !here.is_empty()) else { break };
            let n = here.len().min(into.len() - got);
            into[got..got + n].copy_from_slice(&here[..n]);
            got += n;
        }
        Ok(&into[..got])
    }
}

/// Fills `into` from byte `at` on, with less where the file ends.
fn read_up_to<'a>(file: &File, path: &Path, into: &'a mut [u8], at: u64) -> Result<&'a [u8], DiskError> {
    let got = read_piece(file, path, into, at, usize::MAX)?;
    Ok(&into[..got])
}

/// As [`read_up_to`], but does not ask for more once it has `enough`.
fn read_piece(file: &File, path: &Path, into: &mut [u8], at: u64, enough: usize) -> Result<usize, DiskError> {
    let mut got = 0;
    while got < into.len().min(enough) {
        match file.read_at(&mut into[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DiskError::new("read", path)(error)),
        }
    }
    Ok(got)
}

/// Clients' data are what memory is for: what was written or checked need not stay in the page cache. `len` of 0 is to the end.
fn drop_cached(file: &File, offset: u64, len: u64) {
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
}

/// The file of an image that is being written.
///
/// The log shares the drive. A flush of the image's would make the log's wait, and there is none before the end: what is written goes to
/// the drive past the page cache, piece by piece. Where the file system knows no such thing, each piece is flushed by itself, so that
/// not all is left for the end.
pub struct ImageFile {
    dir: ImageDir,
    file: File,
    direct: Option<File>,
    path: PathBuf,
    /// Bytes of a piece.
    size: usize,
    /// What is not written yet.
    piece: AlignedVec<BLOCK>,
    len: u64,
}

impl ImageFile {
    /// Takes the next bytes, and writes the pieces that are full. `pause` is called after each, with its bytes.
    pub fn write(&mut self, mut bytes: &[u8], pause: &mut dyn FnMut(usize)) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.size - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == self.size {
                self.put()?;
                pause(self.size);
            }
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), DiskError> {
        let Self { file, direct, path, piece, len, .. } = self;
        let direct = direct.as_ref().filter(|_| piece.len().is_multiple_of(BLOCK));
        drive::write_at(direct.unwrap_or(file), path, piece, *len).map_err(DiskError::new("write", path))?;
        if direct.is_none() {
            drive::sync_data(file, path).map_err(DiskError::new("sync", path))?;
            drop_cached(file, *len, piece.len() as u64);
        }
        *len += piece.len() as u64;
        piece.clear();
        Ok(())
    }

    /// Writes the rest, reads back what was written, and gives it its name, durably. `pause` is called after
    /// each piece that is read.
    pub fn finish(self, zxid: Zxid, pause: &mut dyn FnMut(usize)) -> Result<(), ImageFault> {
        let dir = self.dir.clone();
        let written = self.close(zxid, pause)?;
        let path = dir.path_of(zxid);
        drive::rename(&written, &path).map_err(DiskError::new("name", &path))?;
        sync_dir(&dir.path)?;
        Ok(())
    }

    /// As [`finish`](Self::finish), but it keeps the name that it has, which is not durable.
    pub fn close(mut self, zxid: Zxid, pause: &mut dyn FnMut(usize)) -> Result<PathBuf, ImageFault> {
        self.put()?;
        drive::sync(&self.file, &self.path).map_err(DiskError::new("sync", &self.path))?;
        check(&self.path, zxid, pause)?;
        Ok(self.path)
    }
}
