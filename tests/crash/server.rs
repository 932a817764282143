//! Server: the process under test, started, killed and started again on the same data directory.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::Credentials;
use ringkeeper::ground::ids::Zxid;

/// ms; sessions may last from 2 to 20 of these.
pub const TICK: u64 = 500;

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    directory: PathBuf,
    command: Vec<String>,
    pub address: SocketAddr,
    child: Option<Child>,
    starts: usize,
}

impl Server {
    /// A server that is not started yet. `RINGKEEPER_CRASH_COMMAND` may name another: words with {cfg}, {port}, {dir}
    /// and {shards} (`--shards N` or nothing).
    pub fn new(directory: &Path, shards: Option<usize>) -> Self {
        // The port is free now and was picked by the kernel; it stays the same across restarts, as a real server's does.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let data = directory.join("data");
        fs::create_dir_all(&data).unwrap();
        let config = directory.join("zoo.cfg");
        let text = format!(
            "tickTime={TICK}\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n",
            data.display(),
            address.port()
        );
        fs::write(&config, text).unwrap();
        let template = std::env::var("RINGKEEPER_CRASH_COMMAND").unwrap_or_else(|_| {
            let words = "serve {cfg} --data-dir {dir} --listen 127.0.0.1:{port} {shards}";
            format!("{} {words}", env!("CARGO_BIN_EXE_ringkeeper"))
        });
        let template = template.replace("{shards}", &shards.map(|n| format!("--shards {n}")).unwrap_or_default());
        let fill = |word: &str| {
            word.replace("{cfg}", &config.display().to_string())
                .replace("{dir}", &data.display().to_string())
                .replace("{port}", &address.port().to_string())
        };
        let command = template.split_whitespace().map(fill).collect();
        Self { directory: directory.to_owned(), command, address, child: None, starts: 0 }
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) {
        self.starts += 1;
        let log = File::create(self.log()).unwrap();
        let child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.command[0]));
        self.child = Some(child);
    }

    fn log(&self) -> PathBuf {
        self.directory.join(format!("log.{}", self.starts))
    }

    /// Waits until the server takes a client that has seen `newest`.
    pub fn wait(&mut self, newest: u64) -> Result<Client, String> {
        let started = Instant::now();
        loop {
            let credentials = Credentials { last_zxid_seen: Zxid(newest), ..Credentials::new(10_000) };
            let error = match Client::attach(self.address, credentials, Duration::from_secs(10)) {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            self.check()?;
            if started.elapsed() > PATIENCE {
                let hint = if matches!(error, ClientError::Closed) { " (does it lack transactions it has shown?)" } else { "" };
                return Err(format!("no session for a client that has seen {newest:#x} within {PATIENCE:?}: {error}{hint}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process must not have ended by itself.
    pub fn check(&mut self) -> Result<(), String> {
        let child = self.child.as_mut().ok_or("the server is not started")?;
        let Some(status) = child.try_wait().map_err(|e| e.to_string())? else { return Ok(()) };
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Err(format!("the server ended by itself ({status}):\n{}", tail.join("\n")))
    }

    /// SIGKILL, and it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A process that has ended already cannot be killed; `check` is there to complain about that.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
