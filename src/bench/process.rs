//! Process: a server that the bench starts for a comparison, and stops.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::client::blocking::Client;
use crate::client::started::Started;

/// How long a server may take until it grants a session: a Java server on a busy machine needs many seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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
    _started: Started,
}

impl Server {
    /// Starts the command, by the shell, and waits until all `servers` grant sessions.
    pub fn start(command: &str, servers: &[String]) -> Result<Self, ProcessError> {
        let failed = |error| ProcessError::Start(command.to_owned(), error);
        let mut started = Started::start(Command::new("sh").args(["-c", command])).map_err(failed)?;
        let since = Instant::now();
        for name in servers {
            loop {
                if let Some(status) = started.ended().map_err(failed)? {
                    return Err(ProcessError::Ended(command.to_owned(), status, name.clone(), started.last_words()));
                }
                match Client::connect(name.as_str(), 10_000, Duration::from_secs(2)).and_then(Client::close) {
                    Ok(()) => break,
                    Err(error) if since.elapsed() > PATIENCE => {
                        let (seconds, words) = (PATIENCE.as_secs(), started.last_words());
                        return Err(ProcessError::Silent(command.to_owned(), name.clone(), seconds, error.to_string(), words));
                    }
                    // It is asked again until it serves.
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        }
        Ok(Self { _started: started })
    }
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
}
