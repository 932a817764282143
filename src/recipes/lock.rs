//! `ringkeeper lock`: a command that runs while nobody else has the lock.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::ended::{CODES, Ended, end};
use super::guard::{self, Job};
use super::line::{Patience, queue_up, wait_first};
use super::options::{Options, seconds};
use super::signals::Signals;
use crate::client::answer::Body;
use crate::client::ask::Ask;
use crate::client::blocking::ClientError;
use crate::client::lasting::Lasting;
use crate::proto::path;

/// Full paths of the locks that the process was started under, one a line.
const HELD: &str = "RINGKEEPER_LOCKS";

const LONG: &str = "\
Runs a command while nobody else has the lock PATH.

Whoever wants it queues up below PATH and watches the one before it; when a holder ends, or its session
expires because it is dead or cut off, the next one runs. A command that runs under the lock may take
it again: it has it already. When the lock is lost (no server answered for two thirds of the session
timeout, the session expired, or somebody deleted the znode) the command gets SIGTERM, and SIGKILL
after the grace or when the session may be over, whichever is first. Signals go to the command, not to
what it has started. If this process is killed by SIGKILL, the command goes on without the lock.

The command sees RINGKEEPER_LOCK (its znode) and RINGKEEPER_FENCE (a number that grows with each holder:
give it to what you write to, to have writes of former holders refused).";

const EXAMPLES: &str = "\
Examples:
  ringkeeper lock /locks/backup -- pg_dump app
  ringkeeper lock --server zk1,zk2,zk3/team --wait 5 /locks/deploy -- ./deploy.sh || echo \"code $?\"
  ringkeeper lock /locks/a -- ringkeeper lock /locks/a -- echo 'no deadlock'

";

/// Run a command while nobody else has a lock.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = format!("{EXAMPLES}{CODES}"))]
pub struct Lock {
    #[command(flatten)]
    options: Options,

    /// Give up when the lock is not had after this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,

    /// Between SIGTERM and SIGKILL for a command that has lost the lock.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    grace: Duration,

    /// The znode of the lock; it is made where it is missing.
    path: String,

    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Lock {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        end(self.attempt())
    }

    fn attempt(&self) -> Result<u8, Ended> {
        let full = self.options.full(&self.path)?;
        let signals = Signals::listen().map_err(|error| Ended::System("signals", error))?;
        let patience = Patience { until: self.wait.map(|wait| Instant::now() + wait), signals: &signals };
        let mut keeper = self.options.open()?;
        let held = std::env::var(HELD).unwrap_or_default();
        if let Some(znode) = held_below(&held, &full)
            && let Some(fence) = fence(&mut keeper, znode)?
        {
            // Another process's znode: it is guarded, and stays when this one ends.
            let ended = guard::run(&mut keeper, znode, &self.job(znode, fence, held.clone()), &signals);
            return closed(keeper, ended);
        }
        loop {
            let got = queue_up(&mut keeper, &full, "lock", b"", &patience)
                .and_then(|place| wait_first(&mut keeper, &place, &patience).map(|()| place));
            let place = match got {
                Ok(place) => place,
                // The place in the line is gone, and nothing else: queue up again.
                Err(Ended::Client(ClientError::Expired)) => {
                    keeper = self.options.open()?;
                    continue;
                }
                Err(ended) => return closed(keeper, Err(ended)),
            };
            let Some(fence) = fence(&mut keeper, &place.znode)? else { continue };
            let held = if held.is_empty() { place.znode.clone() } else { format!("{held}\n{}", place.znode) };
            let ended = guard::run(&mut keeper, &place.znode, &self.job(&place.znode, fence, held), &signals);
            return closed(keeper, ended);
        }
    }

    fn job(&self, znode: &str, fence: u64, held: String) -> Job<'_> {
        let variables = vec![
            (HELD, held),
            ("RINGKEEPER_LOCK", self.options.server.seen(znode).to_owned()),
            ("RINGKEEPER_FENCE", fence.to_string()),
        ];
        Job { words: &self.command, variables, grace: self.grace }
    }
}

/// Lets go at once of what the session holds. A server that cannot be told will find out.
pub(super) fn closed(keeper: Lasting, ended: Result<u8, Ended>) -> Result<u8, Ended> {
    let _ = keeper.close();
    ended
}

/// zxid of a znode's creation, if it is there: no two holders have the same, and later ones have a larger one.
pub(super) fn fence(keeper: &mut Lasting, znode: &str) -> Result<Option<u64>, Ended> {
    match keeper.call(&Ask::Exists { path: znode, watch: false }) {
        Ok(Body::Stat(stat)) => Ok(Some(stat.czxid.0)),
        Ok(_) => Ok(None),
        Err(ClientError::Refused(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The znode by which this process was started under the lock `full`.
fn held_below<'a>(held: &'a str, full: &str) -> Option<&'a str> {
    held.lines().find(|znode| path::split(znode).is_some_and(|(lock, _)| lock == full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_found_by_its_path_alone() {
        let held = "/a/_c_1-lock-0000000001\n/a/b/_c_2-lock-0000000007";
        assert_eq!(held_below(held, "/a/b"), Some("/a/b/_c_2-lock-0000000007"));
        assert_eq!(held_below(held, "/a"), Some("/a/_c_1-lock-0000000001"));
        assert_eq!((held_below(held, "/"), held_below("", "/a")), (None, None));
    }
}
