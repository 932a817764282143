//! Ip: addresses and networks in ACLs (`IPAuthenticationProvider`).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr as _;

/// An address and how many of its bits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// Whether an ACL may hold the id: an address, or an address and a number of bits.
pub(super) fn is_valid(id: &str) -> bool {
    parse(id).is_some()
}

/// Whether the client is in the network of an ACL's id. The families must be the same.
pub(super) fn matches(client: IpAddr, id: &str) -> bool {
    let Some(Network { address, bits }) = parse(id) else { return false };
    let differ = match (address, client) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differ >= bits
}

/// An address as `InetAddress.getHostAddress` writes it: IPv6 without `::`.
pub(super) fn text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

fn parse(id: &str) -> Option<Network> {
    let (address, bits) = match id.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (id, None),
    };
    let (address, width) = match v4(address) {
        Some(v4) => (IpAddr::V4(v4), 32),
        None => (IpAddr::V6(v6(address)?), 128),
    };
    let bits = bits.map_or(Some(width), |bits| bits.parse().ok())?;
    (bits <= width).then_some(Network { address, bits })
}

/// Four numbers. They are read as `Integer.parseInt` reads them, so `+1` and `001` are numbers too.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let mut parts = text.split('.').map(|part| part.parse::<u8>().ok());
    let octets = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then(|| octets.into())
}

/// The textual form with `::`, but neither with a zone nor with an IPv4 tail.
fn v6(text: &str) -> Option<Ipv6Addr> {
    if text.contains('.') { None } else { Ipv6Addr::from_str(text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_java_server_takes() {
        for valid in [
            "127.0.0.1",
            "127.0.0.1/32",
            "127.0.0.0/8",
            "0.0.0.0/0",
            "127.0.0.1/+8",
            "127.0.0.1/08",
            "127.0.0.+1",
            "0127.0.0.01",
            "::1",
            "::/0",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:0008",
            "::ffff:7f00:1",
            "A::b",
            "::1/128",
            "::1/+8",
        ] {
            assert!(is_valid(valid), "{valid:?}");
        }
    }

    #[test]
    fn what_the_java_server_refuses() {
        for invalid in [
            "",
            "/8",
            "127.0.0",
            "127.1",
            "127.0.0.256",
            "127.0.0.1/33",
            "127.0.0.1/",
            "127.0.0.1/-1",
            "127.0.0.1/8/8",
            "127.0.0.1.",
            ".127.0.0.1",
            "127..0.1",
            " 127.0.0.1",
            "0x7f.0.0.1",
            "localhost",
            ":",
            "::::",
            ":1::",
            "1::2::3",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4::5:6:7:8",
            "::1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:00008",
            "::ffff:127.0.0.1",
            "fe80::1%1",
            "[::1]",
            "::g",
            "::1/129",
            "::1/ 8",
        ] {
            assert!(!is_valid(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn matching_is_under_the_mask_and_within_the_family() {
        let v4 = "10.1.2.3".parse().unwrap();
        for (id, expected) in [
            ("10.1.2.3", true),
            ("10.1.2.2", false),
            ("10.1.2.2/31", true),
            ("10.1.9.9/16", true),
            ("10.2.0.0/15", false),
            ("11.0.0.0/0", true),
            ("::/0", false),
            ("::ffff:a01:203", false),
            ("nonsense", false),
        ] {
            assert_eq!(matches(v4, id), expected, "{id}");
        }
        let v6 = "2001:db8::1".parse().unwrap();
        for (id, expected) in [("2001:db8::1", true), ("2001:db8::/32", true), ("2001:db9::/32", false), ("0.0.0.0/0", false)] {
            assert_eq!(matches(v6, id), expected, "{id}");
        }
    }

    #[test]
    fn text_as_java_writes_it() {
        assert_eq!(text("fe80::1".parse().unwrap()), "fe80:0:0:0:0:0:0:1");
        assert_eq!(text("10.0.0.1".parse().unwrap()), "10.0.0.1");
    }
}
