//! Metrics: what `mntr` tells, in the text format of Prometheus, under ZooKeeper's names where it has them.

use std::fmt::Write as _;

use super::facts::{Facts, Probe};
use super::{mntr, standing};
use crate::engine::census::Census;
use crate::engine::stages::Stage;

/// The page.
pub(super) fn metrics(facts: &Facts, probe: &Probe, census: &Census) -> String {
    let mut page = String::new();
    let role = standing::mode(census).unwrap_or("looking");
    family(
        &mut page,
        "ringkeeper_info",
        "gauge",
        &[(format!("{{version=\"{}\",server_state=\"{role}\"}}", facts.version), "1".to_owned())],
    );
    let mode = if census.ledger.flush.adapts { "adaptive" } else { "fixed" };
    family(&mut page, "ringkeeper_flush_mode", "gauge", &[(format!("{{mode=\"{mode}\"}}"), "1".to_owned())]);
    let figures = mntr::mntr(facts, probe, census);
    for line in figures.lines() {
        let Some((name, value)) = line.strip_prefix("zk_").and_then(|line| line.split_once('\t')) else { continue };
        // Words are in the line above, stages are a family of their own below.
        if value.parse::<f64>().is_ok() && !name.starts_with("ringkeeper_stage_") {
            family(
                &mut page,
                name,
                if COUNTERS.contains(&name) { "counter" } else { "gauge" },
                &[(String::new(), value.to_owned())],
            );
        }
    }
    if let Some(stages) = mntr::stages(census) {
        let name = "ringkeeper_stage_seconds";
        writeln!(page, "# TYPE {name} histogram").expect(WRITES);
        for stage in Stage::ALL {
            let (of, times) = (stage.name(), stages.of(stage));
            let mut recorded = times.iter_recorded().peekable();
            let mut count = 0;
            for bound in bounds() {
                while let Some(step) = recorded.next_if(|step| step.value_iterated_to() <= bound) {
                    count += step.count_since_last_iteration();
                }
                writeln!(page, "{name}_bucket{{stage=\"{of}\",le=\"{}\"}} {count}", seconds(bound as f64)).expect(WRITES);
            }
            writeln!(page, "{name}_bucket{{stage=\"{of}\",le=\"+Inf\"}} {}", times.len()).expect(WRITES);
            writeln!(page, "{name}_sum{{stage=\"{of}\"}} {}", seconds(stages.sum(stage) as f64)).expect(WRITES);
            writeln!(page, "{name}_count{{stage=\"{of}\"}} {}", times.len()).expect(WRITES);
        }
    }
    page
}

const WRITES: &str = "a String takes every write";

/// Figures that only grow while the server runs.
const COUNTERS: [&str; 15] = [
    "packets_sent",
    "packets_received",
    "auth_failed_count",
    "bytes_received_count",
    "throttled_ops",
    "large_requests_rejected",
    "snapshot_error_count",
    "cnt_snapshottime",
    "sum_snapshottime",
    "ringkeeper_bytes_sent",
    "ringkeeper_connections_dropped",
    "ringkeeper_sessions_throttled",
    "ringkeeper_log_flushes",
    "ringkeeper_flush_decisions",
    "ringkeeper_transactions",
];

/// Upper bounds of buckets, us, ascending: six a decade, from 10 us to 10 s.
fn bounds() -> impl Iterator<Item = u64> {
    let decades = (1..=6).map(|power| 10_u64.pow(power));
    decades.flat_map(|ten| [10, 15, 20, 30, 50, 70].map(|tenths| ten * tenths / 10)).chain([10_000_000])
}

fn seconds(us: f64) -> f64 {
    us / 1e6
}

fn family(page: &mut String, name: &str, kind: &str, figures: &[(String, String)]) {
    writeln!(page, "# TYPE {name} {kind}").expect(WRITES);
    for (labels, value) in figures {
        writeln!(page, "{name}{labels} {value}").expect(WRITES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::{Counters, LedgerCensus, ShardCensus};
    use crate::engine::stages::Stages;

    #[test]
    fn a_page_that_prometheus_reads() {
        let mut stages = Stages::default();
        stages.record(Stage::Flush, 0, 2000, 3);
        let ledger = LedgerCensus { stages: Some(Box::new(stages)), node_count: 5, ..LedgerCensus::default() };
        let shard = ShardCensus { counters: Counters { received: 7, ..Counters::default() }, ..ShardCensus::default() };
        let census = Census { shards: vec![shard], ledger, ..Census::default() };
        let facts = Facts { version: "3.9.4-x".to_owned(), ..Facts::default() };
        let page = metrics(&facts, &Probe::default(), &census);
        for line in [
            "# TYPE ringkeeper_info gauge",
            "ringkeeper_info{version=\"3.9.4-x\",server_state=\"standalone\"} 1",
            "# TYPE packets_received counter",
            "packets_received 7",
            "# TYPE znode_count gauge",
            "znode_count 5",
            "# TYPE ringkeeper_stage_seconds histogram",
            "ringkeeper_stage_seconds_bucket{stage=\"flush\",le=\"0.00001\"} 0",
            "ringkeeper_stage_seconds_bucket{stage=\"flush\",le=\"0.0015\"} 0",
            "ringkeeper_stage_seconds_bucket{stage=\"flush\",le=\"0.003\"} 3",
            "ringkeeper_stage_seconds_bucket{stage=\"flush\",le=\"10\"} 3",
            "ringkeeper_stage_seconds_bucket{stage=\"flush\",le=\"+Inf\"} 3",
            "ringkeeper_stage_seconds_sum{stage=\"flush\"} 0.006",
            "ringkeeper_stage_seconds_count{stage=\"flush\"} 3",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
        }
        // One type a family, and every figure a number.
        let mut types: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), count);
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}
