//! Znodes: the tree that a keeper-bench file sets up, and the sets of paths that its requests draw from.

use std::collections::{BTreeMap, BTreeSet};

use super::description::{Description, Kind, Node, Request, Source, Sourced, Text};
use super::tree::Wrong;
use crate::bench::load::random::Random;

/// Most znodes of a setup.
pub const NODES_MAX: u64 = 10_000_000;

/// Bytes of paths that are kept of a setup, at most.
const PATHS_MAX: usize = 1 << 30;

/// Letters of random names and data.
const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a set of paths consists of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// These.
    Fixed(Vec<String>),
    /// The children of this one.
    ChildrenOf(String),
    /// What has this tag.
    Tagged(String),
    /// What the create of this line has created.
    CreatedBy(usize),
}

/// A set of paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// What it consists of.
    pub key: Key,
    /// Line of the first request that names it.
    pub line: usize,
    /// Whether requests draw from it.
    pub is_read: bool,
    /// Whether creates put into it what they create.
    pub is_made: bool,
    /// Its paths in the setup; filled by [`Sets::collect`], where it is read.
    pub given: Vec<Box<str>>,
}

/// The sets of paths of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sets {
    /// All of them.
    pub all: Vec<Set>,
    by_key: BTreeMap<Key, usize>,
}

impl Sets {
    /// The sets of a description, without paths.
    #[must_use]
    pub fn of(description: &Description) -> Self {
        let mut sets = Self::default();
        each(&description.requests, &mut |request| {
            for key in keys(request.kind.paths()) {
                let at = sets.add(key, request.line);
                sets.all[at].is_read = true;
            }
        });
        each(&description.requests, &mut |request| {
            let Some(key) = output_key(request) else { return };
            let Kind::Create { remove_factor, .. } = request.kind else { return };
            if remove_factor > 0.0 || sets.by_key.contains_key(&key) {
                let at = sets.add(key, request.line);
                sets.all[at].is_made = true;
            }
        });
        sets
    }

    fn add(&mut self, key: Key, line: usize) -> usize {
        let all = &mut self.all;
        *self.by_key.entry(key).or_insert_with_key(|key| {
            all.push(Set { key: key.clone(), line, is_read: false, is_made: false, given: Vec::new() });
            all.len() - 1
        })
    }

    /// Where a request's paths come from.
    #[must_use]
    pub fn inputs(&self, paths: &[Sourced]) -> Vec<usize> {
        keys(paths).into_iter().filter_map(|key| self.by_key.get(&key).copied()).collect()
    }

    /// Where the paths go that a create creates, if anybody wants to know.
    #[must_use]
    pub fn output(&self, request: &Request) -> Option<usize> {
        output_key(request).and_then(|key| self.by_key.get(&key).copied())
    }

    /// Takes the paths of the setup as `seed` makes them; `Err` if they are too many to keep.
    pub fn collect(&mut self, setup: &[Node], seed: u64, pool: &[u8]) -> Result<(), String> {
        for set in &mut self.all {
            if let Key::Fixed(paths) = &set.key {
                set.given = paths.iter().map(|path| path.as_str().into()).collect();
            }
        }
        let mut bytes = 0;
        plant(setup, seed, pool, &mut |path, _, node| {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let tagged = node.tag.as_ref().and_then(|tag| self.by_key.get(&Key::Tagged(tag.clone())));
            for at in [self.by_key.get(&Key::ChildrenOf(parent.to_owned())), tagged].into_iter().flatten() {
                let set = &mut self.all[*at];
                if set.is_read {
                    set.given.push(path.into());
                    bytes += path.len() + size_of::<Box<str>>();
                }
            }
            if bytes > PATHS_MAX { Err(format!("the setup has paths of more than {PATHS_MAX} bytes")) } else { Ok(()) }
        })
    }
}

/// Calls for all requests, those in multis among them.
fn each<'a>(requests: &'a [Request], call: &mut impl FnMut(&'a Request)) {
    for request in requests {
        call(request);
        if let Kind::Multi { members, .. } = &request.kind {
            each(members, call);
        }
    }
}

/// The sets that a request names.
fn keys(paths: &[Sourced]) -> BTreeSet<Key> {
    let mut fixed = Vec::new();
    let mut keys = BTreeSet::new();
    for Sourced { source, .. } in paths {
        match source {
            Source::Path(path) => fixed.push(path.clone()),
            Source::ChildrenOf(path) => drop(keys.insert(Key::ChildrenOf(path.clone()))),
            Source::Tagged(tag) => drop(keys.insert(Key::Tagged(tag.clone()))),
        }
    }
    if !fixed.is_empty() {
        keys.insert(Key::Fixed(fixed));
    }
    keys
}

/// The set that what a create creates belongs to: that of its tag, or else the children of its only parent, or else its own.
fn output_key(request: &Request) -> Option<Key> {
    let Kind::Create { paths, tag, .. } = &request.kind else { return None };
    Some(match (tag, paths.as_slice()) {
        (Some(tag), _) => Key::Tagged(tag.clone()),
        (None, [Sourced { source: Source::Path(parent), .. }]) => Key::ChildrenOf(parent.clone()),
        _ => Key::CreatedBy(request.line),
    })
}

/// Refuses a setup that cannot be, and requests that draw paths from nowhere. All happens below a root of the bench's own, so
/// there is nothing but what the file itself makes.
pub fn check(description: &Description) -> Result<(), Wrong> {
    let setup = &description.setup;
    if count(setup) > NODES_MAX {
        return Err(Wrong::new(setup[0].line, format!("the setup has more than {NODES_MAX} nodes")));
    }
    siblings(setup)?;
    let sets = Sets::of(description);
    let mut tags = BTreeSet::new();
    tags_of(setup, &mut tags);
    let mut wrong = None;
    each(&description.requests, &mut |request| {
        for Sourced { line, source } in request.kind.paths() {
            let missing = match source {
                Source::Path(path) if children(setup, path).is_none() => format!("the setup makes no {path}"),
                Source::ChildrenOf(path) => {
                    let is_made = sets.by_key.get(&Key::ChildrenOf(path.clone())).is_some_and(|at| sets.all[*at].is_made);
                    match children(setup, path) {
                        None => format!("the setup makes no {path}"),
                        Some([]) if !is_made => format!("{path} has no children"),
                        Some(_) => continue,
                    }
                }
                Source::Tagged(tag) => {
                    let is_made = sets.by_key.get(&Key::Tagged(tag.clone())).is_some_and(|at| sets.all[*at].is_made);
                    if is_made || tags.contains(tag.as_str()) {
                        continue;
                    }
                    format!("no node of the setup and no create has the tag {tag}")
                }
                Source::Path(_) => continue,
            };
            wrong.get_or_insert(Wrong::new(*line, missing));
        }
        if let Kind::Create { tag: Some(tag), paths, .. } = &request.kind
            && let [Sourced { source: Source::Path(parent), .. }] = paths.as_slice()
            && let Some(at) = sets.by_key.get(&Key::ChildrenOf(parent.clone()))
        {
            let other = sets.all[*at].line;
            let what =
                format!("creates here have the tag {tag}, but line {other} draws from the children of {parent}: use one of both");
            wrong.get_or_insert(Wrong::new(request.line, what));
        }
    });
    wrong.map_or(Ok(()), Err)
}

fn count(nodes: &[Node]) -> u64 {
    nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.repeat.saturating_mul(count(&node.children).saturating_add(1))))
}

fn siblings(nodes: &[Node]) -> Result<(), Wrong> {
    let mut names = BTreeMap::new();
    for node in nodes {
        if let Text::Fixed(name) = &node.name
            && let Some(first) = names.insert(name, node.line)
        {
            return Err(Wrong::new(node.line, format!("a second node {name} beside that of line {first}")));
        }
        siblings(&node.children)?;
    }
    Ok(())
}

fn tags_of<'a>(nodes: &'a [Node], tags: &mut BTreeSet<&'a str>) {
    for node in nodes {
        tags.extend(node.tag.as_deref());
        tags_of(&node.children, tags);
    }
}

/// The children of a node with a fixed path; `None` if there is none.
fn children<'a>(setup: &'a [Node], path: &str) -> Option<&'a [Node]> {
    path.split('/').skip(1).try_fold(setup, |nodes, name| {
        let mut named = nodes.iter().filter(|node| matches!(&node.name, Text::Fixed(fixed) if fixed == name));
        named.next().map(|node| node.children.as_slice())
    })
}

/// Calls for each znode of a setup, parents first: its path, its data, and what it comes from. The same seed makes the same tree.
pub fn plant<E>(
    setup: &[Node],
    seed: u64,
    pool: &[u8],
    call: &mut impl FnMut(&str, &[u8], &Node) -> Result<(), E>,
) -> Result<(), E> {
    // A stream that no generator thread has.
    let mut random = Random::new(seed, u64::from(u32::MAX));
    plant_below(setup, &mut String::new(), &mut random, pool, call)
}

fn plant_below<E>(
    nodes: &[Node],
    path: &mut String,
    random: &mut Random,
    pool: &[u8],
    call: &mut impl FnMut(&str, &[u8], &Node) -> Result<(), E>,
) -> Result<(), E> {
    for node in nodes {
        for _ in 0..node.repeat {
            let parent = path.len();
            path.push('/');
            match &node.name {
                Text::Fixed(name) => path.push_str(name),
                Text::Random(size) => push_letters(path, size.draw(random), random),
            }
            call(path, data(&node.data, random, pool), node)?;
            plant_below(&node.children, path, random, pool, call)?;
            path.truncate(parent);
        }
    }
    Ok(())
}

/// Appends random letters and digits.
#[inline]
pub fn push_letters(out: &mut String, count: usize, random: &mut Random) {
    out.extend((0..count).map(|_| char::from(LETTERS[random.below(LETTERS.len() as u64) as usize])));
}

/// Data, random ones as a piece of `pool`.
#[inline]
pub fn data<'a>(text: &'a Text, random: &mut Random, pool: &'a [u8]) -> &'a [u8] {
    match text {
        Text::Fixed(text) => text.as_bytes(),
        Text::Random(size) => {
            let size = size.draw(random);
            let begin = random.below((pool.len() - size + 1) as u64) as usize;
            &pool[begin..begin + size]
        }
    }
}

/// Letters enough for pieces of all the random data of a file, and for the pieces to differ.
#[must_use]
pub fn pool(description: &Description) -> Vec<u8> {
    const MORE: u64 = 64 << 10;
    fn of(data: &Text) -> u64 {
        match data {
            Text::Fixed(_) => 0,
            Text::Random(size) => size.largest(),
        }
    }
    fn of_nodes(nodes: &[Node]) -> u64 {
        nodes.iter().map(|node| of(&node.data).max(of_nodes(&node.children))).max().unwrap_or(0)
    }
    let mut longest = of_nodes(&description.setup);
    each(&description.requests, &mut |request| {
        if let Kind::Create { data, .. } | Kind::Set { data, .. } = &request.kind {
            longest = longest.max(of(data));
        }
    });
    let mut random = Random::new(description.seed.unwrap_or(0), u64::from(u32::MAX) + 1);
    (0..longest + MORE).map(|_| LETTERS[random.below(LETTERS.len() as u64) as usize]).collect()
}
