//! Noise: whether two rows of measurements differ by more than they differ among themselves.

/// Chance of being wrong that a verdict may have.
const CHANCE: f64 = 0.05;

/// Fewest runs of each side about which anything can be said.
pub const RUNS_MIN: usize = 5;

/// What two rows say of each other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// Median of the first.
    pub a: f64,
    /// Median of the second.
    pub b: f64,
    /// Least and greatest of the first.
    pub spread_a: (f64, f64),
    /// Least and greatest of the second.
    pub spread_b: (f64, f64),
    /// How probable a difference at least as clear would be if both were drawn alike (Mann and Whitney's test, exact).
    pub chance: f64,
}

impl Difference {
    /// Compares two rows; `None` where one is empty.
    #[must_use]
    pub fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        Some(Self {
            a: median(a)?,
            b: median(b)?,
            spread_a: spread(a)?,
            spread_b: spread(b)?,
            chance: if a.len() < RUNS_MIN || b.len() < RUNS_MIN { 1.0 } else { rank_chance(a, b) },
        })
    }

    /// The first median in units of the second.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.a / self.b
    }

    /// Least and greatest ratio of any run of the first to any of the second.
    #[must_use]
    pub fn ratio_spread(&self) -> (f64, f64) {
        (self.spread_a.0 / self.spread_b.1, self.spread_a.1 / self.spread_b.0)
    }

    /// Whether the difference may be spoken of.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.chance < CHANCE && self.a != self.b
    }

    /// The verdict in words. `more_is_better` tells throughput from latency.
    #[must_use]
    pub fn verdict(&self, more_is_better: bool) -> String {
        if !self.is_real() {
            return "no difference beyond the noise".to_owned();
        }
        let is_better = (self.a > self.b) == more_is_better;
        let factor = if self.a > self.b { self.a / self.b } else { self.b / self.a };
        let factor = if factor < 1.1 { format!("{:.1} %", (factor - 1.0) * 100.0) } else { format!("{factor:.2} times") };
        format!("{} by {factor}", if is_better { "better" } else { "worse" })
    }
}

/// The middle value, or the mean of the two.
#[must_use]
pub fn median(row: &[f64]) -> Option<f64> {
    let mut row = row.to_vec();
    row.sort_unstable_by(f64::total_cmp);
    let upper = *row.get(row.len() / 2)?;
    Some(if row.len().is_multiple_of(2) { f64::midpoint(row[row.len() / 2 - 1], upper) } else { upper })
}

fn spread(row: &[f64]) -> Option<(f64, f64)> {
    let least = row.iter().copied().min_by(f64::total_cmp)?;
    Some((least, row.iter().copied().max_by(f64::total_cmp)?))
}

/// The two-sided chance of the ranks. U is counted in halves, ties as one half, and compared with all ways to deal the ranks.
fn rank_chance(a: &[f64], b: &[f64]) -> f64 {
    let (m, n) = (a.len(), b.len());
    let mut halves = 0usize;
    for x in a {
        for y in b {
            halves += match x.total_cmp(y) {
                std::cmp::Ordering::Greater => 2,
                std::cmp::Ordering::Equal => 1,
                std::cmp::Ordering::Less => 0,
            };
        }
    }
    // ways[u]: deals of ranks to i of the first and j of the second that give U = u.
    let mut ways = vec![vec![vec![0.0; m * n + 1]; n + 1]; m + 1];
    for i in 0..=m {
        for j in 0..=n {
            if i == 0 || j == 0 {
                ways[i][j][0] = 1.0;
                continue;
            }
            for u in 0..=i * j {
                // The greatest is one of the first, above all j of the second, or one of the second.
                let from_first = if u >= j { ways[i - 1][j][u - j] } else { 0.0 };
                ways[i][j][u] = from_first + ways[i][j - 1][u];
            }
        }
    }
    let counts = &ways[m][n];
    let all: f64 = counts.iter().sum();
    let from_middle = halves.abs_diff(m * n);
    let extreme: f64 = counts.iter().enumerate().filter(|(u, _)| (2 * u).abs_diff(m * n) >= from_middle).map(|(_, w)| w).sum();
    extreme / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_difference_is_told_and_its_side() {
        let fast = [100.0, 104.0, 99.0, 101.0, 98.0];
        let slow = [50.0, 52.0, 49.0, 51.0, 48.0];
        let difference = Difference::of(&fast, &slow).unwrap();
        assert_eq!((difference.a, difference.b, difference.ratio()), (100.0, 50.0, 2.0));
        // Of the 252 ways to deal ten ranks two are as extreme.
        assert!((difference.chance - 2.0 / 252.0).abs() < 1e-12, "{}", difference.chance);
        assert_eq!(difference.verdict(true), "better by 2.00 times");
        assert_eq!(difference.verdict(false), "worse by 2.00 times");
        assert_eq!(Difference::of(&slow, &fast).unwrap().verdict(true), "worse by 2.00 times");
        assert_eq!(difference.ratio_spread(), (98.0 / 52.0, 104.0 / 48.0));
    }

    #[test]
    fn what_overlaps_is_noise() {
        let a = [100.0, 90.0, 110.0, 95.0, 105.0];
        let b = [99.0, 91.0, 112.0, 94.0, 103.0];
        let difference = Difference::of(&a, &b).unwrap();
        assert!(!difference.is_real() && difference.chance > 0.5);
        assert_eq!(difference.verdict(true), "no difference beyond the noise");
        assert!((Difference::of(&a, &a).unwrap().chance - 1.0).abs() < 1e-9, "ties all over");
    }

    #[test]
    fn few_runs_prove_nothing() {
        assert!(!Difference::of(&[1.0; 4], &[100.0; 4]).unwrap().is_real());
        assert!(Difference::of(&[], &[1.0]).is_none());
    }

    #[test]
    fn small_differences_are_told_in_percent() {
        let a = [102.0, 102.1, 102.2, 102.3, 102.4];
        let b = [100.0, 100.1, 100.2, 100.3, 100.4];
        assert_eq!(Difference::of(&a, &b).unwrap().verdict(false), "worse by 2.0 %");
    }

    #[test]
    fn the_median_of_an_even_row_lies_between() {
        assert_eq!((median(&[4.0, 1.0, 3.0, 2.0]), median(&[]), median(&[7.0])), (Some(2.5), None, Some(7.0)));
    }
}
