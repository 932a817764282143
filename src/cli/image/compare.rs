//! Compare: what is different between two images.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::form::shown_path;
use crate::cli::outcome::{Failed, Outcome};
use crate::show::progress::Progress;
use crate::tree::view::SlotId;

use super::source::{load, newest_at, visit};
use super::znode::{Difference, differences};
use crate::engine::archivist::load::Loaded;

const AFTER: &str = "\
A line for each znode that is not in both as it is: - was removed, + was added, ~ was changed, with what changed; and
for each session. Znodes that were removed or changed come first, those that were added after them, each by name.

Examples:
  ringkeeper image compare A/image.0000000000000010 B/image.0000000000000020
  ringkeeper image compare /srv/one /srv/two                  the newest images of two servers
  ringkeeper image compare A B --json | jq '.added, .removed, .changed'

Both images are loaded whole, and take together as much memory as they take two servers.

Exit codes: 0 they hold the same, 1 they differ or one is damaged, 2 wrong usage or nothing to read.";

/// Tell what differs between two images.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Compare {
    /// An image, or a directory; then its newest one.
    before: PathBuf,

    /// Another.
    after: PathBuf,

    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Change<'a> {
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
}

#[derive(Serialize, Default)]
struct Counts {
    added: u64,
    removed: u64,
    changed: u64,
    equal: u64,
    sessions_added: u64,
    sessions_removed: u64,
    sessions_changed: u64,
}

impl Counts {
    const fn is_same(&self) -> bool {
        let znodes = self.added + self.removed + self.changed;
        znodes + self.sessions_added + self.sessions_removed + self.sessions_changed == 0
    }
}

/// Prints changes as they are found; of JSON, the members of a list in the one object.
struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    printed: bool,
}

impl Printer {
    fn print(&mut self, change: &Change<'_>) -> io::Result<()> {
        if self.json {
            self.out.write_all(if self.printed { b"," } else { b"" })?;
            self.printed = true;
            return Ok(serde_json::to_writer(&mut self.out, change)?);
        }
        let sign = match change.change {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let what = change.path.map_or_else(String::new, |path| shown_path(path).into_owned());
        let session = change.session.as_ref().map_or_else(String::new, |id| format!("session {id}"));
        let how: Vec<_> = change.differences.iter().map(Difference::text).collect();
        let gap = if how.is_empty() { "" } else { "  " };
        writeln!(self.out, "{sign} {what}{session}{gap}{}", how.join(", "))
    }
}

impl Compare {
    /// Compares.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let mut progress = Progress::new(false);
        let (a_path, b_path) = (newest_at(&self.before)?, newest_at(&self.after)?);
        let a = match load(&a_path, &mut progress) {
            Ok(image) => image,
            Err(fault) => return fault.tell(&a_path),
        };
        let b = match load(&b_path, &mut progress) {
            Ok(image) => image,
            Err(fault) => return fault.tell(&b_path),
        };
        drop(progress);
        let mut printer = Printer { out: BufWriter::new(io::stdout().lock()), json: self.json, printed: false };
        if self.json {
            printer.out.write_all(b"{\"changes\":[")?;
        }
        let counts = compare(&a, &b, |change| printer.print(change))?;
        let mut out = printer.out;
        if self.json {
            let counts = serde_json::to_string(&counts).map_err(io::Error::from)?;
            writeln!(out, "],{}", counts.trim_start_matches('{'))?;
        } else {
            let Counts { added, removed, changed, equal, .. } = counts;
            let (from, to) = (a.zxid, b.zxid);
            writeln!(out, "zxid {from} to {to}: {added} added, {removed} removed, {changed} changed, {equal} equal")?;
        }
        out.flush()?;
        Ok(if counts.is_same() { Outcome::Fine } else { Outcome::Wrong })
    }
}

fn compare(a: &Loaded, b: &Loaded, mut print: impl FnMut(&Change<'_>) -> io::Result<()>) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let (before, after) = (a.tree.view(), b.tree.view());
    for (id, timeout) in &a.sessions {
        let session = |change| Change { change, path: None, session: Some(id.to_string()), differences: Vec::new() };
        match b.sessions.get(id) {
            None => {
                counts.sessions_removed += 1;
                print(&session("removed"))?;
            }
            Some(other) if other != timeout => {
                counts.sessions_changed += 1;
                print(&session("changed"))?;
            }
            Some(_) => {}
        }
    }
    for id in b.sessions.keys().filter(|id| !a.sessions.contains_key(id)) {
        counts.sessions_added += 1;
        print(&Change { change: "added", path: None, session: Some(id.to_string()), differences: Vec::new() })?;
    }
    visit(before, SlotId::ROOT, |record, _| {
        let path = record.path();
        let Some(other) = after.get(path) else {
            counts.removed += 1;
            return print(&change_of("removed", path, Vec::new()));
        };
        let differences = differences(record, other);
        if differences.is_empty() {
            counts.equal += 1;
            return Ok(());
        }
        counts.changed += 1;
        print(&change_of("changed", path, differences))
    })?;
    visit(after, SlotId::ROOT, |record, _| {
        if before.get(record.path()).is_some() {
            return Ok(());
        }
        counts.added += 1;
        print(&change_of("added", record.path(), Vec::new()))
    })?;
    Ok(counts)
}

const fn change_of<'a>(change: &'static str, path: &'a str, differences: Vec<Difference>) -> Change<'a> {
    Change { change, path: Some(path), session: None, differences }
}
