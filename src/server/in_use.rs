//! In use: whether a server works on a directory. Asked without taking its lock, so that asking never keeps a server out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::runtime::disk::LOCK;

/// The process that holds the lock of `dir`, as far as this machine tells.
#[must_use]
pub fn worker_of(dir: &Path) -> Option<u32> {
    let lock = fs::metadata(dir.join(LOCK)).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let device = (rustix::fs::major(lock.dev()), rustix::fs::minor(lock.dev()));
    let holders: Vec<_> = locks.lines().filter_map(holder).filter(|holder| holder.inode == lock.ino()).collect();
    // Some file systems show another device number in the list than to a process; then the holder's name has to do.
    let exact = holders.iter().find(|holder| holder.device == device);
    exact.or_else(|| holders.iter().find(|holder| is_ours(holder.pid))).map(|holder| holder.pid)
}

fn is_ours(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "ringkeeper")
}

#[derive(PartialEq, Eq, Debug)]
struct Holder {
    pid: u32,
    device: (u32, u32),
    inode: u64,
}

/// A line of /proc/locks: `1: FLOCK  ADVISORY  WRITE 4711 fe:01:42 0 EOF`. Those who wait for a lock have an arrow in it.
fn holder(line: &str) -> Option<Holder> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else { return None };
    let mut parts = file.split(':');
    let (major, minor, inode) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text| u32::from_str_radix(text, 16).ok();
    Some(Holder { pid: pid.parse().ok()?, device: (hex(major)?, hex(minor)?), inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_list() {
        let got = holder("1: FLOCK  ADVISORY  WRITE 4711 fe:01:42 0 EOF");
        assert_eq!(got, Some(Holder { pid: 4711, device: (0xfe, 1), inode: 42 }));
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 4711 fe:01:42 0 EOF",
            "2: POSIX  ADVISORY  WRITE 4711 fe:01:42 0 EOF",
            "3: FLOCK  ADVISORY  WRITE -1 fe:01:42 0 EOF",
            "4: FLOCK  ADVISORY  WRITE 1 fe:01 0 EOF",
            "",
        ] {
            assert_eq!(holder(other), None, "{other}");
        }
    }

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(worker_of(dir.path()), None);
        let file = fs::File::create(dir.path().join(LOCK)).unwrap();
        assert_eq!(worker_of(dir.path()), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(worker_of(dir.path()), Some(std::process::id()));
        drop(file);
        assert_eq!(worker_of(dir.path()), None);
    }
}
