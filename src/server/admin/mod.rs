//! The admin words: what the server answers to ZooKeeper's four-letter words.
//!
//! Monitoring parses these texts, so names, number formats and newlines are those of ZooKeeper 3.9.4; the captures under
//! `tests/golden/fourletter` are the measure, `docs/four-letter-words.md` says where we say less than the original.

mod archive;
mod dump;
mod facts;
#[cfg(test)]
mod golden;
pub(super) mod java;
mod metrics;
mod mntr;
mod settings;
mod standing;
mod summary;
mod watches;

pub use facts::{EnsembleFacts, Facts, Host, Probe};

use std::sync::atomic::{AtomicI64, Ordering};

use crate::engine::census::{Census, Word};

/// What a word that needs the whole server says while it does not serve.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// What a ZooKeeper says that it traces, before it is told otherwise (`ZooTrace`).
const TRACE_MASK: i64 = 306;

/// Answers the four-letter words. Shared by all shards; nothing in it changes but the mask of what is traced, which has no effect.
pub struct Admin {
    facts: Facts,
    allowed: Vec<Word>,
    probe: Box<dyn Fn() -> Probe + Send + Sync>,
    trace_mask: AtomicI64,
    reload: Box<dyn Fn() -> String + Send + Sync>,
}

impl Admin {
    /// The answerer for a server of which these facts are true.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self::with_probe(facts, Probe::take)
    }

    /// The same with another way to look at the machine, for tests and simulations.
    #[must_use]
    pub fn with_probe(facts: Facts, probe: impl Fn() -> Probe + Send + Sync + 'static) -> Self {
        let allowed = allowed_words(&facts.whitelist, facts.read_only_enabled);
        Self { facts, allowed, probe: Box::new(probe), trace_mask: AtomicI64::new(TRACE_MASK), reload: Box::new(String::new) }
    }

    /// The same with a way to read the configuration again, which tells what came of it.
    #[must_use]
    pub fn reloading(self, reload: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { reload: Box::new(reload), ..self }
    }

    /// Whether `4lw.commands.whitelist` lets this word through. `srvr` always passes, `isro` where read-only mode is enabled.
    #[must_use]
    pub fn allowed(&self, word: Word) -> bool {
        self.allowed.contains(&word)
    }

    /// Sets the mask, if one is given, and tells what it is: the answer to `gtmk` and `stmk`.
    pub fn trace_mask(&self, set: Option<i64>) -> i64 {
        if let Some(mask) = set {
            self.trace_mask.store(mask, Ordering::Relaxed);
        }
        self.trace_mask.load(Ordering::Relaxed)
    }

    /// What a word that is not allowed is answered; `name` is its four letters.
    #[must_use]
    pub fn refusal(name: &str) -> String {
        format!("{name} is not executed because it is not in the whitelist.\n")
    }

    /// The answer to a word, complete with or without its final newline.
    ///
    /// Words that [`Word::is_local`] need no census; the others, handed none, say that the server does not serve. `crst` and
    /// `srst` are only confirmed here: the shards reset their counters themselves. `conf`, `dirs`, `envi` and `mntr` look at the
    /// machine (data directories, memory, open files), which blocks for a few file-system calls.
    #[must_use]
    pub fn answer(&self, word: Word, census: Option<&Census>) -> String {
        match (word, census) {
            (Word::Ruok, _) => "imok".to_owned(),
            (Word::Rlod, _) => (self.reload)(),
            (Word::Conf, _) => settings::conf(&self.facts),
            (Word::Envi, _) => settings::envi(&self.facts, &self.probe()),
            (Word::Gtmk | Word::Stmk, _) => self.trace_mask(None).to_string(),
            (_, None) => NOT_SERVING.to_owned(),
            (Word::Hash, Some(census)) if standing::mode(census).is_none() => NOT_SERVING.trim_end().to_owned(),
            // A member that looks for a leader, or catches up with one.
            (Word::Isro, Some(census)) if standing::mode(census).is_none() => "null".to_owned(),
            (_, Some(census)) if standing::mode(census).is_none() => NOT_SERVING.to_owned(),
            (Word::Isro, Some(census)) if standing::mode(census) == Some(standing::READ_ONLY) => "ro".to_owned(),
            (Word::Isro, Some(_)) => "rw".to_owned(),
            (Word::Srvr, Some(census)) => summary::srvr(&self.facts, census),
            (Word::Stat, Some(census)) => summary::stat(&self.facts, census),
            (Word::Cons, Some(census)) => summary::cons(census),
            (Word::Mntr, Some(census)) => mntr::mntr(&self.facts, &self.probe(), census),
            (Word::Dump, Some(census)) => dump::dump(census),
            (Word::Wchs, Some(census)) => watches::wchs(census),
            (Word::Wchc, Some(census)) => watches::wchc(census),
            (Word::Wchp, Some(census)) => watches::wchp(census),
            (Word::Crst, Some(_)) => "Connection stats reset.\n".to_owned(),
            (Word::Srst, Some(_)) => "Server stats reset.\n".to_owned(),
            (Word::Dirs, Some(_)) => settings::dirs(&self.facts),
            (Word::Hash, Some(census)) => summary::hash(census),
            (Word::Csnp, Some(census)) => archive::csnp(census),
            (Word::Lgif, Some(census)) => archive::lgif(census),
        }
    }

    /// The page for whoever collects metrics. Looks at the machine, as `mntr` does.
    #[must_use]
    pub fn metrics(&self, census: &Census) -> String {
        metrics::metrics(&self.facts, &self.probe(), census)
    }

    fn probe(&self) -> Probe {
        (self.probe)()
    }
}

/// The words a whitelist lets through: a comma list, `*` for all of them. Names of no word are passed over, as ZooKeeper does.
fn allowed_words(whitelist: &str, read_only_enabled: bool) -> Vec<Word> {
    let listed: Vec<&str> = whitelist.split(',').map(str::trim).collect();
    let passes = |name: &str, word: Word| match word {
        Word::Srvr => true,
        Word::Isro if read_only_enabled => true,
        _ => listed.iter().any(|entry| *entry == "*" || *entry == name),
    };
    Word::ALL.iter().filter(|(name, word)| passes(name, *word)).map(|&(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::{LedgerCensus, ProposalSizes, Standing};
    use crate::ground::ids::{ServerId, Zxid};
    use crate::zab::Role;

    fn admin(whitelist: &str, read_only_enabled: bool) -> Admin {
        let facts = Facts { whitelist: whitelist.to_owned(), read_only_enabled, ..Facts::default() };
        Admin::with_probe(facts, Probe::default)
    }

    #[test]
    fn whitelist() {
        let bare = admin("", false);
        assert!(Word::ALL.iter().all(|&(_, word)| bare.allowed(word) == (word == Word::Srvr)));
        let some = admin(" ruok ,mntr,nope,", true);
        let let_through: Vec<Word> = Word::ALL.iter().map(|&(_, word)| word).filter(|&word| some.allowed(word)).collect();
        assert_eq!(let_through, [Word::Ruok, Word::Srvr, Word::Mntr, Word::Isro]);
        let all = admin("ruok, *", false);
        assert!(Word::ALL.iter().all(|&(_, word)| all.allowed(word)));
    }

    #[test]
    fn local_words_need_no_census_and_the_others_do() {
        let admin = admin("*", false);
        for (name, word) in Word::ALL {
            let says_not_serving = admin.answer(word, None) == NOT_SERVING;
            assert_eq!(says_not_serving, !word.is_local(), "{name}");
            assert_ne!(admin.answer(word, Some(&Census::default())), NOT_SERVING, "{name}");
        }
    }

    #[test]
    fn a_member_without_a_leader_does_not_serve() {
        let admin = admin("*", false);
        let mut proposals = ProposalSizes::default();
        [50, 40, 60, 45].into_iter().for_each(|bytes| proposals.note(bytes));
        let standing = |role| Standing {
            role,
            is_read_only: false,
            is_impaired: false,
            promise: (0, 0),
            proposed: Zxid::ZERO,
            learners: Vec::new(),
            voters: 3,
            proposals,
        };
        let census = |role| Census {
            ledger: LedgerCensus { standing: Some(standing(role)), ..LedgerCensus::default() },
            ..Census::default()
        };
        for role in [Role::Looking, Role::Joining { leader: ServerId(1) }] {
            for (name, word) in Word::ALL.iter().filter(|(_, word)| !word.is_local()) {
                let expected = match word {
                    Word::Isro => "null",
                    Word::Hash => NOT_SERVING.trim_end(),
                    _ => NOT_SERVING,
                };
                assert_eq!(admin.answer(*word, Some(&census(role))), expected, "{name}");
            }
        }
        let leader = census(Role::Leading { epoch: 4 });
        assert_eq!(admin.answer(Word::Isro, Some(&leader)), "rw");
        let told = admin.answer(Word::Srvr, Some(&leader));
        assert!(told.ends_with("\nMode: leader\nNode count: 0\nProposal sizes last/min/max: 45/40/60\n"), "{told}");
        let told = admin.answer(Word::Mntr, Some(&leader));
        for line in [
            "zk_server_state\tleader\nzk_peer_state\tleading - broadcast\n",
            "\nzk_quorum_size\t3\n",
            "\nzk_synced_followers\t0\n",
        ] {
            assert!(told.contains(line), "{told}");
        }
        let follower = census(Role::Following { leader: ServerId(1), epoch: 4 });
        let told = admin.answer(Word::Mntr, Some(&follower));
        assert!(told.contains("zk_server_state\tfollower\n") && !told.contains("zk_learners"), "{told}");
    }

    #[test]
    fn the_mask_of_what_is_traced_is_remembered() {
        let admin = admin("*", false);
        assert_eq!(admin.answer(Word::Gtmk, None), "306");
        assert_eq!((admin.trace_mask(Some(-2)), admin.trace_mask(None)), (-2, -2));
        assert_eq!((admin.answer(Word::Gtmk, None), admin.answer(Word::Stmk, None)), ("-2".to_owned(), "-2".to_owned()));
    }

    #[test]
    fn shards_may_share_it() {
        fn shared<T: Send + Sync>() {}
        shared::<Admin>();
    }
}
