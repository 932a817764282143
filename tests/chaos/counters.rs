//! Counters: what all runs together have done and found, in a file of lines `name number`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

pub struct Counters {
    path: Option<PathBuf>,
    pub counts: BTreeMap<String, u64>,
    /// ms from a fault to the first write invoked after it, by the fault's name.
    windows: BTreeMap<String, Vec<u64>>,
}

impl Counters {
    /// Goes on from what the file says, if there is one.
    pub fn open(path: Option<PathBuf>) -> Result<Self, String> {
        let mut this = Self { path, counts: BTreeMap::new(), windows: BTreeMap::new() };
        let text = this.path.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let numbers: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| format!("counters: {line}"))?;
            match name.strip_prefix("window-ms:") {
                Some(fault) => drop(this.windows.insert(fault.to_owned(), numbers)),
                None => this.add(name, numbers.first().copied().unwrap_or(0)),
            }
        }
        Ok(this)
    }

    pub fn add(&mut self, name: &str, n: u64) {
        *self.counts.entry(name.to_owned()).or_default() += n;
    }

    pub fn window(&mut self, fault: &str, ms: u64) {
        self.windows.entry(fault.to_owned()).or_default().push(ms);
    }

    pub fn save(&self) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut text = String::new();
        for (name, n) in &self.counts {
            text.push_str(&format!("{name} {n}\n"));
        }
        for (fault, all) in &self.windows {
            let all: Vec<_> = all.iter().map(ToString::to_string).collect();
            text.push_str(&format!("window-ms:{fault} {}\n", all.join(" ")));
        }
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path)).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// All of it, for people.
    pub fn tell(&self) -> String {
        let counts: Vec<_> = self.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let mut text = counts.join(", ");
        for (fault, all) in &self.windows {
            let mut all = all.clone();
            all.sort_unstable();
            let (median, worst) = (all[(all.len() - 1) / 2], all[all.len() - 1]);
            text.push_str(&format!("\nfirst write after {fault}: median {median} ms, worst {worst} ms of {}", all.len()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_goes_on_from_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path().join("counters"));
        for run in 1..=2 {
            let mut counters = Counters::open(path.clone()).unwrap();
            counters.add("ops", 21);
            counters.window("KillLeader", 100 * run);
            counters.save().unwrap();
        }
        let told = Counters::open(path).unwrap().tell();
        assert_eq!(told, "ops 42\nfirst write after KillLeader: median 100 ms, worst 200 ms of 2");
    }
}
