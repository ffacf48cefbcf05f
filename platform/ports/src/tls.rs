//! What a worker must know to speak TLS: certificates with their keys, and the keys of session tickets.
//!
//! Nothing here knows how TLS is spoken. Certificates are told with the rest of the load balancer; the keys of tickets by
//! themselves, since nobody who says what is to run has them. What always holds: no private key and no key of tickets shows
//! where one of these is printed for debugging.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skiff_types::Name;
use std::fmt;
use std::sync::Arc;

/// Size of a key of session tickets, in bytes: 16 that are its name, which its tickets carry, and 32 that encrypt.
pub const TICKET_KEY_BYTES: usize = 48;

/// A certificate that a listener names. It was found sound: the key is that of the first of the chain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateTold {
    /// Its name.
    pub name: Name,
    /// Whom it is for, in lower case: hosts in ASCII, hosts with a wildcard as `*.example.com`, and addresses, which no
    /// client asks for by SNI.
    pub domains: Vec<Arc<str>>,
    /// The server's certificate, then those that vouch for it, each as DER. Never empty.
    pub chain: Vec<Bytes>,
    /// The private key, as DER.
    pub key: Bytes,
    /// How the private key is written.
    pub key_form: KeyForm,
}

/// How the DER of a private key is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyForm {
    /// RFC 5208: `BEGIN PRIVATE KEY`.
    Pkcs8,
    /// RFC 8017: `BEGIN RSA PRIVATE KEY`.
    Pkcs1,
    /// RFC 5915: `BEGIN EC PRIVATE KEY`.
    Sec1,
}

impl fmt::Debug for CertificateTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, domains, chain, key: _, key_form } = self;
        f.debug_struct("CertificateTold")
            .field("name", name)
            .field("domains", domains)
            .field("chain", &chain.len())
            .field("key_form", key_form)
            .finish_non_exhaustive()
    }
}

/// The keys of session tickets, the same for all workers, so that each takes up what another began. They live in memory
/// alone: who has them can read what was said in the sessions of TLS 1.2 that were resumed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TicketKeysOnWire", into = "TicketKeysOnWire")]
pub struct TicketKeys {
    /// What tickets are made with, and opened.
    pub current: [u8; TICKET_KEY_BYTES],
    /// What tickets are still opened with: the current one before this.
    pub previous: Option<[u8; TICKET_KEY_BYTES]>,
}

impl TicketKeys {
    /// With another key from now on; the one before the current is forgotten.
    #[must_use]
    pub fn renewed(&self, current: [u8; TICKET_KEY_BYTES]) -> Self {
        Self { current, previous: Some(self.current) }
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

/// A key in parts of a length that `serde` knows.
type KeyOnWire = [[u8; 16]; 3];

/// [`TicketKeys`] as they are sent.
#[derive(Serialize, Deserialize)]
struct TicketKeysOnWire {
    current: KeyOnWire,
    previous: Option<KeyOnWire>,
}

impl From<TicketKeys> for TicketKeysOnWire {
    fn from(keys: TicketKeys) -> Self {
        let parts = |key: [u8; TICKET_KEY_BYTES]| {
            let (parts, _) = key.as_chunks::<16>();
            [parts[0], parts[1], parts[2]]
        };
        Self { current: parts(keys.current), previous: keys.previous.map(parts) }
    }
}

impl From<TicketKeysOnWire> for TicketKeys {
    fn from(keys: TicketKeysOnWire) -> Self {
        let whole = |parts: KeyOnWire| {
            let mut key = [0; TICKET_KEY_BYTES];
            key.copy_from_slice(parts.as_flattened());
            key
        };
        Self { current: whole(keys.current), previous: keys.previous.map(whole) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> TicketKeys {
        let key = |first: u8| std::array::from_fn(|index| first + index as u8);
        TicketKeys { current: key(1), previous: Some(key(100)) }
    }

    #[test]
    fn ticket_keys_come_as_they_were_sent() {
        for keys in [keys(), TicketKeys { previous: None, ..keys() }] {
            let sent = serde_json::to_vec(&keys).unwrap();
            assert!(serde_json::from_slice::<TicketKeys>(&sent).unwrap() == keys);
        }
    }

    #[test]
    fn renewed_keys_keep_one_before() {
        let renewed = keys().renewed([7; TICKET_KEY_BYTES]);
        assert!(renewed.current == [7; TICKET_KEY_BYTES] && renewed.previous == Some(keys().current));
    }

    #[test]
    fn no_key_is_printed() {
        let told = CertificateTold {
            name: "web".parse().unwrap(),
            domains: vec!["example.com".into()],
            chain: vec![Bytes::from_static(b"a chain")],
            key: Bytes::from_static(b"a secret"),
            key_form: KeyForm::Sec1,
        };
        let printed = format!("{told:?}");
        assert!(printed.contains("example.com") && !printed.contains("secret"), "{printed}");
        assert_eq!(format!("{:?}", keys()), "TicketKeys { .. }");
    }
}
