//! Told: which watchers have heard of a change already, where more than one of their watches may match it.

use super::kinds::WatcherId;

/// A set of watchers that is emptied by counting on.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By watcher, the round in which it was last told; 0 for never.
    rounds: Vec<u32>,
    round: u32,
}

impl Told {
    /// Nobody has been told of this change.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.rounds.clear();
            self.round = 1;
        }
    }

    /// Counts a watcher as told. Says whether it was not.
    pub(super) fn insert(&mut self, WatcherId(slot): WatcherId) -> bool {
        let slot = slot as usize;
        if slot >= self.rounds.len() {
            self.rounds.resize(slot + 1, 0);
        }
        std::mem::replace(&mut self.rounds[slot], self.round) != self.round
    }

    /// Whether the watcher has been told.
    pub(super) fn contains(&self, WatcherId(slot): WatcherId) -> bool {
        self.rounds.get(slot as usize) == Some(&self.round)
    }

    /// Bytes held.
    pub(super) const fn bytes(&self) -> usize {
        self.rounds.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_with_nobody_also_where_the_count_wraps() {
        let mut told = Told { round: u32::MAX - 2, ..Told::default() };
        let (a, b) = (WatcherId(4), WatcherId(0));
        for _ in 0..6 {
            told.begin();
            assert!(!told.contains(a) && !told.contains(b) && !told.contains(WatcherId(u32::MAX)));
            assert!(told.insert(a) && !told.insert(a));
            assert!(told.contains(a) && !told.contains(b));
        }
    }
}
