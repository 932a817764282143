//! Restart: a log that begins anew behind a state, in blank segments, with the transactions that follow it.
//!
//! Its batches say nothing of what is durable or committed. Until the manifest names its first segment it is nothing but what stands
//! behind the end of the old log, and there a word of what is durable would be taken for one about that.

use crate::ground::ids::Zxid;
use crate::ground::limits::{BATCH_BYTES_DEFAULT, BLOCK};

use super::appender::Position;
use super::batch::{BatchHeader, framed_len, put_record};
use super::segment::SegmentStart;
use super::selection::{Begin, Extent};

/// A part of a segment to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fill {
    /// The segment.
    pub segment: u64,
    /// Byte in it, a multiple of 4096.
    pub offset: u64,
    /// Whole blocks.
    pub bytes: Vec<u8>,
}

/// A new log. Write it, make it durable, lower the watermark to its end, then make the manifest say that it begins with its first segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restart {
    /// What to write.
    pub fill: Vec<Fill>,
    /// Its segments.
    pub segments: Vec<Extent>,
    /// The segments that it has no use for.
    pub blank: Vec<SegmentStart>,
    /// Its last transaction, or that of the state.
    pub last: Zxid,
    /// Where it goes on.
    pub position: Position,
}

/// Lengths of the batches that records of these lengths make: how many of them go into one.
fn batches(lens: &[usize], room: u64) -> Option<Vec<usize>> {
    let mut counts = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for len in lens {
        let more = bytes + 4 + len;
        if count > 0 && (more > BATCH_BYTES_DEFAULT || framed_len(more) as u64 > room) {
            counts.push(count);
            (count, bytes) = (0, 0);
        }
        count += 1;
        bytes += 4 + len;
        if framed_len(bytes) as u64 > room {
            return None;
        }
    }
    counts.extend((count > 0).then_some(count));
    Some(counts)
}

/// Room for batches in each of these segments: that of the smallest, so that each batch goes into any of them.
fn room(blank: &[SegmentStart]) -> u64 {
    blank.iter().map(|start| start.size).min().unwrap_or(0).saturating_sub(BLOCK as u64)
}

/// Whether [`restart`] finds room for records of these lengths in so many blank segments.
#[must_use]
pub fn is_enough(blank: &[SegmentStart], lens: &[usize]) -> bool {
    let Some(counts) = batches(lens, room(blank)).filter(|_| !blank.is_empty()) else { return false };
    let (mut segments, mut offset, mut rest) = (blank.iter(), u64::MAX, lens);
    let mut size = 0;
    for count in counts {
        let (records, later) = rest.split_at(count);
        rest = later;
        let len = framed_len(records.iter().map(|len| 4 + len).sum()) as u64;
        if offset.saturating_add(len) > size {
            let Some(next) = segments.next() else { return false };
            (offset, size) = (BLOCK as u64, next.size);
        }
        offset += len;
    }
    true
}

/// Plans a log behind the state at `at` with the transactions of `tail`, ascending, in `blank` segments, ascending. `None` where these are
/// too few.
#[must_use]
pub fn restart(blank: &[SegmentStart], at: Zxid, tail: &[(Zxid, &[u8])]) -> Option<Restart> {
    let room = room(blank);
    let (first, mut blank) = blank.split_first()?;
    let lens: Vec<_> = tail.iter().map(|(_, bytes)| bytes.len()).collect();
    let mut position = Position::new_log(*first);
    let extent = |start: &SegmentStart, after, sequence| Extent {
        number: start.number,
        begin: Some(Begin { after, sequence }),
        bytes: start.size,
    };
    let mut segments = vec![extent(first, at, 1)];
    let (mut fill, mut rest, mut last) = (Vec::new(), tail, at);
    for count in batches(&lens, room)? {
        let (records, later) = rest.split_at(count);
        rest = later;
        let mut payload = Vec::new();
        records.iter().for_each(|(_, bytes)| put_record(&mut payload, bytes));
        let len = framed_len(payload.len());
        if position.offset + len as u64 > position.segment.size {
            let (next, others) = blank.split_first()?;
            blank = others;
            segments.push(extent(next, last, position.sequence));
            position = Position { segment: *next, offset: BLOCK as u64, ..position };
        }
        let (first, end) = (records[0].0, records[count - 1].0);
        assert!(first > last && end >= first, "transactions rise: {first} to {end} after {last}");
        let header = BatchHeader {
            salt: position.segment.salt,
            sequence: position.sequence,
            first,
            last: end,
            count: u32::try_from(count).expect("a batch is bounded by its bytes"),
            payload_len: u32::try_from(payload.len()).expect("a batch is bounded by its bytes"),
            payload_crc: crc32fast::hash(&payload),
            chain: position.chain,
            durable: Zxid::ZERO,
            committed: Zxid::ZERO,
        };
        let (bytes, chain) = header.framed(&payload);
        fill.push(Fill { segment: position.segment.number, offset: position.offset, bytes });
        let (offset, sequence) = (position.offset + len as u64, position.sequence + 1);
        position = Position { offset, sequence, chain, last: end, ..position };
        last = end;
    }
    Some(Restart { fill, segments, blank: blank.to_vec(), last, position })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;
    use crate::ground::ids::ServerId;
    use crate::ground::time::WallMillis;
    use crate::storage::appender::{Appender, Contents};
    use crate::storage::recovery::{Known, Plan, Recovery, Start};
    use crate::storage::segment::SegmentHeader;

    const SIZE: usize = 4 * BLOCK;

    fn start(number: u64) -> SegmentStart {
        SegmentStart { number, salt: number + 70, size: SIZE as u64 }
    }

    fn blank(number: u64) -> Vec<u8> {
        let header = SegmentHeader { start: start(number), server: ServerId(1), created: WallMillis(0), recycled: false };
        let mut file = vec![0; SIZE];
        file[..BLOCK].copy_from_slice(&header.encode()[..]);
        file
    }

    fn recover(files: &BTreeMap<u64, Vec<u8>>, known: Known) -> (Plan, Vec<u64>) {
        let mut recovery = Recovery::knowing(known);
        let mut lens = Vec::new();
        for (number, file) in files {
            let visit = |record: crate::storage::recovery::Record<'_>| {
                lens.push(record.bytes.len() as u64);
                Ok::<(), Infallible>(())
            };
            recovery.segment(*number, file, visit).unwrap();
        }
        (recovery.finish().unwrap(), lens)
    }

    #[test]
    fn each_moment_finds_the_old_log_and_the_manifest_finds_the_new_one() {
        // An old log of `old` transactions in segment 1, each a batch, and a new one behind a state at 100.
        for old in 0..3u64 {
            let mut files: BTreeMap<_, _> = (1..=9).map(|number| (number, blank(number))).collect();
            let mut log = Appender::new(Position::new_log(start(1)), Zxid::ZERO);
            for zxid in 1..=old {
                let mut payload = Vec::new();
                put_record(&mut payload, &[1; 1]);
                let mut out = vec![0; BLOCK];
                let contents = Contents { first: Zxid(zxid), last: Zxid(zxid), count: 1 };
                let at = log.frame_into(contents, &[&payload], Zxid::ZERO, &mut out);
                let from = usize::try_from(at.offset).unwrap();
                files.get_mut(&1).unwrap()[from..from + BLOCK].copy_from_slice(&out);
                log.flushed(at.sequence);
            }
            let bodies: Vec<Vec<u8>> = (1..=30).map(|i| vec![7; i * 97]).collect();
            let tail: Vec<_> = (101..).map(Zxid).zip(bodies.iter().map(|body| &body[..])).collect();
            let starts: Vec<_> = (2..=9).map(start).collect();
            let too_few = (1..8).take_while(|count| restart(&starts[..*count], Zxid(100), &tail).is_none()).count();
            assert!(too_few > 2 && restart(&[], Zxid(100), &tail).is_none());
            let lens: Vec<_> = bodies.iter().map(Vec::len).collect();
            assert!((0..8).all(|count| is_enough(&starts[..count], &lens) == (count > too_few)));
            let plan = restart(&starts, Zxid(100), &tail).unwrap();
            assert_eq!(plan.blank.len(), 8 - 1 - too_few);
            let known = Known { durable: Zxid(old), image: Zxid::ZERO, newest: Zxid::ZERO };
            // With the image under its name already, and before.
            for image in [Zxid::ZERO, Zxid(100)] {
                let mut files = files.clone();
                for fill in &plan.fill {
                    let (found, lens) = recover(&files, Known { image, ..known });
                    assert_eq!(found.last, Zxid(old));
                    assert_eq!(lens.len() as u64, if image == Zxid::ZERO { old } else { 0 });
                    let from = usize::try_from(fill.offset).unwrap();
                    files.get_mut(&fill.segment).unwrap()[from..from + fill.bytes.len()].copy_from_slice(&fill.bytes);
                }
                recover(&files, Known { image, ..known });
                files.remove(&1);
                let known = Known { durable: Zxid(old.min(130)), image: Zxid(100), newest: Zxid(100) };
                let (found, lens) = recover(&files, known);
                assert_eq!((found.last, lens), (Zxid(130), bodies.iter().map(|body| body.len() as u64).collect()));
                assert_eq!(found.start, Start::Continue(plan.position));
                assert_eq!(plan.segments.len() + plan.blank.len(), 8);
            }
        }
        let none = restart(&[start(4), start(5)], Zxid(9), &[]).unwrap();
        assert_eq!((none.fill.len(), none.last, none.position), (0, Zxid(9), Position::new_log(start(4))));
        assert_eq!(none.segments[0].begin, Some(Begin { after: Zxid(9), sequence: 1 }));
    }

    #[test]
    fn a_transaction_too_large_for_a_segment_is_none() {
        assert!(restart(&[start(4), start(5)], Zxid(9), &[(Zxid(10), &[0; SIZE])]).is_none());
        assert!(!is_enough(&[start(4), start(5)], &[SIZE]) && is_enough(&[start(4)], &[]) && !is_enough(&[], &[]));
    }
}
