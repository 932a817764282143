//! Arrivals: when the requests of an open loop are meant to start.

use super::random::Random;
use crate::bench::spec::Arrivals;

/// The schedule of one generator thread. Threads share the rate: together their arrivals are those of the whole.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    /// Nanoseconds between two arrivals of this thread, in the mean.
    gap: f64,
    /// Of the first one.
    offset: f64,
    /// Arrivals so far.
    count: u64,
    next: f64,
}

impl Schedule {
    /// Thread `thread` of `threads` at `rate` arrivals a second over all of them.
    #[must_use]
    pub fn new(arrivals: Arrivals, rate: f64, thread: usize, threads: usize, random: &mut Random) -> Self {
        let gap = 1e9 * threads as f64 / rate;
        let offset = match arrivals {
            Arrivals::Constant => 1e9 / rate * thread as f64,
            Arrivals::Poisson => -random.unit().ln() * gap,
        };
        Self { arrivals, gap, offset, count: 0, next: offset }
    }

    /// The next arrival, ns.
    #[inline]
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next as u64
    }

    /// Goes on to the one after.
    #[inline]
    pub fn step(&mut self, random: &mut Random) {
        self.count += 1;
        self.next = match self.arrivals {
            // From the count, so that no error adds up in a long run.
            Arrivals::Constant => self.offset + self.count as f64 * self.gap,
            Arrivals::Poisson => self.next - random.unit().ln() * self.gap,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(second: u64, arrivals: Arrivals, rate: f64, threads: usize) -> Vec<u64> {
        let mut all = Vec::new();
        for thread in 0..threads {
            let mut random = Random::new(1, thread as u64);
            let mut schedule = Schedule::new(arrivals, rate, thread, threads, &mut random);
            while schedule.next() < second * 1_000_000_000 {
                all.push(schedule.next());
                schedule.step(&mut random);
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn constant_arrivals_of_all_threads_are_evenly_spaced() {
        let all = until(3, Arrivals::Constant, 1000.0, 3);
        assert_eq!(all.len(), 3000);
        assert!(all.windows(2).all(|two| (999_998..=1_000_002).contains(&(two[1] - two[0]))));
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_exponential_gaps() {
        let all = until(20, Arrivals::Poisson, 1000.0, 4);
        assert!((19_400..20_600).contains(&all.len()), "{}", all.len());
        let longer = all.windows(2).filter(|two| two[1] - two[0] > 1_000_000).count() as f64 / all.len() as f64;
        assert!((longer - (-1.0f64).exp()).abs() < 0.02, "{longer} of the gaps are longer than their mean");
    }
}
