//! `ringkeeper migrate`: the command line. How our own data directory is written and read is handed in.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::export::{State, export, refuse_used};
use super::import::{From, import};
use super::imported::Imported;
use super::progress::Progress;

const IMPORT: &str = "\
Makes a data directory of ours from that of a ZooKeeper server.

Stop that server first, or copy its directory. Nothing in it is written to. Its newest valid snapshot (plain, gz or
snappy) is read and its transaction logs are applied on top, by ZooKeeper's rules; sessions, access control lists, TTL
and container znodes, quotas and all counters are kept. The tree's digest is compared with those that ZooKeeper wrote.";

const EXPORT: &str = "\
Makes a data directory from which a ZooKeeper server (3.6 or later) starts.

Stop our server first. What is written is read back and compared by the tree's digest.";

/// Move data from a ZooKeeper server to this one, or back.
#[derive(Args, Debug)]
pub struct Migrate {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Subcommand, Debug)]
enum Direction {
    /// Make a data directory of ours from that of a ZooKeeper server.
    #[command(long_about = IMPORT)]
    Import(ImportCommand),
    /// Make a data directory from which a ZooKeeper server starts.
    #[command(long_about = EXPORT)]
    Export(ExportCommand),
}

#[derive(Args, Debug)]
struct ImportCommand {
    /// The ZooKeeper server's dataDir, which has a directory version-2.
    #[arg(long, value_name = "ZOOKEEPER_DATADIR")]
    from: PathBuf,

    /// Its dataLogDir, where its zoo.cfg has one.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,

    /// Our new data directory; it must be empty, or not there.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Take the data although it is not what ZooKeeper's digest says: with what is missing missing.
    #[arg(long)]
    ignore_digest: bool,
}

#[derive(Args, Debug)]
struct ExportCommand {
    /// Our data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The new dataDir for the ZooKeeper server; it must be empty, or not there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl Migrate {
    /// Carries it out. `keep` writes a data directory of ours, which is new or empty; `load` reads one. Both fail with one line.
    pub fn run(
        self,
        keep: impl FnOnce(&Path, &Imported) -> Result<(), String>,
        load: impl FnOnce(&Path) -> Result<Imported, String>,
    ) -> ExitCode {
        let mut tell = |line: &str| say(line);
        let mut progress = Progress::new(&mut tell);
        let done = match self.direction {
            Direction::Import(command) => command.run(keep, &mut progress),
            Direction::Export(command) => command.run(load, &mut progress),
        };
        match done {
            Ok(line) => {
                say(&line);
                ExitCode::SUCCESS
            }
            Err(line) => {
                say(&line);
                ExitCode::FAILURE
            }
        }
    }
}

impl ImportCommand {
    fn run(
        self,
        keep: impl FnOnce(&Path, &Imported) -> Result<(), String>,
        progress: &mut Progress<'_>,
    ) -> Result<String, String> {
        refuse_used(&self.data_dir).map_err(|error| error.to_string())?;
        let from = From { data_dir: self.from, log_dir: self.log_dir, ignore_digest: self.ignore_digest };
        let (imported, report) = import(&from, progress).map_err(|error| error.to_string())?;
        report.warnings.iter().for_each(|line| say(&format!("warning: {line}")));
        keep(&self.data_dir, &imported)?;
        let verified = match report.verified {
            Some(zxid) if zxid == imported.zxid => "its digest is the one that ZooKeeper wrote".to_owned(),
            Some(zxid) => format!("its digest was the one that ZooKeeper wrote at {zxid}, the last it wrote"),
            None => "ZooKeeper wrote no digest to compare it with".to_owned(),
        };
        Ok(format!(
            "imported {} znodes and {} sessions up to transaction {} ({} and {} transactions of {} logs) into {}: {verified}",
            imported.znodes.len(),
            imported.sessions.len(),
            imported.zxid,
            report.snapshot.display(),
            report.transactions,
            report.logs,
            self.data_dir.display()
        ))
    }
}

impl ExportCommand {
    fn run(self, load: impl FnOnce(&Path) -> Result<Imported, String>, progress: &mut Progress<'_>) -> Result<String, String> {
        refuse_used(&self.to).map_err(|error| error.to_string())?;
        let whole = load(&self.data_dir)?;
        let state = State { zxid: whole.zxid, sessions: &whole.sessions, digest: whole.digest };
        let exported = export(&self.to, &state, whole.znode_refs(), progress).map_err(|error| error.to_string())?;
        exported.warnings.iter().for_each(|line| say(&format!("warning: {line}")));
        Ok(format!("exported {} znodes up to transaction {} as {}", exported.znodes, whole.zxid, exported.snapshot.display()))
    }
}

fn say(line: &str) {
    // Where standard error is closed nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "ringkeeper: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(line: &str) -> Result<Migrate, clap::Error> {
        let command = Migrate::augment_args(Command::new("migrate"));
        command.clone().debug_assert();
        Migrate::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/migrate").join(name)
    }

    #[test]
    fn import_hands_over_what_it_has_read_and_export_what_it_is_given() {
        let top = tempfile::tempdir().unwrap();
        let (ours, theirs) = (top.path().join("ours"), top.path().join("theirs"));
        let mut kept = None;
        let line = format!("migrate import --from {} --data-dir {}", golden("3.9").display(), ours.display());
        let keep = |dir: &Path, imported: &Imported| {
            assert_eq!(dir, ours);
            kept = Some(imported.clone());
            Ok(())
        };
        assert_eq!(parse(&line).unwrap().run(keep, |_| panic!("import loads nothing")), ExitCode::SUCCESS);
        let kept = kept.unwrap();
        let line = format!("migrate export --data-dir {} --to {}", ours.display(), theirs.display());
        let again = parse(&line).unwrap();
        let load = |dir: &Path| {
            assert_eq!(dir, ours);
            Ok(kept.clone())
        };
        assert_eq!(again.run(|_, _| panic!("export keeps nothing"), load), ExitCode::SUCCESS);
        assert!(theirs.join(format!("version-2/snapshot.{:x}", kept.zxid.0)).exists());
        // A second time there is something in the way, and nothing is loaded.
        let again = parse(&line).unwrap();
        assert_eq!(again.run(|_, _| Ok(()), |_| panic!("nothing is to be loaded")), ExitCode::FAILURE);
    }

    #[test]
    fn wrong_usage_and_directories_in_use_are_refused() {
        assert!(parse("migrate").is_err());
        assert!(parse("migrate import --from a").is_err());
        assert!(parse("migrate export --to a").is_err());
        let used = golden("3.9");
        let line = format!("migrate import --from {} --data-dir {}", used.display(), used.display());
        assert_eq!(parse(&line).unwrap().run(|_, _| panic!("nothing is to be kept"), |_| Err(String::new())), ExitCode::FAILURE);
    }
}
