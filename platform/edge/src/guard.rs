//! What stands between a socket and hyper: the bytes of HTTP/1 are checked before they are parsed.
//!
//! [`Blocks`] follows the framing of a connection's requests, head, body, head, body, and stops at the first byte that
//! could be read in two ways: what one program takes for a body, another takes for the next request (request smuggling).
//! RFC 9112 says what a server may forgive; nothing of that is forgiven here.
//!
//! It deliberately does not decide whose a request is, nor what its headers mean, other than those that say how long it
//! is; it copies nothing, and keeps no bytes: who asks keeps those that may not pass yet ([`gate`]).
//!
//! What always holds: a head passes whole or not at all, and of what passes hyper finds the ends of requests where they
//! are found here. Why that is so:
//!
//! * hyper parses heads by httparse without its liberties. A line that passes has the characters that httparse takes, one
//!   colon after a token, and ends in CR LF; so each header is the one that is seen here, with the same white space taken
//!   off its value (spaces and tabs), and the head ends at the same empty line.
//! * hyper's rules for a body (`proto/h1/role.rs`) leave one reading where there is one `Content-Length` of digits, or one
//!   `Transfer-Encoding: chunked` in HTTP/1.1, or neither; all else is refused. The method does not matter to them: `GET`,
//!   `HEAD` and `CONNECT` have bodies as `POST` has. A `CONNECT` that is answered by anything but success, and here it
//!   always is, is a request like others.
//! * `Expect: 100-continue` changes when a body is read, not where it ends. `Connection: close` and HTTP/1.0 make a
//!   request the last that hyper reads; what comes after it may be checked, but reaches nobody.
//! * hyper's decoder of chunks is a machine of bytes, and so is this one, with fewer transitions. Trailers end at the first
//!   empty line for both.
//! * A request with `Upgrade` and no body may have the connection go on in another protocol. Nothing that follows its head
//!   passes until that is known.

pub(crate) mod gate;

mod chunks;
mod fault;
mod head;
#[cfg(test)]
mod tests;

pub use fault::Fault;

use chunks::Chunks;
use head::{Body, Head, Trailers};

/// Bytes of trailers; hyper takes one less than 16 KiB.
const TRAILER_BYTES_MAX: usize = (16 << 10) - 1;

/// The requests of an HTTP/1 connection, as bytes. See the module.
#[derive(Debug)]
pub struct Blocks {
    head_bytes_max: usize,
    state: State,
    requests: u64,
    fault: Option<Fault>,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    Head(Head),
    /// A body of which so many bytes are left.
    Length(u64),
    Chunks(Chunks),
    Trailers(Trailers),
    /// Another request, or another protocol.
    Undecided,
}

impl Blocks {
    /// A connection of which nothing was read, and whose heads have at most so many bytes.
    pub fn new(head_bytes_max: usize) -> Self {
        Self { head_bytes_max, state: State::Head(Head::default()), requests: 0, fault: None }
    }

    /// Looks at what was read of the connection and has not passed yet; says how many bytes pass, from the first on. The
    /// others are to be shown again, at the beginning of what is shown next.
    ///
    /// Where the bytes are cut between two calls makes no difference to what passes in the end.
    pub fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while self.fault.is_none() && passed < bytes.len() {
            match self.step(&bytes[passed..]) {
                Ok(0) => break,
                Ok(bytes) => passed += bytes,
                Err(fault) => self.fault = Some(fault),
            }
        }
        passed
    }

    /// What is wrong with the first byte that did not pass, or with the block that it is in. No more passes after that.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether it is a body that the fault is in: of a request whose head has passed.
    pub(crate) fn fault_is_in_body(&self) -> bool {
        self.fault.is_some() && matches!(self.state, State::Chunks(_) | State::Trailers(_))
    }

    /// Requests whose heads have passed.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the last request that passed has passed whole, and nothing of the next one was seen.
    pub(crate) fn is_between(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.is_unseen())
    }

    /// Whether the last request may have the connection go on in another protocol. Nothing passes until
    /// [`Self::http_goes_on`].
    pub fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided)
    }

    /// It does not: what follows is the next request.
    pub fn http_goes_on(&mut self) {
        if self.is_undecided() {
            self.state = State::Head(Head::default());
        }
    }

    /// Goes through one block, or what there is of it: how many bytes pass.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match &mut self.state {
            State::Head(head) => {
                let Some((length, body)) = head.check(bytes, self.head_bytes_max)? else { return Ok(0) };
                self.requests += 1;
                self.state = match body {
                    Body::None => State::Head(Head::default()),
                    Body::Length(bytes) => State::Length(bytes),
                    Body::Chunks => State::Chunks(Chunks::default()),
                    Body::Undecided => State::Undecided,
                };
                Ok(length)
            }
            State::Length(left) => {
                let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= passed as u64;
                if *left == 0 {
                    self.state = State::Head(Head::default());
                }
                Ok(passed)
            }
            State::Chunks(chunks) => match chunks.check(bytes) {
                (0, Some(fault)) => Err(fault),
                // The next step finds the fault again.
                (passed, _) => {
                    if chunks.has_ended() {
                        self.state = State::Trailers(Trailers::default());
                    }
                    Ok(passed)
                }
            },
            State::Trailers(trailers) => {
                let limit_bytes = self.head_bytes_max.min(TRAILER_BYTES_MAX);
                let Some(length) = trailers.check(bytes, limit_bytes)? else { return Ok(0) };
                self.state = State::Head(Head::default());
                Ok(length)
            }
            State::Undecided => Ok(0),
        }
    }
}
