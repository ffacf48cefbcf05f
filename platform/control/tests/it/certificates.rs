//! Certificates as the API has them: imported, exchanged, named by listeners, kept from whoever asks; and what the node is
//! told of them.

use crate::fixture::{Platform, name, refused, until};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use skiff_api::{Certificate, ClientError, ErrorCode, Listener, PageQuery};
use skiff_ports::store::{Expect, Key};

/// A certificate for a domain with its key, as it is imported.
pub(crate) fn made_for(domain: &str) -> Value {
    made(CertificateParams::new(vec![domain.to_owned()]).unwrap(), &KeyPair::generate().unwrap())
}

fn made(params: CertificateParams, key: &KeyPair) -> Value {
    let certificate = params.self_signed(key).unwrap();
    json!({ "certificate": certificate.pem(), "private_key": key.serialize_pem() })
}

async fn import(platform: &Platform, certificate: &str, value: Value) -> Result<Certificate, ClientError> {
    let body = serde_json::from_value(value).unwrap();
    platform.client.put_certificate(&name(certificate), &body, None).await
}

async fn remove(platform: &Platform, certificate: &str) -> Result<(), ClientError> {
    platform.client.delete_certificate(&name(certificate), None).await
}

async fn secure(platform: &Platform, listener: &str, certificates: &[&str]) -> Result<Listener, ClientError> {
    let body = json!({ "protocol": "https", "port": 8443, "certificates": certificates });
    put_listener(platform, listener, body).await
}

async fn put_listener(platform: &Platform, listener: &str, value: Value) -> Result<Listener, ClientError> {
    let body = serde_json::from_value(value).unwrap();
    platform.client.put_listener(&name(listener), &body, None).await
}

/// Waits until the node knows just these, by their first domains.
async fn told(platform: &Platform, domains: &[&str]) {
    until(&format!("the node was told of {domains:?}"), || async {
        let known = platform.node.desired().balancer.certificates;
        known.values().map(|told| &*told.domains[0]).eq(domains.iter().copied()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_imported_named_exchanged_and_removed() {
    let platform = Platform::start().await;
    let first = import(&platform, "web", made_for("one.example.org")).await.unwrap();
    assert_eq!(
        (first.domains.as_slice(), first.listeners.as_slice()),
        (&["one.example.org".to_owned()][..], &[][..])
    );
    assert!(
        first.not_after_ms > first.not_before_ms && first.warning.is_none() && first.fingerprint.len() == 64
    );
    import(&platform, "other", made_for("other.example.org")).await.unwrap();
    platform.handle.ready().await;
    assert!(platform.node.desired().balancer.certificates.is_empty(), "no listener names one");

    let listener = secure(&platform, "web", &["web", "other"]).await.unwrap();
    assert_eq!(listener.certificates, [name("web"), name("other")]);
    told(&platform, &["other.example.org", "one.example.org"]).await;
    let shown = platform.client.get_certificate(&name("web")).await.unwrap();
    assert_eq!((shown.listeners, shown.revision), (vec![name("web")], first.revision));
    refused(
        remove(&platform, "web").await,
        ErrorCode::FailedPrecondition,
        "the listener web names the certificate web",
    );

    let second = import(&platform, "web", made_for("two.example.org")).await.unwrap();
    assert!(second.revision > first.revision && second.fingerprint != first.fingerprint);
    assert_eq!(second.created_at_ms, first.created_at_ms);
    told(&platform, &["other.example.org", "two.example.org"]).await;

    // What is left out stays; what is no listener's is told no more.
    let same = put_listener(&platform, "web", json!({ "protocol": "https", "port": 8444 })).await.unwrap();
    assert_eq!(same.certificates.len(), 2);
    secure(&platform, "web", &["other"]).await.unwrap();
    told(&platform, &["other.example.org"]).await;
    remove(&platform, "web").await.unwrap();
    let plain = put_listener(&platform, "web", json!({ "protocol": "http", "port": 8443 })).await.unwrap();
    assert!(plain.certificates.is_empty());
    told(&platform, &[]).await;
    remove(&platform, "other").await.unwrap();
    assert!(platform.client.list_certificates(&PageQuery::default()).await.unwrap().items.is_empty());
    refused(remove(&platform, "other").await, ErrorCode::NotFound, "there is no certificate other");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_is_no_sound_certificate_is_refused_and_no_key_is_shown() {
    let platform = Platform::start().await;
    let (one, two) = (made_for("one.example.org"), made_for("two.example.org"));
    let mixed = json!({ "certificate": one["certificate"], "private_key": two["private_key"] });
    let mut ended = CertificateParams::new(vec!["old.example.org".to_owned()]).unwrap();
    (ended.not_before, ended.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let ended = made(ended, &KeyPair::generate().unwrap());
    let swapped = json!({ "certificate": one["private_key"], "private_key": one["certificate"] });
    for (value, message) in [
        (mixed, "is not that of the first certificate"),
        (ended, "have another issued"),
        (swapped, "there is a private key among the certificates"),
        (json!({ "certificate": "", "private_key": one["private_key"] }), "there is no certificate"),
        (json!({ "certificate": one["certificate"], "private_key": "" }), "there is no private key"),
    ] {
        refused(import(&platform, "web", value).await, ErrorCode::InvalidArgument, message);
    }
    let key = one["private_key"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    let imported = import(&platform, "web", one.clone()).await.unwrap();
    let listed = platform.client.list_certificates(&PageQuery::default()).await.unwrap();
    assert_eq!(listed.items, [imported]);
    secure(&platform, "web", &["web"]).await.unwrap();
    told(&platform, &["one.example.org"]).await;
    let known = platform.node.desired().balancer.certificates;
    let shown = format!("{} {known:?}", serde_json::to_string(&listed).unwrap());
    assert!(!shown.contains(&key), "{shown}");
}

#[tokio::test]
async fn a_certificate_that_is_about_to_end_comes_with_a_warning() {
    let platform = Platform::start().await;
    let mut params = CertificateParams::new(vec!["example.org".to_owned()]).unwrap();
    let in_days = i64::try_from(skiff_kit::clock::unix_ms() / 1_000).unwrap() + 10 * 24 * 60 * 60;
    params.not_after = time::OffsetDateTime::from_unix_timestamp(in_days).unwrap();
    let imported = import(&platform, "web", made(params, &KeyPair::generate().unwrap())).await.unwrap();
    let warning = imported.warning.clone().unwrap();
    assert!(warning.contains("days; have another issued"), "{warning}");
    assert_eq!(platform.client.get_certificate(&name("web")).await.unwrap(), imported);
}

#[tokio::test]
async fn certificates_are_there_again_after_a_start_and_a_damaged_one_is_passed_over() {
    let platform = Platform::start().await;
    import(&platform, "web", made_for("one.example.org")).await.unwrap();
    import(&platform, "other", made_for("two.example.org")).await.unwrap();
    secure(&platform, "web", &["web", "other"]).await.unwrap();
    told(&platform, &["two.example.org", "one.example.org"]).await;
    let disk = platform.stop().await;
    disk.store.put(&Key::parse("certificate.web").unwrap(), "damaged".into(), Expect::Any).await.unwrap();

    let platform = Platform::start_on(disk).await;
    platform.handle.ready().await;
    told(&platform, &["two.example.org"]).await;
    let error = platform.client.get_certificate(&name("web")).await;
    refused(error, ErrorCode::Internal, "the record certificate.web can't be read");
    assert_eq!(platform.client.get_listener(&name("web")).await.unwrap().certificates.len(), 2);
    platform.assert_node_is_content();
}
