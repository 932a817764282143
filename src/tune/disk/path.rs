//! Path: what a directory lies on, as far as the machine tells, and whether it can be measured at all.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::tune::machine::{Machine, is_memory, is_remote};

/// What is known of it; empty where the machine does not tell.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ground {
    /// The directory.
    pub dir: PathBuf,
    /// Kind of the file system.
    pub file_system: String,
    /// Options that it is mounted with.
    pub options: String,
    /// Numbers of the device, as in `/sys/dev/block`.
    pub device: String,
    /// Name of the device.
    pub name: String,
    /// What it says it is.
    pub model: String,
    /// `write back`, or `write through` where there is no cache that a power cut empties.
    pub write_cache: String,
    /// Whether a single write can be told to go past that cache.
    pub fua: Option<bool>,
    /// Who orders what the drive is asked.
    pub scheduler: String,
    /// Whether it says that it turns; virtual drives often say so wrongly.
    pub rotational: Option<bool>,
}

/// Why a directory is not measured.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It is memory.
    #[error(
        "{0} is {1}, which is memory: O_DIRECT means nothing there, and nothing survives the power; name a directory on a drive"
    )]
    Memory(PathBuf, String),
    /// It is somebody else's drive.
    #[error(
        "{0} is on a network file system ({1}): what a flush costs and means is decided elsewhere, and a log should not lie there; name a directory \
         on a drive of this machine, or say --anyway"
    )]
    Network(PathBuf, String),
    /// Nothing can be written.
    #[error("{0} is mounted read-only: name a directory that can be written")]
    ReadOnly(PathBuf),
    /// There is too little room.
    #[error("{0} has {1} MiB of room, and {2} MiB are needed: make room, or ask for smaller files by --file-mib")]
    Little(PathBuf, u64, u64),
}

impl Ground {
    /// Looks at it.
    pub fn of(machine: &Machine, dir: &Path) -> Self {
        let Some(mount) = machine.mount(dir) else { return Self { dir: dir.to_owned(), ..Self::default() } };
        let queue = machine.queue(&mount.device);
        let of_queue = |name: &str| queue.as_ref().and_then(|queue| machine.text(&format!("{queue}/{name}"))).unwrap_or_default();
        let flag = |name: &str| Some(of_queue(name)).filter(|text| !text.is_empty()).map(|text| text != "0");
        let whole = queue.as_ref().and_then(|queue| queue.strip_suffix("/queue")).map(str::to_owned).unwrap_or_default();
        let model = machine.text(&format!("{whole}/device/model")).unwrap_or_default();
        let uevent = machine.text(&format!("{whole}/uevent")).unwrap_or_default();
        let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).unwrap_or_default().to_owned();
        let scheduler = queue.as_ref().and_then(|queue| machine.chosen(&format!("{queue}/scheduler"))).unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            file_system: mount.kind,
            options: mount.options,
            device: mount.device,
            name,
            model,
            write_cache: of_queue("write_cache"),
            fua: flag("fua"),
            scheduler,
            rotational: flag("rotational"),
        }
    }

    /// Refuses what would measure something else than a drive. `room` and `wanted` are bytes.
    pub fn check(&self, anyway: bool, room: u64, wanted: u64) -> Result<(), Unfit> {
        let kind = || self.file_system.clone();
        if is_memory(&self.file_system) {
            return Err(Unfit::Memory(self.dir.clone(), kind()));
        }
        if is_remote(&self.file_system) && !anyway {
            return Err(Unfit::Network(self.dir.clone(), kind()));
        }
        if self.options.split(',').any(|option| option == "ro") {
            return Err(Unfit::ReadOnly(self.dir.clone()));
        }
        if room < wanted {
            return Err(Unfit::Little(self.dir.clone(), room >> 20, wanted >> 20));
        }
        Ok(())
    }

    /// What hints at a cache that a power cut does not empty, or against it; nothing where there is none.
    pub fn hint(&self) -> Option<&'static str> {
        match (self.write_cache.as_str(), self.fua) {
            ("write through", _) => {
                Some("it says that it has no cache that a power cut empties: so speak drives with power-loss protection")
            }
            ("write back", Some(true)) => {
                Some("it says that its cache is lost with the power, and that single writes can go past it")
            }
            ("write back", _) => Some("it says that its cache is lost with the power; each flush empties all of it"),
            _ => None,
        }
    }

    /// Lines, as names and values.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("directory", self.dir.display().to_string())];
        let mut put = |name: &'static str, value: String| {
            if !value.trim().is_empty() {
                facts.push((name, value.trim().to_owned()));
            }
        };
        put("file system", format!("{} ({})", self.file_system, self.options));
        put("device", format!("{} {} {}", self.device, self.name, self.model));
        put("scheduler", self.scheduler.clone());
        let fua = self.fua.map_or("", |fua| if fua { ", takes FUA" } else { ", no FUA" });
        if !self.write_cache.is_empty() {
            put("write cache", format!("{}{fua}", self.write_cache));
        }
        put("turns", self.rotational.map_or_else(String::new, |turns| if turns { "it says so" } else { "no" }.to_owned()));
        put("hint", self.hint().unwrap_or_default().to_owned());
        facts
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ground(files: &[(&str, &str)]) -> Ground {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Ground::of(&Machine::at(root.path()), Path::new("/srv"))
    }

    #[test]
    fn a_drive_is_told_with_what_hints_at_its_cache() {
        let mounts = ("proc/self/mountinfo", "30 22 259:1 / /srv rw,noatime shared:1 - xfs /dev/nvme0n1 rw,attr2\n");
        let queue = "sys/dev/block/259:1/queue";
        let found = ground(&[
            mounts,
            (&format!("{queue}/write_cache"), "write through\n"),
            (&format!("{queue}/fua"), "0\n"),
            (&format!("{queue}/scheduler"), "[none] mq-deadline\n"),
            (&format!("{queue}/rotational"), "0\n"),
            ("sys/dev/block/259:1/device/model", "EXAMPLE 960G\n"),
            ("sys/dev/block/259:1/uevent", "MAJOR=259\nDEVNAME=nvme0n1\n"),
        ]);
        let facts: Vec<String> = found.facts().into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(facts[1..4], ["file system: xfs (rw,noatime)", "device: 259:1 nvme0n1 EXAMPLE 960G", "scheduler: none"]);
        assert_eq!(facts[4..6], ["write cache: write through, no FUA", "turns: no"]);
        assert!(facts[6].contains("power-loss protection"), "{facts:?}");
        let bare = ground(&[mounts]);
        assert_eq!((bare.hint(), bare.fua, bare.facts().len()), (None, None, 3));
        assert_eq!(ground(&[]).facts().len(), 2);
    }

    #[test]
    fn what_is_no_drive_is_refused_in_a_line() {
        let of = |kind: &str, options: &str| Ground {
            dir: "/srv".into(),
            file_system: kind.to_owned(),
            options: options.to_owned(),
            ..Ground::default()
        };
        let told = |ground: Ground, anyway, room: u64| ground.check(anyway, room << 20, 512 << 20).err().map(|e| e.to_string());
        assert_eq!(told(of("ext4", "rw,relatime"), false, 512), None);
        for (ground, anyway, room, part) in [
            (of("tmpfs", "rw"), true, 9999, "which is memory: O_DIRECT"),
            (of("nfs4", "rw"), false, 9999, "network file system (nfs4)"),
            (of("fuse.sshfs", "rw"), false, 9999, "network file system (fuse.sshfs)"),
            (of("nfs4", "ro"), true, 9999, "read-only"),
            (of("ext4", "ro,relatime"), false, 9999, "read-only"),
            (of("ext4", "rw"), false, 511, "has 511 MiB of room, and 512 MiB are needed"),
        ] {
            let told = told(ground, anyway, room).unwrap();
            assert!(told.starts_with("/srv ") && told.contains(part), "{told}");
        }
        assert_eq!(told(of("nfs4", "rw"), true, 512), None);
    }
}
