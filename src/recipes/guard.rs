//! Guard: a command that may run only while a znode is there. When it is gone, or when nobody can say any more that it is
//! there, the command is ended before a server can let anybody else have what the znode stands for.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ended::{Ended, code_of};
use super::signals::Signals;
use crate::client::ask::Ask;
use crate::client::lasting::Lasting;
use crate::proto::event::EventType;
use crate::show::tell::tell;

/// How often the command is looked at.
const TURN: Duration = Duration::from_millis(20);

/// The command of a command line: its words, and what goes into its environment.
pub struct Job<'a> {
    /// The program and its arguments; never empty.
    pub words: &'a [String],
    /// Variables for it.
    pub variables: Vec<(&'static str, String)>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Job<'_> {
    /// The command, not started.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Why it did not start.
    pub fn not_started(&self, error: std::io::Error) -> Ended {
        Ended::Command(self.words[0].clone(), error)
    }
}

/// Sends the command a signal. One that has just ended does not hear it.
pub fn signal(child: &Child, number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

/// SIGTERM, and SIGKILL at `deadline`.
pub fn finish(child: &mut Child, deadline: Instant) -> Result<ExitStatus, Ended> {
    signal(child, signal_hook::consts::SIGTERM);
    loop {
        if let Some(status) = child.try_wait().map_err(|error| Ended::System("waiting for the command", error))? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill().map_err(|error| Ended::System("SIGKILL", error))?;
        }
        std::thread::sleep(TURN);
    }
}

/// Runs the command while `znode` is there. Returns its exit code.
pub fn run(keeper: &mut Lasting, znode: &str, job: &Job<'_>, signals: &Signals) -> Result<u8, Ended> {
    if let Err(error) = keeper.call(&Ask::Exists { path: znode, watch: true }) {
        return Err(Ended::Lost(format!("{znode}: {error}")));
    }
    let mut child = job.command().spawn().map_err(|error| job.not_started(error))?;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| Ended::System("waiting for the command", error))? {
            return Ok(code_of(status));
        }
        if let Some(number @ (signal_hook::consts::SIGTERM | signal_hook::consts::SIGHUP)) = signals.take() {
            signal(&child, number);
        }
        let lost = match keeper.next_event(TURN) {
            Ok(Some(event)) if event.path == znode && event.kind == EventType::NodeDeleted as i32 => {
                Some("it was deleted".into())
            }
            // Somebody wrote to it: the watch is gone.
            Ok(Some(event)) if event.path == znode => {
                keeper.call(&Ask::Exists { path: znode, watch: true }).err().map(|error| error.to_string())
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        let silent = || (keeper.silence() > keeper.timeout() * 2 / 3).then(|| "no server has answered for too long".to_owned());
        let Some(why) = lost.or_else(silent) else { continue };
        tell(&format!("lost {znode}: {why}; ending the command"));
        // While no server answers, the session may live up to its timeout, and no longer.
        let left = keeper.timeout().saturating_sub(keeper.silence());
        finish(&mut child, Instant::now() + job.grace.min(left.max(TURN)))?;
        return Err(Ended::Lost(why));
    }
}
