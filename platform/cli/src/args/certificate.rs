//! `skiff cert …`: the certificates that listeners of https show to their clients.

use clap::{Args, Subcommand};
use skiff_types::Name;
use std::path::PathBuf;

/// What certificates are for, below the help of `skiff cert`.
pub(super) const CERTIFICATE_HELP: &str = "\
Examples:
  skiff cert import web --certificate fullchain.pem --private-key privkey.pem
  skiff listener create web --port 8443 --protocol https --certificate web
  skiff cert ls

A listener of https has one certificate or several, and shows a client the one that is for the
name which it asks for. To renew one, import the new one under the same name: connections go on,
and the next ones get it. `skiff up --tls dev` makes one for this machine.";

/// `skiff cert …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum CertificateCommand {
    /// Import a certificate with its private key, or exchange one
    Import(CertificateImportArgs),
    /// List certificates
    #[command(after_help = "Examples:\n  skiff cert ls\n  skiff cert ls --output json")]
    Ls,
    /// Show a certificate: what it is for, and when it expires
    #[command(after_help = "Examples:\n  skiff cert show web")]
    Show {
        /// The certificate
        name: Name,
    },
    /// Remove certificates that no listener names
    #[command(after_help = "Examples:\n  skiff cert rm web")]
    Rm {
        /// The certificates
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff cert import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff cert import web --certificate fullchain.pem --private-key privkey.pem

Both files are PEM. The certificate comes first, then those that lead to the one that clients
know, in order. The key is PKCS #8, PKCS #1 or SEC 1, without a passphrase; it is kept in the
platform's data folder and never shown again.")]
pub struct CertificateImportArgs {
    /// Its name on the platform; one that is there is exchanged
    pub name: Name,
    /// The certificate and its chain
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    pub private_key: PathBuf,
}
