//! Table: the watches of one shard's connections.
//!
//! A watch is an edge between a watcher and a path. Edges lie in a slab and hang in two lists, that of their path (in the
//! order the watchers came to it) and that of their watcher, so that firing, a disconnect and a single removal cost no more
//! than the watches they touch, however many connections watch one path. The pair of watcher and path is hashed as well:
//! registering a watch that is there already must not search either list.
//!
//! Recursive watches are noted once more, by path. While there is none, a change looks at its own path alone; while there are
//! some, it asks for each path above it, and touches no other watch there.

use std::collections::BTreeSet;

use ahash::RandomState;
use hashbrown::HashTable;

use super::kinds::{Fired, Kind, Kinds, WatcherId};
use super::slab::Slab;
use super::told::Told;

/// No edge.
const NIL: u32 = u32::MAX;

/// A path somebody watches.
#[derive(Debug)]
struct Node {
    path: Box<str>,
    first: u32,
    last: u32,
}

/// One watcher's interest in one path.
#[derive(Debug)]
struct Edge {
    watcher: WatcherId,
    node: u32,
    path_prev: u32,
    path_next: u32,
    own_prev: u32,
    own_next: u32,
    kinds: Kinds,
}

const NO_EDGE: Edge =
    Edge { watcher: WatcherId(NIL), node: NIL, path_prev: NIL, path_next: NIL, own_prev: NIL, own_next: NIL, kinds: Kinds::NONE };

/// What `wchs` tells, as ZooKeeper's: of data watches, persistent and recursive ones, and several of one watcher on one path are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Watchers with such a watch.
    pub watchers: usize,
    /// Paths with such a watch.
    pub paths: usize,
    /// Such watches.
    pub watches: usize,
}

/// The watches of one shard.
#[derive(Debug)]
pub struct Table {
    nodes: Slab<Node>,
    edges: Slab<Edge>,
    /// Indexes of nodes, by path.
    by_path: HashTable<u32>,
    /// Indexes of edges, by watcher and node.
    by_pair: HashTable<u32>,
    /// First edge of each watcher, by its slot.
    first_of: Vec<u32>,
    /// Nodes with their edges that are recursive.
    recursive: BTreeSet<(u32, u32)>,
    told: Told,
    /// Edges that ZooKeeper would have in its table of data watches.
    data: usize,
    /// Edges that ZooKeeper would have in its table of child watches.
    child: usize,
    random: RandomState,
}

impl Table {
    /// An empty table. The seeds keep clients from choosing paths that collide.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        Self {
            nodes: Slab::new(),
            edges: Slab::new(),
            by_path: HashTable::new(),
            by_pair: HashTable::new(),
            first_of: Vec::new(),
            recursive: BTreeSet::new(),
            told: Told::default(),
            data: 0,
            child: 0,
            random: RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]),
        }
    }

    /// Whether nobody watches anything. Asked for every change, so it is one comparison.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_pair.is_empty()
    }

    /// Watches as ZooKeeper counts them (`watch_count` of `mntr`): a persistent watch is two, but kinds of one watcher on one path that
    /// lie in the same of its tables are one.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.data + self.child
    }

    /// Registers a watch; one that is there already stays as it is. Any string may be watched: setWatches brings paths that are
    /// not legal.
    pub fn add(&mut self, watcher: WatcherId, path: &str, kind: Kind) {
        let node = self.find_node(path).unwrap_or_else(|| self.new_node(path));
        let at = self.find_edge(watcher, node).unwrap_or_else(|| self.new_edge(watcher, node));
        self.set_kinds(at, self.edges[at].kinds.with(kind.into()));
    }

    /// Whether the watcher has a watch of any of these kinds.
    #[must_use]
    pub fn contains(&self, watcher: WatcherId, path: &str, kinds: impl Into<Kinds>) -> bool {
        let edge = self.find_node(path).and_then(|node| self.find_edge(watcher, node));
        edge.is_some_and(|at| self.edges[at].kinds.has(kinds.into()))
    }

    /// Removes the watcher's watches of these kinds. Says whether there was any.
    pub fn remove(&mut self, watcher: WatcherId, path: &str, kinds: impl Into<Kinds>) -> bool {
        let Some(at) = self.find_node(path).and_then(|node| self.find_edge(watcher, node)) else { return false };
        let kinds = kinds.into();
        let found = self.edges[at].kinds.has(kinds);
        if found {
            self.disarm(at, kinds);
        }
        found
    }

    /// Forgets a watcher, at a cost of its own watches: its connection is gone.
    pub fn remove_watcher(&mut self, watcher: WatcherId) {
        while let Some(at) = self.first_of(watcher) {
            self.disarm(at, Kinds::ANY);
        }
    }

    /// What happened to a path: appends who must be told to `out` and takes the watches that fired and fire once.
    ///
    /// Each watcher is named once. The order is that in which the watchers came to the path, and then recursive watchers of the
    /// paths above it, the nearest first; for a deletion those with nothing but a child watch come last.
    pub fn fire(&mut self, path: &str, what: Fired, out: &mut Vec<WatcherId>) {
        if self.is_empty() {
            return;
        }
        let (wanted, taken) = match what {
            Fired::Created | Fired::DataChanged => (Kinds::DATA_TABLE, Kinds::DATA),
            Fired::ChildrenChanged => (Kinds::CHILD_TABLE, Kinds::CHILD),
            Fired::Deleted => (Kinds::DATA_TABLE, Kinds::STANDARD),
        };
        let (node, from) = (self.find_node(path), out.len());
        if let Some(node) = node {
            self.consume(node, wanted, taken, out, |_, _| true);
        }
        let any_above = what != Fired::ChildrenChanged && !self.recursive.is_empty() && self.fire_above(path, from, out);
        // The first pass may have left the path with nobody, and so without a node.
        if what == Fired::Deleted
            && node.is_some()
            && let Some(node) = self.find_node(path)
        {
            self.consume(node, Kinds::CHILD, Kinds::CHILD, out, |told, watcher| !any_above || !told.contains(watcher));
        }
    }

    /// Names the recursive watchers of the paths above that are not in `out` yet. Says whether any was found, told before or not.
    fn fire_above(&mut self, path: &str, from: usize, out: &mut Vec<WatcherId>) -> bool {
        let mut any = false;
        for above in above(path) {
            let Some(node) = self.find_node(above) else { continue };
            for &(_, edge) in self.recursive.range((node, 0)..=(node, NIL)) {
                if !any {
                    any = true;
                    self.told.begin();
                    for &watcher in &out[from..] {
                        self.told.insert(watcher);
                    }
                }
                let watcher = self.edges[edge].watcher;
                if self.told.insert(watcher) {
                    out.push(watcher);
                }
            }
        }
        any
    }

    /// What `wchs` tells. Looks at every watch.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            watchers: self.watchers().filter(|&w| self.edges_of(w).any(|e| e.kinds.has(Kinds::DATA_TABLE))).count(),
            paths: self.nodes.indexes().filter(|&n| self.edges_at(n).any(|e| e.kinds.has(Kinds::DATA_TABLE))).count(),
            watches: self.data,
        }
    }

    /// Each path of those that [`Summary`] tells of and its watchers, both in order (`wchp`).
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<WatcherId>)> {
        let mut nodes: Vec<u32> =
            self.nodes.indexes().filter(|&n| self.edges_at(n).any(|e| e.kinds.has(Kinds::DATA_TABLE))).collect();
        nodes.sort_unstable_by(|&a, &b| self.nodes[a].path.cmp(&self.nodes[b].path));
        nodes.into_iter().map(|n| {
            let mut watchers: Vec<_> = self.edges_at(n).filter(|e| e.kinds.has(Kinds::DATA_TABLE)).map(|e| e.watcher).collect();
            watchers.sort_unstable();
            (&*self.nodes[n].path, watchers)
        })
    }

    /// Each watcher of those that [`Summary`] tells of and its paths, both in order (`wchc`).
    pub fn by_watcher(&self) -> impl Iterator<Item = (WatcherId, Vec<&str>)> {
        self.watchers().filter_map(|w| {
            let edges = self.edges_of(w).filter(|e| e.kinds.has(Kinds::DATA_TABLE));
            let mut paths: Vec<_> = edges.map(|e| &*self.nodes[e.node].path).collect();
            paths.sort_unstable();
            (!paths.is_empty()).then_some((w, paths))
        })
    }

    /// Bytes held on the heap, without the paths' own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nodes.bytes()
            + self.edges.bytes()
            + self.by_path.allocation_size()
            + self.by_pair.allocation_size()
            + self.first_of.capacity() * size_of::<u32>()
            + self.told.bytes()
            // The leaves of a B-tree are at least half full.
            + self.recursive.len() * 2 * size_of::<(u32, u32)>()
    }

    fn watchers(&self) -> impl Iterator<Item = WatcherId> {
        (0..self.first_of.len()).map(|slot| WatcherId(u32::try_from(slot).expect("slots are u32")))
    }

    fn edges_at(&self, node: u32) -> impl Iterator<Item = &Edge> {
        let first = Some(self.nodes[node].first).filter(|&at| at != NIL);
        std::iter::successors(first, |&at| Some(self.edges[at].path_next).filter(|&next| next != NIL)).map(|at| &self.edges[at])
    }

    fn edges_of(&self, watcher: WatcherId) -> impl Iterator<Item = &Edge> {
        std::iter::successors(self.first_of(watcher), |&at| Some(self.edges[at].own_next).filter(|&next| next != NIL))
            .map(|at| &self.edges[at])
    }

    fn first_of(&self, watcher: WatcherId) -> Option<u32> {
        self.first_of.get(watcher.0 as usize).copied().filter(|&at| at != NIL)
    }

    fn find_node(&self, path: &str) -> Option<u32> {
        self.by_path.find(self.random.hash_one(path), |&n| &*self.nodes[n].path == path).copied()
    }

    fn find_edge(&self, watcher: WatcherId, node: u32) -> Option<u32> {
        let same = |&at: &u32| self.edges[at].watcher == watcher && self.edges[at].node == node;
        self.by_pair.find(self.random.hash_one((watcher.0, node)), same).copied()
    }

    fn new_node(&mut self, path: &str) -> u32 {
        let node = self.nodes.put(Node { path: path.into(), first: NIL, last: NIL });
        let (nodes, random) = (&self.nodes, &self.random);
        self.by_path.insert_unique(random.hash_one(path), node, |&n| random.hash_one(&*nodes[n].path));
        node
    }

    /// A new edge without kinds, at the end of its path's list.
    fn new_edge(&mut self, watcher: WatcherId, node: u32) -> u32 {
        let slot = watcher.0 as usize;
        if slot >= self.first_of.len() {
            self.first_of.resize(slot + 1, NIL);
        }
        let (path_prev, own_next) = (self.nodes[node].last, self.first_of[slot]);
        let at = self.edges.put(Edge { watcher, node, path_prev, own_next, ..NO_EDGE });
        self.nodes[node].last = at;
        if path_prev == NIL {
            self.nodes[node].first = at;
        } else {
            self.edges[path_prev].path_next = at;
        }
        self.first_of[slot] = at;
        if own_next != NIL {
            self.edges[own_next].own_prev = at;
        }
        let (edges, random) = (&self.edges, &self.random);
        let hash = |e: &Edge| random.hash_one((e.watcher.0, e.node));
        self.by_pair.insert_unique(hash(&edges[at]), at, |&e| hash(&edges[e]));
        at
    }

    /// Takes `taken` from the watchers of a path that have any of `wanted`, and names those of them that `tells` lets pass.
    fn consume(
        &mut self,
        node: u32,
        wanted: Kinds,
        taken: Kinds,
        out: &mut Vec<WatcherId>,
        tells: impl Fn(&Told, WatcherId) -> bool,
    ) {
        let mut at = self.nodes[node].first;
        while at != NIL {
            let edge = &self.edges[at];
            let next = edge.path_next;
            if edge.kinds.has(wanted) {
                if tells(&self.told, edge.watcher) {
                    out.push(edge.watcher);
                }
                self.disarm(at, taken);
            }
            at = next;
        }
    }

    /// Takes kinds from an edge; an edge left with none goes, and a path left with no edge.
    fn disarm(&mut self, at: u32, taken: Kinds) {
        let left = self.edges[at].kinds.without(taken);
        self.set_kinds(at, left);
        if left == Kinds::NONE {
            self.unlink(at);
        }
    }

    /// Changes what an edge waits for, and all that is counted by it.
    fn set_kinds(&mut self, at: u32, kinds: Kinds) {
        let edge = &mut self.edges[at];
        let (before, node) = (std::mem::replace(&mut edge.kinds, kinds), edge.node);
        let turn = |table: Kinds, count: &mut usize| match (before.has(table), kinds.has(table)) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        };
        turn(Kinds::DATA_TABLE, &mut self.data);
        turn(Kinds::CHILD_TABLE, &mut self.child);
        match (before.has(Kinds::RECURSIVE), kinds.has(Kinds::RECURSIVE)) {
            (false, true) => assert!(self.recursive.insert((node, at)), "an edge becomes recursive once"),
            (true, false) => assert!(self.recursive.remove(&(node, at)), "every recursive edge is noted"),
            _ => {}
        }
    }

    fn unlink(&mut self, at: u32) {
        let Edge { watcher, node, path_prev, path_next, own_prev, own_next, .. } = self.edges[at];
        let hash = self.random.hash_one((watcher.0, node));
        self.by_pair.find_entry(hash, |&e| e == at).expect("every edge is in the pairs").remove();
        match path_prev {
            NIL => self.nodes[node].first = path_next,
            prev => self.edges[prev].path_next = path_next,
        }
        match path_next {
            NIL => self.nodes[node].last = path_prev,
            next => self.edges[next].path_prev = path_prev,
        }
        match own_prev {
            NIL => self.first_of[watcher.0 as usize] = own_next,
            prev => self.edges[prev].own_next = own_next,
        }
        if own_next != NIL {
            self.edges[own_next].own_prev = own_prev;
        }
        self.edges.free(at, NO_EDGE);
        if self.nodes[node].first == NIL {
            let hash = self.random.hash_one(&*self.nodes[node].path);
            self.by_path.find_entry(hash, |&n| n == node).expect("every node is in the paths").remove();
            self.nodes.free(node, Node { path: Box::default(), first: NIL, last: NIL });
        }
    }
}

/// The paths above a legal path, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    fn parent(path: &str) -> Option<&str> {
        match path.rfind('/')? {
            0 if path.len() == 1 => None,
            0 => Some("/"),
            at => Some(&path[..at]),
        }
    }
    std::iter::successors(parent(path), |path| parent(path))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const A: WatcherId = WatcherId(3);
    const B: WatcherId = WatcherId(0);
    const C: WatcherId = WatcherId(7);

    fn table() -> Table {
        Table::new([1, 2, 3, 4])
    }

    fn fired(table: &mut Table, path: &str, what: Fired) -> Vec<WatcherId> {
        let mut out = Vec::new();
        table.fire(path, what, &mut out);
        out
    }

    #[test]
    fn a_watch_fires_once_and_in_order_of_registration() {
        let mut t = table();
        for w in [A, B, C, A] {
            t.add(w, "/p", Kind::Data);
        }
        t.add(B, "/p", Kind::Child);
        assert_eq!((t.total(), t.summary()), (4, Summary { watchers: 3, paths: 1, watches: 3 }));
        assert_eq!(fired(&mut t, "/q", Fired::Created), []);
        assert_eq!(fired(&mut t, "/p", Fired::DataChanged), [A, B, C]);
        assert_eq!(fired(&mut t, "/p", Fired::DataChanged), []);
        assert!(t.contains(B, "/p", Kind::Child) && !t.contains(B, "/p", Kind::Data));
        assert_eq!(fired(&mut t, "/p", Fired::ChildrenChanged), [B]);
        assert!(t.is_empty());
    }

    #[test]
    fn a_deletion_names_each_watcher_once_and_takes_both_kinds() {
        let mut t = table();
        t.add(A, "/p", Kind::Child);
        t.add(B, "/p", Kind::Child);
        t.add(B, "/p", Kind::Data);
        t.add(C, "/p", Kind::Data);
        assert_eq!(fired(&mut t, "/p", Fired::Deleted), [B, C, A]);
        assert_eq!((t.is_empty(), t.total()), (true, 0));
    }

    #[test]
    fn a_persistent_watch_hears_both_kinds_and_stays() {
        let mut t = table();
        t.add(A, "/p", Kind::Persistent);
        t.add(B, "/p", Kind::Data);
        t.add(A, "/p", Kind::Data);
        t.add(A, "/p", Kind::Child);
        assert_eq!(t.total(), 3, "what lies in one table of ZooKeeper's is one");
        for _ in 0..2 {
            assert_eq!(fired(&mut t, "/p", Fired::ChildrenChanged), [A]);
        }
        assert!(t.contains(A, "/p", Kind::Data) && !t.contains(A, "/p", Kind::Child));
        assert_eq!(fired(&mut t, "/p", Fired::DataChanged), [A, B]);
        t.add(A, "/p", Kind::Child);
        assert_eq!(fired(&mut t, "/p", Fired::Deleted), [A]);
        assert!(t.contains(A, "/p", Kind::Persistent) && !t.contains(A, "/p", Kind::Child));
        assert_eq!(fired(&mut t, "/p", Fired::Created), [A]);
        assert_eq!(fired(&mut t, "/p/x", Fired::Created), []);
        assert_eq!((t.total(), t.summary()), (2, Summary { watchers: 1, paths: 1, watches: 1 }));
    }

    #[test]
    fn a_recursive_watch_hears_of_all_below_and_of_no_children() {
        let mut t = table();
        t.add(A, "/p", Kind::Recursive);
        t.add(B, "/", Kind::Recursive);
        t.add(C, "/p/x", Kind::Data);
        for what in [Fired::Created, Fired::DataChanged, Fired::Deleted] {
            t.add(C, "/p/x", Kind::Data);
            assert_eq!(fired(&mut t, "/p/x", what), [C, A, B]);
            assert_eq!(fired(&mut t, "/p/x/deep/er", what), [A, B]);
            assert_eq!(fired(&mut t, "/p", what), [A, B]);
            assert_eq!(fired(&mut t, "/px", what), [B]);
            assert_eq!(fired(&mut t, "/", what), [B]);
        }
        for path in ["/", "/p", "/p/x"] {
            assert_eq!(fired(&mut t, path, Fired::ChildrenChanged), []);
        }
        assert_eq!(t.total(), 2);
        t.remove_watcher(B);
        assert!(t.remove(A, "/p", Kind::Recursive) && t.is_empty() && t.recursive.is_empty());
        assert_eq!(fired(&mut t, "/p", Fired::Deleted), []);
    }

    #[test]
    fn several_watches_of_one_watcher_tell_it_once() {
        let mut t = table();
        for path in ["/", "/p", "/p/x"] {
            t.add(A, path, Kind::Recursive);
        }
        t.add(A, "/p/x", Kind::Persistent);
        t.add(A, "/p/x", Kind::Data);
        t.add(B, "/p/x", Kind::Child);
        t.add(B, "/p", Kind::Recursive);
        t.add(C, "/p/x", Kind::Child);
        assert_eq!(fired(&mut t, "/p/x", Fired::Created), [A, B]);
        assert_eq!(fired(&mut t, "/p/x", Fired::Deleted), [A, B, C]);
        assert!(!t.contains(B, "/p/x", Kind::Child), "used up, though told by another");
        assert_eq!(fired(&mut t, "/p/x", Fired::Deleted), [A, B]);
    }

    #[test]
    fn a_removal_takes_the_kinds_it_names() {
        let mut t = table();
        let all = [Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive];
        for kind in all {
            t.add(A, "/p", kind);
        }
        t.add(B, "/p", Kind::Recursive);
        for (i, kind) in all.into_iter().enumerate() {
            assert!(t.contains(A, "/p", Kinds::ANY) && t.remove(A, "/p", kind) && !t.remove(A, "/p", kind));
            assert!(all[i + 1..].iter().all(|&kind| t.contains(A, "/p", kind)));
        }
        assert!(!t.contains(A, "/p", Kinds::ANY) && !t.remove(A, "/p", Kinds::ANY));
        t.add(A, "/p", Kind::Child);
        t.add(A, "/p", Kind::Recursive);
        assert!(t.remove(A, "/p", Kinds::ANY) && !t.contains(A, "/p", Kinds::ANY));
        assert_eq!((t.total(), fired(&mut t, "/p/x", Fired::Created)), (1, vec![B]));
    }

    #[test]
    fn a_disconnect_leaves_the_others() {
        let mut t = table();
        for w in [A, B] {
            t.add(w, "/p", Kind::Data);
            t.add(w, "/q", Kind::Child);
        }
        t.remove_watcher(A);
        t.remove_watcher(A);
        t.remove_watcher(WatcherId(u32::MAX));
        assert_eq!(t.total(), 2);
        assert_eq!(fired(&mut t, "/p", Fired::Created), [B]);
        assert!(t.remove(B, "/q", Kind::Child) && !t.remove(B, "/q", Kind::Child));
        assert!(t.is_empty());
    }

    #[test]
    fn admin_lists_are_sorted_and_of_the_data_table() {
        let mut t = table();
        for (w, path) in [(A, "/z"), (C, "/a"), (A, "/a"), (B, "/m")] {
            t.add(w, path, Kind::Data);
        }
        t.add(C, "/child", Kind::Child);
        t.add(A, "/z", Kind::Recursive);
        t.add(B, "/n", Kind::Persistent);
        let by_path: Vec<_> = t.by_path().collect();
        assert_eq!(by_path, [("/a", vec![A, C]), ("/m", vec![B]), ("/n", vec![B]), ("/z", vec![A])]);
        let by_watcher: Vec<_> = t.by_watcher().collect();
        assert_eq!(by_watcher, [(B, vec!["/m", "/n"]), (A, vec!["/a", "/z"]), (C, vec!["/a"])]);
    }

    #[test]
    fn a_deletion_that_empties_a_large_table_is_safe() {
        let mut t = table();
        for i in 0..5000 {
            t.add(A, &format!("/p{i}"), Kind::Data);
        }
        for i in 0..5000 {
            assert_eq!(fired(&mut t, &format!("/p{i}"), Fired::Deleted), [A]);
        }
        assert!(t.is_empty());
        t.add(A, "/p", Kind::Child);
        assert_eq!(fired(&mut t, "/p", Fired::Deleted), [A]);
    }

    #[test]
    fn a_watch_costs_at_most_a_hundred_bytes() {
        let mut t = table();
        for i in 0..200_000u32 {
            t.add(WatcherId(i % 1000), &format!("/{i}"), Kind::Data);
            if i > 10_000 && i % 97 == 0 {
                assert!(t.bytes() <= 100 * t.total(), "{} bytes for {} watches", t.bytes(), t.total());
            }
        }
    }

    /// For each path the watchers in the order they came, with what they wait for.
    #[derive(Default)]
    struct Model(BTreeMap<String, Vec<(WatcherId, BTreeSet<Kind>)>>);

    impl Model {
        fn add(&mut self, w: WatcherId, path: &str, kind: Kind) {
            let list = self.0.entry(path.into()).or_default();
            match list.iter_mut().find(|(x, _)| *x == w) {
                Some((_, kinds)) => drop(kinds.insert(kind)),
                None => list.push((w, BTreeSet::from([kind]))),
            }
        }

        fn take(&mut self, path: &str, wanted: &[Kind], taken: &[Kind]) -> Vec<WatcherId> {
            let mut out = Vec::new();
            if let Some(list) = self.0.get_mut(path) {
                for (w, kinds) in list.iter_mut().filter(|(_, kinds)| wanted.iter().any(|kind| kinds.contains(kind))) {
                    out.push(*w);
                    kinds.retain(|k| !taken.contains(k));
                }
                list.retain(|(_, kinds)| !kinds.is_empty());
            }
            out
        }

        /// Those told by a watch on the path, those told by one above it (in no order), and those who had but a child watch.
        fn fire(&mut self, path: &str, what: Fired) -> (Vec<WatcherId>, BTreeSet<WatcherId>, Vec<WatcherId>) {
            const DATA: &[Kind] = &[Kind::Data, Kind::Persistent, Kind::Recursive];
            let own = match what {
                Fired::Created | Fired::DataChanged => self.take(path, DATA, &[Kind::Data]),
                Fired::ChildrenChanged => {
                    let told = self.take(path, &[Kind::Child, Kind::Persistent], &[Kind::Child]);
                    return (told, BTreeSet::new(), Vec::new());
                }
                Fired::Deleted => self.take(path, DATA, &[Kind::Data, Kind::Child]),
            };
            let is_above = |root: &str| root != path && (root == "/" || path.starts_with(&format!("{root}/")));
            let above = self.0.iter().filter(|(root, _)| is_above(root)).flat_map(|(_, list)| list);
            let recursive = above.filter(|(w, kinds)| kinds.contains(&Kind::Recursive) && !own.contains(w));
            let above: BTreeSet<_> = recursive.map(|(w, _)| *w).collect();
            let mut last = Vec::new();
            if what == Fired::Deleted {
                last = self.take(path, &[Kind::Child], &[Kind::Child]);
                last.retain(|w| !above.contains(w));
            }
            (own, above, last)
        }

        fn remove(&mut self, w: WatcherId, path: &str, of: &[Kind]) -> bool {
            let Some(list) = self.0.get_mut(path) else { return false };
            let mut found = false;
            for (_, kinds) in list.iter_mut().filter(|(x, _)| *x == w) {
                found = of.iter().any(|kind| kinds.contains(kind));
                kinds.retain(|kind| !of.contains(kind));
            }
            list.retain(|(_, kinds)| !kinds.is_empty());
            found
        }

        fn remove_watcher(&mut self, w: WatcherId) {
            self.0.values_mut().for_each(|list| list.retain(|(x, _)| *x != w));
        }

        /// What is in a table of ZooKeeper's that keeps these kinds.
        fn watches(&self, of: &[Kind]) -> BTreeSet<(&str, WatcherId)> {
            let all = self.0.iter().flat_map(|(path, list)| list.iter().map(move |(w, kinds)| (&**path, *w, kinds)));
            all.filter(|(_, _, kinds)| of.iter().any(|kind| kinds.contains(kind))).map(|(path, w, _)| (path, w)).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(WatcherId, String, Kind),
        Remove(WatcherId, String, Vec<Kind>),
        RemoveWatcher(WatcherId),
        Fire(String, Fired),
    }

    const ALL: [Kind; 4] = [Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive];

    fn step() -> impl Strategy<Value = Step> {
        let watcher = || (0..6u32).prop_map(WatcherId);
        let path = || prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/c", "odd"]).prop_map(str::to_owned);
        let kind = || prop::sample::select(ALL.to_vec());
        let kinds = prop_oneof![3 => kind().prop_map(|kind| vec![kind]), 1 => Just(ALL.to_vec())];
        let what =
            prop_oneof![Just(Fired::Created), Just(Fired::DataChanged), Just(Fired::ChildrenChanged), Just(Fired::Deleted)];
        prop_oneof![
            6 => (watcher(), path(), kind()).prop_map(|(w, p, k)| Step::Add(w, p, k)),
            1 => (watcher(), path(), kinds).prop_map(|(w, p, ks)| Step::Remove(w, p, ks)),
            1 => watcher().prop_map(Step::RemoveWatcher),
            3 => (path().prop_filter("events have legal paths", |p| p != "odd"), what).prop_map(|(p, f)| Step::Fire(p, f)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_the_model(steps in prop::collection::vec(step(), 1..200)) {
            let (mut t, mut m) = (table(), Model::default());
            for step in steps {
                match step {
                    Step::Add(w, p, k) => {
                        t.add(w, &p, k);
                        m.add(w, &p, k);
                        prop_assert!(t.contains(w, &p, k));
                    }
                    Step::Remove(w, p, ks) => {
                        let kinds = ks.iter().fold(Kinds::NONE, |all, &kind| all.with(kind.into()));
                        prop_assert_eq!(t.contains(w, &p, kinds), m.watches(&ks).contains(&(&*p, w)));
                        prop_assert_eq!(t.remove(w, &p, kinds), m.remove(w, &p, &ks));
                    }
                    Step::RemoveWatcher(w) => {
                        t.remove_watcher(w);
                        m.remove_watcher(w);
                    }
                    Step::Fire(p, f) => {
                        let (told, (own, above, last)) = (fired(&mut t, &p, f), m.fire(&p, f));
                        prop_assert_eq!(told.len(), own.len() + above.len() + last.len());
                        prop_assert_eq!(&told[..own.len()], &own);
                        let (told, rest) = told[own.len()..].split_at(above.len());
                        prop_assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), above);
                        prop_assert_eq!(rest, last);
                    }
                }
                let data = m.watches(&[Kind::Data, Kind::Persistent, Kind::Recursive]);
                prop_assert_eq!(t.total(), data.len() + m.watches(&[Kind::Child, Kind::Persistent]).len());
                prop_assert_eq!(t.recursive.len(), m.watches(&[Kind::Recursive]).len());
                prop_assert_eq!(t.is_empty(), t.total() == 0);
                let listed: BTreeSet<_> = t.by_path().flat_map(|(p, ws)| ws.into_iter().map(move |w| (p, w))).collect();
                prop_assert_eq!(&listed, &data);
                let listed: BTreeSet<_> = t.by_watcher().flat_map(|(w, ps)| ps.into_iter().map(move |p| (p, w))).collect();
                prop_assert_eq!(&listed, &data);
                let watchers: BTreeSet<_> = data.iter().map(|(_, w)| w).collect();
                let paths: BTreeSet<_> = data.iter().map(|(p, _)| p).collect();
                let expected = Summary { watchers: watchers.len(), paths: paths.len(), watches: data.len() };
                prop_assert_eq!(t.summary(), expected);
            }
        }
    }
}
