//! World: the servers of one ensemble, each in a directory of its own, and what they say of their roles.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use ringkeeper::client::blocking::Client;
use ringkeeper::client::session::Credentials;
use rustix::process::Signal;
use tempfile::TempDir;

use super::harness::{PATIENCE, Server, Setup, directory, eventually};

/// What a server said last that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Looking,
    Joining,
    Following { leader: usize, epoch: u64 },
    Observing { leader: usize, epoch: u64 },
    Leading { epoch: u64 },
}

impl Role {
    fn of(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
        Some(match *words.first()? {
            "looking" => Self::Looking,
            "joining" => Self::Joining,
            "following" => Self::Following { leader: number(1)? as usize, epoch: number(3)? },
            "observing" => Self::Observing { leader: number(1)? as usize, epoch: number(3)? },
            "leading" => Self::Leading { epoch: number(2)? },
            _ => return None,
        })
    }

    pub fn epoch(self) -> u64 {
        match self {
            Self::Following { epoch, .. } | Self::Observing { epoch, .. } | Self::Leading { epoch } => epoch,
            Self::Looking | Self::Joining => 0,
        }
    }
}

/// The servers, by their numbers.
pub struct Ensemble {
    directory: TempDir,
    ports: Vec<u16>,
    servers: BTreeMap<usize, Server>,
    asleep: Option<usize>,
}

impl Ensemble {
    /// Directories and configurations of so many servers that vote and so many that observe.
    pub fn plan(voters: usize, observers: usize) -> Self {
        Self::plan_with(voters, observers, "")
    }

    /// With these lines in every configuration.
    pub fn plan_with(voters: usize, observers: usize, lines: &str) -> Self {
        let all = voters + observers;
        // Held together, so that no two are one.
        let held: Vec<_> = (0..2 * all).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let this = Self { directory: directory(), ports, servers: BTreeMap::new(), asleep: None };
        for k in 1..=all {
            fs::create_dir_all(this.data(k)).unwrap();
            fs::write(this.data(k).join("myid"), format!("{k}\n")).unwrap();
            let mut text = format!("dataDir={}\n", this.data(k).display());
            text.push_str("tickTime=300\ninitLimit=30\nsyncLimit=10\nmaxSessionTimeout=60000\npreAllocSize=16384\n4lw.commands.whitelist=*\n");
            text.push_str(lines);
            for j in 1..=all {
                let role = if j > voters { "observer" } else { "participant" };
                text.push_str(&format!("server.{j}=127.0.0.1:{}:{}:{role}\n", this.ports[2 * j - 2], this.election_port(j)));
            }
            let _ = Setup::bare(&this.home(k)).config(&text);
        }
        this
    }

    /// The same, and all of them started.
    pub fn start(voters: usize, observers: usize) -> Self {
        Self::start_with(voters, observers, "")
    }

    /// With these lines in every configuration.
    pub fn start_with(voters: usize, observers: usize, lines: &str) -> Self {
        let mut this = Self::plan_with(voters, observers, lines);
        (1..=voters + observers).for_each(|k| this.launch(k));
        this
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn home(&self, k: usize) -> PathBuf {
        self.directory.path().join(k.to_string())
    }

    pub fn data(&self, k: usize) -> PathBuf {
        self.home(k).join("data")
    }

    pub fn election_port(&self, k: usize) -> u16 {
        self.ports[2 * k - 1]
    }

    /// What `/zookeeper/config` is to show.
    pub fn configuration(&self) -> String {
        let text = fs::read_to_string(self.home(1).join("zoo.cfg")).unwrap();
        text.lines().filter(|line| line.starts_with("server.")).fold(String::new(), |all, line| all + line + "\n") + "version=0"
    }

    pub fn setup(&self, k: usize) -> Setup {
        let text = fs::read_to_string(self.home(k).join("zoo.cfg")).unwrap();
        Setup::bare(&self.home(k)).config(&text).args(&["--listen", "127.0.0.1:0"])
    }

    pub fn launch(&mut self, k: usize) {
        self.launch_with(k, &[]);
    }

    /// With these arguments.
    pub fn launch_with(&mut self, k: usize, args: &[&str]) {
        let server = self.setup(k).args(args).start();
        assert!(self.servers.insert(k, server).is_none(), "server {k} runs already");
    }

    /// With a small file system of its own for its data, where another file takes most of the room. `unshare` are the words that give it one.
    pub fn launch_on_a_small_disk(&mut self, k: usize, unshare: &[String]) {
        let data = self.data(k).display().to_string();
        let script = format!(
            "mount -t tmpfs -o size=104m tmpfs '{data}' && echo {k} >'{data}/myid' &&
             dd if=/dev/zero of='{data}/other' bs=1M count=60 status=none || exit 99
             exec \"$@\""
        );
        let words: Vec<&str> = unshare.iter().map(String::as_str).chain(["sh", "-c", &script, "sh"]).collect();
        let server = self.setup(k).wrapped(&words).start();
        assert!(self.servers.insert(k, server).is_none(), "server {k} runs already");
    }

    /// The other file of such a disk.
    pub fn other_file(&self, k: usize) -> PathBuf {
        format!("/proc/{}/root{}/other", self.servers[&k].id(), self.data(k).display()).into()
    }

    /// How often it has said this.
    pub fn has_said(&self, k: usize, what: &str) -> usize {
        self.servers[&k].lines().iter().filter(|line| line.contains(what)).count()
    }

    /// `ringkeeper recover` for this server: its exit code, and what it says.
    pub fn recover(&self, k: usize, args: &[&str]) -> (Option<i32>, String) {
        let config = self.home(k).join("zoo.cfg");
        let done = Command::new(env!("CARGO_BIN_EXE_ringkeeper")).arg("recover").arg(config).args(args).output().unwrap();
        let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (done.status.code(), said.concat())
    }

    /// Those that run, ascending.
    pub fn up(&self) -> Vec<usize> {
        self.servers.keys().copied().collect()
    }

    /// Its data are gone, but for its number.
    pub fn wipe(&self, k: usize) {
        fs::remove_dir_all(self.data(k)).unwrap();
        fs::create_dir_all(self.data(k)).unwrap();
        fs::write(self.data(k).join("myid"), format!("{k}\n")).unwrap();
    }

    pub fn kill(&mut self, k: usize) {
        self.servers.remove(&k).unwrap().kill();
    }

    /// Stops it in good order.
    pub fn end(&mut self, k: usize) {
        self.servers.remove(&k).unwrap().stop();
    }

    pub fn signal(&self, k: usize, signal: Signal) {
        self.servers[&k].signal(signal);
    }

    /// What this one said last does not count until it is awake.
    pub fn asleep(&mut self, k: usize) {
        self.asleep = Some(k);
    }

    pub fn awake(&mut self, k: usize) {
        assert_eq!(self.asleep.take(), Some(k));
    }

    pub fn role(&self, k: usize) -> Role {
        self.servers[&k].lines().iter().rev().find_map(|line| Role::of(line)).unwrap_or(Role::Looking)
    }

    /// Waits until it is what is wanted.
    pub fn await_role(&mut self, k: usize, is_wanted: impl Fn(Role) -> bool) {
        eventually(&format!("the role of server {k}"), || {
            self.servers.get_mut(&k).unwrap().check();
            is_wanted(self.role(k)).then_some(())
        });
    }

    /// Waits until one leads and all others that vote and are awake follow it.
    pub fn await_leader(&mut self) -> usize {
        eventually("a leader that all follow", || {
            self.servers.values_mut().for_each(Server::check);
            let roles: Vec<_> = self.up().into_iter().filter(|k| self.asleep != Some(*k)).map(|k| (k, self.role(k))).collect();
            let (leader, epoch) =
                roles.iter().find_map(|(k, role)| if let Role::Leading { epoch } = role { Some((*k, *epoch)) } else { None })?;
            let is_of_it = |role: Role| match role {
                Role::Following { leader: whom, epoch: of } => whom == leader && of == epoch,
                Role::Leading { epoch: of } => of == epoch,
                // It may come later.
                Role::Observing { .. } | Role::Joining | Role::Looking => false,
            };
            let voters = roles.iter().filter(|(k, _)| *k <= 3);
            voters.clone().all(|(_, role)| is_of_it(*role)).then_some(leader)
        })
    }

    pub fn client(&self, k: usize) -> Client {
        self.client_of(k, 30_000)
    }

    pub fn client_of(&self, k: usize, timeout_ms: i32) -> Client {
        // A server that has just come to its role may not have opened its doors yet.
        eventually(&format!("a session at server {k}"), || Client::connect(self.servers[&k].address, timeout_ms, PATIENCE).ok())
    }

    pub fn attach(&self, k: usize, credentials: Credentials) -> Client {
        Client::attach(self.servers[&k].address, credentials, PATIENCE).unwrap()
    }

    /// Whether a session is over for this server.
    pub fn refuses(&self, k: usize, credentials: Credentials) -> bool {
        Client::attach(self.servers[&k].address, credentials, PATIENCE).is_err()
    }

    /// A four-letter word's answer.
    pub fn word(&self, k: usize, word: &str) -> String {
        let mut stream = TcpStream::connect(self.servers[&k].address).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Stops all of them; each must end in good order.
    pub fn stop(mut self) {
        for (_, server) in std::mem::take(&mut self.servers) {
            server.stop();
        }
    }
}
