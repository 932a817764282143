//! Ensemble: several of the real binary as one service. They elect, serve at every server, outlive their leader, and catch up.

#[path = "../server/harness.rs"]
#[allow(dead_code, unused_macros, unused_imports, reason = "what servers alone are tested with is more than is needed here")]
mod harness;
mod world;

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::proto::acl::{ALL, Acl};
use ringkeeper::proto::code::Code;
use rustix::process::Signal;

use self::harness::{eventually, namespace, prove};
use self::world::{Ensemble, Role};

/// Every server has what is said here, once it has caught up with its leader.
fn has_everywhere(ensemble: &Ensemble, paths: &[String]) {
    for k in ensemble.up() {
        let mut client = ensemble.client(k);
        client.sync("/").unwrap();
        for path in paths {
            assert!(client.exists(path, false).unwrap().is_some(), "server {k} has no {path}");
        }
        client.close().unwrap();
    }
}

#[test]
fn three_servers_outlive_their_leader() {
    let mut ensemble = Ensemble::start(3, 0);
    let leader = ensemble.await_leader();
    let mut paths = Vec::new();
    for k in ensemble.up() {
        let mut client = ensemble.client(k);
        for i in 0..20 {
            let path = format!("/of-{k}-{i}");
            client.create(&path, b"here", CreateMode::Persistent).unwrap();
            assert_eq!(client.get(&path, false).unwrap().0, b"here", "a client reads what it wrote");
            paths.push(path);
        }
        client.close().unwrap();
    }
    has_everywhere(&ensemble, &paths);
    let epoch = ensemble.role(leader).epoch();
    ensemble.kill(leader);
    let heir = ensemble.await_leader();
    assert!(heir != leader && ensemble.role(heir).epoch() > epoch);
    for k in ensemble.up() {
        let mut client = ensemble.client(k);
        let path = format!("/after-{k}");
        client.create(&path, b"", CreateMode::Persistent).unwrap();
        paths.push(path);
        client.close().unwrap();
    }
    has_everywhere(&ensemble, &paths);
    ensemble.launch(leader);
    ensemble.await_role(leader, |role| matches!(role, Role::Following { .. }));
    has_everywhere(&ensemble, &paths);
    ensemble.stop();
}

#[test]
fn a_leader_that_stops_makes_way_at_once() {
    let mut ensemble = Ensemble::start(3, 0);
    for _ in 0..2 {
        let leader = ensemble.await_leader();
        let mut client = ensemble.client(leader);
        client.create("/n", b"", CreateMode::PersistentSequential).unwrap();
        let began = Instant::now();
        ensemble.end(leader);
        let heir = ensemble.await_leader();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "another leads after {took:?}");
        let mut client = ensemble.client(heir);
        assert!(!client.children("/", false).unwrap().0.is_empty());
        ensemble.launch(leader);
        ensemble.await_role(leader, |role| matches!(role, Role::Following { .. }));
    }
    ensemble.stop();
}

#[test]
fn a_leader_that_sleeps_is_replaced_and_follows_when_it_wakes() {
    let mut ensemble = Ensemble::start(3, 0);
    let leader = ensemble.await_leader();
    let mut before = ensemble.client(leader);
    before.create("/before", b"", CreateMode::Persistent).unwrap();
    ensemble.signal(leader, Signal::STOP);
    ensemble.asleep(leader);
    let heir = ensemble.await_leader();
    let mut client = ensemble.client(heir);
    client.create("/meanwhile", b"", CreateMode::Persistent).unwrap();
    ensemble.signal(leader, Signal::CONT);
    ensemble.awake(leader);
    ensemble.await_role(leader, |role| matches!(role, Role::Following { .. }));
    has_everywhere(&ensemble, &["/before".to_owned(), "/meanwhile".to_owned()]);
    ensemble.stop();
}

#[test]
fn a_server_that_has_lost_its_disk_gets_everything() {
    let mut ensemble = Ensemble::start(3, 0);
    ensemble.await_leader();
    let mut client = ensemble.client(1);
    let paths: Vec<_> = (0..300).map(|i| format!("/n{i}")).collect();
    for path in &paths {
        client.create(path, &[7; 1000], CreateMode::Persistent).unwrap();
    }
    drop(client);
    let lost = ensemble.up().into_iter().find(|k| !matches!(ensemble.role(*k), Role::Leading { .. })).unwrap();
    ensemble.kill(lost);
    ensemble.wipe(lost);
    ensemble.launch(lost);
    ensemble.await_role(lost, |role| matches!(role, Role::Following { .. }));
    has_everywhere(&ensemble, &paths);
    ensemble.stop();
}

#[test]
fn a_server_that_has_lost_its_promises_learns_before_it_votes() {
    let mut ensemble = Ensemble::start(3, 0);
    ensemble.await_leader();
    let mut client = ensemble.client(1);
    client.create("/kept", b"", CreateMode::Persistent).unwrap();
    client.close().unwrap();
    has_everywhere(&ensemble, &["/kept".to_owned()]);
    let lost = ensemble.up().into_iter().find(|k| !matches!(ensemble.role(*k), Role::Leading { .. })).unwrap();
    ensemble.kill(lost);
    let log = ensemble.data(lost).join("log");
    fs::remove_dir_all(log.join("state")).unwrap();
    ensemble.launch(lost);
    eventually("word of what is lost", || (ensemble.has_said(lost, "epoch record lost") > 0).then_some(()));
    assert!(log.join("impaired").exists());
    ensemble.await_role(lost, |role| matches!(role, Role::Following { .. }));
    assert!(!log.join("impaired").exists(), "it has its vote again");
    has_everywhere(&ensemble, &["/kept".to_owned()]);
    ensemble.stop();
}

#[test]
fn without_a_quorum_nobody_is_served_and_the_words_say_so() {
    let mut ensemble = Ensemble::start(3, 0);
    let leader = ensemble.await_leader();
    for k in ensemble.up() {
        let role = if k == leader { "leader" } else { "follower" };
        let told = ensemble.word(k, "srvr");
        assert!(told.contains(&format!("\nMode: {role}\n")), "{told}");
        assert!(ensemble.word(k, "mntr").contains(&format!("\nzk_server_state\t{role}\n")));
        assert_eq!(ensemble.word(k, "isro"), "rw");
        let conf = ensemble.word(k, "conf");
        assert!(
            conf.contains(&format!("\nserverId={k}\n")) && conf.contains("\ninitLimit=") && conf.contains("\nserver.3="),
            "{conf}"
        );
    }
    assert!(ensemble.word(leader, "mntr").contains("\nzk_synced_followers\t2\n"));
    for k in ensemble.up() {
        ensemble.client(k).create(&format!("/by{k}"), b"", CreateMode::Persistent).unwrap();
        let told = ensemble.word(k, "mntr");
        let count = |stage: &str| -> u64 {
            told.lines()
                .find_map(|line| line.strip_prefix(&format!("zk_ringkeeper_stage_{stage}_count\t"))?.parse().ok())
                .unwrap()
        };
        // A leader's own writes, and those that its learners sent on; a learner's are agreed on elsewhere.
        assert!(count("replicate") > 0 && count("deliver") > 0, "{told}");
        assert_eq!(count("flush") > 0, k == leader, "{told}");
    }
    let mut client = ensemble.client(leader);
    client.create("/kept", b"", CreateMode::Persistent).unwrap();
    let others: Vec<_> = ensemble.up().into_iter().filter(|k| *k != leader).collect();
    others.iter().for_each(|k| ensemble.kill(*k));
    ensemble.await_role(leader, |role| matches!(role, Role::Looking));
    eventually("the end of the client's connection", || client.exists("/kept", false).err());
    assert_eq!((ensemble.word(leader, "ruok").as_str(), ensemble.word(leader, "isro").as_str()), ("imok", "null"));
    for word in ["srvr", "stat", "mntr", "cons", "dump"] {
        assert_eq!(ensemble.word(leader, word), "This ZooKeeper instance is not currently serving requests\n", "{word}");
    }
    ensemble.launch(others[0]);
    ensemble.await_leader();
    has_everywhere(&ensemble, &["/kept".to_owned()]);
    ensemble.stop();
}

#[test]
fn an_observer_serves_and_has_no_vote() {
    let mut ensemble = Ensemble::start(3, 1);
    let leader = ensemble.await_leader();
    ensemble.await_role(4, |role| matches!(role, Role::Observing { .. }));
    assert!(leader != 4 && ensemble.word(4, "srvr").contains("\nMode: observer\n"));
    let mut client = ensemble.client(4);
    client.create("/seen", b"", CreateMode::Persistent).unwrap();
    has_everywhere(&ensemble, &["/seen".to_owned()]);
    // Two servers that vote are needed, and an observer is none.
    let voters: Vec<_> = (1..=3).filter(|k| *k != leader).collect();
    voters.iter().for_each(|k| ensemble.kill(*k));
    ensemble.await_role(4, |role| matches!(role, Role::Looking));
    ensemble.await_role(leader, |role| matches!(role, Role::Looking));
    ensemble.launch(voters[0]);
    ensemble.await_leader();
    ensemble.await_role(4, |role| matches!(role, Role::Observing { .. }));
    has_everywhere(&ensemble, &["/seen".to_owned()]);
    ensemble.stop();
}

/// What every server says of who belongs to it, wherever its state has come from, and that only the time is its own.
#[test]
fn every_server_shows_the_configuration() {
    let mut ensemble = Ensemble::start_with(3, 1, "snapCount=20\n");
    ensemble.await_leader();
    ensemble.await_role(4, |role| matches!(role, Role::Observing { .. }));
    let want = ensemble.configuration();
    assert!(want.starts_with("server.1=127.0.0.1:") && want.contains(":observer\nversion="), "{want}");
    let shown = |ensemble: &Ensemble, k: usize| {
        let mut client = ensemble.client(k);
        let (data, stat) = client.get("/zookeeper/config", false).unwrap();
        assert_eq!(String::from_utf8(data).unwrap(), want, "server {k}");
        assert_eq!(client.exists("/zookeeper/config", false).unwrap(), Some(stat));
        let zxids = [stat.czxid, stat.mzxid, stat.pzxid].map(|zxid| zxid.0);
        assert_eq!((zxids, stat.version, stat.cversion, stat.aversion, stat.ctime), ([0; 3], -1, 0, -1, 0));
        stat.mtime
    };
    let before: Vec<_> = (1..=4).map(|k| shown(&ensemble, k)).collect();
    let mut client = ensemble.client(2);
    for i in 0..60 {
        client.create(&format!("/n{i}"), b"", CreateMode::Persistent).unwrap();
    }
    drop(client);
    let during: Vec<_> = (1..=4).map(|k| shown(&ensemble, k)).collect();
    assert_eq!(before, during, "writes do not touch it");
    // One starts again from what it has, one from nothing, and one with a state of its leader's.
    for k in 1..=4 {
        ensemble.kill(k);
    }
    ensemble.wipe(4);
    for k in 1..=4 {
        ensemble.launch(k);
    }
    ensemble.await_leader();
    ensemble.await_role(4, |role| matches!(role, Role::Observing { .. }));
    for (k, before) in (1..=4).zip(before) {
        assert!(shown(&ensemble, k) > before, "server {k}");
    }
    ensemble.stop();
}

#[test]
fn ephemerals_go_with_the_session_wherever_it_was() {
    let mut ensemble = Ensemble::start(3, 0);
    let leader = ensemble.await_leader();
    let followers: Vec<_> = ensemble.up().into_iter().filter(|k| *k != leader).collect();
    let mut gone = ensemble.client_of(followers[0], 4000);
    gone.create("/closed", b"", CreateMode::Ephemeral).unwrap();
    let mut left = ensemble.client_of(followers[0], 4000);
    left.create("/expires", b"", CreateMode::Ephemeral).unwrap();
    let mut kept = ensemble.client_of(followers[0], 60_000);
    kept.create("/stays", b"", CreateMode::Ephemeral).unwrap();
    let mut client = ensemble.client(followers[1]);
    client.sync("/").unwrap();
    let names = |client: &mut ringkeeper::client::blocking::Client| client.children("/", false).unwrap().0;
    assert_eq!(names(&mut client).len(), 4);
    gone.close().unwrap();
    client.sync("/").unwrap();
    assert!(!names(&mut client).contains(&"closed".to_owned()));
    // The server that the sessions came to goes; one of them moves to another server, the other is not heard of again.
    let _ = left.abandon();
    let kept = kept.abandon();
    ensemble.kill(followers[0]);
    let mut kept = ensemble.attach(leader, kept);
    eventually("the end of the session that nobody hears of", || {
        kept.ping().unwrap();
        client.sync("/").unwrap();
        (!names(&mut client).contains(&"expires".to_owned())).then_some(())
    });
    assert!(names(&mut client).contains(&"stays".to_owned()));
    kept.close().unwrap();
    ensemble.stop();
}

#[test]
fn what_is_lost_for_good_is_accepted_and_the_survivors_data_are_there() {
    let mut ensemble = Ensemble::start(3, 0);
    ensemble.await_leader();
    let mut client = ensemble.client(1);
    client.create("/kept", b"here", CreateMode::Persistent).unwrap();
    drop(client);
    let (code, said) = ensemble.recover(2, &["--accept-loss"]);
    assert!(code == Some(1) && said.contains("another server works on"), "{said}");
    ensemble.kill(2);
    ensemble.kill(3);
    let (code, said) = ensemble.recover(2, &["--accept-loss"]);
    assert!(code == Some(1) && said.contains("server 2 has its vote"), "{said}");
    ensemble.wipe(2);
    ensemble.wipe(3);
    let (code, said) = ensemble.recover(2, &["--accept-loss"]);
    assert!(code == Some(1) && said.contains("no server has ever worked on"), "{said}");
    assert!(!ensemble.data(2).join("log").exists());
    for k in [2, 3] {
        ensemble.launch(k);
        eventually("word that the ensemble is not new", || (ensemble.has_said(k, "is not new") > 0).then_some(()));
    }
    assert_eq!(ensemble.role(1), Role::Looking, "one of three is no majority");
    ensemble.end(2);
    let (code, said) = ensemble.recover(2, &[]);
    assert!(code == Some(0) && said.contains("not one transaction") && said.contains("nothing was changed"), "{said}");
    assert!(ensemble.data(2).join("log/impaired").exists());
    let (code, said) = ensemble.recover(2, &["--accept-loss", "--beyond-epoch", "7"]);
    assert!(
        code == Some(0) && said.contains("epoch 1007 accepted") && said.contains("has its vote from its next start on"),
        "{said}"
    );
    let (code, said) = ensemble.recover(2, &["--accept-loss"]);
    assert!(code == Some(1) && said.contains("server 2 has its vote"), "{said}");
    ensemble.launch(2);
    ensemble.await_role(1, |role| matches!(role, Role::Leading { .. }));
    ensemble.await_role(2, |role| matches!(role, Role::Following { leader: 1, .. }));
    assert_eq!(ensemble.role(1).epoch(), 1008, "no epoch that anybody may have had is had again");
    ensemble.kill(3);
    has_everywhere(&ensemble, &["/kept".to_owned()]);
    let mut client = ensemble.client(2);
    client.create("/after", b"", CreateMode::Persistent).unwrap();
    assert_eq!(client.get("/kept", false).unwrap().0, b"here");
    ensemble.stop();
}

#[test]
fn impaired_servers_with_data_get_their_votes_and_keep_what_they_have() {
    let mut ensemble = Ensemble::start(3, 0);
    ensemble.await_leader();
    let mut client = ensemble.client(1);
    client.create("/kept", b"here", CreateMode::Persistent).unwrap();
    client.close().unwrap();
    has_everywhere(&ensemble, &["/kept".to_owned()]);
    for k in 1..=3 {
        ensemble.end(k);
    }
    ensemble.wipe(3);
    for k in [1, 2] {
        fs::write(ensemble.data(k).join("log/impaired"), b"").unwrap();
        let (code, said) = ensemble.recover(k, &[]);
        assert!(code == Some(0) && said.contains("known to be committed") && said.contains("what may be lost"), "{said}");
        let (code, said) = ensemble.recover(k, &["--accept-loss"]);
        assert!(code == Some(0) && said.contains("with what is there up to zxid 0x1"), "{said}");
        ensemble.launch(k);
    }
    ensemble.await_leader();
    has_everywhere(&ensemble, &["/kept".to_owned()]);
    ensemble.stop();
}

/// Writes 64 KiB at a time, somewhere in the ensemble, until something is so; every path that was acknowledged.
fn write_until(ensemble: &Ensemble, prefix: &str, is_so: impl Fn() -> bool) -> Vec<String> {
    let (mut acknowledged, mut client) = (Vec::new(), None);
    let data = vec![b'f'; 64 << 10];
    while !is_so() {
        assert!(acknowledged.len() < 1200, "{} MiB were written", acknowledged.len() / 16);
        let path = format!("{prefix}{:06}", acknowledged.len());
        let live = client.get_or_insert_with(|| ensemble.client(1 + acknowledged.len() % 2));
        match live.create(&path, &data, CreateMode::Persistent) {
            Ok(_) => acknowledged.push(path),
            Err(error) if error.refusal().is_some_and(|refusal| refusal.is(Code::NodeExists)) => acknowledged.push(path),
            Err(error) if error.refusal().is_some() => panic!("{path}: {error}"),
            Err(_) => client = None,
        }
    }
    acknowledged
}

#[test]
fn a_server_whose_disk_is_full_makes_way_and_comes_back_when_there_is_room() {
    let mut ensemble = Ensemble::plan(3, 0);
    let Some(unshare) = namespace(ensemble.directory()) else { return };
    ensemble.launch(1);
    ensemble.launch(2);
    ensemble.launch_on_a_small_disk(3, &unshare);
    let leader = ensemble.await_leader();
    let mut paths = Vec::new();
    for round in 1..=2 {
        let led = matches!(ensemble.role(3), Role::Leading { .. });
        assert_eq!(led, round == 1 && leader == 3);
        let told = |what: &str| ensemble.has_said(3, what);
        paths.extend(write_until(&ensemble, &format!("/of-{round}-"), || told("makes way for the others") == round));
        ensemble.await_role(3, |role| role == Role::Looking);
        for k in [1, 2] {
            ensemble.await_role(k, |role| matches!(role, Role::Leading { .. } | Role::Following { leader: 1 | 2, .. }));
        }
        // The others go on, and it stays where it is, and up.
        let written = Cell::new(0);
        let is_enough = || written.replace(written.get() + 1) == 20;
        paths.extend(write_until(&ensemble, &format!("/without-{round}-"), is_enough));
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(ensemble.role(3), Role::Looking);
        assert_eq!(ensemble.word(3, "ruok"), "imok");
        fs::remove_file(ensemble.other_file(3)).unwrap();
        ensemble.await_role(3, |role| matches!(role, Role::Following { .. }));
        assert_eq!(ensemble.has_said(3, "has room again"), round);
        assert_eq!(ensemble.has_said(3, "makes way for the others"), round);
        has_everywhere(&ensemble, &paths);
        // As much as there is room for.
        let mut other = fs::File::create(ensemble.other_file(3)).unwrap();
        while std::io::Write::write_all(&mut other, &[0; 1 << 20]).is_ok() {}
    }
    ensemble.stop();
}

#[test]
fn local_sessions_upgrade_on_their_first_ephemeral() {
    let mut ensemble = Ensemble::start_with(3, 0, "localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n");
    let leader = ensemble.await_leader();
    let followers: Vec<_> = ensemble.up().into_iter().filter(|k| *k != leader).collect();
    let (at, other) = (followers[0], followers[1]);
    let counts = |ensemble: &Ensemble, k: usize| {
        let told = ensemble.word(k, "mntr");
        let count = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        (count("zk_local_sessions\t"), count("zk_global_sessions\t"))
    };
    let mut watcher = ensemble.client(other);
    let begin = watcher.create("/begin", b"", CreateMode::Persistent).unwrap().1.czxid;
    let mut client = ensemble.client(at);
    client.sync("/").unwrap();
    assert!(client.exists("/begin", false).unwrap().is_some());
    let synced = client.last_zxid();
    assert!(synced.0 <= begin.0 + 1, "a sync takes a transaction at most, and no session any");
    let made = client.create("/p", b"", CreateMode::Persistent).unwrap().1.czxid;
    assert_eq!(made.0, synced.0 + 1, "neither session is a transaction");
    assert_eq!([leader, at, other].map(|k| counts(&ensemble, k)), [0, 1, 1].map(|local| (Some(local), Some(0))));
    let (session, dump) = (client.session_id(), ensemble.word(at, "dump"));
    assert!(dump.contains("Local Session Sets (1)/(1):\n") && dump.contains("Global Sessions(0):\n"), "{dump}");
    assert!(dump.contains(&format!("\t{session}\n")), "{dump}");
    // The session comes first, then the znode that it owns.
    let stat = client.create("/e", b"", CreateMode::Ephemeral).unwrap().1;
    assert_eq!((stat.czxid.0, stat.ephemeral_owner), (made.0 + 2, session.0));
    assert_eq!(client.create("/e2", b"", CreateMode::Ephemeral).unwrap().1.czxid.0, made.0 + 3);
    watcher.sync("/").unwrap();
    for (k, local) in [(leader, 0), (at, 0), (other, 1)] {
        assert_eq!(counts(&ensemble, k), (Some(local), Some(1)), "server {k}");
        assert!(ensemble.word(k, "dump").contains(&format!("{session}:\n\t/e\n")));
    }
    assert!(ensemble.word(other, "dump").contains(&format!("Global Sessions(1):\n{session}\t30000ms\n")));
    // Everybody knows it, so it may move; its ephemerals go when it is closed.
    let mut moved = ensemble.attach(leader, client.abandon());
    assert!(moved.exists("/e", false).unwrap().is_some());
    moved.close().unwrap();
    watcher.sync("/").unwrap();
    assert!(watcher.exists("/e", false).unwrap().is_none() && watcher.exists("/p", false).unwrap().is_some());
    // Or when it is not heard of any more.
    let mut silent = ensemble.client_of(at, 4000);
    silent.create("/expires", b"", CreateMode::Ephemeral).unwrap();
    let _ = silent.abandon();
    eventually("the end of the session that nobody hears of", || {
        watcher.sync("/").unwrap();
        watcher.exists("/expires", false).unwrap().is_none().then_some(())
    });
    // One that owns nothing is known where it was opened, and there alone.
    let local = ensemble.client(at).abandon();
    assert!(ensemble.refuses(leader, local));
    ensemble.attach(at, local).close().unwrap();
    assert!(ensemble.refuses(at, local));
    ensemble.stop();
}

#[test]
fn a_name_proved_at_a_follower_counts_everywhere_and_each_server_tells_of_its_own_clients() {
    let lines = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\naudit.enable=true\n";
    let mut ensemble = Ensemble::plan_with(3, 0, lines);
    let jaas = ensemble.directory().join("jaas.conf");
    fs::write(&jaas, "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=\"secret\"; };").unwrap();
    let jaas = format!("-Djava.security.auth.login.config={}", jaas.display());
    (1..=3).for_each(|k| ensemble.launch_with(k, &[&jaas]));
    let leader = ensemble.await_leader();
    let follower = ensemble.up().into_iter().find(|&k| k != leader).unwrap();
    let (mut here, mut there) = (ensemble.client(follower), ensemble.client(leader));
    assert!(prove(&mut here, "bob", "secret").unwrap().is_some());
    let own = [Acl::new(ALL, "auth", "")];
    here.call(&Ask::Create2 { path: "/own", data: None, acl: &own, mode: CreateMode::Persistent }).unwrap();
    here.call(&Ask::Create2 { path: "/own/e", data: None, acl: &own, mode: CreateMode::Ephemeral }).unwrap();
    here.set("/own", b"x", -1).unwrap();
    there.sync("/").unwrap();
    assert!(there.get("/own", false).unwrap_err().refusal().is_some_and(|refusal| refusal.is(Code::NoAuth)));
    assert!(prove(&mut there, "bob", "secret").unwrap().is_some());
    assert_eq!(there.get("/own", false).unwrap().0, b"x");
    here.close().unwrap();
    eventually("the end of the ephemeral", || there.exists("/own/e", false).unwrap().is_none().then_some(()));
    for k in 1..=3 {
        let path = ensemble.directory().join(format!("{k}/zookeeper_audit.log"));
        let has = |text: &str, what: &str| text.lines().filter(|line| line.contains(what)).count();
        // What a server has delivered to its shards is written a moment later.
        let text = eventually("the audit log", || {
            let text = fs::read_to_string(&path).unwrap();
            (has(&text, "operation=ephemeralZNodeDeletionOnSessionCloseOrExpire\tznode=/own/e\t") == 1).then_some(text)
        });
        let created = has(&text, "user=127.0.0.1,bob\tip=127.0.0.1\toperation=create\tznode=/own\t");
        assert_eq!(created, usize::from(k == follower), "{text}");
    }
}

#[test]
fn what_cannot_be_an_ensemble_is_refused_in_one_line() {
    let ensemble = Ensemble::plan(3, 0);
    let line = {
        fs::remove_file(ensemble.data(2).join("myid")).unwrap();
        ensemble.setup(2).refused()
    };
    assert!(line.contains("myid is not set: the file is not there"), "{line}");
    let taken = std::net::TcpListener::bind(("127.0.0.1", ensemble.election_port(1))).unwrap();
    let line = ensemble.setup(1).refused();
    assert!(line.contains(&format!("127.0.0.1:{}, the election port", ensemble.election_port(1))), "{line}");
    drop(taken);
}
