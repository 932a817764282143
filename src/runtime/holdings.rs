//! Holdings: images and segments of the log that a server keeps, what of them goes, and the papers that say so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::DiskError;
use super::drive::{self, sync_dir};
use super::images;
use super::papers::Cabinet;
use super::pool::Pool;
use super::sequencer_loop::fatal;
use crate::ground::ids::Zxid;
use crate::storage::image::image_name;
use crate::storage::manifest::Manifest;
use crate::storage::promise::Promise;
use crate::storage::retention::{Kept, Policy, Verdict, judge};
use crate::storage::selection::Extent;

/// The holdings, as whoever keeps them sees them.
pub struct Holdings {
    /// The log's directory.
    pub dir: PathBuf,
    /// The images' directory; it need not be there.
    pub images: PathBuf,
    /// What is kept; none keeps all.
    pub policy: Option<Policy>,
    /// Freed segments go here.
    pub pool: Arc<Pool>,
    /// The papers.
    pub cabinet: Cabinet,
    /// Segments of the log, ascending; the last is the one in use.
    pub segments: Vec<Extent>,
    /// Images that this process has loaded, or read back when they were made.
    pub verified: BTreeSet<Zxid>,
    /// Images that are known to be damaged: they count for nothing, and go when a newer one is good.
    pub damaged: BTreeSet<Zxid>,
    /// Files that were removed and are given back piece by piece.
    pub going: Vec<File>,
}

/// Given back at a time.
const PIECE: u64 = 4 << 20;

impl Holdings {
    /// Writes down that everything in the log up to `durable` is durable, and the epochs that this takes where the server is alone: those of
    /// an ensemble are promised by its members.
    pub fn mark(&mut self, durable: Zxid) -> Result<(), DiskError> {
        if self.cabinet.said().ensemble == 0 {
            self.cabinet.promise(Promise::alone(Some(self.cabinet.promised()), durable))?;
        }
        self.cabinet.watermark(durable)
    }

    /// Images that are durable under their names and were found good.
    pub fn finished(&mut self, images: Vec<Zxid>) {
        self.damaged.retain(|image| !images.contains(image));
        self.verified.extend(images);
    }

    /// Raises the manifest, then removes what it no longer asks for. What is `pinned` stays. A manifest that cannot be written ends the
    /// process.
    pub fn retain(&mut self, pinned: Option<Zxid>) -> Result<(), DiskError> {
        let (damaged, images): (Vec<_>, Vec<_>) =
            self.images()?.into_iter().partition(|image| self.damaged.contains(&image.zxid));
        let everything = Policy { images: usize::MAX, bytes: 0 };
        let mut verdict = judge(&images, &self.segments, self.policy.unwrap_or(everything), pinned);
        let said = self.cabinet.said();
        if self.policy.is_none() {
            verdict = Verdict { oldest: said.oldest, newest: verdict.newest, ..Verdict::default() };
        }
        let manifest = Manifest { oldest: verdict.oldest.max(said.oldest), image: verdict.newest.max(said.image), ..said };
        self.cabinet.manifest(manifest).unwrap_or_else(|error| fatal(&format!("{error}: stopping, acknowledged data is intact")));
        let outlived = damaged.iter().map(|image| image.zxid).filter(|zxid| *zxid < verdict.newest);
        for zxid in verdict.images.iter().copied().chain(outlived) {
            let path = self.images.join(image_name(zxid));
            match drive::detach(&path) {
                Ok(file) => self.going.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(DiskError::new("remove", &path)(error)),
            }
            sync_dir(&self.images)?;
            self.verified.remove(&zxid);
            self.damaged.remove(&zxid);
        }
        self.going.append(&mut self.pool.free(&verdict.segments)?);
        self.segments.retain(|segment| segment.number >= manifest.oldest);
        if !verdict.images.is_empty() || !verdict.segments.is_empty() {
            tracing::info!("retention: {} images and {} segments are gone", verdict.images.len(), verdict.segments.len());
        }
        Ok(())
    }

    /// Gives back a piece of a file that was removed; says whether there is more to give back.
    pub fn shrink(&mut self) -> bool {
        // Where that fails all of it is given back at once.
        if self.going.last().is_some_and(|file| !drive::shrink(file, PIECE).unwrap_or(false)) {
            self.going.pop();
        }
        !self.going.is_empty()
    }

    /// The images there are, oldest first, their names durable.
    pub fn images(&self) -> Result<Vec<Kept>, DiskError> {
        let dir = &self.images;
        let mut kept = Vec::new();
        if !dir.is_dir() {
            return Ok(kept);
        }
        for zxid in images::list(dir)? {
            let path = dir.join(image_name(zxid));
            let bytes = fs::metadata(&path).map_err(DiskError::new("look at", &path))?.len();
            kept.push(Kept { zxid, bytes, is_verified: self.verified.contains(&zxid) });
        }
        // The names of images that were just finished, and of those removed, are durable before the manifest speaks of them.
        sync_dir(dir)?;
        Ok(kept)
    }
}
