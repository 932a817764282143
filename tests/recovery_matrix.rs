//! Recovery matrix: each way in which a directory can be wrong at start, many times over, on the recovery code itself, as a server
//! that runs alone answers it. Rows 15, 19, 26, 27 and 28 need peers and come with the ensemble. Rows 10, 22 to 25 and 30 are about
//! a process and its files: `tests/server` has 10, 22, 23 and 24, `src/engine/rig/room.rs` 24 without a disk; 25 is the archivist's.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper::ground::ids::{ServerId, Zxid};
use ringkeeper::ground::limits::BLOCK;
use ringkeeper::ground::time::WallMillis;
use ringkeeper::storage::appender::{Appender, Contents, Placement, Position};
use ringkeeper::storage::batch::{BATCH_HEADER, BatchHeader, framed_len, put_record};
use ringkeeper::storage::manifest::{self, Manifest};
use ringkeeper::storage::papers::{self, Files, Papers};
use ringkeeper::storage::promise::{self, Promise};
use ringkeeper::storage::recovery::{Known, Plan, Recovery, Start};
use ringkeeper::storage::scrub::{Look, Scrub};
use ringkeeper::storage::segment::{SegmentHeader, SegmentStart, file_name};
use ringkeeper::storage::selection::{Extent, HEAD, Selection, replay_from};
use ringkeeper::storage::slots::{Form, Slots};
use ringkeeper::storage::watermark;

/// Generated directories of each row.
const VARIANTS: u64 = 24;

const BLOCKS: usize = 10;
const HERE: ServerId = ServerId(3);

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % n
    }

    /// From `from` to `to`, both included.
    fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }
}

#[derive(Clone, Copy)]
struct Placed {
    at: Placement,
    header: BatchHeader,
}

/// A directory as it lies on the disk, and what was ever written to it.
struct World {
    dice: Dice,
    segments: BTreeMap<u64, Vec<u8>>,
    log: Appender,
    batches: Vec<Placed>,
    /// Images, and those of them that are good.
    images: BTreeMap<u64, bool>,
    papers: BTreeMap<&'static str, Vec<u8>>,
    /// The manifest that is written; its oldest segment is also the oldest that is there.
    manifest: Manifest,
    promise: Promise,
}

fn blank(number: u64, recycled_from: Option<&[u8]>) -> (SegmentStart, Vec<u8>) {
    let start = SegmentStart { number, salt: number.wrapping_mul(77) ^ 0x5a17, size: (BLOCKS * BLOCK) as u64 };
    let mut file = recycled_from.map_or_else(|| vec![0; BLOCKS * BLOCK], <[u8]>::to_vec);
    let header = SegmentHeader { start, server: HERE, created: WallMillis(1), recycled: recycled_from.is_some() };
    file[..BLOCK].copy_from_slice(&header.encode()[..]);
    (start, file)
}

impl World {
    /// Batches of one or two blocks, flushed one by one, in four to six segments, some of them used before; two images; a spare.
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let (start, file) = blank(1, None);
        let mut world = Self {
            log: Appender::new(Position::new_log(start), Zxid::ZERO),
            segments: BTreeMap::from([(1, file)]),
            batches: Vec::new(),
            images: BTreeMap::new(),
            papers: BTreeMap::new(),
            manifest: Manifest { server: HERE, ensemble: 0, oldest: 1, image: Zxid::ZERO },
            promise: Promise { accepted: 2, current: 1 },
            dice: Dice::new(0),
        };
        let segments = dice.within(4, 6) as u64;
        world.dice = dice;
        while world.log.position().segment.number < segments || world.log.position().offset < 4 * BLOCK as u64 {
            world.add(true);
        }
        world.spare();
        let last = world.last().0 as usize;
        for _ in 0..2 {
            let zxid = world.dice.within(last / 3, last - 4) as u64;
            world.images.insert(zxid, true);
        }
        world.manifest.image = Zxid(*world.images.keys().last().unwrap());
        world.write_papers(world.last());
        world
    }

    /// The same with what the images make superfluous gone from the front.
    fn purged(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let oldest = *world.images.keys().next().unwrap();
        world.purge(Zxid(oldest));
        world
    }

    fn purge(&mut self, image: Zxid) {
        let extents = self.extents();
        let from = extents[replay_from(&extents, image)].number;
        self.segments.retain(|number, _| *number >= from);
        self.manifest.oldest = from;
        self.write_papers(self.last());
    }

    fn last(&self) -> Zxid {
        self.log.last()
    }

    fn spare(&mut self) -> SegmentStart {
        let number = self.log.position().segment.number + 1;
        let used = self.segments.values().next().cloned().filter(|_| number > 2 && self.dice.below(2) == 0);
        let (start, file) = blank(number, used.as_deref());
        self.segments.entry(number).or_insert(file);
        start
    }

    fn add(&mut self, is_flushed: bool) {
        let zxid = Zxid(self.log.last().0 + 1);
        let mut payload = Vec::new();
        let len = 8 + self.dice.below(BLOCK + 1000);
        let mut record = vec![zxid.0 as u8 | 1; len];
        record[..8].copy_from_slice(&zxid.0.to_be_bytes());
        put_record(&mut payload, &record);
        let mut bytes = vec![0; framed_len(payload.len())];
        if !self.log.fits(bytes.len()) {
            let next = self.spare();
            self.log.roll(next);
        }
        let at = self.log.frame_into(Contents { first: zxid, last: zxid, count: 1 }, &[&payload], Zxid(zxid.0 - 1), &mut bytes);
        let (header, _) = BatchHeader::decode(&bytes).unwrap();
        self.segments.get_mut(&at.segment).unwrap()[at.offset as usize..][..at.len].copy_from_slice(&bytes);
        self.batches.push(Placed { at, header });
        if is_flushed {
            self.log.flushed(at.sequence);
        }
    }

    fn write_papers(&mut self, durable: Zxid) {
        self.paper(manifest::FORM, &self.manifest.encode());
        self.paper(promise::FORM, &self.promise.encode());
        self.paper(watermark::FORM, &watermark::encode(durable));
    }

    fn paper(&mut self, form: Form, payload: &[u8]) {
        self.papers.insert(form.name, Slots::create(form, payload).1);
    }

    /// Batch `i` on the disk, from the front, or from the back where it is negative.
    fn batch(&mut self, i: isize) -> (Placed, &mut [u8]) {
        let i = if i < 0 { self.batches.len() as isize + i } else { i };
        let placed = self.batches[i as usize];
        let file = self.segments.get_mut(&placed.at.segment).unwrap();
        (placed, &mut file[placed.at.offset as usize..][..placed.at.len])
    }

    /// Makes a batch unreadable in one of several ways.
    fn hurt(&mut self, i: isize) -> Placed {
        let (kind, n) = (self.dice.below(4), self.dice.below(1 << 20));
        let (placed, bytes) = self.batch(i);
        let used = BATCH_HEADER + placed.header.payload_len as usize;
        match kind {
            0 => bytes[n % used] ^= 1 << (n % 8),
            1 => bytes[..BATCH_HEADER].fill(0),
            2 => bytes[BATCH_HEADER + n % (used - BATCH_HEADER)..used].iter_mut().for_each(|byte| *byte = !*byte),
            _ => bytes.fill(0),
        }
        placed
    }

    /// A batch in the middle of those that a start reads, as counted from the front.
    fn in_the_middle(&mut self) -> isize {
        let image = Zxid(*self.images.keys().last().unwrap());
        let from = self.extents()[replay_from(&self.extents(), image)].number;
        let first = self.batches.iter().position(|placed| placed.at.segment == from).unwrap();
        // One that the image does not make superfluous, with one behind it that vouches for it.
        let first = first.max(image.0 as usize);
        // And one in its own segment, so that the place of the damage is beyond doubt.
        let is_followed = |i: &usize| self.batches[*i].at.segment == self.batches[i + 1].at.segment;
        let all: Vec<usize> = (first..self.batches.len() - 1).filter(is_followed).collect();
        all[self.dice.below(all.len())] as isize
    }

    fn extents(&self) -> Vec<Extent> {
        let of = |(number, file): (&u64, &Vec<u8>)| Extent::of(*number, &file[..file.len().min(HEAD)], file.len() as u64);
        self.segments.iter().map(of).collect()
    }

    /// As `server/recover.rs` does it, in memory.
    fn start(&self) -> Result<Started, String> {
        let paper = |form: Form| self.papers.get(form.name).map(Vec::as_slice);
        let files = Files { manifest: paper(manifest::FORM), promise: paper(promise::FORM), watermark: paper(watermark::FORM) };
        let papers = papers::judge(files, HERE).map_err(|refusal| refusal.to_string())?;
        let said = papers.as_ref().map(|papers| papers.manifest.said);
        let good = self.images.iter().rfind(|(_, is_good)| **is_good).map_or(0, |(zxid, _)| *zxid);
        let image = Zxid(good);
        let extents = self.extents();
        let selection =
            Selection::of(&extents, said.map_or(0, |said| said.oldest), image).map_err(|refusal| refusal.to_string())?;
        let mut recovery = Recovery::knowing(Known {
            durable: papers.as_ref().map_or(Zxid::ZERO, Papers::durable),
            image,
            newest: said.map_or(Zxid::ZERO, |said| said.image),
        });
        let mut read = BTreeSet::new();
        for extent in &selection.read {
            let visit = |record: ringkeeper::storage::recovery::Record<'_>| {
                let zxid = Zxid(u64::from_be_bytes(*record.bytes.first_chunk().unwrap()));
                if zxid > image {
                    assert!(read.insert(zxid), "each record once");
                }
                Ok::<_, std::convert::Infallible>(())
            };
            recovery.segment(extent.number, &self.segments[&extent.number], visit).map_err(|stop| stop.to_string())?;
        }
        let plan = recovery.finish().map_err(|refusal| refusal.to_string())?;
        if let Some(papers) = &papers {
            papers.allow(plan.last.max(image)).map_err(|refusal| refusal.to_string())?;
        }
        let lines = papers.iter().flat_map(|papers| papers.warnings.clone()).chain(plan.warnings.clone()).collect();
        let contiguous = read.iter().zip(image.0 + 1..).all(|(zxid, expected)| zxid.0 == expected);
        assert!(contiguous, "nothing is skipped: image {image}, read {read:?}");
        Ok(Started { image, reached: Zxid(image.0 + read.len() as u64), selection, plan, lines })
    }
}

struct Started {
    image: Zxid,
    /// The state that clients would see.
    reached: Zxid,
    selection: Selection,
    plan: Plan,
    lines: Vec<String>,
}

/// What is to come of a row.
enum Answer {
    /// It starts, at this zxid, and says just one line with these words, or none.
    Starts(Zxid, Option<String>),
    /// It refuses, with these words.
    Refuses(String),
}

use Answer::{Refuses, Starts};

/// Words of which every line for an operator has one: what to do now.
const NEXT_STEPS: [&str; 8] = [
    "nothing to be done",
    "rejoin from the ensemble",
    "restore the file",
    "start the release that wrote it",
    "set myid to",
    "put the files together",
    "compare with a copy",
    "from a copy",
];

fn check(row: &str, make: impl Fn(u64) -> (World, Answer)) {
    for seed in 0..VARIANTS {
        let (world, answer) = make(seed);
        let result = world.start();
        let what = format!("row {row}, variant {seed}");
        let line = match (answer, &result) {
            (Starts(zxid, words), Ok(started)) => {
                assert_eq!(started.reached, zxid, "{what}: {:?}", started.lines);
                let Some(words) = words else {
                    assert!(started.lines.is_empty(), "{what}: {:?}", started.lines);
                    continue;
                };
                assert_eq!(started.lines.len(), 1, "{what}: {:?}", started.lines);
                assert!(started.lines[0].contains(&words), "{what}: {words:?} in {:?}", started.lines);
                started.lines[0].clone()
            }
            (Refuses(words), Err(line)) => {
                assert!(line.contains(&words), "{what}: {words:?} in {line}");
                line.clone()
            }
            (Starts(..), Err(line)) => panic!("{what} is refused: {line}"),
            (Refuses(words), Ok(started)) => panic!("{what} starts at {} and should say {words:?}", started.reached),
        };
        let names_file = ["log.", "state/", "image."].iter().any(|name| line.contains(name));
        assert!(names_file && line.contains("0x") && !line.contains('\n') && !line.contains("  "), "{what}: {line}");
        assert!(line.contains("offset") || line.contains(" missing"), "{what}: {line}");
        assert!(NEXT_STEPS.iter().any(|step| line.contains(step)), "{what}: {line}");
    }
}

#[test]
fn nothing_wrong_is_a_quiet_start() {
    let (mut kept, mut recycled) = (0, 0);
    for seed in 0..VARIANTS {
        for mut world in [World::new(seed), World::purged(seed)] {
            let last = world.last();
            let started = world.start().unwrap();
            assert_eq!((started.reached, started.lines.len(), started.plan.erase.len()), (last, 0, 0), "{:?}", started.lines);
            kept += started.selection.kept.len();
            recycled += world.segments.iter().filter(|(n, file)| SegmentHeader::decode(**n, file).unwrap().recycled).count();
            // A directory of the release before: no papers, no images, the whole log.
            if world.manifest.oldest == 1 {
                world.papers.clear();
                world.images.clear();
                let started = world.start().unwrap();
                assert_eq!((started.image, started.reached, started.lines.len()), (Zxid::ZERO, last, 0));
            }
        }
    }
    assert!(kept > 20 && recycled > 20, "{kept} segments were not read, {recycled} were used before");
    let empty = World { segments: BTreeMap::new(), images: BTreeMap::new(), papers: BTreeMap::new(), ..World::new(0) };
    assert_eq!(empty.start().unwrap().plan.start, Start::New { number: 1 });
}

#[test]
fn row_1_a_torn_tail_is_cut() {
    check("1", |seed| {
        let mut world = World::purged(seed);
        let good = world.last();
        world.add(false);
        let placed = world.batches[world.batches.len() - 1].at;
        let kind = world.dice.below(2);
        let (_, bytes) = world.batch(-1);
        if kind == 0 {
            bytes[BATCH_HEADER] ^= 1
        } else {
            bytes[BATCH_HEADER..512].fill(0)
        }
        (
            world,
            Starts(good, Some(format!("{} tail torn at offset {} after zxid {good}", file_name(placed.segment), placed.offset))),
        )
    });
}

#[test]
fn row_2_a_durable_tail_that_is_unreadable_is_refused() {
    check("2", |seed| {
        let mut world = World::purged(seed);
        (world, Refuses(format!("{} damaged at offset {}", file_name(placed.at.segment), placed.at.offset)))
    });
}

#[test]
fn row_2_whole_segments_lost_at_the_end_are_refused() {
    check("2, files", |seed| {
        let mut world = World::new(seed);
        let active = world.log.position().segment.number;
        world.segments.retain(|number, _| *number < active);
        (world, Refuses("were durable up to".to_owned()))
    });
}

#[test]
fn row_3_damage_in_the_middle_is_refused() {
    check("3", |seed| {
        let mut world = World::purged(seed);
        let i = world.in_the_middle();
        let placed = world.hurt(i);
        let later = world.batches.len() - 1 - i as usize;
        let words = format!("{} damaged at offset {}", file_name(placed.at.segment), placed.at.offset);
        let line = world.start().err().unwrap_or_default();
        assert!(line.contains(&format!(" {later} later batches are intact")), "{line}");
        (world, Refuses(words))
    });
}

#[test]
fn row_3_damage_that_the_image_makes_good_is_no_loss() {
    check("3, older", |seed| {
        let mut world = World::new(seed);
        let image = Zxid(*world.images.keys().last().unwrap());
        let extents = world.extents();
        let from = extents[replay_from(&extents, image)].number;
        // In a segment that is not read at all.
        let older: Vec<_> = (0..world.batches.len()).filter(|i| world.batches[*i].at.segment < from).collect();
        if !older.is_empty() {
            let i = older[world.dice.below(older.len())];
            // Its beginning is looked at; what follows is not.
            let (_, bytes) = world.batch(i as isize);
            bytes[BATCH_HEADER + 3] ^= 1;
        }
        let last = world.last();
        (world, Starts(last, None))
    });
}

#[test]
fn row_3a_whole_batches_behind_a_torn_one_are_erased() {
    check("3a", |seed| {
        let mut world = World::purged(seed);
        let good = world.last();
        let flights = world.dice.within(2, 4);
        for _ in 0..flights {
            world.add(false);
        }
        let torn = world.dice.within(1, flights - 1);
        let i = -(torn as isize) - 1;
        let (placed, bytes) = world.batch(i);
        bytes[BATCH_HEADER] ^= 0x10;
        let reached = Zxid(placed.header.first.0 - 1);
        assert!(reached >= good);
        let started = world.start().unwrap();
        let erased: u64 = started.plan.erase.iter().map(|range| range.len).sum();
        let dropped: u64 = world.batches.iter().rev().take(torn + 1).map(|placed| placed.at.len as u64).sum();
        assert!(erased >= dropped, "{erased} of {dropped} bytes");
        (world, Starts(reached, Some(format!("{torn} batches among them"))))
    });
}

#[test]
fn row_4_a_broken_chain_is_refused() {
    check("4", |seed| {
        let mut world = World::purged(seed);
        let i = world.in_the_middle();
        let lost_write = world.dice.below(2) == 0;
        let (placed, bytes) = world.batch(i);
        // A batch of a log that went another way, or another batch of this one.
        let other = if lost_write {
            BatchHeader { chain: placed.header.chain ^ 1, ..placed.header }
        } else {
            BatchHeader { sequence: placed.header.sequence + 1, ..placed.header }
        };
        other.encode(bytes);
        let why = if lost_write { "the chain is broken" } else { "the log is broken" };
        (world, Refuses(format!("damaged at offset {} ({why}", placed.at.offset)))
    });
}

#[test]
fn row_5_bytes_of_an_older_use_are_the_end() {
    check("5", |seed| {
        let mut world = World::purged(seed);
        let stale = world.segments.values().next().unwrap()[BLOCK..].to_vec();
        let at = *world.log.position();
        let file = world.segments.get_mut(&at.segment.number).unwrap();
        let header = SegmentHeader::decode(at.segment.number, file).unwrap();
        file[..BLOCK].copy_from_slice(&SegmentHeader { recycled: true, ..header }.encode()[..]);
        // At whatever alignment: the next block may hold the middle of an old batch.
        let offset = at.offset as usize;
        let from = world.dice.below(4) * BLOCK;
        // Of another segment, or nothing is stale about it.
        if *world.segments.keys().next().unwrap() != at.segment.number {
            let len = (BLOCKS * BLOCK - offset).min(stale.len() - from);
            world.segments.get_mut(&at.segment.number).unwrap()[offset..offset + len].copy_from_slice(&stale[from..from + len]);
        }
        let last = world.last();
        (world, Starts(last, None))
    });
}

#[test]
fn row_6_missing_segments_are_refused() {
    check("6", |seed| {
        let mut world = World::purged(seed);
        let active = world.log.position().segment.number;
        let (oldest, count) = (world.manifest.oldest, active - world.manifest.oldest);
        let gone = oldest + world.dice.below(count.max(1) as usize) as u64;
        world.segments.remove(&gone);
        (world, Refuses(format!("{} missing", file_name(gone))))
    });
}

#[test]
fn row_7_leftovers_of_a_purge_are_set_aside() {
    check("7", |seed| {
        let mut world = World::new(seed);
        let whole = world.segments.clone();
        world.purge(Zxid(*world.images.keys().next().unwrap()));
        let oldest = world.manifest.oldest;
        // The crash came before all of them were gone.
        let left: Vec<u64> = (1..oldest).filter(|_| world.dice.below(2) == 0).collect();
        for number in &left {
            world.segments.insert(*number, whole[number].clone());
        }
        let started = world.start().unwrap();
        assert_eq!(started.selection.leftovers, left);
        let last = world.last();
        (world, Starts(last, None))
    });
}

#[test]
fn row_8_a_segment_whose_making_was_interrupted_is_made_anew() {
    check("8", |seed| {
        let mut world = World::purged(seed);
        let spare = world.log.position().segment.number + 1;
        let (_, whole) = blank(spare, None);
        let kind = world.dice.below(4);
        let cut = world.dice.below(BLOCK);
        let file = match kind {
            0 => Vec::new(),
            1 => vec![0; BLOCKS * BLOCK],
            2 => whole[..cut].to_vec(),
            _ => whole[..BLOCK + cut].to_vec(),
        };
        world.segments.insert(spare, file);
        let started = world.start().unwrap();
        assert_eq!(started.plan.recreate, [spare]);
        let last = world.last();
        (world, Starts(last, Some(format!("recreated segment {}", file_name(spare)))))
    });
}

#[test]
fn row_9_a_lost_header_of_a_used_segment_is_refused() {
    check("9", |seed| {
        let mut world = World::purged(seed);
        let image = Zxid(*world.images.keys().last().unwrap());
        let from = world.extents()[replay_from(&world.extents(), image)].number;
        let active = world.log.position().segment.number;
        let hit = world.dice.within(from as usize, active as usize) as u64;
        let at = world.dice.below(BLOCK);
        world.segments.get_mut(&hit).unwrap()[at] ^= 1;
        (world, Refuses(format!("{} damaged at offset 0", file_name(hit))))
    });
}

#[test]
fn row_11_an_older_image_and_a_longer_replay() {
    check("11", |seed| {
        let mut world = World::purged(seed);
        let newest = *world.images.keys().last().unwrap();
        let alone = world.images.len() == 1;
        if world.dice.below(2) == 0 {
            world.images.insert(newest, false);
        } else {
            world.images.remove(&newest);
        }
        let last = world.last();
        let answer = if !alone {
            Starts(last, None)
        } else if world.manifest.oldest == 1 {
            Starts(last, None)
        } else {
            Refuses("no usable image and log.".to_owned())
        };
        (world, answer)
    });
    // The log behind the older image is gone: never skip.
    check("11, gone", |seed| {
        let mut world = World::purged(seed);
        let newest = *world.images.keys().last().unwrap();
        // Nothing is left of the log but what follows the newest image, which is damaged.
        world.log = Appender::new(Position::new_log(blank(90, None).0), Zxid(newest));
        world.segments = BTreeMap::from([(90, blank(90, None).1)]);
        world.manifest = Manifest { oldest: 90, ..world.manifest };
        world.batches.clear();
        for _ in 0..3 {
            world.add(true);
        }
        world.write_papers(world.last());
        world.images = BTreeMap::from([(newest, false), (newest / 2, true)]);
        (world, Refuses(format!("gap between zxid {} (image {})", Zxid(newest / 2), Zxid(newest / 2))))
    });
    check("11, behind", |seed| {
        let mut world = World::new(seed);
        let beyond = world.last().0 + 5;
        world.images.insert(beyond, false);
        world.manifest.image = Zxid(beyond);
        world.write_papers(world.last());
        (world, Refuses(format!("image.{beyond:016x} is missing or damaged")))
    });
}

#[test]
fn row_12_no_image_and_a_log_without_its_beginning_is_refused() {
    check("12", |seed| {
        let mut world = World::new(seed);
        world.purge(world.last());
        let first = world.extents()[0].begin.unwrap().after.0 + 1;
        let oldest = world.manifest.oldest;
        world.images.clear();
        if world.dice.below(2) == 0 {
            world.papers.clear();
        }
        (world, Refuses(format!("no usable image and {} starts at zxid {}", file_name(oldest), Zxid(first))))
    });
}

#[test]
fn row_13_a_gap_between_image_and_log_is_refused() {
    check("13", |seed| {
        let mut world = World::new(seed);
        world.purge(world.last());
        let first = world.extents()[0].begin.unwrap().after.0 + 1;
        let image = world.dice.within(1, first as usize - 2) as u64;
        world.images = BTreeMap::from([(image, true)]);
        let file = file_name(world.manifest.oldest);
        (world, Refuses(format!("gap between zxid {0} (image {0}) and zxid {1}, where {file}", Zxid(image), Zxid(first))))
    });
}

#[test]
fn row_14_an_image_beyond_the_log_is_legal() {
    check("14", |seed| {
        let mut world = World::new(seed);
        let beyond = world.last().0 + 1 + world.dice.below(9) as u64;
        world.images.insert(beyond, true);
        world.manifest.image = Zxid(beyond);
        world.write_papers(Zxid(beyond));
        let started = world.start().unwrap();
        let Start::Continue(at) = started.plan.start else { panic!("the log goes on") };
        // It does, and is read back.
        world.log = Appender::new(at, Zxid(beyond));
        assert_eq!(world.log.last(), Zxid(beyond));
        world.add(true);
        world.add(true);
        world.write_papers(world.last());
        let last = world.last();
        assert_eq!(last.0, beyond + 2);
        (world, Starts(last, None))
    });
    // And the hole that stays in the log is not walked over from an older image.
    check("14, hole", |seed| {
        let mut world = World::new(seed);
        let (end, beyond) = (world.last(), world.last().0 + 2 + world.dice.below(9) as u64);
        let Start::Continue(at) = world.start().unwrap().plan.start else { panic!("the log goes on") };
        world.log = Appender::new(at, Zxid(beyond));
        world.add(true);
        world.write_papers(world.last());
        (world, Refuses(format!("gap between zxid {end} ")))
    });
}

#[test]
fn row_16_a_lost_promise_or_manifest_is_refused() {
    for (what, name) in [("epoch record", promise::FORM.name), ("manifest", manifest::FORM.name)] {
        check("16", |seed| {
            let mut world = World::purged(seed);
            let (a, b) = (world.dice.below(BLOCK), world.dice.below(BLOCK));
            let kind = world.dice.below(4);
            let file = world.papers.get_mut(name).unwrap();
            match kind {
                0 => drop(world.papers.remove(name)),
                1 => file.truncate(a),
                2 => file.fill(0),
                _ => {
                    file[a] ^= 1;
                    file[BLOCK + b] ^= 1;
                }
            }
            (world, Refuses(format!("{what} lost: state/{name}")))
        });
    }
    check("16, watermark", |seed| {
        let mut world = World::purged(seed);
        if world.dice.below(2) == 0 {
            world.papers.remove(watermark::FORM.name);
        } else {
            world.papers.get_mut(watermark::FORM.name).unwrap().fill(0xff);
        }
        let last = world.last();
        (world, Starts(last, Some("state/watermark".to_owned())))
    });
}

#[test]
fn row_17_one_bad_slot_is_repaired() {
    for (what, name) in [("epoch", promise::FORM.name), ("manifest", manifest::FORM.name)] {
        check("17", |seed| {
            let mut world = World::purged(seed);
            let (slot, at) = (world.dice.below(2), world.dice.below(BLOCK));
            world.papers.get_mut(name).unwrap()[slot * BLOCK + at] ^= 1;
            let last = world.last();
            (world, Starts(last, Some(format!("{what} slot {slot} repaired"))))
        });
    }
}

#[test]
fn row_18_a_log_of_a_later_epoch_is_refused() {
    check("18", |seed| {
        let mut world = World::new(seed);
        let epoch = 1 + world.dice.below(5) as u32;
        // An epoch begins in the log, and its promise is not there.
        world.log = {
            let Start::Continue(at) = world.start().unwrap().plan.start else { panic!("the log goes on") };
            Appender::new(at, Zxid::new(epoch, 0))
        };
        world.add(true);
        world.promise = Promise { accepted: epoch, current: epoch - 1 };
        world.write_papers(world.last());
        (world, Refuses(format!("log epoch {epoch} is newer than current epoch {}", epoch - 1)))
    });
}

#[test]
fn row_20_data_of_another_server_is_refused() {
    check("20", |seed| {
        let mut world = World::purged(seed);
        let other = [1, 2, 4, 255][world.dice.below(4)];
        world.manifest.server = ServerId(other);
        world.write_papers(world.last());
        (world, Refuses(format!("data belongs to server {other}, this one is 3")))
    });
}

#[test]
fn row_21_newer_formats_are_refused() {
    check("21", |seed| {
        let mut world = World::purged(seed);
        let version = 3 + world.dice.below(200) as u32;
        let kind = world.dice.below(5);
        let image = Zxid(*world.images.keys().last().unwrap());
        let from = world.extents()[replay_from(&world.extents(), image)].number;
        let words = match kind {
            0 => {
                let active = world.log.position().segment.number;
                let hit = world.dice.within(from as usize, active as usize + 1) as u64;
                let file = world.segments.get_mut(&hit).unwrap();
                file[8..12].copy_from_slice(&version.to_be_bytes());
                let crc = crc32fast::hash(&file[..BLOCK - 4]);
                file[BLOCK - 4..BLOCK].copy_from_slice(&crc.to_be_bytes());
                format!("{} has format version {version} at offset 0", file_name(hit))
            }
            1 => {
                let i = world.in_the_middle();
                let (placed, bytes) = world.batch(i);
                bytes[8..12].copy_from_slice(&version.to_be_bytes());
                let crc = crc32fast::hash(&bytes[..BATCH_HEADER - 4]);
                bytes[BATCH_HEADER - 4..BATCH_HEADER].copy_from_slice(&crc.to_be_bytes());
                format!("{} has format version {version} at offset {}", file_name(placed.at.segment), placed.at.offset)
            }
            _ => {
                let form = [manifest::FORM, promise::FORM, watermark::FORM][kind - 2];
                let slot = world.dice.below(2);
                let (_, newer) = Slots::create(Form { version, ..form }, b"whatever");
                let file = world.papers.get_mut(form.name).unwrap();
                file[slot * BLOCK..(slot + 1) * BLOCK].copy_from_slice(&newer[slot * BLOCK..(slot + 1) * BLOCK]);
                format!("state/{} has format version {version} at offset {}", form.name, slot * BLOCK)
            }
        };
        (world, Refuses(words))
    });
}

#[test]
fn row_29_a_scrub_finds_damage_where_no_start_looks() {
    for seed in 0..VARIANTS {
        let mut world = World::new(seed);
        let extents = world.extents();
        let look = |world: &World, i: usize| {
            let (from, until) = (extents[i].begin.unwrap().sequence, extents[i + 1].begin.unwrap().sequence);
            let mut scrub = Scrub::new(extents[i].number, from, until);
            match scrub.feed(&world.segments[&extents[i].number]) {
                Look::More => scrub.end(),
                look => look,
            }
        };
        let active = world.log.position().segment.number as usize;
        for i in 0..active - 1 {
            assert_eq!(look(&world, i), Look::Good, "variant {seed}");
        }
        let of_old = world.batches.iter().filter(|placed| (placed.at.segment as usize) < active).count();
        let hit = world.dice.below(of_old) as isize;
        let placed = world.hurt(hit);
        let Look::Damaged { offset, good, .. } = look(&world, placed.at.segment as usize - 1) else { panic!("variant {seed}") };
        assert_eq!(offset, placed.at.offset, "variant {seed}");
        let before = world.batches[..hit as usize].iter().rfind(|before| before.at.segment == placed.at.segment);
        assert_eq!(good, before.map_or(Zxid::ZERO, |before| before.header.last), "variant {seed}");
    }
}
