//! Migrate: data directories that real ZooKeeper servers wrote (`scripts/record-migrate.sh`), taken in, damaged, and given back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use ringkeeper::client::answer::Body;
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::ground::ids::Zxid;
use ringkeeper::migrate::export::{ExportError, Exported, State, export};
use ringkeeper::migrate::import::{From, ImportError, Report, import};
use ringkeeper::migrate::imported::Imported;
use ringkeeper::migrate::progress::Progress;
use ringkeeper::tree::record::Record;

#[path = "../server/harness.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "shared with the tests of the server, which use all of it")]
mod harness;
mod moves;

const GOLDEN: [&str; 5] = ["3.8", "3.9", "3.9-gz", "3.9-snappy", "3.9-fuzzy"];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/migrate").join(name)
}

fn read(dir: &Path) -> Result<(Imported, Report), ImportError> {
    let from = From { data_dir: dir.to_owned(), log_dir: None, ignore_digest: false };
    import(&from, &mut Progress::new(&mut |_| ()))
}

fn write(imported: &Imported, to: &Path) -> Result<Exported, ExportError> {
    let state = State { zxid: imported.zxid, sessions: &imported.sessions, digest: imported.digest };
    export(to, &state, imported.znode_refs(), &mut Progress::new(&mut |_| ()))
}

/// A copy of a golden directory that may be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("version-2")).unwrap();
    for entry in fs::read_dir(golden(name).join("version-2")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, copy.path().join("version-2").join(from.file_name().unwrap())).unwrap();
    }
    copy
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("version-2")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What a client had read from the server that wrote the directory: data, ACL and Stat of each znode without an owner.
fn seen_by_a_client(name: &str) -> BTreeMap<String, (Vec<u8>, serde_json::Value, Vec<i64>)> {
    let text = fs::read_to_string(golden(name).join("nodes.json")).unwrap();
    let nodes: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let decode = |(path, node): (String, serde_json::Value)| {
        let data = base64::engine::general_purpose::STANDARD.decode(node["data"].as_str().unwrap()).unwrap();
        let stat = node["stat"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
        (path, (data, node["acl"].clone(), stat))
    };
    nodes.into_iter().map(decode).collect()
}

fn stat_of(record: &Record) -> Vec<i64> {
    let s = record.stat();
    let counts = [s.version, s.cversion, s.aversion].map(i64::from);
    let long = [s.czxid.as_wire(), s.mzxid.as_wire(), s.ctime, s.mtime];
    let rest = [s.ephemeral_owner, i64::from(s.data_length), i64::from(s.num_children), s.pzxid.as_wire()];
    [&long[..], &counts, &rest].concat()
}

#[test]
fn what_a_client_had_read_is_what_is_imported() {
    for name in GOLDEN {
        let (imported, report) = read(&golden(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(report.warnings, [""; 0], "{name}");
        // The last transaction creates an ephemeral: its digest is in the log.
        assert_eq!((report.verified, report.is_verified), (Some(imported.zxid), true), "{name}");
        let mut seen = seen_by_a_client(name);
        let mut ephemerals = BTreeMap::new();
        for znode in &imported.znodes {
            let record = Record::new(&znode.path, znode.data.as_deref(), None, &znode.stored);
            if record.is_ephemeral() {
                ephemerals.entry(record.owner()).or_insert_with(Vec::new).push(znode.path.to_string());
                continue;
            }
            if znode.path.starts_with("/bulk/") {
                continue;
            }
            let (data, acl, stat) = seen.remove(&*znode.path).unwrap_or_else(|| panic!("{name}: {}", znode.path));
            assert_eq!(znode.data.as_deref().unwrap_or_default(), data, "{name}: {}", znode.path);
            let ours: Vec<_> = znode.acl.iter().map(|a| serde_json::json!([a.perms, a.scheme, a.id])).collect();
            assert_eq!(serde_json::Value::from(ours), acl, "{name}: {}", znode.path);
            assert_eq!(stat_of(&record), stat, "{name}: {}", znode.path);
        }
        assert!(seen.is_empty(), "{name}: {:?} missing", seen.keys());
        let timeouts: BTreeMap<_, _> = imported.sessions.iter().copied().collect();
        let last = ephemerals.iter().find(|(_, paths)| paths[0].starts_with("/last/eph-")).unwrap();
        assert_eq!((last.1.len(), timeouts[last.0]), (4, 25_000), "{name}");
        assert!(ephemerals.keys().all(|session| timeouts.contains_key(session)), "{name}");
        assert!(timeouts.values().any(|&timeout| timeout == 40_000), "{name}");
    }
}

#[test]
fn fuzzy_snapshots_converge_on_one_state() {
    let whole = read(&golden("3.9-fuzzy")).unwrap().0;
    let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("/snapshot.");
    let (snapshots, logs): (Vec<_>, Vec<_>) = files(&golden("3.9-fuzzy")).into_iter().partition(is_snapshot);
    let mut fuzzy = 0;
    for snapshot in &snapshots {
        let name = snapshot.file_name().unwrap().to_str().unwrap();
        let zxid = Zxid(u64::from_str_radix(name.split('.').nth(1).unwrap(), 16).unwrap());
        let alone = tempfile::tempdir().unwrap();
        let dir = alone.path().join("version-2");
        fs::create_dir(&dir).unwrap();
        fs::copy(snapshot, dir.join(name)).unwrap();
        // Without the log a fuzzy one is known not to be whole.
        match read(alone.path()) {
            Err(ImportError::ShortLog { snapshot, last }) if snapshot > last && last == zxid => fuzzy += 1,
            Ok((imported, report)) => assert_eq!((imported.zxid, report.verified), (zxid, Some(zxid))),
            Err(error) => panic!("{name}: {error}"),
        }
        logs.iter().for_each(|log| _ = fs::copy(log, dir.join(log.file_name().unwrap())).unwrap());
        let (imported, report) = read(alone.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.verified, Some(imported.zxid), "{name}");
        assert!(imported == whole, "{name} ends in another state");
    }
    eprintln!("{fuzzy} of {} snapshots are fuzzy", snapshots.len());
    assert!(fuzzy > 0);
}

#[test]
fn what_is_exported_is_imported_again() {
    for name in GOLDEN {
        let (imported, _) = read(&golden(name)).unwrap();
        let to = tempfile::tempdir().unwrap();
        let exported = write(&imported, &to.path().join("new")).unwrap();
        assert_eq!(exported.znodes, imported.znodes.len());
        assert_eq!(exported.warnings.len(), usize::from(name == "3.9"), "{:?}", exported.warnings);
        let (again, report) = read(&to.path().join("new")).unwrap();
        assert_eq!(again, imported, "{name}");
        assert_eq!(report.verified, Some(imported.zxid));
        assert!(matches!(write(&imported, to.path()), Err(ExportError::NotEmpty(_))));
    }
}

/// What a damaged copy may be read as: the same, less with a warning, or nothing.
fn sound(dir: &Path, whole: &Imported, what: &str) {
    match read(dir) {
        Ok((imported, report)) if report.warnings.is_empty() => assert!(imported == *whole, "{what} is read as something else"),
        Ok((imported, _)) => assert!(imported.zxid <= whole.zxid, "{what}"),
        Err(error) => assert_eq!(error.to_string().lines().count(), 1),
    }
}

#[test]
fn a_flipped_bit_is_never_read_as_something_else() {
    for name in GOLDEN {
        let copy = copy(name);
        let (whole, _) = read(copy.path()).unwrap();
        for path in files(copy.path()) {
            let bytes = fs::read(&path).unwrap();
            // Every third byte of small directories, some of the large one.
            let step = if name == "3.9-fuzzy" { bytes.len() / 60 } else { 3 };
            for at in (0..bytes.len()).step_by(step) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at * 5 % 8);
                fs::write(&path, damaged).unwrap();
                sound(copy.path(), &whole, &format!("{name} {} with byte {at} flipped", path.display()));
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}

/// Where the records of a log end, and the zeros behind them.
fn ends(log: &[u8]) -> Vec<usize> {
    let mut ends = vec![16];
    while let Some(len) = log.get(ends[ends.len() - 1] + 8..).and_then(|rest| rest.first_chunk::<4>()) {
        match u32::from_be_bytes(*len) {
            0 => break,
            len => ends.push(ends[ends.len() - 1] + 13 + len as usize),
        }
    }
    let last = ends[ends.len() - 1];
    ends.extend(last..=log.len());
    ends
}

#[test]
fn a_file_cut_short_is_told_unless_it_ends_between_transactions() {
    for name in ["3.8", "3.9", "3.9-gz", "3.9-snappy"] {
        let copy = copy(name);
        let (whole, _) = read(copy.path()).unwrap();
        let files = files(copy.path());
        let last_log = files.iter().rfind(|path| path.to_string_lossy().contains("/log.")).unwrap();
        for path in &files {
            let bytes = fs::read(path).unwrap();
            let ends = ends(&bytes);
            for len in (0..bytes.len()).step_by(3) {
                fs::write(path, &bytes[..len]).unwrap();
                // A record begins with four zeros, as what is behind the last one does.
                let between = (len.saturating_sub(4)..=len).any(|end| ends.contains(&end));
                if path == last_log && between {
                    let (imported, report) = read(copy.path()).unwrap();
                    assert!(imported.zxid <= whole.zxid && report.warnings.is_empty());
                } else {
                    sound(copy.path(), &whole, &format!("{name} {} of {len} bytes", path.display()));
                }
            }
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn zeroed_runs_and_lost_files_are_told() {
    for name in GOLDEN {
        let copy = copy(name);
        let (whole, _) = read(copy.path()).unwrap();
        for path in files(copy.path()) {
            let bytes = fs::read(&path).unwrap();
            let is_log = path.to_string_lossy().contains("/log.");
            let data_end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for at in (0..data_end).step_by(97.max(bytes.len() / 60)) {
                let mut damaged = bytes.clone();
                let end = damaged.len().min(at + 512);
                damaged[at..end].fill(0);
                fs::write(&path, damaged).unwrap();
                // Zeros from the start of a record to the end of the log are a log that ends there; a record begins with four.
                let start = (at.saturating_sub(4)..=at).any(|start| ends(&bytes).contains(&start));
                if !(is_log && end >= data_end && start) {
                    sound(copy.path(), &whole, &format!("{name} {} zeroed from byte {at}", path.display()));
                }
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    let copy = copy("3.9");
    for path in files(copy.path()) {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let newest_log = path.ends_with("log.1f");
        // The state without the newest log is a state; without an old log nothing changes; without both snapshots nothing is left.
        match read(copy.path()) {
            Ok((imported, report)) => assert_eq!((imported.zxid < Zxid(0x30), report.warnings.len()), (newest_log, 0)),
            Err(error) => panic!("without {}: {error}", path.display()),
        }
        fs::write(&path, bytes).unwrap();
    }
}

/// A ZooKeeper server on `dir`: Debian's, or one whose class path the environment gives. `None` where there is neither.
fn start_zookeeper(dir: &Path, port: u16) -> Option<Child> {
    let classes = std::env::var("RINGKEEPER_ZOOKEEPER_CLASSES").unwrap_or_else(|_| "/usr/share/java/zookeeper.jar".into());
    if !Path::new(classes.split(':').next()?).exists() {
        return None;
    }
    let config = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=mntr\n",
        dir.display()
    );
    fs::write(&config, text).unwrap();
    let log = fs::File::create(dir.join("server.log")).unwrap();
    Command::new("java")
        .args(["-Xmx256m", "-Dzookeeper.extendedTypesEnabled=true", "-cp", &classes])
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(&config)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .ok()
}

#[test]
fn a_real_server_starts_from_what_is_exported() {
    for name in ["3.9", "3.9-fuzzy"] {
        let (mut imported, _) = read(&golden(name)).unwrap();
        // However slow the machine is, their ephemerals stay while they are looked at.
        imported.sessions.iter_mut().for_each(|(_, timeout_ms)| *timeout_ms = 600_000);
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("data");
        write(&imported, &dir).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let Some(mut server) = start_zookeeper(&dir, port) else {
            eprintln!("no ZooKeeper on this machine: not tried");
            return;
        };
        let seen = std::panic::catch_unwind(|| read_back(&imported, port));
        server.kill().unwrap();
        server.wait().unwrap();
        let log = fs::read_to_string(dir.join("server.log")).unwrap();
        assert!(seen.is_ok(), "{name}: {log}");
        // And what that server wrote on top of it comes back.
        let (again, report) = read(&dir).unwrap();
        assert_eq!(report.verified, Some(again.zxid));
        let znode = again.znodes.iter().find(|znode| &*znode.path == "/from-export").unwrap();
        assert_eq!(znode.stored.czxid.epoch(), imported.zxid.epoch());
        assert!(imported.znodes.iter().filter(|z| z.path.len() > 1).all(|z| again.znodes.contains(z)));
    }
}

fn read_back(imported: &Imported, port: u16) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut client = loop {
        match Client::connect(("127.0.0.1", port), 30_000, Duration::from_secs(30)) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    for znode in &imported.znodes {
        let path = &*znode.path;
        let record = Record::new(path, znode.data.as_deref(), None, &znode.stored);
        let (data, stat) = client.get(path, false).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((&data[..], stat), (znode.data.as_deref().unwrap_or_default(), record.stat()), "{path}");
        let Body::Acl(acl, _) = client.call(&Ask::GetAcl { path }).unwrap() else { panic!("{path}: no list") };
        assert_eq!(acl, &*znode.acl, "{path}");
        let children = client.children(path, false).unwrap().0;
        assert_eq!(children.len() as i32, znode.stored.num_children, "{path}");
    }
    client.create("/from-export", b"x", CreateMode::Persistent).unwrap();
    let mut words = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    words.write_all(b"mntr").unwrap();
    let mut facts = String::new();
    words.read_to_string(&mut facts).unwrap();
    assert!(facts.contains("zk_digest_mismatches_count\t0\n"), "{facts}");
    client.close().unwrap();
}

#[test]
fn directories_are_read_as_zookeeper_would() {
    let whole = read(&golden("3.9")).unwrap().0;
    // The log apart, as dataLogDir has it; without it, it is missed.
    let (data, logs) = (copy("3.9"), tempfile::tempdir().unwrap());
    fs::create_dir(logs.path().join("version-2")).unwrap();
    for log in files(data.path()).iter().filter(|path| path.to_string_lossy().contains("/log.")) {
        fs::rename(log, logs.path().join("version-2").join(log.file_name().unwrap())).unwrap();
    }
    let mut from = From { data_dir: data.path().join("version-2"), log_dir: Some(logs.path().into()), ignore_digest: false };
    let import = |from: &From| import(from, &mut Progress::new(&mut |_| ()));
    assert_eq!(import(&from).unwrap().0, whole);
    let (alone, report) = read(data.path()).unwrap();
    assert_eq!((alone.zxid, report.warnings.len()), (Zxid(0x1e), 1));
    assert!(report.warnings[0].contains("--log-dir"));
    // A damaged snapshot: the one before it and a longer log give the same.
    let newest = data.path().join("version-2/snapshot.1e");
    let sound_bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &sound_bytes[..sound_bytes.len() - 60]).unwrap();
    let (older, report) = import(&from).unwrap();
    assert_eq!((older, report.transactions, report.warnings.len()), (whole.clone(), 0x3f, 1));
    // With the log that goes back so far gone, nothing is made up, whatever is ignored.
    let old_log = logs.path().join("version-2/log.1");
    let old_bytes = fs::read(&old_log).unwrap();
    fs::remove_file(&old_log).unwrap();
    from.ignore_digest = true;
    let error = import(&from).unwrap_err();
    assert!(matches!(error, ImportError::MissingLog { snapshot: Zxid(0), first: Zxid(0x1f), .. }), "{error}");
    fs::remove_file(data.path().join("version-2/snapshot.0")).unwrap();
    assert!(matches!(import(&from), Err(ImportError::NoValidSnapshot { tried: 1, .. })));
    fs::remove_file(&newest).unwrap();
    assert!(matches!(import(&from), Err(ImportError::NoSnapshot(_))));
    assert!(matches!(read(data.path()), Err(ImportError::NoData(_))));
    assert!(matches!(read(&logs.path().join("none")), Err(ImportError::Directory { .. })));
    // What a crash leaves behind the last transaction: half a record. It is told, and left out.
    fs::write(&newest, &sound_bytes).unwrap();
    let last_log = logs.path().join("version-2/log.1f");
    let log = fs::read(&last_log).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = [&log[..end], &old_bytes[16..60], &[0; 900]].concat();
    fs::write(&last_log, torn).unwrap();
    let (again, report) = import(&from).unwrap();
    assert_eq!((again, report.warnings.len()), (whole.clone(), 1));
    assert!(report.warnings[0].contains(&format!("byte {end}")), "{:?}", report.warnings);
    // A whole record of long ago behind it is applied again, as there, and its digest tells.
    let stale = ends(&old_bytes)[1];
    fs::write(&last_log, [&log[..end], &old_bytes[16..stale]].concat()).unwrap();
    assert_eq!(import(&from).unwrap().0, whole, "what the snapshot holds is passed over");
    // A transaction taken out of the middle: the digest tells, and may be told not to.
    let ends = ends(&log);
    fs::write(&last_log, [&log[..ends[3]], &log[ends[4]..]].concat()).unwrap();
    let (_, report) = import(&from).unwrap();
    assert!(report.warnings[0].starts_with("ignored: after transaction 0x23"), "{:?}", report.warnings);
    from.ignore_digest = false;
    let error = import(&from).unwrap_err();
    assert!(matches!(error, ImportError::Digest { zxid: Zxid(0x23), .. }), "{error}");
}
