//! Who is served: whoever signed, with a key that there is, for here and now, all that matters.

use super::client::{Asked, Client};
use super::fixture::{DOMAIN, Endpoint};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A change of a client that then signs something else, and what becomes of it.
async fn refused(endpoint: &Endpoint, change: impl FnOnce(&mut Client)) -> (u16, String) {
    let mut client = endpoint.all();
    change(&mut client);
    client.get("/photos/a").await.error()
}

#[tokio::test]
async fn only_right_signatures_by_known_keys_are_served() {
    let endpoint = Endpoint::start().await;
    endpoint.all().put("/photos/a", "x").await.ok();
    let error = |status, code: &str| (status, code.to_owned());
    let wrong = refused(&endpoint, |client| client.secret = "guessed").await;
    assert_eq!(wrong, error(403, "SignatureDoesNotMatch"));
    let unknown = refused(&endpoint, |client| client.key = "SKIFUNKNOWN000000000").await;
    assert_eq!(unknown, error(403, "InvalidAccessKeyId"));
    let elsewhere = refused(&endpoint, |client| client.region = "eu-west-1").await;
    assert_eq!(elsewhere, error(400, "AuthorizationHeaderMalformed"));
    let other = refused(&endpoint, |client| client.service = "sts").await;
    assert_eq!(other, error(400, "AuthorizationHeaderMalformed"));
    let late = refused(&endpoint, |client| client.behind = 16 * MINUTE).await;
    assert_eq!(late, error(403, "RequestTimeTooSkewed"));
    let in_time = refused(&endpoint, |client| client.behind = 14 * MINUTE).await;
    assert_eq!(in_time, error(200, ""));
    let anonymous = endpoint.all().send_as_is(Asked::new("GET", "/photos/a", "")).await;
    assert_eq!(anonymous.error(), error(403, "AccessDenied"));
    assert!(anonymous.one("Message").contains("skiff key create"), "{}", anonymous.text());
}

#[tokio::test]
async fn what_was_signed_can_not_be_changed() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    client.put("/photos/a", "x").await.ok();
    client.put("/photos/b", "x").await.ok();
    let signed = client.sign(Asked::new("GET", "/photos/a", "response-content-type=text%2Fplain")).asked;
    let changes: [fn(&mut Asked); 6] = [
        |asked| asked.path = "/photos/b".into(),
        |asked| asked.method = "DELETE",
        |asked| asked.query = "response-content-type=text%2Fhtml".into(),
        |asked| asked.query = String::new(),
        |asked| {
            asked
                .headers
                .iter_mut()
                .filter(|(name, _)| name == "host")
                .for_each(|(_, value)| *value = "x.test".into())
        },
        |asked| asked.headers.retain(|(name, _)| name != "x-amz-date"),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut asked = signed.clone();
        change(&mut asked);
        let (status, code) = client.send_as_is(asked).await.error();
        assert!(
            (400..=403).contains(&status) && !code.is_empty(),
            "change {at} was answered with {status} {code}"
        );
    }
    // A header of Amazon's that nobody signed would make of a put a copy of what its signer alone may read.
    let unsigned =
        client.sign(Asked::new("PUT", "/photos/c", "")).asked.header("x-amz-copy-source", "/photos/a");
    assert_eq!(client.send_as_is(unsigned).await.error(), (403, "AccessDenied".into()));
    assert_eq!(client.get("/photos/c").await.error(), (404, "NoSuchKey".into()));
    client.send_as_is(signed).await.ok();
}

#[tokio::test]
async fn a_presigned_url_is_good_for_one_thing_for_some_time() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let put = client.presign(Asked::new("PUT", "/photos/a b", ""), 60).body("by url");
    client.send_as_is(put.clone()).await.ok();
    let get = client.presign(Asked::new("GET", "/photos/a b", "response-content-type=text%2Fplain"), 60);
    let got = client.send_as_is(get.clone()).await.ok();
    assert_eq!((&got.body[..], got.header("content-type")), (&b"by url"[..], "text/plain"));

    let denied = |code: &str| (403, code.to_owned());
    let other_key = Asked { path: "/photos/b".into(), ..put.clone() };
    assert_eq!(client.send_as_is(other_key).await.error(), denied("SignatureDoesNotMatch"));
    let other_method = Asked { method: "DELETE", ..get.clone() };
    assert_eq!(client.send_as_is(other_method).await.error(), denied("SignatureDoesNotMatch"));
    let longer = Asked { query: get.query.replace("Expires=60", "Expires=3600"), ..get.clone() };
    assert_eq!(client.send_as_is(longer).await.error(), denied("SignatureDoesNotMatch"));
    let copying = put.clone().header("x-amz-copy-source", "/photos/a%20b");
    assert_eq!(client.send_as_is(copying).await.error(), denied("AccessDenied"));

    let late = Client { behind: 2 * MINUTE, ..client.clone() };
    let expired = late.send_as_is(late.presign(Asked::new("GET", "/photos/a b", ""), 60)).await;
    assert_eq!(expired.error(), denied("AccessDenied"));
    assert!(expired.one("Message").contains("expired"), "{}", expired.text());
    late.send_as_is(late.presign(Asked::new("GET", "/photos/a b", ""), 180)).await.ok();
}

#[tokio::test]
async fn a_bucket_may_be_named_by_the_host() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    client.put("/photos/a/b", "x").await.ok();
    let host = format!("photos.{DOMAIN}:{}", client.address.port());
    let got = client.send(Asked::new("GET", "/a/b", "").header("host", &host)).await.ok();
    assert_eq!(&got.body[..], b"x");
    let path = client.send(Asked::new("GET", "/photos/a/b", "").header("host", DOMAIN)).await.ok();
    assert_eq!(&path.body[..], b"x");
    let listed = client.send(Asked::new("GET", "/", "list-type=2").header("host", &host)).await.ok();
    assert_eq!(listed.all("Key"), ["a/b"]);
}

#[tokio::test]
async fn old_signatures_and_forms_are_refused() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let old = Asked::new("GET", "/photos/a", "").header("authorization", "AWS SKIFALL0000000000000:c2ln");
    assert_eq!(client.send_as_is(old).await.error(), (400, "InvalidRequest".into()));
    let old = Asked::new(
        "GET",
        "/photos/a",
        "AWSAccessKeyId=SKIFALL0000000000000&Expires=9999999999&Signature=c2ln",
    );
    assert_eq!(client.send_as_is(old).await.error(), (400, "InvalidRequest".into()));
    let form = Asked::new("POST", "/photos", "").header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(client.send(form).await.error(), (501, "NotImplemented".into()));
}
