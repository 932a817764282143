//! The summary: `srvr`, `stat` and `cons`, the server's totals and its connections, and `hash`, what its tree was.

use std::fmt::Write as _;

use super::facts::Facts;
use super::{java, standing};
use crate::engine::census::{Census, ConnCensus, Counters, Latency};

const FITS: &str = "a String takes every write";

/// The counters of all shards, added up.
pub(super) struct Totals {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) connections: u64,
    pub(super) outstanding: u64,
    pub(super) dropped: u64,
    pub(super) auth_failed: u64,
    pub(super) throttled: u64,
    pub(super) large_rejected: u64,
    pub(super) watches: u64,
    pub(super) latency: Latency,
}

impl Totals {
    pub(super) fn of(census: &Census) -> Self {
        let sum = |figure: fn(&Counters) -> u64| census.shards.iter().map(|shard| figure(&shard.counters)).sum();
        let mut latency = Latency::default();
        census.shards.iter().for_each(|shard| latency.merge(&shard.counters.latency));
        Self {
            received: sum(|counters| counters.received),
            sent: sum(|counters| counters.sent),
            bytes_received: sum(|counters| counters.bytes_received),
            bytes_sent: sum(|counters| counters.bytes_sent),
            connections: sum(|counters| counters.connections),
            outstanding: sum(|counters| counters.outstanding),
            dropped: sum(|counters| counters.dropped),
            auth_failed: sum(|counters| counters.auth_failed),
            throttled: sum(|counters| counters.throttled),
            large_rejected: sum(|counters| counters.large_rejected),
            watches: census.shards.iter().map(|shard| shard.watches_total).sum(),
            latency,
        }
    }
}

/// The answer to `srvr`.
pub(super) fn srvr(facts: &Facts, census: &Census) -> String {
    version_line(facts) + &totals(census)
}

/// The answer to `stat`: `srvr` with the connections in brief after its first line.
pub(super) fn stat(facts: &Facts, census: &Census) -> String {
    let mut text = version_line(facts);
    text.push_str("Clients:\n");
    for connection in connections(census) {
        write_brief(&mut text, connection);
        text.push_str(")\n");
    }
    text.push('\n');
    text + &totals(census)
}

/// The answer to `cons`: every connection in full, and a blank line.
pub(super) fn cons(census: &Census) -> String {
    let mut text = String::new();
    for connection in connections(census) {
        write_full(&mut text, connection);
    }
    text.push('\n');
    text
}

fn version_line(facts: &Facts) -> String {
    format!("Zookeeper version: {}\n", facts.version)
}

fn totals(census: &Census) -> String {
    let totals = Totals::of(census);
    let (min, avg, max) = (totals.latency.min_or_zero(), java::average(totals.latency.average()), totals.latency.max);
    let mut text = String::new();
    writeln!(text, "Latency min/avg/max: {min}/{avg}/{max}").expect(FITS);
    writeln!(text, "Received: {}", totals.received).expect(FITS);
    writeln!(text, "Sent: {}", totals.sent).expect(FITS);
    writeln!(text, "Connections: {}", totals.connections).expect(FITS);
    writeln!(text, "Outstanding: {}", totals.outstanding).expect(FITS);
    writeln!(text, "Zxid: {}", census.ledger.zxid).expect(FITS);
    writeln!(text, "Mode: {}", standing::mode(census).unwrap_or("looking")).expect(FITS);
    writeln!(text, "Node count: {}", census.ledger.node_count).expect(FITS);
    if let Some(sizes) = standing::proposals(census) {
        writeln!(text, "Proposal sizes last/min/max: {}/{}/{}", sizes.last, sizes.min, sizes.max).expect(FITS);
    }
    text
}

fn connections(census: &Census) -> impl Iterator<Item = &ConnCensus> {
    census.shards.iter().flat_map(|shard| &shard.connections)
}

/// What `stat` tells of a connection and `cons` begins with: up to the closing bracket, without it.
fn write_brief(text: &mut String, connection: &ConnCensus) {
    // The bits of Java's selection keys: 1 reads, 4 writes.
    let ops = u8::from(connection.reading) | u8::from(connection.writing) << 2;
    let peer = java::address(connection.peer);
    write!(text, " /{peer}[{ops:x}](queued={},recved={},sent={}", connection.queued, connection.received, connection.sent)
        .expect(FITS);
}

fn write_full(text: &mut String, connection: &ConnCensus) {
    write_brief(text, connection);
    if let Some(session) = connection.session {
        write!(text, ",sid={session},lop={},est={},to={}", connection.last_op, connection.established, connection.timeout_ms)
            .expect(FITS);
        // Special xids (pings, authentication, re-watching) are negative and are no client's count of requests.
        if let Some(xid) = connection.last_xid.filter(|xid| *xid >= 0) {
            write!(text, ",lcxid={xid:#x}").expect(FITS);
        }
        // The average of one connection is a whole number, unlike the server's.
        let latency = connection.latency;
        let average = latency.total.checked_div(latency.count).unwrap_or(0);
        let (zxid, response, last) = (connection.last_zxid, connection.last_response, connection.last_latency);
        write!(text, ",lzxid={zxid},lresp={response},llat={last}").expect(FITS);
        write!(text, ",minlat={},avglat={average},maxlat={}", latency.min_or_zero(), latency.max).expect(FITS);
    }
    text.push_str(")\n");
}

/// The answer to `hash`: the digest of the tree at some of the last transactions, as far as every shard has them.
pub(super) fn hash(census: &Census) -> String {
    let mut text = String::new();
    let shortest = census.shards.iter().min_by_key(|shard| shard.digests.last().map(|(zxid, _)| *zxid));
    for (zxid, digest) in shortest.map_or(&[][..], |shard| &shard.digests) {
        writeln!(text, "{:x}: {}", zxid.0, digest.cast_signed()).expect(FITS);
    }
    text
}
