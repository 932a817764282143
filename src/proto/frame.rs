//! Frames: a length and as many bytes, in both directions.

use super::jute::length;

/// Why a socket is closed at a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("frame length {0} outside 0..={1}")]
pub struct BadLength(pub i32, pub usize);

/// What stands at the start of the bytes read so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut<'a> {
    /// A whole frame; its body, and how many bytes of input it used.
    Frame(&'a [u8], usize),
    /// More bytes are needed: so many in all, once that is known.
    More(Option<usize>),
}

/// Cuts the next frame off `input`. `max` is `jute.maxbuffer`; a frame of exactly `max` bytes is accepted.
pub fn cut(input: &[u8], max: usize) -> Result<Cut<'_>, BadLength> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(Cut::More(None)) };
    let claimed = i32::from_be_bytes(*head);
    let len = match usize::try_from(claimed) {
        Ok(len) if len <= max => len,
        _ => return Err(BadLength(claimed, max)),
    };
    Ok(match input.get(4..4 + len) {
        Some(body) => Cut::Frame(body, 4 + len),
        None => Cut::More(Some(4 + len)),
    })
}

/// Opens a frame at the end of `out`; give what it returns to [`close`].
#[must_use]
pub fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

/// Closes the frame that [`open`] began: writes its length.
pub fn close(out: &mut [u8], body: usize) {
    let len = length(out.len() - body);
    out[body - 4..body].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_whole_frames_only() {
        let mut out = Vec::new();
        let body = open(&mut out);
        out.extend_from_slice(b"abc");
        close(&mut out, body);
        assert_eq!(cut(&out, 3), Ok(Cut::Frame(&b"abc"[..], 7)));
        assert_eq!(cut(&out[..6], 3), Ok(Cut::More(Some(7))));
        assert_eq!(cut(&out[..3], 3), Ok(Cut::More(None)));
        assert_eq!(cut(&out, 2), Err(BadLength(3, 2)));
        assert_eq!(cut(&[0xff, 0xff, 0xff, 0xff], 9), Err(BadLength(-1, 9)));
        assert_eq!(cut(&[0, 0, 0, 0], 9), Ok(Cut::Frame(&b""[..], 4)));
    }

    proptest! {
        #[test]
        fn a_stream_is_cut_where_its_frames_end(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            missing in 0..4usize,
        ) {
            let mut out = Vec::new();
            for body in &bodies {
                let start = open(&mut out);
                out.extend_from_slice(body);
                close(&mut out, start);
            }
            let shown = &out[..out.len().saturating_sub(missing)];
            let (mut at, mut found) = (0, Vec::new());
            while let Ok(Cut::Frame(body, used)) = cut(&shown[at..], 50) {
                found.push(body.to_vec());
                at += used;
            }
            let whole = if missing == 0 { bodies.len() } else { bodies.len().saturating_sub(1) };
            prop_assert_eq!(&found[..], &bodies[..whole]);
        }

        #[test]
        fn no_frame_is_longer_than_allowed(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..80), max in 0..80usize) {
            match cut(&bytes, max) {
                Ok(Cut::Frame(body, used)) => prop_assert!(body.len() <= max && used == body.len() + 4 && used <= bytes.len()),
                Ok(Cut::More(Some(all))) => prop_assert!(all <= max + 4 && all > bytes.len()),
                Ok(Cut::More(None)) => prop_assert!(bytes.len() < 4),
                Err(BadLength(length, _)) => prop_assert!(usize::try_from(length).is_ok_and(|n| n > max) || length < 0),
            }
        }
    }
}
