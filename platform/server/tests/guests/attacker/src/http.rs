//! Attempts by `wasi:http`.

use crate::world::{World, look_up, tcp_to};
use crate::{Outcome, names};
use guest_common::Url;
use std::net::IpAddr;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, OutgoingRequest, Scheme};

/// Asks a host, in the form that a URL has for it.
pub(crate) fn get(host: &str, port: u16) -> Outcome {
    let url = format!("http://{host}:{port}/");
    match send(&url) {
        Ok(response) => Outcome::GotOut(format!("{url} answered {}", response.status())),
        Err(error) => not_answered(&error, host, port),
    }
}

/// Finds that a name leads to what is allowed, and asks there.
pub(crate) fn changing(world: &World) -> Outcome {
    let name = world.name("changing");
    // Why it leads nowhere is told by the request too.
    let _ = names::addresses(&name);
    match send(&format!("http://{name}:{}/", world.redirector)) {
        Ok(response) => Outcome::GotOut(format!("{name} answered {}", response.status())),
        Err(error) => Outcome::held(error, &[tcp_to(format!("127.0.0.2:{}", world.redirector)), look_up()]),
    }
}

/// Asks where it may, and goes where it is sent to from there.
pub(crate) fn redirected(world: &World, path: &str) -> Outcome {
    let first = format!("http://127.0.0.1:{}{path}", world.redirector);
    let response = match send(&first) {
        Ok(response) => response,
        Err(error) => return not_answered(&error, "127.0.0.1", world.redirector),
    };
    let location = response.headers().get("location").pop().expect("it redirects");
    let location = String::from_utf8(location).expect("a URL");
    match send(&location) {
        Ok(response) => Outcome::GotOut(format!("{location} answered {}", response.status())),
        Err(error) => {
            let authority = Url::new(&location).authority.to_owned();
            let (host, port) = authority.rsplit_once(':').expect("it names a port");
            not_answered(&error, host, port.parse().expect("a port"))
        }
    }
}

/// Asks a neighbour that lets nobody in but the load balancer.
pub(crate) fn neighbour(world: &World) -> Outcome {
    match send("http://victim.default.internal/") {
        Ok(response) => Outcome::GotOut(format!("the neighbour answered {}", response.status())),
        Err(error) => Outcome::held(error, &[tcp_to(format!("{}:80", world.victim))]),
    }
}

fn not_answered(error: &ErrorCode, host: &str, port: u16) -> Outcome {
    // A name that nobody has leads to nobody.
    if let ErrorCode::DnsError(_) = error {
        return Outcome::held(error, &[]);
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(_) => Outcome::held(error, &[tcp_to(format!("{host}:{port}"))]),
        Err(_) => Outcome::held(error, &[tcp_to(format!("127.0.0.1:{port}")), look_up()]),
    }
}

fn send(url: &str) -> Result<IncomingResponse, ErrorCode> {
    let url = Url::new(url);
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a valid scheme");
    request.set_authority(Some(url.authority)).expect("a valid authority");
    request.set_path_with_query(Some(url.path)).expect("a valid path");
    let pending = outgoing_handler::handle(request, None)?;
    pending.subscribe().block();
    pending.get().expect("it is ready").expect("it is taken once")
}
