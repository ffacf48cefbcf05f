//! Records of requests as OTLP has them, with the names of OpenTelemetry's semantic conventions for HTTP spans
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>) and, for what those have no name for, names of our own that
//! begin with `skiff.`.
//!
//! A record becomes a span of the kind `SERVER`, and, if a target was asked, its child of the kind `CLIENT`. It deliberately
//! has no queries: what is in them may be secret.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};
use skiff_ports::spans::{CallRecord, SpanRecord};

/// The name of the service, and of what made the spans.
const NAME: &str = "skiff";
/// Methods that the conventions know (RFC 9110, section 9; RFC 5789).
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
/// What the conventions call any other.
const OTHER_METHOD: &str = "_OTHER";
/// The name of a span of such a one.
const OTHER_NAME: &str = "HTTP";
/// The flag `sampled` of W3C Trace Context.
const SAMPLED: u32 = 1;

/// Who the spans are of.
pub(super) struct Origin {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Origin {
    /// This program, on this host.
    pub(super) fn of_this_process() -> Self {
        let system = rustix::system::uname();
        Self::of(&system.nodename().to_string_lossy(), env!("CARGO_PKG_VERSION"))
    }

    fn of(host: &str, version: &str) -> Self {
        let mut attributes = Attributes::default();
        attributes.text("service.name", NAME);
        attributes.text("service.version", version);
        attributes.text("host.name", host);
        let scope = InstrumentationScope {
            name: NAME.to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        Self { resource: Resource { attributes: attributes.0, ..Resource::default() }, scope }
    }

    /// The message that tells of these requests.
    pub(super) fn message(&self, records: &[SpanRecord]) -> ExportTraceServiceRequest {
        let spans = ScopeSpans {
            scope: Some(self.scope.clone()),
            spans: records.iter().flat_map(spans).collect(),
            ..ScopeSpans::default()
        };
        let spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest { resource_spans: vec![spans] }
    }
}

/// What there is of one request.
fn spans(record: &SpanRecord) -> impl Iterator<Item = Span> {
    let call = record.call.as_ref().map(|call| client_span(record, call));
    std::iter::once(server_span(record)).chain(call)
}

/// What the load balancer did for a request.
fn server_span(record: &SpanRecord) -> Span {
    let mut attributes = Attributes::default();
    attributes.method(&record.method);
    attributes.text("url.scheme", scheme(record.is_tls));
    attributes.text("url.path", &record.path);
    attributes.host(&record.host, record.is_tls);
    attributes.text("client.address", &record.client.to_string());
    attributes.text("network.protocol.version", record.version.as_str());
    attributes.some_text("user_agent.original", record.user_agent.as_deref());
    attributes.status(record.status);
    attributes.number("http.request.body.size", record.received_bytes);
    attributes.number("http.response.body.size", record.sent_bytes);
    attributes.text("skiff.listener", record.listener.as_str());
    attributes.some_text("skiff.rule", record.decided_by.as_deref());
    attributes.some_text("skiff.target_group", record.target_group.as_deref());
    attributes.some_text("skiff.target", record.call.as_ref().map(|call| call.target.as_str()));
    attributes.text("skiff.request_id", &record.request_id);
    attributes.some_text("skiff.error", record.error.as_deref());
    let error = server_error(record);
    attributes.some_text("error.type", error.as_deref());
    let is_remote = match record.parent_id {
        Some(_) => SpanFlags::ContextIsRemoteMask as u32,
        None => 0,
    };
    Span {
        span_id: id(record.span_id),
        parent_span_id: record.parent_id.map(id).unwrap_or_default(),
        flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | is_remote,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: record.began_at_ns,
        end_time_unix_nano: record.ended_at_ns,
        attributes: attributes.0,
        status: error.map(|_| failed(record.error.as_deref())),
        ..of_trace(record)
    }
}

/// What targets did for it.
fn client_span(record: &SpanRecord, call: &CallRecord) -> Span {
    let mut attributes = Attributes::default();
    attributes.method(&record.method);
    let url = format!("{}://{}{}", scheme(call.is_tls), record.host, record.path);
    attributes.text("url.full", &url);
    match call.port {
        Some(port) => attributes.server(&call.target, port),
        None => match call.target.rsplit_once(':') {
            Some((host, port)) => attributes.server(bare(host), port.parse().unwrap_or_default()),
            // A task that is called listens nowhere.
            None => attributes.text("server.address", &call.target),
        },
    }
    attributes.status(call.status);
    if call.retries > 0 {
        attributes.number("http.request.resend_count", call.retries.into());
    }
    attributes.some_text("skiff.target_group", record.target_group.as_deref());
    attributes.text("skiff.target", &call.target);
    let error = match call.status {
        Some(status) => (status >= 400).then(|| status.to_string()),
        None => Some("no_answer".to_owned()),
    };
    attributes.some_text("error.type", error.as_deref());
    Span {
        span_id: id(call.span_id),
        parent_span_id: id(record.span_id),
        flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32,
        kind: SpanKind::Client.into(),
        start_time_unix_nano: call.began_at_ns,
        end_time_unix_nano: call.answered_at_ns.unwrap_or(record.ended_at_ns),
        attributes: attributes.0,
        status: error.map(|_| failed(record.error.as_deref())),
        ..of_trace(record)
    }
}

/// What is the same for all spans of a record.
fn of_trace(record: &SpanRecord) -> Span {
    let is_known = METHODS.contains(&record.method.as_str());
    Span {
        trace_id: record.trace_id.to_be_bytes().to_vec(),
        name: if is_known { record.method.clone() } else { OTHER_NAME.to_owned() },
        ..Span::default()
    }
}

/// The kind of error that a request ended with, if it did: what a client did wrong is none of ours.
fn server_error(record: &SpanRecord) -> Option<String> {
    match (record.status, &record.error) {
        (Some(status), _) if status >= 500 => Some(status.to_string()),
        (None, _) => Some("client_left".to_owned()),
        (Some(status), Some(_)) if status < 400 => Some("broken_off".to_owned()),
        (Some(_), _) => None,
    }
}

fn failed(reason: Option<&str>) -> Status {
    Status { message: reason.unwrap_or_default().to_owned(), code: StatusCode::Error.into() }
}

fn scheme(is_tls: bool) -> &'static str {
    if is_tls { "https" } else { "http" }
}

fn id(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The attributes of a span.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, text: &str) {
        self.add(key, Value::StringValue(text.to_owned()));
    }

    fn some_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.add(key, Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)));
    }

    fn add(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    fn method(&mut self, method: &str) {
        let is_known = METHODS.contains(&method);
        self.text("http.request.method", if is_known { method } else { OTHER_METHOD });
        if !is_known {
            self.text("http.request.method_original", method);
        }
    }

    fn status(&mut self, status: Option<u16>) {
        if let Some(status) = status {
            self.number("http.response.status_code", status.into());
        }
    }

    /// Whom the client asked for; the port that it does not name is that of the scheme.
    fn host(&mut self, host: &str, is_tls: bool) {
        // A colon inside an address of IPv6 has no number behind it, but a bracket.
        let named = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        let (name, port) = named.unwrap_or((host, if is_tls { 443 } else { 80 }));
        if !host.is_empty() {
            self.server(bare(name), port);
        }
    }

    fn server(&mut self, address: &str, port: u16) {
        self.text("server.address", address);
        self.number("server.port", port.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ports::spans::HttpVersion;
    use std::collections::BTreeMap;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    fn record() -> SpanRecord {
        SpanRecord {
            trace_id: TRACE,
            span_id: 0xb7,
            parent_id: Some(0xf0),
            began_at_ns: 1_000,
            ended_at_ns: 9_000,
            call: Some(CallRecord {
                span_id: 0xc7,
                began_at_ns: 2_000,
                answered_at_ns: Some(7_000),
                target: "10.0.0.7:8080".to_owned(),
                port: None,
                is_tls: false,
                status: Some(200),
                retries: 0,
            }),
            method: "GET".to_owned(),
            is_tls: true,
            host: "shop.example".to_owned(),
            path: "/carts/7".to_owned(),
            version: HttpVersion::Http2,
            client: [192, 0, 2, 9].into(),
            user_agent: Some("curl/8".to_owned()),
            request_id: "r-1".to_owned(),
            listener: "web".parse().unwrap(),
            decided_by: Some("default/carts".to_owned()),
            target_group: Some("default/cart".to_owned()),
            status: Some(200),
            error: None,
            received_bytes: 3,
            sent_bytes: 5,
        }
    }

    /// Attributes as text, in order.
    fn shown(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
        let shown = |attribute: &KeyValue| match attribute.value.clone().and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => panic!("{other:?}"),
        };
        let all: BTreeMap<_, _> = attributes.iter().map(|pair| (pair.key.as_str(), shown(pair))).collect();
        assert_eq!(all.len(), attributes.len(), "a key twice");
        all
    }

    fn made(record: SpanRecord) -> Vec<Span> {
        let message = Origin::of("here", "1.2.3").message(&[record]);
        let [ResourceSpans { resource, scope_spans, .. }] = &message.resource_spans[..] else { panic!() };
        let resource = shown(&resource.as_ref().unwrap().attributes);
        let expected = [("host.name", "here"), ("service.name", "skiff"), ("service.version", "1.2.3")];
        assert!(resource.iter().map(|(key, value)| (*key, value.as_str())).eq(expected), "{resource:?}");
        scope_spans[0].spans.clone()
    }

    #[test]
    fn a_request_is_a_server_span_and_its_call_is_a_child_of_that() {
        let spans = made(record());
        let [server, client] = &spans[..] else { panic!("{spans:?}") };
        for span in &spans {
            assert_eq!((span.trace_id.as_slice(), span.name.as_str()), (&TRACE.to_be_bytes()[..], "GET"));
            assert_eq!(span.status, None);
        }
        assert_eq!((server.kind(), client.kind()), (SpanKind::Server, SpanKind::Client));
        assert_eq!((&server.span_id, &server.parent_span_id), (&id(0xb7), &id(0xf0)));
        assert_eq!((&client.span_id, &client.parent_span_id), (&id(0xc7), &id(0xb7)));
        // Sampled; the one's parent is a remote one, the other's is not.
        assert_eq!((server.flags, client.flags), (0x301, 0x101));
        assert_eq!((server.start_time_unix_nano, server.end_time_unix_nano), (1_000, 9_000));
        assert_eq!((client.start_time_unix_nano, client.end_time_unix_nano), (2_000, 7_000));
    }

    #[test]
    fn attributes_are_named_as_the_conventions_have_them() {
        let spans = made(record());
        let expected = [
            ("client.address", "192.0.2.9"),
            ("http.request.body.size", "3"),
            ("http.request.method", "GET"),
            ("http.response.body.size", "5"),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "2"),
            ("server.address", "shop.example"),
            ("server.port", "443"),
            ("skiff.listener", "web"),
            ("skiff.request_id", "r-1"),
            ("skiff.rule", "default/carts"),
            ("skiff.target", "10.0.0.7:8080"),
            ("skiff.target_group", "default/cart"),
            ("url.path", "/carts/7"),
            ("url.scheme", "https"),
            ("user_agent.original", "curl/8"),
        ];
        let server = shown(&spans[0].attributes);
        assert!(server.iter().map(|(key, value)| (*key, value.as_str())).eq(expected), "{server:?}");
        let expected = [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("server.address", "10.0.0.7"),
            ("server.port", "8080"),
            ("skiff.target", "10.0.0.7:8080"),
            ("skiff.target_group", "default/cart"),
            ("url.full", "http://shop.example/carts/7"),
        ];
        let client = shown(&spans[1].attributes);
        assert!(client.iter().map(|(key, value)| (*key, value.as_str())).eq(expected), "{client:?}");
    }

    /// The kinds of error of a request that ended so, and of its call, with whether the spans say that they failed.
    #[track_caller]
    fn check(of: (Option<u16>, Option<u16>, Option<&str>), server: Option<&str>, client: Option<&str>) {
        let (status, by_target, error) = of;
        let mut record = record();
        (record.status, record.error) = (status, error.map(str::to_owned));
        record.call.as_mut().unwrap().status = by_target;
        for (span, expected) in made(record).iter().zip([server, client]) {
            assert_eq!(shown(&span.attributes).get("error.type").map(String::as_str), expected, "{span:?}");
            let failed = span.status.as_ref().map(|status| (status.code(), status.message.as_str()));
            assert_eq!(failed, expected.map(|_| (StatusCode::Error, error.unwrap_or(""))), "{span:?}");
        }
    }

    #[test]
    fn what_failed_says_so() {
        check((Some(200), Some(200), None), None, None);
        check((Some(302), Some(302), None), None, None);
        check((Some(404), Some(404), None), None, Some("404"));
        check((Some(500), Some(500), None), Some("500"), Some("500"));
        check((Some(502), None, Some("it is away")), Some("502"), Some("no_answer"));
        check((Some(200), Some(200), Some("it broke off")), Some("broken_off"), None);
        check((None, None, Some("the client left")), Some("client_left"), Some("no_answer"));
    }

    #[test]
    fn what_is_refused_has_no_call() {
        let refused = SpanRecord {
            call: None,
            parent_id: None,
            decided_by: None,
            target_group: None,
            status: Some(429),
            error: Some("too many".to_owned()),
            ..record()
        };
        let spans = made(refused);
        let [server] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((server.flags, server.parent_span_id.len(), &server.status), (0x101, 0, &None));
        let attributes = shown(&server.attributes);
        assert_eq!(attributes["skiff.error"], "too many");
        assert!(!attributes.contains_key("skiff.target") && !attributes.contains_key("error.type"));
    }

    #[test]
    fn methods_that_nobody_knows_make_no_names() {
        let odd = SpanRecord { method: "BREW".to_owned(), ..record() };
        for span in made(odd) {
            let attributes = shown(&span.attributes);
            assert_eq!((span.name.as_str(), attributes["http.request.method"].as_str()), ("HTTP", "_OTHER"));
            assert_eq!(attributes["http.request.method_original"], "BREW");
        }
    }

    #[test]
    fn a_host_has_a_port() {
        let server = |host: &str, is_tls: bool| {
            let mut attributes = Attributes::default();
            attributes.host(host, is_tls);
            let shown = shown(&attributes.0);
            shown.values().cloned().collect::<Vec<_>>()
        };
        assert_eq!(server("shop.example", false), ["shop.example", "80"]);
        assert_eq!(server("shop.example:8080", true), ["shop.example", "8080"]);
        assert_eq!(server("[2001:db8::1]", true), ["2001:db8::1", "443"]);
        assert_eq!(server("[2001:db8::1]:81", true), ["2001:db8::1", "81"]);
        assert!(server("", false).is_empty());
    }

    #[test]
    fn a_task_that_listens_is_named_with_its_port_and_one_that_is_called_without() {
        let of = |port: Option<u16>| {
            let mut record = record();
            let call = record.call.as_mut().unwrap();
            (call.target, call.port, call.retries) = ("5e8f01b2".to_owned(), port, 2);
            let spans = made(record);
            let attributes = shown(&spans[1].attributes);
            assert_eq!(attributes["server.address"], "5e8f01b2");
            assert_eq!(attributes["http.request.resend_count"], "2");
            attributes.get("server.port").cloned()
        };
        assert_eq!((of(Some(6379)), of(None)), (Some("6379".to_owned()), None));
    }
}
