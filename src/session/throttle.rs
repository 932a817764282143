//! Throttle: how many sessions may begin, or come back, in a time. A bucket of tokens, and if asked for a chance to be refused that grows
//! while the bucket is empty, so that whoever comes late is not always the one without a token.
//!
//! Imitates ZooKeeper's `BlueThrottle` (3.9.4), whose keys begin with `connection_throttle_`.

use crate::ground::time::Millis;

/// One, in the unit of chances: millionths.
pub const CERTAIN: u32 = 1_000_000;

/// What a session's beginning costs, tokens, each at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weights {
    /// A new session that all servers know.
    pub global: u32,
    /// A new session that this server alone knows.
    pub local: u32,
    /// One that comes back.
    pub renewed: u32,
}

/// What a throttle is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Tokens a full bucket holds, at least 1. With weights: sessions, each for a global one's tokens.
    pub tokens: u32,
    /// In so many milliseconds, at least 1,
    pub fill_ms: u32,
    /// so many tokens come back. With weights: for so many global sessions.
    pub fill_count: u32,
    /// How often the chance to be refused is looked at, milliseconds; none is never refused by chance.
    pub freeze_ms: Option<u32>,
    /// Millionths added to that chance while the bucket is empty.
    pub increase: u32,
    /// Millionths taken from it while few tokens are missing.
    pub decrease: u32,
    /// How few: millionths of a full bucket.
    pub few: u32,
    /// Every beginning costs one token where there are none.
    pub weights: Option<Weights>,
}

/// How a session begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// New, known to all servers.
    Global,
    /// New, known to this server alone.
    Local,
    /// It comes back to another connection.
    Renewed,
}

/// The bucket.
#[derive(Debug)]
pub struct Throttle {
    rules: Rules,
    most: u64,
    fill_count: u64,
    tokens: u64,
    filled: Millis,
    frozen: Millis,
    chance: u32,
    dice: ahash::RandomState,
    thrown: u64,
    refused: u64,
}

impl Throttle {
    /// A full one. `seeds` decide who is refused by chance.
    #[must_use]
    pub fn new(rules: Rules, seeds: [u64; 4], now: Millis) -> Self {
        let of_a_session = rules.weights.map_or(1, |weights| u64::from(weights.global));
        let most = u64::from(rules.tokens) * of_a_session;
        Self {
            rules,
            most,
            fill_count: u64::from(rules.fill_count) * of_a_session,
            tokens: most,
            filled: now,
            frozen: now,
            chance: 0,
            dice: ahash::RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]),
            thrown: 0,
            refused: 0,
        }
    }

    /// Whether a session may begin so now; if it may, its tokens are spent.
    pub fn lets_in(&mut self, beginning: Beginning, now: Millis) -> bool {
        let since = now.since(self.filled);
        if since > u64::from(self.rules.fill_ms) {
            let more = since.saturating_mul(self.fill_count) / u64::from(self.rules.fill_ms.max(1));
            self.tokens = self.tokens.saturating_add(more).min(self.most);
            self.filled = now;
        }
        let need = self.rules.weights.map_or(1, |weights| match beginning {
            Beginning::Global => weights.global,
            Beginning::Local => weights.local,
            Beginning::Renewed => weights.renewed,
        });
        let is_unlucky = self.rules.freeze_ms.is_some_and(|freeze_ms| self.refuses_by_chance(freeze_ms, now));
        match self.tokens.checked_sub(u64::from(need)) {
            Some(left) if !is_unlucky => self.tokens = left,
            _ => {
                self.refused += 1;
                return false;
            }
        }
        true
    }

    fn refuses_by_chance(&mut self, freeze_ms: u32, now: Millis) -> bool {
        if now.since(self.frozen) > u64::from(freeze_ms) {
            let few = (self.most * u64::from(self.rules.few) + u64::from(CERTAIN) / 2) / u64::from(CERTAIN);
            if self.tokens == 0 {
                self.chance = self.chance.saturating_add(self.rules.increase).min(CERTAIN);
            } else if self.most - self.tokens <= few {
                self.chance = self.chance.saturating_sub(self.rules.decrease);
            }
            self.frozen = now;
        }
        self.thrown += 1;
        self.dice.hash_one(self.thrown) % u64::from(CERTAIN) < u64::from(self.chance)
    }

    /// The chance to be refused now, millionths.
    #[must_use]
    pub const fn chance(&self) -> u32 {
        self.chance
    }

    /// Tokens that a full bucket would hold more.
    #[must_use]
    pub const fn deficit(&self) -> u64 {
        self.most - self.tokens
    }

    /// Sessions refused so far.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules =
        Rules { tokens: 3, fill_ms: 10, fill_count: 1, freeze_ms: None, increase: 20_000, decrease: 2000, few: 0, weights: None };

    fn throttle(rules: Rules) -> Throttle {
        Throttle::new(rules, [1, 2, 3, 4], Millis(1000))
    }

    /// How many of `n` that come at once are let in.
    fn entered(throttle: &mut Throttle, beginning: Beginning, n: usize, at: u64) -> usize {
        (0..n).filter(|_| throttle.lets_in(beginning, Millis(at))).count()
    }

    #[test]
    fn a_bucket_is_emptied_and_fills_with_time() {
        let mut bucket = throttle(RULES);
        assert_eq!(entered(&mut bucket, Beginning::Global, 5, 1000), 3);
        assert_eq!((bucket.deficit(), bucket.refused()), (3, 2));
        assert_eq!(entered(&mut bucket, Beginning::Global, 5, 1010), 0, "the time has to be over");
        assert_eq!(entered(&mut bucket, Beginning::Renewed, 5, 1020), 2);
        assert_eq!(entered(&mut bucket, Beginning::Local, 5, 9000), 3, "not more than it holds");
    }

    #[test]
    fn what_begins_costs_what_it_weighs() {
        let weights = Some(Weights { global: 3, local: 1, renewed: 2 });
        let of = |beginning| entered(&mut throttle(Rules { weights, ..RULES }), beginning, 20, 1000);
        assert_eq!((of(Beginning::Global), of(Beginning::Local), of(Beginning::Renewed)), (3, 9, 4));
        let mut bucket = throttle(Rules { weights, ..RULES });
        assert_eq!(entered(&mut bucket, Beginning::Local, 20, 1000), 9);
        assert_eq!(entered(&mut bucket, Beginning::Global, 20, 1011), 1, "a global session's tokens come back");
    }

    #[test]
    fn the_chance_to_be_refused_follows_the_bucket() {
        let rules =
            Rules { freeze_ms: Some(100), increase: CERTAIN / 2, decrease: CERTAIN / 4, few: CERTAIN, fill_count: 0, ..RULES };
        let mut bucket = throttle(rules);
        assert_eq!(entered(&mut bucket, Beginning::Global, 3, 1000), 3);
        for (at, chance) in [(1100, 0), (1101, 500_000), (1150, 500_000), (1202, CERTAIN), (1303, CERTAIN)] {
            assert!(!bucket.lets_in(Beginning::Global, Millis(at)));
            assert_eq!(bucket.chance(), chance, "at {at}");
        }
        let mut bucket = throttle(Rules { fill_count: 1, ..rules });
        bucket.chance = CERTAIN;
        let chances: Vec<_> = (0..5)
            .map(|i| {
                bucket.lets_in(Beginning::Global, Millis(2000 + i * 101));
                bucket.chance()
            })
            .collect();
        assert_eq!(chances, [750_000, 500_000, 250_000, 0, 0]);
    }

    proptest! {
        /// Whatever the clock does, nobody gets more than was in the bucket and came back.
        #[test]
        fn nobody_gets_more_than_there_is(
            (tokens, fill_ms, fill_count) in (1..50u32, 1..50u32, 0..9u32),
            freeze_ms in prop::option::of(0..50u32),
            times in prop::collection::vec(any::<u8>(), 1..400),
        ) {
            let mut bucket = throttle(Rules { tokens, fill_ms, fill_count, freeze_ms, ..RULES });
            let mut now = 1000;
            let mut entered = 0;
            for step in times {
                // Now and then it stands still, and once it goes back.
                now = if step == 255 { now - 5 } else { now + u64::from(step / 16) };
                entered += u64::from(bucket.lets_in(Beginning::Global, Millis(now)));
                prop_assert!(bucket.chance() <= CERTAIN && bucket.deficit() <= u64::from(tokens));
            }
            let came = (now - 1000 + 5 * 400) * u64::from(fill_count) / u64::from(fill_ms);
            prop_assert!(entered <= u64::from(tokens) + came);
        }
    }
}
