//! Floor 6: the subcommands that run the server and read what it keeps. `main.rs` reads the command line.

mod form;
pub mod image;
pub mod log;
mod logging;
mod outcome;
pub mod recover;
pub mod serve;
pub mod shell;
pub mod sim;
pub mod top;
mod utc;
