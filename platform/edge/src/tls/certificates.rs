//! Certificates by their names, and which of a listener's a client is shown: one for the host that it asks for, else one for
//! that host's wildcard, else the listener's first.
//!
//! It deliberately forgets addresses that a certificate is for: no client asks for them by SNI (RFC 6066, section 3). What
//! always holds: each key is parsed once for each time that it is told.
//!
//! rustls does not say which one it was; so the choice leaves its name with the thread, and whoever polls the handshake takes it
//! from there ([`shown_by`]).

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use skiff_ports::tls::{CertificateTold, KeyForm};
use skiff_types::Name;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
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
        for name in names {
            let Some(Certificate { domains, key }) = self.0.get(name) else { continue };
            let offer = Offer { name: name.clone(), key: key.clone() };
            for domain in domains {
                choice.by_host.entry(domain.clone()).or_default().push(offer.clone());
            }
            choice.offers.push(offer);
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

thread_local! {
    /// The certificate that was chosen last on this thread.
    static CHOSEN: RefCell<Option<Name>> = const { RefCell::new(None) };
}

/// Where the name of a certificate is, once it was shown.
pub(super) type Shown = Rc<Cell<Option<Name>>>;

/// A handshake, and the certificate that is shown in it. Between two polls, others' handshakes choose theirs.
pub(super) fn shown_by<F: Future>(handshake: F) -> (Shown, impl Future<Output = F::Output>) {
    let shown = Shown::default();
    let (seen, mut handshake) = (shown.clone(), Box::pin(handshake));
    let watched = poll_fn(move |context| {
        CHOSEN.set(None);
        let polled = handshake.as_mut().poll(context);
        if let Some(name) = CHOSEN.take() {
            seen.set(Some(name));
        }
        polled
    });
    (shown, watched)
}

/// One of a listener's certificates.
#[derive(Clone)]
struct Offer {
    name: Name,
    key: Arc<CertifiedKey>,
}

/// The certificates of one listener, in its order.
#[derive(Default)]
pub(super) struct Choice {
    offers: Vec<Offer>,
    /// By host, or by `*.` and what follows a host's first label.
    by_host: HashMap<Arc<str>, Vec<Offer>>,
}

impl Choice {
    /// Those that are for a host.
    fn of(&self, host: &str) -> Option<&[Offer]> {
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
        let offers = hello.server_name().and_then(|host| self.of(host)).unwrap_or(&self.offers);
        let is_known = |offer: &&Offer| offer.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let offer = offers.iter().find(is_known).or(offers.first())?;
        CHOSEN.set(Some(offer.name.clone()));
        Some(offer.key.clone())
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
        let name = |offer: &Offer| {
            let is_it = |told: &&CertificateTold| told.chain[0] == *offer.key.cert[0];
            assert_eq!(told.iter().find(is_it).unwrap().name, offer.name);
            offer.name.to_string()
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
        assert!(choice.offers.len() == 1 && sound.chain[0] == *choice.offers[0].key.cert[0]);
        certificates.remove(&sound.name);
        assert!(certificates.choice(&names).offers.is_empty());
    }

    #[test]
    fn each_handshake_knows_what_was_shown_in_it() {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let handshake = |name: &'static str| async move {
            CHOSEN.set(Some(name.parse().unwrap()));
            let mut polls = 0;
            poll_fn(|_| {
                polls += 1;
                if polls == 1 { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
            })
            .await;
        };
        let (first, one) = shown_by(handshake("one"));
        let (second, two) = shown_by(handshake("two"));
        let (none, three) = shown_by(async {});
        let (mut one, mut two, mut three) = (Box::pin(one), Box::pin(two), Box::pin(three));
        assert!(one.as_mut().poll(&mut context).is_pending() && two.as_mut().poll(&mut context).is_pending());
        assert!(three.as_mut().poll(&mut context).is_ready() && one.as_mut().poll(&mut context).is_ready());
        assert!(two.as_mut().poll(&mut context).is_ready());
        let names = [first, second, none].map(|shown| shown.take().map(|name| name.to_string()));
        assert_eq!(names, [Some("one".to_owned()), Some("two".to_owned()), None]);
    }
}
