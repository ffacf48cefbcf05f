//! Certificates for listeners that speak TLS, as their owner hands them in.
//!
//! They are texts here and nothing more: who takes them in reads them, and checks that they hold together. What always holds:
//! the private key does not show where a certificate is printed for debugging, and none is written out by accident: how one
//! lies on the disk is its record's affair.

use crate::Name;
use std::fmt;
use std::sync::Arc;

/// Certificates that a platform can have.
pub const CERTIFICATES_MAX: usize = 1_000;
/// Certificates that one listener can choose from.
pub const CERTIFICATES_PER_LISTENER_MAX: usize = 25;
/// Size of a chain as PEM, and of a private key too, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 << 10;

/// A certificate with all that a server needs to show it.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// Its name on the platform.
    pub name: Name,
    /// The server's certificate, then each that vouches for the one before it, as PEM. The root need not be there.
    pub chain: Arc<str>,
    /// The private key of the first, as PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Arc<str>,
}

impl fmt::Debug for CertificateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, chain, key: _ } = self;
        f.debug_struct("CertificateSpec").field("name", name).field("chain", chain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_printed() {
        let spec =
            CertificateSpec { name: "web".parse().unwrap(), chain: "a chain".into(), key: "a secret".into() };
        let printed = format!("{spec:?} {spec:#?}");
        assert!(printed.contains("web") && printed.contains("a chain"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}
