//! Scripts: the stories whose every crash point is explored.

use std::collections::BTreeMap;
use std::path::Path;

use super::crash::{DATA, Effort, Story, explore, try_all};
use super::dice::Dice;
use super::life::{Life, SEEDS, start};
use super::world::{Ghost, State, config, print, scratch, state_of};
use crate::engine::archivist::load::Loaded;
use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;
use crate::runtime::clock::Clock;
use crate::runtime::journal::{self, Op, note};
use crate::server::archive;
use crate::server::config::settings::ServerConfig;
use crate::storage::retention::Policy;
use crate::tree::tree::Tree;

/// A server on a disk of its own, and the journal of what it does there.
struct Stage {
    root: tempfile::TempDir,
    config: fn(&Path) -> ServerConfig,
    life: Option<Life>,
    lives: u64,
    ghost: Ghost,
    dice: Dice,
}

/// Segments of 8 blocks, two images kept, one directory.
fn together(data: &Path) -> ServerConfig {
    let mut config = config(data, 8 * BLOCK as u64);
    config.retain = Some(Policy { images: 2, bytes: 0 });
    config
}

/// The same with the log in a directory of its own.
fn apart(data: &Path) -> ServerConfig {
    let mut config = together(data);
    config.data_log_dir = data.parent().unwrap().join("logs/of/its/own");
    config
}

impl Stage {
    /// With nothing on it.
    fn new(seed: u64, config: fn(&Path) -> ServerConfig) -> Self {
        let mut ghost = Ghost::default();
        // Where nothing was done, nothing is there.
        let tree = Tree::new(SEEDS);
        ghost.states.insert(Zxid::ZERO, State { digest: tree.digest(), print: print(&tree), sessions: BTreeMap::new() });
        journal::begin();
        Self { root: scratch(), config, life: None, lives: 0, ghost, dice: Dice::new(seed) }
    }

    /// With a server that has started for the first time.
    fn begun(seed: u64, config: fn(&Path) -> ServerConfig) -> Self {
        let mut stage = Self::new(seed, config);
        stage.start();
        stage
    }

    /// The process is killed, if there is one, and started. The machine runs on.
    fn start(&mut self) {
        self.life = None;
        let config = (self.config)(&self.root.path().join(DATA));
        let (dir, recovered) = start(&config.data_log_dir, &config).expect("nothing is wrong");
        let (zxid, state) = state_of(&recovered);
        let truth = self.ghost.states.entry(zxid).or_insert_with(|| state.clone());
        assert!(*truth == state);
        note(|| Op::Told(zxid.0));
        self.lives += 1;
        self.life = Some(Life::begin(dir, recovered, &config, self.lives, &mut self.dice));
    }

    /// Requests that make one batch.
    fn write(&mut self, requests: usize) {
        let life = self.life.as_mut().expect("a server runs");
        write(life, requests, &mut self.ghost, &mut self.dice);
    }

    fn flush(&mut self) {
        let life = self.life.as_mut().expect("a server runs");
        flush(life, &mut self.dice);
    }

    /// Everything is durable, and told.
    fn rest(&mut self) {
        while self.life.as_ref().is_some_and(|life| life.in_flight() > 0) {
            self.flush();
        }
    }

    /// Batches one after the other until the log goes on in another segment.
    fn roll(&mut self) {
        let from = self.life().segment();
        while self.life().segment() == from {
            self.write(2);
            self.rest();
        }
    }

    fn image(&mut self) -> Zxid {
        let life = self.life.as_mut().expect("a server runs");
        life.write_image(|_| ()).expect("there is something new")
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("a server runs")
    }

    /// What happens from now on is looked at; in the gate nothing before it is.
    fn now(&self, from: &mut usize) {
        if !Effort::asked().is_full() {
            *from = journal::len();
        }
    }

    /// What an import leaves; then the first start.
    fn planted(seed: u64, state: Loaded) -> Self {
        let mut stage = Self::new(seed, together);
        let (zxid, digest) = (state.zxid, state.tree.digest());
        archive::plant(&stage.root.path().join(DATA), state, Clock::default()).expect("there is nothing in the way");
        note(|| Op::Told(zxid.0));
        stage.start();
        assert_eq!(stage.ghost.states.get(&zxid).map(|state| state.digest), Some(digest));
        stage
    }

    /// A clean stop, and a start.
    fn restart(&mut self) {
        let life = self.life.take().expect("a server runs");
        life.stop(&mut self.ghost, &mut self.dice);
        self.start();
    }

    fn story(self, name: &str, from: usize) -> Story {
        let ops = journal::end();
        let Self { root, config, ghost, .. } = self;
        Story { name: name.to_owned(), root: root.path().to_owned(), ops, from, ghost, config: Box::new(config) }
    }

    fn end(self, name: &str, from: usize) {
        explore(&self.story(name, from));
    }
}

fn write(life: &mut Life, requests: usize, ghost: &mut Ghost, dice: &mut Dice) {
    (0..requests).for_each(|_| life.request(dice));
    life.frame(ghost, dice);
}

fn flush(life: &mut Life, dice: &mut Dice) {
    life.flush(dice);
    let told = life.acknowledged();
    note(|| Op::Told(told.0));
}

/// Tells a story once in the gate, and more often where there is time.
fn rounds(first: u64, story: fn(u64)) {
    (0..Effort::asked().rounds()).for_each(|round| story(first + 100 * round));
}

/// What is planted, and the first starts from it.
pub fn plant(name: &str, state: Loaded) {
    let mut stage = Stage::planted(6, state);
    stage.write(1);
    stage.write(1);
    stage.rest();
    stage.start();
    stage.end(name, 0);
}

#[test]
fn crash_points_of_appends() {
    rounds(1, appends);
}

fn appends(seed: u64) {
    let mut stage = Stage::begun(seed, together);
    for i in 0..6 {
        stage.write(1 + i % 3);
        if i % 2 == 1 {
            stage.flush();
        }
        if i == 3 {
            stage.life().mark();
        }
    }
    stage.rest();
    stage.life().mark();
    stage.write(2);
    stage.write(1);
    // What the process had written is there for the next one, and not durable.
    stage.start();
    stage.write(2);
    stage.rest();
    stage.end("append", 0);
}

#[test]
fn crash_points_of_rolls() {
    rounds(2, rolls);
}

fn rolls(seed: u64) {
    let mut stage = Stage::begun(seed, apart);
    let mut from = 0;
    for _ in 0..3 {
        stage.write(2);
        stage.rest();
    }
    stage.now(&mut from);
    // Two are ready, and found again.
    for _ in 0..2 {
        let Stage { life, dice, .. } = &mut stage;
        life.as_mut().unwrap().prepare(dice);
    }
    stage.start();
    let first = stage.life().segment();
    while stage.life().segment() < first + 2 {
        stage.write(2);
        stage.write(1);
        stage.flush();
    }
    stage.write(2);
    stage.start();
    stage.write(1);
    stage.rest();
    stage.end("roll", from);
}

#[test]
fn crash_points_of_an_image_while_appending() {
    rounds(3, an_image_while_appending);
}

fn an_image_while_appending(seed: u64) {
    let mut stage = Stage::begun(seed, apart);
    let mut from = 0;
    for _ in 0..4 {
        stage.write(3);
        stage.rest();
    }
    stage.now(&mut from);
    let Stage { life, ghost, dice, .. } = &mut stage;
    let image = life.as_mut().unwrap().write_image(|life| {
        write(life, 1, ghost, dice);
        if dice.one_in(2) {
            flush(life, dice);
        }
    });
    stage.life().retain(image.unwrap());
    stage.write(1);
    stage.rest();
    stage.write(1);
    stage.start();
    stage.end("image while appending", from);
}

#[test]
fn crash_points_of_a_purge() {
    rounds(4, a_purge);
}

fn a_purge(seed: u64) {
    let mut stage = Stage::begun(seed, together);
    let mut from = 0;
    for i in 0..3 {
        stage.roll();
        stage.write(1);
        stage.rest();
        stage.life().mark();
        if i == 2 {
            stage.now(&mut from);
        }
        let image = stage.image();
        stage.life().retain(image);
    }
    // Into a segment that was another before.
    stage.roll();
    stage.write(2);
    stage.write(1);
    stage.start();
    stage.write(1);
    stage.rest();
    stage.end("purge", from);
}

#[test]
fn crash_points_of_restarts_in_the_middle() {
    rounds(5, restarts_in_the_middle);
}

fn restarts_in_the_middle(seed: u64) {
    let mut stage = Stage::begun(seed, together);
    let mut from = 0;
    for _ in 0..3 {
        stage.roll();
        let image = stage.image();
        stage.life().retain(image);
    }
    stage.now(&mut from);
    // The image has its name, and the process ends before anybody hears of it.
    stage.write(2);
    stage.rest();
    stage.life().give_up_image();
    stage.image();
    stage.start();
    stage.roll();
    // The manifest is raised, and nothing of what it frees is gone.
    stage.life().image(false, Policy { images: 2, bytes: 0 });
    stage.write(1);
    stage.start();
    stage.restart();
    stage.write(1);
    stage.end("restarts in the middle", from);
}

#[test]
fn crash_points_of_an_epochs_end() {
    rounds(7, an_epochs_end);
}

fn an_epochs_end(seed: u64) {
    let state = Loaded { tree: Tree::new(SEEDS), sessions: BTreeMap::new(), zxid: Zxid::new(1, (1 << 31) - 4) };
    let mut stage = Stage::planted(seed, state);
    let mut from = 0;
    stage.now(&mut from);
    for _ in 0..3 {
        stage.write(2);
        stage.rest();
        stage.life().mark();
    }
    stage.restart();
    stage.end("half an epoch", from);
    let state = Loaded { tree: Tree::new(SEEDS), sessions: BTreeMap::new(), zxid: Zxid::new(1, u32::MAX - 3) };
    let mut stage = Stage::planted(seed + 1, state);
    stage.now(&mut from);
    for _ in 0..3 {
        stage.write(2);
        stage.rest();
    }
    stage.restart();
    stage.end("an epoch's end", from);
}

/// Each sync in turn is left out of what has happened: the explorer is worth something if it finds that of most.
#[test]
fn syncs_left_out_are_found() {
    let mut stage = Stage::begun(9, together);
    for _ in 0..3 {
        stage.roll();
        let image = stage.image();
        stage.life().retain(image);
        stage.write(2);
        stage.rest();
    }
    stage.start();
    let mut story = stage.story("without a sync", 0);
    let is_sync = |op: &Op| matches!(op, Op::SyncFile(_) | Op::SyncDir(_) | Op::SyncRange(..));
    let syncs: Vec<usize> = (0..story.ops.len()).filter(|i| is_sync(&story.ops[*i])).collect();
    let flushes = syncs.iter().filter(|i| matches!(story.ops[**i], Op::SyncRange(..))).count();
    let step = if Effort::asked().is_full() { 1 } else { 9 };
    let (mut tried, mut found) = (0, Vec::new());
    for &i in syncs.iter().step_by(step) {
        tried += 1;
        let op = story.ops.remove(i);
        story.from = i;
        match try_all(&story, Effort::little()) {
            Err(_) => found.push(op.clone()),
            Ok(_) => println!("not missed: {op:?} ({i})"),
        }
        story.ops.insert(i, op);
    }
    let found_flushes = found.iter().filter(|op| matches!(op, Op::SyncRange(..))).count();
    println!(
        "of {} syncs, {tried} were left out: {} were missed, {found_flushes} flushes of the log among them",
        syncs.len(),
        found.len()
    );
    assert!(found_flushes > 0 && (step > 1 || found_flushes == flushes), "a flush of the log that is not there is always missed");
    assert!(found.iter().any(|op| !matches!(op, Op::SyncRange(..))), "and so are others");
}
