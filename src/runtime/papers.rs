//! Papers on the disk: manifest, promise and watermark in the directory `state` beside the log, written so that a crash costs nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::disk::DiskError;
use super::drive::{self, sync_dir};
use crate::ground::ids::Zxid;
use crate::storage::manifest::{self, Manifest};
use crate::storage::papers::{Files, Papers};
use crate::storage::promise::{self, Promise};
use crate::storage::slots::{Form, SLOTS_BYTES, SlotWrite, Slots};
use crate::storage::watermark;

/// The directory of the papers.
const STATE: &str = "state";

/// The same while it is being made.
const UNFINISHED: &str = "state.tmp";

/// The papers' bytes as they were found.
#[derive(Default, Debug)]
pub struct PaperBytes {
    manifest: Option<Vec<u8>>,
    promise: Option<Vec<u8>>,
    watermark: Option<Vec<u8>>,
    is_kept: bool,
}

impl PaperBytes {
    /// Reads what there is beside the log in `dir`.
    pub fn read(dir: &Path) -> Result<Self, DiskError> {
        let state = dir.join(STATE);
        let read = |form: Form| {
            let path = state.join(form.name);
            let mut bytes = Vec::new();
            match File::open(&path).and_then(|file| file.take(SLOTS_BYTES as u64).read_to_end(&mut bytes)) {
                Ok(_) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(DiskError::new("read", &path)(error)),
            }
        };
        let is_kept = match std::fs::read_dir(&state) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(DiskError::new("list", &state)(error)),
        };
        Ok(Self { manifest: read(manifest::FORM)?, promise: read(promise::FORM)?, watermark: read(watermark::FORM)?, is_kept })
    }

    /// As `papers::judge` takes them.
    #[must_use]
    pub fn files(&self) -> Files<'_> {
        Files {
            manifest: self.manifest.as_deref(),
            promise: self.promise.as_deref(),
            watermark: self.watermark.as_deref(),
            is_kept: self.is_kept,
        }
    }
}

/// Makes durable what can be read of the papers beside the log in `dir`, and their names: after the end of a process alone it may not be
/// durable yet, and nothing is built on it before it is.
pub fn settle(dir: &Path) -> Result<(), DiskError> {
    let state = dir.join(STATE);
    if !state.is_dir() {
        return Ok(());
    }
    for form in [manifest::FORM, promise::FORM, watermark::FORM] {
        let path = state.join(form.name);
        match File::open(&path) {
            Ok(file) => drive::sync(&file, &path).map_err(DiskError::new("sync", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::new("open", &path)(error)),
        }
    }
    sync_dir(&state)
}

/// One slot file, open.
#[derive(Debug)]
struct PaperFile {
    file: File,
    path: PathBuf,
    slots: Slots,
}

impl PaperFile {
    fn open(state: &Path, form: Form, slots: Slots) -> Result<Self, DiskError> {
        let path = state.join(form.name);
        let file = drive::open(&path).map_err(DiskError::new("open", &path))?;
        Ok(Self { file, path, slots })
    }

    /// Makes it, durable but for its name.
    fn make(dir: &Path, form: Form, payload: &[u8]) -> Result<Slots, DiskError> {
        let path = dir.join(form.name);
        let (slots, bytes) = Slots::create(form, payload);
        let file = drive::create(&path).map_err(DiskError::new("create", &path))?;
        let written = drive::write_at(&file, &path, &bytes, 0).and_then(|()| drive::sync(&file, &path));
        written.map_err(DiskError::new("write", &path))?;
        Ok(slots)
    }

    fn write(&mut self, payload: &[u8]) -> Result<(), DiskError> {
        let write = self.slots.write(payload);
        self.put(&write)
    }

    fn write_twice(&mut self, payload: &[u8]) -> Result<(), DiskError> {
        let writes = self.slots.write_twice(payload);
        writes.iter().try_for_each(|write| self.put(write))
    }

    fn put(&self, write: &SlotWrite) -> Result<(), DiskError> {
        let written = drive::write_at(&self.file, &self.path, &write.block[..], write.offset);
        let written = written.and_then(|()| drive::sync_data(&self.file, &self.path));
        written.map_err(DiskError::new("write", &self.path))
    }
}

/// The papers of a running server.
#[derive(Debug)]
pub struct Cabinet {
    manifest: (PaperFile, Manifest),
    promise: (PaperFile, Promise),
    watermark: (PaperFile, Zxid),
}

impl Cabinet {
    /// Opens the papers beside the log in `dir` and makes them say at least `manifest`, `promise` and `durable`, all of which must be
    /// true already; or makes them where `found` is none, all at once. Durable when this returns.
    pub fn establish(
        dir: &Path,
        found: Option<&Papers>,
        manifest: Manifest,
        promise: Promise,
        durable: Zxid,
    ) -> Result<Self, DiskError> {
        let state = dir.join(STATE);
        let Some(found) = found else {
            let unfinished = dir.join(UNFINISHED);
            if unfinished.exists() {
                drive::remove_dir(&unfinished).map_err(DiskError::new("remove", &unfinished))?;
            }
            drive::create_dir(&unfinished).map_err(DiskError::new("create", &unfinished))?;
            let slots = [
                PaperFile::make(&unfinished, manifest::FORM, &manifest.encode())?,
                PaperFile::make(&unfinished, promise::FORM, &promise.encode())?,
                PaperFile::make(&unfinished, watermark::FORM, &watermark::encode(durable))?,
            ];
            sync_dir(&unfinished)?;
            drive::rename(&unfinished, &state).map_err(DiskError::new("name", &state))?;
            sync_dir(dir)?;
            return Ok(Self {
                manifest: (PaperFile::open(&state, manifest::FORM, slots[0])?, manifest),
                promise: (PaperFile::open(&state, promise::FORM, slots[1])?, promise),
                watermark: (PaperFile::open(&state, watermark::FORM, slots[2])?, durable),
            });
        };
        let watermark = match found.watermark {
            Some(paper) => (PaperFile::open(&state, watermark::FORM, paper.slots)?, paper.said),
            None => {
                // Not atomic, and need not be: half of it is a watermark that is lost, as before.
                let slots = PaperFile::make(&state, watermark::FORM, &watermark::encode(durable))?;
                sync_dir(&state)?;
                (PaperFile::open(&state, watermark::FORM, slots)?, durable)
            }
        };
        let mut cabinet = Self {
            manifest: (PaperFile::open(&state, manifest::FORM, found.manifest.slots)?, found.manifest.said),
            promise: (PaperFile::open(&state, promise::FORM, found.promise.slots)?, found.promise.said),
            watermark,
        };
        if found.manifest.is_hurt || manifest != found.manifest.said {
            cabinet.manifest.1 = manifest;
            cabinet.manifest.0.write_twice(&manifest.encode())?;
        }
        if found.promise.is_hurt {
            cabinet.promise.0.write_twice(&found.promise.said.encode())?;
        }
        cabinet.promise(promise)?;
        cabinet.watermark(durable)?;
        Ok(cabinet)
    }

    /// What the manifest says.
    #[must_use]
    pub const fn said(&self) -> Manifest {
        self.manifest.1
    }

    /// Raises what must be there.
    pub fn manifest(&mut self, manifest: Manifest) -> Result<(), DiskError> {
        if manifest == self.manifest.1 {
            return Ok(());
        }
        self.manifest.0.write_twice(&manifest.encode())?;
        self.manifest.1 = manifest;
        Ok(())
    }

    /// Raises the epochs promised.
    ///
    /// # Panics
    /// If one would fall.
    pub fn promise(&mut self, promise: Promise) -> Result<(), DiskError> {
        let said = self.promise.1;
        assert!(promise.accepted >= said.accepted && promise.current >= said.current, "a promise is not taken back");
        if promise == said {
            return Ok(());
        }
        self.promise.0.write_twice(&promise.encode())?;
        self.promise.1 = promise;
        Ok(())
    }

    /// The epochs promised.
    #[must_use]
    pub const fn promised(&self) -> Promise {
        self.promise.1
    }

    /// Raises the durable zxid; a lower one changes nothing.
    pub fn watermark(&mut self, durable: Zxid) -> Result<(), DiskError> {
        if durable <= self.watermark.1 {
            return Ok(());
        }
        self.watermark.0.write(&watermark::encode(durable))?;
        self.watermark.1 = durable;
        Ok(())
    }

    /// The log is about to end at `to`: from now on the watermark vouches for no more, in neither slot.
    pub fn lower(&mut self, to: Zxid) -> Result<(), DiskError> {
        if to >= self.watermark.1 {
            return Ok(());
        }
        self.watermark.0.write_twice(&watermark::encode(to))?;
        self.watermark.1 = to;
        Ok(())
    }

    /// The durable zxid written.
    #[must_use]
    pub const fn marked(&self) -> Zxid {
        self.watermark.1
    }
}
