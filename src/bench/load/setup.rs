//! Setup: the tree that a run works on, made under a root of its own before the run and removed after it.

use std::time::Duration;

use super::line::{HANGS_UP, Server};
use crate::bench::control::{Control, RunError};
use crate::client::answer::Code;
use crate::client::ask::{Ask, CreateMode};
use crate::client::blocking::{Client, ClientError};
use crate::client::session::ProtocolError;
use crate::proto::acl::Acl;

/// How long a server may take to accept a connection and grant a session.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take over one request of the setup.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests of the setup in flight.
const WINDOW: usize = 1000;

/// Session timeout of the setup, ms.
const SESSION_MS: i32 = 30_000;

/// Opens a session for what lies around a run.
pub fn connect(server: &Server) -> Result<Client, RunError> {
    let name = || server.name.clone();
    let mut client = Client::connect(server.address, SESSION_MS, CONNECT_PATIENCE).map_err(|error| match error {
        ClientError::Io(error) => RunError::Unreachable(name(), error),
        ClientError::Expired => RunError::NoSession(name(), "it refuses it".into()),
        ClientError::Closed => RunError::NoSession(name(), HANGS_UP.into()),
        ClientError::TimedOut(_) => RunError::NoSession(name(), format!("no answer in {} s", CONNECT_PATIENCE.as_secs())),
        ClientError::Protocol(ProtocolError::Frame(_) | ProtocolError::Record { .. }) => {
            RunError::NoSession(name(), "its answer is not of the ZooKeeper client protocol".into())
        }
        error => RunError::NoSession(name(), error.to_string()),
    })?;
    client.set_timeout(PATIENCE);
    Ok(client)
}

/// A root of our own that no other run has: `/ringkeeper-bench-` and 16 digits of chance.
pub fn new_root() -> Result<String, RunError> {
    let chance = getrandom::u64().map_err(|error| RunError::Machine("no randomness", std::io::Error::other(error)))?;
    Ok(format!("/ringkeeper-bench-{chance:016x}"))
}

/// Creates znodes, in a pipeline.
pub struct Planter<'a> {
    server: &'a Server,
    control: &'a Control,
    root: &'a str,
    client: Client,
    created: u64,
}

impl<'a> Planter<'a> {
    /// Creates the root.
    pub fn new(server: &'a Server, root: &'a str, control: &'a Control) -> Result<Self, RunError> {
        let client = connect(server)?;
        let mut planter = Self { server, control, root, client, created: 0 };
        planter.create(root, b"")?;
        planter.drain(0)?;
        Ok(planter)
    }

    /// Path of the root, under which everything belongs.
    #[must_use]
    pub const fn root(&self) -> &str {
        self.root
    }

    /// Creates a znode; its parent must have been created before. One that is there already is taken as it is.
    pub fn create(&mut self, path: &str, data: &[u8]) -> Result<(), RunError> {
        let acl = [Acl::open()];
        let ask = Ask::Create { path, data: Some(data), acl: &acl, mode: CreateMode::Persistent };
        self.client.submit(&ask).map_err(|error| self.failed(&error))?;
        self.created += 1;
        if self.created.is_multiple_of(10_000) {
            self.control.progress(&format!("{}: {} znodes prepared", self.server.name, self.created));
            if self.control.is_stopped() {
                return Err(RunError::Prepare(self.server.name.clone(), "stopped before they were there".into()));
            }
        }
        self.drain(WINDOW)
    }

    /// Waits until all are there.
    pub fn finish(mut self) -> Result<(), RunError> {
        self.drain(0)?;
        // All is answered; a goodbye that fails changes nothing.
        let _ = self.client.close();
        Ok(())
    }

    fn drain(&mut self, leave: usize) -> Result<(), RunError> {
        while self.client.pending() > leave {
            match self.client.next_reply().map(|reply| reply.result) {
                Ok(Err(refusal)) if !refusal.is(Code::NodeExists) => return Err(self.failed(&refusal.into())),
                Ok(_) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    fn failed(&self, error: &ClientError) -> RunError {
        RunError::Prepare(self.server.name.clone(), error.to_string())
    }
}

/// Removes a znode and all below it, through the first server that lets it. `false` if none did: then it is still there, or the
/// part that was not reached.
#[must_use]
pub fn remove(servers: &[Server], root: &str, control: &Control) -> bool {
    servers.iter().any(|server| connect(server).is_ok_and(|client| remove_with(client, root, control).is_ok()))
}

fn remove_with(mut client: Client, root: &str, control: &Control) -> Result<(), ClientError> {
    let mut removed = 0u64;
    // Parents before their children; the last one is worked on.
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.last().cloned() {
        let names = match client.children(&path, false) {
            Ok((names, _)) => names,
            Err(error) if error.refusal().is_some_and(|refusal| refusal.is(Code::NoNode)) => {
                stack.pop();
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut parents = Vec::new();
        let (mut asked, mut answered) = (names.iter(), names.iter());
        loop {
            let more = asked.next();
            if let Some(name) = more {
                client.submit(&Ask::Delete { path: &format!("{path}/{name}"), version: -1 })?;
            }
            while client.pending() > if more.is_some() { WINDOW } else { 0 } {
                let name = answered.next().expect("no more replies than requests");
                match client.next_reply()?.result {
                    Err(refusal) if refusal.is(Code::NotEmpty) => parents.push(format!("{path}/{name}")),
                    Err(refusal) if !refusal.is(Code::NoNode) => return Err(refusal.into()),
                    _ => removed += 1,
                }
            }
            if more.is_none() {
                break;
            }
        }
        control.progress(&format!("{removed} znodes removed"));
        if parents.is_empty() {
            match client.delete(&path, -1) {
                Err(ClientError::Refused(refusal)) if refusal.is(Code::NotEmpty) => continue,
                Err(ClientError::Refused(refusal)) if refusal.is(Code::NoNode) => {}
                other => other?,
            }
            stack.pop();
        }
        stack.append(&mut parents);
    }
    control.progress_done();
    // Everything is removed; a goodbye that fails changes nothing.
    let _ = client.close();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_runs_share_a_root() {
        let (a, b) = (new_root().unwrap(), new_root().unwrap());
        assert!(a != b && a.len() == "/ringkeeper-bench-".len() + 16);
    }
}
