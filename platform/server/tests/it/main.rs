//! The platform as its users meet it: the real binary, its real processes, real components, real sockets.

mod adversarial;
mod apply;
mod balancer;
mod cancellation;
mod clients;
mod commands;
mod crash;
mod deploy;
mod events;
mod footprint;
mod gauges;
mod harness;
mod lifecycle;
mod metrics;
mod neighbour;
mod network;
mod quotas;
mod snapshot;
mod soak;
mod templates;
mod traces;
mod usage;
mod workers;
mod zero;
