//! The way of one request: is it sound, whose is it, let a target answer, is the answer sound.

use crate::body::Payload;
use crate::call::{CHANGE_OF_PROTOCOL, call};
use crate::config::Limits;
use crate::connection::Connection;
use crate::daemon::Answer;
use crate::decision::{Asked, Decided, Decision};
use crate::edge::Edge;
use crate::exchange::Exchange;
use crate::limit::{self, Unit};
use crate::refusal::Refusal;
use crate::{headers, host, waiting};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use skiff_ports::body::{self, Body};
use std::convert::Infallible;
use std::rc::Rc;

/// Answers one request, whatever it is.
pub(crate) async fn handle(
    edge: Rc<Edge>,
    connection: Rc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    let mut exchange = Exchange::begin(edge.clone(), connection, &request);
    let answer = match admit(&edge, &mut exchange, &request) {
        Ok(Admitted { decision: Decision::Forward(aim), upgrade }) => {
            exchange.routed_to(&aim);
            make_ready(&exchange, &mut request);
            let aim = match aim.group.sleeps().is_some() {
                // In a box, so that requests of services that are awake stay small.
                true => Box::pin(waiting::awake(&edge, &mut exchange, aim)).await,
                false => Ok(aim),
            };
            match aim {
                Ok(aim) => call(&edge, &mut exchange, aim, request, upgrade).await,
                Err(refusal) => Err(refusal),
            }
        }
        Ok(Admitted { decision: Decision::Answer(response), .. }) => Ok(Answer::Response(response)),
        Err(refusal) => Err(refusal),
    };
    let answer = match answer {
        Ok(Answer::Response(response)) => examine(response, exchange.method(), edge.limits()),
        Ok(Answer::Switch(switch)) => return Ok(exchange.switch(*switch)),
        Err(refusal) => Err(refusal),
    };
    Ok(match answer {
        Ok((response, expected_bytes)) => exchange.deliver(response, expected_bytes),
        Err(refusal) => exchange.refuse(&refusal),
    })
}

/// A request that may be answered.
struct Admitted {
    decision: Decision,
    /// The protocols that the client would rather speak.
    upgrade: Option<HeaderValue>,
}

/// Checks a request, and decides what becomes of it.
fn admit(edge: &Edge, exchange: &mut Exchange, request: &Request<Incoming>) -> Result<Admitted, Refusal> {
    // First of all, so that who is refused for how many there are costs little; most of these have not come this far.
    if !exchange.connection().guard.was_let_in() && !edge.shed().admits(edge.chance()) {
        return Err(Refusal::Overloaded);
    }
    exchange.counted.client = limit::of_client(edge, exchange.connection(), Unit::Requests)?;
    check_size(request, edge.limits())?;
    let authority =
        host::authority(request.uri(), request.headers(), request.version()).map_err(Refusal::Malformed)?;
    if request.method() == Method::CONNECT {
        return Err(Refusal::NotSupported("the method CONNECT"));
    }
    // RFC 9110, section 7.8: in another version it is to be ignored.
    let upgrade = headers::upgrade_asked(request.headers()).filter(|_| request.version() == Version::HTTP_11);
    if upgrade.is_some() && !request.body().is_end_stream() {
        return Err(Refusal::NotSupported(CHANGE_OF_PROTOCOL));
    }
    let host = host::normalise(authority).ok_or(Refusal::Malformed("its host is not a valid one"))?;
    let connection = exchange.connection();
    let asked = Asked {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        authority,
        host: &host,
        source: connection.source,
    };
    let Decided { ground, rule, decision } = edge.decide(&connection.listener, &asked);
    let of_rule = rule.as_deref().map(|rule| limit::of_rule(edge, rule)).transpose();
    exchange.decided_by(ground, rule);
    exchange.counted.rule = of_rule?.flatten();
    let decision = decision?;
    if let Decision::Forward(aim) = &decision {
        let of_group = limit::of_group(edge, aim, Unit::Requests).inspect_err(|_| exchange.is_for(aim));
        exchange.counted.group = of_group?;
    }
    Ok(Admitted { decision, upgrade })
}

/// Makes of a request what a target may see.
fn make_ready(exchange: &Exchange, request: &mut Request<Incoming>) {
    let target = request.uri().authority().cloned();
    let map = request.headers_mut();
    headers::strip_hop_by_hop(map);
    headers::strip_of_calls(map);
    headers::make_room(map);
    headers::unify(map, target.as_ref().map(|authority| authority.as_str()));
    let connection = exchange.connection();
    connection.listener.forwarded().add(map, &connection.client);
    map.insert(&headers::REQUEST_ID, exchange.request_id().clone());
    exchange.tell_trace(map);
}

fn check_size(request: &Request<Incoming>, limits: &Limits) -> Result<(), Refusal> {
    if request.headers().len() > limits.header_count_max {
        return Err(Refusal::TooManyHeaders { limit: limits.header_count_max });
    }
    let target_bytes = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if target_bytes + headers::bytes(request.headers()) > limits.header_bytes_max {
        return Err(Refusal::HeadersTooLarge { limit_bytes: limits.header_bytes_max });
    }
    if request.body().size_hint().lower() > limits.request_body_bytes_max {
        return Err(Refusal::BodyTooLarge { limit_bytes: limits.request_body_bytes_max });
    }
    Ok(())
}

/// Checks a task's answer and makes of it what the connection can carry; with it, the bytes that its body must have.
fn examine(
    response: Response<Body>,
    method: &Method,
    limits: &Limits,
) -> Result<(Response<Body>, Option<u64>), Refusal> {
    let (parts, body) = response.into_parts();
    let (status, mut map) = (parts.status, parts.headers);
    if status.is_informational() {
        return Err(Refusal::BadAnswer("its status is an informational one"));
    }
    if headers::bytes(&map) > limits.response_header_bytes_max {
        return Err(Refusal::BadAnswer("its headers are too large"));
    }
    let length = headers::content_length(&map)
        .map_err(|()| Refusal::BadAnswer("its content-length is not one number"))?;
    headers::strip_hop_by_hop(&mut map);

    let has_body = method != Method::HEAD
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if has_body && let (Some(length), Some(exact)) = (length, body.size_hint().exact()) {
        // Sent as it is, the rest would be taken for the next response.
        if length != exact {
            return Err(Refusal::BadAnswer("its content-length is not its body's length"));
        }
    }
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        map.remove(CONTENT_LENGTH);
    }
    let (body, expected_bytes) = if has_body { (body, length) } else { (body::empty(), None) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = map;
    Ok((response, expected_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[track_caller]
    fn check(status: u16, headers: &[(&'static str, &str)], method: Method, expected: Result<&str, &str>) {
        let mut response = Response::new(body::full("four"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.version_mut() = http::Version::HTTP_3;
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        match examine(response, &method, &Limits::default()) {
            Ok((response, _)) => {
                assert_eq!(response.version(), http::Version::HTTP_11);
                let length = response.body().size_hint().exact().unwrap();
                assert_eq!(Ok(format!("{length} {}", names(response.headers())).trim_end()), expected);
            }
            Err(Refusal::BadAnswer(reason)) => assert_eq!(Err(reason), expected),
            Err(refusal) => panic!("{refusal}"),
        }
    }

    fn names(headers: &HeaderMap) -> String {
        headers.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_answer_is_made_such_that_the_connection_can_carry_it() {
        check(200, &[("content-length", "4"), ("x-a", "b")], Method::GET, Ok("4 content-length x-a"));
        check(
            200,
            &[("transfer-encoding", "chunked"), ("connection", "x-a"), ("x-a", "b")],
            Method::GET,
            Ok("4"),
        );
        check(200, &[("content-length", "99")], Method::HEAD, Ok("0 content-length"));
        check(204, &[("content-length", "4")], Method::GET, Ok("0"));
        check(304, &[("content-length", "99")], Method::GET, Ok("0 content-length"));
        check(999, &[], Method::GET, Ok("4"));
    }

    #[test]
    fn an_answer_that_would_break_the_connection_is_refused() {
        let length = "its content-length is not its body's length";
        check(200, &[("content-length", "5")], Method::GET, Err(length));
        check(200, &[("content-length", "3")], Method::POST, Err(length));
        let number = "its content-length is not one number";
        check(200, &[("content-length", "4"), ("content-length", "4")], Method::GET, Err(number));
        check(200, &[("content-length", "four")], Method::HEAD, Err(number));
        check(101, &[], Method::GET, Err("its status is an informational one"));
        let long = "x".repeat(Limits::default().response_header_bytes_max);
        check(200, &[("x-a", &long)], Method::GET, Err("its headers are too large"));
    }
}
