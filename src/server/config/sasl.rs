//! Sasl: what a configuration says of proved names, and of what every client must prove.

use super::error::ConfigError;
use super::given::{File, Given};
use super::jaas;
use super::notice::Notice;
use super::place::Place;
use super::resolve::value_error;
use super::settings::Sasl;
use super::value::quoted;
use crate::auth::SaslConfig;
use crate::auth::kerberos::Shortening;
use std::sync::Arc;

/// The system property that names the file with the users.
pub const JAAS_FILE: &str = "java.security.auth.login.config";

/// Classes of `authProvider.N` that are always there.
const ALWAYS: [&str; 2] = ["DigestAuthenticationProvider", "IPAuthenticationProvider"];

/// Resolves the keys. `jaas` is the file that [`JAAS_FILE`] names.
pub fn resolve(given: &mut Given, jaas: Option<File<'_>>) -> Result<Sasl, ConfigError> {
    let acls = has_provider(given);
    let exchange = match jaas {
        Some(file) => exchange(given, file)?,
        None => None,
    };
    let sasl = Sasl {
        exchange: exchange.map(Arc::new),
        acls,
        any_user: given.get("letAnySaslUserDoX").map(|item| item.text.clone()),
        keeps_failed: given.bool("allowSaslFailedClients")?,
        enforced: enforced(given, acls)?,
    };
    warn(given, &sasl);
    Ok(sasl)
}

/// Whether the provider of `sasl` is named. Others than the usual ones are told.
fn has_provider(given: &mut Given) -> bool {
    let mut found = false;
    let mut notices = Vec::new();
    for (name, item) in given.family("authProvider.N").chain(given.family("authProvider.*")) {
        let class = item.text.rsplit('.').next().unwrap_or_default();
        if class == "SASLAuthenticationProvider" {
            found = true;
        } else if !ALWAYS.contains(&class) {
            let text = format!("{name} has no effect yet: {} is a provider that comes later", quoted(&item.text));
            notices.push(Notice::info(item.place.clone(), text));
        }
    }
    given.notices.extend(notices);
    found
}

fn exchange(given: &mut Given, file: File<'_>) -> Result<Option<SaslConfig>, ConfigError> {
    let section = given.text("sasl.serverconfig")?;
    let users = jaas::users(file.text, &section)
        .map_err(|error| ConfigError::Syntax { place: Place::Line(file.name.to_owned(), error.line), error: error.what })?;
    let Some(users) = users else {
        let text = format!("no section {section:?}, so no client can prove a name by SASL");
        given.notices.push(Notice::warn(Place::File(file.name.to_owned()), text));
        return Ok(None);
    };
    let super_users = given.get("superUser").into_iter().chain(given.family("superUser.*").map(|(_, item)| item));
    Ok(Some(SaslConfig {
        users,
        super_password: given.get("SASLAuthenticationProvider.superPassword").map(|item| item.text.clone()),
        super_users: super_users.map(|item| item.text.clone()).collect(),
        shortening: Shortening {
            host: given.bool("kerberos.removeHostFromPrincipal")?,
            realm: given.bool("kerberos.removeRealmFromPrincipal")?,
        },
    }))
}

/// The schemes of which every client needs an identity. A scheme that nobody could use is an error, as in ZooKeeper.
fn enforced(given: &Given, sasl: bool) -> Result<Vec<String>, ConfigError> {
    let (key, schemes) = if given.bool("sessionRequireClientSASLAuth")? {
        ("sessionRequireClientSASLAuth", vec!["sasl".to_owned()])
    } else if given.bool("enforce.auth.enabled")? {
        let text = given.text("enforce.auth.schemes")?;
        ("enforce.auth.schemes", text.split(',').map(str::trim).filter(|scheme| !scheme.is_empty()).map(str::to_owned).collect())
    } else {
        return Ok(Vec::new());
    };
    let Some(item) = given.get(key) else {
        let place = given.get("enforce.auth.enabled").map_or(Place::Command, |item| item.place.clone());
        let advice = "enforce.auth.enabled=true takes the schemes of which a client needs one, such as sasl,digest";
        return Err(ConfigError::Missing { place, key: "enforce.auth.schemes", advice });
    };
    if schemes.is_empty() {
        return Err(value_error(key, item, "schemes of which a client needs one, such as sasl,digest"));
    }
    for scheme in &schemes {
        let is_there = match scheme.as_str() {
            "ip" => true,
            "digest" => given.bool("DigestAuthenticationProvider.enabled")?,
            "sasl" => sasl,
            _ => false,
        };
        if !is_there {
            let hint = if scheme == "sasl" {
                "; sasl takes authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
            } else {
                ""
            };
            return Err(value_error(key, item, &format!("schemes that have a provider, which {scheme:?} has not{hint}")));
        }
    }
    Ok(schemes)
}

/// What is there only in part.
fn warn(given: &mut Given, sasl: &Sasl) {
    let without = |given: &Given, name: &str| given.get(name).map(|item| item.place.clone());
    if sasl.exchange.is_none() {
        let asks = given.family("authProvider.N").chain(given.family("authProvider.*"));
        let place =
            asks.filter(|(_, item)| item.text.ends_with("SASLAuthenticationProvider")).map(|(_, item)| item.place.clone()).next();
        if let Some(place) = place {
            let text = format!("SASL has no users: give -D{JAAS_FILE}=FILE with a section of them");
            given.notices.push(Notice::warn(place, text));
        }
    } else if !sasl.acls {
        let place = without(given, JAAS_FILE).unwrap_or(Place::Command);
        let text = "names are proved, but ACLs of the scheme sasl take authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
        given.notices.push(Notice::warn(place, text.to_owned()));
    }
}
