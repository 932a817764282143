//! Source: an image read from its file by the code that a server loads with, and never written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;

use crate::cli::outcome::{Failed, Outcome};
use crate::engine::archivist::load::{Assembly, Inspection, LoadError, Loaded, Loader, Part};
use crate::ground::ids::SessionId;
use crate::ground::limits::BLOCK;
use crate::proto::path::ROOT;
use crate::runtime::chance;
use crate::show::progress::{Progress, bytes};
use crate::show::tell::tell;
use crate::storage::image::{FRAME, ImageError, ImageHeader, KIND_END, Reader, Totals, image_zxid};
use crate::tree::record::Record;
use crate::tree::view::{SlotId, View};

/// An image that was read through and found good.
pub struct Inspected {
    /// Its file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub len: u64,
    /// What its header says.
    pub header: ImageHeader,
    /// What its end says.
    pub totals: Totals,
    /// Sessions with their timeouts, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Znodes in it.
    pub znodes: u64,
}

/// The images at `place`, ascending: the file itself, or those of a directory, or of the directory `images` in it.
pub fn images_at(place: &Path) -> Result<Vec<PathBuf>, Failed> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    for dir in [place.to_owned(), place.join("images")] {
        if !dir.is_dir() {
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Failed::on("list", &dir))? {
            let name = entry.map_err(Failed::on("list", &dir))?.file_name();
            found.extend(name.to_str().and_then(image_zxid).map(|zxid| (zxid, dir.join(&name))));
        }
        if !found.is_empty() {
            found.sort();
            return Ok(found.into_iter().map(|(_, path)| path).collect());
        }
    }
    let place = place.display();
    Err(Failed::NotThere(format!(
        "no image in {place}: images are named image. and 16 digits, and lie in the directory images of a server's dataDir"
    )))
}

/// The newest image at `place`.
pub fn newest_at(place: &Path) -> Result<PathBuf, Failed> {
    let mut images = images_at(place)?;
    Ok(images.pop().expect("there is one, or it is an error"))
}

/// Why an image is none.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// What it says cannot be believed.
    #[error(transparent)]
    Damaged(#[from] LoadError),
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        Self::Damaged(error.into())
    }
}

impl Fault {
    /// Tells of a damaged image; an unreadable one, or one of a later release, ends the tool otherwise.
    pub fn tell(self, path: &Path) -> Result<Outcome, Failed> {
        let line = self.line(path)?;
        tell(&line);
        Ok(Outcome::Wrong)
    }

    /// The line about a damaged image: file, offset, next step.
    pub fn line(self, path: &Path) -> Result<String, Failed> {
        let path = path.display();
        match self {
            Self::Failed(failed) => Err(failed),
            Self::Damaged(error @ LoadError::Image(ImageError::Newer(_))) => Err(Failed::NotThere(format!("{path} {error}"))),
            Self::Damaged(error) => Ok(format!(
                "{path} {error}; put an intact copy of it back, or keep an older image and the log from there on, which a server starts from"
            )),
        }
    }
}

/// Loads an image whole. Nothing of it is shown unless all of it is good.
pub fn load(path: &Path, progress: &mut Progress) -> Result<Loaded, Fault> {
    let loader = loader()?;
    let mut assembly = Assembly::new(&loader);
    let (header, totals, _) = parts(path, &loader, progress, |part| Ok::<_, Fault>(assembly.add(part)?))?;
    Ok(assembly.finish(loader, header.zxid, &totals)?)
}

/// Reads an image through and checks all of it, chunk by chunk: however large it is, it takes little memory.
pub fn inspect(path: &Path, progress: &mut Progress) -> Result<Inspected, Fault> {
    let loader = loader()?;
    let mut inspection = Inspection::default();
    let (header, totals, len) = parts(path, &loader, progress, |part| Ok::<_, Fault>(inspection.add(&part)?))?;
    let (sessions, znodes) = inspection.finish(&totals)?;
    Ok(Inspected { path: path.to_owned(), len, header, totals, sessions, znodes })
}

/// Shows `visit` every znode of an image that was inspected, parents first, with its depth; in the order of the file.
pub fn stream<E: From<Fault>>(
    image: &Inspected,
    progress: &mut Progress,
    mut visit: impl FnMut(&Record, usize) -> Result<(), E>,
) -> Result<(), E> {
    let loader = loader().map_err(Fault::from)?;
    parts(&image.path, &loader, progress, |part| part.records().try_for_each(|record| visit(record, depth_of(record)))).map(drop)
}

/// 0 is the root's.
fn depth_of(record: &Record) -> usize {
    let path = record.path_bytes();
    if path == ROOT.as_bytes() { 0 } else { path.iter().filter(|byte| **byte == b'/').count() }
}

/// Hands the parts of an image to `take`, one after the other, each checked by itself.
fn parts<E: From<Fault>>(
    path: &Path,
    loader: &Loader,
    progress: &mut Progress,
    mut take: impl FnMut(Part) -> Result<(), E>,
) -> Result<(ImageHeader, Totals, u64), E> {
    let (mut file, len) = open(path).map_err(Fault::from)?;
    let mut next = |into: &mut [u8]| fill(&mut file, into).map_err(Failed::on("read", path)).map_err(Fault::from);
    let mut block = vec![0; BLOCK];
    let got = next(&mut block)?;
    let header = ImageHeader::decode(&block[..got]).map_err(Fault::from)?;
    // A copy may have any name; one that says a zxid has to be right.
    let named = path.file_name().and_then(|name| name.to_str()).and_then(image_zxid);
    let mut reader = Reader::new(named.unwrap_or(header.zxid), &block).map_err(Fault::from)?;
    let mut payload = AlignedVec::new();
    loop {
        let mut bytes_of_frame = [0; FRAME];
        let got = next(&mut bytes_of_frame)?;
        let frame = reader.frame(&bytes_of_frame[..got]).map_err(Fault::from)?;
        // A file that was cut is told by its length, before memory is made ready for what is not there.
        let there = usize::try_from(len.saturating_sub(frame.offset)).unwrap_or(usize::MAX).min(frame.padded());
        payload.resize(there, 0);
        let got = next(&mut payload)?;
        payload.resize(got, 0);
        if frame.kind == KIND_END {
            reader.payload(&frame, &payload).map_err(Fault::from)?;
            break;
        }
        reader.skip(&frame);
        take(loader.read(&frame, &mut payload).map_err(Fault::from)?)?;
        progress.tell(|| format!("{}: {} of {}", path.display(), bytes(frame.offset), bytes(len)));
    }
    Ok((header, reader.finish(len).map_err(Fault::from)?, len))
}

fn open(path: &Path) -> Result<(File, u64), Failed> {
    let file = File::open(path).map_err(Failed::on("open", path))?;
    let len = file.metadata().map_err(Failed::on("look at", path))?.len();
    Ok((file, len))
}

/// Reads until `into` is full or the file ends.
fn fill(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn loader() -> Result<Loader, Failed> {
    Ok(Loader::new(chance::seeds().map_err(Failed::NotThere)?))
}

/// Shows `visit` the znode at `from` and all below it, parents first and siblings by name, with their depth below `from`.
pub fn visit<E>(view: &View, from: SlotId, mut visit: impl FnMut(&Record, usize) -> Result<(), E>) -> Result<(), E> {
    let mut ahead = vec![(from, 0)];
    while let Some((slot, depth)) = ahead.pop() {
        visit(view.record(slot), depth)?;
        let begin = ahead.len();
        ahead.extend(view.child_slots(slot).map(|child| (child, depth + 1)));
        // What is pushed last comes first.
        ahead[begin..].sort_unstable_by(|a, b| view.record(b.0).path_bytes().cmp(view.record(a.0).path_bytes()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_here_or_one_further_down() {
        let dir = tempfile::tempdir().unwrap();
        assert!(images_at(dir.path()).unwrap_err().to_string().starts_with("no image in "));
        let images = dir.path().join("images");
        fs::create_dir(&images).unwrap();
        for name in ["image.000000000000000a", "image.0000000000000009", "image.tmp"] {
            fs::write(images.join(name), b"x").unwrap();
        }
        let want = ["image.0000000000000009", "image.000000000000000a"].map(|name| images.join(name));
        assert_eq!(images_at(dir.path()).unwrap(), want);
        assert_eq!(newest_at(&images).unwrap(), want[1]);
        assert_eq!(newest_at(&want[0]).unwrap(), want[0]);
        let fault = load(&want[0], &mut Progress::new(false)).err().unwrap();
        let line = fault.line(&want[0]).unwrap();
        assert!(line.contains("image.0000000000000009 cut off at offset 1; put an intact copy"), "{line}");
    }
}
