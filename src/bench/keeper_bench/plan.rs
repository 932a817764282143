//! Plan: a keeper-bench file as a workload, all of it below the bench's own root.
//!
//! Chance is that of the file: whom a request asks is drawn when it is made. A created znode joins its set of paths once its
//! create is answered, so that whoever draws it finds it; sets that creates add to are apart for each generator thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::description::{Description, Kind, Node, Number, Request, Text};
use super::znodes::{Set, Sets, data, plant, pool, push_letters};
use crate::bench::control::RunError;
use crate::bench::load::random::Random;
use crate::bench::load::requests::{Maker, Plan, frame_of};
use crate::bench::load::setup::Planter;
use crate::bench::recorder::{CONNECTION_LOSS, name_of};
use crate::bench::spec::Spec;
use crate::client::ask::{Ask, CreateMode};
use crate::proto::acl::Acl;
use crate::proto::code::Code;
use crate::proto::frame;
use crate::proto::jute::Writer;
use crate::proto::multi::MultiHeader;
use crate::proto::opcode;

/// Created znodes that one set of one thread remembers; beyond it chance forgets one for each that comes.
const REMEMBERED_MAX: usize = 1 << 20;

const NAMES: [&str; 7] = ["create", "remove", "set", "get", "list", "multi", "multi-read"];
const CREATE: usize = 0;
const REMOVE: usize = 1;
const SET: usize = 2;
const GET: usize = 3;
const LIST: usize = 4;
const MULTI: usize = 5;
const MULTI_READ: usize = 6;

/// In a ticket: a znode of that name may be there already, which chance allows.
const MAY_EXIST: u32 = 1 << 31;

/// In a ticket: the znode may be gone, because others remove them.
const MAY_BE_GONE: u32 = 1 << 30;

/// A file as a workload.
#[derive(Debug)]
pub struct FilePlan {
    resolved: Arc<Resolved>,
    setup: Vec<Node>,
    seed: u64,
    sets: Vec<Set>,
    progress: Arc<Progress>,
}

/// What the makers of all threads share and none changes.
#[derive(Debug)]
struct Resolved {
    choice: Choice,
    pool: Vec<u8>,
    /// Paths of the sets that no create adds to; of the others none.
    fixed: Vec<Vec<Box<str>>>,
    continue_on_error: bool,
    is_limited: bool,
}

/// How far all makers are.
#[derive(Debug)]
struct Progress {
    left: AtomicU64,
    failed: AtomicBool,
}

/// Acts, one of which is chosen by weight.
#[derive(Debug)]
struct Choice {
    acts: Vec<Act>,
    /// The sum of the weights up to each.
    ends: Vec<u64>,
}

#[derive(Debug)]
enum Act {
    Create {
        parents: Draw,
        name_length: Number,
        data: Text,
        remove_factor: f64,
        /// The set that created ones join.
        output: Option<usize>,
    },
    Set {
        paths: Draw,
        data: Text,
    },
    Get {
        paths: Draw,
        watch: f64,
    },
    List {
        paths: Draw,
        watch: f64,
    },
    Multi {
        is_read: bool,
        size: Option<Number>,
        members: Choice,
    },
}

/// Sets that paths are drawn from, all paths with equal chances.
#[derive(Debug)]
struct Draw {
    sets: Vec<usize>,
    /// [`MAY_BE_GONE`] where creates add to one of them.
    ticket: u32,
}

impl FilePlan {
    /// The workload of a description, with the chance of the spec's seed.
    pub fn new(description: Description, spec: &Spec) -> Result<Self, RunError> {
        let pool = pool(&description);
        let mut sets = Sets::of(&description);
        sets.collect(&description.setup, spec.seed, &pool).map_err(RunError::Spec)?;
        let choice = Choice::of(&description.requests, &sets);
        let fixed =
            sets.all.iter_mut().map(|set| if set.is_made { Vec::new() } else { std::mem::take(&mut set.given) }).collect();
        let resolved = Resolved {
            choice,
            pool,
            fixed,
            continue_on_error: description.continue_on_error,
            is_limited: description.iterations.is_some(),
        };
        let progress = Progress { left: AtomicU64::new(description.iterations.unwrap_or(0)), failed: AtomicBool::new(false) };
        Ok(Self {
            resolved: Arc::new(resolved),
            setup: description.setup,
            seed: spec.seed,
            sets: sets.all,
            progress: Arc::new(progress),
        })
    }
}

impl Choice {
    fn of(requests: &[Request], sets: &Sets) -> Self {
        let ends = requests.iter().scan(0, |sum, request| {
            *sum += request.weight;
            Some(*sum)
        });
        Self { ends: ends.collect(), acts: requests.iter().map(|request| Act::of(request, sets)).collect() }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let chance = random.below(*self.ends.last().expect("there is a request"));
        self.ends.partition_point(|end| *end <= chance)
    }
}

impl Act {
    fn of(request: &Request, sets: &Sets) -> Self {
        let draw = |paths: &[_]| {
            let inputs = sets.inputs(paths);
            let ticket = if inputs.iter().any(|at| sets.all[*at].is_made) { MAY_BE_GONE } else { 0 };
            Draw { sets: inputs, ticket }
        };
        match &request.kind {
            Kind::Create { paths, name_length, data, remove_factor, .. } => Self::Create {
                parents: draw(paths),
                name_length: *name_length,
                data: data.clone(),
                remove_factor: *remove_factor,
                output: sets.output(request),
            },
            Kind::Set { paths, data } => Self::Set { paths: draw(paths), data: data.clone() },
            Kind::Get { paths, watch } => Self::Get { paths: draw(paths), watch: *watch },
            Kind::List { paths, watch } => Self::List { paths: draw(paths), watch: *watch },
            Kind::Multi { size, members } => {
                Self::Multi { is_read: request.kind.is_read(), size: *size, members: Choice::of(members, sets) }
            }
        }
    }
}

impl Plan for FilePlan {
    type Maker = FileMaker;

    fn prepare(&self, planter: &mut Planter<'_>) -> Result<(), RunError> {
        let mut full = planter.root().to_owned();
        let root = full.len();
        plant(&self.setup, self.seed, &self.resolved.pool, &mut |path, data, _| {
            full.truncate(root);
            full.push_str(path);
            planter.create(&full, data)
        })
    }

    fn maker(&self, root: &str, thread: usize, threads: usize) -> FileMaker {
        let share =
            |set: &Set| Shard { given: set.given.iter().skip(thread).step_by(threads).cloned().collect(), created: Vec::new() };
        let work = Work {
            path: root.to_owned(),
            root: root.len(),
            shards: self.sets.iter().map(share).collect(),
            effects: Effects::default(),
            acl: [Acl::open()],
        };
        FileMaker {
            resolved: Arc::clone(&self.resolved),
            progress: Arc::clone(&self.progress),
            work,
            ticket: 0,
            pending: Vec::new(),
            free: Vec::new(),
            failed: None,
        }
    }
}

/// Makes the requests of a file for one thread.
#[derive(Debug)]
pub struct FileMaker {
    resolved: Arc<Resolved>,
    progress: Arc<Progress>,
    work: Work,
    ticket: u32,
    /// What answers will do, by ticket.
    pending: Vec<Effects>,
    free: Vec<u32>,
    failed: Option<String>,
}

/// What a request does to the sets of paths once it is answered.
#[derive(Debug, Default)]
struct Effects {
    created: Vec<(usize, Box<str>)>,
    removed: Vec<(usize, Box<str>)>,
}

/// A thread's part of a set that creates add to.
#[derive(Debug)]
struct Shard {
    /// From the setup; removes leave them alone.
    given: Vec<Box<str>>,
    created: Vec<Box<str>>,
}

#[derive(Debug)]
struct Work {
    /// The root, and behind it room for the path of a request.
    path: String,
    root: usize,
    shards: Vec<Shard>,
    /// Of the request that is being made.
    effects: Effects,
    acl: [Acl; 1],
}

/// How a request is written.
#[derive(Clone, Copy)]
enum Manner {
    Alone(i32),
    Member,
}

impl Manner {
    #[inline]
    fn write(self, out: &mut Vec<u8>, ask: &Ask<'_>) {
        match self {
            Self::Alone(xid) => frame_of(out, xid, ask),
            Self::Member => {
                MultiHeader { op: ask.opcode(), done: false, err: -1 }.encode(out);
                ask.encode(out);
            }
        }
    }
}

impl Work {
    /// Puts a path of the sets behind the root; `false` if they are empty.
    #[inline]
    fn draw(&mut self, resolved: &Resolved, from: &[usize], random: &mut Random) -> bool {
        let Self { path, root, shards, .. } = self;
        let parts = || from.iter().flat_map(|at| [&resolved.fixed[*at], &shards[*at].given, &shards[*at].created]);
        let total: usize = parts().map(Vec::len).sum();
        if total == 0 {
            return false;
        }
        let mut chance = random.below(total as u64) as usize;
        for part in parts() {
            if let Some(drawn) = part.get(chance) {
                path.truncate(*root);
                path.push_str(drawn);
                return true;
            }
            chance -= part.len();
        }
        false
    }

    /// Writes the request of an act; `None`, and nothing written, if it has nothing to ask now. Returns its operation and ticket.
    fn act(
        &mut self,
        resolved: &Resolved,
        act: &Act,
        random: &mut Random,
        manner: Manner,
        out: &mut Vec<u8>,
    ) -> Option<(usize, u32)> {
        match act {
            Act::Create { parents, name_length, data: text, remove_factor, output } => {
                if *remove_factor > 0.0
                    && random.unit() <= *remove_factor
                    && let Some(output) = *output
                    && let created = &mut self.shards[output].created
                    && !created.is_empty()
                {
                    let removed = created.swap_remove(random.below(created.len() as u64) as usize);
                    self.path.truncate(self.root);
                    self.path.push_str(&removed);
                    manner.write(out, &Ask::Delete { path: &self.path, version: -1 });
                    self.effects.removed.push((output, removed));
                    return Some((REMOVE, MAY_BE_GONE));
                }
                if !self.draw(resolved, &parents.sets, random) {
                    return None;
                }
                self.path.push('/');
                push_letters(&mut self.path, name_length.draw(random), random);
                let (data, mode) = (Some(data(text, random, &resolved.pool)), CreateMode::Persistent);
                manner.write(out, &Ask::Create { path: &self.path, data, acl: &self.acl, mode });
                if let Some(output) = *output {
                    self.effects.created.push((output, self.path[self.root..].into()));
                }
                Some((CREATE, MAY_EXIST | parents.ticket))
            }
            Act::Set { paths, data: text } => {
                let is_there = self.draw(resolved, &paths.sets, random);
                is_there.then(|| {
                    let data = Some(data(text, random, &resolved.pool));
                    manner.write(out, &Ask::SetData { path: &self.path, data, version: -1 });
                    (SET, paths.ticket)
                })
            }
            Act::Get { paths, watch } => {
                let is_there = self.draw(resolved, &paths.sets, random);
                is_there.then(|| {
                    let watch = *watch > 0.0 && random.unit() <= *watch;
                    manner.write(out, &Ask::GetData { path: &self.path, watch });
                    (GET, paths.ticket)
                })
            }
            Act::List { paths, watch } => {
                let is_there = self.draw(resolved, &paths.sets, random);
                is_there.then(|| {
                    let watch = *watch > 0.0 && random.unit() <= *watch;
                    let path = &self.path;
                    // What clients send alone; a multi takes the older one only.
                    let ask = if matches!(manner, Manner::Alone(_)) {
                        Ask::GetChildren2 { path, watch }
                    } else {
                        Ask::GetChildren { path, watch }
                    };
                    manner.write(out, &ask);
                    (LIST, paths.ticket)
                })
            }
            Act::Multi { is_read, size, members } => {
                let Manner::Alone(xid) = manner else { return None };
                let base = out.len();
                let body = frame::open(out);
                out.int(xid);
                out.int(if *is_read { opcode::MULTI_READ } else { opcode::MULTI });
                let (mut count, mut ticket) = (0, 0);
                let mut add = |told: Option<(usize, u32)>| {
                    count += usize::from(told.is_some());
                    ticket |= told.map_or(0, |(_, ticket)| ticket);
                };
                match size {
                    Some(size) => {
                        for _ in 0..size.draw(random) {
                            add(self.any(resolved, members, random, Manner::Member, out));
                        }
                    }
                    None => members.acts.iter().for_each(|act| add(self.act(resolved, act, random, Manner::Member, out))),
                }
                if count == 0 {
                    out.truncate(base);
                    return None;
                }
                MultiHeader::END.encode(out);
                frame::close(out, body);
                Some((if *is_read { MULTI_READ } else { MULTI }, ticket))
            }
        }
    }

    /// Writes the request of one act by weight; where that has nothing to ask, of the next that has.
    #[inline]
    fn any(
        &mut self,
        resolved: &Resolved,
        choice: &Choice,
        random: &mut Random,
        manner: Manner,
        out: &mut Vec<u8>,
    ) -> Option<(usize, u32)> {
        let drawn = choice.draw(random);
        let told = self.act(resolved, &choice.acts[drawn], random, manner, out);
        told.or_else(|| {
            let others = choice.acts[drawn + 1..].iter().chain(&choice.acts[..drawn]);
            others.into_iter().find_map(|act| self.act(resolved, act, random, manner, out))
        })
    }
}

impl FileMaker {
    fn fail(&mut self, why: String) {
        self.failed.get_or_insert(why);
        self.progress.failed.store(true, Ordering::Relaxed);
    }

    /// Keeps what the answer will do, and returns its place.
    fn keep(&mut self) -> u32 {
        let effects = &mut self.work.effects;
        if effects.created.is_empty() && effects.removed.is_empty() {
            return 0;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.pending.push(Effects::default());
            self.pending.len() as u32 - 1
        });
        // The vectors go round, so that none is allocated for each request.
        std::mem::swap(effects, &mut self.pending[at as usize]);
        at + 1
    }

    fn settle(&mut self, place: u32, err: i32, random: u64) {
        let effects = &mut self.pending[place as usize - 1];
        let is_undone = err != 0 && err != CONNECTION_LOSS && err != Code::NoNode.as_wire();
        for (set, path) in effects.created.drain(..).filter(|_| err == 0) {
            let created = &mut self.work.shards[set].created;
            if created.len() < REMEMBERED_MAX {
                created.push(path);
            } else {
                created[random as usize % REMEMBERED_MAX] = path;
            }
        }
        // One of a multi that was gone already: which one is not known, and the next multi with it would fail again.
        for (set, path) in effects.removed.drain(..).filter(|_| is_undone) {
            self.work.shards[set].created.push(path);
        }
        self.free.push(place - 1);
    }
}

impl Maker for FileMaker {
    fn names(&self) -> &[&'static str] {
        &NAMES
    }

    #[inline]
    fn push(&mut self, random: &mut Random, xid: i32, out: &mut Vec<u8>) -> Option<usize> {
        if self.progress.failed.load(Ordering::Relaxed) {
            return None;
        }
        if self.resolved.is_limited {
            let left = &self.progress.left;
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        }
        let told = self.work.any(&self.resolved, &self.resolved.choice, random, Manner::Alone(xid), out);
        let Some((operation, flags)) = told else {
            self.fail("no request has a path to ask for: all sets of paths that they draw from are empty".into());
            return None;
        };
        self.ticket = flags | self.keep();
        Some(operation)
    }

    fn is_multi(&self, operation: usize) -> bool {
        operation >= MULTI
    }

    #[inline]
    fn ticket(&self) -> u32 {
        self.ticket
    }

    #[inline]
    fn answered(&mut self, operation: usize, ticket: u32, err: i32) {
        let place = ticket & !(MAY_EXIST | MAY_BE_GONE);
        if place > 0 {
            self.settle(place, err, u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
        }
        if err != 0 && !self.resolved.continue_on_error {
            let is_expected = ticket & MAY_EXIST != 0 && err == Code::NodeExists.as_wire()
                || ticket & MAY_BE_GONE != 0 && err == Code::NoNode.as_wire();
            if !is_expected {
                let why = name_of(err);
                self.fail(format!("{} was answered {why}, and the file does not say continue_on_error", NAMES[operation]));
            }
        }
    }

    fn ended(&self) -> Result<(), String> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::keeper_bench::reading::describe;
    use crate::proto::jute::Reader;
    use crate::proto::multi::{Read, decode_reads, decode_writes};
    use crate::proto::request::{PathWatch, Write};

    const NEWER: &str = include_str!("../../../tests/golden/keeper-bench/newer.yaml");
    const OLDER: &str = include_str!("../../../tests/golden/keeper-bench/older.yaml");

    fn plan(text: &str) -> FilePlan {
        FilePlan::new(describe(text).unwrap(), &Spec::default()).unwrap()
    }

    /// What the setup makes, with its data.
    fn planted(plan: &FilePlan) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        plant::<()>(&plan.setup, plan.seed, &plan.resolved.pool, &mut |path, data, _| {
            all.insert(format!("/root{path}"), data.to_vec());
            Ok(())
        })
        .unwrap();
        all.insert("/root".into(), Vec::new());
        all
    }

    struct Asked {
        operation: usize,
        ticket: u32,
        op: i32,
        body: Vec<u8>,
    }

    fn ask(maker: &mut FileMaker, random: &mut Random) -> Option<Asked> {
        let mut out = Vec::new();
        let operation = maker.push(random, 7, &mut out)?;
        let Ok(frame::Cut::Frame(body, used)) = frame::cut(&out, 1 << 20) else { panic!("no frame") };
        assert_eq!(used, out.len());
        let mut r = Reader::new(body);
        assert_eq!(r.int().unwrap(), 7);
        Some(Asked { operation, ticket: maker.ticket(), op: r.int().unwrap(), body: r.rest().to_vec() })
    }

    /// A server of one tree: does what is asked and says the error.
    fn serve(tree: &mut BTreeMap<String, Vec<u8>>, asked: &Asked) -> i32 {
        let mut r = Reader::new(&asked.body);
        let writes = match asked.op {
            opcode::MULTI => decode_writes(&mut r).unwrap().into_iter().map(|(_, write)| write).collect(),
            opcode::MULTI_READ => {
                for read in decode_reads(&mut r).unwrap() {
                    let (Read::Data(path) | Read::Children(path)) = read;
                    if !tree.contains_key(&*path.path) {
                        return Code::NoNode.as_wire();
                    }
                }
                return 0;
            }
            opcode::GET_DATA | opcode::GET_CHILDREN2 => {
                let path = PathWatch::decode(&mut r).unwrap().path;
                return if tree.contains_key(&*path) { 0 } else { Code::NoNode.as_wire() };
            }
            op => vec![Write::decode(op, &mut r).unwrap()],
        };
        let before = tree.clone();
        for write in writes {
            let err = match write {
                Write::Create(create) => {
                    let path = create.path.unwrap();
                    let parent = path.rsplit_once('/').unwrap().0;
                    assert!(tree.contains_key(parent), "{parent}");
                    let is_new = tree.insert(path.into_owned(), create.data.unwrap_or_default().to_vec()).is_none();
                    if is_new { 0 } else { Code::NodeExists.as_wire() }
                }
                Write::Delete { path, .. } if tree.remove(&*path).is_some() => 0,
                Write::SetData { path, data, .. } if tree.contains_key(&*path) => {
                    tree.insert(path.into_owned(), data.unwrap_or_default().to_vec());
                    0
                }
                _ => Code::NoNode.as_wire(),
            };
            if err != 0 {
                *tree = before;
                return err;
            }
        }
        0
    }

    #[test]
    fn one_connection_is_never_refused() {
        for text in [NEWER, OLDER] {
            let plan = plan(text);
            let mut tree = planted(&plan);
            let (mut maker, mut random) = (plan.maker("/root", 0, 1), Random::new(1, 0));
            let mut counts = [0; NAMES.len()];
            while let Some(asked) = ask(&mut maker, &mut random) {
                counts[asked.operation] += 1;
                assert_eq!(serve(&mut tree, &asked), 0, "{} {:?}", NAMES[asked.operation], asked.body);
                maker.answered(asked.operation, asked.ticket, 0);
            }
            assert_eq!(maker.ended(), Ok(()));
            assert_eq!(counts.iter().sum::<i32>() as u64, describe(text).unwrap().iterations.unwrap());
            if text == NEWER {
                // Weights 1 and 2 of creates and removes, 3, 5, 1, 2 and 1, of 15.
                let near = |at: usize, weight: i32| (counts[at] - 5000 * weight / 15).abs() < 120;
                assert!(near(SET, 3) && near(GET, 5) && near(LIST, 1) && near(MULTI, 2) && near(MULTI_READ, 1), "{counts:?}");
                assert!((counts[CREATE] + counts[REMOVE] - 1000).abs() < 120 && counts[REMOVE] > 350, "{counts:?}");
            }
        }
    }

    #[test]
    fn what_others_did_does_not_end_a_run_and_is_forgotten() {
        let text = "setup: {node: {name: a}}\ngenerator: {requests: {create: {path: /a, remove_factor: 0.3}, \
                    get: {path: {children_of: /a}}}}\n";
        let plan = plan(text);
        let (mut maker, mut random) = (plan.maker("/root", 0, 1), Random::new(1, 0));
        for _ in 0..1000 {
            let asked = ask(&mut maker, &mut random).unwrap();
            let err = if asked.operation == CREATE { 0 } else { Code::NoNode.as_wire() };
            maker.answered(asked.operation, asked.ticket, err);
        }
        let (created, kept) = (maker.work.shards.iter().map(|shard| shard.created.len()).sum::<usize>(), maker.pending.len());
        assert!(created > 100 && kept == 1, "{created} {kept}");
        // A refused create leaves nothing to remove, a refused remove leaves what it was to remove.
        for (operation, more) in [(CREATE, 0), (REMOVE, 0)] {
            let asked = std::iter::repeat_with(|| ask(&mut maker, &mut random).unwrap())
                .find(|asked| asked.operation == operation)
                .unwrap();
            let before: usize = maker.work.shards.iter().map(|shard| shard.created.len()).sum();
            maker.answered(asked.operation, asked.ticket, Code::NodeExists.as_wire());
            let after: usize = maker.work.shards.iter().map(|shard| shard.created.len()).sum();
            assert_eq!(after, before + usize::from(operation == REMOVE) + more);
        }
    }

    #[test]
    fn an_error_ends_all_threads_unless_the_file_goes_on() {
        let text = "setup: {node: {name: a}}\ngenerator: {requests: {get: {path: /a}}}\n";
        for (text, is_over) in [(text.to_owned(), true), (format!("continue_on_error: true\n{text}"), false)] {
            let plan = plan(&text);
            let mut random = Random::new(1, 0);
            let (mut one, mut other) = (plan.maker("/root", 0, 2), plan.maker("/root", 1, 2));
            let asked = ask(&mut one, &mut random).unwrap();
            one.answered(asked.operation, asked.ticket, Code::NoNode.as_wire());
            assert_eq!((ask(&mut one, &mut random).is_none(), ask(&mut other, &mut random).is_none()), (is_over, is_over));
            let why = "get was answered NONODE (-101), and the file does not say continue_on_error";
            assert_eq!(one.ended(), if is_over { Err(why.to_owned()) } else { Ok(()) });
            assert_eq!(other.ended(), Ok(()));
        }
    }

    #[test]
    fn whoever_has_nothing_to_ask_lets_others_ask() {
        let text = "setup: {node: {name: a}}\ngenerator: {requests: {create: {path: /a, tag: t}, \
                    get: {weight: 99, path: {tagged: t}}}}\n";
        let plan = plan(text);
        let (mut maker, mut random) = (plan.maker("/root", 0, 1), Random::new(1, 0));
        let first = ask(&mut maker, &mut random).unwrap();
        assert_eq!(first.operation, CREATE);
        assert_eq!(ask(&mut maker, &mut random).unwrap().operation, CREATE, "nothing is answered yet");
        maker.answered(CREATE, first.ticket, 0);
        let later = (0..100).filter(|_| ask(&mut maker, &mut random).unwrap().operation == GET).count();
        assert!(later > 90, "{later}");

        let nothing = "setup: {node: {name: a}}\ngenerator: {requests: {create: {path: {tagged: t}, tag: t}}}\n";
        let mut maker = super::tests::plan(nothing).maker("/root", 0, 1);
        assert!(ask(&mut maker, &mut random).is_none());
        assert_eq!(
            maker.ended().unwrap_err(),
            "no request has a path to ask for: all sets of paths that they draw from are empty"
        );
    }

    #[test]
    fn the_same_seed_makes_the_same_tree_and_threads_share_it() {
        let plan = plan(NEWER);
        let tree = planted(&plan);
        assert_eq!(tree, planted(&super::tests::plan(NEWER)));
        assert_eq!(tree.len(), 1 + 3 + 5 + 15);
        assert!(tree.iter().filter(|(path, _)| path.matches('/').count() == 3).all(|(_, data)| (16..=64).contains(&data.len())));
        let text = "setup: {node: {name: a, node: {name: {random_string: {size: 9}}, repeat: 10}}}\n\
                    generator: {requests: {create: {path: /a}, get: {path: {children_of: /a}}}}\n";
        let plan = super::tests::plan(text);
        let given = |thread| plan.maker("/root", thread, 3).work.shards.iter().map(|shard| shard.given.len()).sum::<usize>();
        assert_eq!([given(0), given(1), given(2)], [4, 3, 3]);
    }
}
