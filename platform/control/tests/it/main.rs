//! The control plane at its boundary: the API over a loopback socket, a real store and image store, a node that is
//! played by the test.

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
mod restart;
mod rollouts;
mod series;
mod usage;
mod wire;
