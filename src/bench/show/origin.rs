//! Origin: the sources and the disk behind what was measured.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources and the disk, as names and values.
#[must_use]
pub fn facts(data: Option<&Path>) -> Vec<(String, String)> {
    let mut facts = vec![("commit of the working directory".to_owned(), commit(Path::new(".")))];
    if let Some(data) = data {
        facts.push(("disk of the data".to_owned(), disk(data)));
    }
    facts
}

/// The commit that is checked out in a directory, and whether files differ from it, as `git` says.
#[must_use]
pub fn commit(directory: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown: git is absent or knows of none here".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => format!("{commit}, tree clean"),
        Some(_) => format!("{commit}, with uncommitted changes"),
        None => format!("{commit}, changes unknown"),
    }
}

/// The disk and the filesystem that a path lies on.
#[must_use]
pub fn disk(path: &Path) -> String {
    let found = path.canonicalize().ok().and_then(|path| {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        mount(&mounts, &path)
    });
    match found {
        Some((source, kind)) => format!("{source} ({kind})"),
        None => "unknown".to_owned(),
    }
}

/// Source and kind of the mount that `path` lies on, from the lines of proc(5) mountinfo: the longest mount point that holds
/// it, and of equal ones the last, which covers those before.
fn mount(mounts: &str, path: &Path) -> Option<(String, String)> {
    let mut best: Option<(usize, (String, String))> = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(point), mut after) = (before.split(' ').nth(4), after.split(' ')) else { continue };
        let (Some(kind), Some(source)) = (after.next(), after.next()) else { continue };
        let point = PathBuf::from(point.replace("\\040", " "));
        let depth = point.components().count();
        if path.starts_with(&point) && best.as_ref().is_none_or(|(other, _)| *other <= depth) {
            best = Some((depth, (source.to_owned(), kind.to_owned())));
        }
    }
    best.map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_found() {
        let mounts = "1 0 0:1 / / rw - ext4 /dev/root rw\n2 1 0:2 / /data\\040x rw shared:1 - xfs /dev/b rw\n\
                      3 1 0:3 / /data rw - tmpfs none rw\n4 1 0:4 / /data rw - btrfs /dev/c rw\nrubbish\n5 - x\n";
        let found = |path: &str| mount(mounts, Path::new(path)).map(|(source, kind)| format!("{source} {kind}"));
        assert_eq!(found("/data x/y").as_deref(), Some("/dev/b xfs"));
        assert_eq!(found("/data/y").as_deref(), Some("/dev/c btrfs"), "a later mount covers an earlier one");
        assert_eq!(found("/database").as_deref(), Some("/dev/root ext4"));
        assert_eq!(mount("", Path::new("/")), None);
        assert_eq!(disk(Path::new("/no/such/path")), "unknown");
    }

    #[test]
    fn where_there_is_no_repository_it_is_said() {
        let directory = tempfile::tempdir().unwrap();
        // A repository may lie above the directory for temporary files; one that is not there cannot be in any.
        assert!(commit(&directory.path().join("none")).starts_with("unknown"));
        assert_eq!(facts(Some(directory.path())).len(), 2);
    }
}
