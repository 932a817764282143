//! The index of a View: from a path to its slot, in many small hash tables, so that growing one stalls nobody.

use ahash::RandomState;
use hashbrown::HashTable;

/// Tables. At 1 M znodes each has a thousand entries; moving those takes microseconds.
const PARTS: usize = 1024;

/// Half of the hash and the slot: growing a table asks no record for its path.
#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    slot: u32,
}

/// The index.
#[derive(Clone)]
pub(super) struct Index {
    hasher: RandomState,
    parts: Box<[HashTable<Entry>]>,
}

/// The hash a table works with, made from the tag: tables take their position from its low bits and their control
/// bytes from the top seven.
const fn spread(tag: u32) -> u64 {
    (tag as u64) << 32 | tag as u64
}

/// The table by the upper half, the tag by the lower, so that the tags within a table are as good as any.
///
/// The last table gets twice as many entries as the first, evenly rising between: equal tables would all grow within a
/// few inserts of each other, and together be half empty at the wrong number of znodes. The larger of two even draws is
/// distributed like a ramp from 0; one time in three, on top of an even draw, it makes the ramp from 1 to 2.
const fn place(hash: u64) -> (usize, u32) {
    let (even, other) = ((hash >> 32) as usize % PARTS, (hash >> 42) as usize % PARTS);
    let ramp = (hash >> 52).is_multiple_of(3);
    (if ramp && other > even { other } else { even }, hash as u32)
}

impl Index {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { hasher, parts: vec![HashTable::new(); PARTS].into() }
    }

    /// An index with room for `expected` slots, as they spread over tables of uneven size.
    pub(super) fn with_room(hasher: RandomState, expected: usize) -> Self {
        // The first table gets two thirds of an even share, the last twice that.
        let share = |part: usize| (expected * (PARTS + part)).div_ceil(PARTS * PARTS) * 2 / 3;
        Self { hasher, parts: (0..PARTS).map(|part| HashTable::with_capacity(share(part))).collect() }
    }

    #[inline]
    pub(super) fn hash(&self, path: &[u8]) -> u64 {
        self.hasher.hash_one(path)
    }

    /// The slot whose hash is `hash` and of which `is_it` says yes.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (part, tag) = place(hash);
        self.parts[part].find(spread(tag), |entry| entry.tag == tag && is_it(entry.slot)).map(|entry| entry.slot)
    }

    /// Enters a slot whose path is not in the index.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let (part, tag) = place(hash);
        self.parts[part].insert_unique(spread(tag), Entry { tag, slot }, |entry| spread(entry.tag));
    }

    /// Removes a slot that is in the index under `hash`.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let (part, tag) = place(hash);
        match self.parts[part].find_entry(spread(tag), |entry| entry.slot == slot) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("what is removed was entered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_entered_and_not_what_was_removed() {
        let mut index = Index::new(RandomState::with_seeds(1, 2, 3, 4));
        let hash = |index: &Index, n: u32| index.hash(&n.to_be_bytes());
        for n in 0..20_000 {
            index.insert(hash(&index, n), n);
        }
        for n in (0..20_000).step_by(2) {
            index.remove(hash(&index, n), n);
        }
        for n in 0..20_000 {
            assert_eq!(index.find(hash(&index, n), |slot| slot == n), (n % 2 == 1).then_some(n));
        }
    }

    #[test]
    fn tables_differ_in_size_up_to_twofold() {
        let index = Index::new(RandomState::with_seeds(1, 2, 3, 4));
        let mut eighths = [0u32; 8];
        for n in 0..150_000u32 {
            eighths[place(index.hash(&n.to_be_bytes())).0 / (PARTS / 8)] += 1;
        }
        for (i, count) in (0..).zip(eighths) {
            // An eighth of 150,000 times 2/3 of the density 1 + u in the middle of the eighth.
            let expected = 12_500.0 * (1.0 + (f64::from(i) + 0.5) / 8.0);
            assert!((f64::from(count) / expected - 1.0).abs() < 0.05, "{eighths:?}");
        }
    }

    #[test]
    fn slots_of_one_hash_are_told_apart() {
        let mut index = Index::new(RandomState::with_seeds(1, 2, 3, 4));
        index.insert(5, 1);
        index.insert(5, 2);
        assert_eq!(index.find(5, |slot| slot == 2), Some(2));
        index.remove(5, 1);
        assert_eq!((index.find(5, |_| true), index.find(5, |slot| slot == 1)), (Some(2), None));
    }
}
