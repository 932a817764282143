//! Process: a server that the bench starts for a comparison, and stops.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::client::blocking::Client;

/// How long a server may take until it grants a session: a Java server on a busy machine needs many seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to stop before it is killed.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is shown of the last words of a server that did not start, bytes.
const LAST_WORDS: i64 = 400;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The shell cannot be started.
    #[error("cannot start {0:?}: {1}")]
    Start(String, std::io::Error),
    /// It ended at once.
    #[error("{0:?} ended with {1} before it served {2}; its last words: {3}")]
    Ended(String, ExitStatus, String, String),
    /// It does not serve.
    #[error("{0:?} runs but {1} grants no session within {2} s: {3}; its last words: {4}")]
    Silent(String, String, u64, String, String),
}

/// A server that was started. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts the command, by the shell and as a process group of its own, and waits until all `servers` grant sessions. What it
    /// says goes to a file without a name, of which the end is shown where it fails.
    pub fn start(command: &str, servers: &[String]) -> Result<Self, ProcessError> {
        let failed = |error| ProcessError::Start(command.to_owned(), error);
        let mut said = tempfile_of_ours().map_err(failed)?;
        let (out, err) = (said.try_clone().map_err(failed)?, said.try_clone().map_err(failed)?);
        let child =
            Command::new("sh").args(["-c", command]).process_group(0).stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let mut server = Self { child: child.map_err(failed)? };
        let since = Instant::now();
        for name in servers {
            loop {
                if let Some(status) = server.child.try_wait().map_err(failed)? {
                    return Err(ProcessError::Ended(command.to_owned(), status, name.clone(), last_words(&mut said)));
                }
                match Client::connect(name.as_str(), 10_000, Duration::from_secs(2)).and_then(Client::close) {
                    Ok(()) => break,
                    Err(error) if since.elapsed() > PATIENCE => {
                        let (seconds, words) = (PATIENCE.as_secs(), last_words(&mut said));
                        return Err(ProcessError::Silent(command.to_owned(), name.clone(), seconds, error.to_string(), words));
                    }
                    // It is asked again until it serves.
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        }
        Ok(server)
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal(Signal::KILL);
        // Killed or ended: nothing is left to wait for but its status.
        let _ = self.child.wait();
    }
}

/// A file that is gone with its last descriptor.
fn tempfile_of_ours() -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open(std::env::temp_dir(), flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?.into())
}

fn last_words(said: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = said.seek(SeekFrom::End(0)).unwrap_or(0).cast_signed();
    // What cannot be read is not shown.
    let _ = said.seek(SeekFrom::Start((length - LAST_WORDS).max(0).cast_unsigned())).and_then(|_| said.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { "none".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ends_is_told_with_its_last_words() {
        let servers = ["127.0.0.1:9".to_owned()];
        let error = Server::start("echo no such thing >&2; exit 3", &servers).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    }

    #[test]
    fn the_whole_group_is_stopped() {
        let mut said = tempfile_of_ours().unwrap();
        let child = Command::new("sh")
            .args(["-c", "sleep 600 & echo $!; wait"])
            .process_group(0)
            .stdout(said.try_clone().unwrap())
            .spawn()
            .unwrap();
        let since = Instant::now();
        let mut inner = String::new();
        while inner.trim().is_empty() {
            assert!(since.elapsed() < Duration::from_secs(60));
            said.seek(SeekFrom::Start(0)).unwrap();
            said.read_to_string(&mut inner).unwrap();
        }
        drop(Server { child });
        let inner = format!("/proc/{}/stat", inner.trim());
        // It dies by itself, and stays as a zombie until init has collected it.
        let is_there = || std::fs::read_to_string(&inner).is_ok_and(|state| !state.contains(") Z "));
        while is_there() {
            assert!(since.elapsed() < Duration::from_secs(60), "the shell's child is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
