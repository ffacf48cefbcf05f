//! The network at its boundary: interfaces of tasks, in one worker and between several that are joined in this process.

mod anything;
mod balancer;
mod calls;
mod datagrams;
mod flows;
mod internal;
mod limits;
mod lines;
mod listeners;
mod names;
mod outside;
mod platform;
mod streams;
mod wires;
mod world;
