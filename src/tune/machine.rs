//! Machine: what the kernel tells of itself in `/proc` and `/sys`, below a root that tests replace by one of their own.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a path lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    /// Major and minor number of the device, as in `/sys/dev/block`.
    pub(super) device: String,
    /// Kind of the file system.
    pub(super) kind: String,
    /// What it is mounted with, separated by commas.
    pub(super) options: String,
}

/// Whether a file system is memory, and gone with the power.
pub(super) fn is_memory(kind: &str) -> bool {
    ["tmpfs", "ramfs"].contains(&kind)
}

/// Whether a file system is somewhere else, or behind a program.
pub(super) fn is_remote(kind: &str) -> bool {
    kind.starts_with("nfs")
        || kind.starts_with("fuse")
        || ["cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "afs", "virtiofs", "gfs2", "ocfs2"].contains(&kind)
}

/// The files.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A file's text without the spaces around it; nothing where it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// Names in a directory, in order; none where it cannot be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The word in brackets, as in `always [madvise] never`.
    pub(super) fn chosen(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
    }

    /// The mount that an absolute path lies on: the longest mount point that holds it, the last of equals.
    pub(super) fn mount(&self, path: &Path) -> Option<Mount> {
        let mounts = self.text("proc/self/mountinfo")?;
        let mut best: Option<(usize, Mount)> = None;
        for line in mounts.lines() {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(2);
            let (device, point, options) = (left.next()?, unescaped(left.nth(1)?), left.next()?.to_owned());
            let length = point.len();
            if path.starts_with(&point) && best.as_ref().is_none_or(|(longest, _)| length >= *longest) {
                let kind = right.split(' ').next()?.to_owned();
                best = Some((length, Mount { device: device.to_owned(), kind, options }));
            }
        }
        best.map(|(_, mount)| mount)
    }

    /// Where the queue of a device is told of; of a partition, that of the whole.
    pub(super) fn queue(&self, device: &str) -> Option<String> {
        let of = |suffix: &str| Some(format!("sys/dev/block/{device}{suffix}")).filter(|path| self.has(path));
        of("/queue").or_else(|| {
            // The parent of what the link leads to, and not of the link.
            let whole = fs::canonicalize(self.root.join(format!("sys/dev/block/{device}"))).ok()?;
            let root = fs::canonicalize(&self.root).ok()?;
            let queue = whole.parent()?.strip_prefix(root).ok()?.join("queue");
            Some(queue.to_str()?.to_owned()).filter(|path| self.has(path))
        })
    }
}

/// Octal escapes of proc(5): a blank is `\040`.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_on_the_longest_mount_point() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let lines = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                     30 22 0:25 / /srv/a\\040b rw - tmpfs tmpfs rw\n\
                     31 22 259:1 / /srv rw - xfs /dev/nvme0n1p1 rw\n";
        fs::write(root.path().join("proc/self/mountinfo"), lines).unwrap();
        let machine = Machine::at(root.path());
        let at = |path: &str| machine.mount(Path::new(path)).map(|mount| (mount.device, mount.kind));
        let is = |device: &str, kind: &str| Some((device.to_owned(), kind.to_owned()));
        assert_eq!(at("/var/lib"), is("254:0", "ext4"));
        assert_eq!(at("/srv/data"), is("259:1", "xfs"));
        assert_eq!(at("/srv/a b/c"), is("0:25", "tmpfs"));
        assert_eq!(at("/srvx"), is("254:0", "ext4"));
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescaped("a\\040b\\134c\\9\\"), "a b\\c\\9\\");
    }
}
