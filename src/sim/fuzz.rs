//! Fuzz: a state as a Java leader sends it: written while transactions go on, so that it holds effects of some that come after it.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::Chance;
use super::log::State;
use super::snapshot::{SEEDS, Snapshot};
use crate::engine::archivist::load::Loaded;
use crate::engine::archivist::{Archivist, Start};
use crate::ground::ids::Zxid;
use crate::ground::time::Now;
use crate::tree::record::{Record, Stored};
use crate::tree::replay::fuzzy::Fuzzy;
use crate::tree::tree::Tree;
use crate::zab::{Link, Record as Transaction};

/// A state that is being received, until it is exact.
pub struct Copying {
    /// By which link.
    pub link: Link,
    fuzzy: Fuzzy,
    state: State,
}

impl Copying {
    /// Of what came.
    #[must_use]
    pub fn new(link: Link, loaded: Loaded, state: State) -> Self {
        let mut fuzzy = Fuzzy::new(loaded.sessions);
        for (_, record) in walk(&loaded.tree) {
            let list = fuzzy.model.list(record.acl().to_vec());
            let placed = fuzzy.model.place(record.path(), record.data().map(Into::into), Ok(list), record.stored());
            placed.expect("the znodes of a tree have their places");
        }
        Self { link, fuzzy, state }
    }

    /// A transaction belongs into it.
    pub fn fold(&mut self, record: &Transaction) -> Result<(), String> {
        let entry = super::log::Entry::of(&record.blob).ok_or("a transaction without a zxid")?;
        self.state.apply(entry.mark);
        self.fuzzy.fold(record.zxid, &record.blob).map_err(|error| error.to_string())
    }

    /// It is exact.
    pub fn finish(self, archivist: impl FnOnce(Loaded) -> Archivist, now: Now) -> Result<Snapshot, String> {
        let exact = self.fuzzy.finish().map_err(|error| error.to_string())?;
        let loaded = Loaded::settled(exact, self.state.at, SEEDS).map_err(|error| error.to_string())?;
        Ok(Snapshot::of(&mut archivist(loaded), self.state, now))
    }
}

/// Znodes in the order in which a server writes them: each parent followed by its children's subtrees.
fn walk(tree: &Tree) -> BTreeMap<Vec<u8>, Record> {
    let key = |path: &str| path.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect();
    tree.view().records().map(|record| (key(record.path()), record.clone())).collect()
}

/// The parent's key.
fn parent_of(key: &[u8]) -> &[u8] {
    let cut = key.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    if cut == 0 { &key[..1] } else { &key[..cut] }
}

/// What a leader writes that stood at `before` when it began: some znodes on the way it comes to `after`. A znode and the names of its
/// children are of one moment.
#[must_use]
pub fn mixed(
    before: &Snapshot,
    after: &Snapshot,
    me: impl FnOnce(Start) -> Archivist,
    chance: &mut Chance,
    now: Now,
) -> Snapshot {
    let load = |snapshot: &Snapshot| snapshot.load().expect("an image of one's own");
    let (old, new) = (load(before), load(after));
    let sessions = if chance.coin() { old.sessions } else { new.sessions };
    let (old, new) = (walk(&old.tree), walk(&new.tree));
    let keys: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let turn = usize::try_from(chance.below(keys.len() as u64 + 1)).expect("a few znodes");
    // What was written: the record, whether it is a new one, how many children came.
    let mut written: BTreeMap<&[u8], (&Record, bool, i32)> = BTreeMap::new();
    for (place, key) in keys.into_iter().enumerate() {
        let is_new = place >= turn;
        let Some(record) = (if is_new { &new } else { &old }).get(key) else { continue };
        if key.len() > 1 {
            let Some((_, parent_is_new, children)) = written.get_mut(parent_of(key)) else { continue };
            if !(if *parent_is_new { &new } else { &old }).contains_key(key) {
                continue;
            }
            *children += 1;
        }
        written.insert(key, (record, is_new, 0));
    }
    let digest = written.values().fold(0u64, |digest, (record, ..)| digest.wrapping_add(u64::from(record.digest())));
    let stored = |record: &Record, num_children| Stored { num_children, ..record.stored() };
    let znodes =
        written.values().map(|(record, _, children)| (record.path(), record.data(), record.acl(), stored(record, *children)));
    let loaded = Loaded::planted(znodes, sessions, before.state.at, digest, SEEDS).expect("the znodes were written as a tree");
    let Loaded { tree, sessions, zxid } = loaded;
    let start = Start { view: tree.into_view(), sessions, zxid, archived: Zxid::ZERO, transactions: 0, bytes: 0 };
    Snapshot::of(&mut me(start), before.state, now)
}
