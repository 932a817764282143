//! Crash: every disk that a crash could have left of a story, and what a start makes of each.
//!
//! A story is a journal of changes and the ghost of what was true. After each change, the machine stops: some of what was not
//! durable is there, the rest is not. From each such disk the real recovery starts twice and must not refuse, reach what clients
//! were told, and hold what was true there. Some of the starts are cut short in the same way. `RINGKEEPER_CRASH_POINTS` (samples of
//! each crash point, see `scripts/crash-points.sh`) asks for more than the gate has time for.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

use super::dice::Dice;
use super::disk::{Disk, Image};
use super::life::{Life, start};
use super::world::{Ghost, State, scratch, state_of};
use crate::ground::ids::Zxid;
use crate::runtime::disk::LogDir;
use crate::runtime::journal::{self, Op};
use crate::server::config::settings::ServerConfig;
use crate::server::recover::Recovered;

/// The server's directory, below the part of the disk that is looked at.
pub(super) const DATA: &str = "data";

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Of so many changes that are not durable, every subset is tried.
    all_of: usize,
    /// Random subsets where there are more.
    samples: usize,
    /// Starts that are cut short, for each kind of work that a start does.
    second: usize,
    /// Every so many starts one goes on writing.
    goes_on: usize,
}

impl Effort {
    pub(super) fn asked() -> Self {
        match std::env::var("RINGKEEPER_CRASH_POINTS").ok().and_then(|text| text.parse().ok()) {
            Some(samples) => Self { all_of: 8, samples, second: 1 + samples / 16, goes_on: 4 },
            None => Self { all_of: 5, samples: 6, second: 1, goes_on: 16 },
        }
    }

    /// Enough to see whether something is wrong at all.
    pub(super) const fn little() -> Self {
        Self { all_of: 3, samples: 2, second: 0, goes_on: usize::MAX }
    }

    /// How often each story is told, differently each time.
    pub(super) const fn rounds(&self) -> u64 {
        if self.is_full() { 1 + self.samples as u64 / 16 } else { 1 }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.all_of > 5
    }
}

/// What has happened, and what was true.
pub(super) struct Story {
    pub(super) name: String,
    /// Where it has happened.
    pub(super) root: PathBuf,
    pub(super) ops: Vec<Op>,
    /// Changes before this one have happened, and the machine did not stop there.
    pub(super) from: usize,
    pub(super) ghost: Ghost,
    /// The configuration for a server in this directory.
    pub(super) config: Box<dyn Fn(&Path) -> ServerConfig>,
}

/// What was tried.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    points: usize,
    states: usize,
    different: usize,
    cut_short: usize,
    second_points: usize,
}

struct Explorer<'a> {
    story: &'a Story,
    effort: Effort,
    config: ServerConfig,
    scratch: TempDir,
    dice: Dice,
    /// How far the start from each disk came.
    known: HashMap<u64, Zxid>,
    /// How many starts of each kind were cut short.
    kinds: BTreeMap<String, usize>,
    tally: Tally,
}

/// Explores all of a story and prints what was tried.
///
/// # Panics
/// Where a start is not as it must be, with the disk that it was.
pub(super) fn explore(story: &Story) {
    let began = Instant::now();
    let tally = try_all(story, Effort::asked()).unwrap_or_else(|line| panic!("{line}"));
    let Tally { points, states, different, cut_short, second_points } = tally;
    assert!(points > 0 && different > 0, "{}: there was nothing to look at", story.name);
    println!(
        "crash points: {}: {points} changes of files, {states} states, {different} of them different and started from; {cut_short} starts \
         cut short at {second_points} changes; {} ms",
        story.name,
        began.elapsed().as_millis()
    );
}

/// Explores all of a story, to the first start that is not as it must be.
pub(super) fn try_all(story: &Story, effort: Effort) -> Result<Tally, String> {
    let scratch = scratch();
    let mut explorer = Explorer {
        config: (story.config)(&scratch.path().join(DATA)),
        dice: Dice::new(story.ops.len() as u64),
        known: HashMap::new(),
        kinds: BTreeMap::new(),
        tally: Tally::default(),
        story,
        effort,
        scratch,
    };
    let mut disk = Disk::holding(&story.root, &Image::default());
    explorer.walk(&mut disk, &story.ops, story.from, Zxid::ZERO, true)?;
    Ok(explorer.tally)
}

impl Explorer<'_> {
    /// Stops the machine before the first and after each of these changes.
    fn walk(&mut self, disk: &mut Disk, ops: &[Op], from: usize, told: Zxid, is_first: bool) -> Result<(), String> {
        let mut told = told;
        for (i, op) in ops.iter().enumerate() {
            disk.apply(op);
            if let Op::Told(zxid) = op {
                told = told.max(Zxid(*zxid));
            } else if i >= from {
                if is_first { self.tally.points += 1 } else { self.tally.second_points += 1 }
            }
            if i >= from {
                self.stop(disk, told, is_first).map_err(|line| {
                    format!("{}, change {} of {}, after {}: {line}", self.story.name, i + 1, ops.len(), shown(op))
                })?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, disk: &Disk, told: Zxid, is_first: bool) -> Result<(), String> {
        let open = disk.open();
        for present in self.subsets(&open) {
            self.tally.states += 1;
            let image = disk.image(&present);
            let ops = self
                .look(&image, told)
                .map_err(|line| format!("with {} of {} open changes: {line}\n{}", present.len(), open.len(), image.listing()))?;
            if let Some(ops) = ops.filter(|_| is_first) {
                self.tally.cut_short += 1;
                let mut disk = Disk::holding(self.scratch.path(), &image);
                assert!(disk.seen() == image, "what a disk holds is what it was told to");
                self.walk(&mut disk, &ops, 0, told, false)?;
            }
        }
        Ok(())
    }

    fn start(&self) -> Result<(LogDir, Recovered), String> {
        start(&self.config.data_log_dir, &self.config)
    }

    /// Starts from this disk, unless that was done. Yields what the start has changed, if it is to be cut short.
    fn look(&mut self, image: &Image, told: Zxid) -> Result<Option<Vec<Op>>, String> {
        let key = image.fingerprint();
        let far_enough =
            |reached: Zxid| if reached >= told { Ok(()) } else { Err(format!("reaches {reached}, and {told} was told")) };
        if let Some(reached) = self.known.get(&key) {
            return far_enough(*reached).map(|()| None);
        }
        self.tally.different += 1;
        image.write(self.scratch.path());
        journal::begin();
        let started = self.start();
        let mut ops = journal::end();
        let recovered = match started {
            Ok((dir, recovered)) => {
                drop(dir);
                recovered
            }
            // Of an import that had not come to its end nobody was told anything.
            Err(line) if line.contains("an import left") && told == Zxid::ZERO => return Ok(None),
            Err(line) => return Err(format!("refused: {line}")),
        };
        let (reached, state) = state_of(&recovered);
        drop(recovered);
        far_enough(reached)?;
        let truth = self.story.ghost.states.get(&reached);
        if truth != Some(&state) {
            return Err(format!("at {reached} {state:?} is held, true was {truth:?}"));
        }
        self.start_again(&(reached, state))?;
        self.known.insert(key, reached);
        let kind: String = ops.iter().map(|op| shown(op).split_inclusive(' ').next().unwrap_or_default().to_owned()).collect();
        let times = self.kinds.entry(kind).or_insert(0);
        *times += 1;
        ops.push(Op::Told(reached.0));
        Ok((*times <= self.effort.second).then_some(ops))
    }

    /// A start from what a start has left; some go on from there.
    fn start_again(&mut self, before: &(Zxid, State)) -> Result<(), String> {
        let (dir, recovered) = self.start().map_err(|line| format!("refused the second time: {line}"))?;
        if state_of(&recovered) != *before {
            return Err(format!("the second start ends elsewhere than at {}", before.0));
        }
        if self.tally.different.is_multiple_of(self.effort.goes_on) {
            let after = Life::begin(dir, recovered, &self.config, 1000, &mut self.dice).go_on(&mut self.dice);
            let (_, recovered) = self.start().map_err(|line| format!("refused after more was written: {line}"))?;
            if state_of(&recovered) != after {
                return Err("what was written after the start is not all there".to_owned());
            }
        }
        Ok(())
    }

    /// Which of the changes that are not durable are there.
    fn subsets(&mut self, open: &[u64]) -> Vec<Vec<u64>> {
        if open.len() <= self.effort.all_of {
            let of =
                |bits: usize| open.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, number)| *number).collect();
            return (0..1 << open.len()).map(of).collect();
        }
        let mut all = vec![Vec::new(), open.to_vec()];
        // In the gate a few of each kind, others each time.
        let stride = if self.effort.is_full() { 1 } else { open.len().div_ceil(4) };
        let first = self.dice.below(stride);
        for i in (first..open.len()).step_by(stride) {
            all.push(vec![open[i]]);
            all.push(open.iter().copied().filter(|number| *number != open[i]).collect());
            all.push(open[..i].to_vec());
        }
        for _ in 0..self.effort.samples {
            let odds = 2 + self.dice.below(3);
            let is_there = self.dice.one_in(2);
            all.push(open.iter().copied().filter(|_| self.dice.one_in(odds) == is_there).collect());
        }
        all
    }
}

/// A change in a few words.
pub(super) fn shown(op: &Op) -> String {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    match op {
        Op::Create(path) => format!("create {}", name(path)),
        Op::Write(path, at, bytes) => format!("write {} bytes at {at} of {}", bytes.len(), name(path)),
        Op::SyncFile(path) => format!("sync {}", name(path)),
        Op::SyncRange(path, at, len) => format!("flush {len} bytes at {at} of {}", name(path)),
        Op::SyncDir(path) => format!("sync-dir {}", name(path)),
        Op::Rename(from, to) => format!("rename {} to {}", name(from), name(to)),
        Op::Remove(path) => format!("remove {}", name(path)),
        Op::Mkdir(path) => format!("mkdir {}", name(path)),
        Op::Told(zxid) => format!("telling {zxid:#x}"),
    }
}
