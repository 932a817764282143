//! Reading: what the keys of a keeper-bench file mean. A key that is not known, or not supported, is an error with its line; one
//! that has no meaning here is a warning.

use std::collections::BTreeMap;

use super::description::{Description, Endpoint, Kind, Node, Number, Request, Source, Sourced, Text};
use super::tree::{Entry, What, Wrong, parse};
use super::znodes;
use crate::bench::load::requests::VALUE_MAX;
use crate::ground::limits::FRAME_MAX_DEFAULT;
use crate::proto::path;

/// Longest name of a znode, bytes.
const NAME_MAX: u64 = 255;

/// Most members of one multi.
const MULTI_MAX: u64 = 10_000;

/// Longest request that is made, bytes.
const REQUEST_MAX: u64 = 16 << 20;

/// Bytes of a request besides its data, at most: its path, and what stands around it.
const AROUND_DATA: u64 = 4096;

/// Workers, requests in flight of one, and sessions, at most.
const COUNT_MAX: u64 = 100_000;

/// A week, seconds.
const SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Length of created names where nothing is said.
const NAME_LENGTH: u64 = 5;

/// Understands the text of a file.
pub fn describe(text: &str) -> Result<Description, Wrong> {
    let entries = parse(text)?;
    let mut told = Description {
        concurrency: 1,
        pipeline_depth: 1,
        iterations: None,
        timelimit: None,
        warmup: 0.0,
        continue_on_error: false,
        seed: None,
        endpoints: Vec::new(),
        setup: Vec::new(),
        requests: Vec::new(),
        warnings: Vec::new(),
    };
    let mut seen = Seen::default();
    let mut has_generator = false;
    for entry in &entries {
        seen.once(entry)?;
        match entry.key.as_str() {
            "concurrency" => told.concurrency = entry.integer(1, COUNT_MAX)? as usize,
            "pipeline_depth" => told.pipeline_depth = entry.integer(1, COUNT_MAX)? as usize,
            "iterations" => told.iterations = Some(entry.integer(0, u64::MAX - 1)?).filter(|count| *count > 0),
            "timelimit" => told.timelimit = Some(entry.decimal(0.0, SECONDS_MAX)?).filter(|seconds| *seconds > 0.0),
            "warmup_seconds" => told.warmup = entry.decimal(0.0, 86_400.0)?,
            "continue_on_error" | "continue_on_errors" => told.continue_on_error = entry.truth()?,
            "report_delay" | "delay" => {
                entry.decimal(0.0, f64::MAX)?;
                told.warnings.push(entry.meaningless("progress is told every second"));
            }
            "enable_tracing" => entry.must_be_false("requests carry no OpenTelemetry context")?,
            "use_remove_recursive" => {
                entry.truth()?;
                told.warnings.push(entry.meaningless("what was made is removed by requests that every server knows"));
            }
            "output" => told.warnings.push(entry.meaningless("results go to standard output, and to the file that --json names")),
            "connections" => told.endpoints = connections(entry, &mut told.warnings)?,
            "setup" => set_up(entry, &mut told)?,
            "generator" => {
                has_generator = true;
                generator(entry, &mut told)?;
            }
            _ => return Err(entry.unknown()),
        }
    }
    if !has_generator {
        return Err(Wrong::new(1, "there is no generator, which says what is asked; logs of requests are not replayed"));
    }
    if let (Some(limit), warmup) = (told.timelimit, told.warmup)
        && warmup >= limit
    {
        return Err(Wrong::new(1, format!("a warm-up of {warmup} s leaves nothing of a time limit of {limit} s")));
    }
    znodes::check(&told)?;
    Ok(told)
}

/// Keys that were read in one map.
#[derive(Default)]
struct Seen<'a>(BTreeMap<&'a str, usize>);

impl<'a> Seen<'a> {
    fn once(&mut self, entry: &'a Entry) -> Result<(), Wrong> {
        match self.0.insert(&entry.key, entry.line) {
            Some(first) => Err(Wrong::new(entry.line, format!("{} stands here a second time, first in line {first}", entry.key))),
            None => Ok(()),
        }
    }
}

impl Entry {
    fn wrong(&self, what: impl std::fmt::Display) -> Wrong {
        Wrong::new(self.value.line, format!("{} {what}", self.key))
    }

    fn unknown(&self) -> Wrong {
        Wrong::new(self.line, format!("the key {} is not known here", self.key))
    }

    fn meaningless(&self, why: &str) -> String {
        format!("line {}: {} has no meaning here: {why}", self.line, self.key)
    }

    fn map(&self) -> Result<&[Self], Wrong> {
        match &self.value.what {
            What::Map(entries) => Ok(entries),
            _ => Err(self.wrong("must have keys of its own")),
        }
    }

    fn word(&self) -> Result<&str, Wrong> {
        match &self.value.what {
            What::Text(text) => Ok(text),
            What::Nothing => Err(self.wrong("must say something")),
            What::Map(_) => Err(self.wrong("must be one value, and no map")),
        }
    }

    fn integer(&self, least: u64, largest: u64) -> Result<u64, Wrong> {
        let word = self.word()?;
        let number = word.parse().ok().filter(|number| (least..=largest).contains(number));
        number.ok_or_else(|| self.wrong(format_args!("must be a whole number from {least} to {largest}, not {}", short(word))))
    }

    fn decimal(&self, least: f64, largest: f64) -> Result<f64, Wrong> {
        let word = self.word()?;
        let number = word.parse().ok().filter(|number| (least..=largest).contains(number));
        let range = || if largest == f64::MAX { format!("from {least} on") } else { format!("from {least} to {largest}") };
        number.ok_or_else(|| self.wrong(format_args!("must be a number {}, not {}", range(), short(word))))
    }

    fn truth(&self) -> Result<bool, Wrong> {
        let word = self.word()?;
        match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(self.wrong(format_args!("must be true or false, not {}", short(word)))),
        }
    }

    fn must_be_false(&self, why: &str) -> Result<(), Wrong> {
        if self.truth()? { Err(Wrong::new(self.line, format!("{} is not supported: {why}", self.key))) } else { Ok(()) }
    }

    /// A number, or a map of `min_value` and `max_value`.
    fn number(&self, least: u64, largest: u64) -> Result<Number, Wrong> {
        let What::Map(entries) = &self.value.what else { return self.integer(least, largest).map(Number::Fixed) };
        let (mut low, mut high) = (None, None);
        let mut seen = Seen::default();
        for entry in entries {
            seen.once(entry)?;
            match entry.key.as_str() {
                "min_value" => low = Some(entry.integer(least, largest)?),
                "max_value" => high = Some(entry.integer(least, largest)?),
                _ => return Err(entry.unknown()),
            }
        }
        match (low, high) {
            (Some(low), Some(high)) if low < high => Ok(Number::Between(low, high)),
            (Some(low), Some(high)) => Err(self.wrong(format_args!("is a range from {low} to {high}, which is none"))),
            _ => Err(self.wrong("must be a number, or have min_value and max_value")),
        }
    }

    /// A text, or a map of `random_string` with its `size`.
    fn text(&self, least: u64, largest: u64) -> Result<Text, Wrong> {
        match &self.value.what {
            What::Nothing => Ok(Text::Fixed(String::new())),
            What::Text(text) if text.len() as u64 > largest => {
                Err(self.wrong(format_args!("has {} bytes, more than {largest}", text.len())))
            }
            What::Text(text) => Ok(Text::Fixed(text.clone())),
            What::Map(entries) => match entries.as_slice() {
                [random] if random.key == "random_string" => match random.map()? {
                    [size] if size.key == "size" => size.number(least, largest).map(Text::Random),
                    _ => Err(random.wrong("must have a size, and nothing else")),
                },
                _ => Err(self.wrong("must be a text, or have a random_string and nothing else")),
            },
        }
    }

    fn absolute(&self) -> Result<String, Wrong> {
        let word = self.word()?;
        let bare = word.trim_end_matches('/');
        if word.starts_with('/') && (bare.is_empty() || path::is_valid(bare)) {
            Ok(bare.to_owned())
        } else {
            Err(self.wrong(format_args!("must be a path from the root, not {}", short(word))))
        }
    }

    fn sources(&self, all: &mut Vec<Sourced>) -> Result<(), Wrong> {
        let What::Map(entries) = &self.value.what else {
            all.push(Sourced { line: self.value.line, source: Source::Path(self.absolute()?) });
            return Ok(());
        };
        if entries.is_empty() {
            return Err(self.wrong("must say something"));
        }
        for entry in entries {
            let source = match entry.key.as_str() {
                "children_of" => Source::ChildrenOf(entry.absolute()?),
                "tagged" => Source::Tagged(entry.word()?.to_owned()),
                _ => return Err(entry.unknown()),
            };
            all.push(Sourced { line: entry.line, source });
        }
        Ok(())
    }
}

/// What a message shows of a word: messages are one line, whatever the file holds.
fn short(word: &str) -> String {
    let mut shown: String = word.chars().take(40).flat_map(char::escape_debug).collect();
    if word.chars().nth(40).is_some() {
        shown += "...";
    }
    format!("\"{shown}\"")
}

fn connections(connections: &Entry, warnings: &mut Vec<String>) -> Result<Vec<Endpoint>, Wrong> {
    let entries = connections.map()?;
    let mut endpoints = Vec::new();
    let mut seen = Seen::default();
    let mut timeout = None;
    for entry in entries {
        // keeper-bench takes whatever begins so; a repeated key has a number behind it in its eyes.
        if is_host(&entry.key) {
            endpoints.push(Endpoint { host: host(entry)?, sessions: 1, session_timeout_ms: None });
        } else if is_connection(&entry.key) {
            endpoints.push(connection(entry, warnings)?);
        } else {
            seen.once(entry)?;
            if !setting(entry, &mut timeout, warnings)? {
                return Err(entry.unknown());
            }
        }
    }
    for endpoint in &mut endpoints {
        endpoint.session_timeout_ms = endpoint.session_timeout_ms.or(timeout);
    }
    if endpoints.iter().map(|endpoint| endpoint.sessions as u64).sum::<u64>() > COUNT_MAX {
        return Err(connections.wrong(format_args!("has more than {COUNT_MAX} sessions")));
    }
    Ok(endpoints)
}

fn is_host(key: &str) -> bool {
    key.starts_with("host")
}

fn is_connection(key: &str) -> bool {
    key.starts_with("connection") && key != "connection_timeout_ms"
}

fn connection(connection: &Entry, warnings: &mut Vec<String>) -> Result<Endpoint, Wrong> {
    let mut seen = Seen::default();
    let (mut server, mut sessions, mut timeout) = (None, 1, None);
    for entry in connection.map()? {
        seen.once(entry)?;
        match entry.key.as_str() {
            "host" => server = Some(host(entry)?),
            "sessions" => sessions = entry.integer(1, COUNT_MAX)? as usize,
            _ if setting(entry, &mut timeout, warnings)? => {}
            _ => return Err(entry.unknown()),
        }
    }
    let host = server.ok_or_else(|| Wrong::new(connection.line, format!("{} has no host", connection.key)))?;
    Ok(Endpoint { host, sessions, session_timeout_ms: timeout })
}

/// A setting of connections; `false` where the key is none.
fn setting(entry: &Entry, timeout: &mut Option<i32>, warnings: &mut Vec<String>) -> Result<bool, Wrong> {
    match entry.key.as_str() {
        "secure" => entry.must_be_false("connections are plain TCP")?,
        "use_compression" => entry.must_be_false("it belongs to ClickHouse Keeper alone")?,
        "use_xid_64" => entry.must_be_false("it belongs to ClickHouse Keeper alone")?,
        "session_timeout_ms" => *timeout = Some(entry.integer(1, i32::MAX as u64)? as i32),
        "operation_timeout_ms" => {
            entry.integer(0, i32::MAX as u64)?;
            warnings.push(entry.meaningless("no request is given up, its latency counts"));
        }
        "connection_timeout_ms" => {
            entry.integer(0, i32::MAX as u64)?;
            warnings.push(entry.meaningless("a server may take 10 s to grant a session"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn host(entry: &Entry) -> Result<String, Wrong> {
    let word = entry.word()?;
    if word.contains("://") {
        return Err(entry.wrong(format_args!("must be host:port, connections are plain TCP, not {}", short(word))));
    }
    let port = word.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    let is_good = port.is_some_and(|port| port > 0) && word.chars().all(|letter| letter.is_ascii_graphic());
    if is_good { Ok(word.to_owned()) } else { Err(entry.wrong(format_args!("must be host:port, not {}", short(word)))) }
}

/// The setup, which older files have in the generator and newer ones beside it.
fn set_up(setup: &Entry, told: &mut Description) -> Result<(), Wrong> {
    if !told.setup.is_empty() {
        return Err(Wrong::new(setup.line, "there is a setup in the generator and one outside of it"));
    }
    if setup.value.what != What::Nothing {
        let nodes = setup.map()?.iter();
        let nodes = nodes.map(|entry| if entry.key.starts_with("node") { node(entry, true) } else { Err(entry.unknown()) });
        told.setup = nodes.collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn node(node: &Entry, is_root: bool) -> Result<Node, Wrong> {
    let mut seen = Seen::default();
    let (mut name, mut data, mut repeat, mut tag, mut children) = (None, Text::Fixed(String::new()), 1, None, Vec::new());
    for entry in node.map()? {
        if entry.key.starts_with("node") {
            children.push(self::node(entry, false)?);
            continue;
        }
        seen.once(entry)?;
        match entry.key.as_str() {
            "name" => name = Some(self::name(entry, is_root)?),
            "data" => data = entry.text(0, VALUE_MAX as u64)?,
            "repeat" => repeat = entry.integer(1, znodes::NODES_MAX)?,
            "tag" => tag = Some(entry.word()?.to_owned()),
            _ => return Err(entry.unknown()),
        }
    }
    let name = name.ok_or_else(|| Wrong::new(node.line, "this node has no name"))?;
    if repeat > 1 && matches!(name, Text::Fixed(_)) {
        return Err(Wrong::new(node.line, "this node is repeated, but its name is not random"));
    }
    Ok(Node { line: node.line, name, data, repeat, tag, children })
}

/// A root's name may begin with '/', as keeper-bench joins it to one.
fn name(entry: &Entry, is_root: bool) -> Result<Text, Wrong> {
    match entry.text(1, NAME_MAX)? {
        Text::Fixed(word) => {
            let bare = word.strip_prefix('/').filter(|_| is_root).unwrap_or(&word);
            let is_good = !bare.is_empty() && !bare.contains('/') && path::is_valid(&format!("/{bare}"));
            if is_good {
                Ok(Text::Fixed(bare.to_owned()))
            } else {
                Err(entry.wrong(format_args!("is no name of a znode: {}", short(&word))))
            }
        }
        random => Ok(random),
    }
}

fn generator(generator: &Entry, told: &mut Description) -> Result<(), Wrong> {
    let mut seen = Seen::default();
    let mut all = None;
    for entry in generator.map()? {
        seen.once(entry)?;
        match entry.key.as_str() {
            "seed" => told.seed = Some(entry.integer(0, u64::MAX)?),
            "setup" => set_up(entry, told)?,
            "requests" => all = Some(entry),
            _ => return Err(entry.unknown()),
        }
    }
    let all = all.ok_or_else(|| generator.wrong("has no requests"))?;
    told.requests = requests(all, all.map()?, &[])?;
    for request in &told.requests {
        let bytes = longest(request);
        if bytes > REQUEST_MAX {
            return Err(Wrong::new(request.line, format!("this request may have {bytes} bytes, more than {REQUEST_MAX}")));
        }
        if bytes > FRAME_MAX_DEFAULT as u64 + AROUND_DATA {
            let warning = "this request may be longer than the 1 MiB that servers take unless they are told to (jute.maxbuffer)";
            told.warnings.push(format!("line {}: {warning}", request.line));
        }
    }
    Ok(())
}

/// Bytes of a request, at most, as far as they are many.
fn longest(request: &Request) -> u64 {
    let of = |data: &Text| match data {
        Text::Fixed(text) => text.len() as u64,
        Text::Random(size) => size.largest(),
    };
    match &request.kind {
        Kind::Create { data, .. } | Kind::Set { data, .. } => of(data) + 512,
        Kind::Get { .. } | Kind::List { .. } => 512,
        Kind::Multi { size: Some(size), members } => size.largest() * members.iter().map(longest).max().unwrap_or(0),
        Kind::Multi { size: None, members } => members.iter().map(longest).sum(),
    }
}

/// The requests among the entries of a map; `besides` are keys that its owner reads.
fn requests(owner: &Entry, entries: &[Entry], besides: &[&str]) -> Result<Vec<Request>, Wrong> {
    let is_in_multi = !besides.is_empty();
    let mut all = Vec::new();
    for entry in entries.iter().filter(|entry| !besides.contains(&entry.key.as_str())) {
        let key = entry.key.as_str();
        // keeper-bench takes whatever begins with the name of a request.
        let Some(kind) = ["create", "set", "get", "list", "multi"].into_iter().find(|kind| key.starts_with(kind)) else {
            return Err(entry.unknown());
        };
        if kind == "multi" && is_in_multi {
            return Err(Wrong::new(entry.line, "a multi in a multi is not supported"));
        }
        all.push(request(entry, kind)?);
    }
    if all.is_empty() {
        return Err(owner.wrong("names no request: create, set, get, list or multi"));
    }
    if all.iter().map(|request| u128::from(request.weight)).sum::<u128>() > u128::from(u32::MAX) {
        return Err(owner.wrong(format_args!("has weights of more than {} together", u32::MAX)));
    }
    Ok(all)
}

fn request(owner: &Entry, kind: &str) -> Result<Request, Wrong> {
    let entries = owner.map()?;
    let is_multi = kind == "multi";
    let mut seen = Seen::default();
    let (mut weight, mut data, mut paths, mut size) = (1, None, Vec::new(), None);
    let (mut name_length, mut remove_factor, mut tag, mut watch) = (Number::Fixed(NAME_LENGTH), 0.0, None, 0.0);
    for entry in entries {
        if entry.key.starts_with("path") && !is_multi {
            entry.sources(&mut paths)?;
            continue;
        }
        match (kind, entry.key.as_str()) {
            (_, "weight") => weight = entry.integer(1, u64::from(u32::MAX))?,
            ("multi", "size") => size = Some(entry.number(1, MULTI_MAX)?),
            // Members.
            ("multi", _) => continue,
            ("create" | "set", "data") => data = Some(entry.text(0, VALUE_MAX as u64)?),
            ("create", "name_length") => name_length = entry.number(1, NAME_MAX)?,
            ("create", "remove_factor") => remove_factor = entry.decimal(0.0, 1.0)?,
            ("create", "tag") => tag = Some(entry.word()?.to_owned()),
            ("get" | "list", "watch_probability") => watch = entry.decimal(0.0, 1.0)?,
            _ => return Err(entry.unknown()),
        }
        seen.once(entry)?;
    }
    if paths.is_empty() && !is_multi {
        return Err(Wrong::new(owner.line, format!("{} has no path", owner.key)));
    }
    let kind = match kind {
        "create" => {
            let data = data.unwrap_or_else(|| Text::Fixed(String::new()));
            Kind::Create { paths, name_length, data, remove_factor, tag }
        }
        "set" => {
            let data = data.ok_or_else(|| Wrong::new(owner.line, format!("{} has no data", owner.key)))?;
            Kind::Set { paths, data }
        }
        "get" => Kind::Get { paths, watch },
        "list" => Kind::List { paths, watch },
        _ => {
            let members = requests(owner, entries, &["weight", "size"])?;
            if let Some(other) = members.iter().find(|member| member.kind.is_read() != members[0].kind.is_read()) {
                return Err(Wrong::new(
                    other.line,
                    "a multi is either of creates and sets or of gets and lists, this one mixes them",
                ));
            }
            if let Some(watched) = members
                .iter()
                .find(|member| matches!(member.kind, Kind::Get { watch, .. } | Kind::List { watch, .. } if watch > 0.0))
            {
                return Err(Wrong::new(
                    watched.line,
                    "watch_probability is not supported in a multi: its reads leave no watches",
                ));
            }
            Kind::Multi { size, members }
        }
    };
    Ok(Request { line: owner.line, weight, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: &str = "setup: {node: {name: a, node: {name: b}}, node: {name: e}}\n";

    fn wrong(text: &str) -> String {
        describe(text).map_or_else(|wrong| wrong.to_string(), |told| format!("{told:?}"))
    }

    fn requests(text: &str) -> String {
        wrong(&format!("{SETUP}generator:\n  requests:\n{text}"))
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_line() {
        for (text, words) in [
            ("concurrency: 0\n", "line 1: concurrency must be a whole number from 1 to 100000, not \"0\""),
            ("concurrency: many\n", "line 1: concurrency must be a whole number from 1 to 100000, not \"many\""),
            ("concurrency:\n  a: 1\n", "line 2: concurrency must be one value, and no map"),
            ("concurrency:\n", "line 1: concurrency must say something"),
            ("iterations: 1\niterations: 2\n", "line 2: iterations stands here a second time, first in line 1"),
            ("timelimit: -1\n", "line 1: timelimit must be a number from 0 to 604800, not \"-1\""),
            ("timelimit: nan\n", "line 1: timelimit must be a number from 0 to 604800, not \"nan\""),
            ("continue_on_error: maybe\n", "line 1: continue_on_error must be true or false, not \"maybe\""),
            ("enable_tracing: true\n", "line 1: enable_tracing is not supported: requests carry no OpenTelemetry context"),
            ("connections:\n  secure: true\n", "line 2: secure is not supported: connections are plain TCP"),
            ("connections:\n  host: nowhere\n", "line 2: host must be host:port, not \"nowhere\""),
            (
                "connections:\n  host: secure://a:1\n",
                "line 2: host must be host:port, connections are plain TCP, not \"secure://a:1\"",
            ),
            ("connections:\n  connection:\n    sessions: 2\n", "line 2: connection has no host"),
            (
                "connections:\n  connection: {host: 'a:1', sessions: 100001}\n",
                "line 2: sessions must be a whole number from 1 to 100000",
            ),
            ("setup:\n  nodes: {name: a}\n  knot: 1\n", "line 3: the key knot is not known here"),
            ("setup:\n  node: {data: a}\n", "line 2: this node has no name"),
            ("setup:\n  node: {name: a/b}\n", "line 2: name is no name of a znode: \"a/b\""),
            ("setup:\n  node: {name: a, repeat: 2}\n", "line 2: this node is repeated, but its name is not random"),
            (
                "setup: {node: {name: a}}\ngenerator: {setup: {}}\n",
                "line 2: there is a setup in the generator and one outside of it",
            ),
            (
                "setup: {node: {name: a}}\n",
                "line 1: there is no generator, which says what is asked; logs of requests are not replayed",
            ),
            ("generator:\n  seed: 1\n", "line 2: generator has no requests"),
            (
                "timelimit: 1\nwarmup_seconds: 1\ngenerator: {requests: {list: {path: /}}}\n",
                "a warm-up of 1 s leaves nothing of a time limit of 1 s",
            ),
        ] {
            let told = wrong(text);
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn requests_that_cannot_be_are_told_with_their_line() {
        for (text, words) in [
            ("    touch: {path: /a}\n", "line 4: the key touch is not known here"),
            ("    get: {path: a}\n", "line 4: path must be a path from the root, not \"a\""),
            ("    get:\n      path: /a//b\n", "line 5: path must be a path from the root, not \"/a//b\""),
            ("    get: {}\n", "line 4: get has no path"),
            ("    get: {path: []}\n", "line 4: get has no path"),
            ("    get: {path: /x}\n", "line 4: the setup makes no /x"),
            ("    get: {path: /a/b/c}\n", "line 4: the setup makes no /a/b/c"),
            ("    get: {path: {children_of: /e}}\n", "line 4: /e has no children"),
            ("    get: {path: {tagged: t}}\n", "line 4: no node of the setup and no create has the tag t"),
            ("    get: {path: {random_of: /a}}\n", "line 4: the key random_of is not known here"),
            ("    get: {path: /a, weight: 0}\n", "line 4: weight must be a whole number from 1 to 4294967295, not \"0\""),
            ("    get: {path: /a, data: x}\n", "line 4: the key data is not known here"),
            ("    set: {path: /a}\n", "line 4: set has no data"),
            ("    set: {path: /a, data: {size: 1}}\n", "line 4: data must be a text, or have a random_string and nothing else"),
            ("    set: {path: /a, data: {random_string: 5}}\n", "line 4: random_string must have keys of its own"),
            (
                "    set: {path: /a, data: {random_string: {size: 1048577}}}\n",
                "line 4: size must be a whole number from 0 to 1048576",
            ),
            (
                "    set: {path: /a, data: {random_string: {size: {min_value: 2, max_value: 2}}}}\n",
                "line 4: size is a range from 2 to 2, which is none",
            ),
            (
                "    set: {path: /a, data: {random_string: {size: {min_value: 2}}}}\n",
                "line 4: size must be a number, or have min_value and max_value",
            ),
            ("    create: {path: /a, remove_factor: 1.5}\n", "line 4: remove_factor must be a number from 0 to 1, not \"1.5\""),
            ("    create: {path: /a, name_length: 0}\n", "line 4: name_length must be a whole number from 1 to 255, not \"0\""),
            ("    create: {path: /a, acls: open}\n", "line 4: the key acls is not known here"),
            (
                "    create: {path: /a, tag: t}\n    get: {path: {children_of: /a}}\n",
                "line 4: creates here have the tag t, but line 5 draws",
            ),
            ("    multi: {size: 2}\n", "line 4: multi names no request: create, set, get, list or multi"),
            ("    multi: {size: 10001, get: {path: /a}}\n", "line 4: size must be a whole number from 1 to 10000, not \"10001\""),
            ("    multi: {multi: {get: {path: /a}}}\n", "line 4: a multi in a multi is not supported"),
            (
                "    multi:\n      get: {path: /a}\n      set: {path: /a, data: x}\n",
                "line 6: a multi is either of creates and sets or of gets and lists",
            ),
            ("    multi: {get: {path: /a, watch_probability: 0.1}}\n", "line 4: watch_probability is not supported in a multi"),
            (
                "    multi: {size: 100, set: {path: /a, data: {random_string: {size: 1000000}}}}\n",
                "line 4: this request may have 100051200 bytes, more than 16777216",
            ),
        ] {
            let told = requests(text);
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn setups_of_absurd_size_are_refused() {
        let random = "name: {random_string: {size: 9}}, repeat: 10000";
        let nodes = format!("{{{random}, node: {{{random}, node: {{{random}}}}}}}");
        let text = format!("setup:\n  node: {nodes}\ngenerator: {{requests: {{list: {{path: /}}}}}}\n");
        assert_eq!(wrong(&text), "line 2: the setup has more than 10000000 nodes");
        let twice = "setup:\n  node: {name: a}\n  node: {name: a}\ngenerator: {requests: {list: {path: /}}}\n";
        assert_eq!(wrong(twice), "line 3: a second node a beside that of line 2");
    }

    #[test]
    fn what_has_no_meaning_here_is_a_warning() {
        let text = "report_delay: 2\nconnections: {host: 'a:1', operation_timeout_ms: 5}\noutput: {stdout: true}\n\
                    setup: {node: {name: a}}\n\
                    generator: {requests: {multi: {size: 2, set: {path: /a, data: {random_string: {size: 999999}}}}}}\n";
        assert_eq!(
            describe(text).unwrap().warnings,
            [
                "line 1: report_delay has no meaning here: progress is told every second",
                "line 2: operation_timeout_ms has no meaning here: no request is given up, its latency counts",
                "line 3: output has no meaning here: results go to standard output, and to the file that --json names",
                "line 5: this request may be longer than the 1 MiB that servers take unless they are told to (jute.maxbuffer)",
            ]
        );
    }
}
