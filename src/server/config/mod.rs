//! Configuration: a `zoo.cfg` read as it is, `-D` properties and flags, resolved into what is in effect.

pub mod effective;
pub mod ensemble;
pub mod error;
pub mod given;
pub mod jaas;
pub mod keys;
pub mod member;
pub mod metrics;
pub mod notice;
pub mod place;
pub mod placement;
pub mod properties;
pub mod reader;
pub mod resolve;
pub mod sasl;
pub mod settings;
pub mod table;
pub mod throttles;
pub mod value;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use notice::{Level, Notice};
pub use settings::ServerConfig;

use effective::Effective;
use given::{File, Given};
use resolve::{MyIdFile, Overrides, Resolver};

/// All that a configuration is made of, already read.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The zoo.cfg, if there is one.
    pub file: Option<File<'a>>,
    /// The file that its `dynamicConfigFile` names.
    pub dynamic: Option<File<'a>>,
    /// `-D` in their order.
    pub properties: &'a [(String, String)],
    /// The file that `java.security.auth.login.config` names.
    pub jaas: Option<File<'a>>,
    /// Flags that overwrite both.
    pub overrides: &'a Overrides,
    /// Keys that are not known are errors.
    pub strict: bool,
    /// Asked for host names only, never for addresses.
    pub resolver: Resolver<'a>,
    /// Asked for the file `myid`, once it is known where the data are.
    pub my_id: MyIdFile<'a>,
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

/// Resolves a configuration: the zoo.cfg overwrites `-D` properties, flags overwrite both. Pure but for the resolver and `myid`.
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
    let file = sources.file.map(|f| f.name);
    let mut config = resolve::resolve(&mut given, file, sources.overrides, sources.resolver, sources.my_id)?;
    config.sasl = sasl::resolve(&mut given, sources.jaas)?;
    let effective = effective::effective(&config, &given, sources.overrides);
    Ok(Loaded { config, notices: given.notices, effective })
}
