//! Certificates in documents: the files that they are in, relative to the document, so that no private key lies in it.
//!
//! The platform shows no certificate, only the fingerprint of the first of its chain: by that one is the same or another.

use super::tree::{Fault, Node};
use crate::certificates::text_of;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use skiff_api::PutCertificate;
use std::path::{Path, PathBuf};

/// A certificate and its key, as their files have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateFiles {
    pub(super) body: PutCertificate,
    /// The SHA-256 of the first certificate's DER, in lower-case hexadecimal, as the platform shows it.
    pub(super) fingerprint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    certificate_file: PathBuf,
    private_key_file: PathBuf,
}

impl CertificateFiles {
    /// Reads them; `folder` is the document's. Whether the key fits, the platform finds out.
    pub(super) fn read(node: &Node, folder: &Path) -> Result<Self, Fault> {
        let Said { certificate_file, private_key_file } = Said::deserialize(node)?;
        let text = |key: &str, file: &Path| {
            text_of(&folder.join(file))
                .map_err(|error| Fault::new(node.line, format!("{error:#}")).below(key))
        };
        let certificate = text("certificate_file", &certificate_file)?;
        let private_key = text("private_key_file", &private_key_file)?;
        let first = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| {
            let shown = folder.join(&certificate_file);
            let message = format!(
                "{} has no certificate: what is wanted is PEM, which begins with -----BEGIN CERTIFICATE-----",
                shown.display()
            );
            Fault::new(node.line, message).below("certificate_file")
        })?;
        let fingerprint = hex::encode(Sha256::digest(&first));
        Ok(Self { body: PutCertificate { certificate, private_key }, fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::yaml;
    use super::*;

    fn read(text: &str, folder: &Path) -> Result<CertificateFiles, String> {
        CertificateFiles::read(&yaml::read(text).unwrap()[0], folder)
            .map_err(|fault| format!("{}: {fault}", fault.line))
    }

    #[test]
    fn files_are_found_beside_the_document() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // What is in the armour is nobody's certificate here; the fingerprint is that of the bytes `abc`.
        let pem = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
        std::fs::write(path.join("web.pem"), pem).unwrap();
        std::fs::write(path.join("key.pem"), "a key").unwrap();
        let files = read("certificate_file: web.pem\nprivate_key_file: key.pem", path).unwrap();
        assert_eq!(files.body.private_key, "a key");
        assert_eq!(files.fingerprint, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let error = read("certificate_file: key.pem\nprivate_key_file: key.pem", path).unwrap_err();
        assert!(
            error.starts_with("1: certificate_file: ") && error.contains("has no certificate"),
            "{error}"
        );
        let error = read("certificate_file: gone.pem\nprivate_key_file: key.pem", path).unwrap_err();
        assert!(error.contains("gone.pem can't be read"), "{error}");
    }

    #[test]
    fn a_key_does_not_stand_in_a_document() {
        let error = read("certificate_file: web.pem\nprivate_key: x", Path::new("")).unwrap_err();
        assert_eq!(error, "2: \"private_key\" is unknown; did you mean \"private_key_file\"?");
    }
}
