//! Cut: how a log is shortened, so that whenever the power goes a start reads the log as it was, as it is to be, or in between.
//!
//! Batches behind the cut are erased one by one from the end on, each durably before the one before it: at every moment the log is
//! whole, only shorter. Erased together, a crash could leave a later one, whose header vouches for what is gone, and that looks like rot.
//! Where the cut goes through a batch, what stays of it is first written with the same sequence to the next blank segment: as long as the old
//! batch is there the copy comes too early to follow, and is ignored; once that is gone, it follows. Where that batch is the first of the log,
//! nothing would be left for the copy to follow: then the manifest says that the log begins with the copy's segment, and nothing is erased.
//! The watermark has to be lowered before all this: it would vouch for what goes.

use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;

use super::appender::Position;
use super::batch::{BATCH_HEADER, BatchHeader, Records, put_record};
use super::recovery::EraseRange;
use super::scanner::read;
use super::segment::SegmentStart;

/// What to do, in the order of the fields, once the watermark says no more than the cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Write this at offset 4096 of the blank segment, and make it durable. `None` where the cut lies between two batches; the blank segment
    /// stays blank then.
    pub rewritten: Option<Vec<u8>>,
    /// Then make the manifest say that this is the oldest segment, durably. The others, `files`, are of no use any more.
    pub oldest: Option<u64>,
    /// Write these as zeros, one after the other, each durable before the next.
    pub erase: Vec<EraseRange>,
    /// Segments of the log that are blank then and follow the one that is continued, ascending: as good as prepared ones.
    pub blank: Vec<SegmentStart>,
    /// Where the log goes on.
    pub position: Position,
}

/// The log does not hold the transaction at which it is to end. Nothing is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the log does not hold zxid {to}, at which it was to be cut")]
pub struct NotThere {
    /// The transaction.
    pub to: Zxid,
}

struct Located {
    file: usize,
    offset: usize,
    header: BatchHeader,
    crc: u32,
}

impl Located {
    fn erase(&self, files: &[(SegmentStart, &[u8])]) -> EraseRange {
        EraseRange { segment: files[self.file].0.number, offset: self.offset as u64, len: self.header.framed_len() }
    }
}

/// Plans to end the log at `to`. `files` are its segments with their bytes, ascending, all that hold anything after `to` and the one
/// before them, none of it in flight; `base` is the transaction before the first of them, or the image's that the log adds to; `blank` is the
/// prepared segment behind them; `zxid_of` reads a record's zxid.
pub fn cut(
    files: &[(SegmentStart, &[u8])],
    base: Zxid,
    to: Zxid,
    blank: SegmentStart,
    zxid_of: impl Fn(&[u8]) -> Option<Zxid>,
) -> Result<Cut, NotThere> {
    let batches = locate(files);
    let keep = batches.partition_point(|batch| batch.header.last <= to);
    let (kept, gone) = batches.split_at(keep);
    let mut erase: Vec<_> = gone.iter().rev().map(|batch| batch.erase(files)).collect();
    if let Some(split) = gone.first().filter(|batch| batch.header.count > 0 && batch.header.first <= to) {
        let (file, header) = (files[split.file].1, split.header);
        let payload = &file[split.offset + BATCH_HEADER..][..header.payload_len as usize];
        let (bytes, header, crc) = shorten(&header, payload, to, blank.salt, zxid_of)?;
        let position = Position {
            segment: blank,
            offset: BLOCK as u64 + bytes.len() as u64,
            sequence: header.sequence + 1,
            chain: crc,
            last: to,
            marked: header.durable,
        };
        let oldest = kept.is_empty().then_some(blank.number);
        if oldest.is_some() {
            erase.clear();
        }
        return Ok(Cut { rewritten: Some(bytes), oldest, erase, blank: Vec::new(), position });
    }
    let (segment, position) = match (kept.last(), gone.first()) {
        // Where an image stands behind the end of an older log, that log goes on after the image: nothing lies between.
        (Some(Located { file, offset, header, crc }), _) if header.last == to || (header.last < to && to == base) => {
            let at = Position::new_log(files[*file].0);
            let offset = *offset as u64 + header.framed_len();
            let marked = kept.iter().map(|batch| batch.header.durable).max().unwrap_or_default();
            (*file, Position { offset, sequence: header.sequence + 1, chain: *crc, last: header.last, marked, ..at })
        }
        // All of it goes: it begins anew with the batch that was its first.
        (None, Some(Located { file, header, .. })) if to == base => {
            let at = Position::new_log(files[*file].0);
            (*file, Position { sequence: header.sequence, chain: header.chain, last: to, ..at })
        }
        (None, None) if to == base => {
            erase.clear();
            let start = files.last().map_or(blank, |file| file.0);
            (files.len().saturating_sub(1), Position { last: to, ..Position::new_log(start) })
        }
        _ => return Err(NotThere { to }),
    };
    let blank = files.get(segment + 1..).unwrap_or_default().iter().map(|file| file.0).collect();
    Ok(Cut { rewritten: None, oldest: None, erase, blank, position })
}

fn locate(files: &[(SegmentStart, &[u8])]) -> Vec<Located> {
    let mut batches = Vec::new();
    for (i, (start, bytes)) in files.iter().enumerate() {
        let mut offset = BLOCK;
        while let Ok(batch) = read(bytes, Some(start.salt), offset) {
            // Behind the log's end there may be what it never grew to.
            if batches.last().is_some_and(|before: &Located| before.header.sequence + 1 != batch.header.sequence) {
                break;
            }
            batches.push(Located { file: i, offset, header: batch.header, crc: batch.crc });
            offset += usize::try_from(batch.header.framed_len()).expect("an intact batch lies in memory");
        }
    }
    batches
}

/// The batch up to `to`, framed for a segment with this salt.
fn shorten(
    header: &BatchHeader,
    payload: &[u8],
    to: Zxid,
    salt: u64,
    zxid_of: impl Fn(&[u8]) -> Option<Zxid>,
) -> Result<(Vec<u8>, BatchHeader, u32), NotThere> {
    let mut records = Vec::new();
    let mut count = 0;
    let mut last = None;
    for record in Records::new(payload).map_while(Result::ok) {
        let Some(zxid) = zxid_of(record).filter(|zxid| *zxid <= to) else { break };
        put_record(&mut records, record);
        count += 1;
        last = Some(zxid);
    }
    if last != Some(to) {
        return Err(NotThere { to });
    }
    let header = BatchHeader {
        salt,
        last: to,
        count,
        payload_len: u32::try_from(records.len()).expect("it is part of a batch"),
        payload_crc: crc32fast::hash(&records),
        committed: header.committed.min(to),
        ..*header
    };
    let (bytes, crc) = header.framed(&records);
    Ok((bytes, header, crc))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;
    use crate::ground::ids::ServerId;
    use crate::ground::time::WallMillis;
    use crate::storage::appender::{Appender, Contents};
    use crate::storage::recovery::{Plan, Recovery, Start};
    use crate::storage::segment::SegmentHeader;

    const SIZE: usize = 4 * BLOCK;

    fn start(number: u64) -> SegmentStart {
        SegmentStart { number, salt: number + 70, size: SIZE as u64 }
    }

    fn record(zxid: u64) -> Vec<u8> {
        zxid.to_be_bytes().to_vec()
    }

    fn zxid_of(record: &[u8]) -> Option<Zxid> {
        Some(Zxid(u64::from_be_bytes(record.try_into().ok()?)))
    }

    /// Three segments of three batches of three records, 1 to 27, and two blank ones.
    fn log() -> BTreeMap<u64, Vec<u8>> {
        let mut files = BTreeMap::new();
        for number in 1..=5 {
            let mut file = vec![0; SIZE];
            let header = SegmentHeader { start: start(number), server: ServerId(1), created: WallMillis(0), recycled: false };
            file[..BLOCK].copy_from_slice(&header.encode()[..]);
            files.insert(number, file);
        }
        let mut log = Appender::new(Position::new_log(start(1)), Zxid::ZERO);
        for batch in 0..9 {
            if !log.fits(BLOCK) {
                log.roll(start(log.position().segment.number + 1));
            }
            let mut payload = Vec::new();
            (1..=3).for_each(|i| put_record(&mut payload, &record(batch * 3 + i)));
            let mut out = vec![0; BLOCK];
            let contents = Contents { first: Zxid(batch * 3 + 1), last: Zxid(batch * 3 + 3), count: 3 };
            let at = log.frame_into(contents, &[&payload], log.durable(), &mut out);
            let from = usize::try_from(at.offset).unwrap();
            files.get_mut(&at.segment).unwrap()[from..from + BLOCK].copy_from_slice(&out);
            log.flushed(at.sequence);
        }
        files
    }

    fn recover(files: &BTreeMap<u64, Vec<u8>>, watermark: u64) -> (Plan, Vec<u64>) {
        let mut recovery = Recovery::with_watermark(Zxid(watermark));
        let mut records = Vec::new();
        for (number, file) in files {
            let visit = |record: crate::storage::recovery::Record<'_>| {
                records.push(zxid_of(record.bytes).unwrap().0);
                Ok::<(), Infallible>(())
            };
            recovery.segment(*number, file, visit).unwrap();
        }
        (recovery.finish().unwrap(), records)
    }

    fn plan(files: &BTreeMap<u64, Vec<u8>>, to: u64) -> Result<Cut, NotThere> {
        let in_use: Vec<_> = (1..=3).map(|number| (start(number), &files[&number][..])).collect();
        cut(&in_use, Zxid::ZERO, Zxid(to), start(4), zxid_of)
    }

    #[test]
    fn each_moment_of_it_can_be_started_from() {
        for to in 0..=27 {
            let mut files = log();
            let cut = plan(&files, to).unwrap();
            let expect = |files: &BTreeMap<u64, Vec<u8>>, is_done: bool| {
                let (plan, records) = recover(files, to);
                let len = records.len() as u64;
                assert_eq!(records, (1..=len).collect::<Vec<_>>(), "to {to}");
                assert!(if is_done { len == to } else { len >= to }, "to {to}: {len}");
                plan
            };
            expect(&files, to == 27);
            if let Some(bytes) = &cut.rewritten {
                files.get_mut(&4).unwrap()[BLOCK..2 * BLOCK].copy_from_slice(bytes);
                expect(&files, false);
            }
            for range in &cut.erase {
                let from = usize::try_from(range.offset).unwrap();
                // The header's sector may go before the others, or after them.
                for half in [from..from + 512, from + 512..from + BLOCK] {
                    let mut torn = files.clone();
                    torn.get_mut(&range.segment).unwrap()[half].fill(0);
                    expect(&torn, false);
                }
                files.get_mut(&range.segment).unwrap()[from..from + BLOCK].fill(0);
                expect(&files, false);
            }
            if let Some(oldest) = cut.oldest {
                assert!((1..3).contains(&to), "only the first batch has none before it");
                files.retain(|number, _| *number >= oldest);
            }
            let plan = expect(&files, true);
            assert!(plan.erase.is_empty());
            let Start::Continue(found) = plan.start else { panic!("the log is there") };
            if to > 0 {
                assert_eq!(found, cut.position, "to {to}");
            }
            let blank: Vec<_> = cut.blank.iter().map(|start| start.number).collect();
            assert_eq!(blank, (cut.position.segment.number + 1..4).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_log_that_went_on_after_an_image_ends_at_the_image() {
        let files = log();
        let in_use: Vec<_> = (1..=2).map(|number| (start(number), &files[&number][..])).collect();
        // Nothing of it is behind the image, or what is has to go.
        let none = cut(&in_use, Zxid(20), Zxid(20), start(3), zxid_of).unwrap();
        assert_eq!((none.position.last, none.position.segment.number, none.erase.len()), (Zxid(18), 2, 0));
        let mut files = files;
        let third = files.get_mut(&3).unwrap();
        let (header, _) = BatchHeader::decode(&third[BLOCK..]).unwrap();
        // As if 19 to 21 were 23 to 25.
        let mut payload = Vec::new();
        (23..=25).for_each(|i| put_record(&mut payload, &record(i)));
        let crc = crc32fast::hash(&payload);
        third[BLOCK + BATCH_HEADER..][..payload.len()].copy_from_slice(&payload);
        BatchHeader { first: Zxid(23), last: Zxid(25), payload_crc: crc, ..header }.encode(&mut third[BLOCK..]);
        third[2 * BLOCK..].fill(0);
        let in_use: Vec<_> = (1..=3).map(|number| (start(number), &files[&number][..])).collect();
        let all = cut(&in_use, Zxid(22), Zxid(22), start(4), zxid_of).unwrap();
        assert_eq!((all.position.last, all.position.segment.number, all.erase.len()), (Zxid(18), 2, 1));
        assert_eq!(cut(&in_use, Zxid(22), Zxid(20), start(4), zxid_of), Err(NotThere { to: Zxid(20) }));
    }

    #[test]
    fn what_is_not_there_is_no_end() {
        assert_eq!(plan(&log(), 28), Err(NotThere { to: Zxid(28) }));
        let none = cut(&[], Zxid(9), Zxid(9), start(1), zxid_of).unwrap();
        assert_eq!((none.position.last, none.erase.len()), (Zxid(9), 0));
        assert_eq!(cut(&[], Zxid(9), Zxid(8), start(1), zxid_of), Err(NotThere { to: Zxid(8) }));
    }
}
