//! Znode: one znode of an image as people and scripts read it.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::form::{DataForm, shown_acl, shown_data, shown_path};
use crate::cli::utc::utc;
use crate::tree::record::Record;

/// A znode. The names are those of the Stat, and of the JSON lines, in this order.
#[derive(Serialize, Debug)]
pub struct Znode<'a> {
    path: &'a str,
    /// Bytes; -1 is null, as on the wire.
    data_length: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    czxid: String,
    mzxid: String,
    pzxid: String,
    ctime: String,
    mtime: String,
    version: i32,
    cversion: i32,
    aversion: i32,
    children: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral_owner: Option<String>,
    acl: Vec<String>,
    digest: String,
}

impl<'a> Znode<'a> {
    /// The znode as it is to be shown.
    #[must_use]
    pub fn new(record: &'a Record, form: Option<DataForm>) -> Self {
        let stat = record.stat();
        Self {
            path: record.path(),
            data_length: data_length(record),
            data: form.zip(record.data()).map(|(form, data)| shown_data(data, form)),
            czxid: stat.czxid.to_string(),
            mzxid: stat.mzxid.to_string(),
            pzxid: stat.pzxid.to_string(),
            ctime: utc(stat.ctime),
            mtime: utc(stat.mtime),
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            children: stat.num_children,
            ephemeral_owner: (stat.ephemeral_owner != 0).then(|| format!("{:#x}", stat.ephemeral_owner)),
            acl: record.acl().iter().map(shown_acl).collect(),
            digest: format!("{:#010x}", record.digest()),
        }
    }

    /// Appends its line of text.
    pub fn text(&self, out: &mut String) {
        self.text_to(out).expect("a string takes all");
    }

    fn text_to(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{}", shown_path(self.path))?;
        match self.data_length {
            -1 => out.push_str(" data=null"),
            length => write!(out, " data={length}")?,
        }
        if let Some(data) = &self.data {
            write!(out, " {data:?}")?;
        }
        let Self { version, cversion, aversion, children, czxid, mzxid, pzxid, ctime, mtime, .. } = self;
        write!(out, " version={version} cversion={cversion} aversion={aversion} children={children}")?;
        write!(out, " czxid={czxid} mzxid={mzxid} pzxid={pzxid} ctime={ctime} mtime={mtime}")?;
        if let Some(owner) = &self.ephemeral_owner {
            write!(out, " ephemeral={owner}")?;
        }
        writeln!(out, " acl={} digest={}", shown_path(&self.acl.join(",")), self.digest)
    }
}

/// Bytes of the data, -1 for null.
fn data_length(record: &Record) -> i64 {
    record.data().map_or(-1, |data| i64::try_from(data.len()).expect("a record lies in memory"))
}

/// What of a znode is not what it was: a name, before, after.
#[derive(Serialize, PartialEq, Eq, Debug)]
pub struct Difference {
    what: &'static str,
    before: String,
    after: String,
}

impl Difference {
    /// As a word of a line.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { what, before, after } = self;
        if before == after { format!("{what} differs") } else { format!("{what} {before} -> {after}") }
    }
}

/// What differs between two states of a znode; empty where nothing does.
#[must_use]
pub fn differences(a: &Record, b: &Record) -> Vec<Difference> {
    let (x, y) = (Znode::new(a, None), Znode::new(b, None));
    let mut all = Vec::new();
    let mut note = |what, is_same: bool, before: String, after: String| {
        if !is_same {
            all.push(Difference { what, before, after });
        }
    };
    note("data", a.data() == b.data(), x.data_length.to_string(), y.data_length.to_string());
    note("acl", a.acl() == b.acl(), x.acl.join(","), y.acl.join(","));
    let owner = |znode: &Znode<'_>| znode.ephemeral_owner.clone().unwrap_or_else(|| "0x0".to_owned());
    let (s, t) = (a.stored(), b.stored());
    let fields = [
        ("version", x.version.to_string(), y.version.to_string()),
        ("cversion", x.cversion.to_string(), y.cversion.to_string()),
        ("aversion", x.aversion.to_string(), y.aversion.to_string()),
        ("children", x.children.to_string(), y.children.to_string()),
        ("ephemeral_owner", owner(&x), owner(&y)),
        ("czxid", x.czxid, y.czxid),
        ("mzxid", x.mzxid, y.mzxid),
        ("pzxid", x.pzxid, y.pzxid),
        ("ctime", x.ctime, y.ctime),
        ("mtime", x.mtime, y.mtime),
    ];
    for (what, before, after) in fields {
        note(what, before == after, before, after);
    }
    // The counter that is stored is not always told by the one that clients see.
    note("stored_cversion", s.cversion == t.cversion, s.cversion.to_string(), t.cversion.to_string());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::Zxid;
    use crate::tree::record::Stored;

    fn stored() -> Stored {
        Stored {
            czxid: Zxid(1),
            mzxid: Zxid(2),
            pzxid: Zxid(3),
            ctime: 0,
            mtime: 1000,
            version: 4,
            cversion: 5,
            aversion: 6,
            num_children: 0,
            ephemeral_owner: 0,
        }
    }

    #[test]
    fn a_line_and_an_object() {
        let record = Record::new("/a b", Some(b"xy"), None, &stored());
        let mut line = String::new();
        Znode::new(&record, Some(DataForm::Hex)).text(&mut line);
        let begin = "\"/a b\" data=2 \"7879\" version=4 cversion=10 aversion=6 children=0 czxid=0x1 mzxid=0x2 pzxid=0x3 \
                     ctime=1970-01-01T00:00:00.000Z mtime=1970-01-01T00:00:01.000Z acl=world:anyone:cdrwa digest=0x";
        assert!(line.starts_with(begin) && line.ends_with('\n'), "{line}");
        let json = serde_json::to_value(Znode::new(&record, None)).unwrap();
        assert_eq!((&json["path"], &json["data_length"], &json["pzxid"]), (&"/a b".into(), &2.into(), &"0x3".into()));
        assert!(json.get("data").is_none() && json.get("ephemeral_owner").is_none());
    }

    #[test]
    fn differences_are_named() {
        let record = |data: Option<&[u8]>, stored: &Stored| Record::new("/a", data, None, stored);
        let a = record(Some(b"xy"), &stored());
        assert_eq!(differences(&a, &record(Some(b"xy"), &stored())), []);
        let text = |b: &Record| differences(&a, b).iter().map(Difference::text).collect::<Vec<_>>().join(", ");
        assert_eq!(text(&record(Some(b"xz"), &stored())), "data differs");
        assert_eq!(text(&record(None, &Stored { version: 5, ..stored() })), "data 2 -> -1, version 4 -> 5");
        assert_eq!(text(&record(Some(b"xy"), &Stored { ephemeral_owner: 16, ..stored() })), "ephemeral_owner 0x0 -> 0x10");
    }
}
