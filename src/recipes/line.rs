//! Line: candidates queue up below a znode by ephemeral sequential znodes. Each watches the one before it only, so that a
//! departure wakes one, not all. Names and order are Curator's, whose locks at the same path exclude these.

use std::time::{Duration, Instant};

use super::ended::Ended;
use super::signals::Signals;
use crate::client::answer::{Body, Code};
use crate::client::ask::{Ask, CreateMode};
use crate::client::blocking::ClientError;
use crate::client::lasting::Lasting;
use crate::proto::acl::Acl;
use crate::proto::path;

/// How long a wait lasts before signals and the clock are looked at.
const TURN: Duration = Duration::from_millis(100);

/// A candidate's own znode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its full path.
    pub znode: String,
}

/// Until when one waits, and what may end it before.
pub struct Patience<'a> {
    /// For ever where there is none.
    pub until: Option<Instant>,
    /// Those of the process.
    pub signals: &'a Signals,
}

impl Patience<'_> {
    /// Whether to wait on.
    pub fn check(&self) -> Result<(), Ended> {
        if let Some(signal) = self.signals.take() {
            return Err(Ended::Signal(signal));
        }
        match self.until {
            Some(until) if Instant::now() >= until => Err(Ended::Waited),
            _ => Ok(()),
        }
    }
}

/// Whether the server refused by this code.
fn is(error: &ClientError, code: Code) -> bool {
    error.refusal().is_some_and(|refusal| refusal.is(code))
}

/// Makes a znode and those above it where they are missing, without data. Nobody's business who made them.
pub fn make_path(keeper: &mut Lasting, full: &str) -> Result<(), ClientError> {
    let acl = [Acl::open()];
    match keeper.call(&Ask::Create { path: full, data: Some(b""), acl: &acl, mode: CreateMode::Persistent }) {
        Ok(_) => Ok(()),
        Err(error) if is(&error, Code::NodeExists) => Ok(()),
        Err(error) if is(&error, Code::NoNode) => {
            let parent = path::split(full).map_or(path::ROOT, |(parent, _)| parent);
            if parent == path::ROOT {
                return Err(error);
            }
            make_path(keeper, parent)?;
            make_path(keeper, full)
        }
        Err(error) => Err(error),
    }
}

/// The candidates below a znode, first come first.
pub fn candidates(keeper: &mut Lasting, dir: &str) -> Result<Vec<String>, ClientError> {
    let Body::Names(names) = keeper.call(&Ask::GetChildren { path: dir, watch: false })? else { return Ok(Vec::new()) };
    Ok(in_order(names))
}

/// Only what has a number is in the line; whatever else is below the znode is not.
fn in_order(names: Vec<String>) -> Vec<String> {
    let mut numbered: Vec<(u64, String)> =
        names.into_iter().filter_map(|name| number(&name).map(|number| (number, name))).collect();
    numbered.sort_unstable();
    numbered.into_iter().map(|(_, name)| name).collect()
}

/// The counter that the server has put at the end of a name.
fn number(name: &str) -> Option<u64> {
    let digits = name.get(name.len().checked_sub(10)?..)?;
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Queues up below `dir`. Where a connection was lost while the znode was made, it is looked for by its random name.
pub fn queue_up(keeper: &mut Lasting, dir: &str, kind: &str, data: &[u8], patience: &Patience<'_>) -> Result<Place, Ended> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Ended::System("randomness", std::io::Error::other(error.to_string())))?;
    let name: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let name = format!("_c_{name}-{kind}-");
    let (prefix, acl) = (format!("{dir}/{name}"), [Acl::open()]);
    let mut unsure = false;
    loop {
        patience.check()?;
        if unsure {
            match candidates(keeper, dir) {
                Ok(names) => {
                    if let Some(found) = names.into_iter().find(|found| found.starts_with(&name)) {
                        return Ok(Place { znode: format!("{dir}/{found}") });
                    }
                    unsure = false;
                }
                Err(error) if is(&error, Code::NoNode) => unsure = false,
                Err(error) if error.is_of_connection() => continue,
                Err(error) => return Err(error.into()),
            }
        }
        match keeper.call(&Ask::Create { path: &prefix, data: Some(data), acl: &acl, mode: CreateMode::EphemeralSequential }) {
            Ok(Body::Path(znode)) => return Ok(Place { znode }),
            Ok(_) => return Err(ClientError::Shape(1).into()),
            Err(error) if is(&error, Code::NoNode) => match make_path(keeper, dir) {
                Ok(()) => {}
                Err(error) if error.is_of_connection() => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) if error.is_of_connection() => unsure = true,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until nobody is before `place`. [`ClientError::Expired`] says that the place is gone with its session.
pub fn wait_first(keeper: &mut Lasting, place: &Place, patience: &Patience<'_>) -> Result<(), Ended> {
    let (dir, own) = path::split(&place.znode).unwrap_or((path::ROOT, ""));
    loop {
        let names = match candidates(keeper, dir) {
            Err(error) if is(&error, Code::NoNode) => Vec::new(),
            names => names?,
        };
        let at = names.iter().position(|name| name == own);
        let at = at.ok_or_else(|| Ended::Lost(format!("{} was deleted while it waited", place.znode)))?;
        let Some(before) = at.checked_sub(1).map(|at| format!("{dir}/{}", names[at])) else { return Ok(()) };
        // getData and not exists: that would leave a watch on a znode that is gone and never comes back.
        match keeper.call(&Ask::GetData { path: &before, watch: true }) {
            Ok(_) => {}
            Err(error) if is(&error, Code::NoNode) => continue,
            Err(error) => return Err(error.into()),
        }
        loop {
            patience.check()?;
            match keeper.next_event(TURN)? {
                Some(event) if event.path == before => break,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_numbers_whatever_the_names() {
        let names = ["b-lock-0000000010", "a-lock-0000000011", "z-lock-0000000002", "config", "x-00000"];
        let got = in_order(names.map(str::to_owned).to_vec());
        assert_eq!(got, ["z-lock-0000000002", "b-lock-0000000010", "a-lock-0000000011"]);
        assert_eq!(number("ééééé0000000"), None);
    }
}
