//! `ringkeeper migrate`: the command line, and the way between a server's files and our own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::export::{State, export, refuse_used};
use super::import::{From, import};
use super::progress::Progress;
use crate::engine::archivist::load::Loaded;
use crate::runtime::chance;
use crate::runtime::clock::Clock;
use crate::runtime::disk::LogDir;
use crate::server::archive;
use crate::server::config::reader::{Request, read};
use crate::server::config::resolve::Overrides;
use crate::server::config::settings::ServerConfig;
use crate::server::recover::{self, IMAGES, LOG};
use crate::show::tell::tell;
use crate::tree::replay::znode::ZnodeRef;

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

    /// Our dataLogDir, where the zoo.cfg has one.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,

    /// The new dataDir for the ZooKeeper server; it must be empty, or not there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl Migrate {
    /// Carries it out.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let mut tell = |line: &str| tell(line);
        let mut progress = Progress::new(&mut tell);
        let done = match self.direction {
            Direction::Import(command) => command.run(&mut progress),
            Direction::Export(command) => command.run(&mut progress),
        };
        match done {
            Ok(line) => {
                tell(&line);
                ExitCode::SUCCESS
            }
            Err(line) => {
                tell(&line);
                ExitCode::FAILURE
            }
        }
    }
}

impl ImportCommand {
    fn run(self, progress: &mut Progress<'_>) -> Result<String, String> {
        refuse_used(&self.data_dir).map_err(|error| error.to_string())?;
        let from = From { data_dir: self.from, log_dir: self.log_dir, ignore_digest: self.ignore_digest };
        let (imported, report) = import(&from, progress).map_err(|error| error.to_string())?;
        report.warnings.iter().for_each(|line| tell(&format!("warning: {line}")));
        let (zxid, digest) = (imported.zxid, imported.digest);
        let (znodes, sessions) = (imported.znodes.len(), imported.sessions.len());
        tell(&format!("writing {}", self.data_dir.display()));
        let state = imported.into_loaded(chance::seeds()?).map_err(|error| format!("what was read is no tree: {error}"))?;
        archive::plant(&self.data_dir, state, Clock::default())?;
        let verified = match report.verified {
            Some(_) if report.is_verified => format!("its digest {digest:#x} is the one that ZooKeeper wrote"),
            Some(at) => format!("its digest is {digest:#x}; at {at} it was the one that ZooKeeper wrote, the last it wrote"),
            None => format!("its digest is {digest:#x}; ZooKeeper wrote none to compare it with"),
        };
        Ok(format!(
            "imported {znodes} znodes and {sessions} sessions up to transaction {zxid} ({} and {} transactions of {} logs) into {}: \
             {verified}",
            report.snapshot.display(),
            report.transactions,
            report.logs,
            self.data_dir.display()
        ))
    }
}

impl ExportCommand {
    fn run(self, progress: &mut Progress<'_>) -> Result<String, String> {
        refuse_used(&self.to).map_err(|error| error.to_string())?;
        let overrides = Overrides { data_dir: Some(self.data_dir), ..Overrides::default() };
        let mut config = read(&Request { overrides, ..Request::default() }).map_err(|error| error.to_string())?.config;
        config.data_log_dir = self.log_dir.unwrap_or(config.data_log_dir);
        let whole = load(&config)?;
        let sessions: Vec<_> = whole.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)).collect();
        let state = State { zxid: whole.zxid, sessions: &sessions, digest: whole.tree.digest() };
        let znodes = whole.tree.view().records().map(ZnodeRef::from);
        let exported = export(&self.to, &state, znodes, progress).map_err(|error| error.to_string())?;
        exported.warnings.iter().for_each(|line| tell(&format!("warning: {line}")));
        Ok(format!(
            "exported {} znodes and {} sessions up to transaction {} as {}: read back, its digest is {:#x}",
            exported.znodes,
            sessions.len(),
            whole.zxid,
            exported.snapshot.display(),
            state.digest
        ))
    }
}

/// What a server would start with. Nothing is written but locks.
fn load(config: &ServerConfig) -> Result<Loaded, String> {
    let log = config.data_log_dir.join(LOG);
    if !log.is_dir() && !config.data_dir.join(IMAGES).is_dir() {
        return Err(format!("{} holds no data of ours: --data-dir names the dataDir of a server", config.data_dir.display()));
    }
    if !log.is_dir() {
        tell(&format!(
            "warning: {} is not there: if the server's zoo.cfg has a dataLogDir, name it with --log-dir; if not, this is the image alone",
            log.display()
        ));
    }
    tell(&format!("reading {}", config.data_dir.display()));
    let dir = LogDir::open(&log).map_err(|error| error.to_string())?;
    Ok(recover::read(&dir, config, chance::seeds()?, Clock::default())?.into_loaded())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
    fn what_is_imported_and_exported_again_is_what_it_was() {
        for name in ["3.8", "3.9", "3.9-fuzzy"] {
            let top = tempfile::tempdir().unwrap();
            let (ours, theirs) = (top.path().join("ours"), top.path().join("theirs"));
            let line = format!("migrate import --from {} --data-dir {}", golden(name).display(), ours.display());
            assert_eq!(parse(&line).unwrap().run(), ExitCode::SUCCESS);
            assert_eq!(parse(&line).unwrap().run(), ExitCode::FAILURE, "there is something in the way");
            let line = format!("migrate export --data-dir {} --to {}", ours.display(), theirs.display());
            assert_eq!(parse(&line).unwrap().run(), ExitCode::SUCCESS);
            assert_eq!(parse(&line).unwrap().run(), ExitCode::FAILURE, "there is something in the way");
            let [one, other] = [golden(name), theirs].map(|data_dir| {
                let from = From { data_dir, log_dir: None, ignore_digest: false };
                import(&from, &mut Progress::new(&mut |_| ())).unwrap().0
            });
            assert!(one == other && !one.znodes.is_empty(), "{name}");
        }
    }

    #[test]
    fn crash_points_of_an_import() {
        let from = From { data_dir: golden("3.9"), log_dir: None, ignore_digest: false };
        let (imported, _) = import(&from, &mut Progress::new(&mut |_| ())).unwrap();
        crate::server::trial::scripts::plant("import", imported.into_loaded([1, 2, 3, 4]).unwrap());
    }

    #[test]
    fn wrong_usage_and_directories_in_use_are_refused() {
        assert!(parse("migrate").is_err());
        assert!(parse("migrate import --from a").is_err());
        assert!(parse("migrate export --to a").is_err());
        let used = golden("3.9");
        let line = format!("migrate import --from {} --data-dir {}", used.display(), used.display());
        assert_eq!(parse(&line).unwrap().run(), ExitCode::FAILURE);
        let none = tempfile::tempdir().unwrap();
        let to = none.path().join("to");
        let line = format!("migrate export --data-dir {} --to {}", none.path().display(), to.display());
        assert_eq!(parse(&line).unwrap().run(), ExitCode::FAILURE);
        assert!(!to.exists() && !none.path().join("log").exists());
    }
}
