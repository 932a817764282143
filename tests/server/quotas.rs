//! Quotas: kept over kills, images and restarts, and enforced where that was asked for.

use ringkeeper::client::ask::CreateMode;
use ringkeeper::client::blocking::Client;

use super::harness::{Setup, both, directory, eventually};
use super::words::ask;

both!(what_is_used_outlives_the_server, limits_are_kept_where_they_are_enforced);

const LIMITS: &str = "/zookeeper/quota/q/zookeeper_limits";
const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

fn furnish(client: &mut Client, limits: &str) {
    let znodes = [("/q", "1234"), ("/q/a", "56"), ("/zookeeper/quota/q", ""), (LIMITS, limits), (STATS, "count=0,bytes=0")];
    for (path, data) in znodes {
        client.create(path, data.as_bytes(), CreateMode::Persistent).unwrap();
    }
}

fn used(client: &mut Client) -> String {
    String::from_utf8(client.get(STATS, false).unwrap().0).unwrap()
}

fn what_is_used_outlives_the_server(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards).args(&["-Dzookeeper.4lw.commands.whitelist=*"]);
    let server = setup.start();
    let mut client = server.client();
    furnish(&mut client, "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1");
    client.create("/q/b", b"789", CreateMode::Persistent).unwrap();
    assert_eq!(used(&mut client), "count=3,bytes=9");
    server.kill();
    // From the log alone.
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(used(&mut client), "count=3,bytes=9");
    client.set(STATS, b"count=70,bytes=70", -1).unwrap();
    client.create("/q/c", b"", CreateMode::Persistent).unwrap();
    assert_eq!(used(&mut client), "count=71,bytes=70");
    ask(server.address, "csnp");
    let images = directory.path().join("data/images");
    let is_image = |name: &str| name.starts_with("image.") && name != "image.tmp";
    let has_image =
        || std::fs::read_dir(&images).ok()?.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_image)).then_some(());
    eventually("an image", has_image);
    server.kill();
    // From an image it is counted anew.
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(used(&mut client), "count=4,bytes=9");
    client.delete("/q/b", -1).unwrap();
    assert_eq!(used(&mut client), "count=3,bytes=6");
}

fn limits_are_kept_where_they_are_enforced(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards).args(&["-Dzookeeper.enforceQuota=true"]);
    let server = setup.start();
    let mut client = server.client();
    furnish(&mut client, "count=2,bytes=-1=;countHardLimit=3");
    client.create("/q/b", b"", CreateMode::Persistent).unwrap();
    let refused = client.create("/q/c", b"", CreateMode::Persistent).unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.0), Some(-125), "{refused}");
    let line = eventually("a line about it", || server.lines().into_iter().find(|line| line.contains("quota exceeded")));
    assert!(line.ends_with("quota exceeded: /q would have 4 znodes, its hard limit is 3"), "{line}");
    server.kill();
    let server = setup.start();
    let mut client = server.client();
    assert!(client.create("/q/c", b"", CreateMode::Persistent).is_err());
    client.delete("/q/b", -1).unwrap();
    client.create("/q/c", b"", CreateMode::Persistent).unwrap();
}
