//! Jute: what does a frame cost, written and read? A server reads requests and writes replies; a client the other way round.
//!
//! `cargo bench --bench jute`. An element is a whole frame, whatever is in it. Paths of 32 bytes and data of 100 bytes, chosen by
//! [`SEED`]; 64 frames stand one behind the other, as in a socket's buffer.

#[path = "common/input.rs"]
mod input;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use input::{Random, path, sized};
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::ground::ids::{SessionId, Zxid};
use ringkeeper::ground::limits::FRAME_MAX_DEFAULT;
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use ringkeeper::proto::frame::{self, Cut};
use ringkeeper::proto::jute::{Reader, Writer};
use ringkeeper::proto::multi;
use ringkeeper::proto::reply::{self, ReplyHeader};
use ringkeeper::proto::request::{RequestHeader, Write};
use ringkeeper::proto::stat::{self, Stat};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides paths, data, Stats and passwords.
const SEED: u64 = 1;

/// Frames of a run.
const FRAMES: usize = 64;

/// Measures one kind of frame: `encode` appends the `n`th, `decode` reads a body.
fn case(c: &mut Criterion, name: &str, count: usize, encode: impl Fn(usize, &mut Vec<u8>), decode: impl Fn(&[u8])) {
    let mut stream = Vec::new();
    (0..count).for_each(|n| encode(n, &mut stream));
    let decode_all = |mut rest: &[u8]| {
        let mut seen = 0;
        while let Ok(Cut::Frame(body, len)) = frame::cut(rest, FRAME_MAX_DEFAULT) {
            decode(body);
            rest = &rest[len..];
            seen += 1;
        }
        seen
    };
    assert_eq!(decode_all(&stream), count, "{name} reads back");
    let mut group = c.benchmark_group(format!("jute {name}"));
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("encode", |b| {
        let mut out = Vec::with_capacity(stream.len());
        b.iter(|| {
            out.clear();
            for n in 0..count {
                encode(black_box(n), &mut out);
            }
            black_box(&out);
        });
    });
    group.bench_function("decode", |b| b.iter(|| black_box(decode_all(black_box(&stream)))));
    group.finish();
}

fn connecting(c: &mut Criterion, random: &mut Random) {
    let passwords: Vec<[u8; PASSWORD_LEN]> = (0..FRAMES).map(|_| std::array::from_fn(|_| random.below(256) as u8)).collect();
    let request = |n: usize, out: &mut Vec<u8>| {
        let (session, password) = (SessionId(n as i64 + 1), &passwords[n]);
        ConnectRequest { last_zxid_seen: Zxid::new(1, 7), timeout_ms: 30_000, session, password, read_only: Some(false) }
            .encode(out);
    };
    case(c, "connect request", FRAMES, request, |body| {
        black_box(ConnectRequest::decode(body).expect("whole"));
    });
    let response = |n: usize, out: &mut Vec<u8>| {
        let (session, password) = (SessionId(n as i64 + 1), passwords[n]);
        ConnectResponse { timeout_ms: 30_000, session, password, read_only: Some(false) }.encode(out);
    };
    case(c, "connect response", FRAMES, response, |body| {
        black_box(ConnectResponse::decode(body).expect("whole"));
    });
}

fn encode_request(out: &mut Vec<u8>, n: usize, ask: &Ask<'_>) {
    let body = frame::open(out);
    out.int(n as i32);
    out.int(ask.opcode());
    ask.encode(out);
    frame::close(out, body);
}

fn decode_write(body: &[u8]) {
    let mut r = Reader::new(body);
    let header = RequestHeader::decode(&mut r).expect("whole");
    black_box((header.xid, Write::decode(header.op, &mut r).expect("whole")));
}

fn decode_multi(body: &[u8]) {
    let mut r = Reader::new(body);
    let header = RequestHeader::decode(&mut r).expect("whole");
    black_box((header.xid, multi::decode_writes(&mut r).expect("whole")));
}

fn requests(c: &mut Criterion, random: &mut Random) {
    let paths: Vec<String> = (0..10 * FRAMES).map(|_| path(random.below(1_000_000))).collect();
    let values: Vec<[u8; 100]> = (0..10 * FRAMES).map(|_| std::array::from_fn(|_| random.below(256) as u8)).collect();
    let acl = [Acl::open()];
    let create = |n: usize| Ask::Create { path: &paths[n], data: Some(&values[n]), acl: &acl, mode: CreateMode::Persistent };
    let set_data = |n: usize| Ask::SetData { path: &paths[n], data: Some(&values[n]), version: -1 };
    case(c, "create request", FRAMES, |n, out| encode_request(out, n, &create(n)), decode_write);
    case(c, "setData request", FRAMES, |n, out| encode_request(out, n, &set_data(n)), decode_write);
    let members: Vec<Ask<'_>> = (0..10 * FRAMES).map(set_data).collect();
    let ten = |n: usize| Ask::Multi(&members[10 * n..10 * n + 10]);
    case(c, "multi request of 10 setData", FRAMES, |n, out| encode_request(out, n, &ten(n)), decode_multi);
}

fn replies(c: &mut Criterion, random: &mut Random) {
    let values: Vec<[u8; 100]> = (0..FRAMES).map(|_| std::array::from_fn(|_| random.below(256) as u8)).collect();
    let stats: Vec<Stat> = (0..FRAMES)
        .map(|_| {
            let (czxid, version) = (random.below(1 << 30) as u64, random.below(1000) as i32);
            Stat { czxid: Zxid(czxid), mzxid: Zxid(czxid + 1), version, data_length: 100, ..Stat::default() }
        })
        .collect();
    let get_data = |n: usize, out: &mut Vec<u8>| {
        reply::ok(out, n as i32, stats[n].mzxid, |out| stat::encode_data(out, Some(&values[n]), &stats[n]));
    };
    case(c, "getData reply", FRAMES, get_data, |body| {
        let mut r = Reader::new(body);
        let header = ReplyHeader::decode(&mut r).expect("whole");
        black_box((header, r.buffer().expect("whole"), Stat::decode(&mut r).expect("whole")));
    });

    let names: Vec<String> = (0..sized(1000, 10)).map(|_| path(random.below(1_000_000))[18..].to_owned()).collect();
    let get_children = |n: usize, out: &mut Vec<u8>| {
        reply::ok(out, n as i32, Zxid::new(1, 7), |out| {
            out.count(names.len());
            names.iter().for_each(|name| out.string(name));
        });
    };
    case(c, "getChildren reply of 1000 names", 1, get_children, |body| {
        let mut r = Reader::new(body);
        let header = ReplyHeader::decode(&mut r).expect("whole");
        black_box((header, r.strings().expect("whole")));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut random = Random(SEED);
    connecting(&mut criterion, &mut random);
    requests(&mut criterion, &mut random);
    replies(&mut criterion, &mut random);
    criterion.final_summary();
}
