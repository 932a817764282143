//! Setting: one way to write and flush, a cell of the matrix.

use serde::Serialize;

/// What makes a write durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Each write returns when it is durable (`O_DSYNC`).
    Dsync,
    /// A write, then a flush of the file.
    Fdatasync,
}

/// What the file is where it is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Written with zeros before, as the server's log is.
    Zeroed,
    /// Its blocks are reserved (fallocate), and were never written.
    Reserved,
    /// It ends there: each write makes it longer.
    Growing,
}

/// One way to write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Setting {
    /// What the file is.
    pub state: State,
    /// What makes a write durable.
    pub method: Method,
    /// Past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Bytes of a write, whole blocks of 4096.
    pub bytes: usize,
    /// Writes under way at a time.
    pub in_flight: usize,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dsync => "dsync",
            Self::Fdatasync => "fdatasync",
        }
    }
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zeroed => "zeroed",
            Self::Reserved => "reserved",
            Self::Growing => "growing",
        }
    }
}

impl Setting {
    /// Everything but the number of writes under way.
    pub fn way(&self) -> String {
        let cache = if self.direct { "direct" } else { "buffered" };
        format!("{} {cache} {}", self.method.name(), size(self.bytes))
    }
}

/// A number of bytes as people write it: `4k`, `1m`.
pub fn size(bytes: usize) -> String {
    match bytes {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{}m", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{}k", n >> 10),
        n => n.to_string(),
    }
}

/// The same, read.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix('k') {
        Some(digits) => (digits, 10),
        None => lower.strip_suffix('m').map_or((lower.as_str(), 0), |digits| (digits, 20)),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if (4096..=16 << 20).contains(&bytes) && bytes.is_multiple_of(4096) => Ok(bytes),
        _ => Err("expected whole blocks of 4k, up to 16m, such as 4k, 64k or 1m".to_owned()),
    }
}

/// All combinations, in an order in which neighbours differ little.
pub fn matrix(states: &[State], methods: &[Method], direct: &[bool], sizes: &[usize], in_flight: &[usize]) -> Vec<Setting> {
    let mut all = Vec::new();
    for &state in states {
        for &method in methods {
            for &direct in direct {
                for &bytes in sizes {
                    for &in_flight in in_flight {
                        all.push(Setting { state, method, direct, bytes, in_flight });
                    }
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [("4k", 4096), ("4096", 4096), ("64K", 65536), ("1m", 1 << 20), ("16M", 16 << 20)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!([4096, 65536, 1 << 20, 3 << 19, 4097].map(size), ["4k", "64k", "1m", "1536k", "4097"]);
        for text in ["", "k", "1k", "4097", "17m", "-4k", "99999999999999999999m"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_matrix_is_every_combination_once() {
        let states = [State::Zeroed, State::Reserved, State::Growing];
        let all = matrix(&states, &[Method::Dsync, Method::Fdatasync], &[true, false], &[4096, 8192], &[1, 2, 4]);
        let once: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), once.len()), (72, 72));
        assert_eq!(all[0].way(), "dsync direct 4k");
    }
}
