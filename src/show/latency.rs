//! Latency: a histogram of microseconds, 1 us to 60 s in 3 digits, that survives files and merging without loss.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::Error as _;

use super::figure::LONGEST_US;

/// The quantiles that every table shows, with their names.
pub const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Latencies of one kind of operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 us to 60 s in 3 digits is a valid range"))
    }
}

impl Latency {
    /// Counts one; up to the next microsecond, so that it is never better than it was.
    #[inline]
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns.div_ceil(1000).max(1));
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same range");
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds within which the part `q` (0 to 1) of all lies; 0 where nothing was counted.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> u64 {
        self.0.value_at_quantile(q)
    }

    /// The longest, us.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// The mean, us.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        self.0.mean()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The histogram itself, for logs and curves.
    #[must_use]
    pub const fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// As base64 of HdrHistogram's own compressed form, which any of its tools reads.
impl serde::Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(|error| S::Error::custom(format!("{error:?}")))?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> serde::Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(|error| D::Error::custom(format!("not base64: {error}")))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("not a histogram: {error:?}")))?;
        let mut latency = Self::default();
        latency.0.add(&read).map_err(|error| D::Error::custom(format!("a histogram of another range: {error:?}")))?;
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_merging_loses_nothing() {
        let (mut a, mut b, mut both) = (Latency::default(), Latency::default(), Latency::default());
        for n in 1..5000u64 {
            let half = if n % 2 == 0 { &mut a } else { &mut b };
            half.record_ns(n * n * 7);
            both.record_ns(n * n * 7);
        }
        let text = serde_json::to_string(&a).unwrap();
        let mut read: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(read, a);
        read.add(&b);
        assert_eq!(read, both);
    }

    #[test]
    fn nothing_is_told_shorter_than_it_was() {
        let mut latency = Latency::default();
        for ns in [0, 1, 1001, 70_000_000_000] {
            latency.record_ns(ns);
        }
        assert_eq!((latency.quantile_us(0.25), latency.quantile_us(0.75)), (1, 2));
        assert!(latency.max_us() >= LONGEST_US, "what is longer than the range counts as its end");
    }

    #[test]
    fn what_is_no_histogram_is_an_error() {
        for text in ["\"\"", "\"!\"", "\"AAAA\"", "7"] {
            assert!(serde_json::from_str::<Latency>(text).is_err(), "{text}");
        }
    }
}
