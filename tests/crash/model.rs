//! Model: what one writer's part of the tree must look like after its operations, and what each must be answered.
//!
//! Every writer owns the directory `/crash/wNN`, which nobody else changes, so its answers can be foretold to the version
//! number. The directories `/crash/sN` are shared: there all writers make sequential znodes.

use std::collections::BTreeMap;

use ringkeeper::client::answer::{Body, Refusal};
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::stat::Stat;

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
const NODE_EXISTS: i32 = -110;
const RUNTIME_INCONSISTENCY: i32 = -2;

/// Directories in which all writers make sequential znodes.
pub const SHARED: usize = 4;

/// An operation of a writer. Serials tell apart whatever a writer has ever written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Create {
        name: String,
        ephemeral: bool,
        serial: u64,
    },
    Set {
        name: String,
        version: i32,
        serial: u64,
    },
    Delete {
        name: String,
        version: i32,
    },
    Check {
        name: String,
        version: i32,
    },
    /// Its data. Not in a multi.
    Read {
        name: String,
    },
    /// A sequential znode under a shared directory.
    Sequence {
        parent: usize,
        ephemeral: bool,
        serial: u64,
    },
    /// Deletes the one that `serial` made, whose name an acknowledgement has told.
    Unsequence {
        parent: usize,
        name: String,
        serial: u64,
    },
    Multi(Vec<Self>),
    Close,
}

/// The directory of a writer.
pub fn directory(writer: usize) -> String {
    format!("/crash/w{writer:02}")
}

/// A shared directory.
pub fn shared(parent: usize) -> String {
    format!("/crash/s{parent}")
}

/// What a writer writes under a serial: unlike anything else ever written.
pub fn data(writer: usize, serial: u64) -> Vec<u8> {
    let mut text = format!("{writer}:{serial}:");
    text.extend(std::iter::repeat_n('.', (serial * 37 % 120) as usize));
    text.into_bytes()
}

/// Who wrote this, and under which serial.
pub fn author(data: &[u8]) -> Option<(usize, u64)> {
    let text = std::str::from_utf8(data).ok()?;
    let mut parts = text.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The number at the end of a sequential znode's name.
pub fn number(name: &str) -> Option<u64> {
    name.get(name.len().checked_sub(10)?..)?.parse().ok()
}

/// A znode of a writer's directory. `None` is what no acknowledgement has told yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub serial: u64,
    pub version: i32,
    /// Session of an ephemeral znode, else 0.
    pub owner: i64,
    pub czxid: Option<u64>,
    pub mzxid: Option<u64>,
    pub ctime: Option<i64>,
    pub mtime: Option<i64>,
}

/// A sequential znode of a writer, under its serial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub parent: usize,
    pub name: Option<String>,
    pub owner: i64,
    pub czxid: Option<u64>,
}

/// What a writer's part of the tree looks like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    pub writer: usize,
    /// The writer's session, while it is open.
    pub session: Option<i64>,
    pub nodes: BTreeMap<String, Node>,
    pub items: BTreeMap<u64, Item>,
    /// Of the directory, as clients see it.
    pub cversion: i32,
    /// Of the directory.
    pub pzxid: Option<u64>,
}

/// What somebody has read of a writer's part of the tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    pub directory: Stat,
    pub nodes: BTreeMap<String, (Vec<u8>, Stat)>,
    /// Shared directory, name and Stat, under the serial in the data.
    pub items: BTreeMap<u64, (usize, String, Stat)>,
}

fn must(what: bool, say: impl FnOnce() -> String) -> Result<(), String> {
    if what { Ok(()) } else { Err(say()) }
}

/// The zxid that the results of one transaction show.
pub fn stamp(told: &Body) -> Option<u64> {
    match told {
        Body::Created(_, stat) => Some(stat.czxid.0),
        Body::Stat(stat) => Some(stat.mzxid.0),
        Body::Multi(results) => results.iter().flatten().find_map(stamp),
        _ => None,
    }
}

impl State {
    /// A fresh directory.
    pub const fn new(writer: usize, pzxid: u64) -> Self {
        Self { writer, session: None, nodes: BTreeMap::new(), items: BTreeMap::new(), cversion: 0, pzxid: Some(pzxid) }
    }

    /// Does an operation of which no answer has come.
    pub fn imagine(&mut self, op: &Op) {
        let mut after = self.clone();
        let members = if let Op::Multi(members) = op { members } else { std::slice::from_ref(op) };
        if members.iter().all(|member| matches!(after.step(member, None, None), Ok(Ok(())))) {
            *self = after;
        }
    }

    /// Does an operation that was answered. An error says how the answer differs from the one that had to come.
    pub fn apply(&mut self, op: &Op, told: &Result<Body, Refusal>) -> Result<(), String> {
        let mut after = self.clone();
        let Op::Multi(members) = op else {
            let zxid = told.as_ref().ok().and_then(stamp);
            let foretold = after.step(op, told.as_ref().ok(), zxid)?;
            must(foretold == told.as_ref().map(drop).map_err(|r| r.0), || {
                format!("{op:?} was answered {told:?}, not {foretold:?}")
            })?;
            if foretold.is_ok() {
                *self = after;
            }
            return Ok(());
        };
        let Ok(body @ Body::Multi(results)) = told else { return Err(format!("{op:?} was answered {told:?}")) };
        must(results.len() == members.len(), || format!("{op:?} was answered {told:?}"))?;
        let zxid = stamp(body);
        let mut failed = None;
        for (at, (member, result)) in members.iter().zip(results).enumerate() {
            if let Err(code) = after.step(member, result.as_ref().ok(), zxid)? {
                failed = Some((at, code));
                break;
            }
        }
        match failed {
            None => {
                must(results.iter().all(Result::is_ok), || format!("{op:?} was answered {told:?}, not done"))?;
                *self = after;
            }
            Some((failed, code)) => {
                for (at, result) in results.iter().enumerate() {
                    let want = match at.cmp(&failed) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code,
                        std::cmp::Ordering::Greater => RUNTIME_INCONSISTENCY,
                    };
                    must(*result == Err(Refusal(want)), || format!("{op:?} was answered {told:?}, not {code} at {failed}"))?;
                }
            }
        }
        Ok(())
    }

    /// One operation that is not a multi: done, or refused with a code. `told` is checked where there is one.
    fn step(&mut self, op: &Op, told: Option<&Body>, zxid: Option<u64>) -> Result<Result<(), i32>, String> {
        let writer = self.writer;
        let wrong = |told: &Body| Err(format!("{op:?} was answered {told:?}"));
        match op {
            Op::Create { name, ephemeral, serial } => {
                if let Some((parent, _)) = name.split_once('/') {
                    return Ok(Err(match self.nodes.get(parent) {
                        None => NO_NODE,
                        Some(node) if node.owner != 0 => NO_CHILDREN_FOR_EPHEMERALS,
                        Some(_) => return Err(format!("{op:?}: writers do not nest persistent znodes")),
                    }));
                }
                if self.nodes.contains_key(name) {
                    return Ok(Err(NODE_EXISTS));
                }
                let owner = if *ephemeral { self.session.unwrap_or(0) } else { 0 };
                let mut node = Node { serial: *serial, version: 0, owner, czxid: zxid, mzxid: zxid, ctime: None, mtime: None };
                match told {
                    None => {}
                    Some(Body::Created(path, stat)) if *path == format!("{}/{name}", directory(writer)) => {
                        (node.ctime, node.mtime) = (Some(stat.ctime), Some(stat.ctime));
                        node.compare(writer, stat, None)?;
                    }
                    Some(told) => return wrong(told),
                }
                self.nodes.insert(name.clone(), node);
                self.cversion += 1;
                self.pzxid = zxid;
            }
            Op::Set { name, version, serial } => {
                let Some(node) = self.nodes.get_mut(name) else { return Ok(Err(NO_NODE)) };
                if *version != -1 && *version != node.version {
                    return Ok(Err(BAD_VERSION));
                }
                node.version += 1;
                node.serial = *serial;
                (node.mzxid, node.mtime) = (zxid, None);
                match told {
                    None => {}
                    Some(Body::Stat(stat)) => {
                        node.mtime = Some(stat.mtime);
                        node.compare(writer, stat, None)?;
                    }
                    Some(told) => return wrong(told),
                }
            }
            Op::Delete { name, version } | Op::Check { name, version } => {
                let Some(node) = self.nodes.get(name) else { return Ok(Err(NO_NODE)) };
                if *version != -1 && *version != node.version {
                    return Ok(Err(BAD_VERSION));
                }
                if matches!(op, Op::Delete { .. }) {
                    self.nodes.remove(name);
                    self.cversion += 1;
                    self.pzxid = zxid;
                }
            }
            Op::Read { name } => {
                let Some(node) = self.nodes.get(name) else { return Ok(Err(NO_NODE)) };
                match told {
                    None => {}
                    Some(Body::Data(data, stat)) => node.compare(writer, stat, Some(data.as_deref().unwrap_or_default()))?,
                    Some(told) => return wrong(told),
                }
            }
            Op::Sequence { parent, ephemeral, serial } => {
                let owner = if *ephemeral { self.session.unwrap_or(0) } else { 0 };
                let mut item = Item { parent: *parent, name: None, owner, czxid: zxid };
                match told {
                    None => {}
                    Some(Body::Created(path, stat)) => {
                        let prefix = format!("{}/", shared(*parent));
                        let name = path.strip_prefix(&prefix).filter(|name| name.len() == 12 && number(name).is_some());
                        let Some(name) = name else { return wrong(&Body::Path(path.clone())) };
                        item.name = Some(name.to_owned());
                        item.compare(*parent, name, stat)?;
                    }
                    Some(told) => return wrong(told),
                }
                self.items.insert(*serial, item);
            }
            Op::Unsequence { serial, .. } => {
                if self.items.remove(serial).is_none() {
                    return Ok(Err(NO_NODE));
                }
            }
            Op::Close => self.end_session(zxid),
            Op::Multi(_) => return Err("a multi within a multi".into()),
        }
        Ok(Ok(()))
    }

    /// The session is closed or has expired: its ephemeral znodes go.
    pub fn end_session(&mut self, zxid: Option<u64>) {
        let before = self.nodes.len();
        self.nodes.retain(|_, node| node.owner == 0);
        self.items.retain(|_, item| item.owner == 0);
        let gone = before - self.nodes.len();
        if gone > 0 {
            self.cversion += gone as i32;
            self.pzxid = zxid;
        }
        self.session = None;
    }

    /// Whether this is what was read. `loose` leaves out whatever a session's expiry may be changing just then.
    pub fn compare(&self, seen: &Observed, loose: bool) -> Result<(), String> {
        if !loose {
            let stat = &seen.directory;
            must(stat.version == 0 && stat.ephemeral_owner == 0, || format!("the directory has {stat:?}"))?;
            must(stat.num_children as usize == self.nodes.len(), || {
                format!("{} children, should be {}", stat.num_children, self.nodes.len())
            })?;
            must(stat.cversion == self.cversion, || format!("cversion {}, should be {}", stat.cversion, self.cversion))?;
            must(self.pzxid.is_none_or(|z| z == stat.pzxid.0), || format!("pzxid {}, should be {:x?}", stat.pzxid, self.pzxid))?;
        }
        for (name, node) in self.nodes.iter().filter(|(_, node)| !loose || node.owner == 0) {
            let (data, stat) = seen.nodes.get(name).ok_or_else(|| format!("{name} is not there, should be {node:?}"))?;
            node.compare(self.writer, stat, Some(data)).map_err(|e| format!("{name}: {e}"))?;
        }
        for (name, (_, stat)) in &seen.nodes {
            let excused = loose && stat.ephemeral_owner != 0;
            must(excused || self.nodes.contains_key(name), || format!("{name} is there and should not be: {stat:?}"))?;
        }
        for (serial, item) in self.items.iter().filter(|(_, item)| !loose || item.owner == 0) {
            let (parent, name, stat) =
                seen.items.get(serial).ok_or_else(|| format!("item {serial} is not there, should be {item:?}"))?;
            item.compare(*parent, name, stat).map_err(|e| format!("item {serial}: {e}"))?;
        }
        for (serial, (parent, name, stat)) in &seen.items {
            let excused = loose && stat.ephemeral_owner != 0;
            must(excused || self.items.contains_key(serial), || {
                format!("item {serial}, {}/{name}, is there and should not be: {stat:?}", shared(*parent))
            })?;
        }
        Ok(())
    }

    /// Takes over what only a reading could tell. Returns the zxids that were not known before.
    pub fn learn(&mut self, seen: &Observed) -> Vec<u64> {
        let mut new = Vec::new();
        for (name, node) in &mut self.nodes {
            let (_, stat) = &seen.nodes[name];
            for (known, told) in [(&mut node.czxid, stat.czxid.0), (&mut node.mzxid, stat.mzxid.0)] {
                if known.replace(told).is_none() {
                    new.push(told);
                }
            }
            (node.ctime, node.mtime) = (Some(stat.ctime), Some(stat.mtime));
        }
        for (serial, item) in &mut self.items {
            let (_, name, stat) = &seen.items[serial];
            item.name = Some(name.clone());
            if item.czxid.replace(stat.czxid.0).is_none() {
                new.push(stat.czxid.0);
            }
        }
        self.pzxid = Some(seen.directory.pzxid.0);
        new.sort_unstable();
        new.dedup();
        new
    }
}

impl Node {
    /// Whether this is what was read, its data among it where they were.
    pub fn compare(&self, writer: usize, stat: &Stat, read: Option<&[u8]>) -> Result<(), String> {
        let want = data(writer, self.serial);
        let same = stat.version == self.version
            && stat.ephemeral_owner == self.owner
            && stat.data_length as usize == want.len()
            && (stat.cversion, stat.aversion, stat.num_children) == (0, 0, 0)
            && stat.pzxid == stat.czxid
            && stat.mzxid >= stat.czxid
            && (stat.version > 0 || stat.mzxid == stat.czxid)
            && self.czxid.is_none_or(|z| z == stat.czxid.0)
            && self.mzxid.is_none_or(|z| z == stat.mzxid.0)
            && self.ctime.is_none_or(|t| t == stat.ctime)
            && self.mtime.is_none_or(|t| t == stat.mtime);
        must(same, || format!("{stat:?} does not fit {self:?}"))?;
        must(read.is_none_or(|read| read == want), || {
            format!("data {:?}, should be of serial {}", read.map(String::from_utf8_lossy), self.serial)
        })
    }
}

impl Item {
    fn compare(&self, parent: usize, name: &str, stat: &Stat) -> Result<(), String> {
        let same = parent == self.parent
            && self.name.as_ref().is_none_or(|known| known == name)
            && stat.ephemeral_owner == self.owner
            && (stat.version, stat.cversion, stat.aversion, stat.num_children) == (0, 0, 0, 0)
            && (stat.czxid, stat.czxid) == (stat.mzxid, stat.pzxid)
            && self.czxid.is_none_or(|z| z == stat.czxid.0);
        must(same, || format!("{}/{name} with {stat:?} does not fit {self:?}", shared(parent)))
    }
}

/// What an operation needs to be asked: the strings that an [`Ask`] borrows.
pub struct Wire {
    path: String,
    data: Vec<u8>,
    members: Vec<Self>,
    acl: [Acl; 1],
}

impl Wire {
    pub fn new(writer: usize, op: &Op) -> Self {
        let in_directory = |name: &str| format!("{}/{name}", directory(writer));
        let (path, data, members) = match op {
            Op::Create { name, serial, .. } | Op::Set { name, serial, .. } => (in_directory(name), data(writer, *serial), vec![]),
            Op::Delete { name, .. } | Op::Check { name, .. } | Op::Read { name } => (in_directory(name), vec![], vec![]),
            Op::Sequence { parent, serial, .. } => (format!("{}/q-", shared(*parent)), data(writer, *serial), vec![]),
            Op::Unsequence { parent, name, .. } => (format!("{}/{name}", shared(*parent)), vec![], vec![]),
            Op::Multi(members) => (String::new(), vec![], members.iter().map(|m| Self::new(writer, m)).collect()),
            Op::Close => (String::new(), vec![], vec![]),
        };
        Self { path, data, members, acl: [Acl::open()] }
    }

    /// Hands the request to `use_it`; for a multi the members are borrowed only meanwhile.
    pub fn ask<T>(&self, op: &Op, use_it: impl FnOnce(&Ask<'_>) -> T) -> T {
        if let Op::Multi(members) = op {
            let asks: Vec<Ask<'_>> = members.iter().zip(&self.members).map(|(op, wire)| wire.single(op)).collect();
            return use_it(&Ask::Multi(&asks));
        }
        use_it(&self.single(op))
    }

    fn single(&self, op: &Op) -> Ask<'_> {
        let (path, data, acl) = (self.path.as_str(), Some(self.data.as_slice()), self.acl.as_slice());
        let create = |mode| Ask::Create2 { path, data, acl, mode };
        match *op {
            Op::Create { ephemeral: true, .. } => create(CreateMode::Ephemeral),
            Op::Create { .. } => create(CreateMode::Persistent),
            Op::Sequence { ephemeral: true, .. } => create(CreateMode::EphemeralSequential),
            Op::Sequence { .. } => create(CreateMode::PersistentSequential),
            Op::Set { version, .. } => Ask::SetData { path, data, version },
            Op::Delete { version, .. } => Ask::Delete { path, version },
            Op::Read { .. } => Ask::GetData { path, watch: false },
            Op::Check { version, .. } => Ask::Check { path, version },
            Op::Unsequence { .. } => Ask::Delete { path, version: -1 },
            Op::Close => Ask::Close,
            Op::Multi(_) => Ask::Ping,
        }
    }
}
