//! Loss: what an ensemble may have lost for good where an impaired member gets its vote back, told before an operator accepts it.
//!
//! An impaired member waits for a leader to restore it, and a leader needs a majority of members that are not impaired. Where there will never
//! be one again, somebody has to say that what is there is all there is. This is the saying of it, and no server says it by itself.

use std::fmt;
use std::path::PathBuf;

use super::{LOG, read_as, recover_member, refuse_foreign};
use crate::auth::AuthConfig;
use crate::ground::ids::{ServerId, Zxid};
use crate::runtime::chance;
use crate::runtime::clock::Clock;
use crate::runtime::disk::{DiskError, LogDir, OpenError, remove_if_there};
use crate::runtime::member_log::IMPAIRED;
use crate::server::config::ensemble::Ensemble;
use crate::server::config::settings::ServerConfig;
use crate::storage::papers::Papers;
use crate::storage::promise::Promise;

/// How many epochs are left out after the newest one that is known of. Those who are gone may have led some that nobody here has heard of; a
/// zxid of such an epoch must not be given out again.
const LEAP: u32 = 1000;

/// The newest epoch to go beyond: half of those that there are.
const EPOCH_LAST: u32 = 1 << 29;

/// Why there is nothing to accept, or nobody to do so. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// The configuration is that of a server alone, or of an observer.
    #[error("server {} has no vote in this configuration, so it cannot get it back", .0.0)]
    NoVote(ServerId),
    /// No server of ours has worked there.
    #[error(
        "no server has ever worked on {}: start it once, so that it finds out whether its ensemble is new; if it stays without a vote, stop it \
         and come back",
        .0.display()
    )]
    Fresh(PathBuf),
    /// The member is not impaired.
    #[error("server {} has its vote (nothing in {} says that it is impaired): there is no loss to accept", .0.0, .1.display())]
    Whole(ServerId, PathBuf),
    /// The epoch to go beyond is impossible.
    #[error("epoch {0} is too late to go beyond: the last one that can be is {EPOCH_LAST}")]
    Epoch(u32),
    /// Another server works there, or it cannot be looked at.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No server starts from what is there; one line.
    #[error("{0}; what no server starts from cannot be accepted as it is: nothing was changed")]
    Refused(String),
}

/// Why it was not carried out. The member is as it was, but for what every start does; or it may have promised and is impaired as before.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// A start would not have come so far.
    #[error("{0}; the server is impaired as before")]
    Refused(String),
    /// A file cannot be written.
    #[error("{0}; the server is impaired as before")]
    Disk(#[from] DiskError),
}

/// What is there, and what may have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    server: ServerId,
    dir: PathBuf,
    /// The image that was loaded; zero for none.
    image: Zxid,
    /// Up to here what is there is known to be committed.
    committed: Zxid,
    /// The end of the log.
    last: Zxid,
    /// What the watermark vouches for.
    durable: Zxid,
    znodes: usize,
    sessions: usize,
    /// Epochs promised, and to be promised.
    before: Promise,
    after: Promise,
}

impl Loss {
    /// The end of what is there: everything acknowledged after it is lost, as far as this server knows.
    #[must_use]
    pub const fn last(&self) -> Zxid {
        self.last
    }

    /// The epochs promised from then on. Neither is ever older than it was.
    #[must_use]
    pub const fn promise(&self) -> Promise {
        self.after
    }
}

impl fmt::Display for Loss {
    /// Lines for the operator, without an end of the last one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, dir, image, committed, last, durable, znodes, sessions, before, after } = self;
        writeln!(f, "server {}: impaired, without a vote ({})", server.0, dir.join(IMPAIRED).display())?;
        if *last == Zxid::ZERO {
            writeln!(f, "what is there:     nothing, not one transaction")?;
        } else {
            writeln!(f, "what is there:     {znodes} znodes and {sessions} sessions at zxid {committed}, known to be committed")?;
            writeln!(f, "                   image {image}, log up to {last}, known durable up to {durable}")?;
            if last > committed {
                writeln!(
                    f,
                    "                   after {committed} up to {last} nothing says that it was agreed: a leader may keep or drop it"
                )?;
            }
        }
        writeln!(f, "what it promised:  epoch {} accepted, epoch {} joined", before.accepted, before.current)?;
        let epoch = last.epoch();
        if *last == Zxid::ZERO {
            writeln!(f, "what may be lost:  every transaction from zxid 0x100000001 on that no server with a vote has")?;
        } else {
            writeln!(
                f,
                "what may be lost:  every transaction after zxid {last}, in epoch {epoch} and later ones, that no server with a vote has"
            )?;
        }
        if before.accepted > epoch {
            writeln!(
                f,
                "                   of epochs {} to {}, which it knows of, nothing is there",
                epoch + 1,
                before.accepted
            )?;
        }
        writeln!(
            f,
            "                   sessions opened since then, with their ephemerals; clients may have been told otherwise"
        )?;
        write!(f, "what it promises:  epoch {} accepted; no zxid of an epoch up to that is given out again", after.accepted)
    }
}

/// An impaired member's directory, locked.
pub struct Case {
    dir: LogDir,
    loss: Loss,
}

impl Case {
    /// Looks at what is there, and changes nothing. `beyond` is the newest epoch that an operator knows the ensemble had, or 0.
    pub fn open(config: &ServerConfig, beyond: u32, clock: Clock) -> Result<Self, LossError> {
        let server = config.my_id;
        if !config.ensemble.as_ref().is_some_and(Ensemble::votes) {
            return Err(LossError::NoVote(server));
        }
        refuse_foreign(&config.data_dir, &config.data_log_dir).map_err(LossError::Refused)?;
        let log = config.data_log_dir.join(LOG);
        if !log.is_dir() {
            return Err(LossError::Fresh(log));
        }
        let dir = LogDir::open(&log)?;
        let seeds = chance::seeds().map_err(LossError::Refused)?;
        let found = read_as(&dir, config, seeds, clock, true).map_err(LossError::Refused)?;
        if !log.join(IMPAIRED).exists() {
            let is_fresh = found.papers.is_none() && found.plan.last == Zxid::ZERO && found.image == Zxid::ZERO;
            return Err(if is_fresh { LossError::Fresh(log) } else { LossError::Whole(server, log) });
        }
        let (image, last) = (found.image, found.plan.last.max(found.image));
        let durable = found.papers.as_ref().map_or(Zxid::ZERO, Papers::durable);
        let promised = found.papers.as_ref().map(|papers| papers.promise.said);
        let before = promised.unwrap_or_else(|| Promise::alone(None, last));
        let known = before.accepted.max(last.epoch()).max(beyond);
        if known > EPOCH_LAST {
            return Err(LossError::Epoch(known));
        }
        let after = Promise { accepted: known + LEAP, ..before };
        let loaded = found.into_loaded();
        let (znodes, sessions) = (loaded.tree.view().records().count(), loaded.sessions.len());
        let loss = Loss { server, dir: log, image, committed: loaded.zxid, last, durable, znodes, sessions, before, after };
        Ok(Self { dir, loss })
    }

    /// What may be lost.
    #[must_use]
    pub const fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Gives the member its vote, with what it has. First what every start does, then the promise, then, in one step, the vote.
    pub fn accept(self, config: &ServerConfig, clock: Clock) -> Result<Loss, AcceptError> {
        let Self { dir, loss } = self;
        let seeds = chance::seeds().map_err(AcceptError::Refused)?;
        let (recovered, _) = recover_member(&dir, config, AuthConfig::default(), seeds, clock).map_err(AcceptError::Refused)?;
        let mut cabinet = recovered.cabinet;
        cabinet.promise(loss.after)?;
        remove_if_there(&dir.path().join(IMPAIRED))?;
        Ok(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::trial::world::second_of_three as config;
    use crate::storage::manifest::Manifest;
    use crate::zab::Bootstrap;

    const SEEDS: [u64; 4] = [1, 2, 3, 4];

    /// What a start finds: whether the member is impaired, whether it takes its ensemble for new, and what it promised.
    fn start(config: &ServerConfig) -> (bool, Option<Bootstrap>, Promise, Manifest) {
        let dir = LogDir::open(&config.data_log_dir.join(LOG)).unwrap();
        let (recovered, joining) = recover_member(&dir, config, AuthConfig::default(), SEEDS, Clock::default()).unwrap();
        let found = joining.found;
        let promise = Promise { accepted: found.accepted, current: found.current };
        (found.is_impaired, found.is_new, promise, recovered.cabinet.said())
    }

    fn open(config: &ServerConfig, beyond: u32) -> Result<Case, LossError> {
        Case::open(config, beyond, Clock::default())
    }

    fn refusal(config: &ServerConfig) -> LossError {
        open(config, 0).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_member_that_has_nothing_gets_its_vote_once() {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        assert!(matches!(refusal(&config), LossError::Fresh(_)));
        assert!(!config.data_log_dir.join(LOG).exists(), "looking makes nothing");
        let none = Promise { accepted: 0, current: 0 };
        let (is_impaired, is_new, promise, _) = start(&config);
        assert_eq!((is_impaired, is_new, promise), (true, Some(Bootstrap::All), none));
        let case = open(&config, 0).unwrap();
        assert!(
            matches!(refusal(&config), LossError::Open(OpenError::Taken(_))),
            "one looks at a time, and no server works there"
        );
        assert_eq!(case.loss().last(), Zxid::ZERO);
        assert_eq!(case.loss().promise(), Promise { accepted: LEAP, current: 0 });
        let told = case.loss().to_string();
        assert!(told.contains("server 2: impaired") && told.contains("not one transaction"), "{told}");
        drop(case);
        assert!(start(&config).0, "nothing was accepted");
        let loss = open(&config, 41).unwrap().accept(&config, Clock::default()).unwrap();
        assert_eq!(loss.promise().accepted, 41 + LEAP);
        let (is_impaired, is_new, promise, _) = start(&config);
        assert_eq!(
            (is_impaired, is_new, promise),
            (false, None, loss.promise()),
            "it has its vote, and knows that the ensemble is old"
        );
        assert!(matches!(refusal(&config), LossError::Whole(ServerId(2), _)));
    }

    #[test]
    fn no_promise_falls_and_a_crash_before_the_step_leaves_it_impaired() {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        start(&config);
        let log = config.data_log_dir.join(LOG);
        {
            let dir = LogDir::open(&log).unwrap();
            let (mut recovered, _) = recover_member(&dir, &config, AuthConfig::default(), SEEDS, Clock::default()).unwrap();
            recovered.cabinet.promise(Promise { accepted: 9, current: 7 }).unwrap();
        }
        let case = open(&config, 3).unwrap();
        assert_eq!(case.loss().promise(), Promise { accepted: 9 + LEAP, current: 7 });
        assert!(case.loss().to_string().contains("of epochs 1 to 9, which it knows of, nothing is there"), "{}", case.loss());
        // A crash after the promise and before the step: it is impaired as before, and can be asked again.
        drop(case);
        {
            let dir = LogDir::open(&log).unwrap();
            let (mut recovered, _) = recover_member(&dir, &config, AuthConfig::default(), SEEDS, Clock::default()).unwrap();
            recovered.cabinet.promise(Promise { accepted: 9 + LEAP, current: 7 }).unwrap();
        }
        assert!(log.join(IMPAIRED).exists());
        let loss = open(&config, 0).unwrap().accept(&config, Clock::default()).unwrap();
        assert_eq!(loss.promise(), Promise { accepted: 9 + 2 * LEAP, current: 7 });
        let (is_impaired, _, promise, manifest) = start(&config);
        assert_eq!((is_impaired, promise, manifest.server, manifest.ensemble), (false, loss.promise(), ServerId(2), 1));
    }

    #[test]
    fn what_cannot_be_accepted_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        start(&config);
        assert!(matches!(open(&config, u32::MAX).map(|_| ()), Err(LossError::Epoch(u32::MAX))));
        let promise = config.data_log_dir.join(LOG).join("state/promise");
        let bytes = std::fs::read(&promise).unwrap();
        std::fs::write(&promise, vec![0; bytes.len()]).unwrap();
        let line = refusal(&config).to_string();
        assert!(line.contains("epoch record lost") && line.contains("nothing was changed"), "{line}");
        std::fs::write(&promise, bytes).unwrap();
        config.ensemble = None;
        assert!(matches!(refusal(&config), LossError::NoVote(ServerId(2))));
    }
}
