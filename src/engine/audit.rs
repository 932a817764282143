//! Audit: what clients changed or tried to change, as ZooKeeper's audit log says it (`AuditHelper`), one event a line.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use super::message::{Entry, Member, Outcome};
use crate::auth::{AuthConfig, Identities};
use crate::ground::ids::{ConnId, SessionId};
use crate::proto::acl::{self, AclRefs};
use crate::proto::jute::Reader;
use crate::proto::multi;
use crate::proto::opcode;
use crate::proto::request::Write;
use crate::tree::change::Step;

/// Where events go. It must not wait: a shard calls it.
pub trait Audit: Send + Sync {
    /// Takes one event. The text has no line end and no control character but the tabs between its fields.
    fn note(&self, event: Event);
    /// Who runs the server; ephemeral znodes are deleted in this name.
    fn server_user(&self) -> &str;
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it became final, ms since 1970.
    pub wall_ms: i64,
    /// Its result is `failure`.
    pub is_failure: bool,
    /// The fields.
    pub text: String,
}

/// How an event ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// `success`.
    Success,
    /// `failure`.
    Failure,
    /// `invoked`: begun, and nobody will tell how it ended.
    Invoked,
}

impl Event {
    /// An event of these fields, in ZooKeeper's order; those without a value are left out. What would break the line is escaped.
    #[must_use]
    pub fn new(wall_ms: i64, fields: &[(&str, Option<&str>)], verdict: Verdict) -> Self {
        let mut text = String::new();
        for (name, value) in fields {
            let Some(value) = value else { continue };
            text.push_str(name);
            text.push('=');
            for c in value.chars() {
                if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                    write!(text, "\\u{:04x}", u32::from(c)).expect("a String takes every write");
                } else {
                    text.push(c);
                }
            }
            text.push('\t');
        }
        text.push_str(match verdict {
            Verdict::Success => "result=success",
            Verdict::Failure => "result=failure",
            Verdict::Invoked => "result=invoked",
        });
        Self { wall_ms, is_failure: verdict == Verdict::Failure, text }
    }
}

/// What is told of a request once its end is known.
#[derive(Debug)]
struct Asked {
    session: String,
    users: Option<String>,
    address: String,
    operation: &'static str,
    path: Option<String>,
    /// The mode of a create.
    mode: Option<&'static str>,
    acl: Option<String>,
    /// The creates of a multi, by the paths asked for.
    modes: BTreeMap<String, &'static str>,
}

impl Asked {
    /// `None` for requests that are not told of.
    fn of(session: SessionId, op: i32, body: &[u8], who: &Identities, auth: &AuthConfig) -> Option<Self> {
        let (mut path, mut mode, mut acl, mut modes) = (None, None, None, BTreeMap::new());
        let operation = operation(op)?;
        let mut r = Reader::new(body);
        match op {
            opcode::RECONFIG => {}
            opcode::MULTI => {
                let members = multi::decode_writes(&mut r).unwrap_or_default();
                modes = members
                    .into_iter()
                    .filter_map(|(op, write)| match write {
                        // As in ZooKeeper, which does not look at those with a time to live.
                        Write::Create(create) if op != opcode::CREATE_TTL => {
                            Some((create.path?.into_owned(), create_mode(create.flags)?))
                        }
                        _ => None,
                    })
                    .collect();
            }
            // A record that cannot be read is told of without what it may say.
            _ => match Write::decode(op, &mut r) {
                Ok(Write::Create(create)) => {
                    mode = create_mode(create.flags);
                    path = create.path;
                }
                Ok(Write::SetAcl { path: of, acl: list, .. }) => {
                    acl = Some(shown(&list));
                    path = Some(of);
                }
                Ok(Write::Delete { path: of, .. } | Write::SetData { path: of, .. } | Write::Check { path: of, .. }) => {
                    path = Some(of)
                }
                Err(_) => {}
            },
        }
        let users: Vec<_> = who.iter().map(|identity| auth.user_name(identity)).filter(|name| !name.trim().is_empty()).collect();
        Some(Self {
            session: session.to_string(),
            users: (!users.is_empty()).then(|| users.join(",")),
            address: who.iter().find(|identity| identity.scheme == "ip").map_or_else(String::new, |ip| ip.id.to_string()),
            operation,
            path: path.map(std::borrow::Cow::into_owned),
            mode,
            acl,
            modes,
        })
    }

    fn event(&self, wall_ms: i64, operation: &str, path: Option<&str>, mode: Option<&str>, verdict: Verdict) -> Event {
        let fields = [
            ("session", Some(self.session.as_str())),
            ("user", self.users.as_deref()),
            ("ip", Some(self.address.as_str())),
            ("operation", Some(operation)),
            ("znode", path),
            ("znode_type", mode),
            ("acl", self.acl.as_deref()),
        ];
        Event::new(wall_ms, &fields, verdict)
    }

    fn failed(&self, wall_ms: i64) -> Event {
        self.event(wall_ms, self.operation, self.path.as_deref(), self.mode, Verdict::Failure)
    }

    /// The events of a request that was delivered.
    fn ended(&self, wall_ms: i64, outcome: &Outcome, steps: &[Step]) -> Vec<Event> {
        match outcome {
            Outcome::Done => {
                let path = steps.first().map(|step| step.record().path());
                vec![self.event(wall_ms, self.operation, path, self.mode, Verdict::Success)]
            }
            Outcome::Multi(members) => {
                let mut steps = steps.iter();
                let mut events = Vec::new();
                for member in members {
                    let operation = match member {
                        Member::Error(_) | Member::Checked => continue,
                        Member::Created | Member::Created2 => "create",
                        Member::Deleted => "delete",
                        Member::Set => "setData",
                    };
                    let path = steps.next().map(|step| step.record().path());
                    let mode = path.filter(|_| operation == "create").and_then(|path| self.modes.get(path).copied());
                    events.push(self.event(wall_ms, operation, path, mode, Verdict::Success));
                }
                if members.iter().any(|member| matches!(member, Member::Error(_))) {
                    events.push(self.failed(wall_ms));
                }
                events
            }
            _ => vec![self.failed(wall_ms)],
        }
    }
}

/// The writes of one shard's clients that are under way, and where their ends are told. A connection that goes takes nothing of
/// it along: what it asked for is told of all the same.
pub(super) struct Auditor {
    to: Arc<dyn Audit>,
    /// By connection, in the order in which they were asked; with the xid, `None` for what is not told of.
    asked: BTreeMap<ConnId, VecDeque<(i32, Option<Asked>)>>,
}

impl Auditor {
    pub(super) fn new(to: Arc<dyn Audit>) -> Self {
        Self { to, asked: BTreeMap::new() }
    }

    /// A request goes inward.
    pub(super) fn asks(
        &mut self,
        conn: ConnId,
        (session, xid, op): (SessionId, i32, i32),
        body: &[u8],
        who: &Identities,
        auth: &AuthConfig,
    ) {
        self.asked.entry(conn).or_default().push_back((xid, Asked::of(session, op, body, who, auth)));
    }

    /// Whether everything that was asked has ended.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    fn take(&mut self, conn: ConnId, xid: i32) -> Option<Asked> {
        let queue = self.asked.get_mut(&conn)?;
        // The first in all but ensembles that lose their leader.
        let at = queue.iter().position(|(asked, _)| *asked == xid)?;
        let (_, asked) = queue.remove(at)?;
        if queue.is_empty() {
            self.asked.remove(&conn);
        }
        asked
    }

    /// A request of this shard was delivered.
    pub(super) fn delivered(&mut self, conn: ConnId, entry: &Entry, steps: &[Step], wall_ms: i64) {
        if matches!(entry.outcome, Outcome::Opened { .. }) {
            return;
        }
        if let Some(asked) = self.take(conn, entry.xid) {
            asked.ended(wall_ms, &entry.outcome, steps).into_iter().for_each(|event| self.to.note(event));
        }
    }

    /// A request came back without a transaction: it was refused, or changes nothing and is not told of.
    pub(super) fn returned(&mut self, conn: ConnId, xid: i32, wall_ms: i64) {
        if let Some(asked) = self.take(conn, xid) {
            self.to.note(asked.failed(wall_ms));
        }
    }

    /// A session was closed, and its ephemeral znodes deleted. Told of by one shard of each server, as by each server of ZooKeeper's.
    pub(super) fn closed(&self, session: SessionId, steps: &[Step], wall_ms: i64) {
        for step in steps {
            let fields = [
                ("session", Some(session.to_string())),
                ("user", Some(self.to.server_user().to_owned())),
                ("operation", Some("ephemeralZNodeDeletionOnSessionCloseOrExpire".to_owned())),
                ("znode", Some(step.record().path().to_owned())),
            ];
            let fields = fields.each_ref().map(|(name, value)| (*name, value.as_deref()));
            self.to.note(Event::new(wall_ms, &fields, Verdict::Success));
        }
    }
}

const fn operation(op: i32) -> Option<&'static str> {
    Some(match op {
        opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => "create",
        opcode::DELETE => "delete",
        opcode::SET_DATA => "setData",
        opcode::SET_ACL => "setAcl",
        opcode::MULTI => "multiOperation",
        opcode::RECONFIG => "reconfig",
        _ => return None,
    })
}

/// The mode as ZooKeeper's names it; flags that are none have no name.
const fn create_mode(flags: i32) -> Option<&'static str> {
    Some(match flags {
        0 => "persistent",
        1 => "ephemeral",
        2 => "persistent_sequential",
        3 => "ephemeral_sequential",
        4 => "container",
        5 => "persistent_with_ttl",
        6 => "persistent_sequential_with_ttl",
        _ => return None,
    })
}

/// A list as `ZKUtil.aclToString` shows it: nothing stands between two entries.
fn shown(list: &AclRefs<'_>) -> String {
    const LETTERS: [(i32, char); 5] =
        [(acl::CREATE, 'c'), (acl::DELETE, 'd'), (acl::READ, 'r'), (acl::WRITE, 'w'), (acl::ADMIN, 'a')];
    let mut text = String::new();
    for entry in list {
        let part = |part: &Option<std::borrow::Cow<'_, str>>| part.as_deref().unwrap_or("null").to_owned();
        write!(text, "{}:{}:", part(&entry.scheme), part(&entry.id)).expect("a String takes every write");
        text.extend(LETTERS.iter().filter(|(bit, _)| entry.perms & bit != 0).map(|(_, letter)| letter));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::acl::Acl;
    use crate::proto::jute::Writer;

    #[test]
    fn fields_stand_between_tabs_and_cannot_break_the_line() {
        let fields = [("session", Some("0x1")), ("user", None), ("znode", Some("/a b\n\tresult=success\u{2028}"))];
        let event = Event::new(7, &fields, Verdict::Failure);
        assert_eq!(event.text, "session=0x1\tznode=/a b\\u000a\\u0009result=success\\u2028\tresult=failure");
        assert!(event.is_failure && !Event::new(7, &[], Verdict::Invoked).is_failure);
        assert_eq!(Event::new(7, &[], Verdict::Invoked).text, "result=invoked");
    }

    #[test]
    fn a_request_is_told_by_who_what_and_where() {
        let mut who = Identities::of("127.0.0.1".parse().unwrap());
        let auth = AuthConfig::default();
        crate::auth::authenticate(&mut who, "digest", b"bob:x", &auth).unwrap();
        let mut body = Vec::new();
        body.string("/a");
        acl::encode(&mut body, &[Acl::open(), Acl::new(acl::READ | acl::ADMIN, "digest", "u:h")]);
        body.int(-1);
        let asked = Asked::of(SessionId(0x1234), opcode::SET_ACL, &body, &who, &auth).unwrap();
        // A line of a ZooKeeper 3.9.4.
        assert_eq!(
            asked.failed(0).text,
            "session=0x1234\tuser=127.0.0.1,bob\tip=127.0.0.1\toperation=setAcl\tznode=/a\tacl=world:anyone:cdrwadigest:u:h:ra\tresult=failure"
        );
        assert!(Asked::of(SessionId(1), opcode::SYNC, &body, &who, &auth).is_none());
        let unreadable = Asked::of(SessionId(1), opcode::CREATE, &[], &who, &auth).unwrap();
        assert!(unreadable.failed(0).text.ends_with("\toperation=create\tresult=failure"));
    }
}
