//! House: the rules that one crate cannot make the compiler keep. Floors, bans, sizes, words that must not stay.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each floor. A room may name those of lower floors and itself.
const FLOORS: [&[&str]; 7] = [
    &["ground"],
    &["proto"],
    &["tree", "watch", "session", "auth", "zab", "storage"],
    &["engine"],
    &["runtime", "sim", "client"],
    &["server", "show"],
    &["cli", "bench", "tune", "migrate", "recipes"],
];

/// Floors below this one know no machine: no clock, no files, no sockets, no threads, no chance.
const WORLDS: usize = 4;

/// Path prefixes that floors without a world must not name outside their tests.
const BANNED: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::time::Instant::now",
    "std::time::SystemTime",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::collections::hash_map",
    "getrandom",
];

/// Words that floors without a world must not use outside their tests, wherever they come from.
const BANNED_WORDS: [&str; 6] = ["glommio", "SystemTime", "async", "thread_rng", "getrandom", "OsRng"];

/// Lines of a file without its tests.
const LINES_MAX: usize = 600;

/// What lies at the top.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "benches",
    "tuning",
    "scripts",
    "results",
    "tests",
    "docs",
    ".ci",
    "README.md",
    "LICENSE",
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The code without comments, and with nothing between the quotes of strings and characters. Lines stay in place.
fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        if at(i) == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    (c, _) => {
                        out.extend((c == '\n').then_some('\n'));
                        i += 1;
                    }
                }
                if depth == 0 {
                    break;
                }
            }
        } else if at(i) == 'r'
            && !(word_before && at(i - 1) != 'b')
            && (at(i + 1) == '"' || at(i + 1) == '#' && "\"#".contains(at(i + 2)))
        {
            let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            i += hashes + 2;
            out.push_str("\"\"");
            while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#')) {
                out.extend((at(i) == '\n').then_some('\n'));
                i += 1;
            }
            i += hashes + 1;
        } else if at(i) == '"' {
            out.push_str("\"\"");
            i += 1;
            while i < chars.len() && at(i) != '"' {
                out.extend((at(i) == '\n').then_some('\n'));
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
            out.push_str("''");
        } else {
            out.push(at(i));
            i += 1;
        }
    }
    out
}

/// The file up to its tests, and the tests at its foot.
fn split_tests(text: &str) -> (&str, &str) {
    match text.find("\n#[cfg(test)]\nmod ") {
        Some(at) => text.split_at(at + 1),
        None => (text, ""),
    }
}

fn tokens(code: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, tail) = rest.split_at(len);
        all.push(token);
        rest = tail.trim_start();
    }
    all
}

/// Every path that the code names, the trees of `use` unfolded.
fn paths(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let mut all = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if is_word(tokens[i]) { i = unfold(&tokens, i, String::new(), &mut all) } else { i += 1 }
    }
    all
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn unfold(tokens: &[&str], mut i: usize, prefix: String, all: &mut Vec<String>) -> usize {
    let mut path = prefix;
    loop {
        match tokens.get(i) {
            Some(&"{") => {
                i += 1;
                while i < tokens.len() && tokens[i] != "}" {
                    i = if is_word(tokens[i]) || tokens[i] == "{" { unfold(tokens, i, path.clone(), all) } else { i + 1 };
                }
                return i + 1;
            }
            Some(word) if is_word(word) => {
                path.push_str(word);
                i += 1;
            }
            _ => break,
        }
        if tokens.get(i) != Some(&"::") {
            break;
        }
        path.push_str("::");
        i += 1;
    }
    all.push(path);
    i
}

/// The room and the depth of the module that a file of `src` is: `src/proto/acl.rs` is 2 deep in `proto`.
fn place(file: &str) -> (Option<&str>, usize) {
    let parts: Vec<&str> = file.strip_prefix("src/").unwrap_or(file).split('/').collect();
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod.rs"));
    (if parts.len() > 1 { Some(parts[0]) } else { None }, depth)
}

/// Rule 1: a file names only lower floors and its own room.
fn floor_rules(file: &str, text: &str) -> Vec<String> {
    let (Some(room), depth) = place(file) else { return Vec::new() };
    let Some(own) = floor(room) else { return vec![format!("{file}: the room {room} is on no floor")] };
    let (body, tests) = split_tests(text);
    let mut wrong = Vec::new();
    for (part, depth) in [(body, depth), (tests, depth + 1)] {
        for path in paths(&code_of(part)) {
            let segments: Vec<&str> = path.split("::").collect();
            let supers = segments.iter().take_while(|s| **s == "super").count();
            // A lone `super` is the visibility `pub(super)`, in a module inside the file too.
            if supers >= depth && segments.len() > 1 {
                wrong.push(format!("{file}: {path} leaves the room; write crate::"));
            }
            if segments[0] != "crate" && segments[0] != "ringkeeper" {
                continue;
            }
            match segments.get(1).map(|other| (other, floor(other))) {
                Some((other, Some(floor))) if floor < own || *other == room => {}
                Some((other, Some(floor))) => {
                    wrong.push(format!("{file}: floor {own} names {other} on floor {floor} ({path})"));
                }
                _ => wrong.push(format!("{file}: {path} is on no floor")),
            }
        }
    }
    wrong
}

/// Rule 2: floors without a world name nothing of one.
fn ban_rules(file: &str, text: &str) -> Vec<String> {
    let (Some(room), _) = place(file) else { return Vec::new() };
    // The engine's rig is compiled for tests alone, all of it.
    if floor(room).is_none_or(|floor| floor >= WORLDS) || file.starts_with("src/engine/rig") {
        return Vec::new();
    }
    let code = code_of(split_tests(text).0);
    let mut wrong = Vec::new();
    for path in paths(&code) {
        let banned = BANNED.iter().any(|ban| path == *ban || path.strip_prefix(ban).is_some_and(|rest| rest.starts_with("::")));
        let word = path.split("::").any(|segment| BANNED_WORDS.contains(&segment));
        // However it was imported.
        let now = path == "Instant::now" || path.ends_with("::Instant::now");
        if banned || word || now || path == "std::collections::" {
            wrong.push(format!("{file}: names {path}"));
        }
    }
    wrong
}

/// Rule 4: glommio is the runtime's.
fn glommio_rules(file: &str, text: &str) -> Vec<String> {
    if file.starts_with("src/runtime/") {
        return Vec::new();
    }
    let named = paths(&code_of(text)).into_iter().filter(|path| path.split("::").any(|s| s == "glommio"));
    named.map(|path| format!("{file}: names {path} outside src/runtime/")).collect()
}

/// What changes files. Floors with a world name it in `runtime/drive.rs` alone, where the tests of crashes see it.
const CHANGES: [&str; 11] = [
    "fs::rename",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::write",
    "fs::copy",
    "fs::OpenOptions",
    "File::create",
    "File::options",
];

/// Files of the server are changed in one place, but for the batches that glommio writes.
fn drive_rules(file: &str, text: &str) -> Vec<String> {
    let is_bound = ["src/runtime/", "src/server/"].iter().any(|room| file.starts_with(room));
    if !is_bound || file == "src/runtime/drive.rs" || file.starts_with("src/server/trial/") {
        return Vec::new();
    }
    let named = paths(&code_of(split_tests(text).0)).into_iter();
    let wrong = named.filter(|path| CHANGES.iter().any(|change| path == change || path.ends_with(&format!("::{change}"))));
    wrong.map(|path| format!("{file}: names {path} outside src/runtime/drive.rs")).collect()
}

/// Rule 5: one noun a file, named in its first line, and not too much of it.
fn size_rules(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if !text.starts_with("//! ") {
        wrong.push(format!("{file}: the first line does not say what the file is (//! ...)"));
    }
    let lines = split_tests(text).0.lines().count();
    if lines > LINES_MAX {
        wrong.push(format!("{file}: {lines} lines without tests, {LINES_MAX} at most"));
    }
    wrong
}

/// Work that was put off.
fn leftover_rules(file: &str, text: &str) -> Vec<String> {
    // Written in halves, so that this file does not find itself.
    let needles =
        [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[ig", "nore"), concat!("FIX", "ME"), concat!("XX", "X")];
    needles.iter().filter(|needle| text.contains(**needle)).map(|needle| format!("{file}: contains {needle}")).collect()
}

/// What is true only on the machine where it was written.
fn machine_rules(file: &str, text: &str) -> Vec<String> {
    let needles = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("python", "hosted.org"),
        concat!("deb.deb", "ian.org"),
        concat!("maven", ".org"),
        concat!("npm", "js.org"),
        concat!("proxy.gol", "ang.org"),
    ];
    needles.iter().filter(|needle| text.contains(**needle)).map(|needle| format!("{file}: contains {needle}")).collect()
}

/// What may lie at the top, besides what `.gitignore` leaves out.
fn top_rules(names: &[String], ignored: &[String]) -> Vec<String> {
    let known = |name: &String| TOP.contains(&name.as_str()) || name.starts_with('.') || ignored.contains(name);
    names.iter().filter(|name| !known(name)).map(|name| format!("{name}: has no place at the top")).collect()
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn ignored() -> Vec<String> {
    let text = fs::read_to_string(top().join(".gitignore")).unwrap();
    text.lines().map(|line| line.trim_matches('/').to_owned()).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every text file of the repository, by its path from the top.
fn files() -> Vec<(String, String)> {
    fn walk(top: &Path, below: &str, all: &mut Vec<(String, String)>) {
        for name in names(&top.join(below)) {
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            if name == ".git" || name == "__pycache__" || below.is_empty() && ignored().contains(&name) {
                continue;
            }
            let full = top.join(&path);
            if full.is_dir() {
                walk(top, &path, all);
            } else if let Ok(text) = fs::read_to_string(&full) {
                all.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&top(), "", &mut all);
    assert!(all.len() > 30, "the walk has missed the repository");
    all
}

fn none_wrong(rule: fn(&str, &str) -> Vec<String>, picked: impl Fn(&str) -> bool) {
    let files: Vec<_> = files().into_iter().filter(|(file, _)| picked(file)).collect();
    assert!(!files.is_empty(), "the rule was tried on nothing");
    let wrong: Vec<String> = files.iter().flat_map(|(file, text)| rule(file, text)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn is_source(file: &str) -> bool {
    file.starts_with("src/") && file.ends_with(".rs")
}

fn is_rust(file: &str) -> bool {
    file.ends_with(".rs")
}

#[test]
fn floors_name_lower_floors_only() {
    none_wrong(floor_rules, is_source);
}

#[test]
fn floors_without_a_world_name_nothing_of_one() {
    none_wrong(ban_rules, is_source);
}

#[test]
fn glommio_stays_in_the_runtime() {
    none_wrong(glommio_rules, is_rust);
}

#[test]
fn files_are_changed_in_one_place() {
    none_wrong(drive_rules, is_source);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    none_wrong(size_rules, is_rust);
}

#[test]
fn nothing_is_put_off() {
    none_wrong(leftover_rules, |file| file != "Cargo.lock" && !file.starts_with("results/"));
}

#[test]
fn nothing_names_one_machine_or_a_registry() {
    none_wrong(machine_rules, |file| file != "Cargo.lock");
}

#[test]
fn the_top_is_tidy_and_the_readme_names_the_gate() {
    let wrong = top_rules(&names(&top()), &ignored());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(fs::read_to_string(top().join("README.md")).unwrap().contains("scripts/test.sh"));
}

/// The rules catch what they are for.
mod caught {
    use super::*;

    fn has(wrong: &[String], what: &str) {
        assert!(wrong.iter().any(|w| w.contains(what)), "{what} was not caught: {wrong:?}");
    }

    #[test]
    fn imports_of_upper_floors_and_of_neighbours() {
        has(&floor_rules("src/proto/a.rs", "use crate::tree::View;"), "floor 1 names tree on floor 2");
        has(&floor_rules("src/tree/a.rs", "use crate::{ground::ids, watch::{kinds, table}};"), "watch::kinds");
        has(&floor_rules("src/runtime/a.rs", "fn f() { crate::client::x(); }"), "names client on floor 4");
        has(&floor_rules("src/tree/a.rs", "#\n#[cfg(test)]\nmod tests { use crate::engine::X; }"), "engine");
        has(&floor_rules("src/engine/shard/a.rs", "use super::super::super::server::x;"), "leaves the room");
        has(&floor_rules("src/tree/mod.rs", "use super::watch;"), "leaves the room");
        has(&floor_rules("src/attic/a.rs", ""), "on no floor");
        has(&floor_rules("src/tree/a.rs", "use crate::attic::A;"), "on no floor");
        let fine = "use crate::ground::ids; use super::b; // crate::server\n#[cfg(test)]\nmod tests { use super::super::c; }";
        assert_eq!(floor_rules("src/tree/a.rs", fine), [""; 0]);
    }

    #[test]
    fn worldly_things_below_the_worlds() {
        for bad in [
            "use std::fs::File;",
            "use std::{collections::BTreeMap, net::TcpStream};",
            "fn f() { std::thread::spawn(g); }",
            "use std::time::Instant; fn f() { Instant::now(); }",
            "use std::time::SystemTime;",
            "async fn f() {}",
            "use std::collections::{BTreeMap, HashMap};",
            "type A = std::collections::HashSet<u8>;",
            "use std::collections::*;",
            "use glommio::Task;",
            "fn f() { getrandom::fill(&mut b); }",
        ] {
            has(&ban_rules("src/engine/a.rs", bad), "names");
            assert_eq!(ban_rules("src/runtime/a.rs", bad), [""; 0]);
            assert_eq!(ban_rules("src/engine/a.rs", &format!("//! A\n#[cfg(test)]\nmod tests {{ {bad} }}")), [""; 0]);
        }
        let fine =
            "//! Never std::fs.\nuse core::net::IpAddr; use hashbrown::HashMap; const A: &str = \"std::fs::x\"; /* glommio */";
        assert_eq!(ban_rules("src/engine/a.rs", fine), [""; 0]);
    }

    #[test]
    fn strings_and_comments_are_no_code_and_code_after_them_is() {
        for text in ["let a = \"x\\\"std::fs::y\"; B::c", "let a = r#\"std::fs \" \"#; B::c", "/* a /* std::fs */ */ B::c"] {
            assert!(paths(&code_of(text)).contains(&"B::c".to_owned()), "{text}");
            assert!(!code_of(text).contains("std::fs"), "{text}");
        }
        assert_eq!(code_of("fn f<'a>(c: char) { c == '\"' || c == '\\'' } // x"), "fn f<'a>(c: char) { c == '' || c == '' } ");
        assert_eq!(
            paths("use a::{self, b::{c, d as e}, f::*};"),
            ["use", "a::self", "a::b::c", "a::b::d", "a::b::as", "a::b::e", "a::f::"]
        );
    }

    #[test]
    fn glommio_elsewhere() {
        has(&glommio_rules("src/server/a.rs", "use glommio::net;"), "outside");
        has(&glommio_rules("benches/a.rs", "fn f() { glommio::spawn_local(x); }"), "outside");
        assert_eq!(glommio_rules("src/runtime/a.rs", "use glommio::net;"), [""; 0]);
    }

    #[test]
    fn files_changed_elsewhere() {
        for bad in ["use std::fs::{self, OpenOptions};", "fn f() { fs::rename(a, b); }", "fn f() { std::fs::File::create(a); }"] {
            has(&drive_rules("src/server/a.rs", bad), "outside");
            assert_eq!(drive_rules("src/runtime/drive.rs", bad), [""; 0]);
            assert_eq!(drive_rules("src/runtime/a.rs", &format!("//! A\n#[cfg(test)]\nmod tests {{ {bad} }}")), [""; 0]);
        }
        assert_eq!(drive_rules("src/runtime/a.rs", "use glommio::io::OpenOptions; fn f() { fs::read(a); }"), [""; 0]);
    }

    #[test]
    fn long_files_and_nameless_ones() {
        has(&size_rules("src/a.rs", "use a;"), "first line");
        has(&size_rules("src/a.rs", &format!("//! A\n{}", "\n".repeat(LINES_MAX))), "601 lines");
        let tested = format!("//! A\n#[cfg(test)]\nmod tests {{{}}}", "\n".repeat(LINES_MAX));
        assert_eq!(size_rules("src/a.rs", &tested), [""; 0]);
    }

    #[test]
    fn things_put_off() {
        for bad in [concat!("to", "do!()"), concat!("#[ig", "nore = \"x\"]"), concat!("// FIX", "ME: later"), concat!("XX", "X")]
        {
            has(&leftover_rules("src/a.rs", bad), "contains");
        }
        has(&leftover_rules("src/a.rs", concat!("unimple", "mented!()")), "contains");
    }

    #[test]
    fn machines_and_registries() {
        has(&machine_rules("a.sh", concat!("cd /wo", "rk/x")), "contains");
        has(&machine_rules("a.md", concat!("https://crates", ".io/x")), "contains");
        assert_eq!(machine_rules("a.sh", "cd ../rework/x"), [""; 0]);
    }

    #[test]
    fn strangers_at_the_top() {
        let names = ["src", ".ci", "target", "notes.txt"].map(str::to_owned);
        assert_eq!(top_rules(&names, &["target".to_owned()]), ["notes.txt: has no place at the top"]);
    }
}
