//! Buckets, tables and queues: made, changed, shown, removed; and what tables and queues hold.
//!
//! Objects come and go by S3, not here. What always holds: what is removed is gone for everybody at once; its content goes after,
//! by a reconciler (`reconcile::collect_data`), and is never seen under another object of its name.

mod buckets;
mod queues;
mod tables;

pub(super) use queues::check_queue;

pub(super) use queues::no_queue;

use super::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::model::{Declared, Kept};
use crate::view::{Held, Viewed};
use skiff_api::ErrorCode;
use skiff_ports::store::Key;
use std::error::Error;
use std::sync::Arc;

/// The most buckets; and as many tables, and queues.
const OBJECTS_MAX: usize = 10_000;

impl Entrance {
    /// Writes what `spec` answers for the object as it is, under the id that it has, or a new one. The caller holds `routing`.
    async fn keep<S: PartialEq>(
        &self,
        key: &Key,
        if_match: IfMatch,
        spec: impl Fn(Option<&S>) -> Result<S, ApiError>,
    ) -> Result<Held<Declared<Kept<S>>>, ApiError>
    where
        Declared<Kept<S>>: Viewed,
    {
        let kept = |present: Option<&Kept<S>>| -> Result<Kept<S>, ApiError> {
            let spec = spec(present.map(|kept| &*kept.spec))?;
            let id = present.map_or_else(|| self.context.new_resource_id(), |kept| kept.id);
            Ok(Kept { id, spec: Arc::new(spec) })
        };
        self.declare(key, if_match, kept).await
    }
}

/// Refuses one more where there are as many as there may be.
pub(super) fn check_room(count: usize, what: &str, word: &str) -> Result<(), ApiError> {
    if count < OBJECTS_MAX {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::ResourceExhausted,
        format!(
            "there are {count} {what}, and {OBJECTS_MAX} are the most: remove one that nobody needs, with `skiff {word} rm`"
        ),
    ))
}

/// The platform can't at present, for a reason that its log is told.
fn unavailable(message: &str, error: impl Error + Send + Sync + 'static) -> ApiError {
    let context: Box<dyn Error + Send + Sync> = Box::new(error);
    ApiError { context: Some(context), ..ApiError::new(ErrorCode::Unavailable, message) }
}
