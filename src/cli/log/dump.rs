//! Dump: every transaction of a log, a line each.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::form::DataForm;
use crate::cli::outcome::{Failed, Outcome};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::txn::{Txn, decode_blob};
use crate::show::progress::Progress;
use crate::storage::batch::BatchHeader;
use crate::storage::recovery::Record;
use crate::storage::segment::file_name;

use super::entry::Entry;
use super::source::Source;
use super::walk::{Ending, Halt, Place, Visitor, walk};
use crate::show::tell::tell;

const LONG: &str = "\
Prints every transaction that a server would recover: zxid, time, session, cxid, type, paths, length of the
data, version, and the digest of the tree after it. The members of a multi follow it, a line each, as multi.0,
multi.1 and so on. Paths with spaces or quotes are quoted.";

const AFTER: &str = "\
Examples:
  ringkeeper log dump /srv/ringkeeper                          everything
  ringkeeper log dump DIR --path /config --data utf8           who changed /config or what is below it, and to what
  ringkeeper log dump DIR --from 0x100 --to 0x1ff --batches    with the batches as they were written
  ringkeeper log dump DIR --session 0x100000000000001 --json | jq -r .type | sort | uniq -c

With --json each line is an object: zxid, time, session, cxid, type, and what the type has of path, paths,
data_length (-1 is null), data, version, ephemeral, acl, parent_cversion, timeout_ms, error (a code), members, and
digest; with --batches also objects that hold a batch alone.

Exit codes: 0 all was read, 1 the log is damaged (what is before the damage was printed), 2 wrong usage or
nothing to read.";

/// Print the transactions of a log.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Dump {
    /// A server's data directory, or the directory of the segments.
    dir: PathBuf,

    /// Begin with this transaction (0x... is hexadecimal).
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    from: Option<Zxid>,

    /// End with this transaction.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    to: Option<Zxid>,

    /// Only what touches this znode or one below it.
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,

    /// Only what this session did.
    #[arg(long, value_name = "ID", value_parser = session)]
    session: Option<SessionId>,

    /// Show the data of znodes too.
    #[arg(long, value_name = "FORM")]
    data: Option<DataForm>,

    /// Show the batches in which the transactions were written.
    #[arg(long)]
    batches: bool,

    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a number, or 0x and hexadecimal digits".to_owned())
}

fn zxid(text: &str) -> Result<Zxid, String> {
    number(text).map(Zxid)
}

fn session(text: &str) -> Result<SessionId, String> {
    number(text).map(|id| SessionId(id.cast_signed()))
}

impl Dump {
    /// Prints.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let source = Source::open(&self.dir)?;
        if let Some(notice) = source.notice() {
            tell(&notice);
        }
        let mut printer = Printer {
            asked: self,
            out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            line: String::new(),
            batch: None,
            unread: 0,
        };
        let ending = walk(&source, &mut printer, &mut Progress::new(true))?;
        printer.out.flush()?;
        if printer.unread > 0 {
            tell(&format!("{} records are no transactions", printer.unread));
        }
        let mut outcome = if printer.unread == 0 { Outcome::Fine } else { Outcome::Wrong };
        match ending {
            Ending::Enough => {}
            Ending::Plan(plan) => plan.warnings.iter().for_each(|line| tell(line)),
            Ending::Refused(refused) => {
                tell(&refused.line);
                outcome = Outcome::Wrong;
            }
        }
        Ok(outcome)
    }

    /// Whether transactions are picked by more than their zxid.
    const fn picks(&self) -> bool {
        self.path.is_some() || self.session.is_some()
    }

    fn touches(&self, txn: &Txn<'_>) -> bool {
        let Some(prefix) = self.path.as_deref() else { return true };
        let at = |path: &str| is_at_or_below(path, prefix);
        match txn {
            Txn::Create { path, .. }
            | Txn::CreateLasting { path, .. }
            | Txn::Delete { path, .. }
            | Txn::SetData { path, .. }
            | Txn::SetAcl { path, .. }
            | Txn::Check { path, .. } => at(path),
            Txn::CloseSession { paths, .. } => paths.iter().any(|path| at(path)),
            Txn::Multi(members) => members.iter().any(|(_, member)| self.touches(member)),
            Txn::CreateSession { .. } | Txn::Error { .. } => false,
        }
    }
}

/// Whether `path` is the znode `prefix` or lies below it.
#[must_use]
pub fn is_at_or_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Serialize)]
struct BatchLine {
    segment: String,
    offset: u64,
    sequence: u64,
    records: u32,
    payload: u32,
    bytes: u64,
    first: String,
    last: String,
    durable: String,
    committed: String,
}

#[derive(Serialize)]
struct BatchObject<'a> {
    batch: &'a BatchLine,
}

#[derive(Serialize)]
struct Unread {
    zxid: String,
    unreadable: String,
}

struct Printer<'a> {
    asked: &'a Dump,
    out: BufWriter<StdoutLock<'static>>,
    line: String,
    /// The batch whose records come, until it is printed.
    batch: Option<BatchLine>,
    unread: u64,
}

impl Printer<'_> {
    fn print_batch(&mut self) -> io::Result<()> {
        let Some(b) = self.batch.take() else { return Ok(()) };
        if self.asked.json {
            return self.object(&BatchObject { batch: &b });
        }
        let kind = if b.records == 0 { "mark" } else { "batch" };
        let BatchLine { segment, offset, sequence, records, payload, bytes, first, last, durable, committed } = b;
        writeln!(
            self.out,
            "# {kind} {sequence} {segment} offset={offset} records={records} payload={payload} bytes={bytes} first={first} last={last} \
             durable={durable} committed={committed}"
        )
    }

    fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        self.out.write_all(b"\n")
    }
}

impl Visitor for Printer<'_> {
    fn batch(&mut self, place: Place, header: &BatchHeader) -> Result<(), Halt> {
        if self.asked.to.is_some_and(|to| header.first > to) {
            return Err(Halt::Enough);
        }
        if !self.asked.batches || self.asked.from.is_some_and(|from| header.last < from) {
            self.batch = None;
            return Ok(());
        }
        self.batch = Some(BatchLine {
            segment: file_name(place.segment),
            offset: place.offset,
            sequence: header.sequence,
            records: header.count,
            payload: header.payload_len,
            bytes: header.framed_len(),
            first: header.first.to_string(),
            last: header.last.to_string(),
            durable: header.durable.to_string(),
            committed: header.committed.to_string(),
        });
        // Where transactions are picked, a batch is shown if one of its own is.
        if !self.asked.picks() {
            self.print_batch()?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Halt> {
        let asked = self.asked;
        if asked.from.is_some_and(|from| record.last < from) {
            return Ok(());
        }
        let (header, txn, digest) = match decode_blob(record.bytes) {
            Ok(found) => found,
            Err(error) => {
                self.unread += 1;
                let place = format!("{} offset {} record {}", file_name(record.segment), record.offset, record.index);
                let zxid = format!("{}..{}", record.first, record.last);
                if asked.json {
                    self.object(&Unread { zxid, unreadable: format!("{place}: {error}") })?;
                } else {
                    writeln!(self.out, "{zxid} unreadable: {place}: {error}")?;
                }
                return Ok(());
            }
        };
        if asked.to.is_some_and(|to| header.zxid > to) {
            return Err(Halt::Enough);
        }
        let wanted = asked.from.is_none_or(|from| header.zxid >= from)
            && asked.session.is_none_or(|session| header.session == session)
            && asked.touches(&txn);
        if !wanted {
            return Ok(());
        }
        self.print_batch()?;
        let entry = Entry::new(&header, &txn, digest, asked.data);
        if asked.json {
            self.object(&entry)?;
        } else {
            self.line.clear();
            entry.text(&mut self.line);
            self.out.write_all(self.line.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_znodes() {
        for (path, prefix, is) in [
            ("/a", "/a", true),
            ("/a/b", "/a", true),
            ("/a/b", "/a/", true),
            ("/ab", "/a", false),
            ("/", "/", true),
            ("/x", "/", true),
            ("/", "/a", false),
        ] {
            assert_eq!(is_at_or_below(path, prefix), is, "{path} {prefix}");
        }
    }

    #[test]
    fn ids_are_numbers_in_two_ways() {
        assert_eq!(zxid("0x1f"), Ok(Zxid(31)));
        assert_eq!(zxid("31"), Ok(Zxid(31)));
        assert_eq!(session("0xff00000000000001"), Ok(SessionId(-0x00ff_ffff_ffff_ffff)));
        for wrong in ["", "0x", "1f", "-1"] {
            assert!(zxid(wrong).is_err(), "{wrong}");
        }
    }
}
