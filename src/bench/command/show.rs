//! Show: `ringkeeper bench show`, tables and pictures of runs that were measured before.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::keep::Keep;
use super::run::pictures;
use super::{failed, print};
use crate::bench::record::Record;
use crate::bench::show::report::Report;
use crate::bench::show::table;

const LONG: &str = "\
Shows runs that were kept with --json: each as a table, and with --keep all of them on the same axes.";

/// Show runs that were measured before, side by side.
#[derive(Args, Debug)]
#[command(long_about = LONG)]
pub struct Show {
    /// Files that --json has written.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// A line that says what they show.
    #[arg(long, value_name = "WORDS")]
    title: Option<String>,

    #[command(flatten)]
    keep: Keep,
}

impl Show {
    /// Shows them.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.show() {
            Ok(()) => ExitCode::SUCCESS,
            Err(code) => code,
        }
    }

    fn show(self) -> Result<(), ExitCode> {
        let read = |file: &PathBuf| Record::read(file).map_err(|error| failed(&error.to_string()));
        let records = self.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let kept = self.keep.claim()?;
        for record in &records {
            print(&(table::text(record) + "\n"))?;
        }
        let records: Vec<&Record> = records.iter().collect();
        let title = self.title.unwrap_or_else(|| {
            let mut labels: Vec<&str> = records.iter().map(|record| record.target.label.as_str()).collect();
            labels.dedup();
            labels.join(" and ")
        });
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        let mut report = Report { pictures: pictures(&title, &records), title, command, records, ..Report::default() };
        for record in &report.records {
            report.facts.push((format!("command for {}", record.target.label), record.command.clone()));
        }
        kept.write(report)
    }
}
