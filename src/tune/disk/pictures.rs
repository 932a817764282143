//! Pictures: what was measured of a drive, drawn.

use super::setting::{Method, Setting, State, size};
use super::verdict::{Cell, Second};
use crate::show::axis::Axis;
use crate::show::chart::{Chart, Key, Series, Stroke};
use crate::show::figure;

/// The name of a line, its medians and its tails, over something.
type Line = (String, [Vec<(f64, f64)>; 2]);

/// Names of files, and what is in them. `told` are the conditions.
pub fn all(cells: &[Cell], steady: &[Second], setting: Setting, told: &[String]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let direct = cells.iter().any(|cell| cell.setting.direct);
    let least = cells.iter().map(|cell| cell.setting.bytes).min().unwrap_or(0);
    let ways = [(Method::Dsync, true), (Method::Dsync, false), (Method::Fdatasync, true), (Method::Fdatasync, false)];
    let of_way = |(method, direct): (Method, bool)| {
        let name = format!("{} {}", method.name(), if direct { "direct" } else { "buffered" });
        (name, move |s: &Setting| s.method == method && s.direct == direct)
    };
    let lines: Vec<_> = ways.into_iter().map(of_way).collect();
    let by_depth = lines.iter().map(|(name, is)| {
        let wanted = |s: &Setting| s.state == State::Zeroed && s.bytes == least && is(s);
        (name.clone(), line(cells, wanted, |s| s.in_flight))
    });
    let title = format!("Durable writes of {} into a file of zeros, by how many are under way", size(least));
    all.push(("disk-in-flight.svg".to_owned(), chart(&title, told, by_depth.collect(), "writes under way", figure::tick)));
    let by_size = lines.iter().map(|(name, is)| {
        let wanted = |s: &Setting| s.state == State::Zeroed && s.in_flight == 1 && is(s);
        (name.clone(), line(cells, wanted, |s| s.bytes))
    });
    let title = "Durable writes into a file of zeros, one at a time, by their size";
    let bytes = |n: f64| size(n as usize);
    all.push(("disk-size.svg".to_owned(), chart(title, told, by_size.collect(), "bytes of a write", bytes)));
    let by_state = [State::Zeroed, State::Reserved, State::Growing].map(|state| {
        let wanted = |s: &Setting| s.state == state && s.method == Method::Dsync && s.direct == direct && s.in_flight == 1;
        (state.name().to_owned(), line(cells, wanted, |s| s.bytes))
    });
    let title = "Durable writes by O_DSYNC, one at a time, by what the file is";
    all.push(("disk-state.svg".to_owned(), chart(title, told, by_state.to_vec(), "bytes of a write", bytes)));
    if !steady.is_empty() {
        all.push(("disk-steady.svg".to_owned(), over_time(steady, setting, told)));
    }
    all
}

/// Median and tail of the cells that are wanted, over something.
fn line(cells: &[Cell], wanted: impl Fn(&Setting) -> bool, over: impl Fn(&Setting) -> usize) -> [Vec<(f64, f64)>; 2] {
    let mut of: Vec<&Cell> = cells.iter().filter(|cell| cell.count > 0 && wanted(&cell.setting)).collect();
    of.sort_by_key(|cell| over(&cell.setting));
    let points = |value: fn(&Cell) -> f64| of.iter().map(|cell| (over(&cell.setting) as f64, value(cell))).collect();
    [points(|cell| cell.p50), points(|cell| cell.p99)]
}

fn chart(title: &str, told: &[String], lines: Vec<Line>, x_name: &'static str, name: impl Fn(f64) -> String) -> String {
    let values = || lines.iter().flat_map(|(_, both)| both.iter().flatten());
    let x = Axis::logarithmic(values().map(|point| point.0), name);
    let y = Axis::logarithmic(values().map(|point| point.1), figure::short);
    let mut series = Vec::new();
    let mut legend = Vec::new();
    for (n, (name, [middle, tail])) in lines.iter().enumerate().filter(|(_, (_, both))| !both[0].is_empty()) {
        for (points, stroke) in [(middle, Stroke::Beads), (tail, Stroke::Rings)] {
            series.push(Series { colour: n, stroke, points: points.iter().copied().map(Some).collect() });
        }
        legend.push(Key { colour: Some(n), stroke: Stroke::Beads, text: name.clone() });
    }
    legend.extend(strokes(Stroke::Beads, Stroke::Rings));
    let (title, conditions) = (title.to_owned(), told.to_vec());
    Chart { title, conditions, alarms: Vec::new(), x, x_name, y, y_name: "time of a write", series, legend }.svg()
}

fn strokes(median: Stroke, tail: Stroke) -> [Key; 2] {
    [(median, "median"), (tail, "99th percentile")].map(|(stroke, text)| Key { colour: None, stroke, text: text.to_owned() })
}

fn over_time(steady: &[Second], setting: Setting, told: &[String]) -> String {
    let points = |value: fn(&Second) -> f64| {
        steady.iter().enumerate().map(|(n, second)| Some((n as f64, value(second))).filter(|_| second.count > 0)).collect()
    };
    let values = steady.iter().filter(|second| second.count > 0).flat_map(|second| [second.p50, second.p99, second.max]);
    let series = vec![
        Series { colour: 0, stroke: Stroke::Bold, points: points(|second| second.p50) },
        Series { colour: 0, stroke: Stroke::Thin, points: points(|second| second.p99) },
        Series { colour: 1, stroke: Stroke::Dots, points: points(|second| second.max) },
    ];
    let mut legend = strokes(Stroke::Bold, Stroke::Thin).to_vec();
    legend.push(Key { colour: Some(1), stroke: Stroke::Dots, text: "longest of the second".to_owned() });
    Chart {
        title: format!("Steady writing: {}, {} at a time", setting.way(), setting.in_flight),
        conditions: told.to_vec(),
        alarms: Vec::new(),
        x: Axis::linear(steady.len() as f64, figure::tick),
        x_name: "seconds",
        y: Axis::logarithmic(values, figure::short),
        y_name: "time of a write",
        series,
        legend,
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use super::super::setting::matrix;
    use super::*;

    #[test]
    fn whatever_was_measured_is_drawn() {
        let states = [State::Zeroed, State::Reserved, State::Growing];
        let settings = matrix(&states, &[Method::Dsync, Method::Fdatasync], &[true, false], &[4096, 65536], &[1, 4]);
        let cells: Vec<Cell> = (settings.iter().enumerate())
            .map(|(n, &setting)| {
                let p50 = 50.0 + n as f64;
                Cell { setting, count: 10, rate: 1e6 / p50, p50, p90: p50, p99: p50 * 3.0, p999: p50 * 5.0, max: p50 * 9.0 }
            })
            .collect();
        let steady = [Second { count: 5, p50: 50.0, p99: 90.0, max: 100.0 }, Second { count: 0, p50: 0.0, p99: 0.0, max: 0.0 }];
        let told = ["ext4".to_owned()];
        let full = all(&cells, &steady, settings[0], &told);
        assert_eq!(full.len(), 4);
        for (name, svg) in &full {
            assert!(name.starts_with("disk-") && svg.contains("ext4") && !svg.contains("nothing was measured"), "{name}: {svg}");
        }
        assert!(full[2].1.contains("growing") && full[0].1.contains("fdatasync buffered"));
        for (_, svg) in all(&[], &[], settings[0], &[]) {
            assert!(svg.contains("nothing was measured"));
        }
    }
}
