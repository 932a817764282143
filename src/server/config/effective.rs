//! Effective values: the configuration in effect as lines, each with where it comes from.

use super::given::{Given, Item};
use super::keys::{self, Key, Kind};
use super::resolve::Overrides;
use super::settings::ServerConfig;
use super::table::TABLE;
use std::fmt;

/// One key in effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The key.
    pub key: String,
    /// Its value, with units as in a zoo.cfg; secrets are not shown.
    pub value: String,
    /// Where it was set, or `default`.
    pub from: String,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}  ({})", self.key, self.value, self.from)
    }
}

/// Every key that works, in the order of the table.
pub fn effective(config: &ServerConfig, given: &Given, over: &Overrides) -> Vec<Effective> {
    let row = |key: &'static Key| {
        let value = shown(config, given, key.name)?;
        let flag = match key.name {
            "dataDir" | "dataLogDir" if over.data_dir.is_some() => Some("--data-dir"),
            "clientPort" | "clientPortAddress" if over.listen.is_some() => Some("--listen"),
            "shards" if over.shards.is_some() => Some("--shards"),
            _ => None,
        };
        let from = match flag {
            Some(flag) => flag.to_owned(),
            None => given.get(key.name).map_or_else(|| "default".to_owned(), |item| item.place.to_string()),
        };
        Some(Effective { key: key.name.to_owned(), value, from })
    };
    let mut rows: Vec<_> = TABLE.iter().filter(|key| key.kind == Kind::Works).filter_map(row).collect();
    let set =
        |(name, item): (&str, &Item)| Effective { key: name.to_owned(), value: item.text.clone(), from: item.place.to_string() };
    for family in ["authProvider.N", "authProvider.*", "superUser.*"] {
        rows.extend(given.family(family).map(set));
    }
    if let Some(ensemble) = &config.ensemble {
        rows.push(Effective { key: "myid".to_owned(), value: ensemble.me.0.to_string(), from: "the file myid".to_owned() });
        rows.extend(given.family("server.N").map(set));
    }
    rows
}

fn default_of(name: &str) -> &'static str {
    keys::find(name).map_or("", |key| key.default)
}

/// A key's value in effect; `None` where it has none, or where another line says it all.
fn shown(config: &ServerConfig, given: &Given, name: &str) -> Option<String> {
    Some(match name {
        "clientPort" => config.client_addr.port().to_string(),
        "clientPortAddress" if config.client_dual_stack => "*".to_owned(),
        "clientPortAddress" => config.client_addr.ip().to_string(),
        "dataDir" => config.data_dir.display().to_string(),
        "dataLogDir" => config.data_log_dir.display().to_string(),
        "tickTime" => config.tick_time_ms.to_string(),
        "maxClientCnxns" => config.max_client_cnxns.to_string(),
        "maxCnxns" => config.max_cnxns.to_string(),
        "minSessionTimeout" => config.min_session_timeout_ms.to_string(),
        "maxSessionTimeout" => config.max_session_timeout_ms.to_string(),
        "clientPortListenBacklog" => config.listen_backlog.map_or_else(|| "-1".to_owned(), |n| n.to_string()),
        "clientTcpKeepAlive" => config.tcp_keepalive.to_string(),
        "nio.sessionlessCnxnTimeout" => config.sessionless_timeout_ms.to_string(),
        "jute.maxbuffer" => config.jute_maxbuffer.to_string(),
        "preAllocSize" => (config.segment_bytes >> 10).to_string(),
        "snapCount" => config.snap_count.to_string(),
        "snapSizeLimitInKb" => (config.snap_bytes >> 10).to_string(),
        // flush.method says it all.
        "forceSync" => return None,
        "fsync.warningthresholdms" => config.fsync_warning_ms.to_string(),
        "datadir.autocreate" => config.data_dir_autocreate.to_string(),
        "localSessionsEnabled" => config.local_sessions.to_string(),
        "localSessionsUpgradingEnabled" => config.local_sessions_upgrading.to_string(),
        "digest.enabled" => config.tree_digest_enabled.to_string(),
        "readonlymode.enabled" => config.readonlymode.to_string(),
        "DigestAuthenticationProvider.superDigest" => format!("{:?}", config.super_digest.as_ref()?),
        "DigestAuthenticationProvider.enabled" => config.digest_auth_enabled.to_string(),
        "SASLAuthenticationProvider.superPassword" => {
            given.get(name)?;
            "(set)".to_owned()
        }
        "skipACL" => if config.skip_acl { "yes" } else { "no" }.to_owned(),
        "enforceQuota" => config.enforce_quota.to_string(),
        "extendedTypesEnabled" => config.lifetimes.extended_types.to_string(),
        "znode.container.checkIntervalMs" => config.lifetimes.check_ms.to_string(),
        "znode.container.maxPerMinute" => config.lifetimes.max_per_minute.to_string(),
        "znode.container.maxNeverUsedIntervalMs" => config.lifetimes.max_never_used_ms.to_string(),
        "4lw.commands.whitelist" => config.four_letter_words.to_string(),
        "flush.delayMicros" => config.flush.delay_micros.to_string(),
        "flush.method" => config.flush.method.to_string(),
        "flush.mode" => if config.flush.is_adaptive { "adaptive" } else { "fixed" }.to_owned(),
        "flush.flights" => config.flush.flights.to_string(),
        "flush.lingerMicros" => config.flush.linger_micros.to_string(),
        "flush.batchBytes" => config.flush.batch_bytes.to_string(),
        "shards" if config.shards == 0 => "auto".to_owned(),
        "shards" => config.shards.to_string(),
        "sequencer.placement" => config.sequencer_placement.to_string(),
        "cores.pin" => config.pin.to_string(),
        "spin.micros" => config.spin_micros.to_string(),
        "autopurge.snapRetainCount" => config.retain.map_or_else(|| "all".to_owned(), |retain| retain.images.to_string()),
        "autopurge.purgeInterval" => if config.retain.is_some() { "on" } else { "off" }.to_owned(),
        "retain.bytes" => config.retain.map_or(0, |retain| retain.bytes).to_string(),
        "scrub.intervalSeconds" => config.scrub_interval_s.to_string(),
        "audit.enable" => config.audit.is_some().to_string(),
        "audit.file" | "audit.fileBytes" | "audit.files" if config.audit.is_none() => return None,
        "metricsProvider.httpHost" => config.metrics?.ip().to_string(),
        "metricsProvider.httpPort" => config.metrics?.port().to_string(),
        "log.level" => config.log_level.clone().unwrap_or_default(),
        "log.warnBytes" => config.log_warn_bytes.to_string(),
        "io.memoryKiB" => (config.io_memory_bytes >> 10).to_string(),
        // Families have a row each.
        "server.N" | "authProvider.N" | "authProvider.*" | "superUser.*" => return None,
        other => match given.get(other) {
            Some(item) => item.text.clone(),
            None if name.starts_with("audit.") => default_of(name).to_owned(),
            // Keys of an ensemble mean nothing to a server alone.
            None => config.ensemble.as_ref().map(|_| default_of(other).to_owned()).filter(|text| !text.is_empty())?,
        },
    })
}
