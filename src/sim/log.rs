//! Log: the transaction log of one simulated server, written through the real appender into segments on its disk.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::chance::mix;
use super::disk::{Dir, Disk, Op};
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::WallMillis;
use crate::proto::jute::Reader;
use crate::proto::packet::Blob;
use crate::proto::txn::TxnHeader;
use crate::storage::appender::{Appender, Placement, Position};
use crate::storage::batch::{BATCH_HEADER, BatchHeader, Records};
use crate::storage::cut::{Cut, NotThere, cut};
use crate::storage::restart::restart;
use crate::storage::segment::{SegmentHeader, SegmentStart, file_name};
use crate::storage::selection::{Begin, Extent};

/// Name of a segment that is being made.
pub const UNFINISHED: &str = "segment.tmp";

/// Segments kept ready.
const AHEAD: usize = 2;

/// A transaction as the ghost knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Its zxid.
    pub zxid: Zxid,
    /// A number made of its bytes.
    pub hash: u64,
}

/// A transaction of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What the ghost knows of it.
    pub mark: Mark,
    /// Its bytes.
    pub blob: Blob,
}

impl Entry {
    /// From bytes as the log has them.
    #[must_use]
    pub fn of(blob: &Blob) -> Option<Self> {
        Some(Self { mark: Mark { zxid: zxid_of(blob)?, hash: hash(blob) }, blob: Blob::clone(blob) })
    }
}

/// The zxid in a transaction's header.
#[must_use]
pub fn zxid_of(blob: &[u8]) -> Option<Zxid> {
    TxnHeader::decode(&mut Reader::new(blob)).ok().map(|header| header.zxid)
}

/// A number made of bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash ^ u64::from_le_bytes(word))
    })
}

/// The state that transactions lead to, as the ghost tells it from others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct State {
    /// The last transaction in it.
    pub at: Zxid,
    /// How many are in it, from the first one ever.
    pub count: u64,
    /// A number made of them all.
    pub digest: u64,
}

impl State {
    /// One transaction more.
    pub fn apply(&mut self, mark: Mark) {
        self.at = mark.zxid;
        self.count += 1;
        self.digest = mix(self.digest ^ mix(mark.zxid.0) ^ mark.hash.rotate_left(1));
    }

    /// Bytes of its encoding.
    pub const LEN: usize = 28;

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (at, word) in [self.at.0, self.count, self.digest].iter().enumerate() {
            bytes[8 * at..8 * at + 8].copy_from_slice(&word.to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// From bytes, if they are whole.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let word = |i: usize| Some(u64::from_be_bytes(body.get(i * 8..i * 8 + 8)?.try_into().ok()?));
        let state = Self { at: Zxid(word(0)?), count: word(1)?, digest: word(2)? };
        (u32::from_be_bytes(*crc) == crc32fast::hash(body)).then_some(state)
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    server: ServerId,
    /// Batches in flight: sequence, last transaction, durable.
    flights: VecDeque<(u64, Zxid, bool)>,
    durable: Zxid,
    /// Segments that hold it, the one that is written last.
    segments: Vec<Extent>,
    starts: BTreeMap<u64, SegmentStart>,
    spares: VecDeque<SegmentStart>,
    /// Files that were segments once, by their numbers.
    pool: VecDeque<u64>,
    /// Transactions after `base`, those in flight too.
    entries: VecDeque<Entry>,
    /// How many transactions come before `entries`, and the last of them.
    base: (u64, Zxid),
    segment_bytes: u64,
}

/// What a start has found.
#[derive(Debug)]
pub struct Found {
    /// Where to go on.
    pub position: Position,
    /// Segments in use.
    pub segments: Vec<Extent>,
    /// Their starts, and those of the spares.
    pub starts: BTreeMap<u64, SegmentStart>,
    /// Prepared segments.
    pub spares: VecDeque<SegmentStart>,
    /// Files to use again.
    pub pool: VecDeque<u64>,
    /// Transactions after the image.
    pub entries: Vec<Entry>,
    /// The image.
    pub image: State,
}

impl Log {
    /// Goes on with what a start has found.
    #[must_use]
    pub fn new(server: ServerId, segment_bytes: u64, found: Found) -> Self {
        let Found { position, segments, starts, spares, pool, entries, image } = found;
        Self {
            server,
            flights: VecDeque::new(),
            durable: position.last.max(image.at),
            segments,
            starts,
            spares,
            pool,
            entries: entries.into(),
            base: (image.count, image.at),
            segment_bytes,
        }
    }

    /// Makes the first segments of a new server.
    pub fn found(disk: &mut Disk, server: ServerId, segment_bytes: u64, salt: u64) {
        for number in 1..=2 {
            let start = SegmentStart { number, salt: mix(salt ^ number), size: segment_bytes };
            segment_ops(server, start, None).iter().for_each(|op| disk.apply(op));
        }
    }

    /// Everything up to this zxid survives.
    #[must_use]
    pub const fn durable(&self) -> Zxid {
        self.durable
    }

    /// The last transaction written, durable or not.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.base.1, |entry| entry.mark.zxid)
    }

    /// Batches in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many transactions lie before the first in memory, and the last of them.
    #[must_use]
    pub const fn base(&self) -> (u64, Zxid) {
        self.base
    }

    /// Transactions after the base.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Index among the entries of the first after `zxid`.
    #[must_use]
    pub fn after(&self, zxid: Zxid) -> usize {
        self.entries.partition_point(|entry| entry.mark.zxid <= zxid)
    }

    /// The transaction with this place among all, if it is in memory.
    #[must_use]
    pub fn get(&self, place: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(place.checked_sub(self.base.0)?).ok()?)
    }

    /// The transaction with this zxid, if it is in memory.
    #[must_use]
    pub fn find(&self, zxid: Zxid) -> Option<&Entry> {
        let at = self.after(zxid).checked_sub(1)?;
        self.entries.get(at).filter(|entry| entry.mark.zxid == zxid)
    }

    /// How many transactions, from the first one ever, are durable here.
    #[must_use]
    pub fn durable_count(&self) -> u64 {
        self.base.0 + self.after(self.durable()) as u64
    }

    /// Up to `most` transactions after `after` and no later than `to`; `None` where they do not reach back so far.
    #[must_use]
    pub fn read(&self, after: Zxid, to: Zxid, most: usize) -> Option<Vec<Entry>> {
        let from = if after == self.base.1 {
            0
        } else {
            let next = self.after(after);
            // What is asked for has to be there, or the piece would not follow it.
            (next > 0 && self.entries[next - 1].mark.zxid == after).then_some(next)?
        };
        Some(self.entries.range(from..).take(most).take_while(|entry| entry.mark.zxid <= to).cloned().collect())
    }

    /// The next segment, to go on in.
    pub fn roll(&mut self) -> Option<SegmentStart> {
        let next = self.spares.pop_front()?;
        self.segments.push(Extent { number: next.number, begin: None, bytes: next.size });
        Some(next)
    }

    /// A batch was framed: how it is written. An error says what is wrong with it.
    pub fn framed(&mut self, at: &Placement, out: Vec<u8>) -> Result<VecDeque<Op>, String> {
        let (header, _) = BatchHeader::decode(&out).map_err(|error| error.to_string())?;
        let len = usize::try_from(header.payload_len).expect("a small batch");
        for blob in Records::new(&out[BATCH_HEADER..BATCH_HEADER + len]) {
            let entry = blob.ok().and_then(|blob| Entry::of(&blob.into())).ok_or("a record without a zxid")?;
            self.entries.push_back(entry);
        }
        let active = self.segments.last_mut().expect("a log has a segment");
        if active.number != at.segment {
            return Err(format!("a batch goes to segment {}, and {} is in use", at.segment, active.number));
        }
        active.begin.get_or_insert(Begin { after: Zxid(header.first.0 - 1), sequence: at.sequence });
        self.flights.push_back((at.sequence, header.last, false));
        let (name, offset) = (file_name(at.segment), usize::try_from(at.offset).expect("a place in a file"));
        let write = Op::Write(Dir::Log, name.clone(), offset, out.into());
        Ok(VecDeque::from([write, Op::SyncRange(Dir::Log, name, offset, at.len)]))
    }

    /// A batch is durable.
    pub fn flushed(&mut self, sequence: u64) {
        let flight = self.flights.iter_mut().find(|flight| flight.0 == sequence).expect("it was in flight");
        flight.2 = true;
        while let Some((_, last, _)) = self.flights.pop_front_if(|flight| flight.2) {
            self.durable = self.durable.max(last);
        }
    }

    /// The next segment to make and how, if one is wanted; `more` than usual are.
    pub fn make(&mut self, salt: u64, more: usize) -> Option<(VecDeque<Op>, SegmentStart)> {
        if self.spares.len() >= AHEAD + more {
            return None;
        }
        let active = self.segments.last().expect("a log has a segment").number;
        let last = self.spares.back().map_or(active, |spare| spare.number);
        let mut start = SegmentStart { number: last + 1, salt, size: self.segment_bytes };
        let used = self.pool.pop_front();
        if cfg!(mutant = "m30")
            && let Some(old) = used.and_then(|number| self.starts.get(&number))
        {
            start.salt = old.salt;
        }
        Some((segment_ops(self.server, start, used).into(), start))
    }

    /// A segment was made.
    pub fn made(&mut self, start: SegmentStart) {
        self.starts.insert(start.number, start);
        self.spares.push_back(start);
    }

    /// Whether a segment is ready to go on in.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        !self.spares.is_empty()
    }

    /// Plans a cut. Nothing is in flight, and a spare is there.
    pub fn plan_cut(&self, disk: &Disk, to: Zxid) -> Result<(Cut, VecDeque<Op>), NotThere> {
        let files: Vec<_> = self.segments.iter().map(|extent| self.starts[&extent.number]).collect();
        let files: Vec<_> = files
            .into_iter()
            .map(|start| (start, disk.read(Dir::Log, &file_name(start.number)).expect("a segment in use is there")))
            .collect();
        let spare = self.spares[0];
        let cut = cut(&files, self.base.1, to, spare, zxid_of)?;
        let mut ops = VecDeque::new();
        if let Some(bytes) = &cut.rewritten {
            let name = file_name(spare.number);
            ops.push_back(Op::Write(Dir::Log, name.clone(), BLOCK, bytes[..].into()));
            ops.push_back(Op::Sync(Dir::Log, name));
        }
        for range in &cut.erase {
            ops.extend(erase(range));
        }
        Ok((cut, ops))
    }

    /// The cut was carried out. Yields where the log goes on, and the segments of no use any more.
    pub fn is_cut(&mut self, cut: &Cut, to: Zxid) -> (Appender, Vec<u64>) {
        let mut gone = Vec::new();
        if let Some(bytes) = &cut.rewritten {
            let spare = self.spares.pop_front().expect("it was there when the cut was planned");
            let (header, _) = BatchHeader::decode(bytes).expect("it was just framed");
            let begin = Some(Begin { after: Zxid(header.first.0 - 1), sequence: header.sequence });
            if cut.oldest.is_some() {
                gone = self.segments.drain(..).map(|extent| extent.number).collect();
            }
            self.segments.push(Extent { number: spare.number, begin, bytes: spare.size });
        } else {
            self.segments.retain(|extent| extent.number <= cut.position.segment.number);
            if cut.position.offset == BLOCK as u64 {
                self.segments.last_mut().expect("a log has a segment").begin = None;
            }
            for start in cut.blank.iter().rev() {
                self.spares.push_front(*start);
            }
        }
        self.entries.truncate(self.after(to));
        self.durable = self.last();
        (Appender::new(cut.position, self.base.1), gone)
    }

    /// Plans a log that begins anew behind a state with some transactions: how it is written into the spares, what it is then, and where it
    /// goes on. `None` while there are too few of them.
    #[must_use]
    pub fn plan_restart(&self, state: State, tail: &[Entry]) -> Option<(Self, Appender, VecDeque<Op>)> {
        let blank: Vec<SegmentStart> = self.spares.iter().copied().collect();
        let records: Vec<(Zxid, &[u8])> = tail.iter().map(|entry| (entry.mark.zxid, &entry.blob[..])).collect();
        let plan = restart(&blank, state.at, &records)?;
        let mut ops = VecDeque::new();
        for fill in plan.fill {
            let (name, offset) = (file_name(fill.segment), usize::try_from(fill.offset).expect("a place in a file"));
            let len = fill.bytes.len();
            ops.push_back(Op::Write(Dir::Log, name.clone(), offset, fill.bytes.into()));
            ops.push_back(Op::SyncRange(Dir::Log, name, offset, len));
        }
        let new = Self {
            server: self.server,
            flights: VecDeque::new(),
            durable: plan.last,
            segments: plan.segments,
            starts: BTreeMap::new(),
            spares: plan.blank.into(),
            pool: VecDeque::new(),
            entries: tail.iter().cloned().collect(),
            base: (state.count, state.at),
            segment_bytes: self.segment_bytes,
        };
        Some((new, Appender::new(plan.position, state.at), ops))
    }

    /// What [`plan_restart`](Self::plan_restart) made is in force, with what was prepared meanwhile. Yields the segments of no use any more.
    pub fn restarted(&mut self, mut new: Self) -> Vec<u64> {
        let gone = self.segments.iter().map(|extent| extent.number).collect();
        let taken = new.segments.last().expect("a log has a segment").number;
        new.spares = self.spares.iter().filter(|spare| spare.number > taken).copied().collect();
        new.starts.clone_from(&self.starts);
        new.pool.clone_from(&self.pool);
        *self = new;
        gone
    }

    /// The first segment in use.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.segments.first().expect("a log has a segment").number
    }

    /// Segments with where they begin, ascending; the spares last.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        let spares = self.spares.iter().map(|start| Extent { number: start.number, begin: None, bytes: start.size });
        self.segments.iter().copied().chain(spares).collect()
    }

    /// These segments are not needed any more: set aside to be used again, or removed. Yields how, and those that may be
    /// [`set_aside`](Self::set_aside) when that is done.
    pub fn retire(&mut self, numbers: &[u64], keep: usize) -> (VecDeque<Op>, Vec<u64>) {
        self.segments.retain(|extent| !numbers.contains(&extent.number));
        if let Some(after) = self.segments.first().and_then(|extent| extent.begin).map(|begin| begin.after) {
            // Only whole segments go, so what is left begins where one does.
            while self.entries.front().is_some_and(|entry| entry.mark.zxid <= after) && self.base.1 < after {
                let entry = self.entries.pop_front().expect("it was just looked at");
                self.base = (self.base.0 + 1, entry.mark.zxid);
            }
        }
        let (mut ops, mut kept) = (VecDeque::new(), Vec::new());
        for &number in numbers {
            let name = file_name(number);
            if self.pool.len() + kept.len() < keep {
                ops.push_back(Op::Rename(Dir::Log, name.clone(), used(number)));
                kept.push(number);
            } else {
                ops.push_back(Op::Remove(Dir::Log, name));
                self.starts.remove(&number);
            }
        }
        ops.push_back(Op::SyncNames(Dir::Log));
        (ops, kept)
    }

    /// These have their new names durably: they may be used again. Before, a header written into one would be found under the old name.
    pub fn set_aside(&mut self, numbers: &[u64]) {
        self.pool.extend(numbers);
    }
}

/// The name of a file that was a segment once.
#[must_use]
pub fn used(number: u64) -> String {
    format!("used-{}", file_name(number))
}

/// Zeros over a part of a segment, durable.
#[must_use]
pub fn erase(range: &crate::storage::recovery::EraseRange) -> [Op; 2] {
    let (at, len) =
        (usize::try_from(range.offset).expect("a place in a file"), usize::try_from(range.len).expect("a part of a file"));
    let name = file_name(range.segment);
    [Op::Write(Dir::Log, name.clone(), at, Rc::from(vec![0; len])), Op::Sync(Dir::Log, name)]
}

/// Makes a segment, of a used file where there is one.
fn segment_ops(server: ServerId, start: SegmentStart, again: Option<u64>) -> Vec<Op> {
    let header = SegmentHeader { start, server, created: WallMillis(0), recycled: again.is_some() }.encode();
    let from = again.map_or(UNFINISHED.to_owned(), used);
    let mut ops = Vec::new();
    let bytes = if again.is_some() {
        header[..].into()
    } else {
        ops.push(Op::Create(Dir::Log, from.clone()));
        let mut bytes = vec![0; usize::try_from(start.size).expect("a small segment")];
        bytes[..BLOCK].copy_from_slice(&header[..]);
        bytes.into()
    };
    ops.push(Op::Write(Dir::Log, from.clone(), 0, bytes));
    ops.push(Op::Sync(Dir::Log, from.clone()));
    ops.push(Op::Rename(Dir::Log, from, file_name(start.number)));
    if !cfg!(mutant = "m29") {
        ops.push(Op::SyncNames(Dir::Log));
    }
    ops
}
