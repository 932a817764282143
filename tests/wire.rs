//! Wire: what real servers said to each other, read and said again to the byte. `tests/golden/peer-3.9.4/README.md` tells how it was taken.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ringkeeper::ground::ids::{ServerId, Zxid};
use ringkeeper::proto::frame;
use ringkeeper::proto::members::{Configuration, Role};
use ringkeeper::proto::packet::{Packet, Side, put_commit, put_proposal};
use ringkeeper::proto::preamble::{self, Preamble};
use ringkeeper::proto::snapshot::{self, Body, Part};
use ringkeeper::proto::stream::Decoder;
use ringkeeper::proto::txn::{self, Txn};
use ringkeeper::proto::vote::{self, Notification, Standing};

/// Twice `jute.maxbuffer`, as in a Java server.
const MAX: usize = 2 * 0x000f_ffff;

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/peer-3.9.4").join(format!("{name}.bin"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The znodes of a state with what the leader says of their lists.
type State = BTreeMap<String, (Option<Vec<u8>>, i64)>;

/// Reads a state off the decoder's rest and writes it again.
fn state(decoder: &mut Decoder, again: &mut Vec<u8>) -> State {
    let mut body = Body::new(MAX);
    let mut znodes = State::new();
    loop {
        let (part, used) = body.part(decoder.rest()).unwrap().expect("the state came whole");
        match part {
            Part::Sessions(count) | Part::Lists(count) => again.extend_from_slice(&i32::try_from(count).unwrap().to_be_bytes()),
            Part::Session(session, timeout_ms) => snapshot::put_session(again, session, timeout_ms),
            Part::List(number, list) => snapshot::put_list(again, number, &list),
            Part::Znode { path, data, list, persisted } => {
                snapshot::put_znode(again, path, data, list, &persisted);
                znodes.insert(path.to_owned(), (data.map(Into::into), list));
            }
            Part::Znodes => snapshot::put_end(again),
            Part::End => {
                snapshot::put_signature(again);
                decoder.pass_state(used);
                decoder.end_state();
                return znodes;
            }
        }
        decoder.pass_state(used);
    }
}

/// One direction of a link, read by one side and said again by the other. Yields the packets and the state among them.
fn read(name: &str, reader: Side, piece: usize) -> (Vec<Packet>, Option<State>) {
    let bytes = golden(name);
    let writer = if reader == Side::Leader { Side::Learner } else { Side::Leader };
    let (mut decoder, mut again) = (Decoder::new(reader, MAX), Vec::new());
    let (mut packets, mut whole) = (Vec::new(), None);
    let mut pieces = bytes.chunks(piece);
    loop {
        while let Some(packet) = decoder.next_packet().unwrap() {
            packet.encode(writer, &mut again);
            if matches!(packet, Packet::Snap { .. }) {
                // All of it at once; that it may come in pieces is tested where it is read.
                pieces.by_ref().for_each(|piece| decoder.push(piece));
                whole = Some(state(&mut decoder, &mut again));
            }
            packets.push(packet);
        }
        let Some(piece) = pieces.next() else { break };
        decoder.push(piece);
    }
    assert_eq!(decoder.rest(), b"", "{name} ends with a whole packet");
    assert!(again == bytes, "{name} is not said again as it was");
    (packets, whole)
}

fn to_leader(name: &str) -> Vec<Packet> {
    let (packets, _) = read(&format!("{name}.to-leader"), Side::Leader, 7);
    assert_eq!(packets, read(&format!("{name}.to-leader"), Side::Leader, 1 << 20).0);
    packets
}

fn to_learner(name: &str) -> (Vec<Packet>, Option<State>) {
    let read_in = |piece| read(&format!("{name}.to-learner"), Side::Learner, piece);
    assert_eq!(read_in(7), read_in(1 << 20));
    read_in(1000)
}

/// Whether a transaction is a multi that was refused. A Java server changes such a one in its memory while it applies it: a member that
/// was undone gets the type of an error and keeps its record. A learner that catches up is sent that, not what was logged.
fn is_refused_multi(txn: &Txn<'_>) -> bool {
    matches!(txn, Txn::Multi(members) if members.iter().any(|(_, member)| matches!(member, Txn::Error { .. })))
}

/// The transactions that were proposed or told, with their types; each is read whole, and written again as it was.
fn transactions(packets: &[Packet]) -> Vec<(Zxid, i32)> {
    let blobs = packets.iter().filter_map(|packet| match packet {
        Packet::Proposal { zxid, blob } | Packet::Inform { zxid, blob } => Some((*zxid, blob)),
        _ => None,
    });
    blobs
        .map(|(zxid, blob)| {
            let (header, record, digest) = txn::decode_blob(blob).unwrap();
            assert_eq!(header.zxid, zxid);
            let mut again = Vec::new();
            header.encode(&mut again);
            record.encode(&mut again);
            if let Some(digest) = digest {
                txn::encode_digest(&mut again, digest);
            }
            assert!(again == **blob || is_refused_multi(&record), "{record:?}");
            assert_eq!(digest.is_some(), !matches!(record, Txn::Error { .. }));
            (zxid, header.kind)
        })
        .collect()
}

fn commits(packets: &[Packet]) -> Vec<Zxid> {
    packets.iter().filter_map(|packet| if let Packet::Commit { zxid } = packet { Some(*zxid) } else { None }).collect()
}

/// What was proposed after the learner was told that it may serve, or before.
fn split(packets: &[Packet]) -> (&[Packet], &[Packet]) {
    let at = packets.iter().position(|packet| *packet == Packet::UpToDate).expect("the learner may serve at last");
    packets.split_at(at)
}

fn config(packets: &[Packet]) -> Configuration {
    let text = packets.iter().find_map(|packet| match packet {
        Packet::NewLeader { config: Some(text), .. } => Some(text.clone()),
        _ => None,
    });
    let text = text.expect("a new leader tells the configuration");
    let configuration = Configuration::decode(&text).unwrap();
    assert_eq!(configuration.to_string().as_bytes(), &*text);
    configuration
}

/// The types that clients of the recordings made transactions of: create, delete, setData, setACL, multi, error, sessions.
const KINDS: [i32; 8] = [1, 2, 5, 7, 14, -1, -10, -11];

#[test]
fn a_follower_that_has_nothing_gets_the_state() {
    let (heard, state) = to_learner("follower-snap");
    let state = state.expect("the state came");
    assert_eq!(state["/wire/data"].0.as_deref(), Some(&b"2"[..]));
    assert_eq!(state["/zookeeper/config"].1, 1);
    assert_ne!(state["/wire/secret"].1, snapshot::OPEN_LIST);
    assert!(state.contains_key("/") && state.contains_key("/wire/\u{e9}") && state.contains_key("/wire/eph"));
    let Packet::LeaderInfo { epoch } = heard[0] else { panic!("the leader tells its epoch first: {:?}", heard[0]) };
    let Packet::Snap { at } = heard[1] else { panic!("the state follows: {:?}", heard[1]) };
    assert_eq!(at.epoch(), epoch);
    assert_eq!(config(&heard).with_role(Role::Participant).count(), 3);
    let (_, live) = split(&heard);
    let told = transactions(live);
    assert!(KINDS.iter().all(|kind| told.iter().any(|(_, k)| k == kind)), "{told:?}");
    assert!(told.windows(2).all(|two| two[0].0.next() == Some(two[1].0)), "{told:?}");
    assert_eq!(commits(live), told.iter().map(|(zxid, _)| *zxid).collect::<Vec<_>>());
    assert!(live.contains(&Packet::Sync));
    let revalidated =
        |valid| move |packet: &&Packet| matches!(packet, Packet::Revalidated { is_valid, .. } if *is_valid == valid);
    let known = live.iter().find(revalidated(true)).expect("a session moved");
    let unknown = live.iter().find(revalidated(false)).expect("a session that had been closed moved");

    let said = to_leader("follower-snap");
    let Packet::Info(info) = said[0] else { panic!("a learner introduces itself: {:?}", said[0]) };
    assert_eq!((info.server, info.accepted, info.config_version, info.is_observer), (Some(ServerId(1)), 0, 0, false));
    assert_eq!(said[1], Packet::AckEpoch { last: Zxid::ZERO, current: Some(0) });
    let acks: Vec<Zxid> = said.iter().filter_map(|p| if let Packet::Ack { zxid } = p { Some(*zxid) } else { None }).collect();
    // For the new leader, for being up to date, and for each transaction.
    assert_eq!(acks[..2], [Zxid::new(epoch, 0); 2]);
    assert_eq!(acks[2..], told.iter().map(|(zxid, _)| *zxid).collect::<Vec<_>>());
    let (Packet::Revalidated { session: moved, .. }, Packet::Revalidated { session: closed, .. }) = (known, unknown) else {
        unreachable!("found as such")
    };
    for asked in [moved, closed] {
        assert!(said.iter().any(|p| matches!(p, Packet::Revalidate { session, timeout_ms: 10_000 } if session == asked)));
    }
    assert_ne!(moved, closed);
    assert!(
        said.iter().any(|p| matches!(p, Packet::Ping { touched, .. } if touched.iter().any(|(session, _)| session == moved)))
    );
    let requests: Vec<_> =
        said.iter().filter_map(|p| if let Packet::Request(request) = p { Some(request) } else { None }).collect();
    for op in [1, 2, 5, 7, 9, 14, -10, -11] {
        assert!(requests.iter().any(|request| request.op == op), "a request of type {op}");
    }
    let create = requests.iter().find(|request| request.op == 1).unwrap();
    assert_eq!(create.who, [("ip".into(), "127.0.0.1".into())]);
    // A session that begins has nobody behind it yet.
    assert!(requests.iter().filter(|request| request.op == -10).all(|request| request.who.is_empty()));
}

#[test]
fn a_follower_that_missed_little_gets_the_difference() {
    let (heard, state) = to_learner("follower-diff");
    assert_eq!(state, None);
    let Packet::Diff { to } = heard[1] else { panic!("the difference follows: {:?}", heard[1]) };
    let (sync, live) = split(&heard);
    let told = transactions(sync);
    assert_eq!(told.last().map(|(zxid, _)| *zxid), Some(to));
    assert!([1, 2, 5, 7, 14, -1].iter().all(|kind| told.iter().any(|(_, k)| k == kind)), "{told:?}");
    assert_eq!(commits(sync), told.iter().map(|(zxid, _)| *zxid).collect::<Vec<_>>());
    let said = to_leader("follower-diff");
    let Packet::AckEpoch { last, current: None } = said[1] else { panic!("the epoch was accepted before: {:?}", said[1]) };
    assert_eq!(last.next(), told.first().map(|(zxid, _)| *zxid));
    assert_eq!(transactions(live).len(), 1);

    // The same train from blobs that are borrowed.
    let mut train = Vec::new();
    for packet in sync {
        if let Packet::Proposal { zxid, blob } = packet {
            put_proposal(&mut train, *zxid, blob);
            put_commit(&mut train, *zxid);
        }
    }
    let bytes = golden("follower-diff.to-learner");
    assert!(bytes.windows(train.len()).any(|window| window == train));
}

#[test]
fn an_observer_is_told_what_is_committed() {
    let (heard, _) = to_learner("observer-diff");
    let (sync, live) = split(&heard);
    assert!(sync.iter().any(|packet| matches!(packet, Packet::Proposal { .. })), "catching up is the same for all");
    assert!(live.iter().any(|packet| matches!(packet, Packet::Inform { .. })));
    assert!(!live.iter().any(|packet| matches!(packet, Packet::Proposal { .. } | Packet::Commit { .. })));
    assert!(transactions(live).iter().any(|(_, kind)| *kind == 5));
    let said = to_leader("observer-diff");
    assert!(matches!(&said[0], Packet::Info(info) if info.is_observer && info.server == Some(ServerId(1))));
    assert!(!said.iter().any(|packet| matches!(packet, Packet::Ack { zxid } if zxid.counter() != 0)));
}

#[test]
fn a_follower_that_logged_what_nobody_knows_cuts_it() {
    let (heard, _) = to_learner("played-trunc");
    assert!(matches!(heard[1], Packet::Trunc { .. }), "{:?}", heard[1]);
    assert!(matches!(heard.last(), Some(Packet::Ping { touched, .. }) if touched.is_empty()));
    assert!(matches!(to_leader("played-trunc").last(), Some(Packet::Ping { .. })));
}

/// Frames with notifications, said again to the byte.
fn notifications(name: &str, mut bytes: &[u8]) -> Vec<Notification> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let frame::Cut::Frame(body, used) = vote::cut(bytes).unwrap() else { panic!("{name} ends with a whole frame") };
        let notification = Notification::decode(body).unwrap();
        let mut again = Vec::new();
        notification.encode(&mut again);
        assert_eq!(again, bytes[..used], "{name}");
        let text = notification.config.as_ref().expect("these servers tell their configuration");
        let configuration = Configuration::decode(text).unwrap();
        assert_eq!(configuration.to_string().as_bytes(), &**text);
        assert_eq!(configuration.servers.len(), 3);
        all.push(notification);
        bytes = &bytes[used..];
    }
    all
}

/// The first message of a connection, said again to the byte, and what follows it.
fn greeting<'a>(name: &str, bytes: &'a [u8]) -> (Preamble, &'a [u8]) {
    let preamble::Cut::Whole(preamble, used) = Preamble::cut(bytes).unwrap() else {
        panic!("{name} begins with a whole greeting")
    };
    let mut again = Vec::new();
    preamble.encode(&mut again);
    assert_eq!(again, bytes[..used], "{name}");
    (preamble, &bytes[used..])
}

#[test]
fn servers_in_office_tell_a_stranger_whom_they_follow() {
    for (mode, standing) in [("leader", Standing::Leading), ("follower", Standing::Following)] {
        let name = format!("election-4-calls-{mode}");
        let said = golden(&format!("{name}.said"));
        let (preamble, rest) = greeting(&name, &said);
        assert_eq!(preamble.server, Some(ServerId(4)));
        assert_eq!(notifications(&name, rest)[0].vote.map(|vote| vote.leader), Some(ServerId(4)));
        let came = notifications(&name, &golden(&format!("{name}.came")));
        let last = came.last().expect("an answer came");
        assert_eq!(last.standing, standing, "{came:?}");
        assert!(last.vote.is_some_and(|vote| vote.leader > ServerId(1)));
    }
}

#[test]
fn a_server_with_a_larger_number_calls_back() {
    let name = "election-1-called-back-by-leader";
    let came = golden(&format!("{name}.came"));
    let (preamble, rest) = greeting(name, &came);
    let came = notifications(name, rest);
    let last = came.last().expect("an answer came");
    assert_eq!(last.standing, Standing::Leading, "{came:?}");
    assert_eq!(last.vote.map(|vote| vote.leader), preamble.server);
    assert_eq!(preamble::fate(preamble::End::Called, ServerId(1), preamble.server), preamble::Fate::Keep);
    assert_eq!(notifications(name, &golden(&format!("{name}.said"))).len(), 1);
}

#[test]
fn recordings_cut_anywhere_are_read_as_far_as_they_go() {
    for (name, reader) in [("follower-snap.to-leader", Side::Leader), ("follower-diff.to-learner", Side::Learner)] {
        let bytes = golden(name);
        let whole = read(name, reader, bytes.len()).0;
        for len in (0..bytes.len()).step_by(13) {
            let mut decoder = Decoder::new(reader, MAX);
            decoder.push(&bytes[..len]);
            let mut n = 0;
            while let Some(packet) = decoder.next_packet().unwrap() {
                assert_eq!(packet, whole[n]);
                n += 1;
            }
        }
    }
}
