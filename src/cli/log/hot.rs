//! Hot: the most frequent of many keys, in bounded memory.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Keys kept between two clearings.
const KEPT: usize = 8192;

/// Counts keys after Misra and Gries: when there are too many, the median count is taken from all, and those at zero go. A count
/// is at most [`Hot::missed`] below the truth, and `missed` is at most the sum of all counts over half of [`KEPT`].
#[derive(Debug)]
pub struct Hot<K> {
    counts: HashMap<K, u64>,
    missed: u64,
}

impl<K> Default for Hot<K> {
    fn default() -> Self {
        Self { counts: HashMap::new(), missed: 0 }
    }
}

impl<K: Hash + Eq + Ord + Clone> Hot<K> {
    /// Counts `key` once more.
    pub fn add<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q> + From<Q::Owned>,
        Q: Hash + Eq + ToOwned + ?Sized,
    {
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
            return;
        }
        if self.counts.len() >= KEPT {
            self.clear();
        }
        self.counts.insert(key.to_owned().into(), 1);
    }

    fn clear(&mut self) {
        let mut all: Vec<u64> = self.counts.values().copied().collect();
        let middle = all.len() / 2;
        let median = *all.select_nth_unstable(middle).1;
        self.missed += median;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(median);
            *count > 0
        });
    }

    /// The `n` most frequent, with the counts that are certain; of equal ones the lesser keys.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<(K, u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(key, count)| (key.clone(), *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(n);
        all
    }

    /// By how much a count may be too small.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut hot = Hot::<Box<str>>::default();
        for key in ["/b", "/a", "/c", "/a", "/b", "/a"] {
            hot.add(key);
        }
        assert_eq!(hot.top(2), [("/a".into(), 3), ("/b".into(), 2)]);
        assert_eq!(hot.missed(), 0);
    }

    #[test]
    fn the_frequent_among_very_many_stay_and_memory_too() {
        let mut hot = Hot::<u64>::default();
        let n = 40 * KEPT as u64;
        for i in 0..n {
            hot.add(&(1000 + i));
            if i % 10 == 0 {
                hot.add(&7);
            }
        }
        assert!(hot.counts.len() <= KEPT);
        let (key, count) = hot.top(1)[0];
        assert_eq!(key, 7);
        assert!(count <= n / 10 && count + hot.missed() >= n / 10, "{count} {}", hot.missed());
        assert!(hot.missed() <= (n + n / 10) / (KEPT as u64 / 2), "{}", hot.missed());
    }
}
