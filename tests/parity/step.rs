//! Step: one thing that one session does, as bytes for the wire and as a line of text that can be played again.

use ringkeeper::proto::jute::Writer;
use ringkeeper::proto::opcode as op;
use ringkeeper::tree::quota::QUOTA;

/// Not an operation: the connection is dropped, the session is not.
pub const HANG_UP: i32 = 9001;
/// Not an operation: the session is taken up again by a new connection, also one that was closed before.
pub const ATTACH: i32 = 9002;

/// What steps are called in text.
const NAMES: [(&str, i32); 30] = [
    ("create", op::CREATE),
    ("delete", op::DELETE),
    ("exists", op::EXISTS),
    ("getData", op::GET_DATA),
    ("setData", op::SET_DATA),
    ("getACL", op::GET_ACL),
    ("setACL", op::SET_ACL),
    ("getChildren", op::GET_CHILDREN),
    ("sync", op::SYNC),
    ("ping", op::PING),
    ("getChildren2", op::GET_CHILDREN2),
    ("check", op::CHECK),
    ("multi", op::MULTI),
    ("create2", op::CREATE2),
    ("reconfig", op::RECONFIG),
    ("checkWatches", op::CHECK_WATCHES),
    ("removeWatches", op::REMOVE_WATCHES),
    ("createContainer", op::CREATE_CONTAINER),
    ("createTTL", op::CREATE_TTL),
    ("multiRead", op::MULTI_READ),
    ("auth", op::AUTH),
    ("setWatches", op::SET_WATCHES),
    ("getEphemerals", op::GET_EPHEMERALS),
    ("getAllChildrenNumber", op::GET_ALL_CHILDREN_NUMBER),
    ("setWatches2", op::SET_WATCHES2),
    ("addWatch", op::ADD_WATCH),
    ("whoAmI", op::WHO_AM_I),
    ("closeSession", op::CLOSE_SESSION),
    ("hangUp", HANG_UP),
    ("attach", ATTACH),
];

/// A value of a request, in the order of the wire. A request that ends early has too few.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    Int(i32),
    Long(i64),
    Flag(bool),
    /// Below the znode that the seed has for itself, which is `/`.
    Path(String),
    /// Where the quotas of what is there are: below `/zookeeper/quota` and the seed's znode.
    Quota(String),
    Text(String),
    Bytes(Vec<u8>),
    /// A null string or buffer.
    Null,
    /// The operation of a multi's member.
    Op(i32),
    /// The zxid that the reply so many steps ago had.
    Seen(usize),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub session: usize,
    pub op: i32,
    pub fields: Vec<Field>,
}

/// Anything, as one word.
fn quote(text: &str) -> String {
    text.bytes()
        .map(|b| if b > b' ' && b < 0x7f && b != b'%' && b != b'"' { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

fn unquote(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(tail.get(..2)?).ok()?, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Bytes as one word.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A path or a name as one word.
pub fn word(text: &str) -> String {
    format!("\"{}\"", quote(text))
}

pub fn name(op: i32) -> String {
    NAMES.iter().find(|known| known.1 == op).map_or_else(|| format!("op{op}"), |known| known.0.to_owned())
}

fn op_named(text: &str) -> Option<i32> {
    let known = NAMES.iter().find(|known| known.0 == text).map(|known| known.1);
    known.or_else(|| text.strip_prefix("op")?.parse().ok())
}

impl Field {
    fn text(&self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Long(n) => format!("{n}L"),
            Self::Flag(flag) => flag.to_string(),
            Self::Path(path) => quote(path),
            Self::Quota(path) => format!("~{}", quote(path)),
            Self::Text(text) => word(text),
            Self::Bytes(bytes) => hex(bytes),
            Self::Null => "null".to_owned(),
            Self::Op(op) => format!(":{}", name(*op)),
            Self::Seen(back) => format!("@{back}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text.as_bytes() {
            b"true" => Self::Flag(true),
            b"false" => Self::Flag(false),
            b"null" => Self::Null,
            [b'/', ..] => Self::Path(unquote(text)?),
            [b'~', ..] => Self::Quota(unquote(&text[1..])?),
            [b'"', .., b'"'] => Self::Text(unquote(&text[1..text.len() - 1])?),
            [b'@', ..] => Self::Seen(text[1..].parse().ok()?),
            [b':', ..] => Self::Op(op_named(&text[1..])?),
            [.., b'L'] => Self::Long(text[..text.len() - 1].parse().ok()?),
            [b'x', digits @ ..] => {
                let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
                Self::Bytes(pairs.collect::<Option<_>>()?)
            }
            _ => Self::Int(text.parse().ok()?),
        })
    }

    /// Appends it. `root` is the seed's znode; `seen` knows the zxids of replies.
    fn encode(&self, out: &mut Vec<u8>, root: &str, seen: &dyn Fn(usize) -> i64) {
        match self {
            Self::Int(n) | Self::Op(n) => out.int(*n),
            Self::Long(n) => out.long(*n),
            Self::Flag(flag) => out.bool(*flag),
            Self::Path(path) if path == "/" => out.string(root),
            Self::Path(path) => out.string(&format!("{root}{path}")),
            Self::Quota(path) => out.string(&format!("{QUOTA}{root}{path}")),
            Self::Text(text) => out.string(text),
            Self::Bytes(bytes) => out.buffer(Some(bytes)),
            Self::Null => out.int(-1),
            Self::Seen(back) => out.long(seen(*back)),
        }
    }
}

impl Step {
    pub fn text(&self) -> String {
        let fields = self.fields.iter().map(Field::text);
        [self.session.to_string(), name(self.op)].into_iter().chain(fields).collect::<Vec<_>>().join(" ")
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (session, op) = (words.next()?.parse().ok()?, op_named(words.next()?)?);
        Some(Self { session, op, fields: words.map(Field::parse).collect::<Option<_>>()? })
    }

    /// What follows the request header.
    pub fn body(&self, root: &str, seen: &dyn Fn(usize) -> i64) -> Vec<u8> {
        let mut out = Vec::new();
        self.fields.iter().for_each(|field| field.encode(&mut out, root, seen));
        out
    }

    /// Whether it cannot change what other sessions know of.
    pub const fn only_reads(&self) -> bool {
        matches!(
            self.op,
            op::EXISTS
                | op::GET_DATA
                | op::GET_ACL
                | op::GET_CHILDREN
                | op::GET_CHILDREN2
                | op::PING
                | op::MULTI_READ
                | op::CHECK_WATCHES
                | op::GET_EPHEMERALS
                | op::GET_ALL_CHILDREN_NUMBER
                | op::WHO_AM_I
                | op::SYNC
        )
    }
}
