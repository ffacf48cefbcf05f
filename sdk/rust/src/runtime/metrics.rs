//! What [`crate::metrics`] imports: the world `skiff:metrics/imports` of `sdk/wit`, for both WASI generations. A component that
//! never calls it imports nothing of it.
//!
//! Written by hand as [`super::snapshot`] is, and for the same reason; a test holds the world's encoding against the contract.

#![allow(unsafe_code, reason = "a function of the host is a foreign one")]

use crate::metrics::Error;

/// The world, as `wasm-component-ld` reads it from a section of the module. It has to be in one file with who calls the import.
#[allow(dead_code, reason = "it is there for its section")]
#[unsafe(link_section = "component-type:skiff:metrics@0.1.0:imports:encoded world")]
static WORLD: [u8; include_bytes!("metrics.world").len()] = *include_bytes!("metrics.world");

#[link(wasm_import_module = "skiff:metrics/custom@0.1.0")]
unsafe extern "C" {
    /// As the canonical ABI lowers it: each string and list by its start and its length, the result by where it goes.
    #[link_name = "put"]
    fn import_put(
        metric: *const u8,
        metric_bytes: usize,
        dimensions: *const [Text; 2],
        dimension_count: usize,
        value: f64,
        result: *mut [u8; 2],
    );
}

/// A string as it lies in memory.
#[repr(C)]
struct Text {
    start: *const u8,
    bytes: usize,
}

impl Text {
    fn of(text: &str) -> Self {
        Self { start: text.as_ptr(), bytes: text.len() }
    }
}

/// Calls the host.
#[inline(never)]
pub(crate) fn put_metric(metric: &str, dimensions: &[(&str, &str)], value: f64) -> Result<(), Error> {
    let dimensions: Vec<[Text; 2]> =
        dimensions.iter().map(|(name, value)| [Text::of(name), Text::of(value)]).collect();
    // Whether it failed, and why.
    let mut result = [0_u8; 2];
    // SAFETY: the host reads the strings and the list, which live until it returns, and writes the two bytes of the result,
    // as the interface in `sdk/wit` says.
    unsafe {
        import_put(
            metric.as_ptr(),
            metric.len(),
            dimensions.as_ptr(),
            dimensions.len(),
            value,
            &raw mut result,
        );
    }
    match result {
        [0, _] => Ok(()),
        [_, 0] => Err(Error::InvalidMetric),
        [_, 1] => Err(Error::InvalidDimensions),
        [_, 2] => Err(Error::InvalidValue),
        [_, _] => Err(Error::TooMany),
    }
}
