//! Floor 6: the subcommands that run the server. `main.rs` reads the command line.

mod logging;
pub mod serve;
