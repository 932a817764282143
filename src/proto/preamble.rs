//! Preamble: the first message of a connection of the election port, and which of two such connections stays.

use super::jute::{Reader, Writer};
use super::members::HostPort;
use crate::ground::ids::ServerId;

/// First long of a message that names one address.
const ONE_ADDRESS: i64 = -65_536;

/// First long of a message that names every address, joined by `|`.
const ALL_ADDRESSES: i64 = -65_535;

/// Largest text of addresses, bytes.
const TEXT_MAX: usize = 2048;

/// Bytes before the text.
const HEAD: usize = 20;

/// The number that an observer without one gives (`QuorumPeer.OBSERVER_ID`).
const ANONYMOUS: i64 = i64::MAX;

/// What a server that calls says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preamble {
    /// Its number; `None` for an observer that has none.
    pub server: Option<ServerId>,
    /// Where it is called back, in elections: none from releases before 3.5, and none where it knows itself by a wildcard only.
    pub addresses: Vec<HostPort>,
}

/// What stands at the start of the bytes read so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The whole message, and how many bytes of input it used.
    Whole(Preamble, usize),
    /// So many bytes are needed in all, at least.
    More(usize),
}

/// Why a connection is closed at its first message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// A form that no release has.
    #[error("unknown version {0} of the election port's first message")]
    Version(i64),
    /// The caller's number.
    #[error("server number {0} is not from 1 to 255")]
    Server(i64),
    /// The length of the text.
    #[error("the election port's first message claims {0} bytes of addresses, 1 to 2048 are allowed")]
    Length(i32),
    /// The text.
    #[error("the election port's first message names an address that is none")]
    Address,
}

impl Preamble {
    /// Appends the message. A Java server reads it in one go, so it should leave in one segment.
    ///
    /// # Panics
    /// If there is no address, or their text is longer than 2048 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let text: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let text = text.join("|");
        assert!(!text.is_empty() && text.len() <= TEXT_MAX, "a server tells where it is called back, in 2048 bytes");
        out.long(if self.addresses.len() == 1 { ONE_ADDRESS } else { ALL_ADDRESSES });
        out.long(self.server.map_or(ANONYMOUS, |server| i64::from(server.0)));
        out.string(&text);
    }

    /// Reads the message off the start of `input`. Nothing of it is kept: its bytes are at most 2068.
    pub fn cut(input: &[u8]) -> Result<Cut, Wrong> {
        let mut r = Reader::new(input);
        let Ok(first) = r.long() else { return Ok(Cut::More(8)) };
        if first >= 0 {
            // Releases before 3.5 give their number and nothing else.
            return Ok(Cut::Whole(Self { server: server(first)?, addresses: Vec::new() }, 8));
        }
        if first != ONE_ADDRESS && first != ALL_ADDRESSES {
            return Err(Wrong::Version(first));
        }
        let (Ok(sid), Ok(claimed)) = (r.long(), r.int()) else { return Ok(Cut::More(HEAD)) };
        let server = server(sid)?;
        let len = usize::try_from(claimed).ok().filter(|len| (1..=TEXT_MAX).contains(len)).ok_or(Wrong::Length(claimed))?;
        let Some(text) = r.rest().get(..len) else { return Ok(Cut::More(HEAD + len)) };
        let text = str::from_utf8(text).map_err(|_| Wrong::Address)?;
        let mut addresses = Vec::new();
        for address in text.split('|') {
            let address = HostPort::parse(address).ok_or(Wrong::Address)?;
            if !is_wildcard(&address.host) {
                addresses.push(address);
            }
        }
        Ok(Cut::Whole(Self { server, addresses }, HEAD + len))
    }
}

fn server(sid: i64) -> Result<Option<ServerId>, Wrong> {
    if sid == ANONYMOUS {
        return Ok(None);
    }
    match u8::try_from(sid) {
        Ok(id) if id > 0 => Ok(Some(ServerId(id))),
        _ => Err(Wrong::Server(sid)),
    }
}

/// Whether nobody can be called there.
fn is_wildcard(host: &str) -> bool {
    host.parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// An end of a connection of the election port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The one that called.
    Caller,
    /// The one that was called.
    Called,
}

/// What becomes of a connection of the election port once the first message has been said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stays, in place of any older one with the same server.
    Keep,
    /// It is closed: the other server will call.
    AwaitCall,
    /// It is closed, and any older one with the same server; then that server is called.
    CallBack,
    /// It is closed: it leads to the server itself, or another has the same number.
    Drop,
}

/// Which connection of two servers stays: the one that the server with the larger number made. An observer without a number counts as
/// smaller than every server, and is never called but back.
#[must_use]
pub fn fate(end: End, own: ServerId, other: Option<ServerId>) -> Fate {
    match (end, other.cmp(&Some(own))) {
        (_, core::cmp::Ordering::Equal) => Fate::Drop,
        (End::Caller, core::cmp::Ordering::Less) | (End::Called, core::cmp::Ordering::Greater) => Fate::Keep,
        (End::Caller, core::cmp::Ordering::Greater) => Fate::AwaitCall,
        (End::Called, core::cmp::Ordering::Less) => Fate::CallBack,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    fn message(first: i64, sid: i64, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.long(first);
        out.long(sid);
        out.buffer(Some(text));
        out
    }

    #[test]
    fn what_a_real_server_says() {
        let preamble = Preamble { server: Some(ServerId(3)), addresses: vec![at("127.0.0.1", 2483)] };
        let mut out = Vec::new();
        preamble.encode(&mut out);
        let mut want = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x0e];
        want.extend_from_slice(b"127.0.0.1:2483");
        assert_eq!(out, want);
        out.extend_from_slice(b"a frame");
        assert_eq!(Preamble::cut(&out), Ok(Cut::Whole(preamble, 34)));
        for len in 0..34 {
            let more = if len < 8 {
                8
            } else if len < 20 {
                20
            } else {
                34
            };
            assert_eq!(Preamble::cut(&out[..len]), Ok(Cut::More(more)));
        }
    }

    #[test]
    fn other_forms() {
        let old = Preamble { server: Some(ServerId(7)), addresses: vec![] };
        assert_eq!(Preamble::cut(&7i64.to_be_bytes()), Ok(Cut::Whole(old, 8)));
        let many = message(ALL_ADDRESSES, ANONYMOUS, b"[::1]:3888|0.0.0.0:1|[::]:2|a.example:3889");
        let preamble = Preamble { server: None, addresses: vec![at("::1", 3888), at("a.example", 3889)] };
        assert_eq!(Preamble::cut(&many), Ok(Cut::Whole(preamble.clone(), many.len())));
        let mut out = Vec::new();
        preamble.encode(&mut out);
        assert_eq!(out, message(ALL_ADDRESSES, ANONYMOUS, b"[0:0:0:0:0:0:0:1]:3888|a.example:3889"), "as Java writes it");
    }

    #[test]
    fn what_is_refused() {
        for first in [-1, -65_534, -65_537, i64::MIN] {
            assert_eq!(Preamble::cut(&message(first, 3, b"a:1")), Err(Wrong::Version(first)));
        }
        for sid in [0, -1, 256] {
            assert_eq!(Preamble::cut(&message(ONE_ADDRESS, sid, b"a:1")), Err(Wrong::Server(sid)));
        }
        assert_eq!(Preamble::cut(&256i64.to_be_bytes()), Err(Wrong::Server(256)));
        let mut long = message(ONE_ADDRESS, 3, b"");
        for length in [0, -1, 2049, i32::MAX] {
            long.truncate(16);
            long.int(length);
            assert_eq!(Preamble::cut(&long), Err(Wrong::Length(length)));
        }
        for bad in [&b"a"[..], b"a:b", b":1", b"a:1|", b"\xff:1", b"a:65536", b"::1:3888", b"a:1:2"] {
            assert_eq!(Preamble::cut(&message(ONE_ADDRESS, 3, bad)), Err(Wrong::Address), "{bad:?}");
        }
    }

    #[test]
    fn of_two_connections_one_stays() {
        let (small, large) = (ServerId(2), ServerId(3));
        assert_eq!(fate(End::Caller, large, Some(small)), Fate::Keep);
        assert_eq!(fate(End::Called, small, Some(large)), Fate::Keep);
        assert_eq!(fate(End::Caller, small, Some(large)), Fate::AwaitCall);
        assert_eq!(fate(End::Called, large, Some(small)), Fate::CallBack);
        assert_eq!(fate(End::Called, small, None), Fate::CallBack);
        for end in [End::Caller, End::Called] {
            assert_eq!(fate(end, small, Some(small)), Fate::Drop);
        }
        // Whichever calls, both ends agree on whether the connection stays.
        for (a, b) in (1..6).flat_map(|a| (1..6).map(move |b| (ServerId(a), ServerId(b)))).filter(|(a, b)| a != b) {
            let stays = |end, own, other| fate(end, own, Some(other)) == Fate::Keep;
            assert_eq!(stays(End::Caller, a, b), stays(End::Called, b, a));
            assert_ne!(stays(End::Caller, a, b), stays(End::Caller, b, a));
        }
    }

    proptest! {
        #[test]
        fn preambles_come_back(
            server in prop::option::of(1..=255u8),
            addresses in prop::collection::vec(("[a-z][a-z0-9.-]{0,20}|1[0-9]{1,2}\\.0\\.0\\.1|fe80:0:0:0:0:0:0:[1-9a-f][0-9a-f]{0,3}", any::<u16>()), 1..5),
        ) {
            let addresses = addresses.iter().map(|(host, port)| at(host, *port)).collect();
            let preamble = Preamble { server: server.map(ServerId), addresses };
            let mut out = Vec::new();
            preamble.encode(&mut out);
            prop_assert_eq!(Preamble::cut(&out), Ok(Cut::Whole(preamble, out.len())));
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(
            first in prop_oneof![Just(ONE_ADDRESS), Just(ALL_ADDRESSES), any::<i64>()],
            sid in prop_oneof![Just(3), Just(ANONYMOUS), any::<i64>()],
            text in "[a-z0-9:|\\[\\].\u{e9}]{0,40}",
            kept in any::<prop::sample::Index>(),
        ) {
            let out = message(first, sid, text.as_bytes());
            if let Ok(Cut::Whole(preamble, used)) = Preamble::cut(&out[..kept.index(out.len() + 1)]) {
                prop_assert!(used <= out.len() && preamble.addresses.len() <= text.len());
            }
        }
    }
}
