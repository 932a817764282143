//! Perform: an order done, through a session that lasts.

use serde_json::json;

use super::order::{Mode, Order};
use super::quota::{self, QuotaError};
use super::shown::{Shown, acl_json, acl_text, data_json};
use crate::client::answer::Body;
use crate::client::ask::{Ask, CreateMode};
use crate::client::blocking::ClientError;
use crate::client::lasting::Lasting;
use crate::proto::acl::Acl;
use crate::proto::path;
use crate::proto::stat::Stat;

/// Why an order was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// What it names is no path.
    #[error("{0:?} is no path of a znode; it should look like /a/b")]
    Path(String),
    /// The server refused it, or does not answer. With the path it is about.
    #[error("{0}: {1}")]
    Client(String, ClientError),
    /// What it asks of a quota cannot be. With the path it is about.
    #[error("{0}: {1}")]
    Quota(String, QuotaError),
}

/// Does an order that is about the tree or the session.
pub fn perform(keeper: &mut Lasting, order: &Order) -> Result<Shown, NotDone> {
    let path = match order {
        Order::Get { path, .. }
        | Order::Set { path, .. }
        | Order::Create { path, .. }
        | Order::Ls { path, .. }
        | Order::Stat { path, .. }
        | Order::Delete { path, .. }
        | Order::DeleteAll { path }
        | Order::GetAcl { path, .. }
        | Order::SetAcl { path, .. }
        | Order::GetAllChildrenNumber { path }
        | Order::GetEphemerals { path }
        | Order::Sync { path }
        | Order::ListQuota { path }
        | Order::SetQuota { path, .. }
        | Order::DelQuota { path, .. }
        | Order::AddWatch { path, .. }
        | Order::RemoveWatches { path, .. } => path.as_str(),
        _ => path::ROOT,
    };
    // The name of a sequential znode may be its number alone, after a '/'.
    let prefix = matches!(order, Order::Create { sequential: true, .. });
    if !(path::is_valid(path) || prefix && path::is_valid(&format!("{path}0"))) {
        return Err(NotDone::Path(path.to_owned()));
    }
    let full = keeper.target().full(path);
    let done = match order {
        Order::ListQuota { .. } => quota::list(keeper, path, &full),
        Order::SetQuota { limits, .. } => quota::set(keeper, &full, limits),
        Order::DelQuota { kinds, .. } => quota::delete(keeper, &full, kinds),
        _ => ask(keeper, order, path, &full).map_err(QuotaError::Client),
    };
    done.map_err(|error| match error {
        QuotaError::Client(error) => NotDone::Client(path.to_owned(), error),
        error => NotDone::Quota(path.to_owned(), error),
    })
}

fn ask(keeper: &mut Lasting, order: &Order, seen: &str, path: &str) -> Result<Shown, ClientError> {
    Ok(match order {
        Order::Get { stat, watch, .. } => match keeper.call(&Ask::GetData { path, watch: *watch })? {
            Body::Data(data, found) => {
                let text = data.as_deref().map_or_else(|| "null".into(), String::from_utf8_lossy).into_owned();
                Shown::new(text, data_json(data.as_deref())).with_stat(stat.then_some(&found))
            }
            other => return Err(shape(&other)),
        },
        Order::Set { stat, version, data, .. } => {
            let ask = Ask::SetData { path, data: Some(data.as_bytes()), version: version.unwrap_or(-1) };
            changed(stat_of(keeper.call(&ask)?)?, *stat)
        }
        Order::Create { sequential, ephemeral, container, ttl, data, acl, .. } => {
            let mode = match (sequential, ephemeral, ttl) {
                (false, _, Some(_)) => CreateMode::PersistentWithTtl,
                (true, _, Some(_)) => CreateMode::PersistentSequentialWithTtl,
                (false, false, None) => CreateMode::Persistent,
                (true, false, None) => CreateMode::PersistentSequential,
                (false, true, None) => CreateMode::Ephemeral,
                (true, true, None) => CreateMode::EphemeralSequential,
            };
            let open = [Acl::open()];
            let acl: &[Acl] = acl.as_ref().map_or(&open, |acls| &acls.0);
            let data = data.as_ref().map(String::as_bytes);
            let ask = match ttl {
                _ if *container => Ask::CreateContainer { path, data, acl },
                Some(ttl_ms) => Ask::CreateTtl { path, data, acl, mode, ttl_ms: *ttl_ms },
                None => Ask::Create2 { path, data, acl, mode },
            };
            match keeper.call(&ask)? {
                Body::Created(made, _) => {
                    let made = keeper.target().seen(&made);
                    Shown::new(format!("Created {made}"), json!({ "created": made }))
                }
                other => return Err(shape(&other)),
            }
        }
        Order::Ls { recursive: true, .. } => {
            let all = below(keeper, path)?;
            let all: Vec<&str> = all.iter().map(|path| keeper.target().seen(path)).collect();
            Shown::new(all.join("\n"), json!({ "paths": all }))
        }
        Order::Ls { stat, watch, .. } => {
            let (names, found) = children(keeper, path, *watch)?;
            let shown = Shown::new(format!("[{}]", names.join(", ")), json!({ "children": names }));
            shown.with_stat(stat.then_some(&found))
        }
        Order::Stat { watch, .. } => changed(stat_of(keeper.call(&Ask::Exists { path, watch: *watch })?)?, true),
        Order::Delete { version, .. } => {
            keeper.call(&Ask::Delete { path, version: version.unwrap_or(-1) })?;
            Shown::new("", json!({ "deleted": [seen] }))
        }
        Order::DeleteAll { .. } => {
            let all = below(keeper, path)?;
            for path in all.iter().rev() {
                keeper.call(&Ask::Delete { path, version: -1 })?;
            }
            let all: Vec<&str> = all.iter().map(|path| keeper.target().seen(path)).collect();
            Shown::new("", json!({ "deleted": all }))
        }
        Order::GetAcl { stat, .. } => match keeper.call(&Ask::GetAcl { path })? {
            Body::Acl(list, found) => Shown::new(acl_text(&list), acl_json(&list)).with_stat(stat.then_some(&found)),
            other => return Err(shape(&other)),
        },
        Order::SetAcl { stat, version, recursive, acl, .. } => {
            let all = if *recursive { below(keeper, path)? } else { vec![path.to_owned()] };
            let mut last = Stat::default();
            for path in all.iter().rev() {
                last = stat_of(keeper.call(&Ask::SetAcl { path, acl: &acl.0, version: version.unwrap_or(-1) })?)?;
            }
            changed(last, *stat)
        }
        Order::AddAuth { scheme, auth } => {
            keeper.auth(scheme, auth.as_bytes())?;
            Shown::new("", json!({}))
        }
        Order::GetAllChildrenNumber { .. } => match keeper.call(&Ask::GetAllChildrenNumber { path })? {
            Body::Number(number) => Shown::new(number.to_string(), json!({ "number": number })),
            other => return Err(shape(&other)),
        },
        Order::GetEphemerals { .. } => match keeper.call(&Ask::GetEphemerals { prefix: path })? {
            Body::Names(mut paths) => {
                paths.sort_unstable();
                let paths: Vec<&str> = paths.iter().map(|path| keeper.target().seen(path)).collect();
                Shown::new(format!("[{}]", paths.join(", ")), json!({ "ephemerals": paths }))
            }
            other => return Err(shape(&other)),
        },
        Order::Sync { .. } => {
            keeper.call(&Ask::Sync { path })?;
            Shown::new("Sync is OK", json!({}))
        }
        Order::AddWatch { mode, .. } => {
            keeper.call(&Ask::AddWatch { path, mode: i32::from(*mode == Mode::PersistentRecursive) })?;
            Shown::new("", json!({}))
        }
        Order::RemoveWatches { children, data, .. } => {
            let kind = if *children { 1 } else { 3 - i32::from(*data) };
            keeper.call(&Ask::RemoveWatches { path, kind })?;
            Shown::new("", json!({}))
        }
        Order::WhoAmI => match keeper.call(&Ask::WhoAmI)? {
            Body::Identities(list) => {
                let lines: Vec<String> = list.iter().map(|(scheme, user)| format!("{scheme}: {user}")).collect();
                let json: Vec<_> = list.iter().map(|(scheme, user)| json!({ "scheme": scheme, "user": user })).collect();
                Shown::new(format!("Auth scheme: User\n{}", lines.join("\n")), json!({ "identities": json }))
            }
            other => return Err(shape(&other)),
        },
        Order::Version => version(),
        Order::ListQuota { .. } | Order::SetQuota { .. } | Order::DelQuota { .. } => {
            unreachable!("quotas have a file of their own")
        }
        Order::Close | Order::Connect { .. } | Order::History | Order::Quit => Shown::default(),
    })
}

/// This program's version.
pub fn version() -> Shown {
    let version = env!("CARGO_PKG_VERSION");
    Shown::new(format!("ringkeeper {version}"), json!({ "version": version }))
}

fn shape(_: &Body) -> ClientError {
    ClientError::Shape(0)
}

/// What a getData was answered with.
pub(super) fn data_of(body: Body) -> Result<Option<Vec<u8>>, ClientError> {
    match body {
        Body::Data(data, _) => Ok(data),
        other => Err(shape(&other)),
    }
}

fn stat_of(body: Body) -> Result<Stat, ClientError> {
    match body {
        Body::Stat(stat) => Ok(stat),
        other => Err(shape(&other)),
    }
}

/// A Stat for programs always, for people where it was asked for.
fn changed(stat: Stat, for_people: bool) -> Shown {
    let mut shown = Shown::new("", json!({})).with_stat(Some(&stat));
    if !for_people {
        shown.text.clear();
    }
    shown
}

pub(super) fn children(keeper: &mut Lasting, path: &str, watch: bool) -> Result<(Vec<String>, Stat), ClientError> {
    match keeper.call(&Ask::GetChildren2 { path, watch })? {
        Body::Children(mut names, stat) => {
            names.sort_unstable();
            Ok((names, stat))
        }
        other => Err(shape(&other)),
    }
}

/// A znode and all below it, by full paths, parents first. What goes meanwhile is left out.
fn below(keeper: &mut Lasting, path: &str) -> Result<Vec<String>, ClientError> {
    let mut all = vec![path.to_owned()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        match children(keeper, &path, false) {
            Ok((names, _)) => {
                let parent = if path == path::ROOT { "" } else { &path };
                all.extend(names.iter().map(|name| format!("{parent}/{name}")));
            }
            Err(ClientError::Refused(_)) if at > 0 => {}
            Err(error) => return Err(error),
        }
        at += 1;
    }
    Ok(all)
}

/// Names below the parent of a path that somebody is writing.
pub fn completions(keeper: &mut Lasting, started: &str) -> Vec<String> {
    let Some((parent, begun)) = path::split(started) else { return Vec::new() };
    let full = keeper.target().full(parent);
    let Ok((names, _)) = children(keeper, &full, false) else { return Vec::new() };
    let above = if parent == path::ROOT { "" } else { parent };
    names.iter().filter(|name| name.starts_with(begun)).map(|name| format!("{above}/{name}")).collect()
}
