//! Spans of requests by OTLP, at a collector of the test's own: what it is sent, what targets are told of it, and that nobody
//! else notices what the collector does.

use crate::harness::{PATIENCE, Platform, eventually, free_port};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// A host that a rule forwards to a server of the test's own.
const HOST: &str = "traced.example.com";
/// A host that nobody has.
const NOWHERE: &str = "nowhere.example.com";
const DROPPED: &str = "skiff_spans_dropped_total";

/// A server of HTTP/1.1 in a thread of its own: it answers each request with what `answer` makes of its head and body.
pub(crate) fn serve(answer: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            // Ends when the client closes, or breaks off.
            std::thread::spawn(move || converse(&stream.unwrap(), &*answer));
        }
    });
    port
}

fn converse(mut stream: &TcpStream, answer: &dyn Fn(&str, &[u8]) -> String) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        stream.write_all(answer(&head, &body).as_bytes())?;
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// A collector that remembers what it took.
#[derive(Default)]
struct Seen {
    /// Exports that came.
    asked: AtomicUsize,
    heads: Mutex<Vec<String>>,
    spans: Mutex<Vec<Span>>,
}

struct Collector {
    port: u16,
    seen: Arc<Seen>,
}

impl Collector {
    /// One that answers so, which is told how many exports came before: a status line's end, and headers.
    fn start(answer: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Seen::default());
        let keeps = seen.clone();
        let port = serve(move |head, body| {
            let said = answer(keeps.asked.fetch_add(1, Relaxed));
            if said.starts_with("200") {
                let message = ExportTraceServiceRequest::decode(body).expect("a message of OTLP");
                let scopes = message.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
                keeps.spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
                keeps.heads.lock().unwrap().push(head.to_owned());
            }
            format!("HTTP/1.1 {said}\r\ncontent-length: 0\r\n\r\n")
        });
        Self { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits for a span; the first that is so.
    fn span(&self, what: &str, is: impl Fn(&Span) -> bool) -> Span {
        eventually(what, || self.seen.spans.lock().unwrap().iter().find(|span| is(span)).cloned())
    }

    fn spans_of(&self, trace: &[u8]) -> usize {
        self.seen.spans.lock().unwrap().iter().filter(|span| span.trace_id == trace).count()
    }
}

/// The text of an attribute, or its number as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// A platform with one worker, so that what it is told holds for each request from then on.
fn start(arguments: &[&str]) -> Platform {
    Platform::start(&[&["--workers", "1"], arguments].concat())
}

/// Has a rule lead to a server that answers with the request's head.
fn trace_host(platform: &Platform) -> u16 {
    let port = serve(|head, _| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()));
    platform.ok(&["target-group", "create", "traced", "--outside", &format!("127.0.0.1:{port}")]);
    let condition = format!("host={HOST}");
    platform.ok(&["rule", "create", "traced", "--priority", "10", "--if", &condition, "--forward", "traced"]);
    eventually("the rule leads there", || {
        let parent = format!("00-{ID}-{PARENT}-00");
        get(&agent(), platform, HOST, "/", Some(&parent)).0.eq(&200).then_some(())
    });
    port
}

fn agent() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
    config.new_agent()
}

/// The status and the text of an answer.
fn get(
    agent: &ureq::Agent,
    platform: &Platform,
    host: &str,
    path: &str,
    parent: Option<&str>,
) -> (u16, String) {
    let request = agent.get(format!("http://{}{path}", platform.http)).header("host", host);
    let request = match parent {
        Some(parent) => request.header("traceparent", parent),
        None => request,
    };
    let mut answer = request.call().expect("the load balancer answers");
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("a whole answer"))
}

/// The `traceparent` that a target saw: the trace's id, the parent's, the flags.
fn told(head: &str) -> (Vec<u8>, Vec<u8>, String) {
    let text = header(head, "traceparent").unwrap_or_else(|| panic!("{head}"));
    let parts: Vec<&str> = text.split('-').collect();
    let [_, id, parent, flags] = parts[..] else { panic!("{head}") };
    (bytes(id), bytes(parent), flags.to_owned())
}

fn bytes(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The value of a metric without labels.
fn metric(platform: &Platform, name: &str) -> f64 {
    crate::gauges::sum(&platform.api, &format!("{name} "))
}

#[test]
fn a_request_has_a_span_that_its_targets_trace_goes_on_from() {
    let collector = Collector::start(|_| "200 OK");
    let platform = start(&["--otlp", &collector.url(), "--otlp-header", "x-key=secret"]);
    let target = format!("127.0.0.1:{}", trace_host(&platform));
    let parent = format!("00-{ID}-{PARENT}-01");
    let (status, head) = get(&agent(), &platform, HOST, "/a/b?token=c", Some(&parent));
    let (trace, called, flags) = told(&head);
    assert_eq!((status, &trace, flags.as_str()), (200, &bytes(ID), "01"));

    let client = collector.span("the call's span comes", |span| span.span_id == called);
    let server = collector.span("the request's span comes", |span| span.span_id == client.parent_span_id);
    assert_eq!((server.kind(), client.kind()), (SpanKind::Server, SpanKind::Client));
    assert_eq!((&server.trace_id, &client.trace_id), (&trace, &trace));
    assert_eq!((server.parent_span_id.as_slice(), server.name.as_str()), (&bytes(PARENT)[..], "GET"));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/a/b"),
        ("server.address", HOST),
        ("client.address", "127.0.0.1"),
        ("skiff.listener", "http"),
        ("skiff.rule", "default/traced"),
        ("skiff.target_group", "default/traced"),
        ("skiff.target", target.as_str()),
    ] {
        assert_eq!(attribute(&server, key).as_deref(), Some(value), "{key}");
    }
    assert!(!format!("{server:?}{client:?}").contains("token"), "queries are nobody's business");
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano, "{server:?}");
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano, "{client:?}");
    let heads = collector.seen.heads.lock().unwrap().clone();
    for head in &heads {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(head, "content-type"), Some("application/x-protobuf"));
        assert_eq!(header(head, "x-key"), Some("secret"));
    }
    assert_eq!(metric(&platform, DROPPED), 0.0);
}

#[test]
fn what_begins_here_is_recorded_by_its_share_and_what_is_not_sampled_never() {
    let collector = Collector::start(|_| "200 OK");
    let mut platform = start(&["--otlp", &collector.url(), "--otlp-sample", "0"]);
    trace_host(&platform);
    let begins = told(&get(&agent(), &platform, HOST, "/", None).1);
    let unsampled = told(&get(&agent(), &platform, HOST, "/", Some(&format!("00-{ID}-{PARENT}-00"))).1);
    assert_eq!((begins.2.as_str(), unsampled.2.as_str()), ("00", "00"));
    let sampled = format!("00-{}-{PARENT}-01", ID.replace('4', "5"));
    let sampled = told(&get(&agent(), &platform, HOST, "/", Some(&sampled)).1);
    collector.span("what the client records is recorded", |span| span.trace_id == sampled.0);
    platform.terminate();
    assert!(platform.wait().success());
    assert_eq!([begins.0, unsampled.0].map(|trace| collector.spans_of(&trace)), [0, 0]);

    let platform = platform.restart_with(&["--workers", "1", "--otlp", &collector.url()]);
    eventually("the rule leads there again", || {
        (get(&agent(), &platform, HOST, "/", None).0 == 200).then_some(())
    });
    let begins = told(&get(&agent(), &platform, HOST, "/", None).1);
    assert_eq!(begins.2, "01");
    let span = collector.span("what begins here is recorded", |span| span.trace_id == begins.0);
    assert!(span.kind() != SpanKind::Server || span.parent_span_id.is_empty(), "{span:?}");
}

#[test]
fn what_is_left_at_the_end_is_sent() {
    let collector = Collector::start(|_| "200 OK");
    let mut platform = start(&["--otlp", &collector.url()]);
    assert_eq!(get(&agent(), &platform, NOWHERE, "/last", None).0, 404);
    platform.terminate();
    assert!(platform.wait().success());
    let span = collector.span("it comes", |span| attribute(span, "url.path").as_deref() == Some("/last"));
    assert_eq!(attribute(&span, "http.response.status_code").as_deref(), Some("404"));
}

#[test]
fn what_a_collector_can_not_take_now_is_sent_again() {
    let answers = |asked: usize| match asked {
        0 => "503 Service Unavailable\r\nretry-after: 1",
        1 => "429 Too Many Requests",
        _ => "200 OK",
    };
    let collector = Collector::start(answers);
    let platform = start(&["--otlp", &collector.url()]);
    assert_eq!(get(&agent(), &platform, NOWHERE, "/again", None).0, 404);
    let span = collector.span("it comes", |span| attribute(span, "url.path").as_deref() == Some("/again"));
    assert_eq!(collector.spans_of(&span.trace_id), 1);
    assert!(collector.seen.asked.load(Relaxed) >= 3);
    assert_eq!(metric(&platform, DROPPED), 0.0);
}

#[test]
fn what_a_collector_never_takes_is_dropped_and_counted() {
    let collector = Collector::start(|_| "400 Bad Request");
    let platform = start(&["--otlp", &collector.url(), "--otlp-header", "x-key=secret"]);
    assert_eq!(get(&agent(), &platform, NOWHERE, "/", None).0, 404);
    eventually("it is counted", || (metric(&platform, DROPPED) == 1.0).then_some(()));
    let log = platform.log();
    assert!(log.contains("it answers 400 Bad Request") && !log.contains("secret"), "{log}");
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    /// More than may wait, for a collector and on the way to it.
    const REQUESTS_MAX: usize = 40_000;
    const AT_ONCE: usize = 500;
    let collector = format!("http://127.0.0.1:{}", free_port());
    let mut platform = start(&["--otlp", &collector, "--access-log", "off"]);
    let agent = agent();
    let mut asked = 0;
    while metric(&platform, DROPPED) == 0.0 {
        assert!(asked < REQUESTS_MAX, "nothing was dropped after {asked} requests");
        asked += AT_ONCE;
        for _ in 0..AT_ONCE {
            let status = get(&agent, &platform, NOWHERE, "/", None).0;
            // A machine that is too slow for these sheds load.
            assert!(status == 404 || status == 503, "{status}");
        }
    }
    assert!(platform.log().contains("some were dropped"), "{}", platform.log());
    platform.terminate();
    assert!(platform.wait().success(), "it ends all the same");
}

#[test]
fn nothing_is_recorded_unless_it_is_asked_for() {
    let platform = start(&[]);
    trace_host(&platform);
    assert_eq!(told(&get(&agent(), &platform, HOST, "/", None).1).2, "00");
    let parent = format!("00-{ID}-{PARENT}-01");
    let (trace, called, flags) = told(&get(&agent(), &platform, HOST, "/", Some(&parent)).1);
    assert_eq!((trace, flags.as_str()), (bytes(ID), "01"), "what a client records goes on");
    assert_ne!(called, bytes(PARENT));
    assert_eq!(metric(&platform, DROPPED), 0.0);
}
