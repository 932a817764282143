//! Verify: whether a server would go on with a log, and what it would do to it first.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::outcome::{Failed, Outcome};
use crate::ground::ids::Zxid;
use crate::proto::txn::decode_blob;
use crate::show::progress::{Progress, bytes};
use crate::storage::batch::BatchHeader;
use crate::storage::recovery::{Plan, Record, Start};
use crate::storage::segment::file_name;

use super::source::Source;
use super::walk::{Ending, Halt, Place, Refused, Visitor, walk};
use crate::show::tell::tell;

const LONG: &str = "\
Reads a log as a server does at its start, changes nothing, and says one of three things:

  clean      a server goes on with it as it is
  torn tail  a crash cut its end: a server erases what is listed, none of which it had acknowledged, and goes on
  damaged    transactions that were durable cannot be read: no server would start from it

What follows is the file, the offset, the zxids and the next step, and what the log holds.";

const AFTER: &str = "\
Examples:
  ringkeeper log verify /srv/ringkeeper                   of a server that is stopped
  ringkeeper log verify /srv/ringkeeper --json | jq .last
  ringkeeper log verify /backup/log || echo 'do not rely on it'

A directory in which a server works can be read as well; its end is then where the log ended at the time.
Should such a log be found damaged, ask again: only what repeats is damage.

Exit codes: 0 clean or a torn tail, 1 damaged, 2 wrong usage or nothing to read.";

/// Check a log, changing nothing.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Verify {
    /// A server's data directory, or the directory of the segments.
    dir: PathBuf,

    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
enum State {
    Clean,
    Torn,
    Damaged,
}

#[derive(Serialize, Debug)]
struct Erased {
    file: String,
    offset: u64,
    bytes: u64,
}

/// What is said with `--json`, and what the lines are made of.
#[derive(Serialize, Debug)]
struct Report {
    directory: String,
    in_use: bool,
    state: State,
    segments: usize,
    spares: usize,
    bytes: u64,
    batches: u64,
    marks: u64,
    transactions: u64,
    /// The zxid behind which the log goes on, where it does not begin with the first transaction of all.
    behind: Option<String>,
    first: Option<String>,
    last: String,
    durable: String,
    committed: String,
    /// Segment and offset at which a server would append.
    end: Option<(String, u64)>,
    erase: Vec<Erased>,
    recreate: Vec<String>,
    remove: Vec<String>,
    warnings: Vec<String>,
    /// Of a damaged log.
    problem: Option<String>,
    damaged_at: Option<(String, u64)>,
    damaged_zxids: Option<(String, String)>,
}

/// Counts, and takes the records that no server could read as damage.
#[derive(Default)]
struct Counter {
    batches: u64,
    marks: u64,
    transactions: u64,
    first: Option<Zxid>,
    last: Zxid,
    durable: Zxid,
    committed: Zxid,
}

impl Visitor for Counter {
    fn batch(&mut self, _: Place, header: &BatchHeader) -> Result<(), Halt> {
        self.batches += u64::from(header.count > 0);
        self.marks += u64::from(header.count == 0);
        self.durable = self.durable.max(header.durable);
        self.committed = self.committed.max(header.committed);
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Halt> {
        let (header, ..) =
            decode_blob(record.bytes).map_err(|error| Halt::Unusable(format!("a transaction cannot be read: {error}")))?;
        if header.zxid <= self.last {
            return Err(Halt::Unusable(format!("transaction {} follows {}", header.zxid, self.last)));
        }
        if header.zxid < record.first || header.zxid > record.last {
            return Err(Halt::Unusable(format!("transaction {} is not of this batch", header.zxid)));
        }
        self.transactions += 1;
        self.first.get_or_insert(header.zxid);
        self.last = header.zxid;
        Ok(())
    }
}

impl Verify {
    /// Checks.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let source = Source::open(&self.dir)?;
        if let Some(notice) = source.notice() {
            tell(&notice);
        }
        let mut counter = Counter::default();
        let ending = walk(&source, &mut counter, &mut Progress::new(false))?;
        let report = Report::new(&source, &counter, &ending)?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        } else {
            out.write_all(report.text().as_bytes())?;
        }
        Ok(if report.state == State::Damaged { Outcome::Wrong } else { Outcome::Fine })
    }
}

impl Report {
    fn new(source: &Source, counter: &Counter, ending: &Ending) -> Result<Self, Failed> {
        let behind = source.behind()?;
        let report = Self {
            directory: source.dir().display().to_string(),
            in_use: source.notice().is_some(),
            state: State::Clean,
            segments: source.segments().len(),
            spares: 0,
            bytes: source.bytes(),
            batches: counter.batches,
            marks: counter.marks,
            transactions: counter.transactions,
            behind: (behind > Zxid::ZERO).then(|| behind.to_string()),
            first: counter.first.map(|zxid| zxid.to_string()),
            last: counter.last.to_string(),
            durable: counter.durable.to_string(),
            committed: counter.committed.min(counter.last).to_string(),
            end: None,
            erase: Vec::new(),
            recreate: Vec::new(),
            remove: Vec::new(),
            warnings: Vec::new(),
            problem: None,
            damaged_at: None,
            damaged_zxids: None,
        };
        let mut report = match ending {
            Ending::Plan(plan) => report.planned(plan),
            Ending::Refused(refused) => report.refused(refused),
            Ending::Enough => report,
        };
        report.warnings.extend(source.lacks_image(behind));
        Ok(report)
    }

    fn planned(self, plan: &Plan) -> Self {
        let names = |numbers: &[u64]| numbers.iter().map(|number| file_name(*number)).collect();
        let erase = |range: &crate::storage::recovery::EraseRange| Erased {
            file: file_name(range.segment),
            offset: range.offset,
            bytes: range.len,
        };
        let touched = plan.erase.len() + plan.recreate.len() + plan.remove.len();
        Self {
            // Where a server works, what is behind the good prefix is what it is writing.
            state: if touched == 0 || self.in_use { State::Clean } else { State::Torn },
            spares: plan.spares.len(),
            end: match plan.start {
                Start::Continue(at) => Some((file_name(at.segment.number), at.offset)),
                Start::New { .. } => None,
            },
            erase: plan.erase.iter().map(erase).collect(),
            recreate: names(&plan.recreate),
            remove: names(&plan.remove),
            warnings: plan.warnings.clone(),
            ..self
        }
    }

    fn refused(self, refused: &Refused) -> Self {
        let again = if self.in_use { "; a server works here: ask again, only what repeats is damage" } else { "" };
        Self {
            state: State::Damaged,
            last: refused.good.to_string(),
            problem: Some(format!("{}{again}", refused.line)),
            damaged_at: refused.place.map(|(segment, offset)| (file_name(segment), offset)),
            damaged_zxids: refused.lost.map(|(first, last)| (first.to_string(), last.to_string())),
            ..self
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes all");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let dir = &self.directory;
        match self.state {
            State::Clean => writeln!(out, "clean: {dir}")?,
            State::Torn => writeln!(out, "torn tail: {dir}: a server erases it at its next start and goes on")?,
            State::Damaged => writeln!(out, "damaged: {dir}: {}", self.problem.as_deref().unwrap_or_default())?,
        }
        for warning in &self.warnings {
            writeln!(out, "  note          {warning}")?;
        }
        for Erased { file, offset, bytes } in self.erase.iter().filter(|_| self.state == State::Torn) {
            writeln!(out, "  would erase   {file} from offset {offset}, {bytes} bytes")?;
        }
        for file in &self.recreate {
            writeln!(out, "  would remake  {file}")?;
        }
        for file in &self.remove {
            writeln!(out, "  would remove  {file}")?;
        }
        writeln!(out, "  segments      {}, {} of them spares, {}", self.segments, self.spares, bytes(self.bytes))?;
        writeln!(out, "  batches       {}, and {} marks", self.batches, self.marks)?;
        if let Some(behind) = &self.behind {
            writeln!(out, "  begins        behind zxid {behind}: what came before is in an image")?;
        }
        let range = self.first.as_ref().map_or_else(String::new, |first| format!(", zxid {first}..{}", self.last));
        writeln!(out, "  transactions  {}{range}", self.transactions)?;
        writeln!(out, "  known durable {}, known committed {}", self.durable, self.committed)?;
        if let Some((file, offset)) = &self.end {
            writeln!(out, "  ends in       {file} at offset {offset}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::log::sample::write_log;
    use crate::ground::ids::{ServerId, SessionId};
    use crate::ground::limits::BLOCK;
    use crate::ground::time::WallMillis;
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader};
    use crate::storage::appender::{Appender, Contents, Position};
    use crate::storage::batch::put_record;
    use crate::storage::segment::{SegmentHeader, SegmentStart};

    fn blob(zxid: u64) -> Vec<u8> {
        let mut blob = Vec::new();
        TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(zxid), time: 0, kind: opcode::ERROR }.encode(&mut blob);
        Txn::Error { err: -101 }.encode(&mut blob);
        blob
    }

    fn report(dir: &Path) -> Report {
        let source = Source::open(dir).unwrap();
        let mut counter = Counter::default();
        let ending = walk(&source, &mut counter, &mut Progress::new(false)).unwrap();
        Report::new(&source, &counter, &ending).unwrap()
    }

    #[test]
    fn a_log_whose_beginning_was_purged_is_clean() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::create_dir(&log).unwrap();
        let segment = SegmentStart { number: 4, salt: 9, size: 4 * BLOCK as u64 };
        let mut file = vec![0; 4 * BLOCK];
        let header = SegmentHeader { start: segment, server: ServerId(1), created: WallMillis(0), recycled: false };
        file[..BLOCK].copy_from_slice(&header.encode()[..]);
        let position = Position { sequence: 7, chain: 5, last: Zxid(40), ..Position::new_log(segment) };
        let (mut appender, mut payload) = (Appender::new(position, Zxid(40)), Vec::new());
        put_record(&mut payload, &blob(41));
        let contents = Contents { first: Zxid(41), last: Zxid(41), count: 1 };
        appender.frame_into(contents, &[&payload], Zxid(0), &mut file[BLOCK..2 * BLOCK]);
        std::fs::write(log.join("log.0000000000000004"), &file).unwrap();
        let clean = report(dir.path());
        assert_eq!((clean.state, clean.transactions, clean.behind.as_deref()), (State::Clean, 1, Some("0x28")));
        assert!(clean.warnings.is_empty(), "images may lie elsewhere");
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        std::fs::write(images.join("image.0000000000000027"), b"").unwrap();
        assert!(report(dir.path()).warnings[0].starts_with("it goes on behind zxid 0x28, and "));
        std::fs::write(images.join("image.0000000000000028"), b"").unwrap();
        assert!(report(dir.path()).warnings.is_empty());
    }

    #[test]
    fn records_that_no_server_reads_are_damage() {
        let good = |zxid| vec![blob(zxid)];
        for (third, what) in [
            (vec![vec![1, 2, 3]], "a transaction cannot be read: record ends early"),
            (good(2), "transaction 0x2 follows 0x2"),
            (good(9), "transaction 0x9 is not of this batch"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            write_log(dir.path(), &[good(1), good(2), third]);
            let report = report(dir.path());
            let problem = report.problem.as_deref().unwrap();
            let begin = "log.0000000000000001 record 0 of the batch at offset 12288 (zxid 0x3..0x3): ";
            assert!(problem.starts_with(&format!("{begin}{what}; keep the files, ")), "{problem}");
            assert_eq!((report.state, report.transactions, &*report.last), (State::Damaged, 2, "0x2"));
            assert_eq!(report.damaged_at, Some(("log.0000000000000001".to_owned(), 3 * BLOCK as u64)));
        }
    }

    #[test]
    fn a_clean_log_says_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        write_log(dir.path(), &[vec![blob(1), blob(2)], vec![blob(3)]]);
        let text = report(dir.path()).text();
        let want = format!(
            "clean: {}\n  segments      1, 0 of them spares, 24.0 KiB\n  batches       2, and 1 marks\n  \
             transactions  3, zxid 0x1..0x3\n  known durable 0x3, known committed 0x3\n  \
             ends in       log.0000000000000001 at offset 16384\n",
            dir.path().display()
        );
        assert_eq!(text, want);
    }
}
