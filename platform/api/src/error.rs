//! What every failed call answers with: a code for programs, a sentence for people.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a call failed, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ErrorCode {
    /// The request is malformed, or a value in it is not one. 400.
    InvalidArgument,
    /// No token, or not the platform's. 401.
    Unauthenticated,
    /// The caller may not do this. 403.
    Forbidden,
    /// There is no such thing. 404.
    NotFound,
    /// What is asked for clashes with what is there, such as a route that another service has. 409.
    Conflict,
    /// `If-Match` names a revision that is no longer the present one. 412.
    PreconditionFailed,
    /// What is there is not in a state for this, such as a rollback where nothing came before. 422.
    FailedPrecondition,
    /// A bound of the platform is met. 429.
    ResourceExhausted,
    /// The body is larger than it may be. 413.
    TooLarge,
    /// The platform can't at present; try again. 503.
    Unavailable,
    /// There is no room on the platform's disk, and nothing was written: make room first. 507.
    StorageFull,
    /// The platform's own fault. 500.
    Internal,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 12] = [
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::FailedPrecondition,
        Self::ResourceExhausted,
        Self::TooLarge,
        Self::Unavailable,
        Self::StorageFull,
        Self::Internal,
    ];

    /// The HTTP status it is answered with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::FailedPrecondition => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what happened, and what to do about it.
    pub message: String,
    /// More for programs, by code; absent for most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl ErrorBody {
    /// A body without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail { code, message: message.into(), details: None } }
    }
}
