//! Ensemble: the servers that are to agree with each other, which of them this one is, and how patient they are.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::ConfigError;
use super::given::{Given, Item};
use super::notice::Notice;
use super::place::Place;
use super::resolve::{port_of, u32_of, value_error};
use super::value::quoted;
use crate::ground::ids::ServerId;
use crate::proto::members::{self, Configuration, PeerAddress, Role, Server};
use crate::runtime::peer_io::PeersConfig;
use crate::zab::{self, Bootstrap};

/// How long a winner of an election waits for a better vote, milliseconds (ZooKeeper's `finalizeWait`, which no key sets).
const FINALIZE_WAIT_MS: u64 = 200;

/// A leader that is called is waited for half a tick, but no shorter and no longer than this; then it is called again.
const LEADER_TIMEOUT_MIN: Duration = Duration::from_millis(200);
const LEADER_TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// Silence on a connection between servers that is borne however short a tick is.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// Bytes that may wait for one learner.
const OUTPUT_MAX: usize = 128 << 20;

/// An ensemble and this server's part in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ensemble {
    /// This server.
    pub me: ServerId,
    /// All servers, this one among them, at least one of them with a vote; each has one address. The version is that of the name of the
    /// file that `dynamicConfigFile` names, else 0.
    pub configuration: Configuration,
    /// Which voters have to be empty where the ensemble is new (`ensemble.bootstrap`).
    pub bootstrap: Bootstrap,
    /// Ticks that joining may take, at least 1 (`initLimit`).
    pub init_limit: u32,
    /// Ticks of silence between a leader and its followers, at least 1 (`syncLimit`).
    pub sync_limit: u32,
    /// Ticks that connecting to the leader may take, at least 1 (`connectToLearnerMasterLimit`).
    pub connect_limit: u32,
    /// Milliseconds that connecting to another server's election port may take (`cnxTimeout`).
    pub connect_timeout_ms: u32,
    /// Milliseconds that the first message of a connection of the election port may take (`quorumCnxnTimeoutMs`).
    pub greeting_timeout_ms: u64,
    /// First wait for notifications, milliseconds (`fastleader.minNotificationInterval`).
    pub notification_min_ms: u32,
    /// Longest wait for notifications, milliseconds, not below the first (`fastleader.maxNotificationInterval`).
    pub notification_max_ms: u32,
    /// The ports of the other servers are listened on at every address, not at the one of the own line (`quorumListenOnAllIPs`).
    pub listens_everywhere: bool,
    /// `SO_KEEPALIVE` on connections of the election port (`tcpKeepAlive`).
    pub tcp_keepalive: bool,
}

/// The file that says which server this is.
#[derive(Clone, Copy, Debug)]
pub struct MyId<'a> {
    /// As the operator knows it.
    pub name: &'a str,
    /// All of it; `None` if there is no such file.
    pub text: Option<&'a str>,
}

impl Ensemble {
    /// This server's own line.
    ///
    /// # Panics
    /// Never for what [`resolve`] made.
    #[must_use]
    pub fn own(&self) -> &Server {
        &self.configuration.servers[&self.me]
    }

    /// Whether this server votes.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.own().role == Role::Participant
    }

    /// Who belongs to it, and its text as servers exchange it.
    #[must_use]
    pub fn members(&self) -> zab::Members {
        zab::Members {
            voters: self.configuration.with_role(Role::Participant).collect(),
            observers: self.configuration.with_role(Role::Observer).collect(),
            text: self.configuration.to_string().into_bytes().into(),
            version: self.configuration.version,
        }
    }

    /// How patient its servers are, by the length of a tick in milliseconds.
    #[must_use]
    pub fn times(&self, tick_ms: u32) -> zab::Times {
        zab::Times {
            tick: u64::from(tick_ms),
            init_limit: u64::from(self.init_limit),
            sync_limit: u64::from(self.sync_limit),
            notification_min: u64::from(self.notification_min_ms),
            notification_max: u64::from(self.notification_max_ms),
            finalize_wait: FINALIZE_WAIT_MS,
        }
    }

    /// What the sockets to the other servers are to be; `frame_max` is `jute.maxbuffer`.
    ///
    /// # Panics
    /// Never for what [`resolve`] made.
    #[must_use]
    pub fn peers(&self, tick_ms: u32, frame_max: usize) -> PeersConfig {
        let tick = Duration::from_millis(u64::from(tick_ms));
        PeersConfig {
            me: self.me,
            servers: self.configuration.servers.iter().map(|(id, server)| (*id, server.addresses[0].clone())).collect(),
            listens_everywhere: self.listens_everywhere,
            tcp_keepalive: self.tcp_keepalive,
            connect_timeout: Duration::from_millis(u64::from(self.connect_timeout_ms)),
            leader_timeout: (tick * self.connect_limit).min((tick / 2).clamp(LEADER_TIMEOUT_MIN, LEADER_TIMEOUT_MAX)),
            greeting_timeout: Duration::from_millis(self.greeting_timeout_ms),
            silence: (2 * tick).max(SILENCE_MIN),
            link_silence: (tick * self.sync_limit).max(SILENCE_MIN),
            packet_max: 2 * frame_max,
            output_max: OUTPUT_MAX,
        }
    }
}

/// The ensemble that was asked for; `None` where this is a server alone, which is as ZooKeeper has it: no server is named, or a single one
/// and `standaloneEnabled` is not false.
pub fn resolve(given: &mut Given, my_id: MyId<'_>) -> Result<Option<Ensemble>, ConfigError> {
    let lines = lines(given)?;
    let servers: BTreeMap<ServerId, Server> = lines.iter().map(|(id, line)| (*id, line.server.clone())).collect();
    let version = given.get("dynamicConfigFile").map_or(0, |item| version_of_name(&item.text));
    let configuration = Configuration { servers, version };
    let voters = configuration.with_role(Role::Participant).count();
    let Some(first) = lines.values().next() else {
        return match standalone_off(given)? {
            Some(place) => {
                let advice = "an ensemble needs a server.N line for each of its servers, this one among them";
                Err(ConfigError::Missing { place, key: "server.N", advice })
            }
            None => Ok(None),
        };
    };
    if voters == 0 {
        let wrong = "an observer needs servers that vote: make at least one a participant";
        return Err(value_error(&first.name, &first.item, wrong));
    }
    if voters == 1 && standalone_off(given)?.is_none() {
        if lines.len() == 1 {
            return Ok(None);
        }
        let what = format!(
            "one server votes ({}) and others are to observe it: as in ZooKeeper that needs standaloneEnabled=false, else let more vote",
            first.name
        );
        return Err(ConfigError::Conflict { place: first.item.place.clone(), what });
    }
    if let Some((name, item)) = given.family("group.N").chain(given.family("weight.N")).next() {
        let reason =
            "quorums are majorities, groups and weights are not there; take the group and weight lines out on every server";
        return Err(ConfigError::Refused { place: item.place.clone(), key: name.to_owned(), reason: reason.to_owned() });
    }
    addresses(&lines)?;
    let me = me(my_id, &lines)?;
    own_line(given, &lines[&me])?;
    let place = first.item.place.clone();
    let limit = |name, advice| ticks(given, name, advice, &place);
    let init_limit = limit("initLimit", "the ticks that a server may take to join; 10 is usual, more where the data are large")?;
    let sync_limit = limit("syncLimit", "the ticks of silence after which a server counts as gone; 5 is usual")?;
    let connect_limit = if given.get("connectToLearnerMasterLimit").is_some() {
        match given.int("connectToLearnerMasterLimit")? {
            0 => init_limit,
            ticks => u32_of(ticks),
        }
    } else {
        init_limit
    };
    let greeting_timeout_ms = match given.int("quorumCnxnTimeoutMs")? {
        -1 => u64::from(sync_limit) * u64::from(u32_of(given.int("tickTime")?)),
        ms => u64::from(u32_of(ms)),
    };
    let (notification_min_ms, notification_max_ms) =
        (u32_of(given.int("fastleader.minNotificationInterval")?), u32_of(given.int("fastleader.maxNotificationInterval")?));
    if notification_min_ms > notification_max_ms {
        let key = ["fastleader.minNotificationInterval", "fastleader.maxNotificationInterval"];
        let place = key.iter().find_map(|key| given.get(key)).map_or(Place::Command, |item| item.place.clone());
        let what = format!(
            "fastleader.minNotificationInterval ({notification_min_ms} ms) is above fastleader.maxNotificationInterval \
             ({notification_max_ms} ms): raise the one or lower the other"
        );
        return Err(ConfigError::Conflict { place, what });
    }
    let ensemble = Ensemble {
        me,
        configuration,
        bootstrap: if given.text("ensemble.bootstrap")? == "majority" { Bootstrap::Majority } else { Bootstrap::All },
        init_limit,
        sync_limit,
        connect_limit,
        connect_timeout_ms: u32_of(given.int("cnxTimeout")?),
        greeting_timeout_ms,
        notification_min_ms,
        notification_max_ms,
        listens_everywhere: given.bool("quorumListenOnAllIPs")?,
        tcp_keepalive: given.bool("tcpKeepAlive")?,
    };
    let told = notices(given, &ensemble, voters, &place)?;
    given.notices.extend(told);
    Ok(Some(ensemble))
}

/// A `server.N` line.
struct Line {
    name: String,
    item: Item,
    server: Server,
}

impl Line {
    fn address(&self) -> &PeerAddress {
        &self.server.addresses[0]
    }
}

/// The lines by number.
fn lines(given: &Given) -> Result<BTreeMap<ServerId, Line>, ConfigError> {
    let mut lines: BTreeMap<ServerId, Line> = BTreeMap::new();
    for (name, item) in given.family("server.N") {
        let number = name.trim_start_matches("server.");
        let Some(id) = members::server_id(number) else {
            return Err(value_error(name, item, "servers have numbers from 1 to 255"));
        };
        let server: Server =
            item.text.parse().map_err(|wrong: members::WrongServer| value_error(name, item, &wrong.to_string()))?;
        if server.addresses.len() > 1 {
            let reason = "several addresses of one server are not there yet; keep one, the same on every server".to_owned();
            return Err(ConfigError::Refused { place: item.place.clone(), key: name.to_owned(), reason });
        }
        let line = Line { name: name.to_owned(), item: item.clone(), server };
        if let Some(other) = lines.insert(id, line) {
            let what = format!("{name} is the same server as {} ({}): keep one", other.name, other.item.place);
            return Err(ConfigError::Conflict { place: item.place.clone(), what });
        }
    }
    Ok(lines)
}

/// Where a server that runs the protocol of an ensemble, though it may be alone, was asked for.
fn standalone_off(given: &Given) -> Result<Option<Place>, ConfigError> {
    Ok(match given.get("standaloneEnabled") {
        Some(item) if !given.bool("standaloneEnabled")? => Some(item.place.clone()),
        _ => None,
    })
}

/// No two ports are one.
fn addresses(lines: &BTreeMap<ServerId, Line>) -> Result<(), ConfigError> {
    let mut taken: BTreeMap<(&str, u16), (&Line, &str)> = BTreeMap::new();
    for line in lines.values() {
        let address = line.address();
        for (port, what) in [(address.quorum, "quorum"), (address.election, "election")] {
            if port == 0 {
                return Err(value_error(&line.name, &line.item, "the other servers must know the port: 0 is none"));
            }
            if let Some((other, whose)) = taken.insert((&address.host, port), (line, what)) {
                let what = format!(
                    "the {what} port of {} is the {whose} port of {} ({}): every server needs two of its own",
                    line.name, other.name, other.item.place
                );
                return Err(ConfigError::Conflict { place: line.item.place.clone(), what });
            }
        }
    }
    Ok(())
}

/// Which server this is.
fn me(my_id: MyId<'_>, lines: &BTreeMap<ServerId, Line>) -> Result<ServerId, ConfigError> {
    let place = Place::File(my_id.name.to_owned());
    let Some(text) = my_id.text else {
        let advice = "the file is not there: write the number of this server into it, the N of its server.N line";
        return Err(ConfigError::Missing { place, key: "myid", advice });
    };
    let line = text.lines().next().unwrap_or_default().trim();
    let Some(id) = members::server_id(line) else {
        let expected = "expected the number of this server, 1 to 255, the N of its server.N line".to_owned();
        return Err(ConfigError::Value { place, key: "myid".to_owned(), value: quoted(line), expected });
    };
    if lines.contains_key(&id) {
        return Ok(id);
    }
    let named: Vec<String> = lines.keys().map(|id| id.0.to_string()).collect();
    let what = format!(
        "myid is {}, but there is no server.{} line (servers named: {}): add its line, the same on every server, or correct the file",
        id.0,
        id.0,
        named.join(", ")
    );
    Err(ConfigError::Conflict { place, what })
}

/// What the own line and other keys both say must agree.
fn own_line(given: &Given, line: &Line) -> Result<(), ConfigError> {
    let (Some(item), Some(listed)) = (given.get("clientPort"), &line.server.client) else { return Ok(()) };
    match port_of(given.int("clientPort")?) {
        0 => Ok(()),
        port if port == listed.port => Ok(()),
        port => {
            let what =
                format!("clientPort={port} and the client port {} of {} contradict each other: keep one", listed.port, line.name);
            Err(ConfigError::Conflict { place: item.place.clone(), what })
        }
    }
}

/// A number of ticks that an ensemble cannot be without.
fn ticks(given: &Given, name: &'static str, advice: &'static str, place: &Place) -> Result<u32, ConfigError> {
    let Some(item) = given.get(name) else {
        return Err(ConfigError::Missing { place: place.clone(), key: name, advice });
    };
    match given.int(name)? {
        0 => Err(value_error(name, item, &format!("at least 1: {advice}"))),
        ticks => Ok(u32_of(ticks)),
    }
}

/// The version in the name of a dynamic configuration file, `zoo.cfg.dynamic.10000000a`; 0 where it has none.
fn version_of_name(name: &str) -> u64 {
    let digits = name.rsplit_once('.').map_or("", |(_, digits)| digits);
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return 0;
    }
    i64::from_str_radix(digits, 16).map_or(0, i64::cast_unsigned)
}

/// What is not wrong, and yet worth a thought.
fn notices(given: &Given, ensemble: &Ensemble, voters: usize, place: &Place) -> Result<Vec<Notice>, ConfigError> {
    let mut told = Vec::new();
    if voters == 2 {
        let text = "two servers vote, and both must be up: a third one would let any of them fail".to_owned();
        told.push(Notice::warn(place.clone(), text));
    } else if voters.is_multiple_of(2) {
        let text = format!("{voters} servers vote: as many may fail as with {}, an odd number is better", voters - 1);
        told.push(Notice::warn(place.clone(), text));
    }
    if let Some(item) = given.get("peerType") {
        let votes = item.text.eq_ignore_ascii_case("participant");
        if votes != ensemble.votes() {
            let role = if ensemble.votes() { "participant" } else { "observer" };
            let text = format!("peerType={} is set aside: the line server.{} says {role}", item.text, ensemble.me.0);
            told.push(Notice::warn(item.place.clone(), text));
        }
    }
    if let Some(item) = given.get("reconfigEnabled").filter(|item| item.text.eq_ignore_ascii_case("true")) {
        let text = "reconfigEnabled=true: this server cannot follow a change of the ensemble, and leaves a leader that makes one"
            .to_owned();
        told.push(Notice::warn(item.place.clone(), text));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::given::File;
    use super::*;

    const LIMITS: &str = "initLimit=10\nsyncLimit=5\n";
    const THREE: &str = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888;2181\n";

    fn told(text: &str, my_id: Option<&str>) -> Result<(Option<Ensemble>, Vec<String>), String> {
        let mut given = Given::new(true);
        given.file(File { name: "zoo.cfg", text }).map_err(|error| error.to_string())?;
        given.check().map_err(|error| error.to_string())?;
        given.notices.clear();
        let ensemble = resolve(&mut given, MyId { name: "/d/myid", text: my_id }).map_err(|error| error.to_string())?;
        Ok((ensemble, given.notices.iter().map(ToString::to_string).collect()))
    }

    fn read(text: &str, my_id: Option<&str>) -> Result<Option<Ensemble>, String> {
        told(text, my_id).map(|(ensemble, _)| ensemble)
    }

    fn error(text: &str, my_id: Option<&str>) -> String {
        read(text, my_id).unwrap_err()
    }

    #[test]
    fn three_servers() {
        let (ensemble, notices) = told(&format!("{LIMITS}{THREE}"), Some("3\n")).unwrap();
        let ensemble = ensemble.unwrap();
        assert_eq!((ensemble.me, ensemble.votes(), notices.len()), (ServerId(3), true, 0));
        assert_eq!((ensemble.init_limit, ensemble.sync_limit, ensemble.connect_limit), (10, 5, 10));
        assert_eq!((ensemble.connect_timeout_ms, ensemble.greeting_timeout_ms), (5000, 15_000));
        assert_eq!((ensemble.notification_min_ms, ensemble.notification_max_ms), (200, 60_000));
        assert!(!ensemble.listens_everywhere && !ensemble.tcp_keepalive);
        assert_eq!(ensemble.own().client.as_ref().map(ToString::to_string).as_deref(), Some("0.0.0.0:2181"));
        assert_eq!(
            ensemble.configuration.to_string(),
            "server.1=a:2888:3888:participant\nserver.2=b:2888:3888:participant\n\
             server.3=c:2888:3888:participant;0.0.0.0:2181\nversion=0"
        );
    }

    #[test]
    fn every_key_has_its_effect() {
        let base = read(&format!("{LIMITS}{THREE}"), Some("1")).unwrap();
        for line in [
            "connectToLearnerMasterLimit=4",
            "cnxTimeout=100",
            "quorumCnxnTimeoutMs=100",
            "tickTime=2000",
            "fastleader.minNotificationInterval=100",
            "fastleader.maxNotificationInterval=1000",
            "quorumListenOnAllIPs=true",
            "tcpKeepAlive=true",
            "server.4=d:1:2:observer",
            "server.5=e:1:2",
        ] {
            assert_ne!(read(&format!("{LIMITS}{THREE}{line}"), Some("1")).unwrap(), base, "{line}");
        }
        for line in ["electionAlg=3", "peerType=participant", "connectToLearnerMasterLimit=0", "quorumCnxnTimeoutMs=-1"] {
            assert_eq!(read(&format!("{LIMITS}{THREE}{line}"), Some("1")).unwrap(), base, "{line}");
        }
    }

    #[test]
    fn what_the_rest_of_the_house_is_told() {
        let text = format!("{LIMITS}{THREE}server.9=[::1]:4:5:observer\nconnectToLearnerMasterLimit=2");
        let ensemble = read(&text, Some("3")).unwrap().unwrap();
        let members = ensemble.members();
        assert_eq!(members.voters, [ServerId(1), ServerId(2), ServerId(3)]);
        assert_eq!((members.observers, members.version), (vec![ServerId(9)], 0));
        assert_eq!(&*members.text, ensemble.configuration.to_string().as_bytes());
        let times = ensemble.times(2000);
        assert_eq!((times.tick, times.init_limit, times.sync_limit), (2000, 10, 5));
        assert_eq!((times.notification_min, times.notification_max, times.finalize_wait), (200, 60_000, 200));
        let peers = ensemble.peers(2000, 1000);
        assert_eq!((peers.me, peers.servers.len(), &*peers.servers[&ServerId(9)].host), (ServerId(3), 4, "::1"));
        assert_eq!((peers.leader_timeout, peers.greeting_timeout), (Duration::from_secs(1), Duration::from_secs(15)));
        assert_eq!(
            (peers.connect_timeout, peers.silence, peers.packet_max),
            (Duration::from_secs(5), Duration::from_secs(4), 2000)
        );
    }

    #[test]
    fn a_server_alone_is_none() {
        assert_eq!(read(LIMITS, None), Ok(None));
        assert_eq!(read("server.1=a:1:2", None), Ok(None));
        assert_eq!(read("server.1=a:1:2\nstandaloneEnabled=true", None), Ok(None));
        let one = format!("{LIMITS}server.1=a:1:2\nstandaloneEnabled=false");
        assert_eq!(read(&one, Some("1")).unwrap().unwrap().configuration.servers.len(), 1);
        let observed = error(&format!("{LIMITS}server.1=a:1:2\nserver.2=b:1:2:observer"), Some("1"));
        assert!(observed.starts_with("zoo.cfg:3: one server votes (server.1) and others are to observe it"), "{observed}");
        let error = error("standaloneEnabled=false", None);
        assert!(error.starts_with("zoo.cfg:1: server.N is not set: an ensemble needs a server.N line"), "{error}");
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let whole = format!("{LIMITS}{THREE}");
        for (text, my_id, want) in [
            (THREE.to_owned(), Some("1"), "zoo.cfg:1: initLimit is not set: the ticks that a server may take to join"),
            (format!("initLimit=10\n{THREE}"), Some("1"), "zoo.cfg:2: syncLimit is not set: the ticks of silence"),
            (format!("{THREE}initLimit=0\nsyncLimit=5"), Some("1"), "zoo.cfg:4: initLimit=0: at least 1: the ticks"),
            (whole.clone(), None, "/d/myid: myid is not set: the file is not there: write the number"),
            (whole.clone(), Some("one"), "/d/myid: myid=one: expected the number of this server, 1 to 255"),
            (whole.clone(), Some("256"), "/d/myid: myid=256: expected the number of this server, 1 to 255"),
            (whole.clone(), Some("4"), "/d/myid: myid is 4, but there is no server.4 line (servers named: 1, 2, 3)"),
            (format!("{whole}electionAlg=1"), Some("1"), "zoo.cfg:6: electionAlg=1: expected 3"),
            (format!("{whole}group.1=1:2:3"), Some("1"), "zoo.cfg:6: group.1 is refused: quorums are majorities"),
            (format!("{whole}weight.1=0"), Some("1"), "zoo.cfg:6: weight.1 is refused: quorums are majorities"),
            (format!("{whole}server.0=z:1:2"), Some("1"), "zoo.cfg:6: server.0=z:1:2: servers have numbers from 1 to 255"),
            (format!("{whole}server.256=z:1:2"), Some("1"), "zoo.cfg:6: server.256=z:1:2: servers have numbers from 1 to 255"),
            (format!("{whole}server.03=z:1:2"), Some("1"), "zoo.cfg:5: server.3 is the same server as server.03 (zoo.cfg:6)"),
            (format!("{whole}server.4=z:1"), Some("1"), "zoo.cfg:6: server.4=z:1: expected HOST:QUORUMPORT:ELECTIONPORT"),
            (
                format!("{whole}server.4=z:1:1"),
                Some("1"),
                "zoo.cfg:6: server.4=z:1:1: the quorum port and the election port must",
            ),
            (format!("{whole}server.4=z:1:0"), Some("1"), "zoo.cfg:6: server.4=z:1:0: the other servers must know the port"),
            (format!("{whole}server.4=z:1:2|y:1:2"), Some("1"), "zoo.cfg:6: server.4 is refused: several addresses"),
            (
                format!("{whole}server.4=a:3888:1"),
                Some("1"),
                "zoo.cfg:6: the quorum port of server.4 is the election port of server.1 (zoo.cfg:3): every server needs two",
            ),
            (format!("{LIMITS}server.1=a:1:2:observer"), Some("1"), "zoo.cfg:3: server.1=a:1:2:observer: an observer needs"),
            (
                format!("{whole}clientPort=2182"),
                Some("3"),
                "zoo.cfg:6: clientPort=2182 and the client port 2181 of server.3 contradict each other",
            ),
            (
                format!("{whole}fastleader.minNotificationInterval=70000"),
                Some("1"),
                "zoo.cfg:6: fastleader.minNotificationInterval (70000 ms) is above",
            ),
        ] {
            let error = error(&text, my_id);
            assert!(error.starts_with(want), "{error}");
        }
        for line in ["clientPort=2181", "clientPort=0"] {
            assert!(read(&format!("{whole}{line}"), Some("3")).is_ok(), "{line}");
        }
        assert!(read(&format!("{whole}clientPort=2182"), Some("1")).is_ok());
    }

    #[test]
    fn what_is_worth_a_thought() {
        let two = format!("{LIMITS}server.1=a:1:2\nserver.2=b:1:2\n");
        assert_eq!(
            told(&two, Some("1")).unwrap().1,
            ["zoo.cfg:3: two servers vote, and both must be up: a third one would let any of them fail"]
        );
        let four = format!("{LIMITS}{THREE}server.4=d:1:2");
        assert_eq!(
            told(&four, Some("1")).unwrap().1,
            ["zoo.cfg:3: 4 servers vote: as many may fail as with 3, an odd number is better"]
        );
        let other = format!("{LIMITS}{THREE}server.4=d:1:2:observer\npeerType=observer\nreconfigEnabled=true");
        let notices = told(&other, Some("1")).unwrap().1;
        assert_eq!(notices[0], "zoo.cfg:7: peerType=observer is set aside: the line server.1 says participant");
        assert!(notices[1].starts_with("zoo.cfg:8: reconfigEnabled=true: this server cannot follow"), "{notices:?}");
        let (ensemble, notices) = told(&other.replace("reconfigEnabled=true", ""), Some("4")).unwrap();
        assert!(!ensemble.unwrap().votes() && notices.is_empty());
    }

    #[test]
    fn versions_in_names() {
        for (name, version) in [
            ("zoo.cfg.dynamic.10000000a", 0x1_0000_000a),
            ("zoo.cfg.dynamic", 0),
            ("dynamic", 0),
            ("a.", 0),
            ("a.-1", 0),
            ("a.+1", 0),
        ] {
            assert_eq!(version_of_name(name), version, "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(
            lines in prop::collection::vec("(server\\.[0-9]{1,3}|group\\.1|initLimit|syncLimit|clientPort|peerType)=[a-z0-9:;|]{0,20}", 0..7),
            my_id in prop::option::of("[0-9]{0,4}"),
        ) {
            let _ = read(&lines.join("\n"), my_id.as_deref());
        }
    }
}
