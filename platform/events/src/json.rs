//! JSON as strangers send it, read where it lies: what is in it, where, and which bytes those are.
//!
//! It is ours because patterns compare numbers as they are written, envelopes take the detail out as it was put, and neither
//! needs a tree of owned values. Deliberately no serialisation but of strings.
//!
//! What always holds: a [`Tape`] is of a text that is JSON by RFC 8259, whole, no deeper than [`DEPTH_MAX`] and no longer than
//! [`TEXT_BYTES_MAX`], each string of which is Unicode (no lone surrogates). Its memory is at most sixteen times the text's.

mod parser;
#[cfg(test)]
mod tests;

use parser::Parser;
use std::borrow::Cow;

/// Arrays and objects within each other, at most.
pub(crate) const DEPTH_MAX: usize = 128;
/// The longest text that is read into a [`Tape`] whole, in bytes: an event, with all that escaping may make of it.
pub(crate) const TEXT_BYTES_MAX: usize = 2 << 20;
/// The longest text of which an outline is read, in bytes.
pub(crate) const OUTLINE_BYTES_MAX: usize = 64 << 20;
/// The most characters of others' text in a message of ours.
const SHORTENED_CHARS_MAX: usize = 120;

/// Why a text is not JSON, or not JSON that is taken; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it can't be read as JSON: {problem} (byte {at})")]
pub struct JsonError {
    /// Where, in bytes from the beginning.
    at: usize,
    problem: &'static str,
}

impl JsonError {
    /// A problem at the beginning.
    pub(crate) fn whole(problem: &'static str) -> Self {
        Self { at: 0, problem }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    Number,
    /// A string that is written without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    Array,
    Object,
}

/// A value's place: its bytes, and the index of the first node that is no part of it.
#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    start: u32,
    end: u32,
    after: u32,
}

/// A JSON text that was read: its values in the order of the text, each array and object before what it has in it.
pub(crate) struct Tape<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

impl<'a> Tape<'a> {
    /// Reads a text.
    pub(crate) fn parse(text: &'a str) -> Result<Self, JsonError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(JsonError { at: TEXT_BYTES_MAX, problem: "it is too long" });
        }
        Parser::new(text, DEPTH_MAX, usize::MAX).parse().map(|nodes| Self { text, nodes })
    }

    /// Reads a text and keeps what is not deeper than `depth` of it, and `nodes_max` values and keys at most; deeper arrays and
    /// objects are there, but look as if they were empty. For what is long but has little in it at that depth.
    pub(crate) fn outline(text: &'a str, depth: usize, nodes_max: usize) -> Result<Self, JsonError> {
        if text.len() > OUTLINE_BYTES_MAX {
            return Err(JsonError { at: OUTLINE_BYTES_MAX, problem: "it is too long" });
        }
        Parser::new(text, depth, nodes_max).parse().map(|nodes| Self { text, nodes })
    }

    /// The whole.
    pub(crate) fn root(&self) -> Value<'_> {
        Value { text: self.text, nodes: &self.nodes, index: 0 }
    }
}

/// A value of a text that was read.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t> {
    text: &'t str,
    nodes: &'t [Node],
    index: usize,
}

impl<'t> Value<'t> {
    fn node(self) -> Node {
        self.nodes[self.index]
    }

    /// What it is.
    pub(crate) fn kind(self) -> Kind {
        self.node().kind
    }

    /// Its bytes, as they are written.
    pub(crate) fn raw(self) -> &'t str {
        let Node { start, end, .. } = self.node();
        &self.text[start as usize..end as usize]
    }

    /// What it says, if it is a string.
    pub(crate) fn text(self) -> Option<Cow<'t, str>> {
        match self.kind() {
            Kind::Plain => Some(Cow::Borrowed(inner(self.raw()))),
            Kind::Escaped => Some(Cow::Owned(unescape(inner(self.raw())))),
            _ => None,
        }
    }

    /// Its elements in their order; none if it is no array.
    pub(crate) fn elements(self) -> Children<'t> {
        self.children(Kind::Array)
    }

    /// Its members in their order, each as often as it is written; none if it is no object.
    pub(crate) fn members(self) -> impl Iterator<Item = (Cow<'t, str>, Value<'t>)> {
        let mut children = self.children(Kind::Object);
        std::iter::from_fn(move || {
            let key = children.next()?.text()?;
            Some((key, children.next()?))
        })
    }

    /// The member of this key; the last, if there are several.
    pub(crate) fn get(self, key: &str) -> Option<Value<'t>> {
        self.members().filter(|(name, _)| name == key).last().map(|(_, value)| value)
    }

    fn children(self, of: Kind) -> Children<'t> {
        let end = if self.kind() == of { self.node().after as usize } else { self.index + 1 };
        Children { text: self.text, nodes: self.nodes, next: self.index + 1, end }
    }
}

/// What lies directly in an array or object.
pub(crate) struct Children<'t> {
    text: &'t str,
    nodes: &'t [Node],
    next: usize,
    end: usize,
}

impl<'t> Iterator for Children<'t> {
    type Item = Value<'t>;

    fn next(&mut self) -> Option<Value<'t>> {
        if self.next >= self.end {
            return None;
        }
        let value = Value { text: self.text, nodes: self.nodes, index: self.next };
        self.next = value.node().after as usize;
        Some(value)
    }
}

/// A string's text without its quotes.
fn inner(raw: &str) -> &str {
    &raw[1..raw.len() - 1]
}

/// What a string says whose escapes were checked.
fn unescape(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let letter = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        match letter {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let high = unit(rest);
                rest = &rest[4..];
                let mut units = vec![high];
                if (0xd800..0xdc00).contains(&high) {
                    units.push(unit(&rest[2..]));
                    rest = &rest[6..];
                }
                text.push_str(&String::from_utf16_lossy(&units));
            }
            itself => text.push(char::from(itself)),
        }
    }
    text.push_str(rest);
    text
}

/// The four hexadecimal digits at the beginning of a text.
fn unit(text: &str) -> u16 {
    u16::from_str_radix(&text[..4], 16).unwrap_or(0xfffd)
}

/// What a JSON text says that is a string, whole; none if it is anything else.
pub(crate) fn unquoted(json: &str) -> Option<Cow<'_, str>> {
    if !json.starts_with('"') {
        return None;
    }
    let kind = Parser::new(json, 0, 1).parse().ok()?.first()?.kind;
    let trimmed = json.trim_end_matches(parser::SPACE);
    Some(if kind == Kind::Plain {
        Cow::Borrowed(inner(trimmed))
    } else {
        Cow::Owned(unescape(inner(trimmed)))
    })
}

/// Writes a text as a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Writes a text as it stands within a JSON string.
pub(crate) fn escape(out: &mut String, text: &str) {
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => out.push_str(&format!("\\u{other:04x}")),
        }
    }
    out.push_str(&text[written..]);
}

/// Others' text, so short that it fits into a message.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHORTENED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
