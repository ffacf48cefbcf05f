//! Bodies: what they are said to come to holds, or nothing is written; and nobody waits for ever.

use super::client::{Asked, Client, sha256};
use super::fixture::Endpoint;
use crate::s3::{Limits, Stats};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The CRC-32 of `hello`.
const CRC32: &str = "NhCmhg==";
const UNSIGNED_CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

#[tokio::test]
async fn digests_are_checked_before_anything_is_there() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let put = || Asked::new("PUT", "/photos/a", "").body("hello");
    for (name, right, wrong, code) in [
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==", "XUFAKrxLKna5cZ2REBfFkQ==", "BadDigest"),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==", "XUFA", "InvalidDigest"),
        ("x-amz-checksum-crc32", CRC32, "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00=", "AAAA", "BadDigest"),
    ] {
        let refused = client.send(put().header(name, wrong)).await;
        assert_eq!(refused.error(), (400, code.into()), "{name}");
        assert_eq!(client.get("/photos/a").await.error(), (404, "NoSuchKey".into()));
        let taken = client.send(put().header(name, right)).await.ok();
        if name.starts_with("x-amz-") {
            assert_eq!(taken.header(name), right);
        }
        client.send(Asked::new("DELETE", "/photos/a", "")).await;
    }
    let other = Asked { body: Bytes::from_static(b"hallo"), ..client.sign(put()).asked };
    assert_eq!(client.send_as_is(other).await.error(), (400, "XAmzContentSHA256Mismatch".into()));
    let list = "<Delete><Object><Key>a</Key></Object></Delete>";
    let delete = Asked::new("POST", "/photos", "delete=").body(list);
    let other = Asked { body: list.replace('a', "b").into(), ..client.sign(delete.clone()).asked };
    assert_eq!(client.send_as_is(other).await.error(), (400, "XAmzContentSHA256Mismatch".into()));
    let wrong = delete.header("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(client.send(wrong).await.error(), (400, "BadDigest".into()));
    assert!(client.send(Asked::new("GET", "/photos", "")).await.ok().all("Key").is_empty());
}

#[tokio::test]
async fn chunks_with_a_checksum_behind_them_are_taken() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let put = |body: &str, bytes: &str| {
        Asked::new("PUT", "/photos/a", "")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", bytes)
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .framed(UNSIGNED_CHUNKS)
            .body(body.to_owned())
    };
    let trailer = |sum: &str| format!("2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n");
    for (body, bytes, code) in [
        (trailer("AAAAAA=="), "5", "BadDigest"),
        (trailer(CRC32), "6", "IncompleteBody"),
        (trailer(CRC32), "4", "IncompleteBody"),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n".into(), "5", "MalformedTrailerError"),
        ("zz\r\nhello\r\n0\r\n\r\n".into(), "5", "InvalidChunkSizeError"),
        ("9\r\nhello".into(), "5", "IncompleteBody"),
    ] {
        assert_eq!(client.send(put(&body, bytes)).await.error(), (400, code.into()), "{body:?}");
    }
    assert_eq!(client.get("/photos/a").await.error(), (404, "NoSuchKey".into()));
    let taken = client.send(put(&trailer(CRC32), "5")).await.ok();
    assert_eq!(taken.header("x-amz-checksum-crc32"), CRC32);
    let got = client.get("/photos/a").await.ok();
    assert_eq!((got.text(), got.header("content-encoding")), ("hello".into(), ""));
}

#[tokio::test]
async fn each_signed_chunk_is_what_was_signed() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let put = || {
        Asked::new("PUT", "/photos/a", "").header("x-amz-decoded-content-length", "5").framed(SIGNED_CHUNKS)
    };
    let signed = client.sign(put());
    let body = client.chunked(&signed, &[b"he", b"llo"]);
    let changed = String::from_utf8(body.to_vec()).unwrap().replace("llo", "lls");
    let changed = Asked { body: changed.into(), ..signed.asked.clone() };
    assert_eq!(client.send_as_is(changed).await.error(), (403, "SignatureDoesNotMatch".into()));
    assert_eq!(client.get("/photos/a").await.error(), (404, "NoSuchKey".into()));
    client.send_as_is(Asked { body, ..signed.asked }).await.ok();
    assert_eq!(client.get("/photos/a").await.ok().text(), "hello");

    let swollen = client.sign(put());
    let body = format!("200000;chunk-signature={}\r\n", sha256(b""));
    let refused = client.send_as_is(Asked { body: body.into(), ..swollen.asked }).await;
    assert_eq!(refused.error(), (400, "InvalidChunkSizeError".into()));
}

/// Sends the head of a put of ten bytes and three of them.
async fn begun(endpoint: &Endpoint) -> TcpStream {
    let client = endpoint.all();
    let signed = client.sign(Asked::new("PUT", "/photos/a", "").body("0123456789")).asked;
    let headers: String = signed.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = format!("{headers}content-length: 10\r\nconnection: close\r\n");
    let head = format!("PUT {} HTTP/1.1\r\n{headers}\r\n012", signed.path);
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads until the endpoint ends the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let limits = Limits { stall_time_max: Duration::from_millis(50), ..Limits::default() };
    let endpoint = Endpoint::with(limits).await;
    let answer = rest(begun(&endpoint).await).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("<Code>RequestTimeout</Code>"), "{answer}");
    assert_eq!(endpoint.all().get("/photos/a").await.error(), (404, "NoSuchKey".into()));
}

#[tokio::test]
async fn what_comes_for_a_bucket_that_is_gone_by_then_is_not_acknowledged() {
    let endpoint = Endpoint::start().await;
    let mut stream = begun(&endpoint).await;
    while endpoint.handle.stats().bytes_in < 3 {
        tokio::task::yield_now().await;
    }
    let removed = endpoint.all().send(Asked::new("DELETE", "/photos", "")).await;
    assert_eq!(removed.status.as_u16(), 204);
    stream.write_all(b"3456789").await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("<Code>NoSuchBucket</Code>"), "{answer}");
}

#[tokio::test]
async fn a_key_has_so_many_requests_under_way() {
    let limits = Limits { requests_per_key_max: 1, ..Limits::default() };
    let endpoint = Endpoint::with(limits).await;
    let mut stream = begun(&endpoint).await;
    while endpoint.handle.stats().bytes_in < 3 {
        tokio::task::yield_now().await;
    }
    let client = endpoint.all();
    assert_eq!(client.get("/photos").await.error(), (503, "SlowDown".into()));
    let forged = Client { secret: "of-nobody", ..client.clone() };
    assert_eq!(forged.get("/photos").await.error(), (403, "SignatureDoesNotMatch".into()));
    endpoint.client("other/all").get("/photos").await.ok();
    stream.write_all(b"3456789").await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Its place is given back with the last of it, which may be a moment after its answer.
    while !client.get("/photos/a").await.status.is_success() {}
    let counted = |operation: &str, code_class: &str| {
        let all = endpoint.handle.requests();
        let counted = all.iter().find(|of| (of.operation, of.code_class) == (operation, code_class));
        counted.map_or(0, |of| of.requests)
    };
    assert_eq!((counted("PutObject", "2xx"), counted("GetObject", "2xx")), (1, 1));
    assert_eq!((counted("ListObjects", "2xx"), counted("ListObjects", "5xx")), (1, 1));
    assert_eq!(counted("none", "4xx"), 1, "whose signature is wrong has asked for nothing");
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let limits = Limits { connections_per_address_max: 2, ..Limits::default() };
    let endpoint = Endpoint::with(limits).await;
    let connect = || async { TcpStream::connect(endpoint.handle.address()).await.unwrap() };
    let (one, _other) = (connect().await, connect().await);
    while endpoint.handle.stats().connections < 2 {
        tokio::task::yield_now().await;
    }
    let mut refused = connect().await;
    refused.write_all(b"GET /photos HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = rest(refused).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("<Code>SlowDown</Code>"), "{answer}");
    assert_eq!(endpoint.handle.stats().connections_refused, 1);
    drop(one);
    while endpoint.handle.stats().connections == 2 {
        tokio::task::yield_now().await;
    }
    endpoint.all().get("/photos").await.ok();
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let limits = Limits { head_time_max: Duration::from_millis(50), ..Limits::default() };
    let endpoint = Endpoint::with(limits).await;
    let mut stream = TcpStream::connect(endpoint.handle.address()).await.unwrap();
    stream.write_all(b"GET /photos/a HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It ends, with an answer or without.
    let ended = stream.read_to_end(&mut answer).await;
    assert!(ended.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
}

#[tokio::test]
async fn what_is_done_is_counted_until_the_drain_ends_it() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    client.put("/photos/a", "hello").await.ok();
    client.get("/photos/a").await.ok();
    client.get("/photos/none").await;
    let Stats { requests, refused, failed, bytes_in, bytes_out, .. } = endpoint.handle.stats();
    assert_eq!((requests, refused, failed, bytes_in), (3, 1, 0, 5));
    assert!(bytes_out >= 5, "{bytes_out}");
    assert!(endpoint.drain.finish(Duration::from_secs(10)).await, "a connection outlived the drain");
    assert_eq!(endpoint.handle.stats().connections, 0);
}
