//! Source: the segments of a log, read and never written, also while a server appends to them.
//!
//! A file that grows cannot be read in one moment: its first blocks may be looked at before a batch is written there, and its last
//! ones after later batches vouch for that one; then a whole log looks damaged. So, where a server works, the end of the log is looked
//! up first, and what is before it is read afterwards: whatever that end vouches for was on the disk before it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cli::outcome::Failed;
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::runtime::papers::PaperBytes;
use crate::server::in_use::worker_of;
use crate::storage::batch::BatchHeader;
use crate::storage::papers;
use crate::storage::recovery::Known;
use crate::storage::refusal::Refusal;
use crate::storage::segment::{SegmentHeader, file_name, hex, number_of};
use crate::storage::selection::{Extent, HEAD};

/// A log as it was when it was opened.
#[derive(Debug)]
pub struct Source {
    dir: PathBuf,
    segments: Vec<u64>,
    worker: Option<u32>,
    bytes: u64,
}

impl Source {
    /// The log in `dir`, or in the directory `log` of it: where a server's data is, its log is one further down.
    pub fn open(dir: &Path) -> Result<Self, Failed> {
        let below = dir.join("log");
        let mut found = (dir.to_owned(), numbers(dir)?);
        if found.1.is_empty() && below.is_dir() {
            found = (below.clone(), numbers(&below)?);
        }
        let (dir, mut segments) = found;
        // What is older than the manifest says is left over from a crash, and need not go with the rest.
        let oldest = oldest(&dir);
        if segments.contains(&oldest) {
            segments.retain(|number| *number >= oldest);
        }
        if segments.is_empty() {
            return Err(Failed::NotThere(nothing(&dir)));
        }
        let worker = worker_of(&dir);
        if worker.is_some() {
            segments.truncate(used(&dir, &segments));
        }
        let mut bytes = 0;
        for number in &segments {
            let path = dir.join(file_name(*number));
            bytes += fs::metadata(&path).map_err(Failed::on("look at", &path))?.len();
        }
        Ok(Self { dir, segments, worker, bytes })
    }

    /// Where the segments are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Their numbers, ascending. Where a server works, those after the last that held a batch are left out.
    #[must_use]
    pub fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// Bytes of all of them.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What to know of a directory in which a server works.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let pid = self.worker?;
        Some(format!("a server works on {} (process {pid}): what is read ends where its log ended just now", self.dir.display()))
    }

    /// What is known of the log: where it goes on behind an image, and what the papers beside it say; or why no server would start with
    /// them. They run ahead of what was read where a server works: there they are not asked.
    pub fn known(&self) -> Result<Result<Known, String>, Failed> {
        let image = self.behind()?;
        if self.worker.is_some() {
            return Ok(Ok(Known { image, ..Known::default() }));
        }
        let bytes = PaperBytes::read(&self.dir).map_err(|error| Failed::NotThere(error.to_string()))?;
        let papers = match papers::judge(bytes.files(), None) {
            Ok(None) => return Ok(Ok(Known { image, ..Known::default() })),
            Ok(Some(papers)) => papers,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        let oldest = papers.manifest.said.oldest;
        if oldest > 0 && !self.segments.contains(&oldest) {
            return Ok(Err(Refusal::Missing { segment: oldest, good: Zxid::ZERO }.to_string()));
        }
        Ok(Ok(Known { durable: papers.durable(), image, ..Known::default() }))
    }

    /// The zxid behind which the first segment goes on: what came before it was purged, and is in an image. Zero where the log begins there.
    pub fn behind(&self) -> Result<Zxid, Failed> {
        let (path, mut head) = (self.dir.join(file_name(self.segments[0])), Vec::new());
        let file = File::open(&path).map_err(Failed::on("open", &path))?;
        file.take(HEAD as u64).read_to_end(&mut head).map_err(Failed::on("read", &path))?;
        Ok(Extent::of(self.segments[0], &head, head.len() as u64).begin.map_or(Zxid::ZERO, |begin| begin.after))
    }

    /// Why a server would not find the image that such a log needs, as far as that can be seen from here: images may lie elsewhere.
    pub fn lacks_image(&self, behind: Zxid) -> Option<String> {
        let images = self.dir.parent()?.join("images");
        let names = fs::read_dir(&images).ok()?.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned()));
        let newest = names.filter_map(|name| hex(name.strip_prefix("image.")?)).max();
        (behind > Zxid::ZERO && newest.is_none_or(|zxid| zxid < behind.0))
            .then(|| format!("it goes on behind zxid {behind}, and {} holds no image that is so new", images.display()))
    }

    /// Reads a segment whole.
    pub fn read(&self, number: u64, into: &mut Vec<u8>) -> Result<(), Failed> {
        let path = self.dir.join(file_name(number));
        self.load(&path, into)?;
        if self.worker.is_some() && self.segments.last() == Some(&number) {
            let end = end_of(number, into);
            self.load(&path, into)?;
            if let Some(rest) = into.get_mut(end..) {
                rest.fill(0);
            }
        }
        Ok(())
    }

    fn load(&self, path: &Path, into: &mut Vec<u8>) -> Result<(), Failed> {
        into.clear();
        let mut file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.worker.is_some() => {
                Failed::NotThere(format!("{} was removed by the server meanwhile: start again", path.display()))
            }
            _ => Failed::on("open", path)(error),
        })?;
        let len = file.metadata().map_err(Failed::on("look at", path))?.len();
        let room =
            usize::try_from(len).map_err(io::Error::other).and_then(|len| into.try_reserve_exact(len).map_err(io::Error::other));
        room.map_err(Failed::on("find memory for", path))?;
        file.read_to_end(into).map_err(Failed::on("read", path))?;
        Ok(())
    }
}

/// The oldest segment that must be there, as far as the papers can be read; they are judged later.
fn oldest(dir: &Path) -> u64 {
    let papers = PaperBytes::read(dir).ok().and_then(|bytes| papers::judge(bytes.files(), None).ok().flatten());
    papers.map_or(0, |papers| papers.manifest.said.oldest)
}

fn numbers(dir: &Path) -> Result<Vec<u64>, Failed> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Failed::on("list", dir))? {
        let entry = entry.map_err(Failed::on("list", dir))?;
        numbers.extend(entry.file_name().to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn nothing(dir: &Path) -> String {
    if dir.join("version-2").is_dir() {
        return format!("{} holds the data of a ZooKeeper server, which this tool does not read", dir.display());
    }
    format!(
        "no log in {}: segments are named log. and 16 digits, and lie in the directory log of a server's dataLogDir",
        dir.display()
    )
}

/// How many of the segments had batches, all up to the last of those. At least one.
fn used(dir: &Path, segments: &[u64]) -> usize {
    let last = segments.iter().rposition(|number| !is_spare(&dir.join(file_name(*number)), *number));
    last.unwrap_or(0) + 1
}

/// Whether a segment is certainly intact and without batches.
fn is_spare(path: &Path, number: u64) -> bool {
    let mut blocks = [0; 2 * BLOCK];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut blocks, 0));
    let Ok(header) = SegmentHeader::decode(number, &blocks) else { return false };
    let batch = BatchHeader::decode(&blocks[BLOCK..]);
    read.is_ok() && !batch.is_ok_and(|(batch, _)| batch.salt == header.start.salt)
}

/// The byte after the last batch whose header can be read, of those that belong to the present use of the segment.
fn end_of(number: u64, file: &[u8]) -> usize {
    let Ok(header) = SegmentHeader::decode(number, file) else { return file.len() };
    let mut end = BLOCK;
    for at in (BLOCK..file.len()).step_by(BLOCK) {
        let Ok((batch, _)) = BatchHeader::decode(&file[at..]) else { continue };
        if batch.salt == header.start.salt {
            end = end.max(at.saturating_add(usize::try_from(batch.framed_len()).unwrap_or(usize::MAX)));
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_log_says_what_it_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let said = |dir: &Path| Source::open(dir).unwrap_err().to_string();
        assert!(said(dir.path()).contains("no log in "), "{}", said(dir.path()));
        fs::create_dir(dir.path().join("version-2")).unwrap();
        assert!(said(dir.path()).contains("ZooKeeper"), "{}", said(dir.path()));
        assert!(said(&dir.path().join("none")).starts_with("cannot list "));
    }

    #[test]
    fn the_log_is_found_here_or_one_further_down() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        for name in ["log.000000000000000a", "log.0000000000000009", "log.9", "segment.tmp"] {
            fs::write(log.join(name), b"x").unwrap();
        }
        for at in [dir.path(), &log] {
            let source = Source::open(at).unwrap();
            assert_eq!((source.dir(), source.segments(), source.bytes()), (&*log, &[9, 10][..], 2));
            assert_eq!(source.notice(), None);
        }
        let mut bytes = Vec::new();
        Source::open(&log).unwrap().read(9, &mut bytes).unwrap();
        assert_eq!(bytes, b"x");
        assert!(!is_spare(&log.join("log.0000000000000009"), 9), "a file that is no segment may be damage");
    }
}
