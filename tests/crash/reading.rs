//! Reading: the writers' parts of the tree, and the shared directories, as one client reads them.

use std::collections::BTreeSet;
use std::ops::Range;

use ringkeeper::client::answer::{Body, Code};
use ringkeeper::client::ask::Ask;
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::proto::stat::Stat;

use super::model::{self, Observed, SHARED};

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It may be tried again.
    #[error("observing: {0}")]
    Client(#[from] ClientError),
    /// What is there cannot be.
    #[error("{0}")]
    Wrong(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Of the writers asked for, in order.
    pub writers: Vec<Observed>,
    /// Stat and number of children of each shared directory.
    pub shared: Vec<(Stat, usize)>,
}

/// The directories are there, and nothing else.
pub fn check_root(observer: &mut Client, writers: usize) -> Result<(), Unread> {
    let (names, _) = observer.children("/crash", false)?;
    if names.len() == writers + SHARED { Ok(()) } else { Err(Unread::Wrong(format!("/crash has the children {names:?}"))) }
}

impl Reading {
    /// Reads what is of these writers.
    pub fn take(observer: &mut Client, writers: Range<usize>) -> Result<Self, Unread> {
        let mut reading = Self { writers: vec![Observed::default(); writers.len()], shared: Vec::new() };
        let directories = writers.clone().map(model::directory).chain((0..SHARED).map(model::shared));
        for (at, directory) in directories.enumerate() {
            let (names, stat) = observer.children(&directory, false)?;
            for name in &names {
                observer.submit(&Ask::GetData { path: &format!("{directory}/{name}"), watch: false })?;
            }
            if at < writers.len() {
                reading.writers[at].directory = stat;
            } else {
                reading.shared.push((stat, names.len()));
            }
            for name in names {
                let (data, stat) = match observer.next_reply()?.result {
                    Ok(Body::Data(data, stat)) => (data.unwrap_or_default(), stat),
                    Ok(other) => return Err(Unread::Wrong(format!("reading {directory}/{name}: {other:?}"))),
                    // Between the list and the reading a session may have expired.
                    Err(refusal) if refusal.is(Code::NoNode) => continue,
                    Err(refusal) => return Err(ClientError::from(refusal).into()),
                };
                if at < writers.len() {
                    reading.writers[at].nodes.insert(name, (data, stat));
                    continue;
                }
                let Some((writer, serial)) = model::author(&data) else {
                    return Err(Unread::Wrong(format!("{directory}/{name} was written by nobody")));
                };
                if !writers.contains(&writer) {
                    continue;
                }
                let item = (at - writers.len(), name.clone(), stat);
                if let Some((_, other, _)) = reading.writers[writer - writers.start].items.insert(serial, item) {
                    return Err(Unread::Wrong(format!("writer {writer}'s create {serial} has made both {other} and {name}")));
                }
            }
        }
        Ok(reading)
    }

    /// Sessions that own something.
    pub fn owners(&self) -> BTreeSet<i64> {
        let nodes = self.writers.iter().flat_map(|w| w.nodes.values().map(|(_, stat)| stat.ephemeral_owner));
        let items = self.writers.iter().flat_map(|w| w.items.values().map(|(_, _, stat)| stat.ephemeral_owner));
        nodes.chain(items).filter(|owner| *owner != 0).collect()
    }
}
