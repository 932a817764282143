//! Options: what every recipe is told: servers, session, identities, the command.

use std::time::Duration;

use clap::Args;

use super::ended::Ended;
use crate::client::lasting::Lasting;
use crate::client::target::Target;
use crate::proto::path;

/// Whom to call and as whom.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The servers, and a path that is put before every other.
    #[arg(short, long, value_name = "HOST:PORT,.../CHROOT", default_value = "127.0.0.1:2181")]
    pub server: Target,

    /// Session timeout: for how long the servers wait for a client they do not hear.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// An identity, as `digest:user:password`. May be repeated.
    #[arg(long, value_name = "SCHEME:AUTH", value_parser = identity)]
    pub auth: Vec<(String, String)>,
}

impl Options {
    /// A session with all identities. Servers may take as long as a session timeout to answer.
    pub fn open(&self) -> Result<Lasting, Ended> {
        let mut keeper = Lasting::open(&self.server, self.timeout, self.timeout)?;
        for (scheme, auth) in &self.auth {
            keeper.auth(scheme, auth.as_bytes())?;
        }
        Ok(keeper)
    }

    /// The path on the server.
    pub fn full(&self, path: &str) -> Result<String, Ended> {
        let full = self.server.full(path);
        if path::is_valid(path) && full != path::ROOT { Ok(full) } else { Err(Ended::Path(path.to_owned())) }
    }
}

/// Seconds above 0, with a fraction if need be.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s: &f64| *s > 0.0 && *s <= 1e6);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "it should be a number of seconds above 0".to_owned())
}

fn identity(text: &str) -> Result<(String, String), String> {
    let (scheme, auth) = text.split_once(':').ok_or("it should look like digest:user:password")?;
    Ok((scheme.to_owned(), auth.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_identities() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["0", "-1", "x", "NaN", "inf"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(identity("digest:u:p"), Ok(("digest".into(), "u:p".into())));
        assert!(identity("digest").is_err());
    }
}
