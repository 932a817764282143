//! Drive: the one place through which files and directories are changed, but for the batches that go through the ring.
//!
//! The functions are those of the system, and say by their names what they promise: what was written is durable after
//! [`sync`] or [`sync_data`], a name after [`sync_dir`]. Tests keep a journal of the calls (`runtime/journal.rs`), and
//! from it make every disk that a crash could have left (`server/trial/`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::disk::DiskError;
#[cfg(test)]
use super::journal::{Op, note};

/// Makes a file, or empties the one that is there; to be written and read back.
pub fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    #[cfg(test)]
    note(|| Op::Create(path.to_owned()));
    Ok(file)
}

/// Opens a file that is there, to be written.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// As [`open`], past the page cache: what is written goes straight to the drive, in whole blocks from memory that begins at a
/// multiple of one. Nothing where the file system cannot.
pub fn open_direct(path: &Path) -> io::Result<Option<File>> {
    direct(OpenOptions::new().write(true), path)
}

/// As [`open_direct`], to be read.
pub fn read_direct(path: &Path) -> io::Result<Option<File>> {
    direct(OpenOptions::new().read(true), path)
}

fn direct(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    match options.custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        opened => opened.map(Some),
    }
}

/// Opens a file to be written at its end only, and makes it where there is none. For what no start depends on.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Opens a file to be written, as it is, and makes it where there is none.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    let is_new = !path.exists();
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    #[cfg(test)]
    if is_new {
        note(|| Op::Create(path.to_owned()));
    }
    Ok(file)
}

/// Writes at byte `at` of the file, which has the name `path`.
pub fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)?;
    let _ = path;
    #[cfg(test)]
    note(|| Op::Write(path.to_owned(), at, bytes.to_vec()));
    Ok(())
}

/// Makes what was written to the file, which has the name `path`, durable, and its length.
pub fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    file.sync_data()?;
    let _ = path;
    #[cfg(test)]
    note(|| Op::SyncFile(path.to_owned()));
    Ok(())
}

/// As [`sync_data`], and all else that the system knows of the file.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let _ = path;
    #[cfg(test)]
    note(|| Op::SyncFile(path.to_owned()));
    Ok(())
}

/// Gives a file or a directory another name in the same directory, in place of what had that name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    note(|| Op::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    #[cfg(test)]
    note(|| Op::Remove(path.to_owned()));
    Ok(())
}

/// Removes a file and hands it back without its name. The system takes back what it holds when it is closed; or piece by piece before,
/// by [`shrink`]. A volume that discards what is freed makes every flush wait meanwhile: of 220 MB at once, 50 ms.
pub fn detach(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    remove(path)?;
    Ok(file)
}

/// Gives back the last `bytes` of a file that has no name any more; says whether it holds more.
pub fn shrink(file: &File, bytes: u64) -> io::Result<bool> {
    let left = file.metadata()?.len().saturating_sub(bytes);
    file.set_len(left)?;
    Ok(left > 0)
}

/// Removes a directory and the files in it.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    fs::remove_dir(path)?;
    #[cfg(test)]
    note(|| Op::Remove(path.to_owned()));
    Ok(())
}

/// Makes a directory.
pub fn create_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    #[cfg(test)]
    note(|| Op::Mkdir(path.to_owned()));
    Ok(())
}

/// Makes a directory and those above it, where they are missing. The names of those made are durable when this returns.
pub fn create_dir_all(path: &Path) -> Result<(), DiskError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    create_dir_all(above)?;
    match create_dir(path) {
        // Somebody else may have been faster.
        Err(error) if !path.is_dir() => Err(DiskError::new("create the directory", path)(error)),
        _ => sync_dir(above),
    }
}

/// Makes names in a directory durable.
pub fn sync_dir(path: &Path) -> Result<(), DiskError> {
    let dir = File::open(path).map_err(DiskError::new("open", path))?;
    dir.sync_all().map_err(DiskError::new("sync the directory", path))?;
    #[cfg(test)]
    note(|| Op::SyncDir(path.to_owned()));
    Ok(())
}
