//! Stream: packets out of the bytes that come over one link of the quorum port, whatever pieces they come in.

use super::packet::{Packet, Side, Wrong};
use crate::ground::limits::READ_CHUNK;

/// How far a packet that comes in pieces has been measured, so that no byte is looked at twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Measured {
    /// Nothing is known.
    No,
    /// The data end here.
    Data(usize),
    /// Lengths are known up to `end`, those of ids too; of these, `strings` are to come and may have `budget` bytes.
    Ids { end: usize, strings: usize, budget: usize },
}

/// Packets out of the bytes of one direction of a link. Holds one packet that is not yet whole, at most, beside what was just put in:
/// all that it holds is bounded by twice the limit and the largest piece put in between two calls of [`Decoder::next_packet`].
#[derive(Debug)]
pub struct Decoder {
    reader: Side,
    max: usize,
    held: Vec<u8>,
    at: usize,
    measured: Measured,
    broken: Option<Wrong>,
    in_state: bool,
}

impl Decoder {
    /// At the beginning of a link, for the end that reads. `max` bounds the data of a packet and, apart from them, its ids, bytes; a Java
    /// server's bound is twice `jute.maxbuffer`.
    #[must_use]
    pub const fn new(reader: Side, max: usize) -> Self {
        Self { reader, max, held: Vec::new(), at: 0, measured: Measured::No, broken: None, in_state: false }
    }

    /// Puts in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.held.drain(..self.at);
            self.at = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// The next packet, or `None` until more bytes come. After an error that is passable the packet is left behind and the next one may
    /// be asked for; any other error is the answer from then on. After [`Packet::Snap`] there is none until [`Decoder::end_state`].
    pub fn next_packet(&mut self) -> Result<Option<Packet>, Wrong> {
        if let Some(wrong) = self.broken {
            return Err(wrong);
        }
        if self.in_state {
            return Ok(None);
        }
        let Some(len) = self.measure().inspect_err(|wrong| self.broken = Some(*wrong))? else { return Ok(None) };
        let packet = Packet::decode(&self.held[self.at..self.at + len], self.reader);
        self.pass(len);
        self.measured = Measured::No;
        self.in_state = matches!(packet, Ok(Packet::Snap { .. }));
        packet.map(Some)
    }

    /// What came and has not been read: after [`Packet::Snap`] the state's bytes, and what follows them.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.held[self.at..]
    }

    /// Leaves `n` bytes of the state behind.
    ///
    /// # Panics
    /// Where no state is being read, or there are not so many bytes.
    pub fn pass_state(&mut self, n: usize) {
        assert!(self.in_state && n <= self.rest().len(), "only bytes of a state that came are passed");
        self.pass(n);
    }

    /// The state has been read to its end: packets follow.
    pub const fn end_state(&mut self) {
        self.in_state = false;
    }

    fn pass(&mut self, n: usize) {
        self.at += n;
        if self.at == self.held.len() {
            self.at = 0;
            self.held.clear();
            // What a large packet took is given back, what a busy link needs again and again is not.
            if self.held.capacity() > 8 * READ_CHUNK {
                self.held.shrink_to(READ_CHUNK);
            }
        }
    }

    /// The length of the packet that begins here, once all of it is there.
    fn measure(&mut self) -> Result<Option<usize>, Wrong> {
        let bytes = &self.held[self.at..];
        let int = |at: usize| bytes.get(at..at + 4).map(|four| i32::from_be_bytes(four.try_into().expect("four bytes are four")));
        loop {
            self.measured = match self.measured {
                Measured::No => match int(12) {
                    None => return Ok(None),
                    Some(claimed) => Measured::Data(16 + allowed(claimed, self.max)?),
                },
                Measured::Data(end) => match int(end) {
                    None => return Ok(None),
                    Some(count) => {
                        let count = usize::try_from(count).unwrap_or(0);
                        // No id is shorter than its two lengths.
                        if count > self.max / 8 {
                            return Err(Wrong::Length(count as i64 * 8, self.max));
                        }
                        Measured::Ids { end: end + 4, strings: 2 * count, budget: self.max }
                    }
                },
                Measured::Ids { end, strings: 0, .. } => return Ok((end <= bytes.len()).then_some(end)),
                Measured::Ids { end, strings, budget } => match int(end) {
                    None => return Ok(None),
                    Some(claimed) => {
                        let len = 4 + allowed(claimed, self.max)?;
                        let budget = budget.checked_sub(len).ok_or(Wrong::Length(i64::from(claimed), budget))?;
                        Measured::Ids { end: end + len, strings: strings - 1, budget }
                    }
                },
            };
        }
    }
}

/// A length that is claimed; -1 is null.
fn allowed(claimed: i32, max: usize) -> Result<usize, Wrong> {
    match usize::try_from(claimed) {
        Ok(len) if len <= max => Ok(len),
        Err(_) if claimed == -1 => Ok(0),
        _ => Err(Wrong::Length(i64::from(claimed), max)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::jute::{Malformed, Writer};
    use super::super::packet::{Blob, Forwarded, LearnerInfo, kind, put, put_proposal};
    use super::super::txn::TxnHeader;
    use super::*;
    use crate::ground::ids::{ServerId, SessionId, Zxid};

    const MAX: usize = 4096;

    fn txn(zxid: Zxid, body: &[u8]) -> Blob {
        let mut blob = Vec::new();
        TxnHeader { session: SessionId(1), cxid: 2, zxid, time: 3, kind: 5 }.encode(&mut blob);
        blob.extend_from_slice(body);
        blob.into()
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..60)
    }

    fn any_zxid() -> impl Strategy<Value = Zxid> {
        prop_oneof![Just(Zxid::ZERO), Just(Zxid(u64::MAX)), any::<u64>().prop_map(Zxid)]
    }

    /// What a learner may send.
    fn of_learner() -> impl Strategy<Value = Packet> {
        let info = (prop::option::of(1..=255u8), any::<u32>(), any::<u64>(), any::<bool>()).prop_map(
            |(server, accepted, config_version, is_observer)| LearnerInfo {
                server: server.map(ServerId),
                accepted,
                config_version,
                is_observer,
            },
        );
        let who = prop::collection::vec((".{0,6}", ".{0,9}"), 0..4);
        let request = (any::<i64>(), any::<i32>(), any::<i32>(), bytes(), who).prop_map(|(session, cxid, op, body, who)| {
            let who = who.into_iter().map(|(scheme, id)| (scheme.into(), id.into())).collect();
            Forwarded { session: SessionId(session), cxid, op, body: body.into(), who }
        });
        let touched = prop::collection::vec((any::<i64>().prop_map(SessionId), any::<i32>()), 0..9);
        prop_oneof![
            info.prop_map(Packet::Info),
            (any_zxid(), prop::option::of(0..u32::MAX)).prop_map(|(last, current)| Packet::AckEpoch { last, current }),
            any_zxid().prop_map(|zxid| Packet::Ack { zxid }),
            (any_zxid(), touched).prop_map(|(zxid, touched)| Packet::Ping { zxid, touched }),
            (any::<i64>(), any::<i32>())
                .prop_map(|(session, timeout_ms)| Packet::Revalidate { session: SessionId(session), timeout_ms }),
            request.prop_map(Packet::Request),
        ]
    }

    /// What a leader may send; no state.
    fn of_leader() -> impl Strategy<Value = Packet> {
        let blob = || (any_zxid(), bytes()).prop_map(|(zxid, body)| (zxid, txn(zxid, &body)));
        prop_oneof![
            any::<u32>().prop_map(|epoch| Packet::LeaderInfo { epoch }),
            any_zxid().prop_map(|to| Packet::Diff { to }),
            any_zxid().prop_map(|to| Packet::Trunc { to }),
            (any::<u32>(), prop::option::of(bytes()))
                .prop_map(|(epoch, config)| Packet::NewLeader { epoch, config: config.map(Into::into) }),
            Just(Packet::UpToDate),
            blob().prop_map(|(zxid, blob)| Packet::Proposal { zxid, blob }),
            any_zxid().prop_map(|zxid| Packet::Commit { zxid }),
            blob().prop_map(|(zxid, blob)| Packet::Inform { zxid, blob }),
            any_zxid().prop_map(|zxid| Packet::Ping { zxid, touched: Vec::new() }),
            (any::<i64>(), any::<bool>())
                .prop_map(|(session, is_valid)| Packet::Revalidated { session: SessionId(session), is_valid }),
            Just(Packet::Sync),
        ]
    }

    fn train() -> impl Strategy<Value = (Side, Side, Vec<Packet>)> {
        prop_oneof![
            prop::collection::vec(of_learner(), 0..8).prop_map(|packets| (Side::Learner, Side::Leader, packets)),
            prop::collection::vec(of_leader(), 0..8).prop_map(|packets| (Side::Leader, Side::Learner, packets)),
        ]
    }

    fn encoded(writer: Side, packets: &[Packet]) -> Vec<u8> {
        let mut out = Vec::new();
        packets.iter().for_each(|packet| packet.encode(writer, &mut out));
        out
    }

    /// Bytes on the heap that a packet holds.
    fn cost(packet: &Packet) -> usize {
        match packet {
            Packet::NewLeader { config, .. } => config.as_ref().map_or(0, |config| config.len() + 16),
            Packet::Proposal { blob, .. } | Packet::Inform { blob, .. } => blob.len() + 16,
            Packet::Ping { touched, .. } => touched.capacity() * size_of::<(SessionId, i32)>(),
            Packet::Request(request) => {
                let ids: usize = request.who.iter().map(|(scheme, id)| scheme.len() + id.len()).sum();
                request.body.len() + 16 + ids + request.who.capacity() * size_of::<(Box<str>, Box<str>)>()
            }
            _ => 0,
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn what_does_not_belong_is_told_and_passed_over() {
        let mut out = Vec::new();
        put(&mut out, 99, Zxid::ZERO, None);
        put(&mut out, kind::ACK, Zxid(1), None);
        put(&mut out, kind::COMMIT_AND_ACTIVATE, Zxid(1), Some(&[0; 8]));
        put(&mut out, kind::PROPOSAL, Zxid(1), None);
        put(&mut out, kind::PROPOSAL, Zxid(1), Some(&[0; 31]));
        put_proposal(&mut out, Zxid(1), &txn(Zxid(2), b""));
        put(&mut out, kind::REVALIDATE, Zxid(1), Some(&[0; 8]));
        put(&mut out, kind::LEADER_INFO, Zxid(1), Some(&[0; 4]));
        put(&mut out, kind::SYNC, Zxid(1), Some(b"whatever"));
        let mut decoder = Decoder::new(Side::Learner, MAX);
        decoder.push(&out);
        for wrong in [
            Wrong::Kind(99),
            Wrong::Kind(kind::ACK),
            Wrong::Reconfiguration(kind::COMMIT_AND_ACTIVATE),
            Wrong::Data(kind::PROPOSAL, Malformed::Null),
            Wrong::Data(kind::PROPOSAL, Malformed::Short),
            Wrong::Transaction(Zxid(1)),
            Wrong::Data(kind::REVALIDATE, Malformed::Short),
            Wrong::Protocol(0),
        ] {
            assert_eq!(decoder.next_packet(), Err(wrong));
            assert!(wrong.is_passable());
        }
        assert_eq!(decoder.next_packet(), Ok(Some(Packet::Sync)));
        assert_eq!(decoder.next_packet(), Ok(None));
        let mut touch = Vec::new();
        put(&mut touch, kind::PING, Zxid(1), Some(&[0; 13]));
        assert_eq!(Packet::decode(&touch, Side::Leader), Err(Wrong::Data(kind::PING, Malformed::Short)));
        touch.clear();
        put(&mut touch, kind::PING, Zxid(1), None);
        assert_eq!(Packet::decode(&touch, Side::Leader), Ok(Packet::Ping { zxid: Zxid(1), touched: Vec::new() }));
    }

    #[test]
    fn lengths_have_limits() {
        let limit = |text: &str| {
            let mut decoder = Decoder::new(Side::Leader, 64);
            decoder.push(&hex(text));
            let first = decoder.next_packet();
            if let Err(wrong) = first {
                assert!(!wrong.is_passable());
                decoder.push(&[0; 100]);
                assert_eq!(decoder.next_packet(), Err(wrong), "a broken stream stays broken");
            }
            first
        };
        let head = "00000001 0000000000000000";
        assert_eq!(limit(&format!("{head} 00000041")), Err(Wrong::Length(65, 64)));
        assert_eq!(limit(&format!("{head} fffffffe")), Err(Wrong::Length(-2, 64)));
        assert_eq!(limit(&format!("{head} 00000040")), Ok(None));
        assert_eq!(limit(&format!("{head} ffffffff 00000009")), Err(Wrong::Length(72, 64)));
        assert_eq!(limit(&format!("{head} ffffffff 7fffffff")), Err(Wrong::Length(0x7fff_ffff * 8, 64)));
        assert_eq!(limit(&format!("{head} ffffffff 00000001 0000003d")), Err(Wrong::Length(0x3d, 64)));
        assert_eq!(limit(&format!("{head} ffffffff 00000001 0000003c")), Ok(None));
        // A null id is none that a client has.
        let null = format!("{head} 00000010 {} 00000001 ffffffff 00000000", "00".repeat(16));
        assert_eq!(limit_passable(&null), Err(Wrong::Data(1, Malformed::Null)));
    }

    fn limit_passable(text: &str) -> Result<Option<Packet>, Wrong> {
        let mut decoder = Decoder::new(Side::Leader, 64);
        decoder.push(&hex(text));
        decoder.next_packet()
    }

    #[test]
    fn a_state_is_no_packet() {
        let mut decoder = Decoder::new(Side::Learner, MAX);
        let mut out = encoded(Side::Leader, &[Packet::Sync, Packet::Snap { at: Zxid(9) }]);
        out.extend_from_slice(b"sta");
        decoder.push(&out);
        assert_eq!(decoder.next_packet(), Ok(Some(Packet::Sync)));
        assert_eq!(decoder.next_packet(), Ok(Some(Packet::Snap { at: Zxid(9) })));
        assert_eq!(decoder.next_packet(), Ok(None));
        assert_eq!(decoder.rest(), b"sta");
        decoder.pass_state(1);
        decoder.push(b"te");
        decoder.push(&encoded(Side::Leader, &[Packet::UpToDate]));
        assert!(decoder.rest().starts_with(b"tate"));
        decoder.pass_state(4);
        decoder.end_state();
        assert_eq!(decoder.next_packet(), Ok(Some(Packet::UpToDate)));
        assert_eq!(decoder.rest(), b"");
    }

    proptest! {
        #[test]
        fn packets_come_back_however_they_are_cut((writer, reader, packets) in train(), piece in 1..90usize) {
            let out = encoded(writer, &packets);
            let mut decoder = Decoder::new(reader, MAX);
            let mut back = Vec::new();
            for piece in out.chunks(piece) {
                decoder.push(piece);
                while let Some(packet) = decoder.next_packet().unwrap() {
                    prop_assert!(cost(&packet) <= 16 * out.len() + (64 << 10));
                    back.push(packet);
                }
                prop_assert!(decoder.held.capacity() <= 2 * MAX + READ_CHUNK);
            }
            prop_assert_eq!(&back, &packets);
            prop_assert_eq!(encoded(writer, &back), out);
        }

        #[test]
        fn hostile_bytes_are_bounded(
            (writer, reader, packets) in train(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 0..6),
            noise in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => 0..20u8, 1 => any::<u8>()], 0..200),
            piece in 1..90usize,
        ) {
            let mut out = encoded(writer, &packets);
            if !out.is_empty() {
                for (at, byte) in changes {
                    let at = at.index(out.len());
                    out[at] = byte;
                }
            }
            out.extend_from_slice(&noise);
            let mut decoder = Decoder::new(reader, MAX);
            let mut given = 0;
            for piece in out.chunks(piece) {
                decoder.push(piece);
                given += piece.len();
                loop {
                    match decoder.next_packet() {
                        Ok(Some(Packet::Snap { .. })) => decoder.end_state(),
                        Ok(Some(packet)) => prop_assert!(cost(&packet) <= 16 * given + (64 << 10)),
                        Err(wrong) if wrong.is_passable() => {}
                        Ok(None) | Err(_) => break,
                    }
                }
                prop_assert!(decoder.held.capacity() <= 16 * given + (64 << 10));
            }
        }

        #[test]
        fn one_packet_of_noise_is_read_or_refused(
            kind in 0..21i32,
            bytes in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => Just(0xff), 1 => any::<u8>()], 0..120),
        ) {
            let mut packet = Vec::new();
            packet.int(kind);
            packet.extend_from_slice(&bytes);
            for reader in [Side::Leader, Side::Learner] {
                if let Ok(read) = Packet::decode(&packet, reader) {
                    prop_assert!(cost(&read) <= 16 * packet.len() + (64 << 10));
                }
            }
        }
    }
}
