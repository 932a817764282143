//! Start: what a server says and does before it serves, and why it may refuse to.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use ringkeeper::client::ask::CreateMode;
use rustix::process::Signal;

use super::harness::{PATIENCE, Server, Setup, both, directory, eventually};

/// The user that has no rights.
const NOBODY: u32 = 65534;

both!(
    serves_without_a_configuration,
    an_ordinary_user_with_little_locked_memory,
    a_server_that_nobody_listens_to,
    a_hangup_reads_the_configuration_again,
);

fn serves_without_a_configuration(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::bare(directory.path()).args(&["--listen", "127.0.0.1:0"]).args(shards);
    let server = setup.start();
    let said = server.lines();
    let port = server.address.port();
    assert_ne!(port, 0, "the line tells the port that the system has chosen");
    let count = shards.get(1).map_or_else(
        || std::thread::available_parallelism().unwrap().get().saturating_sub(1).max(1),
        |count| count.parse().unwrap(),
    );
    assert_eq!(said, [format!("ready: 127.0.0.1:{port} standalone, {count} shard(s), zxid 0x0")]);
    let mut client = server.client();
    client.create("/a", b"1", CreateMode::Persistent).unwrap();
    client.close().unwrap();
    assert!(directory.path().join("ringkeeper-data/log/log.0000000000000001").is_file(), "made on first use");
    server.stop();

    let server = setup.start();
    // A session, a znode, the end of the session.
    assert!(server.lines()[0].ends_with(" zxid 0x3"), "{:?}", server.lines());
    assert_eq!(server.client().get("/a", false).unwrap().0, b"1");
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_undisturbed() {
    let directory = directory();
    let setup = Setup::new(directory.path(), &[]);
    let first = setup.start();
    let mut client = first.client();
    let line = setup.refused();
    let data = directory.path().join("data/log");
    assert_eq!(line, format!("ringkeeper: another server works on {}; stop it or choose another data directory", data.display()));
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    first.stop();
}

#[test]
fn a_second_server_on_the_same_port_is_refused_and_the_first_undisturbed() {
    let (one, two) = (directory(), directory());
    let first = Setup::new(one.path(), &[]).start();
    let mut client = first.client();
    let address = first.address.to_string();
    let line = Setup::new(two.path(), &[]).args(&["--listen", &address]).run();
    assert_eq!(line.0, Some(2), "--listen is given once: {:?}", line.1);
    let data = two.path().join("data").display().to_string();
    let line = Setup::bare(two.path()).args(&["--data-dir", &data, "--listen", &address]).refused();
    assert_eq!(line, format!("ringkeeper: {address} is in use; another server may be running: stop it or choose another port"));
    assert!(!two.path().join("data").exists(), "the port is asked for before anything is made");
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    first.stop();
}

#[test]
fn io_uring_that_is_refused_is_told_before_anything_starts() {
    let script = format!("{}/tests/server/deny.py", env!("CARGO_MANIFEST_DIR"));
    let cases = [
        (
            "EPERM",
            "(Operation not permitted (os error 1)): allow it in the container's seccomp profile, and set the sysctl kernel.io_uring_disabled to 0",
        ),
        (
            "ENOSYS",
            "(Function not implemented (os error 38)): the kernel is older than 5.8 or built without it; run on a newer kernel",
        ),
    ];
    for (errno, rest) in cases {
        let directory = directory();
        let line = Setup::new(directory.path(), &[]).wrapped(&["python3", &script, errno]).refused();
        assert_eq!(line, format!("ringkeeper: io_uring is not to be had {rest}"));
        assert!(!directory.path().join("data").exists(), "nothing is made");
    }
}

/// 8 MiB is what many systems give their users. Four executors could use more, and that is one line.
fn an_ordinary_user_with_little_locked_memory(shards: &[&str]) {
    let directory = directory();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let setup = Setup::new(directory.path(), shards).limited("ulimit -l 8192");
    let server = as_ordinary_user(setup, &data).start();
    let mut client = server.client();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    client.close().unwrap();
    let said = server.stop();
    let lines: Vec<_> = said.iter().filter(|line| !line.starts_with("ready: ")).collect();
    if shards.is_empty() && said.iter().any(|line| line.contains(" 1 shard(s)")) {
        assert!(lines.is_empty(), "8 MiB are enough for one executor: {lines:#?}");
    } else {
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("locked memory is limited to 8192 KiB") && lines[0].contains("ulimit -l"), "{lines:#?}");
    }
}

#[test]
fn too_little_locked_memory_is_told_before_anything_starts() {
    let directory = directory();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let setup = Setup::new(directory.path(), &[]).limited("ulimit -l 64");
    let line = as_ordinary_user(setup, &data).refused();
    assert_eq!(
        line,
        "ringkeeper: locked memory is limited to 64 KiB, and an executor needs 512 KiB: raise the limit (ulimit -l, LimitMEMLOCK=)"
    );
}

/// Puts off what root may do, but for walking to the files of this test; who is not root stays who they are.
fn as_ordinary_user(setup: Setup, data: &std::path::Path) -> Setup {
    if !rustix::process::geteuid().is_root() {
        return setup;
    }
    chown(data, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(data.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let id = NOBODY.to_string();
    setup
        .wrapped(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--bounding-set", "-all,+dac_read_search"])
        .wrapped(&["--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search", "--"])
}

#[test]
fn a_file_of_a_real_installation() {
    let directory = directory();
    // A port that is free now: a file cannot leave the choice to the system.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::create_dir_all(directory.path().join("data")).unwrap();
    fs::write(directory.path().join("data/myid"), "1\n").unwrap();
    let text = format!(
        "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n\
         dataDir={0}/data\ndataLogDir={0}/txlog\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=60\n\
         autopurge.snapRetainCount=3\nautopurge.purgeInterval=24\nadmin.enableServer=false\n\
         4lw.commands.whitelist=stat, ruok, conf, isro\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\nmetricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort=0\nmetricsProvider.httpsPort=-1\n\
         preAllocSize=16384\nserver.1=127.0.0.1:2888:3888\n",
        directory.path().display()
    );
    let setup = Setup::bare(directory.path()).config(&text);
    let server = setup.start();
    assert_eq!(server.address.port(), port);
    server.client().create("/a", b"", CreateMode::Persistent).unwrap();
    let said = server.stop();
    let zoo = directory.path().join("zoo.cfg").display().to_string();
    for key in ["autopurge.purgeInterval", "metricsProvider.httpsPort"] {
        let told: Vec<_> = said.iter().filter(|line| line.contains(&format!(" {key}"))).collect();
        assert_eq!(told.len(), 1, "{key} in {said:#?}");
        assert!(told[0].contains(&zoo), "{told:?}");
    }
    assert!(directory.path().join("txlog/log").is_dir() && !directory.path().join("data/log").exists());

    let (code, said) = setup.clone().args(&["--check", "--strict"]).run();
    assert_eq!(code, Some(0), "{said:#?}");
}

#[test]
fn keys_that_ask_for_protection_and_values_that_cannot_be_are_refused_by_file_and_line() {
    let cases = [
        ("sessionRequireClientSASLAuth=true", "sessionRequireClientSASLAuth=true: "),
        ("enforce.auth.enabled=true", "enforce.auth.schemes is not set: "),
        ("sslQuorum=true", "sslQuorum is refused: "),
        ("quorum.auth.enableSasl=true", "quorum.auth.enableSasl is refused: "),
        ("tickTime=soon", "tickTime=soon: "),
        ("flush.method=maybe", "flush.method=maybe: "),
    ];
    for (lines, what) in cases {
        let directory = directory();
        let data = directory.path().join("data");
        let text = format!("dataDir={}\nclientPort=1\n{lines}\n", data.display());
        let setup = Setup::bare(directory.path()).config(&text);
        let line = setup.refused();
        let place = format!("ringkeeper: {}:", directory.path().join("zoo.cfg").display());
        let rest = line.strip_prefix(&place).unwrap_or_else(|| panic!("{line}"));
        let at = rest.split(':').next().unwrap().parse::<usize>().unwrap_or_else(|_| panic!("{line}"));
        assert!((3..=4).contains(&at), "{line}");
        assert!(line.contains(what), "{line}");
        assert_eq!(setup.clone().args(&["--check"]).refused(), line, "--check says the same");
        assert!(!data.exists(), "nothing is made");
    }
}

#[test]
fn a_key_that_is_not_known_is_a_warning_and_under_strict_a_refusal() {
    let directory = directory();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text =
        format!("dataDir={}\nclientPort={port}\npreAllocSize=16384\ntickTme=2000\n", directory.path().join("data").display());
    let setup = Setup::bare(directory.path()).config(&text);
    let line = setup.clone().args(&["--strict"]).refused();
    assert!(line.contains("zoo.cfg:4: ") && line.contains("did you mean tickTime?"), "{line}");
    let server = setup.start();
    let warnings: Vec<_> = server.lines().into_iter().filter(|line| line.contains("tickTme")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("WARN") && warnings[0].contains("zoo.cfg:4"), "{warnings:?}");
}

#[test]
fn check_prints_what_is_in_effect_and_makes_nothing() {
    let directory = directory();
    let data = directory.path().join("data");
    let out = Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
        .args(["serve", "--check", "-Dringkeeper.flush.flights=7", "--data-dir"])
        .arg(&data)
        .current_dir(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && out.stderr.is_empty());
    assert!(text.contains("\nflush.flights=7  ("), "{text}");
    assert!(text.contains(&format!("dataDir={}  (--data-dir)", data.display())), "{text}");
    assert!(!data.exists());
}

/// A changed file is taken up as far as it can be, and told key by key; one that is not good changes nothing.
fn a_hangup_reads_the_configuration_again(shards: &[&str]) {
    let directory = directory();
    let text = |rest: &str| format!("4lw.commands.whitelist=conf\n{rest}");
    let setup = Setup::new(directory.path(), shards).config(&text("maxClientCnxns=1\ntickTime=3000\n"));
    let mut server = setup.start();
    let mut client = server.client();
    let told = |server: &mut Server, text: &str, lines: usize| -> Vec<String> {
        let before = server.lines().len();
        fs::write(directory.path().join("zoo.cfg"), text).unwrap();
        server.signal(Signal::HUP);
        eventually("word of it", || {
            let said = server.lines().split_off(before);
            let said: Vec<_> =
                said.iter().filter_map(|line| line.split_once("SIGHUP: ")).map(|(_, line)| line.to_owned()).collect();
            (said.len() == lines).then_some(said)
        })
    };
    assert_eq!(told(&mut server, &text("maxClientCnxns=1\n"), 1), ["the configuration is as it was"]);
    let changed = "maxClientCnxns=2\ntickTime=1000\nflush.flights=1\nflush.lingerMicros=100\n";
    let lines = told(&mut server, &text(changed), 7);
    for line in [
        "flush.mode: adaptive -> fixed: in effect now",
        "flush.flights: 4 -> 1: in effect now",
        "flush.lingerMicros: 0 -> 100: in effect now",
        "maxClientCnxns: 1 -> 2: in effect now",
        "tickTime: 3000 -> 1000: takes a restart, and is not in effect",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line} in {lines:#?}");
    }
    // The second client of this address, and not the third.
    let mut other = server.client();
    assert!(ringkeeper::client::blocking::Client::connect(server.address, 10_000, PATIENCE).is_err());
    let bad = told(&mut server, &text("flush.flights=many\n"), 1);
    assert!(bad[0].contains("flush.flights=many") && bad[0].ends_with("nothing is changed"), "{bad:?}");
    for i in 0..20 {
        client.create(&format!("/a{i}"), b"", CreateMode::Persistent).unwrap();
        other.create(&format!("/b{i}"), b"", CreateMode::Persistent).unwrap();
    }
    // What takes a restart is told again.
    let again = told(&mut server, &text(changed), 3);
    assert!(again.iter().all(|line| line.ends_with("takes a restart, and is not in effect")), "{again:#?}");
    server.stop();
}

/// A pipe whose reader has gone must not take the server with it.
fn a_server_that_nobody_listens_to(shards: &[&str]) {
    use std::io::{BufRead, BufReader};
    let directory = directory();
    let words = Setup::new(directory.path(), shards).words();
    let mut child = Command::new(&words[0]).args(&words[1..]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut ready).unwrap();
    let address: std::net::SocketAddr = ready.split(' ').nth(1).unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut client =
        ringkeeper::client::blocking::Client::connect(address, 10_000, super::harness::PATIENCE).expect("it still serves");
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(eventually("the end", || child.try_wait().unwrap()).code(), Some(0));
}
