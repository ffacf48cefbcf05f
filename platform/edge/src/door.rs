//! The door: where a worker with too much to do refuses requests before they have cost it much.
//!
//! Refusing saves only what it costs less than answering ([`skiff_plan::shed`]). So a request of HTTP/1 that came in one piece
//! is refused as soon as the guard has found it sound, before hyper reads it: it is parsed once, counted, logged and answered,
//! and nothing else is made for it.
//!
//! It deliberately refuses for the load alone, and leaves to [`crate::handle`] whatever would have to be answered in another
//! way: what comes by HTTP/2 or in pieces, what may be the last request of its connection, `HEAD`, and what has a span.

use crate::access_log::Line;
use crate::connection::Connection;
use crate::edge::Edge;
use crate::headers::{REQUEST_ID, REQUEST_ID_LENGTH};
use crate::refusal::Refusal;
use http::header::{CONNECTION, HOST, HeaderName, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Uri};
use httparse::{Header, Request};
use skiff_kit::clock::monotonic_ns;
use std::mem::MaybeUninit;
use std::rc::Rc;

/// Headers of what is refused here.
const HEADERS_MAX: usize = 64;

/// Where the requests of one connection of HTTP/1 come in.
pub(crate) struct Door(Rc<Edge>);

impl Door {
    pub(crate) fn of(edge: &Rc<Edge>) -> Self {
        Self(edge.clone())
    }

    /// The answer to this request, which is whole and sound, if it is refused.
    pub(crate) fn turn_away(&self, connection: &Connection, request: &[u8]) -> Option<Vec<u8>> {
        let edge = &self.0;
        if !edge.shed().refuses_some() || connection.is_finishing() || edge.spans().is_some() {
            return None;
        }
        let mut headers = [MaybeUninit::uninit(); HEADERS_MAX];
        let mut head = Request::new(&mut []);
        let parsed = head.parse_with_uninit_headers(request, &mut headers);
        if !parsed.is_ok_and(|parsed| parsed.is_complete()) || !is_plain(&head) {
            return None;
        }
        if edge.shed().admits(edge.chance()) {
            connection.guard.lets_in();
            return None;
        }
        Some(self.refuse(connection, &head))
    }

    fn refuse(&self, connection: &Connection, head: &Request<'_, '_>) -> Vec<u8> {
        let (edge, refusal) = (&self.0, Refusal::Overloaded);
        connection.request_began(false);
        let request_id = edge.request_ids().given_or_new(value(head, &REQUEST_ID));
        let (answer, body_bytes) = edge.form().filled(&request_id);
        edge.count_refused(connection, &refusal, body_bytes as u64);
        if let Some(log) = edge.access_log() {
            let text = |name| value(head, name).map(String::from_utf8_lossy);
            let target = head.path.unwrap_or_default();
            // A target that names the host as well, as for a proxy.
            let uri = if target.starts_with('/') { None } else { target.parse::<Uri>().ok() };
            let named = uri.as_ref().and_then(Uri::authority).map(Authority::as_str);
            let path = uri.as_ref().and_then(Uri::path_and_query).map(PathAndQuery::as_str);
            log.write(Line {
                method: head.method.unwrap_or_default(),
                host: named.unwrap_or(&text(&HOST).unwrap_or_default()),
                path: path.unwrap_or(target),
                protocol: "HTTP/1.1",
                status: refusal.status().as_u16(),
                bytes_out: body_bytes as u64,
                request_id: request_id.to_str().unwrap_or_default(),
                user_agent: text(&USER_AGENT).as_deref(),
                error: Some(&refusal.to_string()),
                ..connection.line()
            });
        }
        connection.request_ended(monotonic_ns(), false);
        answer
    }
}

/// The answer to what is refused here, but for the request's id.
pub(crate) struct Form {
    refusal: Refusal,
    /// What is between the places of an id that is made here, and around them.
    parts: Vec<Vec<u8>>,
    body_bytes: usize,
}

impl Form {
    pub(crate) fn new() -> Self {
        const PLACE: [u8; REQUEST_ID_LENGTH] = [b'?'; REQUEST_ID_LENGTH];
        let refusal = Refusal::Overloaded;
        let place = HeaderValue::from_bytes(&PLACE).expect("question marks make a header");
        let (answer, body_bytes) = refusal.answer(&place, "");
        let (mut parts, mut rest) = (Vec::new(), &answer[..]);
        while let Some(at) = memchr::memmem::find(rest, &PLACE) {
            parts.push(rest[..at].to_vec());
            rest = &rest[at + PLACE.len()..];
        }
        parts.push(rest.to_vec());
        Self { refusal, parts, body_bytes }
    }

    /// The answer, and how many bytes of it are its body.
    fn filled(&self, request_id: &HeaderValue) -> (Vec<u8>, usize) {
        if request_id.len() == REQUEST_ID_LENGTH {
            (self.parts.join(request_id.as_bytes()), self.body_bytes)
        } else {
            self.refusal.answer(request_id, "")
        }
    }
}

/// Whether a request is answered with a body, and others may follow it.
fn is_plain(head: &Request<'_, '_>) -> bool {
    let stays_open = |words: &[u8]| words.eq_ignore_ascii_case(b"keep-alive");
    head.version == Some(1)
        && head.method != Some("HEAD")
        && head.headers.iter().filter(|header| is(header, &CONNECTION)).all(|header| stays_open(header.value))
}

fn is(header: &Header<'_>, name: &HeaderName) -> bool {
    header.name.eq_ignore_ascii_case(name.as_str())
}

fn value<'a>(head: &Request<'_, 'a>, name: &HeaderName) -> Option<&'a [u8]> {
    head.headers.iter().find(|header| is(header, name)).map(|header| header.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_filled_as_the_answer_would_be_written() {
        let form = Form::new();
        assert_eq!(form.parts.len(), 3);
        for id in ["0123456789abcdef0123456789abcdef", "their-own"] {
            let id = HeaderValue::from_static(id);
            let (filled, body_bytes) = form.filled(&id);
            assert_eq!((filled, body_bytes), Refusal::Overloaded.answer(&id, ""));
        }
    }
}
