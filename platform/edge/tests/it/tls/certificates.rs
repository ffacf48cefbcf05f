//! Certificates: which is shown to whom, and that another is from one handshake to the next.

use super::*;
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Notify;

#[test]
fn a_certificate_is_chosen_by_the_host_that_is_asked_for() {
    run(async {
        let told = [
            certificate("first", &["shop.example"]),
            certificate("wild", &["*.example.org"]),
            certificate("exact", &["api.example.org", "example.net"]),
        ];
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &told);
        for (host, expected) in [
            ("shop.example", "first"),
            ("www.example.org", "wild"),
            ("api.example.org", "exact"),
            ("EXAMPLE.net", "exact"),
            ("a.b.example.org", "first"),
            ("example.org", "first"),
            ("127.0.0.1", "first"),
        ] {
            let stream = connect(&client(), address, host).await;
            assert_eq!(shown(&stream, &told), expected, "{host}");
            assert!(raw(stream, GET).await.ends_with("hi"), "{host}");
        }
    });
}

#[test]
fn an_internal_listener_speaks_tls_and_says_so_in_clear() {
    run(async {
        let (bench, told) = (Bench::new(says("hi")), [hello()]);
        let spec =
            ListenerSpec { scheme: Scheme::Internal, ..ListenerSpec::clone(&listener("web", 8443, &told)) };
        bench.edge.balance(&BalancerChange {
            certificates: told.to_vec(),
            listeners: vec![Arc::new(spec)],
            ..BalancerChange::default()
        });
        let open = || {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let (task, name) = ("10.64.0.17:50000".parse().unwrap(), "web".parse().unwrap());
            tokio::task::spawn_local(bench.edge.serve_internal(Box::new(theirs), task, &name));
            ours
        };
        let host = ServerName::try_from(HELLO).unwrap();
        let mut stream = TlsConnector::from(client()).connect(host, open()).await.unwrap();
        assert!(stream.get_ref().1.peer_certificates().unwrap()[0][..] == told[0].chain[0]);
        stream.write_all(GET.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it ends with close_notify");
        assert!(answer.ends_with("hi"), "{answer}");
        let (mut stream, mut answer) = (open(), String::new());
        stream.write_all(GET.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

#[test]
fn certificates_are_exchanged_under_requests_in_flight() {
    run(async {
        let (begun, gate) = (Rc::new(Cell::new(false)), Rc::new(Notify::new()));
        let (of_task, opened) = (begun.clone(), gate.clone());
        let bench = Bench::new(task(move |_, _| {
            let (begun, gate) = (of_task.clone(), opened.clone());
            async move {
                begun.set(true);
                gate.notified().await;
                Ok(Response::new(body::full("late")))
            }
        }));
        let (before, after) = (hello(), hello());
        let other = certificate("other", &["*.localhost"]);
        let (_listening, address) = listen(&bench, std::slice::from_ref(&before));
        let stream = connect(&client(), address, HELLO).await;
        assert!(stream.get_ref().1.peer_certificates().unwrap()[0][..] == before.chain[0]);
        let mut http = http1_over(stream).await;
        let exchange = async {
            eventually("the task is asked", || begun.get()).await;
            bench.edge.balance(&BalancerChange { certificates: vec![after.clone()], ..Default::default() });
            let stream = connect(&client(), address, HELLO).await;
            assert!(stream.get_ref().1.peer_certificates().unwrap()[0][..] == after.chain[0]);
            gate.notify_one();
        };
        let (response, ()) = tokio::join!(http.send_request(get()), exchange);
        assert_eq!(text(response.unwrap()).await, "late");

        bench.edge.balance(&BalancerChange {
            certificates: vec![other.clone()],
            revoked: vec![after.name.clone()],
            listeners: vec![listener("web", address.port(), std::slice::from_ref(&other))],
            ..BalancerChange::default()
        });
        assert_eq!(shown(&connect(&client(), address, HELLO).await, &[other]), "other");
        gate.notify_one();
        assert_eq!(text(http.send_request(get()).await.unwrap()).await, "late");
    });
}
