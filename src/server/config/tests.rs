//! Tests of whole configurations, from text to what is in effect.

use super::given::File;
use super::keys::{Form, Kind};
use super::metrics::PROMETHEUS;
use super::resolve::Overrides;
use super::sasl::JAAS_FILE;
use super::settings::{FlushMethod, Pin, SequencerPlacement};
use super::table::TABLE;
use super::throttles;
use super::value::ValueType;
use super::{ConfigError, Level, Loaded, Sources, load};
use crate::ground::limits;
use proptest::prelude::*;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// What the file of [`JAAS_FILE`] says.
const JAAS: &str = "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=\"secret\"; };";

/// The least that starts a server.
const MINIMAL: &str = "dataDir=/d\nclientPort=2181\n";

fn resolver(host: &str) -> io::Result<Vec<IpAddr>> {
    match host {
        "localhost" => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        "nowhere" => Ok(Vec::new()),
        _ => Err(io::Error::other("unknown host")),
    }
}

fn full(text: Option<&str>, properties: &[(&str, &str)], overrides: &Overrides, strict: bool) -> Result<Loaded, ConfigError> {
    numbered(text, properties, overrides, strict, None)
}

/// The same where `myid` says this.
fn numbered(
    text: Option<&str>,
    properties: &[(&str, &str)],
    overrides: &Overrides,
    strict: bool,
    my_id: Option<&str>,
) -> Result<Loaded, ConfigError> {
    let properties: Vec<_> = properties.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    let file = text.map(|text| File { name: "zoo.cfg", text });
    let my_id = |path: &Path| {
        assert!(path.ends_with("myid"));
        Ok(my_id.map(str::to_owned))
    };
    let jaas = properties.iter().any(|(name, _)| name == JAAS_FILE).then_some(File { name: "/t/jaas.conf", text: JAAS });
    load(&Sources { file, dynamic: None, properties: &properties, jaas, overrides, strict, resolver: &resolver, my_id: &my_id })
}

/// A zoo.cfg with these lines after two that start a server.
pub(super) fn with(lines: &str) -> Result<Loaded, ConfigError> {
    full(Some(&format!("dataDir=/d\nclientPort=2181\n{lines}")), &[], &Overrides::default(), false)
}

fn notices(loaded: &Loaded) -> Vec<String> {
    loaded.notices.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_file_it_keeps_to_this_machine() {
    let loaded = full(None, &[], &Overrides::default(), true).unwrap();
    let c = &loaded.config;
    assert_eq!(c.client_addr.to_string(), "127.0.0.1:2181");
    assert_eq!((&c.data_dir, &c.data_log_dir), (&PathBuf::from("./ringkeeper-data"), &PathBuf::from("./ringkeeper-data")));
    assert_eq!((c.tick_time_ms, c.min_session_timeout_ms, c.max_session_timeout_ms), (3000, 6000, 60000));
    assert_eq!((c.max_client_cnxns, c.max_cnxns, c.listen_backlog), (60, 0, None));
    assert_eq!(c.jute_maxbuffer, limits::FRAME_MAX_DEFAULT);
    assert_eq!((c.snap_count, c.snap_bytes), (100_000, 4 << 30));
    assert_eq!((c.segment_bytes, c.sessionless_timeout_ms), (limits::SEGMENT_DEFAULT as u64, 10_000));
    assert_eq!(
        (c.flush.method, c.flush.flights, c.flush.linger_micros, c.flush.batch_bytes),
        (FlushMethod::Dsync, 4, 0, 1 << 20)
    );
    assert_eq!((c.shards, c.sequencer_placement, c.pin), (0, SequencerPlacement::Auto, Pin::Auto));
    assert_eq!((c.spin_micros, c.log_warn_bytes, c.io_memory_bytes), (0, 8 << 30, 1 << 20));
    assert!(c.four_letter_words.allows("srvr") && !c.four_letter_words.allows("ruok") && !c.four_letter_words.allows("isro"));
    assert!(c.data_dir_autocreate && c.digest_auth_enabled && c.tree_digest_enabled);
    assert!(!c.skip_acl && !c.enforce_quota && !c.readonlymode && !c.tcp_keepalive && !c.client_dual_stack);
    assert_eq!((c.my_id.0, c.session_server_id, c.conf_server_id, c.fsync_warning_ms), (1, 1, 0, 1000));
    assert!(c.super_digest.is_none() && loaded.notices.is_empty());
}

#[test]
fn every_working_key_has_its_effect() {
    let base = with("").unwrap().config;
    let cases: &[(&str, &str)] = &[
        ("clientPort", "2182"),
        ("clientPortAddress", "127.0.0.2"),
        ("dataDir", "/e"),
        ("dataLogDir", "/l"),
        ("tickTime", "100"),
        ("maxClientCnxns", "5"),
        ("maxCnxns", "6"),
        ("minSessionTimeout", "7"),
        ("maxSessionTimeout", "70000"),
        ("clientPortListenBacklog", "8"),
        ("clientTcpKeepAlive", "true"),
        ("nio.sessionlessCnxnTimeout", "9"),
        ("preAllocSize", "32768"),
        ("snapCount", "1000"),
        ("snapSizeLimitInKb", "-1"),
        ("forceSync", "no"),
        ("fsync.warningthresholdms", "11"),
        ("datadir.autocreate", "false"),
        ("digest.enabled", "False"),
        ("localSessionsEnabled", "true"),
        ("localSessionsUpgradingEnabled", "true"),
        ("DigestAuthenticationProvider.superDigest", "super:abc"),
        ("DigestAuthenticationProvider.enabled", "false"),
        ("skipACL", "yes"),
        ("enforceQuota", "True"),
        ("extendedTypesEnabled", "true"),
        ("4lw.commands.whitelist", "ruok, mntr"),
        ("flush.method", "fdatasync"),
        ("flush.mode", "fixed"),
        ("flush.flights", "1"),
        ("flush.lingerMicros", "50"),
        ("flush.batchBytes", "64k"),
        ("shards", "3"),
        ("sequencer.placement", "own"),
        ("cores.pin", "no"),
        ("spin.micros", "20"),
        ("log.warnBytes", "1g"),
        ("log.level", "debug"),
        ("flush.delayMicros", "9"),
        ("autopurge.snapRetainCount", "5"),
        ("autopurge.purgeInterval", "0"),
        ("retain.bytes", "2g"),
        ("scrub.intervalSeconds", "60"),
        ("io.memoryKiB", "128"),
        ("audit.enable", "true"),
        ("metricsProvider.className", PROMETHEUS),
    ];
    for &(key, value) in cases {
        let loaded = with(&format!("{key}={value}")).unwrap();
        assert_ne!(loaded.config, base, "{key} has no effect");
        if key != "forceSync" {
            let line = loaded.effective.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key} is not shown"));
            assert_eq!(line.from, "zoo.cfg:3", "{line}");
        }
    }
    let own_name = [
        ("jute.maxbuffer", "0x200000"),
        ("readonlymode.enabled", "true"),
        ("znode.container.checkIntervalMs", "70"),
        ("znode.container.maxPerMinute", "80"),
        ("znode.container.maxNeverUsedIntervalMs", "90"),
    ];
    for (key, value) in own_name {
        let loaded = full(Some("dataDir=/d\nclientPort=2181"), &[(key, value)], &Overrides::default(), true).unwrap();
        assert_ne!(loaded.config, base, "{key} has no effect");
    }
    // The rest of the table's working keys are those of proved names and of ensembles, which have tests of their own.
    let tested = |name: &str| cases.iter().chain(&own_name).chain(&throttles::tests::KEYS).any(|c| c.0 == name);
    let rest: Vec<_> = TABLE.iter().filter(|k| k.kind == Kind::Works && !tested(k.name)).map(|k| k.name).collect();
    let of_others = [
        "server.N",
        "standaloneEnabled",
        "dynamicConfigFile",
        "initLimit",
        "syncLimit",
        "connectToLearnerMasterLimit",
        "electionAlg",
        "peerType",
        "cnxTimeout",
        "quorumCnxnTimeoutMs",
        "quorumListenOnAllIPs",
        "tcpKeepAlive",
        "fastleader.minNotificationInterval",
        "fastleader.maxNotificationInterval",
        "authProvider.N",
        "authProvider.*",
        "sessionRequireClientSASLAuth",
        "enforce.auth.enabled",
        "enforce.auth.schemes",
        "java.security.auth.login.config",
        "sasl.serverconfig",
        "allowSaslFailedClients",
        "superUser",
        "superUser.*",
        "SASLAuthenticationProvider.superPassword",
        "letAnySaslUserDoX",
        "kerberos.removeHostFromPrincipal",
        "kerberos.removeRealmFromPrincipal",
        "metricsProvider.httpHost",
        "metricsProvider.httpPort",
        "ensemble.bootstrap",
        "audit.file",
        "audit.fileBytes",
        "audit.files",
    ];
    assert_eq!(rest, of_others);
}

#[test]
fn every_key_without_effect_is_told_in_one_line() {
    for key in TABLE.iter().filter(|k| !matches!(k.kind, Kind::Works | Kind::Refused(_))) {
        let name = key.name.replace(".N", ".1").replace(".*", ".x");
        let value = match key.value {
            ValueType::Bool => "true",
            ValueType::Word(words) => words[0],
            _ => "7",
        };
        let loaded = match key.form {
            Form::Bare => full(None, &[(name.as_str(), value)], &Overrides::default(), true).unwrap(),
            _ => full(Some(&format!("dataDir=/d\nclientPort=2181\n{name}={value}")), &[], &Overrides::default(), true).unwrap(),
        };
        let told = notices(&loaded);
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        assert_eq!(loaded.notices[0].level, Level::Info);
        assert!(told[0].contains(&format!("{name} has no effect")), "{}", told[0]);
        assert_eq!(told[0].contains("comes later"), matches!(key.kind, Kind::Later(_)), "{}", told[0]);
    }
}

#[test]
fn every_refused_key_is_refused_unless_it_asks_for_nothing() {
    for key in TABLE.iter().filter(|k| matches!(k.kind, Kind::Refused(_))) {
        let name = key.name.replace(".*", ".x");
        let asked = if key.value == ValueType::Bool { "true" } else { "SHA-256" };
        let error = with(&format!("{name}={asked}")).unwrap_err();
        assert!(matches!(error, ConfigError::Refused { .. }), "{name}: {error}");
        assert!(error.to_string().starts_with(&format!("zoo.cfg:3: {name} is refused: ")), "{error}");
        let property = format!("zookeeper.{name}");
        let error = full(None, &[(property.as_str(), asked)], &Overrides::default(), false).unwrap_err();
        assert!(error.to_string().starts_with(&format!("-D{property}: {name} is refused: ")), "{error}");
        let harmless = with(&format!("{name}={}", key.default)).unwrap();
        assert_eq!(notices(&harmless), [format!("zoo.cfg:3: {name} has no effect yet; what it says is how things are")]);
    }
}

#[test]
fn tls_alone_is_refused_and_beside_clear_text_comes_later() {
    let only = |lines: &str| full(Some(&format!("dataDir=/d\n{lines}")), &[], &Overrides::default(), false);
    for lines in ["secureClientPort=2281", "secureClientPort=2281\nclientPort=0", "secureClientPort=2281\nclientPortAddress=::1"]
    {
        let error = only(lines).unwrap_err().to_string();
        assert!(error.starts_with("zoo.cfg:2: secureClientPort is refused: TLS is not there yet"), "{error}");
    }
    let error = only("server.1=a:1:2;;2281").unwrap_err().to_string();
    assert!(error.starts_with("zoo.cfg: secureClientPort is refused"), "{error}");
    let both = only("secureClientPort=2281\nclientPort=2181").unwrap();
    assert_eq!(notices(&both), ["zoo.cfg:2: secureClientPort has no effect yet: it belongs to TLS, which comes later"]);
}

#[test]
fn several_servers_are_an_ensemble_and_one_is_a_server_alone() {
    let lines = "tickTime=2000\ninitLimit=10\nsyncLimit=5\n";
    let three =
        format!("{lines}server.1=localhost:1:2\nserver.2=localhost:3:4;nowhere:1\nserver.3=localhost:5:6;localhost:2183\n");
    let member = |text: &str, my_id| numbered(Some(&format!("dataDir=/d\n{text}")), &[], &Overrides::default(), true, my_id);
    let loaded = member(&three, Some("3\n")).unwrap();
    let c = &loaded.config;
    assert_eq!(
        (c.my_id.0, c.session_server_id, c.conf_server_id, c.client_addr.to_string().as_str()),
        (3, 3, 3, "127.0.0.1:2183")
    );
    let ensemble = c.ensemble.as_ref().unwrap();
    assert_eq!((ensemble.me.0, ensemble.configuration.servers.len(), ensemble.init_limit, ensemble.votes()), (3, 3, 10, true));
    assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
    let line = |key: &str| loaded.effective.iter().find(|row| row.key == key).map(ToString::to_string);
    assert_eq!(line("server.3").as_deref(), Some("server.3=localhost:5:6;localhost:2183  (zoo.cfg:7)"));
    assert_eq!(line("initLimit").as_deref(), Some("initLimit=10  (zoo.cfg:3)"));
    assert_eq!(line("cnxTimeout").as_deref(), Some("cnxTimeout=5000  (default)"));
    assert_eq!(line("myid").as_deref(), Some("myid=3  (the file myid)"));
    let client = |text: &str| {
        member(text, Some("1")).map(|loaded| (loaded.config.client_addr.to_string(), loaded.config.client_dual_stack))
    };
    assert_eq!(client(&format!("{three}clientPort=2181")).unwrap(), ("0.0.0.0:2181".to_owned(), true));
    assert!(client(&three).unwrap_err().to_string().starts_with("zoo.cfg: clientPort is not set"));
    let error = member(&three, None).unwrap_err().to_string();
    assert!(error.starts_with("/d/myid: myid is not set: the file is not there"), "{error}");
    assert!(matches!(member(&format!("{three}group.1=1:2:3"), Some("1")), Err(ConfigError::Refused { .. })));
    assert!(matches!(member(&format!("{three}sslQuorum=true"), Some("1")), Err(ConfigError::Refused { .. })));
    assert!(matches!(with(&format!("{lines}server.1=a:1:2\nserver.2=b:1:2:observer")), Err(ConfigError::Conflict { .. })));
    assert!(matches!(with("server.1=a:1:2:observer"), Err(ConfigError::Value { .. })));
    assert!(matches!(with("server.1=a"), Err(ConfigError::Value { .. })));
    let one = format!("{lines}clientPort=2181\nserver.7=a:1:2\nstandaloneEnabled=false");
    assert_eq!(member(&one, Some("7")).unwrap().config.ensemble.unwrap().me.0, 7);
    let alone = with("server.1=a:1:2\nstandaloneEnabled=true\ninitLimit=10").unwrap();
    assert!(alone.notices.is_empty() && alone.config.client_dual_stack && alone.config.ensemble.is_none());
}

#[test]
fn the_number_of_a_server_alone_is_a_number() {
    let id = |text| numbered(Some("dataDir=/d\nclientPort=2181"), &[], &Overrides::default(), true, Some(text));
    let loaded = id("7\nmore").unwrap();
    assert_eq!((loaded.config.my_id.0, loaded.config.session_server_id, loaded.notices.len()), (7, 1, 0));
    let loaded = id("300").unwrap();
    assert_eq!(loaded.config.my_id.0, 1);
    assert_eq!(notices(&loaded), ["/d/myid: myid 300 is not from 1 to 255 (no effect on a server alone)"]);
    assert_eq!(id("one").unwrap_err().to_string(), "/d/myid: myid=one: expected the number of this server, 1 to 255");
}

#[test]
fn the_address_of_clients() {
    let addr = |text: &str, listen: Option<&str>| {
        let over = Overrides { listen: listen.map(str::to_owned), ..Overrides::default() };
        full(Some(&format!("dataDir=/d\n{text}")), &[], &over, false)
            .map(|l| (l.config.client_addr.to_string(), l.config.client_dual_stack))
    };
    let ok = |a: &str, dual| Ok((a.to_owned(), dual));
    assert_eq!(addr("clientPort=2181", None), ok("0.0.0.0:2181", true));
    assert_eq!(addr("clientPort=2181\nclientPortAddress=localhost", None), ok("127.0.0.1:2181", false));
    assert_eq!(addr("clientPort=2181\nclientPortAddress=::", None), ok("[::]:2181", false));
    assert_eq!(addr("clientPort=2181\nclientPortAddress=[::1]", None), ok("[::1]:2181", false));
    assert_eq!(addr("server.1=a:1:2;2182", None), ok("0.0.0.0:2182", true));
    assert_eq!(addr("server.1=a:1:2;localhost:2182", None), ok("127.0.0.1:2182", false));
    assert_eq!(addr("server.1=a:1:2;2182\nclientPort=2182", None), ok("0.0.0.0:2182", true));
    assert_eq!(addr("clientPort=2181", Some("[::1]:0")), ok("[::1]:0", false));
    assert_eq!(addr("", Some("localhost:2181")), ok("127.0.0.1:2181", false));
    let error = |text, listen| addr(text, listen).unwrap_err().to_string();
    assert_eq!(
        error("", None),
        "zoo.cfg: clientPort is not set: nothing would listen: add clientPort=2181, or give --listen ADDR:PORT"
    );
    assert_eq!(error("clientPort=70000", None), "zoo.cfg:2: clientPort=70000: expected a whole number from 0 to 65535");
    assert!(error("server.1=a:1:2;2182\nclientPort=2181", None).starts_with("zoo.cfg:3: clientPort=2181 and"));
    assert!(error("clientPort=1\nclientPortAddress=elsewhere", None).contains("does not resolve (unknown host)"));
    assert!(error("clientPort=1\nclientPortAddress=nowhere", None).contains("has no address"));
    assert!(error("", Some("2181")).starts_with("--listen: --listen=2181: expected ADDR:PORT"));
}

#[test]
fn flags_overwrite_files_and_files_overwrite_properties() {
    let over = Overrides { data_dir: Some("/flag".into()), listen: Some("127.0.0.1:9".into()), shards: Some(2) };
    let text = "dataDir=/file\ndataLogDir=/log\nclientPort=2181\nshards=5\ntickTime=1000";
    let loaded = full(Some(text), &[("zookeeper.tickTime", "9"), ("zookeeper.maxCnxns", "3")], &over, true).unwrap();
    let c = &loaded.config;
    assert_eq!((&c.data_dir, &c.data_log_dir), (&PathBuf::from("/flag"), &PathBuf::from("/flag")));
    assert_eq!((c.client_addr.to_string().as_str(), c.shards, c.tick_time_ms, c.max_cnxns), ("127.0.0.1:9", 2, 1000, 3));
    assert_eq!(
        notices(&loaded),
        [
            "zoo.cfg:5: tickTime overwrites -Dzookeeper.tickTime",
            "zoo.cfg:2: dataLogDir is set aside: --data-dir keeps everything in one place",
        ]
    );
    let from = |key| loaded.effective.iter().find(|e| e.key == key).map(|e| e.from.as_str());
    assert_eq!((from("shards"), from("dataDir"), from("tickTime")), (Some("--shards"), Some("--data-dir"), Some("zoo.cfg:5")));
    assert_eq!((from("maxCnxns"), from("spin.micros")), (Some("-Dzookeeper.maxCnxns"), Some("default")));
    let missing = full(Some("clientPort=2181"), &[], &Overrides::default(), false).unwrap_err();
    assert!(missing.to_string().starts_with("zoo.cfg: dataDir is not set: "), "{missing}");
}

#[test]
fn values_that_cannot_be() {
    let cases = [
        ("tickTime=0", "tickTime=0: expected a whole number from 1 to 2147483647"),
        ("tickTime=fast", "tickTime=fast: expected a whole number from 1 to 2147483647"),
        ("clientTcpKeepAlive=yes", "clientTcpKeepAlive=yes: expected true or false"),
        ("localSessionsEnabled=1", "localSessionsEnabled=1: expected true or false"),
        ("electionAlg=0", "electionAlg=0: expected 3"),
        ("dataLogDir=", "dataLogDir=: expected a path"),
        ("flush.method=often", "flush.method=often: expected dsync or fdatasync or none"),
        ("flush.flights=17", "flush.flights=17: expected a whole number from 1 to 16"),
        ("sequencer.placement=here", "sequencer.placement=here: expected auto or own or shared"),
        (
            "minSessionTimeout=90000",
            "minSessionTimeout (90000 ms) is above maxSessionTimeout (60000 ms): raise the one or lower the other",
        ),
        ("dataLogDir=\\u12", "\\u must be followed by four hexadecimal digits; write \\\\ for a backslash"),
    ];
    for (line, want) in cases {
        assert_eq!(with(line).unwrap_err().to_string(), format!("zoo.cfg:3: {want}"));
    }
    let huge = full(None, &[("jute.maxbuffer", "1073741824")], &Overrides::default(), false).unwrap_err().to_string();
    assert!(huge.starts_with("-Djute.maxbuffer: jute.maxbuffer=1073741824: expected"), "{huge}");
}

#[test]
fn what_is_dangerous_is_loud() {
    let cases = [
        ("forceSync=no", FlushMethod::None, 1, "the log is NOT FLUSHED"),
        ("flush.method=none", FlushMethod::None, 1, "the log is NOT FLUSHED"),
        ("forceSync=yes\nflush.method=none", FlushMethod::None, 1, "the log is NOT FLUSHED"),
        (
            "forceSync=no\nflush.method=dsync",
            FlushMethod::Dsync,
            1,
            "forceSync=no is set aside: zoo.cfg:4 says flush.method=dsync",
        ),
        ("forceSync=false", FlushMethod::Dsync, 1, "neither yes nor no: the log is flushed"),
        ("forceSync=yes", FlushMethod::Dsync, 0, ""),
        ("skipACL=yes", FlushMethod::Dsync, 1, "no ACL is checked"),
        ("skipACL=true", FlushMethod::Dsync, 1, "ACLs are checked"),
        ("skipACL=no", FlushMethod::Dsync, 0, ""),
        ("preAllocSize=64", FlushMethod::Dsync, 1, "taken as 16384"),
        ("snapCount=1", FlushMethod::Dsync, 1, "taken as 2"),
        ("preAllocSize=2147483647", FlushMethod::Dsync, 1, "taken as 1048576"),
        ("preAllocSize=20001", FlushMethod::Dsync, 1, "taken as 20000"),
        ("4lw.commands.whitelist=rouk", FlushMethod::Dsync, 1, "\"rouk\" is no four-letter word"),
    ];
    for (line, method, count, told) in cases {
        let loaded = with(line).unwrap();
        assert_eq!((loaded.config.flush.method, loaded.notices.len()), (method, count), "{line}: {:?}", loaded.notices);
        assert!(loaded.notices.iter().all(|n| n.level == Level::Warn && n.text.contains(told)), "{line}: {:?}", loaded.notices);
    }
}

#[test]
fn four_letter_words_and_secrets() {
    let words = |lines: &str, properties: &[(&str, &str)]| {
        let text = format!("dataDir=/d\nclientPort=2181\n{lines}");
        full(Some(&text), properties, &Overrides::default(), false).unwrap().config.four_letter_words
    };
    assert!(words("4lw.commands.whitelist=ruok, *", &[]).allows("wchc"));
    let two = words("4lw.commands.whitelist=ruok,mntr", &[]);
    assert!(two.allows("ruok") && two.allows("mntr") && two.allows("srvr") && !two.allows("stat"));
    assert_eq!(two.to_string(), "mntr,ruok,srvr");
    assert!(words("", &[("readonlymode.enabled", "true")]).allows("isro"));
    let secret = with("DigestAuthenticationProvider.superDigest=super:hush").unwrap();
    assert_eq!(secret.config.super_digest.as_ref().map(|s| s.0.as_str()), Some("super:hush"));
    assert!(!format!("{secret:?}").contains("hush"));
}

#[test]
fn proved_names_and_what_every_client_must_prove() {
    let provider = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
    let text = format!(
        "{MINIMAL}{provider}superUser=root\nsuperUser.2=boss\nkerberos.removeHostFromPrincipal=true\nletAnySaslUserDoX=any\n"
    );
    let jaas = [(JAAS_FILE, "/t/jaas.conf"), ("zookeeper.SASLAuthenticationProvider.superPassword", "hidden")];
    let loaded = full(Some(&text), &jaas, &Overrides::default(), true).unwrap();
    assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
    let shown: Vec<_> = loaded.effective.iter().map(ToString::to_string).collect();
    assert!(shown.iter().any(|line| line.starts_with("superUser.2=boss  (")), "{shown:?}");
    assert!(!format!("{loaded:?}").contains("hidden") && !format!("{loaded:?}").contains("secret"), "{loaded:?}");
    let sasl = loaded.config.sasl;
    assert_eq!((sasl.acls, sasl.any_user.as_deref(), sasl.keeps_failed, sasl.enforced.len()), (true, Some("any"), false, 0));
    let exchange = sasl.exchange.unwrap();
    assert_eq!(exchange.users.clone().into_iter().collect::<Vec<_>>(), [("bob".to_owned(), "secret".to_owned())]);
    assert_eq!(
        (exchange.super_users.clone(), exchange.super_password.as_deref()),
        (vec!["root".to_owned(), "boss".to_owned()], Some("hidden"))
    );
    assert!(exchange.shortening.host && !exchange.shortening.realm);

    // What is there in part is told.
    let alone = with(provider).unwrap();
    assert!(
        alone.config.sasl.exchange.is_none() && alone.notices[0].text.starts_with("SASL has no users"),
        "{:?}",
        alone.notices
    );
    let users = full(Some(MINIMAL), &jaas[..1], &Overrides::default(), true).unwrap();
    assert!(users.config.sasl.exchange.is_some() && users.notices[0].text.starts_with("names are proved"), "{:?}", users.notices);
    let other = full(Some(&format!("{text}sasl.serverconfig=None\n")), &jaas[..1], &Overrides::default(), true).unwrap();
    assert!(
        other.config.sasl.exchange.is_none() && other.notices[0].text.starts_with("no section \"None\""),
        "{:?}",
        other.notices
    );
    let class = with("authProvider.1=x.Y").unwrap();
    assert!(class.notices[0].text.contains("x.Y is a provider that comes later"), "{:?}", class.notices);

    let enforced =
        |lines: &str| with(&format!("{provider}{lines}")).map(|loaded| loaded.config.sasl.enforced).map_err(|e| e.to_string());
    assert_eq!(enforced("sessionRequireClientSASLAuth=true"), Ok(vec!["sasl".to_owned()]));
    let both = enforced("enforce.auth.enabled=true\nenforce.auth.schemes= digest , sasl");
    assert_eq!(both, Ok(vec!["digest".to_owned(), "sasl".to_owned()]));
    assert_eq!(enforced("enforce.auth.schemes=digest"), Ok(Vec::new()), "it is not enabled");
    for (lines, part) in [
        ("enforce.auth.enabled=true", "enforce.auth.schemes is not set"),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=,", "schemes of which a client needs one"),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=sasl,x509", "which \"x509\" has not"),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false", "\"digest\""),
    ] {
        let error = enforced(lines).unwrap_err();
        assert!(error.contains(part), "{lines}: {error}");
    }
    let error = with("sessionRequireClientSASLAuth=true").unwrap_err().to_string();
    assert!(error.contains("sasl takes authProvider.1="), "{error}");
}

#[test]
fn the_audit_log_has_to_be_asked_for() {
    let audit =
        |lines: &str| with(lines).map(|loaded| loaded.config.audit.map(|audit| (audit.file, audit.file_bytes, audit.files)));
    assert_eq!(audit("audit.file=/x"), Ok(None));
    assert_eq!(audit("audit.enable=true"), Ok(Some((PathBuf::from("zookeeper_audit.log"), 10 << 20, 10))));
    let given = audit("audit.enable=TRUE\naudit.file=/x\naudit.fileBytes=1m\naudit.files=0");
    assert_eq!(given, Ok(Some((PathBuf::from("/x"), 1 << 20, 0))));
}

#[test]
fn numbers_without_limit() {
    let c = with("maxClientCnxns=-1\nmaxCnxns=-5\ntickTime=2147483647").unwrap().config;
    assert_eq!((c.max_client_cnxns, c.max_cnxns), (0, 0));
    assert_eq!((c.min_session_timeout_ms, c.max_session_timeout_ms), (i32::MAX as u32, i32::MAX as u32));
}

/// The settings that the managed server of the Python client's test suite is started with.
#[test]
fn the_settings_of_kazoos_tests_load() {
    let text = "\ntickTime=2000\ndataDir=/t/data\nclientPort=20000\nsecureClientPort=20004\nmaxClientCnxns=0\nadmin.serverPort=20003\n\
        serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
        authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
        ssl.keyStore.location=/t/keystore.jks\nssl.keyStore.password=apassword\n\
        ssl.trustStore.location=/t/truststore.jks\nssl.trustStore.password=apassword\n\
        4lw.commands.whitelist=*\nreconfigEnabled=true\nlocalSessionsEnabled=false\nlocalSessionsUpgradingEnabled=false\n";
    let properties = [
        ("file.encoding", "UTF-8"),
        ("readonlymode.enabled", "true"),
        ("zookeeper.log.dir", "/t/log"),
        ("zookeeper.root.logger", "INFO,CONSOLE"),
        ("log4j.configuration", "file:/t/log4j.properties"),
        ("java.awt.headless", "true"),
        ("java.security.auth.login.config", "/t/jaas.conf"),
        ("zookeeper.DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
    ];
    let loaded = full(Some(text), &properties, &Overrides::default(), true).unwrap();
    let c = &loaded.config;
    assert_eq!((c.client_addr.port(), c.max_client_cnxns, c.tick_time_ms), (20000, 0, 2000));
    assert!(c.four_letter_words.all && c.super_digest.is_some() && c.readonlymode);
    assert!(loaded.notices.iter().all(|n| n.level == Level::Info && !n.text.contains("apassword")), "{:?}", loaded.notices);
    let one = format!("{text}\ninitLimit=4\nsyncLimit=2\nserver.1=localhost:20002:20001:participant\npeerType=participant\n");
    assert_eq!(full(Some(&one), &properties, &Overrides::default(), true).unwrap().config, loaded.config);
    let three = format!("{one}server.2=localhost:20012:20011:participant\nserver.3=localhost:20022:20021:participant\n");
    let ensemble = numbered(Some(&three), &properties, &Overrides::default(), true, Some("2")).unwrap().config.ensemble.unwrap();
    assert_eq!((ensemble.me.0, ensemble.init_limit, ensemble.configuration.servers.len()), (2, 4, 3));
}

/// The owner of a znode with a time to live would look like a session of server 255.
#[test]
fn no_extended_types_where_myid_is_255() {
    let text = "tickTime=2000\ndataDir=/t\nclientPort=2182\ninitLimit=5\nsyncLimit=2\nserver.1=a:1:2\nserver.255=localhost:3:4\n";
    let load = |value| {
        let properties = [("zookeeper.extendedTypesEnabled", value)];
        numbered(Some(text), &properties, &Overrides::default(), true, Some("255"))
    };
    assert!(!load("false").unwrap().config.lifetimes.extended_types);
    assert!(load("true").unwrap_err().to_string().contains("extendedTypesEnabled"));
}

/// The settings of the real server beside us, one that runs alone.
#[test]
fn the_settings_of_a_real_server_alone_load() {
    let text = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/t/1/data\nclientPort=2182\nclientPortAddress=127.0.0.1\n\
        admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n";
    let properties = [
        ("zookeeper.extendedTypesEnabled", "true"),
        ("readonlymode.enabled", "true"),
        ("log4j2.configurationFile", "file:/t/log4j2.properties"),
    ];
    let loaded = full(Some(text), &properties, &Overrides::default(), true).unwrap();
    assert_eq!(loaded.config.client_addr.to_string(), "127.0.0.1:2182");
    assert!(loaded.config.lifetimes.extended_types);
}

/// The guide names every key that works, with its default.
#[test]
fn the_guide_is_complete() {
    let guide = include_str!("../../../docs/configuration.md");
    for key in TABLE.iter().filter(|k| k.kind == Kind::Works) {
        let row = guide.lines().find(|l| l.starts_with(&format!("| `{}` |", key.name)));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {}", key.name));
        if !key.default.is_empty() {
            assert!(
                row.contains(&format!("| `{}` |", key.default)),
                "docs/configuration.md has another default for {}",
                key.name
            );
        }
    }
    for key in TABLE.iter().filter(|k| matches!(k.kind, Kind::Refused(_))) {
        assert!(guide.contains(&format!("`{}`", key.name)), "docs/configuration.md does not name {}", key.name);
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,400}", strict in any::<bool>()) {
        let _ = full(Some(&text), &[], &Overrides::default(), strict);
    }

    #[test]
    fn arbitrary_values_never_panic(
        pairs in prop::collection::vec((prop::sample::select(TABLE), "[a-z0-9:;,.*|=-]{0,12}|-?[0-9]{1,20}|true|false|yes|no"), 0..6),
        listen in prop::option::of("[a-z0-9:.\\[\\]]{0,16}"),
    ) {
        let mut text = "dataDir=/d\nclientPort=2181\n".to_owned();
        let mut properties = Vec::new();
        for (i, (key, value)) in pairs.iter().enumerate() {
            let name = key.name.replace(".N", ".1").replace(".*", ".x");
            text.push_str(&format!("{name}={value}\n"));
            let prefix = ["", "zookeeper.", "ringkeeper."][i % 3];
            properties.push((format!("{prefix}{name}"), value.clone()));
        }
        let properties: Vec<_> = properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let over = Overrides { listen, ..Overrides::default() };
        let _ = full(Some(&text), &properties, &over, false);
        let _ = full(None, &properties, &over, false);
    }
}
