//! Configuration: a `zoo.cfg` read as it is, `-D` properties and flags, resolved into what is in effect.

pub mod effective;
pub mod ensemble;
pub mod error;
pub mod given;
pub mod keys;
pub mod member;
pub mod notice;
pub mod place;
pub mod placement;
pub mod properties;
pub mod reader;
pub mod resolve;
pub mod settings;
pub mod table;
pub mod value;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use notice::{Level, Notice};
pub use settings::ServerConfig;

use crate::ground::ids::ServerId;
use effective::Effective;
use given::{File, Given};
use place::Place;
use resolve::{Overrides, Resolver};

/// All that a configuration is made of, already read.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The zoo.cfg, if there is one.
    pub file: Option<File<'a>>,
    /// The file that its `dynamicConfigFile` names.
    pub dynamic: Option<File<'a>>,
    /// `-D` in their order.
    pub properties: &'a [(String, String)],
    /// Flags that overwrite both.
    pub overrides: &'a Overrides,
    /// Keys that are not known are errors.
    pub strict: bool,
    /// Asked for host names only, never for addresses.
    pub resolver: Resolver<'a>,
}

/// A configuration that can be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What is in effect.
    pub config: ServerConfig,
    /// What the operator should hear.
    pub notices: Vec<Notice>,
    /// What is in effect and where it comes from, key by key.
    pub effective: Vec<Effective>,
}

/// Resolves a configuration: the zoo.cfg overwrites `-D` properties, flags overwrite both. Pure but for the resolver.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
    let mut given = Given::new(sources.strict);
    given.properties(sources.properties)?;
    if let Some(file) = sources.file {
        given.file(file)?;
    }
    if let Some(dynamic) = sources.dynamic {
        given.dynamic_file(dynamic)?;
    }
    given.check()?;
    let config = resolve::resolve(&mut given, sources.file.map(|f| f.name), sources.overrides, sources.resolver)?;
    let effective = effective::effective(&config, &given, sources.overrides);
    Ok(Loaded { config, notices: given.notices, effective })
}

impl Loaded {
    /// Takes the content of the file `myid`. Anything but a number is an error, as in ZooKeeper; a number that no server of
    /// an ensemble can have means nothing to a server alone.
    pub fn my_id(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let place = Place::File(name.to_owned());
        let line = text.lines().next().unwrap_or_default().trim();
        let Ok(number) = line.parse::<i64>() else {
            let (value, expected) = (value::quoted(line), "expected the number of this server, 1 to 255".to_owned());
            return Err(ConfigError::Value { place, key: "myid".to_owned(), value, expected });
        };
        match u8::try_from(number) {
            Ok(id) if id > 0 => self.config.my_id = ServerId(id),
            _ => self
                .notices
                .push(Notice::warn(place, format!("myid {number} is not from 1 to 255 (no effect on a server alone)"))),
        }
        Ok(())
    }
}
