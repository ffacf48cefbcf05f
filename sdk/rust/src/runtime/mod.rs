//! What lies below: WASI 0.2, WASI 0.3, or, on any other target, the host alone. Each has the same items: `block_on`,
//! `sleep`, `exit`, the macros `__http!`, `__main!`, `__initialize!`, `__event!` and `__queue!`, and in `private` what these expand
//! to.

#[cfg(target_family = "wasm")]
mod abi;
#[cfg(target_family = "wasm")]
mod buckets;
#[cfg(target_family = "wasm")]
mod convert;
#[cfg(target_family = "wasm")]
mod events;
#[cfg(not(target_family = "wasm"))]
mod memory;
#[cfg(target_family = "wasm")]
mod metrics;
#[cfg(target_family = "wasm")]
mod queues;
#[cfg(target_family = "wasm")]
pub(crate) mod snapshot;
#[cfg(target_family = "wasm")]
mod tables;

#[cfg(all(target_family = "wasm", feature = "p3"))]
mod p3;
#[cfg(all(target_family = "wasm", feature = "p3"))]
pub(crate) use p3::*;

#[cfg(all(target_family = "wasm", feature = "p2", not(feature = "p3")))]
mod p2;
#[cfg(all(target_family = "wasm", feature = "p2", not(feature = "p3")))]
pub(crate) use p2::*;

#[cfg(not(all(target_family = "wasm", any(feature = "p2", feature = "p3"))))]
mod host;
#[cfg(not(all(target_family = "wasm", any(feature = "p2", feature = "p3"))))]
pub(crate) use host::*;

#[cfg(target_family = "wasm")]
pub(crate) use {
    buckets::{Container, ObjectReader, ObjectWriter},
    events::put_events,
    metrics::put_metric,
    queues::send_messages,
    tables::{table_get, table_increment, table_scan, table_write},
};

#[cfg(not(target_family = "wasm"))]
pub(crate) use memory::*;

use std::process::{ExitCode, Termination};

/// Writes to stderr, as far as it takes it: there is nowhere to report that it is closed. The stream is open no longer
/// than that, unlike the standard library's, or an initialisation could not log (no snapshot can hold a stream).
#[cfg(target_family = "wasm")]
pub(crate) fn write_stderr(text: &[u8]) {
    /// The most bytes that WASI lets one blocking write take.
    const BLOCKING_WRITE_BYTES: usize = 4096;
    let stderr = wasip2::cli::stderr::get_stderr();
    for chunk in text.chunks(BLOCKING_WRITE_BYTES) {
        if stderr.blocking_write_and_flush(chunk).is_err() {
            return;
        }
    }
}

/// The same on the host.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn write_stderr(text: &[u8]) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text);
}

/// Keeps nothing: on the host there is nobody who would.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn put_metric(
    _metric: &str,
    _dimensions: &[(&str, &str)],
    value: f64,
) -> Result<(), crate::metrics::Error> {
    if value.is_finite() { Ok(()) } else { Err(crate::metrics::Error::InvalidValue) }
}

/// The exit code of what a `main` returned; an error is printed to stderr, as the standard library does it. A code
/// can't be read, but it can be compared.
fn exit_code(result: impl Termination) -> u8 {
    let code = result.report();
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read() {
        assert_eq!(exit_code(()), 0);
        assert_eq!(exit_code(ExitCode::from(3)), 3);
        assert_eq!(exit_code(ExitCode::from(255)), 255);
        assert_eq!(exit_code(Err::<(), _>("printed by this test")), 1);
    }
}
