//! Audit: what the audit log says of what clients do, line by line as a ZooKeeper 3.9.4 says it.

use std::fs;

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::proto::acl::{ADMIN, ALL, Acl, READ};

use super::harness::{Setup, both, directory};

both!(every_change_and_every_try_is_a_line, lines_outlive_their_connections);

fn create<'a>(path: &'a str, mode: CreateMode, acl: &'a [Acl]) -> Ask<'a> {
    Ask::Create2 { path, data: Some(b"x"), acl, mode }
}

fn every_change_and_every_try_is_a_line(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&["-Dzookeeper.audit.enable=true"]).start();
    let mut bob = server.client();
    bob.auth("digest", b"bob:x").unwrap();
    let open = [Acl::open()];
    let id = bob.session_id();
    bob.call(&create("/a", CreateMode::Persistent, &open)).unwrap();
    bob.call(&create("/a", CreateMode::Persistent, &open)).unwrap_err();
    bob.call(&create("/a/s", CreateMode::PersistentSequential, &open)).unwrap();
    bob.call(&create("/a/e", CreateMode::Ephemeral, &open)).unwrap();
    bob.call(&create("b\nresult=success", CreateMode::Persistent, &open)).unwrap_err();
    bob.set("/a", b"y", -1).unwrap();
    bob.set("/no", b"y", -1).unwrap_err();
    let list = [Acl::open(), Acl::new(READ | ADMIN, "digest", "u:h")];
    bob.call(&Ask::SetAcl { path: "/a", acl: &list, version: -1 }).unwrap();
    bob.delete("/a", -1).unwrap_err();
    let members = [
        create("/m", CreateMode::Persistent, &open),
        create("/m/s", CreateMode::EphemeralSequential, &open),
        Ask::SetData { path: "/m", data: Some(b""), version: -1 },
        Ask::Check { path: "/m", version: -1 },
        Ask::Delete { path: "/m/s0000000000", version: -1 },
    ];
    bob.multi(&members).unwrap();
    bob.multi(&[create("/n", CreateMode::Persistent, &open), create("/n", CreateMode::Persistent, &open)]).unwrap_err();
    // Neither reads, nor sync, nor the session's own beginning and end are told of.
    bob.get("/a", false).unwrap();
    bob.sync("/").unwrap();
    bob.close().unwrap();
    server.stop();

    let text = fs::read_to_string(directory.path().join("zookeeper_audit.log")).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| {
            let (date, rest) = line.split_at(23);
            let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "0000-00-00 00:00:00,000", "{line}");
            let (level, event) = rest.split_once(" audit.Slf4jAuditLogger: ").unwrap();
            assert_eq!(level, if event.ends_with("result=failure") { " ERROR" } else { " INFO" }, "{line}");
            event.replace('\t', " ")
        })
        .collect();
    let user = lines[0].strip_prefix("user=").unwrap().split(' ').next().unwrap();
    let by_bob = |rest: &str| format!("session={id} user=127.0.0.1,bob ip=127.0.0.1 operation={rest}");
    let expected = [
        format!("user={user} operation=serverStart result=success"),
        by_bob("create znode=/a znode_type=persistent result=success"),
        by_bob("create znode=/a znode_type=persistent result=failure"),
        by_bob("create znode=/a/s0000000000 znode_type=persistent_sequential result=success"),
        by_bob("create znode=/a/e znode_type=ephemeral result=success"),
        by_bob("create znode=b\\u000aresult=success znode_type=persistent result=failure"),
        by_bob("setData znode=/a result=success"),
        by_bob("setData znode=/no result=failure"),
        by_bob("setAcl znode=/a acl=world:anyone:cdrwadigest:u:h:ra result=success"),
        by_bob("delete znode=/a result=failure"),
        by_bob("create znode=/m znode_type=persistent result=success"),
        by_bob("create znode=/m/s0000000000 result=success"),
        by_bob("setData znode=/m result=success"),
        by_bob("delete znode=/m/s0000000000 result=success"),
        by_bob("multiOperation result=failure"),
        format!("session={id} user={user} operation=ephemeralZNodeDeletionOnSessionCloseOrExpire znode=/a/e result=success"),
        format!("user={user} operation=serverStop result=invoked"),
    ];
    assert_eq!(lines, expected);
}

/// Whoever asks and hangs up is told of all the same.
fn lines_outlive_their_connections(shards: &[&str]) {
    let directory = directory();
    let path = directory.path().join("audit.txt");
    let file = format!("-Dringkeeper.audit.file={}", path.display());
    let server = Setup::new(directory.path(), shards).args(&["-Dzookeeper.audit.enable=true", &file]).start();
    let mut ids = Vec::new();
    for i in 0..20 {
        let mut client: Client = server.client();
        let name = format!("/{i}");
        client.submit(&create(&name, CreateMode::Persistent, &[Acl::new(ALL, "world", "anyone")])).unwrap();
        client.flush().unwrap();
        ids.push(client.session_id());
        let _ = client.abandon();
    }
    let mut last = server.client();
    last.sync("/").unwrap();
    let made: Vec<_> = (0..20).filter(|i| last.exists(&format!("/{i}"), false).unwrap().is_some()).collect();
    server.stop();
    let text = fs::read_to_string(&path).unwrap();
    for i in made {
        let line = format!("session={}\tuser=127.0.0.1\tip=127.0.0.1\toperation=create\tznode=/{i}\t", ids[i]);
        assert_eq!(text.matches(&line).count(), 1, "{line} in\n{text}");
    }
}
