//! `ringkeeper doctor`: what of this machine is in the server's way, why, and the command that mends it.

mod checks;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use self::checks::{Check, Verdict};
use super::machine::Machine;

const LONG: &str = "\
Looks at the machine: kernel, io_uring, limits, memory, clock, processors, network and the drive under
a directory; says of each whether it is in the server's way, why, and the command that mends it.

It changes nothing, starts nothing, and reads /proc, /sys and the limits of this process: run it as the
user, and in the container or unit, that the server runs in.

Verdicts: ok; warn, it costs latency or fails one day; bad, the server does not start, or loses what it
should keep; unknown, the machine does not tell.

Exit codes: 0 nothing is bad, 1 something is.";

/// Say what of this machine is in the server's way.
#[derive(Args, Debug)]
#[command(long_about = LONG)]
pub struct Doctor {
    /// The directory of the data, or any on its drive.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Print one JSON array instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    check: &'a str,
    verdict: &'a str,
    found: &'a str,
    why: Option<&'a str>,
    fix: Option<&'a str>,
}

impl Doctor {
    /// Looks, and tells.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let dir = match self.dir.canonicalize() {
            Ok(dir) => dir,
            Err(error) => {
                eprintln!("ringkeeper: {}: {error}", self.dir.display());
                return ExitCode::FAILURE;
            }
        };
        let checks = checks::all(&Machine::at(Path::new("/")), &checks::Limits::of_this_process(), &dir);
        match tell(&checks, self.json, &mut io::stdout().lock()) {
            Ok(()) if checks.iter().any(|check| check.verdict == Verdict::Bad) => ExitCode::FAILURE,
            Ok(()) => ExitCode::SUCCESS,
            // Whoever reads has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ringkeeper: standard output: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn tell(checks: &[Check], json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        let lines: Vec<_> = checks
            .iter()
            .map(|check| Line {
                check: check.name,
                verdict: check.verdict.name(),
                found: &check.found,
                why: Some(check.why).filter(|_| check.verdict.is_told()),
                fix: check.fix.as_deref(),
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &lines)?;
        return writeln!(out);
    }
    for check in checks {
        writeln!(out, "{:8}{:22}{}", check.verdict.name(), check.name, check.found)?;
        if check.verdict.is_told() {
            writeln!(out, "{:8}{:22}{}", "", "", check.why)?;
        }
        if let Some(fix) = &check.fix {
            writeln!(out, "{:8}{:22}$ {fix}", "", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![Check::ok("clock", "tsc"), Check::new("swap", Verdict::Warn, "in use", "it stalls", Some("swapoff -a".to_owned()))]
    }

    #[test]
    fn lines_and_json_say_the_same() {
        let mut text = Vec::new();
        tell(&checks(), false, &mut text).unwrap();
        let want = "ok      clock                 tsc\n\
                    warn    swap                  in use\n                              it stalls\n                              $ swapoff -a\n";
        assert_eq!(String::from_utf8(text).unwrap(), want);
        let mut text = Vec::new();
        tell(&checks(), true, &mut text).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((read[0]["verdict"].as_str(), read[0]["why"].as_str()), (Some("ok"), None));
        assert_eq!((read[1]["check"].as_str(), read[1]["fix"].as_str()), (Some("swap"), Some("swapoff -a")));
    }

    #[test]
    fn this_machine_has_a_verdict_on_everything() {
        let dir = tempfile::tempdir().unwrap();
        let found = checks::all(&Machine::at(Path::new("/")), &checks::Limits::of_this_process(), dir.path());
        assert!(found.len() > 12, "{found:?}");
        assert!(found.iter().all(|check| !check.found.is_empty() && (!check.verdict.is_told() || !check.why.is_empty())));
    }
}
