//! Tree: a YAML file as keeper-bench reads one. Keys may repeat in a map, and a list is its key repeated.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Longest file, bytes: thousands of requests fit.
pub const FILE_MAX: usize = 1 << 20;

/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// Values of a file, those that aliases repeat counted each time; longer texts count more.
const WEIGHT_MAX: usize = 200_000;

/// Bytes of text that count as much as one value.
const TEXT_WEIGHT: usize = 32;

/// What is wrong in a file, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Wrong {
    /// Line, from 1 on.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl Wrong {
    /// An error of a line.
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// Line, from 1 on.
    pub line: usize,
    /// The value.
    pub what: What,
}

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Nothing stands there.
    Nothing,
    /// A word, a number, a text.
    Text(String),
    /// Keys with their values, in their order; keys may repeat.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its line, from 1 on.
    pub line: usize,
    /// Its value.
    pub value: Value,
}

/// A value, or a list of them under one key.
#[derive(Clone)]
enum Built {
    One(Value),
    Many { line: usize, items: Vec<Value> },
}

impl Built {
    const fn line(&self) -> usize {
        match self {
            Self::One(value) => value.line,
            Self::Many { line, .. } => *line,
        }
    }
}

/// A map or a list that is not at its end yet.
struct Open {
    line: usize,
    /// 0: none.
    anchor: usize,
    /// Weight of the file before it.
    before: usize,
    inside: Inside,
}

enum Inside {
    Map { entries: Vec<Entry>, key: Option<(String, usize)> },
    List(Vec<Value>),
}

/// Reads the one map that a file is.
pub fn parse(text: &str) -> Result<Vec<Entry>, Wrong> {
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
        return Err(Wrong::new(1, "XML is not supported, write the file as YAML"));
    }
    let mut growing = Growing { open: Vec::new(), anchors: BTreeMap::new(), weight: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text).keep_tags(true).map_while(stop_after_error()) {
        let (event, span) =
            event.map_err(|error| Wrong::new(error.marker().line().max(1), format!("no YAML: {}", error.info())))?;
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(Wrong::new(line, "a second document begins here, a file has one"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                known_tag(line, tag.as_deref())?;
                let before = growing.weight;
                growing.weigh(line, 1 + text.len() / TEXT_WEIGHT)?;
                let is_nothing = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let what = if is_nothing { What::Nothing } else { What::Text(text.into_owned()) };
                growing.put(anchor, before, Built::One(Value { line, what }))?;
            }
            Event::MappingStart(anchor, tag) => {
                known_tag(line, tag.as_deref())?;
                growing.open(line, anchor, Inside::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceStart(anchor, tag) => {
                known_tag(line, tag.as_deref())?;
                growing.open(line, anchor, Inside::List(Vec::new()))?;
            }
            Event::MappingEnd | Event::SequenceEnd => growing.close()?,
            Event::Alias(anchor) => growing.alias(line, anchor)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    match growing.root {
        Some(Value { what: What::Map(entries), .. }) => Ok(entries),
        Some(Value { line, .. }) => Err(Wrong::new(line, "a file is a map of keys and values, this is none")),
        None => Err(Wrong::new(1, "the file is empty")),
    }
}

/// Everything up to the first error and with it: behind it the parser has nothing sensible to say.
fn stop_after_error<T, E>() -> impl FnMut(Result<T, E>) -> Option<Result<T, E>> {
    let mut is_over = false;
    move |event| {
        let goes_on = !is_over;
        is_over |= event.is_err();
        goes_on.then_some(event)
    }
}

fn known_tag(line: usize, tag: Option<&saphyr_parser::Tag>) -> Result<(), Wrong> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err(Wrong::new(line, format!("the tag {}{} is not supported", tag.handle, tag.suffix)))
        }
        _ => Ok(()),
    }
}

struct Growing {
    open: Vec<Open>,
    /// What anchors name, and its weight.
    anchors: BTreeMap<usize, (Built, usize)>,
    weight: usize,
    root: Option<Value>,
}

impl Growing {
    fn weigh(&mut self, line: usize, weight: usize) -> Result<(), Wrong> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX { Err(Wrong::new(line, "the file says too much, aliases counted each time")) } else { Ok(()) }
    }

    fn open(&mut self, line: usize, anchor: usize, inside: Inside) -> Result<(), Wrong> {
        if self.open.len() == DEPTH_MAX {
            return Err(Wrong::new(line, format!("nested deeper than {DEPTH_MAX}")));
        }
        let before = self.weight;
        self.weigh(line, 1)?;
        self.open.push(Open { line, anchor, before, inside });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Wrong> {
        let Some(Open { line, anchor, before, inside }) = self.open.pop() else {
            return Err(Wrong::new(1, "no YAML: an end without a begin"));
        };
        let built = match inside {
            Inside::Map { entries, .. } => Built::One(Value { line, what: What::Map(entries) }),
            Inside::List(items) => Built::Many { line, items },
        };
        self.put(anchor, before, built)
    }

    fn alias(&mut self, line: usize, anchor: usize) -> Result<(), Wrong> {
        let Some((built, weight)) = self.anchors.get(&anchor).cloned() else {
            return Err(Wrong::new(line, "an alias of what it stands in"));
        };
        self.weigh(line, weight)?;
        self.put(0, self.weight, built)
    }

    /// A value is complete: it goes where it stands.
    fn put(&mut self, anchor: usize, before: usize, built: Built) -> Result<(), Wrong> {
        let at = built.line();
        if anchor > 0 {
            let weight = self.weight - before;
            self.weigh(at, weight)?;
            self.anchors.insert(anchor, (built.clone(), weight));
        }
        match (self.open.last_mut().map(|open| &mut open.inside), built) {
            (None, Built::One(value)) => self.root = Some(value),
            (None, Built::Many { line, .. }) => {
                return Err(Wrong::new(line, "a file is a map of keys and values, this is a list"));
            }
            (Some(Inside::List(items)), Built::One(value)) => items.push(value),
            (Some(Inside::List(_)), Built::Many { line, .. }) => {
                return Err(Wrong::new(line, "a list in a list is not supported"));
            }
            (Some(Inside::Map { entries, key }), built) => match (key.take(), built) {
                (None, Built::One(Value { line, what: What::Text(word) })) => {
                    if word == "<<" || word.starts_with('@') {
                        return Err(Wrong::new(line, format!("the key {word} is not supported")));
                    }
                    *key = Some((word, line));
                }
                (None, _) => return Err(Wrong::new(at, "a key must be a word")),
                (Some((key, line)), Built::One(value)) => entries.push(Entry { key, line, value }),
                (Some((key, _)), Built::Many { items, .. }) => {
                    entries.extend(items.into_iter().map(|value| Entry { key: key.clone(), line: value.line, value }));
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        fn show(entries: &[Entry], out: &mut String) {
            for Entry { key, value, .. } in entries {
                match &value.what {
                    What::Nothing => *out += &format!("{key}@{} ", value.line),
                    What::Text(text) => *out += &format!("{key}@{}={text} ", value.line),
                    What::Map(entries) => {
                        *out += &format!("{key}@{}( ", value.line);
                        show(entries, out);
                        *out += ") ";
                    }
                }
            }
        }
        let mut out = String::new();
        match parse(text) {
            Ok(entries) => show(&entries, &mut out),
            Err(wrong) => out = wrong.to_string(),
        }
        out.trim_end().to_owned()
    }

    #[test]
    fn keys_repeat_and_lists_are_repeated_keys() {
        assert_eq!(shown("a:\n  b: 1\n  b: '2'\n  c:\na: {d: ~}\n"), "a@2( b@2=1 b@3=2 c@4 ) a@5( d@5 )");
        assert_eq!(shown("p:\n  - x\n  - q: y\np: z\n"), "p@2=x p@3( q@3=y ) p@4=z");
        assert_eq!(shown("a: &n {b: 1}\nc: *n\nd: &l [1, 2]\ne: *l\n"), "a@1( b@1=1 ) c@1( b@1=1 ) d@3=1 d@3=2 e@3=1 e@3=2");
    }

    #[test]
    fn what_is_no_such_file_is_told_with_its_line() {
        for (text, words) in [
            ("", "line 1: the file is empty"),
            ("- a\n- b\n", "line 1: a file is a map of keys and values, this is a list"),
            ("word\n", "line 1: a file is a map of keys and values, this is none"),
            ("<clickhouse/>", "line 1: XML is not supported, write the file as YAML"),
            ("a: 1\n---\nb: 2\n", "line 2: a second document begins here, a file has one"),
            ("a: 1\nb: [[1]]\n", "line 2: a list in a list is not supported"),
            ("a: 1\n? {b: c}\n: 2\n", "line 2: a key must be a word"),
            ("a: &x\n  b: *x\n", "line 2: an alias of what it stands in"),
            ("a: &x {b: 1}\nc:\n  <<: *x\n", "line 3: the key <<"),
            ("a:\n  '@from_env': HOST\n", "line 2: the key @from_env is not supported"),
            ("a: !include other.yaml\n", "line 1: the tag !include is not supported"),
            ("a: 1\n  b: 2\n", "line 2: no YAML: "),
            ("a: 'open\n", "no YAML: "),
            ("a: *nobody\n", "line 1: no YAML: "),
        ] {
            let shown = shown(text);
            assert!(shown.contains(words), "{text:?}: {shown}");
        }
        let deep = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>();
        assert_eq!(shown(&deep), "line 65: nested deeper than 64");
    }

    #[test]
    fn aliases_of_aliases_do_not_fill_the_memory() {
        let mut bomb = "a0: &a0 {x: word}\n".to_owned();
        for i in 1..30 {
            bomb += &format!("a{i}: &a{i} {{x: *a{0}, y: *a{0}, z: *a{0}}}\n", i - 1);
        }
        assert!(shown(&bomb).ends_with("the file says too much, aliases counted each time"));
        let long = format!("a: &a {}\nb: [{}*a]\n", "x".repeat(100_000), "*a, ".repeat(1000));
        assert!(shown(&long).ends_with("the file says too much, aliases counted each time"));
    }
}
