//! The control plane at its boundary: the API over a loopback socket, a real store and image store, a node that is
//! played by the test.

mod alarms;
mod balancer;
mod certificates;
mod crash;
mod daemons;
mod deploy;
mod events;
mod fixture;
mod forward;
mod idle;
mod measured;
mod mutated;
mod network;
mod node;
mod nodes;
mod recorded;
mod restart;
mod rollouts;
mod scaling;
mod series;
mod strategies;
mod usage;
mod wire;
