//! What guests are told where an engine did not do it. What only the platform's operator can do something about goes to its log.

use skiff_ports::buckets::BucketError;
use skiff_ports::buses::BusError;
use skiff_ports::guest_calls::GuestCallError;
use skiff_ports::queues::QueueFailure;
use skiff_ports::tables::TableError;

/// The storage below an engine failed.
fn storage(engine: &str, error: &dyn std::error::Error) -> GuestCallError {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "a call of a guest failed");
    GuestCallError::Failed(format!("the {engine}' storage failed; the platform's log says more"))
}

pub(super) fn of_table(error: &TableError) -> GuestCallError {
    match error {
        TableError::Conflict { actual, .. } => {
            GuestCallError::Conflict { message: error.to_string(), version: *actual }
        }
        TableError::Invalid(_) | TableError::NotANumber { .. } => GuestCallError::Invalid(error.to_string()),
        TableError::Full => GuestCallError::Busy(error.to_string()),
        TableError::Storage(_) => storage("tables", error),
    }
}

pub(super) fn of_bucket(error: &BucketError) -> GuestCallError {
    let text = error.to_string();
    match error {
        BucketError::NoObject(_) | BucketError::NoUpload(_) | BucketError::Removed => {
            GuestCallError::NotFound(text)
        }
        BucketError::NotEmpty { .. } | BucketError::Precondition => {
            GuestCallError::Conflict { message: text, version: None }
        }
        BucketError::Range { .. }
        | BucketError::Checks(_)
        | BucketError::TooLarge
        | BucketError::InvalidPart(_)
        | BucketError::PartOrder
        | BucketError::PartTooSmall(_)
        | BucketError::Invalid(_) => GuestCallError::Invalid(text),
        BucketError::DiskFull => GuestCallError::Busy(text),
        BucketError::Body(_) => GuestCallError::Failed(text),
        BucketError::Storage(_) => storage("buckets", error),
    }
}

pub(super) fn of_queue(error: &QueueFailure) -> GuestCallError {
    match error {
        QueueFailure::Invalid(_) => GuestCallError::Invalid(error.to_string()),
        QueueFailure::DiskBusy | QueueFailure::DiskFull => GuestCallError::Busy(error.to_string()),
        QueueFailure::Storage(_) => storage("queues", error),
    }
}

pub(super) fn of_bus(error: &BusError) -> GuestCallError {
    match error {
        BusError::Invalid(_) => GuestCallError::Invalid(error.to_string()),
        BusError::Busy(_) | BusError::DiskBusy | BusError::DiskFull => {
            GuestCallError::Busy(error.to_string())
        }
        BusError::Storage(_) => storage("buses", error),
    }
}
