//! Scrubber: reads back, a piece at a time, the segments that the log has left and the images.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::images;
use crate::storage::scrub::{Look, Scrub};
use crate::storage::segment::file_name;
use crate::storage::selection::Extent;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Of the time between two passes, how much goes by before the first one: a server that is started again and again is scrubbed too.
const FIRST: u32 = 24;

/// Damage.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where, and what is wrong there; follows on "damaged".
    pub what: String,
}

enum Subject {
    Segment { path: PathBuf, scrub: Scrub },
    Image(PathBuf),
}

/// Passes over all that is kept.
pub struct Scrubber {
    every: Option<Duration>,
    due: Instant,
    rest: VecDeque<Subject>,
    file: Option<File>,
    piece: Vec<u8>,
}

impl Scrubber {
    /// With a pass begun this often; none is never.
    #[must_use]
    pub fn new(every: Option<Duration>) -> Self {
        let due = Instant::now() + every.unwrap_or_default() / FIRST;
        Self { every, due, rest: VecDeque::new(), file: None, piece: Vec::new() }
    }

    /// Whether a pass is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Time until the next pass; none if there are none.
    #[must_use]
    pub fn due_in(&self) -> Option<Duration> {
        self.every.map(|_| self.due.saturating_duration_since(Instant::now()))
    }

    /// Begins a pass over the segments but the last, which is in use, and over `images`.
    pub fn begin(&mut self, dir: &Path, segments: &[Extent], images: Vec<PathBuf>) {
        self.due = Instant::now() + self.every.unwrap_or_default();
        let left = segments.windows(2).filter_map(|pair| {
            let (from, until) = (pair[0].begin?.sequence, pair[1].begin?.sequence);
            let path = dir.join(file_name(pair[0].number));
            Some(Subject::Segment { path, scrub: Scrub::new(pair[0].number, from, until) })
        });
        self.rest = left.chain(images.into_iter().map(Subject::Image)).collect();
    }

    /// Gives up the pass under way: what is kept is not what it was.
    pub fn give_up(&mut self) {
        self.rest.clear();
        self.file = None;
        self.piece = Vec::new();
    }

    /// Reads on for a piece of a segment, or a whole image with `pause` between its pieces.
    pub fn step(&mut self, pause: &mut dyn FnMut(usize)) -> Option<Finding> {
        match self.rest.front_mut()? {
            Subject::Image(path) => {
                let path = std::mem::take(path);
                self.rest.pop_front();
                let what = images::scrub(&path, pause).err()?;
                Some(Finding { path, what })
            }
            Subject::Segment { path, scrub } => {
                let look = match read(&mut self.file, path, &mut self.piece) {
                    Ok(0) => scrub.end(),
                    Ok(_) => scrub.feed(&self.piece),
                    Err(error) => {
                        let finding = Finding { path: std::mem::take(path), what: format!("at an unknown offset: {error}") };
                        self.next();
                        return Some(finding);
                    }
                };
                match look {
                    Look::More => None,
                    Look::Good => {
                        self.next();
                        None
                    }
                    Look::Damaged { offset, reason, good } => {
                        let what = format!("at {offset} ({reason}), after zxid {good}");
                        let finding = Finding { path: std::mem::take(path), what };
                        self.next();
                        Some(finding)
                    }
                }
            }
        }
    }

    fn next(&mut self) {
        self.rest.pop_front();
        self.file = None;
        if self.rest.is_empty() {
            // Between passes it holds no memory.
            self.piece = Vec::new();
        }
    }
}

/// The next piece of the file that is open, or of `path`; 0 at its end.
fn read(open: &mut Option<File>, path: &Path, piece: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = match open.take() {
        Some(file) => file,
        None => File::open(path)?,
    };
    piece.clear();
    let len = (&mut file).take(PIECE as u64).read_to_end(piece)?;
    // What is read once a day need not push other things out of the page cache.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    *open = Some(file);
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::{ServerId, Zxid};
    use crate::ground::limits::BLOCK;
    use crate::ground::time::WallMillis;
    use crate::storage::appender::{Appender, Contents, Position};
    use crate::storage::batch::{framed_len, put_record};
    use crate::storage::image::{ImageHeader, Writer, image_name};
    use crate::storage::segment::{SegmentHeader, SegmentStart};
    use crate::storage::selection::Begin;
    use std::fs;

    fn image(zxid: Zxid) -> Vec<u8> {
        let mut out = Vec::new();
        let header = ImageHeader { server: ServerId(1), zxid, created: WallMillis(0) };
        let mut writer = Writer::begin(&header, &mut out);
        writer.chunk(1, 1, &[7; 100_000], &mut out);
        writer.end(0, &mut out);
        out
    }

    fn pass(scrubber: &mut Scrubber) -> Vec<String> {
        let mut found = Vec::new();
        while scrubber.is_under_way() {
            let finding = scrubber.step(&mut |_| {});
            found.extend(finding.map(|f| format!("{} {}", f.path.file_name().unwrap().display(), f.what)));
        }
        found
    }

    #[test]
    fn a_pass_finds_what_was_damaged_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        const SIZE: usize = 3 << 20;
        let mut log: Option<Appender> = None;
        let (mut files, mut extents) = (Vec::new(), Vec::new());
        for number in 1..=3 {
            let start = SegmentStart { number, salt: 50 + number, size: SIZE as u64 };
            let header = SegmentHeader { start, server: ServerId(1), created: WallMillis(0), recycled: false };
            let mut file = vec![0; SIZE];
            file[..BLOCK].copy_from_slice(&header.encode()[..]);
            let log = log.get_or_insert_with(|| Appender::new(Position::new_log(start), Zxid::ZERO));
            if number > 1 {
                log.roll(start);
            }
            let at = *log.position();
            extents.push(Extent { number, begin: Some(Begin { after: at.last, sequence: at.sequence }), bytes: SIZE as u64 });
            for _ in 0..4 {
                let (zxid, mut payload) = (Zxid(log.last().0 + 1), Vec::new());
                put_record(&mut payload, &vec![7; 600_000]);
                let at = log.position().offset as usize;
                let out = &mut file[at..at + framed_len(payload.len())];
                let placed = log.frame_into(Contents { first: zxid, last: zxid, count: 1 }, &[&payload], Zxid(0), out);
                log.flushed(placed.sequence);
            }
            fs::write(dir.path().join(file_name(number)), &file).unwrap();
            files.push(file);
        }
        let images: Vec<_> = [Zxid(5), Zxid(6)].iter().map(|zxid| dir.path().join(image_name(*zxid))).collect();
        let mut bytes = image(Zxid(5));
        fs::write(&images[0], &bytes).unwrap();
        bytes = image(Zxid(6));
        bytes[50_000] ^= 1;
        fs::write(&images[1], &bytes).unwrap();
        let mut scrubber = Scrubber::new(Some(Duration::ZERO));
        assert_eq!(scrubber.due_in(), Some(Duration::ZERO));
        scrubber.begin(dir.path(), &extents, images.clone());
        let found = pass(&mut scrubber);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("image.0000000000000006 ") && found[0].contains("offset"), "{found:?}");
        files[1][2_000_000] ^= 1;
        files[2][2_000_000] ^= 1;
        for number in 2..=3 {
            fs::write(dir.path().join(file_name(number)), &files[number as usize - 1]).unwrap();
        }
        fs::remove_file(dir.path().join(file_name(1))).unwrap();
        scrubber.begin(dir.path(), &extents, vec![]);
        let found = pass(&mut scrubber);
        assert_eq!(found.len(), 2, "the segment in use is not looked at: {found:?}");
        assert!(found[0].starts_with("log.0000000000000001 at an unknown offset"), "{found:?}");
        let line = "log.0000000000000002 at 1810432 (the records do not match their checksum), after zxid 0x7";
        assert_eq!(found[1], line);
        assert_eq!(Scrubber::new(None).due_in(), None);
    }
}
