//! Lasting: a session kept over connections. It calls the next server when one is lost, says who it is again and leaves its
//! watches again.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::answer::{Body, Code, Event};
use super::ask::Ask;
use super::blocking::{Client, ClientError};
use super::session::Credentials;
use super::target::Target;
use crate::ground::ids::SessionId;
use crate::proto::event::EventType;
use crate::proto::opcode;

/// Between two rounds of calls to servers that do not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// The watches that are left, by full path.
#[derive(Default, Debug)]
struct Watches {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

impl Watches {
    /// Notes what the answer to a request says of watches.
    fn note(&mut self, ask: &Ask<'_>, answered: &Result<Body, ClientError>) {
        let missing = matches!(answered, Err(error) if error.refusal().is_some_and(|r| r.is(Code::NoNode)));
        let set = match *ask {
            Ask::Exists { path, watch: true } if missing => Some((&mut self.exist, path)),
            _ if answered.is_err() => None,
            Ask::Exists { path, watch: true } | Ask::GetData { path, watch: true } => Some((&mut self.data, path)),
            Ask::GetChildren { path, watch: true } | Ask::GetChildren2 { path, watch: true } => Some((&mut self.child, path)),
            Ask::AddWatch { path, mode: 0 } => Some((&mut self.persistent, path)),
            Ask::AddWatch { path, .. } => Some((&mut self.recursive, path)),
            Ask::RemoveWatches { path, kind } => {
                let all = [
                    (&mut self.child, [1, 3]),
                    (&mut self.data, [2, 3]),
                    (&mut self.exist, [2, 3]),
                    (&mut self.persistent, [4, 3]),
                    (&mut self.recursive, [5, 3]),
                ];
                for (set, kinds) in all {
                    if kinds.contains(&kind) {
                        set.remove(path);
                    }
                }
                None
            }
            _ => None,
        };
        if let Some((set, path)) = set {
            set.insert(path.to_owned());
        }
    }

    /// One-shot watches are gone once they have fired.
    fn fired(&mut self, event: &Event) {
        if event.kind != EventType::NodeChildrenChanged as i32 {
            self.data.remove(&event.path);
            self.exist.remove(&event.path);
        }
        if [EventType::NodeChildrenChanged as i32, EventType::NodeDeleted as i32].contains(&event.kind) {
            self.child.remove(&event.path);
        }
    }

    fn is_empty(&self) -> bool {
        [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive].iter().all(|set| set.is_empty())
    }
}

/// A session and whatever connection it has at the moment. Paths in requests and events are full, see [`Target::full`].
#[derive(Debug)]
pub struct Lasting {
    target: Target,
    next_server: usize,
    client: Option<Client>,
    credentials: Credentials,
    timeout: Duration,
    proved: Instant,
    identities: Vec<(String, Vec<u8>)>,
    watches: Watches,
    events: VecDeque<Event>,
}

impl Lasting {
    /// Opens a session of `timeout` with the first server that answers within `patience`.
    pub fn open(target: &Target, timeout: Duration, patience: Duration) -> Result<Self, ClientError> {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut lasting = Self {
            target: target.clone(),
            next_server: 0,
            client: None,
            credentials: Credentials::new(timeout_ms),
            timeout,
            proved: Instant::now(),
            identities: Vec::new(),
            watches: Watches::default(),
            events: VecDeque::new(),
        };
        lasting.connect(Instant::now() + patience)?;
        Ok(lasting)
    }

    /// Whom it calls.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The session.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.credentials.session
    }

    /// The timeout that was granted.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// For how long nothing proves that the session lives: since when the last answer's request was sent. At
    /// [`Self::timeout`] a server may have let the session expire.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.proved().elapsed()
    }

    fn proved(&self) -> Instant {
        self.client.as_ref().map_or(self.proved, |client| client.proved().max(self.proved))
    }

    /// Sends a request and waits for its answer. Reads are asked again on a new connection when one is lost, for as long as
    /// the session may live. Whether a write that has lost its connection was done, nobody knows: it is an error.
    pub fn call(&mut self, ask: &Ask<'_>) -> Result<Body, ClientError> {
        let op = ask.opcode();
        loop {
            let until = Instant::now() + self.timeout;
            let client = self.connect(until)?;
            let answered = client.call(ask);
            if let Err(error) = &answered
                && error.is_of_connection()
            {
                self.disconnect();
                if is_repeatable(op) && self.silence() < self.timeout {
                    continue;
                }
                return answered;
            }
            self.watches.note(ask, &answered);
            return answered;
        }
    }

    /// Adds an identity, also to every later connection.
    pub fn auth(&mut self, scheme: &str, auth: &[u8]) -> Result<(), ClientError> {
        self.call(&Ask::Auth { scheme, auth })?;
        self.identities.push((scheme.to_owned(), auth.to_owned()));
        Ok(())
    }

    /// The next watch event, waiting for it as long as `wait` (a little longer while no server answers). Keeps the session
    /// alive meanwhile. A lost connection is no error here, an expired session is.
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Event>, ClientError> {
        let end = Instant::now() + wait;
        loop {
            let event = match self.events.pop_front() {
                Some(event) => Ok(Some(event)),
                None => match self.connect(end) {
                    Ok(client) => client.next_event(end.saturating_duration_since(Instant::now())),
                    Err(error) => Err(error),
                },
            };
            match event {
                Ok(None) => {
                    // A ping has had no answer for a sixth of the timeout: another server may still have one.
                    if self.silence() > self.timeout / 2 {
                        self.disconnect();
                    }
                    return Ok(None);
                }
                Ok(Some(event)) => {
                    self.watches.fired(&event);
                    return Ok(Some(event));
                }
                Err(error) if error.is_of_connection() => {
                    self.disconnect();
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    std::thread::sleep(left.min(PAUSE));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the session; ephemeral znodes go with it.
    pub fn close(mut self) -> Result<(), ClientError> {
        match self.client.take() {
            Some(client) => client.close(),
            None => Ok(()),
        }
    }

    fn disconnect(&mut self) {
        self.proved = self.proved();
        if let Some(mut client) = self.client.take() {
            self.events.extend(client.take_events());
            self.credentials = client.abandon();
            tracing::warn!("the connection is lost");
        }
    }

    /// The connection there is, or a new one by `until`; at least one server is called.
    fn connect(&mut self, until: Instant) -> Result<&mut Client, ClientError> {
        let mut tried = 0;
        while self.client.is_none() {
            match self.attach() {
                Ok(()) => {}
                Err(error) if error.is_of_connection() => {
                    tried += 1;
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(error);
                    }
                    if tried % self.target.servers().len() == 0 {
                        std::thread::sleep(left.min(PAUSE));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.client.as_mut().ok_or_else(|| io::Error::from(ErrorKind::NotConnected).into())
    }

    /// Calls the next server, once, and says there who it is and what it watches.
    fn attach(&mut self) -> Result<(), ClientError> {
        let servers = self.target.servers();
        let server = &servers[self.next_server % servers.len()];
        self.next_server += 1;
        let began = Instant::now();
        // Short enough that whoever guards a lock notices in time, see `recipes/guard.rs`.
        let patience = (self.timeout / 12).clamp(Duration::from_millis(100), Duration::from_secs(2));
        let known = self.credentials.session != SessionId::NONE;
        let patience = if known { patience } else { self.timeout.max(patience) };
        let mut client = Client::attach(server.as_str(), self.credentials, patience)?;
        for (scheme, auth) in &self.identities {
            client.auth(scheme, auth)?;
        }
        if !self.watches.is_empty() {
            fn list(set: &BTreeSet<String>) -> Vec<&str> {
                set.iter().map(String::as_str).collect()
            }
            let watches = &self.watches;
            let ask = Ask::SetWatches2 {
                relative_zxid: self.credentials.last_zxid_seen,
                data: &list(&watches.data),
                exist: &list(&watches.exist),
                child: &list(&watches.child),
                persistent: &list(&watches.persistent),
                recursive: &list(&watches.recursive),
            };
            client.call(&ask)?;
        }
        self.credentials = client.credentials();
        self.timeout = Duration::from_millis(u64::from(self.credentials.timeout_ms.unsigned_abs()));
        self.proved = began;
        client.set_timeout(self.timeout.max(Duration::from_secs(1)) * 2 / 3);
        self.client = Some(client);
        Ok(())
    }
}

/// Whether asking twice does the same as asking once.
const fn is_repeatable(op: i32) -> bool {
    matches!(
        op,
        opcode::EXISTS
            | opcode::GET_DATA
            | opcode::GET_ACL
            | opcode::GET_CHILDREN
            | opcode::GET_CHILDREN2
            | opcode::SYNC
            | opcode::PING
            | opcode::MULTI_READ
            | opcode::CHECK_WATCHES
            | opcode::AUTH
            | opcode::GET_EPHEMERALS
            | opcode::GET_ALL_CHILDREN_NUMBER
            | opcode::ADD_WATCH
            | opcode::WHO_AM_I
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::Refusal;

    #[test]
    fn one_shot_watches_go_when_they_fire_and_lasting_ones_stay() {
        let mut watches = Watches::default();
        let fine = || Ok(Body::Nothing);
        watches.note(&Ask::GetData { path: "/a", watch: true }, &fine());
        watches.note(&Ask::GetData { path: "/b", watch: true }, &Err(Refusal(-101).into()));
        watches.note(&Ask::Exists { path: "/c", watch: true }, &Err(Refusal(-101).into()));
        watches.note(&Ask::GetChildren2 { path: "/a", watch: true }, &fine());
        watches.note(&Ask::AddWatch { path: "/a", mode: 1 }, &fine());
        assert_eq!((watches.data.len(), watches.exist.len(), watches.child.len()), (1, 1, 1));
        let event = |kind, path: &str| Event { zxid: 1, kind, state: 3, path: path.into() };
        watches.fired(&event(3, "/a"));
        assert_eq!((watches.data.len(), watches.child.len(), watches.recursive.len()), (0, 1, 1));
        watches.fired(&event(4, "/a"));
        watches.fired(&event(1, "/c"));
        watches.note(&Ask::RemoveWatches { path: "/a", kind: 3 }, &fine());
        assert!(watches.is_empty());
    }
}
