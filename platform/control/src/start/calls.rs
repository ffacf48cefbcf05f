//! The calls that whoever starts a control plane makes of it, as clients do by the API: to have at the start what a command
//! line asks for.

use super::Handle;
use crate::entrance::{Entrance, IfMatch};
use crate::error::ApiError;
use skiff_api::{Certificate, ErrorCode, Listener, PutCertificate, PutListener};
use skiff_types::Name;
use std::error::Error;

/// Why such a call failed, as a client would be told.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    message: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self { message: error.message, source: error.context }
    }
}

impl Handle {
    /// A certificate, if there is one of that name.
    pub fn certificate(&self, name: &Name) -> Result<Option<Certificate>, CallError> {
        found(self.entrance().get_certificate(name))
    }

    /// Imports a certificate, or exchanges it.
    pub async fn import_certificate(
        &self,
        name: &Name,
        request: PutCertificate,
    ) -> Result<Certificate, CallError> {
        Ok(self.entrance().put_certificate(name, request, IfMatch::Anything).await?)
    }

    /// A listener, if there is one of that name.
    pub fn listener(&self, name: &Name) -> Result<Option<Listener>, CallError> {
        found(self.entrance().get_listener(name))
    }

    /// Creates a listener, or changes it.
    pub async fn put_listener(&self, name: &Name, request: PutListener) -> Result<Listener, CallError> {
        Ok(self.entrance().put_listener(name, request, IfMatch::Anything).await?)
    }

    /// Ends once the workers act on all that was wanted when it was called.
    pub async fn caught_up(&self) {
        let wanted = self.plane.context.objects.read(|view| view.generation);
        self.plane.context.acknowledged.reached(wanted).await;
    }

    fn entrance(&self) -> Entrance {
        Entrance::new(self.plane.context.clone())
    }
}

/// What was looked for, if it is there.
fn found<T>(result: Result<T, ApiError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
