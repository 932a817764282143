//! Errors: why a configuration is not taken. Each is one line: where, what, and what to do.

use super::place::Place;

/// Why a configuration is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{place}: cannot be read: {error}")]
    Unreadable {
        /// The file.
        place: Place,
        /// As the system puts it.
        error: String,
    },
    /// A file is not in properties syntax.
    #[error("{place}: {error}")]
    Syntax {
        /// The line.
        place: Place,
        /// What is wrong with it.
        error: String,
    },
    /// A key has a value that it cannot have.
    #[error("{place}: {key}={value}: {expected}")]
    Value {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it could be.
        expected: String,
    },
    /// A key that is not known, under `--strict`.
    #[error("{place}: {text}")]
    Unknown {
        /// Where it stands.
        place: Place,
        /// The key, and the nearest known one.
        text: String,
    },
    /// A key that asks for something whose absence would leave something unprotected or alone.
    #[error("{place}: {key} is refused: {reason}")]
    Refused {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// A key without which the server cannot start.
    #[error("{place}: {key} is not set: {advice}")]
    Missing {
        /// Where it should stand.
        place: Place,
        /// The key.
        key: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Keys that contradict each other.
    #[error("{place}: {what}")]
    Conflict {
        /// Where one of them stands.
        place: Place,
        /// The contradiction, and what to do.
        what: String,
    },
}
