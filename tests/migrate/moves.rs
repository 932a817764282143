//! Moves: `ringkeeper migrate` as a process, and servers on what it makes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ringkeeper::client::answer::Body;
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::ground::ids::Zxid;
use ringkeeper::migrate::imported::Imported;
use ringkeeper::tree::record::Record;

use super::harness::{Server, Setup, directory};
use super::{GOLDEN, copy, golden, read};

/// Sessions are ended at the ticks of such a server: those that are restored outlive any test.
const SLOW: &str = "tickTime=600000\n";

/// Runs `ringkeeper migrate` with these words: its exit code and the lines it said.
fn migrate(words: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    let output = command.arg("migrate").args(words).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.lines().map(str::to_owned).collect())
}

fn import(from: &Path, data: &Path) -> (Option<i32>, Vec<String>) {
    migrate(&["import", "--from", from.to_str().unwrap(), "--data-dir", data.to_str().unwrap()])
}

fn export(data: &Path, to: &Path) -> (Option<i32>, Vec<String>) {
    migrate(&["export", "--data-dir", data.to_str().unwrap(), "--to", to.to_str().unwrap()])
}

/// The last line of one that did what it was to do.
fn done((code, said): (Option<i32>, Vec<String>)) -> String {
    assert_eq!(code, Some(0), "{said:#?}");
    said.into_iter().next_back().unwrap()
}

/// The line of one that refused; before it there may be one about what it reads.
fn refused((code, mut said): (Option<i32>, Vec<String>)) -> String {
    said.retain(|line| !line.starts_with("ringkeeper: reading "));
    assert_eq!((code, said.len()), (Some(1), 1), "{said:#?}");
    said.into_iter().next().unwrap()
}

fn serve(directory: &Path) -> Server {
    Setup::new(directory, &[]).config(SLOW).start()
}

/// Every znode as a client sees it must be the one that was imported.
fn check_served(client: &mut Client, imported: &Imported, name: &str) {
    for znode in &imported.znodes {
        let path = &*znode.path;
        let record = Record::new(path, znode.data.as_deref(), None, &znode.stored);
        let (data, stat) = client.get(path, false).unwrap_or_else(|error| panic!("{name} {path}: {error}"));
        assert_eq!((&data[..], stat), (znode.data.as_deref().unwrap_or_default(), record.stat()), "{name} {path}");
        let Body::Acl(acl, _) = client.call(&Ask::GetAcl { path }).unwrap() else { panic!("{name} {path}: no list") };
        assert_eq!(acl, &*znode.acl, "{name} {path}");
        let children = client.children(path, false).unwrap().0;
        assert_eq!(children.len() as i32, znode.stored.num_children, "{name} {path}");
    }
}

#[test]
fn what_is_moved_here_is_served_and_moved_back() {
    for name in GOLDEN {
        let top = directory();
        let (data, back) = (top.path().join("data"), top.path().join("back"));
        let (whole, _) = read(&golden(name)).unwrap();
        let digest = format!("{:#x}", whole.digest);
        let line = done(import(&golden(name), &data));
        assert!(line.contains(&format!("its digest {digest} is the one that ZooKeeper wrote")), "{name}: {line}");
        let server = serve(top.path());
        let mut client = server.client();
        check_served(&mut client, &whole, name);
        client.close().unwrap();
        server.stop();
        let line = done(export(&data, &back));
        assert!(line.ends_with(&format!("its digest is {digest}")), "{name}: {line}");
        let (again, report) = read(&back).unwrap();
        assert!(again.znodes == whole.znodes && again.sessions == whole.sessions, "{name}");
        // The session that looked on took two transactions.
        assert_eq!((again.zxid, report.is_verified), (Zxid(whole.zxid.0 + 2), true), "{name}");
        let line = done(import(&back, &top.path().join("again")));
        assert!(line.contains(&format!("its digest {digest} is")), "{name}: {line}");
    }
}

#[test]
fn a_new_zookeeper_has_nothing_but_its_first_snapshot() {
    let top = directory();
    let theirs = copy("3.9");
    for path in super::files(theirs.path()) {
        if !path.ends_with("snapshot.0") {
            fs::remove_file(path).unwrap();
        }
    }
    let (data, back) = (top.path().join("data"), top.path().join("back"));
    let (code, said) = import(theirs.path(), &data);
    assert!(
        code == Some(0) && said.iter().any(|line| line.contains("warning: ") && line.contains("no transaction log")),
        "{said:#?}"
    );
    assert!(said.last().unwrap().contains("imported 4 znodes and 0 sessions up to transaction 0x0"), "{said:#?}");
    // Back at once: there is no log of ours yet, and it is said.
    let (code, said) = export(&data, &top.path().join("at-once"));
    assert!(code == Some(0) && said[0].contains("warning: ") && said[0].contains("--log-dir"), "{said:#?}");
    assert_eq!(read(&top.path().join("at-once")).unwrap().0, read(theirs.path()).unwrap().0);
    for round in 0..2 {
        let server = serve(top.path());
        let mut client = server.client();
        client.create(&format!("/a{round}"), b"x", CreateMode::Persistent).unwrap();
        assert_eq!(client.children("/", false).unwrap().0.len(), round + 2);
        server.kill();
    }
    let line = done(export(&data, &back));
    assert!(line.contains("exported 6 znodes and 2 sessions up to transaction 0x4"), "{line}");
    assert_eq!(read(&back).unwrap().0.zxid, Zxid(4));
}

#[test]
fn a_server_on_data_of_zookeeper_says_how_to_take_them_in() {
    let top = directory();
    let theirs = copy("3.9");
    let data = theirs.path().display();
    let line = Setup::bare(top.path()).args(&["--data-dir", &data.to_string(), "--listen", "127.0.0.1:0"]).refused();
    assert!(line.contains(&format!("ringkeeper migrate import --from {data} --data-dir NEW")), "{line}");
    assert_eq!(read(theirs.path()).unwrap().0, read(&golden("3.9")).unwrap().0);
    assert_eq!(fs::read_dir(theirs.path()).unwrap().count(), 1, "nothing is left there");
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_of_what_is_refused() {
    let top = directory();
    let (data, new) = (top.path().join("data"), top.path().join("new"));
    done(import(&golden("3.9"), &data));
    let is_refused = |ran, what: &str| {
        let line = refused(ran);
        assert!(line.contains(what), "{line}");
        assert!(!new.exists(), "{what}");
    };
    is_refused(import(&golden("3.8"), &data), "is not empty");
    is_refused(import(&top.path().join("none"), &new), "--from names a ZooKeeper dataDir");
    // One of ours is none of theirs, and the other way round.
    is_refused(import(&data, &new), "--from names a ZooKeeper dataDir");
    is_refused(export(&golden("3.9"), &new), "holds no data of ours");
    is_refused(export(&top.path().join("none"), &new), "holds no data of ours");
    let damaged = copy("3.9");
    let log = damaged.path().join("version-2/log.1f");
    let mut bytes = fs::read(&log).unwrap();
    bytes[100] ^= 1;
    fs::write(&log, bytes).unwrap();
    is_refused(import(damaged.path(), &new), "the log is damaged");
    let (code, _) = migrate(&["import", "--from", "a"]);
    assert_eq!(code, Some(2));
    // While a server works on it.
    let server = serve(top.path());
    is_refused(export(&data, &new), "another server works on");
    server.stop();
    let line = refused(export(&data, &golden("3.8")));
    assert!(line.contains("is not empty"), "{line}");
    done(export(&data, &new));
}

#[test]
fn an_import_that_did_not_come_to_its_end_is_not_served() {
    let top = directory();
    let images = top.path().join("data/images");
    fs::create_dir_all(&images).unwrap();
    fs::write(images.join("image.tmp"), b"the beginning").unwrap();
    let line = Setup::new(top.path(), &[]).refused();
    assert!(line.contains("image.tmp") && line.contains("import again"), "{line}");
    assert!(images.join("image.tmp").exists());
    fs::remove_dir_all(top.path().join("data")).unwrap();
    done(import(&golden("3.8"), &top.path().join("data")));
    serve(top.path()).stop();
}
