//! The table of every key: ZooKeeper's by subject, then our own.

use super::keys::{Form, Key, Kind};
use super::value::ValueType::{self, Bool, Bytes, Int, Path, Text, Word};
use crate::ground::limits;

/// Largest Java int.
const I32: i64 = i32::MAX as i64;

const RECONFIG: &str = "changes of a running ensemble";
const GROUPS: &str = "quorums of groups and weights";
const OBSERVER_MASTER: &str = "followers that feed observers";
const ADDRESSES: &str = "several addresses of one server";
const CATCH_UP: &str = "what a learner lacks is read from the log as far as it reaches";
const SYNC_LIMITS: &str = "limits on how many learners catch up at once";
const TLS: &str = "TLS";
const KERBEROS: &str = "Kerberos";
const HTTP: &str = "the admin HTTP server";
const METRICS: &str = "metrics by HTTPS";
const IMAGES: &str = "snapshots";
const TTL_353: &str = "TTL nodes as 3.5.3 wrote them";
const PATH_STATS: &str = "path statistics";

const THREADS: &str = "one thread a core serves connections and requests; see shards";
const GROUP_COMMIT: &str = "batches close by flush.flights, flush.lingerMicros and flush.batchBytes";
const BUFFERS: &str = "buffers are sized by what is in them";
const CACHE: &str = "replies are encoded straight from memory, there is no cache of them";
const WATCHES: &str = "there is one watch manager";
const JVM: &str = "there is no Java machine";
const LOGGING: &str = "the log goes to standard error; see --log-level";
const AUDIT: &str = "the audit log goes where audit.file says";
const NODELAY: &str = "TCP_NODELAY is always on";
const ASYNC: &str = "no thread waits for a peer's socket";

const fn key(name: &'static str, kind: Kind, value: ValueType, default: &'static str) -> Key {
    Key { name, kind, value, default, form: Form::Prefixed, ours: false }
}
const fn works(name: &'static str, value: ValueType, default: &'static str) -> Key {
    key(name, Kind::Works, value, default)
}
const fn none(name: &'static str, why: &'static str) -> Key {
    key(name, Kind::NoEffect(why), Text, "")
}
const fn later(name: &'static str, feature: &'static str) -> Key {
    key(name, Kind::Later(feature), Text, "")
}
const fn later_as(name: &'static str, feature: &'static str, value: ValueType) -> Key {
    key(name, Kind::Later(feature), value, "")
}
const fn refused(name: &'static str, reason: &'static str, value: ValueType, default: &'static str) -> Key {
    key(name, Kind::Refused(reason), value, default)
}
const fn bare(key: Key) -> Key {
    Key { form: Form::Bare, ..key }
}
const fn either(key: Key) -> Key {
    Key { form: Form::Either, ..key }
}
const fn ours(name: &'static str, value: ValueType, default: &'static str) -> Key {
    Key { ours: true, ..key(name, Kind::Works, value, default) }
}

/// Every key. Numbers that Java parses at start are checked here too, whatever their kind.
pub const TABLE: &[Key] = &[
    // Basic keys.
    works("clientPort", Int(0, 65535), ""),
    works("clientPortAddress", Text, ""),
    later_as("secureClientPort", TLS, Int(0, 65535)),
    later("secureClientPortAddress", TLS),
    works("dataDir", Path, ""),
    works("dataLogDir", Path, ""),
    works("tickTime", Int(1, I32), "3000"),
    works("maxClientCnxns", Int(-I32 - 1, I32), "60"),
    works("maxCnxns", Int(-I32 - 1, I32), "0"),
    works("minSessionTimeout", Int(-1, I32), "-1"),
    works("maxSessionTimeout", Int(-1, I32), "-1"),
    works("clientPortListenBacklog", Int(-1, I32), "-1"),
    none("serverCnxnFactory", "sockets are served through io_uring and epoll whatever the class"),
    works("clientTcpKeepAlive", Bool, "false"),
    none("nio.numSelectorThreads", THREADS),
    none("nio.numWorkerThreads", THREADS),
    works("nio.sessionlessCnxnTimeout", Int(1, I32), "10000"),
    none("nio.directBufferBytes", BUFFERS),
    none("nio.shutdownTimeout", THREADS),
    none("commitProcessor.numWorkerThreads", THREADS),
    none("commitProcessor.maxReadBatchSize", THREADS),
    none("commitProcessor.maxCommitBatchSize", THREADS),
    none("commitProcessor.shutdownTimeout", THREADS),
    // Ensemble keys.
    works("server.N", Text, ""),
    later("group.N", GROUPS),
    later("weight.N", GROUPS),
    works("standaloneEnabled", Bool, "true"),
    works("dynamicConfigFile", Path, ""),
    works("initLimit", Int(0, I32), ""),
    works("syncLimit", Int(0, I32), ""),
    works("connectToLearnerMasterLimit", Int(0, I32), "0"),
    works("electionAlg", Word(&["3"]), "3"),
    later("leaderServes", "leaders that serve no clients"),
    works("peerType", Word(&["participant", "observer", "PARTICIPANT", "OBSERVER"]), "participant"),
    later_as("reconfigEnabled", RECONFIG, Bool),
    works("cnxTimeout", Int(1, I32), "5000"),
    works("quorumCnxnTimeoutMs", Int(-1, I32), "-1"),
    works("quorumListenOnAllIPs", Bool, "false"),
    works("tcpKeepAlive", Bool, "false"),
    none("electionPortBindRetry", "a port that is taken is tried three times, a second apart"),
    works("fastleader.minNotificationInterval", Int(1, I32), "200"),
    works("fastleader.maxNotificationInterval", Int(1, I32), "60000"),
    none("leader.maxTimeToWaitForEpoch", "a quorum is waited for as long as initLimit says"),
    later("leader.maxConcurrentSnapSyncs", SYNC_LIMITS),
    later("leader.maxConcurrentDiffSyncs", SYNC_LIMITS),
    none("leader.closeSocketAsync", ASYNC),
    none("learner.closeSocketAsync", ASYNC),
    none("learner.asyncSending", ASYNC),
    none("leader.ackLoggingFrequency", LOGGING),
    none("leaderConnectDelayDuringRetryMs", "a leader that does not answer is called again after 100 ms"),
    later("forceSnapshotSync", "learners that are always sent the whole state"),
    later_as("observerMasterPort", OBSERVER_MASTER, Int(0, 65535)),
    later("observerMaster.sizeLimit", OBSERVER_MASTER),
    later("observer.reconnectDelayMs", OBSERVER_MASTER),
    later("observer.election.DelayMs", OBSERVER_MASTER),
    later_as("syncEnabled", "observers that keep nothing on their disk", Bool),
    later("multiAddress.enabled", ADDRESSES),
    later("multiAddress.reachabilityCheckEnabled", ADDRESSES),
    later("multiAddress.reachabilityCheckTimeoutMs", ADDRESSES),
    later("oraclePath", "an oracle for two servers"),
    none("quorum.cnxn.threads.size", THREADS),
    none("follower.skipLearnerRequestToNextProcessor", THREADS),
    none("forward_learner_requests_to_commit_processor_disabled", THREADS),
    bare(none("leader.nodelay", NODELAY)),
    bare(none("follower.nodelay", NODELAY)),
    // Limits and throttles.
    bare(works("jute.maxbuffer", Int(1024, limits::FRAME_MAX_CEILING as i64), "0xfffff")),
    none("jute.maxbuffer.extrasize", "records the server itself wrote are read whatever their slack"),
    works("globalOutstandingLimit", Int(-I32 - 1, I32), ""),
    works("request_throttle_max_requests", Int(-I32 - 1, I32), "0"),
    none("request_throttle_stall_time", "requests that were held back go on as soon as there is room"),
    works("request_throttle_drop_stale", Bool, "true"),
    works("request_stale_latency_check", Bool, "false"),
    none("request_stale_connection_check", "a request that is held back ends with its connection"),
    none("request_throttler.shutdownTimeout", "what is held back when the server stops is not begun"),
    works("throttled_op_wait_time", Int(-I32 - 1, I32), "0"),
    works("largeRequestMaxBytes", Int(-I32 - 1, I32), "104857600"),
    works("largeRequestThreshold", Int(-I32 - 1, I32), "-1"),
    none("maxBatchSize", GROUP_COMMIT),
    none("flushDelay", GROUP_COMMIT),
    none("maxWriteQueuePollTime", GROUP_COMMIT),
    works("connection_throttle_tokens", Int(-I32 - 1, I32), "0"),
    works("connection_throttle_fill_time", Int(1, I32), "1"),
    works("connection_throttle_fill_count", Int(0, I32), "1"),
    works("connection_throttle_freeze_time", Int(-1, I32), "-1"),
    works("connection_throttle_drop_increase", Text, "0.02"),
    works("connection_throttle_drop_decrease", Text, "0.002"),
    works("connection_throttle_decrease_ratio", Text, "0"),
    works("connection_throttle_weight_enabled", Bool, "false"),
    works("connection_throttle_global_session_weight", Int(-I32 - 1, I32), "3"),
    works("connection_throttle_local_session_weight", Int(-I32 - 1, I32), "1"),
    works("connection_throttle_renew_session_weight", Int(-I32 - 1, I32), "2"),
    works("enforceQuota", Bool, "false"),
    none("maxResponseCacheSize", CACHE),
    none("maxGetChildrenResponseCacheSize", CACHE),
    none("intBufferStartingSizeBytes", BUFFERS),
    later("netty.server.outstandingHandshake.limit", TLS),
    none("netty.advancedFlowControl.enabled", "a connection that leaves its replies unread is not read from"),
    // Storage.
    works("snapCount", Int(-I32 - 1, I32), "100000"),
    works("snapSizeLimitInKb", Int(i64::MIN, i64::MAX), "4194304"),
    none("commitLogCount", CATCH_UP),
    none("snapshotSizeFactor", CATCH_UP),
    works("preAllocSize", Int(1, I32), "65536"),
    none("txnLogSizeLimitInKb", "a log segment is as large as preAllocSize says"),
    works("forceSync", Text, "yes"),
    either(works("fsync.warningthresholdms", Int(0, I32), "1000")),
    works("autopurge.snapRetainCount", Int(-I32 - 1, I32), "3"),
    works("autopurge.purgeInterval", Int(-I32 - 1, I32), "1"),
    later("snapshot.compression.method", IMAGES),
    later("snapshot.trust.empty", IMAGES),
    works("datadir.autocreate", Bool, "true"),
    later("db.autocreate", "servers that refuse to start without data"),
    works("digest.enabled", Bool, "true"),
    none("closeSessionTxn.enabled", "the transaction that closes a session always lists the znodes it deletes"),
    later("serializeLastProcessedZxid.enabled", IMAGES),
    // Sessions, node types, watches.
    works("localSessionsEnabled", Bool, "false"),
    works("localSessionsUpgradingEnabled", Bool, "false"),
    works("extendedTypesEnabled", Bool, "false"),
    later("emulate353TTLNodes", TTL_353),
    bare(works("znode.container.checkIntervalMs", Int(1, I32), "60000")),
    bare(works("znode.container.maxPerMinute", Int(1, I32), "10000")),
    bare(works("znode.container.maxNeverUsedIntervalMs", Int(-I32 - 1, I32), "0")),
    none("watchManagerName", WATCHES),
    none("watcherCleanThreadsNum", WATCHES),
    none("watcherCleanThreshold", WATCHES),
    none("watcherCleanIntervalInSeconds", WATCHES),
    none("maxInProcessingDeadWatchers", WATCHES),
    none("bitHashCacheSize", WATCHES),
    bare(works("readonlymode.enabled", Bool, "false")),
    // TLS and authentication.
    later("ssl.keyStore.location", TLS),
    later("ssl.keyStore.password", TLS),
    later("ssl.keyStore.passwordPath", TLS),
    later("ssl.keyStore.type", TLS),
    later("ssl.trustStore.location", TLS),
    later("ssl.trustStore.password", TLS),
    later("ssl.trustStore.passwordPath", TLS),
    later("ssl.trustStore.type", TLS),
    later("ssl.protocol", TLS),
    later("ssl.enabledProtocols", TLS),
    later("ssl.ciphersuites", TLS),
    later("ssl.context.supplier.class", TLS),
    later("ssl.hostnameVerification", TLS),
    later("ssl.clientHostnameVerification", TLS),
    later("ssl.allowReverseDnsLookup", TLS),
    later("ssl.crl", TLS),
    later("ssl.ocsp", TLS),
    later("ssl.clientAuth", TLS),
    later("ssl.handshakeDetectionTimeoutMillis", TLS),
    later("ssl.quorum.keyStore.location", TLS),
    later("ssl.quorum.keyStore.password", TLS),
    later("ssl.quorum.keyStore.passwordPath", TLS),
    later("ssl.quorum.keyStore.type", TLS),
    later("ssl.quorum.trustStore.location", TLS),
    later("ssl.quorum.trustStore.password", TLS),
    later("ssl.quorum.trustStore.passwordPath", TLS),
    later("ssl.quorum.trustStore.type", TLS),
    later("ssl.quorum.protocol", TLS),
    later("ssl.quorum.enabledProtocols", TLS),
    later("ssl.quorum.ciphersuites", TLS),
    later("ssl.quorum.context.supplier.class", TLS),
    later("ssl.quorum.hostnameVerification", TLS),
    later("ssl.quorum.clientHostnameVerification", TLS),
    later("ssl.quorum.allowReverseDnsLookup", TLS),
    later("ssl.quorum.crl", TLS),
    later("ssl.quorum.ocsp", TLS),
    later("ssl.quorum.clientAuth", TLS),
    later("ssl.quorum.handshakeDetectionTimeoutMillis", TLS),
    later("ssl.authProvider", TLS),
    later("ssl.sslProvider", TLS),
    refused("sslQuorum", "servers do not speak TLS to each other yet; take the line out to run without", Bool, "false"),
    later_as("portUnification", TLS, Bool),
    later_as("sslQuorumReloadCertFiles", TLS, Bool),
    later("client.portUnification", TLS),
    later("client.certReload", TLS),
    later("fips-mode", TLS),
    works("authProvider.N", Text, ""),
    works("authProvider.*", Text, ""),
    works("DigestAuthenticationProvider.superDigest", Text, ""),
    refused(
        "DigestAuthenticationProvider.digestAlg",
        "passwords are hashed by SHA1 only, by which ACLs of another algorithm never match; take the line out to use SHA1",
        Text,
        "SHA1",
    ),
    works("DigestAuthenticationProvider.enabled", Bool, "true"),
    later("X509AuthenticationProvider.superUser", TLS),
    later("X509AuthenticationProvider.superUser.*", TLS),
    later("IPAuthenticationProvider.usexforwardedfor", HTTP),
    works("skipACL", Text, "no"),
    later("enableEagerACLCheck", "early ACL checks on followers"),
    works("sessionRequireClientSASLAuth", Bool, "false"),
    works("enforce.auth.enabled", Bool, "false"),
    works("enforce.auth.schemes", Text, ""),
    refused("enforce.auth.*", "only enforce.auth.enabled and enforce.auth.schemes are known; take the line out", Text, ""),
    none("requireClientAuthScheme", "ZooKeeper does not know it either; sessionRequireClientSASLAuth makes clients use SASL"),
    bare(works("java.security.auth.login.config", Path, "")),
    works("sasl.serverconfig", Text, "Server"),
    works("allowSaslFailedClients", Bool, "false"),
    works("superUser", Text, ""),
    works("superUser.*", Text, ""),
    works("SASLAuthenticationProvider.superPassword", Text, ""),
    works("letAnySaslUserDoX", Text, ""),
    later("ensembleAuthName", "the scheme ensemble"),
    works("kerberos.removeHostFromPrincipal", Bool, "false"),
    works("kerberos.removeRealmFromPrincipal", Bool, "false"),
    later("kerberos.canonicalizeHostNames", KERBEROS),
    none("jaasLoginRenew", "there are no Kerberos tickets to renew"),
    refused(
        "quorum.auth.enableSasl",
        "servers do not authenticate each other yet; take the line out to run without",
        Bool,
        "false",
    ),
    refused(
        "quorum.auth.serverRequireSasl",
        "servers do not authenticate each other yet; take the line out to run without",
        Bool,
        "false",
    ),
    refused(
        "quorum.auth.learnerRequireSasl",
        "servers do not authenticate each other yet; take the line out to run without",
        Bool,
        "false",
    ),
    refused("quorum.auth.*", "servers do not authenticate each other yet; take the line out to run without", Text, ""),
    // Admin, metrics, audit.
    works("4lw.commands.whitelist", Text, "srvr"),
    later("admin.enableServer", HTTP),
    later("admin.serverAddress", HTTP),
    later("admin.serverPort", HTTP),
    later("admin.commandURL", HTTP),
    later("admin.idleTimeout", HTTP),
    later("admin.httpVersion", HTTP),
    later("admin.portUnification", HTTP),
    later("admin.forceHttps", HTTP),
    later("admin.needClientAuth", HTTP),
    later("admin.snapshot.enabled", HTTP),
    later("admin.restore.enabled", HTTP),
    later("admin.rateLimiterIntervalInMS", HTTP),
    works("metricsProvider.className", Text, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
    works("metricsProvider.httpHost", Text, "0.0.0.0"),
    works("metricsProvider.httpPort", Int(0, 65535), "7000"),
    none("metricsProvider.exportJvmInfo", JVM),
    later("metricsProvider.*", METRICS),
    works("audit.enable", Bool, "false"),
    none("audit.impl.class", "there is one audit log, a file; see audit.file"),
    none("jvm.pause.monitor", JVM),
    none("jvm.pause.sleep.time.ms", JVM),
    none("jvm.pause.warn-threshold.ms", JVM),
    none("jvm.pause.info-threshold.ms", JVM),
    later("pathStats.enabled", PATH_STATS),
    later("pathStats.slotCapacity", PATH_STATS),
    later("pathStats.slotDuration", PATH_STATS),
    later("pathStats.maxDepth", PATH_STATS),
    later("pathStats.sampleRate", PATH_STATS),
    later("pathStats.initialDelay", PATH_STATS),
    later("pathStats.delay", PATH_STATS),
    later("pathStats.topPathMax", PATH_STATS),
    // What the scripts around the Java server pass along.
    none("log.*", LOGGING),
    none("root.logger", LOGGING),
    none("console.threshold", LOGGING),
    none("tracelog.*", LOGGING),
    none("auditlog.*", AUDIT),
    none("audit.logger", AUDIT),
    none("jmx.*", JVM),
    // Our own.
    ours("flush.method", Word(&["dsync", "fdatasync", "none"]), "dsync"),
    ours("flush.mode", Word(&["fixed", "adaptive"]), "adaptive"),
    ours("flush.flights", Int(1, limits::FLIGHTS_MAX as i64), "4"),
    ours("flush.lingerMicros", Int(0, 1_000_000), "0"),
    ours("flush.delayMicros", Int(0, 1_000_000), "0"),
    // A batch that closes later than this might not fit a segment (`ground::limits`).
    ours("flush.batchBytes", Bytes(limits::BLOCK as i64, limits::BATCH_BYTES_DEFAULT as i64), "1048576"),
    ours("shards", Int(0, 1024), "0"),
    ours("sequencer.placement", Word(&["auto", "own", "shared"]), "auto"),
    ours("ensemble.bootstrap", Word(&["all", "majority"]), "all"),
    ours("cores.pin", Word(&["auto", "yes", "no"]), "auto"),
    ours("spin.micros", Int(0, 1_000_000), "0"),
    ours("log.level", Text, ""),
    ours("log.warnBytes", Bytes(0, i64::MAX), "8589934592"),
    ours("retain.bytes", Bytes(0, i64::MAX), "17179869184"),
    ours("scrub.intervalSeconds", Int(0, I32), "86400"),
    ours("audit.file", Path, "zookeeper_audit.log"),
    ours("audit.fileBytes", Bytes(0, i64::MAX), "10485760"),
    ours("audit.files", Int(0, 1000), "10"),
    ours("io.memoryKiB", Int(64, 1 << 20), "1024"),
];
