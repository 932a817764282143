//! World: a generated directory, what was ever written to it, and how a start answers it.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper::ground::ids::{ServerId, Zxid};
use ringkeeper::ground::limits::BLOCK;
use ringkeeper::ground::time::WallMillis;
use ringkeeper::storage::appender::{Appender, Contents, Placement, Position};
use ringkeeper::storage::batch::{BATCH_HEADER, BatchHeader, framed_len, put_record};
use ringkeeper::storage::manifest::{self, Manifest};
use ringkeeper::storage::papers::{self, Files, Papers};
use ringkeeper::storage::promise::{self, Promise};
use ringkeeper::storage::recovery::{Known, Plan, Recovery};
use ringkeeper::storage::segment::{SegmentHeader, SegmentStart};
use ringkeeper::storage::selection::{Extent, HEAD, Selection, replay_from};
use ringkeeper::storage::slots::{Form, Slots};
use ringkeeper::storage::watermark;

/// Generated directories of each row.
pub const VARIANTS: u64 = 24;

pub const BLOCKS: usize = 10;
pub const HERE: ServerId = ServerId(3);

/// xorshift64*.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % n
    }

    /// From `from` to `to`, both included.
    pub fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }
}

#[derive(Clone, Copy)]
pub struct Placed {
    pub at: Placement,
    pub header: BatchHeader,
}

/// A directory as it lies on the disk, and what was ever written to it.
pub struct World {
    pub dice: Dice,
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub log: Appender,
    pub batches: Vec<Placed>,
    /// Images, and those of them that are good.
    pub images: BTreeMap<u64, bool>,
    pub papers: BTreeMap<&'static str, Vec<u8>>,
    /// The manifest that is written; its oldest segment is also the oldest that is there.
    pub manifest: Manifest,
    pub promise: Promise,
}

pub fn blank(number: u64, recycled_from: Option<&[u8]>) -> (SegmentStart, Vec<u8>) {
    let start = SegmentStart { number, salt: number.wrapping_mul(77) ^ 0x5a17, size: (BLOCKS * BLOCK) as u64 };
    let mut file = recycled_from.map_or_else(|| vec![0; BLOCKS * BLOCK], <[u8]>::to_vec);
    let header = SegmentHeader { start, server: HERE, created: WallMillis(1), recycled: recycled_from.is_some() };
    file[..BLOCK].copy_from_slice(&header.encode()[..]);
    (start, file)
}

impl World {
    /// Batches of one or two blocks, flushed one by one, in four to six segments, some of them used before; two images; a spare.
    pub fn new(seed: u64) -> Self {
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
    pub fn purged(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let oldest = *world.images.keys().next().unwrap();
        world.purge(Zxid(oldest));
        world
    }

    pub fn purge(&mut self, image: Zxid) {
        let extents = self.extents();
        let from = extents[replay_from(&extents, image)].number;
        self.segments.retain(|number, _| *number >= from);
        self.manifest.oldest = from;
        self.write_papers(self.last());
    }

    pub fn last(&self) -> Zxid {
        self.log.last()
    }

    pub fn spare(&mut self) -> SegmentStart {
        let number = self.log.position().segment.number + 1;
        let used = self.segments.values().next().cloned().filter(|_| number > 2 && self.dice.below(2) == 0);
        let (start, file) = blank(number, used.as_deref());
        self.segments.entry(number).or_insert(file);
        start
    }

    pub fn add(&mut self, is_flushed: bool) {
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

    pub fn write_papers(&mut self, durable: Zxid) {
        self.paper(manifest::FORM, &self.manifest.encode());
        self.paper(promise::FORM, &self.promise.encode());
        self.paper(watermark::FORM, &watermark::encode(durable));
    }

    pub fn paper(&mut self, form: Form, payload: &[u8]) {
        self.papers.insert(form.name, Slots::create(form, payload).1);
    }

    /// Batch `i` on the disk, from the front, or from the back where it is negative.
    pub fn batch(&mut self, i: isize) -> (Placed, &mut [u8]) {
        let i = if i < 0 { self.batches.len() as isize + i } else { i };
        let placed = self.batches[i as usize];
        let file = self.segments.get_mut(&placed.at.segment).unwrap();
        (placed, &mut file[placed.at.offset as usize..][..placed.at.len])
    }

    /// Makes a batch unreadable in one of several ways.
    pub fn hurt(&mut self, i: isize) -> Placed {
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
    pub fn in_the_middle(&mut self) -> isize {
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

    pub fn extents(&self) -> Vec<Extent> {
        let of = |(number, file): (&u64, &Vec<u8>)| Extent::of(*number, &file[..file.len().min(HEAD)], file.len() as u64);
        self.segments.iter().map(of).collect()
    }

    /// As `server/recover.rs` does it, in memory.
    pub fn start(&self) -> Result<Started, String> {
        let paper = |form: Form| self.papers.get(form.name).map(Vec::as_slice);
        let is_kept = !self.papers.is_empty();
        let files =
            Files { manifest: paper(manifest::FORM), promise: paper(promise::FORM), watermark: paper(watermark::FORM), is_kept };
        let papers = papers::judge(files, Some(HERE)).map_err(|refusal| refusal.to_string())?;
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

pub struct Started {
    pub image: Zxid,
    /// The state that clients would see.
    pub reached: Zxid,
    pub selection: Selection,
    pub plan: Plan,
    pub lines: Vec<String>,
}

/// What is to come of a row.
pub enum Answer {
    /// It starts, at this zxid, and says just one line with these words, or none.
    Starts(Zxid, Option<String>),
    /// It refuses, with these words.
    Refuses(String),
}

pub use Answer::{Refuses, Starts};

/// Words of which every line for an operator has one: what to do now.
pub const NEXT_STEPS: [&str; 8] = [
    "nothing to be done",
    "rejoin from the ensemble",
    "restore the file",
    "start the release that wrote it",
    "set myid to",
    "put the files together",
    "compare with a copy",
    "from a copy",
];

pub fn check(row: &str, make: impl Fn(u64) -> (World, Answer)) {
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
