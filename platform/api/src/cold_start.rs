//! The measurement of cold starts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measures cold starts of a service's task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColdStartRequest {
    /// What each call asks for, with `GET`; starts with `/`.
    #[serde(default = "ColdStartRequest::default_path")]
    pub path: String,
    /// How many times: 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub requests: u32,
}

impl ColdStartRequest {
    /// Most calls of one measurement.
    pub const REQUESTS_MAX: u32 = 1_000;

    fn default_path() -> String {
        "/".to_owned()
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ColdStartReport {
    /// One for each call, in the order they were made.
    pub samples: Vec<ColdStartSample>,
}

/// The stages of one cold start, each in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ColdStartSample {
    /// Native code on disk to a component that can be instantiated: read, check, map.
    pub load_ns: u64,
    /// A sandbox made: store, instance.
    pub instantiate_ns: u64,
    /// From the sandbox's first instruction to the response's head.
    pub first_byte_ns: u64,
    /// The same call to a task whose code is loaded but which has no sandbox.
    pub cold_request_ns: u64,
    /// The same call again in the same sandbox.
    pub warm_request_ns: u64,
}
