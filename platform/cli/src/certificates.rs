//! `skiff cert …`.

use crate::args::{CertificateCommand, CertificateImportArgs};
use crate::context::{Context, all_pages};
use crate::output::{self, or_none};
use crate::{human, progress};
use anyhow::Context as _;
use skiff_api::{Certificate, PageQuery, PutCertificate};
use skiff_types::Name;
use std::path::Path;

pub(crate) async fn run(context: &Context, command: &CertificateCommand) -> anyhow::Result<()> {
    match command {
        CertificateCommand::Import(args) => import(context, args).await,
        CertificateCommand::Ls => list(context).await,
        CertificateCommand::Show { name } => show(context, name).await,
        CertificateCommand::Rm { names } => remove(context, names).await,
    }
}

async fn import(context: &Context, args: &CertificateImportArgs) -> anyhow::Result<()> {
    let body =
        PutCertificate { certificate: text_of(&args.certificate)?, private_key: text_of(&args.private_key)? };
    let certificate = context.client()?.put_certificate(&args.name, &body, None).await?;
    if let Some(warning) = &certificate.warning {
        progress::note(format!("warning: {warning}"));
    }
    context.output.print(&certificate, || details(&certificate))?;
    Ok(())
}

/// What a file of PEM says. What is wrong with it otherwise, the platform finds out.
pub(crate) fn text_of(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    String::from_utf8(bytes).map_err(|_| {
        let shown = path.display();
        anyhow::anyhow!(
            "{shown} is not PEM, which is text; if it is DER, `openssl x509 -inform der` or `openssl pkey -inform der` \
             turns it into PEM"
        )
    })
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let certificates = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_certificates(&query).await
    })
    .await?;
    context.output.print(&certificates, || table(&certificates, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let certificate = context.client()?.get_certificate(name).await?;
    context.output.print(&certificate, || details(&certificate))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_certificate(name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

/// How long a certificate is still valid: `89d`, or that it is not any more.
pub(crate) fn remaining(certificate: &Certificate, now_ms: u64) -> String {
    match certificate.not_after_ms > now_ms {
        true => human::age(now_ms, certificate.not_after_ms),
        false => "expired".to_owned(),
    }
}

fn table(certificates: &[Certificate], now_ms: u64) -> String {
    let row = |certificate: &Certificate| {
        [
            certificate.name.to_string(),
            few(&certificate.domains),
            remaining(certificate, now_ms),
            or_none(non_empty(joined(&certificate.listeners, ", "))),
            human::age(certificate.updated_at_ms, now_ms),
        ]
    };
    output::columns(["NAME", "DOMAINS", "EXPIRES IN", "LISTENERS", "CHANGED"], certificates.iter().map(row))
}

fn details(certificate: &Certificate) -> String {
    let warning = certificate.warning.iter().map(|warning| ("Warning", warning.clone()));
    let rows = [
        ("Name", certificate.name.to_string()),
        ("Domains", or_none(non_empty(joined(&certificate.domains, "\n")))),
        ("Valid from", human::timestamp(certificate.not_before_ms)),
        ("Expires", human::timestamp(certificate.not_after_ms)),
    ];
    let last = [
        ("Algorithm", certificate.algorithm.clone()),
        ("SHA-256", certificate.fingerprint.clone()),
        ("Listeners", or_none(non_empty(joined(&certificate.listeners, "\n")))),
        ("Revision", certificate.revision.to_string()),
        ("Created", human::timestamp(certificate.created_at_ms)),
        ("Changed", human::timestamp(certificate.updated_at_ms)),
    ];
    output::properties(rows.into_iter().chain(warning).chain(last))
}

/// The domains, if there are no more of them than a line has room for; else the first, and how many more.
fn few(domains: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    match domains {
        [] => "-".to_owned(),
        [first, rest @ ..] if domains.len() > SHOWN_MAX => format!("{first} and {} more", rest.len()),
        domains => domains.join(", "),
    }
}

fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str, domains: &[&str], listeners: &[&str], warning: Option<&str>) -> Certificate {
        serde_json::from_value(serde_json::json!({
            "name": name, "revision": 17, "domains": domains, "not_before_ms": 1_000, "not_after_ms": 864_062_000,
            "fingerprint": "ab12", "algorithm": "ECDSA-P256", "listeners": listeners, "warning": warning,
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    #[test]
    fn certificates_in_a_table() {
        let certificates = [
            certificate("api", &["api.example.com", "*.api.example.com"], &["web", "web-two"], None),
            certificate("many", &["a.example", "b.example", "c.example", "d.example"], &[], None),
            Certificate { not_after_ms: 62_000, ..certificate("old", &["127.0.0.1"], &[], None) },
        ];
        let expected = "NAME   DOMAINS                              EXPIRES IN   LISTENERS      CHANGED\n\
             api    api.example.com, *.api.example.com   10d          web, web-two   60s\n\
             many   a.example and 3 more                 10d          -              60s\n\
             old    127.0.0.1                            expired      -              60s";
        assert_eq!(table(&certificates, 62_000), expected);
    }

    #[test]
    fn a_certificate_in_detail() {
        let shown =
            details(&certificate("api", &["a.example", "b.example"], &["web"], Some("it expires soon")));
        let expected = "Name         api\n\
                        Domains      a.example\n             b.example\n\
                        Valid from   1970-01-01T00:00:01.000Z\n\
                        Expires      1970-01-11T00:01:02.000Z\n\
                        Warning      it expires soon\n\
                        Algorithm    ECDSA-P256\n\
                        SHA-256      ab12\n\
                        Listeners    web\n\
                        Revision     17\n\
                        Created      1970-01-01T00:00:01.000Z\n\
                        Changed      1970-01-01T00:00:02.000Z";
        assert_eq!(shown, expected);
        let unused = details(&certificate("api", &["a.example"], &[], None));
        assert!(unused.contains("Listeners    -\n") && !unused.contains("Warning"), "{unused}");
    }

    #[test]
    fn a_file_that_is_not_text_is_not_pem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.der");
        std::fs::write(&path, [0x30, 0x82, 0xff]).unwrap();
        assert!(text_of(&path).unwrap_err().to_string().contains("is not PEM"));
        assert!(text_of(&folder.path().join("b.pem")).unwrap_err().to_string().contains("can't be read"));
    }
}
