//! The lines of a head, and of the trailers after a body in chunks: each is checked as soon as it is whole.
//!
//! A line is what LF ends, as for httparse, but only CR LF ends one here. Names, values and targets have the characters
//! that httparse lets them have; what it forgives beyond that (a bare LF) is refused.

use super::fault::Fault;
use memchr::memchr;

/// Largest length of a body; hyper takes none that is longer.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// Headers that mean nothing in trailers, but could to who reads them as headers (RFC 9110, section 6.5.1).
const NO_TRAILERS: [&[u8]; 8] = [
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// The characters of a token (RFC 9110, section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
            || matches!(byte as u8, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

/// How far a block of lines was checked.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes of lines that are whole.
    checked: usize,
    /// Bytes up to which no other LF is.
    searched: usize,
}

impl Lines {
    /// The next whole line of the block, without its end.
    fn next<'a>(&mut self, block: &'a [u8], limit_bytes: usize) -> Result<Option<&'a [u8]>, Fault> {
        let Some(found) = memchr(b'\n', &block[self.searched..]) else {
            self.searched = block.len();
            let is_too_large = block.len() > limit_bytes;
            return if is_too_large { Err(Fault::TooLarge { limit_bytes }) } else { Ok(None) };
        };
        let end = self.searched + found;
        if end >= limit_bytes {
            return Err(Fault::TooLarge { limit_bytes });
        }
        let line = block[self.checked..end].strip_suffix(b"\r").ok_or(Fault::BareLf)?;
        (self.checked, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Another head.
    None,
    /// So many bytes.
    Length(u64),
    Chunks,
    /// Another head, or another protocol, if who is asked agrees to it.
    Undecided,
}

/// A request's head, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: Lines,
    /// Whether its first line was read.
    begun: bool,
    is_http11: bool,
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
    asks_upgrade: bool,
}

impl Head {
    /// Checks what is there of it, from its first byte on; says how long it is, and what follows it, once it is whole.
    pub(super) fn check(&mut self, block: &[u8], limit_bytes: usize) -> Result<Option<(usize, Body)>, Fault> {
        while let Some(line) = self.lines.next(block, limit_bytes)? {
            match (self.begun, line.is_empty()) {
                (true, false) => self.header(line)?,
                (true, true) => return Ok(Some((self.lines.checked, self.body()?))),
                (false, false) => {
                    self.is_http11 = request_line(line)?;
                    self.begun = true;
                }
                // RFC 9112, section 2.2: empty lines before a request are to be ignored.
                (false, true) => {}
            }
        }
        Ok(None)
    }

    /// Whether nothing of it was read.
    pub(super) fn is_unseen(&self) -> bool {
        self.lines.searched == 0
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (name, value) = field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let was_said = std::mem::replace(&mut self.has_host, true);
                if was_said {
                    return Err(Fault::Hosts);
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.asks_upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Fault::Lengths);
                }
                self.length = Some(length(value).ok_or(Fault::Length)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !self.is_http11 {
                    return Err(Fault::EncodingInHttp10);
                }
                let was_said = std::mem::replace(&mut self.is_chunked, true);
                if was_said || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Encoding);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows a head with these headers. No method matters: for hyper neither, but for the answer.
    fn body(&self) -> Result<Body, Fault> {
        if self.is_http11 && !self.has_host {
            return Err(Fault::NoHost);
        }
        Ok(match (self.is_chunked, self.length.unwrap_or(0)) {
            (true, _) if self.length.is_some() => return Err(Fault::LengthAndEncoding),
            (true, _) => Body::Chunks,
            // A request with a body is never let go on in another protocol, nor one of HTTP/1.0.
            (false, 0) if self.asks_upgrade && self.is_http11 => Body::Undecided,
            (false, 0) => Body::None,
            (false, bytes) => Body::Length(bytes),
        })
    }
}

/// The trailers after a body in chunks, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Trailers(Lines);

impl Trailers {
    /// Checks what is there of them, from their first byte on; says how long they are once they are whole.
    pub(super) fn check(&mut self, block: &[u8], limit_bytes: usize) -> Result<Option<usize>, Fault> {
        while let Some(line) = self.0.next(block, limit_bytes)? {
            if line.is_empty() {
                return Ok(Some(self.0.checked));
            }
            let (name, _) = field(line)?;
            if NO_TRAILERS.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                return Err(Fault::Trailer);
            }
        }
        Ok(None)
    }
}

/// Checks a head's first line; says whether it is of HTTP/1.1.
fn request_line(line: &[u8]) -> Result<bool, Fault> {
    let parts = memchr(b' ', line).and_then(|method| {
        let target = memchr(b' ', &line[method + 1..])?;
        Some((&line[..method], &line[method + 1..][..target], &line[method + target + 2..]))
    });
    let Some((method, target, version)) = parts else { return Err(reason(line, Fault::RequestLine)) };
    if !is_token(method) {
        let is_spaced = method.is_empty() || method.contains(&b'\t');
        return Err(reason(line, if is_spaced { Fault::RequestLine } else { Fault::Method }));
    }
    if target.is_empty() || has_control(target) || target.contains(&b'\t') {
        return Err(reason(line, Fault::RequestLine));
    }
    // httparse asks for this much of a target; hyper, for a little more.
    if !target.is_ascii() && std::str::from_utf8(target).is_err() {
        return Err(Fault::Target);
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ if version.iter().any(|byte| matches!(byte, b' ' | b'\t')) => Err(reason(line, Fault::RequestLine)),
        _ => Err(reason(line, Fault::Version)),
    }
}

/// A header's name and value, with the white space around it.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if let Some(b' ' | b'\t') = line.first() {
        return Err(Fault::Folding);
    }
    let Some(colon) = memchr(b':', line) else { return Err(reason(line, Fault::NoColon)) };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        let is_spaced = name.last().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        return Err(reason(line, if is_spaced { Fault::SpaceBeforeColon } else { Fault::HeaderName }));
    }
    if has_control(value) {
        return Err(reason(line, Fault::Control));
    }
    Ok((name, value))
}

/// What is worst about a line that has something wrong with it.
#[cold]
fn reason(line: &[u8], other: Fault) -> Fault {
    match (line.contains(&b'\r'), has_control(line)) {
        (true, _) => Fault::BareCr,
        (false, true) => Fault::Control,
        (false, false) => other,
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Whether a control character is among these, other than a tab. Without branches, so that it takes many at once.
fn has_control(bytes: &[u8]) -> bool {
    let controls = bytes.iter().map(|&byte| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f));
    controls.fold(false, |found, control| found | control)
}

/// The number that a `Content-Length` is: digits, and white space around them.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    number.filter(|number| *number <= LENGTH_MAX)
}
