//! Reload: a changed configuration, taken up while the server runs as far as that can be, and told key by key.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::config::effective::Effective;
use super::config::reader::{Request, read};
use super::config::settings::{FlushMethod as Configured, ServerConfig};
use crate::engine::sequencer::FlushKnobs;
use crate::runtime::acceptor::Doorway;
use crate::runtime::disk::FlushMethod;
use crate::runtime::mesh::{Common, FlushOrders};
use crate::session::throttle::Rules;

/// Keys that are taken up at once. The others take a restart.
const LIVE: [&str; 29] = [
    "flush.mode",
    "flush.flights",
    "flush.lingerMicros",
    "flush.batchBytes",
    "flush.method",
    "flush.delayMicros",
    "forceSync",
    "fsync.warningthresholdms",
    "log.level",
    "maxClientCnxns",
    "maxCnxns",
    "globalOutstandingLimit",
    "request_throttle_max_requests",
    "request_throttle_drop_stale",
    "request_stale_latency_check",
    "throttled_op_wait_time",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "connection_throttle_tokens",
    "connection_throttle_fill_time",
    "connection_throttle_fill_count",
    "connection_throttle_freeze_time",
    "connection_throttle_drop_increase",
    "connection_throttle_drop_decrease",
    "connection_throttle_decrease_ratio",
    "connection_throttle_weight_enabled",
    "connection_throttle_global_session_weight",
    "connection_throttle_local_session_weight",
    "connection_throttle_renew_session_weight",
];

/// How long an admin word waits to be told what came of it. Reading takes a fraction of a millisecond; names may have to be resolved.
const WORD_WAITS: Duration = Duration::from_millis(250);

/// Sets how much is told on standard error; nothing is what the command line and the environment say.
pub type SetLevel = Box<dyn Fn(Option<&str>) -> Result<(), String>>;

/// What the main thread waits for.
#[derive(Debug)]
pub(super) enum Order {
    /// A signal that ends the server.
    End,
    /// The configuration is to be read again; whoever asked is told what came of it.
    Reload(Option<SyncSender<Vec<String>>>),
}

/// Signals as orders, and where else orders may be given. Those that end the server come out, and SIGHUP, by which daemons are told to
/// read their configuration again. SIGXFSZ does not: it would end the server before the write that has failed could be told.
pub(super) fn listen_for_orders() -> Result<(Receiver<Order>, Sender<Order>), String> {
    let (sender, receiver) = mpsc::channel();
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGXFSZ]).map_err(|error| format!("cannot listen for signals: {error}"))?;
    let of_signals = sender.clone();
    std::thread::Builder::new()
        .name("rk-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever().filter(|signal| *signal != SIGXFSZ) {
                let order = if signal == SIGHUP { Order::Reload(None) } else { Order::End };
                if of_signals.send(order).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok((receiver, sender))
}

/// Orders a reload, as an admin word does, and tells what came of it.
pub(super) fn ordered(orders: &Sender<Order>) -> String {
    let (told, hear) = mpsc::sync_channel(1);
    let lines = match orders.send(Order::Reload(Some(told))) {
        Ok(()) => hear.recv_timeout(WORD_WAITS).unwrap_or_else(|_| vec!["it takes longer: the log tells of each key".to_owned()]),
        Err(_) => vec!["the server stops".to_owned()],
    };
    lines.join("\n") + "\n"
}

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

/// How the log is made durable by a configuration.
pub(super) const fn flush_orders(config: &ServerConfig) -> FlushOrders {
    FlushOrders {
        knobs: flush_knobs(config),
        method: flush_method(config),
        delay: Duration::from_micros(config.flush.delay_micros),
        warn_ms: config.fsync_warning_ms,
    }
}

/// How batches are made durable by a configuration.
pub(super) const fn flush_method(config: &ServerConfig) -> FlushMethod {
    match config.flush.method {
        Configured::Dsync => FlushMethod::Dsync,
        Configured::Fdatasync => FlushMethod::Fdatasync,
        Configured::None => FlushMethod::None,
    }
}

/// What is needed for it.
pub(super) struct Reload {
    /// What the configuration was made of.
    pub(super) request: Request,
    /// What is in effect.
    pub(super) effective: Vec<Effective>,
    pub(super) method: FlushMethod,
    pub(super) sessions: Option<Rules>,
    pub(super) shards: u16,
    pub(super) common: Arc<Common>,
    pub(super) doorway: Arc<Doorway>,
    pub(super) set_level: SetLevel,
}

impl Reload {
    /// Reads everything again, and tells of each key that differs whether it is in effect. What cannot be read changes nothing.
    pub(super) fn run(&mut self) -> Vec<String> {
        let loaded = match read(&self.request) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!("SIGHUP: {error}: nothing is changed");
                return vec![format!("{error}: nothing is changed")];
            }
        };
        let config = &loaded.config;
        if let Err(error) = (self.set_level)(config.log_level.as_deref()) {
            tracing::error!("SIGHUP: {error}: nothing is changed");
            return vec![format!("{error}: nothing is changed")];
        }
        let method = flush_method(config);
        // Whether anything is flushed at all is known to more than the log.
        let is_same_promise = (method == FlushMethod::None) == (self.method == FlushMethod::None);
        let is_live = |key: &str| LIVE.contains(&key) && (is_same_promise || !["flush.method", "forceSync"].contains(&key));
        let changes = changes(&self.effective, &loaded.effective);
        let mut told = Vec::new();
        for change in &changes {
            let line = if is_live(&change.key) {
                format!("{change}: in effect now")
            } else {
                format!("{change}: takes a restart, and is not in effect")
            };
            if is_live(&change.key) {
                tracing::info!(target: "ringkeeper::config", "SIGHUP: {line}");
            } else {
                tracing::warn!(target: "ringkeeper::config", "SIGHUP: {line}");
            }
            told.push(line);
        }
        if told.is_empty() {
            tracing::info!(target: "ringkeeper::config", "SIGHUP: the configuration is as it was");
            told.push("the configuration is as it was".to_owned());
        }
        if is_same_promise {
            self.method = method;
        }
        self.common.set_flush(FlushOrders { method: self.method, ..flush_orders(config) });
        self.common.set_flow(config.throttles.share_of(self.shards));
        if self.sessions != config.throttles.sessions {
            self.sessions = config.throttles.sessions;
            self.common.set_sessions(self.sessions);
        }
        self.doorway.set_limits(config.max_client_cnxns as usize, config.max_cnxns as usize);
        // What takes a restart is told again the next time.
        self.effective.retain(|line| !is_live(&line.key));
        self.effective.extend(loaded.effective.into_iter().filter(|line| is_live(&line.key)));
        told
    }
}

/// A key that has another value.
#[derive(PartialEq, Eq, Debug)]
struct Change {
    key: String,
    old: Option<String>,
    new: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text =
            |value: &Option<String>| value.clone().filter(|value| !value.is_empty()).unwrap_or_else(|| "nothing".to_owned());
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
        assert!(LIVE.iter().all(|key| keys::find(key).is_some_and(|found| found.name == *key)));
    }
}
