//! Control: what a run is told besides its spec, and how it can fail.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a run has no result at all. What was measured before a server died is a result: a record that says that it ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The spec asks for what cannot be.
    #[error("{0}")]
    Spec(String),
    /// A server's name means nothing.
    #[error("{0} is no address of a server: {1}; servers are given as host:port,host:port")]
    Address(String, std::io::Error),
    /// Nobody answers there.
    #[error("cannot reach {0}: {1}; is the server running, and its client port this one?")]
    Unreachable(String, std::io::Error),
    /// It grants no session.
    #[error("{0} grants no session: {1}")]
    NoSession(String, String),
    /// The znodes to work on cannot be made.
    #[error("cannot prepare the znodes on {0}: {1}")]
    Prepare(String, String),
    /// This machine cannot carry the load.
    #[error("{0}: {1}")]
    Machine(&'static str, std::io::Error),
}

/// What a run is told besides its spec.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Set from elsewhere (Ctrl-C): the run ends, and what was measured so far is its result.
    pub stop: Arc<AtomicBool>,
    /// The command line, for the record.
    pub command: String,
    /// No progress on stderr.
    pub is_quiet: bool,
    /// Whether generator threads are kept away from the first cores, which the server uses, where there are enough.
    pub pin: bool,
}

impl Control {
    /// Whether the run shall end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Shows how far the run is: one line that replaces itself on a terminal, and nothing elsewhere.
    pub fn progress(&self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        if !self.is_quiet && stderr.is_terminal() {
            // Progress that cannot be shown is nobody's loss.
            let _ = write!(stderr, "\r\x1b[K{line}");
            let _ = stderr.flush();
        }
    }

    /// Says what is worth knowing whatever the result is, on a line of its own.
    pub fn note(&self, line: &str) {
        self.progress_done();
        if !self.is_quiet {
            // Where standard error is closed nobody can be told.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    /// Takes the progress line away.
    pub fn progress_done(&self) {
        self.progress("");
    }
}
