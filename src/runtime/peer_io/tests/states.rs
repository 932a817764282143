//! States: whole ones in the stream of a link, sent and taken.

use super::*;

/// A state of so many bytes in the stream between packets; the taker answers only after `pause`.
fn a_state(size: usize, pause: Duration) {
    const AT: Zxid = Zxid::new(3, 4);
    let (mut one, mut two) = two();
    let (near, far) = linked(&mut one, &mut two, 2);
    let (to, pieces) = sync_channel(1);
    two.peers.begin_state(far, pieces);
    // It waits behind the state.
    two.send(far, Packet::NewLeader { epoch: 3, config: None });
    let byte = |i: usize| u8::try_from(i % 251).unwrap();
    let sender = thread::spawn(move || {
        let mut snap = Vec::new();
        Packet::Snap { at: AT }.encode(Side::Leader, &mut snap);
        to.send(StatePiece::Bytes(snap)).unwrap();
        let whole: Vec<u8> = (0..size).map(byte).collect();
        for piece in whole.chunks(700_000) {
            to.send(StatePiece::Bytes(piece.to_vec())).unwrap();
        }
        to.send(StatePiece::End { at: AT }).unwrap();
    });
    let at = until(&mut [&mut one, &mut two], "the state", |sides| {
        sides[0].take(|event| match event {
            PeerEvent::StateBegins { link, at } if *link == near => Some(*at),
            _ => None,
        })
    });
    assert_eq!((at, one.packets()), (AT, vec![Packet::Snap { at: AT }]));
    // Nobody takes it yet: the sender does not run ahead of the sockets.
    meanwhile(&mut [&mut one, &mut two], Duration::from_millis(30));
    assert!(two.peers.waiting(far) < 3 << 20);
    let (chunk_to, chunks) = sync_channel::<Vec<u8>>(1);
    let (answer, from) = mpsc::channel();
    one.peers.take_state(near, StateSink { to: chunk_to, from });
    let taker = thread::spawn(move || {
        let mut got = 0;
        while got < size {
            let chunk = chunks.recv().unwrap();
            assert!(!chunk.is_empty() && chunk.len() <= 1 << 20);
            thread::sleep(pause);
            let of_state = chunk.len().min(size - got);
            assert!(chunk[..of_state].iter().enumerate().all(|(i, have)| *have == byte(got + i)));
            got += of_state;
            let told = if got < size { Taken::More } else { Taken::End { rest: chunk[of_state..].to_vec() } };
            answer.send(told).unwrap();
        }
    });
    let mut heard = Vec::new();
    until(&mut [&mut one, &mut two], "what follows the state", |sides| {
        heard.append(&mut sides[0].events);
        let sent = |event: &PeerEvent| if let PeerEvent::In(In::StateSent { at, .. }) = event { Some(*at) } else { None };
        if let Some(at) = sides[1].take(sent) {
            assert_eq!(at, AT);
            sides[1].send(far, Packet::UpToDate);
        }
        heard
            .iter()
            .any(|event| match event {
                PeerEvent::In(In::Packet { packet, .. }) => *packet == Packet::UpToDate,
                PeerEvent::In(In::Train { packets, .. }) => packets.last() == Some(&Packet::UpToDate),
                _ => false,
            })
            .then_some(())
    });
    assert!(matches!(heard[0], PeerEvent::In(In::StateReceived { link }) if link == near), "the state before what follows it");
    one.events = heard;
    assert_eq!(one.packets(), [Packet::NewLeader { epoch: 3, config: None }, Packet::UpToDate]);
    sender.join().unwrap();
    taker.join().unwrap();
}

#[test]
fn a_state_goes_in_the_stream() {
    a_state(3, Duration::ZERO);
    a_state(20 << 20, Duration::ZERO);
    a_state(2 << 20, Duration::from_millis(5));
}

#[test]
fn a_state_that_fails_ends_the_link() {
    // The reader of the image fails, or ends without a word.
    for word in [Some("the disk".to_owned()), None] {
        let (mut one, mut two) = two();
        let (near, far) = linked(&mut one, &mut two, 2);
        let (to, pieces) = sync_channel(1);
        two.peers.begin_state(far, pieces);
        if let Some(why) = word {
            to.send(StatePiece::Failed(why)).unwrap();
        }
        drop(to);
        assert_eq!(until(&mut [&mut one, &mut two], "the end", |sides| sides[1].is_down()), far);
        assert_eq!(until(&mut [&mut one, &mut two], "the end", |sides| sides[0].is_down()), near);
    }
    // The taker fails, ends without a word, or answers a chunk that it was not given.
    for (failure, is_early) in [(Some(Taken::Failed("no room".to_owned())), false), (None, false), (Some(Taken::More), true)] {
        let (mut one, mut two) = two();
        let (near, far) = linked(&mut one, &mut two, 2);
        two.send(far, Packet::Snap { at: Zxid(1) });
        let (to, pieces) = sync_channel(8);
        two.peers.begin_state(far, pieces);
        to.send(StatePiece::Bytes(vec![7; 1 << 20])).unwrap();
        until(&mut [&mut one, &mut two], "the state", |sides| {
            sides[0].take(|event| matches!(event, PeerEvent::StateBegins { .. }).then_some(()))
        });
        let (chunk_to, chunks) = sync_channel::<Vec<u8>>(1);
        let (answer, from) = mpsc::channel();
        one.peers.take_state(near, StateSink { to: chunk_to, from });
        if is_early {
            answer.send(Taken::More).unwrap();
            // The chunk lies there still when the next one comes.
            until(&mut [&mut one, &mut two], "the end", |sides| sides[0].is_down());
            assert!(chunks.recv().is_ok());
            continue;
        }
        until(&mut [&mut one, &mut two], "a chunk", |_| chunks.try_recv().ok());
        if let Some(told) = failure {
            answer.send(told).unwrap();
        }
        drop(answer);
        assert_eq!(until(&mut [&mut one, &mut two], "the end", |sides| sides[0].is_down()), near);
        assert_eq!(until(&mut [&mut one, &mut two], "the end", |sides| sides[1].is_down()), far);
    }
}
