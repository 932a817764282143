//! Description: what a keeper-bench file says, with its lines.

use crate::bench::load::random::Random;

/// What a file says.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// Workers, each with `pipeline_depth` requests in flight.
    pub concurrency: usize,
    /// Requests in flight of one worker.
    pub pipeline_depth: usize,
    /// Requests in all; `None` is no limit.
    pub iterations: Option<u64>,
    /// Seconds, the warm-up among them; `None` is no limit.
    pub timelimit: Option<f64>,
    /// Seconds before the measurement.
    pub warmup: f64,
    /// Whether the run goes on after an error.
    pub continue_on_error: bool,
    /// Seed of all chance.
    pub seed: Option<u64>,
    /// Where the sessions go.
    pub endpoints: Vec<Endpoint>,
    /// The tree that is made before.
    pub setup: Vec<Node>,
    /// The requests.
    pub requests: Vec<Request>,
    /// What has no meaning here, one line each.
    pub warnings: Vec<String>,
}

/// A server and the sessions on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `host:port`.
    pub host: String,
    /// Sessions.
    pub sessions: usize,
    /// Their timeout, ms, where it is said.
    pub session_timeout_ms: Option<i32>,
}

/// A number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    /// Always this one.
    Fixed(u64),
    /// Any of these, with equal chances.
    Between(u64, u64),
}

impl Number {
    /// The least.
    #[must_use]
    pub const fn least(self) -> u64 {
        match self {
            Self::Fixed(number) | Self::Between(number, _) => number,
        }
    }

    /// The largest.
    #[must_use]
    pub const fn largest(self) -> u64 {
        match self {
            Self::Fixed(number) | Self::Between(_, number) => number,
        }
    }

    /// One of them.
    #[inline]
    pub fn draw(self, random: &mut Random) -> usize {
        let number = match self {
            Self::Fixed(number) => number,
            Self::Between(least, largest) => least + random.below(largest - least + 1),
        };
        number as usize
    }
}

/// A name, or data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    /// Always this one.
    Fixed(String),
    /// Letters and digits, so many of them.
    Random(Number),
}

/// A znode of the setup, or several alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its line.
    pub line: usize,
    /// Its name, without '/'.
    pub name: Text,
    /// Its data.
    pub data: Text,
    /// How many of them; more than one only with random names.
    pub repeat: u64,
    /// The set of paths that it belongs to.
    pub tag: Option<String>,
    /// Its children, made under each of them.
    pub children: Vec<Self>,
}

/// Where paths come from. A path begins with '/' and does not end with one; the root is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// This one.
    Path(String),
    /// Children of this one.
    ChildrenOf(String),
    /// Znodes of the setup, or created ones, with this tag.
    Tagged(String),
}

/// A source and its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sourced {
    /// Its line.
    pub line: usize,
    /// The source.
    pub source: Source,
}

/// A request, or one of a multi.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// Its line.
    pub line: usize,
    /// How often it comes, compared with the others beside it.
    pub weight: u64,
    /// What it asks.
    pub kind: Kind,
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// create, or remove of what was created.
    Create {
        /// Parents.
        paths: Vec<Sourced>,
        /// Length of the names.
        name_length: Number,
        /// Data.
        data: Text,
        /// Part of removes, 0 to 1.
        remove_factor: f64,
        /// The set of paths that created ones go to.
        tag: Option<String>,
    },
    /// setData.
    Set {
        /// Of one of these.
        paths: Vec<Sourced>,
        /// Data.
        data: Text,
    },
    /// getData.
    Get {
        /// Of one of these.
        paths: Vec<Sourced>,
        /// Part of those that leave a watch, 0 to 1.
        watch: f64,
    },
    /// getChildren.
    List {
        /// Of one of these.
        paths: Vec<Sourced>,
        /// Part of those that leave a watch, 0 to 1.
        watch: f64,
    },
    /// Several in one request: all writes, or all reads.
    Multi {
        /// How many, drawn from the members; `None` is one of each.
        size: Option<Number>,
        /// What they are drawn from.
        members: Vec<Request>,
    },
}

impl Kind {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Set { .. } => false,
            Self::Get { .. } | Self::List { .. } => true,
            Self::Multi { members, .. } => members.iter().all(|member| member.kind.is_read()),
        }
    }

    /// Where its paths come from; of a multi, none of its own.
    #[must_use]
    pub fn paths(&self) -> &[Sourced] {
        match self {
            Self::Create { paths, .. } | Self::Set { paths, .. } | Self::Get { paths, .. } | Self::List { paths, .. } => paths,
            Self::Multi { .. } => &[],
        }
    }
}
