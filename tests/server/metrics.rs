//! Metrics: what those who collect them by HTTP are told.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringkeeper::client::ask::CreateMode;
use ringkeeper::client::blocking::Client;

use super::harness::{Setup, both, directory};

both!(metrics_are_collected_by_http,);

const PROVIDER: &str = "-Dzookeeper.metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

/// What is answered to these bytes, sent in as many pieces as they are given in. The server ends the connection.
fn answer(address: SocketAddr, pieces: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for piece in pieces {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// What `ringkeeper top` makes of them.
fn shown_live(server: &str, client: &mut Client) {
    let top = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ringkeeper")).arg("top").args(args).stdout(Stdio::piped()).spawn().unwrap()
    };
    let child = top(&[server, "--interval", "0.5", "--count", "2"]);
    // It looks three times.
    let until = Instant::now() + Duration::from_secs(1);
    let mut made = 0;
    while Instant::now() < until {
        client.set("/0", b"y", -1).unwrap();
        made += 1;
    }
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    assert_eq!(text.matches(&format!("{server}  standalone  3.9.4-ringkeeper-")).count(), 2, "{text}");
    let flushed = |line: &str| line.starts_with("flush ") && line.contains(" us") || line.contains(" ms");
    assert!(made > 0 && text.lines().any(flushed), "{text}");
    let nobody = top(&["127.0.0.1:1", "--count", "1"]).wait_with_output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
}

fn metrics_are_collected_by_http(shards: &[&str]) {
    let directory = directory();
    let args = [
        PROVIDER,
        "-Dzookeeper.metricsProvider.httpHost=127.0.0.1",
        "-Dzookeeper.metricsProvider.httpPort=0",
        "-DmaxClientCnxns=1",
    ];
    let mut server = Setup::new(directory.path(), shards).args(&args).start();
    let line = server.wait_for_line("metrics are at");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
    // The one connection that clients of this address may have.
    let mut client = server.client();
    for i in 0..10 {
        client.create(&format!("/{i}"), b"x", CreateMode::Persistent).unwrap();
    }
    let page = answer(address, &["GET /metrics HTTP/1.1\r\nHo", "st: here\r\n", "\r\n"]);
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    for line in ["znode_count 15", "ringkeeper_transactions 11", "ringkeeper_stage_seconds_count{stage=\"respond\"} 11"] {
        assert!(body.lines().any(|other| other == line), "{line} in\n{body}");
    }
    assert!(answer(address, &["GET / HTTP/1.0\r\n\r\n"]).starts_with("HTTP/1.1 404 "));
    assert!(answer(address, &["PUT /metrics HTTP/1.1\r\n\r\n"]).starts_with("HTTP/1.1 405 "));
    // Neither words nor clients are served there.
    assert!(answer(address, &["ruok\n"]).starts_with("HTTP/1.1 400 "));
    assert!(answer(address, &["\0\0\0\x2d\0\0\0\0"]).starts_with("HTTP/1.1 400 "));
    assert!(client.exists("/0", false).unwrap().is_some());
    shown_live(&address.to_string(), &mut client);
    server.stop();
}
