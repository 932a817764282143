//! Tune: the commands that measure a drive and fit group commit to it, as they are called.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringkeeper");

/// On a drive: the usual place for temporary files may be memory.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn tune(words: &[&str], dir: &Path) -> Output {
    Command::new(PROGRAM).arg("tune").args(words).current_dir(dir).output().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A server on a port of the system's choice, by a configuration in `dir`; ended when this is dropped.
struct Server(Child);

impl Server {
    fn start(dir: &Path, lines: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "clientPortAddress=127.0.0.1\nclientPort={port}\ndataDir={}\npreAllocSize=16384\n{lines}",
            dir.join("data").display()
        );
        fs::write(dir.join("zoo.cfg"), config).unwrap();
        let mut child = Command::new(PROGRAM).args(["serve", "zoo.cfg"]).current_dir(dir).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ready:") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the server did not start");
        }
        // It must never wait for somebody to read what it says.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_drive_is_measured_and_nothing_is_left() {
    let dir = directory();
    let words = "disk --dir . --seconds 0.05 --steady 1 --file-mib 16 --sizes 4k --in-flight 1,2 --json disk.json --plots plots";
    let out = tune(&words.split(' ').collect::<Vec<_>>(), dir.path());
    let (told, errors) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{told}{errors}");
    for part in
        ["file system", "zeroed file", "growing file", "dsync direct 4k", "a durable write of 4k takes", "\nflush.method="]
    {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert!(errors.contains("24 settings of 0.05 s and 1 s of steady writing: about "), "{errors}");
    let report = json(&dir.path().join("disk.json"));
    assert_eq!((report["cells"].as_array().unwrap().len(), report["complete"].as_bool()), (24, Some(true)));
    assert!(
        report["cells"]
            .as_array()
            .unwrap()
            .iter()
            .all(|cell| cell["count"].as_u64() > Some(0) && cell["p99"].as_f64() > Some(0.0))
    );
    assert!(report["verdict"]["settings"][0].as_str().unwrap().starts_with("flush.method="));
    assert_eq!(names(dir.path()), ["disk.json", "plots"]);
    assert_eq!(names(&dir.path().join("plots")), ["disk-in-flight.svg", "disk-size.svg", "disk-state.svg", "disk-steady.svg"]);
}

#[test]
fn what_cannot_be_measured_is_told_in_a_line() {
    let dir = directory();
    let refused = |words: &str, part: &str| {
        let out = tune(&words.split(' ').collect::<Vec<_>>(), dir.path());
        let errors = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{words}: {errors}");
        assert!(errors.starts_with("ringkeeper: ") && errors.lines().count() == 1 && errors.contains(part), "{words}: {errors}");
    };
    for command in ["disk", "flush"] {
        refused(&format!("{command} --dir none"), "none: No such file");
        refused(&format!("{command} --dir /proc"), "/proc");
        // Where there is such a thing.
        if fs::read_to_string("/proc/mounts").unwrap().lines().any(|line| line.starts_with("tmpfs /dev/shm ")) {
            refused(&format!("{command} --dir /dev/shm"), "/dev/shm is tmpfs, which is memory: O_DIRECT");
        }
    }
    refused("disk --file-mib 1048576", "MiB of room, and");
    fs::write(dir.path().join("a.json"), "{}").unwrap();
    refused("flush --from a.json", "a.json: no report of tune flush");
    refused("flush --apply latency --config none.cfg", "none.cfg: No such file");
    let server = Server::start(dir.path(), "");
    let log = dir.path().join("data/log");
    for command in ["disk", "flush"] {
        refused(&format!("{command} --dir {}", log.display()), "a server works in");
        refused(&format!("{command} --dir data"), "a server works in");
    }
    drop(server);
    assert_eq!(names(dir.path()), ["a.json", "data", "zoo.cfg"]);
}

/// Stops a command by the signal of Ctrl-C as soon as it has told on standard error what it is going to do.
fn interrupted(words: &[&str], dir: &Path) -> (Option<i32>, String) {
    let mut child = Command::new(PROGRAM)
        .arg("tune")
        .args(words)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("about "), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let dir = directory();
    for words in ["disk --dir . --seconds 30 --file-mib 16", "flush --dir . --seconds 30 --rate 100"] {
        let (code, said) = interrupted(&words.split(' ').collect::<Vec<_>>(), dir.path());
        assert_eq!(code, Some(1), "{words}: {said}");
        assert!(said.contains("ringkeeper: stopped before everything was measured"), "{words}: {said}");
        assert!(names(dir.path()).is_empty(), "{words}: {:?}", names(dir.path()));
    }
}

#[test]
fn settings_are_found_written_and_taken_up_by_a_running_server() {
    let dir = directory();
    fs::create_dir(dir.path().join("ringkeeper-tune-1")).unwrap();
    let words = "flush --dir . --seconds 0.2 --rounds 1 --rate 200,400 --linger 0,100 --flights 1,2 --batch-bytes 64k --json flush.json --plots .";
    let out = tune(&words.split(' ').collect::<Vec<_>>(), dir.path());
    let told = text(&out.stdout);
    assert!(out.status.success(), "{told}{}", text(&out.stderr));
    for part in ["setting (*", "fdatasync 2 in flight, linger 100 us, 64k", "# latency: ", "# balanced: ", "# throughput: "] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    let left = ["flush-front.svg", "flush-most.svg", "flush-p99-1.svg", "flush-p99-2.svg", "flush.json"];
    assert_eq!(names(dir.path()), left, "what an earlier run left is gone, too");
    // Two methods, one flight once and two flights with two lingers, and the defaults.
    let report = json(&dir.path().join("flush.json"));
    assert_eq!(report["points"].as_array().unwrap().len(), 2 * 3 + 1);
    // A setting that is certainly not the one in use.
    let changed = fs::read_to_string(dir.path().join("flush.json")).unwrap().replace("\"flights\": 4", "\"flights\": 3");
    fs::write(
        dir.path().join("flush.json"),
        changed.replace("\"flights\": 2", "\"flights\": 3").replace("\"flights\": 1,", "\"flights\": 3,"),
    )
    .unwrap();
    let apply = "flush --from flush.json --apply throughput --config zoo.cfg";
    for (lines, says) in [
        ("4lw.commands.whitelist=rlod\n", "flush.flights: 4 -> 3: in effect now"),
        ("", "was sent SIGHUP: its log tells of each key"),
    ] {
        let _server = Server::start(dir.path(), lines);
        let out = tune(&apply.split(' ').collect::<Vec<_>>(), dir.path());
        let told = text(&out.stdout);
        assert!(out.status.success() && told.contains(says), "{told}{}", text(&out.stderr));
        let config = fs::read_to_string(dir.path().join("zoo.cfg")).unwrap();
        assert!(config.contains("\nflush.flights=3\n") && config.contains("# ringkeeper tune flush: throughput: "), "{config}");
        if says.contains("SIGHUP") {
            continue;
        }
        // The server is still there, and serves by it.
        let address = config.lines().find_map(|line| line.strip_prefix("clientPort=")).unwrap();
        let since = Instant::now();
        while std::net::TcpStream::connect(format!("127.0.0.1:{address}")).is_err() {
            assert!(since.elapsed() < Duration::from_secs(60));
        }
    }
    let out = tune(&apply.split(' ').collect::<Vec<_>>(), dir.path());
    assert!(text(&out.stdout).contains("in effect when one is started"), "{}", text(&out.stdout));
}
