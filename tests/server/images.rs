//! Images: made while the server works, started from after a kill, passed over where they are damaged.

use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper::client::ask::CreateMode;
use ringkeeper::client::blocking::Client;

use super::harness::{Setup, both, directory, eventually};
use super::words::ask;

both!(
    a_killed_server_starts_from_its_image,
    an_image_to_order,
    an_image_that_cannot_be_written_harms_nobody,
    damaged_images_are_passed_over_or_refused,
    what_three_images_make_superfluous_goes,
);

fn with(directory: &Path, shards: &[&str], snap_count: u32) -> Setup {
    let setup = Setup::new(directory, shards).args(&["-Dzookeeper.4lw.commands.whitelist=*"]);
    setup.args(&[&format!("-Dzookeeper.snapCount={snap_count}")])
}

/// Finished images, the oldest first, by name.
fn images(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("data/images")).unwrap();
    let mut images: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("image.tmp")).collect();
    images.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("image.")));
    images.sort();
    images
}

fn figure(server: &super::harness::Server, word: &str, name: &str) -> i64 {
    let text = ask(server.address, word);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in\n{text}"))
}

/// Every znode but the server's own, with data, Stat and children.
fn everything(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = vec!["/".to_owned()];
    while let Some(path) = rest.pop() {
        let (data, stat) = client.get(&path, false).unwrap();
        let (children, _) = client.children(&path, false).unwrap();
        rest.extend(children.iter().map(|name| format!("{}/{name}", path.trim_end_matches('/'))));
        all.push(format!("{path} {data:?} {stat:?} {children:?}"));
    }
    all.sort();
    all
}

fn a_killed_server_starts_from_its_image(shards: &[&str]) {
    let directory = directory();
    let setup = with(directory.path(), shards, 200);
    let server = setup.start();
    let (mut client, mut owner, mut gone) = (server.client(), server.client(), server.client());
    client.create("/big", &vec![b'b'; 100_000], CreateMode::Persistent).unwrap();
    client.create("/d", b"", CreateMode::Persistent).unwrap();
    owner.create("/d/mine", b"m", CreateMode::Ephemeral).unwrap();
    gone.create("/d/gone", b"", CreateMode::Ephemeral).unwrap();
    gone.close().unwrap();
    for i in 0..300 {
        client.create(&format!("/d/n{i}"), &vec![b'x'; i * 7], CreateMode::Persistent).unwrap();
    }
    // One is due somewhere from the 100th to the 200th transaction.
    eventually("an image", || images(directory.path()).into_iter().next());
    let mut late = server.client();
    late.create("/d/late", b"", CreateMode::Ephemeral).unwrap();
    client.create("/d/s-", b"", CreateMode::PersistentSequential).unwrap();
    let before = everything(&mut client);
    let zxid = client.last_zxid();
    let (client, owner, late) = (client.abandon(), owner.abandon(), late.abandon());
    server.kill();

    // The log from before the image is not needed: damage there is not even met where it lies in an older transaction's data.
    let server = setup.start();
    assert!(server.lines()[0].ends_with(&format!(" zxid {zxid}")), "{zxid}: {:#?}", server.lines());
    assert!(figure(&server, "lgif", "last_snapshot_idx") > 0);
    let mut client = server.attach(client);
    assert_eq!(everything(&mut client), before);
    let (owner, late) = (server.attach(owner), server.attach(late));
    assert_eq!(figure(&server, "mntr", "zk_ephemerals_count"), 2);
    owner.close().unwrap();
    late.close().unwrap();
    let (names, _) = client.children("/d", false).unwrap();
    assert_eq!((names.len(), names.iter().any(|name| name == "late" || name == "mine")), (301, false));
    let next = client.create("/d/s-", b"", CreateMode::PersistentSequential).unwrap();
    assert_eq!(next.0, "/d/s-0000000304", "303 were created before, whoever is left");
    for _ in 0..2 {
        let had = figure(&server, "lgif", "last_snapshot_idx");
        for i in 0..225 {
            client.set("/d", &[i as u8], -1).unwrap();
        }
        eventually("one more image", || (figure(&server, "lgif", "last_snapshot_idx") > had).then_some(()));
    }
    let before = everything(&mut client);
    drop(client);
    let said = server.stop();
    assert!(said.iter().all(|line| !line.contains("snapshot")), "{said:#?}");
    let server = setup.start();
    assert_eq!(everything(&mut server.client()), before);
}

fn an_image_to_order(shards: &[&str]) {
    let directory = directory();
    let setup = with(directory.path(), shards, 100_000);
    let server = setup.start();
    let mut client = server.client();
    for i in 0..20 {
        client.create(&format!("/n{i}"), b"", CreateMode::Persistent).unwrap();
    }
    let zxid: i64 = ask(server.address, "csnp").parse().unwrap();
    assert_eq!(zxid, client.last_zxid().as_wire());
    eventually("the image", || (figure(&server, "lgif", "last_snapshot_idx") >= zxid).then_some(()));
    assert_eq!(images(directory.path()).len(), 1);
    assert_eq!(figure(&server, "mntr", "zk_cnt_snapshottime"), 1);
    assert_eq!((figure(&server, "lgif", "last_log_idx"), figure(&server, "lgif", "last_committed_log_idx")), (zxid, zxid));
    // There is an image of this moment: another order makes none.
    assert_eq!(ask(server.address, "csnp").parse::<i64>().unwrap(), zxid);
    client.create("/more", b"", CreateMode::Persistent).unwrap();
    client.sync("/").unwrap();
    assert_eq!(images(directory.path()).len(), 1);
    drop(client);
    server.stop();

    // Without a single segment of the log, the image is the server: its data end there.
    fs::remove_dir_all(directory.path().join("data/log")).unwrap();
    let server = setup.start();
    let said = server.lines();
    assert!(said[0].contains("no log beside") && said[0].contains("put it back from a copy"), "{said:#?}");
    assert!(said[1].ends_with(&format!(" zxid {zxid:#x}")), "{said:#?}");
    let mut client = server.client();
    client.get("/n19", false).unwrap();
    client.get("/more", false).unwrap_err();
    client.create("/again", b"", CreateMode::Persistent).unwrap();
    let before = everything(&mut client);
    server.kill();
    assert_eq!(everything(&mut setup.start().client()), before);
}

fn an_image_that_cannot_be_written_harms_nobody(shards: &[&str]) {
    let directory = directory();
    let mut server = with(directory.path(), shards, 100_000).start();
    let mut client = server.client();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    let in_the_way = directory.path().join("data/images/image.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let zxid: i64 = ask(server.address, "csnp").parse().unwrap();
    let line = server.wait_for_line("snapshot failed: ");
    assert!(line.contains(&in_the_way.display().to_string()) && line.ends_with("next try in 10 s"), "{line}");
    eventually("the count", || (figure(&server, "mntr", "zk_snapshot_error_count") == 1).then_some(()));
    client.create("/b", b"", CreateMode::Persistent).unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(ask(server.address, "csnp").parse::<i64>().unwrap(), zxid + 1);
    eventually("the next try", || (figure(&server, "lgif", "last_snapshot_idx") > zxid).then_some(()));
    drop(client);
    let said = server.stop();
    assert_eq!(said.iter().filter(|line| line.contains("snapshot") || line.contains("image.")).count(), 2, "{said:#?}");
}

fn damaged_images_are_passed_over_or_refused(shards: &[&str]) {
    let directory = directory();
    let setup = with(directory.path(), shards, 100_000);
    let server = setup.start();
    let mut client = server.client();
    for i in 0..2 {
        client.create(&format!("/n{i}"), b"data", CreateMode::Persistent).unwrap();
        let zxid: i64 = ask(server.address, "csnp").parse().unwrap();
        eventually("the image", || (figure(&server, "lgif", "last_snapshot_idx") >= zxid).then_some(()));
    }
    client.create("/last", b"", CreateMode::Persistent).unwrap();
    let before = everything(&mut client);
    drop(client);
    server.stop();
    let found = images(directory.path());
    let [old, new] = &found[..] else { panic!("{found:?}") };
    fs::write(directory.path().join("data/images/image.tmp"), b"unfinished").unwrap();

    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        fs::write(path, bytes).unwrap();
    };
    damage(new);
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(everything(&mut client), before);
    drop(client);
    let said = server.stop();
    let told: Vec<_> = said.iter().filter(|line| line.contains("damaged at offset")).collect();
    assert!(told.len() == 1 && told[0].contains(&new.display().to_string()), "{said:#?}");
    assert!(told[0].contains(&format!("using {} and replaying", old.display())), "{said:#?}");
    assert!(!directory.path().join("data/images/image.tmp").exists());

    damage(old);
    let server = setup.start();
    assert_eq!(everything(&mut server.client()), before);
    let said = server.stop();
    assert!(said.iter().any(|line| line.contains("using the log alone and replaying")), "{said:#?}");

    // Without the log there is nothing left that could be believed.
    let log = directory.path().join("data/log");
    fs::remove_dir_all(&log).unwrap();
    let line = setup.refused();
    assert!(line.contains(&new.display().to_string()) && line.contains("without it the data end at 0x0"), "{line}");

    // An image of a later release stops the start, whatever else there is.
    let mut bytes = fs::read(old).unwrap();
    bytes[11] = 7;
    let crc = crc32fast::hash(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_be_bytes());
    fs::write(old, &bytes).unwrap();
    let line = setup.refused();
    assert!(line.contains("format version 7") && line.contains("nothing was changed"), "{line}");
}

fn what_three_images_make_superfluous_goes(shards: &[&str]) {
    let directory = directory();
    let setup = with(directory.path(), shards, 100);
    let segments = || {
        let names = fs::read_dir(directory.path().join("data/log")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("log.")).collect();
        names.sort();
        names
    };
    let server = setup.start();
    let mut client = server.client();
    for n in 0..8 {
        client.create(&format!("/n{n}"), b"", CreateMode::Persistent).unwrap();
    }
    assert_eq!(segments()[0], "log.0000000000000001");
    // Seven or more images, and eight segments of 16 MiB.
    for round in 0..7 {
        let had = figure(&server, "lgif", "last_snapshot_idx");
        for n in 0..200 {
            client.set(&format!("/n{}", n % 8), &vec![round; 90_000 + n], -1).unwrap();
        }
        eventually("the next image", || (figure(&server, "lgif", "last_snapshot_idx") > had).then_some(()));
    }
    eventually("three images are left", || (images(directory.path()).len() == 3).then_some(()));
    eventually("the first segments are gone", || (segments()[0].as_str() > "log.0000000000000004").then_some(()));
    let before = everything(&mut client);
    server.kill();

    // The newest is damaged, and so is the one before it: the third and the log after it are enough.
    let three = images(directory.path());
    for image in &three[1..] {
        fs::OpenOptions::new().write(true).open(image).unwrap().set_len(5000).unwrap();
    }
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(everything(&mut client), before);
    for n in 0..400 {
        client.set("/n0", &vec![9; 90_000 + n], -1).unwrap();
    }
    // What is damaged does not count as kept.
    eventually("good images", || {
        (images(directory.path()).iter().filter(|image| !three.contains(image)).count() >= 2).then_some(())
    });
    let before = everything(&mut client);
    server.kill();
    let server = setup.start();
    assert_eq!(everything(&mut server.client()), before);
}
