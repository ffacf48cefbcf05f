//! The trace of a request: what tasks and hosts outside are told of it, and which one the access log names.

use crate::support::*;
use crate::told::*;
use http::Response;
use skiff_ports::body;
use skiff_types::Algorithm;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The `traceparent` in a task's echo of a request: the trace's id, the parent's, the flags.
fn told(raw: &str) -> (String, String, String) {
    let lines: Vec<&str> = raw.lines().filter_map(|line| line.strip_prefix("saw-traceparent: 00-")).collect();
    assert_eq!(lines.len(), 1, "{raw}");
    let [id, parent, flags]: [&str; 3] = lines[0].split('-').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((id.len(), parent.len()), (32, 16), "{raw}");
    (id.to_owned(), parent.to_owned(), flags.to_owned())
}

#[test]
fn a_clients_trace_goes_on_and_the_log_names_it() {
    run(async {
        let bench = Bench::new(echo());
        let headers = format!("TraceParent: 00-{ID}-{PARENT}-01\r\nTraceState: a=1\r\nTraceState: b=2\r\n");
        let raw = bench.raw(&asking("GET", "/", "hello.localhost", &headers)).await;
        let (id, parent, flags) = told(&raw);
        assert_eq!((id.as_str(), flags.as_str()), (ID, "01"));
        assert_ne!(parent, PARENT);
        assert!(raw.contains("saw-tracestate: a=1\r\n") && raw.contains("saw-tracestate: b=2\r\n"), "{raw}");
        assert_eq!(bench.wait_for_lines(1).await[0]["trace_id"], ID);
    });
}

#[test]
fn a_trace_begins_where_a_client_names_none_that_is_valid() {
    run(async {
        let bench = Bench::new(echo());
        let upper = format!("traceparent: 00-{}-{PARENT}-01\r\ntracestate: a=1\r\n", ID.to_uppercase());
        for (index, headers) in ["", "tracestate: a=1\r\n", &upper].into_iter().enumerate() {
            let raw = bench.raw(&asking("GET", "/", "hello.localhost", headers)).await;
            let (id, _, flags) = told(&raw);
            assert!(flags == "00" && !raw.contains("saw-tracestate"), "{raw}");
            assert_eq!(bench.wait_for_lines(index + 1).await[index]["trace_id"], id);
        }
        let mut request = get();
        request.headers_mut().insert("traceparent", format!("00-{ID}-{PARENT}-00").parse().unwrap());
        let response = bench.http2().await.send_request(request).await.unwrap();
        let seen = response.headers()["saw-traceparent"].to_str().unwrap();
        assert!(seen.starts_with(&format!("00-{ID}-")) && seen.ends_with("-00") && !seen.contains(PARENT));
    });
}

#[test]
fn hosts_outside_are_told_too_and_what_nobody_answers_has_a_trace() {
    run(async {
        let bench = Bench::new(says("a task"));
        let port = http_daemon(|request| async move {
            let trace = request.headers()["traceparent"].to_str().unwrap().to_owned();
            Response::new(body::full(trace))
        });
        bench.edge.balance(&group("out", outside(&[port]), Algorithm::RoundRobin));
        bench.edge.balance(&rule("out", 1, &["path=/out"], forward(&["out"])));
        let headers = format!("traceparent: 00-{ID}-{PARENT}-01\r\n");
        let raw = bench.raw(&asking("GET", "/out", "shop.example", &headers)).await;
        let (status, seen) = answer(&raw);
        assert!(status == 200 && seen.starts_with(&format!("00-{ID}-")) && !seen.contains(PARENT), "{raw}");
        bench.raw(&asking("GET", "/", "nowhere", &headers)).await;
        let lines = bench.wait_for_lines(2).await;
        assert_eq!((&lines[0]["trace_id"], &lines[1]["trace_id"]), (&ID.into(), &ID.into()));
    });
}
