//! Bench: the real binary measures the real server, and the echo.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ringkeeper::bench::record::Record;
use ringkeeper::client::blocking::Client;
use rustix::process::{Pid, Signal, kill_process};

const STEADY: [&str; 9] = ["read", "set", "create", "delete", "exists", "list", "mixed", "multi", "multi-read"];

fn ringkeeper(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.args(words);
    command
}

/// A server that runs until it is dropped.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(words: &[&str]) -> Self {
        let mut child = ringkeeper(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("a ready line before the end").unwrap();
            if let Some(rest) = line.strip_prefix("ready: ") {
                break rest.split(' ').next().unwrap().to_owned();
            }
        };
        // What it says later must find somebody who reads.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every steady workload in both loops, each for a fraction of a second; nothing is left behind.
fn measure_all(address: &str, directory: &Path, is_echo: bool) {
    let json = directory.join("record.json");
    for workload in STEADY {
        for pace in [&["--rate", "500", "--arrivals", "constant"][..], &["--closed", "--in-flight", "2"]] {
            let nodes = if workload == "delete" && pace[0] == "--closed" { "20000" } else { "50" };
            let json = json.to_str().unwrap();
            let output = ringkeeper(&["bench", "run", "--servers", address, "--workload", workload, "--nodes", nodes])
                .args(["--seconds", "0.2", "--warmup", "0.05", "--connections", "4", "--threads", "2", "--json", json])
                .args(pace)
                .output()
                .unwrap();
            let said = said(&output);
            let record = Record::read(Path::new(json)).unwrap();
            // A fast server is through with what was prepared before the time is over.
            let is_used_up = record.ended_early.as_ref().is_some_and(|why| workload == "delete" && why.contains("--nodes"));
            assert!(output.status.success() || is_used_up, "{workload} {pace:?}: {said}");
            assert_eq!(record.errors(), 0, "{workload} {pace:?}: {said}");
            assert!(record.arrivals.answered > 0, "{workload} {pace:?}: {said}");
            assert_eq!(record.all().count(), record.arrivals.answered, "{workload} {pace:?}: {said}");
            assert!(said.contains("p99"), "{said}");
        }
    }
    if !is_echo {
        let mut client = Client::connect(address, 10_000, std::time::Duration::from_secs(10)).unwrap();
        assert_eq!(client.children("/", false).unwrap().0, ["zookeeper"]);
    }
}

#[test]
fn every_steady_workload_runs_against_our_server_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let server = Running::start(&["serve", "--data-dir", data, "--listen", "127.0.0.1:0", "-Dzookeeper.preAllocSize=16384"]);
    measure_all(&server.address, directory.path(), false);
}

#[test]
fn every_steady_workload_runs_against_the_echo() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let echo = Running::start(&["bench", "echo", "--listen", "127.0.0.1:0"]);
    measure_all(&echo.address, directory.path(), true);
}

#[test]
fn ctrl_c_tells_what_was_measured_so_far_and_keeps_it() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let json = directory.path().join("record.json");
    let echo = Running::start(&["bench", "echo", "--listen", "127.0.0.1:0", "--stall-ms", "10", "--stall-every-ms", "100"]);
    let child = ringkeeper(&["bench", "run", "--servers", &echo.address, "--seconds", "600", "--warmup", "0"])
        .args(["--json", json.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("p99") && said.contains("ended early") && said.contains("stopped"), "{said}");
    let record = Record::read(&json).unwrap();
    assert!(record.ended_early.is_some() && record.seconds < 300.0 && record.arrivals.answered > 0, "{said}");
}

#[test]
fn what_cannot_be_done_is_one_clear_line() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let echo = Running::start(&["bench", "echo", "--listen", "127.0.0.1:0"]);
    for (words, code, words_told) in [
        (vec!["bench", "run", "--servers", &nobody], 1, "cannot reach"),
        (
            vec!["bench", "run", "--servers", &echo.address, "--seconds", "600", "--json", "/nowhere/x.json"],
            1,
            "cannot write /nowhere",
        ),
        (vec!["bench", "echo", "--listen", &echo.address], 1, "cannot listen on"),
        (vec!["bench", "echo", "--stall-ms", "10", "--stall-every-ms", "10"], 1, "must be shorter"),
        (vec!["bench", "run", "--rate", "fast"], 2, "--closed is without a rate"),
        (vec!["bench"], 2, "Usage: ringkeeper bench"),
    ] {
        let output = ringkeeper(&words).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(words_told), "{words:?}: {said}");
        assert!(code == 2 || String::from_utf8_lossy(&output.stderr).lines().count() == 1, "{said}");
    }
}

#[test]
fn a_tiny_examination_runs_and_prints_its_tables() {
    let output =
        ringkeeper(&["bench", "verify", "--rate", "1000", "--stall-ms", "100", "--stall-every-ms", "500", "--stalls", "1"])
            .args(["--seconds", "0.1", "--connections", "8", "--quiet"])
            .output()
            .unwrap();
    let said = said(&output);
    // Whether all came out as it must be is a matter of the machine, which is busy with tests.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    for row in ["must be", "p99.9", "closed loop", "late p99", "of the generator's processor time"] {
        assert!(said.contains(row), "{row} is not in {said}");
    }
}
