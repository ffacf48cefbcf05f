//! JSON's grammar (RFC 8259), read once from the beginning to the end.
//!
//! It recurses as deep as the text is, so that is bounded before all else.

use super::{DEPTH_MAX, JsonError, Kind, Node};

/// What may stand between values.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A reader of one text.
pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    /// Values deeper than this are read, but not kept.
    depth_kept: usize,
    nodes_max: usize,
}

impl<'a> Parser<'a> {
    /// Keeps `nodes_max` values and keys at most, none of them deeper than `depth_kept`. The text's length fits 32 bits.
    pub(super) fn new(text: &'a str, depth_kept: usize, nodes_max: usize) -> Self {
        Self { bytes: text.as_bytes(), at: 0, nodes: Vec::new(), depth_kept, nodes_max }
    }

    /// Reads all of it.
    pub(super) fn parse(mut self) -> Result<Vec<Node>, JsonError> {
        self.value(0)?;
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.error("something follows that is no part of it"));
        }
        Ok(self.nodes)
    }

    fn error(&self, problem: &'static str) -> JsonError {
        JsonError { at: self.at, problem }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past this byte, if it is the next.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Makes room for a value that begins here, if it is kept.
    fn open(&mut self, depth: usize) -> Result<Option<usize>, JsonError> {
        if depth > self.depth_kept {
            return Ok(None);
        }
        if self.nodes.len() >= self.nodes_max {
            return Err(self.error("there is too much in it"));
        }
        let start = offset(self.at);
        self.nodes.push(Node { kind: Kind::Null, start, end: start, after: 0 });
        Ok(Some(self.nodes.len() - 1))
    }

    /// Says what a value is that ends here.
    fn close(&mut self, node: Option<usize>, kind: Kind) {
        let (end, after) = (offset(self.at), offset(self.nodes.len()));
        if let Some(node) = node.and_then(|index| self.nodes.get_mut(index)) {
            *node = Node { kind, start: node.start, end, after };
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        self.space();
        let node = self.open(depth)?;
        let kind = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true", Kind::True)?,
            Some(b'f') => self.word(b"false", Kind::False)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(_) => return Err(self.error("a value belongs here")),
            None => return Err(self.error("it ends too early")),
        };
        self.close(node, kind);
        Ok(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.error("a value belongs here"));
        }
        self.at += word.len();
        Ok(kind)
    }

    /// Goes past a bracket, unless that is one too many.
    fn deeper(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth >= DEPTH_MAX {
            return Err(self.error("too many arrays and objects lie within each other"));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Kind, JsonError> {
        self.deeper(depth)?;
        if self.skip(b']') {
            return Ok(Kind::Array);
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if self.skip(b']') {
                return Ok(Kind::Array);
            }
            if !self.skip(b',') {
                return Err(self.error("\",\" or \"]\" belongs here"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Kind, JsonError> {
        self.deeper(depth)?;
        if self.skip(b'}') {
            return Ok(Kind::Object);
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a key in quotes belongs here"));
            }
            let key = self.open(depth + 1)?;
            let kind = self.string()?;
            self.close(key, kind);
            self.space();
            if !self.skip(b':') {
                return Err(self.error("\":\" belongs here"));
            }
            self.value(depth + 1)?;
            self.space();
            if self.skip(b'}') {
                return Ok(Kind::Object);
            }
            if !self.skip(b',') {
                return Err(self.error("\",\" or \"}\" belongs here"));
            }
        }
    }

    fn string(&mut self) -> Result<Kind, JsonError> {
        self.at += 1;
        let mut kind = Kind::Plain;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(kind);
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.at += 1;
                    self.escape()?;
                }
                Some(0..0x20) => return Err(self.error("a control character has to be escaped")),
                Some(_) => self.at += 1,
                None => return Err(self.error("it ends within a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                let unit = self.unit()?;
                let alone = "a surrogate has to be one of a pair";
                match unit {
                    0xd800..0xdc00 if self.bytes[self.at..].starts_with(b"\\u") => {
                        self.at += 2;
                        let low = self.unit()?;
                        if (0xdc00..0xe000).contains(&low) { Ok(()) } else { Err(self.error(alone)) }
                    }
                    0xd800..0xe000 => Err(self.error(alone)),
                    _ => Ok(()),
                }
            }
            _ => Err(self.error("there is no such escape")),
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.error("four hexadecimal digits belong here"))?;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<Kind, JsonError> {
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        } else if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a number has no zeros before it"));
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _signed = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a digit belongs here"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }
}

/// Texts are shorter than 4 GiB, so that offsets and counts fit.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
