//! Results: the directory in which what was measured is kept, with a line in the index of all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::caption;
use super::date;
use super::hlog;
use super::origin;
use super::report::Report;
use crate::show::grid::cell;

/// Where results go unless told otherwise.
pub const ROOT: &str = "results";

/// Directories of one topic and day; whoever makes more has a loop that went wrong.
const MOST: u32 = 999;

const INDEX: &str = "INDEX.md";

const HEADING: &str = "# Results\n\n| Directory | What | Limits |\n|---|---|---|\n";

/// Why results cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The topic makes no name of a directory.
    #[error("{0:?} cannot be a topic: letters, digits, '-' and '_' only, at least one and 64 at most")]
    Topic(String),
    /// There are too many already.
    #[error("{0} has {MOST} results of this topic and day already")]
    Full(String),
    /// The disk does not take them.
    #[error("cannot write results to {path}: {error}")]
    Unwritable {
        /// Which file or directory.
        path: String,
        /// Why.
        error: io::Error,
    },
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> ResultsError {
    let path = path.display().to_string();
    |error| ResultsError::Unwritable { path, error }
}

/// A directory that was made for results and waits for them. It goes away again if none come.
#[derive(Debug)]
pub struct Results {
    root: PathBuf,
    name: String,
}

impl Results {
    /// Makes `root/YYYY-MM-DD-topic`, or the first of `-2`, `-3` .. that is not there yet: before a run, so that a disk that
    /// takes nothing is known before anything was measured.
    ///
    /// # Errors
    /// Where the topic is no name, or nothing can be written there.
    pub fn claim(root: &Path, topic: &str, unix_seconds: u64) -> Result<Self, ResultsError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if topic.is_empty() || topic.len() > 64 || !topic.chars().all(plain) {
            return Err(ResultsError::Topic(topic.to_owned()));
        }
        fs::create_dir_all(root).map_err(unwritable(root))?;
        let base = format!("{}-{topic}", date::day(unix_seconds));
        for number in 1..=MOST {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            let path = root.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { root: root.to_owned(), name }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unwritable(&path)(error)),
            }
        }
        Err(ResultsError::Full(root.display().to_string()))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// Writes everything: `README.md`, `report.html`, the pictures, `raw/*.json` and `raw/*.hlog` of every record, and a line in
    /// the index. To the facts of the report come those of the sources and, where `data` is a path on the disk of the servers,
    /// of that disk.
    ///
    /// # Errors
    /// Where something cannot be written. What was written until then stays.
    pub fn keep(self, report: &Report<'_>, data: Option<&Path>) -> Result<PathBuf, ResultsError> {
        let mut report = report.clone();
        let mut facts = origin::facts(data);
        facts.append(&mut report.facts);
        report.facts = facts;
        let mut taken = Vec::new();
        for picture in &mut report.pictures {
            picture.name = free(&picture.name, &mut taken);
        }

        let directory = self.path();
        let raw = directory.join("raw");
        fs::create_dir(&raw).map_err(unwritable(&raw))?;
        let mut taken = Vec::new();
        let all: Vec<_> = report.records.iter().chain(&report.others).copied().collect();
        for (label, record) in caption::names(&all).iter().zip(&all) {
            let name = free(label, &mut taken);
            let json = serde_json::to_string_pretty(record).expect("a record has a form in JSON") + "\n";
            write(&raw.join(format!("{name}.json")), &json)?;
            write(&raw.join(format!("{name}.hlog")), &hlog::log(record, &name))?;
        }
        for picture in &report.pictures {
            write(&directory.join(format!("{}.svg", picture.name)), &picture.svg)?;
        }
        write(&directory.join("report.html"), &report.html())?;
        write(&directory.join("README.md"), &report.markdown())?;
        self.enter(&report)?;
        Ok(directory)
    }

    /// Adds the line to the index.
    fn enter(&self, report: &Report<'_>) -> Result<(), ResultsError> {
        let path = self.root.join(INDEX);
        let line =
            format!("| [{0}]({0}/README.md) | {1} | {2} |\n", self.name, cell(&report.title), cell(&report.limits.join("; ")));
        let append = || -> io::Result<()> {
            let mut index = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            let length = index.metadata()?.len();
            let mut text = String::new();
            if length == 0 {
                text += HEADING;
            } else {
                let mut last = [0];
                index.seek(SeekFrom::End(-1))?;
                index.read_exact(&mut last)?;
                if last != *b"\n" {
                    text.push('\n');
                }
            }
            index.write_all((text + &line).as_bytes())
        };
        append().map_err(unwritable(&path))
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // Fails where there is something in it, as it shall.
        let _ = fs::remove_dir(self.path());
    }
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> Result<(), ResultsError> {
    let create = || File::create_new(path)?.write_all(text.as_bytes());
    create().map_err(unwritable(path))
}

/// A file name made of a text, none of those taken.
fn free(text: &str, taken: &mut Vec<String>) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' });
    let mut name = String::new();
    for c in plain.take(80) {
        if c != '-' || !name.ends_with('-') {
            name.push(c);
        }
    }
    let name = name.trim_matches(['-', '.']);
    let name = if name.is_empty() { "run" } else { name };
    let free = (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name}-{n}") }).find(|name| !taken.contains(name));
    let free = free.expect("numbers do not end");
    taken.push(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Record;
    use crate::bench::show::report::Picture;
    use crate::bench::show::{plot, sample};
    use crate::show::grid::Grid;

    const DAY: u64 = 1_795_305_600;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn everything_is_kept_and_nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("results");
        let (a, b) = (sample::record("a/../b", 1000.0), sample::record("b|c", 2000.0));
        let picture = Picture { name: "time".to_owned(), caption: "over time".to_owned(), svg: plot::over_time(&[&a, &b]) };
        let report = Report {
            title: "a | b".to_owned(),
            command: "ringkeeper bench".to_owned(),
            grids: vec![("Summary".to_owned(), Grid::new(["x"]))],
            pictures: vec![picture.clone(), picture],
            records: vec![&a, &b, &a],
            limits: vec!["one".to_owned(), "two".to_owned()],
            ..Report::default()
        };
        let first = Results::claim(&root, "reads", DAY).unwrap().keep(&report, Some(&root)).unwrap();
        assert_eq!(first, root.join("2026-11-22-reads"));
        assert_eq!(names(&first), ["README.md", "raw", "report.html", "time-2.svg", "time.svg"]);
        assert_eq!(
            names(&first.join("raw")),
            ["a-..-b-1.hlog", "a-..-b-1.json", "a-..-b-2.hlog", "a-..-b-2.json", "b-c.hlog", "b-c.json"]
        );
        assert_eq!(Record::read(&first.join("raw/b-c.json")).unwrap(), b);
        let readme = fs::read_to_string(first.join("README.md")).unwrap();
        for part in
            ["commit of the working directory:", "disk of the data:", "![over time](time-2.svg)", "Linux 6.18.44", "## Limits"]
        {
            assert!(readme.contains(part), "{part} is missing in {readme}");
        }

        let index = root.join(INDEX);
        fs::write(&index, fs::read_to_string(&index).unwrap().trim_end()).unwrap();
        let second = Results::claim(&root, "reads", DAY).unwrap().keep(&Report::default(), None).unwrap();
        assert_eq!(second, root.join("2026-11-22-reads-2"));
        let expected = format!(
            "{HEADING}| [2026-11-22-reads](2026-11-22-reads/README.md) | a \\| b | one; two |\n\
             | [2026-11-22-reads-2](2026-11-22-reads-2/README.md) |  |  |\n"
        );
        assert_eq!(fs::read_to_string(&index).unwrap(), expected);
        assert_eq!(fs::read_to_string(first.join("README.md")).unwrap(), readme);
    }

    #[test]
    fn what_was_claimed_for_nothing_goes_away() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (Results::claim(root.path(), "x", DAY).unwrap(), Results::claim(root.path(), "x", DAY).unwrap());
        assert!(one.path() != two.path() && two.path().is_dir());
        drop((one, two));
        assert_eq!(names(root.path()), [""; 0]);
    }

    #[test]
    fn what_cannot_be_written_is_one_error() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "mine").unwrap();
        for place in [file.clone(), file.join("below")] {
            assert!(matches!(Results::claim(&place, "x", DAY), Err(ResultsError::Unwritable { .. })));
        }
        for topic in ["", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(matches!(Results::claim(root.path(), topic, DAY), Err(ResultsError::Topic(_))), "{topic}");
        }
        let lost = Results::claim(root.path(), "x", DAY).unwrap();
        fs::remove_dir(lost.path()).unwrap();
        let error = lost.keep(&Report::default(), None).unwrap_err();
        assert!(error.to_string().starts_with("cannot write results to "), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}
