//! Durable: what a server finds in its log. The state it left, a torn end, damage, other people's files, many segments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use ringkeeper::client::answer::Body;
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::ground::ids::SessionId;
use ringkeeper::proto::acl::{self, Acl};
use ringkeeper::proto::stat::Stat;

use super::harness::{Setup, both, directory, eventually};

both!(
    a_killed_server_comes_back_as_it_was,
    many_segments_are_read_back,
    a_torn_tail_is_cut_off_with_one_warning,
    damage_below_the_durable_mark_is_refused,
    data_of_an_earlier_release_open,
);

const BLOCK: usize = 4096;

/// Directories that earlier releases left when they were killed (`scripts/record-data.sh`).
const RELEASES: [&str; 1] = ["data-0.1.0"];

/// All that a client can see of a znode.
#[derive(Debug, PartialEq, Clone)]
struct Seen {
    data: Option<Vec<u8>>,
    stat: Stat,
    acl: Vec<Acl>,
    children: Vec<String>,
}

/// All that a client can see of the tree, but for the quarters that belong to the server.
fn everything(client: &mut Client) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::new();
    let mut rest = vec!["/".to_owned()];
    while let Some(path) = rest.pop() {
        let Body::Data(data, stat) = client.call(&Ask::GetData { path: &path, watch: false }).unwrap() else { panic!("{path}") };
        let Body::Acl(acl, _) = client.call(&Ask::GetAcl { path: &path }).unwrap() else { panic!("{path}") };
        let (children, _) = client.children(&path, false).unwrap();
        rest.extend(children.iter().map(|name| format!("{}/{name}", path.trim_end_matches('/'))));
        all.insert(path, Seen { data, stat, acl, children });
    }
    all
}

fn as_friend(mut client: Client) -> Client {
    client.auth("digest", b"friend:secret").unwrap();
    client
}

fn create(client: &mut Client, path: &str, data: Option<&[u8]>, acl: &[Acl], mode: CreateMode) -> String {
    match client.call(&Ask::Create { path, data, acl, mode }).unwrap() {
        Body::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

fn a_killed_server_comes_back_as_it_was(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let server = setup.start();
    let open = [Acl::open()];
    let mut client = as_friend(server.client());
    let mut owner = server.client();

    create(&mut client, "/null", None, &open, CreateMode::Persistent);
    create(&mut client, "/empty", Some(b""), &open, CreateMode::Persistent);
    create(&mut client, "/\u{e9}\u{4e16} .-~", Some(&[0, 255, 7]), &open, CreateMode::Persistent);
    create(&mut client, "/large", Some(&vec![b'l'; 1_000_000]), &open, CreateMode::Persistent);
    let friends =
        [Acl::new(acl::READ, "world", "anyone"), Acl::new(acl::ALL, "auth", ""), Acl::new(acl::WRITE, "ip", "10.0.0.0/8")];
    create(&mut client, "/guarded", Some(b"g"), &friends, CreateMode::Persistent);
    client.call(&Ask::SetAcl { path: "/empty", acl: &friends, version: 0 }).unwrap();
    create(&mut client, "/queue", None, &open, CreateMode::Persistent);
    for i in 0..10 {
        let got = create(&mut client, "/queue/n-", None, &open, CreateMode::PersistentSequential);
        assert_eq!(got, format!("/queue/n-{i:010}"));
    }
    // The counter goes on from here, though the last is gone.
    client.delete("/queue/n-0000000009", -1).unwrap();
    client.delete("/queue/n-0000000003", 0).unwrap();
    for version in 0..5 {
        client.set("/null", b"x", version).unwrap();
    }
    client.call(&Ask::SetData { path: "/null", data: None, version: 5 }).unwrap();
    create(&mut owner, "/mine", Some(b"m"), &open, CreateMode::Ephemeral);
    let sequential = create(&mut owner, "/queue/e-", None, &open, CreateMode::EphemeralSequential);
    let mut gone = server.client();
    create(&mut gone, "/gone", None, &open, CreateMode::Ephemeral);
    gone.close().unwrap();
    let multi = [
        Ask::Create { path: "/m", data: Some(b"1"), acl: &open, mode: CreateMode::Persistent },
        Ask::SetData { path: "/m", data: Some(b"2"), version: 0 },
        Ask::Create { path: "/m/k", data: None, acl: &open, mode: CreateMode::Persistent },
        Ask::Delete { path: "/m/k", version: -1 },
        Ask::Check { path: "/m", version: 1 },
    ];
    client.multi(&multi).unwrap();
    // Refusals are transactions too, and change nothing.
    client.create("/m", b"", CreateMode::Persistent).unwrap_err();
    client.multi(&[Ask::Delete { path: "/queue", version: -1 }, Ask::Delete { path: "/m", version: -1 }]).unwrap_err();

    let before = everything(&mut client);
    let zxid = client.last_zxid();
    let (friend, owner) = (client.abandon(), owner.abandon());
    server.kill();

    let server = setup.start();
    // What each transaction says of the digest of the tree is compared while the log is read: a difference is a refusal.
    assert!(server.lines()[0].ends_with(&format!(" zxid {zxid}")), "{zxid}: {:#?}", server.lines());
    let mut client = as_friend(server.attach(friend));
    let after = everything(&mut client);
    for (path, seen) in &before {
        assert_eq!(after.get(path), Some(seen), "{path}");
    }
    assert_eq!(after.len(), before.len());
    assert_eq!((after["/null"].data.clone(), after["/empty"].data.clone()), (None, Some(Vec::new())));
    assert_eq!(SessionId(after["/mine"].stat.ephemeral_owner), owner.session);
    assert!(!after.contains_key("/gone"));
    assert_eq!(create(&mut client, "/queue/n-", None, &open, CreateMode::PersistentSequential), "/queue/n-0000000011");
    let owner = server.attach(owner);
    owner.close().unwrap();
    for path in ["/mine", &sequential] {
        assert_eq!(client.exists(path, false).unwrap(), None);
    }
    // A stranger is still kept out.
    let mut stranger = server.client();
    let refusal = stranger.set("/guarded", b"", -1).unwrap_err().refusal().unwrap();
    assert_eq!(refusal.0, -102);
    server.stop();
    // And by way of a clean stop.
    let server = setup.start();
    let mut client = as_friend(server.client());
    let again = everything(&mut client);
    assert_eq!(again["/large"], before["/large"]);
    assert_eq!(again["/queue"].stat.cversion, before["/queue"].stat.cversion + 2);
}

fn fill(client: &mut Client, from: usize, to: usize, data: &[u8]) {
    let acl = [Acl::open()];
    for chunk in (from..to).collect::<Vec<_>>().chunks(32) {
        for i in chunk {
            let path = format!("/f{i:05}");
            client.submit(&Ask::Create { path: &path, data: Some(data), acl: &acl, mode: CreateMode::Persistent }).unwrap();
        }
        for _ in chunk {
            client.next_reply().unwrap().result.unwrap();
        }
    }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(directory.join("data/log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log."))
        .collect();
    all.sort();
    all
}

/// Offsets of the batches of a segment, and whether each has records.
fn batches(bytes: &[u8]) -> Vec<(usize, bool)> {
    let heads = bytes.chunks(BLOCK).enumerate().filter(|(_, block)| block.starts_with(b"RKBATCH\0"));
    heads.map(|(i, block)| (i * BLOCK, block[12..16] != [0; 4])).collect()
}

fn many_segments_are_read_back(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let server = setup.start();
    let mut client = server.client();
    let data = vec![b's'; 200_000];
    fill(&mut client, 0, 300, &data);
    let before = everything(&mut client);
    server.kill();
    let used = segments(directory.path()).iter().filter(|path| batches(&fs::read(path).unwrap()).len() > 1).count();
    assert!(used >= 4, "60 MB in segments of 16 MiB, and {used} are used");
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(everything(&mut client), before);
    fill(&mut client, 300, 400, &data);
    server.kill();
    let server = setup.start();
    assert_eq!(server.client().children("/", false).unwrap().0.len(), 401);
    let said = server.stop();
    assert!(said.len() == 1, "{said:#?}");
}

/// The zxid in the watermark beside the log: that of the later of its two slots.
fn watermark(directory: &Path) -> Option<u64> {
    let bytes = fs::read(directory.join("data/log/state/watermark")).ok()?;
    let word = |at: usize| bytes.get(at..at + 8).map(|word| u64::from_be_bytes(word.try_into().unwrap()));
    word(if word(16)? > word(BLOCK + 16)? { 24 } else { BLOCK + 24 })
}

/// A log of a few batches, and a mark at its end that says that they were durable.
fn marked_log(setup: &Setup, directory: &Path) -> (PathBuf, Vec<(usize, bool)>, String) {
    let server = setup.start();
    let mut client = server.client();
    for i in 0..20 {
        client.create(&format!("/a{i}"), b"some data", CreateMode::Persistent).unwrap();
    }
    let zxid = client.last_zxid().to_string();
    let path = segments(directory)[0].clone();
    server.stop();
    let found = batches(&fs::read(&path).unwrap());
    assert!(found.len() > 10 && found.last().is_some_and(|(_, records)| !records), "{found:?}");
    (path, found, zxid)
}

/// What is done to a segment whose last batch begins at this offset.
type Injury = fn(&mut Vec<u8>, usize);

/// What is torn is the mark itself, or lies behind it: all that was acknowledged is before it.
fn a_torn_tail_is_cut_off_with_one_warning(shards: &[&str]) {
    let injuries: [(&str, usize, Injury); 4] = [
        ("the last batch half written", 1, |bytes, last| bytes[last + 60..last + 80].fill(0)),
        // That the file has its size again is told as well.
        ("the file cut short within the last batch", 2, |bytes, last| bytes.truncate(last + 50)),
        ("garbage behind the last batch", 1, |bytes, last| bytes[last + BLOCK..last + 3 * BLOCK].fill(0xa5)),
        ("a batch of another time behind the last", 1, |bytes, last| {
            let stale = bytes[BLOCK..2 * BLOCK].to_vec();
            bytes[last + BLOCK..last + 2 * BLOCK].copy_from_slice(&stale);
        }),
    ];
    for (what, warnings, injure) in injuries {
        let directory = directory();
        let setup = Setup::new(directory.path(), shards);
        let (path, found, zxid) = marked_log(&setup, directory.path());
        let mut bytes = fs::read(&path).unwrap();
        injure(&mut bytes, found.last().unwrap().0);
        fs::write(&path, bytes).unwrap();
        let server = setup.start();
        let mut client = server.client();
        assert_eq!(client.children("/", false).unwrap().0.len(), 21, "{what}");
        client.create("/after", b"", CreateMode::Persistent).unwrap();
        let said = server.stop();
        assert_eq!(said.len(), warnings + 1, "{what}: {said:#?}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said[0].contains("WARN") && said[0].contains(name) && said[0].contains("offset"), "{what}: {said:#?}");
        assert!(said[warnings].ends_with(&format!("zxid {zxid}")), "{what}: {said:#?}");
        let server = setup.start();
        assert_eq!(server.client().children("/", false).unwrap().0.len(), 22, "{what}");
        assert_eq!(server.stop().len(), 1, "{what}: it is mended");
    }
}

fn damage_below_the_durable_mark_is_refused(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let (path, found, _) = marked_log(&setup, directory.path());
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&path).unwrap();
    // In the payload and in the header; of the first batch and of one in the middle.
    for (batch, at) in [(0, 100), (0, 30), (found.len() / 2, 90), (found.len() / 2, 8)] {
        let offset = found[batch].0;
        let mut bytes = whole.clone();
        bytes[offset + at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let line = setup.refused();
        for part in [&name, &format!("damaged at offset {offset} "), "transactions 0x", "durable up to 0x"] {
            assert!(line.contains(part), "{part:?} in {line}");
        }
        assert!(fs::read(&path).unwrap() == bytes, "nothing is written to a log that is refused");
    }
    fs::write(&path, &whole).unwrap();
    let server = setup.start();
    assert_eq!(server.client().children("/", false).unwrap().0.len(), 21);
}

#[test]
fn a_missing_segment_is_refused() {
    let directory = directory();
    let setup = Setup::new(directory.path(), &[]);
    let server = setup.start();
    fill(&mut server.client(), 0, 200, &vec![b's'; 200_000]);
    server.kill();
    let second = segments(directory.path())[1].clone();
    let aside = directory.path().join("aside");
    fs::rename(&second, &aside).unwrap();
    let line = setup.refused();
    assert!(line.contains("log.0000000000000002 missing") && line.contains("restore the file"), "{line}");
    fs::rename(&aside, &second).unwrap();
    let server = setup.start();
    assert_eq!(server.client().children("/", false).unwrap().0.len(), 201);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = directory();
    let setup = Setup::new(directory.path(), &[]);
    let (path, ..) = marked_log(&setup, directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&3u32.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..BLOCK - 4]);
    bytes[BLOCK - 4..BLOCK].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let line = setup.refused();
    assert!(line.contains("log.0000000000000001 has format version 3") && line.contains("nothing was changed"), "{line}");
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn data_of_a_zookeeper_server_is_refused_and_left_alone() {
    for file in ["snapshot.0", "log.1"] {
        let directory = directory();
        let theirs = directory.path().join("data/version-2");
        fs::create_dir_all(&theirs).unwrap();
        fs::write(theirs.join(file), b"ZKSN").unwrap();
        let line = Setup::new(directory.path(), &[]).refused();
        assert!(line.contains(&theirs.display().to_string()) && line.contains(file), "{line}");
        assert!(line.contains("choose another data directory"), "{line}");
        assert!(!directory.path().join("data/log").exists());
    }
}

/// A server was killed, and its last batch is damaged: the watermark, written soon after the last flush, knows that it was durable.
#[test]
fn the_end_of_the_log_is_vouched_for() {
    let directory = directory();
    let setup = Setup::new(directory.path(), &[]);
    let server = setup.start();
    let mut client = server.client();
    for i in 0..20 {
        client.create(&format!("/a{i}"), b"some data", CreateMode::Persistent).unwrap();
    }
    let last = client.last_zxid().0;
    eventually("the watermark", || (watermark(directory.path()) == Some(last)).then_some(()));
    server.kill();
    let path = segments(directory.path())[0].clone();
    let whole = fs::read(&path).unwrap();
    let found = batches(&whole);
    assert!(found.iter().all(|(_, records)| *records), "no marks while it runs");
    let mut bytes = whole.clone();
    let offset = found.last().unwrap().0;
    bytes[offset + 90] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let line = setup.refused();
    assert!(line.contains(&format!("damaged at offset {offset} ")) && line.contains(&format!("{last:#x}")), "{line}");
    fs::write(&path, &whole).unwrap();
    assert_eq!(setup.start().client().children("/", false).unwrap().0.len(), 21);
}

#[test]
fn what_is_beside_the_log_is_judged_and_mended() {
    let directory = directory();
    let setup = Setup::new(directory.path(), &[]);
    marked_log(&setup, directory.path());
    let log = directory.path().join("data/log");
    let state = log.join("state");
    let starts = |lines: usize| {
        let server = setup.start();
        assert_eq!(server.client().children("/", false).unwrap().0.len(), 21);
        let said = server.stop();
        assert_eq!(said.len(), lines + 1, "{said:#?}");
        said
    };
    // Row 20.
    fs::write(directory.path().join("data/myid"), "7\n").unwrap();
    let line = setup.refused();
    assert!(line.contains("data belongs to server 1, this one is 7") && line.contains("set myid to 1"), "{line}");
    fs::remove_file(directory.path().join("data/myid")).unwrap();
    starts(0);
    // Row 17.
    let mut promise = fs::read(state.join("promise")).unwrap();
    promise[BLOCK + 40] ^= 1;
    fs::write(state.join("promise"), &promise).unwrap();
    assert!(starts(1)[0].contains("epoch slot 1 repaired"));
    starts(0);
    // Row 16, and the way out of it.
    fs::remove_file(state.join("promise")).unwrap();
    let line = setup.refused();
    assert!(
        line.contains("epoch record lost: state/promise is missing") && line.contains("move the directory state away"),
        "{line}"
    );
    fs::rename(&state, directory.path().join("aside")).unwrap();
    // As for a directory of the release before, which has none of it.
    assert!(starts(1)[0].contains("the directory state is missing"));
    assert!(state.join("promise").is_file(), "made anew");
    // Row 10.
    fs::write(log.join("segment.tmp"), b"half a segment").unwrap();
    fs::create_dir_all(directory.path().join("data/images")).unwrap();
    fs::write(directory.path().join("data/images/image.tmp"), b"half an image").unwrap();
    let said = setup.clone().args(&["--log-level", "info"]).start().stop();
    for line in ["removing unfinished segment", "removing unfinished image"] {
        let told = said.iter().find(|told| told.contains(line)).unwrap_or_else(|| panic!("{line} in {said:#?}"));
        assert!(told.contains("1") && told.contains(" bytes from offset 0, after zxid 0x"), "{told}");
    }
    assert!(!directory.path().join("data/images/image.tmp").exists());
    // There may be another one by now, of a segment that is made ahead of use.
    assert!(fs::metadata(log.join("segment.tmp")).map_or(0, |left| left.len()) != 14);
    starts(0);
}

fn data_of_an_earlier_release_open(shards: &[&str]) {
    for release in RELEASES {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(release);
        let directory = directory();
        let log = directory.path().join("data/log");
        fs::create_dir_all(&log).unwrap();
        for entry in fs::read_dir(&golden).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "gz") {
                let mut file = fs::File::create(log.join(path.file_stem().unwrap())).unwrap();
                std::io::copy(&mut flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()), &mut file).unwrap();
            }
        }
        let text = fs::read_to_string(golden.join("nodes.json")).unwrap();
        let nodes: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let numbers = |stat: &Stat| {
            let zxids = [stat.czxid, stat.mzxid].map(|zxid| zxid.as_wire());
            let versions = [stat.version, stat.cversion, stat.aversion].map(i64::from);
            let rest = [stat.ephemeral_owner, stat.data_length.into(), stat.num_children.into(), stat.pzxid.as_wire()];
            [&zxids[..], &[stat.ctime, stat.mtime], &versions, &rest].concat()
        };
        // Twice: from what the earlier release left, and from what this one made of it.
        for told in [1, 0] {
            let server = Setup::new(directory.path(), shards).start();
            let mut client = as_friend(server.client());
            client.auth("digest", b"user:word").unwrap();
            let all = everything(&mut client);
            assert_eq!(all.keys().collect::<Vec<_>>(), nodes.keys().collect::<Vec<_>>(), "{release}");
            for (path, seen) in &all {
                let node = &nodes[path];
                let stat: Vec<i64> = node["stat"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
                assert_eq!(numbers(&seen.stat), stat, "{path}");
                let data = node["data"].as_str().map(|data| base64::engine::general_purpose::STANDARD.decode(data).unwrap());
                assert_eq!(seen.data, data, "{path}");
            }
            let said = server.stop();
            let upgrade = said.iter().filter(|line| line.contains("as after an upgrade from release 0.1.0")).count();
            assert_eq!((upgrade, said.len()), (told, told + 1), "{release}: {said:#?}");
        }
    }
}
