//! Recipes: `ringkeeper lock`, `elect`, `watch` and `cli` as processes, against the server as a process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use ringkeeper::client::ask::CreateMode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[path = "../server/harness.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "shared with the tests of the server, which use all of it")]
mod harness;
mod shell;

use harness::{PATIENCE, Server, Setup, directory, eventually};

/// A server of short ticks, so that short sessions are granted.
pub fn server(directory: &Path) -> Server {
    Setup::new(directory, &[]).args(&["-Dzookeeper.tickTime=500", "-Dzookeeper.4lw.commands.whitelist=*"]).start()
}

/// The same data again, where clients look for it.
fn again(directory: &Path, address: SocketAddr) -> Server {
    let data = directory.join("data").display().to_string();
    let setup = Setup::bare(directory).args(&["--data-dir", &data, "--listen", &address.to_string()]);
    setup.args(&["-Dzookeeper.preAllocSize=16384"]).start()
}

/// `ringkeeper` with a server and words, its output kept.
pub fn command(server: SocketAddr, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.arg(words[0]).arg("--server").arg(server.to_string()).args(&words[1..]);
    command.env_remove("RINGKEEPER_LOCKS").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How it ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A process that goes on, with the lines that it says.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(server: SocketAddr, words: &[&str]) -> Self {
        let mut child = command(server, words).stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Its next line; it blocks until there is one.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        eventually("the end of a recipe", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that says who it is and goes on until its standard output or this process is closed.
const HOLD: &str = "echo $0; exec sleep 100";

fn children(server: &Server, path: &str) -> Vec<String> {
    server.client().children(path, false).map(|(names, _)| names).unwrap_or_default()
}

fn queued(server: &Server, path: &str, count: usize) {
    eventually("candidates", || (children(server, path).len() == count).then_some(()));
}

#[test]
fn a_lock_excludes_passes_on_when_its_holder_is_killed_and_is_watched_by_one() {
    let directory = directory();
    let server = server(directory.path());
    let words = |name| ["lock", "--timeout", "2", "/locks/a", "--", "sh", "-c", HOLD, name];
    let mut first = Running::start(server.address, &words("first"));
    assert_eq!(first.line(), "first");
    let mut second = Running::start(server.address, &words("second"));
    queued(&server, "/locks/a", 2);
    let mut third = Running::start(server.address, &words("third"));
    queued(&server, "/locks/a", 3);

    // The holder's znode is watched by itself and by the second, the second's by the third, and nothing else by anybody.
    let wanted = "3 connections watching 2 paths\nTotal watches:3\n";
    eventually("watches", || (word(server.address, "wchs") == wanted).then_some(()));
    assert_eq!(third.child.try_wait().unwrap(), None);

    let patient = run(command(server.address, &["lock", "--wait", "0.5", "/locks/a", "--", "true"]));
    assert_eq!(patient.code, Some(124), "{patient:#?}");

    // SIGKILL: the session is not closed, it expires. What it ran is told by nobody; it is ours to end.
    first.signal(Signal::KILL);
    assert_eq!(second.line(), "second");
    // Told to stop, the command is told, and the lock is free at once.
    second.signal(Signal::TERM);
    assert_eq!(second.code(), Some(143));
    assert_eq!(third.line(), "third");

    // Somebody takes the lock away.
    let own = children(&server, "/locks/a").remove(0);
    server.client().delete(&format!("/locks/a/{own}"), -1).unwrap();
    assert_eq!(third.code(), Some(123));
}

fn word(address: SocketAddr, word: &str) -> String {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_lock_is_had_again_by_what_runs_under_it_and_gives_the_commands_code() {
    let directory = directory();
    let server = server(directory.path());
    let own = env!("CARGO_BIN_EXE_ringkeeper");
    let nested = format!("{own} lock --server {}/r /a -- sh -c 'echo $RINGKEEPER_FENCE; exit 9'", server.address);
    let mut under = Command::new(own);
    let chroot = format!("{}/r", server.address);
    let script = format!("echo $RINGKEEPER_FENCE $RINGKEEPER_LOCK; {nested}");
    under.args(["lock", "--server", &chroot, "--wait", "30", "/a", "--", "sh", "-c", &script]);
    let ran = run(under);
    assert_eq!(ran.code, Some(9), "{ran:#?}");
    let lines: Vec<_> = ran.out.lines().collect();
    let (fence, lock) = lines[0].split_once(' ').unwrap();
    assert!(fence == lines[1] && lock.starts_with("/a/_c_"), "{ran:#?}");
    assert_eq!(children(&server, "/r/a"), [""; 0], "it lets go at its end");

    let missing = run(command(server.address, &["lock", "/a", "--", "/no/such/program"]));
    assert_eq!(missing.code, Some(127), "{missing:#?}");
    let path = run(command(server.address, &["lock", "a", "--", "true"]));
    assert_eq!(path.code, Some(2), "{path:#?}");
    let nobody = run(command(([127, 0, 0, 1], 1).into(), &["lock", "--timeout", "0.3", "/a", "--", "true"]));
    assert_eq!(nobody.code, Some(125), "{nobody:#?}");
}

#[test]
fn a_holder_that_hears_no_server_ends_its_command() {
    let directory = directory();
    let server = server(directory.path());
    // It does not heed SIGTERM.
    let script = "trap '' TERM; echo held; while :; do sleep 0.1; done";
    let mut holder = Running::start(server.address, &["lock", "--timeout", "2", "/a", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "held");
    server.signal(Signal::STOP);
    assert_eq!(holder.code(), Some(123));
    server.signal(Signal::CONT);
}

#[test]
fn a_lock_outlives_its_server_if_that_comes_back_in_time() {
    let directory = directory();
    let first = Setup::new(directory.path(), &[]).start();
    let address = first.address;
    let mut holder = Running::start(address, &["lock", "--timeout", "20", "/a", "--", "sh", "-c", "echo held; sleep 100"]);
    assert_eq!(holder.line(), "held");
    first.kill();
    let second = again(directory.path(), address);
    let own = children(&second, "/a").remove(0);
    // Attached again, and guarding again.
    eventually("the attachment", || word_of_watch(&second).then_some(()));
    assert_eq!(holder.child.try_wait().unwrap(), None);
    second.client().delete(&format!("/a/{own}"), -1).unwrap();
    assert_eq!(holder.code(), Some(123));
}

/// Whether somebody watches anything.
fn word_of_watch(server: &Server) -> bool {
    word(server.address, "srvr").lines().any(|line| line == "Connections: 2")
}

#[test]
fn a_leader_is_followed_by_the_next_when_it_resigns_and_stands_again_when_it_is_deposed() {
    let directory = directory();
    let server = server(directory.path());
    let nobody = run(command(server.address, &["elect", "/e"]));
    assert_eq!(nobody.code, Some(1), "{nobody:#?}");
    let words = |name| ["elect", "--timeout", "2", "--name", name, "/e", "--", "sh", "-c", HOLD, name];
    let mut a = Running::start(server.address, &words("a"));
    assert_eq!(a.line(), "a");
    let mut b = Running::start(server.address, &words("b"));
    queued(&server, "/e", 2);
    let leader = run(command(server.address, &["elect", "/e"]));
    assert_eq!((leader.code, &*leader.out), (Some(0), "a\n"));

    // Deposed, it stands again, behind the other.
    let mut client = server.client();
    let mut names = client.children("/e", false).unwrap().0;
    names.sort_by_key(|name| name[name.len() - 10..].to_owned());
    client.delete(&format!("/e/{}", names[0]), -1).unwrap();
    assert_eq!(b.line(), "b");
    queued(&server, "/e", 2);
    b.signal(Signal::TERM);
    assert_eq!((b.code(), a.line()), (Some(143), "a".to_owned()));
}

#[test]
fn a_watch_pushes_each_change_and_outlives_its_server() {
    let directory = directory();
    let server = Setup::new(directory.path(), &[]).start();
    let address = server.address;
    let script = "echo $RINGKEEPER_EVENT $RINGKEEPER_VERSION $(cat)";
    let mut watch = Running::start(address, &["watch", "/c", "--", "sh", "-c", script]);
    assert_eq!(watch.line(), "missing");
    let mut client = server.client();
    client.create("/c", b"one", CreateMode::Persistent).unwrap();
    assert_eq!(watch.line(), "created 0 one");
    for (version, data) in [(1, "two"), (2, "three")] {
        client.set("/c", data.as_bytes(), -1).unwrap();
        assert_eq!(watch.line(), format!("changed {version} {data}"));
    }
    drop(client);
    server.kill();
    let server = again(directory.path(), address);
    server.client().set("/c", b"four", -1).unwrap();
    assert_eq!(watch.line(), "changed 3 four");
    server.client().delete("/c", -1).unwrap();
    assert_eq!(watch.line(), "deleted");
    watch.signal(Signal::TERM);
    assert_eq!(watch.code(), Some(143));
}

#[test]
fn a_watch_of_children_ends_after_so_many_changes() {
    let directory = directory();
    let server = server(directory.path());
    let mut client = server.client();
    client.create("/s", b"", CreateMode::Persistent).unwrap();
    let out = directory.path().join("names");
    let script = format!("cat > {}; exit 5", out.display());
    let mut watch = Running::start(server.address, &["watch", "--children", "--changes", "1", "/s", "--", "sh", "-c", &script]);
    eventually("the watcher", || word(server.address, "srvr").lines().any(|line| line == "Connections: 3").then_some(()));
    // It has its watch when it has read the children; until then it takes what it finds for the beginning.
    for i in 0.. {
        client.create(&format!("/s/{i}"), b"", CreateMode::Persistent).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        if watch.child.try_wait().unwrap().is_some() {
            break;
        }
    }
    assert_eq!(watch.code(), Some(5));
    assert!(fs::read_to_string(out).unwrap().starts_with("0\n"));
}
