//! Ended: how a recipe ends, for scripts: the command's own exit code, or one that says why there is none.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use crate::client::blocking::ClientError;
use crate::show::tell::tell;

/// The help of every recipe.
pub const CODES: &str = "\
Exit codes: the command's own (128 + N where signal N ended it); 2 wrong usage; 123 what the command
was run for is lost (the session may have expired, or somebody deleted the znode); 124 --wait is over;
125 the server cannot be reached or refused; 126 the command cannot be run, 127 it is not there;
130 and 143 interrupted or terminated before it ran.";

/// Why a recipe ends without an exit code of its command's.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The lock or the leadership is gone, or must be taken for gone.
    #[error("lost: {0}")]
    Lost(String),
    /// It was not had in time.
    #[error("the wait is over")]
    Waited,
    /// A signal came before the command ran.
    #[error("signal {0}")]
    Signal(i32),
    /// No server does what is asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The path is none.
    #[error("{0:?} is no path of a znode; it should look like /a/b")]
    Path(String),
    /// The command did not start.
    #[error("cannot run {0:?}: {1}")]
    Command(String, io::Error),
    /// The system refused something.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

impl Ended {
    fn code(&self) -> u8 {
        match self {
            Self::Lost(_) => 123,
            Self::Waited => 124,
            Self::Signal(signal) => 128 + u8::try_from(*signal & 0x7f).unwrap_or(0),
            Self::Client(_) | Self::System(..) => 125,
            Self::Path(_) => 2,
            Self::Command(_, error) if error.kind() == io::ErrorKind::NotFound => 127,
            Self::Command(..) => 126,
        }
    }
}

/// The exit code of a command, as shells count it.
#[must_use]
pub fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}

/// Ends the process.
#[must_use]
pub fn end(result: Result<u8, Ended>) -> ExitCode {
    ExitCode::from(result.unwrap_or_else(|ended| {
        tell(&ended.to_string());
        ended.code()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_the_code_that_the_help_names() {
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(15)), 143);
        let missing = Ended::Command("x".into(), io::ErrorKind::NotFound.into());
        let denied = Ended::Command("x".into(), io::ErrorKind::PermissionDenied.into());
        let ends = [
            Ended::Lost("x".into()),
            Ended::Waited,
            ClientError::Closed.into(),
            denied,
            missing,
            Ended::Signal(2),
            Ended::Signal(15),
        ];
        let codes = ends.map(|ended| ended.code());
        assert_eq!(codes, [123, 124, 125, 126, 127, 130, 143]);
        assert!(codes.iter().all(|code| CODES.contains(&code.to_string())));
    }
}
