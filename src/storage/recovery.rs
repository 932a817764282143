//! Recovery: reads a log once, segment by segment, and plans how to go on with it, or refuses.

use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;

use super::appender::Position;
use super::batch::{BATCH_VERSION, BatchHeader, Records};
use super::block::round_down;
use super::refusal::{Refusal, Stop};
use super::scanner::{Bad, Batch, Reason, read, survey};
use super::segment::{FORMAT, HeaderError, SegmentHeader, SegmentStart, file_name};

/// A record of the good prefix, as it was appended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Segment number.
    pub segment: u64,
    /// Byte in it at which its batch begins.
    pub offset: u64,
    /// Place in its batch, from 0.
    pub index: u32,
    /// First zxid of its batch.
    pub first: Zxid,
    /// Last zxid of its batch.
    pub last: Zxid,
    /// The transaction blob.
    pub bytes: &'a [u8],
}

/// Bytes to be written as zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EraseRange {
    /// Segment number.
    pub segment: u64,
    /// First byte, a multiple of 4096.
    pub offset: u64,
    /// Bytes, a multiple of 4096. May lead beyond the end of a file that was cut short: it grows to its size again.
    pub len: u64,
}

/// Where the log goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// In a segment that is there.
    Continue(Position),
    /// There is no log: make segment `number` and begin one with [`Position::new_log`].
    New {
        /// Number of the segment to make.
        number: u64,
    },
}

/// What to do before anything is appended, in the order of the fields, and what is known then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Write these as zeros.
    pub erase: Vec<EraseRange>,
    /// Then sync these segments, which are all that were read: nothing of the log counts as durable before, and nothing as erased.
    pub sync: Vec<u64>,
    /// Make these segments anew (salt, zeros, header); the crash hit their making.
    pub recreate: Vec<u64>,
    /// Delete these: they hold nothing and do not follow on. Left empty here; for whoever carries the plan out.
    pub remove: Vec<u64>,
    /// Prepared segments after the one that is appended to, ascending, blank once the plan is carried out.
    pub spares: Vec<SegmentStart>,
    /// Where to append then.
    pub start: Start,
    /// Last zxid of the log; durable once the plan is carried out.
    pub last: Zxid,
    /// Highest zxid that headers of the good prefix call durable.
    pub durable_mark: Zxid,
    /// Highest zxid known committed, at most `last`. Records after it are logged and no more.
    pub committed: Zxid,
    /// Batches of the good prefix, marks included.
    pub batches: u64,
    /// One line each for the operator.
    pub warnings: Vec<String>,
}

/// What is known of a log from elsewhere, before it is read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Known {
    /// It was durable up to here (the watermark).
    pub durable: Zxid,
    /// The image that it is read after; zero for none. Batches that end at or before it are not visited.
    pub image: Zxid,
    /// The newest image of the manifest: image and log must lead this far.
    pub newest: Zxid,
}

/// One segment as it was found.
#[derive(Debug)]
struct Seen {
    number: u64,
    /// Its start, if the header is usable.
    start: Result<SegmentStart, HeaderError>,
    /// Bytes of the file.
    file: u64,
    /// Last zxid after its last good batch, if it has one.
    good: Option<Zxid>,
    /// Byte after its last good batch, or after its header.
    end: u64,
    /// What is not zero from `end` on; in a recycled segment, what is of its present use.
    dirty: Option<(u64, u64)>,
}

impl Seen {
    const fn short(&self) -> bool {
        matches!(self.start, Ok(start) if self.file < start.size)
    }
}

/// Whether and how the next batch is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Walk {
    /// No segment was read: the first batch of the first one begins the log.
    Fresh,
    /// The first segment holds no beginning: nothing later can be tied to it.
    Rootless,
    /// The batch with this sequence and chain comes next.
    Next { sequence: u64, chain: u32 },
}

/// The first place where a batch was expected and is not.
#[derive(Clone, Copy, Debug)]
struct Break {
    segment: u64,
    offset: u64,
    reason: Reason,
    range: Option<(Zxid, Zxid)>,
    /// Nothing follows it in its segment.
    tail_blank: bool,
}

/// Recovery under way. Give it every segment in ascending order, then ask for the plan.
#[derive(Debug)]
pub struct Recovery {
    seen: Vec<Seen>,
    walk: Walk,
    stopped: Option<Break>,
    /// Why batches of later segments cannot be accepted.
    barrier: Option<Refusal>,
    /// The first segment that is missing though a later one is there.
    gap: Option<u64>,
    last: Zxid,
    batches: u64,
    /// Highest durable mark in the good prefix.
    marked: Zxid,
    committed: Zxid,
    /// Highest durable mark known from anywhere.
    durable: Zxid,
    intact_after: u64,
    /// Highest last zxid in readable headers behind the good prefix.
    later: Zxid,
    /// Highest durable mark in headers there.
    later_durable: Zxid,
    /// Present where the log is checked against an image and a manifest.
    known: Option<Known>,
    /// How far image and visited batches lead without a gap.
    reached: Zxid,
    warnings: Vec<String>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Recovery {
    /// Before the first segment.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            seen: Vec::new(),
            walk: Walk::Fresh,
            stopped: None,
            barrier: None,
            gap: None,
            last: Zxid::ZERO,
            batches: 0,
            marked: Zxid::ZERO,
            committed: Zxid::ZERO,
            durable: Zxid::ZERO,
            intact_after: 0,
            later: Zxid::ZERO,
            later_durable: Zxid::ZERO,
            known: None,
            reached: Zxid::ZERO,
            warnings: Vec::new(),
        }
    }

    /// As [`new`](Self::new), and what is known from elsewhere is held against the log: that it follows the image without a gap,
    /// or begins at the beginning where there is none, and that nothing is missing at either end.
    #[must_use]
    pub const fn knowing(known: Known) -> Self {
        let mut recovery = Self::new();
        recovery.durable = known.durable;
        recovery.reached = known.image;
        recovery.known = Some(known);
        recovery
    }

    /// As [`new`](Self::new), knowing from elsewhere (a watermark kept beside the log) that this log was durable up to `zxid`:
    /// a log that ends before it is refused. Not for the zxid of an image, which a purged log may well end before.
    #[must_use]
    pub const fn with_watermark(zxid: Zxid) -> Self {
        let mut recovery = Self::new();
        recovery.durable = zxid;
        recovery
    }

    /// Last zxid of the good prefix so far.
    #[must_use]
    pub const fn last(&self) -> Zxid {
        self.last
    }

    /// Everything in the good prefix up to this zxid is known to be committed: what its headers say so far, at most.
    #[must_use]
    pub fn committed(&self) -> Zxid {
        self.committed.min(self.last)
    }

    /// Reads segment `number`, whose file is `file`, and visits the records that continue the good prefix.
    ///
    /// Later damage may still lead to a refusal; what was visited then remains true history, the log is merely not all there.
    ///
    /// # Panics
    /// If the segments do not come in ascending order.
    pub fn segment<E>(
        &mut self,
        number: u64,
        file: &[u8],
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        if let Some(before) = self.seen.last().map(|seen| seen.number) {
            assert!(number > before, "segments are read in ascending order");
            if number != before + 1 && self.gap.is_none() {
                self.gap = Some(before + 1);
                self.raise(Refusal::Missing { segment: before + 1, good: self.last });
            }
        }
        let mut recycled = false;
        let start = match SegmentHeader::decode(number, file) {
            Ok(header) => {
                recycled = header.recycled;
                Ok(header.start)
            }
            Err(HeaderError::Newer(version)) => return Err(self.newer(number, 0, version, FORMAT).into()),
            Err(error) => {
                self.raise(Refusal::Header { segment: number, error, good: self.last });
                Err(error)
            }
        };
        // What a longer file holds beyond its size is none of the log's.
        let size = start.map_or(u64::MAX, |start| start.size);
        let bytes = &file[..usize::try_from(size).map_or(file.len(), |size| size.min(file.len()))];
        let salt = start.ok().map(|start| start.salt);

        let mut seen = Seen { number, start, file: file.len() as u64, good: None, end: BLOCK as u64, dirty: None };
        let mut offset = BLOCK;
        let mut bad = None;
        while self.walk != Walk::Rootless && salt.is_some() {
            match read(bytes, salt, offset).and_then(|batch| self.follows(batch)) {
                Ok(batch) => {
                    if let Some(refusal) = self.barrier.clone() {
                        return Err(refusal.into());
                    }
                    self.accept(number, offset, &batch, &mut visit)?;
                    offset += usize::try_from(batch.header.framed_len()).expect("an intact batch lies in memory");
                    seen.good = Some(self.last);
                }
                Err(Bad { newer: Some(version), .. }) => return Err(self.newer(number, offset, version, BATCH_VERSION).into()),
                Err(found) => {
                    bad = Some(found);
                    break;
                }
            }
        }
        if seen.good.is_some() {
            // The chain led into this segment: whatever stopped the walk before was only the end of a segment.
            self.stopped = None;
            self.intact_after = 0;
            self.later = Zxid::ZERO;
            self.later_durable = Zxid::ZERO;
        } else if self.walk == Walk::Fresh {
            self.walk = Walk::Rootless;
        }
        seen.end = offset as u64;
        // Where no header is, a batch may lie that was written to the wrong place.
        let from = if start.is_ok() { offset } else { 0 };
        let rest = survey(bytes, salt, from, self.expected());
        if let Some(version) = rest.newer {
            return Err(self.newer(number, offset, version, BATCH_VERSION).into());
        }
        if let Some(refusal) = self.barrier.clone().filter(|_| rest.headers > 0) {
            return Err(refusal.into());
        }
        self.intact_after += rest.intact;
        self.durable = self.durable.max(rest.durable);
        self.later = self.later.max(rest.last);
        self.later_durable = self.later_durable.max(rest.durable);
        let dirty = if recycled { rest.ours } else { rest.dirty };
        seen.dirty = dirty.map(|range| (range.start.max(offset) as u64, range.end as u64)).filter(|(from, to)| from < to);
        if self.stopped.is_none_or(|stopped| stopped.tail_blank && seen.dirty.is_some()) {
            let reason = bad.map_or(Reason::Unreadable, |bad| bad.reason);
            let range = bad.and_then(|bad| bad.header).map(|header| (header.first, header.last));
            let tail_blank = seen.dirty.is_none();
            self.stopped = Some(Break { segment: number, offset: seen.end, reason, range, tail_blank });
        }
        self.seen.push(seen);
        Ok(())
    }

    fn raise(&mut self, refusal: Refusal) {
        self.barrier.get_or_insert(refusal);
    }

    const fn newer(&self, segment: u64, offset: usize, version: u32, known: u32) -> Refusal {
        Refusal::Newer { segment, offset: offset as u64, version, known, good: self.last }
    }

    /// The sequence from which on a batch lies after the good prefix.
    const fn expected(&self) -> u64 {
        match self.walk {
            Walk::Next { sequence, .. } => sequence,
            Walk::Fresh | Walk::Rootless => 0,
        }
    }

    /// The batch, if it is the next one.
    fn follows<'a>(&self, batch: Batch<'a>) -> Result<Batch<'a>, Bad> {
        let header = &batch.header;
        let bad = |reason| Err(Bad { reason, header: Some(*header), newer: None });
        if let Walk::Next { sequence, chain } = self.walk {
            if header.sequence != sequence {
                return bad(Reason::Sequence);
            }
            if header.chain != chain {
                return bad(Reason::Chain);
            }
        }
        // A sequence that cannot go on would stop the appender later; no log reaches it.
        let rises = header.first > self.last || (header.count == 0 && header.first == self.last);
        if rises && header.sequence < u64::MAX { Ok(batch) } else { bad(Reason::Order) }
    }

    /// Whether the records of the next batch are to be visited; refused if others are missing before them.
    fn joins(&mut self, segment: u64, offset: u64, header: &BatchHeader) -> Result<bool, Refusal> {
        let Some(known) = self.known else { return Ok(true) };
        let (first, good, image) = (header.first, self.reached, known.image);
        if self.walk == Walk::Fresh && image == Zxid::ZERO && header.sequence != 1 {
            return Err(Refusal::Unrooted { segment, offset, first });
        }
        if header.count == 0 || header.last <= good {
            return Ok(false);
        }
        // An epoch's first transaction may follow any of an older one; else they are counted one by one.
        let follows = first <= good || good.next() == Some(first) || (first.epoch() > good.epoch() && first.counter() <= 1);
        if !follows {
            return Err(Refusal::Gap { image, good, segment, offset, first });
        }
        self.reached = header.last;
        Ok(true)
    }

    fn accept<E>(
        &mut self,
        segment: u64,
        offset: usize,
        batch: &Batch<'_>,
        visit: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let header = &batch.header;
        let (first, last, offset) = (header.first, header.last, offset as u64);
        let visits = self.joins(segment, offset, header)?;
        for (index, bytes) in (0..).zip(Records::new(batch.payload)).take_while(|_| visits) {
            let bytes = bytes.expect("the scanner has counted the records");
            visit(Record { segment, offset, index, first, last, bytes }).map_err(|source| Stop::Record {
                segment,
                offset,
                index,
                first,
                last,
                source,
            })?;
        }
        self.walk = Walk::Next { sequence: header.sequence + 1, chain: batch.crc };
        self.last = last;
        self.batches += 1;
        self.marked = self.marked.max(header.durable);
        self.durable = self.durable.max(header.durable);
        self.committed = self.committed.max(header.committed);
        Ok(())
    }

    /// The plan, or the refusal if transactions that were durable are missing.
    pub fn finish(mut self) -> Result<Plan, Refusal> {
        let known = self.known.unwrap_or_default();
        // What an image holds is not lost with the log. What comes after it is, where it stands behind what has rotted: a tail there is none
        // that a crash has torn. That something has rotted, the headers there have to say themselves: a mark outside the log may be older
        // than a state that came from a leader, behind which the log began anew or goes on.
        let has_rotted = self.later > known.image && self.later_durable > self.last;
        if self.durable > self.last && (self.durable > known.image || has_rotted) {
            return Err(self.damaged());
        }
        // Segments are made and removed in an order that leaves no gap, so a file was lost; it may have been the one in use.
        if let Some(segment) = self.gap {
            return Err(Refusal::Missing { segment, good: self.last });
        }
        if self.reached < known.newest {
            return Err(Refusal::Behind { newest: known.newest, image: known.image, reached: self.reached });
        }
        // The log is appended to where the good prefix ends, or at the beginning of a first segment that holds nothing.
        let active = self.seen.iter().rposition(|seen| seen.good.is_some());
        let active = active.or_else(|| self.seen.first().filter(|seen| seen.start.is_ok() && !seen.short()).map(|_| 0));
        let mut plan = Plan {
            erase: Vec::new(),
            sync: Vec::new(),
            recreate: Vec::new(),
            remove: Vec::new(),
            spares: Vec::new(),
            start: Start::New { number: self.seen.first().map_or(1, |seen| seen.number) },
            last: self.last,
            durable_mark: self.marked,
            committed: self.committed.min(self.last),
            batches: self.batches,
            warnings: Vec::new(),
        };
        for (i, seen) in self.seen.iter().enumerate() {
            if active.is_some_and(|active| i < active) {
                passed(seen, &mut plan);
            } else if let Some(start) = seen.start.ok().filter(|_| active == Some(i)) {
                let at = Position::new_log(start);
                plan.start = Start::Continue(match self.walk {
                    Walk::Next { sequence, chain } => {
                        Position { offset: seen.end, sequence, chain, last: self.last, marked: self.marked, ..at }
                    }
                    Walk::Fresh | Walk::Rootless => at,
                });
                erase(seen, start, &mut plan);
            } else if let Some(start) = seen.start.ok().filter(|_| !seen.short()) {
                erase(seen, start, &mut plan);
                plan.spares.push(start);
            } else {
                plan.warnings.push(format!(
                    "recreated segment {}: at offset 0 it is not as it was made, and it holds no batch; what it may have held after zxid {} is \
                     lost, so compare with a copy if you keep one",
                    file_name(seen.number),
                    self.last.max(known.image)
                ));
                plan.recreate.push(seen.number);
            }
            // After the end of a process alone neither what is there nor what was erased of it need be durable.
            if plan.recreate.last() != Some(&seen.number) {
                plan.sync.push(seen.number);
            }
        }
        if let Some(line) = self.torn(&plan) {
            self.warnings.push(line);
        }
        plan.warnings.splice(0..0, self.warnings);
        Ok(plan)
    }

    fn damaged(&self) -> Refusal {
        let (good, durable, intact) = (self.last, self.durable, self.intact_after);
        let (segment, offset, reason, range) = self
            .stopped
            .map_or((1, 0, Reason::Blank, None), |stopped| (stopped.segment, stopped.offset, stopped.reason, stopped.range));
        // The range of a batch out of its place is not what is missing; that begins after the good prefix.
        let range = range.filter(|_| !matches!(reason, Reason::Sequence | Reason::Order));
        let (first, last) = range.unwrap_or((Zxid(good.0.saturating_add(1)), durable));
        Refusal::Damaged { segment, offset, reason, first, last, good, durable, intact }
    }

    /// The line about a torn tail. An end in blanks, or in what older uses have left, with nothing of this use after it, is not torn.
    fn torn(&self, plan: &Plan) -> Option<String> {
        let stopped = self.stopped?;
        let bytes: u64 = plan.erase.iter().map(|range| range.len).sum();
        let clean = stopped.tail_blank || bytes == 0;
        let image = self.known.unwrap_or_default().image;
        // Damage to what was durable is not refused where the image holds it.
        let dropped = if self.durable > self.last { format!("held by image {image}") } else { "never acknowledged".to_owned() };
        (!clean).then(|| {
            format!(
                "{} tail torn at offset {} after zxid {} ({}): dropped {bytes} bytes {dropped}, {} batches among them; \
                 nothing to be done",
                file_name(stopped.segment),
                stopped.offset,
                self.last,
                stopped.reason,
                self.intact_after,
            )
        })
    }
}

/// A segment that the good prefix has left behind: what else it holds is never read again.
fn passed(seen: &Seen, plan: &mut Plan) {
    let file = file_name(seen.number);
    if let Some((from, to)) = seen.dirty {
        let zxid = seen.good.unwrap_or_default();
        plan.warnings.push(format!("{file} not blank from offset {from} to {to}, after its last zxid {zxid}: ignored"));
    }
    if seen.short() {
        plan.warnings.push(format!("{file} is cut short to {} bytes, behind its last batch: ignored", seen.file));
    }
}

/// Plans the zeros from the good prefix on, and gives a short file its size back.
fn erase(seen: &Seen, start: SegmentStart, plan: &mut Plan) {
    let (mut from, mut to) = seen.dirty.unwrap_or((start.size, start.size));
    if seen.short() {
        let whole = round_down(usize::try_from(seen.file).unwrap_or(usize::MAX)) as u64;
        // Not before the end of the good prefix: `end` lies within the file.
        from = from.min(whole.max(seen.end));
        to = start.size;
        plan.warnings.push(format!(
            "{} was cut short to {} bytes: restored to {}; what it may have held after zxid {} is lost, so compare with a copy if you \
             keep one",
            file_name(seen.number),
            seen.file,
            start.size,
            plan.last
        ));
    }
    if seen.file > start.size {
        let file = file_name(seen.number);
        plan.warnings.push(format!("{file} is longer than its {} bytes: the rest is ignored", start.size));
    }
    if from < to {
        plan.erase.push(EraseRange { segment: seen.number, offset: from, len: to.min(start.size) - from });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;
    use crate::ground::ids::ServerId;
    use crate::ground::time::WallMillis;
    use crate::storage::appender::{Appender, Contents, Placement};
    use crate::storage::batch::{BATCH_HEADER, framed_len, put_record};

    const BLOCKS: usize = 5;

    fn start(number: u64) -> SegmentStart {
        SegmentStart { number, salt: number.wrapping_add(1000), size: (BLOCKS * BLOCK) as u64 }
    }

    fn blank(number: u64) -> Vec<u8> {
        let mut file = vec![0; BLOCKS * BLOCK];
        let header = SegmentHeader { start: start(number), server: ServerId(1), created: WallMillis(0), recycled: false };
        file[..BLOCK].copy_from_slice(&header.encode()[..]);
        file
    }

    /// A log of one-block batches, four a segment; batch n holds the record n with zxid n.
    struct Log {
        files: BTreeMap<u64, Vec<u8>>,
        appender: Appender,
        placed: Vec<Placement>,
    }

    impl Log {
        fn new() -> Self {
            let appender = Appender::new(Position::new_log(start(1)), Zxid::ZERO);
            Self { files: BTreeMap::from([(1, blank(1))]), appender, placed: Vec::new() }
        }

        fn room(&mut self) {
            if !self.appender.fits(BLOCK) {
                let next = self.appender.position().segment.number + 1;
                self.appender.roll(start(next));
                self.files.insert(next, blank(next));
            }
        }

        fn land(&mut self, placed: Placement, out: &[u8]) {
            let at = placed.offset as usize;
            self.files.get_mut(&placed.segment).unwrap()[at..at + placed.len].copy_from_slice(out);
            self.placed.push(placed);
        }

        /// Appends a batch and does not flush it.
        fn add(&mut self) -> u64 {
            self.room();
            let zxid = Zxid(self.appender.last().0 + 1);
            let mut payload = Vec::new();
            put_record(&mut payload, &zxid.0.to_be_bytes());
            let mut out = vec![0; framed_len(payload.len())];
            let contents = Contents { first: zxid, last: zxid, count: 1 };
            let placed = self.appender.frame_into(contents, &[&payload], Zxid(zxid.0 - 1), &mut out);
            self.land(placed, &out);
            placed.sequence
        }

        fn add_flushed(&mut self, n: usize) -> &mut Self {
            for _ in 0..n {
                let sequence = self.add();
                self.appender.flushed(sequence);
            }
            self
        }

        fn add_unflushed(&mut self, n: usize) -> &mut Self {
            for _ in 0..n {
                self.add();
            }
            self
        }

        fn mark(&mut self) -> &mut Self {
            self.room();
            let mut out = vec![0; BLOCK];
            let placed = self.appender.mark_into(self.appender.last(), &mut out);
            self.land(placed, &out);
            self
        }

        /// The bytes of batch `n`, counted from 1.
        fn batch(&mut self, n: usize) -> &mut [u8] {
            let placed = self.placed[n - 1];
            let at = placed.offset as usize;
            &mut self.files.get_mut(&placed.segment).unwrap()[at..at + placed.len]
        }

        /// Segment `number` was another one before.
        fn recycle(&mut self, number: u64) {
            let header = SegmentHeader { start: start(number), server: ServerId(1), created: WallMillis(0), recycled: true };
            self.files.get_mut(&number).unwrap()[..BLOCK].copy_from_slice(&header.encode()[..]);
        }

        fn recover(&self) -> (Vec<u64>, Result<Plan, Refusal>) {
            recover(Recovery::new(), &self.files)
        }
    }

    fn recover(mut recovery: Recovery, files: &BTreeMap<u64, Vec<u8>>) -> (Vec<u64>, Result<Plan, Refusal>) {
        let mut zxids = Vec::new();
        for (number, file) in files {
            let seen = recovery.segment(*number, file, |record| {
                zxids.push(u64::from_be_bytes(record.bytes.try_into().unwrap()));
                Ok::<_, Infallible>(())
            });
            match seen {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => return (zxids, Err(refusal)),
                Err(Stop::Record { source, .. }) => match source {},
            }
        }
        (zxids, recovery.finish())
    }

    fn up_to(n: u64) -> Vec<u64> {
        (1..=n).collect()
    }

    fn place(plan: &Plan) -> (u64, u64, u64) {
        match plan.start {
            Start::Continue(at) => (at.segment.number, at.offset, at.sequence),
            Start::New { number } => panic!("a new log in segment {number}"),
        }
    }

    #[test]
    fn a_whole_log_is_continued() {
        let mut log = Log::new();
        log.add_flushed(6).files.extend([(3, blank(3)), (4, blank(4))]);
        let (zxids, plan) = log.recover();
        let plan = plan.unwrap();
        assert_eq!(zxids, up_to(6));
        assert_eq!(place(&plan), (2, 3 * BLOCK as u64, 7));
        let Start::Continue(at) = plan.start else { unreachable!() };
        assert_eq!((at.chain, at.marked), (log.appender.position().chain, Zxid(5)));
        assert_eq!((plan.last, plan.durable_mark, plan.committed, plan.batches), (Zxid(6), Zxid(5), Zxid(5), 6));
        assert_eq!(plan.spares, [start(3), start(4)]);
        assert_eq!((plan.sync, plan.erase, plan.warnings), (vec![1, 2, 3, 4], vec![], vec![]));
        assert!(plan.recreate.is_empty() && plan.remove.is_empty());
    }

    #[test]
    fn nothing_is_a_new_log() {
        let (_, plan) = recover(Recovery::new(), &BTreeMap::new());
        assert_eq!(plan.unwrap().start, Start::New { number: 1 });
        let (_, plan) = recover(Recovery::new(), &BTreeMap::from([(7, blank(7)), (8, blank(8))]));
        let plan = plan.unwrap();
        assert_eq!((plan.start, plan.spares), (Start::Continue(Position::new_log(start(7))), vec![start(8)]));
        let (_, refused) = recover(Recovery::with_watermark(Zxid(5)), &BTreeMap::from([(7, blank(7))]));
        assert!(matches!(refused, Err(Refusal::Damaged { durable: Zxid(5), good: Zxid::ZERO, segment: 7, .. })));
    }

    #[test]
    fn row_1_a_torn_last_batch_is_erased() {
        let mut log = Log::new();
        log.add_flushed(2).add();
        log.batch(3)[BATCH_HEADER..512].fill(0);
        let (zxids, plan) = log.recover();
        let plan = plan.unwrap();
        assert_eq!(zxids, up_to(2));
        assert_eq!(place(&plan), (1, 3 * BLOCK as u64, 3));
        assert_eq!(plan.erase, [EraseRange { segment: 1, offset: 3 * BLOCK as u64, len: BLOCK as u64 }]);
        assert_eq!(plan.sync, [1]);
        let line = "log.0000000000000001 tail torn at offset 12288 after zxid 0x2 (the records do not match their checksum): \
                    dropped 4096 bytes never acknowledged, 0 batches among them; nothing to be done";
        assert_eq!(plan.warnings, [line]);
    }

    #[test]
    fn row_2_a_durable_last_batch_is_not_dropped() {
        let mut log = Log::new();
        log.add_flushed(3);
        log.batch(3)[BATCH_HEADER + 5] ^= 1;
        let mut marked = Log::new();
        marked.add_flushed(3).mark();
        marked.batch(3)[BATCH_HEADER + 5] ^= 1;
        for (zxids, refused) in [recover(Recovery::with_watermark(Zxid(3)), &log.files), marked.recover()] {
            assert_eq!(zxids, up_to(2));
            let Err(Refusal::Damaged { segment: 1, offset, reason: Reason::Torn, first, last, good, durable, .. }) = refused
            else {
                panic!("{refused:?}")
            };
            assert_eq!((offset, first, last, good, durable), (3 * BLOCK as u64, Zxid(3), Zxid(3), Zxid(2), Zxid(3)));
        }
        assert!(log.recover().1.is_ok(), "without a mark it looks like a torn tail");
    }

    #[test]
    fn row_3_damage_under_a_later_mark_is_refused() {
        for hit in 1..=5 {
            let mut log = Log::new();
            log.add_flushed(6);
            log.batch(hit)[20] ^= 1;
            let (zxids, refused) = log.recover();
            assert_eq!(zxids, up_to(hit as u64 - 1));
            let Err(Refusal::Damaged { reason, first, durable, intact, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!((reason, first, durable), (Reason::Unreadable, Zxid(hit as u64), Zxid(5)));
            assert_eq!(intact, 6 - hit as u64);
        }
    }

    #[test]
    fn row_3a_batches_behind_a_torn_one_are_erased() {
        let mut log = Log::new();
        log.add_flushed(3);
        log.add_unflushed(4);
        log.batch(4).fill(0);
        let (zxids, plan) = log.recover();
        let plan = plan.unwrap();
        assert_eq!(zxids, up_to(3));
        assert_eq!(place(&plan), (1, 4 * BLOCK as u64, 4));
        assert_eq!(plan.erase, [EraseRange { segment: 2, offset: BLOCK as u64, len: 3 * BLOCK as u64 }]);
        assert_eq!((plan.sync, plan.spares), (vec![1, 2], vec![start(2)]));
        assert!(plan.warnings[0].contains("3 batches among them"), "{:?}", plan.warnings);
    }

    #[test]
    fn row_4_a_broken_chain_is_judged_by_the_mark() {
        for durable in [false, true] {
            let mut log = Log::new();
            log.add_flushed(2);
            // Another batch 3, from a log that went another way.
            let mut other = Log::new();
            other.add_flushed(1).mark().add();
            let mut strange = other.batch(3).to_vec();
            let (header, _) = crate::storage::batch::BatchHeader::decode(&strange).unwrap();
            crate::storage::batch::BatchHeader { first: Zxid(3), last: Zxid(3), ..header }.encode(&mut strange);
            log.add_flushed(1);
            if durable {
                log.add();
            }
            log.batch(3).copy_from_slice(&strange);
            let (zxids, result) = log.recover();
            assert_eq!(zxids, up_to(2));
            match result {
                Ok(plan) => assert!(!durable && plan.warnings[0].contains("chain is broken")),
                Err(refusal) => {
                    assert!(durable);
                    assert!(matches!(refusal, Refusal::Damaged { reason: Reason::Chain, intact: 2, .. }), "{refusal:?}");
                }
            }
        }
        let mut log = Log::new();
        log.add_flushed(3);
        let third = log.batch(3).to_vec();
        log.batch(2).copy_from_slice(&third);
        let refused = log.recover().1.unwrap_err();
        assert!(
            matches!(refused, Refusal::Damaged { reason: Reason::Sequence, first: Zxid(2), last: Zxid(2), .. }),
            "{refused:?}"
        );
    }

    #[test]
    fn row_5_bytes_of_an_older_use_end_the_log_quietly() {
        let mut old = Log::new();
        old.add_flushed(4);
        let stale = old.batch(4).to_vec();
        let mut log = Log::new();
        log.add_flushed(5);
        log.files.get_mut(&2).unwrap()[2 * BLOCK..3 * BLOCK].copy_from_slice(&stale);
        log.recycle(2);
        let (zxids, plan) = log.recover();
        let plan = plan.unwrap();
        assert_eq!((zxids, place(&plan)), (up_to(5), (2, 2 * BLOCK as u64, 6)));
        assert_eq!((plan.warnings, plan.erase), (vec![], vec![]));
        // A segment that was full of zeros has no older use: what is there was written to the wrong place.
        log.files.get_mut(&2).unwrap()[..BLOCK].copy_from_slice(&blank(2)[..BLOCK]);
        let plan = log.recover().1.unwrap();
        assert!(
            plan.warnings[0].contains("tail torn at offset 8192 after zxid 0x5 (a batch of an older use"),
            "{:?}",
            plan.warnings
        );
        assert_eq!(plan.erase, [EraseRange { segment: 2, offset: 2 * BLOCK as u64, len: BLOCK as u64 }]);
    }

    #[test]
    fn a_header_of_this_use_behind_bytes_of_an_older_one_is_told() {
        let mut old = Log::new();
        old.add_flushed(4);
        let stale = old.batch(4).to_vec();
        let mut log = Log::new();
        log.add_flushed(6).recycle(2);
        // Batch 6 lies a block too far, and its records are not as they were.
        let mut last = log.batch(6).to_vec();
        last[BATCH_HEADER + 5] ^= 1;
        log.batch(6).copy_from_slice(&stale);
        log.files.get_mut(&2).unwrap()[3 * BLOCK..4 * BLOCK].copy_from_slice(&last);
        let plan = log.recover().1.unwrap();
        assert_eq!((plan.last, plan.erase.len(), plan.warnings.len()), (Zxid(5), 1, 1));
        assert!(plan.warnings[0].contains("tail torn at offset 8192 after zxid 0x5"), "{:?}", plan.warnings);
    }

    #[test]
    fn row_6_a_missing_segment_is_refused() {
        let mut log = Log::new();
        log.add_flushed(9);
        log.files.remove(&2);
        assert_eq!(log.recover(), (up_to(4), Err(Refusal::Missing { segment: 2, good: Zxid(4) })));
        let mut spare = Log::new();
        spare.add_flushed(2).files.extend([(3, blank(3)), (u64::MAX, blank(u64::MAX))]);
        // It may have been the one in use: spares are made in their order.
        assert_eq!(spare.recover().1, Err(Refusal::Missing { segment: 2, good: Zxid(2) }));
    }

    #[test]
    fn row_8_a_segment_whose_making_was_interrupted_is_made_anew() {
        for torn in [vec![], vec![0; 100], vec![0; BLOCKS * BLOCK], blank(2)[..512].to_vec(), blank(2)[..2 * BLOCK].to_vec()] {
            let mut log = Log::new();
            log.add_flushed(2).files.extend([(2, torn), (3, blank(3))]);
            let plan = log.recover().1.unwrap();
            assert_eq!((plan.recreate.clone(), plan.spares.clone()), (vec![2], vec![start(3)]));
            assert_eq!(place(&plan), (1, 3 * BLOCK as u64, 3));
            assert!(plan.warnings[0].starts_with("recreated segment log.0000000000000002"));
        }
        let plan = recover(Recovery::new(), &BTreeMap::from([(4, vec![0; BLOCK])])).1.unwrap();
        assert_eq!((plan.start, plan.recreate), (Start::New { number: 4 }, vec![4]));
    }

    #[test]
    fn row_9_a_lost_header_of_a_used_segment_is_refused() {
        for lost in 1..=3u64 {
            let mut log = Log::new();
            log.add_flushed(9);
            log.files.get_mut(&lost).unwrap()[100] ^= 1;
            let good = Zxid((lost - 1) * 4);
            assert_eq!(log.recover(), (up_to(good.0), Err(Refusal::Header { segment: lost, error: HeaderError::Damaged, good })));
        }
        let mut log = Log::new();
        log.add_flushed(5);
        let second = log.files.remove(&2).unwrap();
        log.files.insert(3, second);
        assert!(matches!(log.recover().1, Err(Refusal::Missing { segment: 2, .. })));
        // A batch in the place of a spare's header.
        let mut log = Log::new();
        log.add_flushed(5);
        let mut spare = blank(3);
        spare[..BLOCK].swap_with_slice(log.batch(5));
        log.files.insert(3, spare);
        log.recycle(2);
        let error = HeaderError::Damaged;
        assert_eq!(log.recover().1, Err(Refusal::Header { segment: 3, error, good: Zxid(4) }));
    }

    #[test]
    fn row_21_a_newer_format_is_left_alone() {
        let mut log = Log::new();
        log.add_flushed(5);
        let file = log.files.get_mut(&2).unwrap();
        file[11] = 3;
        let crc = crc32fast::hash(&file[..BLOCK - 4]);
        file[BLOCK - 4..BLOCK].copy_from_slice(&crc.to_be_bytes());
        let refused = Refusal::Newer { segment: 2, offset: 0, version: 3, known: FORMAT, good: Zxid(4) };
        assert_eq!(log.recover(), (up_to(4), Err(refused)));
        for hit in [2, 4] {
            let mut log = Log::new();
            log.add_flushed(4);
            log.batch(3)[30] ^= u8::from(hit == 4);
            let batch = log.batch(hit);
            batch[11] = 3;
            let crc = crc32fast::hash(&batch[..BATCH_HEADER - 4]);
            batch[BATCH_HEADER - 4..BATCH_HEADER].copy_from_slice(&crc.to_be_bytes());
            assert!(matches!(log.recover().1, Err(Refusal::Newer { version: 3, .. })));
        }
    }

    #[test]
    fn a_log_purged_from_the_front_begins_anywhere() {
        let mut log = Log::new();
        log.add_flushed(9).files.remove(&1);
        let (zxids, plan) = log.recover();
        assert_eq!((zxids, place(&plan.unwrap())), ((5..=9).collect(), (3, 2 * BLOCK as u64, 10)));
    }

    #[test]
    fn the_unused_end_of_a_segment_is_not_the_log() {
        let mut log = Log::new();
        log.add_flushed(2).appender.roll(start(2));
        log.files.insert(2, blank(2));
        log.add_flushed(3).files.get_mut(&1).unwrap()[4 * BLOCK + 9] = 1;
        let (zxids, plan) = log.recover();
        let plan = plan.unwrap();
        assert_eq!((zxids, place(&plan), &plan.erase), (up_to(5), (2, 4 * BLOCK as u64, 6), &vec![]));
        let line = "log.0000000000000001 not blank from offset 16384 to 20480, after its last zxid 0x2: ignored";
        assert_eq!(plan.warnings, [line]);
        log.batch(4)[20] ^= 1;
        let Err(Refusal::Damaged { segment, offset, intact, .. }) = log.recover().1 else { panic!("batch 4 was durable") };
        assert_eq!((segment, offset, intact), (2, 2 * BLOCK as u64, 1));
    }

    #[test]
    fn behind_what_has_rotted_there_is_no_torn_tail() {
        let recover_after = |hit: usize, image: u64| {
            let mut log = Log::new();
            log.add_flushed(6);
            log.batch(hit)[20] ^= 1;
            let known = Known { image: Zxid(image), ..Known::default() };
            recover(Recovery::knowing(known), &log.files).1
        };
        // Batch 4 was durable, and 6 was perhaps acknowledged: no image holds it.
        assert!(matches!(recover_after(4, 5), Err(Refusal::Damaged { durable: Zxid(5), good: Zxid(3), intact: 2, .. })));
        let plan = recover_after(4, 6).unwrap();
        assert!(plan.warnings[0].contains("held by image 0x6"), "{:?}", plan.warnings);
        assert_eq!(recover_after(6, 5).unwrap().last, Zxid(5), "the last batch alone may be torn");
    }

    #[test]
    fn a_mark_that_is_older_than_the_image_proves_no_rot_behind_it() {
        // A state came that stands at 7; the log began anew behind it, or went on behind 3. The watermark is still of before.
        for (before, durable) in [(0, 5), (3, 5), (0, 7), (3, 7)] {
            let mut log = Log::new();
            log.add_flushed(before);
            let at = *log.appender.position();
            log.appender = Appender::new(at, Zxid(7));
            log.add_unflushed(2);
            log.batch(before + 1).fill(0);
            let known = Known { durable: Zxid(durable), image: Zxid(7), ..Known::default() };
            let (zxids, plan) = recover(Recovery::knowing(known), &log.files);
            assert_eq!((zxids, plan.unwrap().last), (vec![], Zxid(before as u64)), "the image holds what comes before it");
        }
    }

    #[test]
    fn a_file_cut_short_gets_its_size_back() {
        let mut log = Log::new();
        log.add_flushed(2);
        log.files.get_mut(&1).unwrap().truncate(3 * BLOCK + 10);
        let plan = log.recover().1.unwrap();
        assert_eq!(plan.erase, [EraseRange { segment: 1, offset: 3 * BLOCK as u64, len: 2 * BLOCK as u64 }]);
        log.files.get_mut(&1).unwrap().truncate(2 * BLOCK + 100);
        let (zxids, plan) = log.recover();
        assert_eq!((zxids, place(&plan.unwrap())), (up_to(1), (1, 2 * BLOCK as u64, 2)));
    }

    #[test]
    fn a_first_batch_that_is_gone_has_no_successor() {
        let mut log = Log::new();
        log.add_unflushed(6);
        log.batch(1).fill(0);
        let (zxids, plan) = log.recover();
        let plan = plan.unwrap();
        assert_eq!((zxids, plan.start), (vec![], Start::Continue(Position::new_log(start(1)))));
        assert_eq!(plan.erase.iter().map(|range| range.len).sum::<u64>(), 5 * BLOCK as u64);
    }

    #[test]
    fn a_record_the_visitor_refuses_is_named() {
        let mut log = Log::new();
        log.add_flushed(3);
        let mut recovery = Recovery::new();
        let stop = recovery.segment(1, &log.files[&1], |record| if record.first == Zxid(2) { Err("no txn") } else { Ok(()) });
        let line = "log.0000000000000001 record 0 of the batch at offset 8192 (zxid 0x2..0x2): no txn";
        assert_eq!(stop.unwrap_err().to_string(), line);
        assert_eq!(recovery.last(), Zxid(1));
    }
}
