//! Calls that are made again where the connection was lost, a bounded number of times.
//!
//! Only what may be made twice: a call that reads, or one that says which revision it changes.

use skiff_api::{ClientError, ErrorCode};
use std::time::Duration;

/// How often a call is made at most.
pub(super) const ATTEMPTS_MAX: u32 = 5;
/// Between the first call and the second; each wait is twice the one before.
const WAIT_FIRST: Duration = Duration::from_millis(100);

/// Makes a call until it is answered.
pub(super) async fn again<T>(
    mut call: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if is_passing(&error) && attempt < ATTEMPTS_MAX => wait(attempt).await,
            result => return result,
        }
        attempt += 1;
    }
}

/// Whether the same call may be answered soon.
pub(super) fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Interrupted { .. }
        | ClientError::StreamEnded { .. } => true,
        ClientError::Api { code, .. } => *code == ErrorCode::Unavailable,
        ClientError::InvalidUrl { .. }
        | ClientError::HttpsUnsupported { .. }
        | ClientError::NotSkiff { .. }
        | ClientError::Unreadable { .. }
        | ClientError::AnswerTooLarge { .. } => false,
    }
}

/// Waits after so many calls in vain.
pub(super) async fn wait(attempts: u32) {
    tokio::time::sleep(WAIT_FIRST * 2_u32.pow(attempts.saturating_sub(1).min(ATTEMPTS_MAX))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ClientError {
        ClientError::TimedOut { url: "http://127.0.0.1:1".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_made_again_but_not_for_ever() {
        let mut calls = 0;
        let answered = again(async || {
            calls += 1;
            if calls < 3 { Err(lost()) } else { Ok(calls) }
        });
        assert_eq!(answered.await.unwrap(), 3);
        let mut calls = 0;
        let lost = again(async || -> Result<(), ClientError> {
            calls += 1;
            Err(lost())
        });
        assert!(lost.await.is_err());
        assert_eq!(calls, ATTEMPTS_MAX);
    }

    #[tokio::test]
    async fn what_the_platform_refuses_is_not_asked_again() {
        let mut calls = 0;
        let code = ErrorCode::Conflict;
        let refused = again(async || -> Result<(), ClientError> {
            calls += 1;
            Err(ClientError::Api { status: code.status(), code, message: "no".to_owned(), details: None })
        });
        assert!(refused.await.is_err());
        assert_eq!(calls, 1);
    }
}
