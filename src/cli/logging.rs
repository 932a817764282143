//! Logging: what is told on standard error, and how much of it.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The variable that is read where there is no `--log-level`.
pub const VARIABLE: &str = "RINGKEEPER_LOG";

/// Quiet but for what is wrong, and for the keys of a configuration that have no effect. What glommio says of buffers that it could
/// not register takes five lines an executor; boot says it in one.
const DEFAULT: &str = "warn,ringkeeper::config=info,glommio_ng::sys::uring=error";

/// The filter for a level (of our own lines; libraries stay at `warn`, or below it with us), or for directives as they are.
fn filter(asked: Option<&str>) -> Result<EnvFilter, ParseError> {
    let directives = match asked.map(str::trim).filter(|a| !a.is_empty()) {
        None => DEFAULT.to_owned(),
        Some(level @ ("off" | "error")) => level.to_owned(),
        Some(level @ ("warn" | "info" | "debug" | "trace")) => format!("warn,ringkeeper={level}"),
        Some(directives) => directives.to_owned(),
    };
    EnvFilter::builder().parse(directives)
}

/// How much is told, while it runs.
pub struct Level {
    flag: Option<String>,
    set: Box<dyn Fn(EnvFilter) -> Result<(), String>>,
}

impl Level {
    /// Tells so much from now on: by the flag, else by the key of the configuration, else by the variable.
    pub fn set(&self, key: Option<&str>) -> Result<(), String> {
        (self.set)(asked(self.flag.as_deref(), key)?)
    }
}

fn asked(flag: Option<&str>, key: Option<&str>) -> Result<EnvFilter, String> {
    let variable = std::env::var(VARIABLE).ok();
    let (name, asked) = match (flag, key) {
        (Some(flag), _) => ("--log-level", Some(flag)),
        (None, Some(key)) => ("log.level", Some(key)),
        (None, None) => (VARIABLE, variable.as_deref()),
    };
    filter(asked).map_err(|e| format!("{name}: {e}; use off, error, warn, info, debug or trace"))
}

/// Starts logging to standard error. A wrong level is told as an error of one line.
pub fn start(flag: Option<&str>) -> Result<Level, String> {
    let filter = asked(flag, None)?;
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // A line that cannot be written is lost. To tell of that on standard error as well would be a panic, so the server's end.
    let log = log.log_internal_errors(false).with_filter_reloading();
    let handle = log.reload_handle();
    log.try_init().map_err(|e| e.to_string())?;
    let set = Box::new(move |filter| handle.reload(filter).map_err(|e| format!("log.level: {e}")));
    Ok(Level { flag: flag.map(str::to_owned), set })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        let cases = [
            (None, "glommio_ng::sys::uring=error,ringkeeper::config=info,warn"),
            (Some(""), "glommio_ng::sys::uring=error,ringkeeper::config=info,warn"),
            (Some("debug"), "ringkeeper=debug,warn"),
            (Some("error"), "error"),
            (Some("glommio=trace,info"), "glommio=trace,info"),
        ];
        for (asked, want) in cases {
            assert_eq!(filter(asked).unwrap().to_string(), want);
        }
        assert!(filter(Some("a=loud")).is_err());
    }
}
