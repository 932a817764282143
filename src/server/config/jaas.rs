//! Jaas: the users in a file of `java.security.auth.login.config`, in the syntax of Java's login configurations.
//!
//! `Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="secret"; };`, with comments as in Java.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// The module whose options name users.
const DIGEST: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";

/// Beginning of the options that do.
const USER: &str = "user_";

const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// Why a file is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct JaasError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Passwords by user, of the section of this name; `None` where there is no such section. The whole file must be in order.
pub fn users(text: &str, section: &str) -> Result<Option<BTreeMap<String, String>>, JaasError> {
    let mut tokens = Tokens { chars: text.chars().peekable(), line: 1 };
    let mut found = None;
    let mut seen = Vec::new();
    while let Some(token) = tokens.next()? {
        let name = tokens.text(token, "the name of a section")?;
        tokens.expect('{')?;
        let mut users = BTreeMap::new();
        loop {
            match tokens.next()? {
                Some(Token::Mark('}')) => break,
                token => tokens.module(token, name == section, &mut users)?,
            }
        }
        tokens.expect(';')?;
        if seen.contains(&name) {
            return Err(tokens.error(format!("section {name:?} is there twice")));
        }
        if name == section {
            found = Some(users);
        }
        seen.push(name);
    }
    Ok(found)
}

enum Token {
    Text(String),
    Mark(char),
}

struct Tokens<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Tokens<'_> {
    fn error(&self, what: impl Into<String>) -> JaasError {
        JaasError { line: self.line, what: what.into() }
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next();
        self.line += usize::from(c == Some('\n'));
        c
    }

    /// One module of a section: its class, its flag, its options.
    fn module(&mut self, class: Option<Token>, counts: bool, users: &mut BTreeMap<String, String>) -> Result<(), JaasError> {
        let class = class.ok_or_else(|| self.error("the file ends within a section"))?;
        let class = self.text(class, "a module's class, or '}'")?;
        if counts && class != DIGEST {
            return Err(self.error(format!("{class} is not here: {DIGEST} is the only module that is (no Kerberos)")));
        }
        let flag = self.next_text("required, requisite, sufficient or optional")?;
        if !FLAGS.iter().any(|known| known.eq_ignore_ascii_case(&flag)) {
            return Err(self.error(format!("expected required, requisite, sufficient or optional, and not {flag:?}")));
        }
        loop {
            let key = match self.next()? {
                Some(Token::Mark(';')) => return Ok(()),
                Some(token) => self.text(token, "an option, or ';'")?,
                None => return Err(self.error("the file ends within a section")),
            };
            self.expect('=')?;
            let value = self.next_text("the value of an option")?;
            if counts && value.contains("${") {
                return Err(self.error(format!("option {key:?}: ${{...}} is not replaced here: write the value itself")));
            }
            if let Some(user) = key.strip_prefix(USER) {
                users.insert(user.to_owned(), value);
            }
        }
    }

    fn next_text(&mut self, wanted: &str) -> Result<String, JaasError> {
        match self.next()? {
            Some(token) => self.text(token, wanted),
            None => Err(self.error(format!("expected {wanted}, and the file ends"))),
        }
    }

    fn text(&self, token: Token, wanted: &str) -> Result<String, JaasError> {
        match token {
            Token::Text(text) => Ok(text),
            Token::Mark(mark) => Err(self.error(format!("expected {wanted}, and not {mark:?}"))),
        }
    }

    fn expect(&mut self, mark: char) -> Result<(), JaasError> {
        match self.next()? {
            Some(Token::Mark(found)) if found == mark => Ok(()),
            _ => Err(self.error(format!("expected {mark:?}"))),
        }
    }

    fn next(&mut self) -> Result<Option<Token>, JaasError> {
        self.skip()?;
        let Some(first) = self.bump() else { return Ok(None) };
        if first == '"' {
            return self.quoted().map(|text| Some(Token::Text(text)));
        }
        if !is_word(first) {
            return Ok(Some(Token::Mark(first)));
        }
        let mut word = String::from(first);
        while let Some(c) = self.chars.next_if(|&c| is_word(c)) {
            word.push(c);
        }
        Ok(Some(Token::Text(word)))
    }

    /// White space and comments.
    fn skip(&mut self) -> Result<(), JaasError> {
        while let Some(&c) = self.chars.peek() {
            if c.is_whitespace() {
                self.bump();
                continue;
            }
            let mut ahead = self.chars.clone();
            match (ahead.next(), ahead.next()) {
                (Some('/'), Some('/')) => while self.chars.next_if(|&c| c != '\n').is_some() {},
                (Some('/'), Some('*')) => {
                    self.bump();
                    self.bump();
                    let mut last = ' ';
                    loop {
                        match self.bump() {
                            Some('/') if last == '*' => break,
                            Some(c) => last = c,
                            None => return Err(self.error("a comment that does not end")),
                        }
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn quoted(&mut self) -> Result<String, JaasError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c) if c.is_ascii_digit() => {
                        return Err(self.error("octal characters in quotes are not read here: write the character itself"));
                    }
                    Some(c) => text.push(c),
                    None => return Err(self.error("a quote that is not closed")),
                },
                Some('\n') | None => return Err(self.error("a quote that is not closed")),
                Some(c) => text.push(c),
            }
        }
    }
}

/// Letters, digits, and what Java's class names and options are made of.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '$' | '_' | '-' | '*') || u32::from(c) >= 0xa0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = r#"
        /* Users of the server // not of
         * its clients */
        Server {
            org.apache.zookeeper.server.auth.DigestLoginModule Required // comment
                user_super="a=b;c" user_bob=plain
                "user_a@b"="x\"y\\z" user_böb="päss" other="no user";
            org.apache.zookeeper.server.auth.DigestLoginModule optional;
        };
        QuorumServer { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true keyTab="${HOME}/x"; };
        Client{org.apache.zookeeper.server.auth.DigestLoginModule required username="x" password="y";};
    "#;

    #[test]
    fn users_of_a_section() {
        let all = [("super", "a=b;c"), ("bob", "plain"), ("a@b", "x\"y\\z"), ("böb", "päss")];
        let all: BTreeMap<_, _> = all.map(|(user, password)| (user.to_owned(), password.to_owned())).into();
        assert_eq!(users(FILE, "Server"), Ok(Some(all)));
        assert_eq!(users(FILE, "Client"), Ok(Some(BTreeMap::new())));
        assert_eq!(users(FILE, "None"), Ok(None));
        assert_eq!(users("", "Server"), Ok(None));
        let line = FILE.lines().position(|line| line.contains("Krb5")).unwrap() + 1;
        let error = users(FILE, "QuorumServer").unwrap_err();
        assert!(error.line == line && error.what.contains("no Kerberos"), "{error:?}");
    }

    #[test]
    fn what_is_no_login_configuration() {
        let module = "org.apache.zookeeper.server.auth.DigestLoginModule";
        for (text, line, part) in [
            ("Server".to_owned(), 1, "expected '{'"),
            ("Server {".to_owned(), 1, "ends within a section"),
            ("Server { };\nServer { };".to_owned(), 2, "is there twice"),
            ("Server { }".to_owned(), 1, "expected ';'"),
            (format!("Server {{ {module} }};"), 1, "and not '}'"),
            (format!("Server {{ {module} needed; }};"), 1, "\"needed\""),
            (format!("Server {{\n{module} required user_a \"b\"; }};"), 2, "expected '='"),
            (format!("Server {{\n{module} required user_a=; }};"), 2, "the value of an option"),
            (format!("Server {{\n{module} required user_a=\"x\n; }};"), 3, "a quote that is not closed"),
            (format!("Server {{\n{module} required user_a=\"${{x}}\"; }};"), 2, "is not replaced here"),
            (format!("Server {{ {module} required"), 1, "ends within a section"),
            ("/* x".to_owned(), 1, "a comment that does not end"),
            ("; Server".to_owned(), 1, "the name of a section"),
        ] {
            let error = users(&text, "Server").unwrap_err();
            assert!(error.line == line && error.what.contains(part), "{text:?}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,80}", likely in "[S{};=\"/*\\\\ \n]{0,40}") {
            let _ = users(&text, "Server");
            let _ = users(&likely, "S");
        }
    }
}
