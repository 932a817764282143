//! Outcome: how a tool ends, for scripts: 0 fine, 1 damaged or different, 2 wrong usage or not to be read.

use crate::show::tell::tell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a tool found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// Damage, or a difference; it has been told.
    Wrong,
}

/// Why a tool has found nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A file or directory cannot be read.
    #[error("cannot {what} {}: {source}", path.display())]
    Unreadable {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing there that this tool reads.
    #[error("{0}")]
    NotThere(String),
    /// The output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failed {
    /// Makes a system's error one of `path`.
    pub fn on(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unreadable { what, path, source }
    }
}

/// Ends the process. A reader that has seen enough (`| head`) is no error.
#[must_use]
pub fn end(result: Result<Outcome, Failed>) -> ExitCode {
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Wrong) => ExitCode::from(1),
        Err(Failed::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failed) => {
            tell(&failed.to_string());
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_code() {
        let code = |result| format!("{:?}", end(result));
        let of = |n: u8| format!("{:?}", ExitCode::from(n));
        assert_eq!(code(Ok(Outcome::Fine)), of(0));
        assert_eq!(code(Ok(Outcome::Wrong)), of(1));
        assert_eq!(code(Err(Failed::NotThere("nothing there".into()))), of(2));
        assert_eq!(code(Err(Failed::Output(io::ErrorKind::BrokenPipe.into()))), of(0));
        assert_eq!(code(Err(Failed::Output(io::ErrorKind::StorageFull.into()))), of(2));
        let failed = Failed::on("open", Path::new("/a"))(io::ErrorKind::NotFound.into());
        assert_eq!(failed.to_string(), "cannot open /a: entity not found");
    }
}
