//! Machine: facts about where a run happens, and the processor time that threads use.

use std::time::Duration;

use super::record::Machine;
use crate::client::word;

/// How long a server may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(2);

impl Machine {
    /// This machine. What cannot be found out is empty or 0.
    #[must_use]
    pub fn here() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory_kib: u64 = after(&file("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            processor: after(&file("/proc/cpuinfo"), "model name"),
            cores: cores(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            memory_mib: memory_kib >> 10,
            tool: format!("ringkeeper {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processor time of the calling thread so far, seconds, from the kernel's scheduler statistics; 0 where it keeps none.
#[must_use]
pub fn thread_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// What a server says of its version: its own words after `Zookeeper version: ` in the answer to `srvr`. `None` where it does
/// not answer that word.
#[must_use]
pub fn version_of(server: &str) -> Option<String> {
    let answer = word::ask(server, "srvr", PATIENCE).ok()?;
    let line = answer.lines().find_map(|line| line.strip_prefix("Zookeeper version: "))?;
    Some(line.split(", built on").next().unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn this_machine_has_a_kernel_cores_and_memory() {
        let here = Machine::here();
        assert!(here.cores > 0 && here.memory_mib > 0 && !here.kernel.is_empty() && here.tool.starts_with("ringkeeper "));
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = thread_seconds();
        let mut n = 0u64;
        while thread_seconds() - before < 0.002 {
            n = std::hint::black_box(n + 1);
        }
        assert!(n > 0);
    }

    #[test]
    fn a_version_is_what_the_server_says() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for answer in ["Zookeeper version: 3.9.4-abc, built on 2025-08-19\nMode: standalone\n", "not in the whitelist\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut word = [0; 4];
                stream.read_exact(&mut word).unwrap();
                assert_eq!(&word, b"srvr");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(version_of(&address).as_deref(), Some("3.9.4-abc"));
        assert_eq!(version_of(&address), None);
        server.join().unwrap();
        assert_eq!(version_of(&address), None, "nobody is there any more");
    }
}
