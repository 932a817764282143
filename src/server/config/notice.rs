//! Notices: what an operator should be told about a configuration that is otherwise good.

use super::place::Place;
use std::fmt;

/// How much a notice matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// A key without effect here: expected, one line.
    Info,
    /// Probably a mistake, or dangerous.
    Warn,
}

/// One line for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub place: Place,
    /// The line without its place; one line, no secret values.
    pub text: String,
}

impl Notice {
    /// A line that matters little.
    #[must_use]
    pub const fn info(place: Place, text: String) -> Self {
        Self { level: Level::Info, place, text }
    }

    /// A line that matters.
    #[must_use]
    pub const fn warn(place: Place, text: String) -> Self {
        Self { level: Level::Warn, place, text }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}
