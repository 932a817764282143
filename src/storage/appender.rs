//! Appender: where the log stands, and the flushes on their way to the disk.

use std::collections::VecDeque;

use crate::ground::ids::Zxid;
use crate::ground::limits::{BLOCK, FLIGHTS_MAX};

use super::batch::{BATCH_HEADER, BatchHeader, Records, framed_len};
use super::segment::SegmentStart;

/// The point from which a log is continued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The segment.
    pub segment: SegmentStart,
    /// Byte in it at which the next batch begins.
    pub offset: u64,
    /// Sequence of the next batch; 1 in a new log.
    pub sequence: u64,
    /// Chain value of the next batch; 0 in a new log.
    pub chain: u32,
    /// Last zxid in the log; zero in a new log.
    pub last: Zxid,
    /// Highest durable mark written in the log.
    pub marked: Zxid,
}

impl Position {
    /// The beginning of a new log in `segment`, whose header is durable.
    #[must_use]
    pub const fn new_log(segment: SegmentStart) -> Self {
        Self { segment, offset: BLOCK as u64, sequence: 1, chain: 0, last: Zxid::ZERO, marked: Zxid::ZERO }
    }
}

/// What a batch of records is, beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Zxid of the first record.
    pub first: Zxid,
    /// Zxid of the last record.
    pub last: Zxid,
    /// Number of records, at least 1.
    pub count: u32,
}

/// Where a framed batch is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Number of the segment.
    pub segment: u64,
    /// Byte in it, a multiple of 4096.
    pub offset: u64,
    /// Bytes to write, a multiple of 4096.
    pub len: usize,
    /// Its sequence, by which [`Appender::flushed`] knows it.
    pub sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    last: Zxid,
    done: bool,
}

/// Frames batches one after the other and turns flushes, which end in any order, into one durable mark.
#[derive(Debug)]
pub struct Appender {
    at: Position,
    /// Batches framed whose flush, or the flush of one before, has not ended; the newest has sequence `at.sequence - 1`.
    flights: VecDeque<Flight>,
    /// Last zxid of the longest flushed run from the log's beginning; what headers carry.
    proved: Zxid,
    /// Last zxid that is durable outside the log, in an image.
    base: Zxid,
}

impl Appender {
    /// Continues a log at `at`, a new one or one whose recovery plan has been carried out, so that all of it is durable.
    /// `base` is the zxid of the image that the log adds to, or zero: if the log ends before it, the log goes on after it.
    #[must_use]
    pub fn new(at: Position, base: Zxid) -> Self {
        assert!(at.offset.is_multiple_of(BLOCK as u64) && at.offset >= BLOCK as u64 && at.offset <= at.segment.size);
        assert!(at.marked <= at.last, "a durable mark lies within the log");
        let last = at.last.max(base);
        let flights = VecDeque::with_capacity(FLIGHTS_MAX);
        Self { at: Position { last, ..at }, flights, proved: at.last, base }
    }

    /// Where the next batch goes.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.at
    }

    /// Last zxid framed, or the base.
    #[must_use]
    pub const fn last(&self) -> Zxid {
        self.at.last
    }

    /// Everything up to this zxid survives a crash.
    #[must_use]
    pub fn durable(&self) -> Zxid {
        self.proved.max(self.base)
    }

    /// Batches framed that are not yet part of the durable run; those already flushed behind a slower one count.
    /// At [`FLIGHTS_MAX`] nothing more may be framed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether a batch of `len` framed bytes still goes into this segment; if not, [`roll`](Self::roll) first.
    #[must_use]
    pub const fn fits(&self, len: usize) -> bool {
        len as u64 <= self.at.segment.size - self.at.offset
    }

    /// Whether more is durable than any header says: then a mark is worth writing when idle, and due before a clean stop.
    #[must_use]
    pub fn wants_mark(&self) -> bool {
        self.proved > self.at.marked
    }

    /// Goes on in the next segment, whose header is durable. Flushes in flight stay so.
    ///
    /// # Panics
    /// If `next` is not the segment after this one.
    pub fn roll(&mut self, next: SegmentStart) {
        assert_eq!(Some(next.number), self.at.segment.number.checked_add(1), "segments follow one another");
        self.at.segment = next;
        self.at.offset = BLOCK as u64;
    }

    /// Frames a batch into `out`, which has exactly [`framed_len`] bytes: header, the parts of the payload in order, zeros.
    /// The payload is copied once. `committed` is the committed mark known now.
    ///
    /// # Panics
    /// If the zxids do not follow the log, the batch does not fit, or too many flushes are in flight: the caller's invariants.
    pub fn frame_into(&mut self, contents: Contents, payload: &[&[u8]], committed: Zxid, out: &mut [u8]) -> Placement {
        let mut at = BATCH_HEADER;
        for part in payload {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.seal(contents, at - BATCH_HEADER, committed, out)
    }

    /// As [`frame_into`](Self::frame_into) for a payload that the caller has built in place: `payload_len` bytes of `out` from
    /// [`BATCH_HEADER`] on.
    ///
    /// # Panics
    /// As [`frame_into`](Self::frame_into).
    pub fn seal(&mut self, contents: Contents, payload_len: usize, committed: Zxid, out: &mut [u8]) -> Placement {
        let Contents { first, last, count } = contents;
        assert!(first > self.at.last, "zxids only rise: {first} after {}", self.at.last);
        assert!(count > 0, "a batch without records is a mark");
        debug_assert!(Records::new(&out[BATCH_HEADER..BATCH_HEADER + payload_len]).are_exactly(count));
        self.close(first, last, count, payload_len, committed, out)
    }

    /// Frames a mark, a batch without records, into one block.
    ///
    /// # Panics
    /// As [`frame_into`](Self::frame_into).
    pub fn mark_into(&mut self, committed: Zxid, out: &mut [u8]) -> Placement {
        self.close(self.at.last, self.at.last, 0, 0, committed, out)
    }

    fn close(&mut self, first: Zxid, last: Zxid, count: u32, len: usize, committed: Zxid, out: &mut [u8]) -> Placement {
        assert!(self.flights.len() < FLIGHTS_MAX, "the caller keeps to the flights allowed");
        assert_eq!(out.len(), framed_len(len), "the buffer is the framed length");
        assert!(self.fits(out.len()), "the caller rolls to the next segment in time");
        let (payload, padding) = out[BATCH_HEADER..].split_at_mut(len);
        padding.fill(0);
        let header = BatchHeader {
            salt: self.at.segment.salt,
            sequence: self.at.sequence,
            first,
            last,
            count,
            payload_len: u32::try_from(len).expect("a batch is bounded by BATCH_BYTES_MAX"),
            payload_crc: crc32fast::hash(payload),
            chain: self.at.chain,
            durable: self.proved,
            committed,
        };
        assert!(header.plausible(), "contents agree with their zxids: {header:?}");
        let placement =
            Placement { segment: self.at.segment.number, offset: self.at.offset, len: out.len(), sequence: self.at.sequence };
        self.at.chain = header.encode(out);
        self.at.offset += out.len() as u64;
        self.at.sequence += 1;
        self.at.last = last;
        self.at.marked = self.proved;
        self.flights.push_back(Flight { last, done: false });
        placement
    }

    /// The flush of batch `sequence` ended well; flushes end in any order. Returns the durable mark if it rose: everything up to
    /// it may be acknowledged.
    ///
    /// # Panics
    /// If that batch is not in flight.
    pub fn flushed(&mut self, sequence: u64) -> Option<Zxid> {
        let oldest = self.at.sequence - self.flights.len() as u64;
        let flight = sequence.checked_sub(oldest).and_then(|i| self.flights.get_mut(usize::try_from(i).ok()?));
        let flight = flight.expect("a flush that ends was in flight");
        assert!(!flight.done, "a flush ends once");
        flight.done = true;
        let before = self.durable();
        while let Some(flight) = self.flights.front().copied().filter(|f| f.done) {
            self.flights.pop_front();
            self.proved = flight.last;
        }
        Some(self.durable()).filter(|durable| *durable > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::batch::put_record;

    fn segment(number: u64) -> SegmentStart {
        SegmentStart { number, salt: 77 + number, size: 4 * BLOCK as u64 }
    }

    fn payload(records: &[&[u8]]) -> Vec<u8> {
        let mut payload = Vec::new();
        records.iter().for_each(|r| put_record(&mut payload, r));
        payload
    }

    fn add(log: &mut Appender, zxid: u64) -> Placement {
        let payload = payload(&[b"r"]);
        let mut out = vec![0xee; framed_len(payload.len())];
        log.frame_into(Contents { first: Zxid(zxid), last: Zxid(zxid), count: 1 }, &[&payload], Zxid(zxid - 1), &mut out)
    }

    #[test]
    fn frames_header_payload_and_zeros() {
        let mut log = Appender::new(Position::new_log(segment(1)), Zxid::ZERO);
        let records = payload(&[b"one", b"", b"three"]);
        let mut out = vec![0xee; framed_len(records.len())];
        let contents = Contents { first: Zxid(5), last: Zxid(7), count: 3 };
        let placement = log.frame_into(contents, &[&records[..4], &records[4..]], Zxid(4), &mut out);
        assert_eq!(placement, Placement { segment: 1, offset: 4096, len: 4096, sequence: 1 });
        let (header, crc) = BatchHeader::decode(&out).unwrap();
        assert_eq!((header.salt, header.sequence, header.chain), (78, 1, 0));
        assert_eq!((header.first, header.last, header.count), (Zxid(5), Zxid(7), 3));
        assert_eq!((header.durable, header.committed), (Zxid::ZERO, Zxid(4)));
        assert_eq!(header.payload_crc, crc32fast::hash(&records));
        assert_eq!(out[BATCH_HEADER..BATCH_HEADER + records.len()], records);
        assert!(out[BATCH_HEADER + records.len()..].iter().all(|b| *b == 0));
        assert_eq!((log.position().chain, log.position().offset, log.last()), (crc, 8192, Zxid(7)));
    }

    #[test]
    fn durable_is_the_contiguous_prefix() {
        let mut log = Appender::new(Position::new_log(segment(1)), Zxid::ZERO);
        for zxid in 1..=3 {
            add(&mut log, zxid);
        }
        assert!(!log.fits(BLOCK));
        log.roll(segment(2));
        add(&mut log, 9);
        assert_eq!(log.in_flight(), 4);
        assert_eq!(log.flushed(2), None);
        assert_eq!(log.flushed(4), None);
        assert_eq!((log.durable(), log.wants_mark()), (Zxid::ZERO, false));
        assert_eq!(log.flushed(1), Some(Zxid(2)));
        assert_eq!((log.in_flight(), log.wants_mark()), (2, true));
        assert_eq!(log.flushed(3), Some(Zxid(9)));
        assert_eq!((log.in_flight(), log.durable()), (0, Zxid(9)));
        let mut out = vec![0; BLOCK];
        let mark = log.mark_into(Zxid(9), &mut out);
        assert_eq!((mark.segment, mark.offset, mark.sequence), (2, 8192, 5));
        let (header, _) = BatchHeader::decode(&out).unwrap();
        assert_eq!((header.count, header.first, header.durable), (0, Zxid(9), Zxid(9)));
        assert_eq!(log.flushed(5), None, "a mark makes nothing more durable");
        assert!(!log.wants_mark());
    }

    #[test]
    fn a_log_behind_its_image_goes_on_after_it() {
        let mut log = Appender::new(Position::new_log(segment(1)), Zxid(100));
        assert_eq!((log.durable(), log.last(), log.wants_mark()), (Zxid(100), Zxid(100), false));
        let mut out = vec![0; BLOCK];
        log.mark_into(Zxid(100), &mut out);
        let (header, _) = BatchHeader::decode(&out).unwrap();
        assert_eq!((header.last, header.durable), (Zxid(100), Zxid::ZERO), "nothing of this log is durable yet");
        assert_eq!(log.flushed(1), None);
        assert!(log.wants_mark());
        add(&mut log, 101);
        assert_eq!(log.flushed(2), Some(Zxid(101)));
    }

    #[test]
    #[should_panic(expected = "zxids only rise")]
    fn a_zxid_does_not_return() {
        let mut log = Appender::new(Position::new_log(segment(1)), Zxid::ZERO);
        add(&mut log, 5);
        add(&mut log, 5);
    }

    #[test]
    #[should_panic(expected = "a flush that ends was in flight")]
    fn a_strange_flush_is_a_bug() {
        Appender::new(Position::new_log(segment(1)), Zxid::ZERO).flushed(1);
    }
}
