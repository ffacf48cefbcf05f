//! Keeps the network's knowledge of the host's own addresses true: no guest reaches one unless a rule names it, and that
//! must hold of an interface that is added later, too.
//!
//! What always holds: where they can't be read, those of before stay guarded.

use skiff_net::Network;
use tokio::task::spawn_local;

/// Reads them again and again, for as long as the worker lives.
pub(crate) fn keep_true(network: Network) {
    spawn_local(async move {
        loop {
            match skiff_kit::host_addresses_later().await {
                Ok(addresses) => network.set_host_addresses(&addresses),
                Err(error) => tracing::warn!(%error, "the host's addresses can't be read again"),
            }
        }
    });
}
