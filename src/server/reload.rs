//! Reload: a changed configuration, taken up while the server runs as far as that can be, and told key by key.

use std::sync::Arc;

use super::config::ServerConfig;
use super::config::effective::Effective;
use super::config::reader::{Request, read};
use crate::engine::sequencer::FlushKnobs;
use crate::runtime::acceptor::Doorway;
use crate::runtime::mesh::Common;

/// Keys that are taken up at once. The others take a restart.
const LIVE: [&str; 6] = ["flush.mode", "flush.flights", "flush.lingerMicros", "flush.batchBytes", "maxClientCnxns", "maxCnxns"];

/// How group commit behaves by a configuration.
pub(super) const fn flush_knobs(config: &ServerConfig) -> FlushKnobs {
    let flush = &config.flush;
    FlushKnobs {
        flights: flush.flights,
        linger_us: flush.linger_micros,
        batch_bytes: flush.batch_bytes,
        adapts: flush.is_adaptive,
    }
}

/// What is needed for it.
pub(super) struct Reload {
    /// What the configuration was made of.
    pub(super) request: Request,
    /// What is in effect.
    pub(super) effective: Vec<Effective>,
    pub(super) common: Arc<Common>,
    pub(super) doorway: Arc<Doorway>,
}

impl Reload {
    /// Reads everything again. What cannot be read changes nothing.
    pub(super) fn run(&mut self) {
        let loaded = match read(&self.request) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!("SIGHUP: {error}: nothing is changed");
                return;
            }
        };
        let changes = changes(&self.effective, &loaded.effective);
        if changes.is_empty() {
            tracing::info!(target: "ringkeeper::config", "SIGHUP: the configuration is as it was");
        }
        for change in &changes {
            match change.is_live() {
                true => tracing::info!(target: "ringkeeper::config", "SIGHUP: {change}: in effect now"),
                false => tracing::warn!(target: "ringkeeper::config", "SIGHUP: {change}: takes a restart, and is not in effect"),
            }
        }
        let config = &loaded.config;
        self.common.set_flush(flush_knobs(config));
        self.doorway.set_limits(config.max_client_cnxns as usize, config.max_cnxns as usize);
        // What takes a restart is told again the next time.
        self.effective.retain(|line| !LIVE.contains(&line.key.as_str()));
        self.effective.extend(loaded.effective.into_iter().filter(|line| LIVE.contains(&line.key.as_str())));
    }
}

/// A key that has another value.
#[derive(PartialEq, Eq, Debug)]
struct Change {
    key: String,
    old: Option<String>,
    new: Option<String>,
}

impl Change {
    fn is_live(&self) -> bool {
        LIVE.contains(&self.key.as_str())
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {} -> {}", self.key, text(&self.old), text(&self.new))
    }
}

/// What differs, by key. Where a value comes from makes no difference.
fn changes(old: &[Effective], new: &[Effective]) -> Vec<Change> {
    let value = |lines: &[Effective], key: &str| lines.iter().find(|line| line.key == key).map(|line| line.value.clone());
    let mut keys: Vec<&str> = old.iter().chain(new).map(|line| line.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let change = |key: &str| Change { key: key.to_owned(), old: value(old, key), new: value(new, key) };
    keys.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::keys;

    fn line(key: &str, value: &str, from: &str) -> Effective {
        Effective { key: key.to_owned(), value: value.to_owned(), from: from.to_owned() }
    }

    #[test]
    fn differences_are_told_by_key() {
        let old = [line("a", "1", "default"), line("b", "2", "default"), line("c", "3", "default")];
        let new = [line("d", "4", "zoo.cfg:1"), line("b", "2", "zoo.cfg:2"), line("a", "5", "zoo.cfg:3")];
        let told: Vec<String> = changes(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["a: 1 -> 5", "c: 3 -> nothing", "d: nothing -> 4"]);
    }

    #[test]
    fn what_is_taken_up_at_once_is_a_key() {
        assert!(LIVE.iter().all(|key| keys::find(key).is_some()));
    }
}
