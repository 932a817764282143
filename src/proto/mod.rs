//! Floor 1: what is said. ZooKeeper's client and peer protocols and transaction records, to the byte.

pub mod acl;
pub mod code;
pub mod connect;
pub mod event;
pub mod frame;
pub mod http;
pub mod jute;
pub mod members;
pub mod multi;
pub mod opcode;
pub mod owner;
pub mod packet;
pub mod path;
pub mod preamble;
pub mod reply;
pub mod request;
pub mod snapshot;
pub mod stat;
pub mod stream;
pub mod txn;
pub mod vote;
