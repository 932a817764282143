//! Walk: a log read from its beginning by the code that a server recovers with, batch by batch and record by record.

use crate::cli::outcome::Failed;
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::show::progress::{Progress, bytes};
use crate::storage::batch::BatchHeader;
use crate::storage::recovery::{Plan, Record, Recovery};
use crate::storage::refusal::{Refusal, Stop};
use crate::storage::scanner::read;
use crate::storage::segment::SegmentHeader;

use super::source::Source;

/// Where a batch lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Segment number.
    pub segment: u64,
    /// Byte in it.
    pub offset: u64,
}

/// Why a visitor wants no more.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// It has seen what it was looking for.
    #[error("that was all that was asked for")]
    Enough,
    /// It cannot tell what it sees.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    /// A server would stop here.
    #[error("{0}; keep the files, and put an intact copy back or rejoin from the ensemble as a new server")]
    Unusable(String),
}

/// Who is shown the good prefix of a log.
pub trait Visitor {
    /// A batch or a mark, before its records.
    fn batch(&mut self, place: Place, header: &BatchHeader) -> Result<(), Halt>;

    /// A record.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Halt>;
}

/// How a log ends.
#[derive(Debug)]
pub enum Ending {
    /// A server goes on with it, after doing this.
    Plan(Plan),
    /// No server would go on with it.
    Refused(Refused),
    /// The visitor had enough.
    Enough,
}

/// Why no server would go on with a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// In one line: file, offset, zxid, and what to do.
    pub line: String,
    /// Where, as far as it is one place.
    pub place: Option<(u64, u64)>,
    /// First and last zxid that cannot be read, as far as they can be known.
    pub lost: Option<(Zxid, Zxid)>,
    /// Last zxid before it.
    pub good: Zxid,
}

impl Refused {
    fn of(refusal: &Refusal, good: Zxid) -> Self {
        let (place, lost) = match refusal {
            Refusal::Damaged { segment, offset, first, last, .. } => (Some((*segment, *offset)), Some((*first, *last))),
            Refusal::Header { segment, .. } => (Some((*segment, 0)), None),
            Refusal::Newer { segment, offset, .. } => (Some((*segment, *offset)), None),
            _ => (None, None),
        };
        Self { line: refusal.to_string(), place, lost, good }
    }
}

/// Shows `visitor` all of `source` that can be trusted. Memory is bounded by one segment.
pub fn walk(source: &Source, visitor: &mut impl Visitor, progress: &mut Progress) -> Result<Ending, Failed> {
    let known = match source.known()? {
        Ok(known) => known,
        Err(line) => return Ok(Ending::Refused(Refused { line, place: None, lost: None, good: Zxid::ZERO })),
    };
    let mut recovery = Recovery::knowing(known);
    let mut file = Vec::new();
    let mut previous = None;
    let mut done = 0;
    for (i, &number) in source.segments().iter().enumerate() {
        source.read(number, &mut file)?;
        let mut headers = Headers { number, file: &file, at: BLOCK, previous };
        let result = recovery.segment(number, &file, |record| {
            if record.index == 0 {
                headers.up_to(record.offset, visitor)?;
            }
            visitor.record(&record)
        });
        let good = recovery.last();
        match result.map_or_else(Some, |()| headers.marks(i == 0, visitor).err().map(unplaced)) {
            None => {}
            Some(Stop::Record { source: Halt::Enough, .. }) => return Ok(Ending::Enough),
            Some(Stop::Record { source: Halt::Output(error), .. }) => return Err(error.into()),
            Some(Stop::Refused(refusal)) => return Ok(Ending::Refused(Refused::of(&refusal, good))),
            Some(stop @ Stop::Record { segment, offset, first, last, source: Halt::Unusable(_), .. }) => {
                let (place, lost) = (Some((segment, offset)), Some((first, last)));
                return Ok(Ending::Refused(Refused { line: stop.to_string(), place, lost, good }));
            }
        }
        previous = headers.previous;
        done += file.len() as u64;
        let of = source.segments().len();
        progress.tell(|| format!("segment {} of {of}, {} of {}, up to zxid {good}", i + 1, bytes(done), bytes(source.bytes())));
    }
    let good = recovery.last();
    Ok(match recovery.finish() {
        Ok(plan) => Ending::Plan(plan),
        Err(refusal) => Ending::Refused(Refused::of(&refusal, good)),
    })
}

/// What a visitor said of a mark, which is in no record.
const fn unplaced(source: Halt) -> Stop<Halt> {
    Stop::Record { segment: 0, offset: 0, index: 0, first: Zxid::ZERO, last: Zxid::ZERO, source }
}

/// The batch headers of a segment, shown in step with its records. Recovery visits records only, and marks have none.
struct Headers<'a> {
    number: u64,
    file: &'a [u8],
    at: usize,
    /// Sequence and checksum of the batch before.
    previous: Option<(u64, u32)>,
}

impl Headers<'_> {
    /// Shows the batches that have not been shown, the one at `offset` included. Recovery has accepted them.
    fn up_to(&mut self, offset: u64, visitor: &mut impl Visitor) -> Result<(), Halt> {
        while self.at as u64 <= offset {
            let (header, crc) = BatchHeader::decode(&self.file[self.at..]).expect("recovery has read the batches up to this one");
            self.show(&header, crc, visitor)?;
        }
        Ok(())
    }

    /// Shows the marks behind the last record.
    fn marks(&mut self, begins: bool, visitor: &mut impl Visitor) -> Result<(), Halt> {
        let Ok(segment) = SegmentHeader::decode(self.number, self.file) else { return Ok(()) };
        while let Ok(batch) = read(self.file, Some(segment.start.salt), self.at) {
            let header = batch.header;
            let follows = self
                .previous
                .map_or(begins, |(sequence, chain)| sequence.checked_add(1) == Some(header.sequence) && chain == header.chain);
            if header.count != 0 || !follows {
                break;
            }
            self.show(&header, batch.crc, visitor)?;
        }
        Ok(())
    }

    fn show(&mut self, header: &BatchHeader, crc: u32, visitor: &mut impl Visitor) -> Result<(), Halt> {
        visitor.batch(Place { segment: self.number, offset: self.at as u64 }, header)?;
        self.at += usize::try_from(header.framed_len()).expect("an accepted batch lies in memory");
        self.previous = Some((header.sequence, crc));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::sample::write_log;

    #[derive(Default)]
    struct Seen {
        lines: Vec<String>,
        enough_at: Option<u64>,
    }

    impl Visitor for Seen {
        fn batch(&mut self, place: Place, header: &BatchHeader) -> Result<(), Halt> {
            self.lines.push(format!("{}:{} {}x{}", place.segment, place.offset / BLOCK as u64, header.sequence, header.count));
            Ok(())
        }

        fn record(&mut self, record: &Record<'_>) -> Result<(), Halt> {
            self.lines.push(format!("{:?}", record.bytes));
            if self.enough_at == Some(record.last.0) { Err(Halt::Enough) } else { Ok(()) }
        }
    }

    #[test]
    fn batches_and_records_come_in_order_and_marks_too() {
        let dir = tempfile::tempdir().unwrap();
        let batch = |records: &[u8]| records.iter().map(|n| vec![*n]).collect::<Vec<_>>();
        write_log(dir.path(), &[batch(&[1, 2]), batch(&[3]), batch(&[4]), batch(&[5]), batch(&[6])]);
        let source = Source::open(dir.path()).unwrap();
        let mut seen = Seen::default();
        let ending = walk(&source, &mut seen, &mut Progress::new(true)).unwrap();
        let Ending::Plan(plan) = ending else { panic!("{ending:?}") };
        assert_eq!((plan.last, plan.batches, plan.durable_mark), (Zxid(6), 6, Zxid(6)));
        let want = ["1:1 1x2", "[1]", "[2]", "1:2 2x1", "[3]", "1:3 3x1", "[4]", "1:4 4x1", "[5]", "1:5 5x1", "[6]", "2:1 6x0"];
        assert_eq!(seen.lines, want);

        let mut seen = Seen { enough_at: Some(3), ..Seen::default() };
        assert!(matches!(walk(&source, &mut seen, &mut Progress::new(true)).unwrap(), Ending::Enough));
        assert_eq!(seen.lines, want[..5]);
    }
}
