//! The virtual network, as one worker process runs it: addresses, security groups, names, and streams between tasks; all
//! in user space.
//!
//! | file | what it has |
//! | --- | --- |
//! | `policy` | security groups, and the one decision: may these two be connected? |
//! | `outside` | which addresses outside are special, and what a rule must say to name one |
//! | `explain` | the same decision for people, rule by rule |
//! | `addresses` | a node's subnet, and which task gets which address of it |
//! | `names` | names under `.internal`, and which tasks a service's name leads to |
//! | `config` | what a worker's network is given: bounds, and the parts it stands on |
//! | `network` | the handle: what is told of tasks and groups, and what holds of it now |
//! | `member` | what is known of one task, and what it has of sockets here |
//! | `interface` | one task's ports: bind and listen |
//! | `ports`, `charge`, `rate` | which ports are taken, what memory is held, how fast a task may go on |
//! | `connect` | how connections are opened, and let in from other workers |
//! | `platform` | connections of the platform itself, for the load balancer and for operators; probes |
//! | `internal` | connections to the platform itself: to the load balancer's internal listeners |
//! | `listener` | connections that wait to be accepted |
//! | `duplex` | a stream as tokio reads and writes it |
//! | `stream` | one end of a connection, of whichever of the next three kinds |
//! | `pipe` | a stream within this worker: memory |
//! | `line` | a stream between two workers: a Unix socket, framed |
//! | `kernel` | the kernel's sockets that tasks have: how many, how much waits in each, and what is charged for it |
//! | `socket` | what `line` and `outbound` have in common: the kernel's stream sockets |
//! | `outbound` | a stream, or datagrams, to the outside: the kernel's sockets |
//! | `udp` | datagrams between tasks |
//! | `wires` | how workers open lines to each other |
//! | `flow`, `flows` | what is open: counted, cut when no rule allows it any more, written down |
//! | `calls` | HTTP calls within this worker, as flows |
//! | `resolve` | names outside, and which address was learnt by which name |
//! | `error` | why a call on a socket failed |
//!
//! The first five are pure, without I/O and clock, and `control` uses them too; but not the directory in `names`. That and
//! all else runs on a worker's one thread within a `tokio::task::LocalSet`: `Rc`, `Cell` and `RefCell`; nothing of it is
//! `Send`.
//!
//! It deliberately does not know WASI (`host-net` puts it behind that), HTTP beyond counting calls, nor where tasks,
//! groups and addresses are kept (`control` and its store).
//!
//! What always holds: who somebody is follows from the task that calls, never from an address that it claims; what no
//! rule allows is denied, also where a group is not known; an address outside is judged as it was resolved, never by the
//! name alone; a flow that the rules do not allow any more is cut with the change of the rules.

mod addresses;
mod calls;
mod charge;
mod config;
mod connect;
mod duplex;
mod error;
mod explain;
mod flow;
mod flows;
mod interface;
mod internal;
mod kernel;
mod line;
mod listener;
mod member;
mod names;
mod network;
mod outbound;
mod outside;
mod pipe;
mod platform;
mod policy;
mod ports;
mod rate;
mod resolve;
mod socket;
mod stream;
mod udp;
mod wires;

pub use addresses::{AddressError, Allocated, Allocator, PLATFORM_PLACES, QUARANTINE_MS, Subnet};
pub use calls::CallFlow;
pub use config::{Config, Deps, FlowLog, Limits};
pub use duplex::Duplex;
pub use error::NetError;
pub use explain::{Considered, Explanation, Side, explain};
pub use interface::{Interface, Port};
pub use listener::Listener;
pub use names::{INTERNAL, InternalName, ServiceTask, UnknownName};
pub use network::{Network, NetworkError};
pub use outside::{Class, Guard};
pub use policy::{Decision, Groups, Identity, Missing, Outcome, Party, decide};
pub use resolve::{HostResolver, Resolve, Resolved};
pub use stream::Stream;
pub use udp::{Datagram, UdpSocket};
pub use wires::Wires;
