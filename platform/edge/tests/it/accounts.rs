//! What the ledger and the access log say of requests.

use crate::support::*;
use crate::told::*;
use serde_json::json;
use skiff_edge::Limits;
use skiff_edge::access_log::Format;
use skiff_ledger::Ledger;
use skiff_ports::body;
use skiff_ports::invoke::InvokeError;
use skiff_types::{Algorithm, Targets};

#[test]
fn every_request_is_in_the_ledger_of_its_task() {
    run(async {
        let bench = Bench::new(task(|_, request| async move {
            let status = request.uri().path()[1..].parse().unwrap();
            let mut response = http::Response::new(request.into_body());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            Ok(response)
        }));
        for status in [200, 201, 302, 404, 404, 500] {
            let request = format!(
                "POST /{status} HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
            );
            bench.raw(&request).await;
        }
        bench.raw("GET / HTTP/1.1\r\nHost: nowhere\r\nConnection: close\r\n\r\n").await;
        let totals = bench.ledger.task(3).totals();
        assert_eq!(totals.responses, [2, 1, 2, 1]);
        assert_eq!((totals.received_bytes, totals.sent_bytes), (30, 30));
        assert_eq!(totals.request_duration.count(), 6);
        assert!(totals.request_duration.sum_ns > 0);
        let worker = bench.ledger.worker(0);
        assert_eq!((worker.requests.get(), worker.platform_requests.get()), (7, 1));
        assert!(worker.platform_sent_bytes.get() > 0, "the answer that nobody answers there has a body");
    });
}

#[test]
fn a_line_says_all_there_is_to_say() {
    run(async {
        let bench = Bench::new(echo());
        bench
            .raw(
                "POST /a?b=c HTTP/1.1\r\nHost: hello.localhost:80\r\nConnection: close\r\nContent-Length: 5\r\n\
                 User-Agent: te\"st/1\r\nX-Request-Id: id-1\r\n\r\nhello",
            )
            .await;
        bench.raw("GET /x HTTP/1.0\r\nHost: nowhere\r\nX-Request-Id: id-2\r\n\r\n").await;
        let response = bench.http2().await.send_request(get()).await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        text(response).await;
        let mut lines = bench.wait_for_lines(3).await;
        for line in &mut lines {
            let time = line["time"].as_str().unwrap().to_owned();
            assert!(time.len() == 24 && time.ends_with('Z') && time.starts_with("20"), "{time}");
            assert!(line["duration_us"].is_u64() && line["client_port"].as_u64() > Some(0), "{line}");
            assert_eq!(line["trace_id"].as_str().unwrap().len(), 32, "{line}");
            let line = line.as_object_mut().unwrap();
            for name in ["time", "duration_us", "client_port", "trace_id"] {
                line.remove(name);
            }
        }
        let processing_us = lines[0].as_object_mut().unwrap().remove("target_processing_us").unwrap();
        assert!(processing_us.is_u64(), "{processing_us}");
        let task = task_id(3).to_string();
        assert_eq!(
            lines[0],
            json!({
                "listener": "http", "client": "127.0.0.1", "method": "POST", "host": "hello.localhost:80",
                "path": "/a?b=c", "protocol": "HTTP/1.1", "status": 200, "target_status": 200,
                "bytes_in": 5, "bytes_out": 5, "request_processing_us": 0, "response_processing_us": 0,
                "service": "default/hello", "target_group": "default/hello", "task": task,
                "matched_rule_priority": "service", "actions_executed": "forward", "redirect_url": null,
                "request_id": "id-1", "user_agent": "te\"st/1", "error": null,
            })
        );
        assert_eq!(
            lines[1],
            json!({
                "listener": "http", "client": "127.0.0.1", "method": "GET", "host": "nowhere", "path": "/x",
                "protocol": "HTTP/1.0", "status": 404, "target_status": null,
                "bytes_in": 0, "bytes_out": lines[1]["bytes_out"], "request_processing_us": null,
                "target_processing_us": null, "response_processing_us": null,
                "service": null, "target_group": null, "task": null,
                "matched_rule_priority": "0", "actions_executed": "fixed-response", "redirect_url": null,
                "request_id": "id-2", "user_agent": null,
                "error": "no service answers on host \"nowhere\" and path \"/x\"",
            })
        );
        assert_eq!((&lines[2]["protocol"], &lines[2]["host"]), (&"HTTP/2".into(), &"hello.localhost".into()));
        assert_eq!(lines[2]["request_id"], id);
    });
}

#[test]
fn a_line_says_what_decided_and_what_was_done() {
    run(async {
        let bench = Bench::new(task(|_, _| async { Err(InvokeError::Gone) }));
        let port = http_daemon(|_| async { http::Response::new(body::full("from outside")) });
        let service = Targets::Service("default/hello".parse().unwrap());
        for change in [
            group("blue", service, Algorithm::RoundRobin),
            group("out", outside(&[port]), Algorithm::RoundRobin),
            rule("move", 7, &["path=/moved"], redirect("https://example.org:443/new")),
            rule("wait", 8, &["path=/closed"], respond(503, "back at nine")),
            rule("blue", 9, &["path=/blue"], forward(&["blue"])),
            rule("out", 50_000, &["path=/out"], forward(&["out"])),
            rule("nobody", 10, &["path=/nobody"], forward(&["nobody"])),
        ] {
            bench.edge.balance(&change);
        }
        for target in ["/moved", "/closed", "/blue", "/out", "/nobody", "/a b"] {
            bench.raw(&asking("GET", target, "nowhere", "")).await;
        }
        let lines = bench.wait_for_lines(6).await;
        let fields = |index: usize| {
            let names =
                ["status", "target_status", "matched_rule_priority", "actions_executed", "redirect_url"];
            serde_json::Value::from(names.map(|name| lines[index][name].clone()).to_vec())
        };
        let null = serde_json::Value::Null;
        assert_eq!(fields(0), json!([301, null, "7", "redirect", "https://example.org:443/new"]));
        assert_eq!(fields(1), json!([503, null, "8", "fixed-response", null]));
        assert_eq!(fields(2), json!([503, null, "9", "forward", null]));
        assert_eq!(fields(3), json!([200, 200, "50000", "forward", null]));
        assert_eq!(fields(4), json!([503, null, "10", "forward", null]));
        assert_eq!(fields(5), json!([400, null, null, null, null]));
        assert_eq!(lines[2]["service"], "default/hello");
        assert_eq!(lines[2]["target_group"], "default/blue");
        assert_eq!((&lines[3]["target_group"], &lines[4]["target_group"]), (&"default/out".into(), &null));
        // The task never had it.
        assert_eq!([&lines[2]["request_processing_us"], &lines[2]["target_processing_us"]], [&null; 2]);
        for name in ["request_processing_us", "target_processing_us", "response_processing_us"] {
            assert!(lines[3][name].as_u64() <= lines[3]["duration_us"].as_u64(), "{}", lines[3]);
            assert!(lines[3][name].is_u64(), "{}", lines[3]);
        }
        assert_eq!(lines[5]["trace_id"], null);
    });
}

#[test]
fn elbs_lines_have_elbs_fields() {
    run(async {
        let bench = Bench::logging(Format::Elb, echo());
        bench.edge.balance(&rule("move", 7, &["path=/moved"], redirect("https://example.org:443/new")));
        bench
            .raw(
                "POST /a?b=c HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\nContent-Length: 5\r\n\
                 User-Agent: a b\r\n\r\nhello",
            )
            .await;
        bench.raw(&asking("GET", "/moved", "nowhere:81", "")).await;
        bench.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n").await;
        let mut text = bench.logged().await;
        while text.lines().count() < 3 {
            tokio::task::yield_now().await;
            text = bench.logged().await;
        }
        let lines: Vec<Vec<String>> = text.lines().map(fields).collect();
        let (port, task) = (bench.address.port(), format!("{}:0", task_id(3)));
        let request = format!("POST http://hello.localhost:{port}/a?b=c HTTP/1.1");
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [29; 3], "{text}");
        assert_eq!((lines[0][0].as_str(), lines[0][2].as_str(), &lines[0][4]), ("http", "skiff/http", &task));
        assert!(lines[0][3].starts_with("127.0.0.1:"), "{text}");
        assert_eq!((&lines[0][5][..], &lines[0][7][..]), ("0.000", "0.000"));
        assert_eq!(lines[0][8..14], ["200", "200", "5", "5", &request, "a b"]);
        assert_eq!(lines[0][14..17], ["-", "-", "default/hello"]);
        assert_eq!((lines[0][17].len(), &lines[0][20][..]), (32, "service"));
        assert_eq!(lines[0][22..], ["forward", "-", "-", &task, "200", "-", "-"]);
        assert!(lines[0][21] <= lines[0][1] && lines[0][1].len() == 27, "{text}");
        assert_eq!(lines[1][4..10], ["-", "-1", "-1", "-1", "301", "-"]);
        assert_eq!(lines[1][12], "GET http://nowhere:81/moved HTTP/1.1");
        assert_eq!(lines[1][20], "7");
        assert_eq!(lines[1][22..25], ["redirect", "https://example.org:443/new", "-"]);
        assert_eq!((lines[2][8].as_str(), lines[2][12].as_str()), ("400", "- - -"));
        assert_eq!(lines[2][27..], ["Severe", "MultipleContentLength"]);
    });
}

/// The fields of a line of ELB's, without their quotes.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, behind) = quoted.split_once('"').expect("it ends");
                (field, behind.strip_prefix(' ').unwrap_or(behind))
            }
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        fields.push(field.to_owned());
        rest = behind;
    }
    fields
}

#[test]
fn what_is_no_request_is_logged_too() {
    run(async {
        let bench = Bench::new(says("hi"));
        bench.raw("BAD\r\n\r\n").await;
        bench.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(300))).await;
        let lines = bench.wait_for_lines(2).await;
        assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&400.into(), &431.into()));
        assert!(lines[0]["error"].as_str().unwrap().starts_with("the request is malformed: "), "{lines:?}");
    });
}

#[test]
fn the_log_can_be_left_out() {
    run(async {
        let (ledger, _) = Ledger::create(1).unwrap();
        let edge = edge(0, Limits::default(), None, 80, says("hi"), &ledger);
        let (mut client, server) = tokio::io::duplex(4096);
        let peer = "10.0.0.1:1".parse().unwrap();
        let serving = tokio::task::spawn_local(async move { edge.serve_io(server, peer).await });
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hi"), "{answer}");
        serving.await.unwrap();
        assert_eq!(ledger.task(3).totals().responses[0], 1);
    });
}
