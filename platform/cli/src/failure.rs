//! How a command that failed ends: one message to standard error, and the exit code.

use skiff_api::{ClientError, ErrorCode};
use std::io;
use std::process::ExitCode;

/// The command line is wrong in a way that its grammar can't say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Wrong usage, as an error to return.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// The exit code for wrong usage, the one that the parser uses as well.
const USAGE_CODE: u8 = 2;
/// What to do where the platform refuses the token: it can't know how its caller gets at one.
const TOKEN_HINT: &str = "set SKIFF_TOKEN: the token is in the file `token` of the platform's data folder";

/// Prints why a command failed and says how the process is to end.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has read enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", message(error));
    match error.downcast_ref::<Usage>() {
        Some(_) => ExitCode::from(USAGE_CODE),
        None => ExitCode::FAILURE,
    }
}

/// The error and what caused it, in one line; but not what the operating system said where our own words say more.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !message.contains(&text) {
            let separator = if message.is_empty() { "" } else { ": " };
            message = format!("{message}{separator}{text}");
        }
        match cause.downcast_ref() {
            Some(ClientError::Unreachable { .. } | ClientError::StreamEnded { .. }) => break,
            Some(ClientError::Api { code: ErrorCode::Unauthenticated, .. }) => {
                message = format!("{message}; {TOKEN_HINT}");
            }
            _ => {}
        }
    }
    message
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_follow_the_message() {
        let missing = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = Err::<(), _>(missing).context("can't read hello.wasm").unwrap_err();
        assert_eq!(message(&error), "can't read hello.wasm: no such file");
    }

    #[test]
    fn nobody_there_is_told_without_the_systems_words() {
        let source = "tcp connect error".into();
        let error = anyhow::Error::new(ClientError::Unreachable { url: "http://127.0.0.1:1".into(), source });
        assert!(message(&error).ends_with("--api or SKIFF_API"), "{}", message(&error));
    }

    #[test]
    fn a_stream_that_ended_is_told_in_one_sentence() {
        let source = Some("error decoding response body".into());
        let error = anyhow::Error::new(ClientError::StreamEnded { url: "http://127.0.0.1:1".into(), source });
        assert!(message(&error).ends_with("run the command again once it is there"), "{}", message(&error));
    }

    #[test]
    fn a_token_that_is_refused_is_told_with_where_it_is() {
        let code = ErrorCode::Unauthenticated;
        let refused = "the token is not this platform's".to_owned();
        let error = ClientError::Api { status: code.status(), code, message: refused, details: None };
        assert_eq!(
            message(&error.into()),
            "the token is not this platform's; set SKIFF_TOKEN: the token is in the file `token` of the platform's \
             data folder"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        assert!(is_broken_pipe(&io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(!is_broken_pipe(&usage("x")));
    }
}
