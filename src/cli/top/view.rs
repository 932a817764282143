//! View: what happened between two pages of one server, as lines for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use super::scrape::Page;
use crate::engine::stages::Stage;

const NAME: &str = "ringkeeper_stage_seconds";

const WRITES: &str = "a String takes every write";

/// A stage between two pages.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Spent {
    count: f64,
    mean: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Spent {
    fn between(old: &Page, new: &Page, stage: Stage) -> Self {
        let labels = format!("stage=\"{}\"", stage.name());
        let gained = |figure: &str| gain(old, new, &format!("{NAME}_{figure}{{{labels}}}"));
        let (mut before, after) = (old.buckets(NAME, &labels), new.buckets(NAME, &labels));
        if after.last() < before.last() {
            before.clear();
        }
        let buckets: Vec<_> = after
            .into_iter()
            .enumerate()
            .map(|(i, (bound, count))| (bound, count - before.get(i).map_or(0.0, |bucket| bucket.1)))
            .collect();
        let count = gained("count");
        let mean = if count > 0.0 { gained("sum") / count } else { 0.0 };
        Self { count, mean, p50: quantile(&buckets, 0.5), p99: quantile(&buckets, 0.99), p999: quantile(&buckets, 0.999) }
    }
}

/// How much a counter grew. One that fell was set back by a restart, or by `srst`: what it has is what came since.
fn gain(old: &Page, new: &Page, name: &str) -> f64 {
    let (old, new) = (old.get(name), new.get(name));
    if new >= old { new - old } else { new }
}

/// A quantile of cumulative buckets, in between where it lies between bounds.
fn quantile(buckets: &[(f64, f64)], of: f64) -> f64 {
    let Some(&(_, all)) = buckets.last().filter(|(_, all)| *all > 0.0) else { return 0.0 };
    let wanted = all * of;
    let (mut lower, mut below) = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= wanted && bound.is_finite() {
            let part = if count > below { (wanted - below) / (count - below) } else { 1.0 };
            return lower + (bound - lower) * part;
        }
        (lower, below) = (if bound.is_finite() { bound } else { lower }, count);
    }
    lower
}

/// The lines.
pub(super) fn lines(server: &str, old: &Page, new: &Page, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = |name: &str| gain(old, new, name) / seconds;
    let label = |name| new.label("ringkeeper_info", name).unwrap_or("?");
    let (writes, flushes) = (rate("ringkeeper_transactions"), rate("ringkeeper_log_flushes"));
    let each = if flushes > 0.0 { writes / flushes } else { 0.0 };
    let mut text = String::new();
    writeln!(text, "{server}  {}  {}", label("server_state"), label("version")).expect(WRITES);
    writeln!(
        text,
        "transactions {}/s   flushes {}/s of {each:.1}   packets in {}/s, out {}/s   log {:.1} MB/s",
        whole(writes),
        whole(flushes),
        whole(rate("packets_received")),
        whole(rate("packets_sent")),
        rate("ringkeeper_log_bytes") / 1e6
    )
    .expect(WRITES);
    writeln!(
        text,
        "connections {}   sessions {}   outstanding {}   znodes {}   watches {}",
        whole(new.get("num_alive_connections")),
        whole(new.get("global_sessions")),
        whole(new.get("outstanding_requests")),
        whole(new.get("znode_count")),
        whole(new.get("watch_count"))
    )
    .expect(WRITES);
    writeln!(text, "\n{:<10} {:>10} {:>10} {:>10} {:>10} {:>10}", "stage", "writes/s", "mean", "p50", "p99", "p99.9")
        .expect(WRITES);
    let mut sum = 0.0;
    for stage in Stage::ALL {
        let spent = Spent::between(old, new, stage);
        if spent.count > 0.0 {
            sum += spent.mean;
        }
        let [mean, p50, p99, p999] = [spent.mean, spent.p50, spent.p99, spent.p999].map(|time| span(time, spent.count));
        let (name, count) = (stage.name(), whole(spent.count / seconds));
        writeln!(text, "{name:<10} {count:>10} {mean:>10} {p50:>10} {p99:>10} {p999:>10}").expect(WRITES);
    }
    writeln!(text, "{:<10} {:>10} {:>10}", "all", "", span(sum, sum)).expect(WRITES);
    text
}

/// A time of a stage; nothing where none was counted.
fn span(seconds: f64, count: f64) -> String {
    match seconds * 1e6 {
        _ if count <= 0.0 => "-".to_owned(),
        us if us < 1000.0 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// A number with its thousands apart.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(transactions: u64, flushes: u64, buckets: [u64; 3], sum: f64) -> Page {
        let [low, mid, all] = buckets;
        Page::parse(&format!(
            "ringkeeper_info{{version=\"3.9.4-x\",server_state=\"leader\"}} 1\nringkeeper_transactions {transactions}\n\
             ringkeeper_log_flushes {flushes}\nznode_count 1234567\n{NAME}_bucket{{stage=\"flush\",le=\"0.001\"}} {low}\n\
             {NAME}_bucket{{stage=\"flush\",le=\"0.002\"}} {mid}\n{NAME}_bucket{{stage=\"flush\",le=\"+Inf\"}} {all}\n\
             {NAME}_sum{{stage=\"flush\"}} {sum}\n{NAME}_count{{stage=\"flush\"}} {all}\n"
        ))
    }

    #[test]
    fn what_happened_between_two_pages() {
        let (old, new) = (page(100, 10, [50, 50, 50], 1.0), page(2100, 510, [1050, 2040, 2050], 3.4));
        let text = lines("a:1", &old, &new, Duration::from_secs(2));
        for line in [
            "a:1  leader  3.9.4-x",
            "transactions 1,000/s   flushes 250/s of 4.0   packets in 0/s, out 0/s   log 0.0 MB/s",
            "connections 0   sessions 0   outstanding 0   znodes 1,234,567   watches 0",
            "flush           1,000    1.20 ms    1.00 ms    1.99 ms    2.00 ms",
            "replicate           0          -          -          -          -",
            "all                      1.20 ms",
        ] {
            assert!(text.lines().any(|other| other.trim_end() == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_counter_that_fell_began_anew() {
        let (old, new) = (page(5000, 10, [50, 50, 50], 1.0), page(10, 5, [2, 4, 4], 0.004));
        let text = lines("a:1", &old, &new, Duration::from_secs(1));
        assert!(text.contains("transactions 10/s   flushes 5/s of 2.0 "), "{text}");
        assert!(text.contains("\nflush               4    1.00 ms    1.00 ms    1.98 ms    2.00 ms"), "{text}");
    }
}
