//! Scenario: what sessions ask, drawn from a seed. Legal and illegal; only what a line of `docs/compat.md` excepts is left out.

use ringkeeper::proto::opcode as op;

use super::chance::Chance;
use super::side::SEATS;
use super::step::Field::{Bytes, Flag, Int, Long, Null, Op, Path, Quota, Seen, Text};
use super::step::{ATTACH, Field, HANG_UP, Step};

/// Few, so that sessions meet.
const PATHS: [&str; 16] = [
    "/a",
    "/a",
    "/b",
    "/c",
    "/a/b",
    "/a/b",
    "/a/c",
    "/a/b/c",
    "/b/a",
    "/b/b",
    "/c/a",
    "/a/b/c/d",
    "/a/s0000000000",
    "/s0000000001",
    "/b/s0000000002",
    "/",
];
/// Where sequential names go.
const STEMS: [&str; 6] = ["/s", "/a/s", "/b/s", "/c/", "/a/b/s-", "/a/b/"];
const ILLEGAL: [&str; 14] = [
    "//a",
    "/a/",
    "/a//b",
    "/./a",
    "/a/..",
    "/a/.",
    "/\0",
    "/a\u{1}",
    "/a\u{1f}b",
    "/a\u{7f}",
    "/\u{9f}",
    "/a\u{e000}",
    "/\u{f8ff}/a",
    "/\u{fff0}",
];
/// Unusual, and legal. Nothing above U+FFFF: see [`super::known`].
const ODD: [&str; 5] = ["/\u{e9}", "/...", "/a b", "/\u{6f22}", "/.a"];

/// The digests of `u:p` and `v:q`.
const DIGESTS: [&str; 2] = ["u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=", "v:Mfy8apI9YguGKmh+AxUmAFSwkII="];

/// Every seed's.
const CONFIG: &str = "/zookeeper/config";

/// What has quotas: znodes below each other, and the seed's own.
const LIMITED: [&str; 4] = ["/a", "/a", "/a/b", ""];
/// None that a ZooKeeper cannot read but for limits, where it answers so.
const LIMITS: [&str; 14] = [
    "count=4,bytes=-1",
    "count=3,bytes=20",
    "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=5",
    "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=-1",
    "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=-1",
    "count=2,bytes=2=;byteHardLimit=20;countHardLimit=4",
    "countHardLimit=3",
    "count=1,bytes=1=;byteHardLimit=0;countHardLimit=0",
    "byteHardLimit=8;;count==,x=5",
    "byteHardLimit=-9",
    "",
    ",",
    "count=",
    "countHardLimit=3 ",
];
const USED: [&str; 5] = ["count=0,bytes=0", "count=7,bytes=30", "", "x=1,bytes=-3", "count=9223372036854775807,bytes=0"];

/// An entry of a list of access rights.
fn entry(perms: i32, scheme: &str, id: &str) -> Vec<Field> {
    vec![Int(perms), Text(scheme.to_owned()), Text(id.to_owned())]
}

/// A create that lets everybody do everything.
fn open(path: Field, data: Field, flags: i32) -> Vec<Field> {
    [vec![path, data, Int(1)], entry(31, "world", "anyone"), vec![Int(flags)]].concat()
}

struct Draw {
    chance: Chance,
    /// A ZooKeeper's leader has no answer for a follower to a write that it refuses before it numbers it: the follower's client waits.
    is_ensemble: bool,
    /// Whether some of what is asked for has to do with quotas.
    quotas: bool,
}

impl Draw {
    fn path(&mut self) -> Field {
        match self.chance.below(100) {
            0..2 => Path(self.chance.of(&ILLEGAL).to_owned()),
            2 => Path(self.chance.of(&ODD).to_owned()),
            _ => Path(self.chance.of(&PATHS).to_owned()),
        }
    }

    fn written(&mut self) -> Field {
        match self.chance.below(400) {
            0 | 1 => Text(String::new()),
            2 => Text("a".to_owned()),
            3 => Null,
            _ => self.path(),
        }
    }

    fn data(&mut self) -> Field {
        match self.chance.below(10) {
            0 => Null,
            1 => Bytes(Vec::new()),
            n => Bytes((0..n).map(|_| b'a' + self.chance.of(&[0, 1, 2])).collect()),
        }
    }

    fn version(&mut self) -> Field {
        Int(self.chance.of(&[-1, -1, -1, -1, 0, 0, 1, 2, 3, -2, i32::MAX, i32::MIN]))
    }

    fn acl(&mut self, usually: bool) -> Vec<Field> {
        if usually && self.chance.percent(85) {
            return [vec![Int(1)], entry(31, "world", "anyone")].concat();
        }
        match self.chance.below(40) {
            0 if !self.is_ensemble => return vec![Int(-1)],
            1 => return vec![Int(0)],
            2 => return vec![Int(1), Int(31), Null, Text("anyone".to_owned())],
            3 => return vec![Int(1), Int(31), Text("world".to_owned()), Null],
            _ => {}
        }
        let n = 1 + self.chance.below(3) as usize;
        let mut fields = vec![Int(n as i32)];
        for _ in 0..n {
            let perms = self.chance.of(&[31, 31, 31, 1, 3, 7, 15, 17, 21, 0, 32, -1]);
            let (scheme, id) = match self.chance.below(24) {
                0..8 => ("world", "anyone"),
                8..11 => ("auth", ""),
                11 => ("auth", "any"),
                12..15 => ("digest", self.chance.of(&DIGESTS)),
                15..18 => ("ip", self.chance.of(&["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "127.0.0.1/32"])),
                18 => ("ip", self.chance.of(&["127.0.0.1/33", "", "127.0.0", "::1", "300.1.1.1"])),
                19 => ("world", self.chance.of(&["other", ""])),
                20 => ("digest", self.chance.of(&["a", "", "a:", "a:b:c", "a:b"])),
                21 => (self.chance.of(&["nobody", "", "super", "sasl", "x509"]), "x"),
                _ => ("world", "anyone"),
            };
            fields.extend(entry(perms, scheme, id));
        }
        fields
    }

    /// A create of any operation, with flags that are mostly its own.
    fn create(&mut self, op: i32) -> Vec<Field> {
        let flags = match op {
            op::CREATE_TTL => self.chance.of(&[5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 7, -1]),
            // None of an ephemeral: see [`super::known`].
            op::CREATE_CONTAINER => self.chance.of(&[4, 4, 4, 4, 4, 4, 0, 2, 5, -1]),
            _ => self.chance.of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, -1]),
        };
        let sequential = matches!(flags, 2 | 3 | 6);
        let path = match self.written() {
            // Numbered, the seed's own znode would have sisters that other seeds have made too.
            Path(path) if sequential && (path == "/" || self.chance.percent(90)) => Path(self.chance.of(&STEMS).to_owned()),
            path => path,
        };
        let mut fields = vec![path, self.data()];
        fields.extend(self.acl(true));
        fields.push(Int(flags));
        if op == op::CREATE_TTL {
            // Where the flags have no time to live, a negative one stops ZooKeeper.
            let has_time = matches!(flags, 5 | 6);
            let times = [3_600_000, 3_600_000, 7_200_000, (1 << 40) - 1, 1 << 40, i64::MAX, 0, -1, i64::MIN];
            fields.push(Long(self.chance.of(&times[..if has_time { 9 } else { 3 }])));
        }
        fields
    }

    fn creation(&mut self) -> i32 {
        self.chance.of(&[
            op::CREATE,
            op::CREATE,
            op::CREATE,
            op::CREATE2,
            op::CREATE2,
            op::CREATE2,
            op::CREATE_CONTAINER,
            op::CREATE_TTL,
        ])
    }

    fn members(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in 0..self.chance.below(5) + u64::from(self.chance.percent(95)) {
            let (op, body) = match self.chance.below(100) {
                0..40 => {
                    let op = self.creation();
                    (op, self.create(op))
                }
                40..60 => (op::DELETE, vec![self.written(), self.version()]),
                60..80 => (op::SET_DATA, vec![self.written(), self.data(), self.version()]),
                80..98 => (op::CHECK, vec![self.written(), self.version()]),
                98 => (op::GET_DATA, vec![self.path(), Flag(false)]),
                _ => (op::SET_ACL, [vec![self.path()], self.acl(true), vec![Int(-1)]].concat()),
            };
            fields.extend([Op(op), Flag(false), Int(-1)]);
            fields.extend(body);
        }
        fields.extend([Int(-1), Flag(true), Int(-1)]);
        fields
    }

    fn reads(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in 0..1 + self.chance.below(4) {
            let op = self.chance.of(&[op::GET_DATA, op::GET_CHILDREN]);
            fields.extend([Op(op), Flag(false), Int(-1), self.path(), Flag(self.chance.percent(10))]);
        }
        fields.extend([Int(-1), Flag(true), Int(-1)]);
        fields
    }

    fn watches(&mut self, lists: usize) -> Vec<Field> {
        let relative = match self.chance.below(10) {
            0 => Long(self.chance.of(&[0, -1, i64::MAX, i64::MIN])),
            _ => Seen(1 + self.chance.below(30) as usize),
        };
        let mut fields = vec![relative];
        for _ in 0..lists {
            let n = self.chance.below(4);
            fields.push(Int(n as i32));
            (0..n).for_each(|_| fields.push(self.path()));
        }
        fields
    }

    fn auth(&mut self) -> Vec<Field> {
        let (scheme, id) = match self.chance.below(20) {
            0 => ("nobody", "x"),
            1 => ("ip", "10.0.0.1"),
            2 => ("world", "anyone"),
            3 => ("digest", ""),
            4 => ("digest", "u"),
            _ => ("digest", self.chance.of(&["u:p", "v:q"])),
        };
        vec![Int(0), Text(scheme.to_owned()), Bytes(id.as_bytes().to_vec())]
    }

    /// A znode by which a quota is set or its use told, and data for it. None is ephemeral: which one is charged would hang on the order in
    /// which ephemerals go with their session.
    fn quota(&mut self) -> (Field, Field) {
        let of = self.chance.of(&LIMITED);
        let (name, data) =
            if self.chance.percent(60) { ("limits", self.chance.of(&LIMITS)) } else { ("stats", self.chance.of(&USED)) };
        (Quota(format!("{of}/zookeeper_{name}")), Bytes(data.as_bytes().to_vec()))
    }

    /// The first steps, so that there are some.
    fn quotas_set(&mut self) -> Vec<Step> {
        let mut made = ["", "/a", "/a/b"].map(|path| (path.to_owned(), Null)).to_vec();
        for of in ["", "/a"] {
            made.push((format!("{of}/zookeeper_limits"), Bytes(self.chance.of(&LIMITS).as_bytes().to_vec())));
            made.push((format!("{of}/zookeeper_stats"), Bytes(b"count=0,bytes=0".to_vec())));
        }
        let step = |(path, data)| Step { session: 0, op: op::CREATE, fields: open(Quota(path), data, 0) };
        made.into_iter().map(step).collect()
    }

    fn about_quotas(&mut self) -> (i32, Vec<Field>) {
        let (path, data) = self.quota();
        match self.chance.below(100) {
            0..25 => (self.chance.of(&[op::CREATE, op::CREATE2]), open(path, data, 0)),
            25..42 => (op::SET_DATA, vec![path, data, Int(-1)]),
            42..48 => (op::DELETE, vec![path, Int(-1)]),
            48..60 => {
                // Members are not measured by what those before them change.
                let mut fields = [vec![Op(op::SET_DATA), Flag(false), Int(-1), path, data, Int(-1)], self.members()].concat();
                if self.chance.percent(50) {
                    fields.drain(..6);
                }
                (op::MULTI, fields)
            }
            60..65 => (op::EXISTS, vec![path, Flag(true)]),
            65..70 => (op::GET_ALL_CHILDREN_NUMBER, vec![Quota(self.chance.of(&LIMITED).to_owned())]),
            _ => {
                let of = self.chance.of(&LIMITED);
                (op::GET_DATA, vec![Quota(format!("{of}/zookeeper_stats")), Flag(self.chance.percent(20))])
            }
        }
    }

    /// A read of what everybody is told of the ensemble.
    fn about_configuration(&mut self) -> (i32, Vec<Field>) {
        let (path, watch) = (Text(CONFIG.to_owned()), Flag(self.chance.percent(50)));
        match self.chance.below(12) {
            0..4 => (op::GET_DATA, vec![path, watch]),
            4..7 => (op::EXISTS, vec![path, watch]),
            7 => (op::GET_ACL, vec![path]),
            8 => (op::GET_CHILDREN2, vec![path, watch]),
            9 => (op::CHECK, vec![path, self.version()]),
            10 => (op::SET_DATA, vec![path, self.data(), self.version()]),
            _ => (op::DELETE, vec![path, self.version()]),
        }
    }

    fn step(&mut self) -> (i32, Vec<Field>) {
        if self.chance.percent(2) {
            return self.about_configuration();
        }
        if self.quotas && self.chance.percent(25) {
            return self.about_quotas();
        }
        let watch = Flag(self.chance.percent(50));
        match self.chance.below(1000) {
            0..190 => {
                let op = self.creation();
                (op, self.create(op))
            }
            190..270 => (op::DELETE, vec![self.written(), self.version()]),
            270..380 => (op::SET_DATA, vec![self.written(), self.data(), self.version()]),
            380..420 => (op::SET_ACL, [vec![self.written()], self.acl(false), vec![self.version()]].concat()),
            420..450 => (op::GET_ACL, vec![self.path()]),
            450..520 => (op::GET_DATA, vec![self.path(), watch]),
            520..590 => (op::EXISTS, vec![self.path(), watch]),
            590..620 => (op::GET_CHILDREN, vec![self.path(), watch]),
            620..660 => (op::GET_CHILDREN2, vec![self.path(), watch]),
            660..760 => (op::MULTI, self.members()),
            760..780 => (op::MULTI_READ, self.reads()),
            780..830 => (op::ADD_WATCH, vec![self.path(), Int(self.chance.of(&[0, 0, 0, 1, 1, 1, 1, 1, 1, 2]))]),
            830..850 => (op::CHECK_WATCHES, vec![self.path(), Int(self.chance.of(&[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6]))]),
            850..870 => (op::REMOVE_WATCHES, vec![self.path(), Int(self.chance.of(&[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6]))]),
            870..885 => (op::AUTH, self.auth()),
            885..900 => (op::SET_WATCHES, self.watches(3)),
            900..920 => (op::SET_WATCHES2, self.watches(5)),
            920..930 => (op::GET_EPHEMERALS, vec![if self.chance.percent(30) { Null } else { self.path() }]),
            930..945 => (op::GET_ALL_CHILDREN_NUMBER, vec![self.path()]),
            945..950 => (op::WHO_AM_I, Vec::new()),
            950..954 => (op::PING, Vec::new()),
            954..960 => (op::SYNC, vec![self.path()]),
            960..975 => (op::CLOSE_SESSION, Vec::new()),
            975..985 => (HANG_UP, Vec::new()),
            985..993 => (ATTACH, Vec::new()),
            993 => (op::RECONFIG, vec![Null, Null, Null, Long(-1)]),
            994 => (op::CHECK, vec![self.path(), self.version()]),
            995 => (self.chance.of(&[10, 23, 99, 108, 200, -2, 0]), vec![self.path()]),
            _ => {
                let (op, mut fields) = self.step();
                if self.is_ensemble && !(Step { session: 0, op, fields: Vec::new() }).only_reads() && op != op::MULTI {
                    return (op, fields);
                }
                fields.truncate(self.chance.below(fields.len() as u64 + 1) as usize);
                (op, fields)
            }
        }
    }
}

/// The steps of a seed; through followers where `is_ensemble`.
pub fn draw(seed: u64, steps: usize, is_ensemble: bool) -> Vec<Step> {
    let mut draw = Draw { chance: Chance(seed.wrapping_mul(0x1000_0000_01b3)), is_ensemble, quotas: seed % 8 == 4 };
    let before = if draw.quotas { draw.quotas_set() } else { Vec::new() };
    let step = |_| {
        let session = draw.chance.below(SEATS as u64) as usize;
        let (op, fields) = draw.step();
        Step { session, op, fields }
    };
    before.into_iter().chain((0..steps).map(step)).collect()
}

#[test]
fn steps_are_the_same_when_they_are_read_again() {
    for seed in 0..20 {
        for step in draw(seed, 300, seed % 2 == 1) {
            assert_eq!(Step::parse(&step.text()).as_ref(), Some(&step), "{}", step.text());
        }
    }
}
