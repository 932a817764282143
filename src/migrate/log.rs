//! A log: one of ZooKeeper's transaction log files, read record by record.
//!
//! A record is a check value, a length, so many bytes, and an end mark. ZooKeeper makes files longer than they are, with zeros,
//! and takes anything that is not a whole record for the end. We look closer: what a crash leaves is told from damage, so that
//! no bit of a file that was written can change and be taken for an end.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::adler::Adler;
use super::flaw::{Flaw, What};
use super::snapshot::{FORMAT, hex};
use crate::ground::ids::Zxid;
use crate::ground::limits::FRAME_MAX_CEILING;

/// First int of the file.
const MAGIC: i32 = i32::from_be_bytes(*b"ZKLG");

/// Bytes of the file's header.
const HEADER: u64 = 16;

/// Bytes before a record's blob: check value and length.
const HEAD: usize = 12;

/// After every blob.
const MARK: u8 = b'B';

/// Largest blob taken. Java readers refuse what is larger than twice `jute.maxbuffer`.
const BLOB_MAX: usize = 2 * FRAME_MAX_CEILING;

/// Smallest blob there is: a transaction's header.
const BLOB_MIN: usize = 32;

/// Bytes that may be behind a file's last whole record, zeros at the end not counted.
const TAIL_MAX: usize = 64 << 20;

/// A log file by its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogName {
    /// From the name: the first transaction in it.
    pub first: Zxid,
    /// Where it is.
    pub path: PathBuf,
}

impl LogName {
    /// What the path says, if it is one of a log.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let digits = path.file_name()?.to_str()?.strip_prefix("log.")?;
        Some(Self { first: hex(digits)?, path: path.to_owned() })
    }
}

/// What comes next in a log file.
#[derive(Debug)]
pub enum Next<'a> {
    /// A whole record, at a byte of the file.
    Record(u64, &'a [u8]),
    /// The end.
    End,
    /// The end, with something behind it that a crash may have left of a record never acknowledged.
    Torn(Flaw),
}

/// A log file while it is read.
pub struct LogFile {
    input: BufReader<File>,
    path: PathBuf,
    len: u64,
    at: u64,
    blob: Vec<u8>,
    /// Said instead of a record, where not even the header was written.
    unwritten: bool,
}

impl LogFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Flaw> {
        let flaw = |offset, what| Flaw::new(path, offset, what);
        let file = File::open(path).map_err(|error| flaw(0, error.into()))?;
        let len = file.metadata().map_err(|error| flaw(0, error.into()))?.len();
        let mut input = BufReader::with_capacity(256 << 10, file);
        let unwritten = len < HEADER;
        if !unwritten {
            let mut header = [0; HEADER as usize];
            input.read_exact(&mut header).map_err(|error| flaw(0, error.into()))?;
            let [magic, version] =
                [0, 4].map(|at| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
            if magic != MAGIC {
                return Err(flaw(0, What::Magic("ZKLG")));
            }
            if version != FORMAT {
                return Err(flaw(4, What::Version(version)));
            }
        }
        Ok(Self { input, path: path.to_owned(), len, at: HEADER, blob: Vec::new(), unwritten })
    }

    fn flaw(&self, what: What) -> Flaw {
        Flaw::new(&self.path, self.at, what)
    }

    /// Bytes read, and bytes there are.
    pub const fn position(&self) -> (u64, u64) {
        (self.at, self.len)
    }

    /// The next record.
    pub fn next(&mut self) -> Result<Next<'_>, Flaw> {
        if self.unwritten {
            return Ok(Next::Torn(Flaw::new(&self.path, 0, What::Ends)));
        }
        let left = self.len.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < HEAD as u64 {
            return self.judge(What::Ends);
        }
        let mut head = [0; HEAD];
        self.fill(&mut head)?;
        let (stored, len) = split_head(&head);
        if len == 0 {
            return self.judge(What::Ends);
        }
        let Some(blob_len) = usize::try_from(len).ok().filter(|len| (BLOB_MIN..=BLOB_MAX).contains(len)) else {
            return self.judge(What::Length(i64::from(len)));
        };
        if (HEAD + blob_len + 1) as u64 > left {
            return self.judge(What::Ends);
        }
        let mut blob = std::mem::take(&mut self.blob);
        blob.resize(blob_len + 1, 0);
        self.fill(&mut blob)?;
        self.blob = blob;
        match self.blob.pop() {
            Some(MARK) => {}
            Some(0) => return self.judge(What::Unmarked),
            _ => return Err(self.flaw(What::Unmarked)),
        }
        let computed = Adler::of(&self.blob);
        if stored != computed {
            return Err(self.flaw(What::Check { stored, computed }));
        }
        let start = self.at;
        self.at += (HEAD + blob_len + 1) as u64;
        Ok(Next::Record(start, &self.blob))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Flaw> {
        self.input.read_exact(bytes).map_err(|error| self.flaw(error.into()))
    }

    /// Judges what is behind the last whole record: nothing but zeros, what a crash left, or damage.
    fn judge(&mut self, what: What) -> Result<Next<'_>, Flaw> {
        let tail = self.tail()?;
        if tail.is_empty() {
            return Ok(Next::End);
        }
        if let Some(what) = damage(&tail, self.at) {
            return Err(self.flaw(what));
        }
        Ok(Next::Torn(self.flaw(what)))
    }

    /// Everything from here on, but for the zeros at the end.
    fn tail(&mut self) -> Result<Vec<u8>, Flaw> {
        self.input.seek(SeekFrom::Start(self.at)).map_err(|error| self.flaw(error.into()))?;
        let (mut tail, mut zeros) = (Vec::new(), 0usize);
        let mut chunk = vec![0; 256 << 10];
        loop {
            let got = match self.input.read(&mut chunk) {
                Ok(0) => return Ok(tail),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.flaw(error.into())),
            };
            let end = chunk[..got].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if end == 0 {
                zeros += got;
                continue;
            }
            if tail.len() + zeros + end > TAIL_MAX {
                return Err(self.flaw(What::LongTail(TAIL_MAX)));
            }
            tail.resize(tail.len() + zeros, 0);
            tail.extend_from_slice(&chunk[..end]);
            zeros = got - end;
        }
    }
}

fn split_head(head: &[u8; HEAD]) -> (i64, i32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *head;
    (i64::from_be_bytes([a, b, c, d, e, f, g, h]), i32::from_be_bytes([i, j, k, l]))
}

/// What shows that a tail was a sound part of the log once: a whole record later in it, or one whole but for its length.
fn damage(tail: &[u8], at: u64) -> Option<What> {
    let (head, rest) = tail.split_first_chunk::<HEAD>()?;
    let (stored, len) = split_head(head);
    let mut sum = Adler::new();
    for (n, byte) in rest.iter().enumerate() {
        if n >= BLOB_MIN && *byte == MARK && sum.value() == stored {
            // A whole record whose mark was not written begins like this with its own length: no harm in either reading.
            return Some(What::WrongLength { stored: len, found: n });
        }
        sum.add(std::slice::from_ref(byte));
    }
    (1..tail.len()).find(|&from| is_record(&tail[from..])).map(|from| What::Follows(at + from as u64))
}

/// Whether bytes begin with a whole record.
fn is_record(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return false };
    let (stored, len) = split_head(head);
    let Ok(len) = usize::try_from(len) else { return false };
    (BLOB_MIN..=BLOB_MAX).contains(&len) && rest.get(len) == Some(&MARK) && Adler::of(&rest[..len]) == stored
}
