//! Limits: files that may not grow and disks that are full. The server ends with one line, and what it acknowledged is there.

use std::path::Path;

use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::code::Code;

use super::harness::{Server, Setup, both, directory, eventually, namespace};

both!(
    a_log_that_cannot_be_written_ends_the_server,
    a_full_disk_refuses_writes_until_there_is_room,
    room_that_is_made_in_time_saves_the_server,
);

/// Bytes of data of each znode.
const DATA: usize = 64 << 10;

/// Creates znodes, some at a time, until the server is gone or `most` are there; returns how many were acknowledged.
fn fill(client: &mut Client, from: usize, most: usize) -> usize {
    let acl = [Acl::open()];
    let data = vec![b'f'; DATA];
    let mut sent = from;
    let mut acknowledged = from;
    while acknowledged < most {
        while sent < acknowledged + 16 {
            let path = format!("/f{sent:06}");
            let ask = Ask::Create { path: &path, data: Some(&data), acl: &acl, mode: CreateMode::Persistent };
            if client.submit(&ask).is_err() {
                return acknowledged;
            }
            sent += 1;
        }
        match client.next_reply() {
            Ok(reply) => {
                reply.result.unwrap();
                acknowledged += 1;
            }
            Err(ClientError::Closed) => return acknowledged,
            Err(error) => panic!("after {acknowledged} answers: {error}"),
        }
    }
    acknowledged
}

/// All of the first `count` are there and whole.
fn are_there(server: &Server, count: usize) {
    let mut client = server.client();
    for i in 0..count {
        client.submit(&Ask::GetData { path: &format!("/f{i:06}"), watch: false }).unwrap();
        if i % 64 == 63 || i == count - 1 {
            while client.pending() > 0 {
                client.next_reply().unwrap().result.unwrap_or_else(|error| panic!("one of the first {i} of {count}: {error}"));
            }
        }
    }
}

/// Writes of the log fail in the middle of a segment.
fn a_log_that_cannot_be_written_ends_the_server(shards: &[&str]) {
    let directory = directory();
    let setup = Setup::new(directory.path(), shards);
    let server = setup.start();
    // So that all segments that are made ahead are there before the limit is.
    let third = directory.path().join("data/log/log.0000000000000003");
    eventually("the third segment", || third.exists().then_some(()));
    server.stop();
    // Blocks of 512 bytes, as the standard has it for sh.
    let mut server = setup.clone().limited("ulimit -f 8192").start();
    let mut client = server.client();
    let count = fill(&mut client, 0, 100_000);
    assert!((30..100).contains(&count), "4 MiB of 64 KiB each, and {count} were acknowledged");
    assert_eq!(server.end().code(), Some(1));
    let said = server.said();
    let last = one_line_at_the_end(&said);
    // A batch may have been written up to the limit.
    assert!(last.contains("cannot write the log "), "{last}");
    assert!(last.contains("File too large") || last.contains(" bytes at offset "), "{last}");
    assert!(last.ends_with(": stopping, acknowledged data is intact"), "{last}");
    let server = setup.start();
    are_there(&server, count);
    server.stop();
}

fn one_line_at_the_end(said: &[String]) -> &str {
    let last = said.last().unwrap();
    assert!(
        last.starts_with("ringkeeper: ") && said.iter().filter(|line| line.starts_with("ringkeeper: ")).count() == 1,
        "{said:#?}"
    );
    assert!(!said.iter().any(|line| line.contains("panicked")), "{said:#?}");
    last
}

/// A small file system of its own, in a namespace that ends with the server in it: the server fills it and refuses writes; it
/// serves reads and sessions; there is room again, and it takes writes.
fn a_full_disk_refuses_writes_until_there_is_room(shards: &[&str]) {
    let directory = directory();
    let Some(unshare) = namespace(directory.path()) else { return };
    let data = directory.path().join("data").display().to_string();
    std::fs::create_dir(&data).unwrap();
    // One segment in use, one ahead, and no room for another beside the other file.
    let script = format!(
        "mount -t tmpfs -o size=104m tmpfs '{data}' && dd if=/dev/zero of='{data}/other' bs=1M count=60 status=none || exit 99
         exec \"$@\""
    );
    let words: Vec<&str> = unshare.iter().map(String::as_str).chain(["sh", "-c", &script, "sh"]).collect();
    let mut server = Setup::new(directory.path(), shards).wrapped(&words).start();
    let mut client = server.client();
    let bytes = vec![b'f'; DATA];
    let mut count = 0;
    let refused = loop {
        match client.create(&format!("/f{count:06}"), &bytes, CreateMode::Persistent) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    let is_declined = |error: &ClientError| error.refusal().is_some_and(|refusal| refusal.is(Code::SystemError));
    assert!(is_declined(&refused), "after {count}: {refused}; {:#?}", server.lines());
    assert!((250..450).contains(&count), "two segments of 16 MiB but for a reserve of 8, and {count} were acknowledged");
    let line = server.wait_for_line("REFUSED");
    assert!(line.contains("ERROR") && line.contains("make room in"), "{line}");
    // Reads, and sessions with their ends, go on.
    are_there(&server, count);
    for _ in 0..20 {
        let mut other = server.client();
        assert!(is_declined(&other.set("/f000000", b"x", -1).unwrap_err()));
        assert_eq!(other.get("/f000000", false).unwrap().0.len(), DATA);
        other.close().unwrap();
    }
    std::fs::remove_file(format!("/proc/{}/root{data}/other", server.id())).unwrap();
    eventually("room", || client.set("/f000000", &bytes, -1).ok());
    assert_eq!(fill(&mut client, 1000, 1300), 1300);
    are_there(&server, count);
    server.check();
    let said = server.lines();
    assert!(said.iter().any(|line| line.contains("the log has room again")), "{said:#?}");
    server.stop();
}

/// The next segment finds no room, and is made when there is some, before the log needs it.
fn room_that_is_made_in_time_saves_the_server(shards: &[&str]) {
    let directory = directory();
    let Some(unshare) = namespace(directory.path()) else { return };
    let data = directory.path().join("data").display().to_string();
    std::fs::create_dir(&data).unwrap();
    // Room for three segments beside the other file, and for five without it.
    let script = format!(
        "mount -t tmpfs -o size=92m tmpfs '{data}' && dd if=/dev/zero of='{data}/other' bs=1M count=40 status=none || exit 99
         exec \"$@\""
    );
    let words: Vec<&str> = unshare.iter().map(String::as_str).chain(["sh", "-c", &script, "sh"]).collect();
    let mut server = Setup::new(directory.path(), shards).wrapped(&words).start();
    let mut client = server.client();
    // Into the second segment, so that a fourth is wanted.
    assert_eq!(fill(&mut client, 0, 300), 300);
    let line = server.wait_for_line("ERROR");
    assert!(line.contains("No space left on device") && line.contains("unless this is mended"), "{line}");
    std::fs::remove_file(format!("/proc/{}/root{data}/other", server.id())).unwrap();
    let fourth = format!("/proc/{}/root{data}/log/log.0000000000000004", server.id());
    eventually("the fourth segment", || Path::new(&fourth).exists().then_some(()));
    let mut client = server.client();
    assert_eq!(fill(&mut client, 400, 800), 800);
    server.check();
    assert_eq!(server.lines().iter().filter(|line| line.contains("ERROR")).count(), 1, "it is told once");
    server.stop();
}
