//! Small tools that every part above needs: clocks, randomness, backoff, drain, the token bucket, watermarks, log
//! files that rotate, the host's addresses, what was said lately, streams that wrap streams.
//!
//! Nothing here knows what a task is.

pub mod clock;
pub mod random;

mod backoff;
mod drain;
mod host_addresses;
mod lately;
mod rotated_file;
mod token_bucket;
mod watermark;
mod write_through;

pub use backoff::Backoff;
pub use drain::Drain;
pub use host_addresses::{host_addresses, host_addresses_later};
pub use lately::Lately;
pub use rotated_file::RotatedFile;
pub use token_bucket::TokenBucket;
pub use watermark::Watermark;
