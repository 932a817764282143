//! Retention: which images and segments may go. Nothing that a start may need, and nothing that is pinned.
//!
//! Kept are the newest images, as many as the policy says, and the log after the oldest of them. Where bytes are short, fewer
//! images are kept, but never fewer than two, of which the newer is verified: the one that is used, and the one for the day on
//! which that one is damaged. With a single image, or none, nothing of the log goes.

use std::collections::BTreeMap;

use crate::ground::ids::Zxid;

use super::selection::{Extent, replay_from};

/// Images kept at least, whatever the bytes.
const IMAGES_MIN: usize = 2;

/// An image that is finished under its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Where it stands.
    pub zxid: Zxid,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it was read back and found good, or loaded, by this process.
    pub is_verified: bool,
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Newest images kept, at least 3 (`autopurge.snapRetainCount`).
    pub images: usize,
    /// Bytes of images and of the log above which fewer are; 0 is without limit.
    pub bytes: u64,
}

/// What others are using: from a pin's zxid on the log stays, and the image at or before it.
#[derive(Clone, Default, Debug)]
pub struct Pins {
    next: u64,
    pins: BTreeMap<u64, Zxid>,
}

impl Pins {
    /// Keeps the newest image at or before `zxid`, and the log after that, until the pin is [released](Self::release).
    pub fn pin(&mut self, zxid: Zxid) -> u64 {
        self.next += 1;
        self.pins.insert(self.next, zxid);
        self.next
    }

    /// The pin's owner is done.
    pub fn release(&mut self, pin: u64) {
        self.pins.remove(&pin);
    }

    /// The lowest zxid pinned.
    #[must_use]
    pub fn lowest(&self) -> Option<Zxid> {
        self.pins.values().min().copied()
    }
}

/// What goes. First the manifest is raised durably to `oldest` and `newest`, then the files go, images first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verdict {
    /// The oldest segment that must be there from now on; 0 if there are no segments.
    pub oldest: u64,
    /// The newest image that must be there; zero if none is verified.
    pub newest: Zxid,
    /// Images that go, oldest first.
    pub images: Vec<Zxid>,
    /// Segments that go, oldest first.
    pub segments: Vec<u64>,
}

/// Judges. Images and segments ascend; the last segment with a beginning is the one in use, those behind it are spares.
#[must_use]
pub fn judge(images: &[Kept], segments: &[Extent], policy: Policy, pinned: Option<Zxid>) -> Verdict {
    let newest = images.iter().rfind(|image| image.is_verified).map_or(Zxid::ZERO, |image| image.zxid);
    let first = segments.first().map_or(0, |segment| segment.number);
    let nothing = Verdict { oldest: first, newest, ..Verdict::default() };
    // Of the images, those count that stand at or before the newest verified one: a newer one proves nothing yet, and stays.
    let proved = images.partition_point(|image| image.zxid <= newest);
    if proved < IMAGES_MIN {
        return nothing;
    }
    let mut keep = proved.saturating_sub(policy.images.max(IMAGES_MIN));
    while policy.bytes > 0 && keep + IMAGES_MIN < proved && cost(images, segments, keep) > policy.bytes {
        keep += 1;
    }
    if let Some(zxid) = pinned {
        keep = keep.min(images.partition_point(|image| image.zxid <= zxid).saturating_sub(1));
    }
    let Some(oldest) = images.get(keep) else { return nothing };
    // A pin below every image needs the log from there.
    let from = replay_from(segments, pinned.map_or(oldest.zxid, |zxid| zxid.min(oldest.zxid)));
    Verdict {
        oldest: segments.get(from).map_or(first, |segment| segment.number),
        newest,
        images: images[..keep].iter().map(|image| image.zxid).collect(),
        segments: segments[..from].iter().map(|segment| segment.number).collect(),
    }
}

/// Bytes of what stays if images from index `keep` on do.
fn cost(images: &[Kept], segments: &[Extent], keep: usize) -> u64 {
    let from = replay_from(segments, images[keep].zxid);
    let images = images[keep..].iter().map(|image| image.bytes);
    images.chain(segments[from..].iter().map(|segment| segment.bytes)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::selection::Begin;
    use proptest::prelude::*;

    const POLICY: Policy = Policy { images: 3, bytes: 0 };

    fn images(zxids: &[u64]) -> Vec<Kept> {
        zxids.iter().map(|&zxid| Kept { zxid: Zxid(zxid), bytes: 10, is_verified: true }).collect()
    }

    /// Segments of ten transactions and 100 bytes from number 1 on, and a spare.
    fn segments(n: u64) -> Vec<Extent> {
        let begin = |i| Begin { after: Zxid((i - 1) * 10), sequence: (i - 1) * 5 + 1 };
        (1..=n + 1).map(|i| Extent { number: i, begin: (i <= n).then(|| begin(i)), bytes: 100 }).collect()
    }

    fn zxids(zxids: &[u64]) -> Vec<Zxid> {
        zxids.iter().copied().map(Zxid).collect()
    }

    #[test]
    fn keeps_images_by_count_and_the_log_after_them() {
        let log = segments(9);
        let verdict = judge(&images(&[15, 35, 55, 75, 85]), &log, POLICY, None);
        let expected = Verdict { oldest: 6, newest: Zxid(85), images: zxids(&[15, 35]), segments: vec![1, 2, 3, 4, 5] };
        assert_eq!(verdict, expected);
        let verdict = judge(&images(&[15, 35]), &log, POLICY, None);
        assert_eq!((verdict.oldest, verdict.images, verdict.segments), (2, vec![], vec![1]), "the log before the oldest goes");
        for few in [&[][..], &[50]] {
            let verdict = judge(&images(few), &log, POLICY, None);
            assert_eq!((verdict.oldest, verdict.images, verdict.segments), (1, vec![], vec![]), "one image has no second");
        }
        assert_eq!(judge(&images(&[1, 2, 3]), &[], POLICY, None).oldest, 0);
    }

    #[test]
    fn bytes_take_images_down_to_two() {
        let (log, images) = (segments(9), images(&[15, 35, 55, 75, 85]));
        let kept = |bytes| {
            let verdict = judge(&images, &log, Policy { images: 4, bytes }, None);
            (images.len() - verdict.images.len(), verdict.oldest)
        };
        // From 35 on: 4 images, segments 4 to 9 and the spare: 740 bytes.
        assert_eq!(
            [kept(0), kept(740), kept(739), kept(530), kept(529), kept(1)],
            [(4, 4), (4, 4), (3, 6), (3, 6), (2, 8), (2, 8)]
        );
    }

    #[test]
    fn what_is_not_verified_frees_nothing() {
        let mut images = images(&[15, 35, 55, 75]);
        images[3].is_verified = false;
        let verdict = judge(&images, &segments(9), POLICY, None);
        assert_eq!((verdict.newest, verdict.images, verdict.oldest), (Zxid(55), vec![], 2));
        images.iter_mut().for_each(|image| image.is_verified = false);
        let verdict = judge(&images, &segments(9), POLICY, None);
        assert_eq!(verdict, Verdict { oldest: 1, ..Verdict::default() });
    }

    #[test]
    fn pins_hold_an_image_and_the_log_after_it() {
        let (log, images) = (segments(9), images(&[15, 35, 55, 75, 85]));
        let mut pins = Pins::default();
        let (a, b) = (pins.pin(Zxid(40)), pins.pin(Zxid(12)));
        let verdict = |pins: &Pins| judge(&images, &log, POLICY, pins.lowest());
        assert_eq!(
            (verdict(&pins).images, verdict(&pins).oldest),
            (vec![], 2),
            "a pin before every image holds the log from there"
        );
        pins.release(b);
        assert_eq!((verdict(&pins).images, verdict(&pins).oldest), (zxids(&[15]), 4));
        pins.release(a);
        assert_eq!(verdict(&pins).oldest, 6);
    }

    proptest! {
        #[test]
        fn what_stays_is_enough(
            zxids in prop::collection::btree_set(1..100u64, 0..8),
            verified in prop::collection::vec(any::<bool>(), 8),
            images_kept in 3..6usize,
            bytes in 0..1500u64,
            pinned in prop::option::of(0..100u64),
        ) {
            let mut all = images(&zxids.into_iter().collect::<Vec<_>>());
            all.iter_mut().zip(&verified).for_each(|(image, verified)| image.is_verified = *verified);
            let log = segments(10);
            let verdict = judge(&all, &log, Policy { images: images_kept, bytes }, pinned.map(Zxid));
            let stays: Vec<_> = all.iter().filter(|image| !verdict.images.contains(&image.zxid)).collect();
            let kept: Vec<_> = log.iter().filter(|segment| !verdict.segments.contains(&segment.number)).collect();
            prop_assert!(kept.windows(2).all(|pair| pair[1].number == pair[0].number + 1), "no gaps");
            prop_assert_eq!(kept[0].number, verdict.oldest);
            prop_assert!(kept.iter().any(|segment| segment.number == 10), "the one in use stays");
            if verdict.segments.is_empty() {
                return Ok(());
            }
            let good: Vec<_> = stays.iter().filter(|image| image.zxid <= verdict.newest).collect();
            prop_assert!(good.len() >= 2 && good.last().unwrap().is_verified);
            for image in stays {
                prop_assert!(kept[0].begins_before(image.zxid), "every image that stays has the log after it");
            }
            if let Some(zxid) = pinned {
                prop_assert!(kept[0].begins_before(Zxid(zxid.max(1))));
            }
        }
    }
}
