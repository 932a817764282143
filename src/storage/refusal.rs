//! Refusal: why a log must not be continued, in one line an operator can act on.

use crate::ground::ids::Zxid;

use super::scanner::Reason;
use super::segment::{HeaderError, file_name};

/// Why recovery gives no plan. Nothing may be written to the log; its good prefix, already visited, is true history.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Transactions that were durable, so perhaps acknowledged, cannot be read (rows 2, 3, 4 of the recovery matrix).
    #[error(
        "{} damaged at offset {offset} ({reason}): transactions {first}..{last} were durable up to {durable} and are unreadable, \
         {intact} later batches are intact; the log is good up to {good}; keep the files and rejoin from the ensemble as a new server",
        file_name(*segment)
    )]
    Damaged {
        /// Segment number.
        segment: u64,
        /// Byte in it at which the good prefix ends.
        offset: u64,
        /// What is wrong there.
        reason: Reason,
        /// First zxid lost, as far as it can be known.
        first: Zxid,
        /// Last zxid lost in the bad batch, as far as it can be known.
        last: Zxid,
        /// Last zxid of the good prefix.
        good: Zxid,
        /// Highest zxid known durable; above `good`.
        durable: Zxid,
        /// Intact batches after the damage.
        intact: u64,
    },
    /// A segment is not there and later ones are (row 6).
    #[error(
        "{} missing while later segments are there: the log is good up to {good}; restore the file, \
         or keep the others and rejoin from the ensemble as a new server",
        file_name(*segment)
    )]
    Missing {
        /// Segment number.
        segment: u64,
        /// Last zxid of the good prefix.
        good: Zxid,
    },
    /// A segment's header is unusable and it, or a later segment, holds batches (row 9).
    #[error(
        "{} damaged at offset 0 ({error}): it or a later segment holds transactions after {good}; keep the files \
         and rejoin from the ensemble as a new server",
        file_name(*segment)
    )]
    Header {
        /// Segment number.
        segment: u64,
        /// What is wrong with its header.
        error: HeaderError,
        /// Last zxid of the good prefix.
        good: Zxid,
    },
    /// There is no image to begin from, and the log does not begin at the beginning (row 12).
    #[error(
        "no usable image and {} starts at zxid {first} at offset {offset}: put an image or the older segments back from a copy, \
         or keep the files and rejoin from the ensemble as a new server",
        file_name(*segment)
    )]
    Unrooted {
        /// Segment number.
        segment: u64,
        /// Byte of its first batch.
        offset: u64,
        /// First zxid there.
        first: Zxid,
    },
    /// Transactions between the image, or what was read after it, and the next ones in the log are nowhere (row 13).
    #[error(
        "gap between zxid {good} (image {image}) and zxid {first}, where {} goes on at offset {offset}: put a newer image or the \
         missing segments back from a copy, or keep the files and rejoin from the ensemble as a new server",
        file_name(*segment)
    )]
    Gap {
        /// The image; zero for none.
        image: Zxid,
        /// Last zxid before the gap.
        good: Zxid,
        /// Segment number.
        segment: u64,
        /// Byte of the batch behind the gap.
        offset: u64,
        /// First zxid behind the gap.
        first: Zxid,
    },
    /// The newest image that the manifest names cannot be used, and the log does not lead as far (rows 6 and 11).
    #[error(
        "image.{:016x} is missing or damaged from offset 0 on, and image {image} with the log leads to zxid {reached} only: put the \
         image back from a copy, or keep the files and rejoin from the ensemble as a new server",
        newest.0
    )]
    Behind {
        /// The image named.
        newest: Zxid,
        /// The image used; zero for none.
        image: Zxid,
        /// How far image and log lead.
        reached: Zxid,
    },
    /// A later release wrote this (row 21). Nothing was changed.
    #[error(
        "{} has format version {version} at offset {offset}, this release reads up to {known} (good up to {good}): start the \
         release that wrote it; nothing was changed",
        file_name(*segment)
    )]
    Newer {
        /// Segment number.
        segment: u64,
        /// Byte at which the version stands: 0 for the segment's, a batch's otherwise.
        offset: u64,
        /// The version found.
        version: u32,
        /// The newest version known here.
        known: u32,
        /// Last zxid of the good prefix.
        good: Zxid,
    },
}

/// Why reading a segment stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stop<E> {
    /// The log itself is at fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The visitor could not use a record that the disk returned as it was written.
    #[error("{} record {index} of the batch at offset {offset} (zxid {first}..{last}): {source}", file_name(*segment))]
    Record {
        /// Segment number.
        segment: u64,
        /// Byte in it at which the batch begins.
        offset: u64,
        /// Record in the batch, from 0.
        index: u32,
        /// First zxid of the batch.
        first: Zxid,
        /// Last zxid of the batch.
        last: Zxid,
        /// What the visitor said.
        source: E,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_file_offset_zxid_and_next_step() {
        let good = Zxid(0x10);
        let damaged = Refusal::Damaged {
            segment: 2,
            offset: 8192,
            reason: Reason::Torn,
            first: Zxid(0x11),
            last: Zxid(0x12),
            good,
            durable: Zxid(0x15),
            intact: 3,
        };
        let lines = [
            damaged,
            Refusal::Missing { segment: 2, good },
            Refusal::Header { segment: 2, error: HeaderError::Blank, good },
            Refusal::Newer { segment: 2, offset: 8192, version: 7, known: 1, good },
        ]
        .map(|refusal| refusal.to_string());
        for line in &lines {
            assert!(line.starts_with("log.0000000000000002 ") && line.contains("0x10"), "{line}");
            assert!(line.contains("rejoin") || line.contains("start the release"), "{line}");
            assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        }
        assert!(lines[0].contains("offset 8192") && lines[0].contains("0x11..0x12") && lines[0].contains("3 later"));
        let image = Zxid(0x9);
        let lines = [
            Refusal::Unrooted { segment: 2, offset: 8192, first: good },
            Refusal::Gap { image, good: image, segment: 2, offset: 8192, first: good },
            Refusal::Behind { newest: Zxid(0x20), image, reached: good },
        ]
        .map(|refusal| refusal.to_string());
        for line in &lines {
            assert!(
                line.contains("0x10") && line.contains("offset") && line.contains("rejoin") && !line.contains("  "),
                "{line}"
            );
        }
        assert!(lines[0].starts_with("no usable image and log.0000000000000002 starts at zxid 0x10 at offset 8192"));
        assert!(lines[1].starts_with("gap between zxid 0x9 (image 0x9) and zxid 0x10, where log.0000000000000002"));
        assert!(lines[2].starts_with("image.0000000000000020 is missing or damaged"));
        let stop = Stop::Record {
            segment: 2,
            offset: 4096,
            index: 1,
            first: good,
            last: good,
            source: Refusal::Missing { segment: 2, good },
        };
        assert!(stop.to_string().starts_with("log.0000000000000002 record 1 of the batch at offset 4096 (zxid 0x10..0x10): "));
    }
}
