//! Write WebAssembly components for Skiff. A component built without this crate works as well: it is a comfort over
//! the WASI interfaces, and does not hide them.
//!
//! # An HTTP handler
//!
//! One async function over the types of the `http` crate. What it returns is anything that is
//! [`IntoResponse`]; an error becomes a `500`, its message goes to the log and never to the client.
//!
//! ```
//! use skiff_sdk::{Body, Request, Response, Result};
//!
//! #[skiff_sdk::http]
//! async fn handle(request: Request) -> Result<Response> {
//!     let greeting = skiff_sdk::env::require("GREETING")?;
//!     let name = request.into_body().text().await?;
//!     Ok(Response::new(Body::from(format!("{greeting}, {name}!\n"))))
//! }
//! ```
//!
//! A handler that does not look at the request leaves it out, and saves the copy of its headers:
//!
//! ```
//! #[skiff_sdk::http]
//! async fn handle() -> &'static str {
//!     "Hello!\n"
//! }
//! ```
//!
//! Bodies stream both ways: [`Body::chunk`] takes the request's bytes as they come, [`Body::stream`] sends the
//! response's as they are made.
//!
//! # A job
//!
//! A `main` that is sync or async and returns what any `main` may. Its exit code arrives whole, which the standard
//! library alone does not do on WASI 0.2 (there all codes but 0 become 1).
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! #[skiff_sdk::main]
//! fn main() -> ExitCode {
//!     println!("{} arguments", std::env::args().count() - 1);
//!     ExitCode::from(3)
//! }
//! ```
//!
//! # Events and messages
//!
//! A function that takes events which rules send ([`events`]), or messages of a queue ([`queues`]). A component that exports
//! nothing else is a task of kind `event`; a handler of HTTP may stand beside.
//!
//! ```
//! use skiff_sdk::queues::Message;
//!
//! #[skiff_sdk::queue]
//! fn consume(message: Message<String>) -> skiff_sdk::Result<()> {
//!     let table = skiff_sdk::tables::Table::new("orders");
//!     let order = skiff_sdk::tables::Write::put(message.body, "placed");
//!     skiff_sdk::once(&table, &message.id, || Ok::<_, std::convert::Infallible>(vec![order]))?;
//!     Ok(())
//! }
//! ```
//!
//! # Buckets, tables, queues and buses
//!
//! Any component reaches those of its namespace that its task's role allows: by [`buckets`], [`tables`], [`queues::send`] and
//! [`events::put`]. Each call waits until the platform has answered. The feature `json` reads and writes details and bodies as
//! what `serde` makes of them.
//!
//! # Metrics
//!
//! What a component counts itself is kept beside what the platform measures, by [`metrics::put`]: drawn by `skiff metrics`, and
//! held against the thresholds of alarms and scaling policies.
//!
//! # Starting from a snapshot
//!
//! What takes long to prepare (a table to parse, a model to load) can be done once, when the component is deployed with
//! `snapshot = true`; each sandbox then starts with the memory as it was left. State lives in a `static`; a `LazyLock`
//! makes the same component right without a snapshot too, where the first request prepares it.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::LazyLock;
//!
//! static TABLE: LazyLock<HashMap<u32, String>> =
//!     LazyLock::new(|| (0..100_000).map(|number| (number, number.to_string())).collect());
//!
//! #[skiff_sdk::initialize]
//! fn prepare() {
//!     LazyLock::force(&TABLE);
//! }
//! ```
//!
//! The function takes nothing and returns what a `main` may: an error or a panic refuses the deploy, with what was
//! written. It has 30 s and 256 MiB. It may read the environment and the clocks, and has no arguments, no network and no
//! files. It must leave no stream or other resource of the host open, as `println!` does: write by the crate `log`, and
//! whoever deploys reads it.
//!
//! What a snapshot holds is the same in every sandbox, so this is seen to, and this is yours:
//!
//! | | |
//! | --- | --- |
//! | `wasi:random` (the crates `getrandom`, `uuid`, `rand`) | refused while it initialises, so a generator that it feeds is first seeded in a sandbox, anew in each |
//! | keys of hash maps (`RandomState`) | taken out of the snapshot: maps made in a sandbox have keys that its neighbours have not |
//! | a `HashMap` that the initialisation made | keeps the keys it was made with; let no client choose what goes into it later |
//! | generators seeded by the clock (`fastrand`) or by a constant | go on alike in every sandbox if they were used before: seed them in the handler |
//! | the time, ids and tokens that were stored | are those of the deploy: take them in the handler |
//! | the environment | is that of the deploy; another makes another snapshot |
//!
//! A snapshot is made again, and the function run again, when the platform's compiler changes or its cache is lost.
//!
//! # WASI 0.2 and 0.3
//!
//! The feature `p3` (the default) builds for WASI 0.3, `p2` for 0.2; both from the target `wasm32-wasip2`:
//!
//! ```toml
//! [dependencies]
//! skiff-sdk = { path = "vendor/skiff-sdk", default-features = false, features = ["p2", "log"] }
//! ```
//!
//! | | HTTP handler, handler of events, consumer | job |
//! | --- | --- | --- |
//! | `p2` | library, `crate-type = ["cdylib"]` | program, `src/main.rs` |
//! | `p3` | library, `crate-type = ["cdylib"]` | library, `crate-type = ["cdylib"]`, `fn main` in `src/lib.rs` |
//!
//! On any other target the crate compiles too, without WASI below it, so that handlers have unit tests:
//!
//! ```
//! # use skiff_sdk::{Body, Request, Response};
//! # async fn handle(request: Request) -> Response { Response::new(request.into_body()) }
//! let response = skiff_sdk::block_on(handle(Request::new(Body::from("ping"))));
//! assert_eq!(response.status(), 200);
//! ```

#[cfg(all(feature = "p2", feature = "p3"))]
compile_error!(
    "skiff-sdk: the features `p2` and `p3` exclude each other; for WASI 0.2 write \
     `default-features = false, features = [\"p2\", \"log\"]`"
);
#[cfg(not(any(feature = "p2", feature = "p3")))]
compile_error!("skiff-sdk: choose the WASI generation: feature `p3` (WASI 0.3) or `p2` (WASI 0.2)");

mod body;
pub mod buckets;
pub mod env;
pub mod events;
mod handler;
mod logging;
pub mod metrics;
pub mod queues;
mod response;
mod runtime;
mod service_error;
pub mod tables;

pub use body::{Body, Writer};
pub use bytes::Bytes;
pub use http::StatusCode;
#[cfg(feature = "log")]
pub use log;
pub use response::IntoResponse;
pub use service_error::ServiceError;
pub use skiff_sdk_macros::{event, http, initialize, main, queue};
pub use tables::once;

/// An HTTP request; its body streams in.
pub type Request<B = Body> = http::Request<B>;
/// An HTTP response; its body streams out.
pub type Response<B = Body> = http::Response<B>;
/// Any error, for handlers and bodies that use `?` on several kinds.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result of anything or [`Error`].
pub type Result<T = Response, E = Error> = std::result::Result<T, E>;

/// Waits for a time, without holding up what else the component does meanwhile.
pub async fn sleep(duration: std::time::Duration) {
    runtime::sleep(duration).await;
}

/// Runs a future to its end: for calls into async code from sync code, and for tests.
pub fn block_on<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
    runtime::block_on(future)
}

/// Ends the program with this code, at once, after flushing stdout. `std::process::exit` makes every code but 0 a 1
/// on WASI 0.2; this does not.
pub fn exit(code: u8) -> ! {
    use std::io::Write;
    // What can't be written any more can't be reported either.
    let _ = std::io::stdout().flush();
    runtime::exit(code)
}

/// What the macros expand to; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::handler::Handler;
    pub use crate::runtime::private::*;
}
