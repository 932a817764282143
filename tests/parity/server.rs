//! Server: the binary with a directory of its own, for as long as it is needed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

pub struct Server {
    child: Child,
    _directory: TempDir,
    pub address: SocketAddr,
}

impl Server {
    /// With what the scenarios need: znodes with a time to live, and nothing that is taken away in between.
    pub fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("data"))
            .args([
                "-Dzookeeper.extendedTypesEnabled=true",
                "-Dzookeeper.enforceQuota=true",
                "-Dznode.container.checkIntervalMs=86400000",
                "-Dzookeeper.forceSync=no",
            ])
            .args(["-Dzookeeper.maxClientCnxns=0", "-Dzookeeper.preAllocSize=16384"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let address = line.strip_prefix("ready: ").and_then(|rest| rest.split(' ').next()?.parse().ok());
            said.push(line);
            address
        });
        let Some(address) = address else { panic!("the server did not start: {said:#?}") };
        // It must not wait for somebody to read.
        thread::spawn(move || lines.for_each(drop));
        Self { child, _directory: directory, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
