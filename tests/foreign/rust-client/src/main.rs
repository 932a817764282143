//! The basics by the crate zookeeper-client: foreign-basics HOST:PORT[,HOST:PORT...]. The variable RESTART may hold a command that kills
//! the server and starts it again. Ends with 'N passed, M failed'. The server needs extendedTypesEnabled.

use std::error::Error as Any;
use std::future::Future;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{sleep, timeout};
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthUser, Client, CreateMode, CreateOptions, Error, EventType, LockPrefix, MultiReadResult,
    MultiWriteError, MultiWriteResult, Permission, SessionState, WatchedEvent,
};

type Done = Result<(), Box<dyn Any>>;

const PATIENCE: Duration = Duration::from_secs(20);
const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

macro_rules! require {
    ($holds:expr) => {
        if !$holds {
            return Err(format!("line {}: {}", line!(), stringify!($holds)).into());
        }
    };
}

macro_rules! same {
    ($expected:expr, $actual:expr) => {
        let (expected, actual) = (&$expected, &$actual);
        if expected != actual {
            return Err(format!("line {}: expected {expected:?}, not {actual:?}", line!()).into());
        }
    };
}

macro_rules! refused {
    ($error:expr, $call:expr) => {
        match $call {
            Ok(answer) => return Err(format!("line {}: not refused, but {answer:?}", line!()).into()),
            Err(error) => {
                same!($error, error);
            }
        }
    };
}

macro_rules! eventually {
    ($holds:expr) => {
        let mut tries = 0;
        while !$holds {
            tries += 1;
            if tries > 1000 {
                return Err(format!("line {}: never came: {}", line!(), stringify!($holds)).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
}

struct World {
    servers: String,
    root: String,
    client: Client,
}

impl World {
    fn at(&self, below: &str) -> String {
        format!("{}{below}", self.root)
    }

    async fn connect(&self) -> Result<Client, Error> {
        connect(&self.servers).await
    }
}

async fn connect(servers: &str) -> Result<Client, Error> {
    Client::connector().with_session_timeout(Duration::from_secs(10)).connect(servers).await
}

async fn soon<T>(what: impl Future<Output = T>) -> Result<T, String> {
    timeout(PATIENCE, what).await.map_err(|_| "nothing has come".to_owned())
}

/// What was told, without the zxid that it was told with.
fn told(event: WatchedEvent) -> (EventType, String) {
    (event.event_type, event.path)
}

async fn modes(w: &World) -> Done {
    let c = &w.client;
    c.create(&w.at("/modes"), b"", &OPEN).await?;
    for mode in [
        CreateMode::Persistent,
        CreateMode::PersistentSequential,
        CreateMode::Ephemeral,
        CreateMode::EphemeralSequential,
        CreateMode::Container,
    ] {
        let name = w.at(&format!("/modes/{mode:?}-"));
        let (stat, sequence) = c.create(&name, b"data", &mode.with_acls(Acls::anyone_all())).await?;
        let sequential = matches!(mode, CreateMode::PersistentSequential | CreateMode::EphemeralSequential);
        let made = if sequential { format!("{name}{sequence}") } else { name };
        same!(Some(stat), c.check_stat(&made).await?);
        let ephemeral = matches!(mode, CreateMode::Ephemeral | CreateMode::EphemeralSequential);
        if mode != CreateMode::Container {
            same!(if ephemeral { c.session_id().0 } else { 0 }, stat.ephemeral_owner);
        }
        let child = c.create(&format!("{made}/child"), b"", &OPEN).await;
        if ephemeral {
            refused!(Error::NoChildrenForEphemerals, child);
        } else {
            child?;
        }
    }
    for mode in [CreateMode::Persistent, CreateMode::PersistentSequential] {
        let options = mode.with_acls(Acls::anyone_all()).with_ttl(Duration::from_secs(60));
        c.create(&w.at("/modes/ttl-"), b"t", &options).await?;
    }
    same!(7, c.list_children(&w.at("/modes")).await?.len());
    refused!(Error::NodeExists, c.create(&w.at("/modes"), b"", &OPEN).await);
    refused!(Error::NoNode, c.create(&w.at("/none/child"), b"", &OPEN).await);
    c.mkdir(&w.at("/deep/down/there"), &OPEN).await?;
    same!(2, c.count_descendants_number(&w.at("/deep")).await?);
    Ok(())
}

async fn data(w: &World) -> Done {
    let (c, at) = (&w.client, w.at("/data"));
    let (created, _) = c.create(&at, b"one", &OPEN).await?;
    same!((b"one".to_vec(), created), c.get_data(&at).await?);
    same!(1, c.set_data(&at, b"two", Some(0)).await?.version);
    refused!(Error::BadVersion, c.set_data(&at, b"three", Some(0)).await);
    let large: Vec<u8> = (0..1_000_000u32).map(|i| (i * 31) as u8).collect();
    c.set_data(&at, &large, None).await?;
    same!(large, c.get_data(&at).await?.0);
    c.set_data(&at, b"", None).await?;
    same!(0, c.get_data(&at).await?.0.len());
    refused!(Error::BadVersion, c.delete(&at, Some(7)).await);
    c.delete(&at, Some(3)).await?;
    refused!(Error::NoNode, c.get_data(&at).await);
    same!(None, c.check_stat(&at).await?);
    Ok(())
}

async fn children(w: &World) -> Done {
    let (c, at) = (&w.client, w.at("/family"));
    c.create(&at, b"", &OPEN).await?;
    // Asked for at once, answered in order.
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let name = format!("{at}/n-");
    let asked: Vec<_> = (0..100).map(|_| c.create(&name, b"", &sequential)).collect();
    for (i, one) in asked.into_iter().enumerate() {
        same!(i as i64, one.await?.1.into_i64());
    }
    let (names, stat) = c.get_children(&at).await?;
    same!((100, 100, 100), (names.len(), stat.num_children, stat.cversion));
    refused!(Error::NotEmpty, c.delete(&at, None).await);
    Ok(())
}

async fn watches(w: &World) -> Done {
    let (c, at, child) = (&w.client, w.at("/watched"), w.at("/watched/child"));
    let (none, exists) = c.check_and_watch_stat(&at).await?;
    same!(None, none);
    c.create(&at, b"", &OPEN).await?;
    same!((EventType::NodeCreated, at.clone()), told(soon(exists.changed()).await?));
    let (_, _, data) = c.get_and_watch_data(&at).await?;
    let (_, children) = c.list_and_watch_children(&at).await?;
    c.create(&child, b"", &OPEN).await?;
    same!((EventType::NodeChildrenChanged, at.clone()), told(soon(children.changed()).await?));
    let changed = c.set_data(&at, b"1", None).await?;
    let event = soon(data.changed()).await?;
    // A server of 3.9 tells which transaction it was.
    same!(changed.mzxid, event.zxid);
    same!((EventType::NodeDataChanged, at.clone()), told(event));
    let (_, _, gone) = c.get_and_watch_children(&child).await?;
    c.delete(&child, None).await?;
    same!((EventType::NodeDeleted, child.clone()), told(soon(gone.changed()).await?));
    let (_, _, removed) = c.get_and_watch_data(&at).await?;
    drop(removed);
    c.set_data(&at, b"2", None).await?;
    Ok(())
}

async fn lasting_watches(w: &World) -> Done {
    let (c, at, child) = (&w.client, w.at("/lasting"), w.at("/lasting/child"));
    let mut node = c.watch(&at, AddWatchMode::Persistent).await?;
    let mut tree = c.watch(&at, AddWatchMode::PersistentRecursive).await?;
    let other = w.connect().await?;
    other.create(&at, b"", &OPEN).await?;
    other.create(&child, b"", &OPEN).await?;
    let mzxid = other.set_data(&child, b"1", None).await?.mzxid;
    other.delete(&child, None).await?;
    other.delete(&at, None).await?;
    for expected in [
        (EventType::NodeCreated, at.clone()),
        (EventType::NodeChildrenChanged, at.clone()),
        (EventType::NodeChildrenChanged, at.clone()),
        (EventType::NodeDeleted, at.clone()),
    ] {
        same!(expected, told(soon(node.changed()).await?));
    }
    for expected in [
        (EventType::NodeCreated, at.clone()),
        (EventType::NodeCreated, child.clone()),
        (EventType::NodeDataChanged, child.clone()),
        (EventType::NodeDeleted, child.clone()),
        (EventType::NodeDeleted, at.clone()),
    ] {
        let event = soon(tree.changed()).await?;
        if event.event_type == EventType::NodeDataChanged {
            same!(mzxid, event.zxid);
        }
        same!(expected, told(event));
    }
    drop(node);
    drop(tree);
    Ok(())
}

async fn multi(w: &World) -> Done {
    let (c, at, child) = (&w.client, w.at("/multi"), w.at("/multi/child"));
    c.create(&at, b"0", &OPEN).await?;
    let mut writer = c.new_multi_writer();
    writer.add_check_version(&at, 0)?;
    writer.add_create(&child, b"c", &EPHEMERAL)?;
    writer.add_create(&format!("{at}/n-"), b"s", &CreateMode::PersistentSequential.with_acls(Acls::anyone_all()))?;
    writer.add_create(&format!("{at}/ttl"), b"t", &OPEN.clone().with_ttl(Duration::from_secs(60)))?;
    writer.add_create(&format!("{at}/container"), b"t", &CreateMode::Container.with_acls(Acls::anyone_all()))?;
    writer.add_set_data(&at, b"1", Some(0))?;
    writer.add_delete(&child, None)?;
    let results = writer.commit().await?;
    same!(7, results.len());
    let MultiWriteResult::Create { path, stat } = &results[2] else { return Err(format!("{:?}", results[2]).into()) };
    same!(&format!("{at}/n-0000000001"), path);
    same!(Some(*stat), c.check_stat(path).await?);
    let MultiWriteResult::SetData { stat } = &results[5] else { return Err(format!("{:?}", results[5]).into()) };
    same!((1, 4), (stat.version, stat.num_children));
    let mut bad = c.new_multi_writer();
    bad.add_set_data(&at, b"2", None)?;
    bad.add_check_version(&at, 1)?;
    bad.add_delete(&child, None)?;
    refused!(MultiWriteError::OperationFailed { index: 1, source: Error::BadVersion }, bad.commit().await);
    same!(b"1".to_vec(), c.get_data(&at).await?.0);
    let mut reader = c.new_multi_reader();
    reader.add_get_data(&at)?;
    reader.add_get_children(&format!("{at}/container"))?;
    reader.add_get_data(&child)?;
    let read = reader.commit().await?;
    require!(matches!(&read[0], MultiReadResult::Data { data, .. } if data == b"1"));
    require!(matches!(&read[1], MultiReadResult::Children { children } if children.is_empty()));
    require!(matches!(&read[2], MultiReadResult::Error { err: Error::NoNode }));
    Ok(())
}

async fn acl(w: &World) -> Done {
    let (c, at) = (&w.client, w.at("/secret"));
    refused!(Error::InvalidAcl, c.create(&at, b"s", &CreateMode::Persistent.with_acls(Acls::creator_all())).await);
    let friend = Client::connector().with_auth("digest", b"u:p").connect(&w.servers).await?;
    friend.create(&at, b"s", &CreateMode::Persistent.with_acls(Acls::creator_all())).await?;
    c.sync(&at).await?;
    refused!(Error::NoAuth, c.get_data(&at).await);
    refused!(Error::NoAuth, c.set_data(&at, b"t", None).await);
    let (acls, _) = friend.get_acl(&at).await?;
    same!((1, "digest", Permission::ALL), (acls.len(), acls[0].scheme(), acls[0].permission()));
    require!(friend.list_auth_users().await?.contains(&AuthUser::new("digest", "u")));
    let open = [Acl::new(Permission::READ, zookeeper_client::AuthId::anyone())];
    refused!(Error::BadVersion, friend.set_acl(&at, &open, Some(5)).await);
    same!(1, friend.set_acl(&at, &open, Some(0)).await?.aversion);
    c.sync(&at).await?;
    same!(b"s".to_vec(), c.get_data(&at).await?.0);
    refused!(Error::NoAuth, c.set_data(&at, b"t", None).await);
    Ok(())
}

async fn sync(w: &World) -> Done {
    let (c, at, writer) = (&w.client, w.at("/synced"), w.connect().await?);
    writer.create(&at, b"", &OPEN).await?;
    for i in 1..=20u8 {
        writer.set_data(&at, &[i], None).await?;
        c.sync(&at).await?;
        same!(vec![i], c.get_data(&at).await?.0);
    }
    Ok(())
}

async fn ephemerals(w: &World) -> Done {
    let (c, at, other) = (&w.client, w.at("/ephemeral"), w.connect().await?);
    other.create(&at, b"", &EPHEMERAL).await?;
    same!(vec![at.clone()], other.list_ephemerals("/").await?);
    c.sync(&at).await?;
    let (stat, gone) = c.check_and_watch_stat(&at).await?;
    same!(Some(other.session_id().0), stat.map(|stat| stat.ephemeral_owner));
    drop(other);
    same!((EventType::NodeDeleted, at.clone()), told(soon(gone.changed()).await?));
    same!(None, c.check_stat(&at).await?);
    Ok(())
}

async fn lock(w: &World) -> Done {
    let (one, two, at) = (w.connect().await?, w.connect().await?, w.at("/lock"));
    w.client.create(&at, b"", &OPEN).await?;
    two.sync(&at).await?;
    let held = one.lock(LockPrefix::new_curator(&at, "lock-")?, b"one", Acls::anyone_all()).await?;
    let wait = two.lock(LockPrefix::new_curator(&at, "lock-")?, b"two", Acls::anyone_all());
    tokio::pin!(wait);
    require!(timeout(Duration::from_millis(300), &mut wait).await.is_err());
    held.create(&w.at("/under-the-lock"), b"", &OPEN).await?;
    drop(held);
    soon(wait).await??;
    Ok(())
}

/// A second client takes the session over.
async fn session_moves(w: &World) -> Done {
    let (c, at, first) = (&w.client, w.at("/moved"), w.connect().await?);
    first.create(&at, b"", &EPHEMERAL).await?;
    let session = first.session().clone();
    let second = Client::connector().with_session(session).connect(&w.servers).await?;
    same!(first.session_id(), second.session_id());
    eventually!(second.set_data(&at, b"2", None).await.is_ok());
    // Each takes it back from the other. Whichever has it now ends it; if neither has, it expires.
    drop(second);
    drop(first);
    c.sync(&at).await?;
    eventually!(c.check_stat(&at).await?.is_none());
    Ok(())
}

async fn restart(w: &World) -> Done {
    let (c, at) = (&w.client, w.at("/restarted"));
    c.create(&at, b"", &EPHEMERAL).await?;
    let (_, _, data) = c.get_and_watch_data(&at).await?;
    let mut lasting = c.watch(&at, AddWatchMode::Persistent).await?;
    let command = std::env::var("RESTART")?;
    require!(Command::new("bash").args(["-c", &command]).output()?.status.success());
    eventually!(c.check_stat(&at).await.is_ok_and(|stat| stat.is_some_and(|stat| stat.ephemeral_owner == c.session_id().0)));
    same!(SessionState::SyncConnected, c.state());
    eventually!(c.set_data(&at, b"1", None).await.is_ok());
    same!((EventType::NodeDataChanged, at.clone()), told(soon(data.changed()).await?));
    loop {
        let event = soon(lasting.changed()).await?;
        // States of the connection are told too.
        if event.event_type != EventType::Session {
            same!((EventType::NodeDataChanged, at.clone()), told(event));
            return Ok(());
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(servers) = std::env::args().nth(1) else {
        eprintln!("foreign-basics HOST:PORT[,HOST:PORT...]");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    let root = format!("/rust-{now:x}");
    let client = match connect(&servers).await {
        Ok(client) => client,
        Err(error) => {
            println!("FAILED zookeeper-client: no connection to {servers}: {error}\n0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let w = World { servers, root, client };
    let (mut passed, mut failed) = (0, 0);
    let mut count = |name: &str, done: Result<Done, tokio::time::error::Elapsed>| match done {
        Ok(Ok(())) => {
            passed += 1;
            println!("ok zookeeper-client: {name}");
        }
        other => {
            failed += 1;
            let why = other.map_or_else(|_| "no end after 60 s".to_owned(), |done| done.expect_err("it failed").to_string());
            println!("FAILED zookeeper-client: {name}: {why}");
        }
    };
    macro_rules! check {
        ($name:literal, $body:expr) => {
            count($name, timeout(Duration::from_secs(60), $body).await);
        };
    }
    check!("a root for all", async { w.client.create(&w.root, b"", &OPEN).await.map(drop).map_err(Into::into) });
    check!("create of every mode", modes(&w));
    check!("data and versions", data(&w));
    check!("children", children(&w));
    check!("watches", watches(&w));
    check!("lasting watches", lasting_watches(&w));
    check!("multi", multi(&w));
    check!("ACL and authentication", acl(&w));
    check!("sync", sync(&w));
    check!("ephemerals go with their session", ephemerals(&w));
    check!("a lock", lock(&w));
    check!("a session moves", session_moves(&w));
    if std::env::var_os("RESTART").is_some() {
        check!("a server that is killed is found again", restart(&w));
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
