//! Shown: an answer, for people as `zkCli.sh` shows it, for programs as JSON.

use serde_json::{Value, json};

use crate::cli::form::shown_acl;
use crate::client::answer::Event;
use crate::proto::acl::Acl;
use crate::proto::stat::Stat;

/// What an order gives.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shown {
    /// For people; lines without the last end of line.
    pub text: String,
    /// For programs.
    pub json: Value,
}

impl Shown {
    /// Both forms.
    pub fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json }
    }

    /// With a Stat under it.
    #[must_use]
    pub fn with_stat(mut self, stat: Option<&Stat>) -> Self {
        if let Some(stat) = stat {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(&stat_text(stat));
            self.json["stat"] = stat_json(stat);
        }
        self
    }
}

/// Data for programs: text where they are UTF-8, base64 where not.
pub fn data_json(data: Option<&[u8]>) -> Value {
    use base64::Engine as _;
    match data.map(|data| (data, std::str::from_utf8(data))) {
        None => json!({ "data": null }),
        Some((_, Ok(text))) => json!({ "data": text }),
        Some((data, Err(_))) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(data) }),
    }
}

/// The eleven lines.
pub fn stat_text(stat: &Stat) -> String {
    let utc = crate::cli::utc::utc;
    format!(
        "cZxid = {}\nctime = {}\nmZxid = {}\nmtime = {}\npZxid = {}\ncversion = {}\ndataVersion = {}\naclVersion = {}\n\
         ephemeralOwner = {:#x}\ndataLength = {}\nnumChildren = {}",
        stat.czxid,
        utc(stat.ctime),
        stat.mzxid,
        utc(stat.mtime),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

/// The same as an object; zxids and the owner as hexadecimal text, which JSON's numbers cannot hold.
pub fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": stat.czxid.to_string(), "ctime": stat.ctime, "mzxid": stat.mzxid.to_string(), "mtime": stat.mtime,
        "pzxid": stat.pzxid.to_string(), "cversion": stat.cversion, "version": stat.version, "aversion": stat.aversion,
        "ephemeralOwner": format!("{:#x}", stat.ephemeral_owner), "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// Two lines an entry.
pub fn acl_text(list: &[Acl]) -> String {
    let letters = |acl: &Acl| shown_acl(acl).rsplit(':').next().unwrap_or_default().to_owned();
    let lines = list.iter().map(|acl| format!("'{},'{}\n: {}", acl.scheme, acl.id, letters(acl)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Entries as `setAcl` takes them.
pub fn acl_json(list: &[Acl]) -> Value {
    json!({ "acl": list.iter().map(shown_acl).collect::<Vec<_>>() })
}

/// An event that came.
pub fn event(event: &Event, path: &str) -> Shown {
    let kind = match event.kind {
        1 => "NodeCreated",
        2 => "NodeDeleted",
        3 => "NodeDataChanged",
        4 => "NodeChildrenChanged",
        _ => "None",
    };
    let text = format!("WATCHER::\n\nWatchedEvent state:SyncConnected type:{kind} path:{path}");
    Shown::new(text, json!({ "event": kind, "path": path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_for_people_and_for_programs() {
        let shown = Shown::new("x", data_json(Some(b"x"))).with_stat(Some(&Stat { version: 7, ..Stat::default() }));
        assert!(shown.text.starts_with("x\ncZxid = 0x0\n") && shown.text.contains("\ndataVersion = 7\n"));
        assert_eq!((&shown.json["data"], &shown.json["stat"]["version"]), (&json!("x"), &json!(7)));
        assert_eq!(data_json(Some(b"\xff")), json!({ "base64": "/w==" }));
        assert_eq!(acl_text(&[Acl::open()]), "'world,'anyone\n: cdrwa");
        assert_eq!(acl_json(&[Acl::open()]), json!({ "acl": ["world:anyone:cdrwa"] }));
    }
}
