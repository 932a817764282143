//! Log: `ringkeeper log` as a process, on what a real server wrote, while it runs, after it, and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::proto::acl::Acl;
use serde_json::Value;

use super::harness::{Setup, both, directory};
use super::{fine, tool};

both!(every_transaction_is_dumped, a_log_is_read_while_it_grows, damage_is_told_as_the_server_tells_it);

const BLOCK: usize = 4096;

fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("data/log/log.{number:016x}"))
}

/// Files and their bytes, to see that nothing was changed.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.append(&mut contents(&path)) } else { drop(files.insert(path.clone(), fs::read(path).unwrap())) }
    }
    files
}

/// Something of every kind; returns the session.
fn write_all_kinds(client: &mut Client) -> String {
    let open = [Acl::open()];
    client.create("/a", b"first", CreateMode::Persistent).unwrap();
    client.set("/a", b"second", 0).unwrap();
    client
        .call(&Ask::SetAcl { path: "/a", acl: &[Acl::new(31, "world", "anyone"), Acl::new(1, "ip", "10.0.0.0/8")], version: 0 })
        .unwrap();
    client.create("/a/two words", b"", CreateMode::Ephemeral).unwrap();
    client.create("/a", b"", CreateMode::Persistent).unwrap_err();
    let members = [
        Ask::Create { path: "/m", data: None, acl: &open, mode: CreateMode::Persistent },
        Ask::SetData { path: "/m", data: Some(b"x"), version: 0 },
        Ask::Check { path: "/m", version: 1 },
        Ask::Delete { path: "/m", version: 1 },
    ];
    client.multi(&members).unwrap();
    client.session_id().to_string()
}

fn every_transaction_is_dumped(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let server = setup.start();
    let mut client = server.client();
    let session = write_all_kinds(&mut client);
    client.close().unwrap();
    server.stop();
    let data = directory.path().join("data");
    let before = contents(&data.join("log"));

    let dump = fine(&["log", "dump", "--data", "utf8"], &data);
    // What differs from run to run: the session, the time, which is UTC in a fixed form, and the digest.
    let lines: Vec<String> = dump
        .out
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            assert!(words[1].len() == 24 && words[1].ends_with('Z') && words[1].as_bytes()[10] == b'T', "{line}");
            assert_eq!(words[2], format!("session={session}"), "{line}");
            let (rest, digest) = line.split_once(" digest=").unwrap_or((line, "0x0000000000000000"));
            assert_eq!(digest.len(), 18, "{line}");
            format!("{} {}", words[0], rest.splitn(4, ' ').nth(3).unwrap())
        })
        .collect();
    let open = "acl=world:anyone:cdrwa";
    let want = [
        "0x1 cxid=0 createSession timeout=30000ms".to_owned(),
        format!("0x2 cxid=1 create2 /a data=5 \"first\" {open} parent_cversion=1"),
        "0x3 cxid=2 setData /a data=6 \"second\" version=1".to_owned(),
        format!("0x4 cxid=3 setACL /a version=1 {open},ip:10.0.0.0/8:r"),
        format!("0x5 cxid=4 create2 \"/a/two words\" data=0 \"\" ephemeral {open} parent_cversion=1"),
        "0x6 cxid=5 error NodeExists(-110)".to_owned(),
        "0x7 cxid=6 multi members=4".to_owned(),
        format!("0x7 cxid=6 multi.0 create /m data=null {open} parent_cversion=2"),
        "0x7 cxid=6 multi.1 setData /m data=1 \"x\" version=1".to_owned(),
        "0x7 cxid=6 multi.2 check /m version=2".to_owned(),
        "0x7 cxid=6 multi.3 delete /m".to_owned(),
        "0x8 cxid=7 closeSession \"/a/two words\"".to_owned(),
    ];
    assert_eq!(lines, want, "{}", dump.out);

    // Picked, in the form for programs, and from the directory of the segments itself.
    let log = data.join("log");
    let zxids = |args: &[&str]| -> Vec<String> {
        let ran = fine(&[&["log", "dump", "--json"], args].concat(), &log);
        let objects = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects.map(|object| object["zxid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(zxids(&["--from", "0x2", "--to", "4"]), ["0x2", "0x3", "0x4"]);
    assert_eq!(zxids(&["--path", "/a"]), ["0x2", "0x3", "0x4", "0x5", "0x8"]);
    assert_eq!(zxids(&["--path", "/m"]), ["0x7"]);
    assert_eq!(zxids(&["--session", &session, "--from", "0x8"]), ["0x8"]);
    assert_eq!(zxids(&["--session", "0x1"]), [""; 0]);
    let close: Value = serde_json::from_str(&fine(&["log", "dump", "--json", "--from", "8"], &log).out).unwrap();
    assert_eq!((&close["type"], &close["paths"][0], &close["cxid"]), (&"closeSession".into(), &"/a/two words".into(), &7.into()));

    let batches = fine(&["log", "dump", "--batches"], &log).out;
    let heads: Vec<_> = batches.lines().filter(|line| line.starts_with("# ")).collect();
    assert!(heads[0].starts_with("# batch 1 log.0000000000000001 offset=4096 records=1 "), "{batches}");
    assert!(heads[0].contains(" bytes=4096 first=0x1 last=0x1 durable=0x0 committed=0x0"), "{batches}");
    let last = heads.last().unwrap();
    assert!(last.starts_with("# mark ") && last.contains(" durable=0x8 committed=0x8"), "{batches}");

    let verify = fine(&["log", "verify"], &data).out;
    assert!(verify.starts_with(&format!("clean: {}\n", log.display())), "{verify}");
    assert!(verify.contains("  transactions  8, zxid 0x1..0x8\n  known durable 0x8, known committed 0x8\n"), "{verify}");

    let stats = fine(&["log", "stats", "--json", "--top", "1"], &data).json();
    assert_eq!((&stats["transactions"], &stats["types"]["create2"]["count"]), (&8.into(), &2.into()));
    assert_eq!((&stats["hottest"][0]["path"], &stats["hottest"][0]["writes"]), (&"/a".into(), &3.into()));
    assert_eq!((&stats["sessions_created"], &stats["errors"]["NodeExists(-110)"]), (&1.into(), &1.into()));
    let stats = fine(&["log", "stats"], &data).out;
    assert!(stats.contains("\nhottest znodes, writes\n           3  /a\n"), "{stats}");
    assert!(contents(&log) == before, "a tool has written");
}

fn a_log_is_read_while_it_grows(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let server = setup.start();
    let data = directory.path().join("data");
    server.client().create("/z", b"", CreateMode::Persistent).unwrap();
    let done = AtomicBool::new(false);
    let (mut client, written) = (server.client(), vec![b'd'; 60_000]);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut version = 0;
            while !done.load(Ordering::Relaxed) {
                for i in 0..8 {
                    client.submit(&Ask::SetData { path: "/z", data: Some(&written), version: version + i }).unwrap();
                }
                for _ in 0..8 {
                    client.next_reply().unwrap().result.unwrap();
                }
                version += 8;
            }
            version
        });
        let mut before = 0;
        // Until the log has gone on to another segment, and once more.
        let mut crossed = 0;
        while crossed < 2 {
            let ran = tool(&["log", "verify", "--json"], &data);
            let report = ran.json();
            assert_eq!((ran.code, &report["state"], &report["in_use"]), (Some(0), &"clean".into(), &true.into()), "{ran:#?}");
            assert!(ran.err.lines().count() == 1 && ran.err.contains("a server works on"), "{ran:#?}");
            let transactions = report["transactions"].as_u64().unwrap();
            assert!(transactions >= before, "{ran:#?}");
            before = transactions;
            crossed += u64::from(report["segments"].as_u64().unwrap() > 1);
            let dump = tool(&["log", "dump", "--from", "0x2"], &data);
            assert!(dump.code == Some(0) && dump.out.lines().count() as u64 >= transactions.saturating_sub(1), "{:?}", dump.code);
        }
        done.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0);
    });
    let last = client.last_zxid().to_string();
    client.close().unwrap();
    server.stop();
    let report = fine(&["log", "verify", "--json"], &data).json();
    assert_eq!((&report["state"], &report["in_use"]), (&"clean".into(), &false.into()));
    assert!(fine(&["log", "dump", "--from", &last], &data).out.lines().count() == 2, "the last, and the end of the session");
    // The tools have not kept a server out, and have left what it can go on with.
    setup.start().stop();
}

/// A log that ends in a mark, of a server that was stopped: where its batches begin.
fn marked(setup: &Setup, first: &Path) -> Vec<usize> {
    let server = setup.start();
    let mut client = server.client();
    (0..10).for_each(|i| drop(client.create(&format!("/a{i}"), b"data", CreateMode::Persistent).unwrap()));
    server.stop();
    let bytes = fs::read(first).unwrap();
    let heads: Vec<_> = (BLOCK..bytes.len()).step_by(BLOCK).filter(|at| bytes[*at..].starts_with(b"RKBATCH\0")).collect();
    assert_eq!(bytes[*heads.last().unwrap() + 12..][..4], [0; 4], "a mark has no records");
    heads
}

fn damage_is_told_as_the_server_tells_it(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let (data, first) = (directory.path().join("data"), segment(directory.path(), 1));
    let heads = marked(&setup, &first);
    let whole = fs::read(&first).unwrap();
    fine(&["log", "verify"], &data);

    // Rot in the middle: refused, with the server's own words.
    let bad = heads[heads.len() / 2];
    let mut bytes = whole.clone();
    bytes[bad + 90] ^= 1;
    fs::write(&first, &bytes).unwrap();
    let ran = tool(&["log", "verify"], &data);
    assert_eq!((ran.code, &*ran.err), (Some(1), ""), "{ran:#?}");
    let line = ran.out.lines().next().unwrap();
    let told = line.strip_prefix(&format!("damaged: {}: ", data.join("log").display())).unwrap_or_else(|| panic!("{line}"));
    assert!(told.starts_with(&format!("log.0000000000000001 damaged at offset {bad} (")) && told.contains("rejoin"), "{told}");
    assert!(setup.refused().contains(told), "the server says otherwise than {told}");
    let ran = tool(&["log", "verify", "--json"], &data);
    let report = ran.json();
    assert_eq!((ran.code, &report["state"], &report["damaged_at"][1]), (Some(1), &"damaged".into(), &bad.into()));
    // What is before it can be read.
    let ran = tool(&["log", "dump"], &data);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(1), heads.len() / 2), "{ran:#?}");
    assert!(ran.err.contains(told), "{ran:#?}");
    assert_eq!(tool(&["log", "stats"], &data).code, Some(1));

    // Garbage behind the end: a torn tail, and what would be erased.
    let end = heads.last().unwrap() + BLOCK;
    let mut bytes = whole.clone();
    bytes[end..end + 2 * BLOCK].fill(0xa5);
    fs::write(&first, &bytes).unwrap();
    let ran = fine(&["log", "verify"], &data);
    assert!(ran.out.starts_with("torn tail: "), "{ran:#?}");
    assert!(ran.out.contains(&format!("  would erase   log.0000000000000001 from offset {end}, 8192 bytes\n")), "{ran:#?}");
    let report = fine(&["log", "verify", "--json"], &data).json();
    assert_eq!((&report["state"], &report["erase"][0]["offset"], &report["end"][1]), (&"torn".into(), &end.into(), &end.into()));
    assert!(fs::read(&first).unwrap() == bytes, "a tool has written");
    setup.start().stop();
    assert!(fine(&["log", "verify"], &data).out.starts_with("clean: "));
}

#[test]
fn what_cannot_be_read_is_told_apart_from_damage() {
    let directory = directory();
    for (args, dir, what) in [
        (&["log", "verify"][..], directory.path().join("none"), "cannot list "),
        (&["log", "dump"], directory.path().to_owned(), "no log in "),
        (&["log", "stats", "--top", "x"], directory.path().to_owned(), "invalid value"),
    ] {
        let ran = tool(args, &dir);
        assert!(ran.code == Some(2) && ran.out.is_empty() && ran.err.contains(what), "{ran:#?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let directory = directory();
    let setup = Setup::new(directory.path(), &[]);
    let server = setup.start();
    let mut client = server.client();
    for _ in 0..400 {
        client.submit(&Ask::SetData { path: "/", data: Some(&[b'x'; 1000]), version: -1 }).unwrap();
    }
    for _ in 0..400 {
        client.next_reply().unwrap().result.unwrap();
    }
    server.stop();
    let mut dump = Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
        .args(["log", "dump", "--data", "hex"])
        .arg(directory.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(dump.stdout.take());
    let output = dump.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
