//! Certificates as their owners hand them in: read, and found sound or refused; what they say of themselves; what a worker
//! is told of them.
//!
//! It keeps nothing, makes no certificate, and trusts none: whether a client does is between it and who issued them. It
//! looks at no clock. What always holds: what it passes has a private key that fits the first certificate and that TLS can
//! be spoken with, and nothing of that key is in an error.

use bytes::Bytes;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sha2::{Digest as _, Sha256};
use skiff_ports::tls::{CertificateTold, KeyForm};
use skiff_types::{CERTIFICATE_BYTES_MAX, CertificateSpec};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// Certificates of one chain. Each is sent with every handshake that is not resumed.
const CHAIN_MAX: usize = 10;
/// Whoever hands in one that ends within so many days is told.
const WARNED_DAYS: u64 = 30;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The object identifier of keys of Ed25519 (RFC 8410).
const ED25519: &str = "1.3.101.112";

/// What is wrong with a certificate or its private key, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("the certificate or its private key has more than {} bytes", CERTIFICATE_BYTES_MAX)]
    TooLarge,
    #[error("there is no certificate: what is wanted is PEM, which begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    #[error("the certificate is not PEM, or it was cut short; hand in its file as it is, line by line")]
    NotPem,
    #[error("there is a private key among the certificates; hand it in by itself")]
    KeyAmongCertificates,
    #[error(
        "the chain has more than {} certificates; hand in those alone that lead from the server's to a root",
        CHAIN_MAX
    )]
    TooLong,
    #[error("certificate {0} of the chain can't be read as one of X.509")]
    Unreadable(usize),
    #[error(
        "certificate {next} of the chain is not that of who issued the one before it; the server's own comes first, \
         then each that vouches for the one before"
    )]
    OutOfOrder { next: usize },
    #[error(
        "the certificate names no host as a subject alternative name, and clients look at no other; have one issued \
         that does"
    )]
    NoNames,
    #[error("there is no private key: what is wanted is PEM, which begins with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    #[error("there is more than one private key; hand in the one of the first certificate")]
    ManyKeys,
    #[error("the private key is encrypted; decrypt it first, for example with `openssl pkey`")]
    EncryptedKey,
    #[error(
        "the private key can't be used; it must be of ECDSA over P-256 or P-384, of Ed25519, or of RSA with 2048 bits \
         or more"
    )]
    UnusableKey,
    #[error("the private key is not that of the first certificate of the chain")]
    OtherKey,
    #[error("the certificate ended {}; have another issued", days_ago(.days))]
    Expired { days: u64 },
}

/// What a certificate says of itself: the first of its chain, which is the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// Whom it is for, each once, in the order of the certificate: hosts in lower case, `*.example.com`, addresses.
    pub(crate) domains: Vec<Arc<str>>,
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
    /// SHA-256 of its DER, in lower-case hexadecimal.
    pub(crate) fingerprint: String,
    /// Of its key, for people: `ECDSA-P256`, `RSA-2048`, `Ed25519`.
    pub(crate) algorithm: String,
}

impl CertificateFacts {
    /// Refuses one that has ended; says what its owner should know of one that ends soon or has not begun.
    pub(crate) fn check_dates(&self, now_ms: u64) -> Result<Option<String>, CertificateError> {
        let Some(left_ms) = self.not_after_ms.checked_sub(now_ms) else {
            return Err(CertificateError::Expired { days: (now_ms - self.not_after_ms) / DAY_MS });
        };
        if let Some(ahead_ms) = self.not_before_ms.checked_sub(now_ms + 1) {
            let within = within(ahead_ms);
            return Ok(Some(format!("the certificate begins only {within}; no client takes it before")));
        }
        let ends_soon = left_ms < WARNED_DAYS * DAY_MS;
        Ok(ends_soon.then(|| format!("the certificate ends {}; have another issued", within(left_ms))))
    }
}

/// A certificate that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateRead {
    pub(crate) facts: CertificateFacts,
    /// What a worker has to know to show it.
    pub(crate) told: CertificateTold,
}

/// Reads a certificate with its key. The dates are for [`CertificateFacts::check_dates`].
pub(crate) fn read(spec: &CertificateSpec) -> Result<CertificateRead, CertificateError> {
    let chain = read_chain(&spec.chain)?;
    let facts = facts_of(&chain)?;
    let key = read_key(&spec.key)?;
    let (key_bytes, key_form) = match &key {
        PrivateKeyDer::Pkcs8(key) => (key.secret_pkcs8_der(), KeyForm::Pkcs8),
        PrivateKeyDer::Pkcs1(key) => (key.secret_pkcs1_der(), KeyForm::Pkcs1),
        PrivateKeyDer::Sec1(key) => (key.secret_sec1_der(), KeyForm::Sec1),
        _ => return Err(CertificateError::UnusableKey),
    };
    let told = CertificateTold {
        name: spec.name.clone(),
        domains: facts.domains.clone(),
        chain: chain.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect(),
        key: Bytes::copy_from_slice(key_bytes),
        key_form,
    };
    check_key(chain, &key)?;
    Ok(CertificateRead { facts, told })
}

fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    check_size(text)?;
    if text.contains("PRIVATE KEY-----") {
        return Err(CertificateError::KeyAmongCertificates);
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|_| CertificateError::NotPem)?;
    match chain.len() {
        0 => Err(CertificateError::NoCertificate),
        1..=CHAIN_MAX => Ok(chain),
        _ => Err(CertificateError::TooLong),
    }
}

/// What can't be read as PEM is not repeated: it may be the key.
fn read_key(text: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    check_size(text)?;
    if ["ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"].iter().any(|mark| text.contains(mark)) {
        return Err(CertificateError::EncryptedKey);
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(text.as_bytes());
    match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => Ok(key),
        (Some(Ok(_)), Some(_)) => Err(CertificateError::ManyKeys),
        (Some(Err(_)) | None, _) => Err(CertificateError::NoKey),
    }
}

fn check_size(text: &str) -> Result<(), CertificateError> {
    if text.len() > CERTIFICATE_BYTES_MAX { Err(CertificateError::TooLarge) } else { Ok(()) }
}

/// Refuses a key that TLS can't be spoken with, or not for the first certificate of this chain.
fn check_key(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<(), CertificateError> {
    let key = any_supported_type(key).map_err(|_| CertificateError::UnusableKey)?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(CertificateError::OtherKey),
        Err(Error::InconsistentKeys(_)) => Err(CertificateError::UnusableKey),
        Err(_) => Err(CertificateError::Unreadable(1)),
    }
}

fn facts_of(chain: &[CertificateDer<'static>]) -> Result<CertificateFacts, CertificateError> {
    let parsed = chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse(der).ok_or(CertificateError::Unreadable(index + 1)))
        .collect::<Result<Vec<_>, _>>()?;
    for (index, pair) in parsed.windows(2).enumerate() {
        if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
            return Err(CertificateError::OutOfOrder { next: index + 2 });
        }
    }
    let leaf = &parsed[0];
    let domains = domains(leaf).ok_or(CertificateError::Unreadable(1))?;
    if domains.is_empty() {
        return Err(CertificateError::NoNames);
    }
    Ok(CertificateFacts {
        domains,
        not_before_ms: unix_ms(leaf.validity().not_before.timestamp()),
        not_after_ms: unix_ms(leaf.validity().not_after.timestamp()),
        fingerprint: hex::encode(Sha256::digest(&chain[0])),
        algorithm: algorithm(leaf),
    })
}

fn parse<'a>(der: &'a CertificateDer<'static>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// Whom a certificate is for, as far as a client of TLS could ask for it; `None` if that can't be read.
fn domains(certificate: &X509Certificate<'_>) -> Option<Vec<Arc<str>>> {
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let domain = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => is_host(host).then(|| host.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    let mut seen = HashSet::new();
    let mut domains: Vec<Arc<str>> = names.filter_map(domain).map(Arc::from).collect();
    domains.retain(|domain| seen.insert(domain.clone()));
    Some(domains)
}

fn is_host(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte);
    !name.is_empty() && name.bytes().all(is_known)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn algorithm(certificate: &X509Certificate<'_>) -> String {
    let public_key = certificate.public_key();
    match public_key.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA-{}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA-P{}", point.key_size()),
        Ok(_) | Err(_) => match public_key.algorithm.algorithm.to_id_string() {
            id if id == ED25519 => "Ed25519".to_owned(),
            id => id,
        },
    }
}

/// Milliseconds since 1970; 0 for what was before.
fn unix_ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)
}

fn within(ms: u64) -> String {
    match ms / DAY_MS {
        0 => "within a day".to_owned(),
        days => format!("within {} days", days + 1),
    }
}

fn days_ago(days: &u64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

#[cfg(test)]
mod tests;
