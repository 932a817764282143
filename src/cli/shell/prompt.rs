//! Prompt: lines written at a terminal, with completion by TAB and a history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::CommandFactory;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use super::order::{self, Line, Order};
use super::perform::completions;
use super::{Shared, Shell, UNREACHABLE, held};
use crate::show::tell::tell;

/// How often the session is looked at while nobody writes.
const PULSE: Duration = Duration::from_millis(200);

/// Completes the first word by commands and others by paths.
struct Completing(Shared);

impl Completer for Completing {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = &line[..at];
        let start = begun.rfind(' ').map_or(0, |blank| blank + 1);
        let word = &begun[start..];
        if start == 0 {
            let names = Line::command().get_subcommands().map(|c| c.get_name().to_owned()).collect::<Vec<_>>();
            return Ok((0, names.into_iter().filter(|name| name.starts_with(word)).collect()));
        }
        Ok((start, held(&self.0).as_mut().map(|keeper| completions(keeper, word)).unwrap_or_default()))
    }
}

impl Hinter for Completing {
    type Hint = String;
}
impl Highlighter for Completing {}
impl Validator for Completing {}
impl Helper for Completing {}

/// Reads and obeys lines until the end of input or `quit`.
pub fn run(shell: &Shell, shared: &Shared) -> u8 {
    let mut editor = match Editor::<Completing, DefaultHistory>::new() {
        Ok(editor) => editor,
        Err(error) => {
            tell(&format!("the terminal: {error}"));
            return UNREACHABLE;
        }
    };
    editor.set_helper(Some(Completing(Arc::clone(shared))));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                shell.tell_events(shared);
                std::thread::sleep(PULSE);
            }
        });
        loop {
            let line = match editor.readline(&format!("[{}] ", shell.server)) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break,
                Err(error) => {
                    tell(&format!("the terminal: {error}"));
                    break;
                }
            };
            let Some(order) = order::read(&line) else { continue };
            // A history that is full loses its oldest line by itself.
            let _ = editor.add_history_entry(&line);
            match order {
                Ok(Order::Quit) => break,
                Ok(Order::History) => {
                    for (number, line) in editor.history().iter().enumerate() {
                        println!("{number} - {line}");
                    }
                }
                Ok(order) => {
                    shell.obey(shared, &order);
                }
                Err(message) => println!("{message}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    0
}
