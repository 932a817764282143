//! Membership: what a member of an ensemble is started with beside a server alone, and what it tells of its role.

use std::path::Path;
use std::sync::Arc;

use super::admin::EnsembleFacts;
use super::boot::{Failed, tell};
use super::config::ensemble::Ensemble;
use super::config::settings::ServerConfig;
use super::recover::Joining;
use crate::auth::AuthConfig;
use crate::engine::sequencer::{LocalKnobs, Sequencer};
use crate::ground::time::Now;
use crate::runtime::clock::Clock;
use crate::runtime::images::ImageDir;
use crate::runtime::member::MemberSetup;
use crate::runtime::mesh::Common;
use crate::runtime::peer_io::Peers;
use crate::zab::Role;

/// How long no leader has to be known, ms, before reads are served without one (`QuorumPeer`).
const READ_ONLY_AFTER_MS: u64 = 2000;

/// What a member begins with.
pub(super) struct Membership<'a> {
    pub(super) ensemble: &'a Ensemble,
    pub(super) joining: Joining,
}

impl Membership<'_> {
    /// Makes the engine a member, and gives its loop what a member needs. Other servers are listened for from now on.
    pub(super) fn enter(
        self,
        engine: Sequencer,
        config: &ServerConfig,
        (dir, images): (&Path, ImageDir),
        (auth, seeds): (AuthConfig, [u64; 4]),
        (clock, now): (Clock, Now),
        common: Arc<Common>,
    ) -> Result<(Sequencer, MemberSetup), Failed> {
        let Self { ensemble, joining: Joining { found, pending } } = self;
        let peers = ensemble.peers(config.tick_time_ms, config.jute_maxbuffer);
        let peers = Peers::start(peers, common).map_err(|error| error.to_string())?;
        let setup = MemberSetup {
            peers,
            dir: dir.to_owned(),
            images,
            base: found.base,
            server: ensemble.me,
            members: ensemble.members(),
            auth,
            seeds,
            tick_ms: u64::from(config.tick_time_ms),
            frame_max: config.jute_maxbuffer,
            clock,
            tell: tell_role,
        };
        let mut engine = engine.join(ensemble.me, ensemble.members(), ensemble.times(config.tick_time_ms), found, pending, now);
        if config.readonlymode {
            engine.serve_read_only(u64::from(config.tick_time_ms).max(READ_ONLY_AFTER_MS));
        }
        if config.local_sessions {
            let upgrades = config.local_sessions_upgrading;
            let tick_ms = u64::from(config.tick_time_ms);
            engine.keep_local_sessions(LocalKnobs { server: ensemble.me, upgrades, tick_ms, seeds });
        }
        Ok((engine, setup))
    }
}

/// What `ready` calls this server.
pub(super) fn title(config: &ServerConfig) -> String {
    match &config.ensemble {
        None => "standalone".to_owned(),
        Some(ensemble) => format!("member {} of {}", ensemble.me.0, ensemble.configuration.servers.len()),
    }
}

/// What `conf` tells of an ensemble.
pub(super) fn facts(ensemble: &Ensemble) -> EnsembleFacts {
    let own = &ensemble.own().addresses[0];
    EnsembleFacts {
        init_limit: ensemble.init_limit,
        sync_limit: ensemble.sync_limit,
        election_port: own.election,
        quorum_port: own.quorum,
        is_observer: !ensemble.votes(),
        membership: ensemble.configuration.to_string(),
    }
}

/// One line for the operator on what this server is from now on.
fn tell_role(role: Role) {
    tell(&told(role));
}

fn told(role: Role) -> String {
    match role {
        Role::Looking => "looking".to_owned(),
        Role::Joining { leader } => format!("joining {}", leader.0),
        Role::Following { leader, epoch } => format!("following {}, epoch {epoch}", leader.0),
        Role::Observing { leader, epoch } => format!("observing {}, epoch {epoch}", leader.0),
        Role::Leading { epoch } => format!("leading epoch {epoch}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::ServerId;

    #[test]
    fn every_role_has_a_line() {
        let leader = ServerId(3);
        let lines: Vec<_> = [
            Role::Looking,
            Role::Joining { leader },
            Role::Following { leader, epoch: 7 },
            Role::Observing { leader, epoch: 7 },
            Role::Leading { epoch: 7 },
        ]
        .map(told)
        .into();
        assert_eq!(lines, ["looking", "joining 3", "following 3, epoch 7", "observing 3, epoch 7", "leading epoch 7"]);
    }
}
