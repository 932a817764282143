//! Chance: numbers from a seed, a stream of its own for every purpose, the same on every machine.

/// A stream (xoshiro256**, seeded through splitmix64; both are in the public domain by their authors, Blackman and Vigna).
#[derive(Clone, Debug)]
pub struct Chance {
    state: [u64; 4],
}

/// One step of splitmix64.
const fn split(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// Spreads the bits of a number over all of it.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Chance {
    /// The stream of `seed` for one purpose: a name, and a number where several share it.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let name = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut from = mix(seed) ^ mix(name.wrapping_add(mix(number.wrapping_add(1))));
        Self { state: [split(&mut from), split(&mut from), split(&mut from), split(&mut from)] }
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Less than `n`, which is not 0. The tiny unevenness is of no interest here.
    pub const fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "something is to be chosen from");
        ((self.any() as u128 * n as u128) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub const fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times in a million.
    pub const fn happens(&mut self, per_million: u64) -> bool {
        per_million > 0 && self.below(1_000_000) < per_million
    }

    /// True every second time.
    pub const fn coin(&mut self) -> bool {
        self.any() >> 63 == 1
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("an index")]
    }

    /// About exponential with this mean, at most eight times it. Integers alone: the same on every machine.
    pub fn around(&mut self, mean: u64) -> u64 {
        if mean == 0 {
            return 0;
        }
        // The number of leading zeros is geometric; the bits behind them fill in between.
        let bits = self.any() | (1 << 52);
        let halvings = u64::from(bits.leading_zeros().min(10));
        let part = self.below(1000);
        (mean * (halvings * 1000 + part) * 693 / 1_000_000).min(mean * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let first = |seed, purpose, number| Chance::new(seed, purpose, number).any();
        assert_eq!(first(1, "net", 0), first(1, "net", 0));
        let all = [first(1, "net", 0), first(2, "net", 0), first(1, "disk", 0), first(1, "net", 1)];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])), "{all:?}");
    }

    #[test]
    fn is_about_even() {
        let mut chance = Chance::new(7, "test", 0);
        let mut seen = [0; 10];
        (0..10_000).for_each(|_| seen[usize::try_from(chance.below(10)).unwrap()] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        let mean = (0..10_000).map(|_| chance.around(1000)).sum::<u64>() / 10_000;
        assert!((700..1400).contains(&mean), "{mean}");
        assert_eq!((0..1000).filter(|_| chance.happens(0)).count(), 0);
        assert_eq!((0..1000).filter(|_| chance.happens(1_000_000)).count(), 1000);
    }
}
