//! Given: what files and system properties set, one value a key, with what the operator should hear about each.

use super::error::ConfigError;
use super::keys::{self, Key, Kind};
use super::notice::Notice;
use super::place::Place;
use super::properties;
use super::value::{Value, quoted};
use std::collections::BTreeMap;

/// One setting.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its row of the table.
    pub key: &'static Key,
    /// Its text, trimmed.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// A file that has been read.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// As the operator knows it.
    pub name: &'a str,
    /// All of it.
    pub text: &'a str,
}

/// Every known key that was set, under the name it was set by (`server.1`, not `server.N`).
#[derive(Clone, Debug, Default)]
pub struct Given {
    items: BTreeMap<String, Item>,
    strict: bool,
    /// What the operator should hear, in the order of its discovery.
    pub notices: Vec<Notice>,
}

impl Given {
    /// Nothing yet. With `strict`, a key that is not known is an error.
    #[must_use]
    pub fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// Takes `-D` properties, the last of a name counting. Files come after them, because they overwrite them.
    pub fn properties(&mut self, properties: &[(String, String)]) -> Result<(), ConfigError> {
        let mut java = Vec::new();
        for (name, text) in properties {
            let place = Place::Property(name.clone());
            let short = name.strip_prefix("zookeeper.").or_else(|| name.strip_prefix("ringkeeper."));
            let plain = short.unwrap_or(name);
            match (keys::find(plain), short) {
                (Some(key), Some(_)) if key.in_file() => self.set(key, plain, text, place),
                (Some(key), None) if key.bare() => self.set(key, plain, text, place),
                (Some(_), Some(_)) => {
                    self.unknown(place, format!("{plain} is a system property under its own name: write -D{plain}=..."))?;
                }
                (Some(key), None) => {
                    let prefix = if key.ours { "ringkeeper" } else { "zookeeper" };
                    self.unknown(place, format!("unknown system property {plain:?}; did you mean -D{prefix}.{plain}?"))?;
                }
                (None, None) if keys::is_java(plain) => java.push(plain),
                (None, _) => self.unknown(place, misspelt(plain))?,
            }
        }
        if !java.is_empty() {
            let text = format!("system properties of the Java machine, which is not here, have no effect: {}", java.join(", "));
            self.notices.push(Notice::info(Place::Command, text));
        }
        Ok(())
    }

    /// Takes a zoo.cfg.
    pub fn file(&mut self, file: File<'_>) -> Result<(), ConfigError> {
        for (property, place) in read(file)? {
            let name = property.key.as_str();
            let plain = name.strip_prefix("ringkeeper.").filter(|n| keys::find(n).is_some_and(|k| k.ours)).unwrap_or(name);
            match keys::find(plain) {
                Some(key) if key.in_file() => self.set(key, plain, &property.value, place),
                Some(key) => {
                    let name = key.name;
                    self.unknown(
                        place,
                        format!(
                            "{name} is a system property only, in a zoo.cfg it has no effect, as in ZooKeeper: use -D{name}=..."
                        ),
                    )?;
                }
                None => match name.strip_prefix("zookeeper.").filter(|n| keys::find(n).is_some()) {
                    Some(short) => self.unknown(place, format!("unknown key {name:?}; in a zoo.cfg it is written {short}"))?,
                    None => self.unknown(place, misspelt(name))?,
                },
            }
        }
        Ok(())
    }

    /// Takes the file that `dynamicConfigFile` names: the servers and nothing else.
    pub fn dynamic_file(&mut self, file: File<'_>) -> Result<(), ConfigError> {
        if let Some(item) = self.family("server.N").next() {
            let what = format!("{} may not be here when dynamicConfigFile is set: keep the servers in one of the files", item.0);
            return Err(ConfigError::Conflict { place: item.1.place.clone(), what });
        }
        for (property, place) in read(file)? {
            let name = property.key.as_str();
            match keys::find(name).filter(|k| matches!(k.name, "server.N" | "group.N" | "weight.N")) {
                Some(key) => self.set(key, name, &property.value, place),
                None => {
                    let what = format!(
                        "{name:?} may not be in a dynamic file, which holds server.N, group.N and weight.N only: move it to zoo.cfg"
                    );
                    return Err(ConfigError::Conflict { place, what });
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &'static Key, name: &str, text: &str, place: Place) {
        let item = Item { key, text: text.trim().to_owned(), place: place.clone() };
        let Some(old) = self.items.insert(name.to_owned(), item) else { return };
        self.notices.push(match (&old.place, &place) {
            (Place::Property(_), Place::Line(..)) => Notice::info(place, format!("{name} overwrites {}", old.place)),
            _ => Notice::warn(place, format!("{name} is set again, this one counts and not {}", old.place)),
        });
    }

    fn unknown(&mut self, place: Place, text: String) -> Result<(), ConfigError> {
        if self.strict {
            return Err(ConfigError::Unknown { place, text });
        }
        self.notices.push(Notice::warn(place, format!("{text} (no effect)")));
        Ok(())
    }

    /// Checks every value against its type and every refused key against its default, and tells of keys without effect.
    pub fn check(&mut self) -> Result<(), ConfigError> {
        for (name, item) in &self.items {
            value(name, item)?;
            let told = match item.key.kind {
                Kind::Works => continue,
                Kind::Refused(reason) if !item.text.eq_ignore_ascii_case(item.key.default) => {
                    return Err(ConfigError::Refused { place: item.place.clone(), key: name.clone(), reason: reason.to_owned() });
                }
                Kind::Refused(_) => format!("{name} has no effect yet; what it says is how things are"),
                Kind::NoEffect(why) => format!("{name} has no effect here: {why}"),
                Kind::Later(feature) => format!("{name} has no effect yet: it belongs to {feature}, which comes later"),
            };
            self.notices.push(Notice::info(item.place.clone(), told));
        }
        Ok(())
    }

    /// The setting of a key, if it was set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    /// The settings of a family, such as `server.N`, by name.
    pub fn family(&self, row: &'static str) -> impl Iterator<Item = (&str, &Item)> {
        self.items.iter().filter(move |(_, item)| item.key.name == row).map(|(name, item)| (name.as_str(), item))
    }

    fn read(&self, name: &'static str) -> Result<Value, ConfigError> {
        if let Some(item) = self.get(name) {
            return value(name, item);
        }
        let key = keys::find(name).expect("resolved keys are in the table");
        Ok(key.value.read(key.default).expect("a default is a value of its key"))
    }

    /// A number, or its default.
    pub fn int(&self, name: &'static str) -> Result<i64, ConfigError> {
        match self.read(name)? {
            Value::Int(n) => Ok(n),
            other => unreachable!("{name} is a number in the table, not {other:?}"),
        }
    }

    /// A truth value, or its default.
    pub fn bool(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.read(name)? {
            Value::Bool(b) => Ok(b),
            other => unreachable!("{name} is true or false in the table, not {other:?}"),
        }
    }

    /// A text, or its default.
    pub fn text(&self, name: &'static str) -> Result<String, ConfigError> {
        match self.read(name)? {
            Value::Text(t) => Ok(t),
            other => unreachable!("{name} is a text in the table, not {other:?}"),
        }
    }
}

fn value(name: &str, item: &Item) -> Result<Value, ConfigError> {
    item.key.value.read(&item.text).map_err(|expected| ConfigError::Value {
        place: item.place.clone(),
        key: name.to_owned(),
        value: quoted(&item.text),
        expected: expected.to_string(),
    })
}

fn read(file: File<'_>) -> Result<impl Iterator<Item = (properties::Property, Place)>, ConfigError> {
    let name = file.name.to_owned();
    match properties::parse(file.text) {
        Ok(all) => Ok(all.into_iter().map(move |p| {
            let place = Place::Line(name.clone(), p.line);
            (p, place)
        })),
        Err(e) => Err(ConfigError::Syntax { place: Place::Line(name, e.line), error: e.to_string() }),
    }
}

/// Quotes a name that nobody knows, shortened, with the one it may have been meant to be.
fn misspelt(name: &str) -> String {
    let shown = quoted(name);
    match keys::nearest(name) {
        Some(known) => format!("unknown key {shown:?}; did you mean {known}?"),
        None => format!("unknown key {shown:?}; no known key is near it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn props(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn lines(given: &Given) -> Vec<String> {
        given.notices.iter().map(ToString::to_string).collect()
    }

    fn file(text: &str) -> File<'_> {
        File { name: "zoo.cfg", text }
    }

    #[test]
    fn a_file_overwrites_a_property_and_the_last_of_a_kind_counts() {
        let mut given = Given::new(false);
        given
            .properties(&props(&[("zookeeper.tickTime", "1"), ("ringkeeper.tickTime", "2"), ("zookeeper.maxCnxns", "7")]))
            .unwrap();
        assert_eq!(given.int("tickTime"), Ok(2));
        given.file(file("tickTime=3\ntickTime=4")).unwrap();
        assert_eq!((given.int("tickTime"), given.int("maxCnxns"), given.int("maxClientCnxns")), (Ok(4), Ok(7), Ok(60)));
        assert_eq!(
            lines(&given),
            [
                "-Dringkeeper.tickTime: tickTime is set again, this one counts and not -Dzookeeper.tickTime",
                "zoo.cfg:1: tickTime overwrites -Dringkeeper.tickTime",
                "zoo.cfg:2: tickTime is set again, this one counts and not zoo.cfg:1",
            ]
        );
    }

    #[test]
    fn properties_under_their_own_name() {
        let mut given = Given::new(true);
        given
            .properties(&props(&[
                ("jute.maxbuffer", "4096"),
                ("readonlymode.enabled", "true"),
                ("fsync.warningthresholdms", "5"),
                ("znode.container.maxPerMinute", "1"),
            ]))
            .unwrap();
        given.check().unwrap();
        assert_eq!((given.int("jute.maxbuffer"), given.bool("readonlymode.enabled")), (Ok(4096), Ok(true)));
        assert_eq!((given.int("fsync.warningthresholdms"), given.int("znode.container.maxPerMinute")), (Ok(5), Ok(1)));
        assert_eq!(given.notices.len(), 0, "{:?}", given.notices);
    }

    #[test]
    fn java_properties_share_one_line() {
        let mut given = Given::new(true);
        given
            .properties(&props(&[("file.encoding", "UTF-8"), ("java.awt.headless", "true"), ("log4j.configuration", "file:x")]))
            .unwrap();
        assert_eq!(
            lines(&given),
            [
                "command line: system properties of the Java machine, which is not here, have no effect: file.encoding, java.awt.headless, log4j.configuration"
            ]
        );
    }

    #[test]
    fn unknown_names_are_told_and_refused_when_strict() {
        let cases = [
            ("", "tickTme=1", "zoo.cfg:1: unknown key \"tickTme\"; did you mean tickTime?"),
            ("", "\nqwertyuiop=1", "zoo.cfg:2: unknown key \"qwertyuiop\"; no known key is near it"),
            ("", "zookeeper.tickTime=1", "zoo.cfg:1: unknown key \"zookeeper.tickTime\"; in a zoo.cfg it is written tickTime"),
            (
                "",
                "jute.maxbuffer=1",
                "zoo.cfg:1: jute.maxbuffer is a system property only, in a zoo.cfg it has no effect, as in ZooKeeper: use -Djute.maxbuffer=...",
            ),
            ("zookeeper.ticktime", "", "-Dzookeeper.ticktime: unknown key \"ticktime\"; did you mean tickTime?"),
            (
                "zookeeper.jute.maxbuffer",
                "",
                "-Dzookeeper.jute.maxbuffer: jute.maxbuffer is a system property under its own name: write -Djute.maxbuffer=...",
            ),
            ("tickTime", "", "-DtickTime: unknown system property \"tickTime\"; did you mean -Dzookeeper.tickTime?"),
            (
                "flush.method",
                "",
                "-Dflush.method: unknown system property \"flush.method\"; did you mean -Dringkeeper.flush.method?",
            ),
            ("jute.maxbufer", "", "-Djute.maxbufer: unknown key \"jute.maxbufer\"; did you mean jute.maxbuffer?"),
        ];
        for (property, text, want) in cases {
            let all = if property.is_empty() { Vec::new() } else { props(&[(property, "1")]) };
            let mut lax = Given::new(false);
            lax.properties(&all).unwrap();
            lax.file(file(text)).unwrap();
            lax.check().unwrap();
            assert_eq!(lines(&lax), [format!("{want} (no effect)")]);
            let mut strict = Given::new(true);
            let error = strict.properties(&all).and_then(|()| strict.file(file(text))).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn our_keys_may_carry_their_prefix_in_a_file() {
        let mut given = Given::new(true);
        given.file(file("ringkeeper.flush.method=fdatasync\nshards=2")).unwrap();
        assert_eq!(given.text("flush.method"), Ok("fdatasync".to_owned()));
        assert_eq!(given.int("shards"), Ok(2));
    }

    #[test]
    fn a_dynamic_file_holds_servers_only() {
        let mut given = Given::new(false);
        given.dynamic_file(File { name: "dyn", text: "server.1=a:1:2;3" }).unwrap();
        assert_eq!(given.family("server.N").map(|(n, _)| n).collect::<Vec<_>>(), ["server.1"]);
        let error = Given::new(false).dynamic_file(File { name: "dyn", text: "version=1" }).unwrap_err();
        assert!(error.to_string().starts_with("dyn:1: \"version\" may not be in a dynamic file"), "{error}");
        let mut both = Given::new(false);
        both.file(file("server.1=a:1:2;3")).unwrap();
        assert!(matches!(both.dynamic_file(File { name: "dyn", text: "" }), Err(ConfigError::Conflict { .. })));
    }
}
