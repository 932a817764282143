//! keeper-bench: the YAML files of ClickHouse's `keeper-bench`, read as they are and driven as a workload.
//!
//! Both generations of the format are read: `setup` under `generator` or beside it, explicit paths mixed with `children_of`, tags
//! (after `programs/keeper-bench/README.md` of ClickHouse 26). What is different here is told in docs/bench.md.

pub mod description;
pub mod plan;
pub mod reading;
pub mod settling;
pub mod tree;
pub mod znodes;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::control::RunError;
use description::Description;
use tree::{FILE_MAX, Wrong};

/// Why a file is no description of a load.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    /// It is longer than any such file.
    #[error("{0} is longer than {FILE_MAX} bytes")]
    Long(String),
    /// It says something that is not understood or not supported.
    #[error("{0}, {1}")]
    Wrong(String, Wrong),
}

impl From<FileError> for RunError {
    fn from(error: FileError) -> Self {
        Self::Spec(error.to_string())
    }
}

/// Reads a file. The description's warnings begin with the file's name.
pub fn read(file: &Path) -> Result<Description, FileError> {
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|file| file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes));
    opened.map_err(|error| FileError::Read(name.clone(), error))?;
    if bytes.len() > FILE_MAX {
        return Err(FileError::Long(name));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        FileError::Wrong(name.clone(), Wrong { line, what: "what stands here is not UTF-8".into() })
    })?;
    let mut description = reading::describe(text).map_err(|wrong| FileError::Wrong(name.clone(), wrong))?;
    for warning in &mut description.warnings {
        *warning = format!("{name}, {warning}");
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::bench::control::Control;
    use crate::bench::echo::{Echo, Manner};
    use crate::bench::record::Target;
    use crate::bench::run::run;
    use crate::bench::spec::{Arrivals, Pace, Spec, Workload};

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keeper-bench").join(name)
    }

    #[test]
    fn files_are_understood_as_before() {
        for name in ["newer", "older"] {
            let text = std::fs::read_to_string(golden(&format!("{name}.yaml"))).unwrap();
            let told = format!("{:#?}\n", reading::describe(&text).unwrap());
            let file = golden(&format!("{name}.txt"));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&file, &told).unwrap();
            }
            assert_eq!(told, std::fs::read_to_string(&file).unwrap(), "{name}: if this is meant, run the test with BLESS=1");
        }
    }

    #[test]
    fn files_that_are_none_are_refused_in_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let file = directory.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
            error
        };
        assert!(refused("binary", b"a: 1\nb: \xff\xfe\n").ends_with(", line 2: what stands here is not UTF-8"));
        assert!(refused("long", &vec![b'#'; FILE_MAX + 1]).ends_with("is longer than 1048576 bytes"));
        assert!(refused("typo", b"concurency: 1\n").ends_with(", line 1: the key concurency is not known here"));
        let missing = read(&directory.path().join("missing")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read "), "{missing}");
    }

    fn loaded(name: &str, pace: Pace) -> (crate::bench::record::Record, u64) {
        let echo = Echo::start("127.0.0.1:0", Manner { value_size: 10, stall: None }).unwrap();
        let servers = vec![echo.address().to_string()];
        let (workload, nodes) = (Workload::KeeperBench { file: golden(name) }, 0);
        let spec = Spec {
            workload,
            pace,
            connections: 2,
            in_flight: 4,
            warmup: 0.0,
            seconds: 30.0,
            threads: 2,
            nodes,
            ..Spec::default()
        };
        let target = Target { label: "echo".into(), servers, ..Target::default() };
        let record = run(&spec, &target, &Control { is_quiet: true, ..Control::default() }).unwrap();
        echo.stop().unwrap();
        let answered = record.operations.values().map(|operation| operation.latency.count()).sum::<u64>() + record.errors();
        (record, answered)
    }

    #[test]
    fn a_run_asks_what_the_file_says_and_as_often() {
        let open = Pace::Open { rate: 20_000.0, arrivals: Arrivals::Poisson };
        for pace in [Pace::Closed, open] {
            let (record, answered) = loaded("newer.yaml", pace);
            assert_eq!((record.ended_early.as_deref(), answered), (None, 5000), "{pace:?}");
            let names: Vec<&str> = record.operations.keys().map(String::as_str).collect();
            assert_eq!(names, ["create", "get", "list", "multi", "multi-read", "remove", "set"]);
            assert!(record.seconds < 20.0);
        }
        let (record, answered) = loaded("older.yaml", Pace::Closed);
        assert_eq!((record.ended_early, answered), (None, 1000));
    }

    /// Texts that look like such files.
    fn texts() -> impl Strategy<Value = String> {
        let words = [
            "generator:",
            "requests:",
            "setup:",
            "node:",
            "name:",
            "path:",
            "get:",
            "set:",
            "create:",
            "multi:",
            "list:",
            "size:",
            "data:",
            "random_string:",
            "min_value:",
            "max_value:",
            "repeat:",
            "weight:",
            "children_of:",
            "tagged:",
            "tag:",
            "remove_factor:",
            "connections:",
            "connection:",
            "host:",
            "sessions:",
            "iterations:",
            "timelimit:",
            "name_length:",
            "watch_probability:",
            "\"/a\"",
            "/a",
            "a",
            "'a:1'",
            "1",
            "0",
            "-1",
            "0.5",
            "1e400",
            "nan",
            "18446744073709551615",
            "99999999999999999999",
            "&a",
            "*a",
            "!t",
            "- ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "? ",
            "| ",
            "> ",
            "\"",
            "'",
            "#",
            "---",
            "...",
            "%",
            "<<:",
            "@x:",
            "\u{feff}",
            "\n",
            "\n  ",
            "\n    ",
            "\n      ",
            "\n        ",
            "\t",
            " ",
        ];
        prop::collection::vec(prop::sample::select(words.to_vec()), 0..60).prop_map(|words| words.join(" "))
    }

    /// A good file with a line replaced, a value changed or a part cut off.
    fn bent() -> impl Strategy<Value = String> {
        let text = include_str!("../../../tests/golden/keeper-bench/newer.yaml");
        let lines = text.lines().count();
        (0..lines, 0..lines, any::<prop::sample::Index>(), "[ -~]{0,8}").prop_map(move |(from, to, at, word)| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines[to] = lines[from].clone();
            let line = &mut lines[from];
            let cut = at.index(line.len() + 1);
            line.truncate(cut);
            line.push_str(&word);
            lines.join("\n")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics(text in prop_oneof![texts(), bent(), any::<String>()]) {
            match reading::describe(&text) {
                Err(wrong) => {
                    prop_assert!(wrong.line >= 1);
                    prop_assert!(!wrong.to_string().contains('\n'), "{wrong}");
                }
                Ok(description) => {
                    plan::FilePlan::new(description, &Spec::default()).unwrap();
                }
            }
        }
    }
}
