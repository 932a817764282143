//! Stats: what a log is made of.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::form::shown_path;
use crate::cli::outcome::{Failed, Outcome};
use crate::cli::utc::utc;
use crate::ground::ids::SessionId;
use crate::show::progress::{Progress, bytes};

use super::counter::{Counter, Tally};
use super::entry::{error_name, name};
use super::source::Source;
use super::walk::{Ending, walk};
use crate::show::tell::tell;

const LONG: &str = "\
Counts what is in a log: transactions by type, bytes, records in a batch, the rate over time, sessions, the
largest transactions, and the znodes and sessions that were written most. Memory does not grow with the log:
of very many different znodes the frequent ones are found, and it is said by how much a count may be too small.";

const AFTER: &str = "\
Examples:
  ringkeeper log stats /srv/ringkeeper
  ringkeeper log stats DIR --top 50
  ringkeeper log stats DIR --json | jq '.hottest[] | select(.writes > 1000)'

Exit codes: 0 all was read, 1 the log is damaged (what is before the damage was counted), 2 wrong usage or
nothing to read.";

/// Count what is in a log.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Stats {
    /// A server's data directory, or the directory of the segments.
    dir: PathBuf,

    /// How many of the largest and the hottest are told.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    top: u16,

    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Spread {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
    mean: f64,
}

impl Spread {
    fn of(h: &Histogram<u64>) -> Self {
        let at = |quantile| h.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: h.max(), mean: (h.mean() * 10.0).round() / 10.0 }
    }
}

#[derive(Serialize)]
struct Stretch {
    from: String,
    transactions: u64,
}

#[derive(Serialize)]
struct Largest {
    zxid: String,
    #[serde(rename = "type")]
    kind: String,
    bytes: u64,
    path: Option<String>,
}

#[derive(Serialize)]
struct Hottest {
    path: String,
    writes: u64,
}

#[derive(Serialize)]
struct Busiest {
    session: String,
    transactions: u64,
}

#[derive(Serialize)]
struct Report {
    directory: String,
    transactions: u64,
    unreadable: u64,
    first: Option<String>,
    last: String,
    from: Option<String>,
    to: Option<String>,
    types: BTreeMap<String, Tally>,
    multi_members: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    file_bytes: u64,
    written_bytes: u64,
    payload_bytes: u64,
    batches: u64,
    marks: u64,
    records_per_batch: Spread,
    bytes_per_batch: Spread,
    bytes_per_transaction: Spread,
    peak_second: String,
    peak_transactions: u64,
    stretch_ms: i64,
    rate: Vec<Stretch>,
    sessions_created: u64,
    sessions_closed: u64,
    busiest_sessions: Vec<Busiest>,
    busiest_sessions_missed: u64,
    largest: Vec<Largest>,
    hottest: Vec<Hottest>,
    hottest_missed: u64,
    problem: Option<String>,
}

impl Stats {
    /// Counts.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let source = Source::open(&self.dir)?;
        if let Some(notice) = source.notice() {
            tell(&notice);
        }
        let mut counter = Counter::new(usize::from(self.top));
        let ending = walk(&source, &mut counter, &mut Progress::new(false))?;
        let report = report(&source, counter, &ending);
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        } else {
            let mut text = String::new();
            report.write(&mut text).expect("a string takes all");
            out.write_all(text.as_bytes())?;
        }
        if let Some(problem) = &report.problem {
            tell(problem);
        }
        Ok(if report.problem.is_some() || report.unreadable > 0 { Outcome::Wrong } else { Outcome::Fine })
    }
}

fn report(source: &Source, counter: Counter, ending: &Ending) -> Report {
    let of_kind = |kind| counter.kinds.get(&kind).map_or(0, |tally| tally.count);
    let span = counter.rate.span();
    let stretches = counter.rate.stretches().map(|(from, transactions)| Stretch { from: utc(from), transactions });
    let largest = counter.large.into_sorted_vec().into_iter().map(|Reverse(large)| Largest {
        zxid: large.zxid.0.to_string(),
        kind: name(large.kind).into_owned(),
        bytes: large.bytes,
        path: large.path,
    });
    let sessions = counter.sessions.top(counter.top).into_iter();
    Report {
        directory: source.dir().display().to_string(),
        transactions: counter.sizes.len(),
        unreadable: counter.unread,
        first: counter.first.map(|zxid| zxid.to_string()),
        last: counter.last.to_string(),
        from: span.map(|(from, _)| utc(from)),
        to: span.map(|(_, to)| utc(to)),
        sessions_created: of_kind(crate::proto::opcode::CREATE_SESSION),
        sessions_closed: of_kind(crate::proto::opcode::CLOSE_SESSION),
        types: counter.kinds.iter().map(|(kind, tally)| (name(*kind).into_owned(), tally.clone())).collect(),
        multi_members: counter.members.iter().map(|(kind, count)| (name(*kind).into_owned(), *count)).collect(),
        errors: counter.errors.iter().map(|(err, count)| (error_name(*err), *count)).collect(),
        file_bytes: source.bytes(),
        written_bytes: counter.framed,
        payload_bytes: counter.payload,
        batches: counter.records.len(),
        marks: counter.marks,
        records_per_batch: Spread::of(&counter.records),
        bytes_per_batch: Spread::of(&counter.batch_bytes),
        bytes_per_transaction: Spread::of(&counter.sizes),
        peak_second: utc(counter.rate.peak().1),
        peak_transactions: counter.rate.peak().0,
        stretch_ms: counter.rate.width(),
        rate: stretches.collect(),
        busiest_sessions: sessions
            .map(|(id, transactions)| Busiest { session: SessionId(id).to_string(), transactions })
            .collect(),
        busiest_sessions_missed: counter.sessions.missed(),
        largest: largest.collect(),
        hottest: counter.paths.top(counter.top).into_iter().map(|(path, writes)| Hottest { path: path.into(), writes }).collect(),
        hottest_missed: counter.paths.missed(),
        problem: match ending {
            Ending::Refused(refused) => Some(refused.line.clone()),
            Ending::Plan(_) | Ending::Enough => None,
        },
    }
}

impl Report {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let zxids = self.first.as_ref().map_or_else(String::new, |first| format!(", zxid {first}..{}", self.last));
        writeln!(out, "{}: {} transactions{zxids}", self.directory, self.transactions)?;
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            writeln!(out, "from {from} to {to}, at most {} in one second ({})", self.peak_transactions, self.peak_second)?;
        }
        if self.unreadable > 0 {
            writeln!(out, "{} records are no transactions", self.unreadable)?;
        }
        writeln!(out, "\n{:<18}{:>12}  {:>12}", "type", "count", "bytes")?;
        for (kind, tally) in &self.types {
            writeln!(out, "{kind:<18}{:>12}  {:>12}", tally.count, tally.bytes)?;
        }
        for (kind, count) in &self.multi_members {
            writeln!(out, "{:<18}{count:>12}", format!("in multi: {kind}"))?;
        }
        for (error, count) in &self.errors {
            writeln!(out, "{error:<18}{count:>12}")?;
        }
        let (files, written, payload) = (bytes(self.file_bytes), bytes(self.written_bytes), bytes(self.payload_bytes));
        writeln!(out, "\nfiles {files}, written {written} of that, records {payload} of that")?;
        writeln!(out, "{} batches and {} marks", self.batches, self.marks)?;
        writeln!(out, "\n{:<18}{:>10}{:>10}{:>10}{:>10}{:>12}", "", "p50", "p90", "p99", "max", "mean")?;
        for (name, s) in [
            ("records a batch", &self.records_per_batch),
            ("bytes a batch", &self.bytes_per_batch),
            ("bytes a txn", &self.bytes_per_transaction),
        ] {
            writeln!(out, "{name:<18}{:>10}{:>10}{:>10}{:>10}{:>12.1}", s.p50, s.p90, s.p99, s.max, s.mean)?;
        }
        writeln!(out, "\ntransactions in each {} s", self.stretch_ms / 1000)?;
        let most = self.rate.iter().map(|stretch| stretch.transactions).max().unwrap_or(0).max(1);
        for Stretch { from, transactions } in &self.rate {
            let bar = "#".repeat(usize::try_from(transactions.saturating_mul(40) / most).unwrap_or(40));
            writeln!(out, "{}", format!("{from}  {transactions:>10}  {bar}").trim_end())?;
        }
        writeln!(out, "\nsessions: {} opened, {} closed", self.sessions_created, self.sessions_closed)?;
        writeln!(out, "\nbusiest sessions, transactions{}", missed(self.busiest_sessions_missed))?;
        for Busiest { session, transactions } in &self.busiest_sessions {
            writeln!(out, "{transactions:>12}  {session}")?;
        }
        writeln!(out, "\nhottest znodes, writes{}", missed(self.hottest_missed))?;
        for Hottest { path, writes } in &self.hottest {
            writeln!(out, "{writes:>12}  {}", shown_path(path))?;
        }
        writeln!(out, "\nlargest transactions, bytes")?;
        for Largest { zxid, kind, bytes, path } in &self.largest {
            let path = path.as_deref().map(shown_path).unwrap_or_default();
            writeln!(out, "{}", format!("{bytes:>12}  {zxid} {kind} {path}").trim_end())?;
        }
        Ok(())
    }
}

fn missed(by: u64) -> String {
    if by == 0 { String::new() } else { format!(" (each may be up to {by} more)") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::sample::write_log;
    use crate::ground::ids::Zxid;
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader};

    fn blob(zxid: u64, kind: i32, txn: &Txn<'_>) -> Vec<u8> {
        let mut blob = Vec::new();
        TxnHeader { session: SessionId(5), cxid: 0, zxid: Zxid(zxid), time: 1000 * zxid.cast_signed(), kind }.encode(&mut blob);
        txn.encode(&mut blob);
        blob
    }

    fn set(path: &'static str, data: &'static [u8]) -> Txn<'static> {
        Txn::SetData { path: path.into(), data: Some(data), version: 1 }
    }

    #[test]
    fn counts_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let failed = Txn::Multi(vec![(opcode::SET_DATA, set("/b", b"")), (opcode::ERROR, Txn::Error { err: -103 })]);
        let done = Txn::Multi(vec![(opcode::SET_DATA, set("/a", b"")), (opcode::DELETE, Txn::Delete { path: "/c".into() })]);
        let large = blob(1, opcode::SET_DATA, &set("/a", &[7; 500]));
        let size = large.len() as u64;
        let batches = [
            vec![large, blob(2, opcode::MULTI, &failed), blob(3, opcode::MULTI, &done)],
            vec![blob(4, opcode::ERROR, &Txn::Error { err: -101 })],
        ];
        write_log(dir.path(), &batches);
        let source = Source::open(dir.path()).unwrap();
        let mut counter = Counter::new(2);
        let ending = walk(&source, &mut counter, &mut Progress::new(false)).unwrap();
        let report = report(&source, counter, &ending);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["transactions"], 4);
        assert_eq!(json["types"]["multi"]["count"], 2);
        assert_eq!(json["types"]["setData"]["bytes"], size);
        assert_eq!(json["multi_members"]["setData"], 2);
        assert_eq!(json["errors"]["NoNode(-101)"], 1);
        assert_eq!((&json["batches"], &json["marks"], &json["records_per_batch"]["max"]), (&2.into(), &1.into(), &3.into()));
        assert_eq!(json["hottest"], serde_json::json!([{"path": "/a", "writes": 2}, {"path": "/c", "writes": 1}]));
        assert_eq!((&json["largest"][0]["bytes"], &json["largest"][0]["zxid"]), (&size.into(), &"0x1".into()));
        assert_eq!((json["largest"].as_array().unwrap().len(), json["rate"].as_array().unwrap().len()), (2, 4));
        assert_eq!(json["busiest_sessions"][0], serde_json::json!({"session": "0x5", "transactions": 4}));
        let mut text = String::new();
        report.write(&mut text).unwrap();
        assert!(text.contains("4 transactions, zxid 0x1..0x4\n") && text.contains("           2  /a\n"), "{text}");
    }
}
