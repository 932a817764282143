//! Papers: the three small files beside the log, read together at start and judged before anything is changed.

use crate::ground::ids::{ServerId, Zxid};

use super::manifest::{self, Manifest};
use super::promise::{self, Promise};
use super::slots::{self, Form, SlotError, Slots, SlotsError};
use super::watermark;

/// The papers as they were found; `None` for a file that is not there.
#[derive(Clone, Copy, Default, Debug)]
pub struct Files<'a> {
    /// Bytes of the manifest.
    pub manifest: Option<&'a [u8]>,
    /// Bytes of the promise.
    pub promise: Option<&'a [u8]>,
    /// Bytes of the watermark.
    pub watermark: Option<&'a [u8]>,
    /// Whether there is anything in their directory, which gets its name with all of them in it.
    pub is_kept: bool,
}

/// Why papers must not be gone by. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PapersRefusal {
    /// The file is missing while others are there, or neither of its slots is good (rows 6 and 16).
    #[error(
        "{what} lost: state/{file} {error}, zxid {zxid} was known; restore the file from a copy, or, for a server that runs alone, move \
         the directory state away: it is then made anew from the log and the images"
    )]
    Lost {
        /// What that is to an operator.
        what: &'static str,
        /// Name of the file.
        file: &'static str,
        /// What is wrong, with the offset.
        error: String,
        /// Last zxid that any of the papers knows of.
        zxid: Zxid,
    },
    /// The manifest names another server (row 20).
    #[error(
        "data belongs to server {found}, this one is {here} (state/manifest at offset {offset}, image {image}): set myid to {found}, or choose \
         another data directory; nothing was changed"
    )]
    Foreign {
        /// Server in the manifest.
        found: u8,
        /// This server.
        here: u8,
        /// Byte of the manifest at which it says so.
        offset: u64,
        /// Newest image it names.
        image: Zxid,
    },
    /// A later release wrote one of them (row 21).
    #[error(
        "state/{file} has format version {version} at offset {offset}, this release reads up to {known} (zxid {zxid}): start the release \
         that wrote it; nothing was changed"
    )]
    Newer {
        /// Name of the file.
        file: &'static str,
        /// The version found.
        version: u32,
        /// Byte of the slot.
        offset: u64,
        /// The newest version known here.
        known: u32,
        /// Last zxid that any of the papers knows of.
        zxid: Zxid,
    },
    /// The log or an image holds a later epoch than was ever promised (row 18).
    #[error(
        "log epoch {epoch} is newer than current epoch {current}: state/promise at offset 0 does not belong to the log that ends at zxid \
         {last}; directories were mixed: put the files together that belong together"
    )]
    Epoch {
        /// Epoch of the last zxid.
        epoch: u32,
        /// Epoch promised.
        current: u32,
        /// Last zxid.
        last: Zxid,
    },
    /// As that, in a member of an ensemble.
    #[error(
        "log epoch {epoch} is newer than accepted epoch {accepted}: state/promise at offset 0 does not belong to the log that ends at zxid \
         {last}; directories were mixed: put the files together that belong together"
    )]
    Accepted {
        /// Epoch of the last zxid.
        epoch: u32,
        /// Epoch accepted.
        accepted: u32,
        /// Last zxid.
        last: Zxid,
    },
}

/// One paper and how it is written on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paper<T> {
    /// What it says.
    pub said: T,
    /// Where the next write goes.
    pub slots: Slots,
    /// A slot was bad: it is to be written again.
    pub is_hurt: bool,
}

/// The papers of a directory that has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Papers {
    /// What must be there.
    pub manifest: Paper<Manifest>,
    /// Epochs promised.
    pub promise: Paper<Promise>,
    /// The log was durable up to here. `None` if the file is lost: it is only ever a second witness, and is made anew.
    pub watermark: Option<Paper<Zxid>>,
    /// One line each for the operator.
    pub warnings: Vec<String>,
}

impl Papers {
    /// The durable zxid that the log must reach.
    #[must_use]
    pub fn durable(&self) -> Zxid {
        self.watermark.map_or(Zxid::ZERO, |paper| paper.said)
    }

    /// Whether `last`, the newest zxid of log and images, is within what was promised (row 18).
    pub fn allow(&self, last: Zxid) -> Result<(), PapersRefusal> {
        let current = self.promise.said.current;
        if last.epoch() > current { Err(PapersRefusal::Epoch { epoch: last.epoch(), current, last }) } else { Ok(()) }
    }

    /// As [`allow`](Self::allow), for a member of an ensemble: the history of an epoch may be logged before the epoch is joined, but never
    /// before it is accepted.
    pub fn allow_member(&self, last: Zxid) -> Result<(), PapersRefusal> {
        let accepted = self.promise.said.accepted;
        if last.epoch() > accepted { Err(PapersRefusal::Accepted { epoch: last.epoch(), accepted, last }) } else { Ok(()) }
    }
}

/// Reads the papers of server `here`, or of whichever it is. `None` says that there are none at all: the directory is new, or of a release before them.
pub fn judge(files: Files<'_>, here: Option<ServerId>) -> Result<Option<Papers>, PapersRefusal> {
    if files.manifest.is_none() && files.promise.is_none() && files.watermark.is_none() && !files.is_kept {
        return Ok(None);
    }
    // As much as can be known for a message, before anything is judged.
    let known = |form, bytes: Option<&[u8]>| bytes.and_then(|bytes| slots::read(form, bytes).ok());
    let image = known(manifest::FORM, files.manifest).and_then(|r| Manifest::decode(&r.payload)).map(|m| m.image);
    let durable = known(watermark::FORM, files.watermark).and_then(|r| watermark::decode(&r.payload));
    let zxid = image.unwrap_or_default().max(durable.unwrap_or_default());

    let mut warnings = Vec::new();
    let manifest = read("manifest", manifest::FORM, files.manifest, Manifest::decode, zxid);
    let promise = read("epoch record", promise::FORM, files.promise, Promise::decode, zxid);
    let watermark = read("watermark", watermark::FORM, files.watermark, watermark::decode, zxid);
    // A newer format anywhere comes before all else: what an older release makes of the rest means nothing.
    for newer in [manifest.as_ref().err(), promise.as_ref().err(), watermark.as_ref().err()].into_iter().flatten() {
        if matches!(newer, PapersRefusal::Newer { .. }) {
            return Err(newer.clone());
        }
    }
    let (manifest, bad_manifest) = manifest?;
    let said = manifest.said;
    if let Some(here) = here.filter(|here| *here != said.server) {
        // The payload of the slot that was read begins with it.
        let offset = if bad_manifest.is_some_and(|(slot, _)| slot == 0) { 4096 } else { 0 };
        return Err(PapersRefusal::Foreign { found: said.server.0, here: here.0, offset, image: said.image });
    }
    let (promise, bad_promise) = promise?;
    let watermark = match watermark {
        Ok((paper, bad)) => {
            // What a torn write leaves, and quite usual after a power cut.
            if let Some((slot, error)) = bad {
                tracing::debug!("watermark slot {slot}: {error}");
            }
            Some(paper)
        }
        Err(refusal) => {
            let PapersRefusal::Lost { error, .. } = &refusal else { return Err(refusal) };
            warnings.push(format!(
                "state/watermark {error}: made anew; this once, damage at the very end of the log after zxid {zxid} cannot be told from a \
                 torn tail, so compare with a copy if you keep one"
            ));
            None
        }
    };
    let bad = [("manifest", manifest::FORM.name, bad_manifest), ("epoch", promise::FORM.name, bad_promise)];
    for (what, file, bad) in bad {
        if let Some((slot, error)) = bad {
            let offset = slot * crate::ground::limits::BLOCK;
            warnings.push(format!(
                "{what} slot {slot} repaired: state/{file} at offset {offset} ({error}), the other slot says the same or what was before \
                 (zxid {zxid}); nothing to be done unless it happens again"
            ));
        }
    }
    Ok(Some(Papers { manifest, promise, watermark, warnings }))
}

type Read<T> = (Paper<T>, Option<(usize, SlotError)>);

fn read<T>(
    what: &'static str,
    form: Form,
    bytes: Option<&[u8]>,
    decode: impl Fn(&[u8]) -> Option<T>,
    zxid: Zxid,
) -> Result<Read<T>, PapersRefusal> {
    let lost = |error: String| PapersRefusal::Lost { what, file: form.name, error, zxid };
    let bytes = bytes.ok_or_else(|| lost("is missing (from offset 0)".to_owned()))?;
    match slots::read(form, bytes) {
        Ok(reading) => {
            let said = decode(&reading.payload).ok_or_else(|| lost("holds impossible values (from offset 24)".to_owned()))?;
            Ok((Paper { said, slots: reading.next, is_hurt: reading.bad.is_some() }, reading.bad))
        }
        Err(SlotsError::Newer { slot, version }) => {
            let offset = (slot * crate::ground::limits::BLOCK) as u64;
            Err(PapersRefusal::Newer { file: form.name, version, offset, known: form.version, zxid })
        }
        Err(error @ SlotsError::Lost(..)) => Err(lost(format!("is unreadable ({error})"))),
    }
}
