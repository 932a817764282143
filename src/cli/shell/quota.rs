//! Quota orders: `listquota`, `setquota` and `delquota`, on the znodes by which zkCli does them.

use serde_json::{Value, json};

use super::order::{Kinds, Limits};
use super::perform::{children, data_of};
use super::shown::Shown;
use crate::client::answer::Refusal;
use crate::client::ask::{Ask, CreateMode};
use crate::client::blocking::ClientError;
use crate::client::lasting::Lasting;
use crate::proto::acl::Acl;
use crate::proto::code::Code;
use crate::proto::path::{self, ROOT};
use crate::tree::quota::{Figures, NoFigures, QUOTA, limited, limits_path, stats_path};

/// Why a quota is neither shown nor changed.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// The server refused something, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A znode of the quota has no figures.
    #[error("{0}: {1}")]
    Figures(String, NoFigures),
    /// Of one path and another below it only one is given a quota: the server charges the deepest alone.
    #[error("{0} has a quota, and one of two below each other is enough")]
    Nested(String),
    /// No quota is possible there.
    #[error("nothing counts against a quota there")]
    Nowhere,
    /// There is none.
    #[error("it has no quota")]
    None,
}

impl QuotaError {
    /// For programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Client(_) => "CLIENT",
            Self::Figures(..) => "FIGURES",
            Self::Nested(_) => "NESTED",
            Self::Nowhere => "NOWHERE",
            Self::None => "NOQUOTA",
        }
    }
}

fn is(error: &ClientError, code: Code) -> bool {
    error.refusal() == Some(Refusal(code.as_wire()))
}

/// The figures of a znode; `None` where it is not there.
fn figures(keeper: &mut Lasting, at: &str) -> Result<Option<Figures>, QuotaError> {
    match keeper.call(&Ask::GetData { path: at, watch: false }).and_then(data_of) {
        Ok(data) => Figures::read(data.as_deref()).map(Some).map_err(|error| QuotaError::Figures(at.to_owned(), error)),
        Err(error) if is(&error, Code::NoNode) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn numbers(figures: &Figures) -> Value {
    json!({
        "count": figures.get(Figures::COUNT), "bytes": figures.get(Figures::BYTES),
        "countHardLimit": figures.get(Figures::COUNT_HARD), "byteHardLimit": figures.get(Figures::BYTES_HARD),
    })
}

/// The limits of a path and what is used of them.
pub fn list(keeper: &mut Lasting, seen: &str, of: &str) -> Result<Shown, QuotaError> {
    let limits = figures(keeper, &limits_path(of))?.ok_or(QuotaError::None)?;
    let used = figures(keeper, &stats_path(of))?.ok_or(QuotaError::None)?;
    let text = format!("Output quota for {seen} {limits}\nOutput stat for {seen} {used}");
    let used_json = json!({ "count": used.get(Figures::COUNT), "bytes": used.get(Figures::BYTES) });
    Ok(Shown::new(text, json!({ "limits": numbers(&limits), "used": used_json })))
}

/// Sets those limits of a path that are given, and leaves others as they are.
pub fn set(keeper: &mut Lasting, of: &str, wanted: &Limits) -> Result<Shown, QuotaError> {
    if of == ROOT || of == QUOTA || of.starts_with(&format!("{QUOTA}/")) {
        return Err(QuotaError::Nowhere);
    }
    keeper.call(&Ask::Exists { path: of, watch: false })?;
    let (limits_at, stats_at) = (limits_path(of), stats_path(of));
    let known = figures(keeper, &limits_at)?;
    let is_new = known.is_none();
    let mut limits = known.unwrap_or_default();
    let given = [
        (Figures::COUNT, wanted.count.map(i64::from)),
        (Figures::BYTES, wanted.bytes),
        (Figures::COUNT_HARD, wanted.count_hard.map(i64::from)),
        (Figures::BYTES_HARD, wanted.bytes_hard),
    ];
    for (name, number) in given {
        limits.set(name, number.unwrap_or_else(|| limits.get(name)));
    }
    let text = limits.to_string();
    if is_new {
        for_itself(keeper, of)?;
        let acl = &[Acl::open()];
        let mode = CreateMode::Persistent;
        let ends = of.match_indices('/').map(|(at, _)| at).skip(1).chain([of.len()]);
        for end in ends {
            let path = &format!("{QUOTA}{}", &of[..end]);
            match keeper.call(&Ask::Create { path, data: None, acl, mode }) {
                Err(error) if !is(&error, Code::NodeExists) => return Err(error.into()),
                _ => {}
            }
        }
        let nothing = Figures::of_use(0, 0).to_string();
        keeper.call(&Ask::Multi(&[
            Ask::Create { path: &limits_at, data: Some(text.as_bytes()), acl, mode },
            Ask::Create { path: &stats_at, data: Some(nothing.as_bytes()), acl, mode },
        ]))?;
    } else {
        keeper.call(&Ask::SetData { path: &limits_at, data: Some(text.as_bytes()), version: -1 })?;
    }
    let used = figures(keeper, &stats_at)?.unwrap_or_default();
    let too_much = |name: &str, hard: &str| {
        let limit = [name, hard].map(|name| limits.get(name)).into_iter().filter(|limit| *limit > -1).min();
        let used = used.get(name);
        limit
            .filter(|limit| *limit < used)
            .map(|_| format!("[Warning]: the {name} quota is less than the existing {name}: {used}"))
    };
    let warnings: Vec<_> = [too_much(Figures::COUNT, Figures::COUNT_HARD), too_much(Figures::BYTES, Figures::BYTES_HARD)]
        .into_iter()
        .flatten()
        .collect();
    Ok(Shown::new(warnings.join("\n"), json!({ "limits": numbers(&limits), "warnings": warnings })))
}

/// Refuses where what is above or below has a quota.
fn for_itself(keeper: &mut Lasting, of: &str) -> Result<(), QuotaError> {
    let mut above = of;
    while let Some((parent, _)) = path::split(above).filter(|(parent, _)| *parent != ROOT) {
        if figures(keeper, &limits_path(parent))?.is_some() {
            return Err(QuotaError::Nested(parent.to_owned()));
        }
        above = parent;
    }
    let mut ahead = vec![format!("{QUOTA}{of}")];
    while let Some(at) = ahead.pop() {
        let names = match children(keeper, &at, false) {
            Ok((names, _)) => names,
            Err(error) if is(&error, Code::NoNode) => continue,
            Err(error) => return Err(error.into()),
        };
        let below = &at[QUOTA.len()..];
        if below != of && names.iter().any(|name| limited(&format!("{at}/{name}")) == Some(below)) {
            return Err(QuotaError::Nested(below.to_owned()));
        }
        ahead.extend(names.iter().map(|name| format!("{at}/{name}")));
    }
    Ok(())
}

/// Takes the limits of these kinds away, or the whole quota where none is named.
pub fn delete(keeper: &mut Lasting, of: &str, kinds: &Kinds) -> Result<Shown, QuotaError> {
    let at = limits_path(of);
    let mut limits = figures(keeper, &at)?.ok_or(QuotaError::None)?;
    let named = [
        (Figures::COUNT, kinds.count),
        (Figures::BYTES, kinds.bytes),
        (Figures::COUNT_HARD, kinds.count_hard),
        (Figures::BYTES_HARD, kinds.bytes_hard),
    ];
    if named.iter().any(|(_, is_named)| *is_named) {
        for (name, _) in named.into_iter().filter(|(_, is_named)| *is_named) {
            limits.set(name, -1);
        }
        keeper.call(&Ask::SetData { path: &at, data: Some(limits.to_string().as_bytes()), version: -1 })?;
        return Ok(Shown::new("", json!({ "limits": numbers(&limits) })));
    }
    for path in [&at, &stats_path(of)] {
        match keeper.call(&Ask::Delete { path, version: -1 }) {
            Err(error) if !is(&error, Code::NoNode) => return Err(error.into()),
            _ => {}
        }
    }
    // Upwards as far as nothing else is there.
    let mut way = of;
    while way != ROOT {
        match keeper.call(&Ask::Delete { path: &format!("{QUOTA}{way}"), version: -1 }) {
            Err(error) if is(&error, Code::NotEmpty) => break,
            Err(error) if !is(&error, Code::NoNode) => return Err(error.into()),
            _ => {}
        }
        way = path::split(way).map_or(ROOT, |(parent, _)| parent);
    }
    Ok(Shown::new("", json!({})))
}
