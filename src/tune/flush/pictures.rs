//! Pictures: the grid of settings, drawn.

use super::knobs::Knobs;
use super::profiles::{Point, front};
use crate::show::axis::Axis;
use crate::show::chart::{Chart, Key, Series, Stroke};
use crate::show::figure;
use crate::show::heat::{Heat, Panel};
use crate::tune::disk::size;

/// Names of files, and what is in them. `told` are the conditions.
pub fn all(points: &[Point], told: &[String]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let rates: Vec<f64> = points.first().map_or(Vec::new(), |point| point.loads.iter().map(|load| load.rate).collect());
    for (n, rate) in rates.iter().enumerate() {
        let cell = |point: &Point| {
            let load = point.loads.get(n)?;
            let text = figure::short(load.p99);
            Some((load.p99, if load.carried { text } else { format!("{text} (!)") }))
        };
        let title = format!("99th percentile at {} writes a second, (!) where not all were answered", figure::rate(*rate));
        all.push((format!("flush-p99-{}.svg", n + 1), heat(points, title, told, cell)));
    }
    let title = "Most writes a second, clients asking as fast as they are answered".to_owned();
    all.push((
        "flush-most.svg".to_owned(),
        heat(points, title, told, |point| Some((point.most, figure::tick(point.most.round())))),
    ));
    all.push(("flush-front.svg".to_owned(), scatter(points, told)));
    all
}

fn sorted<T: Ord + Copy>(points: &[Point], of: impl Fn(&Knobs) -> T) -> Vec<T> {
    let mut all: Vec<T> = points.iter().filter(|point| !point.knobs.adaptive).map(|point| of(&point.knobs)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn heat(points: &[Point], title: String, told: &[String], cell: impl Fn(&Point) -> Option<(f64, String)>) -> String {
    let (lingers, flights) = (sorted(points, |knobs| knobs.linger_us), sorted(points, |knobs| knobs.flights));
    let mut panels = Vec::new();
    for fdatasync in sorted(points, |knobs| knobs.fdatasync) {
        for batch_bytes in sorted(points, |knobs| knobs.batch_bytes) {
            let at = |flights: usize, linger_us: u64| {
                // With one flight nothing lingers: it was measured once, and is the same for all.
                let linger_us = if flights == 1 { 0 } else { linger_us };
                let knobs = Knobs { fdatasync, flights, linger_us, batch_bytes, adaptive: false };
                points.iter().find(|point| point.knobs == knobs).and_then(&cell)
            };
            let cells: Vec<Vec<_>> = flights.iter().map(|f| lingers.iter().map(|l| at(*f, *l)).collect()).collect();
            if cells.iter().flatten().flatten().count() == 0 {
                continue;
            }
            let name = format!("{}, batches of {}", if fdatasync { "fdatasync" } else { "dsync" }, size(batch_bytes));
            let columns = lingers.iter().map(|us| format!("{us} us")).collect();
            panels.push(Panel { name, columns, rows: flights.iter().map(ToString::to_string).collect(), cells });
        }
    }
    Heat { title, conditions: told.to_vec(), axes: "down: flushes in flight; across: linger".to_owned(), panels }.svg()
}

fn scatter(points: &[Point], told: &[String]) -> String {
    let place = |point: &Point| point.loads.last().filter(|load| load.carried).map(|load| (point.most, load.p99));
    let places: Vec<_> = points.iter().filter_map(place).collect();
    let best: Vec<_> = front(points).into_iter().map(place).collect();
    let adaptive: Vec<_> = points.iter().filter(|point| point.knobs.adaptive).map(place).collect();
    let most = places.iter().map(|place| place.0).fold(0.0, f64::max);
    let key = |colour, stroke, text: &str| Key { colour: Some(colour), stroke, text: text.to_owned() };
    let mut series = vec![
        Series { colour: 0, stroke: Stroke::Dots, points: places.iter().copied().map(Some).collect() },
        Series { colour: 1, stroke: Stroke::Rings, points: best },
    ];
    let mut legend = vec![key(0, Stroke::Dots, "a setting"), key(1, Stroke::Rings, "no other is better in both (Pareto front)")];
    if !adaptive.is_empty() {
        series.push(Series { colour: 2, stroke: Stroke::Crosses, points: adaptive });
        legend.push(Key { colour: None, stroke: Stroke::Crosses, text: "adaptive".to_owned() });
    }
    Chart {
        title: "Settings: 99th percentile under the highest load offered, over the most that is carried".to_owned(),
        conditions: told.to_vec(),
        alarms: Vec::new(),
        x: Axis::linear(most, figure::tick),
        x_name: "most writes a second",
        y: Axis::logarithmic(places.iter().map(|place| place.1), figure::short),
        y_name: "99th percentile",
        series,
        legend,
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use super::super::knobs::{DEFAULT, Grid};
    use super::super::profiles::Under;
    use super::*;

    #[test]
    fn whatever_was_measured_is_drawn() {
        let grid = Grid {
            fdatasync: vec![false, true],
            batch_bytes: vec![65536, 1 << 20],
            flights: vec![1, 4],
            linger_us: vec![0, 100],
        };
        let points: Vec<Point> = (grid.all().into_iter().enumerate())
            .map(|(n, knobs)| {
                let p99 = 100.0 * (n + 1) as f64;
                let under = |rate| Under { rate, p50: p99 / 3.0, p99, spread: (p99, p99), carried: n != 3 };
                Point { knobs, loads: vec![under(1000.0), under(5000.0)], most: 1000.0 * (20 - n) as f64 }
            })
            .collect();
        assert!(points.iter().any(|point| point.knobs == DEFAULT));
        let drawn = all(&points, &["ext4".to_owned()]);
        let names: Vec<&str> = drawn.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["flush-p99-1.svg", "flush-p99-2.svg", "flush-most.svg", "flush-front.svg"]);
        assert!(drawn[0].1.contains("(!)") && drawn[0].1.contains("fdatasync, batches of 64k"));
        assert!(drawn[3].1.contains("adaptive") && !drawn[3].1.contains("nothing was measured"));
        assert!(all(&[], &[]).iter().all(|(_, svg)| svg.contains("nothing was measured")));
    }
}
