//! Objects in parts.

use super::client::{Asked, Client};
use super::fixture::Endpoint;
use md5::{Digest, Md5};
use skiff_ports::buckets::PART_BYTES_MIN;

async fn begun(client: &Client, key: &str) -> String {
    let begin = Asked::new("POST", &format!("/photos/{key}"), "uploads=").header("x-amz-meta-n", "1");
    client.send(begin).await.ok().one("UploadId")
}

fn part(key: &str, id: &str, number: &str) -> Asked {
    Asked::new("PUT", &format!("/photos/{key}"), &format!("partNumber={number}&uploadId={id}"))
}

fn completion(key: &str, id: &str, parts: &[(u32, &str)]) -> Asked {
    let one = |(number, etag): &(u32, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let list: String = parts.iter().map(one).collect();
    let xml = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    Asked::new("POST", &format!("/photos/{key}"), &format!("uploadId={id}")).body(xml)
}

#[tokio::test]
async fn an_object_is_made_of_its_parts() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let id = begun(&client, "big").await;
    let large = vec![b'x'; PART_BYTES_MIN as usize];
    let first = client.send(part("big", &id, "1").body(large.clone())).await.ok().header("etag").to_owned();
    client.put("/photos/other", "0123456789").await.ok();
    let copy = part("big", &id, "2").header("x-amz-copy-source", "photos/other");
    let copied = client.send(copy.header("x-amz-copy-source-range", "bytes=2-4")).await.ok();
    assert!(copied.text().contains("CopyPartResult"), "{}", copied.text());
    let second = hex::encode(Md5::digest(b"234"));

    let listed = client.send(Asked::new("GET", "/photos/big", &format!("uploadId={id}"))).await.ok();
    assert_eq!(
        (listed.all("PartNumber"), listed.all("Size")),
        (vec!["1".into(), "2".into()], vec!["5242880".to_owned(), "3".into()])
    );
    let page =
        client.send(Asked::new("GET", "/photos/big", &format!("uploadId={id}&max-parts=1"))).await.ok();
    assert_eq!((page.one("IsTruncated"), page.one("NextPartNumberMarker")), ("true".into(), "1".into()));
    let uploads = client.send(Asked::new("GET", "/photos", "uploads=&prefix=b")).await.ok();
    assert_eq!((uploads.one("Key"), uploads.one("UploadId")), ("big".into(), id.clone()));
    assert_eq!(client.get("/photos/big").await.error(), (404, "NoSuchKey".into()));

    let done = client.send(completion("big", &id, &[(1, &first), (2, &second)])).await.ok();
    let mut digests = Md5::digest(&large).to_vec();
    digests.extend_from_slice(&Md5::digest(b"234"));
    let etag = format!("{}-2", hex::encode(Md5::digest(&digests)));
    assert!(done.one("ETag").contains(&etag), "{}", done.text());
    let got = client.get("/photos/big").await.ok();
    assert_eq!(
        (got.body.len(), got.header("x-amz-meta-n"), got.header("etag")),
        (large.len() + 3, "1", &format!("\"{etag}\"")[..])
    );
    assert!(got.body.ends_with(b"xx234"));
    assert_eq!(
        client.send(completion("big", &id, &[(1, &first)])).await.error(),
        (404, "NoSuchUpload".into())
    );
    let events = endpoint.events().await;
    assert_eq!(events.last(), Some(&("CompleteMultipartUpload".to_owned(), "big".to_owned())));
}

#[tokio::test]
async fn what_is_wrong_with_parts_is_said_by_its_name() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    let id = begun(&client, "k").await;
    let mut etags = Vec::new();
    for number in ["1", "2"] {
        let put = client.send(part("k", &id, number).body(number)).await.ok();
        etags.push(put.header("etag").to_owned());
    }
    let (one, two) = (&etags[0][..], &etags[1][..]);
    let complete = |parts: &[(u32, &str)]| client.send(completion("k", &id, parts));
    assert_eq!(complete(&[(2, two), (1, one)]).await.error(), (400, "InvalidPartOrder".into()));
    assert_eq!(complete(&[(1, two)]).await.error(), (400, "InvalidPart".into()));
    assert_eq!(complete(&[(3, one)]).await.error(), (400, "InvalidPart".into()));
    assert_eq!(complete(&[(1, one), (2, two)]).await.error(), (400, "EntityTooSmall".into()));
    assert_eq!(complete(&[]).await.error(), (400, "MalformedXML".into()));
    let no_xml = Asked::new("POST", "/photos/k", &format!("uploadId={id}")).body("<Complete");
    assert_eq!(client.send(no_xml).await.error(), (400, "MalformedXML".into()));
    for number in ["0", "10001", "-1"] {
        let refused = client.send(part("k", &id, number).body("x")).await;
        assert_eq!(refused.error(), (400, "InvalidArgument".into()), "{number}");
    }
    assert_eq!(client.send(part("k", "none", "1").body("x")).await.error(), (404, "NoSuchUpload".into()));
    assert_eq!(client.send(part("other", &id, "1").body("x")).await.error(), (404, "NoSuchUpload".into()));
    let abort = || client.send(Asked::new("DELETE", "/photos/k", &format!("uploadId={id}")));
    assert_eq!(abort().await.status.as_u16(), 204);
    assert_eq!(abort().await.error(), (404, "NoSuchUpload".into()));
    let uploads = client.send(Asked::new("GET", "/photos", "uploads=")).await.ok();
    assert_eq!(uploads.all("UploadId"), Vec::<String>::new());
}
