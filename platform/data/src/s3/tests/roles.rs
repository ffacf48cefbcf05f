//! A role is asked for the very key that is touched, before anything is said of what there is.

use super::client::Asked;
use super::fixture::Endpoint;

const COMPLETION: &str = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";

#[tokio::test]
async fn a_role_does_what_it_may_and_nothing_else() {
    let endpoint = Endpoint::start().await;
    let all = endpoint.all();
    for key in ["open/a", "secret/a", "drop/old"] {
        all.put(&format!("/photos/{key}"), key).await.ok();
    }
    let reader = endpoint.client("default/reader");
    assert_eq!(reader.get("/photos/open/a").await.ok().text(), "open/a");
    reader.put("/photos/drop/new", "x").await.ok();
    let listed = reader.send(Asked::new("GET", "/photos", "list-type=2&prefix=open%2F")).await.ok();
    assert_eq!(listed.all("Key"), ["open/a"]);

    let ask = |method, path: &str, query: &str| Asked::new(method, path, query);
    let copy = |from: &str, to: &str| ask("PUT", to, "").header("x-amz-copy-source", from);
    let denied = [
        ask("GET", "/photos/secret/a", ""),
        ask("HEAD", "/photos/secret/a", ""),
        ask("GET", "/photos/secret/none", ""),
        ask("GET", "/photos/secret/a", "attributes").header("x-amz-object-attributes", "ETag"),
        ask("GET", "/photos/../open/a", "").header("range", "bytes=0-0"),
        ask("GET", "/photos/drop/old", ""),
        ask("GET", "/photos//open/a", ""),
        ask("GET", "/photos/open%2Fa", ""),
        ask("GET", "/photos/Open/a", ""),
        ask("GET", "/photos", "list-type=2"),
        ask("GET", "/photos", "list-type=2&prefix=open"),
        ask("GET", "/photos", "prefix=secret%2F"),
        ask("GET", "/photos", "uploads="),
        ask("HEAD", "/photos", ""),
        ask("GET", "/photos", "location"),
        ask("GET", "/nowhere/open/a", ""),
        ask("PUT", "/photos/open/a", "").body("x"),
        ask("PUT", "/photos/drop", "").body("x"),
        ask("DELETE", "/photos/drop/old", ""),
        ask("POST", "/photos/secret/b", "uploads="),
        ask("PUT", "/photos/secret/b", "partNumber=1&uploadId=x").body("x"),
        ask("POST", "/photos/secret/b", "uploadId=x").body(COMPLETION),
        ask("DELETE", "/photos/secret/b", "uploadId=x"),
        copy("/photos/secret/a", "/photos/drop/stolen"),
        copy("/photos/open/a", "/photos/secret/b"),
        copy("/photos/drop/../secret/a", "/photos/drop/stolen"),
        ask("PUT", "/photos/drop/p", "partNumber=1&uploadId=x")
            .header("x-amz-copy-source", "/photos/secret/a"),
        ask("PUT", "/other", ""),
        ask("DELETE", "/photos", ""),
    ];
    for asked in denied {
        let what = format!("{} {}?{}", asked.method, asked.path, asked.query);
        let answer = reader.send(asked).await;
        assert_eq!(answer.status.as_u16(), 403, "{what}: {}", answer.text());
    }
    let said = reader.get("/photos/secret/a").await;
    assert_eq!(said.error(), (403, "AccessDenied".into()));
    assert_eq!(said.one("Message"), "role default/reader may not bucket:read photos/secret/a");
    assert_eq!(reader.send(Asked::new("GET", "/", "")).await.ok().all("Name"), Vec::<String>::new());

    let list = "<Delete><Object><Key>open/a</Key></Object><Object><Key>secret/a</Key></Object></Delete>";
    let deleted = reader.send(Asked::new("POST", "/photos", "delete=").body(list)).await.ok();
    assert_eq!((deleted.all("Deleted"), deleted.all("Code")), (vec![], vec!["AccessDenied".to_owned(); 2]));
    assert_eq!(all.get("/photos/secret/a").await.ok().text(), "secret/a");
}

#[tokio::test]
async fn a_role_sees_its_own_namespace_alone() {
    let endpoint = Endpoint::start().await;
    let (all, other) = (endpoint.all(), endpoint.client("other/all"));
    all.put("/photos/a", "ours").await.ok();
    assert_eq!(other.get("/photos/a").await.error(), (404, "NoSuchKey".into()));
    other.put("/photos/a", "theirs").await.ok();
    assert_eq!(all.get("/photos/a").await.ok().text(), "ours");
    for path in ["/default/photos/a", "/default%2Fphotos/a", "/photos/../../default/photos/a"] {
        let status = other.get(path).await.status.as_u16();
        assert!(status == 404 || status == 400, "{path} was answered with {status}");
    }
    let of_others = Asked::new("GET", "/photos/a", "").header("x-amz-expected-bucket-owner", "default");
    assert_eq!(other.send(of_others).await.error(), (403, "AccessDenied".into()));
    assert_eq!(
        endpoint.client("default/nothing").get("/photos/a").await.error(),
        (403, "AccessDenied".into())
    );
}
