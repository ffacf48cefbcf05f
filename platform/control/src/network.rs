//! What the virtual network spans: fixed when a platform starts for the first time, and kept in the store.
//!
//! It deliberately gives out no addresses (`addresses` does). What always holds: once a task may have had an address, the
//! network that it is of never changes.

use crate::keys;
use crate::model::Network;
use crate::records::{RecordError, Stored};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use skiff_net::{AddressError, Subnet};
use skiff_ports::store::{Expect, Revision, Store, StoreError};
use skiff_types::NetworkSpec;
use std::net::IpAddr;
use tracing::{info, warn};

/// Unique local addresses (RFC 4193).
const UNIQUE_LOCAL: &str = "fc00::/7";
/// Addresses that nobody has in public: private (RFC 1918), and shared between a provider and its customers (RFC 6598).
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

/// What whoever starts a platform says of its network. What is not said is as it was, and at the first start the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedNetwork {
    /// Its IPv4 addresses.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 addresses.
    pub ipv6: Option<Ipv6Net>,
    /// The prefix length of a node's IPv4 subnet.
    pub node_prefix: Option<u8>,
}

impl From<NetworkSpec> for AskedNetwork {
    fn from(spec: NetworkSpec) -> Self {
        Self { ipv4: Some(spec.ipv4), ipv6: Some(spec.ipv6), node_prefix: Some(spec.node_prefix) }
    }
}

/// Why a platform can't have the network that it is asked to have.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It has another one already.
    #[error(
        "the virtual network is {kept} since the first start on this data folder, and can't become {asked}: leave out \
         {option}, or start on another folder with --data-dir"
    )]
    Fixed {
        /// What it has.
        kept: IpNet,
        /// What it is asked to have.
        asked: IpNet,
        /// The option that says so.
        option: &'static str,
    },
    /// Its nodes have parts of another size already.
    #[error(
        "each node has a /{kept} of the virtual network since the first start on this data folder, and can't have a \
         /{asked}: leave out --node-prefix, or start on another folder with --data-dir"
    )]
    FixedPrefix {
        /// What they have.
        kept: u8,
        /// What they are asked to have.
        asked: u8,
    },
    /// This host has one of its addresses.
    #[error(
        "the virtual network {network} overlaps with this host's own address {address}, which its tasks could then never \
         reach: choose another network with {option}"
    )]
    Overlaps {
        /// The network.
        network: IpNet,
        /// The host's address.
        address: IpAddr,
        /// The option that chooses another one.
        option: &'static str,
    },
    /// It would hide what is outside.
    #[error("the virtual network {network} is not {expected}; choose such a one with {option}")]
    NotPrivate {
        /// The network.
        network: IpNet,
        /// What it must be.
        expected: &'static str,
        /// The option that chooses another one.
        option: &'static str,
    },
    /// No subnet for a node can be cut out of it.
    #[error("the virtual network can't be used")]
    Unusable(#[from] AddressError),
    /// The store could not be read or written.
    #[error("what the store has of the virtual network can't be used")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for NetworkError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl From<RecordError> for NetworkError {
    fn from(error: RecordError) -> Self {
        Self::Store(error.into())
    }
}

/// The network that a platform on this store has from here on: the one that it had before, else the one that is asked for,
/// else the default. `host` are the host's own addresses. May be called any number of times.
pub async fn establish_network(
    store: &dyn Store,
    asked: &AskedNetwork,
    host: &[IpAddr],
    now_ms: u64,
) -> Result<NetworkSpec, NetworkError> {
    let ipv4 = asked.ipv4.map(|network| network.trunc());
    let ipv6 = asked.ipv6.map(|network| network.trunc());
    if let Some((kept, _)) = load(store).await? {
        fixed("--network", kept.spec.ipv4.into(), ipv4.map(IpNet::from))?;
        fixed("--network6", kept.spec.ipv6.into(), ipv6.map(IpNet::from))?;
        let kept_prefix = kept.spec.node_prefix;
        if let Some(asked) = asked.node_prefix.filter(|asked| *asked != kept_prefix) {
            return Err(NetworkError::FixedPrefix { kept: kept_prefix, asked });
        }
        if let Err(error) = check_overlap(&kept.spec, host) {
            warn!(%error, "the host's addresses have changed since the network was chosen");
        }
        return Ok(kept.spec);
    }
    let default = NetworkSpec::default();
    let spec = NetworkSpec {
        ipv4: ipv4.unwrap_or(default.ipv4),
        ipv6: ipv6.unwrap_or(default.ipv6),
        node_prefix: asked.node_prefix.unwrap_or(default.node_prefix),
    };
    check_private(&spec)?;
    Subnet::of_node(&spec, 0)?;
    check_overlap(&spec, host)?;
    let network = Network { spec, reserved_until: 0, created_at_ms: now_ms };
    store.put(&keys::network(), network.encode()?, Expect::Absent).await?;
    info!(ipv4 = %spec.ipv4, ipv6 = %spec.ipv6, "the virtual network is chosen");
    Ok(spec)
}

/// The network as the store has it, with the write that it is of.
pub(crate) async fn load(store: &dyn Store) -> Result<Option<(Network, Revision)>, NetworkError> {
    let Some(entry) = store.get(&keys::network()).await? else { return Ok(None) };
    Ok(Some((Network::decode(&entry.value)?, entry.revision)))
}

fn fixed(option: &'static str, kept: IpNet, asked: Option<IpNet>) -> Result<(), NetworkError> {
    match asked.filter(|asked| *asked != kept) {
        Some(asked) => Err(NetworkError::Fixed { kept, asked, option }),
        None => Ok(()),
    }
}

fn check_private(spec: &NetworkSpec) -> Result<(), NetworkError> {
    let within = |network: IpNet, ranges: &[&str]| {
        ranges.iter().any(|range| range.parse::<IpNet>().expect("a network").contains(&network))
    };
    let (ipv4, ipv6) = (IpNet::from(spec.ipv4), IpNet::from(spec.ipv6));
    if !within(ipv4, &PRIVATE) {
        let expected = "of private addresses (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10)";
        return Err(NetworkError::NotPrivate { network: ipv4, expected, option: "--network" });
    }
    if !within(ipv6, &[UNIQUE_LOCAL]) {
        let expected = "of unique local addresses (fc00::/7)";
        return Err(NetworkError::NotPrivate { network: ipv6, expected, option: "--network6" });
    }
    Ok(())
}

fn check_overlap(spec: &NetworkSpec, host: &[IpAddr]) -> Result<(), NetworkError> {
    let Some(address) = host.iter().map(IpAddr::to_canonical).find(|address| spec.contains(*address)) else {
        return Ok(());
    };
    let (network, option) = match address {
        IpAddr::V4(_) => (spec.ipv4.into(), "--network"),
        IpAddr::V6(_) => (spec.ipv6.into(), "--network6"),
    };
    Err(NetworkError::Overlaps { network, address, option })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_store::SqliteStore;

    fn asked(ipv4: &str) -> AskedNetwork {
        AskedNetwork { ipv4: Some(ipv4.parse().unwrap()), ..AskedNetwork::default() }
    }

    fn store() -> (SqliteStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (SqliteStore::open(&folder.path().join("state.db")).unwrap(), folder)
    }

    #[tokio::test]
    async fn the_first_start_chooses_and_no_later_one_changes_it() {
        let (store, _folder) = store();
        let chosen = establish_network(&store, &asked("10.1.2.3/16"), &[], 1).await.unwrap();
        assert_eq!(chosen.ipv4, "10.1.0.0/16".parse().unwrap());
        assert_eq!(chosen.ipv6, NetworkSpec::default().ipv6);
        for same in [AskedNetwork::default(), asked("10.1.0.0/16")] {
            assert_eq!(establish_network(&store, &same, &[], 2).await.unwrap(), chosen);
        }
        let error = establish_network(&store, &asked("10.2.0.0/16"), &[], 3).await.unwrap_err();
        assert!(matches!(error, NetworkError::Fixed { .. }));
        assert!(error.to_string().contains("is 10.1.0.0/16 since the first start"), "{error}");
        let smaller_parts = AskedNetwork { node_prefix: Some(22), ..AskedNetwork::default() };
        let error = establish_network(&store, &smaller_parts, &[], 3).await.unwrap_err();
        assert!(error.to_string().contains("has a /16 of the virtual network since"), "{error}");
        // What the host becomes later is no reason not to start.
        let host = ["10.1.0.9".parse().unwrap()];
        assert_eq!(establish_network(&store, &AskedNetwork::default(), &host, 4).await.unwrap(), chosen);
    }

    #[tokio::test]
    async fn what_can_not_be_the_network_is_refused_and_nothing_is_kept() {
        let (store, _folder) = store();
        let host = ["127.0.0.1".parse().unwrap(), "::ffff:10.64.7.7".parse().unwrap()];
        let error = establish_network(&store, &AskedNetwork::default(), &host, 1).await.unwrap_err();
        assert!(error.to_string().contains("10.64.0.0/10 overlaps with this host's own address 10.64.7.7"));
        let error = establish_network(&store, &asked("8.8.0.0/16"), &[], 1).await.unwrap_err();
        assert!(matches!(error, NetworkError::NotPrivate { option: "--network", .. }));
        let public = AskedNetwork { ipv6: Some("2001:db8::/48".parse().unwrap()), ..AskedNetwork::default() };
        let error = establish_network(&store, &public, &[], 1).await.unwrap_err();
        assert!(matches!(error, NetworkError::NotPrivate { option: "--network6", .. }));
        assert!(load(&store).await.unwrap().is_none());
    }
}
