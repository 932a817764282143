//! Caption: what tells records apart, and under which conditions they were made.

use crate::bench::record::Record;
use crate::bench::spec::{Arrivals, Pace};
use crate::show::figure;

/// How a record's requests were paced: `open loop, 20,000/s poisson`.
#[must_use]
pub fn pace(record: &Record) -> String {
    match record.spec.pace {
        Pace::Open { rate, arrivals } => {
            let spacing = match arrivals {
                Arrivals::Poisson => "poisson",
                Arrivals::Constant => "constant",
            };
            format!("open loop, {}/s {spacing}", figure::rate(rate))
        }
        Pace::Closed => format!("closed loop, {} in flight", figure::thousands(in_flight(record) as u64)),
    }
}

const fn in_flight(record: &Record) -> usize {
    record.spec.connections.saturating_mul(record.spec.in_flight)
}

/// A name for each record, no two the same: its target, and what differs between those of one target, at last a number.
#[must_use]
pub fn names(records: &[&Record]) -> Vec<String> {
    let mut names: Vec<String> = records.iter().map(|record| record.target.label.clone()).collect();
    let more: [fn(&Record) -> String; 4] = [
        |record| record.spec.workload.to_string(),
        |record| match record.spec.pace {
            Pace::Open { rate, .. } => format!("{}/s", figure::rate(rate)),
            Pace::Closed => format!("{} in flight", figure::thousands(in_flight(record) as u64)),
        },
        |record| format!("{} connections", figure::thousands(record.spec.connections as u64)),
        |record| format!("{} B", figure::thousands(record.spec.value_size as u64)),
    ];
    for part in more {
        let before = names.clone();
        for (i, name) in names.iter_mut().enumerate() {
            let mine = part(records[i]);
            let differs = |j: usize| before[j] == before[i] && part(records[j]) != mine;
            if (0..records.len()).any(differs) {
                *name += &format!(", {mine}");
            }
        }
    }
    for i in 0..names.len() {
        let name = names[i].clone();
        let same: Vec<usize> = (i..names.len()).filter(|&j| names[j] == name).collect();
        if same.len() > 1 {
            let mut number = 0;
            for j in same {
                number += 1;
                while names.contains(&format!("{name} #{number}")) {
                    number += 1;
                }
                names[j] = format!("{name} #{number}");
            }
        }
    }
    names
}

/// The targets, each once: `ringkeeper against zookeeper`.
#[must_use]
pub fn targets(records: &[&Record]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for record in records {
        if !labels.contains(&record.target.label.as_str()) {
            labels.push(&record.target.label);
        }
    }
    labels.join(" against ")
}

/// Workloads, each once.
#[must_use]
pub fn workloads(records: &[&Record]) -> String {
    each(records, |record| Some(record.spec.workload.to_string())).unwrap_or_default()
}

/// The conditions, each told once where all records share it: pace, durability, servers, payload, machine, versions.
#[must_use]
pub fn conditions(records: &[&Record]) -> Vec<String> {
    let paces = each(records, |record| {
        Some(match record.spec.pace {
            Pace::Open { .. } => "open loop".to_owned(),
            Pace::Closed => "closed loop".to_owned(),
        })
    });
    let named = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let parts = [
        paces,
        named("durability", each(records, |record| record.target.durability.clone()).or_else(|| Some("not told".to_owned()))),
        each(records, |record| {
            Some(match record.target.quorum {
                Some(1) => "standalone".to_owned(),
                Some(n) => format!("{n} voting servers"),
                None => "quorum unknown".to_owned(),
            })
        }),
        each(records, |record| Some(format!("{} B values", figure::thousands(record.spec.value_size as u64)))),
        each(records, |record| Some(format!("{} connections", figure::thousands(record.spec.connections as u64)))),
        each(records, |record| Some(machines(record))).filter(|text| !text.is_empty()),
        named("server", each(records, |record| record.target.version.as_deref().map(short_version))),
        named("bench", each(records, |record| record.machines.first().map(|machine| machine.tool.clone()))),
    ];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect()
}

/// The generator's machine or machines: `Xeon, 2 cores, Linux 6.18`.
#[must_use]
pub fn machines(record: &Record) -> String {
    let mut all: Vec<(String, usize)> = Vec::new();
    for machine in &record.machines {
        let text = format!("{}, {} cores, Linux {}", machine.processor, machine.cores, machine.kernel);
        match all.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => all.push((text, 1)),
        }
    }
    let told = all.into_iter().map(|(text, count)| if count > 1 { format!("{count} x {text}") } else { text });
    told.collect::<Vec<_>>().join("; ")
}

/// A version as far as a person says it: without the hash of the commit and the date of the build.
#[must_use]
pub fn short_version(version: &str) -> String {
    let version = version.split(',').next().unwrap_or_default().trim();
    match version.rsplit_once('-') {
        Some((head, tail)) if tail.len() >= 20 && tail.chars().all(|c| c.is_ascii_hexdigit()) => head.to_owned(),
        _ => version.to_owned(),
    }
}

/// What all records say of one condition: once where they agree, otherwise with the target that says it, or all that is said
/// where one target says several things.
fn each(records: &[&Record], told: impl Fn(&Record) -> Option<String>) -> Option<String> {
    const MOST: usize = 4;
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for record in records {
        let pair = (record.target.label.as_str(), told(record).unwrap_or_else(|| "-".to_owned()));
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let mut values: Vec<String> = Vec::new();
    for (_, value) in &pairs {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    let one_each = pairs.iter().enumerate().all(|(i, (label, _))| pairs[..i].iter().all(|(other, _)| other != label));
    match values.as_slice() {
        [] => None,
        [value] => (value != "-").then(|| value.clone()),
        _ if one_each && pairs.len() <= MOST => {
            Some(pairs.iter().map(|(label, value)| format!("{value} ({label})")).collect::<Vec<_>>().join(" / "))
        }
        values if values.len() > MOST => Some(format!("{} / .. / {}", values[0], values[values.len() - 1])),
        values => Some(values.join(" / ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::show::sample;

    #[test]
    fn names_say_what_differs_and_are_never_the_same() {
        let (a, b, mut c) = (sample::record("a", 1000.0), sample::record("b", 1000.0), sample::record("a", 2000.0));
        assert_eq!(names(&[&a, &b]), ["a", "b"]);
        assert_eq!(names(&[&a, &b, &c]), ["a, 1,000/s", "b", "a, 2,000/s"]);
        assert_eq!(names(&[&a, &a, &b]), ["a #1", "a #2", "b"]);
        c.target.label = "a #1".to_owned();
        let all = names(&[&a, &a, &c]);
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn conditions_that_differ_name_their_target() {
        let (a, mut b) = (sample::record("a", 1000.0), sample::record("b", 1000.0));
        b.target.durability = Some("none".to_owned());
        b.target.version = None;
        let told = conditions(&[&a, &b]).join(", ");
        assert!(told.contains("durability fsync (a) / none (b), 3 voting servers, 100 B values"), "{told}");
        assert!(told.contains("server 3.9.4 (a) / - (b)"), "{told}");
        assert_eq!(targets(&[&a, &b, &a]), "a against b");
        assert!(conditions(&[&sample::empty("x")]).iter().any(|part| part == "closed loop"));
        assert!(!conditions(&[]).is_empty());
    }

    #[test]
    fn versions_lose_their_hash() {
        assert_eq!(short_version("3.9.4-7246445ec281f3dbfb53dfb54cc2e3ee4b21f6fa, built on 2025"), "3.9.4");
        assert_eq!(short_version("0.1.0-beta"), "0.1.0-beta");
    }

    #[test]
    fn machines_of_one_kind_are_counted() {
        let mut record = sample::empty("a");
        record.machines.push(record.machines[0].clone());
        assert_eq!(machines(&record), "2 x Example Processor 3000, 2 cores, Linux 6.18.44");
    }
}
