//! Rate: how many transactions fell into which stretch of time, in bounded memory.

/// Stretches kept at most.
const STRETCHES: usize = 60;

/// Transactions over time. Stretches begin as seconds, and two become one when there are too many.
#[derive(Debug)]
pub struct Rate {
    /// Start of the first stretch, ms since 1970.
    start: i64,
    /// Length of a stretch, ms.
    width: i64,
    counts: Vec<u64>,
    second: i64,
    in_second: u64,
    peak: (u64, i64),
    last: i64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { start: 0, width: 1000, counts: Vec::new(), second: i64::MIN, in_second: 0, peak: (0, 0), last: 0 }
    }
}

impl Rate {
    /// Counts one transaction at `time`, ms since 1970. One from before the first counts with the first: clocks may be set back.
    pub fn add(&mut self, time: i64) {
        let second = time.div_euclid(1000);
        if self.counts.is_empty() {
            self.start = second.saturating_mul(1000);
            self.last = time;
        }
        self.last = self.last.max(time);
        let passed = |rate: &Self| time.saturating_sub(rate.start).max(0) / rate.width;
        while passed(self) >= STRETCHES as i64 {
            self.width = self.width.saturating_mul(2);
            self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let index = usize::try_from(passed(self)).expect("there are few stretches");
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        if self.in_second > self.peak.0 {
            self.peak = (self.in_second, second.saturating_mul(1000));
        }
    }

    /// Length of a stretch, ms.
    #[must_use]
    pub const fn width(&self) -> i64 {
        self.width
    }

    /// The stretches: when each began, ms since 1970, and its transactions.
    pub fn stretches(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        (0..).zip(&self.counts).map(|(i, count)| (self.start.saturating_add(self.width.saturating_mul(i)), *count))
    }

    /// First and last moment, ms since 1970.
    #[must_use]
    pub fn span(&self) -> Option<(i64, i64)> {
        (!self.counts.is_empty()).then_some((self.start, self.last))
    }

    /// Most transactions in one second, and the second.
    #[must_use]
    pub const fn peak(&self) -> (u64, i64) {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_grow_and_lose_nothing() {
        let mut rate = Rate::default();
        assert_eq!(rate.span(), None);
        for i in 0..1000 {
            rate.add(10_500 + i * 1000);
        }
        rate.add(9_000);
        rate.add(9_001);
        assert_eq!((rate.width(), rate.span()), (32_000, Some((10_000, 1_009_500))));
        let all: Vec<_> = rate.stretches().collect();
        assert_eq!((all[0], all[1].0, all.len()), ((10_000, 34), 42_000, 32));
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 1002);
        assert_eq!(rate.peak(), (2, 9000));
    }

    #[test]
    fn absurd_times_end() {
        let mut rate = Rate::default();
        for time in [0, i64::MAX, i64::MIN, -1, i64::MAX] {
            rate.add(time);
        }
        assert_eq!(rate.stretches().map(|(_, count)| count).sum::<u64>(), 5);
        let mut rate = Rate::default();
        rate.add(i64::MIN);
        rate.add(i64::MAX);
        assert_eq!(rate.stretches().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
