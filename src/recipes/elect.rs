//! `ringkeeper elect`: a command that runs where this process is the leader.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ended::{CODES, Ended, end};
use super::guard::{self, Job};
use super::line::{Patience, candidates, queue_up, wait_first};
use super::lock::{closed, fence};
use super::options::{Options, seconds};
use super::signals::Signals;
use crate::client::answer::{Body, Code};
use crate::client::ask::Ask;
use crate::client::blocking::ClientError;
use crate::show::tell::tell;

const LONG: &str = "\
Stands for leader at PATH and runs a command while it is elected.

Whoever stands first leads. A leader resigns when its command ends; this process then ends with the
command's exit code. When the leadership is lost (see `ringkeeper lock --help`: the same rules, the same
SIGTERM and SIGKILL) it stands again with a new session, unless --once is given. Without a command
it says who leads: the name that the leader gave by --name.

The command sees RINGKEEPER_CANDIDATE (its znode) and RINGKEEPER_FENCE (a number that grows with each leader).";

const EXAMPLES: &str = "\
Examples:
  ringkeeper elect /election/cron --name \"$(hostname)\" -- ./scheduler
  ringkeeper elect /election/cron                        who leads? exit code 1 where nobody does

";

/// Stand for leader, and run a command while elected.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = format!("{EXAMPLES}{CODES}"))]
pub struct Elect {
    #[command(flatten)]
    options: Options,

    /// What others learn of this candidate; its process id where nothing is given.
    #[arg(long)]
    name: Option<String>,

    /// End with exit code 123 when the leadership is lost, instead of standing again.
    #[arg(long)]
    once: bool,

    /// Between SIGTERM and SIGKILL for a command that has lost the leadership.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    grace: Duration,

    /// The znode of the election; it is made where it is missing.
    path: String,

    /// The command.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Elect {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        end(self.attempt())
    }

    fn attempt(&self) -> Result<u8, Ended> {
        let full = self.options.full(&self.path)?;
        if self.command.is_empty() {
            return self.leader(&full);
        }
        let signals = Signals::listen().map_err(|error| Ended::System("signals", error))?;
        let patience = Patience { until: None, signals: &signals };
        let name = self.name.clone().unwrap_or_else(|| std::process::id().to_string());
        loop {
            let mut keeper = match self.options.open() {
                Err(Ended::Client(error)) if error.is_of_connection() && !self.once => {
                    patience.check()?;
                    tell(&format!("no server answers: {error}; trying on"));
                    continue;
                }
                keeper => keeper?,
            };
            let elected = queue_up(&mut keeper, &full, "latch", name.as_bytes(), &patience)
                .and_then(|place| wait_first(&mut keeper, &place, &patience).map(|()| place));
            let ended = match elected {
                Ok(place) => match fence(&mut keeper, &place.znode)? {
                    Some(fence) => {
                        let variables = vec![
                            ("RINGKEEPER_CANDIDATE", self.options.server.seen(&place.znode).to_owned()),
                            ("RINGKEEPER_FENCE", fence.to_string()),
                        ];
                        let job = Job { words: &self.command, variables, grace: self.grace };
                        guard::run(&mut keeper, &place.znode, &job, &signals)
                    }
                    None => Err(Ended::Lost("deleted before it led".into())),
                },
                Err(ended) => Err(ended),
            };
            match closed(keeper, ended) {
                Err(Ended::Lost(why)) if !self.once => tell(&format!("{why}; standing again")),
                Err(Ended::Client(ClientError::Expired)) => {}
                Err(Ended::Client(error)) if error.is_of_connection() && !self.once => {}
                ended => return ended,
            }
            patience.check()?;
        }
    }

    /// Says who leads. 1 where nobody does.
    fn leader(&self, full: &str) -> Result<u8, Ended> {
        let mut keeper = self.options.open()?;
        let missing = |error: &ClientError| error.refusal().is_some_and(|refusal| refusal.is(Code::NoNode));
        let code = loop {
            let names = match candidates(&mut keeper, full) {
                Err(error) if missing(&error) => Vec::new(),
                names => names?,
            };
            let Some(first) = names.first() else { break 1 };
            match keeper.call(&Ask::GetData { path: &format!("{full}/{first}"), watch: false }) {
                Ok(Body::Data(data, _)) => {
                    println!("{}", String::from_utf8_lossy(&data.unwrap_or_default()));
                    break 0;
                }
                Ok(_) => break 1,
                // It has just resigned.
                Err(error) if missing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        };
        closed(keeper, Ok(code))
    }
}
