//! Throttles: how much is let in at a time, by ZooKeeper's keys.

use super::error::ConfigError;
use super::given::Given;
use super::resolve::value_error;
use crate::engine::shard::Flow;
use crate::session::throttle::{CERTAIN, Rules, Weights};

/// Limits on requests, and on sessions that begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Throttles {
    /// Those on requests, of the whole server.
    pub requests: Flow,
    /// That on sessions, if there is one.
    pub sessions: Option<Rules>,
}

impl Throttles {
    /// The share of each of so many shards; every shard may always have one request under way.
    pub fn share_of(&self, shards: u16) -> Flow {
        let share = |limit: usize| if limit == usize::MAX { limit } else { limit.div_ceil(usize::from(shards.max(1))).max(1) };
        let Flow { outstanding, requests, large_bytes, .. } = self.requests;
        Flow { outstanding: share(outstanding), requests: share(requests), large_bytes: share(large_bytes), ..self.requests }
    }
}

/// Resolves the keys. `voters` is how many servers vote; 0 is a server alone.
pub fn resolve(given: &Given, voters: usize) -> Result<Throttles, ConfigError> {
    let above_zero = |key| Ok::<_, ConfigError>(usize::try_from(given.int(key)?).ok().filter(|&n| n > 0));
    let outstanding = match given.get("globalOutstandingLimit") {
        Some(_) => of_one_server(above_zero("globalOutstandingLimit")?.unwrap_or(0), voters),
        None => usize::MAX,
    };
    let requests = Flow {
        outstanding,
        requests: above_zero("request_throttle_max_requests")?.unwrap_or(usize::MAX),
        wait_ms: above_zero("throttled_op_wait_time")?.map(|ms| ms as u64),
        drops_stale: given.bool("request_throttle_drop_stale")? && given.bool("request_stale_latency_check")?,
        large_above: usize::try_from(given.int("largeRequestThreshold")?).unwrap_or(usize::MAX),
        large_bytes: usize::try_from(given.int("largeRequestMaxBytes")?).unwrap_or(0),
    };
    Ok(Throttles { requests, sessions: sessions(given)? })
}

/// One server's part of a limit on all, as ZooKeeper divides it: a leader has requests from each of the others.
fn of_one_server(limit: usize, voters: usize) -> usize {
    (limit / if voters > 2 { voters - 1 } else { 1 }).max(1)
}

fn sessions(given: &Given) -> Result<Option<Rules>, ConfigError> {
    let number = |key| Ok::<_, ConfigError>(u32::try_from(given.int(key)?).ok());
    let weight = |key, default| Ok::<_, ConfigError>(number(key)?.filter(|&n| n > 0).unwrap_or(default));
    let local = weight("connection_throttle_local_session_weight", 1)?;
    let weights = Weights {
        global: weight("connection_throttle_global_session_weight", 3)?.max(local),
        local,
        renewed: weight("connection_throttle_renew_session_weight", 2)?.max(local),
    };
    let rules = Rules {
        tokens: number("connection_throttle_tokens")?.unwrap_or(0),
        fill_ms: number("connection_throttle_fill_time")?.unwrap_or(1),
        fill_count: number("connection_throttle_fill_count")?.unwrap_or(0),
        freeze_ms: number("connection_throttle_freeze_time")?,
        increase: part(given, "connection_throttle_drop_increase")?,
        decrease: part(given, "connection_throttle_drop_decrease")?,
        few: part(given, "connection_throttle_decrease_ratio")?,
        weights: given.bool("connection_throttle_weight_enabled")?.then_some(weights),
    };
    Ok((rules.tokens > 0).then_some(rules))
}

/// A part of one, in millionths.
fn part(given: &Given, key: &'static str) -> Result<u32, ConfigError> {
    let text = given.text(key)?;
    match (text.parse::<f64>(), given.get(key)) {
        (Ok(part), _) if (0.0..=1.0).contains(&part) => Ok((part * f64::from(CERTAIN)).round() as u32),
        (_, Some(item)) => Err(value_error(key, item, "a number from 0 to 1")),
        (_, None) => unreachable!("defaults are numbers"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::with;
    use super::*;

    /// Every key of this file, with a value that differs from its default.
    pub(in super::super) const KEYS: [(&str, &str); 18] = [
        ("globalOutstandingLimit", "1000"),
        ("request_throttle_max_requests", "500"),
        ("request_throttle_drop_stale", "false"),
        ("request_stale_latency_check", "true"),
        ("throttled_op_wait_time", "20"),
        ("largeRequestMaxBytes", "1000000"),
        ("largeRequestThreshold", "100000"),
        ("connection_throttle_tokens", "200"),
        ("connection_throttle_fill_time", "10"),
        ("connection_throttle_fill_count", "5"),
        ("connection_throttle_freeze_time", "100"),
        ("connection_throttle_drop_increase", "0.5"),
        ("connection_throttle_drop_decrease", "0.25"),
        ("connection_throttle_decrease_ratio", "0.1"),
        ("connection_throttle_weight_enabled", "true"),
        ("connection_throttle_global_session_weight", "9"),
        ("connection_throttle_local_session_weight", "4"),
        ("connection_throttle_renew_session_weight", "5"),
    ];

    fn throttles(lines: &str) -> Throttles {
        with(lines).unwrap().config.throttles
    }

    #[test]
    fn each_key_has_effect() {
        // With these the others mean something.
        let base = "connection_throttle_tokens=100\nconnection_throttle_weight_enabled=true\nrequest_stale_latency_check=true\n";
        for (key, value) in KEYS {
            let others: String = base.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
            assert_ne!(throttles(&format!("{others}{key}={value}\n")), throttles(&others), "{key}");
        }
    }

    #[test]
    fn without_a_key_there_is_no_limit() {
        let none = throttles("");
        assert_eq!(none, Throttles { requests: Flow { large_bytes: 104_857_600, ..Flow::default() }, sessions: None });
        assert_eq!(throttles("connection_throttle_fill_count=7\nconnection_throttle_tokens=-1"), none);
        assert_eq!(throttles("request_throttle_max_requests=0\nthrottled_op_wait_time=-5"), none);
    }

    #[test]
    fn values_as_zookeeper_reads_them() {
        let sessions = throttles(
            "connection_throttle_tokens=10\nconnection_throttle_drop_increase=0.02\nconnection_throttle_freeze_time=50",
        );
        let rules = sessions.sessions.unwrap();
        assert_eq!((rules.tokens, rules.increase, rules.decrease, rules.few, rules.freeze_ms), (10, 20_000, 2000, 0, Some(50)));
        let heavy = "connection_throttle_tokens=1\nconnection_throttle_weight_enabled=true\nconnection_throttle_local_session_weight=7\nconnection_throttle_renew_session_weight=-1";
        let weights = throttles(heavy).sessions.unwrap().weights;
        assert_eq!(weights, Some(Weights { global: 7, local: 7, renewed: 7 }));
        for bad in ["1.5", "-0.1", "NaN", "much"] {
            let error = with(&format!("connection_throttle_drop_increase={bad}")).unwrap_err().to_string();
            assert!(
                error.starts_with("zoo.cfg:3: connection_throttle_drop_increase=") && error.contains("from 0 to 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_limit_on_requests_is_divided() {
        let limit = |lines: &str, shards| throttles(lines).share_of(shards);
        assert_eq!(limit("globalOutstandingLimit=1000", 1).outstanding, 1000);
        assert_eq!(limit("globalOutstandingLimit=1001", 4).outstanding, 251);
        assert_eq!(limit("globalOutstandingLimit=0", 4).outstanding, 1, "one is always let in");
        assert_eq!(limit("request_throttle_max_requests=2", 4).requests, 1);
        assert_eq!(limit("", 4).requests, usize::MAX);
        assert_eq!([0, 1, 2, 3, 5].map(|voters| of_one_server(1000, voters)), [1000, 1000, 1000, 500, 250]);
        assert_eq!(of_one_server(0, 5), 1);
    }
}
