//! The webhook port: what is posted to addresses that users named, outside the platform.
//!
//! It deliberately tries once: who posts keeps what was not taken, and decides when it is tried again.

use async_trait::async_trait;
use bytes::Bytes;
use skiff_types::WebhookUrl;
use std::time::Duration;

/// Posts to addresses.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Posts a body of JSON, and waits for the answer as long as the post says. That it failed does not say that nobody got it.
    async fn post(&self, post: WebhookPost) -> Result<(), WebhookError>;
}

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookPost {
    /// Where to.
    pub url: WebhookUrl,
    /// Tells it from all others, the same each time it is tried; of letters and digits.
    pub id: String,
    /// JSON.
    pub body: Bytes,
    /// How long it may take, connecting included.
    pub timeout: Duration,
}

/// Why a post was not taken. Each has the reason, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// It would not be the next time either.
    #[error("{0}")]
    Refused(String),
    /// It may be another time.
    #[error("{0}")]
    Failed(String),
}
