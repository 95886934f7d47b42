//! Lines into stanzas.

use super::{ConfError, ConfProblem};

/// A stanza and its attributes, not looked at yet.
#[derive(Debug)]
pub(super) struct Stanza {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

impl Stanza {
    /// The attribute that counts: the last of the name. An empty one is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&Attribute> {
        let last = self.attributes.iter().rev().find(|attribute| attribute.name == name);
        last.filter(|attribute| !attribute.value.is_empty())
    }
}

/// Every stanza and every error. After an error it goes on as the author may have meant it, so that the
/// rest is checked too.
pub(super) fn stanzas(text: &[u8]) -> (Vec<Stanza>, Vec<ConfError>) {
    let mut lexer = Lexer { stanzas: Vec::new(), open: false, errors: Vec::new() };
    let mut lines = text.split(|&byte| byte == b'\n').enumerate();
    while let Some((at, line)) = lines.next() {
        let number = at + 1;
        if line.first() == Some(&b'#') {
            continue;
        }
        let mut line = line.to_vec();
        if is_attribute(&line) {
            // The backslash and the line end become a line end of the value.
            while line.last() == Some(&b'\\') {
                line.pop();
                line.push(b'\n');
                line.extend(lines.next().map_or(&[][..], |(_, next)| next));
            }
        }
        match String::from_utf8(line) {
            Ok(line) => lexer.line(number, &line),
            Err(_) => lexer.error(number, ConfProblem::NotUtf8),
        }
    }
    (lexer.stanzas, lexer.errors)
}

struct Lexer {
    stanzas: Vec<Stanza>,
    /// Whether an attribute belongs to the last stanza.
    open: bool,
    errors: Vec<ConfError>,
}

impl Lexer {
    fn line(&mut self, number: usize, line: &str) {
        if line.trim_matches(BLANKS).is_empty() {
            self.open = false;
        } else if let Some((name, value)) = attribute(line) {
            self.attribute(number, name, value);
        } else if let Some(name) = header(line) {
            let attributes = Vec::new();
            self.stanzas.push(Stanza { line: number, name: name.to_owned(), attributes });
            self.open = true;
        } else if line.ends_with('\r') {
            self.error(number, ConfProblem::CarriageReturn);
            self.line_ended_wrongly(number, line.trim_end_matches('\r'));
        } else if line.trim_start_matches(BLANKS).starts_with('#') {
            self.error(number, ConfProblem::IndentedComment);
        } else {
            let text = line.trim().chars().take(TEXT_SHOWN_MAX).collect();
            self.error(number, ConfProblem::NoMeaning { text });
        }
    }

    fn attribute(&mut self, number: usize, name: &str, value: &str) {
        if !self.open {
            let problem = match self.stanzas.is_empty() {
                true => ConfProblem::OutsideStanza,
                false => ConfProblem::AfterBlankLine,
            };
            self.error(number, problem);
            // One error for a run of attributes is enough.
            self.open = true;
        }
        if let Some(stanza) = self.stanzas.last_mut() {
            let (name, value) = (name.to_owned(), value.trim().to_owned());
            stanza.attributes.push(Attribute { line: number, name, value });
        }
    }

    /// The line was told to be wrong because of its end: what it says is taken all the same.
    fn line_ended_wrongly(&mut self, number: usize, line: &str) {
        if line.trim_matches(BLANKS).is_empty() || header(line).is_some() {
            self.line(number, line);
        }
    }

    fn error(&mut self, line: usize, problem: ConfProblem) {
        self.errors.push(ConfError { line, problem });
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// How much of a line without meaning is shown.
const TEXT_SHOWN_MAX: usize = 40;

/// `name:` in the first column, and nothing else but blanks.
fn header(line: &str) -> Option<&str> {
    let name = line.trim_end_matches(BLANKS).strip_suffix(':')?;
    is_word(name).then_some(name)
}

/// `name = value` behind a blank.
fn attribute(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix(BLANKS)?.split_once('=')?;
    let name = name.trim_matches(BLANKS);
    is_word(name).then_some((name, value))
}

/// Only the value of an attribute can go on in the next line.
fn is_attribute(line: &[u8]) -> bool {
    // A value may be anything; what is before it is ASCII.
    let upto = line.iter().position(|&byte| byte == b'=').map_or(0, |at| at + 1);
    str::from_utf8(&line[..upto]).is_ok_and(|start| attribute(start).is_some())
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
