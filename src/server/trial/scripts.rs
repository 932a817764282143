//! Scripts: the stories whose every crash point is explored.

use std::collections::BTreeMap;
use std::path::Path;

use super::crash::{DATA, Effort, Story, explore};
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

/// Bytes of an image written at a time.
const PIECE: usize = 3000;

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
        life.write_image(PIECE, |_| ()).expect("there is something new")
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

    fn end(self, name: &str, from: usize) {
        let ops = journal::end();
        let Self { root, config, ghost, .. } = self;
        let story =
            Story { name: name.to_owned(), root: root.path().to_owned(), ops, from, ghost, config: Box::new(config) };
        explore(&story);
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

/// What is planted, and the first starts from it.
pub(crate) fn plant(name: &str, state: Loaded) {
    let mut stage = Stage::new(6, together);
    let (zxid, digest) = (state.zxid, state.tree.digest());
    let data = stage.root.path().join(DATA);
    archive::plant(&data, state, Clock::default()).expect("there is nothing in the way");
    note(|| Op::Told(zxid.0));
    stage.start();
    assert_eq!(stage.ghost.states.get(&zxid).map(|state| state.digest), Some(digest));
    stage.write(1);
    stage.write(1);
    stage.rest();
    stage.start();
    stage.end(name, 0);
}

#[test]
fn crash_points_of_appends() {
    let mut stage = Stage::begun(1, together);
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
    let mut stage = Stage::begun(2, apart);
    let mut from = 0;
    for _ in 0..3 {
        stage.write(2);
        stage.rest();
    }
    stage.now(&mut from);
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
    let mut stage = Stage::begun(3, apart);
    let mut from = 0;
    for _ in 0..4 {
        stage.write(3);
        stage.rest();
    }
    stage.now(&mut from);
    let Stage { life, ghost, dice, .. } = &mut stage;
    let image = life.as_mut().unwrap().write_image(PIECE, |life| {
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
    let mut stage = Stage::begun(4, together);
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
    let mut stage = Stage::begun(5, together);
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
    stage.image();
    stage.start();
    stage.roll();
    stage.write(1);
    stage.start();
    stage.end("restarts in the middle", from);
}
