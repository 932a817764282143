//! Checks: from what a machine tells of itself to a verdict each.

use std::path::Path;

use crate::runtime::cores;
use crate::tune::machine::{Machine, is_memory, is_remote};

/// Oldest kernel that the server runs on.
const KERNEL_MIN: (u64, u64) = (5, 11);

/// Open files below which clients are turned away in numbers that fleets have.
const FILES_FEW: u64 = 65_536;

/// Locked memory below which registered buffers shrink, bytes.
const LOCKED_FEW: u64 = 16 << 20;

/// Connections that should be able to wait to be accepted.
const BACKLOG_FEW: i64 = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Ok,
    Warn,
    Bad,
    Unknown,
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the reason is told.
    pub(super) const fn is_told(self) -> bool {
        matches!(self, Self::Warn | Self::Bad)
    }
}

/// What one look has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// Why it matters; empty where all is well.
    pub(super) why: &'static str,
    pub(super) fix: Option<String>,
}

impl Check {
    pub(super) fn new(
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        why: &'static str,
        fix: Option<String>,
    ) -> Self {
        Self { name, verdict, found: found.into(), why, fix }
    }

    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found, "", None)
    }

    fn unknown(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Unknown, found, "", None)
    }

    fn warn(name: &'static str, found: impl Into<String>, why: &'static str, fix: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warn, found, why, Some(fix.into()))
    }

    fn bad(name: &'static str, found: impl Into<String>, why: &'static str, fix: impl Into<String>) -> Self {
        Self::new(name, Verdict::Bad, found, why, Some(fix.into()))
    }
}

/// What this process may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Hard limit of open files.
    pub(super) files: Option<u64>,
    /// Hard limit of locked memory, bytes.
    pub(super) locked: Option<u64>,
    /// Whether the kernel gives a ring, and if not, what it says and what to do.
    pub(super) ring: Result<(), (&'static str, &'static str)>,
}

impl Limits {
    pub(super) fn of_this_process() -> Self {
        let hard = |resource: rlimit::Resource| resource.get().ok().map(|(_, hard)| hard);
        let ring = match cores::check_ring() {
            Err(cores::CoresError::NoRing(_, advice)) => Err(("refused", advice)),
            Err(cores::CoresError::LittleMemory(_)) => {
                Err(("too little locked memory", "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)"))
            }
            Ok(()) | Err(cores::CoresError::Start(..)) => Ok(()),
        };
        Self { files: hard(rlimit::Resource::NOFILE), locked: hard(rlimit::Resource::MEMLOCK), ring }
    }
}

/// Everything, in the order of what stops a server first.
pub(super) fn all(machine: &Machine, limits: &Limits, dir: &Path) -> Vec<Check> {
    let mut checks = vec![kernel(machine), ring(machine, limits), locked(limits), files(limits)];
    checks.extend([swap(machine), pages(machine), compaction(machine), clock(machine), governor(machine), isolation(machine)]);
    checks.extend([quota(machine), backlog(machine)]);
    checks.extend(network(machine));
    checks.extend(drive(machine, dir));
    checks
}

fn kernel(machine: &Machine) -> Check {
    let Some(release) = machine.text("proc/sys/kernel/osrelease") else { return Check::unknown("kernel", "not told") };
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_MIN => Check::ok("kernel", release),
        (Some(_), Some(_)) => {
            Check::bad("kernel", release, "io_uring lacks what the server needs before 5.11", "run on Linux 5.11 or newer")
        }
        _ => Check::unknown("kernel", release),
    }
}

fn ring(machine: &Machine, limits: &Limits) -> Check {
    let name = "io_uring";
    match (limits.ring, machine.number("proc/sys/kernel/io_uring_disabled")) {
        (Err((what, advice)), _) => Check::bad(name, what, "the log and all loops run on it", advice),
        (Ok(()), Some(1)) => Check::warn(
            name,
            "for members of a group only",
            "another user gets none",
            "sysctl -w kernel.io_uring_disabled=0, or put the server's user into kernel.io_uring_group",
        ),
        (Ok(()), _) => Check::ok(name, "this process gets a ring"),
    }
}

fn locked(limits: &Limits) -> Check {
    let name = "locked memory";
    match limits.locked {
        None => Check::unknown(name, "not told"),
        Some(rlimit::INFINITY) => Check::ok(name, "no limit"),
        Some(bytes) if bytes >= LOCKED_FEW => Check::ok(name, format!("{} KiB", bytes >> 10)),
        Some(bytes) => Check::warn(
            name,
            format!("{} KiB", bytes >> 10),
            "rings and buffers of direct I/O are locked, three times io.memoryKiB for each executor",
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)",
        ),
    }
}

fn files(limits: &Limits) -> Check {
    let (name, why, fix) = ("open files", "each client takes one", "ulimit -n 1048576 (systemd: LimitNOFILE=1048576)");
    match limits.files {
        None => Check::unknown(name, "not told"),
        Some(files) if files >= FILES_FEW => Check::ok(name, files.to_string()),
        Some(files) => Check::warn(name, files.to_string(), why, fix),
    }
}

fn swap(machine: &Machine) -> Check {
    let name = "swap";
    let Some(table) = machine.text("proc/swaps") else { return Check::unknown(name, "not told") };
    let areas = table.lines().skip(1).count();
    if areas == 0 {
        return Check::ok(name, "none");
    }
    let why = "a page that comes back from swap stops a shard and everybody on it for milliseconds";
    match machine.number("proc/sys/vm/swappiness") {
        Some(level) if level <= 1 => Check::ok(name, format!("{areas} area(s), vm.swappiness {level}")),
        Some(level) => {
            Check::warn(name, format!("{areas} area(s), vm.swappiness {level}"), why, "sysctl -w vm.swappiness=1, or swapoff -a")
        }
        None => Check::warn(name, format!("{areas} area(s)"), why, "swapoff -a"),
    }
}

fn pages(machine: &Machine) -> Check {
    let name = "huge pages";
    match machine.chosen("sys/kernel/mm/transparent_hugepage/enabled") {
        Some(how) => Check::ok(name, format!("transparent: {how}")),
        None => Check::unknown(name, "not told"),
    }
}

fn compaction(machine: &Machine) -> Check {
    let name = "compaction";
    match machine.chosen("sys/kernel/mm/transparent_hugepage/defrag") {
        Some(how) if how == "always" => Check::warn(
            name,
            "at each page fault",
            "whoever asks for memory waits until huge pages are put together: stalls of milliseconds",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag",
        ),
        Some(how) => Check::ok(name, how),
        None => Check::unknown(name, "not told"),
    }
}

fn clock(machine: &Machine) -> Check {
    let (name, path) = ("clock", "sys/devices/system/clocksource/clocksource0/current_clocksource");
    match machine.text(path) {
        Some(source) if ["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"].contains(&source.as_str()) => Check::warn(
            name,
            source,
            "each look at the clock costs a microsecond or more, and every turn looks",
            format!("echo tsc > /{path}, if available_clocksource beside it has tsc"),
        ),
        Some(source) => Check::ok(name, source),
        None => Check::unknown(name, "not told"),
    }
}

fn governor(machine: &Machine) -> Check {
    let name = "frequency";
    let cpus = machine.names("sys/devices/system/cpu");
    let mut governors: Vec<_> =
        cpus.iter().filter_map(|cpu| machine.text(&format!("sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor"))).collect();
    governors.sort();
    governors.dedup();
    match governors.as_slice() {
        [] => Check::ok(name, "not ours to set (a virtual machine, or fixed)"),
        [one] if one == "performance" => Check::ok(name, "performance"),
        several => Check::warn(
            name,
            several.join(", "),
            "a lone request meets a slow core, and waits until it is fast",
            "cpupower frequency-set -g performance",
        ),
    }
}

fn isolation(machine: &Machine) -> Check {
    match machine.text("sys/devices/system/cpu/isolated") {
        Some(cpus) if !cpus.is_empty() => {
            Check::ok("isolated cores", format!("{cpus}: start the server on them, with cores.pin=yes"))
        }
        Some(_) => Check::ok("isolated cores", "none"),
        None => Check::unknown("isolated cores", "not told"),
    }
}

fn quota(machine: &Machine) -> Check {
    let name = "processor quota";
    let group = machine
        .text("proc/self/cgroup")
        .and_then(|text| Some(text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()));
    let of = |group: &str| machine.text(&format!("sys/fs/cgroup{}/cpu.max", group.trim_end_matches('/')));
    match group.as_deref().and_then(of).or_else(|| of("")) {
        Some(limit) if !limit.starts_with("max") => Check::warn(
            name,
            limit,
            "a process that has used up its share stands still until the next period, for tens of milliseconds",
            "give it whole cores instead (AllowedCPUs=, --cpuset-cpus), without CPUQuota= or --cpus",
        ),
        _ => Check::ok(name, "none"),
    }
}

fn backlog(machine: &Machine) -> Check {
    let name = "accept queue";
    match machine.number("proc/sys/net/core/somaxconn") {
        Some(most) if most >= BACKLOG_FEW => Check::ok(name, most.to_string()),
        Some(most) => Check::warn(
            name,
            most.to_string(),
            "a fleet that comes back at once is refused",
            "sysctl -w net.core.somaxconn=8192, and clientPortListenBacklog=8192",
        ),
        None => Check::unknown(name, "not told"),
    }
}

/// Cards that are devices: their queues, and who is interrupted.
fn network(machine: &Machine) -> Vec<Check> {
    let cpus = machine.names("sys/devices/system/cpu").iter().filter(|name| is_cpu(name)).count();
    let cards: Vec<_> =
        machine.names("sys/class/net").into_iter().filter(|card| machine.has(&format!("sys/class/net/{card}/device"))).collect();
    if cards.is_empty() {
        return vec![Check::ok("network", "no card is seen")];
    }
    let mut checks = Vec::new();
    for card in cards {
        let queues = machine.names(&format!("sys/class/net/{card}/queues")).iter().filter(|name| name.starts_with("rx-")).count();
        let found = format!("{card}: {queues} for {cpus} processor(s)");
        checks.push(if queues == 0 {
            Check::unknown("network queues", format!("{card}: not told"))
        } else if queues == 1 && cpus >= 4 {
            Check::warn(
                "network queues",
                found,
                "one processor takes every packet, and is the first to be full",
                format!("ethtool -L {card} combined {}", cpus.min(8)),
            )
        } else {
            Check::ok("network queues", found)
        });
        checks.extend(interrupts(machine, &card, queues, cpus));
    }
    checks
}

fn is_cpu(name: &str) -> bool {
    name.strip_prefix("cpu").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a card's queues all interrupt one processor.
fn interrupts(machine: &Machine, card: &str, queues: usize, cpus: usize) -> Option<Check> {
    let table = machine.text("proc/interrupts")?;
    let numbers =
        table.lines().filter(|line| line.split_whitespace().any(|word| word == card || word.starts_with(&format!("{card}-"))));
    let numbers = numbers.filter_map(|line| line.trim().split_once(':')?.0.parse::<u32>().ok());
    let mut places: Vec<_> = numbers.filter_map(|number| machine.text(&format!("proc/irq/{number}/smp_affinity_list"))).collect();
    places.sort();
    places.dedup();
    let name = "interrupts";
    match places.as_slice() {
        [] => None,
        [one] if queues > 1 && cpus > 1 && one.parse::<u32>().is_ok() => Some(Check::warn(
            name,
            format!("{card}: all on processor {one}"),
            "its queues do not share the work",
            format!("systemctl start irqbalance, or echo N > /proc/irq/IRQ/smp_affinity_list for each of {card}"),
        )),
        places => Some(Check::ok(name, format!("{card}: on {}", places.join(" ")))),
    }
}

/// The file system and the drive under a directory.
fn drive(machine: &Machine, dir: &Path) -> Vec<Check> {
    let Some(mount) = machine.mount(dir) else {
        return vec![Check::unknown("file system", format!("{}: not told", dir.display()))];
    };
    let (name, found) = ("file system", format!("{}: {}", dir.display(), mount.kind));
    let elsewhere = "dataDir on ext4 or xfs, on a drive of this machine";
    let mut checks = vec![match mount.kind.as_str() {
        "ext4" | "xfs" => Check::ok(name, found),
        kind if is_memory(kind) => {
            Check::bad(name, found, "it is memory: what was acknowledged is gone with the power", elsewhere)
        }
        "overlay" => {
            Check::warn(name, found, "a container's layer goes with the container", "mount a directory of the host there")
        }
        kind if is_remote(kind) => {
            Check::bad(name, found, "a flush there does not mean what it means on a drive, and may wait for a network", elsewhere)
        }
        _ => Check::warn(name, found, "the log was not tried on it: it may copy at each write, or refuse O_DIRECT", elsewhere),
    }];
    let Some(queue) = machine.queue(&mount.device) else { return checks };
    let device = mount.device;
    if let Some(scheduler) = machine.chosen(&format!("{queue}/scheduler")) {
        checks.push(match scheduler.as_str() {
            "none" | "mq-deadline" | "noop" => Check::ok("scheduler", format!("{device}: {scheduler}")),
            _ => Check::warn(
                "scheduler",
                format!("{device}: {scheduler}"),
                "it holds writes back to be fair, and a flush waits with them",
                format!("echo none > /{queue}/scheduler"),
            ),
        });
    }
    if machine.number(&format!("{queue}/rotational")) == Some(1) {
        checks.push(Check::warn(
            "drive",
            format!("{device}: says that it turns"),
            "a flush takes 5 to 15 ms; virtual drives often say so wrongly",
            "dataLogDir on a drive with power-loss protection; flush.flights=1 (tuning/profiles/slow-drive.cfg)",
        ));
    }
    if let Some(cache) = machine.text(&format!("{queue}/write_cache")) {
        let fua = if machine.number(&format!("{queue}/fua")) == Some(1) { "takes FUA" } else { "no FUA" };
        checks.push(match cache.as_str() {
            "write through" => Check::ok("write cache", format!("{device}: none that a power cut empties")),
            _ => Check::ok("write cache", format!("{device}: {cache}, {fua}: every flush counts; measure it (tuning/README.md)")),
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FINE: Limits = Limits { files: Some(1 << 20), locked: Some(rlimit::INFINITY), ring: Ok(()) };

    /// A machine of these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::at(root.path());
        (root, machine)
    }

    /// Verdict and finding of one check.
    fn verdict(files: &[(&str, &str)], limits: Limits, name: &str) -> Option<(Verdict, String)> {
        let (_root, machine) = machine(files);
        let checks = all(&machine, &limits, Path::new("/srv/data"));
        let check = checks.into_iter().find(|check| check.name == name)?;
        assert_eq!(check.verdict.is_told(), !check.why.is_empty() && check.fix.is_some(), "{check:?}");
        Some((check.verdict, check.found))
    }

    fn of(files: &[(&str, &str)], name: &str) -> Verdict {
        verdict(files, FINE, name).unwrap_or_else(|| panic!("no check {name}")).0
    }

    #[test]
    fn kernels() {
        let of = |release| of(&[("proc/sys/kernel/osrelease", release)], "kernel");
        assert_eq!([of("6.1.0-13-amd64"), of("5.11.0"), of("10.0")], [Verdict::Ok; 3]);
        assert_eq!([of("5.10.0"), of("4.19")], [Verdict::Bad; 2]);
        assert_eq!(of("linux"), Verdict::Unknown);
    }

    #[test]
    fn limits() {
        let of = |limits, name| verdict(&[], limits, name).unwrap().0;
        assert_eq!(of(Limits { files: Some(1024), ..FINE }, "open files"), Verdict::Warn);
        assert_eq!(of(Limits { locked: Some(64 << 10), ..FINE }, "locked memory"), Verdict::Warn);
        assert_eq!(of(Limits { ring: Err(("refused", "allow it")), ..FINE }, "io_uring"), Verdict::Bad);
        assert_eq!([of(FINE, "open files"), of(FINE, "locked memory"), of(FINE, "io_uring")], [Verdict::Ok; 3]);
    }

    #[test]
    fn memory() {
        let swaps = "Filename Type Size Used Priority\n/swapfile file 1 0 -2\n";
        assert_eq!(of(&[("proc/swaps", "Filename Type\n")], "swap"), Verdict::Ok);
        assert_eq!(of(&[("proc/swaps", swaps), ("proc/sys/vm/swappiness", "60\n")], "swap"), Verdict::Warn);
        assert_eq!(of(&[("proc/swaps", swaps), ("proc/sys/vm/swappiness", "1\n")], "swap"), Verdict::Ok);
        let defrag = "sys/kernel/mm/transparent_hugepage/defrag";
        assert_eq!(of(&[(defrag, "[always] defer madvise never\n")], "compaction"), Verdict::Warn);
        assert_eq!(of(&[(defrag, "always defer [madvise] never\n")], "compaction"), Verdict::Ok);
    }

    #[test]
    fn processors() {
        let clock = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        assert_eq!(of(&[(clock, "hpet\n")], "clock"), Verdict::Warn);
        assert_eq!(of(&[(clock, "kvm-clock\n")], "clock"), Verdict::Ok);
        let governor = |n: u8| format!("sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor");
        let mixed = [(governor(0), "performance\n"), (governor(1), "powersave\n")];
        let mixed: Vec<_> = mixed.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!((of(&mixed[..1], "frequency"), of(&mixed, "frequency")), (Verdict::Ok, Verdict::Warn));
        let group = ("proc/self/cgroup", "0::/system.slice/a.service\n");
        let quota = ("sys/fs/cgroup/system.slice/a.service/cpu.max", "200000 100000\n");
        assert_eq!((of(&[group], "processor quota"), of(&[group, quota], "processor quota")), (Verdict::Ok, Verdict::Warn));
    }

    #[test]
    fn cards() {
        let cpus: Vec<String> = (0..4).map(|n| format!("sys/devices/system/cpu/cpu{n}/online")).collect();
        let mut files: Vec<(&str, &str)> = cpus.iter().map(|path| (path.as_str(), "1")).collect();
        files.extend([("sys/class/net/eth0/device/vendor", "x"), ("sys/class/net/lo/queues/rx-0/x", "")]);
        files.push(("sys/class/net/eth0/queues/rx-0/x", ""));
        assert_eq!(of(&files, "network queues"), Verdict::Warn);
        assert_eq!(verdict(&files, FINE, "interrupts"), None);
        files.push(("sys/class/net/eth0/queues/rx-1/x", ""));
        assert_eq!(of(&files, "network queues"), Verdict::Ok);
        let interrupts =
            "     CPU0 CPU1\n 24:  1 0 PCI-MSI 1-edge eth0-rx-0\n 25:  1 0 PCI-MSI 2-edge eth0-rx-1\n 26: 0 0 x eth00\n";
        files.extend([
            ("proc/interrupts", interrupts),
            ("proc/irq/24/smp_affinity_list", "0"),
            ("proc/irq/26/smp_affinity_list", "3"),
        ]);
        files.push(("proc/irq/25/smp_affinity_list", "0"));
        assert_eq!(of(&files, "interrupts"), Verdict::Warn);
        files.pop();
        files.push(("proc/irq/25/smp_affinity_list", "1"));
        assert_eq!(of(&files, "interrupts"), Verdict::Ok);
    }

    #[test]
    fn drives() {
        let mount = |kind: &str| format!("22 1 254:1 / / rw - {kind} /dev/x rw\n");
        for (kind, want) in [
            ("ext4", Verdict::Ok),
            ("xfs", Verdict::Ok),
            ("tmpfs", Verdict::Bad),
            ("nfs4", Verdict::Bad),
            ("fuse.sshfs", Verdict::Bad),
            ("btrfs", Verdict::Warn),
        ] {
            assert_eq!(of(&[("proc/self/mountinfo", &mount(kind))], "file system"), want, "{kind}");
        }
        let mount = mount("ext4");
        let mut files = vec![("proc/self/mountinfo", mount.as_str()), ("sys/dev/block/254:1/queue/scheduler", "none [bfq]\n")];
        files.extend([("sys/dev/block/254:1/queue/write_cache", "write back\n"), ("sys/dev/block/254:1/queue/fua", "1\n")]);
        files.push(("sys/dev/block/254:1/queue/rotational", "1\n"));
        assert_eq!((of(&files, "scheduler"), of(&files, "drive")), (Verdict::Warn, Verdict::Warn));
        let (verdict, found) = verdict(&files, FINE, "write cache").unwrap();
        assert!(verdict == Verdict::Ok && found.contains("write back, takes FUA"), "{found}");
    }

    #[test]
    fn a_partition_is_told_of_by_its_whole() {
        let (root, machine) = machine(&[
            ("sys/devices/pci/block/nvme0n1/queue/scheduler", "[none]\n"),
            ("sys/devices/pci/block/nvme0n1/nvme0n1p1/dev", "259:1"),
        ]);
        fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
        std::os::unix::fs::symlink("../../devices/pci/block/nvme0n1/nvme0n1p1", root.path().join("sys/dev/block/259:1")).unwrap();
        assert_eq!(machine.queue("259:1").as_deref(), Some("sys/devices/pci/block/nvme0n1/queue"));
        assert_eq!(machine.queue("259:2"), None);
    }
}
