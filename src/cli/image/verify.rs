//! Verify: whether images are whole.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::outcome::{Failed, Outcome};
use crate::cli::utc::utc;
use crate::show::progress::{Progress, bytes};

use super::source::{Inspected, images_at, inspect};

const AFTER: &str = "\
Reads each image as a server does: the checksum and the chain of every chunk, the structure of what is in it, that
every znode is where its parent is, and the digest of the whole tree. It takes little memory, however large they are.

Examples:
  ringkeeper image verify /srv/ringkeeper                     all images of a server, which may run
  ringkeeper image verify /backup/image.0000000100000002
  ringkeeper image verify DIR --json | jq '.images[] | select(.good) | .zxid'

Exit codes: 0 all are good, 1 at least one is damaged, 2 wrong usage or nothing to read.";

/// Check images, changing nothing.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Verify {
    /// An image, or a directory; then all of its images.
    place: PathBuf,

    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize, Default)]
struct Checked {
    file: String,
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zxid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    znodes: u64,
    sessions: u64,
    chunks: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Report {
    images: Vec<Checked>,
}

impl Checked {
    fn good(image: &Inspected) -> Self {
        Self {
            file: image.path.display().to_string(),
            good: true,
            problem: None,
            zxid: Some(image.header.zxid.to_string()),
            created: Some(utc(image.header.created.0)),
            digest: Some(format!("{:#018x}", image.totals.digest)),
            znodes: image.znodes,
            sessions: image.sessions.len() as u64,
            chunks: image.totals.chunks,
            bytes: image.len,
        }
    }

    fn text(&self) -> String {
        if let Some(problem) = &self.problem {
            return format!("damaged: {problem}\n");
        }
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        format!(
            "good: {}: zxid {}, written {}, {} znodes, {} sessions, {} chunks, {}, digest {}\n",
            self.file,
            of(&self.zxid),
            of(&self.created),
            self.znodes,
            self.sessions,
            self.chunks,
            bytes(self.bytes),
            of(&self.digest)
        )
    }
}

impl Verify {
    /// Checks.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let mut out = io::stdout().lock();
        let mut report = Report { images: Vec::new() };
        for path in images_at(&self.place)? {
            let checked = match inspect(&path, &mut Progress::new(false)) {
                Ok(image) => Checked::good(&image),
                Err(fault) => {
                    let problem = Some(fault.line(&path)?);
                    Checked { file: path.display().to_string(), problem, ..Checked::default() }
                }
            };
            if !self.json {
                out.write_all(checked.text().as_bytes())?;
            }
            report.images.push(checked);
        }
        if self.json {
            serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        Ok(if report.images.iter().all(|checked| checked.good) { Outcome::Fine } else { Outcome::Wrong })
    }
}
