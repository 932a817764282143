//! World: the servers, through `scripts/cluster.sh`, and what they say of themselves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// ms; sessions may last from 2 to 20 of these.
pub const TICK: u64 = 300;
/// How long servers that can all reach each other may take to be whole, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
    pub servers: usize,
    /// Each has a network of its own, and ways can be cut.
    pub has_nets: bool,
    pub addresses: Vec<SocketAddr>,
    down: BTreeSet<usize>,
    _held: TcpListener,
}

/// A third number of addresses that nobody uses here.
fn free_net() -> u32 {
    let first = std::process::id() % 150;
    (0..150).map(|n| 50 + (first + n) % 150).find(|n| !Path::new(&format!("/sys/class/net/rk{n}-br")).exists()).unwrap_or(50)
}

/// A port so that those used above it are free. While it is held nobody else takes these: those of servers that are down for a while are
/// free too.
fn free_base(servers: usize) -> (u16, TcpListener) {
    let first = (std::process::id() % 60) as u16;
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let hold = |base: u16| {
        let held = bind(base).ok()?;
        let is_free = (0..=2).all(|h| (1..=servers as u16).all(|k| bind(base + 100 * h + k).is_ok()));
        is_free.then_some((base, held))
    };
    (0..60).map(|n| 11_000 + 300 * ((first + n) % 60)).find_map(hold).expect("there are free ports")
}

impl World {
    /// Starts them, with networks of their own where that can be done.
    pub fn start(directory: &Path, binary: &str, servers: usize, shards: Option<usize>) -> Result<Self, String> {
        let (net, (base, held)) = (free_net(), free_base(servers));
        let mut this = Self {
            directory: directory.join("cluster"),
            environment: vec![
                ("CLUSTER_DIR", directory.join("cluster").display().to_string()),
                ("CLUSTER_NET", net.to_string()),
                ("CLUSTER_PORT", base.to_string()),
                ("CLUSTER_PATIENCE", "60".to_owned()),
                ("BINARY", binary.to_owned()),
            ],
            servers,
            has_nets: rustix::process::getuid().is_root() && std::env::var_os("RINGKEEPER_CHAOS_NETS").is_some(),
            addresses: Vec::new(),
            down: BTreeSet::new(),
            _held: held,
        };
        let mut words = vec!["start".to_owned(), servers.to_string(), format!("tickTime={TICK}")];
        words.extend(["initLimit=30", "syncLimit=7", "admin.enableServer=false"].map(str::to_owned));
        words.extend(shards.map(|n| format!("shards={n}")));
        words.extend(this.has_nets.then(|| "--netns".to_owned()));
        if let Err(error) = this.run(&words) {
            if !this.has_nets {
                return Err(error);
            }
            println!("no networks of their own: {error}");
            let _ = this.run(&["clean"]);
            this.has_nets = false;
            words.pop();
            this.run(&words)?;
        }
        let address = |k: usize| match this.has_nets {
            true => SocketAddr::from(([10, 199, net as u8, k as u8], 2181)),
            false => SocketAddr::from(([127, 0, 0, 1], base + k as u16)),
        };
        this.addresses = (1..=servers).map(address).collect();
        Ok(this)
    }

    /// A command of the script.
    pub fn run(&self, words: &[impl AsRef<str>]) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster.sh");
        let log = |name| fs::File::create(self.directory.with_file_name(name)).map(Stdio::from).unwrap_or_else(|_| Stdio::null());
        let status = Command::new(script)
            .args(words.iter().map(AsRef::as_ref))
            .envs(self.environment.iter().map(|(key, value)| (key, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log("script"))
            .status()
            .map_err(|e| e.to_string())?;
        let said = fs::read_to_string(self.directory.with_file_name("script")).unwrap_or_default();
        if status.success() { Ok(()) } else { Err(said.lines().last().unwrap_or("cluster.sh failed").to_owned()) }
    }

    fn home(&self, k: usize) -> PathBuf {
        self.directory.join(k.to_string())
    }

    fn pid(&self, k: usize) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(self.home(k).join("pid")).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // One that nobody has waited for is as dead as one that is gone.
        let is_dead = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
        if is_dead { None } else { Pid::from_raw(pid) }
    }

    /// The process is not only dead: cluster.sh takes one that nobody has waited for as alive.
    fn is_gone(&self, k: usize) -> bool {
        let pid = fs::read_to_string(self.home(k).join("pid")).unwrap_or_default();
        pid.trim().is_empty() || !Path::new("/proc").join(pid.trim()).exists()
    }

    pub fn signal(&self, all: &[usize], signal: Signal) {
        let pids: Vec<_> = all.iter().filter_map(|k| self.pid(*k)).collect();
        for pid in pids {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, all within microseconds, and they are gone.
    pub fn kill(&mut self, all: &[usize]) {
        self.down.extend(all);
        self.signal(all, Signal::KILL);
        while !all.iter().all(|k| self.is_gone(*k)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM; it must end by itself.
    pub fn end(&mut self, k: usize) -> Result<(), String> {
        self.down.insert(k);
        self.signal(&[k], Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while !self.is_gone(k) {
            if Instant::now() > until {
                return Err(format!("server {k} does not end when told to"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Starts what was killed or stopped, and does not wait for it.
    pub fn up(&mut self) {
        let names: Vec<_> = std::mem::take(&mut self.down).iter().map(ToString::to_string).collect();
        if !names.is_empty() {
            self.environment.push(("CLUSTER_PATIENCE", "0".to_owned()));
            // It complains that they do not serve yet.
            let _ = self.run(&["up", &names.join(",")]);
            self.environment.pop();
        }
    }

    /// Its data are gone, but for its number.
    pub fn wipe(&self, k: usize) -> std::io::Result<()> {
        let data = self.home(k).join("data");
        fs::remove_dir_all(&data)?;
        fs::create_dir_all(&data)?;
        fs::write(data.join("myid"), format!("{k}\n"))
    }

    /// Every process that was not ended by us must be there, and none has panicked.
    pub fn check(&self) -> Result<(), String> {
        for k in 1..=self.servers {
            let log = fs::read_to_string(self.home(k).join("log")).unwrap_or_default();
            let ended = !self.down.contains(&k) && self.pid(k).is_none();
            if ended || log.contains("panicked") {
                let tail: Vec<_> = log.lines().rev().take(12).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                return Err(format!(
                    "server {k} {}:\n{}",
                    if ended { "has ended by itself" } else { "has panicked" },
                    tail.join("\n")
                ));
            }
        }
        Ok(())
    }

    /// A four-letter word's answer; empty where none comes soon.
    pub fn word(&self, k: usize, word: &str) -> String {
        let limit = Duration::from_millis(500);
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect_timeout(&self.addresses[k - 1], limit) {
            let _ = stream.set_read_timeout(Some(limit));
            let _ = stream.write_all(word.as_bytes()).and_then(|()| stream.read_to_string(&mut text).map(drop));
        }
        text
    }

    fn fact(&self, k: usize, name: &str) -> Option<String> {
        self.word(k, "srvr").lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    }

    pub fn zxid(&self, k: usize) -> Option<u64> {
        u64::from_str_radix(self.fact(k, "Zxid")?.strip_prefix("0x")?, 16).ok()
    }

    /// Waits until one leads and all others follow; returns who leads.
    pub fn whole(&self) -> Result<usize, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            let modes: Vec<_> =
                (1..=self.servers).map(|k| self.fact(k, "Mode").unwrap_or_else(|| "nothing".to_owned())).collect();
            let count = |mode: &str| modes.iter().filter(|said| *said == mode).count();
            if count("leader") == 1 && count("follower") == self.servers - 1 {
                return Ok(1 + modes.iter().position(|mode| mode == "leader").expect("there is one"));
            }
            if Instant::now() > until {
                return Err(format!(
                    "the servers are not whole {PATIENCE:?} after the last fault was healed: they say {modes:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Keeps data and logs there; nothing runs any more.
    pub fn keep(&mut self, there: &Path) {
        self.kill(&(1..=self.servers).collect::<Vec<_>>());
        let _ = fs::rename(&self.directory, there.join("servers"));
        let _ = fs::create_dir_all(&self.directory);
        if self.has_nets {
            let _ = fs::write(self.directory.join("netns"), "");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.run(&["clean"]);
    }
}
