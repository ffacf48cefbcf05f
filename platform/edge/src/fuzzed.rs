//! What `platform/fuzz` throws any bytes at of the parts that are private to this crate. Nothing else uses it.

use crate::chance::Chance;
use crate::headers::{self, Forwarded, RequestIds};
use crate::trace::Trace;
use http::{HeaderMap, HeaderValue};

/// Takes out what is meant for one hop.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    headers::strip_hop_by_hop(headers);
}

/// Takes out what only the platform says.
pub fn strip_of_calls(headers: &mut HeaderMap) {
    headers::strip_of_calls(headers);
}

/// Takes out of trailers what means something in a head alone.
pub fn strip_of_heads(trailers: &mut HeaderMap) {
    headers::strip_of_heads(trailers);
}

/// Whether who sends these takes trailers.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers::takes_trailers(headers)
}

/// Makes it look like any request; `authority` is that of its target.
pub fn unify(headers: &mut HeaderMap, authority: Option<&str>) {
    headers::unify(headers, authority);
}

/// Says who asked, how and on which port.
pub fn forward(headers: &mut HeaderMap, client: &HeaderValue, proto: HeaderValue, port: HeaderValue) {
    Forwarded { proto, port }.add(headers, client);
}

/// The other protocols that are asked for.
pub fn upgrade_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    headers::upgrade_asked(headers)
}

/// The one that a target agrees to.
pub fn upgrade_agreed(asked: &HeaderValue, headers: &HeaderMap) -> Option<HeaderValue> {
    headers::upgrade_agreed(asked, headers)
}

/// The id of a request.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    RequestIds::new(7).of(headers)
}

/// The length that a response claims, if any; nothing at all if that is no sound one.
pub fn content_length(headers: &HeaderMap) -> Option<Option<u64>> {
    headers::content_length(headers).ok()
}

/// Tells a target of the trace of a request; its id.
pub fn trace(headers: &mut HeaderMap) -> String {
    let chance = Chance::new(7);
    let trace = Trace::of(headers, &chance);
    trace.tell(headers, chance.number());
    trace.id().to_owned()
}
