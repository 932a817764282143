//! Members: the configuration of an ensemble in text, as servers exchange it and as `/zookeeper/config` shows it.

use core::net::Ipv6Addr;
use std::collections::BTreeMap;
use std::fmt;

use crate::ground::ids::ServerId;

/// Largest configuration that is read, bytes: what a notification has room for.
pub const TEXT_MAX: usize = super::vote::FRAME_MAX;

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

/// Where a server meets the others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddress {
    /// A name, or an address without brackets.
    pub host: Box<str>,
    /// Where it is met as leader.
    pub quorum: u16,
    /// Where it is met in elections.
    pub election: u16,
}

/// Whether a server votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// It votes and may lead.
    Participant,
    /// It learns only.
    Observer,
}

/// What a `server.N` line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// At least one, in the order of the line; more than one needs `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where it meets clients. A line without host means the wildcard, 0.0.0.0.
    pub client: Option<HostPort>,
    /// Where it meets clients that speak TLS (from release 3.10 on).
    pub secure_client: Option<HostPort>,
}

/// A configuration: who belongs to the ensemble; majority quorums.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Configuration {
    /// The servers by number.
    pub servers: BTreeMap<ServerId, Server>,
    /// Raised by each change; 0 where the configuration is that of files. Not above 2^63-1.
    pub version: u64,
}

/// Why a text is no configuration, or none that this server can follow.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// It is longer than [`TEXT_MAX`].
    #[error("{0} bytes are too long for a configuration")]
    TooLong(usize),
    /// It is not UTF-8.
    #[error("a configuration is UTF-8")]
    Encoding,
    /// A line has no `=`, or a key that does not belong there.
    #[error("{0:?} is no line of a configuration: server.N=..., version=...")]
    Line(String),
    /// The number of a server.
    #[error("{0:?} is no number of a server, 1 to 255")]
    Number(String),
    /// A server is listed twice.
    #[error("server.{} is listed twice", .0.0)]
    Twice(ServerId),
    /// What stands behind `server.N=`.
    #[error("server.{}={text}: {wrong}", id.0)]
    Server {
        /// Which server.
        id: ServerId,
        /// As it stands, not all of it if it is long.
        text: String,
        /// What is wrong.
        wrong: WrongServer,
    },
    /// Quorums of groups and weights.
    #[error("{0} asks for quorums by groups and weights, majorities are all there is: take the group and weight lines out")]
    Hierarchical(String),
    /// The version.
    #[error("version={0:?} is not a hexadecimal number")]
    Version(String),
}

/// Why the text behind `server.N=` is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WrongServer {
    /// It has another form.
    #[error("expected HOST:QUORUMPORT:ELECTIONPORT[:participant|observer][;[CLIENTHOST:]CLIENTPORT]")]
    Form,
    /// The ports of one address are equal.
    #[error("the quorum port and the election port must differ")]
    SamePorts,
    /// Its addresses have several roles.
    #[error("a server is either a participant or an observer, at each of its addresses")]
    Roles,
}

impl Configuration {
    /// Reads a configuration as another server sends it: the numbers of servers with their lines, and the version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
        if bytes.len() > TEXT_MAX {
            return Err(Wrong::TooLong(bytes.len()));
        }
        let text = str::from_utf8(bytes).map_err(|_| Wrong::Encoding)?;
        let mut configuration = Self::default();
        // It has the syntax of properties, of which servers use nothing but this when they write.
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
            let (key, value) = line.split_once('=').ok_or_else(|| Wrong::Line(shown(line)))?;
            let (key, value) = (key.trim(), value.trim());
            if let Some(number) = key.strip_prefix("server.") {
                let id = server_id(number).ok_or_else(|| Wrong::Number(shown(number)))?;
                let server = value.parse().map_err(|wrong| Wrong::Server { id, text: shown(value), wrong })?;
                if configuration.servers.insert(id, server).is_some() {
                    return Err(Wrong::Twice(id));
                }
            } else if key == "version" {
                let version = i64::from_str_radix(value, 16).ok().and_then(|version| u64::try_from(version).ok());
                configuration.version = version.ok_or_else(|| Wrong::Version(shown(value)))?;
            } else if key.starts_with("group") || key.starts_with("weight") {
                return Err(Wrong::Hierarchical(shown(key)));
            } else {
                return Err(Wrong::Line(shown(line)));
            }
        }
        Ok(configuration)
    }

    /// Those with this role, ascending.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = ServerId> {
        self.servers.iter().filter(move |(_, server)| server.role == role).map(|(id, _)| *id)
    }
}

/// The text that servers exchange, and `/zookeeper/config` shows. No line feed at its end. The lines stand as in ZooKeeper, whose map has
/// so many places and puts a number at that of its last bits: ascending as long as no number is above 15.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PLACES: usize = 16;
        let mut places = PLACES;
        while self.servers.len() * 4 > places * 3 {
            places *= 2;
        }
        let mut lines: Vec<_> = self.servers.iter().collect();
        lines.sort_by_key(|(id, _)| usize::from(id.0) % places);
        for (id, server) in lines {
            writeln!(f, "server.{}={server}", id.0)?;
        }
        write!(f, "version={:x}", self.version)
    }
}

/// The number of a server, from 1 to 255 in decimal digits.
#[must_use]
pub fn server_id(text: &str) -> Option<ServerId> {
    text.parse().ok().filter(|id| *id > 0 && !text.starts_with('+')).map(ServerId)
}

/// What stands behind `server.N=`: `host:quorumPort:electionPort[:role][|more addresses][;[host:]port[;[host:]securePort]]`.
impl std::str::FromStr for Server {
    type Err = WrongServer;

    fn from_str(text: &str) -> Result<Self, WrongServer> {
        let mut parts = text.splitn(3, ';').map(str::trim);
        let (mut addresses, mut role) = (Vec::new(), None);
        for address in parts.next().unwrap_or_default().split('|') {
            let (address, named) = peer_address(address.trim()).ok_or(WrongServer::Form)?;
            if address.quorum == address.election {
                return Err(WrongServer::SamePorts);
            }
            if role.is_some() && named.is_some() && role != named {
                return Err(WrongServer::Roles);
            }
            role = role.or(named);
            addresses.push(address);
        }
        let mut client = || match parts.next().filter(|part| !part.is_empty()) {
            Some(part) => client_address(part).ok_or(WrongServer::Form).map(Some),
            None => Ok(None),
        };
        let (client, secure_client) = (client()?, client()?);
        Ok(Self { addresses, role: role.unwrap_or(Role::Participant), client, secure_client })
    }
}

/// As servers write it: the role always, the addresses in the order of their hosts.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<_> = self.addresses.iter().collect();
        addresses.sort_by(|a, b| a.host.cmp(&b.host));
        for (i, address) in addresses.into_iter().enumerate() {
            let separator = if i > 0 { "|" } else { "" };
            write!(f, "{separator}{}:{}:{}", Bracketed(&address.host), address.quorum, address.election)?;
        }
        f.write_str(match self.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        })?;
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
        }
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

impl HostPort {
    /// Reads `host:port`, an IPv6 address in brackets. `None` if it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = host_and_rest(text)?;
        Some(Self { host: host.into(), port: number(port)? })
    }
}

/// A host as it stands before a port. Addresses are written as Java writes them: all groups, and one of IPv4 as what it is.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Ipv6Addr>() {
            Ok(address) => match (address.to_ipv4_mapped(), address.segments()) {
                (Some(address), _) => write!(f, "{address}"),
                (None, [a, b, c, d, e, g, h, i]) => write!(f, "[{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}:{h:x}:{i:x}]"),
            },
            Err(_) if self.0.contains(':') => write!(f, "[{}]", self.0),
            Err(_) => f.write_str(self.0),
        }
    }
}

/// `host:quorumPort:electionPort[:role]`.
fn peer_address(text: &str) -> Option<(PeerAddress, Option<Role>)> {
    let (host, ports) = host_and_rest(text)?;
    let mut ports = ports.split(':').map(str::trim);
    let (quorum, election) = (number(ports.next()?)?, number(ports.next()?)?);
    let role = match ports.next() {
        None => None,
        Some(role) if role.eq_ignore_ascii_case("participant") => Some(Role::Participant),
        Some(role) if role.eq_ignore_ascii_case("observer") => Some(Role::Observer),
        Some(_) => return None,
    };
    ports.next().is_none().then(|| (PeerAddress { host: host.into(), quorum, election }, role))
}

/// `[host:]port`.
fn client_address(text: &str) -> Option<HostPort> {
    match number(text) {
        Some(port) => Some(HostPort { host: "0.0.0.0".into(), port }),
        None => HostPort::parse(text),
    }
}

/// Splits behind the host, which may be an IPv6 address in brackets.
fn host_and_rest(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once("]:")?,
        None => text.split_once(':')?,
    };
    let is_host = |c: char| !c.is_whitespace() && !c.is_control() && !"[]|;=\\".contains(c);
    (!host.is_empty() && host.chars().all(is_host)).then_some((host, rest))
}

/// A port in decimal digits.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// A text as an error quotes it: not too much of it.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REAL: &str = "server.1=127.0.0.1:2381:2481:participant\nserver.2=127.0.0.1:2382:2482:participant\n\
        server.3=127.0.0.1:2383:2483:observer;0.0.0.0:2181\nversion=10000000a";

    fn decoded(text: &str) -> Result<Configuration, Wrong> {
        Configuration::decode(text.as_bytes())
    }

    fn at(host: &str, quorum: u16, election: u16) -> PeerAddress {
        PeerAddress { host: host.into(), quorum, election }
    }

    #[test]
    fn what_a_real_server_says() {
        let configuration = decoded(REAL).unwrap();
        assert_eq!(configuration.version, 0x1_0000_000a);
        assert_eq!(configuration.with_role(Role::Participant).collect::<Vec<_>>(), [ServerId(1), ServerId(2)]);
        assert_eq!(configuration.with_role(Role::Observer).collect::<Vec<_>>(), [ServerId(3)]);
        let third = &configuration.servers[&ServerId(3)];
        assert_eq!(third.addresses, [at("127.0.0.1", 2383, 2483)]);
        assert_eq!(third.client, Some(HostPort { host: "0.0.0.0".into(), port: 2181 }));
        assert_eq!(configuration.to_string(), REAL);
    }

    #[test]
    fn lines_stand_as_in_a_real_server() {
        let ids = |text: &str| {
            let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("server.")?.split_once('=')).collect();
            lines.into_iter().map(|(id, _)| id.parse::<u8>().unwrap()).collect::<Vec<_>>()
        };
        let of = |ids: &[u8]| {
            let servers = ids.iter().map(|id| (ServerId(*id), "a:1:2".parse().unwrap())).collect();
            Configuration { servers, version: 0 }.to_string()
        };
        assert_eq!(ids(&of(&[3, 1, 2, 15])), [1, 2, 3, 15]);
        assert_eq!(ids(&of(&[10, 20, 30])), [20, 10, 30]);
        let many: Vec<u8> = (4..=16).collect();
        assert_eq!(ids(&of(&many)), many, "more than twelve have more places");
        assert_eq!(ids(&of(&many[1..])), [16, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn lines_of_servers() {
        let line = |text: &str| text.parse::<Server>().map(|server| server.to_string());
        for (text, want) in [
            ("a:2888:3888", "a:2888:3888:participant"),
            ("a:2888:3888:OBSERVER;2181", "a:2888:3888:observer;0.0.0.0:2181"),
            ("[fe80::1]:2888:3888;[::1]:2181", "[fe80:0:0:0:0:0:0:1]:2888:3888:participant;[0:0:0:0:0:0:0:1]:2181"),
            ("[::ffff:10.0.0.1]:1:2", "10.0.0.1:1:2:participant"),
            ("b:1:2|a:3:4:observer", "a:3:4|b:1:2:observer"),
            ("b:1:2:participant|a:3:4", "a:3:4|b:1:2:participant"),
            ("a:1:2;;2281", "a:1:2:participant;;0.0.0.0:2281"),
            ("a:1:2;2181;b:2281", "a:1:2:participant;0.0.0.0:2181;b:2281"),
            (" a:1: 2 ; 2181 ", "a:1:2:participant;0.0.0.0:2181"),
        ] {
            assert_eq!(line(text).as_deref(), Ok(want), "{text:?}");
            assert_eq!(line(want).as_deref(), Ok(want), "{text:?}");
        }
        for bad in [
            "",
            "a",
            "a:1",
            "a:1:2:learner",
            "a:1:2:observer:3",
            ":1:2",
            "a:1:70000",
            "a:1:2;b:c",
            "[::1:1:2",
            "a:1:2|",
            "a b:1:2",
            "a:+1:2",
            "a:1:2;2181;2281;5",
            "::1:1:2",
        ] {
            assert_eq!(line(bad), Err(WrongServer::Form), "{bad:?}");
        }
        assert_eq!(line("a:1:1"), Err(WrongServer::SamePorts));
        assert_eq!(line("a:1:2:observer|b:1:2:participant"), Err(WrongServer::Roles));
    }

    #[test]
    fn what_is_refused() {
        let group = "server.1=a:1:2\ngroup.1=1\nweight.1=1\nversion=0";
        assert_eq!(decoded(group), Err(Wrong::Hierarchical("group.1".into())));
        assert_eq!(decoded("weight.1=0"), Err(Wrong::Hierarchical("weight.1".into())));
        assert_eq!(decoded("dataDir=/"), Err(Wrong::Line("dataDir=/".into())));
        assert_eq!(decoded("version"), Err(Wrong::Line("version".into())));
        for number in ["0", "256", "-1", "+1", "", "x"] {
            assert_eq!(decoded(&format!("server.{number}=a:1:2")), Err(Wrong::Number(number.into())));
        }
        for version in ["g", "-1", "8000000000000000", ""] {
            assert_eq!(decoded(&format!("version={version}")), Err(Wrong::Version(version.into())));
        }
        assert_eq!(decoded("server.1=a:1:2\nserver.01=b:1:2"), Err(Wrong::Twice(ServerId(1))));
        let error = decoded("server.7=a").unwrap_err().to_string();
        assert!(error.starts_with("server.7=a: expected HOST:QUORUMPORT"), "{error}");
        assert_eq!(Configuration::decode(b"\xff"), Err(Wrong::Encoding));
        assert_eq!(Configuration::decode(&vec![b'\n'; TEXT_MAX + 1]), Err(Wrong::TooLong(TEXT_MAX + 1)));
        assert_eq!(decoded("# a comment\n\n! another\n"), Ok(Configuration::default()));
    }

    fn any_server() -> impl Strategy<Value = Server> {
        let host = "[a-z][a-z0-9.-]{0,9}|10\\.0\\.0\\.[0-9]{1,2}|fe80:0:0:0:0:0:0:[1-9a-f][0-9a-f]{0,3}";
        let client = (host, any::<u16>()).prop_map(|(host, port)| HostPort { host: host.into(), port });
        let role = prop_oneof![Just(Role::Participant), Just(Role::Observer)];
        let addresses = prop::collection::btree_map(host, (1..u16::MAX, any::<bool>()), 1..4);
        (addresses, role, prop::option::of(client.clone()), prop::option::of(client)).prop_map(
            |(addresses, role, client, secure_client)| {
                let addresses = addresses.into_iter().map(|(host, (port, _))| PeerAddress {
                    host: host.into(),
                    quorum: port,
                    election: port + 1,
                });
                Server { addresses: addresses.collect(), role, client, secure_client }
            },
        )
    }

    proptest! {
        #[test]
        fn configurations_come_back(
            servers in prop::collection::btree_map((1..=255u8).prop_map(ServerId), any_server(), 0..9), version in 0..=i64::MAX as u64,
        ) {
            let configuration = Configuration { servers, version };
            prop_assert_eq!(decoded(&configuration.to_string()), Ok(configuration));
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(
            text in "(server\\.[0-9]{0,3}|version|group\\.1|[a-z]{0,3})=[a-z0-9:;,.|\\[\\] =\n-]{0,60}",
            noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = Configuration::decode(text.as_bytes());
            let _ = Configuration::decode(&noise);
        }
    }
}
