//! One request, from its head to its response's last byte: what the ledger and the access log learn of it.
//!
//! An exchange accounts for itself when it is dropped, so that none is forgotten and none counted twice, whatever
//! ends it: the last byte, a guest that failed, a client that left, a worker that drains. Whoever takes spans is told then, too
//! ([`recorded`]).

mod recorded;

use crate::access_log::{CLIENT_CLOSED_REQUEST, Line};
use crate::body::{Payload, ResponseBody, Upload};
use crate::connection::Connection;
use crate::daemon::{Pool, Switch, Turn};
use crate::decision::Ground;
use crate::edge::Edge;
use crate::group::{Aim, Group, Target};
use crate::grpc;
use crate::guard::Fault;
use crate::headers::{self, REQUEST_ID};
use crate::listener::Rule;
use crate::meters::{Counted, Outstanding};
use crate::refusal::Refusal;
use crate::relay::Carried;
use crate::span::{Recording, Spans};
use crate::sticky::Stays;
use crate::trace::Trace;
use crate::tunnel::Tunnel;
use http::header::{CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::{Meter, MeterRow, StatusClass};
use skiff_ports::body;
use skiff_types::TargetProtocol;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

/// One request. See the module. Times are of the monotonic clock; 0 means that it has not come to that.
pub(crate) struct Exchange {
    edge: Rc<Edge>,
    connection: Rc<Connection>,
    start_ns: u64,
    /// When it was on its way to the target that was asked last.
    sent_ns: u64,
    /// When that one's answer began.
    answered_ns: u64,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    request_id: HeaderValue,
    trace: Trace,
    /// What is kept for its spans, if it has any.
    recording: Option<Box<Recording>>,
    is_grpc: bool,
    /// Whether the client takes trailers of HTTP/1.1.
    takes_trailers: bool,
    ground: Option<Ground>,
    /// The rule that decided, if one did.
    rule: Option<Rc<Rule>>,
    group: Option<Rc<Group>>,
    /// What counts at the target group, where it was made as one.
    group_meter: Option<Meter>,
    /// Where it counts as outstanding.
    pub(crate) counted: Counted,
    /// What the target group is called that this is, where that is not the same.
    named: Option<Rc<str>>,
    /// What the client is to come back to.
    stays: Stays,
    target: Option<usize>,
    /// Whether the connection to it failed, or broke.
    has_target_failed: bool,
    has_body: bool,
    upload: Option<Arc<Upload>>,
    /// Its place among a target's requests.
    turn: Option<Turn>,
    /// What the target answered with.
    target_status: Option<StatusCode>,
    status: Option<StatusCode>,
    /// Whether the load balancer said why nobody answered, and whether that was because there were too many requests.
    is_refused: bool,
    is_rejected: bool,
    redirected_to: Option<HeaderValue>,
    /// When the connection changed its protocol.
    switched_ns: Option<u64>,
    sent_bytes: u64,
    /// Bytes that the client sent in another protocol.
    carried_bytes: u64,
    cause: Option<String>,
    /// What was wrong with its bytes, if that is why it was refused.
    fault: Option<Fault>,
}

impl Exchange {
    /// A request's head has arrived.
    pub(crate) fn begin(edge: Rc<Edge>, connection: Rc<Connection>, request: &Request<Incoming>) -> Self {
        edge.worker_row().requests.add(1);
        connection.request_began(request.version() == Version::HTTP_2);
        let headers = request.headers();
        let mut trace = Trace::of(headers, edge.chance());
        let begin = |spans: &Spans| spans.begin(&mut trace, edge.chance());
        let recording = edge.spans().and_then(begin);
        Self {
            start_ns: monotonic_ns(),
            sent_ns: 0,
            answered_ns: 0,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: headers.get(HOST).cloned(),
            user_agent: headers.get(USER_AGENT).cloned(),
            request_id: edge.request_ids().of(headers),
            trace,
            recording,
            is_grpc: request.version() == Version::HTTP_2 && grpc::is_asked(headers),
            takes_trailers: headers::takes_trailers(headers),
            ground: None,
            rule: None,
            group: None,
            group_meter: None,
            counted: Counted::default(),
            named: None,
            stays: Stays::default(),
            target: None,
            has_target_failed: false,
            has_body: !request.body().is_end_stream(),
            upload: None,
            turn: None,
            target_status: None,
            status: None,
            is_refused: false,
            is_rejected: false,
            redirected_to: None,
            switched_ns: None,
            sent_bytes: 0,
            carried_bytes: 0,
            cause: None,
            fault: None,
            edge,
            connection,
        }
    }

    pub(crate) fn edge(&self) -> &Rc<Edge> {
        &self.edge
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// Tells a target of its trace.
    pub(crate) fn tell_trace(&self, headers: &mut HeaderMap) {
        let parent = self.recording.as_ref().map(|recording| recording.call);
        self.trace.tell(headers, parent.unwrap_or_else(|| self.edge.chance().number()));
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Whether the client said that it takes trailers.
    pub(crate) fn takes_trailers(&self) -> bool {
        self.takes_trailers
    }

    /// This is what it was decided by; `rule` is the rule, if it was one.
    pub(crate) fn decided_by(&mut self, ground: Ground, rule: Option<Rc<Rule>>) {
        self.ground = Some(ground);
        self.rule = rule;
    }

    /// It is this group that would have to answer: whatever becomes of it, it counts as one of that group's.
    pub(crate) fn is_for(&mut self, aim: &Aim) {
        self.group = Some(aim.group.clone());
        self.named = aim.named.clone();
        self.stays = Stays::of(aim);
        self.group_meter = aim.meter.clone();
    }

    /// It is this group that has to answer. From here on it is outstanding, where nobody claimed that before.
    pub(crate) fn routed_to(&mut self, aim: &Aim) {
        self.is_for(aim);
        let worker = self.edge.worker();
        let begin = |meter: &Option<Meter>| meter.as_ref().map(|meter| Outstanding::begin(meter, worker));
        let Counted { rule, group, .. } = &mut self.counted;
        if rule.is_none() {
            *rule = self.rule.as_ref().and_then(|rule| begin(&rule.meter));
        }
        if group.is_none() {
            *group = begin(&self.group_meter);
        }
    }

    /// It is this one of the group's targets that is asked.
    pub(crate) fn sent_to(&mut self, target: usize) {
        self.target = Some(target);
        if let Some(recording) = &mut self.recording {
            recording.asks();
        }
        self.has_target_failed = false;
        let meter = self.target().and_then(|target| target.meter.as_ref());
        self.counted.target = meter.map(|meter| Outstanding::begin(meter, self.edge.worker()));
    }

    /// The target is called; `attempt` counts those before. Nothing was waited for until the first, unless its service slept.
    pub(crate) fn is_called(&mut self, attempt: usize) {
        match attempt {
            0 if self.sent_ns == 0 => self.sent_ns = self.start_ns,
            0 => {}
            _ => self.is_sent(),
        }
    }

    /// Its service slept, and is this group now: what it waited for that was not its target's time.
    pub(crate) fn was_held(&mut self, aim: &Aim) {
        self.is_for(aim);
        self.is_sent();
    }

    /// It is on its way to the target.
    pub(crate) fn is_sent(&mut self) {
        self.sent_ns = monotonic_ns();
    }

    /// The target never had it, or failed on it; another is asked.
    pub(crate) fn came_back(&mut self) {
        self.sent_ns = 0;
        self.turn = None;
        self.target_failed();
    }

    /// The target's answer is dropped; another is asked.
    pub(crate) fn is_repeated(&mut self) {
        (self.sent_ns, self.answered_ns) = (0, 0);
        (self.target_status, self.turn) = (None, None);
    }

    /// The target has begun to answer.
    pub(crate) fn was_answered(&mut self, status: StatusCode) {
        self.answered_ns = monotonic_ns();
        self.target_status = Some(status);
    }

    /// When the target began to answer.
    pub(crate) fn answered_ns(&self) -> u64 {
        self.answered_ns
    }

    /// How long that took it, in microseconds.
    pub(crate) fn response_us(&self) -> u64 {
        self.answered_ns.saturating_sub(self.sent_ns) / 1_000
    }

    /// The connections to the target that answers, if it is connected to.
    pub(crate) fn pool(&self) -> Option<Rc<Pool>> {
        self.turn.as_ref().map(|turn| turn.pool().clone())
    }

    /// This is what a guest reads its body from.
    pub(crate) fn uploads(&mut self, upload: Arc<Upload>) {
        self.upload = Some(upload);
    }

    /// What the request's body is read from, if it has one.
    pub(crate) fn upload(&self) -> Option<&Arc<Upload>> {
        self.upload.as_ref()
    }

    /// It is a target that is connected to that answers.
    pub(crate) fn has_turn(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// How the request's body failed, if it did.
    pub(crate) fn upload_refusal(&self) -> Option<Refusal> {
        self.upload.as_ref()?.refusal()
    }

    /// Bytes of the response were given to the connection.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// The response ended before its end.
    pub(crate) fn broke_off(&mut self, cause: String) {
        self.cause = Some(cause);
        // In another protocol, it may be the client that left.
        if self.switched_ns.is_none() {
            self.target_failed();
        }
    }

    /// All of the response was given to the connection.
    pub(crate) fn was_sent(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let is_read = self.upload.as_ref().is_none_or(|upload| upload.is_complete());
        if is_read && self.cause.is_none() {
            turn.keep(self.edge.limits());
        }
    }

    /// The connection ended in the other protocol, after it carried this.
    pub(crate) fn was_carried(&mut self, carried: &Carried) {
        self.carried_bytes += carried.from_client_bytes();
        self.sent(carried.from_task_bytes());
    }

    /// The client took no more of the response.
    pub(crate) fn client_left(&mut self) {
        let cause = match self.connection.cut() {
            Some(cut) => cut.to_string(),
            None => "the client left before the last byte".to_owned(),
        };
        self.cause.get_or_insert(cause);
    }

    /// Answers with what the task said.
    pub(crate) fn deliver(
        mut self,
        mut response: Response<body::Body>,
        expected_bytes: Option<u64>,
    ) -> Response<Payload> {
        response.headers_mut().insert(&REQUEST_ID, self.request_id.clone());
        if self.target_status.is_some() && !self.is_refused {
            self.stick(response.headers_mut());
        }
        if self.connection.is_finishing() && self.version != Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.status = Some(response.status());
        if self.ground.is_some_and(Ground::is_redirect) {
            self.redirected_to = response.headers().get(LOCATION).cloned();
        }
        response.map(|body| Payload(Some(ResponseBody::new(body, self, expected_bytes))))
    }

    /// Answers that the task speaks another protocol from here on, and lasts for as long as the connection carries that.
    pub(crate) fn switch(mut self, switch: Switch) -> Response<Payload> {
        let Switch { mut head, task, ahead, turn, place } = switch;
        head.headers_mut().insert(&REQUEST_ID, self.request_id.clone());
        self.stick(head.headers_mut());
        self.status = Some(head.status());
        self.switched_ns = Some(monotonic_ns());
        self.turn = Some(turn);
        let connection = self.connection.clone();
        connection.goes_on_as(Tunnel { exchange: self, task, ahead, place });
        head.map(|()| Payload(None))
    }

    /// Why nobody else answered, as the client understands it: one of gRPC asks a target group that speaks it by its own means.
    fn refusal_answer(&self, refusal: &Refusal, message: &str) -> Response<body::Body> {
        let group = self.group.as_ref().filter(|_| self.is_grpc);
        if group.is_some_and(|group| group.settings.speaks.protocol == TargetProtocol::Grpc) {
            let mut response = Response::new(body::empty());
            *response.headers_mut() = grpc::refusal_headers(refusal, message);
            return response;
        }
        let body = match self.method {
            Method::HEAD => body::empty(),
            _ => body::full(refusal.json(message, &self.request_id)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = refusal.status();
        *response.headers_mut() = refusal.headers();
        if let Some(reason) = refusal.reason() {
            response.extensions_mut().insert(reason);
        }
        response
    }

    /// Answers with why nobody else did.
    pub(crate) fn refuse(mut self, refusal: &Refusal) -> Response<Payload> {
        let message = refusal.to_string();
        let response = self.refusal_answer(refusal, &message);
        self.cause = Some(match refusal.detail() {
            Some(detail) => format!("{message}: {detail}"),
            None => message,
        });
        self.fault = refusal.fault();
        self.is_refused = true;
        self.is_rejected = refusal.is_for_load();
        if refusal.is_by_target() {
            self.target_failed();
        }
        self.deliver(response, None)
    }

    /// Has the client come back to who gave this answer, where that is to be.
    fn stick(&self, headers: &mut HeaderMap) {
        let (Some(group), Some(target)) = (&self.group, self.target()) else { return };
        let group = self.named.as_deref().unwrap_or(&group.label);
        self.stays.tell(&self.edge, &self.connection.listener, headers, (group, target.key));
    }

    fn target(&self) -> Option<&Target> {
        self.group.as_ref()?.targets.get(self.target?)
    }

    /// The connection to the target that was asked last failed, or broke; counts once. Who is called has none, and of who
    /// was deregistered and cut, it is no failure.
    fn target_failed(&mut self) {
        let connected_to = self.target().filter(|target| target.pool().is_some_and(|pool| !pool.was_cut()));
        let Some(target) = connected_to.filter(|_| !self.has_target_failed) else { return };
        for meter in [&self.group_meter, &target.meter].into_iter().flatten() {
            meter.row(self.edge.worker()).target_errors.add(1);
        }
        self.has_target_failed = true;
    }

    /// Writes down what it came to at its listener, its rule, its target group and the address that was asked.
    fn count(&self, received_bytes: u64) {
        let worker = self.edge.worker();
        let rule = self.rule.as_ref().and_then(|rule| rule.meter.as_ref());
        let target = self.target().and_then(|target| target.meter.as_ref());
        let listener = self.connection.listener.meter();
        for meter in [listener.as_ref(), rule, self.group_meter.as_ref(), target].into_iter().flatten() {
            self.count_at(meter.row(worker), received_bytes);
        }
    }

    fn count_at(&self, row: &MeterRow, received_bytes: u64) {
        row.requests.add(1);
        row.rejected.add(self.is_rejected.into());
        row.received_bytes.add(received_bytes);
        row.sent_bytes.add(self.sent_bytes);
        let class = |status: StatusCode| StatusClass::of(status.as_u16()) as usize;
        match (self.target_status, self.status) {
            (Some(by_target), _) if !self.is_refused => {
                row.target_responses[class(by_target)].add(1);
                row.target_response_time.record_ns(self.answered_ns.saturating_sub(self.sent_ns));
            }
            (_, Some(by_balancer)) => row.balancer_responses[class(by_balancer)].add(1),
            // The client left before there was an answer.
            (_, None) => {}
        }
    }

    fn account(&self, duration_ns: u64, received_bytes: u64) {
        let Some(slot) = self.target().and_then(|target| target.slot.as_ref()) else {
            let row = self.edge.worker_row();
            row.platform_requests.add(1);
            return row.platform_sent_bytes.add(self.sent_bytes);
        };
        let row = slot.row(self.edge.worker());
        row.received_bytes.add(received_bytes);
        row.sent_bytes.add(self.sent_bytes);
        if let Some(status) = self.status {
            row.responses[StatusClass::of(status.as_u16()) as usize].add(1);
            row.request_duration.record_ns(duration_ns);
        }
    }

    /// The host that it names, as the client wrote it; empty if it names none.
    fn host(&self) -> Cow<'_, str> {
        match (self.uri.authority(), &self.host) {
            (Some(authority), _) => Cow::Borrowed(authority.as_str()),
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()),
            (None, None) => Cow::Borrowed(""),
        }
    }

    fn log(&self, duration_ns: u64, received_bytes: u64) {
        let Some(log) = self.edge.access_log() else { return };
        let host = self.host();
        let user_agent = self.user_agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let redirected_to = self.redirected_to.as_ref().map(|url| String::from_utf8_lossy(url.as_bytes()));
        let between_us = |from_ns: u64, to_ns: u64| {
            (from_ns != 0 && to_ns != 0).then(|| to_ns.saturating_sub(from_ns) / 1_000)
        };
        let service = self.group.as_ref().map(|group| &*group.label);
        let target = self.target();
        log.write(Line {
            method: self.method.as_str(),
            host: &host,
            path: self.uri.path_and_query().map_or("", |path| path.as_str()),
            protocol: protocol(self.version),
            is_grpc: self.is_grpc,
            status: self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16()),
            target_status: self.target_status.map(|status| status.as_u16()),
            bytes_in: received_bytes,
            bytes_out: self.sent_bytes,
            duration_us: duration_ns / 1_000,
            request_processing_us: between_us(self.start_ns, self.sent_ns),
            target_processing_us: between_us(self.sent_ns, self.answered_ns),
            response_processing_us: self.target_status.map(|_| 0),
            service,
            target_group: self.named.as_deref().or(service),
            task: target.map(|target| &*target.label),
            target_port: target.and_then(Target::port_beside_label),
            ground: self.ground,
            redirect_url: redirected_to.as_deref(),
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace_id: Some(self.trace.id()),
            user_agent: user_agent.as_deref(),
            error: self.cause.as_deref(),
            fault: self.fault,
            ..self.connection.line()
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now_ns = monotonic_ns();
        let body_was_read = self.upload.as_ref().is_some_and(|upload| upload.is_complete());
        self.connection.request_ended(now_ns, self.has_body && !body_was_read);
        if self.status.is_none() {
            let cause = match self.connection.cut() {
                Some(cut) => cut.to_string(),
                None => "the client left before the answer".to_owned(),
            };
            self.cause.get_or_insert(cause);
        }
        let duration_ns = now_ns.saturating_sub(self.start_ns);
        let uploaded_bytes = self.upload.as_ref().map_or(0, |upload| upload.received_bytes());
        let received_bytes = uploaded_bytes + self.carried_bytes;
        // What comes in another protocol is no part of the answer.
        let answered_ns = self.switched_ns.map_or(duration_ns, |at_ns| at_ns.saturating_sub(self.start_ns));
        self.account(answered_ns, received_bytes);
        self.count(received_bytes);
        self.log(duration_ns, received_bytes);
        self.record(now_ns, received_bytes);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
