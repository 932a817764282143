//! The settings: `conf`, how the server is configured, `dirs`, how much it keeps, and `envi`, what it runs on.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::facts::{Facts, Probe, size_of};

/// The answer to `conf`. A member's tells of its ensemble at the end.
pub(super) fn conf(facts: &Facts) -> String {
    let secure = facts.secure_client_port.map_or(-1, i32::from);
    let lines: [(&str, String); 12] = [
        ("clientPort", facts.client_port.to_string()),
        ("secureClientPort", secure.to_string()),
        ("dataDir", facts.data_dir.display().to_string()),
        ("dataDirSize", size_of(&facts.data_dir).to_string()),
        ("dataLogDir", facts.data_log_dir.display().to_string()),
        ("dataLogSize", size_of(&facts.data_log_dir).to_string()),
        ("tickTime", facts.tick_time_ms.to_string()),
        ("maxClientCnxns", facts.max_client_cnxns.load(Ordering::Relaxed).to_string()),
        ("minSessionTimeout", facts.min_session_timeout_ms.to_string()),
        ("maxSessionTimeout", facts.max_session_timeout_ms.to_string()),
        ("clientPortListenBacklog", facts.listen_backlog.to_string()),
        ("serverId", facts.server_id.to_string()),
    ];
    let mut text = String::new();
    write_lines(&mut text, &lines);
    if let Some(ensemble) = &facts.ensemble {
        let lines: [(&str, String); 6] = [
            ("initLimit", ensemble.init_limit.to_string()),
            ("syncLimit", ensemble.sync_limit.to_string()),
            ("electionAlg", "3".to_owned()),
            ("electionPort", ensemble.election_port.to_string()),
            ("quorumPort", ensemble.quorum_port.to_string()),
            ("peerType", u8::from(ensemble.is_observer).to_string()),
        ];
        write_lines(&mut text, &lines);
        write!(text, "membership: \n{}", ensemble.membership).expect("a String takes every write");
    }
    text
}

/// The answer to `dirs`.
pub(super) fn dirs(facts: &Facts) -> String {
    format!("datadir_size: {}\nlogdir_size: {}\n", size_of(&facts.data_dir), size_of(&facts.data_log_dir))
}

/// The answer to `envi`. The lines that describe a Java machine are left out; memory is the machine's, where Java's is its heap.
pub(super) fn envi(facts: &Facts, probe: &Probe) -> String {
    let host = &facts.host;
    let megabytes = |bytes: u64| format!("{}MB", bytes / (1024 * 1024));
    let lines: [(&str, String); 11] = [
        ("zookeeper.version", facts.version.clone()),
        ("host.name", host.name.clone()),
        ("os.name", host.os.clone()),
        ("os.arch", host.arch.clone()),
        ("os.version", host.os_version.clone()),
        ("user.name", host.user.clone()),
        ("user.home", host.home.clone()),
        ("user.dir", host.dir.clone()),
        ("os.memory.free", megabytes(probe.memory_free)),
        ("os.memory.max", megabytes(probe.memory_total)),
        ("os.memory.total", megabytes(probe.memory_total)),
    ];
    let mut text = "Environment:\n".to_owned();
    write_lines(&mut text, &lines);
    text
}

fn write_lines(text: &mut String, lines: &[(&str, String)]) {
    for (key, value) in lines {
        writeln!(text, "{key}={value}").expect("a String takes every write");
    }
}
