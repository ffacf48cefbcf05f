//! The platform as its users meet it: the real binary, its real processes, real components, real sockets.

mod commands;
mod crash;
mod deploy;
mod harness;
mod lifecycle;
mod quotas;
mod templates;
mod usage;
mod workers;
