//! Certificates of all kinds against what is found of them.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// 2024-01-01 and 2025-01-01, from when to when the certificates of these tests are valid.
const BEGIN_MS: u64 = 1_704_067_200_000;
const END_MS: u64 = 1_735_689_600_000;

fn params(subject: &str, domains: &[&str]) -> CertificateParams {
    let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
    let mut params = CertificateParams::new(domains).unwrap();
    params.distinguished_name.push(DnType::CommonName, subject);
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2025, 1, 1));
    params
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params("a root", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate that the authority issued for these, and its key, as PEM.
fn issued(authority: &CertifiedIssuer<'static, KeyPair>, domains: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params("a server", domains).signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn spec(chain: &str, key: &str) -> CertificateSpec {
    CertificateSpec { name: "web".parse().unwrap(), chain: chain.into(), key: key.into() }
}

#[track_caller]
fn check_refused(chain: &str, key: &str, expected: CertificateError) {
    let error = read(&spec(chain, key)).unwrap_err();
    assert_eq!(error, expected);
    assert!(!error.to_string().is_empty());
}

#[test]
fn a_chain_with_its_key_is_read_whole() {
    let authority = authority();
    let names = ["Web.Example.com", "*.example.org", "192.0.2.7", "2001:db8::7", "web.example.com"];
    let (leaf, key) = issued(&authority, &names);
    let CertificateRead { facts, told } = read(&spec(&(leaf.clone() + &authority.pem()), &key)).unwrap();
    let domains: Vec<&str> = facts.domains.iter().map(|domain| &**domain).collect();
    assert_eq!(domains, ["web.example.com", "*.example.org", "192.0.2.7", "2001:db8::7"]);
    assert_eq!((facts.not_before_ms, facts.not_after_ms), (BEGIN_MS, END_MS));
    assert_eq!(facts.algorithm, "ECDSA-P256");
    let der = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap();
    assert_eq!(facts.fingerprint, hex::encode(Sha256::digest(&der)));
    assert_eq!((told.name.as_str(), told.chain.len(), told.key_form), ("web", 2, KeyForm::Pkcs8));
    assert_eq!(told.domains, facts.domains);
    assert!(told.chain[0] == *der && told.chain[1] == **authority.der());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    assert!(told.key == key.secret_der());
}

#[test]
fn a_certificate_that_vouches_for_itself_will_do() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = params("a server", &["localhost"]).self_signed(&key).unwrap();
    let read = read(&spec(&certificate.pem(), &key.serialize_pem())).unwrap();
    assert_eq!((&*read.facts.algorithm, read.told.chain.len()), ("Ed25519", 1));
}

#[test]
fn what_does_not_hold_together_is_refused() {
    let (one, other) = (authority(), authority());
    let ((leaf, key), (_, other_key)) = (issued(&one, &["localhost"]), issued(&other, &["localhost"]));
    check_refused("", &key, CertificateError::NoCertificate);
    check_refused(&key, &key, CertificateError::KeyAmongCertificates);
    check_refused(&(leaf.clone() + &key), &key, CertificateError::KeyAmongCertificates);
    check_refused(&leaf[..leaf.len() / 2], &key, CertificateError::NotPem);
    check_refused(&leaf.replace('\n', " "), &key, CertificateError::NotPem);
    check_refused(&leaf, "", CertificateError::NoKey);
    check_refused(&leaf, &leaf, CertificateError::NoKey);
    check_refused(&leaf, &key[..key.len() / 2], CertificateError::NoKey);
    check_refused(&leaf, &(key.clone() + &other_key), CertificateError::ManyKeys);
    check_refused(&leaf, &other_key, CertificateError::OtherKey);
    check_refused(&(one.pem() + &leaf), &key, CertificateError::OutOfOrder { next: 2 });
    check_refused(&one.pem(), &key, CertificateError::NoNames);
    check_refused(&leaf.repeat(CHAIN_MAX + 1), &key, CertificateError::TooLong);
    check_refused(&" ".repeat(CERTIFICATE_BYTES_MAX + 1), &key, CertificateError::TooLarge);
    check_refused(&leaf, &" ".repeat(CERTIFICATE_BYTES_MAX + 1), CertificateError::TooLarge);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    check_refused(&leaf, &encrypted, CertificateError::EncryptedKey);
    let not_x509 = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    check_refused(not_x509, &key, CertificateError::Unreadable(1));
    check_refused(&(leaf.clone() + not_x509), &key, CertificateError::Unreadable(2));
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    check_refused(&leaf, not_a_key, CertificateError::UnusableKey);
}

#[test]
fn dates_are_an_error_behind_and_a_warning_ahead() {
    let (leaf, key) = issued(&authority(), &["localhost"]);
    let facts = read(&spec(&leaf, &key)).unwrap().facts;
    let warning = |now_ms| facts.check_dates(now_ms).unwrap().unwrap_or_default();
    assert_eq!(warning(BEGIN_MS), "");
    assert_eq!(warning(END_MS - WARNED_DAYS * DAY_MS), "");
    assert!(warning(END_MS + 1 - WARNED_DAYS * DAY_MS).contains("ends within 30 days"));
    assert!(warning(END_MS).contains("ends within a day"));
    assert!(warning(BEGIN_MS - 1).contains("begins only within a day"));
    assert!(warning(BEGIN_MS - 5 * DAY_MS).contains("begins only within 5 days"));
    let expired = facts.check_dates(END_MS + 1).unwrap_err();
    assert_eq!(expired.to_string(), "the certificate ended today; have another issued");
    let expired = facts.check_dates(END_MS + 3 * DAY_MS).unwrap_err();
    assert_eq!(expired, CertificateError::Expired { days: 3 });
    assert_eq!(expired.to_string(), "the certificate ended 3 days ago; have another issued");
}

#[test]
fn neither_what_is_read_nor_an_error_shows_the_key() {
    let (leaf, key) = issued(&authority(), &["localhost"]);
    let body = key.lines().nth(1).unwrap();
    let read_whole = format!("{:?}", read(&spec(&leaf, &key)).unwrap());
    let der = format!("{:?}", read(&spec(&leaf, &key)).unwrap().told.key);
    assert!(!read_whole.contains(body) && !read_whole.contains(&der), "{read_whole}");
    let on_one_line = key.replace('\n', " ");
    let error = read(&spec(&leaf, &on_one_line)).unwrap_err();
    assert!(!format!("{error:?} {error}").contains(body));
}
