//! Dump: every znode of an image, a line each.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::form::DataForm;
use crate::cli::outcome::{Failed, Outcome};
use crate::cli::utc::utc;
use crate::show::progress::Progress;

use super::source::{Fault, inspect, newest_at, stream};
use super::znode::Znode;
use crate::show::tell::tell;

const AFTER: &str = "\
Examples:
  ringkeeper image dump /srv/ringkeeper                        the newest image: each znode with its Stat and ACL
  ringkeeper image dump DIR --path /config --data utf8         what was below /config
  ringkeeper image dump FILE --sessions --json | jq -r 'select(.session) | .session'

Znodes come parents first, otherwise as they lie in the image. It is read twice: through to its end, to see that all of it
is good, and again to show it. That takes little memory, however large it is.

Exit codes: 0 all was shown, 1 the image is damaged (nothing of it was shown), 2 wrong usage or nothing to read.";

/// Print the znodes of an image.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Dump {
    /// An image, or a directory; then its newest one.
    place: PathBuf,

    /// Only this znode and those below it.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Show the data of znodes too.
    #[arg(long, value_name = "FORM")]
    data: Option<DataForm>,

    /// Show the sessions too, before the znodes.
    #[arg(long)]
    sessions: bool,

    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Session {
    session: String,
    timeout_ms: i32,
}

/// Why not all was shown.
enum Broken {
    Output(io::Error),
    /// It changed between the two times.
    Image(Fault),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Image(fault)
    }
}

/// Whether a path is `top` or below it.
fn is_within(path: &str, top: &str) -> bool {
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Dump {
    /// Prints.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let path = newest_at(&self.place)?;
        let mut progress = Progress::new(false);
        let image = match inspect(&path, &mut progress) {
            Ok(image) => image,
            Err(fault) => return fault.tell(&path),
        };
        let asked = self.path.as_deref().map_or("/", |path| if path == "/" { path } else { path.trim_end_matches('/') });
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        if !self.json {
            let (zxid, created, digest) = (image.header.zxid, utc(image.header.created.0), image.totals.digest);
            writeln!(out, "# {} zxid={zxid} created={created} digest={digest:#018x}", path.display())?;
        }
        for (id, timeout_ms) in image.sessions.iter().filter(|_| self.sessions) {
            if self.json {
                serde_json::to_writer(&mut out, &Session { session: id.to_string(), timeout_ms: *timeout_ms })
                    .map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            } else {
                writeln!(out, "# session={id} timeout={timeout_ms}ms")?;
            }
        }
        let (mut line, mut found) = (String::new(), false);
        let shown = stream(&image, &mut progress, |record, _| -> Result<(), Broken> {
            if !is_within(record.path(), asked) {
                return Ok(());
            }
            found = true;
            let znode = Znode::new(record, self.data);
            if self.json {
                serde_json::to_writer(&mut out, &znode).map_err(io::Error::from)?;
                return Ok(out.write_all(b"\n")?);
            }
            line.clear();
            znode.text(&mut line);
            Ok(out.write_all(line.as_bytes())?)
        });
        match shown {
            Ok(()) => {}
            Err(Broken::Output(error)) => return Err(error.into()),
            Err(Broken::Image(fault)) => return fault.tell(&path),
        }
        if !found {
            tell(&format!("{} has no znode {asked:?}", path.display()));
        }
        out.flush()?;
        Ok(Outcome::Fine)
    }
}
