//! Why a call of the API failed: a code and a sentence for its caller, and what only the log is told.

use crate::addresses::NoAddress;
use crate::objects::ObjectError;
use crate::placement::NotMade;
use skiff_api::ErrorCode;
use skiff_ports::images::ImageError;
use skiff_ports::runtime::{ForwardError, PrepareError};
use skiff_ports::store::StoreError;
use std::error::Error;
use std::{fmt, io};

/// A call that failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) code: ErrorCode,
    /// For the caller: what happened and what to do about it.
    pub(crate) message: String,
    /// For the log alone.
    pub(crate) context: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), context: None }
    }

    pub(crate) fn invalid(message: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidArgument, message.to_string())
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// What is there is not in a state for this.
    pub(crate) fn not_now(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::FailedPrecondition, message)
    }

    /// There is no room on the disk.
    pub(crate) fn disk_full() -> Self {
        Self::new(
            ErrorCode::StorageFull,
            "there is no room on the platform's disk, and nothing was written: make room where its data folder lies, or delete \
             what nobody needs of it, and try again",
        )
    }

    fn with_context(self, context: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { context: Some(context.into()), ..self }
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        let (code, message) = match &error {
            ObjectError::Store(StoreError::Conflict { .. }) => (
                ErrorCode::Conflict,
                "it was changed by somebody else at the same time; try again".to_owned(),
            ),
            ObjectError::Store(StoreError::TooLarge { .. }) => (
                ErrorCode::TooLarge,
                "it is too large to be stored; give it fewer or shorter values".to_owned(),
            ),
            ObjectError::Store(StoreError::Full) => return Self::disk_full().with_context(error),
            ObjectError::Contended(_) => {
                (ErrorCode::Unavailable, "others keep changing it; try again".to_owned())
            }
            ObjectError::Store(StoreError::Closed) => {
                (ErrorCode::Unavailable, "the platform is shutting down".to_owned())
            }
            ObjectError::Store(StoreError::Storage(_)) => {
                (ErrorCode::Unavailable, "the platform's storage failed; see its log".to_owned())
            }
            ObjectError::Store(
                StoreError::InvalidKey(_) | StoreError::Compacted(_) | StoreError::NewerSchema { .. },
            )
            | ObjectError::Record { .. } => {
                (ErrorCode::Internal, "what is stored can't be used; see the platform's log".to_owned())
            }
        };
        Self::new(code, message).with_context(error)
    }
}

impl From<NoAddress> for ApiError {
    fn from(error: NoAddress) -> Self {
        match error {
            NoAddress::None(error) => Self::new(ErrorCode::ResourceExhausted, error.to_string()),
            NoAddress::Object(error) => error.into(),
        }
    }
}

impl From<NotMade> for ApiError {
    fn from(error: NotMade) -> Self {
        match error {
            NotMade::NoPlace(_) => Self::new(ErrorCode::ResourceExhausted, error.to_string()),
            NotMade::NoAddress(error) => error.into(),
        }
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        let code = match &error {
            ImageError::TooLarge { .. } => ErrorCode::TooLarge,
            ImageError::Upload(_) => ErrorCode::InvalidArgument,
            ImageError::Damaged(_) => ErrorCode::FailedPrecondition,
            ImageError::Disk(source) if is_full(source) => return Self::disk_full().with_context(error),
            ImageError::Disk(_) => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string()).with_context(error)
    }
}

/// Whether the disk, or what of it the platform may have, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<PrepareError> for ApiError {
    fn from(error: PrepareError) -> Self {
        let code = match &error {
            PrepareError::Refused(_) => ErrorCode::FailedPrecondition,
            PrepareError::TooCostly(_) => ErrorCode::ResourceExhausted,
            PrepareError::Missing(_) | PrepareError::Damaged(_) => {
                return Self::not_now(format!("{error}; push the image again"));
            }
            PrepareError::Internal(_) => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ForwardError> for ApiError {
    fn from(error: ForwardError) -> Self {
        let code = match &error {
            ForwardError::Gone | ForwardError::Refused(_) => ErrorCode::FailedPrecondition,
            ForwardError::Unavailable(_) => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_to_be_that_wherever_it_is_met() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let errors = [
            ApiError::from(ObjectError::Store(StoreError::Full)),
            ApiError::from(ImageError::Disk(full())),
            ApiError::from(skiff_ports::queues::QueueFailure::DiskFull),
            ApiError::from(skiff_ports::buses::BusError::DiskFull),
            ApiError::from(skiff_ports::tables::TableError::Full),
            ApiError::from(skiff_ports::buckets::BucketError::DiskFull),
        ];
        for error in errors {
            assert_eq!((error.code, error.code.status().as_u16()), (ErrorCode::StorageFull, 507));
            assert!(error.message.contains("make room"), "{}", error.message);
        }
        let broken = ApiError::from(ImageError::Disk(io::Error::other("no")));
        assert_eq!(broken.code, ErrorCode::Unavailable);
    }

    #[test]
    fn a_disk_that_does_not_keep_up_is_no_full_one() {
        let errors = [
            ApiError::from(skiff_ports::queues::QueueFailure::DiskBusy),
            ApiError::from(skiff_ports::buses::BusError::DiskBusy),
        ];
        for error in errors {
            assert_eq!((error.code, error.code.status().as_u16()), (ErrorCode::ResourceExhausted, 429));
            assert!(error.message.contains("try again"), "{}", error.message);
        }
    }
}
