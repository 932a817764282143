//! Sasl: who may prove a name by DIGEST-MD5 (RFC 2831), and one connection's exchange, as a ZooKeeper in Java serves it.
//!
//! The first token, whatever it is, is answered by a challenge; the second must prove a user; none comes after it. What is
//! accepted was found out on a ZooKeeper 3.9.4 with OpenJDK 17.

use core::fmt;
use core::hint::black_box;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::{Digest as _, Sha1};

use super::directives::{self, Directives};
use super::kerberos;
use crate::ground::time::Millis;

/// Realm of the challenge, and the only one accepted.
const REALM: &str = "zk-sasl-md5";

/// Service and host that a client must name, in any case of letters.
const URI: &str = "zookeeper/zk-sasl-md5";

/// The nonce count hashed: each nonce is used once.
const NONCE_COUNT: &str = "00000001";

/// Bytes of a token (as in Java).
pub const TOKEN_MAX: usize = 4096;

/// Milliseconds in which a challenge must be answered. Java waits for ever.
pub const PROOF_WITHIN_MS: u64 = 60_000;

/// Whom an exchange lets in, and as whom.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SaslConfig {
    /// Passwords by user.
    pub users: BTreeMap<String, String>,
    /// `zookeeper.SASLAuthenticationProvider.superPassword`: counts for the user `super` instead of the one listed.
    pub super_password: Option<String>,
    /// `zookeeper.superUser` and `zookeeper.superUser.*`: names that are super too.
    pub super_users: Vec<String>,
    /// What is left out of names like `user/host@`.
    pub shortening: kerberos::Shortening,
}

impl fmt::Debug for SaslConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslConfig")
            .field("users", &self.users.keys())
            .field("super_users", &self.super_users)
            .finish_non_exhaustive()
    }
}

impl SaslConfig {
    /// Whether a name that was proved is super too.
    #[must_use]
    pub fn is_super(&self, name: &str) -> bool {
        !name.is_empty() && self.super_users.iter().any(|user| user == name)
    }

    fn password(&self, user: &str) -> Option<&str> {
        let listed = self.users.get(user)?;
        match &self.super_password {
            Some(password) if user == "super" => Some(password),
            _ => Some(listed),
        }
    }
}

/// Challenges that nobody can foresee: a hash of the shard's secret seeds, its number and a count.
#[derive(Clone, Debug)]
pub struct Nonces {
    seeds: [u64; 4],
    shard: u16,
    count: u64,
}

impl Nonces {
    /// Those of a shard.
    #[must_use]
    pub const fn new(seeds: [u64; 4], shard: u16) -> Self {
        Self { seeds, shard, count: 0 }
    }

    /// The next one, 40 characters.
    pub fn draw(&mut self) -> String {
        self.count += 1;
        let mut bytes = Vec::with_capacity(40);
        for half in 0_u8..2 {
            let mut hash = Sha1::new();
            self.seeds.iter().for_each(|seed| hash.update(seed.to_le_bytes()));
            hash.update(self.shard.to_le_bytes());
            hash.update(self.count.to_le_bytes());
            hash.update([half]);
            bytes.extend_from_slice(&hash.finalize());
        }
        STANDARD.encode(&bytes[..30])
    }
}

/// Why an exchange failed. A client is told that it did, not why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SaslFailed {
    /// Above [`TOKEN_MAX`].
    #[error("a token of {0} bytes")]
    TooLong(usize),
    /// The connection has had its exchange.
    #[error("a token after the exchange was over")]
    Over,
    /// Later than [`PROOF_WITHIN_MS`].
    #[error("the challenge was answered too late")]
    TooLate,
    /// Not in the form of RFC 2831.
    #[error("{0}")]
    Form(#[from] directives::FormError),
    /// A directive is missing, or has a value that it cannot have.
    #[error("directive {0} is missing or is not what it must be")]
    Directive(&'static str),
    /// Unknown user or wrong password.
    #[error("no such user, or another password")]
    Unproved,
}

/// What a token brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The challenge, to be sent.
    Challenge(Vec<u8>),
    /// A name was proved.
    Proved {
        /// The server's own proof, to be sent.
        token: Vec<u8>,
        /// Id of the scheme `sasl`.
        name: String,
    },
}

/// The exchange of one connection.
#[derive(Debug, Default)]
pub enum Exchange {
    /// Nothing has come.
    #[default]
    Fresh,
    /// The challenge was sent.
    Challenged {
        /// What it said.
        nonce: Box<str>,
        /// When.
        at: Millis,
    },
    /// It has succeeded or failed.
    Over,
}

impl Exchange {
    /// Takes a token.
    pub fn step(&mut self, token: &[u8], nonces: &mut Nonces, config: &SaslConfig, now: Millis) -> Result<Step, SaslFailed> {
        if token.len() > TOKEN_MAX {
            return Err(SaslFailed::TooLong(token.len()));
        }
        match core::mem::replace(self, Self::Over) {
            Self::Fresh => {
                let nonce = nonces.draw();
                let challenge = format!("realm=\"{REALM}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
                *self = Self::Challenged { nonce: nonce.into(), at: now };
                Ok(Step::Challenge(challenge.into_bytes()))
            }
            Self::Challenged { at, .. } if now.since(at) > PROOF_WITHIN_MS => Err(SaslFailed::TooLate),
            Self::Challenged { nonce, .. } => prove(token, &nonce, config),
            Self::Over => Err(SaslFailed::Over),
        }
    }
}

/// Judges the answer to a challenge.
fn prove(token: &[u8], nonce: &str, config: &SaslConfig) -> Result<Step, SaslFailed> {
    let given = Directives::parse(token)?;
    let need = |name: &'static str| given.get(name).ok_or(SaslFailed::Directive(name));
    let must = |name: &'static str, holds: bool| if holds { Ok(()) } else { Err(SaslFailed::Directive(name)) };
    // The default of each is what is asked for.
    must("charset", given.get("charset").is_none_or(|charset| charset == b"utf-8"))?;
    must("qop", given.get("qop").is_none_or(|qop| qop == b"auth"))?;
    let is_number = |bytes: &[u8]| core::str::from_utf8(bytes).is_ok_and(|text| text.parse::<i32>().is_ok());
    must("maxbuf", given.get("maxbuf").is_none_or(is_number))?;
    must("realm", need("realm")? == REALM.as_bytes())?;
    must("nonce", need("nonce")? == nonce.as_bytes())?;
    let uri = need("digest-uri")?;
    must("digest-uri", uri.eq_ignore_ascii_case(URI.as_bytes()))?;
    let user = core::str::from_utf8(need("username")?).map_err(|_| SaslFailed::Directive("username"))?;
    must("username", !user.is_empty())?;
    let password = config.password(user);
    let proof = Proof {
        user,
        // The hash is made in any case: how long it takes tells nothing of who is there.
        password: password.unwrap_or_default(),
        nonce,
        cnonce: need("cnonce")?,
        authzid: given.get("authzid"),
        uri,
    };
    if !same(need("response")?, proof.of("AUTHENTICATE").as_bytes()) || password.is_none() {
        return Err(SaslFailed::Unproved);
    }
    let name = kerberos::shortened(user, config.shortening).ok_or(SaslFailed::Directive("username"))?;
    Ok(Step::Proved { token: format!("rspauth={}", proof.of("")).into_bytes(), name })
}

/// What both sides' proofs are hashes of.
struct Proof<'a> {
    user: &'a str,
    password: &'a str,
    nonce: &'a str,
    cnonce: &'a [u8],
    authzid: Option<&'a [u8]>,
    uri: &'a [u8],
}

impl Proof<'_> {
    /// RFC 2831, 2.1.2.1: `response` with the method of clients, `rspauth` with an empty one.
    fn of(&self, method: &str) -> String {
        let secret = [&narrowed(self.user), REALM.as_bytes(), &narrowed(self.password)].join(&b':');
        let mut a1 = Md5::digest(secret).to_vec();
        for part in [Some(self.nonce.as_bytes()), Some(self.cnonce), self.authzid].into_iter().flatten() {
            a1.push(b':');
            a1.extend_from_slice(part);
        }
        let a2 = [method.as_bytes(), self.uri].join(&b':');
        let (a1, a2) = (hex(&a1), hex(&a2));
        let all = [a1.as_bytes(), self.nonce.as_bytes(), NONCE_COUNT.as_bytes(), self.cnonce, b"auth", a2.as_bytes()];
        hex(&all.join(&b':'))
    }
}

/// A text as RFC 2831 hashes it: in ISO 8859-1 if it can be, else in UTF-8.
fn narrowed(text: &str) -> Vec<u8> {
    let narrow: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    narrow.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the same time wherever the bytes differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |differ, (a, b)| black_box(differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SaslConfig {
        let users =
            [("bob", "secret"), ("super", "listed"), ("böb", "päss"), ("日", "日"), ("a/h@", "x"), ("a@b@c", "x"), ("", "")];
        SaslConfig {
            users: users.map(|(user, password)| (user.to_owned(), password.to_owned())).into(),
            super_users: vec!["bob".to_owned()],
            ..SaslConfig::default()
        }
    }

    fn nonces() -> Nonces {
        Nonces::new([1, 2, 3, 4], 0)
    }

    /// The client's side, with one directive said otherwise.
    fn token(nonce: &str, user: &str, password: &str, other: (&str, Option<&str>)) -> Vec<u8> {
        let proof = Proof { user, password, nonce, cnonce: b"abc", authzid: None, uri: URI.as_bytes() };
        let response = proof.of("AUTHENTICATE");
        let all = [
            ("charset", "utf-8"),
            ("username", user),
            ("realm", REALM),
            ("nonce", nonce),
            ("nc", "00000001"),
            ("cnonce", "abc"),
            ("digest-uri", URI),
            ("maxbuf", "65536"),
            ("response", &response),
            ("qop", "auth"),
        ];
        let mut said = Vec::new();
        for (key, value) in all {
            let value = if key == other.0 { other.1 } else { Some(value) };
            said.extend(value.map(|value| format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))));
        }
        said.join(",").into_bytes()
    }

    fn exchange(config: &SaslConfig, user: &str, password: &str, other: (&str, Option<&str>)) -> Result<Step, SaslFailed> {
        let (mut exchange, mut nonces) = (Exchange::default(), nonces());
        exchange.step(b"", &mut nonces, config, Millis(0)).unwrap();
        let Exchange::Challenged { nonce, .. } = &exchange else { panic!("{exchange:?}") };
        let token = token(nonce, user, password, other);
        exchange.step(&token, &mut nonces, config, Millis(PROOF_WITHIN_MS))
    }

    /// The example of RFC 2831, section 4, with its realm and service in the place of ours.
    #[test]
    fn the_vectors_of_the_rfc() {
        let secret = Md5::digest(b"chris:elwood.innosoft.com:secret");
        let a1 = [&secret[..], b":OA6MG9tEQGm2hh:OA6MHXh6VqTrRk"].concat();
        let end = ":OA6MG9tEQGm2hh:00000001:OA6MHXh6VqTrRk:auth:";
        let of = |a2: &str| hex(format!("{}{end}{}", hex(&a1), hex(a2.as_bytes())).as_bytes());
        assert_eq!(of("AUTHENTICATE:imap/elwood.innosoft.com"), "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(of(":imap/elwood.innosoft.com"), "ea40f60335c427b5527b84dbabcdfffd");
    }

    /// Exchanges with a ZooKeeper 3.9.4, which took the client's proof and gave its own.
    #[test]
    fn proofs_of_the_java_server() {
        let proof =
            |nonce, authzid| Proof { user: "bob", password: "bobsecret", nonce, cnonce: b"abcdef", authzid, uri: URI.as_bytes() };
        let plain = proof("NJE/eWkJRmTsi2ZVBH562u/Be1OtxmkwnbHGFR87", None);
        assert_eq!(plain.of(""), "0feab5e3fea4d7072bb08fc7a65a587c");
        let acting = proof("VWrE3WV9DrGIhfNMuwFv4mGyf/1UJFluhwcqNVOq", Some(b"zz"));
        assert_eq!(acting.of(""), "a6a23ae999c54c107dd946cf87df7529");
    }

    #[test]
    fn a_user_is_challenged_and_proves_itself_once() {
        let (config, mut nonces, mut exchange) = (config(), nonces(), Exchange::default());
        let Ok(Step::Challenge(challenge)) = exchange.step(b"anything", &mut nonces, &config, Millis(5)) else { panic!() };
        let Exchange::Challenged { nonce, .. } = &exchange else { panic!() };
        let nonce = nonce.clone();
        let expected = format!("realm=\"zk-sasl-md5\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
        assert_eq!((nonce.len(), String::from_utf8(challenge).unwrap()), (40, expected));
        let token = token(&nonce, "bob", "secret", ("", None));
        let Ok(Step::Proved { token: answer, name }) = exchange.step(&token, &mut nonces, &config, Millis(9)) else { panic!() };
        let proof = Proof { user: "bob", password: "secret", nonce: &nonce, cnonce: b"abc", authzid: None, uri: URI.as_bytes() };
        assert_eq!((name.as_str(), answer), ("bob", format!("rspauth={}", proof.of("")).into_bytes()));
        assert!(config.is_super("bob") && !config.is_super("super") && !config.is_super(""));
        assert_eq!(exchange.step(&token, &mut nonces, &config, Millis(9)), Err(SaslFailed::Over));
        assert_eq!(exchange.step(b"", &mut nonces, &config, Millis(9)), Err(SaslFailed::Over));
    }

    #[test]
    fn names_and_passwords_beyond_ascii() {
        for (user, password) in [("böb", "päss"), ("日", "日"), ("a/h@", "x")] {
            assert!(matches!(exchange(&config(), user, password, ("", None)), Ok(Step::Proved { name, .. }) if name == user));
        }
        assert_eq!((narrowed("ö"), narrowed("ö日")), (vec![0xf6], "ö日".as_bytes().to_vec()));
    }

    #[test]
    fn what_proves_nothing() {
        use SaslFailed::{Directive, Unproved};
        let config = config();
        for (user, password) in [("bob", "Secret"), ("bob", ""), ("eve", "secret"), ("eve", "")] {
            assert_eq!(exchange(&config, user, password, ("", None)), Err(Unproved), "{user}:{password}");
        }
        for (key, value, error) in [
            ("username", None, Directive("username")),
            ("username", Some(""), Directive("username")),
            ("username", Some("super"), Unproved),
            ("realm", None, Directive("realm")),
            ("realm", Some("x"), Directive("realm")),
            ("nonce", None, Directive("nonce")),
            ("nonce", Some("x"), Directive("nonce")),
            ("cnonce", None, Directive("cnonce")),
            ("cnonce", Some("x"), Unproved),
            ("digest-uri", None, Directive("digest-uri")),
            ("digest-uri", Some("ftp/zk-sasl-md5"), Directive("digest-uri")),
            ("digest-uri", Some("ZOOKEEPER/zk-sasl-md5"), Unproved),
            ("response", None, Directive("response")),
            ("response", Some(""), Unproved),
            ("response", Some("00000000000000000000000000000000"), Unproved),
            ("qop", Some("auth-int"), Directive("qop")),
            ("charset", Some("iso-8859-1"), Directive("charset")),
            ("maxbuf", Some("x"), Directive("maxbuf")),
        ] {
            assert_eq!(exchange(&config, "bob", "secret", (key, value)), Err(error), "{key}={value:?}");
        }
        // A malformed name of Kerberos, and one without letters.
        assert_eq!(exchange(&config, "a@b@c", "x", ("", None)), Err(Directive("username")));
        assert_eq!(exchange(&config, "", "", ("", None)), Err(Directive("username")));
    }

    #[test]
    fn what_java_does_not_look_at() {
        for other in [("charset", None), ("maxbuf", None), ("maxbuf", Some("1")), ("qop", None), ("nc", None), ("nc", Some("2"))]
        {
            assert!(exchange(&config(), "bob", "secret", other).is_ok(), "{other:?}");
        }
    }

    #[test]
    fn the_password_of_super_may_be_given_apart() {
        let config = SaslConfig { super_password: Some("apart".to_owned()), ..config() };
        assert!(exchange(&config, "super", "apart", ("", None)).is_ok());
        assert_eq!(exchange(&config, "super", "listed", ("", None)), Err(SaslFailed::Unproved));
        assert!(exchange(&config, "bob", "secret", ("", None)).is_ok());
        assert!(!format!("{config:?}").contains("apart") && !format!("{config:?}").contains("secret"));
    }

    #[test]
    fn tokens_and_time_are_bounded() {
        let (config, mut nonces, mut exchange) = (config(), nonces(), Exchange::default());
        let long = [b'x'; TOKEN_MAX + 1];
        assert_eq!(exchange.step(&long, &mut nonces, &config, Millis(0)), Err(SaslFailed::TooLong(TOKEN_MAX + 1)));
        exchange.step(&long[1..], &mut nonces, &config, Millis(0)).unwrap();
        let late = exchange.step(b"", &mut nonces, &config, Millis(PROOF_WITHIN_MS + 1));
        assert_eq!((late, matches!(exchange, Exchange::Over)), (Err(SaslFailed::TooLate), true));
    }

    #[test]
    fn nonces_differ_by_seed_shard_and_count() {
        let mut all = std::collections::BTreeSet::new();
        for (seed, shard) in [(1, 0), (1, 1), (2, 0)] {
            let mut nonces = Nonces::new([seed, 2, 3, 4], shard);
            all.extend([nonces.draw(), nonces.draw()]);
        }
        assert_eq!(all.len(), 6);
    }
}
