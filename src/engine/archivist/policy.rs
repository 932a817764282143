//! Policy: when an image is due, by ZooKeeper's two keys and with its dice, so that servers do not all write at once.

/// `snapCount` and `snapSizeLimitInKb`, as ZooKeeper's `SyncRequestProcessor` uses them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Transactions after which an image is due at the latest; from half of it on, by the dice. At least 2.
    pub transactions: u64,
    /// Bytes of log after which one is due at the latest; from half of it on, by the dice. 0 is never.
    pub bytes: u64,
}

impl Default for Policy {
    /// ZooKeeper's: 100,000 transactions, 4 GiB.
    fn default() -> Self {
        Self { transactions: 100_000, bytes: 4 << 30 }
    }
}

/// What the dice have said for the next image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice {
    state: u64,
    transactions: u64,
    bytes: u64,
}

impl Dice {
    pub(super) fn new(policy: Policy, seed: u64) -> Self {
        let mut dice = Self { state: seed, transactions: 0, bytes: 0 };
        dice.roll(policy);
        dice
    }

    /// Rolls for the image after the next.
    pub(super) fn roll(&mut self, policy: Policy) {
        self.transactions = self.from_half(policy.transactions.max(2));
        self.bytes = if policy.bytes == 0 { u64::MAX } else { self.from_half(policy.bytes) };
    }

    /// Whether so many transactions and bytes of log call for an image.
    pub(super) const fn is_due(&self, (transactions, bytes): (u64, u64)) -> bool {
        transactions > self.transactions || bytes > self.bytes
    }

    /// From a half of `limit`, inclusive, up to all of it, exclusive.
    fn from_half(&mut self, limit: u64) -> u64 {
        limit / 2 + self.next() % (limit / 2).max(1)
    }

    /// A step of splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_between_half_and_all_of_what_is_configured() {
        let policy = Policy { transactions: 1000, bytes: 1 << 20 };
        let mut dice = Dice::new(policy, 7);
        let mut least = u64::MAX;
        for _ in 0..1000 {
            assert!(!dice.is_due((500, 1 << 19)) && dice.is_due((1001, 0)) && dice.is_due((0, (1 << 20) + 1)), "{dice:?}");
            least = least.min(dice.transactions);
            dice.roll(policy);
        }
        assert!((500..520).contains(&least), "the whole upper half is used: {least}");
    }

    #[test]
    fn the_smallest_limits() {
        for transactions in [0, 1, 2] {
            let dice = Dice::new(Policy { transactions, bytes: 0 }, 7);
            assert!(!dice.is_due((1, u64::MAX)) && dice.is_due((2, 0)), "{dice:?}");
        }
        assert!(Dice::new(Policy { transactions: 100, bytes: 1 }, 7).is_due((0, 1)));
    }
}
