//! Tools: `ringkeeper log` and `ringkeeper image` as processes, on whole data and on damaged.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

#[path = "../server/harness.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "shared with the tests of the server, which use all of it")]
mod harness;
mod images;
mod log;

/// How a tool ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

pub fn tool(args: &[&str], dir: &Path) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    let output = command.args(&args[..2]).arg(dir).args(&args[2..]).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// It must end well and say nothing besides its output.
pub fn fine(args: &[&str], dir: &Path) -> Ran {
    let ran = tool(args, dir);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{args:?} {ran:#?}");
    ran
}
