//! Place: servers as they are named on the command line.

use std::str::FromStr;

use crate::bench::record::Target;

/// `[LABEL=]HOST:PORT,HOST:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Name in tables and pictures; the servers where none was given.
    pub label: String,
    /// `host:port` each.
    pub servers: Vec<String>,
}

/// A server of this machine, on ZooKeeper's port.
impl Default for Place {
    fn default() -> Self {
        let server = "127.0.0.1:2181".to_owned();
        Self { label: server.clone(), servers: vec![server] }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (label, servers) = text.split_once('=').unwrap_or((text, text));
        if label.is_empty() {
            return Err("expected a label before =".into());
        }
        let servers = servers.split(',').map(server).collect::<Result<_, _>>()?;
        Ok(Self { label: label.to_owned(), servers })
    }
}

impl Place {
    /// As a target of load.
    #[must_use]
    pub fn target(&self, durability: Option<&String>, quorum: Option<u32>) -> Target {
        let servers = self.servers.clone();
        Target { label: self.label.clone(), servers, version: None, quorum, durability: durability.cloned() }
    }
}

fn server(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_some_and(|port| port > 0) { Ok(text.to_owned()) } else { Err("expected HOST:PORT,HOST:PORT".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_servers_with_or_without_a_label() {
        let place: Place = "zk=a:1,b:2".parse().unwrap();
        assert_eq!((place.label.as_str(), place.servers.as_slice()), ("zk", &["a:1".to_owned(), "b:2".to_owned()][..]));
        assert_eq!("[::1]:2181".parse::<Place>().unwrap().label, "[::1]:2181");
        for wrong in ["", "a", "a:0", "a:1,", "=a:1", "x=", ":2181", "a:70000"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
