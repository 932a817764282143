//! Harness: the real binary as a process, with what it says, how it ends, and what the system knows of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use ringkeeper::client::answer::Body;
use ringkeeper::client::ask::Ask;
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::Credentials;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take that takes no time on a machine with nothing else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory beside the build, and not where temporary files go: that may be memory, which is another kind of disk.
pub fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The words that give a command its own mounts, where this user may make some. Where not, this is said: neither root nor user
/// namespaces, or a kernel whose file systems in memory refuse O_DIRECT. The limit of file sizes is then all that fails a write.
pub fn namespace(directory: &Path) -> Option<Vec<String>> {
    let mount = directory.join("try");
    std::fs::create_dir(&mount).unwrap();
    let probe = format!(
        "mount -t tmpfs -o size=1m tmpfs '{0}' && dd if=/dev/zero of='{0}/x' bs=4096 count=1 oflag=direct",
        mount.display()
    );
    let found = [&["unshare", "-m"][..], &["unshare", "-rm"]]
        .into_iter()
        .find(|words| {
            Command::new(words[0]).args(&words[1..]).args(["sh", "-c", &probe]).output().is_ok_and(|out| out.status.success())
        })
        .map(|words| words.iter().map(|word| (*word).to_owned()).collect());
    if found.is_none() {
        println!("no file system can be mounted here by this user: a full disk is not tried");
    }
    found
}

/// How a server is to be started.
#[derive(Clone)]
pub struct Setup {
    directory: PathBuf,
    wrapper: Vec<String>,
    config: Option<PathBuf>,
    args: Vec<String>,
}

impl Setup {
    /// On a port of the system's choice, with its data below `directory`, in small segments.
    pub fn new(directory: &Path, shards: &[&str]) -> Self {
        let data = directory.join("data").display().to_string();
        Self::bare(directory)
            .args(&["--data-dir", &data, "--listen", "127.0.0.1:0"])
            .args(&["-Dzookeeper.preAllocSize=16384"])
            .args(shards)
    }

    /// As a user would start it who says nothing, working in `directory`.
    pub fn bare(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), wrapper: Vec::new(), config: None, args: Vec::new() }
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// With a zoo.cfg of these lines.
    pub fn config(mut self, text: &str) -> Self {
        let path = self.directory.join("zoo.cfg");
        fs::write(&path, text).unwrap();
        self.config = Some(path);
        self
    }

    /// Started by these words, which must replace themselves by what follows them.
    pub fn wrapped(mut self, words: &[&str]) -> Self {
        self.wrapper.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Under limits, as `ulimit` of the shell takes them.
    pub fn limited(self, limits: &str) -> Self {
        self.wrapped(&["sh", "-c", &format!("{limits} && exec \"$@\""), "sh"])
    }

    /// All words after the wrapper's.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![env!("CARGO_BIN_EXE_ringkeeper").to_owned(), "serve".to_owned()];
        words.extend(self.config.iter().map(|path| path.display().to_string()));
        words.extend(self.args.iter().cloned());
        words
    }

    fn spawn(&self) -> Server {
        let words = [&self.wrapper[..], &self.words()].concat();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(&self.directory)
            .env_remove("RINGKEEPER_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, said) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        let listener = thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                said.lock().unwrap().push(line.unwrap());
            }
        });
        Server { child, lines, listener: Some(listener), address: ([127, 0, 0, 1], 0).into() }
    }

    /// Starts it and waits until it serves.
    pub fn start(&self) -> Server {
        let mut server = self.spawn();
        let ready = server.wait_for_line("ready: ");
        server.address = ready.split(' ').nth(1).and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{ready}"));
        server
    }

    /// Starts it and waits for its end, which must come by itself: its exit code and what it said.
    pub fn run(&self) -> (Option<i32>, Vec<String>) {
        let mut server = self.spawn();
        let status = server.end();
        (status.code(), server.said())
    }

    /// It must refuse to start, with exit code 1 and one line, which is returned.
    pub fn refused(&self) -> String {
        let (code, said) = self.run();
        assert_eq!((code, said.len()), (Some(1), 1), "{said:#?}");
        said.into_iter().next().unwrap()
    }
}

/// A token of a SASL exchange, and the server's.
pub fn token(client: &mut Client, token: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
    match client.call(&Ask::Sasl { token: Some(token) })? {
        Body::Token(token) => Ok(token),
        other => panic!("{other:?}"),
    }
}

/// The answer to a challenge of DIGEST-MD5, by the example of RFC 2831 and not by the server's own code.
pub fn proof(challenge: &[u8], user: &str, password: &str) -> Vec<u8> {
    let challenge = std::str::from_utf8(challenge).unwrap();
    let nonce = challenge.strip_prefix("realm=\"zk-sasl-md5\",nonce=\"").unwrap();
    let (nonce, rest) = nonce.split_once('"').unwrap();
    assert_eq!(rest, ",charset=utf-8,algorithm=md5-sess");
    let hex = |bytes: &[u8]| Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let secret = Md5::digest(format!("{user}:zk-sasl-md5:{password}"));
    let a1 = hex(&[&secret[..], format!(":{nonce}:abc").as_bytes()].concat());
    let a2 = hex(b"AUTHENTICATE:zookeeper/zk-sasl-md5");
    let response = hex(format!("{a1}:{nonce}:00000001:abc:auth:{a2}").as_bytes());
    format!(
        "charset=utf-8,username=\"{user}\",realm=\"zk-sasl-md5\",nonce=\"{nonce}\",nc=00000001,cnonce=\"abc\",\
         digest-uri=\"zookeeper/zk-sasl-md5\",maxbuf=65536,response={response},qop=auth"
    )
    .into_bytes()
}

/// A whole exchange: the server's last token.
pub fn prove(client: &mut Client, user: &str, password: &str) -> Result<Option<Vec<u8>>, ClientError> {
    let challenge = token(client, b"")?.expect("a challenge");
    token(client, &proof(&challenge, user, password))
}

/// A process.
pub struct Server {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    listener: Option<thread::JoinHandle<()>>,
    pub address: SocketAddr,
}

impl Server {
    /// A session of 30 s, or of as many seconds as are the longest granted.
    pub fn client(&self) -> Client {
        self.client_of(30_000)
    }

    pub fn client_of(&self, timeout_ms: i32) -> Client {
        Client::connect(self.address, timeout_ms, PATIENCE).unwrap()
    }

    pub fn attach(&self, credentials: Credentials) -> Client {
        Client::attach(self.address, credentials, PATIENCE).unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL, and it is gone.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.end().signal(), Some(9), "{:#?}", self.lines());
    }

    /// SIGTERM; it must end with 0 within two seconds. Returns what it said.
    pub fn stop(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        self.ends_well_within(Duration::from_secs(2));
        self.said()
    }

    /// It must end with exit code 0 in this time from now, which is stretched by what the machine keeps from everybody.
    pub fn ends_well_within(&mut self, limit: Duration) {
        let began = Instant::now();
        let status = self.end();
        let took = began.elapsed();
        assert_eq!(status.code(), Some(0), "{:#?}", self.lines());
        assert!(took < limit, "the end took {took:?}: {:#?}", self.lines());
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }

    /// Everything it said, once it has ended.
    pub fn said(&mut self) -> Vec<String> {
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        self.lines()
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line that contains `what`.
    pub fn wait_for_line(&mut self, what: &str) -> String {
        let lines = Arc::clone(&self.lines);
        eventually(what, || {
            let found = lines.lock().unwrap().iter().find(|line| line.contains(what)).cloned();
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("the server ended ({status}) without {what:?}: {:#?}", self.said());
            }
            found
        })
    }

    /// It must still run.
    pub fn check(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the server ended ({status}): {:#?}", self.said());
        }
    }

    fn proc(&self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.child.id()))
    }

    /// Descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Memory it has resident, KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Processor time its threads have used.
    pub fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(self.proc("task")).unwrap();
        let nanos = tasks.map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `found` finds something.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Each test twice: with the shards that this machine gets without being asked, and with four.
macro_rules! both {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            #[test]
            fn default_shards() {
                super::$name(&[]);
            }

            #[test]
            fn four_shards() {
                super::$name(&["--shards", "4"]);
            }
        }
    )* };
}
pub(crate) use both;
