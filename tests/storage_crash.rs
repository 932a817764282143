//! Storage under crashes and damage: what was acknowledged is found again, what was not never returns, damage is never read.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;
use ringkeeper::ground::ids::{ServerId, Zxid};
use ringkeeper::ground::limits::BLOCK;
use ringkeeper::ground::time::WallMillis;
use ringkeeper::storage::appender::{Appender, Contents, Placement, Position};
use ringkeeper::storage::batch::{BATCH_HEADER, BatchHeader, framed_len, put_record};
use ringkeeper::storage::recovery::{Plan, Recovery, Start};
use ringkeeper::storage::refusal::{Refusal, Stop};
use ringkeeper::storage::scanner::survey;
use ringkeeper::storage::segment::{SegmentHeader, SegmentStart};

const SECTOR: usize = 512;
/// Blocks of a segment here: small, so that boundaries are met often.
const BLOCKS: usize = 8;
const FLIGHTS: usize = 4;

/// xorshift64*: one seed, one test image.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) as usize) % n
    }
}

type Files = BTreeMap<u64, Vec<u8>>;
type History = Vec<(Zxid, Vec<u8>)>;

fn prepare(files: &mut Files, number: u64, salt: u64) -> SegmentStart {
    let start = SegmentStart { number, salt, size: (BLOCKS * BLOCK) as u64 };
    let mut file = vec![0; BLOCKS * BLOCK];
    file[..BLOCK]
        .copy_from_slice(&SegmentHeader { start, server: ServerId(1), created: WallMillis(7), recycled: false }.encode()[..]);
    files.insert(number, file);
    start
}

/// A segment made of a file that was one before: behind the new header are the old bytes.
fn prepare_used(files: &mut Files, number: u64, salt: u64, from: u64) -> SegmentStart {
    let start = SegmentStart { number, salt, size: (BLOCKS * BLOCK) as u64 };
    let mut file = files[&from].clone();
    let header = SegmentHeader { start, server: ServerId(1), created: WallMillis(7), recycled: true };
    file[..BLOCK].copy_from_slice(&header.encode()[..]);
    files.insert(number, file);
    start
}

/// Whether nothing in a segment from `from` on could ever be taken for a batch of it.
fn is_spent(number: u64, file: &[u8], from: usize) -> bool {
    let header = SegmentHeader::decode(number, file).unwrap();
    let blank = file[from..].iter().all(|byte| *byte == 0);
    blank || header.recycled && survey(file, Some(header.start.salt), from, 0).headers == 0
}

/// A batch framed and perhaps not yet on the disk.
#[derive(Clone)]
struct Framed {
    placed: Placement,
    bytes: Vec<u8>,
    header: BatchHeader,
}

impl Framed {
    /// Bytes that matter; the rest is padding.
    fn used(&self) -> usize {
        BATCH_HEADER + self.header.payload_len as usize
    }

    fn on_disk<'a>(&self, files: &'a Files) -> &'a [u8] {
        let at = self.placed.offset as usize;
        files.get(&self.placed.segment).and_then(|file| file.get(at..at + self.placed.len)).unwrap_or_default()
    }

    fn intact(&self, files: &Files) -> bool {
        self.on_disk(files).get(..self.used()) == Some(&self.bytes[..self.used()])
    }
}

/// How much of a write in flight reaches the disk when the power goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Whole,
    Torn,
    Absent,
}

/// A log, its disk, and the ghost that knows what was written.
struct World {
    files: Files,
    log: Appender,
    spares: Vec<SegmentStart>,
    /// Every record of the one true history, by zxid.
    history: History,
    flights: Vec<Framed>,
    /// Every batch that landed whole.
    landed: Vec<Framed>,
    dice: Dice,
    /// Segments made of used files.
    recycled: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut files = Files::new();
        let start = prepare(&mut files, 1, seed ^ 0xabc);
        let log = Appender::new(Position::new_log(start), Zxid::ZERO);
        Self { files, log, spares: vec![], history: vec![], flights: vec![], landed: vec![], dice: Dice::new(seed), recycled: 0 }
    }

    fn room(&mut self, len: usize) {
        if self.log.fits(len) {
            return;
        }
        let next = if self.spares.is_empty() {
            let number = self.log.position().segment.number + 1;
            let salt = self.dice.next();
            if self.dice.below(3) > 0 {
                let from = 1 + self.dice.below(self.files.len()) as u64;
                self.recycled += 1;
                prepare_used(&mut self.files, number, salt, from)
            } else {
                prepare(&mut self.files, number, salt)
            }
        } else {
            self.spares.remove(0)
        };
        self.log.roll(next);
    }

    /// Frames a batch of a few records of chance sizes, one to three blocks long.
    fn frame(&mut self) {
        let first = Zxid(self.log.last().0 + 1 + self.dice.below(3) as u64);
        let count = 1 + self.dice.below(4) as u32;
        let each = self.dice.below(3 * BLOCK - 200) / count as usize;
        let (mut parts, mut last) = (Vec::new(), first);
        for i in 0..count {
            last = Zxid(first.0 + u64::from(i));
            let mut record = last.0.to_be_bytes().to_vec();
            let fill = self.dice.next() as u8;
            record.extend((0..each).map(|j| fill.wrapping_add((j / 7) as u8) | 1));
            let mut part = Vec::new();
            put_record(&mut part, &record);
            parts.push(part);
            self.history.push((last, record));
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut bytes = vec![0xee; framed_len(parts.iter().map(|part| part.len()).sum())];
        self.room(bytes.len());
        let committed = self.log.durable();
        let placed = self.log.frame_into(Contents { first, last, count }, &parts, committed, &mut bytes);
        self.fly(placed, bytes);
    }

    fn mark(&mut self) {
        self.room(BLOCK);
        let mut bytes = vec![0xee; BLOCK];
        let placed = self.log.mark_into(self.log.durable(), &mut bytes);
        self.fly(placed, bytes);
    }

    fn fly(&mut self, placed: Placement, bytes: Vec<u8>) {
        let (header, _) = BatchHeader::decode(&bytes).unwrap();
        self.flights.push(Framed { placed, bytes, header });
    }

    /// The disk takes what survives of a write; `true` if nothing that matters is missing.
    fn land(&mut self, flight: &Framed, fate: Fate) -> bool {
        let file = self.files.get_mut(&flight.placed.segment).unwrap();
        let at = flight.placed.offset as usize;
        for (i, sector) in flight.bytes.chunks(SECTOR).enumerate() {
            let lands = match fate {
                Fate::Whole => true,
                Fate::Absent => false,
                Fate::Torn => self.dice.below(2) == 0,
            };
            if lands {
                file[at + i * SECTOR..at + (i + 1) * SECTOR].copy_from_slice(sector);
            }
        }
        let intact = flight.intact(&self.files);
        if intact {
            self.landed.push(flight.clone());
        }
        intact
    }

    /// The flush of the `i`th flight ends well.
    fn flush(&mut self, i: usize) {
        let flight = self.flights.remove(i);
        assert!(self.land(&flight, Fate::Whole));
        self.log.flushed(flight.placed.sequence);
    }

    fn flush_all(&mut self) {
        while !self.flights.is_empty() {
            self.flush(0);
        }
    }

    /// The power goes; flights meet the fates given. Comes back as the plan says, checked against the ghost.
    fn crash(&mut self, fates: &[Fate]) -> Plan {
        let acknowledged = self.log.durable();
        let flights = std::mem::take(&mut self.flights);
        // Batches flushed behind a slower one are whole on the disk although not acknowledged.
        let first = self.log.position().sequence - self.log.in_flight() as u64;
        let mut reached = acknowledged;
        let mut pending =
            flights.iter().zip(fates).map(|(flight, fate)| (flight.clone(), self.land(flight, *fate))).collect::<Vec<_>>();
        for sequence in first..self.log.position().sequence {
            let at = pending.iter().position(|(flight, _)| flight.placed.sequence == sequence);
            let (flight, whole) = match at {
                Some(at) => pending.remove(at),
                None => (self.landed.iter().rev().find(|f| f.placed.sequence == sequence).unwrap().clone(), true),
            };
            if !whole {
                break;
            }
            reached = flight.header.last;
        }
        let (read, plan) = recover(&self.files);
        let plan = plan.expect("a crash is never refused");
        assert!(plan.last >= acknowledged, "acknowledged {acknowledged}, found {}", plan.last);
        assert_eq!(plan.last, reached, "the contiguous prefix on the disk, no more and no less");
        self.history.retain(|(zxid, _)| *zxid <= reached);
        assert!(read == self.history, "the records are those of the history");
        assert!(plan.committed <= plan.last && plan.durable_mark <= plan.last);
        self.landed.retain(|batch| batch.header.last <= reached);
        self.come_back(&plan);
        plan
    }

    /// Carries out the plan.
    fn come_back(&mut self, plan: &Plan) {
        // The power may go again while the plan is carried out: some sectors are zero by then, and nothing else changes.
        for range in &plan.erase {
            let file = self.files.get_mut(&range.segment).unwrap();
            for sector in file[range.offset as usize..(range.offset + range.len) as usize].chunks_mut(SECTOR) {
                if self.dice.below(2) == 0 {
                    sector.fill(0);
                }
            }
        }
        let (read, halfway) = recover(&self.files);
        let halfway = halfway.expect("half a plan is never refused");
        assert!(read == self.history);
        assert_eq!((halfway.start, halfway.last), (plan.start, plan.last));
        apply(&mut self.files, &halfway);
        let Start::Continue(at) = plan.start else { panic!("the first segment was durable") };
        for (number, file) in self.files.range(at.segment.number..) {
            let from = if *number == at.segment.number { at.offset as usize } else { BLOCK };
            assert!(is_spent(*number, file, from), "nothing after the log can be read as part of it");
        }
        let (read, again) = recover(&self.files);
        let again = again.expect("a recovered log recovers");
        assert!(read == self.history);
        assert!(again.erase.is_empty() && again.warnings.is_empty(), "{again:?}");
        assert_eq!((again.start, &again.spares), (plan.start, &plan.spares));
        self.spares.clone_from(&plan.spares);
        self.log = Appender::new(at, Zxid::ZERO);
    }
}

fn apply(files: &mut Files, plan: &Plan) {
    for range in &plan.erase {
        let file = files.get_mut(&range.segment).unwrap();
        let end = (range.offset + range.len) as usize;
        if file.len() < end {
            file.resize(end, 0);
        }
        file[range.offset as usize..end].fill(0);
        assert!(plan.sync.contains(&range.segment), "what is erased is synced");
    }
    for number in &plan.remove {
        files.remove(number);
    }
    for number in &plan.recreate {
        prepare(files, *number, 0x5eed ^ number);
    }
}

fn recover(files: &Files) -> (History, Result<Plan, Refusal>) {
    let mut records = Vec::new();
    let mut recovery = Recovery::new();
    for (number, file) in files {
        let read = recovery.segment(*number, file, |record| {
            let zxid = Zxid(u64::from_be_bytes(*record.bytes.first_chunk().unwrap()));
            assert!(record.first <= zxid && zxid <= record.last);
            records.push((zxid, record.bytes.to_vec()));
            Ok::<_, Infallible>(())
        });
        match read {
            Ok(()) => {}
            Err(Stop::Refused(refusal)) => return (records, Err(refusal)),
            Err(Stop::Record { source, .. }) => match source {},
        }
    }
    (records, recovery.finish())
}

/// Every subset of four batches in flight, whole, torn or absent, the segment boundary before, among and after them.
#[test]
fn every_subset_of_the_flights() {
    const FATES: [Fate; 3] = [Fate::Whole, Fate::Torn, Fate::Absent];
    let (mut images, mut crossings, mut recycled) = (0, 0, 0);
    for lead in 0..8 {
        for subset in 0..3usize.pow(FLIGHTS as u32) {
            for sample in 0..3u64 {
                let mut world = World::new(lead * 1000 + sample);
                for _ in 0..lead {
                    world.frame();
                    world.flush_all();
                }
                for round in 0..2 {
                    for _ in 0..FLIGHTS {
                        world.frame();
                    }
                    let segments = world.flights.iter().map(|flight| flight.placed.segment);
                    crossings += usize::from(segments.clone().min() != segments.max());
                    let fates: Vec<Fate> =
                        (0..FLIGHTS as u32).map(|i| FATES[(subset / 3usize.pow(i) + round * i as usize) % 3]).collect();
                    world.crash(&fates);
                    images += 1;
                }
                world.frame();
                world.flush_all();
                world.crash(&[]);
                recycled += usize::from(world.recycled > 1);
            }
        }
    }
    assert!(recycled > images / 8, "{recycled} of {images} images are of segments that were used before");
    assert_eq!(images, 8 * 81 * 3 * 2);
    assert!(crossings > images / 2, "{crossings} of {images} images cross a boundary");
}

/// One batch in flight, torn at each subset of a sample of its sectors: whole only if nothing that matters is missing.
#[test]
fn every_sector_boundary_of_one_batch() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.frame();
        world.flush_all();
        world.frame();
        let before = (world.files.clone(), world.history.clone());
        let flight = world.flights[0].clone();
        let durable = world.log.durable();
        let sectors = flight.bytes.len() / SECTOR;
        // Prefixes, suffixes, and each single sector missing.
        let subsets = (0..=sectors)
            .flat_map(|n| [(0..n).collect::<Vec<_>>(), (n..sectors).collect(), (0..sectors).filter(|i| *i != n).collect()]);
        for subset in subsets {
            let mut files = before.0.clone();
            let at = flight.placed.offset as usize;
            for i in subset {
                let (from, to) = (i * SECTOR, (i + 1) * SECTOR);
                files.get_mut(&flight.placed.segment).unwrap()[at + from..at + to].copy_from_slice(&flight.bytes[from..to]);
            }
            let (read, plan) = recover(&files);
            let plan = plan.unwrap();
            let expected = if flight.intact(&files) { flight.header.last } else { durable };
            assert_eq!(plan.last, expected);
            assert!(before.1.iter().filter(|(zxid, _)| *zxid <= expected).eq(&read));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// A life of appends, flushes in any order, marks and crashes.
    #[test]
    fn lives_of_a_log(seed: u64, steps in prop::collection::vec((0..10u8, any::<u8>()), 1..80)) {
        let mut world = World::new(seed);
        for (step, choice) in steps {
            let choice = usize::from(choice);
            match step {
                0..=3 if world.log.in_flight() < FLIGHTS => world.frame(),
                4..=7 if !world.flights.is_empty() => world.flush(choice % world.flights.len()),
                8 if world.log.wants_mark() && world.log.in_flight() < FLIGHTS => world.mark(),
                9 => {
                    let fates: Vec<Fate> = (0..world.flights.len() as u32)
                        .map(|i| [Fate::Whole, Fate::Torn, Fate::Absent][(choice / 3usize.pow(i)) % 3])
                        .collect();
                    world.crash(&fates);
                }
                _ => {}
            }
        }
        let fates = vec![Fate::Torn; world.flights.len()];
        world.crash(&fates);
    }

    #[test]
    fn arbitrary_files_are_no_log(files in prop::collection::vec(prop::collection::vec(prop_oneof![9 => Just(0u8), 1 => any::<u8>()], 0..2 * BLOCK), 0..4)) {
        let files: Files = (1..).zip(files).collect();
        let (read, plan) = recover(&files);
        prop_assert!(read.is_empty());
        let plan = plan.unwrap();
        prop_assert_eq!((plan.start, plan.recreate.len()), (Start::New { number: 1 }, files.len()));
    }
}

/// A log of a dozen batches over some segments, with a spare, the last flights perhaps not flushed.
fn grown(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..12 {
        world.frame();
        if world.log.in_flight() == FLIGHTS || world.dice.below(3) > 0 {
            let which = world.dice.below(world.flights.len());
            world.flush(which);
        }
        if world.log.wants_mark() && world.log.in_flight() < FLIGHTS && world.dice.below(4) == 0 {
            world.mark();
        }
    }
    // All landed; whether the log knew is another matter.
    for flight in std::mem::take(&mut world.flights) {
        assert!(world.land(&flight, Fate::Whole));
    }
    world.landed.sort_by_key(|batch| batch.placed.sequence);
    let spare = world.log.position().segment.number + 1;
    if world.files.contains_key(&spare) {
        return world;
    }
    if seed.is_multiple_of(2) {
        prepare(&mut world.files, spare, seed);
    } else {
        prepare_used(&mut world.files, spare, seed, spare - 1);
    }
    world
}

fn hurt(files: &mut Files, dice: &mut Dice) -> String {
    let numbers: Vec<u64> = files.keys().copied().collect();
    let number = numbers[dice.below(numbers.len())];
    let file = files.get_mut(&number).unwrap();
    if file.is_empty() {
        return "nothing left to hurt".into();
    }
    let at = dice.below(file.len());
    let kind = dice.below(7);
    match kind {
        0 | 1 => file[at] ^= 1 << dice.below(8),
        2 => {
            let to = file.len().min(at + 1 + dice.below(2 * BLOCK));
            file[at..to].fill(0);
        }
        3 => {
            let from = at / BLOCK * BLOCK;
            let to = file.len().min(from + BLOCK * (1 + dice.below(3)));
            file[from..to].fill(0);
        }
        4 => file.truncate(at),
        5 => {
            // A block written to the wrong place.
            let other = numbers[dice.below(numbers.len())];
            let block = dice.below(BLOCKS) * BLOCK;
            let stray = files[&other].get(block..block + BLOCK).map(<[u8]>::to_vec).unwrap_or_default();
            let to = at / BLOCK * BLOCK;
            let file = files.get_mut(&number).unwrap();
            let len = stray.len().min(file.len() - to);
            file[to..to + len].copy_from_slice(&stray[..len]);
        }
        // The loss of the first file is for the owner of the list of segments to notice.
        _ if number != numbers[0] => drop(files.remove(&number)),
        _ => file[at / SECTOR * SECTOR] ^= 0x80,
    }
    format!("kind {kind} at {at} of segment {number}")
}

/// Random damage: clean, torn tail or refused, never a wrong record; refused whenever durable transactions are lost as far as
/// any readable header tells.
#[test]
fn random_damage_is_never_read() {
    let (mut clean, mut torn, mut refused) = (0, 0, 0);
    for seed in 0..3000u64 {
        let world = grown(seed / 4);
        let mut dice = Dice::new(seed ^ 0xdead);
        let mut files = world.files.clone();
        let mut what = format!("seed {seed}");
        for _ in 0..1 + dice.below(3) {
            what = format!("{what}, {}", hurt(&mut files, &mut dice));
        }
        let (read, result) = recover(&files);
        assert!(read.len() <= world.history.len() && read == world.history[..read.len()], "{what}: a wrong record");

        let usable = |number: u64| files.get(&number).is_some_and(|file| SegmentHeader::decode(number, file).is_ok());
        let whole = |batch: &Framed| usable(batch.placed.segment) && batch.intact(&files);
        let prefix = world.landed.iter().take_while(|batch| whole(batch));
        let good = prefix.clone().last().map_or(Zxid::ZERO, |batch| batch.header.last);
        let readable = world.landed.iter().filter(|batch| {
            let at = batch.placed.offset as usize;
            let header = files.get(&batch.placed.segment).and_then(|file| file.get(at..at + BATCH_HEADER));
            usable(batch.placed.segment) && header == Some(&batch.bytes[..BATCH_HEADER])
        });
        let durable = readable.map(|batch| batch.header.durable).max().unwrap_or_default();
        match result {
            Ok(plan) => {
                assert_eq!(plan.last, good, "{what}: all of the good prefix");
                assert!(durable <= plan.last, "{what}: durable up to {durable}, lost after {good}");
                assert_eq!(read.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid), plan.last, "{what}");
                assert_eq!(plan.batches, prefix.count() as u64, "{what}");
                apply(&mut files, &plan);
                let (again, second) = recover(&files);
                assert!(again == read, "{what}: the plan keeps the records");
                let second = second.unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
                assert!(second.erase.is_empty() && second.recreate.is_empty() && second.remove.is_empty(), "{what}: {second:?}");
                if plan.warnings.is_empty() {
                    clean += 1;
                } else {
                    torn += 1;
                }
            }
            Err(refusal) => {
                refused += 1;
                match refusal {
                    Refusal::Damaged { good: found, durable: mark, .. } => {
                        assert_eq!((found, mark), (good, durable), "{what}: {refusal}");
                        assert!(durable > good, "{what}: refused for a torn tail: {refusal}");
                    }
                    Refusal::Missing { segment, .. } => assert!(!files.contains_key(&segment), "{what}: {refusal}"),
                    Refusal::Header { segment, .. } => assert!(!usable(segment), "{what}: {refusal}"),
                    other => panic!("{what}: {other}"),
                }
                let line = refusal.to_string();
                assert!(line.starts_with("log.") && line.contains("0x") && !line.contains('\n'), "{line}");
            }
        }
    }
    assert!(clean > 100 && torn > 100 && refused > 1000, "{clean} clean, {torn} torn, {refused} refused");
}
