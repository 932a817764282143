//! Scanner: reads the batches of one segment's bytes, and surveys what lies beyond the last that can be trusted.

use std::fmt;
use std::ops::Range;

use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;

use super::batch::{BATCH_HEADER, BatchError, BatchHeader, Records};
use super::block::{dirty, is_zero, round_up};

/// Why the run of good batches ends at a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Zeros, as in a segment not yet used; or the file ends.
    Blank,
    /// A batch of an older use of the segment.
    OldBytes,
    /// Something that is not a batch.
    Unreadable,
    /// A batch whose records do not match their checksum.
    Torn,
    /// A batch that leads beyond its file.
    Cut,
    /// An intact batch that is not the next one.
    Sequence,
    /// The next batch by number, but following another predecessor.
    Chain,
    /// An intact batch whose zxids do not follow.
    Order,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "nothing is written there",
            Self::OldBytes => "a batch of an older use of the segment is there",
            Self::Unreadable => "the batch header is unreadable",
            Self::Torn => "the records do not match their checksum",
            Self::Cut => "the file ends inside the batch",
            Self::Sequence => "the log is broken: another batch is in its place",
            Self::Chain => "the chain is broken: the batch follows another predecessor",
            Self::Order => "the zxids do not follow",
        })
    }
}

/// An intact batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// Checksum of the header: the chain value of its successor.
    pub crc: u32,
    /// Its records with their lengths, exactly `header.count` of them.
    pub payload: &'a [u8],
}

/// A block at which no intact batch begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bad {
    /// Why.
    pub reason: Reason,
    /// The header, if that much is intact and of this use of the segment.
    pub header: Option<BatchHeader>,
    /// The version of an intact header that this code cannot read.
    pub newer: Option<u32>,
}

impl Bad {
    const fn because(reason: Reason) -> Self {
        Self { reason, header: None, newer: None }
    }
}

/// Reads the batch at `offset`. `salt` is the segment's, or `None` if its header is lost; then any will do.
pub fn read(bytes: &[u8], salt: Option<u64>, offset: usize) -> Result<Batch<'_>, Bad> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let ours = |found: u64| salt.is_none_or(|salt| salt == found);
    let (header, crc) = match BatchHeader::decode(rest) {
        Ok(found) => found,
        Err(BatchError::Newer { version, salt }) if ours(salt) => {
            return Err(Bad { newer: Some(version), ..Bad::because(Reason::Unreadable) });
        }
        Err(_) if is_zero(&rest[..rest.len().min(BLOCK)]) => return Err(Bad::because(Reason::Blank)),
        Err(_) => return Err(Bad::because(Reason::Unreadable)),
    };
    if !ours(header.salt) {
        return Err(Bad::because(Reason::OldBytes));
    }
    let bad = |reason| Bad { header: Some(header), ..Bad::because(reason) };
    // The padding must be there too: the next batch begins after it.
    if header.framed_len() > rest.len() as u64 {
        return Err(bad(Reason::Cut));
    }
    let payload = &rest[BATCH_HEADER..BATCH_HEADER + header.payload_len as usize];
    if crc32fast::hash(payload) != header.payload_crc || !Records::new(payload).are_exactly(header.count) {
        return Err(bad(Reason::Torn));
    }
    Ok(Batch { header, crc, payload })
}

/// What lies in a segment from a block on, judged without trusting its order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Survey {
    /// The whole blocks outside which everything is zero.
    pub dirty: Option<Range<usize>>,
    /// The whole blocks outside which no readable header of this use of the segment lies, with the bytes their batches claim.
    pub ours: Option<Range<usize>>,
    /// Readable batch headers with at least the sequence asked for.
    pub headers: u64,
    /// Those of them whose records are intact too.
    pub intact: u64,
    /// Highest durable mark in any readable header.
    pub durable: Zxid,
    /// Highest last zxid in any readable header.
    pub last: Zxid,
    /// The version of an intact header that this code cannot read.
    pub newer: Option<u32>,
}

/// Looks at every block of `bytes` from `from` on. Headers before `sequence` do not count as batches of what follows.
///
/// A client's data cannot pose as a header: it would have to name the salt, which no client knows.
#[must_use]
pub fn survey(bytes: &[u8], salt: Option<u64>, from: usize, sequence: u64) -> Survey {
    let mut found = Survey { dirty: dirty(bytes, from), ..Survey::default() };
    let Some(range) = found.dirty.clone() else { return found };
    // Batches do not overlap, so checking them reads each byte once. Damage that makes them overlap is not worth more than that.
    let mut unchecked = bytes.len();
    let mut offset = range.start;
    while offset < range.end {
        let mut step = BLOCK;
        let head = &bytes[offset..bytes.len().min(offset + BLOCK)];
        match BatchHeader::decode(head) {
            Ok((header, _)) if salt.is_none_or(|salt| salt == header.salt) => {
                let counts = header.sequence >= sequence;
                // What it claims may be a lie; it ends with the file at the latest.
                let claimed = usize::try_from(header.framed_len()).unwrap_or(usize::MAX);
                let end = offset.saturating_add(claimed).min(round_up(bytes.len()));
                let before = found.ours.take().unwrap_or(offset..end);
                found.ours = Some(before.start..before.end.max(end));
                found.headers += u64::from(counts);
                found.last = found.last.max(header.last);
                if counts || salt.is_some() {
                    found.durable = found.durable.max(header.durable);
                }
                if let Some(left) = unchecked.checked_sub(header.payload_len as usize) {
                    unchecked = left;
                    if read(bytes, salt, offset).is_ok() {
                        found.intact += u64::from(counts);
                        step = usize::try_from(header.framed_len()).expect("an intact batch lies in memory");
                    }
                }
            }
            Err(BatchError::Newer { version, salt: other }) if salt.is_none_or(|salt| salt == other) => {
                found.newer = Some(version);
            }
            _ => {}
        }
        offset += step;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::appender::{Appender, Contents, Position};
    use crate::storage::batch::{framed_len, put_record};
    use crate::storage::segment::SegmentStart;
    use proptest::prelude::*;

    const SALT: u64 = 0x5a17;

    /// A segment of batches of the given payload sizes, each flushed before the next; the first block is left blank.
    fn segment(sizes: &[usize]) -> Vec<u8> {
        let start = SegmentStart { number: 1, salt: SALT, size: 1 << 20 };
        let mut log = Appender::new(Position::new_log(start), Zxid::ZERO);
        let mut bytes = vec![0; 1 << 20];
        for (i, size) in sizes.iter().enumerate() {
            let mut payload = Vec::new();
            put_record(&mut payload, &vec![i as u8 + 1; *size]);
            let zxid = Zxid(i as u64 + 1);
            let at = log.position().offset as usize;
            let out = &mut bytes[at..at + framed_len(payload.len())];
            let placed = log.frame_into(Contents { first: zxid, last: zxid, count: 1 }, &[&payload], zxid, out);
            log.flushed(placed.sequence);
        }
        bytes
    }

    #[test]
    fn reads_what_was_framed() {
        let bytes = segment(&[10, 5000]);
        let one = read(&bytes, Some(SALT), BLOCK).unwrap();
        assert_eq!((one.header.sequence, one.payload.len()), (1, 14));
        let two = read(&bytes, Some(SALT), 2 * BLOCK).unwrap();
        assert_eq!((two.header.chain, two.payload.len()), (one.crc, 5004));
        assert_eq!(read(&bytes, Some(SALT), 3 * BLOCK).unwrap_err().reason, Reason::Unreadable);
        assert_eq!(read(&bytes, Some(SALT), 4 * BLOCK).unwrap_err(), Bad::because(Reason::Blank));
        assert_eq!(read(&bytes, Some(SALT), 1 << 20).unwrap_err().reason, Reason::Blank);
        assert_eq!(read(&bytes, Some(SALT), 1 << 30).unwrap_err().reason, Reason::Blank);
        assert_eq!(read(&bytes, Some(1), BLOCK).unwrap_err(), Bad::because(Reason::OldBytes));
        assert!(read(&bytes, None, BLOCK).is_ok());
        let cut = read(&bytes[..3 * BLOCK], Some(SALT), 2 * BLOCK).unwrap_err();
        assert_eq!((cut.reason, cut.header.map(|h| h.sequence)), (Reason::Cut, Some(2)));
    }

    #[test]
    fn surveys_past_damage() {
        let mut bytes = segment(&[10, 5000, 10, 9000]);
        bytes[2 * BLOCK + BATCH_HEADER + 4500] ^= 1;
        assert_eq!(read(&bytes, Some(SALT), 2 * BLOCK).unwrap_err().reason, Reason::Torn);
        let all = survey(&bytes, Some(SALT), BLOCK, 1);
        assert_eq!((all.headers, all.intact, all.durable, all.last), (4, 3, Zxid(3), Zxid(4)));
        assert_eq!(all.dirty, Some(BLOCK..8 * BLOCK));
        assert_eq!(all.ours, all.dirty);
        bytes[9 * BLOCK + 7] = 1;
        let strange = survey(&bytes, Some(SALT), BLOCK, 1);
        assert_eq!((strange.dirty, strange.ours), (Some(BLOCK..10 * BLOCK), all.ours));
        bytes[9 * BLOCK + 7] = 0;
        let later = survey(&bytes, Some(SALT), 2 * BLOCK, 4);
        assert_eq!((later.headers, later.intact, later.durable), (1, 1, Zxid(3)));
        let others = survey(&bytes, Some(9), BLOCK, 1);
        assert_eq!((others.headers, others.ours), (0, None));
        assert_eq!(survey(&bytes, None, BLOCK, 1).headers, 4);
        assert_eq!(survey(&bytes, Some(SALT), 8 * BLOCK, 1), Survey::default());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_hold_no_batch(bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..3 * BLOCK)) {
            for offset in [0, BLOCK, 2 * BLOCK] {
                prop_assert!(read(&bytes, None, offset).is_err());
            }
            let found = survey(&bytes, None, 0, 0);
            prop_assert_eq!((found.headers, found.intact, found.durable), (0, 0, Zxid::ZERO));
            prop_assert_eq!(found.dirty.is_none(), is_zero(&bytes));
        }

        #[test]
        fn a_damaged_batch_is_noticed(at in 0..BATCH_HEADER + 5004, bit in 0..8u8) {
            let mut bytes = segment(&[10, 5000, 10]);
            bytes[2 * BLOCK + at] ^= 1 << bit;
            prop_assert!(read(&bytes, Some(SALT), 2 * BLOCK).is_err());
            prop_assert!(read(&bytes, Some(SALT), BLOCK).is_ok());
            prop_assert_eq!(survey(&bytes, Some(SALT), BLOCK, 1).intact, 2);
        }
    }
}
