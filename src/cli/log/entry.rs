//! Entry: one transaction as people and scripts read it.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;

use crate::cli::form::{DataForm, shown_acl, shown_data, shown_path};
use crate::cli::utc::utc;
use crate::proto::code::Code;
use crate::proto::opcode;
use crate::proto::txn::{Txn, TxnHeader};

/// A transaction. The names and their order are those of the JSON lines.
#[derive(Serialize, Debug)]
pub struct Entry<'a> {
    zxid: String,
    time: String,
    session: String,
    cxid: i32,
    #[serde(flatten)]
    op: Op<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

/// What a transaction, or one member of a multi, does.
#[derive(Serialize, Default, Debug)]
struct Op<'a> {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<&'a str>>,
    /// Bytes; -1 is null, as on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_length: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_cversion: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Self>>,
}

impl<'a> Entry<'a> {
    /// The transaction as it is to be shown.
    #[must_use]
    pub fn new(header: &TxnHeader, txn: &'a Txn<'_>, digest: Option<u64>, data: Option<DataForm>) -> Self {
        Self {
            zxid: header.zxid.to_string(),
            time: utc(header.time),
            session: header.session.to_string(),
            cxid: header.cxid,
            op: Op::new(header.kind, txn, data),
            digest: digest.map(|digest| format!("{digest:#018x}")),
        }
    }

    /// Appends the lines of text: one, and one more for each member of a multi.
    pub fn text(&self, out: &mut String) {
        let begin = |out: &mut String| {
            let (zxid, time, session, cxid) = (&self.zxid, &self.time, &self.session, self.cxid);
            write!(out, "{zxid} {time} session={session} cxid={cxid} ").expect("a string takes all");
        };
        begin(out);
        self.op.text(out);
        if let Some(digest) = &self.digest {
            write!(out, " digest={digest}").expect("a string takes all");
        }
        out.push('\n');
        for (i, member) in self.op.members.iter().flatten().enumerate() {
            begin(out);
            write!(out, "multi.{i} ").expect("a string takes all");
            member.text(out);
            out.push('\n');
        }
    }
}

impl<'a> Op<'a> {
    fn new(kind: i32, txn: &'a Txn<'_>, form: Option<DataForm>) -> Self {
        let op = Self { kind: name(kind), ..Self::default() };
        match txn {
            Txn::Create { path, data, acl, ephemeral, parent_cversion, .. } => Self {
                path: Some(path),
                ephemeral: Some(*ephemeral),
                acl: Some(acl.iter().map(shown_acl).collect()),
                parent_cversion: Some(*parent_cversion),
                ..op.with_data(*data, form)
            },
            Txn::CreateLasting { path, data, acl, parent_cversion, ttl_ms, .. } => Self {
                path: Some(path),
                ttl_ms: *ttl_ms,
                acl: Some(acl.iter().map(shown_acl).collect()),
                parent_cversion: Some(*parent_cversion),
                ..op.with_data(*data, form)
            },
            Txn::Delete { path, .. } => Self { path: Some(path), ..op },
            Txn::SetData { path, data, version, .. } => {
                Self { path: Some(path), version: Some(*version), ..op.with_data(*data, form) }
            }
            Txn::SetAcl { path, acl, version, .. } => {
                let acl = acl.iter().map(shown_acl).collect();
                Self { path: Some(path), version: Some(*version), acl: Some(acl), ..op }
            }
            Txn::Check { path, version, .. } => Self { path: Some(path), version: Some(*version), ..op },
            Txn::CreateSession { timeout_ms, .. } => Self { timeout_ms: Some(*timeout_ms), ..op },
            Txn::CloseSession { paths, .. } => Self { paths: Some(paths.iter().map(AsRef::as_ref).collect()), ..op },
            Txn::Error { err, .. } => Self { error: Some(*err), ..op },
            Txn::Multi(members) => {
                Self { members: Some(members.iter().map(|(kind, member)| Self::new(*kind, member, form)).collect()), ..op }
            }
        }
    }

    fn with_data(self, data: Option<&[u8]>, form: Option<DataForm>) -> Self {
        let length = data.map_or(-1, |data| i64::try_from(data.len()).expect("a record lies in memory"));
        let shown = form.zip(data).map(|(form, data)| shown_data(data, form));
        Self { data_length: Some(length), data: shown, ..self }
    }

    fn text(&self, out: &mut String) {
        self.text_to(out).expect("a string takes all");
    }

    fn text_to(&self, out: &mut String) -> std::fmt::Result {
        out.push_str(&self.kind);
        for path in self.path.iter().chain(self.paths.iter().flatten()) {
            write!(out, " {}", shown_path(path))?;
        }
        match self.data_length {
            Some(-1) => out.push_str(" data=null"),
            Some(length) => write!(out, " data={length}")?,
            None => {}
        }
        if let Some(data) = &self.data {
            write!(out, " {data:?}")?;
        }
        if let Some(version) = self.version {
            write!(out, " version={version}")?;
        }
        if self.ephemeral == Some(true) {
            out.push_str(" ephemeral");
        }
        if let Some(ttl) = self.ttl_ms {
            write!(out, " ttl={ttl}ms")?;
        }
        if let Some(acl) = &self.acl {
            write!(out, " acl={}", shown_path(&acl.join(",")))?;
        }
        if let Some(cversion) = self.parent_cversion {
            write!(out, " parent_cversion={cversion}")?;
        }
        if let Some(timeout) = self.timeout_ms {
            write!(out, " timeout={timeout}ms")?;
        }
        if let Some(err) = self.error {
            write!(out, " {}", error_name(err))?;
        }
        if let Some(members) = &self.members {
            write!(out, " members={}", members.len())?;
        }
        Ok(())
    }
}

/// The name of a transaction type, as ZooKeeper's own tools have it.
#[must_use]
pub fn name(kind: i32) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        opcode::CREATE => "create",
        opcode::CREATE2 => "create2",
        opcode::CREATE_CONTAINER => "createContainer",
        opcode::CREATE_TTL => "createTTL",
        opcode::DELETE => "delete",
        opcode::DELETE_CONTAINER => "deleteContainer",
        opcode::SET_DATA => "setData",
        opcode::RECONFIG => "reconfig",
        opcode::SET_ACL => "setACL",
        opcode::CHECK => "check",
        opcode::MULTI => "multi",
        opcode::CREATE_SESSION => "createSession",
        opcode::CLOSE_SESSION => "closeSession",
        opcode::ERROR => "error",
        other => return Cow::Owned(format!("type{other}")),
    })
}

/// An error code with its name, where it has one: `NoNode(-101)`.
#[must_use]
pub fn error_name(err: i32) -> String {
    const KNOWN: [Code; 20] = [
        Code::SystemError,
        Code::RuntimeInconsistency,
        Code::MarshallingError,
        Code::Unimplemented,
        Code::BadArguments,
        Code::UnknownSession,
        Code::NoNode,
        Code::NoAuth,
        Code::BadVersion,
        Code::NoChildrenForEphemerals,
        Code::NodeExists,
        Code::NotEmpty,
        Code::SessionExpired,
        Code::InvalidAcl,
        Code::AuthFailed,
        Code::SessionMoved,
        Code::NotReadOnly,
        Code::NoWatcher,
        Code::ReconfigDisabled,
        Code::Ok,
    ];
    KNOWN.iter().find(|code| code.as_wire() == err).map_or_else(|| format!("code({err})"), |code| format!("{code:?}({err})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::{SessionId, Zxid};
    use crate::proto::acl::Acl;

    fn header(kind: i32) -> TxnHeader {
        TxnHeader { session: SessionId(0x0100_0000_0000_0abc), cxid: 7, zxid: Zxid(0x1_0000_0002), time: 1_700_000_000_123, kind }
    }

    fn text(kind: i32, txn: &Txn<'_>, data: Option<DataForm>) -> String {
        let mut out = String::new();
        Entry::new(&header(kind), txn, Some(0xfeed), data).text(&mut out);
        out.replace("0x100000002 2023-11-14T22:13:20.123Z session=0x100000000000abc cxid=7 ", "> ")
            .replace(" digest=0x000000000000feed", " #")
    }

    fn create(path: &'static str, data: Option<&'static [u8]>, ephemeral: bool) -> Txn<'static> {
        let acl = Cow::Owned(vec![Acl::open(), Acl::new(17, "digest", "u:h")]);
        Txn::Create { path: path.into(), data, acl, ephemeral, parent_cversion: 3 }
    }

    fn lasting(ttl_ms: Option<i64>) -> Txn<'static> {
        Txn::CreateLasting { path: "/l".into(), data: Some(b"x"), acl: Cow::Owned(vec![]), parent_cversion: 3, ttl_ms }
    }

    #[test]
    fn every_kind_has_its_line() {
        let acls = "acl=world:anyone:cdrwa,digest:u:h:ra parent_cversion=3";
        let cases = [
            (opcode::CREATE2, create("/a b", None, true), format!("> create2 \"/a b\" data=null ephemeral {acls} #\n")),
            (
                opcode::CREATE_CONTAINER,
                lasting(None),
                format!("> createContainer /l data=1 {} #\n", "acl=\"\" parent_cversion=3"),
            ),
            (
                opcode::CREATE_TTL,
                lasting(Some(90)),
                format!("> createTTL /l data=1 ttl=90ms {} #\n", "acl=\"\" parent_cversion=3"),
            ),
            (opcode::DELETE, Txn::Delete { path: "/a".into() }, "> delete /a #\n".into()),
            (
                opcode::SET_DATA,
                Txn::SetData { path: "/a".into(), data: Some(b"xyz"), version: 4 },
                "> setData /a data=3 version=4 #\n".into(),
            ),
            (
                opcode::SET_ACL,
                Txn::SetAcl { path: "/a".into(), acl: Cow::Owned(vec![Acl::open()]), version: 1 },
                "> setACL /a version=1 acl=world:anyone:cdrwa #\n".into(),
            ),
            (opcode::CREATE_SESSION, Txn::CreateSession { timeout_ms: 4000 }, "> createSession timeout=4000ms #\n".into()),
            (
                opcode::CLOSE_SESSION,
                Txn::CloseSession { paths: vec!["/e".into(), "/f\n".into()] },
                "> closeSession /e \"/f\\n\" #\n".into(),
            ),
            (opcode::ERROR, Txn::Error { err: -110 }, "> error NodeExists(-110) #\n".into()),
            (opcode::ERROR, Txn::Error { err: -77 }, "> error code(-77) #\n".into()),
            (
                opcode::MULTI,
                Txn::Multi(vec![
                    (opcode::CREATE, create("/m", Some(b""), false)),
                    (opcode::CHECK, Txn::Check { path: "/m".into(), version: 0 }),
                ]),
                format!("> multi members=2 #\n> multi.0 create /m data=0 {acls}\n> multi.1 check /m version=0\n"),
            ),
        ];
        for (kind, txn, want) in cases {
            assert_eq!(text(kind, &txn, None), want);
        }
        assert_eq!(name(99), "type99");
    }

    #[test]
    fn data_is_shown_where_asked_for() {
        let txn = Txn::SetData { path: "/a".into(), data: Some(b"\xffa\n"), version: 4 };
        assert_eq!(text(opcode::SET_DATA, &txn, Some(DataForm::Hex)), "> setData /a data=3 \"ff610a\" version=4 #\n");
        assert_eq!(text(opcode::SET_DATA, &txn, Some(DataForm::Utf8)), "> setData /a data=3 \"\u{fffd}a\\n\" version=4 #\n");
    }

    #[test]
    fn one_object_a_transaction() {
        let txn = Txn::Multi(vec![(opcode::SET_DATA, Txn::SetData { path: "/a".into(), data: None, version: 4 })]);
        let json = serde_json::to_string(&Entry::new(&header(opcode::MULTI), &txn, None, None)).unwrap();
        let want = "{\"zxid\":\"0x100000002\",\"time\":\"2023-11-14T22:13:20.123Z\",\"session\":\"0x100000000000abc\",\"cxid\":7,\
                    \"type\":\"multi\",\"members\":[{\"type\":\"setData\",\"path\":\"/a\",\"data_length\":-1,\"version\":4}]}";
        assert_eq!(json, want);
    }
}
