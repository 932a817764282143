//! Place: where a setting was written, so that every line about it can say so.

use std::fmt;

/// Where a setting was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A line of a file.
    Line(String, usize),
    /// A whole file.
    File(String),
    /// A system property, by its full name.
    Property(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nowhere: the command line and its files as a whole.
    Command,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(name, line) => write!(f, "{name}:{line}"),
            Self::File(name) => f.write_str(name),
            Self::Property(name) => write!(f, "-D{name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Command => f.write_str("command line"),
        }
    }
}
