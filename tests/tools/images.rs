//! Images: `ringkeeper image` as a process, on images written by the archivist.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper::engine::archivist::policy::Policy;
use ringkeeper::engine::archivist::{Archivist, Start, Wrote};
use ringkeeper::ground::ids::{ServerId, SessionId, Zxid};
use ringkeeper::ground::time::{Now, WallMillis};
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::opcode;
use ringkeeper::proto::txn::{Txn, TxnHeader};
use ringkeeper::storage::image::image_name;
use ringkeeper::tree::tree::Tree;
use serde_json::Value;

use super::harness::directory;
use super::{fine, tool};

const OWNER: SessionId = SessionId(0x0100_0000_0000_0001);

/// A tree and the zxid it stands at.
struct State {
    tree: Tree,
    zxid: u64,
}

impl State {
    fn new() -> Self {
        Self { tree: Tree::new([1, 2, 3, 4]), zxid: 0 }
    }

    fn apply(&mut self, kind: i32, txn: &Txn<'_>) {
        self.zxid += 1;
        let header = TxnHeader { session: OWNER, cxid: 0, zxid: Zxid(self.zxid), time: 1_700_000_000_000, kind };
        self.tree.apply(&header, txn, &mut Vec::new()).unwrap();
        self.tree.forget(header.zxid);
    }

    fn create(&mut self, path: &str, data: Option<&[u8]>, ephemeral: bool) {
        let acl = Cow::Owned(vec![Acl::open()]);
        self.apply(opcode::CREATE, &Txn::Create { path: path.into(), data, acl, ephemeral, parent_cversion: -1 });
    }

    fn set(&mut self, path: &str, data: &[u8], version: i32) {
        self.apply(opcode::SET_DATA, &Txn::SetData { path: path.into(), data: Some(data), version });
    }

    /// Writes the image of it as a server would.
    fn write(&self, dir: &Path, sessions: &[(SessionId, i32)]) -> PathBuf {
        let start = Start {
            view: self.tree.view().clone(),
            sessions: sessions.iter().copied().collect::<BTreeMap<_, _>>(),
            zxid: Zxid(self.zxid),
            archived: Zxid::ZERO,
            transactions: 0,
            bytes: 0,
        };
        let mut archivist = Archivist::new(start, Policy::default(), ServerId(1), 7);
        let mut bytes = Vec::new();
        archivist.begin(Now { micros: 0, wall: WallMillis(1_700_000_000_123) }, &mut bytes);
        while archivist.write(&mut bytes) == Wrote::More {}
        fs::create_dir_all(dir).unwrap();
        let path = dir.join(image_name(Zxid(self.zxid)));
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Two images, some changes apart, in the directory `images` of a data directory.
fn two(data: &Path) -> (PathBuf, PathBuf) {
    let dir = data.join("images");
    let mut state = State::new();
    state.create("/b", Some(b"bee"), false);
    state.create("/a", None, false);
    state.create("/a/x y", Some(&[b'x'; 20_000]), false);
    state.create("/a/e", Some(b""), true);
    let first = state.write(&dir, &[(OWNER, 4000)]);
    state.set("/b", b"bees", 1);
    state.apply(opcode::DELETE, &Txn::Delete { path: "/a/e".into() });
    state.create("/c", Some(b"new"), false);
    (first, state.write(&dir, &[]))
}

#[test]
fn znodes_are_dumped() {
    let directory = directory();
    let (first, _) = two(directory.path());
    let dump = fine(&["image", "dump", "--sessions", "--data", "utf8", "--path", "/b"], &first).out;
    let lines: Vec<_> = dump.lines().collect();
    assert!(
        lines[0].starts_with(&format!("# {} zxid=0x4 created=2023-11-14T22:13:20.123Z digest=0x", first.display())),
        "{dump}"
    );
    assert_eq!(lines[1], "# session=0x100000000000001 timeout=4000ms");
    let time = "2023-11-14T22:13:20.000Z";
    let want = format!(
        "/b data=3 \"bee\" version=0 cversion=0 aversion=0 children=0 czxid=0x1 mzxid=0x1 pzxid=0x1 ctime={time} mtime={time} \
         acl=world:anyone:cdrwa digest=0x"
    );
    assert!(lines.len() == 3 && lines[2].starts_with(&want), "{dump}");

    let objects = |args: &[&str], place: &Path| -> Vec<Value> {
        let ran = fine(&[&["image", "dump", "--json"], args].concat(), place);
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let paths = |objects: &[Value]| objects.iter().map(|o| o["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let by_name = |mut objects: Vec<Value>| {
        objects.sort_by_key(|object| object["path"].as_str().unwrap().to_owned());
        objects
    };
    let below = by_name(objects(&["--path", "/a/"], &first));
    assert_eq!(paths(&below), ["/a", "/a/e", "/a/x y"]);
    assert_eq!((&below[0]["data_length"], &below[0]["children"]), (&Value::from(-1), &Value::from(2)));
    assert_eq!(below[1]["ephemeral_owner"], "0x100000000000001");
    // A directory is its newest image.
    let all = paths(&by_name(objects(&[], directory.path())));
    assert!(
        all.starts_with(&["/".to_owned(), "/a".to_owned(), "/a/x y".to_owned(), "/b".to_owned(), "/c".to_owned()]),
        "{all:?}"
    );
    let ran = tool(&["image", "dump", "--path", "/none"], &first);
    assert!(ran.code == Some(0) && ran.out.lines().count() == 1 && ran.err.contains("has no znode \"/none\""), "{ran:#?}");
}

#[test]
fn differences_are_told_and_have_their_exit_code() {
    let directory = directory();
    let (first, second) = two(directory.path());
    let name = |path: &Path| path.display().to_string();
    let same = fine(&["image", "compare", &name(&first)], &first);
    assert!(same.out.starts_with("zxid 0x4 to 0x4: 0 added, 0 removed, 0 changed, "), "{same:#?}");
    let ran = tool(&["image", "compare", &name(&second)], &first);
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!((ran.code, &*ran.err, lines.len()), (Some(1), "", 7), "{ran:#?}");
    assert_eq!(lines[0], "- session 0x100000000000001");
    assert!(lines[1].starts_with("~ /  cversion ") && lines[1].contains(" children "), "{ran:#?}");
    assert!(lines[2].starts_with("~ /a  cversion 2 -> 3, children 2 -> 1, pzxid 0x4 -> 0x6"), "{ran:#?}");
    assert_eq!(lines[3], "- /a/e");
    assert_eq!(lines[4], "~ /b  data 3 -> 4, version 0 -> 1, mzxid 0x1 -> 0x5");
    assert_eq!(lines[5], "+ /c");
    assert!(lines[6].starts_with("zxid 0x4 to 0x7: 1 added, 1 removed, 3 changed, "), "{ran:#?}");
    let json = tool(&["image", "compare", &name(&second), "--json"], &first);
    let report = json.json();
    assert_eq!((json.code, &report["added"], &report["changed"]), (Some(1), &1.into(), &3.into()));
    assert_eq!(report["changes"][4]["differences"][0], serde_json::json!({"what": "data", "before": "3", "after": "4"}));
    assert_eq!(report["sessions_removed"], 1);
}

#[test]
fn what_is_large_is_found() {
    let directory = directory();
    let (first, _) = two(directory.path());
    let top = fine(&["image", "top", "1", "--json"], &first).json();
    assert_eq!(top["by_bytes"], serde_json::json!([{"path": "/a", "bytes": 20_012, "znodes": 3}]));
    let text = fine(&["image", "top", "2"], &first).out;
    assert!(text.contains("\nlargest by bytes\n         bytes      znodes  path\n         20012           3  /a\n"), "{text}");
    assert!(text.contains("         20006           1  \"/a/x y\"\n"), "{text}");
}

#[test]
fn damage_anywhere_is_told() {
    let directory = directory();
    let (first, second) = two(directory.path());
    let ran = fine(&["image", "verify"], directory.path());
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("good: ")).count(), 2, "{ran:#?}");
    let good = fine(&["image", "verify", "--json"], &first).json();
    assert_eq!((&good["images"][0]["zxid"], &good["images"][0]["sessions"]), (&"0x4".into(), &1.into()));
    // A copy may have any name.
    let copy = directory.path().join("copy");
    fs::copy(&first, &copy).unwrap();
    fine(&["image", "verify"], &copy);
    fs::copy(&first, directory.path().join("image.00000000000000ff")).unwrap();
    let misnamed = tool(&["image", "verify"], &directory.path().join("image.00000000000000ff"));
    assert!(misnamed.code == Some(1) && misnamed.out.contains("belongs to the image at 0x4"), "{misnamed:#?}");

    let whole = fs::read(&second).unwrap();
    for at in [9, 4096 + 3, 4096 + 40, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&second, &bytes).unwrap();
        let ran = tool(&["image", "verify"], directory.path().join("images").as_path());
        assert_eq!(ran.code, Some(1), "byte {at}: {ran:#?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert!(lines[0].starts_with("good: ") && lines[1].starts_with(&format!("damaged: {} ", second.display())), "{ran:#?}");
        for args in [&["image", "dump"][..], &["image", "top"], &["image", "compare", &first.display().to_string()]] {
            let ran = tool(args, &second);
            assert!(ran.code == Some(1) && ran.out.is_empty() && ran.err.contains("put an intact copy of it back"), "{ran:#?}");
        }
        assert!(fs::read(&second).unwrap() == bytes, "a tool has written");
    }
    fs::write(&second, &whole[..whole.len() - 100]).unwrap();
    let ran = tool(&["image", "verify"], &second);
    assert!(ran.code == Some(1) && ran.out.contains("cut off at offset "), "{ran:#?}");
}

#[test]
fn what_cannot_be_read_is_told_apart_from_damage() {
    let directory = directory();
    for (args, place, what) in [
        (&["image", "verify"][..], directory.path().to_owned(), "no image in "),
        (&["image", "dump"], directory.path().join("none"), "cannot open "),
        (&["image", "top", "0"], directory.path().to_owned(), "invalid value"),
    ] {
        let ran = tool(args, &place);
        assert!(ran.code == Some(2) && ran.out.is_empty() && ran.err.contains(what), "{ran:#?}");
    }
}
