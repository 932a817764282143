//! Order: what a line of the shell asks for, by the names and flags of ZooKeeper's `zkCli.sh`.

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::words::words;
use crate::client::target::Target;
use crate::proto::acl::Acl;

/// A line.
#[derive(Parser, Debug)]
#[command(name = "", no_binary_name = true, disable_version_flag = true)]
pub struct Line {
    /// What it asks for.
    #[command(subcommand)]
    pub order: Order,
}

/// An order. Versions are the expected ones; without one any will do.
#[derive(Subcommand, Debug)]
#[command(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the arguments of zkCli, under their names there")]
pub enum Order {
    /// Print a znode's data.
    Get {
        /// And the Stat.
        #[arg(short)]
        stat: bool,
        /// Leave a watch.
        #[arg(short)]
        watch: bool,
        path: String,
    },
    /// Set a znode's data.
    Set {
        /// Print the Stat.
        #[arg(short)]
        stat: bool,
        #[arg(short, allow_hyphen_values = true)]
        version: Option<i32>,
        path: String,
        #[arg(allow_hyphen_values = true)]
        data: String,
    },
    /// Make a znode.
    Create {
        /// With the parent's counter at the end of its name.
        #[arg(short)]
        sequential: bool,
        /// It goes with the session.
        #[arg(short, conflicts_with_all = ["container", "ttl"])]
        ephemeral: bool,
        /// It goes after its last child.
        #[arg(short, conflicts_with_all = ["sequential", "ttl"])]
        container: bool,
        /// It goes after so many milliseconds without change and child.
        #[arg(short, value_name = "MS", value_parser = clap::value_parser!(i64).range(1..))]
        ttl: Option<i64>,
        path: String,
        #[arg(allow_hyphen_values = true)]
        data: Option<String>,
        /// As scheme:id:cdrwa,...
        acl: Option<Acls>,
    },
    /// List a znode's children.
    Ls {
        /// And the Stat.
        #[arg(short)]
        stat: bool,
        /// Leave a watch.
        #[arg(short)]
        watch: bool,
        /// All znodes below it, by their paths.
        #[arg(short = 'R')]
        recursive: bool,
        path: String,
    },
    /// Print a znode's Stat.
    Stat {
        /// Leave a watch.
        #[arg(short)]
        watch: bool,
        path: String,
    },
    /// Delete a znode without children.
    Delete {
        #[arg(short, allow_hyphen_values = true)]
        version: Option<i32>,
        path: String,
    },
    /// Delete a znode and all below it.
    #[command(name = "deleteall")]
    DeleteAll { path: String },
    /// Print who may do what with a znode.
    GetAcl {
        /// And the Stat.
        #[arg(short)]
        stat: bool,
        path: String,
    },
    /// Set who may do what with a znode.
    SetAcl {
        /// Print the Stat.
        #[arg(short)]
        stat: bool,
        #[arg(short, allow_hyphen_values = true)]
        version: Option<i32>,
        /// All below it as well.
        #[arg(short = 'R')]
        recursive: bool,
        path: String,
        /// As scheme:id:cdrwa,...
        acl: Acls,
    },
    /// Add an identity to the session.
    #[command(name = "addauth")]
    AddAuth { scheme: String, auth: String },
    /// Count all znodes below one.
    GetAllChildrenNumber { path: String },
    /// List the session's own ephemeral znodes.
    GetEphemerals {
        #[arg(default_value = "/")]
        path: String,
    },
    /// Wait until the server has what the leader has.
    Sync {
        #[arg(default_value = "/")]
        path: String,
    },
    /// Leave a watch that stays.
    AddWatch {
        #[arg(short, value_enum, ignore_case = true, default_value = "PERSISTENT_RECURSIVE")]
        mode: Mode,
        path: String,
    },
    /// Take watches away.
    #[command(name = "removewatches")]
    RemoveWatches {
        /// Child watches.
        #[arg(short, group = "kind")]
        children: bool,
        /// Data watches.
        #[arg(short, group = "kind")]
        data: bool,
        /// Any; so it is where nothing is said.
        #[arg(short, group = "kind")]
        any: bool,
        path: String,
    },
    /// Print the session's identities.
    #[command(name = "whoami")]
    WhoAmI,
    /// Print a path's quota, and what is used of it.
    #[command(name = "listquota")]
    ListQuota { path: String },
    /// Limit what is at and below a path.
    #[command(name = "setquota")]
    SetQuota {
        #[command(flatten)]
        limits: Limits,
        path: String,
    },
    /// Take a quota away, or the named limits of it.
    #[command(name = "delquota")]
    DelQuota {
        #[command(flatten)]
        kinds: Kinds,
        path: String,
    },
    /// Print this program's version.
    Version,
    /// End the session.
    Close,
    /// End the session and open one, elsewhere perhaps.
    Connect { server: Option<Target> },
    /// Print the lines entered so far.
    History,
    /// Leave.
    Quit,
}

/// Limits of a quota. Hard ones are kept by servers with `enforceQuota=true`.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
#[group(required = true, multiple = true)]
pub struct Limits {
    /// Znodes, with a warning in the server's log.
    #[arg(short = 'n', value_name = "ZNODES", value_parser = clap::value_parser!(i32).range(1..))]
    pub count: Option<i32>,
    /// Bytes of data, with a warning in the server's log.
    #[arg(short = 'b', value_name = "BYTES", value_parser = clap::value_parser!(i64).range(0..))]
    pub bytes: Option<i64>,
    /// Znodes; more are refused.
    #[arg(short = 'N', value_name = "ZNODES", value_parser = clap::value_parser!(i32).range(1..))]
    pub count_hard: Option<i32>,
    /// Bytes of data; more are refused.
    #[arg(short = 'B', value_name = "BYTES", value_parser = clap::value_parser!(i64).range(0..))]
    pub bytes_hard: Option<i64>,
}

/// Kinds of limits.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of zkCli's")]
pub struct Kinds {
    /// Znodes, soft.
    #[arg(short = 'n')]
    pub count: bool,
    /// Bytes, soft.
    #[arg(short = 'b')]
    pub bytes: bool,
    /// Znodes, hard.
    #[arg(short = 'N')]
    pub count_hard: bool,
    /// Bytes, hard.
    #[arg(short = 'B')]
    pub bytes_hard: bool,
}

/// How a watch that stays looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// At its path.
    Persistent,
    /// At its path and all below.
    PersistentRecursive,
}

/// A list of access rights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acls(pub Vec<Acl>);

impl std::str::FromStr for Acls {
    type Err = String;

    /// `scheme:id:perms,...`; the id may have colons of its own.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |part: &str| format!("{part:?} should look like world:anyone:cdrwa or digest:user:hash:r");
        let acl = |part: &str| {
            let (scheme, rest) = part.split_once(':')?;
            let (id, letters) = rest.rsplit_once(':')?;
            let bit = |letter| {
                Some(match letter {
                    'r' => 1,
                    'w' => 2,
                    'c' => 4,
                    'd' => 8,
                    'a' => 16,
                    _ => return None,
                })
            };
            let perms = letters.chars().map(bit).try_fold(0, |perms, bit| Some(perms | bit?))?;
            Some(Acl::new(perms, scheme, id))
        };
        let list = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        list.map(|part| acl(part).ok_or_else(|| bad(part))).collect::<Result<_, _>>().map(Self)
    }
}

/// Reads a line. `None` where there is nothing in it; the error is for people, and may be the help they asked for.
pub fn read(line: &str) -> Option<Result<Order, String>> {
    match words(line) {
        Err(unclosed) => Some(Err(unclosed.to_string())),
        Ok(words) if words.is_empty() || words[0].starts_with('#') => None,
        Ok(words) => Some(of(&words).map_err(|error| error.render().to_string().trim_end().to_owned())),
    }
}

/// Reads an order from its words.
pub fn of(words: &[String]) -> Result<Order, clap::Error> {
    Line::try_parse_from(words).map(|line| line.order)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_names_are_those_of_zk_cli() {
        Line::command().debug_assert();
        let names: Vec<_> = Line::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for name in ["get", "ls", "deleteall", "getAcl", "addauth", "getAllChildrenNumber", "addWatch", "removewatches", "whoami"]
        {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn lines_of_zk_cli_are_read() {
        let order = |line| read(line).unwrap();
        assert!(matches!(order("get -s -w /a"), Ok(Order::Get { stat: true, watch: true, .. })));
        assert!(matches!(order("ls -R /"), Ok(Order::Ls { recursive: true, .. })));
        assert!(matches!(order("delete -v -1 /a"), Ok(Order::Delete { version: Some(-1), .. })));
        assert!(matches!(order("set /a -5"), Ok(Order::Set { data, .. }) if data == "-5"));
        assert!(matches!(order("create -s -e /a x"), Ok(Order::Create { sequential: true, ephemeral: true, .. })));
        let Ok(Order::Create { acl: Some(acl), .. }) = order("create /a '' world:anyone:r,digest:u:h=:cdrwa") else { panic!() };
        assert_eq!(acl.0, [Acl::new(1, "world", "anyone"), Acl::new(31, "digest", "u:h=")]);
        assert!(matches!(order("addWatch -m persistent /a"), Ok(Order::AddWatch { mode: Mode::Persistent, .. })));
        assert!(matches!(
            order("setquota -n 5 -B 0 /a"),
            Ok(Order::SetQuota { limits: Limits { count: Some(5), bytes_hard: Some(0), .. }, .. })
        ));
        assert!(matches!(order("delquota -N /a"), Ok(Order::DelQuota { kinds: Kinds { count_hard: true, .. }, .. })));
        assert!(matches!(order("delquota /a"), Ok(Order::DelQuota { kinds, .. }) if kinds == Kinds::default()));
        for bad in [
            "setquota /a",
            "setquota -n 0 /a",
            "setquota -b -1 /a",
            "listquota",
            "frob /a",
            "get",
            "create -e -c /a",
            "setAcl /a world:anyone:x",
            "get 'x",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
        assert!(read("  # nothing").is_none() && read("").is_none());
    }
}
