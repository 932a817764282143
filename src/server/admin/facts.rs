//! The facts: what the admin words tell that no shard counts, from the configuration and from the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::UNIX_EPOCH;

use super::java;

/// The ZooKeeper release whose behaviour we imitate. Monitoring decides by these three numbers what a server can do.
pub const IMITATED: &str = "3.9.4";

/// What stays true while the server runs, but for what the operator may change.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// As the version line tells it, see [`Host::version`].
    pub version: String,
    /// `clientPort`, the one that is bound.
    pub client_port: u16,
    /// `secureClientPort`.
    pub secure_client_port: Option<u16>,
    /// Where the images lie: the very directory, which in ZooKeeper ends in `version-2`.
    pub data_dir: PathBuf,
    /// Where the log lies; the same directory where no `dataLogDir` is configured.
    pub data_log_dir: PathBuf,
    /// `tickTime`, ms.
    pub tick_time_ms: u32,
    /// `maxClientCnxns`, connections of one address; 0 is without limit.
    pub max_client_cnxns: Arc<AtomicUsize>,
    /// `minSessionTimeout`, ms.
    pub min_session_timeout_ms: u32,
    /// `maxSessionTimeout`, ms.
    pub max_session_timeout_ms: u32,
    /// `clientPortListenBacklog`; -1 leaves it to the system.
    pub listen_backlog: i32,
    /// `serverId`, 0 when standalone.
    pub server_id: u8,
    /// `4lw.commands.whitelist` as configured: a comma list, or `*`.
    pub whitelist: String,
    /// `readonlymode.enabled`: lets `isro` through.
    pub read_only_enabled: bool,
    /// The machine and the user.
    pub host: Host,
    /// A member's ensemble; none for a server alone.
    pub ensemble: Option<EnsembleFacts>,
}

/// What a member's `conf` tells beside the rest.
#[derive(Clone, Debug, Default)]
pub struct EnsembleFacts {
    /// `initLimit`, ticks.
    pub init_limit: u32,
    /// `syncLimit`, ticks.
    pub sync_limit: u32,
    /// The own election port.
    pub election_port: u16,
    /// The own quorum port.
    pub quorum_port: u16,
    /// It has no vote.
    pub is_observer: bool,
    /// The configuration as servers exchange it.
    pub membership: String,
}

/// The machine and the user that the server runs on and as.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The machine's name.
    pub name: String,
    /// Operating system, `Linux`.
    pub os: String,
    /// Architecture by Java's names, `amd64`.
    pub arch: String,
    /// Release of the kernel.
    pub os_version: String,
    /// Name of the user.
    pub user: String,
    /// The user's home.
    pub home: String,
    /// Working directory.
    pub dir: String,
}

impl Host {
    /// Asks the system. What it does not tell is `?`, as with Java's properties.
    #[must_use]
    pub fn ask() -> Self {
        let uname = rustix::system::uname();
        let uid = rustix::process::getuid().as_raw();
        let accounts = fs::read("/etc/passwd").unwrap_or_default();
        let (user, home) = account(&String::from_utf8_lossy(&accounts), uid).unwrap_or_else(|| ("?".into(), "?".into()));
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            os: uname.sysname().to_string_lossy().into_owned(),
            arch: java_arch(&uname.machine().to_string_lossy()).to_owned(),
            os_version: uname.release().to_string_lossy().into_owned(),
            user,
            home,
            dir: std::env::current_dir().map_or_else(|_| "?".into(), |dir| dir.to_string_lossy().into_owned()),
        }
    }

    /// The version line's text: the release we imitate, who we are, and when this binary was written to its disk.
    #[must_use]
    pub fn version() -> String {
        let written = std::env::current_exe().and_then(fs::metadata).and_then(|file| file.modified()).ok();
        let ms =
            written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).and_then(|since| i64::try_from(since.as_millis()).ok());
        format!("{IMITATED}-ringkeeper-{}, built on {}", env!("CARGO_PKG_VERSION"), java::build_date(ms.unwrap_or(0)))
    }
}

/// Name and home of a user in the text of an account file.
fn account(accounts: &str, uid: u32) -> Option<(String, String)> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let theirs: u32 = fields.get(2)?.parse().ok()?;
        if theirs != uid {
            return None;
        }
        Some(((*fields.first()?).to_owned(), (*fields.get(5)?).to_owned()))
    })
}

/// Java's name for an architecture.
fn java_arch(machine: &str) -> &str {
    if machine == "x86_64" { "amd64" } else { machine }
}

/// What a look at the machine shows now. What could not be seen is none and is left out of the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    /// Open file descriptors of this process.
    pub open_files: Option<u64>,
    /// The most it may have.
    pub max_files: Option<u64>,
    /// Free memory of the machine, bytes.
    pub memory_free: u64,
    /// All memory of the machine, bytes.
    pub memory_total: u64,
}

impl Probe {
    /// Looks at the machine.
    #[must_use]
    pub fn take() -> Self {
        let memory = rustix::system::sysinfo();
        let unit = u64::from(memory.mem_unit);
        Self {
            // Reading the list takes a descriptor of its own.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|list| (list.count() as u64).saturating_sub(1)),
            max_files: rlimit::getrlimit(rlimit::Resource::NOFILE).ok().map(|(soft, _)| soft),
            memory_free: memory.freeram.saturating_mul(unit),
            memory_total: memory.totalram.saturating_mul(unit),
        }
    }
}

/// Bytes of the files under a directory, by their lengths. A file that vanishes meanwhile counts nothing; links are not followed.
pub(super) fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(what) if what.is_dir() => size_of(&entry.path()),
        Ok(what) => what.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nzookeeper:x:998:998::/var/lib/zookeeper:/bin/false\n";
        assert_eq!(account(text, 998), Some(("zookeeper".to_owned(), "/var/lib/zookeeper".to_owned())));
        assert_eq!(account(text, 5), None);
    }

    #[test]
    fn version_starts_with_three_numbers() {
        let version = Host::version();
        let (numbers, rest) = version.split_once('-').expect("a dash after the numbers");
        let numbers: Vec<u32> = numbers.split('.').map(|part| part.parse().expect("a number")).collect();
        assert_eq!(numbers.len(), 3);
        assert!(rest.starts_with("ringkeeper-") && rest.contains(", built on 20") && rest.ends_with(" UTC"), "{version}");
    }

    #[test]
    fn sizes_count_files_at_every_depth() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("inner")).expect("a directory");
        fs::write(dir.path().join("a"), [0; 10]).expect("a file");
        fs::write(dir.path().join("inner/b"), [0; 7]).expect("a file");
        assert_eq!(size_of(dir.path()), 17);
        assert_eq!(size_of(&dir.path().join("absent")), 0);
    }

    #[test]
    fn the_machine_answers() {
        let probe = Probe::take();
        assert!(probe.open_files.is_some_and(|open| open >= 3));
        assert!(probe.max_files >= probe.open_files);
        assert!(probe.memory_total >= probe.memory_free && probe.memory_free > 0);
        let host = Host::ask();
        assert_eq!(host.os, "Linux");
        assert!(!host.name.is_empty() && !host.user.is_empty() && host.dir.starts_with('/'));
    }
}
