//! Model: a plain ZooKeeper of maps, which knows nothing of the house, to hold its answers against.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::{self, Result1};
use crate::ground::ids::Zxid;
use crate::proto::acl::Acl;
use crate::proto::opcode;
use crate::proto::stat::Stat;

/// Permissions, scheme and id.
pub(super) type Acls = Vec<(i32, String, String)>;

/// A request, for the model and for the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Create {
        op: i32,
        path: String,
        data: Option<String>,
        acl: Acls,
        flags: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: String,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Acls,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Self>),
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    Children {
        op: i32,
        path: String,
        watch: bool,
    },
    GetAcl {
        path: String,
    },
    Sync {
        path: String,
    },
    MultiRead(Vec<Self>),
    AddWatch {
        path: String,
        mode: i32,
    },
    /// checkWatches and removeWatches.
    Watches {
        op: i32,
        path: String,
        kind: i32,
    },
    Close,
    /// A record that cannot be read.
    Bad {
        op: i32,
    },
}

impl Op {
    pub(super) const fn code(&self) -> i32 {
        match self {
            Self::Create { op, .. } | Self::Children { op, .. } | Self::Watches { op, .. } | Self::Bad { op } => *op,
            Self::Delete { .. } => opcode::DELETE,
            Self::SetData { .. } => opcode::SET_DATA,
            Self::SetAcl { .. } => opcode::SET_ACL,
            Self::Check { .. } => opcode::CHECK,
            Self::Multi(_) => opcode::MULTI,
            Self::Exists { .. } => opcode::EXISTS,
            Self::GetData { .. } => opcode::GET_DATA,
            Self::GetAcl { .. } => opcode::GET_ACL,
            Self::Sync { .. } => opcode::SYNC,
            Self::MultiRead(_) => opcode::MULTI_READ,
            Self::AddWatch { .. } => opcode::ADD_WATCH,
            Self::Close => opcode::CLOSE_SESSION,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        !matches!(
            self.code(),
            opcode::EXISTS
                | opcode::GET_DATA
                | opcode::GET_CHILDREN
                | opcode::GET_CHILDREN2
                | opcode::GET_ACL
                | opcode::SYNC
                | opcode::MULTI_READ
                | opcode::ADD_WATCH
                | opcode::CHECK_WATCHES
                | opcode::REMOVE_WATCHES
        )
    }

    pub(super) fn body(&self) -> Vec<u8> {
        fn refs(acl: &Acls) -> Vec<ask::Entry<'_>> {
            acl.iter().map(|(perms, scheme, id)| (*perms, &**scheme, &**id)).collect()
        }
        match self {
            Self::Create { op, path, data, acl, flags } => {
                let mut out = ask::create_with(path, data.as_ref().map(String::as_bytes), &refs(acl), *flags);
                if *op == opcode::CREATE_TTL {
                    out.extend_from_slice(&7i64.to_be_bytes());
                }
                out
            }
            Self::Delete { path, version } | Self::Check { path, version } => ask::path_version(path, *version),
            Self::SetData { path, data, version } => ask::set_data(path, data, *version),
            Self::SetAcl { path, acl, version } => ask::set_acl(path, &refs(acl), *version),
            Self::Exists { path, watch } | Self::GetData { path, watch } | Self::Children { path, watch, .. } => {
                ask::path_watch(path, *watch)
            }
            Self::GetAcl { path } | Self::Sync { path } => ask::path(path),
            Self::Multi(members) | Self::MultiRead(members) => {
                ask::multi(&members.iter().map(|member| (member.code(), member.body())).collect::<Vec<_>>())
            }
            Self::AddWatch { path, mode: number } | Self::Watches { path, kind: number, .. } => ask::path_number(path, *number),
            Self::Close => Vec::new(),
            Self::Bad { .. } => vec![0, 0, 0, 9, 1],
        }
    }
}

/// What a request is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    One(Result1),
    Many(Vec<Result1>),
    ChildrenStat(Vec<String>, Stat),
    Acl(Vec<Acl>, Stat),
    Echo(String),
}

fn error(code: i32) -> Answer {
    Answer::One(Result1::Error(code))
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) data: Option<String>,
    pub(super) acl: Acls,
    pub(super) creates: i32,
    pub(super) stat: Stat,
}

impl Node {
    fn permits(&self, wanted: i32, who: Option<&str>) -> bool {
        self.acl.iter().any(|(perms, scheme, id)| {
            let named = match &**scheme {
                "world" => true,
                "digest" => who == Some(id),
                "ip" => id == "10.1.2.3",
                _ => false,
            };
            perms & wanted != 0 && named
        })
    }
}

/// Something a watch may wait for: what happened, where, and who may hear of it.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) kind: &'static str,
    pub(super) path: String,
    subject: Node,
}

impl Happening {
    pub(super) fn may_be_told_to(&self, who: Option<&str>) -> bool {
        self.subject.permits(1, who)
    }
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sessions: BTreeSet<i64>,
    pub(super) last: Zxid,
}

/// Who asks, and when.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) session: i64,
    pub(super) zxid: Zxid,
    pub(super) time: i64,
    /// The digest it has proved.
    pub(super) who: Option<&'a str>,
}

fn parent_of(path: &str) -> Option<&str> {
    path.rfind('/').map(|at| if at == 0 { "/" } else { &path[..at] })
}

fn is_valid(path: &str) -> bool {
    let legal = |c: char| {
        let c = u32::from(c);
        c > 0x1f && !(0x7f..=0x9f).contains(&c) && !(0xd800..=0xf8ff).contains(&c) && c < 0xfff0
    };
    path == "/"
        || path.starts_with('/') && path.chars().all(legal) && path[1..].split('/').all(|name| !["", ".", ".."].contains(&name))
}

fn open() -> Acls {
    vec![(31, "world".into(), "anyone".into())]
}

impl Model {
    pub(super) fn new() -> Self {
        let node = |children: i32, acl: Acls| Node {
            data: Some(String::new()),
            acl,
            creates: 0,
            stat: Stat { num_children: children, cversion: -children, ..Stat::default() },
        };
        let mut config = node(0, vec![(1, "world".into(), "anyone".into())]);
        config.stat.aversion = -1;
        let nodes = [
            ("/", node(1, open())),
            ("/zookeeper", node(2, open())),
            ("/zookeeper/quota", node(0, open())),
            ("/zookeeper/config", config),
        ];
        let nodes = nodes.into_iter().map(|(path, node)| (path.to_owned(), node)).collect();
        Self { nodes, sessions: BTreeSet::new(), last: Zxid::ZERO }
    }

    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let names = self.nodes.keys().filter(|child| *child != "/" && parent_of(child) == Some(path));
        names.map(|child| child[child.rfind('/').unwrap() + 1..].to_owned()).collect()
    }

    fn node(&self, path: &str) -> Result<&Node, i32> {
        self.nodes.get(path).ok_or(-101)
    }

    fn permit(&self, path: &str, wanted: i32, who: Option<&str>) -> Result<(), i32> {
        if self.node(path)?.permits(wanted, who) { Ok(()) } else { Err(-102) }
    }

    fn fix(acl: &Acls, who: Option<&str>) -> Result<Acls, i32> {
        let mut fixed = Vec::new();
        for (i, (perms, scheme, id)) in acl.iter().enumerate() {
            if acl[..i].contains(&acl[i]) {
                continue;
            }
            match (&**scheme, who) {
                ("auth", Some(user)) => fixed.push((*perms, "digest".to_owned(), user.to_owned())),
                ("world", _) if id == "anyone" => fixed.push(acl[i].clone()),
                ("digest", _) if id.contains(':') => fixed.push(acl[i].clone()),
                ("ip", _) if id.contains('.') => fixed.push(acl[i].clone()),
                _ => return Err(-114),
            }
        }
        if fixed.is_empty() { Err(-114) } else { Ok(fixed) }
    }

    /// A write by itself, with what happened appended.
    pub(super) fn write(&mut self, by: Asker<'_>, op: &Op, happened: &mut Vec<Happening>) -> Answer {
        match op {
            Op::Multi(members) => self.multi(by, members, happened),
            Op::Close => {
                self.close(by.session, by.zxid, happened);
                Answer::One(Result1::Done(opcode::CLOSE_SESSION))
            }
            Op::Bad { .. } => error(-5),
            _ => Answer::One(self.single(by, op, happened).unwrap_or_else(Result1::Error)),
        }
    }

    fn multi(&mut self, by: Asker<'_>, members: &[Op], happened: &mut Vec<Happening>) -> Answer {
        let undecodable = |op: &Op| match op {
            Op::Create { op, flags, .. } => !(0..=4).contains(flags) && *op != opcode::CREATE_TTL,
            Op::Delete { .. } | Op::SetData { .. } | Op::Check { .. } => false,
            _ => true,
        };
        if members.iter().any(undecodable) {
            return error(-5);
        }
        let (before, told) = (self.nodes.clone(), happened.len());
        let mut results = Vec::new();
        for member in members {
            // The mode decides which create it is.
            let mut member = member.clone();
            if let Op::Create { op, flags, .. } = &mut member {
                *op = match flags {
                    4 => opcode::CREATE_CONTAINER,
                    0..=3 if *op == opcode::CREATE_TTL => opcode::CREATE,
                    _ => *op,
                };
            }
            match self.single(by, &member, happened) {
                Ok(result) => results.push(result),
                Err(code) => {
                    self.nodes = before;
                    happened.truncate(told);
                    let (done, left) = (results.len(), members.len() - results.len() - 1);
                    let codes = [vec![0; done], vec![code], vec![-2; left]].concat();
                    return Answer::Many(codes.into_iter().map(Result1::Error).collect());
                }
            }
        }
        Answer::Many(results)
    }

    fn single(&mut self, by: Asker<'_>, op: &Op, happened: &mut Vec<Happening>) -> Result<Result1, i32> {
        let Asker { session, zxid, time, who } = by;
        let legal = |path: &str| if is_valid(path) { Ok(()) } else { Err(-8) };
        let expect = |current: i32, wanted: i32| if wanted == -1 || wanted == current { Ok(()) } else { Err(-103) };
        match op {
            Op::Create { op, path, data, acl, flags } => {
                match (*flags, *op) {
                    (5 | 6, _) => return Err(-6),
                    (0..=4, opcode::CREATE_TTL) => return Err(-8),
                    (0..=4, _) => {}
                    _ => return Err(-8),
                }
                let parent = parent_of(path).filter(|_| !path.contains('\0')).ok_or(-8)?;
                let acl = Self::fix(acl, who)?;
                self.permit(parent, 4, who)?;
                let number = self.nodes[parent].creates;
                let path = if matches!(flags, 2 | 3) { format!("{path}{number:010}") } else { path.clone() };
                legal(&path)?;
                if self.nodes.contains_key(&path) {
                    return Err(-110);
                }
                if self.nodes[parent].stat.ephemeral_owner != 0 {
                    return Err(-108);
                }
                let is_ephemeral = matches!(flags, 1 | 3) && *op != opcode::CREATE_CONTAINER;
                let owner = if is_ephemeral { session } else { 0 };
                let stat = Stat {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: time,
                    mtime: time,
                    ephemeral_owner: owner,
                    data_length: data.as_ref().map_or(0, |data| i32::try_from(data.len()).unwrap()),
                    ..Stat::default()
                };
                let node = Node { data: data.clone(), acl, creates: 0, stat };
                let up = self.nodes.get_mut(parent).unwrap();
                up.creates += 1;
                up.stat.cversion += 1;
                up.stat.num_children += 1;
                up.stat.pzxid = zxid;
                happened.push(Happening { kind: "created", path: path.clone(), subject: node.clone() });
                happened.push(Happening { kind: "children", path: parent.to_owned(), subject: up.clone() });
                self.nodes.insert(path.clone(), node);
                Ok(if *op == opcode::CREATE { Result1::Path(path) } else { Result1::PathStat(path, stat) })
            }
            Op::Delete { path, version } => {
                let special = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
                let parent = parent_of(path).filter(|_| !path.contains('\0') && !special.contains(&&**path)).ok_or(-8)?;
                self.permit(parent, 8, who)?;
                expect(self.node(path)?.stat.version, *version)?;
                if self.nodes[path].stat.num_children > 0 {
                    return Err(-111);
                }
                self.remove(path, zxid, happened);
                Ok(Result1::Done(opcode::DELETE))
            }
            Op::SetData { path, data, version } => {
                legal(path)?;
                self.permit(path, 2, who)?;
                expect(self.nodes[path].stat.version, *version)?;
                let node = self.nodes.get_mut(path).unwrap();
                node.data = Some(data.clone());
                let length = i32::try_from(data.len()).unwrap();
                let version = node.stat.version + 1;
                node.stat = Stat { version, mzxid: zxid, mtime: time, data_length: length, ..node.stat };
                happened.push(Happening { kind: "changed", path: path.clone(), subject: node.clone() });
                Ok(Result1::Stat(node.stat))
            }
            Op::SetAcl { path, acl, version } => {
                legal(path)?;
                let acl = Self::fix(acl, who)?;
                self.permit(path, 16, who)?;
                expect(self.nodes[path].stat.aversion, *version)?;
                let node = self.nodes.get_mut(path).unwrap();
                node.acl = acl;
                node.stat.aversion += 1;
                Ok(Result1::Stat(node.stat))
            }
            Op::Check { path, version } => {
                legal(path)?;
                self.permit(path, 1, who)?;
                expect(self.nodes[path].stat.version, *version)?;
                Ok(Result1::Done(opcode::CHECK))
            }
            _ => unreachable!("no write"),
        }
    }

    fn remove(&mut self, path: &str, zxid: Zxid, happened: &mut Vec<Happening>) {
        let node = self.nodes.remove(path).unwrap();
        let parent = parent_of(path).unwrap();
        let up = self.nodes.get_mut(parent).unwrap();
        up.stat.cversion += 1;
        up.stat.num_children -= 1;
        up.stat.pzxid = zxid;
        happened.push(Happening { kind: "deleted", path: path.to_owned(), subject: node });
        happened.push(Happening { kind: "children", path: parent.to_owned(), subject: up.clone() });
    }

    pub(super) fn close(&mut self, session: i64, zxid: Zxid, happened: &mut Vec<Happening>) {
        self.sessions.remove(&session);
        let owned = self.nodes.iter().filter(|(_, node)| node.stat.ephemeral_owner == session);
        for path in owned.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.remove(&path, zxid, happened);
        }
    }

    pub(super) fn read(&self, who: Option<&str>, op: &Op) -> Answer {
        self.try_read(who, op).unwrap_or_else(error)
    }

    fn try_read(&self, who: Option<&str>, op: &Op) -> Result<Answer, i32> {
        let rooted = |path: &String| if path.is_empty() { "/".to_owned() } else { path.clone() };
        Ok(match op {
            Op::Exists { path, .. } => {
                if path.contains('\0') {
                    return Err(-8);
                }
                self.permit(&rooted(path), 1, who)?;
                Answer::One(Result1::Stat(self.node(&rooted(path))?.stat))
            }
            Op::GetData { path, .. } => {
                self.permit(&rooted(path), 1, who)?;
                let node = self.node(&rooted(path))?;
                Answer::One(Result1::Data(node.data.clone().map(String::into_bytes), node.stat))
            }
            Op::Children { op, path, .. } => {
                let path = rooted(path);
                self.permit(&path, 1, who)?;
                let mut names = self.children(&path);
                names.sort();
                if *op == opcode::GET_CHILDREN {
                    Answer::One(Result1::Children(names))
                } else {
                    Answer::ChildrenStat(names, self.node(&path)?.stat)
                }
            }
            Op::GetAcl { path } => {
                let path = rooted(path);
                self.permit(&path, 17, who)?;
                let is_admin = self.permit(&path, 16, who).is_ok();
                let node = self.node(&path)?;
                let shown = node.acl.iter().map(|(perms, scheme, id)| match id.split_once(':') {
                    Some((user, _)) if scheme == "digest" && !is_admin => Acl::new(*perms, scheme, &format!("{user}:x")),
                    _ => Acl::new(*perms, scheme, id),
                });
                Answer::Acl(shown.collect(), node.stat)
            }
            Op::Sync { path } => Answer::Echo(path.clone()),
            Op::MultiRead(members) => {
                if !members.iter().all(|m| matches!(m, Op::GetData { .. } | Op::Children { op: opcode::GET_CHILDREN, .. })) {
                    return Err(-5);
                }
                let one = |answer| if let Answer::One(result) = answer { result } else { unreachable!("both are single") };
                Answer::Many(members.iter().map(|member| one(self.read(who, member))).collect())
            }
            _ => unreachable!("no read"),
        })
    }
}
