//! Axis: where a value stands between the ends of a picture, and what is written beside it.

/// How values spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scale {
    Linear,
    Logarithmic,
    /// By the logarithm of 1 / (1 - q), so that every further nine takes the same room.
    Percentile,
}

/// An axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    scale: Scale,
    /// Positions on the scale.
    from: f64,
    to: f64,
    /// Places (0 to 1) with what is written there.
    pub ticks: Vec<(f64, String)>,
    /// Places between, where a line helps the eye.
    pub between: Vec<f64>,
}

/// Logarithmic axes of more decades than this name whole ones only.
const NAMED_BETWEEN: f64 = 2.6;

/// Names there is room for.
const ROOM: f64 = 9.0;

impl Axis {
    /// From 0 to `most`, which need not be a round number.
    #[must_use]
    pub fn linear(most: f64, name: impl Fn(f64) -> String) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let mut axis = Self { scale: Scale::Linear, from: 0.0, to: most, ticks: Vec::new(), between: Vec::new() };
        let rough = most / ROOM;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(10.0 * power);
        // Counted, not added up, so that no error of rounding adds up either.
        for n in 0..=(most / step * (1.0 + 1e-9)) as u32 {
            let value = f64::from(n) * step;
            axis.ticks.push((axis.place(value).unwrap_or(0.0), name(value)));
        }
        axis
    }

    /// Over all `values` above 0, to the next 1, 2 or 5 on both sides. Not less than four times from end to end.
    #[must_use]
    pub fn logarithmic(values: impl Iterator<Item = f64>, name: impl Fn(f64) -> String) -> Self {
        let usable = values.filter(|value| value.is_finite() && *value > 0.0);
        let (mut least, mut most) = usable.fold((f64::INFINITY, 0.0f64), |(a, b), value| (a.min(value), b.max(value)));
        if most == 0.0 {
            (least, most) = (1.0, 1000.0);
        }
        // 1, 2, 5, 10, 20 .. by their number: three to a decade.
        let round = |n: i32| [1.0, 2.0, 5.0][n.rem_euclid(3) as usize] * 10f64.powi(n.div_euclid(3));
        let mut first = 3 * least.log10().floor() as i32 + 3;
        while round(first) > least * (1.0 + 1e-9) {
            first -= 1;
        }
        let mut last = 3 * most.log10().floor() as i32;
        while round(last) < most * (1.0 - 1e-9) {
            last += 1;
        }
        while round(last) / round(first) < 4.0 {
            last += 1;
            if round(last) / round(first) < 4.0 {
                first -= 1;
            }
        }
        let (from, to) = (round(first).log10(), round(last).log10());
        let mut axis = Self { scale: Scale::Logarithmic, from, to, ticks: Vec::new(), between: Vec::new() };
        let every = ((to - from) / ROOM).ceil().max(1.0) as i32;
        for n in first..=last {
            let place = axis.place(round(n)).unwrap_or(0.0);
            let whole = n.rem_euclid(3) == 0;
            if to - from <= NAMED_BETWEEN || whole && n.div_euclid(3) % every == 0 {
                axis.ticks.push((place, name(round(n))));
            } else {
                axis.between.push(place);
            }
        }
        axis
    }

    /// From the least to the one of `count` values.
    #[must_use]
    pub fn percentiles(count: u64) -> Self {
        let to = (count.max(10) as f64).log10();
        let mut axis = Self { scale: Scale::Percentile, from: 0.0, to, ticks: Vec::new(), between: Vec::new() };
        for nines in 0..=to as usize {
            let name = match nines {
                0 => "0 %".to_owned(),
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                _ => format!("99.{} %", "9".repeat(nines - 2)),
            };
            axis.ticks.push((nines as f64 / to, name));
        }
        axis.ticks.insert(1, (2f64.log10() / to, "50 %".to_owned()));
        axis.between = [0.75, 0.95].into_iter().filter_map(|q| axis.place(q)).filter(|place| *place < 1.0).collect();
        axis
    }

    /// Where a value stands, 0 to 1; nothing for one that is not on this scale. What lies beyond the ends stands at them.
    #[must_use]
    pub fn place(&self, value: f64) -> Option<f64> {
        let position = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic if value > 0.0 => value.log10(),
            Scale::Percentile if value < 1.0 => -(1.0 - value).log10(),
            Scale::Percentile => self.to,
            Scale::Logarithmic => return None,
        };
        let place = (position - self.from) / (self.to - self.from);
        place.is_finite().then(|| place.clamp(0.0, 1.0))
    }

    /// The value at a place: what [`Self::place`] undoes.
    #[must_use]
    pub fn value(&self, place: f64) -> f64 {
        let position = self.from + place * (self.to - self.from);
        match self.scale {
            Scale::Linear => position,
            Scale::Logarithmic => 10f64.powf(position),
            Scale::Percentile => 1.0 - 10f64.powf(-position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::figure;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn round_numbers_are_named() {
        let linear = Axis::linear(60.0, |n| n.to_string());
        assert_eq!(names(&linear), ["0", "10", "20", "30", "40", "50", "60"]);
        let short = Axis::logarithmic([90.0, 1100.0].into_iter(), figure::short);
        assert_eq!(names(&short), ["50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms"]);
        let long = Axis::logarithmic([50.0, 60e6].into_iter(), figure::short);
        assert_eq!(names(&long), ["100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]);
        assert!(long.between.len() > 10);
        let percentiles = Axis::percentiles(100_000);
        assert_eq!(names(&percentiles), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }

    #[test]
    fn places_lie_between_the_ends_and_can_be_undone() {
        for axis in
            [Axis::linear(7.5, figure::tick), Axis::logarithmic([3.0, 900.0].into_iter(), figure::tick), Axis::percentiles(5000)]
        {
            for tick in &axis.ticks {
                assert!((0.0..=1.0).contains(&tick.0), "{tick:?}");
                assert!((axis.place(axis.value(tick.0)).unwrap() - tick.0).abs() < 1e-9, "{tick:?}");
            }
        }
        assert_eq!(Axis::percentiles(1000).place(1.0), Some(1.0));
        assert_eq!(Axis::percentiles(1000).place(0.99).map(|place| (place * 3.0).round()), Some(2.0));
    }

    #[test]
    fn odd_ranges_have_axes_too() {
        for values in [vec![], vec![0.0], vec![5.0], vec![f64::NAN, 1e-9], vec![1.0, 60e6], vec![1e-12, 1e15], vec![1000.0; 3]] {
            let axis = Axis::logarithmic(values.iter().copied(), figure::short);
            assert!((2..=12).contains(&axis.ticks.len()), "{values:?}: {axis:?}");
            for value in values.into_iter().filter(|value| *value > 0.0) {
                assert!((0.0..=1.0).contains(&axis.place(value).unwrap()));
            }
            assert_eq!((axis.place(0.0), axis.place(f64::NAN)), (None, None));
        }
        for most in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e12] {
            let axis = Axis::linear(most, figure::tick);
            assert!((2..=12).contains(&axis.ticks.len()), "{most}: {axis:?}");
        }
        for count in [0, 1, u64::MAX] {
            assert!(Axis::percentiles(count).ticks.len() >= 3);
        }
    }
}
