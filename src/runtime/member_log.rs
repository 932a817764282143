//! Member log: what the log of a member of an ensemble undergoes beside being appended to. It ends earlier, or gives way to a state that came;
//! epochs are promised. Nothing is in flight then, and each step is durable before the next (`docs/storage.md`, 13).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::disk::{DiskError, remove_if_there};
use super::drive::{self, sync_dir};
use super::holdings::Holdings;
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::proto::jute::Reader;
use crate::proto::txn::TxnHeader;
use crate::storage::appender::Position;
use crate::storage::batch::BatchHeader;
use crate::storage::cut::{self, NotThere};
use crate::storage::image::image_name;
use crate::storage::manifest::Manifest;
use crate::storage::promise::Promise;
use crate::storage::restart::{is_enough, restart};
use crate::storage::segment::{HeaderError, SegmentHeader, SegmentStart, file_name};
use crate::storage::selection::{Begin, Extent, replay_from};
use crate::zab::Record;

/// The file in the log's directory that says that this server may have forgotten what it has acknowledged: it learns, and has no vote until
/// a leader has restored it.
pub const IMPAIRED: &str = "impaired";

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Epochs are promised.
    Promise(Promise),
    /// The log ends at `to`.
    Cut {
        /// The last transaction that stays.
        to: Zxid,
        /// The transaction that the log's first one follows, or the state's that it adds to.
        base: Zxid,
        /// The next segment, which is blank.
        blank: SegmentStart,
    },
    /// A state that came takes the place of everything.
    Install {
        /// Its file, which is durable under this name.
        received: PathBuf,
        /// The last transaction in it.
        at: Zxid,
        /// Those that follow it.
        tail: Vec<Record>,
        /// The next segments, which are blank: enough of them.
        blank: Vec<SegmentStart>,
    },
    /// The server has again all that it may have forgotten.
    Restored,
}

/// What came of it. Segments that are blank, and come before those that are ready, are given back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It is durable.
    Plain,
    /// The log is another one: where it stands.
    Moved {
        /// Where it goes on.
        position: Position,
        /// Segments given back, ascending.
        blank: Vec<SegmentStart>,
    },
}

/// Why it could not be done. Some of it may have been; a start makes of that what was, what was to be, or what lies between.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log has no such end.
    #[error(transparent)]
    NotThere(#[from] NotThere),
    /// A segment is not what it was.
    #[error("log segment {0:016x}: {1}")]
    Header(u64, HeaderError),
    /// The segments do not hold it.
    #[error("the transactions after the state do not go into the segments that were made for them")]
    NoRoom,
}

/// The zxid of a transaction as the log has it.
#[must_use]
pub fn zxid_of(blob: &[u8]) -> Option<Zxid> {
    TxnHeader::decode(&mut Reader::new(blob)).ok().map(|header| header.zxid)
}

/// Transactions with their zxids, borrowed.
fn with_zxids(tail: &[Record]) -> Vec<(Zxid, &[u8])> {
    tail.iter().map(|record| (record.zxid, &record.blob[..])).collect()
}

/// Whether so many blank segments are enough for a log with this tail.
#[must_use]
pub fn has_enough(blank: &[SegmentStart], tail: &[Record]) -> bool {
    let lens: Vec<_> = tail.iter().map(|record| record.blob.len()).collect();
    is_enough(blank, &lens)
}

impl Task {
    /// Up to where the log can be durable while this is done: the watermark must not say more.
    #[must_use]
    pub fn bound(&self) -> Option<Zxid> {
        match self {
            Self::Cut { to, .. } => Some(*to),
            Self::Install { at, tail, .. } => Some(tail.last().map_or(*at, |record| record.zxid)),
            Self::Promise(_) | Self::Restored => None,
        }
    }
}

/// Says durably that this server may have forgotten something, until [`Task::Restored`].
pub fn mark_impaired(dir: &Path) -> Result<(), DiskError> {
    let mark = dir.join(IMPAIRED);
    let file = drive::open_or_create(&mark).map_err(DiskError::new("create", &mark))?;
    drive::sync(&file, &mark).map_err(DiskError::new("sync", &mark))?;
    sync_dir(dir)
}

impl Holdings {
    /// Does what is to be done.
    pub fn perform(&mut self, task: Task) -> Result<Ended, TaskError> {
        match task {
            Task::Promise(promise) => {
                self.cabinet.promise(promise)?;
                Ok(Ended::Plain)
            }
            Task::Restored => {
                remove_if_there(&self.dir.join(IMPAIRED))?;
                Ok(Ended::Plain)
            }
            Task::Cut { to, base, blank } => self.cut(to, base, blank),
            Task::Install { received, at, tail, blank } => self.install(&received, at, &tail, &blank),
        }
    }

    fn cut(&mut self, to: Zxid, base: Zxid, blank: SegmentStart) -> Result<Ended, TaskError> {
        self.cabinet.lower(to)?;
        let files = self.from(to)?;
        let borrowed: Vec<_> = files.iter().map(|(start, bytes)| (*start, &bytes[..])).collect();
        let plan = cut::cut(&borrowed, base, to, blank, zxid_of)?;
        drop(files);
        if let Some(bytes) = &plan.rewritten {
            self.fill(blank.number, BLOCK as u64, bytes)?;
        }
        if let Some(oldest) = plan.oldest {
            let said = self.cabinet.said();
            self.cabinet.manifest(Manifest { oldest, ..said })?;
        }
        for range in &plan.erase {
            let zeros = vec![0; usize::try_from(range.len).expect("a batch lies in memory")];
            self.fill(range.segment, range.offset, &zeros)?;
        }
        let begin = |first: Zxid, sequence| Some(Begin { after: Zxid(first.0.saturating_sub(1)), sequence });
        let mut back = Vec::new();
        if let Some(bytes) = &plan.rewritten {
            let gone = if plan.oldest.is_some() { std::mem::take(&mut self.segments) } else { Vec::new() };
            for range in plan.erase.iter().filter(|range| range.offset == BLOCK as u64) {
                let emptied = self.segments.iter_mut().find(|segment| segment.number == range.segment);
                emptied.into_iter().for_each(|segment| segment.begin = None);
            }
            let (header, _) = BatchHeader::decode(bytes).expect("it was just framed");
            let begin = begin(header.first, header.sequence);
            self.segments.push(Extent { number: blank.number, begin, bytes: blank.size });
            let gone: Vec<_> = gone.iter().map(|segment| segment.number).collect();
            self.going.append(&mut self.pool.free(&gone)?);
        } else {
            let at = &plan.position;
            self.segments.retain(|segment| segment.number <= at.segment.number);
            if at.offset == BLOCK as u64
                && let Some(last) = self.segments.last_mut()
            {
                last.begin = Some(Begin { after: at.last, sequence: at.sequence });
            }
            back = plan.blank;
            back.push(blank);
        }
        Ok(Ended::Moved { position: plan.position, blank: back })
    }

    /// The segments with all that comes after `to`, and at least one batch more where there is one.
    fn from(&self, to: Zxid) -> Result<Vec<(SegmentStart, Vec<u8>)>, TaskError> {
        let found = replay_from(&self.segments, Zxid(to.0.saturating_add(1)));
        let before = self.segments[..found].iter().rposition(|segment| segment.begin.is_some()).unwrap_or(0);
        self.segments[before..]
            .iter()
            .map(|extent| {
                let path = self.dir.join(file_name(extent.number));
                let mut bytes = Vec::new();
                let mut file = File::open(&path).map_err(DiskError::new("open", &path))?;
                file.read_to_end(&mut bytes).map_err(DiskError::new("read", &path))?;
                let header = SegmentHeader::decode(extent.number, &bytes);
                let header = header.map_err(|error| TaskError::Header(extent.number, error))?;
                Ok((header.start, bytes))
            })
            .collect()
    }

    /// Writes to a segment, durably.
    fn fill(&self, segment: u64, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let path = self.dir.join(file_name(segment));
        let file = drive::open(&path).map_err(DiskError::new("open", &path))?;
        drive::write_at(&file, &path, bytes, offset).map_err(DiskError::new("write", &path))?;
        drive::sync_data(&file, &path).map_err(DiskError::new("sync", &path))
    }

    fn install(&mut self, received: &Path, at: Zxid, tail: &[Record], blank: &[SegmentStart]) -> Result<Ended, TaskError> {
        let plan = restart(blank, at, &with_zxids(tail)).ok_or(TaskError::NoRoom)?;
        let name = self.images.join(image_name(at));
        drive::rename(received, &name).map_err(DiskError::new("name", &name))?;
        sync_dir(&self.images)?;
        for fill in &plan.fill {
            self.fill(fill.segment, fill.offset, &fill.bytes)?;
        }
        self.cabinet.lower(plan.last)?;
        let said = self.cabinet.said();
        let oldest = plan.segments[0].number;
        self.cabinet.manifest(Manifest { oldest, image: said.image.max(at), ..said })?;
        // That was the step. What follows is tidying up.
        let gone: Vec<_> = std::mem::replace(&mut self.segments, plan.segments).iter().map(|segment| segment.number).collect();
        self.damaged.remove(&at);
        self.verified.insert(at);
        self.going.append(&mut self.pool.free(&gone)?);
        Ok(Ended::Moved { position: plan.position, blank: plan.blank })
    }
}
