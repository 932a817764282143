//! Started: a server that a tool starts for a while, in a process group of its own, and what it has said.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long it may take to stop before it is killed.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is shown of its last words, bytes.
const LAST_WORDS: i64 = 600;

/// The process. It is stopped, with all that it has started, when this is dropped.
#[derive(Debug)]
pub struct Started {
    child: Child,
    said: File,
}

impl Started {
    /// Starts it. What it says goes to a file without a name. Ctrl-C is for this process alone.
    ///
    /// # Errors
    /// Where it cannot be started, or there is no room for what it says.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
        let said: File = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?.into();
        let (out, err) = (said.try_clone()?, said.try_clone()?);
        let child = command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
        Ok(Self { child, said })
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// What the system says.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// All that it has said.
    pub fn said(&mut self) -> String {
        self.said_from(0)
    }

    /// The end of what it has said, in a line.
    pub fn last_words(&mut self) -> String {
        let length = self.said.seek(SeekFrom::End(0)).unwrap_or(0).cast_signed();
        let text = self.said_from((length - LAST_WORDS).max(0).cast_unsigned());
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() { "none".to_owned() } else { words }
    }

    fn said_from(&mut self, from: u64) -> String {
        let mut bytes = Vec::new();
        // What cannot be read has not been said.
        let _ = self.said.seek(SeekFrom::Start(from)).and_then(|_| self.said.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Stops it, and waits until it has ended.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::KILL);
        // Killed or ended: nothing is left to wait for but its status.
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Started {
        Started::start(Command::new("sh").args(["-c", line])).unwrap()
    }

    #[test]
    fn one_that_ends_is_told_with_its_last_words() {
        let mut started = shell("echo no such thing >&2; exit 3");
        while started.ended().unwrap().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(started.ended().unwrap().and_then(|status| status.code()), Some(3));
        assert_eq!((started.said().as_str(), started.last_words().as_str()), ("no such thing\n", "no such thing"));
        assert_eq!(shell(":").last_words(), "none");
    }

    #[test]
    fn the_whole_group_is_stopped() {
        let mut started = shell("sleep 600 & echo $!; wait");
        let since = Instant::now();
        while started.said().trim().is_empty() {
            assert!(since.elapsed() < Duration::from_secs(60));
        }
        let inner = format!("/proc/{}/stat", started.said().trim());
        drop(started);
        // It dies by itself, and stays as a zombie until init has collected it.
        let is_there = || std::fs::read_to_string(&inner).is_ok_and(|state| !state.contains(") Z "));
        while is_there() {
            assert!(since.elapsed() < Duration::from_secs(60), "the shell's child is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
