//! Resolving: from what was given to the configuration in effect.

use super::ensemble::{self, MyId};
use super::error::ConfigError;
use super::given::{Given, Item};
use super::member::{self, Member};
use super::metrics;
use super::notice::Notice;
use super::place::Place;
use super::settings::{
    AuditConfig, FlushConfig, FlushMethod, FourLetterWords, Pin, Sasl, Secret, SequencerPlacement, ServerConfig,
};
use super::throttles;
use super::value::quoted;
use crate::engine::census::Word;
use crate::engine::sequencer::Lifetimes;
use crate::ground::ids::ServerId;
use crate::ground::limits;
use crate::proto::members::{Role, server_id};
use crate::storage::retention::Policy;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What the command line says over everything else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// `--data-dir`: everything is kept here, `dataLogDir` notwithstanding.
    pub data_dir: Option<PathBuf>,
    /// `--listen`, as `HOST:PORT`.
    pub listen: Option<String>,
    /// `--shards`; 0 lets the plan of cores decide.
    pub shards: Option<u16>,
}

/// Turns a host name into addresses.
pub type Resolver<'a> = &'a dyn Fn(&str) -> io::Result<Vec<IpAddr>>;

/// Yields the text of the file `myid`, if there is one there.
pub type MyIdFile<'a> = &'a dyn Fn(&Path) -> Result<Option<String>, ConfigError>;

/// Data directory where neither a file nor a flag names one.
pub const DATA_DIR_DEFAULT: &str = "./ringkeeper-data";

/// Port where neither a file nor a flag names one.
pub const CLIENT_PORT_DEFAULT: u16 = 2181;

/// Largest log segment, bytes: it is written with zeros ahead of use.
const SEGMENT_MAX: i64 = 1 << 30;

/// Snapshots kept at least, as in ZooKeeper.
const IMAGES_MIN: i64 = 3;

/// Makes the configuration. `file` is the zoo.cfg, if there is one; without it the server keeps to this machine.
pub fn resolve(
    given: &mut Given,
    file: Option<&str>,
    over: &Overrides,
    resolver: Resolver<'_>,
    my_id: MyIdFile<'_>,
) -> Result<ServerConfig, ConfigError> {
    let is_alone = given.family("server.N").count() < 2 && given.bool("standaloneEnabled")?;
    let alone = if is_alone { alone(given)? } else { None };
    let (data_dir, data_log_dir) = directories(given, file, over)?;
    let path = data_dir.join("myid");
    let text = my_id(&path)?;
    let my_id = MyId { name: &path.display().to_string(), text: text.as_deref() };
    let ensemble = if is_alone { None } else { ensemble::resolve(given, my_id)? };
    let own = match &ensemble {
        Some(ensemble) => Some(own_line(given, ensemble.me)?),
        None => alone,
    };
    let (client_addr, client_dual_stack) = client_addr(given, file, over, own.as_ref(), resolver)?;
    let id = match &ensemble {
        Some(ensemble) => ensemble.me,
        None => id_alone(given, my_id)?,
    };
    let is_member = ensemble.is_some();
    let voters = ensemble.as_ref().map_or(0, |ensemble| ensemble.configuration.with_role(Role::Participant).count());
    let tick_time_ms = u32_of(given.int("tickTime")?);
    let (min_session_timeout_ms, max_session_timeout_ms) = session_timeouts(given, tick_time_ms)?;
    let readonlymode = given.bool("readonlymode.enabled")?;
    Ok(ServerConfig {
        client_addr,
        client_dual_stack,
        data_dir,
        data_log_dir,
        data_dir_autocreate: given.bool("datadir.autocreate")?,
        tick_time_ms,
        min_session_timeout_ms,
        max_session_timeout_ms,
        // Java compares with a number only where it is positive.
        max_client_cnxns: u32_of(given.int("maxClientCnxns")?),
        max_cnxns: u32_of(given.int("maxCnxns")?),
        listen_backlog: u32::try_from(given.int("clientPortListenBacklog")?).ok().filter(|&n| n > 0),
        ensemble,
        my_id: id,
        session_server_id: if is_member { id.0 } else { 1 },
        conf_server_id: if is_member { id.0 } else { 0 },
        throttles: throttles::resolve(given, voters)?,
        jute_maxbuffer: usize_of(given.int("jute.maxbuffer")?),
        four_letter_words: four_letter_words(given, readonlymode)?,
        super_digest: given
            .get("DigestAuthenticationProvider.superDigest")
            .filter(|i| !i.text.is_empty())
            .map(|i| Secret(i.text.clone())),
        digest_auth_enabled: given.bool("DigestAuthenticationProvider.enabled")?,
        skip_acl: skip_acl(given)?,
        enforce_quota: given.bool("enforceQuota")?,
        lifetimes: lifetimes(given, id)?,
        readonlymode,
        // Whoever loads the login configuration fills it in.
        sasl: Sasl::default(),
        local_sessions: given.bool("localSessionsEnabled")?,
        local_sessions_upgrading: given.bool("localSessionsUpgradingEnabled")?,
        tcp_keepalive: given.bool("clientTcpKeepAlive")?,
        sessionless_timeout_ms: u64_of(given.int("nio.sessionlessCnxnTimeout")?),
        segment_bytes: segment_bytes(given)?,
        snap_count: snap_count(given)?,
        snap_bytes: u64_of(given.int("snapSizeLimitInKb")?).saturating_mul(1024),
        flush: FlushConfig {
            method: flush_method(given)?,
            flights: usize_of(given.int("flush.flights")?),
            linger_micros: u64_of(given.int("flush.lingerMicros")?),
            batch_bytes: usize_of(given.int("flush.batchBytes")?),
            is_adaptive: is_adaptive(given)?,
            delay_micros: delay_micros(given)?,
        },
        fsync_warning_ms: u64_of(given.int("fsync.warningthresholdms")?),
        tree_digest_enabled: given.bool("digest.enabled")?,
        shards: match over.shards {
            Some(n) => n,
            None => u16::try_from(given.int("shards")?).expect("the table bounds shards"),
        },
        sequencer_placement: match given.text("sequencer.placement")?.as_str() {
            "own" => SequencerPlacement::Own,
            "shared" => SequencerPlacement::Shared,
            _ => SequencerPlacement::Auto,
        },
        pin: match given.text("cores.pin")?.as_str() {
            "yes" => Pin::Yes,
            "no" => Pin::No,
            _ => Pin::Auto,
        },
        spin_micros: u64_of(given.int("spin.micros")?),
        log_level: Some(given.text("log.level")?.trim().to_owned()).filter(|level| !level.is_empty()),
        log_warn_bytes: u64_of(given.int("log.warnBytes")?),
        retain: retain(given)?,
        scrub_interval_s: u64_of(given.int("scrub.intervalSeconds")?),
        audit: audit(given)?,
        metrics: metrics::resolve(given, resolver)?,
        io_memory_bytes: usize_of(given.int("io.memoryKiB")?) << 10,
    })
}

/// A server's own line: where it stands, and what it says.
type Own = (Item, Member);

/// The line of a server alone, if it has one: it votes.
fn alone(given: &Given) -> Result<Option<Own>, ConfigError> {
    let Some((name, item)) = given.family("server.N").next() else { return Ok(None) };
    let member = member::parse(&item.text).map_err(|expected| value_error(name, item, &expected))?;
    if member.observer {
        return Err(value_error(name, item, "an observer needs servers that vote: make it a participant, or take the line out"));
    }
    Ok(Some((item.clone(), member)))
}

/// The line of this server among those of its ensemble.
fn own_line(given: &Given, me: ServerId) -> Result<Own, ConfigError> {
    let is_own = |name: &str| name.strip_prefix("server.").and_then(server_id) == Some(me);
    let (name, item) = given.family("server.N").find(|(name, _)| is_own(name)).expect("an ensemble has a line for this server");
    let member = member::parse(&item.text).map_err(|expected| value_error(name, item, &expected))?;
    Ok((item.clone(), member))
}

/// The number in `myid` of a server alone. Anything but a number is an error, as in ZooKeeper; one that no server of an ensemble can have
/// means nothing here.
fn id_alone(given: &mut Given, my_id: MyId<'_>) -> Result<ServerId, ConfigError> {
    let Some(text) = my_id.text else { return Ok(ServerId(1)) };
    let place = Place::File(my_id.name.to_owned());
    let line = text.lines().next().unwrap_or_default().trim();
    let Ok(number) = line.parse::<i64>() else {
        let (value, expected) = (quoted(line), "expected the number of this server, 1 to 255".to_owned());
        return Err(ConfigError::Value { place, key: "myid".to_owned(), value, expected });
    };
    match u8::try_from(number) {
        Ok(id) if id > 0 => Ok(ServerId(id)),
        _ => {
            given.notices.push(Notice::warn(place, format!("myid {number} is not from 1 to 255 (no effect on a server alone)")));
            Ok(ServerId(1))
        }
    }
}

/// Where clients are met, and whether no address was named for it.
fn client_addr(
    given: &Given,
    file: Option<&str>,
    over: &Overrides,
    own: Option<&Own>,
    resolver: Resolver<'_>,
) -> Result<(SocketAddr, bool), ConfigError> {
    if let Some(listen) = &over.listen {
        let place = Place::Flag("--listen");
        let Some((Some(host), port)) = member::host_port(listen) else {
            return Err(ConfigError::Value {
                place,
                key: "--listen".to_owned(),
                value: quoted(listen),
                expected: "expected ADDR:PORT, such as 127.0.0.1:2181 or [::]:2181".to_owned(),
            });
        };
        return Ok((SocketAddr::new(address(&host, "--listen", &place, resolver)?, port), false));
    }
    // 0 is as good as absent, as in ZooKeeper.
    let port = match given.get("clientPort") {
        Some(item) => Some((item, port_of(given.int("clientPort")?))).filter(|&(_, port)| port != 0),
        None => None,
    };
    let listed = own.and_then(|(_, member)| member.client.clone());
    if let (Some((item, port)), Some((_, other))) = (port, &listed)
        && port != *other
    {
        let what = format!("clientPort={port} and the server line's client port {other} contradict each other: keep one");
        return Err(ConfigError::Conflict { place: item.place.clone(), what });
    }
    let named = given.get("clientPortAddress");
    let port = match (port.map(|(_, p)| p).or_else(|| listed.as_ref().map(|l| l.1)), file) {
        (Some(port), _) => port,
        (None, None) => CLIENT_PORT_DEFAULT,
        (None, Some(file)) => {
            let secure = given.get("secureClientPort").filter(|i| i.text != "0").map(|i| i.place.clone());
            if let Some(place) = secure.or_else(|| own.filter(|(_, member)| member.secure).map(|_| Place::File(file.to_owned())))
            {
                let reason = "TLS is not there yet, and without a clientPort nothing would listen: clear text takes a clientPort of its own";
                return Err(ConfigError::Refused { place, key: "secureClientPort".to_owned(), reason: reason.to_owned() });
            }
            let advice = "nothing would listen: add clientPort=2181, or give --listen ADDR:PORT";
            return Err(ConfigError::Missing { place: Place::File(file.to_owned()), key: "clientPort", advice });
        }
    };
    let host = match (named, listed) {
        (Some(item), _) => Some((item.text.clone(), "clientPortAddress", item.place.clone())),
        (None, Some((Some(host), _))) => own.map(|(item, _)| (host, "client address", item.place.clone())),
        (None, _) => None,
    };
    match host {
        Some((host, key, place)) => Ok((SocketAddr::new(address(&host, key, &place, resolver)?, port), false)),
        None if file.is_some() => Ok((SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), true)),
        None => Ok((SocketAddr::from((Ipv4Addr::LOCALHOST, port)), false)),
    }
}

pub(super) fn address(host: &str, key: &str, place: &Place, resolver: Resolver<'_>) -> Result<IpAddr, ConfigError> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(ip);
    }
    let wrong =
        |expected: String| ConfigError::Value { place: place.clone(), key: key.to_owned(), value: quoted(host), expected };
    let found = resolver(host).map_err(|e| wrong(format!("this host name does not resolve ({e}); an address would do")))?;
    found.first().copied().ok_or_else(|| wrong("this host name has no address; an address would do".to_owned()))
}

/// The data directory and the log's.
fn directories(given: &mut Given, file: Option<&str>, over: &Overrides) -> Result<(PathBuf, PathBuf), ConfigError> {
    let log_dir = given.get("dataLogDir").cloned();
    if let Some(dir) = &over.data_dir {
        if let Some(item) = log_dir {
            let text = "dataLogDir is set aside: --data-dir keeps everything in one place".to_owned();
            given.notices.push(Notice::warn(item.place, text));
        }
        return Ok((dir.clone(), dir.clone()));
    }
    let data_dir = match (given.get("dataDir"), file) {
        (Some(item), _) => PathBuf::from(&item.text),
        (None, None) => PathBuf::from(DATA_DIR_DEFAULT),
        (None, Some(file)) => {
            let advice = "there is nowhere to keep data: add dataDir=DIRECTORY, or give --data-dir";
            return Err(ConfigError::Missing { place: Place::File(file.to_owned()), key: "dataDir", advice });
        }
    };
    let log_dir = log_dir.map_or_else(|| data_dir.clone(), |item| PathBuf::from(item.text));
    Ok((data_dir, log_dir))
}

fn session_timeouts(given: &Given, tick: u32) -> Result<(u32, u32), ConfigError> {
    let timeout = |name: &'static str, ticks: i64| {
        given.int(name).map(|ms| u32_of(if ms == -1 { (i64::from(tick) * ticks).min(i64::from(i32::MAX)) } else { ms }))
    };
    let (min, max) = (timeout("minSessionTimeout", 2)?, timeout("maxSessionTimeout", 20)?);
    if min > max {
        let item = given.get("maxSessionTimeout").or_else(|| given.get("minSessionTimeout"));
        let place = item.map_or(Place::Command, |i| i.place.clone());
        let what =
            format!("minSessionTimeout ({min} ms) is above maxSessionTimeout ({max} ms): raise the one or lower the other");
        return Err(ConfigError::Conflict { place, what });
    }
    Ok((min, max))
}

fn four_letter_words(given: &mut Given, readonlymode: bool) -> Result<FourLetterWords, ConfigError> {
    let text = given.text("4lw.commands.whitelist")?;
    let mut words = FourLetterWords { all: false, words: ["srvr".to_owned()].into() };
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        if word == "*" {
            words.all = true;
        } else if Word::ALL.iter().any(|(name, _)| *name == word) {
            words.words.insert(word.to_owned());
        } else if let Some(item) = given.get("4lw.commands.whitelist") {
            let notice =
                Notice::warn(item.place.clone(), format!("4lw.commands.whitelist: {word:?} is no four-letter word (no effect)"));
            given.notices.push(notice);
        }
    }
    if readonlymode {
        words.words.insert("isro".to_owned());
    }
    Ok(words)
}

/// Session ids begin with the server's number, and the owners of znodes with a time to live with 255.
fn lifetimes(given: &Given, id: ServerId) -> Result<Lifetimes, ConfigError> {
    let extended_types = given.bool("extendedTypesEnabled")?;
    if let Some(item) = given.get("extendedTypesEnabled").filter(|_| extended_types && id.0 == u8::MAX) {
        return Err(value_error("extendedTypesEnabled", item, "false where myid is 255"));
    }
    Ok(Lifetimes {
        extended_types,
        check_ms: u64_of(given.int("znode.container.checkIntervalMs")?),
        max_per_minute: u64_of(given.int("znode.container.maxPerMinute")?),
        max_never_used_ms: u64_of(given.int("znode.container.maxNeverUsedIntervalMs")?),
    })
}

/// `yes` and nothing else, as in ZooKeeper.
fn skip_acl(given: &mut Given) -> Result<bool, ConfigError> {
    let skip = given.text("skipACL")? == "yes";
    if let Some(item) = given.get("skipACL") {
        let notice = match item.text.as_str() {
            "yes" => {
                Notice::warn(item.place.clone(), "skipACL=yes: no ACL is checked, every client may do everything".to_owned())
            }
            "no" => return Ok(skip),
            other => Notice::warn(item.place.clone(), format!("skipACL={other:?} is neither yes nor no: ACLs are checked")),
        };
        given.notices.push(notice);
    }
    Ok(skip)
}

/// `flush.mode`. Who sets flights or linger and no mode wants them as they are set.
fn is_adaptive(given: &Given) -> Result<bool, ConfigError> {
    let are_set = ["flush.flights", "flush.lingerMicros"].iter().any(|key| given.get(key).is_some());
    Ok(given.text("flush.mode")? == "adaptive" && (given.get("flush.mode").is_some() || !are_set))
}

/// `flush.method`, or what `forceSync` means; both loud where nothing is flushed.
fn flush_method(given: &mut Given) -> Result<FlushMethod, ConfigError> {
    let forced = given.get("forceSync").cloned();
    let chosen = given.get("flush.method").cloned();
    let mut method = match given.text("flush.method")?.as_str() {
        "fdatasync" => FlushMethod::Fdatasync,
        "none" => FlushMethod::None,
        _ => FlushMethod::Dsync,
    };
    let mut place = chosen.as_ref().map(|item| item.place.clone());
    if let Some(item) = forced {
        match (item.text.as_str(), &chosen) {
            ("no", None) => {
                method = FlushMethod::None;
                place = Some(item.place);
            }
            ("no", Some(chosen)) => {
                let text = format!("forceSync=no is set aside: {} says flush.method={method}", chosen.place);
                given.notices.push(Notice::warn(item.place, text));
            }
            ("yes", _) => {}
            (other, _) => {
                let text = format!("forceSync={other:?} is neither yes nor no: the log is flushed");
                given.notices.push(Notice::warn(item.place, text));
            }
        }
    }
    if let Some(place) = place.filter(|_| method == FlushMethod::None) {
        let text = "the log is NOT FLUSHED: when the machine stops, acknowledged writes are lost; never so where data matters";
        given.notices.push(Notice::warn(place, text.to_owned()));
    }
    Ok(method)
}

/// What each flush is made longer by; loud where it is.
fn delay_micros(given: &mut Given) -> Result<u64, ConfigError> {
    let delay = u64_of(given.int("flush.delayMicros")?);
    if let Some(place) = given.get("flush.delayMicros").map(|item| item.place.clone()).filter(|_| delay > 0) {
        let text = format!("each flush takes {delay} us longer than it need: for trials of slower drives only");
        given.notices.push(Notice::warn(place, text));
    }
    Ok(delay)
}

/// The audit log, if there is one. A file that is named without a directory lies in the working directory, as in ZooKeeper.
fn audit(given: &Given) -> Result<Option<AuditConfig>, ConfigError> {
    let config = AuditConfig {
        file: PathBuf::from(given.text("audit.file")?),
        file_bytes: u64_of(given.int("audit.fileBytes")?),
        files: u32_of(given.int("audit.files")?),
    };
    Ok(given.bool("audit.enable")?.then_some(config))
}

/// What is kept. Retention is on unless somebody has written that it should not be: what a ZooKeeper server was told to keep is not
/// deleted here, but a line says so, because a disk that fills is noticed late.
fn retain(given: &mut Given) -> Result<Option<Policy>, ConfigError> {
    let interval = given.int("autopurge.purgeInterval")?;
    let asked = given.int("autopurge.snapRetainCount")?;
    let bytes = u64_of(given.int("retain.bytes")?);
    if let Some(item) = given.get("autopurge.snapRetainCount").filter(|_| asked < IMAGES_MIN) {
        let text = format!("autopurge.snapRetainCount={asked}: {IMAGES_MIN} are kept, the least that ZooKeeper keeps");
        given.notices.push(Notice::warn(item.place.clone(), text));
    }
    if let Some(item) = given.get("autopurge.purgeInterval").cloned() {
        let notice = if interval <= 0 {
            let text = format!(
                "autopurge.purgeInterval={interval}: retention is OFF, snapshots and the log are kept until somebody removes them; take \
                 the line out to keep the newest {} snapshots and the log after them",
                asked.max(IMAGES_MIN)
            );
            Notice::warn(item.place, text)
        } else {
            let text =
                "autopurge.purgeInterval: retention follows each snapshot; the interval has no effect beyond that".to_owned();
            Notice::info(item.place, text)
        };
        given.notices.push(notice);
    }
    Ok((interval > 0).then(|| Policy { images: usize_of(asked.max(IMAGES_MIN)), bytes }))
}

/// `preAllocSize` in bytes, between what a batch needs and what is sensible to write ahead.
fn segment_bytes(given: &mut Given) -> Result<u64, ConfigError> {
    let asked = given.int("preAllocSize")? << 10;
    let block = limits::BLOCK as i64;
    let taken = asked.clamp(limits::SEGMENT_MIN as i64, SEGMENT_MAX).div_euclid(block) * block;
    if let Some(item) = given.get("preAllocSize").filter(|_| taken != asked) {
        let (min, max) = (limits::SEGMENT_MIN >> 10, SEGMENT_MAX >> 10);
        let text = format!("preAllocSize is taken as {} (a log segment is {min} to {max} KiB, a multiple of 4)", taken >> 10);
        let notice = Notice::warn(item.place.clone(), text);
        given.notices.push(notice);
    }
    Ok(u64_of(taken))
}

/// `snapCount`, which ZooKeeper does not let below 2.
fn snap_count(given: &mut Given) -> Result<u64, ConfigError> {
    let asked = given.int("snapCount")?;
    if let Some(item) = given.get("snapCount").filter(|_| asked < 2) {
        let notice = Notice::warn(item.place.clone(), "snapCount is taken as 2, the least there is".to_owned());
        given.notices.push(notice);
    }
    Ok(u64_of(asked.max(2)))
}

pub(super) fn value_error(name: &str, item: &Item, expected: &str) -> ConfigError {
    ConfigError::Value {
        place: item.place.clone(),
        key: name.to_owned(),
        value: quoted(&item.text),
        expected: expected.to_owned(),
    }
}

/// A number whose range the table has checked; below 0 means without limit, which is 0.
pub(super) fn u32_of(n: i64) -> u32 {
    u32::try_from(n.max(0)).expect("the table bounds it by an int")
}

pub(super) fn port_of(n: i64) -> u16 {
    u16::try_from(n).expect("the table bounds a port")
}

fn u64_of(n: i64) -> u64 {
    n.max(0).cast_unsigned()
}

fn usize_of(n: i64) -> usize {
    usize::try_from(n.max(0)).expect("the table bounds it by memory")
}
