//! `ringkeeper watch`: data pushed to a command, at each change of a znode.

use std::io::Write;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use super::ended::{CODES, Ended, code_of, end};
use super::guard::{self, Job};
use super::options::{Options, seconds};
use super::signals::Signals;
use crate::client::answer::{Body, Code};
use crate::client::ask::Ask;
use crate::client::blocking::ClientError;
use crate::client::lasting::Lasting;
use crate::proto::stat::Stat;
use crate::show::tell::tell;

/// How often a running command is looked at, and signals where there is none.
const TURN: Duration = Duration::from_millis(20);

const LONG: &str = "\
Runs a command now and at each change of PATH, with the data on its standard input.

It runs also when the znode comes or goes; there is no data then, and RINGKEEPER_EVENT says deleted. One run at
a time: what changes while the command runs is told by one run after it, with the newest data, so that the
last run has always seen the last state. The session outlives lost connections, and nothing that changed
meanwhile is missed; when it expires, a new one is opened and the znode is compared with what was told last.

The command sees RINGKEEPER_PATH, RINGKEEPER_EVENT (found, created, changed, deleted or missing), and where the znode is
there RINGKEEPER_VERSION and RINGKEEPER_MZXID; with --children, the names of the children instead of data, one a line, sorted.";

const EXAMPLES: &str = "\
Examples:
  ringkeeper watch /config/nginx -- sh -c 'cat > /etc/nginx/app.conf && nginx -s reload'
  ringkeeper watch --children /services/api -- ./rebuild-backends
  ringkeeper watch --changes 1 /deploy/go -- ./start              once, at the first change from now

";

/// Run a command at each change of a znode, with its data.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = format!("{EXAMPLES}{CODES}"))]
pub struct Watch {
    #[command(flatten)]
    options: Options,

    /// Watch which children there are, not the data.
    #[arg(long)]
    children: bool,

    /// Do not run at the start; end after this many changes.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    changes: Option<u64>,

    /// End with the command's exit code when it is not 0, instead of going on.
    #[arg(long)]
    fail: bool,

    /// Between SIGTERM and SIGKILL for a command that runs when this process is told to stop.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    grace: Duration,

    /// The znode; it need not be there yet.
    path: String,

    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What is told: the bytes and the Stat, where the znode is there.
type State = Option<(Vec<u8>, Stat)>;

impl Watch {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        end(self.attempt())
    }

    fn attempt(&self) -> Result<u8, Ended> {
        let full = self.options.full(&self.path)?;
        let signals = Signals::listen().map_err(|error| Ended::System("signals", error))?;
        let mut keeper = self.options.open()?;
        let mut told: Option<State> = None;
        let mut changes = 0;
        loop {
            let state = match self.look(&mut keeper, &full) {
                Err(error) => {
                    keeper = self.again(error, &signals)?;
                    continue;
                }
                Ok(state) => state,
            };
            if let Some(event) = named(told.as_ref(), &state, self.children) {
                let first = told.is_none();
                told = Some(state.clone());
                if !(first && self.changes.is_some()) {
                    let code = self.push(&mut keeper, event, state.as_ref(), &signals)?;
                    changes += 1;
                    if code != 0 && self.fail {
                        return Ok(code);
                    }
                    if self.changes.is_some_and(|most| changes >= most) {
                        return Ok(code);
                    }
                    continue;
                }
            }
            // The watch was left before the data was read: whatever comes after that fires it.
            loop {
                if let Some(signal) = signals.take() {
                    return Err(Ended::Signal(signal));
                }
                match keeper.next_event(TURN * 5) {
                    Ok(Some(event)) if event.path == full => break,
                    Ok(_) => {}
                    Err(error) => {
                        keeper = self.again(error, &signals)?;
                        break;
                    }
                }
            }
        }
    }

    /// A new session after the old one's end; servers that do not answer are called on.
    fn again(&self, error: ClientError, signals: &Signals) -> Result<Lasting, Ended> {
        if !error.is_of_connection() && !matches!(error, ClientError::Expired) {
            return Err(error.into());
        }
        loop {
            if let Some(signal) = signals.take() {
                return Err(Ended::Signal(signal));
            }
            match self.options.open() {
                Err(Ended::Client(error)) if error.is_of_connection() => tell(&format!("no server answers: {error}; trying on")),
                keeper => return keeper,
            }
        }
    }

    /// Reads the state and leaves a watch for its next change.
    fn look(&self, keeper: &mut Lasting, full: &str) -> Result<State, ClientError> {
        let missing = |error: &ClientError| error.refusal().is_some_and(|refusal| refusal.is(Code::NoNode));
        loop {
            let ask = if self.children {
                Ask::GetChildren2 { path: full, watch: true }
            } else {
                Ask::GetData { path: full, watch: true }
            };
            match keeper.call(&ask) {
                Ok(Body::Data(data, stat)) => return Ok(Some((data.unwrap_or_default(), stat))),
                Ok(Body::Children(mut names, stat)) => {
                    names.sort_unstable();
                    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
                    return Ok(Some((lines.into_bytes(), stat)));
                }
                Ok(_) => return Err(ClientError::Shape(ask.opcode())),
                Err(error) if missing(&error) => match keeper.call(&Ask::Exists { path: full, watch: true }) {
                    // It has just come.
                    Ok(_) => {}
                    Err(error) if missing(&error) => return Ok(None),
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs the command, and keeps the session alive meanwhile.
    fn push(&self, keeper: &mut Lasting, event: &str, state: Option<&(Vec<u8>, Stat)>, signals: &Signals) -> Result<u8, Ended> {
        let mut variables = vec![("RINGKEEPER_PATH", self.path.clone()), ("RINGKEEPER_EVENT", event.to_owned())];
        if let Some((_, stat)) = state {
            let version = if self.children { stat.cversion } else { stat.version };
            variables.push(("RINGKEEPER_VERSION", version.to_string()));
            variables.push(("RINGKEEPER_MZXID", stat.mzxid.0.to_string()));
        }
        let job = Job { words: &self.command, variables, grace: self.grace };
        let mut child = job.command().stdin(Stdio::piped()).spawn().map_err(|error| job.not_started(error))?;
        let data = state.map(|(data, _)| data.clone()).unwrap_or_default();
        feed(&mut child, data);
        // Events that come meanwhile need no keeping: the state is read again after each run.
        loop {
            if let Some(status) = child.try_wait().map_err(|error| Ended::System("waiting for the command", error))? {
                return Ok(code_of(status));
            }
            if let Some(signal) = signals.take() {
                guard::finish(&mut child, Instant::now() + self.grace)?;
                return Err(Ended::Signal(signal));
            }
            // What is wrong with the session will be told to whoever reads next.
            if keeper.next_event(TURN).is_err() {
                std::thread::sleep(TURN);
            }
        }
    }
}

/// Writes the data to the command's standard input, on a thread: the command may read slowly, or not at all.
fn feed(child: &mut Child, data: Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read all of it has seen enough.
        std::thread::spawn(move || drop(stdin.write_all(&data)));
    }
}

/// What has happened to the znode, if anything that is to be told.
fn named(told: Option<&State>, now: &State, children: bool) -> Option<&'static str> {
    let mark = |stat: &Stat| if children { stat.pzxid } else { stat.mzxid };
    match (told, now) {
        (None, Some(_)) => Some("found"),
        (None, None) => Some("missing"),
        (Some(None), Some(_)) => Some("created"),
        (Some(Some(_)), None) => Some("deleted"),
        (Some(Some((_, old))), Some((_, new))) => (mark(old) != mark(new) || old.czxid != new.czxid).then_some("changed"),
        (Some(None), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::Zxid;

    #[test]
    fn only_changes_are_told() {
        let at = |czxid, mzxid, pzxid| {
            let stat = Stat { czxid: Zxid(czxid), mzxid: Zxid(mzxid), pzxid: Zxid(pzxid), ..Stat::default() };
            Some((Vec::new(), stat))
        };
        let cases = [
            (None, None, Some("missing")),
            (None, at(1, 1, 1), Some("found")),
            (Some(None), at(1, 1, 1), Some("created")),
            (Some(at(1, 1, 1)), None, Some("deleted")),
            (Some(at(1, 1, 1)), at(1, 2, 1), Some("changed")),
            (Some(at(1, 1, 1)), at(1, 1, 2), None),
            (Some(at(1, 5, 1)), at(6, 6, 6), Some("changed")),
            (Some(None), None, None),
        ];
        for (told, now, event) in cases {
            assert_eq!(named(told.as_ref(), &now, false), event, "{told:?} {now:?}");
        }
        assert_eq!(named(Some(&at(1, 1, 1)), &at(1, 1, 2), true), Some("changed"));
    }
}
