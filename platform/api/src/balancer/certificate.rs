//! Certificates: what listeners of https show to their clients.
//!
//! A private key comes in and never goes out: no answer has one, and none is printed for debugging.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::Name;
use std::fmt;

/// Imports a certificate, or exchanges it: the next connection gets the new one, those that there are go on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutCertificate {
    /// The certificate in PEM, and after it those that lead to the one that clients know, in order.
    pub certificate: String,
    /// Its private key in PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub private_key: String,
}

impl fmt::Debug for PutCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutCertificate").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A certificate that was imported; its private key is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Its name on the platform.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The store's revision, for `If-Match`.
    pub revision: u64,
    /// The names, in lower case, and addresses that it is for; `*.` stands for any one label.
    pub domains: Vec<String>,
    /// From when it is valid, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// When it expires, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// The SHA-256 of its DER, in hexadecimal.
    pub fingerprint: String,
    /// What its key is, like `ECDSA-P256`.
    pub algorithm: String,
    /// The listeners that name it.
    #[schemars(with = "Vec<text::Name>")]
    pub listeners: Vec<Name>,
    /// What its owner should see to, if anything: that it is about to expire, or has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// When it was first imported, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last exchanged, in milliseconds since 1970.
    pub updated_at_ms: u64,
}
