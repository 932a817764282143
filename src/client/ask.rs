//! Ask: a request as a client makes it, of every operation, and its bytes.

use crate::ground::ids::Zxid;
use crate::proto::acl::{self, Acl};
use crate::proto::jute::Writer;
use crate::proto::multi::MultiHeader;
use crate::proto::opcode;

/// What kind of znode a create makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until it is deleted.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Persistent, its name ends in the parent's counter.
    PersistentSequential = 2,
    /// Ephemeral, its name ends in the parent's counter.
    EphemeralSequential = 3,
    /// Reaped once its last child is gone.
    Container = 4,
    /// Reaped once it has had no child and no change for its time to live.
    PersistentWithTtl = 5,
    /// The same with the parent's counter in its name.
    PersistentSequentialWithTtl = 6,
}

/// A request. Versions are the expected ones, -1 for any.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)] // the fields carry the protocol's own names
pub enum Ask<'a> {
    Create {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: &'a [Acl],
        mode: CreateMode,
    },
    /// A create that is answered with the Stat as well.
    Create2 {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: &'a [Acl],
        mode: CreateMode,
    },
    CreateContainer {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: &'a [Acl],
    },
    /// `ttl_ms` from 1 to 2^40-1.
    CreateTtl {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: &'a [Acl],
        mode: CreateMode,
        ttl_ms: i64,
    },
    Delete {
        path: &'a str,
        version: i32,
    },
    Exists {
        path: &'a str,
        watch: bool,
    },
    GetData {
        path: &'a str,
        watch: bool,
    },
    SetData {
        path: &'a str,
        data: Option<&'a [u8]>,
        version: i32,
    },
    GetAcl {
        path: &'a str,
    },
    SetAcl {
        path: &'a str,
        acl: &'a [Acl],
        version: i32,
    },
    GetChildren {
        path: &'a str,
        watch: bool,
    },
    /// The children and the Stat.
    GetChildren2 {
        path: &'a str,
        watch: bool,
    },
    Sync {
        path: &'a str,
    },
    Ping,
    /// Of use inside a multi; alone it is refused.
    Check {
        path: &'a str,
        version: i32,
    },
    /// Creates, deletes, setData and checks, all or none.
    Multi(&'a [Self]),
    /// getData and getChildren, each for itself.
    MultiRead(&'a [Self]),
    Reconfig {
        joining: Option<&'a str>,
        leaving: Option<&'a str>,
        members: Option<&'a str>,
        version: i64,
    },
    /// Kinds: 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive.
    CheckWatches {
        path: &'a str,
        kind: i32,
    },
    RemoveWatches {
        path: &'a str,
        kind: i32,
    },
    Auth {
        scheme: &'a str,
        auth: &'a [u8],
    },
    SetWatches {
        relative_zxid: Zxid,
        data: &'a [&'a str],
        exist: &'a [&'a str],
        child: &'a [&'a str],
    },
    SetWatches2 {
        relative_zxid: Zxid,
        data: &'a [&'a str],
        exist: &'a [&'a str],
        child: &'a [&'a str],
        persistent: &'a [&'a str],
        recursive: &'a [&'a str],
    },
    Sasl {
        token: Option<&'a [u8]>,
    },
    /// The session's own ephemeral znodes whose paths begin with `prefix`.
    GetEphemerals {
        prefix: &'a str,
    },
    GetAllChildrenNumber {
        path: &'a str,
    },
    /// Modes: 0 persistent, 1 persistent recursive.
    AddWatch {
        path: &'a str,
        mode: i32,
    },
    WhoAmI,
    Close,
}

impl Ask<'_> {
    /// Operation code of the request header.
    #[must_use]
    pub const fn opcode(&self) -> i32 {
        match self {
            Self::Create { .. } => opcode::CREATE,
            Self::Create2 { .. } => opcode::CREATE2,
            Self::CreateContainer { .. } => opcode::CREATE_CONTAINER,
            Self::CreateTtl { .. } => opcode::CREATE_TTL,
            Self::Delete { .. } => opcode::DELETE,
            Self::Exists { .. } => opcode::EXISTS,
            Self::GetData { .. } => opcode::GET_DATA,
            Self::SetData { .. } => opcode::SET_DATA,
            Self::GetAcl { .. } => opcode::GET_ACL,
            Self::SetAcl { .. } => opcode::SET_ACL,
            Self::GetChildren { .. } => opcode::GET_CHILDREN,
            Self::GetChildren2 { .. } => opcode::GET_CHILDREN2,
            Self::Sync { .. } => opcode::SYNC,
            Self::Ping => opcode::PING,
            Self::Check { .. } => opcode::CHECK,
            Self::Multi(_) => opcode::MULTI,
            Self::MultiRead(_) => opcode::MULTI_READ,
            Self::Reconfig { .. } => opcode::RECONFIG,
            Self::CheckWatches { .. } => opcode::CHECK_WATCHES,
            Self::RemoveWatches { .. } => opcode::REMOVE_WATCHES,
            Self::Auth { .. } => opcode::AUTH,
            Self::SetWatches { .. } => opcode::SET_WATCHES,
            Self::SetWatches2 { .. } => opcode::SET_WATCHES2,
            Self::Sasl { .. } => opcode::SASL,
            Self::GetEphemerals { .. } => opcode::GET_EPHEMERALS,
            Self::GetAllChildrenNumber { .. } => opcode::GET_ALL_CHILDREN_NUMBER,
            Self::AddWatch { .. } => opcode::ADD_WATCH,
            Self::WhoAmI => opcode::WHO_AM_I,
            Self::Close => opcode::CLOSE_SESSION,
        }
    }

    /// Appends the body that follows the request header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Create { path, data, acl, mode } | Self::Create2 { path, data, acl, mode } => {
                create(out, path, data, acl, mode)
            }
            Self::CreateContainer { path, data, acl } => create(out, path, data, acl, CreateMode::Container),
            Self::CreateTtl { path, data, acl, mode, ttl_ms } => {
                create(out, path, data, acl, mode);
                out.long(ttl_ms);
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                out.string(path);
                out.int(version);
            }
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch }
            | Self::GetChildren2 { path, watch } => {
                out.string(path);
                out.bool(watch);
            }
            Self::SetData { path, data, version } => {
                out.string(path);
                out.buffer(data);
                out.int(version);
            }
            Self::SetAcl { path, acl, version } => {
                out.string(path);
                acl::encode(out, acl);
                out.int(version);
            }
            Self::GetAcl { path } | Self::Sync { path } | Self::GetAllChildrenNumber { path } => out.string(path),
            Self::GetEphemerals { prefix } => out.string(prefix),
            Self::Multi(members) | Self::MultiRead(members) => {
                for member in members {
                    MultiHeader { op: member.opcode(), done: false, err: -1 }.encode(out);
                    member.encode(out);
                }
                MultiHeader::END.encode(out);
            }
            Self::Reconfig { joining, leaving, members, version } => {
                for text in [joining, leaving, members] {
                    out.buffer(text.map(str::as_bytes));
                }
                out.long(version);
            }
            Self::CheckWatches { path, kind } | Self::RemoveWatches { path, kind } => {
                out.string(path);
                out.int(kind);
            }
            Self::Auth { scheme, auth } => {
                out.int(0);
                out.string(scheme);
                out.buffer(Some(auth));
            }
            Self::SetWatches { relative_zxid, data, exist, child } => watches(out, relative_zxid, &[data, exist, child]),
            Self::SetWatches2 { relative_zxid, data, exist, child, persistent, recursive } => {
                watches(out, relative_zxid, &[data, exist, child, persistent, recursive]);
            }
            Self::Sasl { token } => out.buffer(token),
            Self::AddWatch { path, mode } => {
                out.string(path);
                out.int(mode);
            }
            Self::Ping | Self::WhoAmI | Self::Close => {}
        }
    }
}

fn create(out: &mut Vec<u8>, path: &str, data: Option<&[u8]>, acl: &[Acl], mode: CreateMode) {
    out.string(path);
    out.buffer(data);
    acl::encode(out, acl);
    out.int(mode as i32);
}

fn watches(out: &mut Vec<u8>, relative_zxid: Zxid, lists: &[&[&str]]) {
    out.long(relative_zxid.as_wire());
    for list in lists {
        out.count(list.len());
        for path in *list {
            out.string(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::jute::Reader;
    use crate::proto::multi;
    use crate::proto::request::{Auth, PathWatch, SetWatches, Write};

    fn bytes(ask: &Ask<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        ask.encode(&mut out);
        out
    }

    #[test]
    fn what_we_ask_is_what_the_server_reads() {
        let open = [Acl::open()];
        let made = Ask::CreateTtl { path: "/t", data: None, acl: &open, mode: CreateMode::PersistentWithTtl, ttl_ms: 1234 };
        let body = bytes(&made);
        let mut r = Reader::new(&body);
        let Ok(Write::Create(read)) = Write::decode(made.opcode(), &mut r) else { panic!("not a create") };
        assert_eq!(
            (read.path.as_deref(), read.data, read.flags, read.ttl_ms, read.acl.map(|acl| acl.len())),
            (Some("/t"), None, 5, 1234, Some(1))
        );
        assert!(r.rest().is_empty());

        let body = bytes(&Ask::SetData { path: "/s", data: Some(b""), version: 7 });
        let read = Write::decode(opcode::SET_DATA, &mut Reader::new(&body)).unwrap();
        assert_eq!(read, Write::SetData { path: "/s".into(), data: Some(b""), version: 7 });

        let body = bytes(&Ask::GetData { path: "/g", watch: true });
        assert_eq!(PathWatch::decode(&mut Reader::new(&body)).unwrap(), PathWatch { path: "/g".into(), watch: true });

        let body = bytes(&Ask::Auth { scheme: "digest", auth: b"u:p" });
        assert_eq!(Auth::decode(&mut Reader::new(&body)).unwrap(), Auth { scheme: "digest".into(), auth: Some(b"u:p") });

        let body = bytes(&Ask::SetWatches { relative_zxid: Zxid(9), data: &["/a"], exist: &[], child: &["/b", "/c"] });
        let read = SetWatches::decode(opcode::SET_WATCHES, &mut Reader::new(&body)).unwrap();
        assert_eq!((read.relative_zxid, read.data.len(), read.exist.len(), read.child.len()), (Zxid(9), 1, 0, 2));
    }

    #[test]
    fn a_multi_keeps_its_members_in_order() {
        let members = [Ask::Check { path: "/c", version: 3 }, Ask::Delete { path: "/d", version: -1 }];
        let body = bytes(&Ask::Multi(&members));
        let read = multi::decode_writes(&mut Reader::new(&body)).unwrap();
        assert_eq!(
            read,
            [
                (opcode::CHECK, Write::Check { path: "/c".into(), version: 3 }),
                (opcode::DELETE, Write::Delete { path: "/d".into(), version: -1 })
            ]
        );
    }
}
