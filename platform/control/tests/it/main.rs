//! The control plane at its boundary: the API over a loopback socket, a real store and image store, a node that is
//! played by the test.

mod alarms;
mod balancer;
mod buses;
mod certificates;
mod consumers;
mod crash;
mod daemons;
mod data;
mod deploy;
mod events;
mod fixture;
mod forward;
mod guest_calls;
mod idle;
mod in_effect;
mod measured;
mod mutated;
mod network;
mod node;
mod nodes;
mod recorded;
mod removal;
mod restart;
mod roles;
mod rollouts;
mod scaling;
mod series;
mod strategies;
mod usage;
mod wire;
