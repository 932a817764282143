//! Requests: what the steady workloads send, as frames made once whose numbers are written in as they go out.

use super::random::Random;
use super::setup::Planter;
use crate::bench::control::RunError;
use crate::bench::spec::{Pace, Spec, Workload};
use crate::client::ask::{Ask, CreateMode};
use crate::proto::acl::Acl;
use crate::proto::frame;
use crate::proto::jute::Writer;

/// Stands for a digit in the path of a [`Template`].
const DIGIT: u8 = b'#';

/// Digits of a znode's number.
pub const NODES_MAX: usize = 100_000_000;

/// Longest data, bytes: no server takes longer requests unless it is told to.
pub const VALUE_MAX: usize = 1 << 20;

/// Children of one parent where there are many: their list stays far below the largest frame.
const FAMILY: u64 = 1000;

/// Makes the requests of one generator thread.
pub trait Maker: Send {
    /// Names of its kinds of operation, for tables. An operation's index is its place in here.
    fn names(&self) -> &[&'static str];

    /// Appends one whole frame and returns the index of its operation; `None`, and nothing appended, when there is nothing left
    /// to ask.
    fn push(&mut self, random: &mut Random, xid: i32, out: &mut Vec<u8>) -> Option<usize>;

    /// Whether replies to this operation are those of a multi, whose errors stand in the body.
    fn is_multi(&self, _operation: usize) -> bool {
        false
    }

    /// What [`Self::answered`] shall be told of the request that was pushed last.
    fn ticket(&self) -> u32 {
        0
    }

    /// The request of a ticket was answered, `err` 0 for success, or its connection was lost.
    fn answered(&mut self, _operation: usize, _ticket: u32, _err: i32) {}

    /// Once [`Self::push`] has returned `None` and all is answered: whether the run is complete, or why it ends early.
    fn ended(&self) -> Result<(), String> {
        Err("every znode that was prepared has been used: prepare more of them (--nodes)".into())
    }
}

/// A workload: the znodes that it needs, and its requests.
pub trait Plan: Sync {
    /// What makes the requests.
    type Maker: Maker;

    /// Creates what the requests need under the planter's root, which is there and is removed afterwards with all in it.
    fn prepare(&self, planter: &mut Planter<'_>) -> Result<(), RunError>;

    /// The maker of thread `thread`, 0 to `threads` - 1, for the tree under `root`.
    fn maker(&self, root: &str, thread: usize, threads: usize) -> Self::Maker;
}

/// A frame with places for numbers.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Begin and end of each run of digits.
    slots: Vec<(usize, usize)>,
}

impl Template {
    /// The frame of a request; each run of two or more `#` in its paths takes a number of so many
    /// digits. Its data must hold none and be no longer than [`VALUE_MAX`].
    #[must_use]
    pub fn new(ask: &Ask<'_>) -> Self {
        let mut bytes = Vec::new();
        frame_of(&mut bytes, 0, ask);
        let mut slots = Vec::new();
        let mut at = 0;
        // A length may look like a run too, but what stands before a run in a path is a character.
        while let Some(begin) = bytes[at..].windows(2).position(|pair| pair == [DIGIT, DIGIT]).map(|found| at + found) {
            at = begin + bytes[begin..].iter().take_while(|byte| **byte == DIGIT).count();
            if begin > 0 && bytes[begin - 1].is_ascii_graphic() {
                slots.push((begin, at));
            }
        }
        Self { bytes, slots }
    }

    /// Appends the frame. `number` gives the number of each place, in their order.
    #[inline]
    pub fn push(&self, xid: i32, out: &mut Vec<u8>, mut number: impl FnMut(usize) -> u64) {
        let base = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[base..];
        frame[4..8].copy_from_slice(&xid.to_be_bytes());
        for (i, &(begin, end)) in self.slots.iter().enumerate() {
            write_digits(&mut frame[begin..end], number(i));
        }
    }
}

/// Appends the frame of a request.
pub fn frame_of(out: &mut Vec<u8>, xid: i32, ask: &Ask<'_>) {
    let body = frame::open(out);
    out.int(xid);
    out.int(ask.opcode());
    ask.encode(out);
    frame::close(out, body);
}

/// The low digits of a number, with zeros before it.
#[inline]
fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The workloads that ask one thing over and over: read, set, create, delete, exists, list, mixed, multi, multi-read.
#[derive(Debug)]
pub struct Steady {
    workload: Workload,
    value: Vec<u8>,
    nodes: u64,
    /// Znodes to delete.
    deletes: u64,
}

impl Steady {
    /// What a spec asks for; an error where its workload is no steady one or its numbers make no sense.
    ///
    /// A delete workload deletes what was created before it: an open loop prepares as many as will arrive, a closed loop
    /// deletes `spec.nodes` and is over when they are gone.
    pub fn new(spec: &Spec) -> Result<Self, RunError> {
        let wrong = |what: String| Err(RunError::Spec(what));
        match spec.workload {
            Workload::Mixed { read_ratio } if !(0.0..=1.0).contains(&read_ratio) => {
                return wrong(format!("a read ratio of {read_ratio} is not within 0 to 1"));
            }
            Workload::Multi { size } | Workload::MultiRead { size } if !(1..=1000).contains(&size) => {
                return wrong(format!("a multi of {size} is not within 1 to 1000"));
            }
            Workload::Read
            | Workload::Set
            | Workload::Create
            | Workload::Delete
            | Workload::Exists
            | Workload::List
            | Workload::Mixed { .. }
            | Workload::Multi { .. }
            | Workload::MultiRead { .. } => {}
            _ => return wrong(format!("{} is no steady workload", spec.workload)),
        }
        if !(1..=NODES_MAX).contains(&spec.nodes) {
            return wrong(format!("{} znodes are not within 1 to {NODES_MAX}", spec.nodes));
        }
        if spec.value_size > VALUE_MAX {
            return wrong(format!("data of {} bytes is longer than {VALUE_MAX}", spec.value_size));
        }
        let deletes = match spec.pace {
            Pace::Open { rate, .. } => {
                let arrivals = rate * (spec.warmup + spec.seconds);
                // Six standard deviations of a Poisson count: a run in a thousand million needs more.
                (arrivals + 6.0 * arrivals.sqrt() + 10.0) as u64
            }
            Pace::Closed => spec.nodes as u64,
        };
        if spec.workload == Workload::Delete && deletes > NODES_MAX as u64 {
            return wrong(format!("{deletes} znodes to delete are more than {NODES_MAX}"));
        }
        let value = vec![b'v'; spec.value_size];
        Ok(Self { workload: spec.workload.clone(), value, nodes: spec.nodes as u64, deletes })
    }

    fn template(&self, root: &str) -> Template {
        let node = format!("{root}/n########");
        let set = Ask::SetData { path: &node, data: Some(&self.value), version: -1 };
        let get = Ask::GetData { path: &node, watch: false };
        match self.workload {
            Workload::Set => Template::new(&set),
            Workload::Exists => Template::new(&Ask::Exists { path: &node, watch: false }),
            Workload::List => Template::new(&Ask::GetChildren { path: root, watch: false }),
            Workload::Multi { size } => Template::new(&Ask::Multi(&vec![set; size])),
            Workload::MultiRead { size } => Template::new(&Ask::MultiRead(&vec![get; size])),
            Workload::Delete => Template::new(&Ask::Delete { path: &format!("{node}/d###"), version: -1 }),
            _ => Template::new(&get),
        }
    }
}

impl Plan for Steady {
    type Maker = SteadyMaker;

    fn prepare(&self, planter: &mut Planter<'_>) -> Result<(), RunError> {
        let root = planter.root().to_owned();
        if self.workload == Workload::Delete {
            for number in 0..self.deletes {
                let (parent, child) = (number / FAMILY, number % FAMILY);
                if child == 0 {
                    planter.create(&format!("{root}/n{parent:08}"), b"")?;
                }
                planter.create(&format!("{root}/n{parent:08}/d{child:03}"), &self.value)?;
            }
        } else {
            for number in 0..self.nodes {
                planter.create(&format!("{root}/n{number:08}"), &self.value)?;
            }
        }
        Ok(())
    }

    fn maker(&self, root: &str, thread: usize, threads: usize) -> SteadyMaker {
        let template = self.template(root);
        let (thread, threads) = (thread as u64, threads as u64);
        let (names, kind): (&'static [&'static str], _) = match self.workload {
            Workload::Set => (&["set"], Kind::One(template)),
            Workload::Exists => (&["exists"], Kind::One(template)),
            Workload::List => (&["list"], Kind::One(template)),
            Workload::Multi { .. } => (&["multi"], Kind::Several(template)),
            Workload::MultiRead { .. } => (&["multi-read"], Kind::Several(template)),
            Workload::Delete => {
                let next = self.deletes * thread / threads;
                (&["delete"], Kind::Delete { template, next, end: self.deletes * (thread + 1) / threads })
            }
            Workload::Create => {
                let acl = [Acl::open()];
                let path = format!("{root}/n########/c{thread}-##########");
                let mode = CreateMode::Persistent;
                let template = Template::new(&Ask::Create { path: &path, data: Some(&self.value), acl: &acl, mode });
                (&["create"], Kind::Create { template, next: 0 })
            }
            Workload::Mixed { read_ratio } => {
                let path = format!("{root}/n########");
                let set = Template::new(&Ask::SetData { path: &path, data: Some(&self.value), version: -1 });
                let read_below = (read_ratio * 2f64.powi(64)) as u128;
                (&["read", "set"], Kind::Mixed { read: template, set, read_below })
            }
            _ => (&["read"], Kind::One(template)),
        };
        SteadyMaker { names, kind, nodes: self.nodes }
    }
}

/// Makes the requests of a steady workload.
#[derive(Debug)]
pub struct SteadyMaker {
    names: &'static [&'static str],
    kind: Kind,
    nodes: u64,
}

#[derive(Debug)]
enum Kind {
    /// One znode, or none in particular.
    One(Template),
    /// Several znodes in one request.
    Several(Template),
    Mixed {
        read: Template,
        set: Template,
        /// A draw of 64 bits below this is a read.
        read_below: u128,
    },
    /// Children of all znodes in turn.
    Create {
        template: Template,
        next: u64,
    },
    Delete {
        template: Template,
        next: u64,
        end: u64,
    },
}

impl Maker for SteadyMaker {
    fn names(&self) -> &[&'static str] {
        self.names
    }

    #[inline]
    fn push(&mut self, random: &mut Random, xid: i32, out: &mut Vec<u8>) -> Option<usize> {
        let nodes = self.nodes;
        match &mut self.kind {
            Kind::One(template) | Kind::Several(template) => template.push(xid, out, |_| random.below(nodes)),
            Kind::Mixed { read, set, read_below } => {
                let is_read = u128::from(random.bits()) < *read_below;
                let template = if is_read { read } else { set };
                template.push(xid, out, |_| random.below(nodes));
                return Some(usize::from(!is_read));
            }
            Kind::Create { template, next } => {
                template.push(xid, out, |place| if place == 0 { *next % nodes } else { *next });
                *next += 1;
            }
            Kind::Delete { template, next, end } => {
                if next == end {
                    return None;
                }
                template.push(xid, out, |place| if place == 0 { *next / FAMILY } else { *next % FAMILY });
                *next += 1;
            }
        }
        Some(0)
    }

    fn is_multi(&self, _operation: usize) -> bool {
        matches!(self.kind, Kind::Several(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::frame::Cut;
    use crate::proto::jute::Reader;
    use crate::proto::multi;
    use crate::proto::opcode;
    use crate::proto::request::{PathWatch, Write};

    fn maker(workload: Workload, pace: Pace, nodes: usize, thread: usize, threads: usize) -> SteadyMaker {
        let spec = Spec { workload, pace, nodes, value_size: 8995, ..Spec::default() };
        Steady::new(&spec).unwrap().maker("/top", thread, threads)
    }

    /// xid, operation and body of the next request, and its index.
    fn next(maker: &mut SteadyMaker, random: &mut Random, xid: i32) -> Option<(usize, i32, Vec<u8>)> {
        let mut out = Vec::new();
        let operation = maker.push(random, xid, &mut out)?;
        let Ok(Cut::Frame(body, used)) = frame::cut(&out, 1 << 20) else { panic!("no frame") };
        assert_eq!(used, out.len());
        let mut r = Reader::new(body);
        assert_eq!(r.int().unwrap(), xid);
        Some((operation, r.int().unwrap(), r.rest().to_vec()))
    }

    fn write_of(op: i32, body: &[u8]) -> Write<'_> {
        Write::decode(op, &mut Reader::new(body)).unwrap()
    }

    #[test]
    fn every_znode_is_drawn_and_no_other() {
        let mut random = Random::new(1, 0);
        for (workload, op) in [(Workload::Read, opcode::GET_DATA), (Workload::Exists, opcode::EXISTS)] {
            let mut maker = maker(workload, Pace::Closed, 3, 0, 1);
            let mut seen = std::collections::BTreeSet::new();
            for xid in 1..100 {
                let (operation, got, body) = next(&mut maker, &mut random, xid).unwrap();
                assert_eq!((operation, got), (0, op));
                seen.insert(PathWatch::decode(&mut Reader::new(&body)).unwrap().path.into_owned());
            }
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["/top/n00000000", "/top/n00000001", "/top/n00000002"]);
        }
    }

    #[test]
    fn a_mix_keeps_its_ratio() {
        let mut random = Random::new(1, 0);
        let mut maker = maker(Workload::Mixed { read_ratio: 0.8 }, Pace::Closed, 10, 0, 1);
        let reads = (0..10_000).filter(|xid| next(&mut maker, &mut random, *xid).unwrap().0 == 0).count();
        assert!((7800..8200).contains(&reads), "{reads}");
        for (ratio, operation) in [(1.0, 0), (0.0, 1)] {
            let mut maker = super::tests::maker(Workload::Mixed { read_ratio: ratio }, Pace::Closed, 10, 0, 1);
            assert!((0..1000).all(|xid| next(&mut maker, &mut random, xid).unwrap().0 == operation));
        }
    }

    #[test]
    fn no_two_creates_of_a_run_have_one_path() {
        let mut random = Random::new(1, 0);
        let mut seen = std::collections::BTreeSet::new();
        for thread in 0..2 {
            let mut maker = maker(Workload::Create, Pace::Closed, 10, thread, 2);
            for xid in 0..1000 {
                let (_, op, body) = next(&mut maker, &mut random, xid).unwrap();
                let Write::Create(create) = write_of(op, &body) else { panic!("no create") };
                assert_eq!(create.data.map(<[u8]>::len), Some(8995));
                seen.insert(create.path.unwrap().into_owned());
            }
        }
        assert_eq!(seen.len(), 2000);
        assert!(seen.contains("/top/n00000009/c1-0000000019"));
    }

    #[test]
    fn threads_delete_each_znode_once() {
        let mut random = Random::new(1, 0);
        let mut seen = std::collections::BTreeSet::new();
        for thread in 0..3 {
            let mut maker = maker(Workload::Delete, Pace::Closed, 2500, thread, 3);
            while let Some((_, op, body)) = next(&mut maker, &mut random, 1) {
                let Write::Delete { path, version: -1 } = write_of(op, &body) else { panic!("no delete") };
                assert!(seen.insert(path.into_owned()));
            }
        }
        assert_eq!(seen.len(), 2500);
        assert_eq!(seen.last().unwrap(), "/top/n00000002/d499");
    }

    #[test]
    fn multis_have_their_size() {
        let mut random = Random::new(1, 0);
        let mut sets = maker(Workload::Multi { size: 5 }, Pace::Closed, 10, 0, 1);
        let (operation, op, body) = next(&mut sets, &mut random, 1).unwrap();
        assert!(op == opcode::MULTI && sets.is_multi(operation));
        let members = multi::decode_writes(&mut Reader::new(&body)).unwrap();
        assert_eq!(members.len(), 5);
        assert!(
            members.iter().all(|(_, write)| matches!(write, Write::SetData { path, .. } if path.starts_with("/top/n0000000")))
        );
        let mut reads = maker(Workload::MultiRead { size: 7 }, Pace::Closed, 10, 0, 1);
        let (_, op, body) = next(&mut reads, &mut random, 1).unwrap();
        assert_eq!(op, opcode::MULTI_READ);
        assert_eq!(multi::decode_reads(&mut Reader::new(&body)).unwrap().len(), 7);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let spec = |workload| Spec { workload, ..Spec::default() };
        for (spec, words) in [
            (spec(Workload::Mixed { read_ratio: 1.5 }), "a read ratio of 1.5 is not within 0 to 1"),
            (spec(Workload::Mixed { read_ratio: f64::NAN }), "a read ratio of NaN is not within 0 to 1"),
            (spec(Workload::Multi { size: 0 }), "a multi of 0 is not within 1 to 1000"),
            (Spec { nodes: 0, ..Spec::default() }, "0 znodes are not within 1 to 100000000"),
            (Spec { value_size: 2 << 20, ..Spec::default() }, "data of 2097152 bytes is longer than 1048576"),
            (spec(Workload::Churn), "ephemeral sequential churn is no steady workload"),
        ] {
            assert_eq!(Steady::new(&spec).unwrap_err().to_string(), words);
        }
    }
}
