//! The virtual network as a worker must know it: who has which address and is in which groups, and what groups allow.

use serde::{Deserialize, Serialize};
use skiff_types::{Kind, Name, NetworkSpec, QualifiedName, Rule, TaskAddress, TaskId};
use std::net::SocketAddr;
use std::sync::Arc;

/// A task's network interface. Every worker of the node knows it, wherever the task lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// The task: what rules are evaluated by.
    pub task: TaskId,
    /// Its service, or the family of a one-off task; its namespace is that of its groups.
    pub owner: QualifiedName,
    /// Whether `owner` is a service, by whose name it is found.
    pub in_service: bool,
    /// What its component's exports make of it.
    pub kind: Kind,
    /// Its addresses.
    pub address: TaskAddress,
    /// The groups it is in, sorted. None where it is not known which: then nothing is allowed.
    pub groups: Arc<[Name]>,
    /// The worker it lives in; an `http` task is in every one.
    pub home: Option<u32>,
    /// Whether its service's name leads to it.
    pub ready: bool,
    /// Its slot in the ledger.
    pub slot: u32,
    /// The bound on its memory, in bytes.
    pub memory_bytes: u64,
}

/// A security group and all that it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRules {
    /// The group.
    pub group: QualifiedName,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// What of the network is otherwise than before; all that is not named stays as it is. To be carried out in the order of
/// the fields, and as one: no flow is judged by half of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkChange {
    /// Groups that are new or allow something else.
    pub groups: Vec<GroupRules>,
    /// Groups that are gone: they allow nothing.
    pub dissolved: Vec<QualifiedName>,
    /// Interfaces that are new or have changed, each whole.
    pub interfaces: Vec<NetworkInterface>,
    /// Tasks whose interfaces are gone.
    pub left: Vec<TaskId>,
}

impl NetworkChange {
    /// Whether all is to stay as it is.
    pub fn is_empty(&self) -> bool {
        let Self { groups, dissolved, interfaces, left } = self;
        groups.is_empty() && dissolved.is_empty() && interfaces.is_empty() && left.is_empty()
    }
}

/// What a worker is told of the network once, when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSetup {
    /// What the virtual network spans.
    pub spec: NetworkSpec,
    /// Which part of it is this node's, counted from 0.
    pub node_index: u32,
    /// Where the platform itself listens: reached by no guest unless a rule names the very address and port.
    pub own_doors: Vec<SocketAddr>,
}
