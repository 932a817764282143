//! Hlog: the seconds of a run as a HdrHistogram interval log, which the standard HdrHistogram tools read.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::bench::record::Record;

/// What the C reader insists on between the headers and the intervals; the others skip it.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// The log of one run, an interval a second, each with `label` as its tag. Values are microseconds, times of intervals count
/// from the beginning of the measurement, which is both the base time and the start time.
#[must_use]
pub fn log(record: &Record, label: &str) -> String {
    let began = UNIX_EPOCH + Duration::from_millis(record.began_unix_ms);
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[{}; values are microseconds]", plain(&record.target.label, ' ')))
        .with_start_time(began)
        .with_base_time(began)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("memory takes what is written");
    bytes.extend_from_slice(LEGEND.as_bytes());

    let label = plain(label, '_');
    let mut intervals =
        IntervalLogWriterBuilder::new().begin_log_with(&mut bytes, &mut serializer).expect("memory takes what is written");
    for (second, slice) in record.slices.iter().enumerate() {
        let rest = record.seconds - second as f64;
        // The last second of a run may be a part of one.
        let length = if rest > 0.0 && rest < 1.0 { Duration::from_secs_f64(rest) } else { Duration::from_secs(1) };
        let tag = Tag::new(&label).filter(|tag| !tag.is_empty());
        intervals
            .write_histogram(slice.latency.histogram(), Duration::from_secs(second as u64), length, tag)
            .expect("a histogram of this range has a compressed form");
    }
    String::from_utf8(bytes).expect("a log is text")
}

/// Without what may not stand in a tag, or would end a comment.
fn plain(text: &str, instead: char) -> String {
    text.chars().map(|c| if c == ',' || c.is_whitespace() || c.is_control() { instead } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::bench::show::sample;

    #[test]
    fn what_is_logged_is_read_back_second_by_second() {
        let mut record = sample::record("one, two\nthree", 1000.0);
        record.began_unix_ms = 1_795_305_600_250;
        record.seconds = record.slices.len() as f64 - 0.5;
        record.slices[1].latency.clear();
        let text = log(&record, "one, two\nthree");
        let (mut times, mut read) = (Vec::new(), Vec::new());
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            match entry.expect("a line of the log") {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => times.push(time),
                LogEntry::Interval(interval) => read.push(interval),
            }
        }
        assert_eq!(times, [Duration::from_millis(1_795_305_600_250); 2]);
        assert_eq!(read.len(), record.slices.len());
        for (second, (interval, slice)) in read.iter().zip(&record.slices).enumerate() {
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            assert_eq!(&histogram, slice.latency.histogram());
            assert_eq!(interval.tag().unwrap().as_str(), "one__two_three");
            assert_eq!(interval.start_timestamp(), Duration::from_secs(second as u64));
        }
        assert_eq!(read[0].duration(), Duration::from_secs(1));
        assert_eq!(read.last().unwrap().duration(), Duration::from_millis(500));
        assert!(read[1].max() == 0.0 && read[0].max() > 0.0);
    }

    #[test]
    fn headers_come_before_the_legend_and_intervals_after_it() {
        let text = log(&sample::record("a", 1000.0), "");
        let (head, intervals) = text.split_once(LEGEND).expect("a legend");
        assert!(head.starts_with("#[Histogram log format version 1.3]\n"), "{head}");
        assert!(head.lines().all(|line| line.starts_with('#')), "{head}");
        assert!(intervals.starts_with("0.000,1.000,"), "an empty label is no tag");
    }
}
