//! Journal: for tests, every change of files that a thread has made through `drive`, in order.

use std::cell::RefCell;
use std::path::PathBuf;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// An empty file of this name: a new one, or what was there is cut to nothing.
    Create(PathBuf),
    /// Bytes from an offset on.
    Write(PathBuf, u64, Vec<u8>),
    /// Contents and length are durable.
    SyncFile(PathBuf),
    /// What was written to these bytes is durable, whatever else of the file is (a write with O_DSYNC has ended).
    SyncRange(PathBuf, u64, usize),
    /// The names in a directory are durable.
    SyncDir(PathBuf),
    /// From, to.
    Rename(PathBuf, PathBuf),
    /// A file, or an empty directory.
    Remove(PathBuf),
    /// A directory.
    Mkdir(PathBuf),
    /// No change: the test says that whatever comes back must be at least here.
    Told(u64),
}

thread_local! {
    static JOURNAL: RefCell<Option<Vec<Op>>> = const { RefCell::new(None) };
}

/// Writes it down, if this thread keeps a journal.
pub fn note(op: impl FnOnce() -> Op) {
    JOURNAL.with_borrow_mut(|journal| {
        if let Some(journal) = journal {
            journal.push(op());
        }
    });
}

/// Begins a journal of this thread.
pub fn begin() {
    JOURNAL.set(Some(Vec::new()));
}

/// Ends it.
pub fn end() -> Vec<Op> {
    JOURNAL.take().expect("a journal was begun")
}

/// Changes in it so far.
pub fn len() -> usize {
    JOURNAL.with_borrow(|journal| journal.as_ref().map_or(0, Vec::len))
}
