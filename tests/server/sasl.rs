//! Sasl: names proved by DIGEST-MD5, as kazoo and ZooKeeper's own clients do it, and servers that ask everybody for a proof.

use std::path::Path;
use std::time::{Duration, Instant};

use ringkeeper::client::answer::Body;
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::proto::acl::{ALL, Acl};
use ringkeeper::proto::code::Code;

use super::harness::{Server, Setup, both, directory, proof, prove, token};

both!(
    a_name_is_proved_and_opens_what_is_its_own,
    who_proves_nothing_is_closed_or_stays_without_a_name,
    everybody_has_to_prove_something,
    without_users_there_is_no_token,
);

const PROVIDER: &str = "-Dzookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

fn start(directory: &Path, shards: &[&str], args: &[&str]) -> Server {
    let jaas = directory.join("jaas.conf");
    let users =
        "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=\"secret\" user_root=\"toor\"; };\n";
    std::fs::write(&jaas, users).unwrap();
    let jaas = format!("-Djava.security.auth.login.config={}", jaas.display());
    Setup::new(directory, shards).args(&[&jaas, PROVIDER, "-Dzookeeper.superUser=root"]).args(args).start()
}

fn code(error: &ClientError) -> Option<i32> {
    error.refusal().map(|refusal| refusal.0)
}

fn names(client: &mut Client) -> Vec<(String, String)> {
    match client.call(&Ask::WhoAmI).unwrap() {
        Body::Identities(all) => all,
        other => panic!("{other:?}"),
    }
}

fn is_closed(client: &mut Client) -> bool {
    matches!(client.ping(), Err(ClientError::Closed | ClientError::Io(_)))
}

fn a_name_is_proved_and_opens_what_is_its_own(shards: &[&str]) {
    let directory = directory();
    let server = start(directory.path(), shards, &[]);
    let (mut bob, mut stranger, mut root) = (server.client(), server.client(), server.client());
    let answer = prove(&mut bob, "bob", "secret").unwrap().unwrap();
    assert!(answer.starts_with(b"rspauth=") && answer.len() == 40);
    prove(&mut root, "root", "toor").unwrap();
    let pair = |scheme: &str, id: &str| (scheme.to_owned(), id.to_owned());
    assert_eq!(names(&mut bob), [pair("ip", "127.0.0.1"), pair("sasl", "bob")]);
    assert_eq!(names(&mut root), [pair("ip", "127.0.0.1"), pair("sasl", "root"), pair("super", "")]);
    for (path, acl) in [("/named", Acl::new(ALL, "sasl", "bob")), ("/own", Acl::new(ALL, "auth", ""))] {
        bob.call(&Ask::Create2 { path, data: Some(b"x"), acl: &[acl], mode: CreateMode::Persistent }).unwrap();
        stranger.sync("/").unwrap();
        root.sync("/").unwrap();
        assert_eq!(code(&stranger.get(path, false).unwrap_err()), Some(Code::NoAuth.as_wire()));
        assert_eq!(bob.get(path, false).unwrap().0, b"x");
        assert_eq!(root.get(path, false).unwrap().0, b"x");
    }
    let refused = stranger.call(&Ask::Create2 {
        path: "/bad",
        data: None,
        acl: &[Acl::new(ALL, "sasl", "a@b@c")],
        mode: CreateMode::Persistent,
    });
    assert_eq!(code(&refused.unwrap_err()), Some(Code::InvalidAcl.as_wire()));
    // One exchange a connection, and none by auth packets.
    assert_eq!(code(&token(&mut bob, b"").unwrap_err()), Some(Code::AuthFailed.as_wire()));
    assert!(is_closed(&mut bob));
    assert_eq!(code(&stranger.auth("sasl", b"bob").unwrap_err()), Some(Code::AuthFailed.as_wire()));
    server.stop();
}

fn who_proves_nothing_is_closed_or_stays_without_a_name(shards: &[&str]) {
    let directory = directory();
    let server = start(directory.path(), shards, &[]);
    for (user, password) in [("bob", "wrong"), ("eve", "secret"), ("eve", "")] {
        let mut client = server.client();
        let since = Instant::now();
        assert_eq!(code(&prove(&mut client, user, password).unwrap_err()), Some(Code::AuthFailed.as_wire()), "{user}");
        assert!(since.elapsed() >= Duration::from_millis(100), "a guess costs time");
        assert!(is_closed(&mut client));
    }
    // Every connection has a challenge of its own, and another's answer proves nothing.
    let (mut one, mut other) = (server.client(), server.client());
    let (first, second) = (token(&mut one, b"").unwrap().unwrap(), token(&mut other, b"").unwrap().unwrap());
    assert_ne!(first, second);
    assert_eq!(code(&token(&mut other, &proof(&first, "bob", "secret")).unwrap_err()), Some(Code::AuthFailed.as_wire()));
    assert!(token(&mut one, &proof(&first, "bob", "secret")).unwrap().is_some());
    server.stop();

    let server = start(directory.path(), shards, &["-Dzookeeper.allowSaslFailedClients=true"]);
    let mut client = server.client();
    assert_eq!(prove(&mut client, "bob", "wrong").unwrap(), None);
    assert_eq!(token(&mut client, b"").unwrap(), None, "there is no second try");
    assert_eq!(names(&mut client).len(), 1);
    server.stop();
}

fn everybody_has_to_prove_something(shards: &[&str]) {
    let directory = directory();
    let required = Some(Code::SessionClosedRequireSaslAuth.as_wire());
    // Letting those stay who failed has no effect where everybody must succeed.
    let args = ["-Dzookeeper.sessionRequireClientSASLAuth=true", "-Dzookeeper.allowSaslFailedClients=true"];
    let server = start(directory.path(), shards, &args);
    for ask in [Ask::Sync { path: "/" }, Ask::WhoAmI, Ask::Delete { path: "/a", version: -1 }] {
        let mut client = server.client();
        client.auth("digest", b"bob:secret").unwrap();
        assert_eq!(code(&client.call(&ask).unwrap_err()), required, "{ask:?}");
        assert!(is_closed(&mut client));
    }
    let mut client = server.client();
    assert_eq!(code(&prove(&mut client, "bob", "wrong").unwrap_err()), required);
    let mut client = server.client();
    prove(&mut client, "bob", "secret").unwrap();
    client.create("/a", b"", CreateMode::Ephemeral).unwrap();
    client.ping().unwrap();
    server.stop();

    let args = ["-Dzookeeper.enforce.auth.enabled=true", "-Dzookeeper.enforce.auth.schemes=sasl,digest"];
    let server = start(directory.path(), shards, &args);
    let mut client = server.client();
    client.auth("digest", b"anybody:else").unwrap();
    client.exists("/a", false).unwrap();
    assert_eq!(code(&server.client().exists("/a", false).unwrap_err()), required);
    server.stop();
}

fn without_users_there_is_no_token(shards: &[&str]) {
    let directory = directory();
    let mut server = Setup::new(directory.path(), shards).args(&[PROVIDER]).start();
    server.wait_for_line("SASL has no users");
    let mut client = server.client();
    assert_eq!(token(&mut client, b"").unwrap(), None);
    assert_eq!(names(&mut client).len(), 1);
    // ACLs of the scheme are there all the same; nobody here has their name.
    client
        .call(&Ask::Create2 { path: "/a", data: None, acl: &[Acl::new(ALL, "sasl", "bob")], mode: CreateMode::Persistent })
        .unwrap();
    assert_eq!(code(&client.get("/a", false).unwrap_err()), Some(Code::NoAuth.as_wire()));
    server.stop();
}
