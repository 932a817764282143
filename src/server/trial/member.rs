//! Member: what the log of an ensemble's member undergoes, on real files, with the machine stopped after every change of them. The log and the
//! papers are the real ones, and so is the recovery; who leads, and what is agreed, is the test's.

mod asked;
mod loss;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use super::crash::{DATA, shown};
use super::dice::Dice;
use super::disk::{Disk, Image};
use super::life::SEEDS;
use super::world::{config, scratch};
use crate::auth::AuthConfig;
use crate::engine::archivist::policy::Policy as ImagePolicy;
use crate::engine::archivist::{Archivist, Start, Wrote};
use crate::engine::sequencer::Restore;
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::WallMillis;
use crate::proto::acl::Acl;
use crate::proto::opcode;
use crate::proto::txn::{Txn, TxnHeader};
use crate::runtime::clock::Clock;
use crate::runtime::disk::{LogDir, make_segment};
use crate::runtime::drive;
use crate::runtime::holdings::Holdings;
use crate::runtime::images::ImageDir;
use crate::runtime::journal::{self, Op, note};
use crate::runtime::keeper::{KeeperConfig, KeeperThread};
use crate::runtime::member_log::{Ended, IMPAIRED, Task, has_enough};
use crate::server::config::settings::ServerConfig;
use crate::server::recover::{Joining, LOG, Recovered, recover_member};
use crate::storage::appender::{Appender, Contents};
use crate::storage::batch::{framed_len, put_record};
use crate::storage::promise::Promise;
use crate::storage::retention::Policy;
use crate::storage::segment::{SegmentStart, file_name};
use crate::storage::selection::{Begin, Extent};
use crate::zab::Record;

/// Blocks of a segment.
const SEGMENT: u64 = 5;

/// Starts that are cut short, in each story.
const CUT_SHORT: usize = 12;

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn run(epoch: u32, counters: std::ops::RangeInclusive<u32>) -> Vec<Zxid> {
    counters.map(|counter| z(epoch, counter)).collect()
}

/// A transaction that makes a znode of its own.
fn blob(zxid: Zxid) -> Vec<u8> {
    let path = format!("/n{:016x}", zxid.0);
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1000, kind: opcode::CREATE };
    let mut blob = Vec::new();
    header.encode(&mut blob);
    let acl = vec![Acl::open()].into();
    let data = vec![7; 900];
    Txn::Create { path: path.into(), data: Some(&data), acl, ephemeral: false, parent_cversion: -1 }.encode(&mut blob);
    blob
}

fn settings(data: &Path) -> ServerConfig {
    let mut config = config(data, SEGMENT * BLOCK as u64);
    config.retain = Some(Policy { images: 2, bytes: 0 });
    config
}

fn start(root: &Path) -> Result<(LogDir, Recovered, Joining), String> {
    let config = settings(root);
    let dir = LogDir::open(&config.data_log_dir.join(LOG)).map_err(|error| error.to_string())?;
    let (recovered, joining) = recover_member(&dir, &config, AuthConfig::default(), SEEDS, Clock::default())?;
    Ok((dir, recovered, joining))
}

/// What a start has found: what is delivered, and all that is in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    delivered: Zxid,
    all: Vec<Zxid>,
    promise: (u32, u32),
    is_impaired: bool,
}

fn seen(recovered: &Recovered, joining: &Joining) -> Seen {
    let tree = recovered.restored.ledger.tree();
    let made =
        tree.view().records().filter_map(|record| u64::from_str_radix(record.path().strip_prefix("/n")?, 16).ok().map(Zxid));
    let mut all: Vec<_> = made.collect();
    all.sort_unstable();
    let found = &joining.found;
    assert_eq!(all.last().copied().unwrap_or_default(), found.delivered, "the tree stands at what is delivered");
    assert_eq!(recovered.restored.last, found.delivered);
    let pending: Vec<_> = joining.pending.iter().map(|record| record.zxid).collect();
    assert!(joining.pending.iter().all(|record| record.blob[..] == blob(record.zxid)));
    all.extend(&pending);
    assert_eq!(all.last().copied().unwrap_or_default(), found.last().max(found.delivered));
    let after: BTreeSet<_> = all.iter().filter(|zxid| **zxid > found.base).map(|zxid| zxid.epoch()).collect();
    assert_eq!(after, found.ends.iter().map(|end| end.epoch()).collect(), "each epoch has its end");
    Seen { delivered: found.delivered, all, promise: (found.accepted, found.current), is_impaired: found.is_impaired }
}

/// A member with its log.
struct Member {
    root: TempDir,
    _dir: LogDir,
    images: ImageDir,
    holdings: Holdings,
    appender: Appender,
    base: Zxid,
    spares: VecDeque<SegmentStart>,
    salt: u64,
    /// What is in the log, from the first transaction ever.
    all: Vec<Zxid>,
}

impl Member {
    fn new() -> Self {
        journal::begin();
        let root = scratch();
        drive::create_dir_all(&root.path().join(DATA)).unwrap();
        Self::begin(root, 1)
    }

    fn begin(root: TempDir, life: u64) -> Self {
        let (dir, recovered, joining) = start(&root.path().join(DATA)).unwrap();
        let all = seen(&recovered, &joining).all;
        let Recovered { position, spares, segments, cabinet, pool, since, .. } = recovered;
        let holdings = Holdings {
            dir: dir.path().to_owned(),
            images: since.dir.path().to_owned(),
            policy: Some(Policy { images: 2, bytes: 0 }),
            pool,
            cabinet,
            segments,
            verified: BTreeSet::from([since.image]),
            damaged: since.damaged,
            going: Vec::new(),
        };
        let appender = Appender::new(position, since.image);
        let (images, base) = (since.dir, since.image);
        Self { root, _dir: dir, images, holdings, appender, base, spares: spares.into(), salt: life * 1000, all }
    }

    /// The process ends and another one starts; the machine runs on.
    fn restart(self, life: u64) -> Self {
        Self::begin(self.end().0, life)
    }

    /// The process ends: what it has locked is free.
    fn end(self) -> (TempDir, Holdings) {
        (self.root, self.holdings)
    }

    fn prepare(&mut self) -> SegmentStart {
        let number = self.appender.position().segment.number + 1 + self.spares.len() as u64;
        self.salt += 1;
        let start = SegmentStart { number, salt: self.salt, size: SEGMENT * BLOCK as u64 };
        if !self.holdings.pool.make(start, ServerId(1), WallMillis(0)).unwrap() {
            make_segment(&self.holdings.dir, start, ServerId(1), WallMillis(0), |_| {}).unwrap();
        }
        start
    }

    fn spare(&mut self) -> SegmentStart {
        if self.spares.is_empty() {
            let start = self.prepare();
            self.spares.push_back(start);
        }
        self.spares.pop_front().unwrap()
    }

    /// One batch, durable.
    fn append(&mut self, zxids: &[Zxid], committed: Zxid) {
        let mut payload = Vec::new();
        zxids.iter().for_each(|zxid| put_record(&mut payload, &blob(*zxid)));
        let mut out = vec![0; framed_len(payload.len())];
        if !self.appender.fits(out.len()) {
            let next = self.spare();
            let at = *self.appender.position();
            let begin = Some(Begin { after: at.last, sequence: at.sequence });
            self.holdings.segments.push(Extent { number: next.number, begin, bytes: next.size });
            self.appender.roll(next);
        }
        let count = u32::try_from(zxids.len()).unwrap();
        let contents = Contents { first: zxids[0], last: zxids[zxids.len() - 1], count };
        let at = self.appender.frame_into(contents, &[&payload], committed, &mut out);
        let path = self.holdings.dir.join(file_name(at.segment));
        drive::write_at(&drive::open(&path).unwrap(), &path, &out, at.offset).unwrap();
        note(|| Op::SyncRange(path, at.offset, at.len));
        self.appender.flushed(at.sequence);
        self.all.extend(zxids);
    }

    fn append_all(&mut self, zxids: &[Zxid], batch: usize, committed: Zxid) {
        zxids.chunks(batch).for_each(|zxids| self.append(zxids, committed));
    }

    fn promise(&mut self, accepted: u32, current: u32) {
        assert_eq!(self.holdings.perform(Task::Promise(Promise { accepted, current })).unwrap(), Ended::Plain);
    }

    fn mark(&mut self) {
        self.holdings.mark(self.appender.durable()).unwrap();
    }

    fn moved(&mut self, ended: Ended, base: Zxid) {
        let Ended::Moved { position, blank } = ended else { panic!("{ended:?}") };
        blank.into_iter().rev().for_each(|start| self.spares.push_front(start));
        self.base = base;
        self.appender = Appender::new(position, base);
        let after = self.spares.iter().map(|start| start.number);
        let expected = position.segment.number + 1..;
        assert!(after.zip(expected).all(|(a, b)| a == b), "segments follow one another");
        assert_eq!(self.holdings.segments.last().unwrap().number, position.segment.number);
    }

    fn cut(&mut self, to: Zxid) {
        let blank = self.spare();
        let ended = self.holdings.perform(Task::Cut { to, base: self.base, blank }).unwrap();
        self.moved(ended, self.base);
        self.all.retain(|zxid| *zxid <= to);
        assert_eq!(self.appender.last().max(self.base), self.all.last().copied().unwrap_or_default());
    }

    /// An image of all up to `at`, under a name of its own or its own name.
    fn write_state(&self, history: &[Zxid], at: Zxid, link: Option<u64>) -> Option<std::path::PathBuf> {
        let mut restore = Restore::new(SEEDS, 2000, true);
        history.iter().filter(|zxid| **zxid <= at).for_each(|zxid| restore.take(&blob(*zxid)).unwrap());
        let loaded = restore.into_loaded();
        let view = loaded.tree.view().clone();
        let start = Start { view, sessions: loaded.sessions, zxid: at, archived: Zxid::ZERO, transactions: 0, bytes: 0 };
        let mut archivist = Archivist::new(start, ImagePolicy::default(), ServerId(1), 0);
        let mut out = Vec::new();
        archivist.begin(Clock::default().now(), &mut out);
        while archivist.write(&mut out) == Wrote::More {}
        match link {
            Some(link) => {
                let mut file = self.images.receive(link, BLOCK).unwrap();
                file.write(&out, &mut |_| ()).unwrap();
                Some(file.close(at, &mut |_| ()).unwrap())
            }
            None => {
                let mut file = self.images.create(BLOCK).unwrap();
                file.write(&out, &mut |_| ()).unwrap();
                file.finish(at, &mut |_| ()).unwrap();
                None
            }
        }
    }

    fn image(&mut self, at: Zxid) {
        self.write_state(&self.all, at, None);
        self.holdings.finished(vec![at]);
        self.holdings.retain(None).unwrap();
    }

    fn install(&mut self, state: &[Zxid], at: Zxid, tail: &[Zxid]) {
        let received = self.write_state(state, at, Some(5)).unwrap();
        let tail: Vec<_> = tail.iter().map(|zxid| Record { zxid: *zxid, blob: blob(*zxid).into() }).collect();
        let mut blank = Vec::new();
        while !has_enough(&blank, &tail) {
            // Each is behind the one before.
            let start = self.spares.pop_front().unwrap_or_else(|| {
                let number =
                    blank.last().map_or(self.appender.position().segment.number, |start: &SegmentStart| start.number) + 1;
                self.salt += 1;
                let start = SegmentStart { number, salt: self.salt, size: SEGMENT * BLOCK as u64 };
                make_segment(&self.holdings.dir, start, ServerId(1), WallMillis(0), |_| {}).unwrap();
                start
            });
            blank.push(start);
        }
        self.all = state.iter().copied().filter(|zxid| *zxid <= at).chain(tail.iter().map(|record| record.zxid)).collect();
        let ended = self.holdings.perform(Task::Install { received, at, tail, blank }).unwrap();
        self.moved(ended, at);
    }
}

/// What may be found from a change on.
struct Phase {
    from: usize,
    allowed: Vec<Vec<Zxid>>,
    /// At least this was delivered.
    told: Zxid,
}

struct Story {
    phases: Vec<Phase>,
}

impl Story {
    fn new() -> Self {
        Self { phases: Vec::new() }
    }

    fn starts_from_here(&mut self, allowed: Vec<Vec<Zxid>>, told: Zxid) {
        self.phases.push(Phase { from: journal::len(), allowed, told });
    }

    /// Stops the machine after each change from the first phase on.
    fn explore(self, name: &str, member: Member) {
        let ops = journal::end();
        let root = member.root.path().to_owned();
        drop(member);
        // What is on the disk is in the journal.
        let mut stops =
            Stops { scratch: scratch(), dice: Dice::new(ops.len() as u64), known: HashSet::new(), starts: 0, cut_short: 0 };
        let mut disk = Disk::holding(&root, &Image::default());
        for (i, op) in ops.iter().enumerate() {
            disk.apply(op);
            let Some(phase) = self.phases.iter().rfind(|phase| phase.from <= i) else { continue };
            let stopped = stops.stop(&disk, phase, true).and_then(|()| stops.kill(&disk, &root, phase));
            stopped.unwrap_or_else(|line| panic!("{name}, after change {i} of {}, {}: {line}", ops.len(), shown(op)));
        }
        println!("{name}: {} changes, {} starts, {} cut short", ops.len(), stops.starts, stops.cut_short);
        assert!(stops.starts > 10 && stops.cut_short > 0, "{name}: there was something to look at");
    }
}

struct Stops {
    scratch: TempDir,
    dice: Dice,
    known: HashSet<(u64, usize)>,
    starts: usize,
    cut_short: usize,
}

impl Stops {
    fn stop(&mut self, disk: &Disk, phase: &Phase, is_first: bool) -> Result<(), String> {
        let open = disk.open();
        let mut subsets = vec![Vec::new(), open.clone()];
        if open.len() <= 4 {
            subsets.extend((1..1 << open.len()).map(|bits: usize| {
                open.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, number)| *number).collect()
            }));
        } else {
            for _ in 0..if is_first { 6 } else { 1 } {
                subsets.push(open.iter().copied().filter(|_| self.dice.one_in(2)).collect());
            }
        }
        for present in subsets {
            let image = disk.image(&present);
            if !self.known.insert((image.fingerprint(), phase.from)) {
                continue;
            }
            self.starts += 1;
            let ops = self.start(&image, phase).map_err(|line| {
                format!(
                    "with {} of {} open changes: {line}; allowed {:?}\n{}",
                    present.len(),
                    open.len(),
                    phase.allowed,
                    image.listing()
                )
            })?;
            if is_first && self.cut_short < CUT_SHORT && self.dice.one_in(3) {
                self.cut_short += 1;
                let mut disk = Disk::holding(self.scratch.path(), &image);
                for op in &ops {
                    disk.apply(op);
                    self.stop(&disk, phase, false)
                        .map_err(|line| format!("and in the start from there, after {}: {line}", shown(op)))?;
                }
            }
        }
        Ok(())
    }

    /// The process ends, the machine runs on, another process starts; what that one has found is there for good.
    fn kill(&mut self, disk: &Disk, root: &Path, phase: &Phase) -> Result<(), String> {
        let ops = self.start(&disk.seen(), phase).map_err(|line| format!("after the end of the process: {line}"))?;
        self.starts += 1;
        let mut disk = disk.clone();
        ops.iter().for_each(|op| disk.apply(&moved(op, self.scratch.path(), root)));
        let image = disk.seen();
        image.write(self.scratch.path());
        let (dir, recovered, joining) = start(&self.scratch.path().join(DATA))?;
        let found = seen(&recovered, &joining);
        drop(dir);
        let open = disk.open();
        let mut subsets = vec![Vec::new()];
        subsets.extend((0..2).map(|_| open.iter().copied().filter(|_| self.dice.one_in(2)).collect()));
        for present in subsets {
            let image = disk.image(&present);
            let for_good = Phase { from: phase.from, allowed: vec![found.all.clone()], told: found.delivered };
            self.start(&image, &for_good).map_err(|line| {
                format!(
                    "after the end of the process, a start, and with {} of {} open changes: {line}",
                    present.len(),
                    open.len()
                )
            })?;
        }
        Ok(())
    }

    fn start(&self, image: &Image, phase: &Phase) -> Result<Vec<Op>, String> {
        image.write(self.scratch.path());
        let root = self.scratch.path().join(DATA);
        journal::begin();
        let started = start(&root);
        let ops = journal::end();
        let (dir, recovered, joining) = started.map_err(|line| format!("refused: {line}"))?;
        let first = seen(&recovered, &joining);
        drop((dir, recovered));
        if !phase.allowed.contains(&first.all) || first.delivered < phase.told {
            return Err(format!("{first:?} was found, {} was told", phase.told));
        }
        let (_dir, recovered, joining) = start(&root).map_err(|line| format!("refused the second time: {line}"))?;
        if seen(&recovered, &joining) != first {
            return Err(format!("{first:?} was found, and then {:?}", seen(&recovered, &joining)));
        }
        Ok(ops)
    }
}

/// The same change below another directory.
fn moved(op: &Op, from: &Path, to: &Path) -> Op {
    let there = |path: &Path| to.join(path.strip_prefix(from).unwrap_or(Path::new("..")));
    match op {
        Op::Create(path) => Op::Create(there(path)),
        Op::Write(path, at, bytes) => Op::Write(there(path), *at, bytes.clone()),
        Op::SyncFile(path) => Op::SyncFile(there(path)),
        Op::SyncRange(path, at, len) => Op::SyncRange(there(path), *at, *len),
        Op::SyncDir(path) if !path.starts_with(from) => op.clone(),
        Op::SyncDir(path) => Op::SyncDir(there(path)),
        Op::Rename(one, other) => Op::Rename(there(one), there(other)),
        Op::Remove(path) => Op::Remove(there(path)),
        Op::Mkdir(path) => Op::Mkdir(there(path)),
        Op::Told(zxid) => Op::Told(*zxid),
    }
}

/// What is left of a log while it is cut down to so many transactions.
fn shorter(all: &[Zxid], len: usize) -> Vec<Vec<Zxid>> {
    (len..=all.len()).map(|len| all[..len].to_vec()).collect()
}

#[test]
fn a_log_cut_anywhere_is_found_longer_or_cut() {
    // Batches of three in a segment of four blocks: 1 to 21.
    for to in [0, 2, 5, 12] {
        let mut member = Member::new();
        member.promise(1, 1);
        member.append_all(&run(1, 1..=21), 3, Zxid::ZERO);
        member.mark();
        let mut story = Story::new();
        story.starts_from_here(shorter(&member.all, to), Zxid::ZERO);
        member.cut(if to == 0 { Zxid::ZERO } else { z(1, to as u32) });
        story.starts_from_here(vec![member.all.clone()], Zxid::ZERO);
        member.mark();
        let before = member.all.clone();
        member.promise(2, 1);
        // What comes in the place of what went, and another process after it.
        story.starts_from_here(
            (0..4).map(|n| before.iter().copied().chain(run(2, 1..=8).into_iter().take(2 * n)).collect()).collect(),
            Zxid::ZERO,
        );
        member.append_all(&run(2, 1..=6), 2, Zxid::ZERO);
        member.mark();
        story.starts_from_here(vec![member.all.clone()], Zxid::ZERO);
        let mut member = member.restart(2);
        story.starts_from_here((0..2).map(|n| before.iter().copied().chain(run(2, 1..=6 + n)).collect()).collect(), Zxid::ZERO);
        member.append(&run(2, 7..=7), z(2, 3));
        story.starts_from_here(vec![member.all.clone()], z(2, 3));
        story.explore(&format!("cut to {to}"), member);
    }
}

#[test]
fn a_log_cut_twice_and_again_after_a_start_is_found() {
    let mut member = Member::new();
    member.promise(1, 1);
    member.append_all(&run(1, 1..=10), 4, Zxid::ZERO);
    member.cut(z(1, 6));
    member.append_all(&run(1, 7..=12), 4, z(1, 6));
    member.cut(z(1, 7));
    let mut member = member.restart(2);
    assert_eq!(member.all, run(1, 1..=7));
    let mut story = Story::new();
    // What is known of commits may go with the headers that said so; the image says it again.
    story.starts_from_here(shorter(&member.all, 6), Zxid::ZERO);
    member.cut(z(1, 6));
    story.starts_from_here(vec![member.all.clone()], Zxid::ZERO);
    member.image(z(1, 6));
    let all = member.all.clone();
    story.starts_from_here((0..=3).map(|n| all.iter().copied().chain(run(1, 7..=6 + n)).collect()).collect(), z(1, 6));
    (7..=9).for_each(|n| member.append(&run(1, n..=n), z(1, 6)));
    member.cut(z(1, 6));
    story.starts_from_here(vec![member.all.clone()], z(1, 6));
    story.explore("cuts", member);
}

#[test]
fn a_state_put_in_force_is_there_with_its_tail_or_not_at_all() {
    for (old, tail) in [(0, 4), (3, 0), (14, 30)] {
        let mut member = Member::new();
        member.promise(2, 2);
        member.append_all(&run(1, 1..=old.max(1)), 3, Zxid::ZERO);
        if old > 5 {
            member.append_all(&run(1, old + 1..=old + 1), 3, z(1, 4));
            member.image(z(1, 4));
        }
        member.mark();
        let before = member.all.clone();
        let state: Vec<_> = run(1, 1..=4).into_iter().chain(run(3, 1..=9)).collect();
        member.promise(3, 2);
        let mut story = Story::new();
        let told = if old > 5 { z(1, 4) } else { Zxid::ZERO };
        let at = z(3, 9);
        let after: Vec<_> = state.iter().copied().chain(run(3, 10..=9 + tail)).collect();
        // With the image under its name and the old log there is the state, and none of the tail.
        story.starts_from_here(vec![before, state.clone(), after.clone()], told);
        member.install(&state, at, &run(3, 10..=9 + tail));
        assert_eq!(member.all, after);
        story.starts_from_here(vec![after.clone()], at);
        member.promise(3, 3);
        member.mark();
        story.starts_from_here((0..3).map(|n| after.iter().copied().chain(run(4, 1..=n)).collect()).collect(), at);
        member.promise(4, 3);
        (1..=2).for_each(|n| member.append(&run(4, n..=n), at));
        story.starts_from_here(vec![member.all.clone()], at);
        let mut member = member.restart(2);
        story.starts_from_here(shorter(&member.all, after.len()), at);
        member.cut(z(3, 9 + tail));
        story.starts_from_here(vec![after], at);
        story.explore(&format!("state over {old}, tail {tail}"), member);
    }
}

#[test]
fn a_state_that_was_given_up_is_removed_and_a_server_is_whole_again() {
    let member = Member::new();
    let received = member.write_state(&run(1, 1..=3), z(1, 3), Some(9)).unwrap();
    let marker = member.holdings.dir.join(IMPAIRED);
    std::fs::write(&marker, b"").unwrap();
    assert!(received.exists());
    let data = member.root.path().join(DATA);
    let member = member.restart(2);
    assert!(!received.exists());
    assert!(start(&data).is_err(), "one server a directory");
    let (_root, mut holdings) = member.end();
    let (dir, recovered, joining) = start(&data).unwrap();
    assert!(seen(&recovered, &joining).is_impaired);
    drop((dir, recovered));
    assert_eq!(holdings.perform(Task::Restored).unwrap(), Ended::Plain);
    assert_eq!(holdings.perform(Task::Restored).unwrap(), Ended::Plain);
    let (_dir, recovered, joining) = start(&data).unwrap();
    assert!(!seen(&recovered, &joining).is_impaired && !marker.exists());
    journal::end();
}

#[test]
fn what_was_logged_before_its_epoch_was_accepted_is_refused() {
    let mut member = Member::new();
    member.promise(1, 0);
    member.append(&run(1, 1..=2), Zxid::ZERO);
    let mut member = member.restart(2);
    assert_eq!((member.all.len(), member.holdings.cabinet.promised()), (2, Promise { accepted: 1, current: 0 }));
    member.append(&run(2, 1..=1), Zxid::ZERO);
    let (root, holdings) = member.end();
    let refused = start(&root.path().join(DATA)).map(|_| ()).unwrap_err();
    assert!(refused.contains("log epoch 2 is newer than accepted epoch 1"), "{refused}");
    // The bytes that were appended are as they were framed.
    let mut block = [0; 8];
    let file = File::open(holdings.dir.join(file_name(1))).unwrap();
    file.read_exact_at(&mut block, BLOCK as u64).unwrap();
    assert_eq!(&block, b"RKBATCH\0");
    journal::end();
}
