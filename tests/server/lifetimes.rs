//! Lifetimes: containers and znodes with a time to live, made, kept over a restart and taken away in real time.

use ringkeeper::client::answer::Body;
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::code::Code;

use super::harness::{Setup, both, directory, eventually};

both!(what_goes_by_itself_goes, what_a_client_asks_about_itself_and_the_tree);

fn ask(client: &mut Client, ask: &Ask<'_>) -> Body {
    client.call(ask).unwrap_or_else(|error| panic!("{ask:?}: {error}"))
}

fn is_there(client: &mut Client, path: &str) -> bool {
    match client.call(&Ask::Exists { path, watch: false }) {
        Ok(_) => true,
        Err(ClientError::Refused(refusal)) if refusal.0 == Code::NoNode.as_wire() => false,
        Err(error) => panic!("{path}: {error}"),
    }
}

fn what_goes_by_itself_goes(shards: &[&str]) {
    let directory = directory();
    let settings = ["-Dzookeeper.extendedTypesEnabled=true", "-Dznode.container.checkIntervalMs=500"];
    let setup = Setup::new(directory.path(), shards).args(&settings);
    let server = setup.start();
    let mut client = server.client();
    let acl = [Acl::open()];
    let ttl = |path, ttl_ms| Ask::CreateTtl { path, data: Some(b"t"), acl: &acl, mode: CreateMode::PersistentWithTtl, ttl_ms };
    for path in ["/held", "/left", "/new"] {
        let Body::Created(made, stat) = ask(&mut client, &Ask::CreateContainer { path, data: None, acl: &acl }) else {
            panic!("a container is answered with path and Stat")
        };
        assert_eq!((made.as_str(), stat.ephemeral_owner), (path, 0));
    }
    for path in ["/held/x", "/left/x"] {
        client.create(path, b"", CreateMode::Persistent).unwrap();
    }
    ask(&mut client, &ttl("/short", 1));
    ask(&mut client, &ttl("/long", 600_000));
    eventually("the znode with a short time to go", || (!is_there(&mut client, "/short")).then_some(()));
    server.kill();

    let server = setup.start();
    let mut client = server.client();
    ask(&mut client, &Ask::Delete { path: "/left/x", version: -1 });
    eventually("the container that is empty to go", || (!is_there(&mut client, "/left")).then_some(()));
    for path in ["/held", "/held/x", "/new", "/long"] {
        assert!(is_there(&mut client, path), "{path}");
    }
    server.stop();
    let server = setup.start();
    let mut client = server.client();
    let (mut names, _) = client.children("/", false).unwrap();
    names.sort();
    assert_eq!(names, ["held", "long", "new", "zookeeper"]);
    server.stop();
}

fn what_a_client_asks_about_itself_and_the_tree(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).start();
    let mut client = server.client();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    client.create("/a/e", b"", CreateMode::Ephemeral).unwrap();
    client.create("/f", b"", CreateMode::Ephemeral).unwrap();
    server.client().create("/a/others", b"", CreateMode::Ephemeral).unwrap();
    assert_eq!(ask(&mut client, &Ask::GetEphemerals { prefix: "/a" }), Body::Names(vec!["/a/e".into()]));
    let Body::Names(all) = ask(&mut client, &Ask::GetEphemerals { prefix: "/" }) else { panic!("paths") };
    assert_eq!(all.len(), 2);
    assert_eq!(ask(&mut client, &Ask::GetAllChildrenNumber { path: "/zookeeper" }), Body::Number(2));
    ask(&mut client, &Ask::Auth { scheme: "digest", auth: b"user:secret" });
    let who = [("ip", "127.0.0.1"), ("digest", "user")].map(|(scheme, user)| (scheme.to_owned(), user.to_owned()));
    assert_eq!(ask(&mut client, &Ask::WhoAmI), Body::Identities(who.into()));
    server.stop();
}
