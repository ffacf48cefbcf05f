//! What lies below: WASI 0.2, WASI 0.3, or, on any other target, the host alone. Each has the same items: `block_on`,
//! `sleep`, `exit`, the macros `__http!` and `__main!`, and in `private` what these expand to.

#[cfg(target_family = "wasm")]
mod convert;

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

use std::process::{ExitCode, Termination};

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
