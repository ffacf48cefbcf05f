//! One object: what is put is what is got, under the very key, with all that was said of it, if it is as it was expected.

use super::client::Asked;
use super::fixture::Endpoint;
use md5::{Digest, Md5};

#[tokio::test]
async fn what_is_put_is_got_with_all_that_was_said_of_it() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let put = Asked::new("PUT", "/photos/a.txt", "")
        .header("content-type", "text/plain")
        .header("cache-control", "max-age=5")
        .header("content-encoding", "aws-chunked,gzip")
        .header("expires", "Fri, 31 Dec 2100 00:00:00 GMT")
        .header("x-amz-meta-who", "me")
        .body("hello");
    let put = client.send(put).await.ok();
    let etag = format!("\"{}\"", hex::encode(Md5::digest(b"hello")));
    assert_eq!(put.header("etag"), etag);
    assert_eq!(put.header("x-amz-request-id").len(), 16);
    for method in ["GET", "HEAD"] {
        let got = client.send(Asked::new(method, "/photos/a.txt", "")).await.ok();
        assert_eq!(&got.body[..], if method == "GET" { &b"hello"[..] } else { b"" });
        for (name, value) in [
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("cache-control", "max-age=5"),
            ("content-encoding", "gzip"),
            ("expires", "Fri, 31 Dec 2100 00:00:00 GMT"),
            ("x-amz-meta-who", "me"),
            ("accept-ranges", "bytes"),
            ("etag", etag.as_str()),
        ] {
            assert_eq!(got.header(name), value, "{name} of {method}");
        }
        assert!(got.header("last-modified").ends_with(" GMT"));
    }
    let overridden =
        Asked::new("GET", "/photos/a.txt", "response-content-type=x%2Fy&response-content-disposition=inline");
    let overridden = client.send(overridden).await.ok();
    let headers = (overridden.header("content-type"), overridden.header("content-disposition"));
    assert_eq!(headers, ("x/y", "inline"));
    let asked =
        Asked::new("GET", "/photos/a.txt", "attributes").header("x-amz-object-attributes", "ETag,ObjectSize");
    let told = client.send(asked).await.ok();
    assert_eq!((told.one("ObjectSize"), told.all("StorageClass")), ("5".into(), vec![]));
}

#[tokio::test]
async fn a_key_is_its_bytes_and_no_path() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let keys = [
        "a/../b",
        "../../etc/passwd",
        "..",
        ".",
        "/a",
        "//a",
        "a//b",
        "a/",
        "a/./b",
        "a b",
        "a+b",
        "a%2Fb",
        "%2e%2e/x",
        "ä/✓",
        "a\\b",
        "a?b#c",
        "a&b=c",
        "CON",
        "~",
        "a'b\"c<d>",
    ];
    for key in keys {
        client.put(&format!("/photos/{key}"), key.to_owned()).await.ok();
    }
    for key in keys {
        let got = client.get(&format!("/photos/{key}")).await.ok();
        assert_eq!(got.text(), key);
    }
    assert_eq!(client.get("/photos/b").await.error(), (404, "NoSuchKey".into()));
    let listed = client.send(Asked::new("GET", "/photos", "list-type=2&encoding-type=url")).await.ok();
    let mut listed: Vec<_> =
        listed.all("Key").iter().map(|key| crate::s3::text::form_decoded(key).unwrap()).collect();
    let mut keys = keys.map(str::to_owned).to_vec();
    keys.sort();
    listed.sort();
    assert_eq!(listed, keys);
    // Up from a bucket there is no other one, nor another namespace's.
    assert_eq!(client.get("/photos/../../other/photos/a").await.error(), (404, "NoSuchKey".into()));
    assert_eq!(client.get("/../photos/a b").await.error(), (400, "InvalidBucketName".into()));
    let long = "k".repeat(1_024);
    client.put(&format!("/photos/{long}"), "x").await.ok();
    assert_eq!(client.put(&format!("/photos/{long}k"), "x").await.error(), (400, "KeyTooLongError".into()));
}

#[tokio::test]
async fn ranges_are_of_the_object() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    client.put("/photos/a", "0123456789").await.ok();
    client.put("/photos/empty", "").await.ok();
    let get = |range: &str| client.send(Asked::new("GET", "/photos/a", "").header("range", range));
    for (range, bytes, told) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-5", "345", "bytes 3-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=7-100", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
    ] {
        let got = get(range).await;
        assert_eq!(
            (got.status.as_u16(), got.text(), got.header("content-range")),
            (206, bytes.into(), told),
            "{range}"
        );
        assert_eq!(got.header("content-length"), bytes.len().to_string());
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let refused = get(range).await;
        assert_eq!(refused.error(), (416, "InvalidRange".into()), "{range}");
        assert_eq!(refused.header("content-range"), "bytes */10");
    }
    let empty = client.send(Asked::new("GET", "/photos/empty", "").header("range", "bytes=0-")).await;
    assert_eq!(empty.error(), (416, "InvalidRange".into()));
    assert_eq!(client.get("/photos/empty").await.ok().body.len(), 0);
    let part = client.send(Asked::new("GET", "/photos/a", "partNumber=1")).await;
    assert_eq!(part.error(), (501, "NotImplemented".into()));
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_done() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let etag = client.put("/photos/a", "one").await.ok().header("etag").to_owned();
    let get = |name: &str, value: &str| client.send(Asked::new("GET", "/photos/a", "").header(name, value));
    let (past, future) = ("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2100 00:00:00 GMT");
    for (name, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", "\"x\"", 412),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"x\"", 200),
        ("if-modified-since", past, 200),
        ("if-modified-since", future, 304),
        ("if-unmodified-since", past, 412),
        ("if-unmodified-since", future, 200),
    ] {
        let got = get(name, value).await;
        assert_eq!(got.status.as_u16(), status, "{name}: {value}");
        if status == 304 {
            assert_eq!((got.header("etag"), got.body.len()), (&etag[..], 0));
        }
    }
    let put = |name: &str, value: &str| {
        client.send(Asked::new("PUT", "/photos/a", "").header(name, value).body("two"))
    };
    assert_eq!(put("if-none-match", "*").await.error(), (412, "PreconditionFailed".into()));
    assert_eq!(put("if-match", "\"x\"").await.error(), (412, "PreconditionFailed".into()));
    assert_eq!(put("if-none-match", &etag).await.error(), (501, "NotImplemented".into()));
    assert_eq!(client.get("/photos/a").await.ok().text(), "one");
    put("if-match", &etag).await.ok();
    let delete = |value: &str| client.send(Asked::new("DELETE", "/photos/a", "").header("if-match", value));
    assert_eq!(delete(&etag).await.error(), (412, "PreconditionFailed".into()));
    assert_eq!(client.get("/photos/a").await.ok().text(), "two");
    let new = client.send(Asked::new("PUT", "/photos/new", "").header("if-none-match", "*").body("x"));
    new.await.ok();
}

#[tokio::test]
async fn objects_are_copied_and_deleted_and_each_leaves_its_event() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let put = Asked::new("PUT", "/photos/a b", "").header("x-amz-meta-n", "1").body("x");
    let etag = client.send(put).await.ok().header("etag").to_owned();
    let copy = |to: &str| Asked::new("PUT", to, "").header("x-amz-copy-source", "/photos/a%20b");
    let copied = client.send(copy("/photos/c")).await.ok();
    assert!(copied.one("ETag").contains(etag.trim_matches('"')), "{}", copied.text());
    assert_eq!(client.get("/photos/c").await.ok().header("x-amz-meta-n"), "1");
    let replace = copy("/photos/d").header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-m", "2");
    client.send(replace).await.ok();
    let replaced = client.get("/photos/d").await.ok();
    assert_eq!(
        (replaced.header("x-amz-meta-m"), replaced.header("x-amz-meta-n"), replaced.text()),
        ("2", "", "x".into())
    );
    assert_eq!(client.send(copy("/photos/a b")).await.error(), (400, "InvalidRequest".into()));
    let unlike = copy("/photos/e").header("x-amz-copy-source-if-match", "\"x\"");
    assert_eq!(client.send(unlike).await.error(), (412, "PreconditionFailed".into()));
    let known = copy("/photos/e").header("x-amz-copy-source-if-none-match", &etag);
    assert_eq!(client.send(known).await.error(), (412, "PreconditionFailed".into()));
    let taken = copy("/photos/d").header("if-none-match", "*");
    assert_eq!(client.send(taken).await.error(), (412, "PreconditionFailed".into()));
    let nothing = Asked::new("PUT", "/photos/e", "").header("x-amz-copy-source", "/photos/nothing");
    assert_eq!(client.send(nothing).await.error(), (404, "NoSuchKey".into()));

    for _ in 0..2 {
        let deleted = client.send(Asked::new("DELETE", "/photos/c", "")).await;
        assert_eq!(deleted.status.as_u16(), 204);
    }
    let list = "<Delete><Object><Key>d</Key></Object><Object><Key>a &amp; b</Key></Object></Delete>";
    let deleted = client.send(Asked::new("POST", "/photos", "delete=").body(list)).await.ok();
    assert_eq!(deleted.all("Key"), ["d", "a &amp; b"]);
    let list = "<Delete><Quiet>true</Quiet><Object><Key>a b</Key></Object></Delete>";
    let deleted = client.send(Asked::new("POST", "/photos", "delete=").body(list)).await.ok();
    assert_eq!(deleted.all("Key"), Vec::<String>::new());
    let nowhere = client.send(Asked::new("POST", "/nowhere", "delete=").body(list)).await;
    assert_eq!(nowhere.error(), (404, "NoSuchBucket".into()));
    let events = [
        ("PutObject", "a b"),
        ("CopyObject", "c"),
        ("CopyObject", "d"),
        ("DeleteObject", "c"),
        ("DeleteObject", "d"),
        ("DeleteObject", "a b"),
    ];
    assert_eq!(endpoint.events().await, events.map(|(reason, key)| (reason.to_owned(), key.to_owned())));
}

#[tokio::test]
async fn buckets_are_made_told_and_removed() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let ask = |method, path: &str, query: &str| client.send(Asked::new(method, path, query));
    ask("PUT", "/more", "").await.ok();
    assert_eq!(ask("PUT", "/more", "").await.error(), (409, "BucketAlreadyOwnedByYou".into()));
    assert_eq!(ask("PUT", "/Bad_Name", "").await.error(), (400, "InvalidBucketName".into()));
    let elsewhere = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    let elsewhere = client.send(Asked::new("PUT", "/away", "").body(elsewhere)).await;
    assert_eq!(elsewhere.error(), (400, "IllegalLocationConstraintException".into()));
    let listed = ask("GET", "/", "").await.ok();
    assert_eq!(listed.all("Name"), ["more", "photos"]);
    let first = ask("GET", "/", "max-buckets=1").await.ok();
    assert_eq!((first.all("Name"), first.one("ContinuationToken")), (vec!["more".to_owned()], "more".into()));
    let rest = ask("GET", "/", "max-buckets=1&continuation-token=more").await.ok();
    assert_eq!(rest.all("Name"), ["photos"]);
    assert_eq!(ask("HEAD", "/more", "").await.ok().header("x-amz-bucket-region"), "us-east-1");
    assert_eq!(ask("HEAD", "/none", "").await.status.as_u16(), 404);
    assert!(ask("GET", "/more", "location").await.ok().text().contains("LocationConstraint"));
    assert!(!ask("GET", "/more", "versioning").await.ok().text().contains("Enabled"));
    client.put("/more/a", "x").await.ok();
    assert_eq!(ask("DELETE", "/more", "").await.error(), (409, "BucketNotEmpty".into()));
    ask("DELETE", "/more/a", "").await.ok();
    // Of what is not known the name decides nothing: this is not the bucket's end.
    assert_eq!(ask("DELETE", "/more", "metadataConfiguration").await.error(), (501, "NotImplemented".into()));
    for query in ["acl", "policy", "lifecycle", "versions", "tagging", "website", "cors", "encryption"] {
        assert_eq!(ask("GET", "/more", query).await.error(), (501, "NotImplemented".into()), "{query}");
    }
    assert_eq!(ask("DELETE", "/more", "").await.status.as_u16(), 204);
    assert_eq!(ask("DELETE", "/more", "").await.error(), (404, "NoSuchBucket".into()));
    assert_eq!(client.put("/more/a", "x").await.error(), (404, "NoSuchBucket".into()));
    assert_eq!(client.get("/photos/none").await.error(), (404, "NoSuchKey".into()));
}
