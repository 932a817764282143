//! Image: one file that holds the whole state at one zxid. Header block, checked chunks, and an end that says what is whole.
//!
//! This room does not know what a chunk says: it frames, numbers and checks payloads. A file without its end chunk is no
//! image, however good its chunks are, so that a cut file is never taken for a whole one.
//!
//! Reading is done frame by frame: [`Reader::new`] takes the header block, [`Reader::frame`] the next [`FRAME`] bytes and
//! says how many follow, [`Reader::payload`] checks those. Nothing is allocated here and no length is believed before the
//! checksum of its frame is right. `docs/storage.md` draws the format.

use crate::ground::cursor::Cursor;
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::limits::{BLOCK, FRAME_MAX_CEILING};
use crate::ground::time::WallMillis;

use super::block::is_zero;
use super::segment::hex;

/// The format version that this code writes, and the newest that it reads.
pub const IMAGE_FORMAT: u32 = 1;

/// Name of an image that is being written.
pub const UNFINISHED: &str = "image.tmp";

/// Bytes in front of each payload.
pub const FRAME: usize = 32;

/// Payloads begin at multiples of this in the file, and are padded to it with zeros.
pub const ALIGN: usize = 32;

/// Largest payload of a chunk, bytes.
pub const CHUNK_BYTES_MAX: usize = 256 << 20;

/// Kind of the chunk that ends an image; all others mean what the engine means by them.
pub const KIND_END: u32 = u32::MAX;

const MAGIC: [u8; 8] = *b"RKEEPIMG";

const HEADER_CRC_AT: usize = BLOCK - 4;

const FRAME_CRC_AT: usize = FRAME - 4;

/// Bytes of the end chunk's payload.
const TOTALS: usize = 32;

// A znode has a path, data and an ACL, none of which is larger than the frame it came in.
const _: () = assert!(CHUNK_BYTES_MAX > 3 * FRAME_MAX_CEILING + (1 << 20));
const _: () = assert!(BLOCK.is_multiple_of(ALIGN) && FRAME.is_multiple_of(ALIGN));

/// The name of the image at a zxid.
#[must_use]
pub fn image_name(zxid: Zxid) -> String {
    format!("image.{:016x}", zxid.0)
}

/// The zxid in a file name, if it is exactly a name that [`image_name`] makes.
#[must_use]
pub fn image_zxid(name: &str) -> Option<Zxid> {
    hex(name.strip_prefix("image.")?).map(Zxid)
}

/// Why bytes are not an image, or not one that this release reads. What they say is then not to be believed at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// The file ends where more must follow.
    #[error("cut off at offset {0}")]
    Cut(u64),
    /// The header block does not match its checksum, or is that of no image.
    #[error("damaged at offset 0: the header")]
    Header,
    /// The header belongs to an image of another zxid than the file's name says.
    #[error("the header belongs to the image at {0}")]
    Misnamed(Zxid),
    /// A later release wrote it; nothing of it was believed.
    #[error("has format version {0}, this release reads up to {IMAGE_FORMAT}: start the release that wrote it")]
    Newer(u32),
    /// A chunk's frame is not the one that must follow, or does not match its checksum.
    #[error("damaged at offset {0}: the frame of a chunk")]
    Frame(u64),
    /// A chunk's payload does not match its checksum.
    #[error("damaged at offset {0}: the payload of a chunk")]
    Payload(u64),
    /// The end does not agree with what came before it, or something comes after it.
    #[error("damaged at offset {0}: the end does not agree with what it ends")]
    End(u64),
}

/// The header block: what is known before the first chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageHeader {
    /// The server that made the image.
    pub server: ServerId,
    /// All transactions up to this one are in the image, and none after it.
    pub zxid: Zxid,
    /// When it was begun, for people; nothing depends on it.
    pub created: WallMillis,
}

impl ImageHeader {
    /// The block.
    #[must_use]
    pub fn encode(&self) -> Box<[u8; BLOCK]> {
        let mut block = Box::new([0; BLOCK]);
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&IMAGE_FORMAT.to_be_bytes());
        block[12..16].copy_from_slice(&u32::from(self.server.0).to_be_bytes());
        block[16..24].copy_from_slice(&self.zxid.0.to_be_bytes());
        block[24..32].copy_from_slice(&self.created.0.to_be_bytes());
        let crc = crc32fast::hash(&block[..HEADER_CRC_AT]);
        block[HEADER_CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        block
    }

    /// Reads a header block. Magic, version and checksum keep their places in every version.
    pub fn decode(block: &[u8]) -> Result<Self, ImageError> {
        let block = block.get(..BLOCK).ok_or(ImageError::Cut(block.len() as u64))?;
        Self::fields(block).map_err(|error| error.unwrap_or(ImageError::Header))
    }

    /// `Err(None)` is damage.
    fn fields(block: &[u8]) -> Result<Self, Option<ImageError>> {
        let damaged = |_| None;
        let crc = Cursor::new(&block[HEADER_CRC_AT..]).u32().map_err(damaged)?;
        let mut c = Cursor::new(block);
        if crc32fast::hash(&block[..HEADER_CRC_AT]) != crc || c.take(8).map_err(damaged)? != MAGIC {
            return Err(None);
        }
        match c.u32().map_err(damaged)? {
            0 => return Err(None),
            IMAGE_FORMAT => {}
            newer => return Err(Some(ImageError::Newer(newer))),
        }
        let server = u8::try_from(c.u32().map_err(damaged)?).map_err(|_| None)?;
        let zxid = Zxid(c.u64().map_err(damaged)?);
        Ok(Self { server: ServerId(server), zxid, created: WallMillis(c.i64().map_err(damaged)?) })
    }
}

/// What the end chunk says of all before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Chunks, the end not counted.
    pub chunks: u64,
    /// Items of all chunks.
    pub items: u64,
    /// Bytes of all payloads, without padding.
    pub bytes: u64,
    /// The digest of the whole, which whoever loads the image computes again and compares.
    pub digest: u64,
}

impl Totals {
    fn encode(&self) -> [u8; TOTALS] {
        let mut bytes = [0; TOTALS];
        for (into, value) in bytes.chunks_exact_mut(8).zip([self.chunks, self.items, self.bytes, self.digest]) {
            into.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(payload);
        let totals = Self { chunks: c.u64().ok()?, items: c.u64().ok()?, bytes: c.u64().ok()?, digest: c.u64().ok()? };
        (c.remaining() == 0).then_some(totals)
    }
}

/// A chunk as its frame announces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What the payload is; [`KIND_END`] ends the image.
    pub kind: u32,
    /// Place among the chunks, from 0.
    pub number: u32,
    /// Items in the payload.
    pub items: u32,
    /// Bytes of the payload, at most [`CHUNK_BYTES_MAX`].
    pub len: usize,
    /// Byte of the file at which the payload begins, a multiple of [`ALIGN`].
    pub offset: u64,
    crc: u32,
}

impl Frame {
    /// Bytes that follow the frame: the payload and its padding.
    #[must_use]
    pub const fn padded(&self) -> usize {
        self.len.next_multiple_of(ALIGN)
    }

    fn encode(&self, chain: u32) -> ([u8; FRAME], u32) {
        let mut bytes = [0; FRAME];
        let len = u32::try_from(self.len).expect("a chunk is bounded by CHUNK_BYTES_MAX");
        // The last but one of the eight words is 0.
        for (into, value) in bytes.chunks_exact_mut(4).zip([self.kind, self.number, len, self.items, self.crc, chain]) {
            into.copy_from_slice(&value.to_be_bytes());
        }
        let own = crc32fast::hash(&bytes[..FRAME_CRC_AT]);
        bytes[FRAME_CRC_AT..].copy_from_slice(&own.to_be_bytes());
        (bytes, own)
    }
}

/// Frames payloads one after the other. What it yields is to be written one behind the other, from the start of a file.
#[derive(Debug)]
pub struct Writer {
    chain: u32,
    at: u64,
    totals: Totals,
}

impl Writer {
    /// Begins an image: appends its header block to `out`.
    pub fn begin(header: &ImageHeader, out: &mut Vec<u8>) -> Self {
        let block = header.encode();
        out.extend_from_slice(&block[..]);
        Self { chain: crc32fast::hash(&block[..HEADER_CRC_AT]), at: BLOCK as u64, totals: Totals::default() }
    }

    /// Appends a chunk to `out`: frame, payload, padding.
    ///
    /// # Panics
    /// Where the payload is larger than [`CHUNK_BYTES_MAX`], or `kind` is [`KIND_END`].
    pub fn chunk(&mut self, kind: u32, items: u32, payload: &[u8], out: &mut Vec<u8>) {
        assert_ne!(kind, KIND_END, "an image is ended by its totals");
        self.put(kind, items, payload, out);
        self.totals.chunks += 1;
        self.totals.items += u64::from(items);
        self.totals.bytes += payload.len() as u64;
    }

    /// Appends the end to `out` and yields what it says, with the bytes of the whole file. Nothing may follow it.
    pub fn end(&mut self, digest: u64, out: &mut Vec<u8>) -> (Totals, u64) {
        self.totals.digest = digest;
        let totals = self.totals;
        self.put(KIND_END, 0, &totals.encode(), out);
        (totals, self.at)
    }

    fn put(&mut self, kind: u32, items: u32, payload: &[u8], out: &mut Vec<u8>) {
        assert!(payload.len() <= CHUNK_BYTES_MAX, "a chunk holds a bounded number of items, each smaller than a frame");
        let number = u32::try_from(self.totals.chunks).expect("an image has fewer chunks than a tree can have znodes");
        let offset = self.at + FRAME as u64;
        let frame = Frame { kind, number, items, len: payload.len(), offset, crc: crc32fast::hash(payload) };
        let (bytes, own) = frame.encode(self.chain);
        out.extend_from_slice(&bytes);
        out.extend_from_slice(payload);
        out.resize(out.len() + frame.padded() - payload.len(), 0);
        self.chain = own;
        self.at = offset + frame.padded() as u64;
    }

    /// Bytes framed so far, the header among them.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.at
    }

    /// Never: the header is there from the beginning.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// Checks an image frame by frame.
#[derive(Debug)]
pub struct Reader {
    header: ImageHeader,
    chain: u32,
    at: u64,
    seen: Totals,
    end: Option<Totals>,
}

impl Reader {
    /// Begins with the first [`BLOCK`] bytes of the file that is named for `zxid`.
    pub fn new(zxid: Zxid, block: &[u8]) -> Result<Self, ImageError> {
        let header = ImageHeader::decode(block)?;
        if header.zxid != zxid {
            return Err(ImageError::Misnamed(header.zxid));
        }
        let chain = crc32fast::hash(&block[..HEADER_CRC_AT]);
        Ok(Self { header, chain, at: BLOCK as u64, seen: Totals::default(), end: None })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Byte of the file at which the next frame begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.at
    }

    /// The next frame, from the [`FRAME`] bytes at [`Reader::offset`]; fewer bytes say that the file ends there. Yields what
    /// follows it: [`Frame::padded`] bytes for [`Reader::payload`].
    pub fn frame(&mut self, bytes: &[u8]) -> Result<Frame, ImageError> {
        let at = self.at;
        let bytes = bytes.get(..FRAME).ok_or(ImageError::Cut(at + bytes.len() as u64))?;
        self.follows(bytes).ok_or(ImageError::Frame(at))
    }

    fn follows(&mut self, bytes: &[u8]) -> Option<Frame> {
        let mut c = Cursor::new(bytes);
        let (kind, number, len, items) = (c.u32().ok()?, c.u32().ok()?, c.u32().ok()?, c.u32().ok()?);
        let (crc, chain, zero, own) = (c.u32().ok()?, c.u32().ok()?, c.u32().ok()?, c.u32().ok()?);
        let is_next = self.end.is_none() && chain == self.chain && u64::from(number) == self.seen.chunks && zero == 0;
        if crc32fast::hash(&bytes[..FRAME_CRC_AT]) != own || !is_next {
            return None;
        }
        let len = usize::try_from(len).ok().filter(|&len| len <= CHUNK_BYTES_MAX)?;
        let offset = self.at + FRAME as u64;
        self.chain = own;
        Some(Frame { kind, number, items, len, offset, crc })
    }

    /// Checks the bytes that follow the frame last yielded; what is returned is the payload without its padding.
    pub fn payload<'a>(&mut self, frame: &Frame, bytes: &'a [u8]) -> Result<&'a [u8], ImageError> {
        let at = frame.offset;
        let padded = bytes.get(..frame.padded()).ok_or(ImageError::Cut(at + bytes.len() as u64))?;
        let (payload, padding) = padded.split_at(frame.len);
        if crc32fast::hash(payload) != frame.crc || !is_zero(padding) {
            return Err(ImageError::Payload(at));
        }
        self.at = at + padded.len() as u64;
        if frame.kind == KIND_END {
            let totals = Totals::decode(payload).filter(|end| Totals { digest: 0, ..*end } == self.seen);
            self.end = Some(totals.ok_or(ImageError::End(at))?);
        } else {
            self.seen.chunks += 1;
            self.seen.items += u64::from(frame.items);
            self.seen.bytes += frame.len as u64;
        }
        Ok(payload)
    }

    /// As [`Reader::payload`] where the checksum is checked elsewhere, by [`Frame::is_intact`] on another thread: only counts.
    ///
    /// # Panics
    /// If the frame is the end's, which is checked here.
    pub fn skip(&mut self, frame: &Frame) {
        assert_ne!(frame.kind, KIND_END, "the end is checked in its place");
        self.at = frame.offset + frame.padded() as u64;
        self.seen.chunks += 1;
        self.seen.items += u64::from(frame.items);
        self.seen.bytes += frame.len as u64;
    }

    /// The image is whole: the end was read and `file_len` says that nothing follows. Yields what the end says.
    pub fn finish(self, file_len: u64) -> Result<Totals, ImageError> {
        match self.end {
            None => Err(ImageError::Cut(self.at)),
            Some(_) if file_len != self.at => Err(ImageError::End(self.at)),
            Some(totals) => Ok(totals),
        }
    }
}

impl Frame {
    /// Checks the bytes that follow the frame, as [`Reader::payload`] does: the payload without its padding.
    pub fn is_intact<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], ImageError> {
        let padded = bytes.get(..self.padded()).ok_or(ImageError::Cut(self.offset + bytes.len() as u64))?;
        let (payload, padding) = padded.split_at(self.len);
        if crc32fast::hash(payload) == self.crc && is_zero(padding) { Ok(payload) } else { Err(ImageError::Payload(self.offset)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZXID: Zxid = Zxid(0x2_0000_0007);

    fn image(payloads: &[&[u8]]) -> Vec<u8> {
        let header = ImageHeader { server: ServerId(3), zxid: ZXID, created: WallMillis(1_700_000_000_000) };
        let mut out = Vec::new();
        let mut writer = Writer::begin(&header, &mut out);
        for (i, payload) in (1..).zip(payloads) {
            writer.chunk(7, i, payload, &mut out);
            assert_eq!(writer.len(), out.len() as u64);
        }
        let (totals, len) = writer.end(0xd1_6e57, &mut out);
        assert_eq!((totals.chunks, totals.digest, len), (payloads.len() as u64, 0xd1_6e57, out.len() as u64));
        out
    }

    /// Everything in it, or why not.
    fn read(file: &[u8]) -> Result<(Vec<Vec<u8>>, Totals), ImageError> {
        let mut reader = Reader::new(ZXID, file)?;
        let mut payloads = Vec::new();
        loop {
            let at = usize::try_from(reader.offset()).unwrap();
            let frame = reader.frame(file.get(at..).unwrap_or_default())?;
            let rest = &file[usize::try_from(frame.offset).unwrap().min(file.len())..];
            let payload = reader.payload(&frame, rest)?;
            if frame.kind == KIND_END {
                return Ok((payloads, reader.finish(file.len() as u64)?));
            }
            assert_eq!(frame.is_intact(rest), Ok(payload));
            payloads.push(payload.to_vec());
        }
    }

    #[test]
    fn names_go_both_ways() {
        assert_eq!(image_name(Zxid(0x1f)), "image.000000000000001f");
        assert_eq!(image_zxid("image.000000000000001f"), Some(Zxid(0x1f)));
        for other in ["image.tmp", "image.1f", "image.000000000000001F", "image.000000000000001f.tmp", "log.000000000000001f", ""]
        {
            assert_eq!(image_zxid(other), None, "{other}");
        }
    }

    #[test]
    fn reads_what_was_written() {
        let large = vec![9; 100_000];
        let file = image(&[b"one", b"", &large]);
        let (payloads, totals) = read(&file).unwrap();
        assert_eq!(payloads, [b"one".to_vec(), vec![], large]);
        assert_eq!(totals, Totals { chunks: 3, items: 6, bytes: 100_003, digest: 0xd1_6e57 });
        assert_eq!(read(&image(&[])).unwrap(), (vec![], Totals { digest: 0xd1_6e57, ..Totals::default() }));
        assert_eq!(&file[..12], b"RKEEPIMG\0\0\0\x01");
        assert_eq!(file[12..24], [0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 7]);
    }

    #[test]
    fn a_cut_file_is_never_whole() {
        let file = image(&[b"one", &[5; 200]]);
        for len in 0..file.len() {
            let error = read(&file[..len]).unwrap_err();
            assert!(matches!(error, ImageError::Cut(at) if at as usize <= len), "{len}: {error}");
        }
        for more in [&[0; 32][..], b"x"] {
            assert!(matches!(read(&[&file[..], more].concat()), Err(ImageError::End(_))));
        }
    }

    #[test]
    fn chunks_are_not_left_out_repeated_or_swapped() {
        let file = image(&[&[1; 32], &[2; 32], &[3; 32]]);
        let (head, chunks, end) = (&file[..BLOCK], &file[BLOCK..BLOCK + 192], &file[BLOCK + 192..]);
        for order in [&[0, 2][..], &[0, 1], &[0, 0, 1, 2], &[1, 0, 2], &[0, 1, 2, 2], &[]] {
            let mut other = head.to_vec();
            order.iter().for_each(|&i: &usize| other.extend_from_slice(&chunks[64 * i..64 * (i + 1)]));
            other.extend_from_slice(end);
            assert!(matches!(read(&other), Err(ImageError::Frame(_))), "{order:?}");
        }
        let other = image(&[&[1; 32]]);
        let mixed = [head, &chunks[..64], &other[BLOCK + 64..]].concat();
        assert!(read(&mixed).is_ok(), "the same bytes are the same image");
    }

    #[test]
    fn a_newer_format_is_named_only_if_the_header_is_intact() {
        let mut file = image(&[b"x"]);
        file[11] = 9;
        assert_eq!(read(&file), Err(ImageError::Header));
        let crc = crc32fast::hash(&file[..HEADER_CRC_AT]);
        file[HEADER_CRC_AT..BLOCK].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(read(&file), Err(ImageError::Newer(9)));
        assert!(ImageError::Newer(9).to_string().contains("start the release that wrote it"));
        assert_eq!(Reader::new(Zxid(1), &image(&[])).unwrap_err(), ImageError::Misnamed(ZXID));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0..BLOCK + 4 * 64, bit in 0..8u8) {
            let mut file = image(&[b"one", &[5; 20], b""]);
            let at = at % file.len();
            file[at] ^= 1 << bit;
            prop_assert!(read(&file).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_chunks(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut file = image(&[]);
            file.truncate(BLOCK);
            file.extend(bytes);
            prop_assert!(read(&file).is_err());
        }
    }
}
