//! Member: one `server.N` line of a configuration.

/// What a `server.N` line says that matters to a server alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// It has no vote.
    pub observer: bool,
    /// Host (none: the wildcard) and port for clients, where the line names them.
    pub client: Option<(Option<String>, u16)>,
    /// It names a TLS port for clients.
    pub secure: bool,
}

/// The form of a line, as errors quote it.
const FORM: &str = "expected HOST:QUORUMPORT:ELECTIONPORT[:participant|observer][;[CLIENTHOST:]CLIENTPORT]";

/// Reads `host:quorumPort:electionPort[:role][|more addresses][;[host:]port[;[host:]securePort]]`, after operations.md
/// section 9. The message of an error says what was expected.
pub fn parse(value: &str) -> Result<Member, String> {
    let mut parts = value.splitn(3, ';');
    let addresses = parts.next().unwrap_or_default();
    let client = parts.next().map(str::trim).filter(|c| !c.is_empty());
    let secure = parts.next().map(str::trim).filter(|c| !c.is_empty());
    let mut observer = false;
    for address in addresses.split('|') {
        observer |= peer(address.trim()).ok_or(FORM)?;
    }
    Ok(Member {
        observer,
        client: client.map(|c| host_port(c).ok_or(FORM)).transpose()?,
        secure: secure.map(|c| host_port(c).ok_or(FORM)).transpose()?.is_some(),
    })
}

/// Whether the address is an observer's; `None` if it is no address.
fn peer(address: &str) -> Option<bool> {
    let ports = match address.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?.1,
        None => address.split_once(':').filter(|(host, _)| !host.is_empty())?.1,
    };
    let mut ports = ports.split(':').map(str::trim);
    let quorum: u16 = ports.next()?.parse().ok()?;
    let election: u16 = ports.next()?.parse().ok()?;
    let observer = match ports.next() {
        None => false,
        Some(role) if role.eq_ignore_ascii_case("participant") => false,
        Some(role) if role.eq_ignore_ascii_case("observer") => true,
        Some(_) => return None,
    };
    (quorum != election && ports.next().is_none()).then_some(observer)
}

/// Splits `[host:]port`; an IPv6 address stands in brackets.
pub fn host_port(text: &str) -> Option<(Option<String>, u16)> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Some((None, text.parse().ok()?));
    };
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some(())?;
    Some((Some(host.to_owned()), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        let member = |observer, client: Option<(Option<&str>, u16)>, secure| {
            Ok(Member { observer, client: client.map(|(h, p)| (h.map(str::to_owned), p)), secure })
        };
        assert_eq!(parse("localhost:20001:20002:participant"), member(false, None, false));
        assert_eq!(parse("localhost:2888:3888"), member(false, None, false));
        assert_eq!(parse("a:2888:3888:OBSERVER;2181"), member(true, Some((None, 2181)), false));
        assert_eq!(parse("a:2888:3888;10.0.0.1:2181"), member(false, Some((Some("10.0.0.1"), 2181)), false));
        assert_eq!(parse("[::1]:2888:3888;[::1]:2181;2281"), member(false, Some((Some("::1"), 2181)), true));
        assert_eq!(parse("a:2888:3888;;2281"), member(false, None, true));
        assert_eq!(parse("a:2888:3888|b:2889:3889:observer;2181"), member(true, Some((None, 2181)), false));
        for bad in
            ["", "a", "a:1", "a:1:1", "a:1:2:learner", "a:1:2:observer:3", ":1:2", "a:1:70000", "a:1:2;b:c", "[::1:1:2", "a:1:2|"]
        {
            assert_eq!(parse(bad), Err(FORM.to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(host_port("127.0.0.1:0"), Some((Some("127.0.0.1".to_owned()), 0)));
        assert_eq!(host_port("[::]:2181"), Some((Some("::".to_owned()), 2181)));
        for bad in ["", ":2181", "::1:2181", "a:", "a:b", "[]:1", "[::1]"] {
            assert_eq!(host_port(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z0-9:;|\\[\\]. ]{0,60}") {
            let _ = parse(&text);
        }
    }
}
