//! Handshakes: what is agreed on, what ends them, and what is told and written down of those that end.

use super::*;

#[test]
fn what_is_spoken_is_what_was_agreed_on() {
    run(async {
        let bench = Bench::new(echo());
        let (_listening, address) = listen(&bench, &[hello()]);
        let cases: [(&[&str], Option<&str>, bool); 5] = [
            (&["h2", "http/1.1"], Some("h2"), true),
            (&["http/1.1"], Some("http/1.1"), false),
            (&["http/1.1", "h2"], Some("h2"), true),
            (&[], None, false),
            (&[], None, true),
        ];
        for (offered, agreed, is_http2) in cases {
            let stream = connect(&client_of(&BOTH, offered), address, HELLO).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
            let response = if is_http2 {
                http2_over(stream).await.send_request(get()).await.unwrap()
            } else {
                http1_over(stream).await.send_request(get()).await.unwrap()
            };
            assert_eq!(response.headers()["saw-x-forwarded-proto"], "https");
            assert_eq!(response.headers()["saw-x-forwarded-port"], address.port().to_string().as_str());
        }
        bench.raw(GET).await;
        let lines = bench.wait_for_lines(cases.len() + 1).await;
        for (line, (_, _, is_http2)) in lines.iter().zip(cases) {
            assert_eq!(line["protocol"], if is_http2 { "HTTP/2" } else { "HTTP/1.1" });
            assert_eq!((&line["tls_protocol"], &line["domain_name"]), (&"TLSv1.3".into(), &HELLO.into()));
        }
        assert!(lines[cases.len()].get("tls_protocol").is_none(), "{lines:?}");
    });
}

#[test]
fn who_shares_no_protocol_is_told_so() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client_of(&BOTH, &["spdy/3"]));
        let refused = connector.connect(ServerName::try_from(HELLO).unwrap(), stream).await.unwrap_err();
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    });
}

#[test]
fn both_versions_are_spoken_and_logged() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for (version, protocol, cipher) in
            [(&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_"), (&TLS13, "TLSv1.3", "TLS_AES_")]
        {
            let stream = connect(&client_of(&[version], &[]), address, "127.0.0.1").await;
            assert!(raw(stream, GET).await.ends_with("hi"));
            let lines = bench.lines().await;
            let line = lines.last().unwrap();
            assert_eq!((&line["tls_protocol"], &line["certificate"]), (&protocol.into(), &"hello".into()));
            assert!(line["tls_cipher"].as_str().unwrap().starts_with(cipher), "{line}");
            assert!(line.get("domain_name").is_none(), "{line}");
        }
    });
}

#[test]
fn who_speaks_http_in_clear_is_told_so() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for request in [GET, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let (status, code, message) = refusal(&read_to_end(&mut stream).await);
            assert_eq!((status, code.as_str()), (400, "bad_request"));
            assert!(message.contains("https://"), "{message}");
        }
        let lines = bench.wait_for_lines(2).await;
        assert!(lines.iter().all(|line| line["status"] == 400), "{lines:?}");
        eventually("none is left", || bench.edge.connections() == 0).await;
    });
}

#[test]
fn a_handshake_that_stalls_is_cut_off() {
    run(async {
        let limits = Limits { header_read_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        let mut idle = http1_over(connect(&client(), address, HELLO).await).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // What a record begins with.
        stream.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
        let lines = bench.wait_for_lines(1).await;
        let fields = (&lines[0]["protocol"], &lines[0]["status"], &lines[0]["error"]);
        let error = "the client took too long with the TLS handshake".into();
        assert_eq!(fields, (&"TLS".into(), &0.into(), &error));
        // One that has ended has no bearing on how long a client may be idle.
        assert_eq!(text(idle.send_request(get()).await.unwrap()).await, "hi");
    });
}

#[test]
fn a_handshake_that_fails_is_logged_and_who_says_nothing_is_not() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        drop(TcpStream::connect(address).await.unwrap());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).await.unwrap();
        // Be it with an alert or without.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        eventually("none is left", || bench.edge.connections() == 0).await;
        let lines = bench.lines().await;
        assert_eq!((lines.len(), &lines[0]["protocol"]), (1, &"TLS".into()), "{lines:?}");
        let error = lines[0]["error"].as_str().unwrap();
        assert!(error.starts_with("the TLS handshake failed: "), "{error}");
    });
}

#[test]
fn a_listener_without_a_certificate_shakes_no_hands() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[]);
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client());
        assert!(connector.connect(ServerName::try_from(HELLO).unwrap(), stream).await.is_err());
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["protocol"], "TLS");
    });
}
