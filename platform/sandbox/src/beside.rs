//! What Skiff has beside WASI, as far as its types go: `skiff:metrics/custom` of `sdk/wit`.
//!
//! It is in every linker, so that what was pushed is held against these types before any worker has it. It deliberately does
//! nothing: a worker's capability is linked over it (`host-metrics`), and where none is, whoever calls it ends.

use wasmtime::component::{ComponentType, Lift, Linker, Lower};

/// Why a value of a metric is not taken.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "only its type is asked for")]
enum PutError {
    #[component(name = "invalid-metric")]
    InvalidMetric,
    #[component(name = "invalid-dimensions")]
    InvalidDimensions,
    #[component(name = "invalid-value")]
    InvalidValue,
    #[component(name = "too-many")]
    TooMany,
}

/// A metric's name, its dimensions and a value.
type Put = (String, Vec<(String, String)>, f64);

/// Links it.
pub(crate) fn link<T: 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance("skiff:metrics/custom@0.1.0")?.func_wrap(
        "put",
        |_, (_, _, _): Put| -> wasmtime::Result<(Result<(), PutError>,)> {
            wasmtime::bail!("nobody takes values of metrics here")
        },
    )
}
