//! `ringkeeper cli`: the tree from the command line, with ZooKeeper's own command names; one order, many by a pipe, or a prompt.

mod order;
mod perform;
mod prompt;
mod quota;
mod shown;
mod words;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use self::order::Order;
use self::perform::{NotDone, perform};
use self::shown::Shown;
use crate::client::blocking::ClientError;
use crate::client::lasting::Lasting;
use crate::client::target::Target;
use crate::show::tell::tell;

const LONG: &str = "\
Reads and changes the tree, with the command names and flags of ZooKeeper's zkCli.sh.

With a command it does that and ends. Without one it reads lines: at a terminal with a prompt, completion
of commands and paths by TAB, and a history; from a pipe one command a line. `help` lists the commands,
`COMMAND --help` tells what one takes. The session outlives lost connections, and its watches do.";

const AFTER: &str = "\
Examples:
  ringkeeper cli ls -R /
  ringkeeper cli --server zk1,zk2:2182/app --json get -s /config | jq .stat.version
  echo 'create /a x' | ringkeeper cli --auth digest:me:secret

Exit codes: 0 done; 1 the server refused (no such znode, no permission...); 2 wrong usage; 3 no server
answers, or the session has expired. Of lines from a pipe, each is tried, and the highest code is given.";

/// Read and change the tree, as zkCli.sh does.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Shell {
    /// The servers, and a path that is put before every other.
    #[arg(short, long, value_name = "HOST:PORT,.../CHROOT", default_value = "127.0.0.1:2181")]
    server: Target,

    /// Session timeout.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    timeout: u32,

    /// An identity, as `digest:user:password`. May be repeated.
    #[arg(long, value_name = "SCHEME:AUTH")]
    auth: Vec<String>,

    /// Answers as JSON, one object a line; refusals too, on standard output.
    #[arg(long)]
    json: bool,

    /// The command; see `ringkeeper cli help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The session that lines are done by, where there is one. A thread keeps it alive while a line is being written.
type Shared = Arc<Mutex<Option<Lasting>>>;

fn held(shared: &Shared) -> MutexGuard<'_, Option<Lasting>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exit codes besides 0.
const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

impl Shell {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let shared = Shared::default();
        let code = if !self.command.is_empty() {
            match order::of(&self.command) {
                Ok(order) => self.obey(&shared, &order),
                Err(error) => {
                    // Help goes to standard output, what is wrong to standard error.
                    let _ = error.print();
                    u8::try_from(error.exit_code()).unwrap_or(USAGE)
                }
            }
        } else if io::stdin().is_terminal() {
            prompt::run(&self, &shared)
        } else {
            self.pipe(&shared)
        };
        let keeper = held(&shared).take();
        if let Some(keeper) = keeper {
            // Ephemeral znodes go with the session; where no server answers they go later.
            let _ = keeper.close();
        }
        ExitCode::from(code)
    }

    fn open(&self, target: &Target) -> Result<Lasting, ClientError> {
        let timeout = Duration::from_secs(self.timeout.into());
        let mut keeper = Lasting::open(target, timeout, timeout.min(Duration::from_secs(10)))?;
        for identity in &self.auth {
            let (scheme, auth) = identity.split_once(':').unwrap_or((identity, ""));
            keeper.auth(scheme, auth.as_bytes())?;
        }
        Ok(keeper)
    }

    /// Each line of standard input, to its end or `quit`.
    fn pipe(&self, shared: &Shared) -> u8 {
        let mut worst = 0;
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else {
                tell("standard input is no text");
                return USAGE;
            };
            match order::read(&line) {
                None => {}
                Some(Ok(Order::Quit)) => break,
                Some(Ok(order)) => worst = worst.max(self.obey(shared, &order)),
                Some(Err(error)) => {
                    tell(&error);
                    worst = worst.max(USAGE);
                }
            }
            self.tell_events(shared);
        }
        worst
    }

    /// Does one order and shows what it gives. Returns its exit code.
    fn obey(&self, shared: &Shared, order: &Order) -> u8 {
        let mut keeper = held(shared);
        if let Order::Close | Order::Connect { .. } = order
            && let Some(old) = keeper.take()
        {
            let _ = old.close();
        }
        if matches!(order, Order::Close | Order::Quit | Order::History) {
            return 0;
        }
        if keeper.is_none() && !matches!(order, Order::Version) {
            let target = if let Order::Connect { server: Some(server) } = order { server } else { &self.server };
            match self.open(target) {
                Ok(open) => *keeper = Some(open),
                Err(error) => return self.refuse(&NotDone::Client(target.to_string(), error)),
            }
        }
        let done = match keeper.as_mut() {
            Some(keeper) => perform(keeper, order),
            None => Ok(perform::version()),
        };
        match done {
            Ok(shown) => {
                self.show(&shown);
                0
            }
            Err(not_done) => {
                if matches!(not_done, NotDone::Client(_, ClientError::Expired)) {
                    // The next order opens a new session.
                    *keeper = None;
                }
                self.refuse(&not_done)
            }
        }
    }

    fn show(&self, shown: &Shown) {
        let line = if self.json { shown.json.to_string() } else { shown.text.clone() };
        if !line.is_empty() {
            // A reader that has seen enough is no error.
            let _ = writeln!(io::stdout().lock(), "{line}");
        }
    }

    fn refuse(&self, not_done: &NotDone) -> u8 {
        let (code, name) = match not_done {
            NotDone::Path(_) => (USAGE, "BADPATH"),
            NotDone::Quota(_, error) => (REFUSED, error.name()),
            NotDone::Client(_, error) => match error.refusal() {
                Some(refusal) => (REFUSED, refusal.name()),
                None => (UNREACHABLE, "CONNECTIONLOSS"),
            },
        };
        if self.json {
            self.show(&Shown::new("", json!({ "error": name, "message": not_done.to_string() })));
        } else {
            tell(&not_done.to_string());
        }
        code
    }

    /// Shows events that have come.
    fn tell_events(&self, shared: &Shared) {
        let mut keeper = held(shared);
        while let Some(open) = keeper.as_mut() {
            match open.next_event(Duration::from_millis(1)) {
                Ok(Some(event)) => self.show(&shown::event(&event, open.target().seen(&event.path))),
                Ok(None) => return,
                Err(error) => {
                    tell(&format!("{error}; the next command opens a new session"));
                    *keeper = None;
                }
            }
        }
    }
}
