//! What clients send: arrays of bulk strings, or a line of words for people who type (RESP2, "Sending commands to a
//! Redis server").
//!
//! What always holds: no more is kept than one request may have, and what was read with its end.

/// Bytes of one request, with all its arguments.
pub(crate) const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Arguments of one request.
const ARGUMENTS_MAX: usize = 16_384;
/// Bytes of a line: of one that people type, or that says how much follows.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Room that an empty buffer keeps.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// What a client sent, request by request.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    buffer: Vec<u8>,
    /// Where the next one begins.
    start: usize,
}

/// What is no request: said to the client, whose connection then ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Requests {
    /// Takes what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES_MAX);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The arguments of the next request that is whole, the command first; none at all in an empty line.
    ///
    /// # Errors
    /// [`Malformed`] if what came can't become a request.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<&[u8]>>, Malformed> {
        let rest = &self.buffer[self.start..];
        let read = match rest.first() {
            None => None,
            Some(b'*') => array(rest)?,
            Some(_) => words(rest)?,
        };
        match read {
            Some((arguments, length)) => {
                self.start += length;
                Ok(Some(arguments))
            }
            None if rest.len() > REQUEST_BYTES_MAX => Err(Malformed("Protocol error: request is too big")),
            None => Ok(None),
        }
    }
}

/// Arguments, and how many bytes they took.
type Read<'a> = Option<(Vec<&'a [u8]>, usize)>;

fn array(bytes: &[u8]) -> Result<Read<'_>, Malformed> {
    let Some((count, mut at)) = length(bytes, 0, "Protocol error: invalid multibulk length")? else {
        return Ok(None);
    };
    if count > ARGUMENTS_MAX {
        return Err(Malformed("Protocol error: invalid multibulk length"));
    }
    let mut arguments = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(Malformed("Protocol error: expected '$'")),
        }
        let Some((length, begin)) = length(bytes, at, "Protocol error: invalid bulk length")? else {
            return Ok(None);
        };
        if length > REQUEST_BYTES_MAX {
            return Err(Malformed("Protocol error: invalid bulk length"));
        }
        let end = begin + length;
        match bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err(Malformed("Protocol error: expected the end of a bulk string")),
        }
        arguments.push(&bytes[begin..end]);
        at = end + 2;
    }
    Ok(Some((arguments, at)))
}

/// The number behind the type at `at`, and where its line ends. A negative one, which is no array at all, counts as 0.
fn length(bytes: &[u8], at: usize, otherwise: &'static str) -> Result<Option<(usize, usize)>, Malformed> {
    let Some((line, end)) = line(bytes, at)? else { return Ok(None) };
    let number = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.parse::<i64>().ok());
    let number = number.ok_or(Malformed(otherwise))?;
    if line[0] == b'$' && number < 0 {
        return Err(Malformed(otherwise));
    }
    Ok(Some((usize::try_from(number.max(0)).map_err(|_| Malformed(otherwise))?, end)))
}

fn words(bytes: &[u8]) -> Result<Read<'_>, Malformed> {
    let read = line(bytes, 0)?;
    Ok(read.map(|(line, end)| {
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        (words.collect(), end)
    }))
}

/// A line without its end, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let rest = &bytes[at..];
    let end = rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
    match end {
        Some(end) => Ok(Some((rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), at + end + 1))),
        None if rest.len() >= LINE_BYTES_MAX => Err(Malformed("Protocol error: too big inline request")),
        None => Ok(None),
    }
}
