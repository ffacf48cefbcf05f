//! Where an answer ends: the framing of HTTP/1.1 (RFC 9112, section 6), read piece by piece.
//!
//! It deliberately looks at nothing else: bodies are counted off and forgotten.

use httparse::{EMPTY_HEADER, Status};

/// Most headers of an answer, and most trailers.
const HEADERS_MAX: usize = 64;
/// Longest head, chunk size or trailers that is waited for, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Reads one answer; a new one for each.
#[derive(Debug)]
pub(crate) struct AnswerReader {
    state: State,
    status: u16,
    close: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// Bytes of the body that are still to come.
    Sized(u64),
    ChunkSize,
    /// Bytes of the chunk that are still to come, with the line's end after it.
    Chunk(u64),
    Trailers,
    /// The body ends with the connection.
    UntilClosed,
    Done,
}

/// An answer that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The server will close the connection, or has.
    pub(crate) close: bool,
}

/// What came is not an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl AnswerReader {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, status: 0, close: false }
    }

    /// Reads on in `bytes`: how many it is done with, and the answer if that was its end. What it is not done with must
    /// be given again, with more.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(usize, Option<Answer>), Malformed> {
        let mut at = 0;
        while self.state != State::Done {
            let rest = &bytes[at..];
            let Some(used) = self.step(rest)? else {
                return if rest.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok((at, None)) };
            };
            at += used;
        }
        Ok((at, Some(Answer { status: self.status, close: self.close })))
    }

    /// The answer, if it is whole now that the server has closed the connection.
    pub(crate) fn end(&self) -> Option<Answer> {
        (self.state == State::UntilClosed).then_some(Answer { status: self.status, close: true })
    }

    /// One step: the bytes that it took, or `None` if it needs more.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        match self.state {
            State::Head => self.head(rest),
            State::Sized(left) => Ok(self.count_off(rest, left, State::Done, State::Sized)),
            State::Chunk(left) => Ok(self.count_off(rest, left, State::ChunkSize, State::Chunk)),
            State::ChunkSize => match httparse::parse_chunk_size(rest).map_err(|_| Malformed)? {
                Status::Partial => Ok(None),
                Status::Complete((used, 0)) => {
                    self.state = State::Trailers;
                    Ok(Some(used))
                }
                Status::Complete((used, size)) => {
                    self.state = State::Chunk(size.checked_add(2).ok_or(Malformed)?);
                    Ok(Some(used))
                }
            },
            State::Trailers => {
                let mut trailers = [EMPTY_HEADER; HEADERS_MAX];
                match httparse::parse_headers(rest, &mut trailers).map_err(|_| Malformed)? {
                    Status::Partial => Ok(None),
                    Status::Complete((used, _)) => {
                        self.state = State::Done;
                        Ok(Some(used))
                    }
                }
            }
            State::UntilClosed if rest.is_empty() => Ok(None),
            State::UntilClosed => Ok(Some(rest.len())),
            State::Done => Ok(Some(0)),
        }
    }

    fn count_off(&mut self, rest: &[u8], left: u64, then: State, more: fn(u64) -> State) -> Option<usize> {
        if left > 0 && rest.is_empty() {
            return None;
        }
        let taken = left.min(rest.len() as u64);
        self.state = if taken == left { then } else { more(left - taken) };
        Some(taken as usize)
    }

    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let Status::Complete(used) = head.parse(rest).map_err(|_| Malformed)? else { return Ok(None) };
        self.status = head.code.ok_or(Malformed)?;
        self.close = head.version == Some(0);
        self.state = match (self.status, self.framing(head.headers)?) {
            (101, _) => return Err(Malformed),
            (100..=199, _) => State::Head,
            (204 | 304, _) => State::Done,
            (_, framing) => framing,
        };
        self.close |= self.state == State::UntilClosed;
        Ok(Some(used))
    }

    /// What the body is framed by; and whether the connection is to be closed.
    fn framing(&mut self, headers: &[httparse::Header<'_>]) -> Result<State, Malformed> {
        let mut framing = State::UntilClosed;
        for header in headers {
            let value = std::str::from_utf8(header.value).map_err(|_| Malformed)?.trim();
            if header.name.eq_ignore_ascii_case("connection") {
                self.close |= value.eq_ignore_ascii_case("close");
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing =
                    if value.eq_ignore_ascii_case("chunked") { State::ChunkSize } else { State::UntilClosed };
            } else if header.name.eq_ignore_ascii_case("content-length") && framing != State::ChunkSize {
                framing = State::Sized(value.parse().map_err(|_| Malformed)?);
            }
        }
        Ok(framing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &str = "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\
                           sum: 1\r\n\r\n";
    const CONTINUED: &str =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

    /// Reads in pieces that end at these places.
    fn read(text: &str, cuts: &[usize]) -> Result<(usize, Option<Answer>), Malformed> {
        let (mut reader, mut done) = (AnswerReader::new(), 0);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        for end in ends {
            let (used, answer) = reader.read(&text.as_bytes()[done..end.max(done)])?;
            done += used;
            if answer.is_some() {
                return Ok((done, answer));
            }
        }
        Ok((done, reader.end()))
    }

    proptest! {
        #[test]
        fn an_answer_ends_at_the_same_place_in_whatever_pieces_it_comes(
            cuts in prop::collection::vec(0..1_000usize, 0..12),
        ) {
            for (text, status, close) in [(SIZED, 200, false), (CHUNKED, 503, false), (CONTINUED, 204, true)] {
                let more = format!("{text}HTTP");
                let cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
                prop_assert_eq!(read(&more, &cuts), Ok((text.len(), Some(Answer { status, close }))));
            }
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let text = "HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(read(text, &[]), Ok((text.len(), Some(Answer { status: 200, close: true }))));
    }

    #[test]
    fn what_is_cut_off_is_not_whole() {
        for text in [SIZED, CHUNKED, CONTINUED] {
            assert_eq!(read(&text[..text.len() - 1], &[]).unwrap().1, None, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n",
        ] {
            assert_eq!(read(text, &[]), Err(Malformed), "{text}");
        }
    }
}
