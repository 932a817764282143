//! A source: a stream of jute values that counts its bytes and keeps their check value.

use std::io::{ErrorKind, Read};

use super::adler::Adler;
use super::flaw::What;
use crate::ground::limits::FRAME_MAX_CEILING;

/// Reads jute values from a stream. Memory follows the bytes that come, not the lengths that are claimed.
pub struct Source<R> {
    input: R,
    offset: u64,
    sum: Adler,
}

impl<R: Read> Source<R> {
    /// At the start of `input`.
    pub const fn new(input: R) -> Self {
        Self { input, offset: 0, sum: Adler::new() }
    }

    /// Bytes read.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The check value of all bytes read.
    pub fn sum(&self) -> i64 {
        self.sum.value()
    }

    /// Reads as many bytes as there are, up to all of `bytes`.
    fn up_to(&mut self, bytes: &mut [u8]) -> Result<usize, What> {
        let mut got = 0;
        while got < bytes.len() {
            match self.input.read(&mut bytes[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.sum.add(&bytes[..got]);
        self.offset += got as u64;
        Ok(got)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], What> {
        let mut bytes = [0; N];
        if self.up_to(&mut bytes)? == N { Ok(bytes) } else { Err(What::Ends) }
    }

    /// `int`.
    pub fn int(&mut self) -> Result<i32, What> {
        self.array().map(i32::from_be_bytes)
    }

    /// `long`.
    pub fn long(&mut self) -> Result<i64, What> {
        self.array().map(i64::from_be_bytes)
    }

    /// `long`, or `None` at the end.
    pub fn long_or_end(&mut self) -> Result<Option<i64>, What> {
        let mut bytes = [0; 8];
        match self.up_to(&mut bytes)? {
            0 => Ok(None),
            8 => Ok(Some(i64::from_be_bytes(bytes))),
            _ => Err(What::Ends),
        }
    }

    /// `buffer`: `None` is null.
    pub fn buffer(&mut self) -> Result<Option<Vec<u8>>, What> {
        let len = match self.int()? {
            -1 => return Ok(None),
            len => usize::try_from(len).ok().filter(|len| *len <= FRAME_MAX_CEILING).ok_or(What::Length(i64::from(len)))?,
        };
        let mut bytes = Vec::with_capacity(len.min(64 << 10));
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start + (64 << 10)), 0);
            if self.up_to(&mut bytes[start..])? < bytes.len() - start {
                return Err(What::Ends);
            }
        }
        Ok(Some(bytes))
    }

    /// `ustring` that must not be null. Bytes that are not UTF-8 read as U+FFFD, as the Java server reads them.
    pub fn string(&mut self, what: &'static str) -> Result<String, What> {
        let bytes = self.buffer()?.ok_or(What::Null(what))?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The count of a vector that must not be null; below -1 it reads as 0, as the Java server's loop does.
    pub fn count(&mut self, what: &'static str) -> Result<usize, What> {
        match self.int()? {
            -1 => Err(What::Null(what)),
            n => Ok(usize::try_from(n).unwrap_or(0)),
        }
    }

    /// Checks that nothing follows.
    pub fn end(&mut self) -> Result<(), What> {
        if self.up_to(&mut [0])? == 0 { Ok(()) } else { Err(What::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_claimed_cost_nothing() {
        let mut bytes = (FRAME_MAX_CEILING as i32).to_be_bytes().to_vec();
        bytes.extend([1; 100]);
        assert!(matches!(Source::new(&bytes[..]).buffer(), Err(What::Ends)));
        for len in [-2, i32::MIN, i32::MAX, FRAME_MAX_CEILING as i32 + 1] {
            let what = Source::new(&len.to_be_bytes()[..]).buffer();
            assert!(matches!(what, Err(What::Length(n)) if n == i64::from(len)));
        }
        assert!(matches!(Source::new(&[255; 4][..]).buffer(), Ok(None)));
        assert_eq!(Source::new(&[0; 4][..]).buffer().unwrap(), Some(vec![]));
    }

    #[test]
    fn the_end_is_an_end_only_between_values() {
        let mut source = Source::new(&[0, 0, 0, 0, 0, 0, 0, 7, 1][..]);
        assert!(matches!(source.long_or_end(), Ok(Some(7))));
        assert!(matches!(source.long_or_end(), Err(What::Ends)));
        assert!(matches!(source.long_or_end(), Ok(None)));
        assert_eq!((source.offset(), source.sum()), (9, Adler::of(&[0, 0, 0, 0, 0, 0, 0, 7, 1])));
        assert!(matches!(Source::new(&[1][..]).end(), Err(What::Trailing)));
        assert!(Source::new(&[][..]).end().is_ok());
    }
}
