//! The records of the virtual network and its nodes' parts, of addresses that came back, and of security groups.
//!
//! A rule that can't be read makes its group's record unreadable as a whole: a group is never known by half of its rules.

use super::Stored;
use super::task::AddressRecord;
use crate::keys;
use crate::model::{Network, NodeSubnet, ReleasedAddresses, SecurityGroup};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use skiff_ports::store::Key;
use skiff_types::{Name, Namespace, NetworkSpec, NodeId, Rule};

/// A security group's record; rules are written as their users write them.
#[derive(Serialize, Deserialize)]
pub(crate) struct SecurityGroupRecord {
    namespace: Namespace,
    name: Name,
    rules: Vec<Rule>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&SecurityGroup> for SecurityGroupRecord {
    fn from(object: &SecurityGroup) -> Self {
        Self {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            rules: object.rules.clone(),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<SecurityGroupRecord> for SecurityGroup {
    fn from(record: SecurityGroupRecord) -> Self {
        Self {
            namespace: record.namespace,
            name: record.name,
            rules: record.rules,
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for SecurityGroup {
    const PREFIX: &'static str = "sg";
    type Record = SecurityGroupRecord;

    fn key(&self) -> Key {
        keys::security_group(&self.qualified())
    }
}

/// What the virtual network spans.
#[derive(Serialize, Deserialize)]
struct SpanRecord {
    ipv4: Ipv4Net,
    ipv6: Ipv6Net,
    /// Written where it is not the default, which it is in all that older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_prefix: Option<u8>,
}

impl From<NetworkSpec> for SpanRecord {
    fn from(NetworkSpec { ipv4, ipv6, node_prefix }: NetworkSpec) -> Self {
        let is_said = node_prefix != NetworkSpec::NODE_PREFIX_DEFAULT;
        Self { ipv4, ipv6, node_prefix: is_said.then_some(node_prefix) }
    }
}

impl From<SpanRecord> for NetworkSpec {
    fn from(SpanRecord { ipv4, ipv6, node_prefix }: SpanRecord) -> Self {
        Self { ipv4, ipv6, node_prefix: node_prefix.unwrap_or(Self::NODE_PREFIX_DEFAULT) }
    }
}

/// The virtual network's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    spec: SpanRecord,
    reserved_until: u32,
    created_at_ms: u64,
}

impl From<&Network> for NetworkRecord {
    fn from(object: &Network) -> Self {
        let (spec, created_at_ms) = (object.spec.into(), object.created_at_ms);
        Self { spec, reserved_until: object.reserved_until, created_at_ms }
    }
}

impl From<NetworkRecord> for Network {
    fn from(record: NetworkRecord) -> Self {
        let (spec, created_at_ms) = (record.spec.into(), record.created_at_ms);
        Self { spec, reserved_until: record.reserved_until, created_at_ms }
    }
}

impl Stored for Network {
    const PREFIX: &'static str = "network";
    type Record = NetworkRecord;

    fn key(&self) -> Key {
        keys::network()
    }
}

/// The record of the part of the network that a node has.
#[derive(Serialize, Deserialize)]
pub(crate) struct NodeSubnetRecord {
    index: u32,
    node: NodeId,
    reserved_until: u32,
    claimed_at_ms: u64,
}

impl From<&NodeSubnet> for NodeSubnetRecord {
    fn from(object: &NodeSubnet) -> Self {
        Self {
            index: object.index,
            node: object.node.clone(),
            reserved_until: object.reserved_until,
            claimed_at_ms: object.claimed_at_ms,
        }
    }
}

impl From<NodeSubnetRecord> for NodeSubnet {
    fn from(record: NodeSubnetRecord) -> Self {
        Self {
            index: record.index,
            node: record.node,
            reserved_until: record.reserved_until,
            claimed_at_ms: record.claimed_at_ms,
        }
    }
}

impl Stored for NodeSubnet {
    const PREFIX: &'static str = "subnet";
    type Record = NodeSubnetRecord;

    fn key(&self) -> Key {
        keys::node_subnet(self.index)
    }
}

/// The record of addresses that came back.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReleasedAddressesRecord {
    id: String,
    addresses: Vec<(AddressRecord, u64)>,
}

impl From<&ReleasedAddresses> for ReleasedAddressesRecord {
    fn from(object: &ReleasedAddresses) -> Self {
        let addresses = object.addresses.iter().map(|(address, at_ms)| (address.into(), *at_ms));
        Self { id: object.id.clone(), addresses: addresses.collect() }
    }
}

impl From<ReleasedAddressesRecord> for ReleasedAddresses {
    fn from(record: ReleasedAddressesRecord) -> Self {
        let addresses = record.addresses.into_iter().map(|(address, at_ms)| (address.into(), at_ms));
        Self { id: record.id, addresses: addresses.collect() }
    }
}

impl Stored for ReleasedAddresses {
    const PREFIX: &'static str = "released";
    type Record = ReleasedAddressesRecord;

    fn key(&self) -> Key {
        keys::released_addresses(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RecordError;
    use skiff_types::TaskAddress;

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let group = SecurityGroup {
            namespace: Namespace::default(),
            name: "db".parse().unwrap(),
            rules: vec!["tcp:6379 from web".parse().unwrap()],
            created_at_ms: 1,
            updated_at_ms: 2,
        };
        let written = r#"{"version":1,"object":{"namespace":"default","name":"db","rules":["tcp:6379 from web"],"created_at_ms":1,"updated_at_ms":2}}"#;
        assert_eq!(group.encode().unwrap(), written);
        assert_eq!(SecurityGroup::decode(written.as_bytes()).unwrap(), group);

        let network = Network { spec: NetworkSpec::default(), reserved_until: 272, created_at_ms: 3 };
        let written = r#"{"version":1,"object":{"spec":{"ipv4":"10.64.0.0/10","ipv6":"fd73:6b69:6666::/48"},"reserved_until":272,"created_at_ms":3}}"#;
        assert_eq!(network.encode().unwrap(), written);
        assert_eq!(Network::decode(written.as_bytes()).unwrap(), network);
        let many_nodes = NetworkSpec { node_prefix: 22, ..network.spec };
        let network = Network { spec: many_nodes, ..network };
        let written = r#"{"version":1,"object":{"spec":{"ipv4":"10.64.0.0/10","ipv6":"fd73:6b69:6666::/48","node_prefix":22},"reserved_until":272,"created_at_ms":3}}"#;
        assert_eq!(network.encode().unwrap(), written);
        assert_eq!(Network::decode(written.as_bytes()).unwrap(), network);

        let node = "local".parse().unwrap();
        let subnet = NodeSubnet { index: 7, node, reserved_until: 272, claimed_at_ms: 4 };
        let written =
            r#"{"version":1,"object":{"index":7,"node":"local","reserved_until":272,"claimed_at_ms":4}}"#;
        assert_eq!(subnet.encode().unwrap(), written);
        assert_eq!(NodeSubnet::decode(written.as_bytes()).unwrap(), subnet);

        let address = TaskAddress { v4: [10, 64, 0, 16].into(), v6: [0xfd73, 0, 0, 0, 0, 0, 0, 16].into() };
        let released = ReleasedAddresses { id: "0707".to_owned(), addresses: vec![(address, 5)] };
        let written =
            r#"{"version":1,"object":{"id":"0707","addresses":[[{"v4":"10.64.0.16","v6":"fd73::10"},5]]}}"#;
        assert_eq!(released.encode().unwrap(), written);
        assert_eq!(ReleasedAddresses::decode(written.as_bytes()).unwrap(), released);
    }

    #[test]
    fn a_group_is_not_known_by_half_of_its_rules() {
        let text = r#"{"version":1,"object":{"namespace":"default","name":"db","rules":["tcp:1 from web","sctp:1 from web"],"created_at_ms":1,"updated_at_ms":2}}"#;
        assert!(matches!(SecurityGroup::decode(text.as_bytes()), Err(RecordError::Damaged(_))));
    }
}
