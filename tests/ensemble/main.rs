//! Ensemble: several of the real binary as one service. They elect, serve at every server, outlive their leader, and catch up.

#[path = "../server/harness.rs"]
#[allow(dead_code, unused_macros, unused_imports, reason = "what servers alone are tested with is more than is needed here")]
mod harness;
mod world;

use std::fs;
use std::time::{Duration, Instant};

use ringkeeper::client::ask::CreateMode;
use rustix::process::Signal;

use self::harness::eventually;
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
