//! Scrape: a server's page of metrics, fetched and read.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a page at most.
const PAGE_MAX: u64 = 4 << 20;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPage {
    /// Nobody answers there.
    #[error(
        "{0}: {1}; metrics are there if the server has metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    )]
    Unreachable(String, std::io::Error),
    /// Something else answers.
    #[error("{0} answers with no page of metrics: {1}")]
    Other(String, String),
}

/// Figures by name, with their labels as they are written.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Page(BTreeMap<String, f64>);

impl Page {
    /// Asks a server, `HOST:PORT`.
    pub(super) fn fetch(server: &str) -> Result<Self, NoPage> {
        let unreachable = |error| NoPage::Unreachable(server.to_owned(), error);
        let mut found = Err(std::io::Error::other("the name has no address"));
        for address in server.to_socket_addrs().map_err(unreachable)? {
            found = TcpStream::connect_timeout(&address, PATIENCE);
            if found.is_ok() {
                break;
            }
        }
        let mut stream = found.map_err(unreachable)?;
        let mut ask = || -> std::io::Result<String> {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
            let mut bytes = Vec::new();
            Read::by_ref(&mut stream).take(PAGE_MAX).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let answer = ask().map_err(unreachable)?;
        let other = |what: &str| NoPage::Other(server.to_owned(), what.chars().take(60).collect());
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Err(other(&answer)) };
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            return Err(other(status));
        }
        Ok(Self::parse(body))
    }

    /// Reads the text format of Prometheus, as far as it has figures.
    pub(super) fn parse(text: &str) -> Self {
        let figure = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(figure).collect())
    }

    /// A figure; 0 where it is not told.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// A label of a figure that has several.
    pub(super) fn label(&self, name: &str, label: &str) -> Option<&str> {
        let key = self.0.keys().find(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')))?;
        key.split_once(&format!("{label}=\""))?.1.split('"').next()
    }

    /// The buckets of a histogram with these labels: bounds, ascending, and counts up to each.
    pub(super) fn buckets(&self, name: &str, labels: &str) -> Vec<(f64, f64)> {
        let prefix = format!("{name}_bucket{{{labels},le=\"");
        let bucket = |(key, count): (&String, &f64)| {
            let bound = key.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, *count))
        };
        let mut buckets: Vec<_> = self.0.iter().filter_map(bucket).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_labels_and_buckets() {
        let page = Page::parse(
            "# TYPE a gauge\na 5\nb{x=\"1\",y=\"two words\"} 1\nc_bucket{s=\"q\",le=\"+Inf\"} 9\nc_bucket{s=\"q\",le=\"0.5\"} 7\n\
             c_bucket{s=\"q\",le=\"0.05\"} 3\nc_bucket{s=\"r\",le=\"0.05\"} 1\nno figure\n",
        );
        assert_eq!((page.get("a"), page.get("nothing")), (5.0, 0.0));
        assert_eq!((page.label("b", "y"), page.label("b", "z"), page.label("a", "x")), (Some("two words"), None, None));
        assert_eq!(page.buckets("c", "s=\"q\""), [(0.05, 3.0), (0.5, 7.0), (f64::INFINITY, 9.0)]);
    }
}
