//! Archive: images made beside the rig's server, and servers started from them.

use rkyv::util::AlignedVec;

use super::ask;
use super::{Rig, SEEDS, Setup};
use crate::engine::archivist::load::{Assembly, LoadError, Loaded, Loader};
use crate::engine::archivist::policy::Policy;
use crate::engine::archivist::{Archivist, Start, Wrote};
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::{Millis, Now, WallMillis};
use crate::proto::opcode::CLOSE_SESSION;
use crate::storage::image::{FRAME, ImageError, KIND_END, Reader};
use crate::tree::tree::Tree;

/// The image in a file, read as the runtime does, but on one thread.
pub(super) fn load(zxid: Zxid, file: &[u8]) -> Result<Loaded, LoadError> {
    let mut reader = Reader::new(zxid, file)?;
    let loader = Loader::new(SEEDS);
    let mut assembly = Assembly::new(&loader);
    loop {
        let at = usize::try_from(reader.offset()).unwrap().min(file.len());
        let frame = reader.frame(&file[at..(at + FRAME).min(file.len())])?;
        let start = usize::try_from(frame.offset).unwrap();
        let bytes = &file[start.min(file.len())..(start + frame.padded()).min(file.len())];
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

fn start(rig: &Rig) -> Start {
    let tree = Tree::new(SEEDS);
    assert_eq!(rig.born, Zxid::ZERO);
    let view = tree.view().clone();
    Start { view, sessions: Default::default(), zxid: Zxid::ZERO, archived: Zxid::ZERO, transactions: 0, bytes: 0 }
}

fn archivist(rig: &Rig, policy: Policy) -> Archivist {
    Archivist::new(start(rig), policy, ServerId(1), 7)
}

const NEVER: Policy = Policy { transactions: u64::MAX, bytes: 0 };

fn feed(archivist: &mut Archivist, rig: &mut Rig) {
    for batch in rig.fed.drain(..) {
        archivist.adopt(&batch);
    }
}

/// An image, while `meanwhile` happens between its chunks.
fn image(archivist: &mut Archivist, now: Now, mut meanwhile: impl FnMut()) -> (Zxid, Vec<u8>) {
    let mut file = Vec::new();
    let zxid = archivist.begin(now, &mut file);
    while archivist.write(&mut file) == Wrote::More {
        meanwhile();
    }
    assert_eq!(archivist.finished(now), zxid);
    let census = archivist.census();
    assert_eq!((census.archived, census.bytes, census.digest), (zxid, file.len() as u64, archivist.digest()));
    (zxid, file)
}

#[test]
fn an_image_and_the_log_after_it_are_the_server() {
    for shards in [1, 4] {
        for purges in [false, true] {
            let mut rig = Rig::with(Setup { segment: 64 << 10, ..Setup::of(shards) });
            let mut archivist = archivist(&rig, NEVER);
            let (c, e, gone) = (rig.connect(0), rig.connect(1), rig.connect(2));
            for i in 0..60 {
                rig.create(c, &format!("/n{i}"), 0).path_stat();
                rig.set(c, &format!("/n{i}"), &"x".repeat(i * 20), -1).stat();
            }
            rig.create(e, "/n0/e-", 3).path_stat();
            rig.create(gone, "/n0/g-", 3).path_stat();
            assert_eq!(rig.call(gone, CLOSE_SESSION, &[]).err, 0);
            feed(&mut archivist, &mut rig);
            assert_eq!((archivist.applied(), archivist.digest()), rig.sequencer.digest());
            let at_image = rig.sequencer.digest();
            let now = rig.now;
            let (zxid, file) = image(&mut archivist, now, || {
                rig.set(c, "/n1", "meanwhile", -1).stat();
            });
            assert_eq!(zxid, at_image.0, "an image is exact at one zxid");
            if purges {
                rig.log.purge();
            }
            for i in 0..70 {
                rig.set(c, "/n2", &format!("after {i} {}", "y".repeat(900)), -1).stat();
            }
            let late = rig.connect(3);
            rig.create(late, "/n0/l-", 3).path_stat();
            feed(&mut archivist, &mut rig);
            let at_end = rig.sequencer.digest();
            assert_eq!((archivist.applied(), archivist.digest()), at_end, "it has caught up");

            let loaded = load(zxid, &file).unwrap();
            assert_eq!((loaded.zxid, loaded.tree.digest()), at_image);
            assert_eq!(loaded.sessions.len(), 2);
            rig.log.image = Some((zxid, file));
            let mut rig = rig.crash(|_| 0);
            assert_eq!(rig.sequencer.digest(), at_end);
            assert_eq!(rig.attach(0, gone), None, "closed sessions do not come back");
            let e = rig.attach(1, e).expect("sessions of the image do");
            let late = rig.attach(2, late).expect("and those of the log");
            assert_eq!(rig.create(e, "/n0/e-", 2).path_stat().0, "/n0/e-0000000003", "numbers go on");
            rig.hang_up(late);
            rig.advance(12_500);
            let other = rig.connect(0);
            assert_eq!(rig.exists(other, "/n0/l-0000000002", false).err, -101, "its session has ended");
            rig.crash(|_| 0);
        }
    }
}

#[test]
fn an_image_newer_than_the_log_goes_on_after_it() {
    let mut rig = Rig::new(1);
    let mut archivist = archivist(&rig, NEVER);
    let c = rig.connect(0);
    rig.create(c, "/a", 0).path_stat();
    feed(&mut archivist, &mut rig);
    let now = rig.now;
    rig.log.image = Some(image(&mut archivist, now, || {}));
    let at = rig.sequencer.digest();
    // All that was ever logged is lost, as it is where the log is not flushed.
    let image = rig.log.image.take();
    rig.log = super::Log::default();
    rig.log.image = image;
    let mut rig = rig.crash(|_| 0);
    assert_eq!(rig.sequencer.digest(), at);
    let c = rig.attach(0, c).expect("the session is in the image");
    rig.create(c, "/b", 0).path_stat();
    let at = rig.sequencer.digest();
    let rig = rig.crash(|_| 0);
    assert_eq!(rig.sequencer.digest(), at);
}

#[test]
fn gaps_are_seen() {
    use crate::engine::sequencer::{Restore, RestoreError};
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader};

    let blob = |zxid: Zxid| {
        let header = TxnHeader { session: crate::ground::ids::SessionId(1), cxid: 1, zxid, time: 0, kind: opcode::ERROR };
        let mut blob = Vec::new();
        header.encode(&mut blob);
        Txn::Error { err: -101 }.encode(&mut blob);
        blob
    };
    let after = |image: Zxid| {
        let tree = Tree::new(SEEDS);
        Restore::after(Loaded { tree, sessions: Default::default(), zxid: image }, SEEDS, 2000, true)
    };
    let take = |restore: &mut Restore, zxid: Zxid| restore.take(&blob(zxid));
    assert!(matches!(take(&mut after(Zxid::ZERO), Zxid(2)), Err(RestoreError::NoBeginning(Zxid(2)))));
    assert!(matches!(take(&mut after(Zxid(5)), Zxid(7)), Err(RestoreError::Gap(Zxid(5), Zxid(7)))));
    let mut restore = after(Zxid(5));
    for zxid in [4, 5, 6, 7] {
        take(&mut restore, Zxid(zxid)).unwrap();
    }
    assert_eq!((restore.transactions(), restore.last()), (2, Zxid(7)));
    for zxid in [Zxid(7), Zxid(3), Zxid(9), Zxid::new(1, 2)] {
        assert!(matches!(take(&mut restore, zxid), Err(RestoreError::Order(..))), "{zxid}");
    }
    take(&mut restore, Zxid::new(1, 1)).unwrap();
}

#[test]
fn due_by_count_by_bytes_by_order_and_not_too_soon_after_a_failure() {
    let mut rig = Rig::new(1);
    let mut by_count = archivist(&rig, Policy { transactions: 40, bytes: 0 });
    let mut by_bytes = archivist(&rig, Policy { transactions: u64::MAX, bytes: 10_000 });
    let mut never = archivist(&rig, NEVER);
    let c = rig.connect(0);
    let (mut counted, mut weighed) = (None, None);
    let now = Now { micros: 1_000_000, wall: WallMillis(5) };
    never.order();
    assert!(!never.is_due(now.mono()), "there is nothing yet");
    for i in 1..=60 {
        rig.create(c, &format!("/{i:0100}"), 0).path_stat();
        for batch in rig.fed.drain(..) {
            [&mut by_count, &mut by_bytes, &mut never].into_iter().for_each(|archivist| archivist.adopt(&batch));
        }
        counted = counted.or_else(|| by_count.is_due(now.mono()).then_some(i));
        weighed = weighed.or_else(|| by_bytes.is_due(now.mono()).then_some(i));
        assert!(!never.is_due(now.mono()));
    }
    assert!(counted.is_some_and(|i| (20..=40).contains(&i)), "{counted:?}");
    assert!(weighed.is_some_and(|i| (10..50).contains(&i)), "{weighed:?}");
    never.order();
    assert!(never.is_due(now.mono()));
    let mut out = Vec::new();
    for expected in [10_000, 20_000, 40_000] {
        never.begin(now, &mut out);
        assert!(never.write(&mut out) == Wrote::More && never.census().under_way == Some(1));
        assert_eq!(never.failed(now), expected);
        never.order();
        assert!(!never.is_due(now.mono()) && !never.is_due(Millis(now.mono().0 + expected - 1)));
        assert_eq!(never.due_in(now.mono()), Some(expected));
        assert!(never.is_due(Millis(now.mono().0 + expected)));
    }
    never.begin(now, &mut out);
    never.abandoned(now);
    assert_eq!((never.census().errors, never.census().abandoned), (3, 1));
    let (zxid, file) = image(&mut never, now, || {});
    assert_eq!(load(zxid, &file).unwrap().tree.digest(), never.digest());
    never.order();
    assert!(!never.is_due(now.mono()), "there is an image of this moment");
}

#[test]
fn damaged_images_are_refused_whatever_is_damaged() {
    let mut rig = Rig::new(1);
    let mut archivist = archivist(&rig, NEVER);
    let c = rig.connect(0);
    for i in 0..30 {
        let body = ask::create_with(&format!("/n{i}"), Some(b"data"), &[(i, "ip", "10.0.0.1")], 0);
        rig.call(c, crate::proto::opcode::CREATE, &body).path();
    }
    rig.create(c, "/l", 0).path_stat();
    rig.set(c, "/l", &"l".repeat(40_000), -1).stat();
    feed(&mut archivist, &mut rig);
    let now = rig.now;
    let (zxid, file) = image(&mut archivist, now, || {});
    let whole = load(zxid, &file).unwrap();
    assert_eq!(whole.tree.get("/l").unwrap().data_len(), 40_000);
    // Every byte, one bit each; every cut at a multiple of a prime.
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(load(zxid, &damaged).is_err(), "byte {at}");
    }
    for len in (0..file.len()).step_by(37) {
        assert!(matches!(load(zxid, &file[..len]), Err(LoadError::Image(_))));
    }
    for at in (BLOCK..file.len() - 512).step_by(512) {
        let mut damaged = file.clone();
        damaged[at..at + 512].fill(0);
        assert!(load(zxid, &damaged).is_err(), "zeros at {at}");
    }
    assert_eq!(load(Zxid(1), &file).err(), Some(LoadError::Image(ImageError::Misnamed(zxid))));
}
