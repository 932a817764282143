//! Paper: plays the scripts of `tests/scripts`, in which servers of the ensemble are set up, run step by step, and write down what they do.
//!
//! A script is a list of commands, each followed by `----` and what it led to. `REWRITE=1 cargo test --test paper` writes the latter anew;
//! a change of the protocol then shows as a change of text. There is one clock, one queue of what is under way, and no chance.
//!
//! Commands: `members voters=1,2,3 observers=4`, `start 1 anew log=1.1-1.3,2.1 accepted=2 current=2 delivered=1.3 base=1.0 impaired`,
//! `stop 1`, `run`, `time 500`, `propose 1 3`, `leave 1`, `hold disk 2`, `hold link 1 2`, `release`, `cut 1 2`, `heal`, `trace votes pings`,
//! `limits memory=100 epoch=5`, `forget`, `show`. A zxid is written as epoch and counter, `5.3`.

mod chance;
mod words;
mod world;

use std::path::Path;

use crate::world::World;

/// Plays a script, and gives it back with what happened.
fn play(script: &str) -> String {
    let mut world = World::new(1 << 20, 1 << 30, None);
    let mut played = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        played.push_str(line);
        played.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let trace = world.command(line);
        if lines.peek() == Some(&"----") {
            lines.next();
            while lines.next_if(|line| !line.is_empty()).is_some() {}
        }
        if !trace.is_empty() {
            played.push_str("----\n");
            played.push_str(&trace);
        }
    }
    played
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let script = std::fs::read_to_string(&path).expect("the script is there");
    let played = play(&script);
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, played).expect("the script can be written");
    } else if played != script {
        let line = played.lines().zip(script.lines()).take_while(|(a, b)| a == b).count();
        let (now, was) = (played.lines().nth(line), script.lines().nth(line));
        panic!("{name}, line {}:\n  written {was:?}\n  played  {now:?}\nREWRITE=1 writes it anew", line + 1);
    }
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"));
        })*

        /// No script lies about unplayed.
        #[test]
        fn all_are_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .expect("the folder is there")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
                .collect();
            found.sort();
            let mut played = vec![$(concat!(stringify!($name), ".txt").to_owned()),*];
            played.sort();
            assert_eq!(found, played);
        }
    };
}

scripts!(election, broadcast, diff, trunc, snap, divergence, observer, hand_over);
