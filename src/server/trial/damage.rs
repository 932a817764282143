//! Damage: a start on a hurt directory, judged by the ghost. It begins with what was true at some zxid, and tells what it lost, or it is
//! refused with its message and has changed nothing; it never panics and never invents.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::dice::Dice;
use super::injury::{Wound, hurt};
use super::life::{Life, start};
use super::world::{Files, Ghost, World, config, read_files, state_of};
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::runtime::disk::LogDir;
use crate::server::config::settings::ServerConfig;
use crate::server::recover::Recovered;
use crate::storage::batch::BatchHeader;
use crate::storage::image::image_zxid;
use crate::storage::manifest::{self, Manifest};
use crate::storage::segment::{SegmentHeader, number_of};
use crate::storage::slots;
use crate::storage::watermark;

/// How a start ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// With all that was acknowledged, and nothing to tell.
    Clean,
    /// With all that was acknowledged, and a line about what was found.
    Told,
    /// Not at all, with a line that says why; nothing was changed.
    Refused,
    /// Without the last transactions, which nothing undamaged had vouched for yet before the damage; told.
    Unvouched,
    /// Without the last transactions, with every witness of them destroyed; told.
    Unwitnessed,
    /// As one of the two before, and nothing is left of them to be seen: the directory is what it was once. Not told.
    Untraced,
}

pub(super) const OUTCOMES: [&str; 6] = ["clean", "told", "refused", "unvouched", "unwitnessed", "untraced"];

/// Words of the lines that tell of a loss.
const LOSS: [&str; 5] = ["tail torn", "compare with a copy", "put it back from a copy", "cannot be told from", "put the file"];

/// Lines of warnings and errors.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Hears what this thread tells for as long as the guard lives.
    pub(super) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || lines.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Where the cases of one thread are played.
pub(super) struct Stage {
    root: PathBuf,
    lines: Lines,
}

/// What became of a case.
pub(super) struct Verdict {
    pub(super) wounds: Vec<Wound>,
    pub(super) outcome: Result<Outcome, String>,
    /// What the first start said.
    pub(super) said: Vec<String>,
}

impl Stage {
    pub(super) fn new(dir: &Path, lines: Lines) -> Self {
        Self { root: dir.join("data"), lines }
    }

    /// Hurts the world and starts on it.
    pub(super) fn play(&self, world: &World, dice: &mut Dice) -> Verdict {
        let mut files = world.files.clone();
        let mut wounds = Vec::new();
        let wanted = 1 + dice.below(3);
        while wounds.len() < wanted {
            let before = files.clone();
            match hurt(&mut files, world, dice) {
                // An empty directory is a new one; there is nothing to see in it.
                Some(_) if files.is_empty() => files = before,
                wound => wounds.extend(wound),
            }
        }
        let (outcome, said) = self.start_on(world, &files, dice);
        Verdict { wounds, outcome, said }
    }

    /// Starts on what is left of a world: what became of it, and what the first start said.
    pub(super) fn start_on(&self, world: &World, files: &Files, dice: &mut Dice) -> (Result<Outcome, String>, Vec<String>) {
        put(&self.root, files);
        let mut said = Vec::new();
        self.lines.take();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.judge(world, files, dice, &mut said)));
        (outcome.unwrap_or_else(|_| Err("it panicked".to_owned())), said)
    }

    fn judge(&self, world: &World, files: &Files, dice: &mut Dice, said: &mut Vec<String>) -> Result<Outcome, String> {
        let config = config(&self.root, world.segment_bytes);
        let (dir, recovered) = match start(&self.root, &config) {
            Ok(started) => started,
            Err(line) => {
                said.push(line);
                is_message(&said[0])?;
                let unchanged = read_files(&self.root) == *files;
                return if unchanged { Ok(Outcome::Refused) } else { Err("refused, and it changed something".to_owned()) };
            }
        };
        *said = self.lines.take();
        let (zxid, state) = state_of(&recovered);
        match world.ghost.states.get(&zxid) {
            Some(known) if *known == state => {}
            Some(known) => return Err(format!("at {zxid} it was {known:?}, and it starts with {state:?}")),
            None => return Err(format!("there never was a state at {zxid}")),
        }
        let outcome = fate(world, files, zxid, said)?;
        if dice.one_in(5) {
            self.goes_on((dir, recovered), &config, dice)?;
        } else {
            drop((dir, recovered));
            self.again(&config, world, zxid, said, dice)?;
        }
        Ok(outcome)
    }

    /// What the first start left is good, and is gone on with.
    fn again(&self, config: &ServerConfig, world: &World, zxid: Zxid, first: &[String], dice: &mut Dice) -> Result<(), String> {
        let (dir, recovered) = start(&self.root, config).map_err(|line| format!("refused the second time: {line}"))?;
        let (second, state) = state_of(&recovered);
        if second != zxid || world.ghost.states[&zxid] != state {
            return Err(format!("started at {zxid}, then at {second}"));
        }
        let repeats = |line: &String| line.contains("WARN snapshot ") || line.contains("ignored (in ");
        let more: Vec<_> = self.lines.take().into_iter().filter(|line| !(repeats(line) && first.contains(line))).collect();
        if !more.is_empty() {
            return Err(format!("not quiet the second time: {more:?}"));
        }
        if dice.one_in(6) { self.goes_on((dir, recovered), config, dice) } else { Ok(()) }
    }

    /// A server that has started writes on, crashes, and starts again with what it has acknowledged.
    fn goes_on(&self, started: (LogDir, Recovered), config: &ServerConfig, dice: &mut Dice) -> Result<(), String> {
        let (dir, recovered) = started;
        let (zxid, state) = state_of(&recovered);
        let mut ghost = Ghost { states: [(zxid, state)].into(), acknowledged: zxid };
        let mut life = Life::begin(dir, recovered, config, 50, dice);
        for _ in 0..dice.below(30) {
            life.request(dice);
            life.frame(&mut ghost, dice);
            life.flush(dice);
        }
        ghost.acknowledged = life.crash(dice);
        self.lines.take();
        let (_dir, recovered) = start(&self.root, config).map_err(|line| format!("went on from {zxid}, then refused: {line}"))?;
        let (last, state) = state_of(&recovered);
        if last < ghost.acknowledged || ghost.states.get(&last) != Some(&state) {
            let said = self.lines.take();
            return Err(format!(
                "went on from {zxid} to {}, then started at {last}, and not with what was true: {said:?}",
                ghost.acknowledged
            ));
        }
        Ok(())
    }
}

/// Writes out a directory in place of what was there.
fn put(root: &Path, files: &Files) {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    fs::create_dir_all(root).unwrap();
    for (name, bytes) in files {
        let path = root.join(name);
        let parent = path.parent().unwrap();
        if !parent.is_dir() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What a start at `zxid` means.
fn fate(world: &World, files: &Files, zxid: Zxid, said: &[String]) -> Result<Outcome, String> {
    let acknowledged = world.ghost.acknowledged;
    if zxid >= acknowledged {
        return Ok(if said.is_empty() { Outcome::Clean } else { Outcome::Told });
    }
    let witness = witness(files);
    if witness > zxid {
        return Err(format!("LOSS: {acknowledged} was acknowledged, it starts at {zxid}, and {witness} is vouched for"));
    }
    if !said.iter().any(|line| LOSS.iter().any(|words| line.contains(words))) {
        return if has_traces(files, zxid) {
            Err(format!("LOSS: {acknowledged} was acknowledged, it starts at {zxid} and does not say so"))
        } else {
            Ok(Outcome::Untraced)
        };
    }
    Ok(if self::witness(&world.files) > zxid { Outcome::Unwitnessed } else { Outcome::Unvouched })
}

/// The highest zxid that anything readable in the directory vouches for: watermark, manifest, the name of an image, and the durable mark of
/// any batch's header in a segment of its salt, or in one that has not the header of its name, whatever else is wrong with them.
fn witness(files: &Files) -> Zxid {
    let slots = |form, name: &str| slots::read(form, files.get(name)?.get(..).unwrap_or_default()).ok();
    let mark = slots(watermark::FORM, "log/state/watermark").and_then(|read| watermark::decode(&read.payload));
    let image = slots(manifest::FORM, "log/state/manifest").and_then(|read| Manifest::decode(&read.payload));
    let mut highest = mark.unwrap_or_default().max(image.map_or(Zxid::ZERO, |said| said.image));
    for (name, bytes) in files {
        if let Some(zxid) = name.strip_prefix("images/").and_then(image_zxid) {
            highest = highest.max(zxid);
        }
        highest = headers(name, bytes).map(|header| header.durable).fold(highest, Zxid::max);
    }
    highest
}

/// Whether there is a batch of a segment's present use with transactions after `zxid`.
fn has_traces(files: &Files, zxid: Zxid) -> bool {
    files.iter().any(|(name, bytes)| headers(name, bytes).any(|header| header.last > zxid))
}

/// Headers of batches in a segment, of its present use as far as that can be known.
fn headers<'a>(name: &str, bytes: &'a [u8]) -> impl Iterator<Item = BatchHeader> + 'a {
    let number = name.strip_prefix("log/").and_then(number_of);
    let salt = number.and_then(|number| SegmentHeader::decode(number, bytes).ok()).map(|header| header.start.salt);
    let bytes = if number.is_some() { bytes } else { &[] };
    let all = (0..bytes.len()).step_by(BLOCK).filter_map(|at| BatchHeader::decode(&bytes[at..]).ok()).map(|(header, _)| header);
    all.filter(move |header| salt.is_none_or(|salt| salt == header.salt))
}

/// A refusal is one line that names a file, a place in it where it has one, a zxid, and the next step.
fn is_message(line: &str) -> Result<(), String> {
    let any = |words: &[&str]| words.iter().any(|word| line.contains(word));
    let wrong = match () {
        () if line.contains('\n') => "more than a line",
        () if !any(&["log.0", "image.0", "state/"]) => "no file",
        () if !any(&["offset", "missing", "the header belongs to"]) => "no offset",
        () if !any(&["0x"]) => "no zxid",
        () if !any(&["restore ", "put ", "keep the files", "move ", "start the release", "set myid"]) => "no next step",
        () => return Ok(()),
    };
    Err(format!("refused with {wrong}: {line}"))
}
