//! One request of an adversary's client, and what came of it.

use super::cases::{Case, Client};
use std::fmt;
use std::io::Read;
use std::time::Duration;

/// How long a client waits for anything: far longer than any of the services' timeouts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a body that are kept to be looked at.
const KEPT_BYTES: usize = 4 << 10;

/// What a client saw.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// A whole answer.
    Answered { status: u16, text: String },
    /// A status, then a body that ended before its end.
    BrokenOff { status: u16, text: String, error: String },
    /// Nothing that could be understood.
    NoAnswer(String),
}

impl Outcome {
    /// Whether it is what the case says.
    pub(crate) fn is(&self, client: Client) -> bool {
        match (self, client) {
            (
                Self::Answered { status, text },
                Client::Gets(wanted, part) | Client::GetsOrBreaksOff(wanted, part, _),
            ) => *status == wanted && text.contains(part),
            (Self::Answered { status, text }, Client::GetsOrAll(wanted, part, all)) => {
                (*status == wanted && text.contains(part)) || (*status == 200 && text == all)
            }
            (Self::BrokenOff { status, text, .. }, Client::BreaksOff(part)) => {
                *status == 200 && text.contains(part)
            }
            (Self::BrokenOff { status, text, .. }, Client::GetsOrBreaksOff(_, _, most)) => {
                *status == 200 && most.starts_with(text.as_str())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Outcome {
    /// In few words: the platform's own answers by their sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, text } => {
                let json = serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
                write!(f, "{status}: {}", json["error"]["message"].as_str().unwrap_or(text))
            }
            Self::BrokenOff { status, text, error } => write!(f, "{status}: {text}, then {error}"),
            Self::NoAnswer(error) => write!(f, "no answer: {error}"),
        }
    }
}

/// Asks what the case asks, on a connection of its own.
pub(crate) fn ask(http: &str, service: &str, case: &Case) -> Outcome {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .max_idle_connections(0);
    let agent = config.build().new_agent();
    let (url, host) = (format!("http://{http}{}", case.path), format!("{service}.localhost"));
    let sent = match case.sends_bytes {
        0 => agent.get(url).header("host", host).call(),
        bytes => agent.post(url).header("host", host).send(vec![b'x'; bytes]),
    };
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return Outcome::NoAnswer(error.to_string()),
    };
    let status = response.status().as_u16();
    let (mut kept, mut chunk) = (Vec::new(), [0; 16 << 10]);
    let mut body = response.body_mut().as_reader();
    let end = loop {
        match body.read(&mut chunk) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                let count = count.min(KEPT_BYTES - kept.len());
                kept.extend_from_slice(&chunk[..count]);
            }
            Err(error) => break Err(error.to_string()),
        }
    };
    let text = String::from_utf8_lossy(&kept).into_owned();
    match end {
        Ok(()) => Outcome::Answered { status, text },
        Err(error) => Outcome::BrokenOff { status, text, error },
    }
}
