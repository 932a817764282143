//! Wording: what a server says, as lines of words. Zxids are `@` and a number, session ids and times stand as what they are one of.

use std::collections::BTreeMap;

use ringkeeper::client::answer::{Body, Event, Refusal};
use ringkeeper::proto::jute::{Malformed, Reader};
use ringkeeper::proto::multi::MultiHeader;
use ringkeeper::proto::opcode as op;
use ringkeeper::proto::reply::ReplyHeader;
use ringkeeper::proto::stat::Stat;
use ringkeeper::tree::quota::QUOTA;

use super::step::{hex, name, word};

/// What has been learned of one server, so that the same things get the same words.
pub struct Wording {
    /// The seed's znode, which is left out of paths.
    pub root: String,
    /// Sessions by their ids: seat and generation.
    pub sessions: BTreeMap<i64, String>,
    /// The time of each transaction.
    times: BTreeMap<i64, i64>,
}

/// A zxid, or a number that says there is none.
pub fn zxid(value: i64) -> String {
    if value > 0 { format!("@{value}") } else { value.to_string() }
}

impl Wording {
    pub const fn new(root: String) -> Self {
        Self { root, sessions: BTreeMap::new(), times: BTreeMap::new() }
    }

    fn path(&self, path: &str) -> String {
        let quota = path.strip_prefix(QUOTA).and_then(|path| path.strip_prefix(&self.root));
        match (path.strip_prefix(&self.root), quota) {
            (Some(""), _) => word("/"),
            (Some(rest), _) => word(rest),
            (None, Some(rest)) => format!("~{}", word(rest)),
            (None, None) => word(path),
        }
    }

    fn paths(&self, mut paths: Vec<String>) -> String {
        paths.sort();
        let words: Vec<_> = paths.iter().map(|path| self.path(path)).collect();
        format!("[ {} ]", words.join(" "))
    }

    /// A transaction has one time, whichever znode tells of it.
    fn time(&mut self, zxid: i64, time: i64) -> &'static str {
        if *self.times.entry(zxid).or_insert(time) == time { "its" } else { "another" }
    }

    fn stat(&mut self, stat: &Stat) -> String {
        let [czxid, mzxid, pzxid] = [stat.czxid, stat.mzxid, stat.pzxid].map(|zxid| zxid.as_wire());
        let (ctime, mtime) = (self.time(czxid, stat.ctime), self.time(mzxid, stat.mtime));
        let owner = match stat.ephemeral_owner {
            0 => "none".to_owned(),
            id => self.sessions.get(&id).cloned().unwrap_or_else(|| format!("{id:#x}")),
        };
        let (versions, length) = ([stat.version, stat.cversion, stat.aversion], stat.data_length);
        format!(
            "czxid {} mzxid {} pzxid {} ctime {ctime} mtime {mtime} version {} cversion {} aversion {} owner {owner} length {length} children {}",
            zxid(czxid),
            zxid(mzxid),
            zxid(pzxid),
            versions[0],
            versions[1],
            versions[2],
            stat.num_children
        )
    }

    fn body(&mut self, body: &Body) -> String {
        let data = |data: &Option<Vec<u8>>| data.as_deref().map_or_else(|| "null".to_owned(), hex);
        match body {
            Body::Nothing => String::new(),
            Body::Path(path) => self.path(path),
            Body::Created(path, stat) => format!("{} {}", self.path(path), self.stat(stat)),
            Body::Stat(stat) => self.stat(stat),
            Body::Data(bytes, stat) => match bytes.as_deref().and_then(configuration) {
                // It tells of itself how long it is, with ports of as many digits as it has.
                Some(text) => format!("{text} {}", self.stat(stat)),
                None => format!("{} {}", data(bytes), self.stat(stat)),
            },
            Body::Names(names) => self.paths(names.clone()),
            Body::Children(names, stat) => format!("{} {}", self.paths(names.clone()), self.stat(stat)),
            Body::Acl(list, stat) => {
                let mut list: Vec<_> =
                    list.iter().map(|entry| format!("{} {} {}", entry.perms, word(&entry.scheme), word(&entry.id))).collect();
                list.sort();
                format!("[ {} ] {}", list.join(" , "), self.stat(stat))
            }
            Body::Multi(_) => unreachable!("members are read one by one"),
            Body::Token(token) => data(token),
            Body::Number(n) => n.to_string(),
            Body::Identities(list) => {
                let mut list: Vec<_> = list.iter().map(|(scheme, user)| format!("{} {}", word(scheme), word(user))).collect();
                list.sort();
                format!("[ {} ]", list.join(" , "))
            }
        }
    }

    fn members(&mut self, r: &mut Reader<'_>) -> Result<String, Malformed> {
        let mut words = String::new();
        loop {
            let MultiHeader { op, done, err } = MultiHeader::decode(r)?;
            if done {
                return Ok(format!("{words}; end {op} {err}"));
            }
            let result = match op {
                op::ERROR => Refusal(r.int()?).name().to_owned(),
                op::MULTI | op::MULTI_READ => return Err(Malformed::Value),
                _ => self.body(&Body::decode(op, r)?),
            };
            words += &format!("; {} {err} {result} ", name(op));
        }
    }

    /// A reply to an operation.
    pub fn reply(&mut self, op: i32, frame: &[u8]) -> String {
        let mut r = Reader::new(frame);
        let Ok(header) = ReplyHeader::decode(&mut r) else { return format!("unreadable {}", hex(frame)) };
        let body = match (header.err, op) {
            (0, op::MULTI | op::MULTI_READ) => self.members(&mut r),
            (0, _) => Body::decode(op, &mut r).map(|body| self.body(&body)),
            _ => Ok(String::new()),
        };
        let body = body.unwrap_or_else(|error| format!("malformed {} {}", word(&error.to_string()), hex(frame)));
        let rest = if r.rest().is_empty() { String::new() } else { format!("and {}", hex(r.rest())) };
        let (xid, code) = (header.xid, Refusal(header.err));
        let code = if code.name() == "unnamed" { header.err.to_string() } else { code.name().to_owned() };
        tidy(&format!("reply {xid} {} {code} {body} {rest}", zxid(header.zxid)))
    }

    /// A watch event.
    pub fn event(&self, frame: &[u8]) -> String {
        let mut r = Reader::new(frame);
        let event = ReplyHeader::decode(&mut r).and_then(|header| Ok((header.err, Event::decode(header.zxid, &mut r)?)));
        match event {
            Ok((err, Event { zxid: at, kind, state, path })) if r.rest().is_empty() => {
                tidy(&format!("event {err} {} {kind} {state} {}", zxid(at), self.path(&path)))
            }
            _ => format!("malformed event {}", hex(frame)),
        }
    }
}

/// The configuration of an ensemble as one word, each number of a port as so many digits.
fn configuration(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.starts_with("server."))?;
    let mut parts = text.split(':');
    let mut shown = parts.next()?.to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        shown += &format!(":{}{rest}", "9".repeat(part.len() - rest.len()));
    }
    Some(word(&shown))
}

fn tidy(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
