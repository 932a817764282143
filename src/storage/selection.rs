//! Selection: which segments a start reads, which are only kept for older images, and which are leftovers.

use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;

use super::batch::BatchHeader;
use super::refusal::Refusal;
use super::scanner::survey;
use super::segment::{FORMAT, HeaderError, SegmentHeader};

/// Bytes from the beginning of a segment that [`Extent::of`] wants to see.
pub const HEAD: usize = 2 * BLOCK;

/// Where the log stood when it arrived at a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// All transactions of the segment and of later ones come after this zxid.
    pub after: Zxid,
    /// Sequence of its first batch.
    pub sequence: u64,
}

/// One segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Its number.
    pub number: u64,
    /// `None` in a spare, and where that is unreadable.
    pub begin: Option<Begin>,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Extent {
    /// What the first [`HEAD`] bytes of a segment of `bytes` bytes say.
    #[must_use]
    pub fn of(number: u64, head: &[u8], bytes: u64) -> Self {
        let salt = SegmentHeader::decode(number, head).ok().map(|header| header.start.salt);
        let first = head.get(BLOCK..).and_then(|rest| BatchHeader::decode(rest).ok()).map(|(header, _)| header);
        let first = first.filter(|header| Some(header.salt) == salt);
        // A mark repeats the zxid before it.
        let begin = first.map(|header| {
            let after = if header.count == 0 { header.first } else { Zxid(header.first.0.saturating_sub(1)) };
            Begin { after, sequence: header.sequence }
        });
        Self { number, begin, bytes }
    }

    /// Whether some of its transactions may come at or before `zxid`.
    #[must_use]
    pub fn begins_before(&self, zxid: Zxid) -> bool {
        self.begin.is_some_and(|begin| begin.after < zxid)
    }
}

/// The index of the segment with which a replay after `image` begins: the last one that begins before `image`, so that the
/// transaction at which the image stands, which was durable, is in it and what follows can be tied to it.
///
/// A log that begins behind others is a restart that the manifest does not know of yet. It may stand behind an older state than theirs, be
/// torn, and is nothing but what lies behind their end. Its first batch is durable before anything else of it is written.
#[must_use]
pub fn replay_from(segments: &[Extent], image: Zxid) -> usize {
    let is_root = |segment: &Extent| segment.begin.is_some_and(|begin| begin.sequence == 1);
    let whole = segments.iter().skip(1).position(is_root).map_or(segments.len(), |at| at + 1);
    segments[..whole].iter().rposition(|segment| segment.begins_before(image)).unwrap_or(0)
}

/// What a start does with the segments that there are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Selection {
    /// Older than the manifest's oldest: removed once the start has succeeded.
    pub leftovers: Vec<u64>,
    /// Kept for older images, not read.
    pub kept: Vec<Extent>,
    /// Read, in this order.
    pub read: Vec<Extent>,
}

impl Selection {
    /// Sorts `segments`, ascending, given the oldest that must be there (0 where none is known) and the image that was loaded (zero
    /// for none). Refused if the oldest, or one before those that are read, is missing (row 6).
    pub fn of(segments: &[Extent], oldest: u64, image: Zxid) -> Result<Self, Refusal> {
        let (leftovers, needed) = segments.split_at(segments.partition_point(|segment| segment.number < oldest));
        let missing = |segment, good| Err(Refusal::Missing { segment, good });
        if oldest > 0 && needed.first().is_none_or(|first| first.number != oldest) {
            return missing(oldest, image);
        }
        let (kept, read) = needed.split_at(replay_from(needed, image));
        for pair in needed[..(kept.len() + 1).min(needed.len())].windows(2) {
            if pair[1].number != pair[0].number + 1 {
                return missing(pair[0].number + 1, pair[0].begin.map_or(Zxid::ZERO, |begin| begin.after));
            }
        }
        Ok(Self { leftovers: leftovers.iter().map(|segment| segment.number).collect(), kept: kept.to_vec(), read: read.to_vec() })
    }
}

/// Whether the file of segment `number`, which a start does not read, holds nothing that `image` does not hold. Its number says so where
/// its header bears it; else its batches have to, for it may be a later segment under another's name. One may lie in the header's place.
pub fn superseded(number: u64, file: &[u8], image: Zxid) -> Result<(), Refusal> {
    match SegmentHeader::decode(number, file) {
        Ok(_) => Ok(()),
        Err(HeaderError::Newer(version)) => {
            Err(Refusal::Newer { segment: number, offset: 0, version, known: FORMAT, good: image })
        }
        Err(error) if survey(file, None, 0, 0).last > image => Err(Refusal::Header { segment: number, error, good: image }),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::ServerId;
    use crate::ground::time::WallMillis;
    use crate::storage::appender::{Appender, Contents, Position};
    use crate::storage::batch::put_record;
    use crate::storage::segment::SegmentStart;

    fn extents(afters: &[(u64, Option<u64>)]) -> Vec<Extent> {
        let begin = |after: Option<u64>| after.map(|after| Begin { after: Zxid(after), sequence: after + 1 });
        afters.iter().map(|&(number, after)| Extent { number, begin: begin(after), bytes: 100 }).collect()
    }

    #[test]
    fn a_head_tells_where_the_log_stood() {
        let start = SegmentStart { number: 4, salt: 9, size: 8 * BLOCK as u64 };
        let header = SegmentHeader { start, server: ServerId(1), created: WallMillis(0), recycled: false };
        let mut head = vec![0; HEAD];
        head[..BLOCK].copy_from_slice(&header.encode()[..]);
        let extent = |head: &[u8]| Extent::of(4, head, 100);
        assert_eq!(extent(&head), Extent { number: 4, begin: None, bytes: 100 });
        let mut log = Appender::new(Position::new_log(start), Zxid(70));
        let mut payload = Vec::new();
        put_record(&mut payload, b"r");
        log.frame_into(Contents { first: Zxid(71), last: Zxid(71), count: 1 }, &[&payload], Zxid(0), &mut head[BLOCK..]);
        let begin = Some(Begin { after: Zxid(70), sequence: 1 });
        assert_eq!(extent(&head).begin, begin);
        assert_eq!(extent(&head[..BLOCK + 79]).begin, None);
        let mut log = Appender::new(Position::new_log(start), Zxid(70));
        log.mark_into(Zxid(0), &mut head[BLOCK..]);
        assert_eq!(extent(&head).begin, begin, "a mark repeats the zxid before it");
        let mut log = Appender::new(Position::new_log(SegmentStart { salt: 8, ..start }), Zxid(70));
        log.mark_into(Zxid(0), &mut head[BLOCK..]);
        assert_eq!(extent(&head).begin, None, "bytes of an older use");
        head[100] ^= 1;
        assert_eq!(extent(&head).begin, None, "the salt is not known");
    }

    #[test]
    fn reads_from_the_segment_that_holds_the_image() {
        let all = extents(&[(5, Some(0)), (6, Some(10)), (7, Some(20)), (8, None)]);
        let from = |image| replay_from(&all, Zxid(image));
        assert_eq!([from(0), from(1), from(10), from(11), from(20), from(21), from(99)], [0, 0, 0, 1, 1, 2, 2]);
        let begin = |after, sequence| Some(Begin { after: Zxid(after), sequence });
        let mut restarted = all.clone();
        (restarted[2].begin, restarted[3].begin) = (begin(3, 1), begin(9, 2));
        assert_eq!(
            [5, 11, 99].map(|image| replay_from(&restarted, Zxid(image))),
            [0, 1, 1],
            "a restart that is not in force is no beginning"
        );
        assert_eq!(replay_from(&restarted[2..], Zxid(99)), 1, "one that is in force is");
        let selection = Selection::of(&all, 6, Zxid(21)).unwrap();
        assert_eq!((selection.leftovers, &selection.kept[..], &selection.read[..]), (vec![5], &all[1..2], &all[2..]));
        assert_eq!(Selection::of(&[], 0, Zxid(0)), Ok(Selection::default()));
    }

    #[test]
    fn what_must_be_there_is_missed() {
        let all = extents(&[(5, Some(0)), (7, Some(20)), (8, Some(30)), (9, None)]);
        let missing =
            |oldest, image| Selection::of(&all, oldest, Zxid(image)).map_err(|refusal| refusal.to_string()).unwrap_err();
        assert!(missing(4, 0).starts_with("log.0000000000000004 missing"));
        assert!(missing(6, 50).starts_with("log.0000000000000006 missing"));
        assert!(missing(5, 50).starts_with("log.0000000000000006 missing"));
        assert!(missing(10, 50).starts_with("log.000000000000000a missing"));
        // Among those that are read, recovery judges: a gap before nothing but spares is no loss.
        assert_eq!(Selection::of(&all, 5, Zxid::ZERO).unwrap().read, all);
        assert_eq!(Selection::of(&[], 1, Zxid::ZERO).unwrap_err(), Refusal::Missing { segment: 1, good: Zxid::ZERO });
    }

    #[test]
    fn what_is_not_read_holds_nothing_later() {
        let start = SegmentStart { number: 9, salt: 7, size: 4 * BLOCK as u64 };
        let mut file = vec![0; 4 * BLOCK];
        let header = SegmentHeader { start, server: ServerId(1), created: WallMillis(0), recycled: false };
        file[..BLOCK].copy_from_slice(&header.encode()[..]);
        let mut log = Appender::new(Position::new_log(start), Zxid(70));
        let mut payload = Vec::new();
        put_record(&mut payload, b"r");
        log.frame_into(Contents { first: Zxid(71), last: Zxid(71), count: 1 }, &[&payload], Zxid(0), &mut file[BLOCK..2 * BLOCK]);
        assert_eq!(superseded(9, &file, Zxid(70)), Ok(()), "it is what it is called");
        let error = HeaderError::Misnamed(9);
        assert_eq!(superseded(3, &file, Zxid(70)), Err(Refusal::Header { segment: 3, error, good: Zxid(70) }));
        assert_eq!(superseded(3, &file, Zxid(71)), Ok(()));
        file[8] ^= 1;
        let error = HeaderError::Damaged;
        assert_eq!(superseded(9, &file, Zxid(70)), Err(Refusal::Header { segment: 9, error, good: Zxid(70) }));
        assert_eq!(superseded(9, &file[..BLOCK], Zxid(70)), Ok(()), "nothing is there");
        let error = HeaderError::Damaged;
        file.copy_within(BLOCK..2 * BLOCK, 0);
        file[BLOCK..].fill(0);
        assert_eq!(superseded(9, &file, Zxid(70)), Err(Refusal::Header { segment: 9, error, good: Zxid(70) }), "in its place");
    }
}
