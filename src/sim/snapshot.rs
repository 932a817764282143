//! Snapshot: the whole state of a server at one zxid, as an image's bytes, with what the ghost knows of it behind them.

use std::collections::BTreeMap;
use std::rc::Rc;

use rkyv::util::AlignedVec;

use super::log::State;
use crate::engine::archivist::load::{Assembly, LoadError, Loaded, Loader};
use crate::engine::archivist::{Archivist, Wrote};
use crate::ground::ids::Zxid;
use crate::ground::time::Now;
use crate::storage::image::{FRAME, KIND_END, Reader};
use crate::tree::tree::Tree;

/// Seeds of everything that hashes.
pub const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// A state.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// What the ghost knows of it.
    pub state: State,
    /// The image; nothing where there has been no transaction yet.
    pub image: Rc<[u8]>,
}

impl Snapshot {
    /// Of what an archivist has adopted.
    #[must_use]
    pub fn of(archivist: &mut Archivist, state: State, now: Now) -> Self {
        if state.at == Zxid::ZERO {
            return Self { state, image: [].into() };
        }
        assert_eq!(archivist.applied(), state.at, "an archivist adopts what is delivered");
        let mut image = Vec::new();
        archivist.begin(now, &mut image);
        while archivist.write(&mut image) == Wrote::More {}
        archivist.finished(now);
        Self { state, image: image.into() }
    }

    /// As a file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&self.image, &self.state.encode()[..]].concat()
    }

    /// From a file, if the ghost's part is whole. The image is checked when it is loaded.
    #[must_use]
    pub fn decode(file: &[u8]) -> Option<Self> {
        let (image, state) = file.split_last_chunk::<{ State::LEN }>()?;
        Some(Self { state: State::decode(state)?, image: image.into() })
    }

    /// The tree and the sessions in it.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let (file, zxid) = (&self.image, self.state.at);
        if zxid == Zxid::ZERO {
            return Ok(Loaded { tree: Tree::new(SEEDS), sessions: BTreeMap::new(), zxid });
        }
        let mut reader = Reader::new(zxid, file)?;
        let loader = Loader::new(SEEDS);
        let mut assembly = Assembly::new(&loader);
        let part = |from: u64, len: usize| {
            let from = usize::try_from(from).map_or(file.len(), |from| from.min(file.len()));
            &file[from..(from + len).min(file.len())]
        };
        loop {
            let frame = reader.frame(part(reader.offset(), FRAME))?;
            let bytes = part(frame.offset, frame.padded());
            reader.payload(&frame, bytes)?;
            if frame.kind == KIND_END {
                let totals = reader.finish(file.len() as u64)?;
                return assembly.finish(loader, zxid, &totals);
            }
            let mut payload = AlignedVec::new();
            payload.extend_from_slice(bytes);
            assembly.add(loader.read(&frame, &mut payload)?)?;
        }
    }
}
