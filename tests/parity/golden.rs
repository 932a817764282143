//! Golden: what a server answered once, step by step, kept as text. `>` begins a step, `<` what a session heard of it.

use std::io;
use std::path::Path;

use super::side::Answers;
use super::step::Step;

/// Steps and what each was answered.
pub struct Golden {
    pub steps: Vec<Step>,
    answers: Vec<Vec<String>>,
}

impl Golden {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut golden = Self { steps: Vec::new(), answers: Vec::new() };
        for line in text.lines() {
            match line.split_at_checked(2) {
                Some(("> ", step)) => {
                    golden.steps.push(Step::parse(step).unwrap_or_else(|| panic!("{}: no step: {step}", path.display())));
                    golden.answers.push(Vec::new());
                }
                Some(("< ", answer)) => golden.answers.last_mut().expect("a step comes first").push(answer.to_owned()),
                _ => assert!(line.is_empty() || line.starts_with('#'), "{}: {line}", path.display()),
            }
        }
        golden
    }

    /// Plays the steps and keeps what is answered; zxids are counted from the first one.
    pub fn capture(side: &mut dyn Answers, steps: &[Step], head: &str) -> io::Result<String> {
        let (mut text, mut base) = (format!("# {head}\n"), None);
        for (at, step) in steps.iter().enumerate() {
            text += &format!("> {}\n", step.text());
            for line in side.play(at, step)? {
                let counted =
                    line.split(' ').map(|word| match word.strip_prefix('@').and_then(|digits| digits.parse::<i64>().ok()) {
                        Some(zxid) => format!("@{}", zxid - *base.get_or_insert(zxid) + 1000),
                        None => word.to_owned(),
                    });
                text += &format!("< {}\n", counted.collect::<Vec<_>>().join(" "));
            }
        }
        Ok(text)
    }
}

impl Answers for Golden {
    fn play(&mut self, at: usize, _: &Step) -> io::Result<Vec<String>> {
        Ok(self.answers[at].clone())
    }
}
