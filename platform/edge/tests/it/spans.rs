//! Spans of requests: which are recorded, what the record says, and what targets are told of it.

use crate::support::*;
use crate::told::*;
use http::{Response, StatusCode};
use skiff_ports::body;
use skiff_ports::spans::{CallRecord, HttpVersion, SampleShare, SpanRecord, SpanSink};
use skiff_types::Algorithm;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[derive(Default)]
struct Kept(RefCell<Vec<SpanRecord>>);

impl SpanSink for Kept {
    fn record(&self, span: SpanRecord) {
        self.0.borrow_mut().push(span);
    }
}

impl Kept {
    /// What is recorded of this share.
    fn of(bench: &Bench, share: &str) -> Rc<Self> {
        let kept = Rc::new(Self::default());
        bench.edge.record_spans(share.parse::<SampleShare>().unwrap(), kept.clone());
        kept
    }

    /// Waits for the only record, and takes it.
    async fn only(&self) -> SpanRecord {
        eventually("a request is recorded", || !self.0.borrow().is_empty()).await;
        let records = self.0.take();
        let [record] = &records[..] else { panic!("{records:?}") };
        record.clone()
    }
}

/// The `traceparent` that a target saw: the trace's id, the parent's, the flags.
fn told(text: &str) -> (u128, u64, &str) {
    let mut parts = text.trim().split('-');
    assert_eq!(parts.next(), Some("00"), "{text}");
    let mut next = || parts.next().unwrap();
    let (id, parent, flags) = (next(), next(), next());
    (u128::from_str_radix(id, 16).unwrap(), u64::from_str_radix(parent, 16).unwrap(), flags)
}

/// The same in a task's echo of a request.
fn echoed(raw: &str) -> (u128, u64, &str) {
    told(
        raw.lines()
            .find_map(|line| line.strip_prefix("saw-traceparent: "))
            .unwrap_or_else(|| panic!("{raw}")),
    )
}

#[test]
fn a_trace_that_a_client_continues_is_recorded_with_the_call_as_its_targets_parent() {
    run(async {
        let bench = Bench::new(echo());
        let kept = Kept::of(&bench, "0");
        let headers =
            format!("traceparent: 00-{ID}-{PARENT}-01\r\nuser-agent: curl/8\r\ncontent-length: 3\r\n");
        let request = asking("POST", "/a/b?secret=c", "hello.localhost:81", &headers) + "abc";
        let raw = bench.raw(&request).await;
        let record = kept.only().await;
        let call = record.call.clone().unwrap();
        let trace = u128::from_str_radix(ID, 16).unwrap();
        assert_eq!(echoed(&raw), (trace, call.span_id, "01"));
        assert_eq!((record.trace_id, record.parent_id), (trace, u64::from_str_radix(PARENT, 16).ok()));
        assert!(record.span_id != call.span_id && Some(record.span_id) != record.parent_id, "{record:?}");
        let times =
            [Some(record.began_at_ns), Some(call.began_at_ns), call.answered_at_ns, Some(record.ended_at_ns)];
        assert!(times.is_sorted() && times[0] > Some(0), "{record:?}");
        let line = &bench.wait_for_lines(1).await[0];
        assert_eq!(
            (&line["trace_id"], &line["request_id"]),
            (&ID.into(), &record.request_id.as_str().into())
        );
        let expected = SpanRecord {
            method: "POST".to_owned(),
            is_tls: false,
            host: "hello.localhost:81".to_owned(),
            path: "/a/b".to_owned(),
            version: HttpVersion::Http11,
            client: Ipv4Addr::LOCALHOST.into(),
            user_agent: Some("curl/8".to_owned()),
            listener: "http".parse().unwrap(),
            decided_by: Some("service".to_owned()),
            target_group: Some("default/hello".to_owned()),
            status: Some(200),
            error: None,
            received_bytes: 3,
            sent_bytes: 3,
            call: Some(CallRecord {
                target: task_id(3).to_string(),
                port: None,
                is_tls: false,
                status: Some(200),
                retries: 0,
                ..call
            }),
            ..record.clone()
        };
        assert_eq!(record, expected);
    });
}

#[test]
fn what_is_not_sampled_is_not_recorded_and_targets_are_told_so() {
    run(async {
        let bench = Bench::new(echo());
        let kept = Kept::of(&bench, "1");
        let headers = format!("traceparent: 00-{ID}-{PARENT}-00\r\n");
        let raw = bench.raw(&asking("GET", "/", "hello.localhost", &headers)).await;
        assert_eq!(echoed(&raw).2, "00");
        let raw = bench.raw(&asking("GET", "/", "hello.localhost", "")).await;
        let (id, parent, flags) = echoed(&raw);
        assert_eq!(flags, "01", "one that begins here is");
        let record = kept.only().await;
        assert_eq!((record.trace_id, record.parent_id), (id, None));
        assert_eq!(record.call.map(|call| call.span_id), Some(parent));
    });
}

#[test]
fn of_what_begins_here_only_the_share_is_recorded() {
    run(async {
        let bench = Bench::new(echo());
        let kept = Kept::of(&bench, "0");
        let raw = bench.raw(&asking("GET", "/", "hello.localhost", "")).await;
        assert_eq!(echoed(&raw).2, "00");
        bench.wait_for_lines(1).await;
        assert!(kept.0.borrow().is_empty());
    });
}

#[test]
fn what_nobody_answers_has_a_span_with_the_reason_and_no_call() {
    run(async {
        let bench = Bench::new(says("a task"));
        let kept = Kept::of(&bench, "1");
        bench.raw(&asking("GET", "/", "nowhere.example", "")).await;
        let record = kept.only().await;
        assert_eq!((record.status, record.decided_by.as_deref()), (Some(404), Some("default")));
        assert!(
            record.error.is_some() && record.call.is_none() && record.target_group.is_none(),
            "{record:?}"
        );
        bench.raw(&asking("GET", "/", "empty.localhost", "")).await;
        let record = kept.only().await;
        assert_eq!((record.status, record.target_group.as_deref()), (Some(503), Some("default/empty")));
        assert!(record.call.is_none(), "{record:?}");
    });
}

#[test]
fn targets_that_are_asked_in_turn_are_one_call() {
    run(async {
        let bench = Bench::new(says("a task"));
        let kept = Kept::of(&bench, "1");
        let answers = |status: StatusCode| {
            http_daemon(move |request| async move {
                let trace = request.headers()["traceparent"].to_str().unwrap().to_owned();
                let mut response = Response::new(body::full(trace));
                *response.status_mut() = status;
                response
            })
        };
        let (well, ill) = (answers(StatusCode::OK), answers(StatusCode::SERVICE_UNAVAILABLE));
        bench.edge.balance(&group("out", outside(&[ill, well]), Algorithm::RoundRobin));
        bench.edge.balance(&rule("out", 1, &["path=/out"], forward(&["out"])));
        let mut retries = Vec::new();
        for _ in 0..2 {
            let raw = bench.raw(&asking("GET", "/out", "shop.example", "")).await;
            let (status, seen) = answer(&raw);
            let record = kept.only().await;
            let call = record.call.clone().unwrap();
            assert_eq!((status, told(seen)), (200, (record.trace_id, call.span_id, "01")));
            assert_eq!(record.decided_by.as_deref(), Some("default/out"));
            assert_eq!((call.status, call.target), (Some(200), format!("127.0.0.1:{well}")));
            retries.push(call.retries);
        }
        let is_asked_again = retries.contains(&1) && retries.iter().all(|retries| *retries <= 1);
        assert!(is_asked_again, "the second is asked where the first can't answer: {retries:?}");
    });
}

#[test]
fn a_client_of_http2_that_leaves_has_a_span_without_a_status() {
    run(async {
        let never = task(|_, _| async move { std::future::pending().await });
        let bench = Bench::new(never);
        let kept = Kept::of(&bench, "1");
        let mut client = bench.http2().await;
        let asking = tokio::task::spawn_local(async move { client.send_request(get()).await });
        eventually("it is asked", || bench.ledger.worker(0).requests.get() == 1).await;
        asking.abort();
        let record = kept.only().await;
        assert_eq!((record.version, record.status), (HttpVersion::Http2, None));
        assert!(record.error.is_some() && record.call.is_some_and(|call| call.status.is_none()));
    });
}
