//! The monitor's figures: `mntr`, one `zk_<name>` a line.
//!
//! Names and number formats are ZooKeeper's, and so is the order of the figures we have. A figure that nobody here measures is
//! absent rather than zero; `docs/four-letter-words.md` lists those. What only we have is named `zk_ringkeeper_*`, at the end.

use std::fmt::{Display, Write as _};

use super::facts::{Facts, Probe};
use super::summary::Totals;
use super::{java, standing};
use crate::engine::census::{Census, Counters};
use crate::engine::stages::{Stage, Stages};
use crate::session::throttle::CERTAIN;

/// The answer to `mntr`.
pub(super) fn mntr(facts: &Facts, probe: &Probe, census: &Census) -> String {
    let (totals, ledger, replies) = (Totals::of(census), &census.ledger, Replies::of(census));
    let mut page = Page(String::new());
    page.line("version", &facts.version);
    page.line("server_state", standing::mode(census).unwrap_or("looking"));
    let member = ledger.standing.as_ref();
    if let Some(member) = member {
        page.line("peer_state", standing::peer_state(member));
    }
    page.line("ephemerals_count", ledger.ephemerals);
    page.line("num_alive_connections", totals.connections);
    page.line("avg_latency", java::average(totals.latency.average()));
    page.line("outstanding_requests", totals.outstanding);
    page.line("znode_count", ledger.node_count);
    page.line("global_sessions", ledger.sessions);
    page.line("last_client_response_size", replies.last);
    page.line("packets_sent", totals.sent);
    page.line("packets_received", totals.received);
    page.line("max_client_response_size", replies.max);
    page.line("connection_drop_probability", java::double(f64::from(ledger.refusal_chance) / f64::from(CERTAIN)));
    page.line("watch_count", totals.watches);
    page.line("auth_failed_count", totals.auth_failed);
    page.line("min_latency", totals.latency.min_or_zero());
    page.known("max_file_descriptor_count", probe.max_files);
    page.line("approximate_data_size", ledger.data_size);
    page.known("open_file_descriptor_count", probe.open_files);
    page.line("local_sessions", ledger.local_sessions.unwrap_or(0));
    page.line("uptime", census.mono.since(census.since));
    page.line("max_latency", totals.latency.max);
    page.line("min_client_response_size", replies.min);
    page.line("throttled_ops", totals.throttled);
    page.line("bytes_received_count", totals.bytes_received);
    page.line("large_requests_rejected", totals.large_rejected);
    if let Some(member) = member {
        page.line("quorum_size", member.voters);
        if let Some(learners) = standing::learners(member) {
            page.line("learners", learners.all);
            page.line("synced_followers", learners.followers);
            page.line("synced_non_voting_followers", 0);
            page.line("synced_observers", learners.observers);
            page.line("pending_syncs", learners.behind);
            page.line("last_proposal_size", member.proposals.last);
            page.line("max_proposal_size", member.proposals.max);
            page.line("min_proposal_size", member.proposals.min);
        }
    }
    let archive = &ledger.archive;
    page.line("snapshot_error_count", archive.errors);
    page.line("avg_snapshottime", java::average(archive.took.average()));
    page.line("min_snapshottime", archive.took.min_or_zero());
    page.line("max_snapshottime", archive.took.max);
    page.line("cnt_snapshottime", archive.took.count);
    page.line("sum_snapshottime", archive.took.total);
    page.line("ringkeeper_shards", census.shards.len());
    page.line("ringkeeper_bytes_sent", totals.bytes_sent);
    page.line("ringkeeper_connections_dropped", totals.dropped);
    page.line("ringkeeper_sessions_throttled", ledger.throttled);
    page.line("ringkeeper_log_bytes", ledger.log_bytes);
    page.line("ringkeeper_log_flushes", ledger.flushes);
    page.line("ringkeeper_transactions", ledger.transactions);
    let flush = &ledger.flush;
    page.line("ringkeeper_flush_mode", if flush.adapts { "adaptive" } else { "fixed" });
    page.line("ringkeeper_flush_linger_us", flush.linger_us);
    page.line("ringkeeper_flush_flights", flush.flights);
    page.line("ringkeeper_flush_time_us", flush.flush_us);
    page.line("ringkeeper_flush_arrivals_per_s", flush.arrivals);
    page.line("ringkeeper_flush_decisions", flush.decisions);
    if let Some(member) = member {
        page.line("ringkeeper_epoch_promised", member.promise.0);
        page.line("ringkeeper_epoch_joined", member.promise.1);
        page.line("ringkeeper_impaired", u8::from(member.is_impaired));
    }
    page.stages(census);
    page.0
}

/// What all cores have counted of the stages of writes.
pub(super) fn stages(census: &Census) -> Option<Stages> {
    let parts = census.shards.iter().map(|shard| &shard.stages).chain([&census.ledger.stages]);
    parts.flatten().map(|stages| (**stages).clone()).reduce(|mut all, part| {
        all.merge(&part);
        all
    })
}

/// The text so far.
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, value: impl Display) {
        writeln!(self.0, "zk_{name}\t{value}").expect("a String takes every write");
    }

    /// Where the time of writes goes, us: stage by stage, over all cores.
    fn stages(&mut self, census: &Census) {
        let Some(all) = stages(census) else { return };
        for stage in Stage::ALL {
            let (name, times) = (stage.name(), all.of(stage));
            for (quantile, of) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
                self.line(&format!("ringkeeper_stage_{name}_{quantile}_us"), times.value_at_quantile(of));
            }
            self.line(&format!("ringkeeper_stage_{name}_max_us"), times.max());
            self.line(
                &format!("ringkeeper_stage_{name}_avg_us"),
                java::average(all.sum(stage) as f64 / times.len().max(1) as f64),
            );
            self.line(&format!("ringkeeper_stage_{name}_count"), times.len());
        }
    }

    fn known(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.line(name, value);
        }
    }
}

/// Sizes of replies over all shards, bytes; -1 before the first. The last one is that of the first shard that sent any.
struct Replies {
    last: i64,
    min: i64,
    max: i64,
}

impl Replies {
    fn of(census: &Census) -> Self {
        // A reply has a header of 16 bytes, so a size of 0 is a counter nobody has touched.
        let sizes =
            |figure: fn(&Counters) -> i64| census.shards.iter().map(move |s| figure(&s.counters)).filter(|&size| size > 0);
        Self {
            last: sizes(|counters| counters.response_last).next().unwrap_or(-1),
            min: sizes(|counters| counters.response_min).min().unwrap_or(-1),
            max: sizes(|counters| counters.response_max).max().unwrap_or(-1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::{Latency, LedgerCensus, ShardCensus};

    fn figure(text: &str, name: &str) -> Option<String> {
        text.lines().find_map(|line| line.strip_prefix(&format!("zk_{name}\t"))).map(str::to_owned)
    }

    #[test]
    fn shards_are_joined() {
        let shard = |received, min, max, size| {
            let latency = Latency { min, max, total: min + max, count: 2 };
            let sizes = (size, size, size * 2);
            ShardCensus {
                counters: Counters {
                    received,
                    latency,
                    response_last: sizes.0,
                    response_min: sizes.1,
                    response_max: sizes.2,
                    ..Counters::default()
                },
                watches_total: 5,
                ..ShardCensus::default()
            }
        };
        let shards = vec![ShardCensus::default(), shard(10, 1, 4, 40), shard(5, 0, 9, 20)];
        let text = mntr(&Facts::default(), &Probe::default(), &Census { shards, ..Census::default() });
        let expected = [
            ("packets_received", "15"),
            ("min_latency", "0"),
            ("avg_latency", "3.5"),
            ("max_latency", "9"),
            ("watch_count", "10"),
            ("last_client_response_size", "40"),
            ("min_client_response_size", "20"),
            ("max_client_response_size", "80"),
        ];
        for (name, value) in expected {
            assert_eq!(figure(&text, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn stages_of_all_cores_are_joined() {
        let stages = |stage, us: u64| {
            let mut stages = Stages::default();
            stages.record(stage, 1, 1 + us, 2);
            Some(Box::new(stages))
        };
        let shard = |us| ShardCensus { stages: stages(Stage::Respond, us), ..ShardCensus::default() };
        let ledger = LedgerCensus { stages: stages(Stage::Flush, 70), ..LedgerCensus::default() };
        let census = Census { shards: vec![shard(10), shard(20)], ledger, ..Census::default() };
        let text = mntr(&Facts::default(), &Probe::default(), &census);
        for (name, value) in [
            ("stage_respond_count", "4"),
            ("stage_respond_max_us", "20"),
            ("stage_respond_avg_us", "15.0"),
            ("stage_flush_p50_us", "70"),
            ("stage_replicate_count", "0"),
        ] {
            assert_eq!(figure(&text, &format!("ringkeeper_{name}")).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_absent_or_the_original_s_nothing() {
        let text = mntr(&Facts::default(), &Probe::default(), &Census::default());
        assert_eq!(figure(&text, "open_file_descriptor_count"), None);
        assert_eq!(figure(&text, "max_client_response_size").as_deref(), Some("-1"));
        assert_eq!(figure(&text, "min_latency").as_deref(), Some("0"));
    }
}
