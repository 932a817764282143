//! Target: whom a client calls and where its paths begin, from a connection string `host:port,host:port/chroot`.

use std::fmt;
use std::str::FromStr;

use crate::proto::path;

/// The port where a connection string names none.
const PORT: u16 = 2181;

/// Servers of one ensemble, tried in their order, and a path that is put before every other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    servers: Vec<String>,
    chroot: String,
}

/// Why a connection string is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTarget {
    /// No server before the chroot.
    #[error("it names no server; it should look like host:2181,host:2181/chroot")]
    NoServer,
    /// The port is no number from 1 to 65535.
    #[error("{0:?} has no port from 1 to 65535")]
    Port(String),
    /// What follows the servers is no path.
    #[error("{0:?} is no path of a znode")]
    Chroot(String),
}

impl Target {
    /// Each server as `host:port`; never empty.
    #[must_use]
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The path on the server of a path as the user says it.
    #[must_use]
    pub fn full(&self, path: &str) -> String {
        match (self.chroot.as_str(), path) {
            (chroot, path::ROOT) if !chroot.is_empty() => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    /// A path of the server as the user says it. What lies outside the chroot stays as it is.
    #[must_use]
    pub fn seen<'a>(&self, full: &'a str) -> &'a str {
        match full.strip_prefix(self.chroot.as_str()) {
            Some("") => path::ROOT,
            Some(rest) if rest.starts_with('/') => rest,
            _ => full,
        }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let (hosts, chroot) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        let chroot = if chroot == path::ROOT { "" } else { chroot };
        if !chroot.is_empty() && !path::is_valid(chroot) {
            return Err(BadTarget::Chroot(chroot.to_owned()));
        }
        let named = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
        let servers = named.map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(BadTarget::NoServer);
        }
        Ok(Self { servers, chroot: chroot.to_owned() })
    }
}

fn server(text: &str) -> Result<String, BadTarget> {
    let bad = || BadTarget::Port(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address in brackets, as its colons are no ports.
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad)?;
            (format!("[{address}]"), if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let port = match port {
        None => PORT,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
    };
    if host.is_empty() { Err(bad()) } else { Ok(format!("{host}:{port}")) }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.servers.join(","), self.chroot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_ports_and_chroots() {
        let target: Target = "a:1, b,[::1],[::2]:7/x/y".parse().unwrap();
        assert_eq!(target.servers(), ["a:1", "b:2181", "[::1]:2181", "[::2]:7"]);
        assert_eq!(target.to_string(), "a:1,b:2181,[::1]:2181,[::2]:7/x/y");
        assert_eq!((target.full("/"), target.full("/z")), ("/x/y".into(), "/x/y/z".into()));
        assert_eq!((target.seen("/x/y"), target.seen("/x/y/z"), target.seen("/x/yz")), ("/", "/z", "/x/yz"));
        let bare: Target = "a/".parse().unwrap();
        assert_eq!((bare.full("/"), bare.full("/a"), bare.seen("/a"), bare.seen("/")), ("/".into(), "/a".into(), "/a", "/"));
    }

    #[test]
    fn what_is_no_connection_string() {
        for bad in ["", ",", "/x", "a:0", "a:x", "a:1/x/", "a//", ":1", "[::1", "[::1]x", "a:70000"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
