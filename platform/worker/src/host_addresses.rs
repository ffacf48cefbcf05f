//! Keeps the network's knowledge of the host's own addresses true: no guest reaches one unless a rule names it, and that
//! must hold of an interface that is added later, too.
//!
//! What always holds: where they can't be read, those of before stay guarded.

use skiff_net::Network;
use std::time::Duration;
use tokio::task::{spawn_blocking, spawn_local};

/// How often they are read.
const READ_INTERVAL: Duration = Duration::from_secs(10);

/// Reads them again and again, for as long as the worker lives.
pub(crate) fn keep_true(network: Network) {
    spawn_local(async move {
        loop {
            tokio::time::sleep(READ_INTERVAL).await;
            match spawn_blocking(skiff_kit::host_addresses).await {
                Ok(Ok(addresses)) => network.set_host_addresses(&addresses),
                Ok(Err(error)) => tracing::warn!(%error, "the host's addresses can't be read again"),
                Err(error) => tracing::warn!(%error, "reading the host's addresses was cut short"),
            }
        }
    });
}
