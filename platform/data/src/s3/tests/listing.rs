//! What is in a bucket, page by page, as both versions of the operation tell it.

use super::client::{Answer, Asked, Client};
use super::fixture::Endpoint;

const KEYS: [&str; 7] = ["a", "b/1", "b/2", "b/c/3", "d e", "f/1", "g"];

async fn filled() -> (Endpoint, Client) {
    let endpoint = Endpoint::start().await;
    let client = endpoint.all();
    for key in KEYS {
        client.put(&format!("/photos/{key}"), key).await.ok();
    }
    (endpoint, client)
}

async fn listed(client: &Client, query: &str) -> Answer {
    client.send(Asked::new("GET", "/photos", query)).await.ok()
}

/// The keys and the common prefixes of a page.
fn told(page: &Answer) -> (Vec<String>, Vec<String>) {
    let prefixes = page.all("CommonPrefixes");
    let inner = |text: &String| text.replace("<Prefix>", "").replace("</Prefix>", "");
    (page.all("Key"), prefixes.iter().map(inner).collect())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn prefixes_and_delimiters_make_folders_of_keys() {
    let (_endpoint, client) = filled().await;
    for start in ["list-type=2", ""] {
        let told_of = async |query: &str| told(&listed(&client, &format!("{start}&{query}")).await);
        assert_eq!(told_of("").await, (texts(&KEYS), vec![]));
        assert_eq!(told_of("delimiter=%2F").await, (texts(&["a", "d e", "g"]), texts(&["b/", "f/"])));
        assert_eq!(told_of("delimiter=%2F&prefix=b%2F").await, (texts(&["b/1", "b/2"]), texts(&["b/c/"])));
        assert_eq!(told_of("prefix=b%2Fc").await, (texts(&["b/c/3"]), vec![]));
        assert_eq!(told_of("prefix=x").await, (vec![], vec![]));
        let encoded = listed(&client, &format!("{start}&prefix=d&encoding-type=url")).await;
        assert_eq!((encoded.all("Key"), encoded.one("EncodingType")), (texts(&["d%20e"]), "url".into()));
    }
}

#[tokio::test]
async fn pages_of_any_size_come_to_the_whole() {
    let (_endpoint, client) = filled().await;
    let whole = (texts(&["a", "d e", "g"]), texts(&["b/", "f/"]));
    for max in 1..=6 {
        let (mut keys, mut prefixes, mut token) = (Vec::new(), Vec::new(), None::<String>);
        loop {
            let on = token.map(|token| format!("&continuation-token={token}")).unwrap_or_default();
            let page = listed(&client, &format!("list-type=2&delimiter=%2F&max-keys={max}{on}")).await;
            let (some_keys, some_prefixes) = told(&page);
            assert_eq!(page.one("KeyCount"), (some_keys.len() + some_prefixes.len()).to_string());
            keys.extend(some_keys);
            prefixes.extend(some_prefixes);
            token = page.all("NextContinuationToken").pop();
            assert_eq!(page.one("IsTruncated"), token.is_some().to_string());
            if token.is_none() {
                break;
            }
        }
        assert_eq!((keys, prefixes), whole, "by {max}");

        let (mut keys, mut prefixes, mut marker) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = listed(&client, &format!("delimiter=%2F&max-keys={max}&marker={marker}")).await;
            let (some_keys, some_prefixes) = told(&page);
            keys.extend(some_keys);
            prefixes.extend(some_prefixes);
            match page.all("NextMarker").pop() {
                Some(next) => marker = crate::s3::text::url_encoded(&next).replace('/', "%2F"),
                None => break,
            }
        }
        assert_eq!((keys, prefixes), whole, "by {max}, by markers");
    }
}

#[tokio::test]
async fn a_page_says_what_it_was_asked_for() {
    let (_endpoint, client) = filled().await;
    let page = listed(&client, "list-type=2&start-after=b%2F2&max-keys=5000&fetch-owner=true").await;
    assert_eq!(page.all("Key"), texts(&["b/c/3", "d e", "f/1", "g"]));
    assert_eq!(
        (page.one("MaxKeys"), page.one("StartAfter"), page.one("Name")),
        ("1000".into(), "b/2".into(), "photos".into())
    );
    assert_eq!(page.all("ID"), vec!["default"; 4]);
    assert_eq!(page.all("StorageClass"), vec!["STANDARD"; 4]);
    let none = listed(&client, "list-type=2&max-keys=0").await;
    assert_eq!((none.all("Key"), none.one("IsTruncated")), (vec![], "false".into()));
    for (query, code) in [
        ("list-type=2&max-keys=-1", "InvalidArgument"),
        ("list-type=2&max-keys=many", "InvalidArgument"),
        ("list-type=2&continuation-token=no", "InvalidArgument"),
        ("encoding-type=base64", "InvalidArgument"),
    ] {
        let refused = client.send(Asked::new("GET", "/photos", query)).await;
        assert_eq!(refused.error(), (400, code.into()), "{query}");
    }
    let nowhere = client.send(Asked::new("GET", "/nowhere", "list-type=2")).await;
    assert_eq!(nowhere.error(), (404, "NoSuchBucket".into()));
}
