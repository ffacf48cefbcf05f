//! Why a call did not succeed, as a sentence for the person at the terminal.

use crate::ErrorCode;
use http::StatusCode;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error(
        "no platform answers at {url}; start one with `skiff up`, or say where it is with --api or SKIFF_API"
    )]
    Unreachable {
        /// The API's address.
        url: String,
        /// What the network said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The platform did not answer in time: whether the call was carried out is not known.
    #[error(
        "the platform at {url} did not answer in time; what was asked for may be done all the same: look before you \
         try again"
    )]
    TimedOut {
        /// The API's address.
        url: String,
    },
    /// The connection broke while the call was under way: whether it was carried out is not known.
    #[error(
        "the connection to the platform at {url} broke before it had answered; what was asked for may be done all the \
         same: look before you try again"
    )]
    Interrupted {
        /// The API's address.
        url: String,
        /// What the network said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stream that had begun ended before it was to: the platform stopped, or the connection broke.
    #[error(
        "the platform at {url} tells no more: it stopped, or the connection to it broke; run the command again once it \
         is there"
    )]
    StreamEnded {
        /// The API's address.
        url: String,
        /// What the network said, if the platform did not end the stream itself.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Not an address.
    #[error("{url:?} is not the address of an API: {reason}; it looks like http://127.0.0.1:8081")]
    InvalidUrl {
        /// The text as given.
        url: String,
        /// Why.
        reason: String,
    },
    /// TLS is not spoken by this client.
    #[error(
        "{url} asks for https, which this client does not speak; use an http:// address, on this machine or \
         through a tunnel"
    )]
    HttpsUnsupported {
        /// The text as given.
        url: String,
    },
    /// The platform said no.
    #[error("{message}")]
    Api {
        /// The HTTP status.
        status: StatusCode,
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: String,
        /// More for programs.
        details: Option<Box<serde_json::Value>>,
    },
    /// Something else listens there.
    #[error("what answers at {url} is not a Skiff API (it said {status}); is another program on that port?")]
    NotSkiff {
        /// The API's address.
        url: String,
        /// The HTTP status.
        status: StatusCode,
    },
    /// The answer is not of the shape that this version knows.
    #[error(
        "the platform at {url} answered in a form that this skiff does not know; are both of the same version?"
    )]
    Unreadable {
        /// The API's address.
        url: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// The answer is larger than any should be.
    #[error("the platform's answer is larger than {limit_bytes} bytes; ask for fewer items")]
    AnswerTooLarge {
        /// The bound in bytes.
        limit_bytes: usize,
    },
}

impl ClientError {
    /// The platform's code, where it was the platform that said no.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Api { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(super) fn from_transport(url: &str, error: reqwest::Error) -> Self {
        let url = url.to_owned();
        if error.is_connect() {
            Self::Unreachable { url, source: error.into() }
        } else if error.is_timeout() {
            Self::TimedOut { url }
        } else {
            Self::Interrupted { url, source: error.into() }
        }
    }
}
