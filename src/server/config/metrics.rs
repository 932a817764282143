//! Metrics: where they are collected, by ZooKeeper's keys for its exporters.

use super::error::ConfigError;
use super::given::Given;
use super::place::Place;
use super::resolve::{Resolver, address, port_of};
use super::value::quoted;
use std::net::SocketAddr;

/// What ZooKeeper calls its exporter for Prometheus.
pub const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

/// What ZooKeeper calls having none.
const NONE: [&str; 2] =
    ["org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", "org.apache.zookeeper.metrics.impl.NullMetricsProvider"];

/// Resolves the keys: the address to listen on, if ZooKeeper's exporter is asked for.
pub fn resolve(given: &Given, resolver: Resolver<'_>) -> Result<Option<SocketAddr>, ConfigError> {
    const CLASS: &str = "metricsProvider.className";
    const HOST: &str = "metricsProvider.httpHost";
    let (provider, host) = (given.text(CLASS)?, given.text(HOST)?);
    let place = |key| given.get(key).map_or(Place::Command, |item| item.place.clone());
    if provider == PROMETHEUS {
        let ip = address(&host, HOST, &place(HOST), resolver)?;
        return Ok(Some(SocketAddr::new(ip, port_of(given.int("metricsProvider.httpPort")?))));
    }
    if NONE.contains(&provider.as_str()) {
        return Ok(None);
    }
    Err(ConfigError::Value {
        place: place(CLASS),
        key: CLASS.to_owned(),
        value: quoted(&provider),
        expected: format!("expected {PROMETHEUS}, or no such line: there are no others here"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::PROMETHEUS;

    #[test]
    fn metrics_are_where_they_are_asked_for() {
        let metrics = |lines: &str| with(lines).map(|loaded| loaded.config.metrics.map(|address| address.to_string()));
        assert_eq!(metrics(""), Ok(None));
        assert_eq!(metrics("metricsProvider.httpPort=9141"), Ok(None), "nobody asks for them");
        assert_eq!(metrics("metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider"), Ok(None));
        let asked = format!("metricsProvider.className={PROMETHEUS}");
        assert_eq!(metrics(&asked), Ok(Some("0.0.0.0:7000".to_owned())));
        let placed = format!("{asked}\nmetricsProvider.httpHost=::1\nmetricsProvider.httpPort=9141");
        assert_eq!(metrics(&placed), Ok(Some("[::1]:9141".to_owned())));
        let other = metrics("metricsProvider.className=com.example.Own").unwrap_err().to_string();
        assert!(other.starts_with("zoo.cfg:3: metricsProvider.className=") && other.contains(PROMETHEUS), "{other}");
    }
}
