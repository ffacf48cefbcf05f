//! Certificates by their names, and which of a listener's a client is shown: one for the host that it asks for, else one for
//! that host's wildcard, else the listener's first.
//!
//! It deliberately forgets addresses that a certificate is for: no client asks for them by SNI (RFC 6066, section 3). What
//! always holds: each key is parsed once for each time that it is told.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use skiff_ports::tls::{CertificateTold, KeyForm};
use skiff_types::Name;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The certificates that this worker was told of.
#[derive(Default)]
pub(super) struct Certificates(HashMap<Name, Certificate>);

struct Certificate {
    domains: Vec<Arc<str>>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// A certificate is new, or has changed.
    pub(super) fn set(&mut self, told: &CertificateTold) {
        match certified_key(told) {
            Ok(key) => {
                let certificate = Certificate { domains: told.domains.clone(), key: Arc::new(key) };
                self.0.insert(told.name.clone(), certificate);
            }
            // What there was before is better than nothing.
            Err(error) => tracing::error!(%error, certificate = %told.name, "a certificate can't be used"),
        }
    }

    /// A certificate is gone.
    pub(super) fn remove(&mut self, name: &Name) {
        self.0.remove(name);
    }

    /// The choice among these, as they are now.
    pub(super) fn choice(&self, names: &[Name]) -> Choice {
        let mut choice = Choice::default();
        for Certificate { domains, key } in names.iter().filter_map(|name| self.0.get(name)) {
            choice.keys.push(key.clone());
            for domain in domains {
                choice.by_host.entry(domain.clone()).or_default().push(key.clone());
            }
        }
        choice
    }
}

fn certified_key(told: &CertificateTold) -> Result<CertifiedKey, rustls::Error> {
    let chain = told.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let der = told.key.to_vec();
    let key = match told.key_form {
        KeyForm::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
        KeyForm::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
        KeyForm::Sec1 => PrivateKeyDer::Sec1(der.into()),
    };
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
}

/// The certificates of one listener, in its order.
#[derive(Default)]
pub(super) struct Choice {
    keys: Vec<Arc<CertifiedKey>>,
    /// By host, or by `*.` and what follows a host's first label.
    by_host: HashMap<Arc<str>, Vec<Arc<CertifiedKey>>>,
}

impl Choice {
    /// Those that are for a host.
    fn of(&self, host: &str) -> Option<&[Arc<CertifiedKey>]> {
        let wildcard = || {
            let (label, rest) = host.split_once('.')?;
            if label.is_empty() { None } else { self.by_host.get(format!("*.{rest}").as_str()) }
        };
        self.by_host.get(host).or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Choice {
    /// Of several for the same host, the first whose signatures the client knows.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // In lower case already.
        let keys = hello.server_name().and_then(|host| self.of(host)).unwrap_or(&self.keys);
        let is_known = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(is_known).or(keys.first()).cloned()
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice").field("hosts", &self.by_host.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, domains: &[&str]) -> CertificateTold {
        let names: Vec<String> = domains.iter().map(|&domain| domain.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        CertificateTold {
            name: name.parse().unwrap(),
            domains: domains.iter().map(|&domain| domain.into()).collect(),
            chain: vec![made.cert.der().to_vec().into()],
            key: made.signing_key.serialize_der().into(),
            key_form: KeyForm::Pkcs8,
        }
    }

    /// The names of those that are for `host`.
    #[track_caller]
    fn check(told: &[CertificateTold], host: &str, expected: &[&str]) {
        let mut certificates = Certificates::default();
        told.iter().for_each(|told| certificates.set(told));
        let names: Vec<Name> = told.iter().map(|told| told.name.clone()).collect();
        let choice = certificates.choice(&names);
        let name = |key: &Arc<CertifiedKey>| {
            let is_it = |told: &&CertificateTold| told.chain[0] == *key.cert[0];
            told.iter().find(is_it).unwrap().name.to_string()
        };
        let found: Vec<String> = choice.of(host).unwrap_or_default().iter().map(name).collect();
        assert_eq!(found, expected, "{host}");
    }

    #[test]
    fn a_host_goes_before_its_wildcard_which_is_for_one_label() {
        let told = [
            told("wild", &["*.example.org"]),
            told("exact", &["shop.example.org", "example.org"]),
            told("other", &["shop.example.org"]),
        ];
        check(&told, "shop.example.org", &["exact", "other"]);
        check(&told, "example.org", &["exact"]);
        check(&told, "www.example.org", &["wild"]);
        for none in ["a.b.example.org", ".example.org", "org", "", "*.org", "example.com"] {
            check(&told, none, &[]);
        }
    }

    #[test]
    fn what_can_t_be_used_leaves_what_there_was() {
        let mut certificates = Certificates::default();
        let sound = told("web", &["a.example"]);
        certificates.set(&sound);
        let another_key = CertificateTold { key: told("web", &["a.example"]).key, ..sound.clone() };
        let no_key = CertificateTold { key: vec![0; 9].into(), ..sound.clone() };
        for unsound in [another_key, no_key] {
            certificates.set(&unsound);
        }
        let names = [sound.name.clone(), "unknown".parse().unwrap()];
        let choice = certificates.choice(&names);
        assert!(choice.keys.len() == 1 && sound.chain[0] == *choice.keys[0].cert[0]);
        certificates.remove(&sound.name);
        assert!(certificates.choice(&names).keys.is_empty());
    }
}
