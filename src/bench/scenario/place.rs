//! Place: the servers of a run, and the znodes that a scenario works on there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::bench::control::RunError;
use crate::client::answer::{Code, Refusal};
use crate::client::ask::{Ask, CreateMode};
use crate::client::blocking::{Client, ClientError};
use crate::proto::acl::Acl;

/// How long a server may take to answer while the place is made or removed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests in flight.
const FLYING: usize = 256;

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// As it was given.
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

/// Servers, and a znode of the run's own below the root.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) servers: Arc<[Server]>,
    pub(super) root: String,
    timeout_ms: i32,
}

impl Place {
    /// Finds the servers, sees that each grants a session, and makes the root, under a name that no other run has.
    pub(super) fn make(servers: &[String], timeout_ms: i32) -> Result<Self, RunError> {
        let found: Result<Vec<Server>, RunError> = servers.iter().map(|name| find(name)).collect();
        let servers: Arc<[Server]> = found?.into();
        if servers.is_empty() {
            return Err(RunError::Spec("no server is given".to_owned()));
        }
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).map_err(|error| RunError::Machine("random bytes", std::io::Error::other(error)))?;
        let place = Self { servers, root: format!("/ringkeeper-bench-{:016x}", u64::from_be_bytes(unique)), timeout_ms };
        for server in &place.servers[1..] {
            place.client(server)?;
        }
        place.create([place.root.clone()], b"")?;
        Ok(place)
    }

    fn client(&self, server: &Server) -> Result<Client, RunError> {
        Client::connect(server.address, self.timeout_ms, PATIENCE).map_err(|error| match error {
            ClientError::Io(error) => RunError::Unreachable(server.name.clone(), error),
            error => RunError::NoSession(server.name.clone(), error.to_string()),
        })
    }

    /// Makes persistent znodes, and waits until every server has them.
    pub(super) fn create(&self, paths: impl IntoIterator<Item = String>, data: &[u8]) -> Result<(), RunError> {
        let server = &self.servers[0];
        let failed = |error: ClientError| RunError::Prepare(server.name.clone(), error.to_string());
        let mut client = self.client(server)?;
        let acl = [Acl::open()];
        for path in paths {
            let mode = CreateMode::Persistent;
            client.submit(&Ask::Create { path: &path, data: Some(data), acl: &acl, mode }).map_err(failed)?;
            if client.pending() > FLYING {
                client.next_reply().and_then(|reply| Ok(reply.result?)).map_err(failed)?;
            }
        }
        while client.pending() > 0 {
            client.next_reply().and_then(|reply| Ok(reply.result?)).map_err(failed)?;
        }
        client.close().map_err(failed)?;
        for server in &self.servers[1..] {
            let mut client = self.client(server)?;
            client.sync(&self.root).map_err(|error| RunError::Prepare(server.name.clone(), error.to_string()))?;
        }
        Ok(())
    }

    /// Removes everything, through the first server that is there. Where none is, nothing can be done.
    pub(super) fn remove(&self) {
        for server in &*self.servers {
            if let Ok(mut client) = self.client(server)
                && remove(&mut client, &self.root).is_ok()
            {
                // Everything is gone; if only the session stays, it expires.
                let _ = client.close();
                return;
            }
        }
    }
}

fn find(name: &str) -> Result<Server, RunError> {
    let unknown = |error| RunError::Address(name.to_owned(), error);
    let nothing = || unknown(std::io::ErrorKind::AddrNotAvailable.into());
    let address = name.to_socket_addrs().map_err(unknown)?.next().ok_or_else(nothing)?;
    Ok(Server { name: name.to_owned(), address })
}

/// Removes a znode and all below it.
fn remove(client: &mut Client, path: &str) -> Result<(), ClientError> {
    loop {
        match client.delete(path, -1) {
            Ok(()) => return Ok(()),
            Err(ClientError::Refused(refusal)) if refusal.is(Code::NoNode) => return Ok(()),
            Err(ClientError::Refused(refusal)) if refusal.is(Code::NotEmpty) => {}
            Err(error) => return Err(error),
        }
        let (names, _) = match client.children(path, false) {
            Err(ClientError::Refused(refusal)) if refusal.is(Code::NoNode) => return Ok(()),
            other => other?,
        };
        let children: Vec<String> = names.iter().map(|name| format!("{path}/{name}")).collect();
        let (mut asked, mut parents) = (0, Vec::new());
        for answered in 0..children.len() {
            while asked < children.len() && asked - answered < FLYING {
                client.submit(&Ask::Delete { path: &children[asked], version: -1 })?;
                asked += 1;
            }
            match client.next_reply()?.result {
                Err(refusal) if refusal.is(Code::NotEmpty) => parents.push(&children[answered]),
                // An ephemeral znode may have gone with its session.
                Ok(_) | Err(Refusal(-101)) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        for parent in parents {
            remove(client, parent)?;
        }
    }
}
