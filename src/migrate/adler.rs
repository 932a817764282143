//! Adler-32: the running check value of ZooKeeper's snapshots and transaction logs.

const MODULUS: u32 = 65_521;

/// Bytes that can be added before the sums must be reduced: the largest n with 255 n (n + 1) / 2 + (n + 1) (MODULUS - 1) < 2^32.
const RUN: usize = 5552;

/// The check value of what has been added so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adler {
    low: u32,
    high: u32,
}

impl Adler {
    /// Of no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { low: 1, high: 0 }
    }

    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> i64 {
        let mut sum = Self::new();
        sum.add(bytes);
        sum.value()
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(RUN) {
            for &byte in run {
                self.low += u32::from(byte);
                self.high += self.low;
            }
            self.low %= MODULUS;
            self.high %= MODULUS;
        }
    }

    /// The value as files hold it: unsigned, in a long.
    #[must_use]
    pub fn value(self) -> i64 {
        i64::from((self.high << 16) | self.low)
    }
}

impl Default for Adler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(Adler::of(b""), 1);
        assert_eq!(Adler::of(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn however_it_is_cut() {
        let bytes: Vec<u8> = (0..40_000u32).map(|n| ((n * n) >> 3) as u8 | 0xf0).collect();
        let slow = bytes.iter().fold((1u64, 0u64), |(low, high), byte| {
            let low = (low + u64::from(*byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        for cut in [0, 1, 5551, 5552, 5553, 39_999] {
            let mut sum = Adler::new();
            sum.add(&bytes[..cut]);
            sum.add(&bytes[cut..]);
            assert_eq!(sum.value(), ((slow.1 << 16) | slow.0) as i64);
        }
    }
}
