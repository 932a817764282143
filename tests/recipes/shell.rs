//! Shell: `ringkeeper cli` with one order, with many by a pipe, and as JSON.

use std::io::Write;
use std::net::SocketAddr;

use super::harness::directory;
use super::{Ran, Value, command, run, server};

fn json(address: SocketAddr, words: &[&str]) -> Value {
    let ran = run(command(address, &[&["cli", "--json"], words].concat()));
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

/// The exit code, and what was printed.
fn ask(address: SocketAddr, words: &[&str]) -> (i32, String) {
    let Ran { code, out, err } = run(command(address, &[&["cli"], words].concat()));
    (code.unwrap_or_else(|| panic!("{err}")), out)
}

#[test]
fn one_order_has_its_answer_and_its_exit_code() {
    let directory = directory();
    let server = server(directory.path());
    let ask = |words: &[&str]| ask(server.address, words);
    let fine = |words: &[&str], out: &str| assert_eq!(ask(words), (0, out.to_owned()), "{words:?}");
    fine(&["create", "/a", "x y"], "Created /a\n");
    fine(&["create", "-s", "/a/s-", "1"], "Created /a/s-0000000000\n");
    fine(&["create", "-c", "/a/c"], "Created /a/c\n");
    fine(&["get", "/a"], "x y\n");
    fine(&["set", "-v", "0", "/a", "-5"], "");
    fine(&["get", "/a"], "-5\n");
    fine(&["ls", "/a"], "[c, s-0000000000]\n");
    fine(&["ls", "-R", "/a"], "/a\n/a/c\n/a/s-0000000000\n");
    fine(&["getAllChildrenNumber", "/a"], "2\n");
    fine(&["sync", "/a"], "Sync is OK\n");
    fine(&["setAcl", "/a/c", "world:anyone:cr"], "");
    fine(&["getAcl", "/a/c"], "'world,'anyone\n: cr\n");
    fine(&["whoami"], "Auth scheme: User\nip: 127.0.0.1\n");
    let (code, stat) = ask(&["stat", "/a"]);
    assert!(code == 0 && stat.contains("\ndataVersion = 1\n") && stat.lines().count() == 11, "{stat}");

    for (words, code) in [
        (&["get", "/b"][..], 1),
        (&["delete", "/a"], 1),
        (&["delete", "-v", "7", "/a/c"], 1),
        (&["get", "a"], 2),
        (&["frob"], 2),
        (&["get", "--help"], 0),
    ] {
        assert_eq!(ask(words).0, code, "{words:?}");
    }
    fine(&["deleteall", "/a"], "");
    assert_eq!(ask(&["stat", "/a"]).0, 1);
    let nobody = run(command(([127, 0, 0, 1], 1).into(), &["cli", "--timeout", "1", "get", "/a"]));
    assert_eq!(nobody.code, Some(3), "{nobody:#?}");
}

#[test]
fn quotas_are_set_shown_and_taken_away() {
    let directory = directory();
    let server = server(directory.path());
    let ask = |words: &[&str]| ask(server.address, words);
    let fine = |words: &[&str], out: &str| assert_eq!(ask(words), (0, out.to_owned()), "{words:?}");
    fine(&["create", "/q", "12"], "Created /q\n");
    fine(&["create", "/q/a", "345"], "Created /q/a\n");
    assert_eq!(ask(&["listquota", "/q"]).0, 1);
    fine(&["setquota", "-n", "5", "/q"], "");
    fine(
        &["listquota", "/q"],
        "Output quota for /q count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=-1\nOutput stat for /q count=2,bytes=5\n",
    );
    fine(&["setquota", "-B", "4", "/q"], "[Warning]: the bytes quota is less than the existing bytes: 5\n");
    let listed = json(server.address, &["listquota", "/q"]);
    assert_eq!((&listed["limits"]["count"], &listed["limits"]["byteHardLimit"]), (&5.into(), &4.into()));
    assert_eq!(listed["used"]["bytes"], 5);
    for (words, name) in [
        (["setquota", "-n", "1", "/q/a"], "NESTED"),
        (["setquota", "-n", "1", "/"], "NOWHERE"),
        (["setquota", "-n", "1", "/zookeeper/quota"], "NOWHERE"),
        (["setquota", "-n", "1", "/none"], "NONODE"),
    ] {
        assert_eq!((ask(&words).0, &json(server.address, &words)["error"]), (1, &name.into()), "{words:?}");
    }
    fine(&["delquota", "-n", "/q"], "");
    assert_eq!(json(server.address, &["listquota", "/q"])["limits"]["count"], -1);
    fine(&["delquota", "/q"], "");
    fine(&["ls", "/zookeeper/quota"], "[]\n");
    fine(&["create", "/q/a/b"], "Created /q/a/b\n");
    fine(&["setquota", "-N", "9", "/q/a/b"], "");
    assert_eq!(ask(&["setquota", "-n", "1", "/q"]).0, 1, "what is below has one");
    fine(&["get", "/zookeeper/quota/q/a/b/zookeeper_stats"], "count=1,bytes=0\n");
    assert_eq!((ask(&["delquota", "/q"]).0, ask(&["delquota", "/q/a/b"]).0), (1, 0));
}

#[test]
fn programs_read_json() {
    let directory = directory();
    let server = server(directory.path());
    let address = server.address;
    assert_eq!(json(address, &["create", "/j", "ü"])["created"], "/j");
    let got = json(address, &["get", "-s", "/j"]);
    assert_eq!((&got["data"], &got["stat"]["version"], &got["stat"]["dataLength"]), (&"ü".into(), &0.into(), &2.into()));
    assert_eq!(json(address, &["ls", "/"])["children"], serde_json::json!(["j", "zookeeper"]));
    assert_eq!(json(address, &["get", "/k"])["error"], "NONODE");
    assert_eq!(json(address, &["getAcl", "/j"])["acl"][0], "world:anyone:cdrwa");
}

#[test]
fn lines_of_a_pipe_share_a_session_and_see_its_events() {
    let directory = directory();
    let server = server(directory.path());
    server.client().create("/chroot", b"", ringkeeper::client::ask::CreateMode::Persistent).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.args(["cli", "--server", &format!("{}/chroot", server.address)]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines =
        "# a comment\ncreate -e /e \"a b\"\ngetEphemerals\naddWatch /w\ncreate /w\nget /nothing\nls /\nclose\nls /\nquit\nls /\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let wanted =
        "Created /e\n[/e]\nCreated /w\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeCreated path:/w\n[e, w]\n[w]\n";
    assert_eq!(out, wanted);
    assert_eq!(output.status.code(), Some(1), "that of the worst line");
    assert!(String::from_utf8_lossy(&output.stderr).contains("NONODE"));
}
