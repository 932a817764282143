//! Block: the 4 KiB unit in which the log is written, aligned and searched.

use std::ops::Range;

use crate::ground::limits::BLOCK;

/// `len` rounded up to whole blocks, bytes. `len` is the size of something that is in memory, far from the integer's end.
#[must_use]
pub const fn round_up(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

/// `len` rounded down to whole blocks, bytes.
#[must_use]
pub const fn round_down(len: usize) -> usize {
    len - len % BLOCK
}

/// Whether every byte is zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Groups without a branch inside, so that the compiler may use wide registers: recovery reads whole blank segments.
    let mut groups = bytes.chunks_exact(64);
    groups.by_ref().all(|group| group.iter().fold(0, |sum, byte| sum | byte) == 0) && groups.remainder().iter().all(|b| *b == 0)
}

/// The smallest run of whole blocks of `bytes`, from the block boundary `from` on, outside which everything is zero.
#[must_use]
pub fn dirty(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = bytes.get(from..)?;
    let first = rest.chunks(BLOCK).position(|block| !is_zero(block))?;
    let last = rest.chunks(BLOCK).rposition(|block| !is_zero(block))?;
    Some(from + first * BLOCK..from + (last + 1) * BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_blocks() {
        assert_eq!([round_up(0), round_up(1), round_up(4096), round_up(4097)], [0, 4096, 4096, 8192]);
        assert_eq!([round_down(0), round_down(4095), round_down(4096), round_down(8191)], [0, 0, 4096, 4096]);
    }

    #[test]
    fn finds_what_is_not_zero() {
        let mut bytes = vec![0; 5 * BLOCK + 70];
        assert!(is_zero(&bytes));
        assert_eq!(dirty(&bytes, 0), None);
        bytes[5 * BLOCK + 69] = 1;
        assert!(!is_zero(&bytes[5 * BLOCK..]));
        assert_eq!(dirty(&bytes, BLOCK), Some(5 * BLOCK..6 * BLOCK));
        bytes[2 * BLOCK - 1] = 1;
        assert_eq!(dirty(&bytes, BLOCK), Some(BLOCK..6 * BLOCK));
        assert_eq!(dirty(&bytes, 2 * BLOCK), Some(5 * BLOCK..6 * BLOCK));
        assert_eq!(dirty(&bytes, 6 * BLOCK), None);
    }
}
