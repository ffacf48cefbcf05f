//! HTTP/2 with prior knowledge, on the same port.

use crate::support::*;
use bytes::Bytes;
use futures::future::join_all;
use http::Response;
use http_body_util::BodyExt;
use skiff_edge::Limits;
use skiff_ports::body::{Body, BodyError};
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Semaphore;

#[test]
fn a_guest_sees_an_http2_request_like_any_other() {
    run(async {
        let bench = Bench::new(echo());
        let mut client = bench.http2().await;
        let mut request = request("POST", "http://hello.localhost/x?y", "abc");
        request.headers_mut().remove("host");
        request.headers_mut().append("cookie", "a=1".parse().unwrap());
        request.headers_mut().append("cookie", "b=2".parse().unwrap());
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        for (name, value) in [
            ("saw-host", "hello.localhost"),
            ("saw-uri", "http://hello.localhost/x?y"),
            ("saw-cookie", "a=1; b=2"),
            ("saw-x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(response.headers()[name], value);
        }
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(text(response).await, "abc");
    });
}

#[test]
fn streams_run_side_by_side_up_to_their_bound() {
    run(async {
        let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let gate = Rc::new(Semaphore::new(0));
        let (counter, peak, door) = (running.clone(), most.clone(), gate.clone());
        let bench = Bench::with(
            Limits { http2_streams_max: 4, ..Limits::default() },
            task(move |_, _| {
                let (counter, peak, door) = (counter.clone(), peak.clone(), door.clone());
                async move {
                    counter.set(counter.get() + 1);
                    peak.set(peak.get().max(counter.get()));
                    drop(door.acquire().await);
                    counter.set(counter.get() - 1);
                    Ok(Response::new(skiff_ports::body::full("hi")))
                }
            }),
        );
        let mut client = bench.http2().await;
        // The first answer shows that the client knows the bound.
        gate.add_permits(1);
        text(client.send_request(get()).await.unwrap()).await;
        gate.forget_permits(1);
        let answers = (0..20).map(|_| {
            let mut client = client.clone();
            tokio::task::spawn_local(async move { text(client.send_request(get()).await.unwrap()).await })
        });
        let answers: Vec<_> = answers.collect();
        eventually("four run", || running.get() == 4).await;
        gate.add_permits(100);
        for answer in join_all(answers).await {
            assert_eq!(answer.unwrap(), "hi");
        }
        assert_eq!((most.get(), bench.edge.connections()), (4, 1));
    });
}

#[test]
fn trailers_reach_the_client() {
    run(async {
        let bench = Bench::new(task(|_, _| async {
            let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
            let frames: Vec<Result<_, BodyError>> = vec![
                Ok(http_body::Frame::data(Bytes::from_static(b"abc"))),
                Ok(http_body::Frame::trailers(trailers)),
            ];
            Ok(Response::new(Body::new(http_body_util::StreamBody::new(futures::stream::iter(frames)))))
        }));
        let response = bench.http2().await.send_request(get()).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
        assert_eq!(collected.to_bytes(), "abc");
    });
}

#[test]
fn a_refusal_is_json_and_a_head_request_gets_no_body() {
    run(async {
        let bench = Bench::new(says("hi"));
        let mut client = bench.http2().await;
        let response = client.send_request(request("GET", "http://nowhere.test/", "")).await.unwrap();
        assert_eq!(response.status(), 404);
        assert!(text(response).await.contains("\"no_route\""));
        for uri in ["http://nowhere.test/", "http://hello.localhost/"] {
            let response = client.send_request(request("HEAD", uri, "")).await.unwrap();
            assert_eq!(text(response).await, "");
        }
    });
}
