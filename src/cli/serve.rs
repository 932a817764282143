//! `ringkeeper serve`: loads the configuration and hands it to the server.

use super::logging;
use crate::server::boot;
use crate::server::config::placement::{Cores, Pins, Plan, Sequencer, plan};
use crate::server::config::reader::{Request, read};
use crate::server::config::resolve::Overrides;
use crate::server::config::{Loaded, ServerConfig};
use crate::show::tell::tell;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const LONG: &str = "\
Serves ZooKeeper clients until it is stopped by SIGTERM or SIGINT.

With CONFIG it reads a ZooKeeper zoo.cfg as it is. Keys that mean nothing here, or not yet, are
accepted with a line that says so; keys that ask for protection which is not there yet (TLS only,
Kerberos) are refused. Without CONFIG it listens on 127.0.0.1:2181 and keeps its
data in ./ringkeeper-data, which it makes.

With several server.N lines it is a member of an ensemble, which one the file myid in dataDir says.
It listens at once and serves as soon as it leads or follows a leader; a line on standard error
tells of each change of its role.

What counts: a flag before a key of the file, a key of the file before -D.";

const AFTER: &str = "\
Examples:
  ringkeeper serve                                       try it: 127.0.0.1:2181, data in ./ringkeeper-data
  ringkeeper serve /etc/zookeeper/zoo.cfg                in the place of a ZooKeeper server that runs alone
  ringkeeper serve /etc/zookeeper/zoo.cfg                as a member of its ensemble, where it lists several servers
  ringkeeper serve zoo.cfg --check --strict              is the file good, and what is in effect?
  ringkeeper serve --listen '[::]:2181' --data-dir /srv/ringkeeper
  ringkeeper serve zoo.cfg -Djute.maxbuffer=4194304 -Dringkeeper.flush.method=fdatasync

Keys of ours, in the file as they are or as -Dringkeeper.KEY=VALUE, with their defaults:
  flush.method         dsync    how the log is made durable: dsync, fdatasync (compare the two on your drive), or
                                none (a machine that stops loses acknowledged writes)
  flush.mode           adaptive  adaptive: a controller moves flights and linger with the drive and the load
                                (docs/group-commit.md); fixed: they are as below, as where one is set and no mode
  flush.flights        4        flushes in flight, 1 to 16: more keeps a fast drive busy, 1 is kindest to a slow one
  flush.lingerMicros   0        how long a batch waits for company while a flush is in flight
  flush.batchBytes     1048576  payload at which a batch is closed at the latest
  flush.delayMicros    0        each flush is made so much longer: to try how a slower drive would do
  shards               0        executors that serve clients; 0 is one less than the cores, at least 1
  sequencer.placement  auto     executor that orders writes: own, shared (with shard 0: no hop between the two), or
                                auto (own from 3 cores on, if it has one left to itself)
  ensemble.bootstrap   all      whose word makes an ensemble a new one: all of its voters are empty, or a majority
  cores.pin            auto     bind executors to cores: yes, no, or auto (from 4 cores on, if each has its own)
  spin.micros          0        how long an idle executor spins before it sleeps: shorter delays for a busy core
  log.level            none     how much is told, as --log-level, which counts before it; can be changed while it runs
  log.warnBytes        8589934592  log size that is told, and each doubling of it; 0 is never
  retain.bytes         17179869184  size of snapshots and log above which fewer snapshots are kept, but two; 0 is any
  scrub.intervalSeconds  86400  how often old segments and snapshots are read back to find damage; 0 is never
  audit.file           zookeeper_audit.log  where clients' changes are told, if audit.enable=true
  audit.fileBytes      10485760  size at which a new file of it is begun; 0 is never
  audit.files          10       older files of it that are kept
  io.memoryKiB         1024     memory for direct I/O of each executor; about three times as much is locked

ZooKeeper's own keys: docs/configuration.md.

Exit codes: 0 stopped when told to, 1 could not start or had to stop, 2 wrong usage.";

/// Serve ZooKeeper clients.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Serve {
    /// A ZooKeeper zoo.cfg.
    config: Option<PathBuf>,

    /// A system property, as the Java server takes it.
    ///
    /// Such as -Dzookeeper.KEY=VALUE or -Djute.maxbuffer=BYTES; keys of ours as -Dringkeeper.KEY=VALUE.
    /// Repeat it for more. A key of the file counts before it.
    #[arg(verbatim_doc_comment, short = 'D', value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,

    /// Keep everything here, whatever dataDir and dataLogDir say.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Meet clients here and nowhere else; port 0 lets the system choose one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,

    /// Executors that serve clients; 0 is one less than the cores, at least 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    shards: Option<u16>,

    /// Take a key that is not known as an error, not as a warning.
    #[arg(long)]
    strict: bool,

    /// Print what is in effect, and end.
    ///
    /// Loads the configuration, says where each value comes from, and starts nothing. Ends with 0 if
    /// the configuration is good, with 1 if it is not.
    #[arg(verbatim_doc_comment, long)]
    check: bool,

    /// How much is told on standard error.
    ///
    /// off, error, warn, info, debug, trace, or directives such as "warn,ringkeeper=debug". Where it is
    /// not given the variable RINGKEEPER_LOG counts; without either, warnings are told and keys of the
    /// configuration that have no effect.
    #[arg(verbatim_doc_comment, long, value_name = "LEVEL")]
    log_level: Option<String>,
}

pub(super) fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key.trim() {
        "" => Err("expected KEY=VALUE".to_owned()),
        key => Ok((key.to_owned(), value.to_owned())),
    }
}

impl Serve {
    /// What the configuration is to be made of.
    #[must_use]
    pub fn request(&self) -> Request {
        let overrides = Overrides { data_dir: self.data_dir.clone(), listen: self.listen.clone(), shards: self.shards };
        Request { config: self.config.clone(), properties: self.properties.clone(), overrides, strict: self.strict }
    }

    /// Serves, or checks.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let level = match logging::start(self.log_level.as_deref()) {
            Ok(level) => level,
            Err(e) => return failed(&e),
        };
        match read(&self.request()) {
            Ok(loaded) if self.check => {
                match std::io::stdout().lock().write_all(report(&loaded, &Cores::of_this_process()).as_bytes()) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(e) => failed(&format!("standard output: {e}")),
                }
            }
            Ok(loaded) => boot::serve(loaded, self.request(), Box::new(move |key| level.set(key))),
            Err(e) => failed(&e.to_string()),
        }
    }
}

/// Ends the process with one line.
fn failed(line: &str) -> ExitCode {
    tell(line);
    ExitCode::FAILURE
}

/// What `--check` prints.
fn report(loaded: &Loaded, cores: &Cores) -> String {
    let mut out = String::new();
    for notice in &loaded.notices {
        out.push_str(&format!("# {notice}\n"));
    }
    for line in &loaded.effective {
        out.push_str(&format!("{line}\n"));
    }
    out.push_str(&format!("# {}\n", planned(cores, &loaded.config)));
    out
}

fn planned(cores: &Cores, config: &ServerConfig) -> String {
    let Plan { shards, sequencer, pins } = plan(cores, config.shards, config.sequencer_placement, config.pin);
    let sequencer = match sequencer {
        Sequencer::Own => "the sequencer on its own executor",
        Sequencer::SharedWithShard0 => "the sequencer with shard 0",
    };
    let pins = match pins {
        None => "not bound to cores".to_owned(),
        Some(Pins { shards, sequencer }) => format!("shards bound to cores {shards:?}, the sequencer to {sequencer}"),
    };
    format!("{} of {} cores usable: shards {shards}, {sequencer}, {pins}", cores.usable, cores.ids.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_shows_what_counts() {
        let loaded = read(&Request { properties: vec![("zookeeper.tickTme".into(), "1".into())], ..Request::default() }).unwrap();
        let report = report(&loaded, &Cores::first(4));
        for line in [
            "# -Dzookeeper.tickTme: unknown key \"tickTme\"; did you mean tickTime? (no effect)\n",
            "clientPort=2181  (default)\n",
            "shards=auto  (default)\n",
            "# 4 of 4 cores usable: shards 3, the sequencer on its own executor, shards bound to cores [0, 1, 2], the sequencer to 3\n",
        ] {
            assert!(report.contains(line), "{line} is not in\n{report}");
        }
    }
}
