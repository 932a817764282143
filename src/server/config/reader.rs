//! Reading: opens the files that a configuration is made of.

use super::error::ConfigError;
use super::given::File;
use super::place::Place;
use super::resolve::Overrides;
use super::{Loaded, Sources, load, properties, sasl};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// The zoo.cfg, if there is one.
    pub config: Option<PathBuf>,
    /// `-D` in their order.
    pub properties: Vec<(String, String)>,
    /// Flags that overwrite both.
    pub overrides: Overrides,
    /// Keys that are not known are errors.
    pub strict: bool,
}

/// A configuration is a page, not a database.
const FILE_MAX: u64 = 1 << 20;

/// Reads the zoo.cfg, the dynamic file that it names and `myid` in the data directory, and resolves them.
pub fn read(request: &Request) -> Result<Loaded, ConfigError> {
    let config = request.config.as_deref().map(|path| text(path).map(|t| (path.display().to_string(), t))).transpose()?;
    let dynamic = dynamic_path(config.as_ref().map_or("", |(_, t)| t))
        .map(|path| text(&path).map(|t| (path.display().to_string(), t)))
        .transpose()?;
    let jaas = jaas_path(&request.properties).map(|path| text(&path).map(|t| (path.display().to_string(), t))).transpose()?;
    load(&Sources {
        file: config.as_ref().map(|(name, text)| File { name, text }),
        dynamic: dynamic.as_ref().map(|(name, text)| File { name, text }),
        properties: &request.properties,
        jaas: jaas.as_ref().map(|(name, text)| File { name, text }),
        overrides: &request.overrides,
        strict: request.strict,
        resolver: &addresses,
        my_id: &|path| if path.is_file() { text(path).map(Some) } else { Ok(None) },
    })
}

/// The last `dynamicConfigFile` of a zoo.cfg. A text that cannot be parsed names none: `load` says what is wrong with it.
fn dynamic_path(config: &str) -> Option<PathBuf> {
    let found = properties::parse(config).ok()?.into_iter().rev().find(|p| p.key == "dynamicConfigFile")?;
    (!found.value.is_empty()).then(|| PathBuf::from(found.value))
}

/// The login configuration that the system properties name, the last one counting. Java takes a URL too, and `==` for one that is
/// to be the only one.
fn jaas_path(properties: &[(String, String)]) -> Option<PathBuf> {
    let (_, value) = properties.iter().rev().find(|(name, _)| name == sasl::JAAS_FILE)?;
    let value = value.trim().trim_start_matches('=');
    let path = value.strip_prefix("file:").map_or(value, |path| path.strip_prefix("//").unwrap_or(path));
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// A file's text: UTF-8, or else Latin-1, in which Java reads properties.
fn text(path: &Path) -> Result<String, ConfigError> {
    let wrong = |error: String| ConfigError::Unreadable { place: Place::File(path.display().to_string()), error };
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > FILE_MAX {
        return Err(wrong(format!("it has {size} bytes, which no configuration needs; is it the right file?")));
    }
    let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect()))
}

fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|a| a.ip()).collect();
    // "localhost" means the same everywhere only if IPv4 comes first.
    all.sort_by_key(|ip| !ip.is_ipv4());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::ServerId;

    fn request(config: PathBuf) -> Request {
        Request { config: Some(config), ..Request::default() }
    }

    #[test]
    fn reads_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let cfg = dir.path().join("zoo.cfg");
        let dynamic = dir.path().join("zoo.cfg.dynamic");
        std::fs::write(&cfg, format!("dataDir={d}\ndynamicConfigFile={}\n", dynamic.display(), d = dir.path().display()))
            .unwrap();
        std::fs::write(&dynamic, "server.3=localhost:2888:3888;127.0.0.1:2182\n").unwrap();
        std::fs::write(dir.path().join("myid"), "3\n").unwrap();
        let loaded = read(&request(cfg)).unwrap();
        assert_eq!(loaded.config.client_addr.to_string(), "127.0.0.1:2182");
        assert_eq!((loaded.config.my_id, loaded.config.session_server_id, loaded.config.conf_server_id), (ServerId(3), 1, 0));
        assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
    }

    #[test]
    fn reads_the_users_of_a_login_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jaas.conf");
        let given = |value: String| Request { properties: vec![(sasl::JAAS_FILE.to_owned(), value)], ..Request::default() };
        std::fs::write(&path, "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_a=\"b\"; };").unwrap();
        for form in ["", "=", "file:", "file://"] {
            let loaded = read(&given(format!("{form}{}", path.display()))).unwrap();
            let users = &loaded.config.sasl.exchange.as_ref().unwrap().users;
            assert_eq!(users.get("a").map(String::as_str), Some("b"), "{form}");
        }
        let error = read(&given("/no/such/file".to_owned())).unwrap_err().to_string();
        assert!(error.contains("/no/such/file: cannot be read"), "{error}");
        std::fs::write(&path, "Server {\n;").unwrap();
        let error = read(&given(path.display().to_string())).unwrap_err().to_string();
        assert!(error.contains("jaas.conf:2: "), "{error}");
    }

    #[test]
    fn files_that_cannot_be_read_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(&request(dir.path().join("none.cfg"))).unwrap_err().to_string();
        assert!(error.contains("none.cfg: cannot be read: No such file"), "{error}");
        let error = read(&request(dir.path().to_path_buf())).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
        let big = dir.path().join("big.cfg");
        std::fs::write(&big, vec![b'\n'; FILE_MAX as usize + 1]).unwrap();
        let error = read(&request(big)).unwrap_err().to_string();
        assert!(error.contains("is it the right file?"), "{error}");
    }

    #[test]
    fn latin_1_is_read_where_it_is_not_utf_8() {
        let dir = tempfile::tempdir().unwrap();
        let cfg = dir.path().join("zoo.cfg");
        std::fs::write(&cfg, b"clientPort=2181\ndataDir=caf\xe9\n").unwrap();
        assert_eq!(read(&request(cfg)).unwrap().config.data_dir, PathBuf::from("café"));
    }

    #[test]
    fn localhost_resolves() {
        assert!(addresses("localhost").unwrap()[0].is_loopback());
    }
}
