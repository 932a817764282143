//! Compression: ZooKeeper's ways to write a snapshot, and the readers for them.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// How a snapshot is written, by the end of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Compression {
    /// As it is.
    Plain,
    /// `.gz`.
    Gz,
    /// `.snappy`: blocks of raw Snappy in the framing of Java's SnappyOutputStream.
    Snappy,
}

impl Compression {
    /// The end of names.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gz => ".gz",
            Self::Snappy => ".snappy",
        }
    }

    /// The contents of `file`.
    pub fn reader<'a>(self, file: impl Read + 'a) -> Box<dyn Read + 'a> {
        let file = BufReader::with_capacity(256 << 10, file);
        match self {
            Self::Plain => Box::new(file),
            Self::Gz => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            Self::Snappy => Box::new(Snappy::new(file)),
        }
    }
}

/// First bytes of the framing; two ints follow, a version and the oldest version that can read it, both 1.
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Largest block taken, before and after unpacking. Java writes 32 KiB where it is not told otherwise.
const SNAPPY_BLOCK_MAX: usize = 64 << 20;

/// Unpacks the framing of SnappyOutputStream: the head, then blocks, each an int length and raw Snappy.
struct Snappy<R> {
    input: R,
    packed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
    begun: bool,
}

impl<R: Read> Snappy<R> {
    const fn new(input: R) -> Self {
        Self { input, packed: Vec::new(), block: Vec::new(), at: 0, begun: false }
    }

    /// The next block. Says whether there was one.
    fn next(&mut self) -> io::Result<bool> {
        let mut word = [0; 4];
        loop {
            let got = read_up_to(&mut self.input, &mut word)?;
            match got {
                0 if self.begun => return Ok(false),
                4 => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            // Streams may be written one behind the other, each with its head.
            if word == SNAPPY_MAGIC[..4] {
                let mut rest = [0; 12];
                self.input.read_exact(&mut rest)?;
                let oldest = i32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]);
                if rest[..4] != SNAPPY_MAGIC[4..] || oldest != 1 {
                    return Err(invalid("not the head of Java's Snappy framing, version 1"));
                }
                self.begun = true;
            } else if self.begun {
                break;
            } else {
                return Err(invalid("does not begin with the head of Java's Snappy framing"));
            }
        }
        let len = u32::from_be_bytes(word) as usize;
        if len > SNAPPY_BLOCK_MAX {
            return Err(invalid("a Snappy block is too long"));
        }
        self.packed.clear();
        if (&mut self.input).take(len as u64).read_to_end(&mut self.packed)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Raw Snappy makes at most some 22 bytes of one, so that a claim cannot cost much more than its block.
        let unpacked = snap::raw::decompress_len(&self.packed).map_err(io::Error::other)?;
        if unpacked > SNAPPY_BLOCK_MAX || unpacked / 64 > len {
            return Err(invalid("a Snappy block claims too many bytes"));
        }
        self.block.clear();
        self.block.resize(unpacked, 0);
        self.at = 0;
        let got = snap::raw::Decoder::new().decompress(&self.packed, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(got);
        Ok(true)
    }
}

impl<R: Read> Read for Snappy<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if out.is_empty() || !self.next()? {
                return Ok(0);
            }
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match input.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn snappy(contents: &[u8], block: usize) -> Vec<u8> {
        let mut out = SNAPPY_MAGIC.to_vec();
        out.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for chunk in contents.chunks(block) {
            let packed = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
            out.extend((packed.len() as u32).to_be_bytes());
            out.extend(packed);
        }
        out
    }

    fn unpack(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn what_was_packed_is_unpacked_and_cuts_are_told() {
        let contents: Vec<u8> = (0..100_000u32).map(|n| (n / 7) as u8).collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&contents).unwrap();
        let gz = gz.finish().unwrap();
        let mut twice = snappy(&contents[..50_000], 32 << 10);
        twice.extend(snappy(&contents[50_000..], 999));
        for (compression, bytes) in [
            (Compression::Plain, contents.clone()),
            (Compression::Gz, gz),
            (Compression::Snappy, snappy(&contents, 32 << 10)),
            (Compression::Snappy, twice),
        ] {
            assert_eq!(unpack(compression, &bytes).unwrap(), contents);
            if compression != Compression::Plain {
                // A cut between two blocks of Snappy is a shorter stream: the snapshot's own check value finds it.
                for cut in [0, 3, 7, 15, 17, bytes.len() - 1] {
                    assert!(unpack(compression, &bytes[..cut]).is_err(), "{compression:?} {cut}");
                }
            }
        }
    }

    #[test]
    fn claims_of_snappy_blocks_are_bounded() {
        for block in
            [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 5, 0xff, 0xff, 0xff, 0x1f, 0], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 9, 1]]
        {
            let mut bytes = snappy(b"", 1);
            bytes.extend(block);
            assert!(unpack(Compression::Snappy, &bytes).is_err());
        }
        assert!(unpack(Compression::Snappy, b"\x82SNAPPZ\0\0\0\0\x01\0\0\0\x01").is_err());
    }
}
