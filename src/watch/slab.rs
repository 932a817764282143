//! Slab: values at stable small indexes, freed places used again.

use std::ops::{Index, IndexMut};

/// Grows by a quarter rather than by doubling: a shard may hold millions of watches, and half a table of slack is too much.
const GROWTH: usize = 4;

/// Once empty, a slab larger than this gives its memory back.
const KEEP: usize = 1024;

/// Values under `u32` indexes.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Keeps the value and says where.
    pub(super) fn put(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = value;
            return at;
        }
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(self.slots.len() / GROWTH + 16);
        }
        let at = u32::try_from(self.slots.len()).expect("memory ends before four thousand million watches");
        self.slots.push(value);
        at
    }

    /// Gives the place free; `husk` stands there until it is used again.
    pub(super) fn free(&mut self, at: u32, husk: T) {
        self.slots[at as usize] = husk;
        self.free.push(at);
        if self.free.len() == self.slots.len() && self.slots.len() > KEEP {
            *self = Self::new();
        }
    }

    /// Bytes held, without what the values own.
    pub(super) const fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }

    /// Every place, husks included.
    pub(super) fn indexes(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.slots.len()).expect("put checked it")
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        &self.slots[at as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.slots[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_places_are_used_again_and_an_emptied_slab_gives_memory_back() {
        let mut slab = Slab::new();
        let (a, b) = (slab.put('a'), slab.put('b'));
        slab.free(a, ' ');
        assert_eq!(slab.put('c'), a);
        assert_eq!((slab[a], slab[b]), ('c', 'b'));
        for _ in 0..2 * KEEP {
            slab.put('x');
        }
        let held = slab.bytes();
        for at in slab.indexes().rev() {
            slab.free(at, ' ');
        }
        assert!(held > 2 * KEEP && slab.bytes() == 0);
    }
}
