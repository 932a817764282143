//! A flaw: what is wrong with one of ZooKeeper's files, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::ground::ids::Zxid;
use crate::proto::jute::Malformed;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// The system would not read it.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The file ends inside a value.
    #[error("ends early")]
    Ends,
    /// Not this kind of file.
    #[error("does not begin with {0}, the mark of its kind")]
    Magic(&'static str),
    /// A version of the format nobody knows.
    #[error("has version {0} of the format; 2 is known")]
    Version(i32),
    /// A length or count out of its range.
    #[error("{0} where a length belongs")]
    Length(i64),
    /// A null that has no meaning.
    #[error("null {0}")]
    Null(&'static str),
    /// The check value does not fit.
    #[error("check value {stored:#x}, computed {computed:#x}")]
    Check {
        /// In the file.
        stored: i64,
        /// Of its bytes.
        computed: i64,
    },
    /// Something other than `/` after a check value.
    #[error("no end mark after the check value")]
    Unsealed,
    /// Bytes after the last section.
    #[error("bytes after its end")]
    Trailing,
    /// The same list twice.
    #[error("two access control lists with number {0}")]
    SameAcl(i64),
    /// A znode that fits nowhere.
    #[error("a znode with the path {0:?}")]
    Path(Box<str>),
    /// The same znode twice.
    #[error("the znode {0:?} twice")]
    Twice(Box<str>),
    /// A znode before its parent.
    #[error("the znode {0:?} without its parent")]
    Orphan(Box<str>),
    /// No root.
    #[error("no root")]
    NoRoot,
    /// A record's end is not marked.
    #[error("a record without its end mark")]
    Unmarked,
    /// Whole records behind something that is none.
    #[error("no record, although records follow at byte {0}: damaged, not torn")]
    Follows(u64),
    /// The length alone is wrong.
    #[error("a record's length is {stored}, its check value is that of {found} bytes")]
    WrongLength {
        /// In the file.
        stored: i32,
        /// What the check value says.
        found: usize,
    },
    /// Too much for the tail of a crash.
    #[error("no record, and more than {0} bytes behind it")]
    LongTail(usize),
    /// The record is whole and makes no sense.
    #[error("transaction {zxid} of type {kind} cannot be understood: {why}")]
    Txn {
        /// From the header.
        zxid: Zxid,
        /// From the header.
        kind: i32,
        /// Why not.
        why: Malformed,
    },
}

impl From<io::Error> for What {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Ends } else { Self::Io(error) }
    }
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct Flaw {
    /// The file.
    pub path: PathBuf,
    /// Byte of the file; of its contents where it is compressed.
    pub offset: u64,
    /// What is wrong.
    pub what: What,
}

impl Flaw {
    /// A flaw.
    #[must_use]
    pub fn new(path: &Path, offset: u64, what: What) -> Self {
        Self { path: path.to_owned(), offset, what }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (at byte {})", self.path.display(), self.what, self.offset)
    }
}

impl std::error::Error for Flaw {}
