//! Certificates: imported, exchanged, shown, removed. Workers are told of those that a listener names.
//!
//! A private key goes in here and never comes out: neither an answer nor the log has a word of it. What always holds: a
//! certificate that a listener names stays, and one that is imported had its key and had not ended by then.

use super::not_there;
use crate::entrance::page::page;
use crate::entrance::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::keys;
use crate::model::{Certificate, Imported};
use crate::view::{Held, View};
use skiff_api::{ErrorCode, Page, PageQuery, PutCertificate};
use skiff_types::{CERTIFICATES_MAX, CertificateSpec, Name};
use tracing::info;

impl Entrance {
    /// Imports a certificate, or exchanges it.
    pub(crate) async fn put_certificate(
        &self,
        name: &Name,
        request: PutCertificate,
        if_match: IfMatch,
    ) -> Result<skiff_api::Certificate, ApiError> {
        let PutCertificate { certificate, private_key } = request;
        let spec = CertificateSpec { name: name.clone(), chain: certificate.into(), key: private_key.into() };
        let imported = Imported::read(spec).map_err(ApiError::invalid)?;
        imported.facts.check_dates(self.context.now_ms()).map_err(ApiError::invalid)?;
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&Imported>| -> Result<Imported, ApiError> {
            if present.is_none() {
                self.context.objects.read(check_count)?;
            }
            Ok(imported.clone())
        };
        let held = self.declare(&keys::certificate(name), if_match, spec).await?;
        let facts = &held.value.spec.facts;
        info!(certificate = %name, fingerprint = facts.fingerprint, domains = ?facts.domains, "imported");
        let now_ms = self.context.now_ms();
        Ok(self.context.objects.read(|view| shown(view, &held, now_ms)))
    }

    /// Lists certificates by name.
    pub(crate) fn list_certificates(
        &self,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Certificate>, ApiError> {
        let now_ms = self.context.now_ms();
        let certificates: Vec<(String, skiff_api::Certificate)> = self.context.objects.read(|view| {
            let all = view.balancer.certificates.all();
            all.map(|held| (held.value.spec.spec.name.to_string(), shown(view, held, now_ms))).collect()
        });
        page(certificates, query.limit, query.cursor.as_deref(), |certificate| certificate)
    }

    /// Shows a certificate.
    pub(crate) fn get_certificate(&self, name: &Name) -> Result<skiff_api::Certificate, ApiError> {
        let now_ms = self.context.now_ms();
        self.context.objects.read(|view| {
            let held = view.certificate(name).ok_or_else(|| no_certificate(view, name))?;
            Ok(shown(view, held, now_ms))
        })
    }

    /// Removes a certificate that no listener names.
    pub(crate) async fn delete_certificate(&self, name: &Name, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_certificate(view, name);
        let check = |view: &View| check_unnamed(view, name);
        self.withdraw::<Imported>(&keys::certificate(name), if_match, missing, check).await?;
        info!(certificate = %name, "the certificate is removed");
        Ok(())
    }
}

fn check_count(view: &View) -> Result<(), ApiError> {
    match view.balancer.certificates.all().count() {
        count if count >= CERTIFICATES_MAX => Err(ApiError::new(
            ErrorCode::ResourceExhausted,
            format!(
                "there are {count} certificates, and the most is {CERTIFICATES_MAX}; remove one that no listener needs with \
                 `skiff cert rm`"
            ),
        )),
        _ => Ok(()),
    }
}

/// Refuses the removal of a certificate that a listener names, or may name.
fn check_unnamed(view: &View, name: &Name) -> Result<(), ApiError> {
    if let Some(listener) = view.listeners_of_certificate(name).next() {
        return Err(ApiError::not_now(format!(
            "the listener {listener} names the certificate {name}; have it show others with `skiff listener create \
             {listener} --certificate`, or remove it first"
        )));
    }
    let listeners = keys::prefix("listener");
    match view.unreadable.iter().find(|key| key.is_under(&listeners)) {
        Some(key) => Err(ApiError::not_now(format!(
            "the record {key} can't be read, and may name the certificate {name}, which stays until it can be; see the \
             platform's log"
        ))),
        None => Ok(()),
    }
}

pub(super) fn no_certificate(view: &View, name: &Name) -> ApiError {
    let missing = format!(
        "there is no certificate {name}; import it with `skiff cert import {name} --certificate FILE --private-key FILE`"
    );
    not_there(view, &keys::certificate(name), missing)
}

fn shown(view: &View, held: &Held<Certificate>, now_ms: u64) -> skiff_api::Certificate {
    let Imported { spec, facts, .. } = &*held.value.spec;
    skiff_api::Certificate {
        name: spec.name.clone(),
        revision: held.revision,
        domains: facts.domains.iter().map(|domain| domain.to_string()).collect(),
        not_before_ms: facts.not_before_ms,
        not_after_ms: facts.not_after_ms,
        fingerprint: facts.fingerprint.clone(),
        algorithm: facts.algorithm.clone(),
        listeners: view.listeners_of_certificate(&spec.name).cloned().collect(),
        warning: facts.check_dates(now_ms).unwrap_or_else(|ended| Some(ended.to_string())),
        created_at_ms: held.value.created_at_ms,
        updated_at_ms: held.value.updated_at_ms,
    }
}
