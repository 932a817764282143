//! Table: what a run has measured, in words and figures, as it ends and in what is kept of it.

use super::caption;
use super::date;
use crate::bench::record::Record;
use crate::bench::spec::Pace;
use crate::show::figure;
use crate::show::grid::{Grid, cell};
use crate::show::latency::{Latency, QUANTILES};

/// Below this part of what was offered the server has not kept up.
const KEPT_UP: f64 = 0.99;

/// Above this part of its machine the generator may be what limits.
const GENERATOR_BUSY: f64 = 0.8;

/// All of it, as plain text for a terminal.
#[must_use]
pub fn text(record: &Record) -> String {
    let mut text = String::new();
    if let Some(ended) = ended(record) {
        text += &format!("{ended}\n");
    }
    let facts = facts(record);
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        text += &format!("{name:<width$}  {value}\n");
    }
    text += &format!("\n{}", latencies(record).text());
    let errors = errors(record);
    text += &if errors.rows.is_empty() { "\nno errors\n".to_owned() } else { format!("\n{}", errors.text()) };
    for caution in cautions(record) {
        text += &format!("\nCAUTION: {caution}");
    }
    if text.ends_with('\n') { text } else { text + "\n" }
}

/// All of it, as Markdown without a heading.
#[must_use]
pub fn markdown(record: &Record) -> String {
    let mut text = String::new();
    if let Some(ended) = ended(record) {
        text += &format!("**{}**\n\n", cell(&ended));
    }
    for (name, value) in facts(record) {
        text += &format!("- {name}: {}\n", cell(&value));
    }
    text += &format!("\n{}", latencies(record).markdown());
    let errors = errors(record);
    text += &if errors.rows.is_empty() { "\nNo errors.\n".to_owned() } else { format!("\n{}", errors.markdown()) };
    for caution in cautions(record) {
        text += &format!("\n**CAUTION: {}**\n", cell(&caution));
    }
    text
}

/// That the run ended early and why, where it did.
#[must_use]
pub fn ended(record: &Record) -> Option<String> {
    let why = record.ended_early.as_ref()?;
    let (had, asked) = (figure::seconds(record.seconds), figure::seconds(record.spec.seconds));
    Some(format!("ENDED EARLY: {why} (the figures are of {had} of {asked})"))
}

/// Where, what, how much and by whom: names and values.
#[must_use]
pub fn facts(record: &Record) -> Vec<(&'static str, String)> {
    let Record { target, spec, arrivals, generator, .. } = record;
    let thousands = figure::thousands;
    let mut whence = format!("{} ({})", target.label, target.servers.join(", "));
    whence += &match &target.version {
        Some(version) => format!(", version {version}"),
        None => ", version unknown".to_owned(),
    };
    whence += &match target.quorum {
        Some(1) => ", standalone".to_owned(),
        Some(n) => format!(", {n} voting servers"),
        None => ", quorum unknown".to_owned(),
    };
    whence += &format!(", durability {}", target.durability.as_deref().unwrap_or("not told"));

    let asked = format!(
        "{}; {}; {} connections with {} in flight at most; {} znodes of {} bytes; {} after {} of warm-up; seed {}",
        spec.workload,
        caption::pace(record),
        thousands(spec.connections as u64),
        thousands(spec.in_flight as u64),
        thousands(spec.nodes as u64),
        thousands(spec.value_size as u64),
        figure::seconds(spec.seconds),
        figure::seconds(spec.warmup),
        spec.seed,
    );
    let measured = format!("{} from {}", figure::seconds(record.seconds), date::moment(record.began_unix_ms));
    let part = if arrivals.offered > 0 { arrivals.answered as f64 / arrivals.offered as f64 } else { f64::NAN };
    let rates = format!(
        "offered {}/s, achieved {}/s ({} of it)",
        figure::rate(record.offered()),
        figure::rate(record.achieved()),
        figure::share(part),
    );
    let fates = format!(
        "{} offered, {} answered, {} delayed, {} dropped, {} unanswered",
        thousands(arrivals.offered),
        thousands(arrivals.answered),
        thousands(arrivals.delayed),
        thousands(arrivals.dropped),
        thousands(arrivals.unanswered),
    );
    let load = format!(
        "{} of {} cores, left late by {} us in the 99th percentile, threads {}",
        figure::share(generator.share(record.seconds)),
        generator.cores,
        figure::latency(generator.late_p99_us),
        spec.threads,
    );
    vec![
        ("target", whence),
        ("asked", asked),
        ("measured", measured),
        ("rate", rates),
        ("arrivals", fates),
        ("stalls", stalls(record)),
        ("generator", load),
        ("machine", caption::machines(record)),
    ]
}

/// How many stalls, how long the longest was, and when they were.
fn stalls(record: &Record) -> String {
    const TOLD: usize = 5;
    let mut longest: Vec<_> = record.stalls.iter().collect();
    longest.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let Some(first) = longest.first() else { return "none".to_owned() };
    let mut text = format!("{}, the longest {} at {}", record.stalls.len(), ms(first.ms), figure::seconds(first.at));
    for stall in longest.iter().skip(1).take(TOLD - 1) {
        text += &format!("; {} at {}", ms(stall.ms), figure::seconds(stall.at));
    }
    if longest.len() > TOLD {
        text += "; ..";
    }
    text
}

fn ms(ms: f64) -> String {
    figure::short(ms * 1000.0)
}

/// A line an operation, and one of all where there are several: count, rate and latencies of what succeeded.
#[must_use]
pub fn latencies(record: &Record) -> Grid {
    let mut grid = Grid::new(["operation", "count", "ops/s"]);
    grid.columns.extend(QUANTILES.iter().map(|(name, _)| format!("{name} us")));
    grid.columns.extend(["max us".to_owned(), "errors".to_owned()]);
    let mut add = |name: &str, latency: &Latency, errors: u64| {
        let mut row = vec![
            name.to_owned(),
            figure::thousands(latency.count()),
            figure::rate(if record.seconds > 0.0 { latency.count() as f64 / record.seconds } else { 0.0 }),
        ];
        row.extend(tails(latency));
        row.push(figure::thousands(errors));
        grid.push(row);
    };
    for (name, operation) in &record.operations {
        add(name, &operation.latency, operation.errors.values().sum());
    }
    if record.operations.len() != 1 {
        add("all", &record.all(), record.errors());
    }
    grid
}

/// The quantiles and the longest, `-` where nothing was counted.
fn tails(latency: &Latency) -> Vec<String> {
    let mut cells: Vec<String> = QUANTILES.iter().map(|(_, q)| figure::latency(latency.quantile_us(*q))).collect();
    cells.push(figure::latency(latency.max_us()));
    if latency.count() == 0 {
        cells.fill("-".to_owned());
    }
    cells
}

/// A line for each code an operation failed with; no rows where none did.
#[must_use]
pub fn errors(record: &Record) -> Grid {
    let mut grid = Grid::new(["errors of", "code", "count"]);
    for (name, operation) in &record.operations {
        for (code, count) in operation.errors.iter().filter(|(_, count)| **count > 0) {
            grid.push([name.clone(), code.clone(), figure::thousands(*count)]);
        }
    }
    grid
}

/// A line a record, all operations together: rates, latencies, and what went wrong.
#[must_use]
pub fn overview(records: &[&Record]) -> Grid {
    let mut grid = Grid::new(["run", "offered/s", "achieved/s"]);
    grid.columns.extend(QUANTILES.iter().map(|(name, _)| format!("{name} us")));
    grid.columns.extend(["max us", "errors", "delayed", "dropped", "unanswered", "stalls", "generator"].map(String::from));
    for (name, record) in caption::names(records).into_iter().zip(records) {
        let name = if record.ended_early.is_some() { format!("{name} (ENDED EARLY)") } else { name };
        let mut row = vec![name, figure::rate(record.offered()), figure::rate(record.achieved())];
        row.extend(tails(&record.all()));
        let Record { arrivals, .. } = record;
        let counts = [record.errors(), arrivals.delayed, arrivals.dropped, arrivals.unanswered, record.stalls.len() as u64];
        row.extend(counts.map(figure::thousands));
        row.push(figure::share(record.generator.share(record.seconds)));
        grid.push(row);
    }
    grid
}

/// What a reader must know before believing the figures.
#[must_use]
pub fn cautions(record: &Record) -> Vec<String> {
    let mut all = Vec::new();
    if matches!(record.spec.pace, Pace::Closed) {
        all.push(
            "a closed loop sends nothing while it waits: its percentiles leave out who would have come during a stall".to_owned(),
        );
    } else if record.achieved() < KEPT_UP * record.offered() {
        all.push("the server has not kept up with the rate: latencies are those of a queue that grows".to_owned());
    }
    if let Some(rate) = record.spec.rate()
        && record.offered() < KEPT_UP * rate
    {
        all.push(format!(
            "the generator offered {}/s of the {}/s it was asked for",
            figure::rate(record.offered()),
            figure::rate(rate)
        ));
    }
    let share = record.generator.share(record.seconds);
    if share > GENERATOR_BUSY {
        all.push(format!("the generator took {} of its machine: it may be what limits", figure::share(share)));
    }
    let p99 = record.all().quantile_us(0.99);
    let late = record.generator.late_p99_us;
    if p99 > 0 && late.saturating_mul(5) > p99 {
        all.push(format!(
            "requests left late by {} us in the 99th percentile, more than a fifth of the latency there ({} us)",
            figure::latency(late),
            figure::latency(p99)
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::show::sample;

    #[test]
    fn the_text_says_all_that_was_measured() {
        let record = sample::record("ringkeeper", 1000.0);
        let text = text(&record);
        for part in [
            "target     ringkeeper (10.0.0.1:2181), version 3.9.4",
            "3 voting servers, durability fsync",
            "mixed, 90 % reads; open loop, 1,000/s poisson; 50 connections",
            "offered 1,000/s, achieved 999/s (99.9 % of it)",
            "10,000 offered, 9,990 answered, 12 delayed, 3 dropped, 7 unanswered",
            "2, the longest 312 ms at 6.6 s; 121 ms at 8.25 s",
            "12.5 % of 2 cores, left late by 23 us",
            "BadVersion",
            "2026-11-22 00:00:00 UTC",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let heading = text.lines().find(|line| line.starts_with("operation")).expect("a heading");
        assert_eq!(
            heading.split_whitespace().filter(|word| *word != "us").collect::<Vec<_>>(),
            ["operation", "count", "ops/s", "p50", "p90", "p99", "p99.9", "p99.99", "max", "errors"]
        );
        let max = figure::latency(record.all().max_us());
        let all = text.lines().find(|line| line.starts_with("all ")).expect("a line of all");
        assert!(all.contains("10,000") && all.contains(&max), "{all}");
        assert!(!text.contains("CAUTION") && !text.contains("ENDED"), "{text}");
    }

    #[test]
    fn what_ended_early_says_so_first() {
        let mut record = sample::record("a", 1000.0);
        record.ended_early = Some("connection refused".to_owned());
        record.seconds = 4.2;
        let expected = "ENDED EARLY: connection refused (the figures are of 4.2 s of 10 s)";
        assert!(text(&record).starts_with(expected));
        assert!(markdown(&record).starts_with(&format!("**{expected}**")));
        assert!(overview(&[&record]).rows[0][0].ends_with("(ENDED EARLY)"));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        let mut record = sample::empty("a");
        record.seconds = 0.0;
        record.machines.clear();
        record.operations.clear();
        let text = text(&record);
        assert!(text.contains("achieved 0/s (- of it)") && text.contains("stalls     none"), "{text}");
        assert!(latencies(&record).rows[0][3..9].iter().all(|cell| cell == "-"));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn figures_that_mislead_come_with_a_caution() {
        let mut record = sample::record("a", 1000.0);
        record.arrivals.answered = 5000;
        record.generator.processor_seconds = 19.0;
        record.generator.late_p99_us = 1_000_000;
        let told = cautions(&record);
        assert_eq!(told.len(), 3, "{told:?}");
        record.spec.pace = Pace::Open { rate: 5000.0, arrivals: crate::bench::spec::Arrivals::Constant };
        assert!(cautions(&record)[1].contains("offered 1,000/s of the 5,000/s"));
        record.spec.pace = Pace::Closed;
        assert!(text(&record).contains("CAUTION: a closed loop"));
        assert!(!cautions(&record).iter().any(|caution| caution.contains("kept up")));
    }

    #[test]
    fn markdown_and_text_have_the_same_rows() {
        let record = sample::record("a|b", 1000.0);
        let markdown = markdown(&record);
        assert!(markdown.contains("- target: a\\|b (10.0.0.1:2181)"), "{markdown}");
        assert!(markdown.contains("| set | 1,000 | 100 |"), "{markdown}");
        assert!(markdown.contains("| set | BadVersion | 1 |"), "{markdown}");
    }
}
