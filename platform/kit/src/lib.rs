//! Small tools that every part above needs: clocks, randomness, backoff, drain, the token bucket.
//!
//! Nothing here knows what a task is.

pub mod clock;
pub mod random;

mod backoff;
mod drain;
mod token_bucket;

pub use backoff::Backoff;
pub use drain::Drain;
pub use token_bucket::TokenBucket;
