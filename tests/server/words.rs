//! Words: the four-letter words over real sockets, with the shards' parts joined. Their formats are tested in `src/server/admin`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use ringkeeper::client::ask::CreateMode;

use super::harness::{PATIENCE, Setup, both, directory};

both!(words_join_all_shards, words_that_are_not_allowed_are_refused);

/// The whole answer.
pub fn ask(address: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) => text,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => text,
        Err(error) => panic!("{word}: {error}"),
    }
}

fn words_join_all_shards(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).args(&["-Dzookeeper.4lw.commands.whitelist=*"]).start();
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.create(&format!("/e{i}"), b"", CreateMode::Ephemeral).unwrap();
        client.exists("/absent", true).unwrap();
        client.exists(&format!("/e{i}"), true).unwrap();
    }
    let ids: Vec<_> = clients.iter().map(|client| client.session_id().to_string()).collect();
    let address = server.address;

    let cons = ask(address, "cons");
    for id in &ids {
        assert_eq!(cons.matches(&format!("sid={id},")).count(), 1, "{id} in\n{cons}");
    }
    assert_eq!(cons.lines().filter(|line| line.starts_with(" /127.0.0.1:")).count(), 9, "and the word's own\n{cons}");

    let stat = ask(address, "stat");
    assert_eq!(stat.lines().filter(|line| line.starts_with(" /127.0.0.1:")).count(), 9, "{stat}");
    // Eight ephemerals, and what every tree begins with.
    for line in ["Connections: 9", "Mode: standalone", "Node count: 13", "Outstanding: 0"] {
        assert!(stat.lines().any(|got| got == line), "{line} in\n{stat}");
    }

    let dump = ask(address, "dump");
    assert!(dump.contains("Sessions with Ephemerals (8):"), "{dump}");
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(dump.matches(&format!("\t{id}\n")).count(), 1, "{id} in\n{dump}");
        assert!(dump.contains(&format!("{id}:\n\t/e{i}\n")), "{dump}");
    }

    let wchs = ask(address, "wchs");
    assert_eq!(wchs, "8 connections watching 9 paths\nTotal watches:16\n");
    let wchp = ask(address, "wchp");
    let of_absent: Vec<_> =
        wchp.lines().skip_while(|line| *line != "/absent").skip(1).take_while(|line| line.starts_with('\t')).collect();
    assert_eq!(of_absent.len(), 8, "{wchp}");
    let wchc = ask(address, "wchc");
    for (i, id) in ids.iter().enumerate() {
        let paths: Vec<_> =
            wchc.lines().skip_while(|line| line != id).skip(1).take_while(|line| line.starts_with('\t')).collect();
        assert_eq!(paths, ["\t/absent".to_owned(), format!("\t/e{i}")], "{wchc}");
    }

    let mntr = ask(address, "mntr");
    for (name, value) in [("znode_count", 13), ("watch_count", 16), ("ephemerals_count", 8), ("num_alive_connections", 9)] {
        assert!(mntr.contains(&format!("zk_{name}\t{value}\n")), "{name} in\n{mntr}");
    }
    // Whatever was written went through every stage of a server alone, whichever core counted it.
    let figure = |name: &str| mntr.lines().find_map(|line| line.strip_prefix(&format!("zk_ringkeeper_{name}\t"))).unwrap();
    for (stage, count) in [
        ("queue", figure("transactions")),
        ("batch", figure("transactions")),
        ("flush", figure("transactions")),
        ("replicate", "0"),
        ("deliver", figure("transactions")),
        ("respond", figure("transactions")),
    ] {
        assert_eq!(figure(&format!("stage_{stage}_count")), count, "{stage} in\n{mntr}");
    }
    assert_ne!(figure("stage_flush_max_us"), "0");
    assert_eq!(ask(address, "ruok"), "imok");
    assert!(ask(address, "conf").contains(&format!("clientPort={}\n", address.port())));
    assert!(!ask(address, "envi").is_empty());
    // A word with a line end behind it, as people type it.
    assert_eq!(ask(address, "ruok\r\n"), "imok");

    // 128 transactions since the start, or more: their digests, all of which have the same form.
    for _ in 0..130 {
        clients[0].set("/e0", b"", -1).unwrap();
    }
    let hash = ask(address, "hash");
    let (zxid, digest) = hash.lines().next().and_then(|line| line.split_once(": ")).unwrap_or_else(|| panic!("{hash}"));
    assert!(zxid == "80" && digest.parse::<i64>().is_ok(), "{hash}");
    let dirs = ask(address, "dirs");
    let sizes: Vec<_> =
        dirs.lines().filter_map(|line| line.split_once(": ")).map(|(name, n)| (name, n.parse::<u64>().unwrap())).collect();
    assert!(matches!(sizes[..], [("datadir_size", all), ("logdir_size", log)] if all >= log && log >= 16 << 20), "{dirs}");
    assert_eq!(ask(address, "gtmk"), "306");
    assert_eq!(ask(address, "stmk\0\0\0\0\0\0\0\x3f"), "63");
    assert_eq!(ask(address, "gtmk"), "63");

    assert_eq!(ask(address, "srst"), "Server stats reset.\n");
    assert_eq!(ask(address, "crst"), "Connection stats reset.\n");
    assert!(ask(address, "cons").lines().filter(|line| line.contains("sid=")).all(|line| line.contains("recved=0,sent=0")));
    for client in &mut clients {
        client.sync("/").unwrap();
    }
}

fn words_that_are_not_allowed_are_refused(shards: &[&str]) {
    let directory = directory();
    let server = Setup::new(directory.path(), shards).start();
    assert!(ask(server.address, "srvr").starts_with("Zookeeper version: 3.9.4-ringkeeper-"));
    let words = ["ruok", "stat", "cons", "conf", "dump", "envi", "mntr", "wchs", "wchc", "wchp", "crst", "srst", "isro"];
    for word in words {
        assert_eq!(ask(server.address, word), format!("{word} is not executed because it is not in the whitelist.\n"));
    }
    let mut client = server.client();
    client.sync("/").unwrap();
}
