//! `skiff up --tls dev`: a certificate for this machine, which a certificate authority of its own vouches for, and a
//! listener that shows it.
//!
//! The authority vouches for this one certificate: its key is forgotten as soon as that is done, so that whoever trusts it
//! trusts nothing else. What always holds: a certificate of that name that somebody imported, and a listener of that name
//! that somebody made, stay as they are.

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use skiff_api::{Certificate, PutCertificate, PutListener, Setting};
use skiff_control::Handle;
use skiff_kit::clock;
use skiff_types::{ListenerProtocol, Name};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// The certificate's name on the platform.
const CERTIFICATE: &str = "dev";
/// The listener's.
const LISTENER: &str = "https";
/// The file of the authority's certificate, below the data folder.
const AUTHORITY_FILE: &str = "dev-ca.pem";
/// Whom the certificate is for. Many clients do not take `*.localhost`, since nothing but a top-level domain follows the
/// wildcard: to them a service is another host of `localhost`.
const DOMAINS: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];
/// How long a certificate is valid.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A certificate that ends sooner than this is made anew at a start.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far a client's clock may be behind.
const CLOCK_SLACK: Duration = Duration::from_secs(60 * 60);
/// How long the listener's port may take to be had: workers of before may have to end.
const PORT_WAIT_MAX: Duration = Duration::from_secs(1);
/// From one look at that to the next.
const PORT_WAIT: Duration = Duration::from_millis(50);

/// Where https is.
pub(crate) struct Https {
    /// The port, if the listener shows the certificate.
    pub(crate) port: Option<u16>,
    /// The authority's certificate; none where the certificate is somebody's own.
    pub(crate) authority: Option<PathBuf>,
    /// Why nobody reaches the listener at its port, if that is so.
    pub(crate) problem: Option<String>,
}

/// As lines of what a start prints.
impl fmt::Display for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return write!(f, "https          no URL, for the listener {LISTENER} has a problem: {problem}");
        }
        match (self.port, &self.authority) {
            (None, _) => {
                write!(
                    f,
                    "https          no URL: the listener {LISTENER} does not show the certificate {CERTIFICATE}"
                )
            }
            (Some(port), None) => {
                write!(
                    f,
                    "https          port {port}, with the certificate {CERTIFICATE} that somebody imported"
                )
            }
            (Some(port), Some(authority)) => write!(
                f,
                "https          https://localhost:{port}, as in\n\
                 \x20                curl --cacert {} -H \"host: SERVICE.localhost\" https://localhost:{port}/",
                authority.display()
            ),
        }
    }
}

/// Makes what is not there, and says where https is.
pub(crate) async fn provide(control: &Handle, data: &Path, port: u16) -> anyhow::Result<Https> {
    let (certificate, name): (Name, Name) = (CERTIFICATE.parse()?, LISTENER.parse()?);
    let authority = provide_certificate(control, &certificate, data.join(AUTHORITY_FILE)).await?;
    let listener = match control.listener(&name)? {
        Some(listener) => listener,
        None => {
            let request = PutListener {
                protocol: ListenerProtocol::Https,
                port,
                scheme: None,
                certificates: Some(vec![certificate.clone()]),
                services: None,
                default_action: None,
                client_limit: Setting::Kept,
            };
            let made = control.put_listener(&name, request).await;
            made.with_context(|| format!("no listener can be made at the port {port}; see --tls-port"))?
        }
    };
    control.caught_up().await;
    // One of https alone has any.
    let port = listener.certificates.contains(&certificate).then_some(listener.port);
    Ok(Https { port, authority, problem: problem(control, &name).await? })
}

/// Why nobody reaches a listener at its port, if that is still so after a while.
async fn problem(control: &Handle, name: &Name) -> anyhow::Result<Option<String>> {
    let end = Instant::now() + PORT_WAIT_MAX;
    loop {
        let problem = control.listener(name)?.and_then(|listener| listener.problem);
        if problem.is_none() || Instant::now() >= end {
            return Ok(problem);
        }
        tokio::time::sleep(PORT_WAIT).await;
    }
}

/// Makes the certificate, unless it is there for a while yet or is somebody's own; where its authority's is, if it has one.
async fn provide_certificate(
    control: &Handle,
    name: &Name,
    authority: PathBuf,
) -> anyhow::Result<Option<PathBuf>> {
    let now_ms = clock::unix_ms();
    if let Some(present) = control.certificate(name)? {
        if !is_made_here(&present) {
            return Ok(None);
        }
        let is_trusted =
            std::fs::read_to_string(&authority).is_ok_and(|text| text.contains(&present.fingerprint));
        let renewed_at_ms = present.not_after_ms.saturating_sub(RENEWED_BEFORE.as_millis() as u64);
        if is_trusted && now_ms < renewed_at_ms {
            return Ok(Some(authority));
        }
    }
    let made = Made::at(now_ms).context("a certificate for development can't be made")?;
    let request = PutCertificate { certificate: made.certificate, private_key: made.private_key };
    let imported = control.import_certificate(name, request).await?;
    // The line before the first of PEM counts for nothing but to know at the next start what the file is about.
    let text = format!(
        "Vouches for the certificate `{name}` of `skiff up --tls dev`, SHA-256 {}\n{}",
        imported.fingerprint, made.authority
    );
    std::fs::write(&authority, text).with_context(|| format!("{} can't be written", authority.display()))?;
    Ok(Some(authority))
}

/// Whether a certificate is one that is made here, by whom it is for.
fn is_made_here(certificate: &Certificate) -> bool {
    let domains: BTreeSet<&str> = certificate.domains.iter().map(String::as_str).collect();
    domains == BTreeSet::from(DOMAINS)
}

/// A certificate with its key, and that of the authority that vouches for it; all PEM.
struct Made {
    certificate: String,
    private_key: String,
    authority: String,
}

impl Made {
    /// Made now, in milliseconds since 1970.
    fn at(now_ms: u64) -> anyhow::Result<Self> {
        let now = OffsetDateTime::from_unix_timestamp(i64::try_from(now_ms / 1_000)?)?;
        let (not_before, not_after) = (now - CLOCK_SLACK, now + LIFETIME);
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name = named("Skiff's authority for development");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (authority.not_before, authority.not_after) = (not_before, not_after);
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut leaf = CertificateParams::new(DOMAINS.map(str::to_owned))?;
        leaf.distinguished_name = named("Skiff for development");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = (not_before, not_after);
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?;
        Ok(Self {
            certificate: certificate.pem(),
            private_key: key.serialize_pem(),
            authority: authority_certificate.pem(),
        })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_has_keys_and_an_authority_of_its_own() {
        let now_ms = clock::unix_ms();
        let (first, second) = (Made::at(now_ms).unwrap(), Made::at(now_ms).unwrap());
        assert!(first.certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{}", first.certificate);
        assert!(first.private_key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(first.certificate != second.certificate && first.authority != second.authority);
        assert_ne!(first.private_key, second.private_key);
    }

    #[test]
    fn a_port_that_can_not_be_had_is_told_instead_of_a_url() {
        let authority = Some(PathBuf::from("dev-ca.pem"));
        let https = |problem: Option<&str>| {
            let problem = problem.map(str::to_owned);
            Https { port: Some(8443), authority: authority.clone(), problem }.to_string()
        };
        assert!(https(None).contains("https://localhost:8443"), "{}", https(None));
        let told = https(Some("nobody reaches it"));
        assert!(told.ends_with("no URL, for the listener https has a problem: nobody reaches it"), "{told}");
    }

    #[test]
    fn what_is_for_others_was_not_made_here() {
        let certificate = |domains: &[&str]| Certificate {
            name: CERTIFICATE.parse().unwrap(),
            revision: 1,
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            not_before_ms: 0,
            not_after_ms: 1,
            fingerprint: String::new(),
            algorithm: String::new(),
            listeners: vec![],
            warning: None,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        assert!(is_made_here(&certificate(&["*.localhost", "localhost", "127.0.0.1", "::1"])));
        assert!(!is_made_here(&certificate(&["localhost"])));
        assert!(!is_made_here(&certificate(&[
            "*.localhost",
            "localhost",
            "127.0.0.1",
            "::1",
            "example.org"
        ])));
    }
}
