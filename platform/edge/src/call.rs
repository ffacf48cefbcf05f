//! Lets one of a group's targets answer a request, and another where that one can't.
//!
//! Another is asked where the first could not be connected to, or is gone: it never had the request. Of who may have begun
//! with it, and who answers that it can't at present (502, 503, 504), another is asked only if the request may be repeated
//! (RFC 9110, section 9.2.2) and nobody has begun to read its body. None of that happens more often than the group's budget
//! lets it ([`crate::retry`]); then the client has what came last.
//!
//! An `http` task that fails, or answers so, is not asked again by another: it is the same code, and the same request. It
//! counts as a failure of the target all the same. It deliberately does not know what is in the answer (`handle`).

use crate::body::Upload;
use crate::daemon::{self, Answer, Miss};
use crate::edge::Edge;
use crate::exchange::Exchange;
use crate::group::{ATTEMPTS_MAX, Aim, Load, Outcome, Target, Tried, Way};
use crate::refusal::Refusal;
use http::{HeaderValue, Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::body;
use std::rc::Rc;
use std::sync::Arc;

/// What can't be had of an `http` task, nor with a request that has a body.
pub(crate) const CHANGE_OF_PROTOCOL: &str = "a change of protocol (the header Upgrade)";

/// Lets one of the group's targets answer. `upgrade` are the protocols that the client asks to change to.
pub(crate) async fn call(
    edge: &Rc<Edge>,
    exchange: &mut Exchange,
    aim: Aim,
    request: Request<Incoming>,
    upgrade: Option<HeaderValue>,
) -> Result<Answer, Refusal> {
    let first = aim.first(Load::Requests, edge.chance());
    let mut index = first.ok_or_else(|| aim.group.no_target())?;
    aim.group.budget.deposit();
    let (head, incoming) = request.into_parts();
    let upload = (!incoming.is_end_stream()).then(|| Upload::new(incoming, edge.limits()));
    if let Some(upload) = &upload {
        exchange.uploads(upload.clone());
    }
    let is_idempotent = head.method.is_idempotent();
    let attempts = aim.group.targets.len().min(ATTEMPTS_MAX);
    let (mut tried, mut head) = (Tried::default(), Some(head));
    loop {
        let is_last = tried.count() + 1 >= attempts;
        let Some(head) = (if is_last { head.take() } else { head.clone() }) else {
            return Err(aim.group.no_target());
        };
        exchange.sent_to(index);
        let target = &aim.group.targets[index];
        let asked = match &target.way {
            Way::Call(_) if upgrade.is_some() => return Err(Refusal::NotSupported(CHANGE_OF_PROTOCOL)),
            Way::Call(task) => {
                exchange.is_called(tried.count());
                let body = upload.as_ref().map_or_else(body::empty, Upload::body);
                let answer = edge.invoke().invoke(*task, Request::from_parts(head, body)).await;
                answer.map(Answer::Response).map_err(Miss::from)
            }
            Way::Connect(pool) => {
                // In a box, so that calls of `http` tasks stay small.
                let asked = Box::pin(daemon::ask(edge, exchange, pool, head, upgrade.as_ref())).await;
                asked.map_err(|miss| miss.of(pool))
            }
        };
        tried.add(index);
        let attempt = Attempt { edge, aim: &aim, target, index, tried: &tried };
        let may_repeat = || is_idempotent && target.pool().is_some() && is_untouched(upload.as_ref());
        index = match asked {
            Ok(answer) => match attempt.answered(exchange, answer.status(), may_repeat) {
                Some(other) => other,
                None => return Ok(answer),
            },
            Err(miss) => attempt.missed(exchange, miss, may_repeat)?,
        };
    }
}

fn is_untouched(upload: Option<&Arc<Upload>>) -> bool {
    upload.is_none_or(|upload| upload.is_untouched())
}

/// One target that was asked.
struct Attempt<'a> {
    edge: &'a Edge,
    aim: &'a Aim,
    target: &'a Target,
    index: usize,
    /// It, and those before.
    tried: &'a Tried,
}

impl Attempt<'_> {
    /// It answers; gives the target that is asked instead, if one is.
    fn answered(
        &self,
        exchange: &mut Exchange,
        status: StatusCode,
        may_repeat: impl Fn() -> bool,
    ) -> Option<usize> {
        exchange.was_answered(status);
        let outcome = Outcome { has_failed: is_failure(status), response_us: Some(exchange.response_us()) };
        self.aim.learn(self.index, outcome, self.edge.worker(), exchange.answered_ns());
        if !asks_for_another(status) || !may_repeat() {
            return None;
        }
        let other = self.another(true)?;
        exchange.is_repeated();
        Some(other)
    }

    /// It gave no answer; gives the target that is asked next, or what the client is told.
    fn missed(
        &self,
        exchange: &mut Exchange,
        miss: Miss,
        may_repeat: impl Fn() -> bool,
    ) -> Result<usize, Refusal> {
        let never_had_it = matches!(miss, Miss::Next(_));
        let (other, refusal) = match miss {
            Miss::Next(None) => {
                // Of a task that is gone, the routes will say so; of an address, nobody does.
                if self.target.slot.is_none() {
                    self.failed();
                }
                (self.another(false), None)
            }
            Miss::Next(Some(refusal)) => {
                self.failed();
                (self.another(true), Some(refusal))
            }
            // What a task made of a body that failed is no news: the body is.
            Miss::Failed(refusal) | Miss::Final(refusal) if exchange.upload_refusal().is_some() => {
                return Err(exchange.upload_refusal().unwrap_or(refusal));
            }
            Miss::Failed(refusal) => {
                self.failed();
                (if may_repeat() { self.another(true) } else { None }, Some(refusal))
            }
            Miss::Final(refusal) => return Err(refusal),
        };
        if never_had_it || other.is_some() {
            exchange.came_back();
        }
        other.ok_or_else(|| refusal.unwrap_or_else(|| self.aim.group.no_target()))
    }

    fn failed(&self) {
        let outcome = Outcome { has_failed: true, response_us: None };
        self.aim.learn(self.index, outcome, self.edge.worker(), monotonic_ns());
    }

    fn another(&self, counts: bool) -> Option<usize> {
        self.aim.another(Load::Requests, self.tried, self.edge, counts)
    }
}

/// Whether a target shows by its answer that something is wrong with it.
fn is_failure(status: StatusCode) -> bool {
    status == StatusCode::INTERNAL_SERVER_ERROR || asks_for_another(status)
}

/// Whether a target says that it, of all targets, can't answer at present.
fn asks_for_another(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}
