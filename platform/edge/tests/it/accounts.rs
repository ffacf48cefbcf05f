//! What the ledger and the access log say of requests.

use crate::support::*;
use skiff_edge::Limits;
use skiff_ledger::Ledger;

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
            assert!(line["duration_us"].is_u64());
            let line = line.as_object_mut().unwrap();
            line.remove("time");
            line.remove("duration_us");
        }
        let task = task_id(3).to_string();
        assert_eq!(
            lines[0],
            serde_json::json!({
                "client": "127.0.0.1", "method": "POST", "host": "hello.localhost:80", "path": "/a?b=c",
                "protocol": "HTTP/1.1", "status": 200, "bytes_in": 5, "bytes_out": 5,
                "service": "default/hello", "task": task, "request_id": "id-1", "user_agent": "te\"st/1",
                "error": null,
            })
        );
        assert_eq!(
            lines[1],
            serde_json::json!({
                "client": "127.0.0.1", "method": "GET", "host": "nowhere", "path": "/x",
                "protocol": "HTTP/1.0", "status": 404, "bytes_in": 0, "bytes_out": lines[1]["bytes_out"],
                "service": null, "task": null, "request_id": "id-2", "user_agent": null,
                "error": "no service answers on host \"nowhere\" and path \"/x\"",
            })
        );
        assert_eq!((&lines[2]["protocol"], &lines[2]["host"]), (&"HTTP/2".into(), &"hello.localhost".into()));
        assert_eq!(lines[2]["request_id"], id);
    });
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
