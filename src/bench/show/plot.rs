//! Plot: records as pictures: latency by percentile, over time, and over throughput.

use super::caption;
use crate::bench::record::Record;
use crate::show::axis::Axis;
use crate::show::chart::{Chart, Key, Series, Stroke};
use crate::show::figure;
use crate::show::latency::Latency;
use crate::show::pen::COLOURED;

/// Points of a percentile curve in the room of one more nine.
const FINENESS: u64 = 40;

/// Throughputs that are further apart than this are shown on a logarithmic axis.
const FAR_APART: f64 = 25.0;

/// Runs of one target at several rates.
#[derive(Clone, Debug)]
pub struct Ladder<'a> {
    /// Its name in the legend.
    pub label: String,
    /// In the order in which they are joined by a line: by the rate that was asked.
    pub records: Vec<&'a Record>,
    /// Answers a second above which latencies leave the ground, where that is known.
    pub knee: Option<f64>,
}

/// Latency of all operations over the percentile, on the scale of HdrHistogram: every further nine takes the same room. A curve
/// ends with the longest, at the percentile that only it exceeds.
#[must_use]
pub fn percentiles(records: &[&Record]) -> String {
    let all: Vec<Latency> = records.iter().map(|record| record.all()).collect();
    let x = Axis::percentiles(all.iter().map(Latency::count).max().unwrap_or(0));
    let ends = all.iter().filter(|latency| latency.count() > 0).flat_map(|latency| [latency.quantile_us(0.0), latency.max_us()]);
    let y = Axis::logarithmic(ends.map(|us| us.max(1) as f64), figure::short);
    // When all colours are used up, thin lines follow.
    let stroke = |number: usize| if (number / COLOURED).is_multiple_of(2) { Stroke::Bold } else { Stroke::Thin };
    let series = all.iter().enumerate().map(|(n, latency)| Series { colour: n, stroke: stroke(n), points: curve(latency) });
    let mut chart = chart("Latency by percentile", records, x, y);
    chart.x_name = "percentile";
    chart.series = series.collect();
    chart.legend = legend(&caption::names(records), stroke);
    chart.svg()
}

/// Quantiles and latencies, the closer together the nearer they are to the end.
fn curve(latency: &Latency) -> Vec<Option<(f64, f64)>> {
    let count = latency.count();
    if count == 0 {
        return Vec::new();
    }
    let end = (count as f64).log10();
    let steps = (end * FINENESS as f64).ceil() as u64;
    let quantile = |n: u64| 1.0 - 10f64.powf(-(n as f64 / FINENESS as f64));
    let mut points: Vec<_> = (0..steps).map(quantile).map(|q| Some((q, latency.quantile_us(q).max(1) as f64))).collect();
    points.push(Some((1.0 - 1.0 / count as f64, latency.max_us().max(1) as f64)));
    points
}

/// What is shown of the latencies of a second, us.
type Told = fn(&Latency) -> u64;

/// Latency of every second: median, 99th percentile and longest, with the stalls.
#[must_use]
pub fn over_time(records: &[&Record]) -> String {
    let seconds = records.iter().map(|record| record.seconds.max(record.slices.len() as f64)).fold(0.0, f64::max);
    let measured = || records.iter().flat_map(|record| &record.slices).filter(|slice| slice.latency.count() > 0);
    let ends = measured().flat_map(|slice| [slice.latency.quantile_us(0.5), slice.latency.max_us()]);
    let y = Axis::logarithmic(ends.map(|us| us.max(1) as f64), figure::short);
    let mut chart = chart("Latency over time", records, Axis::linear(seconds, figure::tick), y);
    chart.x_name = "seconds since the measurement began";
    for (colour, record) in records.iter().enumerate() {
        for stall in &record.stalls {
            let (from, to) = (stall.at, stall.at + stall.ms / 1000.0);
            chart.series.push(Series { colour, stroke: Stroke::Band, points: [from, to].map(|x| Some((x, 1.0))).to_vec() });
        }
    }
    let shown: [(Stroke, Told); 3] =
        [(Stroke::Dots, Latency::max_us), (Stroke::Thin, |l| l.quantile_us(0.5)), (Stroke::Bold, |l| l.quantile_us(0.99))];
    for (stroke, told) in shown {
        for (colour, record) in records.iter().enumerate() {
            let points = record.slices.iter().enumerate().map(|(second, slice)| {
                // In the middle of its second.
                (slice.latency.count() > 0).then(|| (second as f64 + 0.5, told(&slice.latency).max(1) as f64))
            });
            chart.series.push(Series { colour, stroke, points: points.collect() });
        }
    }
    chart.legend = legend(&caption::names(records), |_| Stroke::Bold);
    chart.legend.extend([key(Stroke::Thin, "p50 of a second"), key(Stroke::Bold, "p99"), key(Stroke::Dots, "longest")]);
    if records.iter().any(|record| !record.stalls.is_empty()) {
        chart.legend.push(key(Stroke::Band, "stall: none answered"));
    }
    chart.svg()
}

/// Latency of all operations over the answers a second: median and 99th percentile of every run of a ladder.
#[must_use]
pub fn over_throughput(ladders: &[Ladder<'_>]) -> String {
    let records: Vec<&Record> = ladders.iter().flat_map(|ladder| ladder.records.iter().copied()).collect();
    let rates = || records.iter().map(|record| record.achieved()).chain(ladders.iter().filter_map(|ladder| ladder.knee));
    let most = rates().fold(0.0, f64::max);
    let least = rates().filter(|rate| *rate > 0.0).fold(most, f64::min);
    let apart = least > 0.0 && most / least > FAR_APART;
    let x = if apart { Axis::logarithmic(rates(), figure::tick) } else { Axis::linear(most * 1.04, figure::tick) };
    let told = |record: &Record, q: f64| {
        let all = record.all();
        (all.count() > 0).then(|| (record.achieved(), all.quantile_us(q).max(1) as f64))
    };
    let values = records.iter().flat_map(|record| [told(record, 0.5), told(record, 0.99)]).flatten();
    let y = Axis::logarithmic(values.map(|(_, us)| us), figure::short);
    let mut chart = chart("Latency over throughput", &records, x, y);
    chart.x_name = "answers a second";
    for (colour, ladder) in ladders.iter().enumerate() {
        if let Some(knee) = ladder.knee {
            chart.series.push(Series { colour, stroke: Stroke::Dashes, points: vec![Some((knee, 1.0))] });
        }
        for (stroke, q) in [(Stroke::Rings, 0.5), (Stroke::Beads, 0.99)] {
            let points = ladder.records.iter().map(|record| told(record, q)).collect();
            chart.series.push(Series { colour, stroke, points });
        }
        let early = ladder.records.iter().filter(|record| record.ended_early.is_some()).map(|record| told(record, 0.99));
        chart.series.push(Series { colour, stroke: Stroke::Crosses, points: early.collect() });
        let knee = ladder.knee.map(|knee| format!(" (knee at {}/s)", figure::rate(knee))).unwrap_or_default();
        chart.legend.push(Key { colour: Some(colour), stroke: Stroke::Bold, text: format!("{}{knee}", ladder.label) });
    }
    chart.legend.extend([key(Stroke::Rings, "p50"), key(Stroke::Beads, "p99")]);
    if ladders.iter().any(|ladder| ladder.knee.is_some()) {
        chart.legend.push(key(Stroke::Dashes, "knee"));
    }
    if records.iter().any(|record| record.ended_early.is_some()) {
        chart.legend.push(key(Stroke::Crosses, "ended early"));
    }
    chart.svg()
}

/// A chart with its head, and nothing in it.
fn chart(shown: &str, records: &[&Record], x: Axis, y: Axis) -> Chart {
    let early: Vec<String> = caption::names(records)
        .into_iter()
        .zip(records)
        .filter_map(|(name, record)| record.ended_early.as_ref().map(|why| format!("ENDED EARLY: {name}: {why}")))
        .collect();
    Chart {
        title: format!("{shown}: {} · {}", caption::targets(records), caption::workloads(records)),
        conditions: caption::conditions(records),
        alarms: early,
        x,
        x_name: "",
        y,
        y_name: "latency",
        series: Vec::new(),
        legend: Vec::new(),
    }
}

fn legend(names: &[String], stroke: impl Fn(usize) -> Stroke) -> Vec<Key> {
    names.iter().enumerate().map(|(n, name)| Key { colour: Some(n), stroke: stroke(n), text: name.clone() }).collect()
}

fn key(stroke: Stroke, text: &str) -> Key {
    Key { colour: None, stroke, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Stall;
    use crate::bench::show::sample;

    fn all(records: &[&Record]) -> [String; 3] {
        let ladder =
            Ladder { label: "ladder".to_owned(), records: records.to_vec(), knee: records.first().map(|r| r.achieved()) };
        [percentiles(records), over_time(records), over_throughput(&[ladder])]
    }

    #[test]
    fn titles_say_what_was_measured_under_which_conditions() {
        let (a, b) = (sample::record("ringkeeper", 1000.0), sample::record("zookeeper", 1000.0));
        for svg in all(&[&a, &b]) {
            for part in [
                "ringkeeper against zookeeper · mixed, 90 % reads",
                "durability fsync",
                "3 voting servers",
                "100 B values",
                "Example Processor 3000, 2 cores",
                "server 3.9.4",
                "bench 0.1.0",
            ] {
                // The head is folded, and a fold may be between any two words.
                let flat = svg.split("<text").map(|t| t.split_once(">\n").map_or("", |t| t.1)).collect::<String>();
                let flat = flat.replace("\n</text>\n", " ");
                assert!(flat.contains(part), "{part:?} is missing in {flat}");
            }
        }
    }

    #[test]
    fn odd_records_are_drawn_too() {
        let empty = sample::empty("empty");
        let mut one = sample::empty("one");
        one.operations.get_mut("get").unwrap().latency.record_ns(1);
        one.slices.resize_with(1, Default::default);
        one.slices[0].latency.record_ns(1);
        one.arrivals.answered = 1;
        let mut long = sample::record("long", 1000.0);
        for slice in &mut long.slices {
            slice.latency.record_ns(70_000_000_000);
        }
        long.operations.get_mut("get").unwrap().latency.record_ns(70_000_000_000);
        long.arrivals.answered = 20_000_000;
        long.stalls.push(Stall { at: 1e12, ms: 1e12 });
        long.stalls.push(Stall { at: -1.0, ms: f64::NAN });
        long.seconds = 0.001;
        let mut none = sample::empty("none");
        none.seconds = 0.0;
        none.ended_early = Some("nobody answered".to_owned());
        for records in [vec![], vec![&empty], vec![&one], vec![&long], vec![&none], vec![&empty, &one, &long, &none]] {
            for svg in all(&records) {
                assert!(svg.ends_with("</svg>\n"));
                assert_eq!(svg.contains("ENDED EARLY"), records.iter().any(|record| record.ended_early.is_some()));
            }
        }
        assert!(over_throughput(&[]).contains("nothing was measured"));
        assert!(percentiles(&[&empty]).contains("nothing was measured"));
    }

    #[test]
    fn a_curve_rises_and_ends_with_the_longest() {
        let record = sample::record("a", 1000.0);
        let points: Vec<_> = curve(&record.all()).into_iter().flatten().collect();
        assert!(points.len() > 100);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(points.last().unwrap().1, record.all().max_us() as f64);
        let median = points.iter().find(|(q, _)| *q >= 0.5).unwrap().1;
        assert!(median >= record.all().quantile_us(0.5) as f64);
    }

    #[test]
    fn stalls_and_what_ended_early_are_marked() {
        let (with, mut without) = (sample::record("with", 1000.0), sample::record("without", 1000.0));
        without.stalls.clear();
        assert!(over_time(&[&with]).contains("stall: none answered"));
        assert!(!over_time(&[&without]).contains("stall: none answered"));
        without.ended_early = Some("it went away".to_owned());
        let ladder = Ladder { label: "l".to_owned(), records: vec![&with, &without], knee: None };
        let svg = over_throughput(&[ladder]);
        assert!(svg.contains("ended early") && svg.contains("it went away") && !svg.contains("knee"));
    }
}
